/* cancel, terminate, unlock, lock and audit as commands: what they send, what they refuse, what they leave on
 * record. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

/* Fails with both outputs unless the command ended so. Returns it. */
static struct stage_run expect(struct stage_run run, int status, const char *out, const char *err)
{
    if (run.status != status || (out && !strstr(run.out, out)) || (err && !strstr(run.err, err))) {
        print_error("expected status %d, \"%s\" and \"%s\"; status %d\n", status, out ? out : "",
                    err ? err : "", run.status);
        print_error("out: %.900s\n", run.out);
        print_error("err: %.900s\n", run.err);
        fail();
    }
    return run;
}

#define EXPECT(status, out, err, ...)                                                                        \
    do {                                                                                                     \
        struct stage_run run_ = expect(stage_command(s, __VA_ARGS__), status, out, err);                     \
        stage_run_free(&run_);                                                                               \
    } while (0)

static void terminates_the_one_that_was_meant(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root);
    EXPECT(0, "ended", NULL, "terminate", identity, "-e", "school", "--reason", "from a script", "--yes");
    stage_await_gone(s, identity, 10);
    EXPECT(0, "from a script", NULL, "audit", "-e", "school", "--json");
    EXPECT(0, NULL, NULL, "audit", "verify", "-e", "school");
    /* The same again: it is gone, and says so. */
    EXPECT(1, NULL, "no longer", "terminate", identity, "-e", "school", "--yes");
    free(identity);
}

static void cancels_a_statement_and_keeps_the_session(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *sleeper = stage_session(s, "sleeper");
    stage_begin(sleeper, "SELECT pg_sleep(600)");
    char *identity = stage_identity(s, sleeper);
    assert_true(cluster_await(
        s->cluster, 10, "SELECT state FROM pg_stat_activity WHERE application_name = 'sleeper'", "active"));
    EXPECT(0, "cancelled", NULL, "cancel", identity, "-e", "school", "--yes");
    assert_true(cluster_await(
        s->cluster, 10, "SELECT state FROM pg_stat_activity WHERE application_name = 'sleeper'", "idle"));
    free(identity);
}

/* The pid is right and the start is another one: a later session with the same pid must not be hit. */
static void a_reused_pid_is_not_hit(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *session = stage_session(s, "later");
    char *identity = stage_identity(s, session), earlier[64];
    snprintf(earlier, sizeof earlier, "%d@2026-01-01 00:00:00.000001+00", PQbackendPID(session));
    EXPECT(1, NULL, "no longer", "terminate", earlier, "-e", "school", "--yes");
    char pid[16];
    snprintf(pid, sizeof pid, "%d", PQbackendPID(session));
    EXPECT(2, NULL, "PID@START", "terminate", pid, "-e", "school", "--yes");
    assert_true(stage_alive(s, identity));
    free(identity);
}

static void a_dry_run_sends_nothing(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    PGconn *root = stage_block(s, 2);
    char *identity = stage_identity(s, root);
    EXPECT(0, "pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid", NULL, "terminate", identity, "-e",
           "school", "--dry-run");
    assert_true(stage_alive(s, identity));
    struct stage_run run = stage_command(s, "audit", "-e", "school", "--json");
    assert_null(strstr(run.out, "pg_terminate_backend"));
    stage_run_free(&run);
    free(identity);
}

static void yes_is_refused_while_locked(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "vault", "production", true);
    PGconn *root = stage_block(s, 1);
    char *identity = stage_identity(s, root);
    EXPECT(1, NULL, "locked", "terminate", identity, "-e", "vault", "--yes");
    /* Nobody is at a terminal: without --yes nothing is sent either. */
    EXPECT(1, NULL, "nothing was sent", "terminate", identity, "-e", "vault");
    assert_true(stage_alive(s, identity));
    EXPECT(2, NULL, "reason", "unlock", "-e", "vault");
    EXPECT(0, "unlocked", NULL, "unlock", "-e", "vault", "--reason", "a script needs it");
    EXPECT(0, "ended", NULL, "terminate", identity, "-e", "vault", "--yes");
    stage_await_gone(s, identity, 10);
    EXPECT(0, "locked", NULL, "lock", "-e", "vault");
    free(identity);
    identity = stage_identity(s, stage_session(s, "another"));
    EXPECT(1, NULL, "locked", "terminate", identity, "-e", "vault", "--yes");
    assert_true(stage_alive(s, identity));
    EXPECT(0, "a script needs it", NULL, "audit", "-e", "vault", "--json");
    free(identity);
}

static void several_servers_want_a_name(void **state)
{
    struct stage *s = *state;
    char *text;
    if (asprintf(&text,
                 "environment: {kind: staging, title: Two}\npostgres:\n"
                 "  north: {watch: \"%s\", act: \"%s\"}\n  south: {watch: \"%s\", act: \"%s\"}\n"
                 "access: {locked: false}\n",
                 s->watch, s->act, s->watch, s->act) < 0)
        abort();
    stage_config(s, "two.yaml", text);
    free(text);
    PGconn *session = stage_session(s, "one");
    char *identity = stage_identity(s, session);
    EXPECT(2, NULL, "--server", "terminate", identity, "-e", "two", "--yes");
    assert_true(stage_alive(s, identity));
    EXPECT(2, NULL, "west", "terminate", identity, "-e", "two", "--yes", "--server", "west");
    EXPECT(0, "ended", NULL, "terminate", identity, "-e", "two", "--yes", "--server", "south");
    stage_await_gone(s, identity, 10);
    free(identity);
}

