/*
 * Reading Celery's jobs where they lie (read.h): which places, in which order, how fast, and the end of it.
 * Places are read one after the other: lists of the queues and of dead letters, what workers hold, results,
 * what was parked.
 */
#include "backends/queues/celery_read.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_aside.h"
#include "core/clock.h"

#define DEADLINE_S 15.0
#define JOB_BIT(state) (1u << (state))

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- for the other files ---- */

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct celery_read *read = timer->data;
    (void)loop, (void)events;
    read->next(read);
}

void celery_read_later(struct celery_read *read, double seconds, void (*next)(struct celery_read *read))
{
    struct ev_loop *loop = loop_ev(read->base.system->loop);
    read->next = next;
    ev_timer_stop(loop, &read->timer);
    ev_now_update(loop);
    ev_timer_set(&read->timer, seconds, 0);
    ev_timer_start(loop, &read->timer);
}

static void end(struct celery_read *read)
{
    struct queue_read_progress *progress = &read->progress;
    int64_t rest = celery_read_rest(read);
    progress->total = rest < 0 ? -1 : progress->scanned + rest;
    progress->seconds = clock_monotonic() - read->began;
    progress->stopped = read->stopping;
    progress->complete = !read->stopping && !read->failed && !read->gap;
    read->busy = true;
    read->handler.done(read->handler.data, progress, read->failed ? &read->error : NULL);
    talloc_free(read);
}

void celery_read_finish(struct celery_read *read)
{
    read->over = true;
    celery_read_later(read, 0, end);
}

void celery_read_fail(struct celery_read *read, const struct error *error)
{
    read->failed = true;
    read->error = *error;
    celery_read_finish(read);
}

bool celery_read_enough(const struct celery_read *read)
{
    const struct queue_read_request *request = &read->request;
    return read->stopping || (request->limit > 0 && read->progress.matched >= request->limit) ||
           (request->look > 0 && read->progress.scanned >= request->look &&
            read->message == read->message_count);
}

bool celery_read_wants(const struct celery_read *read, enum job_state state)
{
    return read->request.states == 0 || read->request.states & JOB_BIT(state);
}

void celery_read_ask(struct celery_read *read, const struct redis_command *commands, int count,
                     void (*reply)(void *data, int index, const redisReply *reply, const struct error *error),
                     void (*done)(void *data, const struct error *error))
{
    read->pending++;
    read->asked_at = clock_monotonic();
    redis_server_ask(read->system->redis, read->system->database, commands, count, DEADLINE_S,
                     (struct redis_handler){.reply = reply, .done = done, .data = read});
}

bool celery_read_answered(struct celery_read *read, const struct error *error)
{
    read->pending--;
    if (read->forsaken) {
        if (read->pending == 0)
            talloc_free(read);
        return false;
    }
    if (error)
        celery_read_fail(read, error);
    return !error;
}

int celery_read_window(const struct celery_read *read)
{
    const struct queue_read_request *request = &read->request;
    int64_t count = READ_FIRST, scanned = read->progress.scanned;
    if (scanned >= READ_FIRST || (scanned > 0 && read->progress.bytes / scanned > READ_BYTES / READ_FIRST)) {
        count = READ_BYTES / (read->progress.bytes / scanned + 1);
        count = count > READ_MOST ? READ_MOST : count < 1 ? 1 : count;
    }
    if (request->look > 0 && request->look - scanned < count)
        count = request->look - scanned;
    bool all = !request->filter || job_filter_is_all(request->filter);
    if (all && request->limit > 0 && request->limit - read->progress.matched < count)
        count = request->limit - read->progress.matched;
    return count < 1 ? 1 : (int)count;
}

int64_t celery_read_rest(const struct celery_read *read)
{
    int64_t rest = 0;
    if (read->slots) {
        for (size_t i = 0; i < read->list_count; i++)
            rest += read->lists[i].size;
        return rest > read->progress.scanned ? rest - read->progress.scanned : 0;
    }
    for (size_t i = read->list; i < read->list_count; i++)
        rest += read->lists[i].size > 0 ? read->lists[i].size : 0;
    rest -= read->list < read->list_count && read->at < rest ? read->at : 0;
    rest += read->held_size > read->held_seen ? read->held_size - read->held_seen : 0;
    return rest;
}

/* ---- places ---- */

static void add_list(struct celery_read *read, char *key, const char *queue, enum job_state state)
{
    read->lists = there(talloc_realloc(read, read->lists, struct read_list, read->list_count + 1));
    read->lists[read->list_count++] = (struct read_list){
        .key = talloc_steal(read, key), .queue = talloc_strdup(read, queue), .state = state};
}

