/* Redis Streams as an adapter: finding streams with groups, where their entries lie. */
#include "backends/queues/streams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

enum { SEARCH_PAGES = 200, STREAMS_MOST = 200, PLACE_COMMANDS = 2 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

double stream_id_time(const char *id)
{
    double ms = id ? strtod(id, NULL) : 0;
    return ms > 0 ? ms / 1000 : 0;
}

/* ---- which streams there are ---- */

void streams_add_scan(struct redis_batch *batch, const char *cursor)
{
    redis_batch_add(batch, "SCAN", cursor, "COUNT", "500", "TYPE", "stream", NULL);
}

bool streams_scanned(struct streams_system *system, const struct redis_answer *answer)
{
    const char *cursor = redis_answer_text(redis_answer_item(answer, 0));
    const struct redis_answer *keys = redis_answer_item(answer, 1);
    for (size_t i = 0; i < keys->count && system->found_count < STREAMS_MOST; i++) {
        const char *key = redis_answer_text(&keys->items[i]);
        if (!key || strncmp(key, "rq:results:", 11) == 0) /* one a job */
            continue;
        system->found = or_die(talloc_realloc(system, system->found, char *, system->found_count + 1));
        system->found[system->found_count++] = or_die(talloc_strdup(system->found, key));
    }
    talloc_free(system->cursor);
    system->cursor = or_die(talloc_strdup(system, cursor ? cursor : "0"));
    return strcmp(system->cursor, "0") == 0;
}

static bool is_found(const struct streams_system *system, const char *key)
{
    for (size_t i = 0; i < system->found_count; i++)
        if (strcmp(system->found[i], key) == 0)
            return true;
    return false;
}

void streams_take_found(struct streams_system *system)
{
    const struct environment_jobs *settings = system->redis.base.at.settings;
    for (size_t i = 0; settings && i < settings->queue_count; i++) {
        if (is_found(system, settings->queues[i]))
            continue;
        system->found = or_die(talloc_realloc(system, system->found, char *, system->found_count + 1));
        system->found[system->found_count++] = or_die(talloc_strdup(system->found, settings->queues[i]));
    }
    talloc_free(system->streams);
    system->streams = or_die(talloc_zero_array(system, struct stream_known, system->found_count + 1));
    system->stream_count = 0;
    for (size_t i = 0; i < system->found_count; i++) {
        bool twice = false; /* SCAN may give a key more than once */
        for (size_t j = 0; j < system->stream_count; j++)
            twice = twice || strcmp(system->streams[j].key, system->found[i]) == 0;
        if (!twice)
            system->streams[system->stream_count++] = (struct stream_known){
                .key = talloc_steal(system->streams, system->found[i]), .length = -1, .added = -1};
    }
    TALLOC_FREE(system->found);
    system->found_count = 0;
}

/* ---- their groups ---- */

void streams_ask_places(struct queue_system *base, struct redis_batch *batch)
{
    const struct streams_system *system = (const struct streams_system *)base;
    for (size_t i = 0; i < system->stream_count; i++) {
        redis_batch_add(batch, "XINFO", "STREAM", system->streams[i].key, NULL);
        redis_batch_add(batch, "XINFO", "GROUPS", system->streams[i].key, NULL);
    }
}

static void add_group(struct streams_system *system, struct stream_group *groups, size_t *count,
                      const char *stream, const struct redis_answer *answer)
{
    const char *name = redis_answer_text(redis_answer_field(answer, "name"));
    const char *delivered = redis_answer_text(redis_answer_field(answer, "last-delivered-id"));
    const struct redis_answer *read = redis_answer_field(answer, "entries-read");
    (void)system;
    if (!name)
        return;
    groups[(*count)++] =
        (struct stream_group){.stream = or_die(talloc_strdup(groups, stream)),
                              .group = or_die(talloc_strdup(groups, name)),
                              .name = or_die(talloc_asprintf(groups, "%s/%s", stream, name)),
                              .delivered = or_die(talloc_strdup(groups, delivered ? delivered : "0-0")),
                              .lag = redis_answer_integer(redis_answer_field(answer, "lag"), -1),
                              .pending = redis_answer_integer(redis_answer_field(answer, "pending"), -1),
                              .consumers = redis_answer_integer(redis_answer_field(answer, "consumers"), -1),
                              .read = redis_answer_real(read, NAN)};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct stream_group *)a)->name, ((const struct stream_group *)b)->name);
}

