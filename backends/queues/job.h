/*
 * One job, of whatever system: what can be known of it without asking anybody but the place where it lies. A
 * job is a view on bytes that somebody else owns; job_copy keeps one.
 */
#ifndef BACKENDS_QUEUES_JOB_H
#define BACKENDS_QUEUES_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a job is in its life. */
enum job_state {
    JOB_READY,     /* in a queue, waiting for a worker */
    JOB_UNACKED,   /* taken by a worker, which may hold it, wait with it, or run it (Celery's unacked) */
    JOB_RUNNING,   /* a worker says that it runs it */
    JOB_SCHEDULED, /* due later */
    JOB_RETRYING,  /* failed, due again later */
    JOB_WAITING,   /* for other jobs (deferred, waiting-children, blocked) */
    JOB_FAILED,    /* failed; kept as a record that may be run again */
    JOB_DEAD,      /* given up: dead set, dead-letter queue */
    JOB_DONE,      /* succeeded; kept as a record */
    JOB_CANCELLED, /* revoked, cancelled */
    JOB_PARKED,    /* set aside by signalbox, to come back */
    JOB_TRASHED,   /* purged by signalbox, can still be taken back */
    JOB_STATES
};
/* "ready", "unacked" ...: the stable word. */
const char *job_state_name(enum job_state state);

enum job_flag {
    JOB_REDELIVERED = 1 << 0, /* given out before: a worker died, or the visibility timeout passed */
    JOB_PICKLED = 1 << 1,     /* the body is pickle: never decoded */
    JOB_ENCODED = 1 << 2,     /* the body is in another encoding that is not decoded (msgpack, yaml, data) */
    JOB_COMPRESSED = 1 << 3,
    JOB_BIG = 1 << 4,     /* over 128 kB */
    JOB_EXPIRED = 1 << 5, /* its time is over: a worker will drop it */
    JOB_PERIODIC = 1 << 6,
    JOB_OLD_PROTOCOL = 1 << 7,  /* Celery's protocol 1 */
    JOB_CHAINED = 1 << 8,       /* others follow it (chain, callbacks) */
    JOB_GROUPED = 1 << 9,       /* member of a group or chord */
    JOB_TWICE = 1 << 10,        /* the same id was seen more than once */
    JOB_UNKNOWN_TASK = 1 << 11, /* no worker knows the task */
    JOB_ORPHANED = 1 << 12,     /* held by a worker that is gone */
    JOB_FLAGS = 13
};
/* "redelivered": the word of the flag 1 << bit. */
const char *job_flag_name(int bit);
/* "redelivered pickle": the words of the flags, separated by blanks. Returns buffer. */
char *job_flags_text(char *buffer, size_t size, unsigned flags);

/* What a worker would do with a message that is not right (facts: poison). A is the worst. */
enum job_poison {
    POISON_NONE,
    POISON_D, /* kills the child that runs it, again and again */
    POISON_C, /* fails: no such task */
    POISON_B, /* dropped with a log line, no result */
    POISON_A, /* ends the worker's process, and is lost */
};
/* "", "D", "C", "B", "A". */
const char *job_poison_name(enum job_poison poison);

/* All texts are NUL-terminated UTF-8 as the producer wrote it (raw: hostile until made safe), borrowed; NULL
 * is unknown or does not apply. Times are seconds since the epoch; 0: unknown or none. Counts below 0:
 * unknown. */
struct job {
    const char *id;
    const char *task;
    const char *tenant; /* NULL: no tenant, or unknown: see tenant_known */
    bool tenant_known;  /* NULL means that it has none */
    const char *queue;
    enum job_state state;
    int priority; /* as its system counts; -1: none */
    int retries;
    int retries_max;    /* -1: unknown */
    double enqueued_at; /* sent or enqueued */
    double eta;         /* due */
    double expires;
    double taken_at; /* by a worker */
    double started_at;
    double finished_at; /* failed or done */
    double limit_s;     /* how long it may run; 0: no limit known */
    int64_t size;       /* bytes of the message */
    unsigned flags;     /* enum job_flag */
    enum job_poison poison;
    const char *why; /* why it is poison, failed, late: one line */
    const char *
        arguments; /* as the producer shows them (argsrepr, description), or with values redacted; one line */
    const char *origin;    /* who sent it: "gen4711@web1" */
    const char *worker;    /* who has it */
    const char *exception; /* "ValueError" */
    const char *message;   /* of the exception */
    const char *frame;     /* the last line of the traceback that names a place */
    const char *parent, *root, *group;
    /* The place: what an act needs to find exactly this job again. */
    const char *key; /* list, set or hash that it lies in; binary, with key_length */
    size_t key_length;
    const char *tag; /* its name there: delivery tag, stream id, field, row id */
    int64_t index;   /* in a list, counted from the head (0 is the next to run) when it was read; -1: none */
    const char *raw; /* the exact bytes, when the reader was asked to keep them; else NULL */
    size_t raw_length;
};

/* Arguments as they may be shown to anybody: texts become '…', numbers #; names of tasks, keywords and types
 * stay ("(#, '…'), {'term': #}"). Under context; NULL for NULL. */
char *job_arguments_redacted(const void *context, const char *text);

/* A deep copy under context, texts and raw bytes included. */
struct job *job_copy(const void *context, const struct job *job);
/* The same into an existing struct, texts under context. */
void job_copy_into(const void *context, struct job *target, const struct job *job);

#endif
