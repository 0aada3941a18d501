/* The feeds of a look, and what all parts ask with. */
#include "backends/redis/look.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/look_internal.h"
#include "core/clock.h"

#define DEADLINE_S 5

void *look_must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

char *look_text(const void *context, const char *text, size_t length)
{
    return text && length ? look_must(talloc_strndup(context, text, length)) : NULL;
}

/* ---- asking ---- */

struct ask {
    struct redis_look *look;
    void (*reply)(void *data, int index, const struct redisReply *reply, const struct error *error);
    void (*done)(void *data, const struct error *error);
    void *data;
};

static void ask_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct ask *ask = data;
    if (!ask->look->doomed)
        ask->reply(ask->data, index, reply, error);
}

static void leave(struct redis_look *look)
{
    if (--look->asks == 0 && look->doomed)
        talloc_free(look);
}

static void ask_done(void *data, const struct error *error)
{
    struct ask *ask = data;
    struct redis_look *look = ask->look;
    if (look->doomed)
        talloc_free(ask->data);
    else
        ask->done(ask->data, error);
    talloc_free(ask);
    leave(look);
}

void look_ask(struct redis_look *look, size_t node, int database, const struct redis_command *commands,
              int count,
              void (*reply)(void *data, int index, const struct redisReply *reply, const struct error *error),
              void (*done)(void *data, const struct error *error), void *data)
{
    struct ask *ask = look_must(talloc_zero(NULL, struct ask));
    *ask = (struct ask){look, reply, done, data};
    look->asks++;
    redis_server_ask_node(look->server, node, database, commands, count, DEADLINE_S,
                          (struct redis_handler){ask_reply, ask_done, ask});
}

const char *look_node(struct redis_look *look, size_t node)
{
    return redis_server_topology(look->server) == REDIS_CLUSTER ? redis_server_node_place(look->server, node)
                                                                : NULL;
}

void look_answered(struct redis_look *look, enum redis_part part, void *snapshot)
{
    snapshot_publish(&look->snapshots[part], snapshot);
    feed_answered(&look->feeds[part]);
}

void look_failed(struct redis_look *look, enum redis_part part, const struct error *error, const char *what)
{
    struct error told = *error;
    snprintf(told.what, sizeof told.what, "%s", what);
    feed_failed(&look->feeds[part], &told);
}

static void tell(void *data)
{
    struct redis_look *look = data;
    if (look->changed && !look->doomed)
        look->changed(look->data);
}

void look_progress(struct redis_look *look, enum redis_part part, void *snapshot)
{
    snapshot_publish(&look->snapshots[part], snapshot);
    feed_progress(&look->feeds[part]);
}

/* ---- the pace between windows ---- */

void look_pace(struct redis_look *look, enum redis_part part)
{
    ev_now_update(loop_ev(look->loop));
    ev_timer_set(&look->paces[part], redis_server_pace(look->server), 0);
    ev_timer_start(loop_ev(look->loop), &look->paces[part]);
}

static void on_pace(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_look *look = watcher->data;
    (void)ev, (void)events;
    if (watcher == &look->paces[REDIS_KEYSPACE])
        look_keyspace_step(look);
    else if (watcher == &look->paces[REDIS_STREAMS])
        look_streams_step(look);
}

/* ---- the look itself ---- */

static void on_ask(struct feed *feed, void *data)
{
    static void (*const begin[REDIS_PARTS])(struct redis_look *) = {
        [REDIS_OVERVIEW] = look_overview, [REDIS_KEYSPACE] = look_keyspace, [REDIS_CLIENTS] = look_clients,
        [REDIS_SLOWLOG] = look_slowlog,   [REDIS_LATENCY] = look_latency,   [REDIS_STREAMS] = look_streams,
        [REDIS_CHANNELS] = look_channels};
    struct redis_look *look = data;
    begin[feed - look->feeds](look);
}

struct redis_look *redis_look_new(struct loop *loop, struct redis_server *server, void (*changed)(void *data),
                                  void *data)
{
    static const struct {
        const char *name;
        double interval, deadline;
    } kinds[REDIS_PARTS] = {
        [REDIS_OVERVIEW] = {"overview", 5, 3},  [REDIS_KEYSPACE] = {"keyspace", 120, 600},
        [REDIS_CLIENTS] = {"clients", 5, 3},    [REDIS_SLOWLOG] = {"slowlog", 10, 3},
        [REDIS_LATENCY] = {"latency", 10, 3},   [REDIS_STREAMS] = {"streams", 20, 60},
        [REDIS_CHANNELS] = {"channels", 10, 3},
    };
    struct redis_look *look = look_must(talloc_zero(NULL, struct redis_look));
    look->loop = loop;
    look->server = server;
    look->changed = changed;
    look->data = data;
    for (int i = 0; i < REDIS_PARTS; i++) {
        feed_init(&look->feeds[i], loop, kinds[i].name, kinds[i].interval, kinds[i].deadline, on_ask, tell,
                  look);
        ev_init(&look->paces[i], on_pace);
        look->paces[i].data = look;
    }
    return look;
}

void redis_look_free(struct redis_look *look)
{
    if (!look)
        return;
    look->doomed = true;
    for (int i = 0; i < REDIS_PARTS; i++) {
        feed_stop(&look->feeds[i]);
        ev_timer_stop(loop_ev(look->loop), &look->paces[i]);
        snapshot_release(look->snapshots[i]);
        look->snapshots[i] = NULL;
    }
    look->asks++;
    leave(look);
}

struct redis_server *redis_look_server(const struct redis_look *look)
{
    return look->server;
}

void redis_look_want(struct redis_look *look, enum redis_part part, bool wanted)
{
    feed_want(&look->feeds[part], wanted);
    if (wanted)
        look_pass_wake(look, part);
}

struct feed *redis_look_feed(struct redis_look *look, enum redis_part part)
{
    return &look->feeds[part];
}

const void *redis_look_latest(const struct redis_look *look, enum redis_part part)
{
    return look->snapshots[part];
}
