/* Asking workers, pausing and resuming a queue, draining a worker: steps that ask first who takes from what,
 * and act on the answer. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_control_internal.h"
#include "backends/queues/queues.h"
#include "backends/queues/redis_batch.h"
#include "core/clock.h"
#include "core/files.h"
#include "core/units.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static struct json_object *queue_argument(const char *queue)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "queue", json_object_new_string(queue));
    return object;
}

static void tell(struct control_step *own, const char *method, struct json_object *arguments,
                 void (*then)(struct control_step *own, const struct celery_reply *replies, size_t count))
{
    json_object_put(own->arguments);
    own->method = method;
    own->arguments = arguments;
    own->then = then;
    control_send(own);
}

static void set_workers(struct control_step *own, const char *const *workers, size_t count)
{
    const char **copies = there(talloc_array(own, const char *, count + 1));
    for (size_t i = 0; i < count; i++)
        copies[i] = there(talloc_strdup(copies, workers[i]));
    own->workers = copies;
    own->worker_count = count;
}

/* ---- asking ---- */

static void on_round(void *data, size_t answered, size_t asked, const char *silent, const struct error *error)
{
    struct control_step *own = data;
    struct celery_system *system = own->system;
    const struct celery_answers *answers = celery_answers(system);
    own->asking = false;
    if (!error && answers) {
        control_print(own, "%zu of %zu answered; %lld are connected", answered, asked,
                      (long long)answers->heard);
        if (*silent)
            control_print(own, "no answer from %s", silent);
    }
    if (!error)
        celery_asked_go_on(system);
    change_step_done(own->change, own->step, error ? STEP_FAILED : STEP_DONE, error);
}

static void send_ask(struct change *change, struct change_step *step)
{
    struct control_step *own = step->data;
    (void)change;
    own->asking = true;
    celery_asked_ask(own->system, own->workers, own->worker_count, on_round, own);
}

struct change *control_ask(struct celery_system *system, const char *const *workers, size_t count)
{
    static const char *const further[] = {"stats", "reserved", "scheduled", "active_queues", "registered"};
    struct change *change = control_change_new(system, 1);
    struct control_step *own = control_change_add(change, system, "ping", NULL, workers, count);
    struct json_object *safe = json_object_new_object();
    json_object_object_add(safe, "safe", json_object_new_boolean(1));
    char *active = control_command(change, system, "active", safe, workers, count);
    json_object_put(safe);
    char *text = there(talloc_asprintf(change, "%s\n%s", own->step->command, active));
    for (size_t i = 0; i < sizeof further / sizeof *further; i++)
        text = there(talloc_asprintf_append_buffer(
            text, "\n%s", control_command(change, system, further[i], NULL, workers, count)));
    change->hazard = HAZARD_MEASURE;
    change->past = "asked";
    change->title = there(talloc_asprintf(change, "Ask %s", control_names(change, workers, count)));
    change->effect = there(talloc_asprintf(
        change,
        "Seven questions to %zu %s: what they run (arguments as the application lets them be seen), hold, "
        "wait with, take from and know. No job is touched. Each question makes a key for its replies in "
        "Redis, "
        "which is removed after at most 3 s.\n"
        "Then they are asked again every 10 s, for as long as the environment stays unlocked and somebody "
        "looks at the workers.",
        count, count == 1 ? "worker" : "workers"));
    own->step->name = control_names(change, workers, count);
    own->step->command = text;
    own->step->send = send_ask;
    control_confirm_workers(change, workers, count);
    return change;
}

/* ---- pausing ---- */

/* Who consumed before, for resuming: those that a pause before this one noted stay in it. */
static char *make_note(struct control_step *own, const char *const *consumers, size_t count)
{
    struct json_object *note = json_object_new_object(), *list = json_object_new_array();
    size_t before_count;
    const char **before = celery_paused_by(own, own->system, own->queue, &before_count);
    char since[32], *user = files_user(own);
    for (size_t i = 0; i < count; i++)
        json_object_array_add(list, json_object_new_string(consumers[i]));
    for (size_t i = 0; i < before_count; i++) {
        bool listed = false;
        for (size_t j = 0; j < count; j++)
            listed = listed || !strcmp(before[i], consumers[j]);
        if (!listed)
            json_object_array_add(list, json_object_new_string(before[i]));
    }
    json_object_object_add(note, "workers", list);
    json_object_object_add(note, "since",
                           json_object_new_string(clock_rfc3339(since, sizeof since, clock_wall())));
    json_object_object_add(note, "at", json_object_new_double(clock_wall()));
    json_object_object_add(note, "by", json_object_new_string(user));
    if (own->change->reason)
        json_object_object_add(note, "reason", json_object_new_string(own->change->reason));
    char *text = there(talloc_strdup(
        own, json_object_to_json_string_ext(note, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)));
    json_object_put(note);
    return text;
}

