/*
 * A connection on the loop: requests in a list, written in one go, answered in order. Of hiredis it uses the
 * protocol (formatting, reading) and, where it has it, TLS; sockets, deadlines and lifetimes are our own.
 */
#include "backends/redis/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/redis/dial.h"
#include "backends/redis/tls.h"
#include "backends/redis/watch_commands.h"
#include "core/clock.h"

#define RETRY_FIRST_S 0.5
#define RETRY_LAST_S 30.0
/* A subscription is silent by nature: whether somebody is still there must be asked. */
#define HEART_S 10.0

enum { READS_A_TURN = 64, NAME_SIZE = 24 };

/* One command of a request. */
struct sent_command {
    char name[NAME_SIZE];
    struct error *refused; /* not on the list: never sent */
};

struct request {
    struct request *next;
    struct sent_command *commands;
    int count, at;
    char *wire; /* until it is written */
    size_t length;
    bool sent, rejected;
    double deadline_s, deadline_at;
    struct redis_handler handler;
};

struct redis_connection {
    struct loop *loop;
    struct redis_connection_options options;
    struct redis_url *url;
    char *place, *up_place;
    enum connection_state state;
    struct error error;
    struct error first_error; /* of the first place, when all were tried */
    /* on the way */
    struct redis_dial *dial;
    size_t at_place;
    struct redis_address addresses[REDIS_DIAL_ADDRESSES];
    size_t address_count, at_address;
    char *password;
    bool connecting; /* the socket is not there yet */
    double connect_until;
    int setup_left; /* replies of AUTH, SELECT, CLIENT SETNAME that are still to come */
    bool setup_auth, setup_select;
    /* up */
    redisContext *context;
    struct request *first, **last;
    char *patterns; /* the PSUBSCRIBE, as it is sent */
    size_t patterns_length;
    double heard_at;
    ev_io io;
    ev_timer tick;  /* deadlines, rejections */
    ev_timer retry; /* back-off */
    double back_off;
    bool broken; /* found while sending: ends in a later turn */
    int depth;   /* callbacks of ours that are running */
    bool doomed;
};

static void lose(struct redis_connection *c, const struct error *error);
static void try_place(struct redis_connection *c);
static void next_address(struct redis_connection *c, const struct error *error);

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- entering and leaving: what a callback frees is freed when the last of ours has ended ---- */

static void enter(struct redis_connection *c)
{
    c->depth++;
}

static void leave(struct redis_connection *c)
{
    if (--c->depth == 0 && c->doomed)
        talloc_free(c);
}

/* ---- the list of requests ---- */

static struct request *pop_request(struct redis_connection *c)
{
    struct request *r = c->first;
    c->first = r->next;
    if (!c->first)
        c->last = &c->first;
    return r;
}

static void finish_request(struct request *r, const struct error *error)
{
    if (r->handler.done)
        r->handler.done(r->handler.data, error);
    talloc_free(r);
}

static void arm_tick(struct redis_connection *c)
{
    double next = INFINITY, now = clock_monotonic();
    for (struct request *r = c->first; r; r = r->next) {
        if (r->rejected)
            next = 0;
        else if (r->deadline_at > 0)
            next = fmin(next, fmax(0, r->deadline_at - now));
    }
    if (c->connect_until > 0)
        next = fmin(next, fmax(0, c->connect_until - now));
    if (c->patterns && c->state == CONNECTION_UP)
        next = fmin(next, HEART_S);
    if (c->broken)
        next = 0;
    ev_timer_stop(loop_ev(c->loop), &c->tick);
    if (isfinite(next)) {
        ev_now_update(loop_ev(c->loop));
        ev_timer_set(&c->tick, next, 0);
        ev_timer_start(loop_ev(c->loop), &c->tick);
    }
}

/* ---- writing ---- */

