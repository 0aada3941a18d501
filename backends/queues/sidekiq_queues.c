/* Sidekiq's queues: lengths, the age of the head, what comes in, and the share of each in the three sets. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/sidekiq.h"
#include "core/clock.h"

enum { NEWEST = 20, COUNT_LOOK = 20000, SETS_SMALL = 2000, QUEUE_COMMANDS = 3 };
#define COUNT_EVERY_S 30.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

struct sidekiq_queues {
    struct redis_part part;
    struct queues_snapshot *snapshot;
    struct sidekiq_process *processes;
    char **identities;
    size_t process_count;
    const struct redis_answer *paused;
    double oldest_eta, processed, now;
};

static struct sidekiq_system *system_of(const struct sidekiq_queues *asking)
{
    return (struct sidekiq_system *)asking->part.system;
}

/* ---- what is known of each queue from before ---- */

static int compare_seen(const void *queue, const void *seen)
{
    return strcmp(queue, ((const struct sidekiq_seen *)seen)->queue);
}

static struct sidekiq_seen *find_seen(const struct sidekiq_system *system, const char *queue)
{
    return system->seen_count
               ? bsearch(queue, system->seen, system->seen_count, sizeof *system->seen, compare_seen)
               : NULL;
}

static void align_seen(struct sidekiq_system *system)
{
    const struct redis_system *redis = &system->redis;
    struct sidekiq_seen *fresh =
        or_die(talloc_zero_array(system, struct sidekiq_seen, redis->queue_count + 1));
    for (size_t i = 0; i < redis->queue_count; i++) {
        struct sidekiq_seen *known = find_seen(system, redis->queues[i]);
        fresh[i] = known ? *known : (struct sidekiq_seen){0};
        fresh[i].queue =
            known ? talloc_steal(fresh, known->queue) : or_die(talloc_strdup(fresh, redis->queues[i]));
    }
    talloc_free(system->seen);
    system->seen = fresh;
    system->seen_count = redis->queue_count;
}

/* ---- last: the sets by queue ---- */

static void fill_sets(struct sidekiq_queues *asking)
{
    const struct sidekiq_system *system = system_of(asking);
    struct queues_snapshot *snapshot = asking->snapshot;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct sidekiq_seen *seen = find_seen(system, snapshot->queues[i].name);
        snapshot->queues[i].scheduled = seen ? seen->sets.scheduled : -1;
        snapshot->queues[i].retrying = seen ? seen->sets.retrying : -1;
        snapshot->queues[i].dead = seen ? seen->sets.dead : -1;
    }
}

static void publish(struct sidekiq_queues *asking)
{
    struct redis_system *redis = asking->part.system;
    fill_sets(asking);
    redis_part_publish(asking);
    redis_shares_sample(redis, &sidekiq_reading);
}

static void on_set_jobs(void *data, const struct job *jobs, size_t count)
{
    struct sidekiq_system *system = data;
    for (size_t i = 0; i < count; i++) {
        struct sidekiq_seen *seen = jobs[i].queue ? find_seen(system, jobs[i].queue) : NULL;
        if (!seen)
            continue;
        seen->sets.scheduled += jobs[i].state == JOB_SCHEDULED;
        seen->sets.retrying += jobs[i].state == JOB_RETRYING;
        seen->sets.dead += jobs[i].state == JOB_DEAD;
    }
}

static void on_set_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct sidekiq_system *system = data;
    struct sidekiq_queues *asking = (struct sidekiq_queues *)system->redis.asking[PART_QUEUES];
    system->counting = NULL;
    system->sets_counted_at = clock_monotonic();
    /* Not all of them were read: what was found stands for all. */
    double factor = progress->scanned > 0 && progress->total > progress->scanned
                        ? (double)progress->total / (double)progress->scanned
                        : 1;
    for (size_t i = 0; i < system->seen_count; i++) {
        struct sidekiq_sets *sets = &system->seen[i].sets;
        if (error)
            *sets = (struct sidekiq_sets){-1, -1, -1};
        else if (factor > 1)
            *sets = (struct sidekiq_sets){(int64_t)((double)sets->scheduled * factor),
                                          (int64_t)((double)sets->retrying * factor),
                                          (int64_t)((double)sets->dead * factor)};
    }
    if (asking)
        publish(asking);
}

