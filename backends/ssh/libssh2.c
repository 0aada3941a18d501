/*
 * Transport one: libssh2, never blocking, on the loop. One session: the way to the server, the handshake, the
 * check of its key, authentication, and then the channels until it breaks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/libssh2_internal.h"
#include "core/clock.h"

#define HANDSHAKE_S 15.0
#define PATH_S 90.0 /* until the bastion is up, which may have to ask its user */
#define PATH_LOOK_S 1.5
#define LOOK_S 5.0   /* how often it is looked whether the other side lives */
#define QUIET_S 15.0 /* after so much silence it is asked, and has the same time to answer */

/* ---- failures ---- */

void session_release(struct lib_session *session)
{
    if (--session->depth > 0 || !session->closed)
        return;
    auth_cancel(session);
    lib_channels_free(session);
    /* With the wire closed nothing of this waits for the other side. A handshake that is cut off lets go of
     * its keys only when it is told so. */
    if (session->shaking)
        libssh2_session_handshake(session->ssh, lib_turns_no_socket(session->turns));
    if (session->ssh)
        libssh2_session_free(session->ssh);
    talloc_free(session->known);
    free(session->farewell);
    talloc_free(session);
}

void session_fail(struct lib_session *session, const struct ssh_failure *failure)
{
    if (session->closed)
        return;
    session->depth++;
    if (session->main)
        side_fail(session, &failure->error);
    else if (session->phase == LIB_UP)
        ssh_report_lost(session->host, &failure->error);
    else
        ssh_report_failed(session->host, failure);
    session_release(session);
}

void session_fail_with(struct lib_session *session, enum error_kind kind, const char *what, const char *todo,
                       const char *why_format, ...)
{
    struct ssh_failure failure = {0};
    char why[sizeof failure.error.why];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    error_set(&failure.error, kind, ssh_host_label(session->host), what, todo, "%s", why);
    session_fail(session, &failure);
}

/* The bastion's reason, with whom it was to reach. */
static void fail_at_bastion(struct lib_session *session)
{
    const struct error *error = &session->wire.error;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    char what[192];
    snprintf(what, sizeof what, "cannot reach it through %s", s->hops[0].destination);
    struct ssh_failure failure = {.error = *error};
    error_set(&failure.error, error->kind ? error->kind : ERROR_LOST, ssh_host_label(session->host), what,
              error->todo, "%s%s%s%s%s", error->where, *error->where ? ": " : "", error->what,
              *error->what ? ": " : "", error->why);
    session_fail(session, &failure);
}

/* It closed or reset the connection before it had shaken hands: there is no place for one more, or it does
 * not want us. */
static void fail_early(struct lib_session *session, const char *what)
{
    const char *said = libssh2_session_banner_get(session->ssh);
    bool full = said && strstr(said, "MaxStartups"), words = said && strncmp(said, "SSH-", 4) != 0;
    struct ssh_failure failure = {.again = true};
    error_set(&failure.error, full ? ERROR_SLOTS : ERROR_REFUSED, ssh_host_label(session->host), what,
              full ? "Too many connections at once knock there; it is tried again."
                   : "Its log says why: MaxStartups, a banned address (fail2ban), tcp wrappers.",
              "the server closed the connection %s%s%s", words ? "with the words \"" : "before the handshake",
              words ? said : "", words ? "\"" : "");
    session_fail(session, &failure);
}

void session_fail_code(struct lib_session *session, const char *what, int code)
{
    struct wire *w = &session->wire;
    char *text = NULL;
    libssh2_session_last_error(session->ssh, &text, NULL, 0);
    bool early = session->phase == LIB_HANDSHAKE && !session->farewell;
    if (ssh_host_settings(session->host)->hop_count && w->error.kind)
        fail_at_bastion(session);
    else if (early && (w->ended || w->broken) && w->error.kind != ERROR_TIMEOUT)
        fail_early(session, what);
    else if (w->broken)
        session_fail_with(session, w->error.kind, what, NULL, "%s", w->error.why);
    else if (session->farewell)
        session_fail_with(session, ERROR_LOST, what, NULL, "the server disconnected: %s", session->farewell);
    else if (w->ended)
        session_fail_with(session, ERROR_LOST, what, NULL, "the server closed the connection");
    else
        session_fail_with(session, ERROR_SERVER, what, NULL, "libssh2: %s (%d)", text ? text : "no reason",
                          code);
}

