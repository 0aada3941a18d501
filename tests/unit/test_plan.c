/* The plan reader against plans whose times are known: most of them sleep for so many milliseconds where the
 * name says. */
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plan.h"
#include "panels/explain_command.h"
#include "tests/unit/unit.h"

static char *read_file(void *context, const char *name, size_t *length)
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

static struct plan *load(void *context, const char *name)
{
    struct error error = {0};
    size_t length;
    const char *text = read_file(context, name, &length);
    struct plan *plan = plan_read(context, text, length, &error);
    if (!plan)
        fail_msg("%s: %s: %s", name, error.what, error.why);
    return plan;
}

static struct plan *parse(void *context, const char *text, struct error *error)
{
    return plan_read(context, text, strlen(text), error);
}

static const struct plan_node *node(const struct plan *plan, int id)
{
    assert_in_range(id, 1, plan->node_count);
    assert_int_equal(plan->nodes[id - 1].id, id);
    return &plan->nodes[id - 1];
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.6f is not %.6f +- %.6f", value, expected, tolerance);
}

static const char *const measured_plans[] = {
    "nestloop.json",
    "initwhen.json",
    "modcte.json",
    "parallel.json",
    "never.json",
    "lossy.json",
    "heapfetch.json",
    "hashdisk.json",
    "jit.json",
    "init_parallel.json",
    "init13.json",
    "init_nested.json",
    "init_conditional.json",
    "init_conditional2.json",
    "init_union.json",
    "prune.json",
    "cte_shadow.json",
    "cte_two.json",
    "recursive.json",
    "mod_two.json",
    "cascade.json",
    "trigger_before.json",
    "memoize.json",
    "hashed_subplan.json",
    "merge.json",
    "bitmap_and.json",
    "bitmap_parallel.json",
    "parallel_append.json",
    "parallel_nestloop.json",
    "sort_disk_parallel.json",
    "misestimate.json",
    "gather_loops.json",
    "exists_subplan.json",
    "limit_subplan.json",
    "pg17_initplan.json",
    "pg18.json",
    "pg12_sort.json",
    "psql_border.txt",
    "init_parallel_terse.json",
};

static void check_sum(const char *name, const struct plan *plan)
{
    double self = 0, total = plan->nodes[0].total_ms, percent = 0;
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct plan_node *n = &plan->nodes[i];
        self += n->self_ms;
        percent += n->self_percent;
        total += n->extra_root ? n->total_ms : 0;
        if (!(n->self_ms >= -n->error_ms - 1e-9))
            fail_msg("%s: %s has a self time of %f ms", name, n->title, n->self_ms);
        assert_true(n->own.shared_hit <= n->blocks.shared_hit);
        assert_true(n->own.temp_written <= n->blocks.temp_written);
    }
    if (!(fabs(self - total) <= 0.01 * total))
        fail_msg("%s: self times sum to %f ms, the plan took %f ms", name, self, total);
    assert_near(percent, 100, 0.1);
    assert_near(plan->total_ms, total, 0.001);
}

/* The self times of all nodes are the root's time and that of the extra roots, and none is below zero by more
 * than rounding explains. */
static void self_times_add_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof measured_plans / sizeof measured_plans[0]; p++) {
        void *context = talloc_new(NULL);
        check_sum(measured_plans[p], load(context, measured_plans[p]));
        talloc_free(context);
    }
}

struct truth {
    const char *file;
    int id;
    const char *title; /* guards against counting wrongly */
    double self_ms, tolerance;
};

