/* BullMQ's queues: counts, the age of the head, rates from the stream of events; and its schedulers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "core/clock.h"

enum { EVENTS_LOOK = 200, SCAN_PAGES = 20 };
#define RATE_OVER_S 60.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- which queues there are ---- */

/* Names that a whole scan found, those of the settings too. */
static void take_names(struct bullmq_system *system)
{
    const struct environment_jobs *settings = system->redis.base.at.settings;
    size_t named = settings ? settings->queue_count : 0, count = system->found_count;
    char **names = or_die(talloc_array(system, char *, count + named + 1));
    for (size_t i = 0; i < count; i++)
        names[i] = talloc_steal(names, system->found[i]);
    for (size_t i = 0; i < named; i++)
        names[count++] = or_die(talloc_strdup(names, settings->queues[i]));
    TALLOC_FREE(system->found);
    system->found_count = 0;
    redis_system_learn(&system->redis, names, count);
}

/* ---- queues ---- */

enum asked {
    ASKED_META,
    ASKED_WAIT,
    ASKED_PAUSED,
    ASKED_ACTIVE,
    ASKED_PRIORITIZED,
    ASKED_DELAYED,
    ASKED_WAITING,
    ASKED_FAILED,
    ASKED_COMPLETED,
    ASKED_HEAD_WAIT,
    ASKED_HEAD_PAUSED,
    ASKED_HEAD_PRIORITIZED,
    ASKED_DUE,
    ASKED_EVENTS,
    ASKED_COUNT
};

struct bullmq_queues {
    struct redis_part part;
    struct queues_snapshot *snapshot;
    struct bullmq_client *clients;
    size_t client_count;
    bool clients_known;
    int pages;
    double now;
};

static struct bullmq_system *system_of(struct bullmq_queues *asking)
{
    return (struct bullmq_system *)asking->part.system;
}

static void on_heads(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_queues *asking = data;
    struct redis_system *redis = asking->part.system;
    if (!redis_part_came(asking, batch, error))
        return;
    for (size_t i = 0; i < asking->snapshot->count; i++) {
        struct queue *queue = &asking->snapshot->queues[i];
        const struct redis_answer *times = redis_batch_answer(batch, i);
        double at = redis_answer_real(redis_answer_item(times, 0), 0) / 1000;
        double delay = redis_answer_real(redis_answer_item(times, 1), 0) / 1000;
        if (queue->ready > 0 && at > 0) {
            queue->head_age_s = asking->now > at + delay ? asking->now - at - delay : 0;
            queue->head_age_source = HEAD_AGE_EXACT;
        }
    }
    redis_part_publish(asking);
    redis_shares_sample(redis, &bullmq_reading);
}

/* Jobs that came into the queue and that workers took, by its own events of the last minute. */
static void count_events(const struct redis_answer *events, double now, struct queue *queue)
{
    int64_t in = 0, out = 0;
    double oldest = now;
    if (events->kind != ANSWER_ARRAY || !events->count)
        return;
    for (size_t i = 0; i < events->count; i++) {
        const char *id = redis_answer_text(redis_answer_item(&events->items[i], 0));
        double at = id ? strtod(id, NULL) / 1000 : now;
        if (now - at > RATE_OVER_S) {
            oldest = now - RATE_OVER_S;
            break;
        }
        oldest = at < oldest ? at : oldest;
        const char *event =
            redis_answer_text(redis_answer_field(redis_answer_item(&events->items[i], 1), "event"));
        in += event && strcmp(event, "waiting") == 0;
        out += event && strcmp(event, "active") == 0;
    }
    /* All that there ever were: then nothing happened before. */
    if (events->count < EVENTS_LOOK)
        oldest = now - RATE_OVER_S;
    double seconds = now - oldest;
    if (seconds > 0.05) {
        queue->in_per_s = (double)in / seconds;
        queue->out_per_s = (double)out / seconds;
    }
}

