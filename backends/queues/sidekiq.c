/* Sidekiq as an adapter: finding it, where its jobs lie, and what it cannot do. */
#include "backends/queues/sidekiq.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

char *sidekiq_key(const void *context, const struct sidekiq_system *system, const char *kind,
                  const char *name)
{
    return or_die(talloc_asprintf(context, "%s%s%s", system->prefix, kind, name));
}

/* ---- finding it ---- */

struct sidekiq_search {
    struct queue_search *search;
    struct queue_place place;
    const char *prefix;
    char **names; /* of queues */
    size_t name_count;
};

static bool is_type(const struct redis_batch *batch, size_t index, const char *type)
{
    const char *text = redis_answer_text(redis_batch_answer(batch, index));
    return text && strcmp(text, type) == 0;
}

static void add_prefixed(struct redis_batch *batch, const char *command, const char *prefix, const char *name)
{
    redis_batch_add(batch, command, NULL);
    redis_batch_format(batch, "%s%s", prefix, name);
}

/* In this order. */
enum { TYPE_QUEUES, TYPE_PROCESSES, TYPE_STAT, TYPE_SETS, SCAN_QUEUES = TYPE_SETS + 3 };
static const char *const set_names[] = {"schedule", "retry", "dead"};

static void search_over(struct sidekiq_search *own, bool there, const struct error *error)
{
    if (!error && there && queue_search_alive(own->search)) {
        struct sidekiq_system *system =
            redis_system_new(own->search, &own->place, &sidekiq_adapter, sizeof *system);
        system->prefix = or_die(talloc_strdup(system, own->prefix));
        char **names = or_die(talloc_array(system, char *, own->name_count + 1));
        for (size_t i = 0; i < own->name_count; i++)
            names[i] = or_die(talloc_strdup(names, own->names[i]));
        redis_system_learn(&system->redis, names, own->name_count);
        queue_search_found(own->search, &system->redis.base);
    }
    queue_search_done(own->search, error);
    talloc_free(own);
}

/* Keys have everyday names: a job among them says that they are Sidekiq's. */
static bool has_job(const struct redis_answer *answer)
{
    if (answer->kind == ANSWER_TEXT)
        return memmem(answer->text, answer->length, "\"jid\"", 5) != NULL;
    for (size_t i = 0; i < answer->count; i++)
        if (has_job(&answer->items[i]))
            return true;
    return false;
}

static void on_jobs(void *data, struct redis_batch *batch, const struct error *error)
{
    bool there = false;
    for (size_t i = 0; i < redis_batch_count(batch); i++)
        there = there || has_job(redis_batch_answer(batch, i));
    search_over(data, there, error);
}

static void on_signs(void *data, struct redis_batch *batch, const struct error *error)
{
    struct sidekiq_search *own = data;
    const struct redis_answer *queues = redis_answer_item(redis_batch_answer(batch, SCAN_QUEUES), 1);
    const char *type = redis_answer_text(redis_batch_answer(batch, TYPE_QUEUES));
    bool foreign = type && strcmp(type, "set") != 0 && strcmp(type, "none") != 0; /* another program's */
    if (!error)
        error = redis_batch_refusal(batch);
    if (error || foreign) {
        search_over(own, false, error);
        return;
    }
    own->names = or_die(talloc_zero_array(own, char *, queues->count + 1));
    for (size_t i = 0; i < queues->count; i++)
        if (redis_answer_text(&queues->items[i]))
            own->names[own->name_count++] = or_die(talloc_strdup(own->names, queues->items[i].text));
    if (own->place.settings ||
        (is_type(batch, TYPE_PROCESSES, "set") && is_type(batch, TYPE_STAT, "string"))) {
        search_over(own, true, NULL);
        return;
    }
    struct redis_batch *jobs = redis_batch_new(own);
    for (size_t i = 0; i < 2 * own->name_count && i < 40; i++) { /* from either end */
        redis_batch_add(jobs, "LINDEX", NULL);
        redis_batch_format(jobs, "%squeue:%s", own->prefix, own->names[i / 2]);
        redis_batch_static(jobs, i % 2 ? "0" : "-1");
    }
    for (size_t i = 0; i < 3; i++)
        if (is_type(batch, TYPE_SETS + i, "zset")) {
            add_prefixed(jobs, "ZRANGE", own->prefix, set_names[i]);
            redis_batch_static(jobs, "0");
            redis_batch_static(jobs, "0");
        }
    if (redis_batch_count(jobs))
        redis_batch_ask(jobs, own->place.redis, own->place.database, on_jobs, own);
    else
        search_over(own, false, NULL);
}

static void sidekiq_search(struct queue_search *search, const struct queue_place *place)
{
    static const char *const signs[] = {"queues", "processes", "stat:processed", "schedule", "retry", "dead"};
    struct sidekiq_search *own = or_die(talloc_zero(NULL, struct sidekiq_search));
    const char *prefix = place->settings && place->settings->prefix ? place->settings->prefix : "";
    size_t length = strlen(prefix);
    *own = (struct sidekiq_search){.search = search, .place = *place, .prefix = prefix};
    if (length && prefix[length - 1] != ':')
        own->prefix = or_die(talloc_asprintf(own, "%s:", prefix));
    struct redis_batch *batch = redis_batch_new(own);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        add_prefixed(batch, "TYPE", own->prefix, signs[i]);
    /* another program's key of that name is no set: it answers with an error of its own, which is no matter
     */
    add_prefixed(batch, "SSCAN", own->prefix, "queues");
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "COUNT");
    redis_batch_static(batch, "1000");
    redis_batch_ask(batch, place->redis, place->database, on_signs, own);
}

