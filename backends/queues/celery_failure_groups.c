#include "backends/queues/celery_failure_groups.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "core/clock.h"

enum { MESSAGE_MOST = 400, LETTERS_KNOWN_MOST = 50000 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static char *copy(const void *context, const char *text)
{
    return text && *text ? there(talloc_strndup(context, text, MESSAGE_MOST)) : NULL;
}

/* ---- one record ---- */

static const char *member(struct json_object *object, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static bool is_celerys(const char *path, size_t length)
{
    static const char *const parts[] = {"/celery/app/", "/celery/worker/", "/celery/concurrency/",
                                        "/billiard/", "/kombu/"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (memmem(path, length, parts[i], strlen(parts[i])))
            return true;
    return false;
}

/* Lines `  File "PATH", line N, in FUNCTION`. */
char *celery_frame(const void *context, const char *traceback)
{
    static const char mark[] = "  File \"";
    const char *found = NULL, *any = NULL;
    for (const char *at = traceback; at && (at = strstr(at, mark)); at += strlen(mark)) {
        const char *end = strchr(at + strlen(mark), '"');
        if (!end)
            break;
        any = at;
        if (!is_celerys(at, (size_t)(end - at)))
            found = at;
    }
    const char *path = found ? found : any;
    if (!path)
        return NULL;
    path += strlen(mark);
    const char *end = strchr(path, '"');
    for (const char *slash = path; (slash = memchr(slash, '/', (size_t)(end - slash)));)
        path = ++slash;
    static const char line_mark[] = "\", line ";
    if (strncmp(end, line_mark, strlen(line_mark)) != 0)
        return there(talloc_strndup(context, path, (size_t)(end - path)));
    char *after;
    long line = strtol(end + strlen(line_mark), &after, 10);
    const char *in = strncmp(after, ", in ", 5) == 0 ? after + 5 : NULL;
    return there(talloc_asprintf(context, "%.*s:%ld%s%.*s", (int)(end - path), path, line, in ? " in " : "",
                                 in ? (int)strcspn(in, "\r\n") : 0, in ? in : ""));
}

/* The first text of exc_message, which is the exception's arguments. */
static char *exception_text(const void *context, struct json_object *result)
{
    struct json_object *message;
    if (!json_object_object_get_ex(result, "exc_message", &message))
        return NULL;
    if (json_object_is_type(message, json_type_array))
        message = json_object_array_get_idx(message, 0);
    return message ? copy(context, json_object_get_string(message)) : NULL;
}

static double time_of(const char *text)
{
    double at =
        text ? celery_span_time((struct span){.at = text, .length = strlen(text), .kind = SPAN_STRING}) : NAN;
    return isnan(at) ? 0 : at;
}

static void read_result(const void *context, struct json_object *record, struct celery_failed *failed)
{
    struct json_object *result = NULL, *arguments;
    json_object_object_get_ex(record, "result", &result);
    failed->exception = copy(context, member(result, "exc_type"));
    failed->message = exception_text(context, result);
    failed->frame = celery_frame(context, member(record, "traceback"));
    failed->id = copy(context, member(record, "task_id"));
    failed->task = copy(context, member(record, "name"));
    failed->queue = copy(context, member(record, "queue"));
    failed->at = time_of(member(record, "date_done"));
    failed->retriable = failed->task && json_object_object_get_ex(record, "args", &arguments) &&
                        json_object_is_type(arguments, json_type_array);
}

/* A text between quotes behind a key, of a record that was cut off and is no JSON any more. */
static char *loose_text(const void *context, const char *json, const char *key)
{
    const char *at = strstr(json, key);
    const char *from = at ? at + strlen(key) : NULL;
    const char *to = from ? strpbrk(from, "\"\\") : NULL;
    return to && *to == '"' ? there(talloc_strndup(context, from, (size_t)(to - from))) : NULL;
}

static void learn(const struct celery_system *system, const void *context, struct celery_failed *failed)
{
    if (!failed->id)
        return;
    if (!failed->task)
        failed->task = copy(context, celery_ids_task(system, failed->id));
    if (!failed->tenant)
        failed->tenant = copy(context, celery_ids_tenant(system, failed->id, NULL));
}

bool celery_failed_result(const void *context, const struct celery_system *system, const char *json,
                          size_t length, struct celery_failed *failed)
{
    char *text = there(talloc_strndup(context, json, length));
    char *status = loose_text(text, text, "\"status\": \"");
    bool retry = status && strcmp(status, "RETRY") == 0;
    *failed = (struct celery_failed){.kept = retry ? JOB_RETRYING : JOB_DONE};
    if (!retry && !(status && strcmp(status, "FAILURE") == 0)) {
        talloc_free(text);
        return false;
    }
    struct json_object *record = json_tokener_parse(text);
    if (json_object_is_type(record, json_type_object)) {
        read_result(context, record, failed);
    } else {
        failed->exception = loose_text(context, text, "\"exc_type\": \"");
        failed->id = loose_text(context, text, "\"task_id\": \"");
    }
    json_object_put(record);
    talloc_free(text);
    learn(system, context, failed);
    if (retry)
        failed->why_not = "its next try is on its way";
    else if (!failed->retriable)
        failed->why_not = "the result does not keep the arguments (result_extended is off)";
    else if (!failed->tenant)
        failed->why_not = "the result does not keep the headers: the tenant is lost";
    failed->retriable = !failed->why_not;
    return true;
}

bool celery_failed_letter(const void *context, const struct celery_system *system, const char *queue,
                          const char *raw, size_t length, struct celery_failed *failed)
{
    struct celery_envelope envelope;
    struct job job = {0};
    *failed = (struct celery_failed){.kept = JOB_DEAD, .queue = queue};
    celery_envelope_scan(&envelope, raw, length, system->tenancy.header);
    celery_job_fill(context, &job, &envelope, queue, &system->tenancy);
    failed->id = job.id;
    failed->task = job.task;
    failed->tenant = job.tenant;
    failed->retriable = job.poison == POISON_NONE;
    failed->why_not = failed->retriable ? NULL : "its message cannot be read";
    if (envelope.headers.kind != SPAN_OBJECT)
        return true;
    char *text = there(talloc_strndup(context, envelope.headers.at, envelope.headers.length));
    struct json_object *headers = json_tokener_parse(text), *at;
    failed->exception = copy(context, member(headers, "x_exc"));
    failed->message = copy(context, member(headers, "x_msg"));
    failed->frame = celery_frame(context, member(headers, "x_traceback"));
    if (json_object_object_get_ex(headers, "x_failed_at", &at))
        failed->at = json_object_get_double(at);
    json_object_put(headers);
    return true;
}

/* ---- groups ---- */

struct group {
    UT_hash_handle hh;
    struct failure failure; /* texts under the group */
    char key[];
};

/* A dead letter, by a hash of its id: its result tells of the same failure, which is counted once. */
struct letter {
    UT_hash_handle hh;
    uint64_t id;
    struct group *group;
};

struct failure_groups {
    struct group *groups;
    struct letter *letters;
    double now;
    int64_t dropped;
};

static int groups_free(struct failure_groups *groups)
{
    HASH_CLEAR(hh, groups->letters);
    HASH_CLEAR(hh, groups->groups);
    return 0;
}

struct failure_groups *failure_groups_new(const void *context, double now)
{
    struct failure_groups *groups = there(talloc_zero(context, struct failure_groups));
    talloc_set_destructor(groups, groups_free);
    groups->now = now;
    return groups;
}

int64_t failure_groups_dropped(const struct failure_groups *groups)
{
    return groups->dropped;
}

static struct group *group_new(struct failure_groups *groups, const char *key,
                               const struct celery_failed *failed)
{
    size_t length = strlen(key);
    struct group *group = there(talloc_zero_size(groups, sizeof *group + length + 1));
    struct failure *failure = &group->failure;
    memcpy(group->key, key, length + 1);
    failure->task = copy(group, failed->task);
    failure->exception = copy(group, failed->exception);
    failure->frame = copy(group, failed->frame);
    failure->tenant = copy(group, failed->tenant);
    failure->queue = copy(group, failed->queue);
    failure->kept = failed->kept;
    HASH_ADD_KEYPTR(hh, groups->groups, group->key, length, group);
    return group;
}

static void count(struct failure_groups *groups, struct group *group, const struct celery_failed *failed)
{
    struct failure *failure = &group->failure;
    /* What a record says of its time may be anything. */
    double ago = fmax(fmin((groups->now - failed->at) / 60, QUEUE_HISTORY), 0);
    int minute = failed->at > 0 ? (int)ago : QUEUE_HISTORY;
    failure->count++;
    failure->retriable += failed->retriable;
    if (!failure->why_not)
        failure->why_not = failed->why_not;
    if (minute < QUEUE_HISTORY)
        failure->history[QUEUE_HISTORY - 1 - minute]++;
    if (failed->at > 0 && (failure->first <= 0 || failed->at < failure->first))
        failure->first = failed->at;
    if (failure->example && failed->at < failure->last)
        return;
    failure->last = failed->at;
    talloc_free((void *)failure->message);
    talloc_free((void *)failure->example);
    failure->message = copy(group, failed->message);
    failure->example = copy(group, failed->id ? failed->id : "?");
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

static void remember_letter(struct failure_groups *groups, const char *id, struct group *group)
{
    struct letter *letter;
    uint64_t hash = hash_of(id);
    HASH_FIND(hh, groups->letters, &hash, sizeof hash, letter);
    if (letter || HASH_COUNT(groups->letters) >= LETTERS_KNOWN_MOST)
        return;
    letter = there(talloc_zero(groups, struct letter));
    letter->id = hash;
    letter->group = group;
    HASH_ADD(hh, groups->letters, id, sizeof letter->id, letter);
}

/* A result whose dead letter was counted only adds what the letter does not say. */
static bool is_of_letter(struct failure_groups *groups, const struct celery_failed *failed)
{
    if (failed->kept != JOB_DONE || !failed->id)
        return false;
    struct letter *letter;
    uint64_t hash = hash_of(failed->id);
    HASH_FIND(hh, groups->letters, &hash, sizeof hash, letter);
    if (letter && letter->group && !letter->group->failure.frame)
        letter->group->failure.frame = copy(letter->group, failed->frame);
    return letter;
}

void failure_groups_add(struct failure_groups *groups, const struct celery_failed *failed)
{
    if (is_of_letter(groups, failed))
        return;
    const char *parts[] = {failed->task, failed->exception, failed->frame, failed->tenant, failed->queue};
    char *key = there(talloc_asprintf(NULL, "%d", (int)failed->kept));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        key = there(talloc_asprintf_append(key, "\x1f%s", parts[i] ? parts[i] : "\x01"));
    struct group *group;
    size_t length = strlen(key);
    HASH_FIND(hh, groups->groups, key, length, group);
    if (!group && HASH_COUNT(groups->groups) >= FAILURE_GROUPS_MOST)
        groups->dropped++;
    else
        count(groups, group ? group : (group = group_new(groups, key, failed)), failed);
    if (failed->kept == JOB_DEAD && failed->id)
        remember_letter(groups, failed->id, group);
    talloc_free(key);
}

static int by_last(const void *a, const void *b)
{
    const struct failure *one = a, *other = b;
    return one->last != other->last ? (one->last < other->last ? 1 : -1) : strcmp(one->id, other->id);
}

static char *hash_text(const void *context, const char *key)
{
    return there(talloc_asprintf(context, "%016llx", (unsigned long long)hash_of(key)));
}

/* Minutes have passed since they were counted. */
static void shift_history(struct failure *failure, int minutes)
{
    if (minutes <= 0)
        return;
    minutes = minutes < QUEUE_HISTORY ? minutes : QUEUE_HISTORY;
    memmove(failure->history, failure->history + minutes,
            (size_t)(QUEUE_HISTORY - minutes) * sizeof *failure->history);
    for (int i = QUEUE_HISTORY - minutes; i < QUEUE_HISTORY; i++)
        failure->history[i] = 0;
}

void failure_groups_fill(const struct failure_groups *groups, struct failures_snapshot *snapshot)
{
    size_t room = snapshot->count + HASH_COUNT(groups->groups) + 1;
    int minutes = (int)((clock_wall() - groups->now) / 60);
    snapshot->failures = there(talloc_realloc(snapshot, snapshot->failures, struct failure, room));
    for (const struct group *group = groups->groups; group; group = group->hh.next) {
        struct failure *failure = &snapshot->failures[snapshot->count++];
        *failure = group->failure;
        failure->id = hash_text(snapshot->failures, group->key);
        failure->task = copy(snapshot->failures, failure->task);
        failure->exception = copy(snapshot->failures, failure->exception);
        failure->frame = copy(snapshot->failures, failure->frame);
        failure->tenant = copy(snapshot->failures, failure->tenant);
        failure->queue = copy(snapshot->failures, failure->queue);
        failure->message = copy(snapshot->failures, failure->message);
        failure->example = copy(snapshot->failures, failure->example);
        shift_history(failure, minutes);
    }
    qsort(snapshot->failures, snapshot->count, sizeof *snapshot->failures, by_last);
}
