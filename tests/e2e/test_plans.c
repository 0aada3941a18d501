/* From a statement to its plan in the console: estimated, measured, refused, cancelled; and what is on record
 * of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

static int begin_group(void **state)
{
    struct stage *s = stage_new(NULL);
    stage_environment(s, "staging", "staging", false);
    *state = s;
    return 0;
}

static int calm(void **state)
{
    stage_calm(*state);
    stage_environment(*state, "staging", "staging", false);
    return 0;
}

/* The console on the one statement that contains the text. */
static struct terminal *open_on(struct stage *s, const char *filter, const char *shown)
{
    struct terminal *t = stage_open(s, "-e", "staging");
    terminal_wait(t, 10, "CREATE EXTENSION");
    char keys[128];
    snprintf(keys, sizeof keys, "text:%s", filter);
    terminal_keys(t, "/", keys, "Enter");
    terminal_wait_gone(t, 5, "CREATE EXTENSION");
    terminal_wait(t, 10, shown);
    return t;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* No connection of ours is left on the server when a plan has been made. */
static void expect_no_explain_session(struct stage *s)
{
    assert_true(cluster_await(
        s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox explain'",
        "0"));
}

static void a_plan_is_estimated_and_the_statement_not_run(void **state)
{
    struct stage *s = *state;
    stage_do(stage_session(s, "reader"), "SELECT count(*) FROM invoice WHERE id = 7");
    struct terminal *t = open_on(s, "invoice WHERE id", "FROM invoice WH");
    terminal_keys(t, "x");
    terminal_wait(t, 10, "estimated, not run");
    terminal_wait(t, 5, "generic plan");
    terminal_wait(t, 5, "Index Only Scan using invoice_pkey");
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "What EXPLAIN says");
    leave(t);
    expect_no_explain_session(s);
    struct stage_run run = stage_command(s, "audit", "-e", "staging", "--json");
    assert_null(strstr(run.out, "measure"));
    stage_run_free(&run);
}

static void a_plan_is_measured_after_a_dialog_and_on_record(void **state)
{
    struct stage *s = *state;
    stage_do(stage_session(s, "reader"), "SELECT count(*) FROM invoice WHERE id = 7");
    struct terminal *t = open_on(s, "invoice WHERE id", "FROM invoice WH");
    terminal_keys(t, "F8");
    stage_dialog(t, "Measure: EXPLAIN ANALYZE");
    terminal_wait(t, 5, "sb_read on main");
    terminal_wait(t, 5, "$1 integer");
    terminal_keys(t, "C-u", "text:7", "Enter");
    terminal_wait(t, 15, "custom plan, measured");
    terminal_wait(t, 5, "planning");
    leave(t);
    expect_no_explain_session(s);
    struct stage_run run = stage_command(s, "audit", "-e", "staging", "--json");
    assert_non_null(strstr(run.out, "\"event\":\"measure\""));
    assert_non_null(strstr(run.out, "EXPLAIN (ANALYZE"));
    assert_non_null(strstr(run.out, "\"outcome\":\"done\""));
    stage_run_free(&run);
}

static void what_is_no_plain_read_is_not_measured(void **state)
{
    struct stage *s = *state;
    PGconn *session = stage_session(s, "writer");
    stage_do(session, "UPDATE invoice SET paid = paid WHERE id = 7");
    struct terminal *t = open_on(s, "UPDATE invoice", "UPDATE invoice");
    terminal_keys(t, "F8");
    terminal_wait(t, 10, "not a plain read");
    terminal_expect_no(t, "Measure:");
    leave(t);
    expect_no_explain_session(s);
}

static void a_measured_plan_is_cancelled(void **state)
{
    struct stage *s = *state;
    stage_do(stage_session(s, "counter"),
             "SELECT count(*) FROM generate_series(1::bigint, 3) a, generate_series(1::bigint, 3) b");
    struct terminal *t = open_on(s, "count generate_series", "FROM generate_");
    terminal_keys(t, "F8");
    stage_dialog(t, "Measure: EXPLAIN ANALYZE");
    terminal_keys(t, "C-u", "text:1", "Tab", "C-u", "text:1000000", "Tab", "C-u", "text:1", "Tab", "C-u",
                  "text:1000000", "Enter");
    terminal_wait(t, 15, "running");
    terminal_keys(t, "C-c");
    terminal_wait(t, 15, "cancelled by you");
    leave(t);
    expect_no_explain_session(s);
    struct stage_run run = stage_command(s, "audit", "-e", "staging", "--json");
    assert_non_null(strstr(run.out, "\"outcome\":\"cancelled\""));
    stage_run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_plan_is_estimated_and_the_statement_not_run, calm),
        cmocka_unit_test_teardown(a_plan_is_measured_after_a_dialog_and_on_record, calm),
        cmocka_unit_test_teardown(what_is_no_plain_read_is_not_measured, calm),
        cmocka_unit_test_teardown(a_measured_plan_is_cancelled, calm),
    };
    return cmocka_run_group_tests_name("plans", tests, begin_group, stage_end_group);
}
