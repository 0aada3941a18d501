/*
 * Transport two: the system's `ssh` as a ControlMaster, one child a host. It does what libssh2 cannot; it
 * asks nobody and adds no key. Channels go through its control socket (system_mux.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/base64.h"
#include "backends/ssh/known_hosts.h"
#include "backends/ssh/system_internal.h"
#include "core/clock.h"
#include "core/files.h"

#define DEADLINE_S 15    /* of opening, and as long again for each jump */
#define KNOCK_S 0.003    /* between two tries of the socket, once ssh has said that it is let in */
#define LAST_WORDS_S 0.5 /* after the socket was closed */

/* ---- life ---- */

static void session_stop(struct system_session *session)
{
    ev_io_stop(session->ev, &session->errors);
    ev_io_stop(session->ev, &session->ended);
    ev_timer_stop(session->ev, &session->deadline);
    ev_timer_stop(session->ev, &session->knock);
    ev_timer_stop(session->ev, &session->later);
    if (session->socket >= 0) {
        ev_io_stop(session->ev, &session->read);
        ev_io_stop(session->ev, &session->write);
    }
    child_kill(&session->master, ssh_host_loop(session->host));
    system_place_remove(session);
}

void system_enter(struct system_session *session)
{
    session->depth++;
}

void system_leave(struct system_session *session)
{
    if (--session->depth || !session->closed)
        return;
    system_mux_free(session);
    talloc_free(session);
}

static void session_close(void *data)
{
    struct system_session *session = data;
    system_enter(session);
    session->closed = true;
    system_mux_forget(session);
    session_stop(session);
    system_leave(session);
}

static void fail(struct system_session *session, const struct ssh_failure *failure)
{
    struct ssh_failure copy = *failure;
    system_enter(session);
    if (session->up)
        ssh_report_lost(session->host, &copy.error);
    else
        ssh_report_failed(session->host, &copy);
    system_leave(session);
}

/* ---- standard error ---- */

/* Keeps the end of what was said. */
static void keep(struct system_session *session, const char *bytes, size_t length)
{
    size_t room = sizeof session->said - 1;
    if (length > room) {
        bytes += length - room;
        length = room;
    }
    if (session->said_length + length > room) {
        size_t gone = session->said_length + length - room;
        memmove(session->said, session->said + gone, session->said_length - gone);
        session->said_length -= gone;
    }
    for (size_t i = 0; i < length; i++)
        session->said[session->said_length + i] = bytes[i] ? bytes[i] : ' ';
    session->said_length += length;
    session->said[session->said_length] = '\0';
}

/* False at the end of it. */
static bool read_errors(struct system_session *session)
{
    char room[4096];
    for (;;) {
        ssize_t got = read(session->master.err, room, sizeof room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        keep(session, room, (size_t)got);
    }
}

static void on_errors(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct system_session *session = watcher->data;
    (void)events;
    if (!read_errors(session))
        ev_io_stop(ev, watcher);
    if (!session->authenticated && strstr(session->said, "Authenticated to ")) {
        session->authenticated = true;
        ev_timer_again(ev, &session->knock);
        ev_feed_event(ev, &session->knock, EV_TIMER);
    }
}

/* ---- the control socket ---- */

static void on_knock(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct system_session *session = timer->data;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)events;
    if (session->socket >= 0)
        return;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strncpy(address.sun_path, session->socket_path, sizeof address.sun_path - 1);
    if (file < 0 || connect(file, (struct sockaddr *)&address, sizeof address) != 0) {
        if (file >= 0)
            close(file);
        return;
    }
    ev_timer_stop(ev, timer);
    system_enter(session);
    system_mux_start(session, file);
    system_leave(session);
}

void system_ready(struct system_session *session)
{
    ev_timer_stop(session->ev, &session->deadline);
    session->up = true;
    session->said_length = 0;
    session->said[0] = '\0';
    ssh_report_up(session->host, 1e3 * (clock_monotonic() - session->began));
}

/* The master says on standard error why, and ends. */
void system_broken(struct system_session *session, const struct error *error)
{
    if (session->broken || session->closed)
        return;
    session->broken = true;
    if (error)
        session->breakage = *error;
    ev_io_stop(session->ev, &session->read);
    ev_io_stop(session->ev, &session->write);
    ev_timer_stop(session->ev, &session->knock);
    ev_now_update(session->ev);
    session->deadline.repeat = LAST_WORDS_S;
    ev_timer_again(session->ev, &session->deadline);
}

/* ---- starting ---- */

static bool start_master(struct system_session *session, struct error *error)
{
    char *key_file = session->collecting ? talloc_asprintf(session, "%s/key", session->folder) : NULL;
    const char **argv = system_master_argv(session, session, key_file);
    bool started = child_start(&session->master, argv, false, true, error);
    talloc_free(argv);
    talloc_free(key_file);
    if (!started)
        return error_set(error, error->kind, ssh_host_label(session->host), error->what, error->todo, "%s",
                         error->why);
    ev_io_set(&session->errors, session->master.err, EV_READ);
    ev_io_start(session->ev, &session->errors);
    ev_io_set(&session->ended, session->master.ended, EV_READ);
    ev_io_start(session->ev, &session->ended);
    return true;
}

