/*
 * Bytes of several logs become lines in one ring, merged by time, with a bound on how many bytes a second are
 * read: what is above it is dropped and counted. Knows nothing of where the bytes come from.
 */
#ifndef BACKENDS_HOSTS_LOG_MERGE_H
#define BACKENDS_HOSTS_LOG_MERGE_H

#include "backends/hosts/log_ring.h"
#include "backends/hosts/log_stats.h"

struct log_merge;

struct log_merge_options {
    size_t max_lines;        /* kept; 0: 20,000 */
    size_t max_bytes;        /* kept; 0: 8 MB */
    double bytes_per_s;      /* read once a log is followed; 0: 2 MB */
    const char *filter;      /* only lines that hold this text, without regard to case; NULL: all */
    double from, to;         /* only lines of that time, NAN: no bound */
    struct log_stats *stats; /* borrowed; counts all lines, filtered out or not; NULL: none */
};

/* Owned by context; the filter is copied. */
struct log_merge *log_merge_new(const void *context, const struct log_merge_options *options);

/* A log of its own; returns its number, from 0. */
unsigned log_merge_stream(struct log_merge *merge, enum log_format format);
/* It begins, or begins again after it was lost: what is told a second time is left out. Until
 * log_merge_live nothing is dropped and each line stands at its own time. `zone_s`: of the host's clock. */
void log_merge_begin(struct log_merge *merge, unsigned number, int zone_s);
/* From now on its lines are new ones: those whose time is not near now stand where they came. */
void log_merge_live(struct log_merge *merge, unsigned number);
/* Bytes came. Returns how many of them were read; the rest was dropped. */
size_t log_merge_feed(struct log_merge *merge, unsigned number, const char *bytes, size_t length);
/* The last line, which had no end. */
void log_merge_end(struct log_merge *merge, unsigned number);
/* Bytes that may be read now; below 0 while the past of a log is read faster than the bound: wait. */
double log_merge_budget(struct log_merge *merge);

/* Begins anew with another filter (NULL: none): all lines are forgotten. The statistics stay. */
void log_merge_reset(struct log_merge *merge, const char *filter);
struct log_ring *log_merge_ring(struct log_merge *merge);
/* Lines that came too fast. */
uint64_t log_merge_dropped(const struct log_merge *merge);
/* Lines of this log that were read, and the time of its last one (NAN: none yet). */
uint64_t log_merge_read(const struct log_merge *merge, unsigned number, double *last_time);

#endif
