#include "core/snapshot.h"

#include <assert.h>
#include <stdlib.h>
#include <talloc.h>

#include "core/clock.h"

void *snapshot_new(size_t size, const char *type_name)
{
    static uint64_t generation; /* loop thread only */
    assert(size >= sizeof(struct snapshot));
    struct snapshot *snapshot = talloc_zero_size(NULL, size);
    if (!snapshot)
        abort();
    talloc_set_name_const(snapshot, type_name);
    snapshot->references = 1;
    snapshot->generation = ++generation;
    snapshot->taken_at = clock_wall();
    snapshot->taken_monotonic = clock_monotonic();
    return snapshot;
}

const void *snapshot_hold(const void *snapshot)
{
    if (snapshot)
        ((struct snapshot *)snapshot)->references++;
    return snapshot;
}

void snapshot_release(const void *snapshot)
{
    struct snapshot *held = (struct snapshot *)snapshot;
    if (held && --held->references == 0)
        talloc_free(held);
}

void snapshot_publish(const void **slot, void *fresh)
{
    const void *old = *slot;
    *slot = fresh;
    snapshot_release(old);
}
