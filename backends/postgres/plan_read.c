/* From EXPLAIN's JSON to a list of nodes: what PostgreSQL printed, before any arithmetic. */
#include <errno.h>
#include <string.h>

#include "backends/postgres/plan_internal.h"
#include "core/text.h"

#define JSON_DEPTH_MAX 1000 /* two levels a node: plans of more than 500 nested nodes are refused */
#define NODES_MAX (1 << 17)

#define TODO_FORMAT "Make it with: EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) statement"

const struct plan_block_key plan_block_keys[] = {
    {"Shared Hit Blocks", offsetof(struct plan_blocks, shared_hit)},
    {"Shared Read Blocks", offsetof(struct plan_blocks, shared_read)},
    {"Shared Dirtied Blocks", offsetof(struct plan_blocks, shared_dirtied)},
    {"Shared Written Blocks", offsetof(struct plan_blocks, shared_written)},
    {"Local Hit Blocks", offsetof(struct plan_blocks, local_hit)},
    {"Local Read Blocks", offsetof(struct plan_blocks, local_read)},
    {"Local Dirtied Blocks", offsetof(struct plan_blocks, local_dirtied)},
    {"Local Written Blocks", offsetof(struct plan_blocks, local_written)},
    {"Temp Read Blocks", offsetof(struct plan_blocks, temp_read)},
    {"Temp Written Blocks", offsetof(struct plan_blocks, temp_written)},
    {"WAL Records", offsetof(struct plan_blocks, wal_records)},
    {"WAL FPI", offsetof(struct plan_blocks, wal_fpi)},
    {"WAL Bytes", offsetof(struct plan_blocks, wal_bytes)},
};
const size_t plan_block_key_count = sizeof plan_block_keys / sizeof plan_block_keys[0];

struct json_object *plan_member(struct json_object *object, const char *key)
{
    struct json_object *member;
    return json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, key, &member)
               ? member
               : NULL;
}

double plan_number(struct json_object *object, const char *key)
{
    struct json_object *member = plan_member(object, key);
    if (!json_object_is_type(member, json_type_double) && !json_object_is_type(member, json_type_int))
        return NAN;
    double number = json_object_get_double(member);
    return isfinite(number) && fabs(number) < 1e100 ? number : NAN;
}

int64_t plan_integer(struct json_object *object, const char *key)
{
    struct json_object *member = plan_member(object, key);
    if (!json_object_is_type(member, json_type_int))
        return -1;
    int64_t integer = json_object_get_int64(member);
    return integer < 0 ? -1 : integer > (int64_t)1 << 45 ? (int64_t)1 << 45 : integer;
}

const char *plan_text(const void *context, struct json_object *object, const char *key)
{
    struct json_object *member = plan_member(object, key);
    return json_object_is_type(member, json_type_string)
               ? safe_text_new(context, json_object_get_string(member))
               : NULL;
}

/* ---- the text around the JSON ---- */

static bool starts_decoration(char c)
{
    return c == ' ' || c == '\t' || c == '|' || c == '\r';
}

/* Skips what stands before the JSON: the first line that begins with [ or {, after psql's borders. */
static const char *find_start(const char *text, const char *end)
{
    if (end - text >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        text += 3;
    for (const char *line = text; line < end;) {
        const char *c = line;
        while (c < end && (starts_decoration(*c) || (end - c >= 3 && !memcmp(c, "│", 3))))
            c += starts_decoration(*c) ? 1 : 3;
        if (c < end && (*c == '[' || *c == '{'))
            return c;
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        line = newline ? newline + 1 : end;
    }
    return NULL;
}

/* psql marks a line that goes on with "+" (or "↵") and may draw borders. JSON texts hold no bare line end, so
 * that whatever stands there is psql's. Works on a copy, in place. Returns the new length. */
static size_t remove_decoration(char *text, size_t length)
{
    size_t kept = 0;
    for (size_t i = 0; i < length;) {
        const char *newline = memchr(text + i, '\n', length - i);
        size_t end = newline ? (size_t)(newline - text) : length, next = newline ? end + 1 : length;
        while (i < end && (starts_decoration(text[i]) || (end - i >= 3 && !memcmp(text + i, "│", 3))))
            i += starts_decoration(text[i]) ? 1 : 3;
        for (bool more = true; more && end > i;) {
            if (starts_decoration(text[end - 1]) || text[end - 1] == '+')
                end--;
            else if (end - i >= 3 && (!memcmp(text + end - 3, "│", 3) || !memcmp(text + end - 3, "↵", 3)))
                end -= 3;
            else
                more = false;
        }
        memmove(text + kept, text + i, end - i);
        kept += end - i;
        text[kept++] = '\n'; /* never longer than what was read, but for the last line: room is left */
        i = next;
    }
    return kept;
}

static bool refuse_syntax(struct error *error, const char *text, size_t offset, enum json_tokener_error why)
{
    if (why == json_tokener_error_depth)
        return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", NULL,
                         "it is nested deeper than %d levels", JSON_DEPTH_MAX / 2);
    if (why == json_tokener_continue)
        return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", "Copy or save all of it.",
                         "the JSON ends too early");
    size_t line = 1;
    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", TODO_FORMAT,
                     "not JSON at line %zu of it: %s", line, json_tokener_error_desc(why));
}

