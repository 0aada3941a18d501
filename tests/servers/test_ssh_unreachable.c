/* Servers that cannot be reached, or hardly: silent, hung, unknown, talking nonsense, slow, far. The loop is
 * never blocked, and no other host waits for them. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "tests/harness/proxy.h"
#include "tests/harness/ssh_caller.h"

enum { DEADLINE_S = 60 }; /* within which any fault must be noticed */

/* ---- what never comes up ---- */

static void silent_port(void **state)
{
    struct ssh_caller *c = *state;
    int port;
    struct ssh_echo *mute = ssh_echo_mute(c, &port);
    ssh_site_host(c->site, "mute", (struct ssh_entry){.port = port});
    struct ssh_host *host = ssh_caller_host(c, "mute");
    ssh_expect_down(c, host, DEADLINE_S, "mute");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_TIMEOUT);
    ssh_expect_free_loop(c);
    ssh_caller_hang_up(c);
    ssh_echo_free(mute);
}

static void paused_server(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    sshd_pause(s);
    ssh_expect_down(c, host, DEADLINE_S, "server");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_TIMEOUT);
    ssh_expect_free_loop(c);
    sshd_resume(s);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
}

static void hung_in_the_middle_of_the_handshake(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    proxy_bandwidth(p, 2000); /* slow enough to be stopped half-way */
    ssh_host_want(host, true);
    struct pollfd none = {.fd = -1};
    for (double end = clock_monotonic() + 20; proxy_bytes(p, true) < 100 && clock_monotonic() < end;) {
        ssh_caller_await(c, host, CONNECTION_UP, 0.01);
        poll(&none, 1, 0);
    }
    assert_true(proxy_bytes(p, true) >= 100);
    proxy_hang(p, true);
    proxy_bandwidth(p, 0);
    ssh_expect_down(c, host, DEADLINE_S, "far");
    ssh_expect_free_loop(c);
    proxy_hang(p, false);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
    ssh_caller_hang_up(c);
    proxy_free(p);
}

static void nobody_listens(void **state)
{
    struct ssh_caller *c = *state;
    ssh_site_host(c->site, "closed", (struct ssh_entry){.port = 1});
    struct ssh_host *host = ssh_caller_host(c, "closed");
    ssh_expect_down(c, host, 30, "closed");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_REFUSED);
}

static void name_is_not_found(void **state)
{
    struct ssh_caller *c = *state;
    ssh_site_host(c->site, "nowhere", (struct ssh_entry){.port = 22, .address = "no-such-host.invalid"});
    struct ssh_host *host = ssh_caller_host(c, "nowhere");
    ssh_expect_down(c, host, DEADLINE_S, "no-such-host.invalid");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_NAME);
    ssh_expect_free_loop(c);
}

static void configuration_is_wrong(void **state)
{
    struct ssh_caller *c = *state;
    ssh_site_host(c->site, "wrong", (struct ssh_entry){.port = 22, .lines = "    NoSuchKeyword yes"});
    struct ssh_host *host = ssh_caller_host(c, "wrong");
    ssh_expect_down(c, host, 30, "NoSuchKeyword");
    assert_int_equal(ssh_host_error(host)->kind, ERROR_CONFIG);
}

static void garbage_instead_of_a_banner(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    proxy_garbage(p, true);
    ssh_expect_down(c, host, DEADLINE_S, "far");
    ssh_expect_free_loop(c);
    proxy_garbage(p, false);
    ssh_host_retry(host);
    assert_true(ssh_caller_await(c, host, CONNECTION_UP, DEADLINE_S));
    ssh_caller_hang_up(c);
    proxy_free(p);
}

/* Another service answers on the port. */
static void no_ssh_server(void **state)
{
    struct ssh_caller *c = *state;
    int port;
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    ssh_site_host(c->site, "echo", (struct ssh_entry){.port = port});
    ssh_expect_down(c, ssh_caller_host(c, "echo"), DEADLINE_S, "echo");
    ssh_expect_free_loop(c);
    ssh_caller_hang_up(c);
    ssh_echo_free(echo);
}

/* ---- slow and far ---- */

static void two_hundred_milliseconds_away(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    proxy_latency(p, 100);
    ssh_expect_up(c, host);
    ssh_expect(c, host, "echo far", 0, "far\n");
    /* a round trip or two a command, not ten */
    double before = clock_monotonic();
    ssh_expect(c, host, "echo far", 0, "far\n");
    assert_true(clock_monotonic() - before < 2);
    ssh_expect_free_loop(c);
    ssh_caller_hang_up(c);
    proxy_free(p);
}

static void twenty_kilobytes_a_second(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *s;
    struct proxy *p;
    struct ssh_host *host = ssh_serve_behind(c, &s, &p);
    proxy_bandwidth(p, 20000);
    ssh_expect_up(c, host);
    struct ssh_heard *heard = ssh_hear(host, "seq 1 20000"); /* 109 kB: 5 s and no silence */
    ssh_finish(c, heard, DEADLINE_S);
    assert_int_equal(heard->end.ending, SSH_EXITED);
    assert_int_equal(heard->total[0], 108894);
    ssh_heard_free(heard);
    heard = ssh_hear(host, "wc -c");
    char bytes[60000];
    memset(bytes, 'x', sizeof bytes);
    ssh_channel_write(heard->channel, bytes, sizeof bytes);
    ssh_channel_end(heard->channel);
    ssh_finish(c, heard, DEADLINE_S);
    assert_string_equal(heard->kept[0], "60000\n");
    ssh_heard_free(heard);
    ssh_expect_free_loop(c);
    ssh_caller_hang_up(c);
    proxy_free(p);
}

/* A host that hangs keeps no other one waiting. */
static void others_go_on(void **state)
{
    struct ssh_caller *c = *state;
    int ports[12];
    struct ssh_echo *mute[12];
    char alias[16];
    sshd_start(c->site, "server", (struct sshd_options){0});
    for (int i = 0; i < 12; i++) {
        mute[i] = ssh_echo_mute(c, &ports[i]);
        snprintf(alias, sizeof alias, "mute%d", i);
        ssh_site_host(c->site, alias, (struct ssh_entry){.port = ports[i]});
        ssh_host_want(ssh_caller_host(c, alias), true);
    }
    double before = clock_monotonic();
    ssh_expect_up(c, ssh_caller_host(c, "server"));
    assert_true(clock_monotonic() - before < 5);
    ssh_expect_free_loop(c);
    ssh_caller_hang_up(c);
    for (int i = 0; i < 12; i++)
        ssh_echo_free(mute[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(silent_port),
        ssh_on_both(paused_server),
        ssh_on_both(hung_in_the_middle_of_the_handshake),
        ssh_on_both(nobody_listens),
        ssh_on_both(name_is_not_found),
        ssh_on_both(configuration_is_wrong),
        ssh_on_both(garbage_instead_of_a_banner),
        ssh_on_both(no_ssh_server),
        ssh_on_both(two_hundred_milliseconds_away),
        ssh_on_both(twenty_kilobytes_a_second),
        ssh_on_both(others_go_on),
    };
    cmocka_set_test_filter(getenv("TEST_CASE")); /* "*_system": only these */
    return cmocka_run_group_tests_name("ssh unreachable", tests, NULL, NULL);
}
