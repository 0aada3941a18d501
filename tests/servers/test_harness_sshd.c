/* The sshd of the harness, seen with the system's ssh: what later tests take for granted is so. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int start(void **state)
{
    struct ssh_site *site = ssh_site_new();
    *state = site;
    return 0;
}

static int stop(void **state)
{
    ssh_site_free(*state);
    return 0;
}

/* Runs a command over ssh; its status and output must be these (output: a part of it). */
static void expect_at(int line, struct ssh_site *site, const char *alias, const char *command, int status,
                      const char *output)
{
    char *text;
    int found = ssh_site_ssh(site, alias, command, &text);
    if (found != status || !strstr(text, output))
        print_error("line %d: status %d, output: %s\n", line, found, text);
    bool holds = strstr(text, output) != NULL;
    free(text);
    assert_int_equal(found, status);
    assert_true(holds);
}
#define expect(...) expect_at(__LINE__, __VA_ARGS__)

static void lets_keys_in(void **state)
{
    struct ssh_site *site = *state;
    struct sshd *s = sshd_start(site, "keys", (struct sshd_options){.bashrc = "echo from bashrc\n"});
    expect(site, "keys", "echo $HOME; exit 3", 3, sshd_home(s));
    expect(site, "keys", "true", 0, "from bashrc");
    const char *const names[] = {"ecdsa", "rsa"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ssh_site_host(site, "other", (struct ssh_entry){.server = s, .keys = names[i]});
        expect(site, "other", "echo in", 0, "in");
    }
    ssh_site_host(site, "other", (struct ssh_entry){.server = s, .keys = "stranger"});
    expect(site, "other", "echo in", 255, "Permission denied");
    ssh_site_host(site, "other", (struct ssh_entry){.server = s, .keys = "locked"});
    expect(site, "other", "echo in", 255, "Permission denied");
    assert_true(sshd_logged(s, "Accepted publickey") == 4);
    assert_true(sshd_await_logged(s, 5, "Accepted publickey", 4));
    assert_false(sshd_await_logged(s, 0.05, "Accepted publickey", 5));
}

static void agents_answer_or_hang(void **state)
{
    struct ssh_site *site = *state;
    struct sshd *s = sshd_start(site, "agents", (struct sshd_options){0});
    char lines[256];
    snprintf(lines, sizeof lines, "IdentityAgent %s", ssh_site_agent(site, "locked"));
    ssh_site_host(site, "agents", (struct ssh_entry){.server = s, .keys = "", .lines = lines});
    expect(site, "agents", "echo in", 0, "in");
    snprintf(lines, sizeof lines, "IdentityAgent %s", ssh_site_agent(site, ""));
    ssh_site_host(site, "agents", (struct ssh_entry){.server = s, .keys = "", .lines = lines});
    expect(site, "agents", "echo in", 255, "Permission denied");
    assert_int_equal(access(ssh_site_hung_agent(site), F_OK), 0);
}

static void host_keys_are_known_or_not(void **state)
{
    struct ssh_site *site = *state;
    struct sshd *s = sshd_start(site, "known", (struct sshd_options){0});
    expect(site, "known", "echo in", 0, "in");
    char *lines = sshd_hashed_lines(s, NULL, "ed25519");
    assert_memory_equal(lines, "|1|", 3);
    ssh_site_host(site, "known", (struct ssh_entry){.server = s, .known = lines});
    expect(site, "known", "echo in", 0, "in");
    free(lines);
    ssh_site_host(site, "known", (struct ssh_entry){.server = s, .known = ""});
    expect(site, "known", "echo in", 255, "Host key verification failed");
    lines = sshd_known_lines(s, "@revoked", "*", NULL);
    ssh_site_host(site, "known", (struct ssh_entry){.server = s, .known = lines});
    expect(site, "known", "echo in", 255, "REVOKED");
    free(lines);
    ssh_site_host(site, "known", (struct ssh_entry){.server = s});
    sshd_new_host_keys(s);
    expect(site, "known", "echo in", 255, "REMOTE HOST IDENTIFICATION HAS CHANGED");
    char *fingerprint = sshd_fingerprint(s, "ed25519");
    assert_memory_equal(fingerprint, "SHA256:", 7);
    free(fingerprint);
}

static void authorities_sign_host_keys(void **state)
{
    struct ssh_site *site = *state;
    struct sshd *s = sshd_start(site, "signed", (struct sshd_options){.certificate = true});
    char *lines = ssh_site_authority_line(site, "[127.0.0.*]:*");
    ssh_site_host(site, "signed", (struct ssh_entry){.server = s, .known = lines});
    expect(site, "signed", "echo in", 0, "in");
    free(lines);
}

