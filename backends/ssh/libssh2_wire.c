/* What carries a session of libssh2: a socket, or a channel of the bastion (and so on down to a socket). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/ssh/libssh2_internal.h"
#include "core/clock.h"

static void set_broken(struct lib_session *session, int number)
{
    struct wire *w = &session->wire;
    if (w->broken)
        return;
    w->broken = true;
    error_set(&w->error, number == ETIMEDOUT ? ERROR_TIMEOUT : ERROR_LOST, ssh_host_label(session->host),
              "the connection broke", NULL, "%s", strerror(number));
    session_wake(session);
}

static void flush(struct lib_session *session)
{
    struct wire *w = &session->wire;
    while (w->out.length && !w->broken) {
        ssize_t n = send(w->fd, buffer_bytes(&w->out), w->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            set_broken(session, errno);
        else
            buffer_take(&w->out, (size_t)n);
    }
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    if (w->out.length && !w->broken)
        ev_io_start(ev, &w->write);
    else
        ev_io_stop(ev, &w->write);
}

static void on_writable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct lib_session *session = watcher->data;
    (void)ev, (void)events;
    flush(session);
    if (session->wire.out.length < OUT_HIGH)
        session_wake(session);
}

static void on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct lib_session *session = watcher->data;
    (void)ev, (void)events;
    session->wire.dry = false;
    session_wake(session);
}

/* ---- the callbacks of libssh2 ---- */

static ssize_t note_received(struct wire *w, ssize_t n)
{
    w->budget -= (size_t)n;
    w->received += (uint64_t)n;
    w->heard = clock_monotonic();
    return n;
}

