/* Groups of streams as queues, and their consumers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/streams.h"
#include "core/clock.h"

enum { SCAN_PAGES = 20, PENDING_LOOK = 100, UNKNOWN_LOOK = 1000, GROUP_COMMANDS = 4, RUNNING_SHOWN = 200 };
#define SILENT_S 60.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- queues ---- */

struct streams_queues {
    struct redis_part part;
    struct queues_snapshot *snapshot;
    struct stream_group *groups; /* as they were when asked */
    size_t count;
    int pages;
    double now;
};

static struct streams_system *system_of(struct streams_queues *asking)
{
    return (struct streams_system *)asking->part.system;
}

static int64_t living(const struct redis_answer *consumers, bool waits)
{
    int64_t count = 0;
    for (size_t i = 0; i < consumers->count; i++) {
        double idle = redis_answer_real(redis_answer_field(&consumers->items[i], "idle"), 0) / 1000;
        count += !waits || idle < SILENT_S;
    }
    return count;
}

static int64_t count_poison(const struct redis_answer *pending)
{
    int64_t poison = 0;
    for (size_t i = 0; i < pending->count; i++)
        poison += redis_answer_integer(redis_answer_item(&pending->items[i], 3), 0) > STREAMS_POISON;
    return poison;
}

static void judge(const void *context, struct queue *queue, bool at_least)
{
    if (queue->ready > 0 && !queue->consumers) {
        queue->level = QUEUE_CRITICAL;
        queue->why = or_die(talloc_asprintf(
            context, "%lld wait and no consumer asked for entries within a minute", (long long)queue->ready));
    } else if (queue->poison > 0) {
        queue->level = QUEUE_WARNING;
        queue->why =
            or_die(talloc_asprintf(context, "%lld are delivered again and again", (long long)queue->poison));
    } else if (at_least)
        queue->why =
            "at least so many: Redis does not know the lag, because entries were deleted or the group was "
            "created at the end";
}

static void read_group(struct streams_queues *asking, struct queue *queue, const struct stream_group *group,
                       const struct redis_batch *batch, size_t base)
{
    struct streams_system *system = system_of(asking);
    const struct redis_answer *unread = redis_batch_answer(batch, base),
                              *pending = redis_batch_answer(batch, base + 1);
    bool at_least = group->lag < 0;
    queue_clear(queue);
    queue->kind = "stream";
    queue->id = queue->name = or_die(talloc_strdup(asking->snapshot, group->name));
    queue->ready = at_least ? (int64_t)unread->count : group->lag;
    queue->unacked = queue->running = group->pending;
    queue->dead = redis_answer_integer(redis_batch_answer(batch, base + 3), 0);
    queue->paused = 0;
    queue->poison = count_poison(pending);
    queue->poison_near = 0;
    queue->poison_sampled = pending->count >= PENDING_LOOK;
    queue->consumers = living(redis_batch_answer(batch, base + 2), queue->ready > 0);
    double head = stream_id_time(redis_answer_text(redis_answer_item(redis_answer_item(unread, 0), 0)));
    if (head > 0) {
        queue->head_age_s = asking->now > head ? asking->now - head : 0;
        queue->head_age_source = HEAD_AGE_EXACT;
    }
    double added = NAN;
    for (size_t i = 0; i < system->stream_count; i++)
        if (strcmp(system->streams[i].key, group->stream) == 0 && system->streams[i].added >= 0)
            added = (double)system->streams[i].added;
    redis_rates_note(
        &system->redis, group->name,
        &(struct redis_rate_sample){
            .ready = queue->ready, .inside = queue->ready, .in_total = added, .out_total = group->read});
    redis_rates_fill(&system->redis, queue);
    redis_shares_fill(&system->redis, asking->snapshot, queue);
    judge(asking->snapshot, queue, at_least && queue->ready > 0);
}

