/* How long the loop's turns take while it serves a fleet of hosts, without a screen. */
#ifndef TESTS_BENCH_TURNS_H
#define TESTS_BENCH_TURNS_H

struct turns {
    double live_ms;      /* until all hosts have answered once; INFINITY: some never did */
    double start_ms;     /* the longest turn until then, on the clock */
    double start_cpu_ms; /* the same in CPU time of the loop's thread: without waiting for a processor */
    double longest_ms;   /* the longest turn afterwards */
    double longest_cpu_ms;
};

/* Runs the fleet of an environment's file in this process until all hosts have answered, and `seconds` more.
 */
struct turns measure_turns(const char *environment_path, double seconds);

#endif
