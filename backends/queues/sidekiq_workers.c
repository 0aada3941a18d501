/* Sidekiq's processes: their hashes, and what each of their threads runs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/sidekiq.h"
#include "core/clock.h"

#define BEAT_LATE_S 30.0 /* a process beats every 10 s, its hash lives for 60 s */

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

struct sidekiq_workers {
    struct redis_part part;
    struct workers_snapshot *snapshot;
    char **identities;
    size_t count;
    double now;
};

/* ---- a process ---- */

void sidekiq_process_ask(struct redis_batch *batch, const struct sidekiq_system *system, const char *identity)
{
    redis_batch_add(batch, "HMGET", NULL);
    redis_batch_format(batch, "%s%s", system->prefix, identity);
    static const char *const fields[] = {"info", "busy", "beat", "quiet", "rss"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        redis_batch_static(batch, fields[i]);
    redis_batch_add(batch, "HGETALL", NULL);
    redis_batch_format(batch, "%s%s:work", system->prefix, identity);
    redis_batch_add(batch, "HGETALL", NULL); /* until 6 */
    redis_batch_format(batch, "%s%s:workers", system->prefix, identity);
}

struct sidekiq_process sidekiq_process_read(const struct redis_batch *batch, size_t first,
                                            const char *identity)
{
    const struct redis_answer *hash = redis_batch_answer(batch, first);
    const struct redis_answer *info = redis_answer_item(hash, 0);
    const char *quiet = redis_answer_text(redis_answer_item(hash, 3));
    struct sidekiq_process process = {.identity = identity,
                                      .busy = redis_answer_integer(redis_answer_item(hash, 1), 0),
                                      .beat = redis_answer_real(redis_answer_item(hash, 2), 0),
                                      .quiet = quiet && strcmp(quiet, "true") == 0,
                                      .rss_kb = redis_answer_integer(redis_answer_item(hash, 4), -1),
                                      .there = info->kind == ANSWER_TEXT,
                                      .work = redis_batch_answer(batch, first + 1)};
    if (process.there)
        process.info = piece_of(info->text, info->length);
    if (!process.work->count)
        process.work = redis_batch_answer(batch, first + 2);
    return process;
}

/* "critical,default"; a hash of weights has them as keys, and 8 may have arrays of both. */
static char *queues_text(const void *context, struct piece info)
{
    struct piece queues = piece_member(info, "queues"), name, queue;
    const char *at = NULL;
    char *text = or_die(talloc_strdup(context, ""));
    while (piece_next(queues, &at, &name, &queue)) {
        char *own = piece_text(text, name.kind == PIECE_STRING ? name : queue);
        if (own && !strstr(text, own))
            text = or_die(talloc_asprintf_append_buffer(text, "%s%s", *text ? "," : "", own));
        talloc_free(own);
    }
    return text;
}

/* ---- what it runs ---- */

/* {"queue":..,"payload":"<JSON>" or an object,"run_at":seconds} */
static void add_running(struct sidekiq_workers *asking, const struct worker *worker,
                        const struct redis_answer *work)
{
    struct workers_snapshot *snapshot = asking->snapshot;
    struct piece entry = piece_of(work->text, work->length), payload = piece_member(entry, "payload");
    void *scratch = or_die(talloc_new(NULL));
    struct job job;
    redis_job_clear(&job);
    char *inner = payload.kind == PIECE_STRING ? piece_text(scratch, payload) : NULL;
    job.raw = inner ? inner : payload.at ? payload.at : "";
    job.raw_length = inner ? strlen(inner) : payload.length;
    sidekiq_fill_json(scratch, job.raw, job.raw_length, &job, asking->part.system->base.at.settings);
    job.state = JOB_RUNNING;
    job.worker = worker->id;
    char *queue = piece_text(scratch, piece_member(entry, "queue"));
    job.queue = queue ? queue : job.queue;
    job.started_at = job.taken_at = sidekiq_time(piece_member(entry, "run_at"));
    if (worker->state == WORKER_GHOST)
        job.flags |= JOB_ORPHANED;
    job_copy_into(snapshot, &snapshot->running[snapshot->running_count++], &job);
    talloc_free(scratch);
}

static void judge(const struct sidekiq_workers *asking, struct worker *worker,
                  const struct sidekiq_process *process)
{
    if (!process->there) {
        worker->state = WORKER_GHOST;
        worker->why = "its heartbeat is over: it was killed, and what it ran is lost";
    } else if (asking->now - worker->seen_at > BEAT_LATE_S) {
        worker->state = WORKER_SILENT;
        worker->why = "no heartbeat for over 30 s, it should come every 10 s";
    } else if (process->quiet) {
        worker->state = WORKER_QUIET;
        worker->why = "it was told to take no new jobs";
    } else
        worker->state = worker->slots > 0 && worker->active >= worker->slots ? WORKER_BUSY : WORKER_OK;
}

static void read_process(struct sidekiq_workers *asking, const struct sidekiq_process *process)
{
    struct workers_snapshot *snapshot = asking->snapshot;
    struct worker *worker = &snapshot->workers[snapshot->count++];
    *worker =
        (struct worker){.id = or_die(talloc_strdup(snapshot, process->identity)),
                        .host = piece_text(snapshot, piece_member(process->info, "hostname")),
                        .pid = payload_count(piece_real(piece_member(process->info, "pid"), 0)),
                        .seen_at = process->beat,
                        .started_at = sidekiq_time(piece_member(process->info, "started_at")),
                        .slots = payload_count(piece_real(piece_member(process->info, "concurrency"), -1)),
                        .active = process->busy,
                        .scheduled = 0,
                        .processed = -1,
                        .per_s = NAN,
                        .load = NAN,
                        .queues = queues_text(snapshot, process->info),
                        .version = piece_text(snapshot, piece_member(process->info, "version")),
                        .asked_at = asking->now};
    judge(asking, worker, process);
    for (size_t i = 1; i < process->work->count; i += 2)
        if (process->work->items[i].kind == ANSWER_TEXT)
            add_running(asking, worker, &process->work->items[i]);
}

/* ---- asking ---- */

static void on_processes(void *data, struct redis_batch *batch, const struct error *error)
{
    struct sidekiq_workers *asking = data;
    struct workers_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    size_t jobs = 0;
    for (size_t i = 0; i < asking->count; i++)
        jobs += sidekiq_process_read(batch, i * SIDEKIQ_PROCESS_COMMANDS, "").work->count / 2;
    snapshot->workers = or_die(talloc_zero_array(snapshot, struct worker, asking->count + 1));
    snapshot->running = or_die(talloc_zero_array(snapshot, struct job, jobs + 1));
    for (size_t i = 0; i < asking->count; i++) {
        struct sidekiq_process process =
            sidekiq_process_read(batch, i * SIDEKIQ_PROCESS_COMMANDS, asking->identities[i]);
        read_process(asking, &process);
    }
    redis_part_publish(asking);
}

static void on_names(void *data, struct redis_batch *batch, const struct error *error)
{
    struct sidekiq_workers *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    const struct redis_answer *names = redis_batch_answer(batch, 0);
    asking->identities = or_die(talloc_zero_array(asking, char *, names->count + 1));
    struct redis_batch *processes = redis_part_batch(asking);
    for (size_t i = 0; i < names->count; i++) {
        const char *identity = redis_answer_text(&names->items[i]);
        if (!identity)
            continue;
        asking->identities[asking->count++] = or_die(talloc_strdup(asking, identity));
        sidekiq_process_ask(processes, (const struct sidekiq_system *)asking->part.system, identity);
    }
    redis_part_ask(asking, processes, on_processes);
}

void sidekiq_ask_workers(struct sidekiq_system *system)
{
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    struct sidekiq_workers *asking = redis_part_begin(&system->redis, PART_WORKERS, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    snapshot->note = "from the processes' own heartbeats, every 10 s";
    struct redis_batch *batch = redis_part_batch(asking);
    redis_batch_add(batch, "SMEMBERS", NULL);
    redis_batch_format(batch, "%sprocesses", system->prefix);
    redis_part_ask(asking, batch, on_names);
}
