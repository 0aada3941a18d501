/*
 * Our end of the master's control socket (PROTOCOL.mux of OpenSSH, proxy mode): after a greeting it carries
 * the packets of the SSH connection protocol (RFC 4254) as they are. So channels need no processes of their
 * own, and how a command ended is known as exactly as with libssh2.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/packet.h"
#include "backends/ssh/system_internal.h"
#include "core/text.h"

enum {
    MUX_HELLO = 0x00000001,
    MUX_PROXY = 0x1000000f,
    MUX_IS_PROXY = (int)0x8000000f,
    MUX_VERSION = 4,
};

enum { /* RFC 4250, 4.1.2 */
       CHANNEL_OPEN = 90,
       CHANNEL_CONFIRMATION = 91,
       CHANNEL_REFUSAL = 92,
       CHANNEL_WINDOW = 93,
       CHANNEL_DATA = 94,
       CHANNEL_EXTENDED = 95,
       CHANNEL_EOF = 96,
       CHANNEL_CLOSE = 97,
       CHANNEL_REQUEST = 98,
       CHANNEL_SUCCESS = 99,
       CHANNEL_FAILURE = 100,
};

enum {
    WINDOW = 1024 * 1024,
    PACKET = 32768,
    ROOM = PACKET + 8192,       /* for one packet, and what surrounds it */
    ROUND_BYTES = 256 * 1024,   /* read in one turn */
    OUT_MOST = 4 * 1024 * 1024, /* with so much waiting the other side is given up */
    OUT_HIGH = 128 * 1024,      /* so much waits for the socket: channels are not asked for more */
    TARGET_MOST =
        128 * 1024, /* the master breaks at longer packets, and so does execve at a longer command */
};

struct system_channel {
    struct system_channel *next;
    struct system_session *session;
    struct ssh_channel *channel; /* NULL: given up */
    enum ssh_channel_kind kind;
    uint32_t id, remote;
    uint32_t send_window, send_most;
    uint32_t may_come; /* what is left of the window that the other side has */
    uint32_t taken;    /* delivered, and not yet given back as window */
    bool confirmed, eof_sent, close_sent, close_received, eof_received;
    struct buffer held[2]; /* came while it was paused: output, errors */
    bool has_status;
    bool too_long; /* its command: it is refused in a later turn */
    struct ssh_end end;
};

/* ---- writing packets ---- */

static void put_text(struct buffer *buffer, const char *text)
{
    packet_put_string(buffer, text, strlen(text));
}

/* A packet of so many bytes after its type: the length covers the padding's length, which is 0, and the type.
 */
static void put_header(struct buffer *out, int type, size_t length)
{
    char head[] = {0, (char)type};
    packet_put_number(out, (uint32_t)(length + sizeof head));
    buffer_append(out, head, sizeof head);
}

static void send_written(struct system_session *session);

static void send_short(struct system_channel *own, int type)
{
    put_header(&own->session->out, type, 4);
    packet_put_number(&own->session->out, own->remote);
    send_written(own->session);
}

static void send_window(struct system_channel *own)
{
    put_header(&own->session->out, CHANNEL_WINDOW, 8);
    packet_put_number(&own->session->out, own->remote);
    packet_put_number(&own->session->out, own->taken);
    own->may_come += own->taken;
    own->taken = 0;
    send_written(own->session);
}

static void send_close(struct system_channel *own)
{
    if (own->confirmed && !own->close_sent) {
        own->close_sent = true;
        send_short(own, CHANNEL_CLOSE);
    }
}

static void send_open(struct system_channel *own)
{
    static const char *const types[] = {[SSH_CHANNEL_EXEC] = "session",
                                        [SSH_CHANNEL_TCP] = "direct-tcpip",
                                        [SSH_CHANNEL_UNIX] = "direct-streamlocal@openssh.com"};
    struct buffer body = {0};
    put_text(&body, types[own->kind]);
    packet_put_number(&body, own->id);
    packet_put_number(&body, WINDOW);
    packet_put_number(&body, PACKET);
    if (own->kind == SSH_CHANNEL_TCP) {
        put_text(&body, ssh_channel_target(own->channel));
        packet_put_number(&body, (uint32_t)ssh_channel_port(own->channel));
        put_text(&body, "127.0.0.1");
        packet_put_number(&body, 0);
    } else if (own->kind == SSH_CHANNEL_UNIX) {
        put_text(&body, ssh_channel_target(own->channel));
        put_text(&body, "");
        packet_put_number(&body, 0);
    }
    put_header(&own->session->out, CHANNEL_OPEN, body.length);
    buffer_append(&own->session->out, buffer_bytes(&body), body.length);
    buffer_free(&body);
    send_written(own->session);
}

