/*
 * Sidekiq (6 to 8) on Redis. Queues are lists of whole jobs as JSON, the head on the right; scheduled,
 * retried and dead jobs lie in three sorted sets for all queues. https://github.com/sidekiq/sidekiq/wiki
 */
#ifndef BACKENDS_QUEUES_SIDEKIQ_H
#define BACKENDS_QUEUES_SIDEKIQ_H

#include "backends/queues/payload.h"
#include "backends/queues/redis_act.h"
#include "backends/queues/redis_system.h"

extern const struct queue_adapter sidekiq_adapter;

/* Jobs in the three sets, by queue. */
struct sidekiq_sets {
    int64_t scheduled, retrying, dead;
};

struct sidekiq_seen {
    char *queue;
    double newest, in_total, looked_at;
    struct sidekiq_sets sets;
};

struct sidekiq_system {
    struct redis_system redis;
    const char *prefix;        /* of redis-namespace, with its colon; "" */
    struct sidekiq_seen *seen; /* sorted by queue, one for each */
    size_t seen_count;
    int64_t set_sizes[3];
    double sets_counted_at; /* monotonic; 0: never */
    struct queue_read *counting;
};

extern const struct redis_reading sidekiq_reading;
extern const struct redis_acting sidekiq_acting;

/* A key under context, prefix included. */
char *sidekiq_key(const void *context, const struct sidekiq_system *system, const char *kind,
                  const char *name);
/* Seconds since the epoch: since 8.0 these are milliseconds. 0: absent. */
double sidekiq_time(struct piece piece);
/* A job from its JSON; also for what is no job (poison). */
void sidekiq_fill_json(const void *context, const char *text, size_t length, struct job *job,
                       const struct environment_jobs *settings);
/* The backtrace as lines; NULL: none. */
char *sidekiq_backtrace(const void *context, struct piece object);
/* The bytes to push when a job is tried again: enqueued_at now, retry_count one less, as Sidekiq does; all
 * other bytes as they were. NULL when it is not a job. Under context. */
char *sidekiq_again(const void *context, const char *text, size_t length, double now, size_t *result);

void sidekiq_ask_queues(struct sidekiq_system *system);
void sidekiq_ask_workers(struct sidekiq_system *system);
void sidekiq_close(struct queue_system *base);
void sidekiq_job(struct queue_system *system, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data);
const char *sidekiq_act_absent(const struct queue_system *system, enum queue_act act);

/* A process as its hash says. */
struct sidekiq_process {
    const char *identity;
    struct piece info;
    int64_t busy, rss_kb;
    double beat;
    bool there, quiet;
    const struct redis_answer *work; /* thread -> what it runs */
};
/* Three commands a process, and what they answered. */
void sidekiq_process_ask(struct redis_batch *batch, const struct sidekiq_system *system,
                         const char *identity);
struct sidekiq_process sidekiq_process_read(const struct redis_batch *batch, size_t first,
                                            const char *identity);
enum { SIDEKIQ_PROCESS_COMMANDS = 3 };

#endif
