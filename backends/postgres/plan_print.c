/* A plan as one JSON object, and as an aligned tree for people. */
#include <string.h>

#include "backends/postgres/plan_internal.h"
#include "core/text.h"
#include "core/units.h"

/* ---- JSON ---- */

static struct json_object *number_json(double number)
{
    char text[40];
    if (!isfinite(number))
        return NULL;
    if (number == floor(number) && fabs(number) < 1e15)
        return json_object_new_int64((int64_t)number);
    snprintf(text, sizeof text, "%.15g", number);
    return json_object_new_double_s(number, text);
}

static struct json_object *integer_json(int64_t integer)
{
    return integer < 0 ? NULL : json_object_new_int64(integer);
}

static struct json_object *text_json(const char *text)
{
    return text ? json_object_new_string(text) : NULL;
}

static void put(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, value);
}

static const char *relationship_name(enum plan_relationship relationship)
{
    static const char *const names[] = {
        [PLAN_ROOT] = NULL,           [PLAN_OUTER] = "outer",       [PLAN_INNER] = "inner",
        [PLAN_MEMBER] = "member",     [PLAN_SUBQUERY] = "subquery", [PLAN_SUBPLAN] = "subplan",
        [PLAN_INITPLAN] = "initplan", [PLAN_CTE] = "cte",
    };
    return names[relationship];
}

/* "shared_hit_blocks" and so on, both with children and without. */
static void put_blocks(struct json_object *object, const struct plan_node *node)
{
    struct plan_blocks all = node->blocks, own = node->own;
    for (size_t i = 0; i < plan_block_key_count; i++) {
        char key[48], own_key[56];
        snprintf(key, sizeof key, "%s", plan_block_keys[i].key);
        for (char *c = key; *c; c++)
            *c = *c == ' ' ? '_' : *c >= 'A' && *c <= 'Z' ? (char)(*c | 32) : *c;
        snprintf(own_key, sizeof own_key, "self_%s", key);
        put(object, key, integer_json(*plan_block(&all, i)));
        put(object, own_key, integer_json(*plan_block(&own, i)));
    }
    put(object, "io_read_ms", number_json(all.io_read_ms));
    put(object, "io_write_ms", number_json(all.io_write_ms));
}

static struct json_object *node_json(const struct plan_node *node)
{
    static const char *const directions[] = {
        [PLAN_EXACT] = "exact", [PLAN_TOO_LOW] = "low", [PLAN_TOO_HIGH] = "high"};
    struct json_object *object = json_object_new_object();
    bool judged = !isnan(node->misestimate);
    put(object, "id", json_object_new_int(node->id));
    put(object, "parent", node->parent ? json_object_new_int(node->parent) : NULL);
    put(object, "depth", json_object_new_int(node->depth));
    put(object, "node_type", text_json(node->raw_type));
    put(object, "relation", text_json(node->relation));
    put(object, "loops", number_json(node->loops));
    put(object, "never_executed", json_object_new_boolean(node->never_executed));
    put(object, "total_ms", number_json(node->total_ms));
    put(object, "self_ms", number_json(node->self_ms));
    put(object, "self_percent", number_json(node->self_percent));
    put(object, "rows", number_json(node->rows));
    put(object, "rows_estimated", number_json(node->rows_estimated));
    put(object, "misestimate", number_json(node->misestimate));
    put(object, "misestimate_direction", judged ? text_json(directions[node->direction]) : NULL);
    put(object, "title", text_json(node->title));
    put(object, "note", text_json(node->note));
    put(object, "relationship", text_json(relationship_name(node->relationship)));
    put(object, "subplan", text_json(node->subplan_name));
    put(object, "extra_root", json_object_new_boolean(node->extra_root));
    put(object, "wall_ms", number_json(node->wall_ms));
    put(object, "error_ms", number_json(node->error_ms));
    put(object, "startup_cost", number_json(node->startup_cost));
    put(object, "total_cost", number_json(node->total_cost));
    put(object, "schema", text_json(node->schema));
    put(object, "alias", text_json(node->alias));
    put(object, "index", text_json(node->index));
    put(object, "filter", text_json(node->filter));
    put(object, "rows_removed_by_filter", number_json(node->removed_filter));
    put(object, "rows_removed_by_join_filter", number_json(node->removed_join_filter));
    put(object, "rows_removed_by_recheck", number_json(node->removed_recheck));
    put_blocks(object, node);
    return object;
}

static struct json_object *findings_json(const struct plan *plan)
{
    struct json_object *list = json_object_new_array();
    size_t count;
    struct plan_finding *findings = plan_findings(NULL, plan, &count);
    for (size_t i = 0; i < count; i++) {
        struct json_object *object = json_object_new_object();
        put(object, "kind", text_json(plan_finding_kind_name(findings[i].kind)));
        put(object, "node", findings[i].node ? json_object_new_int(findings[i].node) : NULL);
        put(object, "ms", number_json(findings[i].ms));
        put(object, "text", text_json(findings[i].text));
        put(object, "todo", text_json(findings[i].todo));
        json_object_array_add(list, object);
    }
    talloc_free(findings);
    return list;
}