static ssize_t receive_from_socket(struct lib_session *session, void *buffer, size_t length)
{
    struct wire *w = &session->wire;
    ssize_t n;
    do
        n = recv(w->fd, buffer, length, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return note_received(w, n);
    if (n == 0) {
        w->ended = true;
        return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        w->dry = true;
        return -EAGAIN;
    }
    int number = errno;
    set_broken(session, number);
    return -number;
}

bool wire_look(struct lib_session *session)
{
    struct wire *w = &session->wire;
    char byte;
    if (w->dry || w->broken || w->ended)
        return false;
    if (w->fd < 0) {
        w->dry = w->in.length == 0 && !w->ended;
        return !w->dry;
    }
    ssize_t n = recv(w->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    w->ended = n == 0;
    w->dry = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    return !w->dry;
}

static ssize_t receive(libssh2_socket_t fd, void *buffer, size_t length, int flags, void **abstract)
{
    struct lib_session *session = *abstract;
    struct wire *w = &session->wire;
    (void)fd, (void)flags;
    if (session->closed || w->broken)
        return 0;
    if (w->dry || w->budget == 0)
        return -EAGAIN;
    if (length > w->budget)
        length = w->budget;
    if (w->fd >= 0)
        return receive_from_socket(session, buffer, length);
    if (w->in.length == 0) {
        w->dry = !w->ended;
        return w->ended ? 0 : -EAGAIN;
    }
    if (length > w->in.length)
        length = w->in.length;
    memcpy(buffer, buffer_bytes(&w->in), length);
    buffer_take(&w->in, length);
    if (w->channel && w->in.length < IN_HIGH)
        ssh_channel_pause(w->channel, false);
    return note_received(w, (ssize_t)length);
}

static ssize_t transmit(libssh2_socket_t fd, const void *bytes, size_t length, int flags, void **abstract)
{
    struct lib_session *session = *abstract;
    struct wire *w = &session->wire;
    (void)fd, (void)flags;
    if (w->broken || w->ended)
        return (ssize_t)length;
    /* Channels are not asked for so much: these are answers to a server that asks, and reads none of them. */
    if (wire_unsent(session) > OUT_MOST) {
        set_broken(session, ENOBUFS);
        return (ssize_t)length;
    }
    if (w->channel) {
        ssh_channel_write(w->channel, bytes, length);
    } else if (w->fd >= 0) {
        buffer_append(&w->out, bytes, length);
        flush(session);
    }
    return (ssize_t)length;
}

static void disconnected(LIBSSH2_SESSION *ssh, int reason, const char *message, int message_length,
                         const char *language, int language_length, void **abstract)
{
    struct lib_session *session = *abstract;
    (void)ssh, (void)reason, (void)language, (void)language_length;
    if (session->farewell || message_length <= 0)
        return;
    /* It ends with nothing. */
    session->farewell = calloc(1, (size_t)message_length + 1);
    if (!session->farewell)
        abort();
    memcpy(session->farewell, message, (size_t)message_length);
}

void wire_set_callbacks(struct lib_session *session)
{
    /* libssh2 takes them as pointers of one type; before 1.11.1 of a type that C has no word for. */
    union {
        ssize_t (*receive)(libssh2_socket_t fd, void *buffer, size_t length, int flags, void **abstract);
        ssize_t (*transmit)(libssh2_socket_t fd, const void *bytes, size_t length, int flags,
                            void **abstract);
        void (*disconnected)(LIBSSH2_SESSION *ssh, int reason, const char *message, int message_length,
                             const char *language, int language_length, void **abstract);
#if LIBSSH2_VERSION_NUM >= 0x010b01
        libssh2_cb_generic *pointer;
#define set_callback libssh2_session_callback_set2
#else
        void *pointer;
#define set_callback libssh2_session_callback_set
#endif
    } callback;
    callback.receive = receive;
    set_callback(session->ssh, LIBSSH2_CALLBACK_RECV, callback.pointer);
    callback.transmit = transmit;
    set_callback(session->ssh, LIBSSH2_CALLBACK_SEND, callback.pointer);
    callback.disconnected = disconnected;
    set_callback(session->ssh, LIBSSH2_CALLBACK_DISCONNECT, callback.pointer);
}

/* ---- through a bastion ---- */

static void take_bytes(void *data, int stream, const char *bytes, size_t length)
{
    struct lib_session *session = data;
    struct wire *w = &session->wire;
    if (stream != 1)
        return;
    buffer_append(&w->in, bytes, length);
    if (w->in.length >= IN_HIGH)
        ssh_channel_pause(w->channel, true);
    w->dry = false;
    session_wake(session);
}

static void bytes_went(void *data)
{
    session_wake(data);
}

static void bastion_closed(void *data, const struct ssh_end *end)
{
    struct lib_session *session = data;
    struct wire *w = &session->wire;
    w->channel = NULL;
    w->ended = true;
    w->dry = false;
    if (end->ending == SSH_LOST || end->ending == SSH_REFUSED) {
        w->error = end->error;
        if (end->ending == SSH_REFUSED || w->in.length == 0)
            w->broken = true;
    }
    session_wake(session);
}

void wire_use_bastion(struct lib_session *session, struct ssh_host *bastion)
{
    const struct ssh_settings *settings = ssh_host_settings(session->host);
    struct ssh_handler handler = {
        .output = take_bytes, .drained = bytes_went, .closed = bastion_closed, .data = session};
    session->wire.dry = true;
    session->wire.channel = ssh_open_tcp(bastion, settings->hostname, settings->port, handler);
}

/* ---- */

void wire_init(struct lib_session *session)
{
    struct wire *w = &session->wire;
    w->fd = -1;
    ev_init(&w->read, on_readable);
    ev_init(&w->write, on_writable);
    w->read.data = w->write.data = session;
    w->heard = clock_monotonic();
}

void wire_use_socket(struct lib_session *session, int fd)
{
    struct wire *w = &session->wire;
    w->fd = fd;
    ev_io_set(&w->read, fd, EV_READ);
    ev_io_set(&w->write, fd, EV_WRITE);
    wire_listen(session, true);
}

void wire_listen(struct lib_session *session, bool on)
{
    struct wire *w = &session->wire;
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    if (w->fd < 0)
        return;
    if (on)
        ev_io_start(ev, &w->read);
    else
        ev_io_stop(ev, &w->read);
}

size_t wire_unsent(const struct lib_session *session)
{
    const struct wire *w = &session->wire;
    return w->channel ? ssh_channel_unsent(w->channel) : w->out.length;
}

void wire_close(struct lib_session *session)
{
    struct wire *w = &session->wire;
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    ev_io_stop(ev, &w->read);
    ev_io_stop(ev, &w->write);
    ssh_channel_close(w->channel);
    w->channel = NULL;
    if (w->fd >= 0) {
        shutdown(w->fd, SHUT_RDWR);
        close(w->fd);
    }
    w->fd = -1;
    buffer_free(&w->in);
    buffer_free(&w->out);
}
