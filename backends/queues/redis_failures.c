/* Records of failures, the newest first, grouped by what they have in common; and shares of tenants. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/queues/redis_system.h"
#include "backends/queues/tally.h"
#include "core/clock.h"

enum { FAILURES_LOOK = 5000, GROUPS_MOST = 500, SHARES_LOOK = 200, SHARES_NAMES = 64 };
#define SHARES_EVERY_S 30.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- failures ---- */

struct failure_group {
    struct failure failure;
    UT_hash_handle hh;
};

struct failures_read {
    struct redis_system *system;
    struct failures_snapshot *snapshot;
    struct failure_group *groups; /* a hash, by id */
    const char *(*why_not)(const struct job *job);
    double now;
};

static int failures_destroy(struct failures_read *read)
{
    HASH_CLEAR(hh, read->groups);
    snapshot_release(read->snapshot);
    return 0;
}

static const char *keep(const void *context, const char *text)
{
    return text ? or_die(talloc_strdup(context, text)) : NULL;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static struct failure_group *group_of(struct failures_read *read, const struct job *job)
{
    struct failure_group *group = NULL;
    const void *context = read->snapshot;
    char *id = or_die(talloc_asprintf(context, "%s|%s|%s|%s|%s|%s", or_empty(job->queue), or_empty(job->task),
                                      or_empty(job->exception), or_empty(job->frame), or_empty(job->tenant),
                                      job_state_name(job->state)));
    HASH_FIND_STR(read->groups, id, group);
    if (group || HASH_COUNT(read->groups) >= GROUPS_MOST) {
        talloc_free(id);
        return group;
    }
    group = or_die(talloc_zero(read, struct failure_group));
    group->failure = (struct failure){.id = id,
                                      .task = keep(context, job->task),
                                      .exception = keep(context, job->exception),
                                      .frame = keep(context, job->frame),
                                      .tenant = keep(context, job->tenant),
                                      .queue = keep(context, job->queue),
                                      .kept = job->state};
    HASH_ADD_KEYPTR(hh, read->groups, id, strlen(id), group);
    return group;
}

static void count_failure(struct failures_read *read, const struct job *job)
{
    /* Held by a consumer for the first time: that is no failure yet. */
    if (job->state == JOB_UNACKED && !(job->flags & JOB_REDELIVERED))
        return;
    struct failure_group *group = group_of(read, job);
    if (!group)
        return;
    struct failure *failure = &group->failure;
    double at = job->finished_at;
    failure->count++;
    if (at > 0 && (failure->first <= 0 || at < failure->first))
        failure->first = at;
    if (!failure->example || at > failure->last) {
        failure->last = at;
        failure->message = keep(read->snapshot, job->message);
        failure->example = keep(read->snapshot, job->id);
    }
    double minutes = (read->now - at) / 60;
    if (at > 0 && minutes >= 0 && minutes < QUEUE_HISTORY)
        failure->history[QUEUE_HISTORY - 1 - (int)minutes]++;
    const char *why = read->why_not ? read->why_not(job) : NULL;
    if (why)
        failure->why_not = why;
    else
        failure->retriable++;
}

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        count_failure(data, &jobs[i]);
}

static int most_first(const void *a, const void *b)
{
    const struct failure *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->last < y->last ? 1 : x->last > y->last ? -1 : strcmp(x->id, y->id);
}

static void on_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct failures_read *read = data;
    struct redis_system *system = read->system;
    struct failures_snapshot *snapshot = read->snapshot;
    system->reading = NULL;
    if (error) {
        queue_system_failed(&system->base, PART_FAILURES, error);
        talloc_free(read);
        return;
    }
    size_t count = HASH_COUNT(read->groups);
    snapshot->failures = or_die(talloc_zero_array(snapshot, struct failure, count + 1));
    for (const struct failure_group *group = read->groups; group; group = group->hh.next)
        snapshot->failures[snapshot->count++] = group->failure;
    qsort(snapshot->failures, snapshot->count, sizeof *snapshot->failures, most_first);
    snapshot->scanned = progress->scanned;
    snapshot->total = progress->total;
    snapshot->retry_share = NAN;
    snapshot->results_without_expiry = -1;
    if (snapshot->scanned < snapshot->total)
        snapshot->note = or_die(talloc_asprintf(snapshot, "of the newest %lld of %lld records",
                                                (long long)snapshot->scanned, (long long)snapshot->total));
    read->snapshot = NULL;
    queue_system_publish(&system->base, PART_FAILURES, snapshot);
    talloc_free(read);
}

void redis_failures_ask(struct redis_system *system, const struct redis_reading *reading, unsigned states,
                        const char *(*why_not)(const struct job *job))
{
    struct failures_read *read = or_die(talloc_zero(system, struct failures_read));
    talloc_set_destructor(read, failures_destroy);
    read->system = system;
    read->snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    read->why_not = why_not;
    read->now = clock_wall();
    system->reading = redis_read_start(
        &system->base, reading,
        &(struct queue_read_request){.states = states, .from = FROM_TAIL, .look = FAILURES_LOOK},
        (struct queue_read_handler){.jobs = on_jobs, .done = on_done, .data = read});
}

