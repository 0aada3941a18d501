/*
 * What the hosts did in the last 48 hours, a mean a minute, kept in SQLite in the state folder
 * ($XDG_STATE_HOME/signalbox/ENV/history.db). Written and read in the file worker; without it everything but
 * the past works.
 */
#ifndef BACKENDS_HOSTS_HOST_STORE_H
#define BACKENDS_HOSTS_HOST_STORE_H

#include "backends/hosts/fleet.h"

struct host_store;

enum { HOST_STORE_HOURS = 48 };

/* Nothing is opened yet. `environment` is its name. */
struct host_store *host_store_new(struct loop *loop, const char *environment);
/* What was not written yet of the current minute is lost. */
void host_store_free(struct host_store *store);

/* A sample of all series (NAN: unknown). Those of one minute are written as their mean, once the minute is
 * over. */
void host_store_add(struct host_store *store, const char *host, double time,
                    const float values[SERIES_COUNT]);

struct host_store_range {
    const double *times; /* seconds since the epoch, ascending */
    const float *values; /* values[i * SERIES_COUNT + series], NAN: unknown */
    size_t count;
};
/* Reads what is known of a host from a time on; done exactly once in a later turn unless the history is freed
 * before; the range is valid during the call. NULL with an error when it cannot be read. */
void host_store_load(struct host_store *store, const char *host, double from,
                     void (*done)(void *data, const struct host_store_range *range,
                                  const struct error *error),
                     void *data);
/* Why nothing is kept; kind ERROR_NONE when it is. */
const struct error *host_store_error(const struct host_store *store);

#endif
