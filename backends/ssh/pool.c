/*
 * The hosts of a pool: which state each is in, when it is connected anew, and which transport does it. The
 * channels are in pool_channel.c.
 */
#include "backends/ssh/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "backends/ssh/key_store.h"
#include "backends/ssh/libssh2_turns.h"
#include "core/clock.h"
#include "core/files.h"

#define BACK_OFF_FIRST_S 1.0
#define BACK_OFF_MOST_S 60.0
#define JITTER 0.25
#define LEFT_S 3600.0
#define AGAIN_S 0.15  /* a server with too many handshakes is tried again after this, doubled each time */
#define LINGER_S 30.0 /* a session that nobody wants any more is kept so long */

enum { AGAIN_MOST = 6, FILES_WISHED = 16384 };

static void host_open(struct ssh_host *host);

/* ---- state ---- */

void pool_enter(struct ssh_pool *pool)
{
    pool->depth++;
}

void pool_leave(struct ssh_pool *pool)
{
    if (--pool->depth > 0 || !pool->doomed)
        return;
    gates_free(pool);
    key_store_free(pool->keys);
    known_hosts_store_release(pool->known);
    lib_turns_free(pool->turns);
    talloc_free(pool);
}

static void set_state(struct ssh_host *host, enum connection_state state)
{
    struct ssh_pool *pool = host->pool;
    host->state = state;
    if (pool->options.changed && !pool->doomed)
        pool->options.changed(pool->options.data);
}

static void start_timer(struct ssh_host *host, ev_timer *timer, double after)
{
    struct ev_loop *ev = loop_ev(host->pool->loop);
    ev_timer_stop(ev, timer);
    ev_now_update(ev);
    ev_timer_set(timer, after, 0);
    ev_timer_start(ev, timer);
}

void host_soon(struct ssh_host *host)
{
    if (!ev_is_active(&host->later))
        start_timer(host, &host->later, 0);
}

void host_check_use(struct ssh_host *host)
{
    if (host->state != CONNECTION_UP || host->pool->doomed)
        return;
    if (host->wanted > 0 || host->channels)
        ev_timer_stop(loop_ev(host->pool->loop), &host->retry);
    else if (!ev_is_active(&host->retry))
        start_timer(host, &host->retry, LINGER_S);
}

static void close_session(struct ssh_host *host)
{
    void *session = host->session;
    host->session = NULL;
    ssh_resolving_cancel(host->resolving);
    host->resolving = NULL;
    host->phase = PHASE_NONE;
    if (session)
        host->ops->close(session);
}

static void forget_unknown_key(struct ssh_host *host)
{
    talloc_free(host->unknown_key);
    talloc_free(host->unknown_blob);
    host->unknown_key = NULL;
    host->unknown_blob = NULL;
}

/* What a person must put right is not tried often: servers lock addresses out that knock in vain. */
static void schedule_retry(struct ssh_host *host)
{
    host->back_off = host->back_off > 0 ? fmin(2 * host->back_off, BACK_OFF_MOST_S) : BACK_OFF_FIRST_S;
    enum error_kind kind = host->error.kind;
    if (kind == ERROR_AUTH || kind == ERROR_CONFIG || kind == ERROR_INTERLOCK)
        host->back_off = BACK_OFF_MOST_S;
    if (kind == ERROR_CANCELLED) /* who left a question is not asked again and again */
        host->back_off = LEFT_S;
    start_timer(host, &host->retry, host->back_off * clock_jitter(JITTER));
}

/* It failed or broke. The state comes first: handlers that open anew find it down. */
static void host_down(struct ssh_host *host, const struct error *error)
{
    struct error why = *error;
    pool_enter(host->pool);
    host->error = why;
    host->state = CONNECTION_DOWN;
    schedule_retry(host);
    channels_end(host, &why);
    gate_leave(host);
    close_session(host);
    if (host->state == CONNECTION_DOWN)
        set_state(host, CONNECTION_DOWN);
    pool_leave(host->pool);
}

/* ---- which transport ---- */

static bool is_usable(const struct ssh_identity *identity)
{
    return identity->type != SSH_KEY_HARDWARE && identity->type != SSH_KEY_DSA &&
           (identity->type != SSH_KEY_RSA || LIB_HAS_RSA) && !identity->public_only;
}

