/* Jobs › Queues: a row a queue of every job system, those that need somebody first. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/jobs.h"
#include "tui/chart.h"

#define QUEUE(row) (((const struct jobs_queue_row *)(row))->queue)
#define SYSTEM(row) (((const struct jobs_queue_row *)(row))->system)

enum { SPARK_CELLS = 10 };
#define STEADY_S 1e6 /* a queue that drains in more than that is steady */

#define COUNT_OF(member)                                                                                     \
    static struct value value_of_##member(const void *row)                                                   \
    {                                                                                                        \
        return jobs_count(QUEUE(row)->member);                                                               \
    }
COUNT_OF(unacked)
COUNT_OF(running)
COUNT_OF(scheduled)
COUNT_OF(retrying)
COUNT_OF(waiting)
COUNT_OF(done)
COUNT_OF(parked)
COUNT_OF(bytes)

static struct value value_of_queue(const void *row)
{
    return value_text(QUEUE(row)->name);
}
static struct value value_of_id(const void *row)
{
    return value_text(QUEUE(row)->id);
}
static struct value value_of_system(const void *row)
{
    return value_text(SYSTEM(row)->name);
}
static struct value value_of_server(const void *row)
{
    return value_text(SYSTEM(row)->server);
}
static struct value value_of_place(const void *row)
{
    return value_text(SYSTEM(row)->place);
}
static struct value value_of_kind(const void *row)
{
    return value_text(QUEUE(row)->kind);
}
static struct value value_of_ready(const void *row)
{
    struct value value = jobs_count(QUEUE(row)->ready);
    if (QUEUE(row)->drain_s == INFINITY)
        value.severity = SEVERITY_WARNING;
    return value;
}

