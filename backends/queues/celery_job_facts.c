/* All about one job as sections of label and text: message, arguments, headers, what follows, its worker, its
 * result. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_body.h"
#include "backends/queues/celery_control.h"
#include "backends/queues/celery_failure_groups.h"
#include "backends/queues/celery_job.h"
#include "core/clock.h"
#include "core/units.h"

enum { VALUE_MOST = 4000, ARGUMENTS_MOST = 50 };

struct telling {
    struct job_facts *facts;
    const struct celery_found *found;
    struct celery_envelope envelope;
    struct job job; /* of the message */
    double now;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void add(struct telling *t, const char *section, const char *label, const char *text)
{
    if (text && *text)
        job_facts_add(t->facts, section, label, false, "%s", text);
}

/* "2026-11-21T12:00:00.000Z, 41 s ago" */
static void add_time(struct telling *t, const char *section, const char *label, double time)
{
    char text[40], span[40];
    if (!(time > 0))
        return;
    clock_rfc3339(text, sizeof text, time);
    format_s(span, sizeof span, fabs(t->now - time));
    if (time > t->now)
        job_facts_add(t->facts, section, label, false, "%s, in %s", text, span);
    else
        job_facts_add(t->facts, section, label, false, "%s, %s ago", text, span);
}

/* A value of JSON as people read it: texts without quotes and escapes, others as they stand, cut when long.
 */
static char *shown_value(const void *context, struct span value)
{
    char *text = value.kind == SPAN_STRING ? celery_span_text(context, value)
                                           : talloc_strndup(context, value.at, value.length);
    if (strlen(there(text)) > VALUE_MOST) {
        size_t end = VALUE_MOST;
        while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
            end--;
        text[end] = '\0';
        text = there(talloc_strdup_append(text, "..."));
    }
    return text;
}

/* ---- the message ---- */

static void tell_place(struct telling *t)
{
    const struct celery_found *found = t->found;
    char span[40];
    switch (found->where) {
    case FOUND_LIST:
        job_facts_add(t->facts, "Message", "place", false, "%s, %" PRId64 " before it", found->job->key,
                      found->index);
        break;
    case FOUND_HELD:
        if (found->taken_at > 0)
            job_facts_add(t->facts, "Message", "place", false, "held by a worker for %s",
                          format_s(span, sizeof span, t->now - found->taken_at));
        else
            add(t, "Message", "place", "held by a worker");
        /* kombu's restore, at a worker's start and about every 100 s */
        add_time(t, "Message", "given out again",
                 found->taken_at > 0 ? found->taken_at + found->system->names.visibility_timeout_s : 0);
        break;
    case FOUND_BEFORE:
        add(t, "Message", "place", "not where it was any more; this is the message as it was read before");
        break;
    case FOUND_NOWHERE:
        add(t, "Message", "place",
            "in no queue: it ran, was dropped, or is being run (Redis keeps no running job "
            "unless it is acknowledged late)");
        break;
    }
}

static void tell_verdict(struct telling *t)
{
    const struct job *job = &t->job;
    if (job->poison != POISON_NONE)
        job_facts_add(t->facts, "Message", "poison", false, "%s: %s", job_poison_name(job->poison), job->why);
    else if (job->task && !celery_task_known(t->found->system, job->task))
        add(t, "Message", "poison", "C: no worker that answered knows the task; it fails with NotRegistered");
}

static void tell_limits(struct telling *t)
{
    static const char *const labels[] = {"hard time limit", "soft time limit"};
    struct span value;
    int state = 0, at = 0;
    if (t->envelope.timelimit.kind != SPAN_ARRAY)
        return;
    struct json_cursor cursor = json_within(t->envelope.timelimit);
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value) && at < 2) {
        double seconds = celery_span_real(value);
        if (seconds > 0)
            job_facts_add(t->facts, "Message", labels[at], false, "%g s", seconds);
        at++;
    }
}

