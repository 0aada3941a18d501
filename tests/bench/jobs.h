/* The console over a Celery queue of a million jobs, beside redis-cli. */
#ifndef TESTS_BENCH_JOBS_H
#define TESTS_BENCH_JOBS_H

#include <stdbool.h>

/* Prints a table; false when a budget is missed. */
bool bench_jobs(void);

#endif
