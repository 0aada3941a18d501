/* RQ's queues: lengths of lists and registries, the age of the head, what comes in and goes out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/rq.h"
#include "core/clock.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* What is asked of each queue, in this order. */
enum asked {
    ASKED_LENGTH,
    ASKED_HEAD,
    ASKED_RUNNING,
    ASKED_FAILED,
    ASKED_FINISHED,
    ASKED_DEFERRED,
    ASKED_SCHEDULED,
    ASKED_DUE,
    ASKED_OVERDUE,
    ASKED_WORKERS,
    ASKED_LOCK,
    ASKED_FINISHED_NEW,
    ASKED_FINISHED_MOST,
    ASKED_FAILED_NEW,
    ASKED_FAILED_MOST,
    ASKED_COUNT
};

struct rq_queues {
    struct redis_part part;
    struct queues_snapshot *snapshot;     /* the part's */
    const struct redis_answer *listening; /* channels of workers that live */
    bool suspended;
    double now;
};

static int compare_seen(const void *queue, const void *seen)
{
    return strcmp(queue, ((const struct rq_seen *)seen)->queue);
}

static struct rq_seen *find_seen(struct rq_system *system, const char *queue)
{
    return system->seen_count
               ? bsearch(queue, system->seen, system->seen_count, sizeof *system->seen, compare_seen)
               : NULL;
}

/* One entry for each queue, in their order; what was known stays. */
static void align_seen(struct rq_system *system)
{
    struct rq_seen *fresh = or_die(talloc_zero_array(system, struct rq_seen, system->redis.queue_count + 1));
    for (size_t i = 0; i < system->redis.queue_count; i++) {
        struct rq_seen *known = find_seen(system, system->redis.queues[i]);
        fresh[i] = known ? *known : (struct rq_seen){.finished_most = INFINITY, .failed_most = INFINITY};
        fresh[i].queue =
            known ? talloc_steal(fresh, known->queue) : or_die(talloc_strdup(fresh, system->redis.queues[i]));
    }
    talloc_free(system->seen);
    system->seen = fresh;
    system->seen_count = system->redis.queue_count;
}

static void add_key(struct redis_batch *batch, const char *command, const char *kind, const char *queue)
{
    redis_batch_add(batch, command, NULL);
    redis_batch_format(batch, "rq:%s:%s", kind, queue);
}

/* How many entered a registry since the highest score that was seen: scores are ends of their keeping. */
static void add_entered(struct redis_batch *batch, const char *registry, const char *queue, double most)
{
    add_key(batch, "ZCOUNT", registry, queue);
    redis_batch_format(batch, isinf(most) ? "+inf" : "(%.17g", most);
    redis_batch_static(batch, "+inf");
    add_key(batch, "ZREVRANGE", registry, queue);
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "WITHSCORES");
}

static void add_queue(struct redis_batch *batch, const struct rq_seen *seen, double now)
{
    const char *queue = seen->queue;
    add_key(batch, "LLEN", "queue", queue);
    add_key(batch, "LINDEX", "queue", queue);
    redis_batch_static(batch, "0");
    add_key(batch, "ZCARD", "wip", queue);
    add_key(batch, "ZCARD", "failed", queue);
    add_key(batch, "ZCARD", "finished", queue);
    add_key(batch, "ZCARD", "deferred", queue);
    add_key(batch, "ZCARD", "scheduled", queue);
    add_key(batch, "ZRANGE", "scheduled", queue);
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "WITHSCORES");
    add_key(batch, "ZCOUNT", "wip", queue);
    redis_batch_static(batch, "-inf");
    redis_batch_format(batch, "%.3f", now);
    add_key(batch, "SMEMBERS", "workers", queue);
    add_key(batch, "EXISTS", "scheduler-lock", queue);
    add_entered(batch, "finished", queue, seen->finished_most);
    add_entered(batch, "failed", queue, seen->failed_most);
}

/* ---- third round: when the heads came in ---- */

