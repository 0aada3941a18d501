/* The DBA's story: from a queue of locks to the session that holds it up, ended, watched and on record; and
 * the interlocks around it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* "text:NN": the last two digits of the session. */
static const char *digits(PGconn *session)
{
    static char text[16];
    snprintf(text, sizeof text, "text:%02d", PQbackendPID(session) % 100);
    return text;
}

static const char *with_pid(const char *pattern, PGconn *session)
{
    static char text[128];
    char pid[16];
    const char *mark = strchr(pattern, '#');
    snprintf(pid, sizeof pid, "%d", PQbackendPID(session));
    snprintf(text, sizeof text, "%.*s%s%s", (int)(mark - pattern), pattern, pid, mark + 1);
    return text;
}

static void from_a_statement_to_the_session_that_blocks(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "production", true);
    PGconn *root = stage_block(s, 3);
    char *identity = stage_identity(s, root);
    struct terminal *t = stage_open(s, "-e", "school");
    terminal_wait(t, 10, "PRODUCTION");
    terminal_wait(t, 10, "INSERT INTO invoice");
    terminal_keys(t, "/", "text:INSERT INTO invoice");
    terminal_wait_gone(t, 5, "CREATE EXTENSION");
    terminal_keys(t, "Esc");
    terminal_wait(t, 5, "CREATE EXTENSION");
    terminal_keys(t, ":", "text:sort calls", "Enter");
    terminal_wait(t, 5, "calls↓");
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "idle in transaction");
    terminal_wait(t, 10, "Share transaction");
    terminal_wait(t, 5, with_pid("▸ #", root));
    terminal_keys(t, "F9");
    stage_dialog(t, "What shall end?");
    terminal_wait(t, 5, "the 3 that wait behind it");
    stage_choose(t, with_pid("end session #", root));
    stage_dialog(t, "Type the last two digits");
    terminal_wait(t, 5, "pg_terminate_backend");
    terminal_wait(t, 5, "as sb_act");
    terminal_wait(t, 5, "This unlocks the environment for 30 min");
    terminal_wait(t, 5, "has written: yes");
    terminal_keys(t, "text:blocks the invoices", "Tab", digits(root), "Enter");
    terminal_wait_gone(t, 10, "Type the last two digits");
    terminal_wait(t, 10, with_pid("ended #", root));
    terminal_wait(t, 10, "behind 3 → ");
    terminal_wait(t, 10, "unlocked 30 min");
    stage_await_gone(s, identity, 10);
    terminal_wait(t, 10, "nobody waits");
    terminal_keys(t, "9");
    terminal_wait(t, 10, "blocks the invoices");
    leave(t);
    struct stage_run run = stage_command(s, "audit", "-e", "school", "--json");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "blocks the invoices"));
    assert_non_null(strstr(run.out, "pg_terminate_backend"));
    stage_run_free(&run);
    run = stage_command(s, "audit", "verify", "-e", "school");
    assert_int_equal(run.status, 0);
    stage_run_free(&run);
    free(identity);
}

/* What is typed at the wrong place, or too early, confirms nothing. */
static void wrong_digits_send_nothing(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root), wrong[16];
    snprintf(wrong, sizeof wrong, "text:%02d", (PQbackendPID(root) + 1) % 100);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_choose(t, with_pid("end session #", root));
    stage_dialog(t, "Type the last two digits");
    terminal_keys(t, "Tab", wrong, "Enter");
    /* Still there, and F5 shows what would be sent. */
    terminal_wait(t, 5, "Type the last two digits");
    terminal_keys(t, "F5");
    terminal_wait(t, 5, "dry run");
    terminal_wait(t, 5, "pg_terminate_backend");
    terminal_keys(t, "Esc");
    terminal_wait(t, 5, "Type the last two digits");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, "Type the last two digits");
    assert_true(stage_alive(s, identity));
    leave(t);
    free(identity);
}

