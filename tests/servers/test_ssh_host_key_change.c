/* A server's unknown key is added by a change, over both transports; commands of ssh_run; the argv of a
 * shell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/change.h"
#include "backends/ssh/host_key.h"
#include "backends/ssh/run.h"
#include "tests/harness/ssh_caller.h"

struct sending {
    int calls;
    char report[200];
    struct error error;
};

static void sent(void *data, struct change *change, const char *report, const struct error *error)
{
    struct sending *sending = data;
    (void)change;
    sending->calls++;
    snprintf(sending->report, sizeof sending->report, "%s", report);
    sending->error = error ? *error : (struct error){0};
}

static bool was_sent(void *data)
{
    return ((struct sending *)data)->calls > 0;
}

static void send_change(struct ssh_caller *c, struct change *change, struct sending *sending)
{
    struct environment environment = {.name = "test"};
    char *folder = talloc_asprintf(change, "%s/state", ssh_site_folder(c->site));
    setenv("XDG_STATE_HOME", folder, 1);
    setenv("SIGNALBOX_JOURNAL_SOCKET", "/nonexistent", 1);
    struct audit *audit = audit_new(c->loop, "test", folder);
    struct access *access = access_new(c->loop, &environment, audit, NULL, NULL);
    struct error error = {0};
    if (!change_allowed(change, access, &error))
        fail_msg("%s", ssh_error_text(&error));
    change_send(change, c->loop, access, audit, sent, sending);
    assert_true(loop_until(c->loop, 30, was_sent, sending));
    access_free(access);
    audit_free(audit);
}

static void an_unknown_key_is_added(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *server = sshd_start(c->site, "server", (struct sshd_options){0});
    ssh_site_host(c->site, "web1", (struct ssh_entry){.server = server, .known = ""});
    struct ssh_host *host = ssh_caller_host(c, "web1");
    struct sending sending = {0};
    struct error error = {0};
    assert_null(ssh_host_add_key(host, &error)); /* nothing was shown yet */
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    ssh_expect_down(c, host, 30, "not known", "ED25519 SHA256:");
    char *fingerprint = sshd_fingerprint(server, "ed25519");
    assert_string_equal(ssh_host_unknown_key(host), fingerprint);
    ssh_expect_words(ssh_error_text(ssh_host_error(host)), fingerprint);
    struct change *change = ssh_host_add_key(host, &error);
    assert_non_null(change);
    char *preview = change_preview(change, change);
    ssh_expect_words(preview, fingerprint, ssh_site_known_file(c->site, "web1"), "ssh-keygen -f");
    assert_true(change_confirmed(change, " web1 "));
    assert_false(change_confirmed(change, "web2"));
    send_change(c, change, &sending);
    assert_int_equal(sending.error.kind, ERROR_NONE);
    ssh_expect_words(sending.report, "added the key of web1 after");
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 30));
    ssh_expect(c, host, "echo in", 0, "in\n");
    assert_null(ssh_host_unknown_key(host));
    error_clear(&error);
    assert_false(change->still_there(change, &error)); /* it is known now */
    assert_int_equal(error.kind, ERROR_GONE);
    talloc_free(change);
    char *output; /* the user's own ssh agrees, and its undo works */
    assert_int_equal(ssh_site_ssh(c->site, "web1", "true", &output), 0);
    free(output);
    free(fingerprint);
}

static void a_changed_key_is_never_added(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *server = sshd_start(c->site, "server", (struct sshd_options){0});
    struct sshd *other = sshd_start(c->site, "other", (struct sshd_options){0});
    char pattern[64], *lines;
    snprintf(pattern, sizeof pattern, "[127.0.0.1]:%d", sshd_port(server));
    lines = sshd_known_lines(other, NULL, pattern, NULL);
    ssh_site_host(c->site, "changed", (struct ssh_entry){.server = server, .known = lines});
    free(lines);
    lines = sshd_known_lines(server, "@revoked", "*", NULL);
    ssh_site_host(c->site, "revoked", (struct ssh_entry){.server = server, .known = lines});
    free(lines);
    static const char *const aliases[] = {"changed", "revoked"};
    for (size_t i = 0; i < 2; i++) {
        struct ssh_host *host = ssh_caller_host(c, aliases[i]);
        struct error error = {0};
        ssh_expect_down(c, host, 30, "key", aliases[i]);
        assert_null(ssh_host_unknown_key(host));
        assert_null(ssh_host_add_key(host, &error));
        assert_int_equal(error.kind, ERROR_INTERLOCK);
        ssh_expect_words(error.why, aliases[i]);
    }
}

