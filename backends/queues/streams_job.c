/* One entry of a stream as a job, and all that is known of it. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/streams.h"
#include "core/clock.h"

enum { FIELDS_SHOWN = 12 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- fields as a job ---- */

static char *field_text(const void *context, const struct redis_answer *fields, const char *name)
{
    const struct redis_answer *value = redis_answer_field(fields, name);
    return value->kind == ANSWER_TEXT && value->length ? payload_utf8(context, value->text, value->length)
                                                       : NULL;
}

static char *first_of(const void *context, const struct redis_answer *fields, const char *const names[],
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *text = field_text(context, fields, names[i]);
        if (text)
            return text;
    }
    return NULL;
}

/* A message in one field of JSON: its members say what the fields do not. */
static struct piece payload_of(const struct redis_answer *fields)
{
    static const char *const names[] = {"payload", "data", "message", "body", "job", "json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct redis_answer *value = redis_answer_field(fields, names[i]);
        struct piece piece =
            value->kind == ANSWER_TEXT ? piece_of(value->text, value->length) : (struct piece){0};
        if (piece.kind == PIECE_OBJECT)
            return piece;
    }
    return (struct piece){0};
}

static char *find_task(const void *context, const struct redis_answer *fields, struct piece payload)
{
    static const char *const names[] = {"task", "type", "event", "name", "action", "class"};
    enum { NAMES = sizeof names / sizeof *names };
    char *task = first_of(context, fields, names, NAMES);
    for (size_t i = 0; !task && i < NAMES; i++)
        task = piece_text(context, piece_member(payload, names[i]));
    return task;
}

static char *find_tenant(const void *context, const struct redis_answer *fields, struct piece payload,
                         const struct environment_jobs *settings)
{
    static const char *const usual[] = {"_schema_name", "schema_name", "tenant", "schema", "tenant_id"};
    char *tenant = NULL;
    if (settings && settings->tenant_keyword)
        tenant = field_text(context, fields, settings->tenant_keyword);
    else
        tenant = first_of(context, fields, usual, sizeof usual / sizeof *usual);
    return tenant ? tenant : payload_tenant(context, payload, settings);
}

/* "{task: str, payload: {n: number}}" */
static char *fields_shape(const void *context, const struct redis_answer *fields)
{
    char *shape = or_die(talloc_strdup(context, "{"));
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        const struct redis_answer *name = &fields->items[i], *value = &fields->items[i + 1];
        if (i / 2 >= FIELDS_SHOWN) {
            shape = or_die(talloc_strdup_append_buffer(shape, ", …"));
            break;
        }
        char *label = name->kind == ANSWER_TEXT ? payload_utf8(shape, name->text, name->length) : NULL;
        struct piece piece =
            value->kind == ANSWER_TEXT ? piece_of(value->text, value->length) : (struct piece){0};
        char *type = piece.kind == PIECE_ABSENT ? NULL : piece_shape(shape, piece);
        shape = or_die(talloc_asprintf_append_buffer(shape, "%s%.60s: %s", i ? ", " : "", label ? label : "?",
                                                     type ? type : "str"));
    }
    return or_die(talloc_strdup_append_buffer(shape, "}"));
}

/* All values, a line each, to look for texts in. */
static char *fields_body(const void *context, const struct redis_answer *fields, size_t *length)
{
    size_t size = 0;
    for (size_t i = 0; i < fields->count; i++)
        size += fields->items[i].length + 1;
    char *body = or_die(talloc_size(context, size + 1)), *to = body;
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->items[i].kind != ANSWER_TEXT)
            continue;
        memcpy(to, fields->items[i].text, fields->items[i].length);
        to += fields->items[i].length;
        *to++ = '\n';
    }
    *to = '\0';
    *length = (size_t)(to - body);
    return body;
}

static void fill_pending(const void *context, const struct redis_item *item, struct job *job)
{
    job->worker = item->consumer;
    job->taken_at = job->started_at = clock_wall() - (double)item->idle_ms / 1000;
    job->retries = item->deliveries > 1 ? payload_count((double)item->deliveries) - 1 : 0;
    if (item->deliveries > 1) {
        job->flags |= JOB_REDELIVERED;
        job->exception = "not acknowledged";
        job->message = or_die(talloc_asprintf(context, "delivered %lld times", (long long)item->deliveries));
        job->finished_at = job->taken_at;
    }
    if (item->deliveries > STREAMS_POISON) {
        job->poison = POISON_D;
        job->why = "it is delivered again and again and never acknowledged";
    }
    if (!item->detail) {
        job->why = "the entry was deleted from the stream and is still held: acknowledge it";
        job->exception = "deleted";
    }
}

