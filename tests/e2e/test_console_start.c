/* Starting and leaving the console: what it opens on, the first frame, every way out, the terminal given
 * back. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

static char *uri(const struct stage *s, const char *credentials)
{
    char *text;
    if (asprintf(&text, "postgresql://%s@127.0.0.1:%d/postgres", credentials, cluster_port(s->cluster)) < 0)
        abort();
    return text;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, "q");
    terminal_expect_exit(t, 10, 0);
    if (terminal_alternate(t) || !terminal_cursor(t).visible)
        terminal_fail(t, "the terminal is not as it was");
    terminal_end(t);
}

static void opens_on_a_dsn_without_any_file(void **state)
{
    struct stage *s = *state;
    char *dsn = uri(s, "sb_watch:watching");
    struct terminal *t = stage_open(s, dsn);
    terminal_wait(t, 10, "AD HOC");
    terminal_wait(t, 10, "locked");
    terminal_wait(t, 10, "Statements");
    terminal_wait(t, 10, "CREATE EXTENSION");
    terminal_wait(t, 10, "●");
    leave(t);
    free(dsn);
}

static void opens_on_the_variables_of_psql(void **state)
{
    struct stage *s = *state;
    char port[32];
    snprintf(port, sizeof port, "PGPORT=%d", cluster_port(s->cluster));
    const char *const env[] = {"PGHOST=127.0.0.1",    port, "PGUSER=sb_watch", "PGPASSWORD=watching",
                               "PGDATABASE=postgres", NULL};
    struct terminal *t = stage_open_with(s, 32, 104, NULL, env, (const char *const[]){NULL});
    terminal_wait(t, 10, "CREATE EXTENSION");
    leave(t);
}

static void opens_on_a_named_environment(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "The school stage");
    terminal_wait(t, 10, "STAGING");
    terminal_wait(t, 10, "nobody waits for a lock");
    terminal_wait(t, 5, "open");
    leave(t);
}

/* Two servers, one of them down: the other one's rows are there, and each row knows its server. */
static void one_server_down_does_not_hide_the_other(void **state)
{
    struct stage *s = *state;
    char down[128];
    snprintf(down, sizeof down, "host=127.0.0.1 port=1 user=nobody dbname=away");
    struct terminal *t = stage_open(s, "--postgres", s->watch, "--postgres", down, "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    terminal_wait(t, 10, "refused");
    terminal_wait(t, 5, "server");
    terminal_keys(t, "@");
    stage_dialog(t, "Which server?");
    terminal_wait(t, 5, "all servers");
    terminal_wait(t, 5, "PostgreSQL 15");
    terminal_keys(t, "Down", "Down", "Enter");
    terminal_wait_gone(t, 5, "Which server?");
    terminal_wait_gone(t, 5, "checkpointer");
    terminal_keys(t, ":", "text:server all", "Enter");
    terminal_wait(t, 5, "checkpointer");
    leave(t);
}

static void two_servers_in_rows(void **state)
{
    struct stage *s = *state;
    char *text;
    if (asprintf(
            &text,
            "environment: {kind: staging, title: Two}\npostgres:\n  north: {watch: \"%s\"}\n  south: {watch: "
            "\"%s\"}\naccess: {locked: false}\n",
            s->watch, s->watch) < 0)
        abort();
    stage_config(s, "two.yaml", text);
    free(text);
    struct terminal *t = stage_open(s, "-e", "two", "--view", "activity");
    terminal_wait(t, 10, " north ");
    terminal_wait(t, 10, " south ");
    terminal_keys(t, ":", "text:server south", "Enter");
    terminal_wait_gone(t, 5, "north       ");
    terminal_wait(t, 5, "checkpointer");
    leave(t);
}

static void says_all_errors_of_a_file_before_the_screen(void **state)
{
    struct stage *s = *state;
    stage_config(s, "bad.yaml", "environment: {kind: paradise}\npostgres:\n  main: {wotch: \"x\"}\nzoo: 1\n");
    struct stage_run run = stage_command(s, "config", "check", "-e", "bad");
    assert_int_not_equal(run.status, 0);
    const char *all = *run.err ? run.err : run.out;
    assert_non_null(strstr(all, "paradise"));
    assert_non_null(strstr(all, "wotch"));
    assert_non_null(strstr(all, "zoo"));
    assert_non_null(strstr(all, "bad.yaml"));
    stage_run_free(&run);
    struct terminal *t = stage_open(s, "-e", "bad");
    terminal_expect_exit(t, 10, 2);
    terminal_wait(t, 5, "paradise");
    if (terminal_mode(t, 1049))
        terminal_fail(t, "the screen was taken");
    terminal_end(t);
    stage_environment(s, "good", "staging", false);
    run = stage_command(s, "config", "check", "-e", "good");
    assert_int_equal(run.status, 0);
    stage_run_free(&run);
}

static void a_bad_keymap_is_told_before_the_screen(void **state)
{
    struct stage *s = *state;
    stage_config(s, "keymap", "global x global.help\nglobal F12 global.fly\n");
    struct terminal *t = stage_open(s, s->watch);
    terminal_expect_exit(t, 10, 2);
    terminal_wait(t, 5, "keymap:2");
    terminal_wait(t, 5, "global.fly");
    terminal_end(t);
}

static void a_keymap_of_ones_own_goes_on_top(void **state)
{
    struct stage *s = *state;
    stage_config(s, "keymap", "global F12 global.help\n");
    struct terminal *t = stage_open(s, s->watch);
    terminal_wait(t, 10, "CREATE EXTENSION");
    terminal_keys(t, "F12");
    terminal_wait(t, 5, "which statement takes the time");
    terminal_keys(t, "q");
    terminal_wait_gone(t, 5, "› help");
    leave(t);
}

static void keymaps_of_vim_and_emacs(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, s->watch, "--keymap", "vim", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    terminal_keys(t, "g", "g", ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    t = stage_open(s, s->watch, "--keymap", "emacs", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    terminal_keys(t, "C-n", "C-p", "C-x", "C-c");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* Esc and C-c never quit; q closes and then leaves; :q and :\q leave from everywhere. */
static void only_quitting_quits(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, s->watch);
    terminal_wait(t, 10, "CREATE EXTENSION");
    terminal_keys(t, "Esc", "Esc", "C-c", "C-d", "C-c");
    terminal_wait(t, 5, "nothing of ours runs");
    leave(t);
}

static void close_goes_one_back_and_then_leaves(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, s->watch);
    terminal_wait(t, 10, "CREATE EXTENSION");
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "› detail");
    terminal_keys(t, "?");
    terminal_wait(t, 5, "› help");
    terminal_keys(t, "q");
    terminal_wait_gone(t, 5, "› help");
    terminal_wait(t, 5, "› detail");
    terminal_keys(t, "q");
    terminal_wait_gone(t, 5, "› detail");
    leave(t);
    static const char *const words[] = {"text:q", "text:\\q"};
    for (int i = 0; i < 2; i++) {
        t = stage_open(s, s->watch);
        terminal_wait(t, 10, "CREATE EXTENSION");
        terminal_keys(t, "?");
        terminal_wait(t, 5, "› help");
        terminal_keys(t, ":", words[i], "Enter");
        terminal_expect_exit(t, 10, 0);
        terminal_end(t);
    }
}

static void sigterm_gives_the_terminal_back(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, s->watch);
    terminal_wait(t, 10, "CREATE EXTENSION");
    assert_true(terminal_alternate(t));
    terminal_signal(t, SIGTERM);
    terminal_expect_exit(t, 10, 143);
    assert_false(terminal_alternate(t));
    assert_true(terminal_cursor(t).visible);
    assert_false(terminal_mode(t, 2004));
    terminal_end(t);
}

