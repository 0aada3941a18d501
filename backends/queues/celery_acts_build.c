/* The changes of acts on Celery's jobs: their steps, with the commands as they will be sent, and what
 * confirms them. The words about what they do are in celery_acts_words.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

enum { PICK_MOST = 100 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- one list ---- */

static bool near_an_end(const struct celery_target *target)
{
    for (size_t i = 0; i < target->job_count; i++) {
        int64_t index = target->jobs[i].index;
        if (target->length <= CELERY_NEAR || (index >= 0 && index <= CELERY_NEAR))
            continue;
        if (index < 0 || target->length - index > CELERY_NEAR)
            return false;
    }
    return true;
}

static int oldest_first(const void *a, const void *b)
{
    int64_t x = ((const struct job *)a)->index, y = ((const struct job *)b)->index;
    return (x > y) - (x < y);
}

static bool replaces_in_place(const struct celery_target *target)
{
    return target->count <= 64 || target->count * 100 <= target->length;
}

static struct celery_step *target_step(struct celery_prepare *p, struct celery_target *target)
{
    struct celery_act *act = p->act;
    bool picks = !target->many && target->count <= PICK_MOST && near_an_end(target);
    bool in_place = act->act == ACT_NEUTRALISE && replaces_in_place(target);
    struct celery_step *own = celery_step_new(act, target->list, target->level,
                                              in_place                              ? celery_run_replace
                                              : picks && act->act != ACT_NEUTRALISE ? celery_run_pick
                                                                                    : celery_run_walk);
    own->meant = target->count;
    if (target->jobs && target->job_count) {
        qsort(target->jobs, target->job_count, sizeof *target->jobs, oldest_first);
        own->jobs = talloc_steal(own, target->jobs);
        own->job_count = target->job_count;
        target->jobs = NULL;
    }
    if (act->act == ACT_RETRY)
        own->to_queue = talloc_strdup(own, celery_dead_letters_of(target->list));
    else if (act->act != ACT_NEUTRALISE)
        own->group = celery_aside_group(own,
                                        act->act == ACT_DISCARD        ? ASIDE_TRASH
                                        : act->act == ACT_TENANT_ASIDE ? ASIDE_TENANT
                                                                       : ASIDE_PARK,
                                        target->list, act->stamp);
    if (own->run == celery_run_walk)
        own->hold = celery_aside_group(own, ASIDE_HOLD, target->list, act->stamp);
    return own;
}

static char *list_words(const void *context, const struct celery_system *system, const char *list, int level)
{
    char *safe = safe_line_new(context, list);
    return level ? there(talloc_asprintf(context, "%s, priority %d", safe, system->names.steps[level]))
                 : safe;
}

static char *target_subject(struct celery_prepare *p, const struct celery_target *target)
{
    char count[32], length[32], tasks[300], tenants[300];
    tally_text(p->tasks, tasks, sizeof tasks, 5);
    tally_text(p->tenants, tenants, sizeof tenants, 5);
    return there(talloc_asprintf(p, "%s of %s · tasks %s · tenants %s",
                                 celery_exact(count, sizeof count, target->count),
                                 celery_exact(length, sizeof length, target->length), tasks, tenants));
}

static void tell_left_out(struct celery_prepare *p)
{
    struct change *change = p->act->change;
    const struct {
        int64_t count;
        const char *why;
    } others[] = {
        {p->not_in_list, "held by a worker: revoke or terminate those"},
        {p->unexpirable, "messages in which no expiry can be set (poison, or of protocol 1): park those"},
        {p->no_bytes, "given without their messages"},
        {p->elsewhere, "not in a queue of this system"},
    };
    char *text = NULL, count[32];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].count) {
            celery_exact(count, sizeof count, others[i].count);
            text = text ? talloc_asprintf_append_buffer(text, "\n%s are %s", count, others[i].why)
                        : talloc_asprintf(change, "%s are %s", count, others[i].why);
        }
    change->left_out = text;
}

void celery_build_jobs(struct celery_prepare *p)
{
    struct celery_act *act = p->act;
    const char *ids = celery_id_list_text(act->ids);
    for (size_t i = 0; i < p->target_count; i++) {
        struct celery_target *target = &p->targets[i];
        if (!target->count)
            continue;
        struct celery_step *own = target_step(p, target);
        char *where = list_words(p, p->system, target->list, target->level),
             *subject = target_subject(p, target);
        act->queue = talloc_strdup(act, target->list);
        if (act->change->step_count == 1)
            subject = there(talloc_asprintf(p, "%s\n%s", subject, ids));
        celery_build_command(own, where, subject);
    }
    celery_build_words(act, act->meant, act->queue);
    if (act->act != ACT_TENANT_ASIDE)
        celery_build_confirm_one(act, p->last_id);
    tell_left_out(p);
    celery_build_undo(act);
    celery_build_watch(act);
    celery_prepare_done(p, act->change);
}

