/*
 * What costs, in sentences. Each finding names the time at stake, and one with little at stake is left out: a
 * sort that spills in a millisecond interests nobody.
 */
#include <string.h>

#include "backends/postgres/plan_internal.h"
#include "core/units.h"

#define STAKE_MIN_PERCENT 2.0
#define STAKE_MIN_MS 0.05
#define THROWN_AWAY_MIN 0.5 /* pev2's first colour step */
#define REMOVED_MIN 1000    /* rows: fewer cost nothing, whatever the time was spent on */
#define MISESTIMATE_MIN 10.0
#define FINDINGS_MAX 1000 /* nobody reads more */

struct findings {
    const void *context;
    const struct plan *plan;
    struct plan_finding *list;
    size_t count;
    double threshold_ms;
};

struct word {
    char text[48];
};

static struct word count_word(double count)
{
    struct word word;
    format_count(word.text, sizeof word.text, count);
    return word;
}

static struct word bytes_word(double bytes)
{
    struct word word;
    format_bytes(word.text, sizeof word.text, bytes);
    return word;
}

static struct word percent_word(double percent)
{
    struct word word;
    format_percent(word.text, sizeof word.text, percent);
    return word;
}

/* Memory is at least that: 1.5 times, rounded up to a round number of MB. */
static struct word memory_word(double bytes)
{
    return bytes_word(ceil(bytes * 1.5 / (1 << 20)) * (1 << 20));
}

/* Adds a finding when enough time is at stake. `text` and `todo` are taken over. */
static void found(struct findings *findings, enum plan_finding_kind kind, int node, double ms, char *text,
                  char *todo)
{
    struct plan_finding finding = {.kind = kind, .node = node, .ms = ms, .stake_ms = ms};
    size_t room = talloc_array_length(findings->list);
    if (!(ms >= findings->threshold_ms) || findings->count >= FINDINGS_MAX) {
        talloc_free(text);
        talloc_free(todo);
        return;
    }
    if (!findings->list || findings->count == room)
        findings->list = plan_must(
            talloc_realloc(findings->context, findings->list, struct plan_finding, room ? room * 2 : 8));
    finding.text = talloc_steal(findings->list, text);
    finding.todo = todo ? talloc_steal(findings->list, todo) : NULL;
    findings->list[findings->count++] = finding;
}

#define WORDS(...) plan_must(talloc_asprintf(findings->context, __VA_ARGS__))

static const char *name_of(const struct plan_node *node)
{
    return node->relation ? node->relation : node->alias ? node->alias : node->title;
}

static bool is_type(const struct plan_node *node, const char *type)
{
    return !strcmp(node->raw_type, type);
}

static const struct plan_node *parent_of(const struct plan *plan, const struct plan_node *node)
{
    return node->parent ? &plan->nodes[node->parent - 1] : NULL;
}

/* The Gather above a node, NULL when the leader alone runs it. */
static const struct plan_node *gather_of(const struct plan *plan, const struct plan_node *node)
{
    while (node && node->relationship != PLAN_INITPLAN && node->relationship != PLAN_CTE) {
        node = parent_of(plan, node);
        if (node && (is_type(node, "Gather") || is_type(node, "Gather Merge")))
            return node;
    }
    return NULL;
}

static double positive(double number)
{
    return number > 0 ? number : 0;
}

/* ---- scans ---- */

static void find_repeated_scan(struct findings *findings, const struct plan_node *node)
{
    if (!is_type(node, "Seq Scan") || !(node->loops > 1) || node->parallel_aware)
        return;
    const struct plan_node *gather = gather_of(findings->plan, node);
    double processes = gather ? positive((double)gather->workers_launched) + 1 : 1;
    double starts = gather ? gather->loops * processes : 1;
    if (node->loops <= starts)
        return;
    found(findings, FINDING_REPEATED_SCAN, node->id, node->self_ms,
          WORDS("%s is read from end to end %s times", name_of(node), count_word(node->loops).text),
          WORDS("Try an index on the columns of its %s.", node->filter ? "filter" : "join condition"));
}

static void find_repeated_subplan(struct findings *findings, const struct plan_node *node)
{
    if (node->relationship != PLAN_SUBPLAN || !(node->loops >= 100))
        return;
    found(findings, FINDING_REPEATED_SUBPLAN, node->id, node->wall_ms,
          WORDS("%s runs %s times, once for each row", node->subplan_name ? node->subplan_name : "a subquery",
                count_word(node->loops).text),
          WORDS("Try to write the subquery as a join."));
}

