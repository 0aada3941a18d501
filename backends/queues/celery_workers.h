/* What is heard and known of Celery's workers: shared by celery_events.c, celery_workers.c, celery_answers.c
 * and celery_acts_control*.c. */
#ifndef BACKENDS_QUEUES_CELERY_WORKERS_H
#define BACKENDS_QUEUES_CELERY_WORKERS_H

#include <uthash.h>

#include "backends/queues/celery.h"

struct json_object;

enum { HEARD_SAMPLES = 16 };

/* A worker whose heartbeats were heard. Times are of this console's clock. */
struct heard_worker {
    UT_hash_handle hh;
    const char *name;
    double heard_at, first_at; /* wall */
    double offline_at;         /* it said that it goes; 0: it did not */
    double progress_at;        /* wall: it began or ended a job, or had none to run */
    double idle_at;            /* wall: since when it has run nothing; 0: it runs something */
    double frequency_s;        /* of its heartbeats */
    int pid;
    int64_t active, processed;
    double load;
    const char *version;
    /* A ring of what was processed when, for rates. */
    double sample_at[HEARD_SAMPLES]; /* monotonic */
    int64_t sample[HEARD_SAMPLES];
    unsigned samples; /* ever taken */
};

/* A job that runs, as its task-started event said. */
struct heard_job {
    UT_hash_handle hh;
    char id[64];
    const char *task, *worker; /* of the watch; NULL: unknown */
    double started_at;
};

/* Since when (wall) events are heard without a gap; 0: they are not. */
double celery_watch_since(const struct celery_system *system);
/* Why they are not, or NULL. */
const struct error *celery_watch_error(const struct celery_system *system);
const struct heard_worker *celery_watch_worker(const struct celery_system *system, const char *name);
/* All of them, one after the other: NULL first; NULL at the end. */
const struct heard_worker *celery_watch_next(const struct celery_system *system,
                                             const struct heard_worker *last);
const struct heard_job *celery_watch_next_job(const struct celery_system *system,
                                              const struct heard_job *last);
/* Did a job end (or was given up) as an event said? */
bool celery_watch_ended(const struct celery_system *system, const char *id);
/* Jobs per second over the last minute; NAN: not known yet. */
double heard_worker_rate(const struct heard_worker *worker, double now_monotonic);
/* Payloads that were no events. */
int64_t celery_watch_garbage(const struct celery_system *system);
/* One event message (an envelope), as it was published. */
void celery_watch_hear(struct celery_system *system, const char *payload, size_t length);

/* Looks at the workers once, unless that was done a moment ago: then those that live are known. `done` once,
 * in a later turn; error NULL unless Redis does not answer. */
void celery_workers_look(struct celery_system *system, void (*done)(void *data, const struct error *error),
                         void *data);
/* It is not called any more. */
void celery_workers_look_forsake(struct celery_system *system, const void *data);
/* Names of the workers that are not known to be gone: from the latest look at them, else as they are heard.
 * A talloc array. */
const char **celery_workers_alive(const void *context, const struct celery_system *system, size_t *count);

/* The stats of a worker with all passwords of its broker masked. The receiver's. */
struct json_object *celery_stats_masked(struct json_object *stats);

/* Does an answer to active_queues name the queue? */
bool celery_takes_from(struct json_object *list, const char *queue);
/* Who consumed the queue before it was paused; NULL: it is not. A talloc array. */
const char **celery_paused_by(const void *context, const struct celery_system *system, const char *queue,
                              size_t *count);
/* Where a pause notes, queue by queue, who consumed it before: a hash. */
#define CELERY_PAUSED_KEY "signalbox:paused"

#endif
