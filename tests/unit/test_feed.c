/* Feeds: asked while wanted, one question at a time, late, failed with back-off, paused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/feed.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

struct fixture {
    struct loop *loop;
    struct feed feed;
    int asked, changed;
    bool answer, fail;
    struct error error;
};

static void on_ask(struct feed *feed, void *data)
{
    struct fixture *f = data;
    f->asked++;
    if (f->fail)
        feed_failed(feed, &f->error);
    else if (f->answer)
        feed_answered(feed);
}

static void on_changed(void *data)
{
    ((struct fixture *)data)->changed++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->loop = loop_new();
    feed_init(&f->feed, f->loop, "activity", 0.05, 0, on_ask, on_changed, f);
    error_set(&f->error, ERROR_LOST, "db1", "cannot ask", NULL, "gone");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    feed_stop(&f->feed);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void on_guard(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    *(bool *)timer->data = true;
}

/* Turns the loop until it was asked `count` times; false after `seconds`. */
static bool wait_asked(struct fixture *f, int count, double seconds)
{
    bool over = false;
    ev_timer guard;
    ev_timer_init(&guard, on_guard, seconds, 0);
    guard.data = &over;
    ev_now_update(loop_ev(f->loop));
    ev_timer_start(loop_ev(f->loop), &guard);
    while (f->asked < count && !over)
        ev_run(loop_ev(f->loop), EVRUN_ONCE);
    ev_timer_stop(loop_ev(f->loop), &guard);
    return f->asked >= count;
}

static bool wait_state(struct fixture *f, enum feed_state state)
{
    double until = clock_monotonic() + 10;
    while (f->feed.state != state && clock_monotonic() < until)
        ev_run(loop_ev(f->loop), EVRUN_ONCE);
    return f->feed.state == state;
}

/* On the shared beat, not on that of its first question; the machine may be late, never early. */
static void test_phase(void **state)
{
    struct fixture *f = *state;
    bool close = false;
    f->answer = true;
    f->feed.interval_s = 0.2;
    feed_set_phase(&f->feed, 0.05);
    feed_want(&f->feed, true);
    for (int asked = 2; asked < 12; asked++) {
        assert_true(wait_asked(f, asked, 10));
        double after = fmod(f->feed.asked_monotonic - 0.05, 0.2);
        close = close || after < 0.06 || after > 0.199;
    }
    assert_true(close);
    assert_int_equal(f->asked, 11);
}

static void test_wanted(void **state)
{
    struct fixture *f = *state;
    f->answer = true;
    assert_false(wait_asked(f, 1, 0.15)); /* nobody wants it */
    assert_int_equal(f->feed.state, FEED_IDLE);
    feed_want(&f->feed, true);
    assert_int_equal(f->asked, 1); /* at once */
    assert_int_equal(f->feed.state, FEED_LIVE);
    assert_true(f->feed.answered_at > 0);
    feed_want(&f->feed, true);
    assert_int_equal(f->asked, 1);
    assert_true(wait_asked(f, 4, 10));
    feed_want(&f->feed, false);
    assert_true(wait_asked(f, 5, 10)); /* one still wants it */
    feed_want(&f->feed, false);
    feed_want(&f->feed, false); /* one too many counts for nothing */
    assert_int_equal(f->feed.state, FEED_IDLE);
    assert_false(wait_asked(f, f->asked + 1, 0.15));
    int asked = f->asked;
    feed_want(&f->feed, true);
    assert_int_equal(f->asked, asked + 1);
}

static void test_beat(void **state)
{
    struct fixture *f = *state;
    f->answer = true;
    double start = clock_monotonic();
    feed_want(&f->feed, true);
    assert_true(wait_asked(f, 5, 10));
    assert_true(clock_monotonic() - start > 4 * 0.05 - 0.02);
}