static void count_sets(struct sidekiq_queues *asking)
{
    struct sidekiq_system *system = system_of(asking);
    int64_t total = system->set_sizes[0] + system->set_sizes[1] + system->set_sizes[2];
    bool due = system->sets_counted_at <= 0 || total <= SETS_SMALL ||
               clock_monotonic() - system->sets_counted_at >= COUNT_EVERY_S;
    if (total > COUNT_LOOK)
        asking->snapshot->note = or_die(talloc_asprintf(
            asking->snapshot,
            "%lld scheduled, %lld retried and %lld dead jobs of all queues: shares of queues are estimated",
            (long long)system->set_sizes[0], (long long)system->set_sizes[1],
            (long long)system->set_sizes[2]));
    if (system->counting)
        return; /* it publishes when it is over */
    if (!due) {
        publish(asking);
        return;
    }
    for (size_t i = 0; i < system->seen_count; i++)
        system->seen[i].sets = (struct sidekiq_sets){0};
    system->counting = redis_read_start(
        &system->redis.base, &sidekiq_reading,
        &(struct queue_read_request){.states = 1u << JOB_SCHEDULED | 1u << JOB_RETRYING | 1u << JOB_DEAD,
                                     .from = total > COUNT_LOOK ? FROM_ANY : FROM_TAIL,
                                     .look = total > COUNT_LOOK ? COUNT_LOOK : 0},
        (struct queue_read_handler){.jobs = on_set_jobs, .done = on_set_done, .data = system});
}

void sidekiq_close(struct queue_system *base)
{
    struct sidekiq_system *system = (struct sidekiq_system *)base;
    if (system->counting)
        redis_read_forsake(system->counting);
    system->counting = NULL;
    redis_system_close(base);
}

/* ---- second round: each queue ---- */

static double enqueued_at(const struct redis_answer *message)
{
    if (message->kind != ANSWER_TEXT)
        return 0;
    struct piece object = piece_of(message->text, message->length);
    double at = sidekiq_time(piece_member(object, "enqueued_at"));
    return at > 0 ? at : sidekiq_time(piece_member(object, "created_at"));
}

/* How many came in since the last look, by the times of the newest. */
static void count_in(struct sidekiq_seen *seen, const struct redis_answer *newest, double now)
{
    double first = 0, last = 0;
    size_t fresh = 0;
    for (size_t i = 0; i < newest->count; i++) {
        double at = enqueued_at(&newest->items[i]);
        if (at > seen->newest) {
            fresh++;
            first = first <= 0 || at < first ? at : first;
            last = at > last ? at : last;
        }
    }
    if (seen->looked_at > 0) {
        double since = now - seen->looked_at;
        bool more = fresh == NEWEST && last > first && since > last - first;
        seen->in_total += more ? (double)fresh / (last - first) * since : (double)fresh;
    }
    seen->newest = last > seen->newest ? last : seen->newest;
    seen->looked_at = now;
}

static bool takes_from(const struct sidekiq_process *process, const char *queue)
{
    struct piece queues = piece_member(process->info, "queues"), name, value;
    const char *at = NULL;
    while (piece_next(queues, &at, &name, &value))
        if (piece_is(name.kind == PIECE_STRING ? name : value, queue))
            return true;
    return false;
}

static int64_t count_running(const struct sidekiq_process *process, const char *queue)
{
    int64_t running = 0;
    for (size_t i = 1; i < process->work->count; i += 2) {
        const struct redis_answer *work = &process->work->items[i];
        if (work->kind == ANSWER_TEXT)
            running += piece_is(piece_member(piece_of(work->text, work->length), "queue"), queue);
    }
    return running;
}

static bool is_paused(const struct redis_answer *paused, const char *queue)
{
    for (size_t i = 0; i < paused->count; i++)
        if (paused->items[i].kind == ANSWER_TEXT && strcmp(paused->items[i].text, queue) == 0)
            return true;
    return false;
}

