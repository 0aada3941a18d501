/* Plans of tests/data/plans for the tests of the plan reader. */
#ifndef TESTS_UNIT_PLANS_H
#define TESTS_UNIT_PLANS_H

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plan.h"
#include "tests/unit/unit.h"

static inline char *read_file(void *context, const char *name, size_t *length)
{
    char *path = talloc_asprintf(context, "%s/tests/data/plans/%s", TEST_ROOT, name);
    FILE *file = fopen(path, "rb");
    char *text = talloc_zero_size(context, 1 << 17);
    if (!file)
        fail_msg("cannot open %s: %s", path, strerror(errno));
    *length = fread(text, 1, (1 << 17) - 1, file);
    fclose(file);
    return text;
}

static inline struct plan *load(void *context, const char *name)
{
    struct error error = {0};
    size_t length;
    const char *text = read_file(context, name, &length);
    struct plan *plan = plan_read(context, text, length, &error);
    if (!plan)
        fail_msg("%s: %s: %s", name, error.what, error.why);
    return plan;
}

static inline struct plan *parse(void *context, const char *text, struct error *error)
{
    return plan_read(context, text, strlen(text), error);
}

static inline const struct plan_node *node(const struct plan *plan, int id)
{
    assert_in_range(id, 1, plan->node_count);
    assert_int_equal(plan->nodes[id - 1].id, id);
    return &plan->nodes[id - 1];
}

static inline void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.6f is not %.6f +- %.6f", value, expected, tolerance);
}

/* A sequential scan of invoice for each of 610 students, where 24 were expected. */
#define REPEATED_SCAN                                                                                        \
    "{\"Plan\":{\"Node Type\":\"Nested Loop\",\"Join Type\":\"Inner\",\"Plan Rows\":24,\"Total Cost\":9,"    \
    "\"Startup Cost\":0,\"Actual Rows\":610,\"Actual Loops\":1,\"Actual Total Time\":1200,\"Plans\":["       \
    "{\"Node Type\":\"Index Scan\",\"Parent Relationship\":\"Outer\",\"Relation "                            \
    "Name\":\"student\",\"Alias\":"                                                                          \
    "\"s\",\"Index Name\":\"student_school_idx\",\"Plan Rows\":24,\"Actual Rows\":610,\"Actual Loops\":1,"   \
    "\"Actual Total Time\":2},"                                                                              \
    "{\"Node Type\":\"Seq Scan\",\"Parent Relationship\":\"Inner\",\"Relation Name\":\"invoice\",\"Alias\":" \
    "\"i\",\"Filter\":\"(NOT paid)\",\"Rows Removed by Filter\":1996,\"Plan Rows\":1,\"Actual Rows\":1,"     \
    "\"Actual Loops\":610,\"Actual Total Time\":1.945}]},\"Execution Time\":1204}"

#endif