static void watch_socket(struct redis_connection *c, int events)
{
    struct ev_loop *ev = loop_ev(c->loop);
    if (ev_is_active(&c->io) && c->io.fd == c->context->fd && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(ev, &c->io);
    ev_io_set(&c->io, c->context->fd, events);
    ev_io_start(ev, &c->io);
}

static void mark_broken(struct redis_connection *c)
{
    c->broken = true;
    ev_io_stop(loop_ev(c->loop), &c->io);
}

static bool flush(struct redis_connection *c)
{
    int done = 0;
    if (redisBufferWrite(c->context, &done) != REDIS_OK)
        return false;
    watch_socket(c, done ? EV_READ : EV_READ | EV_WRITE);
    return true;
}

static void write_bytes(struct redis_connection *c, const char *bytes, size_t length)
{
    if (length && redisAppendFormattedCommand(c->context, bytes, length) != REDIS_OK)
        abort(); /* out of memory */
}

static void append_command(struct redis_connection *c, struct redis_command command)
{
    const char **words = (const char **)command.words;
    if (redisAppendCommandArgv(c->context, command.count, words, command.lengths) != REDIS_OK)
        abort();
}

static void deliver_refused(struct redis_connection *c);

static void transmit(struct redis_connection *c, struct request *r)
{
    r->sent = true;
    r->deadline_at = r->deadline_s > 0 ? clock_monotonic() + r->deadline_s : 0;
    write_bytes(c, r->wire, r->length);
    TALLOC_FREE(r->wire);
    if (!c->broken && !flush(c))
        mark_broken(c);
}

/* ---- reading ---- */

/* NOPERM does not say whose; the URL does. */
static void name_user(const struct redis_connection *c, struct error *error)
{
    static const char blank[] = "SETUSER USER";
    char *at = strstr(error->todo, blank), rest[sizeof error->todo];
    if (error->kind != ERROR_DENIED || !at)
        return;
    snprintf(rest, sizeof rest, "%s", at + strlen(blank));
    snprintf(at, sizeof error->todo - (size_t)(at - error->todo), "SETUSER %s%s",
             c->url->user ? c->url->user : "default", rest);
}

static void take_reply(struct redis_connection *c, redisReply *reply)
{
    struct request *r = c->first;
    const struct sent_command *command = &r->commands[r->at];
    struct error error = {0};
    if (reply->type == REDIS_REPLY_ERROR) {
        redis_error(&error, c->options.label, command->name, reply);
        name_user(c, &error);
    }
    int index = r->at++;
    if (r->handler.reply)
        r->handler.reply(r->handler.data, index, error.kind ? NULL : reply, error.kind ? &error : NULL);
}

/* Commands that were never sent answer in their turn; what is complete ends. */
static void deliver_refused(struct redis_connection *c)
{
    while (c->first && c->first->sent && c->state == CONNECTION_UP) {
        struct request *r = c->first;
        if (r->at < r->count && !r->commands[r->at].refused)
            return;
        if (r->at < r->count) {
            int index = r->at++;
            if (r->handler.reply)
                r->handler.reply(r->handler.data, index, NULL, r->commands[index].refused);
            continue;
        }
        c->back_off = 0;
        pop_request(c);
        finish_request(r, NULL);
    }
}

static void fail_setup(struct redis_connection *c, const redisReply *reply, const char *what)
{
    struct error error;
    redis_error(&error, c->options.label, what, reply);
    name_user(c, &error);
    lose(c, &error);
}

static void set_state(struct redis_connection *c, enum connection_state state);
static void come_up(struct redis_connection *c);

/* An answer to AUTH, SELECT or CLIENT SETNAME, in this order. */
static void take_setup(struct redis_connection *c, const redisReply *reply)
{
    bool failed = reply->type == REDIS_REPLY_ERROR;
    const char *text = failed ? reply->str : "";
    c->setup_left--;
    if (c->setup_auth) {
        c->setup_auth = false;
        /* A password where none is needed is not wrong: the file may hold one for all hosts. */
        bool open = strstr(text, "without any password configured") || strstr(text, "no password is set");
        if (failed && !(open && !c->url->user)) {
            fail_setup(c, reply, "cannot log in");
            return;
        }
    } else if (c->setup_select) {
        c->setup_select = false;
        if (failed) {
            fail_setup(c, reply, "cannot select the database");
            return;
        }
    } else if (failed && (strncmp(text, "NOAUTH", 6) == 0 || strncmp(text, "DENIED", 6) == 0 ||
                          strstr(text, "max number of clients"))) {
        fail_setup(c, reply, "cannot log in");
        return;
    }
    if (!c->setup_left)
        come_up(c);
}

/* What comes without having been asked for: pushes of a subscription, or a farewell. */
static void take_push(struct redis_connection *c, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        fail_setup(c, reply, c->patterns ? "cannot subscribe" : "the server closed the connection");
        return;
    }
    if (!c->patterns) {
        struct error error;
        error_set(&error, ERROR_SERVER, c->options.label, "the connection is out of step", NULL,
                  "an answer came that nobody asked for");
        lose(c, &error);
        return;
    }
    bool pong = reply->type == REDIS_REPLY_ARRAY && reply->elements && reply->element[0]->str &&
                strcmp(reply->element[0]->str, "pong") == 0;
    c->back_off = 0;
    if (c->options.pushed && !pong)
        c->options.pushed(c->options.data, reply);
}

