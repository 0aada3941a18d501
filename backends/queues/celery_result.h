/* Results of Celery (celery-task-meta-ID) as Redis keeps them: https://docs.celeryq.dev, backends/base.py. */
#ifndef BACKENDS_QUEUES_CELERY_RESULT_H
#define BACKENDS_QUEUES_CELERY_RESULT_H

#include <json-c/json.h>

#include "backends/queues/celery.h"

enum { CELERY_RESULT_MAX = 4 * 1024 * 1024 };

/* A result as a job, texts under context; false: the text is none. The state is what it says: done, failed,
 * retrying, cancelled (revoked), running (started, or a state of the application's own). `*parsed` (may be
 * NULL): the object, to be put by the caller. */
bool celery_result_fill(const void *context, const struct celery_system *system, const char *json,
                        size_t length, struct job *job, struct json_object **parsed);

#endif
