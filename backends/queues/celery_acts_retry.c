/*
 * Failed jobs again, from their results. Dead letters go back as they are (celery_acts_gather.c); a result
 * alone has to be made into a message, which is possible only when it was written with result_extended: its
 * name and arguments are taken byte by byte, what the message said besides (chain, group, limits) is lost,
 * and the tenant is only known when the message was seen before. What cannot be sent is counted by the
 * reason.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"
#include "backends/queues/celery_json.h"
#include "backends/ssh/base64.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- a message from a result ---- */

static char *new_uuid(const void *context)
{
    unsigned char r[16];
    if (getrandom(r, sizeof r, 0) != sizeof r)
        abort();
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    return there(talloc_asprintf(
        context, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2],
        r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]));
}

/* `, "_schema_name": "al_noor"`, or nothing. */
static char *tenant_header(const void *context, const struct celery_system *system, const char *tenant)
{
    if (!tenant)
        return there(talloc_strdup(context, ""));
    const char *name = system->tenancy.header ? system->tenancy.header : "_schema_name";
    struct json_object *header = json_object_new_string(name), *value = json_object_new_string(tenant);
    char *text = there(talloc_asprintf(
        context, ", %s: %s", json_object_to_json_string_ext(header, JSON_C_TO_STRING_NOSLASHESCAPE),
        json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE)));
    json_object_put(header);
    json_object_put(value);
    return text;
}

/* The parts of a result that a message needs, escaped as they are. */
struct parts {
    struct span status, name, id, args, kwargs, queue;
};

static char *make_message(const void *context, const struct celery_system *system, const struct parts *parts,
                          const char *tenant, size_t *length)
{
    static const char end[] =
        ", {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]";
    char *body = there(talloc_asprintf(context, "[%.*s, %.*s%s", (int)parts->args.length, parts->args.at,
                                       (int)parts->kwargs.length, parts->kwargs.at, end));
    char *encoded = there(base64_encode(context, (const unsigned char *)body, strlen(body), 1));
    int id = (int)parts->id.length, name = (int)parts->name.length, queue = (int)parts->queue.length;
    const char *id_text = parts->id.at, *queue_text = parts->queue.at;
    char *message = there(talloc_asprintf(
        context,
        "{\"body\": \"%s\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", "
        "\"headers\": {\"lang\": \"py\", \"task\": \"%.*s\", \"id\": \"%.*s\", \"shadow\": null, \"eta\": "
        "null, "
        "\"expires\": null, \"group\": null, \"group_index\": null, \"retries\": 0, \"timelimit\": [null, "
        "null], "
        "\"root_id\": \"%.*s\", \"parent_id\": null, \"argsrepr\": \"()\", \"kwargsrepr\": \"{}\", "
        "\"origin\": "
        "\"signalbox\", \"ignore_result\": false%s}, \"properties\": {\"correlation_id\": \"%.*s\", "
        "\"reply_to\": "
        "\"\", \"delivery_mode\": 2, \"delivery_info\": {\"exchange\": \"\", \"routing_key\": \"%.*s\"}, "
        "\"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"%s\"}}",
        encoded, name, parts->name.at, id, id_text, id, id_text, tenant_header(context, system, tenant), id,
        id_text, queue, queue_text, new_uuid(context)));
    *length = strlen(message);
    talloc_free(body);
    talloc_free(encoded);
    return message;
}

/* What was made is read again, as a worker would. */
static bool sound(const void *context, const struct celery_system *system, const char *message, size_t length,
                  const struct parts *parts, const char *tenant)
{
    struct celery_envelope envelope;
    size_t size;
    celery_envelope_scan(&envelope, message, length, system->tenancy.header);
    bool same = envelope.poison == POISON_NONE && envelope.task.length == parts->name.length &&
                memcmp(envelope.task.at, parts->name.at, parts->name.length) == 0 &&
                envelope.id.length == parts->id.length &&
                memcmp(envelope.id.at, parts->id.at, parts->id.length) == 0;
    if (!same || !tenant)
        return same;
    const char *said = celery_tenant_quick(context, &envelope, NULL, &system->tenancy, &size);
    return said && size == strlen(tenant) && memcmp(said, tenant, size) == 0;
}

static bool take_parts(const struct redis_answer *value, struct parts *parts)
{
    struct json_cursor cursor = {value->text, value->text + value->length};
    struct span object;
    json_space(&cursor);
    if (!json_value(&cursor, &object) || object.kind != SPAN_OBJECT)
        return false;
    *parts = (struct parts){.status = json_find(object, "status"),
                            .name = json_find(object, "name"),
                            .id = json_find(object, "task_id"),
                            .args = json_find(object, "args"),
                            .kwargs = json_find(object, "kwargs"),
                            .queue = json_find(object, "queue")};
    return parts->status.kind == SPAN_STRING && parts->id.kind == SPAN_STRING;
}

