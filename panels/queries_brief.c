#include "panels/queries_brief.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "core/text.h"

enum { LIST_MAX = 24, BRIEF_MAX = 600 };

/* The end of a quoted piece that begins at `at`; the end of the text when it is not closed. */
static const char *skip_quoted(const char *at)
{
    char quote = *at++;
    while (*at && *at != quote)
        at++;
    return *at ? at + 1 : at;
}

/* The FROM that ends the list of a SELECT, not one within parentheses or quotes; NULL: none. */
static const char *find_from(const char *list)
{
    int depth = 0;
    for (const char *at = list; *at;) {
        if (*at == '\'' || *at == '"') {
            at = skip_quoted(at);
            continue;
        }
        if (*at == '(')
            depth++;
        else if (*at == ')' && --depth < 0)
            return NULL;
        else if (depth == 0 && *at == ' ' && strncasecmp(at, " FROM ", 6) == 0)
            return at + 1;
        at++;
    }
    return NULL;
}

/* Is "name" a name that needs no quotes? *end receives the place behind the closing one. */
static bool plain_name(const char *quote, const char **end)
{
    const char *at = quote + 1;
    if (!((*at >= 'a' && *at <= 'z') || *at == '_'))
        return false;
    while ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_')
        at++;
    *end = at + 1;
    return *at == '"';
}

static char *without_quotes(char *text)
{
    char *out = text;
    const char *end;
    for (const char *at = text; *at;) {
        if (*at == '"' && plain_name(at, &end)) {
            for (at++; at < end - 1; at++)
                *out++ = *at;
            at = end;
        } else if (*at == '\'') {
            for (end = skip_quoted(at); at < end; at++)
                *out++ = *at;
        } else {
            *out++ = *at++;
        }
    }
    *out = '\0';
    return text;
}

char *statement_brief(const void *context, const char *sql)
{
    char line[BRIEF_MAX * 2];
    if (!sql)
        return NULL;
    safe_line(line, sizeof line, sql);
    without_quotes(line);
    if (strncasecmp(line, "SELECT ", 7) != 0)
        return talloc_strdup(context, line);
    const char *from = find_from(line + 6);
    if (!from || from - line - 7 <= LIST_MAX)
        return talloc_strdup(context, line);
    return talloc_asprintf(context, "SELECT … %s", from);
}
