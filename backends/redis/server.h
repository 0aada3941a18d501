/*
 * One watched Redis of the environment: a single server, a master found by Sentinels, or a Cluster; directly
 * or through an SSH host. One connection for watching (one a node in a Cluster), further ones for what blocks
 * or subscribes, and `act` while unlocked. It follows failovers (Sentinel), MOVED and ASK (Cluster), and says
 * which node answers.
 *
 * Watching paces itself: when the server's own answer to a PING takes over 5 ms longer than usual, readers
 * wait.
 */
#ifndef BACKENDS_REDIS_SERVER_H
#define BACKENDS_REDIS_SERVER_H

#include "backends/environment.h"
#include "backends/feed.h"
#include "backends/redis/connection.h"
#include "backends/ssh/ssh.h"

struct redis_server;

enum redis_topology { REDIS_UNKNOWN, REDIS_SINGLE, REDIS_SENTINEL, REDIS_CLUSTER };

/* `environment` and `pool` are borrowed and outlive the server (NULL pool: there is none, and a server with a
 * `via` says so). `changed`: something that can be seen changed. */
struct redis_server *redis_server_new(struct loop *loop, const struct environment *environment,
                                      const struct environment_redis *definition, struct ssh_pool *pool,
                                      void (*changed)(void *data), void *data);
void redis_server_free(struct redis_server *server);
/* The state of an SSH host has changed (ssh_pool_options.changed). */
void redis_server_ssh_changed(struct redis_server *server);

const char *redis_server_name(const struct redis_server *server);
const struct environment *redis_server_environment(const struct redis_server *server);
const struct environment_redis *redis_server_definition(const struct redis_server *server);
enum connection_state redis_server_state(const struct redis_server *server);
const struct error *redis_server_error(const struct redis_server *server);
/* What is missing though it answers (an ACL, TLS that this hiredis cannot speak); kind ERROR_NONE: nothing.
 */
const struct error *redis_server_note(const struct redis_server *server);
enum redis_topology redis_server_topology(const struct redis_server *server);
/* "10.0.0.5:6379", of the master that is watched; "3 nodes" of a Cluster; NULL before. Changes at a failover.
 */
const char *redis_server_place(const struct redis_server *server);
bool redis_server_is_replica(const struct redis_server *server);
const char *redis_server_version(const struct redis_server *server); /* "7.0.15"; NULL before */
int redis_server_database(const struct redis_server *server);        /* of the URL */
/* How often it came up again or another node became the master: what was learned before is of another one. */
unsigned redis_server_epoch(const struct redis_server *server);

/*
 * Asks on the watching connection of `database` (-1: of the URL; others get a connection of their own, kept
 * while used). What is asked before the server has answered for the first time waits. In a Cluster each
 * command goes to the node of its key (watch_commands knows where a key stands) and follows MOVED and ASK;
 * one without a key goes to the first node; replies then come in any order, each with its index. Every
 * command is checked against the list first; what is refused answers its own error and is not sent.
 */
void redis_server_ask(struct redis_server *server, int database, const struct redis_command *commands,
                      int count, double deadline_s, struct redis_handler handler);

/* A master of a Cluster, or the one server there is. */
size_t redis_server_node_count(const struct redis_server *server);
const char *redis_server_node_place(const struct redis_server *server, size_t node);
/* Asks one node (SCAN, INFO, SLOWLOG, CLIENT LIST ...). */
void redis_server_ask_node(struct redis_server *server, size_t node, int database,
                           const struct redis_command *commands, int count, double deadline_s,
                           struct redis_handler handler);

/* A connection of its own that only subscribes, with the watching login; follows failovers. `pushed` as in
 * redis_connection_options. Free it with redis_listener_free. In a Cluster it listens on one node (pub/sub is
 * cluster-wide). */
struct redis_listener;
struct redis_listener *redis_server_listen(struct redis_server *server, const struct redis_command *patterns,
                                           void (*pushed)(void *data, const struct redisReply *reply),
                                           void *data);
void redis_listener_free(struct redis_listener *listener);
const struct error *
redis_listener_error(const struct redis_listener *listener); /* kind ERROR_NONE: it listens */

/* Seconds a reader should wait before its next window: 0.005 while the server is well, more while it is not.
 */
double redis_server_pace(const struct redis_server *server);
/* The last PING's round trip and the usual one, in seconds; NAN before. */
double redis_server_ping(const struct redis_server *server, double *usual);

/*
 * The login that may write (`act:` of the environment, or the URL of --redis): opened by unlock and held;
 * closed by lock. Only changes use it. redis_server_act_error says why there is none (locked, no `act`,
 * refused).
 */
void redis_server_unlock(struct redis_server *server);
void redis_server_lock(struct redis_server *server);
bool redis_server_can_act(const struct redis_server *server, struct error *error);
const char *
redis_server_act_role(const struct redis_server *server); /* the user, "default"; NULL: no `act` */
/* Sends commands of a change, as they are, on the act login; in a Cluster by the key of each. */
void redis_server_act(struct redis_server *server, int database, const struct redis_command *commands,
                      int count, double deadline_s, struct redis_handler handler);
/* Another connection of the act login for a command that blocks (BRPOP of replies); NULL while locked. Freed
 * by the caller with redis_connection_free. */
struct redis_connection *redis_server_act_blocking(struct redis_server *server, int database);

#endif
