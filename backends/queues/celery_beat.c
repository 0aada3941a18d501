/*
 * Celery's beat, as far as Redis knows: the keys of RedBeat (schedule, entries, lock), and signs of any beat
 * in the messages that wait: those that it sends name their entry, and their origin is its process. Two
 * origins that take turns are two beats. The tables of django-celery-beat are django_beat.h's.
 */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/queues/celery_workers.h"
#include "backends/queues/redis_batch.h"
#include "core/clock.h"
#include "core/units.h"

/* The loop of RedBeat looks every few minutes at most; its lock lives five of those. */
#define LATE_S 30.0
#define SIGN_HOLDS_S 300.0

/* 500 entries of RedBeat and 20 messages of a queue are read. */
enum { QUEUES_MAX = 25, NAME_MAX_LENGTH = 255, SEEN_MAX = 2000 };

/* An entry that a message named. */
struct sign {
    UT_hash_handle hh;
    const char *name, *task, *queue, *tenant;
    char id[64];       /* of its newest message */
    double first_seen; /* wall: that message */
    double sent_at;    /* of the newest, as a header says; 0: it does not */
};

struct celery_signs {
    struct celery_system *system;
    struct redis_batch *batch;
    struct sign *signs;
    struct schedule_snapshot *snapshot; /* that is being made */
    size_t first_queue;                 /* the window of queues that is looked at, when there are many */
    double newest;                      /* wall: a new periodic message was seen */
    double twice_at;                    /* wall: two beats were seen */
    char twice[240];
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static struct celery_signs *signs_of(struct celery_system *system)
{
    if (!system->signs) {
        system->signs = there(talloc_zero(NULL, struct celery_signs));
        system->signs->system = system;
    }
    return system->signs;
}

/* ---- signs in messages ---- */

static char *text_of(const void *context, struct span span)
{
    char *text = span.kind == SPAN_STRING && span.length <= 4 * NAME_MAX_LENGTH
                     ? celery_span_text(context, span)
                     : NULL;
    return text && *text && strlen(text) <= NAME_MAX_LENGTH ? text : NULL;
}

static struct sign *sign_of(struct celery_signs *signs, const char *name)
{
    struct sign *sign;
    HASH_FIND_STR(signs->signs, name, sign);
    if (sign || HASH_COUNT(signs->signs) >= SEEN_MAX)
        return sign;
    sign = there(talloc_zero(signs, struct sign));
    sign->name = there(talloc_strdup(sign, name));
    HASH_ADD_KEYPTR(hh, signs->signs, sign->name, strlen(sign->name), sign);
    return sign;
}

static void keep(struct sign *sign, const char **slot, const char *text)
{
    if (!text || (*slot && !strcmp(*slot, text)))
        return;
    *slot = there(talloc_strdup(sign, text));
}

struct origins {
    char first[256], second[256];
    bool turned; /* first, then second */
};

/* The same beat sends all: when another one has sent in between, both are at work. */
static bool takes_turns(struct origins *origins, const char *origin)
{
    if (!*origins->first) {
        snprintf(origins->first, sizeof origins->first, "%s", origin);
    } else if (!strcmp(origin, origins->first)) {
        return origins->turned;
    } else {
        snprintf(origins->second, sizeof origins->second, "%s", origin);
        origins->turned = true;
    }
    return false;
}

static void read_message(struct celery_signs *signs, const char *queue, const char *name,
                         const struct celery_envelope *envelope)
{
    char *id = text_of(name, envelope->id);
    struct sign *sign = id && strlen(id) < sizeof sign->id ? sign_of(signs, name) : NULL;
    double sent_at = celery_span_real(envelope->sent_at), now = clock_wall();
    if (!sign || !strcmp(sign->id, id) || (sent_at > 0 && sent_at < sign->sent_at))
        return;
    sign->first_seen = now;
    sign->sent_at = sent_at > 0 ? sent_at : 0;
    strcpy(sign->id, id);
    keep(sign, &sign->task, text_of(name, envelope->task));
    keep(sign, &sign->queue, queue);
    keep(sign, &sign->tenant, text_of(name, envelope->schema_name));
    signs->newest = sent_at > 0 ? fmax(signs->newest, fmin(sent_at, now)) : now;
}

/* The newest first: of each entry only the first one counts, older ones would be taken for new. */
static void read_window(struct celery_signs *signs, const char *queue, const struct redis_answer *window)
{
    struct origins origins = {"", "", false};
    struct json_object *seen = json_object_new_object();
    for (size_t i = 0; i < window->count; i++) {
        const struct redis_answer *message = redis_answer_item(window, i);
        struct celery_envelope envelope;
        if (message->kind != ANSWER_TEXT)
            continue;
        celery_envelope_scan(&envelope, message->text, message->length, NULL);
        char *name = envelope.poison == POISON_A ? NULL : text_of(NULL, envelope.periodic_task_name);
        char *origin = name ? text_of(name, envelope.origin) : NULL;
        if (origin && takes_turns(&origins, origin)) {
            signs->twice_at = clock_wall();
            snprintf(signs->twice, sizeof signs->twice, "messages of %.60s and %.60s take turns in %.30s",
                     origins.first, origins.second, queue);
        }
        if (name && !json_object_object_get_ex(seen, name, NULL)) {
            json_object_object_add(seen, name, NULL);
            read_message(signs, queue, name, &envelope);
        }
        talloc_free(name);
    }
    json_object_put(seen);
}

/* ---- RedBeat ---- */

static struct schedule_entry *add_entry(struct schedule_snapshot *snapshot, const char *name)
{
    snapshot->entries =
        there(talloc_realloc(snapshot, snapshot->entries, struct schedule_entry, snapshot->count + 1));
    struct schedule_entry *entry = &snapshot->entries[snapshot->count++];
    *entry = (struct schedule_entry){
        .id = there(talloc_strdup(snapshot, name)), .name = NULL, .enabled = -1, .runs = -1};
    entry->name = entry->id;
    return entry;
}

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, key, &value)
               ? value
               : NULL;
}