static void take_replies(struct redis_connection *c)
{
    void *reply = NULL;
    while (c->context && !c->broken && !c->doomed) {
        redisContext *context = c->context;
        if (redisGetReplyFromReader(context, &reply) != REDIS_OK) {
            mark_broken(c);
            return;
        }
        if (!reply)
            return;
        c->heard_at = clock_monotonic();
        if (c->setup_left)
            take_setup(c, reply);
        else if (c->first && c->first->sent && !c->patterns)
            take_reply(c, reply);
        else
            take_push(c, reply);
        freeReplyObject(reply);
        if (c->context)
            deliver_refused(c);
    }
}

static void lose_broken(struct redis_connection *c)
{
    struct error error;
    const char *text = c->context ? c->context->errstr : "";
    if (c->context && c->context->err == REDIS_ERR_PROTOCOL)
        error_set(&error, ERROR_SERVER, c->options.label, "this is not a Redis server",
                  "Check the port; one that speaks TLS needs rediss://", "%s", text);
    else if (c->context && c->context->err == REDIS_ERR_EOF)
        error_set(&error, ERROR_LOST, c->options.label, "the connection broke",
                  c->options.keep ? "It is made again by itself." : NULL, "the server closed the connection");
    else
        error_set(&error, ERROR_LOST, c->options.label, "the connection broke",
                  c->options.keep ? "It is made again by itself." : NULL, "%s",
                  *text ? text : "no reason was given");
    lose(c, &error);
}

/* Everything that is there, but not for ever: others want the loop too. */
static bool read_bytes(struct redis_connection *c)
{
    char buffer[64 * 1024];
    if (c->url->tls)
        return redisBufferRead(c->context) == REDIS_OK;
    for (int i = 0; i < READS_A_TURN && c->context; i++) {
        ssize_t length = read(c->context->fd, buffer, sizeof buffer);
        if (length < 0)
            return errno == EAGAIN || errno == EINTR ||
                   (c->context->err = REDIS_ERR_IO,
                    snprintf(c->context->errstr, sizeof c->context->errstr, "%s", strerror(errno)), false);
        if (length == 0) {
            c->context->err = REDIS_ERR_EOF;
            return false;
        }
        if (redisReaderFeed(c->context->reader, buffer, (size_t)length) != REDIS_OK)
            abort();
        if ((size_t)length < sizeof buffer)
            return true;
        take_replies(c);
        if (c->broken)
            return true;
    }
    return true;
}

static void socket_is_there(struct redis_connection *c);

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct redis_connection *c = watcher->data;
    (void)ev;
    enter(c);
    if (c->connecting) {
        socket_is_there(c);
    } else {
        bool sound = !(events & EV_READ) || read_bytes(c);
        take_replies(c);
        if (c->context && !c->connecting && (!sound || c->broken || !flush(c)))
            lose_broken(c);
    }
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

/* ---- connecting ---- */

static void describe(const struct redis_connection *c, char *what, size_t size)
{
    char *place = redis_place_text(NULL, &c->url->places[c->at_place]);
    snprintf(what, size, "cannot connect to %s", c->options.place ? c->options.place : place);
    talloc_free(place);
}

static void drop_socket(struct redis_connection *c)
{
    ev_io_stop(loop_ev(c->loop), &c->io);
    if (c->context)
        redisFree(c->context);
    c->context = NULL;
    c->connecting = c->broken = false;
    c->setup_left = 0;
}

static void wipe_password(struct redis_connection *c)
{
    if (c->password)
        explicit_bzero(c->password, strlen(c->password));
    TALLOC_FREE(c->password);
}

static void say_hello(struct redis_connection *c)
{
    char number[16];
    snprintf(number, sizeof number, "%d", c->url->database);
    c->setup_auth = c->password != NULL;
    c->setup_select = c->url->database != 0;
    c->setup_left = c->setup_auth + c->setup_select + 1;
    if (c->password && c->url->user)
        append_command(c, REDIS_COMMAND("AUTH", c->url->user, c->password));
    else if (c->password)
        append_command(c, REDIS_COMMAND("AUTH", c->password));
    if (c->setup_select)
        append_command(c, REDIS_COMMAND("SELECT", number));
    append_command(c, REDIS_COMMAND("CLIENT", "SETNAME", c->options.client_name));
    wipe_password(c);
    if (!flush(c))
        mark_broken(c);
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

static void socket_is_there(struct redis_connection *c)
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
    watch_socket(c, EV_WRITE);
}

