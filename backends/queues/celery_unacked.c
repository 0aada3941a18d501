/*
 * What workers hold, by queue: the hash `unacked` holds the messages that were taken and not acknowledged.
 * While it is small all of it is read; when it is large, some windows at each look, and counts by queue are
 * estimates from them.
 */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_seen.h"
#include "core/clock.h"

#define DEADLINE_S 8.0
#define SMALL_EVERY_S 2.0 /* how often all of a hash of up to SMALL is read */
#define WHOLE_EVERY_S 9.0
#define WINDOW_BYTES 200000.0

enum { SMALL = 200, WHOLE_MOST = 2000, WINDOWS_AT_ONCE = 4, IDS_MOST = 65536 };

/* Ids as hashes, to find those that are there twice. */
struct id_set {
    uint64_t *slots;
    size_t size, used;
};

struct celery_unacked {
    struct celery_rates *rates;
    void (*done)(void *data, const struct error *error); /* NULL: nothing is read now */
    void *data;
    int64_t length;           /* of the hash; -1: not known */
    char *cursor;             /* where the pass goes on; "0": it begins */
    int windows;              /* of this look */
    double began_at;          /* monotonic, of the pass */
    bool sampled, was_whole;  /* the pass was ended early; one pass came to its end */
    int64_t read, twice;      /* of the pass */
    int64_t last_twice;       /* of the last whole one; -1 */
    double bytes, entries;    /* for the mean size */
    struct id_set ids, known; /* of the pass, and of the last one */
    struct id_set tags;       /* of the pass: HSCAN may give an entry twice */
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- ids ---- */

static uint64_t hash_of(const char *text, size_t length, int salt)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)salt;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static size_t id_slot(const struct id_set *set, uint64_t hash)
{
    size_t at = hash & (set->size - 1);
    while (set->slots[at] && set->slots[at] != hash)
        at = (at + 1) & (set->size - 1);
    return at;
}

/* False: it was there already. */
static bool id_add(struct celery_unacked *unacked, struct id_set *set, uint64_t hash)
{
    if (set->used * 2 >= set->size && set->size < IDS_MOST) {
        struct id_set old = *set;
        set->size = old.size ? old.size * 2 : 256;
        set->slots = there(talloc_zero_array(unacked, uint64_t, set->size));
        for (size_t i = 0; i < old.size; i++)
            if (old.slots[i])
                set->slots[id_slot(set, old.slots[i])] = old.slots[i];
        talloc_free(old.slots);
    }
    if (set->used * 2 >= set->size)
        return true;
    size_t at = id_slot(set, hash);
    if (set->slots[at])
        return false;
    set->slots[at] = hash;
    set->used++;
    return true;
}

bool celery_unacked_has(const struct celery_rates *rates, const char *id, int retries)
{
    const struct celery_unacked *unacked = rates->unacked;
    if (!unacked || !id || !unacked->known.size)
        return false;
    return unacked->known.slots[id_slot(&unacked->known, hash_of(id, strlen(id), retries))] != 0;
}

/* ---- one entry ---- */

static void count_entry(struct celery_unacked *unacked, const redisReply *tag, const redisReply *value,
                        void *context)
{
    struct celery_system *system = unacked->rates->system;
    struct span message, exchange, routing_key;
    struct celery_envelope envelope;
    struct job job = {0};
    if (value->type != REDIS_REPLY_STRING || tag->type != REDIS_REPLY_STRING ||
        !id_add(unacked, &unacked->tags, hash_of(tag->str, tag->len, 0)) ||
        !celery_unacked_message(value->str, value->len, &message, &exchange, &routing_key))
        return;
    const char *name = celery_span_text(context, routing_key);
    celery_envelope_scan(&envelope, message.at, message.length, system->tenancy.header);
    celery_job_fill(context, &job, &envelope, name, &system->tenancy);
    if (!name || !*name)
        name = job.queue ? job.queue : "";
    celery_ids_learn(system, &job);
    unacked->read++;
    unacked->bytes += (double)value->len;
    unacked->entries++;
    if (*name && system->queue_count < SEEN_QUEUES_MOST)
        celery_add_queues(system, &name, 1);
    struct seen_unacked *counts = &celery_seen(unacked->rates, name)->unacked_now;
    counts->redelivered += (job.flags & JOB_REDELIVERED) != 0;
    /* A retry has the id of the try before, which may still be held. */
    if (job.id && !id_add(unacked, &unacked->ids, hash_of(job.id, strlen(job.id), job.retries)))
        unacked->twice++;
    if (job.eta > clock_wall())
        *(job.retries > 0 ? &counts->retrying : &counts->scheduled) += 1;
    else
        counts->held++;
    if (job.eta > 0 && (counts->oldest_eta <= 0 || job.eta < counts->oldest_eta))
        counts->oldest_eta = job.eta;
    counts->latest_eta = fmax(counts->latest_eta, job.eta);
}

