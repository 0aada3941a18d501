/*
 * Celery's events, as they are published: heartbeats of workers (always), events of tasks (when workers send
 * them). Nothing that is heard is trusted: what is no event is counted and dropped, all memory is bounded,
 * the oldest is forgotten first.
 */
#include <hiredis/hiredis.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_workers.h"
#include "backends/ssh/base64.h"
#include "core/clock.h"

#define RATE_S 60.0
#define SAMPLE_EACH_S 4.0
#define SHARE_S 120
#define GONE_S 600.0
#define ID_MAX (sizeof((struct heard_job *)NULL)->id - 1)

enum {
    WORKERS_MAX = 5000,
    JOBS_MAX = 10000, /* that run */
    SEEN_MAX = 40000, /* ids with a name and a time */
    PAYLOAD_MAX = 4 << 20,
    DEPTH_MAX = 32,
    NAME_MAX_LENGTH = 255,
    NAMES_MAX = 5000,
};

/* What an event told of an id. They stand in a ring, in the order of their coming. */
struct seen {
    UT_hash_handle hh;
    char id[64];
    const char *task; /* of the watch's names; NULL: unknown */
    double sent_at;
    bool ended;
};

struct name {
    UT_hash_handle hh;
    char text[];
};

struct celery_watch {
    struct celery_system *system;
    struct redis_listener *listener;
    double since; /* wall; 0: nothing is heard */
    struct heard_worker *workers;
    struct heard_job *jobs;
    struct seen *seen, *ring;
    size_t ring_next;
    struct name *names;
    struct {
        int64_t second;
        unsigned started, retried;
    } shares[SHARE_S];
    int64_t garbage;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- names and ids ---- */

/* Names of tasks and workers stand once; when there are too many of them, they are not known. */
static const char *intern(struct celery_watch *watch, const char *text)
{
    struct name *name = NULL;
    size_t length = text ? strlen(text) : 0;
    if (!length || length > NAME_MAX_LENGTH)
        return NULL;
    HASH_FIND(hh, watch->names, text, length, name);
    if (!name && HASH_COUNT(watch->names) < NAMES_MAX) {
        name = there(talloc_zero_size(watch, sizeof *name + length + 1));
        memcpy(name->text, text, length + 1);
        HASH_ADD_KEYPTR(hh, watch->names, name->text, length, name);
    }
    return name ? name->text : NULL;
}

static struct seen *seen_of(struct celery_watch *watch, const char *id)
{
    struct seen *seen;
    HASH_FIND_STR(watch->seen, id, seen);
    return seen;
}

static struct seen *see(struct celery_watch *watch, const char *id)
{
    struct seen *seen = seen_of(watch, id);
    if (seen)
        return seen;
    if (!watch->ring)
        watch->ring = there(talloc_zero_array(watch, struct seen, SEEN_MAX));
    seen = &watch->ring[watch->ring_next];
    watch->ring_next = (watch->ring_next + 1) % SEEN_MAX;
    if (seen->id[0])
        HASH_DELETE(hh, watch->seen, seen);
    *seen = (struct seen){0};
    strcpy(seen->id, id);
    HASH_ADD_STR(watch->seen, id, seen);
    return seen;
}

/* ---- fields of an event ---- */

static struct json_object *field(struct json_object *event, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(event, name, &value) ? value : NULL;
}

static const char *text_field(struct json_object *event, const char *name)
{
    struct json_object *value = field(event, name);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static double real_field(struct json_object *event, const char *name, double otherwise)
{
    struct json_object *value = field(event, name);
    bool number = json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int);
    double real = number ? json_object_get_double(value) : otherwise;
    return isfinite(real) ? real : otherwise;
}

static int64_t count_field(struct json_object *event, const char *name)
{
    double real = real_field(event, name, -1);
    return real >= 0 && real < 9e15 ? (int64_t)real : -1;
}

/* ---- workers ---- */

/* Those that have not been heard for long make room. */
static void forget_workers(struct celery_watch *watch, double now)
{
    struct heard_worker *worker, *next;
    HASH_ITER(hh, watch->workers, worker, next)
    if (now - worker->heard_at > GONE_S) {
        HASH_DELETE(hh, watch->workers, worker);
        talloc_free(worker);
    }
}

static struct heard_worker *worker_of(struct celery_watch *watch, const char *name, double now)
{
    struct heard_worker *worker = NULL;
    size_t length = strlen(name);
    if (!length || length > NAME_MAX_LENGTH)
        return NULL;
    HASH_FIND(hh, watch->workers, name, length, worker);
    if (worker)
        return worker;
    if (HASH_COUNT(watch->workers) >= WORKERS_MAX)
        forget_workers(watch, now);
    if (HASH_COUNT(watch->workers) >= WORKERS_MAX)
        return NULL;
    worker = there(talloc_zero(watch, struct heard_worker));
    worker->name = there(talloc_strdup(worker, name));
    worker->first_at = worker->progress_at = now;
    worker->active = worker->processed = -1;
    worker->load = NAN;
    HASH_ADD_KEYPTR(hh, watch->workers, worker->name, length, worker);
    return worker;
}

static void take_sample(struct heard_worker *worker, int64_t processed)
{
    double now = clock_monotonic();
    unsigned last = (worker->samples + HEARD_SAMPLES - 1) % HEARD_SAMPLES;
    if (worker->samples && now - worker->sample_at[last] < SAMPLE_EACH_S)
        return;
    worker->sample_at[worker->samples % HEARD_SAMPLES] = now;
    worker->sample[worker->samples % HEARD_SAMPLES] = processed;
    worker->samples++;
}

double heard_worker_rate(const struct heard_worker *worker, double now)
{
    unsigned kept = worker->samples < HEARD_SAMPLES ? worker->samples : HEARD_SAMPLES;
    unsigned newest = (worker->samples + HEARD_SAMPLES - 1) % HEARD_SAMPLES;
    for (unsigned i = kept; i-- > 1;) { /* the oldest one that still counts */
        unsigned at = (worker->samples + 2 * HEARD_SAMPLES - 1 - i) % HEARD_SAMPLES;
        double apart = worker->sample_at[newest] - worker->sample_at[at];
        if (now - worker->sample_at[at] <= RATE_S + SAMPLE_EACH_S && apart > 0)
            return (double)(worker->sample[newest] - worker->sample[at]) / apart;
    }
    return NAN;
}

static void hear_worker(struct celery_watch *watch, const char *type, struct json_object *event)
{
    double now = clock_wall();
    const char *name = text_field(event, "hostname");
    struct heard_worker *worker = name ? worker_of(watch, name, now) : NULL;
    if (!worker) {
        watch->garbage++;
        return;
    }
    int64_t processed = count_field(event, "processed"), active = count_field(event, "active");
    int pid = (int)count_field(event, "pid");
    bool restarted = (worker->pid > 0 && pid > 0 && pid != worker->pid) ||
                     (processed >= 0 && processed < worker->processed) || worker->offline_at > 0;
    if (restarted) {
        worker->samples = 0;
        worker->first_at = worker->progress_at = now;
    }
    if (processed != worker->processed || active <= 0)
        worker->progress_at = now;
    if (active != 0 || processed != worker->processed)
        worker->idle_at = 0;
    else if (worker->idle_at <= 0)
        worker->idle_at = now;
    if (processed >= 0)
        take_sample(worker, processed);
    worker->processed = processed;
    worker->active = active;
    worker->pid = pid;
    worker->heard_at = now;
    worker->frequency_s = fmin(fmax(real_field(event, "freq", 2), 1), 300);
    worker->offline_at = strcmp(type, "worker-offline") ? 0 : now;
    struct json_object *loads = field(event, "loadavg");
    if (json_object_is_type(loads, json_type_array) && json_object_array_length(loads))
        worker->load = json_object_get_double(json_object_array_get_idx(loads, 0));
    const char *version = text_field(event, "sw_ver");
    if (version)
        worker->version = intern(watch, version);
}

/* ---- tasks ---- */

static void count_share(struct celery_watch *watch, bool retried)
{
    int64_t second = (int64_t)clock_monotonic();
    size_t at = (size_t)(second % SHARE_S);
    if (watch->shares[at].second != second) {
        watch->shares[at].second = second;
        watch->shares[at].started = watch->shares[at].retried = 0;
    }
    watch->shares[at].started += !retried;
    watch->shares[at].retried += retried;
}

static void job_started(struct celery_watch *watch, const struct seen *seen, struct json_object *event)
{
    struct heard_job *job;
    const char *worker = text_field(event, "hostname");
    HASH_FIND_STR(watch->jobs, seen->id, job);
    if (!job) {
        if (HASH_COUNT(watch->jobs) >= JOBS_MAX) {
            job = watch->jobs; /* the oldest: a hash is in the order of adding */
            HASH_DELETE(hh, watch->jobs, job);
            talloc_free(job);
        }
        job = there(talloc_zero(watch, struct heard_job));
        strcpy(job->id, seen->id);
        HASH_ADD_STR(watch->jobs, id, job);
    }
    job->task = seen->task;
    job->worker = intern(watch, worker);
    job->started_at = clock_wall();
    count_share(watch, false);
}

static void job_ended(struct celery_watch *watch, const char *id)
{
    struct heard_job *job;
    HASH_FIND_STR(watch->jobs, id, job);
    if (!job)
        return;
    HASH_DELETE(hh, watch->jobs, job);
    talloc_free(job);
}

static void hear_task(struct celery_watch *watch, const char *type, struct json_object *event)
{
    const char *id = text_field(event, "uuid");
    if (!id || !*id || strlen(id) > ID_MAX) {
        watch->garbage++;
        return;
    }
    struct seen *seen = see(watch, id);
    const char *task = text_field(event, "name");
    if (task)
        seen->task = intern(watch, task);
    if (!strcmp(type, "task-sent")) {
        seen->sent_at = real_field(event, "timestamp", clock_wall());
        seen->ended = false;
    } else if (!strcmp(type, "task-started")) {
        seen->ended = false;
        job_started(watch, seen, event);
    } else if (strcmp(type, "task-received") != 0) { /* succeeded, failed, retried, revoked, rejected */
        seen->ended = true;
        job_ended(watch, id);
        if (!strcmp(type, "task-retried"))
            count_share(watch, true);
    }
}

/* ---- payloads ---- */

static void hear_event(struct celery_watch *watch, struct json_object *event)
{
    const char *type = json_object_is_type(event, json_type_object) ? text_field(event, "type") : NULL;
    if (type && !strncmp(type, "worker-", 7))
        hear_worker(watch, type, event);
    else if (type && !strncmp(type, "task-", 5))
        hear_task(watch, type, event);
    else
        watch->garbage++;
}

static struct json_object *parse(const char *text, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *object = json_tokener_parse_ex(there(tokener), text, (int)length);
    json_tokener_free(tokener);
    return object;
}

static struct json_object *body_of(struct json_object *envelope)
{
    size_t length;
    if (!json_object_is_type(envelope, json_type_object))
        return NULL;
    const char *text = text_field(envelope, "body");
    struct json_object *properties = field(envelope, "properties");
    const char *encoding =
        json_object_is_type(properties, json_type_object) ? text_field(properties, "body_encoding") : NULL;
    if (!text)
        return NULL;
    if (!encoding || strcmp(encoding, "base64") != 0)
        return parse(text, strlen(text));
    unsigned char *decoded = base64_decode(NULL, text, strlen(text), &length);
    struct json_object *body = decoded ? parse((const char *)decoded, length) : NULL;
    talloc_free(decoded);
    return body;
}

static struct celery_watch *watch_of(struct celery_system *system)
{
    if (!system->watch) {
        system->watch = there(talloc_zero(NULL, struct celery_watch));
        system->watch->system = system;
    }
    return system->watch;
}

/* Those of workers come singly, those of tasks in arrays. */
void celery_watch_hear(struct celery_system *system, const char *payload, size_t length)
{
    struct celery_watch *watch = watch_of(system);
    struct json_object *envelope = length <= PAYLOAD_MAX ? parse(payload, length) : NULL;
    struct json_object *body = body_of(envelope);
    if (json_object_is_type(body, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(body); i++)
            hear_event(watch, json_object_array_get_idx(body, i));
    } else {
        hear_event(watch, body);
    }
    json_object_put(body);
    json_object_put(envelope);
}

static void on_pushed(void *data, const redisReply *reply)
{
    struct celery_watch *watch = data;
    if (reply->type != REDIS_REPLY_ARRAY || !reply->elements || reply->element[0]->type != REDIS_REPLY_STRING)
        return;
    if (reply->elements == 3 && !strcmp(reply->element[0]->str, "psubscribe")) {
        watch->since = clock_wall(); /* now, or again: what was between is not known */
        for (struct heard_worker *worker = watch->workers; worker; worker = worker->hh.next)
            worker->samples = 0;
        for (struct heard_job *job = watch->jobs, *next; job; job = next) {
            next = job->hh.next;
            HASH_DELETE(hh, watch->jobs, job);
            talloc_free(job);
        }
        return;
    }
    if (reply->elements == 4 && reply->element[3]->type == REDIS_REPLY_STRING)
        celery_watch_hear(watch->system, reply->element[3]->str, reply->element[3]->len);
}

/* ---- listening ---- */

static char *pattern_of(const void *context, const struct celery_system *system)
{
    char *channel = celery_channel(NULL, system, "celeryev/");
    char *pattern = there(talloc_strdup(context, ""));
    for (const char *at = channel; *at; at++)
        pattern = there(talloc_asprintf_append_buffer(pattern, strchr("*?[]\\^", *at) ? "\\%c" : "%c", *at));
    talloc_free(channel);
    return there(talloc_strdup_append_buffer(pattern, "*"));
}

void celery_watch_want(struct celery_system *system, bool wanted)
{
    struct celery_watch *watch = watch_of(system);
    if (wanted && !watch->listener) {
        char *pattern = pattern_of(NULL, system);
        watch->listener = redis_server_listen(system->redis, &REDIS_COMMAND(pattern), on_pushed, watch);
        talloc_free(pattern);
        watch->since = clock_wall();
    } else if (!wanted && watch->listener) {
        redis_listener_free(watch->listener);
        watch->listener = NULL;
        watch->since = 0;
    }
}

void celery_watch_free(struct celery_watch *watch)
{
    if (!watch)
        return;
    if (watch->listener)
        redis_listener_free(watch->listener);
    watch->listener = NULL;
    HASH_CLEAR(hh, watch->workers);
    HASH_CLEAR(hh, watch->jobs);
    HASH_CLEAR(hh, watch->seen);
    HASH_CLEAR(hh, watch->names);
    watch->system->watch = NULL;
    talloc_free(watch);
}

/* ---- what is known ---- */

double celery_watch_since(const struct celery_system *system)
{
    return system->watch && !celery_watch_error(system) ? system->watch->since : 0;
}

const struct error *celery_watch_error(const struct celery_system *system)
{
    const struct error *error =
        system->watch && system->watch->listener ? redis_listener_error(system->watch->listener) : NULL;
    return error && error->kind != ERROR_NONE ? error : NULL;
}

const struct heard_worker *celery_watch_worker(const struct celery_system *system, const char *name)
{
    struct heard_worker *worker = NULL;
    if (system->watch)
        HASH_FIND_STR(system->watch->workers, name, worker);
    return worker;
}

const struct heard_worker *celery_watch_next(const struct celery_system *system,
                                             const struct heard_worker *last)
{
    if (!last)
        return system->watch ? system->watch->workers : NULL;
    return last->hh.next;
}

const struct heard_job *celery_watch_next_job(const struct celery_system *system,
                                              const struct heard_job *last)
{
    if (!last)
        return system->watch ? system->watch->jobs : NULL;
    return last->hh.next;
}

bool celery_watch_ended(const struct celery_system *system, const char *id)
{
    const struct seen *seen = system->watch ? seen_of(system->watch, id) : NULL;
    return seen && seen->ended;
}

double celery_watch_rate(const struct celery_system *system)
{
    double sum = NAN, now = clock_monotonic();
    for (const struct heard_worker *worker = celery_watch_next(system, NULL); worker;
         worker = celery_watch_next(system, worker)) {
        double rate = heard_worker_rate(worker, now);
        if (!isnan(rate))
            sum = isnan(sum) ? rate : sum + rate;
    }
    return sum;
}

double celery_watch_sent_at(const struct celery_system *system, const char *id)
{
    const struct seen *seen = system->watch && id ? seen_of(system->watch, id) : NULL;
    return seen ? seen->sent_at : 0;
}

double celery_watch_retry_share(const struct celery_system *system)
{
    double started = 0, retried = 0, now = clock_monotonic();
    for (size_t i = 0; system->watch && i < SHARE_S; i++)
        if (now - (double)system->watch->shares[i].second < SHARE_S) {
            started += system->watch->shares[i].started;
            retried += system->watch->shares[i].retried;
        }
    return started > 0 ? retried / started : NAN;
}

int64_t celery_watch_garbage(const struct celery_system *system)
{
    return system->watch ? system->watch->garbage : 0;
}