/* What each node really took, known from what it was told to sleep, or from the numbers of each process. */
static const struct truth truths[] = {
    {"nestloop.json", 3, "Function Scan on gs g", 202.03, 0.1},
    {"initwhen.json", 1, "Gather", 9.65, 0.1},
    {"initwhen.json", 2, "Result", 40.66, 0.1},
    {"initwhen.json", 3, "Result", 20.27, 0.1},
    {"initwhen.json", 4, "Parallel Seq Scan on small", 0.027, 0.01},
    {"modcte.json", 1, "Result", 0.001, 0.0001},
    {"modcte.json", 4, "Result", 50.697, 0.001},
    {"parallel.json", 2, "Gather", 0.515, 0.05}, /* averages would say 21.7 */
    {"parallel.json", 3, "Partial Aggregate", 442.4, 0.2},
    {"init_parallel.json", 2, "Result", 101, 2},
    {"init_parallel.json", 5, "Parallel Index Only Scan using t_id on t", 21.6, 3},
    {"init13.json", 1, "Seq Scan on small", 0.1, 0.1},
    {"init13.json", 2, "Result", 5, 1},
    {"init13.json", 11, "Result", 50, 1},
    {"init13.json", 13, "Result", 60, 1},
    {"init13.json", 14, "Result", 2, 1},
    {"init_nested.json", 1, "Seq Scan on small", 0.02, 0.05},
    {"init_nested.json", 2, "Result", 10, 1},
    {"init_nested.json", 3, "Result", 20, 1},
    {"init_nested.json", 4, "Result", 5, 1},
    {"init_nested.json", 5, "Result", 40, 1},
    {"init_conditional.json", 1, "Nested Loop", 0.03, 0.1}, /* evaluated by its join filter, for one row */
    {"init_conditional.json", 4, "Result", 30.5, 1},
    {"init_union.json", 2, "Seq Scan on small", 0.02, 0.1},
    {"init_union.json", 3, "Result", 30.5, 1},
    {"init_union.json", 4, "Seq Scan on small small_1", 0.1, 0.2},
    {"init_union.json", 5, "Result", 15, 1},
    {"prune.json", 1, "Append", 0.04, 0.2}, /* pruning evaluates it, though only the scans mention it */
    {"prune.json", 2, "Result", 25.5, 1},
    {"prune.json", 4, "Seq Scan on part2 part_2", 0.2, 0.2},
    {"limit_subplan.json", 1, "Limit", 0.01, 0.1},
    {"cte_shadow.json", 1, "CTE Scan on x", 0.01, 0.1},
    {"cte_shadow.json", 2, "Result", 20.5, 1},
    {"cte_shadow.json", 5, "Result", 30.2, 1},
    {"cte_two.json", 3, "CTE Scan on x a", 0.01, 0.1},
    {"cte_two.json", 2, "Seq Scan on small", 41.7, 1},
    {"recursive.json", 5, "CTE Scan on r a", 0.01, 0.1},
    {"recursive.json", 4, "WorkTable Scan on r", 46, 1},
    {"bitmap_parallel.json", 4, "Parallel Bitmap Heap Scan on t", 5.6, 0.1},
    {"pg17_initplan.json", 1, "Aggregate", 0.3, 0.001},
    {"pg17_initplan.json", 4, "Gather", 3, 0.001},
    {"pg17_initplan.json", 5, "Parallel Seq Scan on small", 7, 0.001},
    {"pg12_sort.json", 1, "Gather Merge", 10, 0.001}, /* the leader took 40 of the sum of 90 */
    {"pg12_sort.json", 3, "Parallel Seq Scan on a", 15 * 40 / 90.0, 0.001},
};

static void time_is_at_the_right_node(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof truths / sizeof truths[0]; t++) {
        void *context = talloc_new(NULL);
        const struct plan_node *n = node(load(context, truths[t].file), truths[t].id);
        assert_string_equal(n->title, truths[t].title);
        if (!(fabs(n->self_ms - truths[t].self_ms) <= truths[t].tolerance))
            fail_msg("%s: %s: self time %f ms, not %f", truths[t].file, n->title, n->self_ms,
                     truths[t].self_ms);
        talloc_free(context);
    }
}

#define NODE(type, ms, loops)                                                                                \
    "{\"Node Type\":\"" type "\",\"Plan Rows\":1,\"Actual Rows\":1,\"Actual Total Time\":" ms                \
    ",\"Actual Loops\":" loops
#define PLANS ",\"Plans\":["
#define OUTER ",\"Parent Relationship\":\"Outer\""
#define INIT(name) ",\"Parent Relationship\":\"InitPlan\",\"Subplan Name\":\"" name "\"}"
#define SCAN_OF(cte) ",\"CTE Name\":\"" cte "\",\"Alias\":\"" cte "\""

/* Every node here could have paid for both: only the texts tell. What a literal says is no mention, $1 is not
 * the beginning of $12, and what is needed below a Gather is evaluated by it. */
static const char parameters[] =
    "{\"Plan\":" NODE("Sort", "300", "1") ",\"Sort Key\":[\"(a + $12)\"]" PLANS NODE("Result", "20", "1")
        INIT("InitPlan 1 (returns $1)") "," NODE("Result", "30", "1")
            INIT("InitPlan 2 (returns $0,$12)") "," NODE("Gather", "200", "1") OUTER
    ",\"Workers Planned\":1,\"Workers Launched\":1" PLANS NODE("Seq Scan", "100", "2") OUTER
    ",\"Parallel Aware\":true,\"Filter\":\"((a > $1) AND (b <> '$12'::text))\","
    "\"Workers\":[{\"Worker Number\":0,\"Actual Total Time\":100,\"Actual Loops\":1}]}]}]}}";

