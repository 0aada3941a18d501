/* Plans on a real server: what is refused, what is taken, which values and schemas are proposed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "tests/harness/explain_run.h"

/* ---- plans ---- */

static void test_generic_plan(void **state)
{
    struct explain_run r;
    explain_run_begin(&r, *state);
    r.request.sql = "SELECT * FROM invoice WHERE status = $1 AND seen > now() - interval $2 LIMIT $3";
    r.request.search_path = "\"Big One\", public";
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    const char *note = explain_note(r.explain);
    assert_non_null(strstr(note, "generic plan"));
    assert_non_null(strstr(note, "read as $n::interval"));
    assert_non_null(strstr(note, "sb_read on main"));
    assert_non_null(strstr(note, "\"Big One\", public"));
    /* A plan for NULLs would be a Result with One-Time Filter: false. */
    bool scans = false;
    for (size_t i = 0; i < explain_plan(r.explain)->node_count; i++)
        scans |= strcmp(explain_plan(r.explain)->nodes[i].node_type, "Seq Scan") == 0;
    assert_true(scans);
    explain_run_finish(&r);
    r.request.sql = "SELECT count(*) FROM invoice -- no parameter";
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    explain_run_finish(&r);
    cluster_do(((struct explain_bench *)*state)->platform.cluster, "CREATE DATABASE \"o'ther\"");
    r.request = (struct explain_request){.sql = "SELECT 1", .database = "o'ther"};
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    assert_non_null(strstr(explain_note(r.explain), "database o'ther"));
    explain_run_end(&r);
}

static void test_no_plan(void **state)
{
    static const struct {
        const char *sql, *part;
        enum error_kind kind;
        bool truncated;
    } cases[] = {
        {"SELECT 1", "track_activity_query_size", ERROR_INTERLOCK, true},
        {"SELECT * FROM invoice", "schema of a tenant", ERROR_MISSING, false},
        {"SELECT $1 + $2", "$1::integer", ERROR_SERVER, false},
        {"SELECT 1; SELECT 2", "more than one statement", ERROR_INTERLOCK, false},
        {"VACUUM", "VACUUM", ERROR_INTERLOCK, false},
        {"BEGIN", "TRANSACTION", ERROR_INTERLOCK, false},
        {"DO $$ BEGIN END $$", "DO", ERROR_INTERLOCK, false},
        {"EXPLAIN SELECT 1", "EXPLAIN", ERROR_INTERLOCK, false},
        {"SET work_mem = '1GB'", "SET", ERROR_INTERLOCK, false},
        {"", "empty", ERROR_INTERLOCK, false},
        {"SELECT FROM WHERE; DROP TABLE shared", "syntax error", ERROR_SERVER, false},
        {"INSERT INTO shared VALUES (1)", "permission denied", ERROR_DENIED, false},
    };
    struct explain_run r;
    explain_run_begin(&r, *state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r.request = (struct explain_request){.sql = cases[i].sql, .truncated = cases[i].truncated};
        explain_run_wait(&r);
        explain_run_expect_error(&r, cases[i].kind, cases[i].part);
        explain_run_finish(&r);
    }
    r.w.definition.read = NULL;
    r.request = (struct explain_request){.sql = "SELECT 1"};
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_INTERLOCK, "Add read:");
    explain_run_end(&r);
}

/* ---- what is measured ---- */

