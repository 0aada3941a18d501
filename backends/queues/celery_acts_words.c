/* What a change on Celery's jobs says of itself: its title, what it would really do, what undoes it, what is
 * milder, what confirms it, the commands of its steps, and what became of the queue. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static const struct {
    const char *past;
    const char *title; /* %1: jobs, %2: queue */
    enum hazard hazard;
    const char *effect, *milder, *undo;
} words[ACT_COUNT] = {
    [ACT_NEUTRALISE] =
        {"neutralised", "Neutralise %s of %s", HAZARD_DESTROY,
         "They stay where they are and get an `expires` in the past; the worker that takes one "
         "drops it, with the result REVOKED (expired). What follows them (chains, chords) does "
         "not run.",
         "park them: they can come back", NULL},
    [ACT_PARK] =
        {"parked", "Park %s of %s", HAZARD_CHANGE,
         "They leave the queue, byte by byte as they are, into a list beside it; no worker takes them "
         "until they are put back.",
         NULL, "unpark them"},
    [ACT_DISCARD] = {"discarded", "Discard %s of %s", HAZARD_DESTROY,
                     "They leave the list for the trash, where no worker takes them.",
                     "park them: they are not meant to go away", "restore them, until the trash is emptied"},
    [ACT_RETRY] = {"sent again", "Send %s of %s again", HAZARD_CHANGE,
                   "Each goes back to the queue that it came from, with the same id, arguments and tenant, "
                   "behind what waits there. What it did before it failed is done again.",
                   NULL, NULL},
    [ACT_TENANT_ASIDE] =
        {"set aside", "Take %s out of %s", HAZARD_CHANGE,
         "They are kept in order beside the queue; those that come in until it is over may be "
         "taken, too. The others keep their order.",
         NULL, "put them back"},
    [ACT_TENANT_BACK] = {"put back", "Put %s back into %s", HAZARD_CHANGE, NULL, NULL, NULL},
    [ACT_UNPARK] = {"put back", "Put %s back into %s", HAZARD_CHANGE, NULL, NULL, NULL},
    [ACT_RESTORE] = {"restored", "Restore %s of %s", HAZARD_CHANGE, NULL, NULL, NULL},
    [ACT_PURGE] =
        {"purged", "Purge %s of %s", HAZARD_DESTROY,
         "The queue is empty at once; its jobs lie in the trash, byte by byte as they are. Workers go "
         "on with what they hold already.",
         "take one tenant's jobs aside, or park what matches a filter",
         "restore them, until the trash is emptied"},
    [ACT_EMPTY_TRASH] = {"removed", "Remove %s of %s for good", HAZARD_DESTROY,
                         "They are gone, and their memory is free again.", NULL, NULL},
    [ACT_CONTINUE] = {"looked at", "Go on with %s of %s", HAZARD_CHANGE, NULL, NULL, NULL},
    [ACT_REQUEUE] =
        {"requeued", "Give %s of %s to another worker", HAZARD_CHANGE,
         "They go back to the queue and run next, marked as redelivered. Right before, all workers "
         "are asked again; what one of them has is left alone. A job that its worker had begun runs "
         "again.",
         "wait: Celery gives them back by itself when the visibility timeout is over", NULL},
};

static bool walks(const struct celery_act *act)
{
    for (size_t i = 0; i < act->change->step_count; i++) {
        const struct celery_step *own = act->change->steps[i].data;
        if (own->run == celery_run_walk)
            return true;
    }
    return false;
}

static const char *returns(const struct celery_act *act)
{
    const struct celery_step *own = act->change->steps[0].data;
    if (own->goes_on)
        return "What is still held goes back to the queue first, then what was taken out of it.";
    if (own->run == celery_run_return_first)
        return "They run before what waits in the queue now, in their order. Where both are long, the jobs "
               "of "
               "the queue join them beside it first; workers take from the queue meanwhile.";
    return "They run after what waits in the queue now, in their order.";
}

static const char *continues(const struct celery_act *act)
{
    const struct celery_step *own = act->change->steps[0].data;
    if (own->run == celery_run_return_first)
        return "What was on its way back to the queue goes on, and runs first there.";
    if (act->put_back)
        return "What is still held goes back to the queue in its order; nothing more is taken out. What came "
               "in "
               "since it was interrupted runs before it.";
    return "What is still held is looked at: what matches goes where the move was to put it, the rest goes "
           "back "
           "to the queue in its order. What came in since it was interrupted runs before it.";
}

