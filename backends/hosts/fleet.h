/*
 * The hosts of an environment, each with a collector that runs as long as somebody looks: one long-lived
 * shell over SSH that answers requests (f, m, s, d: the tiers), writes no file, and ends when we do.
 */
#ifndef BACKENDS_HOSTS_FLEET_H
#define BACKENDS_HOSTS_FLEET_H

#include "backends/environment.h"
#include "backends/feed.h"
#include "backends/hosts/host.h"
#include "backends/ssh/ssh.h"

struct fleet;
struct host;

/* `environment` and `pool` are borrowed and outlive the fleet. `changed`: something that can be seen changed.
 */
struct fleet *fleet_new(struct loop *loop, const struct environment *environment, struct ssh_pool *pool,
                        void (*changed)(void *data), void *data);
void fleet_free(struct fleet *fleet);

size_t fleet_count(const struct fleet *fleet);
struct host *fleet_host(const struct fleet *fleet, size_t index);
struct host *fleet_find(const struct fleet *fleet, const char *name);
/* Grows with every new snapshot and change of state of any host. */
uint64_t fleet_version(const struct fleet *fleet);

/* Somebody looks at the fleet, or no longer: the tiers fast, medium and slow of all hosts. */
void fleet_want(struct fleet *fleet, bool wanted);
/* Somebody looks at this host: its detail tier too. */
void host_want_detail(struct host *host, bool wanted);

const char *host_name(const struct host *host);
const char *host_group(const struct host *host); /* or NULL */
struct ssh_host *host_ssh(const struct host *host);
struct feed *host_feed(struct host *host, enum host_tier tier);
/* The newest, or NULL before the first answer; when there is none and the host does not answer, one with
 * nothing but the problem (state HOST_UNKNOWN, fast_at 0). Borrowed until the next turn of the loop. A host
 * that stopped answering keeps its last figures: see the state and fast_at. */
const struct host_snapshot *host_latest(const struct host *host);

/* The last hour, a sample each time the fast tier answered; older ones from the store (history.h). */
enum host_series {
    SERIES_CPU,
    SERIES_STEAL,
    SERIES_IOWAIT,
    SERIES_LOAD,
    SERIES_MEMORY,
    SERIES_SWAP_IN,
    SERIES_PSI_CPU,
    SERIES_PSI_IO,
    SERIES_PSI_MEMORY,
    SERIES_IO_BUSY,
    SERIES_NET_IN,
    SERIES_NET_OUT,
    SERIES_LISTEN_OVERFLOWS,
    SERIES_COUNT
};
/* Each sample of all series is handed over as well, to be kept (host_store.h). */
void fleet_set_sampled(struct fleet *fleet,
                       void (*sampled)(void *data, const char *host, double time,
                                       const float values[SERIES_COUNT]),
                       void *data);
/* The last `seconds` of some series, oldest first: values[i * series_count + s], NAN for a gap. Allocated
 * under context; returns the number of samples. */
size_t host_history(const struct host *host, const void *context, const enum host_series *series,
                    size_t series_count, double seconds, double **times, float **values);

#endif