static void tell_message(struct telling *t)
{
    const struct job *job = &t->job;
    char text[160];
    add(t, "Message", "task", job->task);
    add(t, "Message", "id", job->id);
    add(t, "Message", "tenant", job->tenant ? job->tenant : job->tenant_known ? "none" : "unknown");
    add(t, "Message", "queue",
        t->found->held_queue && *t->found->held_queue ? t->found->held_queue : job->queue);
    tell_place(t);
    tell_verdict(t);
    if (job->priority >= 0)
        job_facts_add(t->facts, "Message", "priority", false, "%d%s", job->priority,
                      job->priority == 0 ? " (served first)" : "");
    if (!t->envelope.protocol1 || job->retries > 0)
        job_facts_add(t->facts, "Message", "retries", false, "%d", job->retries);
    double sent = job->enqueued_at > 0 ? job->enqueued_at : t->found->job->enqueued_at;
    add_time(t, "Message", "sent", sent);
    add_time(t, "Message", "not before", job->eta);
    add_time(t, "Message", "expires", job->expires);
    tell_limits(t);
    add(t, "Message", "sent by", job->origin);
    add(t, "Message", "beat entry", celery_span_text(t->facts, t->envelope.periodic_task_name));
    job_facts_add(t->facts, "Message", "size", false, "%s",
                  format_bytes(text, sizeof text, (double)t->found->length));
    add(t, "Message", "content", celery_span_text(t->facts, t->envelope.content_type));
    add(t, "Message", "compression", celery_span_text(t->facts, t->envelope.compression));
    add(t, "Message", "flags",
        job_flags_text(text, sizeof text, job->flags | (t->found->job->flags & JOB_TWICE)));
}

/* ---- arguments ---- */

static void tell_values(struct telling *t, struct span args, struct span kwargs)
{
    struct span key, value;
    int state = 0, count = 0;
    char label[32];
    struct json_cursor cursor = json_within(args);
    while (args.kind == SPAN_ARRAY && count < ARGUMENTS_MOST &&
           json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value)) {
        snprintf(label, sizeof label, "argument %d", ++count);
        job_facts_add(t->facts, "Arguments", label, true, "%s", shown_value(t->facts, value));
    }
    cursor = json_within(kwargs);
    state = 0;
    while (kwargs.kind == SPAN_OBJECT && count++ < 2 * ARGUMENTS_MOST &&
           json_key(&cursor, &state, &key) == JSON_MEMBER && json_value(&cursor, &value))
        job_facts_add(t->facts, "Arguments", celery_span_text(t->facts, key), true, "%s",
                      shown_value(t->facts, value));
}

/* One signature of a canvas: its task, and its id when it has one. */
static void tell_signature(struct telling *t, const char *label, struct span signature)
{
    char *task = celery_span_text(t->facts, json_find(signature, "task"));
    struct span options = json_find(signature, "options");
    char *id = celery_span_text(t->facts, json_find(options, "task_id"));
    if (task)
        job_facts_add(t->facts, "Follows", label, false, "%s%s%s", task, id ? "  " : "", id ? id : "");
}

/* An array of signatures; of a chain the last one runs first. */
static void tell_signatures(struct telling *t, const char *label, struct span array, bool backwards)
{
    struct span items[ARGUMENTS_MOST], value;
    int state = 0;
    size_t count = 0;
    if (array.kind != SPAN_ARRAY)
        return;
    struct json_cursor cursor = json_within(array);
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value)) {
        if (count == ARGUMENTS_MOST) {
            if (!backwards)
                break;
            memmove(items, items + 1, (ARGUMENTS_MOST - 1) * sizeof *items); /* those that run first */
            count--;
        }
        items[count++] = value;
    }
    for (size_t i = 0; i < count; i++)
        tell_signature(t, label, items[backwards ? count - 1 - i : i]);
}

static void tell_follows(struct telling *t, struct span embed)
{
    tell_signatures(t, "then", json_find(embed, "chain"), true);
    tell_signatures(t, "when done", json_find(embed, "callbacks"), false);
    tell_signatures(t, "when failed", json_find(embed, "errbacks"), false);
    struct span chord = json_find(embed, "chord");
    if (chord.kind == SPAN_OBJECT)
        tell_signature(t, "when all of its chord are done", chord);
}