static void tell_effect(struct celery_act *act)
{
    struct change *change = act->change;
    const char *effect = words[act->act].effect;
    if (act->act == ACT_CONTINUE)
        effect = continues(act);
    else if (!effect)
        effect = returns(act);
    change->effect = effect;
    if (act->act != ACT_CONTINUE && walks(act))
        change->effect = there(talloc_asprintf(
            change,
            "%s\nThe list is renamed, and goes back from its oldest job on, 250 at a time: workers find the "
            "oldest all the while, and what comes in meanwhile stays behind. When it is stopped or breaks "
            "off, "
            "the rest waits in a hold list and the move can be continued.",
            effect));
}

static void confirm_with(struct celery_act *act, int64_t count, const char *queue)
{
    struct change *change = act->change;
    bool tenant = act->act == ACT_TENANT_ASIDE || act->act == ACT_TENANT_BACK;
    change->reach = REACH_NAME;
    if (tenant && act->tenant) {
        change->confirm = talloc_strdup(change, act->tenant);
        change->confirm_prompt = "the name of the tenant";
    } else if (act->act == ACT_PURGE || act->act == ACT_EMPTY_TRASH || act->act == ACT_RESTORE ||
               act->act == ACT_CONTINUE) {
        change->confirm = talloc_strdup(change, queue);
        change->confirm_prompt = "the name of the queue";
    } else {
        change->reach = REACH_MANY;
        change->confirm = talloc_asprintf(change, "%" PRId64, count);
        change->confirm_prompt = "the number of jobs";
    }
}

void celery_build_confirm_one(struct celery_act *act, const char *id)
{
    struct change *change = act->change;
    size_t length = strlen(id);
    if (act->meant != 1 || !length)
        return;
    change->reach = REACH_ONE;
    change->confirm = talloc_strdup(change, id + (length > 2 ? length - 2 : 0));
    change->confirm_prompt = "the last two characters of the job's id";
}

void celery_build_words(struct celery_act *act, int64_t count, const char *queue)
{
    struct change *change = act->change;
    char number[32];
    celery_exact(number, sizeof number, count);
    char *jobs = act->tenant ? talloc_asprintf(change, "%s %s of tenant %s", number,
                                               count == 1 ? "job" : "jobs", act->tenant)
                             : talloc_asprintf(change, "%s %s", number, count == 1 ? "job" : "jobs");
    char *title = talloc_strdup(change, "");
    for (const char *at = words[act->act].title, *value = jobs; *at; at++)
        if (at[0] == '%' && at[1] == 's') {
            title = there(talloc_asprintf_append_buffer(title, "%s", value));
            value = queue;
            at++;
        } else {
            title = there(talloc_asprintf_append_buffer(title, "%c", *at));
        }
    change->hazard = words[act->act].hazard;
    change->verb = queue_act_name(act->act);
    change->past = words[act->act].past;
    change->title = title;
    change->milder = words[act->act].milder;
    tell_effect(act);
    confirm_with(act, count, queue);
    for (size_t i = 0; i < change->step_count; i++) {
        const struct celery_step *own = change->steps[i].data;
        const char *undo = words[act->act].undo;
        change->steps[i].undo =
            undo && own->group ? talloc_asprintf(change, "%s: %s", undo, own->group) : undo;
    }
}

/* ---- commands ---- */

static void add_script(char **text, enum celery_script script, const struct celery_step *own)
{
    char digits[41];
    const char *lua = celery_script_text(script, redis_server_version(own->act->system->redis));
    celery_digest(lua, strlen(lua), digits);
    *text = there(talloc_asprintf_append_buffer(*text, "%sEVAL %s (SHA-1 %s)", **text ? "\nthen " : "",
                                                celery_script_name(script), digits));
}

static void add_keys(char **text, const char *key, const char *more)
{
    char *safe = safe_line_new(*text, key);
    *text =
        there(talloc_asprintf_append_buffer(*text, " %s%s%s", safe, more ? " -> " : "", more ? more : ""));
    talloc_free(safe);
}

static const char *target_key(const struct celery_step *own)
{
    const struct celery_system *system = own->act->system;
    if (own->to_queue)
        return celery_queue_key(own, system, own->to_queue, 0, NULL);
    return own->group ? safe_line_new(own, celery_aside_list(own, system, own->group, own->level)) : NULL;
}

