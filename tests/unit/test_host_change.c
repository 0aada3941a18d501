/* Acts on hosts: the lines that are sent do what they say and nothing else, whatever things are called; what
 * broke off is never a success; the last healthy host stays up. The lines run here, in a shell of this
 * machine; over SSH they run in tests/servers. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/host_change.h"
#include "backends/hosts/host_change_internal.h"
#include "tests/unit/unit.h"

struct fixture {
    char *folder;
    struct host_place root, ops;
    struct change *change;
    struct error error;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->folder = talloc_strdup(f, "/tmp/test_host_change_log.XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    f->root = (struct host_place){.environment = "test", .host = "web1", .login = "root"};
    f->ops = (struct host_place){.environment = "test", .host = "web2", .login = "ops"};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f->change);
    talloc_free(f);
    return status;
}

static const char *line_of(struct fixture *f)
{
    assert_non_null(f->change);
    return f->change->steps[0].command;
}

/* The exit status of a line in sh, its output thrown away. */
static int run_line(const char *line)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(126);
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* It is a line of sh, which is not run. */
static void assert_is_shell(struct fixture *f, const char *line)
{
    char *path = talloc_asprintf(f, "%s/line.sh", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(line, file);
    fclose(file);
    assert_int_equal(run_line(talloc_asprintf(f, "sh -n '%s'", path)), 0);
}

/* ---- names ---- */

static const char *const hostile[] = {
    "x;touch /tmp/p",
    "$(id)",
    "`id`",
    "a b",
    "a\nb",
    "-f",
    "a'b",
    "a\"b",
    "a|b",
    "a&b",
    "a>b",
    "",
    "nginx.service\n",
    "../../etc",
    "a*",
    "\x1b[31mx",
    "a{b,c}",
    "a#b",
};

static void test_hostile_names(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        assert_null(host_change_unit(&f->root, HOST_STOP, hostile[i], &f->error));
        assert_int_equal(f->error.kind, ERROR_USAGE);
        assert_null(host_change_container(&f->root, HOST_STOP, hostile[i], "web", &f->error));
        assert_null(host_change_truncate(&f->root, hostile[i], &f->error));
        assert_null(host_change_ban(&f->root, BAN_UFW, NULL, hostile[i], true, &f->error));
        assert_null(host_change_ban(&f->root, BAN_FAIL2BAN, hostile[i], "192.0.2.7", true, &f->error));
        char *path = talloc_asprintf(f, "/etc/letsencrypt/live/%s/cert.pem", hostile[i]);
        assert_null(host_change_renew(&f->root, path, &f->error));
    }
    assert_null(host_change_truncate(&f->root, "/var/log/../../etc/passwd", &f->error));
    assert_null(host_change_truncate(&f->root, "/etc/passwd", &f->error));
}

/* The name of a container is for people only: whatever it is, it is not in the command. */
static void test_hostile_container_name(void **state)
{
    struct fixture *f = *state;
    f->change =
        host_change_container(&f->ops, HOST_RESTART, "d2415c29f257", "x;touch /tmp/p\n\x1b[1m", &f->error);
    assert_non_null(f->change);
    assert_null(strstr(line_of(f), "touch"));
    assert_null(strchr(f->change->title, '\n'));
    assert_null(strchr(f->change->title, '\x1b'));
    assert_string_equal(line_of(f),
                        "if [ -w /var/run/docker.sock ]; then docker restart d2415c29f257; else sudo -n "
                        "docker restart d2415c29f257; fi");
    assert_is_shell(f, line_of(f));
}

static void test_unit_lines(void **state)
{
    struct fixture *f = *state;
    f->change = host_change_unit(&f->ops, HOST_STOP, "gunicorn@web.service", &f->error);
    assert_string_equal(line_of(f), "sudo -n systemctl stop gunicorn@web.service");
    assert_string_equal(f->change->steps[0].undo, "sudo -n systemctl start gunicorn@web.service");
    assert_string_equal(f->change->steps[0].name, "gunicorn@web.service on web2");
    assert_string_equal(f->change->confirm, "web2");
    assert_int_equal(f->change->hazard, HAZARD_DESTROY);
    assert_string_equal(host_step_of(&f->change->steps[0])->sudoers,
                        "ops ALL=(root) NOPASSWD: /usr/bin/systemctl stop gunicorn@web.service");
    talloc_free(f->change);
    f->change = host_change_unit(&f->root, HOST_RESTART, "nginx.service", &f->error);
    assert_string_equal(line_of(f), "systemctl restart nginx.service");
    assert_non_null(strstr(f->change->milder, "reload"));
    assert_null(f->change->steps[0].undo);
    talloc_free(f->change);
    f->root.init = "openrc";
    f->change = host_change_unit(&f->root, HOST_RESTART, "nginx", &f->error);
    assert_string_equal(line_of(f), "rc-service nginx restart");
    f->root.login = NULL;
    assert_null(host_change_unit(&f->root, HOST_RESTART, "nginx", &f->error));
    assert_int_equal(f->error.kind, ERROR_LOST);
}

