#include "tests/harness/explain_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char explain_sessions_sql[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox explain'";

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

int explain_bench_start(void **state)
{
    struct explain_bench *b = calloc(1, sizeof *b);
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

int explain_bench_end(void **state)
{
    struct explain_bench *b = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    assert_int_equal(system(command), 0);
    platform_end(&b->platform);
    free(b->read);
    free(b);
    return 0;
}

/* ---- one run ---- */

static void changed(void *data, struct explain *explain)
{
    struct explain_run *r = data;
    enum explain_phase phase = explain_phase(explain);
    assert_false(r->ended);
    r->phases[phase]++;
    r->ended = phase == EXPLAIN_DONE || phase == EXPLAIN_FAILED;
    if (r->ended && r->frees) {
        explain_free(explain);
        r->explain = NULL;
    }
}

bool explain_run_has_ended(void *data)
{
    return ((struct explain_run *)data)->ended;
}

bool explain_run_is_running(void *data)
{
    return ((struct explain_run *)data)->phases[EXPLAIN_RUNNING] > 0;
}

void explain_run_begin_on(struct explain_run *r, struct explain_bench *b, const char *read,
                          const char *folder)
{
    memset(r, 0, sizeof *r);
    watcher_start(&r->w, b->platform.watch, NULL);
    r->w.definition.read = read;
    r->audit = audit_new(r->w.loop, "test", folder ? folder : b->folder);
}

void explain_run_begin(struct explain_run *r, struct explain_bench *b)
{
    explain_run_begin_on(r, b, b->read, NULL);
}

void explain_run_start(struct explain_run *r)
{
    r->ended = false;
    memset(r->phases, 0, sizeof r->phases);
    r->explain = explain_new(r->w.loop, r->w.server, r->audit, &r->request, changed, r);
    assert_int_equal(r->phases[EXPLAIN_DONE] + r->phases[EXPLAIN_FAILED], 0);
}

void explain_run_finish(struct explain_run *r)
{
    explain_free(r->explain);
    r->explain = NULL;
}

void explain_run_end(struct explain_run *r)
{
    explain_free(r->explain);
    audit_free(r->audit);
    watcher_end(&r->w);
}

void explain_run_wait(struct explain_run *r)
{
    explain_run_start(r);
    assert_true(loop_until(r->w.loop, 20, explain_run_has_ended, r));
}

void explain_run_expect_plan(struct explain_run *r)
{
    if (explain_phase(r->explain) != EXPLAIN_DONE) {
        char text[1400];
        error_format(explain_error(r->explain), text, sizeof text);
        fail_msg("%s: %s", r->request.sql, text);
    }
    assert_non_null(explain_plan(r->explain));
    assert_int_equal(explain_plan(r->explain)->has_actual, r->request.measure);
}

void explain_run_expect_error(struct explain_run *r, enum error_kind kind, const char *part)
{
    char text[1400];
    assert_int_equal(explain_phase(r->explain), EXPLAIN_FAILED);
    assert_null(explain_plan(r->explain));
    error_format(explain_error(r->explain), text, sizeof text);
    if (explain_error(r->explain)->kind != kind || !strstr(text, part))
        fail_msg("%s: %s (%s), expected %s (%s)", r->request.sql, text,
                 error_kind_name(explain_error(r->explain)->kind), part, error_kind_name(kind));
}

void explain_bench_expect_no_session(struct explain_bench *b)
{
    assert_true(cluster_await(b->platform.cluster, 10, explain_sessions_sql, "0"));
}