static struct json_object *triggers_json(const struct plan *plan)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < plan->trigger_count; i++) {
        struct json_object *object = json_object_new_object();
        put(object, "name", text_json(plan->triggers[i].name));
        put(object, "relation", text_json(plan->triggers[i].relation));
        put(object, "ms", number_json(plan->triggers[i].ms));
        put(object, "calls", number_json(plan->triggers[i].calls));
        json_object_array_add(list, object);
    }
    return list;
}

bool plan_print_json(const struct plan *plan, FILE *file)
{
    struct json_object *object = json_object_new_object(), *nodes = json_object_new_array();
    for (size_t i = 0; i < plan->node_count; i++)
        json_object_array_add(nodes, node_json(&plan->nodes[i]));
    put(object, "schema_version", json_object_new_int(1));
    put(object, "planning_ms", number_json(plan->planning_ms));
    put(object, "execution_ms", number_json(plan->execution_ms));
    put(object, "total_ms", number_json(plan->total_ms));
    put(object, "measured", json_object_new_boolean(plan->has_actual));
    put(object, "walls_averaged", json_object_new_boolean(plan->walls_averaged));
    put(object, "statements", json_object_new_int64((int64_t)plan->statements));
    put(object, "query_id", text_json(plan->query_id));
    put(object, "jit_ms", number_json(plan->jit_ms));
    put(object, "nodes", nodes);
    put(object, "triggers", triggers_json(plan));
    put(object, "findings", findings_json(plan));
    size_t length;
    const char *text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    bool good = text && fwrite(text, 1, length, file) == length && fputc('\n', file) != EOF;
    json_object_put(object);
    return good && fflush(file) == 0;
}

/* ---- text ---- */

#define BAR_CELLS 10

static void pad(FILE *file, int cells)
{
    fprintf(file, "%*s", cells > 0 ? cells : 0, "");
}

/* Right-aligned in so many cells, with a space behind. */
static void print_cell(FILE *file, const char *text, int cells)
{
    pad(file, cells - text_width(text));
    fprintf(file, "%s ", text);
}

static void print_bar(FILE *file, double percent)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int parts = percent > 0 ? (int)lround(fmin(percent, 100) * BAR_CELLS * 8 / 100) : 0, cells = 0;
    for (; cells < parts / 8; cells++)
        fputs("█", file);
    if (parts % 8) {
        fputs(eighths[parts % 8], file);
        cells++;
    }
    pad(file, BAR_CELLS - cells + 1);
}

static void print_count(FILE *file, double count, int cells)
{
    char text[48] = "";
    if (isfinite(count) && count >= 0)
        format_count(text, sizeof text, count);
    print_cell(file, text, cells);
}

static void print_estimate(FILE *file, const struct plan_node *node)
{
    char text[64] = "", factor[48];
    if (node->misestimate >= 1.95) {
        if (node->misestimate < 9.95)
            snprintf(factor, sizeof factor, "%.1f", node->misestimate);
        else
            format_count(factor, sizeof factor, round(node->misestimate));
        snprintf(text, sizeof text, "%s× %s", factor, node->direction == PLAN_TOO_LOW ? "low" : "high");
    }
    print_cell(file, text, 10);
}

static void print_measures(FILE *file, const struct plan *plan, const struct plan_node *node)
{
    char self[48] = "";
    if (plan->has_timing && !node->never_executed)
        format_ms(self, sizeof self, node->self_ms > 0 ? node->self_ms : 0);
    if (!plan->has_actual)
        snprintf(self, sizeof self, "%.2f", node->total_cost);
    print_cell(file, self, 11);
    print_bar(file, plan->has_actual ? node->self_percent : node->cost_share);
    if (!plan->has_actual) {
        print_count(file, node->rows_estimated, 8);
        return;
    }
    print_count(file, node->never_executed ? NAN : node->rows, 8);
    print_estimate(file, node);
    print_count(file, node->loops, 7);
    print_count(file, (double)node->own.shared_hit, 8);
    print_count(file, (double)node->own.shared_read, 8);
}

/* The tree's lines before a node. `open[d]`: at depth d more siblings follow. */
static void print_branch(FILE *file, int depth, const bool *open)
{
    for (int d = 1; d < depth; d++)
        fputs(open[d] ? "│ " : "  ", file);
    if (depth)
        fputs(open[depth] ? "├ " : "└ ", file);
}

/* "filter (NOT paid): 99.8 % thrown away" under a node that throws away much. */
static void print_filter(FILE *file, const struct plan_node *node, int indent)
{
    double removed = isnan(node->removed_filter) ? node->removed_join_filter : node->removed_filter;
    double ratio = removed / (removed + node->rows);
    char percent[48], filter[256] = "";
    if (!node->filter || !(ratio >= 0.5) || !(node->self_percent >= 1))
        return;
    text_cut(filter, sizeof filter, node->filter, 60);
    pad(file, indent);
    fprintf(file, "filter %s: %s thrown away\n", filter,
            format_percent(percent, sizeof percent, 100 * ratio));
}

