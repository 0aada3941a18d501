/*
 * Jobs that a dead worker holds go back to their queue. The broker does not say who holds a job, so it is
 * only safe when every live worker has said twice, some seconds apart, that it does not have it: the first
 * answers are those that were asked for before, the second are asked for here, right before. Then each job is
 * compared with what was read and moved in one script.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"
#include "core/clock.h"
#include "core/units.h"

#define ROUNDS_APART_S 2.0
#define FRESH_S 30

static const char *const methods[] = {"active", "reserved", "scheduled"};
enum { METHODS = sizeof methods / sizeof *methods };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- who has a job ---- */

/* Is the id among what a worker told: entries with an id, or with a request that has one. */
static bool told(struct json_object *list, const char *id)
{
    for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
         i++) {
        struct json_object *entry = json_object_array_get_idx(list, i), *request, *value;
        if (json_object_object_get_ex(entry, "request", &request))
            entry = request;
        if (json_object_object_get_ex(entry, "id", &value) && strcmp(json_object_get_string(value), id) == 0)
            return true;
    }
    return false;
}

static bool complete(const struct celery_answers *answers)
{
    size_t count = 0;
    for (size_t i = 0; i < answers->worker_count; i++)
        count += answers->workers[i].active && answers->workers[i].reserved && answers->workers[i].scheduled;
    return answers->heard >= 0 && (int64_t)count == answers->heard;
}

static bool answered_for(const struct celery_answers *answers, const char *id)
{
    for (size_t i = 0; i < answers->worker_count; i++)
        if (told(answers->workers[i].active, id) || told(answers->workers[i].reserved, id) ||
            told(answers->workers[i].scheduled, id))
            return true;
    return false;
}

/* ---- preparing ---- */

/* "Celery restores it by itself at 14:05 (in 12 m), or up to 100 s later". */
static char *by_itself(const struct celery_prepare *p)
{
    double first = 0;
    char at[32], in[32];
    for (size_t i = 0; i < p->request.job_count; i++) {
        double taken = p->request.jobs[i].taken_at;
        if (taken > 0 && (first <= 0 || taken < first))
            first = taken;
    }
    if (first <= 0)
        return there(talloc_strdup((void *)p, "Celery gives them back when the visibility timeout is over."));
    double due = first + p->system->names.visibility_timeout_s, now = clock_wall();
    return there(talloc_asprintf((void *)p,
                                 "Celery gives them back by itself at %s%s%s, or up to 100 s later.",
                                 clock_hour_minute(at, sizeof at, due), due > now ? ", in " : "",
                                 due > now ? format_s(in, sizeof in, due - now) : ""));
}

static const struct celery_answers *fresh_answers(const struct celery_system *system)
{
    const struct celery_answers *answers = celery_answers(system);
    return answers && clock_wall() - answers->asked_at <= FRESH_S ? answers : NULL;
}

static bool answers_allow(struct celery_prepare *p, const struct celery_answers *answers)
{
    if (!answers || complete(answers))
        return true;
    return celery_prepare_fail(p, ERROR_INTERLOCK, by_itself(p),
                               "%" PRId64 " workers are there and %zu have told what they hold: one that is "
                               "silent may have these jobs, and they would run twice",
                               answers->heard, answers->worker_count);
}

/* Names of the workers that are declared: members "SEP SEP NAME.celery.pidbox" of the pidbox' binding. Killed
 * ones are among them; they neither hear nor answer. */
static void learn_workers(struct celery_prepare *p, const struct redis_answer *members)
{
    struct celery_act *act = p->act;
    char *end = there(talloc_asprintf(p, ".%s.pidbox", p->system->names.control));
    act->workers = there(talloc_zero_array(act, const char *, members->count + 1));
    for (size_t i = 0; i < members->count; i++) {
        const struct redis_answer *member = redis_answer_item(members, i);
        const char *separator = p->system->names.separator, *name = member->text;
        for (const char *at = name; at && (at = strstr(at, separator)); name = at)
            at += strlen(separator);
        size_t length = name ? strlen(name) : 0;
        if (length > strlen(end) && strcmp(name + length - strlen(end), end) == 0)
            act->workers[act->worker_count++] =
                there(talloc_strndup(act->workers, name, length - strlen(end)));
    }
}

/* A job as it will go back: raw is the message, redelivered; arguments its value's SHA-1. */
static bool make_ready(struct celery_prepare *p, const struct job *job, const struct redis_answer *value)
{
    struct span message, exchange, routing_key;
    struct celery_envelope envelope;
    struct error error;
    char digits[41];
    size_t length;
    if (!value->text ||
        !celery_unacked_message(value->text, value->length, &message, &exchange, &routing_key))
        return false;
    celery_envelope_scan(&envelope, message.at, message.length, NULL);
    char *redelivered =
        envelope.poison == POISON_A ? NULL : celery_envelope_redelivered(p, &envelope, &length, &error);
    if (!redelivered)
        return false;
    celery_envelope_scan(&envelope, redelivered, length, NULL);
    char *queue = celery_span_text(p, routing_key);
    if (envelope.poison == POISON_A || !queue || !*queue)
        return false;
    struct job *held = &p->held[p->act->meant++];
    *held = *job;
    held->raw = redelivered;
    held->raw_length = length;
    held->queue = queue;
    held->arguments = there(talloc_strdup(p, celery_digest(value->text, value->length, digits)));
    celery_id_list_add(p->act->ids, job->id);
    return true;
}