bool streams_fill(struct queue_system *system, const void *context, const struct redis_item *item,
                  struct job *job, const char **body, size_t *body_length)
{
    static const struct redis_answer no_fields = {.kind = ANSWER_ARRAY};
    const struct environment_jobs *settings = system ? system->at.settings : NULL;
    const struct redis_answer *fields = item->detail ? item->detail : &no_fields;
    struct piece payload = payload_of(fields);
    job->id = item->bytes;
    job->tag = item->bytes;
    job->task = find_task(context, fields, payload);
    job->tenant = find_tenant(context, fields, payload, settings);
    if (!job->tenant)
        job->tenant = payload_queue_tenant(context, item->shelf->key, settings);
    job->arguments = fields_shape(context, fields);
    job->enqueued_at = stream_id_time(item->bytes);
    *body = fields_body(context, fields, body_length);
    job->size = (int64_t)*body_length;
    job->flags |= job->size > 128 << 10 ? JOB_BIG : 0;
    if (item->shelf->kind == SHELF_PENDING)
        fill_pending(context, item, job);
    if (item->shelf->state == JOB_DEAD) {
        char *group = field_text(context, fields, "signalbox-group");
        char *from = field_text(context, fields, "signalbox-id");
        /* The dead of all groups of a stream lie together. */
        if (group && item->shelf->group && strcmp(group, item->shelf->group) != 0)
            return false;
        job->finished_at = stream_id_time(item->bytes);
        job->enqueued_at = from ? stream_id_time(from) : job->enqueued_at;
        job->exception = "discarded";
    }
    return true;
}

/* ---- all about one ---- */

struct streams_look {
    struct queue_system *system;
    struct job *job;
    struct redis_batch *batch;
    void (*done)(void *data, const struct job_facts *facts, const struct error *error);
    void *data;
};

static void add_time(struct job_facts *facts, const char *label, double at)
{
    char text[40];
    if (at > 0)
        job_facts_add(facts, "Times", label, false, "%s", clock_rfc3339(text, sizeof text, at));
}

static struct job_facts *make_facts(struct streams_look *look)
{
    const struct redis_answer *entry = redis_answer_item(redis_batch_answer(look->batch, 0), 0);
    const struct redis_answer *held = redis_answer_item(redis_batch_answer(look->batch, 1), 0);
    const struct redis_answer *fields = redis_answer_item(entry, 1);
    if (entry->kind != ANSWER_ARRAY && held->kind != ANSWER_ARRAY)
        return NULL;
    struct job_facts *facts = or_die(talloc_zero(look, struct job_facts));
    job_facts_add(facts, "Job", "id", false, "%s", look->job->id);
    job_facts_add(facts, "Job", "queue", false, "%s", look->job->queue ? look->job->queue : "?");
    job_facts_add(facts, "Job", "state", false, "%s", job_state_name(look->job->state));
    if (look->job->tenant)
        job_facts_add(facts, "Job", "tenant", false, "%s", look->job->tenant);
    add_time(facts, "added", stream_id_time(look->job->id));
    const char *consumer = redis_answer_text(redis_answer_item(held, 1));
    if (consumer) {
        job_facts_add(facts, "Job", "consumer", false, "%s", consumer);
        job_facts_add(facts, "Job", "deliveries", false, "%lld",
                      (long long)redis_answer_integer(redis_answer_item(held, 3), 0));
        add_time(facts, "delivered", clock_wall() - redis_answer_real(redis_answer_item(held, 2), 0) / 1000);
    }
    if (entry->kind != ANSWER_ARRAY)
        job_facts_add(facts, "Job", NULL, false, "the entry was deleted from the stream and is still held");
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        const struct redis_answer *name = &fields->items[i], *value = &fields->items[i + 1];
        if (name->kind == ANSWER_TEXT && value->kind == ANSWER_TEXT)
            job_facts_add(facts, "Fields", payload_utf8(facts, name->text, name->length), true, "%s",
                          payload_utf8(facts, value->text, value->length));
    }
    return facts;
}

static void on_look(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_look *look = data;
    struct error gone = {0};
    struct job_facts *facts = error ? NULL : make_facts(look);
    (void)batch;
    error_set(&gone, ERROR_GONE, look->system->name, "cannot show the entry", NULL,
              "it is not in the stream any more: it was deleted or trimmed");
    look->done(look->data, facts, facts ? NULL : error ? error : &gone);
    talloc_free(look);
}

void streams_job(struct queue_system *base, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data)
{
    const struct stream_group *group = streams_find((const struct streams_system *)base, job->queue);
    struct streams_look *look = or_die(talloc_zero(NULL, struct streams_look));
    const char *id = job->id ? job->id : "0-0", *key = job->key ? job->key : "";
    look->system = base;
    look->job = job_copy(look, job);
    look->done = done;
    look->data = data;
    look->batch = redis_batch_new(look);
    redis_batch_add(look->batch, "XRANGE", key, id, id, "COUNT", "1", NULL);
    if (group && job->state != JOB_DEAD)
        redis_batch_add(look->batch, "XPENDING", group->stream, group->group, id, id, "1", NULL);
    redis_batch_ask(look->batch, base->at.redis, base->at.database, on_look, look);
}
