/* Time. One place, so that tests can fix the clock (environment variable SIGNALBOX_TEST_CLOCK, seconds since
 * the epoch). */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stddef.h>

/* Seconds since the epoch, UTC. */
double clock_wall(void);
/* Seconds of a clock that never jumps; only differences mean anything. */
double clock_monotonic(void);
/* The same, and it goes on while the machine sleeps: for what must not outlast a closed laptop. */
double clock_boottime(void);
/* A factor between 1 - spread and 1 + spread, another one at every call and in every process, for what must
 * not happen everywhere at once. */
double clock_jitter(double spread);
/* "2026-11-21T14:05:10.204Z" (RFC 3339, UTC, milliseconds). Returns buffer; 32 bytes are enough. */
char *clock_rfc3339(char *buffer, size_t size, double wall);
/* "14:05:10 UTC": the time of day with the zone's name, in the user's zone. */
/* "14:05", in the zone that the clock shows. */
char *clock_hour_minute(char *buffer, size_t size, double wall);
char *clock_time_of_day(char *buffer, size_t size, double wall);

#endif
