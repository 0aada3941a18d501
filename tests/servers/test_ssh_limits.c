/* The limits of servers (MaxStartups, MaxSessions), jumps over bastions, and what libssh2 cannot do: which
 * transport is in use, and that the reason is said. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "tests/harness/ssh_caller.h"

/* ---- limits ---- */

enum { HOSTS = 20 };

struct crowd {
    struct ssh_host *hosts[HOSTS];
};

static bool all_up(void *data)
{
    const struct crowd *crowd = data;
    for (int i = 0; i < HOSTS; i++)
        if (ssh_host_state(crowd->hosts[i]) != CONNECTION_UP)
            return false;
    return true;
}

/* Twenty hosts at one address that drops whoever comes fourth: each of them gets in. */
static void crowd_gets_in(struct ssh_caller *c, struct sshd *s)
{
    struct crowd crowd;
    for (int i = 0; i < HOSTS; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        ssh_site_host(c->site, alias, (struct ssh_entry){.server = s});
    }
    for (int i = 0; i < HOSTS; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        crowd.hosts[i] = ssh_caller_host(c, alias);
        ssh_host_want(crowd.hosts[i], true);
    }
    if (!ssh_caller_until(c, 100, all_up, &crowd))
        for (int i = 0; i < HOSTS; i++)
            print_error("%d: state %d %s\n", i, (int)ssh_host_state(crowd.hosts[i]),
                        ssh_error_text(ssh_host_error(crowd.hosts[i])));
    assert_true(all_up(&crowd));
}

static void max_startups(void **state)
{
    struct ssh_caller *c = *state;
    crowd_gets_in(c, sshd_start(c->site, "server", (struct sshd_options){.lines = "MaxStartups 3"}));
}

/* With the limit that servers have, nobody is dropped at all. */
static void usual_startups_drop_nobody(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    crowd_gets_in(c, s);
    assert_int_equal(sshd_logged(s, "beginning MaxStartups throttling"), 0);
    assert_int_equal(sshd_logged(s, "drop connection"), 0);
    assert_int_equal(sshd_logged(s, "Accepted publickey"), HOSTS);
}

static void max_sessions(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){.lines = "MaxSessions 1"});
    struct ssh_host *host = ssh_caller_host(c, "server");
    struct ssh_heard *first = ssh_hear(host, "echo first; cat");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, first));
    struct ssh_heard *second = ssh_hear(host, "echo second");
    ssh_finish(c, second, 30);
    assert_int_equal(second->end.ending, SSH_REFUSED);
    ssh_expect_words(ssh_error_text(&second->end.error), "MaxSessions");
    assert_int_equal(first->closed, 0);
    ssh_channel_end(first->channel);
    ssh_finish(c, first, 30);
    assert_int_equal(first->end.status, 0);
    ssh_expect(c, host, "echo third", 0, "third\n"); /* there is room again */
    ssh_heard_free(first);
    ssh_heard_free(second);
}

/* ---- jumps ---- */

static void one_hop(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){0});
    ssh_site_host(c->site, "inner", (struct ssh_entry){.server = inner, .lines = "    ProxyJump bastion"});
    struct ssh_host *host = ssh_caller_host(c, "inner");
    ssh_expect_up(c, host);
    ssh_expect(c, host, "echo inner", 0, "inner\n");
    ssh_expect(c, host, "seq 1 1000000", 0, "1\n2\n");
    ssh_expect_words(ssh_host_address(host), "via", "bastion");
    assert_true(sshd_logged(bastion, "Accepted publickey") >= 1);
    if (c->transport != SSH_TRANSPORT_SYSTEM)
        assert_string_equal(ssh_host_transport(host), "libssh2");
    /* the bastion's session breaks: both come back */
    struct ssh_heard *heard = ssh_hear(host, "echo begun; cat");
    assert_true(ssh_caller_until(c, 30, ssh_heard_output, heard));
    sshd_kill_sessions(bastion);
    ssh_finish(c, heard, 60);
    assert_int_equal(heard->end.ending, SSH_LOST);
    ssh_heard_free(heard);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 60));
    ssh_expect(c, host, "echo again", 0, "again\n");
}

