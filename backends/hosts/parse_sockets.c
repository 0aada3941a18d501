/* Listening sockets with what waits in their accept queues: `ss` (Recv-Q and Send-Q of a LISTEN row), or
 * /proc/net/tcp where there is no ss (its rx_queue is the backlog; the limit is not told). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

/* users:(("nginx",pid=14543,fd=5),("nginx",pid=14542,fd=5)): the first one holds it too. */
static void read_users(struct host_part *part, struct host_listener *listener, struct span users)
{
    size_t name = span_find(users, "((\""), pid = span_find(users, "pid=");
    if (name == users.length || pid == users.length)
        return;
    struct span rest = {users.at + name + 3, users.length - name - 3};
    listener->process = part_text(part, span_until(&rest, '"'), 32);
    rest = (struct span){users.at + pid + 4, users.length - pid - 4};
    if (!span_integer(span_until(&rest, ','), 1 << 30, &listener->pid))
        listener->pid = 0;
}

/* "[::]:80", "127.0.0.1:56380", "*:22", "0.0.0.0%lo:53" */
static bool read_address(struct host_part *part, struct host_listener *listener, struct span local)
{
    size_t colon = local.length;
    while (colon && local.at[colon - 1] != ':')
        colon--;
    if (!colon ||
        !span_integer((struct span){local.at + colon, local.length - colon}, 65535, &listener->port))
        return false;
    struct span address = {local.at, colon - 1};
    if (address.length >= 2 && address.at[0] == '[')
        address = (struct span){address.at + 1, address.length - 2};
    listener->address = part_text(part, address, 64);
    return true;
}

/* Unix sockets: of services, or those on which somebody waits. */
static bool wanted_path(struct span path, int backlog)
{
    if (!span_starts(path, "/"))
        return false;
    return backlog > 0 || span_find(path, "gunicorn") != path.length ||
           span_find(path, "uwsgi") != path.length || span_find(path, ".s.PGSQL") != path.length ||
           span_find(path, "redis") != path.length || span_find(path, "php") != path.length ||
           span_find(path, "docker") != path.length;
}

static struct host_listener *add_listener(struct host_record *record, struct host_part *part)
{
    struct host_listener *listeners = (struct host_listener *)record->now.listeners;
    struct host_listener *listener =
        ARRAY_ADD(part, listeners, record->now.listener_count, HOST_MAX_LISTENERS);
    record->now.listeners = listeners;
    return listener;
}

/* "LISTEN 0 511 127.0.0.1:80 0.0.0.0:*", "u_str LISTEN 0 128 /run/x.sock 20123 * 0"; with more than one
 * family "tcp" stands in front. */
static bool read_ss(struct host_part *part, struct host_listener *listener, struct span line)
{
    struct span word, local, peer;
    *listener = (struct host_listener){.protocol = "tcp"};
    bool local_socket = span_starts(line, "u_");
    if (local_socket || span_starts(line, "tcp "))
        span_word(&line, &word);
    if (!span_word(&line, &word) || !span_is(word, "LISTEN") || !span_word(&line, &word) ||
        !span_integer(word, 1 << 30, &listener->backlog) || !span_word(&line, &word) ||
        !span_integer(word, 1 << 30, &listener->backlog_limit) || !span_word(&line, &local) ||
        !span_word(&line, &peer))
        return false;
    if (local_socket) {
        if (!wanted_path(local, listener->backlog))
            return false;
        listener->protocol = "unix";
        listener->address = part_text(part, local, 108);
    } else if (!read_address(part, listener, local)) {
        return false;
    }
    read_users(part, listener, line);
    return true;
}

void parse_owners(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line;
    struct host_listener listener;
    while (span_line(&body, &line)) {
        if (!read_ss(part, &listener, line) || !listener.process)
            continue;
        struct host_owner *owner = ARRAY_ADD(part, record->owners, record->owner_count, HOST_MAX_LISTENERS);
        if (owner)
            *owner = (struct host_owner){listener.address, listener.process, listener.port, listener.pid};
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static bool hex(struct span span, uint32_t *value)
{
    uint32_t sum = 0;
    if (!span.length || span.length > 8)
        return false;
    for (size_t i = 0; i < span.length; i++) {
        int digit = hex_digit(span.at[i]);
        if (digit < 0)
            return false;
        sum = sum * 16 + (uint32_t)digit;
    }
    *value = sum;
    return true;
}

/* "/proc/net/tcp:   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 ...": the address as the machine
 * keeps it, little-endian on everything that matters. */
static void read_proc_tcp(struct host_record *record, struct host_part *part, struct span line)
{
    bool six = span_skip(&line, "/proc/net/tcp6:");
    struct span word, local, queues;
    uint32_t address = 0, port, backlog;
    if (!six && !span_skip(&line, "/proc/net/tcp:"))
        return;
    if (!span_word(&line, &word) || !span_word(&line, &local) || !span_word(&line, &word) ||
        !span_word(&line, &word) || !span_is(word, "0A") || !span_word(&line, &queues))
        return;
    struct span host = span_until(&local, ':');
    span_until(&queues, ':');
    if (!hex(local, &port) || port > 65535 || !hex(queues, &backlog) || (!six && !hex(host, &address)))
        return;
    struct host_listener *slot = add_listener(record, part);
    if (!slot)
        return;
    *slot = (struct host_listener){
        .protocol = "tcp", .port = (int)port, .backlog = (int)(backlog & 0x7FFFFFFF), .backlog_limit = -1};
    char text[16];
    snprintf(text, sizeof text, "%u.%u.%u.%u", address & 255, (address >> 8) & 255, (address >> 16) & 255,
             address >> 24);
    if (six)
        snprintf(text, sizeof text, "%s", strspn(host.at, "0") >= host.length ? "::" : "::1");
    slot->address = part_text(part, span_of(text), sizeof text);
}

void parse_sockets(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line;
    while (span_line(&body, &line)) {
        struct host_listener listener, *slot;
        if (span_starts(line, "/proc/net/"))
            read_proc_tcp(record, part, line);
        else if (read_ss(part, &listener, line) && (slot = add_listener(record, part)))
            *slot = listener;
    }
}

static void name_owner(const struct host_record *record, struct host_part *part,
                       struct host_listener *listener)
{
    for (size_t i = 0; !listener->process && i < record->owner_count; i++) {
        const struct host_owner *owner = &record->owners[i];
        if (owner->port == listener->port && !strcmp(owner->address, listener->address)) {
            listener->process = part_text(part, span_of(owner->process), 32);
            listener->pid = owner->pid;
        }
    }
}

static double fullness(const struct host_listener *listener)
{
    if (listener->backlog_limit > 0)
        return (double)listener->backlog / listener->backlog_limit;
    return listener->backlog > 0 ? listener->backlog / 1e6 : 0;
}

static int fuller(const void *a, const void *b)
{
    const struct host_listener *x = a, *y = b;
    double p = fullness(x), q = fullness(y);
    if (p != q)
        return (p < q) - (p > q);
    return x->port != y->port ? (x->port > y->port) - (x->port < y->port) : strcmp(x->address, y->address);
}

void finish_sockets(struct host_record *record, struct host_part *part)
{
    struct host_snapshot *now = &record->now;
    for (size_t i = 0; i < now->listener_count; i++)
        name_owner(record, part, (struct host_listener *)&now->listeners[i]);
    if (now->listener_count)
        qsort((struct host_listener *)now->listeners, now->listener_count, sizeof *now->listeners, fuller);
    now->worst_listener = now->listener_count ? &now->listeners[0] : NULL;
}