/* Parses the JSON value at the start of text; *used receives its length. NULL with an error otherwise. */
static struct json_object *parse_json(const char *text, size_t length, size_t *used, struct error *error)
{
    struct json_tokener *tokener = plan_must(json_tokener_new_ex(JSON_DEPTH_MAX));
    struct json_object *json = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error why = json_tokener_get_error(tokener);
    *used = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (why == json_tokener_success && json)
        return json;
    json_object_put(json);
    refuse_syntax(error, text, *used < length ? *used : length, why);
    return NULL;
}

static bool refuse_text(struct error *error, const char *text, size_t length)
{
    size_t i = 0;
    while (i < length && strchr(" \t\r\n", text[i]))
        i++;
    if (i == length)
        return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", TODO_FORMAT, "it is empty");
    if (memmem(text, length, "(cost=", 6))
        return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", TODO_FORMAT,
                         "it is EXPLAIN's text format, which does not hold everything");
    return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", TODO_FORMAT, "it holds no JSON");
}

/* The plan's JSON as a tree; the caller puts it. */
static struct json_object *parse_plan(const char *text, size_t length, size_t *statements,
                                      struct error *error)
{
    if (length > PLAN_SIZE_MAX) {
        error_set(error, ERROR_USAGE, NULL, "cannot read the plan", NULL, "it is larger than %zu MB",
                  PLAN_SIZE_MAX >> 20);
        return NULL;
    }
    const char *start = find_start(text, text + length);
    if (!start) {
        refuse_text(error, text, length);
        return NULL;
    }
    size_t rest = (size_t)(text + length - start), used;
    char *copy = plan_must(malloc(rest + 2));
    memcpy(copy, start, rest);
    rest = remove_decoration(copy, rest);
    struct json_object *json = parse_json(copy, rest, &used, error);
    if (json) {
        const char *next = find_start(copy + used, copy + rest);
        size_t elements = json_object_is_type(json, json_type_array) ? json_object_array_length(json) : 1;
        *statements = elements + (next ? 1 : 0);
    }
    free(copy);
    return json;
}

/* The object that holds the root node ("Plan"), or NULL. */
static struct json_object *find_statement(struct json_object *json, struct json_object **root)
{
    if (json_object_is_type(json, json_type_array))
        json = json_object_array_length(json) ? json_object_array_get_idx(json, 0) : NULL;
    *root = plan_member(json, "Plan");
    if (!*root && plan_member(json, "Node Type"))
        *root = json;
    return json_object_is_type(*root, json_type_object) ? json : NULL;
}

/* ---- nodes ---- */

static enum plan_relationship read_relationship(struct json_object *json, int parent)
{
    static const struct {
        const char *name;
        enum plan_relationship relationship;
    } names[] = {
        {"Outer", PLAN_OUTER},       {"Inner", PLAN_INNER},     {"Member", PLAN_MEMBER},
        {"Subquery", PLAN_SUBQUERY}, {"SubPlan", PLAN_SUBPLAN}, {"InitPlan", PLAN_INITPLAN},
    };
    if (parent == PLAN_NONE)
        return PLAN_ROOT;
    struct json_object *name = plan_member(json, "Parent Relationship");
    struct json_object *subplan = plan_member(json, "Subplan Name");
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(json_object_get_string(name), names[i].name)) {
            bool cte = names[i].relationship == PLAN_INITPLAN && subplan &&
                       !strncmp(json_object_get_string(subplan), "CTE ", 4);
            return cte ? PLAN_CTE : names[i].relationship;
        }
    return PLAN_OUTER;
}

