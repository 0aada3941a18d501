/*
 * What failed in Celery: dead letters (dlq:QUEUE, where the application keeps them) and results, read in the
 * background pass after pass, never because somebody looks. A pass over results is a SCAN; of each key the
 * first bytes tell the status, and only failures are read whole.
 */
#include <hiredis/hiredis.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/celery_failure_groups.h"
#include "backends/queues/celery_seen.h"
#include "core/clock.h"
#include "core/units.h"

#define DEADLINE_S 8.0
#define PASS_LEAST_S 10.0
#define PASS_MOST_S 60.0
#define FIRST_ANSWER_S 4.0 /* the first look waits so long for the end of the first pass */
#define LETTER_BYTES 400000.0
#define STORM_SHARE 0.3

enum { LENGTHS_CHUNK = 500, LETTERS_MOST = 5000, LETTERS_PROBE = 20, LETTERS_WINDOW = 500 };

enum stage { LETTER_LENGTHS, LETTERS, RESULTS, RESULT_HEADS, RESULT_WHOLE };

struct letters {
    char *queue;
    int64_t length, at;
};

struct celery_failures {
    struct celery_system *system;
    /* Of the last pass that came to its end; NULL: there was none. */
    struct failure_groups *groups;
    int64_t scanned, eternal;
    double ended_at, took_s; /* monotonic */
    /* The pass that goes on. */
    bool running;
    enum stage stage;
    struct failure_groups *making;
    double began_at;
    int64_t making_scanned, making_eternal;
    const char **names; /* of the queues when it began: new ones come in between */
    size_t name_count, queue_at, chunk;
    struct letters *letters;
    size_t letter_count, letter_at;
    double letter_bytes, letters_read; /* for the mean size */
    size_t node;
    char *cursor;
    struct result_key {
        char *key;
        size_t length;
        bool failed;
    } * keys; /* of a page of SCAN */
    size_t key_count;
    size_t *whole; /* which of them are read whole */
    size_t whole_count;
    struct error error;
    ev_timer pause;
    double asked_at; /* monotonic: an answer is owed since; 0: none is */
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void go_on(struct celery_failures *failures);

/* ---- what is told ---- */

/* How many jobs of a list of a worker's answer are in `seen`, which then has all of them. */
static int64_t seen_before(struct json_object *seen, struct json_object *jobs)
{
    size_t count = json_object_is_type(jobs, json_type_array) ? json_object_array_length(jobs) : 0;
    int64_t before = 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *job = json_object_array_get_idx(jobs, i), *request, *id;
        if (json_object_object_get_ex(job, "request", &request)) /* of what is scheduled */
            job = request;
        if (!json_object_object_get_ex(job, "id", &id) || !json_object_is_type(id, json_type_string))
            continue;
        if (json_object_object_get_ex(seen, json_object_get_string(id), NULL))
            before++;
        else
            json_object_object_add(seen, json_object_get_string(id), NULL);
    }
    return before;
}

/* Jobs that two workers say to have. */
static int64_t had_twice(const struct celery_system *system)
{
    const struct celery_answers *answers = celery_answers(system);
    struct json_object *seen = json_object_new_object();
    int64_t twice = 0;
    for (size_t i = 0; answers && i < answers->worker_count; i++) {
        const struct celery_worker_answer *worker = &answers->workers[i];
        twice += seen_before(seen, worker->active) + seen_before(seen, worker->reserved) +
                 seen_before(seen, worker->scheduled);
    }
    json_object_put(seen);
    return twice;
}

/* As a worker said it, else as the file does, else kombu's own. */
static double visibility_timeout(const struct celery_system *system)
{
    const struct celery_answers *answers = celery_answers(system);
    for (size_t i = 0; answers && i < answers->worker_count; i++) {
        struct json_object *broker, *options, *timeout;
        if (json_object_object_get_ex(answers->workers[i].stats, "broker", &broker) &&
            json_object_object_get_ex(broker, "transport_options", &options) &&
            json_object_object_get_ex(options, "visibility_timeout", &timeout) &&
            json_object_get_double(timeout) > 0)
            return json_object_get_double(timeout);
    }
    return system->names.visibility_timeout_s;
}

