/* The parts of a job system on Postgres: the questions, and their rows as snapshots. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/cron.h"
#include "backends/queues/pg_jobs.h"
#include "core/clock.h"
#include "core/units.h"

enum { DEADLINE_S = 10, QUEUES_MOST = 10000, RUNNING_MOST = 200, FAILED_MOST = 2000, SHARE_MOST = 20000 };
#define HISTORY_S 10
#define LITE_S 600
#define SAMPLE_PERCENT 5
#define DUTY 30 /* a question is not asked again before so many times of what it took */

enum kind {
    ASK_QUEUES,
    ASK_SHARES,
    ASK_WORKERS,
    ASK_RUNNING,
    ASK_FAILED,
    ASK_FAILED_COUNT,
    ASK_SCHEDULE,
    ASK_SCHEDULER
};

/* One part being asked; a talloc chunk of the system. */
struct part_run {
    struct pg_jobs *jobs;
    enum queue_part part;
    struct pg_statement *statements;
    enum kind *kinds;
    int count, failed;
    struct error error;
    void *snapshot;
    struct zone_cache *zones;
    double sign_s; /* of the scheduler; NAN: unknown */
    char *sign;
};

static void *grown(void *context, void *array, size_t size, size_t count)
{
    if (count & (count - 1) && count)
        return array;
    array = talloc_realloc_size(context, array, size * (count ? count * 2 : 1));
    if (!array)
        abort();
    return array;
}
#define GROW(context, array, count) (array) = grown((context), (array), sizeof *(array), (count))

static const char *copy_at(const void *context, const struct pg_rows *rows, int row, int column)
{
    const char *text = pg_rows_text(rows, row, column);
    return text && *text ? talloc_strdup(context, text) : NULL;
}

static int64_t count_at(const struct pg_rows *rows, int row, int column)
{
    return pg_rows_null(rows, row, column) ? -1 : pg_rows_integer(rows, row, column);
}

static double time_at(const struct pg_rows *rows, int row, int column)
{
    double time = pg_rows_real(rows, row, column);
    return isfinite(time) ? time : 0;
}

/* ---- queues ---- */

static void rate_queue(struct queue *queue, double in, double out)
{
    queue->in_per_s = in / 60;
    queue->out_per_s = out / 60;
    if (queue->ready == 0)
        queue->drain_s = 0;
    else if (isnan(in) || isnan(out) || queue->ready < 0 || (in <= 0 && out <= 0))
        queue->drain_s = NAN;
    else
        queue->drain_s = out > in ? (double)queue->ready / ((out - in) / 60) : INFINITY;
}

static void judge_queue(struct queues_snapshot *snapshot, struct queue *queue, int64_t stuck)
{
    char age[32];
    if (stuck > 0) {
        queue->level = QUEUE_WARNING;
        queue->why = talloc_asprintf(snapshot, "%lld %s run beyond their limit or lost their worker",
                                     (long long)stuck, stuck == 1 ? "job has" : "jobs have");
    } else if (queue->ready > 0 && queue->running == 0 && queue->out_per_s <= 0 && queue->paused != 1 &&
               queue->head_age_s > 60) {
        queue->level = queue->head_age_s > 900 ? QUEUE_CRITICAL : QUEUE_WARNING;
        queue->why = talloc_asprintf(snapshot, "nobody takes from it: the head has waited %s",
                                     format_s(age, sizeof age, queue->head_age_s));
    }
}

