/* One job of Sidekiq: its JSON as a job, what it becomes when it is tried again, and all that is known of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/sidekiq.h"
#include "core/clock.h"

enum { BACKTRACE_MOST = 256 << 10, RETRIES_USUAL = 25 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

double sidekiq_time(struct piece piece)
{
    double time = piece_real(piece, 0);
    return time > 1e11 ? time / 1000 : time > 0 ? time : 0;
}

char *sidekiq_backtrace(const void *context, struct piece object)
{
    struct piece packed = piece_member(object, "error_backtrace"), name, line;
    const char *at = NULL;
    size_t length = 0, result = 0;
    if (packed.kind == PIECE_ABSENT || packed.kind == PIECE_NULL)
        return NULL;
    char *text = piece_text(NULL, packed);
    char *bytes = text ? payload_base64(text, text, strlen(text), &length) : NULL;
    char *json = bytes ? payload_inflate(text, bytes, length, BACKTRACE_MOST, &result, NULL) : NULL;
    struct piece lines = json ? piece_of(json, result) : packed; /* before 5.0: an array as it is */
    char *joined = lines.kind == PIECE_ARRAY ? or_die(talloc_strdup(context, "")) : NULL;
    while (joined && piece_next(lines, &at, &name, &line)) {
        char *own = piece_text(joined, line);
        joined = or_die(talloc_asprintf_append_buffer(joined, "%s\n", own ? own : "?"));
        talloc_free(own);
    }
    talloc_free(text);
    return joined;
}

/* The first line that is not of a gem, with the folder of its file: "jobs/export.rb:14:in `perform'". */
static char *frame_of(const void *context, const char *backtrace)
{
    const char *chosen = backtrace;
    for (const char *line = backtrace; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        if (!memmem(line, length, "/gems/", 6) && !memmem(line, length, "/lib/ruby/", 10)) {
            chosen = line;
            break;
        }
    }
    size_t length = strcspn(chosen, "\n"), path = strcspn(chosen, ":");
    const char *at = chosen + (path < length ? path : length);
    for (int slashes = 0; at > chosen; at--)
        if (at[-1] == '/' && ++slashes == 2)
            break;
    return length ? or_die(talloc_strndup(context, at, (size_t)(chosen + length - at))) : NULL;
}

/* ---- JSON as a job ---- */

static char *tag_tenant(const void *context, struct piece object)
{
    struct piece tags = piece_member(object, "tags"), name, tag;
    const char *at = NULL;
    while (piece_next(tags, &at, &name, &tag)) {
        char *text = piece_text(context, tag);
        if (text && strncmp(text, "tenant:", 7) == 0 && text[7])
            return or_die(talloc_strdup(context, text + 7));
        talloc_free(text);
    }
    return NULL;
}

static char *find_tenant(const void *context, struct piece object, struct piece arguments,
                         const struct environment_jobs *settings)
{
    char *tenant = NULL;
    if (settings && settings->tenant_argument >= 0)
        tenant = piece_text(context, piece_element(arguments, (size_t)settings->tenant_argument));
    if (!tenant)
        tenant = payload_tenant(context, object, settings);
    if (!tenant)
        tenant = piece_text(context, piece_member(object, "apartment"));
    if (!tenant)
        tenant = tag_tenant(context, object);
    if (!tenant) {
        struct piece first = piece_element(arguments, 0);
        if (first.kind == PIECE_OBJECT)
            tenant = payload_tenant(context, first, settings);
    }
    return tenant;
}

static void fill_error(const void *context, struct piece object, struct job *job)
{
    job->exception = piece_text(context, piece_member(object, "error_class"));
    job->message = piece_text(context, piece_member(object, "error_message"));
    char *backtrace = sidekiq_backtrace(NULL, object);
    if (backtrace)
        job->frame = frame_of(context, backtrace);
    talloc_free(backtrace);
    double last = sidekiq_time(piece_member(object, "retried_at"));
    job->finished_at = last > 0 ? last : sidekiq_time(piece_member(object, "failed_at"));
}

static void fill_retries(struct piece object, struct job *job)
{
    struct piece retry = piece_member(object, "retry"), count = piece_member(object, "retry_count");
    job->retries = count.kind == PIECE_NUMBER ? payload_count(piece_real(count, -1)) + 1 : 0;
    if (retry.kind == PIECE_NUMBER)
        job->retries_max = payload_count(piece_real(retry, 0));
    else if (retry.kind == PIECE_BOOLEAN)
        job->retries_max = *retry.at == 't' ? RETRIES_USUAL : 0;
}

