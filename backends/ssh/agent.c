/* Requests to ssh-agent: connect, send, take one answer. */
#include "backends/ssh/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/packet.h"

enum {
    REQUEST_IDENTITIES = 11,
    IDENTITIES_ANSWER = 12,
    SIGN_REQUEST = 13,
    SIGN_RESPONSE = 14,
    ANSWER_MAX = 256 * 1024,
};
#define LIST_S 5.0
#define SIGN_S 60.0

struct agent_call {
    struct loop *loop;
    int fd;
    ev_io io;
    ev_timer late;
    struct buffer out, in;
    struct error error;
    char *path;
    void (*listed)(void *data, struct agent_keys *keys, const struct error *error);
    void (*made)(void *data, const unsigned char *signature, size_t length, const struct error *error);
    void *data;
};

/* ---- the format ---- */

struct agent_keys *agent_parse_keys(const void *context, const unsigned char *answer, size_t length)
{
    if (length < 5 || answer[0] != IDENTITIES_ANSWER)
        return NULL;
    struct packet_reader r = {.at = answer + 1, .left = length - 1};
    uint32_t count = packet_take_number(&r);
    struct agent_keys *keys = talloc_zero(context, struct agent_keys);
    for (uint32_t i = 0; i < count && !r.bad; i++) {
        size_t blob_length, comment_length, type_length;
        const unsigned char *blob = packet_take_string(&r, &blob_length);
        const unsigned char *comment = packet_take_string(&r, &comment_length);
        if (r.bad)
            break;
        struct packet_reader inner = {.at = blob, .left = blob_length};
        const unsigned char *type = packet_take_string(&inner, &type_length);
        if (inner.bad || type_length == 0 || type_length > 64)
            continue;
        keys->items = talloc_realloc(keys, keys->items, struct agent_key, keys->count + 1);
        keys->items[keys->count++] = (struct agent_key){
            .blob = talloc_memdup(keys, blob, blob_length),
            .length = blob_length,
            .type = talloc_strndup(keys, (const char *)type, type_length),
            .comment = talloc_strndup(keys, (const char *)comment, comment_length),
        };
    }
    if (!r.bad)
        return keys;
    talloc_free(keys);
    return NULL;
}

bool agent_parse_signature(const unsigned char *answer, size_t length, const unsigned char **signature,
                           size_t *signature_length)
{
    if (length < 1 || answer[0] != SIGN_RESPONSE)
        return false;
    struct packet_reader r = {.at = answer + 1, .left = length - 1};
    size_t whole_length, type_length;
    const unsigned char *whole = packet_take_string(&r, &whole_length);
    if (r.bad)
        return false;
    struct packet_reader inner = {.at = whole, .left = whole_length};
    packet_take_string(&inner, &type_length);
    *signature = packet_take_string(&inner, signature_length);
    return !inner.bad && *signature_length > 0;
}

/* ---- one request ---- */

void agent_cancel(struct agent_call *call)
{
    if (!call)
        return;
    struct ev_loop *ev = loop_ev(call->loop);
    ev_io_stop(ev, &call->io);
    ev_timer_stop(ev, &call->late);
    if (call->fd >= 0)
        close(call->fd);
    buffer_free(&call->in);
    buffer_free(&call->out);
    talloc_free(call);
}

static void fail(struct agent_call *call)
{
    struct agent_call copy = *call;
    agent_cancel(call);
    if (copy.listed)
        copy.listed(copy.data, NULL, &copy.error);
    else
        copy.made(copy.data, NULL, 0, &copy.error);
}

static void fail_with(struct agent_call *call, enum error_kind kind, const char *todo, const char *why)
{
    error_set(&call->error, kind, call->path, "the SSH agent", todo, "%s", why);
    fail(call);
}

