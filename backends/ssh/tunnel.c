/* Local connections of a tunnel and their channels: bytes both ways, each side waiting for the other. */
#include "backends/ssh/tunnel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/tunnel_end.h"
#include "core/clock.h"

enum {
    READ_BYTES = 32 * 1024,
    UNSENT_MAX = 256 * 1024, /* towards the host; then the local side waits */
    LINKS_MAX = 256,         /* then new connections wait */
};
#define ACCEPT_PAUSE_S 0.5

/* One local connection. */
struct link {
    struct ssh_tunnel *tunnel;
    struct link *next, **place;
    int fd;
    struct ssh_channel *channel; /* NULL: closed by the far end, what is left is being written */
    ev_io readable, writable;
    char *left; /* from the far end, not taken by the local side yet */
    size_t left_length;
    bool through; /* bytes came from the far end */
    bool ended;   /* the local side sends no more */
};

struct ssh_tunnel {
    struct loop *loop;
    struct ssh_host *host;
    char *address, *path, *place;
    int port;
    struct tunnel_end end;
    ev_io incoming;
    ev_timer pause; /* of accepting, when descriptors have run out */
    struct link *links;
    size_t link_count;
    struct error error;
    double error_at;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- links ---- */

static void start_accepting(struct ssh_tunnel *tunnel)
{
    ev_timer_stop(loop_ev(tunnel->loop), &tunnel->pause);
    ev_io_start(loop_ev(tunnel->loop), &tunnel->incoming);
}

static void link_free(struct link *link)
{
    struct ssh_tunnel *tunnel = link->tunnel;
    struct ssh_channel *channel = link->channel;
    ev_io_stop(loop_ev(tunnel->loop), &link->readable);
    ev_io_stop(loop_ev(tunnel->loop), &link->writable);
    close(link->fd);
    *link->place = link->next;
    if (link->next)
        link->next->place = link->place;
    if (tunnel->link_count-- == LINKS_MAX)
        start_accepting(tunnel);
    talloc_free(link);
    ssh_channel_close(channel);
}

/* Writes what the local side takes. False: it is gone, and so is the link. */
static bool write_left(struct link *link)
{
    struct ev_loop *ev = loop_ev(link->tunnel->loop);
    size_t done = 0;
    while (done < link->left_length) {
        ssize_t sent = send(link->fd, link->left + done, link->left_length - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            link_free(link);
            return false;
        }
        if (sent <= 0)
            break;
        done += (size_t)sent;
    }
    link->left_length -= done;
    if (link->left_length) {
        memmove(link->left, link->left + done, link->left_length);
        ev_io_start(ev, &link->writable);
        return true;
    }
    ev_io_stop(ev, &link->writable);
    TALLOC_FREE(link->left);
    if (!link->channel) {
        link_free(link);
        return false;
    }
    return true;
}

static void on_writable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct link *link = watcher->data;
    (void)ev, (void)events;
    if (write_left(link) && !link->left_length)
        ssh_channel_pause(link->channel, false);
}

/* From the far end. */
static void take_output(void *data, int stream, const char *bytes, size_t length)
{
    struct link *link = data;
    (void)stream;
    if (!link->through) {
        link->through = true;
        error_clear(&link->tunnel->error);
    }
    /* What came in the same turn as the last part waits behind it. */
    link->left = must(talloc_realloc(link, link->left, char, link->left_length + length));
    memcpy(link->left + link->left_length, bytes, length);
    link->left_length += length;
    if (write_left(link) && link->left_length)
        ssh_channel_pause(link->channel, true);
}

static void on_drained(void *data)
{
    struct link *link = data;
    if (!link->ended)
        ev_io_start(loop_ev(link->tunnel->loop), &link->readable);
}

/* The far end says why it is refused; where that is, is ours to say. */
static void keep_error(struct ssh_tunnel *tunnel, const struct ssh_end *end)
{
    const struct error *error = &end->error;
    char what[sizeof error->what];
    tunnel->error_at = clock_monotonic();
    /* The session itself is not there: that is the host's error, as it stands. */
    if (ssh_host_error(tunnel->host)->kind != ERROR_NONE) {
        tunnel->error = *ssh_host_error(tunnel->host);
        return;
    }
    snprintf(what, sizeof what, "%s %s", end->ending == SSH_LOST ? "the tunnel broke:" : "cannot connect to",
             tunnel->place);
    error_set(&tunnel->error, error->kind != ERROR_NONE ? error->kind : ERROR_LOST, error->where, what,
              *error->todo ? error->todo : NULL, "%s", *error->why ? error->why : "no reason was given");
}

static void on_closed(void *data, const struct ssh_end *end)
{
    struct link *link = data;
    link->channel = NULL;
    if (end->ending == SSH_REFUSED || end->ending == SSH_LOST)
        keep_error(link->tunnel, end);
    /* What was sent must not follow a connection that broke, but is owed to one that ended. */
    if (end->ending == SSH_EXITED && link->left_length) {
        ev_io_stop(loop_ev(link->tunnel->loop), &link->readable);
        write_left(link);
        return;
    }
    link_free(link);
}

