/* A queue of Celery with very many jobs on a real Redis: made fast, and looked at afterwards behind the
 * console's back. Job i of n was sent i-th; even ones are of BULK_TENANT, each hundredth is of BULK_TASK. */
#ifndef TESTS_BENCH_BULK_H
#define TESTS_BENCH_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/harness/redis.h"

#define BULK_QUEUE "bulk"
#define BULK_TENANT "al_noor"
#define BULK_TASK "billing.tasks.issue_invoice"

enum { BULK_SHARE = 2, BULK_TASK_SHARE = 100 };

/* Fills the queue with `count` jobs of about 1 kB (988 bytes), as kombu writes them, and binds it. */
void bulk_fill(struct redis_box *redis, int64_t count);

struct bulk_state {
    int64_t count, of_tenant; /* jobs in the queue */
    int64_t expired;          /* whose header `expires` is set */
    int64_t disorder;         /* older ones behind newer ones, of the tenant's jobs and of the others' */
};
/* Reads the whole queue, the next to run first. */
struct bulk_state bulk_look(const struct redis_box *redis);

/* Commands that took the server more than 5 ms since the last call, and the slowest of them in ms. */
int64_t bulk_slow(struct redis_box *redis, double *slowest_ms);

#endif
