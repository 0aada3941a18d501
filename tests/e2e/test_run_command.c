/* signalbox run: what it sends, what it refuses, how it ends, what is on record. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"

enum { WEBS = 3 };

struct stage {
    struct ssh_site *site;
    struct sshd *webs[WEBS];
    char *home, *out, *err;
    int status;
};

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int open_stage(void **state)
{
    static const char *const names[WEBS] = {"web1", "web2", "web3"};
    struct stage *s = talloc_zero(NULL, struct stage);
    s->site = ssh_site_new();
    s->home = talloc_asprintf(s, "%s/home", ssh_site_folder(s->site));
    char *make = talloc_asprintf(s, "mkdir -p -m 700 %s/.config/signalbox", s->home);
    if (system(make) != 0)
        return -1;
    for (size_t i = 0; i < WEBS; i++)
        s->webs[i] = sshd_start(s->site, names[i], (struct sshd_options){0});
    *state = s;
    return 0;
}

static int close_stage(void **state)
{
    struct stage *s = *state;
    ssh_site_free(s->site);
    talloc_free(s);
    return 0;
}

static void environment(struct stage *s, bool locked)
{
    write_text(talloc_asprintf(s, "%s/.config/signalbox/school.yaml", s->home),
               talloc_asprintf(s,
                               "environment: {kind: staging}\naccess: {locked: %s}\nssh: {config: \"%s\"}\n"
                               "hosts: {web1: {group: web}, web2: {group: web}, web3: {group: web}}\n"
                               "runbooks:\n  deploy:\n    hosts: web\n    steps:\n"
                               "      - {run: \"cd; touch prepared\", undo: \"cd; rm prepared\"}\n"
                               "      - {run: \"cd; test ! -e broken\"}\n",
                               locked ? "true" : "false", ssh_site_config(s->site)));
}

static char *read_text(struct stage *s, const char *path)
{
    char *text = talloc_zero_size(s, 1 << 16);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, (1 << 16) - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* Runs signalbox with this line of arguments, standard input closed; `prefix` before the program. */
static void signalbox_with(struct stage *s, const char *prefix, const char *arguments)
{
    char *out = talloc_asprintf(s, "%s/out", s->home), *err = talloc_asprintf(s, "%s/err", s->home);
    char *line = talloc_asprintf(
        s,
        "HOME=%s XDG_CONFIG_HOME=%s/.config XDG_STATE_HOME=%s/.state SIGNALBOX_JOURNAL_SOCKET=/nonexistent/x "
        "; export HOME XDG_CONFIG_HOME XDG_STATE_HOME SIGNALBOX_JOURNAL_SOCKET; exec </dev/null >%s 2>%s; "
        "%s " SIGNALBOX_PROGRAM " %s",
        s->home, s->home, s->home, out, err, prefix, arguments);
    int status = system(line);
    s->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    s->out = read_text(s, out);
    s->err = read_text(s, err);
}

static void signalbox(struct stage *s, const char *arguments)
{
    signalbox_with(s, "timeout 60", arguments);
}

/* Without `timeout`, which would keep signals from it. */
static void signalbox_direct(struct stage *s, const char *arguments)
{
    signalbox_with(s, "", arguments);
}

static void expect(struct stage *s, int status, const char *out, const char *err, const char *arguments)
{
    signalbox(s, arguments);
    if (s->status == status && (!out || strstr(s->out, out)) && (!err || strstr(s->err, err)))
        return;
    print_error("signalbox %s\nexpected status %d, \"%s\" and \"%s\"; status %d\nout: %.900s\nerr: %.2000s\n",
                arguments, status, out ? out : "", err ? err : "", s->status, s->out, s->err);
    fail();
}

static bool in_home(const struct sshd *web, const char *name)
{
    char *path = talloc_asprintf(NULL, "%s/%s", sshd_home(web), name);
    bool there = access(path, F_OK) == 0;
    talloc_free(path);
    return there;
}

static void break_host(struct stage *s, size_t which)
{
    write_text(talloc_asprintf(s, "%s/broken", sshd_home(s->webs[which])), "");
}

static void runs_on_all(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    expect(s, 0, NULL, "ran on 3 of 3",
           "run -e school --hosts web --yes --batch 2 -- 'cd; touch ran; echo \"hello  $0\"'");
    for (size_t i = 0; i < WEBS; i++) {
        assert_true(in_home(s->webs[i], "ran"));
        assert_non_null(strstr(s->out, talloc_asprintf(s, "web%zu: hello  ", i + 1)));
    }
    expect(s, 0, "web2: ", NULL, "run -e school --hosts web2 --yes -- uptime");
    assert_null(strstr(s->out, "web1: "));
    expect(s, 0, "web1: postgresql://a/b --yes", NULL,
           "run -e school --hosts web1 --yes -- echo postgresql://a/b --yes");
    expect(s, 0, "\"after\"", NULL, "audit -e school --json");
    expect(s, 0, NULL, NULL, "audit verify -e school");
}

