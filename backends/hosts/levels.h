/*
 * When a figure of a host is out of bounds: one table, for the problems in words and for the colours of the
 * screen.
 */
#ifndef BACKENDS_HOSTS_LEVELS_H
#define BACKENDS_HOSTS_LEVELS_H

#include "core/value.h"

enum host_measure {
    MEASURE_CPU,              /* percent of all cores */
    MEASURE_STEAL,            /* percent */
    MEASURE_IOWAIT,           /* percent */
    MEASURE_LOAD,             /* load of one minute per core */
    MEASURE_MEMORY,           /* percent that is not available */
    MEASURE_SWAP_IN,          /* pages a second */
    MEASURE_PSI_CPU,          /* percent of time, some, 10 s */
    MEASURE_PSI_IO,           /* percent of time, some, 10 s */
    MEASURE_PSI_MEMORY,       /* percent of time, some, 10 s */
    MEASURE_DISK,             /* percent full */
    MEASURE_FULL_IN,          /* seconds until it is full: low is bad */
    MEASURE_INODES,           /* percent used */
    MEASURE_IO_BUSY,          /* percent */
    MEASURE_IO_QUEUE,         /* requests */
    MEASURE_RETRANSMITS,      /* percent of segments sent */
    MEASURE_LISTEN_OVERFLOWS, /* a second */
    MEASURE_ACCEPT_QUEUE,     /* percent of the limit */
    MEASURE_FAILED_UNITS,
    MEASURE_RESTARTING,       /* containers */
    MEASURE_OOM_KILLS,        /* in the last hour */
    MEASURE_CERTIFICATE_DAYS, /* days left: low is bad */
    MEASURE_SECURITY_UPDATES,
    MEASURE_CLOCK_OFFSET, /* seconds, either way */
    MEASURE_FILES,        /* percent of open files */
    MEASURES              /* how many there are; as a measure: one without levels */
};

/* NONE when it is in bounds or unknown (NAN, INFINITY where low is bad). */
enum severity host_severity(enum host_measure measure, double value);

#endif