static void add_note(struct failures_snapshot *snapshot, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_note(struct failures_snapshot *snapshot, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *text = there(talloc_vasprintf(snapshot, format, list));
    va_end(list);
    snapshot->note = snapshot->note ? there(talloc_asprintf(snapshot, "%s; %s", snapshot->note, text)) : text;
}

static void fill_notes(const struct celery_failures *failures, struct failures_snapshot *snapshot)
{
    const struct celery_system *system = failures->system;
    char wait[32], limit[32];
    double timeout = visibility_timeout(system);
    double longest = system->rates ? celery_unacked_longest_wait(system->rates) : 0;
    if (longest > timeout)
        add_note(snapshot,
                 "a held job waits %s for its time, longer than the visibility timeout of %s: it will be "
                 "given out again and run twice",
                 format_s(wait, sizeof wait, longest), format_s(limit, sizeof limit, timeout));
    int64_t redelivered = system->rates ? celery_unacked_redelivered(system->rates) : 0;
    if (redelivered > 0)
        add_note(snapshot, "%s held %s given out before: a worker ended, or the visibility timeout passed",
                 format_count(wait, sizeof wait, (double)redelivered),
                 redelivered == 1 ? "job was" : "jobs were");
    if (!failures->groups)
        add_note(snapshot, "results are still being read");
    int64_t dropped = failures->groups ? failure_groups_dropped(failures->groups) : 0;
    if (dropped > 0)
        add_note(snapshot, "%lld more failures are of further kinds", (long long)dropped);
}

static void publish(struct celery_failures *failures)
{
    struct celery_system *system = failures->system;
    struct failures_snapshot *snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    const struct failure_groups *groups = failures->groups ? failures->groups : failures->making;
    if (groups)
        failure_groups_fill(groups, snapshot);
    snapshot->scanned = failures->groups ? failures->scanned : failures->making_scanned;
    snapshot->total = failures->groups ? failures->scanned : -1;
    snapshot->results_without_expiry = failures->groups ? failures->eternal : failures->making_eternal;
    snapshot->retry_share = celery_watch_retry_share(system);
    if (isnan(snapshot->retry_share) && system->rates)
        snapshot->retry_share = celery_sample_retry_share(system->rates);
    snapshot->storm = snapshot->retry_share > STORM_SHARE;
    int64_t held = system->rates ? celery_unacked_twice(system->rates) : -1;
    snapshot->duplicates =
        had_twice(system) + (held > 0 ? held : 0) + (system->rates ? celery_sample_twice(system->rates) : 0);
    fill_notes(failures, snapshot);
    failures->asked_at = 0;
    queue_system_publish(&system->base, PART_FAILURES, snapshot);
}

/* ---- a pass ---- */

static void forget_page(struct celery_failures *failures)
{
    TALLOC_FREE(failures->keys);
    TALLOC_FREE(failures->whole);
    failures->key_count = failures->whole_count = 0;
}

static void end_pass(struct celery_failures *failures, const struct error *error)
{
    ev_timer_stop(loop_ev(failures->system->base.loop), &failures->pause);
    failures->running = false;
    failures->ended_at = clock_monotonic();
    failures->took_s = failures->ended_at - failures->began_at;
    TALLOC_FREE(failures->names);
    TALLOC_FREE(failures->letters);
    TALLOC_FREE(failures->cursor);
    forget_page(failures);
    if (error) {
        failures->error = *error;
        TALLOC_FREE(failures->making);
        if (failures->asked_at > 0)
            queue_system_failed(&failures->system->base, PART_FAILURES, error);
        failures->asked_at = 0;
        return;
    }
    talloc_free(failures->groups);
    failures->groups = failures->making;
    failures->making = NULL;
    failures->scanned = failures->making_scanned;
    failures->eternal = failures->making_eternal;
    if (failures->asked_at > 0)
        publish(failures);
}

static void on_pause(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    go_on(timer->data);
}

static void pause_pass(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    struct ev_loop *ev = loop_ev(system->base.loop);
    if (failures->asked_at > 0 && clock_monotonic() > failures->asked_at + FIRST_ANSWER_S)
        publish(failures);
    ev_now_update(ev);
    ev_timer_set(&failures->pause,
                 redis_server_pace(failures->stage < RESULTS ? system->redis : system->result_redis), 0);
    ev_timer_start(ev, &failures->pause);
}

static bool goes_on(struct celery_failures *failures, const struct error *error)
{
    const struct error *why = error ? error : failures->error.kind ? &failures->error : NULL;
    if (!why && !failures->system->base.closed)
        return true;
    end_pass(failures, why);
    return false;
}

/* Under a key that somebody else uses in another way there are no failures; that is no error of the pass. */
static void note_error(struct celery_failures *failures, const struct error *error)
{
    if (failures->error.kind == ERROR_NONE && error->kind != ERROR_SERVER && error->kind != ERROR_UNSUPPORTED)
        failures->error = *error;
}

/* ---- dead letters ---- */

static char *letters_key(const void *context, const struct celery_system *system, const char *queue)
{
    char *key = celery_key(context, system, "dlq:");
    return there(talloc_strdup_append(key, queue));
}

static void on_letter_length(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_failures *failures = data;
    size_t at = failures->queue_at + (size_t)index;
    if (error)
        note_error(failures, error);
    if (error || reply->type != REDIS_REPLY_INTEGER || reply->integer <= 0 || at >= failures->name_count)
        return;
    failures->letters =
        there(talloc_realloc(failures, failures->letters, struct letters, failures->letter_count + 1));
    failures->letters[failures->letter_count++] = (struct letters){
        .queue = there(talloc_strdup(failures->letters, failures->names[at])), .length = reply->integer};
}

static void on_letter_lengths(void *data, const struct error *error)
{
    struct celery_failures *failures = data;
    if (!goes_on(failures, error))
        return;
    failures->queue_at += failures->chunk;
    if (failures->queue_at >= failures->name_count)
        failures->stage = LETTERS;
    pause_pass(failures);
}

static void ask_letter_lengths(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    size_t left = failures->name_count - failures->queue_at;
    failures->chunk = left < LENGTHS_CHUNK ? left : LENGTHS_CHUNK;
    if (failures->chunk == 0) {
        failures->stage = LETTERS;
        go_on(failures);
        return;
    }
    void *context = there(talloc_new(failures));
    struct redis_command *commands = there(talloc_array(context, struct redis_command, failures->chunk));
    for (size_t i = 0; i < failures->chunk; i++) {
        const char **words = there(talloc_array(context, const char *, 2));
        words[0] = "LLEN";
        words[1] = letters_key(context, system, failures->names[failures->queue_at + i]);
        commands[i] = (struct redis_command){.count = 2, .words = words};
    }
    redis_server_ask(
        system->redis, system->database, commands, (int)failures->chunk, DEADLINE_S,
        (struct redis_handler){.reply = on_letter_length, .done = on_letter_lengths, .data = failures});
    talloc_free(context);
}

static void on_letter(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_failures *failures = data;
    struct letters *letters = &failures->letters[failures->letter_at];
    (void)index;
    if (error || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        letters->at = letters->length;
        return;
    }
    void *context = there(talloc_pool(NULL, 64 * 1024));
    for (size_t i = 0; i < reply->elements; i++) {
        struct celery_failed failed;
        const redisReply *element = reply->element[i];
        if (element->type == REDIS_REPLY_STRING &&
            celery_failed_letter(context, failures->system, letters->queue, element->str, element->len,
                                 &failed))
            failure_groups_add(failures->making, &failed);
        failures->letter_bytes += (double)element->len;
        talloc_free_children(context);
    }
    talloc_free(context);
    failures->letters_read += (double)reply->elements;
    failures->making_scanned += (int64_t)reply->elements;
    letters->at += (int64_t)reply->elements;
}

static void on_letters(void *data, const struct error *error)
{
    struct celery_failures *failures = data;
    if (!goes_on(failures, error))
        return;
    const struct letters *letters = &failures->letters[failures->letter_at];
    if (letters->at >= letters->length || letters->at >= LETTERS_MOST)
        failures->letter_at++;
    pause_pass(failures);
}

static void ask_letters(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    if (failures->letter_at >= failures->letter_count) {
        failures->stage = RESULTS;
        go_on(failures);
        return;
    }
    const struct letters *letters = &failures->letters[failures->letter_at];
    double fits = failures->letters_read > 0
                      ? LETTER_BYTES * failures->letters_read / fmax(failures->letter_bytes, 1)
                      : LETTERS_PROBE;
    int64_t count = (int64_t)fmin(fmax(fits, 1), LETTERS_WINDOW);
    char *key = letters_key(failures, system, letters->queue);
    char *from = there(talloc_asprintf(key, "%lld", (long long)letters->at));
    char *to = there(talloc_asprintf(key, "%lld", (long long)(letters->at + count - 1)));
    struct redis_command command = REDIS_COMMAND("LRANGE", key, from, to);
    redis_server_ask(system->redis, system->database, &command, 1, DEADLINE_S,
                     (struct redis_handler){.reply = on_letter, .done = on_letters, .data = failures});
    talloc_free(key);
}

/* ---- results ---- */

static void on_page(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_failures *failures = data;
    (void)index;
    TALLOC_FREE(failures->cursor);
    if (error)
        note_error(failures, error);
    if (error || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_ARRAY)
        return;
    const redisReply *keys = reply->element[1];
    forget_page(failures);
    failures->keys = there(talloc_zero_array(failures, struct result_key, keys->elements + 1));
    for (size_t i = 0; i < keys->elements; i++)
        if (keys->element[i]->type == REDIS_REPLY_STRING && keys->element[i]->len)
            failures->keys[failures->key_count++] = (struct result_key){
                .key = there(talloc_memdup(failures->keys, keys->element[i]->str, keys->element[i]->len)),
                .length = keys->element[i]->len};
    if (strcmp(reply->element[0]->str, "0") != 0)
        failures->cursor = there(talloc_strdup(failures, reply->element[0]->str));
}

static void next_page(struct celery_failures *failures)
{
    forget_page(failures);
    failures->stage = RESULTS;
    if (!failures->cursor)
        failures->node++;
    pause_pass(failures);
}

static void on_page_end(void *data, const struct error *error)
{
    struct celery_failures *failures = data;
    if (!goes_on(failures, error))
        return;
    if (failures->key_count == 0) {
        next_page(failures);
        return;
    }
    failures->stage = RESULT_HEADS;
    go_on(failures);
}

static void ask_page(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    size_t nodes = redis_server_node_count(system->result_redis);
    if (failures->node >= (nodes ? nodes : 1)) {
        end_pass(failures, NULL);
        return;
    }
    char *match = there(talloc_asprintf(failures, "%s*", system->names.results));
    struct redis_command command =
        REDIS_COMMAND("SCAN", failures->cursor ? failures->cursor : "0", "MATCH", match, "COUNT", "200");
    struct redis_handler handler = {.reply = on_page, .done = on_page_end, .data = failures};
    if (nodes == 0)
        redis_server_ask(system->result_redis, system->result_database, &command, 1, DEADLINE_S, handler);
    else
        redis_server_ask_node(system->result_redis, failures->node, system->result_database, &command, 1,
                              DEADLINE_S, handler);
    talloc_free(match);
}

/* Python writes the status first. */
static void on_head(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_failures *failures = data;
    if (error || index < 0 || (size_t)index >= 2 * failures->key_count)
        return;
    struct result_key *key = &failures->keys[index / 2];
    if (index % 2 == 1) {
        failures->making_eternal += reply->type == REDIS_REPLY_INTEGER && reply->integer == -1;
        failures->making_scanned++;
        return;
    }
    if (reply->type == REDIS_REPLY_STRING)
        key->failed = memmem(reply->str, reply->len, "\"FAILURE\"", 9) != NULL ||
                      memmem(reply->str, reply->len, "\"RETRY\"", 7) != NULL;
}

static void on_heads(void *data, const struct error *error)
{
    struct celery_failures *failures = data;
    if (!goes_on(failures, error))
        return;
    failures->whole = there(talloc_array(failures, size_t, failures->key_count));
    for (size_t i = 0; i < failures->key_count; i++)
        if (failures->keys[i].failed)
            failures->whole[failures->whole_count++] = i;
    if (failures->whole_count == 0) {
        next_page(failures);
        return;
    }
    failures->stage = RESULT_WHOLE;
    go_on(failures);
}

static struct redis_command ask_range(const void *context, const struct result_key *key, const char *to)
{
    const char **words = there(talloc_array(context, const char *, 4));
    size_t *lengths = there(talloc_array(context, size_t, 4));
    words[0] = "GETRANGE", words[1] = key->key, words[2] = "0", words[3] = to;
    lengths[0] = 8, lengths[1] = key->length, lengths[2] = 1, lengths[3] = strlen(to);
    return (struct redis_command){.count = 4, .words = words, .lengths = lengths};
}

static struct redis_command ask_ttl(const void *context, const struct result_key *key)
{
    const char **words = there(talloc_array(context, const char *, 2));
    size_t *lengths = there(talloc_array(context, size_t, 2));
    words[0] = "TTL", words[1] = key->key;
    lengths[0] = 3, lengths[1] = key->length;
    return (struct redis_command){.count = 2, .words = words, .lengths = lengths};
}

static void ask_heads(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    void *context = there(talloc_pool(failures, 128 * 1024));
    struct redis_command *commands =
        there(talloc_array(context, struct redis_command, 2 * failures->key_count));
    for (size_t i = 0; i < failures->key_count; i++) {
        commands[2 * i] = ask_range(context, &failures->keys[i], "127");
        commands[2 * i + 1] = ask_ttl(context, &failures->keys[i]);
    }
    redis_server_ask(system->result_redis, system->result_database, commands, (int)(2 * failures->key_count),
                     DEADLINE_S,
                     (struct redis_handler){.reply = on_head, .done = on_heads, .data = failures});
    talloc_free(context);
}

static void on_result(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_failures *failures = data;
    struct celery_failed failed;
    (void)index;
    if (error || reply->type != REDIS_REPLY_STRING)
        return;
    void *context = there(talloc_new(NULL));
    if (celery_failed_result(context, failures->system, reply->str, reply->len, &failed))
        failure_groups_add(failures->making, &failed);
    talloc_free(context);
}

static void on_results(void *data, const struct error *error)
{
    struct celery_failures *failures = data;
    if (!goes_on(failures, error))
        return;
    if (failures->whole_count)
        pause_pass(failures);
    else
        next_page(failures);
}

/* At most so many at once that their replies stay about a megabyte when all have long tracebacks. */
static void ask_whole(struct celery_failures *failures)
{
    const struct celery_system *system = failures->system;
    enum { AT_ONCE = 100 };
    size_t count = failures->whole_count < AT_ONCE ? failures->whole_count : AT_ONCE;
    void *context = there(talloc_new(failures));
    struct redis_command *commands = there(talloc_array(context, struct redis_command, count));
    for (size_t i = 0; i < count; i++)
        commands[i] = ask_range(context, &failures->keys[failures->whole[--failures->whole_count]], "65535");
    redis_server_ask(system->result_redis, system->result_database, commands, (int)count, DEADLINE_S,
                     (struct redis_handler){.reply = on_result, .done = on_results, .data = failures});
    talloc_free(context);
}

/* ---- the passes ---- */

static void go_on(struct celery_failures *failures)
{
    switch (failures->stage) {
    case LETTER_LENGTHS:
        ask_letter_lengths(failures);
        break;
    case LETTERS:
        ask_letters(failures);
        break;
    case RESULTS:
        ask_page(failures);
        break;
    case RESULT_HEADS:
        ask_heads(failures);
        break;
    case RESULT_WHOLE:
        ask_whole(failures);
        break;
    }
}

static void begin_pass(struct celery_failures *failures)
{
    failures->running = true;
    failures->stage = LETTER_LENGTHS;
    failures->making = failure_groups_new(failures, clock_wall());
    failures->began_at = clock_monotonic();
    failures->making_scanned = failures->making_eternal = 0;
    failures->queue_at = failures->letter_count = failures->letter_at = failures->node = 0;
    error_clear(&failures->error);
    const struct celery_system *system = failures->system;
    failures->name_count = system->queue_count;
    failures->names = there(talloc_array(failures, const char *, system->queue_count + 1));
    for (size_t i = 0; i < system->queue_count; i++)
        failures->names[i] = there(talloc_strdup(failures->names, system->queues[i]));
    go_on(failures);
}

static struct celery_failures *failures_of(struct celery_system *system)
{
    if (!system->failures) {
        struct celery_failures *failures = system->failures =
            there(talloc_zero(system, struct celery_failures));
        failures->system = system;
        ev_timer_init(&failures->pause, on_pause, 0, 0);
        failures->pause.data = failures;
    }
    return system->failures;
}

static bool is_due(const struct celery_failures *failures)
{
    double pause = fmin(fmax(20 * failures->took_s, PASS_LEAST_S), PASS_MOST_S);
    return !failures->running && (!failures->groups || clock_monotonic() > failures->ended_at + pause);
}

void celery_ask_failures(struct celery_system *system)
{
    struct celery_failures *failures = failures_of(system);
    failures->asked_at = clock_monotonic();
    /* After a pass that failed, the next one answers. */
    bool failed = !failures->running && failures->error.kind != ERROR_NONE;
    bool due = failed || is_due(failures);
    if (failures->groups && !failed)
        publish(failures);
    if (due)
        begin_pass(failures);
}

void celery_failures_close(struct celery_system *system)
{
    if (system->failures)
        ev_timer_stop(loop_ev(system->base.loop), &system->failures->pause);
}
