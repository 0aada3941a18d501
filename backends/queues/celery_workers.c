/*
 * Celery's workers: who is declared (bindings of the pidbox), heard (heartbeats), connected (CLIENT LIST) and
 * answered, joined into one state each, with the reason. What runs comes from the answers and from events.
 */
#include "backends/queues/celery_workers.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_crew.h"
#include "backends/queues/queues.h"
#include "backends/queues/redis_batch.h"
#include "core/clock.h"

/* Heartbeats come every 2 s: everybody who lives is heard within this. */
#define HEAR_ALL_S 4.5
#define CONNECT_S 1.5
#define LOOK_AGAIN_S 0.25
#define CLIENTS_EACH_S 8.0
#define FRESH_S 10.0
/* Beyond so many clients the list of them costs the server too much. */
#define CLIENTS_MAX 2000

enum { BOUND_MAX = 10000, SCAN_ROUNDS = 12 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static struct celery_crew *crew_of(struct celery_system *system)
{
    if (!system->crew) {
        struct celery_crew *crew = there(talloc_zero(NULL, struct celery_crew));
        crew->system = system;
        crew->sockets = crew->blocked = -1;
        system->crew = crew;
    }
    return system->crew;
}

/* ---- who is declared ---- */

/* "SEP SEP name.celery.pidbox" */
static void take_member(struct celery_crew *crew, const char *member, size_t length)
{
    char *suffix = there(talloc_asprintf(NULL, ".%s.pidbox", crew->system->names.control));
    size_t tail = strlen(suffix), from = 0;
    for (size_t i = 1; i < length; i++)
        if (member[i - 1] == '\x06' && member[i] == '\x16')
            from = i + 1;
    if (length > from + tail && !memcmp(member + length - tail, suffix, tail) &&
        !memchr(member, '\0', length) && crew->fresh_count < BOUND_MAX) {
        crew->fresh = there(talloc_realloc(crew, crew->fresh, const char *, crew->fresh_count + 1));
        crew->fresh[crew->fresh_count++] =
            there(talloc_strndup(crew->fresh, member + from, length - tail - from));
    }
    talloc_free(suffix);
}

static bool is_bound(const struct celery_crew *crew, const char *name)
{
    for (size_t i = 0; i < crew->bound_count; i++)
        if (!strcmp(crew->bound[i], name))
            return true;
    return false;
}

/* ---- who is connected ---- */

/* One line a client: a worker asks for jobs on a connection whose last command is BRPOP, and waits there
 * (flag b) while it could take one. */
static void take_clients(struct celery_crew *crew, const char *text)
{
    char *database = there(talloc_asprintf(NULL, " db=%d ", crew->system->database));
    crew->sockets = crew->blocked = 0;
    crew->clients_at = clock_wall();
    for (const char *line = text; line && *line;) {
        const char *end = strchrnul(line, '\n');
        char *client = there(talloc_strndup(NULL, line, (size_t)(end - line)));
        const char *flags = strstr(client, " flags=");
        if (!strstr(client, " name=signalbox") && strstr(client, " cmd=brpop ") && strstr(client, database)) {
            crew->sockets++;
            crew->blocked += flags && memchr(flags + 7, 'b', strcspn(flags + 7, " "));
        }
        talloc_free(client);
        line = *end ? end + 1 : end;
    }
    talloc_free(database);
}

static int64_t connected_clients(const char *info)
{
    const char *at = info ? strstr(info, "connected_clients:") : NULL;
    return at ? strtoll(at + strlen("connected_clients:"), NULL, 10) : CLIENTS_MAX + 1;
}

/* ---- who is paused ---- */

static void take_notes(struct celery_crew *crew, const struct redis_answer *answer)
{
    json_object_put(crew->notes);
    crew->notes = json_object_new_object();
    for (size_t i = 0; i + 1 < answer->count; i += 2) {
        const char *queue = redis_answer_text(redis_answer_item(answer, i));
        const char *note = redis_answer_text(redis_answer_item(answer, i + 1));
        struct json_object *value = note ? json_tokener_parse(note) : NULL;
        if (queue && json_object_is_type(value, json_type_object))
            json_object_object_add(crew->notes, queue, value);
        else
            json_object_put(value);
    }
}

static void on_pauses(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_crew *crew = data;
    if (!error && !redis_batch_refusal(batch))
        take_notes(crew, redis_batch_answer(batch, 0));
    crew->pauses = NULL;
    talloc_free(batch);
}

void celery_ask_pauses(struct celery_system *system)
{
    struct celery_crew *crew = crew_of(system);
    if (crew->pauses)
        return;
    crew->pauses = redis_batch_new(NULL);
    redis_batch_add(crew->pauses, "HGETALL", celery_key(crew->pauses, system, CELERY_PAUSED_KEY), NULL);
    redis_batch_ask(crew->pauses, system->redis, system->database, on_pauses, crew);
}

bool celery_takes_from(struct json_object *list, const char *queue)
{
    struct json_object *name;
    if (!json_object_is_type(list, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        if (json_object_is_type(entry, json_type_object) && json_object_object_get_ex(entry, "name", &name) &&
            json_object_is_type(name, json_type_string) && !strcmp(json_object_get_string(name), queue))
            return true;
    }
    return false;
}

/* A worker that was restarted takes from it again. */
bool celery_queue_paused(const struct celery_system *system, const char *queue)
{
    struct json_object *note, *at = NULL;
    const struct celery_answers *answers = celery_answers(system);
    if (!system->crew || !system->crew->notes ||
        !json_object_object_get_ex(system->crew->notes, queue, &note))
        return false;
    json_object_object_get_ex(note, "at", &at);
    bool newer = answers && answers->asked_at > json_object_get_double(at);
    for (size_t i = 0; newer && i < answers->worker_count; i++)
        if (celery_takes_from(answers->workers[i].queues, queue))
            return false;
    return true;
}

const char **celery_paused_by(const void *context, const struct celery_system *system, const char *queue,
                              size_t *count)
{
    struct json_object *note, *list;
    *count = 0;
    if (!system->crew || !system->crew->notes ||
        !json_object_object_get_ex(system->crew->notes, queue, &note) ||
        !json_object_object_get_ex(note, "workers", &list) || !json_object_is_type(list, json_type_array))
        return NULL;
    const char **names = there(talloc_array(context, const char *, json_object_array_length(list) + 1));
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (json_object_is_type(json_object_array_get_idx(list, i), json_type_string))
            names[(*count)++] =
                there(talloc_strdup(names, json_object_get_string(json_object_array_get_idx(list, i))));
    return names;
}

/* ---- looking ---- */

static void tell_waiters(struct celery_crew *crew)
{
    struct celery_system *system = crew->system;
    struct error error = crew->error;
    bool wanted =
        system->wanted[PART_QUEUES] || system->wanted[PART_WORKERS] || system->wanted[PART_FAILURES];
    if (crew->listens && !wanted)
        celery_watch_want(system, false);
    crew->listens = false;
    while (system->crew && crew->waiter_count) {
        struct crew_waiter waiter = crew->waiters[--crew->waiter_count];
        waiter.done(waiter.data, error.kind != ERROR_NONE ? &error : NULL);
    }
}

static void on_tell(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    tell_waiters(timer->data);
}

static void publish(struct celery_crew *crew)
{
    struct celery_system *system = crew->system;
    struct workers_snapshot *snapshot = celery_crew_snapshot(system);
    crew->asking = false;
    error_clear(&crew->error);
    queue_system_publish(&system->base, PART_WORKERS, snapshot);
    tell_waiters(crew);
}

/* Everybody who is declared was heard, or was given the time for it: once, after listening began. */
static bool all_heard(struct celery_crew *crew)
{
    double since = celery_watch_since(crew->system), now = clock_monotonic();
    if (since > 0 && clock_wall() - since >= HEAR_ALL_S) {
        crew->waits_since = 0;
        return true;
    }
    if (crew->waits_since <= 0)
        crew->waits_since = now;
    if (now - crew->waits_since >= HEAR_ALL_S + CONNECT_S)
        return true;
    for (size_t i = 0; i < crew->bound_count; i++)
        if (!celery_watch_worker(crew->system, crew->bound[i]))
            return false;
    return crew->bound_count > 0;
}

static void on_wait(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct celery_crew *crew = timer->data;
    (void)events;
    if (!all_heard(crew))
        return;
    ev_timer_stop(loop, timer);
    publish(crew);
}

/* The first look waits until everybody who lives was heard. */
static void heard_enough(struct celery_crew *crew)
{
    if (all_heard(crew)) {
        publish(crew);
        return;
    }
    ev_timer_init(&crew->wait, on_wait, LOOK_AGAIN_S, LOOK_AGAIN_S);
    crew->wait.data = crew;
    ev_timer_start(loop_ev(crew->system->base.loop), &crew->wait);
}

static void scan(struct celery_crew *crew, const char *cursor);

static void on_batch(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_crew *crew = data;
    const struct error *refusal = redis_batch_refusal(batch);
    if (error || (refusal && redis_batch_answer(batch, 0)->kind == ANSWER_ERROR)) {
        struct error copy = error ? *error : *refusal;
        talloc_free(batch);
        crew->batch = NULL;
        crew->asking = false;
        crew->error = copy;
        queue_system_failed(&crew->system->base, PART_WORKERS, &copy);
        tell_waiters(crew);
        return;
    }
    const struct redis_answer *found = redis_batch_answer(batch, 0);
    const struct redis_answer *members = redis_answer_item(found, 1);
    for (size_t i = 0; i < members->count; i++)
        take_member(crew, redis_answer_item(members, i)->text, redis_answer_item(members, i)->length);
    const char *cursor = redis_answer_text(redis_answer_item(found, 0));
    char *next = cursor && strcmp(cursor, "0") != 0 && crew->rounds < SCAN_ROUNDS
                     ? there(talloc_strdup(crew, cursor))
                     : NULL;
    if (redis_batch_count(batch) > 1) {
        take_notes(crew, redis_batch_answer(batch, 1));
        crew->clients = connected_clients(redis_answer_text(redis_batch_answer(batch, 2)));
        if (redis_batch_count(batch) > 3)
            take_clients(crew, redis_answer_text(redis_batch_answer(batch, 3)));
    }
    talloc_free(batch);
    crew->batch = NULL;
    if (next) {
        scan(crew, next);
        talloc_free(next);
        return;
    }
    talloc_free(crew->bound);
    crew->bound = crew->fresh;
    crew->bound_count = crew->fresh_count;
    crew->fresh = NULL;
    crew->fresh_count = 0;
    heard_enough(crew);
}

static void scan(struct celery_crew *crew, const char *cursor)
{
    struct celery_system *system = crew->system;
    crew->batch = redis_batch_new(NULL);
    char *exchange = there(talloc_asprintf(crew->batch, "_kombu.binding.%s.pidbox", system->names.control));
    char *binding = celery_key(crew->batch, system, exchange);
    redis_batch_add(crew->batch, "SSCAN", binding, cursor, "COUNT", "1000", NULL);
    if (!crew->rounds) {
        redis_batch_add(crew->batch, "HGETALL", celery_key(crew->batch, system, CELERY_PAUSED_KEY), NULL);
        redis_batch_add(crew->batch, "INFO", "clients", NULL);
        if (crew->doubtful && crew->clients <= CLIENTS_MAX &&
            clock_wall() - crew->clients_at >= CLIENTS_EACH_S)
            redis_batch_add(crew->batch, "CLIENT", "LIST", NULL);
    }
    crew->rounds++;
    redis_batch_ask(crew->batch, system->redis, system->database, on_batch, crew);
}

void celery_ask_workers(struct celery_system *system)
{
    struct celery_crew *crew = crew_of(system);
    if (crew->asking)
        return;
    crew->asking = true;
    crew->rounds = 0;
    crew->fresh_count = 0;
    talloc_free(crew->fresh);
    crew->fresh = NULL;
    scan(crew, "0");
}

void celery_workers_close(struct celery_system *system)
{
    struct celery_crew *crew = system->crew;
    if (!crew)
        return;
    ev_timer_stop(loop_ev(system->base.loop), &crew->wait);
    ev_timer_stop(loop_ev(system->base.loop), &crew->tell);
    talloc_free(crew->batch);
    talloc_free(crew->pauses);
    json_object_put(crew->notes);
    system->crew = NULL;
    talloc_free(crew);
}

void celery_workers_look(struct celery_system *system, void (*done)(void *data, const struct error *error),
                         void *data)
{
    struct celery_crew *crew = crew_of(system);
    const struct workers_snapshot *latest = queue_system_workers(&system->base);
    crew->waiters = there(talloc_realloc(crew, crew->waiters, struct crew_waiter, crew->waiter_count + 1));
    crew->waiters[crew->waiter_count++] = (struct crew_waiter){done, data};
    if (crew->asking)
        return;
    if (latest && clock_wall() - latest->snapshot.taken_at < FRESH_S) {
        error_clear(&crew->error);
        if (!ev_is_active(&crew->tell))
            ev_timer_init(&crew->tell, on_tell, 0, 0);
        crew->tell.data = crew;
        ev_timer_start(loop_ev(system->base.loop), &crew->tell);
        return;
    }
    if (celery_watch_since(system) <= 0) {
        crew->listens = true;
        celery_watch_want(system, true);
    }
    celery_ask_workers(system);
}

void celery_workers_look_forsake(struct celery_system *system, const void *data)
{
    struct celery_crew *crew = system->crew;
    for (size_t i = 0; crew && i < crew->waiter_count; i++)
        if (crew->waiters[i].data == data)
            crew->waiters[i--] = crew->waiters[--crew->waiter_count];
}

/* ---- who can be asked ---- */

const char **celery_workers_alive(const void *context, const struct celery_system *system, size_t *count)
{
    const struct workers_snapshot *latest = queue_system_workers(&system->base);
    const char **names = there(talloc_array(context, const char *, 1));
    *count = 0;
    for (size_t i = 0; latest && i < latest->count; i++) {
        if (latest->workers[i].state == WORKER_GHOST)
            continue;
        names = there(talloc_realloc(context, names, const char *, *count + 2));
        names[(*count)++] = there(talloc_strdup(names, latest->workers[i].id));
    }
    for (const struct heard_worker *heard = latest ? NULL : celery_watch_next(system, NULL); heard;
         heard = celery_watch_next(system, heard)) {
        if (heard->offline_at > 0)
            continue;
        names = there(talloc_realloc(context, names, const char *, *count + 2));
        names[(*count)++] = there(talloc_strdup(names, heard->name));
    }
    return names;
}

size_t celery_crew_names(const void *context, const struct celery_crew *crew, const char ***names)
{
    size_t count = 0;
    const char **all = there(talloc_array(context, const char *, 1));
    for (size_t i = 0; i < crew->bound_count; i++) {
        all = there(talloc_realloc(context, all, const char *, count + 2));
        all[count++] = crew->bound[i];
    }
    for (const struct heard_worker *heard = celery_watch_next(crew->system, NULL); heard;
         heard = celery_watch_next(crew->system, heard)) {
        bool gone = heard->offline_at > 0 || clock_wall() - heard->heard_at > 600;
        if (gone || is_bound(crew, heard->name))
            continue;
        all = there(talloc_realloc(context, all, const char *, count + 2));
        all[count++] = heard->name;
    }
    *names = all;
    return count;
}
