/* Preparing what workers are told: who lives is looked at first, and jobs that a filter means are found. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"
#include "backends/queues/celery_workers.h"
#include "backends/queues/queues.h"
#include "core/clock.h"

enum { IDS_MOST = 10000 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* Only what telling needs: the id, the task, and who has it. */
static void add_job(struct celery_prepare *p, const struct job *job)
{
    struct queue_act_request *request = &p->request;
    size_t room = p->held ? talloc_array_length(p->held) : 0;
    if (request->job_count == room)
        p->held = there(talloc_realloc(p, p->held, struct job, room ? room * 2 : 64));
    p->held[request->job_count++] =
        (struct job){.id = there(talloc_strdup(p, job->id)),
                     .task = job->task ? there(talloc_strdup(p, job->task)) : NULL,
                     .worker = job->worker ? there(talloc_strdup(p, job->worker)) : NULL,
                     .state = job->state};
    request->jobs = p->held;
}

static void tell(struct celery_prepare *p)
{
    if (p->too_many)
        celery_prepare_fail(p, ERROR_INTERLOCK, "Say more exactly which.",
                            "more than %d jobs match: their ids would fill the memory of the workers",
                            IDS_MOST);
    else if (p->request.filter && !p->request.job_count)
        celery_prepare_fail(p, ERROR_GONE, NULL, "nothing matches");
    else
        celery_prepare_done(p, celery_control_change(p->system, &p->request, &p->error));
}

/* ---- jobs of a filter ---- */

static void on_jobs(void *data, const struct job *jobs, size_t count)
{
    struct celery_prepare *p = data;
    for (size_t i = 0; i < count; i++) {
        p->too_many = p->too_many || p->request.job_count >= IDS_MOST;
        if (jobs[i].id && !p->too_many)
            add_job(p, &jobs[i]);
    }
    if (p->too_many)
        celery_read_stop(p->read);
}

static void on_progress(void *data, const struct queue_read_progress *progress)
{
    struct celery_prepare *p = data;
    if (p->handler.progress)
        p->handler.progress(p->handler.data, progress);
}

static void on_read(void *data, const struct queue_read_progress *progress, const struct error *error)
{
    struct celery_prepare *p = data;
    (void)progress;
    p->read = NULL;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
        return;
    }
    tell(p);
}

static void find_waiting(struct celery_prepare *p)
{
    const struct queue_act_request *request = &p->request;
    unsigned waiting = 1u << JOB_READY | 1u << JOB_UNACKED;
    struct queue_read_request reading = {.queue = request->queue,
                                         .states = request->states ? request->states : waiting,
                                         .filter = request->filter};
    p->read = celery_read(
        &p->system->base, &reading,
        (struct queue_read_handler){.jobs = on_jobs, .progress = on_progress, .done = on_read, .data = p});
}

static void find_running(struct celery_prepare *p)
{
    const struct workers_snapshot *latest = queue_system_workers(&p->system->base);
    for (size_t i = 0; latest && i < latest->running_count; i++)
        if (job_filter_matches(p->request.filter, &latest->running[i], NULL, 0, clock_wall()))
            add_job(p, &latest->running[i]);
    tell(p);
}

static void on_looked(void *data, const struct error *error)
{
    struct celery_prepare *p = data;
    bool by_filter = p->request.filter && !p->request.job_count;
    if (error) {
        p->error = *error;
        celery_prepare_done(p, NULL);
    } else if (by_filter && p->request.act == ACT_REVOKE) {
        find_waiting(p);
    } else if (by_filter && p->request.act == ACT_TERMINATE) {
        find_running(p);
    } else {
        celery_prepare_done(p, celery_control_change(p->system, &p->request, &p->error));
    }
}

void celery_look_told(struct celery_prepare *p)
{
    celery_workers_look(p->system, on_looked, p);
}
