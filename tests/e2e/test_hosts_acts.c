/* Acts in the console on real hosts: chosen with F9, previewed, confirmed, done, told. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"
#include "tests/harness/stage.h"

enum { WEBS = 2, ROWS = 36, COLUMNS = 120 };

struct scene {
    struct ssh_site *site;
    struct sshd *webs[WEBS];
    char *home;
    struct terminal *t;
};

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* What would take the machine of the test down leaves a mark in the home of the host instead. */
static void start_web(struct scene *s, size_t i, const char *name)
{
    static const char *const tools[] = {"reboot", "systemctl", "shutdown"};
    s->webs[i] = sshd_start(s->site, name, (struct sshd_options){.bashrc = "PATH=$HOME/bin:$PATH"});
    char *bin = talloc_asprintf(s, "%s/bin", sshd_home(s->webs[i]));
    assert_int_equal(mkdir(bin, 0700), 0);
    for (size_t j = 0; j < 3; j++) {
        char *path = talloc_asprintf(s, "%s/%s", bin, tools[j]);
        write_text(path, talloc_asprintf(s, "#!/bin/sh\ntouch %s/rebooted\n", sshd_home(s->webs[i])));
        assert_int_equal(chmod(path, 0700), 0);
    }
}

static int open_scene(void **state)
{
    static const char *const names[WEBS] = {"web1", "web2"};
    struct scene *s = talloc_zero(NULL, struct scene);
    s->site = ssh_site_new();
    s->home = talloc_asprintf(s, "%s/home", ssh_site_folder(s->site));
    if (system(talloc_asprintf(s, "mkdir -p -m 700 %s/.config/signalbox", s->home)) != 0)
        return -1;
    for (size_t i = 0; i < WEBS; i++)
        start_web(s, i, names[i]);
    write_text(
        talloc_asprintf(s, "%s/.config/signalbox/school.yaml", s->home),
        talloc_asprintf(
            s,
            "environment: {kind: staging}\naccess: {locked: false}\nssh: {config: \"%s\", medium: 2s}\n"
            "hosts: {web1: {group: web}, web2: {group: web}}\n"
            "runbooks:\n  deploy:\n    help: a new release\n    steps:\n"
            "      - {run: \"cd; touch prepared\", undo: \"cd; rm prepared\"}\n"
            "      - {run: \"cd; test ! -e broken\"}\n",
            ssh_site_config(s->site)));
    const char *const argv[] = {SIGNALBOX_PROGRAM, "-e", "school", NULL};
    const char *const env[] = {talloc_asprintf(s, "HOME=%s", s->home), NULL};
    s->t = terminal_start(argv, env, ROWS, COLUMNS, NULL);
    terminal_wait(s->t, 20, "Hosts");
    terminal_keys(s->t, "6");
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    ssh_site_free(s->site);
    talloc_free(s);
    return 0;
}

static bool in_home(const struct sshd *web, const char *name)
{
    char *path = talloc_asprintf(NULL, "%s/%s", sshd_home(web), name);
    bool there = access(path, F_OK) == 0;
    talloc_free(path);
    return there;
}
static bool ran_on_web1(void *data)
{
    return in_home(((struct scene *)data)->webs[0], "ran");
}

/* Until the host has answered what a dialog wants to know of it. */
static void await_answer(struct scene *s)
{
    terminal_wait(s->t, 30, "2 of 2 answer");
}

static void runs_a_command(void **state)
{
    struct scene *s = *state;
    await_answer(s);
    terminal_keys(s->t, "Space", "Down", "Space", "F9");
    stage_choose(s->t, "run a command on the 2 marked hosts");
    stage_dialog(s->t, "Batch");
    terminal_keys(s->t, "text:cd; touch ran; echo out of $HOME; test ! -e broken", "Enter");
    stage_dialog(s->t, "Type the number of hosts");
    terminal_expect(s->t, "1 at a time, stopped at the first failure");
    assert_false(in_home(s->webs[0], "ran"));
    terminal_keys(s->t, "Tab", "text:3", "Enter");
    terminal_wait(s->t, 5, "Not what was asked for");
    terminal_keys(s->t, "Backspace", "text:2", "Enter");
    terminal_wait(s->t, 20, "ran on 2 of 2");
    terminal_wait(s->t, 10, "web2 · done");
    terminal_expect(s->t, "out of ");
    assert_true(in_home(s->webs[0], "ran"));
    assert_true(in_home(s->webs[1], "ran"));
    terminal_end(s->t);
}

static void takes_a_runbook_back(void **state)
{
    struct scene *s = *state;
    write_text(talloc_asprintf(s, "%s/broken", sshd_home(s->webs[0])), "");
    await_answer(s);
    terminal_keys(s->t, "g", "/", "text:web1", "Enter", "F9");
    stage_choose(s->t, "runbook deploy: a new release");
    stage_dialog(s->t, "Type the name of the host");
    terminal_expect(s->t, "cd; touch prepared");
    terminal_expect(s->t, "cd; test ! -e broken");
    terminal_keys(s->t, "Tab", "text:web1", "Enter");
    stage_choose(s->t, "take back what was done: 1 step");
    assert_true(in_home(s->webs[0], "prepared"));
    stage_dialog(s->t, "cd; rm prepared");
    terminal_keys(s->t, "Tab", "text:web1", "Enter");
    terminal_wait(s->t, 20, "took back deploy step 1 on web1");
    assert_false(in_home(s->webs[0], "prepared"));
    terminal_end(s->t);
}

