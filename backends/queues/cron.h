/*
 * When something runs next: crontab fields as Celery and as cron read them, intervals, and time zones from
 * the machine's zoneinfo files (never through TZ, which is one for all threads).
 */
#ifndef BACKENDS_QUEUES_CRON_H
#define BACKENDS_QUEUES_CRON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zone;
struct zone_cache; /* zones that were read; a talloc chunk */

struct zone_cache *zone_cache_new(const void *context);
/* NULL: there is no such zone here. "UTC" is always there. Reads a small local file the first time. */
const struct zone *zone_find(struct zone_cache *cache, const char *name);
/* The bytes of a TZif file (RFC 8536). NULL: they are none. Under context. */
struct zone *zone_parse(const void *context, const unsigned char *bytes, size_t length);
/* Seconds east of UTC at that time. */
int zone_offset(const struct zone *zone, int64_t utc);
/* The time whose local reading is `local` (seconds as if it were UTC). Of two (the clock went back) the
 * first; of none (it went forward) the one that the clock would show without the change. */
int64_t zone_to_utc(const struct zone *zone, int64_t local);

enum cron_flavour {
    CRON_CELERY, /* day of month and day of week must both hold; a range may wrap around */
    CRON_VIXIE,  /* either, when both are given; names of months; seconds first when there are six fields */
};
struct cron {
    uint64_t seconds, minutes; /* a bit each */
    uint32_t hours, days, months, weekdays;
    bool any_day, any_weekday; /* the field is * */
    bool last_day;             /* "L": the last day of the month */
    enum cron_flavour flavour;
};
/* "minute hour day_of_month month day_of_week", separated by blanks; for cron also @daily and its like. False
 * when it is not right. */
bool cron_parse(struct cron *cron, const char *text, enum cron_flavour flavour);
/* The first time after `after` (UTC, seconds), or 0 when there is none within eight years. */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after);

/* An entry of a schedule, as its system keeps it. */
struct schedule_when {
    const char *kind, *text, *zone; /* pg_jobs.h, PGS_KIND */
    double last, base;              /* the last run; what is counted from when there was none; 0: unknown */
    double known;                   /* the next run, when the system keeps it */
    double start;                   /* not before */
    double slack;                   /* how much later than due its bookkeeping may be */
};
struct schedule_due {
    char text[160]; /* "0 2 * * * Asia/Riyadh", "every 10 s" */
    double next;    /* 0: unknown */
    double late;    /* seconds beyond due and slack; 0: not late */
    const char *why;
};
struct schedule_due schedule_due(struct zone_cache *zones, const struct schedule_when *when, double now);

#endif