/* "ssh-ed25519 AAAA..." as KnownHostsCommand was given it. */
static unsigned char *collected_key(struct system_session *session, size_t *length)
{
    struct error error;
    char *path = talloc_asprintf(session, "%s/key", session->folder);
    char *text = files_read(session, path, 64 * 1024, NULL, &error);
    const char *body = text ? strchr(text, ' ') : NULL;
    unsigned char *key = body ? base64_decode(session, body + 1, strcspn(body + 1, "\r\n "), length) : NULL;
    talloc_free(path);
    talloc_free(text);
    return key;
}

/* Runs once more, with a command that is shown the key: ssh does not print it. */
static bool collect(struct system_session *session)
{
    struct error error;
    if (session->collecting || ssh_host_settings(session->host)->known_hosts_command)
        return false;
    ev_io_stop(session->ev, &session->errors);
    ev_io_stop(session->ev, &session->ended);
    child_kill(&session->master, ssh_host_loop(session->host));
    session->collecting = true;
    session->said_length = 0;
    session->said[0] = '\0';
    return start_master(session, &error);
}

/* ---- the end ---- */

static void fail_as_said(struct system_session *session)
{
    struct ssh_failure failure = {0};
    enum system_trouble trouble = system_explain(session->said, ssh_host_settings(session->host),
                                                 ssh_host_label(session->host), &failure.error);
    if (session->breakage.kind)
        failure.error = session->breakage;
    else if (session->up)
        error_set(&failure.error, failure.error.kind == ERROR_TIMEOUT ? ERROR_TIMEOUT : ERROR_LOST,
                  failure.error.where, "the connection broke", NULL, "%s", failure.error.why);
    if (!session->up && trouble == TROUBLE_UNKNOWN_KEY) {
        if (collect(session))
            return;
        failure.unknown_key = collected_key(session, &failure.unknown_key_length);
        if (failure.unknown_key)
            known_hosts_explain_unknown(ssh_host_settings(session->host), ssh_host_label(session->host),
                                        failure.unknown_key, failure.unknown_key_length, &failure.error);
    }
    fail(session, &failure);
}

static void on_ended(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct system_session *session = watcher->data;
    (void)ev, (void)events;
    if (!child_reap(&session->master, NULL))
        return;
    ev_io_stop(ev, watcher);
    read_errors(session);
    fail_as_said(session);
}

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct system_session *session = timer->data;
    struct ssh_failure failure = {0};
    (void)ev, (void)events;
    if (session->broken) {
        read_errors(session);
        fail_as_said(session);
        return;
    }
    error_set(&failure.error, ERROR_TIMEOUT, ssh_host_label(session->host), "cannot connect", NULL,
              "ssh was not there after %.0f s%s", clock_monotonic() - session->began,
              session->authenticated ? ", though the server let it in" : "");
    fail(session, &failure);
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct system_session *session = timer->data;
    (void)ev, (void)events;
    system_enter(session);
    if (session->beginning.kind) {
        struct ssh_failure failure = {.error = session->beginning};
        fail(session, &failure);
    } else {
        system_mux_flush(session);
    }
    system_leave(session);
}

/* ---- the pool's side ---- */

static void *session_open(struct ssh_host *host)
{
    struct system_session *session = talloc_zero(NULL, struct system_session);
    if (!session)
        abort();
    session->host = host;
    session->ev = loop_ev(ssh_host_loop(host));
    session->socket = -1;
    session->master = (struct child){.ended = -1, .out = -1, .err = -1};
    session->began = clock_monotonic();
    ev_init(&session->errors, on_errors);
    ev_init(&session->ended, on_ended);
    ev_timer_init(&session->knock, on_knock, KNOCK_S, KNOCK_S);
    ev_timer_init(&session->later, on_later, 0, 0);
    ev_init(&session->deadline, on_deadline);
    session->errors.data = session->ended.data = session;
    session->knock.data = session->later.data = session->deadline.data = session;
    if (!system_place_make(session, &session->beginning) || !start_master(session, &session->beginning)) {
        ev_timer_start(session->ev, &session->later);
        return session;
    }
    ev_now_update(session->ev);
    session->deadline.repeat = DEADLINE_S * (double)(1 + ssh_host_settings(host)->hop_count);
    ev_timer_again(session->ev, &session->deadline);
    return session;
}

const char *system_socket_path(const void *session)
{
    return ((const struct system_session *)session)->socket_path;
}

const struct ssh_transport_ops ssh_transport_system = {
    .open = session_open,
    .close = session_close,
    .channel_open = system_channel_open,
    .channel_changed = system_channel_changed,
    .channel_close = system_channel_close,
};