static void take_queue(struct queues_snapshot *snapshot, const struct pg_rows *rows, int row)
{
    if (snapshot->count >= QUEUES_MOST) {
        snapshot->left_out++;
        return;
    }
    GROW(snapshot, snapshot->queues, snapshot->count);
    struct queue *queue = &snapshot->queues[snapshot->count++];
    *queue = (struct queue){.kind = "table", .bytes = -1, .parked = -1, .unacked = -1, .retry_share = NAN};
    queue->name = queue->id = copy_at(snapshot, rows, row, PGQ_NAME);
    if (!queue->name)
        queue->name = queue->id = "";
    queue->ready = count_at(rows, row, PGQ_READY);
    queue->scheduled = count_at(rows, row, PGQ_SCHEDULED);
    queue->retrying = count_at(rows, row, PGQ_RETRYING);
    queue->running = count_at(rows, row, PGQ_RUNNING);
    queue->waiting = count_at(rows, row, PGQ_WAITING);
    queue->failed = count_at(rows, row, PGQ_FAILED);
    queue->dead = count_at(rows, row, PGQ_DEAD);
    queue->done = count_at(rows, row, PGQ_DONE);
    queue->paused = pg_rows_null(rows, row, PGQ_PAUSED) ? -1 : pg_rows_boolean(rows, row, PGQ_PAUSED);
    queue->head_age_s = pg_rows_real(rows, row, PGQ_HEAD_AGE);
    queue->head_age_source = isnan(queue->head_age_s) ? HEAD_AGE_NONE : HEAD_AGE_EXACT;
    queue->oldest_eta = time_at(rows, row, PGQ_OLDEST_ETA);
    queue->consumers = count_at(rows, row, PGQ_CONSUMERS);
    queue->poison = queue->poison_near = 0;
    rate_queue(queue, pg_rows_real(rows, row, PGQ_IN), pg_rows_real(rows, row, PGQ_OUT));
    judge_queue(snapshot, queue, count_at(rows, row, PGQ_STUCK));
}

static struct queue *find_queue(const struct queues_snapshot *snapshot, const char *name)
{
    for (size_t i = 0; name && snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, name) == 0)
            return &snapshot->queues[i];
    return NULL;
}

/* Rows: queue, tenant, count, the most first. */
static void take_shares(struct queues_snapshot *snapshot, const struct pg_rows *rows)
{
    int64_t sample = 0;
    struct queue *queue = NULL;
    int count = pg_rows_count(rows);
    for (int i = 0; i < count; i++) {
        const char *name = pg_rows_text(rows, i, 0);
        queue = queue && name && strcmp(queue->name, name) == 0 ? queue : find_queue(snapshot, name);
        sample += pg_rows_integer(rows, i, 2);
        if (queue)
            queue->share_sample += pg_rows_integer(rows, i, 2);
    }
    for (int i = 0; i < count; i++) {
        const char *name = pg_rows_text(rows, i, 0);
        queue = queue && name && strcmp(queue->name, name) == 0 ? queue : find_queue(snapshot, name);
        if (!queue)
            continue;
        if (queue->share_count >= QUEUE_SHARES) {
            queue->share_others++;
            continue;
        }
        double n = (double)queue->share_sample, p = (double)pg_rows_integer(rows, i, 2) / n;
        queue->shares[queue->share_count++] =
            (struct queue_share){.name = copy_at(snapshot, rows, i, 1),
                                 .share = p,
                                 .error = sample < SHARE_MOST ? 0 : 1.96 * sqrt(p * (1 - p) / n)};
    }
}

/* One sample each 10 s, kept from snapshot to snapshot. */
static void carry_history(struct queues_snapshot *snapshot, const struct queues_snapshot *before)
{
    int64_t now = (int64_t)floor(snapshot->snapshot.taken_at / HISTORY_S);
    int64_t then = before ? (int64_t)floor(before->snapshot.taken_at / HISTORY_S) : now - QUEUE_HISTORY;
    int64_t shift = now - then;
    for (size_t i = 0; i < snapshot->count; i++) {
        struct queue *queue = &snapshot->queues[i];
        /* Mostly in the same order as before. */
        const struct queue *old =
            before && i < before->count && strcmp(before->queues[i].name, queue->name) == 0
                ? &before->queues[i]
                : find_queue(before, queue->name);
        for (int64_t j = 0; j < QUEUE_HISTORY; j++)
            queue->history[j] =
                old && shift >= 0 && j + shift < QUEUE_HISTORY ? old->history[j + shift] : NAN;
        queue->history[QUEUE_HISTORY - 1] = queue->ready < 0 ? NAN : (float)queue->ready;
    }
}

