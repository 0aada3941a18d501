/* Rows of queues from what was seen: rates, the age of the head, who takes from it, and what is wrong with it
 * in words. */
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/celery_seen.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "core/units.h"

#define HISTORY_EVERY_S 10.0
#define ANSWERS_FRESH_S 600.0
#define RUNNING_FRESH_S 30.0
#define SETTLED_S 20.0 /* rates of a shorter time alarm nobody */
#define IDLE_PER_S 0.02
#define STILL_S 120.0

enum { GROWS_FROM = 20, FLOOD_FROM = 50 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- who takes from it ---- */

static void count_consumers(struct celery_rates *rates, struct json_object *queues)
{
    size_t count = json_object_is_type(queues, json_type_array) ? json_object_array_length(queues) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *name;
        if (!json_object_object_get_ex(json_object_array_get_idx(queues, i), "name", &name) ||
            !json_object_is_type(name, json_type_string))
            continue;
        celery_seen(rates, json_object_get_string(name))->consumers++;
        if (rates->system->queue_count < SEEN_QUEUES_MOST)
            celery_add_queues(rates->system, &(const char *){json_object_get_string(name)}, 1);
    }
}

static void count_running(struct celery_rates *rates, struct json_object *active)
{
    size_t count = json_object_is_type(active, json_type_array) ? json_object_array_length(active) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *delivery, *name;
        if (json_object_object_get_ex(json_object_array_get_idx(active, i), "delivery_info", &delivery) &&
            json_object_object_get_ex(delivery, "routing_key", &name) &&
            json_object_is_type(name, json_type_string))
            celery_seen(rates, json_object_get_string(name))->running++;
    }
}

/* True: every live worker said from which queues it takes, so that 0 means nobody. */
static bool read_answers(struct celery_rates *rates)
{
    const struct celery_answers *answers = celery_answers(rates->system);
    double age = answers ? clock_wall() - answers->asked_at : INFINITY;
    bool all = answers && age < ANSWERS_FRESH_S && (int64_t)answers->worker_count >= answers->heard;
    for (size_t i = 0; answers && i < answers->worker_count; i++)
        all &= answers->workers[i].queues != NULL;
    struct seen_queue *queue, *next;
    HASH_ITER(hh, rates->queues, queue, next)
    {
        queue->consumers = age < ANSWERS_FRESH_S ? 0 : -1;
        queue->running = age < RUNNING_FRESH_S ? 0 : -1;
    }
    for (size_t i = 0; answers && i < answers->worker_count; i++) {
        if (age < ANSWERS_FRESH_S)
            count_consumers(rates, answers->workers[i].queues);
        if (age < RUNNING_FRESH_S)
            count_running(rates, answers->workers[i].active);
    }
    return all;
}

/* Heartbeats tell whether anybody lives at all. */
static bool nobody_lives(const struct celery_rates *rates)
{
    const struct workers_snapshot *workers = queue_system_workers(&rates->system->base);
    if (!workers || clock_wall() < rates->began_at + SETTLED_S)
        return false;
    for (size_t i = 0; i < workers->count; i++)
        if (workers->workers[i].state != WORKER_GHOST && workers->workers[i].state != WORKER_SILENT)
            return false;
    return true;
}

/* ---- rates ---- */

/* What all workers do beyond what is seen to leave other queues: of the one queue that is not seen to move.
 */
struct rest {
    double per_s; /* NAN: unknown */
    size_t unknown;
};

static struct rest rest_of_fleet(const struct celery_rates *rates)
{
    struct rest rest = {.per_s = celery_watch_rate(rates->system)};
    struct seen_queue *queue, *next;
    HASH_ITER(hh, rates->queues, queue, next)
    {
        double out = rate_value(&queue->out);
        if (isnan(out))
            rest.unknown++;
        else
            rest.per_s -= out;
    }
    return rest;
}

static void fill_rates(const struct seen_queue *queue, struct queue *row, const struct rest *rest)
{
    double out = rate_value(&queue->out), growth = rate_value(&queue->growth);
    if (isnan(out) && rest->per_s < IDLE_PER_S)
        out = 0;
    else if (isnan(out) && rest->unknown == 1)
        out = rest->per_s;
    row->out_per_s = out;
    row->in_per_s = isnan(out) || isnan(growth) ? NAN : fmax(out + growth, 0);
    row->drain_s = list_drain(queue->ready, row->in_per_s, out);
    if (isnan(out) && !isnan(growth) && growth != 0 && queue->ready > 0)
        row->drain_s = growth > 0 ? INFINITY : (double)queue->ready / -growth;
}

/* ---- the age of the head ---- */

