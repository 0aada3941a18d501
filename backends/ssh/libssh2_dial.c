/*
 * The way to a server: known_hosts and the name are looked up in a worker, then the addresses are tried one
 * after the other without blocking.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/ssh/libssh2_internal.h"
#include "core/clock.h"

#define CONNECT_S 10.0
#define LOOKUP_S 15.0
#define SILENT_MS 30000

/* What the worker gets and gives back: nothing of it is shared. */
struct lookup {
    struct lib_dial *dial;         /* NULL: nobody waits any more */
    struct ssh_settings *settings; /* a copy of what is read here */
    struct known_hosts_store *store;
    bool direct;
    struct known_hosts *known;
    struct addrinfo *found;
    int problem, number; /* of getaddrinfo; errno */
};

struct lib_dial {
    struct lib_session *session;
    struct lookup *lookup; /* in the worker */
    struct addrinfo *found, *at;
    double each_s; /* for one address */
    int fd;
    ev_io io;
    ev_timer late;
    int number; /* errno of the last attempt */
};

/* ---- in the worker ---- */

static void look_up(void *data)
{
    struct lookup *l = data;
    const struct ssh_settings *s = l->settings;
    l->known = known_hosts_load(l, l->store, s);
    if (!l->direct)
        return;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (s->address_family && strcmp(s->address_family, "inet") == 0)
        hints.ai_family = AF_INET;
    else if (s->address_family && strcmp(s->address_family, "inet6") == 0)
        hints.ai_family = AF_INET6;
    char port[16];
    snprintf(port, sizeof port, "%d", s->port);
    l->problem = getaddrinfo(s->hostname, port, &hints, &l->found);
    l->number = errno;
}

static void drop_lookup(void *data)
{
    struct lookup *l = data;
    if (l->found)
        freeaddrinfo(l->found);
    known_hosts_store_release(l->store);
    talloc_free(l);
}

/* ---- one address after the other ---- */

static void stop_attempt(struct lib_dial *dial)
{
    struct ev_loop *ev = loop_ev(ssh_host_loop(dial->session->host));
    ev_io_stop(ev, &dial->io);
    ev_timer_stop(ev, &dial->late);
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
}

static void dial_free(struct lib_dial *dial)
{
    stop_attempt(dial);
    if (dial->lookup)
        dial->lookup->dial = NULL;
    if (dial->found)
        freeaddrinfo(dial->found);
    dial->session->dial = NULL;
    talloc_free(dial);
}

static void fail_to_connect(struct lib_dial *dial)
{
    struct lib_session *session = dial->session;
    int number = dial->number;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    dial_free(dial);
    char what[192];
    snprintf(what, sizeof what, "cannot reach %s port %d", s->hostname, s->port);
    if (number == ETIMEDOUT)
        session_fail_with(session, ERROR_TIMEOUT, what,
                          "Is the host up, and does a firewall let this machine through?", "no answer");
    else if (number == ECONNREFUSED)
        session_fail_with(session, ERROR_REFUSED, what,
                          "Is sshd running there, and is this the port that it listens on?",
                          "connection refused: nobody listens there");
    else
        session_fail_with(session, ERROR_SYSTEM, what, NULL, "%s", strerror(number));
}

static bool bind_source(int fd, const struct ssh_settings *s, int family)
{
    if (!s->bind_address)
        return true;
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    struct addrinfo *source;
    if (getaddrinfo(s->bind_address, NULL, &hints, &source) != 0)
        return false;
    bool bound = bind(fd, source->ai_addr, source->ai_addrlen) == 0;
    freeaddrinfo(source);
    return bound;
}

static int open_socket(const struct ssh_settings *s, const struct addrinfo *to)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1, silent = SILENT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent, sizeof silent);
    if (bind_source(fd, s, to->ai_family))
        return fd;
    int number = errno;
    close(fd);
    errno = number ? number : EADDRNOTAVAIL;
    return -1;
}

static void next_address(struct lib_dial *dial)
{
    struct lib_session *session = dial->session;
    struct ev_loop *ev = loop_ev(ssh_host_loop(session->host));
    for (; dial->at; dial->at = dial->at->ai_next) {
        stop_attempt(dial);
        dial->fd = open_socket(ssh_host_settings(session->host), dial->at);
        if (dial->fd < 0) {
            dial->number = errno;
            continue;
        }
        if (connect(dial->fd, dial->at->ai_addr, dial->at->ai_addrlen) == 0 || errno == EINPROGRESS) {
            dial->at = dial->at->ai_next;
            ev_io_set(&dial->io, dial->fd, EV_WRITE);
            ev_io_start(ev, &dial->io);
            ev_now_update(ev);
            ev_timer_set(&dial->late, dial->each_s, 0);
            ev_timer_start(ev, &dial->late);
            return;
        }
        dial->number = errno;
    }
    fail_to_connect(dial);
}