static void initplans_are_paid_by_who_mentions_them(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = parse(context, parameters, NULL);
    assert_near(node(plan, 1)->self_ms, 300 - 200 - 30, 1e-6);
    assert_near(node(plan, 2)->self_ms, 20, 1e-6);
    assert_near(node(plan, 3)->self_ms, 30, 1e-6);
    assert_near(node(plan, 4)->self_ms, 200 - 100 - 20, 1e-6);
    assert_near(node(plan, 5)->self_ms, 100, 1e-6);
    talloc_free(context);
}

/* WITH x AS (...) SELECT ... FROM (WITH x AS (SELECT * FROM x) ...): the inner x reads the outer one. */
static const char shadowed[] = "{\"Plan\":" NODE("Aggregate", "100", "1") PLANS NODE("Result", "60", "1")
    INIT("CTE x") "," NODE("CTE Scan", "90", "1") OUTER SCAN_OF("x") PLANS NODE("CTE Scan", "70", "1")
        SCAN_OF("x") INIT("CTE x") "]}]}}";

static void a_cte_does_not_read_itself(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = parse(context, shadowed, NULL);
    assert_near(node(plan, 1)->self_ms, 10, 1e-6);
    assert_near(node(plan, 2)->self_ms, 60, 1e-6);
    assert_near(node(plan, 3)->self_ms, 20, 1e-6);
    assert_near(node(plan, 4)->self_ms, 10, 1e-6);
    talloc_free(context);
}

/* One process builds the bitmap, the others wait: it takes as long on the clock as it says (pev2 #696). */
static void a_shared_bitmap_is_not_divided(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan_node *bitmap = node(load(context, "bitmap_parallel.json"), 5);
    assert_string_equal(bitmap->title, "Bitmap Index Scan on t_id");
    assert_near(bitmap->self_ms, bitmap->total_ms, 0.05 * bitmap->total_ms);
    assert_true(bitmap->total_ms > 5); /* a third of which is what pev2 shows */
    talloc_free(context);
}

static void data_modifying_ctes_run_after_the_plan(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "modcte.json");
    assert_true(node(plan, 2)->extra_root);
    assert_string_equal(node(plan, 2)->title, "Insert on small");
    assert_int_equal(node(plan, 2)->parent, 1);
    assert_near(plan->total_ms, 50.821, 0.001);
    plan = load(context, "mod_two.json");
    assert_true(node(plan, 2)->extra_root);
    assert_false(node(plan, 4)->extra_root); /* its CTE Scan asked for it */
    /* a LIMIT asks for two rows, the other eight are written afterwards: neither lost nor counted twice */
    plan = load(context, "mod_limit.json");
    double self = 0;
    for (size_t i = 0; i < plan->node_count; i++) {
        assert_true(plan->nodes[i].self_ms >= -0.001);
        self += plan->nodes[i].self_ms;
    }
    assert_near(self, plan->total_ms, 0.001);
    assert_near(self, plan->execution_ms, 1);
    assert_true(node(plan, 1)->total_ms < self / 2);
    talloc_free(context);
}

static void loops_and_rows_are_totals(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan_node *n = node(load(context, "nestloop.json"), 3);
    assert_near(n->loops, 10, 0);
    assert_near(n->total_ms, 202.03, 0.0001);
    assert_near(n->rows, 60, 0);
    assert_near(n->rows_estimated, 100, 0);
    assert_int_equal(n->blocks.shared_hit, 92);
    const struct plan *plan = load(context, "pg18.json");
    n = node(plan, 3);
    assert_near(n->rows, 40, 1e-9); /* 0.40 a loop */
    assert_near(n->misestimate, 2.5, 1e-9);
    assert_int_equal(n->direction, PLAN_TOO_HIGH);
    talloc_free(context);
}

static void never_executed_is_left_out(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "never.json");
    static const bool expected[] = {false, false, false, true, true};
    for (int id = 1; id <= 5; id++) {
        assert_int_equal(node(plan, id)->never_executed, expected[id - 1]);
        if (expected[id - 1]) {
            assert_true(isnan(node(plan, id)->misestimate));
            assert_near(node(plan, id)->self_ms, 0, 0);
            assert_string_equal(node(plan, id)->note, "never executed");
        }
    }
    talloc_free(context);
}

