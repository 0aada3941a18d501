/* Reading Celery's jobs on a real Redis: windows from both ends, scans of lists that move, samples, finding a
 * job wherever it is, and all that can go wrong meanwhile. */
#include <hiredis/hiredis.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

#define BINDING_END "\x06\x16\x06\x16"
#define TAG "10000000-0000-4000-8000-"

enum { PATIENCE_S = 60, JOBS_MOST = 80000 };

struct stage {
    struct redis_box *box;
    redisContext *redis; /* of the test's own */
    struct loop *loop;
    struct environment environment;
    struct environment_redis definition;
    struct redis_server *server;
    struct queues *queues;
    char *url;
    ev_timer tick;
    double deadline;
    /* what was read */
    unsigned char seen[JOBS_MOST];
    int64_t count;
    int first, last; /* numbers of the first and last job */
    struct job *kept[64];
    size_t kept_count;
    struct queue_read_progress progress;
    struct error error;
    struct job_facts *facts;
    bool done, failed;
    int windows;
    struct queue_read *read;
    void (*meanwhile)(struct stage *s); /* after each window */
    /* a list that moves */
    int pushed, popped;
    bool gone[JOBS_MOST];
    unsigned seed;
};

/* ---- the stage ---- */

static int stage_begin(void **state)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    s->box = redis_box_start(NULL);
    s->redis = redisConnectUnix(redis_box_socket(s->box));
    assert_true(s->redis && !s->redis->err);
    s->loop = loop_new();
    s->url = redis_box_url(s->box, 0, NULL);
    s->definition = (struct environment_redis){.name = "broker", .url = s->url};
    s->environment = (struct environment){
        .name = "test", .kind = ENVIRONMENT_DEVELOPMENT, .redis = &s->definition, .redis_count = 1};
    redis_box_do(s->box, "SADD", "_kombu.binding.celery", "celery" BINDING_END "celery");
    redis_box_do(s->box, "SADD", "_kombu.binding.mail", "mail" BINDING_END "mail");
    *state = s;
    return 0;
}

static int stage_end(void **state)
{
    struct stage *s = *state;
    for (size_t i = 0; i < s->kept_count; i++)
        talloc_free(s->kept[i]);
    redisFree(s->redis);
    queues_stop(s->queues);
    redis_server_free(s->server);
    queues_free(s->queues);
    loop_free(s->loop);
    redis_box_free(s->box);
    free(s->url);
    talloc_free(s);
    return 0;
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct stage *s = timer->data;
    (void)events;
    bool found = s->queues && queues_count(s->queues) > 0 && queues_searched(s->queues);
    if (s->done || (!s->read && found) || clock_monotonic() > s->deadline)
        ev_break(ev, EVBREAK_ALL);
}

static void turn(struct stage *s)
{
    struct ev_loop *ev = loop_ev(s->loop);
    s->deadline = clock_monotonic() + PATIENCE_S;
    ev_now_update(ev);
    ev_timer_init(&s->tick, on_tick, 0.001, 0.001);
    s->tick.data = s;
    ev_timer_start(ev, &s->tick);
    ev_run(ev, 0);
    ev_timer_stop(ev, &s->tick);
}

static struct queue_system *celery(struct stage *s)
{
    if (!s->queues) {
        s->server = redis_server_new(s->loop, &s->environment, &s->definition, NULL, NULL, NULL);
        struct queues_options options = {
            .environment = &s->environment, .redis = &s->server, .redis_count = 1};
        s->queues = queues_new(s->loop, &options);
        queues_want(s->queues, PART_ASIDE, true);
        turn(s);
        queues_want(s->queues, PART_ASIDE, false);
    }
    assert_int_equal(queues_count(s->queues), 1);
    return queues_system(s->queues, 0);
}

/* ---- messages ---- */

