/* Taking single jobs out near an end of a list, purging, what was set aside going back to its queue, and
 * removing it for good. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"

/* How far from an end a job is looked for: about a millisecond of the server's time. */
enum { PICK_WITHIN = 2 * CELERY_NEAR };

static void add_group(struct celery_command *command, const struct celery_step *own)
{
    for (int i = 0; i < CELERY_STEPS; i++)
        celery_command_add(command, celery_aside_list(command, own->act->system, own->group, i));
}

static void send_one(struct celery_step *own, struct celery_command *command,
                     struct celery_call_handler handler)
{
    celery_step_call(own, &command, 1, handler);
    talloc_free(command);
}

/* ---- picking ---- */

struct picking {
    size_t at;
};

static void pick_next(struct celery_step *own);

static void picked(struct celery_step *own, int index, const struct redisReply *reply)
{
    (void)index;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1)
        own->done++;
    else
        own->gone++;
}

static void pick_done(struct celery_step *own, const struct error *error, bool lost)
{
    if (error)
        celery_step_fail(own, error, lost);
    else
        pick_next(own);
}

static void pick_next(struct celery_step *own)
{
    struct picking *picking = own->engine;
    const struct celery_system *system = own->act->system;
    if (picking->at == own->job_count) {
        celery_step_over(own);
        return;
    }
    if (change_stopped(own->act->change)) {
        celery_step_stopped(own, "The others are where they were.");
        return;
    }
    const struct job *job = &own->jobs[picking->at++];
    struct celery_command *command = celery_step_eval(own, own, SCRIPT_PICK, 3);
    celery_command_add(command, own->live);
    if (own->to_queue)
        celery_command_add(command,
                           celery_queue_key(command, system, own->to_queue,
                                            celery_level_of(system, job->raw, job->raw_length), NULL));
    else
        celery_command_add(command, celery_aside_list(command, system, own->group, own->level));
    celery_command_add(command, own->group ? celery_aside_note(command, system, own->group) : own->live);
    celery_command_add(command, job->index >= 0 && job->index <= CELERY_NEAR ? "-1" : "1");
    celery_command_number(command, PICK_WITHIN);
    celery_command_bytes(command, job->raw, job->raw_length);
    celery_command_add(command, "LEFT");
    if (own->group)
        celery_step_note(command, own);
    send_one(own, command, (struct celery_call_handler){picked, pick_done});
}

void celery_run_pick(struct celery_step *own)
{
    own->engine = talloc_zero(own, struct picking);
    if (!own->engine)
        abort();
    pick_next(own);
}

/* ---- going back ---- */

struct returning {
    int64_t left;
    bool over;
};

static void return_more(struct celery_step *own);

static void returned(struct celery_step *own, int index, const struct redisReply *reply)
{
    struct returning *r = own->engine;
    (void)index;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return;
    r->left = reply->element[1]->integer;
    if (own->run == celery_run_return) {
        own->done += reply->element[0]->integer;
        r->over = r->left == 0;
    } else {
        r->over = reply->element[0]->integer == 1;
        own->done = r->over ? own->meant : 0;
    }
}

static void return_done(struct celery_step *own, const struct error *error, bool lost)
{
    struct returning *r = own->engine;
    if (error)
        celery_step_fail(own, error, lost);
    else if (r->over)
        celery_step_over(own);
    else if (change_stopped(own->act->change))
        celery_step_stopped(own, "The others wait where they were: put them back later.");
    else
        return_more(own);
}

static void return_more(struct celery_step *own)
{
    const struct celery_system *system = own->act->system;
    enum celery_script script = own->run == celery_run_return ? SCRIPT_RETURN : SCRIPT_RETURN_FIRST;
    struct celery_command *command = celery_step_eval(own, own, script, 3 + CELERY_STEPS);
    celery_command_add(command, celery_aside_list(command, system, own->group, own->level));
    celery_command_add(command, own->live);
    celery_command_add(command, celery_aside_note(command, system, own->group));
    add_group(command, own);
    celery_command_number(command, CELERY_CHUNK);
    send_one(own, command, (struct celery_call_handler){returned, return_done});
}

void celery_run_return(struct celery_step *own)
{
    own->engine = talloc_zero(own, struct returning);
    if (!own->engine)
        abort();
    return_more(own);
}

void celery_run_return_first(struct celery_step *own)
{
    celery_run_return(own);
}

/* ---- purging and emptying ---- */

static void counted(struct celery_step *own, int index, const struct redisReply *reply)
{
    (void)index;
    own->done = 0;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        own->done += reply->element[i]->integer;
    for (size_t i = 0; own->run == celery_run_purge && i < reply->elements && i < CELERY_STEPS; i++)
        own->purged[i] = reply->element[i]->integer;
}

static void count_done(struct celery_step *own, const struct error *error, bool lost)
{
    struct error refused;
    const struct change *change = own->act->change;
    if (error) {
        celery_step_fail(own, error, lost);
    } else if (own->done < 0) {
        own->done = 0;
        error_set(&refused, ERROR_INTERLOCK, change->server, change->title, "Continue it first.",
                  "it is being put back, and holds jobs of the queue");
        celery_step_fail(own, &refused, false);
    } else {
        own->gone = own->done == 0 ? 1 : 0;
        celery_step_over(own);
    }
}

void celery_run_purge(struct celery_step *own)
{
    const struct celery_system *system = own->act->system;
    struct celery_command *command = celery_step_eval(own, own, SCRIPT_PURGE, 1 + 2 * CELERY_STEPS);
    celery_command_add(command, celery_aside_note(command, system, own->group));
    for (int i = 0; i < CELERY_STEPS; i++) {
        celery_command_add(command, celery_queue_key(command, system, own->list, i, NULL));
        celery_command_add(command, celery_aside_list(command, system, own->group, i));
    }
    celery_step_note(command, own);
    send_one(own, command, (struct celery_call_handler){counted, count_done});
}

void celery_run_empty(struct celery_step *own)
{
    const struct celery_system *system = own->act->system;
    struct celery_command *command = celery_step_eval(own, own, SCRIPT_EMPTY, 1 + CELERY_STEPS);
    celery_command_add(command, celery_aside_note(command, system, own->group));
    add_group(command, own);
    send_one(own, command, (struct celery_call_handler){counted, count_done});
}
