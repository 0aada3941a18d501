/* What blocks in libpq, in workers: connecting (name resolution and handshake, with our own deadline) and
 * cancelling. Internal to the connection. */
#ifndef BACKENDS_POSTGRES_CONNECT_JOB_H
#define BACKENDS_POSTGRES_CONNECT_JOB_H

#include <libpq-fe.h>

#include "backends/postgres/connection.h"

struct connect_job;

/* `done` once on the loop's thread, unless forsaken: the connection (now the owner's), or NULL and why. The
 * options are copied. */
struct connect_job *connect_job_start(struct loop *loop, const struct pg_connection_options *options,
                                      void (*done)(void *owner, PGconn *conn, const struct error *error),
                                      void *owner);
/* The owner loses interest: the job ends as soon as it can and frees itself. */
void connect_job_forsake(struct connect_job *job);

/* Why a connection that was up broke. */
void connect_job_lost(const struct pg_connection_options *options, const PGconn *conn, struct error *error);

/* Sends the cancel request; the job takes over `cancel`. */
void cancel_job_start(struct loop *loop, PGcancel *cancel);

#endif
