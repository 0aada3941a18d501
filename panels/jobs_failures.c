/* Jobs › Failures and Schedule: what fails and whose it is; what should have been sent by now. Set aside:
 * what was taken out of queues from here. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/jobs.h"
#include "tui/chart.h"

#define FAILURE(row) (((const struct jobs_failure_row *)(row))->failure)
#define ENTRY(row) (((const struct jobs_schedule_row *)(row))->entry)
#define ASIDE(row) (((const struct jobs_aside_row *)(row))->aside)

#define TEXT_OF(prefix, MACRO, member)                                                                       \
    static struct value prefix##_##member(const void *row)                                                   \
    {                                                                                                        \
        return value_text(MACRO(row)->member);                                                               \
    }

/* ---- failures ---- */

TEXT_OF(failure, FAILURE, exception)
TEXT_OF(failure, FAILURE, frame)
TEXT_OF(failure, FAILURE, queue)
TEXT_OF(failure, FAILURE, message)
TEXT_OF(failure, FAILURE, example)
TEXT_OF(failure, FAILURE, why_not)

static struct value failure_task(const void *row)
{
    return FAILURE(row)->task ? value_text(FAILURE(row)->task) : value_unknown();
}
static struct value failure_tenant(const void *row)
{
    return FAILURE(row)->tenant ? value_text(FAILURE(row)->tenant) : value_unknown();
}
static struct value failure_system(const void *row)
{
    return value_text(((const struct jobs_failure_row *)row)->system->name);
}
static struct value failure_server(const void *row)
{
    return value_text(((const struct jobs_failure_row *)row)->system->server);
}
static struct value failure_count(const void *row)
{
    return jobs_count(FAILURE(row)->count);
}
static struct value failure_first(const void *row)
{
    return jobs_age(FAILURE(row)->first);
}
static struct value failure_last(const void *row)
{
    return jobs_age(FAILURE(row)->last);
}
static struct value failure_first_at(const void *row)
{
    return jobs_time(FAILURE(row)->first);
}
static struct value failure_last_at(const void *row)
{
    return jobs_time(FAILURE(row)->last);
}
static struct value failure_kept(const void *row)
{
    enum job_state kept = FAILURE(row)->kept;
    return value_text(kept == JOB_DONE ? "result" : job_state_name(kept));
}
static struct value failure_retriable(const void *row)
{
    return jobs_count(FAILURE(row)->retriable);
}
static struct value failure_history(const void *row)
{
    return value_text(((const struct jobs_failure_row *)row)->history);
}

static const struct column failure_columns[] = {
    {"count", "count", "failed jobs of this kind that are kept", UNIT_COUNT, 7, 0, 0, failure_count, NULL},
    {"last_s", "last", "since the last one", UNIT_S, 9, 0, 0, failure_last, NULL},
    {"first_s", "first", "since the first one that is kept", UNIT_S, 9, 4, 0, failure_first, NULL},
    {"history", "last hour", "how many, through the last hour", UNIT_NONE, 10, 3, COLUMN_SCREEN,
     failure_history, NULL},
    {"task", "task", "what it does; ? where the system does not keep it", UNIT_NONE, 26, 0, 0, failure_task,
     NULL},
    {"exception", "exception", "what was raised", UNIT_NONE, 18, 0, 0, failure_exception, NULL},
    {"tenant", "tenant", "whose job it was, where that is known", UNIT_NONE, 14, 1, 0, failure_tenant, NULL},
    {"queue", "queue", "where it came from", UNIT_NONE, 12, 5, 0, failure_queue, NULL},
    {"system", "system", "the job system", UNIT_NONE, 9, 6, 0, failure_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 7, 0, failure_server, NULL},
    {"kept", "kept", "where they are kept: failed, dead, retrying, or as a \"result\" only", UNIT_NONE, 8, 5,
     0, failure_kept, NULL},
    {"retriable", "again", "how many can be run again as they are", UNIT_COUNT, 6, 3, 0, failure_retriable,
     NULL},
    {"why_not", "why not", "why the others cannot", UNIT_NONE, 20, 9, COLUMN_HIDDEN, failure_why_not, NULL},
    {"first_at", "first at", "when the first one failed", UNIT_TIME, 12, 9, COLUMN_HIDDEN, failure_first_at,
     NULL},
    {"last_at", "last at", "when the last one failed", UNIT_TIME, 12, 9, COLUMN_HIDDEN, failure_last_at,
     NULL},
    {"frame", "where", "the last line of the traceback that names a place", UNIT_NONE, 24, 7, 0,
     failure_frame, NULL},
    {"example", "example", "id of the last one", UNIT_NONE, 36, 9, COLUMN_HIDDEN, failure_example, NULL},
    {"message", "message", "of the last one", UNIT_NONE, 0, 6, 0, failure_message, NULL},
};