static void estimates_below_gather_use_the_divisor(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "hashdisk.json");
    /* Plan Rows 83,333 for each of 2 workers and 0.4 of a leader is an exact estimate of 66,667 x 3 */
    assert_string_equal(node(plan, 5)->title, "Parallel Seq Scan on t a");
    assert_near(node(plan, 5)->rows_estimated, 200000, 2);
    assert_near(node(plan, 5)->misestimate, 1, 0.001);
    assert_near(node(plan, 6)->misestimate, 1, 0.001);
    /* the inner side of a plain join runs whole in each process */
    plan = load(context, "merge.json");
    assert_string_equal(node(plan, 7)->title, "Bitmap Heap Scan on t a");
    assert_near(node(plan, 7)->loops, 3, 0);
    assert_true(node(plan, 7)->misestimate < 1.1);
    assert_string_equal(node(plan, 8)->title, "Bitmap Index Scan on t_ten");
    talloc_free(context);
}

static void estimates_are_not_judged_where_rows_are_not_all_wanted(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "bitmap_and.json");
    assert_string_equal(node(plan, 3)->title, "BitmapAnd");
    assert_true(isnan(node(plan, 3)->misestimate));
    assert_false(isnan(node(plan, 4)->misestimate));
    plan = load(context, "never.json");
    assert_string_equal(node(plan, 1)->title, "Nested Loop Semi Join");
    assert_true(isnan(node(plan, 2)->misestimate));
    plan = load(context, "limit_subplan.json"); /* Limit, InitPlan, Sort, Seq Scan */
    assert_true(isnan(node(plan, 3)->misestimate));
    assert_near(node(plan, 4)->misestimate, 1, 0); /* a sort reads everything, even below a limit */
    plan = load(context, "misestimate.json");
    assert_near(node(plan, 1)->misestimate, 4000.0 / 19, 0.5);
    assert_int_equal(node(plan, 1)->direction, PLAN_TOO_LOW);
    talloc_free(context);
}

static void counters_are_totals(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan_node *n = node(load(context, "heapfetch.json"), 3);
    assert_int_equal(n->heap_fetches, 20);
    assert_near(n->rows, 10, 0);
    n = node(load(context, "lossy.json"), 2);
    assert_int_equal(n->exact_blocks, 605);
    assert_int_equal(n->lossy_blocks, 2062);
    assert_near(n->removed_recheck, 151556, 0);
    assert_int_equal(n->own.shared_read, 0);
    n = node(load(context, "hashdisk.json"), 6);
    assert_int_equal(n->hash_batches, 128);
    assert_int_equal(n->blocks.temp_written, 1524);
    const struct plan *plan = load(context, "jit.json");
    assert_true(plan->jit_ms > plan->execution_ms);
    n = node(load(context, "pg12_sort.json"), 2);
    assert_true(n->sort_on_disk);
    n = node(load(context, "sort_disk_parallel.json"), 2);
    assert_true(n->sort_space_kb > 15000); /* leader and both workers */
    n = node(load(context, "pg17_initplan.json"), 1);
    assert_near(n->blocks.io_read_ms, 4, 0);
    talloc_free(context);
}

static const struct plan_finding *find(const struct plan_finding *findings, size_t count,
                                       enum plan_finding_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (findings[i].kind == kind)
            return &findings[i];
    return NULL;
}

static void findings_name_what_costs(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum plan_finding_kind kind;
        int node;
        const char *words;
    } expected[] = {
        {"hashdisk.json", FINDING_HASH_SPILL, 6, "128 batches"},
        {"sort_disk_parallel.json", FINDING_SORT_SPILL, 2, "the sort spilled 16 MB to disk"},
        {"lossy.json", FINDING_LOSSY_BITMAP, 2, "77 %"},
        {"lossy.json", FINDING_RECHECK, 2, "97 % of the rows of t"},
        {"heapfetch.json", FINDING_HEAP_FETCHES, 3, "20 times for 10 rows"},
        {"jit.json", FINDING_JIT, 0, "summed over 2 processes"},
        {"cascade.json", FINDING_TRIGGER, 0, "child_parent_id_fkey on parent ran 20 times"},
        {"misestimate.json", FINDING_MISESTIMATE, 1,
         "t is estimated 211 times too low (19 expected, 4,000 found)"},
        {"gather_loops.json", FINDING_FILTER, 5, "100 % of the rows of t are thrown away by the filter"},
    };
    for (size_t e = 0; e < sizeof expected / sizeof expected[0]; e++) {
        void *context = talloc_new(NULL);
        size_t count;
        const struct plan_finding *findings = plan_findings(context, load(context, expected[e].file), &count);
        const struct plan_finding *finding = find(findings, count, expected[e].kind);
        if (!finding || finding->node != expected[e].node || !strstr(finding->text, expected[e].words))
            fail_msg("%s: %s: %s", expected[e].file, expected[e].words,
                     finding ? finding->text : "not found");
        for (size_t i = 1; i < count; i++)
            assert_false(findings[i - 1].ms < findings[i].ms);
        talloc_free(context);
    }
}

