/* What the server_*.c files share. */
#ifndef BACKENDS_REDIS_SERVER_INTERNAL_H
#define BACKENDS_REDIS_SERVER_INTERNAL_H

#include "backends/redis/server.h"

enum { REDIS_SLOTS = 16384 };

enum redis_login { LOGIN_WATCH, LOGIN_ACT };

/* A connection of a node to one database as one login, made when it is first used. */
struct redis_link {
    struct redis_link *next;
    struct redis_server *server;
    struct redis_node *node;
    int database;
    enum redis_login login;
    struct redis_connection *connection;
    double used_at;
};

/* The one server, the master of the Sentinels, or a master of a Cluster. */
struct redis_node {
    struct redis_server *server;
    struct redis_url *place; /* where it is; NULL: the places of the URLs */
    char *text;              /* "10.0.0.5:6379"; NULL: the same */
    struct redis_link *links;
    bool stays; /* found again in the last CLUSTER SLOTS */
};

/* A tunnel through the SSH host, one a place. */
struct redis_passage {
    struct redis_passage *next;
    char *target;
    struct ssh_tunnel *tunnel;
};

/* What was asked before it is known where the answer is. */
struct redis_held {
    struct redis_held *next;
    int database;
    enum redis_login login;
    struct redis_command *commands; /* a deep copy under it */
    int count;
    double deadline_s;
    struct redis_handler handler;
    bool failed; /* ends in a later turn with `error` */
    struct error error;
};

struct redis_listener {
    struct redis_listener *next;
    struct redis_server *server;
    struct redis_connection *connection;
    struct redis_command *patterns;
    void (*pushed)(void *data, const struct redisReply *reply);
    void *data;
    struct error error; /* while there is no connection */
};

/* How well the server answers; it changes by being asked for. */
struct redis_pulse {
    double ping, usual;  /* seconds; NAN before */
    double asked_at;     /* a PING is under way since; 0: none */
    double wanted_until; /* somebody paces by it */
};

struct redis_server {
    struct loop *loop;
    const struct environment *environment;
    const struct environment_redis *definition;
    void (*changed)(void *data);
    void *data;
    char where[160];
    struct redis_url *url, *act_url;
    struct error unusable; /* what the definition lacks */
    struct error note;     /* what is missing though it answers */
    struct error trouble;  /* it answers, but cannot work: LOADING, MASTERDOWN, a master that is none */
    enum redis_topology topology;
    struct ssh_host *via;
    bool via_up;
    struct redis_passage *passages;
    struct redis_connection *main; /* facts, PING, CLUSTER SLOTS */
    struct redis_pulse *pulse;
    struct redis_node **nodes; /* a talloc array; one unless it is a Cluster */
    size_t node_count;
    struct redis_held *held;
    struct redis_listener *listeners;
    bool known;   /* where commands go: the nodes are there */
    bool replica; /* the one that is watched */
    char version[32], place[160];
    unsigned epoch;
    ev_timer beat;
    ev_timer soon; /* what must not happen within a call */
    /* Sentinel */
    struct redis_connection *sentinel, *sentinel_listener;
    struct redis_url *sentinel_url;
    bool sentinel_asked;
    double sentinel_asked_at;
    bool sentinel_hurry;
    char *master_host;
    int master_port;
    struct error sentinel_error;
    /* Cluster */
    int16_t slots[REDIS_SLOTS]; /* the node of each; -1: nobody's */
    bool slots_asked, slots_wanted;
    bool main_anywhere; /* `main` goes to any of the nodes, not only to those of the URL */
    double slots_asked_at;
    /* act */
    bool unlocked;
    bool dying;
};

/* server.c */
void redis_server_tell(struct redis_server *server);
/* In a later turn: what is held is looked at, what is wanted asked. */
void redis_server_soon(struct redis_server *server);
/* Makes the connection for facts and PING anew, to the node's place. */
void redis_server_make_main(struct redis_server *server);

/* server_link.c */
struct redis_node *redis_node_new(struct redis_server *server, const char *host, int port);
void redis_node_free(struct redis_node *node);
/* Ends its connections as act. */
void redis_node_lock(struct redis_node *node);
struct redis_connection *redis_node_connection(struct redis_node *node, int database, enum redis_login login);
/* Connections to other databases that nobody uses any more. */
void redis_node_sweep(struct redis_node *node);
/* A connection that is not a link's: to the node's place, or the URL's (NULL). `options` says the rest; its
 * url, sockets and the like are filled in. */
struct redis_connection *redis_server_connect(struct redis_server *server, const struct redis_url *login,
                                              const struct redis_url *place, int database,
                                              struct redis_connection_options options);
/* Ends or sends everything that is held. */
void redis_server_release_held(struct redis_server *server);
void redis_server_fail_held(struct redis_server *server, const struct error *error);
void redis_server_hold(struct redis_server *server, int database, enum redis_login login,
                       const struct redis_command *commands, int count, double deadline_s,
                       struct redis_handler handler, const struct error *error);
/* Sends on the node or nodes that have it; everything is known. */
void redis_server_route(struct redis_server *server, int database, enum redis_login login,
                        const struct redis_command *commands, int count, double deadline_s,
                        struct redis_handler handler);
struct redis_command *redis_commands_copy(const void *context, const struct redis_command *commands,
                                          int count);
void redis_listeners_connect(struct redis_server *server);
void redis_passages_free(struct redis_server *server);
/* redis_server_connect's `ready` and `blame`. */
bool redis_server_ready(struct redis_server *server, struct error *error);
const struct error *redis_server_blame(struct redis_server *server, double since);

/* server_sentinel.c */
void redis_sentinel_start(struct redis_server *server);
void redis_sentinel_stop(struct redis_server *server);
/* Once a second, and when the master went away. */
void redis_sentinel_check(struct redis_server *server, bool hurry);

/* server_cluster.c */
/* CRC16 of the key or its {tag}, of 16384. */
int redis_cluster_slot(const char *key, size_t length);
void redis_cluster_check(struct redis_server *server, bool hurry);
void redis_cluster_route(struct redis_server *server, enum redis_login login,
                         const struct redis_command *commands, int count, double deadline_s,
                         struct redis_handler handler);

#endif
