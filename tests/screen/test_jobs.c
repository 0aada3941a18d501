/* The Jobs panel on a real terminal, over a job system whose answers are fixed (show_jobs.c): golden screens,
 * the keys of its acts, and a scan that is stopped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/golden.h"
#include "tests/harness/stage.h"

static struct terminal *show(struct stage *stage, const char *option, int rows, int columns)
{
    static char path[4096], home[3][4200];
    const char *slash = strrchr(SIGNALBOX_PROGRAM, '/');
    snprintf(path, sizeof path, "%.*s/screen/show_jobs", (int)(slash - SIGNALBOX_PROGRAM), SIGNALBOX_PROGRAM);
    snprintf(home[0], sizeof home[0], "XDG_CONFIG_HOME=%s/.config", stage->home);
    snprintf(home[1], sizeof home[1], "XDG_STATE_HOME=%s/.local/state", stage->home);
    snprintf(home[2], sizeof home[2], "SHOWN_ACTS=%s/acts", stage->home);
    struct terminal *t = terminal_start(
        (const char *const[]){path, "school", "queues", option, NULL},
        (const char *const[]){home[0], home[1], home[2], "SIGNALBOX_TEST_CLOCK=1795262500", "TZ=UTC", NULL},
        rows, columns, NULL);
    terminal_wait(t, 20, "reports");
    return t;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void check(struct terminal *t, const char *view, const char *size)
{
    char name[64];
    snprintf(name, sizeof name, "jobs-%s-%s", view, size);
    terminal_await_quiet(t, 0.1, 5);
    golden_check(name, terminal_text(t));
}

static void views(struct stage *stage, const char *option, int rows, int columns, const char *size)
{
    struct terminal *t = show(stage, option, rows, columns);
    check(t, "queues", size);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "those that run next");
    check(t, "list", size);
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "mail@worker2");
    check(t, "workers", size);
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "ValueError");
    check(t, "failures", size);
    terminal_keys(t, "F6");
    terminal_wait(t, 10, "remind parents");
    check(t, "schedule", size);
    leave(t);
}

static void at_their_sizes(void **state)
{
    views(*state, NULL, 24, 80, "80x24");
    views(*state, NULL, 30, 104, "104x30");
    views(*state, NULL, 50, 200, "200x50");
}

static void in_ascii(void **state)
{
    views(*state, "ascii", 24, 80, "ascii");
}

/* A scan of a hundred thousand jobs says how far it is, is stopped, and keeps what it found. */
static void a_scan_is_stopped(void **state)
{
    struct terminal *t = show(*state, NULL, 30, 104);
    terminal_keys(t, "s");
    terminal_wait(t, 10, "scan all of it for");
    terminal_keys(t, "text:task:pdf", "Enter");
    terminal_wait(t, 10, "C-c stops");
    terminal_wait(t, 10, "match \"task:pdf\"");
    terminal_keys(t, "C-c");
    terminal_wait(t, 10, "stopped");
    assert_non_null(strstr(terminal_text(t), "school.jobs.pdf"));
    assert_null(strstr(terminal_text(t), "report_card"));
    leave(t);
}

static void wrong_words_are_named(void **state)
{
    struct terminal *t = show(*state, NULL, 30, 104);
    terminal_keys(t, "s");
    terminal_wait(t, 10, "scan all of it for");
    terminal_keys(t, "text:retries>many", "Enter");
    terminal_wait(t, 10, "a number follows it");
    assert_non_null(strstr(terminal_text(t), "drains in"));
    leave(t);
}

/* All about a job: values of arguments only when they are asked for. */
static void values_are_hidden(void **state)
{
    struct terminal *t = show(*state, NULL, 30, 104);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "those that run next");
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "student");
    assert_null(strstr(terminal_text(t), "Lina"));
    terminal_keys(t, "Esc");
    terminal_wait(t, 10, "those that run next");
    terminal_keys(t, "v");
    terminal_wait(t, 10, "Lina Haddad");
    leave(t);
}

/* What was marked is what the change is about, whatever is selected later. */
static void marked_jobs_are_parked(void **state)
{
    struct stage *stage = *state;
    char path[4200], line[200] = "";
    struct terminal *t = show(stage, NULL, 30, 104);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "those that run next");
    terminal_keys(t, "Space", "Space", "Space", "F9");
    stage_choose(t, "park these 3 jobs");
    stage_dialog(t, "3 jobs are meant");
    terminal_keys(t, "Tab", "text:3", "Enter");
    terminal_wait(t, 10, "did reports");
    leave(t);
    snprintf(path, sizeof path, "%s/acts", stage->home);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, "park reports 3\n");
    fclose(file);
}

/* What is not possible stands there with the reason. */
static void what_cannot_be_done(void **state)
{
    struct terminal *t = show(*state, NULL, 30, 104);
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "mail@worker2");
    terminal_keys(t, "F9");
    terminal_wait(t, 10, "drain: take nothing more");
    terminal_keys(t, "Esc", "x");
    terminal_wait(t, 10, "no such host");
    leave(t);
}

static int begin(void **state)
{
    struct stage *stage = stage_new_bare();
    stage_config(stage, "school.yaml",
                 "environment: {kind: staging, title: School}\naccess: {locked: true}\n"
                 "redis: {broker: {url: \"redis://127.0.0.1:1/0\"}}\n");
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
        cmocka_unit_test(at_their_sizes),      cmocka_unit_test(in_ascii),
        cmocka_unit_test(a_scan_is_stopped),   cmocka_unit_test(wrong_words_are_named),
        cmocka_unit_test(values_are_hidden),   cmocka_unit_test(marked_jobs_are_parked),
        cmocka_unit_test(what_cannot_be_done),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