void sidekiq_fill_json(const void *context, const char *text, size_t length, struct job *job,
                       const struct environment_jobs *settings)
{
    struct piece object = piece_of(text, length);
    job->size = (int64_t)length;
    job->flags |= length > 128 << 10 ? JOB_BIG : 0;
    if (object.kind != PIECE_OBJECT) {
        job->poison = POISON_B;
        job->why = "it is no JSON object: Sidekiq moves it to the dead set";
        return;
    }
    struct piece arguments = piece_member(object, "args");
    job->id = piece_text(context, piece_member(object, "jid"));
    job->task = piece_text(context, piece_member(object, "wrapped"));
    struct piece wrapper = piece_element(arguments, 0);
    if (!job->task)
        job->task = piece_text(context, piece_member(object, "class"));
    else if (wrapper.kind == PIECE_OBJECT && piece_member(wrapper, "arguments").kind == PIECE_ARRAY)
        arguments = piece_member(wrapper, "arguments"); /* of Active Job */
    if (!job->task || arguments.kind != PIECE_ARRAY) {
        job->poison = POISON_B;
        job->why = "it has no class or no arguments: it fails before anything of it runs";
    }
    job->queue = piece_text(context, piece_member(object, "queue"));
    job->arguments = piece_shape(context, arguments);
    job->tenant = find_tenant(context, object, arguments, settings);
    job->enqueued_at = sidekiq_time(piece_member(object, "enqueued_at"));
    if (job->enqueued_at <= 0)
        job->enqueued_at = sidekiq_time(piece_member(object, "created_at"));
    fill_retries(object, job);
    fill_error(context, object, job);
    if (piece_member(object, "bid").kind == PIECE_STRING) {
        job->flags |= JOB_GROUPED;
        job->group = piece_text(context, piece_member(object, "bid"));
    }
}

/* ---- trying again ---- */

/* A member's value replaced, or the member put in front of the closing brace. */
static char *set_member(const void *context, char *text, size_t *length, const char *name, const char *value)
{
    struct piece object = piece_of(text, *length), member = piece_member(object, name);
    if (member.kind != PIECE_ABSENT) {
        char *replaced = piece_replace(context, text, *length, member, value, length);
        talloc_free(text);
        return replaced;
    }
    const char *brace = object.at + object.length - 1;
    struct piece none = {.at = brace, .length = 0};
    struct piece key, first;
    const char *at = NULL;
    bool empty = !piece_next(object, &at, &key, &first);
    char *added = or_die(talloc_asprintf(NULL, "%s\"%s\":%s", empty ? "" : ",", name, value));
    char *fresh = piece_replace(context, text, *length, none, added, length);
    talloc_free(added);
    talloc_free(text);
    return fresh;
}

/* Milliseconds when its other times are such, else seconds with a fraction. */
static bool in_milliseconds(struct piece object)
{
    return piece_real(piece_member(object, "created_at"), 0) > 1e11 ||
           piece_real(piece_member(object, "enqueued_at"), 0) > 1e11;
}

char *sidekiq_again(const void *context, const char *text, size_t length, double now, size_t *result)
{
    struct piece object = piece_of(text, length), count = piece_member(object, "retry_count");
    char value[40];
    if (object.kind != PIECE_OBJECT)
        return NULL;
    char *fresh = or_die(talloc_memdup(context, text, length));
    *result = length;
    if (in_milliseconds(object))
        snprintf(value, sizeof value, "%lld", (long long)(now * 1000));
    else
        snprintf(value, sizeof value, "%.6f", now);
    fresh = set_member(context, fresh, result, "enqueued_at", value);
    if (count.kind == PIECE_NUMBER) {
        snprintf(value, sizeof value, "%d", payload_count(piece_real(count, 0)) - 1);
        fresh = set_member(context, fresh, result, "retry_count", value);
    }
    return fresh;
}

/* ---- all about one ---- */