/* ---- the handshake ---- */

static bool is_supported(const char *const *known, int count, const char *name, size_t length)
{
    if (strncmp(name, "diffie-hellman-group18", 22) == 0) /* takes 0.2 s in one call */
        return false;
    for (int i = 0; i < count; i++)
        if (strlen(known[i]) == length && strncmp(known[i], name, length) == 0)
            return true;
    return false;
}

/* The list of ssh_config without what libssh2 does not know (1.10 takes such lists, but copies overlapping
 * memory then). A list of which nothing stays is for the other transport. */
static bool prefer(struct lib_session *session, int method, const char *list)
{
    const char **known = NULL;
    if (!list)
        return true;
    int count = libssh2_session_supported_algs(session->ssh, method, &known);
    if (count <= 0)
        return false;
    char *kept = talloc_strdup(NULL, "");
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ",");
        if (is_supported(known, count, at, length))
            kept = talloc_asprintf_append(kept, "%s%.*s", *kept ? "," : "", (int)length, at);
        at += length + (at[length] == ',');
    }
    bool possible = *kept && libssh2_session_method_pref(session->ssh, method, kept) == 0;
    libssh2_free(session->ssh, known);
    talloc_free(kept);
    return possible;
}

static bool set_methods(struct lib_session *session)
{
    const struct ssh_settings *s = ssh_host_settings(session->host);
    const char *types = known_hosts_algorithms(session->known, session->known);
    return prefer(session, LIBSSH2_METHOD_HOSTKEY, types ? types : s->host_key_algorithms) &&
           prefer(session, LIBSSH2_METHOD_KEX, s->kex_algorithms) &&
           prefer(session, LIBSSH2_METHOD_CRYPT_CS, s->ciphers) &&
           prefer(session, LIBSSH2_METHOD_CRYPT_SC, s->ciphers) &&
           prefer(session, LIBSSH2_METHOD_MAC_CS, s->macs) && prefer(session, LIBSSH2_METHOD_MAC_SC, s->macs);
}

#define AUTHORITY "a certificate authority for host keys is on file: libssh2 knows no certificates"
#define NO_COMMON "no host key, key exchange, cipher or MAC in common with libssh2 " LIBSSH2_VERSION

static void fail_unfit(struct lib_session *session, const char *reason)
{
    struct ssh_failure failure = {.other = reason};
    error_set(&failure.error, ERROR_UNSUPPORTED, ssh_host_label(session->host), "cannot shake hands",
              "The system's ssh may do better: `transport: auto`.", "%s", reason);
    session_fail(session, &failure);
}

/* libssh2 1.10 forgets the keys of an exchange in whose middle it is freed: its memory goes with the session.
 */
static void *library_alloc(size_t size, void **abstract)
{
    return session_alloc(*abstract, size);
}

static void library_free(void *memory, void **abstract)
{
    (void)abstract;
    if (!memory)
        return;
    /* Passwords and answers pass through it, and the keys of the session. */
    explicit_bzero(memory, talloc_get_size(memory));
    talloc_free(memory);
}

static void *library_realloc(void *memory, size_t size, void **abstract)
{
    struct lib_session *session = *abstract;
    return talloc_realloc_size(session->memory, memory, size);
}

void *session_alloc(struct lib_session *session, size_t size)
{
    return talloc_size(session->memory, size);
}