static double sum_known(const double *numbers, size_t count)
{
    double sum = NAN;
    for (size_t i = 0; i < count; i++)
        if (!isnan(numbers[i]))
            sum = (isnan(sum) ? 0 : sum) + numbers[i];
    return sum;
}

/* The names of the I/O times changed with PostgreSQL 15 (temporary files) and 17 (shared and local apart). */
static double read_io(struct json_object *json, bool read)
{
    static const char *const keys[2][4] = {
        {"I/O Write Time", "Shared I/O Write Time", "Local I/O Write Time", "Temp I/O Write Time"},
        {"I/O Read Time", "Shared I/O Read Time", "Local I/O Read Time", "Temp I/O Read Time"},
    };
    double times[4];
    for (size_t i = 0; i < 4; i++)
        times[i] = plan_number(json, keys[read][i]);
    return sum_known(times, 4);
}

static void read_blocks(struct plan_blocks *blocks, struct json_object *json)
{
    for (size_t i = 0; i < plan_block_key_count; i++)
        *plan_block(blocks, i) = plan_integer(json, plan_block_keys[i].key);
    blocks->io_read_ms = read_io(json, true);
    blocks->io_write_ms = read_io(json, false);
}

/* Sort reports the leader in the node and each worker under Workers. */
static void read_sort(struct plan_node *node, struct json_object *json)
{
    struct json_object *type = plan_member(json, "Sort Space Type");
    int64_t space = plan_integer(json, "Sort Space Used");
    if (type && !strcmp(json_object_get_string(type), "Disk"))
        node->sort_on_disk = true;
    if (space >= 0)
        node->sort_space_kb = (node->sort_space_kb < 0 ? 0 : node->sort_space_kb) + space;
}

static void add_kb(int64_t *sum, int64_t kb)
{
    if (kb >= 0)
        *sum = (*sum < 0 ? 0 : *sum) + kb;
}

static void read_workers(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    struct plan_work *work = &build->work[i];
    struct json_object *workers = plan_member(work->json, "Workers");
    size_t count = json_object_is_type(workers, json_type_array) ? json_object_array_length(workers) : 0;
    if (count > 1024) /* max_parallel_workers cannot be higher */
        count = 1024;
    if (count)
        work->worker_ms = plan_must(talloc_zero_array(build->work, double, count));
    for (size_t w = 0; w < count; w++) {
        struct json_object *worker = json_object_array_get_idx(workers, w);
        double ms = plan_number(worker, "Actual Total Time") * plan_number(worker, "Actual Loops");
        if (!isnan(ms) && ms >= 0)
            work->worker_ms[work->worker_count++] = ms;
        read_sort(node, worker);
        if (!node->sort_method)
            node->sort_method = plan_text(build->plan, worker, "Sort Method");
        int64_t batches = plan_integer(worker, "HashAgg Batches");
        if (batches > node->hashagg_batches)
            node->hashagg_batches = batches;
        add_kb(&node->disk_kb, plan_integer(worker, "Disk Usage"));
    }
}

static void read_counters(struct plan_node *node, struct json_object *json)
{
    node->hash_batches = plan_integer(json, "Hash Batches");
    node->hash_batches_original = plan_integer(json, "Original Hash Batches");
    node->hash_buckets = plan_integer(json, "Hash Buckets");
    node->hash_buckets_original = plan_integer(json, "Original Hash Buckets");
    node->hashagg_batches = plan_integer(json, "HashAgg Batches");
    node->disk_kb = plan_integer(json, "Disk Usage");
    node->peak_memory_kb = plan_integer(json, "Peak Memory Usage");
    node->heap_fetches = plan_integer(json, "Heap Fetches");
    node->exact_blocks = plan_integer(json, "Exact Heap Blocks");
    node->lossy_blocks = plan_integer(json, "Lossy Heap Blocks");
    node->workers_planned = plan_integer(json, "Workers Planned");
    node->workers_launched = plan_integer(json, "Workers Launched");
    node->sort_space_kb = -1;
    read_sort(node, json);
}