static void find_thrown_away(struct findings *findings, const struct plan_node *node, double removed,
                             enum plan_finding_kind kind, const char *by, char *todo)
{
    double ratio = removed / (removed + node->rows);
    if (removed >= REMOVED_MIN && ratio >= THROWN_AWAY_MIN)
        found(findings, kind, node->id, node->self_ms * ratio,
              WORDS("%s of the rows of %s are thrown away by the %s (%s of %s)",
                    percent_word(100 * ratio).text, name_of(node), by, count_word(removed).text,
                    count_word(removed + node->rows).text),
              todo);
    else
        talloc_free(todo);
}

static void find_filters(struct findings *findings, const struct plan_node *node)
{
    const char *column = is_type(node, "Seq Scan") ? "an index on" : "an index that also holds";
    find_thrown_away(findings, node, node->removed_filter, FINDING_FILTER, "filter",
                     node->relation ? WORDS("Try %s the filter's columns.", column) : NULL);
    find_thrown_away(findings, node, node->removed_join_filter, FINDING_JOIN_FILTER, "join filter",
                     WORDS("Try a join condition that is an equality, or an index on it."));
    find_thrown_away(findings, node, node->removed_recheck, FINDING_RECHECK, "recheck of the index",
                     node->lossy_blocks > 0 ? WORDS("Try more work_mem: the bitmap was too large for it.")
                                            : NULL);
}

static void find_bitmap(struct findings *findings, const struct plan_node *node)
{
    double exact = positive((double)node->exact_blocks), lossy = (double)node->lossy_blocks;
    if (node->lossy_blocks <= 0)
        return;
    double share = lossy / (lossy + exact);
    /* up to PostgreSQL 17 the numbers are the leader's alone when workers took part */
    bool leader_only = gather_of(findings->plan, node) != NULL;
    found(findings, FINDING_LOSSY_BITMAP, node->id, node->self_ms * share,
          WORDS("the bitmap of %s did not fit into work_mem: %s of its blocks are read without knowing the "
                "rows%s",
                name_of(node), percent_word(100 * share).text,
                leader_only ? " (counted in the leader only)" : ""),
          WORDS("Try more work_mem."));
}

static void find_heap_fetches(struct findings *findings, const struct plan_node *node)
{
    double ratio = fmin(1, (double)node->heap_fetches / fmax(1, node->rows));
    if (node->heap_fetches <= 0 || ratio < 0.1)
        return;
    found(findings, FINDING_HEAP_FETCHES, node->id, node->self_ms * ratio,
          WORDS("the index-only scan of %s had to look into the table %s times for %s rows", name_of(node),
                count_word((double)node->heap_fetches).text, count_word(node->rows).text),
          WORDS("VACUUM %s: its visibility map is behind.", name_of(node)));
}

static void find_io(struct findings *findings, const struct plan_node *node)
{
    double io = positive(node->own.io_read_ms) + positive(node->own.io_write_ms);
    double scale = node->total_ms > 0 ? node->wall_ms / node->total_ms : 1;
    if (io * scale < 0.5 * node->self_ms)
        return;
    found(findings, FINDING_IO, node->id, fmin(io * scale, node->self_ms),
          WORDS("%s waits for the disk most of its time (%s read)", node->title,
                bytes_word(8192 *
                           (positive((double)node->own.shared_read) + positive((double)node->own.temp_read)))
                    .text),
          NULL);
}

/* ---- memory ---- */

static void find_spills(struct findings *findings, const struct plan_node *node)
{
    const struct plan_node *parent = parent_of(findings->plan, node);
    if (node->sort_on_disk) {
        double bytes = positive((double)node->sort_space_kb) * 1024;
        found(findings, FINDING_SORT_SPILL, node->id, node->self_ms,
              WORDS("the sort spilled %s to disk", bytes_word(bytes).text),
              /* in memory a row takes two to three times as much as in the file */
              WORDS("Try work_mem of %s or more, or an index in this order.", memory_word(2 * bytes).text));
    }
    if (node->hash_batches > 1) {
        bool grew = node->hash_batches_original >= 0 && node->hash_batches > node->hash_batches_original;
        double bytes = positive((double)node->peak_memory_kb) * 1024 * (double)node->hash_batches;
        found(findings, FINDING_HASH_SPILL, node->id,
              positive(node->self_ms) + (parent ? positive(parent->self_ms) : 0),
              WORDS("the hash table did not fit into memory: %s batches on disk%s",
                    count_word((double)node->hash_batches).text, grew ? ", more than planned" : ""),
              WORDS("Try work_mem of %s or more.", memory_word(bytes).text));
    }
    if (node->hashagg_batches > 1) {
        double bytes = positive((double)node->disk_kb) * 1024;
        found(findings, FINDING_HASHAGG_SPILL, node->id, node->self_ms,
              WORDS("the aggregate's hash table spilled %s to disk (%s batches)", bytes_word(bytes).text,
                    count_word((double)node->hashagg_batches).text),
              WORDS("Try more work_mem or hash_mem_multiplier."));
    }
}