static void typed_ahead_keys_never_confirm(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root), all[64];
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    /* F9, Enter, Tab, the digits, Enter: all in one write, as a keyboard buffer holds them. */
    snprintf(all, sizeof all, "bytes:\033[20~\r\t%02d\r", PQbackendPID(root) % 100);
    terminal_keys(t, all);
    stage_choose(t, with_pid("end session #", root));
    snprintf(all, sizeof all, "bytes:\t%02d\r", PQbackendPID(root) % 100);
    terminal_keys(t, all);
    stage_dialog(t, "Type the last two digits");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, "Type the last two digits");
    assert_true(stage_alive(s, identity));
    leave(t);
    struct stage_run run = stage_command(s, "audit", "-e", "school", "--json");
    assert_null(strstr(run.out, "pg_terminate_backend"));
    stage_run_free(&run);
    free(identity);
}

static void several_marked_are_confirmed_by_their_number(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *one = stage_session(s, "crowd one"), *two = stage_session(s, "crowd two"),
           *three = stage_session(s, "crowd three");
    stage_begin(one, "SELECT pg_sleep(600)");
    stage_begin(two, "SELECT pg_sleep(600)");
    stage_begin(three, "SELECT pg_sleep(600)");
    char *first = stage_identity(s, one), *second = stage_identity(s, two), *third = stage_identity(s, three);
    struct terminal *t = stage_open_with(s, 40, 160, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "activity", NULL});
    terminal_wait(t, 10, "crowd three");
    terminal_keys(t, ":", "text:filter crowd", "Enter");
    terminal_wait_gone(t, 5, "checkpointer");
    terminal_keys(t, "g", "Space", "Space");
    terminal_wait(t, 5, "2 marked");
    terminal_keys(t, "F9");
    stage_dialog(t, "What shall end?");
    terminal_wait(t, 5, "all 3 that the filter shows on main");
    stage_choose(t, "end the 2 marked on main");
    stage_dialog(t, "Type the number");
    terminal_keys(t, "Tab", "text:2", "Enter");
    terminal_wait(t, 10, "ended 2");
    assert_true(cluster_await(
        s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'crowd %'", "1"));
    terminal_keys(t, "U");
    terminal_wait_gone(t, 10, "marked");
    leave(t);
    free(first);
    free(second);
    free(third);
}

static void all_behind_a_root_are_cancelled(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 3);
    char *identity = stage_identity(s, root);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_choose(t, "cancel the statements of the 3 that wait behind it");
    stage_dialog(t, "Type the number");
    terminal_keys(t, "Tab", "text:3", "Enter");
    terminal_wait(t, 10, "nobody waits");
    assert_true(stage_alive(s, identity));
    assert_true(cluster_await(s->cluster, 10,
                              "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", "0"));
    leave(t);
    free(identity);
}

static void all_that_the_filter_shows_are_ended(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "flock %d", i);
        stage_session(s, name);
    }
    PGconn *other = stage_session(s, "shepherd");
    char *identity = stage_identity(s, other);
    struct terminal *t = stage_open_with(s, 40, 160, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "activity", NULL});
    terminal_wait(t, 10, "flock 3");
    terminal_keys(t, ":", "text:filter application:flock", "Enter");
    terminal_wait_gone(t, 5, "shepherd");
    terminal_keys(t, "g", "F9");
    stage_choose(t, "end all 4 that the filter shows on main");
    stage_dialog(t, "Type the number");
    terminal_keys(t, "Tab", "text:4", "Enter");
    assert_true(cluster_await(
        s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'flock %'", "0"));
    assert_true(stage_alive(s, identity));
    leave(t);
    free(identity);
}

/* The session ends while the dialog is open: nothing else is hit, and it is said. */
static void gone_between_dialog_and_sending(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_choose(t, with_pid("end session #", root));
    stage_dialog(t, "Type the last two digits");
    char end[96];
    snprintf(end, sizeof end, "SELECT pg_terminate_backend(%d)", PQbackendPID(root));
    cluster_do(s->cluster, end);
    stage_await_gone(s, identity, 10);
    terminal_keys(t, "Tab", digits(root), "Enter");
    terminal_wait_gone(t, 10, "Type the last two digits");
    terminal_wait(t, 10, "is no longer what was");
    leave(t);
    struct stage_run run = stage_command(s, "audit", "-e", "school", "--json");
    assert_non_null(strstr(run.out, "gone"));
    stage_run_free(&run);
    free(identity);
}

/* Left at once after the confirmation: what was sent is finished, and its outcome is on record. */
static void leaving_finishes_what_is_being_sent(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root), all[64];
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_choose(t, with_pid("end session #", root));
    stage_dialog(t, "Type the last two digits");
    snprintf(all, sizeof all, "bytes:\t%02d\rq", PQbackendPID(root) % 100);
    terminal_keys(t, all);
    terminal_expect_exit(t, 20, 0);
    terminal_end(t);
    stage_await_gone(s, identity, 10);
    struct stage_run run = stage_command(s, "audit", "-e", "school", "--json");
    assert_non_null(strstr(run.out, "\"after\""));
    assert_non_null(strstr(run.out, "\"done\""));
    stage_run_free(&run);
    free(identity);
}

