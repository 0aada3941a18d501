/* Messages of a window become jobs: those that may match are copied, then parsed in slices of a few
 * milliseconds, so that neither Redis nor the screen waits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/celery_failure_groups.h"
#include "backends/queues/celery_read.h"
#include "core/clock.h"

#define SLICE_S 0.003

enum { BATCH = 64, POOL = 128 * 1024, BUFFER_KEPT = 2 * 1000 * 1000 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

void celery_take(struct celery_read *read, const char *raw, size_t length, struct read_message about)
{
    const struct job_filter *filter = read->request.filter;
    read->progress.scanned++;
    read->progress.bytes += (int64_t)length;
    if (filter && !job_filter_may_match(filter, raw, length))
        return;
    if (read->used + length > read->room) {
        read->room = read->used + length + read->room / 2;
        read->buffer = there(talloc_realloc(read, read->buffer, char, read->room));
    }
    if (read->message_count == read->message_room) {
        read->message_room = read->message_room * 2 + 64;
        read->messages = there(talloc_realloc(read, read->messages, struct read_message, read->message_room));
    }
    about.at = read->used;
    about.length = length;
    memcpy(read->buffer + read->used, raw, length);
    read->used += length;
    read->messages[read->message_count++] = about;
}

static void judge_more(struct celery_read *read, struct job *job)
{
    if (job->task && !celery_task_known(read->system, job->task)) {
        job->flags |= JOB_UNKNOWN_TASK;
        if (job->poison < POISON_C) {
            job->poison = POISON_C;
            job->why = "no worker that answered knows the task; it fails with NotRegistered";
        }
    }
    if (!job->id)
        return;
    /* A retry has the id of the try before. */
    uint64_t hash = seen_hash(job->id, strlen(job->id)) + (uint64_t)job->retries;
    if (seen_lately_has(read->ids, hash))
        job->flags |= JOB_TWICE;
    seen_lately_add(read->ids, hash);
}

/* What a dead letter tells of how it died. */
static void add_letter(struct celery_read *read, const void *context, const char *raw, size_t length,
                       struct job *job)
{
    struct celery_failed failed = {0};
    if (!celery_failed_letter(context, read->system, job->queue, raw, length, &failed))
        return;
    job->exception = failed.exception;
    job->message = failed.message;
    job->frame = failed.frame;
    job->finished_at = failed.at;
}

/* False: it is not one of those that are wanted. */
static bool make_job(struct celery_read *read, const void *context, const struct read_message *message,
                     struct job *job)
{
    const struct read_list *list = message->tag ? NULL : &read->lists[read->list];
    const struct job_filter *filter = read->request.filter;
    const struct celery_tenancy *tenancy = &read->system->tenancy;
    const char *raw = read->buffer + message->at, *queue = list ? list->queue : message->queue;
    struct celery_envelope envelope;
    size_t length;
    celery_envelope_scan(&envelope, raw, message->length, tenancy->header);
    const char *tenant = filter ? job_filter_tenant(filter) : NULL;
    if (tenant) { /* most others end here, before anything is copied */
        const char *its = celery_tenant_quick(context, &envelope, queue, tenancy, &length);
        if (!its || length != strlen(tenant) || memcmp(its, tenant, length) != 0)
            return false;
    }
    *job = (struct job){.index = message->index};
    if (list) {
        job->state = list->state;
        job->key = list->key;
        job->key_length = strlen(list->key);
    }
    job->raw = read->request.keep_raw ? raw : NULL;
    job->raw_length = read->request.keep_raw ? message->length : 0;
    celery_job_fill(context, job, &envelope, queue, tenancy);
    if (message->tag) {
        job->tag = message->tag;
        job->key = celery_key(context, read->system, read->system->names.unacked);
        job->key_length = strlen(job->key);
        job->taken_at = message->taken_at;
        celery_held_holder(read, job);
        job->state = !(job->eta > clock_wall()) ? JOB_UNACKED
                     : job->retries > 0         ? JOB_RETRYING
                                                : JOB_SCHEDULED;
    }
    if (!celery_read_wants(read, job->state))
        return false;
    if (job->state == JOB_DEAD)
        add_letter(read, context, raw, message->length, job);
    if (job->enqueued_at <= 0 && job->id)
        job->enqueued_at = celery_watch_sent_at(read->system, job->id);
    celery_ids_learn(read->system, job);
    judge_more(read, job);
    if (!filter)
        return true;
    struct error error;
    char *body = NULL;
    length = 0;
    if (job_filter_needs_body(filter))
        body = celery_body_decode(context, &envelope, &length, &error);
    return job_filter_matches(filter, job, body, length, clock_wall());
}

/* Hands over; false: the owner is gone, and the read with it. */
static bool hand_over(struct celery_read *read, const struct job *jobs, size_t count)
{
    read->progress.matched += (int64_t)count;
    if (count > 0 && read->handler.jobs) {
        read->busy = true;
        read->handler.jobs(read->handler.data, jobs, count);
        read->busy = false;
    }
    return !read->forsaken;
}

static bool tell(struct celery_read *read)
{
    int64_t rest = celery_read_rest(read);
    read->progress.total = rest < 0 ? -1 : read->progress.scanned + rest;
    read->progress.seconds = clock_monotonic() - read->began;
    if (read->handler.progress) {
        read->busy = true;
        read->handler.progress(read->handler.data, &read->progress);
        read->busy = false;
    }
    return !read->forsaken;
}

static void window_done(struct celery_read *read)
{
    read->message = read->message_count = 0;
    read->used = 0;
    TALLOC_FREE(read->texts);
    if (read->room > BUFFER_KEPT) {
        TALLOC_FREE(read->buffer);
        read->room = 0;
    }
    if (!tell(read)) {
        talloc_free(read);
        return;
    }
    if (celery_read_enough(read)) {
        celery_read_finish(read);
        return;
    }
    double pace = read->request.unpaced ? 0 : redis_server_pace(read->system->redis);
    /* Of a window's time the server spends a part before its answer is here; that is no pause, but the rest
     * of the round trip is. Parsing needs nothing of the server. */
    double next = fmax(read->asked_at + pace * 1.2, read->window_at + pace * 0.7);
    double left = read->request.unpaced ? 0 : next - clock_monotonic();
    celery_read_later(read, left > 0 ? left : 0, read->then);
}

static void slice(struct celery_read *read)
{
    struct job jobs[BATCH];
    void *context = there(talloc_pool(NULL, POOL));
    double end = clock_monotonic() + SLICE_S;
    bool alive = true;
    while (alive && read->message < read->message_count && !celery_read_enough(read)) {
        size_t count = 0, most = BATCH;
        int64_t limit = read->request.limit;
        if (limit > 0 && limit - read->progress.matched < BATCH)
            most = (size_t)(limit - read->progress.matched);
        while (count < most && read->message < read->message_count && clock_monotonic() < end)
            count += make_job(read, context, &read->messages[read->message++], &jobs[count]);
        alive = hand_over(read, jobs, count);
        talloc_free_children(context);
        if (clock_monotonic() >= end)
            break;
    }
    talloc_free(context);
    if (!alive)
        talloc_free(read);
    else if (read->message < read->message_count && !celery_read_enough(read))
        celery_read_later(read, 0, slice);
    else
        window_done(read);
}

void celery_take_window(struct celery_read *read, void (*then)(struct celery_read *read))
{
    read->then = then;
    slice(read);
}
