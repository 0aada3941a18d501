/* Jobs › Workers and Running: who takes jobs, is he well, and what runs for how long. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "panels/console.h"
#include "panels/jobs.h"

#define WORKER(row) (((const struct jobs_worker_row *)(row))->worker)
#define JOB(row) (&((const struct jobs_found_item *)(row))->job)

/* ---- workers ---- */

#define COUNT_OF(member)                                                                                     \
    static struct value worker_##member(const void *row)                                                     \
    {                                                                                                        \
        return jobs_count(WORKER(row)->member);                                                              \
    }
COUNT_OF(slots)
COUNT_OF(active)
COUNT_OF(reserved)
COUNT_OF(scheduled)
COUNT_OF(processed)
#define TEXT_OF(member)                                                                                      \
    static struct value worker_##member(const void *row)                                                     \
    {                                                                                                        \
        return value_text(WORKER(row)->member);                                                              \
    }
TEXT_OF(id)
TEXT_OF(host)
TEXT_OF(queues)
TEXT_OF(version)

static enum severity worker_severity(enum worker_state state)
{
    static const enum severity severities[WORKER_STATES] = {
        [WORKER_OK] = SEVERITY_OK,           [WORKER_BUSY] = SEVERITY_NONE,
        [WORKER_SILENT] = SEVERITY_CRITICAL, [WORKER_GHOST] = SEVERITY_WARNING,
        [WORKER_STUCK] = SEVERITY_CRITICAL,  [WORKER_NOT_CONSUMING] = SEVERITY_CRITICAL,
        [WORKER_QUIET] = SEVERITY_DIM,
    };
    return severities[state];
}
static struct value worker_state(const void *row)
{
    struct value value = value_text(worker_state_name(WORKER(row)->state));
    value.severity = worker_severity(WORKER(row)->state);
    return value;
}
static struct value worker_system(const void *row)
{
    return value_text(((const struct jobs_worker_row *)row)->system->name);
}
static struct value worker_server(const void *row)
{
    return value_text(((const struct jobs_worker_row *)row)->system->server);
}
static struct value worker_pid(const void *row)
{
    return WORKER(row)->pid ? value_integer(WORKER(row)->pid) : value_unknown();
}
static struct value worker_seen(const void *row)
{
    return WORKER(row)->seen_at > 0 ? jobs_age(WORKER(row)->seen_at) : (struct value){.kind = VALUE_NEVER};
}
static struct value worker_started(const void *row)
{
    return jobs_age(WORKER(row)->started_at);
}
static struct value worker_per_s(const void *row)
{
    return jobs_real(WORKER(row)->per_s);
}
static struct value worker_load(const void *row)
{
    return jobs_real(WORKER(row)->load);
}
static struct value worker_asked(const void *row)
{
    return WORKER(row)->asked_at > 0 ? jobs_age(WORKER(row)->asked_at) : (struct value){.kind = VALUE_NEVER};
}
static struct value worker_why(const void *row)
{
    struct value value = value_text(WORKER(row)->why);
    value.severity = worker_severity(WORKER(row)->state);
    return value;
}
static struct value worker_urgency(const void *row)
{
    enum severity severity = worker_severity(WORKER(row)->state);
    return value_integer(severity >= SEVERITY_WARNING ? severity : 0);
}

