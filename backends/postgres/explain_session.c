#include "backends/postgres/explain_session.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/server_internal.h"

#define CONNECT_TIMEOUT_S 10
#define IDLE_TIMEOUT "15000"

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* The DSN with another database; it stands behind the service's own, so it wins. */
static char *dsn_with_database(const void *context, const char *dsn, const char *database)
{
    PQconninfoOption *parts = PQconninfoParse(dsn, NULL);
    if (!parts || !database) {
        PQconninfoFree(parts);
        return must(talloc_strdup(context, dsn));
    }
    char *fresh = must(talloc_strdup(context, ""));
    for (PQconninfoOption *part = parts; part->keyword; part++) {
        const char *value = strcmp(part->keyword, "dbname") == 0 ? database : part->val;
        if (!value)
            continue;
        fresh = must(talloc_asprintf_append(fresh, "%s%s='", *fresh ? " " : "", part->keyword));
        for (const char *at = value; *at; at++)
            fresh = must(talloc_asprintf_append(fresh, *at == '\'' || *at == '\\' ? "\\%c" : "%c", *at));
        fresh = must(talloc_strdup_append(fresh, "'"));
    }
    PQconninfoFree(parts);
    return fresh;
}

static void tell(struct explain_session *s, const struct error *error)
{
    void (*done)(void *data, const struct error *e) = s->done;
    struct error copy = error ? *error : (struct error){0};
    s->done = NULL;
    if (done)
        done(s->data, error ? &copy : NULL); /* may free the session */
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct explain_session *s = timer->data;
    (void)ev, (void)events;
    tell(s, &s->error);
}

void explain_session_close(struct explain_session *s)
{
    struct pg_connection *connection = s->connection;
    s->closing = true;
    s->connection = NULL;
    s->done = NULL;
    ev_timer_stop(loop_ev(s->loop), &s->later);
    pg_connection_free(connection);
}

static int session_destroy(struct explain_session *s)
{
    explain_session_close(s);
    return 0;
}

/* What can be said without asking the server. */
static void refuse_early(struct explain_session *s, const struct explain_request *request, const char *read)
{
    const struct plain_statement *statement = s->statement;
    if (!read)
        error_set(&s->error, ERROR_INTERLOCK, s->where, "no plan",
                  "Add read: to the server in the environment file; its role needs SELECT on the tables.",
                  "the environment defines no login for reading");
    else if (request->truncated)
        error_set(
            &s->error, ERROR_INTERLOCK, s->where, "no plan",
            "Raise track_activity_query_size (it needs a restart), or paste the whole text.",
            "the server keeps no more of this text than track_activity_query_size, and its end is missing");
    else if (!statement->explainable)
        error_set(&s->error, ERROR_INTERLOCK, s->where, "no plan",
                  "Plans are made of one SELECT, INSERT, UPDATE, DELETE or MERGE.", "%s",
                  statement->refusal.why);
    else if (statement->parameters > EXPLAIN_PARAMETERS)
        error_set(&s->error, ERROR_UNSUPPORTED, s->where, "no plan",
                  "Explain it in psql with fewer items in its lists.",
                  "it has %d parameters, and at most %d are possible here", statement->parameters,
                  EXPLAIN_PARAMETERS);
}

struct explain_session *explain_session_new(const void *context, struct loop *loop, struct pg_server *server,
                                            const struct explain_request *request)
{
    struct explain_session *s = must(talloc_zero(context, struct explain_session));
    const char *read = pg_server_definition(server)->read;
    s->loop = loop;
    s->server = must(talloc_strdup(s, pg_server_name(server)));
    s->where = must(talloc_asprintf(s, "%s: %s as read", server->environment->name, s->server));
    s->dsn = dsn_with_database(s, read ? read : "", request->database);
    s->wanted_path = request->search_path ? must(talloc_strdup(s, request->search_path)) : NULL;
    s->route = pg_server_route(server);
    s->statement = plain_statement_read(s, request->sql);
    ev_timer_init(&s->later, on_later, 0, 0);
    s->later.data = s;
    talloc_set_destructor(s, session_destroy);
    refuse_early(s, request, read);
    return s;
}

/* ---- asking ---- */

/* The first error counts: those behind it only say that the transaction is aborted. */
static void take_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct explain_session *s = data;
    if (s->closing || s->error.kind != ERROR_NONE)
        return;
    if (error)
        s->error = *error;
    else if (s->rows)
        s->rows(s->data, index, rows);
}

static void take_done(void *data, const struct error *error)
{
    struct explain_session *s = data;
    if (s->closing)
        return;
    if (error && s->error.kind == ERROR_NONE)
        s->error = *error;
    if (s->error.kind == ERROR_TIMEOUT) /* nothing is tried again here */
        snprintf(s->error.todo, sizeof s->error.todo, "The time limits are those of the sandbox.");
    tell(s, s->error.kind != ERROR_NONE ? &s->error : NULL);
}

