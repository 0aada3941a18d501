/* Celery on Redis as an adapter: its names, its keys, and which file answers what. */
#include "backends/queues/celery.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"

static const struct celery_names default_names = {
    .prefix = "",
    .control = "celery",
    .unacked = "unacked",
    .unacked_index = "unacked_index",
    .unacked_mutex = "unacked_mutex",
    .separator = "\x06\x16",
    .steps = {0, 3, 6, 9},
    .visibility_timeout_s = 3600,
    .results = "celery-task-meta-",
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- names ---- */

char *celery_queue_key(const void *context, const struct celery_system *system, const char *queue, int step,
                       size_t *length)
{
    const struct celery_names *names = &system->names;
    char *key = step == 0 ? talloc_asprintf(context, "%s%s", names->prefix, queue)
                          : talloc_asprintf(context, "%s%s%s%d", names->prefix, queue, names->separator,
                                            names->steps[step]);
    there(key);
    if (length)
        *length = strlen(key);
    return key;
}

char *celery_key(const void *context, const struct celery_system *system, const char *name)
{
    return there(talloc_asprintf(context, "%s%s", system->names.prefix, name));
}

char *celery_channel(const void *context, const struct celery_system *system, const char *name)
{
    return there(talloc_asprintf(context, "%s/%d.%s", system->names.prefix, system->database, name));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_queue(const struct celery_system *system, size_t count, const char *name)
{
    return count && bsearch(&name, system->queues, count, sizeof *system->queues, by_name);
}

bool celery_add_queues(struct celery_system *system, const char *const *names, size_t count)
{
    size_t sorted = system->queue_count;
    system->queues = there(talloc_realloc(system, system->queues, const char *, sorted + count + 1));
    for (size_t i = 0; i < count; i++)
        if (*names[i] && !is_queue(system, sorted, names[i]))
            system->queues[system->queue_count++] = there(talloc_strdup(system->queues, names[i]));
    if (system->queue_count == sorted)
        return false;
    qsort(system->queues, system->queue_count, sizeof *system->queues, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < system->queue_count; i++)
        if (kept == 0 || strcmp(system->queues[kept - 1], system->queues[i]) != 0)
            system->queues[kept++] = system->queues[i];
    system->queue_count = kept;
    return true;
}

/* ---- a system ---- */

static void apply_settings(struct celery_system *system, struct queue_search *search,
                           const struct environment_jobs *settings)
{
    struct celery_names *names = &system->names;
    if (settings->prefix)
        names->prefix = settings->prefix;
    if (settings->control)
        names->control = settings->control;
    if (settings->visibility_timeout > 0)
        names->visibility_timeout_s = settings->visibility_timeout;
    system->tenancy = (struct celery_tenancy){
        .header = settings->tenant_header,
        .keyword = settings->tenant_keyword,
        .argument = settings->tenant_argument,
        .queue_pattern = settings->tenant_queue,
    };
    struct redis_server *results = settings->results ? queue_search_redis(search, settings->results) : NULL;
    if (results) {
        system->result_redis = results;
        system->result_database =
            settings->results_database >= 0 ? settings->results_database : redis_server_database(results);
    } else if (settings->results_database >= 0) {
        system->result_database = settings->results_database;
    }
    celery_add_queues(system, settings->queues, settings->queue_count);
}

struct celery_system *celery_new(struct queue_search *search, const struct queue_place *place, int database,
                                 const char *prefix)
{
    struct celery_system *system = queue_system_new(search, &celery_adapter, sizeof *system);
    system->names = default_names;
    system->tenancy.argument = -1;
    system->redis = system->result_redis = place->redis;
    system->database = system->result_database = database;
    if (place->settings)
        apply_settings(system, search, place->settings);
    if (prefix)
        system->names.prefix = there(talloc_strdup(system, prefix));
    const char *server = redis_server_name(place->redis);
    system->base.place = *system->names.prefix ? talloc_asprintf(system, "%s, database %d, prefix %s", server,
                                                                 database, system->names.prefix)
                                               : talloc_asprintf(system, "%s, database %d", server, database);
    there((void *)system->base.place);
    system->ids = celery_ids_new(system);
    return system;
}

/* ---- the adapter ---- */

static const char *part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system, (void)part;
    return NULL;
}

static void ask(struct queue_system *base, enum queue_part part)
{
    struct celery_system *system = (struct celery_system *)base;
    switch (part) {
    case PART_QUEUES:
        celery_ask_pauses(system);
        celery_ask_queues(system);
        break;
    case PART_WORKERS:
        celery_ask_workers(system);
        break;
    case PART_FAILURES:
        celery_ask_failures(system);
        break;
    case PART_SCHEDULE:
        celery_ask_schedule(system);
        break;
    case PART_ASIDE:
        celery_ask_aside(system);
        break;
    case QUEUE_PARTS:
        break;
    }
}

/* Heartbeats serve three parts: they tell the rate out of the queues, who lives, and what is retried. */
static bool wants_events(const struct celery_system *system)
{
    return system->wanted[PART_QUEUES] || system->wanted[PART_WORKERS] || system->wanted[PART_FAILURES];
}

static void want(struct queue_system *base, enum queue_part part, bool wanted)
{
    struct celery_system *system = (struct celery_system *)base;
    bool before = wants_events(system);
    system->wanted[part] = wanted;
    if (wants_events(system) != before)
        celery_watch_want(system, !before);
}

static void close_system(struct queue_system *base)
{
    struct celery_system *system = (struct celery_system *)base;
    celery_queues_close(system);
    celery_failures_close(system);
    celery_workers_close(system);
    celery_beat_close(system);
    celery_watch_free(system->watch);
    system->watch = NULL;
    celery_asked_free(system->asked);
    system->asked = NULL;
}

const struct queue_adapter celery_adapter = {
    .id = "celery",
    .title = "Celery on Redis",
    .where = ON_REDIS,
    .intervals =
        {
            [PART_QUEUES] = 3,
            [PART_WORKERS] = 2,
            [PART_FAILURES] = 5,
            [PART_SCHEDULE] = 10,
            [PART_ASIDE] = 10,
        },
    .search = celery_search,
    .part_absent = part_absent,
    .act_absent = celery_act_absent,
    .ask = ask,
    .want = want,
    .close = close_system,
    .read = celery_read,
    .stop = celery_read_stop,
    .forsake = celery_read_forsake,
    .job = celery_job,
    .prepare = celery_prepare,
    .forsake_prepare = celery_prepare_forsake,
};
