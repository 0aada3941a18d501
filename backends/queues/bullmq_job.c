/* One job of BullMQ: its hash as a job, and all that is known of it. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "core/clock.h"

enum { LOGS_SHOWN = 100 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

enum bullmq_field {
    FIELD_NAME,
    FIELD_DATA,
    FIELD_OPTS,
    FIELD_TIMESTAMP,
    FIELD_PROCESSED,
    FIELD_FINISHED,
    FIELD_DELAY,
    FIELD_PRIORITY,
    FIELD_ATTEMPTS,
    FIELD_ATTEMPTS_OLD,
    FIELD_REASON,
    FIELD_STACK,
    FIELD_PARENT,
    FIELD_SCHEDULER,
    FIELD_PROGRESS,
    FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {
    "name", "data",         "opts",         "timestamp",  "processedOn", "finishedOn", "delay",   "priority",
    "atm",  "attemptsMade", "failedReason", "stacktrace", "parentKey",   "rjk",        "progress"};

void bullmq_add_fields(struct redis_batch *batch)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        redis_batch_static(batch, field_names[i]);
}

static const struct redis_answer *answer_of(const struct redis_item *item, enum bullmq_field field)
{
    return redis_answer_item(item->detail, (size_t)field);
}

static const char *text_of(const struct redis_item *item, enum bullmq_field field)
{
    const char *text = redis_answer_text(answer_of(item, field));
    return text && *text ? text : NULL;
}

static double time_of(const struct redis_item *item, enum bullmq_field field)
{
    double ms = redis_answer_real(answer_of(item, field), 0);
    return ms > 0 ? ms / 1000 : 0;
}

static struct piece json_of(const struct redis_item *item, enum bullmq_field field)
{
    const struct redis_answer *answer = answer_of(item, field);
    return answer->kind == ANSWER_TEXT ? piece_of(answer->text, answer->length) : (struct piece){0};
}

/* ---- stacks ---- */

/* "build (jobs.js:22)" of "    at build (/srv/app/jobs.js:22:76)" or "    at /srv/app/jobs.js:22:76". */
static char *stack_place(const void *context, const char *line, size_t length)
{
    const char *at = memmem(line, length, "at ", 3), *end = line + length;
    if (!at)
        return NULL;
    at += 3;
    const char *open = memchr(at, '(', (size_t)(end - at)), *path = open ? open + 1 : at;
    const char *slash = path;
    for (const char *p = path; p < end; p++)
        slash = *p == '/' ? p + 1 : slash;
    const char *colon = memchr(slash, ':', (size_t)(end - slash));
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    if (!colon || !digits)
        return NULL;
    int file = (int)(colon + 1 + digits - slash);
    size_t function = open ? (size_t)(open - at) : 0;
    while (function && at[function - 1] == ' ')
        function--;
    return function ? or_die(talloc_asprintf(context, "%.*s (%.*s)", (int)function, at, file, slash))
                    : or_die(talloc_strndup(context, slash, (size_t)file));
}

void node_stack(const void *context, const char *text, char **exception, char **frame)
{
    size_t first = strcspn(text, ":\n ");
    *exception = *frame = NULL;
    if (text[first] == ':' && first)
        *exception = or_die(talloc_strndup(context, text, first));
    const char *chosen = NULL;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        if (strncmp(line, "    at ", 7) != 0)
            continue;
        chosen = chosen ? chosen : line;
        if (!memmem(line, length, "node_modules", 12) && !memmem(line, length, "node:", 5)) {
            chosen = line;
            break;
        }
    }
    if (chosen)
        *frame = stack_place(context, chosen, strcspn(chosen, "\n"));
}

/* The last stack of a JSON array of them. */
static char *last_stack(const void *context, struct piece stacks)
{
    struct piece name, value, last = {0};
    const char *at = NULL;
    while (piece_next(stacks, &at, &name, &value))
        last = value;
    return piece_text(context, last);
}

/* ---- a hash as a job ---- */

static void fill_error(const void *context, const struct redis_item *item, struct job *job)
{
    const struct redis_answer *reason = answer_of(item, FIELD_REASON);
    char *stack = last_stack(NULL, json_of(item, FIELD_STACK));
    char *exception = NULL, *frame = NULL;
    if (reason->kind == ANSWER_TEXT)
        job->message = payload_utf8(context, reason->text, reason->length);
    if (stack && job->message)
        node_stack(context, stack, &exception, &frame);
    job->exception = exception;
    job->frame = frame;
    talloc_free(stack);
}

