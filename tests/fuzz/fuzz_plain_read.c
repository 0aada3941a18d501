/* libFuzzer: any text as a statement. libpg_query keeps its memory in contexts of its own and leaves errors
 * by longjmp, which skips our frames never (it catches them itself); what it loses is its own. Whatever is
 * taken as a plain read is one statement whose parse tree, by a second and dumber look, holds no node that
 * writes. */
#include <pg_query.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plain_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Text constants cannot look like this: in JSON their quotes are escaped. */
static const char *const writes[] = {
    "\"InsertStmt\":{",    "\"UpdateStmt\":{", "\"DeleteStmt\":{", "\"MergeStmt\":{", "\"intoClause\":{",
    "\"lockingClause\":[", "\"CopyStmt\":{",   "\"DoStmt\":{",     "\"CallStmt\":{",  "\"VariableSetStmt\":{",
};

static void look_again(const struct plain_statement *s)
{
    PgQueryParseResult result = pg_query_parse(s->sql);
    if (result.error || !s->parsed || !s->explainable)
        abort();
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
        if (strstr(result.parse_tree, writes[i]))
            abort();
    const char *first = strstr(result.parse_tree, "{\"stmt\":{");
    if (!first || strncmp(first, "{\"stmt\":{\"SelectStmt\"", 21) != 0 || strstr(first + 1, "{\"stmt\":{"))
        abort();
    pg_query_free_parse_result(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = talloc_strndup(NULL, (const char *)data, size);
    struct plain_statement *s = plain_statement_read(text, text);
    if (s->refusal.kind == ERROR_NONE)
        look_again(s);
    char *names = plain_statement_names(s, s, ~0u);
    if (*names != '[')
        abort();
    for (size_t i = 0; i < s->place_count; i++)
        if (s->places[i].parameter < 1 || s->places[i].parameter > s->parameters)
            abort();
    talloc_free(text);
    return 0;
}
