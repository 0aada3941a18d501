/* Sidekiq: captured contents, and real processes: our figures against its API, and what a process does after
 * each act. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/sidekiq.h"
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
    struct partner *sidekiq;
    struct keeper *keeper;
    /* of a condition */
    enum worker_state state;
};

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    strcpy(s->folder, "/tmp/test_sidekiq.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->log, sizeof s->log, "%s/log", s->folder);
    s->box = redis_box_start(NULL);
    s->url = redis_box_url(s->box, 0, NULL);
    s->act_url = redis_box_url(s->box, 0, REDIS_BOX_ACT);
    setenv("REDIS_URL", s->url, 1);
    s->keeper = keeper_start(s->folder); /* it hands the environment on */
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    if (s->board.loop)
        board_end(&s->board);
    partner_end(s->sidekiq);
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
    s->system = board_system(&s->board, "sidekiq");
}

static void start_partner(struct scene *s)
{
    s->sidekiq = partner_start(
        (const char *[]){"/usr/bin/ruby", TEST_ROOT "/tests/data/queues/sidekiq_app/partner.rb", NULL}, NULL);
}

static void say(struct scene *s, const char *expected, const char *line)
{
    char *answer = partner_ask(s->sidekiq, line);
    assert_string_equal(answer, expected);
    free(answer);
}

/* The jid. */
static char *push(struct scene *s, const char *line)
{
    char *id = partner_ask(s->sidekiq, line);
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
        char command[160];
        snprintf(command, sizeof command, "tail -20 %s >&2", s->log);
        (void)!system(command);
        fail_msg("Sidekiq does not start");
    }
    return pid;
}

static struct job *jobs_in(struct scene *s, const char *queue, enum job_state state, const char *filter,
                           size_t *count)
{
    return board_read(
        &s->board, s->system,
        (struct queue_read_request){.queue = queue, .states = 1u << state, .limit = 100, .keep_raw = true},
        filter, count, NULL);
}

static struct change *prepare(struct scene *s, const struct queue_act_request *request)
{
    struct error error;
    struct change *change = board_prepare(&s->board, s->system, request, &error);
    if (!change)
        fail_msg("%s", error.why);
    return change;
}

static enum step_outcome act_on(struct scene *s, enum queue_act act, const struct job *jobs, size_t count)
{
    struct change *change =
        prepare(s, &(struct queue_act_request){.act = act, .jobs = jobs, .job_count = count});
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

/* ---- captured contents ---- */

static void queues_at_rest_are_read_as_they_are(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "sidekiq/queued.jsonl");
    open_board(s);
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
    struct job *jobs = jobs_in(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, 2);
    assert_string_equal(jobs[0].id, "adfe570b5443c96618c9e853"); /* the head is on the right */
    assert_string_equal(jobs[0].task, "InvoiceJob");
    assert_string_equal(jobs[0].arguments, "(str, number)");
    assert_int_equal(jobs[0].retries_max, 5);
    assert_int_equal(jobs[1].retries_max, 25);
    assert_float_equal(jobs[0].enqueued_at, 1795262321.7018201, 0.001);
    talloc_free(jobs);
    jobs = jobs_in(s, "default", JOB_SCHEDULED, "tenant=acme_sa", &count);
    assert_int_equal(count, 1);
    assert_float_equal(jobs[0].eta, 1795265921.7, 0.1);
    talloc_free(jobs);
    jobs = jobs_in(s, "exports", JOB_READY, "task:ExportJob", &count);
    assert_int_equal(count, 1);
    talloc_free(jobs);
}

static void failures_of_retried_and_dead_jobs_are_grouped(void **state)
{
    struct scene *s = *state;
    size_t count;
    dump_load(s->box, "sidekiq/running_retry_dead.jsonl");
    open_board(s);
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
    struct job *jobs = jobs_in(s, "exports", JOB_RETRYING, NULL, &count);
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
    open_board(s);
    struct job *jobs = jobs_in(s, "default", JOB_READY, NULL, &count);
    assert_int_equal(count, 3);
    assert_int_equal(jobs[0].poison, POISON_B);
    assert_int_equal(jobs[1].poison, POISON_B);
    assert_int_equal(jobs[2].poison, POISON_NONE);
    assert_string_equal(jobs[2].tenant, "t1");
    assert_float_equal(jobs[2].enqueued_at, 1795262321.703, 0.001); /* milliseconds, since 8.0 */
    char *facts = board_job(&s->board, s->system, &jobs[0]);
    assert_non_null(strstr(facts, "not json"));
    talloc_free(facts);
    assert_int_equal(act_on(s, ACT_DISCARD, &jobs[0], 1), STEP_DONE);
    assert_int_equal(act_on(s, ACT_DISCARD, &jobs[0], 1), STEP_GONE);
    redis_box_do(s->box, "ZADD", "dead", "1", "not json");
    talloc_free(jobs);
    jobs = jobs_in(s, NULL, JOB_DEAD, NULL, &count);
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
    open_board(s);
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    snprintf(ours, sizeof ours, "%lld", (long long)queue->ready);
    say(s, ours, "{\"op\":\"size\",\"queue\":\"default\"}");
    char *latency = partner_ask(s->sidekiq, "{\"op\":\"latency\",\"queue\":\"default\"}");
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
        say(s, ours, line);
        assert_int_equal(queue->consumers, 1);
    }
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    snprintf(ours, sizeof ours, "%d %lld false", workers->workers[0].pid,
             (long long)workers->workers[0].active);
    say(s, ours, "{\"op\":\"processes\"}");
}