static void send_exec(struct system_channel *own)
{
    const char *command = ssh_channel_target(own->channel);
    put_header(&own->session->out, CHANNEL_REQUEST, 4 + 4 + strlen("exec") + 1 + 4 + strlen(command));
    packet_put_number(&own->session->out, own->remote);
    put_text(&own->session->out, "exec");
    buffer_append(&own->session->out, "\1", 1); /* an answer is wanted */
    put_text(&own->session->out, command);
    send_written(own->session);
}

/* What waits in the channel, as far as the window and the socket take it. */
static void pump(struct system_channel *own)
{
    struct system_session *session = own->session;
    size_t length = 0;
    while (own->channel && own->confirmed && !own->eof_sent && !own->close_sent && !session->closed) {
        const char *bytes = ssh_channel_pending(own->channel, &length);
        size_t most = own->send_most < PACKET ? own->send_most : PACKET;
        most = most < own->send_window ? most : own->send_window;
        size_t part = length < most ? length : most;
        if (!part || session->out.length >= OUT_HIGH)
            break;
        put_header(&session->out, CHANNEL_DATA, 8 + part);
        packet_put_number(&session->out, own->remote);
        packet_put_string(&session->out, bytes, part);
        own->send_window -= (uint32_t)part;
        send_written(session);
        ssh_channel_taken(own->channel, part); /* own->channel is NULL when it was closed in there */
    }
    if (own->channel && own->confirmed && !own->eof_sent && !own->close_sent && !session->closed &&
        ssh_channel_ending(own->channel) && !ssh_channel_pending(own->channel, &length)) {
        own->eof_sent = true;
        send_short(own, CHANNEL_EOF);
    }
}

/* ---- the end of a channel ---- */

static void channel_remove(struct system_channel *own)
{
    struct system_channel **at = &own->session->channels;
    while (*at != own)
        at = &(*at)->next;
    *at = own->next;
    buffer_free(&own->held[0]);
    buffer_free(&own->held[1]);
    talloc_free(own);
}

static void channel_report(struct system_channel *own, const struct ssh_end *end)
{
    struct ssh_channel *channel = own->channel;
    own->channel = NULL;
    if (channel)
        ssh_report_closed(channel, end);
}

static void refuse(struct system_channel *own, enum error_kind kind, const char *todo, const char *why)
{
    static const char *const what[] = {[SSH_CHANNEL_EXEC] = "the command was not run",
                                       [SSH_CHANNEL_TCP] = "no connection through the server",
                                       [SSH_CHANNEL_UNIX] = "no connection to the socket"};
    struct ssh_end end = {.ending = SSH_REFUSED};
    error_set(&end.error, kind, ssh_host_label(own->session->host), what[own->kind], todo, "%s", why);
    channel_report(own, &end);
}

/* Tunnels have no status: the other side closed them. A command that has none did not end as commands do. */
static void finish(struct system_channel *own)
{
    struct ssh_end *end = &own->end;
    if (own->kind == SSH_CHANNEL_EXEC && !own->has_status) {
        end->ending = SSH_LOST;
        error_set(&end->error, ERROR_LOST, ssh_host_label(own->session->host), "the command ended unseen",
                  "Look whether it did what it should.", "the server closed it without an exit status");
    }
    channel_report(own, end);
}

/* True when it is over for both sides and gone. */
static bool settle(struct system_channel *own)
{
    bool holds = own->channel && (own->held[0].length || own->held[1].length);
    bool over = own->close_received || (own->eof_received && own->kind != SSH_CHANNEL_EXEC);
    if (holds || !over)
        return false;
    send_close(own);
    if (own->channel)
        finish(own);
    if (!own->close_received || own->session->closed)
        return false;
    channel_remove(own);
    return true;
}

/* ---- output ---- */

