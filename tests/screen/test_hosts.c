/* The Hosts panel on a real terminal: golden screens of hosts whose answers are fixed (show_hosts.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/golden.h"
#include "tests/harness/stage.h"

static struct terminal *show(struct stage *stage, const char *view, const char *option, int rows, int columns,
                             const char *const more)
{
    static char path[4096], home[2][4200];
    const char *slash = strrchr(SIGNALBOX_PROGRAM, '/');
    snprintf(path, sizeof path, "%.*s/screen/show_hosts", (int)(slash - SIGNALBOX_PROGRAM),
             SIGNALBOX_PROGRAM);
    snprintf(home[0], sizeof home[0], "XDG_CONFIG_HOME=%s/.config", stage->home);
    snprintf(home[1], sizeof home[1], "XDG_STATE_HOME=%s/.local/state", stage->home);
    struct terminal *t = terminal_start(
        (const char *const[]){path, "school", view, option, NULL},
        (const char *const[]){home[0], home[1], "SIGNALBOX_TEST_CLOCK=1795262500", "TZ=UTC", more, NULL},
        rows, columns, NULL);
    terminal_wait(t, 20, "web1");
    terminal_wait(t, 20, "3 of 4 answer");
    return t;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void check(struct terminal *t, const char *name)
{
    terminal_await_quiet(t, 0.1, 5);
    golden_check(name, terminal_text(t));
}

static void fleet_and_host(struct stage *stage, const char *option, int rows, int columns, const char *more,
                           const char *size)
{
    char name[64];
    struct terminal *t = show(stage, "fleet", option, rows, columns, more);
    snprintf(name, sizeof name, "hosts-fleet-%s", size);
    check(t, name);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "Overview");
    terminal_wait(t, 10, "cpu %");
    snprintf(name, sizeof name, "hosts-overview-%s", size);
    check(t, name);
    leave(t);
}

static void at_their_sizes(void **state)
{
    fleet_and_host(*state, NULL, 24, 80, NULL, "80x24");
    fleet_and_host(*state, NULL, 30, 104, NULL, "104x30");
    fleet_and_host(*state, NULL, 50, 200, NULL, "200x50");
}

static void in_ascii(void **state)
{
    fleet_and_host(*state, "ascii", 24, 80, NULL, "ascii");
}

/* Without colour every state is still a word and a mark: the text is the same, and no colour is sent. */
static void without_colour(void **state)
{
    struct terminal *t = show(*state, "fleet", NULL, 30, 104, "NO_COLOR=1");
    size_t length;
    check(t, "hosts-fleet-104x30");
    const char *raw = terminal_raw(t, &length);
    assert_null(strstr(raw, "\033[31m"));
    assert_null(strstr(raw, "\033[33m"));
    assert_null(strstr(raw, "38;5;"));
    leave(t);
}

static void groups(void **state)
{
    struct terminal *t = show(*state, "groups", NULL, 30, 104, NULL);
    check(t, "hosts-groups-104x30");
    leave(t);
}

/* show_hosts keeps no state, as with --no-state: of what was before there is nothing, and the screen says so.
 */
static void without_a_past(void **state)
{
    struct terminal *t = show(*state, "fleet", NULL, 50, 200, NULL);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "memory %");
    terminal_keys(t, "b");
    terminal_wait(t, 10, "charts of the last 6 h");
    terminal_wait(t, 10, "Start without --no-state to keep it.");
    leave(t);
}

static int begin(void **state)
{
    struct stage *stage = stage_new_bare();
    stage_config(
        stage, "school.yaml",
        "environment: {kind: staging, title: School}\n"
        "hosts:\n  web1: {group: web}\n  web2: {group: web}\n  db1: {group: db}\n  q1: {group: worker}\n");
    *state = stage;
    return 0;
}

static int end(void **state)
{
    stage_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_their_sizes), cmocka_unit_test(in_ascii),       cmocka_unit_test(without_colour),
        cmocka_unit_test(groups),         cmocka_unit_test(without_a_past),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
