/* BullMQ 5 and 6: captured contents, and real workers: our figures against its own, and what a worker does
 * after each act. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/bullmq.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/dump.h"
#include "tests/harness/scene.h"
#include "tests/harness/watcher.h"

static int set_up(void **state)
{
    struct scene *s = scene_new("maxmemory-policy noeviction\n");
    setenv("NPM_MODULES", TEST_ROOT "/build/npm/node_modules", 1);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

/* What npm gives is got once, and never skipped. */
static int get_packages(void **state)
{
    (void)state;
    if (system(TEST_ROOT "/tools/npm-packages bullmq5=bullmq@5.81.5 bullmq6=bullmq@6.7.0") != 0) {
        fprintf(stderr, "BullMQ could not be got from npm: tools/npm-packages\n");
        return -1;
    }
    return 0;
}

static void start_partner(struct scene *s)
{
    char port[12];
    snprintf(port, sizeof port, "%d", redis_box_port(s->box));
    s->partner = partner_start(
        (const char *[]){"node", TEST_ROOT "/tests/data/queues/bullmq_app/partner.js", s->module, port, NULL},
        NULL);
}

static pid_t start_worker(struct scene *s, const char *queue)
{
    char port[12];
    snprintf(port, sizeof port, "%d", redis_box_port(s->box));
    return keeper_run(s->keeper,
                      (const char *[]){"node", TEST_ROOT "/tests/data/queues/bullmq_app/worker.js", s->module,
                                       port, queue, NULL},
                      s->log);
}

static enum step_outcome act_on_queue(struct scene *s, enum queue_act act, const char *queue)
{
    struct change *change = scene_prepare(s, &(struct queue_act_request){.act = act, .queue = queue});
    assert_true(change_confirmed(change, queue));
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

static void expect_counts(struct scene *s, const char *name)
{
    char line[100], ours[100];
    const struct queue *queue = board_queue(&s->board, s->system, name);
    snprintf(ours, sizeof ours, "%lld %lld %lld %lld %lld %lld", (long long)queue->ready,
             (long long)queue->running, (long long)queue->scheduled, (long long)queue->failed,
             (long long)queue->done, (long long)queue->waiting);
    snprintf(line, sizeof line, "{\"op\":\"counts\",\"queue\":\"%s\"}", name);
    scene_say(s, ours, line);
}

/* ---- captured contents ---- */

/* In the dump of 6 it was paused while a job ran: nothing waits. */
static void expect_paused(struct scene *s, const char *file, int64_t ready)
{
    size_t count;
    dump_load(s->box, file);
    scene_open(s, "bullmq");
    const struct queue *queue = board_queue(&s->board, s->system, "invoices");
    assert_int_equal(queue->paused, 1);
    assert_int_equal(queue->ready, ready);
    assert_int_equal(queue->waiting, 1);
    struct job *jobs = scene_jobs(s, "invoices", JOB_READY, NULL, &count);
    assert_int_equal(count, ready);
    if (ready) {
        assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
        assert_string_equal(jobs[0].id, "bq-lifo-1");
        assert_string_equal(jobs[1].id, "bq-ok-1");
        assert_string_equal(jobs[1].task, "issue-invoice");
        assert_string_equal(jobs[1].tenant, "acme_sa");
        assert_string_equal(jobs[1].arguments, "{tenant: str, id: number, note: str}");
        assert_string_equal(jobs[5].id, "bq-prio-2"); /* after those without a priority */
    }
    talloc_free(jobs);
}

static void a_paused_queue_of_6_is_read(void **state)
{
    expect_paused(*state, "bullmq/paused.jsonl", 0);
}
static void a_paused_queue_of_5_is_read(void **state)
{
    expect_paused(*state, "bullmq/v5_paused.jsonl", 7);
}

static void what_runs_failed_and_waits_is_read(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "bullmq/running.jsonl");
    scene_open(s, "bullmq");
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].id, "bq-slow-1");
    assert_false(workers->running[0].flags & JOB_ORPHANED);
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 1);
    assert_string_equal(failures->failures[0].exception, "Error");
    assert_non_null(strstr(failures->failures[0].frame, "bq.js:"));
    assert_string_equal(failures->failures[0].tenant, "globex");
    struct job *jobs = scene_jobs(s, "invoices", JOB_RETRYING, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].id, "bq-retry-1");
    assert_true(jobs[0].eta > 1795262000 && jobs[0].eta < 1795263000);
    talloc_free(jobs);
    jobs = scene_jobs(s, "invoices", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 2);
    talloc_free(jobs);
    const struct schedule_snapshot *schedule = board_part(&s->board, s->system, PART_SCHEDULE);
    assert_int_equal(schedule->count, 1);
    assert_string_equal(schedule->entries[0].name, "nightly");
    assert_string_equal(schedule->entries[0].task, "nightly-rollup");
    assert_string_equal(schedule->entries[0].when, "0 3 * * * Asia/Riyadh");
    assert_float_equal(schedule->entries[0].next_run, 1795305600, 1);
    jobs = scene_jobs(s, "invoices", JOB_FAILED, NULL, &count);
    char *facts = board_job(&s->board, s->system, jobs);
    assert_non_null(strstr(facts, "Arguments/data (secret): {\"tenant\":\"globex\""));
    assert_non_null(strstr(facts, "Traceback/: Error: "));
    talloc_free(facts);
    talloc_free(jobs);
}

