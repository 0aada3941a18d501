/* What other files of Celery do not give yet, so that the program links. Whoever writes a function takes it
 * out here; the file goes with the last one. */
#include <math.h>

#include "backends/queues/celery_control.h"

static void not_there(struct celery_system *system, enum queue_part part)
{
    struct error error;
    error_set(&error, ERROR_UNSUPPORTED, system->base.place, queue_part_name(part), NULL, "not read yet");
    queue_system_failed(&system->base, part, &error);
}

__attribute__((weak)) void celery_ask_workers(struct celery_system *system)
{
    not_there(system, PART_WORKERS);
}

__attribute__((weak)) void celery_ask_schedule(struct celery_system *system)
{
    not_there(system, PART_SCHEDULE);
}

__attribute__((weak)) struct queue_read *celery_read(struct queue_system *system,
                                                     const struct queue_read_request *request,
                                                     struct queue_read_handler handler)
{
    (void)system, (void)request, (void)handler;
    return NULL;
}

__attribute__((weak)) void celery_read_stop(struct queue_read *read)
{
    (void)read;
}

__attribute__((weak)) void celery_read_forsake(struct queue_read *read)
{
    (void)read;
}

__attribute__((weak)) void
celery_job(struct queue_system *system, const struct job *job,
           void (*done)(void *data, const struct job_facts *facts, const struct error *error), void *data)
{
    (void)system, (void)job, (void)done, (void)data;
}

__attribute__((weak)) void celery_watch_want(struct celery_system *system, bool wanted)
{
    (void)system, (void)wanted;
}

__attribute__((weak)) void celery_watch_free(struct celery_watch *watch)
{
    (void)watch;
}

__attribute__((weak)) double celery_watch_rate(const struct celery_system *system)
{
    (void)system;
    return NAN;
}

__attribute__((weak)) double celery_watch_sent_at(const struct celery_system *system, const char *id)
{
    (void)system, (void)id;
    return 0;
}

__attribute__((weak)) double celery_watch_retry_share(const struct celery_system *system)
{
    (void)system;
    return NAN;
}

__attribute__((weak)) void celery_asked_free(struct celery_asked *asked)
{
    (void)asked;
}

__attribute__((weak)) const struct celery_answers *celery_answers(const struct celery_system *system)
{
    (void)system;
    return NULL;
}

__attribute__((weak)) bool celery_task_known(const struct celery_system *system, const char *task)
{
    (void)system, (void)task;
    return true;
}

__attribute__((weak)) struct change *celery_control_change(struct celery_system *system,
                                                           const struct queue_act_request *request,
                                                           struct error *error)
{
    (void)request;
    error_set(error, ERROR_UNSUPPORTED, system->base.place, "remote control", NULL, "not done yet");
    return NULL;
}

__attribute__((weak)) void *
celery_control_send(struct celery_system *system, const struct celery_control_request *request,
                    void (*done)(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                                 const struct error *error),
                    void *data)
{
    (void)system, (void)request, (void)done, (void)data;
    return NULL;
}
