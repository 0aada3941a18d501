/* The loop, its turns, and the workers. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "tests/unit/unit.h"

#define DEADLINE 10.0

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
    int waiting;
};

struct test_job {
    struct loop *loop;
    struct gate *gate;
    pthread_t worker, finisher;
    int *left;  /* stops the loop at 0 */
    int *order; /* of finishing */
    int finished_as;
};

static void gate_wait(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    while (!gate->open)
        pthread_cond_wait(&gate->opened, &gate->lock);
    gate->waiting--;
    pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->lock);
}

static int gate_waiting(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    int waiting = gate->waiting;
    pthread_mutex_unlock(&gate->lock);
    return waiting;
}

static void await_waiting(struct gate *gate, int count)
{
    double until = clock_monotonic() + DEADLINE;
    while (gate_waiting(gate) != count && clock_monotonic() < until)
        usleep(1000);
    assert_int_equal(gate_waiting(gate), count);
}

static void work(void *data)
{
    struct test_job *job = data;
    job->worker = pthread_self();
    if (job->gate)
        gate_wait(job->gate);
}

static void done(void *data)
{
    struct test_job *job = data;
    job->finisher = pthread_self();
    job->finished_as = ++*job->order;
    if (--*job->left == 0)
        loop_stop(job->loop);
}

static void give_up(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)watcher, (void)events;
    ev_break(ev, EVBREAK_ALL);
}

/* loop_run that ends in any case. */
static void run(struct loop *loop)
{
    ev_timer deadline;
    ev_timer_init(&deadline, give_up, DEADLINE, 0);
    ev_timer_start(loop_ev(loop), &deadline);
    loop_run(loop);
    ev_timer_stop(loop_ev(loop), &deadline);
}

static void work_returns_on_the_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int left = 12, order = 0;
    struct test_job jobs[12];
    for (int i = 0; i < 12; i++) {
        jobs[i] = (struct test_job){.loop = loop, .left = &left, .order = &order};
        loop_work(loop, (enum work_kind)(i % WORK_KINDS), work, done, &jobs[i]);
    }
    run(loop);
    assert_int_equal(left, 0);
    int last_file = 0;
    for (int i = 0; i < 12; i++) {
        assert_true(pthread_equal(jobs[i].finisher, pthread_self()));
        assert_false(pthread_equal(jobs[i].worker, pthread_self()));
        if (i % WORK_KINDS == WORK_FILE) {
            assert_true(jobs[i].finished_as > last_file);
            last_file = jobs[i].finished_as;
        }
    }
    loop_free(loop);
}

static void dead_servers_keep_nobody_waiting(void **state)
{
    (void)state;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
    struct loop *loop = loop_new();
    int stuck_left = 9, left = 2, order = 0, stuck_order = 0;
    struct test_job stuck[9], urgent = {.loop = loop, .left = &left, .order = &order}, file = urgent;
    for (int i = 0; i < 9; i++) {
        stuck[i] = (struct test_job){.loop = loop, .gate = &gate, .left = &stuck_left, .order = &stuck_order};
        loop_work(loop, WORK_CONNECT, work, done, &stuck[i]);
    }
    await_waiting(&gate, 4); /* four at once, not more */
    loop_work(loop, WORK_URGENT, work, done, &urgent);
    loop_work(loop, WORK_FILE, work, done, &file);
    run(loop);
    assert_int_equal(left, 0);
    assert_int_equal(stuck_order, 0);
    assert_int_equal(gate_waiting(&gate), 4);
    gate_open(&gate);
    run(loop);
    assert_int_equal(stuck_left, 0);
    loop_free(loop);
}

static atomic_int stuck_returned;

static void stuck_work(void *data)
{
    gate_wait(data);
    atomic_fetch_add(&stuck_returned, 1);
}

static void never_done(void *data)
{
    (void)data;
    fail();
}

static void stuck_workers_are_left_behind(void **state)
{
    (void)state;
    static struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
    struct loop *loop = loop_new();
    int left = 1, order = 0;
    struct test_job idle = {.loop = loop, .left = &left, .order = &order};
    loop_work(loop, WORK_URGENT, work, done, &idle);
    run(loop);
    for (int i = 0; i < 3; i++)
        loop_work(loop, WORK_FILE, stuck_work, never_done, &gate);
    await_waiting(&gate, 1);
    loop_free(loop); /* returns although the worker hangs */
    assert_int_equal(atomic_load(&stuck_returned), 0);
    gate_open(&gate);
    double until = clock_monotonic() + DEADLINE;
    while (!atomic_load(&stuck_returned) && clock_monotonic() < until)
        usleep(1000);
    assert_int_equal(atomic_load(&stuck_returned), 1); /* what waited behind it is not begun */
}

struct turns {
    struct loop *loop;
    int fired, after, fired_at_after;
};

static void count_after(void *data)
{
    struct turns *turns = data;
    turns->after++;
    turns->fired_at_after = turns->fired;
    if (turns->fired >= 2)
        loop_stop(turns->loop);
}

static void fire(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)ev, (void)events;
    ((struct turns *)watcher->data)->fired++;
}

static void a_turn_ends_once(void **state)
{
    (void)state;
    struct turns turns = {.loop = loop_new()};
    ev_timer timers[2];
    loop_set_turn(turns.loop, count_after, &turns);
    for (int i = 0; i < 2; i++) {
        ev_timer_init(&timers[i], fire, 0, 0);
        timers[i].data = &turns;
        ev_timer_start(loop_ev(turns.loop), &timers[i]);
    }
    run(turns.loop);
    assert_int_equal(turns.fired, 2);
    assert_int_equal(turns.after, 1);
    assert_int_equal(turns.fired_at_after, 2);
    loop_free(turns.loop);
    loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_returns_on_the_loop),
        cmocka_unit_test(dead_servers_keep_nobody_waiting),
        cmocka_unit_test(stuck_workers_are_left_behind),
        cmocka_unit_test(a_turn_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
