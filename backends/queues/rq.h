/*
 * RQ (1.x and 2.x) on Redis. Jobs are hashes; queues are lists and registries sorted sets of their ids, the
 * head on the left. https://python-rq.org/docs/ and rq/registry.py, rq/job.py, rq/worker.py.
 */
#ifndef BACKENDS_QUEUES_RQ_H
#define BACKENDS_QUEUES_RQ_H

#include "backends/queues/payload.h"
#include "backends/queues/redis_act.h"
#include "backends/queues/redis_system.h"

extern const struct queue_adapter rq_adapter;

/* What was learned of a queue before. */
struct rq_seen {
    char *queue;
    double finished_most, failed_most; /* the highest scores of the registries */
    double out_total;
};

struct rq_system {
    struct redis_system redis;
    struct rq_seen *seen; /* sorted by queue */
    size_t seen_count;
};

extern const struct redis_reading rq_reading;
extern const struct redis_acting rq_acting;

/* The fields of a job's hash that rq_fill reads, in its order, added to a command. */
void rq_add_fields(struct redis_batch *batch);
/* Asks for the last result of a job (since 1.12). */
void rq_ask_result(struct redis_batch *batch, const char *id);
/* A job from those fields (an answer of HMGET). False: the hash is not there. */
bool rq_fill(struct queue_system *system, const void *context, const struct redis_item *item, struct job *job,
             const char **body, size_t *body_length);
/* "2026-11-21T11:56:24.012603Z", also without fraction; 0: empty or not one. */
double rq_time(const char *text);
/* The id of the job in a member of a registry: `<job>:<execution>` in rq:wip since 2.0. */
char *rq_member_job(const void *context, const char *member, bool wip);
/* The traceback or text in a result (base64 of zlib) or in the old field exc_info (zlib). NULL: none. */
char *rq_error_text(const void *context, const char *bytes, size_t length, bool base64);

void rq_ask_queues(struct rq_system *system);
void rq_ask_workers(struct rq_system *system);
void rq_job(struct queue_system *system, const struct job *job,
            void (*done)(void *data, const struct job_facts *facts, const struct error *error), void *data);
const char *rq_act_absent(const struct queue_system *system, enum queue_act act);

#endif
