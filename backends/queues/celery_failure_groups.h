/* Failed jobs of Celery in groups: what a record of a result or a dead letter tells, and which have task,
 * exception, place and tenant in common. */
#ifndef BACKENDS_QUEUES_CELERY_FAILURE_GROUPS_H
#define BACKENDS_QUEUES_CELERY_FAILURE_GROUPS_H

#include "backends/queues/celery.h"

enum { FAILURE_GROUPS_MOST = 2000, RESULT_BYTES_MOST = 65536 };

/* One failed job; texts are under the context that it was read with. */
struct celery_failed {
    const char *id, *task, *exception, *message, *frame, *tenant, *queue;
    double at;
    enum job_state kept; /* JOB_DONE: a result; JOB_RETRYING; JOB_DEAD: a dead letter */
    bool retriable;
    const char *why_not; /* static; NULL when it is retriable */
};

/* Of a result (celery-task-meta-ID), which may be cut off. False: it is no failure. Task and tenant are taken
 * from what was learned of the id when the result does not tell. */
bool celery_failed_result(const void *context, const struct celery_system *system, const char *json,
                          size_t length, struct celery_failed *failed);
/* Of an element of dlq:QUEUE: the message as it was sent, with x_failed_at, x_exc and x_msg in its headers,
 * where they were set. */
bool celery_failed_letter(const void *context, const struct celery_system *system, const char *queue,
                          const char *raw, size_t length, struct celery_failed *failed);
/* "saasapp.py:40 in export_csv": the last place of a traceback that is not Celery's own; NULL: none. */
char *celery_frame(const void *context, const char *traceback);

struct failure_groups;
struct failure_groups *failure_groups_new(const void *context, double now);
void failure_groups_add(struct failure_groups *groups, const struct celery_failed *failed);
/* How many were left out because there were too many kinds. */
int64_t failure_groups_dropped(const struct failure_groups *groups);
/* Appends them to the snapshot's, the latest first; texts under the snapshot. */
void failure_groups_fill(const struct failure_groups *groups, struct failures_snapshot *snapshot);

#endif
