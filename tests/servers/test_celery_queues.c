/* Queues of Celery on a real Redis: lengths, rates, samples, what is held and what failed; and beside real
 * workers, our numbers against theirs. */
#include <hiredis/hiredis.h>
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/celery_seen.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

#define BINDING_END "\x06\x16\x06\x16"
#define BODY "W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsfV0="

enum { PATIENCE_S = 30, FIELD = 16 };

struct stage {
    struct redis_box *box;
    struct loop *loop;
    struct environment environment;
    struct environment_redis redis;
    struct environment_jobs settings;
    struct redis_server *server;
    struct queues *queues;
    char *url;
    ev_timer tick;
    double last_tick, longest_turn_s;
    bool (*holds)(struct stage *s);
    bool held;
    double deadline;
    const char *name; /* of the queue that a condition is about */
    double since;
    int64_t wanted;
};

static int stage_begin(void **state)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    s->box = redis_box_start(NULL);
    s->loop = loop_new();
    s->url = redis_box_url(s->box, 0, NULL);
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
    redis_box_free(s->box);
    free(s->url);
    talloc_free(s);
    return 0;
}

static void look(struct stage *s, enum queue_part part)
{
    s->server = redis_server_new(s->loop, &s->environment, &s->redis, NULL, NULL, NULL);
    struct queues_options options = {.environment = &s->environment, .redis = &s->server, .redis_count = 1};
    s->queues = queues_new(s->loop, &options);
    queues_want(s->queues, part, true);
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct stage *s = timer->data;
    (void)events;
    double now = clock_monotonic();
    if (s->last_tick > 0 && now - s->last_tick > s->longest_turn_s)
        s->longest_turn_s = now - s->last_tick;
    s->last_tick = now;
    s->held = s->holds(s);
    if (s->held || now > s->deadline)
        ev_break(ev, EVBREAK_ALL);
}

static bool await(struct stage *s, bool (*holds)(struct stage *s))
{
    struct ev_loop *ev = loop_ev(s->loop);
    s->holds = holds;
    s->deadline = clock_monotonic() + PATIENCE_S;
    s->last_tick = 0;
    ev_now_update(ev);
    ev_timer_init(&s->tick, on_tick, 0.002, 0.002);
    s->tick.data = s;
    ev_timer_start(ev, &s->tick);
    ev_run(ev, 0);
    ev_timer_stop(ev, &s->tick);
    return s->held;
}

static struct queue_system *celery(struct stage *s)
{
    return queues_count(s->queues) ? queues_system(s->queues, 0) : NULL;
}

static const struct queue *queue_of(struct stage *s, const char *name)
{
    struct queue_system *system = celery(s);
    const struct queues_snapshot *snapshot = system ? queue_system_queues(system) : NULL;
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, name) == 0)
            return &snapshot->queues[i];
    return NULL;
}

static bool later_look(struct stage *s)
{
    struct queue_system *system = celery(s);
    const struct queues_snapshot *snapshot = system ? queue_system_queues(system) : NULL;
    return snapshot && snapshot->snapshot.taken_monotonic > s->since;
}

/* Lets it look again, now. Returns when that was. */
static double look_again(struct stage *s)
{
    s->since = clock_monotonic();
    if (celery(s))
        feed_refresh(queue_system_feed(celery(s), PART_QUEUES));
    assert_true(await(s, later_look));
    return queue_system_queues(celery(s))->snapshot.taken_monotonic;
}

/* ---- messages ---- */

static char *message(int number, const char *queue, const char *tenant, const char *headers)
{
    char *text;
    assert_true(
        asprintf(&text,
                 "{\"body\": \"" BODY "\", \"content-encoding\": \"utf-8\", \"content-type\": "
                 "\"application/json\", \"headers\": {\"lang\": \"py\", \"task\": \"app.quick\", \"id\": "
                 "\"00000000-0000-4000-8000-%012d\", \"retries\": 0, \"_schema_name\": \"%s\"%s}, "
                 "\"properties\": {\"correlation_id\": \"x\", \"delivery_mode\": 2, \"delivery_info\": "
                 "{\"exchange\": \"\", \"routing_key\": \"%s\"}, \"priority\": 0, \"body_encoding\": "
                 "\"base64\", \"delivery_tag\": \"10000000-0000-4000-8000-%012d\"}}",
                 number, tenant, headers ? headers : "", queue, number) > 0);
    return text;
}

