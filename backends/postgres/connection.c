/*
 * A connection on the loop: requests in a list, sent as one pipeline, answered in order. All of libpq's own
 * types stay in here (and in the job that connects).
 */
#include "backends/postgres/connection.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "backends/postgres/connect_job.h"
#include "backends/postgres/connection_error.h"
#include "core/clock.h"

#define RETRY_FIRST_S 0.5
#define RETRY_LAST_S 30.0

/* Of every statement prepared on this connection. */
struct prepared {
    char *name, *sql;
    unsigned serial; /* part of the name on the server: a failed or outdated one is never used again */
    bool known;
    UT_hash_handle hh;
};

struct request {
    struct request *next;
    struct pg_statement *statements;
    bool *prepares; /* sent with a Parse of its own */
    int count;
    int at;         /* the statement being answered */
    bool delivered; /* its rows or error are with the handler */
    bool parsing;   /* its Parse is not answered yet */
    bool sent, rejected;
    double deadline_s, deadline_at;
    struct pg_handler handler;
};

struct pg_rows {
    PGresult *result;
    int first, count;
    bool last;
};

struct pg_connection {
    struct loop *loop;
    struct pg_connection_options options;
    enum connection_state state;
    struct error error;
    struct error farewell; /* what the server said before it closed the connection */
    PGconn *conn;
    int version, pid;
    char *role;
    struct connect_job *job;
    struct request *first, **last;
    struct prepared *prepared;
    struct pg_rows slice; /* an answer that is handed over in parts */
    ev_io io;
    ev_timer tick;  /* deadlines, rejections */
    ev_timer retry; /* back-off */
    ev_timer next_slice;
    double back_off;
    bool broken; /* found while sending: ends in a later turn */
    int depth;   /* callbacks of ours that are running */
    bool doomed;
};

static void lose(struct pg_connection *c, const struct error *error);

/* ---- rows ---- */

int pg_rows_count(const struct pg_rows *rows)
{
    return rows->count;
}

bool pg_rows_last(const struct pg_rows *rows)
{
    return rows->last;
}

bool pg_rows_null(const struct pg_rows *rows, int row, int column)
{
    return PQgetisnull(rows->result, rows->first + row, column);
}

const char *pg_rows_text(const struct pg_rows *rows, int row, int column)
{
    return pg_rows_null(rows, row, column) ? NULL : PQgetvalue(rows->result, rows->first + row, column);
}

static uint64_t big_endian(const char *bytes, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++)
        value = value << 8 | (unsigned char)bytes[i];
    return value;
}

int64_t pg_rows_integer(const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    if (!text)
        return 0;
    if (!PQfformat(rows->result, column))
        return strtoll(text, NULL, 10);
    int length = PQgetlength(rows->result, rows->first + row, column);
    if (length == 8)
        return (int64_t)big_endian(text, 8);
    bool is_signed = PQftype(rows->result, column) != 26; /* oid */
    if (length == 4)
        return is_signed ? (int32_t)big_endian(text, 4) : (int64_t)big_endian(text, 4);
    return length == 2 ? (int16_t)big_endian(text, 2) : length == 1 ? text[0] : 0;
}

