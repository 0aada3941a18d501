/* Measured plans for tests: a server with a catalogue full of traps, and one run of EXPLAIN after another. */
#ifndef TESTS_HARNESS_EXPLAIN_RUN_H
#define TESTS_HARNESS_EXPLAIN_RUN_H

#include "backends/audit.h"
#include "backends/postgres/explain.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

struct explain_bench {
    struct platform platform;
    char *read;
    char folder[64];
};

/* Counts the sessions that run plans. */
extern const char explain_sessions_sql[];

/* Fixtures of cmocka: the state is a struct explain_bench. */
int explain_bench_start(void **state);
int explain_bench_end(void **state);
/* No session that ran a plan is left on the server. */
void explain_bench_expect_no_session(struct explain_bench *b);

struct explain_run {
    struct watcher w;
    struct audit *audit;
    struct explain *explain;
    struct explain_request request;
    int phases[6];
    bool ended;
    bool frees; /* itself in the callback that tells the end */
};

/* A watched server of ours, with the login `read`; the audit log in `folder` (NULL: the bench's). */
void explain_run_begin_on(struct explain_run *r, struct explain_bench *b, const char *read,
                          const char *folder);
void explain_run_begin(struct explain_run *r, struct explain_bench *b);
void explain_run_end(struct explain_run *r);
/* One request of it: sent, awaited, freed. */
void explain_run_start(struct explain_run *r);
void explain_run_wait(struct explain_run *r);
void explain_run_finish(struct explain_run *r);
bool explain_run_has_ended(void *run);
bool explain_run_is_running(void *run);
/* How it ended; anything else fails the test. */
void explain_run_expect_plan(struct explain_run *r);
void explain_run_expect_error(struct explain_run *r, enum error_kind kind, const char *part);

#endif