static const char *copy_text(const void *context, struct json_object *value)
{
    return json_object_is_type(value, json_type_string)
               ? there(talloc_strdup(context, json_object_get_string(value)))
               : NULL;
}

/* {"__type__": "interval", "every": 30.0} or {"__type__": "crontab", "minute": "0", ...} */
static const char *when_text(const void *context, struct json_object *schedule)
{
    static const char *const parts[] = {"minute", "hour", "day_of_month", "month_of_year", "day_of_week"};
    const char *type = json_object_get_string(get(schedule, "__type__"));
    char every[32];
    if (type && !strcmp(type, "interval"))
        return talloc_asprintf(context, "every %s",
                               format_s(every, sizeof every, json_object_get_double(get(schedule, "every"))));
    if (!type || strcmp(type, "crontab") != 0)
        return copy_text(context, get(schedule, "__type__"));
    char *text = there(talloc_strdup(context, ""));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *part = json_object_get_string(get(schedule, parts[i]));
        text = there(talloc_asprintf_append_buffer(text, "%s%s", i ? " " : "", part ? part : "*"));
    }
    return text;
}

/* {"__type__": "datetime", "year": ..., "timezone": "UTC"} in UTC; another zone is not known here. */
static double datetime_of(struct json_object *value)
{
    struct tm time = {0};
    struct json_object *zone = get(value, "timezone");
    const char *name = json_object_is_type(zone, json_type_string) ? json_object_get_string(zone) : "UTC";
    if (!get(value, "year") || strcmp(name, "UTC") != 0)
        return 0;
    time.tm_year = json_object_get_int(get(value, "year")) - 1900;
    time.tm_mon = json_object_get_int(get(value, "month")) - 1;
    time.tm_mday = json_object_get_int(get(value, "day"));
    time.tm_hour = json_object_get_int(get(value, "hour"));
    time.tm_min = json_object_get_int(get(value, "minute"));
    time.tm_sec = json_object_get_int(get(value, "second"));
    return (double)timegm(&time);
}