static const char *const refused[][2] = {
    {"INSERT INTO shared VALUES (1, 'x')", "INSERT"},
    {"UPDATE shared SET name = 'x'", "UPDATE"},
    {"DELETE FROM shared", "DELETE"},
    {"WITH gone AS (DELETE FROM shared RETURNING *) SELECT * FROM gone", "DELETE"},
    {"SELECT * FROM (WITH a AS (INSERT INTO shared VALUES (1) RETURNING id) SELECT * FROM a) b", "INSERT"},
    {"SELECT * FROM shared FOR UPDATE", "locks rows"},
    {"SELECT * FROM (SELECT * FROM shared FOR KEY SHARE) x", "locks rows"},
    {"SELECT * INTO other FROM shared", "makes a table"},
    {"CREATE TABLE other AS SELECT 1", "CREATE TABLE AS"},
    {"SELECT 1; SELECT 2", "more than one statement"},
    {"DO $$ BEGIN END $$", "DO"},
    {"COPY shared TO PROGRAM 'true'", "COPY"},
    {"EXPLAIN ANALYZE SELECT evil()", "EXPLAIN"},
    {"SET search_path = evil", "SET"},
    {"CALL evil()", "CALL"},
    {"SELECT nextval('counter')", "nextval"},
    {"SELECT setval('counter', 1)", "setval"},
    {"SELECT lastval()", "lastval"},
    {"SELECT evil()", "evil"},
    {"SELECT public.evil(1)", "evil"},
    {"SELECT \"Quoted \"\"Evil\"\"\"()", "Quoted"},
    {"SELECT U&\"ev\\0069l\"(1)", "evil"},
    {"SELECT U&\"ev!0069l\" UESCAPE '!' (1)", "evil"},
    {"SELECT evil/* a */ /* ( */ (1)", "evil"},
    {"SELECT 1 -- '\n, evil() -- '", "evil"},
    {"SELECT '\\', evil(), '\\'", "evil"},
    {"SELECT $a$ $b$ $a$, evil(), $b$ $b$", "evil"},
    {"SELECT 1 FROM shared ORDER BY evil(id)", "evil"},
    {"SELECT 1 FROM shared LIMIT evil()", "evil"},
    {"SELECT 1 FROM shared OFFSET evil()", "evil"},
    {"SELECT (SELECT evil())", "evil"},
    {"SELECT 1 WHERE 1 IN (SELECT evil())", "evil"},
    {"SELECT 1 WHERE EXISTS (SELECT evil())", "evil"},
    {"SELECT 1 FROM shared a JOIN shared b ON evil(a.id) = b.id", "evil"},
    {"SELECT count(*) FILTER (WHERE evil(id) > 0) FROM shared", "evil"},
    {"SELECT sum(id) OVER (PARTITION BY evil(id)) FROM shared", "evil"},
    {"SELECT sum(id) OVER (ROWS evil() PRECEDING) FROM shared", "evil"},
    {"SELECT id FROM shared GROUP BY id HAVING evil(id) > 0", "evil"},
    {"SELECT id FROM shared WINDOW w AS (ORDER BY evil(id))", "evil"},
    {"VALUES (1), (evil())", "evil"},
    {"SELECT * FROM evil()", "evil"},
    {"SELECT * FROM ROWS FROM (evil(1), evil(2)) AS x", "evil"},
    {"SELECT * FROM shared, LATERAL evil(id) x", "evil"},
    {"SELECT CASE WHEN true THEN 1 ELSE evil() END", "evil"},
    {"SELECT COALESCE(1, evil())", "evil"},
    {"SELECT ARRAY[evil()]", "evil"},
    {"SELECT ROW(evil())", "evil"},
    {"SELECT (ARRAY[1])[evil()]", "evil"},
    {"SELECT calm(x => evil())", "evil"},
    {"SELECT 1 UNION ALL SELECT evil()", "evil"},
    {"WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT evil(x) FROM a) SELECT * FROM a LIMIT 2", "evil"},
    {"SELECT xmlelement(name a, evil())", "evil"},
    {"SELECT DISTINCT ON (evil(id)) 1 FROM shared", "evil"},
    {"SELECT * FROM shared TABLESAMPLE system (evil())", "evil"},
    {"SELECT evil_sum(id) FROM shared", "evil_step"},
    {"SELECT ### name FROM shared", "evil_text"},
    {"SELECT OPERATOR(public.###) name FROM shared", "evil_text"},
    {"SELECT with_default()", "nextval"},
    {"SELECT s.of_row FROM shared s", "of_row"},
    {"SELECT (s).of_row FROM shared s", "of_row"},
    {"SELECT * FROM evil_view", "evil_view"},
    {"TABLE evil_view", "evil_view"},
    {"SELECT * FROM over_evil_view", "evil_view"},
    {"SELECT 1 FROM calm_view WHERE id IN (SELECT y FROM public.over_evil_view)", "evil_view"},
    {"SELECT * FROM builtin_view", "pg_try_advisory_lock"},
    {"SELECT * FROM guarded", "watched"},
    {"SELECT 1::evil_domain", "evil_domain"},
    {"SELECT CAST(1 AS money_pair)", "to_pair"},
    {"SELECT * FROM far_away", "far_away"},
    {"SELECT * FROM far_view", "far_away"},
    {"SELECT * FROM parted", "far_part"},
    {"SELECT pg_sleep(0)", "pg_sleep"},
    {"SELECT pg_terminate_backend(1)", "pg_terminate_backend"},
    {"SELECT pg_advisory_xact_lock(1)", "pg_advisory_xact_lock"},
    {"SELECT set_config('a.b', 'c', false)", "set_config"},
    {"SELECT pg_notify('a', 'b')", "pg_notify"},
    {"SELECT pg_read_file('/etc/hostname')", "pg_read_file"},
    {"SELECT lo_create(0)", "lo_create"},
    {"SELECT pg_switch_wal()", "pg_switch_wal"},
    {"SELECT query_to_xml('SELECT evil()', true, true, '')", "query_to_xml"},
    {"SELECT table_to_xml('evil_view', true, true, '')", "table_to_xml"},
    {"WITH evil_view AS (SELECT 1) SELECT * FROM public.evil_view", "evil_view"},
};