static void finish_queues(struct part_run *run)
{
    struct pg_jobs *jobs = run->jobs;
    struct queues_snapshot *snapshot = run->snapshot;
    carry_history(snapshot, jobs->base.latest[PART_QUEUES]);
    snapshot->note = jobs->lite
                         ? talloc_asprintf(snapshot,
                                           "%s: too many jobs to count all: waiting jobs are counted up to "
                                           "50,000 a queue, finished ones not",
                                           jobs->layout->name)
                         : jobs->layout->name;
    if (jobs->schemas_left_out)
        snapshot->note = talloc_asprintf(snapshot, "%s (%zu more schemas are not looked at)", snapshot->note,
                                         jobs->schemas_left_out);
}

/* ---- workers and what runs ---- */

static void take_worker(struct part_run *run, const struct pg_rows *rows, int row)
{
    struct workers_snapshot *snapshot = run->snapshot;
    char age[32];
    GROW(snapshot, snapshot->workers, snapshot->count);
    struct worker *worker = &snapshot->workers[snapshot->count++];
    *worker = (struct worker){.reserved = -1, .scheduled = -1, .processed = -1, .per_s = NAN, .load = NAN};
    worker->id = copy_at(snapshot, rows, row, PGW_ID);
    worker->host = copy_at(snapshot, rows, row, PGW_HOST);
    worker->pid = (int)pg_rows_integer(rows, row, PGW_PID);
    worker->seen_at = time_at(rows, row, PGW_SEEN);
    worker->started_at = time_at(rows, row, PGW_STARTED);
    worker->slots = count_at(rows, row, PGW_SLOTS);
    worker->active = count_at(rows, row, PGW_ACTIVE);
    worker->queues = copy_at(snapshot, rows, row, PGW_QUEUES);
    worker->version = copy_at(snapshot, rows, row, PGW_VERSION);
    worker->asked_at = snapshot->snapshot.taken_at;
    double silent = snapshot->snapshot.taken_at - worker->seen_at;
    if (run->jobs->layout->silent_s > 0 && worker->seen_at > 0 && silent > run->jobs->layout->silent_s) {
        worker->state = worker->active > 0 ? WORKER_SILENT : WORKER_GHOST;
        worker->why = talloc_asprintf(snapshot, "no sign of life for %s", format_s(age, sizeof age, silent));
    } else if (worker->slots > 0 && worker->active >= worker->slots) {
        worker->state = WORKER_BUSY;
    }
}

static void take_running(struct part_run *run, const struct pg_rows *rows)
{
    struct workers_snapshot *snapshot = run->snapshot;
    for (int i = 0; i < pg_rows_count(rows) && snapshot->running_count < RUNNING_MOST; i++) {
        const char *data;
        GROW(snapshot, snapshot->running, snapshot->running_count);
        struct job *job = &snapshot->running[snapshot->running_count++];
        pg_jobs_fill(snapshot, run->jobs, job, rows, i, JOB_RUNNING, &data);
        job->arguments = pg_jobs_arguments(snapshot, run->jobs, data);
    }
}

/* ---- failures ---- */

static bool same(const char *a, const char *b)
{
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static struct failure *find_failure(struct failures_snapshot *snapshot, const struct job *job)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        struct failure *failure = &snapshot->failures[i];
        if (same(failure->task, job->task) && same(failure->exception, job->exception) &&
            same(failure->tenant, job->tenant) && same(failure->queue, job->queue) &&
            same(failure->frame, job->frame))
            return failure;
    }
    return NULL;
}

static bool can_retry(const struct pg_jobs *jobs, enum job_state state)
{
    for (size_t i = 0; i < jobs->layout->act_count; i++)
        if (jobs->layout->acts[i].act == ACT_RETRY && jobs->layout->acts[i].state == state)
            return true;
    return false;
}