struct sidekiq_look {
    struct queue_system *system;
    struct job *job;
    struct queue_read *read;
    struct job_facts *facts;
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

static void fill_facts(struct job_facts *facts, const struct job *job)
{
    struct piece object = piece_of(job->raw, job->raw_length), name, value;
    const char *at = NULL;
    add_text(facts, "Job", "id", false, job->id);
    add_text(facts, "Job", "task", false, job->task);
    add_text(facts, "Job", "tenant", false, job->tenant);
    add_text(facts, "Job", "queue", false, job->queue);
    add_text(facts, "Job", "state", false, job_state_name(job->state));
    add_text(facts, "Job", "poison", false, job->poison ? job->why : NULL);
    if (job->retries_max >= 0)
        job_facts_add(facts, "Job", "retries", false, "%d of %d", job->retries, job->retries_max);
    add_time(facts, "created", sidekiq_time(piece_member(object, "created_at")));
    add_time(facts, "enqueued", sidekiq_time(piece_member(object, "enqueued_at")));
    add_time(facts, "due", job->eta);
    add_time(facts, "failed first", sidekiq_time(piece_member(object, "failed_at")));
    add_time(facts, "failed last", sidekiq_time(piece_member(object, "retried_at")));
    add_time(facts, "died", job->state == JOB_DEAD ? job->finished_at : 0);
    add_text(facts, "Arguments", "shape", false, job->arguments);
    struct piece arguments = piece_member(object, "args");
    if (arguments.kind != PIECE_ABSENT)
        job_facts_add(facts, "Arguments", "JSON", true, "%s",
                      payload_utf8(facts, arguments.at, arguments.length));
    add_text(facts, "Error", "class", false, job->exception);
    add_text(facts, "Error", "message", false, job->message);
    add_text(facts, "Traceback", NULL, false, sidekiq_backtrace(facts, object));
    static const char *const told[] = {"args",       "error_backtrace", "error_message", "error_class",
                                       "class",      "wrapped",         "jid",           "queue",
                                       "created_at", "enqueued_at",     "failed_at",     "retried_at"};
    while (piece_next(object, &at, &name, &value)) {
        bool known = false;
        for (size_t i = 0; i < sizeof told / sizeof *told; i++)
            known = known || piece_is(name, told[i]);
        char *label = piece_text(facts, name);
        if (!known)
            job_facts_add(facts, "Message", label, false, "%s", payload_utf8(facts, value.at, value.length));
    }
    if (object.kind == PIECE_ABSENT)
        job_facts_add(facts, "Message", NULL, true, "%s", payload_utf8(facts, job->raw, job->raw_length));
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct sidekiq_look *look = data;
    for (size_t i = 0; i < count && !look->facts; i++) {
        const char *id = look->job->id, *found = jobs[i].id;
        bool same = id && found ? strcmp(id, found) == 0
                                : look->job->raw && look->job->raw_length == jobs[i].raw_length &&
                                      !memcmp(look->job->raw, jobs[i].raw, jobs[i].raw_length);
        if (!same)
            continue;
        look->facts = or_die(talloc_zero(look, struct job_facts));
        fill_facts(look->facts, &jobs[i]);
        redis_read_stop(look->read);
    }
}

static void on_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct sidekiq_look *look = data;
    struct error gone = {0};
    (void)progress;
    if (!look->facts && !error && look->job->state == JOB_RUNNING && look->job->raw) {
        look->facts = or_die(talloc_zero(look, struct job_facts)); /* as its process says */
        fill_facts(look->facts, look->job);
    }
    error_set(&gone, ERROR_GONE, look->system->name, "cannot show the job", NULL,
              "it is not there any more: it ran, moved or was removed");
    look->done(look->data, look->facts, look->facts ? NULL : error ? error : &gone);
    talloc_free(look);
}

/* There is no way to a job by its id: the place where it was seen is read again from about there. */
void sidekiq_job(struct queue_system *system, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data)
{
    struct sidekiq_look *look = or_die(talloc_zero(NULL, struct sidekiq_look));
    look->system = system;
    look->job = job_copy(look, job);
    look->done = done;
    look->data = data;
    look->read =
        redis_read_start(system, &sidekiq_reading,
                         &(struct queue_read_request){.queue = job->queue,
                                                      .states = 1u << job->state,
                                                      .offset = job->index > 500 ? job->index - 500 : 0,
                                                      .keep_raw = true},
                         (struct queue_read_handler){.jobs = on_jobs, .done = on_done, .data = look});
}