static void test_login(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(host_login(f, "ops@10.0.0.5:22 via bastion@x"), "ops");
    assert_string_equal(host_login(f, "ops@corp@10.0.0.5:22"), "ops@corp");
    assert_string_equal(host_login(f, "ssh://ops@db1:2222"), "ops");
    assert_null(host_login(f, "web1"));
    assert_null(host_login(f, "@web1"));
    assert_null(host_login(f, NULL));
}

/* ---- a process ---- */

static char *output_of(const void *context, const char *line)
{
    char *text = talloc_zero_size(context, 4096);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t length = fread(text, 1, 4095, pipe);
    text[length] = '\0';
    pclose(pipe);
    return text;
}

static pid_t start_child(const char *name)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        prctl(PR_SET_NAME, name);
        signal(SIGTERM, SIG_DFL);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void test_kill_the_right_one(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"sleeper", "a) R 1 (b", "x) S 1 2 3", "new\nline) 4", "$(touch p)"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pid_t pid = start_child(names[i]);
        struct host_victim victim;
        int status = 0;
        assert_true(host_victim_read(f, output_of(f, host_victim_line(f, pid)), &victim));
        assert_int_equal(victim.pid, pid);
        assert_true(victim.start > 0);
        assert_non_null(victim.user);
        /* The pid is that of another process by now: nothing is sent, and it says so. */
        victim.start++;
        f->change = host_change_kill(&f->root, &victim, false, &f->error);
        assert_int_equal(run_line(line_of(f)), EXIT_GONE);
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        talloc_free(f->change);
        victim.start--;
        f->change = host_change_kill(&f->root, &victim, i % 2, &f->error);
        assert_int_equal(run_line(line_of(f)), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WTERMSIG(status), i % 2 ? SIGKILL : SIGTERM);
        /* And once it is gone, so is the target. */
        assert_int_equal(run_line(line_of(f)), EXIT_GONE);
        assert_false(host_victim_read(f, output_of(f, host_victim_line(f, pid)), &victim));
        talloc_free(f->change);
        f->change = NULL;
    }
}

static void test_kill_words(void **state)
{
    struct fixture *f = *state;
    struct host_victim victim = {.pid = 8121, .start = 4711, .command = "gunicorn", .user = "app"};
    f->change = host_change_kill(&f->ops, &victim, false, &f->error);
    assert_string_equal(f->change->confirm, "21");
    assert_non_null(strstr(line_of(f), "exit 75; sudo -n kill -TERM 8121"));
    assert_string_equal(host_step_of(&f->change->steps[0])->sudoers,
                        "ops ALL=(root) NOPASSWD: /usr/bin/kill -TERM 8121");
    talloc_free(f->change);
    victim.user = "ops"; /* one's own needs no sudo */
    f->change = host_change_kill(&f->ops, &victim, true, &f->error);
    assert_null(strstr(line_of(f), "sudo"));
    assert_non_null(strstr(f->change->milder, "TERM"));
    victim.pid = 1;
    assert_null(host_change_kill(&f->ops, &victim, false, &f->error));
    assert_int_equal(f->error.kind, ERROR_INTERLOCK);
}

/* ---- logs ---- */