static const char *const taken[] = {
    "SELECT 1;",
    "SELECT \"invoice\".\"id\", COUNT(*) AS \"n\" FROM \"invoice\" INNER JOIN \"shared\" ON "
    "(\"invoice\".\"id\" = "
    "\"shared\".\"id\") WHERE (\"invoice\".\"status\" IN ('open', 'late') AND "
    "UPPER(\"invoice\".\"status\"::text) LIKE "
    "UPPER('%o%')) GROUP BY \"invoice\".\"id\" HAVING COUNT(*) > 0 ORDER BY \"n\" DESC LIMIT 21 /* app */",
    "SELECT sum(id), avg(id), string_agg(status, ',' ORDER BY id), array_agg(DISTINCT id), max(due) FROM "
    "invoice",
    "SELECT date_trunc('day', seen), count(*) FILTER (WHERE status = 'open') FROM invoice WHERE seen > now() "
    "- interval "
    "'1 day' GROUP BY 1",
    "SELECT id, row_number() OVER (PARTITION BY status ORDER BY due), lag(id) OVER w FROM invoice WINDOW w "
    "AS (ORDER BY "
    "id)",
    "SELECT i.id, x.n FROM invoice i CROSS JOIN LATERAL (SELECT count(*) n FROM shared s WHERE s.id = i.id) "
    "x",
    "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a WHERE x < 5) SELECT * FROM a",
    "SELECT tags || ARRAY['a'], tags @> ARRAY['x'], 'x' = ANY (tags), tags[1:2], cardinality(tags) FROM "
    "invoice",
    "SELECT data -> 'a', data ->> 'a', data #>> '{a}', data @> '{}', data ? 'a', jsonb_array_length('[]') "
    "FROM invoice",
    "SELECT * FROM generate_series(1, 10) AS g(i) WHERE random() < 2 AND clock_timestamp() > '2000-01-01'",
    "SELECT * FROM invoice WHERE status ILIKE 'o%' AND due BETWEEN '2026-01-01' AND current_date OR id IS "
    "DISTINCT FROM 3",
    "SELECT extract(year FROM due), due + interval '1 month', seen AT TIME ZONE 'UTC', CAST(id AS text) FROM "
    "invoice",
    "SELECT calm(id) FROM calm_view",
    "SELECT * FROM tenant_rows",
    "SELECT * FROM shared NATURAL JOIN shared b",
    "SELECT * FROM invoice TABLESAMPLE bernoulli (50)",
    "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace",
    "VALUES (1, 'a'), (2, 'b')",
    "TABLE invoice",
    "(SELECT 1) UNION (SELECT 2) ORDER BY 1",
    "SELECT CASE id WHEN 1 THEN 'a' END, COALESCE(status, ''), NULLIF(id, 2), GREATEST(id, 3) FROM invoice",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM invoice GROUP BY GROUPING SETS ((status), "
    "())",
};

static void test_refused(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        r.request = (struct explain_request){.sql = refused[i][0], .measure = true};
        explain_run_wait(&r);
        explain_run_expect_error(&r, ERROR_INTERLOCK, refused[i][1]);
        assert_int_equal(r.phases[EXPLAIN_RUNNING], 0);
        explain_run_finish(&r);
    }
    explain_run_end(&r);
    assert_true(cluster_await(b->platform.cluster, 5, "SELECT is_called FROM counter", "f"));
}

static void test_taken(void **state)
{
    struct explain_run r;
    explain_run_begin(&r, *state);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        r.request =
            (struct explain_request){.sql = taken[i], .measure = true, .search_path = "\"Big One\", public"};
        explain_run_wait(&r);
        explain_run_expect_plan(&r);
        explain_run_finish(&r);
    }
    explain_run_end(&r);
}

/* ---- the check and the schemas ---- */

struct answer {
    int calls;
    bool plain;
    struct error error, refusal;
    char values[8][64], origins[8][96], types[8][64];
    size_t count;
    char names[4][64];
};

static bool has_answer(void *data)
{
    return ((struct answer *)data)->calls > 0;
}

