/* The pool under test, what it asks and what its channels say; listeners for tunnels. */
#include "tests/harness/ssh_caller.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/harness/keeper.h"

#define TICK_S 0.002

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* NOLINT: the name is not ours; gcc has no header */
#endif

/* ---- the pool ---- */

size_t ssh_caller_bytes(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 used = mallinfo2();
    return used.uordblks + used.hblkhd;
#endif
}

static void tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    struct ssh_caller *c = timer->data;
    double now = clock_monotonic();
    if (c->last_tick > 0 && now - c->last_tick > c->longest_turn_s)
        c->longest_turn_s = now - c->last_tick;
    c->last_tick = now;
    size_t bytes = ssh_caller_bytes();
    if (bytes > c->most_bytes)
        c->most_bytes = bytes;
}

static void ask(void *data, struct ssh_question *question)
{
    struct ssh_caller *c = data;
    c->questions++;
    snprintf(c->title, sizeof c->title, "%s", question->title);
    snprintf(c->text, sizeof c->text, "%s", question->text);
    c->echo = question->echo;
    ssh_answer(question, c->answer);
}

static int open_caller(void **state, enum ssh_transport transport)
{
    struct ssh_caller *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->site = ssh_site_new();
    c->loop = loop_new();
    c->transport = transport;
    ev_timer_init(&c->tick, tick, TICK_S, TICK_S);
    c->tick.data = c;
    *state = c;
    return 0;
}

int ssh_caller_libssh2(void **state)
{
    return open_caller(state, SSH_TRANSPORT_LIBSSH2);
}

int ssh_caller_system(void **state)
{
    return open_caller(state, SSH_TRANSPORT_SYSTEM);
}

int ssh_caller_auto(void **state)
{
    return open_caller(state, SSH_TRANSPORT_AUTO);
}

void ssh_caller_hang_up(struct ssh_caller *c)
{
    ssh_pool_free(c->pool);
    c->pool = NULL;
}

/* A process other than a server whose command names the site's folder: one that the pool started. */
static bool left_behind(void *data)
{
    const struct ssh_caller *c = data;
    return keeper_anybody_runs(NULL, ssh_site_config(c->site));
}

static bool nothing_left(void *data)
{
    return !left_behind(data);
}

int ssh_caller_end(void **state)
{
    struct ssh_caller *c = *state;
    if (c->pool)
        ssh_caller_hang_up(c);
    bool clean = loop_until(c->loop, 5, nothing_left, c);
    ev_timer_stop(loop_ev(c->loop), &c->tick);
    loop_free(c->loop);
    ssh_site_free(c->site);
    free(c);
    if (!clean)
        print_error("processes of the pool are left\n");
    return clean ? 0 : -1;
}

struct ssh_host *ssh_caller_host(struct ssh_caller *c, const char *alias)
{
    if (!c->pool)
        c->pool = ssh_pool_new(c->loop, &(struct ssh_pool_options){.environment = "test",
                                                                   .transport = c->transport,
                                                                   .config = ssh_site_config(c->site),
                                                                   .ask = c->unattended ? NULL : ask,
                                                                   .data = c});
    return ssh_pool_host(c->pool, alias, alias);
}

struct waiting {
    struct ssh_host *host;
    enum connection_state state;
};

static bool is_in_state(void *data)
{
    const struct waiting *waiting = data;
    return ssh_host_state(waiting->host) == waiting->state;
}

/* The watch on the loop runs only while the loop does. */
bool ssh_caller_until(struct ssh_caller *c, double seconds, bool (*holds)(void *data), void *data)
{
    c->last_tick = 0;
    ev_timer_start(loop_ev(c->loop), &c->tick);
    bool held = loop_until(c->loop, seconds, holds, data);
    ev_timer_stop(loop_ev(c->loop), &c->tick);
    return held;
}

bool ssh_caller_await(struct ssh_caller *c, struct ssh_host *host, enum connection_state state,
                      double seconds)
{
    struct waiting waiting = {.host = host, .state = state};
    return ssh_caller_until(c, seconds, is_in_state, &waiting);
}

const char *ssh_error_text(const struct error *error)
{
    static char text[1400];
    error_format(error, text, sizeof text);
    return text;
}

void ssh_expect_up_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host)
{
    ssh_host_want(host, true);
    if (ssh_caller_await(c, host, CONNECTION_UP, 30))
        return;
    print_error("%s:%d: %s is not up (state %d): %s\n", file, line, ssh_host_name(host),
                (int)ssh_host_state(host), ssh_error_text(ssh_host_error(host)));
    _fail(file, line);
}

