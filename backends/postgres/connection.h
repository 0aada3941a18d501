/*
 * One connection to a Postgres server, on the loop. Connecting (with name resolution) happens in a worker and
 * the finished connection is handed over; a request goes as one pipeline, a Sync after every statement.
 * PGconn and PGresult never leave connection.c: callers see struct pg_rows.
 */
#ifndef BACKENDS_POSTGRES_CONNECTION_H
#define BACKENDS_POSTGRES_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/connection_state.h"
#include "core/error.h"
#include "core/loop.h"

struct pg_connection;

/* The rows of one answer; valid only during the callback that receives it. Rows and columns count from 0. */
struct pg_rows;
int pg_rows_count(const struct pg_rows *rows);
bool pg_rows_null(const struct pg_rows *rows, int row, int column);
const char *pg_rows_text(const struct pg_rows *rows, int row, int column); /* NULL for SQL NULL */
int64_t pg_rows_integer(const struct pg_rows *rows, int row, int column);  /* 0 for NULL or garbage */
double pg_rows_real(const struct pg_rows *rows, int row, int column);      /* NaN for NULL or garbage */
bool pg_rows_boolean(const struct pg_rows *rows, int row, int column);
/* Bytes that all texts of these rows take, each with its NUL: to copy them into one block. */
size_t pg_rows_bytes(const struct pg_rows *rows);
const char *pg_rows_command(const struct pg_rows *rows); /* "SELECT 3" */
/* With pg_statement.slice: whether this is the last part of the answer. Else true. */
bool pg_rows_last(const struct pg_rows *rows);

struct pg_statement {
    const char
        *name; /* prepared once per connection under this name, then executed; NULL: parsed each time */
    const char *sql;
    int parameter_count;        /* at most 64 */
    const char *parameters[64]; /* text format; NULL is SQL NULL */
    bool binary; /* the answer comes in binary: only integers, reals, booleans and texts can be read then */
    int slice;   /* at most so many rows a call of the handler, the loop turning in between; 0: all at once */
};

struct pg_handler {
    /* Once for each statement, in order; either rows or error is NULL. With a slice as often as there are
     * slices. Not called for statements that were not answered before the connection was lost. May be NULL.
     * Must not free the connection. */
    void (*rows)(void *data, int index, const struct pg_rows *rows, const struct error *error);
    /* Once, at the end of everything; error is NULL unless the connection never came up, was lost, or the
     * deadline passed. The data may be freed here. */
    void (*done)(void *data, const struct error *error);
    void *data;
};

struct pg_route;

struct pg_connection_options {
    const char *label;            /* for errors: "production: main as watch" */
    const char *dsn;              /* URI or key=value */
    const char *application_name; /* "signalbox watch" */
    const char
        *settings; /* one statement, run first after connecting: "SELECT set_config(...), ..."; or NULL */
    struct pg_route *route; /* the way through an SSH host, which outlives the connection; NULL: directly */
    double connect_timeout_s;
    bool keep;           /* reconnect for ever with back-off and jitter; else one try */
    enum work_kind work; /* WORK_CONNECT, or WORK_URGENT for `act` */
    void (*changed)(void *data, struct pg_connection *connection); /* the state changed; may be NULL */
    void *data;
};

/* Copies the options. Connects at the first request, or at pg_connection_open. */
struct pg_connection *pg_connection_new(struct loop *loop, const struct pg_connection_options *options);
/* Handlers still open get `done` with ERROR_LOST before this returns. NULL is allowed. */
void pg_connection_free(struct pg_connection *connection);
/* Connects, unless it is up or connecting; when it is down, at once instead of after the back-off. */
void pg_connection_open(struct pg_connection *connection);
/* Ends the connection; requests in flight get ERROR_LOST. The next request connects again. */
void pg_connection_close(struct pg_connection *connection);

enum connection_state pg_connection_state(const struct pg_connection *connection);
/* Why it is down; kind ERROR_NONE when it is not. */
const struct error *pg_connection_error(const struct pg_connection *connection);
int pg_connection_version(const struct pg_connection *connection); /* 150004; 0 before the first connect */
int pg_connection_pid(const struct pg_connection *connection); /* of the server's process; 0 when not up */
/* The role it logged in as; NULL before the first connect. */
const char *pg_connection_role(const struct pg_connection *connection);

/* Sends the statements in one round trip. Texts and parameters are copied. Requests made while connecting
 * wait (their deadline begins when it is up); those made while busy follow in the same pipeline. When the
 * deadline passes (0: none) done gets ERROR_TIMEOUT, and the connection is closed and made anew: the server
 * may hang. When the connection is down and not yet due for a new try, done is called with its error in a
 * later turn of the loop. */
void pg_connection_send(struct pg_connection *connection, const struct pg_statement *statements, int count,
                        double deadline_s, struct pg_handler handler);

/* The role that a DSN names; NULL when it leaves that to a service or a default. Fresh talloc string. */
char *pg_dsn_role(const void *context, const char *dsn);
/* The same DSN (key=value) with another database. NULL: it is none. Fresh talloc string; it holds the
 * password that the DSN holds. */
char *pg_dsn_in_database(const void *context, const char *dsn, const char *database);

/* Asks the server, from a WORK_URGENT worker, to cancel what runs here. The statement then ends with
 * ERROR_CANCELLED. */
void pg_connection_cancel(struct pg_connection *connection);

#endif
