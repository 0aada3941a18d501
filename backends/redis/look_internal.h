/* What the look_*.c files share: parsers of answers (each usable by itself, for tests), and asking. */
#ifndef BACKENDS_REDIS_LOOK_INTERNAL_H
#define BACKENDS_REDIS_LOOK_INTERNAL_H

#include <talloc.h>

#include "backends/redis/look.h"

struct redisReply;

enum { LOOK_SLOW_ENTRIES = 128, LOOK_CLIENTS_MAX = 1000, LOOK_CHANNELS_MAX = 5000, LOOK_BIG_KEYS = 100 };

/* Counters of one node, for rates. */
struct look_counters {
    double at; /* monotonic; 0: none */
    int64_t hits, misses, evicted, errors, rejected, oom, delayed_fsync;
    int64_t run; /* uptime: a restart begins anew */
};

/* The facts that an INFO tells; `before` holds what it said last time and is replaced. `save`: the value of
 * CONFIG GET save, NULL: unknown. Everything is allocated under the snapshot. */
void look_read_info(struct redis_overview *overview, const char *node, const char *info, size_t length,
                    const char *save, struct look_counters *before, double now);
/* CLIENT LIST. */
void look_read_clients(struct redis_clients *clients, const char *node, const char *text, size_t length);
/* SLOWLOG GET, LATENCY LATEST. What is not as expected is left out. */
void look_read_slowlog(struct redis_slowlog *slowlog, const char *node, const struct redisReply *reply);
void look_read_latency(struct redis_latencies *latencies, const char *node, const struct redisReply *reply);

/* Keys grouped by how they begin. */
struct key_groups;
struct key_seen {
    const char *key;
    size_t length;
    const char *type;
    int64_t bytes;    /* below 0: unknown */
    double expires_s; /* INFINITY: never */
};
struct key_groups *key_groups_new(const void *context);
void key_groups_add(struct key_groups *groups, int database, const struct key_seen *seen);
/* The groups with everything scaled: a database's figures by its factor (of at least `database + 1`
 * factors), under the snapshot. */
void key_groups_read(const struct key_groups *groups, struct redis_keyspace *keyspace, const double *factors,
                     int databases);
/* "celery-task-meta-*": ids, numbers and random parts as a star. Returns buffer. */
char *key_prefix(char *buffer, size_t size, const char *key, size_t length);
/* What such keys are for, as far as their names say. */
enum redis_use key_use(const char *prefix, const char *type);

/* ---- asking ---- */

struct redis_look {
    struct loop *loop;
    struct redis_server *server;
    void (*changed)(void *data);
    void *data;
    struct feed feeds[REDIS_PARTS];
    const void *snapshots[REDIS_PARTS];
    void *runs[REDIS_PARTS]; /* of the parts that take several rounds */
    struct look_counters *counters;
    size_t counter_count;
    struct redis_keyspace *kept; /* NULL */
    int asks;                    /* handlers that are still to come */
    bool doomed;
    ev_timer paces[REDIS_PARTS]; /* between windows */
};

/* Asks a node in the look's name: `reply` as in redis_handler, then `done` unless the look is gone. The data
 * are freed by `done`; when the look is gone they are talloc_freed. */
void look_ask(struct redis_look *look, size_t node, int database, const struct redis_command *commands,
              int count,
              void (*reply)(void *data, int index, const struct redisReply *reply, const struct error *error),
              void (*done)(void *data, const struct error *error), void *data);
/* `NULL` where there is only one node. */
const char *look_node(struct redis_look *look, size_t node);
/* The part was read: publishes the snapshot and tells the feed. */
void look_answered(struct redis_look *look, enum redis_part part, void *snapshot);
void look_failed(struct redis_look *look, enum redis_part part, const struct error *error, const char *what);
/* Publishes what there is so far; the part goes on. */
void look_progress(struct redis_look *look, enum redis_part part, void *snapshot);
/* Calls `next` with the part's run after the server's pace. */
void look_pace(struct redis_look *look, enum redis_part part);

/* Begin a part (feed.ask). */
void look_overview(struct redis_look *look);
void look_clients(struct redis_look *look);
void look_slowlog(struct redis_look *look);
void look_latency(struct redis_look *look);
void look_channels(struct redis_look *look);
void look_streams(struct redis_look *look);
void look_streams_step(struct redis_look *look);
void look_keyspace(struct redis_look *look);
void look_keyspace_step(struct redis_look *look);

/* ---- going through all keys ---- */

enum { LOOK_DATABASES = 64 }; /* numbers of databases that are looked into */

struct look_database {
    size_t node;
    int number;
    int64_t keys, scanned, weighed;
    char cursor[24];
    bool done;
};
/* The first member of a run that scans: where it is. The run is a child of the look, so that it goes with it.
 */
struct look_pass {
    struct redis_look *look;
    struct look_database *databases;
    size_t count, at, node;
    bool asleep; /* nobody looks: it goes on when somebody does */
    struct error error;
    void (*next)(struct look_pass *pass); /* the databases are known, or one step was done */
    void (*failed)(struct look_pass *pass, const struct error *error);
};
/* Asks which databases have keys, on all nodes; then next or failed. */
void look_pass_begin(struct look_pass *pass);
/* The answer of a step: next or failed. */
void look_pass_done(void *data, const struct error *error);
/* The next window of the database, from its cursor; `type` NULL: all. */
void look_pass_scan(struct look_pass *pass, const char *count, const char *type,
                    void (*reply)(void *data, int index, const struct redisReply *reply,
                                  const struct error *error),
                    void (*done)(void *data, const struct error *error));
/* The keys of SCAN's answer, its cursor taken over. NULL: it is not one (pass->error says so). */
const struct redisReply *look_pass_keys(struct look_pass *pass, const struct redisReply *reply,
                                        const struct error *error);
/* The database that is gone through now; NULL: all are done. */
struct look_database *look_pass_database(struct look_pass *pass);
/* Somebody looks again. */
void look_pass_wake(struct redis_look *look, enum redis_part part);

void *look_must(void *pointer);
/* A copy under context; NULL for "" too. */
char *look_text(const void *context, const char *text, size_t length);

#endif
