/* Tunnels through a real sshd, over both transports: Redis by TCP and by its Unix socket, a Unix socket of
 * PostgreSQL, megabytes both ways, many at once, far ends that refuse, a bastion that dies and comes back. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/ssh/tunnel.h"
#include "tests/harness/cluster.h"
#include "tests/harness/keeper.h"
#include "tests/harness/ssh_caller.h"

enum { KEPT = 256, CROWD = 20 };

/* What listens at the far end, for all tests. */
static struct {
    struct keeper *keeper;
    struct cluster *cluster;
    char folder[200], socket[260];
    int port;
} far;

/* A port that is free now. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static int start_far_ends(void **state)
{
    const char *temporary = getenv("TMPDIR");
    char port[16];
    (void)state;
    snprintf(far.folder, sizeof far.folder, "%s/test_tunnel.XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(far.folder));
    snprintf(far.socket, sizeof far.socket, "%s/redis.sock", far.folder);
    setenv("XDG_RUNTIME_DIR", far.folder, 1);
    far.keeper = keeper_start(far.folder);
    far.port = free_port();
    snprintf(port, sizeof port, "%d", far.port);
    keeper_run(far.keeper,
               (const char *const[]){"redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket",
                                     far.socket, "--save", "", "--appendonly", "no", "--dir", far.folder,
                                     NULL},
               NULL);
    far.cluster = cluster_start(NULL);
    return 0;
}

static int stop_far_ends(void **state)
{
    (void)state;
    cluster_free(far.cluster);
    keeper_free(far.keeper);
    return 0;
}

/* ---- somebody who connects ---- */

struct client {
    int fd;
    char got[KEPT]; /* the first bytes */
    size_t total;
    size_t wanted; /* waits for so many */
    const char *awaited;
    const char *unsent;
    size_t unsent_length;
    bool over;
};

