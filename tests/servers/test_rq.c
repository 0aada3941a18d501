/* RQ: captured contents, and real workers: our figures against RQ's own, and what a worker does after each
 * act. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/rq.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/dump.h"
#include "tests/harness/scene.h"
#include "tests/harness/watcher.h"

static int set_up(void **state)
{
    struct scene *s = scene_new(NULL);
    setenv("JOBS_REDIS", s->url, 1);
    setenv("PYTHONPATH", TEST_ROOT "/tests/data/queues/rq_app", 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

static void start_rq(struct scene *s)
{
    s->partner = partner_start(
        (const char *[]){"/usr/bin/python3", TEST_ROOT "/tests/data/queues/rq_app/partner.py", s->url, NULL},
        NULL);
}

static pid_t start_worker(struct scene *s, const char *name, const char *queue)
{
    pid_t pid = keeper_run(
        s->keeper,
        (const char *[]){"rq", "worker", "-u", s->url, "-n", name, "--with-scheduler", queue, NULL}, s->log);
    char channel[100];
    snprintf(channel, sizeof channel, "rq:pubsub:%s", name);
    if (!redis_box_await(s->box, 20, channel, "PUBSUB", "CHANNELS", channel)) {
        scene_fail_start(s, name);
    }
    return pid;
}

/* ---- captured contents ---- */

static void a_queue_at_rest_is_read_as_it_is(void **state)
{
    struct scene *s = *state;
    size_t count;
    assert_true(dump_load(s->box, "rq/queued.jsonl") > 10);
    scene_open(s, "rq");
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    char *length = redis_box_ask(s->box, "LLEN", "rq:queue:default");
    assert_int_equal(queue->ready, atoi(length));
    free(length);
    assert_true(queue->head_age_s > 0);
    assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
    assert_int_equal(queue->level, QUEUE_CRITICAL); /* nobody takes from it */
    assert_int_equal(queue->scheduled, 1);
    assert_int_equal(queue->waiting, 1);
    struct job *jobs = scene_jobs(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, queue->ready);
    assert_string_equal(jobs[0].id, "rq-ok-1");
    assert_string_equal(jobs[0].task, "rqjobs.issue_invoice");
    assert_string_equal(jobs[0].tenant, "acme_sa");
    assert_int_equal(jobs[0].index, 0);
    assert_true(jobs[0].flags & JOB_PICKLED);
    assert_string_equal(jobs[1].arguments, "(str, str)");
    talloc_free(jobs);
    jobs = scene_jobs(s, "default", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_true(jobs[0].eta > 1795000000);
    talloc_free(jobs);
    jobs = scene_jobs(s, "jsonq", JOB_READY, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].task, "rqjobs.issue_invoice");
    assert_string_equal(jobs[0].arguments, "(str, number)");
    talloc_free(jobs);
}

static void failures_have_exception_and_place(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "rq/after_stop.jsonl");
    scene_open(s, "rq");
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 3);
    bool found = false, stopped = false;
    for (size_t i = 0; i < failures->count; i++) {
        const struct failure *failure = &failures->failures[i];
        assert_int_equal(failure->kept, JOB_FAILED);
        assert_int_equal(failure->count, 1);
        assert_int_equal(failure->retriable, 1);
        stopped = stopped || (failure->exception && strcmp(failure->exception, "stopped") == 0);
        if (strcmp(failure->example, "rq-fail-1") == 0) {
            found = true;
            assert_string_equal(failure->task, "rqjobs.export_csv");
            assert_non_null(failure->exception);
            assert_non_null(strstr(failure->frame, "export_csv"));
            assert_true(failure->last > 1795262000);
        }
    }
    assert_true(found);
    assert_true(stopped);
    struct job *jobs = scene_jobs(s, "default", JOB_FAILED, "id=rq-fail-1", &count);
    assert_int_equal(count, 1);
    char *facts = board_job(&s->board, s->system, jobs);
    assert_non_null(strstr(facts, "Traceback/: Traceback (most recent call last)"));
    assert_non_null(strstr(facts, "Arguments/call (secret): rqjobs.export_csv('globex', 'يومي')"));
    talloc_free(facts);
    talloc_free(jobs);
}

static void a_killed_workers_record_is_a_ghost(void **state)
{
    struct scene *s = *state;
    dump_load(s->box, "rq/orphaned_worker_kill9.jsonl");
    scene_open(s, "rq");
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->count, 1);
    assert_int_equal(workers->workers[0].state, WORKER_GHOST);
    assert_int_equal(workers->running_count, 1);
    assert_true(workers->running[0].flags & JOB_ORPHANED);
}