JOBS_PART(failures, PART_FAILURES)
JOBS_COMPLETE(failures, PART_FAILURES)

static char *failure_spark(const void *context, const struct failure *failure)
{
    enum { CELLS = 10, EACH = QUEUE_HISTORY / CELLS };
    char text[CELLS * 4];
    float cells[CELLS] = {0};
    for (int i = 0; i < QUEUE_HISTORY; i++)
        cells[i / EACH] += isnan(failure->history[i]) ? 0 : failure->history[i];
    return talloc_strdup(context, chart_spark(text, sizeof text, cells, CELLS, CELLS));
}

static void failure_rows(struct app *app, struct row_list *list)
{
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct failures_snapshot *snapshot = queue_system_failures(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        for (size_t i = 0; i < snapshot->count; i++) {
            const struct failure *failure = &snapshot->failures[i];
            struct jobs_failure_row *row = talloc_zero(list, struct jobs_failure_row);
            *row = (struct jobs_failure_row){system, failure, failure_spark(row, failure)};
            row_list_add(list,
                         (struct table_row){.data = row,
                                            .id = talloc_asprintf(list, "%s/%s", system->id, failure->id)});
        }
    }
}

/* What is known about all of them: a storm, duplicates, results that stay for ever; NULL: nothing. */
static char *failure_told(const void *context, struct queue_system *system)
{
    const struct failures_snapshot *snapshot = queue_system_failures(system);
    char share[32], count[32], *text = talloc_strdup(context, "");
    if (!snapshot)
        return NULL;
    if (snapshot->storm)
        text = talloc_asprintf_append(text, " · a retry storm, %s of what starts are retries",
                                      format_percent(share, sizeof share, snapshot->retry_share * 100));
    if (snapshot->duplicates > 0)
        text = talloc_asprintf_append(text, " · %s delivered twice",
                                      format_count(count, sizeof count, (double)snapshot->duplicates));
    if (snapshot->results_without_expiry > 0)
        text = talloc_asprintf_append(
            text, " · %s results never expire",
            format_count(count, sizeof count, (double)snapshot->results_without_expiry));
    if (snapshot->note)
        text = talloc_asprintf_append(text, " · %s", snapshot->note);
    return *text ? talloc_asprintf(context, "%s: %s", system->name, text + strlen(" · ")) : NULL;
}

static int failure_head(struct app *app, struct screen *screen, int top, int columns, int rows)
{
    void *context = talloc_new(NULL);
    int used = 0;
    for (size_t s = 0; s < queues_count(app->queues) && used < 3 && used < rows; s++) {
        struct queue_system *system = queues_system(app->queues, s);
        char *text = failure_told(context, system);
        if (text)
            used +=
                jobs_draw_line(screen, top + used, columns, rows - used,
                               queue_system_failures(system)->storm ? STYLE_CRITICAL : STYLE_WARNING, text);
    }
    talloc_free(context);
    return used;
}

static void failure_lines(struct app *app, void (*line)(void *data, const char *text), void *data)
{
    void *context = talloc_new(NULL);
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        char *text = failure_told(context, queues_system(app->queues, s));
        if (text)
            line(data, text);
    }
    talloc_free(context);
}

