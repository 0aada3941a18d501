/* What celery_workers.c learned of who is there, and celery_crew.c makes a snapshot of. */
#ifndef BACKENDS_QUEUES_CELERY_CREW_H
#define BACKENDS_QUEUES_CELERY_CREW_H

#include "backends/queues/celery_workers.h"

struct redis_batch;
struct json_object;

struct celery_crew {
    struct celery_system *system;
    struct redis_batch *batch, *pauses;
    bool asking;
    int rounds;
    const char **bound, **fresh; /* names of declared workers; those of the look that is under way */
    size_t bound_count, fresh_count;
    struct json_object *notes; /* of pauses, by queue */
    int64_t clients;           /* of the server */
    int64_t sockets, blocked;  /* connections for jobs; those of them that wait for one; -1: unknown */
    double clients_at;
    bool doubtful; /* whether the clients have to be looked at */
    ev_timer wait;
    double waits_since; /* monotonic: for heartbeats; 0: it need not */
    struct crew_waiter {
        void (*done)(void *data, const struct error *error);
        void *data;
    } * waiters;
    size_t waiter_count;
    ev_timer tell; /* the waiters */
    struct error error;
    bool listens; /* events are heard for a waiter alone */
};

/* All that are declared or heard; returns how many. */
size_t celery_crew_names(const void *context, const struct celery_crew *crew, const char ***names);
/* Of everything that is known now. */
struct workers_snapshot *celery_crew_snapshot(struct celery_system *system);

#endif
