/* What the tests of acts on Celery share: a Redis of their own, the board of job systems over it, preparing
 * and sending acts, and lists compared byte by byte. */
#ifndef TESTS_SERVERS_CELERY_ACTING_H
#define TESTS_SERVERS_CELERY_ACTING_H

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/celery_aside.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

#define SEP "\x06\x16"

enum { PATIENCE_S = 40 };

struct stage {
    struct redis_box *box;
    redisContext *redis; /* of the test itself */
    struct loop *loop;
    struct environment environment;
    struct environment_redis definition;
    struct redis_server *server;
    struct queues *queues;
    struct celery_system *system;
    struct audit *audit;
    struct access *access;
    char *url, *act_url, *folder;
    /* of what is waited for */
    ev_timer tick;
    bool (*holds)(struct stage *s);
    bool held;
    double deadline;
    /* of an act */
    struct change *change;
    bool prepared, over;
    struct error error;
    char *report;
    /* for conditions */
    long long wanted;
    const char *key;
};

/* A list as it is, from its left end: the newest first. */
struct list {
    size_t count;
    char **items;
    size_t *lengths;
};

static inline void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct stage *s = timer->data;
    (void)events;
    s->held = s->holds(s);
    if (s->held || clock_monotonic() > s->deadline)
        ev_break(ev, EVBREAK_ALL);
}

static inline bool await(struct stage *s, bool (*holds)(struct stage *s))
{
    struct ev_loop *ev = loop_ev(s->loop);
    s->holds = holds;
    s->held = false;
    s->deadline = clock_monotonic() + PATIENCE_S;
    ev_now_update(ev);
    ev_timer_init(&s->tick, on_tick, 0.001, 0.001);
    s->tick.data = s;
    ev_timer_start(ev, &s->tick);
    ev_run(ev, 0);
    ev_timer_stop(ev, &s->tick);
    return s->held;
}

static inline redisReply *ask(struct stage *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(s->redis, format, arguments);
    va_end(arguments);
    assert_non_null(reply);
    return reply;
}

static inline long long number(struct stage *s, const char *command, const char *key)
{
    redisReply *reply = ask(s, "%s %s", command, key);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    long long value = reply->integer;
    freeReplyObject(reply);
    return value;
}

static inline long long length_of(struct stage *s, const char *key)
{
    return number(s, "LLEN", key);
}

static inline bool system_is_there(struct stage *s)
{
    return queues_count(s->queues) > 0;
}

static inline void set_up_console(struct stage *s)
{
    s->server = redis_server_new(s->loop, &s->environment, &s->definition, NULL, NULL, NULL);
    struct queues_options options = {.environment = &s->environment, .redis = &s->server, .redis_count = 1};
    s->queues = queues_new(s->loop, &options);
    s->audit = audit_new(s->loop, s->environment.name, NULL);
    s->access = access_new(s->loop, &s->environment, s->audit, NULL, NULL);
    redis_server_unlock(s->server);
    queues_want(s->queues, PART_ASIDE, true);
    assert_true(await(s, system_is_there));
    s->system = (struct celery_system *)queues_system(s->queues, 0);
}

static inline void end_console(struct stage *s)
{
    queues_stop(s->queues);
    redis_server_free(s->server);
    queues_free(s->queues);
    access_free(s->access);
    audit_free(s->audit);
    s->queues = NULL;
    s->server = NULL;
}

static inline int stage_with(void **state, const char *config, const char *act_login)
{
    struct stage *s = talloc_zero(NULL, struct stage);
    s->box = redis_box_start(config);
    s->redis = redisConnectUnix(redis_box_socket(s->box));
    s->folder = talloc_asprintf(s, "%s/state", redis_box_folder(s->box));
    setenv("XDG_STATE_HOME", s->folder, 1);
    s->loop = loop_new();
    s->url = redis_box_url(s->box, 0, NULL);
    s->act_url = redis_box_url(s->box, 0, act_login);
    s->definition = (struct environment_redis){.name = "broker", .url = s->url, .act = s->act_url};
    s->environment = (struct environment){
        .name = "test", .kind = ENVIRONMENT_DEVELOPMENT, .redis = &s->definition, .redis_count = 1};
    freeReplyObject(ask(s, "SADD _kombu.binding.celery %s", "celery" SEP SEP "celery"));
    *state = s;
    return 0;
}

static inline int stage_begin(void **state)
{
    return stage_with(state, NULL, REDIS_BOX_ACT);
}

static inline int stage_end(void **state)
{
    struct stage *s = *state;
    talloc_free(s->change);
    if (s->queues)
        end_console(s);
    loop_free(s->loop);
    redisFree(s->redis);
    redis_box_free(s->box);
    free(s->url);
    free(s->act_url);
    talloc_free(s);
    return 0;
}

/* ---- messages and lists ---- */

static inline char *message(int count, const char *queue, const char *tenant, int priority)
{
    char *text;
    assert_true(
        asprintf(&text,
                 "{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": "
                 "\"application/json\", \"headers\": {\"lang\": \"py\", \"task\": \"app.quick\", \"id\": "
                 "\"00000000-0000-4000-8000-%012d\", \"eta\": null, \"expires\": null, \"retries\": 0, "
                 "\"_schema_name\": \"%s\"}, \"properties\": {\"correlation_id\": \"x\", "
                 "\"delivery_mode\": 2, \"delivery_info\": {\"exchange\": \"\", \"routing_key\": "
                 "\"%s\"}, \"priority\": %d, \"body_encoding\": \"base64\", \"delivery_tag\": "
                 "\"10000000-0000-4000-8000-%012d\"}}",
                 count, tenant, queue, priority, count) > 0);
    return text;
}

