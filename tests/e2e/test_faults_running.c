/* What happens to servers, lines and terminals while the console looks: it says so, answers keys, and goes on
 * by itself. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/stage.h"

static int begin_group(void **state)
{
    *state = stage_new((const char *[]){"-c", "max_connections=16", NULL});
    return 0;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 20, 0);
    terminal_end(t);
}

static void keys_answer(struct terminal *t)
{
    terminal_keys(t, "?");
    terminal_wait(t, 5, "› help");
    terminal_keys(t, "q");
    terminal_wait_gone(t, 5, "› help");
}

/* An environment whose logins go through the proxy. */
static void environment_through(struct stage *s, const struct proxy *p)
{
    char *text;
    if (asprintf(&text,
                 "environment: {kind: staging, title: Far away}\npostgres:\n  main:\n"
                 "    watch: \"host=127.0.0.1 port=%d dbname=postgres user=sb_watch passfile=%s/passwords\"\n"
                 "    act: \"host=127.0.0.1 port=%d dbname=postgres user=sb_act passfile=%s/passwords\"\n"
                 "access: {locked: false}\n",
                 proxy_port(p), s->home, proxy_port(p), s->home) < 0)
        abort();
    stage_config(s, "far.yaml", text);
    free(text);
}

static void a_killed_server_comes_back_by_itself(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    cluster_kill(s->cluster);
    terminal_wait(t, 20, "main ○");
    /* What was read last stays, with its age. */
    terminal_wait(t, 10, "(shown: ");
    terminal_wait(t, 5, "checkpointer");
    keys_answer(t);
    terminal_keys(t, "F4");
    terminal_wait(t, 5, "Locks");
    terminal_keys(t, "F3");
    cluster_again(s->cluster);
    terminal_wait(t, 60, "main ●");
    terminal_wait_gone(t, 20, "(shown: ");
    terminal_wait(t, 10, "checkpointer");
    leave(t);
}

static void a_restarted_server_comes_back_by_itself(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "nobody waits");
    cluster_restart(s->cluster, "fast");
    stage_block(s, 1);
    terminal_wait(t, 60, "idle in transaction");
    leave(t);
}

/* The whole server is stopped: the screen answers before it goes on. */
static void a_hung_server_does_not_hang_the_keys(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    cluster_pause(s->cluster);
    terminal_keys(t, "F5");
    keys_answer(t);
    if (terminal_latency(t, "j", 10) < 0)
        terminal_fail(t, "expected the selection to move while the server hangs");
    terminal_wait(t, 40, "no answer");
    keys_answer(t);
    terminal_wait(t, 5, "checkpointer");
    cluster_resume(s->cluster);
    terminal_wait_gone(t, 60, "no answer");
    terminal_wait(t, 20, "main ●");
    leave(t);
}

static void leaving_does_not_wait_for_a_hung_server(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    cluster_pause(s->cluster);
    terminal_keys(t, "F5");
    leave(t); /* before the server goes on */
    cluster_resume(s->cluster);
}

/* It connects and nobody ever answers. */
static void a_black_hole_does_not_hang_the_keys(void **state)
{
    struct stage *s = *state;
    struct proxy *p = proxy_start(cluster_port(s->cluster));
    proxy_hang(p, true);
    environment_through(s, p);
    struct terminal *t = stage_open(s, "-e", "far");
    terminal_wait(t, 10, "Far away");
    terminal_wait(t, 10, "connecting");
    keys_answer(t);
    terminal_keys(t, "F3");
    terminal_wait(t, 5, "Activity");
    terminal_keys(t, "F4");
    terminal_wait(t, 5, "Locks");
    leave(t);
    t = stage_open(s, "-e", "far", "--view", "activity");
    terminal_wait(t, 10, "connecting");
    proxy_hang(p, false);
    terminal_wait(t, 60, "checkpointer");
    leave(t);
    proxy_free(p);
}

static void a_far_away_server_is_pleasant(void **state)
{
    struct stage *s = *state;
    struct proxy *p = proxy_start(cluster_port(s->cluster));
    proxy_latency(p, 100);
    environment_through(s, p);
    PGconn *root = stage_block(s, 2);
    char *identity = stage_identity(s, root), text[64];
    struct terminal *t = stage_open(s, "-e", "far", "--view", "locks");
    terminal_wait(t, 30, "idle in transaction");
    terminal_keys(t, "F9");
    snprintf(text, sizeof text, "end session %d", PQbackendPID(root));
    stage_choose(t, text);
    stage_dialog(t, "Type the last two digits");
    snprintf(text, sizeof text, "text:%02d", PQbackendPID(root) % 100);
    terminal_keys(t, "Tab", text, "Enter");
    terminal_wait(t, 20, "ended ");
    stage_await_gone(s, identity, 10);
    terminal_wait(t, 20, "nobody waits");
    leave(t);
    proxy_free(p);
    free(identity);
}