/* Confirmed at a terminal with the digits; anything else sends nothing. */
static void is_confirmed_at_the_terminal(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "vault", "production", true);
    PGconn *session = stage_session(s, "one");
    char *identity = stage_identity(s, session), right[16], wrong[16];
    snprintf(right, sizeof right, "text:%02d", PQbackendPID(session) % 100);
    snprintf(wrong, sizeof wrong, "text:%02d", (PQbackendPID(session) + 1) % 100);
    struct terminal *t = stage_open(s, "terminate", identity, "-e", "vault");
    terminal_wait(t, 15, "the last two digits of the session:");
    terminal_wait(t, 5, "unlocks");
    terminal_keys(t, wrong, "Enter");
    terminal_expect_exit(t, 15, 1);
    terminal_end(t);
    assert_true(stage_alive(s, identity));
    t = stage_open(s, "terminate", identity, "-e", "vault");
    terminal_wait(t, 15, "the last two digits of the session:");
    terminal_keys(t, right, "Enter");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
    stage_await_gone(s, identity, 10);
    free(identity);
}

static void an_altered_log_is_found(void **state)
{
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    for (int i = 0; i < 2; i++) {
        PGconn *session = stage_session(s, "one");
        char *identity = stage_identity(s, session);
        EXPECT(0, "ended", NULL, "terminate", identity, "-e", "school", "--yes", "--reason", "first");
        free(identity);
    }
    EXPECT(0, NULL, NULL, "audit", "verify", "-e", "school");
    char *command;
    if (asprintf(&command, "sed -i s/first/other/ '%s'/.local/state/signalbox/school/audit*.jsonl", s->home) <
        0)
        abort();
    int status = system(command);
    free(command);
    assert_int_equal(status, 0);
    struct stage_run run = stage_command(s, "audit", "verify", "-e", "school");
    assert_int_not_equal(run.status, 0);
    stage_run_free(&run);
}

/* The rows that the panels show, as data: valid JSON with the promised keys; messages go to stderr. */
static void rows_as_data(void **state)
{
    static const struct {
        const char *view;
        const char *const keys[20];
    } views[] = {
        {"statements",
         {"server", "query_id", "query", "calls", "total_ms", "mean_ms", "max_ms", "rows", "rows_per_call",
          "share_percent", "shared_hit_blocks", "shared_read_blocks", "temp_written_blocks", "wal_bytes",
          "database", "role"}},
        {"activity",
         {"server", "pid", "state", "wait_type", "wait", "session_s", "transaction_s", "statement_s",
          "database", "role", "application", "client", "blocked_by", "query"}},
        {"locks",
         {"server", "pid", "root", "depth", "waited_s", "mode", "relation", "behind", "state", "query"}},
    };
    struct stage *s = *state;
    stage_environment(s, "school", "staging", false);
    stage_block(s, 2);
    for (size_t v = 0; v < sizeof views / sizeof *views; v++) {
        struct stage_run run = expect(
            stage_command(s, "queries", "-e", "school", "--view", views[v].view, "--json"), 0, "{", NULL);
        struct json_object *all = json_tokener_parse(run.out), *rows = NULL, *row, *value;
        assert_non_null(all);
        assert_true(json_object_object_get_ex(all, "rows", &rows));
        assert_true(json_object_array_length(rows) > 0);
        row = json_object_array_get_idx(rows, 0);
        for (size_t k = 0; k < 20 && views[v].keys[k]; k++)
            if (!json_object_object_get_ex(row, views[v].keys[k], &value))
                fail_msg("%s has no %s", views[v].view, views[v].keys[k]);
        json_object_put(all);
        assert_string_equal(run.err, "");
        stage_run_free(&run);
    }
    EXPECT(0, "share", NULL, "queries", "-e", "school", "--plain");
    EXPECT(0, "query_id,", NULL, "queries", "-e", "school", "--csv");
}

static void a_server_that_is_down_is_an_error_of_its_source(void **state)
{
    struct stage *s = *state;
    struct stage_run run = expect(stage_command(s, "queries", "--json", "--postgres", s->watch, "--postgres",
                                                "host=127.0.0.1 port=1 dbname=away user=nobody"),
                                  1, "\"rows\":[{", NULL);
    struct json_object *all = json_tokener_parse(run.out), *sources = NULL, *value;
    assert_non_null(all);
    assert_true(json_object_object_get_ex(all, "sources", &sources));
    assert_int_equal(json_object_array_length(sources), 2);
    assert_true(json_object_object_get_ex(json_object_array_get_idx(sources, 1), "error", &value));
    assert_non_null(strstr(json_object_to_json_string(value), "refused"));
    json_object_put(all);
    stage_run_free(&run);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, stage_calm_setup)
    const struct CMUnitTest tests[] = {
        CASE(terminates_the_one_that_was_meant),
        CASE(cancels_a_statement_and_keeps_the_session),
        CASE(a_reused_pid_is_not_hit),
        CASE(a_dry_run_sends_nothing),
        CASE(yes_is_refused_while_locked),
        CASE(several_servers_want_a_name),
        CASE(is_confirmed_at_the_terminal),
        CASE(an_altered_log_is_found),
        CASE(rows_as_data),
        CASE(a_server_that_is_down_is_an_error_of_its_source),
    };
    return cmocka_run_group_tests_name("session commands", tests, stage_begin_group, stage_end_group);
}