static const struct column worker_columns[] = {
    {"worker", "worker", "its name, as it says it", UNIT_NONE, 24, 0, 0, worker_id, NULL},
    {"system", "system", "the job system", UNIT_NONE, 9, 5, 0, worker_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 7, 0, worker_server, NULL},
    {"state", "state",
     "ok, busy (all its slots run), silent, ghost (declared, never a sign of life), not consuming, stuck, "
     "quiet",
     UNIT_NONE, 14, 0, 0, worker_state, NULL},
    {"seen_s", "seen", "since its last sign of life", UNIT_S, 8, 1, 0, worker_seen, NULL},
    {"active", "active", "jobs that it runs", UNIT_COUNT, 6, 1, 0, worker_active, NULL},
    {"slots", "slots", "how many it can run at once", UNIT_COUNT, 5, 2, 0, worker_slots, NULL},
    {"reserved", "held", "jobs that it took and has not begun", UNIT_COUNT, 5, 3, 0, worker_reserved, NULL},
    {"scheduled", "later", "jobs that it holds until their time", UNIT_COUNT, 5, 4, 0, worker_scheduled,
     NULL},
    {"jobs_per_s", "jobs/s", "jobs that it did, a second, over the last minute", UNIT_PER_S, 6, 3, 0,
     worker_per_s, NULL},
    {"processed", "done", "jobs that it did since it was started", UNIT_COUNT, 7, 5, 0, worker_processed,
     NULL},
    {"queues", "queues", "what it takes from", UNIT_NONE, 20, 4, 0, worker_queues, NULL},
    {"host", "host", "the machine, as the worker says it", UNIT_NONE, 12, 6, 0, worker_host, NULL},
    {"pid", "pid", "its process there", UNIT_ID, 7, 6, 0, worker_pid, NULL},
    {"load", "load", "of its machine, one minute", UNIT_NONE, 5, 7, 0, worker_load, NULL},
    {"up_s", "up", "since it was started", UNIT_S, 9, 8, 0, worker_started, NULL},
    {"version", "version", "of the library", UNIT_NONE, 12, 8, 0, worker_version, NULL},
    {"asked_s", "asked", "since it was asked what it runs and holds (F8)", UNIT_S, 8, 8, 0, worker_asked,
     NULL},
    {"urgency", "urgency", "what sorts the list", UNIT_COUNT, 7, 9, COLUMN_HIDDEN, worker_urgency, NULL},
    {"why", "why", "why it is not ok", UNIT_NONE, 0, 6, 0, worker_why, NULL},
};

JOBS_PART(workers, PART_WORKERS)
JOBS_COMPLETE(workers, PART_WORKERS)

static void worker_rows(struct app *app, struct row_list *list)
{
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct workers_snapshot *snapshot = queue_system_workers(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        bool late = queue_system_feed(system, PART_WORKERS)->state >= FEED_LATE;
        for (size_t i = 0; i < snapshot->count; i++) {
            struct jobs_worker_row *row = talloc_zero(list, struct jobs_worker_row);
            *row = (struct jobs_worker_row){system, &snapshot->workers[i]};
            row_list_add(list,
                         (struct table_row){.data = row,
                                            .id = talloc_asprintf(list, "%s/%s", system->id, row->worker->id),
                                            .dim = late || row->worker->state == WORKER_GHOST});
        }
    }
}

/* What it runs is what is asked first. */
static void worker_detail(struct app *app, const struct table_row *table_row, struct page *page)
{
    const struct jobs_worker_row *row = table_row->data;
    const struct workers_snapshot *snapshot = queue_system_workers(row->system);
    char text[64], age[32];
    size_t running = 0;
    (void)app;
    page_section(page, row->worker->id);
    for (size_t c = 0; c < sizeof worker_columns / sizeof *worker_columns; c++) {
        const struct column *column = &worker_columns[c];
        struct value value = column->value(row);
        if (!(column->flags & COLUMN_HIDDEN) && value.kind != VALUE_BLANK)
            page_pair(page, column->title, theme_severity(value.severity, STYLE_NORMAL),
                      value.kind == VALUE_TEXT ? value.text : value_format(text, sizeof text, column, value));
    }
    page_section(page, "Runs now");
    for (size_t i = 0; snapshot && i < snapshot->running_count; i++) {
        const struct job *job = &snapshot->running[i];
        if (!job->worker || strcmp(job->worker, row->worker->id) != 0)
            continue;
        running++;
        struct column seconds = {.unit = UNIT_S};
        page_pair_format(page, job->task ? job->task : "?", STYLE_NORMAL, "%s · for %s · tenant %s",
                         job->id ? job->id : "?",
                         value_format(age, sizeof age, &seconds, jobs_age(job->started_at)),
                         job->tenant         ? job->tenant
                         : job->tenant_known ? "none"
                                             : "?");
    }
    if (!running)
        page_text(page, STYLE_DIM, 0,
                  row->worker->asked_at > 0 ? "nothing" : "not known: F8 asks the workers what they run");
}