static char *message(int number, const char *tenant, const char *headers, const char *body)
{
    char *text;
    assert_true(
        asprintf(
            &text,
            "{\"body\": \"%s\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", "
            "\"headers\": {\"lang\": \"py\", \"task\": \"reports.tasks.report_card\", \"id\": "
            "\"00000000-0000-4000-8000-%012d\", \"retries\": 0, \"_schema_name\": \"%s\"%s}, "
            "\"properties\": {\"correlation_id\": \"x\", \"delivery_mode\": 2, \"delivery_info\": "
            "{\"exchange\": \"\", \"routing_key\": \"celery\"}, \"priority\": 0, \"body_encoding\": "
            "\"base64\", \"delivery_tag\": \"" TAG "%012d\"}}",
            body ? body : "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsfV0=", number, tenant, headers ? headers : "",
            number) > 0);
    return text;
}

static void send_words(struct stage *s, int count, const char **words)
{
    redisReply *reply = redisCommandArgv(s->redis, count, words, NULL);
    assert_true(reply && reply->type != REDIS_REPLY_ERROR);
    freeReplyObject(reply);
}

/* Jobs of these numbers, the last one newest. Every tenth is of al_noor. */
static void push(struct stage *s, const char *key, int first, int count)
{
    const char *words[502] = {"LPUSH", key};
    int used = 2;
    for (int i = 0; i < count; i++) {
        words[used++] = message(first + i, (first + i) % 10 == 0 ? "al_noor" : "st_marys", NULL, NULL);
        if (used == 502 || i + 1 == count) {
            send_words(s, used, words);
            while (used > 2)
                free((void *)(uintptr_t)words[--used]);
        }
    }
}

static void push_text(struct stage *s, const char *key, char *text)
{
    send_words(s, 3, (const char *[]){"LPUSH", key, text});
    free(text);
}

/* ---- reading ---- */

static int number_of(const struct job *job)
{
    return job->id && strlen(job->id) == 36 ? atoi(job->id + 24) : -1;
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct stage *s = data;
    for (size_t i = 0; i < count; i++) {
        int number = number_of(&jobs[i]);
        if (s->count++ == 0)
            s->first = number;
        s->last = number;
        if (number >= 0 && number < JOBS_MOST)
            s->seen[number]++;
        if (s->kept_count < sizeof s->kept / sizeof *s->kept)
            s->kept[s->kept_count++] = job_copy(NULL, &jobs[i]);
    }
}

static void on_progress(void *data, const struct queue_read_progress *progress)
{
    struct stage *s = data;
    s->windows++;
    assert_true(progress->total < 0 || progress->scanned <= progress->total);
    if (s->meanwhile)
        s->meanwhile(s);
}

static void on_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct stage *s = data;
    assert_false(s->done);
    s->progress = *progress;
    s->done = true;
    s->failed = error != NULL;
    if (error)
        s->error = *error;
}

static void begin(struct stage *s, struct queue_read_request request, const char *filter)
{
    struct error error;
    memset(s->seen, 0, sizeof s->seen);
    for (size_t i = 0; i < s->kept_count; i++)
        talloc_free(s->kept[i]);
    s->kept_count = 0;
    s->count = 0;
    s->windows = 0;
    s->done = s->failed = false;
    if (filter)
        request.filter = job_filter_parse(s, filter, &error);
    struct queue_system *system = celery(s);
    s->read =
        queue_read_start(system, &request, (struct queue_read_handler){on_jobs, on_progress, on_done, s});
    assert_false(s->done);
}

static void end(struct stage *s)
{
    turn(s);
    s->read = NULL;
    assert_true(s->done);
}

static void all(struct stage *s, struct queue_read_request request, const char *filter)
{
    begin(s, request, filter);
    end(s);
    if (s->failed)
        fail_msg("%s: %s", s->error.what, s->error.why);
}

static struct queue_read_request ready(enum queue_from from)
{
    return (struct queue_read_request){.queue = "celery", .states = 1u << JOB_READY, .from = from};
}

/* ---- tests ---- */

