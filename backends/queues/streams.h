/*
 * Redis Streams with consumer groups as queues: one for each group of a stream, named "STREAM/GROUP". What
 * was not delivered is ready, what consumers hold is unacked; what is discarded goes to "STREAM:dead" first.
 * https://redis.io/docs/latest/develop/data-types/streams/
 */
#ifndef BACKENDS_QUEUES_STREAMS_H
#define BACKENDS_QUEUES_STREAMS_H

#include "backends/queues/payload.h"
#include "backends/queues/redis_act.h"
#include "backends/queues/redis_system.h"

extern const struct queue_adapter streams_adapter;

enum { STREAMS_POISON = 5 }; /* delivered more often than this: poison */

struct stream_known {
    char *key;
    char *last_id;
    int64_t length, added; /* -1: unknown */
};

struct stream_group {
    char *stream, *group, *name;
    char *delivered;                 /* id of the last entry that was delivered */
    int64_t lag, pending, consumers; /* -1: unknown */
    double read;                     /* entries read ever; NAN: unknown */
};

struct streams_system {
    struct redis_system redis;
    struct stream_known *streams;
    size_t stream_count;
    struct stream_group *groups; /* sorted by name */
    size_t group_count;
    /* Streams are found by SCAN, a piece at each look. */
    char *cursor;
    char **found;
    size_t found_count;
};

extern const struct redis_reading streams_reading;
extern const struct redis_acting streams_acting;

/* Seconds of an id ("1795262561044-0"); 0: it is none. */
double stream_id_time(const char *id);
const struct stream_group *streams_find(const struct streams_system *system, const char *queue);
/* The group of a worker's id "CONSUMER@STREAM/GROUP"; *consumer under context. NULL: none. */
const struct stream_group *streams_find_worker(const void *context, const struct streams_system *system,
                                               const char *worker, char **consumer);

void streams_add_scan(struct redis_batch *batch, const char *cursor);
/* Collects keys; true when the scan is over. */
bool streams_scanned(struct streams_system *system, const struct redis_answer *answer);
/* Makes what was scanned, and what settings name, the known streams. */
void streams_take_found(struct streams_system *system);
/* XINFO STREAM and XINFO GROUPS of each known stream, and what they answered. */
void streams_ask_places(struct queue_system *base, struct redis_batch *batch);
void streams_take_places(struct queue_system *base, const struct redis_batch *batch);

bool streams_fill(struct queue_system *system, const void *context, const struct redis_item *item,
                  struct job *job, const char **body, size_t *body_length);

void streams_ask_queues(struct streams_system *system);
void streams_ask_workers(struct streams_system *system);
void streams_job(struct queue_system *base, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data);
const char *streams_act_absent(const struct queue_system *system, enum queue_act act);

#endif
