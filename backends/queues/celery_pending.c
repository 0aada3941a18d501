/* What other files of Celery do not give yet, so that the program links. Whoever writes a function takes it
 * out here; the file goes with the last one. */
#include <math.h>

#include "backends/queues/celery_control.h"

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

__attribute__((weak)) void *
celery_control_send(struct celery_system *system, const struct celery_control_request *request,
                    void (*done)(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                                 const struct error *error),
                    void *data)
{
    (void)system, (void)request, (void)done, (void)data;
    return NULL;
}