static const char repeated[] =
    "{\"Plan\":{\"Node Type\":\"Nested Loop\",\"Join Type\":\"Inner\",\"Plan Rows\":24,\"Total Cost\":9,"
    "\"Startup Cost\":0,\"Actual Rows\":610,\"Actual Loops\":1,\"Actual Total Time\":1200,\"Plans\":["
    "{\"Node Type\":\"Index Scan\",\"Parent Relationship\":\"Outer\",\"Relation Name\":\"student\",\"Alias\":"
    "\"s\",\"Index Name\":\"student_school_idx\",\"Plan Rows\":24,\"Actual Rows\":610,\"Actual Loops\":1,"
    "\"Actual Total Time\":2},"
    "{\"Node Type\":\"Seq Scan\",\"Parent Relationship\":\"Inner\",\"Relation Name\":\"invoice\",\"Alias\":"
    "\"i\",\"Filter\":\"(NOT paid)\",\"Rows Removed by Filter\":1996,\"Plan Rows\":1,\"Actual Rows\":1,"
    "\"Actual Loops\":610,\"Actual Total Time\":1.945}]},\"Execution Time\":1204}";

static void findings_of_a_repeated_scan(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    size_t count;
    const struct plan *plan = parse(context, repeated, NULL);
    assert_non_null(plan);
    const struct plan_finding *findings = plan_findings(context, plan, &count);
    assert_true(count >= 3);
    assert_int_equal(findings[0].kind, FINDING_REPEATED_SCAN);
    assert_string_equal(findings[0].text, "invoice is read from end to end 610 times");
    assert_near(findings[0].ms, 1186.45, 0.01);
    const struct plan_finding *filter = find(findings, count, FINDING_FILTER);
    assert_non_null(filter);
    assert_non_null(strstr(filter->text, "99.9 % of the rows of invoice are thrown away by the filter"));
    /* told where it arises (the scan), not again at the join above */
    const struct plan_finding *last = &findings[count - 1];
    assert_int_equal(last->kind, FINDING_MISESTIMATE);
    assert_int_equal(last->node, 2);
    assert_string_equal(last->text, "student is estimated 25 times too low (24 expected, 610 found)");
    assert_true(isnan(last->ms));
    assert_null(find(findings, count - 1, FINDING_MISESTIMATE));
    talloc_free(context);
}

static void little_time_is_no_finding(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    size_t count;
    plan_findings(context, load(context, "nestloop.json"), &count);
    assert_int_equal(count, 0);
    plan_findings(context, load(context, "psql_aligned.txt"), &count); /* not measured */
    assert_int_equal(count, 0);
    static const char spill[] = "{\"Plan\":" NODE("Limit", "100", "1") PLANS NODE("Sort", "%s", "1") OUTER
        ",\"Sort Space Type\":\"Disk\",\"Sort Space Used\":99}]}}";
    for (int much = 0; much < 2; much++) {
        char *text = talloc_strdup(context, spill), *mark = strstr(text, "%s");
        memcpy(mark, much ? "9 " : "1 ", 2);
        plan_findings(context, parse(context, text, NULL), &count);
        assert_int_equal(count, much);
    }
    talloc_free(context);
}

static void worst_nodes_in_turn(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "nestloop.json");
    assert_int_equal(plan_next_worst(plan, 0), 3);
    assert_int_equal(plan_next_worst(plan, 3), 1);
    assert_int_equal(plan_next_worst(plan, 1), 2);
    assert_int_equal(plan_next_worst(plan, 2), 3);
    assert_int_equal(plan_next_worst(load(context, "psql_aligned.txt"), 0), 0);
    talloc_free(context);
}

