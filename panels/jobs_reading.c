/* Reading the jobs that the screen shows: a window, everything that matches, or one job wherever it is; from
 * one system or from all of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/jobs.h"

#define WINDOW_S 10.0   /* a window is read again so often */
#define ONCE_S 1e7      /* a search is not */
#define DEADLINE_S 15.0 /* of a window */
#define SHOW_S 0.5      /* what was found so far is shown so often */
#define WAIT_S 0.05     /* for the systems to be known */
enum { RAW_MAX = 64 * 1024, KEPT_MAX = 16 * 1024 * 1024 };

/* Texts of jobs; snapshots of what was found so far share it. */
struct pool {
    struct snapshot snapshot;
    size_t bytes;
};

struct one_read {
    struct jobs_reading *reading;
    struct queue_system *system;
    struct queue_read *read;
    struct queue_read_progress progress;
};

struct jobs_reading {
    struct app *app;
    struct jobs_target target;
    struct job_filter *filter; /* NULL: a window */
    struct feed feed;
    const void *found; /* struct jobs_found */
    struct pool *pool; /* of what is being read */
    struct jobs_found_item *items;
    size_t count, room;
    struct one_read **reads; /* those that are under way */
    size_t read_count;
    int64_t scanned, total, matched; /* of those that have ended */
    bool complete;
    struct error error;
    double shown; /* monotonic */
    bool waiting; /* for the systems */
    ev_timer wait;
    int wanted;
    uint64_t version;
};

static void changed(void *data)
{
    struct jobs_reading *reading = data;
    reading->version++;
    if (reading->app->changed)
        reading->app->changed(reading->app);
}

/* ---- what was found ---- */

static void found_released(struct jobs_found *found);

static int found_free(struct jobs_found *found)
{
    found_released(found);
    return 0;
}

/* Holds the pool as long as the snapshot lives. */
struct found_with_pool {
    struct jobs_found found;
    const struct pool *pool;
};

static void found_released(struct jobs_found *found)
{
    snapshot_release(((struct found_with_pool *)found)->pool);
}

static void sum_up(const struct jobs_reading *reading, struct jobs_found *found)
{
    found->scanned = reading->scanned;
    found->total = reading->total;
    found->matched = reading->matched;
    found->complete = reading->complete && !reading->read_count;
    for (size_t i = 0; i < reading->read_count; i++) {
        const struct queue_read_progress *progress = &reading->reads[i]->progress;
        found->scanned += progress->scanned;
        found->matched += progress->matched;
        found->total = found->total < 0 || progress->total < 0 ? -1 : found->total + progress->total;
    }
}

static void show(struct jobs_reading *reading)
{
    struct found_with_pool *fresh = SNAPSHOT_NEW(struct found_with_pool);
    fresh->pool = snapshot_hold(reading->pool);
    talloc_set_destructor(&fresh->found, found_free);
    fresh->found.items = talloc_memdup(fresh, reading->items, reading->count * sizeof *reading->items);
    fresh->found.count = reading->count;
    sum_up(reading, &fresh->found);
    snapshot_publish(&reading->found, fresh);
    reading->shown = clock_monotonic();
    changed(reading);
}

static void keep(struct one_read *one, const struct job *job)
{
    struct jobs_reading *reading = one->reading;
    if ((int64_t)reading->count >= reading->target.limit || reading->pool->bytes > KEPT_MAX)
        return;
    if (reading->count == reading->room) {
        reading->room = reading->room ? 2 * reading->room : 64;
        reading->items = talloc_realloc(reading, reading->items, struct jobs_found_item, reading->room);
        if (!reading->items)
            abort();
    }
    struct jobs_found_item *item = &reading->items[reading->count++];
    struct job lean = *job;
    /* Large messages are read again when something is to be done with them. */
    if (lean.raw_length > RAW_MAX) {
        lean.raw = NULL;
        lean.raw_length = 0;
    }
    job_copy_into(reading->pool, &item->job, &lean);
    item->system = one->system;
    reading->pool->bytes += 512 + lean.raw_length;
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        keep(data, &jobs[i]);
}

static void on_progress(void *data, const struct queue_read_progress *progress)
{
    struct one_read *one = data;
    one->progress = *progress;
    if (one->reading->filter && clock_monotonic() - one->reading->shown > SHOW_S)
        show(one->reading);
}

static void all_done(struct jobs_reading *reading)
{
    enum error_kind kind = reading->error.kind;
    bool nothing_came = kind != ERROR_NONE && kind != ERROR_MISSING && reading->count == 0;
    /* What was read before stays, with its age, when the server went away. */
    if (!nothing_came || !reading->found)
        show(reading);
    if (reading->error.kind != ERROR_NONE)
        feed_failed(&reading->feed, &reading->error);
    else
        feed_answered(&reading->feed);
}