void explain_session_ask(struct explain_session *s, const struct pg_statement *statements, int count,
                         double deadline_s, void (*rows)(void *data, int index, const struct pg_rows *rows),
                         void (*done)(void *data, const struct error *error), void *data)
{
    s->rows = rows;
    s->done = done;
    s->data = data;
    error_clear(&s->error);
    pg_connection_send(s->connection, statements, count, deadline_s,
                       (struct pg_handler){.rows = take_rows, .done = take_done, .data = s});
}

/* ---- opening ---- */

enum { OPEN_BEGIN, OPEN_LIMITS, OPEN_FACTS, OPEN_PREPARE, OPEN_TYPES, OPEN_COUNT };

static void explain_prepare_error(struct explain_session *s, struct error *error)
{
    if (!error->what[0])
        snprintf(error->what, sizeof error->what, "no plan");
    if (error->kind == ERROR_MISSING && !s->wanted_path)
        snprintf(error->todo, sizeof error->todo,
                 "The statement names no schema, and search_path of the role does not lead to its tables: "
                 "choose the "
                 "schema of a tenant.");
    else if (error->kind == ERROR_SERVER && s->statement->parameters)
        snprintf(
            error->todo, sizeof error->todo,
            "The types of the parameters may be unclear: write a cast behind them, such as $1::integer.");
}

static void opened(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct explain_session *s = data;
    if (s->closing || s->error.kind != ERROR_NONE)
        return;
    if (error) {
        s->error = *error;
        if (index == OPEN_PREPARE)
            explain_prepare_error(s, &s->error);
    } else if (index == OPEN_FACTS && pg_rows_count(rows) > 0) {
        s->role = must(talloc_strdup(s, pg_rows_text(rows, 0, 0)));
        s->database = must(talloc_strdup(s, pg_rows_text(rows, 0, 1)));
        s->search_path = must(talloc_strdup(s, pg_rows_text(rows, 0, 2)));
    } else if (index == OPEN_TYPES) {
        s->type_count = (size_t)pg_rows_count(rows);
        s->types = must(talloc_zero_array(s, const char *, s->type_count + 1));
        for (size_t i = 0; i < s->type_count; i++)
            s->types[i] = must(talloc_strdup(s->types, pg_rows_text(rows, (int)i, 0)));
    }
}

void explain_session_open(struct explain_session *s, bool prepares, double statement_timeout_s,
                          double lock_timeout_s, void (*done)(void *data, const struct error *error),
                          void *data)
{
    s->done = done;
    s->data = data;
    s->prepares = prepares;
    if (s->error.kind != ERROR_NONE) {
        ev_timer_start(loop_ev(s->loop), &s->later);
        return;
    }
    char statement_timeout[32], lock_timeout[32];
    snprintf(statement_timeout, sizeof statement_timeout, "%.0f", statement_timeout_s * 1000);
    snprintf(lock_timeout, sizeof lock_timeout, "%.0f", lock_timeout_s * 1000);
    s->connection =
        pg_connection_new(s->loop, &(struct pg_connection_options){.label = s->where,
                                                                   .dsn = s->dsn,
                                                                   .route = s->route,
                                                                   .application_name = "signalbox explain",
                                                                   .connect_timeout_s = CONNECT_TIMEOUT_S,
                                                                   .work = WORK_CONNECT});
    /* standard_conforming_strings: the grammar that looked at the text assumes it. */
    const struct pg_statement statements[OPEN_COUNT] = {
        [OPEN_BEGIN] = {.sql = "BEGIN TRANSACTION READ ONLY"},
        [OPEN_LIMITS] =
            {.sql = "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, "
                    "true), set_config('idle_in_transaction_session_timeout', '" IDLE_TIMEOUT "', true), "
                    "set_config('standard_conforming_strings', 'on', true), "
                    "set_config('search_path', coalesce($3, current_setting('search_path')), true)",
             .parameter_count = 3,
             .parameters = {statement_timeout, lock_timeout, s->wanted_path}},
        [OPEN_FACTS] = {.sql = "SELECT current_user, current_database(), current_setting('search_path')"},
        /* Takes one statement that can be planned and nothing else, whatever the text holds. */
        [OPEN_PREPARE] = {.sql = talloc_asprintf(s, "PREPARE signalbox AS %s", s->statement->sql)},
        [OPEN_TYPES] = {.sql =
                            "SELECT u.type::text FROM pg_prepared_statements, unnest(parameter_types) WITH "
                            "ORDINALITY AS u(type, i) WHERE name = 'signalbox' ORDER BY u.i"}};
    pg_connection_send(s->connection, statements, prepares ? OPEN_COUNT : OPEN_PREPARE,
                       statement_timeout_s + 10,
                       (struct pg_handler){.rows = opened, .done = take_done, .data = s});
}