static off_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : -1;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_truncate(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"plain.log", "x;touch p", "$(touch p)",
                                        "a' b \"c",  "-rf",       "`touch p`"};
    char *linked = talloc_asprintf(f, "%s/target", f->folder);
    char *link = talloc_asprintf(f, "%s/link", f->folder);
    char *injected = talloc_asprintf(f, "%s/p", f->folder);
    assert_int_equal(chdir(f->folder), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = talloc_asprintf(f, "%s/%s", f->folder, names[i]);
        write_file(path, "lines");
        f->change = host_change_truncate(&f->root, path, &f->error);
        assert_int_equal(run_line(line_of(f)), 0);
        assert_int_equal(size_of(path), 0);
        assert_int_equal(size_of(injected), -1);
        talloc_free(f->change);
    }
    write_file(linked, "precious");
    assert_int_equal(symlink(linked, link), 0);
    f->change = host_change_truncate(&f->root, link, &f->error);
    assert_int_equal(run_line(line_of(f)), EXIT_GONE);
    assert_int_equal(size_of(linked), 8);
    assert_int_equal(chdir("/"), 0);
}

static void test_rotate_line(void **state)
{
    struct fixture *f = *state;
    f->change = host_change_rotate(&f->ops, "/var/log/nginx/it's $(id).log", &f->error);
    assert_is_shell(f, line_of(f));
    assert_non_null(strstr(line_of(f), "sudo -n logrotate -f"));
    talloc_free(f->change);
    f->change = host_change_rotate(&f->root, "/var/log/no/such/file.log", &f->error);
    assert_int_equal(run_line(line_of(f)), EXIT_REFUSED);
}

static void test_renew(void **state)
{
    struct fixture *f = *state;
    f->change =
        host_change_renew(&f->ops, "/etc/letsencrypt/live/alnoor.example.edu/fullchain.pem", &f->error);
    assert_string_equal(line_of(f), "sudo -n certbot renew --cert-name alnoor.example.edu");
    assert_null(host_change_renew(&f->ops, "/etc/nginx/ssl/x.crt", &f->error));
    assert_int_equal(f->error.kind, ERROR_UNSUPPORTED);
}

/* ---- addresses ---- */

static void test_ban(void **state)
{
    struct fixture *f = *state;
    static const char *const refused[] = {"127.0.0.1", "0.0.0.0/0",  "::1",       "::/0",        "10.0.0.0/7",
                                          "1.2.3",     "1.2.3.4/33", "1.2.3.4/x", "fe80::1%eth0"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_null(host_change_ban(&f->root, BAN_NFT, NULL, refused[i], true, &f->error));
    f->change = host_change_ban(&f->ops, BAN_FAIL2BAN, "sshd", "192.0.2.7", true, &f->error);
    assert_non_null(strstr(line_of(f), "; sudo -n fail2ban-client set sshd banip 192.0.2.7"));
    assert_string_equal(f->change->steps[0].undo, "sudo -n fail2ban-client set sshd unbanip 192.0.2.7");
    /* Never the address from which this console comes. */
    char *line = talloc_asprintf(f, "SSH_CONNECTION='192.0.2.7 5000 10.0.0.5 22'; %s", line_of(f));
    assert_int_equal(run_line(line), EXIT_REFUSED);
    line = talloc_asprintf(f, "SSH_CONNECTION='192.0.2.77 5000 10.0.0.5 22'; %s", line_of(f));
    assert_int_not_equal(run_line(line), EXIT_REFUSED);
    talloc_free(f->change);
    /* Nor a net that holds it. */
    static const struct {
        const char *net, *from;
        bool refused;
    } nets[] = {{"192.0.2.0/24", "192.0.2.7", true},      {"192.0.2.7/32", "192.0.2.7", true},
                {"192.0.2.7/32", "192.0.2.77", false},    {"10.0.0.0/8", "10.9.8.7", true},
                {"192.0.2.0/24", "192.0.20.7", false},    {"2001:db8:a::/48", "2001:db8:a:1::7", true},
                {"2001:db8::/32", "2001:db8::7", true},   {"2001:db8:0:1::/64", "2001:db8:0:1::7", true},
                {"2001:db8::/32", "2001:db80::7", false}, {"2001:db8::7/128", "2001:db8::7", true}};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        f->change = host_change_ban(&f->root, BAN_UFW, NULL, nets[i].net, true, &f->error);
        line = talloc_asprintf(f, "ufw() { :; }; SSH_CONNECTION='%s 5000 10.0.0.5 22'; %s", nets[i].from,
                               line_of(f));
        assert_int_equal(run_line(line), nets[i].refused ? EXIT_REFUSED : 0);
        talloc_free(f->change);
    }
    f->change = host_change_ban(&f->root, BAN_NFT, NULL, "2001:DB8::/48", true, &f->error);
    assert_non_null(strstr(line_of(f), "add element inet signalbox banned6 { 2001:db8::/48 }"));
    assert_is_shell(f, line_of(f));
    talloc_free(f->change);
    f->change = host_change_ban(&f->root, BAN_UFW, NULL, "192.0.2.7", false, &f->error);
    assert_string_equal(line_of(f), "ufw delete deny from 192.0.2.7");
}