/* What can be said of the keys before an agent was asked. */
static const char *unfit_keys(const struct ssh_settings *s)
{
    if (s->certificate_count)
        return "a certificate: libssh2 cannot use it";
    if (s->agent || !s->public_key)
        return NULL;
    const struct ssh_identity *other = NULL;
    for (size_t i = 0; i < s->identity_count; i++) {
        if (is_usable(&s->identities[i]))
            return NULL;
        if (!other && !s->identities[i].public_only)
            other = &s->identities[i];
    }
    if (!other)
        return NULL;
    return other->type == SSH_KEY_HARDWARE ? "a FIDO key: libssh2 cannot use it" : LIB_RSA_UNFIT;
}

static const char *unfit_reason(const struct ssh_settings *s)
{
    if (s->proxy_command)
        return "a ProxyCommand";
    if (s->hop_count > 1)
        return "more than one jump";
    if (s->pkcs11)
        return "keys of a PKCS#11 library: libssh2 cannot use them";
    if (s->known_hosts_command)
        return "a KnownHostsCommand";
    if (s->revoked_host_keys)
        return "RevokedHostKeys";
    if (s->bind_interface)
        return "a BindInterface";
    return unfit_keys(s);
}

static void set_kind(struct ssh_host *host, enum ssh_transport kind, const char *why)
{
    host->kind = kind;
    host->ops = kind == SSH_TRANSPORT_SYSTEM ? &ssh_transport_system : &ssh_transport_libssh2;
    char *text = why ? talloc_asprintf(host, "ssh (%s)", why)
                     : talloc_strdup(host, kind == SSH_TRANSPORT_SYSTEM ? "ssh" : "libssh2");
    talloc_free(host->kind_text);
    host->kind_text = text;
}

/* False when the configured transport cannot do it. */
static bool choose_transport(struct ssh_host *host, struct error *error)
{
    enum ssh_transport wish = host->pool->options.transport;
    const char *why = host->unfit ? host->unfit : unfit_reason(host->settings);
    if (wish == SSH_TRANSPORT_SYSTEM) {
        set_kind(host, SSH_TRANSPORT_SYSTEM, "as configured");
        return true;
    }
    if (wish == SSH_TRANSPORT_LIBSSH2 && why)
        return error_set(error, ERROR_UNSUPPORTED, host->label, "libssh2 cannot connect",
                         "Set `transport: auto` or `system`: the system's ssh can.",
                         "this host needs more: %s", why);
    set_kind(host, why ? SSH_TRANSPORT_SYSTEM : SSH_TRANSPORT_LIBSSH2, why);
    return true;
}

/* ---- opening ---- */

static char *describe_address(const struct ssh_host *host)
{
    const struct ssh_settings *s = host->settings;
    bool colons = strchr(s->hostname, ':');
    char *text = talloc_asprintf(NULL, "%s%s%s%s%s:%d", s->user ? s->user : "", s->user ? "@" : "",
                                 colons ? "[" : "", s->hostname, colons ? "]" : "", s->port);
    for (size_t i = 0; i < s->hop_count; i++)
        text = talloc_asprintf_append(text, "%s%s", i ? ", " : " via ", s->hops[i].destination);
    return text;
}

static void open_session(struct ssh_host *host)
{
    host->phase = PHASE_OPENING;
    host->session = host->ops->open(host);
}

void gate_opened(struct ssh_host *host)
{
    open_session(host);
}

static void approach(struct ssh_host *host)
{
    host->phase = PHASE_GATE;
    if (gate_enter(host))
        open_session(host);
}

static void take_settings(void *data, struct ssh_settings *settings, const struct error *error)
{
    struct ssh_host *host = data;
    struct error why;
    host->resolving = NULL;
    if (!settings) {
        host_down(host, error);
        return;
    }
    talloc_free(host->settings);
    host->settings = talloc_steal(host, settings);
    if (!settings->user)
        settings->user = files_user(settings);
    talloc_free(host->address);
    host->address = talloc_steal(host, describe_address(host));
    if (!choose_transport(host, &why)) {
        host_down(host, &why);
        return;
    }
    approach(host);
}

static void host_open(struct ssh_host *host)
{
    struct ssh_pool *pool = host->pool;
    ev_timer_stop(loop_ev(pool->loop), &host->retry);
    forget_unknown_key(host);
    host->phase = PHASE_SETTINGS;
    host->resolving = ssh_settings_resolve(pool->loop, host->label, pool->options.config, host->destination,
                                           take_settings, host);
    set_state(host, CONNECTION_CONNECTING);
}

void host_use(struct ssh_host *host)
{
    if (host->state == CONNECTION_IDLE && !host->pool->doomed)
        host_open(host);
}

