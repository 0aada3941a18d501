/*
 * Where the time went. P = average x loops is in process-milliseconds. What is left of P after the children
 * is the node's own; below a Gather it is scaled by wall / P of the Gather's child, wall being the slowest
 * process.
 */
#include <string.h>

#include "backends/postgres/plan_internal.h"

/* All arrays are indexed by node. */
struct timing {
    double *spent;  /* P, children included; waiting for a shared bitmap counted where it was built */
    double *rest;   /* what is left of it for the node itself */
    double *scale;  /* process-milliseconds to milliseconds on the clock; NaN: not yet known */
    double *ratio;  /* of a Gather: wall / P of its child */
    int *consumer;  /* of an InitPlan */
    double *factor; /* of P that is added for the processes that waited for a shared bitmap */
};

static double known(double number)
{
    return isnan(number) ? 0 : number;
}

static bool is_type(const struct plan_build *build, int i, const char *type)
{
    return !strcmp(build->nodes[i].raw_type, type);
}

static double workers_sum(const struct plan_work *work)
{
    double sum = 0;
    for (size_t w = 0; w < work->worker_count; w++)
        sum += work->worker_ms[w];
    return sum;
}

/* The leader's share of P, which EXPLAIN does not print. */
static double leader_ms(const struct plan_work *work, double spent)
{
    double leader = spent - workers_sum(work);
    return leader > 0 ? leader : 0;
}

/* Processes that ran the child of a Gather, as far as can be told without details of the workers. */
static double process_count(const struct plan_node *gather, const struct plan_node *child)
{
    double processes = gather->workers_launched >= 0 ? (double)gather->workers_launched + 1 : 1;
    double loops = child->loops / (gather->loops > 0 ? gather->loops : 1);
    if (loops < processes)
        processes = round(loops);
    return processes > 1 ? processes : 1;
}

static double wall_of(struct plan_build *build, int gather, int child, double spent)
{
    const struct plan_work *work = &build->work[child];
    if (!work->worker_count) {
        double processes = process_count(&build->nodes[gather], &build->nodes[child]);
        if (processes > 1)
            build->plan->walls_averaged = true;
        return spent / processes;
    }
    double wall = leader_ms(work, spent);
    for (size_t w = 0; w < work->worker_count; w++)
        if (work->worker_ms[w] > wall)
            wall = work->worker_ms[w];
    return wall > spent ? spent : wall;
}

/* One process builds the bitmap of a parallel heap scan while the others wait for it inside the heap scan, so
 * that it takes its whole time on the clock: scaling it like the rest would show a third with two workers.
 * The waiting, which is within the heap scan's time, is moved to the bitmap by this factor. */
static double waiting_factor(const struct plan_build *build, const struct timing *timing, int heap,
                             int bitmap)
{
    double time = known(build->nodes[bitmap].total_ms), all = known(build->nodes[heap].total_ms);
    int gather = heap;
    while (gather != PLAN_NONE && !build->work[gather].gathers)
        gather = build->work[gather].separate ? PLAN_NONE : build->nodes[gather].parent - 1;
    if (!build->nodes[heap].parallel_aware || gather == PLAN_NONE || !(time > 0) ||
        !(timing->ratio[gather] > 0) || !(build->nodes[bitmap].loops < build->nodes[heap].loops))
        return 1;
    return fmax(1, fmin(1 / timing->ratio[gather], all / time));
}

/* ratio of each Gather: its slowest process to the sum of all */
static void find_ratios(struct plan_build *build, struct timing *timing)
{
    for (int i = 0; i < build->count; i++) {
        timing->ratio[i] = 1;
        for (int c = build->work[i].first_child; c != PLAN_NONE && build->work[i].gathers;
             c = build->work[c].next_sibling) {
            double spent = known(build->nodes[c].total_ms);
            if (!build->work[c].separate && spent > 0)
                timing->ratio[i] = wall_of(build, i, c, spent) / spent;
        }
    }
}

static void spend(struct plan_build *build, struct timing *timing)
{
    for (int i = 0; i < build->count; i++) {
        int parent = build->nodes[i].parent - 1;
        bool below = parent != PLAN_NONE && !build->work[i].separate;
        timing->factor[i] = 1;
        if (below && is_type(build, parent, "Bitmap Heap Scan"))
            timing->factor[i] = waiting_factor(build, timing, parent, i);
        else if (below && (is_type(build, parent, "BitmapAnd") || is_type(build, parent, "BitmapOr")))
            timing->factor[i] = timing->factor[parent];
        timing->spent[i] = known(build->nodes[i].total_ms) * timing->factor[i];
        timing->scale[i] = NAN;
        timing->consumer[i] = PLAN_NONE;
    }
}

static void subtract_children(struct plan_build *build, struct timing *timing)
{
    for (int i = 0; i < build->count; i++) {
        timing->rest[i] = timing->spent[i];
        for (int c = build->work[i].first_child; c != PLAN_NONE; c = build->work[c].next_sibling)
            if (!build->work[c].separate)
                timing->rest[i] -= timing->spent[c] * timing->ratio[i];
    }
}

