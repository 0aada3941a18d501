/* Taking back an act on Celery that was done, or that was stopped in the middle: what was moved aside
 * returns, and what is still held goes back first. */
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"

static const enum queue_act backs[ACT_COUNT] = {
    [ACT_PARK] = ACT_UNPARK,         [ACT_DISCARD] = ACT_RESTORE,          [ACT_PURGE] = ACT_RESTORE,
    [ACT_NEUTRALISE] = ACT_CONTINUE, [ACT_TENANT_ASIDE] = ACT_TENANT_BACK, [ACT_RETRY] = ACT_CONTINUE};

static bool is_held(const struct celery_step *own)
{
    enum step_outcome outcome = own->step->outcome;
    return own->run == celery_run_walk && (outcome == STEP_FAILED || outcome == STEP_UNKNOWN) && own->begun;
}

static void put_back_held(struct celery_act *back, const struct celery_step *was)
{
    struct celery_step *own = celery_step_new(back, was->list, was->level, celery_run_walk);
    own->goes_on = true;
    own->hold = talloc_strdup(own, was->hold);
    own->group = was->group ? talloc_strdup(own, was->group) : NULL;
    celery_build_command(own, was->hold, "what is still held");
}

static struct change *take_back(const struct change *change)
{
    const struct celery_act *act = change->data;
    struct celery_act *back = celery_act_new(act->system, backs[act->act]);
    back->tenant = act->tenant ? talloc_strdup(back, act->tenant) : NULL;
    back->queue = talloc_strdup(back, act->queue);
    back->put_back = true;
    for (size_t i = 0; i < change->step_count; i++) {
        const struct celery_step *own = change->steps[i].data;
        int64_t lengths[CELERY_STEPS] = {0};
        if (is_held(own))
            put_back_held(back, own);
        if (!own->group || own->done <= 0)
            continue;
        if (own->run == celery_run_purge)
            memcpy(lengths, own->purged, sizeof lengths);
        else
            lengths[own->level] = own->done;
        back->meant += own->done;
        celery_build_return(back, own->group, own->list, act->act != ACT_TENANT_ASIDE, lengths);
    }
    if (!back->change->step_count) {
        talloc_free(back->change);
        return NULL;
    }
    celery_build_words(back, back->meant, back->queue);
    celery_build_watch(back);
    return back->change;
}

void celery_build_undo(struct celery_act *act)
{
    if (backs[act->act] != ACT_PAUSE)
        act->change->take_back = take_back;
}