static bool arguments_are_there(const struct parts *parts)
{
    return parts->name.kind == SPAN_STRING && parts->args.kind == SPAN_ARRAY &&
           parts->kwargs.kind == SPAN_OBJECT && parts->queue.kind == SPAN_STRING && parts->queue.length > 0;
}

/* Whose it is: false when nobody can know. */
static bool know_tenant(const struct celery_prepare *p, const struct job *job, const struct parts *parts,
                        const char **tenant)
{
    const struct celery_system *system = p->system;
    const char *keyword = system->tenancy.keyword ? system->tenancy.keyword : "_schema_name";
    bool known = job->tenant_known || job->tenant;
    *tenant = job->tenant;
    if (json_find(parts->kwargs, keyword).kind == SPAN_STRING) {
        *tenant = NULL; /* it goes with the arguments */
        return true;
    }
    if (!known)
        *tenant = celery_ids_tenant(system, job->id, &known);
    return known || (p->request.argument && strcmp(p->request.argument, "no-tenant") == 0);
}

/* ---- preparing ---- */

static void judge(struct celery_prepare *p, const struct job *job, const char *key,
                  const struct redis_answer *value)
{
    struct parts parts;
    const char *tenant = NULL;
    char digits[41];
    size_t length;
    if (!value->text || !take_parts(value, &parts)) {
        p->elsewhere++;
        return;
    }
    if (!json_is(parts.status, "FAILURE")) {
        p->not_failed++;
        return;
    }
    if (!arguments_are_there(&parts)) {
        p->lost++;
        return;
    }
    char *task = celery_span_text(p->texts, parts.name);
    if (!know_tenant(p, job, &parts, &tenant)) {
        p->tenantless++;
        return;
    }
    if (!celery_task_known(p->system, task)) {
        p->unregistered++;
        return;
    }
    char *message = make_message(p->texts, p->system, &parts, tenant, &length);
    if (!sound(p, p->system, message, length, &parts, tenant)) {
        p->lost++;
        return;
    }
    struct job *made = &p->held[p->act->meant++];
    *made = (struct job){.id = there(talloc_strdup(p->texts, job->id)), .task = task, .index = -1};
    made->queue = celery_span_text(p->texts, parts.queue);
    made->raw = message;
    made->raw_length = length;
    made->key = there(talloc_strdup(p->texts, key));
    made->arguments = there(talloc_strdup(p->texts, celery_digest(value->text, value->length, digits)));
    celery_id_list_add(p->act->ids, job->id);
}

static char *reasons(struct celery_prepare *p, const void *context)
{
    const struct {
        int64_t count;
        const char *why;
    } all[] = {
        {p->lost, "lost their arguments: results hold them only with result_extended, as JSON"},
        {p->tenantless,
         "have an unknown tenant: results do not hold it, and their messages were not seen here"},
        {p->unregistered, "are of a task that no worker knows any more"},
        {p->not_failed, "did not fail, or run again already"},
        {p->elsewhere, "have no result any more"},
    };
    char *text = NULL, count[32];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].count)
            text = there(talloc_asprintf(context, "%s%s%s %s", text ? text : "", text ? "\n" : "",
                                         celery_exact(count, sizeof count, all[i].count), all[i].why));
    return text;
}

static void build(void *data, const struct error *error)
{
    struct celery_prepare *p = data;
    struct celery_act *act = p->act;
    char eligible[32], all[32];
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    struct celery_step *own = celery_step_new(act, p->held[0].queue, 0, celery_run_send);
    talloc_steal(own, p->texts);
    own->jobs = p->held;
    own->job_count = (size_t)act->meant;
    own->meant = act->meant;
    act->queue = talloc_strdup(act, p->held[0].queue);
    struct change *change = act->change;
    celery_build_command(own, act->queue,
                         talloc_asprintf(p, "%s of %s results can be sent again\n%s",
                                         celery_exact(eligible, sizeof eligible, act->meant),
                                         celery_exact(all, sizeof all, (int64_t)p->request.job_count),
                                         celery_id_list_text(act->ids)));
    celery_build_words(act, act->meant, act->queue);
    change->effect =
        "A new message is made from each result: the same id, name, arguments and tenant, no chain, "
        "group, limits or priority. It runs behind what waits in its queue. What the job did before "
        "it failed is done again.";
    change->left_out = reasons(p, change);
    celery_build_confirm_one(act, own->jobs[0].id);
    celery_build_watch(act);
    celery_prepare_done(p, change);
}

