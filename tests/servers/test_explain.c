/* Plans and measured plans on a real server: what is refused, what is taken, and that a run leaves nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/audit.h"
#include "backends/postgres/explain.h"
#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/watcher.h"

struct bench {
    struct platform platform;
    char *read;
    char folder[64];
};

static const char schema_sql[] =
    "CREATE ROLE sb_read LOGIN PASSWORD 'r' IN ROLE pg_read_all_data;"
    "CREATE TABLE public.shared (id int PRIMARY KEY, name text);"
    "CREATE SCHEMA small; CREATE SCHEMA \"Big One\";"
    "CREATE TABLE small.invoice (id int PRIMARY KEY, student_id int, status text, data jsonb, tags text[],"
    "  due date, seen timestamptz);"
    "CREATE TABLE \"Big One\".invoice (LIKE small.invoice INCLUDING ALL);"
    "CREATE TABLE small.only_here (id int);"
    "INSERT INTO small.invoice SELECT i, 7, 'open', '{\"a\": 1}', '{x}', '2026-01-01'::date + i, now()"
    "  FROM generate_series(1, 20) i;"
    "INSERT INTO \"Big One\".invoice SELECT i, i % 3, CASE WHEN i % 10 = 0 THEN 'late' ELSE 'open' END, "
    "'{}', '{}',"
    "  '2026-01-01'::date + i % 300, now() FROM generate_series(1, 20000) i;"
    "CREATE SEQUENCE counter; CREATE TABLE written (x int);"
    "CREATE FUNCTION evil(x int DEFAULT 1) RETURNS int LANGUAGE plpgsql SECURITY DEFINER"
    "  AS 'BEGIN PERFORM nextval(''counter''); RETURN x; END';"
    "CREATE FUNCTION \"Quoted \"\"Evil\"\"\"() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';"
    "CREATE FUNCTION evil_text(x text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';"
    "CREATE FUNCTION calm(x int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';"
    "CREATE FUNCTION with_default(x bigint DEFAULT nextval('counter')) RETURNS bigint LANGUAGE sql STABLE AS "
    "'SELECT $1';"
    "CREATE FUNCTION of_row(r public.shared) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';"
    "CREATE OPERATOR public.### (FUNCTION = evil_text, RIGHTARG = text);"
    "CREATE FUNCTION evil_step(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + $2';"
    "CREATE AGGREGATE evil_sum(int) (SFUNC = evil_step, STYPE = int, INITCOND = '0');"
    "CREATE VIEW evil_view AS SELECT evil(id) AS x FROM shared;"
    "CREATE VIEW over_evil_view AS SELECT x + 1 AS y FROM evil_view;"
    "CREATE VIEW builtin_view AS SELECT pg_try_advisory_lock(id) FROM shared;"
    "CREATE VIEW calm_view AS SELECT id, upper(name) AS name FROM shared WHERE id < 100;"
    "CREATE TABLE guarded (id int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY watched ON guarded FOR SELECT USING (evil(id) > 0);"
    "CREATE TABLE tenant_rows (id int, tenant int); ALTER TABLE tenant_rows ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY mine ON tenant_rows USING (tenant = current_setting('app.tenant_id', true)::int);"
    "CREATE DOMAIN evil_domain AS int CHECK (evil(VALUE) > 0);"
    "CREATE TYPE money_pair AS (a int, b int);"
    "CREATE FUNCTION to_pair(int) RETURNS money_pair LANGUAGE sql VOLATILE AS 'SELECT ROW($1, "
    "1)::money_pair';"
    "CREATE CAST (int AS money_pair) WITH FUNCTION to_pair(int);"
    "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;"
    "CREATE FOREIGN TABLE far_away (x int) SERVER far;"
    "CREATE TABLE parted (x int) PARTITION BY RANGE (x);"
    "CREATE FOREIGN TABLE far_part PARTITION OF parted FOR VALUES FROM (0) TO (10) SERVER far;"
    "CREATE VIEW far_view AS SELECT * FROM far_away;"
    "ANALYZE small.invoice, \"Big One\".invoice, shared";

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    platform_start(&b->platform, NULL);
    cluster_do(b->platform.cluster, schema_sql);
    b->read = cluster_dsn(b->platform.cluster, 0, "sb_read", "r", NULL);
    const char *base = getenv("TMPDIR");
    snprintf(b->folder, sizeof b->folder, "%s/explain-XXXXXX", base && strlen(base) < 40 ? base : "/tmp");
    assert_non_null(mkdtemp(b->folder));
    char journal[96];
    snprintf(journal, sizeof journal, "%s/no journal", b->folder);
    setenv("SIGNALBOX_JOURNAL_SOCKET", journal, 1);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    assert_int_equal(system(command), 0);
    platform_end(&b->platform);
    free(b->read);
    free(b);
    return 0;
}

/* ---- one run ---- */

