/* Steps that tell workers something: what is sent, in words; sending it; what the answers mean. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_control_internal.h"
#include "backends/queues/redis_batch.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- words ---- */

char *control_command(const void *context, const struct celery_system *system, const char *method,
                      struct json_object *arguments, const char *const *workers, size_t count)
{
    struct json_object *body = json_object_new_object(), *destination = json_object_new_array();
    json_object_object_add(body, "method", json_object_new_string(method));
    json_object_object_add(body, "arguments",
                           arguments ? json_object_get(arguments) : json_object_new_object());
    for (size_t i = 0; i < count; i++)
        json_object_array_add(destination, json_object_new_string(workers[i]));
    json_object_object_add(body, "destination", destination);
    char *exchange = there(talloc_asprintf(NULL, "%s.pidbox", system->names.control));
    char *channel = celery_channel(exchange, system, exchange);
    char *text = there(talloc_asprintf(
        context, "PUBLISH %s %s", channel,
        json_object_to_json_string_ext(body, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)));
    talloc_free(exchange);
    json_object_put(body);
    return text;
}

char *control_names(const void *context, const char *const *names, size_t count)
{
    char *text = there(talloc_strdup(context, ""));
    size_t shown = count > 4 ? 3 : count;
    for (size_t i = 0; i < shown; i++)
        text = there(talloc_asprintf_append_buffer(text, "%s%s", i ? ", " : "", names[i]));
    if (shown < count)
        text = there(talloc_asprintf_append_buffer(text, " and %zu others", count - shown));
    return text;
}

void control_confirm_name(struct change *change, const char *name, const char *prompt)
{
    change->reach = REACH_NAME;
    change->confirm = there(talloc_strdup(change, name));
    change->confirm_prompt = prompt;
}

void control_confirm_workers(struct change *change, const char *const *workers, size_t count)
{
    if (count == 1) {
        control_confirm_name(change, workers[0], "the name of the worker");
        return;
    }
    change->reach = REACH_MANY;
    change->confirm = there(talloc_asprintf(change, "%zu", count));
    change->confirm_prompt = "the number of workers";
}

/* ---- a change ---- */

struct change *control_change_new(struct celery_system *system, size_t steps)
{
    struct change *change = change_new();
    const char *role = redis_server_act_role(system->redis);
    change->hazard = HAZARD_CHANGE;
    change->withdrawable = true;
    change->batch = 1;
    change->environment = there(talloc_strdup(change, system->base.environment->name));
    change->server = there(talloc_strdup(change, redis_server_name(system->redis)));
    change->role = role ? there(talloc_strdup(change, role)) : NULL;
    change->steps = there(talloc_zero_array(change, struct change_step, steps ? steps : 1));
    return change;
}

static int step_destroy(struct control_step *own)
{
    talloc_free(own->sending); /* it tidies up by itself */
    talloc_free(own->batch);
    if (own->asking)
        celery_asked_forsake(own->system, own);
    json_object_put(own->arguments);
    return 0;
}

static void send_step(struct change *change, struct change_step *step)
{
    (void)change;
    control_send(step->data);
}

struct control_step *control_change_add(struct change *change, struct celery_system *system,
                                        const char *method, struct json_object *arguments,
                                        const char *const *workers, size_t count)
{
    struct change_step *step = &change->steps[change->step_count++];
    struct control_step *own = there(talloc_zero(change, struct control_step));
    *own = (struct control_step){
        .system = system, .change = change, .step = step, .method = method, .arguments = arguments};
    own->workers = there(talloc_array(own, const char *, count + 1));
    own->worker_count = count;
    for (size_t i = 0; i < count; i++)
        own->workers[i] = there(talloc_strdup(own->workers, workers[i]));
    talloc_set_destructor(own, step_destroy);
    step->target = control_names(change, workers, count);
    step->command = control_command(change, system, method, arguments, workers, count);
    step->send = send_step;
    step->data = own;
    return own;
}

/* ---- its end ---- */

void control_print(struct control_step *own, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *line = there(talloc_vasprintf(own->change, format, arguments));
    va_end(arguments);
    own->step->output =
        own->step->output ? there(talloc_asprintf(own->change, "%s\n%s", own->step->output, line)) : line;
}

