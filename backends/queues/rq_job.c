/* One job of RQ: its hash as a job, and all that is known of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/queues/rq.h"
#include "core/clock.h"

enum { NAME_LOOK = 2048, TRACEBACK_MOST = 256 << 10 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

enum rq_field {
    FIELD_STATUS,
    FIELD_ORIGIN,
    FIELD_DESCRIPTION,
    FIELD_DATA,
    FIELD_CREATED,
    FIELD_ENQUEUED,
    FIELD_STARTED,
    FIELD_ENDED,
    FIELD_TIMEOUT,
    FIELD_RETRIES_LEFT,
    FIELD_RETRY_INTERVALS,
    FIELD_WORKER,
    FIELD_META,
    FIELD_EXC_INFO,
    FIELD_DEPENDENCIES,
    FIELD_RETRIES_DONE,
    FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {
    "status",     "origin",       "description",     "data",
    "created_at", "enqueued_at",  "started_at",      "ended_at",
    "timeout",    "retries_left", "retry_intervals", "worker_name",
    "meta",       "exc_info",     "dependency_ids",  "number_of_retries"};

void rq_add_fields(struct redis_batch *batch)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        redis_batch_static(batch, field_names[i]);
}

double rq_time(const char *text)
{
    struct tm tm = {0};
    double fraction = 0;
    if (!text || !*text)
        return 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    if (!rest)
        return 0;
    if (*rest == '.')
        fraction = strtod(rest, NULL);
    return (double)timegm(&tm) + (fraction >= 0 && fraction < 1 ? fraction : 0);
}

/* An execution's id is a UUID in hex; a job's own id may hold colons. */
char *rq_member_job(const void *context, const char *member, bool wip)
{
    const char *colon = wip ? strrchr(member, ':') : NULL;
    bool execution = colon && colon > member && strlen(colon + 1) >= 20 &&
                     strspn(colon + 1, "0123456789abcdef-") == strlen(colon + 1);
    return or_die(talloc_strndup(context, member, execution ? (size_t)(colon - member) : strlen(member)));
}

char *rq_error_text(const void *context, const char *bytes, size_t length, bool base64)
{
    size_t result = 0;
    char *packed = base64 ? payload_base64(NULL, bytes, length, &length) : NULL;
    if (base64 && !packed)
        return NULL;
    char *text = payload_inflate(NULL, base64 ? packed : bytes, length, TRACEBACK_MOST, &result, NULL);
    char *shown = text                ? payload_utf8(context, text, result)
                  : !base64 && length ? payload_utf8(context, bytes, length)
                                      : NULL;
    talloc_free(text);
    talloc_free(packed);
    return shown;
}

/* ---- a hash as a job ---- */

static const char *field(const struct redis_item *item, enum rq_field index)
{
    const char *text = redis_answer_text(redis_answer_item(item->detail, (size_t)index));
    return text && *text ? text : NULL;
}

/* The message's data without what compresses it; NULL: it cannot be read. */
static char *data_bytes(const void *context, const struct redis_item *item, size_t most, size_t *length)
{
    const struct redis_answer *data = redis_answer_item(item->detail, FIELD_DATA);
    if (data->kind != ANSWER_TEXT)
        return NULL;
    char *bytes = payload_inflate(context, data->text, data->length, most, length, NULL);
    if (!bytes && data->length) { /* written without compression */
        *length = data->length < most ? data->length : most;
        bytes = or_die(talloc_memdup(context, data->text, *length));
    }
    return bytes;
}