static void deliver(struct system_channel *own, int stream, const char *bytes, size_t length)
{
    struct system_session *session = own->session;
    if (own->channel && (ssh_channel_paused(own->channel) || own->held[stream - 1].length)) {
        buffer_append(&own->held[stream - 1], bytes, length);
        return;
    }
    if (own->channel)
        ssh_report_output(own->channel, stream, bytes, length);
    if (session->closed)
        return;
    own->taken += (uint32_t)length;
    if (own->taken >= WINDOW / 2 && !own->close_sent && !own->close_received)
        send_window(own);
}

void system_mux_flush(struct system_session *session)
{
    for (struct system_channel *own = session->channels, *next; own && !session->closed; own = next) {
        next = own->next;
        if (own->too_long) {
            if (own->channel)
                refuse(own, ERROR_USAGE, NULL, "it is longer than 128 kB");
            if (!session->closed)
                channel_remove(own);
            continue;
        }
        for (int i = 0; i < 2; i++)
            if (own->held[i].length && !(own->channel && ssh_channel_paused(own->channel))) {
                struct buffer held = own->held[i];
                own->held[i] = (struct buffer){0};
                deliver(own, i + 1, buffer_bytes(&held), held.length);
                buffer_free(&held);
                if (session->closed)
                    return;
            }
        settle(own);
    }
}

/* ---- reading packets ---- */

static const char *take_text(struct packet_reader *packet, size_t *length)
{
    return (const char *)packet_take_string(packet, length);
}

static unsigned take_byte(struct packet_reader *packet)
{
    if (!packet->left) {
        packet->bad = true;
        return 0;
    }
    packet->left--;
    return *packet->at++;
}