/* The socket is there, or the channel of the bastion is on its way. */
void session_connected(struct lib_session *session)
{
    session->memory = talloc_new(session);
    session->ssh = libssh2_session_init_ex(library_alloc, library_free, library_realloc, session);
    if (!session->ssh)
        abort();
    libssh2_session_set_blocking(session->ssh, 0);
    libssh2_session_flag(session->ssh, LIBSSH2_FLAG_SIGPIPE, 1);
    wire_set_callbacks(session);
    session->phase = LIB_HANDSHAKE;
    session->began = clock_monotonic();
    if (session->wire.fd >= 0)
        session_set_deadline(session, HANDSHAKE_S);
    if (known_hosts_has_authority(session->known) && !known_hosts_algorithms(session->known, session->known))
        fail_unfit(session, AUTHORITY);
    else if (!set_methods(session))
        fail_unfit(session, NO_COMMON);
    else
        session_wake(session);
}

static void fail_unknown_key(struct lib_session *session, const unsigned char *key, size_t length,
                             const struct error *error)
{
    struct ssh_failure failure = {.error = *error, .unknown_key = key, .unknown_key_length = length};
    session_fail(session, &failure);
}

/* Before anything is said of who we are. */
static void check_key(struct lib_session *session)
{
    size_t length;
    int type;
    struct error error;
    const char *raw = libssh2_session_hostkey(session->ssh, &length, &type);
    const unsigned char *key = (const unsigned char *)raw;
    enum known_verdict verdict =
        raw ? known_hosts_check(session->known, ssh_host_label(session->host), key, length, &error)
            : KNOWN_CHANGED;
    if (!raw)
        session_fail_with(session, ERROR_SERVER, "cannot check its key", NULL, "it showed none");
    else if (verdict == KNOWN_OK)
        auth_start(session);
    else if (verdict == KNOWN_AUTHORITY_ONLY)
        fail_unfit(session, AUTHORITY);
    else if (verdict == KNOWN_UNKNOWN)
        fail_unknown_key(session, key, length, &error);
    else {
        struct ssh_failure failure = {.error = error};
        session_fail(session, &failure);
    }
}

static void step_handshake(struct lib_session *session)
{
    uint64_t before = session->wire.received;
    int fd = session->wire.fd >= 0 ? session->wire.fd : lib_turns_no_socket(session->turns);
    int code = libssh2_session_handshake(session->ssh, fd);
    if (session->wire.fd < 0 && before == 0 && session->wire.received > 0) {
        session->began = clock_monotonic(); /* the way through the bastion is there */
        session_set_deadline(session, HANDSHAKE_S);
    }
    session->shaking = code == LIBSSH2_ERROR_EAGAIN;
    if (session->shaking)
        return;
    session->handshake_ms = (clock_monotonic() - session->began) * 1000;
    struct wire *w = &session->wire;
    bool unfit = code == LIBSSH2_ERROR_KEX_FAILURE || code == LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE ||
                 code == LIBSSH2_ERROR_METHOD_NONE;
    if (code == 0)
        check_key(session);
    else if (unfit && !w->ended && !w->broken && !session->farewell)
        fail_unfit(session, NO_COMMON);
    else
        session_fail_code(session, "cannot shake hands", code);
}

void session_authenticated(struct lib_session *session)
{
    session->phase = LIB_UP;
    session_set_deadline(session, LOOK_S);
    auth_cancel(session);
    if (session->main)
        session_wake(session);
    else
        ssh_report_up(session->host, session->handshake_ms);
}

/* ---- turns and deadlines ---- */

void session_wake(struct lib_session *session)
{
    if (!session->closed)
        lib_turns_add(session->turns, session);
}

void session_step(struct lib_session *session)
{
    struct wire *w = &session->wire;
    session->depth++;
    w->budget = ROUND_BYTES;
    if (session->phase == LIB_HANDSHAKE)
        step_handshake(session);
    if (!session->closed && session->phase == LIB_AUTH)
        auth_step(session);
    if (!session->closed && session->phase == LIB_UP)
        lib_channels_step(session);
    if (!session->closed && w->broken && session->ssh)
        session_fail_code(session, session->phase == LIB_UP ? NULL : "cannot connect", 0);
    if (!session->closed && w->budget == 0)
        session_wake(session);
    session_release(session);
}