static void push(struct stage *s, const char *key, int first, int count, const char *tenant)
{
    for (int i = 0; i < count; i++) {
        char *text = message(first + i, "celery", tenant, NULL);
        redis_box_do(s->box, "LPUSH", key, text);
        free(text);
    }
}

static void bind_queue(struct stage *s, const char *prefix, const char *name)
{
    char key[200], member[300];
    snprintf(key, sizeof key, "%s_kombu.binding.%s", prefix, name);
    snprintf(member, sizeof member, "%s" BINDING_END "%s", name, name);
    redis_box_do(s->box, "SADD", key, member);
}

static void hold(struct stage *s, int number, const char *queue, const char *headers)
{
    char *text = message(number, queue, "al_noor", headers), *value, tag[60];
    assert_true(asprintf(&value, "[%s, \"\", \"%s\"]", text, queue) > 0);
    snprintf(tag, sizeof tag, "10000000-0000-4000-8000-%012d", number);
    redis_box_do(s->box, "HSET", "unacked", tag, value);
    redis_box_do(s->box, "ZADD", "unacked_index", "1795263753", tag);
    free(text);
    free(value);
}

/* ---- finding and counting ---- */

static void is_found_and_counted(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    bind_queue(s, "", "mail");
    redis_box_do(s->box, "SADD", "_kombu.binding.celery.pidbox", BINDING_END "w1@h.celery.pidbox");
    push(s, "celery", 0, 7, "al_noor");
    push(s,
         "celery\x06\x16"
         "3",
         100, 2, "al_noor");
    push(s, "dlq:celery", 200, 3, "al_noor");
    push(s, "signalbox:park:celery:20261121T200501-1f3a9c", 400, 4, "al_noor");
    hold(s, 300, "celery", NULL);
    hold(s, 301, "celery", ", \"eta\": \"2099-01-01T00:00:00+00:00\"");
    hold(s, 302, "celery", ", \"eta\": \"2099-01-01T00:00:00+00:00\", \"retries\": 2");
    hold(s, 303, "further", NULL);
    redis_box_do(s->box, "SET", "celery-task-meta-x", "{}");
    bind_queue(s, "prod:", "reports");
    redis_box_do(s->box, "SET", "mail", "not a list");
    look(s, PART_QUEUES);
    look_again(s);
    assert_int_equal(queues_count(s->queues), 2);
    const struct queue *queue = queue_of(s, "celery");
    assert_non_null(queue);
    assert_int_equal(queue->ready, 9);
    assert_int_equal(queue->by_priority[0], 7);
    assert_int_equal(queue->by_priority[1], 2);
    assert_int_equal(queue->dead, 3);
    assert_int_equal(queue->unacked, 1);
    assert_int_equal(queue->scheduled, 1);
    assert_int_equal(queue->retrying, 1);
    assert_int_equal(queue->paused, -1);
    assert_int_equal(queue->poison, 0);
    assert_false(queue->poison_sampled);
    assert_int_equal(queue->share_sample, 9);
    assert_string_equal(queue->shares[0].name, "al_noor");
    const struct queue *mail = queue_of(s, "mail");
    assert_int_equal(mail->ready, 0);
    assert_non_null(strstr(mail->why, "not a list"));
    look_again(s);
    assert_int_equal(queue_of(s, "further")->unacked, 1);
    assert_int_equal(queue_of(s, "celery")->parked, 4);
    struct queue_system *other = queues_system(s->queues, 1);
    assert_non_null(strstr(other->place, "prefix prod:"));
}

/* ---- rates ---- */

static void pop(struct stage *s, const char *key, int count)
{
    char text[20];
    snprintf(text, sizeof text, "%d", count);
    redis_box_do(s->box, "RPOP", key, text);
}