static void dial(struct client *client, const struct ssh_tunnel *tunnel)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)ssh_tunnel_port(tunnel)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool loopback = ssh_tunnel_end(tunnel) == SSH_TUNNEL_LOOPBACK;
    if (!loopback)
        snprintf(path.sun_path, sizeof path.sun_path, "%s", ssh_tunnel_path(tunnel));
    *client = (struct client){.fd = socket(loopback ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(loopback ? connect(client->fd, (struct sockaddr *)&port, sizeof port)
                              : connect(client->fd, (struct sockaddr *)&path, sizeof path),
                     0);
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
}

static void send_more(struct client *client)
{
    while (client->unsent_length) {
        ssize_t sent = send(client->fd, client->unsent, client->unsent_length, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        client->unsent += sent;
        client->unsent_length -= (size_t)sent;
    }
}

static void take_more(struct client *client)
{
    static char bytes[65536];
    ssize_t got;
    while ((got = recv(client->fd, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t i = 0; i < got && client->total + (size_t)i < KEPT - 1; i++)
            client->got[client->total + (size_t)i] = bytes[i];
        client->total += (size_t)got;
    }
    client->over = client->over || got == 0 || (got < 0 && errno != EAGAIN);
}

static bool is_answered(void *data)
{
    struct client *client = data;
    send_more(client);
    take_more(client);
    return client->over ||
           (client->awaited ? strstr(client->got, client->awaited) != NULL : client->total >= client->wanted);
}

static bool is_over(void *data)
{
    struct client *client = data;
    take_more(client);
    return client->over;
}

static void ask_at(int line, struct ssh_caller *c, struct client *client, const char *question, size_t length,
                   const char *answer)
{
    memset(client->got, 0, sizeof client->got);
    client->total = 0;
    client->awaited = answer;
    client->unsent = question;
    client->unsent_length = length;
    if (!loop_until(c->loop, 20, is_answered, client) || client->over)
        print_error("line %d: expected %s, got %zu bytes: %s%s\n", line, answer, client->total, client->got,
                    client->over ? " and the end" : "");
    assert_false(client->over);
    assert_non_null(strstr(client->got, answer));
}
#define ask(c, client, question, answer) ask_at(__LINE__, c, client, question, strlen(question), answer)

static void hang_up(struct client *client)
{
    close(client->fd);
}

/* ---- tunnels ---- */

static struct ssh_tunnel *tunnel_to(struct ssh_caller *c, const char *address, int port, const char *path,
                                    enum ssh_tunnel_end end)
{
    struct error error = {0};
    struct ssh_tunnel_target target = {.address = address, .port = port, .path = path};
    struct ssh_tunnel *tunnel =
        ssh_tunnel_new(c->loop, ssh_caller_host(c, "bastion"), &target, end, NULL, &error);
    if (!tunnel)
        print_error("%s\n", ssh_error_text(&error));
    assert_non_null(tunnel);
    return tunnel;
}

static void redis_answers(void **state)
{
    struct ssh_caller *c = *state;
    struct client client;
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    for (int end = SSH_TUNNEL_SOCKET; end <= SSH_TUNNEL_LOOPBACK; end++)
        for (int by_path = 0; by_path < 2; by_path++) {
            struct ssh_tunnel *tunnel =
                tunnel_to(c, by_path ? NULL : "127.0.0.1", far.port, by_path ? far.socket : NULL, end);
            dial(&client, tunnel);
            ask(c, &client, "PING\r\n", "+PONG\r\n");
            ask(c, &client, "ECHO again\r\n", "again\r\n");
            hang_up(&client);
            ssh_tunnel_free(tunnel);
        }
}

static void a_unix_socket_of_postgres(void **state)
{
    struct ssh_caller *c = *state;
    struct client client;
    char path[300];
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    snprintf(path, sizeof path, "%s/socket/.s.PGSQL.%d", cluster_folder(far.cluster),
             cluster_port(far.cluster));
    struct ssh_tunnel *tunnel = tunnel_to(c, NULL, 0, path, SSH_TUNNEL_SOCKET);
    dial(&client, tunnel);
    /* SSLRequest: on its Unix socket a server offers no TLS. */
    ask_at(__LINE__, c, &client, "\0\0\0\x08\x04\xd2\x16\x2f", 8, "N");
    hang_up(&client);
    ssh_tunnel_free(tunnel);
}

static void megabytes_go_both_ways(void **state)
{
    enum { SIZE = 8 * 1024 * 1024 };
    struct ssh_caller *c = *state;
    struct client client;
    char *value = malloc(SIZE + 100);
    assert_non_null(value);
    int head = snprintf(value, 100, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n", SIZE);
    for (size_t i = 0; i < SIZE; i++)
        value[(size_t)head + i] = (char)('a' + i % 23);
    memcpy(value + head + SIZE, "\r\n", 2);
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct ssh_tunnel *tunnel = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    dial(&client, tunnel);
    ask(c, &client, "PING\r\n", "+PONG\r\n");
    c->longest_turn_s = 0;
    ask_at(__LINE__, c, &client, value, (size_t)head + SIZE + 2, "+OK\r\n");
    memset(client.got, 0, sizeof client.got);
    client.total = 0;
    client.awaited = NULL;
    client.wanted = SIZE + strlen("$8388608\r\n") + 2;
    client.unsent = "GET large\r\n";
    client.unsent_length = strlen(client.unsent);
    assert_true(loop_until(c->loop, 30, is_answered, &client));
    assert_int_equal(client.total, client.wanted);
    assert_memory_equal(client.got, "$8388608\r\nabcdefg", 17);
    assert_true(c->longest_turn_s < 0.3);
    hang_up(&client);
    ssh_tunnel_free(tunnel);
    free(value);
}

static void many_at_once_share_one_session(void **state)
{
    struct ssh_caller *c = *state;
    struct client clients[CROWD];
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct ssh_tunnel *one = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    struct ssh_tunnel *other = tunnel_to(c, NULL, 0, far.socket, SSH_TUNNEL_LOOPBACK);
    for (int i = 0; i < CROWD; i++)
        dial(&clients[i], i % 2 ? one : other);
    for (int i = 0; i < CROWD; i++)
        ask(c, &clients[i], "PING\r\n", "+PONG\r\n");
    assert_int_equal(sshd_connections(bastion), 1);
    assert_int_equal(ssh_tunnel_connections(one), CROWD / 2);
    for (int i = 0; i < CROWD; i++)
        hang_up(&clients[i]);
    ssh_tunnel_free(one);
    ssh_tunnel_free(other);
}

static void expect_failure(struct ssh_caller *c, struct ssh_tunnel *tunnel, enum error_kind kind,
                           const char *const words[])
{
    struct client client;
    double at;
    dial(&client, tunnel);
    assert_true(loop_until(c->loop, 20, is_over, &client));
    assert_int_equal(client.total, 0);
    ssh_expect_words_at(__FILE__, __LINE__, ssh_error_text(ssh_tunnel_error(tunnel, &at)), words);
    if (kind != ERROR_NONE)
        assert_int_equal(ssh_tunnel_error(tunnel, &at)->kind, kind);
    assert_true(at > 0);
    hang_up(&client);
}

static void refused_far_ends_say_where(void **state)
{
    struct ssh_caller *c = *state;
    char place[100];
    int closed = free_port();
    sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct ssh_tunnel *tunnel = tunnel_to(c, "127.0.0.1", closed, NULL, SSH_TUNNEL_SOCKET);
    snprintf(place, sizeof place, "127.0.0.1:%d through bastion", closed);
    expect_failure(c, tunnel, ERROR_REFUSED, (const char *const[]){"cannot connect", place, "refused", NULL});
    ssh_tunnel_free(tunnel);
    /* The session is as good as before. */
    struct client client;
    tunnel = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    dial(&client, tunnel);
    ask(c, &client, "PING\r\n", "+PONG\r\n");
    hang_up(&client);
    ssh_tunnel_free(tunnel);
    tunnel = tunnel_to(c, NULL, 0, "/nonexistent/socket", SSH_TUNNEL_SOCKET);
    expect_failure(c, tunnel, ERROR_NONE,
                   (const char *const[]){"cannot connect", "/nonexistent/socket on bastion", NULL});
    ssh_tunnel_free(tunnel);
}

static void forbidden_forwarding_is_told(void **state)
{
    struct ssh_caller *c = *state;
    sshd_start(c->site, "bastion", (struct sshd_options){.lines = "AllowTcpForwarding no\n"});
    struct ssh_tunnel *tunnel = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    expect_failure(c, tunnel, ERROR_DENIED, (const char *const[]){"cannot connect", "through bastion", NULL});
    ssh_tunnel_free(tunnel);
}

static void a_bastion_that_is_away(void **state)
{
    struct ssh_caller *c = *state;
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    sshd_halt(bastion);
    struct ssh_tunnel *tunnel = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    expect_failure(c, tunnel, ERROR_REFUSED, (const char *const[]){"bastion", NULL});
    ssh_tunnel_free(tunnel);
}

static void a_bastion_that_dies_takes_its_connections_and_comes_back(void **state)
{
    struct ssh_caller *c = *state;
    struct client client;
    struct sshd *bastion = sshd_start(c->site, "bastion", (struct sshd_options){0});
    struct ssh_tunnel *tunnel = tunnel_to(c, "127.0.0.1", far.port, NULL, SSH_TUNNEL_SOCKET);
    ssh_host_want(ssh_caller_host(c, "bastion"), true);
    dial(&client, tunnel);
    ask(c, &client, "PING\r\n", "+PONG\r\n");
    sshd_kill_sessions(bastion);
    assert_true(loop_until(c->loop, 20, is_over, &client));
    hang_up(&client);
    assert_int_equal(ssh_tunnel_connections(tunnel), 0);
    double at;
    assert_true(ssh_tunnel_error(tunnel, &at)->kind != ERROR_NONE);
    /* The same local end leads there again. */
    assert_true(ssh_caller_await(c, ssh_caller_host(c, "bastion"), CONNECTION_UP, 30));
    dial(&client, tunnel);
    ask(c, &client, "PING\r\n", "+PONG\r\n");
    assert_int_equal(ssh_tunnel_error(tunnel, &at)->kind, ERROR_NONE);
    hang_up(&client);
    ssh_tunnel_free(tunnel);
    ssh_host_want(ssh_caller_host(c, "bastion"), false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(redis_answers),
        ssh_on_both(a_unix_socket_of_postgres),
        ssh_on_both(megabytes_go_both_ways),
        ssh_on_both(many_at_once_share_one_session),
        ssh_on_both(refused_far_ends_say_where),
        ssh_on_both(forbidden_forwarding_is_told),
        ssh_on_both(a_bastion_that_is_away),
        ssh_on_both(a_bastion_that_dies_takes_its_connections_and_comes_back),
    };
    return cmocka_run_group_tests(tests, start_far_ends, stop_far_ends);
}
