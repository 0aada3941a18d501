/* A job from its message: who it is, whose it is, what it was given; arguments with their values redacted. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_body.h"
#include "core/clock.h"

enum { BIG = 128 * 1024, SHAPE_ARGUMENTS = 24 };

/* ---- redacted arguments ---- */

static const char *type_name(struct span value)
{
    switch (value.kind) {
    case SPAN_STRING:
        return "str";
    case SPAN_NUMBER:
        return memchr(value.at, '.', value.length) || memchr(value.at, 'e', value.length) ? "float" : "int";
    case SPAN_BOOLEAN:
        return "bool";
    case SPAN_ARRAY:
        return "list";
    case SPAN_OBJECT:
        return "dict";
    default:
        return "none";
    }
}

static char *shape_args(char *text, struct span args)
{
    struct span value;
    int state = 0, count = 0;
    if (args.kind != SPAN_ARRAY)
        return talloc_asprintf_append(text, "%s", type_name(args));
    struct json_cursor cursor = json_within(args);
    text = talloc_strdup_append(text, "(");
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value)) {
        if (count++ == SHAPE_ARGUMENTS) {
            text = talloc_strdup_append(text, ", ...");
            break;
        }
        text = talloc_asprintf_append(text, "%s%s", count > 1 ? ", " : "", type_name(value));
    }
    return talloc_strdup_append(text, ")");
}

static char *shape_kwargs(char *text, struct span kwargs)
{
    struct span key, value;
    int state = 0, count = 0;
    if (kwargs.kind != SPAN_OBJECT)
        return talloc_asprintf_append(text, "%s", type_name(kwargs));
    struct json_cursor cursor = json_within(kwargs);
    text = talloc_strdup_append(text, "{");
    while (json_key(&cursor, &state, &key) == JSON_MEMBER && json_value(&cursor, &value)) {
        if (count++ == SHAPE_ARGUMENTS) {
            text = talloc_strdup_append(text, ", ...");
            break;
        }
        char *name = celery_span_text(text, key);
        text = talloc_asprintf_append(text, "%s%.80s: %s", count > 1 ? ", " : "", name, type_name(value));
    }
    return talloc_strdup_append(text, "}");
}

static char *shape(const void *context, struct span args, struct span kwargs)
{
    char *text = talloc_strdup(context, "");
    if (!text)
        abort();
    text = shape_args(text, args);
    if (kwargs.kind != SPAN_ABSENT)
        text = shape_kwargs(talloc_strdup_append(text, ", "), kwargs);
    return text;
}

/* args and kwargs of a decoded body of either protocol. */
static bool body_arguments(const char *body, size_t length, struct span *args, struct span *kwargs)
{
    struct celery_payload payload;
    celery_payload_look(&payload, body, length);
    *args = payload.args;
    *kwargs = payload.kwargs;
    if (payload.json && payload.value.kind == SPAN_ARRAY && payload.count == 3)
        return true;
    *args = json_find(payload.json ? payload.value : (struct span){0}, "args");
    *kwargs = json_find(payload.json ? payload.value : (struct span){0}, "kwargs");
    return args->kind != SPAN_ABSENT;
}

char *celery_body_shape(const void *context, const char *body, size_t length)
{
    struct span args, kwargs;
    return body_arguments(body, length, &args, &kwargs) ? shape(context, args, kwargs) : NULL;
}

/* ---- the tenant ---- */

/* What * stands for in "tenant.*"; NULL when the name is another. */
static const char *pattern_match(const char *pattern, const char *name, size_t length, size_t *part)
{
    const char *star = strchr(pattern, '*');
    if (!star)
        return NULL;
    size_t before = (size_t)(star - pattern), after = strlen(star + 1);
    if (length <= before + after || memcmp(name, pattern, before) != 0 ||
        memcmp(name + length - after, star + 1, after) != 0)
        return NULL;
    *part = length - before - after;
    return name + before;
}

static bool named(struct span span)
{
    return span.kind == SPAN_STRING && span.length > 0;
}

