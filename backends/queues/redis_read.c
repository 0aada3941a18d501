/* One reading of jobs on Redis: window after window, details, filter, handing over, pace and end. */
#include "backends/queues/redis_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/redis_read_internal.h"
#include "core/clock.h"

struct redis_read {
    struct queue_read base;
    const struct redis_reading *reading;
    struct queue_read_request request;
    struct queue_read_handler handler;
    struct redis_shelf *shelves;
    int64_t *sizes;
    size_t shelf_count, shelf;
    int64_t at, skip;
    char *cursor; /* of a stream: the last id that was read */
    struct slot *slots;
    size_t slot_count, slot;
    struct window window;
    struct redis_item *items; /* of the window, those that are looked at closer */
    size_t item_count;
    void *scratch; /* of the window */
    struct redis_batch *batch;
    struct seen *seen;
    struct queue_read_progress progress;
    double began;
    struct error error;
    bool failed, sized, stopping, stepped_back, gap, busy, forsaken, over;
    ev_timer timer;
};

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

void redis_job_clear(struct job *job)
{
    *job = (struct job){.priority = -1, .retries_max = -1, .index = -1};
}

static int read_destroy(struct redis_read *read)
{
    ev_timer_stop(loop_ev(read->base.system->loop), &read->timer);
    return 0;
}

static void later(struct redis_read *read, double seconds)
{
    ev_timer_set(&read->timer, seconds, 0);
    ev_timer_start(loop_ev(read->base.system->loop), &read->timer);
}

static void finish(struct redis_read *read)
{
    read->over = true;
    later(read, 0);
}

static void fail(struct redis_read *read, const struct error *error)
{
    read->failed = true;
    read->error = *error;
    finish(read);
}

/* Calls into the owner, who may forsake the read meanwhile. False: it is gone. */
static bool tell_progress(struct redis_read *read)
{
    read->progress.seconds = clock_monotonic() - read->began;
    if (read->handler.progress && !read->forsaken) {
        read->busy = true;
        read->handler.progress(read->handler.data, &read->progress);
        read->busy = false;
    }
    if (read->forsaken)
        talloc_free(read);
    return !read->forsaken;
}

static void end(struct redis_read *read)
{
    struct queue_read_handler handler = read->handler;
    read->progress.seconds = clock_monotonic() - read->began;
    read->progress.stopped = read->stopping;
    read->progress.complete = !read->stopping && !read->failed && !read->gap;
    read->busy = true;
    handler.done(handler.data, &read->progress, read->failed ? &read->error : NULL);
    talloc_free(read);
}

/* ---- the next window ---- */

static bool is_stream(const struct redis_shelf *shelf)
{
    return shelf->kind == SHELF_STREAM || shelf->kind == SHELF_PENDING;
}

static int window_size(const struct redis_read *read, const struct redis_shelf *shelf)
{
    const struct queue_read_progress *progress = &read->progress;
    int64_t count = WINDOW_FIRST;
    bool details = read->reading->ask_detail || shelf->kind == SHELF_PENDING;
    if (progress->scanned) {
        int64_t each = progress->bytes / progress->scanned + 1;
        count = WINDOW_BYTES / each;
        count = count > WINDOW_MOST ? WINDOW_MOST : count < 1 ? 1 : count;
    }
    count = details && count > WINDOW_DETAILS ? WINDOW_DETAILS : count;
    if (read->request.look && read->request.look - progress->scanned < count)
        count = read->request.look - progress->scanned;
    bool all = !read->request.filter || job_filter_is_all(read->request.filter);
    if (all && read->request.limit && read->request.limit - progress->matched < count)
        count = read->request.limit - progress->matched;
    return count < 1 ? 1 : (int)count;
}

/* Puts the next window in place. False: there is none. */
static bool next_slot(struct redis_read *read)
{
    if (read->slot >= read->slot_count)
        return false;
    const struct slot *slot = &read->slots[read->slot++];
    const struct redis_shelf *shelf = &read->shelves[slot->shelf];
    read->window = (struct window){.shelf = shelf, .at = slot->at, .count = WINDOW_SAMPLE};
    if (shelf->kind == SHELF_STREAM) {
        read->window.start = slot_stream_id(read->scratch, shelf, slot->share);
        read->window.inclusive = true;
    }
    return true;
}

