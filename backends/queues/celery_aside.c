/* What signalbox set aside in the broker: found by SCAN, with lengths and notes. */
#include "backends/queues/celery_aside.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/redis_batch.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- names, by SCAN ---- */

struct listing {
    struct celery_system *system;
    struct redis_batch *batch;
    char **groups; /* a talloc array */
    size_t count;
    char *cursor;
    ev_timer pause;
    void (*done)(void *data, char *const *groups, size_t count, const struct error *error);
    void *data;
};

static void scan_more(struct listing *listing);

static int listing_destroy(struct listing *listing)
{
    ev_timer_stop(loop_ev(listing->system->base.loop), &listing->pause);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tell(struct listing *listing, const struct error *error)
{
    size_t kept = 0;
    if (listing->count)
        qsort(listing->groups, listing->count, sizeof *listing->groups, by_name);
    for (size_t i = 0; i < listing->count; i++)
        if (kept == 0 || strcmp(listing->groups[kept - 1], listing->groups[i]) != 0)
            listing->groups[kept++] = listing->groups[i];
    /* What is called may free the listing with its parent. */
    talloc_set_destructor(listing, NULL);
    listing_destroy(listing);
    void *keeper = talloc_new(NULL);
    talloc_steal(keeper, listing);
    listing->done(listing->data, listing->groups, kept, error);
    talloc_free(keeper);
}

static void on_pause(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    scan_more(timer->data);
}

static void add_key(struct listing *listing, const struct redis_answer *key)
{
    enum celery_aside kind;
    const char *stamp;
    char *queue;
    int level;
    char *group =
        key->text ? celery_base_name(listing, listing->system, key->text, key->length, &level) : NULL;
    if (!group || level < 0 || !celery_aside_parse(group, group, &kind, &queue, &stamp)) {
        talloc_free(group);
        return;
    }
    listing->groups = there(talloc_realloc(listing, listing->groups, char *, listing->count + 1));
    listing->groups[listing->count++] = group;
}

static void scanned(void *data, struct redis_batch *batch, const struct error *error)
{
    struct listing *listing = data;
    const struct redis_answer *answer = redis_batch_answer(batch, 0);
    const struct error *refusal = error ? error : redis_batch_refusal(batch);
    if (refusal) {
        struct error copy = *refusal;
        tell(listing, &copy);
        return;
    }
    const struct redis_answer *keys = redis_answer_item(answer, 1);
    for (size_t i = 0; i < keys->count; i++)
        add_key(listing, redis_answer_item(keys, i));
    const char *cursor = redis_answer_text(redis_answer_item(answer, 0));
    talloc_free(listing->cursor);
    listing->cursor = there(talloc_strdup(listing, cursor ? cursor : "0"));
    TALLOC_FREE(listing->batch);
    if (strcmp(listing->cursor, "0") == 0) {
        tell(listing, NULL);
        return;
    }
    ev_timer_set(&listing->pause, redis_server_pace(listing->system->redis), 0);
    ev_timer_start(loop_ev(listing->system->base.loop), &listing->pause);
}

static void scan_more(struct listing *listing)
{
    char *pattern = celery_key(listing, listing->system, "signalbox:*");
    listing->batch = redis_batch_new(listing);
    redis_batch_add(listing->batch, "SCAN", listing->cursor, "MATCH", pattern, "COUNT", "200", NULL);
    talloc_free(pattern);
    redis_batch_ask(listing->batch, listing->system->redis, listing->system->database, scanned, listing);
}

void *celery_aside_list_groups(const void *context, struct celery_system *system,
                               void (*done)(void *data, char *const *groups, size_t count,
                                            const struct error *error),
                               void *data)
{
    struct listing *listing = there(talloc_zero(context, struct listing));
    listing->system = system;
    listing->done = done;
    listing->data = data;
    listing->cursor = there(talloc_strdup(listing, "0"));
    ev_timer_init(&listing->pause, on_pause, 0, 0);
    listing->pause.data = listing;
    talloc_set_destructor(listing, listing_destroy);
    scan_more(listing);
    return listing;
}

/* ---- the snapshot ---- */

struct asking {
    struct celery_system *system;
    struct redis_batch *batch;
    char **groups;
    size_t count;
};

static const char *note_text(const void *context, const struct redis_answer *note, const char *name)
{
    const char *text = redis_answer_text(redis_answer_field(note, name));
    return text && *text ? there(talloc_strdup(context, text)) : NULL;
}

static const char *kind_name(enum celery_aside kind)
{
    static const char *const names[CELERY_ASIDES] = {[ASIDE_PARK] = "parked",
                                                     [ASIDE_TENANT] = "aside",
                                                     [ASIDE_TRASH] = "trash",
                                                     [ASIDE_HOLD] = "unfinished"};
    return names[kind];
}

static void fill(struct aside_snapshot *snapshot, const struct asking *asking, size_t at)
{
    struct aside *item = &snapshot->items[snapshot->count];
    const struct redis_answer *note = redis_batch_answer(asking->batch, at * (CELERY_STEPS + 1));
    enum celery_aside kind;
    const char *stamp;
    char *queue;
    *item = (struct aside){0};
    for (size_t i = 1; i <= CELERY_STEPS; i++)
        item->count +=
            redis_answer_integer(redis_batch_answer(asking->batch, at * (CELERY_STEPS + 1) + i), 0);
    if (item->count == 0 || !celery_aside_parse(snapshot, asking->groups[at], &kind, &queue, &stamp))
        return;
    snapshot->count++;
    bool returning = redis_answer_text(redis_answer_field(note, "returning")) != NULL;
    item->id = celery_key(snapshot, asking->system, asking->groups[at]);
    item->kind = returning ? kind_name(ASIDE_HOLD) : kind_name(kind);
    item->queue = queue;
    item->tenant = note_text(snapshot, note, "tenant");
    item->filter = note_text(snapshot, note, "filter");
    item->by = note_text(snapshot, note, "by");
    item->reason = note_text(snapshot, note, "reason");
    item->since = redis_answer_real(redis_answer_field(note, "since"), 0);
}

static void counted(void *data, struct redis_batch *batch, const struct error *error)
{
    struct asking *asking = data;
    struct celery_system *system = asking->system;
    (void)batch;
    if (error) {
        struct error copy = *error;
        talloc_free(asking);
        queue_system_failed(&system->base, PART_ASIDE, &copy);
        return;
    }
    struct aside_snapshot *snapshot = SNAPSHOT_NEW(struct aside_snapshot);
    snapshot->items = there(talloc_zero_array(snapshot, struct aside, asking->count + 1));
    for (size_t i = 0; i < asking->count; i++)
        fill(snapshot, asking, i);
    talloc_free(asking);
    queue_system_publish(&system->base, PART_ASIDE, snapshot);
}

static void listed(void *data, char *const *groups, size_t count, const struct error *error)
{
    struct asking *asking = data;
    struct celery_system *system = asking->system;
    if (error) {
        struct error copy = *error;
        talloc_free(asking);
        queue_system_failed(&system->base, PART_ASIDE, &copy);
        return;
    }
    asking->groups = there(talloc_array(asking, char *, count + 1));
    asking->count = count;
    asking->batch = redis_batch_new(asking);
    for (size_t i = 0; i < count; i++) {
        asking->groups[i] = there(talloc_strdup(asking, groups[i]));
        redis_batch_add(asking->batch, "HGETALL", celery_aside_note(asking->batch, system, groups[i]), NULL);
        for (int step = 0; step < CELERY_STEPS; step++)
            redis_batch_add(asking->batch, "LLEN", celery_aside_list(asking->batch, system, groups[i], step),
                            NULL);
    }
    if (count) {
        redis_batch_ask(asking->batch, system->redis, system->database, counted, asking);
        return;
    }
    counted(asking, asking->batch, NULL);
}

void celery_ask_aside(struct celery_system *system)
{
    struct asking *asking = there(talloc_zero(system, struct asking));
    asking->system = system;
    celery_aside_list_groups(asking, system, listed, asking);
}