static void words_are_those_of_explain(void **state)
{
    (void)state;
    static const struct {
        const char *json, *title;
    } nodes[] = {
        {"\"Hash Join\",\"Join Type\":\"Inner\"", "Hash Join"},
        {"\"Hash Join\",\"Join Type\":\"Right Anti\",\"Parallel Aware\":true",
         "Parallel Hash Right Anti Join"},
        {"\"Merge Join\",\"Join Type\":\"Full\"", "Merge Full Join"},
        {"\"Nested Loop\",\"Join Type\":\"Left\"", "Nested Loop Left Join"},
        {"\"Aggregate\",\"Strategy\":\"Hashed\",\"Partial Mode\":\"Partial\"", "Partial HashAggregate"},
        {"\"Aggregate\",\"Strategy\":\"Sorted\",\"Partial Mode\":\"Simple\"", "GroupAggregate"},
        {"\"Aggregate\",\"Strategy\":\"Mixed\"", "MixedAggregate"},
        {"\"SetOp\",\"Strategy\":\"Hashed\",\"Command\":\"Except All\"", "HashSetOp Except All"},
        {"\"Foreign Scan\",\"Operation\":\"Select\",\"Relation Name\":\"f\",\"Async Capable\":true",
         "Async Foreign Scan on f"},
        {"\"Foreign Scan\",\"Operation\":\"Update\",\"Relation Name\":\"f\"", "Foreign Update on f"},
        {"\"Custom Scan\",\"Custom Plan Provider\":\"Citus Adaptive\"", "Custom Scan (Citus Adaptive)"},
        {"\"ModifyTable\",\"Operation\":\"Merge\",\"Relation Name\":\"t\",\"Alias\":\"t\"", "Merge on t"},
        {"\"Index Only Scan\",\"Scan Direction\":\"Backward\",\"Index Name\":\"x\",\"Relation Name\":\"t\","
         "\"Alias\":\"a\"",
         "Index Only Scan Backward using x on t a"},
        {"\"Values Scan\",\"Alias\":\"*VALUES*\"", "Values Scan on *VALUES*"},
        {"\"Brand New Scan\"", "Brand New Scan"},
    };
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        char *text = talloc_asprintf(NULL, "[{\"Plan\":{\"Node Type\":%s}}]", nodes[i].json);
        struct plan *plan = parse(text, text, NULL);
        assert_non_null(plan);
        assert_string_equal(plan->nodes[0].title, nodes[i].title);
        talloc_free(text);
    }
}

static const char *detail(const struct plan_node *n, const char *label)
{
    for (size_t i = 0; i < n->detail_count; i++)
        if (!strcmp(n->details[i].label, label))
            return n->details[i].text;
    return "(none)";
}

static void details_tell_totals_from_averages(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan_node *n = node(load(context, "nestloop.json"), 3);
    assert_string_equal(detail(n, "Rows"), "≈60 in all 10 loops (average 6)");
    assert_string_equal(detail(n, "Time"),
                        "202 ms in all 10 loops (average 20.2 ms, first row after 20.2 ms)");
    assert_string_equal(detail(n, "Shared Hit Blocks"), "92 (736 kB)");
    assert_string_equal(detail(n, "Shared Read Blocks"), "(none)");
    assert_string_equal(detail(n, "Function Call"), "gs(a.i, '20'::double precision)");
    n = node(load(context, "pg18.json"), 3);
    assert_string_equal(detail(n, "Index Searches"), "100");
    assert_string_equal(detail(n, "Something New"), "Depth: 1, 2, Deeper: text, Flag: yes");
    n = node(load(context, "parallel.json"), 3);
    assert_string_equal(detail(n, "Worker 1"), "414 ms, 1 rows");
    talloc_free(context);
}

/* A statement's own JSON (as psql pastes it, auto_explain logs it, or without the array). */
static void decorations_are_accepted(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "psql_aligned.txt");
    assert_false(plan->has_actual);
    assert_int_equal(plan->statements, 1);
    assert_true(plan->node_count > 3);
    double share = 0;
    for (size_t i = 0; i < plan->node_count; i++) {
        assert_true(isnan(plan->nodes[i].self_ms));
        share += plan->nodes[i].cost_share;
    }
    assert_near(share, 100, 0.01);
    assert_true(load(context, "psql_border.txt")->has_timing);
    static const char *const texts[] = {
        "\xef\xbb\xbf  {\"Plan\":{\"Node Type\":\"Result\"}}",
        "2026-11-21 LOG:  duration: 3 ms  plan:\n\t{\n\t  \"Query Text\": \"select 1\",\n"
        "\t  \"Plan\": {\"Node Type\": \"Result\"}\n\t}\n",
        "\r\n[\r\n{\"Plan\":\r\n{\"Node Type\":\"Result\"}}]\r\n(1 row)\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        plan = parse(context, texts[i], NULL);
        assert_non_null(plan);
        assert_int_equal(plan->statements, 1);
    }
    plan =
        parse(context, "[{\"Plan\":{\"Node Type\":\"Result\"}},{\"Plan\":{\"Node Type\":\"Limit\"}}]", NULL);
    assert_int_equal(plan->statements, 2);
    assert_string_equal(plan->nodes[0].title, "Result");
    talloc_free(context);
}