static inline void push(struct stage *s, const char *key, int first, int count, const char *tenant)
{
    for (int i = 0; i < count; i++) {
        char *text = message(first + i, "celery", tenant, 0);
        redisAppendCommand(s->redis, "LPUSH %s %s", key, text);
        free(text);
    }
    for (int i = 0; i < count; i++) {
        redisReply *reply;
        assert_int_equal(redisGetReply(s->redis, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        freeReplyObject(reply);
    }
}

static inline struct list *list_of(struct stage *s, const char *key)
{
    redisReply *reply = ask(s, "LRANGE %s 0 -1", key);
    struct list *list = talloc_zero(s, struct list);
    list->count = reply->elements;
    list->items = talloc_array(list, char *, reply->elements + 1);
    list->lengths = talloc_array(list, size_t, reply->elements + 1);
    for (size_t i = 0; i < reply->elements; i++) {
        list->items[i] = talloc_memdup(list, reply->element[i]->str, reply->element[i]->len + 1);
        list->lengths[i] = reply->element[i]->len;
    }
    freeReplyObject(reply);
    return list;
}

static inline void assert_same(const struct list *a, const struct list *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->lengths[i], b->lengths[i]);
        assert_memory_equal(a->items[i], b->items[i], a->lengths[i]);
    }
}

/* What of `all` is chosen, in its order. */
static inline struct list *chosen(struct stage *s, const struct list *all, bool (*is)(const char *message))
{
    struct list *list = talloc_zero(s, struct list);
    list->items = talloc_array(list, char *, all->count + 1);
    list->lengths = talloc_array(list, size_t, all->count + 1);
    for (size_t i = 0; i < all->count; i++)
        if (is(all->items[i])) {
            list->items[list->count] = all->items[i];
            list->lengths[list->count++] = all->lengths[i];
        }
    return list;
}

/* The jobs of a list that are chosen, as a reader would hand them over. */
static inline struct job *jobs_of(struct stage *s, const char *key, bool (*is)(const char *message),
                                  size_t *count)
{
    struct list *list = list_of(s, key);
    struct job *jobs = talloc_zero_array(s, struct job, list->count + 1);
    *count = 0;
    for (size_t i = list->count; i-- > 0;) {
        struct celery_envelope envelope;
        if (!is(list->items[i]))
            continue;
        struct job *job = &jobs[(*count)++];
        *job = (struct job){.state = JOB_READY,
                            .key = key,
                            .key_length = strlen(key),
                            .index = (int64_t)(list->count - 1 - i),
                            .raw = list->items[i],
                            .raw_length = list->lengths[i]};
        celery_envelope_scan(&envelope, job->raw, job->raw_length, NULL);
        job->id = celery_span_text(jobs, envelope.id);
        job->task = celery_span_text(jobs, envelope.task);
        job->tenant = celery_span_text(jobs, envelope.schema_name);
        job->tag = celery_span_text(jobs, envelope.delivery_tag);
    }
    return jobs;
}

/* ---- acts ---- */

static inline void on_prepared(void *data, struct change *change, const struct error *error)
{
    struct stage *s = data;
    s->prepared = true;
    s->change = change;
    s->error = error ? *error : (struct error){0};
}

static inline bool is_prepared(struct stage *s)
{
    return s->prepared;
}

static inline struct change *prepare(struct stage *s, const struct queue_act_request *request)
{
    TALLOC_FREE(s->change);
    s->prepared = false;
    celery_prepare(&s->system->base, request, (struct queue_prepare_handler){.done = on_prepared, .data = s});
    assert_true(await(s, is_prepared));
    return s->change;
}

static inline void on_over(void *data, struct change *change, const char *report, const struct error *error)
{
    struct stage *s = data;
    (void)change;
    s->over = true;
    s->report = talloc_strdup(s, report);
    s->error = error ? *error : (struct error){0};
}

static inline bool is_over(struct stage *s)
{
    return s->over;
}

static inline void start(struct stage *s)
{
    s->over = false;
    s->change->reason = "a test";
    change_send(s->change, s->loop, s->access, s->audit, on_over, s);
}

/* Sends it; returns the outcome of its first step. */
static inline enum step_outcome send_it(struct stage *s)
{
    start(s);
    assert_true(await(s, is_over));
    return s->change->steps[0].outcome;
}

/* Prepares and sends, and it must be done. */
static inline void act(struct stage *s, const struct queue_act_request *request)
{
    if (!prepare(s, request)) {
        print_message("%s: %s\n", s->error.what, s->error.why);
        fail();
    }
    if (send_it(s) != STEP_DONE) {
        print_message("%s: %s (%s)\n", s->report, s->error.why, s->error.todo);
        fail();
    }
}

static inline bool of_al_noor(const char *message)
{
    return strstr(message, "\"_schema_name\": \"al_noor\"") != NULL;
}

static inline bool of_others(const char *message)
{
    return !of_al_noor(message);
}

static inline bool any(const char *message)
{
    (void)message;
    return true;
}

/* The only key that matches a pattern; "" when there is none. Under the stage. */
static inline char *key_like(struct stage *s, const char *pattern)
{
    redisReply *reply = ask(s, "KEYS %s", pattern);
    char *key = talloc_strdup(s, reply->elements ? reply->element[0]->str : "");
    assert_true(reply->elements <= 1);
    freeReplyObject(reply);
    return key;
}

/* Nothing of ours is left in the broker. */
static inline void assert_clean(struct stage *s)
{
    assert_string_equal(key_like(s, "signalbox:*"), "");
}

#endif
