/* Beat, as far as Redis knows: messages of one real beat and of two, and the keys of RedBeat. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

enum { PATIENCE_S = 40 };

struct stage {
    struct redis_box *box;
    struct celery_site *site;
    struct loop *loop;
    struct environment environment;
    struct environment_redis redis;
    struct redis_server *server;
    struct queues *queues;
    char *url;
    ev_timer tick;
    bool (*holds)(struct stage *s);
    bool held;
    double deadline;
    int64_t number; /* the state that is waited for */
};

static int stage_begin(void **state)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    s->box = redis_box_start(NULL);
    s->url = redis_box_url(s->box, 0, NULL);
    s->site = celery_site_new(s->url, NULL, NULL);
    s->loop = loop_new();
    s->redis = (struct environment_redis){.name = "broker", .url = s->url};
    s->environment = (struct environment){
        .name = "test", .kind = ENVIRONMENT_DEVELOPMENT, .redis = &s->redis, .redis_count = 1};
    *state = s;
    return 0;
}

static int stage_end(void **state)
{
    struct stage *s = *state;
    queues_stop(s->queues);
    redis_server_free(s->server);
    queues_free(s->queues);
    loop_free(s->loop);
    celery_site_free(s->site);
    redis_box_free(s->box);
    free(s->url);
    talloc_free(s);
    return 0;
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct stage *s = timer->data;
    (void)events;
    s->held = s->holds(s);
    if (s->held || clock_monotonic() > s->deadline)
        ev_break(ev, EVBREAK_ALL);
}

static bool await(struct stage *s, bool (*holds)(struct stage *s))
{
    struct ev_loop *ev = loop_ev(s->loop);
    s->holds = holds;
    s->deadline = clock_monotonic() + PATIENCE_S;
    ev_now_update(ev);
    ev_timer_init(&s->tick, on_tick, 0.01, 0.01);
    s->tick.data = s;
    ev_timer_start(ev, &s->tick);
    ev_run(ev, 0);
    ev_timer_stop(ev, &s->tick);
    return s->held;
}

static struct queue_system *celery(struct stage *s)
{
    return queues_system(s->queues, 0);
}

static bool is_found(struct stage *s)
{
    return queues_count(s->queues) > 0;
}

static void look(struct stage *s)
{
    s->server = redis_server_new(s->loop, &s->environment, &s->redis, NULL, NULL, NULL);
    struct queues_options options = {.environment = &s->environment, .redis = &s->server, .redis_count = 1};
    s->queues = queues_new(s->loop, &options);
    queues_want(s->queues, PART_SCHEDULE, true);
    assert_true(await(s, is_found));
}

static bool beat_is(struct stage *s)
{
    const struct schedule_snapshot *latest = queue_system_schedule(celery(s));
    feed_refresh(queue_system_feed(celery(s), PART_SCHEDULE));
    return latest && (int64_t)latest->scheduler == s->number;
}

static void beats_are_counted(void **state)
{
    struct stage *s = *state;
    static const char schedule[] = "{\"beat_schedule\": {\"each\": {\"task\": \"app.quick\", \"schedule\": "
                                   "1.0, \"options\": {\"queue\": "
                                   "\"timed\", \"periodic_task_name\": \"each\"}}}}";
    redis_box_do(s->box, "SADD", "_kombu.binding.timed", "timed\x06\x16\x06\x16timed");
    celery_beat(s->site, schedule, NULL);
    look(s);
    assert_true(redis_box_await(s->box, 20, "2", "LLEN", "timed"));
    s->number = SCHEDULER_RUNS;
    assert_true(await(s, beat_is));
    const struct schedule_snapshot *latest = queue_system_schedule(celery(s));
    assert_int_equal(latest->count, 1);
    assert_string_equal(latest->entries[0].name, "each");
    assert_string_equal(latest->entries[0].task, "app.quick");
    celery_beat(s->site, schedule, "-s second");
    s->number = SCHEDULER_TWICE;
    assert_true(await(s, beat_is));
}

static void redbeat_is_read(void **state)
{
    struct stage *s = *state;
    redis_box_do(s->box, "SADD", "_kombu.binding.celery",
                 "celery\x06\x16\x06\x16"
                 "celery");
    redis_box_do(s->box, "HSET", "redbeat:nightly", "definition",
                 "{\"name\": \"nightly\", \"task\": \"app.backup\", \"enabled\": true, \"schedule\": "
                 "{\"__type__\": \"crontab\", \"minute\": \"0\", \"hour\": \"2\"}, \"options\": {\"queue\": "
                 "\"mail\"}}",
                 "meta",
                 "{\"last_run_at\": {\"__type__\": \"datetime\", \"year\": 2026, \"month\": 11, \"day\": 20, "
                 "\"hour\": 2, \"minute\": 0, \"second\": 0}, \"total_run_count\": 17}");
    redis_box_do(s->box, "ZADD", "redbeat::schedule", "1000000000", "redbeat:nightly");
    look(s);
    s->number = SCHEDULER_STOPPED;
    assert_true(await(s, beat_is));
    const struct schedule_entry *entry = &queue_system_schedule(celery(s))->entries[0];
    assert_string_equal(entry->name, "nightly");
    assert_string_equal(entry->when, "0 2 * * *");
    assert_string_equal(entry->queue, "mail");
    assert_int_equal(entry->runs, 17);
    assert_true(entry->late_s > 1000);
    assert_true(entry->last_run > 1795100000 && entry->last_run < 1795300000);
    char *future;
    assert_true(asprintf(&future, "%.0f", clock_wall() + 3600) > 0);
    redis_box_do(s->box, "ZADD", "redbeat::schedule", future, "redbeat:nightly");
    redis_box_do(s->box, "SET", "redbeat::lock", "x", "EX", "600");
    s->number = SCHEDULER_RUNS;
    assert_true(await(s, beat_is));
    free(future);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(beats_are_counted, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(redbeat_is_read, stage_begin, stage_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
