/* What celery_job.c found of one job, for celery_job_facts.c to tell. */
#ifndef BACKENDS_QUEUES_CELERY_JOB_H
#define BACKENDS_QUEUES_CELERY_JOB_H

#include <json-c/json.h>

#include "backends/queues/celery_result.h"

struct celery_found {
    struct celery_system *system;
    const struct job *job; /* as it was asked for */
    const char *raw;       /* the message; NULL: it is nowhere */
    size_t length;
    enum { FOUND_NOWHERE, FOUND_LIST, FOUND_HELD, FOUND_BEFORE } where; /* BEFORE: as it was read earlier */
    int64_t index;                                                      /* from the head, now; -1 */
    double taken_at;
    const char *held_queue; /* of unacked: the routing key */
    const char *result;     /* JSON; NULL: there is none */
    size_t result_length;   /* 0 with result_size > 0: too large to read */
    int64_t result_size;
    int64_t result_ttl;                         /* seconds; -1: stays for ever; -2: unknown */
    int64_t chord_done, chord_size, chord_more; /* -1: there is no chord */
};

/* All sections; under context. */
struct job_facts *celery_found_facts(const void *context, const struct celery_found *found);

#endif
