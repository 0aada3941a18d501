/* What this console has seen of each queue of a Celery system, look after look. Shared by the files that read
 * lengths and rates (celery_queues.c), samples (celery_shares.c) and unacked (celery_unacked.c), and the one
 * that makes rows of it (celery_rows.c). */
#ifndef BACKENDS_QUEUES_CELERY_SEEN_H
#define BACKENDS_QUEUES_CELERY_SEEN_H

#include <uthash.h>

#include "backends/queues/celery.h"
#include "backends/queues/celery_rates.h"

enum {
    SEEN_QUEUES_MOST = 10000,
    SEEN_NEAR = 1000,  /* "poison near": within so many of the head */
    SEEN_WINDOWS = 24, /* of samples, kept */
    SEEN_HEADS = 32,   /* windows at the head, kept: with large messages they are small, and cover less */
    SEEN_MARKER_MOST = 16384,
};
#define SEEN_MINUTE_S 60.0
#define SEEN_QUARTER_S 900.0

/* One of the lists of a queue: a step of priority. */
struct seen_list {
    int64_t length; /* -1: not known; what is under the key is no list */
    /* At the last look into it (seen_queue.looked_at): */
    int64_t looked_length; /* -1: there was none */
    char *marker;          /* an element, and its depth; NULL: none */
    size_t marker_length;
    int64_t depth, next_depth; /* next_depth 0: not known which */
    struct arrivals *arrivals;
};

/* What a window of messages held. */
struct seen_window {
    double at; /* 0: never read */
    int64_t start, count;
    int64_t poison[5];                   /* by enum job_poison */
    int64_t retries, redelivered, twice; /* twice: a worker holds the same job */
    struct seen_tenant {
        const char *name; /* NULL: none */
        int64_t count;
    } * tenants; /* a talloc array */
    size_t tenant_count;
};

struct seen_queue {
    UT_hash_handle hh;
    struct seen_list lists[CELERY_STEPS];
    bool wrong_type;
    int64_t ready, dead;
    double looked_at;   /* monotonic: the last time that rates were reckoned; 0: never */
    double still_since; /* monotonic: nothing was taken since, though something was there */
    struct rate out, growth, growth_quarter;
    double known_s;             /* for how long rates are known */
    int64_t consumers, running; /* as the workers said last; -1: they did not */
    float history[QUEUE_HISTORY];
    double history_at;
    /* The job that runs next. */
    char *head_id;
    char *head_task;
    uint64_t head_hash;
    double head_since, head_sent_at, head_read_at; /* wall */
    int64_t head_bytes;
    /* Samples. */
    struct seen_sample {
        struct seen_window heads[SEEN_HEADS], windows[SEEN_WINDOWS];
        int64_t window_size;
        int next_head, next_window, turn;
        bool probed;        /* only a few, to know the size: the whole head comes next */
        double bytes, jobs; /* for the mean size */
        double read_at;
    } * sample; /* NULL: nothing was read of it */
    /* In `unacked`, of the last pass (shares of a sample when that was one) and of the one that goes on. */
    struct seen_unacked {
        int64_t held, scheduled, retrying, redelivered;
        double oldest_eta, latest_eta;
    } unacked, unacked_now;
    char name[];
};

struct celery_look;    /* a refresh that goes on */
struct celery_unacked; /* celery_unacked.c */

struct celery_rates {
    struct celery_system *system;
    struct seen_queue *queues; /* hash */
    struct celery_look *look;  /* in flight; NULL */
    unsigned epoch;            /* of the server */
    struct celery_bindings *bindings;
    double bindings_at, bindings_next; /* monotonic: when their reading began, and begins again */
    double aside_asked; /* monotonic: when what was set aside was asked for, for a column; 0: never */
    size_t detail_next; /* whose turn it is when not all can be looked into */
    size_t sample_next;
    struct celery_unacked *unacked;
    double began_at; /* wall: the first look */
};

struct seen_queue *celery_seen(struct celery_rates *rates, const char *name);
/* The step and depth (from 1) of a job counted from the head of the whole queue, from 0; false: beyond. */
bool celery_seen_place(const struct seen_queue *queue, int64_t position, int *step, int64_t *depth);

/* celery_shares.c: reads some windows of some queues, then calls done once. */
void celery_sample(struct celery_rates *rates, void (*done)(void *data, const struct error *error),
                   void *data);
/* A window of this queue was read: elements of LRANGE, the head last. */
struct redisReply;
void celery_window_read(struct celery_system *system, const struct seen_queue *queue,
                        struct seen_window *window, const struct redisReply *reply, double *bytes);
void celery_sample_fill(const struct seen_queue *queue, struct queue *row, const void *context);
/* Bad messages of a class within the next SEEN_NEAR, as far as they were read. */
int64_t celery_sample_near(const struct seen_queue *queue, enum job_poison poison);
/* Share of the jobs looked at, in all queues, that are retries; NAN: none was looked at. */
double celery_sample_retry_share(const struct celery_rates *rates);

/* Jobs that wait though a worker holds them: given out again, by the samples. */
int64_t celery_sample_twice(const struct celery_rates *rates);

/* celery_unacked.c: reads the hash, or some of it when it is large. */
void celery_unacked_read(struct celery_rates *rates, void (*done)(void *data, const struct error *error),
                         void *data);
/* Of its last whole pass: how many ids were there twice at the same try; -1: not known. */
int64_t celery_unacked_twice(const struct celery_rates *rates);
/* How many were given out before: a worker ended, or the visibility timeout passed. */
int64_t celery_unacked_redelivered(const struct celery_rates *rates);
/* For how long the job that is due last is held, in seconds; 0: none is. */
double celery_unacked_longest_wait(const struct celery_rates *rates);
/* Entries of the hash; -1 unknown. *sampled: counts by queue are estimates from a part. */
int64_t celery_unacked_count(const struct celery_rates *rates, bool *sampled);
/* Is this id, at this try, held by a worker, as the last pass saw it? */
bool celery_unacked_has(const struct celery_rates *rates, const char *id, int retries);

/* celery_rows.c */
struct queues_snapshot *celery_rows(struct celery_rates *rates);

#endif