/* data is [function, instance, args, kwargs], as JSON or as a pickle, of which only the name is read. */
static void fill_call(const void *context, const struct redis_item *item, struct job *job,
                      const struct environment_jobs *settings)
{
    size_t length = 0;
    char *data = data_bytes(NULL, item, PAYLOAD_MOST, &length);
    struct piece call = data && length && *data == '[' ? piece_of(data, length) : (struct piece){0};
    const char *description = field(item, FIELD_DESCRIPTION);
    char *name = NULL, *shape = NULL;
    if (call.kind == PIECE_ARRAY) {
        struct piece arguments = piece_element(call, 2), keywords = piece_element(call, 3);
        job->task = piece_text(context, piece_element(call, 0));
        char *first = piece_shape(context, arguments), *second = piece_shape(context, keywords);
        job->arguments = or_die(talloc_asprintf(context, "%s%s%s", first, second[1] == '}' ? "" : ", ",
                                                second[1] == '}' ? "" : second));
        job->tenant = payload_tenant(context, keywords, settings);
        if (!job->tenant && settings && settings->tenant_argument >= 0)
            job->tenant = piece_text(context, piece_element(arguments, (size_t)settings->tenant_argument));
    } else {
        job->flags |= JOB_PICKLED;
        job->task = data ? pickle_name(context, data, length) : NULL;
        if (description && python_call(context, description, &name, &shape)) {
            job->task = job->task ? job->task : name;
            job->arguments = shape;
            if (settings && settings->tenant_argument >= 0)
                job->tenant = python_argument(context, description, settings->tenant_argument);
            if (!job->tenant)
                job->tenant = python_keyword(context, description,
                                             settings && settings->tenant_keyword ? settings->tenant_keyword
                                                                                  : "_schema_name");
        } else
            job->arguments = description ? or_die(talloc_strdup(context, description)) : NULL;
    }
    talloc_free(data);
}

static void fill_tenant(const void *context, const struct redis_item *item, struct job *job,
                        const struct environment_jobs *settings)
{
    const struct redis_answer *meta = redis_answer_item(item->detail, FIELD_META);
    const char *keyword = settings && settings->tenant_keyword ? settings->tenant_keyword : "_schema_name";
    if (meta->kind == ANSWER_TEXT && meta->length && *meta->text == '{')
        job->tenant = payload_tenant(context, piece_of(meta->text, meta->length), settings);
    else if (meta->kind == ANSWER_TEXT && meta->length)
        job->tenant = pickle_string(context, meta->text, meta->length, keyword);
}

void rq_ask_result(struct redis_batch *batch, const char *id)
{
    redis_batch_add(batch, "XREVRANGE", NULL);
    redis_batch_format(batch, "rq:results:%s", id);
    redis_batch_static(batch, "+");
    redis_batch_static(batch, "-");
    redis_batch_static(batch, "COUNT");
    redis_batch_static(batch, "1");
}

/* The traceback of the last result, else of the hash, as RQ wrote it before 1.12. */
static char *error_text(const void *context, const struct redis_item *item)
{
    const struct redis_answer *result =
        item->more ? redis_answer_item(redis_answer_item(item->more, 0), 1) : NULL;
    const struct redis_answer *packed = result ? redis_answer_field(result, "exc_string") : NULL;
    if (packed && packed->kind == ANSWER_TEXT)
        return rq_error_text(context, packed->text, packed->length, true);
    const struct redis_answer *info = redis_answer_item(item->detail, FIELD_EXC_INFO);
    return info->kind == ANSWER_TEXT ? rq_error_text(context, info->text, info->length, false) : NULL;
}

static void fill_error(const void *context, const struct redis_item *item, struct job *job)
{
    char *text = error_text(NULL, item);
    char *exception, *message, *frame;
    if (!text)
        return;
    python_traceback(context, text, &exception, &message, &frame);
    job->exception = exception;
    job->message = message;
    job->frame = frame;
    talloc_free(text);
}

static void fill_retries(const struct redis_item *item, struct job *job)
{
    int64_t left = redis_answer_integer(redis_answer_item(item->detail, FIELD_RETRIES_LEFT), -1);
    int64_t done = redis_answer_integer(redis_answer_item(item->detail, FIELD_RETRIES_DONE), -1);
    job->retries = done > 0 ? payload_count((double)done) : 0;
    if (left >= 0)
        job->retries_max = payload_count((double)left + job->retries);
}

static int64_t hash_size(const struct redis_item *item)
{
    int64_t size = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        size += (int64_t)redis_answer_item(item->detail, i)->length;
    return size;
}

static enum job_state state_of(const struct redis_item *item, enum job_state shelf, const char *status)
{
    /* A retry that waits for its time. */
    if (shelf == JOB_SCHEDULED && field(item, FIELD_ENDED))
        return JOB_RETRYING;
    if (shelf == JOB_FAILED && status && strcmp(status, "queued") == 0)
        return JOB_READY;
    return shelf;
}