static void on_details(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_queues *asking = data;
    struct redis_system *redis = asking->part.system;
    struct queues_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    snapshot->queues = or_die(talloc_zero_array(snapshot, struct queue, asking->count + 1));
    for (size_t i = 0; i < asking->count; i++)
        read_group(asking, &snapshot->queues[snapshot->count++], &asking->groups[i], batch,
                   i * GROUP_COMMANDS);
    redis_part_publish(asking);
    redis_shares_sample(redis, &streams_reading);
}

static void add_group(struct redis_batch *batch, const struct stream_group *group)
{
    redis_batch_add(batch, "XRANGE", group->stream, NULL);
    redis_batch_format(batch, "(%s", group->delivered);
    redis_batch_static(batch, "+");
    redis_batch_static(batch, "COUNT");
    redis_batch_format(batch, "%d", group->lag < 0 ? UNKNOWN_LOOK : 1);
    redis_batch_add(batch, "XPENDING", group->stream, group->group, "-", "+", NULL);
    redis_batch_format(batch, "%d", PENDING_LOOK);
    redis_batch_add(batch, "XINFO", "CONSUMERS", group->stream, group->group, NULL);
    redis_batch_add(batch, "XLEN", NULL);
    redis_batch_format(batch, "%s:dead", group->stream);
}

/* The groups that are asked about are kept: others may be learned meanwhile. */
static void copy_groups(struct streams_queues *asking)
{
    const struct streams_system *system = system_of(asking);
    asking->count = system->group_count;
    asking->groups = or_die(talloc_zero_array(asking, struct stream_group, asking->count + 1));
    for (size_t i = 0; i < asking->count; i++) {
        struct stream_group *group = &asking->groups[i];
        *group = system->groups[i];
        group->stream = or_die(talloc_strdup(asking->groups, group->stream));
        group->group = or_die(talloc_strdup(asking->groups, group->group));
        group->name = or_die(talloc_strdup(asking->groups, group->name));
        group->delivered = or_die(talloc_strdup(asking->groups, group->delivered));
    }
}

static void on_groups(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    streams_take_places(&asking->part.system->base, batch);
    copy_groups(asking);
    struct redis_batch *details = redis_part_batch(asking);
    for (size_t i = 0; i < asking->count; i++)
        add_group(details, &asking->groups[i]);
    redis_part_ask(asking, details, on_details);
}

static void ask_scan(struct streams_queues *asking);

static void on_scan(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct streams_system *system = system_of(asking);
    bool over = streams_scanned(system, redis_batch_answer(batch, 0));
    talloc_free(batch);
    if (over)
        streams_take_found(system);
    else if (++asking->pages < SCAN_PAGES) {
        ask_scan(asking);
        return;
    }
    struct redis_batch *groups = redis_part_batch(asking);
    streams_ask_places(&system->redis.base, groups);
    redis_part_ask(asking, groups, on_groups);
}

static void ask_scan(struct streams_queues *asking)
{
    struct redis_batch *batch = redis_part_batch(asking);
    streams_add_scan(batch, system_of(asking)->cursor);
    redis_part_ask(asking, batch, on_scan);
}

void streams_ask_queues(struct streams_system *system)
{
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    struct streams_queues *asking = redis_part_begin(&system->redis, PART_QUEUES, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    ask_scan(asking);
}

/* ---- consumers ---- */

struct streams_workers {
    struct redis_part part;
    struct workers_snapshot *snapshot;
    double now;
};

/* Of what they hold; forsaken with the part that it belongs to. */
struct held_read {
    struct streams_workers *asking;
    struct queue_read *read;
};

static int held_destroy(struct held_read *held)
{
    if (held->read)
        redis_read_forsake(held->read);
    return 0;
}

static void on_held(void *data, const struct job *jobs, size_t count)
{
    struct held_read *held = data;
    struct workers_snapshot *snapshot = held->asking->snapshot;
    for (size_t i = 0; i < count && snapshot->running_count < RUNNING_SHOWN; i++)
        job_copy_into(snapshot, &snapshot->running[snapshot->running_count++], &jobs[i]);
}

static void on_held_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct held_read *held = data;
    (void)progress;
    held->read = NULL;
    if (!error || redis_part_came(held->asking, NULL, error))
        redis_part_publish(held->asking);
}

