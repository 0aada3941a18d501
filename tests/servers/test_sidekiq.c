/* Sidekiq: captured contents, and real processes: our figures against its API, and what a process does after
 * each act. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/sidekiq.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/dump.h"
#include "tests/harness/scene.h"
#include "tests/harness/watcher.h"

static int set_up(void **state)
{
    struct scene *s = scene_new(NULL);
    setenv("REDIS_URL", s->url, 1);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

static void start_partner(struct scene *s)
{
    s->partner = partner_start(
        (const char *[]){"/usr/bin/ruby", TEST_ROOT "/tests/data/queues/sidekiq_app/partner.rb", NULL}, NULL);
}

/* The jid. */
static char *push(struct scene *s, const char *line)
{
    char *id = partner_ask(s->partner, line);
    if (strlen(id) != 24)
        fail_msg("%s: %s", line, id);
    return id;
}

static pid_t start_process(struct scene *s)
{
    char *before = redis_box_ask(s->box, "SCARD", "processes"), after[20];
    pid_t pid = keeper_run(s->keeper,
                           (const char *[]){"/usr/bin/sidekiq", "-r",
                                            TEST_ROOT "/tests/data/queues/sidekiq_app/jobs.rb", "-c", "2",
                                            "-q", "default", "-q", "exports", NULL},
                           s->log);
    snprintf(after, sizeof after, "%d", atoi(before) + 1);
    free(before);
    if (!redis_box_await(s->box, 30, after, "SCARD", "processes")) {
        scene_fail_start(s, "Sidekiq");
    }
    return pid;
}

/* ---- captured contents ---- */

static void queues_at_rest_are_read_as_they_are(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "sidekiq/queued.jsonl");
    scene_open(s, "sidekiq");
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    assert_int_equal(queue->ready, 2);
    assert_int_equal(queue->scheduled, 1);
    assert_int_equal(queue->dead, 0);
    assert_int_equal(queue->consumers, 0);
    assert_int_equal(queue->level, QUEUE_CRITICAL);
    assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
    assert_true(queue->head_age_s > 0);
    queue = board_queue(&s->board, s->system, "exports");
    assert_int_equal(queue->ready, 3);
    assert_int_equal(queue->scheduled, 0);
    struct job *jobs = scene_jobs(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, 2);
    assert_string_equal(jobs[0].id, "adfe570b5443c96618c9e853"); /* the head is on the right */
    assert_string_equal(jobs[0].task, "InvoiceJob");
    assert_string_equal(jobs[0].arguments, "(str, number)");
    assert_int_equal(jobs[0].retries_max, 5);
    assert_int_equal(jobs[1].retries_max, 25);
    assert_float_equal(jobs[0].enqueued_at, 1795262321.7018201, 0.001);
    talloc_free(jobs);
    jobs = scene_jobs(s, "default", JOB_SCHEDULED, "tenant=acme_sa", &count);
    assert_int_equal(count, 1);
    assert_float_equal(jobs[0].eta, 1795265921.7, 0.1);
    talloc_free(jobs);
    jobs = scene_jobs(s, "exports", JOB_READY, "task:ExportJob", &count);
    assert_int_equal(count, 1);
    talloc_free(jobs);
}

static void failures_of_retried_and_dead_jobs_are_grouped(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "sidekiq/running_retry_dead.jsonl");
    scene_open(s, "sidekiq");
    const struct queue *queue = board_queue(&s->board, s->system, "exports");
    assert_int_equal(queue->retrying, 1);
    assert_int_equal(queue->dead, 1);
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct failure *failure = &failures->failures[i];
        bool dead = failure->kept == JOB_DEAD;
        assert_string_equal(failure->task, dead ? "DeadJob" : "ExportJob");
        assert_string_equal(failure->exception, dead ? "RuntimeError" : "ArgumentError");
        assert_string_equal(failure->queue, "exports");
        if (!dead)
            assert_non_null(strstr(failure->frame, ".rb:"));
    }
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->count, 1);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].task, "SlowJob");
    assert_float_equal(workers->running[0].started_at, 1795262322, 1);
    assert_string_equal(workers->workers[0].queues, "critical,default,exports");
    assert_int_equal(workers->workers[0].slots, 2);
    struct job *jobs = scene_jobs(s, "exports", JOB_RETRYING, NULL, &count);
    assert_int_equal(count, 1);
    char *facts = board_job(&s->board, s->system, jobs);
    assert_non_null(strstr(facts, "Traceback/: "));
    assert_non_null(strstr(facts, "Arguments/JSON (secret): [\"globex\",\"يومي\"]"));
    talloc_free(facts);
    talloc_free(jobs);
}