static void read_redbeat_entry(struct schedule_snapshot *snapshot, const char *key, double due,
                               const struct redis_answer *hash)
{
    const char *definition = redis_answer_text(redis_answer_field(hash, "definition"));
    const char *meta = redis_answer_text(redis_answer_field(hash, "meta"));
    struct json_object *defined = definition ? json_tokener_parse(definition) : NULL;
    struct json_object *told = meta ? json_tokener_parse(meta) : NULL;
    struct schedule_entry *entry = add_entry(snapshot, key);
    const char *name = copy_text(snapshot, get(defined, "name"));
    double now = clock_wall();
    char late[32];
    entry->name = name ? name : entry->id;
    entry->task = copy_text(snapshot, get(defined, "task"));
    entry->queue = copy_text(snapshot, get(get(defined, "options"), "queue"));
    entry->when = when_text(snapshot, get(defined, "schedule"));
    struct json_object *enabled = get(defined, "enabled");
    entry->enabled = enabled ? json_object_get_boolean(enabled) : 1;
    entry->next_run = due;
    entry->last_run = datetime_of(get(told, "last_run_at"));
    struct json_object *runs = get(told, "total_run_count");
    entry->runs = runs ? json_object_get_int64(runs) : -1;
    if (entry->enabled == 1 && due > 0 && now - due > LATE_S) {
        entry->late_s = now - due - LATE_S;
        entry->why = talloc_asprintf(snapshot, "due %s ago", format_s(late, sizeof late, now - due));
    }
    json_object_put(defined);
    json_object_put(told);
}

/* ---- what it means ---- */

static void judge(struct celery_signs *signs, struct schedule_snapshot *snapshot, bool redbeat,
                  int64_t lock_ms)
{
    double now = clock_wall(), earliest = 0;
    char age[32];
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->entries[i].late_s > earliest)
            earliest = snapshot->entries[i].late_s;
    if (signs->twice_at > 0 && now - signs->twice_at < SIGN_HOLDS_S) {
        snapshot->scheduler = SCHEDULER_TWICE;
        snapshot->sign = talloc_strdup(snapshot, signs->twice);
    } else if (redbeat && lock_ms > 0 && earliest <= 0) {
        snapshot->scheduler = SCHEDULER_RUNS;
        snapshot->sign = "RedBeat holds its lock, and nothing is late";
    } else if (redbeat) {
        snapshot->scheduler = earliest > 0 ? SCHEDULER_STOPPED : SCHEDULER_UNKNOWN;
        snapshot->sign = lock_ms > 0 ? "RedBeat's lock is there, but entries are late"
                         : earliest > 0
                             ? "RedBeat holds no lock, and entries are late"
                             : "RedBeat holds no lock (it may run without one), and nothing is late";
    } else if (signs->newest > 0 && now - signs->newest < SIGN_HOLDS_S) {
        snapshot->scheduler = SCHEDULER_RUNS;
        snapshot->sign = talloc_asprintf(snapshot, "a periodic message %s ago",
                                         format_s(age, sizeof age, now - signs->newest));
    } else {
        snapshot->scheduler = SCHEDULER_UNKNOWN;
        snapshot->sign = "beat keeps nothing in Redis, and no message of it was seen: its schedule is in a "
                         "file, or in tables";
    }
}

static void add_signs(struct celery_signs *signs, struct schedule_snapshot *snapshot)
{
    for (struct sign *sign = signs->signs; sign; sign = sign->hh.next) {
        struct schedule_entry *entry = add_entry(snapshot, sign->name);
        entry->task = sign->task ? there(talloc_strdup(snapshot, sign->task)) : NULL;
        entry->queue = sign->queue ? there(talloc_strdup(snapshot, sign->queue)) : NULL;
        entry->tenant = sign->tenant ? there(talloc_strdup(snapshot, sign->tenant)) : NULL;
        entry->last_run = sign->sent_at > 0 ? sign->sent_at : sign->first_seen;
        entry->why = "known from its messages only";
    }
}

static void publish(struct celery_signs *signs, bool redbeat, int64_t lock_ms)
{
    struct schedule_snapshot *snapshot = signs->snapshot;
    signs->snapshot = NULL;
    if (!redbeat)
        add_signs(signs, snapshot);
    judge(signs, snapshot, redbeat, lock_ms);
    queue_system_publish(&signs->system->base, PART_SCHEDULE, snapshot);
}

