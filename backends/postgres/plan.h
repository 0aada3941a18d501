/*
 * Reads what EXPLAIN (FORMAT JSON) printed (PostgreSQL 12 to 18) and says where the time went.
 *
 * Times. EXPLAIN prints averages per loop, and below a Gather sums over processes. `total_ms` is average
 * times loops, in process-milliseconds. `self_ms` is the node's own share of the time on the clock: the self
 * times of all nodes add up to the time of the root plus that of the extra roots. The rules: SubPlans are
 * subtracted where they hang, InitPlans from the node that first needed them, CTEs from their CTE Scans;
 * below a Gather the subtree is scaled to its slowest process. PostgreSQL prints 3 decimals of an average, so
 * that self_ms may be off by 0.0005 ms a loop and slightly negative: clamp it for display only.
 *
 * Unknown numbers are NaN (double) or -1 (int64_t); unknown texts are NULL. All texts are safe for showing.
 */
#ifndef BACKENDS_POSTGRES_PLAN_H
#define BACKENDS_POSTGRES_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

#define PLAN_SIZE_MAX ((size_t)64 << 20) /* bytes of JSON that are accepted */

/* Blocks of 8 kB, and bytes and records of WAL: totals over all loops and processes, as EXPLAIN prints them.
 */
struct plan_blocks {
    int64_t shared_hit, shared_read, shared_dirtied, shared_written;
    int64_t local_hit, local_read, local_dirtied, local_written;
    int64_t temp_read, temp_written;
    int64_t wal_records, wal_fpi, wal_bytes;
    double io_read_ms, io_write_ms; /* summed over processes; shared, local and temp together */
};

/* One line of a node's detail: what EXPLAIN says, with units. `label` is EXPLAIN's own key. */
struct plan_detail {
    const char *label;
    const char *text;
};

enum plan_relationship {
    PLAN_ROOT,
    PLAN_OUTER,
    PLAN_INNER,
    PLAN_MEMBER,   /* of an Append, BitmapAnd ... */
    PLAN_SUBQUERY, /* of a Subquery Scan */
    PLAN_SUBPLAN,  /* runs for each row that needs it */
    PLAN_INITPLAN, /* runs at most once, when first needed */
    PLAN_CTE,      /* filled by its CTE Scans, or by itself when it modifies data */
};

enum plan_direction { PLAN_EXACT, PLAN_TOO_LOW, PLAN_TOO_HIGH };

struct plan_node {
    int id;     /* 1.. in the plan's own order (as EXPLAIN's text prints it, depth first) */
    int parent; /* id; 0: the root */
    int depth;  /* 0: the root */
    enum plan_relationship relationship;
    bool extra_root; /* a data-modifying CTE that ran after the main plan: its time is not part of the root's
                      */
    bool parallel_aware;

    const char *node_type; /* as EXPLAIN's text words it: "Parallel Seq Scan", "Hash Left Join" */
    const char *raw_type;  /* as the JSON has it: "Seq Scan", "Hash Join", "Aggregate", "ModifyTable" */
    const char *title;     /* node_type and what it works on: "Index Scan using invoice_pkey on invoice i" */
    const char *note;      /* short, beside the title: "top-N heapsort, 31 kB"; NULL: nothing to say */
    const char *relation;  /* table */
    const char *alias;     /* as the statement calls the table (or function, CTE ...) */
    const char *schema;    /* of relation or function (VERBOSE only) */
    const char *index;
    const char *subplan_name; /* "InitPlan 1 (returns $0)", "CTE d", "SubPlan 2" */
    const char *filter;       /* Filter, Join Filter or One-Time Filter, whichever comes first */

    double startup_cost, total_cost, cost_share; /* cost_share: own part in percent, estimated plans only */
    double width;                                /* bytes of a row, estimated */

    /* measured: NaN (or -1) when the plan was only estimated; times also with TIMING OFF */
    double loops;        /* over all processes */
    bool never_executed; /* loops = 0 */
    double startup_ms;   /* per loop, average */
    double total_ms;     /* all loops, summed over processes */
    double wall_ms;      /* all loops, on the clock, children included */
    double self_ms;      /* on the clock, without children */
    double error_ms;     /* self_ms may be off by that much: averages are rounded to a microsecond */
    double self_percent; /* of the sum of all self times (root and extra roots) */

    double rows;           /* all loops */
    double rows_estimated; /* all loops; below a Gather all processes; NaN loops: one loop */
    double misestimate;    /* factor >= 1; NaN where rows were not all asked for, or never executed */
    enum plan_direction direction;

