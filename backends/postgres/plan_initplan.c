/*
 * Which node first needed an InitPlan, and so paid for it. EXPLAIN does not say; it is found from the texts
 * that mention the InitPlan's parameter ("$1" up to PostgreSQL 16, "(InitPlan 1).col1" since 17), the order
 * in which the executor visits nodes, and whether a node has enough time left to have paid.
 */
#include <string.h>

#include "backends/postgres/plan_internal.h"

#define PARAMETERS_MAX 65536
#define INITPLANS_MAX 4096 /* more than this many are charged to their parents */

struct reference {
    int init; /* node index of the InitPlan */
    int node; /* that mentions it */
};

struct plan_references {
    struct reference *list; /* sorted by InitPlan, then by order of execution */
    size_t count;
    int *inits; /* node indexes of all InitPlans */
    size_t init_count;
    int *by_parameter; /* [n]: InitPlan that returns $n, PLAN_NONE if none */
    int *rank;         /* of each node: order of execution */
    int next_rank;
};

static bool is_word(char c)
{
    return c == '_' || c == '$' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (unsigned char)c >= 0x80;
}

/* Reads "$123" at text; the number, or -1. *length receives what it takes. */
static int read_parameter(const char *text, size_t *length)
{
    int number = -1;
    size_t i = 1;
    for (; text[i] >= '0' && text[i] <= '9'; i++)
        if (number < PARAMETERS_MAX)
            number = (number < 0 ? 0 : number) * 10 + (text[i] - '0');
    *length = i;
    return number < PARAMETERS_MAX ? number : -1;
}

/* "InitPlan 1 (returns $0,$1)" */
static void index_parameters(struct plan_references *references, const char *name, int init)
{
    const char *returns = strstr(name, "(returns ");
    size_t length;
    for (const char *c = returns; c && (c = strchr(c, '$')); c += length) {
        int number = read_parameter(c, &length);
        if (number >= 0)
            references->by_parameter[number] = init;
    }
}

static void add_reference(struct plan_references *references, int init, int node)
{
    size_t room = talloc_array_length(references->list);
    if (references->count && references->list[references->count - 1].init == init &&
        references->list[references->count - 1].node == node)
        return;
    if (references->count == room)
        references->list =
            plan_must(talloc_realloc(references, references->list, struct reference, room ? room * 2 : 32));
    references->list[references->count++] = (struct reference){.init = init, .node = node};
}

/* "(InitPlan 1).col1": the name stands exactly between the parentheses. */
static void match_name(struct plan_references *references, const struct plan_build *build, const char *text,
                       int node)
{
    const char *close = strchr(text, ')');
    size_t length = close ? (size_t)(close - text) : 0;
    for (size_t i = 0; close && i < references->init_count; i++) {
        const char *name = build->nodes[references->inits[i]].subplan_name;
        if (name && strlen(name) == length && !memcmp(name, text, length))
            add_reference(references, references->inits[i], node);
    }
}

static void scan_text(struct plan_references *references, const struct plan_build *build, const char *text,
                      int node)
{
    bool quoted = false;
    char before = ' ';
    for (size_t step = 1; *text; before = text[step - 1], text += step) {
        step = 1;
        if (*text == '\'')
            quoted = !quoted;
        if (quoted)
            continue;
        if (*text == '$' && !is_word(before)) {
            int number = read_parameter(text, &step);
            if (number >= 0 && references->by_parameter[number] != PLAN_NONE)
                add_reference(references, references->by_parameter[number], node);
        } else if (*text == '(' && !strncmp(text, "(InitPlan ", 10)) {
            match_name(references, build, text + 1, node);
        }
    }
}

static void scan_node(struct plan_references *references, const struct plan_build *build, int node)
{
    json_object_object_foreach(build->work[node].json, key, value)
    {
        if (!strcmp(key, "Subplan Name"))
            continue;
        if (json_object_is_type(value, json_type_string))
            scan_text(references, build, json_object_get_string(value), node);
        size_t count = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
        for (size_t i = 0; i < count; i++) {
            struct json_object *item = json_object_array_get_idx(value, i);
            if (json_object_is_type(item, json_type_string))
                scan_text(references, build, json_object_get_string(item), node);
        }
    }
}

static int child_of(const struct plan_build *build, int node, enum plan_relationship relationship)
{
    int c = build->work[node].first_child;
    while (c != PLAN_NONE && build->nodes[c].relationship != relationship)
        c = build->work[c].next_sibling;
    return c;
}

/* A hash join builds its table first, unless it looks for a first outer row before (ExecHashJoinImpl). */
static bool inner_first(const struct plan_build *build, int node)
{
    const char *type = build->nodes[node].raw_type;
    int outer = child_of(build, node, PLAN_OUTER), inner = child_of(build, node, PLAN_INNER);
    if (strcmp(type, "Hash Join") != 0 || outer == PLAN_NONE || inner == PLAN_NONE)
        return false;
    struct json_object *join = plan_member(build->work[node].json, "Join Type");
    const char *name = json_object_is_type(join, json_type_string) ? json_object_get_string(join) : "";
    if (build->nodes[inner].parallel_aware || !strncmp(name, "Right", 5) || !strcmp(name, "Full"))
        return true;
    return strcmp(name, "Left") != 0 && strcmp(name, "Anti") != 0 &&
           !(build->nodes[outer].startup_cost < build->nodes[inner].total_cost);
}