static void what_is_no_job_is_poison(void **state)
{
    struct scene *s = *state;
    struct error error;
    size_t count;
    redis_box_do(s->box, "SADD", "queues", "default");
    redis_box_do(s->box, "LPUSH", "queue:default", "not json");
    redis_box_do(s->box, "LPUSH", "queue:default", "{\"args\":[],\"jid\":\"x\",\"queue\":\"default\"}");
    redis_box_do(
        s->box, "LPUSH", "queue:default",
        "{\"class\":\"A\",\"args\":[{\"tenant\":\"t1\"}],\"jid\":\"y\",\"enqueued_at\":1795262321703}");
    scene_open(s, "sidekiq");
    struct job *jobs = scene_jobs(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, 3);
    assert_int_equal(jobs[0].poison, POISON_B);
    assert_int_equal(jobs[1].poison, POISON_B);
    assert_int_equal(jobs[2].poison, POISON_NONE);
    assert_string_equal(jobs[2].tenant, "t1");
    assert_float_equal(jobs[2].enqueued_at, 1795262321.703, 0.001); /* milliseconds, since 8.0 */
    char *facts = board_job(&s->board, s->system, &jobs[0]);
    assert_non_null(strstr(facts, "not json"));
    talloc_free(facts);
    assert_int_equal(scene_act(s, ACT_DISCARD, &jobs[0], 1), STEP_DONE);
    assert_int_equal(scene_act(s, ACT_DISCARD, &jobs[0], 1), STEP_GONE);
    redis_box_do(s->box, "ZADD", "dead", "1", "not json");
    talloc_free(jobs);
    jobs = scene_jobs(s, NULL, JOB_DEAD, NULL, &count);
    assert_int_equal(count, 1);
    assert_null(board_prepare(&s->board, s->system,
                              &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1},
                              &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    talloc_free(jobs);
}

/* ---- real processes ---- */

static void figures_are_those_of_its_api(void **state)
{
    struct scene *s = *state;
    char ours[100];
    start_partner(s);
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",1]}"));
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",2]}"));
    free(push(s, "{\"op\":\"push\",\"class\":\"FlakyJob\",\"args\":[\"globex\"]}"));
    free(push(s, "{\"op\":\"push\",\"class\":\"DeadJob\",\"args\":[\"globex\"]}"));
    free(push(s, "{\"op\":\"push_in\",\"in\":3600,\"class\":\"OkJob\",\"args\":[\"acme\",3]}"));
    scene_open(s, "sidekiq");
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    snprintf(ours, sizeof ours, "%lld", (long long)queue->ready);
    scene_say(s, ours, "{\"op\":\"size\",\"queue\":\"default\"}");
    char *latency = partner_ask(s->partner, "{\"op\":\"latency\",\"queue\":\"default\"}");
    assert_float_equal(atof(latency), queue->head_age_s, 3);
    free(latency);
    start_process(s);
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "dead"));
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "retry"));
    for (int i = 0; i < 2; i++) {
        const char *names[] = {"default", "exports"};
        char line[100];
        queue = board_queue(&s->board, s->system, names[i]);
        snprintf(ours, sizeof ours, "%lld %lld %lld", (long long)queue->scheduled, (long long)queue->retrying,
                 (long long)queue->dead);
        snprintf(line, sizeof line, "{\"op\":\"sets\",\"queue\":\"%s\"}", names[i]);
        scene_say(s, ours, line);
        assert_int_equal(queue->consumers, 1);
    }
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    snprintf(ours, sizeof ours, "%d %lld false", workers->workers[0].pid,
             (long long)workers->workers[0].active);
    scene_say(s, ours, "{\"op\":\"processes\"}");
}

