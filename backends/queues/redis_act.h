/*
 * Acts on systems on Redis: a change of steps, each one or several EVALs that look whether the thing is still
 * what was seen, and only then do it, at once. A script answers "done", "gone", or why it refused. Payloads
 * go through as the bytes that were read; no script takes them apart.
 */
#ifndef BACKENDS_QUEUES_REDIS_ACT_H
#define BACKENDS_QUEUES_REDIS_ACT_H

#include "backends/queues/act.h"
#include "backends/queues/redis_read.h"

/* An act on jobs. */
struct redis_act {
    enum queue_act act;
    unsigned states;  /* where such jobs lie, when the request names none */
    const char *verb; /* "retry" */
    const char *past; /* "queued again" */
    enum hazard hazard;
    const char *effect, *undo, *milder; /* undo, milder: NULL: none */
    /* Adds the one EVAL for a job, which was read right now, its raw bytes included. False with why (static):
     * it cannot be, and is left out. */
    bool (*add)(struct queue_system *system, const struct queue_act_request *request, const struct job *job,
                struct redis_batch *batch, const char **why);
};

struct redis_acting {
    const struct redis_reading *reading;
    const struct redis_act *acts;
    size_t act_count;
    /* All other acts (queues, workers): a change made at once, or NULL with error. */
    struct change *(*other)(struct queue_system *system, const struct queue_act_request *request,
                            struct error *error);
};

struct queue_prepare *redis_act_prepare(struct queue_system *system, const struct redis_acting *acting,
                                        const struct queue_act_request *request,
                                        struct queue_prepare_handler handler);
void redis_act_forsake(struct queue_prepare *base);

/* For `other`: a change with room for so many steps, environment, server and role filled in. */
struct change *redis_change_new(struct queue_system *system, const char *verb, const char *past,
                                enum hazard hazard, size_t steps);
/* Its next step; the EVALs are added to the batch that is returned. Texts are copied. */
struct redis_batch *redis_change_step(struct change *change, struct queue_system *system, const char *name,
                                      const char *target, const char *subject, const char *undo);
/* After the last command of each step was added: fills in the commands as text. */
void redis_change_ready(struct change *change);
/* Asks for a name (of a queue, a worker, a system) to be typed. */
void redis_change_confirm_name(struct change *change, const char *name, const char *what);

/* EVAL of a static script: begin with the number of keys, then add keys and arguments as words. */
void redis_act_eval(struct redis_batch *batch, const char *script, int keys);

#endif
