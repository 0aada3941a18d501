/* Beat, as far as Redis knows: messages of one real beat and of two, and the keys of RedBeat. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery_stage.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

enum { PATIENCE_S = 40 };

struct stage {
    struct celery_stage on;
    int64_t number; /* the state that is waited for */
};

static int stage_begin(void **state)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    celery_stage_begin(&s->on);
    *state = s;
    return 0;
}

static int stage_end(void **state)
{
    struct stage *s = *state;
    celery_stage_end(&s->on);
    talloc_free(s);
    return 0;
}

static bool beat_is(void *data)
{
    struct stage *s = data;
    const struct schedule_snapshot *latest = queue_system_schedule(&celery_stage_system(&s->on)->base);
    feed_refresh(queue_system_feed(&celery_stage_system(&s->on)->base, PART_SCHEDULE));
    return latest && (int64_t)latest->scheduler == s->number;
}

static void beats_are_counted(void **state)
{
    struct stage *s = *state;
    static const char schedule[] = "{\"beat_schedule\": {\"each\": {\"task\": \"app.quick\", \"schedule\": "
                                   "1.0, \"options\": {\"queue\": "
                                   "\"timed\", \"periodic_task_name\": \"each\"}}}}";
    redis_box_do(s->on.box, "SADD", "_kombu.binding.timed", "timed\x06\x16\x06\x16timed");
    celery_beat(s->on.site, schedule, NULL);
    celery_stage_look(&s->on, PART_SCHEDULE);
    assert_true(redis_box_await(s->on.box, 20, "2", "LLEN", "timed"));
    s->number = SCHEDULER_RUNS;
    assert_true(loop_until(s->on.board.loop, PATIENCE_S, beat_is, s));
    const struct schedule_snapshot *latest = queue_system_schedule(&celery_stage_system(&s->on)->base);
    assert_int_equal(latest->count, 1);
    assert_string_equal(latest->entries[0].name, "each");
    assert_string_equal(latest->entries[0].task, "app.quick");
    celery_beat(s->on.site, schedule, "-s second");
    s->number = SCHEDULER_TWICE;
    assert_true(loop_until(s->on.board.loop, PATIENCE_S, beat_is, s));
}

static void redbeat_is_read(void **state)
{
    struct stage *s = *state;
    redis_box_do(s->on.box, "SADD", "_kombu.binding.celery",
                 "celery\x06\x16\x06\x16"
                 "celery");
    redis_box_do(s->on.box, "HSET", "redbeat:nightly", "definition",
                 "{\"name\": \"nightly\", \"task\": \"app.backup\", \"enabled\": true, \"schedule\": "
                 "{\"__type__\": \"crontab\", \"minute\": \"0\", \"hour\": \"2\"}, \"options\": {\"queue\": "
                 "\"mail\"}}",
                 "meta",
                 "{\"last_run_at\": {\"__type__\": \"datetime\", \"year\": 2026, \"month\": 11, \"day\": 20, "
                 "\"hour\": 2, \"minute\": 0, \"second\": 0}, \"total_run_count\": 17}");
    redis_box_do(s->on.box, "ZADD", "redbeat::schedule", "1000000000", "redbeat:nightly");
    celery_stage_look(&s->on, PART_SCHEDULE);
    s->number = SCHEDULER_STOPPED;
    assert_true(loop_until(s->on.board.loop, PATIENCE_S, beat_is, s));
    const struct schedule_entry *entry =
        &queue_system_schedule(&celery_stage_system(&s->on)->base)->entries[0];
    assert_string_equal(entry->name, "nightly");
    assert_string_equal(entry->when, "0 2 * * *");
    assert_string_equal(entry->queue, "mail");
    assert_int_equal(entry->runs, 17);
    assert_true(entry->late_s > 1000);
    assert_true(entry->last_run > 1795100000 && entry->last_run < 1795300000);
    char *future;
    assert_true(asprintf(&future, "%.0f", clock_wall() + 3600) > 0);
    redis_box_do(s->on.box, "ZADD", "redbeat::schedule", future, "redbeat:nightly");
    redis_box_do(s->on.box, "SET", "redbeat::lock", "x", "EX", "600");
    s->number = SCHEDULER_RUNS;
    assert_true(loop_until(s->on.board.loop, PATIENCE_S, beat_is, s));
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