/* The program may have stood still, for a shell or suspended: what has come meanwhile is not late. */
static void look_alive(struct lib_session *session)
{
    struct wire *w = &session->wire;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    double quiet = s->server_alive_s > 0 && s->server_alive_s < QUIET_S ? s->server_alive_s : QUIET_S;
    session->depth++;
    session_set_deadline(session, LOOK_S);
    w->dry = false;
    session_step(session);
    double now = clock_monotonic();
    if (!session->closed && session->main)
        side_check_use(session);
    if (session->closed || now - w->heard < quiet) {
        session->probed = 0;
    } else if (session->probed == 0) {
        session->probed = now;
        lib_channels_probe(session);
    } else if (now - session->probed > quiet) {
        session_fail_with(session, ERROR_TIMEOUT, "the connection was given up",
                          "The host or the line may hang; it is tried again by itself.",
                          "no answer for %.0f s", now - w->heard);
    }
    session_release(session);
}

void session_await_path(struct lib_session *session)
{
    session->path_until = clock_monotonic() + PATH_S;
    session_set_deadline(session, PATH_LOOK_S);
}

/* The bastion tries to reach the host, which may be dead: no place for a handshake is kept from others. */
static bool goes_on_waiting(struct lib_session *session)
{
    const struct ssh_settings *s = ssh_host_settings(session->host);
    if (session->path_until == 0 || session->wire.received || clock_monotonic() > session->path_until)
        return false;
    session_set_deadline(session, PATH_LOOK_S);
    struct ssh_pool *pool = session->host->pool;
    if (!session->main &&
        ssh_host_state(ssh_pool_host(pool, s->hops[0].destination, s->hops[0].destination)) == CONNECTION_UP)
        gate_leave(session->host);
    return true;
}

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct lib_session *session = timer->data;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    (void)ev, (void)events;
    char what[192];
    switch (session->phase) {
    case LIB_PREPARE:
        session_fail_with(session, ERROR_TIMEOUT, "cannot look up its name",
                          "The name service of this machine may hang.", "no answer");
        break;
    case LIB_CONNECT:
    case LIB_HANDSHAKE:
        if (goes_on_waiting(session))
            break;
        snprintf(what, sizeof what, "cannot connect to %s port %d", s->hostname, s->port);
        session_fail_with(session, ERROR_TIMEOUT, what,
                          "The host may hang or be overloaded, or this is not an SSH server.",
                          "no handshake within the deadline");
        break;
    case LIB_AUTH:
        auth_late(session);
        break;
    case LIB_UP:
        look_alive(session);
        break;
    }
}

void session_set_deadline(struct lib_session *session, double seconds)
{
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    ev_timer_stop(ev, &session->deadline);
    if (seconds <= 0)
        return;
    ev_now_update(ev);
    ev_timer_set(&session->deadline, seconds, 0);
    ev_timer_start(ev, &session->deadline);
}

/* ---- the transport ---- */

struct lib_session *session_new(struct ssh_host *host)
{
    struct lib_session *session = talloc_zero(NULL, struct lib_session);
    if (!session)
        abort();
    session->host = host;
    session->turns = host->pool->turns;
    ev_init(&session->deadline, on_deadline);
    session->deadline.data = session;
    wire_init(session);
    return session;
}

void session_close(struct lib_session *session)
{
    session->depth++;
    sides_close(session);
    if (session->phase == LIB_UP && !session->wire.broken && !session->wire.ended)
        libssh2_session_disconnect(session->ssh, "closed by the user");
    session->closed = true;
    session_set_deadline(session, 0);
    lib_turns_remove(session->turns, session);
    dial_cancel(session);
    wire_close(session);
    session_release(session);
}

static void *open_session(struct ssh_host *host)
{
    struct lib_session *session = session_new(host);
    dial_start(session);
    return session;
}

static void close_session(void *data)
{
    session_close(data);
}

const struct ssh_transport_ops ssh_transport_libssh2 = {
    .open = open_session,
    .close = close_session,
    .channel_open = lib_channel_open,
    .channel_changed = lib_channel_changed,
    .channel_close = lib_channel_close,
};