static bool process_is_gone(void *data)
{
    return kill(*(pid_t *)data, 0) != 0;
}

/* The terminal goes away: it locks, ends, and leaves nothing behind. */
static void a_hangup_locks_and_ends(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "vault", "production", true);
    struct terminal *t = stage_open(s, "-e", "vault");
    terminal_wait(t, 10, "locked");
    terminal_keys(t, ":", "text:unlock looking after the test", "Enter");
    terminal_wait(t, 10, "unlocked 30 min");
    assert_true(
        cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sb_act'", "1"));
    pid_t pid = terminal_pid(t);
    terminal_hangup(t);
    terminal_expect_exit(t, 15, 129);
    assert_true(stage_until(5, process_is_gone, &pid));
    terminal_end(t);
    assert_true(cluster_await(s->cluster, 10,
                              "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'sb\\_%'", "0"));
    struct stage_run run = stage_command(s, "audit", "-e", "vault", "--plain");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "lock"));
    assert_non_null(strstr(run.out, "the terminal was closed"));
    stage_run_free(&run);
}

static void suspended_and_resumed_under_a_shell(void **state)
{
    struct stage *s = *state;
    char *home, *command;
    if (asprintf(&home, "HOME=%s", s->home) < 0 ||
        asprintf(&command, "text:'%s' '%s'", SIGNALBOX_PROGRAM, s->watch) < 0)
        abort();
    struct terminal *t = terminal_start((const char *const[]){"bash", "--norc", "-i", NULL},
                                        (const char *const[]){home, "PS1=shell> ", NULL}, 32, 104, NULL);
    terminal_wait(t, 10, "shell>");
    terminal_keys(t, command, "Enter");
    terminal_wait(t, 15, "CREATE EXTENSION");
    for (int i = 0; i < 2; i++) {
        terminal_keys(t, "C-z");
        terminal_wait(t, 10, "Stopped");
        assert_false(terminal_alternate(t));
        terminal_keys(t, "text:stty -a; echo modes $?", "Enter");
        terminal_wait(t, 10, "modes 0");
        terminal_wait(t, 5, " icanon");
        terminal_keys(t, "text:fg", "Enter");
        terminal_wait(t, 10, "CREATE EXTENSION");
        assert_true(terminal_alternate(t));
        terminal_keys(t, "F4");
        terminal_wait(t, 10, "nobody waits");
        terminal_keys(t, "F2");
        terminal_wait(t, 10, "CREATE EXTENSION");
    }
    terminal_keys(t, "q");
    terminal_wait_gone(t, 10, "CREATE EXTENSION");
    terminal_keys(t, "text:exit", "Enter");
    terminal_wait_exit(t, 10);
    terminal_end(t);
    free(home);
    free(command);
}