struct running {
    int calls;
    char output[100], errors[100], said[1000];
    bool good, cut;
    enum error_kind kind;
};

static void ran(void *data, const struct ssh_result *result)
{
    struct running *running = data;
    struct error error = {0};
    running->calls++;
    running->cut = result->cut;
    snprintf(running->output, sizeof running->output, "%s", result->output);
    snprintf(running->errors, sizeof running->errors, "%s", result->errors);
    running->good = ssh_result_ok(result, "test", "command", &error);
    running->kind = error.kind;
    error_format(&error, running->said, sizeof running->said);
}

static bool has_run(void *data)
{
    return ((struct running *)data)->calls > 0;
}

static struct running run(struct ssh_caller *c, struct ssh_host *host, const char *command, const char *input,
                          struct ssh_run_limits limits)
{
    struct running running = {0};
    ssh_run(host, command, input, limits, ran, &running);
    assert_int_equal(running.calls, 0);
    assert_true(loop_until(c->loop, 60, has_run, &running));
    assert_int_equal(running.calls, 1);
    return running;
}

static void commands_are_bounded(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    const struct ssh_run_limits usual = {0};
    struct running running = run(c, host, "cat; echo no >&2", "some input", usual);
    assert_true(running.good);
    assert_string_equal(running.output, "some input");
    assert_string_equal(running.errors, "no\n");
    running = run(c, host, "cat", NULL, usual); /* its input ends at once */
    assert_true(running.good);
    running = run(c, host, "echo gone wrong >&2; exit 7", NULL, usual);
    assert_false(running.good);
    assert_string_equal(running.said, "test: command: exit status 7: gone wrong");
    running = run(c, host, "kill -KILL $$", NULL, usual);
    assert_false(running.good);
    ssh_expect_words(running.said, "signal KILL");
    running = run(c, host, "yes", NULL, (struct ssh_run_limits){.bytes = 50000});
    assert_true(!running.good && running.cut);
    ssh_expect_words(running.said, "49 kB");
    running = run(c, host, "echo before; cat /dev/zero | sleep 100", NULL,
                  (struct ssh_run_limits){.deadline_s = 0.3});
    assert_int_equal(running.kind, ERROR_TIMEOUT);
    assert_string_equal(running.output, "before\n");
    struct running cancelled = {0};
    ssh_run_cancel(ssh_run(host, "echo x", NULL, usual, ran, &cancelled));
    ssh_expect(c, host, "echo after", 0, "after\n");
    assert_int_equal(cancelled.calls, 0);
    ssh_run(host, "sleep 100", NULL, usual, ran, &cancelled);
    ssh_caller_hang_up(c); /* whoever waits is told */
    assert_int_equal(cancelled.calls, 1);
    assert_false(cancelled.good);
}

/* Runs it as the console would: the same words as a shell in the terminal, here with a command. */
static void the_argv_reaches_the_host(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    for (int up = 0; up < 2; up++) {
        const char **argv = ssh_host_argv(NULL, host, "echo over there");
        char *line = talloc_strdup(argv, ""), output[200] = "";
        for (size_t i = 0; argv[i]; i++)
            line = talloc_asprintf_append(line, "%s ", ssh_quote(argv, argv[i]));
        ssh_expect_words(line, "StrictHostKeyChecking=yes", ssh_site_config(c->site), "server");
        if (up && c->transport == SSH_TRANSPORT_SYSTEM)
            ssh_expect_words(line, "-S /");
        FILE *child = popen(talloc_asprintf(argv, "%s 2>/dev/null </dev/null", line), "r");
        assert_non_null(child);
        output[fread(output, 1, sizeof output - 1, child)] = '\0';
        assert_int_equal(pclose(child), 0);
        assert_string_equal(output, "over there\n");
        talloc_free(argv);
        ssh_expect_up(c, host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(an_unknown_key_is_added),
        ssh_on_both(a_changed_key_is_never_added),
        ssh_on_both(commands_are_bounded),
        ssh_on_both(the_argv_reaches_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
