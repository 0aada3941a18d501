/* The last hour of a host's series, in memory. Samples closer than five seconds are averaged. */
#ifndef BACKENDS_HOSTS_HISTORY_H
#define BACKENDS_HOSTS_HISTORY_H

#include "backends/hosts/fleet.h"

struct history;

struct history *history_new(const void *context);
/* `values` has SERIES_COUNT floats, NAN for unknown. */
void history_add(struct history *history, double time, const float *values);
/* As host_history of fleet.h. */
size_t history_read(const struct history *history, const void *context, const enum host_series *series,
                    size_t series_count, double since, double **times, float **values);

#endif