static void rates_are_exact(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    push(s, "celery", 0, 400, "al_noor");
    look(s, PART_QUEUES);
    double first = look_again(s);
    assert_true(isnan(queue_of(s, "celery")->out_per_s));
    pop(s, "celery", 60);
    push(s, "celery", 1000, 25, "al_noor");
    /* The next look in its own time: a rate is not told from moments. */
    s->since = first + 1;
    assert_true(await(s, later_look));
    double seconds = queue_system_queues(celery(s))->snapshot.taken_monotonic - first;
    const struct queue *queue = queue_of(s, "celery");
    assert_int_equal(queue->ready, 365);
    assert_true(fabs(queue->out_per_s * seconds - 60) < 12);
    assert_true(fabs(queue->in_per_s * seconds - 25) < 6);
    assert_true(fabs(queue->drain_s - 365 / (35 / seconds)) < 0.3 * queue->drain_s);
    assert_true(queue->head_age_source == HEAD_AGE_ESTIMATE || queue->head_age_source == HEAD_AGE_WATCHED);
    /* All that was there before the first look goes: when the next job came in was seen. */
    pop(s, "celery", 340);
    look_again(s);
    assert_int_equal(queue_of(s, "celery")->ready, 25);
    push(s, "celery", 2000, 10, "al_noor");
    look_again(s);
    pop(s, "celery", 25);
    look_again(s);
    queue = queue_of(s, "celery");
    assert_int_equal(queue->ready, 10);
    assert_int_equal(queue->head_age_source, HEAD_AGE_WATCHED);
    assert_true(queue->head_age_s < 3);
}

static void queue_that_nobody_takes_from_is_told(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    push(s, "celery", 0, 40, "al_noor");
    look(s, PART_QUEUES);
    look_again(s);
    look_again(s);
    assert_null(queue_of(s, "celery")->why);
    struct celery_system *system = (struct celery_system *)celery(s);
    celery_seen(system->rates, "celery")->still_since -= 300;
    look_again(s);
    assert_non_null(strstr(queue_of(s, "celery")->why, "nothing was taken from it for 5 m"));
    pop(s, "celery", 1);
    look_again(s);
    assert_null(queue_of(s, "celery")->why);
}

static void head_tells_its_age(void **state)
{
    struct stage *s = *state;
    char header[60], *text;
    bind_queue(s, "", "celery");
    snprintf(header, sizeof header, ", \"sent_at\": %.3f", clock_wall() - 100);
    text = message(1, "celery", "al_noor", header);
    redis_box_do(s->box, "LPUSH", "celery", text);
    free(text);
    look(s, PART_QUEUES);
    look_again(s);
    const struct queue *queue = queue_of(s, "celery");
    assert_int_equal(queue->head_age_source, HEAD_AGE_HEADER);
    assert_true(queue->head_age_s > 99 && queue->head_age_s < 130);
}

/* ---- samples ---- */

static bool head_was_read(struct stage *s)
{
    const struct queue *queue = queue_of(s, s->name);
    return queue && queue->poison_near == s->wanted;
}

static void flood_and_poison_are_seen(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    char *one = message(1, "celery", "al_noor", NULL), *other = message(2, "celery", "st_marys", NULL);
    redis_box_do(s->box, "EVAL",
                 "for i = 1, 20000 do redis.call('LPUSH', KEYS[1], i % 10 == 0 and ARGV[2] or ARGV[1]) end "
                 "redis.call('LSET', KEYS[1], -700, 'no message') "
                 "redis.call('LSET', KEYS[1], -3, '{\"a\": 1}')",
                 "1", "celery", one, other);
    free(one);
    free(other);
    look(s, PART_QUEUES);
    s->name = "celery";
    s->wanted = 2;
    assert_true(await(s, head_was_read));
    look_again(s);
    look_again(s);
    const struct queue *queue = queue_of(s, "celery");
    assert_int_equal(queue->ready, 20000);
    assert_true(queue->poison_sampled);
    assert_int_equal(queue->level, QUEUE_CRITICAL);
    assert_non_null(strstr(queue->why, "end the worker"));
    assert_string_equal(queue->shares[0].name, "al_noor");
    assert_true(fabs(queue->shares[0].share - 0.9) < 0.1);
    assert_true(queue->share_sample > 300);
}

/* ---- many ---- */

static bool all_rows(struct stage *s)
{
    const struct queues_snapshot *snapshot = celery(s) ? queue_system_queues(celery(s)) : NULL;
    return snapshot && (int64_t)snapshot->count >= s->wanted && snapshot->queues[s->wanted - 1].ready > 0;
}