static void on_retry(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct ssh_host *host = timer->data;
    struct ssh_pool *pool = host->pool;
    (void)ev, (void)events;
    pool_enter(pool);
    if (host->state == CONNECTION_UP) {
        close_session(host);
        set_state(host, CONNECTION_IDLE);
    } else if (host->phase == PHASE_AGAIN) {
        approach(host);
    } else if (host->wanted > 0) {
        host_open(host);
    } else {
        host->back_off = 0;
        error_clear(&host->error);
        set_state(host, CONNECTION_IDLE);
    }
    pool_leave(pool);
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct ssh_host *host = timer->data;
    struct ssh_pool *pool = host->pool;
    (void)ev, (void)events;
    pool_enter(pool);
    channels_reject(host);
    pool_leave(pool);
}

/* ---- reports ---- */

/* Hosts that were down with their bastion need not wait any longer. */
static void retry_behind(const struct ssh_host *bastion)
{
    struct ssh_host *host, *following;
    HASH_ITER(hh, bastion->pool->hosts, host, following)
    {
        const struct ssh_settings *s = host->settings;
        if (host->state == CONNECTION_DOWN && host->wanted > 0 && s && s->hop_count == 1 &&
            strcmp(s->hops[0].destination, bastion->destination) == 0)
            host_open(host);
    }
}

void ssh_report_up(struct ssh_host *host, double handshake_ms)
{
    struct ssh_pool *pool = host->pool;
    pool_enter(pool);
    gate_leave(host);
    host->phase = PHASE_NONE;
    host->handshake_ms = handshake_ms;
    host->back_off = 0;
    host->again = 0;
    error_clear(&host->error);
    host->state = CONNECTION_UP;
    channels_open(host);
    set_state(host, CONNECTION_UP);
    if (!pool->doomed)
        retry_behind(host);
    host_check_use(host);
    pool_leave(pool);
}

static void keep_unknown_key(struct ssh_host *host, const struct ssh_failure *failure)
{
    forget_unknown_key(host);
    if (!failure->unknown_key)
        return;
    host->unknown_blob = talloc_memdup(host, failure->unknown_key, failure->unknown_key_length);
    host->unknown_key = ssh_key_fingerprint(host, failure->unknown_key, failure->unknown_key_length);
}

/* Its channels go on waiting. */
static void try_again(struct ssh_host *host)
{
    pool_enter(host->pool);
    double pause = ldexp(AGAIN_S, host->again++) * clock_jitter(0.5);
    gate_leave(host);
    close_session(host);
    host->phase = PHASE_AGAIN;
    start_timer(host, &host->retry, pause);
    pool_leave(host->pool);
}

void ssh_report_failed(struct ssh_host *host, const struct ssh_failure *failure)
{
    struct ssh_pool *pool = host->pool;
    if (failure->again && host->again < AGAIN_MOST) {
        try_again(host);
        return;
    }
    host->again = 0;
    bool other = failure->other && pool->options.transport == SSH_TRANSPORT_AUTO &&
                 host->kind == SSH_TRANSPORT_LIBSSH2;
    if (!other) {
        keep_unknown_key(host, failure);
        host_down(host, &failure->error);
        return;
    }
    pool_enter(pool);
    host->unfit = talloc_strdup(host, failure->other);
    set_kind(host, SSH_TRANSPORT_SYSTEM, host->unfit);
    const struct ssh_transport_ops *failed = &ssh_transport_libssh2;
    void *session = host->session;
    host->session = NULL;
    failed->close(session);
    open_session(host);
    set_state(host, CONNECTION_CONNECTING);
    pool_leave(pool);
}

void ssh_report_lost(struct ssh_host *host, const struct error *error)
{
    host_down(host, error);
}

/* ---- what others call ---- */

static void pool_copy_options(struct ssh_pool *pool, const struct ssh_pool_options *options)
{
    pool->options = *options;
    pool->options.environment = options->environment ? talloc_strdup(pool, options->environment) : NULL;
    pool->options.config = options->config ? talloc_strdup(pool, options->config) : NULL;
}

/* A descriptor a host: the usual limit of 1024 is that of old programs which call select. */
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_WISHED)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_WISHED ? limit.rlim_max : FILES_WISHED;
    setrlimit(RLIMIT_NOFILE, &limit);
}

struct ssh_pool *ssh_pool_new(struct loop *loop, const struct ssh_pool_options *options)
{
    struct ssh_pool *pool = talloc_zero(NULL, struct ssh_pool);
    if (!pool)
        abort();
    pool->loop = loop;
    allow_many_files();
    pool_copy_options(pool, options);
    pool->turns = lib_turns_new(loop);
    pool->keys = key_store_new(pool);
    pool->known = known_hosts_store_new();
    return pool;
}

