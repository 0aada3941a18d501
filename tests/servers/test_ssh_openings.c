/* Tunnels to what never answers keep nobody else waiting: the other openings go by another session. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/harness/ssh_caller.h"

/* A port to which connections are neither made nor refused: its queue is full. */
struct hole {
    int listener, fillers[16], count, port;
};

static void hole_open(struct hole *hole)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *hole = (struct hole){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(hole->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(hole->listener, 0), 0);
    assert_int_equal(getsockname(hole->listener, (struct sockaddr *)&address, &size), 0);
    hole->port = ntohs(address.sin_port);
    for (bool full = false; !full;) {
        assert_true(hole->count < 16);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        hole->fillers[hole->count++] = fd;
        bool begun = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS;
        assert_true(begun); /* not awaited */
        struct pollfd poller = {.fd = fd, .events = POLLOUT};
        full = poll(&poller, 1, 200) == 0;
    }
}

static void hole_close(struct hole *hole)
{
    for (int i = 0; i < hole->count; i++)
        close(hole->fillers[i]);
    close(hole->listener);
}

static void expect_echo(struct ssh_caller *c, struct ssh_host *host, int port)
{
    struct ssh_heard *heard = ssh_hear_tcp(host, "127.0.0.1", port);
    ssh_channel_write(heard->channel, "here", 4);
    assert_true(ssh_caller_until(c, 15, ssh_heard_output, heard));
    assert_string_equal(heard->kept[0], "here");
    assert_int_equal(heard->closed, 0);
    ssh_heard_free(heard);
}

static void a_dead_target_keeps_nobody_waiting(void **state)
{
    struct ssh_caller *c = *state;
    struct hole hole;
    int port;
    hole_open(&hole);
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    struct ssh_heard *dead[3];
    for (int i = 0; i < 3; i++)
        dead[i] = ssh_hear_tcp(host, "127.0.0.1", hole.port);
    double began = clock_monotonic();
    expect_echo(c, host, port);
    expect_echo(c, host, port);
    ssh_expect(c, host, "echo hello", 0, "hello");
    assert_true(clock_monotonic() - began < 15);
    assert_int_equal(ssh_host_state(host), CONNECTION_UP);
    for (int i = 0; i < 3; i++)
        assert_int_equal(dead[i]->closed, 0);
    /* The dead ones are told of in the end, and what was given up before hears nothing. */
    ssh_heard_free(dead[1]);
    ssh_finish(c, dead[0], 40);
    assert_int_equal(dead[0]->end.ending, SSH_REFUSED);
    assert_int_equal(dead[0]->end.error.kind, ERROR_TIMEOUT);
    ssh_finish(c, dead[2], 40);
    expect_echo(c, host, port);
    ssh_heard_free(dead[0]);
    ssh_heard_free(dead[2]);
    ssh_echo_free(echo);
    hole_close(&hole);
}

static void hosts_behind_a_bastion_come_up_beside_a_dead_one(void **state)
{
    struct ssh_caller *c = *state;
    struct hole hole;
    hole_open(&hole);
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct sshd *inner = sshd_start(c->site, "inner", (struct sshd_options){0});
    ssh_site_host(c->site, "dead",
                  (struct ssh_entry){.server = inner, .port = hole.port, .lines = "ProxyJump bastion"});
    ssh_site_host(c->site, "alive", (struct ssh_entry){.server = inner, .lines = "ProxyJump bastion"});
    struct ssh_host *dead = ssh_caller_host(c, "dead"), *alive = ssh_caller_host(c, "alive");
    ssh_host_want(dead, true);
    assert_true(ssh_caller_await(c, ssh_caller_host(c, "bastion"), CONNECTION_UP, 20));
    ssh_expect_up(c, alive);
    assert_int_equal(ssh_host_state(dead), CONNECTION_CONNECTING);
    assert_true(ssh_caller_await(c, dead, CONNECTION_DOWN, 40));
    ssh_expect_words(ssh_error_text(ssh_host_error(dead)), "bastion", "no answer");
    assert_int_equal(ssh_host_state(alive), CONNECTION_UP);
    hole_close(&hole);
}

/* The session on which it hangs breaks: the others are not touched by it. */
static void all_of_it_may_be_taken_down(void **state)
{
    struct ssh_caller *c = *state;
    struct hole hole;
    int port;
    hole_open(&hole);
    struct ssh_echo *echo = ssh_echo_tcp(c, &port);
    struct sshd *s = sshd_start(c->site, "server", (struct sshd_options){0});
    struct ssh_host *host = ssh_caller_host(c, "server");
    ssh_expect_up(c, host);
    struct ssh_heard *dead = ssh_hear_tcp(host, "127.0.0.1", hole.port);
    struct ssh_heard *good = ssh_hear_tcp(host, "127.0.0.1", port);
    ssh_channel_write(good->channel, "here", 4);
    assert_true(ssh_caller_until(c, 15, ssh_heard_output, good));
    sshd_kill_sessions(s);
    ssh_finish(c, good, 20);
    assert_int_equal(good->end.ending, SSH_LOST);
    ssh_finish(c, dead, 20);
    assert_int_not_equal(dead->end.ending, SSH_EXITED);
    ssh_expect_up(c, host);
    expect_echo(c, host, port);
    ssh_heard_free(dead);
    ssh_heard_free(good);
    ssh_echo_free(echo);
    hole_close(&hole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on(a_dead_target_keeps_nobody_waiting, libssh2),
        ssh_on(hosts_behind_a_bastion_come_up_beside_a_dead_one, libssh2),
        ssh_on(all_of_it_may_be_taken_down, libssh2),
    };
    cmocka_set_test_filter(getenv("TEST_CASE"));
    return cmocka_run_group_tests_name("ssh openings", tests, NULL, NULL);
}
