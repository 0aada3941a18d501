/* The lines that are kept of some logs, in the order of time, the oldest given up first: never more than so
 * many lines and so many bytes. */
#ifndef BACKENDS_HOSTS_LOG_RING_H
#define BACKENDS_HOSTS_LOG_RING_H

#include <stdint.h>

#include "backends/hosts/log.h"

struct log_entry {
    uint64_t number; /* grows with every line that comes: its name as long as it lives */
    double time;     /* its own; NAN: it has none */
    double at;       /* its place: its own time, or when it came */
    unsigned stream; /* of which log */
    enum log_level level;
    bool continued, cut;
    bool access;
    int status;
    double request_time;  /* seconds; NAN */
    struct log_text text; /* for people, without the time; raw bytes, not safe */
    struct log_text who;
    struct log_text raw; /* the line as it came */
    size_t size;         /* bytes of memory */
    char bytes[];
};

struct log_ring;

/* Owned by context. */
struct log_ring *log_ring_new(const void *context, size_t max_lines, size_t max_bytes);
void log_ring_clear(struct log_ring *ring);

/* Copies a line to its place: behind all that are not later; a continued one behind its stream's last line
 * of the same place. A line older than all others is not kept when there is no room: NULL. */
const struct log_entry *log_ring_add(struct log_ring *ring, unsigned stream, const struct log_line *line,
                                     struct log_text raw, bool cut, double at);

size_t log_ring_count(const struct log_ring *ring);
size_t log_ring_bytes(const struct log_ring *ring);
/* 0 is the oldest. Borrowed until the next log_ring_add. */
const struct log_entry *log_ring_entry(const struct log_ring *ring, size_t index);
/* The index of the first line at or after that place; the count when there is none. */
size_t log_ring_find(const struct log_ring *ring, double at);
/* Where the line of that number and place is now; the index of what took its place when it is gone. */
size_t log_ring_index(const struct log_ring *ring, uint64_t number, double at);
/* Lines that were given up for newer ones. */
uint64_t log_ring_forgotten(const struct log_ring *ring);

#endif
