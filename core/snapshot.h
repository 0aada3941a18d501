/*
 * Snapshots: everything one refresh learned. One talloc context, immutable once published, held by reference
 * count, published by pointer swap, freed whole. Only the loop's thread counts references.
 */
#ifndef CORE_SNAPSHOT_H
#define CORE_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

/* First member of every snapshot's struct. */
struct snapshot {
    int references;
    uint64_t generation; /* grows by one with every snapshot made by this process */
    double taken_at;     /* seconds since the epoch when the answer was there */
    double taken_monotonic;
};

/* A zeroed, talloc'd struct of `size` bytes that begins with a struct snapshot, with one reference.
 * Everything in it is allocated under it. */
void *snapshot_new(size_t size, const char *type_name);
#define SNAPSHOT_NEW(type) ((type *)snapshot_new(sizeof(type), #type))

/* Another reference; returns its argument. NULL is allowed. */
const void *snapshot_hold(const void *snapshot);
/* Gives one back; the last one frees. NULL is allowed. */
void snapshot_release(const void *snapshot);
/* *slot gives up what it holds and takes `fresh` with the caller's reference. */
void snapshot_publish(const void **slot, void *fresh);

#endif