/* ---- blocks follow the time ---- */

static void subtract_blocks(struct plan_blocks *own, struct plan_blocks *part)
{
    for (size_t i = 0; i < plan_block_key_count; i++)
        if (*plan_block(part, i) > 0 && *plan_block(own, i) >= 0)
            *plan_block(own, i) -= *plan_block(part, i);
    own->io_read_ms -= known(part->io_read_ms);
    own->io_write_ms -= known(part->io_write_ms);
}

static void subtract_child_blocks(struct plan_build *build)
{
    for (int i = 0; i < build->count; i++) {
        build->nodes[i].own = build->nodes[i].blocks;
        for (int c = build->work[i].first_child; c != PLAN_NONE; c = build->work[c].next_sibling)
            if (!build->work[c].separate)
                subtract_blocks(&build->nodes[i].own, &build->nodes[c].blocks);
    }
}

/* Workers report to the leader late in some versions, so that a child may show more than its parent. */
static void clamp_blocks(struct plan_build *build)
{
    for (int i = 0; i < build->count; i++) {
        struct plan_node *node = &build->nodes[i];
        for (size_t b = 0; b < plan_block_key_count; b++) {
            bool unknown = *plan_block(&node->blocks, b) < 0;
            if (*plan_block(&node->own, b) < 0)
                *plan_block(&node->own, b) = unknown ? -1 : 0;
        }
        node->own.io_read_ms = node->own.io_read_ms < 0 ? 0 : node->own.io_read_ms;
        node->own.io_write_ms = node->own.io_write_ms < 0 ? 0 : node->own.io_write_ms;
    }
}

/* ---- InitPlans and CTEs ---- */

static void charge_initplans(struct plan_build *build, struct timing *timing)
{
    struct plan_references *references = plan_references_new(build->work, build);
    for (int i = 0; i < build->count; i++) {
        if (build->nodes[i].relationship != PLAN_INITPLAN)
            continue;
        timing->consumer[i] = build->nodes[i].parent - 1;
        if (!(build->nodes[i].loops > 0))
            continue;
        int consumer = plan_first_consumer(references, build, i, timing->spent[i], timing->rest);
        timing->consumer[i] = consumer;
        timing->rest[consumer] -= timing->spent[i];
        subtract_blocks(&build->nodes[consumer].own, &build->nodes[i].blocks);
    }
    talloc_free(references);
}

/* The CTE that a CTE Scan reads: the nearest of that name around it. PLAN_NONE: not found. */
static int find_cte(const struct plan_build *build, int scan)
{
    struct json_object *name = plan_member(build->work[scan].json, "CTE Name");
    if (!json_object_is_type(name, json_type_string))
        return PLAN_NONE;
    int came_from = PLAN_NONE;
    for (int i = scan; i != PLAN_NONE; came_from = i, i = build->nodes[i].parent - 1)
        for (int c = build->work[i].first_child; c != PLAN_NONE; c = build->work[c].next_sibling) {
            if (c == came_from || build->nodes[c].relationship != PLAN_CTE)
                continue;
            struct json_object *subplan = plan_member(build->work[c].json, "Subplan Name");
            if (!strcmp(json_object_get_string(subplan) + 4, json_object_get_string(name)))
                return c;
        }
    return PLAN_NONE;
}

/* The scans of one CTE. */
struct scans {
    int *list;
    size_t count;
    double spent;
};

/* Each counter pro rata of its own: the scan that came first may have read most blocks in little time. */
static void charge_cte_blocks(struct plan_build *build, int cte, const struct scans *scans)
{
    for (size_t b = 0; b < plan_block_key_count; b++) {
        double all = 0, charged = (double)*plan_block(&build->nodes[cte].blocks, b);
        for (size_t i = 0; i < scans->count; i++)
            all += fmax(0, (double)*plan_block(&build->nodes[scans->list[i]].blocks, b));
        for (size_t i = 0; i < scans->count && all > 0 && charged > 0; i++) {
            struct plan_node *scan = &build->nodes[scans->list[i]];
            double used = fmax(0, (double)*plan_block(&scan->blocks, b));
            *plan_block(&scan->own, b) -= (int64_t)round(fmin(charged, all) * used / all);
        }
    }
}

static void charge_cte_io(struct plan_build *build, int cte, const struct scans *scans)
{
    double reads = 0, writes = 0;
    for (size_t i = 0; i < scans->count; i++) {
        reads += known(build->nodes[scans->list[i]].blocks.io_read_ms);
        writes += known(build->nodes[scans->list[i]].blocks.io_write_ms);
    }
    const struct plan_blocks *part = &build->nodes[cte].blocks;
    for (size_t i = 0; i < scans->count; i++) {
        struct plan_node *scan = &build->nodes[scans->list[i]];
        if (reads > 0)
            scan->own.io_read_ms -= known(part->io_read_ms) * known(scan->blocks.io_read_ms) / reads;
        if (writes > 0)
            scan->own.io_write_ms -= known(part->io_write_ms) * known(scan->blocks.io_write_ms) / writes;
    }
}