static void leaves_the_last_host_up(void **state)
{
    struct scene *s = *state;
    sshd_halt(s->webs[1]);
    terminal_wait(s->t, 60, "1 of 2 answer");
    terminal_keys(s->t, "/", "text:web1", "Enter", "F9");
    stage_choose(s->t, "run a command on web1");
    stage_dialog(s->t, "Command");
    terminal_keys(s->t, "text:sudo reboot", "Enter");
    terminal_wait(s->t, 5, "it would leave no healthy host in group web");
    terminal_keys(s->t, "F9");
    stage_choose(s->t, "reboot web1");
    stage_dialog(s->t, "web1 is not rebooted");
    terminal_expect(s->t, "it would leave no healthy host in group web; not healthy: web2 (");
    stage_choose(s->t, "force it, and give the reason");
    stage_dialog(s->t, "Type the name of the host");
    /* Without a reason it is not sent. */
    terminal_keys(s->t, "Tab", "text:web1", "Enter");
    terminal_expect(s->t, "Type the name of the host");
    assert_false(in_home(s->webs[0], "rebooted"));
    terminal_keys(s->t, "text:the disk is dying", "Enter", "Enter");
    terminal_wait(s->t, 20, "reboot asked of web1");
    assert_true(in_home(s->webs[0], "rebooted"));
    terminal_end(s->t);
}

/* Left in the middle of a command: what became of it is unknown, and on record as that. */
static void is_left_while_it_runs(void **state)
{
    struct scene *s = *state;
    await_answer(s);
    terminal_keys(s->t, "/", "text:web1", "Enter", "F9");
    stage_choose(s->t, "run a command on web1");
    stage_dialog(s->t, "Command");
    terminal_keys(s->t, "text:cd; touch ran; exec sleep 600", "Enter");
    stage_dialog(s->t, "Type the name of the host");
    terminal_keys(s->t, "Tab", "text:web1", "Enter");
    terminal_wait(s->t, 10, "Run a command on web1: sent");
    stage_until(10, ran_on_web1, s);
    terminal_keys(s->t, ":", "text:q", "Enter");
    terminal_expect_exit(s->t, 40, 0);
    terminal_end(s->t);
    char *line = talloc_asprintf(
        s, "HOME=%s " SIGNALBOX_PROGRAM " audit -e school --json | grep -q '\"unknown\"'", s->home);
    assert_int_equal(system(line), 0);
}

static pid_t start_victim(void)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        prctl(PR_SET_NAME, "sb) victim");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (volatile unsigned i = 0;; i++)
            ;
    }
    return pid;
}

static void ends_a_process(void **state)
{
    struct scene *s = *state;
    int status;
    pid_t victim = start_victim();
    char *digits = talloc_asprintf(s, "text:%02d", victim % 100);
    await_answer(s);
    terminal_keys(s->t, "Enter", "F3", "/", "text:sb) victim", "Enter");
    terminal_wait(s->t, 30, talloc_asprintf(s, "%d", victim));
    terminal_keys(s->t, "F9");
    stage_choose(s->t, talloc_asprintf(s, "end %d sb) victim", victim));
    stage_dialog(s->t, "Type the last two digits of the process");
    terminal_expect(s->t, "kill -TERM");
    assert_int_equal(waitpid(victim, &status, WNOHANG), 0);
    terminal_keys(s->t, "Tab", digits, "Enter");
    terminal_wait(s->t, 20, talloc_asprintf(s, "told to end: %d on web", victim));
    assert_int_equal(waitpid(victim, &status, 0), victim);
    assert_int_equal(WTERMSIG(status), SIGTERM);
    terminal_wait(s->t, 20, "gone after");
    terminal_end(s->t);
}

static void truncates_a_log(void **state)
{
    struct scene *s = *state;
    char *log = talloc_asprintf(s, "%s/it's $(touch p).log", sshd_home(s->webs[0]));
    struct stat info;
    write_text(log, "lines\n");
    await_answer(s);
    terminal_keys(s->t, "/", "text:web1", "Enter", "F9");
    stage_choose(s->t, "rotate or truncate a log");
    stage_dialog(s->t, "Rotate or truncate a log");
    terminal_keys(s->t, talloc_asprintf(s, "text:%s", log), "Enter");
    stage_choose(s->t, "truncate /");
    stage_dialog(s->t, "Type the name of the host");
    terminal_expect(s->t, "rotate it: what is in it is kept");
    terminal_keys(s->t, "Tab", "text:web1", "Enter");
    terminal_wait(s->t, 20, "truncated ");
    assert_int_equal(stat(log, &info), 0);
    assert_int_equal(info.st_size, 0);
    assert_false(in_home(s->webs[0], "p"));
    terminal_end(s->t);
}

static void measures_a_disk(void **state)
{
    struct scene *s = *state;
    await_answer(s);
    terminal_keys(s->t, "F9");
    stage_choose(s->t, "what fills /");
    terminal_wait(s->t, 10, "at most 20 s");
    terminal_keys(s->t, "C-c");
    terminal_wait(s->t, 10, "it was given up");
    terminal_wait(s->t, 60, "safe to remove");
    terminal_keys(s->t, "Esc");
    terminal_wait_gone(s->t, 10, "safe to remove");
    terminal_end(s->t);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        TEST(runs_a_command),        TEST(takes_a_runbook_back), TEST(leaves_the_last_host_up),
        TEST(ends_a_process),        TEST(measures_a_disk),      TEST(truncates_a_log),
        TEST(is_left_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