const struct view jobs_workers = {
    .id = "workers",
    .title = "Workers",
    .summary = "who takes jobs, and is he well",
    .empty = "no worker was seen: none runs, or none says that it lives",
    .columns = worker_columns,
    .column_count = sizeof worker_columns / sizeof *worker_columns,
    .sort = "urgency",
    .descending = true,
    .want = workers_want,
    .sources = workers_sources,
    .complete = workers_complete,
    .rows = worker_rows,
    .version = jobs_version,
    .note = workers_note,
    .detail = worker_detail,
    .tell = "why",
};

/* ---- running ---- */

static struct value running_id(const void *row)
{
    return value_text(JOB(row)->id);
}
static struct value running_task(const void *row)
{
    return value_text(JOB(row)->task);
}
static struct value running_tenant(const void *row)
{
    return JOB(row)->tenant         ? value_text(JOB(row)->tenant)
           : JOB(row)->tenant_known ? value_blank()
                                    : value_unknown();
}
static struct value running_queue(const void *row)
{
    return value_text(JOB(row)->queue);
}
static struct value running_worker(const void *row)
{
    return value_text(JOB(row)->worker);
}
static struct value running_system(const void *row)
{
    return value_text(((const struct jobs_found_item *)row)->system->name);
}
static struct value running_server(const void *row)
{
    return value_text(((const struct jobs_found_item *)row)->system->server);
}
static struct value running_age(const void *row)
{
    struct value value = jobs_age(JOB(row)->started_at);
    if (value.kind == VALUE_REAL && JOB(row)->limit_s > 0 && value.real > JOB(row)->limit_s)
        value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value running_limit(const void *row)
{
    return JOB(row)->limit_s > 0 ? value_real(JOB(row)->limit_s) : value_blank();
}
static struct value running_retries(const void *row)
{
    return jobs_count(JOB(row)->retries);
}
static struct value running_arguments(const void *row)
{
    return value_text(JOB(row)->arguments);
}

static const struct column running_columns[] = {
    {"age_s", "runs for", "since it was started; beyond its limit it is out of bounds", UNIT_S, 9, 0, 0,
     running_age, NULL},
    {"limit_s", "limit", "how long it may run", UNIT_S, 8, 3, 0, running_limit, NULL},
    {"tenant", "tenant", "whose job it is, where that was seen", UNIT_NONE, 14, 1, 0, running_tenant, NULL},
    {"task", "task", "what it does", UNIT_NONE, 28, 0, 0, running_task, NULL},
    {"worker", "worker", "who runs it", UNIT_NONE, 20, 2, 0, running_worker, NULL},
    {"queue", "queue", "where it came from", UNIT_NONE, 12, 4, 0, running_queue, NULL},
    {"system", "system", "the job system", UNIT_NONE, 9, 5, 0, running_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 7, 0, running_server, NULL},
    {"retries", "tries", "how often it was tried before", UNIT_COUNT, 5, 6, 0, running_retries, NULL},
    {"id", "id", "its id", UNIT_NONE, 36, 5, 0, running_id, NULL},
    {"arguments", "arguments", "as the producer shows them, or only their types", UNIT_NONE, 0, 7, 0,
     running_arguments, NULL},
};

JOBS_PART(running, PART_WORKERS)
JOBS_COMPLETE(running, PART_WORKERS)

static void running_rows(struct app *app, struct row_list *list)
{
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct workers_snapshot *snapshot = queue_system_workers(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        for (size_t i = 0; i < snapshot->running_count; i++) {
            struct jobs_found_item *row = talloc_zero(list, struct jobs_found_item);
            *row = (struct jobs_found_item){.job = snapshot->running[i], .system = system};
            row->job.arguments = job_arguments_redacted(row, row->job.arguments);
            row_list_add(list, (struct table_row){.data = row,
                                                  .id = talloc_asprintf(list, "%s/%s/%zu", system->id,
                                                                        row->job.id ? row->job.id : "?", i)});
        }
    }
}

const struct view jobs_running = {
    .id = "running",
    .title = "Running",
    .summary = "what workers run now, and for how long",
    .empty = "nothing is known to run: Celery's workers tell only when they are asked (F8)",
    .columns = running_columns,
    .column_count = sizeof running_columns / sizeof *running_columns,
    .sort = "age_s",
    .descending = true,
    .want = running_want,
    .sources = running_sources,
    .complete = running_complete,
    .rows = running_rows,
    .version = NULL,
    .note = running_note,
    .enter = jobs_open_job,
};
