/* The way up: a place after the other, an address after the other, then AUTH, SELECT and CLIENT SETNAME. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>

#include "backends/redis/connection_internal.h"
#include "backends/redis/tls.h"
#include "core/clock.h"

static void try_place(struct redis_connection *c);
static void next_address(struct redis_connection *c, const struct error *error);

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* An answer to AUTH, SELECT or CLIENT SETNAME, in this order. */
void connection_take_setup(struct redis_connection *c, const redisReply *reply)
{
    bool failed = reply->type == REDIS_REPLY_ERROR;
    const char *text = failed ? reply->str : "";
    c->setup_left--;
    if (c->setup_auth) {
        c->setup_auth = false;
        /* A password where none is needed is not wrong: the file may hold one for all hosts. */
        bool open = strstr(text, "without any password configured") || strstr(text, "no password is set");
        if (failed && !(open && !c->url->user)) {
            connection_refused(c, reply, "cannot log in");
            return;
        }
    } else if (c->setup_select) {
        c->setup_select = false;
        if (failed) {
            connection_refused(c, reply, "cannot select the database");
            return;
        }
    } else if (failed && (strncmp(text, "NOAUTH", 6) == 0 || strncmp(text, "DENIED", 6) == 0 ||
                          strstr(text, "max number of clients"))) {
        connection_refused(c, reply, "cannot log in");
        return;
    }
    if (!c->setup_left)
        connection_come_up(c);
}

/* ---- connecting ---- */

static void describe(const struct redis_connection *c, char *what, size_t size)
{
    char *place = redis_place_text(NULL, &c->url->places[c->at_place]);
    snprintf(what, size, "cannot connect to %s%s%s", place, c->options.via ? " through " : "",
             c->options.via ? c->options.via : "");
    talloc_free(place);
}

void connection_drop_socket(struct redis_connection *c)
{
    ev_io_stop(loop_ev(c->loop), &c->io);
    if (c->context)
        redisFree(c->context);
    c->context = NULL;
    c->connecting = c->broken = false;
    c->setup_left = 0;
}

void connection_wipe_password(struct redis_connection *c)
{
    if (c->password)
        explicit_bzero(c->password, strlen(c->password));
    TALLOC_FREE(c->password);
}

static void say_hello(struct redis_connection *c)
{
    char number[16];
    snprintf(number, sizeof number, "%d", c->url->database);
    /* Who names a user means that one, and not whoever may come without a password. */
    c->setup_auth = c->password || c->url->user;
    c->setup_select = c->url->database != 0;
    c->setup_left = c->setup_auth + c->setup_select + 1;
    if (c->url->user)
        connection_append(c, REDIS_COMMAND("AUTH", c->url->user, c->password ? c->password : ""));
    else if (c->password)
        connection_append(c, REDIS_COMMAND("AUTH", c->password));
    if (c->setup_select)
        connection_append(c, REDIS_COMMAND("SELECT", number));
    connection_append(c, REDIS_COMMAND("CLIENT", "SETNAME", c->options.client_name));
    connection_wipe_password(c);
    if (!connection_flush(c)) {
        c->broken = true; /* ends in a later turn */
        connection_arm_tick(c);
    }
}

static void connect_failed(struct redis_connection *c, int reason)
{
    struct error error;
    char what[sizeof error.what];
    describe(c, what, sizeof what);
    error_set(&error,
              reason == ECONNREFUSED || reason == ENOENT ? ERROR_REFUSED
              : reason == ETIMEDOUT                      ? ERROR_TIMEOUT
                                                         : ERROR_SYSTEM,
              c->options.label, what,
              reason == ECONNREFUSED || reason == ENOENT ? "Is Redis running there, on that port or socket?"
                                                         : NULL,
              "%s", strerror(reason));
    next_address(c, &error);
}