bool rq_fill(struct queue_system *system, const void *context, const struct redis_item *item, struct job *job,
             const char **body, size_t *body_length)
{
    const struct environment_jobs *settings = system ? system->at.settings : NULL;
    const char *status = field(item, FIELD_STATUS), *timeout = field(item, FIELD_TIMEOUT);
    if (!item->detail || (!status && !field(item, FIELD_CREATED)))
        return false;
    job->id = rq_member_job(context, item->bytes, item->shelf->state == JOB_RUNNING);
    job->tag = item->bytes;
    if (field(item, FIELD_ORIGIN) && !job->queue)
        job->queue = field(item, FIELD_ORIGIN);
    job->state = state_of(item, item->shelf->state, status);
    fill_tenant(context, item, job, settings);
    const char *by_meta = job->tenant;
    fill_call(context, item, job, settings);
    job->tenant = by_meta        ? by_meta
                  : !job->tenant ? payload_queue_tenant(context, job->queue, settings)
                                 : job->tenant;
    job->enqueued_at = rq_time(field(item, FIELD_ENQUEUED));
    if (job->enqueued_at <= 0)
        job->enqueued_at = rq_time(field(item, FIELD_CREATED));
    job->started_at = job->taken_at = rq_time(field(item, FIELD_STARTED));
    job->finished_at = rq_time(field(item, FIELD_ENDED));
    if (job->finished_at <= 0 && job->state == JOB_FAILED) /* stopped on demand: RQ writes no end */
        job->finished_at = job->started_at;
    if (item->shelf->state == JOB_SCHEDULED)
        job->eta = item->score;
    double seconds = timeout ? strtod(timeout, NULL) : 0;
    job->limit_s = seconds > 0 ? seconds : 0;
    job->worker = field(item, FIELD_WORKER);
    job->parent = NULL;
    if (field(item, FIELD_DEPENDENCIES) && strcmp(field(item, FIELD_DEPENDENCIES), "[]") != 0)
        job->flags |= JOB_CHAINED;
    job->size = hash_size(item);
    if (job->size > 128 << 10)
        job->flags |= JOB_BIG;
    fill_retries(item, job);
    fill_error(context, item, job);
    if (status && strcmp(status, "stopped") == 0)
        job->exception = "stopped";
    const struct redis_answer *text = redis_answer_item(item->detail, FIELD_DESCRIPTION);
    *body = text->text;
    *body_length = text->length;
    return true;
}

/* ---- all about one ---- */

