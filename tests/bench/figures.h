/* What the kernel says of processes, and small arithmetic on samples. Seconds and bytes. */
#ifndef TESTS_BENCH_FIGURES_H
#define TESTS_BENCH_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

double now_s(void);
/* User and system time of a whole process, all its threads; 0 when it is gone. */
double cpu_s(pid_t pid);
/* The time of all children that it has waited for; 0 when it is gone. */
double cpu_of_ended_children_s(pid_t pid);
/* RssAnon: private memory; 0 when it is gone. */
double private_bytes(pid_t pid);
/* The value below which the part (0 to 1) of the samples lies; sorts them. */
double percentile(double *samples, size_t count, double part);

#endif