/* open[d] for all depths of a node, from the nodes that follow. Siblings: the next node of the same depth
 * before one that is less deep. Filled from the end, so that each node looks at its follower only. */
static int *next_siblings(const struct plan *plan)
{
    int *next = plan_must(talloc_zero_array(NULL, int, plan->node_count));
    int *last = plan_must(talloc_zero_array(next, int, plan->node_count + 1)); /* by parent */
    for (size_t i = plan->node_count; i-- > 0;) {
        next[i] = last[plan->nodes[i].parent];
        last[plan->nodes[i].parent] = plan->nodes[i].id;
    }
    return next;
}

/* "±2.5 ms" where rounding could hide a share that matters. */
static void print_error(FILE *file, const struct plan *plan, const struct plan_node *node)
{
    char error[48];
    if (node->error_ms >= 0.02 * plan->total_ms && node->error_ms > 0.1 * node->self_ms && node->loops > 1)
        fprintf(file, "  ±%s", format_ms(error, sizeof error, node->error_ms));
}

static void print_tree(FILE *file, const struct plan *plan)
{
    int deepest = 0, *next = next_siblings(plan);
    for (size_t i = 0; i < plan->node_count; i++)
        deepest = plan->nodes[i].depth > deepest ? plan->nodes[i].depth : deepest;
    bool *open = plan_must(talloc_zero_array(next, bool, deepest + 1));
    for (size_t i = 0; i < plan->node_count; i++) {
        const struct plan_node *node = &plan->nodes[i];
        open[node->depth] = next[i] != 0;
        print_measures(file, plan, node);
        fputc(' ', file);
        print_branch(file, node->depth, open);
        if (node->subplan_name)
            fprintf(file, "%s: ", node->subplan_name);
        fprintf(file, "%s%s%s%s", node->title, node->note ? "  " : "", node->note ? node->note : "",
                node->extra_root ? "  (after the main plan)" : "");
        print_error(file, plan, node);
        fputc('\n', file);
        print_filter(file, node, (plan->has_actual ? 72 : 34) + 2 * node->depth);
    }
    talloc_free(next);
}

static void print_findings(FILE *file, const struct plan *plan)
{
    size_t count;
    struct plan_finding *findings = plan_findings(NULL, plan, &count);
    if (count)
        fputs("\nWhat costs\n", file);
    for (size_t i = 0; i < count; i++) {
        char ms[48] = "", node[24] = "";
        if (!isnan(findings[i].ms))
            format_ms(ms, sizeof ms, findings[i].ms);
        if (findings[i].node)
            snprintf(node, sizeof node, " (node %d)", findings[i].node);
        fprintf(file, "%3zu ", i + 1);
        print_cell(file, ms, 10);
        fprintf(file, " %s%s\n", findings[i].text, node);
        if (findings[i].todo)
            fprintf(file, "%16s%s\n", "", findings[i].todo);
    }
    talloc_free(findings);
}

static void print_summary(FILE *file, const struct plan *plan)
{
    char execution[48], planning[48];
    if (!plan->has_actual)
        fputs("estimated, not measured: EXPLAIN (ANALYZE, ...) measures\n", file);
    else
        fprintf(file, "%s, planning %s%s\n",
                isnan(plan->execution_ms) ? "?" : format_ms(execution, sizeof execution, plan->execution_ms),
                isnan(plan->planning_ms) ? "?" : format_ms(planning, sizeof planning, plan->planning_ms),
                plan->has_timing ? "" : ", TIMING OFF: no times of nodes");
    if (plan->statements > 1)
        fputs("more than one plan in the text: this is the first\n", file);
    if (plan->walls_averaged)
        fputs("times below Gather are averages over its processes: EXPLAIN VERBOSE tells them apart\n", file);
    for (size_t i = 0; i < plan->setting_count; i++)
        fprintf(file, "%s%s = %s%s", i ? ", " : "settings: ", plan->settings[i].label, plan->settings[i].text,
                i + 1 == plan->setting_count ? "\n" : "");
}

static void print_triggers(FILE *file, const struct plan *plan)
{
    if (plan->trigger_count)
        fputs("\nTriggers (those that run BEFORE are part of a node's time, those that run AFTER are not)\n",
              file);
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *trigger = &plan->triggers[i];
        char ms[48] = "", calls[48];
        if (!isnan(trigger->ms))
            format_ms(ms, sizeof ms, trigger->ms);
        print_cell(file, ms, 11);
        fprintf(file, " %s on %s, %s calls\n", trigger->name ? trigger->name : "?",
                trigger->relation ? trigger->relation : "?",
                format_count(calls, sizeof calls, trigger->calls));
    }
}

bool plan_print_text(const struct plan *plan, FILE *file)
{
    print_summary(file, plan);
    fputs(plan->has_actual ? "\n       self share          rows   estimate   loops  hit blk read blk  node\n"
                           : "\n       cost share          rows  node\n",
          file);
    print_tree(file, plan);
    print_triggers(file, plan);
    print_findings(file, plan);
    return fflush(file) == 0 && !ferror(file);
}