/* The lists of a queue's priorities; the tail has the lowest first. */
static void add_queue(struct celery_read *read, const char *queue)
{
    bool tail = read->request.from == FROM_TAIL;
    for (int i = 0; celery_read_wants(read, JOB_READY) && i < CELERY_STEPS; i++)
        add_list(read, celery_queue_key(read, read->system, queue, tail ? CELERY_STEPS - 1 - i : i, NULL),
                 queue, JOB_READY);
    if (celery_read_wants(read, JOB_DEAD)) {
        char *name = there(talloc_asprintf(read, "dlq:%s", queue));
        add_list(read, celery_key(read, read->system, name), queue, JOB_DEAD);
        talloc_free(name);
    }
}

static void on_groups(void *data, char *const *groups, size_t count, const struct error *error)
{
    struct celery_read *read = data;
    read->listing = NULL;
    if (read->stopping) {
        celery_read_finish(read);
        return;
    }
    if (error) {
        celery_read_fail(read, error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        enum celery_aside kind;
        const char *stamp;
        char *queue;
        if (!celery_aside_parse(read, groups[i], &kind, &queue, &stamp) ||
            (read->request.queue && strcmp(queue, read->request.queue) != 0))
            continue;
        enum job_state state = kind == ASIDE_TRASH ? JOB_TRASHED : JOB_PARKED;
        for (int step = 0; celery_read_wants(read, state) && step < CELERY_STEPS; step++)
            add_list(read, celery_aside_list(read, read->system, groups[i], step), queue, state);
    }
    read->phase = READ_ASIDE;
    celery_read_later(read, 0, celery_walk_sizes);
}

static void ask_aside(struct celery_read *read)
{
    read->listing = celery_aside_list_groups(read, read->system, on_groups, read);
}

void celery_read_next_place(struct celery_read *read)
{
    bool any = read->request.from == FROM_ANY && read->request.states == 0;
    read->phase++;
    if (read->phase == READ_HELD) {
        if (read->held_size > 0) {
            celery_held_step(read);
            return;
        }
        read->phase++;
    }
    if (read->phase == READ_RESULT) {
        const char *id = read->request.filter ? job_filter_id(read->request.filter) : NULL;
        if (id && !read->request.queue) {
            celery_result_step(read);
            return;
        }
        read->phase++;
    }
    if (read->phase == READ_GROUPS) {
        /* Finding them is a SCAN of all keys: last, and not for a sample. */
        if (!any && (celery_read_wants(read, JOB_PARKED) || celery_read_wants(read, JOB_TRASHED))) {
            ask_aside(read);
            return;
        }
        read->phase++;
    }
    celery_read_finish(read);
}

/* ---- begin and end ---- */

static void on_held_size(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    (void)index;
    if (read->forsaken)
        return;
    read->held_size = !error && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    read->gap = read->gap || error;
}

static void on_held_asked(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (celery_read_answered(read, error))
        celery_walk_sizes(read);
}

static void begin(struct celery_read *read)
{
    const struct celery_system *system = read->system;
    if (read->stopping) {
        celery_read_finish(read);
        return;
    }
    if (read->request.queue)
        add_queue(read, read->request.queue);
    for (size_t i = 0; !read->request.queue && i < system->queue_count; i++)
        add_queue(read, system->queues[i]);
    bool held = celery_read_wants(read, JOB_UNACKED) || celery_read_wants(read, JOB_SCHEDULED) ||
                celery_read_wants(read, JOB_RETRYING);
    if (!held) {
        celery_walk_sizes(read);
        return;
    }
    char *key = celery_key(read, system, system->names.unacked);
    const struct redis_command command = REDIS_COMMAND("HLEN", key);
    celery_read_ask(read, &command, 1, on_held_size, on_held_asked);
    talloc_free(key);
}

struct queue_read *celery_read(struct queue_system *system, const struct queue_read_request *request,
                               struct queue_read_handler handler)
{
    struct celery_read *read = there(talloc_zero(NULL, struct celery_read));
    read->base.system = system;
    read->system = (struct celery_system *)system;
    read->request = *request;
    if (request->queue)
        read->request.queue = there(talloc_strdup(read, request->queue));
    read->handler = handler;
    read->skip = request->offset > 0 ? request->offset : 0;
    read->seen = seen_lately_new(read);
    read->ids = seen_lately_new(read);
    read->began = clock_monotonic();
    read->progress.total = -1;
    ev_init(&read->timer, on_timer);
    read->timer.data = read;
    celery_read_later(read, 0, begin);
    return &read->base;
}

void celery_read_stop(struct queue_read *read)
{
    struct celery_read *own = (struct celery_read *)read;
    if (own->over)
        return;
    own->stopping = true;
    /* What waits for its turn ends at once; an answer that is awaited ends it when it comes. */
    if (ev_is_active(&own->timer) || own->listing) {
        TALLOC_FREE(own->listing);
        celery_read_finish(own);
    }
}

void celery_read_forsake(struct queue_read *read)
{
    struct celery_read *own = (struct celery_read *)read;
    ev_timer_stop(loop_ev(own->base.system->loop), &own->timer);
    own->forsaken = true;
    TALLOC_FREE(own->listing);
    if (!own->busy && own->pending == 0)
        talloc_free(own);
}
