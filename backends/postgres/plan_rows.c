/*
 * Rows expected against rows found, over all loops, and the planner's own idea of where the cost lies. Below
 * a Gather, Plan Rows of what the processes share is per process: the planner divided by a number that counts
 * the leader as less than a whole worker (get_parallel_divisor in costsize.c).
 */
#include <string.h>

#include "backends/postgres/plan_internal.h"

static bool is_type(const struct plan_build *build, int i, const char *type)
{
    return !strcmp(build->nodes[i].raw_type, type);
}

static const char *member_text(const struct plan_build *build, int i, const char *key)
{
    struct json_object *member = plan_member(build->work[i].json, key);
    return json_object_is_type(member, json_type_string) ? json_object_get_string(member) : "";
}

static bool setting_is_off(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->setting_count; i++)
        if (!strcmp(plan->settings[i].label, name))
            return !strcmp(plan->settings[i].text, "off");
    return false;
}

/* A node's rows are shared by the processes when they come from a parallel-aware scan; the inner side of a
 * plain join is whole in every process. Children come after their parents, so from the last to the first. */
static void find_shared(const struct plan_build *build, bool *shared)
{
    for (int i = build->count - 1; i >= 0; i--) {
        shared[i] = build->nodes[i].parallel_aware;
        bool append = is_type(build, i, "Append") || is_type(build, i, "Merge Append");
        for (int c = build->work[i].first_child; c != PLAN_NONE && !build->work[i].gathers;
             c = build->work[c].next_sibling) {
            enum plan_relationship side = build->nodes[c].relationship;
            if (side == PLAN_OUTER || side == PLAN_SUBQUERY || (append && side == PLAN_MEMBER))
                shared[i] |= shared[c];
        }
    }
}

/* Rows that the planner expected over all loops and processes. */
static void expect_rows(struct plan_build *build, const bool *shared)
{
    double *divisor = plan_must(talloc_zero_array(build->work, double, build->count));
    bool leader_helps = !setting_is_off(build->plan, "parallel_leader_participation");
    for (int i = 0; i < build->count; i++) {
        struct plan_node *node = &build->nodes[i];
        int parent = node->parent - 1;
        if (parent != PLAN_NONE && build->work[parent].gathers && !build->work[i].separate) {
            double planned =
                build->nodes[parent].workers_planned > 0 ? (double)build->nodes[parent].workers_planned : 1;
            double loops = build->nodes[parent].loops;
            divisor[i] = planned + (leader_helps ? fmax(0, 1 - 0.3 * planned) : 0);
            divisor[i] *= isnan(loops) ? 1 : loops;
        } else if (parent != PLAN_NONE && !build->work[i].separate && shared[parent]) {
            divisor[i] = divisor[parent];
        }
        double loops = isnan(node->loops) ? 1 : node->loops;
        node->rows_estimated = build->work[i].plan_rows * (divisor[i] > 0 && shared[i] ? divisor[i] : loops);
        if (node->never_executed)
            node->rows_estimated = 0;
    }
    talloc_free(divisor);
}

/* Whether the parent may stop asking before the child has given all: then rows and estimate differ without
 * anybody having been wrong. */
static bool stops_early(const struct plan_build *build, int parent, int child, const bool *cut)
{
    const char *type = build->nodes[parent].raw_type, *join = member_text(build, parent, "Join Type");
    if (build->work[child].separate)
        return false;
    if (!strcmp(type, "Limit") || !strcmp(type, "Merge Join") || strstr(join, "Semi") || strstr(join, "Anti"))
        return true;
    /* A window stops reading when its run condition can no longer hold (row_number() <= 50). */
    if (!strcmp(type, "WindowAgg") && member_text(build, parent, "Run Condition")[0])
        return true;
    static const char *const consumers[] = {"Sort",      "Hash",     "Bitmap Heap Scan",
                                            "BitmapAnd", "BitmapOr", "ModifyTable"};
    for (size_t i = 0; i < sizeof consumers / sizeof consumers[0]; i++)
        if (!strcmp(type, consumers[i]))
            return false;
    if (!strcmp(type, "Aggregate") || !strcmp(type, "SetOp"))
        return cut[parent] && !strcmp(member_text(build, parent, "Strategy"), "Sorted");
    return cut[parent];
}

