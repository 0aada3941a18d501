/*
 * The channels of a session of libssh2: opened one at a time, read as far as the turn's budget goes, written
 * as far as the window and the wire take it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/libssh2_internal.h"
#include "backends/ssh/packet.h"
#include "core/clock.h"
#include "core/text.h"

#define OPEN_S 20.0 /* the other side may wait for a dead host: the user does not */

enum { CHUNK = 32 * 1024, NO_STREAM = 77 };

enum lib_channel_phase {
    CHANNEL_QUEUED,
    CHANNEL_OPENING,
    CHANNEL_STARTING, /* the command is asked for */
    CHANNEL_RUNNING,
    CHANNEL_ENDED,   /* everything was read; waits for how it ended */
    CHANNEL_CLOSING, /* the user has it no more; waits for the other side */
    CHANNEL_GONE,
};

struct lib_channel {
    struct lib_channel *next;
    struct lib_session *session;
    struct ssh_channel *channel; /* NULL: the user closed it */
    enum lib_channel_phase phase;
    LIBSSH2_CHANNEL *handle;
    const char *type;
    char *message; /* what the request to open it carries besides; libssh2 wants it until it is sent */
    size_t message_length;
    double asked; /* when it was asked to open; clock_monotonic */
    bool end_sent;
};

/* ---- ends ---- */

static void report(struct lib_channel *c, const struct ssh_end *end)
{
    struct ssh_channel *channel = c->channel;
    c->channel = NULL;
    if (channel)
        ssh_report_closed(channel, end);
}

static void refuse(struct lib_channel *c, enum error_kind kind, const char *what, const char *todo,
                   const char *why)
{
    struct ssh_end end = {.ending = SSH_REFUSED};
    error_set(&end.error, kind, ssh_host_label(c->session->host), what, todo, "%s", why);
    report(c, &end);
}

static void describe_target(const struct lib_channel *c, char *what, size_t size)
{
    const char *target = ssh_channel_target(c->channel);
    if (ssh_channel_kind(c->channel) == SSH_CHANNEL_TCP)
        snprintf(what, size, "cannot reach %s port %d from there", target, ssh_channel_port(c->channel));
    else
        snprintf(what, size, "cannot reach %s there", target);
}

static void refuse_open(struct lib_channel *c)
{
    char *text = NULL;
    libssh2_session_last_error(c->session->ssh, &text, NULL, 0);
    if (!c->channel)
        return;
    enum ssh_channel_kind kind = ssh_channel_kind(c->channel);
    const char *target = ssh_channel_target(c->channel);
    char what[192];
    if (kind == SSH_CHANNEL_TCP)
        snprintf(what, sizeof what, "cannot reach %s port %d from there", target,
                 ssh_channel_port(c->channel));
    else
        snprintf(what, sizeof what, "cannot %s %s there", kind == SSH_CHANNEL_UNIX ? "reach" : "run", target);
    bool prohibited = text && strstr(text, "prohibited"), failed = text && strstr(text, "connect failed");
    if (kind == SSH_CHANNEL_EXEC)
        refuse(c, ERROR_SLOTS, "cannot open another session on this connection",
               "MaxSessions in its sshd_config limits them (10 unless set); something else must end first.",
               "the server refuses one more");
    else if (prohibited)
        refuse(c, ERROR_DENIED, what,
               "Its sshd_config must allow it: AllowTcpForwarding, AllowStreamLocalForwarding, PermitOpen.",
               "forwarding is not permitted there");
    else if (failed)
        refuse(c, ERROR_REFUSED, what, "Does it run there, and listen on that address?",
               kind == SSH_CHANNEL_UNIX ? "the connection failed: no such socket, or no permission"
                                        : "the connection failed: refused, unknown name or no route");
    else
        refuse(c, ERROR_REFUSED, what, NULL, text ? text : "refused");
}