static double watched_age(const struct seen_queue *queue, double now, bool *since_it_came)
{
    double at, age = queue->head_hash ? now - queue->head_since : 0;
    *since_it_came = false;
    for (int step = 0; step < CELERY_STEPS; step++) {
        const struct seen_list *list = &queue->lists[step];
        if (list->length <= 0)
            continue;
        if (list->arrivals) {
            *since_it_came = arrivals_head(list->arrivals, list->length, &at);
            age = *since_it_came ? now - at : fmax(age, at > 0 ? now - at : 0);
        }
        break;
    }
    return fmax(age, 0);
}

static void fill_age(const struct celery_system *system, const struct seen_queue *queue, struct queue *row)
{
    double now = clock_wall();
    bool since_it_came;
    row->head_age_s = NAN;
    if (queue->ready <= 0 || !queue->head_hash)
        return;
    double heard = queue->head_id ? celery_watch_sent_at(system, queue->head_id) : 0;
    double watched = watched_age(queue, now, &since_it_came);
    double estimate = row->out_per_s > 0 ? (double)queue->ready / row->out_per_s : 0;
    if (queue->head_sent_at > 0) {
        row->head_age_s = fmax(now - queue->head_sent_at, 0);
        row->head_age_source = HEAD_AGE_HEADER;
    } else if (heard > 0) {
        row->head_age_s = fmax(now - heard, 0);
        row->head_age_source = HEAD_AGE_EVENT;
    } else if (since_it_came || (watched >= 1 && watched > estimate)) {
        row->head_age_s = watched;
        row->head_age_source = HEAD_AGE_WATCHED;
    } else if (estimate > 0) {
        row->head_age_s = estimate;
        row->head_age_source = HEAD_AGE_ESTIMATE;
    }
}

/* ---- what is wrong ---- */

struct wrong {
    char *text;
    int level;
};