/* ---- whole lists ---- */

void celery_build_purge(struct celery_prepare *p, const int64_t lengths[CELERY_STEPS])
{
    struct celery_act *act = p->act;
    struct celery_step *own = celery_step_new(act, p->request.queue, 0, celery_run_purge);
    char *subject = talloc_strdup(p, ""), count[32];
    for (int i = 0; i < CELERY_STEPS; i++) {
        own->meant += lengths[i];
        if (lengths[i])
            subject = there(talloc_asprintf_append_buffer(
                subject, "%s%s of priority %d", *subject ? ", " : "",
                celery_exact(count, sizeof count, lengths[i]), p->system->names.steps[i]));
    }
    own->group = celery_aside_group(own, ASIDE_TRASH, p->request.queue, act->stamp);
    act->meant = own->meant;
    act->queue = talloc_strdup(act, p->request.queue);
    celery_build_command(own, p->request.queue, subject);
    celery_build_words(act, act->meant, act->queue);
    celery_build_undo(act);
    celery_build_watch(act);
    celery_prepare_done(p, act->change);
}

void celery_build_return(struct celery_act *act, const char *group, const char *queue, bool first,
                         const int64_t lengths[CELERY_STEPS])
{
    char count[32];
    for (int level = 0; level < CELERY_STEPS; level++) {
        if (!lengths[level])
            continue;
        struct celery_step *own =
            celery_step_new(act, queue, level, first ? celery_run_return_first : celery_run_return);
        own->group = talloc_strdup(own, group);
        own->meant = lengths[level] > 0 ? lengths[level] : 0;
        char *where = list_words(own, act->system, group, level);
        celery_build_command(own, where,
                             lengths[level] > 0 ? celery_exact(count, sizeof count, own->meant) : NULL);
    }
}

static void build_empty(struct celery_act *act, const struct celery_found *found)
{
    struct celery_step *own = celery_step_new(act, found->queue, 0, celery_run_empty);
    char count[32];
    own->group = talloc_strdup(own, found->group);
    own->meant = found->total;
    celery_build_command(own, found->group, celery_exact(count, sizeof count, found->total));
}

/* A move that was interrupted: what is held is looked at again by what the note says. Jobs that were given
 * one by one cannot be told any more: then all of it goes back. */
static bool build_continue(struct celery_prepare *p, const struct celery_found *found)
{
    struct celery_act *act = p->act;
    char count[32];
    if (found->returning && found->kind != ASIDE_HOLD) {
        celery_build_return(act, found->group, found->queue, true, found->lengths);
        return true;
    }
    act->tenant = found->tenant ? talloc_strdup(act, found->tenant) : NULL;
    act->filter_text = found->filter ? talloc_strdup(act, found->filter) : NULL;
    if (found->filter && !(act->filter = job_filter_parse(act, found->filter, &p->error)))
        return false;
    bool back = p->request.argument && strcmp(p->request.argument, "back") == 0;
    act->put_back = back || (!found->filter && !found->tenant);
    for (int level = 0; level < CELERY_STEPS; level++) {
        if (!found->lengths[level])
            continue;
        struct celery_step *own = celery_step_new(act, found->queue, level, celery_run_walk);
        own->goes_on = true;
        own->hold = talloc_strdup(own, found->group);
        own->group = found->to ? talloc_strdup(own, found->to) : NULL;
        own->to_queue = found->to_queue ? talloc_strdup(own, found->to_queue) : NULL;
        own->meant = found->lengths[level];
        celery_build_command(own, list_words(own, act->system, found->group, level),
                             celery_exact(count, sizeof count, own->meant));
    }
    return true;
}

void celery_build_aside(struct celery_prepare *p)
{
    struct celery_act *act = p->act;
    const char *queue = p->found[0].queue;
    bool first = act->act == ACT_RESTORE;
    if (p->request.argument && act->act != ACT_CONTINUE)
        first = strcmp(p->request.argument, "first") == 0;
    if (act->act == ACT_CONTINUE && p->found_count > 1) {
        celery_prepare_fail(p, ERROR_USAGE, "Name the one that is meant.", "%zu moves were interrupted",
                            p->found_count);
        return;
    }
    for (size_t i = 0; i < p->found_count; i++) {
        const struct celery_found *found = &p->found[i];
        act->meant += found->total;
        if (act->act == ACT_EMPTY_TRASH)
            build_empty(act, found);
        else if (act->act != ACT_CONTINUE)
            celery_build_return(act, found->group, found->queue, first, found->lengths);
        else if (!build_continue(p, found)) {
            celery_prepare_done(p, NULL);
            return;
        }
    }
    act->queue = talloc_strdup(act, queue);
    if (!act->tenant && p->found_count == 1 && p->found[0].tenant)
        act->tenant = talloc_strdup(act, p->found[0].tenant);
    celery_build_words(act, act->meant, queue);
    celery_build_watch(act);
    celery_prepare_done(p, act->change);
}
