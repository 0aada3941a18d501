/* What is known before a statement is measured: whether it is a plain read, its parameters with values that
 * the column statistics propose, and in which schemas it could run. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/explain.h"
#include "backends/postgres/explain_session.h"

#define CHECK_TIMEOUT_S 5
#define CHECK_LOCK_TIMEOUT_S 0.1

struct check_run {
    struct explain_session *session;
    struct explain_check check;
    void (*done)(void *data, const struct explain_check *check, const struct error *error);
    void *data;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- values ---- */

/* Of the columns that parameters are compared with, as far as the role may read their statistics. */
static const char proposals_sql[] =
    "SELECT DISTINCT ON (p.n) p.n, c.relname || '.' || a.attname,"
    " (s.most_common_vals::text::text[])[1],"
    " (s.histogram_bounds::text::text[])[(array_length(s.histogram_bounds::text::text[], 1) + 1) / 2]"
    " FROM jsonb_to_recordset($1::jsonb) AS p(n int, qualifier text, name text)"
    " JOIN ROWS FROM (jsonb_to_recordset($2::jsonb) AS (schema text, name text, alias text)) WITH ORDINALITY"
    "  AS r(schema, name, alias, i) ON p.qualifier IS NULL OR p.qualifier = r.alias"
    " JOIN pg_class c ON c.oid = to_regclass(coalesce(quote_ident(r.schema) || '.', '') || "
    "quote_ident(r.name))"
    " JOIN pg_namespace ns ON ns.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = p.name AND a.attnum > 0"
    " LEFT JOIN pg_stats s ON s.schemaname = ns.nspname AND s.tablename = c.relname AND s.attname = a.attname"
    " ORDER BY p.n, s.attname IS NULL, r.i, s.inherited DESC";

static char *places_json(struct check_run *run)
{
    const struct plain_statement *statement = run->session->statement;
    struct json_object *list = must(json_object_new_array());
    for (size_t i = 0; i < statement->place_count; i++) {
        const struct plain_place *place = &statement->places[i];
        if (!place->column)
            continue;
        struct json_object *item = must(json_object_new_object());
        json_object_object_add(item, "n", json_object_new_int(place->parameter));
        json_object_object_add(item, "qualifier",
                               place->qualifier ? json_object_new_string(place->qualifier) : NULL);
        json_object_object_add(item, "name", json_object_new_string(place->column));
        json_object_array_add(list, item);
    }
    char *text = must(talloc_strdup(run, json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN)));
    json_object_put(list);
    return text;
}

static const struct plain_place *place_of(const struct plain_statement *statement, int parameter)
{
    for (size_t i = 0; i < statement->place_count; i++)
        if (statement->places[i].parameter == parameter)
            return &statement->places[i];
    return NULL;
}

static char *as_array(const void *context, const char *value)
{
    char *array = must(talloc_strdup(context, "{\""));
    for (const char *at = value; *at; at++)
        array = must(talloc_asprintf_append(array, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at));
    return must(talloc_strdup_append(array, "\"}"));
}

static void take_proposals(struct check_run *run, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_rows_count(rows); i++) {
        int64_t n = pg_rows_integer(rows, i, 0);
        const char *column = pg_rows_text(rows, i, 1), *common = pg_rows_text(rows, i, 2);
        const char *middle = pg_rows_text(rows, i, 3);
        const struct plain_place *place = place_of(run->session->statement, (int)n);
        if (n < 1 || (size_t)n > run->check.parameter_count || !place || !column)
            continue;
        struct explain_parameter *parameter = &run->check.parameters[n - 1];
        bool prefers_middle = place->kind == PLAIN_RANGE;
        const char *value = prefers_middle && middle ? middle : common ? common : middle;
        if (!value)
            continue;
        size_t length = strlen(parameter->type);
        bool array = length > 2 && strcmp(parameter->type + length - 2, "[]") == 0;
        parameter->value = array ? as_array(run->check.parameters, value)
                                 : must(talloc_strdup(run->check.parameters, value));
        parameter->origin = must(talloc_asprintf(run->check.parameters, "%s of %s",
                                                 value == common ? "common value" : "middle value", column));
    }
}

static void propose(struct check_run *run, size_t i, const char *value, const char *origin)
{
    run->check.parameters[i].value = must(talloc_strdup(run->check.parameters, value));
    run->check.parameters[i].origin = must(talloc_strdup(run->check.parameters, origin));
}

static void make_parameters(struct check_run *run)
{
    struct explain_session *session = run->session;
    run->check.parameter_count = session->type_count;
    run->check.parameters = must(talloc_zero_array(run, struct explain_parameter, session->type_count + 1));
    for (size_t i = 0; i < session->type_count; i++) {
        const struct plain_place *place = place_of(session->statement, (int)i + 1);
        run->check.parameters[i].type = must(talloc_strdup(run->check.parameters, session->types[i]));
        run->check.parameters[i].origin = must(talloc_strdup(run->check.parameters, "no proposal"));
        if (place && place->kind == PLAIN_LIMIT)
            propose(run, i, "100", "a usual LIMIT");
        else if (place && place->kind == PLAIN_OFFSET)
            propose(run, i, "0", "the first page");
        else if (strcmp(session->types[i], "interval") == 0)
            propose(run, i, "30 days", "a usual interval");
    }
}

/* ---- the check ---- */

enum { CHECK_NO_JIT, CHECK_VERDICT, CHECK_PROPOSALS, CHECK_COUNT };