static void ten_thousand_queues(void **state)
{
    struct stage *s = *state;
    char *one = message(1, "celery", "al_noor", NULL);
    redis_box_do(s->box, "EVAL",
                 "for i = 1, 10000 do local q = string.format('q%05d', i) "
                 "redis.call('SADD', '_kombu.binding.tenants', q .. '\x06\x16\x06\x16' .. q) "
                 "redis.call('LPUSH', q, ARGV[1]) end",
                 "0", one);
    free(one);
    look(s, PART_QUEUES);
    s->wanted = 10000;
    assert_true(await(s, all_rows));
    s->longest_turn_s = 0;
    double began = clock_monotonic(), ended = look_again(s);
    ended = look_again(s);
    print_message("10,000 queues: two looks %.2f s, longest turn %.0f ms, memory %.1f MB\n", ended - began,
                  1000 * s->longest_turn_s, (double)talloc_total_size(celery(s)) / 1e6);
    assert_true(s->longest_turn_s < 0.6);
    assert_true(talloc_total_size(celery(s)) < 30e6);
    assert_int_equal(queue_system_queues(celery(s))->left_out, 0);
}

/* ---- restart ---- */

static bool feed_is_down(struct stage *s)
{
    return queue_system_feed(celery(s), PART_QUEUES)->state == FEED_FAILED;
}

static bool feed_is_up(struct stage *s)
{
    return later_look(s) && queue_system_feed(celery(s), PART_QUEUES)->state == FEED_LIVE;
}

static void redis_is_restarted(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    push(s, "celery", 0, 300, "al_noor");
    look(s, PART_QUEUES);
    look_again(s);
    look_again(s);
    redis_box_kill(s->box);
    feed_refresh(queue_system_feed(celery(s), PART_QUEUES));
    assert_true(await(s, feed_is_down));
    assert_int_equal(queue_of(s, "celery")->ready, 300);
    redis_box_again(s->box);
    bind_queue(s, "", "celery");
    push(s, "celery", 0, 40, "al_noor");
    s->since = clock_monotonic();
    assert_true(await(s, feed_is_up));
    const struct queue *queue = queue_of(s, "celery");
    assert_int_equal(queue->ready, 40);
    assert_true(isnan(queue->out_per_s) || queue->out_per_s < 1);
}

/* ---- failures ---- */

static const struct failures_snapshot *failures_of(struct stage *s)
{
    return celery(s) ? queue_system_failures(celery(s)) : NULL;
}

static bool failures_are_read(struct stage *s)
{
    return failures_of(s) && failures_of(s)->total >= 0;
}

static const struct failure *failure_of(struct stage *s, const char *exception, enum job_state kept)
{
    for (size_t i = 0; i < failures_of(s)->count; i++) {
        const struct failure *failure = &failures_of(s)->failures[i];
        if (failure->exception && strcmp(failure->exception, exception) == 0 && failure->kept == kept)
            return failure;
    }
    return NULL;
}

static void put_result(struct stage *s, int number, const char *more, bool expires)
{
    char key[80], *value;
    snprintf(key, sizeof key, "celery-task-meta-00000000-0000-4000-8000-%012d", number);
    assert_true(asprintf(&value, "{%s, \"task_id\": \"00000000-0000-4000-8000-%012d\"}", more, number) > 0);
    if (expires)
        redis_box_do(s->box, "SET", key, value, "EX", "3600");
    else
        redis_box_do(s->box, "SET", key, value);
    free(value);
}