static void windows_come_from_both_ends(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 1, 100); /* 1 runs next */
    push(s,
         "celery\x06\x16"
         "3",
         200, 5);
    push_text(s, "celery", strdup("not json"));
    push_text(s, "celery", strdup("not json"));
    struct queue_read_request request = ready(FROM_HEAD);
    request.limit = 30;
    request.keep_raw = true;
    all(s, request, NULL);
    assert_int_equal(s->count, 30);
    assert_int_equal(s->first, 1);
    assert_int_equal(s->last, 30);
    assert_true(s->progress.complete && !s->progress.stopped && s->progress.scanned == 30);
    assert_int_equal(s->progress.total, 107);
    assert_int_equal(s->kept[4]->index, 4);
    assert_string_equal(s->kept[9]->tenant, "al_noor");
    assert_string_equal(s->kept[0]->tag, TAG "000000000001");
    assert_string_equal(s->kept[0]->key, "celery");
    char *expected = message(1, "st_marys", NULL, NULL);
    assert_int_equal(s->kept[0]->raw_length, strlen(expected));
    assert_memory_equal(s->kept[0]->raw, expected, strlen(expected));
    free(expected);
    request = ready(FROM_HEAD);
    request.offset = 90;
    all(s, request, NULL);
    assert_int_equal(s->count, 17);
    assert_int_equal(s->first, 91);
    assert_int_equal(s->kept[0]->index, 90);
    assert_int_equal(s->kept[10]->poison, POISON_A);
    assert_int_equal(s->kept[11]->poison, POISON_A);
    assert_int_equal(s->last, 204); /* of the lower priority */
    request = ready(FROM_TAIL);
    request.limit = 8;
    all(s, request, NULL);
    assert_int_equal(s->first, 204);
    assert_int_equal(s->kept[5]->poison, POISON_A);
    assert_int_equal(s->kept[5]->index, 101);
    assert_int_equal(s->last, 100);
    assert_int_equal(s->kept[7]->index, 99);
    request = ready(FROM_TAIL);
    request.offset = 100;
    all(s, request, NULL);
    assert_int_equal(s->count, 7);
    assert_int_equal(s->last, 1);
}

/* Workers take, producers push, a worker gives back: between any two windows. */
static void move(struct stage *s)
{
    static const int pops[] = {0, 7, 0, 40, 300, 0, 1500, 3}, pushes[] = {5, 0, 60, 0, 0, 900, 10, 1};
    int pop = pops[s->windows % 8], more = pushes[s->windows % 8];
    if (s->windows > 60) /* it comes to an end */
        return;
    char count[20];
    snprintf(count, sizeof count, "%d", pop);
    if (pop > 0) {
        redisReply *reply = redisCommand(s->redis, "RPOP celery %s", count);
        for (size_t i = 0; i < reply->elements; i++) {
            const char *tag = strstr(reply->element[i]->str, TAG);
            s->gone[atoi(tag + strlen(TAG))] = true;
            s->popped++;
        }
        freeReplyObject(reply);
    }
    push(s, "celery", 60000 + s->pushed, more);
    s->pushed += more;
}

static void scan_moving(struct stage *s, enum queue_from from, const char *filter)
{
    enum { START = 50000 };
    send_words(s, 2, (const char *[]){"DEL", "celery"});
    memset(s->gone, 0, sizeof s->gone);
    s->pushed = s->popped = 0;
    push(s, "celery", 0, START);
    struct queue_read_request request = ready(from);
    s->meanwhile = move;
    all(s, request, filter);
    s->meanwhile = NULL;
    assert_true(s->popped > 5000 && s->pushed > 2000);
    assert_true(s->progress.complete);
    int64_t there = 0;
    for (int i = 0; i < START; i++) {
        if (filter && i % 10 != 0) {
            assert_int_equal(s->seen[i], 0);
            continue;
        }
        if (!s->gone[i])
            there++;
        if (s->seen[i] != 1 && (!s->gone[i] || s->seen[i] > 1))
            fail_msg("from %d: job %d was seen %d times", (int)from, i, s->seen[i]);
    }
    for (int i = START; i < JOBS_MOST; i++)
        if (s->seen[i] > 1)
            fail_msg("from %d: new job %d was seen %d times", (int)from, i, s->seen[i]);
    assert_true(there > 1000 && s->count >= there);
    assert_true(from == FROM_HEAD || s->progress.repeated > 1000);
}