static void failure_enter(struct app *app, const struct table_row *table_row)
{
    const struct jobs_failure_row *row = table_row->data;
    const struct failure *failure = row->failure;
    char *filter = talloc_strdup(NULL, "");
    /* Results lie in no queue that could be read from end to end: the last one stands for them. */
    if (failure->kept == JOB_DONE && failure->example) {
        filter = talloc_asprintf_append_buffer(filter, "id=\"%s\"", failure->example);
        jobs_open(app, row->system, NULL, 0, FROM_HEAD, filter);
        talloc_free(filter);
        return;
    }
    if (failure->task)
        filter = talloc_asprintf_append_buffer(filter, "task=\"%s\" ", failure->task);
    if (failure->exception)
        filter = talloc_asprintf_append_buffer(filter, "error=\"%s\" ", failure->exception);
    if (failure->tenant)
        filter = talloc_asprintf_append_buffer(filter, "tenant=\"%s\"", failure->tenant);
    jobs_open(app, row->system, failure->queue, 1U << failure->kept, FROM_HEAD, filter);
    talloc_free(filter);
}

const struct view jobs_failures = {
    .id = "failures",
    .title = "Failures",
    .summary = "what fails, grouped by task, exception and tenant",
    .empty = "no failed job is kept anywhere",
    .columns = failure_columns,
    .column_count = sizeof failure_columns / sizeof *failure_columns,
    .sort = "count",
    .descending = true,
    .want = failures_want,
    .sources = failures_sources,
    .complete = failures_complete,
    .rows = failure_rows,
    .version = jobs_version,
    .note = failures_note,
    .head = failure_head,
    .lines = failure_lines,
    .enter = failure_enter,
    .tell = "message",
};

/* ---- schedule ---- */

TEXT_OF(entry, ENTRY, name)
TEXT_OF(entry, ENTRY, task)
TEXT_OF(entry, ENTRY, when)
TEXT_OF(entry, ENTRY, queue)
TEXT_OF(entry, ENTRY, tenant)
TEXT_OF(entry, ENTRY, arguments)
TEXT_OF(entry, ENTRY, id)