static void bad_texts_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } texts[] = {
        {"", "it is empty"},
        {" \n ", "it is empty"},
        {"hello", "it holds no JSON"},
        {" Result  (cost=0.00..0.01 rows=1 width=4)", "EXPLAIN's text format"},
        {"[{\"Plan\": {\"Node Type\": \"Re", "the JSON ends too early"},
        {"[\n{\"Plan\": nonsense}]", "not JSON at line 2"},
        {"[]", "no \"Plan\""},
        {"[1]", "no \"Plan\""},
        {"{\"Plan\": [1]}", "no \"Plan\""},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error error = {0};
        assert_null(parse(NULL, texts[i].text, &error));
        assert_int_equal(error.kind, ERROR_USAGE);
        if (!strstr(error.why, texts[i].why))
            fail_msg("\"%s\": %s", texts[i].text, error.why);
    }
}

static void depth_is_limited(void **state)
{
    (void)state;
    enum { LEVELS = 5000 };
    static const char level[] = "{\"Node Type\":\"Result\",\"Plans\":[";
    char *text = talloc_strdup(NULL, "{\"Plan\":");
    for (int i = 0; i < LEVELS; i++)
        text = talloc_strdup_append_buffer(text, level);
    struct error error = {0};
    assert_null(parse(NULL, text, &error));
    assert_non_null(strstr(error.why, "nested deeper"));
    talloc_free(text);
}

static struct json_object *print_json(const struct plan *plan)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_true(plan_print_json(plan, file));
    fclose(file);
    struct json_object *object = json_tokener_parse(text);
    assert_non_null(object);
    free(text);
    return object;
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value))
        fail_msg("no member %s", key);
    return value;
}

static void json_keeps_its_promise(void **state)
{
    (void)state;
    static const char *const keys[] = {"id",    "parent",         "depth",      "node_type", "relation",
                                       "loops", "never_executed", "total_ms",   "self_ms",   "self_percent",
                                       "rows",  "rows_estimated", "misestimate"};
    void *context = talloc_new(NULL);
    struct json_object *object = print_json(load(context, "never.json"));
    assert_int_equal(json_object_get_int(member(object, "schema_version")), 1);
    assert_near(json_object_get_double(member(object, "execution_ms")), 0.071, 0);
    assert_near(json_object_get_double(member(object, "planning_ms")), 0.586, 0);
    struct json_object *nodes = member(object, "nodes");
    assert_int_equal(json_object_array_length(nodes), 5);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            member(json_object_array_get_idx(nodes, i), keys[k]);
    struct json_object *root = json_object_array_get_idx(nodes, 0),
                       *last = json_object_array_get_idx(nodes, 4);
    assert_null(member(root, "parent"));
    assert_null(member(root, "relation"));
    assert_string_equal(json_object_get_string(member(root, "node_type")), "Nested Loop");
    assert_string_equal(json_object_get_string(member(last, "relation")), "small");
    assert_int_equal(json_object_get_int(member(last, "parent")), 1);
    assert_true(json_object_get_boolean(member(last, "never_executed")));
    assert_null(member(last, "misestimate"));
    json_object_put(object);
    object = print_json(load(context, "psql_aligned.txt"));
    root = json_object_array_get_idx(member(object, "nodes"), 0);
    assert_null(member(root, "total_ms"));
    assert_null(member(root, "self_ms"));
    assert_null(member(root, "rows"));
    json_object_put(object);
    talloc_free(context);
}

static char *print_text(const struct plan *plan)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    assert_true(plan_print_text(plan, file));
    fclose(file);
    return text;
}

static void text_is_a_tree(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    char *text = print_text(load(context, "nestloop.json"));
    assert_non_null(strstr(text, "     202 ms ██████████       60                 10       92        0  "
                                 "└ Function Scan on gs g\n"));
    assert_non_null(strstr(text, "  ├ Seq Scan on small a\n"));
    free(text);
    text = print_text(parse(context, repeated, NULL));
    assert_non_null(strstr(text, "  └ Seq Scan on invoice i\n"));
    assert_non_null(strstr(text, "filter (NOT paid): 99.9 % thrown away\n"));
    assert_non_null(strstr(text, "    25× low "));
    free(text);
    talloc_free(context);
}

static void own_blocks_are_without_children(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = load(context, "heapfetch.json");
    assert_int_equal(node(plan, 1)->blocks.shared_hit, 52);
    assert_int_equal(node(plan, 1)->own.shared_hit, 0);
    assert_int_equal(node(plan, 3)->own.shared_hit, 51);
    plan = load(context, "initwhen.json"); /* what an InitPlan read is not its consumer's */
    assert_int_equal(node(plan, 1)->blocks.shared_hit, 84);
    assert_int_equal(node(plan, 1)->own.shared_hit, 0);
    assert_int_equal(node(plan, 2)->own.shared_hit, 83);
    plan = load(context, "cte_two.json");
    int64_t sum = 0;
    for (size_t i = 0; i < plan->node_count; i++)
        sum += plan->nodes[i].own.shared_hit;
    assert_int_equal(sum, plan->nodes[0].blocks.shared_hit);
    talloc_free(context);
}