/* EXISTS stops at the first row; before PostgreSQL 17 nothing but this tells it apart. */
static bool may_be_exists(const struct plan_build *build, int i)
{
    const struct plan_node *node = &build->nodes[i];
    return node->relationship == PLAN_SUBPLAN && node->rows <= node->loops && build->work[i].plan_rows > 1;
}

static void judge_estimate(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    double found = node->rows, expected = fmax(node->rows_estimated, 1);
    if (is_type(build, i, "BitmapAnd") || is_type(build, i, "BitmapOr") || may_be_exists(build, i) ||
        (is_type(build, i, "ModifyTable") && !(found > 0)))
        return; /* they report no rows, whatever they did */
    if (isnan(found) || isnan(node->rows_estimated) || node->never_executed)
        return;
    /* "0" is an average: rounded to whole rows before PostgreSQL 18, to hundredths since */
    double hidden = found > 0 ? 0 : (build->work[i].rows_exact ? 0.005 : 0.5) * node->loops;
    if (found <= 0 && expected <= hidden)
        found = expected;
    found = fmax(fmax(found, hidden), 1);
    node->misestimate = fmax(found, expected) / fmin(found, expected);
    node->direction = found > expected ? PLAN_TOO_LOW : found < expected ? PLAN_TOO_HIGH : PLAN_EXACT;
}

/* ---- plans that were only estimated ---- */

/* How often the planner thinks that a node runs: the inner side of a nested loop once an outer row. */
static double expected_runs(const struct plan_build *build, int parent, int child)
{
    if (!is_type(build, parent, "Nested Loop") || build->nodes[child].relationship != PLAN_INNER ||
        is_type(build, child, "Materialize") || is_type(build, child, "Memoize"))
        return 1;
    int outer = build->work[parent].first_child;
    while (outer != PLAN_NONE && build->nodes[outer].relationship != PLAN_OUTER)
        outer = build->work[outer].next_sibling;
    return outer == PLAN_NONE || isnan(build->work[outer].plan_rows) ? 1
                                                                     : fmax(1, build->work[outer].plan_rows);
}

/* A child that costs more than its parent is not meant to run to its end (below Limit, merge joins): it and
 * all below it count for as much as the parent leaves. */
static void share_costs(struct plan_build *build)
{
    double *spent = plan_must(talloc_zero_array(build->work, double, build->count)), all = 0;
    for (int i = 0; i < build->count; i++) {
        struct plan_node *node = &build->nodes[i];
        int parent = node->parent - 1;
        double total = isnan(node->total_cost) ? 0 : node->total_cost, above = 0;
        spent[i] = total;
        if (parent != PLAN_NONE) {
            above = build->nodes[parent].total_cost;
            double part = above > 0 ? spent[parent] / above : 1;
            spent[i] = fmin(total * expected_runs(build, parent, i) * part, spent[parent]);
            build->nodes[parent].cost_share -= spent[i];
        }
        node->cost_share = spent[i];
    }
    for (int i = 0; i < build->count; i++)
        all += build->nodes[i].cost_share = fmax(0, build->nodes[i].cost_share);
    for (int i = 0; i < build->count; i++)
        build->nodes[i].cost_share = all > 0 ? 100 * build->nodes[i].cost_share / all : 0;
    talloc_free(spent);
}

void plan_compute_rows(struct plan_build *build)
{
    bool *shared = plan_must(talloc_zero_array(build->work, bool, build->count));
    bool *cut = plan_must(talloc_zero_array(build->work, bool, build->count));
    find_shared(build, shared);
    expect_rows(build, shared);
    for (int i = 0; i < build->count; i++) {
        int parent = build->nodes[i].parent - 1;
        cut[i] = parent != PLAN_NONE && stops_early(build, parent, i, cut);
        if (!cut[i])
            judge_estimate(build, i);
    }
    if (!build->plan->has_actual)
        share_costs(build);
    talloc_free(shared);
    talloc_free(cut);
}