static void members_of_version_2_hold_an_execution(void **state)
{
    struct scene *s = *state;
    size_t count;
    (void)s;
    dump_load(s->box, "rq/queued.jsonl");
    redis_box_do(s->box, "ZADD", "rq:wip:default", "1999999999",
                 "rq-fail-1:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7");
    scene_open(s, "rq");
    struct job *jobs = scene_jobs(s, "default", JOB_RUNNING, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].id, "rq-fail-1");
    assert_string_equal(jobs[0].tag, "rq-fail-1:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7");
    talloc_free(jobs);
}

/* ---- real workers ---- */

static void expect_counts(struct scene *s, const char *name)
{
    char line[100], ours[100];
    const struct queue *queue = board_queue(&s->board, s->system, name);
    snprintf(ours, sizeof ours, "%lld %lld %lld %lld %lld %lld", (long long)queue->ready,
             (long long)queue->running, (long long)queue->failed, (long long)queue->done,
             (long long)queue->scheduled, (long long)queue->waiting);
    snprintf(line, sizeof line, "{\"op\":\"counts\",\"queue\":\"%s\"}", name);
    scene_say(s, ours, line);
}

/* "queue default 3" of `rq info --raw`. */
static void expect_info(struct scene *s, const char *name)
{
    char command[300], line[200], expected[100];
    const struct queue *queue = board_queue(&s->board, s->system, name);
    bool found = false;
    snprintf(expected, sizeof expected, "queue %s %lld", name, (long long)queue->ready);
    snprintf(command, sizeof command, "rq info --raw -u %s 2>/dev/null", s->url);
    FILE *info = popen(command, "r");
    while (fgets(line, sizeof line, info))
        found = found || strncmp(line, expected, strlen(expected)) == 0;
    pclose(info);
    if (!found)
        fail_msg("rq info has no line \"%s\"", expected);
}

static void figures_are_those_of_rq(void **state)
{
    struct scene *s = *state;
    start_rq(s);
    scene_say(
        s, "a",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",1],\"id\":\"a\"}");
    scene_say(s, "b",
              "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"b\","
              "\"meta\":{\"_schema_name\":\"acme\"}}");
    scene_say(s, "c",
              "{\"op\":\"enqueue\",\"queue\":\"high\",\"name\":\"ok\",\"args\":[\"globex\",2],\"id\":\"c\"}");
    scene_say(
        s, "d",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"globex\",3],\"id\":\"d\","
        "\"depends\":\"b\"}");
    scene_say(
        s, "e",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"globex\",4],\"id\":\"e\",\"in_"
        "s\":3600}");
    scene_open(s, "rq");
    expect_counts(s, "default");
    expect_counts(s, "high");
    expect_info(s, "default");
    expect_info(s, "high");
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "rq:failed:default"));
    expect_counts(s, "default");
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    assert_int_equal(queue->failed, 1);
    assert_int_equal(queue->done, 1);
    assert_int_equal(queue->consumers, 1);
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 1);
    assert_string_equal(failures->failures[0].task, "rqjobs.fail");
    assert_string_equal(failures->failures[0].exception, "ValueError");
    assert_string_equal(failures->failures[0].message, "no report of acme");
    assert_string_equal(failures->failures[0].tenant, "acme");
    assert_non_null(strstr(failures->failures[0].frame, "rqjobs.py"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->count, 1);
    assert_string_equal(workers->workers[0].id, "one");
    assert_string_equal(workers->workers[0].queues, "default");
}

static void a_failed_job_is_retried_and_lives(void **state)
{
    struct scene *s = *state;
    struct error error;
    size_t count;
    start_rq(s);
    scene_say(
        s, "f",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"flaky\",\"args\":[\"acme\"],\"id\":\"f\"}");
    scene_open(s, "rq");
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "rq:failed:default"));
    struct job *jobs = scene_jobs(s, "default", JOB_FAILED, NULL, &count);
    assert_int_equal(count, 1);
    struct change *change =
        board_prepare(&s->board, s->system,
                      &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1}, &error);
    assert_non_null(change);
    assert_int_equal(change->reach, REACH_ONE);
    assert_true(change_confirmed(change, "f"));
    char *preview = change_preview(change, change);
    assert_non_null(strstr(preview, "Retry job f"));
    assert_non_null(strstr(preview, "EVAL"));
    assert_non_null(strstr(preview, "rqjobs.flaky"));
    redis_box_do(s->box, "SET", "test:works", "1");
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "flaky acme", "LINDEX", "test:ran", "0"));
    assert_true(redis_box_await(s->box, 20, "0", "ZCARD", "rq:failed:default"));
    /* once more: it is no longer what was seen */
    talloc_free(change);
    assert_null(board_prepare(&s->board, s->system,
                              &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1},
                              &error));
    assert_int_equal(error.kind, ERROR_GONE);
    talloc_free(jobs);
}