static bool batch_failed(struct control_step *own, struct redis_batch *batch, const struct error *error)
{
    struct error why = {0};
    const struct error *refusal = error ? error : redis_batch_refusal(batch);
    if (refusal)
        why = *refusal;
    own->batch = NULL;
    if (!refusal)
        return false;
    talloc_free(batch);
    control_over(own, STEP_FAILED, &why);
    return true;
}

static void told_silent(struct control_step *own)
{
    struct error error;
    if (!own->left) {
        control_over(own, STEP_DONE, NULL);
        return;
    }
    error_set(&error, ERROR_TIMEOUT, own->change->server, own->change->title,
              "Look at those workers; then do it again.", "%s did not answer: it goes on as before",
              own->left);
    control_over(own, STEP_UNKNOWN, &error);
}

static void consumers_cancelled(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    char *silent = control_silent(own, replies, count);
    for (size_t i = 0; i < count; i++)
        control_print(own, "%s takes no more from %s", replies[i].worker, own->queue);
    if (silent)
        own->left = own->left ? there(talloc_asprintf(own, "%s, %s", own->left, silent)) : silent;
    told_silent(own);
}

static void note_written(void *data, struct redis_batch *batch, const struct error *error)
{
    struct control_step *own = data;
    if (batch_failed(own, batch, error))
        return;
    talloc_free(batch);
    tell(own, "cancel_consumer", queue_argument(own->queue), consumers_cancelled);
}

/* Everybody said what it takes from. */
static void consumers_known(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    struct error error;
    const char **consumers = there(talloc_array(own, const char *, count + 1));
    size_t found = 0;
    own->left = control_silent(own, replies, count);
    for (size_t i = 0; i < count; i++)
        if (celery_takes_from(replies[i].value, own->queue))
            consumers[found++] = replies[i].worker;
    if (!found) {
        error_set(&error, ERROR_GONE, own->change->server, own->change->title, NULL,
                  own->left ? "none of those that answered takes from it; no answer from %s"
                            : "no worker takes from it%s",
                  own->left ? own->left : "");
        control_over(own, STEP_GONE, &error);
        return;
    }
    set_workers(own, consumers, found);
    own->batch = redis_batch_new(NULL);
    redis_batch_add(own->batch, "HSET", celery_key(own->batch, own->system, CELERY_PAUSED_KEY), own->queue,
                    make_note(own, consumers, found), NULL);
    redis_batch_act(own->batch, own->system->redis, own->system->database, note_written, own);
}

struct change *control_pause(struct celery_system *system, const char *queue, const char *const *workers,
                             size_t count)
{
    struct change *change = control_change_new(system, 1);
    struct control_step *own = control_change_add(change, system, "active_queues", NULL, workers, count);
    const struct celery_answers *answers = celery_answers(system);
    char *known = NULL, age[32];
    for (size_t i = 0; answers && i < answers->worker_count; i++)
        if (celery_takes_from(answers->workers[i].queues, queue))
            known = known ? talloc_asprintf_append_buffer(known, ", %s", answers->workers[i].worker)
                          : talloc_strdup(change, answers->workers[i].worker);
    own->queue = there(talloc_strdup(own, queue));
    own->then = consumers_known;
    change->past = "paused";
    change->title = there(talloc_asprintf(change, "Pause the queue %s", queue));
    known = known ? talloc_asprintf(change, " (%s ago: %s)",
                                    format_s(age, sizeof age, clock_wall() - answers->asked_at), known)
                  : talloc_strdup(change, "");
    change->effect = there(talloc_asprintf(
        change,
        "The workers that take from it are told to take no more; who they are is noted in Redis, so that "
        "resuming restores exactly those%s. Jobs that they have taken already still run. The queue grows "
        "meanwhile. It does not last: a worker that is restarted takes from the queue again.",
        known));
    struct json_object *argument = queue_argument(queue);
    own->step->command =
        there(talloc_asprintf(change,
                              "%s\nHSET %s %s {\"workers\": [those that take from it], ...}\n%s  "
                              "(destination: those that take from it)",
                              own->step->command, celery_key(change, system, CELERY_PAUSED_KEY), queue,
                              control_command(change, system, "cancel_consumer", argument, NULL, 0)));
    json_object_put(argument);
    own->step->name = there(talloc_strdup(change, queue));
    own->step->target = own->step->name;
    own->step->subject =
        there(talloc_asprintf(change, count == 1 ? "%zu worker is asked" : "%zu workers are asked", count));
    own->step->undo = there(talloc_asprintf(change, "resume %s", queue));
    control_confirm_name(change, queue, "the name of the queue");
    return change;
}

