/* The channels of a host: they wait for it, carry bytes while it is up, and end once. */
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/pool.h"

/* ---- ends ---- */

static void unlink_channel(struct ssh_channel *channel)
{
    struct ssh_host *host = channel->host;
    if (channel->previous)
        channel->previous->next = channel->next;
    else
        host->channels = channel->next;
    if (channel->next)
        channel->next->previous = channel->previous;
    channel->next = channel->previous = NULL;
}

static void release(struct ssh_channel *channel)
{
    if (--channel->busy > 0 || !channel->gone)
        return;
    buffer_free(&channel->out);
    talloc_free(channel);
}

/* Out of the list, unheard of from now on; the memory goes when no handler of it runs. */
static void remove_channel(struct ssh_channel *channel)
{
    unlink_channel(channel);
    channel->gone = true;
    channel->impl = NULL;
    channel->busy++;
    release(channel);
}

static void finish(struct ssh_channel *channel, const struct ssh_end *end)
{
    struct ssh_host *host = channel->host;
    struct ssh_handler handler = channel->handler;
    struct ssh_end copy = *end;
    pool_enter(host->pool);
    remove_channel(channel);
    if (handler.closed)
        handler.closed(handler.data, &copy);
    host_check_use(host);
    pool_leave(host->pool);
}

static void drop_impl(struct ssh_channel *channel)
{
    void *impl = channel->impl;
    channel->impl = NULL;
    if (impl)
        channel->host->ops->channel_close(impl);
}

static struct ssh_channel *first_of(const struct ssh_host *host, bool rejected)
{
    struct ssh_channel *channel = host->channels;
    while (channel && channel->rejected != rejected)
        channel = channel->next;
    return channel;
}

void channels_end(struct ssh_host *host, const struct error *error)
{
    /* Handlers may close others and open new ones: these are rejected. */
    for (struct ssh_channel *channel; (channel = first_of(host, false));) {
        struct ssh_end end = {.ending = channel->impl ? SSH_LOST : SSH_REFUSED, .error = *error};
        drop_impl(channel);
        finish(channel, &end);
    }
    if (host->pool->doomed)
        channels_reject(host);
}

void channels_reject(struct ssh_host *host)
{
    struct ssh_channel *channel, *last = NULL;
    for (channel = host->channels; channel; channel = channel->next)
        if (channel->rejected)
            last = channel;
    while (last && (channel = first_of(host, true))) {
        struct ssh_end end = {.ending = SSH_REFUSED, .error = channel->error};
        bool was_last = channel == last;
        finish(channel, &end);
        if (was_last) /* what its handlers open is for the next turn */
            break;
    }
    if (first_of(host, true) && !host->pool->doomed)
        host_soon(host);
}

void channels_open(struct ssh_host *host)
{
    for (struct ssh_channel *channel = host->channels; channel; channel = channel->next)
        if (!channel->impl && !channel->rejected)
            channel->impl = host->ops->channel_open(host->session, channel);
}

/* ---- what others call ---- */

static void append(struct ssh_host *host, struct ssh_channel *channel)
{
    struct ssh_channel *last = host->channels;
    while (last && last->next)
        last = last->next;
    channel->previous = last;
    if (last)
        last->next = channel;
    else
        host->channels = channel;
}

static struct ssh_channel *open_channel(struct ssh_host *host, enum ssh_channel_kind kind, const char *target,
                                        int port, struct ssh_handler handler)
{
    struct ssh_channel *channel = talloc_zero(NULL, struct ssh_channel);
    if (!channel)
        abort();
    channel->host = host;
    channel->kind = kind;
    channel->target = talloc_strdup(channel, target);
    channel->port = port;
    channel->handler = handler;
    append(host, channel);
    if (host->state == CONNECTION_UP) {
        host_check_use(host);
        channel->impl = host->ops->channel_open(host->session, channel);
    } else if (host->state == CONNECTION_DOWN || host->pool->doomed) {
        channel->rejected = true;
        channel->error = host->error;
        if (!host->error.kind)
            error_set(&channel->error, ERROR_LOST, host->label, NULL, NULL, "the connection is closed");
        host_soon(host);
    } else {
        host_use(host);
    }
    return channel;
}

struct ssh_channel *ssh_exec(struct ssh_host *host, const char *command, struct ssh_handler handler)
{
    return open_channel(host, SSH_CHANNEL_EXEC, command, 0, handler);
}

struct ssh_channel *ssh_open_tcp(struct ssh_host *host, const char *address, int port,
                                 struct ssh_handler handler)
{
    return open_channel(host, SSH_CHANNEL_TCP, address, port, handler);
}

struct ssh_channel *ssh_open_unix(struct ssh_host *host, const char *path, struct ssh_handler handler)
{
    return open_channel(host, SSH_CHANNEL_UNIX, path, 0, handler);
}

static void tell_transport(struct ssh_channel *channel)
{
    if (channel->impl)
        channel->host->ops->channel_changed(channel->impl);
}

void ssh_channel_write(struct ssh_channel *channel, const void *bytes, size_t length)
{
    if (length == 0 || channel->ending)
        return;
    buffer_append(&channel->out, bytes, length);
    channel->drain = true;
    tell_transport(channel);
}

size_t ssh_channel_unsent(const struct ssh_channel *channel)
{
    return channel->out.length;
}

void ssh_channel_end(struct ssh_channel *channel)
{
    channel->ending = true;
    tell_transport(channel);
}

void ssh_channel_pause(struct ssh_channel *channel, bool paused)
{
    if (channel->paused == paused)
        return;
    channel->paused = paused;
    tell_transport(channel);
}

void ssh_channel_close(struct ssh_channel *channel)
{
    if (!channel || channel->gone)
        return;
    struct ssh_host *host = channel->host;
    drop_impl(channel);
    remove_channel(channel);
    host_check_use(host);
}

/* ---- what transports ask and report ---- */

enum ssh_channel_kind ssh_channel_kind(const struct ssh_channel *channel)
{
    return channel->kind;
}

const char *ssh_channel_target(const struct ssh_channel *channel)
{
    return channel->target;
}

int ssh_channel_port(const struct ssh_channel *channel)
{
    return channel->port;
}

const char *ssh_channel_pending(const struct ssh_channel *channel, size_t *length)
{
    *length = channel->out.length;
    return buffer_bytes(&channel->out);
}

bool ssh_channel_ending(const struct ssh_channel *channel)
{
    return channel->ending;
}

bool ssh_channel_paused(const struct ssh_channel *channel)
{
    return channel->paused;
}

bool ssh_channel_taken(struct ssh_channel *channel, size_t length)
{
    buffer_take(&channel->out, length);
    if (channel->out.length || !channel->drain)
        return true;
    channel->drain = false;
    if (!channel->handler.drained)
        return true;
    struct ssh_pool *pool = channel->host->pool;
    pool_enter(pool);
    channel->busy++;
    channel->handler.drained(channel->handler.data);
    bool gone = channel->gone;
    release(channel);
    pool_leave(pool);
    return !gone;
}

bool ssh_report_output(struct ssh_channel *channel, int stream, const char *bytes, size_t length)
{
    struct ssh_pool *pool = channel->host->pool;
    if (!channel->handler.output || length == 0)
        return true;
    pool_enter(pool);
    channel->busy++;
    channel->handler.output(channel->handler.data, stream, bytes, length);
    bool gone = channel->gone;
    release(channel);
    pool_leave(pool);
    return !gone;
}

void ssh_report_closed(struct ssh_channel *channel, const struct ssh_end *end)
{
    channel->impl = NULL;
    finish(channel, end);
}
