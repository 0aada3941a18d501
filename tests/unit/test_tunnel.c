/* Tunnels over a far end that the test plays: bytes both ways with each side waiting for the other, ends and
 * errors, what is made in the file system and what is left of dead processes, who may connect. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/tunnel.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

/* ---- the far end ---- */

struct ssh_host {
    struct error error;
};
struct ssh_channel {
    struct ssh_handler handler;
    char target[200];
    char *got; /* what was written */
    size_t got_length, taken;
    bool ended, paused, stalled;
    struct ssh_channel *next;
};
static struct ssh_channel *channels; /* the newest first */
static int channels_open, ends, pauses;

static struct ssh_channel *open_channel(struct ssh_handler handler)
{
    struct ssh_channel *channel = calloc(1, sizeof *channel);
    assert_non_null(channel);
    channel->handler = handler;
    channel->next = channels;
    channels = channel;
    channels_open++;
    return channel;
}

struct ssh_channel *ssh_open_tcp(struct ssh_host *host, const char *address, int port,
                                 struct ssh_handler handler)
{
    struct ssh_channel *channel = open_channel(handler);
    (void)host;
    snprintf(channel->target, sizeof channel->target, "%s %d", address, port);
    return channel;
}

struct ssh_channel *ssh_open_unix(struct ssh_host *host, const char *path, struct ssh_handler handler)
{
    struct ssh_channel *channel = open_channel(handler);
    (void)host;
    snprintf(channel->target, sizeof channel->target, "%s", path);
    return channel;
}

void ssh_channel_write(struct ssh_channel *channel, const void *bytes, size_t length)
{
    channel->got = realloc(channel->got, channel->got_length + length);
    assert_non_null(channel->got);
    memcpy(channel->got + channel->got_length, bytes, length);
    channel->got_length += length;
    if (!channel->stalled)
        channel->taken = channel->got_length;
}

size_t ssh_channel_unsent(const struct ssh_channel *channel)
{
    return channel->got_length - channel->taken;
}

void ssh_channel_end(struct ssh_channel *channel)
{
    channel->ended = true;
    ends++;
}

void ssh_channel_pause(struct ssh_channel *channel, bool paused)
{
    channel->paused = paused;
    pauses += paused;
}

static void forget_channel(struct ssh_channel *channel)
{
    struct ssh_channel **at = &channels;
    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    free(channel->got);
    free(channel);
    channels_open--;
}

void ssh_channel_close(struct ssh_channel *channel)
{
    if (channel)
        forget_channel(channel);
}

const char *ssh_host_name(const struct ssh_host *host)
{
    (void)host;
    return "bastion";
}

const struct error *ssh_host_error(const struct ssh_host *host)
{
    return &host->error;
}

static void close_far(struct ssh_channel *channel, enum ssh_ending ending, const char *why)
{
    struct ssh_handler handler = channel->handler;
    struct ssh_end end = {.ending = ending};
    if (why)
        error_set(&end.error, ERROR_REFUSED, "test: bastion", "the channel was refused", "Look there.", "%s",
                  why);
    forget_channel(channel);
    handler.closed(handler.data, &end);
}

/* ---- the test's side ---- */

struct fixture {
    struct loop *loop;
    struct ssh_host host;
    struct ssh_tunnel *tunnel;
    char *folder; /* XDG_RUNTIME_DIR */
    struct error error;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_tunnel.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    setenv("XDG_RUNTIME_DIR", f->folder, 1);
    f->loop = loop_new();
    ends = pauses = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ssh_tunnel_free(f->tunnel);
    loop_free(f->loop);
    int status = system(talloc_asprintf(f, "rm -rf -- '%s'", f->folder));
    talloc_free(f);
    return status || channels_open;
}

static void make(struct fixture *f, enum ssh_tunnel_end end)
{
    struct ssh_tunnel_target target = {.address = "db1", .port = 5432};
    f->tunnel = ssh_tunnel_new(f->loop, &f->host, &target, end, ".s.PGSQL.5432", &f->error);
    assert_non_null(f->tunnel);
}

