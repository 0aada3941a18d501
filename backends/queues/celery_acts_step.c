/* A step of an act on Celery: building commands, sending them on the login that acts, and how it ends. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"
#include "core/clock.h"
#include "core/files.h"
#include "core/text.h"
#include "core/units.h"

#define CALL_DEADLINE_S 10

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- commands ---- */

struct celery_command *celery_command_new(const void *context, const char *name)
{
    struct celery_command *command = there(talloc_zero(context, struct celery_command));
    celery_command_add(command, name);
    return command;
}

void celery_command_bytes(struct celery_command *command, const char *bytes, size_t length)
{
    size_t room = command->words ? talloc_array_length(command->words) : 0;
    if (!command->words || (size_t)command->count == room) {
        room = room ? room * 2 : 32;
        command->words = there(talloc_realloc(command, command->words, const char *, room));
        command->lengths = there(talloc_realloc(command, command->lengths, size_t, room));
    }
    command->words[command->count] = bytes;
    command->lengths[command->count++] = length;
}

void celery_command_add(struct celery_command *command, const char *text)
{
    char *copy = there(talloc_strdup(command, text));
    celery_command_bytes(command, copy, strlen(copy));
}

void celery_command_number(struct celery_command *command, int64_t number)
{
    char *text = there(talloc_asprintf(command, "%" PRId64, number));
    celery_command_bytes(command, text, strlen(text));
}

struct celery_command *celery_step_eval(const void *context, const struct celery_step *own,
                                        enum celery_script script, int keys)
{
    struct celery_command *command = celery_command_new(context, "EVAL");
    const char *text = celery_script_text(script, redis_server_version(own->act->system->redis));
    celery_command_bytes(command, text, strlen(text));
    celery_command_number(command, keys);
    return command;
}

/* ---- notes ---- */

static int note_pair(struct celery_command *command, const char *field, const char *value)
{
    if (!value || !*value)
        return 0;
    if (command) {
        celery_command_add(command, field);
        celery_command_add(command, value);
    }
    return 2;
}

int celery_step_note(struct celery_command *command, const struct celery_step *own)
{
    const struct celery_act *act = own->act;
    void *context = talloc_new(NULL);
    char *since = there(talloc_asprintf(context, "%.3f", clock_wall()));
    char *user = files_user(context);
    int words = note_pair(command, "act", queue_act_name(act->act)) + note_pair(command, "queue", own->list) +
                note_pair(command, "tenant", act->tenant) + note_pair(command, "filter", act->filter_text) +
                note_pair(command, "since", since) + note_pair(command, "by", user) +
                note_pair(command, "reason", act->change->reason);
    talloc_free(context);
    return words;
}

int celery_step_note_words(const struct celery_step *own)
{
    return celery_step_note(NULL, own);
}

/* ---- sending ---- */

/* What is in flight; outlives a step that is freed. */
struct celery_call {
    struct celery_step *own; /* NULL: nobody waits for it any more */
    int slot;
    struct celery_call_handler handler;
    bool answered_badly;
    int count, answered;
    struct error error;
};

static void call_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct celery_call *call = data;
    call->answered++;
    if (error && call->error.kind == ERROR_NONE) {
        call->error = *error;
        call->answered_badly = true;
    }
    if (reply && call->own && call->handler.reply)
        call->handler.reply(call->own, index, reply);
}

static void call_done(void *data, const struct error *error)
{
    struct celery_call *call = data;
    struct celery_step *own = call->own;
    struct celery_call_handler handler = call->handler;
    struct error why = call->error;
    bool lost = false;
    if (error && !call->answered_badly) {
        why = *error;
        lost = error->kind == ERROR_LOST || error->kind == ERROR_TIMEOUT;
    }
    if (own)
        own->calls[call->slot] = NULL;
    free(call);
    if (own)
        handler.done(own, why.kind != ERROR_NONE ? &why : NULL, lost);
}

void celery_step_call(struct celery_step *own, struct celery_command *const *commands, int count,
                      struct celery_call_handler handler)
{
    struct celery_call *call = there(calloc(1, sizeof *call));
    struct redis_command sent[4];
    *call = (struct celery_call){.own = own, .handler = handler, .count = count};
    while (own->calls[call->slot])
        if (++call->slot == CELERY_CALLS)
            abort();
    own->calls[call->slot] = call;
    for (int i = 0; i < count && i < 4; i++)
        sent[i] = (struct redis_command){
            .count = commands[i]->count, .words = commands[i]->words, .lengths = commands[i]->lengths};
    redis_server_act(own->act->system->redis, own->act->system->database, sent, count, CALL_DEADLINE_S,
                     (struct redis_handler){.reply = call_reply, .done = call_done, .data = call});
}

static int step_destroy(struct celery_step *own)
{
    for (int i = 0; i < CELERY_CALLS; i++)
        if (own->calls[i])
            own->calls[i]->own = NULL;
    return 0;
}

/* ---- beginning and end ---- */

