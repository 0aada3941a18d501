/*
 * A feed is a thing that is watched: it asks again and again, one question at a time. Its state is apart from
 * its connection's. A feed that fails keeps its last snapshot and says since when and why.
 */
#ifndef BACKENDS_FEED_H
#define BACKENDS_FEED_H

#include <stdbool.h>

#include "core/error.h"
#include "core/loop.h"

enum feed_state {
    FEED_IDLE,        /* nobody wants it, or it has not answered yet */
    FEED_LIVE,        /* the last answer came in time */
    FEED_LATE,        /* an answer is overdue: the deadline or twice the interval has passed */
    FEED_DENIED,      /* the role may not read it: error says the GRANT */
    FEED_UNAVAILABLE, /* this server cannot give it (version, extension): error says why */
    FEED_FAILED,      /* the last try failed: error says why; tried again with back-off and jitter */
    FEED_PAUSED,
};

struct feed {
    const char *name; /* "activity" */
    double interval_s;
    double deadline_s; /* an answer later than this counts as late */
    enum feed_state state;
    double state_since; /* seconds since the epoch */
    double answered_at; /* wall time of the last good answer; 0: never */
    double cost_ms;     /* time from asking to answer, last time */
    const char *query;  /* what is sent, for `w` why; borrowed, NULL when not one text */
    struct error error; /* why, when DENIED, UNAVAILABLE or FAILED */
    /* internal */
    int wanted;     /* how many want it; polled only while above 0 */
    bool in_flight; /* skip, never queue up */
    int failures;
    double asked_monotonic;
    double phase_s; /* NAN: on the beat of the first question */
    void (*ask)(struct feed *feed, void *data);
    void (*changed)(void *data); /* state or data changed: draw again */
    void *data;
    struct loop *loop;
    ev_timer timer;
};

/* Sets the fields up; name, ask and changed are borrowed. `ask` sends the question and, when the answer is
 * there, exactly one of feed_answered and feed_failed is called, even after the connection broke. */
void feed_init(struct feed *feed, struct loop *loop, const char *name, double interval_s, double deadline_s,
               void (*ask)(struct feed *feed, void *data), void (*changed)(void *data), void *data);
/* Stops the watcher. Call before freeing what holds the feed. */
void feed_stop(struct feed *feed);

/* Somebody wants the feed, or no longer does. The first want asks at once. */
void feed_want(struct feed *feed, bool wanted);
/* From now on it asks at this time of a beat that all feeds share (0 to interval_s), so that many of them do
 * not ask at once. */
void feed_set_phase(struct feed *feed, double phase_s);
/* Asks now, unless it is in flight. */
void feed_refresh(struct feed *feed);
void feed_pause(struct feed *feed, bool paused);

/* A part of the answer came that is worth showing: live from now on; the rest follows. */
void feed_progress(struct feed *feed);
void feed_answered(struct feed *feed);
/* The kind of the error decides between DENIED, UNAVAILABLE and FAILED. */
void feed_failed(struct feed *feed, const struct error *error);

/* The stable word ("live"), as in JSON. */
const char *feed_state_name(enum feed_state state);

#endif