/* ---- asking ---- */

static bool failed(struct celery_signs *signs, struct redis_batch *batch, const struct error *error)
{
    struct error why;
    signs->batch = NULL;
    if (!error)
        return false;
    why = *error;
    talloc_free(batch);
    snapshot_release(signs->snapshot);
    signs->snapshot = NULL;
    queue_system_failed(&signs->system->base, PART_SCHEDULE, &why);
    return true;
}

/* Answers: the schedule, the lock, and a hash for each of its members. */
static void on_entries(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_signs *signs = data;
    if (failed(signs, batch, error))
        return;
    const struct redis_answer *schedule = redis_batch_answer(batch, 0);
    int64_t lock_ms = redis_answer_integer(redis_batch_answer(batch, 1), -2);
    for (size_t i = 0; i + 1 < schedule->count && i / 2 + 2 < redis_batch_count(batch); i += 2) {
        const char *key = redis_answer_text(redis_answer_item(schedule, i));
        double due = redis_answer_real(redis_answer_item(schedule, i + 1), 0);
        if (key)
            read_redbeat_entry(signs->snapshot, key, due, redis_batch_answer(batch, i / 2 + 2));
    }
    talloc_free(batch);
    publish(signs, true, lock_ms);
}

static void ask_entries(struct celery_signs *signs, const struct redis_answer *schedule)
{
    signs->batch = redis_batch_new(NULL);
    redis_batch_add(signs->batch, "ZRANGE", "redbeat::schedule", "0", "499", "WITHSCORES", NULL);
    redis_batch_add(signs->batch, "PTTL", "redbeat::lock", NULL);
    for (size_t i = 0; i + 1 < schedule->count; i += 2) {
        redis_batch_add(signs->batch, "HGETALL", NULL);
        redis_batch_word(signs->batch, redis_answer_item(schedule, i)->text,
                         redis_answer_item(schedule, i)->length);
    }
    redis_batch_ask(signs->batch, signs->system->redis, signs->system->database, on_entries, signs);
}

static void on_signs(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_signs *signs = data;
    struct celery_system *system = signs->system;
    if (failed(signs, batch, error))
        return;
    const struct redis_answer *schedule = redis_batch_answer(batch, 0);
    for (size_t i = 1; i < redis_batch_count(batch); i++)
        if (system->queue_count)
            read_window(signs, system->queues[(signs->first_queue + i - 1) % system->queue_count],
                        redis_batch_answer(batch, i));
    if (system->queue_count > QUEUES_MAX)
        signs->first_queue = (signs->first_queue + QUEUES_MAX) % system->queue_count;
    if (schedule->kind == ANSWER_ARRAY && schedule->count)
        ask_entries(signs, schedule);
    else
        publish(signs, false, -2);
    talloc_free(batch);
}

void celery_ask_schedule(struct celery_system *system)
{
    struct celery_signs *signs = signs_of(system);
    if (signs->batch)
        return;
    snapshot_release(signs->snapshot);
    signs->snapshot = SNAPSHOT_NEW(struct schedule_snapshot);
    signs->batch = redis_batch_new(NULL);
    redis_batch_add(signs->batch, "ZRANGE", "redbeat::schedule", "0", "499", "WITHSCORES", NULL);
    size_t count = system->queue_count < QUEUES_MAX ? system->queue_count : QUEUES_MAX;
    for (size_t i = 0; i < count; i++) {
        const char *queue = system->queues[(signs->first_queue + i) % system->queue_count];
        redis_batch_add(signs->batch, "LRANGE", celery_queue_key(signs->batch, system, queue, 0, NULL), "0",
                        "19", NULL);
    }
    redis_batch_ask(signs->batch, system->redis, system->database, on_signs, signs);
}

void celery_beat_close(struct celery_system *system)
{
    struct celery_signs *signs = system->signs;
    if (!signs)
        return;
    talloc_free(signs->batch);
    snapshot_release(signs->snapshot);
    HASH_CLEAR(hh, signs->signs);
    system->signs = NULL;
    talloc_free(signs);
}
