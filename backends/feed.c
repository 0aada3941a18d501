/* When a feed asks, and what its state is. One timer: in flight it watches for a late answer, else it waits
 * for the next turn to ask. */
#include "backends/feed.h"

#include <math.h>
#include <string.h>

#include "core/clock.h"

#define BACK_OFF_FIRST_S 1.0
#define BACK_OFF_MOST_S 60.0
#define JITTER 0.2

/* An answer is late after the deadline or two intervals, whichever comes first. */
static double late_after(const struct feed *feed)
{
    double limit = 2 * feed->interval_s;
    return feed->deadline_s > 0 && feed->deadline_s < limit ? feed->deadline_s : limit;
}

static void set_state(struct feed *feed, enum feed_state state)
{
    if (feed->state == state)
        return;
    feed->state = state;
    feed->state_since = clock_wall();
}

static void tell(struct feed *feed)
{
    if (feed->changed)
        feed->changed(feed->data);
}

static void start_timer(struct feed *feed, double after)
{
    struct ev_loop *ev = loop_ev(feed->loop);
    ev_timer_stop(ev, &feed->timer);
    ev_now_update(ev);
    ev_timer_set(&feed->timer, after > 0 ? after : 0, 0);
    ev_timer_start(ev, &feed->timer);
}

static void wait_for_next(struct feed *feed)
{
    ev_timer_stop(loop_ev(feed->loop), &feed->timer);
    if (feed->wanted <= 0 || feed->state == FEED_PAUSED)
        return;
    if (feed->failures) {
        bool hopeless = feed->state == FEED_DENIED || feed->state == FEED_UNAVAILABLE;
        double pause = hopeless ? BACK_OFF_MOST_S : ldexp(BACK_OFF_FIRST_S, feed->failures - 1);
        /* Feeds that failed together do not come back together. */
        start_timer(feed, fmax(fmin(pause, BACK_OFF_MOST_S), feed->interval_s) * clock_jitter(JITTER));
        return;
    }
    if (!isnan(feed->phase_s) && feed->interval_s > 0) {
        double now = clock_monotonic(), least = now + feed->interval_s / 4;
        start_timer(feed, feed->phase_s - now +
                              ceil((least - feed->phase_s) / feed->interval_s) * feed->interval_s);
        return;
    }
    /* On the beat of the first question: turns that were missed are skipped. */
    double passed = clock_monotonic() - feed->asked_monotonic;
    double turns = feed->interval_s > 0 ? floor(passed / feed->interval_s) + 1 : 0;
    start_timer(feed, turns * feed->interval_s - passed);
}

static void ask(struct feed *feed)
{
    if (feed->in_flight)
        return;
    feed->in_flight = true;
    feed->asked_monotonic = clock_monotonic();
    start_timer(feed, late_after(feed));
    feed->ask(feed, feed->data);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct feed *feed = timer->data;
    (void)ev, (void)events;
    if (!feed->in_flight) {
        ask(feed);
    } else if (feed->state == FEED_LIVE || (feed->state == FEED_IDLE && feed->wanted > 0)) {
        /* A failure says more than "late": it stays. */
        set_state(feed, FEED_LATE);
        tell(feed);
    }
}

void feed_init(struct feed *feed, struct loop *loop, const char *name, double interval_s, double deadline_s,
               void (*ask_function)(struct feed *feed, void *data), void (*changed)(void *data), void *data)
{
    *feed = (struct feed){.name = name,
                          .interval_s = interval_s,
                          .deadline_s = deadline_s,
                          .state = FEED_IDLE,
                          .state_since = clock_wall(),
                          .phase_s = NAN,
                          .ask = ask_function,
                          .changed = changed,
                          .data = data,
                          .loop = loop};
    ev_timer_init(&feed->timer, on_timer, 0, 0);
    feed->timer.data = feed;
}

void feed_stop(struct feed *feed)
{
    ev_timer_stop(loop_ev(feed->loop), &feed->timer);
    feed->wanted = 0;
}

static enum feed_state failed_state(const struct feed *feed)
{
    if (feed->error.kind == ERROR_DENIED)
        return FEED_DENIED;
    return feed->error.kind == ERROR_UNSUPPORTED ? FEED_UNAVAILABLE : FEED_FAILED;
}

/* What the feed is when it is wanted again, before it has answered. */
static enum feed_state known_state(const struct feed *feed)
{
    if (feed->failures)
        return failed_state(feed);
    if (feed->answered_at <= 0)
        return FEED_IDLE;
    return clock_wall() - feed->answered_at <= 2 * feed->interval_s ? FEED_LIVE : FEED_LATE;
}

void feed_want(struct feed *feed, bool wanted)
{
    if (!wanted) {
        if (feed->wanted > 0 && --feed->wanted == 0) {
            if (!feed->in_flight)
                ev_timer_stop(loop_ev(feed->loop), &feed->timer);
            if (feed->state != FEED_PAUSED)
                set_state(feed, FEED_IDLE);
        }
        return;
    }
    if (feed->wanted++ > 0 || feed->state == FEED_PAUSED)
        return;
    set_state(feed, known_state(feed));
    ask(feed);
}

void feed_set_phase(struct feed *feed, double phase_s)
{
    feed->phase_s = phase_s;
}

void feed_refresh(struct feed *feed)
{
    ask(feed);
}

void feed_pause(struct feed *feed, bool paused)
{
    if (paused == (feed->state == FEED_PAUSED))
        return;
    if (paused) {
        set_state(feed, FEED_PAUSED);
        if (!feed->in_flight)
            ev_timer_stop(loop_ev(feed->loop), &feed->timer);
    } else {
        set_state(feed, feed->wanted > 0 ? known_state(feed) : FEED_IDLE);
        if (feed->wanted > 0)
            ask(feed);
    }
    tell(feed);
}

/* Paused and unwanted feeds stay so, whatever a straggler brings. */
static void finish(struct feed *feed, enum feed_state state)
{
    feed->in_flight = false;
    if (feed->state != FEED_PAUSED)
        set_state(feed, feed->wanted > 0 ? state : FEED_IDLE);
    wait_for_next(feed);
    tell(feed);
}

void feed_progress(struct feed *feed)
{
    feed->answered_at = clock_wall();
    feed->failures = 0;
    error_clear(&feed->error);
    if (feed->state != FEED_PAUSED)
        set_state(feed, feed->wanted > 0 ? FEED_LIVE : FEED_IDLE);
    start_timer(feed, late_after(feed));
    tell(feed);
}

void feed_answered(struct feed *feed)
{
    double took = clock_monotonic() - feed->asked_monotonic;
    feed->cost_ms = took * 1000;
    feed->answered_at = clock_wall();
    feed->failures = 0;
    error_clear(&feed->error);
    finish(feed, took > late_after(feed) ? FEED_LATE : FEED_LIVE);
}

void feed_failed(struct feed *feed, const struct error *error)
{
    feed->cost_ms = (clock_monotonic() - feed->asked_monotonic) * 1000;
    if (feed->failures < 16)
        feed->failures++;
    feed->error = *error;
    finish(feed, failed_state(feed));
}

const char *feed_state_name(enum feed_state state)
{
    static const char *const names[] = {
        [FEED_IDLE] = "idle",
        [FEED_LIVE] = "live",
        [FEED_LATE] = "late",
        [FEED_DENIED] = "denied",
        [FEED_UNAVAILABLE] = "unavailable",
        [FEED_FAILED] = "failed",
        [FEED_PAUSED] = "paused",
    };
    return names[state];
}