struct rq_look {
    struct queue_system *system;
    struct job *job;
    struct redis_shelf shelf;
    struct redis_item item;
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

static void add_text(struct job_facts *facts, const char *section, const char *label, bool secret,
                     const char *text)
{
    if (text && *text)
        job_facts_add(facts, section, label, secret, "%s", text);
}

/* The last result: type, and a traceback (2) or a pickled value, which is not read. */
static void add_result(struct job_facts *facts, const struct redis_answer *entries)
{
    static const char *const kinds[] = {"unknown", "succeeded", "failed",
                                        "stopped", "retried",   "gave up after its retries"};
    const struct redis_answer *entry = redis_answer_item(redis_answer_item(entries, 0), 1);
    if (entry->kind != ANSWER_ARRAY)
        return;
    int64_t type = redis_answer_integer(redis_answer_field(entry, "type"), 0);
    job_facts_add(facts, "Result", "outcome", false, "%s", kinds[type >= 1 && type <= 5 ? type : 0]);
    const struct redis_answer *packed = redis_answer_field(entry, "exc_string");
    char *text =
        packed->kind == ANSWER_TEXT ? rq_error_text(facts, packed->text, packed->length, true) : NULL;
    add_text(facts, "Traceback", NULL, false, text);
    const struct redis_answer *value = redis_answer_field(entry, "return_value");
    if (value->kind == ANSWER_TEXT)
        job_facts_add(facts, "Result", "value", false, "pickled, %zu bytes: not read", value->length * 3 / 4);
}

static void add_arguments(struct job_facts *facts, const struct rq_look *look, const struct job *job)
{
    size_t length = 0;
    char *data = data_bytes(facts, &look->item, PAYLOAD_MOST, &length);
    add_text(facts, "Arguments", "shape", false, job->arguments);
    if (data && length && *data == '[')
        job_facts_add(facts, "Arguments", "JSON", true, "%s", payload_utf8(facts, data, length));
    else {
        add_text(facts, "Arguments", "call", true, field(&look->item, FIELD_DESCRIPTION));
        job_facts_add(facts, "Arguments", "data", false, "pickled, %zu bytes: never unpacked", length);
    }
}

static struct job_facts *make_facts(struct rq_look *look)
{
    struct job_facts *facts = or_die(talloc_zero(look, struct job_facts));
    const char *body, *status = field(&look->item, FIELD_STATUS);
    size_t body_length;
    struct job job;
    redis_job_clear(&job);
    job.state = look->shelf.state;
    job.queue = look->job->queue;
    if (!rq_fill(look->system, facts, &look->item, &job, &body, &body_length))
        return NULL;
    add_text(facts, "Job", "id", false, job.id);
    add_text(facts, "Job", "task", false, job.task);
    add_text(facts, "Job", "tenant", false, job.tenant);
    add_text(facts, "Job", "queue", false, field(&look->item, FIELD_ORIGIN));
    add_text(facts, "Job", "status", false, status);
    add_text(facts, "Job", "worker", false, job.worker);
    add_text(facts, "Job", "time limit", false, field(&look->item, FIELD_TIMEOUT));
    add_text(facts, "Job", "retries left", false, field(&look->item, FIELD_RETRIES_LEFT));
    add_text(facts, "Job", "retry after", false, field(&look->item, FIELD_RETRY_INTERVALS));
    add_text(facts, "Job", "waits for", false, field(&look->item, FIELD_DEPENDENCIES));
    add_time(facts, "created", rq_time(field(&look->item, FIELD_CREATED)));
    add_time(facts, "enqueued", rq_time(field(&look->item, FIELD_ENQUEUED)));
    add_time(facts, "started", job.started_at);
    add_time(facts, "ended", rq_time(field(&look->item, FIELD_ENDED)));
    add_time(facts, "due", redis_answer_real(redis_batch_answer(look->batch, 2), 0));
    add_arguments(facts, look, &job);
    add_result(facts, redis_batch_answer(look->batch, 1));
    const struct redis_answer *info = redis_answer_item(look->item.detail, FIELD_EXC_INFO);
    if (info->kind == ANSWER_TEXT)
        add_text(facts, "Traceback", NULL, false, rq_error_text(facts, info->text, info->length, false));
    int64_t ttl = redis_answer_integer(redis_batch_answer(look->batch, 3), -1);
    if (ttl > 0)
        job_facts_add(facts, "Job", "kept for", false, "%lld s more", (long long)(ttl / 1000));
    return facts;
}

static void on_look(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_look *look = data;
    struct error gone = {0};
    struct job_facts *facts = NULL;
    if (!error)
        error = redis_batch_refusal(batch);
    if (!error) {
        look->item.detail = redis_batch_answer(batch, 0);
        facts = make_facts(look);
        error_set(&gone, ERROR_GONE, look->system->name, "cannot show the job", NULL,
                  "there is no job of that id any more: it expired or was removed");
    }
    look->done(look->data, facts, facts ? NULL : error ? error : &gone);
    talloc_free(look);
}

void rq_job(struct queue_system *system, const struct job *job,
            void (*done)(void *data, const struct job_facts *facts, const struct error *error), void *data)
{
    struct rq_look *look = or_die(talloc_zero(NULL, struct rq_look));
    const char *id = job->id ? job->id : "";
    look->system = system;
    look->job = job_copy(look, job);
    look->done = done;
    look->data = data;
    look->shelf = (struct redis_shelf){.key = "", .state = job->state, .count = -1};
    look->item = (struct redis_item){
        .shelf = &look->shelf, .bytes = or_die(talloc_strdup(look, id)), .length = strlen(id), .index = -1};
    look->batch = redis_batch_new(look);
    redis_batch_add(look->batch, "HMGET", NULL);
    redis_batch_format(look->batch, "rq:job:%s", id);
    rq_add_fields(look->batch);
    rq_ask_result(look->batch, id);
    redis_batch_add(look->batch, "ZSCORE", NULL);
    redis_batch_format(look->batch, "rq:scheduled:%s", job->queue ? job->queue : "");
    redis_batch_word(look->batch, id, strlen(id));
    redis_batch_add(look->batch, "PTTL", NULL);
    redis_batch_format(look->batch, "rq:job:%s", id);
    redis_batch_ask(look->batch, system->at.redis, system->at.database, on_look, look);
}
