/*
 * Reading jobs where they lie: a window from either end of a queue of any length, everything that matches a
 * filter (with progress, and stopping), or a sample. One mechanism for all of them; it reads windows, paces
 * itself (redis_server_pace), and never holds more than a window of messages.
 */
#ifndef BACKENDS_QUEUES_READ_H
#define BACKENDS_QUEUES_READ_H

#include "backends/queues/filter.h"
#include "core/error.h"

struct queue_system;
struct queue_read;

enum queue_from {
    FROM_HEAD, /* the job that runs next comes first */
    FROM_TAIL, /* the newest first */
    FROM_ANY,  /* windows at random places, each job at most once: a sample; offset does not apply */
};

struct queue_read_request {
    const char *queue; /* name; NULL: all queues and places of the system (finding a job) */
    unsigned states;   /* 1u << JOB_READY and so on: the places to look at; 0: all that there are */
    enum queue_from from;
    int64_t offset;                  /* jobs to pass over, from that end */
    int64_t limit;                   /* jobs to hand over at most; 0: no limit */
    int64_t look;                    /* jobs to look at, at most; 0: no limit (all) */
    const struct job_filter *filter; /* NULL: all; borrowed until done */
    bool keep_raw;                   /* job.raw is filled */
    bool unpaced;                    /* as fast as windows come: for measuring only */
};

struct queue_read_progress {
    int64_t scanned, total; /* jobs looked at, of how many (a queue may grow meanwhile); total -1: unknown */
    int64_t matched;
    int64_t repeated; /* seen twice because the list moved: not counted again */
    int64_t bytes;
    double seconds;
    bool complete; /* everything that was asked for was looked at */
    bool stopped;  /* by queue_read_stop */
};

struct queue_read_handler {
    /* Matching jobs, in order, as they are found; borrowed for the call. `bodies[i]` is what could be decoded
     * of the arguments when the filter needed it, else NULL. May be NULL. */
    void (*jobs)(void *data, const struct job *jobs, size_t count);
    /* After each window. May be NULL. */
    void (*progress)(void *data, const struct queue_read_progress *progress);
    /* Once, in a later turn than the call that began it; error is NULL unless reading failed (what was handed
     * over stays true). The read is freed afterwards. */
    void (*done)(void *data, const struct queue_read_progress *progress, const struct error *error);
    void *data;
};

/* Copies the request. Never NULL: what is not possible is told in `done`. */
struct queue_read *queue_read_start(struct queue_system *system, const struct queue_read_request *request,
                                    struct queue_read_handler handler);
/* Asks it to end: `done` comes soon, with `stopped`. */
void queue_read_stop(struct queue_read *read);
/* Gives it up: no handler is called any more. */
void queue_read_forsake(struct queue_read *read);

/* All about one job: sections of label and text, for the page and for JSON. */
struct job_fact {
    const char *section; /* "Message", "Arguments", "Result" ... */
    const char *label;   /* NULL: a paragraph */
    const char *text;    /* raw */
    bool secret;         /* an argument's value: shown only on demand */
};
struct job_facts {
    struct job_fact *facts; /* a talloc array under it */
    size_t count;
};
void job_facts_add(struct job_facts *facts, const char *section, const char *label, bool secret,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Reads the job again where it lies and what belongs to it (headers, body, result, traceback, chain, chord).
 * `done` in a later turn; facts borrowed for the call; NULL with error (ERROR_GONE: it is not there any
 * more). */
void queue_job_read(struct queue_system *system, const struct job *job,
                    void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                    void *data);

#endif
