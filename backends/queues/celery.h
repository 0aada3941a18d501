/* Celery on Redis: the system, its names, and what its files share. */
#ifndef BACKENDS_QUEUES_CELERY_H
#define BACKENDS_QUEUES_CELERY_H

#include "backends/queues/celery_envelope.h"
#include "backends/queues/system.h"

extern const struct queue_adapter celery_adapter;

enum { CELERY_STEPS = 4 };

/* Names that a configuration of kombu can change; all have its defaults. */
struct celery_names {
    const char *prefix;  /* global_keyprefix; "" */
    const char *control; /* "celery": of the pidbox */
    const char *unacked, *unacked_index, *unacked_mutex;
    const char *separator;       /* between a queue and its priority: 0x06 0x16 */
    int steps[CELERY_STEPS];     /* 0, 3, 6, 9 */
    double visibility_timeout_s; /* 3600 */
    const char *results;         /* "celery-task-meta-": the prefix of result keys */
};

struct celery_watch;    /* celery_events.c: heartbeats and task events that were heard */
struct celery_asked;    /* celery_control.c: what the workers answered last */
struct celery_crew;     /* celery_workers.c: who is declared, whose queues are paused */
struct celery_signs;    /* celery_beat.c: what was seen of beat */
struct celery_rates;    /* celery_queues.c: what was seen of each queue before */
struct celery_ids;      /* celery_ids.c: id -> tenant, task, learned from messages that were read */
struct celery_failures; /* celery_failures.c: the results and dead letters that were read */

struct celery_system {
    struct queue_system base;
    struct celery_names names;
    struct celery_tenancy tenancy;
    struct redis_server *redis;        /* the broker */
    int database;                      /* the number, never -1 */
    struct redis_server *result_redis; /* where results are; the broker unless the file says otherwise */
    int result_database;
    /* Names of its queues, sorted; learned from bindings, workers and the file. */
    const char **queues;
    size_t queue_count;
    struct celery_watch *watch;
    struct celery_asked *asked;
    struct celery_crew *crew;
    struct celery_signs *signs;
    struct celery_rates *rates;
    struct celery_ids *ids;
    struct celery_failures *failures;
    bool wanted[QUEUE_PARTS];
};

/* The Redis key of a queue's priority step (0 to CELERY_STEPS - 1), prefix included. Fresh talloc text;
 * *length may be NULL (the separator holds no NUL). */
char *celery_queue_key(const void *context, const struct celery_system *system, const char *queue, int step,
                       size_t *length);
/* Any other key of the broker: with the prefix. */
char *celery_key(const void *context, const struct celery_system *system, const char *name);
/* "/0.celery.pidbox", "/0.celeryev/": channels, prefix included. */
char *celery_channel(const void *context, const struct celery_system *system, const char *name);

/* celery_ids.c: at most 50,000 ids are remembered, the oldest forgotten first. */
struct celery_ids *celery_ids_new(const void *context);
void celery_ids_learn(struct celery_system *system, const struct job *job);
const char *celery_ids_tenant(const struct celery_system *system, const char *id, bool *known);
const char *celery_ids_task(const struct celery_system *system, const char *id);
/* How long its message allows it to run; 0: not known, or no limit. */
double celery_ids_limit(const struct celery_system *system, const char *id);

/* celery_search.c */
void celery_search(struct queue_search *search, const struct queue_place *place);
/* A system with everything that its place and settings say; `prefix` NULL: of the settings, else none. */
struct celery_system *celery_new(struct queue_search *search, const struct queue_place *place, int database,
                                 const char *prefix);
/* Adds names of queues that were not known; false: there was no new one. */
bool celery_add_queues(struct celery_system *system, const char *const *names, size_t count);

/* celery_bindings.c: which queues the bindings name, and under which prefix. */
struct celery_binding {
    const char *prefix;
    const char
        *queue; /* NULL: a binding of something else (remote control, events), which shows who is here */
};
struct celery_bindings_request {
    struct loop *loop;
    struct redis_server *redis;
    int database;
    const char *prefix; /* NULL: any */
    int64_t keys_most;  /* how many keys of each node are looked at; 0: all */
    bool paced;         /* waits between windows */
};
struct celery_bindings;
/* Calls `done` once, in a later turn; error NULL: it was read. What is handed over is borrowed. */
struct celery_bindings *celery_bindings_read(const struct celery_bindings_request *request,
                                             void (*done)(void *data, const struct celery_binding *bindings,
                                                          size_t count, bool complete,
                                                          const struct error *error),
                                             void *data);

/* `done` is not called any more. */
void celery_bindings_forsake(struct celery_bindings *reading);

/* celery_queues.c */
void celery_ask_queues(struct celery_system *system);
/* Lets go of timers; nothing is asked any more. */
void celery_queues_close(struct celery_system *system);
/* celery_read.c */
struct queue_read *celery_read(struct queue_system *system, const struct queue_read_request *request,
                               struct queue_read_handler handler);
void celery_read_stop(struct queue_read *read);
void celery_read_forsake(struct queue_read *read);
/* celery_job.c */
void celery_job(struct queue_system *system, const struct job *job,
                void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                void *data);

/* celery_events.c: listens (PSUBSCRIBE) while workers or failures are wanted. */
void celery_watch_want(struct celery_system *system, bool wanted);
void celery_watch_free(struct celery_watch *watch);
/* Executions of all workers per second over the last minute, from heartbeats; NAN: not known yet. */
double celery_watch_rate(const struct celery_system *system);
/* When a job's task-sent event was heard; 0: was not. */
double celery_watch_sent_at(const struct celery_system *system, const char *id);
/* Of the task events of the last two minutes: retried / started; NAN: no events. */
double celery_watch_retry_share(const struct celery_system *system);

/* celery_workers.c: joins heartbeats, bindings, blocked clients and answers. */
void celery_ask_workers(struct celery_system *system);
/* Lets go of timers and questions. */
void celery_workers_close(struct celery_system *system);
/* Reads the notes that pauses leave in Redis; nothing comes back. */
void celery_ask_pauses(struct celery_system *system);
/* Is the queue paused, as such a note says? Not when a worker has said since that it takes from it. */
bool celery_queue_paused(const struct celery_system *system, const char *queue);
/* celery_failures.c: results, dead-letter queues, duplicates, results without expiry. */
void celery_ask_failures(struct celery_system *system);
void celery_failures_close(struct celery_system *system);
/* celery_beat.c: RedBeat, and signs of beat in the messages; the tables of django-celery-beat are
 * django_beat.h's. */
void celery_ask_schedule(struct celery_system *system);
void celery_beat_close(struct celery_system *system);
/* celery_aside.c: what was parked and purged. */
void celery_ask_aside(struct celery_system *system);

/* celery_acts.c (with celery_acts_*.c) */
const char *celery_act_absent(const struct queue_system *system, enum queue_act act);
struct queue_prepare *celery_prepare(struct queue_system *system, const struct queue_act_request *request,
                                     struct queue_prepare_handler handler);
void celery_prepare_forsake(struct queue_prepare *prepare);

#endif