struct run {
    struct watcher w;
    struct audit *audit;
    struct explain *explain;
    struct explain_request request;
    int phases[6];
    bool ended;
    bool frees; /* itself in the callback that tells the end */
};

static void changed(void *data, struct explain *explain)
{
    struct run *r = data;
    enum explain_phase phase = explain_phase(explain);
    assert_false(r->ended);
    r->phases[phase]++;
    r->ended = phase == EXPLAIN_DONE || phase == EXPLAIN_FAILED;
    if (r->ended && r->frees) {
        explain_free(explain);
        r->explain = NULL;
    }
}

static bool has_ended(void *data)
{
    return ((struct run *)data)->ended;
}

static bool is_running(void *data)
{
    return ((struct run *)data)->phases[EXPLAIN_RUNNING] > 0;
}

static void begin_on(struct run *r, struct bench *b, const char *read, const char *folder)
{
    memset(r, 0, sizeof *r);
    watcher_start(&r->w, b->platform.watch, NULL);
    r->w.definition.read = read;
    r->audit = audit_new(r->w.loop, "test", folder ? folder : b->folder);
}

static void begin(struct run *r, struct bench *b)
{
    begin_on(r, b, b->read, NULL);
}

static void start(struct run *r)
{
    r->ended = false;
    memset(r->phases, 0, sizeof r->phases);
    r->explain = explain_new(r->w.loop, r->w.server, r->audit, &r->request, changed, r);
    assert_int_equal(r->phases[EXPLAIN_DONE] + r->phases[EXPLAIN_FAILED], 0);
}

static void finish(struct run *r)
{
    explain_free(r->explain);
    r->explain = NULL;
}

static void end(struct run *r)
{
    explain_free(r->explain);
    audit_free(r->audit);
    watcher_end(&r->w);
}

static void explain_it(struct run *r)
{
    start(r);
    assert_true(loop_until(r->w.loop, 20, has_ended, r));
}

static void expect_plan(struct run *r)
{
    if (explain_phase(r->explain) != EXPLAIN_DONE) {
        char text[1400];
        error_format(explain_error(r->explain), text, sizeof text);
        fail_msg("%s: %s", r->request.sql, text);
    }
    assert_non_null(explain_plan(r->explain));
    assert_int_equal(explain_plan(r->explain)->has_actual, r->request.measure);
}

static void expect_error(struct run *r, enum error_kind kind, const char *part)
{
    char text[1400];
    assert_int_equal(explain_phase(r->explain), EXPLAIN_FAILED);
    assert_null(explain_plan(r->explain));
    error_format(explain_error(r->explain), text, sizeof text);
    if (explain_error(r->explain)->kind != kind || !strstr(text, part))
        fail_msg("%s: %s (%s), expected %s (%s)", r->request.sql, text,
                 error_kind_name(explain_error(r->explain)->kind), part, error_kind_name(kind));
}

/* ---- plans ---- */

static void test_generic_plan(void **state)
{
    struct run r;
    begin(&r, *state);
    r.request.sql = "SELECT * FROM invoice WHERE status = $1 AND seen > now() - interval $2 LIMIT $3";
    r.request.search_path = "\"Big One\", public";
    explain_it(&r);
    expect_plan(&r);
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
    finish(&r);
    r.request.sql = "SELECT count(*) FROM invoice -- no parameter";
    explain_it(&r);
    expect_plan(&r);
    finish(&r);
    cluster_do(((struct bench *)*state)->platform.cluster, "CREATE DATABASE \"o'ther\"");
    r.request = (struct explain_request){.sql = "SELECT 1", .database = "o'ther"};
    explain_it(&r);
    expect_plan(&r);
    assert_non_null(strstr(explain_note(r.explain), "database o'ther"));
    end(&r);
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
    struct run r;
    begin(&r, *state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r.request = (struct explain_request){.sql = cases[i].sql, .truncated = cases[i].truncated};
        explain_it(&r);
        expect_error(&r, cases[i].kind, cases[i].part);
        finish(&r);
    }
    r.w.definition.read = NULL;
    r.request = (struct explain_request){.sql = "SELECT 1"};
    explain_it(&r);
    expect_error(&r, ERROR_INTERLOCK, "Add read:");
    end(&r);
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
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        r.request = (struct explain_request){.sql = refused[i][0], .measure = true};
        explain_it(&r);
        expect_error(&r, ERROR_INTERLOCK, refused[i][1]);
        assert_int_equal(r.phases[EXPLAIN_RUNNING], 0);
        finish(&r);
    }
    end(&r);
    assert_true(cluster_await(b->platform.cluster, 5, "SELECT is_called FROM counter", "f"));
}