static void charge_cte(struct plan_build *build, struct timing *timing, int cte, const struct scans *scans)
{
    struct plan_node *node = &build->nodes[cte];
    double charged = timing->spent[cte];
    if (!scans->count || (is_type(build, cte, "ModifyTable") && charged > scans->spent)) {
        /* what its scans did not ask for ran after the main plan */
        charged = scans->count ? scans->spent : 0;
        node->extra_root = !scans->count;
        build->plan->total_ms += timing->spent[cte] - charged;
    }
    for (size_t i = 0; i < scans->count; i++) {
        int scan = scans->list[i];
        double share = scans->spent > 0 ? timing->spent[scan] / scans->spent : 1 / (double)scans->count;
        timing->rest[scan] -= charged * share;
    }
    charge_cte_blocks(build, cte, scans);
    charge_cte_io(build, cte, scans);
}

static void charge_ctes(struct plan_build *build, struct timing *timing)
{
    struct scans *scans = plan_must(talloc_zero_array(build->work, struct scans, build->count));
    for (int i = 0; i < build->count; i++) {
        int cte = is_type(build, i, "CTE Scan") && build->nodes[i].loops > 0 ? find_cte(build, i) : PLAN_NONE;
        if (cte == PLAN_NONE)
            continue;
        struct scans *of = &scans[cte];
        if (of->count == talloc_array_length(of->list))
            of->list = plan_must(talloc_realloc(scans, of->list, int, of->count ? of->count * 2 : 2));
        of->list[of->count++] = i;
        of->spent += timing->spent[i];
    }
    for (int i = 0; i < build->count; i++)
        if (build->nodes[i].relationship == PLAN_CTE && build->nodes[i].loops > 0)
            charge_cte(build, timing, i, &scans[i]);
    talloc_free(scans);
}

/* A subtree below a Gather is scaled; an InitPlan as the node is that needed it. */
static double scale_of(const struct plan_build *build, struct timing *timing, int i, int hops)
{
    double scale = 1;
    int top = i;
    for (; top != PLAN_NONE && isnan(timing->scale[top]); top = build->nodes[top].parent - 1) {
        int parent = build->nodes[top].parent - 1;
        if (build->nodes[top].relationship == PLAN_INITPLAN && timing->consumer[top] != PLAN_NONE) {
            /* consumers that wait for one another exist in broken plans only */
            double of = hops < 64 ? scale_of(build, timing, timing->consumer[top], hops + 1) : 1;
            return timing->scale[i] = scale * of;
        }
        if (parent != PLAN_NONE && build->work[parent].gathers && !build->work[top].separate)
            scale *= timing->ratio[parent];
    }
    return timing->scale[i] = top == PLAN_NONE ? scale : scale * timing->scale[top];
}

/* Half a microsecond for each loop of the node, of its children and of what was charged to it. */
static void estimate_errors(struct plan_build *build, const struct timing *timing)
{
    for (int i = 0; i < build->count; i++)
        build->nodes[i].error_ms = build->plan->has_timing ? 0 : NAN;
    for (int i = 0; i < build->count && build->plan->has_timing; i++) {
        double error = 0.0005 * known(build->nodes[i].loops);
        int payer = build->work[i].separate ? timing->consumer[i] : build->nodes[i].parent - 1;
        build->nodes[i].error_ms += error * timing->scale[i];
        if (payer != PLAN_NONE)
            build->nodes[payer].error_ms += error * timing->scale[payer];
    }
}

static void finish(struct plan_build *build, const struct timing *timing)
{
    estimate_errors(build, timing);
    for (int i = 0; i < build->count; i++) {
        struct plan_node *node = &build->nodes[i];
        if (isnan(node->total_ms) || !build->plan->has_timing)
            continue;
        node->wall_ms = timing->spent[i] * timing->scale[i];
        node->self_ms = timing->rest[i] * timing->scale[i];
        node->self_percent = build->plan->total_ms > 0 ? 100 * node->self_ms / build->plan->total_ms : 0;
    }
}

static double *new_doubles(const struct plan_build *build)
{
    return plan_must(talloc_zero_array(build->work, double, build->count));
}

void plan_compute_times(struct plan_build *build)
{
    struct timing timing = {.spent = new_doubles(build),
                            .rest = new_doubles(build),
                            .scale = new_doubles(build),
                            .ratio = new_doubles(build),
                            .factor = new_doubles(build),
                            .consumer = plan_must(talloc_zero_array(build->work, int, build->count))};
    find_ratios(build, &timing);
    spend(build, &timing);
    subtract_children(build, &timing);
    subtract_child_blocks(build);
    if (build->plan->has_timing)
        build->plan->total_ms = timing.spent[0];
    charge_ctes(build, &timing);
    charge_initplans(build, &timing);
    clamp_blocks(build);
    for (int i = 0; i < build->count; i++)
        scale_of(build, &timing, i, 0);
    finish(build, &timing);
}
