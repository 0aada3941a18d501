/*
 * Acts on job systems, each a change. Preparing one only reads: it freezes which jobs are meant, counts them,
 * and builds a change whose steps hold the exact commands. Sending compares and sets: what moved, changed or
 * ran meanwhile is told (STEP_GONE, and counts in step.output), never overwritten.
 */
#ifndef BACKENDS_QUEUES_ACT_H
#define BACKENDS_QUEUES_ACT_H

#include "backends/change.h"
#include "backends/queues/read.h"

enum queue_act {
    ACT_PAUSE, /* a queue: workers take nothing from it */
    ACT_RESUME,
    ACT_NEUTRALISE,  /* jobs: expired in place; a worker drops them */
    ACT_PARK,        /* jobs: out of the queue into a list beside it, in order */
    ACT_UNPARK,      /* back, in order */
    ACT_REQUEUE,     /* jobs that a dead worker holds (unacked, orphaned) */
    ACT_RETRY,       /* failed or dead jobs, again */
    ACT_DISCARD,     /* failed, dead, scheduled jobs: removed (to trash where there is one) */
    ACT_PURGE,       /* a queue: all of it to trash */
    ACT_RESTORE,     /* trash back to its queue */
    ACT_EMPTY_TRASH, /* for good */
    ACT_RUN_NOW,     /* scheduled jobs: due at once */
    ACT_REVOKE,      /* ids: workers forget to run them (in their memory) */
    ACT_TERMINATE,   /* running jobs: the child that runs them is ended */
    ACT_RATE_LIMIT,  /* a task on all workers: argument "10/m", "0" for none */
    ACT_POOL,        /* a worker: argument "+2" or "-1" */
    ACT_CONSUME,     /* a worker: takes from the queue (argument) */
    ACT_CONSUME_NOT,
    ACT_DRAIN,        /* a worker: takes nothing more, finishes what it has */
    ACT_SHUTDOWN,     /* a worker: warm shutdown */
    ACT_ASK,          /* workers: what they run, hold and know; a question, but it needs a reply key */
    ACT_SCHEDULE_RUN, /* a schedule's entry: now */
    ACT_SCHEDULE_ENABLE,
    ACT_SCHEDULE_DISABLE,
    ACT_TENANT_ASIDE, /* one tenant's jobs (tenant) out of the queue, in order, however many */
    ACT_TENANT_BACK,  /* and back */
    ACT_CONTINUE,     /* a move that was interrupted: goes on */
    ACT_COUNT
};
/* "pause", "tenant-aside": as on the command line. */
const char *queue_act_name(enum queue_act act);
/* -1: there is none of that name. */
int queue_act_find(const char *name);

struct queue_act_request {
    enum queue_act act;
    const char *queue;      /* name; NULL when the act is not about one */
    const struct job *jobs; /* the jobs that are meant, with raw bytes where the system needs them; copied */
    size_t job_count;
    const struct job_filter *filter; /* instead of jobs: all that match, in `states` of the queue; copied */
    unsigned states;
    const char *tenant;
    const char *task;
    const char *const *workers; /* ids; copied */
    size_t worker_count;
    const char *entry;    /* of the schedule, or of what was set aside: its id */
    const char *argument; /* see the acts */
};

struct queue_prepare;
struct queue_prepare_handler {
    /* How far looking has come; may be NULL. */
    void (*progress)(void *data, const struct queue_read_progress *progress);
    /* Once, in a later turn: a change (the receiver's), or NULL with an error; ERROR_GONE: nothing matches.
     */
    void (*done)(void *data, struct change *change, const struct error *error);
    void *data;
};
struct queue_prepare *queue_act_prepare(struct queue_system *system, const struct queue_act_request *request,
                                        struct queue_prepare_handler handler);
/* No handler is called any more; a change that was made is freed. */
void queue_prepare_forsake(struct queue_prepare *prepare);

#endif
