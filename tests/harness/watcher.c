#include "tests/harness/watcher.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

void platform_start(struct platform *p, const char *const options[])
{
    p->cluster = cluster_start(options);
    cluster_do(p->cluster, "CREATE EXTENSION pg_stat_statements;"
                           "CREATE ROLE sb_watch LOGIN PASSWORD 'w' IN ROLE pg_monitor;"
                           "CREATE ROLE sb_act LOGIN PASSWORD 'a' IN ROLE pg_signal_backend, pg_monitor;"
                           "CREATE ROLE app LOGIN PASSWORD 'p'; GRANT CREATE ON SCHEMA public TO app");
    p->watch = cluster_dsn(p->cluster, 0, "sb_watch", "w", NULL);
    p->act = cluster_dsn(p->cluster, 0, "sb_act", "a", NULL);
}

void platform_end(struct platform *p)
{
    cluster_free(p->cluster);
    free(p->watch);
    free(p->act);
}

bool watcher_is_up(void *watcher)
{
    struct watcher *w = watcher;
    return pg_server_state(w->server) == CONNECTION_UP && pg_server_version_text(w->server);
}

struct waiting {
    struct loop *loop;
    bool (*holds)(void *data);
    void *data;
    bool held;
};

static void look(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct waiting *waiting = timer->data;
    (void)events;
    waiting->held = waiting->held || waiting->holds(waiting->data);
    if (waiting->held)
        ev_break(ev, EVBREAK_ALL);
}

static void too_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)timer, (void)events;
    ev_break(ev, EVBREAK_ALL);
}

bool loop_until(struct loop *loop, double seconds, bool (*holds)(void *data), void *data)
{
    struct waiting waiting = {loop, holds, data, false};
    ev_timer often, end;
    ev_timer_init(&often, look, 0, 0.005);
    ev_timer_init(&end, too_late, seconds, 0);
    often.data = &waiting;
    ev_now_update(loop_ev(loop));
    ev_timer_start(loop_ev(loop), &often);
    ev_timer_start(loop_ev(loop), &end);
    loop_run(loop);
    ev_timer_stop(loop_ev(loop), &often);
    ev_timer_stop(loop_ev(loop), &end);
    return waiting.held;
}

static void count_change(void *data)
{
    struct watcher *w = data;
    w->changes++;
}

void watcher_start(struct watcher *w, const char *watch, const char *act)
{
    memset(w, 0, sizeof *w);
    w->loop = loop_new();
    w->definition = (struct environment_server){.name = "main", .watch = watch, .act = act};
    w->environment = (struct environment){.name = "test",
                                          .title = "test",
                                          .kind = ENVIRONMENT_STAGING,
                                          .servers = &w->definition,
                                          .server_count = 1};
    w->server = pg_server_new(w->loop, &w->environment, &w->definition, NULL, count_change, w);
}

static bool never(void *data)
{
    (void)data;
    return false;
}

void watcher_run(struct watcher *w, double seconds)
{
    loop_until(w->loop, seconds, never, NULL);
}

void watcher_end(struct watcher *w)
{
    pg_server_free(w->server);
    loop_free(w->loop);
}

struct refresh {
    struct feed *feed;
    double before;
    int failures;
};

static bool refreshed(void *data)
{
    struct refresh *refresh = data;
    return !refresh->feed->in_flight;
}

bool watcher_refresh(struct watcher *w, enum pg_feed which, double seconds)
{
    struct refresh refresh = {.feed = pg_server_feed(w->server, which)};
    /* One that is in flight was asked before what the caller did. */
    double end = clock_monotonic() + seconds;
    if (!loop_until(w->loop, seconds, refreshed, &refresh))
        return false;
    refresh.feed->error.kind = ERROR_NONE;
    feed_refresh(refresh.feed);
    return loop_until(w->loop, end - clock_monotonic(), refreshed, &refresh) && !refresh.feed->error.kind;
}
