/*
 * Samples of the messages that wait: windows at the head (for poison near), at the tail and at random places,
 * some of them at each look, so that no look costs much. Tenants, retries and poison are counted window by
 * window; a window that is read again replaces what it held.
 */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/celery_seen.h"
#include "backends/queues/tally.h"
#include "core/clock.h"

#define DEADLINE_S 8.0
#define WINDOW_BYTES 200000.0
#define LOOK_BYTES 1500000.0 /* of all windows of one look */
#define FRESH_S 90.0         /* older windows tell nothing of now */

enum {
    WINDOWS_MOST = 32, /* of one look */
    PROBE = 20,        /* the first window of a queue, when the size of its messages is not known */
    PROBES = 8,
    ELSEWHERE = 3,       /* windows beyond the head, of a queue at each look */
    LONGEST = 6,         /* queues that are looked into at each look */
    SHARE_OF_LEAST = 20, /* a share of fewer jobs alarms nobody */
};

struct sampling {
    struct celery_rates *rates;
    void (*done)(void *data, const struct error *error);
    void *data;
    struct window_wanted {
        struct seen_queue *queue;
        struct seen_window *window;
        int64_t start, count; /* from the head of the whole queue */
        int step;
        int64_t depth;
    } wanted[WINDOWS_MOST];
    int count;
    double bytes;
    bool probed; /* some queue was met for the first time: a second round follows */
    bool second;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- one window ---- */

static void count_tenant(struct seen_window *window, const struct job *job)
{
    for (size_t i = 0; i < window->tenant_count; i++) {
        const char *name = window->tenants[i].name;
        if (name == job->tenant || (name && job->tenant && strcmp(name, job->tenant) == 0)) {
            window->tenants[i].count++;
            return;
        }
    }
    window->tenants =
        there(talloc_realloc(NULL, window->tenants, struct seen_tenant, window->tenant_count + 1));
    window->tenants[window->tenant_count++] = (struct seen_tenant){
        .name = job->tenant ? there(talloc_strdup(window->tenants, job->tenant)) : NULL, .count = 1};
}

static void count_message(struct celery_system *system, const struct seen_queue *queue,
                          struct seen_window *window, const redisReply *element, void *context)
{
    struct celery_envelope envelope;
    struct job job = {0};
    celery_envelope_scan(&envelope, element->str, element->len, system->tenancy.header);
    celery_job_fill(context, &job, &envelope, queue->name, &system->tenancy);
    celery_ids_learn(system, &job);
    enum job_poison poison = job.poison;
    if (poison == POISON_NONE && job.task && !celery_task_known(system, job.task))
        poison = POISON_C;
    window->poison[poison]++;
    window->retries += job.retries > 0;
    window->redelivered += (job.flags & JOB_REDELIVERED) != 0;
    window->twice += system->rates && celery_unacked_has(system->rates, job.id, job.retries);
    window->count++;
    count_tenant(window, &job);
}

void celery_window_read(struct celery_system *system, const struct seen_queue *queue,
                        struct seen_window *window, const redisReply *reply, double *bytes)
{
    talloc_free(window->tenants);
    *window = (struct seen_window){.at = clock_wall(), .start = window->start};
    void *context = there(talloc_pool(NULL, 64 * 1024));
    for (size_t i = 0; i < reply->elements; i++) {
        if (reply->element[i]->type != REDIS_REPLY_STRING)
            continue;
        count_message(system, queue, window, reply->element[i], context);
        *bytes += (double)reply->element[i]->len;
        talloc_free_children(context);
    }
    talloc_free(context);
}

/* ---- which windows ---- */

static int sample_free(struct seen_sample *sample)
{
    for (int i = 0; i < SEEN_HEADS; i++)
        talloc_free(sample->heads[i].tenants);
    for (int i = 0; i < SEEN_WINDOWS; i++)
        talloc_free(sample->windows[i].tenants);
    return 0;
}

static void forget_windows(struct seen_window *windows, int count)
{
    for (int i = 0; i < count; i++) {
        talloc_free(windows[i].tenants);
        windows[i] = (struct seen_window){0};
    }
}

/* Of a message; before any window was read, of the head. */
static double mean_bytes(const struct seen_queue *queue)
{
    const struct seen_sample *sample = queue->sample;
    double head = queue->head_bytes > 0 ? (double)queue->head_bytes : 2000;
    return sample->jobs > 0 ? fmax(sample->bytes / sample->jobs, 1) : head;
}

/* How many messages a window holds, so that it stays small; in steps, because windows at the head that were
 * read with another size must be read again. */
static int64_t window_size(const struct seen_queue *queue)
{
    static const int64_t sizes[] = {250, 125, 64, 32, 16};
    double fits = WINDOW_BYTES / mean_bytes(queue);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((double)sizes[i] <= fits)
            return queue->sample->jobs < 1 && sizes[i] > PROBE ? PROBE : sizes[i];
    return fits >= 4 ? 4 : 1;
}

/* The windows that cover the next SEEN_NEAR jobs: none goes over the end of one of the queue's lists. Where
 * the one of that number begins and how long it is; false: there is none. */
static bool head_window(const struct seen_queue *queue, int number, int64_t *start, int64_t *count)
{
    int64_t size = queue->sample->window_size, before = 0;
    for (int step = 0; step < CELERY_STEPS && before < SEEN_NEAR && number < SEEN_HEADS; step++) {
        int64_t length = queue->lists[step].length > 0 ? queue->lists[step].length : 0;
        int64_t near = length < SEEN_NEAR - before ? length : SEEN_NEAR - before;
        int64_t windows = (near + size - 1) / size;
        if (number < windows) {
            *start = before + number * size;
            *count = size < near - number * size ? size : near - number * size;
            return true;
        }
        number -= (int)windows;
        before += length;
    }
    return false;
}

static int head_windows(const struct seen_queue *queue)
{
    int64_t start, count;
    int number = 0;
    while (number < SEEN_HEADS && head_window(queue, number, &start, &count))
        number++;
    return number;
}

static bool want_window(struct sampling *sampling, struct seen_queue *queue, struct seen_window *window,
                        int64_t start, int64_t count)
{
    struct window_wanted *wanted = &sampling->wanted[sampling->count];
    double mean = mean_bytes(queue);
    if (sampling->count >= WINDOWS_MOST || sampling->bytes + mean * (double)count > LOOK_BYTES)
        return false;
    *wanted = (struct window_wanted){.queue = queue, .window = window, .start = start, .count = count};
    if (!celery_seen_place(queue, start, &wanted->step, &wanted->depth))
        return false;
    int64_t left = queue->lists[wanted->step].length - wanted->depth + 1;
    wanted->count = count < left ? count : left;
    window->start = start;
    sampling->bytes += mean * (double)count;
    sampling->count++;
    return true;
}

static bool want_head(struct sampling *sampling, struct seen_queue *queue)
{
    struct seen_sample *sample = queue->sample;
    int64_t start, count;
    if (sample->next_head >= SEEN_HEADS || !head_window(queue, sample->next_head, &start, &count))
        sample->next_head = 0;
    if (!head_window(queue, sample->next_head, &start, &count) ||
        !want_window(sampling, queue, &sample->heads[sample->next_head], start, count))
        return false;
    sample->next_head++;
    return true;
}

/* Somewhere beyond the head's first window; each fourth at the tail, where floods begin. */
static bool want_elsewhere(struct sampling *sampling, struct seen_queue *queue)
{
    struct seen_sample *sample = queue->sample;
    int64_t size = sample->window_size > 100 ? 100 : sample->window_size;
    int64_t room = queue->ready - size;
    int64_t start = room > 0 ? (int64_t)(drand48() * (double)room) : 0;
    if (sample->turn++ % 4 == 0)
        start = room > 0 ? room : 0;
    struct seen_window *window = &sample->windows[sample->next_window];
    if (!want_window(sampling, queue, window, start, size))
        return false;
    sample->next_window = (sample->next_window + 1) % SEEN_WINDOWS;
    return true;
}

static bool is_over(const struct seen_queue *queue)
{
    return queue->ready > SEEN_NEAR;
}

/* What is read of a queue at its turn. False: no more fits into this look. */
static bool want_queue(struct sampling *sampling, struct seen_queue *queue)
{
    bool first = !queue->sample;
    if (first) {
        queue->sample = there(talloc_zero(sampling->rates, struct seen_sample));
        talloc_set_destructor(queue->sample, sample_free);
        queue->sample->read_at = clock_wall();
    }
    struct seen_sample *sample = queue->sample;
    int64_t size = window_size(queue);
    if (size != sample->window_size) {
        forget_windows(sample->heads, SEEN_HEADS);
        sample->window_size = size;
        sample->next_head = 0;
    }
    int heads = first ? 1 : sample->probed ? head_windows(queue) : 2;
    for (int i = 0; i < heads; i++)
        if (!want_head(sampling, queue))
            return false;
    for (int i = 0; is_over(queue) && i < (first ? PROBES : ELSEWHERE); i++)
        if (!want_elsewhere(sampling, queue))
            return false;
    sample->probed = first;
    sampling->probed |= first;
    return true;
}

/* What is empty, or was read too long ago, takes no memory. */
static void drop_sample(struct seen_queue *queue, double now)
{
    const struct seen_sample *sample = queue->sample;
    if (sample && (queue->ready <= 0 || sample->read_at < now - FRESH_S))
        TALLOC_FREE(queue->sample);
}

static void keep_longest(struct seen_queue **longest, size_t *count, struct seen_queue *queue)
{
    size_t at = *count < LONGEST ? (*count)++ : LONGEST - 1;
    if (longest[at] && queue->ready <= longest[at]->ready)
        return;
    while (at > 0 && longest[at - 1]->ready < queue->ready) {
        longest[at] = longest[at - 1];
        at--;
    }
    longest[at] = queue;
}

static bool is_among(struct seen_queue *const *queues, size_t count, const struct seen_queue *queue)
{
    for (size_t i = 0; i < count; i++)
        if (queues[i] == queue)
            return true;
    return false;
}

static bool is_wanted(const struct sampling *sampling, const struct seen_queue *queue)
{
    return queue->ready > 0 && (!sampling->second || (queue->sample && queue->sample->probed));
}

/* The longest at each look, the others in turn. */
static void choose(struct sampling *sampling)
{
    struct celery_rates *rates = sampling->rates;
    struct celery_system *system = rates->system;
    size_t count = system->queue_count < SEEN_QUEUES_MOST ? system->queue_count : SEEN_QUEUES_MOST;
    size_t first = count ? rates->sample_next % count : 0, longest_count = 0;
    struct seen_queue *longest[LONGEST] = {NULL};
    double now = clock_wall();
    bool room = true;
    for (size_t i = 0; i < count; i++) {
        struct seen_queue *queue = celery_seen(rates, system->queues[i]);
        drop_sample(queue, now);
        if (is_wanted(sampling, queue))
            keep_longest(longest, &longest_count, queue);
    }
    for (size_t i = 0; i < longest_count && room; i++)
        room = want_queue(sampling, longest[i]);
    for (size_t i = 0; i < count && room; i++) {
        struct seen_queue *queue = celery_seen(rates, system->queues[(first + i) % count]);
        if (!is_wanted(sampling, queue) || is_among(longest, longest_count, queue))
            continue;
        if (!sampling->second)
            rates->sample_next = first + i + 1;
        room = want_queue(sampling, queue);
    }
}

/* ---- asking ---- */

static void on_window(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct sampling *sampling = data;
    if (error || reply->type != REDIS_REPLY_ARRAY || index < 0 || index >= sampling->count)
        return;
    const struct window_wanted *wanted = &sampling->wanted[index];
    struct seen_sample *sample = wanted->queue->sample;
    double bytes = 0;
    celery_window_read(sampling->rates->system, wanted->queue, wanted->window, reply, &bytes);
    /* The mean follows what is there now. */
    if (sample->jobs > 2000) {
        sample->jobs /= 2;
        sample->bytes /= 2;
    }
    sample->read_at = clock_wall();
    sample->jobs += (double)wanted->window->count;
    sample->bytes += bytes;
}

static void ask_windows(struct sampling *sampling);

static void on_windows(void *data, const struct error *error)
{
    struct sampling *sampling = data;
    if (!error && sampling->probed && !sampling->second && !sampling->rates->system->base.closed) {
        sampling->second = true;
        sampling->count = 0;
        sampling->bytes = 0;
        choose(sampling);
        if (sampling->count) {
            ask_windows(sampling);
            return;
        }
    }
    sampling->done(sampling->data, error);
    talloc_free(sampling);
}

static void ask_windows(struct sampling *sampling)
{
    struct celery_system *system = sampling->rates->system;
    struct redis_command commands[WINDOWS_MOST];
    size_t lengths[WINDOWS_MOST][4];
    const char *words[WINDOWS_MOST][4];
    for (int i = 0; i < sampling->count; i++) {
        const struct window_wanted *wanted = &sampling->wanted[i];
        words[i][0] = "LRANGE";
        words[i][1] = celery_queue_key(sampling, system, wanted->queue->name, wanted->step, &lengths[i][1]);
        words[i][2] =
            there(talloc_asprintf(sampling, "-%lld", (long long)(wanted->depth + wanted->count - 1)));
        words[i][3] = there(talloc_asprintf(sampling, "-%lld", (long long)wanted->depth));
        lengths[i][0] = strlen(words[i][0]);
        lengths[i][2] = strlen(words[i][2]);
        lengths[i][3] = strlen(words[i][3]);
        commands[i] = (struct redis_command){.count = 4, .words = words[i], .lengths = lengths[i]};
    }
    redis_server_ask(system->redis, system->database, commands, sampling->count, DEADLINE_S,
                     (struct redis_handler){.reply = on_window, .done = on_windows, .data = sampling});
}

void celery_sample(struct celery_rates *rates, void (*done)(void *data, const struct error *error),
                   void *data)
{
    struct sampling *sampling = there(talloc_zero(NULL, struct sampling));
    *sampling = (struct sampling){.rates = rates, .done = done, .data = data};
    choose(sampling);
    if (sampling->count)
        ask_windows(sampling);
    else
        on_windows(sampling, NULL);
}

/* ---- what they tell ---- */

static bool is_fresh(const struct seen_window *window, double now)
{
    return window->at > now - FRESH_S && window->count > 0;
}

/* Was everything read that waits? */
static bool is_whole(const struct seen_queue *queue, double now)
{
    int64_t read = 0;
    for (int i = 0; i < SEEN_HEADS && !is_over(queue); i++)
        if (is_fresh(&queue->sample->heads[i], now))
            read += queue->sample->heads[i].count;
    return !is_over(queue) && read >= queue->ready;
}

struct counted {
    struct tally *tally;
    int64_t poison, retries, jobs;
    size_t windows;
};

static void count_window(struct counted *counted, const struct seen_window *window)
{
    for (size_t i = 0; i < window->tenant_count; i++) {
        const char *name = window->tenants[i].name;
        tally_add(counted->tally, name, name ? strlen(name) : 0, window->tenants[i].count);
    }
    counted->retries += window->retries;
    counted->jobs += window->count;
    counted->windows++;
}

static void count_all(struct counted *counted, const struct seen_queue *queue, double now, bool whole)
{
    const struct seen_sample *sample = queue->sample;
    for (int i = 0; i < SEEN_HEADS; i++) {
        if (!is_fresh(&sample->heads[i], now))
            continue;
        counted->poison += sample->heads[i].poison[POISON_A] + sample->heads[i].poison[POISON_B] +
                           sample->heads[i].poison[POISON_C];
        /* Beyond a thousand the head would weigh more than all the rest. */
        if (whole || !is_over(queue) || i == 0)
            count_window(counted, &sample->heads[i]);
    }
    for (int i = 0; i < SEEN_WINDOWS && is_over(queue); i++) {
        const struct seen_window *window = &sample->windows[i];
        if (!is_fresh(window, now))
            continue;
        count_window(counted, window);
        if (window->start >= SEEN_NEAR)
            counted->poison += window->poison[POISON_A] + window->poison[POISON_B] + window->poison[POISON_C];
    }
}

int64_t celery_sample_near(const struct seen_queue *queue, enum job_poison poison)
{
    double now = clock_wall();
    int64_t count = 0;
    for (int i = 0; queue->sample && i < SEEN_HEADS; i++)
        if (is_fresh(&queue->sample->heads[i], now))
            count += queue->sample->heads[i].poison[poison];
    return count;
}

static void fill_shares(struct queue *row, const struct tally *tally, const void *context)
{
    struct tally_line lines[QUEUE_SHARES];
    size_t others = 0, count = tally_top(tally, lines, QUEUE_SHARES, &others);
    for (size_t i = 0; i < count; i++)
        row->shares[i] = (struct queue_share){
            .name = lines[i].name ? there(talloc_strdup(context, lines[i].name)) : NULL,
            .share = lines[i].share,
            .error = lines[i].error,
        };
    row->share_count = (int)count;
    row->share_others = (int64_t)others;
    row->share_sample = tally_total(tally);
}

void celery_sample_fill(const struct seen_queue *queue, struct queue *row, const void *context)
{
    double now = clock_wall();
    row->poison = row->poison_near = queue->ready == 0 ? 0 : -1;
    row->retry_share = NAN;
    if (!queue->sample || queue->ready <= 0)
        return;
    bool whole = is_whole(queue, now);
    struct counted counted = {.tally = tally_new(NULL, 500)};
    count_all(&counted, queue, now, whole);
    if (counted.jobs > 0) {
        tally_set_sample(counted.tally, whole ? 0 : queue->ready, counted.windows);
        fill_shares(row, counted.tally, context);
        row->poison = counted.poison;
        row->poison_near = celery_sample_near(queue, POISON_A) + celery_sample_near(queue, POISON_B) +
                           celery_sample_near(queue, POISON_C);
        row->poison_sampled = !whole;
        row->retry_share = (double)counted.retries / (double)counted.jobs;
    }
    talloc_free(counted.tally);
}

double celery_sample_retry_share(const struct celery_rates *rates)
{
    double now = clock_wall();
    int64_t retries = 0, jobs = 0;
    for (const struct seen_queue *queue = rates->queues; queue; queue = queue->hh.next)
        for (int i = 0; queue->sample && i < SEEN_HEADS; i++)
            if (is_fresh(&queue->sample->heads[i], now)) {
                retries += queue->sample->heads[i].retries;
                jobs += queue->sample->heads[i].count;
            }
    return jobs >= SHARE_OF_LEAST ? (double)retries / (double)jobs : NAN;
}

int64_t celery_sample_twice(const struct celery_rates *rates)
{
    double now = clock_wall();
    int64_t twice = 0;
    for (const struct seen_queue *queue = rates->queues; queue; queue = queue->hh.next)
        for (int i = 0; queue->sample && i < SEEN_HEADS; i++)
            if (is_fresh(&queue->sample->heads[i], now))
                twice += queue->sample->heads[i].twice;
    return twice;
}