static void test_taken(void **state)
{
    struct run r;
    begin(&r, *state);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        r.request =
            (struct explain_request){.sql = taken[i], .measure = true, .search_path = "\"Big One\", public"};
        explain_it(&r);
        expect_plan(&r);
        finish(&r);
    }
    end(&r);
}

/* ---- the sandbox ---- */

static const char slow_sql[] =
    "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
static const char sessions_sql[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox explain'";

static void expect_no_session(struct bench *b)
{
    assert_true(cluster_await(b->platform.cluster, 10, sessions_sql, "0"));
}

/* In a database of another encoding the server folds names in another way than the grammar here. */
static void test_other_encoding(void **state)
{
    struct bench *b = *state;
    struct run r;
    cluster_do(b->platform.cluster,
               "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    begin(&r, b);
    r.request = (struct explain_request){
        .sql = "SELECT 1 AS one WHERE 'é' <> 'e'", .database = "latin", .measure = true};
    explain_it(&r);
    expect_plan(&r);
    finish(&r);
    free(cluster_sql_in(b->platform.cluster, "latin",
                        "CREATE FUNCTION U&\"\\00e9\"() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'"));
    r.request.sql = "SELECT é()";
    explain_it(&r);
    expect_error(&r, ERROR_INTERLOCK, "not UTF-8");
    end(&r);
}

static void test_values(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT * FROM invoice WHERE student_id = $1 AND status = $2",
                                         .measure = true,
                                         .search_path = "\"Big One\"",
                                         .values = {"1", "late'); DROP TABLE shared; --"},
                                         .origins = {"typed", "typed"},
                                         .value_count = 2};
    explain_it(&r);
    expect_plan(&r);
    assert_true(explain_plan(r.explain)->nodes[0].rows == 0);
    assert_non_null(strstr(explain_note(r.explain), "custom plan, measured"));
    finish(&r);
    r.request.values[1] = "late";
    explain_it(&r);
    expect_plan(&r);
    assert_true(explain_plan(r.explain)->nodes[0].rows > 100);
    finish(&r);
    r.request.values[0] = "no number";
    explain_it(&r);
    expect_error(&r, ERROR_SERVER, "invalid input syntax");
    finish(&r);
    r.request.value_count = 1;
    explain_it(&r);
    expect_error(&r, ERROR_USAGE, "2 parameters");
    end(&r);
    expect_no_session(b);
}

/* A function that lies about itself is stopped by the transaction, which is really READ ONLY. */
static void test_read_only(void **state)
{
    struct bench *b = *state;
    struct run r;
    cluster_do(b->platform.cluster,
               "CREATE FUNCTION liar() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS "
               "'SELECT nextval(''counter'')'");
    begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT liar()", .measure = true};
    explain_it(&r);
    expect_error(&r, ERROR_SERVER, "read-only transaction");
    end(&r);
    expect_no_session(b);
    cluster_do(b->platform.cluster, "DROP FUNCTION liar()");
}

static void test_timeouts(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true, .statement_timeout_s = 0.2};
    explain_it(&r);
    expect_error(&r, ERROR_TIMEOUT, "statement timeout");
    finish(&r);
    PGconn *locker = cluster_connect(b->platform.cluster, NULL);
    PQclear(PQexec(locker, "BEGIN; LOCK TABLE shared"));
    r.request = (struct explain_request){.sql = "SELECT * FROM shared", .measure = true};
    explain_it(&r);
    expect_error(&r, ERROR_TIMEOUT, "lock timeout");
    PQfinish(locker);
    end(&r);
    expect_no_session(b);
}

static struct audit_list *records(struct bench *b)
{
    struct error error = {0};
    struct audit_list *list = audit_read(NULL, "test", b->folder, 0, &error);
    assert_non_null(list);
    return list;
}