static void fill_retries(const struct redis_item *item, struct job *job)
{
    struct piece attempts = piece_member(json_of(item, FIELD_OPTS), "attempts");
    int64_t made = redis_answer_integer(answer_of(item, FIELD_ATTEMPTS), -1);
    if (made < 0)
        made = redis_answer_integer(answer_of(item, FIELD_ATTEMPTS_OLD), 0);
    bool over = job->state == JOB_FAILED || job->state == JOB_DONE;
    job->retries = made > 0 ? payload_count((double)made) - over : 0;
    double most = piece_real(attempts, 1);
    job->retries_max = most > 1 ? payload_count(most) - 1 : 0;
    if (job->state == JOB_SCHEDULED && made > 0)
        job->state = JOB_RETRYING;
}

static int64_t hash_size(const struct redis_item *item)
{
    int64_t size = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        size += (int64_t)redis_answer_item(item->detail, i)->length;
    return size;
}

static void fill_times(const struct redis_item *item, struct job *job)
{
    double delay = redis_answer_real(answer_of(item, FIELD_DELAY), 0);
    job->enqueued_at = time_of(item, FIELD_TIMESTAMP);
    job->started_at = job->taken_at = time_of(item, FIELD_PROCESSED);
    job->finished_at = time_of(item, FIELD_FINISHED);
    if (item->shelf->state == JOB_SCHEDULED)
        job->eta = item->score > 0 ? item->score / 4096 / 1000 : job->enqueued_at + delay / 1000;
}

bool bullmq_fill(struct queue_system *system, const void *context, const struct redis_item *item,
                 struct job *job, const char **body, size_t *body_length)
{
    const struct environment_jobs *settings = system ? system->at.settings : NULL;
    const struct redis_answer *data = answer_of(item, FIELD_DATA);
    struct piece arguments = json_of(item, FIELD_DATA);
    if (!item->detail || (!text_of(item, FIELD_NAME) && !text_of(item, FIELD_TIMESTAMP)))
        return false;
    job->id = or_die(talloc_strndup(context, item->bytes, item->length));
    job->tag = job->id;
    job->task = text_of(item, FIELD_NAME);
    job->arguments = arguments.kind == PIECE_ABSENT ? NULL : piece_shape(context, arguments);
    job->tenant = payload_tenant(context, arguments, settings);
    if (!job->tenant)
        job->tenant = payload_queue_tenant(context, job->queue, settings);
    job->priority = payload_count(redis_answer_real(answer_of(item, FIELD_PRIORITY), -1));
    job->parent = text_of(item, FIELD_PARENT);
    job->size = hash_size(item);
    job->flags |= job->size > 128 << 10 ? JOB_BIG : 0;
    job->flags |= job->parent ? JOB_CHAINED : 0;
    job->flags |= text_of(item, FIELD_SCHEDULER) ? JOB_PERIODIC : 0;
    if (job->state == JOB_RUNNING && item->more && redis_answer_integer(item->more, 0) == -2)
        job->flags |= JOB_ORPHANED; /* nobody holds its lock */
    fill_times(item, job);
    fill_retries(item, job);
    fill_error(context, item, job);
    *body = data->text;
    *body_length = data->length;
    return true;
}

/* ---- all about one ---- */

struct bullmq_look {
    struct queue_system *system;
    struct job *job;
    struct redis_shelf shelf;
    struct redis_item item;
    struct redis_batch *batch;
    void (*done)(void *data, const struct job_facts *facts, const struct error *error);
    void *data;
};

static void add_text(struct job_facts *facts, const char *section, const char *label, bool secret,
                     const char *text)
{
    if (text && *text)
        job_facts_add(facts, section, label, secret, "%s", text);
}

static void add_time(struct job_facts *facts, const char *label, double at)
{
    char text[40];
    if (at > 0)
        job_facts_add(facts, "Times", label, false, "%s", clock_rfc3339(text, sizeof text, at));
}

static void add_answer(struct job_facts *facts, const char *section, const char *label, bool secret,
                       const struct redis_answer *answer)
{
    if (answer->kind == ANSWER_TEXT && answer->length)
        job_facts_add(facts, section, label, secret, "%s", payload_utf8(facts, answer->text, answer->length));
}