static void on_heads(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_queues *asking = data;
    struct redis_system *redis = asking->part.system;
    if (!redis_part_came(asking, batch, error))
        return;
    for (size_t i = 0; i < asking->snapshot->count; i++) {
        struct queue *queue = &asking->snapshot->queues[i];
        const struct redis_answer *times = redis_batch_answer(batch, i);
        double at = rq_time(redis_answer_text(redis_answer_item(times, 0)));
        if (at <= 0)
            at = rq_time(redis_answer_text(redis_answer_item(times, 1)));
        if (queue->ready > 0 && at > 0) {
            queue->head_age_s = asking->now > at ? asking->now - at : 0;
            queue->head_age_source = HEAD_AGE_EXACT;
        }
    }
    redis_part_publish(asking);
    redis_shares_sample(redis, &rq_reading);
}

/* ---- second round: each queue ---- */

static bool listens(const struct redis_answer *channels, const char *worker)
{
    for (size_t i = 0; i < channels->count; i++) {
        const char *channel = redis_answer_text(&channels->items[i]);
        if (channel && strncmp(channel, "rq:pubsub:", 10) == 0 && strcmp(channel + 10, worker) == 0)
            return true;
    }
    return false;
}

static int64_t count_living(const struct rq_queues *asking, const struct redis_answer *workers)
{
    int64_t living = 0;
    for (size_t i = 0; i < workers->count; i++) {
        const char *key = redis_answer_text(&workers->items[i]);
        living += key && strncmp(key, "rq:worker:", 10) == 0 && listens(asking->listening, key + 10);
    }
    return living;
}

/* Adds what entered the finished and failed jobs since the last look. */
static void count_out(struct rq_seen *seen, const struct redis_batch *batch, size_t base)
{
    if (!isinf(seen->finished_most))
        seen->out_total +=
            (double)redis_answer_integer(redis_batch_answer(batch, base + ASKED_FINISHED_NEW), 0);
    if (!isinf(seen->failed_most))
        seen->out_total +=
            (double)redis_answer_integer(redis_batch_answer(batch, base + ASKED_FAILED_NEW), 0);
    double finished =
        redis_answer_real(redis_answer_item(redis_batch_answer(batch, base + ASKED_FINISHED_MOST), 1), 0);
    double failed =
        redis_answer_real(redis_answer_item(redis_batch_answer(batch, base + ASKED_FAILED_MOST), 1), 0);
    if (isinf(seen->finished_most) || finished > seen->finished_most)
        seen->finished_most = finished;
    if (isinf(seen->failed_most) || failed > seen->failed_most)
        seen->failed_most = failed;
}

static void judge(const void *context, struct queue *queue, const struct rq_queues *asking, int64_t overdue,
                  bool lock)
{
    double late = queue->oldest_eta > 0 ? asking->now - queue->oldest_eta : 0;
    if (queue->ready < 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "no list lies under its key";
    } else if (queue->ready > 0 && !queue->consumers) {
        queue->level = QUEUE_CRITICAL;
        queue->why = or_die(
            talloc_asprintf(context, "%lld wait and no worker takes from it", (long long)queue->ready));
    } else if (late > 60) {
        queue->level = QUEUE_WARNING;
        queue->why =
            lock ? "scheduled jobs are late" : "scheduled jobs are late: no worker runs with a scheduler";
    } else if (overdue > 0) {
        queue->level = QUEUE_WARNING;
        queue->why = or_die(talloc_asprintf(
            context, "%lld started jobs are past their time limit: their worker died", (long long)overdue));
    } else if (asking->suspended && queue->ready > 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "all workers are suspended";
    }
}