void connection_socket_ready(struct redis_connection *c)
{
    int reason = 0;
    socklen_t size = sizeof reason;
    if (getsockopt(c->context->fd, SOL_SOCKET, SO_ERROR, &reason, &size) != 0 || reason) {
        connect_failed(c, reason ? reason : errno);
        return;
    }
    struct error error;
    c->connecting = false;
    if (c->url->tls && !redis_tls_begin(c->context, c->url->places[c->at_place].host, &error)) {
        snprintf(error.where, sizeof error.where, "%s", c->options.label);
        next_address(c, &error);
        return;
    }
    say_hello(c);
}

static void try_address(struct redis_connection *c)
{
    int fd = redis_dial_socket(&c->addresses[c->at_address]);
    if (fd < 0) {
        connect_failed(c, errno);
        return;
    }
    c->context = must(redisConnectFd(fd));
    c->context->flags &= ~REDIS_BLOCK;
    c->context->reader->maxbuf = 1 << 20; /* what has once grown is not given back at each reply */
    c->connecting = true;
    connection_watch(c, EV_WRITE);
}

static void next_address(struct redis_connection *c, const struct error *error)
{
    struct error why = *error;
    connection_drop_socket(c);
    if (c->at_place == 0 && !c->first_error.kind)
        c->first_error = why;
    if (++c->at_address < c->address_count) {
        try_address(c);
        return;
    }
    if (++c->at_place < c->url->place_count) {
        try_place(c);
        return;
    }
    connection_lose(c, c->url->place_count > 1 && c->first_error.kind ? &c->first_error : &why);
}

static void dialled(void *owner, const struct redis_address *addresses, size_t count, const char *password,
                    const struct error *error)
{
    struct redis_connection *c = owner;
    connection_enter(c);
    c->dial = NULL;
    c->address_count = count;
    c->at_address = 0;
    if (count)
        memcpy(c->addresses, addresses, count * sizeof *addresses);
    connection_wipe_password(c);
    if (password)
        c->password = must(talloc_strdup(c, password));
    if (error)
        next_address(c, error);
    else
        try_address(c);
    if (!c->doomed)
        connection_arm_tick(c);
    connection_leave(c);
}

static void try_place(struct redis_connection *c)
{
    c->begun_at = clock_monotonic();
    c->connect_until = c->begun_at + c->options.connect_timeout_s;
    c->dial = redis_dial_start(c->loop, c->options.label, c->url, c->at_place,
                               c->options.sockets ? c->options.sockets[c->at_place] : NULL, dialled, c);
    connection_arm_tick(c);
}

void connection_begin_too_late(struct redis_connection *c)
{
    struct error error;
    char what[sizeof error.what];
    describe(c, what, sizeof what);
    error_set(&error, ERROR_TIMEOUT, c->options.label, what,
              "Is a firewall in between, or does the server hang?", "no answer within %.0f s",
              c->options.connect_timeout_s);
    connection_blame(c, c->begun_at, &error);
    if (c->dial)
        redis_dial_forsake(c->dial);
    c->dial = NULL;
    c->at_address = c->address_count; /* the time is that of the place */
    next_address(c, &error);
}

void connection_begin(struct redis_connection *c)
{
    struct error error = {0};
    ev_timer_stop(loop_ev(c->loop), &c->retry);
    c->at_place = 0;
    error_clear(&c->first_error);
    bool able = !c->url->tls || redis_tls_available(&error);
    c->waiting = able && c->options.ready && !c->options.ready(c->options.data, &error);
    if (error.kind) {
        snprintf(error.where, sizeof error.where, "%s", c->options.label);
        c->state = CONNECTION_CONNECTING;
        connection_lose(c, &error);
        return;
    }
    if (c->state != CONNECTION_CONNECTING)
        connection_set_state(c, CONNECTION_CONNECTING);
    if (c->state == CONNECTION_CONNECTING && !c->waiting && !c->dial && !c->context)
        try_place(c);
}
