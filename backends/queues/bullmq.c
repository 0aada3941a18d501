/* BullMQ as an adapter: finding its queues, where their jobs lie. */
#include "backends/queues/bullmq.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

enum { SEARCH_PAGES = 200 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

char *bullmq_key(const void *context, const struct bullmq_system *system, const char *queue, const char *kind)
{
    return or_die(talloc_asprintf(context, "%s:%s:%s", system->prefix, queue, kind));
}

void bullmq_add_key(struct redis_batch *batch, const struct bullmq_system *system, const char *queue,
                    const char *kind)
{
    redis_batch_format(batch, "%s:%s:%s", system->prefix, queue, kind);
}

int bullmq_major(const char *version)
{
    return version && strncmp(version, "bullmq:", 7) == 0 ? (int)strtol(version + 7, NULL, 10) : 0;
}

/* ---- finding queues ---- */

char *bullmq_meta_queue(const void *context, const char *prefix, const char *key)
{
    size_t before = strlen(prefix), length = strlen(key);
    if (length < before + 7 || strncmp(key, prefix, before) != 0 || key[before] != ':' ||
        strcmp(key + length - 5, ":meta") != 0)
        return NULL;
    const char *name = key + before + 1;
    size_t own = length - before - 6;
    /* BullMQ allows no colon in a queue's name: with one it is a job's or a schedule's key. */
    return memchr(name, ':', own) ? NULL : or_die(talloc_strndup(context, name, own));
}

void bullmq_add_scan(struct redis_batch *batch, const char *prefix, const char *cursor)
{
    redis_batch_add(batch, "SCAN", cursor, "MATCH", NULL);
    redis_batch_format(batch, "%s:*:meta", prefix);
    redis_batch_static(batch, "COUNT");
    redis_batch_static(batch, "500");
}

bool bullmq_scanned(struct bullmq_system *system, const struct redis_answer *answer)
{
    const char *cursor = redis_answer_text(redis_answer_item(answer, 0));
    const struct redis_answer *keys = redis_answer_item(answer, 1);
    for (size_t i = 0; i < keys->count; i++) {
        const char *key = redis_answer_text(&keys->items[i]);
        char *queue = key ? bullmq_meta_queue(system, system->prefix, key) : NULL;
        if (!queue)
            continue;
        system->found = or_die(talloc_realloc(system, system->found, char *, system->found_count + 1));
        system->found[system->found_count++] = talloc_steal(system->found, queue);
    }
    talloc_free(system->cursor);
    system->cursor = or_die(talloc_strdup(system, cursor ? cursor : "0"));
    return strcmp(system->cursor, "0") == 0;
}

struct bullmq_search {
    struct queue_search *search;
    struct queue_place place;
    const char *prefix;
    struct bullmq_system *system; /* in the making */
    int pages;
};

static void search_page(struct bullmq_search *own);

static void search_over(struct bullmq_search *own, const struct error *error)
{
    struct bullmq_system *system = own->system;
    if (!error && queue_search_alive(own->search) && (system->found_count || own->place.settings)) {
        size_t count = system->found_count;
        char **names = system->found ? system->found : or_die(talloc_array(system, char *, 1));
        system->found = NULL;
        system->found_count = 0;
        redis_system_learn(&system->redis, names, count);
        own->system = NULL;
        queue_search_found(own->search, &system->redis.base);
    }
    talloc_free(own->system);
    queue_search_done(own->search, error);
    talloc_free(own);
}

static void on_page(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_search *own = data;
    const struct error *refusal = error ? error : redis_batch_refusal(batch);
    if (refusal) {
        search_over(own, refusal);
        return;
    }
    bool over = bullmq_scanned(own->system, redis_batch_answer(batch, 0));
    talloc_free(batch);
    if (over || ++own->pages >= SEARCH_PAGES || !queue_search_alive(own->search))
        search_over(own, NULL);
    else
        search_page(own);
}

static void search_page(struct bullmq_search *own)
{
    struct redis_batch *batch = redis_batch_new(own);
    bullmq_add_scan(batch, own->prefix, own->system->cursor);
    redis_batch_ask(batch, own->place.redis, own->place.database, on_page, own);
}

static void bullmq_search(struct queue_search *search, const struct queue_place *place)
{
    struct bullmq_search *own = or_die(talloc_zero(NULL, struct bullmq_search));
    const char *prefix = place->settings && place->settings->prefix ? place->settings->prefix : "bull";
    *own = (struct bullmq_search){.search = search, .place = *place, .prefix = prefix};
    own->system = redis_system_new(search, place, &bullmq_adapter, sizeof *own->system);
    own->system->prefix = or_die(talloc_strdup(own->system, prefix));
    own->system->cursor = or_die(talloc_strdup(own->system, "0"));
    search_page(own);
}

/* ---- where jobs lie ---- */

static const struct {
    enum job_state state;
    const char *kind;
    bool list;
} places[] = {{JOB_READY, "wait", true},         {JOB_READY, "paused", true},
              {JOB_READY, "prioritized", false}, {JOB_RUNNING, "active", true},
              {JOB_SCHEDULED, "delayed", false}, {JOB_WAITING, "waiting-children", false},
              {JOB_FAILED, "failed", false},     {JOB_DONE, "completed", false}};

static size_t bullmq_shelves(struct queue_system *base, const void *context, const char *queue,
                             unsigned states, struct redis_shelf **shelves)
{
    const struct bullmq_system *system = (const struct bullmq_system *)base;
    size_t queues = queue ? 1 : system->redis.queue_count, kinds = sizeof places / sizeof *places, count = 0;
    *shelves = or_die(talloc_zero_array(context, struct redis_shelf, queues * kinds + 1));
    for (size_t i = 0; i < queues; i++) {
        const char *name = or_die(talloc_strdup(*shelves, queue ? queue : system->redis.queues[i]));
        for (size_t j = 0; j < kinds; j++) {
            unsigned here = 1u << places[j].state;
            if (places[j].state == JOB_SCHEDULED) /* retries with a back-off wait there too */
                here |= 1u << JOB_RETRYING;
            if (states && !(states & here))
                continue;
            struct redis_shelf *shelf = &(*shelves)[count++];
            *shelf = (struct redis_shelf){.kind = places[j].list ? SHELF_LIST : SHELF_SORTED,
                                          .key = bullmq_key(*shelves, system, name, places[j].kind),
                                          .queue = name,
                                          .state = places[j].state,
                                          .head_last = places[j].list,
                                          .count = -1};
        }
    }
    return count;
}

static void bullmq_ask_detail(struct queue_system *base, struct redis_batch *batch,
                              const struct redis_item *item)
{
    const struct bullmq_system *system = (const struct bullmq_system *)base;
    const char *queue = item->shelf->queue ? item->shelf->queue : "";
    redis_batch_add(batch, "HMGET", NULL);
    bullmq_add_key(batch, system, queue, item->bytes);
    bullmq_add_fields(batch);
    if (item->shelf->state == JOB_RUNNING) {
        redis_batch_add(batch, "PTTL", NULL);
        redis_batch_format(batch, "%s:%s:%s:lock", system->prefix, queue, item->bytes);
    }
}

const struct redis_reading bullmq_reading = {
    .shelves = bullmq_shelves, .ask_detail = bullmq_ask_detail, .fill = bullmq_fill};

/* ---- parts ---- */

static const char *bullmq_part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system;
    return part == PART_ASIDE ? "nothing of BullMQ is set aside by this console" : NULL;
}