static void a_killed_workers_job_is_an_orphan(void **state)
{
    struct scene *s = *state;
    dump_load(s->box, "bullmq/orphaned_kill9.jsonl");
    redis_box_do(s->box, "DEL", "bull:invoices:bq-slow-1:lock"); /* its 30 s are over */
    scene_open(s, "bullmq");
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_true(workers->running[0].flags & JOB_ORPHANED);
}

static void an_unknown_version_is_not_paused(void **state)
{
    struct scene *s = *state;
    redis_box_do(s->box, "HSET", "bull:odd:meta", "version", "bullmq-pro:9.1.0");
    redis_box_do(s->box, "LPUSH", "bull:odd:wait", "1");
    scene_open(s, "bullmq");
    assert_int_equal(act_on_queue(s, ACT_PAUSE, "odd"), STEP_FAILED);
    assert_non_null(strstr(s->board.report, "5 or 6"));
    assert_true(redis_box_await(s->box, 1, "0", "HEXISTS", "bull:odd:meta", "paused"));
}

/* ---- real workers, both versions ---- */

static void check_figures(struct scene *s)
{
    start_partner(s);
    scene_say(s, "a",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":1},"
              "\"options\":{\"jobId\":\"a\"}}");
    scene_say(
        s, "b",
        "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"fail\",\"data\":{\"tenant\":\"acme\"},\"options\":{"
        "\"jobId\":\"b\"}}");
    scene_say(s, "c",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"globex\",\"id\":2},"
              "\"options\":{\"jobId\":\"c\",\"priority\":3}}");
    scene_say(s, "d",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"globex\",\"id\":3},"
              "\"options\":{\"jobId\":\"d\",\"delay\":3600000}}");
    scene_say(s, "e",
              "{\"op\":\"add\",\"queue\":\"pdf\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":4},"
              "\"options\":{\"jobId\":\"e\"}}");
    scene_open(s, "bullmq");
    expect_counts(s, "mail");
    expect_counts(s, "pdf");
    const struct queue *queue = board_queue(&s->board, s->system, "mail");
    assert_int_equal(queue->consumers, 0);
    assert_int_equal(queue->level, QUEUE_CRITICAL);
    assert_int_equal(queue->ready, 3);
    start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "bull:mail:failed"));
    assert_true(redis_box_await(s->box, 30, "2", "ZCARD", "bull:mail:completed"));
    expect_counts(s, "mail");
    scene_say(s, "1", "{\"op\":\"workers\",\"queue\":\"mail\"}");
    queue = board_queue(&s->board, s->system, "mail");
    assert_int_equal(queue->consumers, 1);
    assert_true(queue->out_per_s > 0);
    const struct failures_snapshot *failures = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failures->count, 1);
    assert_string_equal(failures->failures[0].exception, "TypeError");
    assert_string_equal(failures->failures[0].message, "no report of acme");
    assert_non_null(strstr(failures->failures[0].frame, "worker.js:"));
}