static void moving_lists_lose_nothing(void **state)
{
    struct stage *s = *state;
    scan_moving(s, FROM_TAIL, NULL);
    scan_moving(s, FROM_HEAD, NULL);
    scan_moving(s, FROM_TAIL, "tenant=al_noor");
    scan_moving(s, FROM_HEAD, "tenant:noor task:report");
}

static void large_messages_come_in_small_windows(void **state)
{
    struct stage *s = *state;
    char *body = malloc(1000 * 1000 + 1);
    memset(body, 'A', 1000 * 1000);
    body[1000 * 1000] = '\0';
    for (int i = 0; i < 40; i++)
        push_text(s, "celery", message(i, "oak", NULL, body));
    free(body);
    redis_box_do(s->box, "CONFIG", "SET", "slowlog-log-slower-than", "20000");
    struct queue_read_request request = ready(FROM_HEAD);
    all(s, request, NULL);
    assert_int_equal(s->count, 40);
    assert_true(s->kept[3]->flags & JOB_BIG && s->kept[3]->size > 1000 * 1000);
    assert_true(s->windows >= 20); /* after the first, one or two at a time */
    request.limit = 3;
    all(s, request, NULL);
    assert_int_equal(s->count, 3);
}

static void a_sample_has_each_job_once(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 30000);
    push(s,
         "celery\x06\x16"
         "6",
         30000, 10000);
    struct queue_read_request request = ready(FROM_ANY);
    request.look = 2000;
    all(s, request, NULL);
    assert_int_equal(s->progress.scanned, 2000);
    assert_int_equal(s->count, 2000);
    assert_int_equal(s->progress.total, 40000);
    int lower = 0, tenth = 0;
    for (int i = 0; i < 40000; i++) {
        assert_true(s->seen[i] <= 1);
        lower += i >= 30000 && s->seen[i];
        tenth += i % 10 == 0 && s->seen[i];
    }
    assert_true(lower > 420 && lower < 580 && tenth > 150 && tenth < 250);
    send_words(s, 2, (const char *[]){"DEL", "celery"});
    request.look = 20000; /* more than there are */
    all(s, request, NULL);
    assert_int_equal(s->count, 10000);
}

static void hold(struct stage *s, int number, const char *queue, const char *headers, const char *since)
{
    char *text = message(number, "oak", headers, NULL), *value, tag[60];
    assert_true(asprintf(&value, "[%s, \"\", \"%s\"]", text, queue) > 0);
    snprintf(tag, sizeof tag, TAG "%012d", number);
    send_words(s, 4, (const char *[]){"HSET", "unacked", tag, value});
    send_words(s, 4, (const char *[]){"ZADD", "unacked_index", since, tag});
    free(text);
    free(value);
}

