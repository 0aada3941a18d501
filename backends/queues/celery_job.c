/* All about one job: it is read again where it lies, or where it went meanwhile, and what became of it. */
#include "backends/queues/celery_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/redis_batch.h"

enum { NEAR = 200, NEAR_BYTES = 900 * 1000 };

struct looking {
    struct celery_found found;
    struct job *job;
    struct redis_batch *broker, *results;
    int64_t from_head; /* where the window begins, counted from the head */
    char *id, *group;
    void (*done)(void *data, const struct job_facts *facts, const struct error *error);
    void *data;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void tell(struct looking *looking, const struct error *error)
{
    struct error gone;
    struct celery_found *found = &looking->found;
    if (!error && !found->raw && found->result_size <= 0) {
        error_set(&gone, ERROR_GONE, looking->found.system->base.place, "the job is not there any more", NULL,
                  "it is not where it was, no worker holds it, and it left no result");
        error = &gone;
    }
    looking->done(looking->data, error ? NULL : celery_found_facts(looking, found), error);
    talloc_free(looking);
}

/* ---- results ---- */

static void on_result_text(void *data, struct redis_batch *batch, const struct error *error)
{
    struct looking *looking = data;
    const struct redis_answer *answer = redis_batch_answer(batch, 0);
    if (!error && answer->kind == ANSWER_TEXT) {
        looking->found.result = answer->text;
        looking->found.result_length = answer->length;
    }
    tell(looking, error);
}

static char *result_key(const struct looking *looking, const void *context)
{
    return there(talloc_asprintf(context, "%s%s", looking->found.system->names.results, looking->id));
}

static void on_results(void *data, struct redis_batch *batch, const struct error *error)
{
    struct looking *looking = data;
    struct celery_found *found = &looking->found;
    size_t at = 0;
    if (error) {
        tell(looking, error);
        return;
    }
    if (looking->id) {
        found->result_size = redis_answer_integer(redis_batch_answer(batch, at++), 0);
        found->result_ttl = redis_answer_integer(redis_batch_answer(batch, at++), -2);
    }
    if (looking->group) {
        found->chord_done = redis_answer_integer(redis_batch_answer(batch, at++), -1);
        found->chord_size = redis_answer_integer(redis_batch_answer(batch, at++), -1);
        found->chord_more = redis_answer_integer(redis_batch_answer(batch, at++), 0);
    }
    if (found->result_size <= 0 || found->result_size > CELERY_RESULT_MAX) {
        tell(looking, NULL);
        return;
    }
    talloc_free(looking->results);
    looking->results = redis_batch_new(looking);
    char *key = result_key(looking, looking->results);
    redis_batch_add(looking->results, "GET", key, NULL);
    redis_batch_ask(looking->results, found->system->result_redis, found->system->result_database,
                    on_result_text, looking);
}

static void ask_results(struct looking *looking)
{
    const struct celery_system *system = looking->found.system;
    looking->results = redis_batch_new(looking);
    if (looking->id) {
        char *key = result_key(looking, looking);
        redis_batch_add(looking->results, "STRLEN", key, NULL);
        redis_batch_add(looking->results, "TTL", key, NULL);
    }
    if (looking->group) { /* a chord counts its members; see celery/backends/redis.py */
        char *key = there(talloc_asprintf(looking, "celery-taskset-meta-%s", looking->group));
        redis_batch_add(looking->results, "ZCARD", NULL);
        redis_batch_format(looking->results, "%s.j", key);
        redis_batch_add(looking->results, "GET", NULL);
        redis_batch_format(looking->results, "%s.s", key);
        redis_batch_add(looking->results, "GET", NULL);
        redis_batch_format(looking->results, "%s.t", key);
    }
    if (redis_batch_count(looking->results) == 0)
        tell(looking, NULL);
    else
        redis_batch_ask(looking->results, system->result_redis, system->result_database, on_results, looking);
}

/* ---- the message ---- */

static bool is_it(const struct looking *looking, const char *raw, size_t length, int64_t index)
{
    const struct job *job = looking->job;
    if (!job->tag && !job->raw) /* corrupt: all that is known of it is where it was */
        return index == job->index && (int64_t)length == job->size;
    struct celery_envelope envelope;
    if (job->raw && job->raw_length == length && memcmp(job->raw, raw, length) == 0)
        return true;
    if (!job->tag || !memmem(raw, length, job->tag, strlen(job->tag)))
        return false;
    celery_envelope_scan(&envelope, raw, length, NULL);
    void *context = talloc_new(NULL);
    struct job its = {0};
    celery_job_fill(context, &its, &envelope, NULL, &looking->found.system->tenancy);
    bool same = its.tag && strcmp(its.tag, job->tag) == 0;
    talloc_free(context);
    return same;
}

/* Elements of the window, the last of which is the nearest to the head. */
static bool look_in_list(struct looking *looking, const struct redis_answer *window)
{
    struct celery_found *found = &looking->found;
    for (size_t i = window->count; i-- > 0;) {
        const struct redis_answer *item = redis_answer_item(window, i);
        int64_t index = looking->from_head + (int64_t)(window->count - 1 - i);
        if (!item->text || !is_it(looking, item->text, item->length, index))
            continue;
        found->raw = item->text;
        found->length = item->length;
        found->where = FOUND_LIST;
        found->index = index;
        return true;
    }
    return false;
}

static bool look_in_held(struct looking *looking, const struct redis_answer *value,
                         const struct redis_answer *score)
{
    struct celery_found *found = &looking->found;
    struct span message, exchange, routing_key;
    if (!value->text ||
        !celery_unacked_message(value->text, value->length, &message, &exchange, &routing_key))
        return false;
    found->raw = message.at;
    found->length = message.length;
    found->where = FOUND_HELD;
    found->held_queue = celery_span_text(looking, routing_key);
    found->taken_at = redis_answer_real(score, 0);
    return true;
}

static void on_message(void *data, struct redis_batch *batch, const struct error *error)
{
    struct looking *looking = data;
    struct celery_found *found = &looking->found;
    size_t at = 0;
    if (error) {
        tell(looking, error);
        return;
    }
    bool there_still = false;
    if (looking->job->index >= 0)
        there_still = look_in_list(looking, redis_batch_answer(batch, at++));
    if (!there_still && looking->job->tag)
        there_still = look_in_held(looking, redis_batch_answer(batch, at), redis_batch_answer(batch, at + 1));
    if (!there_still && looking->job->raw) {
        found->raw = looking->job->raw;
        found->length = looking->job->raw_length;
        found->where = FOUND_BEFORE;
    }
    if (found->raw) {
        struct celery_envelope envelope;
        struct job job = {0};
        celery_envelope_scan(&envelope, found->raw, found->length, NULL);
        celery_job_fill(looking, &job, &envelope, NULL, &found->system->tenancy);
        looking->id = job.id ? talloc_strdup(looking, job.id) : looking->id;
        looking->group = job.group ? talloc_strdup(looking, job.group) : looking->group;
    }
    ask_results(looking);
}

/* The place in its list, and what lies around it, because the list moves. */
static void ask_list(struct looking *looking)
{
    const struct job *job = looking->job;
    int64_t each = job->size > 0 ? job->size : 1000;
    int64_t around = NEAR_BYTES / each / 2;
    around = around > NEAR ? NEAR : around;
    looking->from_head = job->index > around ? job->index - around : 0;
    /* Workers take from the head, so that it is nearer to it by now. */
    redis_batch_add(looking->broker, "LRANGE", NULL);
    redis_batch_word(looking->broker, job->key, job->key_length);
    redis_batch_format(looking->broker, "%lld", -(long long)(job->index + around / 4 + 1));
    redis_batch_format(looking->broker, "%lld", -(long long)(looking->from_head + 1));
}

static void ask_message(struct looking *looking)
{
    struct celery_system *system = looking->found.system;
    const struct job *job = looking->job;
    looking->broker = redis_batch_new(looking);
    if (job->index >= 0 && job->key)
        ask_list(looking);
    else
        looking->job->index = -1;
    if (job->tag) { /* a worker may have taken it meanwhile */
        redis_batch_add(looking->broker, "HGET", celery_key(looking, system, system->names.unacked), job->tag,
                        NULL);
        redis_batch_add(looking->broker, "ZSCORE", celery_key(looking, system, system->names.unacked_index),
                        job->tag, NULL);
    }
    if (redis_batch_count(looking->broker) > 0)
        redis_batch_ask(looking->broker, system->redis, system->database, on_message, looking);
    else
        on_message(looking, looking->broker, NULL);
}

static void on_begin(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct looking *looking = timer->data;
    (void)loop, (void)events;
    talloc_free(timer);
    ask_message(looking);
}

void celery_job(struct queue_system *system, const struct job *job,
                void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                void *data)
{
    struct looking *looking = there(talloc_zero(NULL, struct looking));
    looking->job = job_copy(looking, job);
    looking->found = (struct celery_found){.system = (struct celery_system *)system,
                                           .job = looking->job,
                                           .index = -1,
                                           .result_ttl = -2,
                                           .chord_done = -1,
                                           .chord_size = -1};
    looking->id = job->id ? there(talloc_strdup(looking, job->id)) : NULL;
    looking->group = job->group ? there(talloc_strdup(looking, job->group)) : NULL;
    looking->done = done;
    looking->data = data;
    ev_timer *timer = there(talloc_zero(looking, ev_timer));
    ev_timer_init(timer, on_begin, 0, 0);
    timer->data = looking;
    ev_timer_start(loop_ev(system->loop), timer);
}
