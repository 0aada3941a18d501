/*
 * Asking for statements, on the slow connection: first where the extension is, then one round trip with the
 * numbers of all entries, then the texts of those not seen before.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/server_internal.h"
#include "core/clock.h"

#define SLOW_DEADLINE_S 25
enum { NUMBERS_SLICE = 1000, TEXTS_SLICE = 200 };
enum { ASK_INFO, ASK_NAMES, ASK_NUMBERS, ASKS };

static void publish(struct pg_server *server)
{
    struct statements_snapshot *snapshot =
        statements_store_snapshot(server->statements.store, server->statements.basis);
    if (snapshot)
        server_publish(server, PG_FEED_STATEMENTS, snapshot);
}

void pg_server_statements_basis(struct pg_server *server, enum statements_basis basis)
{
    if (server->statements.basis == basis)
        return;
    server->statements.basis = basis;
    publish(server);
    if (server->changed)
        server->changed(server->data);
}

void server_forget_extension(struct pg_server *server)
{
    talloc_free(server->statements.schema);
    server->statements.schema = NULL;
}

/* ---- texts ---- */

static void text_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct pg_server *server = ((struct feed_run *)data)->server;
    (void)index;
    for (int i = 0; !error && i < pg_rows_count(rows); i++)
        statements_store_text(server->statements.store, pg_rows_integer(rows, i, 0),
                              pg_rows_text(rows, i, 1));
}

/* Numbers whose texts did not come are an answer all the same. */
static void text_done(void *data, const struct error *error)
{
    struct feed_run *run = data;
    if (!error && !run->server->dying)
        publish(run->server);
    server_run_done(run, error, "cannot read the texts of pg_stat_statements");
}

/* Reading texts makes the server read its whole file of texts: only for new ids, and only for those shown.
 * False: there are none. */
static bool ask_texts(struct feed_run *run)
{
    struct pg_server *server = run->server;
    bool with_calls_only = server->statements.basis != BASIS_RESET;
    void *context = talloc_new(NULL);
    char *ids = statements_store_wanted(context, server->statements.store, with_calls_only);
    if (ids) {
        struct pg_statement statement = {.name = "texts",
                                         .sql = statements_text_query(context, server->statements.schema),
                                         .parameter_count = 1,
                                         .parameters = {ids},
                                         .slice = TEXTS_SLICE};
        pg_connection_send(server->slow, &statement, 1, SLOW_DEADLINE_S,
                           (struct pg_handler){text_rows, text_done, run});
    }
    bool asked = ids != NULL;
    talloc_free(context);
    return asked;
}

/* ---- numbers ---- */

static void take_info(struct pg_server *server, const struct pg_rows *rows)
{
    struct statements_work *work = &server->statements;
    bool known = pg_rows_count(rows) == 1;
    work->reset_at = known && !pg_rows_null(rows, 0, 0) ? pg_rows_real(rows, 0, 0) : 0;
    work->deallocated = known ? pg_rows_integer(rows, 0, 1) : -1;
    work->io_timing = known && pg_rows_boolean(rows, 0, 2);
}

static void take_numbers(struct pg_server *server, const struct pg_rows *rows)
{
    struct statements_work *work = &server->statements;
    if (!work->begun)
        statements_store_begin(work->store, clock_wall(), clock_monotonic(), work->reset_at,
                               work->deallocated, work->io_timing);
    work->begun = true;
    for (int i = 0; i < pg_rows_count(rows); i++) {
        struct statement_reading reading;
        statements_read_row(&reading, rows, i);
        statements_store_take(work->store, &reading);
    }
    if (pg_rows_last(rows))
        statements_store_end(work->store);
}

static void statements_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    if (error) {
        run->error = *error;
        return;
    }
    if (index == ASK_INFO)
        take_info(server, rows);
    else if (index == ASK_NUMBERS)
        take_numbers(server, rows);
    for (int i = 0; index == ASK_NAMES && i < pg_rows_count(rows); i++)
        statements_store_name(server->statements.store, pg_rows_boolean(rows, i, 0),
                              (uint32_t)pg_rows_integer(rows, i, 1), pg_rows_text(rows, i, 2));
}

static void statements_done(void *data, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    if (!error && !run->error.kind) {
        publish(server);
        /* The feed has answered when the texts are there too: batch output prints them. */
        if (ask_texts(run)) {
            if (server->changed)
                server->changed(server->data);
            return;
        }
    }
    server_run_done(run, error, "cannot read pg_stat_statements");
}

static void ask_numbers(struct pg_server *server)
{
    struct feed_run *run = &server->runs[PG_FEED_STATEMENTS];
    struct statements_work *work = &server->statements;
    talloc_free(server->queries[PG_FEED_STATEMENTS]);
    server->queries[PG_FEED_STATEMENTS] = statements_query(server, work->schema, work->version);
    server->feeds[PG_FEED_STATEMENTS].query = server->queries[PG_FEED_STATEMENTS];
    char *info = statements_info_query(NULL, work->schema, work->version);
    struct pg_statement statements[ASKS] = {
        [ASK_INFO] = {.name = "info", .sql = info},
        [ASK_NAMES] = {.name = "names", .sql = statements_names_query(), .slice = NUMBERS_SLICE},
        [ASK_NUMBERS] = {.name = "numbers",
                         .sql = server->queries[PG_FEED_STATEMENTS],
                         .binary = true,
                         .slice = NUMBERS_SLICE}};
    work->begun = false;
    pg_connection_send(server->slow, statements, ASKS, SLOW_DEADLINE_S,
                       (struct pg_handler){statements_rows, statements_done, run});
    talloc_free(info);
}

/* ---- where the extension is ---- */

static void extension_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct feed_run *run = data;
    struct pg_server *server = run->server;
    char where[160], why[160];
    (void)index;
    if (error) {
        run->error = *error;
        return;
    }
    if (!pg_rows_count(rows)) {
        snprintf(where, sizeof where, "%s: %s", server->environment->name, server->definition->name);
        snprintf(why, sizeof why, "the extension pg_stat_statements is not installed in database %s",
                 server->facts.known ? server->facts.database : "it is connected to");
        error_set(&run->error, ERROR_UNSUPPORTED, where, "cannot read pg_stat_statements",
                  "Put pg_stat_statements into shared_preload_libraries, restart the server, then there as a "
                  "superuser: CREATE EXTENSION pg_stat_statements;",
                  "%s", why);
        return;
    }
    char *dot;
    long major = strtol(pg_rows_text(rows, 0, 1), &dot, 10),
         minor = *dot == '.' ? strtol(dot + 1, NULL, 10) : 0;
    server_forget_extension(server);
    server->statements.schema = talloc_strdup(server, pg_rows_text(rows, 0, 0));
    server->statements.version = (int)(major * 100 + minor);
}

static void extension_done(void *data, const struct error *error)
{
    struct feed_run *run = data;
    if (error || run->error.kind || run->server->dying)
        server_run_done(run, error, "cannot look for pg_stat_statements");
    else
        ask_numbers(run->server);
}

void server_ask_statements(struct pg_server *server)
{
    if (server->statements.schema) {
        ask_numbers(server);
        return;
    }
    struct pg_statement statement = {
        .sql = "SELECT quote_ident(n.nspname), e.extversion FROM pg_extension AS e"
               " JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'"};
    pg_connection_send(
        server->slow, &statement, 1, SLOW_DEADLINE_S,
        (struct pg_handler){extension_rows, extension_done, &server->runs[PG_FEED_STATEMENTS]});
}
