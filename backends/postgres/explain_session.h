/*
 * A connection of its own as `read`, in a READ ONLY transaction with time limits, in which a statement is
 * prepared: what the plan, the check before measuring and the search for schemas begin with. Internal to
 * explain*.c.
 */
#ifndef BACKENDS_POSTGRES_EXPLAIN_SESSION_H
#define BACKENDS_POSTGRES_EXPLAIN_SESSION_H

#include "backends/postgres/connection.h"
#include "backends/postgres/explain.h"
#include "backends/postgres/plain_read.h"

struct explain_session {
    char *where, *server, *dsn, *wanted_path; /* wanted_path: NULL is the role's own */
    struct pg_route *route;                   /* the server's */
    struct plain_statement *statement;
    struct pg_connection *connection;
    /* Known once it is open. */
    char *role, *database, *search_path;
    const char **types; /* of the parameters */
    size_t type_count;
    /* Internal. */
    struct loop *loop;
    ev_timer later;
    bool prepares, closing;
    struct error error; /* the first one of the statements that were asked together */
    void (*rows)(void *data, int index, const struct pg_rows *rows);
    void (*done)(void *data, const struct error *error);
    void *data;
};

/* Never NULL; what speaks against the request is told by explain_session_open. Owned by `context`; freeing it
 * disconnects, and `done` is not called any more. */
struct explain_session *explain_session_new(const void *context, struct loop *loop, struct pg_server *server,
                                            const struct explain_request *request);

/* Connects, begins and prepares (unless prepares is false). `done` once, in a later turn of the loop. */
void explain_session_open(struct explain_session *session, bool prepares, double statement_timeout_s,
                          double lock_timeout_s, void (*done)(void *data, const struct error *error),
                          void *data);

/* Asks in the open transaction. `rows` for every answer that is no error; `done` once, with the first error.
 */
void explain_session_ask(struct explain_session *session, const struct pg_statement *statements, int count,
                         double deadline_s, void (*rows)(void *data, int index, const struct pg_rows *rows),
                         void (*done)(void *data, const struct error *error), void *data);

/* Disconnects; `done` is not called any more. */
void explain_session_close(struct explain_session *session);

#endif
