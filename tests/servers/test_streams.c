/* Redis Streams: captured contents, and real consumers of a group: our figures against Redis' own, and what a
 * consumer does after each act. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/streams.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/dump.h"
#include "tests/harness/scene.h"
#include "tests/harness/watcher.h"

static int set_up(void **state)
{
    struct scene *s = scene_new(NULL);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

static pid_t start_consumer(struct scene *s, const char *name)
{
    return keeper_run(s->keeper,
                      (const char *[]){"/usr/bin/python3",
                                       TEST_ROOT "/tests/data/queues/streams_app/consumer.py", s->url, "jobs",
                                       "billing", name, NULL},
                      s->log);
}

static void add(struct scene *s, const char *task, const char *payload)
{
    redis_box_do(s->box, "XADD", "jobs", "*", "task", task, "tenant", "acme", "payload", payload);
}

static enum step_outcome act_on(struct scene *s, enum queue_act act, const struct job *jobs, size_t count,
                                const char *argument)
{
    return scene_send(
        s, &(struct queue_act_request){.act = act, .jobs = jobs, .job_count = count, .argument = argument});
}

static void expect(struct scene *s, int64_t number, const char *command, const char *key)
{
    char *answer = redis_box_ask(s->box, command, key);
    assert_int_equal(atoll(answer), number);
    free(answer);
}

/* ---- captured contents ---- */

static void groups_are_queues(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "streams/stream.jsonl");
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs:events", "billing", "0");
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs:events", "audit", "$");
    free(redis_box_ask(s->box, "XREADGROUP", "GROUP", "billing", "worker-a", "COUNT", "8", "STREAMS",
                       "jobs:events", ">"));
    free(redis_box_ask(s->box, "XREADGROUP", "GROUP", "billing", "worker-b", "COUNT", "2", "STREAMS",
                       "jobs:events", ">"));
    scene_open(s, "streams");
    char *length = redis_box_ask(s->box, "XLEN", "jobs:events");
    int64_t rest = atoll(length) - 10;
    free(length);
    const struct queue *queue = board_queue(&s->board, s->system, "jobs:events/billing");
    assert_int_equal(queue->ready, rest);
    assert_int_equal(queue->unacked, 10);
    assert_int_equal(queue->consumers, 2);
    assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
    queue = board_queue(&s->board, s->system, "jobs:events/audit");
    assert_int_equal(queue->ready, 0);
    assert_true(isnan(queue->head_age_s));
    struct job *jobs = scene_jobs(s, "jobs:events/billing", JOB_READY, NULL, &count);
    assert_int_equal(count, rest);
    assert_string_equal(jobs[0].task, "invoices.sync");
    assert_non_null(jobs[0].tenant);
    assert_non_null(strstr(jobs[0].arguments, "payload: {n: number"));
    assert_true(jobs[0].enqueued_at < jobs[count - 1].enqueued_at);
    talloc_free(jobs);
    struct queue_read_progress progress;
    jobs = board_read(
        &s->board, s->system,
        (struct queue_read_request){
            .queue = "jobs:events/billing", .states = 1u << JOB_READY, .from = FROM_TAIL, .limit = 2},
        NULL, &count, &progress);
    assert_int_equal(count, 2);
    assert_true(jobs[0].enqueued_at > jobs[1].enqueued_at);
    assert_int_equal(progress.total, rest);
    talloc_free(jobs);
    jobs = scene_jobs(s, "jobs:events/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(count, 10);
    assert_string_equal(jobs[9].worker, "worker-b");
    char *facts = board_job(&s->board, s->system, &jobs[9]);
    assert_non_null(strstr(facts, "Job/consumer: worker-b"));
    assert_non_null(strstr(facts, "Fields/payload (secret): "));
    talloc_free(facts);
    talloc_free(jobs);
}

static void an_unknown_lag_is_at_least(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < 5; i++)
        redis_box_do(s->box, "XADD", "jobs", "*", "task", "a");
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "late", "0");
    char *entries = redis_box_ask(s->box, "XRANGE", "jobs", "-", "+", "COUNT", "3"), *id = entries;
    for (int i = 0; i < 6; i++) /* the third: lines id, task, a each */
        id = strchr(id, '\n') + 1;
    *strchr(id, '\n') = '\0';
    redis_box_do(s->box, "XDEL", "jobs", id);
    free(entries);
    scene_open(s, "streams");
    const struct queue *queue = board_queue(&s->board, s->system, "jobs/late");
    assert_int_equal(queue->ready, 4);
    assert_non_null(queue->why);
}