static bool is_text(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

static void take_confirmation(struct system_channel *own, struct packet_reader *packet)
{
    own->remote = packet_take_number(packet);
    own->send_window = packet_take_number(packet);
    own->send_most = packet_take_number(packet);
    if (packet->bad)
        return;
    own->confirmed = true;
    if (!own->channel)
        send_close(own);
    else if (own->kind == SSH_CHANNEL_EXEC)
        send_exec(own);
    pump(own);
}

/* "127.0.0.1:6379: connect failed: Connection refused" */
static char *refusal_text(const struct system_channel *own, uint32_t reason, const char *text, size_t length)
{
    static const char *const names[] = {"refused", "administratively prohibited", "connect failed",
                                        "unknown kind of channel", "resource shortage"};
    const char *name = names[reason < sizeof names / sizeof *names ? reason : 0];
    char said[200];
    safe_text(said, sizeof said, text, length);
    char *why = own->kind == SSH_CHANNEL_TCP && own->channel
                    ? talloc_asprintf(NULL, "%s:%d: ", ssh_channel_target(own->channel),
                                      ssh_channel_port(own->channel))
                : own->kind == SSH_CHANNEL_UNIX && own->channel
                    ? talloc_asprintf(NULL, "%s: ", ssh_channel_target(own->channel))
                    : talloc_strdup(NULL, "");
    why = talloc_asprintf_append_buffer(why, "%s%s%s", name, *said ? ": " : "", said);
    if (!why)
        abort();
    return why;
}

/* Reason 1: not allowed, 2: could not connect, 4: out of something. OpenSSH says 2 when MaxSessions is
 * reached. */
static void take_refusal(struct system_channel *own, struct packet_reader *packet)
{
    uint32_t reason = packet_take_number(packet);
    size_t length;
    const char *text = take_text(packet, &length);
    if (packet->bad)
        return;
    char *why = refusal_text(own, reason, text, length);
    if (own->kind == SSH_CHANNEL_EXEC)
        refuse(own, ERROR_SLOTS, "Too many commands may run at once: see MaxSessions in sshd_config.", why);
    else if (reason == 1)
        refuse(own, ERROR_DENIED,
               own->kind == SSH_CHANNEL_TCP ? "See AllowTcpForwarding and PermitOpen in sshd_config."
                                            : "See AllowStreamLocalForwarding in sshd_config.",
               why);
    else
        refuse(own, ERROR_REFUSED, NULL, why);
    talloc_free(why);
    if (!own->session->closed)
        channel_remove(own);
}

static void take_request(struct system_channel *own, struct packet_reader *packet)
{
    size_t length, signal_length;
    const char *name = take_text(packet, &length);
    bool answer = take_byte(packet) != 0;
    if (packet->bad)
        return;
    if (is_text(name, length, "exit-status")) {
        own->end.status = (int)packet_take_number(packet);
        own->end.ending = SSH_EXITED;
        own->has_status = !packet->bad;
    } else if (is_text(name, length, "exit-signal")) {
        const char *text = take_text(packet, &signal_length);
        own->end.ending = SSH_SIGNALLED;
        own->has_status = !packet->bad;
        safe_text(own->end.signal, sizeof own->end.signal, text, signal_length);
    }
    if (answer && own->session->out.length > OUT_MOST)
        packet->bad = true; /* it asks and asks, and reads no answer */
    else if (answer)        /* keepalive@openssh.com: any answer will do */
        send_short(own, CHANNEL_FAILURE);
}

static void take_output(struct system_channel *own, int stream, struct packet_reader *packet)
{
    size_t length;
    const char *bytes = take_text(packet, &length);
    if (length > own->may_come) { /* else it could fill our memory while the channel is paused */
        packet->bad = true;
        return;
    }
    own->may_come -= (uint32_t)length;
    if (!packet->bad && length)
        deliver(own, stream, bytes, length);
}

/* The channel may be gone afterwards, the session closed. */
static void take_packet(struct system_channel *own, unsigned type, struct packet_reader *packet)
{
    switch (type) {
    case CHANNEL_CONFIRMATION:
        take_confirmation(own, packet);
        break;
    case CHANNEL_REFUSAL:
        take_refusal(own, packet);
        break;
    case CHANNEL_WINDOW: {
        uint32_t more = packet_take_number(packet);
        own->send_window = more > UINT32_MAX - own->send_window ? UINT32_MAX : own->send_window + more;
        pump(own);
        break;
    }
    case CHANNEL_DATA:
        take_output(own, 1, packet);
        break;
    case CHANNEL_EXTENDED:
        if (packet_take_number(packet) == 1)
            take_output(own, 2, packet);
        break;
    case CHANNEL_EOF:
        own->eof_received = true;
        settle(own);
        break;
    case CHANNEL_CLOSE:
        own->close_received = true;
        settle(own);
        break;
    case CHANNEL_REQUEST:
        take_request(own, packet);
        break;
    case CHANNEL_FAILURE:
        if (own->channel) {
            refuse(own, ERROR_DENIED, NULL, "the server does not run it");
            send_close(own);
        }
        break;
    default:
        break;
    }
}

static void broken_protocol(struct system_session *session)
{
    struct error error;
    error_set(&error, ERROR_SERVER, ssh_host_label(session->host), "the connection was given up", NULL,
              "the control socket of ssh said what it should not");
    system_broken(session, &error);
}

/* Hello, then the answer to our wish for proxy mode. */
static void take_greeting(struct system_session *session, struct packet_reader *packet)
{
    struct error error;
    uint32_t type = packet_take_number(packet), number = packet_take_number(packet);
    if (session->greeting == 0 && type == MUX_HELLO && number == MUX_VERSION) {
        session->greeting = 1;
    } else if (session->greeting == 1 && type == (uint32_t)MUX_IS_PROXY) {
        session->greeting = 2;
        system_ready(session);
    } else {
        error_set(&error, ERROR_UNSUPPORTED, ssh_host_label(session->host), "the connection was given up",
                  "Use OpenSSH 7.4 or newer.", "the control socket of ssh has no proxy mode");
        system_broken(session, &error);
    }
}

static void take_message(struct system_session *session, const unsigned char *bytes, size_t length)
{
    struct packet_reader packet = {bytes, length, false};
    if (session->greeting < 2) {
        take_greeting(session, &packet);
        return;
    }
    take_byte(&packet);
    unsigned type = take_byte(&packet);
    uint32_t id = type >= CHANNEL_CONFIRMATION && type <= CHANNEL_FAILURE ? packet_take_number(&packet) : 0;
    struct system_channel *own = packet.bad ? NULL : session->channels;
    while (own && own->id != id)
        own = own->next;
    if (own)
        take_packet(own, type, &packet);
    if (packet.bad && !session->closed)
        broken_protocol(session);
}

/* Takes the whole messages that are there. */
static void take_messages(struct system_session *session)
{
    size_t at = 0;
    while (!session->closed && !session->broken && session->filled - at >= 4) {
        struct packet_reader head = {session->room + at, 4, false};
        size_t length = packet_take_number(&head);
        if (length < 2 || length > ROOM - 4) {
            broken_protocol(session);
            return;
        }
        if (session->filled - at < 4 + length)
            break;
        take_message(session, head.at, length);
        at += 4 + length;
    }
    if (at && !session->closed)
        memmove(session->room, session->room + at, session->filled - at);
    session->filled -= at;
}

/* ---- the socket ---- */

static void pump_all(struct system_session *session)
{
    for (struct system_channel *own = session->channels; own && !session->closed; own = own->next)
        pump(own);
}

static void write_socket(struct system_session *session)
{
    while (session->out.length) {
        ssize_t sent = send(session->socket, buffer_bytes(&session->out), session->out.length,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            /* What the master still had to say is in the socket: reading comes to the end of it. */
            buffer_take(&session->out, session->out.length);
            break;
        }
        if (sent < 0)
            break;
        buffer_take(&session->out, (size_t)sent);
    }
    if (session->out.length)
        ev_io_start(session->ev, &session->write);
    else
        ev_io_stop(session->ev, &session->write);
}

static void send_written(struct system_session *session)
{
    if (session->socket >= 0 && !ev_is_active(&session->write))
        write_socket(session);
}

static void on_writable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct system_session *session = watcher->data;
    (void)ev, (void)events;
    system_enter(session);
    write_socket(session);
    if (session->out.length < OUT_HIGH)
        pump_all(session);
    system_leave(session);
}