static void without_timing_nothing_is_invented(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct plan *plan = parse(context,
                                    "[{\"Plan\":{\"Node Type\":\"Result\",\"Plan Rows\":3,\"Actual Rows\":3,"
                                    "\"Actual Loops\":1},\"Execution Time\":2.5}]",
                                    NULL);
    assert_true(plan->has_actual);
    assert_false(plan->has_timing);
    assert_true(isnan(plan->nodes[0].self_ms) && isnan(plan->nodes[0].total_ms) && isnan(plan->total_ms));
    assert_near(plan->nodes[0].rows, 3, 0);
    assert_near(plan->nodes[0].misestimate, 1, 0);
    char *text = print_text(plan);
    assert_non_null(strstr(text, "TIMING OFF"));
    free(text);
    talloc_free(context);
}

static void the_command_tells_errors_by_its_exit_code(void **state)
{
    (void)state;
    char name[] = "explain", missing[] = "/nonexistent/plan.json", option[] = "--jsno";
    char good[] = TEST_ROOT "/tests/data/plans/never.json", bad[] = TEST_ROOT "/Makefile", json[] = "--json";
    assert_int_equal(explain_command(1, (char *[]){name, NULL}), 2);
    assert_int_equal(explain_command(2, (char *[]){name, missing, NULL}), 2);
    assert_int_equal(explain_command(2, (char *[]){name, bad, NULL}), 2);
    assert_int_equal(explain_command(3, (char *[]){name, good, option, NULL}), 2);
    assert_int_equal(explain_command(3, (char *[]){name, good, good, NULL}), 2);
    assert_int_equal(explain_command(3, (char *[]){name, good, json, NULL}), 0);
    assert_int_equal(explain_command(2, (char *[]){name, good, NULL}), 0);
}

/* Names come from tenants: nothing in them may reach the terminal raw. */
static void hostile_names_are_made_visible(void **state)
{
    (void)state;
    static const char hostile[] =
        "[{\"Plan\":{\"Node Type\":\"Seq Scan\",\"Relation Name\":\"a\\u001b[31m\\u202eb\","
        "\"Filter\":\"(x = 'a\\nb')\",\"Sort Method\":\"\\u009b\",\"\\u001bkey\":\"v\"}}]";
    void *context = talloc_new(NULL);
    struct plan *plan = parse(context, hostile, NULL);
    assert_non_null(plan);
    assert_string_equal(plan->nodes[0].relation, "a\\x1b[31m\\u202eb");
    char *text = print_text(plan);
    assert_null(strchr(text, '\x1b'));
    assert_null(strstr(text, "\xe2\x80\xae"));
    free(text);
    for (size_t i = 0; i < plan->nodes[0].detail_count; i++)
        assert_null(strchr(plan->nodes[0].details[i].label, '\x1b'));
    talloc_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_times_add_up),
        cmocka_unit_test(time_is_at_the_right_node),
        cmocka_unit_test(initplans_are_paid_by_who_mentions_them),
        cmocka_unit_test(a_cte_does_not_read_itself),
        cmocka_unit_test(a_shared_bitmap_is_not_divided),
        cmocka_unit_test(data_modifying_ctes_run_after_the_plan),
        cmocka_unit_test(loops_and_rows_are_totals),
        cmocka_unit_test(never_executed_is_left_out),
        cmocka_unit_test(estimates_below_gather_use_the_divisor),
        cmocka_unit_test(estimates_are_not_judged_where_rows_are_not_all_wanted),
        cmocka_unit_test(counters_are_totals),
        cmocka_unit_test(findings_name_what_costs),
        cmocka_unit_test(findings_of_a_repeated_scan),
        cmocka_unit_test(little_time_is_no_finding),
        cmocka_unit_test(worst_nodes_in_turn),
        cmocka_unit_test(words_are_those_of_explain),
        cmocka_unit_test(details_tell_totals_from_averages),
        cmocka_unit_test(decorations_are_accepted),
        cmocka_unit_test(bad_texts_say_what_is_wrong),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(json_keeps_its_promise),
        cmocka_unit_test(text_is_a_tree),
        cmocka_unit_test(own_blocks_are_without_children),
        cmocka_unit_test(without_timing_nothing_is_invented),
        cmocka_unit_test(the_command_tells_errors_by_its_exit_code),
        cmocka_unit_test(hostile_names_are_made_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