static void held_jobs_are_told_apart(void **state)
{
    struct stage *s = *state;
    char since[20];
    for (int i = 0; i < 300; i++) {
        snprintf(since, sizeof since, "%d", 1795263753 + i);
        hold(s, i, i < 200 ? "celery" : "mail", NULL, since);
    }
    hold(s, 400, "celery", ", \"eta\": \"2099-01-01T00:00:00+00:00\"", "5");
    hold(s, 401, "celery", ", \"eta\": \"2099-01-01T00:00:00+00:00\", \"retries\": 2", "5");
    send_words(s, 4, (const char *[]){"HSET", "unacked", "broken", "[1"});
    struct queue_read_request request = {.queue = "celery", .states = 1u << JOB_UNACKED};
    all(s, request, NULL);
    assert_int_equal(s->count, 200);
    assert_int_equal(s->progress.scanned, 303);
    for (size_t i = 0; i < s->kept_count; i++) {
        assert_int_equal(s->kept[i]->state, JOB_UNACKED);
        assert_true(s->kept[i]->taken_at == 1795263753 + number_of(s->kept[i]));
        assert_string_equal(s->kept[i]->key, "unacked");
    }
    request.states = 1u << JOB_SCHEDULED;
    all(s, request, NULL);
    assert_int_equal(s->count, 1);
    assert_int_equal(s->first, 400);
    request.states = 1u << JOB_RETRYING;
    request.queue = NULL;
    all(s, request, "tenant=oak");
    assert_int_equal(s->first, 401);
}

/* What the workers told, in place of asking them. */
static const struct celery_answers *told(const struct celery_answers *set)
{
    static const struct celery_answers *kept;
    const struct celery_answers *before = kept;
    kept = set;
    return before;
}

/* The linker's name for it (--wrap). */
/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
const struct celery_answers *__wrap_celery_answers(const struct celery_system *system);
/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
const struct celery_answers *__wrap_celery_answers(const struct celery_system *system)
{
    (void)system;
    const struct celery_answers *answers = told(NULL);
    told(answers);
    return answers;
}

static void holders_are_named(void **state)
{
    struct stage *s = *state;
    for (int i = 0; i < 4; i++)
        hold(s, i, "celery", NULL, "1795263753");
    char late[40];
    snprintf(late, sizeof late, "%.3f", clock_wall() + 60);
    hold(s, 4, "celery", NULL, late); /* taken after they told */
    struct celery_worker_answer worker = {
        .worker = "w1@h",
        .active = json_tokener_parse(
            "[{\"id\": \"00000000-0000-4000-8000-000000000000\", \"time_start\": 1795263800.5}]"),
        .reserved =
            json_tokener_parse("[{\"id\": \"00000000-0000-4000-8000-000000000001\", \"time_start\": null}]"),
        .scheduled = json_tokener_parse(
            "[{\"eta\": \"x\", \"request\": {\"id\": \"00000000-0000-4000-8000-000000000002\"}}]"),
    };
    struct celery_answers answers = {
        .asked_at = clock_wall(), .heard = 1, .workers = &worker, .worker_count = 1};
    struct queue_read_request request = {.queue = "celery", .states = 1u << JOB_UNACKED};
    told(&answers);
    all(s, request, NULL);
    assert_int_equal(s->count, 5);
    for (size_t i = 0; i < 5; i++) {
        const struct job *job = s->kept[i];
        int number = number_of(job);
        if (number < 3)
            assert_string_equal(job->worker, "w1@h");
        else
            assert_null(job->worker);
        assert_true((job->started_at > 0) == (number == 0));
        assert_int_equal((job->flags & JOB_ORPHANED) != 0, number == 3);
    }
    answers.heard = 2; /* one of them is silent, and may have it */
    all(s, request, "flag:orphaned");
    assert_int_equal(s->count, 0);
    told(NULL);
    all(s, request, "worker:w1");
    assert_int_equal(s->count, 0);
    json_object_put(worker.active);
    json_object_put(worker.reserved);
    json_object_put(worker.scheduled);
}