static void build(void *data, const struct error *error)
{
    struct celery_prepare *p = data;
    struct celery_act *act = p->act;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    const struct job *first = &p->held[0];
    struct celery_step *own = celery_step_new(
        act, first->queue, celery_level_of(p->system, first->raw, first->raw_length), celery_run_requeue);
    own->jobs = talloc_steal(own, p->held);
    talloc_steal(own, p->request.jobs);
    talloc_steal(own, p->texts);
    own->job_count = (size_t)act->meant;
    own->meant = act->meant;
    for (size_t i = 0; i < own->job_count; i++) {
        talloc_steal(own, own->jobs[i].raw);
        talloc_steal(own, own->jobs[i].queue);
        talloc_steal(own, own->jobs[i].arguments);
    }
    act->queue = talloc_strdup(act, first->queue);
    celery_build_command(own, act->queue, celery_id_list_text(act->ids));
    celery_build_words(act, act->meant, act->queue);
    struct change *change = act->change;
    celery_build_confirm_one(act, own->jobs[0].id);
    if (p->elsewhere || p->not_in_list)
        change->left_out = talloc_asprintf(change,
                                           "%" PRId64 " that a live worker has, %" PRId64
                                           " that are not there any more or are no "
                                           "messages",
                                           p->elsewhere, p->not_in_list);
    celery_build_watch(act);
    celery_prepare_done(p, change);
}

static void values_read(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_prepare *p = data;
    const struct celery_answers *answers = fresh_answers(p->system);
    if (!error)
        error = redis_batch_refusal(batch);
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    if (!answers_allow(p, answers))
        return;
    learn_workers(p, redis_batch_answer(batch, p->request.job_count));
    p->held = there(talloc_zero_array(p, struct job, p->request.job_count + 1));
    for (size_t i = 0; i < p->request.job_count; i++) {
        const struct job *job = &p->request.jobs[i];
        if (!job->id || (answers && answered_for(answers, job->id)))
            p->elsewhere++;
        else if (!make_ready(p, job, redis_batch_answer(batch, i)))
            p->not_in_list++;
    }
    if (p->act->meant)
        celery_id_list_close(p->act->ids, build, p);
    else if (p->elsewhere)
        celery_prepare_fail(p, ERROR_INTERLOCK, NULL, "a live worker has the jobs: they would run twice");
    else
        celery_prepare_fail(p, ERROR_GONE, NULL, "the jobs are not held any more");
}

static void look_up(struct celery_prepare *p)
{
    char *unacked = celery_key(p, p->system, p->system->names.unacked);
    p->batch = redis_batch_new(p);
    for (size_t i = 0; i < p->request.job_count; i++)
        redis_batch_add(p->batch, "HGET", unacked, p->request.jobs[i].tag ? p->request.jobs[i].tag : "",
                        NULL);
    char *binding = there(
        talloc_asprintf(p, "%s_kombu.binding.%s.pidbox", p->system->names.prefix, p->system->names.control));
    redis_batch_add(p->batch, "SMEMBERS", binding, NULL);
    redis_batch_ask(p->batch, p->system->redis, p->system->database, values_read, p);
}

void celery_look_held(struct celery_prepare *p)
{
    p->act->ids =
        celery_id_list_new(p->act, p->system->base.loop, p->system->base.environment->name, p->act->stamp);
    if (p->request.jobs) {
        look_up(p);
        return;
    }
    celery_collect(p, 1u << JOB_UNACKED, look_up);
}

/* ---- sending ---- */

struct requeueing {
    struct celery_step *own;
    void *asking; /* of celery_control_send */
    const char **workers;
    size_t worker_count;
    int method, rounds; /* rounds: how many are left */
    size_t at;
    bool *held; /* by job: a live worker has it */
    ev_timer wait;
};

static int requeueing_destroy(struct requeueing *r)
{
    ev_timer_stop(loop_ev(r->own->act->system->base.loop), &r->wait);
    talloc_free(r->asking);
    return 0;
}

static void give_back_next(struct celery_step *own);
static void ask_next(struct requeueing *r);

static void given_back(struct celery_step *own, int index, const struct redisReply *reply)
{
    (void)index;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1)
        own->done++;
    else
        own->gone++;
}