static void judge(const struct sidekiq_queues *asking, struct queue *queue)
{
    if (queue->ready < 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "no list lies under its key";
    } else if (queue->ready > 0 && !queue->consumers) {
        queue->level = QUEUE_CRITICAL;
        queue->why = or_die(talloc_asprintf(asking->snapshot, "%lld wait and no process takes from it",
                                            (long long)queue->ready));
    } else if (asking->oldest_eta > 0 && asking->now - asking->oldest_eta > 60) {
        queue->level = QUEUE_WARNING;
        queue->why = "scheduled jobs are late: no process looks at the schedule";
    } else if (queue->paused > 0 && queue->ready > 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "paused";
    }
}

static void read_queue(struct sidekiq_queues *asking, struct queue *queue, struct sidekiq_seen *seen,
                       const struct redis_batch *batch, size_t base)
{
    struct queues_snapshot *snapshot = asking->snapshot;
    queue_clear(queue);
    queue->id = queue->name = or_die(talloc_strdup(snapshot, seen->queue));
    queue->ready = redis_answer_integer(redis_batch_answer(batch, base), -1);
    queue->consumers = queue->running = 0;
    for (size_t i = 0; i < asking->process_count; i++) {
        const struct sidekiq_process *process = &asking->processes[i];
        queue->consumers += process->there && !process->quiet && takes_from(process, seen->queue);
        queue->running += count_running(process, seen->queue);
    }
    queue->paused = is_paused(asking->paused, seen->queue);
    queue->poison = queue->poison_near = 0;
    double head = enqueued_at(redis_batch_answer(batch, base + 1));
    if (head > 0) {
        queue->head_age_s = asking->now > head ? asking->now - head : 0;
        queue->head_age_source = HEAD_AGE_EXACT;
    }
    count_in(seen, redis_batch_answer(batch, base + 2), asking->now);
    redis_rates_note(
        asking->part.system, seen->queue,
        &(struct redis_rate_sample){
            .ready = queue->ready, .inside = queue->ready, .in_total = seen->in_total, .out_total = NAN});
    redis_rates_fill(asking->part.system, queue);
    redis_shares_fill(asking->part.system, snapshot, queue);
    judge(asking, queue);
}

/* Jobs that pass through an empty queue between two looks are seen only in the sum of all queues. */
static void share_processed(const struct sidekiq_queues *asking)
{
    struct queues_snapshot *snapshot = asking->snapshot;
    struct queue all;
    double known = 0;
    struct queue *unknown = NULL;
    size_t count = 0;
    queue_clear(&all);
    all.name = "";
    redis_rates_note(
        asking->part.system, "",
        &(struct redis_rate_sample){.in_total = asking->processed, .out_total = asking->processed});
    redis_rates_fill(asking->part.system, &all);
    for (size_t i = 0; i < snapshot->count; i++) {
        struct queue *queue = &snapshot->queues[i];
        bool seen = queue->ready > 0 || queue->in_per_s > 0 || queue->out_per_s > 0;
        known += isnan(queue->out_per_s) ? 0 : queue->out_per_s;
        unknown = seen ? unknown : queue;
        count += !seen;
    }
    double rest = all.out_per_s - known;
    if (isnan(rest) || rest < 0.05)
        return;
    for (size_t i = 0; i < snapshot->count; i++) {
        struct queue *queue = &snapshot->queues[i];
        if (queue->ready > 0 || queue->in_per_s > 0 || queue->out_per_s > 0)
            continue;
        queue->in_per_s = queue->out_per_s = count == 1 && queue == unknown ? rest : NAN;
    }
}

static void on_queues(void *data, struct redis_batch *batch, const struct error *error)
{
    struct sidekiq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct sidekiq_system *system = system_of(asking);
    struct queues_snapshot *snapshot = asking->snapshot;
    size_t queues = asking->process_count * SIDEKIQ_PROCESS_COMMANDS;
    for (size_t i = 0; i < asking->process_count; i++)
        asking->processes[i] =
            sidekiq_process_read(batch, i * SIDEKIQ_PROCESS_COMMANDS, asking->identities[i]);
    snapshot->queues = or_die(talloc_zero_array(snapshot, struct queue, system->seen_count + 1));
    snapshot->count = system->seen_count;
    snapshot->left_out = system->redis.left_out;
    for (size_t i = 0; i < system->seen_count; i++)
        read_queue(asking, &snapshot->queues[i], &system->seen[i], batch, queues + i * QUEUE_COMMANDS);
    share_processed(asking);
    count_sets(asking);
}