static void send_step(struct change *change, struct change_step *step)
{
    struct celery_step *own = step->data;
    struct error error;
    (void)change;
    if (own->act->ids)
        celery_id_list_keep(own->act->ids);
    if (!redis_server_can_act(own->act->system->redis, &error)) {
        change_step_done(own->act->change, step, STEP_FAILED, &error);
        return;
    }
    own->run(own);
}

struct celery_step *celery_step_new(struct celery_act *act, const char *list, int level,
                                    void (*run)(struct celery_step *own))
{
    struct change *change = act->change;
    change->steps = there(talloc_realloc(change, change->steps, struct change_step, change->step_count + 1));
    /* The array may have moved. */
    for (size_t i = 0; i < change->step_count; i++)
        ((struct celery_step *)change->steps[i].data)->step = &change->steps[i];
    struct change_step *step = &change->steps[change->step_count++];
    struct celery_step *own = there(talloc_zero(change, struct celery_step));
    *step = (struct change_step){.send = send_step, .data = own};
    own->act = act;
    own->step = step;
    own->list = there(talloc_strdup(own, list));
    own->level = level;
    own->live = celery_queue_key(own, act->system, list, level, NULL);
    own->run = run;
    talloc_set_destructor(own, step_destroy);
    return own;
}

char *celery_exact(char *buffer, size_t size, int64_t count)
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRId64, count), used = 0;
    for (size_t i = 0; i < length && used + 2 < size; i++) {
        buffer[used++] = digits[i];
        if (digits[i] != '-' && i + 1 < length && (length - 1 - i) % 3 == 0)
            buffer[used++] = ',';
    }
    buffer[used] = '\0';
    return buffer;
}

static char *jobs_text(const void *context, int64_t done, int64_t meant)
{
    char some[32], all[32];
    celery_exact(some, sizeof some, done);
    celery_exact(all, sizeof all, meant);
    return there(done == meant ? talloc_asprintf(context, "%s %s", some, done == 1 ? "job" : "jobs")
                               : talloc_asprintf(context, "%s of %s jobs", some, all));
}

void celery_step_over(struct celery_step *own)
{
    struct change_step *step = own->step;
    struct change *change = own->act->change;
    char *counted = jobs_text(change, own->done, own->done + own->gone);
    char gone[32];
    celery_exact(gone, sizeof gone, own->gone);
    step->name = there(talloc_asprintf(change, "%s of %s", counted, own->list));
    step->output =
        there(own->gone ? talloc_asprintf(change, "%s; %s had run or moved meanwhile", counted, gone)
                        : talloc_strdup(change, counted));
    if (own->done > 0 || own->gone == 0) {
        change_step_done(change, step, STEP_DONE, NULL);
        return;
    }
    struct error error;
    error_set(&error, ERROR_GONE, change->server, change->title, NULL, "%s",
              own->gone == 1 ? "the job is not there any more: it ran, or was moved"
                             : "none of the jobs is there any more: they ran, or were moved");
    change_step_done(change, step, STEP_GONE, &error);
}

/* A script is refused when its user may not run one of its commands. */
static void explain_denied(const struct celery_step *own, struct error *error)
{
    if (!strstr(error->why, "can't run this command") &&
        !strstr(error->why, "No permissions to access a key"))
        return;
    char todo[sizeof error->todo];
    snprintf(
        todo, sizeof todo,
        "ACL SETUSER %s ~* +eval +llen +lrange +lindex +lmove +lset +lpos +lrem +lpush +rpush +lpop +rpop "
        "+rename +renamenx +del +unlink +exists +get +hget +hset +hexists +hdel +zrem",
        own->act->change->role ? own->act->change->role : "USER");
    struct error denied;
    error_set(&denied, ERROR_DENIED, error->where, own->act->change->title, todo,
              "the login may not run all commands of the script, so nothing of it was done: %s", error->why);
    *error = denied;
}

void celery_step_fail(struct celery_step *own, const struct error *error, bool lost)
{
    struct change *change = own->act->change;
    struct error why = *error;
    if (!lost)
        explain_denied(own, &why);
    if (own->done)
        own->step->output =
            there(talloc_asprintf(change, "%s were done before", jobs_text(change, own->done, own->done)));
    if (lost)
        error_set(&why, error->kind, error->where, change->title,
                  "Look at the queue and at what is set aside: a move that did not end can be continued.",
                  "the outcome is unknown: %s", error->why);
    change_step_done(change, own->step, lost ? STEP_UNKNOWN : STEP_FAILED, &why);
}

void celery_step_stopped(struct celery_step *own, const char *rest)
{
    struct change *change = own->act->change;
    struct error error;
    own->step->output = there(jobs_text(change, own->done, own->meant > own->done ? own->meant : own->done));
    error_set(&error, ERROR_CANCELLED, change->server, change->title, rest, "stopped after %s",
              own->step->output);
    change_step_done(change, own->step, STEP_FAILED, &error);
}
