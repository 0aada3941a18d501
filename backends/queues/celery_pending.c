/* What other files of Celery do not give yet, so that the program links. Whoever writes a function takes it
 * out here; the file goes with the last one. */
#include <math.h>
#include <stdlib.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/redis_read.h"

static size_t list_shelves(struct queue_system *base, const void *context, const char *queue, unsigned states,
                           struct redis_shelf **shelves)
{
    const struct celery_system *system = (const struct celery_system *)base;
    (void)states;
    *shelves = talloc_zero_array(context, struct redis_shelf, CELERY_STEPS);
    if (!*shelves || !queue)
        abort();
    for (int i = 0; i < CELERY_STEPS; i++)
        (*shelves)[i] = (struct redis_shelf){.kind = SHELF_LIST,
                                             .key = celery_queue_key(*shelves, system, queue, i, NULL),
                                             .queue = queue,
                                             .state = JOB_READY,
                                             .head_last = true};
    return CELERY_STEPS;
}

static bool fill_job(struct queue_system *base, const void *context, const struct redis_item *item,
                     struct job *job, const char **body, size_t *body_length)
{
    const struct celery_system *system = (const struct celery_system *)base;
    struct celery_envelope envelope;
    celery_envelope_scan(&envelope, item->bytes, item->length, system->tenancy.header);
    celery_job_fill(context, job, &envelope, item->shelf->queue, &system->tenancy);
    (void)body, (void)body_length;
    return true;
}

/* Lists only. */
__attribute__((weak)) struct queue_read *celery_read(struct queue_system *system,
                                                     const struct queue_read_request *request,
                                                     struct queue_read_handler handler)
{
    static const struct redis_reading reading = {.shelves = list_shelves, .fill = fill_job};
    return redis_read_start(system, &reading, request, handler);
}

__attribute__((weak)) void celery_read_stop(struct queue_read *read)
{
    redis_read_stop(read);
}

__attribute__((weak)) void celery_read_forsake(struct queue_read *read)
{
    redis_read_forsake(read);
}

__attribute__((weak)) void
celery_job(struct queue_system *system, const struct job *job,
           void (*done)(void *data, const struct job_facts *facts, const struct error *error), void *data)
{
    (void)system, (void)job, (void)done, (void)data;
}