static void what_ran_meanwhile_is_told(void **state)
{
    struct scene *s = *state;
    struct error error;
    size_t count;
    start_rq(s);
    scene_say(
        s, "g",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"g\"}");
    scene_say(
        s, "h",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"h\"}");
    scene_open(s, "rq");
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "2", "ZCARD", "rq:failed:default"));
    struct job_filter *filter = job_filter_parse(NULL, "error:ValueError", &error);
    struct change *change = board_prepare(
        &s->board, s->system,
        &(struct queue_act_request){
            .act = ACT_DISCARD, .queue = "default", .filter = filter, .states = 1u << JOB_FAILED},
        &error);
    assert_non_null(change);
    assert_int_equal(change->step_count, 2);
    assert_true(change_confirmed(change, "2"));
    /* g runs and fails once more before it is sent */
    char *before = redis_box_ask(s->box, "HGET", "rq:job:g", "ended_at");
    scene_say(s, "ok", "{\"op\":\"requeue\",\"id\":\"g\"}");
    assert_true(redis_box_await(s->box, 20, "2", "ZCARD", "rq:failed:default"));
    char *after = redis_box_ask(s->box, "HGET", "rq:job:g", "ended_at");
    assert_string_not_equal(before, after);
    board_send(&s->board, change);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(change->steps[i].outcome,
                         strcmp(change->steps[i].target, "g") == 0 ? STEP_GONE : STEP_DONE);
    char *exists = redis_box_ask(s->box, "EXISTS", "rq:job:g");
    assert_string_equal(exists, "1");
    free(exists);
    free(before);
    free(after);
    talloc_free(change);
    talloc_free(filter);
    struct job *jobs = scene_jobs(s, "default", JOB_FAILED, "id=g", &count);
    assert_int_equal(scene_act(s, ACT_DISCARD, jobs, count), STEP_DONE);
    assert_true(redis_box_await(s->box, 1, "0", "EXISTS", "rq:job:g", "rq:results:g"));
    talloc_free(jobs);
}

static void a_running_job_is_stopped(void **state)
{
    struct scene *s = *state;
    start_rq(s);
    scene_say(
        s, "i",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"slow\",\"args\":[\"acme\",60],\"id\":\"i\"}");
    scene_open(s, "rq");
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "slow acme", "LINDEX", "test:ran", "0"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].id, "i");
    assert_string_equal(workers->running[0].worker, "one");
    assert_int_equal(workers->workers[0].state, WORKER_BUSY);
    struct job *job = job_copy(NULL, &workers->running[0]);
    assert_int_equal(scene_act(s, ACT_TERMINATE, job, 1), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "rq:failed:default"));
    scene_say(s, "stopped", "{\"op\":\"status\",\"id\":\"i\"}");
    /* and the worker goes on */
    scene_say(
        s, "j",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",5],\"id\":\"j\"}");
    assert_true(redis_box_await(s->box, 20, "ok acme 5", "LINDEX", "test:ran", "-1"));
    talloc_free(job);
}