static void complain(struct wrong *wrong, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The worst comes first; what is not worse than what was said goes behind it. */
static void complain(struct wrong *wrong, int level, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *text = there(talloc_vasprintf(NULL, format, list));
    va_end(list);
    char *joined = !wrong->text           ? talloc_strdup(NULL, text)
                   : level > wrong->level ? talloc_asprintf(NULL, "%s; %s", text, wrong->text)
                                          : talloc_asprintf(NULL, "%s; %s", wrong->text, text);
    there(joined);
    talloc_free(text);
    talloc_free(wrong->text);
    wrong->text = joined;
    wrong->level = level > wrong->level ? level : wrong->level;
}

static bool is_events(const char *name)
{
    return strncmp(name, "celeryev.", strlen("celeryev.")) == 0;
}

static void judge_poison(const struct seen_queue *queue, const struct queue *row, struct wrong *wrong)
{
    char count[32];
    int64_t fatal = celery_sample_near(queue, POISON_A), dropped = celery_sample_near(queue, POISON_B),
            unknown = celery_sample_near(queue, POISON_C);
    if (fatal > 0)
        complain(wrong, QUEUE_CRITICAL, "poison: %s of the next %d jobs %s the worker that takes %s",
                 format_count(count, sizeof count, (double)fatal), SEEN_NEAR, fatal == 1 ? "ends" : "end",
                 fatal == 1 ? "it" : "them");
    if (dropped > 0)
        complain(wrong, QUEUE_WARNING, "%s of the next %d jobs cannot be read and will be dropped",
                 format_count(count, sizeof count, (double)dropped), SEEN_NEAR);
    if (unknown > 0)
        complain(wrong, QUEUE_WARNING, "%s of the next %d jobs will fail: no worker knows the task",
                 format_count(count, sizeof count, (double)unknown), SEEN_NEAR);
    int64_t further = row->poison - fatal - dropped - unknown;
    if (further > 0)
        complain(wrong, QUEUE_WARNING, "%s bad messages further back, in the sample",
                 format_count(count, sizeof count, (double)further));
}

static const struct queue_share *flood(const struct queue *row)
{
    const struct queue_share *first = row->share_count ? &row->shares[0] : NULL;
    bool holds = first && first->name && row->ready >= FLOOD_FROM && first->share - first->error > 0.6;
    return holds && (row->share_count > 1 || row->share_others > 0) ? first : NULL;
}

static void judge_still(const struct seen_queue *queue, const struct queue *row, struct wrong *wrong)
{
    char since[32], count[32];
    double still = clock_monotonic() - queue->still_since;
    if (row->ready > 0 && queue->looked_at > 0 && still > STILL_S)
        complain(wrong, QUEUE_WARNING, "nothing was taken from it for %s, and %s %s",
                 format_s(since, sizeof since, still), format_count(count, sizeof count, (double)row->ready),
                 row->ready == 1 ? "job waits" : "jobs wait");
}

static void judge_growth(const struct seen_queue *queue, const struct queue *row, struct wrong *wrong)
{
    char grows[32], in[32], out[32];
    double growth = rate_value(&queue->growth), quarter = rate_value(&queue->growth_quarter);
    bool grown = queue->known_s >= SETTLED_S && row->ready >= GROWS_FROM && growth > 0.05 && quarter > 0 &&
                 !(growth <= 0.05 * row->in_per_s);
    const struct queue_share *tenant = flood(row);
    if (!grown)
        return;
    format_rate(grows, sizeof grows, growth);
    if (tenant)
        complain(wrong, QUEUE_CRITICAL, "grows by %s/s, and %s has %.0f %% of it", grows, tenant->name,
                 100 * tenant->share);
    else if (isnan(row->out_per_s))
        complain(wrong, QUEUE_WARNING, "grows by %s/s", grows);
    else
        complain(wrong, row->head_age_s > 600 ? QUEUE_CRITICAL : QUEUE_WARNING,
                 "grows by %s/s: %s/s come in, %s/s are taken", grows,
                 format_rate(in, sizeof in, row->in_per_s), format_rate(out, sizeof out, row->out_per_s));
}

static void judge_waiting(const struct seen_queue *queue, const struct queue *row, struct wrong *wrong)
{
    char text[32];
    double now = clock_wall();
    if (row->head_age_s > 3600)
        complain(wrong, QUEUE_WARNING, "the next job has waited for %s%s",
                 row->head_age_source == HEAD_AGE_ESTIMATE ? "about " : "",
                 format_s(text, sizeof text, row->head_age_s));
    if (row->oldest_eta > 0 && row->oldest_eta < now - 60)
        complain(wrong, QUEUE_WARNING, "a job that was due %s ago has not begun",
                 format_s(text, sizeof text, now - row->oldest_eta));
    if (row->retry_share > 0.3 && row->ready >= GROWS_FROM)
        complain(wrong, QUEUE_WARNING, "%.0f %% of the jobs looked at are retries", 100 * row->retry_share);
    if (queue->dead > 0)
        complain(wrong, QUEUE_WARNING, "%s dead %s", format_count(text, sizeof text, (double)queue->dead),
                 queue->dead == 1 ? "letter" : "letters");
}

static void judge(const struct seen_queue *queue, struct queue *row, bool nobody, const void *context)
{
    struct wrong wrong = {0};
    char count[32];
    if (queue->wrong_type)
        complain(&wrong, QUEUE_WARNING,
                 "a key with its name holds something that is not a list: another program uses the name");
    if (is_events(queue->name))
        complain(&wrong, QUEUE_CRITICAL,
                 "events pile up that nobody reads, until memory is full: a monitor bound itself as a queue");
    else if (row->paused == 1 && row->ready > 0)
        complain(&wrong, QUEUE_CRITICAL, "no worker takes from it, and %s %s",
                 format_count(count, sizeof count, (double)row->ready),
                 row->ready == 1 ? "job waits" : "jobs wait");
    else if (nobody && row->ready > 0)
        complain(&wrong, QUEUE_CRITICAL, "no worker is alive, and %s %s",
                 format_count(count, sizeof count, (double)row->ready),
                 row->ready == 1 ? "job waits" : "jobs wait");
    else
        judge_still(queue, row, &wrong);
    judge_poison(queue, row, &wrong);
    judge_growth(queue, row, &wrong);
    judge_waiting(queue, row, &wrong);
    if (wrong.text)
        row->why = talloc_steal(context, wrong.text);
    row->level = wrong.level;
}

/* ---- a row ---- */

static void keep_history(struct seen_queue *queue)
{
    double now = clock_monotonic();
    if (queue->history_at <= 0) {
        queue->history_at = now;
        queue->history[QUEUE_HISTORY - 1] = (float)queue->ready;
        return;
    }
    int steps = (int)fmin((now - queue->history_at) / HISTORY_EVERY_S, QUEUE_HISTORY);
    if (steps > 0) {
        queue->history_at += steps * HISTORY_EVERY_S;
        memmove(queue->history, queue->history + steps,
                (size_t)(QUEUE_HISTORY - steps) * sizeof *queue->history);
        for (int i = QUEUE_HISTORY - steps; i < QUEUE_HISTORY; i++)
            queue->history[i] = NAN;
    }
    queue->history[QUEUE_HISTORY - 1] = queue->ready >= 0 ? (float)queue->ready : NAN;
}

static int64_t failed_of(const struct failures_snapshot *failures, const char *queue)
{
    int64_t count = 0;
    bool known = false;
    for (size_t i = 0; failures && i < failures->count; i++) {
        const struct failure *failure = &failures->failures[i];
        known |= failure->queue != NULL;
        if (failure->queue && failure->kept != JOB_DEAD && strcmp(failure->queue, queue) == 0)
            count += failure->count;
    }
    return known ? count : -1;
}

static int64_t parked_of(const struct aside_snapshot *aside, const char *queue)
{
    int64_t count = 0;
    for (size_t i = 0; aside && i < aside->count; i++)
        if (aside->items[i].queue && strcmp(aside->items[i].queue, queue) == 0 &&
            strcmp(aside->items[i].kind, "trash") != 0 && aside->items[i].count > 0)
            count += aside->items[i].count;
    return aside ? count : -1;
}

static void fill_held(const struct celery_rates *rates, const struct seen_queue *queue, struct queue *row)
{
    bool sampled;
    bool known = celery_unacked_count(rates, &sampled) >= 0;
    row->unacked = known ? queue->unacked.held : -1;
    row->scheduled = known ? queue->unacked.scheduled : -1;
    row->retrying = known ? queue->unacked.retrying : -1;
    row->oldest_eta = queue->unacked.oldest_eta;
    row->running = queue->running;
}

static void fill_row(const struct celery_rates *rates, struct seen_queue *queue, struct queue *row,
                     const void *context)
{
    const struct queue_system *base = &rates->system->base;
    row->id = row->name = there(talloc_strdup(context, queue->name));
    row->kind = "list";
    row->ready = queue->ready;
    row->waiting = row->done = -1;
    row->failed = failed_of(queue_system_failures(base), queue->name);
    row->parked = parked_of(queue_system_aside(base), queue->name);
    row->dead = queue->dead;
    fill_held(rates, queue, row);
    for (int step = 0; step < CELERY_STEPS; step++)
        row->by_priority[step] = queue->lists[step].length > 0 ? queue->lists[step].length : 0;
    row->priorities = CELERY_STEPS;
    row->bytes = -1;
    if (queue->sample && queue->sample->jobs > 0)
        row->bytes = (int64_t)(queue->sample->bytes / queue->sample->jobs * (double)queue->ready);
    celery_sample_fill(queue, row, context);
    keep_history(queue);
    memcpy(row->history, queue->history, sizeof row->history);
}

/* Bindings outlive what they were made for: lists of events and answers are shown only while they pile up. */
static bool is_hidden(const struct seen_queue *queue)
{
    size_t length = strlen(queue->name), end = strlen(".pidbox");
    bool control = length > end && strcmp(queue->name + length - end, ".pidbox") == 0;
    return control || (is_events(queue->name) && queue->ready <= 0);
}

static const char *note(const struct celery_rates *rates, const void *context)
{
    char length[32];
    bool sampled;
    int64_t count = celery_unacked_count(rates, &sampled);
    if (count <= 0 || !sampled)
        return NULL;
    return there(talloc_asprintf(context, "unacked holds %s: by queue they are estimated from a part of them",
                                 format_count(length, sizeof length, (double)count)));
}

struct queues_snapshot *celery_rows(struct celery_rates *rates)
{
    struct celery_system *system = rates->system;
    struct queues_snapshot *snapshot = SNAPSHOT_NEW(struct queues_snapshot);
    bool all_said = read_answers(rates), nobody = nobody_lives(rates);
    struct rest rest = rest_of_fleet(rates);
    size_t count = system->queue_count < SEEN_QUEUES_MOST ? system->queue_count : SEEN_QUEUES_MOST;
    snapshot->left_out = system->queue_count - count;
    snapshot->queues = there(talloc_zero_array(snapshot, struct queue, count + 1));
    for (size_t i = 0; i < count; i++) {
        struct seen_queue *queue = celery_seen(rates, system->queues[i]);
        if (is_hidden(queue))
            continue;
        struct queue *row = &snapshot->queues[snapshot->count++];
        fill_row(rates, queue, row, snapshot->queues);
        fill_rates(queue, row, &rest);
        fill_age(system, queue, row);
        row->consumers = nobody ? 0 : queue->consumers;
        row->paused = queue->consumers > 0 ? 0 : queue->consumers == 0 && all_said ? 1 : -1;
        if (celery_queue_paused(system, row->name))
            row->paused = 1;
        judge(queue, row, nobody, snapshot->queues);
    }
    snapshot->note = note(rates, snapshot);
    return snapshot;
}