static void test_in_flight(void **state)
{
    struct fixture *f = *state;
    feed_want(&f->feed, true);
    feed_refresh(&f->feed);
    assert_int_equal(f->asked, 1);
    assert_false(wait_asked(f, 2, 0.3)); /* skipped, not queued */
    assert_int_equal(f->feed.state, FEED_LATE);
    feed_answered(&f->feed);
    assert_int_equal(f->feed.state, FEED_LATE); /* it came, but too late */
    assert_true(f->feed.cost_ms > 90);
    f->answer = true;
    assert_true(wait_asked(f, 2, 10));
    assert_int_equal(f->feed.state, FEED_LIVE);
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;
    feed_stop(&f->feed);
    feed_init(&f->feed, f->loop, "slow", 100, 0.05, on_ask, on_changed, f);
    f->answer = true;
    feed_want(&f->feed, true);
    assert_int_equal(f->feed.state, FEED_LIVE);
    f->answer = false;
    feed_refresh(&f->feed);
    int changed = f->changed;
    assert_true(wait_state(f, FEED_LATE));
    assert_true(f->changed > changed);
}

static void test_failure(void **state)
{
    struct fixture *f = *state;
    f->answer = true;
    feed_want(&f->feed, true);
    double answered = f->feed.answered_at;
    f->fail = true;
    feed_refresh(&f->feed);
    assert_int_equal(f->feed.state, FEED_FAILED);
    assert_string_equal(f->feed.error.why, "gone");
    assert_true(f->feed.answered_at == answered); /* what was learned stays */
    double wait = ev_timer_remaining(loop_ev(f->loop), &f->feed.timer);
    assert_true(wait > 0.75 && wait < 1.25); /* 1 s, 20 % more or less */
    assert_true(wait_asked(f, 3, 10));
    wait = ev_timer_remaining(loop_ev(f->loop), &f->feed.timer);
    assert_true(wait > 1.55 && wait < 2.45);
    f->fail = false;
    feed_refresh(&f->feed); /* a person does not wait */
    assert_int_equal(f->feed.state, FEED_LIVE);
    assert_int_equal(f->feed.error.kind, ERROR_NONE);
    assert_true(wait_asked(f, f->asked + 2, 10)); /* and the beat is back */
}

static void test_back_off_ends_at_a_minute(void **state)
{
    struct fixture *f = *state;
    f->fail = true;
    feed_want(&f->feed, true);
    double least = 1000, most = 0;
    for (int i = 0; i < 40; i++) {
        feed_refresh(&f->feed);
        double wait = ev_timer_remaining(loop_ev(f->loop), &f->feed.timer);
        assert_true(wait > 0 && wait < 72.5);
        if (i >= 8) {
            least = wait < least ? wait : least;
            most = wait > most ? wait : most;
        }
    }
    assert_true(least > 47.5);
    assert_true(most - least > 2); /* jitter */
}

static void test_kinds(void **state)
{
    struct fixture *f = *state;
    f->fail = true;
    f->error.kind = ERROR_DENIED;
    feed_want(&f->feed, true);
    assert_int_equal(f->feed.state, FEED_DENIED);
    f->error.kind = ERROR_UNSUPPORTED;
    feed_refresh(&f->feed);
    assert_int_equal(f->feed.state, FEED_UNAVAILABLE);
    f->error.kind = ERROR_TIMEOUT;
    feed_refresh(&f->feed);
    assert_int_equal(f->feed.state, FEED_FAILED);
    assert_string_equal(feed_state_name(FEED_UNAVAILABLE), "unavailable");
}

static void test_pause(void **state)
{
    struct fixture *f = *state;
    feed_want(&f->feed, true);
    feed_pause(&f->feed, true);
    feed_answered(&f->feed); /* a straggler */
    assert_int_equal(f->feed.state, FEED_PAUSED);
    assert_true(f->feed.answered_at > 0);
    f->answer = true;
    assert_false(wait_asked(f, 2, 0.15));
    feed_pause(&f->feed, false);
    assert_int_equal(f->asked, 2);
    assert_int_equal(f->feed.state, FEED_LIVE);
    assert_true(wait_asked(f, 3, 10));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_wanted),
        TEST(test_phase),
        TEST(test_beat),
        TEST(test_in_flight),
        TEST(test_deadline),
        TEST(test_failure),
        TEST(test_back_off_ends_at_a_minute),
        TEST(test_kinds),
        TEST(test_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