static struct value entry_system(const void *row)
{
    return value_text(((const struct jobs_schedule_row *)row)->system->name);
}
static struct value entry_server(const void *row)
{
    return value_text(((const struct jobs_schedule_row *)row)->system->server);
}
static struct value entry_enabled(const void *row)
{
    int enabled = ENTRY(row)->enabled;
    return enabled < 0 ? value_unknown() : value_boolean(enabled > 0);
}
static struct value entry_last(const void *row)
{
    return ENTRY(row)->last_run > 0 ? value_real(ENTRY(row)->last_run) : (struct value){.kind = VALUE_NEVER};
}
static struct value entry_next(const void *row)
{
    return jobs_time(ENTRY(row)->next_run);
}
static struct value entry_late(const void *row)
{
    struct value value = ENTRY(row)->late_s > 0 ? value_real(ENTRY(row)->late_s) : value_blank();
    value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value entry_runs(const void *row)
{
    return jobs_count(ENTRY(row)->runs);
}
static struct value entry_why(const void *row)
{
    struct value value = value_text(ENTRY(row)->why);
    value.severity = ENTRY(row)->late_s > 0 ? SEVERITY_CRITICAL : SEVERITY_NONE;
    return value;
}

static const struct column schedule_columns[] = {
    {"name", "name", "of the entry", UNIT_NONE, 26, 0, 0, entry_name, NULL},
    {"when", "when", "its interval, or its crontab", UNIT_NONE, 18, 1, 0, entry_when, NULL},
    {"enabled", "on", "false: nothing is sent", UNIT_NONE, 5, 0, 0, entry_enabled, NULL},
    {"late_s", "late", "beyond its time, what its bookkeeping explains left out", UNIT_S, 9, 0, 0, entry_late,
     NULL},
    {"last_run", "last run", "as the scheduler wrote it down", UNIT_TIME, 14, 1, 0, entry_last, NULL},
    {"next_run", "next run", "when it is due", UNIT_TIME, 14, 2, 0, entry_next, NULL},
    {"runs", "runs", "how often it was sent", UNIT_COUNT, 7, 5, 0, entry_runs, NULL},
    {"task", "task", "what it sends", UNIT_NONE, 26, 3, 0, entry_task, NULL},
    {"tenant", "tenant", "the schema that the entry stands in", UNIT_NONE, 12, 4, 0, entry_tenant, NULL},
    {"queue", "queue", "where it is sent", UNIT_NONE, 10, 6, 0, entry_queue, NULL},
    {"system", "system", "the job system", UNIT_NONE, 13, 6, 0, entry_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 8, 0, entry_server, NULL},
    {"arguments", "arguments", "of the job", UNIT_NONE, 20, 9, COLUMN_HIDDEN, entry_arguments, NULL},
    {"id", "id", "of the entry", UNIT_NONE, 12, 9, COLUMN_HIDDEN, entry_id, NULL},
    {"why", "why", "why it is late, or not sent", UNIT_NONE, 0, 6, 0, entry_why, NULL},
};

JOBS_PART(schedule, PART_SCHEDULE)
JOBS_COMPLETE(schedule, PART_SCHEDULE)

static void schedule_rows(struct app *app, struct row_list *list)
{
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct schedule_snapshot *snapshot = queue_system_schedule(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        for (size_t i = 0; i < snapshot->count; i++) {
            const struct schedule_entry *entry = &snapshot->entries[i];
            struct jobs_schedule_row *row = talloc_zero(list, struct jobs_schedule_row);
            *row = (struct jobs_schedule_row){system, entry, snapshot};
            row_list_add(list, (struct table_row){.data = row,
                                                  .id = talloc_asprintf(list, "%s/%s", system->id, entry->id),
                                                  .dim = entry->enabled == 0});
        }
    }
}

static const struct {
    const char *word;
    enum style style;
} scheduler_states[] = {
    [SCHEDULER_UNKNOWN] = {"whether its scheduler runs is not known", STYLE_DIM},
    [SCHEDULER_RUNS] = {"its scheduler runs", STYLE_NORMAL},
    [SCHEDULER_STOPPED] = {"its scheduler does not run!", STYLE_CRITICAL},
    [SCHEDULER_TWICE] = {"its scheduler runs twice: everything is sent twice!", STYLE_CRITICAL},
};

/* Is the scheduler alive? NULL for a system that has none. */
static char *schedule_told(const void *context, struct queue_system *system)
{
    const struct schedule_snapshot *snapshot = queue_system_schedule(system);
    if (!snapshot || (!snapshot->count && snapshot->scheduler == SCHEDULER_UNKNOWN && !snapshot->sign))
        return NULL;
    return talloc_asprintf(context, "%s: %s%s%s", system->name, scheduler_states[snapshot->scheduler].word,
                           snapshot->sign ? " · " : "", snapshot->sign ? snapshot->sign : "");
}

static int schedule_head(struct app *app, struct screen *screen, int top, int columns, int rows)
{
    void *context = talloc_new(NULL);
    int used = 0;
    for (size_t s = 0; s < queues_count(app->queues) && used < 4 && used < rows; s++) {
        struct queue_system *system = queues_system(app->queues, s);
        char *text = schedule_told(context, system);
        if (text)
            used += jobs_draw_line(screen, top + used, columns, rows - used,
                                   scheduler_states[queue_system_schedule(system)->scheduler].style, text);
    }
    talloc_free(context);
    return used;
}

static void schedule_lines(struct app *app, void (*line)(void *data, const char *text), void *data)
{
    void *context = talloc_new(NULL);
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        char *text = schedule_told(context, queues_system(app->queues, s));
        if (text)
            line(data, text);
    }
    talloc_free(context);
}