/* Numbers the nodes in the order in which the executor evaluates their expressions. */
static void rank_nodes(struct plan_references *references, const struct plan_build *build, int node)
{
    bool gates = plan_member(build->work[node].json, "One-Time Filter") != NULL;
    if (gates)
        references->rank[node] = references->next_rank++;
    bool swap = inner_first(build, node);
    for (int pass = 0; pass < 3; pass++) {
        for (int c = build->work[node].first_child; c != PLAN_NONE; c = build->work[c].next_sibling) {
            enum plan_relationship relationship = build->nodes[c].relationship;
            int turn = build->work[c].separate ? 0 : relationship == PLAN_SUBPLAN ? 2 : 1;
            if (swap && relationship == PLAN_INNER)
                turn = 0;
            if (turn == pass)
                rank_nodes(references, build, c);
        }
    }
    if (!gates)
        references->rank[node] = references->next_rank++;
}

/* A merge sort: qsort passes no context, and the order depends on rank. */
static void sort_references(struct plan_references *references)
{
    for (size_t width = 1; width < references->count; width *= 2) {
        struct reference *merged = plan_must(talloc_array(references, struct reference, references->count));
        for (size_t from = 0; from < references->count; from += 2 * width) {
            size_t middle = from + width < references->count ? from + width : references->count;
            size_t end = from + 2 * width < references->count ? from + 2 * width : references->count;
            for (size_t a = from, b = middle, out = from; out < end; out++) {
                const struct reference *left = &references->list[a], *right = &references->list[b];
                bool take_left =
                    a < middle && (b >= end || left->init < right->init ||
                                   (left->init == right->init &&
                                    references->rank[left->node] <= references->rank[right->node]));
                merged[out] = take_left ? references->list[a++] : references->list[b++];
            }
        }
        talloc_free(references->list);
        references->list = merged;
    }
}

struct plan_references *plan_references_new(const void *context, const struct plan_build *build)
{
    struct plan_references *references = plan_must(talloc_zero(context, struct plan_references));
    references->inits = plan_must(talloc_array(references, int, build->count));
    for (int i = 0; i < build->count && references->init_count < INITPLANS_MAX; i++)
        if (build->nodes[i].relationship == PLAN_INITPLAN)
            references->inits[references->init_count++] = i;
    if (!references->init_count)
        return references;
    references->by_parameter = plan_must(talloc_array(references, int, PARAMETERS_MAX));
    for (int i = 0; i < PARAMETERS_MAX; i++)
        references->by_parameter[i] = PLAN_NONE;
    for (size_t i = 0; i < references->init_count; i++) {
        const char *name = build->nodes[references->inits[i]].subplan_name;
        if (name)
            index_parameters(references, name, references->inits[i]);
    }
    for (int i = 0; i < build->count; i++)
        scan_node(references, build, i);
    references->rank = plan_must(talloc_zero_array(references, int, build->count));
    rank_nodes(references, build, 0);
    sort_references(references);
    return references;
}

static int parent_of(const struct plan_build *build, int i)
{
    return build->nodes[i].parent - 1;
}

static bool is_below(const struct plan_build *build, int node, int ancestor)
{
    while (node != PLAN_NONE && node != ancestor)
        node = parent_of(build, node);
    return node == ancestor;
}

/* A Gather evaluates the parameters that its workers need before it starts them. */
static int lift_to_gather(const struct plan_build *build, int node, int init)
{
    int consumer = node;
    for (int i = node; parent_of(build, i) != PLAN_NONE; i = parent_of(build, i)) {
        int up = parent_of(build, i);
        if (build->work[up].gathers && !build->work[i].separate &&
            (!is_below(build, init, up) || parent_of(build, init) == up))
            consumer = up;
    }
    return consumer;
}

/* Averages are rounded to a microsecond, so that sums may be off by half of one a loop. */
static bool can_pay(const struct plan_build *build, int node, double time, const double *rest)
{
    double loops = build->nodes[node].loops;
    return loops > 0 && rest[node] >= time * 0.99 - 0.001 * loops - 0.002;
}

/* Without a mention (no VERBOSE): the parent, if it has the time, else whoever below it has the most left. */
static int guess_consumer(const struct plan_build *build, int init, double time, const double *rest)
{
    int parent = parent_of(build, init), best = parent;
    if (can_pay(build, parent, time, rest))
        return parent;
    for (int i = parent + 1; i < build->count && build->nodes[i].depth > build->nodes[parent].depth; i++) {
        int consumer = lift_to_gather(build, i, init);
        if (!is_below(build, i, init) && can_pay(build, consumer, time, rest) && rest[consumer] > rest[best])
            best = consumer;
    }
    return best;
}

int plan_first_consumer(const struct plan_references *references, const struct plan_build *build, int init,
                        double time, const double *rest)
{
    size_t from = 0, to = references->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (references->list[middle].init < init)
            from = middle + 1;
        else
            to = middle;
    }
    int first = PLAN_NONE;
    for (size_t i = from; i < references->count && references->list[i].init == init; i++) {
        int node = references->list[i].node;
        if (is_below(build, node, init) || !(build->nodes[node].loops > 0))
            continue;
        node = lift_to_gather(build, node, init);
        if (can_pay(build, node, time, rest))
            return node;
        first = first == PLAN_NONE ? node : first;
    }
    /* An Append that prunes partitions evaluates what its children's filters mention. */
    for (int i = first; i != PLAN_NONE; i = parent_of(build, i))
        if (!is_below(build, i, init) && can_pay(build, i, time, rest))
            return i;
    return first != PLAN_NONE ? first : guess_consumer(build, init, time, rest);
}
