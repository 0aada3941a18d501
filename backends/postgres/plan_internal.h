/* What the files of the plan reader share: a plan while it is being built. */
#ifndef BACKENDS_POSTGRES_PLAN_INTERNAL_H
#define BACKENDS_POSTGRES_PLAN_INTERNAL_H

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <talloc.h>

#include "backends/postgres/plan.h"

#define PLAN_NONE (-1) /* no node: work is indexed from 0, ids start at 1 */

/* What is known of a node only while the plan is read. Same index as the node. */
struct plan_work {
    struct json_object *json; /* borrowed from the parsed text */
    int first_child, next_sibling;
    double average_ms; /* Actual Total Time: per loop */
    double plan_rows;  /* Plan Rows: per loop, below a Gather per process */
    bool rows_exact;   /* Actual Rows has decimals (PostgreSQL 18) */
    double *worker_ms; /* of each worker, all its loops */
    size_t worker_count;
    bool gathers;  /* Gather or Gather Merge */
    bool separate; /* InitPlan or CTE: its time lies in the node that needs it, not in its parent */
};

struct plan_build {
    struct plan *plan;
    struct plan_node *nodes; /* becomes plan->nodes */
    struct plan_work *work;
    int count;
};

/* Plain names of the counters of struct plan_blocks, for loops over all of them. */
struct plan_block_key {
    const char *key; /* EXPLAIN's */
    size_t offset;   /* of an int64_t in struct plan_blocks */
};
extern const struct plan_block_key plan_block_keys[];
extern const size_t plan_block_key_count;

static inline int64_t *plan_block(struct plan_blocks *blocks, size_t i)
{
    return (int64_t *)((char *)blocks + plan_block_keys[i].offset);
}

/* Out of memory ends the program in one way everywhere. */
static inline void *plan_must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* The member `key` of an object, NULL when it is missing or null. */
struct json_object *plan_member(struct json_object *object, const char *key);
/* A finite number, else NaN. */
double plan_number(struct json_object *object, const char *key);
/* A whole number between 0 and 2^45 (sums of all nodes then fit), else -1. */
int64_t plan_integer(struct json_object *object, const char *key);
/* A text made safe, owned by context; NULL when it is missing. */
const char *plan_text(const void *context, struct json_object *object, const char *key);

/* plan_words.c: node_type, title, and note; plan_details.c: the lines of detail. */
void plan_word_node(struct plan_build *build, int i);
void plan_note_node(struct plan_build *build, int i);
void plan_detail_node(struct plan_build *build, int i);
/* The object's members as details. */
struct plan_detail *plan_detail_object(const void *context, struct json_object *object, size_t *count);

/* plan_initplan.c: the node (index) that first needed the InitPlan `init`, given what is left of each node's
 * time; never PLAN_NONE. */
struct plan_references;
struct plan_references *plan_references_new(const void *context, const struct plan_build *build);
int plan_first_consumer(const struct plan_references *references, const struct plan_build *build, int init,
                        double time, const double *rest);

/* plan_time.c: wall_ms, self_ms, self_percent, own blocks. */
void plan_compute_times(struct plan_build *build);
/* plan_rows.c: rows_estimated, misestimate, cost_share. */
void plan_compute_rows(struct plan_build *build);

static inline struct plan_node *plan_parent(const struct plan_build *build, int i)
{
    return build->nodes[i].parent ? &build->nodes[build->nodes[i].parent - 1] : NULL;
}

#endif