static void check_rows(void *data, int index, const struct pg_rows *rows)
{
    struct check_run *run = data;
    if (index == CHECK_PROPOSALS)
        take_proposals(run, rows);
    else if (index == CHECK_VERDICT && run->check.refusal.kind == ERROR_NONE)
        plain_read_verdict(rows, &run->check.refusal);
}

static void check_done(void *data, const struct error *error)
{
    struct check_run *run = data;
    run->check.plain_read = run->check.refusal.kind == ERROR_NONE;
    run->done(run->data, error ? NULL : &run->check, error);
    talloc_free(run);
}

static void check_opened(void *data, const struct error *error)
{
    struct check_run *run = data;
    if (error) {
        run->done(run->data, NULL, error);
        talloc_free(run);
        return;
    }
    struct explain_session *session = run->session;
    run->check.role = session->role;
    run->check.server = session->server;
    run->check.database = session->database;
    run->check.search_path = session->search_path;
    run->check.refusal = session->statement->refusal;
    make_parameters(run);
    const struct pg_statement statements[CHECK_COUNT] = {
        /* Compiling the question took seconds, answering it milliseconds. */
        [CHECK_NO_JIT] = {.sql = "SET LOCAL jit = off"},
        [CHECK_VERDICT] = {.sql = plain_read_sql,
                           .parameter_count = 1,
                           .parameters = {plain_statement_names(run, session->statement, ~0u)}},
        [CHECK_PROPOSALS] = {.sql = proposals_sql,
                             .parameter_count = 2,
                             .parameters = {places_json(run), plain_statement_names(run, session->statement,
                                                                                    1u << PLAIN_RELATION)}}};
    explain_session_ask(session, statements, CHECK_COUNT, CHECK_TIMEOUT_S + 10, check_rows, check_done, run);
}

void explain_check(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                   void (*done)(void *data, const struct explain_check *check, const struct error *error),
                   void *data)
{
    struct check_run *run = must(talloc_zero(NULL, struct check_run));
    run->done = done;
    run->data = data;
    run->session = explain_session_new(run, loop, server, request);
    explain_session_open(run->session, true, CHECK_TIMEOUT_S, CHECK_LOCK_TIMEOUT_S, check_opened, run);
}

/* ---- schemas ---- */

/* What is in public or in pg_catalog is found from every tenant's schema. */
static const char schemas_sql[] =
    "WITH wanted AS (SELECT DISTINCT name FROM jsonb_to_recordset($1::jsonb) AS x(schema text, name text)"
    "  WHERE schema IS NULL AND NOT name = ANY ($2::text[])"
    "  AND to_regclass('pg_catalog.' || quote_ident(name)) IS NULL),"
    " own AS (SELECT name FROM wanted WHERE to_regclass('public.' || quote_ident(name)) IS NULL),"
    " needed AS (SELECT name FROM own UNION ALL SELECT name FROM wanted WHERE NOT EXISTS (SELECT FROM own))"
    "SELECT quote_ident(n.nspname), sum(greatest(c.relpages, 0)::bigint * "
    "current_setting('block_size')::bigint)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname IN (SELECT name FROM needed) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    "  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    "  AND has_schema_privilege(n.oid, 'USAGE')"
    " GROUP BY n.nspname HAVING count(*) = (SELECT count(*) FROM needed)"
    " ORDER BY 2 DESC, 1 LIMIT 500";

struct schemas_run {
    struct explain_session *session;
    struct explain_schema *schemas;
    size_t count;
    void (*done)(void *data, const struct explain_schema *schemas, size_t count, const struct error *error);
    void *data;
};

static void schemas_rows(void *data, int index, const struct pg_rows *rows)
{
    struct schemas_run *run = data;
    (void)index;
    run->count = (size_t)pg_rows_count(rows);
    run->schemas = must(talloc_zero_array(run, struct explain_schema, run->count + 1));
    for (size_t i = 0; i < run->count; i++)
        run->schemas[i] =
            (struct explain_schema){.name = must(talloc_strdup(run->schemas, pg_rows_text(rows, (int)i, 0))),
                                    .bytes = pg_rows_integer(rows, (int)i, 1)};
}

static void schemas_done(void *data, const struct error *error)
{
    struct schemas_run *run = data;
    run->done(run->data, error ? NULL : run->schemas, error ? 0 : run->count, error);
    talloc_free(run);
}

static void schemas_opened(void *data, const struct error *error)
{
    struct schemas_run *run = data;
    if (error) {
        schemas_done(run, error);
        return;
    }
    const struct plain_statement *statement = run->session->statement;
    char *ctes = must(talloc_strdup(run, "{"));
    for (size_t i = 0; i < statement->cte_count; i++) {
        char *one = as_array(run, statement->ctes[i]);
        ctes = must(talloc_asprintf_append(ctes, "%s%.*s", i ? "," : "", (int)strlen(one) - 2, one + 1));
    }
    ctes = must(talloc_strdup_append(ctes, "}"));
    struct pg_statement ask = {
        .sql = schemas_sql,
        .parameter_count = 2,
        .parameters = {plain_statement_names(run, statement, 1u << PLAIN_RELATION), ctes}};
    explain_session_ask(run->session, &ask, 1, CHECK_TIMEOUT_S + 10, schemas_rows, schemas_done, run);
}

void explain_schemas(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                     void (*done)(void *data, const struct explain_schema *schemas, size_t count,
                                  const struct error *error),
                     void *data)
{
    struct schemas_run *run = must(talloc_zero(NULL, struct schemas_run));
    run->done = done;
    run->data = data;
    run->session = explain_session_new(run, loop, server, request);
    explain_session_open(run->session, false, CHECK_TIMEOUT_S, CHECK_LOCK_TIMEOUT_S, schemas_opened, run);
}