static int dial(const struct ssh_tunnel *tunnel)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)ssh_tunnel_port(tunnel)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool loopback = ssh_tunnel_end(tunnel) == SSH_TUNNEL_LOOPBACK;
    if (!loopback)
        snprintf(path.sun_path, sizeof path.sun_path, "%s", ssh_tunnel_path(tunnel));
    int fd = socket(loopback ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(loopback ? connect(fd, (struct sockaddr *)&port, sizeof port)
                              : connect(fd, (struct sockaddr *)&path, sizeof path),
                     0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)timer, (void)events;
    ev_break(ev, EVBREAK_ALL);
}

/* Turns the loop until the condition holds; fails after 5 s. */
#define TURN_UNTIL(f, condition)                                                                             \
    do {                                                                                                     \
        double end_ = clock_monotonic() + 5;                                                                 \
        while (!(condition) && clock_monotonic() < end_)                                                     \
            turn(f);                                                                                         \
        assert_true(condition);                                                                              \
    } while (0)

static void turn(struct fixture *f)
{
    ev_timer deadline;
    ev_timer_init(&deadline, on_deadline, 0.01, 0);
    ev_timer_start(loop_ev(f->loop), &deadline);
    ev_run(loop_ev(f->loop), EVRUN_ONCE);
    ev_timer_stop(loop_ev(f->loop), &deadline);
}

/* What can be read now, up to `size`; -1 with the end of the connection in *over. */
static size_t drain(int fd, char *buffer, size_t size, bool *over)
{
    size_t total = 0;
    ssize_t got = 0;
    while (total < size && (got = recv(fd, buffer + total, size - total, 0)) > 0)
        total += (size_t)got;
    if (total < size && got == 0)
        *over = true;
    else if (got < 0 && errno != EAGAIN)
        *over = true;
    return total;
}

static void test_bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    for (int end = SSH_TUNNEL_SOCKET; end <= SSH_TUNNEL_LOOPBACK; end++) {
        char buffer[100];
        bool over = false;
        make(f, end);
        assert_int_equal(ssh_tunnel_end(f->tunnel), end);
        assert_string_equal(ssh_tunnel_place(f->tunnel), "db1:5432 through bastion");
        int fd = dial(f->tunnel);
        TURN_UNTIL(f, channels);
        assert_string_equal(channels->target, "db1 5432");
        assert_int_equal(ssh_tunnel_connections(f->tunnel), 1);
        assert_int_equal(send(fd, "ping", 4, 0), 4);
        TURN_UNTIL(f, channels->got_length == 4);
        assert_memory_equal(channels->got, "ping", 4);
        channels->handler.output(channels->handler.data, 1, "pong!", 5);
        assert_int_equal(drain(fd, buffer, sizeof buffer, &over), 5);
        assert_memory_equal(buffer, "pong!", 5);
        assert_false(over);
        close(fd);
        TURN_UNTIL(f, !channels || ends == 1 + end);
        ssh_tunnel_free(f->tunnel);
        f->tunnel = NULL;
        assert_int_equal(channels_open, 0);
    }
}

static void test_the_socket_is_private(void **state)
{
    struct fixture *f = *state;
    struct stat info;
    make(f, SSH_TUNNEL_SOCKET);
    char *folder = talloc_strdup(f, ssh_tunnel_folder(f->tunnel));
    assert_string_equal(ssh_tunnel_path(f->tunnel), talloc_asprintf(f, "%s/.s.PGSQL.5432", folder));
    assert_memory_equal(folder, f->folder, strlen(f->folder));
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(ssh_tunnel_port(f->tunnel), 0);
    ssh_tunnel_free(f->tunnel);
    f->tunnel = NULL;
    assert_int_equal(stat(folder, &info), -1);
}

