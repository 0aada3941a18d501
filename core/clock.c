/* The wall clock (which tests can fix), the clock that never jumps, and how times are written. */
#include "core/clock.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double clock_wall(void)
{
    const char *fixed = getenv("SIGNALBOX_TEST_CLOCK");
    return fixed && *fixed ? strtod(fixed, NULL) : read_clock(CLOCK_REALTIME);
}

double clock_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double clock_boottime(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

double clock_jitter(double spread)
{
    uint64_t bits = (uint64_t)(clock_monotonic() * 1e9) ^ (uint64_t)getpid() << 40;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    bits ^= bits >> 31;
    return 1 - spread + 2 * spread * (double)(bits >> 11) / 9007199254740992.0;
}

/* Years 1 to 9999; other times cannot be written. */
static bool is_writable(double wall)
{
    return wall >= -62135596800.0 && wall < 253402300800.0;
}

char *clock_rfc3339(char *buffer, size_t size, double wall)
{
    struct tm parts;
    if (!is_writable(wall)) {
        snprintf(buffer, size, "?");
        return buffer;
    }
    /* Half a microsecond: 0.204 as a double may lie just below. */
    double whole = floor(wall + 5e-7);
    int milliseconds = (int)((wall - whole) * 1000 + 5e-4);
    time_t seconds = (time_t)whole;
    gmtime_r(&seconds, &parts);
    snprintf(buffer, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
             parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, milliseconds);
    return buffer;
}

char *clock_time_of_day(char *buffer, size_t size, double wall)
{
    struct tm parts;
    if (!is_writable(wall)) {
        snprintf(buffer, size, "?");
        return buffer;
    }
    time_t seconds = (time_t)floor(wall);
    localtime_r(&seconds, &parts);
    snprintf(buffer, size, "%02d:%02d:%02d %s", parts.tm_hour, parts.tm_min, parts.tm_sec, parts.tm_zone);
    return buffer;
}

char *clock_hour_minute(char *buffer, size_t size, double wall)
{
    clock_time_of_day(buffer, size, wall);
    if (strlen(buffer) > 5)
        buffer[5] = '\0';
    return buffer;
}
