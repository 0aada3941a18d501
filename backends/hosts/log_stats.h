/*
 * Requests by tenant out of access logs: how many, how many failed, how long they took, over a window of
 * time that slides with the newest request. Memory is bounded, whatever the log does.
 *
 * Latencies are counted in buckets that grow by gamma = (1 + a) / (1 - a), a = 0.02: value v falls into
 * bucket ceil(log(v) / log(gamma)) and is told as 2 gamma^i / (gamma + 1), at most 2 % off (DDSketch: Masson,
 * Rim, Lee, VLDB 2019). Counts of two such sketches can be added, so the fleet's p95 is that of all requests,
 * never a mean of means.
 */
#ifndef BACKENDS_HOSTS_LOG_STATS_H
#define BACKENDS_HOSTS_LOG_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/hosts/log.h"

/* From 1 ms, in which nginx counts, to 17 minutes; bucket 0 is "less than 1 ms". */
enum { SKETCH_BUCKETS = 350, STATS_TENANTS_MAX = 10000, STATS_REQUESTS_MAX = 262144 };

struct sketch {
    uint32_t counts[SKETCH_BUCKETS];
    uint64_t total;
};

size_t sketch_bucket(double seconds);
void sketch_add(struct sketch *sketch, double seconds);
void sketch_merge(struct sketch *into, const struct sketch *other);
/* The value at that share (0.95) in seconds; NAN when nothing was counted. */
double sketch_quantile(const struct sketch *sketch, double share);

struct tenant_stats {
    const char *host; /* lower case, at most 253 bytes, raw; "(no host)", "(others)" */
    double requests, errors_5xx, errors_4xx, bytes, timed, over_promise;
    double requests_per_s, errors_percent; /* errors: 5xx of all requests */
    double p50_ms, p95_ms, p99_ms;         /* NAN: no times */
    double over_percent;                   /* of those with a time; NAN: no times */
};

struct log_stats;

/* `promise_s`: what answers may take (environment->policy.api_latency). Owned by context. */
struct log_stats *log_stats_new(const void *context, double window_s, double promise_s);
/* Counts a line when it is a request with a time. */
void log_stats_add(struct log_stats *stats, const struct log_line *line);
/* Lines that came too fast to be read: the figures are of a sample then. */
void log_stats_dropped(struct log_stats *stats, uint64_t lines);

struct log_stats_report {
    struct tenant_stats total;
    struct tenant_stats *tenants; /* by requests, most first */
    size_t tenant_count;
    double from, to;    /* times of the oldest and newest request that is counted; NAN: none */
    uint64_t dropped;   /* lines that were not read */
    bool full;          /* more requests than are kept: the window is shorter than asked for */
    bool without_times; /* not one request had a time: see log_stats_advice */
    bool without_hosts; /* not one request had a host */
    uint64_t others;    /* requests counted as "(others)": there are more than STATS_TENANTS_MAX tenants */
};
/* Allocated under context. */
struct log_stats_report *log_stats_report(const void *context, struct log_stats *stats);

/* What to write into nginx' configuration so that the figures can be had; NULL when nothing is missing. */
const char *log_stats_advice(const struct log_stats_report *report);

#endif