static void check_retry(struct scene *s)
{
    struct error error;
    size_t count;
    start_partner(s);
    scene_say(s, "a",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"flaky\",\"data\":{\"tenant\":\"acme\",\"id\":7},"
              "\"options\":{\"jobId\":\"a\"}}");
    scene_say(s, "b",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"flaky\",\"data\":{\"tenant\":\"acme\",\"id\":8},"
              "\"options\":{\"jobId\":\"b\",\"priority\":2}}");
    scene_open(s, "bullmq");
    start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "2", "ZCARD", "bull:mail:failed"));
    struct job *jobs = scene_jobs(s, "mail", JOB_FAILED, NULL, &count);
    assert_int_equal(count, 2);
    redis_box_do(s->box, "SET", "test:works", "1");
    struct change *change =
        scene_prepare(s, &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 2});
    assert_int_equal(change->step_count, 2);
    assert_true(change_confirmed(change, "2"));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 20, "2", "ZCARD", "bull:mail:completed"));
    assert_true(redis_box_await(s->box, 5, "2", "LLEN", "test:ran"));
    /* they are no longer what was seen */
    assert_null(board_prepare(&s->board, s->system,
                              &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 2},
                              &error));
    assert_int_equal(error.kind, ERROR_GONE);
    expect_counts(s, "mail");
    talloc_free(jobs);
}

static void check_gone(struct scene *s)
{
    size_t count;
    start_partner(s);
    scene_say(
        s, "a",
        "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"fail\",\"data\":{\"tenant\":\"acme\"},\"options\":{"
        "\"jobId\":\"a\"}}");
    scene_open(s, "bullmq");
    start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "bull:mail:failed"));
    struct job *jobs = scene_jobs(s, "mail", JOB_FAILED, NULL, &count);
    assert_int_equal(count, 1);
    struct change *change =
        scene_prepare(s, &(struct queue_act_request){.act = ACT_DISCARD, .jobs = jobs, .job_count = 1});
    char *before = redis_box_ask(s->box, "HGET", "bull:mail:a", "finishedOn");
    scene_say(s, "ok", "{\"op\":\"retry\",\"queue\":\"mail\",\"id\":\"a\"}");
    assert_true(redis_box_await(s->box, 20, "1", "ZCARD", "bull:mail:failed"));
    char *after = redis_box_ask(s->box, "HGET", "bull:mail:a", "finishedOn");
    assert_string_not_equal(before, after);
    assert_int_equal(board_send(&s->board, change), STEP_GONE); /* it failed once more meanwhile */
    talloc_free(change);
    free(before);
    free(after);
    talloc_free(jobs);
    jobs = scene_jobs(s, "mail", JOB_FAILED, NULL, &count);
    assert_int_equal(scene_act(s, ACT_DISCARD, jobs, 1), STEP_DONE);
    scene_say(s, "unknown", "{\"op\":\"state\",\"queue\":\"mail\",\"id\":\"a\"}");
    talloc_free(jobs);
}