static void failures_are_grouped(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    for (int i = 0; i < 900; i++)
        put_result(s, i, "\"status\": \"SUCCESS\", \"result\": 1, \"traceback\": null", i != 5);
    for (int i = 1000; i < 1120; i++)
        put_result(
            s, i,
            "\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"ValueError\", \"exc_message\": "
            "[\"no such school\"], \"exc_module\": \"builtins\"}, \"traceback\": \"Traceback (most recent "
            "call last):\\n  File \\\"/usr/lib/celery/app/trace.py\\\", line 451, in trace_task\\n    R = "
            "fun()\\n  File \\\"/srv/app/tasks.py\\\", line 40, in export\\n    raise ValueError()\\n\", "
            "\"date_done\": \"2026-11-21T11:48:56.237546\", \"name\": \"app.export\", \"args\": [1]",
            true);
    put_result(s, 1200, "\"status\": \"RETRY\", \"result\": {\"exc_type\": \"OSError\", \"exc_message\": []}",
               true);
    char *dead = message(7, "celery", "st_marys",
                         ", \"x_exc\": \"KeyError\", \"x_msg\": \"'grade'\", \"x_failed_at\": 1795263753.9");
    redis_box_do(s->box, "LPUSH", "dlq:celery", dead, dead, "no message");
    free(dead);
    look(s, PART_FAILURES);
    assert_true(await(s, failures_are_read));
    const struct failures_snapshot *snapshot = failures_of(s);
    assert_int_equal(snapshot->scanned, 900 + 120 + 1 + 3);
    assert_int_equal(snapshot->results_without_expiry, 1);
    const struct failure *failure = failure_of(s, "ValueError", JOB_DONE);
    assert_non_null(failure);
    assert_int_equal(failure->count, 120);
    assert_string_equal(failure->task, "app.export");
    assert_string_equal(failure->frame, "tasks.py:40 in export");
    assert_string_equal(failure->message, "no such school");
    assert_true(fabs(failure->last - 1795261736.237) < 1);
    assert_non_null(failure_of(s, "OSError", JOB_RETRYING));
    const struct failure *letters = failure_of(s, "KeyError", JOB_DEAD);
    assert_int_equal(letters->count, 2);
    assert_int_equal(letters->retriable, 2);
    assert_string_equal(letters->tenant, "st_marys");
    assert_string_equal(letters->queue, "celery");
}

/* ---- what can go wrong ---- */

static void large_messages_are_read_few_at_a_time(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    redis_box_do(s->box, "EVAL",
                 "for i = 1, 60 do redis.call('LPUSH', 'celery', i .. string.rep('x', 1048576)) end", "0");
    look(s, PART_QUEUES);
    look_again(s);
    look_again(s);
    look_again(s);
    const struct queue *queue = queue_of(s, "celery");
    assert_int_equal(queue->ready, 60);
    assert_true(queue->poison > 0); /* they are no messages */
    assert_true(s->longest_turn_s < 0.5);
}

static bool is_denied(struct stage *s)
{
    return celery(s) && queue_system_feed(celery(s), PART_QUEUES)->state == FEED_DENIED;
}

static void login_that_may_not_read_is_told_so(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    push(s, "celery", 0, 3, "al_noor");
    redis_box_do(s->box, "ACL", "SETUSER", "default", "-llen");
    look(s, PART_QUEUES);
    assert_true(await(s, is_denied));
    const struct error *error = &queue_system_feed(celery(s), PART_QUEUES)->error;
    assert_true(error->kind == ERROR_DENIED);
    assert_true(*error->todo != '\0');
}

static bool storm(struct stage *s)
{
    return failures_of(s) && failures_of(s)->storm && failures_of(s)->duplicates > 0;
}

static void retry_storm_and_jobs_given_out_twice_are_seen(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    for (int i = 0; i < 40; i++) {
        char *text = message(i, "celery", "al_noor", i % 2 ? ", \"retries\": 3" : NULL);
        redis_box_do(s->box, "LPUSH", "celery", text);
        free(text);
    }
    hold(s, 6, "celery", NULL); /* waits, and is held */
    hold(s, 300, "celery", ", \"eta\": \"2099-01-01T00:00:00+00:00\", \"redelivered\": true");
    look(s, PART_QUEUES);
    queues_want(s->queues, PART_FAILURES, true);
    look_again(s);
    look_again(s);
    look_again(s);
    assert_true(await(s, storm));
    assert_true(fabs(failures_of(s)->retry_share - 0.5) < 0.01);
    assert_int_equal(failures_of(s)->duplicates, 1);
    assert_non_null(strstr(failures_of(s)->note, "visibility timeout"));
    assert_non_null(strstr(failures_of(s)->note, "1 held job was given out before"));
}

static bool queue_is_gone(struct stage *s)
{
    ((struct celery_system *)celery(s))->rates->bindings_next = 0; /* it is time */
    return later_look(s) && !queue_of(s, "old");
}

