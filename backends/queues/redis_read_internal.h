/* What the files of redis_read share: one reading, and its windows. */
#ifndef BACKENDS_QUEUES_REDIS_READ_INTERNAL_H
#define BACKENDS_QUEUES_REDIS_READ_INTERNAL_H

#include "backends/queues/redis_read.h"

enum {
    WINDOW_FIRST = 20, /* until the size of a job is known */
    WINDOW_MOST = 1000,
    WINDOW_DETAILS = 200, /* elements whose details are asked one by one */
    WINDOW_BYTES = 1000 * 1000,
    WINDOW_SAMPLE = 50,
    SAMPLE_LOOK = 1000,
    OVERLAP = 32,
    SEEN_SETS = 1 << 13,
    SEEN_WAYS = 4,
};

/* The hashes of what was seen lately: a cache, not a record of everything. */
struct seen {
    uint64_t hashes[SEEN_SETS][SEEN_WAYS];
    unsigned char turn[SEEN_SETS];
};
/* True when it was there already; else it is from now on. */
bool seen_before(struct seen *seen, const char *bytes, size_t length);

/* The window that is read now. */
struct window {
    const struct redis_shelf *shelf;
    bool from_tail;
    int64_t at;        /* where it begins, counted from that end */
    int64_t overlap;   /* elements at its beginning that the window before had */
    const char *start; /* of streams: id behind which it begins; NULL: at the end of the shelf */
    bool inclusive;    /* start itself is part of it */
    int count;
};
void window_ask(const struct window *window, struct redis_batch *batch);
/* The elements of the answer, in the order of reading; a talloc array under context. */
struct redis_item *window_items(const void *context, const struct window *window,
                                const struct redis_answer *answer, size_t *count);

struct slot {
    size_t shelf;
    int64_t at;
    double share; /* of streams: how far along it begins */
};
/* Windows at random places, each at most once. Under context. */
struct slot *slots_draw(const void *context, const struct redis_shelf *shelves, const int64_t *sizes,
                        size_t shelf_count, int64_t total, int64_t look, size_t *count);
/* The id so far along a stream's shelf ("1795262561044-0"). Fresh talloc string. */
char *slot_stream_id(const void *context, const struct redis_shelf *shelf, double share);

#endif