static void read_measures(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    struct plan_work *work = &build->work[i];
    struct json_object *json = work->json;
    node->startup_cost = plan_number(json, "Startup Cost");
    node->total_cost = plan_number(json, "Total Cost");
    node->width = plan_number(json, "Plan Width");
    work->plan_rows = plan_number(json, "Plan Rows");
    node->loops = plan_number(json, "Actual Loops");
    if (node->loops < 0)
        node->loops = NAN;
    node->never_executed = node->loops == 0;
    node->startup_ms = plan_number(json, "Actual Startup Time");
    work->average_ms = plan_number(json, "Actual Total Time");
    node->total_ms = work->average_ms * node->loops;
    node->rows = plan_number(json, "Actual Rows") * node->loops;
    work->rows_exact = json_object_is_type(plan_member(json, "Actual Rows"), json_type_double);
    node->removed_filter = plan_number(json, "Rows Removed by Filter") * node->loops;
    node->removed_join_filter = plan_number(json, "Rows Removed by Join Filter") * node->loops;
    node->removed_recheck = plan_number(json, "Rows Removed by Index Recheck") * node->loops;
    node->wall_ms = node->self_ms = node->self_percent = node->cost_share = NAN;
    node->rows_estimated = node->misestimate = NAN;
}

static void read_names(struct plan_build *build, int i)
{
    struct plan *plan = build->plan;
    struct plan_node *node = &build->nodes[i];
    struct json_object *json = build->work[i].json;
    node->raw_type = plan_text(plan, json, "Node Type");
    if (!node->raw_type)
        node->raw_type = "?";
    node->relation = plan_text(plan, json, "Relation Name");
    node->alias = plan_text(plan, json, "Alias");
    node->schema = plan_text(plan, json, "Schema");
    node->index = plan_text(plan, json, "Index Name");
    node->subplan_name = plan_text(plan, json, "Subplan Name");
    node->sort_method = plan_text(plan, json, "Sort Method");
    static const char *const filters[] = {"Filter", "Join Filter", "One-Time Filter"};
    for (size_t f = 0; f < 3 && !node->filter; f++)
        node->filter = plan_text(plan, json, filters[f]);
    struct json_object *aware = plan_member(json, "Parallel Aware");
    node->parallel_aware = json_object_is_type(aware, json_type_boolean) && json_object_get_boolean(aware);
}