static void take_failed(struct part_run *run, const struct pg_rows *rows)
{
    struct failures_snapshot *snapshot = run->snapshot;
    double now = snapshot->snapshot.taken_at;
    for (int i = 0; i < pg_rows_count(rows); i++) {
        struct job job;
        const char *data;
        pg_jobs_fill(snapshot, run->jobs, &job, rows, i, JOB_FAILED, &data);
        struct failure *failure = find_failure(snapshot, &job);
        if (!failure) { /* the newest come first */
            GROW(snapshot, snapshot->failures, snapshot->count);
            failure = &snapshot->failures[snapshot->count++];
            *failure = (struct failure){.task = job.task,
                                        .exception = job.exception,
                                        .frame = job.frame,
                                        .tenant = job.tenant,
                                        .queue = job.queue,
                                        .message = job.message,
                                        .example = job.id,
                                        .first = job.finished_at,
                                        .last = job.finished_at,
                                        .kept = JOB_FAILED};
            failure->id = talloc_asprintf(snapshot, "%s/%s/%s/%s/%s", job.queue ? job.queue : "",
                                          job.task ? job.task : "", job.exception ? job.exception : "",
                                          job.tenant ? job.tenant : "", job.frame ? job.frame : "");
            if (!can_retry(run->jobs, JOB_FAILED))
                failure->why_not = pg_jobs_act_absent(&run->jobs->base, ACT_RETRY);
        }
        failure->count++;
        failure->retriable += failure->why_not == NULL;
        failure->first = fmin(failure->first, job.finished_at);
        failure->last = fmax(failure->last, job.finished_at);
        double minutes = floor((now - job.finished_at) / 60);
        if (minutes >= 0 && minutes < QUEUE_HISTORY)
            failure->history[QUEUE_HISTORY - 1 - (int)minutes]++;
        snapshot->scanned++;
    }
}

/* ---- schedule ---- */

static void time_entry(struct part_run *run, struct schedule_entry *entry, const struct pg_rows *rows,
                       int row)
{
    struct schedule_snapshot *snapshot = run->snapshot;
    double now = snapshot->snapshot.taken_at;
    struct schedule_when when = {.kind = pg_rows_text(rows, row, PGS_KIND),
                                 .text = pg_rows_text(rows, row, PGS_WHEN),
                                 .zone = pg_rows_text(rows, row, PGS_ZONE),
                                 .last = entry->last_run,
                                 .base = time_at(rows, row, PGS_BASE),
                                 .known = time_at(rows, row, PGS_NEXT),
                                 .start = time_at(rows, row, PGS_START),
                                 .slack = run->jobs->layout->schedule_slack_s};
    struct schedule_due due = schedule_due(run->zones, &when, now);
    double expires = time_at(rows, row, PGS_EXPIRES);
    entry->when = talloc_strdup(snapshot, due.text);
    entry->next_run = due.next;
    if (due.why)
        entry->why = talloc_strdup(snapshot, due.why);
    if (expires > 0 && expires < now) {
        entry->why = "expired: its jobs are dropped";
        entry->next_run = 0;
    } else if (entry->enabled == 0) {
        entry->next_run = 0;
    } else if (due.late > 0) {
        entry->late_s = due.late;
    }
}

static void take_entry(struct part_run *run, const struct pg_rows *rows, int row)
{
    struct schedule_snapshot *snapshot = run->snapshot;
    GROW(snapshot, snapshot->entries, snapshot->count);
    struct schedule_entry *entry = &snapshot->entries[snapshot->count++];
    *entry = (struct schedule_entry){.enabled = -1, .runs = count_at(rows, row, PGS_RUNS)};
    entry->id = copy_at(snapshot, rows, row, PGS_ID);
    entry->name = copy_at(snapshot, rows, row, PGS_NAME);
    entry->task = copy_at(snapshot, rows, row, PGS_TASK);
    entry->queue = copy_at(snapshot, rows, row, PGS_QUEUE);
    entry->tenant = copy_at(snapshot, rows, row, PGS_TENANT);
    entry->arguments = pg_json_shape(snapshot, pg_rows_text(rows, row, PGS_ARGUMENTS));
    if (!pg_rows_null(rows, row, PGS_ENABLED))
        entry->enabled = pg_rows_boolean(rows, row, PGS_ENABLED);
    entry->last_run = time_at(rows, row, PGS_LAST);
    time_entry(run, entry, rows, row);
}

