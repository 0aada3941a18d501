/* Acts on hosts over real SSH: the right process, hosts one after the other, what broke off, and what is on
 * record afterwards. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/disk.h"
#include "backends/hosts/host_change.h"
#include "tests/harness/ssh_caller.h"

enum { WEBS = 3, PATIENCE_S = 30 };

/* One test's own: servers, the log, and the change that is being sent. */
struct stage {
    struct ssh_caller *caller;
    struct sshd *webs[WEBS];
    struct host_place places[WEBS];
    struct environment environment;
    struct audit *audit;
    struct access *access;
    char *folder; /* of the log */
    struct change *change;
    int done, steps_over;
    char *report;
    struct error error;
};

static void stage_open(struct stage *s, void **state, const char *bashrc)
{
    static const char *const names[WEBS] = {"web1", "web2", "web3"};
    memset(s, 0, sizeof *s);
    s->caller = *state;
    s->folder = talloc_asprintf(NULL, "%s/state", ssh_site_folder(s->caller->site));
    assert_int_equal(mkdir(s->folder, 0700), 0);
    setenv("XDG_STATE_HOME", s->folder, 1);
    setenv("SIGNALBOX_JOURNAL_SOCKET", "/nonexistent/journal", 1);
    s->environment = (struct environment){.name = "test"};
    s->audit = audit_new(s->caller->loop, "test", s->folder);
    s->access = access_new(s->caller->loop, &s->environment, s->audit, NULL, NULL);
    for (size_t i = 0; i < WEBS; i++) {
        s->webs[i] = sshd_start(s->caller->site, names[i], (struct sshd_options){.bashrc = bashrc});
        s->places[i] = (struct host_place){.environment = "test",
                                           .host = names[i],
                                           .login = "root",
                                           .ssh = ssh_caller_host(s->caller, names[i])};
    }
}

static void stage_close(struct stage *s)
{
    talloc_free(s->change);
    access_free(s->access);
    audit_free(s->audit);
    talloc_free(s->report);
    talloc_free(s->folder);
}

static bool is_done(void *data)
{
    return ((struct stage *)data)->done > 0;
}

static void on_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct stage *s = data;
    assert_ptr_equal(change, s->change);
    s->done++;
    s->report = talloc_strdup(NULL, report);
    s->error = error ? *error : (struct error){0};
}

static void begin(struct stage *s, struct change *change)
{
    assert_non_null(change);
    talloc_free(s->change);
    talloc_free(s->report);
    s->report = NULL;
    s->change = change;
    s->done = 0;
    change->reason = "test";
    change_send(change, s->caller->loop, s->access, s->audit, on_done, s);
}

static void await_done(struct stage *s)
{
    assert_true(loop_until(s->caller->loop, PATIENCE_S, is_done, s));
    assert_int_equal(s->done, 1);
}

static void send_all(struct stage *s, struct change *change)
{
    begin(s, change);
    await_done(s);
}

/* How many records of this event with this outcome there are for this server (NULL: any). */
static size_t records(struct stage *s, const char *event, const char *outcome, const char *server)
{
    struct error error;
    struct audit_list *list = audit_read(NULL, "test", s->folder, 0, &error);
    size_t count = 0;
    for (size_t i = 0; list && i < list->count; i++) {
        const struct audit_record *record = &list->records[i];
        count += !strcmp(record->event, event) &&
                 (!outcome || (record->outcome && !strcmp(record->outcome, outcome))) &&
                 (!server || (record->server && !strcmp(record->server, server)));
    }
    talloc_free(list);
    return count;
}

static bool in_home(const struct sshd *web, const char *name)
{
    char *path = talloc_asprintf(NULL, "%s/%s", sshd_home(web), name);
    bool there = access(path, F_OK) == 0;
    talloc_free(path);
    return there;
}