void streams_take_places(struct queue_system *base, const struct redis_batch *batch)
{
    struct streams_system *system = (struct streams_system *)base;
    size_t room = 0, count = 0;
    for (size_t i = 0; i < system->stream_count; i++)
        room += redis_batch_answer(batch, i * PLACE_COMMANDS + 1)->count;
    struct stream_group *groups = or_die(talloc_zero_array(system, struct stream_group, room + 1));
    for (size_t i = 0; i < system->stream_count; i++) {
        struct stream_known *stream = &system->streams[i];
        const struct redis_answer *info = redis_batch_answer(batch, i * PLACE_COMMANDS);
        const struct redis_answer *own = redis_batch_answer(batch, i * PLACE_COMMANDS + 1);
        const char *last = redis_answer_text(redis_answer_field(info, "last-generated-id"));
        talloc_free(stream->last_id);
        stream->last_id = last ? or_die(talloc_strdup(system->streams, last)) : NULL;
        stream->length = redis_answer_integer(redis_answer_field(info, "length"), -1);
        stream->added = redis_answer_integer(redis_answer_field(info, "entries-added"), -1);
        for (size_t j = 0; j < own->count; j++)
            add_group(system, groups, &count, stream->key, &own->items[j]);
    }
    qsort(groups, count, sizeof *groups, by_name);
    char **names = or_die(talloc_array(system, char *, count + 1));
    for (size_t i = 0; i < count; i++)
        names[i] = or_die(talloc_strdup(names, groups[i].name));
    talloc_free(system->groups);
    system->groups = groups;
    system->group_count = count;
    redis_system_learn(&system->redis, names, count);
}

const struct stream_group *streams_find(const struct streams_system *system, const char *queue)
{
    for (size_t i = 0; queue && i < system->group_count; i++)
        if (strcmp(system->groups[i].name, queue) == 0)
            return &system->groups[i];
    return NULL;
}

const struct stream_group *streams_find_worker(const void *context, const struct streams_system *system,
                                               const char *worker, char **consumer)
{
    for (const char *at = strchr(worker, '@'); at; at = strchr(at + 1, '@')) {
        const struct stream_group *group = streams_find(system, at + 1);
        if (group) {
            *consumer = or_die(talloc_strndup(context, worker, (size_t)(at - worker)));
            return group;
        }
    }
    return NULL;
}

/* ---- finding them ---- */

struct streams_search {
    struct queue_search *search;
    struct queue_place place;
    struct streams_system *system; /* in the making */
    int pages;
};

static void search_over(struct streams_search *own, const struct error *error)
{
    struct streams_system *system = own->system;
    if (!error && queue_search_alive(own->search) && (system->group_count || own->place.settings)) {
        own->system = NULL;
        queue_search_found(own->search, &system->redis.base);
    }
    talloc_free(own->system);
    queue_search_done(own->search, error);
    talloc_free(own);
}

static void on_groups(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_search *own = data;
    if (!error)
        streams_take_places(&own->system->redis.base, batch);
    search_over(own, error);
}

static void search_page(struct streams_search *own);

static void on_page(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_search *own = data;
    const struct error *refusal = error ? error : redis_batch_refusal(batch);
    if (refusal) {
        search_over(own, refusal);
        return;
    }
    bool over = streams_scanned(own->system, redis_batch_answer(batch, 0));
    talloc_free(batch);
    if (!over && ++own->pages < SEARCH_PAGES && queue_search_alive(own->search)) {
        search_page(own);
        return;
    }
    streams_take_found(own->system);
    if (!own->system->stream_count || !queue_search_alive(own->search)) {
        search_over(own, NULL);
        return;
    }
    struct redis_batch *groups = redis_batch_new(own);
    streams_ask_places(&own->system->redis.base, groups);
    redis_batch_ask(groups, own->place.redis, own->place.database, on_groups, own);
}

static void search_page(struct streams_search *own)
{
    struct redis_batch *batch = redis_batch_new(own);
    streams_add_scan(batch, own->system->cursor);
    redis_batch_ask(batch, own->place.redis, own->place.database, on_page, own);
}

