/*
 * One watched Postgres server: its connections (fast and slow for watching, `act` while unlocked), its
 * version and extensions, its feeds, and the latest snapshot of each. Panels read snapshots; only this folder
 * writes them.
 */
#ifndef BACKENDS_POSTGRES_SERVER_H
#define BACKENDS_POSTGRES_SERVER_H

#include "backends/environment.h"
#include "backends/feed.h"
#include "backends/postgres/activity.h"
#include "backends/postgres/connection.h"
#include "backends/postgres/locks.h"
#include "backends/postgres/statements.h"
#include "core/loop.h"

struct pg_server;

enum pg_feed { PG_FEED_ACTIVITY, PG_FEED_LOCKS, PG_FEED_STATEMENTS, PG_FEEDS };

struct ssh_pool;
struct pg_route;

/* `environment` is borrowed and outlives the server, and so does `pool`, which servers with a `via` go
 * through (NULL: there is none, and they say so). `changed` is called when anything that can be seen changed.
 */
struct pg_server *pg_server_new(struct loop *loop, const struct environment *environment,
                                const struct environment_server *definition, struct ssh_pool *pool,
                                void (*changed)(void *data), void *data);
void pg_server_free(struct pg_server *server);

/* The state of an SSH host has changed (ssh_pool_options.changed). */
void pg_server_ssh_changed(struct pg_server *server);

const char *pg_server_name(const struct pg_server *server);
const struct environment *pg_server_environment(const struct pg_server *server);
const struct environment_server *pg_server_definition(const struct pg_server *server);
/* The way through an SSH host that all its connections take; NULL: directly. */
struct pg_route *pg_server_route(const struct pg_server *server);
struct feed *pg_server_feed(struct pg_server *server, enum pg_feed feed);

/* What the header shows: the state of watching, and why it is down (ERROR_NONE when it is not). */
enum connection_state pg_server_state(const struct pg_server *server);
const struct error *pg_server_error(const struct pg_server *server);
/* What the watching role lacks (pg_monitor), with the GRANT to do; kind ERROR_NONE when nothing. Sessions and
 * statements of others are then hidden. */
const struct error *pg_server_note(const struct pg_server *server);

/* Facts learned at connecting. 0, NULL or false before. */
int pg_server_version(const struct pg_server *server);
const char *pg_server_version_text(const struct pg_server *server); /* "15.20" */
const char *pg_server_watch_role(const struct pg_server *server);
bool pg_server_watch_is_superuser(const struct pg_server *server); /* flagged in the header */
bool pg_server_in_recovery(const struct pg_server *server);
const char *pg_server_database(const struct pg_server *server); /* where the watching connections are */

/* The latest snapshots, or NULL. Borrowed until the next turn of the loop: snapshot_hold to keep. */
const struct activity_snapshot *pg_server_activity(const struct pg_server *server);
const struct locks_snapshot *pg_server_locks(const struct pg_server *server);
const struct statements_snapshot *pg_server_statements(const struct pg_server *server);
/* Active sessions by wait class while the activity feed is wanted. */
const struct activity_history *pg_server_history(const struct pg_server *server);

/* The basis of statement figures; the snapshot is rebuilt at once from what is kept. */
void pg_server_statements_basis(struct pg_server *server, enum statements_basis basis);

/* All locks of one session, asked once on the fast connection. `done` exactly once; locks are valid during
 * it. */
void pg_server_fetch_locks(struct pg_server *server, int pid,
                           void (*done)(void *data, const struct held_lock *locks, size_t count,
                                        const struct error *error),
                           void *data);

/* The connection as `act`: opened by unlock and held, so that it is there when all slots are taken; closed by
 * lock. NULL while locked or when no `act` is defined. */
void pg_server_unlock(struct pg_server *server);
void pg_server_lock(struct pg_server *server);
struct pg_connection *pg_server_act(struct pg_server *server);

/*
 * A connection for reading tables (`read`, else `watch`), read-only, a statement at most 2 s, shared by all
 * who ask; `database` NULL: the one of the login. To be asked for anew before each use: it is closed when
 * nobody asked for it for a while. Never NULL.
 */
struct pg_connection *pg_server_read(struct pg_server *server, const char *database);
/* The role that reads, for GRANTs. Fresh talloc string. */
char *pg_server_read_role(const void *context, struct pg_server *server);
/* As pg_server_act, in that database (NULL: the one of the login). NULL while locked. */
struct pg_connection *pg_server_act_in(struct pg_server *server, const char *database);
/* A place for what backends/queues keeps of a server: a talloc chunk, freed with it after its
 * connections as `read`. */
void **pg_server_slot(struct pg_server *server);

#endif