static void put_in_home(const struct sshd *web, const char *name, const char *text, mode_t mode)
{
    char *path = talloc_asprintf(NULL, "%s/%s", sshd_home(web), name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    talloc_free(path);
}

/* ---- a process ---- */

struct looked {
    struct host_victim victim;
    bool found, ended;
    void *context;
};

static void on_looked(void *data, const struct ssh_result *result)
{
    struct looked *looked = data;
    looked->ended = true;
    looked->found = host_victim_read(looked->context, result->output ? result->output : "", &looked->victim);
}

static bool has_looked(void *data)
{
    return ((struct looked *)data)->ended;
}

static bool is_gone(void *data)
{
    struct stage *s = data;
    char text[256];
    return s->change->watch(s->change, text, sizeof text) && strstr(text, "gone after");
}

static void test_kill(void **state)
{
    struct stage s;
    struct looked looked = {.context = talloc_new(NULL)};
    int status;
    stage_open(&s, state, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("sleep", "sleep", "600", (char *)NULL);
        _exit(1);
    }
    char *line = host_victim_line(looked.context, pid);
    ssh_run(s.places[0].ssh, "sh", line, (struct ssh_run_limits){0}, on_looked, &looked);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, has_looked, &looked));
    assert_true(looked.found);
    assert_int_equal(looked.victim.pid, pid);
    assert_string_equal(looked.victim.command, "sleep 600");
    /* Another process has the pid by now. */
    struct host_victim other = looked.victim;
    other.start += 100;
    send_all(&s, host_change_kill(&s.places[0], &other, true, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_GONE);
    assert_int_equal(s.error.kind, ERROR_GONE);
    assert_int_equal(records(&s, "after", "gone", "web1"), 1);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    send_all(&s, host_change_kill(&s.places[0], &looked.victim, false, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_DONE);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGTERM);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, is_gone, &s));
    stage_close(&s);
    talloc_free(looked.context);
}

/* ---- hosts one after the other ---- */