static struct job_facts *make_facts(struct bullmq_look *look)
{
    struct job_facts *facts = or_die(talloc_zero(look, struct job_facts));
    const struct redis_item *item = &look->item;
    const char *body;
    size_t body_length;
    struct job job;
    redis_job_clear(&job);
    job.state = look->shelf.state;
    job.queue = look->job->queue;
    if (!bullmq_fill(look->system, facts, item, &job, &body, &body_length))
        return NULL;
    add_text(facts, "Job", "id", false, job.id);
    add_text(facts, "Job", "task", false, job.task);
    add_text(facts, "Job", "tenant", false, job.tenant);
    add_text(facts, "Job", "queue", false, job.queue);
    add_text(facts, "Job", "state", false, job_state_name(job.state));
    job_facts_add(facts, "Job", "retries", false, "%d of %d", job.retries, job.retries_max);
    add_text(facts, "Job", "priority", false, text_of(item, FIELD_PRIORITY));
    add_text(facts, "Job", "progress", false, text_of(item, FIELD_PROGRESS));
    add_text(facts, "Job", "parent", false, job.parent);
    add_text(facts, "Job", "scheduler", false, text_of(item, FIELD_SCHEDULER));
    int64_t lock = redis_answer_integer(redis_batch_answer(look->batch, 1), -2);
    if (job.state == JOB_RUNNING)
        job_facts_add(facts, "Job", "lock", false,
                      lock < 0 ? "none: its worker is gone" : "held for %lld ms more", (long long)lock);
    add_time(facts, "added", job.enqueued_at);
    add_time(facts, "due", job.eta);
    add_time(facts, "started", job.started_at);
    add_time(facts, "ended", job.finished_at);
    add_text(facts, "Arguments", "shape", false, job.arguments);
    add_answer(facts, "Arguments", "data", true, answer_of(item, FIELD_DATA));
    add_answer(facts, "Message", "options", false, answer_of(item, FIELD_OPTS));
    add_answer(facts, "Result", "value", true, redis_batch_answer(look->batch, 2));
    add_text(facts, "Error", "message", false, job.message);
    add_text(facts, "Traceback", NULL, false, last_stack(facts, json_of(item, FIELD_STACK)));
    const struct redis_answer *logs = redis_batch_answer(look->batch, 3);
    for (size_t i = 0; i < logs->count; i++)
        add_answer(facts, "Log", NULL, false, &logs->items[i]);
    return facts;
}

static void on_look(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_look *look = data;
    struct error gone = {0};
    struct job_facts *facts = NULL;
    if (!error)
        error = redis_batch_refusal(batch);
    if (!error) {
        look->item.detail = redis_batch_answer(batch, 0);
        facts = make_facts(look);
        error_set(&gone, ERROR_GONE, look->system->name, "cannot show the job", NULL,
                  "there is no job of that id any more: it was removed");
    }
    look->done(look->data, facts, facts ? NULL : error ? error : &gone);
    talloc_free(look);
}

void bullmq_job(struct queue_system *base, const struct job *job,
                void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                void *data)
{
    const struct bullmq_system *system = (const struct bullmq_system *)base;
    struct bullmq_look *look = or_die(talloc_zero(NULL, struct bullmq_look));
    const char *id = job->id ? job->id : "", *queue = job->queue ? job->queue : "";
    look->system = base;
    look->job = job_copy(look, job);
    look->done = done;
    look->data = data;
    look->shelf = (struct redis_shelf){
        .key = "", .state = job->state == JOB_RETRYING ? JOB_SCHEDULED : job->state, .count = -1};
    look->item = (struct redis_item){.shelf = &look->shelf,
                                     .bytes = or_die(talloc_strdup(look, id)),
                                     .length = strlen(id),
                                     .score = job->eta * 4096 * 1000,
                                     .index = -1};
    look->batch = redis_batch_new(look);
    redis_batch_add(look->batch, "HMGET", NULL);
    bullmq_add_key(look->batch, system, queue, id);
    bullmq_add_fields(look->batch);
    redis_batch_add(look->batch, "PTTL", NULL);
    redis_batch_format(look->batch, "%s:%s:%s:lock", system->prefix, queue, id);
    redis_batch_add(look->batch, "HGET", NULL);
    bullmq_add_key(look->batch, system, queue, id);
    redis_batch_static(look->batch, "returnvalue");
    redis_batch_add(look->batch, "LRANGE", NULL);
    redis_batch_format(look->batch, "%s:%s:%s:logs", system->prefix, queue, id);
    redis_batch_static(look->batch, "0");
    redis_batch_format(look->batch, "%d", LOGS_SHOWN - 1);
    redis_batch_ask(look->batch, base->at.redis, base->at.database, on_look, look);
}