/* ---- the whole statement ---- */

static void find_missing_workers(struct findings *findings, const struct plan_node *node)
{
    double launched = (double)node->workers_launched, planned = (double)node->workers_planned;
    if (node->workers_launched < 0 || launched >= planned)
        return;
    found(findings, FINDING_WORKERS, node->id, node->wall_ms * (1 - (launched + 1) / (planned + 1)),
          WORDS("%s of %s planned workers were started", count_word(launched).text, count_word(planned).text),
          WORDS("All slots were taken: see max_parallel_workers and max_worker_processes."));
}

static double most_processes(const struct plan *plan)
{
    double most = 1;
    for (size_t i = 0; i < plan->node_count; i++)
        if ((double)plan->nodes[i].workers_launched + 1 > most)
            most = (double)plan->nodes[i].workers_launched + 1;
    return most;
}

static void find_jit(struct findings *findings)
{
    const struct plan *plan = findings->plan;
    double processes = most_processes(plan), ms = plan->jit_ms / processes;
    char sum[48], over[64] = "", all[48];
    if (!(ms > 0.1 * plan->execution_ms))
        return;
    if (processes > 1)
        snprintf(over, sizeof over, " summed over %.0f processes", processes);
    found(findings, FINDING_JIT, 0, ms,
          WORDS("JIT compilation took %s%s; the statement took %s", format_ms(sum, sizeof sum, plan->jit_ms),
                over, format_ms(all, sizeof all, plan->execution_ms)),
          WORDS("Try jit = off for this statement, or a higher jit_above_cost."));
}

static void find_triggers(struct findings *findings)
{
    for (size_t i = 0; i < findings->plan->trigger_count; i++) {
        const struct plan_trigger *trigger = &findings->plan->triggers[i];
        char *todo = trigger->constraint
                         ? WORDS("See whether the referencing columns of the foreign key have an index.")
                         : NULL;
        found(findings, FINDING_TRIGGER, 0, trigger->ms,
              WORDS("%s %s%s%s ran %s times", trigger->constraint ? "constraint" : "trigger",
                    trigger->name ? trigger->name : "?", trigger->relation ? " on " : "",
                    trigger->relation ? trigger->relation : "", count_word(trigger->calls).text),
              todo);
    }
}

static void find_planning(struct findings *findings)
{
    const struct plan *plan = findings->plan;
    if (plan->planning_ms > plan->execution_ms && plan->planning_ms > 1)
        found(findings, FINDING_PLANNING, 0, plan->planning_ms, WORDS("planning took longer than execution"),
              WORDS("Try a prepared statement; many partitions or joins also make planning slow."));
}

/* ---- estimates ---- */

/* A wrong estimate is told where it arises, not at every node above that inherits it. */
static bool is_inherited(const struct plan *plan, const struct plan_node *node)
{
    for (size_t i = (size_t)node->id; i < plan->node_count && plan->nodes[i].depth > node->depth; i++) {
        const struct plan_node *below = &plan->nodes[i];
        if (below->parent == node->id && below->direction == node->direction &&
            below->misestimate >= node->misestimate / 2 && below->misestimate >= MISESTIMATE_MIN)
            return true;
    }
    return false;
}

static char *misestimate_words(struct findings *findings, const struct plan_node *node)
{
    char factor[48];
    struct word expected = count_word(node->rows_estimated);
    if (node->rows <= 0)
        return WORDS("%s was expected to give %s rows and gave none", name_of(node), expected.text);
    format_count(factor, sizeof factor, round(node->misestimate));
    return WORDS("%s is estimated %s times too %s (%s expected, %s found)", name_of(node), factor,
                 node->direction == PLAN_TOO_LOW ? "low" : "high", expected.text,
                 count_word(node->rows).text);
}

