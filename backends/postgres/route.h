/*
 * The way to a Postgres server through an SSH host (`via:`): what a DSN means is asked of libpq (service
 * file, variables, password file), a tunnel is made to each of its hosts, and the DSN is rewritten so that
 * libpq goes through them. All connections of a server share its route.
 *
 * A tunnel ends in a private Unix socket. On a Unix socket libpq speaks no TLS, whatever sslmode says; so a
 * DSN that demands TLS gets a loopback port, with the server's own name kept for its certificate, and so does
 * one with sslmode=prefer when the server turns out to demand it.
 */
#ifndef BACKENDS_POSTGRES_ROUTE_H
#define BACKENDS_POSTGRES_ROUTE_H

#include "backends/environment.h"
#include "backends/ssh/ssh.h"

struct pg_route;
struct pg_route_request;

/* The session to the host is wanted from now on. `came_up` is called in a turn of its own when the host is
 * there (again): time to connect. `where` is what errors are about: "production: main". */
struct pg_route *pg_route_new(struct loop *loop, struct ssh_host *host, const char *where,
                              void (*came_up)(void *data), void *data);
/* Ends its tunnels; requests must have been forsaken. NULL is allowed. */
void pg_route_free(struct pg_route *route);
/* The state of an SSH host has changed (ssh_pool_options.changed). May be called at any time. */
void pg_route_changed(struct pg_route *route);
/* Asks for the DSN to connect with now; it may hold a password from the password file. Waits while the host
 * is being connected. `done` once, in a later turn: a DSN and the place that it leads to ("db1:5432 through
 * bastion"), or an error. */
struct pg_route_request *pg_route_ask(struct pg_route *route, const char *dsn, enum work_kind work,
                                      void (*done)(void *owner, const char *dsn, const char *place,
                                                   const struct error *error),
                                      void *owner);
/* Nobody waits for it any more: `done` is not called. */
void pg_route_forsake(struct pg_route_request *request);

/* The same at once, for a program in the terminal. Blocks for reading libpq's files. Talloc string under
 * context; NULL with error, also while the host is away. */
char *pg_route_dsn(const void *context, struct pg_route *route, const char *dsn, struct error *error);

/* Why a connection that was begun at `since` (clock_monotonic) failed, where SSH or the far end of a tunnel
 * is to blame: libpq sees only that it was closed. NULL: neither is. */
const struct error *pg_route_error(const struct pg_route *route, double since);
/* A connection was refused. True when the server demands TLS, which is remembered: worth asking once more. */
bool pg_route_refused(struct pg_route *route, const struct error *error);

#endif