/* ---- resuming ---- */

static void note_removed(void *data, struct redis_batch *batch, const struct error *error)
{
    struct control_step *own = data;
    if (batch_failed(own, batch, error))
        return;
    talloc_free(batch);
    told_silent(own);
}

static void consumers_added(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    own->left = control_silent(own, replies, count);
    for (size_t i = 0; i < count; i++)
        control_print(own, "%s takes from %s again", replies[i].worker, own->queue);
    if (!count) { /* the note stays */
        told_silent(own);
        return;
    }
    own->batch = redis_batch_new(NULL);
    redis_batch_add(own->batch, "HDEL", celery_key(own->batch, own->system, CELERY_PAUSED_KEY), own->queue,
                    NULL);
    redis_batch_act(own->batch, own->system->redis, own->system->database, note_removed, own);
}

static void note_read(void *data, struct redis_batch *batch, const struct error *error)
{
    struct control_step *own = data;
    struct json_object *list = NULL;
    if (batch_failed(own, batch, error))
        return;
    const char *text = redis_answer_text(redis_batch_answer(batch, 0));
    struct json_object *note = text ? json_tokener_parse(text) : NULL;
    if (json_object_is_type(note, json_type_object))
        json_object_object_get_ex(note, "workers", &list);
    if (json_object_is_type(list, json_type_array)) {
        size_t count = 0;
        const char **names = there(talloc_array(own, const char *, json_object_array_length(list) + 1));
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            const char *name = json_object_get_string(json_object_array_get_idx(list, i));
            if (name && control_worker_plausible(name, strlen(name)))
                names[count++] = name;
        }
        set_workers(own, names, count);
    }
    json_object_put(note);
    talloc_free(batch);
    if (own->worker_count) {
        tell(own, "add_consumer", queue_argument(own->queue), consumers_added);
        return;
    }
    struct error gone;
    error_set(&gone, ERROR_GONE, own->change->server, own->change->title,
              "Name the workers that shall take from it.", "there is no note of who took from it before");
    control_over(own, STEP_GONE, &gone);
}

static void send_resume(struct change *change, struct change_step *step)
{
    struct control_step *own = step->data;
    (void)change;
    if (own->worker_count) { /* named */
        tell(own, "add_consumer", queue_argument(own->queue), consumers_added);
        return;
    }
    own->batch = redis_batch_new(NULL);
    redis_batch_add(own->batch, "HGET", celery_key(own->batch, own->system, CELERY_PAUSED_KEY), own->queue,
                    NULL);
    redis_batch_act(own->batch, own->system->redis, own->system->database, note_read, own);
}