static void find_misestimate(struct findings *findings, const struct plan_node *node)
{
    const struct plan_node *parent = parent_of(findings->plan, node);
    if (!(node->misestimate >= MISESTIMATE_MIN) || is_inherited(findings->plan, node))
        return;
    size_t before = findings->count;
    found(findings, FINDING_MISESTIMATE, node->id, parent ? parent->wall_ms : node->wall_ms,
          misestimate_words(findings, node),
          node->relation
              ? WORDS("ANALYZE %s; for expressions and columns that belong together: CREATE STATISTICS.",
                      name_of(node))
              : NULL);
    if (findings->count > before)
        findings->list[before].ms = NAN;
}

static int by_stake(const void *a, const void *b)
{
    const struct plan_finding *left = a, *right = b;
    if (isnan(left->ms) != isnan(right->ms))
        return isnan(left->ms) ? 1 : -1;
    if (left->stake_ms != right->stake_ms)
        return left->stake_ms < right->stake_ms ? 1 : -1;
    return left->node != right->node ? (left->node < right->node ? -1 : 1)
                                     : (int)left->kind - (int)right->kind;
}

struct plan_finding *plan_findings(const void *context, const struct plan *plan, size_t *count)
{
    struct findings findings = {.context = context, .plan = plan};
    *count = 0;
    if (!plan->has_timing)
        return NULL;
    double all = fmax(plan->total_ms, isnan(plan->execution_ms) ? 0 : plan->execution_ms);
    findings.threshold_ms = fmax(all * STAKE_MIN_PERCENT / 100, STAKE_MIN_MS);
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct plan_node *node = &plan->nodes[i];
        if (node->never_executed || isnan(node->self_ms))
            continue;
        find_repeated_scan(&findings, node);
        find_repeated_subplan(&findings, node);
        find_filters(&findings, node);
        find_bitmap(&findings, node);
        find_heap_fetches(&findings, node);
        find_io(&findings, node);
        find_spills(&findings, node);
        find_missing_workers(&findings, node);
        find_misestimate(&findings, node);
    }
    find_jit(&findings);
    find_triggers(&findings);
    find_planning(&findings);
    if (findings.count)
        qsort(findings.list, findings.count, sizeof *findings.list, by_stake);
    *count = findings.count;
    return findings.list;
}

const char *plan_finding_kind_name(enum plan_finding_kind kind)
{
    static const char *const names[] = {
        [FINDING_REPEATED_SCAN] = "repeated_scan",
        [FINDING_REPEATED_SUBPLAN] = "repeated_subplan",
        [FINDING_FILTER] = "filter",
        [FINDING_JOIN_FILTER] = "join_filter",
        [FINDING_RECHECK] = "recheck",
        [FINDING_SORT_SPILL] = "sort_spill",
        [FINDING_HASH_SPILL] = "hash_spill",
        [FINDING_HASHAGG_SPILL] = "hash_aggregate_spill",
        [FINDING_LOSSY_BITMAP] = "lossy_bitmap",
        [FINDING_HEAP_FETCHES] = "heap_fetches",
        [FINDING_IO] = "io",
        [FINDING_WORKERS] = "workers",
        [FINDING_JIT] = "jit",
        [FINDING_TRIGGER] = "trigger",
        [FINDING_PLANNING] = "planning",
        [FINDING_MISESTIMATE] = "misestimate",
    };
    return names[kind];
}

/* Order of plan_next_worst: more self time first, then plan order. */
static bool is_worse(const struct plan_node *a, const struct plan_node *b)
{
    return a->self_ms > b->self_ms || (a->self_ms == b->self_ms && a->id < b->id);
}

int plan_next_worst(const struct plan *plan, int id)
{
    const struct plan_node *from = id > 0 && (size_t)id <= plan->node_count ? &plan->nodes[id - 1] : NULL;
    const struct plan_node *worst = NULL, *next = NULL;
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct plan_node *node = &plan->nodes[i];
        if (isnan(node->self_ms) || node->never_executed)
            continue;
        if (!worst || is_worse(node, worst))
            worst = node;
        if (from && is_worse(from, node) && (!next || is_worse(node, next)))
            next = node;
    }
    return next ? next->id : worst ? worst->id : 0;
}