static void jobs_are_retried_with_no_byte_changed_but_two_numbers(void **state)
{
    struct scene *s = *state;
    size_t count;
    start_partner(s);
    char *id = push(s, "{\"op\":\"push\",\"class\":\"FlakyJob\",\"args\":[\"globex\"]}");
    scene_open(s, "sidekiq");
    start_process(s);
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "retry"));
    struct job *jobs = scene_jobs(s, "exports", JOB_RETRYING, "tenant:x", &count);
    assert_int_equal(count, 0);
    talloc_free(jobs);
    jobs = scene_jobs(s, "exports", JOB_RETRYING, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].id, id);
    assert_string_equal(jobs[0].exception, "ArgumentError");
    assert_non_null(strstr(jobs[0].frame, "sidekiq_app/jobs.rb"));
    assert_int_equal(jobs[0].retries, 1);
    redis_box_do(s->box, "SET", "test:works", "1");
    struct change *change =
        scene_prepare(s, &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1});
    assert_true(change_confirmed(change, id + 22));
    char *preview = change_preview(change, change);
    assert_null(strstr(preview, "\"globex\"")); /* payloads are people's data */
    assert_non_null(strstr(preview, "bytes, sha1"));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 20, "flaky globex", "LINDEX", "test:ran", "0"));
    assert_true(redis_box_await(s->box, 5, "0", "ZCARD", "retry"));
    assert_int_equal(scene_act(s, ACT_RETRY, jobs, 1), STEP_GONE);
    talloc_free(jobs);
    free(id);
}

static void what_matches_a_filter_is_discarded_or_told_gone(void **state)
{
    struct scene *s = *state;
    struct error error;
    start_partner(s);
    for (int i = 0; i < 30; i++)
        free(push(s, "{\"op\":\"push\",\"class\":\"DeadJob\",\"args\":[\"globex\"]}"));
    free(push(s, "{\"op\":\"push\",\"class\":\"FlakyJob\",\"args\":[\"globex\"]}"));
    scene_open(s, "sidekiq");
    start_process(s);
    assert_true(redis_box_await(s->box, 30, "30", "ZCARD", "dead"));
    struct job_filter *filter = job_filter_parse(NULL, "task=DeadJob", &error);
    struct change *change =
        scene_prepare(s, &(struct queue_act_request){.act = ACT_DISCARD, .filter = filter});
    assert_int_equal(change->reach, REACH_MANY);
    assert_true(change_confirmed(change, "30"));
    assert_int_equal(change->step_count, 1);
    assert_non_null(strstr(change->effect, "tasks: 30 DeadJob"));
    char *removed = redis_box_ask(s->box, "ZREMRANGEBYRANK", "dead", "0", "3");
    free(removed);
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    assert_non_null(strstr(change->steps[0].output, "26 removed, 4 gone"));
    assert_true(redis_box_await(s->box, 5, "0", "ZCARD", "dead"));
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "retry"));
    talloc_free(change);
    talloc_free(filter);
}

static void a_scheduled_job_runs_now(void **state)
{
    struct scene *s = *state;
    size_t count;
    start_partner(s);
    free(push(s, "{\"op\":\"push_in\",\"in\":3600,\"class\":\"OkJob\",\"args\":[\"acme\",3]}"));
    scene_open(s, "sidekiq");
    start_process(s);
    struct job *jobs = scene_jobs(s, NULL, JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(scene_act(s, ACT_RUN_NOW, jobs, 1), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "ok acme 3", "LINDEX", "test:ran", "0"));
    talloc_free(jobs);
}

struct process_wait {
    struct scene *scene;
    enum worker_state state;
};

