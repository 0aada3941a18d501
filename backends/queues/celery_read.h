/* What the files of one reading of Celery's jobs share: celery_read.c begins, plans and ends it,
 * celery_walk.c reads windows of lists, celery_held.c what workers hold, celery_take.c makes jobs of
 * messages. */
#ifndef BACKENDS_QUEUES_CELERY_READ_H
#define BACKENDS_QUEUES_CELERY_READ_H

#include "backends/queues/celery.h"

struct redisReply;

enum {
    READ_FIRST = 20,  /* elements of the first window, until their size is known */
    READ_MOST = 1000, /* of any window */
    READ_BYTES = 1150 * 1000,
    READ_OVERLAP = 16, /* elements that a window has in common with the one before */
    READ_SAMPLE = 25,  /* of a window at a random place */
    READ_SAMPLE_LOOK = 1000,
};

/* Hashes of what was seen lately: at least the last SEEN_KEPT of them. */
enum { SEEN_KEPT = 16384 };
struct seen_lately;
struct seen_lately *seen_lately_new(const void *context);
bool seen_lately_has(const struct seen_lately *seen, uint64_t hash);
void seen_lately_add(struct seen_lately *seen, uint64_t hash);
uint64_t seen_hash(const char *bytes, size_t length);

/* A list of the broker. */
struct read_list {
    char *key;
    const char *queue;
    enum job_state state;
    int64_t size;
};

/* A message that the quick look did not exclude, in `buffer`. */
struct read_message {
    size_t at, length;
    int64_t index;     /* from the head; -1: in no list */
    const char *tag;   /* of unacked; else NULL */
    const char *queue; /* when the list does not tell */
    double taken_at;   /* of unacked */
};

struct celery_read {
    struct queue_read base;
    struct queue_read_request request;
    struct queue_read_handler handler;
    struct celery_system *system;
    struct queue_read_progress progress;
    struct error error;
    bool failed, stopping, gap, over;
    bool busy, forsaken; /* within a call into the owner; no owner any more */
    int pending;         /* requests that Redis has not answered */
    double began;
    ev_timer timer;
    void (*next)(struct celery_read *read); /* what the timer does */
    void (*then)(struct celery_read *read); /* after the messages of a window */
    double asked_at;                        /* monotonic: when the last window was asked for */
    double window_at;                       /* monotonic: when its answer came */
    struct seen_lately *seen, *ids;
    /* lists */
    struct read_list *lists; /* a talloc array */
    size_t list_count, list;
    int64_t at, skip, back;
    int64_t window_at_index; /* of the window: its first element, counted from the end it is read from */
    int64_t window_length;   /* of the list, as it was with the window */
    int window_overlap, window_count;
    bool window_tail;
    bool list_begun; /* a window of this list was read */
    struct read_slot {
        size_t list;
        int64_t at;
    } * slots; /* of a sample */
    size_t slot_count, slot;
    size_t sized; /* lists whose length was asked */
    /* unacked */
    char *cursor;
    int64_t held_size, held_seen;
    int64_t result_length;
    /* messages of the window */
    char *buffer;
    size_t used, room;
    struct read_message *messages;
    size_t message_count, message_room, message;
    void *texts; /* of the window: tags and queues */
    bool window_over;
    void *texts_kept;       /* of the holders; NULL: not learned */
    struct holder *holders; /* by id: what the workers told that they have */
    double told_at;         /* when all of them told; 0: they did not */
    enum { READ_LISTS, READ_HELD, READ_RESULT, READ_GROUPS, READ_ASIDE } phase;
    void *listing; /* of what was set aside; NULL: none under way */
};

/* celery_read.c */
void celery_read_later(struct celery_read *read, double seconds, void (*next)(struct celery_read *read));
void celery_read_finish(struct celery_read *read);
void celery_read_fail(struct celery_read *read, const struct error *error);
bool celery_read_enough(const struct celery_read *read);
bool celery_read_wants(const struct celery_read *read, enum job_state state);
/* Asks the broker; replies come as in redis_server_ask, `done` with the read as its data. False from
 * celery_read_answered: nobody waits for it any more (and the read may be freed). */
void celery_read_ask(struct celery_read *read, const struct redis_command *commands, int count,
                     void (*reply)(void *data, int index, const struct redisReply *reply,
                                   const struct error *error),
                     void (*done)(void *data, const struct error *error));
bool celery_read_answered(struct celery_read *read, const struct error *error);
/* How many elements the next window may have. */
int celery_read_window(const struct celery_read *read);
void celery_read_next_place(struct celery_read *read);
int64_t celery_read_rest(const struct celery_read *read); /* what is still to be looked at */

/* celery_walk.c */
void celery_walk_sizes(struct celery_read *read);
void celery_walk_step(struct celery_read *read);
/* celery_held.c */
void celery_held_step(struct celery_read *read);
/* Which worker has a job of unacked, as they told; orphaned when all told and none has it. */
void celery_held_holder(struct celery_read *read, struct job *job);
/* celery_take.c: a message of the window; excluded ones are counted only. */
void celery_take(struct celery_read *read, const char *raw, size_t length, struct read_message about);
/* Makes jobs of the window's messages, some milliseconds at a time, and goes on with `then`. */
void celery_take_window(struct celery_read *read, void (*then)(struct celery_read *read));
/* celery_result.c */
/* The result of the id that the filter names. */
void celery_result_step(struct celery_read *read);

#endif