/* ssh asks without a terminal through SSH_ASKPASS. */
static void passwords_are_asked_for(void **state)
{
    struct ssh_site *site = *state;
    char path[256], command[1024];
    sshd_start(site, "asking", (struct sshd_options){.password = "green signal"});
    expect(site, "asking", "echo in", 255, "Permission denied");
    snprintf(path, sizeof path, "%s/ask", ssh_site_folder(site));
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("#!/bin/sh\necho 'green signal'\n", file);
    fclose(file);
    snprintf(command, sizeof command,
             "chmod 700 %s; SSH_ASKPASS=%s SSH_ASKPASS_REQUIRE=force ssh -F %s asking exit 7", path, path,
             ssh_site_config(site));
    int status = system(command); /* NOLINT(cert-env33-c): nothing in it comes from outside */
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void servers_end_and_come_back(void **state)
{
    struct ssh_site *site = *state;
    struct sshd *s = sshd_start(site, "ending", (struct sshd_options){.lines = "MaxSessions 3"});
    char command[1024];
    /* a session that lasts until its connection breaks */
    snprintf(command, sizeof command,
             "ssh -F %s ending 'echo $$ > $HOME/shell; cat' </dev/zero >/dev/null 2>&1 &",
             ssh_site_config(site));
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    assert_true(sshd_await_logged(s, 10, "Starting session", 1));
    assert_int_equal(sshd_connections(s), 1);
    sshd_kill_sessions(s);
    for (double deadline = now() + 10; sshd_connections(s) > 0 && now() < deadline;)
        poll(NULL, 0, 5);
    assert_int_equal(sshd_connections(s), 0);
    expect(site, "ending", "echo in", 0, "in");
    int port = sshd_port(s);
    sshd_halt(s);
    expect(site, "ending", "echo in", 255, "refused");
    sshd_again(s);
    assert_int_equal(sshd_port(s), port);
    expect(site, "ending", "echo in", 0, "in");
    sshd_pause(s);
    ssh_site_host(site, "ending", (struct ssh_entry){.server = s, .lines = "ConnectTimeout 1"});
    expect(site, "ending", "echo in", 255, "timed out");
    sshd_resume(s);
    expect(site, "ending", "echo in", 0, "in");
}

static void goes_away_when_the_test_is_killed(void **state)
{
    (void)state;
    int report[2];
    assert_int_equal(pipe(report), 0);
    pid_t child = fork();
    if (child == 0) {
        close(report[0]);
        struct ssh_site *site = ssh_site_new();
        struct sshd *s = sshd_start(site, "left", (struct sshd_options){0});
        pid_t pid = sshd_pid(s);
        /* what a session leaves behind goes too */
        if (ssh_site_ssh(site, "left", "setsid sleep 1000 >/dev/null 2>&1 & echo $! > $HOME/left", NULL) != 0)
            _exit(1);
        sshd_pause(s);
        (void)!write(report[1], &pid, sizeof pid);
        dprintf(report[1], "%s", ssh_site_folder(site));
        raise(SIGKILL);
    }
    close(report[1]);
    pid_t pid;
    char folder[512] = "", path[600], left[32] = "", target[64];
    assert_int_equal(read(report[0], &pid, sizeof pid), sizeof pid);
    assert_true(read(report[0], folder, sizeof folder - 1) > 0);
    close(report[0]);
    snprintf(path, sizeof path, "%s/left/home/left", folder);
    FILE *file = fopen(path, "re");
    if (file) {
        assert_true(fread(left, 1, sizeof left - 1, file) > 0);
        fclose(file);
    }
    waitpid(child, NULL, 0);
    for (double deadline = now() + 20; access(folder, F_OK) == 0 && now() < deadline;)
        poll(NULL, 0, 20);
    assert_int_equal(access(folder, F_OK), -1);
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    assert_int_equal(readlink(path, target, sizeof target), -1);
    if (left[0]) {
        snprintf(path, sizeof path, "/proc/%d/exe", atoi(left));
        assert_int_equal(readlink(path, target, sizeof target), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_keys_in),
        cmocka_unit_test(agents_answer_or_hang),
        cmocka_unit_test(host_keys_are_known_or_not),
        cmocka_unit_test(authorities_sign_host_keys),
        cmocka_unit_test(passwords_are_asked_for),
        cmocka_unit_test(servers_end_and_come_back),
        cmocka_unit_test(goes_away_when_the_test_is_killed),
    };
    return cmocka_run_group_tests_name("harness sshd", tests, start, stop);
}