static void give_back_done(struct celery_step *own, const struct error *error, bool lost)
{
    if (error)
        celery_step_fail(own, error, lost);
    else
        give_back_next(own);
}

static void give_back_next(struct celery_step *own)
{
    struct requeueing *r = own->engine;
    const struct celery_system *system = own->act->system;
    while (r->at < own->job_count && r->held[r->at]) {
        own->gone++;
        r->at++;
    }
    if (r->at == own->job_count) {
        celery_step_over(own);
        return;
    }
    if (change_stopped(own->act->change)) {
        celery_step_stopped(own, "The others are held as before.");
        return;
    }
    const struct job *job = &own->jobs[r->at++];
    struct celery_command *command = celery_step_eval(own, own, SCRIPT_REQUEUE, 3);
    celery_command_add(command, celery_key(command, system, system->names.unacked));
    celery_command_add(command, celery_key(command, system, system->names.unacked_index));
    celery_command_add(command, celery_queue_key(command, system, job->queue,
                                                 celery_level_of(system, job->raw, job->raw_length), NULL));
    celery_command_add(command, job->tag);
    celery_command_add(command, job->arguments);
    celery_command_bytes(command, job->raw, job->raw_length);
    celery_step_call(own, &command, 1, (struct celery_call_handler){given_back, give_back_done});
    talloc_free(command);
}

static void refuse(struct requeueing *r, int64_t heard, size_t count)
{
    struct error error;
    const struct change *change = r->own->act->change;
    error_set(&error, ERROR_INTERLOCK, change->server, change->title,
              "Celery gives them back by itself when the visibility timeout is over.",
              "%" PRId64
              " workers are there and %zu told what they hold: one that is silent may have these jobs, "
              "and they would run twice",
              heard, count);
    celery_step_fail(r->own, &error, false);
}

static void asked(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                  const struct error *error)
{
    struct requeueing *r = data;
    struct celery_step *own = r->own;
    r->asking = NULL;
    if (error) {
        celery_step_fail(own, error, false);
        return;
    }
    size_t told_count = 0;
    for (size_t i = 0; i < count; i++) {
        told_count += json_object_is_type(replies[i].value, json_type_array);
        for (size_t j = 0; j < own->job_count; j++)
            r->held[j] = r->held[j] || told(replies[i].value, own->jobs[j].id);
    }
    if ((int64_t)told_count != heard) {
        refuse(r, heard, told_count);
        return;
    }
    r->method++;
    ask_next(r);
}

static void wait_for_round(struct requeueing *r, double wait_s)
{
    r->method = 0;
    ev_timer_set(&r->wait, wait_s > 0 && wait_s < 60 ? wait_s : 0, 0);
    ev_timer_start(loop_ev(r->own->act->system->base.loop), &r->wait);
}

static bool all_held(const struct requeueing *r)
{
    for (size_t i = 0; i < r->own->job_count; i++)
        if (!r->held[i])
            return false;
    return true;
}

static void ask_next(struct requeueing *r)
{
    const struct change *change = r->own->act->change;
    struct error error;
    if (all_held(r)) {
        error_set(&error, ERROR_INTERLOCK, change->server, change->title, NULL,
                  "a live worker has the jobs: they would run twice");
        celery_step_fail(r->own, &error, false);
        return;
    }
    if (change_stopped(change)) {
        celery_step_stopped(r->own, "They are held as before.");
        return;
    }
    if (r->method == METHODS && --r->rounds > 0) {
        wait_for_round(r, ROUNDS_APART_S);
        return;
    }
    if (r->method == METHODS) {
        give_back_next(r->own);
        return;
    }
    r->asking = celery_control_send(r->own->act->system,
                                    &(struct celery_control_request){
                                        .method = methods[r->method],
                                        .destination = r->workers,
                                        .destination_count = r->worker_count,
                                        .wants_reply = true,
                                    },
                                    asked, r);
}

static void on_wait(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    ask_next(timer->data);
}

/* Nobody is declared: a name that no worker has makes sure that still nobody listens. */
static const char *const nobody[] = {"nobody@signalbox"};

void celery_run_requeue(struct celery_step *own)
{
    struct requeueing *r = there(talloc_zero(own, struct requeueing));
    const struct celery_act *act = own->act;
    const struct celery_answers *answers = fresh_answers(act->system);
    own->engine = r;
    r->own = own;
    r->held = there(talloc_zero_array(r, bool, own->job_count + 1));
    r->workers = act->worker_count ? act->workers : (const char **)nobody;
    r->worker_count = act->worker_count ? act->worker_count : 1;
    r->rounds = answers && complete(answers) ? 1 : 2;
    ev_timer_init(&r->wait, on_wait, 0, 0);
    r->wait.data = r;
    talloc_set_destructor(r, requeueing_destroy);
    wait_for_round(r, r->rounds == 1 ? answers->asked_at + ROUNDS_APART_S - clock_wall() : 0);
}