static void a_cut_line_and_garbage_are_survived(void **state)
{
    struct stage *s = *state;
    struct proxy *p = proxy_start(cluster_port(s->cluster));
    environment_through(s, p);
    struct terminal *t = stage_open(s, "-e", "far", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    int before = proxy_accepted(p);
    proxy_cut(p);
    terminal_wait_gone(t, 20, "main ●");
    terminal_wait(t, 60, "main ●");
    assert_true(proxy_accepted(p) > before);
    proxy_garbage(p, true);
    terminal_keys(t, "F5");
    terminal_wait_gone(t, 30, "main ●");
    keys_answer(t);
    proxy_garbage(p, false);
    proxy_cut(p);
    terminal_wait(t, 90, "main ●");
    leave(t);
    proxy_free(p);
}

/* No slot is left for anybody: `act` was held from the beginning, and ends one. */
static void terminate_works_when_all_slots_are_taken(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open_with(s, 32, 160, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "activity", NULL});
    terminal_wait(t, 10, "checkpointer");
    assert_true(
        cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sb_act'", "1"));
    PGconn *crowd[16];
    int count = 0;
    const char *keywords[] = {"dbname", "application_name", NULL}, *values[] = {s->app, "crowd", NULL};
    bool full = false;
    while (!full && count < 16) {
        crowd[count] = PQconnectdbParams(keywords, values, 1);
        full = PQstatus(crowd[count]) != CONNECTION_OK;
        count++;
    }
    assert_true(full);
    PQfinish(crowd[--count]);
    struct terminal *late =
        stage_open_with(s, 32, 160, NULL, NULL, (const char *const[]){"--postgres", s->watch, NULL});
    terminal_wait(late, 20, "slots");
    leave(late);
    terminal_wait(t, 20, "crowd");
    terminal_keys(t, ":", "text:filter crowd", "Enter");
    terminal_wait_gone(t, 5, "checkpointer");
    terminal_keys(t, "g", "F9");
    stage_choose(t, "end session ");
    stage_dialog(t, "Type the last two digits");
    /* Which of the crowd it is stands in what would be sent. */
    int row;
    char digits[16] = "";
    if (!terminal_find(t, "pid = ", &row, NULL))
        terminal_fail(t, "the statement is not shown");
    const char *pid = strstr(terminal_line(t, row), "pid = ") + 6;
    snprintf(digits, sizeof digits, "text:%02d", atoi(pid) % 100);
    terminal_keys(t, "Tab", digits, "Enter");
    terminal_wait(t, 20, "ended ");
    leave(t);
    while (count > 0)
        PQfinish(crowd[--count]);
}

static void small_and_back(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    terminal_resize(t, 5, 20);
    terminal_wait_gone(t, 10, "checkpointer");
    terminal_wait(t, 10, "20x5: signalbox");
    terminal_keys(t, "F4", "?", "Esc");
    terminal_resize(t, 1, 1);
    terminal_resize(t, 5, 20);
    terminal_resize(t, 32, 104);
    terminal_wait(t, 10, "nobody waits");
    terminal_wait(t, 10, "main ●");
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "checkpointer");
    leave(t);
}

static void nothing_is_written_when_nothing_changed(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t =
        stage_open_with(s, 32, 104, NULL, (const char *const[]){"SIGNALBOX_TEST_CLOCK=1900000000", NULL},
                        (const char *const[]){"-e", "school", "--view", "locks", NULL});
    terminal_wait(t, 10, "nobody waits");
    terminal_keys(t, "p");
    terminal_wait(t, 5, "paused");
    if (!terminal_await_quiet(t, 3, 20))
        terminal_fail(t, "expected the screen to become quiet");
    leave(t);
}

/* The folder of the log is a file: nothing can be written. */
static void without_an_audit_log_only_breaking_the_glass_sends(void **state)
{
    struct stage *s = *state;
    char *path;
    if (access("/run/systemd/journal/socket", F_OK) == 0)
        skip(); /* the journal takes the record, and the change goes on */
    stage_environment(s, "school", "production", true);
    if (asprintf(&path, "%s/.local/state/signalbox", s->home) < 0)
        abort();
    for (char *slash = path + strlen(s->home); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fclose(file);
    free(path);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root), end[64], digits[16];
    snprintf(end, sizeof end, "end session %d", PQbackendPID(root));
    snprintf(digits, sizeof digits, "text:%02d", PQbackendPID(root) % 100);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_choose(t, end);
    stage_dialog(t, "Type the last two digits");
    terminal_keys(t, "text:no log", "Tab", digits, "Enter");
    terminal_wait(t, 15, "audit");
    terminal_wait(t, 15, "error:");
    assert_true(stage_alive(s, identity));
    terminal_keys(t, ":", "text:breakglass the disk is full", "Enter");
    terminal_wait(t, 15, "BREAK-GLASS");
    terminal_keys(t, "F9");
    stage_choose(t, end);
    stage_dialog(t, "Type the last two digits");
    terminal_keys(t, "text:no log", "Tab", digits, "Enter");
    stage_await_gone(s, identity, 15);
    /* The record stands on the screen, since it stands nowhere else. */
    terminal_wait(t, 10, "pg_terminate_backend");
    leave(t);
    free(identity);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, stage_calm_setup)
    const struct CMUnitTest tests[] = {
        CASE(a_killed_server_comes_back_by_itself),
        CASE(a_restarted_server_comes_back_by_itself),
        CASE(a_hung_server_does_not_hang_the_keys),
        CASE(leaving_does_not_wait_for_a_hung_server),
        CASE(a_black_hole_does_not_hang_the_keys),
        CASE(a_far_away_server_is_pleasant),
        CASE(a_cut_line_and_garbage_are_survived),
        CASE(terminate_works_when_all_slots_are_taken),
        CASE(small_and_back),
        CASE(nothing_is_written_when_nothing_changed),
        CASE(without_an_audit_log_only_breaking_the_glass_sends),
    };
    return cmocka_run_group_tests_name("faults while running", tests, begin_group, stage_end_group);
}
