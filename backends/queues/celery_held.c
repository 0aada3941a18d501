/* What workers hold: the hash `unacked` by HSCAN, and since when from its index. */
#include <hiredis/hiredis.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/celery_read.h"
#include "core/clock.h"

#define FRESH_S 300.0

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- who has it ---- */

struct holder {
    UT_hash_handle hh;
    const char *worker;
    double started_at; /* 0: it only holds it */
    char id[];
};

static int forget_all(struct holder ***head)
{
    HASH_CLEAR(hh, **head);
    return 0;
}

static void learn_holders(struct celery_read *read, const char *worker, struct json_object *entries)
{
    struct json_object *id, *request, *started;
    if (!json_object_is_type(entries, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(entries); i++) {
        struct json_object *entry = json_object_array_get_idx(entries, i);
        struct holder *found;
        if (json_object_object_get_ex(entry, "request", &request)) /* of one that waits for its time */
            entry = request;
        if (!json_object_object_get_ex(entry, "id", &id) || !json_object_is_type(id, json_type_string))
            continue;
        const char *text = json_object_get_string(id);
        HASH_FIND_STR(read->holders, text, found);
        if (found)
            continue;
        found = there(talloc_zero_size(read->texts_kept, sizeof *found + strlen(text) + 1));
        memcpy(found->id, text, strlen(text) + 1);
        found->worker = worker;
        if (json_object_object_get_ex(entry, "time_start", &started))
            found->started_at = json_object_get_double(started);
        HASH_ADD_STR(read->holders, id, found);
    }
}

static void learn_all(struct celery_read *read)
{
    const struct celery_answers *answers = celery_answers(read->system);
    if (read->texts_kept || !answers)
        return;
    struct holder ***guard = there(talloc(read, struct holder **));
    read->texts_kept = guard;
    *guard = &read->holders;
    talloc_set_destructor(guard, forget_all);
    int64_t told = 0;
    for (size_t i = 0; i < answers->worker_count; i++) {
        const struct celery_worker_answer *one = &answers->workers[i];
        const char *worker = there(talloc_strdup(read->texts_kept, one->worker));
        learn_holders(read, worker, one->active);
        learn_holders(read, worker, one->reserved);
        learn_holders(read, worker, one->scheduled);
        told += one->active && one->reserved && one->scheduled;
    }
    /* One that is silent may have any of them; what was told long ago says little. */
    bool all = answers->heard >= 0 && told == answers->heard && clock_wall() - answers->asked_at < FRESH_S;
    read->told_at = all ? answers->asked_at : 0;
}

void celery_held_holder(struct celery_read *read, struct job *job)
{
    struct holder *found = NULL;
    if (job->id)
        HASH_FIND_STR(read->holders, job->id, found);
    if (found) {
        job->worker = found->worker;
        job->started_at = found->started_at;
    } else if (job->id && job->taken_at > 0 && job->taken_at < read->told_at - 1) {
        job->flags |= JOB_ORPHANED;
    }
}

/* ---- the hash ---- */

static void take_value(struct celery_read *read, const redisReply *tag, const redisReply *value)
{
    struct span message, exchange, routing_key;
    uint64_t hash = seen_hash(tag->str, tag->len);
    if (seen_lately_has(read->seen, hash)) /* HSCAN may give one twice */
        return;
    seen_lately_add(read->seen, hash);
    read->held_seen++;
    if (!celery_unacked_message(value->str, value->len, &message, &exchange, &routing_key)) {
        read->progress.scanned++;
        return;
    }
    char *queue = celery_span_text(read->texts, routing_key);
    if (read->request.queue && queue && *queue && strcmp(queue, read->request.queue) != 0) {
        read->progress.scanned++;
        return;
    }
    celery_take(read, message.at, message.length,
                (struct read_message){.index = -1,
                                      .tag = there(talloc_strndup(read->texts, tag->str, tag->len)),
                                      .queue = queue && *queue ? queue : NULL});
}

static void on_value(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    (void)index;
    if (read->forsaken)
        return;
    TALLOC_FREE(read->cursor);
    read->window_at = clock_monotonic();
    if (error) {
        read->failed = true;
        read->error = *error;
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return;
    read->cursor = there(talloc_strdup(read, reply->element[0]->str));
    const redisReply *pairs = reply->element[1];
    for (size_t i = 0; i + 1 < pairs->elements && !celery_read_enough(read); i += 2)
        take_value(read, pairs->element[i], pairs->element[i + 1]);
}

/* ---- since when ---- */

static void on_score(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    if (!read->forsaken && !error && reply->type == REDIS_REPLY_STRING)
        read->messages[index].taken_at = strtod(reply->str, NULL);
}

static void window_taken(struct celery_read *read)
{
    if (!read->cursor || strcmp(read->cursor, "0") == 0)
        celery_read_next_place(read);
    else
        celery_held_step(read);
}

static int first_taken(const void *a, const void *b)
{
    const struct read_message *one = a, *other = b;
    return one->taken_at < other->taken_at ? -1 : one->taken_at > other->taken_at;
}

static int last_taken(const void *a, const void *b)
{
    return first_taken(b, a);
}

static void on_scores(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (!celery_read_answered(read, error))
        return;
    if (read->message_count > 0)
        qsort(read->messages, read->message_count, sizeof *read->messages,
              read->request.from == FROM_TAIL ? last_taken : first_taken);
    celery_take_window(read, window_taken);
}

static void on_window(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (!celery_read_answered(read, error))
        return;
    if (read->failed) {
        celery_read_finish(read);
        return;
    }
    if (read->message_count == 0) {
        celery_take_window(read, window_taken);
        return;
    }
    void *context = talloc_new(NULL);
    char *key = celery_key(context, read->system, read->system->names.unacked_index);
    struct redis_command *commands = there(talloc_array(context, struct redis_command, read->message_count));
    const char **words = there(talloc_array(context, const char *, 3 * read->message_count));
    for (size_t i = 0; i < read->message_count; i++) {
        const char **word = &words[3 * i];
        word[0] = "ZSCORE";
        word[1] = key;
        word[2] = read->messages[i].tag;
        commands[i] = (struct redis_command){.count = 3, .words = word};
    }
    celery_read_ask(read, commands, (int)read->message_count, on_score, on_scores);
    talloc_free(context);
}

void celery_held_step(struct celery_read *read)
{
    if (celery_read_enough(read)) {
        celery_read_finish(read);
        return;
    }
    learn_all(read);
    char count[24];
    char *key = celery_key(read, read->system, read->system->names.unacked);
    snprintf(count, sizeof count, "%d", celery_read_window(read));
    const struct redis_command command =
        REDIS_COMMAND("HSCAN", key, read->cursor ? read->cursor : "0", "COUNT", count);
    if (!read->texts)
        read->texts = there(talloc_named_const(read, 0, "texts"));
    celery_read_ask(read, &command, 1, on_value, on_window);
    talloc_free(key);
}