static void judge(const void *context, struct queue *queue, int major, double now)
{
    double late = queue->oldest_eta > 0 ? now - queue->oldest_eta : 0;
    if (queue->ready < 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "something else than its lists lies under its keys";
    } else if (queue->ready > 0 && queue->consumers == 0 && queue->paused <= 0) {
        queue->level = QUEUE_CRITICAL;
        queue->why = or_die(
            talloc_asprintf(context, "%lld wait and no worker takes from it", (long long)queue->ready));
    } else if (queue->running > 0 && queue->consumers == 0) {
        queue->level = QUEUE_WARNING;
        queue->why = or_die(
            talloc_asprintf(context, "%lld are active and no worker is there", (long long)queue->running));
    } else if (queue->paused > 0 && queue->ready > 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "paused";
    } else if (late > 60 && queue->paused <= 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "delayed jobs are late: no worker takes them over";
    } else if (!major)
        queue->why = "its meta names no version of BullMQ";
}

static void count_consumers(const struct bullmq_queues *asking, struct queue *queue)
{
    if (!asking->clients_known)
        return;
    queue->consumers = 0;
    for (size_t i = 0; i < asking->client_count; i++)
        queue->consumers += strcmp(asking->clients[i].queue, queue->name) == 0;
}

static const char *read_queue(struct bullmq_queues *asking, struct queue *queue, const char *name,
                              struct redis_batch *batch, size_t base)
{
    struct bullmq_system *system = system_of(asking);
    struct queues_snapshot *snapshot = asking->snapshot;
    const struct redis_answer *meta = redis_batch_answer(batch, base + ASKED_META);
    int major = bullmq_major(redis_answer_text(redis_answer_item(meta, 0)));
#define COUNT_OF(what) redis_answer_integer(redis_batch_answer(batch, base + (what)), 0)
    queue_clear(queue);
    queue->id = queue->name = or_die(talloc_strdup(snapshot, name));
    queue->ready = COUNT_OF(ASKED_WAIT) + COUNT_OF(ASKED_PAUSED) + COUNT_OF(ASKED_PRIORITIZED);
    if (redis_batch_answer(batch, base + ASKED_WAIT)->kind == ANSWER_ERROR ||
        redis_batch_answer(batch, base + ASKED_PAUSED)->kind == ANSWER_ERROR)
        queue->ready = -1;
    queue->running = COUNT_OF(ASKED_ACTIVE);
    queue->scheduled = COUNT_OF(ASKED_DELAYED);
    queue->waiting = COUNT_OF(ASKED_WAITING);
    queue->failed = COUNT_OF(ASKED_FAILED);
    queue->done = COUNT_OF(ASKED_COMPLETED);
#undef COUNT_OF
    queue->poison = queue->poison_near = 0;
    queue->paused = redis_answer_item(meta, 1)->kind == ANSWER_TEXT;
    double due = redis_answer_real(redis_answer_item(redis_batch_answer(batch, base + ASKED_DUE), 1), 0);
    queue->oldest_eta = due > 0 ? due / 4096 / 1000 : 0;
    system->major = major > system->major ? major : system->major;
    count_consumers(asking, queue);
    redis_rates_note(&system->redis, name,
                     &(struct redis_rate_sample){.ready = queue->ready, .in_total = NAN, .out_total = NAN});
    redis_rates_fill(&system->redis, queue);
    count_events(redis_batch_answer(batch, base + ASKED_EVENTS), asking->now, queue);
    redis_rates_drain(queue);
    redis_shares_fill(&system->redis, snapshot, queue);
    judge(snapshot, queue, major, asking->now);
    /* the job that runs next */
    const char *head = redis_answer_text(redis_batch_answer(batch, base + ASKED_HEAD_WAIT));
    head = head ? head : redis_answer_text(redis_batch_answer(batch, base + ASKED_HEAD_PAUSED));
    return head ? head
                : redis_answer_text(
                      redis_answer_item(redis_batch_answer(batch, base + ASKED_HEAD_PRIORITIZED), 0));
}