const struct view jobs_schedule = {
    .id = "schedule",
    .title = "Schedule",
    .summary = "what is sent by the clock, when it was sent last, and what is late",
    .empty = "no schedule was found; that of a file (celerybeat-schedule) cannot be read from here",
    .columns = schedule_columns,
    .column_count = sizeof schedule_columns / sizeof *schedule_columns,
    .sort = "late_s",
    .descending = true,
    .want = schedule_want,
    .sources = schedule_sources,
    .complete = schedule_complete,
    .rows = schedule_rows,
    .version = jobs_version,
    .note = schedule_note,
    .head = schedule_head,
    .lines = schedule_lines,
    .tell = "why",
};

/* ---- set aside ---- */

TEXT_OF(aside, ASIDE, id)
TEXT_OF(aside, ASIDE, kind)
TEXT_OF(aside, ASIDE, queue)
TEXT_OF(aside, ASIDE, tenant)
TEXT_OF(aside, ASIDE, filter)
TEXT_OF(aside, ASIDE, by)
TEXT_OF(aside, ASIDE, reason)

static struct value aside_system(const void *row)
{
    return value_text(((const struct jobs_aside_row *)row)->system->name);
}
static struct value aside_server(const void *row)
{
    return value_text(((const struct jobs_aside_row *)row)->system->server);
}
static struct value aside_count(const void *row)
{
    struct value value = jobs_count(ASIDE(row)->count);
    if (strcmp(ASIDE(row)->kind, "unfinished") == 0)
        value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value aside_age(const void *row)
{
    return jobs_age(ASIDE(row)->since);
}
static struct value aside_gone(const void *row)
{
    return jobs_time(ASIDE(row)->gone_at);
}

static const struct column aside_columns[] = {
    {"kind", "what", "parked, a tenant's aside, trash, or a move that did not end", UNIT_NONE, 10, 0, 0,
     aside_kind, NULL},
    {"queue", "queue", "where they came from", UNIT_NONE, 18, 0, 0, aside_queue, NULL},
    {"count", "jobs", "how many", UNIT_COUNT, 8, 0, 0, aside_count, NULL},
    {"age_s", "since", "when it was done", UNIT_S, 10, 1, 0, aside_age, NULL},
    {"tenant", "tenant", "whose jobs they are, when they are one tenant's", UNIT_NONE, 14, 1, 0, aside_tenant,
     NULL},
    {"filter", "which", "the filter that they matched", UNIT_NONE, 24, 3, 0, aside_filter, NULL},
    {"by", "by", "who did it", UNIT_NONE, 10, 4, 0, aside_by, NULL},
    {"gone_at", "kept until", "when trash may be removed for good", UNIT_TIME, 12, 6, 0, aside_gone, NULL},
    {"system", "system", "the job system", UNIT_NONE, 9, 6, 0, aside_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 7, 0, aside_server, NULL},
    {"id", "key", "the key that holds them", UNIT_NONE, 30, 9, COLUMN_HIDDEN, aside_id, NULL},
    {"reason", "reason", "why it was set aside", UNIT_NONE, 0, 2, 0, aside_reason, NULL},
};

JOBS_PART(aside, PART_ASIDE)
JOBS_COMPLETE(aside, PART_ASIDE)

static void aside_rows(struct app *app, struct row_list *list)
{
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct aside_snapshot *snapshot = queue_system_aside(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        for (size_t i = 0; i < snapshot->count; i++) {
            const struct aside *aside = &snapshot->items[i];
            struct jobs_aside_row *row = talloc_zero(list, struct jobs_aside_row);
            *row = (struct jobs_aside_row){system, aside};
            row_list_add(list, (struct table_row){
                                   .data = row, .id = talloc_asprintf(list, "%s/%s", system->id, aside->id)});
        }
    }
}

const struct view jobs_aside = {
    .id = "aside",
    .title = "Set aside",
    .summary = "what was parked or purged from here, and can come back",
    .empty = "nothing is set aside",
    .columns = aside_columns,
    .column_count = sizeof aside_columns / sizeof *aside_columns,
    .sort = "age_s",
    .want = aside_want,
    .sources = aside_sources,
    .complete = aside_complete,
    .rows = aside_rows,
    .version = jobs_version,
    .note = aside_note,
};