static void bullmq_ask(struct queue_system *base, enum queue_part part)
{
    struct bullmq_system *system = (struct bullmq_system *)base;
    if (part == PART_QUEUES)
        bullmq_ask_queues(system);
    else if (part == PART_WORKERS)
        bullmq_ask_workers(system);
    else if (part == PART_SCHEDULE)
        bullmq_ask_schedule(system);
    else
        redis_failures_ask(&system->redis, &bullmq_reading, 1u << JOB_FAILED, NULL);
}

static struct queue_read *bullmq_read(struct queue_system *system, const struct queue_read_request *request,
                                      struct queue_read_handler handler)
{
    return redis_read_start(system, &bullmq_reading, request, handler);
}

static struct queue_prepare *bullmq_prepare(struct queue_system *system,
                                            const struct queue_act_request *request,
                                            struct queue_prepare_handler handler)
{
    return redis_act_prepare(system, &bullmq_acting, request, handler);
}

const struct queue_adapter bullmq_adapter = {
    .id = "bullmq",
    .title = "BullMQ",
    .where = ON_REDIS,
    .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 30, [PART_SCHEDULE] = 15},
    .search = bullmq_search,
    .part_absent = bullmq_part_absent,
    .act_absent = bullmq_act_absent,
    .ask = bullmq_ask,
    .close = redis_system_close,
    .read = bullmq_read,
    .stop = redis_read_stop,
    .forsake = redis_read_forsake,
    .job = bullmq_job,
    .prepare = bullmq_prepare,
    .forsake_prepare = redis_act_forsake,
};