static void host_end(struct ssh_host *host, const struct error *error)
{
    ev_timer_stop(loop_ev(host->pool->loop), &host->retry);
    host->state = CONNECTION_DOWN;
    do /* a handler may open anew */
        channels_end(host, error);
    while (host->channels);
    gate_leave(host);
    close_session(host);
    ev_timer_stop(loop_ev(host->pool->loop), &host->later);
}

void ssh_pool_free(struct ssh_pool *pool)
{
    if (!pool || pool->doomed)
        return;
    pool_enter(pool);
    pool->doomed = true;
    struct ssh_host *host, *following;
    /* Those behind bastions first: they end before what carries them. */
    for (int round = 0; round < 2; round++)
        HASH_ITER(hh, pool->hosts, host, following)
        {
            struct error error;
            error_set(&error, ERROR_LOST, host->label, "the connection was closed", NULL, "by this console");
            if (round || (host->settings && host->settings->hop_count))
                host_end(host, &error);
        }
    HASH_CLEAR(hh, pool->hosts);
    pool_leave(pool);
}

struct ssh_host *ssh_pool_host(struct ssh_pool *pool, const char *name, const char *destination)
{
    struct ssh_host *host;
    HASH_FIND_STR(pool->hosts, destination, host);
    if (host)
        return host;
    host = talloc_zero(pool, struct ssh_host);
    if (!host)
        abort();
    const char *environment = pool->options.environment;
    host->pool = pool;
    host->name = talloc_strdup(host, name);
    host->destination = talloc_strdup(host, destination);
    host->label =
        environment ? talloc_asprintf(host, "%s: %s", environment, name) : talloc_strdup(host, name);
    set_kind(host,
             pool->options.transport == SSH_TRANSPORT_SYSTEM ? SSH_TRANSPORT_SYSTEM : SSH_TRANSPORT_LIBSSH2,
             pool->options.transport == SSH_TRANSPORT_SYSTEM ? "as configured" : NULL);
    ev_init(&host->retry, on_retry);
    ev_init(&host->later, on_later);
    host->retry.data = host->later.data = host;
    HASH_ADD_KEYPTR(hh, pool->hosts, host->destination, strlen(host->destination), host);
    return host;
}

void ssh_host_want(struct ssh_host *host, bool wanted)
{
    if (wanted)
        host->wanted++;
    else if (host->wanted > 0)
        host->wanted--;
    if (wanted)
        host_use(host);
    /* Nobody wanted it for a while: what it failed of may be over. Logins that were refused wait their turn.
     */
    bool refused = host->error.kind == ERROR_AUTH || host->error.kind == ERROR_CANCELLED;
    if (wanted && host->wanted == 1 && host->state == CONNECTION_DOWN && !refused && !host->pool->doomed)
        host_open(host);
    host_check_use(host);
}

void ssh_host_retry(struct ssh_host *host)
{
    host->back_off = 0;
    key_store_ask_again(host->pool->keys);
    if (host->state == CONNECTION_DOWN && !host->pool->doomed)
        host_open(host);
}

const char *ssh_host_name(const struct ssh_host *host)
{
    return host->name;
}

const char *ssh_host_destination(const struct ssh_host *host)
{
    return host->destination;
}

const char *ssh_host_address(const struct ssh_host *host)
{
    return host->address ? host->address : host->destination;
}

const char *ssh_host_hostname(const struct ssh_host *host)
{
    return host->settings ? host->settings->hostname : NULL;
}

enum connection_state ssh_host_state(const struct ssh_host *host)
{
    return host->state;
}

const struct error *ssh_host_error(const struct ssh_host *host)
{
    return &host->error;
}

const char *ssh_host_transport(const struct ssh_host *host)
{
    return host->kind_text;
}

enum ssh_transport ssh_host_transport_kind(const struct ssh_host *host)
{
    return host->kind;
}

const char *ssh_host_unknown_key(const struct ssh_host *host)
{
    return host->unknown_key;
}

const unsigned char *ssh_host_unknown_blob(const struct ssh_host *host, size_t *length)
{
    *length = host->unknown_blob ? talloc_get_size(host->unknown_blob) : 0;
    return host->unknown_blob;
}

double ssh_host_handshake_ms(const struct ssh_host *host)
{
    return host->handshake_ms;
}

struct loop *ssh_host_loop(const struct ssh_host *host)
{
    return host->pool->loop;
}

const struct ssh_pool_options *ssh_host_options(const struct ssh_host *host)
{
    return &host->pool->options;
}

const struct ssh_settings *ssh_host_settings(const struct ssh_host *host)
{
    return host->settings;
}

const char *ssh_host_label(const struct ssh_host *host)
{
    return host->label;
}