static void test_the_far_end_waits_for_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    static char part[64 * 1024], back[sizeof part];
    size_t sent = 0, received = 0;
    bool over = false;
    make(f, SSH_TUNNEL_SOCKET);
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    struct ssh_channel *channel = channels;
    /* Nobody reads: it must be told to pause before much has piled up. */
    while (!channel->paused && sent < 64 * sizeof part) {
        memset(part, 'a' + (int)(sent / sizeof part % 26), sizeof part);
        channel->handler.output(channel->handler.data, 1, part, sizeof part);
        sent += sizeof part;
    }
    assert_true(channel->paused);
    assert_true(sent < 16 * sizeof part);
    /* All of it comes, in order, and then the pause ends. */
    double end = clock_monotonic() + 5;
    while (received < sent && clock_monotonic() < end) {
        size_t got = drain(fd, back, sizeof back, &over);
        for (size_t i = 0; i < got; i++)
            assert_int_equal(back[i], 'a' + (int)((received + i) / sizeof part % 26));
        received += got;
        turn(f);
    }
    assert_int_equal(received, sent);
    assert_false(channel->paused);
    close(fd);
}

static void test_the_local_side_waits_for_a_slow_host(void **state)
{
    struct fixture *f = *state;
    static char part[64 * 1024];
    make(f, SSH_TUNNEL_SOCKET);
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    struct ssh_channel *channel = channels;
    channel->stalled = true;
    size_t sent = 0;
    for (int idle = 0; idle < 20;) {
        ssize_t got = send(fd, part, sizeof part, MSG_NOSIGNAL);
        idle = got > 0 ? 0 : idle + 1;
        sent += got > 0 ? (size_t)got : 0;
        assert_true(sent < 4 * 1024 * 1024);
        turn(f);
    }
    assert_true(channel->got_length < 512 * 1024);
    size_t before = channel->got_length;
    channel->stalled = false;
    channel->taken = channel->got_length;
    channel->handler.drained(channel->handler.data);
    TURN_UNTIL(f, channel->got_length == sent);
    assert_true(sent > before);
    close(fd);
}

static void test_half_closed_connections_get_their_answer(void **state)
{
    struct fixture *f = *state;
    char buffer[100];
    bool over = false;
    make(f, SSH_TUNNEL_SOCKET);
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    struct ssh_channel *channel = channels;
    assert_int_equal(send(fd, "question", 8, 0), 8);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    TURN_UNTIL(f, channel->ended);
    assert_int_equal(channel->got_length, 8);
    channel->handler.drained(channel->handler.data);
    for (int i = 0; i < 5; i++)
        turn(f);
    assert_int_equal(ends, 1);
    channel->handler.output(channel->handler.data, 1, "answer", 6);
    close_far(channel, SSH_EXITED, NULL);
    assert_int_equal(drain(fd, buffer, sizeof buffer, &over), 6);
    assert_true(over);
    assert_int_equal(ssh_tunnel_connections(f->tunnel), 0);
    double at;
    assert_int_equal(ssh_tunnel_error(f->tunnel, &at)->kind, ERROR_NONE);
    close(fd);
}

static void test_what_was_sent_before_the_end_arrives(void **state)
{
    struct fixture *f = *state;
    static char part[1024 * 1024], back[sizeof part];
    size_t received = 0;
    bool over = false;
    make(f, SSH_TUNNEL_LOOPBACK);
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    channels->handler.output(channels->handler.data, 1, part, sizeof part);
    close_far(channels, SSH_EXITED, NULL);
    double end = clock_monotonic() + 5;
    while (!over && clock_monotonic() < end) {
        received += drain(fd, back, sizeof back, &over);
        turn(f);
    }
    assert_int_equal(received, 6 * sizeof part);
    assert_true(over);
    assert_int_equal(ssh_tunnel_connections(f->tunnel), 0);
    close(fd);
}