/* A fleet behind one bastion, whose own limits are the usual ones. */
static void many_behind_one_bastion(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){.lines = "MaxStartups 100"});
    struct crowd crowd;
    for (int i = 0; i < HOSTS; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        ssh_site_host(c->site, alias, (struct ssh_entry){.server = inner, .lines = "    ProxyJump bastion"});
    }
    for (int i = 0; i < HOSTS; i++) {
        char alias[16];
        snprintf(alias, sizeof alias, "h%d", i);
        crowd.hosts[i] = ssh_caller_host(c, alias);
        ssh_host_want(crowd.hosts[i], true);
    }
    assert_true(ssh_caller_until(c, 100, all_up, &crowd));
    assert_int_equal(sshd_logged(bastion, "drop connection"), 0);
    if (c->transport != SSH_TRANSPORT_SYSTEM)
        /* One session for all, and perhaps another where an opening takes long. */
        assert_in_range(sshd_logged(bastion, "Accepted publickey"), 1, HOSTS / 4);
}

static void bastion_is_unknown_or_refuses(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){0});
    ssh_site_host(c->site, "unknown", (struct ssh_entry){.server = bastion, .known = ""});
    ssh_site_host(c->site, "a", (struct ssh_entry){.server = inner, .lines = "    ProxyJump unknown"});
    ssh_expect_down(c, ssh_caller_host(c, "a"), 30, "unknown");
    sshd_start(c->site, "strict", (struct sshd_options){.lines = "AllowTcpForwarding no"});
    ssh_site_host(c->site, "b", (struct ssh_entry){.server = inner, .lines = "    ProxyJump strict"});
    ssh_expect_down(c, ssh_caller_host(c, "b"), 60, "strict");
    ssh_site_host(c->site, "c", (struct ssh_entry){.port = 1, .lines = "    ProxyJump bastion"});
    ssh_expect_down(c, ssh_caller_host(c, "c"), 60, "bastion");
}

static void two_hops(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "outer", (struct sshd_options){0});
    struct sshd *middle = sshd_start(c->site, "middle", (struct sshd_options){0});
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){0});
    ssh_site_host(c->site, "listed",
                  (struct ssh_entry){.server = inner, .lines = "    ProxyJump outer,middle"});
    ssh_site_host(c->site, "hop", (struct ssh_entry){.server = middle, .lines = "    ProxyJump outer"});
    ssh_site_host(c->site, "chained", (struct ssh_entry){.server = inner, .lines = "    ProxyJump hop"});
    const char *const aliases[] = {"listed", "chained"};
    for (size_t i = 0; i < 2; i++) {
        struct ssh_host *host = ssh_caller_host(c, aliases[i]);
        ssh_expect_up(c, host);
        ssh_expect(c, host, "echo inner", 0, "inner\n");
    }
    /* a chain is one jump over a host that is reached by one jump */
    struct ssh_host *host = ssh_caller_host(c, "listed");
    assert_int_equal(ssh_host_transport_kind(host), SSH_TRANSPORT_SYSTEM);
    ssh_expect_words(ssh_host_transport(host), "ssh (",
                     c->transport == SSH_TRANSPORT_AUTO ? "jump" : "configured");
    ssh_expect_words(ssh_host_address(host), "via outer", "middle");
}

static void proxy_command(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){0});
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    char line[300];
    snprintf(line, sizeof line, "    ProxyCommand ssh -F %s -W %%h:%%p bastion", ssh_site_config(c->site));
    ssh_site_host(c->site, "inner", (struct ssh_entry){.server = inner, .lines = line});
    struct ssh_host *host = ssh_caller_host(c, "inner");
    ssh_expect_up(c, host);
    ssh_expect(c, host, "echo inner", 0, "inner\n");
    if (c->transport == SSH_TRANSPORT_AUTO)
        ssh_expect_words(ssh_host_transport(host), "ssh (", "ProxyCommand");
}