/* ---- a pass ---- */

static int64_t scaled(int64_t count, double factor)
{
    return (int64_t)llround((double)count * factor);
}

/* The counts of the pass become those that are shown; of a part, as shares of the whole. */
static void end_pass(struct celery_unacked *unacked)
{
    double factor = unacked->sampled && unacked->read > 0 && unacked->length > unacked->read
                        ? (double)unacked->length / (double)unacked->read
                        : 1;
    struct seen_queue *queue, *next;
    HASH_ITER(hh, unacked->rates->queues, queue, next)
    {
        const struct seen_unacked *now = &queue->unacked_now;
        queue->unacked = (struct seen_unacked){
            .held = scaled(now->held, factor),
            .scheduled = scaled(now->scheduled, factor),
            .retrying = scaled(now->retrying, factor),
            .redelivered = scaled(now->redelivered, factor),
            .oldest_eta = now->oldest_eta,
            .latest_eta = now->latest_eta,
        };
        queue->unacked_now = (struct seen_unacked){0};
    }
    unacked->was_whole = !unacked->sampled;
    unacked->last_twice = unacked->sampled ? -1 : unacked->twice;
    talloc_free(unacked->known.slots);
    unacked->known = unacked->ids;
    unacked->ids = (struct id_set){0};
    TALLOC_FREE(unacked->tags.slots);
    unacked->tags = (struct id_set){0};
    unacked->read = unacked->twice = 0;
    talloc_free(unacked->cursor);
    unacked->cursor = NULL;
}

/* What an unfinished pass had counted is not part of the next. */
static void forget_pass(struct celery_unacked *unacked)
{
    struct seen_queue *queue, *next;
    HASH_ITER(hh, unacked->rates->queues, queue, next)
    {
        queue->unacked_now = (struct seen_unacked){0};
    }
    TALLOC_FREE(unacked->cursor);
    TALLOC_FREE(unacked->ids.slots);
    unacked->ids = (struct id_set){0};
    TALLOC_FREE(unacked->tags.slots);
    unacked->tags = (struct id_set){0};
    unacked->read = unacked->twice = 0;
}

static void finish(struct celery_unacked *unacked, const struct error *error)
{
    void (*done)(void *data, const struct error *error) = unacked->done;
    unacked->done = NULL;
    done(unacked->data, error);
}

static void ask_window(struct celery_unacked *unacked);

static void on_window(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_unacked *unacked = data;
    (void)index;
    char *cursor = NULL;
    if (!error && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = reply->element[1];
        void *context = there(talloc_pool(NULL, 64 * 1024));
        for (size_t i = 0; i + 1 < entries->elements; i += 2) {
            count_entry(unacked, entries->element[i], entries->element[i + 1], context);
            talloc_free_children(context);
        }
        talloc_free(context);
        cursor = there(talloc_strdup(unacked, reply->element[0]->str));
    }
    talloc_free(unacked->cursor);
    unacked->cursor = cursor;
}