static void report_exit(struct lib_channel *c)
{
    struct ssh_end end = {.ending = SSH_EXITED};
    char *signal = NULL;
    size_t length = 0;
    libssh2_channel_get_exit_signal(c->handle, &signal, &length, NULL, NULL, NULL, NULL);
    if (signal && length) {
        end.ending = SSH_SIGNALLED;
        safe_text(end.signal, sizeof end.signal, signal, length);
        error_set(&end.error, ERROR_SERVER, ssh_host_label(c->session->host), NULL, NULL,
                  "the command died of signal %s", end.signal);
    } else {
        end.status = libssh2_channel_get_exit_status(c->handle);
    }
    if (signal)
        libssh2_free(c->session->ssh, signal);
    report(c, &end);
}

/* ---- opening ---- */

/* What OpenSSH's PROTOCOL and RFC 4254 7.2 want behind the type. */
static void make_message(struct lib_channel *c)
{
    struct buffer out = {0};
    const char *target = ssh_channel_target(c->channel);
    packet_put_string(&out, target, strlen(target));
    if (ssh_channel_kind(c->channel) == SSH_CHANNEL_TCP) {
        packet_put_number(&out, (size_t)ssh_channel_port(c->channel));
        packet_put_string(&out, "127.0.0.1", 9);
        packet_put_number(&out, 0);
    } else {
        packet_put_string(&out, "", 0);
        packet_put_number(&out, 0);
    }
    c->message_length = out.length;
    c->message = talloc_memdup(c, buffer_bytes(&out), out.length);
    buffer_free(&out);
}

static const char *type_of(const struct lib_channel *c)
{
    static const char *const types[] = {[SSH_CHANNEL_EXEC] = "session",
                                        [SSH_CHANNEL_TCP] = "direct-tcpip",
                                        [SSH_CHANNEL_UNIX] = "direct-streamlocal@openssh.com"};
    return types[ssh_channel_kind(c->channel)];
}

static LIBSSH2_CHANNEL *open_handle(struct lib_session *session, const char *type, const char *message,
                                    size_t length)
{
    return libssh2_channel_open_ex(session->ssh, type, (unsigned)strlen(type), WINDOW, PACKET, message,
                                   (unsigned)length);
}

static void begin_opening(struct lib_channel *c)
{
    c->phase = CHANNEL_OPENING;
    c->asked = clock_monotonic();
    c->session->opening = c;
    c->type = type_of(c);
    if (ssh_channel_kind(c->channel) != SSH_CHANNEL_EXEC)
        make_message(c);
}

static void give_up_waiting(struct lib_channel *c)
{
    if (!c->channel || clock_monotonic() - c->asked < OPEN_S)
        return;
    bool exec = ssh_channel_kind(c->channel) == SSH_CHANNEL_EXEC;
    char what[192];
    describe_target(c, what, sizeof what);
    refuse(c, ERROR_TIMEOUT, exec ? "cannot open another session on this connection" : what,
           exec ? NULL : "Is it up, and does a firewall let that host through?", "no answer");
}

static void step_opening(struct lib_session *session)
{
    struct lib_channel *c = session->opening;
    LIBSSH2_CHANNEL *handle = open_handle(session, c->type, c->message, c->message_length);
    int code = handle ? 0 : libssh2_session_last_errno(session->ssh);
    if (code == LIBSSH2_ERROR_EAGAIN) {
        give_up_waiting(c);
        return;
    }
    session->opening = NULL;
    c->handle = handle;
    if (!handle) {
        c->phase = CHANNEL_GONE;
        if (!session->wire.broken && !session->wire.ended)
            refuse_open(c);
        return;
    }
    if (!c->channel)
        c->phase = CHANNEL_CLOSING;
    else
        c->phase = ssh_channel_kind(c->channel) == SSH_CHANNEL_EXEC ? CHANNEL_STARTING : CHANNEL_RUNNING;
}

static void step_starting(struct lib_channel *c)
{
    if (!c->channel) {
        c->phase = CHANNEL_CLOSING;
        return;
    }
    const char *command = ssh_channel_target(c->channel);
    int code = libssh2_channel_process_startup(c->handle, "exec", 4, command, (unsigned)strlen(command));
    if (code == LIBSSH2_ERROR_EAGAIN)
        return;
    c->phase = code ? CHANNEL_CLOSING : CHANNEL_RUNNING;
    if (code && !c->session->wire.broken && !c->session->wire.ended)
        refuse(c, ERROR_DENIED, "cannot run a command there",
               "authorized_keys or its sshd_config may restrict this key.",
               "the server refuses to run commands");
}