/* ---- where jobs lie ---- */

static const struct {
    enum job_state state;
    const char *set;
} sets[] = {{JOB_SCHEDULED, "schedule"}, {JOB_RETRYING, "retry"}, {JOB_DEAD, "dead"}};

static size_t sidekiq_shelves(struct queue_system *base, const void *context, const char *queue,
                              unsigned states, struct redis_shelf **shelves)
{
    const struct sidekiq_system *system = (const struct sidekiq_system *)base;
    size_t queues = queue ? 1 : system->redis.queue_count, count = 0;
    *shelves = or_die(talloc_zero_array(context, struct redis_shelf, queues + 3));
    const char *only = queue ? or_die(talloc_strdup(*shelves, queue)) : NULL;
    for (size_t i = 0; i < queues && (!states || states & 1u << JOB_READY); i++) {
        const char *name = only ? only : or_die(talloc_strdup(*shelves, system->redis.queues[i]));
        struct redis_shelf *shelf = &(*shelves)[count++];
        *shelf = (struct redis_shelf){.kind = SHELF_LIST,
                                      .key = sidekiq_key(*shelves, system, "queue:", name),
                                      .queue = name,
                                      .state = JOB_READY,
                                      .head_last = true,
                                      .count = -1};
    }
    for (size_t i = 0; i < 3; i++) {
        if (states && !(states & 1u << sets[i].state))
            continue;
        struct redis_shelf *shelf = &(*shelves)[count++];
        *shelf = (struct redis_shelf){.kind = SHELF_SORTED,
                                      .key = sidekiq_key(*shelves, system, sets[i].set, ""),
                                      .queue = only,
                                      .state = sets[i].state,
                                      .count = -1};
    }
    return count;
}

static bool sidekiq_fill(struct queue_system *system, const void *context, const struct redis_item *item,
                         struct job *job, const char **body, size_t *body_length)
{
    const char *queue = item->shelf->queue;
    sidekiq_fill_json(context, item->bytes, item->length, job, system ? system->at.settings : NULL);
    if (item->shelf->kind == SHELF_SORTED) {
        /* The sets hold the jobs of all queues. */
        if (queue && (!job->queue || strcmp(queue, job->queue) != 0))
            return false;
        if (item->shelf->state == JOB_DEAD)
            job->finished_at = item->score;
        else
            job->eta = item->score;
    } else
        job->queue = queue;
    if (!job->tenant)
        job->tenant = payload_queue_tenant(context, job->queue, system ? system->at.settings : NULL);
    *body = item->bytes;
    *body_length = item->length;
    return true;
}

const struct redis_reading sidekiq_reading = {.shelves = sidekiq_shelves, .fill = sidekiq_fill};

/* ---- parts ---- */

static const char *sidekiq_part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system;
    if (part == PART_SCHEDULE)
        return "open source Sidekiq has no schedule of jobs that come back: those due later are in the "
               "queues' "
               "scheduled jobs";
    if (part == PART_ASIDE)
        return "nothing of Sidekiq is set aside by this console";
    return NULL;
}

static const char *why_not_retried(const struct job *job)
{
    return job->poison ? "it is no job that Sidekiq can read" : NULL;
}

static void sidekiq_ask(struct queue_system *base, enum queue_part part)
{
    struct sidekiq_system *system = (struct sidekiq_system *)base;
    if (part == PART_QUEUES)
        sidekiq_ask_queues(system);
    else if (part == PART_WORKERS)
        sidekiq_ask_workers(system);
    else
        redis_failures_ask(&system->redis, &sidekiq_reading, 1u << JOB_RETRYING | 1u << JOB_DEAD,
                           why_not_retried);
}

static struct queue_read *sidekiq_read(struct queue_system *system, const struct queue_read_request *request,
                                       struct queue_read_handler handler)
{
    return redis_read_start(system, &sidekiq_reading, request, handler);
}

static struct queue_prepare *sidekiq_prepare(struct queue_system *system,
                                             const struct queue_act_request *request,
                                             struct queue_prepare_handler handler)
{
    return redis_act_prepare(system, &sidekiq_acting, request, handler);
}

const struct queue_adapter sidekiq_adapter = {
    .id = "sidekiq",
    .title = "Sidekiq",
    .where = ON_REDIS,
    .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 30},
    .search = sidekiq_search,
    .part_absent = sidekiq_part_absent,
    .act_absent = sidekiq_act_absent,
    .ask = sidekiq_ask,
    .close = sidekiq_close,
    .read = sidekiq_read,
    .stop = redis_read_stop,
    .forsake = redis_read_forsake,
    .job = sidekiq_job,
    .prepare = sidekiq_prepare,
    .forsake_prepare = redis_act_forsake,
};
