/*
 * Reading jobs of the systems on Redis, with the semantics of read.h: windows of lists, sorted sets, streams
 * and pending entries, with details of each element when it is only an id; a filter, pacing, stopping. An
 * adapter says where jobs lie (shelves) and how to make a job of an element; all else is here.
 *
 * A list that moves while it is read: windows overlap a little, so that jobs that workers took in between
 * pass over nobody, and what is seen twice is counted as repeated and handed over once.
 */
#ifndef BACKENDS_QUEUES_REDIS_READ_H
#define BACKENDS_QUEUES_REDIS_READ_H

#include "backends/queues/redis_batch.h"
#include "backends/queues/system.h"

/* A key where jobs lie. */
struct redis_shelf {
    enum {
        SHELF_LIST,    /* elements are ids or messages */
        SHELF_SORTED,  /* members with scores, the lowest first */
        SHELF_STREAM,  /* entries after `after` */
        SHELF_PENDING, /* entries that consumers of `group` hold */
    } kind;
    const char *key;
    const char *queue;
    enum job_state state;
    bool head_last;    /* of a list: its last element runs next */
    const char *group; /* of streams */
    const char *after; /* id of the last entry that was delivered; NULL: none */
    const char *last;  /* id of the newest entry; NULL: unknown */
    int64_t count;     /* how many there are, for streams; -1: unknown */
};

/* An element of a shelf. */
struct redis_item {
    const struct redis_shelf *shelf;
    const char *bytes; /* id, message; of a stream the entry's id. NUL behind it */
    size_t length;
    double score;                      /* of a sorted set */
    int64_t index;                     /* in a list or sorted set, from the head; else -1 */
    const char *consumer;              /* SHELF_PENDING */
    int64_t idle_ms, deliveries;       /* SHELF_PENDING */
    const struct redis_answer *detail; /* what ask_detail got first; of a stream its fields; NULL: none */
    const struct redis_answer *more;   /* what it got second; NULL: it asked for one thing */
    size_t command, commands;          /* of ask_detail, in the batch */
};

struct redis_reading {
    /* What shelves() needs to know right now is asked first, and taken; both NULL: nothing. Error replies are
     * its own matter. */
    void (*ask_places)(struct queue_system *system, struct redis_batch *batch);
    void (*take_places)(struct queue_system *system, const struct redis_batch *batch);
    /* The shelves of a queue (NULL: of all) where jobs in these states lie (0: all), in the order in which
     * they are read; under context. */
    size_t (*shelves)(struct queue_system *system, const void *context, const char *queue, unsigned states,
                      struct redis_shelf **shelves);
    /* Adds one or two commands that get the details of an element; NULL: elements are whole. */
    void (*ask_detail)(struct queue_system *system, struct redis_batch *batch, const struct redis_item *item);
    /* Fills a zeroed job (state, queue, key, index, and raw are filled already); texts under context or the
     * item. `body`: what can be read of the arguments, for text:. False: there is none (it expired). */
    bool (*fill)(struct queue_system *system, const void *context, const struct redis_item *item,
                 struct job *job, const char **body, size_t *body_length);
};

struct queue_read *redis_read_start(struct queue_system *system, const struct redis_reading *reading,
                                    const struct queue_read_request *request,
                                    struct queue_read_handler handler);
void redis_read_stop(struct queue_read *base);
void redis_read_forsake(struct queue_read *base);

/* Asks for the details of an item, and takes them from the answered batch. */
void redis_item_ask(struct queue_system *system, const struct redis_reading *reading,
                    struct redis_batch *batch, struct redis_item *item);
void redis_item_take(struct redis_item *item, const struct redis_batch *batch);

/* A job as nobody knows anything of it: counts and priority -1. */
void redis_job_clear(struct job *job);

#endif
