/* RQ's workers: their hashes, whether they listen, and the jobs they say they run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/rq.h"
#include "core/clock.h"

#define IDLE_BEAT_S 540.0 /* an idle worker beats every 405 s only */
#define BUSY_BEAT_S 120.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

struct rq_workers {
    struct redis_part part;
    struct workers_snapshot *snapshot;
    const struct redis_answer *listening;
    char **names;
    size_t count;
    bool suspended;
    /* of the running jobs */
    struct redis_shelf *shelves;
    struct redis_item *items;
    size_t *owners;
    size_t item_count;
    double now;
};

static bool listens(const struct redis_answer *channels, const char *worker)
{
    for (size_t i = 0; i < channels->count; i++) {
        const char *channel = redis_answer_text(&channels->items[i]);
        if (channel && strncmp(channel, "rq:pubsub:", 10) == 0 && strcmp(channel + 10, worker) == 0)
            return true;
    }
    return false;
}

static const char *keep(const void *context, const char *text)
{
    return text && *text ? or_die(talloc_strdup(context, text)) : NULL;
}

/* ---- third round: the jobs they run ---- */

static void judge_job(struct worker *worker, const struct job *job, double now, const void *context)
{
    if (job->started_at > 0 && job->limit_s > 0 && now - job->started_at > job->limit_s + 60 &&
        worker->state == WORKER_BUSY) {
        worker->state = WORKER_STUCK;
        worker->why = or_die(talloc_asprintf(context, "runs %s for %.0f s, its limit is %.0f s", job->id,
                                             now - job->started_at, job->limit_s));
    }
}

static void on_jobs(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_workers *asking = data;
    struct workers_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    snapshot->running = or_die(talloc_zero_array(snapshot, struct job, asking->item_count + 1));
    for (size_t i = 0; i < asking->item_count; i++) {
        struct worker *worker = &snapshot->workers[asking->owners[i]];
        struct redis_item *item = &asking->items[i];
        const char *body;
        size_t body_length;
        struct job job;
        redis_item_take(item, batch);
        redis_job_clear(&job);
        job.state = JOB_RUNNING;
        if (!rq_fill(&asking->part.system->base, asking, item, &job, &body, &body_length))
            continue;
        job.worker = worker->id;
        if (worker->state == WORKER_GHOST)
            job.flags |= JOB_ORPHANED;
        char *key = or_die(talloc_asprintf(asking, "rq:wip:%s", job.queue ? job.queue : ""));
        job.key = key;
        job.key_length = strlen(key);
        judge_job(worker, &job, asking->now, snapshot);
        job_copy_into(snapshot, &snapshot->running[snapshot->running_count++], &job);
    }
    redis_part_publish(asking);
}

/* ---- second round: their hashes ---- */

static void judge_worker(const struct rq_workers *asking, struct worker *worker, const char *state)
{
    bool busy = state && strcmp(state, "busy") == 0;
    double silent = asking->now - worker->seen_at;
    if (!listens(asking->listening, worker->id)) {
        worker->state = WORKER_GHOST;
        worker->why =
            "it does not listen to commands: it was killed, and its record goes when its time is over";
    } else if (worker->seen_at > 0 && silent > (busy ? BUSY_BEAT_S : IDLE_BEAT_S)) {
        worker->state = WORKER_SILENT;
        worker->why = "no heartbeat for longer than RQ takes between two";
    } else if (asking->suspended || (state && strcmp(state, "suspended") == 0)) {
        worker->state = busy ? WORKER_BUSY : WORKER_QUIET;
        worker->why = "rq:suspended is set";
    } else
        worker->state = busy ? WORKER_BUSY : WORKER_OK;
}