void celery_build_command(struct celery_step *own, const char *target, const char *subject)
{
    struct change *change = own->act->change;
    char *text = talloc_strdup(change, "");
    const char *to = target_key(own);
    if (own->run == celery_run_walk) {
        const char *hold = celery_aside_list(own, own->act->system, own->hold, own->level);
        bool goes_on = own->goes_on;
        add_script(&text, goes_on ? SCRIPT_TAKE : SCRIPT_HOLD, own);
        add_keys(&text, goes_on ? hold : own->live, goes_on ? NULL : safe_line_new(own, hold));
        add_script(&text, SCRIPT_WALK, own);
        add_keys(&text, hold, safe_line_new(own, own->live));
        text = there(talloc_asprintf_append_buffer(text, "%s%s, %d jobs at a time",
                                                   own->act->put_back ? ""
                                                   : to               ? " or "
                                                                      : " with expires " CELERY_LONG_AGO,
                                                   !own->act->put_back && to ? to : "", CELERY_CHUNK));
    } else if (own->run == celery_run_replace) {
        add_script(&text, SCRIPT_REPLACE, own);
        add_keys(&text, own->live, NULL);
        text = there(talloc_asprintf_append_buffer(text, " with expires %s, each compared by its SHA-1",
                                                   CELERY_LONG_AGO));
    } else if (own->run == celery_run_pick) {
        add_script(&text, SCRIPT_PICK, own);
        add_keys(&text, own->live, to);
        text = there(talloc_asprintf_append_buffer(text, ", each by its exact bytes"));
    } else if (own->run == celery_run_purge) {
        add_script(&text, SCRIPT_PURGE, own);
        add_keys(&text, own->live, to);
        text = there(talloc_asprintf_append_buffer(text, ", all priorities"));
    } else if (own->run == celery_run_empty) {
        add_script(&text, SCRIPT_EMPTY, own);
        add_keys(&text, to, NULL);
    } else if (own->run == celery_run_requeue) {
        text = there(talloc_asprintf_append_buffer(text, "active, reserved, scheduled of all workers"));
        add_script(&text, SCRIPT_REQUEUE, own);
        add_keys(&text, own->act->system->names.unacked, safe_line_new(own, own->live));
    } else if (own->run == celery_run_send) {
        add_script(&text, SCRIPT_SEND, own);
        add_keys(&text, own->live, NULL);
    } else {
        add_script(&text, own->run == celery_run_return ? SCRIPT_RETURN : SCRIPT_RETURN_FIRST, own);
        add_keys(&text, celery_aside_list(own, own->act->system, own->group, own->level),
                 safe_line_new(own, own->live));
        text = there(talloc_asprintf_append_buffer(text, ", %d jobs at a time", CELERY_CHUNK));
    }
    own->step->command = text;
    own->step->target = talloc_strdup(change, target);
    own->step->subject = subject ? talloc_strdup(change, subject) : NULL;
}

/* ---- what became of it ---- */

/* As it was seen later than `after` (monotonic); -1: it was not. */
static int64_t ready_in(const struct celery_act *act, double after)
{
    const struct queues_snapshot *snapshot = queue_system_queues(&act->system->base);
    if (!snapshot || snapshot->snapshot.taken_monotonic <= after)
        return -1;
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, act->queue) == 0)
            return snapshot->queues[i].ready;
    return -1;
}

static bool watch(struct change *change, char *buffer, size_t size)
{
    struct celery_act *act = change->data;
    char before[32], now[32], since[32];
    double at = clock_monotonic();
    if (!act->watched) {
        act->watched = true;
        act->watch_began = at;
        /* Nobody may be looking at the queues now. */
        feed_refresh(queue_system_feed(&act->system->base, PART_QUEUES));
    }
    int64_t ready = ready_in(act, act->watch_began);
    *buffer = '\0';
    if (ready < 0 || act->watch_before < 0)
        return at - act->watch_began > 10;
    snprintf(buffer, size, "ready %s -> %s after %s", celery_exact(before, sizeof before, act->watch_before),
             celery_exact(now, sizeof now, ready), format_s(since, sizeof since, at - act->watch_began));
    return at - act->watch_began > 6;
}

void celery_build_watch(struct celery_act *act)
{
    act->watch_before = ready_in(act, 0);
    act->change->watch = watch;
}