static bool process_is(void *data)
{
    const struct process_wait *wait = data;
    struct queue_system *system = wait->scene->system;
    const struct workers_snapshot *workers = system->latest[PART_WORKERS];
    feed_refresh(queue_system_feed(system, PART_WORKERS));
    return workers && workers->count && workers->workers[0].state == wait->state;
}

static bool await_state(struct scene *s, enum worker_state wanted)
{
    struct process_wait wait = {s, wanted};
    queues_want(s->board.queues, PART_WORKERS, true);
    bool came = loop_until(s->board.loop, 30, process_is, &wait);
    queues_want(s->board.queues, PART_WORKERS, false);
    return came;
}

static void a_process_is_drained_then_stopped(void **state)
{
    struct scene *s = *state;
    start_partner(s);
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",1]}"));
    scene_open(s, "sidekiq");
    start_process(s);
    assert_true(redis_box_await(s->box, 20, "ok acme 1", "LINDEX", "test:ran", "0"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    char *identity = talloc_strdup(NULL, workers->workers[0].id);
    struct queue_act_request request = {
        .act = ACT_DRAIN, .workers = (const char *[]){identity}, .worker_count = 1};
    struct change *change = scene_prepare(s, &request);
    assert_true(change_confirmed(change, identity));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(await_state(s, WORKER_QUIET));
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",2]}"));
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    assert_int_equal(queue->ready, 1);
    assert_int_equal(queue->consumers, 0);
    request.act = ACT_SHUTDOWN;
    change = scene_prepare(s, &request);
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 30, "0", "SCARD", "processes"));
    change = scene_prepare(s, &request);
    assert_int_equal(board_send(&s->board, change), STEP_GONE);
    talloc_free(change);
    talloc_free(identity);
    /* another takes what was left */
    start_process(s);
    assert_true(redis_box_await(s->box, 20, "ok acme 2", "LINDEX", "test:ran", "-1"));
}

static void a_killed_process_is_a_ghost_and_its_job_is_lost(void **state)
{
    struct scene *s = *state;
    start_partner(s);
    char *id = push(s, "{\"op\":\"push\",\"class\":\"SlowJob\",\"args\":[\"acme\",60]}");
    scene_open(s, "sidekiq");
    pid_t pid = start_process(s);
    assert_true(redis_box_await(s->box, 20, "slow acme", "LINDEX", "test:ran", "0"));
    char *identity = redis_box_ask(s->box, "SRANDMEMBER", "processes");
    char key[200];
    snprintf(key, sizeof key, "%s:workers", identity);
    assert_true(redis_box_await(s->box, 20, "1", "HLEN", key)); /* written with the next heartbeat */
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].id, id);
    char *facts = board_job(&s->board, s->system, &workers->running[0]);
    assert_non_null(strstr(facts, "SlowJob"));
    talloc_free(facts);
    kill(pid, SIGKILL);
    redis_box_do(s->box, "DEL", identity); /* its heartbeat's 60 s are over */
    assert_true(await_state(s, WORKER_GHOST));
    assert_non_null(strstr(queue_system_act_absent(s->system, ACT_REQUEUE), "lost"));
    assert_non_null(strstr(queue_system_act_absent(s->system, ACT_PAUSE), "Pro"));
    scene_say(s, "0", "{\"op\":\"size\",\"queue\":\"default\"}");
    free(identity);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, scene_end)
    const struct CMUnitTest tests[] = {
        CASE(queues_at_rest_are_read_as_they_are),
        CASE(failures_of_retried_and_dead_jobs_are_grouped),
        CASE(what_is_no_job_is_poison),
        CASE(figures_are_those_of_its_api),
        CASE(jobs_are_retried_with_no_byte_changed_but_two_numbers),
        CASE(what_matches_a_filter_is_discarded_or_told_gone),
        CASE(a_scheduled_job_runs_now),
        CASE(a_process_is_drained_then_stopped),
        CASE(a_killed_process_is_a_ghost_and_its_job_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
