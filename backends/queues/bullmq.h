/*
 * BullMQ 5 and 6 on Redis. A queue is a family of keys `<prefix>:<queue>:...`; jobs are hashes, and lists and
 * sorted sets of their ids. Pausing differs: 6 leaves jobs in `wait`, 5 renames it to `paused`; the version
 * stands in `meta`. https://docs.bullmq.io and the scripts of the package.
 */
#ifndef BACKENDS_QUEUES_BULLMQ_H
#define BACKENDS_QUEUES_BULLMQ_H

#include "backends/queues/payload.h"
#include "backends/queues/redis_act.h"
#include "backends/queues/redis_system.h"

extern const struct queue_adapter bullmq_adapter;

struct bullmq_system {
    struct redis_system redis;
    const char *prefix; /* "bull" */
    int major;          /* of the newest version that any queue names; 0: none does */
    /* Queues are found by SCAN, a piece at each look. */
    char *cursor;
    char **found;
    size_t found_count;
};

extern const struct redis_reading bullmq_reading;
extern const struct redis_acting bullmq_acting;

/* "bull:invoices:wait". Under context. */
char *bullmq_key(const void *context, const struct bullmq_system *system, const char *queue,
                 const char *kind);
/* Adds that key to the last command. */
void bullmq_add_key(struct redis_batch *batch, const struct bullmq_system *system, const char *queue,
                    const char *kind);
/* 5 of "bullmq:5.81.5"; 0: it is no such text. */
int bullmq_major(const char *version);
/* The queue's name in "<prefix>:<queue>:meta"; NULL: another key. Under context. */
char *bullmq_meta_queue(const void *context, const char *prefix, const char *key);
/* Collects names from an answer of SCAN; true when the scan is over. */
bool bullmq_scanned(struct bullmq_system *system, const struct redis_answer *answer);
void bullmq_add_scan(struct redis_batch *batch, const char *prefix, const char *cursor);

/* The fields of a job's hash that bullmq_fill reads. */
void bullmq_add_fields(struct redis_batch *batch);
bool bullmq_fill(struct queue_system *system, const void *context, const struct redis_item *item,
                 struct job *job, const char **body, size_t *body_length);
/* Of "Error: no such report\n    at build (/srv/app/jobs.js:22:76)\n ...": the class and the first place that
 * is not of a package. Each may be NULL. */
void node_stack(const void *context, const char *text, char **exception, char **frame);

/* A worker's connection in CLIENT LIST. */
struct bullmq_client {
    const char *queue, *id, *address, *name; /* name: what the application calls the worker; NULL */
    double age_s, idle_s;
};
/* All of them with this prefix; a talloc array under context. */
struct bullmq_client *bullmq_clients(const void *context, const char *prefix, const char *list,
                                     size_t *count);

void bullmq_ask_queues(struct bullmq_system *system);
void bullmq_ask_workers(struct bullmq_system *system);
void bullmq_ask_schedule(struct bullmq_system *system);
void bullmq_job(struct queue_system *base, const struct job *job,
                void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                void *data);
const char *bullmq_act_absent(const struct queue_system *system, enum queue_act act);

#endif