void control_over(struct control_step *own, enum step_outcome outcome, const struct error *error)
{
    struct celery_system *system = own->system;
    change_step_done(own->change, own->step, outcome, error && error->kind != ERROR_NONE ? error : NULL);
    /* The change may be gone now. */
    celery_asked_stale(system);
    feed_refresh(&system->base.feeds[PART_WORKERS]);
}

const struct celery_reply *control_reply_of(const char *worker, const struct celery_reply *replies,
                                            size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(replies[i].worker, worker))
            return &replies[i];
    return NULL;
}

char *control_silent(struct control_step *own, const struct celery_reply *replies, size_t count)
{
    char *silent = NULL;
    for (size_t i = 0; i < own->worker_count; i++)
        if (!control_reply_of(own->workers[i], replies, count))
            silent = silent ? there(talloc_asprintf_append_buffer(silent, ", %s", own->workers[i]))
                            : there(talloc_strdup(own, own->workers[i]));
    return silent;
}

static const char *member(struct json_object *value, const char *key)
{
    struct json_object *found;
    return json_object_is_type(value, json_type_object) && json_object_object_get_ex(value, key, &found)
               ? json_object_get_string(found)
               : NULL;
}

/* What each worker said, a line each. *refused: what the first one that refused said; *unknown: how many know
 * nothing of the jobs. */
static size_t read_replies(struct control_step *own, const struct celery_reply *replies, size_t count,
                           char **refused, size_t *unknown)
{
    size_t done = 0;
    *unknown = 0;
    for (size_t i = 0; i < own->worker_count; i++) {
        const struct celery_reply *reply = control_reply_of(own->workers[i], replies, count);
        const char *wrong = reply ? member(reply->value, "error") : NULL;
        const char *right = reply ? member(reply->value, "ok") : NULL;
        if (!reply)
            continue;
        control_print(own, "%s: %s", own->workers[i], wrong ? wrong : right ? right : "answered");
        done += !wrong;
        *unknown += right && !strcmp(right, "terminate: tasks unknown");
        if (wrong && !*refused)
            *refused = there(talloc_asprintf(own, "%s: %s", own->workers[i], wrong));
    }
    return done;
}

static void judge(struct control_step *own, const struct celery_reply *replies, size_t count, int64_t heard)
{
    struct error error = {0};
    const char *where = own->change->server, *what = own->change->title;
    char *refused = NULL, *silent = control_silent(own, replies, count);
    size_t unknown, done = read_replies(own, replies, count, &refused, &unknown);
    if (unknown && unknown == own->worker_count) {
        error_set(&error, ERROR_GONE, where, what, NULL, "it runs there no more: no worker knows it");
        control_over(own, STEP_GONE, &error);
    } else if (heard == 0) {
        error_set(&error, ERROR_GONE, where, what, NULL, "no worker is connected: nobody heard it");
        control_over(own, STEP_GONE, &error);
    } else if (refused) {
        error_set(&error, ERROR_SERVER, where, what, NULL, "%s%s%s%s", refused,
                  done ? "; the others did it" : "", silent ? "; no answer from " : "", silent ? silent : "");
        control_over(own, STEP_FAILED, &error);
    } else if (silent) {
        error_set(&error, ERROR_TIMEOUT, where, what, "Look at its state before it is done again.",
                  "%zu of %zu answered; %s did not, and may still do it when it goes on", done,
                  own->worker_count, silent);
        control_over(own, STEP_UNKNOWN, &error);
    } else {
        control_over(own, STEP_DONE, NULL);
    }
}

static void on_answered(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                        const struct error *error)
{
    struct control_step *own = data;
    own->sending = NULL;
    if (error) {
        enum step_outcome outcome = heard == CELERY_HEARD_NOT ? STEP_FAILED : STEP_UNKNOWN;
        read_replies(own, replies, count, &(char *){NULL}, &(size_t){0});
        control_over(own, outcome, error);
    } else if (own->then) {
        own->then(own, replies, count);
    } else if (control_method_find(own->method)->silent) {
        if (heard > 0)
            control_over(own, STEP_DONE, NULL);
        else
            judge(own, NULL, 0, 0);
    } else {
        judge(own, replies, count, heard);
    }
}

void control_send(struct control_step *own)
{
    struct celery_control_request request = {.method = own->method,
                                             .arguments = own->arguments,
                                             .destination = own->workers,
                                             .destination_count = own->worker_count,
                                             .wants_reply = !control_method_find(own->method)->silent};
    own->sending = celery_control_send(own->system, &request, on_answered, own);
}
