/* Preparing an act on Celery: reading which jobs are meant, and building the change. Only celery_acts*.c
 * include it. */
#ifndef BACKENDS_QUEUES_CELERY_ACTS_PREPARE_H
#define BACKENDS_QUEUES_CELERY_ACTS_PREPARE_H

#include "backends/queues/celery_acts_internal.h"
#include "backends/queues/redis_batch.h"
#include "backends/queues/tally.h"

/* A list of the broker in which there are jobs that are meant. */
struct celery_target {
    char *list; /* base name */
    int level;
    int64_t count;
    int64_t length;   /* of the list, when it was looked at last; -1: unknown */
    struct job *jobs; /* copies with raw bytes, while they are few; then NULL */
    size_t job_count;
    bool many; /* they were not kept */
};

/* Something set aside, as it was found. */
struct celery_found {
    char *group, *queue;
    enum celery_aside kind;
    int64_t lengths[CELERY_STEPS], waiting[CELERY_STEPS];
    int64_t total;
    const char *act, *tenant, *filter, *to, *to_queue, *list; /* of the note; NULL: unknown */
    bool returning;
};

struct celery_prepare {
    struct queue_prepare base;
    struct celery_system *system;
    struct queue_prepare_handler handler;
    struct queue_act_request request; /* a copy under it */
    struct celery_act *act;           /* its change is ours until it is handed over */
    struct queue_read *read;
    struct redis_batch *batch;
    struct celery_target *targets; /* a talloc array */
    size_t target_count;
    size_t kept_bytes, kept;
    struct tally *tasks, *tenants;
    int64_t not_in_list, unexpirable, no_bytes, elsewhere; /* left out */
    struct celery_found *found;
    size_t found_count, looked;
    struct job *held; /* ACT_REQUEUE, ACT_RETRY of results: as they will be sent */
    void *texts;      /* what belongs to them */
    void (*collected)(struct celery_prepare *p);
    bool too_many;
    int64_t lost, tenantless, unregistered, not_failed; /* results that cannot be sent again, and why */
    const char *last_id;
    struct error error;
    struct change *made; /* to be handed over in a later turn */
    ev_timer later;
};

/* celery_acts_told.c: what workers are told. */
void celery_look_told(struct celery_prepare *p);

/* Hands over a change, or fails, in a later turn. */
void celery_prepare_done(struct celery_prepare *p, struct change *change);
bool celery_prepare_fail(struct celery_prepare *p, enum error_kind kind, const char *todo, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

/* celery_acts_gather.c: jobs that are given, or that a filter finds, and the lists that they are in. Goes on
 * with celery_build_jobs. */
void celery_gather(struct celery_prepare *p);
/* Keeps the jobs in these states that match whole, in the request; too many are refused. */
enum { CELERY_COLLECT = 2000 };
void celery_collect(struct celery_prepare *p, unsigned states, void (*then)(struct celery_prepare *p));
/* celery_acts_found.c: purge, and what is set aside. */
void celery_look_queue(struct celery_prepare *p);
void celery_look_aside(struct celery_prepare *p);
/* celery_acts_requeue.c, celery_acts_retry.c */
void celery_look_held(struct celery_prepare *p);
void celery_look_results(struct celery_prepare *p);

/* celery_acts_build.c */
void celery_build_jobs(struct celery_prepare *p);
void celery_build_purge(struct celery_prepare *p, const int64_t lengths[CELERY_STEPS]);
void celery_build_aside(struct celery_prepare *p);
/* Fills hazard, words, confirmation and what it does to a queue. */
void celery_build_words(struct celery_act *act, int64_t count, const char *queue);
/* One job alone: its last characters confirm it. */
void celery_build_confirm_one(struct celery_act *act, const char *id);
/* The commands of a step as they are shown and recorded. */
void celery_build_command(struct celery_step *own, const char *target, const char *subject);
/* celery_acts_undo.c: it can be taken back. */
void celery_build_undo(struct celery_act *act);
/* Tells the queue's length before and after. */
void celery_build_watch(struct celery_act *act);
/* A step for each priority of a group that goes back. */
void celery_build_return(struct celery_act *act, const char *group, const char *queue, bool first,
                         const int64_t lengths[CELERY_STEPS]);

#endif