static bool next_window(struct redis_read *read)
{
    if (read->slots)
        return next_slot(read);
    while (read->shelf < read->shelf_count) {
        const struct redis_shelf *shelf = &read->shelves[read->shelf];
        int64_t size = read->sizes[read->shelf];
        /* From the tail, what was pushed meanwhile moves the end away. */
        bool tail = read->request.from == FROM_TAIL;
        bool passed = !is_stream(shelf) && read->at >= (tail ? INT64_MAX : size);
        if (!passed && read->skip && size >= 0 && !is_stream(shelf)) {
            int64_t over = read->skip < size - read->at ? read->skip : size - read->at;
            read->at += over;
            read->skip -= over;
            passed = read->skip > 0 || (!tail && read->at >= size);
        }
        if (!passed && (size != 0 || is_stream(shelf)))
            break;
        read->shelf++;
        read->at = 0;
        TALLOC_FREE(read->cursor);
    }
    if (read->shelf >= read->shelf_count)
        return false;
    const struct redis_shelf *shelf = &read->shelves[read->shelf];
    read->window = (struct window){.shelf = shelf,
                                   .from_tail = read->request.from == FROM_TAIL,
                                   .at = read->at,
                                   .start = read->cursor,
                                   .count = window_size(read, shelf)};
    struct window *window = &read->window;
    if (!is_stream(shelf) && !window->from_tail && read->progress.scanned && read->at) {
        window->overlap = read->at < OVERLAP ? read->at : OVERLAP;
        window->at -= window->overlap;
        window->count += (int)window->overlap;
        window->count = window->count > WINDOW_MOST ? WINDOW_MOST : window->count;
    }
    return true;
}

static bool is_enough(const struct redis_read *read)
{
    const struct queue_read_request *request = &read->request;
    return read->stopping || (request->limit && read->progress.matched >= request->limit) ||
           (request->look && read->progress.scanned >= request->look);
}

static void on_window(void *data, struct redis_batch *batch, const struct error *error);

static void step(struct redis_read *read)
{
    talloc_free(read->scratch);
    read->scratch = or_die(talloc_named_const(read, 0, "window"));
    read->items = NULL;
    read->item_count = 0;
    if (is_enough(read) || !next_window(read)) {
        finish(read);
        return;
    }
    read->batch = redis_batch_new(read->scratch);
    window_ask(&read->window, read->batch);
    redis_batch_ask(read->batch, read->base.system->at.redis, read->base.system->at.database, on_window,
                    read);
}

/* ---- what a window holds ---- */

void redis_item_ask(struct queue_system *system, const struct redis_reading *reading,
                    struct redis_batch *batch, struct redis_item *item)
{
    item->command = redis_batch_count(batch);
    if (item->shelf->kind == SHELF_PENDING)
        redis_batch_add(batch, "XRANGE", item->shelf->key, item->bytes, item->bytes, "COUNT", "1", NULL);
    else if (reading->ask_detail)
        reading->ask_detail(system, batch, item);
    item->commands = redis_batch_count(batch) - item->command;
}

void redis_item_take(struct redis_item *item, const struct redis_batch *batch)
{
    const struct redis_answer *answer = redis_batch_answer(batch, item->command);
    if (item->shelf->kind == SHELF_PENDING)
        answer = redis_answer_item(redis_answer_item(answer, 0), 1);
    item->detail = answer->kind == ANSWER_ARRAY && answer->count ? answer : NULL;
    item->more = item->commands > 1 ? redis_batch_answer(batch, item->command + 1) : NULL;
}

static size_t answer_bytes(const struct redis_answer *answer)
{
    size_t bytes = answer->length;
    for (size_t i = 0; i < answer->count; i++)
        bytes += answer_bytes(&answer->items[i]);
    return bytes;
}

static bool make_job(struct redis_read *read, const struct redis_item *item, struct job *job)
{
    const struct queue_read_request *request = &read->request;
    const char *body = NULL;
    size_t body_length = 0;
    redis_job_clear(job);
    job->state = item->shelf->state;
    job->queue = item->shelf->queue;
    job->key = item->shelf->key;
    job->key_length = strlen(item->shelf->key);
    job->index = item->shelf->kind == SHELF_LIST ? item->index : -1;
    if (request->keep_raw) {
        job->raw = item->bytes;
        job->raw_length = item->length;
    }
    if (!read->reading->fill(read->base.system, read->scratch, item, job, &body, &body_length))
        return false;
    /* Without a rule where the tenant stands, that none was found says nothing. */
    const struct environment_jobs *rules = read->base.system->at.settings;
    job->tenant_known =
        job->tenant ||
        (rules && (rules->tenant_keyword || rules->tenant_argument >= 0 || rules->tenant_queue));
    /* A sorted set may hold jobs of two states (due, and due again). */
    if (request->states && !(request->states & 1u << job->state))
        return false;
    return !request->filter || job_filter_matches(request->filter, job, body, body_length, clock_wall());
}