static void on_writable(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct lib_dial *dial = watcher->data;
    struct lib_session *session = dial->session;
    (void)ev, (void)events;
    int number = 0;
    socklen_t size = sizeof number;
    getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &number, &size);
    if (number) {
        dial->number = number;
        next_address(dial);
        return;
    }
    int fd = dial->fd;
    ev_io_stop(ev, &dial->io); /* before another watcher uses the descriptor */
    dial->fd = -1;
    dial_free(dial);
    wire_use_socket(session, fd);
    session_connected(session);
}

static void on_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct lib_dial *dial = timer->data;
    (void)ev, (void)events;
    dial->number = ETIMEDOUT;
    next_address(dial);
}

/* ---- start ---- */

static void looked_up(void *data)
{
    struct lookup *l = data;
    struct lib_dial *dial = l->dial;
    if (!dial) {
        drop_lookup(l);
        return;
    }
    struct lib_session *session = dial->session;
    const struct ssh_settings *s = ssh_host_settings(session->host);
    dial->lookup = NULL;
    session->known = talloc_steal(NULL, l->known);
    dial->found = dial->at = l->found;
    l->found = NULL;
    int problem = l->problem, number = l->number;
    bool direct = l->direct;
    drop_lookup(l);
    if (!direct) {
        dial_free(dial);
        session->phase = LIB_CONNECT;
        session_await_path(session);
        wire_use_bastion(session,
                         ssh_pool_host(session->host->pool, s->hops[0].destination, s->hops[0].destination));
        session_connected(session);
    } else if (problem) {
        dial_free(dial);
        session_fail_with(session, ERROR_NAME, "cannot look up its name",
                          "Check HostName in ssh_config, or the name service of this machine.", "%s: %s",
                          s->hostname, problem == EAI_SYSTEM ? strerror(number) : gai_strerror(problem));
    } else {
        int count = 0;
        for (struct addrinfo *a = dial->found; a; a = a->ai_next)
            count++;
        double limit = s->connect_timeout_s > 0 ? s->connect_timeout_s : CONNECT_S;
        dial->each_s = count > 3 ? limit / 3 : limit / (count ? count : 1);
        session->phase = LIB_CONNECT;
        session_set_deadline(session, limit + 1);
        next_address(dial);
    }
}

static char *copy_text(const void *context, const char *text)
{
    return text ? talloc_strdup(context, text) : NULL;
}

static const char *const *copy_list(const void *context, const char *const *list, size_t count)
{
    const char **copy = talloc_zero_array(context, const char *, count + 1);
    for (size_t i = 0; i < count; i++)
        copy[i] = talloc_strdup(copy, list[i]);
    return copy;
}

/* What known_hosts_load and getaddrinfo read: the host's own may be replaced meanwhile. */
static struct ssh_settings *copy_settings(const void *context, const struct ssh_settings *s)
{
    struct ssh_settings *copy = talloc_zero(context, struct ssh_settings);
    copy->destination = copy_text(copy, s->destination);
    copy->hostname = copy_text(copy, s->hostname);
    copy->port = s->port;
    copy->address_family = copy_text(copy, s->address_family);
    copy->host_key_alias = copy_text(copy, s->host_key_alias);
    copy->user_known_hosts = copy_list(copy, s->user_known_hosts, s->user_known_host_count);
    copy->user_known_host_count = s->user_known_host_count;
    copy->global_known_hosts = copy_list(copy, s->global_known_hosts, s->global_known_host_count);
    copy->global_known_host_count = s->global_known_host_count;
    copy->host_key_algorithms = copy_text(copy, s->host_key_algorithms);
    return copy;
}

static bool is_address(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

void dial_start(struct lib_session *session)
{
    struct lib_dial *dial = talloc_zero(NULL, struct lib_dial);
    struct lookup *l = talloc_zero(NULL, struct lookup);
    const struct ssh_settings *s = ssh_host_settings(session->host);
    dial->session = session;
    dial->fd = -1;
    dial->number = ETIMEDOUT;
    ev_init(&dial->io, on_writable);
    ev_init(&dial->late, on_late);
    dial->io.data = dial->late.data = dial;
    session->dial = dial;
    dial->lookup = l;
    l->dial = dial;
    l->settings = copy_settings(l, s);
    l->store = known_hosts_store_hold(session->host->pool->known);
    l->direct = s->hop_count == 0;
    session_set_deadline(session, LOOKUP_S);
    /* A name service that hangs keeps nobody waiting who needs no name. */
    bool needs_name = l->direct && !is_address(s->hostname);
    loop_work_or_drop(ssh_host_loop(session->host), needs_name ? WORK_NAME : WORK_LOCAL, look_up, looked_up,
                      drop_lookup, l);
}

void dial_cancel(struct lib_session *session)
{
    if (session->dial)
        dial_free(session->dial);
}
