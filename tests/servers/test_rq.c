/* RQ: captured contents, and real workers: our figures against RQ's own, and what a worker does after each
 * act. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/rq.h"
#include "tests/harness/board.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/dump.h"
#include "tests/harness/keeper.h"
#include "tests/harness/partner.h"
#include "tests/harness/watcher.h"

struct scene {
    struct redis_box *box;
    char *url, *act_url, folder[64], log[100];
    struct board board;
    struct queue_system *system;
    struct partner *rq;
    struct keeper *keeper;
    const char *key, *expected; /* of a condition */
    const char *worker;
};

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    strcpy(s->folder, "/tmp/test_rq.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->log, sizeof s->log, "%s/log", s->folder);
    s->box = redis_box_start(NULL);
    s->url = redis_box_url(s->box, 0, NULL);
    s->act_url = redis_box_url(s->box, 0, REDIS_BOX_ACT);
    setenv("JOBS_REDIS", s->url, 1);
    setenv("PYTHONPATH", TEST_ROOT "/tests/data/queues/rq_app", 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    if (s->board.loop)
        board_end(&s->board);
    partner_end(s->rq);
    keeper_free(s->keeper);
    redis_box_free(s->box);
    free(s->url);
    free(s->act_url);
    free(s);
    return 0;
}

static void open_board(struct scene *s)
{
    board_start_redis(&s->board, s->url, s->act_url, NULL, 0);
    s->system = board_system(&s->board, "rq");
}

static void start_rq(struct scene *s)
{
    s->rq = partner_start(
        (const char *[]){"/usr/bin/python3", TEST_ROOT "/tests/data/queues/rq_app/partner.py", s->url, NULL},
        NULL);
}

static void say(struct scene *s, const char *expected, const char *line)
{
    char *answer = partner_ask(s->rq, line);
    assert_string_equal(answer, expected);
    free(answer);
}

static pid_t start_worker(struct scene *s, const char *name, const char *queue)
{
    pid_t pid = keeper_run(
        s->keeper,
        (const char *[]){"rq", "worker", "-u", s->url, "-n", name, "--with-scheduler", queue, NULL}, s->log);
    char channel[100];
    snprintf(channel, sizeof channel, "rq:pubsub:%s", name);
    if (!redis_box_await(s->box, 20, channel, "PUBSUB", "CHANNELS", channel)) {
        char command[160];
        snprintf(command, sizeof command, "tail -20 %s >&2", s->log);
        (void)!system(command);
        fail_msg("the worker %s does not start", name);
    }
    return pid;
}

static struct job *jobs_in(struct scene *s, const char *queue, enum job_state state, const char *filter,
                           size_t *count)
{
    return board_read(&s->board, s->system,
                      (struct queue_read_request){.queue = queue, .states = 1u << state, .limit = 100},
                      filter, count, NULL);
}

static enum step_outcome act_on(struct scene *s, enum queue_act act, const struct job *jobs, size_t count)
{
    struct error error;
    struct change *change =
        board_prepare(&s->board, s->system,
                      &(struct queue_act_request){.act = act, .jobs = jobs, .job_count = count}, &error);
    if (!change)
        fail_msg("%s", error.why);
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

/* ---- captured contents ---- */

static void a_queue_at_rest_is_read_as_it_is(void **state)
{
    struct scene *s = *state;
    size_t count;
    assert_true(dump_load(s->box, "rq/queued.jsonl") > 10);
    open_board(s);
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    char *length = redis_box_ask(s->box, "LLEN", "rq:queue:default");
    assert_int_equal(queue->ready, atoi(length));
    free(length);
    assert_true(queue->head_age_s > 0);
    assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
    assert_int_equal(queue->level, QUEUE_CRITICAL); /* nobody takes from it */
    assert_int_equal(queue->scheduled, 1);
    assert_int_equal(queue->waiting, 1);
    struct job *jobs = jobs_in(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, queue->ready);
    assert_string_equal(jobs[0].id, "rq-ok-1");
    assert_string_equal(jobs[0].task, "rqjobs.issue_invoice");
    assert_string_equal(jobs[0].tenant, "acme_sa");
    assert_int_equal(jobs[0].index, 0);
    assert_true(jobs[0].flags & JOB_PICKLED);
    assert_string_equal(jobs[1].arguments, "(str, str)");
    talloc_free(jobs);
    jobs = jobs_in(s, "default", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_true(jobs[0].eta > 1795000000);
    talloc_free(jobs);
    jobs = jobs_in(s, "jsonq", JOB_READY, NULL, &count);
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
    open_board(s);
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
    struct job *jobs = jobs_in(s, "default", JOB_FAILED, "id=rq-fail-1", &count);
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
    open_board(s);
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
    open_board(s);
    struct job *jobs = jobs_in(s, "default", JOB_RUNNING, NULL, &count);
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
    say(s, ours, line);
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
    say(s, "a",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",1],\"id\":\"a\"}");
    say(s, "b",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"b\","
        "\"meta\":{\"_schema_name\":\"acme\"}}");
    say(s, "c",
        "{\"op\":\"enqueue\",\"queue\":\"high\",\"name\":\"ok\",\"args\":[\"globex\",2],\"id\":\"c\"}");
    say(s, "d",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"globex\",3],\"id\":\"d\","
        "\"depends\":\"b\"}");
    say(s, "e",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"globex\",4],\"id\":\"e\",\"in_"
        "s\":3600}");
    open_board(s);
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
    say(s, "f",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"flaky\",\"args\":[\"acme\"],\"id\":\"f\"}");
    open_board(s);
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "rq:failed:default"));
    struct job *jobs = jobs_in(s, "default", JOB_FAILED, NULL, &count);
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
    say(s, "g",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"g\"}");
    say(s, "h",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"fail\",\"args\":[\"acme\"],\"id\":\"h\"}");
    open_board(s);
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
    say(s, "ok", "{\"op\":\"requeue\",\"id\":\"g\"}");
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
    struct job *jobs = jobs_in(s, "default", JOB_FAILED, "id=g", &count);
    assert_int_equal(act_on(s, ACT_DISCARD, jobs, count), STEP_DONE);
    assert_true(redis_box_await(s->box, 1, "0", "EXISTS", "rq:job:g", "rq:results:g"));
    talloc_free(jobs);
}

static void a_running_job_is_stopped(void **state)
{
    struct scene *s = *state;
    start_rq(s);
    say(s, "i",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"slow\",\"args\":[\"acme\",60],\"id\":\"i\"}");
    open_board(s);
    start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "slow acme", "LINDEX", "test:ran", "0"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].id, "i");
    assert_string_equal(workers->running[0].worker, "one");
    assert_int_equal(workers->workers[0].state, WORKER_BUSY);
    struct job *job = job_copy(NULL, &workers->running[0]);
    assert_int_equal(act_on(s, ACT_TERMINATE, job, 1), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "rq:failed:default"));
    say(s, "stopped", "{\"op\":\"status\",\"id\":\"i\"}");
    /* and the worker goes on */
    say(s, "j",
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
    say(s, "k",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"slow\",\"args\":[\"acme\",2],\"id\":\"k\"}");
    open_board(s);
    pid_t pid = start_worker(s, "one", "default");
    assert_true(redis_box_await(s->box, 20, "slow acme", "LINDEX", "test:ran", "0"));
    struct job *jobs = jobs_in(s, "default", JOB_RUNNING, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(act_on(s, ACT_REQUEUE, jobs, 1), STEP_FAILED); /* its worker lives */
    assert_non_null(strstr(s->board.report, "alive"));
    size_t family = keeper_family(s->keeper, pid, children, 8);
    kill(pid, SIGKILL);
    for (size_t i = 0; i < family; i++)
        kill(children[i], SIGKILL);
    assert_true(redis_box_await(s->box, 20, "", "PUBSUB", "CHANNELS", "rq:pubsub:one"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->workers[0].state, WORKER_GHOST);
    assert_int_equal(act_on(s, ACT_REQUEUE, jobs, 1), STEP_DONE);
    start_worker(s, "two", "default");
    assert_true(redis_box_await(s->box, 30, "slow ended acme", "LINDEX", "test:ran", "-1"));
    talloc_free(jobs);
}

static void all_workers_are_suspended_and_go_on(void **state)
{
    struct scene *s = *state;
    struct error error;
    start_rq(s);
    say(s, "l",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",1],\"id\":\"l\"}");
    open_board(s);
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
    say(s, "m",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",2],\"id\":\"m\"}");
    assert_true(redis_box_await(s->box, 20, "suspended", "HGET", "rq:worker:one", "state"));
    say(s, "n",
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
    say(s, "o",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",7],\"id\":\"o\",\"in_"
        "s\":3600}");
    open_board(s);
    start_worker(s, "one", "default");
    struct job *jobs = jobs_in(s, "default", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(act_on(s, ACT_RUN_NOW, jobs, 1), STEP_DONE);
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
    say(s, "p",
        "{\"op\":\"enqueue\",\"queue\":\"default\",\"name\":\"ok\",\"args\":[\"acme\",8],\"id\":\"p\"}");
    jobs = jobs_in(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(act_on(s, ACT_DISCARD, jobs, count), STEP_DONE);
    say(s, "canceled", "{\"op\":\"status\",\"id\":\"p\"}");
    talloc_free(jobs);
    assert_non_null(queue_system_act_absent(s->system, ACT_DRAIN));
    assert_non_null(queue_system_part_absent(s->system, PART_SCHEDULE));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