/* Something that should be none. */
static struct value count_of_bad(int64_t count, enum severity severity)
{
    struct value value = jobs_count(count);
    if (count > 0)
        value.severity = severity;
    return value;
}
static struct value value_of_dead(const void *row)
{
    return count_of_bad(QUEUE(row)->dead, SEVERITY_WARNING);
}
static struct value value_of_failed(const void *row)
{
    return count_of_bad(QUEUE(row)->failed, SEVERITY_WARNING);
}
static struct value value_of_poison(const void *row)
{
    struct value value =
        count_of_bad(QUEUE(row)->poison, QUEUE(row)->poison_near > 0 ? SEVERITY_CRITICAL : SEVERITY_WARNING);
    value.estimated = QUEUE(row)->poison_sampled && QUEUE(row)->poison > 0;
    return value;
}
static struct value value_of_poison_near(const void *row)
{
    return count_of_bad(QUEUE(row)->poison_near, SEVERITY_CRITICAL);
}
static struct value value_of_paused(const void *row)
{
    int paused = QUEUE(row)->paused;
    return paused < 0 ? value_unknown() : value_boolean(paused > 0);
}
/* On the screen only what is paused has a word. */
static struct value value_of_state(const void *row)
{
    struct value value = value_text(QUEUE(row)->paused > 0 ? "paused" : NULL);
    value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_consumers(const void *row)
{
    const struct queue *queue = QUEUE(row);
    struct value value = jobs_count(queue->consumers);
    if (queue->consumers == 0 && queue->ready > 0)
        value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value value_of_head_age(const void *row)
{
    const struct queue *queue = QUEUE(row);
    if (queue->ready == 0)
        return value_blank();
    struct value value = jobs_real(queue->head_age_s);
    value.estimated = queue->head_age_source == HEAD_AGE_ESTIMATE;
    value.at_least = queue->head_age_source == HEAD_AGE_WATCHED;
    return value;
}
static struct value value_of_head_age_source(const void *row)
{
    const char *name = head_age_source_name(QUEUE(row)->head_age_source);
    return *name ? value_text(name) : value_blank();
}
static struct value value_of_in(const void *row)
{
    return jobs_real(QUEUE(row)->in_per_s);
}
static struct value value_of_out(const void *row)
{
    return jobs_real(QUEUE(row)->out_per_s);
}
static struct value value_of_drain(const void *row)
{
    double drain = QUEUE(row)->drain_s;
    return isinf(drain) ? value_unknown() : jobs_real(drain);
}
static bool grows(const struct queue *queue)
{
    return isinf(queue->drain_s) && (isnan(queue->in_per_s) || queue->in_per_s > 0);
}
static struct value value_of_growing(const void *row)
{
    const struct queue *queue = QUEUE(row);
    if (isnan(queue->drain_s))
        return value_unknown();
    return value_boolean(grows(queue));
}
static struct value value_of_drains(const void *row)
{
    const struct queue *queue = QUEUE(row);
    struct value value;
    if (queue->ready == 0)
        return value_text("empty");
    if (isnan(queue->drain_s))
        return value_unknown();
    if (!isinf(queue->drain_s))
        return queue->drain_s > STEADY_S ? value_text("steady") : value_real(queue->drain_s);
    value = value_text(grows(queue) ? "growing" : "stands");
    value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_oldest_eta(const void *row)
{
    return jobs_time(QUEUE(row)->oldest_eta);
}
static struct value value_of_retry_share(const void *row)
{
    double share = QUEUE(row)->retry_share;
    struct value value = jobs_real(share * 100);
    if (share > 0.3)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_priorities(const void *row)
{
    const struct queue *queue = QUEUE(row);
    if (!queue->priorities)
        return value_blank();
    return (struct value){.kind = VALUE_INTEGERS,
                          .integers = {queue->by_priority, (size_t)queue->priorities}};
}

static struct value value_of_history(const void *row)
{
    return value_text(((const struct jobs_queue_row *)row)->history);
}
static struct value value_of_tenants(const void *row)
{
    return value_text(((const struct jobs_queue_row *)row)->tenants);
}
static struct value value_of_told(const void *row)
{
    return value_text(((const struct jobs_queue_row *)row)->told);
}
static struct value value_of_why(const void *row)
{
    struct value value = value_text(QUEUE(row)->why);
    value.severity = QUEUE(row)->level == QUEUE_CRITICAL  ? SEVERITY_CRITICAL
                     : QUEUE(row)->level == QUEUE_WARNING ? SEVERITY_WARNING
                                                          : SEVERITY_NONE;
    return value;
}
static struct value value_of_level(const void *row)
{
    static const char *const words[] = {
        [QUEUE_FINE] = "ok", [QUEUE_WARNING] = "warning", [QUEUE_CRITICAL] = "critical"};
    return value_text(words[QUEUE(row)->level]);
}
/* Critical first, then warnings, then by length. */
static struct value value_of_urgency(const void *row)
{
    const struct queue *queue = QUEUE(row);
    double ready = queue->ready > 0 ? log10((double)queue->ready + 1) : 0;
    return value_real((double)queue->level * 100 + ready);
}

static const struct column columns[] = {
    {"queue", "queue", "its name", UNIT_NONE, 17, 0, 0, value_of_queue, NULL},
    {"system", "system", "the job system: its kind, or its name in the environment's file", UNIT_NONE, 8, 5,
     0, value_of_system, NULL},
    {"server", "server", "the Redis, Postgres server or host where it is", UNIT_NONE, 10, 7, 0,
     value_of_server, NULL},
    {"place", "place", "the server and the part of it", UNIT_NONE, 24, 9, COLUMN_HIDDEN, value_of_place,
     NULL},
    {"ready", "ready", "jobs that wait for a worker", UNIT_COUNT, 8, 0, 0, value_of_ready, NULL},
    {"unacked", "unacked", "taken by workers: prefetched, waiting for their time there, or running",
     UNIT_COUNT, 7, 2, 0, value_of_unacked, NULL},
    {"running", "run", "jobs that workers say they run", UNIT_COUNT, 5, 8, 0, value_of_running, NULL},
    {"scheduled", "sched", "jobs that are due later", UNIT_COUNT, 5, 2, 0, value_of_scheduled, NULL},
    {"retrying", "retry", "failed jobs that are due again", UNIT_COUNT, 6, 5, 0, value_of_retrying, NULL},
    {"waiting", "wait", "jobs that wait for other jobs", UNIT_COUNT, 5, 8, 0, value_of_waiting, NULL},
    {"failed", "failed", "failed jobs that are kept and can be run again", UNIT_COUNT, 6, 4, 0,
     value_of_failed, NULL},
    {"dead", "dead", "jobs that were given up: dead set, dead-letter queue", UNIT_COUNT, 5, 1, 0,
     value_of_dead, NULL},
    {"done", "done", "finished jobs that are kept", UNIT_COUNT, 7, 9, COLUMN_HIDDEN, value_of_done, NULL},
    {"parked", "parked", "jobs of it that were set aside from here", UNIT_COUNT, 6, 7, 0, value_of_parked,
     NULL},
    {"paused", "paused", "workers take nothing from it", UNIT_NONE, 6, 9, COLUMN_HIDDEN, value_of_paused,
     NULL},
    {"state", "state", "paused, or nothing", UNIT_NONE, 7, 6, COLUMN_SCREEN, value_of_state, NULL},
    {"head_age_s", "oldest",
     "how long the job that runs next has waited; ≈: estimated from length and rate; ≥: seen here for "
     "so long",
     UNIT_S, 10, 0, 0, value_of_head_age, NULL},
    {"head_age_source", "age from",
     "how that is known: exact, a header of the application, an event, watched from here, or an estimate",
     UNIT_NONE, 9, 9, COLUMN_HIDDEN, value_of_head_age_source, NULL},
    {"in_per_s", "in/s", "jobs that came in, a second, over the last minute", UNIT_PER_S, 5, 1, 0,
     value_of_in, NULL},
    {"out_per_s", "out/s", "jobs that were taken, a second, over the last minute", UNIT_PER_S, 5, 1, 0,
     value_of_out, NULL},
    {"drains_in_s", "drains in", "when it is empty at these rates, or that it grows", UNIT_S, 9, 0,
     COLUMN_SCREEN, value_of_drains, NULL},
    {"drain_s", "drain", "seconds until it is empty at these rates; unknown when it grows", UNIT_S, 9, 9,
     COLUMN_HIDDEN, value_of_drain, NULL},
    {"growing", "growing", "more comes in than goes out", UNIT_NONE, 7, 9, COLUMN_HIDDEN, value_of_growing,
     NULL},
    {"consumers", "cons.", "workers that take from it", UNIT_COUNT, 5, 4, 0, value_of_consumers, NULL},
    {"poison", "poison", "messages that harm a worker, in what was read of it", UNIT_COUNT, 6, 4, 0,
     value_of_poison, NULL},
    {"poison_near", "near", "of those, within the next 1,000", UNIT_COUNT, 5, 9, COLUMN_HIDDEN,
     value_of_poison_near, NULL},
    {"retry_percent", "retries", "of the jobs looked at, how many were tried before", UNIT_PERCENT, 7, 8, 0,
     value_of_retry_share, NULL},
    {"by_priority", "priorities", "ready by priority, the first served first", UNIT_NONE, 12, 9,
     COLUMN_HIDDEN, value_of_priorities, NULL},
    {"oldest_eta", "eta", "when the first of the jobs held back was due", UNIT_TIME, 9, 9, COLUMN_HIDDEN,
     value_of_oldest_eta, NULL},
    {"size_bytes", "size", "memory that it takes", UNIT_BYTES, 7, 8, COLUMN_HIDDEN, value_of_bytes, NULL},
    {"kind", "kind", "list, stream, table", UNIT_NONE, 6, 9, COLUMN_HIDDEN, value_of_kind, NULL},
    {"id", "id", "its name within the system", UNIT_NONE, 18, 9, COLUMN_HIDDEN, value_of_id, NULL},
    {"history", "last 10 min", "ready, through the last ten minutes of watching", UNIT_NONE, 11, 3,
     COLUMN_SCREEN, value_of_history, NULL},
    {"tenants", "tenants", "whose jobs they are, from a sample", UNIT_NONE, 30, 9, COLUMN_HIDDEN,
     value_of_tenants, NULL},
    {"told", "told", "what is wrong, and whose jobs they are", UNIT_NONE, 30, 9, COLUMN_HIDDEN, value_of_told,
     NULL},
    {"level", "level", "ok, warning, critical", UNIT_NONE, 8, 9, COLUMN_HIDDEN, value_of_level, NULL},
    {"urgency", "urgency", "what sorts the list: critical, then warnings, then the longest", UNIT_NONE, 7, 9,
     COLUMN_HIDDEN, value_of_urgency, NULL},
    {"why", "why", "what is wrong with it, the worst first", UNIT_NONE, 0, 6, 0, value_of_why, NULL},
};

/* ---- rows ---- */

/* Sixty samples in ten cells: the mean of each six. */
static char *spark(const void *context, const struct queue *queue)
{
    char text[SPARK_CELLS * 4];
    float cells[SPARK_CELLS];
    const int each = QUEUE_HISTORY / SPARK_CELLS;
    for (int c = 0; c < SPARK_CELLS; c++) {
        float sum = 0;
        int known = 0;
        for (int i = c * each; i < (c + 1) * each; i++) {
            if (!isnan(queue->history[i])) {
                sum += queue->history[i];
                known++;
            }
        }
        cells[c] = known ? sum / (float)known : NAN;
    }
    return talloc_strdup(context, chart_spark(text, sizeof text, cells, SPARK_CELLS, SPARK_CELLS));
}

enum { SHARES_TOLD = 3, NAME_TOLD = 64 };

/* "al_noor 93 % · st_marys 4 % · 118 others 3 % (sample of 1,500, ±2 %)" */
static char *tell_shares(const void *context, const struct queue *queue)
{
    char number[32], percent[32];
    char *text = talloc_strdup(context, "");
    int told = queue->share_count < SHARES_TOLD ? queue->share_count : SHARES_TOLD;
    int64_t others = queue->share_others + queue->share_count - told;
    double named = 0, error = 0;
    for (int i = 0; i < told; i++) {
        const struct queue_share *share = &queue->shares[i];
        char name[NAME_TOLD];
        if (share->name)
            safe_text(name, sizeof name, share->name, strnlen(share->name, sizeof name));
        named += share->share;
        error = fmax(error, share->error);
        text =
            talloc_asprintf_append_buffer(text, "%s%s %s", i ? " · " : "", share->name ? name : "no tenant",
                                          format_percent(percent, sizeof percent, share->share * 100));
    }
    if (others > 0)
        text =
            talloc_asprintf_append_buffer(text, " · %lld others %s", (long long)others,
                                          format_percent(percent, sizeof percent, fmax(0, 1 - named) * 100));
    if (queue->share_sample < queue->ready)
        text = talloc_asprintf_append_buffer(text, " (sample of %s, ±%s)",
                                             format_count(number, sizeof number, (double)queue->share_sample),
                                             format_percent(percent, sizeof percent, ceil(error * 100)));
    return text;
}

/* What is wrong comes first: two lines are all there is. */
static char *tell(const void *context, const struct queue *queue, const char *tenants)
{
    char name[NAME_TOLD];
    safe_text(name, sizeof name, queue->name, strnlen(queue->name, sizeof name));
    const char *shares = tenants ? tenants : queue->ready == 0 ? "nothing waits" : "tenants not known yet";
    return talloc_asprintf(context, "%s%sin %s: %s", queue->why ? queue->why : "", queue->why ? " · " : "",
                           name, shares);
}

JOBS_PART(part, PART_QUEUES)

static void rows(struct app *app, struct row_list *list)
{
    const char *only = app->console ? NULL : app->options->queue;
    for (size_t s = 0; s < queues_count(app->queues); s++) {
        struct queue_system *system = queues_system(app->queues, s);
        const struct queues_snapshot *snapshot = queue_system_queues(system);
        if (!snapshot)
            continue;
        row_list_hold(list, snapshot);
        bool late = queue_system_feed(system, PART_QUEUES)->state >= FEED_LATE;
        for (size_t i = 0; i < snapshot->count; i++) {
            const struct queue *queue = &snapshot->queues[i];
            if (only && strcmp(queue->name, only) != 0)
                continue;
            struct jobs_queue_row *row = talloc_zero(list, struct jobs_queue_row);
            char *tenants = queue->share_sample > 0 ? tell_shares(row, queue) : NULL;
            *row =
                (struct jobs_queue_row){system, queue, tenants, tell(row, queue, tenants), spark(row, queue)};
            row_list_add(list,
                         (struct table_row){
                             .data = row,
                             .id = talloc_asprintf(list, "%s/%s", system->id, queue->id),
                             .severity = queue->level == QUEUE_CRITICAL ? SEVERITY_CRITICAL : SEVERITY_NONE,
                             .dim = late || (queue->ready == 0 && queue->level == QUEUE_FINE)});
        }
    }
}

static void enter(struct app *app, const struct table_row *row)
{
    const struct jobs_queue_row *at = row->data;
    jobs_open(app, at->system, at->queue->name, 1U << JOB_READY, FROM_HEAD, NULL);
}

const struct view jobs_queues = {
    .id = "queues",
    .title = "Queues",
    .summary = "which queue grows, how old its head is, whose jobs they are",
    .empty = "no job system was found on the servers of this environment",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .sort = "urgency",
    .descending = true,
    .want = part_want,
    .sources = part_sources,
    .complete = jobs_rates_known,
    .rows = rows,
    .version = jobs_version,
    .note = part_note,
    .enter = enter,
    .tell = "told",
};