static void streams_search(struct queue_search *search, const struct queue_place *place)
{
    struct streams_search *own = or_die(talloc_zero(NULL, struct streams_search));
    *own = (struct streams_search){.search = search, .place = *place};
    own->system = redis_system_new(search, place, &streams_adapter, sizeof *own->system);
    own->system->cursor = or_die(talloc_strdup(own->system, "0"));
    search_page(own);
}

/* ---- where entries lie ---- */

static const char *last_of(const struct streams_system *system, const char *stream)
{
    for (size_t i = 0; i < system->stream_count; i++)
        if (strcmp(system->streams[i].key, stream) == 0)
            return system->streams[i].last_id;
    return NULL;
}

static void add_shelves(const struct streams_system *system, const struct stream_group *group,
                        unsigned states, struct redis_shelf *shelves, size_t *count)
{
    const char *name = or_die(talloc_strdup(shelves, group->name)), *last = last_of(system, group->stream);
    const char *key = or_die(talloc_strdup(shelves, group->stream));
    struct redis_shelf shelf = {.key = key,
                                .queue = name,
                                .group = or_die(talloc_strdup(shelves, group->group)),
                                .last = last ? or_die(talloc_strdup(shelves, last)) : NULL};
    if (!states || states & 1u << JOB_READY) {
        shelf.kind = SHELF_STREAM;
        shelf.state = JOB_READY;
        shelf.after = or_die(talloc_strdup(shelves, group->delivered));
        shelf.count = group->lag;
        shelves[(*count)++] = shelf;
    }
    if (!states || states & 1u << JOB_UNACKED) {
        shelf.kind = SHELF_PENDING;
        shelf.state = JOB_UNACKED;
        shelf.after = NULL;
        shelf.count = group->pending;
        shelves[(*count)++] = shelf;
    }
    if (!states || states & 1u << JOB_DEAD)
        shelves[(*count)++] = (struct redis_shelf){.kind = SHELF_STREAM,
                                                   .key = or_die(talloc_asprintf(shelves, "%s:dead", key)),
                                                   .queue = name,
                                                   .state = JOB_DEAD,
                                                   .group = shelf.group,
                                                   .count = -1};
}

static size_t streams_shelves(struct queue_system *base, const void *context, const char *queue,
                              unsigned states, struct redis_shelf **shelves)
{
    const struct streams_system *system = (const struct streams_system *)base;
    size_t count = 0;
    *shelves = or_die(talloc_zero_array(context, struct redis_shelf, 3 * system->group_count + 1));
    for (size_t i = 0; i < system->group_count; i++)
        if (!queue || strcmp(queue, system->groups[i].name) == 0)
            add_shelves(system, &system->groups[i], states, *shelves, &count);
    return count;
}

const struct redis_reading streams_reading = {.ask_places = streams_ask_places,
                                              .take_places = streams_take_places,
                                              .shelves = streams_shelves,
                                              .fill = streams_fill};

/* ---- parts ---- */

static const char *streams_part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system;
    if (part == PART_SCHEDULE)
        return "streams have no schedule";
    if (part == PART_ASIDE)
        return "nothing of streams is set aside by this console";
    return NULL;
}

static void streams_ask(struct queue_system *base, enum queue_part part)
{
    struct streams_system *system = (struct streams_system *)base;
    if (part == PART_QUEUES)
        streams_ask_queues(system);
    else if (part == PART_WORKERS)
        streams_ask_workers(system);
    else
        redis_failures_ask(&system->redis, &streams_reading, 1u << JOB_UNACKED | 1u << JOB_DEAD, NULL);
}

static struct queue_read *streams_read(struct queue_system *system, const struct queue_read_request *request,
                                       struct queue_read_handler handler)
{
    return redis_read_start(system, &streams_reading, request, handler);
}

static struct queue_prepare *streams_prepare(struct queue_system *system,
                                             const struct queue_act_request *request,
                                             struct queue_prepare_handler handler)
{
    return redis_act_prepare(system, &streams_acting, request, handler);
}

const struct queue_adapter streams_adapter = {
    .id = "streams",
    .title = "Redis Streams",
    .where = ON_REDIS,
    .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 30},
    .search = streams_search,
    .part_absent = streams_part_absent,
    .act_absent = streams_act_absent,
    .ask = streams_ask,
    .close = redis_system_close,
    .read = streams_read,
    .stop = redis_read_stop,
    .forsake = redis_read_forsake,
    .job = streams_job,
    .prepare = streams_prepare,
    .forsake_prepare = redis_act_forsake,
};