/* Hands over what matches, and goes on. */
static void hand_over(struct redis_read *read)
{
    int64_t limit = read->request.limit;
    struct job *jobs = or_die(talloc_array(read->scratch, struct job, read->item_count + 1));
    size_t count = 0;
    for (size_t i = 0; i < read->item_count; i++) {
        if (limit && read->progress.matched + (int64_t)count >= limit)
            break;
        if (make_job(read, &read->items[i], &jobs[count]))
            count++;
    }
    read->progress.matched += (int64_t)count;
    if (count && read->handler.jobs) {
        read->busy = true;
        read->handler.jobs(read->handler.data, jobs, count);
        read->busy = false;
    }
    if (!tell_progress(read))
        return;
    bool last = is_enough(read);
    later(read, read->request.unpaced || last ? 0 : redis_server_pace(read->base.system->at.redis));
}

static void on_details(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_read *read = data;
    if (error || redis_batch_refusal(batch)) {
        fail(read, error ? error : redis_batch_refusal(batch));
        return;
    }
    for (size_t i = 0; i < read->item_count; i++) {
        struct redis_item *item = &read->items[i];
        redis_item_take(item, batch);
        read->progress.bytes += (int64_t)(item->detail ? answer_bytes(item->detail) : 0);
        read->progress.bytes += (int64_t)(item->more ? answer_bytes(item->more) : 0);
    }
    hand_over(read);
}

static void ask_details(struct redis_read *read)
{
    struct redis_batch *batch = redis_batch_new(read->scratch);
    for (size_t i = 0; i < read->item_count; i++)
        redis_item_ask(read->base.system, read->reading, batch, &read->items[i]);
    redis_batch_ask(batch, read->base.system->at.redis, read->base.system->at.database, on_details, read);
}

/* Jobs were taken from the head faster than windows overlap: a step back, once. */
static bool step_back(struct redis_read *read, size_t known)
{
    if (!read->window.overlap || known) {
        read->stepped_back = false;
        return false;
    }
    if (read->stepped_back) {
        read->gap = true;
        return false;
    }
    read->stepped_back = true;
    read->at -= read->at < WINDOW_MOST / 2 ? read->at : WINDOW_MOST / 2;
    return true;
}

/* Where the next window begins. */
static void advance(struct redis_read *read, size_t answered)
{
    const struct window *window = &read->window;
    if (read->slots)
        return;
    if (!is_stream(window->shelf)) {
        read->at = window->at + (int64_t)answered;
        if ((int)answered < window->count) /* its end, wherever that is now */
            read->at = INT64_MAX;
        return;
    }
    if ((int)answered < window->count) {
        read->shelf++;
        TALLOC_FREE(read->cursor);
    }
}

static void on_window(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_read *read = data;
    if (error || redis_batch_refusal(batch)) {
        fail(read, error ? error : redis_batch_refusal(batch));
        return;
    }
    size_t count, kept = 0, known = 0;
    struct redis_item *items =
        window_items(read->scratch, &read->window, redis_batch_answer(batch, 0), &count);
    bool messages = !read->reading->ask_detail && !is_stream(read->window.shelf);
    const struct job_filter *filter = read->request.filter;
    if (is_stream(read->window.shelf) && count && !read->slots) {
        talloc_free(read->cursor);
        read->cursor = or_die(talloc_strdup(read, items[count - 1].bytes));
    }
    for (size_t i = 0; i < count; i++) {
        if (seen_before(read->seen, items[i].bytes, items[i].length)) {
            known++;
            continue;
        }
        if (is_stream(read->window.shelf) && read->skip > 0) {
            read->skip--;
            continue;
        }
        read->progress.scanned++;
        read->progress.bytes += (int64_t)items[i].length;
        if (items[i].detail)
            read->progress.bytes += (int64_t)answer_bytes(items[i].detail);
        if (messages && filter && !job_filter_may_match(filter, items[i].bytes, items[i].length))
            continue;
        items[kept++] = items[i];
    }
    if (!read->window.overlap)
        read->progress.repeated += (int64_t)known;
    bool back = count && step_back(read, known);
    if (!back)
        advance(read, count);
    read->items = items;
    read->item_count = kept;
    bool details = read->reading->ask_detail || read->window.shelf->kind == SHELF_PENDING;
    if (details && kept)
        ask_details(read);
    else
        hand_over(read);
}

