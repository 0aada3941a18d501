/* The levels. Utilisation warns late: a busy machine is not a broken one; errors and saturation warn early.
 */
#include "backends/hosts/levels.h"

#include <math.h>

/* Sources: certificates 14 days and disks 90 % are the order of triage of platform.md; PSI as its kernel
 * document uses it (a tenth of the time lost is felt); steal and iowait as virtual servers are judged
 * commonly; the clock where tokens and certificates begin to fail. NAN: never. */
static const struct {
    double warning, critical;
} levels[MEASURES] = {
    [MEASURE_CPU] = {85, 97},
    [MEASURE_STEAL] = {5, 20},
    [MEASURE_IOWAIT] = {20, 50},
    [MEASURE_LOAD] = {2, 5},
    [MEASURE_MEMORY] = {85, 95},
    [MEASURE_SWAP_IN] = {10, 500},
    [MEASURE_PSI_CPU] = {25, 60},
    [MEASURE_PSI_IO] = {10, 40},
    [MEASURE_PSI_MEMORY] = {5, 20},
    [MEASURE_DISK] = {85, 92},
    [MEASURE_FULL_IN] = {24 * 3600, 4 * 3600},
    [MEASURE_INODES] = {85, 95},
    [MEASURE_IO_BUSY] = {80, 98},
    [MEASURE_IO_QUEUE] = {8, 32},
    [MEASURE_RETRANSMITS] = {1, 5},
    [MEASURE_LISTEN_OVERFLOWS] = {0.01, 1},
    [MEASURE_ACCEPT_QUEUE] = {50, 90},
    [MEASURE_FAILED_UNITS] = {1, NAN},
    [MEASURE_RESTARTING] = {1, 1},
    [MEASURE_OOM_KILLS] = {1, 1},
    [MEASURE_CERTIFICATE_DAYS] = {14, 3},
    [MEASURE_SECURITY_UPDATES] = {1, NAN},
    [MEASURE_CLOCK_OFFSET] = {2, 30},
    [MEASURE_FILES] = {80, 95},
};

static bool low_is_bad(enum host_measure measure)
{
    return measure == MEASURE_FULL_IN || measure == MEASURE_CERTIFICATE_DAYS;
}

enum severity host_severity(enum host_measure measure, double value)
{
    if (measure >= MEASURES)
        return SEVERITY_NONE;
    double sign = low_is_bad(measure) ? -1 : 1;
    if (measure == MEASURE_CLOCK_OFFSET)
        value = fabs(value);
    /* Comparisons with NAN are false. */
    if (sign * value >= sign * levels[measure].critical)
        return SEVERITY_CRITICAL;
    if (sign * value >= sign * levels[measure].warning)
        return SEVERITY_WARNING;
    return SEVERITY_NONE;
}