static void locking_takes_the_way_to_write_away(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "production", true);
    struct terminal *t = stage_open(s, "-e", "school");
    terminal_wait(t, 10, "locked");
    assert_true(
        cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sb_act'", "0"));
    terminal_keys(t, ":", "text:unlock", "Enter");
    terminal_wait(t, 5, "Unlock why:");
    terminal_keys(t, "text:to see it", "Enter");
    terminal_wait(t, 10, "unlocked 30 min");
    assert_true(
        cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sb_act'", "1"));
    terminal_keys(t, ":", "text:lock", "Enter");
    terminal_wait_gone(t, 10, "unlocked 30 min");
    assert_true(
        cluster_await(s->cluster, 10, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sb_act'", "0"));
    leave(t);
}

static void an_idle_session_can_only_be_ended(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "F9");
    stage_dialog(t, with_pid("end session #", root));
    terminal_wait(t, 5, with_pid("cancel the statement of session # (it runs nothing)", root));
    /* It cannot be chosen. */
    terminal_keys(t, "Up", "Up", "Up", "Up", "Esc");
    terminal_wait_gone(t, 5, "What shall end?");
    leave(t);
}

static void a_prepared_transaction_has_no_session_to_end(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *one = stage_session(s, "one"), *two = stage_session(s, "two");
    stage_do(one, "BEGIN");
    stage_do(one, "UPDATE invoice SET paid = paid WHERE id = 7");
    stage_do(one, "PREPARE TRANSACTION 'left behind'");
    stage_begin(two, "UPDATE invoice SET paid = paid WHERE id = 7");
    struct terminal *t = stage_open(s, "-e", "school", "--view", "locks");
    terminal_wait(t, 10, "left behind");
    terminal_keys(t, "g", "F9");
    terminal_wait(t, 5, "ROLLBACK PREPARED");
    stage_do(one, "ROLLBACK PREPARED 'left behind'");
    terminal_wait(t, 10, "nobody waits");
    leave(t);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, stage_calm_setup)
    const struct CMUnitTest tests[] = {
        CASE(from_a_statement_to_the_session_that_blocks),
        CASE(wrong_digits_send_nothing),
        CASE(typed_ahead_keys_never_confirm),
        CASE(several_marked_are_confirmed_by_their_number),
        CASE(all_behind_a_root_are_cancelled),
        CASE(all_that_the_filter_shows_are_ended),
        CASE(gone_between_dialog_and_sending),
        CASE(leaving_finishes_what_is_being_sent),
        CASE(locking_takes_the_way_to_write_away),
        CASE(an_idle_session_can_only_be_ended),
        CASE(a_prepared_transaction_has_no_session_to_end),
    };
    return cmocka_run_group_tests_name("ending sessions", tests, stage_begin_group, stage_end_group);
}