static void take_answer(struct agent_call *call, const unsigned char *answer, size_t length)
{
    struct agent_call copy = *call;
    if (copy.listed) {
        struct agent_keys *keys = agent_parse_keys(NULL, answer, length);
        if (!keys) {
            fail_with(call, ERROR_AUTH, NULL, "it does not tell its keys");
            return;
        }
        agent_cancel(call);
        copy.listed(copy.data, keys, NULL);
        return;
    }
    const unsigned char *signature;
    size_t signature_length;
    if (!agent_parse_signature(answer, length, &signature, &signature_length)) {
        fail_with(call, ERROR_AUTH, "It may be locked (ssh-add -X), or its user said no.",
                  "it refused to sign");
        return;
    }
    unsigned char *kept = talloc_memdup(NULL, signature, signature_length);
    agent_cancel(call);
    copy.made(copy.data, kept, signature_length, NULL);
    talloc_free(kept);
}

static void take_bytes(struct agent_call *call)
{
    char bytes[4096];
    ssize_t n = recv(call->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail_with(call, ERROR_LOST, NULL, n < 0 ? strerror(errno) : "it closed the connection");
        return;
    }
    buffer_append(&call->in, bytes, (size_t)n);
    struct packet_reader r = {.at = (const unsigned char *)buffer_bytes(&call->in), .left = call->in.length};
    uint32_t length = packet_take_number(&r);
    if (!r.bad && (length == 0 || length > ANSWER_MAX))
        fail_with(call, ERROR_SERVER, NULL, "this is not an SSH agent");
    else if (!r.bad && r.left >= length)
        take_answer(call, r.at, length);
}

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct agent_call *call = watcher->data;
    if (events & EV_WRITE) {
        ssize_t n = send(call->fd, buffer_bytes(&call->out), call->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail_with(call, ERROR_LOST, NULL, strerror(errno));
            return;
        }
        if (n > 0)
            buffer_take(&call->out, (size_t)n);
        if (call->out.length == 0) {
            ev_io_stop(ev, watcher);
            ev_io_set(watcher, call->fd, EV_READ);
            ev_io_start(ev, watcher);
        }
    } else {
        take_bytes(call);
    }
}

static void on_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct agent_call *call = timer->data;
    (void)ev, (void)events;
    if (call->error.kind)
        fail(call);
    else
        fail_with(call, ERROR_TIMEOUT, "It may wait for its user to confirm.", "it does not answer");
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static struct agent_call *start(struct loop *loop, const char *path, double limit_s, void *data)
{
    struct agent_call *call = talloc_zero(NULL, struct agent_call);
    if (!call)
        abort();
    call->loop = loop;
    call->path = talloc_strdup(call, path);
    call->data = data;
    call->fd = connect_to(path);
    ev_init(&call->io, on_io);
    ev_init(&call->late, on_late);
    call->io.data = call->late.data = call;
    if (call->fd < 0) {
        error_set(&call->error, ERROR_SYSTEM, path, "the SSH agent",
                  "Start one, or check SSH_AUTH_SOCK and IdentityAgent.", "%s", strerror(errno));
        limit_s = 0; /* told in a later turn */
    } else {
        ev_io_set(&call->io, call->fd, EV_WRITE);
        ev_io_start(loop_ev(loop), &call->io);
    }
    ev_now_update(loop_ev(loop));
    ev_timer_set(&call->late, limit_s, 0);
    ev_timer_start(loop_ev(loop), &call->late);
    return call;
}

struct agent_call *agent_list(struct loop *loop, const char *path,
                              void (*done)(void *data, struct agent_keys *keys, const struct error *error),
                              void *data)
{
    struct agent_call *call = start(loop, path, LIST_S, data);
    call->listed = done;
    packet_put_number(&call->out, 1);
    buffer_append(&call->out, (unsigned char[]){REQUEST_IDENTITIES}, 1);
    return call;
}

struct agent_call *
agent_sign(struct loop *loop, const char *path, const unsigned char *blob, size_t blob_length,
           const unsigned char *message, size_t message_length, uint32_t flags,
           void (*done)(void *data, const unsigned char *signature, size_t length, const struct error *error),
           void *data)
{
    struct agent_call *call = start(loop, path, SIGN_S, data);
    call->made = done;
    packet_put_number(&call->out, 1 + 4 + blob_length + 4 + message_length + 4);
    buffer_append(&call->out, (unsigned char[]){SIGN_REQUEST}, 1);
    packet_put_string(&call->out, blob, blob_length);
    packet_put_string(&call->out, message, message_length);
    packet_put_number(&call->out, flags);
    return call;
}