static void on_queues(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct bullmq_system *system = system_of(asking);
    struct queues_snapshot *snapshot = asking->snapshot;
    size_t count = system->redis.queue_count;
    struct redis_batch *heads = redis_part_batch(asking);
    snapshot->queues = or_die(talloc_zero_array(snapshot, struct queue, count + 1));
    snapshot->left_out = system->redis.left_out;
    /* Names may have been learned anew since they were asked: no answer belongs to another queue. */
    for (size_t i = 0; i < count && (i + 1) * ASKED_COUNT <= redis_batch_count(batch); i++) {
        const char *name = system->redis.queues[i];
        const char *head =
            read_queue(asking, &snapshot->queues[snapshot->count++], name, batch, i * ASKED_COUNT);
        redis_batch_add(heads, "HMGET", NULL);
        bullmq_add_key(heads, system, name, head ? head : "meta");
        redis_batch_static(heads, "timestamp");
        redis_batch_static(heads, "delay");
    }
    redis_part_ask(asking, heads, on_heads);
}

static void add_key(struct redis_batch *batch, const struct bullmq_system *system, const char *command,
                    const char *queue, const char *kind)
{
    redis_batch_add(batch, command, NULL);
    bullmq_add_key(batch, system, queue, kind);
}

static void add_first(struct redis_batch *batch, const struct bullmq_system *system, const char *queue,
                      const char *kind, bool scores)
{
    add_key(batch, system, "ZRANGE", queue, kind);
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "0");
    if (scores)
        redis_batch_static(batch, "WITHSCORES");
}

static void add_queue(struct redis_batch *batch, const struct bullmq_system *system, const char *queue)
{
    static const char *const lists[] = {"wait", "paused", "active"};
    static const char *const sets[] = {"prioritized", "delayed", "waiting-children", "failed", "completed"};
    add_key(batch, system, "HMGET", queue, "meta");
    redis_batch_static(batch, "version");
    redis_batch_static(batch, "paused");
    for (size_t i = 0; i < 3; i++)
        add_key(batch, system, "LLEN", queue, lists[i]);
    for (size_t i = 0; i < 5; i++)
        add_key(batch, system, "ZCARD", queue, sets[i]);
    for (size_t i = 0; i < 2; i++) {
        add_key(batch, system, "LINDEX", queue, lists[i]);
        redis_batch_static(batch, "-1");
    }
    add_first(batch, system, queue, "prioritized", false);
    add_first(batch, system, queue, "delayed", true);
    add_key(batch, system, "XREVRANGE", queue, "events");
    redis_batch_static(batch, "+");
    redis_batch_static(batch, "-");
    redis_batch_static(batch, "COUNT");
    redis_batch_format(batch, "%d", EVENTS_LOOK);
}

static void ask_queues(struct bullmq_queues *asking)
{
    struct bullmq_system *system = system_of(asking);
    struct redis_batch *batch = redis_part_batch(asking);
    for (size_t i = 0; i < system->redis.queue_count; i++)
        add_queue(batch, system, system->redis.queues[i]);
    redis_part_ask(asking, batch, on_queues);
}

/* CLIENT LIST may be denied: then consumers are unknown, and all else is not. */
static void on_clients(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_queues *asking = data;
    if (error && !redis_part_came(asking, batch, error))
        return;
    const char *list = redis_answer_text(redis_batch_answer(batch, 0));
    asking->clients_known = list != NULL;
    asking->clients =
        bullmq_clients(asking, system_of(asking)->prefix, list ? list : "", &asking->client_count);
    ask_queues(asking);
}

static void ask_scan(struct bullmq_queues *asking);

static void on_scan(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct bullmq_system *system = system_of(asking);
    bool over = bullmq_scanned(system, redis_batch_answer(batch, 0));
    talloc_free(batch);
    if (over)
        take_names(system);
    else if (++asking->pages < SCAN_PAGES) {
        ask_scan(asking);
        return;
    }
    struct redis_batch *clients = redis_part_batch(asking);
    redis_batch_add(clients, "CLIENT", "LIST", NULL);
    redis_part_ask(asking, clients, on_clients);
}

static void ask_scan(struct bullmq_queues *asking)
{
    struct bullmq_system *system = system_of(asking);
    struct redis_batch *batch = redis_part_batch(asking);
    bullmq_add_scan(batch, system->prefix, system->cursor);
    redis_part_ask(asking, batch, on_scan);
}

void bullmq_ask_queues(struct bullmq_system *system)
{
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    struct bullmq_queues *asking = redis_part_begin(&system->redis, PART_QUEUES, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    ask_scan(asking);
}