static void on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct system_session *session = watcher->data;
    size_t total = 0;
    (void)ev, (void)events;
    system_enter(session);
    while (!session->closed && !session->broken && total < ROUND_BYTES) {
        ssize_t got =
            recv(session->socket, session->room + session->filled, ROOM - session->filled, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            system_broken(session, NULL);
            break;
        }
        session->filled += (size_t)got;
        total += (size_t)got;
        take_messages(session);
    }
    system_leave(session);
}

void system_mux_start(struct system_session *session, int socket)
{
    session->socket = socket;
    session->room = talloc_array(session, unsigned char, ROOM);
    if (!session->room)
        abort();
    ev_io_init(&session->read, on_readable, socket, EV_READ);
    session->read.data = session;
    ev_io_init(&session->write, on_writable, socket, EV_WRITE);
    session->write.data = session;
    ev_io_start(session->ev, &session->read);
    packet_put_number(&session->out, 8);
    packet_put_number(&session->out, MUX_HELLO);
    packet_put_number(&session->out, MUX_VERSION);
    packet_put_number(&session->out, 8);
    packet_put_number(&session->out, MUX_PROXY);
    packet_put_number(&session->out, 0); /* the number of the request */
    write_socket(session);
}

void system_mux_free(struct system_session *session)
{
    if (session->socket >= 0) {
        ev_io_stop(session->ev, &session->read);
        ev_io_stop(session->ev, &session->write);
        close(session->socket);
        session->socket = -1;
    }
    while (session->channels)
        channel_remove(session->channels);
    buffer_free(&session->out);
}

void system_mux_forget(struct system_session *session)
{
    for (struct system_channel *own = session->channels; own; own = own->next)
        own->channel = NULL;
}

/* ---- what the pool asks for ---- */

void *system_channel_open(void *opened, struct ssh_channel *channel)
{
    struct system_session *session = opened;
    struct system_channel *own = talloc_zero(session, struct system_channel);
    if (!own)
        abort();
    own->session = session;
    own->channel = channel;
    own->kind = ssh_channel_kind(channel);
    own->id = session->next_id++;
    own->may_come = WINDOW;
    own->next = session->channels;
    session->channels = own;
    own->too_long = strlen(ssh_channel_target(channel)) > TARGET_MOST;
    if (own->too_long)
        ev_timer_start(session->ev, &session->later);
    else if (!session->broken)
        send_open(own);
    return own;
}

void system_channel_changed(void *channel)
{
    struct system_channel *own = channel;
    struct system_session *session = own->session;
    system_enter(session);
    if ((own->held[0].length || own->held[1].length) && !ssh_channel_paused(own->channel))
        ev_timer_start(session->ev, &session->later);
    pump(own);
    system_leave(session);
}

void system_channel_close(void *channel)
{
    struct system_channel *own = channel;
    own->channel = NULL;
    send_close(own);
    if (own->close_received || own->too_long)
        ev_timer_start(own->session->ev, &own->session->later);
}