static void a_job_is_found_wherever_it_is(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 1, 500);
    push(s,
         "mail\x06\x16"
         "9",
         1000, 5);
    push_text(s, "mail",
              message(2000, "t_\\u0645\\u0637", NULL, "W1siXHUwNjQ1XHUwNjM3IiwgIlllYXIgOSJdLCB7fSwge31d"));
    push_text(s, "dlq:celery",
              message(3000, "oak",
                      ", \"x_failed_at\": 1795263753.5, \"x_exc\": \"ValueError\", \"x_msg\": \"no\"", NULL));
    push(s, "signalbox:park:celery:20261121T200501-1f3a9c", 4000, 3);
    push(s, "signalbox:trash:celery:20261121T200501-1f3a9c", 5000, 3);
    push(s, "signalbox:park:mail:20261121T200501-1f3a9c", 6000, 3);
    hold(s, 7000, "mail", NULL, "1795263753");
    redis_box_do(
        s->box, "SET", "celery-task-meta-00000000-0000-4000-8000-000000008000",
        "{\"status\": \"FAILURE\", \"task_id\": \"00000000-0000-4000-8000-000000008000\", \"result\": "
        "{\"exc_type\": \"KeyError\", \"exc_message\": [\"'x'\"]}, \"date_done\": \"2026-11-21T12:00:00\", "
        "\"traceback\": \"Traceback\\n  File \\\"/srv/app/tasks.py\\\", line 7, in report\\nKeyError: "
        "'x'\\n\"}");
    static const struct {
        int number;
        enum job_state state;
    } there[] = {{77, JOB_READY},    {1003, JOB_READY},   {2000, JOB_READY},
                 {3000, JOB_DEAD},   {4001, JOB_PARKED},  {5002, JOB_TRASHED},
                 {6000, JOB_PARKED}, {7000, JOB_UNACKED}, {8000, JOB_FAILED}};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        char filter[80];
        snprintf(filter, sizeof filter, "id=00000000-0000-4000-8000-%012d", there[i].number);
        all(s, (struct queue_read_request){.queue = NULL}, filter);
        assert_int_equal(s->count, 1);
        assert_int_equal(s->first, there[i].number);
        assert_int_equal(s->kept[0]->state, there[i].state);
        assert_true(s->progress.complete);
    }
    assert_string_equal(s->kept[0]->exception, "KeyError");
    assert_true(s->kept[0]->finished_at == 1795262400);
    all(s, (struct queue_read_request){.queue = NULL}, "\"year 9\" مط");
    assert_int_equal(s->first, 2000);
    all(s, (struct queue_read_request){.queue = "celery", .states = 1u << JOB_DEAD}, NULL);
    assert_int_equal(s->count, 1);
    assert_string_equal(s->kept[0]->exception, "ValueError");
    assert_true(s->kept[0]->finished_at == 1795263753.5);
    all(s, (struct queue_read_request){.queue = "celery"}, NULL);
    assert_int_equal(s->count, 500 + 1 + 3 + 3);
}

static void stop_it(struct stage *s)
{
    if (s->windows == 3)
        queue_read_stop(s->read);
}

static void delete_it(struct stage *s)
{
    if (s->windows == 3)
        redis_box_do(s->box, "DEL", "celery");
}

static void change_it(struct stage *s)
{
    if (s->windows == 3)
        redis_box_do(s->box, "SET", "celery", "x");
}

static void kill_it(struct stage *s)
{
    if (s->windows == 3)
        redis_box_kill(s->box);
}

static void what_goes_wrong_is_told(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 20000);
    s->meanwhile = stop_it;
    all(s, ready(FROM_HEAD), NULL);
    assert_true(s->progress.stopped && !s->progress.complete && s->count < 20000 && s->count > 20);
    s->meanwhile = delete_it;
    all(s, ready(FROM_TAIL), NULL);
    assert_true(s->count < 20000 && s->count > 1000 && s->windows < 6);
    push(s, "celery", 0, 20000);
    s->meanwhile = change_it;
    begin(s, ready(FROM_TAIL), NULL);
    end(s);
    assert_true(s->failed && s->count > 1000 && !s->progress.complete);
    begin(s, ready(FROM_TAIL), NULL);
    end(s);
    assert_true(s->failed && s->count == 0);
    redis_box_do(s->box, "DEL", "celery");
    s->meanwhile = NULL;
    all(s, ready(FROM_TAIL), NULL);
    assert_true(s->progress.complete && s->count == 0 && s->progress.total == 0);
    push(s, "celery", 0, 20000);
    s->meanwhile = kill_it;
    begin(s, ready(FROM_TAIL), NULL);
    end(s);
    assert_true(s->failed && s->count > 1000);
    assert_true(s->error.kind == ERROR_LOST || s->error.kind == ERROR_REFUSED);
}