static void streams_without_groups_are_none(void **state)
{
    struct scene *s = *state;
    redis_box_do(s->box, "XADD", "bull:mail:events", "*", "event", "added");
    redis_box_do(s->box, "XADD", "jobs", "*", "task", "a");
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0");
    scene_open(s, "streams");
    const struct queues_snapshot *queues = board_part(&s->board, s->system, PART_QUEUES);
    assert_int_equal(queues->count, 1);
}

/* ---- real consumers ---- */

static bool rate_is_known(void *data)
{
    struct scene *s = data;
    const struct queues_snapshot *queues = s->system->latest[PART_QUEUES];
    feed_refresh(queue_system_feed(s->system, PART_QUEUES));
    return queues && queues->count && queues->queues[0].out_per_s > 0 && queues->queues[0].in_per_s >= 0;
}

static void figures_are_those_of_redis(void **state)
{
    struct scene *s = *state;
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0", "MKSTREAM");
    for (int i = 0; i < 3; i++)
        add(s, "ok", "1");
    add(s, "fail", "2");
    scene_open(s, "streams");
    assert_int_equal(board_queue(&s->board, s->system, "jobs/billing")->ready, 4);
    pid_t pid = start_consumer(s, "one");
    assert_true(redis_box_await(s->box, 20, "3", "LLEN", "test:ran"));
    assert_true(redis_box_await(s->box, 20, "4", "LLEN", "test:taken"));
    const struct queue *queue = board_queue(&s->board, s->system, "jobs/billing");
    char *pending = redis_box_ask(s->box, "XPENDING", "jobs", "billing");
    assert_int_equal(queue->unacked, atoll(pending));
    free(pending);
    assert_int_equal(queue->ready, 0);
    assert_true(loop_until(s->board.loop, 10, rate_is_known, s));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->count, 1);
    assert_string_equal(workers->workers[0].id, "one@jobs/billing");
    assert_int_equal(workers->workers[0].state, WORKER_BUSY);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].task, "fail");
    /* delivered again when it starts anew: a failure */
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 0);
    kill(pid, SIGKILL);
    start_consumer(s, "one");
    assert_true(redis_box_await(s->box, 20, "5", "LLEN", "test:taken"));
    failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 1);
    assert_string_equal(failures->failures[0].task, "fail");
    assert_int_equal(failures->failures[0].kept, JOB_UNACKED);
}

static void a_dead_consumers_entry_is_claimed_for_another(void **state)
{
    struct scene *s = *state;
    struct error error;
    size_t count;
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0", "MKSTREAM");
    free(redis_box_ask(s->box, "XGROUP", "CREATECONSUMER", "jobs", "billing", "two"));
    add(s, "slow", "x");
    scene_open(s, "streams");
    pid_t pid = start_consumer(s, "one");
    assert_true(redis_box_await(s->box, 20, "1", "LLEN", "test:taken"));
    kill(pid, SIGKILL);
    struct job *jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(count, 1);
    struct queue_act_request request = {.act = ACT_REQUEUE, .jobs = jobs, .job_count = 1};
    struct change *change = board_prepare(&s->board, s->system, &request, &error);
    assert_int_equal(board_send(&s->board, change), STEP_DONE); /* for two, which is the only other one */
    talloc_free(change);
    assert_int_equal(act_on(s, ACT_REQUEUE, jobs, 1, "two"), STEP_GONE); /* one holds it no more */
    talloc_free(jobs);
    free(redis_box_ask(s->box, "XGROUP", "CREATECONSUMER", "jobs", "billing", "three"));
    jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(act_on(s, ACT_REQUEUE, jobs, 1, "nobody"), STEP_FAILED);
    assert_int_equal(act_on(s, ACT_REQUEUE, jobs, 1, "three"), STEP_DONE);
    start_consumer(s, "three");
    assert_true(redis_box_await(s->box, 20, "2", "LLEN", "test:taken"));
    char *taken = redis_box_ask(s->box, "LINDEX", "test:taken", "1");
    assert_true(strncmp(taken, "three ", 6) == 0);
    free(taken);
    talloc_free(jobs);
}