static void jobs_are_retried_with_no_byte_changed_but_two_numbers(void **state)
{
    struct scene *s = *state;
    size_t count;
    start_partner(s);
    char *id = push(s, "{\"op\":\"push\",\"class\":\"FlakyJob\",\"args\":[\"globex\"]}");
    open_board(s);
    start_process(s);
    assert_true(redis_box_await(s->box, 30, "1", "ZCARD", "retry"));
    struct job *jobs = jobs_in(s, "exports", JOB_RETRYING, "tenant:x", &count);
    assert_int_equal(count, 0);
    talloc_free(jobs);
    jobs = jobs_in(s, "exports", JOB_RETRYING, NULL, &count);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].id, id);
    assert_string_equal(jobs[0].exception, "ArgumentError");
    assert_non_null(strstr(jobs[0].frame, "sidekiq_app/jobs.rb"));
    assert_int_equal(jobs[0].retries, 1);
    redis_box_do(s->box, "SET", "test:works", "1");
    struct change *change =
        prepare(s, &(struct queue_act_request){.act = ACT_RETRY, .jobs = jobs, .job_count = 1});
    assert_true(change_confirmed(change, id + 22));
    char *preview = change_preview(change, change);
    assert_null(strstr(preview, "\"globex\"")); /* payloads are people's data */
    assert_non_null(strstr(preview, "bytes, sha1"));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 20, "flaky globex", "LINDEX", "test:ran", "0"));
    assert_true(redis_box_await(s->box, 5, "0", "ZCARD", "retry"));
    assert_int_equal(act_on(s, ACT_RETRY, jobs, 1), STEP_GONE);
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
    open_board(s);
    start_process(s);
    assert_true(redis_box_await(s->box, 30, "30", "ZCARD", "dead"));
    struct job_filter *filter = job_filter_parse(NULL, "task=DeadJob", &error);
    struct change *change = prepare(s, &(struct queue_act_request){.act = ACT_DISCARD, .filter = filter});
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
    open_board(s);
    start_process(s);
    struct job *jobs = jobs_in(s, NULL, JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(act_on(s, ACT_RUN_NOW, jobs, 1), STEP_DONE);
    assert_true(redis_box_await(s->box, 20, "ok acme 3", "LINDEX", "test:ran", "0"));
    talloc_free(jobs);
}

static bool process_is(void *data)
{
    struct scene *s = data;
    const struct workers_snapshot *workers = s->system->latest[PART_WORKERS];
    feed_refresh(queue_system_feed(s->system, PART_WORKERS));
    return workers && workers->count && workers->workers[0].state == s->state;
}

static bool await_state(struct scene *s, enum worker_state wanted)
{
    s->state = wanted;
    queues_want(s->board.queues, PART_WORKERS, true);
    bool came = loop_until(s->board.loop, 30, process_is, s);
    queues_want(s->board.queues, PART_WORKERS, false);
    return came;
}

static void a_process_is_drained_then_stopped(void **state)
{
    struct scene *s = *state;
    start_partner(s);
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",1]}"));
    open_board(s);
    start_process(s);
    assert_true(redis_box_await(s->box, 20, "ok acme 1", "LINDEX", "test:ran", "0"));
    const struct workers_snapshot *workers = board_part(&s->board, s->system, PART_WORKERS);
    char *identity = talloc_strdup(NULL, workers->workers[0].id);
    struct queue_act_request request = {
        .act = ACT_DRAIN, .workers = (const char *[]){identity}, .worker_count = 1};
    struct change *change = prepare(s, &request);
    assert_true(change_confirmed(change, identity));
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(await_state(s, WORKER_QUIET));
    free(push(s, "{\"op\":\"push\",\"class\":\"OkJob\",\"args\":[\"acme\",2]}"));
    const struct queue *queue = board_queue(&s->board, s->system, "default");
    assert_int_equal(queue->ready, 1);
    assert_int_equal(queue->consumers, 0);
    request.act = ACT_SHUTDOWN;
    change = prepare(s, &request);
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    talloc_free(change);
    assert_true(redis_box_await(s->box, 30, "0", "SCARD", "processes"));
    change = prepare(s, &request);
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
    open_board(s);
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
    say(s, "0", "{\"op\":\"size\",\"queue\":\"default\"}");
    free(identity);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