/* Interrupted, it sends no more; interrupted twice, what runs is unknown, and on record as that. */
static void is_interrupted(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    char *line =
        talloc_asprintf(s,
                        "run -e school --hosts web --yes -- 'cd; touch began; sleep 600' & pid=$!; n=0; "
                        "while [ ! -e %s/began ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done; "
                        "kill -INT $pid; sleep 0.3; kill -INT $pid; wait $pid",
                        sshd_home(s->webs[0]));
    signalbox_direct(s, line);
    assert_int_equal(s->status, 1);
    assert_non_null(strstr(s->err, "nothing more is sent"));
    assert_non_null(strstr(s->err, "web2: not sent"));
    expect(s, 0, "\"unknown\"", NULL, "audit -e school --json");
    expect(s, 0, NULL, NULL, "audit verify -e school");
    assert_false(in_home(s->webs[1], "began"));
}

static void stops_at_the_second(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    break_host(s, 1);
    expect(s, 1, "web1: ok", "ran on 1 of 3, 1 failed, 1 was not sent",
           "run -e school --hosts web1,web2,web3 --yes --reason 'incident 17' -- 'cd; test ! -e broken && "
           "echo ok'");
    assert_non_null(strstr(s->err, "web3: not sent"));
    expect(s, 0, "incident 17", NULL, "audit -e school --json");
    assert_non_null(strstr(s->out, "\"skipped\""));
}

static void output_is_safe(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    expect(s, 0, "web1: a\tb\\x1b[31mred", NULL,
           "run -e school --hosts web1 --yes -- \"printf 'a\\\\tb\\\\033[31mred\\\\n'\"");
    assert_null(strchr(s->out, '\x1b'));
}

static void dry_run_sends_nothing(void **state)
{
    struct stage *s = *state;
    environment(s, true);
    expect(s, 0, "cd; touch ran", NULL, "run -e school --hosts web --dry-run -- 'cd; touch ran'");
    assert_non_null(strstr(s->out, "web3"));
    for (size_t i = 0; i < WEBS; i++) {
        assert_false(in_home(s->webs[i], "ran"));
        assert_int_equal(sshd_logged(s->webs[i], "Connection from"), 0);
    }
}

static void refuses(void **state)
{
    struct stage *s = *state;
    environment(s, true);
    expect(s, 1, NULL, "locked", "run -e school --hosts web --yes -- 'cd; touch ran'");
    environment(s, false);
    expect(s, 1, NULL, "nobody is there who could confirm", "run -e school --hosts web -- 'cd; touch ran'");
    expect(s, 2, NULL, "neither a host nor a group", "run -e school --hosts wbe --yes -- uptime");
    expect(s, 2, NULL, "which hosts", "run -e school --yes -- uptime");
    expect(s, 2, NULL, "command is missing", "run -e school --hosts web --yes");
    expect(s, 2, NULL, "Did you mean deploy", "run -e school --runbook depoly --yes");
    expect(s, 2, NULL, "not both", "run -e school --runbook deploy --yes -- uptime");
    for (size_t i = 0; i < WEBS; i++)
        assert_false(in_home(s->webs[i], "ran"));
}

static void leaves_a_healthy_host(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    /* /bin/true stands in: what matters is the word. */
    expect(s, 1, NULL, "goes down too", "run -e school --hosts web --yes -- 'cd; touch ran; : /sbin/reboot'");
    for (size_t i = 0; i < WEBS; i++)
        assert_false(in_home(s->webs[i], "ran"));
    expect(s, 1, NULL, "reason",
           "run -e school --hosts web --yes --force -- 'cd; touch ran; : /sbin/reboot'");
    expect(s, 0, NULL, "ran on 3 of 3",
           "run -e school --hosts web --yes --force --reason 'power is cut at noon' -- 'cd; touch ran; : "
           "/sbin/reboot'");
    assert_true(in_home(s->webs[2], "ran"));
}

static void runbook(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    expect(s, 0, "cd; touch prepared", NULL, "run -e school --runbook deploy --dry-run");
    break_host(s, 1);
    expect(s, 1, NULL, "can be taken back", "run -e school --runbook deploy --yes");
    assert_true(in_home(s->webs[0], "prepared"));
    assert_true(in_home(s->webs[1], "prepared"));
    assert_false(in_home(s->webs[2], "prepared"));
    assert_non_null(strstr(s->err, "cd; rm prepared"));
    expect(s, 0, NULL, NULL, "run -e school --runbook deploy --hosts web3 --yes");
    assert_true(in_home(s->webs[2], "prepared"));
}

static void dead_host(void **state)
{
    struct stage *s = *state;
    environment(s, false);
    sshd_halt(s->webs[0]);
    expect(s, 1, NULL, "web2: not sent", "run -e school --hosts web --yes -- 'cd; touch ran'");
    assert_false(in_home(s->webs[1], "ran"));
    expect(s, 1, NULL, "outcome", "run -e school --hosts web2 --yes --deadline 1s -- 'sleep 600'");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_stage, close_stage)
    const struct CMUnitTest tests[] = {
        TEST(runs_on_all),
        TEST(is_interrupted),
        TEST(stops_at_the_second),
        TEST(output_is_safe),
        TEST(dry_run_sends_nothing),
        TEST(refuses),
        TEST(leaves_a_healthy_host),
        TEST(runbook),
        TEST(dead_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