static void queue_that_nothing_names_any_more_goes(void **state)
{
    struct stage *s = *state;
    bind_queue(s, "", "celery");
    bind_queue(s, "", "old");
    push(s, "old", 0, 3, "al_noor");
    look(s, PART_QUEUES);
    look_again(s);
    assert_int_equal(queue_of(s, "old")->ready, 3);
    redis_box_do(s->box, "DEL", "old", "_kombu.binding.old");
    look_again(s);
    assert_int_equal(queue_of(s, "old")->ready, 0);
    s->since = clock_monotonic();
    assert_true(await(s, queue_is_gone));
}

/* ---- beside real Celery ---- */

static int64_t inspected(struct celery_site *site, const char *method)
{
    char *text = celery_inspect(site, method, NULL, NULL);
    struct json_object *answer = json_tokener_parse(text);
    int64_t count = 0;
    json_object_object_foreach(answer, worker, jobs)
    {
        (void)worker;
        count += (int64_t)json_object_array_length(jobs);
    }
    json_object_put(answer);
    free(text);
    return count;
}

static void numbers_are_those_of_celery(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    free(celery_send(site, "slow", "[60]", "al_noor", 1, NULL));
    assert_true(celery_await_begun(site, PATIENCE_S, NULL, 1));
    free(celery_send(site, "quick", "[1]", "st_marys", 3, "\"options\": {\"countdown\": 600}"));
    free(celery_send(site, "quick", "[1]", "al_noor", 20, NULL));
    free(celery_send(site, "quick", "[1]", "st_marys", 2, "\"options\": {\"queue\": \"idle\"}"));
    look(s, PART_QUEUES);
    look_again(s);
    look_again(s);
    int64_t in_memory = inspected(site, "reserved"), waiting = inspected(site, "scheduled");
    look_again(s);
    const struct queue *queue = queue_of(s, "celery");
    char *length = redis_box_ask(s->box, "LLEN", "celery");
    assert_int_equal(queue->ready, atoi(length));
    free(length);
    print_message("unacked %d, scheduled %d; inspect: reserved %d, scheduled %d\n", (int)queue->unacked,
                  (int)queue->scheduled, (int)in_memory, (int)waiting);
    assert_int_equal(queue->scheduled, waiting);
    assert_int_equal(waiting, 3);
    assert_int_equal(queue->unacked + queue->scheduled, in_memory + waiting);
    assert_int_equal(queue_of(s, "idle")->ready, 2);
    celery_site_free(site);
}

/* Prefetched jobs left the list before: what moves is what the worker takes. */
static void rate_out_is_that_of_the_worker(void **state)
{
    struct stage *s = *state;
    struct celery_site *site = celery_site_new(s->url, NULL, NULL);
    free(celery_send(site, "slow", "[0.05]", "al_noor", 600, NULL));
    celery_worker(site, "one", (struct celery_options){.concurrency = 1});
    assert_true(celery_await_ended(site, PATIENCE_S, NULL, 20));
    look(s, PART_QUEUES);
    double first = look_again(s);
    int ended = celery_ended(site, NULL);
    s->since = first + 8;
    assert_true(await(s, later_look));
    double seconds = queue_system_queues(celery(s))->snapshot.taken_monotonic - first;
    double theirs = (celery_ended(site, NULL) - ended) / seconds;
    const struct queue *queue = queue_of(s, "celery");
    print_message("out: %.1f/s, the worker ended %.1f/s\n", queue->out_per_s, theirs);
    assert_true(theirs > 2);
    assert_true(fabs(queue->out_per_s - theirs) < 0.25 * theirs);
    assert_true(queue->in_per_s < 1);
    celery_site_free(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_found_and_counted, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(rates_are_exact, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(queue_that_nobody_takes_from_is_told, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(head_tells_its_age, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(flood_and_poison_are_seen, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(ten_thousand_queues, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(redis_is_restarted, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(failures_are_grouped, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(large_messages_are_read_few_at_a_time, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(login_that_may_not_read_is_told_so, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(retry_storm_and_jobs_given_out_twice_are_seen, stage_begin,
                                        stage_end),
        cmocka_unit_test_setup_teardown(queue_that_nothing_names_any_more_goes, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(numbers_are_those_of_celery, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(rate_out_is_that_of_the_worker, stage_begin, stage_end),
    };
    signal(SIGPIPE, SIG_IGN); /* as main.c does: hiredis writes to connections that are gone */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