static void check_pause(struct scene *s)
{
    start_partner(s);
    scene_say(s, "a",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":1},"
              "\"options\":{\"jobId\":\"a\"}}");
    scene_open(s, "bullmq");
    start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "bull:mail:completed"));
    assert_int_equal(board_queue(&s->board, s->system, "mail")->paused, 0);
    assert_int_equal(act_on_queue(s, ACT_PAUSE, "mail"), STEP_DONE);
    assert_int_equal(act_on_queue(s, ACT_PAUSE, "mail"), STEP_GONE);
    scene_say(s, "true", "{\"op\":\"paused\",\"queue\":\"mail\"}");
    scene_say(s, "b",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":2},"
              "\"options\":{\"jobId\":\"b\"}}");
    scene_say(s, "c",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":3},"
              "\"options\":{\"jobId\":\"c\",\"priority\":1}}");
    assert_int_equal(board_queue(&s->board, s->system, "mail")->ready, 2);
    expect_counts(s, "mail");
    assert_true(redis_box_await(s->box, 1, "1", "LLEN", "test:ran"));
    assert_int_equal(act_on_queue(s, ACT_RESUME, "mail"), STEP_DONE);
    scene_say(s, "false", "{\"op\":\"paused\",\"queue\":\"mail\"}");
    assert_true(redis_box_await(s->box, 20, "3", "LLEN", "test:ran"));
    /* what its library paused with jobs in it, we resume; and the other way round */
    scene_say(s, "ok", "{\"op\":\"pause\",\"queue\":\"mail\"}");
    scene_say(s, "d",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":4},"
              "\"options\":{\"jobId\":\"d\"}}");
    assert_int_equal(act_on_queue(s, ACT_RESUME, "mail"), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "4", "LLEN", "test:ran"));
    assert_int_equal(act_on_queue(s, ACT_PAUSE, "mail"), STEP_DONE);
    scene_say(s, "e",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":5},"
              "\"options\":{\"jobId\":\"e\"}}");
    scene_say(s, "ok", "{\"op\":\"resume\",\"queue\":\"mail\"}");
    assert_true(redis_box_await(s->box, 20, "5", "LLEN", "test:ran"));
}

/* Jobs that wait when the queue is paused are there when it is resumed, and a retry under a pause waits too.
 */
static void check_pause_with_jobs(struct scene *s)
{
    size_t count;
    start_partner(s);
    scene_say(s, "f",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"flaky\",\"data\":{\"tenant\":\"acme\",\"id\":9},"
              "\"options\":{\"jobId\":\"f\"}}");
    scene_open(s, "bullmq");
    pid_t pid = start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "bull:mail:failed"));
    kill(pid, SIGKILL);
    scene_say(s, "a",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":1},"
              "\"options\":{\"jobId\":\"a\"}}");
    scene_say(s, "b",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":2},"
              "\"options\":{\"jobId\":\"b\"}}");
    assert_int_equal(act_on_queue(s, ACT_PAUSE, "mail"), STEP_DONE);
    struct job *jobs = scene_jobs(s, "mail", JOB_FAILED, NULL, &count);
    assert_int_equal(scene_act(s, ACT_RETRY, jobs, count), STEP_DONE);
    talloc_free(jobs);
    expect_counts(s, "mail");
    assert_int_equal(board_queue(&s->board, s->system, "mail")->ready, 3);
    redis_box_do(s->box, "SET", "test:works", "1");
    start_worker(s, "mail");
    assert_int_equal(act_on_queue(s, ACT_RESUME, "mail"), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "3", "LLEN", "test:ran"));
    assert_true(redis_box_await(s->box, 1, "flaky acme 9", "LINDEX", "test:ran", "-1"));
}

static void check_promote(struct scene *s)
{
    size_t count;
    start_partner(s);
    scene_say(s, "a",
              "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"ok\",\"data\":{\"tenant\":\"acme\",\"id\":6},"
              "\"options\":{\"jobId\":\"a\",\"delay\":3600000}}");
    free(partner_ask(s->partner, "{\"op\":\"scheduler\",\"queue\":\"mail\",\"id\":\"nightly\",\"repeat\":{"
                                 "\"every\":86400000},\"name\":\"ok\",\"data\":{\"tenant\":\"all\"}}"));
    free(partner_ask(s->partner,
                     "{\"op\":\"scheduler\",\"queue\":\"mail\",\"id\":\"cron\",\"repeat\":{"
                     "\"pattern\":\"0 3 1 1 *\"},\"name\":\"ok\",\"data\":{\"tenant\":\"all\"}}"));
    scene_open(s, "bullmq");
    struct job *jobs = scene_jobs(s, "mail", JOB_SCHEDULED, "id=a", &count);
    assert_int_equal(count, 1);
    start_worker(s, "mail");
    assert_int_equal(scene_act(s, ACT_RUN_NOW, jobs, 1), STEP_DONE);
    talloc_free(jobs);
    assert_true(redis_box_await(s->box, 30, "1", "EXISTS", "bull:mail:completed"));
    const struct schedule_snapshot *schedule = board_part(&s->board, s->system, PART_SCHEDULE);
    assert_int_equal(schedule->count, 2);
    /* the next job of a scheduler is not taken away from it */
    jobs = scene_jobs(s, "mail", JOB_SCHEDULED, "flag:periodic", &count);
    assert_true(count >= 1);
    assert_int_equal(scene_act(s, ACT_DISCARD, jobs, 1), STEP_FAILED);
    assert_non_null(strstr(s->board.report, "scheduler"));
    talloc_free(jobs);
}