static void tell_arguments(struct telling *t)
{
    struct error error = {0};
    struct celery_payload payload;
    size_t length;
    char *shown = celery_span_text(t->facts, t->envelope.argsrepr);
    char *named = celery_span_text(t->facts, t->envelope.kwargsrepr);
    char *body = celery_body_decode(t->facts, &t->envelope, &length, &error);
    char *shape = body ? celery_body_shape(t->facts, body, length) : NULL;
    add(t, "Arguments", "types", shape);
    if (shown && *shown)
        job_facts_add(t->facts, "Arguments", "as the sender shows them", true, "%s %s", shown,
                      named ? named : "");
    if (!body) {
        job_facts_add(t->facts, "Arguments", NULL, false, "%s: %s.", error.what, error.why);
        return;
    }
    celery_payload_look(&payload, body, length);
    if (!payload.json) {
        add(t, "Arguments", NULL, "The body is not JSON.");
    } else if (payload.value.kind == SPAN_OBJECT) {
        tell_values(t, json_find(payload.value, "args"), json_find(payload.value, "kwargs"));
        tell_follows(t, payload.value);
    } else if (payload.value.kind == SPAN_ARRAY) {
        tell_values(t, payload.args, payload.kwargs);
        tell_follows(t, payload.embed);
    }
}

/* ---- headers and properties ---- */

static bool is_one_of(struct span key, const char *const *names)
{
    for (; *names; names++)
        if (json_is(key, *names))
            return true;
    return false;
}

/* Members of an object that are not told elsewhere. */
static void tell_members(struct telling *t, const char *section, struct span object, const char *const *told)
{
    struct span key, value;
    int state = 0;
    if (object.kind != SPAN_OBJECT)
        return;
    struct json_cursor cursor = json_within(object);
    while (json_key(&cursor, &state, &key) == JSON_MEMBER && json_value(&cursor, &value))
        if (value.kind != SPAN_NULL && !is_one_of(key, told))
            job_facts_add(t->facts, section, celery_span_text(t->facts, key), false, "%s",
                          shown_value(t->facts, value));
}

static void tell_headers(struct telling *t)
{
    static const char *const headers[] = {
        "task",   "id",           "retries", "eta",   "expires",     "timelimit",   "argsrepr", "kwargsrepr",
        "origin", "_schema_name", "sent_at", "group", "compression", "group_index", NULL};
    static const char *const properties[] = {"priority", "periodic_task_name", NULL};
    tell_members(t, "Headers", t->envelope.headers, headers);
    tell_members(t, "Properties", t->envelope.properties, properties);
}

/* ---- its group, its worker ---- */

static void tell_group(struct telling *t)
{
    const struct celery_found *found = t->found;
    const char *group = t->job.group ? t->job.group : found->job->group;
    if (!group)
        return;
    add(t, "Group", "id", group);
    struct span index = json_find(t->envelope.headers, "group_index");
    if (index.kind == SPAN_NUMBER)
        add(t, "Group", "member", shown_value(t->facts, index));
    if (found->chord_size >= 0)
        job_facts_add(t->facts, "Group", "chord", false, "%" PRId64 " of %" PRId64 " are done",
                      found->chord_done, found->chord_size + found->chord_more);
}

static bool names_id(struct json_object *entry, const char *id)
{
    struct json_object *request, *its;
    if (json_object_object_get_ex(entry, "request", &request))
        entry = request;
    return json_object_object_get_ex(entry, "id", &its) && strcmp(json_object_get_string(its), id) == 0;
}