static void expect_cut(struct fixture *f, enum ssh_ending ending, const char *expected)
{
    char buffer[100], text[1400];
    bool over = false;
    double at, before = clock_monotonic();
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    close_far(channels, ending, "Connection refused");
    TURN_UNTIL(f, (drain(fd, buffer, sizeof buffer, &over), over));
    error_format(ssh_tunnel_error(f->tunnel, &at), text, sizeof text);
    assert_string_equal(text, expected);
    assert_true(at >= before);
    close(fd);
}

static void test_errors_of_the_far_end_are_kept(void **state)
{
    struct fixture *f = *state;
    double at;
    make(f, SSH_TUNNEL_SOCKET);
    expect_cut(f, SSH_REFUSED,
               "test: bastion: cannot connect to db1:5432 through bastion: Connection refused. Look there.");
    expect_cut(f, SSH_LOST,
               "test: bastion: the tunnel broke: db1:5432 through bastion: Connection refused. Look there.");
    error_set(&f->host.error, ERROR_AUTH, "test: bastion", "no login", NULL, "no key fits");
    expect_cut(f, SSH_REFUSED, "test: bastion: no login: no key fits");
    /* One that gets through is the end of it. */
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    channels->handler.output(channels->handler.data, 1, "x", 1);
    assert_int_equal(ssh_tunnel_error(f->tunnel, &at)->kind, ERROR_NONE);
    close(fd);
}

static void test_a_local_side_that_dies_takes_its_channel_along(void **state)
{
    struct fixture *f = *state;
    static char part[4 * 1024 * 1024];
    make(f, SSH_TUNNEL_SOCKET);
    int one = dial(f->tunnel), other = dial(f->tunnel);
    TURN_UNTIL(f, channels_open == 2);
    struct ssh_channel *channel = channels->next; /* of the first */
    channel->handler.output(channel->handler.data, 1, part, sizeof part);
    close(one);
    TURN_UNTIL(f, channels_open == 1);
    assert_int_equal(ssh_tunnel_connections(f->tunnel), 1);
    assert_int_equal(send(other, "still", 5, 0), 5);
    TURN_UNTIL(f, channels->got_length == 5);
    close(other);
}

static void test_unix_sockets_of_the_host(void **state)
{
    struct fixture *f = *state;
    struct ssh_tunnel_target target = {.path = "/run/redis.sock"};
    f->tunnel = ssh_tunnel_new(f->loop, &f->host, &target, SSH_TUNNEL_SOCKET, NULL, &f->error);
    assert_non_null(f->tunnel);
    assert_string_equal(ssh_tunnel_place(f->tunnel), "/run/redis.sock on bastion");
    assert_string_equal(strrchr(ssh_tunnel_path(f->tunnel), '/'), "/socket");
    int fd = dial(f->tunnel);
    TURN_UNTIL(f, channels);
    assert_string_equal(channels->target, "/run/redis.sock");
    close(fd);
}

static size_t count_folders(struct fixture *f)
{
    DIR *base = opendir(talloc_asprintf(f, "%s/signalbox-%u", f->folder, (unsigned)geteuid()));
    size_t count = 0;
    for (const struct dirent *entry; base && (entry = readdir(base));)
        count += entry->d_name[0] == 't';
    if (base)
        closedir(base);
    return count;
}

static void test_what_dead_processes_left_is_removed(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        make(f, SSH_TUNNEL_SOCKET);
        _exit(0); /* as by SIGKILL: nothing is cleaned up */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_folders(f), 1);
    /* One that is just being made is let alone; this one is old. */
    char *old =
        talloc_asprintf(f, "touch -d '1 hour ago' %s/signalbox-%u/t.*", f->folder, (unsigned)geteuid());
    assert_int_equal(system(old), 0);
    make(f, SSH_TUNNEL_SOCKET);
    assert_int_equal(count_folders(f), 1);
    /* A living one stays, however old. */
    assert_int_equal(system(old), 0);
    struct ssh_tunnel *first = f->tunnel;
    make(f, SSH_TUNNEL_SOCKET);
    assert_int_equal(count_folders(f), 2);
    ssh_tunnel_free(first);
    assert_int_equal(count_folders(f), 1);
}