/* The argument that names the tenant in a decoded body. */
static struct span argument_tenant(const char *body, size_t length, const struct celery_tenancy *tenancy)
{
    struct span args, kwargs, found = {0};
    if (!body_arguments(body, length, &args, &kwargs))
        return found;
    found = json_find(kwargs, tenancy && tenancy->keyword ? tenancy->keyword : "_schema_name");
    if (named(found))
        return found;
    found = (struct span){0};
    if (!tenancy || tenancy->argument < 0 || args.kind != SPAN_ARRAY)
        return found;
    struct json_cursor cursor = json_within(args);
    int state = 0, at = 0;
    struct span value;
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value))
        if (at++ == tenancy->argument)
            return value;
    return found;
}

/* The text of a span: in place when nothing is escaped and `keep` is not set, else under context. */
static const char *span_part(const void *context, struct span span, bool keep, size_t *length)
{
    *length = span.length;
    if (!keep && !memchr(span.at, '\\', span.length))
        return span.at;
    char *text = celery_span_text(context, span);
    *length = strlen(text);
    return text;
}

/* The tenant, or NULL; *known: all places could be looked at. `keep`: always a text of its own under context.
 */
static const char *tenant_of(const void *context, const struct celery_envelope *envelope, const char *queue,
                             const struct celery_tenancy *tenancy, bool keep, size_t *length, bool *known)
{
    *known = true;
    if (named(envelope->schema_name))
        return span_part(context, envelope->schema_name, keep, length);
    if (named(envelope->tenant_header))
        return span_part(context, envelope->tenant_header, keep, length);
    struct celery_bytes bytes = {0};
    const char *tenant = NULL;
    bool plain = envelope->body.kind == SPAN_STRING && envelope->body_kind == BODY_JSON;
    if (plain && celery_packing(envelope->compression) == PACKING_NONE) {
        if (celery_body_bytes(envelope->body, json_true(envelope->body_encoding), &bytes)) {
            struct span found = argument_tenant(bytes.at, bytes.length, tenancy);
            if (named(found))
                tenant = span_part(context, found, true, length);
        }
    } else {
        size_t size;
        struct error error;
        char *body = celery_body_decode(context, envelope, &size, &error);
        struct span found = body ? argument_tenant(body, size, tenancy) : (struct span){0};
        *known = body && envelope->body_kind == BODY_JSON;
        if (named(found))
            tenant = span_part(context, found, true, length);
        talloc_free(body);
    }
    free(bytes.buffer);
    if (tenant || !tenancy || !tenancy->queue_pattern)
        return tenant;
    if (queue)
        tenant = pattern_match(tenancy->queue_pattern, queue, strlen(queue), length);
    else if (named(envelope->routing_key))
        tenant = pattern_match(tenancy->queue_pattern, envelope->routing_key.at, envelope->routing_key.length,
                               length);
    return tenant && keep ? talloc_strndup(context, tenant, *length) : tenant;
}

const char *celery_tenant_quick(const void *context, const struct celery_envelope *envelope,
                                const char *queue, const struct celery_tenancy *tenancy, size_t *length)
{
    bool known;
    return tenant_of(context, envelope, queue, tenancy, false, length, &known);
}

/* ---- the job ---- */

static int integer_of(struct span span, int unknown)
{
    double real = celery_span_real(span);
    return isnan(real) || real < INT_MIN || real > INT_MAX ? unknown : (int)real;
}

static double time_of(struct span span)
{
    double time = celery_span_time(span);
    return isnan(time) ? 0 : time;
}

/* [hard, soft], either may be null. */
static double limit_of(struct span timelimit)
{
    struct span value;
    int state = 0;
    if (timelimit.kind != SPAN_ARRAY)
        return 0;
    struct json_cursor cursor = json_within(timelimit);
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value)) {
        double limit = celery_span_real(value);
        if (limit > 0)
            return limit;
    }
    return 0;
}

static const char *arguments_of(const void *context, const struct celery_envelope *envelope)
{
    char *args = celery_span_text(context, envelope->argsrepr);
    char *kwargs = celery_span_text(context, envelope->kwargsrepr);
    if (!args)
        return kwargs;
    return kwargs && strcmp(kwargs, "{}") != 0 ? talloc_asprintf(context, "%s %s", args, kwargs) : args;
}