static void an_entry_is_added_again_once(void **state)
{
    struct scene *s = *state;
    size_t count;
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0", "MKSTREAM");
    free(redis_box_ask(s->box, "XREADGROUP", "GROUP", "billing", "gone", "STREAMS", "jobs", ">"));
    add(s, "ok", "{\"n\":12345678901234567,\"e\":[]}");
    free(redis_box_ask(s->box, "XREADGROUP", "GROUP", "billing", "gone", "STREAMS", "jobs", ">"));
    scene_open(s, "streams");
    struct job *jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, "text:12345678901234567", &count);
    assert_int_equal(count, 1);
    start_consumer(s, "one");
    assert_int_equal(act_on(s, ACT_RETRY, jobs, 1, NULL), STEP_DONE);
    assert_true(
        redis_box_await(s->box, 20, "one ok {\"n\":12345678901234567,\"e\":[]}", "LINDEX", "test:ran", "0"));
    assert_int_equal(act_on(s, ACT_RETRY, jobs, 1, NULL), STEP_GONE);
    expect(s, 1, "LLEN", "test:ran");
    talloc_free(jobs);
    /* with another group on the stream it would be seen twice there */
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "audit", "0");
    add(s, "fail", "2");
    assert_true(redis_box_await(s->box, 20, "2", "LLEN", "test:taken"));
    jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(act_on(s, ACT_RETRY, jobs, 1, NULL), STEP_FAILED);
    assert_non_null(strstr(s->board.report, "twice"));
    talloc_free(jobs);
}

static void what_is_discarded_lies_in_the_dead_stream(void **state)
{
    struct scene *s = *state;
    size_t count;
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0", "MKSTREAM");
    add(s, "fail", "7");
    scene_open(s, "streams");
    start_consumer(s, "one");
    assert_true(redis_box_await(s->box, 20, "1", "LLEN", "test:taken"));
    struct job *jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(act_on(s, ACT_DISCARD, jobs, 1, NULL), STEP_DONE);
    talloc_free(jobs);
    const struct queue *queue = board_queue(&s->board, s->system, "jobs/billing");
    assert_int_equal(queue->unacked, 0);
    assert_int_equal(queue->dead, 1);
    jobs = scene_jobs(s, "jobs/billing", JOB_DEAD, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].task, "fail");
    assert_string_equal(jobs[0].tenant, "acme");
    assert_int_equal(act_on(s, ACT_RETRY, jobs, 1, NULL), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "2", "LLEN", "test:taken"));
    talloc_free(jobs);
    expect(s, 0, "XLEN", "jobs:dead");
    jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].arguments, "{task: str, tenant: str, payload: number}");
    talloc_free(jobs);
}

static void a_consumer_is_removed_only_when_it_holds_nothing(void **state)
{
    struct scene *s = *state;
    const char *workers[] = {"gone@jobs/billing"};
    struct queue_act_request request = {.act = ACT_SHUTDOWN, .workers = workers, .worker_count = 1};
    redis_box_do(s->box, "XGROUP", "CREATE", "jobs", "billing", "0", "MKSTREAM");
    add(s, "ok", "1");
    free(redis_box_ask(s->box, "XREADGROUP", "GROUP", "billing", "gone", "STREAMS", "jobs", ">"));
    scene_open(s, "streams");
    struct change *change = scene_prepare(s, &request);
    assert_true(change_confirmed(change, "gone"));
    assert_int_equal(board_send(&s->board, change), STEP_FAILED);
    assert_non_null(strstr(s->board.report, "holds 1"));
    talloc_free(change);
    size_t count;
    struct job *jobs = scene_jobs(s, "jobs/billing", JOB_UNACKED, NULL, &count);
    assert_int_equal(act_on(s, ACT_DISCARD, jobs, count, NULL), STEP_DONE);
    talloc_free(jobs);
    change = scene_prepare(s, &request);
    assert_int_equal(board_send(&s->board, change), STEP_FAILED); /* it was seen within the last minute */
    assert_non_null(strstr(s->board.report, "alive"));
    talloc_free(change);
    assert_non_null(queue_system_act_absent(s->system, ACT_PAUSE));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, scene_end)
    const struct CMUnitTest tests[] = {
        CASE(groups_are_queues),
        CASE(an_unknown_lag_is_at_least),
        CASE(streams_without_groups_are_none),
        CASE(figures_are_those_of_redis),
        CASE(a_dead_consumers_entry_is_claimed_for_another),
        CASE(an_entry_is_added_again_once),
        CASE(what_is_discarded_lies_in_the_dead_stream),
        CASE(a_consumer_is_removed_only_when_it_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