static void next_address(struct redis_connection *c, const struct error *error)
{
    struct error why = *error;
    drop_socket(c);
    if (c->at_place == 0 && !c->first_error.kind)
        c->first_error = why;
    if (++c->at_address < c->address_count) {
        try_address(c);
        return;
    }
    if (!c->options.socket && ++c->at_place < c->url->place_count) {
        try_place(c);
        return;
    }
    lose(c, c->url->place_count > 1 && c->first_error.kind ? &c->first_error : &why);
}

static void dialled(void *owner, const struct redis_address *addresses, size_t count, const char *password,
                    const struct error *error)
{
    struct redis_connection *c = owner;
    enter(c);
    c->dial = NULL;
    c->address_count = count;
    c->at_address = 0;
    if (count)
        memcpy(c->addresses, addresses, count * sizeof *addresses);
    wipe_password(c);
    if (password)
        c->password = must(talloc_strdup(c, password));
    if (error)
        next_address(c, error);
    else
        try_address(c);
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

static void try_place(struct redis_connection *c)
{
    c->connect_until = clock_monotonic() + c->options.connect_timeout_s;
    c->dial = redis_dial_start(c->loop, c->options.label, c->url, c->at_place, c->options.socket, dialled, c);
    arm_tick(c);
}

static void connect_too_late(struct redis_connection *c)
{
    struct error error;
    char what[sizeof error.what];
    describe(c, what, sizeof what);
    error_set(&error, ERROR_TIMEOUT, c->options.label, what,
              "Is a firewall in between, or does the server hang?", "no answer within %.0f s",
              c->options.connect_timeout_s);
    if (c->dial)
        redis_dial_forsake(c->dial);
    c->dial = NULL;
    c->at_address = c->address_count; /* the time is that of the place */
    next_address(c, &error);
}

static void open_now(struct redis_connection *c)
{
    struct error error;
    ev_timer_stop(loop_ev(c->loop), &c->retry);
    c->at_place = 0;
    error_clear(&c->first_error);
    if (c->url->tls && !redis_tls_available(&error)) {
        snprintf(error.where, sizeof error.where, "%s", c->options.label);
        enter(c);
        c->state = CONNECTION_CONNECTING;
        lose(c, &error);
        leave(c);
        return;
    }
    set_state(c, CONNECTION_CONNECTING);
    if (c->state == CONNECTION_CONNECTING && !c->dial && !c->context)
        try_place(c);
}

static void come_up(struct redis_connection *c)
{
    c->connect_until = 0;
    error_clear(&c->error);
    talloc_free(c->up_place);
    c->up_place = redis_place_text(c, &c->url->places[c->at_place]);
    c->state = CONNECTION_UP;
    if (c->patterns) {
        write_bytes(c, c->patterns, c->patterns_length);
        if (!flush(c))
            mark_broken(c);
    } else {
        for (struct request *r = c->first; r && !c->broken; r = r->next)
            if (!r->sent && !r->rejected)
                transmit(c, r);
    }
    set_state(c, CONNECTION_UP);
}

/* ---- deadlines and rejections ---- */

static struct request *take_rejected(struct redis_connection *c)
{
    for (struct request **at = &c->first; *at; at = &(*at)->next) {
        struct request *r = *at;
        if (!r->rejected)
            continue;
        *at = r->next;
        if (!r->next)
            c->last = at;
        return r;
    }
    return NULL;
}

static void set_too_late(const struct redis_connection *c, double seconds, struct error *error)
{
    error_set(error, ERROR_TIMEOUT, c->options.label, c->first ? c->first->commands[c->first->at].name : NULL,
              c->options.keep ? "The server or the line may hang; the connection is made again by itself."
                              : "The server or the line may hang.",
              "no answer within %.1f s", seconds);
}

/* The heart of a subscription. False: it has stopped, and the connection is lost. */
static bool beat(struct redis_connection *c, double now)
{
    struct error error;
    if (!c->patterns || c->state != CONNECTION_UP || now - c->heard_at < HEART_S)
        return true;
    if (now - c->heard_at > 2.5 * HEART_S) {
        set_too_late(c, 2.5 * HEART_S, &error);
        lose(c, &error);
        return false;
    }
    append_command(c, REDIS_COMMAND("PING"));
    if (!flush(c))
        mark_broken(c);
    return true;
}

static void check_deadlines(struct redis_connection *c)
{
    struct error error;
    double now = clock_monotonic();
    if (c->connect_until > 0 && c->connect_until <= now) {
        c->connect_until = 0;
        connect_too_late(c);
        return;
    }
    if (!beat(c, now))
        return;
    for (struct request *r = c->first; r; r = r->next) {
        if (!r->sent || r->deadline_at <= 0 || r->deadline_at > now)
            continue;
        set_too_late(c, r->deadline_s, &error);
        lose(c, &error);
        return;
    }
}

static void on_tick(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_connection *c = watcher->data;
    (void)ev, (void)events;
    enter(c);
    if (c->broken && c->context)
        lose_broken(c);
    deliver_refused(c);
    struct error error = c->error;
    for (struct request *r; (r = take_rejected(c));)
        finish_request(r, &error);
    /* The program may have stood still: what has come meanwhile is not late. */
    if (c->context && !c->connecting && !read_bytes(c))
        mark_broken(c);
    take_replies(c);
    if (!c->broken)
        check_deadlines(c);
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

/* ---- up and down ---- */

static void set_state(struct redis_connection *c, enum connection_state state)
{
    c->state = state;
    if (c->options.changed && !c->doomed)
        c->options.changed(c->options.data, c);
}

static void drop(struct redis_connection *c)
{
    struct ev_loop *ev = loop_ev(c->loop);
    ev_timer_stop(ev, &c->tick);
    ev_timer_stop(ev, &c->retry);
    if (c->dial)
        redis_dial_forsake(c->dial);
    c->dial = NULL;
    c->connect_until = 0;
    drop_socket(c);
    wipe_password(c);
}

static void fail_requests(struct redis_connection *c, const struct error *error)
{
    struct request *r = c->first;
    c->first = NULL;
    c->last = &c->first;
    while (r) {
        struct request *next = r->next;
        finish_request(r, error);
        r = next;
    }
}

static void on_retry(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_connection *c = watcher->data;
    (void)ev, (void)events;
    enter(c);
    open_now(c);
    leave(c);
}

/* What was refused for who we are is not tried often: accounts may be locked for it. */
static void schedule_retry(struct redis_connection *c)
{
    enum error_kind kind = c->error.kind;
    c->back_off = c->back_off > 0 ? fmin(2 * c->back_off, RETRY_LAST_S) : RETRY_FIRST_S;
    if (kind == ERROR_AUTH || kind == ERROR_DENIED || kind == ERROR_UNSUPPORTED)
        c->back_off = RETRY_LAST_S;
    ev_now_update(loop_ev(c->loop));
    ev_timer_set(&c->retry, c->back_off * clock_jitter(0.25), 0);
    ev_timer_start(loop_ev(c->loop), &c->retry);
}

/* The connection is gone, or could not be made. */
static void lose(struct redis_connection *c, const struct error *error)
{
    struct error why = *error;
    enter(c);
    drop(c);
    c->error = why;
    c->state = CONNECTION_DOWN;
    if (c->options.keep && !c->doomed)
        schedule_retry(c);
    fail_requests(c, &why);
    if (c->state == CONNECTION_DOWN)
        set_state(c, CONNECTION_DOWN);
    leave(c);
}

static const char *copy_text(const void *context, const char *text)
{
    return text ? must(talloc_strdup(context, text)) : NULL;
}

struct redis_connection *redis_connection_new(struct loop *loop,
                                              const struct redis_connection_options *options)
{
    struct redis_connection *c = must(talloc_zero(NULL, struct redis_connection));
    c->loop = loop;
    c->options = *options;
    c->url = redis_url_copy(c, options->url);
    c->options.url = c->url;
    c->options.label = copy_text(c, options->label);
    c->options.client_name = copy_text(c, options->client_name ? options->client_name : "signalbox");
    c->options.socket = copy_text(c, options->socket);
    c->options.place = copy_text(c, options->place);
    if (c->options.connect_timeout_s <= 0)
        c->options.connect_timeout_s = 5;
    c->last = &c->first;
    ev_init(&c->io, on_io);
    ev_init(&c->tick, on_tick);
    ev_init(&c->retry, on_retry);
    c->io.data = c->tick.data = c->retry.data = c;
    return c;
}

void redis_connection_close(struct redis_connection *c)
{
    struct error error;
    error_set(&error, ERROR_LOST, c->options.label, "the connection was closed", NULL, "by this console");
    enter(c);
    drop(c);
    error_clear(&c->error);
    c->back_off = 0;
    c->state = CONNECTION_IDLE;
    fail_requests(c, &error);
    if (c->state == CONNECTION_IDLE)
        set_state(c, CONNECTION_IDLE);
    leave(c);
}

void redis_connection_free(struct redis_connection *c)
{
    if (!c || c->doomed)
        return;
    enter(c);
    c->doomed = true;
    do /* a handler may ask anew */
        redis_connection_close(c);
    while (c->first || c->dial);
    if (c->url->password)
        explicit_bzero((char *)c->url->password, strlen(c->url->password));
    leave(c);
}

void redis_connection_open(struct redis_connection *c)
{
    if (c->doomed || (c->state != CONNECTION_IDLE && c->state != CONNECTION_DOWN))
        return;
    enter(c);
    open_now(c);
    leave(c);
}

enum connection_state redis_connection_state(const struct redis_connection *c)
{
    return c->state;
}

const struct error *redis_connection_error(const struct redis_connection *c)
{
    return &c->error;
}

const char *redis_connection_place(const struct redis_connection *c)
{
    return c->up_place;
}

/* The bytes of a command, at the end of a talloc'd buffer. */
static char *add_wire(const void *context, char *wire, size_t *length, const struct redis_command *command)
{
    char *bytes = NULL;
    const char **words = (const char **)command->words;
    long long more = redisFormatCommandArgv(&bytes, command->count, words, command->lengths);
    if (more < 0)
        abort();
    wire = must(talloc_realloc(context, wire, char, *length + (size_t)more));
    memcpy(wire + *length, bytes, (size_t)more);
    *length += (size_t)more;
    redisFreeCommand(bytes);
    return wire;
}

static struct request *new_request(struct redis_connection *c, const struct redis_command *commands,
                                   int count, double deadline_s, struct redis_handler handler)
{
    struct request *r = must(talloc_zero(c, struct request));
    struct error refused;
    r->commands = must(talloc_zero_array(r, struct sent_command, (size_t)count));
    r->count = count;
    r->deadline_s = deadline_s;
    r->handler = handler;
    for (int i = 0; i < count; i++) {
        redis_command_name(r->commands[i].name, NAME_SIZE, &commands[i]);
        if (!c->options.watching || redis_watch_allows(&commands[i], &refused)) {
            r->wire = add_wire(r, r->wire, &r->length, &commands[i]);
            continue;
        }
        r->commands[i].refused = must(talloc_memdup(r->commands, &refused, sizeof refused));
        snprintf(r->commands[i].refused->where, sizeof refused.where, "%s", c->options.label);
    }
    return r;
}

void redis_connection_send(struct redis_connection *c, const struct redis_command *commands, int count,
                           double deadline_s, struct redis_handler handler)
{
    struct request *r = new_request(c, commands, count, deadline_s, handler);
    *c->last = r;
    c->last = &r->next;
    enter(c);
    if (c->state == CONNECTION_UP) {
        transmit(c, r);
        if (!r->length) /* nothing was sent: the answer comes in a later turn */
            ev_feed_event(loop_ev(c->loop), &c->tick, EV_TIMER);
    } else if (c->state == CONNECTION_DOWN) {
        r->rejected = true;
    } else if (c->state == CONNECTION_IDLE && !c->doomed) {
        open_now(c);
    }
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

void redis_connection_psubscribe(struct redis_connection *c, const struct redis_command *patterns)
{
    const char **words = must(talloc_array(c, const char *, (size_t)patterns->count + 1));
    size_t *lengths = must(talloc_array(words, size_t, (size_t)patterns->count + 1));
    words[0] = "PSUBSCRIBE";
    lengths[0] = strlen(words[0]);
    for (int i = 0; i < patterns->count; i++)
        words[i + 1] = redis_command_word(patterns, i, &lengths[i + 1]);
    TALLOC_FREE(c->patterns);
    c->patterns_length = 0;
    c->patterns =
        add_wire(c, NULL, &c->patterns_length, &(struct redis_command){patterns->count + 1, words, lengths});
    talloc_free(words);
    enter(c);
    if (c->state == CONNECTION_UP) {
        write_bytes(c, c->patterns, c->patterns_length);
        if (!flush(c))
            mark_broken(c);
        arm_tick(c);
    } else if (c->state == CONNECTION_IDLE && !c->doomed) {
        open_now(c);
    }
    leave(c);
}
