/*
 * A connection on the loop: requests in a list, written in one go, answered in order. Of hiredis it uses the
 * protocol (formatting, reading) and, where it has it, TLS; sockets, deadlines and lifetimes are our own.
 */
#include "backends/redis/connection.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/redis/connection_internal.h"
#include "backends/redis/watch_commands.h"
#include "core/clock.h"

#define RETRY_FIRST_S 0.5
#define RETRY_LAST_S 30.0
/* A subscription is silent by nature: whether somebody is still there must be asked. */
#define HEART_S 10.0

enum { READS_A_TURN = 64 };

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- entering and leaving: what a callback frees is freed when the last of ours has ended ---- */

void connection_enter(struct redis_connection *c)
{
    c->depth++;
}

void connection_leave(struct redis_connection *c)
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

void connection_arm_tick(struct redis_connection *c)
{
    double next = INFINITY, now = clock_monotonic();
    for (struct request *r = c->first; r; r = r->next) {
        if (r->rejected || (r->sent && r->at == 0 && (!r->count || r->commands[0].refused)))
            next = 0; /* no answer will come: it is told in a turn of its own */
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

void connection_watch(struct redis_connection *c, int events)
{
    struct ev_loop *ev = loop_ev(c->loop);
    if (!c->context)
        return;
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

bool connection_flush(struct redis_connection *c)
{
    int done = 0;
    if (redisBufferWrite(c->context, &done) != REDIS_OK)
        return false;
    connection_watch(c, done ? EV_READ : EV_READ | EV_WRITE);
    return true;
}

static void write_bytes(struct redis_connection *c, const char *bytes, size_t length)
{
    if (length && redisAppendFormattedCommand(c->context, bytes, length) != REDIS_OK)
        abort(); /* out of memory */
}

void connection_append(struct redis_connection *c, struct redis_command command)
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
    if (!c->broken && !connection_flush(c))
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

void connection_refused(struct redis_connection *c, const redisReply *reply, const char *what)
{
    struct error error;
    redis_error(&error, c->options.label, what, reply);
    name_user(c, &error);
    connection_lose(c, &error);
}

/* What comes without having been asked for: pushes of a subscription, or a farewell. */
static void take_push(struct redis_connection *c, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        connection_refused(c, reply, c->patterns ? "cannot subscribe" : "the server closed the connection");
        return;
    }
    if (!c->patterns) {
        struct error error;
        error_set(&error, ERROR_SERVER, c->options.label, "the connection is out of step", NULL,
                  "an answer came that nobody asked for");
        connection_lose(c, &error);
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
            connection_take_setup(c, reply);
        else if (c->first && c->first->sent && !c->patterns)
            take_reply(c, reply);
        else
            take_push(c, reply);
        freeReplyObject(reply);
        if (c->context)
            deliver_refused(c);
    }
}

void connection_blame(const struct redis_connection *c, double since, struct error *error)
{
    const struct error *better = c->options.blame ? c->options.blame(c->options.data, since) : NULL;
    if (!better)
        return;
    *error = *better;
    snprintf(error->where, sizeof error->where, "%s", c->options.label);
}

static void set_broken(const struct redis_connection *c, struct error *error)
{
    const char *label = c->options.label, *text = c->context ? c->context->errstr : "";
    int kind = c->context ? c->context->err : 0;
    const char *why = kind == REDIS_ERR_EOF ? "the server closed the connection"
                      : *text               ? text
                                            : "no reason was given";
    if (kind == REDIS_ERR_PROTOCOL)
        error_set(error, ERROR_SERVER, label, "this is not a Redis server",
                  "Check the port; one that speaks TLS needs rediss://", "%s", text);
    else if (c->state == CONNECTION_UP)
        error_set(error, ERROR_LOST, label, "the connection broke",
                  c->options.keep ? "It is made again by itself." : NULL, "%s", why);
    else if (c->url->tls)
        error_set(error, ERROR_TLS, label, "cannot begin TLS",
                  "Is its certificate for this name, and trusted here (SSL_CERT_FILE)?", "%s", why);
    else
        error_set(error, ERROR_LOST, label, "the connection broke while logging in",
                  "One that speaks TLS needs rediss://", "%s", why);
}

static void lose_broken(struct redis_connection *c)
{
    struct error error;
    set_broken(c, &error);
    /* The tunnel's error comes a little before. */
    if (error.kind == ERROR_LOST)
        connection_blame(c, c->state == CONNECTION_UP ? clock_monotonic() - 2 : c->begun_at, &error);
    connection_lose(c, &error);
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

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct redis_connection *c = watcher->data;
    (void)ev;
    connection_enter(c);
    if (c->connecting) {
        connection_socket_ready(c);
    } else {
        bool sound = !(events & EV_READ) || read_bytes(c);
        take_replies(c);
        if (c->context && !c->connecting && (!sound || c->broken || !connection_flush(c)))
            lose_broken(c);
    }
    if (!c->doomed)
        connection_arm_tick(c);
    connection_leave(c);
}

void connection_come_up(struct redis_connection *c)
{
    c->connect_until = 0;
    error_clear(&c->error);
    talloc_free(c->up_place);
    c->up_place = redis_place_text(c, &c->url->places[c->at_place]);
    c->state = CONNECTION_UP;
    if (c->patterns) {
        write_bytes(c, c->patterns, c->patterns_length);
        if (!connection_flush(c))
            mark_broken(c);
    } else {
        for (struct request *r = c->first; r && !c->broken; r = r->next)
            if (!r->sent && !r->rejected)
                transmit(c, r);
    }
    connection_set_state(c, CONNECTION_UP);
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
        connection_lose(c, &error);
        return false;
    }
    connection_append(c, REDIS_COMMAND("PING"));
    if (!connection_flush(c))
        mark_broken(c);
    return true;
}

static void check_deadlines(struct redis_connection *c)
{
    struct error error;
    double now = clock_monotonic();
    if (c->connect_until > 0 && c->connect_until <= now) {
        c->connect_until = 0;
        connection_begin_too_late(c);
        return;
    }
    if (!beat(c, now))
        return;
    for (struct request *r = c->first; r; r = r->next) {
        if (!r->sent || r->deadline_at <= 0 || r->deadline_at > now)
            continue;
        set_too_late(c, r->deadline_s, &error);
        connection_lose(c, &error);
        return;
    }
}

static void on_tick(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_connection *c = watcher->data;
    (void)ev, (void)events;
    connection_enter(c);
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
        connection_arm_tick(c);
    connection_leave(c);
}

/* ---- up and down ---- */

void connection_set_state(struct redis_connection *c, enum connection_state state)
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
    c->waiting = false;
    connection_drop_socket(c);
    connection_wipe_password(c);
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
    connection_enter(c);
    connection_begin(c);
    connection_leave(c);
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
void connection_lose(struct redis_connection *c, const struct error *error)
{
    struct error why = *error;
    connection_enter(c);
    drop(c);
    c->error = why;
    c->state = CONNECTION_DOWN;
    if (c->options.keep && !c->doomed)
        schedule_retry(c);
    fail_requests(c, &why);
    if (c->state == CONNECTION_DOWN)
        connection_set_state(c, CONNECTION_DOWN);
    connection_leave(c);
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
    c->options.via = copy_text(c, options->via);
    if (options->sockets) {
        const char **sockets = must(talloc_array(c, const char *, c->url->place_count));
        for (size_t i = 0; i < c->url->place_count; i++)
            sockets[i] = copy_text(sockets, options->sockets[i]);
        c->options.sockets = sockets;
    }
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
    connection_enter(c);
    drop(c);
    error_clear(&c->error);
    c->back_off = 0;
    c->state = CONNECTION_IDLE;
    fail_requests(c, &error);
    if (c->state == CONNECTION_IDLE)
        connection_set_state(c, CONNECTION_IDLE);
    connection_leave(c);
}

void redis_connection_free(struct redis_connection *c)
{
    if (!c || c->doomed)
        return;
    connection_enter(c);
    c->doomed = true;
    do /* a handler may ask anew */
        redis_connection_close(c);
    while (c->first || c->dial);
    if (c->url->password)
        explicit_bzero((char *)c->url->password, strlen(c->url->password));
    connection_leave(c);
}

void redis_connection_open(struct redis_connection *c)
{
    if (c->doomed || (c->state != CONNECTION_IDLE && c->state != CONNECTION_DOWN && !c->waiting))
        return;
    connection_enter(c);
    connection_begin(c);
    connection_leave(c);
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
    connection_enter(c);
    if (c->state == CONNECTION_UP) {
        transmit(c, r);
    } else if (c->state == CONNECTION_DOWN) {
        r->rejected = true;
    } else if (c->state == CONNECTION_IDLE && !c->doomed) {
        connection_begin(c);
    }
    if (!c->doomed)
        connection_arm_tick(c);
    connection_leave(c);
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
    connection_enter(c);
    if (c->state == CONNECTION_UP) {
        write_bytes(c, c->patterns, c->patterns_length);
        if (!connection_flush(c))
            mark_broken(c);
        connection_arm_tick(c);
    } else if (c->state == CONNECTION_IDLE && !c->doomed) {
        connection_begin(c);
    }
    connection_leave(c);
}