void ssh_expect_words_at(const char *file, int line, const char *text, const char *const words[])
{
    for (int i = 0; words[i]; i++)
        if (!strcasestr(text, words[i])) {
            print_error("%s:%d: there is no \"%s\" in: %s\n", file, line, words[i], text);
            _fail(file, line);
        }
}

void ssh_expect_down_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host,
                        double seconds, const char *const words[])
{
    ssh_host_want(host, true);
    if (!ssh_caller_await(c, host, CONNECTION_DOWN, seconds)) {
        print_error("%s:%d: %s is not down: state %d\n", file, line, ssh_host_name(host),
                    (int)ssh_host_state(host));
        _fail(file, line);
    }
    const struct error *error = ssh_host_error(host);
    if (error->kind == ERROR_NONE || !error->why[0]) {
        print_error("%s:%d: %s is down without a reason\n", file, line, ssh_host_name(host));
        _fail(file, line);
    }
    ssh_expect_words_at(file, line, ssh_error_text(error), words);
}

/* ---- channels ---- */

uint64_t ssh_sum(uint64_t sum, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * 0x100000001b3u; /* FNV-1a: the order of bytes matters */
    return sum;
}

static void hear_output(void *data, int stream, const char *bytes, size_t length)
{
    struct ssh_heard *heard = data;
    int at = stream - 1;
    size_t kept = heard->total[at] < SSH_HEARD_KEPT ? heard->total[at] : SSH_HEARD_KEPT;
    size_t more = length < SSH_HEARD_KEPT - kept ? length : SSH_HEARD_KEPT - kept;
    memcpy(heard->kept[at] + kept, bytes, more);
    heard->kept[at][kept + more] = '\0';
    heard->total[at] += length;
    if (at == 0)
        heard->sum = ssh_sum(heard->sum, bytes, length);
    if (heard->close_at_output && heard->channel) {
        ssh_channel_close(heard->channel);
        heard->channel = NULL;
    }
}

static void hear_drained(void *data)
{
    struct ssh_heard *heard = data;
    heard->drained++;
}

static void hear_closed(void *data, const struct ssh_end *end)
{
    struct ssh_heard *heard = data;
    heard->closed++;
    heard->channel = NULL;
    heard->end = *end;
}

static struct ssh_heard *new_heard(struct ssh_handler *handler)
{
    struct ssh_heard *heard = calloc(1, sizeof *heard);
    if (!heard)
        abort();
    for (int i = 0; i < 2; i++)
        heard->kept[i] = calloc(1, SSH_HEARD_KEPT + 1);
    *handler = (struct ssh_handler){
        .output = hear_output, .drained = hear_drained, .closed = hear_closed, .data = heard};
    return heard;
}

struct ssh_heard *ssh_hear(struct ssh_host *host, const char *command)
{
    struct ssh_handler handler;
    struct ssh_heard *heard = new_heard(&handler);
    heard->channel = ssh_exec(host, command, handler);
    return heard;
}

struct ssh_heard *ssh_hear_tcp(struct ssh_host *host, const char *address, int port)
{
    struct ssh_handler handler;
    struct ssh_heard *heard = new_heard(&handler);
    heard->channel = ssh_open_tcp(host, address, port, handler);
    return heard;
}

struct ssh_heard *ssh_hear_unix(struct ssh_host *host, const char *path)
{
    struct ssh_handler handler;
    struct ssh_heard *heard = new_heard(&handler);
    heard->channel = ssh_open_unix(host, path, handler);
    return heard;
}

void ssh_heard_free(struct ssh_heard *heard)
{
    ssh_channel_close(heard->channel);
    for (int i = 0; i < 2; i++)
        free(heard->kept[i]);
    free(heard);
}

bool ssh_heard_closed(void *heard)
{
    return ((struct ssh_heard *)heard)->closed > 0;
}

bool ssh_heard_output(void *data)
{
    const struct ssh_heard *heard = data;
    return heard->closed > 0 || heard->total[0] > 0;
}

void ssh_finish_at(const char *file, int line, struct ssh_caller *c, struct ssh_heard *heard, double seconds)
{
    if (ssh_caller_until(c, seconds, ssh_heard_closed, heard))
        return;
    print_error("%s:%d: the channel is not closed after %.0f s; %zu bytes of output, %zu of errors: %.200s\n",
                file, line, seconds, heard->total[0], heard->total[1], heard->kept[1]);
    _fail(file, line);
}