static void forsake_it(struct stage *s)
{
    if (s->windows == 2) {
        queue_read_forsake(s->read);
        s->done = true; /* ends the turn */
    }
}

static void a_forsaken_read_is_silent(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 5000);
    s->meanwhile = forsake_it;
    begin(s, ready(FROM_HEAD), NULL);
    turn(s);
    assert_int_equal(s->windows, 2);
    s->meanwhile = NULL;
    begin(s, ready(FROM_HEAD), NULL);
    queue_read_forsake(s->read); /* at once */
    begin(s, ready(FROM_HEAD), NULL);
    ev_run(loop_ev(s->loop), EVRUN_ONCE); /* with an answer on its way */
    queue_read_forsake(s->read);
    s->read = NULL;
    all(s, ready(FROM_HEAD), NULL); /* after their answers */
    assert_int_equal(s->count, 5000);
}

/* ---- all about one job ---- */

static void on_facts(void *data, const struct job_facts *told, const struct error *error)
{
    struct stage *s = data;
    s->done = true;
    s->failed = error != NULL;
    if (error)
        s->error = *error;
    if (!told)
        return;
    s->facts = talloc_zero(s, struct job_facts);
    for (size_t i = 0; i < told->count; i++)
        job_facts_add(s->facts, told->facts[i].section, told->facts[i].label, told->facts[i].secret, "%s",
                      told->facts[i].text);
}

static void ask_job(struct stage *s, const struct job *job)
{
    TALLOC_FREE(s->facts);
    s->done = false;
    queue_job_read(celery(s), job, on_facts, s);
    assert_false(s->done);
    s->read = (struct queue_read *)s; /* only done ends the turn */
    turn(s);
    s->read = NULL;
    assert_true(s->done);
}

static const struct job_fact *fact(struct stage *s, const char *section, const char *label)
{
    for (size_t i = 0; s->facts && i < s->facts->count; i++) {
        const struct job_fact *one = &s->facts->facts[i];
        if (strcmp(one->section, section) == 0 &&
            (label ? one->label && strcmp(one->label, label) == 0 : !one->label))
            return one;
    }
    return NULL;
}

static void expect_fact(struct stage *s, const char *section, const char *label, const char *text)
{
    const struct job_fact *one = fact(s, section, label);
    if (!one || !strstr(one->text, text))
        fail_msg("%s, %s: %s", section, label ? label : "", one ? one->text : "(none)");
}

/* What a worker does that takes the job with that many before it. */
static void take_job(struct stage *s, const struct job *job, int before)
{
    redisReply *taken = redisCommand(s->redis, "LRANGE celery %d %d", -before - 1, -before - 1);
    const char *raw = taken->element[0]->str;
    char *value;
    assert_true(asprintf(&value, "[%s, \"\", \"celery\"]", raw) > 0);
    send_words(s, 4, (const char *[]){"LREM", "celery", "-1", raw});
    send_words(s, 4, (const char *[]){"HSET", "unacked", job->tag, value});
    send_words(s, 4, (const char *[]){"ZADD", "unacked_index", "1795263753", job->tag});
    free(value);
    freeReplyObject(taken);
}