static void test_folders_of_others_are_not_used(void **state)
{
    struct fixture *f = *state;
    char *base = talloc_asprintf(f, "%s/signalbox-%u", f->folder, (unsigned)geteuid());
    const char *before = getenv("TMPDIR") ? talloc_strdup(f, getenv("TMPDIR")) : NULL;
    setenv("TMPDIR", f->folder, 1);
    assert_int_equal(mkdir(base, 0700), 0);
    assert_int_equal(chmod(base, 0755), 0); /* others can look into it */
    make(f, SSH_TUNNEL_SOCKET);
    assert_ptr_equal(strstr(ssh_tunnel_folder(f->tunnel), base), NULL);
    assert_int_equal(count_folders(f), 0);
    /* A path that does not fit into an address of a socket. */
    char *deep = talloc_asprintf(f, "%s/%0*d", f->folder, 90, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    setenv("XDG_RUNTIME_DIR", deep, 1);
    setenv("TMPDIR", deep, 1);
    ssh_tunnel_free(f->tunnel);
    make(f, SSH_TUNNEL_SOCKET);
    assert_memory_equal(ssh_tunnel_folder(f->tunnel), "/tmp/", 5);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
}

static void test_other_users_are_not_let_through_a_port(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip(); /* only root can become another user */
    make(f, SSH_TUNNEL_LOOPBACK);
    pid_t child = fork();
    if (child == 0) {
        if (setuid(65534) != 0)
            _exit(3);
        int fd = dial(f->tunnel);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        char byte;
        _exit(poll(&wait, 1, 5000) == 1 && recv(fd, &byte, 1, 0) <= 0 ? 0 : 1);
    }
    int status = -1;
    pid_t ended = 0;
    TURN_UNTIL(f, ended || (ended = waitpid(child, &status, WNOHANG)));
    assert_int_equal(status, 0);
    assert_int_equal(channels_open, 0);
}

/* The client's end of such a connection stands in the table of IPv6. */
static int dial_mapped(int port)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr), 1);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        return -1;
    return fd;
}

static void test_other_users_have_no_way_round(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip();
    make(f, SSH_TUNNEL_LOOPBACK);
    int port = ssh_tunnel_port(f->tunnel), closed[2];
    assert_int_equal(pipe(closed), 0);
    pid_t child = fork();
    if (child == 0) {
        if (setuid(65534) != 0)
            _exit(3);
        /* One through IPv6, and one that has gone before anybody looks. */
        int mapped = dial_mapped(port), brief = dial(f->tunnel);
        if (send(brief, "FLUSHALL\r\n", 10, 0) != 10)
            _exit(4);
        close(brief);
        close(closed[1]);
        struct pollfd wait = {.fd = mapped, .events = POLLIN};
        char byte;
        _exit(mapped < 0 || (poll(&wait, 1, 5000) == 1 && recv(mapped, &byte, 1, 0) <= 0) ? 0 : 1);
    }
    int status = -1;
    siginfo_t seen = {0};
    char byte;
    /* Nothing is accepted before the brief one is closed. */
    close(closed[1]);
    assert_int_equal(read(closed[0], &byte, 1), 0);
    close(closed[0]);
    TURN_UNTIL(f, waitid(P_PID, (id_t)child, &seen, WEXITED | WNOHANG | WNOWAIT) == 0 && seen.si_pid);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(channels_open, 0);
    assert_null(channels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_go_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_socket_is_private, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_far_end_waits_for_a_slow_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_local_side_waits_for_a_slow_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_closed_connections_get_their_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_sent_before_the_end_arrives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_of_the_far_end_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_local_side_that_dies_takes_its_channel_along, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_unix_sockets_of_the_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_dead_processes_left_is_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders_of_others_are_not_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_users_are_not_let_through_a_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_users_have_no_way_round, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
