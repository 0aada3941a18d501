/* The plan reader against plans whose times are known: most of them sleep for so many milliseconds where the
 * name says. */
#include "tests/unit/plans.h"

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
    "run_condition.json",
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
    plan = load(context, "run_condition.json");    /* Subquery Scan, WindowAgg, Sort, Seq Scan */
    assert_near(node(plan, 2)->misestimate, 133696.0 / 50, 1);
    assert_true(isnan(node(plan, 3)->misestimate)); /* the window stopped reading */
    assert_false(isnan(node(plan, 4)->misestimate));
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

static void findings_of_a_repeated_scan(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    size_t count;
    const struct plan *plan = parse(context, REPEATED_SCAN, NULL);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