double pg_rows_real(const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    if (!text)
        return NAN;
    if (!PQfformat(rows->result, column)) {
        char *end;
        double value = strtod(text, &end);
        return end == text ? NAN : value;
    }
    if (PQftype(rows->result, column) != 701) /* float8 */
        return (double)pg_rows_integer(rows, row, column);
    uint64_t bits = big_endian(text, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool pg_rows_boolean(const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    return text && (PQfformat(rows->result, column) ? text[0] == 1 : text[0] == 't');
}

size_t pg_rows_bytes(const struct pg_rows *rows)
{
    size_t bytes = 0;
    int columns = PQnfields(rows->result);
    for (int i = 0; i < rows->count; i++)
        for (int j = 0; j < columns; j++)
            bytes += (size_t)PQgetlength(rows->result, rows->first + i, j) + 1;
    return bytes;
}

const char *pg_rows_command(const struct pg_rows *rows)
{
    return PQcmdStatus(rows->result);
}

/* ---- entering and leaving: what a callback frees is freed when the last of ours has ended ---- */

static void enter(struct pg_connection *c)
{
    c->depth++;
}

static void leave(struct pg_connection *c)
{
    if (--c->depth == 0 && c->doomed)
        talloc_free(c);
}

/* ---- the list of requests ---- */

static struct request *pop_request(struct pg_connection *c)
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

static void arm_tick(struct pg_connection *c)
{
    double next = INFINITY, now = clock_monotonic();
    for (struct request *r = c->first; r; r = r->next) {
        if (r->rejected)
            next = 0;
        else if (r->deadline_at > 0)
            next = fmin(next, fmax(0, r->deadline_at - now));
    }
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

static void watch_socket(struct pg_connection *c, int events)
{
    struct ev_loop *ev = loop_ev(c->loop);
    if (ev_is_active(&c->io) && c->io.fd == PQsocket(c->conn) &&
        (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(ev, &c->io);
    ev_io_set(&c->io, PQsocket(c->conn), events);
    ev_io_start(ev, &c->io);
}

/* libpq may have closed the socket: nothing may watch it until the tick that makes it lost. */
static void mark_broken(struct pg_connection *c)
{
    c->broken = true;
    ev_io_stop(loop_ev(c->loop), &c->io);
}

static bool flush(struct pg_connection *c)
{
    int left = PQflush(c->conn);
    if (left < 0)
        return false;
    watch_socket(c, left ? EV_READ | EV_WRITE : EV_READ);
    return true;
}

static struct prepared *find_prepared(struct pg_connection *c, const struct pg_statement *statement)
{
    struct prepared *p;
    HASH_FIND_STR(c->prepared, statement->name, p);
    if (!p) {
        p = talloc_zero(c, struct prepared);
        p->name = talloc_strdup(p, statement->name);
        HASH_ADD_KEYPTR(hh, c->prepared, p->name, strlen(p->name), p);
    }
    if (!p->sql || strcmp(p->sql, statement->sql) != 0) {
        talloc_free(p->sql);
        p->sql = talloc_strdup(p, statement->sql);
        p->known = false;
    }
    return p;
}

static bool transmit_statement(PGconn *conn, struct pg_connection *c, const struct pg_statement *s,
                               bool *prepares)
{
    if (!s->name)
        return PQsendQueryParams(conn, s->sql, s->parameter_count, NULL, s->parameters, NULL, NULL,
                                 s->binary);
    struct prepared *p = find_prepared(c, s);
    *prepares = !p->known;
    if (!p->known)
        p->serial++;
    char name[80];
    snprintf(name, sizeof name, "%s_%u", p->name, p->serial);
    if (!p->known && !PQsendPrepare(conn, name, s->sql, 0, NULL))
        return false;
    p->known = true;
    return PQsendQueryPrepared(conn, name, s->parameter_count, s->parameters, NULL, NULL, s->binary);
}

/* A Sync after every statement: one error does not abort the rest. */
static void transmit(struct pg_connection *c, struct request *r)
{
    r->sent = true;
    r->deadline_at = r->deadline_s > 0 ? clock_monotonic() + r->deadline_s : 0;
    for (int i = 0; i < r->count && !c->broken; i++)
        if (!transmit_statement(c->conn, c, &r->statements[i], &r->prepares[i]) || !PQpipelineSync(c->conn))
            mark_broken(c);
    r->parsing = r->count && r->prepares[0];
    if (!c->broken && !flush(c))
        mark_broken(c);
}

/* ---- reading ---- */

static void set_result_error(struct pg_connection *c, const PGresult *result, struct error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    pg_error_from_state(
        error, c->options.label, NULL, state, message ? message : PQresultErrorMessage(result),
        PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL), PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
}

/* FATAL is known by PG_DIAG_SEVERITY_NONLOCALIZED: the connection is about to be closed. */
static void note_farewell(struct pg_connection *c, const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!severity || (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0))
        return;
    set_result_error(c, result, &c->farewell);
}

static void take_notice(void *data, const PGresult *result)
{
    note_farewell(data, result);
}

static void forget_prepared(struct pg_connection *c, const struct pg_statement *statement)
{
    struct prepared *p = NULL;
    if (statement->name)
        HASH_FIND_STR(c->prepared, statement->name, p);
    if (p)
        p->known = false;
}

static void take_error(struct pg_connection *c, struct request *r, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    note_farewell(c, result);
    /* No such prepared statement (a pooler, DISCARD ALL), or its result type changed (an extension updated).
     */
    if (r->parsing || (state && (strcmp(state, "26000") == 0 || strcmp(state, "0A000") == 0)))
        forget_prepared(c, &r->statements[r->at]);
    r->parsing = false;
    if (r->delivered || c->farewell.kind) /* lost with the connection: done says it once */
        return;
    r->delivered = true;
    struct error error;
    set_result_error(c, result, &error);
    if (r->handler.rows)
        r->handler.rows(r->handler.data, r->at, NULL, &error);
}

static void deliver_slice(struct pg_connection *c)
{
    struct request *r = c->first;
    int total = PQntuples(c->slice.result), most = r->statements[r->at].slice;
    c->slice.first += c->slice.count;
    c->slice.count = total - c->slice.first;
    if (most > 0 && c->slice.count > most)
        c->slice.count = most;
    c->slice.last = c->slice.first + c->slice.count >= total;
    struct pg_rows rows = c->slice;
    if (r->handler.rows)
        r->handler.rows(r->handler.data, r->at, &rows, NULL);
    else
        rows.last = true;
    if (!rows.last && c->slice.result) {
        ev_timer_set(&c->next_slice, 0, 0);
        ev_timer_start(loop_ev(c->loop), &c->next_slice);
        return;
    }
    PQclear(c->slice.result);
    c->slice = (struct pg_rows){0};
}

static void take_sync(struct pg_connection *c)
{
    struct request *r = c->first;
    r->at++;
    r->delivered = false;
    if (r->at < r->count) {
        r->parsing = r->prepares[r->at];
        return;
    }
    c->back_off = 0;
    pop_request(c);
    finish_request(r, NULL);
}

static void take_result(struct pg_connection *c, PGresult *result)
{
    struct request *r = c->first;
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        take_sync(c);
    } else if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
        if (r->parsing || r->delivered) {
            r->parsing = false;
            PQclear(result);
            return;
        }
        r->delivered = true;
        c->slice = (struct pg_rows){.result = result};
        deliver_slice(c);
    } else {
        if (status != PGRES_PIPELINE_ABORTED)
            take_error(c, r, result);
        PQclear(result);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            mark_broken(c); /* not a thing this console sends */
            arm_tick(c);
        }
    }
}

static void take_results(struct pg_connection *c)
{
    int nothing = 0;
    while (c->conn && !c->broken && !c->slice.result && c->first && c->first->sent && nothing < 4 &&
           !PQisBusy(c->conn)) {
        PGresult *result = PQgetResult(c->conn);
        if (!result) {
            nothing++; /* ends the results of one statement */
            continue;
        }
        nothing = 0;
        take_result(c, result);
    }
    if (c->conn && nothing == 4) {
        mark_broken(c);
        arm_tick(c);
    }
}

static void set_lost(struct pg_connection *c, struct error *error)
{
    if (c->farewell.kind) {
        *error = c->farewell;
        error->kind = ERROR_LOST;
        snprintf(error->what, sizeof error->what, "the server closed the connection");
        return;
    }
    connect_job_lost(&c->options, c->conn, error);
}

static void lose_broken(struct pg_connection *c)
{
    struct error error;
    set_lost(c, &error);
    lose(c, &error);
}

static void on_io(struct ev_loop *ev, ev_io *watcher, int events)
{
    struct pg_connection *c = watcher->data;
    (void)ev;
    enter(c);
    bool sound = true;
    if (events & EV_READ)
        sound = PQconsumeInput(c->conn);
    PQisBusy(c->conn); /* parses what an idle server says before it closes */
    take_results(c);
    if (c->conn) {
        if (!sound || PQstatus(c->conn) == CONNECTION_BAD || !flush(c))
            lose_broken(c);
    }
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

static void on_slice(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pg_connection *c = watcher->data;
    (void)ev, (void)events;
    enter(c);
    deliver_slice(c);
    take_results(c);
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

/* ---- deadlines and rejections ---- */

static struct request *take_rejected(struct pg_connection *c)
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

/* The program may have stood still, for psql or suspended: what has come meanwhile is not late. */
static void take_what_came(struct pg_connection *c)
{
    if (c->conn && !c->slice.result && PQconsumeInput(c->conn))
        take_results(c);
}

static void on_tick(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pg_connection *c = watcher->data;
    (void)ev, (void)events;
    enter(c);
    if (c->broken && c->conn)
        lose_broken(c);
    struct error error = c->error;
    for (struct request *r; (r = take_rejected(c));)
        finish_request(r, &error);
    take_what_came(c);
    double now = clock_monotonic();
    for (struct request *r = c->first; r; r = r->next) {
        if (!r->sent || r->deadline_at <= 0 || r->deadline_at > now)
            continue;
        error_set(&error, ERROR_TIMEOUT, c->options.label, NULL,
                  c->options.keep ? "The server or the line may hang; the connection is made again by itself."
                                  : "The server or the line may hang.",
                  "no answer within %.1f s", r->deadline_s);
        lose(c, &error);
        break;
    }
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

/* ---- up and down ---- */

static void set_state(struct pg_connection *c, enum connection_state state)
{
    c->state = state;
    if (c->options.changed && !c->doomed)
        c->options.changed(c->options.data, c);
}

static void drop(struct pg_connection *c)
{
    struct ev_loop *ev = loop_ev(c->loop);
    ev_io_stop(ev, &c->io);
    ev_timer_stop(ev, &c->tick);
    ev_timer_stop(ev, &c->retry);
    ev_timer_stop(ev, &c->next_slice);
    if (c->job)
        connect_job_forsake(c->job);
    c->job = NULL;
    PQclear(c->slice.result);
    c->slice = (struct pg_rows){0};
    PQfinish(c->conn);
    c->conn = NULL;
    c->pid = 0;
    c->broken = false;
    struct prepared *p, *following;
    HASH_ITER(hh, c->prepared, p, following)
    {
        HASH_DEL(c->prepared, p);
        talloc_free(p);
    }
}

static void fail_requests(struct pg_connection *c, const struct error *error)
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

/* Jitter keeps many consoles from knocking at the same moment. A password that was refused is not tried
 * often: accounts may be locked for it. */
static void schedule_retry(struct pg_connection *c)
{
    c->back_off = c->back_off > 0 ? fmin(2 * c->back_off, RETRY_LAST_S) : RETRY_FIRST_S;
    if (c->error.kind == ERROR_AUTH)
        c->back_off = RETRY_LAST_S;
    ev_now_update(loop_ev(c->loop));
    ev_timer_set(&c->retry, c->back_off * clock_jitter(0.25), 0);
    ev_timer_start(loop_ev(c->loop), &c->retry);
}

/* The connection is gone, or could not be made. */
static void lose(struct pg_connection *c, const struct error *error)
{
    struct error why = *error;
    enter(c);
    drop(c);
    error_clear(&c->farewell);
    c->error = why;
    c->state = CONNECTION_DOWN;
    if (c->options.keep && !c->doomed)
        schedule_retry(c);
    fail_requests(c, &why);
    if (c->state == CONNECTION_DOWN)
        set_state(c, CONNECTION_DOWN);
    leave(c);
}

static void settings_answered(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_connection *c = data;
    (void)index, (void)rows;
    if (!error)
        return;
    c->farewell = *error;
    snprintf(c->farewell.what, sizeof c->farewell.what, "cannot set up the connection");
    mark_broken(c);
}

static struct request *new_request(struct pg_connection *c, const struct pg_statement *statements, int count,
                                   double deadline_s, struct pg_handler handler)
{
    struct request *r = talloc_zero(c, struct request);
    r->statements = talloc_array(r, struct pg_statement, (size_t)count);
    r->prepares = talloc_zero_array(r, bool, (size_t)count);
    r->count = count;
    r->deadline_s = deadline_s;
    r->handler = handler;
    for (int i = 0; i < count; i++) {
        struct pg_statement *s = &r->statements[i];
        *s = statements[i];
        s->name = s->name ? talloc_strdup(r, s->name) : NULL;
        s->sql = talloc_strdup(r, s->sql);
        for (int j = 0; j < s->parameter_count; j++)
            s->parameters[j] = s->parameters[j] ? talloc_strdup(r, s->parameters[j]) : NULL;
    }
    return r;
}

static void come_up(struct pg_connection *c, PGconn *conn)
{
    c->conn = conn;
    c->version = PQserverVersion(conn);
    c->pid = PQbackendPID(conn);
    talloc_free(c->role);
    c->role = talloc_strdup(c, PQuser(conn));
    error_clear(&c->error);
    error_clear(&c->farewell);
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(conn, take_notice, c);
    if (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn))
        mark_broken(c);
    if (c->options.settings) {
        struct pg_statement settings = {.sql = c->options.settings};
        struct request *r =
            new_request(c, &settings, 1, 5, (struct pg_handler){.rows = settings_answered, .data = c});
        r->next = c->first;
        c->first = r;
        if (!r->next)
            c->last = &r->next;
    }
    for (struct request *r = c->first; r; r = r->next)
        transmit(c, r);
    watch_socket(c, EV_READ | EV_WRITE);
    set_state(c, CONNECTION_UP);
}

static void on_connected(void *owner, PGconn *conn, const struct error *error)
{
    struct pg_connection *c = owner;
    enter(c);
    c->job = NULL;
    if (conn)
        come_up(c, conn);
    else
        lose(c, error);
    if (!c->doomed)
        arm_tick(c);
    leave(c);
}

static void open_now(struct pg_connection *c)
{
    ev_timer_stop(loop_ev(c->loop), &c->retry);
    c->job = connect_job_start(c->loop, &c->options, on_connected, c);
    set_state(c, CONNECTION_CONNECTING);
}

static void on_retry(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pg_connection *c = watcher->data;
    (void)ev, (void)events;
    enter(c);
    open_now(c);
    leave(c);
}

/* ---- what others call ---- */

static char *copy_text(struct pg_connection *c, const char *text)
{
    return text ? talloc_strdup(c, text) : NULL;
}

struct pg_connection *pg_connection_new(struct loop *loop, const struct pg_connection_options *options)
{
    struct pg_connection *c = talloc_zero(NULL, struct pg_connection);
    if (!c)
        abort();
    c->loop = loop;
    c->options = *options;
    c->options.label = copy_text(c, options->label);
    c->options.dsn = copy_text(c, options->dsn);
    c->options.application_name = copy_text(c, options->application_name);
    c->options.settings = copy_text(c, options->settings);
    c->last = &c->first;
    ev_init(&c->io, on_io);
    ev_init(&c->tick, on_tick);
    ev_init(&c->retry, on_retry);
    ev_init(&c->next_slice, on_slice);
    c->io.data = c->tick.data = c->retry.data = c->next_slice.data = c;
    return c;
}

void pg_connection_close(struct pg_connection *c)
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

void pg_connection_free(struct pg_connection *c)
{
    if (!c || c->doomed)
        return;
    enter(c);
    c->doomed = true;
    do /* a handler may ask anew */
        pg_connection_close(c);
    while (c->first || c->job);
    leave(c);
}

void pg_connection_open(struct pg_connection *c)
{
    if (!c->doomed && (c->state == CONNECTION_IDLE || c->state == CONNECTION_DOWN))
        open_now(c);
}

enum connection_state pg_connection_state(const struct pg_connection *c)
{
    return c->state;
}

const struct error *pg_connection_error(const struct pg_connection *c)
{
    return &c->error;
}

int pg_connection_version(const struct pg_connection *c)
{
    return c->version;
}

int pg_connection_pid(const struct pg_connection *c)
{
    return c->pid;
}

const char *pg_connection_role(const struct pg_connection *c)
{
    return c->role;
}

void pg_connection_send(struct pg_connection *c, const struct pg_statement *statements, int count,
                        double deadline_s, struct pg_handler handler)
{
    struct request *r = new_request(c, statements, count, deadline_s, handler);
    *c->last = r;
    c->last = &r->next;
    enter(c);
    if (c->state == CONNECTION_UP)
        transmit(c, r);
    else if (c->state == CONNECTION_DOWN)
        r->rejected = true;
    else if (c->state == CONNECTION_IDLE && !c->doomed)
        open_now(c);
    arm_tick(c);
    leave(c);
}

void pg_connection_cancel(struct pg_connection *c)
{
    PGcancel *cancel = c->conn ? PQgetCancel(c->conn) : NULL;
    if (!cancel)
        return;
    cancel_job_start(c->loop, cancel);
}
