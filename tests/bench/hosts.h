/* The console over fleets of hosts beside pssh and a ControlMaster loop. */
#ifndef TESTS_BENCH_HOSTS_H
#define TESTS_BENCH_HOSTS_H

#include <stdbool.h>

/* Prints a table; false when a budget is missed. `seconds` is how long CPU is measured. */
bool bench_hosts(double seconds);

#endif
