/* Results of Celery as jobs: what became of an id. */
#include "backends/queues/celery_result.h"

#include <hiredis/hiredis.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_failure_groups.h"
#include "backends/queues/celery_read.h"

enum { DEPTH_MAX = 200 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static const char *text_of(const void *context, struct json_object *object, const char *name)
{
    struct json_object *member;
    if (!json_object_object_get_ex(object, name, &member) || !json_object_is_type(member, json_type_string))
        return NULL;
    return there(talloc_strdup(context, json_object_get_string(member)));
}

static enum job_state state_of(const char *status)
{
    static const struct {
        const char *status;
        enum job_state state;
    } known[] = {{"SUCCESS", JOB_DONE},      {"FAILURE", JOB_FAILED},  {"RETRY", JOB_RETRYING},
                 {"REVOKED", JOB_CANCELLED}, {"STARTED", JOB_RUNNING}, {"PENDING", JOB_READY},
                 {"RECEIVED", JOB_UNACKED}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].status, status) == 0)
            return known[i].state;
    return JOB_RUNNING; /* a state of the application's own, as PROGRESS */
}

/* exc_message is an array of the exception's arguments; older ones have a text. */
static const char *exception_message(const void *context, struct json_object *result)
{
    struct json_object *message;
    if (!json_object_object_get_ex(result, "exc_message", &message) || !message)
        return NULL;
    if (json_object_is_type(message, json_type_array) && json_object_array_length(message) > 0)
        message = json_object_array_get_idx(message, 0);
    return message ? there(talloc_strdup(context, json_object_get_string(message))) : NULL;
}

bool celery_result_fill(const void *context, const struct celery_system *system, const char *json,
                        size_t length, struct job *job, struct json_object **parsed)
{
    if (parsed)
        *parsed = NULL;
    if (length == 0 || length > CELERY_RESULT_MAX)
        return false;
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *object = tokener ? json_tokener_parse_ex(tokener, json, (int)length) : NULL;
    json_tokener_free(tokener);
    const char *status = object ? text_of(context, object, "status") : NULL;
    if (!status) {
        json_object_put(object);
        return false;
    }
    *job = (struct job){.priority = -1, .retries_max = -1, .index = -1, .size = (int64_t)length};
    job->state = state_of(status);
    job->id = text_of(context, object, "task_id");
    job->task = text_of(context, object, "name");
    job->queue = text_of(context, object, "queue");
    job->worker = text_of(context, object, "worker");
    job->parent = text_of(context, object, "parent_id");
    job->group = text_of(context, object, "group_id");
    job->retries = -1;
    struct json_object *member;
    if (json_object_object_get_ex(object, "retries", &member) && json_object_is_type(member, json_type_int))
        job->retries = json_object_get_int(member);
    const char *done = text_of(context, object, "date_done");
    double at =
        done ? celery_span_time((struct span){.at = done, .length = strlen(done), .kind = SPAN_STRING}) : NAN;
    job->finished_at = isnan(at) ? 0 : at;
    if (json_object_object_get_ex(object, "result", &member) &&
        json_object_is_type(member, json_type_object)) {
        job->exception = text_of(context, member, "exc_type");
        job->message = exception_message(context, member);
    }
    const char *traceback = text_of(context, object, "traceback");
    job->frame = traceback ? celery_frame(context, traceback) : NULL;
    if (job->id) {
        job->tenant = celery_ids_tenant(system, job->id, &job->tenant_known);
        if (!job->task)
            job->task = celery_ids_task(system, job->id);
    }
    if (parsed)
        *parsed = object;
    else
        json_object_put(object);
    return true;
}

/* ---- of the id that a filter names ---- */

static void on_result(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    (void)index;
    if (read->forsaken || error || reply->type != REDIS_REPLY_STRING)
        return;
    const struct job_filter *filter = read->request.filter;
    void *context = talloc_new(NULL);
    struct job job;
    read->progress.scanned++;
    read->progress.bytes += (int64_t)reply->len;
    if (celery_result_fill(context, read->system, reply->str, reply->len, &job, NULL)) {
        job.key = talloc_asprintf(context, "%s%s", read->system->names.results, job_filter_id(filter));
        job.key_length = strlen(job.key);
        if (celery_read_wants(read, job.state) &&
            job_filter_matches(filter, &job, reply->str, reply->len, 0)) {
            read->progress.matched++;
            if (read->handler.jobs) {
                read->busy = true;
                read->handler.jobs(read->handler.data, &job, 1);
                read->busy = false;
            }
        }
    }
    talloc_free(context);
}

static void on_asked(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (celery_read_answered(read, error))
        celery_read_next_place(read);
}

static void on_length(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    (void)index;
    read->result_length = !error && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
}

static char *result_key(const struct celery_read *read)
{
    return there(
        talloc_asprintf(read, "%s%s", read->system->names.results, job_filter_id(read->request.filter)));
}

static void on_length_asked(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (!celery_read_answered(read, error))
        return;
    if (read->result_length == 0 || read->result_length > CELERY_RESULT_MAX) {
        celery_read_next_place(read);
        return;
    }
    char *key = result_key(read);
    const struct redis_command command = REDIS_COMMAND("GET", key);
    read->pending++;
    redis_server_ask(read->system->result_redis, read->system->result_database, &command, 1, 15,
                     (struct redis_handler){.reply = on_result, .done = on_asked, .data = read});
    talloc_free(key);
}

void celery_result_step(struct celery_read *read)
{
    char *key = result_key(read);
    const struct redis_command command = REDIS_COMMAND("STRLEN", key);
    read->pending++;
    redis_server_ask(read->system->result_redis, read->system->result_database, &command, 1, 15,
                     (struct redis_handler){.reply = on_length, .done = on_length_asked, .data = read});
    talloc_free(key);
}