static void one_job_is_told_in_full(void **state)
{
    struct stage *s = *state;
    push(s, "celery", 0, 300);
    /* [["Year 9", "\u0645\u0637"], {"school": "oak"}, {"chain": [{"task": "last"}, {"task": "next"}]}] */
    push_text(
        s, "celery",
        message(
            500, "t_\\u0645\\u0637",
            ", \"argsrepr\": \"('Year 9',)\", \"kwargsrepr\": \"{}\", \"timelimit\": [90, 60], \"group\": "
            "\"g1\", \"x-request\": \"r7\"",
            "W1siWWVhciA5IiwgIlx1MDY0NVx1MDYzNyJdLCB7InNjaG9vbCI6ICJvYWsifSwgeyJjaGFpbiI6IFt7InRhc2siOiAi"
            "bGFzdCJ9LCB7InRhc2siOiAibmV4dCJ9XX1d"));
    redis_box_do(s->box, "ZADD", "celery-taskset-meta-g1.j", "1", "[1]", "2", "[2]");
    redis_box_do(s->box, "SET", "celery-taskset-meta-g1.s", "5");
    all(s, ready(FROM_HEAD), "id:000000000500");
    assert_int_equal(s->count, 1);
    struct job *job = s->kept[0];
    assert_int_equal(job->index, 300);
    send_words(s, 3, (const char *[]){"RPOP", "celery", "150"});
    push(s, "celery", 1000, 50);
    ask_job(s, job);
    expect_fact(s, "Message", "place", "celery, 150 before it");
    expect_fact(s, "Message", "tenant", "t_مط");
    expect_fact(s, "Message", "hard time limit", "90 s");
    expect_fact(s, "Arguments", "types", "(str, str), {school: str}");
    assert_false(fact(s, "Arguments", "types")->secret);
    expect_fact(s, "Arguments", "argument 2", "مط");
    assert_true(fact(s, "Arguments", "argument 2")->secret && fact(s, "Arguments", "school")->secret);
    assert_true(fact(s, "Arguments", "as the sender shows them")->secret);
    expect_fact(s, "Follows", "then", "next");
    expect_fact(s, "Group", "chord", "2 of 5 are done");
    expect_fact(s, "Headers", "x-request", "r7");
    assert_null(fact(s, "Headers", "argsrepr"));
    take_job(s, job, 150);
    ask_job(s, job);
    expect_fact(s, "Message", "place", "held by a worker");
    expect_fact(s, "Message", "given out again", "2026-11-21T13:22:33");
    assert_non_null(fact(s, "Worker", NULL));
    /* It ran. */
    redis_box_do(s->box, "DEL", "unacked");
    redis_box_do(s->box, "SET", "celery-task-meta-00000000-0000-4000-8000-000000000500",
                 "{\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"KeyError\", \"exc_message\": [\"no "
                 "school\"]}, "
                 "\"traceback\": \"Traceback (most recent call last)\", \"task_id\": \"x\"}");
    ask_job(s, job);
    expect_fact(s, "Message", "place", "in no queue");
    expect_fact(s, "Result", "exception", "KeyError: no school");
    expect_fact(s, "Result", "kept", "no expiry");
    expect_fact(s, "Traceback", NULL, "most recent");
    redis_box_do(s->box, "FLUSHALL");
    ask_job(s, job);
    assert_true(s->failed && s->error.kind == ERROR_GONE && !s->facts);
    /* A corrupt one is told, too. */
    push_text(s, "celery", strdup("not json"));
    all(s, ready(FROM_HEAD), "poison");
    ask_job(s, s->kept[0]);
    expect_fact(s, "Message", "poison", "A: the message is not JSON");
}

int main(void)
{
#define WITH_STAGE(test) cmocka_unit_test_setup_teardown(test, stage_begin, stage_end)
    const struct CMUnitTest tests[] = {
        WITH_STAGE(windows_come_from_both_ends),
        WITH_STAGE(moving_lists_lose_nothing),
        WITH_STAGE(large_messages_come_in_small_windows),
        WITH_STAGE(a_sample_has_each_job_once),
        WITH_STAGE(held_jobs_are_told_apart),
        WITH_STAGE(holders_are_named),
        WITH_STAGE(a_job_is_found_wherever_it_is),
        WITH_STAGE(what_goes_wrong_is_told),
        WITH_STAGE(a_forsaken_read_is_silent),
        WITH_STAGE(one_job_is_told_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
