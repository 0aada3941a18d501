/* Servers that answer slowly: commands wait for the answer, and an answer that comes late opens nothing under
 * the fingers of somebody who went on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/stage.h"

/* An environment whose logins to read and to watch go through the proxy, or not. */
static void through(struct stage *s, struct proxy *proxy, bool watch)
{
    char far[64], *text;
    snprintf(far, sizeof far, " port=%d", proxy_port(proxy));
    if (asprintf(&text,
                 "environment: {kind: staging, title: Far}\npostgres:\n  main: {watch: \"%s%s\", read: "
                 "\"%s%s\"}\naccess: {locked: false}\n",
                 s->watch, watch ? far : "", s->read, far) < 0)
        abort();
    stage_config(s, "far.yaml", text);
    free(text);
}

static void a_command_waits_for_a_slow_line(void **state)
{
    struct stage *s = *state;
    struct proxy *proxy = proxy_start(cluster_port(s->cluster));
    through(s, proxy, true);
    proxy_latency(proxy, 250);
    struct stage_run run = stage_command(s, "queries", "-e", "far", "--view", "activity", "--json");
    if (run.status != 0)
        fail_msg("status %d: %.500s", run.status, run.err);
    assert_non_null(strstr(run.out, "checkpointer"));
    assert_string_equal(run.err, "");
    stage_run_free(&run);
    proxy_free(proxy);
}

static bool all_closed(void *data)
{
    return proxy_open(data) == 0;
}

static bool any_accepted(void *data)
{
    return proxy_accepted(data) > 0;
}

static void a_late_check_opens_no_dialog(void **state)
{
    struct stage *s = *state;
    struct proxy *proxy = proxy_start(cluster_port(s->cluster));
    through(s, proxy, false);
    stage_do(stage_session(s, "reader"), "SELECT count(*) FROM invoice WHERE id = 7");
    struct terminal *t = stage_open(s, "-e", "far");
    terminal_wait(t, 10, "FROM invoice WH");
    terminal_keys(t, "/", "text:invoice WHERE id", "Enter");
    terminal_wait_gone(t, 5, "CREATE EXTENSION");
    proxy_hang(proxy, true);
    terminal_keys(t, "F8");
    terminal_wait(t, 10, "checking that the statement only reads");
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "nobody waits");
    assert_true(stage_until(10, any_accepted, proxy));
    proxy_hang(proxy, false);
    /* The check has been made when its connection is closed again. */
    assert_true(stage_until(15, all_closed, proxy));
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "checkpointer");
    assert_false(terminal_has(t, "Measure:"));
    /* Who stays is shown it. */
    terminal_keys(t, "F2");
    terminal_wait(t, 10, "FROM invoice WH");
    terminal_keys(t, "F8");
    stage_dialog(t, "Measure: EXPLAIN ANALYZE");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, "Measure:");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    proxy_free(proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_command_waits_for_a_slow_line, stage_calm_setup),
        cmocka_unit_test_teardown(a_late_check_opens_no_dialog, stage_calm_setup),
    };
    return cmocka_run_group_tests_name("slow lines", tests, stage_begin_group, stage_end_group);
}