/* ---- ends ---- */

static enum step_outcome judge(struct fixture *f, const struct ssh_result *result)
{
    f->error = (struct error){0};
    return host_step_judge(host_step_of(&f->change->steps[0]), result, &f->error);
}

static void test_ends(void **state)
{
    struct fixture *f = *state;
    f->change = host_change_unit(&f->ops, HOST_RESTART, "nginx.service", &f->error);
    struct ssh_result result = {.end = {.ending = SSH_EXITED}, .output = "", .errors = ""};
    assert_int_equal(judge(f, &result), STEP_DONE);
    assert_int_equal(f->error.kind, ERROR_NONE);
    result.end.status = 5;
    result.errors = "Unit nginx.service not found.\n";
    assert_int_equal(judge(f, &result), STEP_FAILED);
    assert_int_not_equal(f->error.kind, ERROR_NONE);
    result.end.status = 1;
    result.errors = "sudo: a password is required\n";
    assert_int_equal(judge(f, &result), STEP_FAILED);
    assert_int_equal(f->error.kind, ERROR_DENIED);
    assert_non_null(
        strstr(f->error.todo, "ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart nginx.service"));
    result.end.status = EXIT_GONE;
    assert_int_equal(judge(f, &result), STEP_GONE);
    /* Status 0 with a signal or a broken line is no success. */
    result =
        (struct ssh_result){.end = {.ending = SSH_SIGNALLED, .signal = "KILL"}, .output = "", .errors = ""};
    assert_int_equal(judge(f, &result), STEP_FAILED);
    assert_non_null(strstr(f->error.why, "KILL"));
    result = (struct ssh_result){.end = {.ending = SSH_LOST}, .output = "", .errors = ""};
    assert_int_equal(judge(f, &result), STEP_UNKNOWN);
    assert_int_equal(f->error.kind, ERROR_LOST);
    assert_non_null(strstr(f->error.why, "unknown"));
    assert_non_null(strstr(f->error.todo, "systemctl status nginx.service"));
    error_set(&result.end.error, ERROR_TIMEOUT, "web2", "no answer", NULL, "no end within 60 s");
    assert_int_equal(judge(f, &result), STEP_UNKNOWN);
    assert_int_equal(f->error.kind, ERROR_TIMEOUT);
    result = (struct ssh_result){.end = {.ending = SSH_EXITED}, .cut = true, .output = "", .errors = ""};
    assert_int_equal(judge(f, &result), STEP_UNKNOWN);
    result = (struct ssh_result){.end = {.ending = SSH_REFUSED}, .output = "", .errors = ""};
    assert_int_equal(judge(f, &result), STEP_FAILED);
    assert_int_equal(f->error.kind, ERROR_LOST);
}

/* ---- reboot ---- */

static size_t give_peers(void *data, struct host_peer *peers, size_t room)
{
    const struct host_peer *given = data;
    size_t count = 0;
    for (; count < room && given[count].name; count++)
        peers[count] = given[count];
    return count;
}

static void test_reboot(void **state)
{
    struct fixture *f = *state;
    struct host_peer peers[] = {
        {"web2", false, "critical: disk full"}, {"web3", false, "no answer for 41 s"}, {NULL, false, NULL}};
    struct host_reboot reboot = {.grouped = true, .group = "web", .peers = give_peers, .data = peers};
    assert_null(host_change_reboot(&f->root, &reboot, &f->error));
    assert_int_equal(f->error.kind, ERROR_INTERLOCK);
    assert_non_null(strstr(f->error.why, "web2 (critical: disk full); web3 (no answer for 41 s)"));
    peers[1].healthy = true;
    f->change = host_change_reboot(&f->root, &reboot, &f->error);
    assert_string_equal(line_of(f), "systemctl reboot");
    assert_string_equal(f->change->confirm, "web1");
    assert_true(f->change->still_there(f->change, &f->error));
    peers[1].healthy = false; /* it falls ill between the dialog and the sending */
    assert_false(f->change->still_there(f->change, &f->error));
    talloc_free(f->change);
    reboot.forced = true;
    f->change = host_change_reboot(&f->root, &reboot, &f->error);
    assert_non_null(f->change);
    assert_non_null(strstr(f->change->effect, "no other healthy host"));
    assert_true(f->change->wants_reason);
    talloc_free(f->change);
    peers[0].name = NULL;
    reboot.forced = false;
    assert_null(host_change_reboot(&f->root, &reboot, &f->error));
    assert_non_null(strstr(f->error.why, "only host of group web"));
    reboot.grouped = false;
    f->change = host_change_reboot(&f->ops, &reboot, &f->error);
    assert_string_equal(line_of(f), "sudo -n systemctl reboot");
}