static void finish_schedule(struct part_run *run)
{
    struct schedule_snapshot *snapshot = run->snapshot;
    double limit = run->jobs->layout->scheduler_silent_s;
    char age[32];
    size_t late = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        late += snapshot->entries[i].late_s > 0;
    if (late > 0 && (isnan(run->sign_s) || run->sign_s > limit)) {
        snapshot->scheduler = SCHEDULER_STOPPED;
        snapshot->sign = talloc_asprintf(snapshot, "%zu of %zu entries are late", late, snapshot->count);
    }
    if (isnan(run->sign_s))
        return;
    format_s(age, sizeof age, run->sign_s);
    if (snapshot->sign)
        snapshot->sign =
            talloc_asprintf(snapshot, "%s, %s %s ago", snapshot->sign, run->sign ? run->sign : "seen", age);
    else
        snapshot->sign = talloc_asprintf(snapshot, "%s %s ago", run->sign ? run->sign : "seen", age);
    if (limit > 0 && run->sign_s <= limit)
        snapshot->scheduler = SCHEDULER_RUNS;
    else if (limit > 0 && run->jobs->layout->scheduler_sure && snapshot->count)
        snapshot->scheduler = SCHEDULER_STOPPED;
}

/* ---- asking ---- */

static void part_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct part_run *run = data;
    if (error) {
        run->failed++;
        if (!run->error.kind)
            run->error = *error;
        return;
    }
    int count = pg_rows_count(rows);
    switch (run->kinds[index]) {
    case ASK_QUEUES:
        for (int i = 0; i < count; i++)
            take_queue(run->snapshot, rows, i);
        break;
    case ASK_SHARES:
        take_shares(run->snapshot, rows);
        break;
    case ASK_WORKERS:
        for (int i = 0; i < count; i++)
            take_worker(run, rows, i);
        break;
    case ASK_RUNNING:
        take_running(run, rows);
        break;
    case ASK_FAILED:
        take_failed(run, rows);
        break;
    case ASK_FAILED_COUNT:
        ((struct failures_snapshot *)run->snapshot)->total += count ? pg_rows_integer(rows, 0, 0) : 0;
        break;
    case ASK_SCHEDULE:
        for (int i = 0; i < count; i++)
            take_entry(run, rows, i);
        break;
    case ASK_SCHEDULER:
        if (count && !pg_rows_null(rows, 0, 0) && !(run->sign_s <= pg_rows_real(rows, 0, 0))) {
            run->sign_s = fmax(0, pg_rows_real(rows, 0, 0));
            run->sign = talloc_strdup(run, pg_rows_text(rows, 0, 1));
        }
        break;
    }
}

static void begin(struct part_run *run);
static void finish_failures(struct part_run *run);

static void *fresh_snapshot(enum queue_part part)
{
    switch (part) {
    case PART_QUEUES:
        return SNAPSHOT_NEW(struct queues_snapshot);
    case PART_WORKERS:
        return SNAPSHOT_NEW(struct workers_snapshot);
    case PART_FAILURES:
        return SNAPSHOT_NEW(struct failures_snapshot);
    default:
        return SNAPSHOT_NEW(struct schedule_snapshot);
    }
}

