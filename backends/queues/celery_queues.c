/*
 * The queues of Celery: their lengths by priority, how fast they move, and the job that runs next. Queues are
 * asked in chunks with pauses between them; what costs more than a length (rates, heads) is asked of a
 * limited number at each look, in turn.
 */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_seen.h"
#include "backends/queues/queues.h"
#include "core/clock.h"

#define DEADLINE_S 8.0
#define BINDINGS_EVERY_S 30.0
#define BINDINGS_SHARE 20.0 /* reading them in a large database takes at most a 20th of the time */
#define BIG_HEAD_EVERY_S 30.0
#define HOT_S 0.4
#define ASIDE_EVERY_S 60.0

enum {
    LENGTHS_CHUNK = 200, /* queues: 5 commands each */
    DETAILS_CHUNK = 40,
    DETAILS_MOST = 400, /* queues with jobs that are looked into at one look */
    HEAD_BIG = 65536,
    LENGTHS_OF_ONE = CELERY_STEPS + 1,
    DETAILS_OF_ONE = 3 * CELERY_STEPS + 1,
};

/* What workers hold is read first, so that samples show what is there twice. */
enum stage { LENGTHS, DETAILS, UNACKED, SAMPLES, ROWS };

/* One refresh. A parentless chunk: it ends when its last answer is there. */
struct celery_look {
    struct celery_rates *rates;
    enum stage stage;
    struct seen_queue **queues; /* all that are asked, in order */
    size_t count, at;           /* at: the first of the chunk */
    size_t chunk;
    struct seen_queue **details; /* those that are looked into */
    size_t detail_count;
    struct seen_queue **hot; /* those that moved too far to tell: looked into once more, at once */
    size_t hot_count;
    bool second;
    struct answer {
        int queue, step; /* of the chunk */
        enum { LENGTH, DEAD, MARKER_AT, LENGTH_NOW, MARKER_NEW, HEAD } what;
    } * answers;
    int answer_count;
    struct found {
        int64_t marker_at; /* from the left; -1: gone */
        int64_t depth;     /* of the new marker */
        char *marker;
        size_t marker_length;
    } * found; /* of the chunk: CELERY_STEPS each */
    struct error error;
    ev_timer pause;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- what is kept ---- */

struct seen_queue *celery_seen(struct celery_rates *rates, const char *name)
{
    struct seen_queue *queue = NULL;
    size_t length = strlen(name);
    HASH_FIND(hh, rates->queues, name, length, queue);
    if (queue)
        return queue;
    queue = there(talloc_zero_size(rates, sizeof *queue + length + 1));
    memcpy(queue->name, name, length + 1);
    for (int step = 0; step < CELERY_STEPS; step++)
        queue->lists[step].length = queue->lists[step].looked_length = -1;
    for (int i = 0; i < QUEUE_HISTORY; i++)
        queue->history[i] = NAN;
    queue->ready = queue->dead = -1;
    queue->consumers = queue->running = -1;
    HASH_ADD_KEYPTR(hh, rates->queues, queue->name, length, queue);
    return queue;
}

bool celery_seen_place(const struct seen_queue *queue, int64_t position, int *step, int64_t *depth)
{
    for (*step = 0; *step < CELERY_STEPS; ++*step) {
        int64_t length = queue->lists[*step].length;
        if (position < length) {
            *depth = position + 1;
            return true;
        }
        position -= length > 0 ? length : 0;
    }
    return false;
}

static void free_seen(struct seen_queue *queue)
{
    for (int step = 0; step < CELERY_STEPS; step++) {
        talloc_free(queue->lists[step].marker);
        talloc_free(queue->lists[step].arrivals);
    }
    talloc_free(queue->head_id);
    talloc_free(queue->head_task);
    talloc_free(queue->sample);
    talloc_free(queue);
}

static int rates_free(struct celery_rates *rates)
{
    HASH_CLEAR(hh, rates->queues);
    return 0;
}

static struct celery_rates *rates_of(struct celery_system *system)
{
    if (!system->rates) {
        system->rates = there(talloc_zero(system, struct celery_rates));
        talloc_set_destructor(system->rates, rates_free);
        system->rates->system = system;
        system->rates->began_at = clock_wall();
        system->rates->epoch = redis_server_epoch(system->redis);
    }
    return system->rates;
}

/* Another server answers now, or the same with other data: what was remembered is of another one. */
static void forget_rates(struct celery_rates *rates)
{
    struct seen_queue *queue, *next;
    HASH_ITER(hh, rates->queues, queue, next)
    {
        for (int step = 0; step < CELERY_STEPS; step++) {
            TALLOC_FREE(queue->lists[step].marker);
            TALLOC_FREE(queue->lists[step].arrivals);
            queue->lists[step].length = queue->lists[step].looked_length = -1;
        }
        queue->looked_at = 0;
        TALLOC_FREE(queue->sample);
    }
}

/* ---- names ---- */

/* A queue that nothing names any more, with nothing in it, is gone. */
static bool is_gone(const struct celery_rates *rates, const char *name)
{
    const struct seen_queue *queue = NULL;
    const struct environment_jobs *settings = rates->system->base.at.settings;
    for (size_t i = 0; settings && i < settings->queue_count; i++)
        if (strcmp(settings->queues[i], name) == 0)
            return false;
    HASH_FIND(hh, rates->queues, name, strlen(name), queue);
    return !queue || (queue->ready <= 0 && queue->dead <= 0 && queue->consumers <= 0 &&
                      queue->unacked.held + queue->unacked.scheduled + queue->unacked.retrying == 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names that are dropped stay as texts: who reads a queue may still use one. */
static void drop_gone(struct celery_rates *rates, const char **named, size_t count)
{
    struct celery_system *system = rates->system;
    size_t kept = 0;
    qsort(named, count, sizeof *named, by_name);
    for (size_t i = 0; i < system->queue_count; i++) {
        const char *name = system->queues[i];
        bool is_named = count && bsearch(&name, named, count, sizeof *named, by_name);
        struct seen_queue *queue = NULL;
        if (is_named || !is_gone(rates, name)) {
            system->queues[kept++] = name;
            continue;
        }
        HASH_FIND(hh, rates->queues, name, strlen(name), queue);
        if (queue && !rates->look) {
            HASH_DEL(rates->queues, queue);
            free_seen(queue);
        }
    }
    system->queue_count = kept;
}

static void on_bindings(void *data, const struct celery_binding *bindings, size_t count, bool complete,
                        const struct error *error)
{
    struct celery_rates *rates = data;
    double now = clock_monotonic(), took = now - rates->bindings_at;
    rates->bindings = NULL;
    rates->bindings_next = now + fmax(BINDINGS_EVERY_S, BINDINGS_SHARE * took);
    if (error)
        return;
    const char **names = there(talloc_array(NULL, const char *, count + 1));
    size_t named = 0;
    for (size_t i = 0; i < count; i++)
        if (bindings[i].queue && strcmp(bindings[i].prefix, rates->system->names.prefix) == 0)
            names[named++] = bindings[i].queue;
    celery_add_queues(rates->system, names, named);
    if (complete)
        drop_gone(rates, names, named);
    talloc_free(names);
}

static void read_bindings(struct celery_rates *rates)
{
    double now = clock_monotonic();
    if (rates->bindings || now < rates->bindings_next)
        return;
    struct celery_system *system = rates->system;
    rates->bindings_at = now;
    struct celery_bindings_request request = {
        .loop = system->base.loop,
        .redis = system->redis,
        .database = system->database,
        .prefix = system->names.prefix,
        .paced = true,
    };
    rates->bindings = celery_bindings_read(&request, on_bindings, rates);
}

/* What was set aside is a part of its own; while nobody looks at it, it is asked now and then for the column
 * `parked`. */
static void read_aside(struct celery_rates *rates)
{
    struct celery_system *system = rates->system;
    const struct aside_snapshot *aside = queue_system_aside(&system->base);
    double now = clock_monotonic(), asked = rates->aside_asked, pause = ASIDE_EVERY_S;
    if (system->wanted[PART_ASIDE])
        return;
    if (aside && aside->snapshot.taken_monotonic > asked)
        pause = fmax(pause, BINDINGS_SHARE * (aside->snapshot.taken_monotonic - asked));
    else
        pause = 10 * ASIDE_EVERY_S; /* no answer yet */
    if (asked > 0 && now < asked + pause)
        return;
    rates->aside_asked = now;
    celery_ask_aside(system);
}

/* ---- a refresh ---- */

static void end_look(struct celery_look *look, const struct error *error)
{
    struct celery_rates *rates = look->rates;
    struct celery_system *system = rates->system;
    rates->look = NULL;
    ev_timer_stop(loop_ev(system->base.loop), &look->pause);
    if (error)
        queue_system_failed(&system->base, PART_QUEUES, error);
    else
        queue_system_publish(&system->base, PART_QUEUES, celery_rows(rates));
    talloc_free(look);
}

static void go_on(struct celery_look *look);

static void on_pause(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    go_on(timer->data);
}

static void pause_look(struct celery_look *look, double least)
{
    const struct celery_system *system = look->rates->system;
    struct ev_loop *ev = loop_ev(system->base.loop);
    ev_now_update(ev);
    ev_timer_set(&look->pause, fmax(redis_server_pace(system->redis), least), 0);
    ev_timer_start(ev, &look->pause);
}

/* A wrong type under one key is that queue's affair; a login that may not read is everybody's. */
static bool is_everybodys(const struct error *error)
{
    return error->kind != ERROR_UNSUPPORTED && error->kind != ERROR_SERVER;
}

static void note_error(struct celery_look *look, const struct error *error)
{
    if (look->error.kind == ERROR_NONE && is_everybodys(error))
        look->error = *error;
}

/* The commands of a chunk, their words under one context. */
struct batch {
    struct redis_command *commands;
    int count;
};

/* Words: text, length, text, length ... */
static void batch_add(struct celery_look *look, struct batch *batch, struct answer answer, int words, ...)
{
    const char **texts = there(talloc_array(batch->commands, const char *, words));
    size_t *lengths = there(talloc_array(texts, size_t, words));
    va_list list;
    va_start(list, words);
    for (int i = 0; i < words; i++) {
        texts[i] = va_arg(list, const char *);
        lengths[i] = va_arg(list, size_t);
    }
    va_end(list);
    batch->commands[batch->count] =
        (struct redis_command){.count = words, .words = texts, .lengths = lengths};
    look->answers[batch->count++] = answer;
}

#define WORD(text) (text), strlen(text)

static void on_answer(void *data, int index, const redisReply *reply, const struct error *error);
static void on_chunk(void *data, const struct error *error);

static struct batch batch_begin(struct celery_look *look, size_t most)
{
    talloc_free(look->answers);
    look->answers = there(talloc_array(look, struct answer, most));
    return (struct batch){.commands = there(talloc_array(look, struct redis_command, most))};
}

static void batch_send(struct celery_look *look, struct batch *batch)
{
    const struct celery_system *system = look->rates->system;
    look->answer_count = batch->count;
    redis_server_ask(system->redis, system->database, batch->commands, batch->count, DEADLINE_S,
                     (struct redis_handler){.reply = on_answer, .done = on_chunk, .data = look});
    talloc_free(batch->commands);
}

/* ---- lengths ---- */

static void ask_lengths(struct celery_look *look)
{
    const struct celery_system *system = look->rates->system;
    size_t left = look->count - look->at;
    look->chunk = left < LENGTHS_CHUNK ? left : LENGTHS_CHUNK;
    struct batch batch = batch_begin(look, look->chunk * LENGTHS_OF_ONE);
    for (size_t i = 0; i < look->chunk; i++) {
        struct seen_queue *queue = look->queues[look->at + i];
        queue->wrong_type = false;
        for (int step = 0; step < CELERY_STEPS; step++) {
            size_t length;
            const char *key = celery_queue_key(batch.commands, system, queue->name, step, &length);
            batch_add(look, &batch, (struct answer){.queue = (int)i, .step = step, .what = LENGTH}, 2,
                      WORD("LLEN"), key, length);
        }
        char *dead = celery_key(batch.commands, system, "dlq:");
        dead = there(talloc_strdup_append(dead, queue->name));
        batch_add(look, &batch, (struct answer){.queue = (int)i, .what = DEAD}, 2, WORD("LLEN"), WORD(dead));
    }
    batch_send(look, &batch);
}

static void take_length(struct seen_queue *queue, const struct answer *answer, const redisReply *reply)
{
    int64_t length = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    if (answer->what == DEAD) {
        queue->dead = length;
        return;
    }
    queue->lists[answer->step].length = length;
    queue->wrong_type |= length < 0;
    queue->ready = answer->step == 0 ? 0 : queue->ready;
    queue->ready += length > 0 ? length : 0;
}

/* ---- rates ---- */

static void note_arrivals(struct seen_list *list, double now, const struct list_move *move)
{
    if (!list->arrivals || !move->exact) {
        if (!list->arrivals)
            list->arrivals = there(talloc_zero(NULL, struct arrivals));
        arrivals_begin(list->arrivals, now);
        return;
    }
    arrivals_add(list->arrivals, now, move->pushed);
}

/* One list between two looks. Lists of other priorities that were and are empty are taken as unused. */
static struct list_move reckon_list(struct celery_rates *rates, struct seen_list *list, int step,
                                    const struct found *found)
{
    int64_t length = list->length > 0 ? list->length : 0;
    int64_t depth = found && found->marker_at >= 0 ? length - found->marker_at : 0;
    struct list_move move =
        list_move(list->looked_length, list->marker ? list->depth : 0, length, depth > 0 ? depth : 0);
    if (list->looked_length == 0 && step > 0)
        move.exact = true;
    if (length > 0) {
        note_arrivals(list, clock_wall(), &move);
        talloc_steal(rates, list->arrivals);
    } else {
        TALLOC_FREE(list->arrivals);
    }
    list->next_depth = list_next_depth(SEEN_NEAR, list->marker ? list->depth : 0, &move);
    return move;
}

static void keep_markers(struct celery_rates *rates, struct seen_queue *queue, struct found *found)
{
    for (int step = 0; step < CELERY_STEPS; step++) {
        struct seen_list *list = &queue->lists[step];
        TALLOC_FREE(list->marker);
        list->looked_length = list->length > 0 ? list->length : 0;
        if (!found || !found[step].marker)
            continue;
        list->marker = talloc_steal(rates, found[step].marker);
        list->marker_length = found[step].marker_length;
        list->depth = found[step].depth;
    }
}

/* False: it moved, and it is not known how far. */
static bool reckon(struct celery_rates *rates, struct seen_queue *queue, struct found *found)
{
    double now = clock_monotonic(), seconds = queue->looked_at > 0 ? now - queue->looked_at : 0;
    double popped = 0, before = 0;
    bool exact = true;
    for (int step = 0; step < CELERY_STEPS && seconds > 0; step++) {
        struct list_move move = reckon_list(rates, &queue->lists[step], step, found ? &found[step] : NULL);
        popped += move.popped;
        exact &= move.exact;
        before += (double)queue->lists[step].looked_length;
    }
    if (seconds <= 0 || popped > 0 || !exact || before <= 0)
        queue->still_since = now;
    keep_markers(rates, queue, found);
    queue->looked_at = now;
    if (seconds <= 0)
        return true;
    double growth = ((double)queue->ready - before) / seconds;
    queue->known_s += seconds;
    rate_add(&queue->growth, growth, seconds, SEEN_MINUTE_S);
    rate_add(&queue->growth_quarter, growth, seconds, SEEN_QUARTER_S);
    if (exact)
        rate_add(&queue->out, popped / seconds, seconds, SEEN_MINUTE_S);
    else
        rate_skip(&queue->out, seconds, SEEN_MINUTE_S);
    return exact;
}

static void reckon_empty(struct celery_look *look)
{
    for (size_t i = 0; i < look->count; i++) {
        struct seen_queue *queue = look->queues[i];
        if (queue->ready != 0)
            continue;
        reckon(look->rates, queue, NULL);
        queue->head_hash = 0;
        TALLOC_FREE(queue->head_id);
        TALLOC_FREE(queue->head_task);
    }
}

/* ---- heads ---- */

static uint64_t hash_of(const char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return hash ? hash : 1;
}

static void take_head(struct celery_look *look, struct seen_queue *queue, const redisReply *reply)
{
    struct celery_system *system = look->rates->system;
    if (!reply || reply->type != REDIS_REPLY_STRING)
        return;
    double now = clock_wall();
    uint64_t hash = hash_of(reply->str, reply->len);
    queue->head_read_at = now;
    queue->head_bytes = (int64_t)reply->len;
    if (queue->head_hash == hash)
        return;
    queue->head_since = now;
    queue->head_hash = hash;
    TALLOC_FREE(queue->head_id);
    TALLOC_FREE(queue->head_task);
    struct celery_envelope envelope;
    struct job job = {0};
    void *context = there(talloc_new(NULL));
    celery_envelope_scan(&envelope, reply->str, reply->len, system->tenancy.header);
    celery_job_fill(context, &job, &envelope, queue->name, &system->tenancy);
    queue->head_sent_at = job.enqueued_at;
    queue->head_id = job.id ? there(talloc_strdup(look->rates, job.id)) : NULL;
    queue->head_task = job.task ? there(talloc_strdup(look->rates, job.task)) : NULL;
    talloc_free(context);
}

static bool wants_head(const struct seen_queue *queue)
{
    return queue->head_bytes < HEAD_BIG || clock_wall() > queue->head_read_at + BIG_HEAD_EVERY_S;
}

static void ask_of_list(struct celery_look *look, struct batch *batch, int which, int step, bool with_head)
{
    struct seen_queue *queue = look->details[look->at + (size_t)which];
    struct seen_list *list = &queue->lists[step];
    size_t length;
    const char *key = celery_queue_key(batch->commands, look->rates->system, queue->name, step, &length);
    struct answer answer = {.queue = which, .step = step, .what = MARKER_AT};
    if (list->marker)
        batch_add(look, batch, answer, 7, WORD("LPOS"), key, length, list->marker, list->marker_length,
                  WORD("RANK"), WORD("-1"), WORD("MAXLEN"), WORD("1000"));
    answer.what = LENGTH_NOW;
    batch_add(look, batch, answer, 2, WORD("LLEN"), key, length);
    if (list->length <= 0)
        return;
    int64_t depth = list->next_depth > 0 ? list->next_depth : RATES_DEPTH_MOST;
    depth = depth < list->length ? depth : list->length;
    look->found[which * CELERY_STEPS + step].depth = depth;
    const char *at = there(talloc_asprintf(batch->commands, "-%lld", (long long)depth));
    answer.what = MARKER_NEW;
    batch_add(look, batch, answer, 3, WORD("LINDEX"), key, length, WORD(at));
    answer.what = HEAD;
    if (with_head && wants_head(queue))
        batch_add(look, batch, answer, 3, WORD("LINDEX"), key, length, WORD("-1"));
}

static void ask_details(struct celery_look *look)
{
    size_t left = look->detail_count - look->at;
    look->chunk = left < DETAILS_CHUNK ? left : DETAILS_CHUNK;
    struct batch batch = batch_begin(look, look->chunk * DETAILS_OF_ONE);
    talloc_free(look->found);
    look->found = there(talloc_zero_array(look, struct found, look->chunk * CELERY_STEPS));
    for (size_t i = 0; i < look->chunk; i++) {
        struct seen_queue *queue = look->details[look->at + i];
        bool head = true;
        for (int step = 0; step < CELERY_STEPS; step++) {
            look->found[i * CELERY_STEPS + (size_t)step].marker_at = -1;
            if (queue->lists[step].length <= 0 && !queue->lists[step].marker)
                continue;
            ask_of_list(look, &batch, (int)i, step, head);
            head &= queue->lists[step].length <= 0;
        }
    }
    batch_send(look, &batch);
}

static void take_detail(struct celery_look *look, const struct answer *answer, const redisReply *reply)
{
    struct seen_queue *queue = look->details[look->at + (size_t)answer->queue];
    struct found *found = &look->found[answer->queue * CELERY_STEPS + answer->step];
    if (!reply)
        return;
    if (answer->what == MARKER_AT && reply->type == REDIS_REPLY_INTEGER)
        found->marker_at = reply->integer;
    if (answer->what == LENGTH_NOW && reply->type == REDIS_REPLY_INTEGER) {
        struct seen_list *list = &queue->lists[answer->step];
        queue->ready += reply->integer - (list->length > 0 ? list->length : 0);
        list->length = reply->integer;
    }
    if (answer->what == MARKER_NEW && reply->type == REDIS_REPLY_STRING && reply->len <= SEEN_MARKER_MOST) {
        found->marker = there(talloc_memdup(look, reply->str, reply->len ? reply->len : 1));
        found->marker_length = reply->len;
    }
    if (answer->what == HEAD)
        take_head(look, queue, reply);
}

static void take_details(struct celery_look *look)
{
    if (!look->hot)
        look->hot = there(talloc_array(look, struct seen_queue *, DETAILS_MOST));
    for (size_t i = 0; i < look->chunk; i++) {
        struct seen_queue *queue = look->details[look->at + i];
        bool exact = reckon(look->rates, queue, &look->found[i * CELERY_STEPS]);
        if (!exact && !look->second && queue->ready >= RATES_DEPTH_MOST)
            look->hot[look->hot_count++] = queue;
    }
}

static void choose_details(struct celery_look *look)
{
    struct celery_rates *rates = look->rates;
    look->details = there(talloc_array(look, struct seen_queue *, DETAILS_MOST));
    size_t first = look->count ? rates->detail_next % look->count : 0;
    for (size_t i = 0; i < look->count && look->detail_count < DETAILS_MOST; i++) {
        size_t at = (first + i) % look->count;
        if (look->queues[at]->ready > 0) {
            look->details[look->detail_count++] = look->queues[at];
            rates->detail_next = at + 1;
        }
    }
}

/* ---- the stages ---- */

static void on_answer(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_look *look = data;
    if (index < 0 || index >= look->answer_count)
        return;
    if (error)
        note_error(look, error);
    const struct answer *answer = &look->answers[index];
    if (answer->what == LENGTH || answer->what == DEAD)
        take_length(look->queues[look->at + (size_t)answer->queue], answer, error ? NULL : reply);
    else
        take_detail(look, answer, error ? NULL : reply);
}

static void on_chunk(void *data, const struct error *error)
{
    struct celery_look *look = data;
    if (error || look->error.kind || look->rates->system->base.closed) {
        end_look(look, error ? error : look->error.kind ? &look->error : NULL);
        return;
    }
    if (look->stage == DETAILS)
        take_details(look);
    look->at += look->chunk;
    bool over = look->at >= (look->stage == LENGTHS ? look->count : look->detail_count);
    if (over && look->stage == LENGTHS) {
        reckon_empty(look);
        choose_details(look);
    }
    if (over && look->stage == DETAILS && look->hot_count && !look->second) {
        look->second = true;
        look->details = look->hot;
        look->detail_count = look->hot_count;
        look->at = 0;
        pause_look(look, HOT_S);
    } else if (over) {
        look->stage++;
        look->at = 0;
        go_on(look);
    } else {
        pause_look(look, 0);
    }
}

static void on_stage(void *data, const struct error *error)
{
    struct celery_look *look = data;
    if (error || look->rates->system->base.closed) {
        end_look(look, error);
        return;
    }
    look->stage++;
    go_on(look);
}

static void go_on(struct celery_look *look)
{
    if (look->stage == LENGTHS && look->count == 0)
        look->stage = UNACKED;
    if (look->stage == DETAILS && look->detail_count == 0)
        look->stage = UNACKED;
    switch (look->stage) {
    case LENGTHS:
        ask_lengths(look);
        break;
    case DETAILS:
        ask_details(look);
        break;
    case SAMPLES:
        celery_sample(look->rates, on_stage, look);
        break;
    case UNACKED:
        celery_unacked_read(look->rates, on_stage, look);
        break;
    case ROWS:
        end_look(look, NULL);
        break;
    }
}

void celery_ask_queues(struct celery_system *system)
{
    struct celery_rates *rates = rates_of(system);
    if (rates->look)
        return;
    unsigned epoch = redis_server_epoch(system->redis);
    if (epoch != rates->epoch)
        forget_rates(rates);
    rates->epoch = epoch;
    read_bindings(rates);
    read_aside(rates);
    struct celery_look *look = rates->look = there(talloc_zero(NULL, struct celery_look));
    look->rates = rates;
    look->count = system->queue_count < SEEN_QUEUES_MOST ? system->queue_count : SEEN_QUEUES_MOST;
    look->queues = there(talloc_array(look, struct seen_queue *, look->count + 1));
    for (size_t i = 0; i < look->count; i++)
        look->queues[i] = celery_seen(rates, system->queues[i]);
    ev_timer_init(&look->pause, on_pause, 0, 0);
    look->pause.data = look;
    go_on(look);
}

void celery_queues_close(struct celery_system *system)
{
    struct celery_rates *rates = system->rates;
    if (!rates)
        return;
    if (rates->bindings)
        celery_bindings_forsake(rates->bindings);
    rates->bindings = NULL;
    struct celery_look *look = rates->look;
    if (look && ev_is_active(&look->pause)) {
        ev_timer_stop(loop_ev(system->base.loop), &look->pause);
        rates->look = NULL;
        talloc_free(look);
    }
}