static void a_killed_workers_job_is_put_back(void **state)
{
    struct scene *s = *state;
    size_t count;
    pid_t children[8];
    start_rq(s);
    scene_say(
        s, "k",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"slow\",\"args\":[\"acme\",2],\"id\":\"k\"}");
    scene_open(s, "rq");
    pid_t pid = start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "slow acme", "LINDEX", "test:ran", "0"));
    struct job *jobs = scene_jobs(s, "default", JOB_RUNNING, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(scene_act(s, ACT_REQUEUE, jobs, 1), STEP_FAILED); /* its worker lives */
    assert_non_null(strstr(s->board.report, "alive"));
    size_t family = keeper_family(s->keeper, pid, children, 8);
    kill(pid, SIGKILL);
    for (size_t i = 0; i < family; i++)
        kill(children[i], SIGKILL);
    assert_true(redis_box_await(s->box, 20, "", "PUBSUB", "CHANNELS", "rq:pubsub:one"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->workers[0].state, WORKER_GHOST);
    assert_int_equal(scene_act(s, ACT_REQUEUE, jobs, 1), STEP_DONE);
    start_worker(s, "two", "default");
    assert_true(redis_box_await(s->box, 30, "slow ended acme", "LINDEX", "test:ran", "-1"));
    talloc_free(jobs);
}

static void all_workers_are_suspended_and_go_on(void **state)
{
    struct scene *s = *state;
    struct error error;
    start_rq(s);
    scene_say(
        s, "l",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",1],\"id\":\"l\"}");
    scene_open(s, "rq");
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "1", "LLEN", "test:ran"));
    struct queue_act_request pause = {.act = ACT_PAUSE, .queue = "default"}, resume = {.act = ACT_RESUME};
    struct change *change = board_prepare(&s->board, s->system, &pause, &error);
    assert_non_null(change);
    assert_int_equal(change->reach, REACH_NAME);
    assert_true(change_confirmed(change, "rq"));
    assert_non_null(strstr(change->title, "ALL workers"));
    assert_non_null(strstr(change->effect, "not default alone"));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    const struct queues_snapshot *queues = board_part(&s->board, s->system, PART_QUEUES);
    assert_non_null(queues->note);
    assert_int_equal(queues->queues[0].paused, 1);
    change = board_prepare(&s->board, s->system, &pause, &error);
    assert_int_equal(board_send(&s->board, change), STEP_GONE); /* it is already */
    talloc_free(change);
    /* an idle worker looks at it when its BLPOP ends: it sets itself suspended */
    scene_say(
        s, "m",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",2],\"id\":\"m\"}");
    assert_true(redis_box_await(s->box, 20, "suspended", "HGET", "rq:worker:one", "state"));
    scene_say(
        s, "n",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",3],\"id\":\"n\"}");
    char *ran = redis_box_ask(s->box, "LINDEX", "test:ran", "-1");
    assert_string_not_equal(ran, "ok acme 3");
    free(ran);
    change = board_prepare(&s->board, s->system, &resume, &error);
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 20, "ok acme 3", "LINDEX", "test:ran", "-1"));
}

static void a_scheduled_job_runs_now_and_a_worker_shuts_down(void **state)
{
    struct scene *s = *state;
    struct error error;
    size_t count;
    start_rq(s);
    scene_say(
        s, "o",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",7],\"id\":\"o\",\"in_"
        "s\":3600}");
    scene_open(s, "rq");
    start_worker(s, "one", "default");
    struct job *jobs = scene_jobs(s, "default", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(scene_act(s, ACT_RUN_NOW, jobs, 1), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "ok acme 7", "LINDEX", "test:ran", "-1"));
    talloc_free(jobs);
    struct change *change =
        board_prepare(&s->board, s->system,
                      &(struct queue_act_request){
                          .act = ACT_SHUTDOWN, .workers = (const char *[]){"one"}, .worker_count = 1},
                      &error);
    assert_non_null(change);
    assert_true(change_confirmed(change, "one"));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 20, "0", "SCARD", "rq:workers"));
    /* what waits is cancelled */
    scene_say(
        s, "p",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",8],\"id\":\"p\"}");
    jobs = scene_jobs(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(scene_act(s, ACT_DISCARD, jobs, count), STEP_DONE);
    scene_say(s, "canceled", "{\"op\":\"status\",\"id\":\"p\"}");
    talloc_free(jobs);
    assert_non_null(queue_system_act_absent(s->system, ACT_DRAIN));
    assert_non_null(queue_system_part_absent(s->system, PART_SCHEDULE));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, scene_end)
    const struct CMUnitTest tests[] = {
        CASE(a_queue_at_rest_is_read_as_it_is),
        CASE(failures_have_exception_and_place),
        CASE(a_killed_workers_record_is_a_ghost),
        CASE(members_of_version_2_hold_an_execution),
        CASE(figures_are_those_of_rq),
        CASE(a_failed_job_is_retried_and_lives),
        CASE(what_ran_meanwhile_is_told),
        CASE(a_running_job_is_stopped),
        CASE(a_killed_workers_job_is_put_back),
        CASE(all_workers_are_suspended_and_go_on),
        CASE(a_scheduled_job_runs_now_and_a_worker_shuts_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