/* ---- servers that libssh2 cannot talk to ---- */

static void expect_by_the_system(struct ssh_caller *c, const char *alias, const char *word)
{
    struct ssh_host *host = ssh_caller_host(c, alias);
    ssh_expect_up(c, host);
    ssh_expect(c, host, "echo in", 0, "in\n");
    assert_int_equal(ssh_host_transport_kind(host), SSH_TRANSPORT_SYSTEM);
    ssh_expect_words(ssh_host_transport(host), "ssh (", word);
}

static void rsa_only_host(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){.host_keys = "rsa"});
    expect_by_the_system(c, "server", "libssh2");
}

static void etm_only_server(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server",
               (struct sshd_options){.lines =
                                         "MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com\n"
                                         "Ciphers aes256-ctr"});
    expect_by_the_system(c, "server", "libssh2");
}

static void gcm_only_server(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){.lines = "Ciphers aes256-gcm@openssh.com"});
    expect_by_the_system(c, "server", "libssh2");
}

static void hardened_server_without_the_system(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){.host_keys = "rsa"});
    ssh_expect_down(c, ssh_caller_host(c, "server"), 30, "libssh2");
}

/* The fallback is found once, not tried again with every connection. */
static void fallback_is_remembered(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){.host_keys = "rsa"});
    expect_by_the_system(c, "server", "libssh2");
    int before = sshd_logged(s, "no matching host key type");
    sshd_kill_sessions(s);
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_host_want(host, true);
    struct ssh_heard *heard =
        ssh_hear(host, "echo again"); /* it may be the one that finds the session lost */
    ssh_finish(c, heard, 60);
    ssh_heard_free(heard);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, 60));
    ssh_expect(c, host, "echo in", 0, "in\n");
    assert_int_equal(sshd_logged(s, "no matching host key type"), before);
}

/* What a shell in the terminal is started with reaches the same host with the same options. */
static void argv_of_a_shell(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    const char **argv = ssh_host_argv(NULL, host, "echo shell; exit 6");
    assert_non_null(argv);
    char *command = strdup("");
    for (int i = 0; argv[i]; i++) {
        char *word = ssh_quote(argv, argv[i]), *longer;
        if (asprintf(&longer, "%s%s ", command, word) < 0)
            abort();
        free(command);
        command = longer;
    }
    char *quiet; /* it says that there is no terminal */
    if (asprintf(&quiet, "%s 2>/dev/null", command) < 0)
        abort();
    FILE *output = popen(quiet, "re");
    free(quiet);
    assert_non_null(output);
    char line[100] = "";
    assert_non_null(fgets(line, sizeof line, output));
    assert_string_equal(line, "shell\n");
    assert_int_equal(pclose(output), 6 << 8);
    free(command);
    talloc_free(argv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(max_startups),
        ssh_on_both(usual_startups_drop_nobody),
        ssh_on_both(max_sessions),
        ssh_on_both(one_hop),
        ssh_on(one_hop, auto),
        ssh_on_both(many_behind_one_bastion),
        ssh_on_both(bastion_is_unknown_or_refuses),
        ssh_on(two_hops, auto),
        ssh_on(two_hops, system),
        ssh_on(proxy_command, auto),
        ssh_on(proxy_command, system),
        ssh_on(rsa_only_host, auto),
        ssh_on(etm_only_server, auto),
        ssh_on(gcm_only_server, auto),
        ssh_on(hardened_server_without_the_system, libssh2),
        ssh_on(fallback_is_remembered, auto),
        ssh_on_both(argv_of_a_shell),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh limits", tests, NULL, NULL);
}