/* ---- shares ---- */

struct queue_shares {
    char *queue;
    double at;   /* monotonic */
    void *names; /* what the shares point to */
    struct queue_share shares[QUEUE_SHARES];
    int count;
    int64_t others, sample;
    double retry_share;
    UT_hash_handle hh;
};

struct redis_shares {
    struct redis_system *system;
    const struct redis_reading *reading;
    struct queue_shares *queues; /* a hash, by name */
    size_t next;                 /* the queue that is looked at next */
    struct queue_read *read;
    char *queue;
    struct tally *tally;
    int64_t looked, retries;
};

static int shares_destroy(struct redis_shares *shares)
{
    if (shares->read)
        redis_read_forsake(shares->read);
    HASH_CLEAR(hh, shares->queues);
    return 0;
}

static void sample_next(struct redis_shares *shares);

static void on_sampled(void *data, const struct job *jobs, size_t count)
{
    struct redis_shares *shares = data;
    for (size_t i = 0; i < count; i++) {
        const char *tenant = jobs[i].tenant;
        tally_add(shares->tally, tenant, tenant ? strlen(tenant) : 0, 1);
        shares->retries += jobs[i].retries > 0;
        shares->looked++;
    }
}

static void on_sample(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct redis_shares *shares = data;
    struct queue_shares *own = NULL;
    struct tally_line lines[QUEUE_SHARES];
    size_t others = 0;
    shares->read = NULL;
    HASH_FIND_STR(shares->queues, shares->queue, own);
    if (!own) {
        own = or_die(talloc_zero(shares, struct queue_shares));
        own->queue = or_die(talloc_strdup(own, shares->queue));
        HASH_ADD_KEYPTR(hh, shares->queues, own->queue, strlen(own->queue), own);
    }
    own->at = clock_monotonic();
    own->sample = error ? 0 : shares->looked;
    own->retry_share = own->sample ? (double)shares->retries / (double)own->sample : NAN;
    if (!error && progress->total > progress->scanned)
        tally_set_sample(shares->tally, progress->total, (size_t)((progress->scanned + 49) / 50));
    size_t count = tally_top(shares->tally, lines, QUEUE_SHARES, &others);
    own->count = (int)count;
    own->others = (int64_t)others;
    talloc_free(own->names);
    own->names = or_die(talloc_new(own));
    for (size_t i = 0; i < count; i++)
        own->shares[i] = (struct queue_share){
            .name = keep(own->names, lines[i].name), .share = lines[i].share, .error = lines[i].error};
    TALLOC_FREE(shares->tally);
    sample_next(shares);
}

/* Is it time to look at this queue again? */
static bool is_stale(const struct redis_shares *shares, const char *queue)
{
    struct queue_shares *own = NULL;
    HASH_FIND_STR(shares->queues, queue, own);
    return !own || clock_monotonic() - own->at >= SHARES_EVERY_S;
}

static void sample_next(struct redis_shares *shares)
{
    struct redis_system *system = shares->system;
    while (shares->next < system->queue_count && !is_stale(shares, system->queues[shares->next]))
        shares->next++;
    if (shares->next >= system->queue_count || system->base.closed)
        return;
    talloc_free(shares->queue);
    shares->queue = or_die(talloc_strdup(shares, system->queues[shares->next++]));
    shares->tally = tally_new(shares, SHARES_NAMES);
    shares->looked = shares->retries = 0;
    shares->read = redis_read_start(
        &system->base, shares->reading,
        &(struct queue_read_request){
            .queue = shares->queue, .states = 1u << JOB_READY, .from = FROM_ANY, .look = SHARES_LOOK},
        (struct queue_read_handler){.jobs = on_sampled, .done = on_sample, .data = shares});
}

void redis_shares_sample(struct redis_system *system, const struct redis_reading *reading)
{
    if (!system->shares) {
        system->shares = or_die(talloc_zero(system, struct redis_shares));
        talloc_set_destructor(system->shares, shares_destroy);
        system->shares->system = system;
        system->shares->reading = reading;
    }
    if (system->shares->read)
        return;
    system->shares->next = 0;
    sample_next(system->shares);
}

void redis_shares_fill(const struct redis_system *system, const void *context, struct queue *queue)
{
    struct queue_shares *own = NULL;
    if (system->shares)
        HASH_FIND_STR(system->shares->queues, queue->name, own);
    if (!own || !own->sample)
        return;
    for (int i = 0; i < own->count; i++) {
        queue->shares[i] = own->shares[i];
        queue->shares[i].name = keep(context, own->shares[i].name);
    }
    queue->share_count = own->count;
    queue->share_others = own->others;
    queue->share_sample = own->sample;
    queue->retry_share = own->retry_share;
}