static void test_audited(void **state)
{
    struct bench *b = *state;
    struct run r;
    struct audit_list *list = records(b);
    size_t before = list->count;
    talloc_free(list);
    begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT * FROM shared WHERE id = $1",
                                         .measure = true,
                                         .values = {"7"},
                                         .origins = {"common value of shared.id"},
                                         .value_count = 1};
    explain_it(&r);
    expect_plan(&r);
    end(&r);
    list = records(b);
    assert_int_equal(list->count, before + 2);
    const struct audit_record *first = &list->records[before], *second = first + 1;
    assert_string_equal(first->event, "measure");
    assert_string_equal(first->hazard, "measure");
    assert_string_equal(first->role, "sb_read");
    assert_string_equal(first->server, "main");
    assert_non_null(strstr(first->command, "EXPLAIN (ANALYZE"));
    assert_non_null(strstr(first->command, "SELECT * FROM shared WHERE id = $1"));
    assert_non_null(strstr(first->detail, "$1 integer = 7: common value of shared.id"));
    assert_string_equal(second->event, "after");
    assert_string_equal(second->change, first->change);
    assert_string_equal(second->outcome, "done");
    assert_non_null(strstr(second->detail, " ms"));
    talloc_free(list);
}

static void test_not_run_unrecorded(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin_on(&r, b, b->read, "/proc/nowhere");
    r.request = (struct explain_request){.sql = "SELECT 1", .measure = true};
    explain_it(&r);
    expect_error(&r, ERROR_INTERLOCK, "nothing was run");
    assert_int_equal(r.phases[EXPLAIN_RUNNING], 0);
    end(&r);
    expect_no_session(b);
}

static void test_cancel(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    start(&r);
    assert_true(loop_until(r.w.loop, 10, is_running, &r));
    assert_true(cluster_await(
        b->platform.cluster, 10,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox explain' AND "
        "state = 'active'",
        "1"));
    explain_cancel(r.explain);
    assert_int_equal(explain_phase(r.explain), EXPLAIN_CANCELLING);
    assert_true(loop_until(r.w.loop, 10, has_ended, &r));
    expect_error(&r, ERROR_CANCELLED, "cancelled by you");
    finish(&r);
    expect_no_session(b);
    /* At once, before anything is connected. */
    start(&r);
    explain_cancel(r.explain);
    assert_true(loop_until(r.w.loop, 10, has_ended, &r));
    expect_error(&r, ERROR_CANCELLED, "before it ran");
    end(&r);
    expect_no_session(b);
    struct audit_list *list = records(b);
    const struct audit_record *last = &list->records[list->count - 1];
    assert_string_equal(last->outcome, "cancelled");
    assert_non_null(strstr(last->detail, "cancelled by you"));
    talloc_free(list);
}

/* The server hangs: the user is told that it may still run. */
static void test_cancel_of_a_hung_server(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    start(&r);
    assert_true(loop_until(r.w.loop, 10, is_running, &r));
    cluster_pause(b->platform.cluster);
    explain_cancel(r.explain);
    assert_true(loop_until(r.w.loop, 10, has_ended, &r));
    expect_error(&r, ERROR_CANCELLED, "may still run");
    cluster_resume(b->platform.cluster);
    end(&r);
    expect_no_session(b);
}

static void test_connection_lost(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    start(&r);
    assert_true(loop_until(r.w.loop, 10, is_running, &r));
    assert_true(cluster_await(
        b->platform.cluster, 10,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
        "'signalbox explain'",
        "1"));
    assert_true(loop_until(r.w.loop, 10, has_ended, &r));
    expect_error(&r, ERROR_LOST, "");
    end(&r);
    expect_no_session(b);
}

static void test_freed_at_any_time(void **state)
{
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    start(&r);
    finish(&r);
    start(&r);
    assert_true(loop_until(r.w.loop, 10, is_running, &r));
    finish(&r);
    expect_no_session(b); /* it was cancelled: otherwise it would run for the whole timeout */
    r.frees = true;
    r.request = (struct explain_request){.sql = "SELECT 1", .measure = true};
    explain_it(&r);
    assert_null(r.explain);
    r.request = (struct explain_request){.sql = "SELECT nonsense"};
    explain_it(&r);
    assert_null(r.explain);
    end(&r);
    expect_no_session(b);
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

static struct answer check(struct run *r)
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
    struct bench *b = *state;
    struct run r;
    begin(&r, b);
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
    explain_it(&r); /* what was proposed can be run */
    expect_plan(&r);
    finish(&r);
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
    end(&r);
    expect_no_session(b);
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

static struct answer schemas(struct run *r, const char *sql)
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
    struct run r;
    begin(&r, *state);
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
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generic_plan),    cmocka_unit_test(test_no_plan),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_taken),
        cmocka_unit_test(test_other_encoding),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_read_only),       cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_audited),         cmocka_unit_test(test_not_run_unrecorded),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_cancel_of_a_hung_server),
        cmocka_unit_test(test_connection_lost), cmocka_unit_test(test_freed_at_any_time),
        cmocka_unit_test(test_check),           cmocka_unit_test(test_schemas),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