static void checked(void *data, const struct explain_check *check, const struct error *error)
{
    struct answer *a = data;
    a->calls++;
    if (error)
        a->error = *error;
    if (!check)
        return;
    a->plain = check->plain_read;
    a->refusal = check->refusal;
    a->count = check->parameter_count;
    for (size_t i = 0; i < check->parameter_count && i < 8; i++) {
        const struct explain_parameter *p = &check->parameters[i];
        snprintf(a->values[i], sizeof a->values[i], "%s", p->value ? p->value : "(none)");
        snprintf(a->origins[i], sizeof a->origins[i], "%s", p->origin);
        snprintf(a->types[i], sizeof a->types[i], "%s", p->type);
    }
}

static struct answer check(struct explain_run *r)
{
    struct answer a = {0};
    explain_check(r->w.loop, r->w.server, &r->request, checked, &a);
    assert_int_equal(a.calls, 0);
    assert_true(loop_until(r->w.loop, 10, has_answer, &a));
    assert_int_equal(a.calls, 1);
    return a;
}

static void test_check(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request.search_path = "\"Big One\", public";
    r.request.sql =
        "SELECT i.id FROM invoice i WHERE i.status = $1 AND i.due > $2 AND seen > now() - $3::interval AND "
        "student_id = ANY($4) AND upper(status) = $5 LIMIT $6 OFFSET $7";
    struct answer a = check(&r);
    assert_int_equal(a.error.kind, ERROR_NONE);
    assert_true(a.plain);
    assert_int_equal(a.count, 7);
    assert_string_equal(a.types[0], "text");
    assert_string_equal(a.values[0], "open");
    assert_string_equal(a.origins[0], "common value of invoice.status");
    assert_string_equal(a.types[1], "date");
    assert_string_equal(a.origins[1], "middle value of invoice.due");
    assert_string_equal(a.values[2], "30 days");
    assert_string_equal(a.types[3], "integer[]");
    assert_true(a.values[3][0] == '{' && strchr(a.values[3], '}'));
    assert_string_equal(a.values[4], "(none)");
    assert_string_equal(a.origins[4], "no proposal");
    assert_string_equal(a.values[5], "100");
    assert_string_equal(a.values[6], "0");
    for (size_t i = 0; i < 7; i++) {
        r.request.values[i] = i == 4 ? "X" : talloc_strdup(NULL, a.values[i]);
        r.request.origins[i] = a.origins[i];
    }
    r.request.value_count = 7;
    r.request.measure = true;
    explain_run_wait(&r); /* what was proposed can be run */
    explain_run_expect_plan(&r);
    explain_run_finish(&r);
    for (size_t i = 0; i < 7; i++)
        if (i != 4)
            talloc_free((void *)r.request.values[i]);
    r.request = (struct explain_request){.sql = "SELECT evil()"};
    a = check(&r);
    assert_false(a.plain);
    assert_int_equal(a.error.kind, ERROR_NONE);
    assert_non_null(strstr(a.refusal.why, "evil"));
    r.request.sql = "SELECT * FROM invoice";
    assert_int_equal(check(&r).error.kind, ERROR_MISSING);
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

static void schemas_found(void *data, const struct explain_schema *schemas, size_t count,
                          const struct error *error)
{
    struct answer *a = data;
    a->calls++;
    a->count = count;
    if (error)
        a->error = *error;
    for (size_t i = 0; i < count && i < 4; i++)
        snprintf(a->names[i], sizeof a->names[i], "%s", schemas[i].name);
}

static struct answer schemas(struct explain_run *r, const char *sql)
{
    struct answer a = {0};
    r->request = (struct explain_request){.sql = sql};
    explain_schemas(r->w.loop, r->w.server, &r->request, schemas_found, &a);
    assert_true(loop_until(r->w.loop, 10, has_answer, &a));
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.error.kind, ERROR_NONE);
    return a;
}

static void test_schemas(void **state)
{
    struct explain_run r;
    explain_run_begin(&r, *state);
    struct answer a = schemas(
        &r,
        "WITH x AS (SELECT * FROM invoice) SELECT * FROM x JOIN shared USING (id), pg_class WHERE id = $1");
    assert_int_equal(a.count, 2);
    assert_string_equal(a.names[0], "\"Big One\"");
    assert_string_equal(a.names[1], "small");
    a = schemas(&r, "SELECT * FROM invoice WHERE id IN (SELECT id FROM only_here)");
    assert_int_equal(a.count, 1);
    assert_string_equal(a.names[0], "small");
    assert_int_equal(schemas(&r, "SELECT * FROM nowhere_at_all").count, 0);
    explain_run_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generic_plan), cmocka_unit_test(test_no_plan), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_taken),        cmocka_unit_test(test_check),   cmocka_unit_test(test_schemas),
    };
    return cmocka_run_group_tests(tests, explain_bench_start, explain_bench_end);
}