static void on_window_end(void *data, const struct error *error)
{
    struct celery_unacked *unacked = data;
    unacked->windows++;
    if (error || unacked->rates->system->base.closed) {
        finish(unacked, error);
        return;
    }
    bool over = !unacked->cursor || strcmp(unacked->cursor, "0") == 0;
    bool whole = unacked->length <= WHOLE_MOST;
    if (!over && (whole || unacked->windows < WINDOWS_AT_ONCE)) {
        ask_window(unacked);
        return;
    }
    /* Of a large hash, what a few looks read is a sample that is recent; the next pass goes on from there. */
    unacked->sampled = !over || !whole;
    if (over) {
        end_pass(unacked);
    } else if (unacked->read >= WHOLE_MOST) {
        char *cursor = unacked->cursor;
        unacked->cursor = NULL;
        end_pass(unacked);
        unacked->cursor = cursor;
    }
    finish(unacked, NULL);
}

static void ask_window(struct celery_unacked *unacked)
{
    struct celery_system *system = unacked->rates->system;
    char *key = celery_key(unacked, system, system->names.unacked);
    double fits = unacked->entries > 0 ? WINDOW_BYTES * unacked->entries / fmax(unacked->bytes, 1) : 20;
    char *window = there(talloc_asprintf(key, "%d", (int)fmin(fmax(fits, 1), 200)));
    struct redis_command command =
        REDIS_COMMAND("HSCAN", key, unacked->cursor ? unacked->cursor : "0", "COUNT", window);
    redis_server_ask(system->redis, system->database, &command, 1, DEADLINE_S,
                     (struct redis_handler){.reply = on_window, .done = on_window_end, .data = unacked});
    talloc_free(key);
}

static void on_length(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_unacked *unacked = data;
    (void)index;
    unacked->length = !error && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
}

static void on_length_end(void *data, const struct error *error)
{
    struct celery_unacked *unacked = data;
    double now = clock_monotonic();
    double every = unacked->length > SMALL ? WHOLE_EVERY_S : SMALL_EVERY_S;
    bool whole = unacked->length <= WHOLE_MOST;
    if (error || unacked->length < 0 || unacked->rates->system->base.closed) {
        finish(unacked, error);
        return;
    }
    if (unacked->length == 0) {
        unacked->sampled = false;
        end_pass(unacked);
        unacked->began_at = now;
        finish(unacked, NULL);
        return;
    }
    if (whole && unacked->was_whole && now < unacked->began_at + every) {
        finish(unacked, NULL);
        return;
    }
    if (whole)
        forget_pass(unacked);
    unacked->began_at = now;
    unacked->windows = 0;
    ask_window(unacked);
}

void celery_unacked_read(struct celery_rates *rates, void (*done)(void *data, const struct error *error),
                         void *data)
{
    struct celery_system *system = rates->system;
    if (!rates->unacked) {
        rates->unacked = there(talloc_zero(rates, struct celery_unacked));
        rates->unacked->rates = rates;
        rates->unacked->last_twice = -1;
    }
    struct celery_unacked *unacked = rates->unacked;
    unacked->done = done;
    unacked->data = data;
    char *key = celery_key(unacked, system, system->names.unacked);
    struct redis_command command = REDIS_COMMAND("HLEN", key);
    redis_server_ask(system->redis, system->database, &command, 1, DEADLINE_S,
                     (struct redis_handler){.reply = on_length, .done = on_length_end, .data = unacked});
    talloc_free(key);
}

int64_t celery_unacked_twice(const struct celery_rates *rates)
{
    return rates->unacked ? rates->unacked->last_twice : -1;
}

int64_t celery_unacked_count(const struct celery_rates *rates, bool *sampled)
{
    *sampled = rates->unacked && !rates->unacked->was_whole;
    return rates->unacked ? rates->unacked->length : -1;
}

double celery_unacked_longest_wait(const struct celery_rates *rates)
{
    double longest = 0, now = clock_wall();
    for (const struct seen_queue *queue = rates->queues; queue; queue = queue->hh.next)
        longest = fmax(longest, queue->unacked.latest_eta - now);
    return longest;
}

int64_t celery_unacked_redelivered(const struct celery_rates *rates)
{
    int64_t count = 0;
    for (const struct seen_queue *queue = rates->queues; queue; queue = queue->hh.next)
        count += queue->unacked.redelivered;
    return count;
}
