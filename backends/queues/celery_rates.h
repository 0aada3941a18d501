/* How fast a list moves, from two looks at it: one element some places behind the head is remembered, and how
 * much nearer to the head it is at the next look is what was taken. Arithmetic only. */
#ifndef BACKENDS_QUEUES_CELERY_RATES_H
#define BACKENDS_QUEUES_CELERY_RATES_H

#include <stdbool.h>
#include <stdint.h>

enum { RATES_DEPTH_MOST = 1000, ARRIVALS = 32 };

/* Between two looks. */
struct list_move {
    double popped, pushed, inserted; /* taken at the head; added at the tail; put back at the head */
    bool exact;                      /* else they are the least that it can have been */
};
/* Depths count from 1, the head. depth_now 0: the element is not among those that were looked through. */
struct list_move list_move(int64_t length_before, int64_t depth_before, int64_t length_now,
                           int64_t depth_now);
/* Which element to remember next, so that it is still there at the next look but not further than needed; 0:
 * the list is empty. */
int64_t list_next_depth(int64_t length, int64_t depth_before, const struct list_move *move);

/* A mean that forgets: exponential, fair from its first value on. */
struct rate {
    double sum, weight;
};
void rate_add(struct rate *rate, double per_second, double seconds, double memory_s);
/* Time passed about which nothing is known. */
void rate_skip(struct rate *rate, double seconds, double memory_s);
double rate_value(const struct rate *rate); /* NAN: too little is known */

/* When what is in a list was added: its running number against time. */
struct arrivals {
    double at[ARRIVALS], number[ARRIVALS];
    int count;
    double pushed; /* since the first look */
};
void arrivals_begin(struct arrivals *arrivals, double now);
void arrivals_add(struct arrivals *arrivals, double now, double pushed);
/* When the head of a list of this length came in. False: before the first look, *at is that look. */
bool arrivals_head(const struct arrivals *arrivals, int64_t length, double *at);

/* Seconds until it is empty. INFINITY: it does not shrink; 0: empty; NAN: unknown. */
double list_drain(int64_t ready, double in_per_s, double out_per_s);

#endif