/* ---- reading and writing ---- */

/* Bytes of one stream. False when the channel is of no more use in this turn. */
static bool read_stream(struct lib_channel *c, int stream, bool *came)
{
    char bytes[CHUNK];
    while (c->channel && !ssh_channel_paused(c->channel)) {
        ssize_t n = libssh2_channel_read_ex(c->handle, stream - 1, bytes, sizeof bytes);
        if (n <= 0)
            return n == 0 || n == LIBSSH2_ERROR_EAGAIN;
        *came = true;
        if (!ssh_report_output(c->channel, stream, bytes, (size_t)n) || c->session->closed)
            return false;
        if (c->session->wire.budget == 0)
            break;
    }
    return c->channel;
}

static void read_channel(struct lib_channel *c)
{
    bool came = false, exec = ssh_channel_kind(c->channel) == SSH_CHANNEL_EXEC;
    if (!read_stream(c, 1, &came) || (exec && !read_stream(c, 2, &came)) || !c->channel)
        return;
    if (ssh_channel_paused(c->channel)) { /* what is not data of it must be taken still */
        char byte;
        libssh2_channel_read_ex(c->handle, NO_STREAM, &byte, 1);
        return;
    }
    if (!libssh2_channel_eof(c->handle))
        return;
    if (exec) {
        c->phase = CHANNEL_ENDED;
    } else {
        struct ssh_end end = {.ending = SSH_EXITED};
        c->phase = CHANNEL_CLOSING;
        report(c, &end);
    }
}

static void write_channel(struct lib_channel *c)
{
    size_t length;
    const char *bytes;
    while (c->channel && wire_unsent(c->session) < OUT_HIGH &&
           (bytes = ssh_channel_pending(c->channel, &length))) {
        ssize_t n = libssh2_channel_write_ex(c->handle, 0, bytes, length);
        if (n <= 0)
            return;
        if (!ssh_channel_taken(c->channel, (size_t)n) || c->session->closed)
            return;
    }
    if (c->channel && !c->end_sent && ssh_channel_ending(c->channel) &&
        !ssh_channel_pending(c->channel, &length))
        c->end_sent = libssh2_channel_send_eof(c->handle) != LIBSSH2_ERROR_EAGAIN;
}

/* The exit status comes before the other side closes. */
static void step_ended(struct lib_channel *c)
{
    int code = libssh2_channel_wait_closed(c->handle);
    if (code == LIBSSH2_ERROR_EAGAIN || (code && (c->session->wire.ended || c->session->wire.broken)))
        return;
    c->phase = CHANNEL_CLOSING;
    report_exit(c);
}

static void step_closing(struct lib_channel *c)
{
    if (libssh2_channel_free(c->handle) == LIBSSH2_ERROR_EAGAIN)
        return;
    c->handle = NULL;
    c->phase = CHANNEL_GONE;
}

/* ---- a turn ---- */

static void step_channel(struct lib_channel *c)
{
    if (c->phase == CHANNEL_QUEUED && !c->session->opening && !c->session->probing)
        begin_opening(c);
    if (c->phase == CHANNEL_OPENING)
        step_opening(c->session);
    if (c->phase == CHANNEL_STARTING && !c->session->closed)
        step_starting(c);
    if (c->phase == CHANNEL_RUNNING && !c->session->closed)
        write_channel(c);
    if (c->phase == CHANNEL_RUNNING && !c->session->closed && c->channel)
        read_channel(c);
    if (c->phase == CHANNEL_ENDED && !c->session->closed)
        step_ended(c);
    if (c->phase == CHANNEL_CLOSING && !c->session->closed)
        step_closing(c);
}

static void sweep(struct lib_session *session)
{
    for (struct lib_channel **at = &session->channels; *at;) {
        struct lib_channel *c = *at;
        if (c->phase != CHANNEL_GONE || c->channel) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        talloc_free(c);
    }
}