/* What takes too long in full is asked once more for less, and so for a while. */
static bool try_less(struct part_run *run)
{
    struct pg_jobs *jobs = run->jobs;
    if (run->error.kind != ERROR_TIMEOUT || jobs->base.closed)
        return false;
    if (run->part == PART_QUEUES && !jobs->lite && jobs->layout->queues_lite) {
        jobs->lite = true;
        jobs->lite_until = clock_monotonic() + LITE_S;
    } else if (run->part == PART_FAILURES && !jobs->sampled) {
        jobs->sampled = true;
        jobs->sampled_until = clock_monotonic() + LITE_S;
    } else {
        return false;
    }
    snapshot_release(run->snapshot);
    talloc_free(run->statements);
    error_clear(&run->error);
    begin(run);
    return true;
}

static void part_done(void *data, const struct error *error)
{
    static const char *const whats[QUEUE_PARTS] = {"cannot count jobs", "cannot read what runs",
                                                   "cannot read failed jobs", "cannot read the schedule", ""};
    struct part_run *run = data;
    struct pg_jobs *jobs = run->jobs;
    enum queue_part part = run->part;
    if (error && !run->error.kind)
        run->error = *error;
    if (try_less(run))
        return;
    jobs->parts[part].answered = clock_monotonic();
    jobs->parts[part].cost = jobs->parts[part].answered - jobs->parts[part].begun;
    bool failed = error || (run->error.kind && (jobs->schema_count == 1 || run->failed >= run->count));
    if (failed) {
        snapshot_release(run->snapshot);
        if (!error && !jobs->base.closed)
            pg_jobs_explain(jobs, &run->error, whats[part]);
        jobs->parts[part].error = run->error;
        if (run->error.kind != ERROR_TIMEOUT)
            jobs->parts[part].cost = 0; /* it may be mended by now */
        queue_system_failed(&jobs->base, part, &run->error);
    } else {
        error_clear(&jobs->parts[part].error);
        if (part == PART_QUEUES)
            finish_queues(run);
        else if (part == PART_SCHEDULE)
            finish_schedule(run);
        else if (part == PART_FAILURES)
            finish_failures(run);
        else if (part == PART_WORKERS)
            ((struct workers_snapshot *)run->snapshot)->note = jobs->layout->workers_note;
        queue_system_publish(&jobs->base, part, run->snapshot);
    }
    talloc_free(run);
}

static void add(struct part_run *run, enum kind kind, const char *schema, const char *text)
{
    run->statements[run->count].sql = pg_jobs_sql(run->statements, schema, text);
    run->kinds[run->count++] = kind;
}

/* The tenants of what is ready, of all queues at once; a large one is sampled from its front. */
static char *shares_text(struct part_run *run)
{
    const struct pg_layout *layout = run->jobs->layout;
    const struct pg_state *ready = pg_jobs_state(layout, JOB_READY);
    if (!ready || (!layout->data && !layout->tenant))
        return NULL;
    return talloc_asprintf(
        run,
        "SELECT q, t, count(*) FROM (SELECT %s AS q, %s AS t FROM %s WHERE %s LIMIT %d) AS s "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC LIMIT 20000",
        layout->columns[PG_QUEUE], run->jobs->data_tenant, layout->from, ready->where, SHARE_MOST);
}

static char *state_text(struct part_run *run, enum job_state state, const char *order, int limit)
{
    const struct pg_layout *layout = run->jobs->layout;
    const struct pg_state *where = pg_jobs_state(layout, state);
    if (!where)
        return NULL;
    return talloc_asprintf(run, "SELECT NULL, NULL, NULL, %s FROM %s WHERE %s ORDER BY %s %s LIMIT %d",
                           pg_jobs_columns(run, run->jobs, false), layout->from, where->where, where->when,
                           order, limit);
}

static char *sample_text(struct part_run *run, const struct pg_state *state)
{
    return talloc_asprintf(
        run, "SELECT NULL, NULL, NULL, %s FROM %s WHERE %s LIMIT %d", pg_jobs_columns(run, run->jobs, false),
        pg_jobs_sampled(run, run->jobs->layout->from, SAMPLE_PERCENT), state->where, FAILED_MOST);
}