/* ---- begin and end ---- */

static void begin_windows(struct redis_read *read)
{
    int64_t look = read->request.look ? read->request.look : SAMPLE_LOOK;
    int64_t total = read->progress.total;
    if (read->request.from == FROM_ANY && total > look) {
        read->slots =
            slots_draw(read, read->shelves, read->sizes, read->shelf_count, total, look, &read->slot_count);
        read->request.look = look;
    }
    if (read->request.from == FROM_ANY)
        read->skip = 0;
    step(read);
}

static void on_sizes(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_read *read = data;
    if (error || redis_batch_refusal(batch)) {
        fail(read, error ? error : redis_batch_refusal(batch));
        return;
    }
    size_t asked = 0;
    for (size_t i = 0; i < read->shelf_count; i++) {
        const struct redis_shelf *shelf = &read->shelves[i];
        read->sizes[i] =
            is_stream(shelf) ? shelf->count : redis_answer_integer(redis_batch_answer(batch, asked++), 0);
        if (read->sizes[i] < 0)
            read->progress.total = -1;
        else if (read->progress.total >= 0)
            read->progress.total += read->sizes[i];
    }
    talloc_free(batch);
    begin_windows(read);
}

static void ask_sizes(struct redis_read *read)
{
    struct redis_batch *batch = redis_batch_new(read);
    for (size_t i = 0; i < read->shelf_count; i++)
        if (!is_stream(&read->shelves[i]))
            redis_batch_add(batch, read->shelves[i].kind == SHELF_LIST ? "LLEN" : "ZCARD",
                            read->shelves[i].key, NULL);
    redis_batch_ask(batch, read->base.system->at.redis, read->base.system->at.database, on_sizes, read);
}

static void begin_shelves(struct redis_read *read)
{
    read->shelf_count = read->reading->shelves(read->base.system, read, read->request.queue,
                                               read->request.states, &read->shelves);
    read->sizes = or_die(talloc_zero_array(read, int64_t, read->shelf_count + 1));
    if (read->shelf_count)
        ask_sizes(read);
    else
        finish(read);
}

static void on_places(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_read *read = data;
    if (error) {
        fail(read, error);
        return;
    }
    read->reading->take_places(read->base.system, batch);
    talloc_free(batch);
    begin_shelves(read);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct redis_read *read = timer->data;
    const struct queue_place *at = &read->base.system->at;
    (void)loop, (void)events;
    if (read->over)
        end(read);
    else if (read->sized)
        step(read);
    else {
        read->sized = true;
        if (read->reading->ask_places) {
            struct redis_batch *batch = redis_batch_new(read);
            read->reading->ask_places(read->base.system, batch);
            redis_batch_ask(batch, at->redis, at->database, on_places, read);
        } else
            begin_shelves(read);
    }
}

struct queue_read *redis_read_start(struct queue_system *system, const struct redis_reading *reading,
                                    const struct queue_read_request *request,
                                    struct queue_read_handler handler)
{
    struct redis_read *read = or_die(talloc_zero(NULL, struct redis_read));
    read->base.system = system;
    read->reading = reading;
    read->request = *request;
    read->request.queue = request->queue ? or_die(talloc_strdup(read, request->queue)) : NULL;
    read->handler = handler;
    read->skip = request->offset;
    read->began = clock_monotonic();
    read->seen = or_die(talloc_zero(read, struct seen));
    ev_timer_init(&read->timer, on_timer, 0, 0);
    read->timer.data = read;
    talloc_set_destructor(read, read_destroy);
    later(read, 0);
    return &read->base;
}

void redis_read_stop(struct queue_read *base)
{
    ((struct redis_read *)base)->stopping = true;
}

void redis_read_forsake(struct queue_read *base)
{
    struct redis_read *read = (struct redis_read *)base;
    read->forsaken = true;
    read->handler.jobs = NULL;
    if (!read->busy)
        talloc_free(read);
}
