/* A turn is what happens between two waits of the loop: from the first watcher that runs after the wait to
 * the last one before the next. */
#include "tests/bench/turns.h"

#include <math.h>
#include <stdio.h>
#include <talloc.h>
#include <time.h>

#include "backends/hosts/fleet.h"
#include "tests/bench/figures.h"

struct measure {
    struct loop *loop;
    struct fleet *fleet;
    struct turns turns;
    double begun, end, began_turn, began_cpu;
    bool live;
    ev_check after_wait;
    ev_prepare before_wait;
    ev_timer look;
    double seconds;
};

static double thread_cpu_s(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void turn_begins(struct ev_loop *loop, ev_check *check, int events)
{
    (void)loop, (void)events;
    struct measure *m = check->data;
    m->began_turn = now_s();
    m->began_cpu = thread_cpu_s();
}

static void turn_ends(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)loop, (void)events;
    struct measure *m = prepare->data;
    if (m->began_turn == 0)
        return;
    double ms = (now_s() - m->began_turn) * 1000, cpu_ms = (thread_cpu_s() - m->began_cpu) * 1000;
    double *longest = m->live ? &m->turns.longest_ms : &m->turns.start_ms;
    double *longest_cpu = m->live ? &m->turns.longest_cpu_ms : &m->turns.start_cpu_ms;
    *longest = fmax(*longest, ms);
    *longest_cpu = fmax(*longest_cpu, cpu_ms);
}

static void look(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    struct measure *m = timer->data;
    double now = now_s();
    if (!m->live) {
        size_t answered = 0;
        for (size_t i = 0; i < fleet_count(m->fleet); i++)
            answered += host_latest(fleet_host(m->fleet, i)) != NULL;
        if (answered == fleet_count(m->fleet)) {
            m->live = true;
            m->turns.live_ms = (now - m->begun) * 1000;
            m->end = now + m->seconds;
        }
    }
    if (now >= m->end)
        loop_stop(m->loop);
}

static void nothing(void *data)
{
    (void)data;
}

static void run(struct measure *m)
{
    struct ev_loop *ev = loop_ev(m->loop);
    ev_check_init(&m->after_wait, turn_begins);
    ev_prepare_init(&m->before_wait, turn_ends);
    ev_timer_init(&m->look, look, 0.01, 0.01);
    m->after_wait.data = m->before_wait.data = m->look.data = m;
    ev_set_priority(&m->after_wait, EV_MAXPRI);  /* first after the wait */
    ev_set_priority(&m->before_wait, EV_MINPRI); /* last before it */
    ev_check_start(ev, &m->after_wait);
    ev_prepare_start(ev, &m->before_wait);
    ev_timer_start(ev, &m->look);
    loop_run(m->loop);
    ev_check_stop(ev, &m->after_wait);
    ev_prepare_stop(ev, &m->before_wait);
    ev_timer_stop(ev, &m->look);
}

struct turns measure_turns(const char *environment_path, double seconds)
{
    struct measure m = {.begun = now_s(), .seconds = seconds, .turns.live_ms = INFINITY};
    struct error_list *errors = error_list_new(NULL);
    struct environment *environment = environment_load(NULL, environment_path, errors);
    if (!environment) {
        fprintf(stderr, "%s is wrong\n", environment_path);
        talloc_free(errors);
        return m.turns;
    }
    m.end = m.begun + 60;
    m.loop = loop_new();
    struct ssh_pool *pool =
        ssh_pool_new(m.loop, &(struct ssh_pool_options){.environment = environment->name,
                                                        .config = environment->ssh.config});
    m.fleet = fleet_new(m.loop, environment, pool, nothing, NULL);
    fleet_want(m.fleet, true);
    run(&m);
    fleet_free(m.fleet);
    ssh_pool_free(pool);
    loop_free(m.loop);
    talloc_free(environment);
    talloc_free(errors);
    return m.turns;
}