static void test_run_stops_at_the_second(void **state)
{
    struct stage s;
    struct host_run run = {
        .command = "cd; touch ran; echo \"out of $HOME\"; echo err >&2; [ ! -e broken ] || exit 3"};
    stage_open(&s, state, NULL);
    put_in_home(s.webs[1], "broken", "", 0600);
    send_all(&s, host_change_run(s.places, WEBS, &run, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_DONE);
    assert_int_equal(s.change->steps[1].outcome, STEP_FAILED);
    assert_int_equal(s.change->steps[2].outcome, STEP_SKIPPED);
    assert_true(in_home(s.webs[0], "ran"));
    assert_true(in_home(s.webs[1], "ran"));
    assert_false(in_home(s.webs[2], "ran"));
    assert_non_null(strstr(s.report, "ran on 1 of 3, 1 failed, 1 was not sent"));
    assert_string_equal(s.error.where, "web2");
    assert_non_null(strstr(s.error.why, "3"));
    size_t length;
    const char *output = host_step_output(&s.change->steps[0], &length);
    assert_non_null(strstr(output, sshd_home(s.webs[0])));
    assert_string_equal(host_step_errors(&s.change->steps[0]), "err\n");
    assert_int_equal(records(&s, "before", NULL, NULL), 3);
    assert_int_equal(records(&s, "after", "done", "web1"), 1);
    assert_int_equal(records(&s, "after", "failed", "web2"), 1);
    assert_int_equal(records(&s, "after", "skipped", "web3"), 1);
    /* A preview sends nothing. */
    struct change *preview = host_change_run(s.places, WEBS, &run, &s.error);
    char *text = change_preview(preview, preview);
    assert_non_null(strstr(text, run.command));
    assert_non_null(strstr(text, "web3"));
    assert_false(in_home(s.webs[2], "ran"));
    talloc_free(preview);
    stage_close(&s);
}

/* A host that cannot be reached is one where nothing was done, and the rest waits. */
static void test_run_meets_a_dead_host(void **state)
{
    struct stage s;
    struct host_run run = {.command = "cd; touch ran", .batch = 1};
    stage_open(&s, state, NULL);
    sshd_halt(s.webs[0]);
    send_all(&s, host_change_run(s.places, WEBS, &run, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_FAILED);
    assert_int_equal(s.change->steps[1].outcome, STEP_SKIPPED);
    assert_false(in_home(s.webs[1], "ran"));
    stage_close(&s);
}

static void test_runbook_is_taken_back(void **state)
{
    static const struct environment_step steps[] = {{"cd; echo one >>book", "cd; rm book"},
                                                    {"cd; echo two >>book; echo x >twice", "cd; rm twice"},
                                                    {"cd; [ ! -e broken ]", NULL}};
    static const struct environment_runbook runbook = {.name = "deploy", .steps = steps, .step_count = 3};
    struct stage s;
    stage_open(&s, state, NULL);
    put_in_home(s.webs[1], "broken", "", 0600);
    send_all(&s, host_change_runbook(s.places, WEBS, &runbook, 1, &s.error));
    assert_int_equal(s.change->steps[2].outcome, STEP_DONE);
    assert_int_equal(s.change->steps[5].outcome, STEP_FAILED);
    assert_int_equal(s.change->steps[6].outcome, STEP_SKIPPED);
    assert_true(in_home(s.webs[0], "book"));
    assert_true(in_home(s.webs[1], "twice"));
    assert_false(in_home(s.webs[2], "book"));
    struct change *back = s.change->take_back(s.change);
    assert_int_equal(back->step_count, 4);
    send_all(&s, back);
    assert_int_equal(s.error.kind, ERROR_NONE);
    assert_false(in_home(s.webs[0], "book"));
    assert_false(in_home(s.webs[1], "twice"));
    stage_close(&s);
}

/* ---- what broke off ---- */

static void test_signal_is_no_success(void **state)
{
    struct stage s;
    struct host_run run = {.command = "exec sh -c 'kill -KILL $$'"};
    stage_open(&s, state, NULL);
    send_all(&s, host_change_run(s.places, 1, &run, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_FAILED);
    assert_non_null(strstr(s.error.why, "KILL"));
    assert_int_equal(records(&s, "after", "failed", "web1"), 1);
    stage_close(&s);
}

static bool has_begun(void *data)
{
    return in_home(((struct stage *)data)->webs[0], "began");
}

static void test_lost_line(void **state)
{
    struct stage s;
    struct host_run run = {.command = "cd; touch began; sleep 600"};
    stage_open(&s, state, NULL);
    begin(&s, host_change_run(s.places, WEBS, &run, &s.error));
    assert_true(loop_until(s.caller->loop, PATIENCE_S, has_begun, &s));
    sshd_kill_sessions(s.webs[0]);
    await_done(&s);
    assert_int_equal(s.change->steps[0].outcome, STEP_UNKNOWN);
    assert_int_equal(s.change->steps[1].outcome, STEP_SKIPPED);
    assert_int_equal(s.error.kind, ERROR_LOST);
    assert_non_null(strstr(s.error.why, "unknown"));
    assert_non_null(strstr(s.report, "the outcome of 1 is unknown"));
    assert_int_equal(records(&s, "after", "unknown", "web1"), 1);
    assert_int_equal(records(&s, "after", "done", NULL), 0);
    stage_close(&s);
}

static void test_deadline(void **state)
{
    struct stage s;
    struct host_run run = {.command = "sleep 600", .deadline_s = 0.5};
    stage_open(&s, state, NULL);
    send_all(&s, host_change_run(s.places, 1, &run, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_UNKNOWN);
    assert_int_equal(s.error.kind, ERROR_TIMEOUT);
    stage_close(&s);
}

/* ---- what becomes of units and containers ---- */

/* Tools that say what the test wants to hear; NAME.ran holds what they were called with. */
static void put_tool(struct stage *s, const char *name, const char *answer)
{
    char *bin = talloc_asprintf(NULL, "%s/bin", sshd_home(s->webs[0]));
    mkdir(bin, 0700);
    char *script =
        talloc_asprintf(bin, "#!/bin/sh\necho \"$*\" >>%s/%s.ran\n%s\n", sshd_home(s->webs[0]), name, answer);
    put_in_home(s->webs[0], talloc_asprintf(bin, "bin/%s", name), script, 0700);
    talloc_free(bin);
}

struct told {
    struct stage *stage;
    const char *wanted;
    bool over;
    char text[256];
};

static bool was_told(void *data)
{
    struct told *told = data;
    told->over = told->stage->change->watch(told->stage->change, told->text, sizeof told->text);
    return told->over && strstr(told->text, told->wanted);
}

/* Runs until the watch is over; its last words must hold these. */
static void expect_told(struct stage *s, const char *wanted)
{
    struct told told = {.stage = s, .wanted = wanted};
    if (!loop_until(s->caller->loop, PATIENCE_S, was_told, &told)) {
        print_error("expected \"%s\", told: \"%s\"\n", wanted, told.text);
        fail();
    }
}

static void test_unit_is_watched(void **state)
{
    struct stage s;
    stage_open(&s, state, "PATH=$HOME/bin:$PATH");
    put_tool(&s, "systemctl",
             "case $1 in show) printf 'ActiveState=active\\nSubState=running\\nResult=success\\n';; esac");
    send_all(&s, host_change_unit(&s.places[0], HOST_RESTART, "nginx.service", &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_DONE);
    assert_non_null(strstr(s.report, "restarted nginx.service on web1 after"));
    expect_told(&s, "nginx.service active (running) after 5");
    /* It comes up and falls over. */
    put_tool(&s, "systemctl",
             "case $1 in show) printf 'ActiveState=failed\\nSubState=failed\\nResult=exit-code\\n';; esac");
    send_all(&s, host_change_unit(&s.places[0], HOST_START, "nginx.service", &s.error));
    expect_told(&s, "nginx.service FAILED (exit-code)");
    put_tool(&s, "systemctl",
             "case $1 in show) printf 'ActiveState=inactive\\nSubState=dead\\nResult=success\\n';; esac");
    send_all(&s, host_change_unit(&s.places[0], HOST_STOP, "nginx.service", &s.error));
    expect_told(&s, "nginx.service inactive (dead)");
    put_tool(&s, "systemctl", "echo 'Failed to stop x.service: Unit x.service not loaded.' >&2; exit 5");
    send_all(&s, host_change_unit(&s.places[0], HOST_STOP, "x.service", &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_FAILED);
    assert_non_null(strstr(s.error.why, "not loaded"));
    stage_close(&s);
}

static void test_container_is_watched(void **state)
{
    struct stage s;
    stage_open(&s, state, "PATH=$HOME/bin:$PATH");
    put_tool(&s, "docker", "case $1 in inspect) echo 'exited 137 3';; esac");
    send_all(&s, host_change_container(&s.places[0], HOST_STOP, "d2415c29f257", "web", &s.error));
    assert_non_null(strstr(s.report, "stopped web on web1"));
    expect_told(&s, "web exited, 3 restarts after");
    put_tool(&s, "docker", "case $1 in inspect) echo 'running 0 0';; esac");
    send_all(&s, host_change_container(&s.places[0], HOST_RESTART, "d2415c29f257", "web", &s.error));
    expect_told(&s, "web running after 5");
    stage_close(&s);
}

static void test_reboot_is_watched(void **state)
{
    struct stage s;
    struct host_reboot alone = {.grouped = false};
    stage_open(&s, state, "PATH=$HOME/bin:$PATH");
    put_tool(&s, "systemctl", ":");
    put_tool(&s, "cat", "echo 1.5 3.0"); /* of /proc/uptime: it has just begun */
    send_all(&s, host_change_reboot(&s.places[0], &alone, &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_DONE);
    assert_true(in_home(s.webs[0], "systemctl.ran"));
    expect_told(&s, "web1 is back after");
    stage_close(&s);
}

static void test_room_is_made(void **state)
{
    struct stage s;
    struct disk_saving packages = {
        .kind = SAVING_PACKAGES, .what = "packages", .bytes = 5e8, .removable = true};
    stage_open(&s, state, "PATH=$HOME/bin:$PATH");
    put_tool(&s, "apt-get", ":");
    put_tool(&s, "df", "echo Filesystem; echo '/dev/sda1  41152736 33742720 5296128      87% /'");
    send_all(&s, disk_saving_change(&s.places[0], &packages, "/", &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_DONE);
    assert_true(in_home(s.webs[0], "apt-get.ran"));
    expect_told(&s, "/ is at 87 % now, 5.1 GB free");
    stage_close(&s);
}

/* ---- sudo ---- */

static void test_sudo_wants_a_password(void **state)
{
    struct stage s;
    stage_open(&s, state, "PATH=$HOME/bin:$PATH");
    char *bin = talloc_asprintf(NULL, "%s/bin", sshd_home(s.webs[0]));
    assert_int_equal(mkdir(bin, 0700), 0);
    put_in_home(s.webs[0], "bin/sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n", 0700);
    s.places[0].login = "ops";
    send_all(&s, host_change_unit(&s.places[0], HOST_RESTART, "nginx.service", &s.error));
    assert_int_equal(s.change->steps[0].outcome, STEP_FAILED);
    assert_int_equal(s.error.kind, ERROR_DENIED);
    assert_non_null(
        strstr(s.error.todo, "ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart nginx.service"));
    stage_close(&s);
    talloc_free(bin);
}

/* ---- disk ---- */

static bool has_measured(void *data)
{
    struct disk *disk = data;
    size_t count;
    return !disk_measuring(disk, NULL) && disk_savings(disk, &count);
}

static void test_disk(void **state)
{
    struct stage s;
    stage_open(&s, state, NULL);
    char *home = talloc_strdup(NULL, sshd_home(s.webs[0]));
    put_in_home(s.webs[0], "make", "mkdir -p big/deep; head -c 3000000 /dev/zero >big/deep/zeros", 0700);
    send_all(&s, host_change_run(s.places, 1, &(struct host_run){.command = "cd; sh make"}, &s.error));
    struct disk *disk = disk_new(home, &s.places[0], home, NULL, NULL);
    assert_true(disk_measure(disk, home));
    assert_false(disk_measure(disk, home)); /* one at a time */
    disk_look_savings(disk);
    assert_true(loop_until(s.caller->loop, PATIENCE_S * 3, has_measured, disk));
    const struct disk_level *level = disk_find(disk, home);
    assert_non_null(level);
    assert_string_equal(level->entries[0].name, "big");
    assert_true(level->entries[0].bytes > 2900000);
    assert_false(level->partial);
    assert_true(disk_measure(disk, level->entries[0].path));
    assert_true(loop_until(s.caller->loop, PATIENCE_S, has_measured, disk));
    level = disk_find(disk, level->entries[0].path);
    assert_string_equal(level->entries[0].name, "deep");
    assert_true(disk_measure(disk, "/no/such/folder"));
    assert_true(loop_until(s.caller->loop, PATIENCE_S, has_measured, disk));
    assert_int_not_equal(disk_error(disk)->kind, ERROR_NONE);
    disk_measure(disk, "/"); /* given up in the middle, by freeing it */
    talloc_free(home);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(test_kill),
        ssh_on_both(test_run_stops_at_the_second),
        ssh_on_both(test_run_meets_a_dead_host),
        ssh_on_both(test_runbook_is_taken_back),
        ssh_on_both(test_signal_is_no_success),
        ssh_on_both(test_lost_line),
        ssh_on_both(test_deadline),
        ssh_on_both(test_sudo_wants_a_password),
        ssh_on(test_unit_is_watched, libssh2),
        ssh_on(test_container_is_watched, libssh2),
        ssh_on(test_reboot_is_watched, libssh2),
        ssh_on(test_room_is_made, libssh2),
        ssh_on_both(test_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
