/* A throw-away PostgreSQL cluster for a test, made by demo/cluster. It is removed when the test ends in any
 * way, also by a crash or SIGKILL: a keeper process waits for the test's end. What cannot be done fails the
 * cmocka test.
 *
 *     struct cluster *c = cluster_start((const char *[]){"-c", "max_connections=12", NULL});
 *     char *dsn = cluster_dsn(c, 0, "sb_watch", "secret", "postgres");
 *     ...
 *     cluster_free(c);
 */
#ifndef TESTS_HARNESS_CLUSTER_H
#define TESTS_HARNESS_CLUSTER_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <sys/types.h>

struct cluster;

/* options: what `demo/cluster start DIR` takes ("-c", "KEY=VALUE", "--ssl", "--ssl-only"), NULL-terminated,
 * or NULL. */
struct cluster *cluster_start(const char *const options[]);
/* Ends the server, however it is, and removes the folder. NULL is fine. */
void cluster_free(struct cluster *c);

int cluster_port(const struct cluster *c);
const char *
cluster_folder(const struct cluster *c); /* of demo/cluster: holds data/, socket/, pgpass; borrowed */
const char *cluster_password(const struct cluster *c); /* of the superuser "owner"; borrowed */
pid_t cluster_pid(const struct cluster *c);            /* of the postmaster */
/* A connection string over TCP; to free. port 0: the cluster's own (give a proxy's otherwise). user NULL: the
 * owner. password NULL: none in the string (the owner's is put in). database NULL: postgres. */
char *cluster_dsn(const struct cluster *c, int port, const char *user, const char *password,
                  const char *database);

/* A connection as the owner, directly to the server, for sessions that a test holds open. PQfinish it. */
PGconn *cluster_connect(struct cluster *c, const char *database);
/* Runs SQL (several statements too) as the owner in a connection of its own, in "postgres". The first cell of
 * the last result, to free; NULL when there is none or it is null. */
char *cluster_sql(struct cluster *c, const char *sql);
char *cluster_sql_in(struct cluster *c, const char *database, const char *sql);
/* The same where the result is not wanted. */
void cluster_do(struct cluster *c, const char *sql);
/* Asks again and again until the first cell equals `expected` (NULL: no row, or null); false after the time.
 */
bool cluster_await(struct cluster *c, double seconds, const char *sql, const char *expected);

/* Stops (SIGSTOP) the postmaster and all its children: the server hangs, its kernel still accepts
 * connections. */
void cluster_pause(struct cluster *c);
void cluster_resume(struct cluster *c);
/* SIGKILL to all of them. cluster_again starts it again. */
void cluster_kill(struct cluster *c);
/* Ends it at once and keeps the folder. */
void cluster_halt(struct cluster *c);
/* Starts a halted or killed cluster on the same port. */
void cluster_again(struct cluster *c);
/* mode: "fast" or "immediate". */
void cluster_restart(struct cluster *c, const char *mode);

#endif