void ssh_expect_at(const char *file, int line, struct ssh_caller *c, struct ssh_host *host,
                   const char *command, int status, const char *output)
{
    struct ssh_heard *heard = ssh_hear(host, command);
    ssh_finish_at(file, line, c, heard, 30);
    bool as_expected = heard->end.ending == SSH_EXITED && heard->end.status == status &&
                       strstr(heard->kept[0], output) && heard->closed == 1;
    if (!as_expected)
        print_error("%s:%d: %s: ending %d, status %d, error: %s\noutput: %.300s\nerrors: %.300s\n", file,
                    line, command, (int)heard->end.ending, heard->end.status,
                    ssh_error_text(&heard->end.error), heard->kept[0], heard->kept[1]);
    ssh_heard_free(heard);
    if (!as_expected)
        _fail(file, line);
}

/* ---- who listens ---- */

enum { ECHO_CLIENTS = 128, ECHO_BUFFER = 16384 };

struct ssh_echo {
    struct ev_loop *loop;
    ev_io listener;
    ev_io clients[ECHO_CLIENTS];
    int count;
};

static void echo_back(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    char bytes[ECHO_BUFFER];
    ssize_t length = read(io->fd, bytes, sizeof bytes);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        ev_io_stop(loop, io);
        close(io->fd);
        return;
    }
    /* what is sent here is smaller than a socket's buffer */
    if (send(io->fd, bytes, (size_t)length, MSG_NOSIGNAL) != length)
        print_error("echo: %s\n", strerror(errno));
}

static void echo_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    struct ssh_echo *echo = io->data;
    int client = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    if (echo->count == ECHO_CLIENTS) {
        close(client);
        return;
    }
    ev_io *watcher = &echo->clients[echo->count++];
    ev_io_init(watcher, echo_back, client, EV_READ);
    ev_io_start(loop, watcher);
}

static struct ssh_echo *listen_on(struct ssh_caller *c, struct sockaddr *address, socklen_t length, bool mute)
{
    struct ssh_echo *echo = calloc(1, sizeof *echo);
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (!echo || listener < 0 || bind(listener, address, length) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, address, &length) != 0) {
        print_error("echo: %s\n", strerror(errno));
        _fail(__FILE__, __LINE__);
        abort();
    }
    echo->loop = loop_ev(c->loop);
    ev_io_init(&echo->listener, echo_accept, listener, EV_READ);
    echo->listener.data = echo;
    if (!mute)
        ev_io_start(echo->loop, &echo->listener);
    return echo;
}

static struct ssh_echo *listen_tcp(struct ssh_caller *c, int *port, bool mute)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct ssh_echo *echo = listen_on(c, (struct sockaddr *)&address, sizeof address, mute);
    *port = ntohs(address.sin_port);
    return echo;
}

struct ssh_echo *ssh_echo_tcp(struct ssh_caller *c, int *port)
{
    return listen_tcp(c, port, false);
}

struct ssh_echo *ssh_echo_mute(struct ssh_caller *c, int *port)
{
    return listen_tcp(c, port, true);
}

struct ssh_echo *ssh_echo_unix(struct ssh_caller *c, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return listen_on(c, (struct sockaddr *)&address, sizeof address, false);
}

void ssh_echo_free(struct ssh_echo *echo)
{
    ev_io_stop(echo->loop, &echo->listener);
    close(echo->listener.fd);
    for (int i = 0; i < echo->count; i++)
        if (ev_is_active(&echo->clients[i])) {
            ev_io_stop(echo->loop, &echo->clients[i]);
            close(echo->clients[i].fd);
        }
    free(echo);
}

void ssh_expect_free_loop(const struct ssh_caller *c)
{
    if (c->longest_turn_s >= 0.3)
        print_error("the loop was blocked for %.0f ms\n", c->longest_turn_s * 1000);
    assert_true(c->longest_turn_s < 0.3);
}

struct ssh_host *ssh_serve_behind(struct ssh_caller *c, struct sshd **s, struct proxy **p)
{
    *s = sshd_start(c->site, "server", (struct sshd_options){0});
    *p = proxy_start(sshd_port(*s));
    ssh_site_host(c->site, "far", (struct ssh_entry){.server = *s, .port = proxy_port(*p)});
    return ssh_caller_host(c, "far");
}