static void test_takes_down(void **state)
{
    (void)state;
    static const char *const down[] = {"reboot", "sudo -n /sbin/shutdown -r now",
                                       "sleep 1; systemctl poweroff", "sh -c 'halt -f'", "init 6"};
    static const char *const not [] = {"uptime", "grep rebooted /var/log/syslog", "initdb", "last-reboot",
                                       "init q"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(host_command_takes_down(down[i]));
        assert_false(host_command_takes_down(not [i]));
    }
}

/* ---- many hosts ---- */

static void test_run(void **state)
{
    struct fixture *f = *state;
    struct host_place places[3] = {f->root, f->ops, f->ops};
    places[2].host = "web3";
    places[2].login = NULL;
    struct host_run run = {.command = "uptime; echo \"it's $HOME\"", .batch = 2};
    f->change = host_change_run(places, 3, &run, &f->error);
    assert_int_equal(f->change->step_count, 3);
    assert_int_equal(f->change->batch, 2);
    assert_true(f->change->stop_at_failure);
    assert_string_equal(f->change->confirm, "3");
    assert_string_equal(f->change->server, "3 hosts");
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(f->change->steps[i].command, run.command); /* as the user wrote it */
        assert_string_equal(f->change->steps[i].server, places[i].host);
    }
    talloc_free(f->change);
    f->change = host_change_run(places, 1, &run, &f->error);
    assert_string_equal(f->change->confirm, "web1");
    run.command = "  ";
    assert_null(host_change_run(places, 3, &run, &f->error));
    assert_null(host_change_run(places, 0, &(struct host_run){.command = "x"}, &f->error));
}

static void test_runbook(void **state)
{
    struct fixture *f = *state;
    static const struct environment_step steps[] = {
        {"deploy prepare", "deploy forget"}, {"deploy check", NULL}, {"deploy switch", "deploy back"}};
    static const struct environment_runbook runbook = {
        .name = "deploy", .help = "a new release", .steps = steps, .step_count = 3};
    struct host_place places[2] = {f->root, f->ops};
    f->change = host_change_runbook(places, 2, &runbook, 0, &f->error);
    assert_int_equal(f->change->step_count, 6);
    assert_int_equal(f->change->batch, 1);
    assert_string_equal(f->change->steps[2].command, "deploy switch");
    assert_string_equal(f->change->steps[2].server, "web1");
    assert_string_equal(f->change->steps[3].server, "web2");
    assert_string_equal(f->change->steps[3].target, "web2 step 1");
    assert_null(f->change->take_back(f->change)); /* nothing was done */
    for (size_t i = 0; i < 4; i++)
        f->change->steps[i].outcome = STEP_DONE;
    f->change->steps[4].outcome = STEP_FAILED;
    f->change->steps[5].outcome = STEP_SKIPPED;
    struct change *back = f->change->take_back(f->change);
    assert_int_equal(back->step_count, 3); /* the check has none */
    assert_string_equal(back->steps[0].command, "deploy forget");
    assert_string_equal(back->steps[0].server, "web2");
    assert_string_equal(back->steps[1].command, "deploy back");
    assert_string_equal(back->steps[1].server, "web1");
    assert_string_equal(back->steps[2].command, "deploy forget");
    talloc_free(back);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_hostile_names),
        TEST(test_hostile_container_name),
        TEST(test_unit_lines),
        TEST(test_login),
        TEST(test_kill_the_right_one),
        TEST(test_kill_words),
        TEST(test_truncate),
        TEST(test_rotate_line),
        TEST(test_renew),
        TEST(test_ban),
        TEST(test_ends),
        TEST(test_reboot),
        TEST(test_takes_down),
        TEST(test_run),
        TEST(test_runbook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
