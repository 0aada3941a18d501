/* Measured plans on a real server run in a sandbox: a run writes nothing, ends in time, is on record and
 * leaves nothing, however it ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/harness/explain_run.h"
#include "tests/harness/proxy.h"

static const char slow_sql[] =
    "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";

/* In a database of another encoding the server folds names in another way than the grammar here. */
static void test_other_encoding(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    cluster_do(b->platform.cluster,
               "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    explain_run_begin(&r, b);
    r.request = (struct explain_request){
        .sql = "SELECT 1 AS one WHERE 'é' <> 'e'", .database = "latin", .measure = true};
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    explain_run_finish(&r);
    free(cluster_sql_in(b->platform.cluster, "latin",
                        "CREATE FUNCTION U&\"\\00e9\"() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'"));
    r.request.sql = "SELECT é()";
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_INTERLOCK, "not UTF-8");
    explain_run_end(&r);
}

static void test_values(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT * FROM invoice WHERE student_id = $1 AND status = $2",
                                         .measure = true,
                                         .search_path = "\"Big One\"",
                                         .values = {"1", "late'); DROP TABLE shared; --"},
                                         .origins = {"typed", "typed"},
                                         .value_count = 2};
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    assert_true(explain_plan(r.explain)->nodes[0].rows == 0);
    assert_non_null(strstr(explain_note(r.explain), "custom plan, measured"));
    explain_run_finish(&r);
    r.request.values[1] = "late";
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    assert_true(explain_plan(r.explain)->nodes[0].rows > 100);
    explain_run_finish(&r);
    r.request.values[0] = "no number";
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_SERVER, "invalid input syntax");
    explain_run_finish(&r);
    r.request.value_count = 1;
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_USAGE, "2 parameters");
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

/* A function that lies about itself is stopped by the transaction, which is really READ ONLY. */
static void test_read_only(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    cluster_do(b->platform.cluster,
               "CREATE FUNCTION liar() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS "
               "'SELECT nextval(''counter'')'");
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT liar()", .measure = true};
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_SERVER, "read-only transaction");
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
    cluster_do(b->platform.cluster, "DROP FUNCTION liar()");
}

static void test_timeouts(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true, .statement_timeout_s = 0.2};
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_TIMEOUT, "statement timeout");
    explain_run_finish(&r);
    PGconn *locker = cluster_connect(b->platform.cluster, NULL);
    PQclear(PQexec(locker, "BEGIN; LOCK TABLE shared"));
    r.request = (struct explain_request){.sql = "SELECT * FROM shared", .measure = true};
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_TIMEOUT, "lock timeout");
    PQfinish(locker);
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

static struct audit_list *records(struct explain_bench *b)
{
    struct error error = {0};
    struct audit_list *list = audit_read(NULL, "test", b->folder, 0, &error);
    assert_non_null(list);
    return list;
}

static void test_audited(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    struct audit_list *list = records(b);
    size_t before = list->count;
    talloc_free(list);
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = "SELECT * FROM shared WHERE id = $1",
                                         .measure = true,
                                         .values = {"7"},
                                         .origins = {"common value of shared.id"},
                                         .value_count = 1};
    explain_run_wait(&r);
    explain_run_expect_plan(&r);
    explain_run_end(&r);
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
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin_on(&r, b, b->read, "/proc/nowhere");
    r.request = (struct explain_request){.sql = "SELECT 1", .measure = true};
    explain_run_wait(&r);
    explain_run_expect_error(&r, ERROR_INTERLOCK, "nothing was run");
    assert_int_equal(r.phases[EXPLAIN_RUNNING], 0);
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

static void test_cancel(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    explain_run_start(&r);
    assert_true(loop_until(r.w.loop, 10, explain_run_is_running, &r));
    assert_true(cluster_await(
        b->platform.cluster, 10,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox explain' AND "
        "state = 'active'",
        "1"));
    explain_cancel(r.explain);
    assert_int_equal(explain_phase(r.explain), EXPLAIN_CANCELLING);
    assert_true(loop_until(r.w.loop, 10, explain_run_has_ended, &r));
    explain_run_expect_error(&r, ERROR_CANCELLED, "cancelled by you");
    explain_run_finish(&r);
    explain_bench_expect_no_session(b);
    /* At once, before anything is connected. */
    explain_run_start(&r);
    explain_cancel(r.explain);
    assert_true(loop_until(r.w.loop, 10, explain_run_has_ended, &r));
    explain_run_expect_error(&r, ERROR_CANCELLED, "before it ran");
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
    struct audit_list *list = records(b);
    const struct audit_record *last = &list->records[list->count - 1];
    assert_string_equal(last->outcome, "cancelled");
    assert_non_null(strstr(last->detail, "cancelled by you"));
    talloc_free(list);
}

/* The server hangs: the user is told that it may still run. */
static void test_cancel_of_a_hung_server(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    explain_run_start(&r);
    assert_true(loop_until(r.w.loop, 10, explain_run_is_running, &r));
    cluster_pause(b->platform.cluster);
    explain_cancel(r.explain);
    assert_true(loop_until(r.w.loop, 10, explain_run_has_ended, &r));
    explain_run_expect_error(&r, ERROR_CANCELLED, "may still run");
    cluster_resume(b->platform.cluster);
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

static void test_connection_lost(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    explain_run_start(&r);
    assert_true(loop_until(r.w.loop, 10, explain_run_is_running, &r));
    assert_true(cluster_await(
        b->platform.cluster, 10,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
        "'signalbox explain'",
        "1"));
    assert_true(loop_until(r.w.loop, 10, explain_run_has_ended, &r));
    explain_run_expect_error(&r, ERROR_LOST, "");
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

static void test_freed_at_any_time(void **state)
{
    struct explain_bench *b = *state;
    struct explain_run r;
    explain_run_begin(&r, b);
    r.request = (struct explain_request){.sql = slow_sql, .measure = true};
    explain_run_start(&r);
    explain_run_finish(&r);
    explain_run_start(&r);
    assert_true(loop_until(r.w.loop, 10, explain_run_is_running, &r));
    explain_run_finish(&r);
    explain_bench_expect_no_session(b); /* it was cancelled: otherwise it would run for the whole timeout */
    r.frees = true;
    r.request = (struct explain_request){.sql = "SELECT 1", .measure = true};
    explain_run_wait(&r);
    assert_null(r.explain);
    r.request = (struct explain_request){.sql = "SELECT nonsense"};
    explain_run_wait(&r);
    assert_null(r.explain);
    explain_run_end(&r);
    explain_bench_expect_no_session(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_encoding),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_read_only),       cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_audited),         cmocka_unit_test(test_not_run_unrecorded),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_cancel_of_a_hung_server),
        cmocka_unit_test(test_connection_lost), cmocka_unit_test(test_freed_at_any_time),
    };
    return cmocka_run_group_tests(tests, explain_bench_start, explain_bench_end);
}