static void read_consumer(struct streams_workers *asking, const struct stream_group *group,
                          const struct redis_answer *answer)
{
    struct workers_snapshot *snapshot = asking->snapshot;
    struct worker *worker = &snapshot->workers[snapshot->count++];
    const char *name = redis_answer_text(redis_answer_field(answer, "name"));
    double idle = redis_answer_real(redis_answer_field(answer, "idle"), 0) / 1000;
    int64_t pending = redis_answer_integer(redis_answer_field(answer, "pending"), 0);
    *worker =
        (struct worker){.id = or_die(talloc_asprintf(snapshot, "%s@%s", name ? name : "?", group->name)),
                        .state = pending > 0 ? WORKER_BUSY : WORKER_OK,
                        .seen_at = asking->now - idle,
                        .slots = -1,
                        .active = pending,
                        .reserved = -1,
                        .scheduled = -1,
                        .processed = -1,
                        .per_s = NAN,
                        .load = NAN,
                        .queues = or_die(talloc_strdup(snapshot, group->name)),
                        .asked_at = asking->now};
    if (idle >= SILENT_S && pending > 0) {
        worker->state = WORKER_SILENT;
        worker->why = "it holds entries and did not ask for more for over a minute";
    } else if (idle >= SILENT_S && group->lag > 0) {
        worker->state = WORKER_NOT_CONSUMING;
        worker->why = "entries wait and it did not ask for any for over a minute";
    }
}

static void on_consumers(void *data, struct redis_batch *batch, const struct error *error)
{
    struct streams_workers *asking = data;
    struct workers_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    const struct streams_system *system = (const struct streams_system *)asking->part.system;
    size_t room = 0;
    for (size_t i = 0; i < redis_batch_count(batch); i++)
        room += redis_batch_answer(batch, i)->count;
    snapshot->workers = or_die(talloc_zero_array(snapshot, struct worker, room + 1));
    snapshot->running = or_die(talloc_zero_array(snapshot, struct job, RUNNING_SHOWN));
    for (size_t i = 0; i < redis_batch_count(batch); i++) {
        const struct redis_answer *consumers = redis_batch_answer(batch, i);
        const struct redis_command *asked = redis_batch_command(batch, i);
        char *name = asked->count == 4
                         ? or_die(talloc_asprintf(asking, "%s/%s", asked->words[2], asked->words[3]))
                         : NULL;
        const struct stream_group *group = streams_find(system, name);
        for (size_t j = 0; group && j < consumers->count; j++)
            read_consumer(asking, group, &consumers->items[j]);
    }
    struct held_read *held = or_die(talloc_zero(asking, struct held_read));
    talloc_set_destructor(held, held_destroy);
    held->asking = asking;
    held->read =
        redis_read_start(&asking->part.system->base, &streams_reading,
                         &(struct queue_read_request){.states = 1u << JOB_UNACKED, .look = RUNNING_SHOWN},
                         (struct queue_read_handler){.jobs = on_held, .done = on_held_done, .data = held});
}

void streams_ask_workers(struct streams_system *system)
{
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    struct streams_workers *asking = redis_part_begin(&system->redis, PART_WORKERS, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    snapshot->note = "from the groups' own records: a consumer is a name, and seen when it asks for entries";
    struct redis_batch *batch = redis_part_batch(asking);
    for (size_t i = 0; i < system->group_count; i++)
        redis_batch_add(batch, "XINFO", "CONSUMERS", system->groups[i].stream, system->groups[i].group, NULL);
    redis_part_ask(asking, batch, on_consumers);
}