    struct plan_blocks blocks; /* children included */
    struct plan_blocks own;    /* without children; never negative */

    /* rows thrown away, all loops; NaN when EXPLAIN does not say */
    double removed_filter, removed_join_filter, removed_recheck;
    const char *sort_method;
    bool sort_on_disk;
    int64_t sort_space_kb; /* of the leader and all workers together */
    int64_t hash_batches, hash_batches_original, hash_buckets, hash_buckets_original;
    int64_t hashagg_batches, disk_kb, peak_memory_kb; /* disk_kb: of a hash aggregate */
    int64_t heap_fetches, exact_blocks, lossy_blocks; /* totals */
    int64_t workers_planned, workers_launched;

    const struct plan_detail
        *details; /* in EXPLAIN's order; unknown keys included, noise of zeros left out */
    size_t detail_count;
};

struct plan_trigger {
    const char *name; /* the constraint's name when it has one */
    const char *relation;
    bool constraint;
    double ms;
    double calls;
};

struct plan {
    const struct plan_node *nodes; /* nodes[i].id == i + 1 */
    size_t node_count;
    bool has_actual; /* EXPLAIN ANALYZE */
    bool has_timing; /* ... with TIMING */
    bool
        walls_averaged; /* a Gather without details of its workers (no VERBOSE): wall and self are averages */
    size_t statements;  /* more than 1: only the first was read */
    double planning_ms; /* NaN: unknown */
    double execution_ms; /* NaN: unknown */
    double total_ms;     /* root and extra roots: what self_percent is a share of; NaN without timing */
    double jit_ms;       /* summed over processes; NaN: no JIT */
    int64_t jit_functions;
    const char *query_id;               /* digits, or NULL */
    const char *query;                  /* auto_explain's Query Text, or NULL */
    const struct plan_detail *settings; /* planner settings that are not the default */
    size_t setting_count;
    const struct plan_trigger *triggers;
    size_t trigger_count;
};

/* Parses one plan. Accepts an array or a bare object, psql's decorations (headers, "+" at line ends, "(9
 * rows)") and auto_explain's JSON. `json` needs no NUL. Everything lies under the returned talloc chunk,
 * which is owned by `context`. NULL and an error (ERROR_USAGE: the text is not such a plan) on failure. */
struct plan *plan_read(const void *context, const char *json, size_t length, struct error *error);

enum plan_finding_kind {
    FINDING_REPEATED_SCAN,
    FINDING_REPEATED_SUBPLAN,
    FINDING_FILTER,
    FINDING_JOIN_FILTER,
    FINDING_RECHECK,
    FINDING_SORT_SPILL,
    FINDING_HASH_SPILL,
    FINDING_HASHAGG_SPILL,
    FINDING_LOSSY_BITMAP,
    FINDING_HEAP_FETCHES,
    FINDING_IO,
    FINDING_WORKERS,
    FINDING_JIT,
    FINDING_TRIGGER,
    FINDING_PLANNING,
    FINDING_MISESTIMATE,
};

struct plan_finding {
    enum plan_finding_kind kind;
    int node;         /* id; 0: about the whole statement */
    double ms;        /* time at stake; NaN: cannot be known (mis-estimates) */
    double stake_ms;  /* what it was ordered by: ms, or the time of the part that a mis-estimate decided on */
    const char *text; /* "invoice is read from end to end 610 times" */
    const char *todo; /* "An index on the filter's columns ..."; NULL: nothing to advise */
};

/* What costs, most time first, mis-estimates last; what has little time at stake (2 %) is left out. A fresh
 * talloc array owned by `context`; *count receives its length. NULL when there is none. */
struct plan_finding *plan_findings(const void *context, const struct plan *plan, size_t *count);

/* A stable word for JSON: "repeated_scan". */
const char *plan_finding_kind_name(enum plan_finding_kind kind);

/* The node with the most self time after (in order of self time) the node `id`; 0 for `id`: the worst of all.
 * Wraps around; 0 when nothing was measured. */
int plan_next_worst(const struct plan *plan, int id);

/* One JSON object: schema_version, planning_ms, execution_ms, nodes, findings ... Unknown is null. False when
 * writing failed (errno says why). */
bool plan_print_json(const struct plan *plan, FILE *file);

/* An aligned tree with self time, share, rows, estimate, loops and blocks, then what costs. */
bool plan_print_text(const struct plan *plan, FILE *file);

#endif