static void on_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct one_read *one = data;
    struct jobs_reading *reading = one->reading;
    reading->scanned += progress->scanned;
    reading->matched += progress->matched;
    reading->total = reading->total < 0 || progress->total < 0 ? -1 : reading->total + progress->total;
    reading->complete = reading->complete && progress->complete && !progress->stopped && !error;
    if (error)
        reading->error = *error;
    for (size_t i = 0; i < reading->read_count; i++)
        if (reading->reads[i] == one)
            reading->reads[i--] = reading->reads[--reading->read_count];
    talloc_free(one);
    if (!reading->read_count)
        all_done(reading);
}

/* ---- beginning ---- */

static bool has_queue(struct queue_system *system, const char *name)
{
    const struct queues_snapshot *snapshot = queue_system_queues(system);
    for (size_t i = 0; snapshot && name && i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, name) == 0)
            return true;
    return !name;
}

/* Which systems have such a queue is known when all of them have answered. */
static bool systems_known(struct jobs_reading *reading)
{
    struct queues *queues = reading->app->queues;
    if (reading->target.system)
        return true;
    if (!queues_searched(queues))
        return false;
    for (size_t i = 0; i < queues_count(queues); i++) {
        struct queue_system *system = queues_system(queues, i);
        const struct feed *feed = queue_system_feed(system, PART_QUEUES);
        if (!queue_system_queues(system) && !queue_system_part_absent(system, PART_QUEUES) &&
            feed->error.kind == ERROR_NONE)
            return false;
    }
    return true;
}

static void start_one(struct jobs_reading *reading, struct queue_system *system)
{
    const struct jobs_target *target = &reading->target;
    struct one_read *one = talloc_zero(reading, struct one_read);
    *one = (struct one_read){.reading = reading, .system = system};
    reading->reads = talloc_realloc(reading, reading->reads, struct one_read *, reading->read_count + 1);
    reading->reads[reading->read_count++] = one;
    one->read = queue_read_start(system,
                                 &(struct queue_read_request){.queue = target->queue,
                                                              .states = target->states,
                                                              .from = target->from,
                                                              .limit = reading->filter ? 0 : target->limit,
                                                              .filter = reading->filter,
                                                              .keep_raw = true},
                                 (struct queue_read_handler){on_jobs, on_progress, on_done, one});
}

static bool is_meant(const struct jobs_reading *reading, struct queue_system *system)
{
    if (reading->target.system)
        return reading->target.system == system;
    return has_queue(system, reading->target.queue);
}

static void start(struct jobs_reading *reading)
{
    struct queues *queues = reading->app->queues;
    if (reading->pool)
        snapshot_release(reading->pool);
    reading->pool = SNAPSHOT_NEW(struct pool);
    reading->count = 0;
    reading->scanned = reading->total = reading->matched = 0;
    reading->complete = true;
    error_clear(&reading->error);
    for (size_t i = 0; i < queues_count(queues); i++)
        if (is_meant(reading, queues_system(queues, i)))
            start_one(reading, queues_system(queues, i));
    if (reading->read_count)
        return;
    if (reading->target.queue)
        error_set(&reading->error, ERROR_MISSING, reading->app->environment->name, "no such queue",
                  "signalbox jobs --json has their names.", "no job system has a queue %s",
                  reading->target.queue);
    all_done(reading);
}

static void on_wait(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct jobs_reading *reading = timer->data;
    (void)events;
    if (!systems_known(reading))
        return;
    ev_timer_stop(loop, timer);
    reading->waiting = false;
    start(reading);
}

static void on_ask(struct feed *feed, void *data)
{
    struct jobs_reading *reading = data;
    (void)feed;
    if (systems_known(reading)) {
        start(reading);
        return;
    }
    reading->waiting = true;
    ev_timer_again(loop_ev(reading->app->loop), &reading->wait);
}

/* ---- the reading ---- */

/* What is under way is given up: nothing of it comes back. */
static void give_up(struct jobs_reading *reading)
{
    for (size_t i = 0; i < reading->read_count; i++) {
        queue_read_forsake(reading->reads[i]->read);
        talloc_free(reading->reads[i]);
    }
    reading->read_count = 0;
    reading->waiting = false;
    ev_timer_stop(loop_ev(reading->app->loop), &reading->wait);
}

