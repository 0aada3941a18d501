/* Names of queues, batches of parts, and rates. */
#include "backends/queues/redis_system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"

enum { SAMPLES = 32 };
#define RATE_OVER_S 60.0
#define RATE_LEAST_S 0.5
#define POINT_EVERY_S 2.0
#define HISTORY_EVERY_S 10.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

void *redis_system_new(struct queue_search *search, const struct queue_place *place,
                       const struct queue_adapter *adapter, size_t size)
{
    struct redis_system *system = queue_system_new(search, adapter, size);
    int database = place->database < 0 ? redis_server_database(place->redis) : place->database;
    system->base.at.database = database;
    system->base.place =
        or_die(talloc_asprintf(system, "%s, database %d", redis_server_name(place->redis), database));
    return system;
}

void redis_system_close(struct queue_system *base)
{
    struct redis_system *system = (struct redis_system *)base;
    for (int part = 0; part < QUEUE_PARTS; part++)
        TALLOC_FREE(system->asking[part]);
    if (system->reading)
        redis_read_forsake(system->reading);
    system->reading = NULL;
    TALLOC_FREE(system->shares);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void redis_system_learn(struct redis_system *system, char **names, size_t count)
{
    qsort(names, count, sizeof *names, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!kept || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    system->left_out = kept > REDIS_QUEUES_MOST ? kept - REDIS_QUEUES_MOST : 0;
    kept -= system->left_out;
    talloc_free(system->queues);
    system->queues = talloc_steal(system, names);
    system->queue_count = kept;
}

bool redis_system_knows(const struct redis_system *system, const char *queue)
{
    return system->queue_count &&
           bsearch(&queue, system->queues, system->queue_count, sizeof *system->queues, by_name);
}

/* ---- batches of parts ---- */

static int part_destroy(struct redis_part *part)
{
    snapshot_release(part->snapshot);
    if (part->system->asking[part->part] == part)
        part->system->asking[part->part] = NULL;
    return 0;
}

void *redis_part_begin(struct redis_system *system, enum queue_part which, size_t size, void *snapshot)
{
    talloc_free(system->asking[which]);
    struct redis_part *part = or_die(talloc_zero_size(system, size));
    *part = (struct redis_part){.system = system, .part = which, .snapshot = snapshot};
    talloc_set_destructor(part, part_destroy);
    system->asking[which] = part;
    return part;
}

struct redis_batch *redis_part_batch(void *part)
{
    return redis_batch_new(part);
}

void redis_part_ask(void *data, struct redis_batch *batch,
                    void (*next)(void *part, struct redis_batch *batch, const struct error *error))
{
    struct redis_part *part = data;
    const struct queue_place *at = &part->system->base.at;
    redis_batch_ask(batch, at->redis, at->database, next, part);
}

bool redis_part_came(void *data, struct redis_batch *batch, const struct error *error)
{
    struct redis_part *part = data;
    if (!error)
        error = redis_batch_refusal(batch);
    if (!error)
        return true;
    struct redis_system *system = part->system;
    enum queue_part which = part->part;
    struct error copy = *error;
    talloc_free(part);
    queue_system_failed(&system->base, which, &copy);
    return false;
}

void redis_part_publish(void *data)
{
    struct redis_part *part = data;
    struct redis_system *system = part->system;
    enum queue_part which = part->part;
    void *snapshot = part->snapshot;
    part->snapshot = NULL;
    talloc_free(part);
    queue_system_publish(&system->base, which, snapshot);
}

void queue_clear(struct queue *queue)
{
    *queue = (struct queue){.kind = "list",
                            .ready = -1,
                            .unacked = -1,
                            .running = -1,
                            .scheduled = -1,
                            .retrying = -1,
                            .waiting = -1,
                            .failed = -1,
                            .dead = -1,
                            .done = -1,
                            .parked = -1,
                            .paused = -1,
                            .head_age_s = NAN,
                            .in_per_s = NAN,
                            .out_per_s = NAN,
                            .drain_s = NAN,
                            .consumers = -1,
                            .poison = -1,
                            .poison_near = -1,
                            .bytes = -1,
                            .retry_share = NAN};
    for (int i = 0; i < QUEUE_HISTORY; i++)
        queue->history[i] = NAN;
}

/* ---- rates ---- */

struct rate_point {
    double at; /* monotonic */
    struct redis_rate_sample sample;
};
struct redis_rate {
    char *queue;
    struct rate_point points[SAMPLES]; /* a ring */
    size_t count;                      /* ever */
    float history[QUEUE_HISTORY];
    double history_at;
};
struct redis_rates {
    struct redis_rate **rates; /* sorted by queue */
    size_t count;
};

static int compare_rate(const void *queue, const void *rate)
{
    return strcmp(queue, (*(struct redis_rate *const *)rate)->queue);
}

static struct redis_rate *find_rate(const struct redis_rates *rates, const char *queue)
{
    struct redis_rate **found =
        rates && rates->count ? bsearch(queue, rates->rates, rates->count, sizeof *rates->rates, compare_rate)
                              : NULL;
    return found ? *found : NULL;
}

static struct redis_rate *add_rate(struct redis_system *system, const char *queue)
{
    if (!system->rates)
        system->rates = or_die(talloc_zero(system, struct redis_rates));
    struct redis_rates *rates = system->rates;
    struct redis_rate *rate = or_die(talloc_zero(rates, struct redis_rate));
    rate->queue = or_die(talloc_strdup(rate, queue));
    for (int i = 0; i < QUEUE_HISTORY; i++)
        rate->history[i] = NAN;
    rates->rates = or_die(talloc_realloc(rates, rates->rates, struct redis_rate *, rates->count + 1));
    size_t at = rates->count++;
    while (at > 0 && strcmp(rates->rates[at - 1]->queue, queue) > 0) {
        rates->rates[at] = rates->rates[at - 1];
        at--;
    }
    rates->rates[at] = rate;
    return rate;
}

void redis_rates_note(struct redis_system *system, const char *queue, const struct redis_rate_sample *sample)
{
    struct redis_rate *rate = find_rate(system->rates, queue);
    double now = clock_monotonic();
    if (!rate)
        rate = add_rate(system, queue);
    /* Looks that follow one another quickly do not push out the older ones: the last point moves along. */
    if (rate->count >= 2 && now - rate->points[(rate->count - 2) % SAMPLES].at < POINT_EVERY_S)
        rate->count--;
    rate->points[rate->count++ % SAMPLES] = (struct rate_point){now, *sample};
    if (!rate->history_at || now - rate->history_at >= HISTORY_EVERY_S) {
        int steps = rate->history_at > 0 ? (int)((now - rate->history_at) / HISTORY_EVERY_S) : 1;
        for (int i = 0; i < steps && i < QUEUE_HISTORY; i++) {
            memmove(rate->history, rate->history + 1, (QUEUE_HISTORY - 1) * sizeof *rate->history);
            rate->history[QUEUE_HISTORY - 1] = NAN;
        }
        rate->history_at = rate->history_at > 0 ? rate->history_at + steps * HISTORY_EVERY_S : now;
    }
    rate->history[QUEUE_HISTORY - 1] = (float)sample->ready;
}

static double positive(double number)
{
    return number < 0 ? 0 : number;
}

void redis_rates_drain(struct queue *queue)
{
    double net = queue->out_per_s - queue->in_per_s;
    if (queue->ready == 0)
        queue->drain_s = 0;
    else if (queue->ready < 0 || isnan(net))
        queue->drain_s = NAN;
    else
        queue->drain_s = net > 0 ? (double)queue->ready / net : INFINITY;
}

void redis_rates_fill(const struct redis_system *system, struct queue *queue)
{
    const struct redis_rate *rate = find_rate(system->rates, queue->name);
    if (!rate || !rate->count)
        return;
    memcpy(queue->history, rate->history, sizeof queue->history);
    const struct rate_point *last = &rate->points[(rate->count - 1) % SAMPLES], *first = last;
    for (size_t i = 1; i < SAMPLES && i < rate->count; i++) {
        const struct rate_point *point = &rate->points[(rate->count - 1 - i) % SAMPLES];
        if (last->at - point->at > RATE_OVER_S)
            break;
        first = point;
    }
    double seconds = last->at - first->at;
    if (seconds >= RATE_LEAST_S) {
        double grown = (double)(last->sample.inside - first->sample.inside);
        double in = last->sample.in_total - first->sample.in_total;
        double out = last->sample.out_total - first->sample.out_total;
        in = isnan(in) ? out + grown : in;
        out = isnan(out) ? in - grown : out;
        queue->in_per_s = positive(in / seconds);
        queue->out_per_s = positive(out / seconds);
    }
    redis_rates_drain(queue);
}