static void read_queue(struct rq_queues *asking, struct queue *queue, struct rq_seen *seen,
                       struct redis_batch *batch, size_t base)
{
    struct redis_system *redis = asking->part.system;
    void *context = asking->snapshot;
#define COUNT_OF(what) redis_answer_integer(redis_batch_answer(batch, base + (what)), -1)
    queue_clear(queue);
    queue->id = queue->name = or_die(talloc_strdup(context, seen->queue));
    queue->ready = COUNT_OF(ASKED_LENGTH);
    queue->running = COUNT_OF(ASKED_RUNNING);
    queue->failed = COUNT_OF(ASKED_FAILED);
    queue->done = COUNT_OF(ASKED_FINISHED);
    queue->waiting = COUNT_OF(ASKED_DEFERRED);
    queue->scheduled = COUNT_OF(ASKED_SCHEDULED);
    int64_t overdue = COUNT_OF(ASKED_OVERDUE);
    bool lock = COUNT_OF(ASKED_LOCK) > 0;
#undef COUNT_OF
    queue->poison = queue->poison_near = 0;
    queue->oldest_eta =
        redis_answer_real(redis_answer_item(redis_batch_answer(batch, base + ASKED_DUE), 1), 0);
    queue->consumers = count_living(asking, redis_batch_answer(batch, base + ASKED_WORKERS));
    queue->paused = asking->suspended;
    count_out(seen, batch, base);
    redis_rates_note(redis, queue->name,
                     &(struct redis_rate_sample){.ready = queue->ready,
                                                 .inside = queue->ready + queue->running,
                                                 .in_total = NAN,
                                                 .out_total = seen->out_total});
    redis_rates_fill(redis, queue);
    redis_shares_fill(redis, context, queue);
    judge(context, queue, asking, overdue, lock);
}

static void on_queues(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct rq_system *system = (struct rq_system *)asking->part.system;
    struct queues_snapshot *snapshot = asking->snapshot;
    struct redis_batch *heads = redis_part_batch(asking);
    snapshot->queues = or_die(talloc_zero_array(snapshot, struct queue, system->seen_count + 1));
    snapshot->count = system->seen_count;
    snapshot->left_out = system->redis.left_out;
    if (asking->suspended)
        snapshot->note = "paused: rq:suspended is set; workers take nothing, from any queue";
    for (size_t i = 0; i < system->seen_count; i++) {
        size_t base = i * ASKED_COUNT;
        read_queue(asking, &snapshot->queues[i], &system->seen[i], batch, base);
        const char *head = redis_answer_text(redis_batch_answer(batch, base + ASKED_HEAD));
        redis_batch_add(heads, "HMGET", NULL);
        redis_batch_format(heads, "rq:job:%s", head ? head : "");
        redis_batch_static(heads, "enqueued_at");
        redis_batch_static(heads, "created_at");
    }
    redis_part_ask(asking, heads, on_heads);
}

/* ---- first round: which queues there are ---- */

static void on_names(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct rq_system *system = (struct rq_system *)asking->part.system;
    const struct environment_jobs *settings = system->redis.base.at.settings;
    const struct redis_answer *keys = redis_batch_answer(batch, 0);
    size_t named = settings ? settings->queue_count : 0, count = 0;
    char **names = or_die(talloc_array(system, char *, keys->count + named + 1));
    for (size_t i = 0; i < keys->count; i++) {
        const char *key = redis_answer_text(&keys->items[i]);
        if (key && strncmp(key, "rq:queue:", 9) == 0)
            names[count++] = or_die(talloc_strdup(names, key + 9));
    }
    for (size_t i = 0; i < named; i++)
        names[count++] = or_die(talloc_strdup(names, settings->queues[i]));
    redis_system_learn(&system->redis, names, count);
    align_seen(system);
    asking->suspended = redis_answer_integer(redis_batch_answer(batch, 1), 0) > 0;
    asking->listening = redis_batch_answer(batch, 2);
    struct redis_batch *queues = redis_part_batch(asking);
    for (size_t i = 0; i < system->seen_count; i++)
        add_queue(queues, &system->seen[i], asking->now);
    redis_part_ask(asking, queues, on_queues);
}

void rq_ask_queues(struct rq_system *system)
{
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    struct rq_queues *asking = redis_part_begin(&system->redis, PART_QUEUES, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    struct redis_batch *batch = redis_part_batch(asking);
    redis_batch_add(batch, "SMEMBERS", "rq:queues", NULL);
    redis_batch_add(batch, "EXISTS", "rq:suspended", NULL);
    redis_batch_add(batch, "PUBSUB", "CHANNELS", "rq:pubsub:*", NULL);
    redis_part_ask(asking, batch, on_names);
}