static int reading_free(struct jobs_reading *reading)
{
    give_up(reading);
    feed_stop(&reading->feed);
    snapshot_release(reading->found);
    snapshot_release(reading->pool);
    return 0;
}

struct jobs_reading *jobs_reading_new(struct app *app)
{
    struct jobs_reading *reading = talloc_zero(jobs_state(app), struct jobs_reading);
    reading->app = app;
    ev_timer_init(&reading->wait, on_wait, WAIT_S, WAIT_S);
    reading->wait.data = reading;
    talloc_set_destructor(reading, reading_free);
    feed_init(&reading->feed, app->loop, "jobs", ONCE_S, 0, on_ask, changed, reading);
    return reading;
}

bool jobs_reading_aim(struct jobs_reading *reading, const struct jobs_target *target, struct error *error)
{
    struct job_filter *filter = NULL;
    if (target->filter && !(filter = job_filter_parse(reading, target->filter, error)))
        return false;
    give_up(reading);
    feed_stop(&reading->feed);
    TALLOC_FREE(reading->filter);
    reading->filter = filter;
    const char *queue = reading->target.queue, *text = reading->target.filter;
    reading->target = *target;
    reading->target.queue = target->queue ? talloc_strdup(reading, target->queue) : NULL;
    reading->target.filter = target->filter ? talloc_strdup(reading, target->filter) : NULL;
    talloc_free((void *)queue);
    talloc_free((void *)text);
    snapshot_release(reading->found);
    reading->found = NULL;
    feed_init(&reading->feed, reading->app->loop, "jobs", filter ? ONCE_S : WINDOW_S, filter ? 0 : DEADLINE_S,
              on_ask, changed, reading);
    for (int i = 0; i < reading->wanted; i++)
        feed_want(&reading->feed, true);
    changed(reading);
    return true;
}

const struct jobs_target *jobs_reading_target(const struct jobs_reading *reading)
{
    return &reading->target;
}

void jobs_reading_want(struct jobs_reading *reading, bool wanted)
{
    reading->wanted += wanted ? 1 : -1;
    feed_want(&reading->feed, wanted);
}

bool jobs_reading_busy(const struct jobs_reading *reading)
{
    return reading->read_count > 0;
}

bool jobs_reading_stop(struct jobs_reading *reading)
{
    if (!reading->read_count)
        return false;
    for (size_t i = 0; i < reading->read_count; i++)
        queue_read_stop(reading->reads[i]->read);
    return true;
}

void jobs_reading_sources(struct jobs_reading *reading, struct source_list *list)
{
    const char *server =
        reading->target.system ? reading->target.system->server : reading->app->environment->name;
    source_list_add(list, (struct source){.server = server,
                                          .feed = &reading->feed,
                                          .connection_error = &jobs_state(reading->app)->none});
}

uint64_t jobs_reading_version(const struct jobs_reading *reading)
{
    return reading->version + 1;
}

const struct jobs_found *jobs_reading_found(const struct jobs_reading *reading)
{
    return reading->found;
}

char *jobs_reading_text(const struct jobs_reading *reading, char *buffer, size_t size)
{
    static const char *const ends[] = {
        [FROM_HEAD] = "those that run next first", [FROM_TAIL] = "the newest first", [FROM_ANY] = "a sample"};
    const struct jobs_found *found = reading->found;
    char matched[32], scanned[32], total[32], percent[32], kept[64] = "", of[80] = "";
    if (!found) {
        snprintf(buffer, size, "reading");
        return buffer;
    }
    if (!reading->filter) {
        snprintf(buffer, size, "%s of %s, %s", format_count(matched, sizeof matched, (double)found->count),
                 found->total < 0 ? "?" : format_count(total, sizeof total, (double)found->total),
                 ends[reading->target.from]);
        return buffer;
    }
    if (found->matched > (int64_t)found->count)
        snprintf(kept, sizeof kept, ", the first %s are shown",
                 format_count(scanned, sizeof scanned, (double)found->count));
    if (found->total > 0)
        snprintf(of, sizeof of, " of %s (%s)", format_count(total, sizeof total, (double)found->total),
                 format_percent(percent, sizeof percent,
                                fmin(100, 100.0 * (double)found->scanned / (double)found->total)));
    snprintf(buffer, size, "%s match \"%s\"%s · scanned %s%s%s",
             format_count(matched, sizeof matched, (double)found->matched), job_filter_text(reading->filter),
             kept, format_count(scanned, sizeof scanned, (double)found->scanned), of,
             reading->read_count ? " · C-c stops"
             : found->complete   ? ""
                                 : " · stopped");
    return buffer;
}