static void read_worker(struct rq_workers *asking, struct worker *worker, const char *name,
                        const struct redis_answer *hash)
{
    const void *context = asking->snapshot;
#define TEXT_OF(field) redis_answer_text(redis_answer_field(hash, field))
#define NUMBER_OF(field) redis_answer_integer(redis_answer_field(hash, field), 0)
    *worker = (struct worker){.id = or_die(talloc_strdup(context, name)),
                              .host = keep(context, TEXT_OF("hostname")),
                              .pid = (int)NUMBER_OF("pid"),
                              .seen_at = rq_time(TEXT_OF("last_heartbeat")),
                              .started_at = rq_time(TEXT_OF("birth")),
                              .slots = 1,
                              .reserved = 0,
                              .scheduled = 0,
                              .processed = NUMBER_OF("successful_job_count") + NUMBER_OF("failed_job_count"),
                              .per_s = NAN,
                              .load = NAN,
                              .queues = keep(context, TEXT_OF("queues")),
                              .version = keep(context, TEXT_OF("version")),
                              .asked_at = asking->now};
    judge_worker(asking, worker, TEXT_OF("state"));
#undef NUMBER_OF
#undef TEXT_OF
}

static void on_hashes(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_workers *asking = data;
    struct workers_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    snapshot->workers = or_die(talloc_zero_array(snapshot, struct worker, asking->count + 1));
    asking->shelves = or_die(talloc_zero_array(asking, struct redis_shelf, asking->count + 1));
    asking->items = or_die(talloc_zero_array(asking, struct redis_item, asking->count + 1));
    asking->owners = or_die(talloc_zero_array(asking, size_t, asking->count + 1));
    struct redis_batch *jobs = redis_part_batch(asking);
    for (size_t i = 0; i < asking->count; i++) {
        const struct redis_answer *hash = redis_batch_answer(batch, i);
        if (!hash->count) /* its record is over */
            continue;
        struct worker *worker = &snapshot->workers[snapshot->count];
        read_worker(asking, worker, asking->names[i], hash);
        const char *current = redis_answer_text(redis_answer_field(hash, "current_job"));
        if (current && *current) {
            size_t at = asking->item_count++;
            asking->shelves[at] = (struct redis_shelf){.key = "", .state = JOB_RUNNING, .count = -1};
            asking->items[at] = (struct redis_item){
                .shelf = &asking->shelves[at], .bytes = current, .length = strlen(current), .index = -1};
            asking->owners[at] = snapshot->count;
            worker->active = 1;
            redis_item_ask(&asking->part.system->base, &rq_reading, jobs, &asking->items[at]);
        }
        snapshot->count++;
    }
    redis_part_ask(asking, jobs, on_jobs);
}

/* ---- first round ---- */

static void on_names(void *data, struct redis_batch *batch, const struct error *error)
{
    struct rq_workers *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    const struct redis_answer *keys = redis_batch_answer(batch, 0);
    asking->suspended = redis_answer_integer(redis_batch_answer(batch, 1), 0) > 0;
    asking->listening = redis_batch_answer(batch, 2);
    asking->names = or_die(talloc_zero_array(asking, char *, keys->count + 1));
    struct redis_batch *hashes = redis_part_batch(asking);
    for (size_t i = 0; i < keys->count; i++) {
        const char *key = redis_answer_text(&keys->items[i]);
        if (!key || strncmp(key, "rq:worker:", 10) != 0)
            continue;
        asking->names[asking->count++] = or_die(talloc_strdup(asking, key + 10));
        redis_batch_add(hashes, "HGETALL", key, NULL);
    }
    redis_part_ask(asking, hashes, on_hashes);
}

void rq_ask_workers(struct rq_system *system)
{
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    struct rq_workers *asking = redis_part_begin(&system->redis, PART_WORKERS, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    snapshot->note = "from the workers' own records, and from who listens to rq:pubsub";
    struct redis_batch *batch = redis_part_batch(asking);
    redis_batch_add(batch, "SMEMBERS", "rq:workers", NULL);
    redis_batch_add(batch, "EXISTS", "rq:suspended", NULL);
    redis_batch_add(batch, "PUBSUB", "CHANNELS", "rq:pubsub:*", NULL);
    redis_part_ask(asking, batch, on_names);
}
