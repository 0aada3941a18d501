/* What a worker would do with a message: ends, drops it, fails, or runs it. */
#ifndef BACKENDS_QUEUES_CELERY_VERDICT_H
#define BACKENDS_QUEUES_CELERY_VERDICT_H

#include "backends/queues/celery_body.h"

/* The message is JSON and an object, and its spans are filled: sets protocol1, body_kind, poison and why. */
void celery_verdict(struct celery_envelope *envelope);
/* Does Celery's parser take it as a time? (Other texts are invalid, and empty ones end the worker.) */
bool celery_time_valid(struct span span);

#endif
