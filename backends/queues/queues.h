/*
 * All job systems of an environment: found by themselves on its Redis servers, Postgres servers and hosts, or
 * named by its file. The panel and the commands look only at this and at system.h.
 */
#ifndef BACKENDS_QUEUES_QUEUES_H
#define BACKENDS_QUEUES_QUEUES_H

#include "backends/queues/system.h"

struct queues;

struct queues_options {
    const struct environment *environment;
    struct redis_server *const *redis;
    size_t redis_count;
    struct pg_server *const *postgres;
    size_t postgres_count;
    struct fleet *fleet;
    void (*changed)(void *data);
    void *data;
};
/* Everything in the options is borrowed and outlives it. Nothing is looked for before somebody wants a part.
 */
struct queues *queues_new(struct loop *loop, const struct queues_options *options);
/* In this order: queues_stop, freeing of the servers and the fleet, queues_free. Both allow NULL. */
void queues_stop(struct queues *queues);
void queues_free(struct queues *queues);

size_t queues_count(const struct queues *queues);
struct queue_system *queues_system(struct queues *queues, size_t index);
/* By "celery" (when only one has that name), "celery@broker", or its id. NULL with error: none, or several.
 */
struct queue_system *queues_find(struct queues *queues, const char *name, struct error *error);
/* Grows with each snapshot and each system that comes or goes. */
uint64_t queues_version(const struct queues *queues);
/* Have all places been looked at once (answered or failed)? */
bool queues_searched(const struct queues *queues);
/* What could not be looked at and why, one a place. */
size_t queues_search_count(const struct queues *queues);
const char *queues_search_place(const struct queues *queues, size_t index, const struct error **error);
/* The same as a feed, with the name of the Redis or server, for who tells what did not answer; NULL: a host
 * that was only looked at because it is there. */
struct feed *queues_search_feed(struct queues *queues, size_t index, const char **server);

/* Somebody looks at a part of all systems, or no longer. The first want looks for systems; places are looked
 * at again every 30 s while wanted. */
void queues_want(struct queues *queues, enum queue_part part, bool wanted);

/* The latest of a part, or NULL. Borrowed until the next turn of the loop: snapshot_hold to keep. */
const struct queues_snapshot *queue_system_queues(const struct queue_system *system);
const struct workers_snapshot *queue_system_workers(const struct queue_system *system);
const struct failures_snapshot *queue_system_failures(const struct queue_system *system);
const struct schedule_snapshot *queue_system_schedule(const struct queue_system *system);
const struct aside_snapshot *queue_system_aside(const struct queue_system *system);
struct feed *queue_system_feed(struct queue_system *system, enum queue_part part);
/* Why a part or an act is not possible there; NULL: it is. An act also needs a login that may write: *locked
 * is set to why there is none now. */
const char *queue_system_part_absent(const struct queue_system *system, enum queue_part part);
const char *queue_system_act_absent(const struct queue_system *system, enum queue_act act);
bool queue_system_can_act(struct queue_system *system, struct error *error);

#endif
