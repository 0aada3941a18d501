/* Any bytes at all as a result or a dead letter of Celery, and as a traceback: read and grouped without a
 * crash or a leak. */
#include <stdint.h>
#include <stdlib.h>
#include <talloc.h>

#include "backends/queues/celery_failure_groups.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct celery_system *system = talloc_zero(NULL, struct celery_system);
    system->tenancy.argument = -1;
    system->ids = celery_ids_new(system);
    struct failure_groups *groups = failure_groups_new(system, 1795263753);
    struct celery_failed failed;
    int64_t added = 0;
    if (celery_failed_result(system, system, (const char *)data, size, &failed)) {
        failure_groups_add(groups, &failed);
        added++;
    }
    if (celery_failed_letter(system, system, "celery", (const char *)data, size, &failed)) {
        failure_groups_add(groups, &failed);
        added++;
    }
    failed = (struct celery_failed){
        .frame = celery_frame(system, talloc_strndup(system, (const char *)data, size)), .kept = JOB_DONE};
    failure_groups_add(groups, &failed);
    struct failures_snapshot *snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    failure_groups_fill(groups, snapshot);
    int64_t count = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        count += snapshot->failures[i].count;
    if (count != added + 1)
        abort();
    snapshot_release(snapshot);
    talloc_free(system);
    return 0;
}
