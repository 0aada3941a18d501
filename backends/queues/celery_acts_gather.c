/* Which jobs an act means: those given, or all that match, frozen by their exact bytes and counted by list,
 * task and tenant. Few are kept whole; of many only the digests. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"

enum { KEEP_JOBS = 500, KEEP_BYTES = 4 << 20, NAMES = 2000 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static struct celery_target *target_of(struct celery_prepare *p, const struct job *job)
{
    int level;
    if (!job->key)
        return NULL;
    char *list = celery_base_name(p, p->system, job->key, job->key_length, &level);
    if (!list || level < 0) {
        talloc_free(list);
        return NULL;
    }
    for (size_t i = 0; i < p->target_count; i++)
        if (p->targets[i].level == level && strcmp(p->targets[i].list, list) == 0) {
            talloc_free(list);
            return &p->targets[i];
        }
    p->targets = there(talloc_realloc(p, p->targets, struct celery_target, p->target_count + 1));
    struct celery_target *target = &p->targets[p->target_count++];
    *target = (struct celery_target){.list = list, .level = level, .length = -1};
    return target;
}

static void keep(struct celery_prepare *p, struct celery_target *target, const struct job *job)
{
    p->kept++;
    p->kept_bytes += job->raw_length;
    if (p->kept > KEEP_JOBS || p->kept_bytes > KEEP_BYTES) {
        for (size_t i = 0; i < p->target_count; i++) {
            TALLOC_FREE(p->targets[i].jobs);
            p->targets[i].job_count = 0;
            p->targets[i].many = true;
        }
        return;
    }
    target->jobs = there(talloc_realloc(p, target->jobs, struct job, target->job_count + 1));
    job_copy_into(target->jobs, &target->jobs[target->job_count++], job);
}

static bool can_expire(const struct job *job)
{
    struct celery_envelope envelope;
    struct error error;
    size_t length;
    celery_envelope_scan(&envelope, job->raw, job->raw_length, NULL);
    char *message = celery_envelope_expire(NULL, &envelope, CELERY_LONG_AGO, &length, &error);
    talloc_free(message);
    return message != NULL;
}

static bool in_a_list(const struct job *job)
{
    return job->state == JOB_READY || job->state == JOB_DEAD || job->state == JOB_PARKED;
}

static void gather_one(struct celery_prepare *p, const struct job *job)
{
    struct celery_act *act = p->act;
    if (!in_a_list(job)) {
        p->not_in_list++;
        return;
    }
    if (!job->raw) {
        p->no_bytes++;
        return;
    }
    if (act->act == ACT_NEUTRALISE && !can_expire(job)) {
        p->unexpirable++;
        return;
    }
    struct celery_target *target = target_of(p, job);
    if (target && act->act == ACT_RETRY && !celery_dead_letters_of(target->list))
        target = NULL;
    if (!target) {
        p->elsewhere++;
        return;
    }
    target->count++;
    act->meant++;
    if (act->frozen)
        celery_frozen_add(act->frozen, job->raw, job->raw_length);
    celery_id_list_add(act->ids, job->id ? job->id : job->tag);
    const char *task = job->task ? job->task : "without a name";
    tally_add(p->tasks, task, strlen(task), 1);
    tally_add(p->tenants, job->tenant, job->tenant ? strlen(job->tenant) : 0, 1);
    if (act->meant == 1)
        p->last_id = there(talloc_strdup(p, job->id ? job->id : job->tag ? job->tag : ""));
    if (!target->many)
        keep(p, target, job);
}

/* ---- the lists' lengths, then the ids' file, then the change ---- */

static void ids_written(void *data, const struct error *error)
{
    struct celery_prepare *p = data;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    celery_build_jobs(p);
}

static void lengths_read(void *data, struct redis_batch *batch, const struct error *error)
{
    struct celery_prepare *p = data;
    if (!error)
        error = redis_batch_refusal(batch);
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    for (size_t i = 0; i < p->target_count; i++)
        p->targets[i].length = redis_answer_integer(redis_batch_answer(batch, i), -1);
    celery_id_list_close(p->act->ids, ids_written, p);
}

static void nothing_meant(struct celery_prepare *p)
{
    if (p->not_in_list)
        celery_prepare_fail(p, ERROR_GONE, "Revoke them, or terminate what runs.",
                            "a worker holds %s: what is done in the queue would not reach it",
                            p->not_in_list == 1 ? "the job" : "the jobs");
    else if (p->unexpirable)
        celery_prepare_fail(p, ERROR_UNSUPPORTED, "Park it instead: it moves as it is.",
                            "the message cannot be expired: it is not one that a worker would read");
    else if (p->no_bytes)
        celery_prepare_fail(p, ERROR_USAGE, NULL, "the jobs were given without their messages");
    else if (p->elsewhere)
        celery_prepare_fail(p, ERROR_UNSUPPORTED, NULL, "the jobs are not in a queue of this system");
    else
        celery_prepare_fail(p, ERROR_GONE, NULL, "no job matches");
}

