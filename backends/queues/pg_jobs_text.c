/* Texts of job tables: what a JSON document looks like without its values, where a traceback points to,
 * literals and names for SQL. */
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"

enum { SHAPE_MOST = 400, SHAPE_KEYS = 24, SHAPE_DEPTH = 3, JSON_MOST = 64 * 1024 };

static char *append_shape(char *text, struct json_object *value, int depth)
{
    static const char *const names[] = {
        [json_type_boolean] = "bool",  [json_type_double] = "float", [json_type_int] = "int",
        [json_type_object] = "object", [json_type_array] = "list",   [json_type_string] = "str",
    };
    enum json_type type = json_object_get_type(value);
    if (type == json_type_null)
        return talloc_strdup_append_buffer(text, "null");
    if (strlen(text) > SHAPE_MOST || depth >= SHAPE_DEPTH ||
        (type != json_type_object && type != json_type_array))
        return talloc_strdup_append_buffer(text, names[type]);
    int count = 0;
    text = talloc_strdup_append_buffer(text, type == json_type_object ? "{" : "[");
    if (type == json_type_object) {
        json_object_object_foreach(value, key, child)
        {
            if (count++ >= SHAPE_KEYS)
                continue;
            text = talloc_asprintf_append_buffer(text, "%s%s: ", count > 1 ? ", " : "", key);
            text = append_shape(text, child, depth + 1);
        }
    } else {
        int length = (int)json_object_array_length(value);
        for (; count < length && count < SHAPE_KEYS; count++) {
            text = talloc_strdup_append_buffer(text, count ? ", " : "");
            text = append_shape(text, json_object_array_get_idx(value, (size_t)count), depth + 1);
        }
        count = length;
    }
    if (count > SHAPE_KEYS)
        text = talloc_strdup_append_buffer(text, ", …");
    return talloc_strdup_append_buffer(text, type == json_type_object ? "}" : "]");
}

char *pg_json_shape(const void *context, const char *json)
{
    size_t length = json ? strlen(json) : 0;
    if (!length || length >= JSON_MOST)
        return NULL;
    struct json_tokener *tokener = json_tokener_new();
    struct json_object *value = json_tokener_parse_ex(tokener, json, (int)length + 1);
    bool whole = json_tokener_get_error(tokener) == json_tokener_success || value;
    char *text = whole ? append_shape(talloc_strdup(context, ""), value, 0) : NULL;
    json_object_put(value);
    json_tokener_free(tokener);
    return text;
}

static char *line_at(const void *context, const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n')
        at++;
    return talloc_strndup(context, at, strcspn(at, "\n") > 200 ? 200 : strcspn(at, "\n"));
}

/* Node: the first line that is not of a library; Python: the last. */
char *pg_trace_frame(const void *context, const char *trace)
{
    const char *found = NULL;
    if (!trace || !*trace)
        return NULL;
    for (const char *at = trace; (at = strstr(at, "File \"")); at++)
        found = at;
    if (found)
        return line_at(context, found);
    for (const char *at = trace; (at = strstr(at, "\n    at ")); at++) {
        size_t length = strcspn(at + 1, "\n");
        if (!found)
            found = at;
        if (!memmem(at, length, "node_modules", 12) && !memmem(at, length, "node:internal", 13))
            return line_at(context, at + 8);
    }
    if (found)
        return line_at(context, found + 8);
    /* Ruby, Go: the first line with a line's number. */
    for (const char *at = trace; *at; at += strcspn(at, "\n") + (at[strcspn(at, "\n")] == '\n')) {
        size_t length = strcspn(at, "\n");
        const char *colon = memchr(at, ':', length);
        while (colon && !(colon[1] >= '0' && colon[1] <= '9'))
            colon = memchr(colon + 1, ':', length - (size_t)(colon + 1 - at));
        if (colon)
            return line_at(context, at);
    }
    return NULL;
}

static char *quoted(const void *context, const char *text, char quote)
{
    size_t length = strlen(text), at = 0;
    char *result = talloc_array(context, char, 2 * length + 4);
    if (!result)
        abort();
    bool escape = quote == '\'' && strchr(text, '\\');
    if (escape)
        result[at++] = 'E';
    result[at++] = quote;
    for (; *text; text++) {
        if (*text == quote || (escape && *text == '\\'))
            result[at++] = *text;
        result[at++] = *text;
    }
    result[at++] = quote;
    result[at] = '\0';
    return result;
}

char *pg_literal(const void *context, const char *text)
{
    return text ? quoted(context, text, '\'') : talloc_strdup(context, "NULL");
}

char *pg_identifier(const void *context, const char *text)
{
    return quoted(context, text, '"');
}

/* "@job AS j JOIN ..." */
char *pg_jobs_sampled(const void *context, const char *from, double percent)
{
    size_t alias = strcspn(from, " ");
    alias += from[alias] ? 4 + strcspn(from + alias + 4, " ") : 0;
    return talloc_asprintf(context, "%.*s TABLESAMPLE SYSTEM (%.6f)%s", (int)alias, from,
                           fmin(100, fmax(0.001, percent)), from + alias);
}

char *pg_jobs_sql(const void *context, const char *schema, const char *text)
{
    char *prefix = pg_identifier(NULL, schema), *literal = pg_literal(prefix, schema);
    char *sql = talloc_strdup(context, "");
    while (*text) {
        size_t plain = strcspn(text, "@$");
        sql = talloc_strndup_append_buffer(sql, text, plain);
        text += plain;
        if (*text == '@') {
            sql = talloc_asprintf_append_buffer(sql, "%s.", prefix);
            text++;
        } else if (strncmp(text, "$SCHEMA", 7) == 0) {
            sql = talloc_strdup_append_buffer(sql, literal);
            text += 7;
        } else if (*text) {
            sql = talloc_strndup_append_buffer(sql, text++, 1);
        }
    }
    talloc_free(prefix);
    return sql;
}
