/*
 * A look into one watched Redis (or each master of a Cluster): how it is, who is connected, what was slow,
 * what fills it. Each part is a feed with a snapshot of its own; texts in snapshots are raw and belong to
 * them. It asks only with what watch_commands allow, in small windows, and waits between them as
 * redis_server_pace says. Times are seconds since the epoch, 0: unknown or never; counts below 0 and NAN:
 * unknown.
 */
#ifndef BACKENDS_REDIS_LOOK_H
#define BACKENDS_REDIS_LOOK_H

#include "backends/feed.h"
#include "backends/redis/server.h"
#include "core/snapshot.h"
#include "core/value.h"

enum redis_part {
    REDIS_OVERVIEW,
    REDIS_KEYSPACE, /* with the big keys */
    REDIS_CLIENTS,
    REDIS_SLOWLOG,
    REDIS_LATENCY,
    REDIS_STREAMS,
    REDIS_CHANNELS,
    REDIS_PARTS
};

/* One thing that was looked at. */
struct redis_fact {
    const char *node;    /* NULL: there is only one */
    const char *subject; /* "memory", "hit ratio" ... */
    const char *value;   /* NULL: unknown */
    const char *detail;  /* more, or why it is out of bounds; or NULL */
    double number;       /* the figure behind the value, in its base unit; NAN: none */
    enum severity severity;
};
struct redis_overview {
    struct snapshot snapshot;
    struct redis_fact *facts;
    size_t count;
};

struct redis_client {
    const char *node, *id, *address, *name, *user, *command, *library;
    const char *flags; /* "blocked, pubsub": the letters in words; "" for a plain one */
    double age_s, idle_s;
    int64_t database, subscriptions, output_bytes, memory_bytes;
    bool blocked, own; /* own: this console's */
    enum severity severity;
};
struct redis_clients {
    struct snapshot snapshot;
    struct redis_client *clients;
    size_t count;
};

struct redis_slow {
    const char *node, *id, *command, *key, *client, *name;
    int64_t words; /* of the command */
    double at, ms;
};
struct redis_slowlog {
    struct snapshot snapshot;
    struct redis_slow *entries; /* the newest first, 128 a node at most */
    size_t count;
    double threshold_ms; /* slowlog-log-slower-than; NAN: unknown */
};

struct redis_latency {
    const char *node, *event, *help;
    double at, latest_ms, worst_ms;
};
struct redis_latencies {
    struct snapshot snapshot;
    struct redis_latency *events;
    size_t count;
    double threshold_ms; /* 0: the server does not watch for them; NAN: unknown */
};

enum redis_use { USE_OTHER, USE_SESSION, USE_RESULT, USE_QUEUE, USE_LOCK, USE_CACHE };
const char *redis_use_name(enum redis_use use);

/* Keys that begin alike. Counts and bytes are estimates for all of them unless the pass was complete. */
struct redis_prefix {
    const char *prefix; /* "celery-task-meta-*" */
    const char *node;   /* NULL */
    int database;
    enum redis_use use;
    const char *types;         /* "hash", "list, set" */
    double keys, bytes, share; /* share: of all bytes, 0 to 1 */
    double largest_bytes;
    double without_expiry; /* keys that stay for ever */
    double expires_s;      /* median-like: mean time to live of those that expire; NAN: none */
    int64_t sampled;
    enum severity severity;
    const char *why; /* NULL: nothing is wrong */
};
struct redis_big_key {
    const char *key; /* binary made safe by the reader */
    size_t key_length;
    const char *node, *type, *encoding;
    int database;
    int64_t bytes, length; /* length: elements, or bytes of a string */
    double expires_s;      /* INFINITY: never */
};
struct redis_keyspace {
    struct snapshot snapshot;
    struct redis_prefix *prefixes; /* the largest first */
    size_t prefix_count;
    struct redis_prefix *firsts; /* by the first part of the key, as it is: tenants of most applications */
    size_t first_count;
    struct redis_big_key *big;
    size_t big_count;
    int64_t scanned, total;
    bool complete;        /* each key was looked at */
    bool bytes_unknown;   /* MEMORY USAGE is not permitted there */
    double pass_began_at; /* monotonic */
};

struct redis_stream {
    const char *node, *stream, *group; /* group NULL: nobody reads it in a group */
    int database;
    int64_t length, groups, consumers, pending, lag;
    const char *last_id, *delivered_id;
    double last_at; /* time in the last id */
    enum severity severity;
    const char *why;
};
struct redis_streams {
    struct snapshot snapshot;
    struct redis_stream *streams; /* one a group, or one a stream without */
    size_t count;
    int64_t scanned, total;
};

struct redis_channel {
    const char *node, *channel;
    int64_t subscribers;
};
struct redis_channels {
    struct snapshot snapshot;
    struct redis_channel *channels;
    size_t count;
    int64_t patterns; /* subscriptions to patterns */
};

struct redis_look;

/* The server is borrowed: free the look before it, or let the server's end end it. `changed`: a snapshot or a
 * feed's state changed. */
struct redis_look *redis_look_new(struct loop *loop, struct redis_server *server, void (*changed)(void *data),
                                  void *data);
/* No callback afterwards. NULL is allowed. */
void redis_look_free(struct redis_look *look);
struct redis_server *redis_look_server(const struct redis_look *look);
void redis_look_want(struct redis_look *look, enum redis_part part, bool wanted);
struct feed *redis_look_feed(struct redis_look *look, enum redis_part part);
/* The latest of a part (struct redis_overview, redis_clients ...), or NULL. Borrowed until the next turn. */
const void *redis_look_latest(const struct redis_look *look, enum redis_part part);

#endif