/* ---- first round ---- */

static void add_key(struct redis_batch *batch, const struct sidekiq_system *system, const char *command,
                    const char *kind, const char *name)
{
    redis_batch_add(batch, command, NULL);
    redis_batch_format(batch, "%s%s%s", system->prefix, kind, name);
}

static void ask_all(struct sidekiq_queues *asking, const struct redis_answer *processes)
{
    struct sidekiq_system *system = system_of(asking);
    struct redis_batch *batch = redis_part_batch(asking);
    asking->identities = or_die(talloc_zero_array(asking, char *, processes->count + 1));
    asking->processes = or_die(talloc_zero_array(asking, struct sidekiq_process, processes->count + 1));
    for (size_t i = 0; i < processes->count; i++) {
        const char *identity = redis_answer_text(&processes->items[i]);
        if (!identity)
            continue;
        asking->identities[asking->process_count++] = or_die(talloc_strdup(asking, identity));
        sidekiq_process_ask(batch, system, identity);
    }
    for (size_t i = 0; i < system->seen_count; i++) {
        add_key(batch, system, "LLEN", "queue:", system->seen[i].queue);
        add_key(batch, system, "LINDEX", "queue:", system->seen[i].queue);
        redis_batch_static(batch, "-1");
        add_key(batch, system, "LRANGE", "queue:", system->seen[i].queue);
        redis_batch_static(batch, "0");
        redis_batch_format(batch, "%d", NEWEST - 1);
    }
    redis_part_ask(asking, batch, on_queues);
}

static void on_names(void *data, struct redis_batch *batch, const struct error *error)
{
    struct sidekiq_queues *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct sidekiq_system *system = system_of(asking);
    const struct environment_jobs *settings = system->redis.base.at.settings;
    const struct redis_answer *queues = redis_batch_answer(batch, 0);
    size_t named = settings ? settings->queue_count : 0, count = 0;
    char **names = or_die(talloc_array(system, char *, queues->count + named + 1));
    for (size_t i = 0; i < queues->count; i++)
        if (redis_answer_text(&queues->items[i]))
            names[count++] = or_die(talloc_strdup(names, queues->items[i].text));
    for (size_t i = 0; i < named; i++)
        names[count++] = or_die(talloc_strdup(names, settings->queues[i]));
    redis_system_learn(&system->redis, names, count);
    align_seen(system);
    for (size_t i = 0; i < 3; i++)
        system->set_sizes[i] = redis_answer_integer(redis_batch_answer(batch, 2 + i), 0);
    asking->oldest_eta = redis_answer_real(redis_answer_item(redis_batch_answer(batch, 5), 1), 0);
    asking->processed = redis_answer_real(redis_batch_answer(batch, 6), NAN);
    asking->paused = redis_batch_answer(batch, 7);
    ask_all(asking, redis_batch_answer(batch, 1));
}

void sidekiq_ask_queues(struct sidekiq_system *system)
{
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    struct sidekiq_queues *asking = redis_part_begin(&system->redis, PART_QUEUES, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    struct redis_batch *batch = redis_part_batch(asking);
    add_key(batch, system, "SMEMBERS", "queues", "");
    add_key(batch, system, "SMEMBERS", "processes", "");
    add_key(batch, system, "ZCARD", "schedule", "");
    add_key(batch, system, "ZCARD", "retry", "");
    add_key(batch, system, "ZCARD", "dead", "");
    add_key(batch, system, "ZRANGE", "schedule", "");
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "0");
    redis_batch_static(batch, "WITHSCORES");
    add_key(batch, system, "GET", "stat:processed", "");
    add_key(batch, system, "SMEMBERS", "paused", "");
    redis_part_ask(asking, batch, on_names);
}