struct change *control_resume(struct celery_system *system, const char *queue, const char *const *workers,
                              size_t count)
{
    struct change *change = control_change_new(system, 1);
    size_t noted_count = count;
    const char *const *noted = workers;
    if (!count)
        noted = celery_paused_by(change, system, queue, &noted_count);
    struct control_step *own =
        control_change_add(change, system, "add_consumer", queue_argument(queue), noted, noted_count);
    char *names = noted_count ? control_names(change, noted, noted_count)
                              : there(talloc_strdup(change, "those that the note names"));
    own->queue = there(talloc_strdup(own, queue));
    if (!count)
        own->worker_count = 0; /* as the note says when it is sent */
    change->past = "resumed";
    change->title = there(talloc_asprintf(change, "Resume the queue %s", queue));
    change->effect = there(talloc_asprintf(
        change,
        "%s take from it again, as before the pause; others do not. A worker that was restarted since "
        "does so already.",
        names));
    own->step->command = there(talloc_asprintf(change, "%s\nHDEL %s %s", own->step->command,
                                               celery_key(change, system, CELERY_PAUSED_KEY), queue));
    own->step->name = there(talloc_strdup(change, queue));
    own->step->target = own->step->name;
    own->step->subject = names;
    own->step->undo = there(talloc_asprintf(change, "pause %s", queue));
    own->step->send = send_resume;
    control_confirm_name(change, queue, "the name of the queue");
    return change;
}

/* ---- draining ---- */

static size_t count_of(const struct celery_reply *reply)
{
    return reply && json_object_is_type(reply->value, json_type_array)
               ? json_object_array_length(reply->value)
               : 0;
}

static void told_scheduled(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    control_print(own, "waits with %zu for their time", count_of(count ? replies : NULL));
    told_silent(own);
}

static void told_reserved(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    control_print(own, "holds %zu that it has taken and not begun", count_of(count ? replies : NULL));
    tell(own, "scheduled", NULL, told_scheduled);
}

static void told_active(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    control_print(own, "still runs %zu", count_of(count ? replies : NULL));
    tell(own, "reserved", NULL, told_reserved);
}

static void drain_next(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    if (!count) {
        own->left = own->workers[0];
        told_silent(own);
        return;
    }
    (void)replies;
    control_print(own, "takes no more from %s", own->queues[own->queue_at++]);
    if (own->queue_at < own->queue_count) {
        tell(own, "cancel_consumer", queue_argument(own->queues[own->queue_at]), drain_next);
        return;
    }
    struct json_object *safe = json_object_new_object();
    json_object_object_add(safe, "safe", json_object_new_boolean(1));
    tell(own, "active", safe, told_active);
}

static void drain_queues(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    struct json_object *list = count ? replies[0].value : NULL, *name;
    size_t length = count_of(count ? replies : NULL);
    if (!count) {
        own->left = own->workers[0];
        told_silent(own);
        return;
    }
    own->queues = there(talloc_array(own, const char *, length + 1));
    for (size_t i = 0; i < length; i++)
        if (json_object_is_type(json_object_array_get_idx(list, i), json_type_object) &&
            json_object_object_get_ex(json_object_array_get_idx(list, i), "name", &name) &&
            json_object_is_type(name, json_type_string))
            own->queues[own->queue_count++] = there(talloc_strdup(own->queues, json_object_get_string(name)));
    if (own->queue_count) {
        tell(own, "cancel_consumer", queue_argument(own->queues[0]), drain_next);
        return;
    }
    control_print(own, "took from no queue already");
    struct json_object *safe = json_object_new_object();
    json_object_object_add(safe, "safe", json_object_new_boolean(1));
    tell(own, "active", safe, told_active);
}

struct change *control_drain(struct celery_system *system, const char *const *workers, size_t count)
{
    struct change *change = control_change_new(system, count);
    change->past = "drained";
    change->title = there(talloc_asprintf(change, "Drain %s", control_names(change, workers, count)));
    change->shows_output = true;
    change->effect =
        "It is told to take no more from any queue that it takes from; what it has taken already "
        "still runs, what waits there for its time stays there. How much that is, is told "
        "afterwards. A restart ends it: then it takes from its queues again.";
    control_confirm_workers(change, workers, count);
    for (size_t i = 0; i < count; i++) {
        struct control_step *own = control_change_add(change, system, "active_queues", NULL, &workers[i], 1);
        own->then = drain_queues;
        own->step->command =
            there(talloc_asprintf(change, "%s\n%s  (queue: each that it names)", own->step->command,
                                  control_command(change, system, "cancel_consumer", NULL, &workers[i], 1)));
        own->step->name = there(talloc_strdup(change, workers[i]));
        own->step->undo = there(talloc_asprintf(change, "consume each of its queues: %s", workers[i]));
    }
    return change;
}