static void gathered(struct celery_prepare *p)
{
    if (p->act->frozen)
        celery_frozen_seal(p->act->frozen);
    /* Dead letters go back as they are; only where there are none, results are made into messages. */
    if (p->act->meant == 0 && p->act->act == ACT_RETRY && !p->request.jobs &&
        (p->request.states & (1u << JOB_FAILED))) {
        TALLOC_FREE(p->act->frozen);
        TALLOC_FREE(p->act->ids);
        celery_look_results(p);
        return;
    }
    if (p->act->meant == 0) {
        nothing_meant(p);
        return;
    }
    p->batch = redis_batch_new(p);
    for (size_t i = 0; i < p->target_count; i++) {
        char *key = celery_queue_key(p, p->system, p->targets[i].list, p->targets[i].level, NULL);
        redis_batch_add(p->batch, "LLEN", key, NULL);
        talloc_free(key);
    }
    redis_batch_ask(p->batch, p->system->redis, p->system->database, lengths_read, p);
}

/* ---- reading ---- */

static void read_jobs(void *data, const struct job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gather_one(data, &jobs[i]);
}

static void read_progress(void *data, const struct queue_read_progress *progress)
{
    struct celery_prepare *p = data;
    if (p->handler.progress)
        p->handler.progress(p->handler.data, progress);
}

static void read_done(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct celery_prepare *p = data;
    (void)progress;
    p->read = NULL;
    if (!error) {
        gathered(p);
        return;
    }
    p->error = *error;
    celery_prepare_done(p, NULL);
}

void celery_gather(struct celery_prepare *p)
{
    struct celery_act *act = p->act;
    /* When nothing but a tenant is said, its jobs are taken by their tenant: those that come in until then,
     * too. */
    if (act->act != ACT_TENANT_ASIDE || p->request.jobs || act->filter_text)
        act->frozen = celery_frozen_new(act);
    act->ids = celery_id_list_new(act, p->system->base.loop, p->system->base.environment->name, act->stamp);
    p->tasks = tally_new(p, NAMES);
    p->tenants = tally_new(p, NAMES);
    if (p->request.jobs) {
        read_jobs(p, p->request.jobs, p->request.job_count);
        gathered(p);
        return;
    }
    unsigned states = act->act == ACT_RETRY ? 1u << JOB_DEAD
                      : p->request.states   ? p->request.states
                                            : 1u << JOB_READY;
    struct queue_read_request request = {.queue = p->request.queue,
                                         .states = states,
                                         .from = FROM_TAIL,
                                         .filter = p->request.filter,
                                         .keep_raw = true};
    p->read = celery_read(&p->system->base, &request,
                          (struct queue_read_handler){read_jobs, read_progress, read_done, p});
}

/* ---- whole jobs ---- */

static void collect_jobs(void *data, const struct job *jobs, size_t count)
{
    struct celery_prepare *p = data;
    struct job *all = (struct job *)p->request.jobs;
    if (p->request.job_count + count > CELERY_COLLECT) {
        p->too_many = true;
        celery_read_stop(p->read);
        return;
    }
    all = there(talloc_realloc(p, all, struct job, p->request.job_count + count + 1));
    for (size_t i = 0; i < count; i++)
        job_copy_into(p->texts, &all[p->request.job_count++], &jobs[i]);
    p->request.jobs = all;
}

static void collected(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct celery_prepare *p = data;
    (void)progress;
    p->read = NULL;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
    } else if (p->too_many) {
        celery_prepare_fail(p, ERROR_USAGE, "Take a narrower filter, and do it in parts.",
                            "more than %d jobs match", CELERY_COLLECT);
    } else if (!p->request.job_count) {
        celery_prepare_fail(p, ERROR_GONE, NULL, "no job matches");
    } else {
        p->collected(p);
    }
}

void celery_collect(struct celery_prepare *p, unsigned states, void (*then)(struct celery_prepare *p))
{
    struct queue_read_request request = {
        .queue = p->request.queue, .states = states, .filter = p->request.filter};
    p->collected = then;
    p->read = celery_read(&p->system->base, &request,
                          (struct queue_read_handler){collect_jobs, read_progress, collected, p});
}
