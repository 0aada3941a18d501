/*
 * What is known of a job system at one moment: its queues, workers, running jobs, failures, schedule, and
 * what was set aside. Each part is a snapshot of its own (core/snapshot.h); texts are raw and belong to it.
 * Times are seconds since the epoch, 0: unknown or never; counts below 0 and NAN: unknown.
 */
#ifndef BACKENDS_QUEUES_SNAPSHOT_H
#define BACKENDS_QUEUES_SNAPSHOT_H

#include "backends/queues/job.h"
#include "core/snapshot.h"

enum { QUEUE_PRIORITIES = 10, QUEUE_SHARES = 5, QUEUE_HISTORY = 60 };

/* Where the age of the job that runs next is known from. */
enum head_age_source {
    HEAD_AGE_NONE,     /* the queue is empty, or nobody can know */
    HEAD_AGE_EXACT,    /* the system keeps the time */
    HEAD_AGE_HEADER,   /* a header that the application sets (sent_at) */
    HEAD_AGE_EVENT,    /* its task-sent event was heard */
    HEAD_AGE_WATCHED,  /* this console saw it come in, or has seen it for so long (at least) */
    HEAD_AGE_ESTIMATE, /* length divided by the rate out (Little) */
};
/* "", "exact", "header", "event", "watched", "estimate". */
const char *head_age_source_name(enum head_age_source source);

struct queue_share {
    const char *name; /* of the tenant; NULL: none */
    double share;     /* 0 to 1 */
    double error;     /* 0: exact */
};

struct queue {
    const char *id; /* unique in its system, stable */
    const char *name;
    const char *kind; /* "list", "stream", "table" */
    int64_t ready, unacked, running, scheduled, retrying, waiting, failed, dead, done, parked;
    int64_t by_priority[QUEUE_PRIORITIES]; /* of ready, the first served first */
    int priorities;                        /* how many of them there are; 0: the system has none */
    int paused;                            /* 1, 0, -1 unknown */
    double head_age_s;
    enum head_age_source head_age_source;
    double in_per_s, out_per_s;              /* over the last minute or so */
    double drain_s;                          /* INFINITY: it grows; 0: empty; NAN: unknown */
    int64_t consumers;                       /* workers that take from it */
    double oldest_eta;                       /* the job that was due first and has not run */
    int64_t poison, poison_near;             /* found in what was read of it; within the next 1000 */
    bool poison_sampled;                     /* not all of it was read */
    int64_t bytes;                           /* memory, where that is cheap to know */
    struct queue_share shares[QUEUE_SHARES]; /* of tenants, the largest first */
    int share_count;
    int64_t share_others;         /* tenants beyond them */
    int64_t share_sample;         /* jobs that were looked at; 0: shares are not known */
    double retry_share;           /* of the jobs looked at, how many have retries > 0 */
    float history[QUEUE_HISTORY]; /* ready, one each 10 s, the newest last; NAN: a gap */
    const char *why;              /* what is wrong with it, the worst first; NULL: nothing */
    enum { QUEUE_FINE, QUEUE_WARNING, QUEUE_CRITICAL } level;
};

struct queues_snapshot {
    struct snapshot snapshot;
    struct queue *queues;
    size_t count;
    size_t left_out;  /* more than are asked at once (10,000) */
    const char *note; /* what holds for all of them ("paused: rq:suspended is set"); NULL: nothing */
};

enum worker_state {
    WORKER_OK,
    WORKER_BUSY,          /* all its slots run */
    WORKER_SILENT,        /* known, no sign of life for a while */
    WORKER_GHOST,         /* declared, never a sign of life: killed */
    WORKER_NOT_CONSUMING, /* alive, jobs wait, and it takes none */
    WORKER_STUCK,         /* runs the same job beyond its limit, or heartbeats without progress */
    WORKER_QUIET,         /* takes no new jobs: it was told so, or is shutting down */
    WORKER_STATES
};
const char *worker_state_name(enum worker_state state);

struct worker {
    const char *id;   /* "reports@worker1", process identity */
    const char *host; /* the machine's name as the worker says it; NULL unknown */
    int pid;
    enum worker_state state;
    double seen_at; /* the last sign of life */
    double started_at;
    int64_t slots; /* how many jobs at once */
    int64_t active, reserved, scheduled;
    int64_t processed;  /* since its start */
    double per_s;       /* processed, over the last minute or so */
    double load;        /* of its machine, 1 minute */
    const char *queues; /* "reports,mail" */
    const char *version;
    const char *why; /* why it is not ok */
    double asked_at; /* when active, reserved and scheduled were told; 0: nobody asked */
};

struct workers_snapshot {
    struct snapshot snapshot;
    struct worker *workers;
    size_t count;
    struct job *running; /* with worker and started_at */
    size_t running_count;
    const char *note; /* how the figures are known ("from heartbeats: A asks the workers") */
};

/* Failed jobs that have the task, exception, place and tenant in common. */
struct failure {
    const char *id;
    const char *task, *exception, *frame, *tenant, *queue; /* NULL: not known */
    const char *message;                                   /* of the last one */
    int64_t count;
    double first, last;
    float history[QUEUE_HISTORY]; /* how many, one each minute, the newest last */
    enum job_state
        kept; /* where they are kept: JOB_FAILED, JOB_DEAD, JOB_RETRYING, or JOB_DONE (a result only) */
    int64_t retriable;   /* how many can be run again as they are */
    const char *why_not; /* why the others cannot; NULL: all can */
    const char *example; /* id of the last one */
};

struct failures_snapshot {
    struct snapshot snapshot;
    struct failure *failures;
    size_t count;
    int64_t scanned, total;         /* records looked at, of how many; total -1: unknown */
    bool storm;                     /* a retry storm: more than 3 of 10 that start are retries */
    double retry_share;             /* NAN: unknown */
    int64_t duplicates;             /* ids that were delivered twice */
    int64_t results_without_expiry; /* -1: not looked at, or does not apply */
    const char *note;
};

struct schedule_entry {
    const char *id;
    const char *name, *task, *when; /* "every 30 s", "0 2 * * *" */
    const char *queue, *tenant, *arguments;
    int enabled; /* 1, 0, -1 unknown */
    double last_run, next_run;
    double late_s; /* beyond what its system's bookkeeping explains; 0: not late */
    int64_t runs;
    const char *why;
};

enum scheduler_state { SCHEDULER_UNKNOWN, SCHEDULER_RUNS, SCHEDULER_STOPPED, SCHEDULER_TWICE };

struct schedule_snapshot {
    struct snapshot snapshot;
    struct schedule_entry *entries;
    size_t count;
    enum scheduler_state scheduler;
    const char *sign; /* how that is known: "a periodic message 12 s ago" */
};

/* What signalbox set aside: parked jobs, a tenant's jobs taken out, trash, and moves that did not end. */
struct aside {
    const char *id;                      /* the key */
    const char *kind;                    /* "parked", "aside", "trash", "unfinished" */
    const char *queue, *tenant, *filter; /* where they came from and which they were; NULL: all */
    int64_t count;
    double since;
    const char *by, *reason; /* as the console noted them; NULL: unknown */
    double gone_at;          /* trash: when it may be removed for good; 0: stays */
};

struct aside_snapshot {
    struct snapshot snapshot;
    struct aside *items;
    size_t count;
};

#endif