static void step_probe(struct lib_session *session)
{
    static const char type[] = "alive@signalbox"; /* no server knows it: the answer is a refusal */
    LIBSSH2_CHANNEL *handle = open_handle(session, type, NULL, 0);
    if (!handle && libssh2_session_last_errno(session->ssh) == LIBSSH2_ERROR_EAGAIN)
        return;
    session->probing = false;
    if (handle)
        libssh2_channel_free(handle);
}

void lib_channels_probe(struct lib_session *session)
{
    if (!session->opening && !session->probing) {
        session->probing = true;
        session_wake(session);
    } else if (session->opening) {
        libssh2_keepalive_config(session->ssh, 1, 2);
        libssh2_keepalive_send(session->ssh, NULL);
    }
}

/* A side session takes the first one that waits at the main one. */
static void take_waiting(struct lib_session *side)
{
    struct lib_channel **at = &side->main->channels, **end = &side->channels;
    while (*at && (*at)->phase != CHANNEL_QUEUED)
        at = &(*at)->next;
    while (*end)
        end = &(*end)->next;
    struct lib_channel *c = *at;
    if (!c)
        return;
    *at = c->next;
    c->next = NULL;
    c->session = side;
    *end = c;
}

void lib_channels_step(struct lib_session *session)
{
    struct wire *w = &session->wire;
    if (session->probing)
        step_probe(session);
    if (session->main && !session->opening && !session->probing)
        take_waiting(session);
    for (struct lib_channel *c = session->channels; c && !session->closed; c = c->next)
        step_channel(c);
    if (session->closed)
        return;
    sweep(session);
    struct lib_session *queue = session->main ? session->main : session;
    if (lib_channels_wait(queue)) {
        if (!session->opening && !session->probing)
            session_wake(session);
        else
            side_hurry(queue);
    }
    /* Nobody reads, but something came: an end, or a question of the server. The answer to ours comes
     * behind it. */
    if (!session->channels && !session->probing && wire_look(session) && !w->ended && !w->broken)
        lib_channels_probe(session);
    if (w->ended && w->in.length == 0)
        session_fail_code(session, NULL, 0);
}

bool lib_channels_wait(const struct lib_session *session)
{
    const struct lib_channel *c = session->channels;
    while (c && c->phase != CHANNEL_QUEUED)
        c = c->next;
    return c;
}

bool lib_channels_hopeless(const struct lib_session *session)
{
    const struct lib_channel *c = session->channels;
    return c && !c->next && c == session->opening && !c->channel;
}

void lib_channels_end(struct lib_session *session, const struct error *error)
{
    while (session->channels) {
        struct lib_channel *c = session->channels;
        struct ssh_end end = {.ending = c->phase > CHANNEL_OPENING ? SSH_LOST : SSH_REFUSED, .error = *error};
        session->channels = c->next;
        report(c, &end);
        talloc_free(c);
    }
}

void lib_channels_free(struct lib_session *session)
{
    while (session->channels) {
        struct lib_channel *c = session->channels;
        session->channels = c->next;
        talloc_free(c);
    }
}

/* ---- what the pool calls ---- */

void *lib_channel_open(void *session_data, struct ssh_channel *channel)
{
    struct lib_session *session = session_data;
    struct lib_channel *c = talloc_zero(NULL, struct lib_channel), **at = &session->channels;
    if (!c)
        abort();
    c->session = session;
    c->channel = channel;
    while (*at)
        at = &(*at)->next;
    *at = c;
    session_wake(session);
    return c;
}

void lib_channel_changed(void *channel_data)
{
    struct lib_channel *c = channel_data;
    session_wake(c->session);
}

void lib_channel_close(void *channel_data)
{
    struct lib_channel *c = channel_data;
    c->channel = NULL;
    if (c->phase == CHANNEL_QUEUED)
        c->phase = CHANNEL_GONE;
    else if (c->phase > CHANNEL_STARTING && c->phase < CHANNEL_CLOSING)
        c->phase = CHANNEL_CLOSING;
    session_wake(c->session);
}