static int add_node(struct plan_build *build, struct json_object *json, int parent)
{
    int i = build->count++;
    size_t room = talloc_array_length(build->nodes);
    if (!build->nodes || !build->work || (size_t)i >= room) {
        room = room ? room * 2 : 32;
        build->nodes = plan_must(talloc_realloc(build->plan, build->nodes, struct plan_node, room));
        build->work = plan_must(talloc_realloc(build->plan, build->work, struct plan_work, room));
    }
    struct plan_node *node = &build->nodes[i];
    struct plan_work *work = &build->work[i];
    *node = (struct plan_node){.id = i + 1,
                               .parent = parent + 1,
                               .depth = parent == PLAN_NONE ? 0 : build->nodes[parent].depth + 1,
                               .relationship = read_relationship(json, parent)};
    *work = (struct plan_work){.json = json, .first_child = PLAN_NONE, .next_sibling = PLAN_NONE};
    work->separate = node->relationship == PLAN_INITPLAN || node->relationship == PLAN_CTE;
    read_names(build, i);
    /* read_names sets the type. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
    work->gathers = !strcmp(node->raw_type, "Gather") || !strcmp(node->raw_type, "Gather Merge");
    read_measures(build, i);
    read_counters(node, json);
    read_blocks(&node->blocks, json);
    read_workers(build, i);
    return i;
}

/* Depth first, in the order of the JSON, which is that of EXPLAIN's text. */
static bool read_nodes(struct plan_build *build, struct json_object *json, int parent, struct error *error)
{
    if (build->count >= NODES_MAX)
        return error_set(error, ERROR_USAGE, NULL, "cannot read the plan", NULL, "it has more than %d nodes",
                         NODES_MAX);
    int i = add_node(build, json, parent), last = PLAN_NONE;
    struct json_object *children = plan_member(json, "Plans");
    size_t count = json_object_is_type(children, json_type_array) ? json_object_array_length(children) : 0;
    for (size_t c = 0; c < count; c++) {
        struct json_object *child = json_object_array_get_idx(children, c);
        if (!json_object_is_type(child, json_type_object))
            continue;
        int next = build->count;
        if (!read_nodes(build, child, i, error))
            return false;
        if (last == PLAN_NONE)
            build->work[i].first_child = next;
        else
            build->work[last].next_sibling = next;
        last = next;
    }
    return true;
}

/* ---- the statement ---- */

static void read_triggers(struct plan *plan, struct json_object *statement)
{
    struct json_object *triggers = plan_member(statement, "Triggers");
    size_t count = json_object_is_type(triggers, json_type_array) ? json_object_array_length(triggers) : 0;
    struct plan_trigger *list = plan_must(talloc_zero_array(plan, struct plan_trigger, count));
    for (size_t i = 0; i < count; i++) {
        struct json_object *json = json_object_array_get_idx(triggers, i);
        const char *constraint = plan_text(list, json, "Constraint Name");
        list[i] = (struct plan_trigger){
            .name = constraint ? constraint : plan_text(list, json, "Trigger Name"),
            .relation = plan_text(list, json, "Relation"),
            .constraint = constraint != NULL,
            .ms = plan_number(json, "Time"),
            .calls = plan_number(json, "Calls"),
        };
    }
    plan->triggers = list;
    plan->trigger_count = count;
}

/* PostgreSQL prints a signed number; json-c keeps large unsigned ones too. */
static const char *read_query_id(const struct plan *plan, struct json_object *statement)
{
    struct json_object *id = plan_member(statement, "Query Identifier");
    return json_object_is_type(id, json_type_int)
               ? plan_must(talloc_strdup(plan, json_object_to_json_string_ext(id, JSON_C_TO_STRING_PLAIN)))
               : NULL;
}

static void read_statement(struct plan *plan, struct json_object *statement)
{
    plan->planning_ms = plan_number(statement, "Planning Time");
    plan->execution_ms = plan_number(statement, "Execution Time");
    plan->query = plan_text(plan, statement, "Query Text");
    plan->query_id = read_query_id(plan, statement);
    struct json_object *jit = plan_member(statement, "JIT"), *timing = plan_member(jit, "Timing");
    plan->jit_ms = plan_number(timing, "Total");
    plan->jit_functions = plan_integer(jit, "Functions");
    plan->settings = plan_detail_object(plan, plan_member(statement, "Settings"), &plan->setting_count);
    read_triggers(plan, statement);
}

static void compute(struct plan_build *build)
{
    struct plan *plan = build->plan;
    /* A plan has a node at least. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    plan->has_actual = !isnan(build->nodes[0].loops);
    plan->has_timing = plan->has_actual && !isnan(build->nodes[0].total_ms);
    plan->total_ms = NAN;
    plan_compute_times(build);
    plan_compute_rows(build);
    for (int i = 0; i < build->count; i++) {
        plan_word_node(build, i);
        plan_note_node(build, i);
        plan_detail_node(build, i);
    }
    plan->nodes = build->nodes;
    plan->node_count = (size_t)build->count;
}

struct plan *plan_read(const void *context, const char *json, size_t length, struct error *error)
{
    size_t statements = 0;
    struct json_object *tree = parse_plan(json, length, &statements, error), *root;
    if (!tree)
        return NULL;
    struct plan *plan = plan_must(talloc_zero(context, struct plan));
    struct plan_build build = {.plan = plan};
    struct json_object *statement = find_statement(tree, &root);
    bool good;
    if (statement) {
        plan->statements = statements;
        read_statement(plan, statement);
        good = read_nodes(&build, root, PLAN_NONE, error);
    } else {
        good = error_set(error, ERROR_USAGE, NULL, "cannot read the plan", TODO_FORMAT,
                         "the JSON holds no \"Plan\": it is not what EXPLAIN prints");
    }
    if (good)
        compute(&build);
    talloc_free(build.work);
    json_object_put(tree);
    if (good)
        return plan;
    talloc_free(plan);
    return NULL;
}