static unsigned flags_of(const struct celery_envelope *envelope, const struct job *job)
{
    unsigned flags = 0;
    if (json_true(envelope->redelivered) || json_true(envelope->delivery_redelivered))
        flags |= JOB_REDELIVERED;
    if (envelope->body_kind == BODY_PICKLE)
        flags |= JOB_PICKLED;
    else if (envelope->body_kind != BODY_JSON)
        flags |= JOB_ENCODED;
    if (json_true(envelope->compression))
        flags |= JOB_COMPRESSED;
    if (envelope->length > BIG)
        flags |= JOB_BIG;
    if (job->expires > 0 && job->expires < clock_wall())
        flags |= JOB_EXPIRED;
    if (json_true(envelope->periodic_task_name))
        flags |= JOB_PERIODIC;
    if (envelope->protocol1 && envelope->poison < POISON_B)
        flags |= JOB_OLD_PROTOCOL;
    if (envelope->chained)
        flags |= JOB_CHAINED;
    if (json_true(envelope->group) || envelope->chord || job->group)
        flags |= JOB_GROUPED;
    return flags;
}

/* Protocol 1: everything stands in the body; headers of the message win. */
static void fill_from_body(const void *context, struct job *job, const struct celery_envelope *envelope,
                           struct celery_envelope *whole)
{
    struct error error;
    size_t length;
    char *body = celery_body_decode(context, envelope, &length, &error);
    struct celery_payload payload = {0};
    if (body && envelope->body_kind == BODY_JSON)
        celery_payload_look(&payload, body, length);
    if (!payload.json || payload.value.kind != SPAN_OBJECT) {
        talloc_free(body);
        return;
    }
    const struct {
        const char *name;
        struct span *span;
    } members[] = {{"task", &whole->task},       {"id", &whole->id},
                   {"eta", &whole->eta},         {"expires", &whole->expires},
                   {"retries", &whole->retries}, {"timelimit", &whole->timelimit},
                   {"taskset", &whole->group},   {"group", &whole->group}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct span found = json_find(payload.value, members[i].name);
        if (members[i].span->kind == SPAN_ABSENT || (members[i].span->kind == SPAN_NULL && json_true(found)))
            *members[i].span = found;
    }
    struct span args = json_find(payload.value, "args");
    if (args.kind != SPAN_ABSENT)
        job->arguments = shape(context, args, json_find(payload.value, "kwargs"));
}

/* A text, or the digits of a number: kombu takes either as a tag. */
static char *name_of(const void *context, struct span span)
{
    return span.kind == SPAN_NUMBER ? talloc_strndup(context, span.at, span.length)
                                    : celery_span_text(context, span);
}

void celery_job_fill(const void *context, struct job *job, const struct celery_envelope *envelope,
                     const char *queue, const struct celery_tenancy *tenancy)
{
    struct celery_envelope whole = *envelope;
    size_t length;
    *job = (struct job){
        .state = job->state,
        .key = job->key,
        .key_length = job->key_length,
        .index = job->index,
        .raw = job->raw,
        .raw_length = job->raw_length,
        .retries_max = -1,
        .size = (int64_t)envelope->length,
        .poison = envelope->poison,
        .why = envelope->why,
    };
    if (envelope->protocol1)
        fill_from_body(context, job, envelope, &whole);
    job->id = name_of(context, whole.id);
    job->task = celery_span_text(context, whole.task);
    job->queue = queue ? talloc_strdup(context, queue) : celery_span_text(context, whole.routing_key);
    job->tenant = tenant_of(context, envelope, queue, tenancy, true, &length, &job->tenant_known);
    job->priority = integer_of(whole.priority, -1);
    job->retries = integer_of(whole.retries, 0);
    job->enqueued_at = time_of(whole.sent_at);
    job->eta = time_of(whole.eta);
    job->expires = time_of(whole.expires);
    job->limit_s = limit_of(whole.timelimit);
    if (!job->arguments)
        job->arguments = arguments_of(context, &whole);
    job->origin = celery_span_text(context, whole.origin);
    job->parent = celery_span_text(context, whole.parent_id);
    job->root = celery_span_text(context, whole.root_id);
    job->group = celery_span_text(context, whole.group);
    job->tag = name_of(context, whole.delivery_tag);
    job->flags = flags_of(&whole, job);
}
