/* RQ as an adapter: finding it, where its jobs lie, and what it cannot do. */
#include "backends/queues/rq.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- finding it ---- */

struct rq_search {
    struct queue_search *search;
    struct queue_place place;
};

static void on_search(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_search *own = data;
    const struct error *refusal = error ? error : redis_batch_refusal(batch);
    bool there = own->place.settings || redis_answer_integer(redis_batch_answer(batch, 0), 0) > 0 ||
                 redis_answer_integer(redis_batch_answer(batch, 1), 0) > 0;
    if (!refusal && there && queue_search_alive(own->search)) {
        struct rq_system *system = redis_system_new(own->search, &own->place, &rq_adapter, sizeof *system);
        const struct redis_answer *queues = redis_batch_answer(batch, 2);
        char **names = or_die(talloc_array(system, char *, queues->count + 1));
        size_t count = 0;
        for (size_t i = 0; i < queues->count; i++) {
            const char *key = redis_answer_text(&queues->items[i]);
            if (key && strncmp(key, "rq:queue:", 9) == 0)
                names[count++] = or_die(talloc_strdup(names, key + 9));
        }
        redis_system_learn(&system->redis, names, count);
        queue_search_found(own->search, &system->redis.base);
    }
    queue_search_done(own->search, refusal);
    talloc_free(own);
}

static void rq_search(struct queue_search *search, const struct queue_place *place)
{
    struct rq_search *own = or_die(talloc_zero(NULL, struct rq_search));
    *own = (struct rq_search){search, *place};
    struct redis_batch *batch = redis_batch_new(own);
    redis_batch_add(batch, "SCARD", "rq:queues", NULL);
    redis_batch_add(batch, "SCARD", "rq:workers", NULL);
    redis_batch_add(batch, "SMEMBERS", "rq:queues", NULL);
    redis_batch_ask(batch, place->redis, place->database, on_search, own);
}

/* ---- where jobs lie ---- */

static const struct {
    enum job_state state;
    const char *registry; /* NULL: the queue itself */
} places[] = {{JOB_READY, NULL},          {JOB_RUNNING, "wip"},   {JOB_SCHEDULED, "scheduled"},
              {JOB_WAITING, "deferred"},  {JOB_FAILED, "failed"}, {JOB_DONE, "finished"},
              {JOB_CANCELLED, "canceled"}};

static size_t rq_shelves(struct queue_system *base, const void *context, const char *queue, unsigned states,
                         struct redis_shelf **shelves)
{
    const struct rq_system *system = (const struct rq_system *)base;
    size_t queues = queue ? 1 : system->redis.queue_count, kinds = sizeof places / sizeof *places, count = 0;
    *shelves = or_die(talloc_zero_array(context, struct redis_shelf, queues * kinds + 1));
    for (size_t i = 0; i < queues; i++) {
        const char *name = or_die(talloc_strdup(*shelves, queue ? queue : system->redis.queues[i]));
        for (size_t j = 0; j < kinds; j++) {
            unsigned here = 1u << places[j].state;
            if (places[j].state == JOB_SCHEDULED) /* retries wait there too */
                here |= 1u << JOB_RETRYING;
            if (states && !(states & here))
                continue;
            const char *registry = places[j].registry;
            struct redis_shelf *shelf = &(*shelves)[count++];
            *shelf = (struct redis_shelf){
                .kind = registry ? SHELF_SORTED : SHELF_LIST,
                .key = or_die(talloc_asprintf(*shelves, "rq:%s:%s", registry ? registry : "queue", name)),
                .queue = name,
                .state = places[j].state,
                .count = -1};
        }
    }
    return count;
}

static void rq_ask_detail(struct queue_system *system, struct redis_batch *batch,
                          const struct redis_item *item)
{
    (void)system;
    char *id = rq_member_job(NULL, item->bytes, item->shelf->state == JOB_RUNNING);
    redis_batch_add(batch, "HMGET", NULL);
    redis_batch_format(batch, "rq:job:%s", id);
    rq_add_fields(batch);
    if (item->shelf->state == JOB_FAILED)
        rq_ask_result(batch, id);
    talloc_free(id);
}

const struct redis_reading rq_reading = {.shelves = rq_shelves, .ask_detail = rq_ask_detail, .fill = rq_fill};

/* ---- parts ---- */

static const char *rq_part_absent(const struct queue_system *system, enum queue_part part)
{
    (void)system;
    if (part == PART_SCHEDULE)
        return "RQ keeps no entries that come back: jobs that are due later are in the queues' scheduled "
               "jobs";
    if (part == PART_ASIDE)
        return "nothing of RQ is set aside by this console";
    return NULL;
}

static const char *why_not_retried(const struct job *job)
{
    (void)job;
    return NULL;
}

static void rq_ask(struct queue_system *base, enum queue_part part)
{
    struct rq_system *system = (struct rq_system *)base;
    if (part == PART_QUEUES)
        rq_ask_queues(system);
    else if (part == PART_WORKERS)
        rq_ask_workers(system);
    else
        redis_failures_ask(&system->redis, &rq_reading, 1u << JOB_FAILED, why_not_retried);
}

static struct queue_read *rq_read(struct queue_system *system, const struct queue_read_request *request,
                                  struct queue_read_handler handler)
{
    return redis_read_start(system, &rq_reading, request, handler);
}

static struct queue_prepare *rq_prepare(struct queue_system *system, const struct queue_act_request *request,
                                        struct queue_prepare_handler handler)
{
    return redis_act_prepare(system, &rq_acting, request, handler);
}

const struct queue_adapter rq_adapter = {
    .id = "rq",
    .title = "RQ",
    .where = ON_REDIS,
    .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 30},
    .search = rq_search,
    .part_absent = rq_part_absent,
    .act_absent = rq_act_absent,
    .ask = rq_ask,
    .close = redis_system_close,
    .read = rq_read,
    .stop = redis_read_stop,
    .forsake = redis_read_forsake,
    .job = rq_job,
    .prepare = rq_prepare,
    .forsake_prepare = redis_act_forsake,
};