static bool tell_if_in(struct telling *t, const char *worker, struct json_object *entries, const char *what,
                       const char *id)
{
    struct json_object *member;
    if (!json_object_is_type(entries, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(entries); i++) {
        struct json_object *entry = json_object_array_get_idx(entries, i);
        if (!json_object_is_type(entry, json_type_object) || !names_id(entry, id))
            continue;
        job_facts_add(t->facts, "Worker", "worker", false, "%s %s", worker, what);
        if (json_object_object_get_ex(entry, "time_start", &member))
            add_time(t, "Worker", "started", json_object_get_double(member));
        if (json_object_object_get_ex(entry, "worker_pid", &member) && json_object_get_int(member) > 0)
            add(t, "Worker", "process", json_object_get_string(member));
        return true;
    }
    return false;
}

static void tell_worker(struct telling *t)
{
    const struct celery_answers *answers = celery_answers(t->found->system);
    const char *id = t->job.id ? t->job.id : t->found->job->id;
    if (t->found->where != FOUND_HELD && t->found->where != FOUND_NOWHERE && t->found->where != FOUND_BEFORE)
        return;
    if (!answers || !id) {
        add(t, "Worker", NULL, "Which worker has it is not known: the workers were not asked.");
        return;
    }
    for (size_t i = 0; i < answers->worker_count; i++) {
        const struct celery_worker_answer *one = &answers->workers[i];
        if (tell_if_in(t, one->worker, one->active, "runs it", id) ||
            tell_if_in(t, one->worker, one->reserved, "holds it", id) ||
            tell_if_in(t, one->worker, one->scheduled, "waits with it", id))
            return;
    }
    char span[40];
    job_facts_add(
        t->facts, "Worker", NULL, false,
        "None of the %zu workers that answered %s ago has it, of %" PRId64 " that heard the question.",
        answers->worker_count, format_s(span, sizeof span, t->now - answers->asked_at), answers->heard);
}

/* ---- its result ---- */

static void tell_result(struct telling *t)
{
    const struct celery_found *found = t->found;
    struct json_object *object, *member;
    struct job job;
    char text[40];
    if (found->result_size <= 0)
        return;
    if (!found->result ||
        !celery_result_fill(t->facts, found->system, found->result, found->result_length, &job, &object)) {
        job_facts_add(t->facts, "Result", NULL, false, "There is a result of %s that cannot be read.",
                      format_bytes(text, sizeof text, (double)found->result_size));
        return;
    }
    if (json_object_object_get_ex(object, "status", &member))
        add(t, "Result", "status", json_object_get_string(member));
    if (!found->raw)
        add(t, "Result", "task", job.task);
    add_time(t, "Result", "ended", job.finished_at);
    add(t, "Result", "worker", job.worker);
    if (job.exception)
        job_facts_add(t->facts, "Result", "exception", false, "%s%s%s", job.exception,
                      job.message ? ": " : "", job.message ? job.message : "");
    add(t, "Result", "where", job.frame);
    if (!job.exception && json_object_object_get_ex(object, "result", &member) && member)
        job_facts_add(t->facts, "Result", "value", true, "%s", json_object_get_string(member));
    if (json_object_object_get_ex(object, "args", &member) && member && !found->raw)
        job_facts_add(t->facts, "Arguments", "args", true, "%s", json_object_get_string(member));
    if (json_object_object_get_ex(object, "kwargs", &member) && member && !found->raw)
        job_facts_add(t->facts, "Arguments", "kwargs", true, "%s", json_object_get_string(member));
    if (found->result_ttl >= 0)
        job_facts_add(t->facts, "Result", "kept for", false, "%s",
                      format_s(text, sizeof text, (double)found->result_ttl));
    else if (found->result_ttl == -1)
        add(t, "Result", "kept", "for ever: it has no expiry");
    if (json_object_object_get_ex(object, "traceback", &member) && member)
        add(t, "Traceback", NULL, json_object_get_string(member));
    json_object_put(object);
}

/* How a dead letter died, as its headers tell. */
static void tell_letter(struct telling *t)
{
    struct celery_failed failed = {0};
    if (t->found->job->state != JOB_DEAD || !celery_failed_letter(t->facts, t->found->system, t->job.queue,
                                                                  t->found->raw, t->found->length, &failed))
        return;
    add_time(t, "Failure", "failed", failed.at);
    add(t, "Failure", "exception", failed.exception);
    add(t, "Failure", "message", failed.message);
    add(t, "Failure", "where", failed.frame);
}

struct job_facts *celery_found_facts(const void *context, const struct celery_found *found)
{
    struct telling t = {
        .facts = there(talloc_zero(context, struct job_facts)), .found = found, .now = clock_wall()};
    if (found->raw) {
        celery_envelope_scan(&t.envelope, found->raw, found->length, found->system->tenancy.header);
        celery_job_fill(t.facts, &t.job, &t.envelope, found->job->queue, &found->system->tenancy);
        tell_message(&t);
        tell_letter(&t);
        tell_arguments(&t);
    } else {
        add(&t, "Message", "id", found->job->id);
        add(&t, "Message", "tenant", found->job->tenant);
        tell_place(&t);
    }
    tell_group(&t);
    tell_worker(&t);
    tell_result(&t);
    tell_headers(&t);
    return t.facts;
}