/* From the local side. */
static void on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct link *link = watcher->data;
    char bytes[READ_BYTES];
    (void)events;
    ssize_t got = recv(link->fd, bytes, sizeof bytes, 0);
    if (got > 0) {
        ssh_channel_write(link->channel, bytes, (size_t)got);
        if (ssh_channel_unsent(link->channel) > UNSENT_MAX)
            ev_io_stop(ev, &link->readable); /* until it is drained */
    } else if (got == 0) {
        /* It may still wait for the answer. */
        link->ended = true;
        ev_io_stop(ev, &link->readable);
        ssh_channel_end(link->channel);
    } else if (errno != EAGAIN && errno != EINTR) {
        link_free(link);
    }
}

/* ---- accepting ---- */

static void add_link(struct ssh_tunnel *tunnel, int fd)
{
    struct link *link = must(talloc_zero(NULL, struct link));
    struct ssh_handler handler = {
        .output = take_output, .drained = on_drained, .closed = on_closed, .data = link};
    link->tunnel = tunnel;
    link->fd = fd;
    link->next = tunnel->links;
    link->place = &tunnel->links;
    if (link->next)
        link->next->place = &link->next;
    tunnel->links = link;
    tunnel->link_count++;
    ev_io_init(&link->readable, on_readable, fd, EV_READ);
    ev_io_init(&link->writable, on_writable, fd, EV_WRITE);
    link->readable.data = link->writable.data = link;
    link->channel = tunnel->path ? ssh_open_unix(tunnel->host, tunnel->path, handler)
                                 : ssh_open_tcp(tunnel->host, tunnel->address, tunnel->port, handler);
    ev_io_start(loop_ev(tunnel->loop), &link->readable);
}

static void on_incoming(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct ssh_tunnel *tunnel = watcher->data;
    (void)events;
    int fd = accept4(tunnel->end.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            ev_io_stop(ev, &tunnel->incoming);
            ev_timer_set(&tunnel->pause, ACCEPT_PAUSE_S, 0);
            ev_timer_start(ev, &tunnel->pause);
        }
        return;
    }
    if (tunnel->end.port) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (tunnel_end_is_foreign(fd)) {
            close(fd);
            return;
        }
    }
    add_link(tunnel, fd);
    if (tunnel->link_count == LINKS_MAX)
        ev_io_stop(ev, &tunnel->incoming);
}

static void on_pause_over(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)ev, (void)events;
    start_accepting(watcher->data);
}

/* ---- what others call ---- */

struct ssh_tunnel *ssh_tunnel_new(struct loop *loop, struct ssh_host *host,
                                  const struct ssh_tunnel_target *target, enum ssh_tunnel_end end,
                                  const char *socket_name, struct error *error)
{
    struct ssh_tunnel *tunnel = must(talloc_zero(NULL, struct ssh_tunnel));
    bool v6 = target->address && strchr(target->address, ':');
    tunnel->loop = loop;
    tunnel->host = host;
    tunnel->port = target->port;
    if (target->path) {
        tunnel->path = must(talloc_strdup(tunnel, target->path));
        tunnel->place = must(talloc_asprintf(tunnel, "%s on %s", target->path, ssh_host_name(host)));
    } else {
        tunnel->address = must(talloc_strdup(tunnel, target->address));
        tunnel->place = must(talloc_asprintf(tunnel, v6 ? "[%s]:%d through %s" : "%s:%d through %s",
                                             target->address, target->port, ssh_host_name(host)));
    }
    bool made = end == SSH_TUNNEL_LOOPBACK
                    ? tunnel_end_loopback(&tunnel->end, error)
                    : tunnel_end_socket(tunnel, &tunnel->end, socket_name ? socket_name : "socket", error);
    if (!made) {
        talloc_free(tunnel);
        return NULL;
    }
    ev_io_init(&tunnel->incoming, on_incoming, tunnel->end.listener, EV_READ);
    ev_timer_init(&tunnel->pause, on_pause_over, 0, 0);
    tunnel->incoming.data = tunnel->pause.data = tunnel;
    start_accepting(tunnel);
    return tunnel;
}

void ssh_tunnel_free(struct ssh_tunnel *tunnel)
{
    if (!tunnel)
        return;
    while (tunnel->links)
        link_free(tunnel->links);
    ev_io_stop(loop_ev(tunnel->loop), &tunnel->incoming);
    ev_timer_stop(loop_ev(tunnel->loop), &tunnel->pause);
    tunnel_end_close(&tunnel->end);
    talloc_free(tunnel);
}

enum ssh_tunnel_end ssh_tunnel_end(const struct ssh_tunnel *tunnel)
{
    return tunnel->end.port ? SSH_TUNNEL_LOOPBACK : SSH_TUNNEL_SOCKET;
}

const char *ssh_tunnel_folder(const struct ssh_tunnel *tunnel)
{
    return tunnel->end.folder;
}

const char *ssh_tunnel_path(const struct ssh_tunnel *tunnel)
{
    return tunnel->end.path;
}

int ssh_tunnel_port(const struct ssh_tunnel *tunnel)
{
    return tunnel->end.port;
}

const char *ssh_tunnel_place(const struct ssh_tunnel *tunnel)
{
    return tunnel->place;
}

size_t ssh_tunnel_connections(const struct ssh_tunnel *tunnel)
{
    return tunnel->link_count;
}

const struct error *ssh_tunnel_error(const struct ssh_tunnel *tunnel, double *at)
{
    *at = tunnel->error_at;
    return &tunnel->error;
}