static void check_killed(struct scene *s)
{
    size_t count;
    start_partner(s);
    scene_say(
        s, "a",
        "{\"op\":\"add\",\"queue\":\"mail\",\"name\":\"slow\",\"data\":{\"tenant\":\"acme\",\"ms\":3000},"
        "\"options\":{\"jobId\":\"a\"}}");
    scene_open(s, "bullmq");
    pid_t pid = start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "slow acme 0", "LINDEX", "test:ran", "0"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->count, 1);
    assert_string_equal(workers->workers[0].queues, "mail");
    assert_int_equal(workers->running_count, 1);
    assert_string_equal(workers->running[0].id, "a");
    struct job *jobs = scene_jobs(s, "mail", JOB_RUNNING, NULL, &count);
    assert_int_equal(scene_act(s, ACT_REQUEUE, jobs, 1), STEP_FAILED);
    assert_non_null(strstr(s->board.report, "lock"));
    kill(pid, SIGKILL);
    assert_true(redis_box_await(s->box, 10, "0", "EXISTS", "bull:mail:a:lock"));
    workers = board_part(&s->board, s->system, PART_WORKERS);
    assert_int_equal(workers->running_count, 1);
    assert_true(workers->running[0].flags & JOB_ORPHANED);
    assert_int_equal(scene_act(s, ACT_REQUEUE, jobs, 1), STEP_DONE);
    start_worker(s, "mail");
    assert_true(redis_box_await(s->box, 30, "slow ended acme", "LINDEX", "test:ran", "-1"));
    expect_counts(s, "mail");
    talloc_free(jobs);
}

#define BOTH(name)                                                                                           \
    static void name##_5(void **state)                                                                       \
    {                                                                                                        \
        struct scene *s = *state;                                                                            \
        s->module = "bullmq5";                                                                               \
        check_##name(s);                                                                                     \
    }                                                                                                        \
    static void name##_6(void **state)                                                                       \
    {                                                                                                        \
        struct scene *s = *state;                                                                            \
        s->module = "bullmq6";                                                                               \
        check_##name(s);                                                                                     \
    }
BOTH(figures)
BOTH(retry)
BOTH(gone)
BOTH(pause)
BOTH(pause_with_jobs)
BOTH(promote)
BOTH(killed)

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, scene_end)
    const struct CMUnitTest tests[] = {
        CASE(a_paused_queue_of_6_is_read),
        CASE(a_paused_queue_of_5_is_read),
        CASE(what_runs_failed_and_waits_is_read),
        CASE(a_killed_workers_job_is_an_orphan),
        CASE(an_unknown_version_is_not_paused),
        CASE(figures_5),
        CASE(figures_6),
        CASE(retry_5),
        CASE(retry_6),
        CASE(gone_5),
        CASE(gone_6),
        CASE(pause_5),
        CASE(pause_6),
        CASE(pause_with_jobs_5),
        CASE(pause_with_jobs_6),
        CASE(promote_5),
        CASE(promote_6),
        CASE(killed_5),
        CASE(killed_6),
    };
    return cmocka_run_group_tests(tests, get_packages, NULL);
}