static char *result_key(const void *context, const struct celery_system *system, const struct job *job)
{
    if (job->key && job->state == JOB_FAILED && job->key_length &&
        strncmp(job->key, system->names.results, strlen(system->names.results)) == 0)
        return there(talloc_strndup(context, job->key, job->key_length));
    return there(talloc_asprintf(context, "%s%s", system->names.results, job->id ? job->id : ""));
}

static void results_read(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_prepare *p = data;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    p->held = there(talloc_zero_array(p->texts, struct job, p->request.job_count + 1));
    for (size_t i = 0; i < p->request.job_count; i++) {
        const struct job *job = &p->request.jobs[i];
        judge(p, job, result_key(batch, p->system, job), redis_batch_answer(batch, i));
    }
    if (p->act->meant) {
        celery_id_list_close(p->act->ids, build, p);
        return;
    }
    char *why = reasons(p, p);
    celery_prepare_fail(p, ERROR_UNSUPPORTED,
                        "Keep what fails as a message in a list dlq:QUEUE: that can be sent again as it is.",
                        "none can be sent again: %s", why ? why : "there are none");
}

static void read_results(struct celery_prepare *p)
{
    p->batch = redis_batch_new(p);
    for (size_t i = 0; i < p->request.job_count; i++)
        redis_batch_add(p->batch, "GET", result_key(p->batch, p->system, &p->request.jobs[i]), NULL);
    redis_batch_ask(p->batch, p->system->result_redis, p->system->result_database, results_read, p);
}

void celery_look_results(struct celery_prepare *p)
{
    p->act->ids =
        celery_id_list_new(p->act, p->system->base.loop, p->system->base.environment->name, p->act->stamp);
    if (p->request.jobs)
        read_results(p);
    else
        celery_collect(p, 1u << JOB_FAILED, read_results);
}

/* ---- sending ---- */

struct sending {
    size_t at;
    struct redis_batch *batch;
};

static void send_next(struct celery_step *own);

static void sent(struct celery_step *own, int index, const struct redisReply *reply)
{
    (void)index;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 1)
        own->done++;
    else
        own->gone++;
}

static void send_done(struct celery_step *own, const struct error *error, bool lost)
{
    if (error)
        celery_step_fail(own, error, lost);
    else
        send_next(own);
}

static void send_command(struct celery_step *own, struct celery_command *command)
{
    celery_step_call(own, &command, 1, (struct celery_call_handler){sent, send_done});
    talloc_free(command);
}

/* Results are elsewhere: looked at there, and sent here. */
static void result_checked(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_step *own = data;
    struct sending *sending = own->engine;
    const struct job *job = &own->jobs[sending->at - 1];
    const struct redis_answer *value = redis_batch_answer(batch, 0);
    char digits[41];
    if (error) {
        struct error why = *error;
        celery_step_fail(own, &why, false);
        return;
    }
    bool same = value->text && strcmp(celery_digest(value->text, value->length, digits), job->arguments) == 0;
    TALLOC_FREE(sending->batch);
    if (!same) {
        own->gone++;
        send_next(own);
        return;
    }
    struct celery_command *command = celery_command_new(own, "LPUSH");
    celery_command_add(command, celery_queue_key(command, own->act->system, job->queue, 0, NULL));
    celery_command_bytes(command, job->raw, job->raw_length);
    send_command(own, command);
}

static void send_next(struct celery_step *own)
{
    struct sending *sending = own->engine;
    const struct celery_system *system = own->act->system;
    if (sending->at == own->job_count) {
        celery_step_over(own);
        return;
    }
    if (change_stopped(own->act->change)) {
        celery_step_stopped(own, "The others were not sent.");
        return;
    }
    const struct job *job = &own->jobs[sending->at++];
    if (system->result_redis != system->redis || system->result_database != system->database) {
        sending->batch = redis_batch_new(sending);
        redis_batch_add(sending->batch, "GET", job->key, NULL);
        redis_batch_ask(sending->batch, system->result_redis, system->result_database, result_checked, own);
        return;
    }
    struct celery_command *command = celery_step_eval(own, own, SCRIPT_SEND, 2);
    celery_command_add(command, job->key);
    celery_command_add(command, celery_queue_key(command, system, job->queue, 0, NULL));
    celery_command_add(command, job->arguments);
    celery_command_bytes(command, job->raw, job->raw_length);
    send_command(own, command);
}

void celery_run_send(struct celery_step *own)
{
    own->engine = there(talloc_zero(own, struct sending));
    send_next(own);
}