static void finish_failures(struct part_run *run)
{
    struct failures_snapshot *snapshot = run->snapshot;
    if (!run->jobs->sampled)
        return;
    snapshot->total = -1;
    snapshot->note =
        talloc_asprintf(snapshot, "too many jobs to look through: from %d %% of the table", SAMPLE_PERCENT);
}

static void add_statements(struct part_run *run, const char *schema)
{
    const struct pg_layout *layout = run->jobs->layout;
    const struct pg_state *failed = pg_jobs_state(layout, JOB_FAILED);
    char *text;
    switch (run->part) {
    case PART_QUEUES:
        add(run, ASK_QUEUES, schema, run->jobs->lite ? layout->queues_lite : layout->queues);
        if ((text = shares_text(run)))
            add(run, ASK_SHARES, schema, text);
        break;
    case PART_WORKERS:
        if (layout->workers)
            add(run, ASK_WORKERS, schema, layout->workers);
        if ((text = state_text(run, JOB_RUNNING, "", RUNNING_MOST)))
            add(run, ASK_RUNNING, schema, text);
        break;
    case PART_FAILURES:
        if (failed && run->jobs->sampled)
            add(run, ASK_FAILED, schema, sample_text(run, failed));
        else if ((text = state_text(run, JOB_FAILED, "DESC", FAILED_MOST)))
            add(run, ASK_FAILED, schema, text);
        if (failed && !run->jobs->sampled)
            add(run, ASK_FAILED_COUNT, schema,
                talloc_asprintf(run, "SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s LIMIT 100000) AS s",
                                layout->from, failed->where));
        break;
    default:
        add(run, ASK_SCHEDULE, schema, layout->schedule);
        if (layout->scheduler)
            add(run, ASK_SCHEDULER, schema, layout->scheduler);
    }
}

static void begin(struct part_run *run)
{
    struct pg_jobs *jobs = run->jobs;
    size_t most = 2 * jobs->schema_count;
    run->count = run->failed = 0;
    run->snapshot = fresh_snapshot(run->part);
    run->statements = talloc_zero_array(run, struct pg_statement, most);
    run->kinds = talloc_zero_array(run->statements, enum kind, most);
    if (!run->statements || !run->kinds)
        abort();
    for (size_t i = 0; i < jobs->schema_count; i++)
        add_statements(run, jobs->schemas[i]);
    if (run->part == PART_FAILURES) {
        ((struct failures_snapshot *)run->snapshot)->retry_share = NAN;
        ((struct failures_snapshot *)run->snapshot)->results_without_expiry = -1;
    }
    pg_connection_send(pg_jobs_connection(jobs), run->statements, run->count, DEADLINE_S,
                       (struct pg_handler){.rows = part_rows, .done = part_done, .data = run});
}

/* What took long is not asked again at once: the last answer stays, with its time. */
static bool too_soon(const struct pg_jobs *jobs, enum queue_part part)
{
    double cost = jobs->parts[part].cost;
    return (jobs->base.latest[part] || jobs->parts[part].error.kind) && cost > 0.2 &&
           clock_monotonic() - jobs->parts[part].answered < DUTY * cost;
}

void pg_jobs_ask(struct queue_system *system, enum queue_part part)
{
    struct pg_jobs *jobs = (struct pg_jobs *)system;
    if (jobs->lite && clock_monotonic() > jobs->lite_until)
        jobs->lite = false;
    if (jobs->sampled && clock_monotonic() > jobs->sampled_until)
        jobs->sampled = false;
    if (too_soon(jobs, part)) {
        if (jobs->parts[part].error.kind)
            queue_system_failed(system, part, &jobs->parts[part].error);
        else
            queue_system_publish(system, part, (void *)snapshot_hold(system->latest[part]));
        return;
    }
    pg_jobs_follow_tenants(jobs);
    struct part_run *run = talloc_zero(jobs, struct part_run);
    if (!run)
        abort();
    run->jobs = jobs;
    run->part = part;
    run->sign_s = NAN;
    run->zones = zone_cache_new(run);
    jobs->parts[part].begun = clock_monotonic();
    begin(run);
}