static void psql_on_the_same_server_and_back(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, s->watch);
    terminal_wait(t, 10, "CREATE EXTENSION");
    terminal_keys(t, "s");
    terminal_wait(t, 15, "postgres=>");
    assert_false(terminal_alternate(t));
    terminal_keys(t, "text:\\echo I am :USER on :PORT", "Enter");
    char expected[64];
    snprintf(expected, sizeof expected, "I am sb_watch on %d", cluster_port(s->cluster));
    terminal_wait(t, 10, expected);
    /* C-c belongs to psql then. */
    terminal_keys(t, "text:select pg_sleep(60);", "Enter");
    assert_true(cluster_await(s->cluster, 10,
                              "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'select pg_sleep(60)%'",
                              "1"));
    terminal_keys(t, "C-c");
    terminal_wait(t, 10, "canceling statement");
    terminal_keys(t, "text:\\q", "Enter");
    terminal_wait(t, 10, "CREATE EXTENSION");
    assert_true(terminal_alternate(t));
    leave(t);
}

static void usage_errors_name_the_word(void **state)
{
    struct stage *s = *state;
    struct stage_run run = stage_command(s, "--fly");
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "--fly"));
    assert_string_equal(run.out, "");
    stage_run_free(&run);
    run = stage_command(s, "querys");
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "querys"));
    stage_run_free(&run);
    run = stage_command(s, "--version");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "signalbox "));
    stage_run_free(&run);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, stage_calm_setup)
    const struct CMUnitTest tests[] = {
        CASE(opens_on_a_dsn_without_any_file),
        CASE(opens_on_the_variables_of_psql),
        CASE(opens_on_a_named_environment),
        CASE(one_server_down_does_not_hide_the_other),
        CASE(two_servers_in_rows),
        CASE(says_all_errors_of_a_file_before_the_screen),
        CASE(a_bad_keymap_is_told_before_the_screen),
        CASE(a_keymap_of_ones_own_goes_on_top),
        CASE(keymaps_of_vim_and_emacs),
        CASE(only_quitting_quits),
        CASE(close_goes_one_back_and_then_leaves),
        CASE(sigterm_gives_the_terminal_back),
        CASE(a_hangup_locks_and_ends),
        CASE(suspended_and_resumed_under_a_shell),
        CASE(psql_on_the_same_server_and_back),
        CASE(usage_errors_name_the_word),
    };
    return cmocka_run_group_tests_name("console start", tests, stage_begin_group, stage_end_group);
}
