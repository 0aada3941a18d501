/* What RQ, Sidekiq, BullMQ and streams share as systems on Redis: the names of their queues, rates from one
 * look to the next, shares of tenants, failures in groups. */
#ifndef BACKENDS_QUEUES_REDIS_SYSTEM_H
#define BACKENDS_QUEUES_REDIS_SYSTEM_H

#include "backends/queues/redis_read.h"

struct redis_rates;
struct redis_shares;

struct redis_system {
    struct queue_system base;
    char **queues; /* names, sorted */
    size_t queue_count, left_out;
    struct redis_rates *rates;
    struct redis_shares *shares;
    struct redis_part *asking[QUEUE_PARTS]; /* what is under way */
    struct queue_read *reading;             /* of failures */
};

enum { REDIS_QUEUES_MOST = 10000 };

/* A system as queue_system_new makes it, with place ("cache, database 3") and prefix (added when not the
 * usual one) in words. */
void *redis_system_new(struct queue_search *search, const struct queue_place *place,
                       const struct queue_adapter *adapter, size_t size);
/* Lets go of what is under way: for `close`. */
void redis_system_close(struct queue_system *base);
/* Takes the names over (sorted, each once). */
void redis_system_learn(struct redis_system *system, char **names, size_t count);
bool redis_system_knows(const struct redis_system *system, const char *queue);

/* First member of what an adapter keeps while it asks for a part, round after round. Freed when the part is
 * published or has failed, or the system is closed. */
struct redis_part {
    struct redis_system *system;
    enum queue_part part;
    void *snapshot; /* released with it, unless published */
};
/* A zeroed chunk of `size` that begins with a struct redis_part; one that is under way is withdrawn. */
void *redis_part_begin(struct redis_system *system, enum queue_part which, size_t size, void *snapshot);
/* A batch for it, and sending it: `next` gets the part. */
struct redis_batch *redis_part_batch(void *part);
void redis_part_ask(void *data, struct redis_batch *batch,
                    void (*next)(void *part, struct redis_batch *batch, const struct error *error));
/* Did all come? False: that it failed was told, and the part is gone. */
bool redis_part_came(void *data, struct redis_batch *batch, const struct error *error);
void redis_part_publish(void *data);

/* A queue of which nothing is known yet: counts -1, NAN. */
void queue_clear(struct queue *queue);

struct redis_rate_sample {
    int64_t ready, inside;      /* inside: ready and taken, but not over */
    double in_total, out_total; /* so many ever; NAN: not known */
};
void redis_rates_note(struct redis_system *system, const char *queue, const struct redis_rate_sample *sample);
/* in_per_s, out_per_s, drain_s, history: over the last minute of what was noted. */
void redis_rates_fill(const struct redis_system *system, struct queue *queue);
/* The time to drain, of what stands in the queue. */
void redis_rates_drain(struct queue *queue);

/* Shares of tenants and of retries in each queue, from samples of its ready jobs that are taken one queue
 * after the other, each at most every 30 s. */
void redis_shares_sample(struct redis_system *system, const struct redis_reading *reading);
void redis_shares_fill(const struct redis_system *system, const void *context, struct queue *queue);

/* Reads the newest records in these states, and publishes PART_FAILURES. `why_not`: why none of a state can
 * be run again; NULL: all can. */
void redis_failures_ask(struct redis_system *system, const struct redis_reading *reading, unsigned states,
                        const char *(*why_not)(const struct job *job));

#endif
