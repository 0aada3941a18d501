/* Nodes worded as EXPLAIN's text format words them (ExplainNode in explain.c). */
#include <string.h>

#include "backends/postgres/plan_internal.h"
#include "core/text.h"
#include "core/units.h"

static bool is_flag(struct json_object *json, const char *key)
{
    struct json_object *member = plan_member(json, key);
    return json_object_is_type(member, json_type_boolean) && json_object_get_boolean(member);
}

static const char *pick(const void *context, struct json_object *json, const char *key)
{
    const char *text = plan_text(context, json, key);
    return text ? text : "";
}

/* "Hash Left Join", "HashAggregate", "Insert": the name without its prefixes. */
static const char *plain_name(const void *context, struct json_object *json, const char *type)
{
    const char *strategy = pick(context, json, "Strategy"), *join = pick(context, json, "Join Type");
    const char *operation = pick(context, json, "Operation");
    bool hashed = !strcmp(strategy, "Hashed");
    if (!strcmp(type, "Aggregate"))
        return hashed                        ? "HashAggregate"
               : !strcmp(strategy, "Sorted") ? "GroupAggregate"
               : !strcmp(strategy, "Mixed")  ? "MixedAggregate"
                                             : "Aggregate";
    if (!strcmp(type, "SetOp"))
        return plan_must(
            talloc_asprintf(context, "%sSetOp %s", hashed ? "Hash" : "", pick(context, json, "Command")));
    if (!strcmp(type, "ModifyTable"))
        return *operation ? operation : type;
    if (!strcmp(type, "Foreign Scan") && *operation && strcmp(operation, "Select") != 0)
        return plan_must(talloc_asprintf(context, "Foreign %s", operation));
    if (!strcmp(type, "Custom Scan"))
        return plan_must(
            talloc_asprintf(context, "Custom Scan (%s)", pick(context, json, "Custom Plan Provider")));
    if (*join && strcmp(join, "Inner") != 0) {
        size_t length = strlen(type), word = length > 5 && !strcmp(type + length - 5, " Join") ? 5 : 0;
        return plan_must(talloc_asprintf(context, "%.*s %s Join", (int)(length - word), type, join));
    }
    return type;
}

static char *type_words(const void *context, struct json_object *json, const char *type)
{
    const char *mode = pick(context, json, "Partial Mode");
    bool partial = !strcmp(mode, "Partial") || !strcmp(mode, "Finalize");
    const char *direction = pick(context, json, "Scan Direction");
    return plan_must(talloc_asprintf(
        context, "%s%s%s%s%s%s", is_flag(json, "Parallel Aware") ? "Parallel " : "",
        is_flag(json, "Async Capable") ? "Async " : "", partial ? mode : "", partial ? " " : "",
        plain_name(context, json, type), !strcmp(direction, "Backward") ? " Backward" : ""));
}

/* What a scan reads: "invoice i", "generate_series g". NULL: nothing. */
static char *target_words(const void *context, const struct plan_node *node, struct json_object *json)
{
    static const char *const keys[] = {"Relation Name", "Function Name", "CTE Name", "Tuplestore Name",
                                       "Table Function Name"};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !name; i++)
        name = plan_text(context, json, keys[i]);
    if (!name)
        return node->alias ? plan_must(talloc_strdup(context, node->alias)) : NULL;
    bool alias = node->alias && strcmp(node->alias, name) != 0;
    return plan_must(talloc_asprintf(context, "%s%s%s", name, alias ? " " : "", alias ? node->alias : ""));
}

void plan_word_node(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    struct json_object *json = build->work[i].json;
    void *scratch = plan_must(talloc_new(build->plan));
    char *type = type_words(scratch, json, node->raw_type);
    char *target = target_words(scratch, node, json);
    bool bitmap = !strcmp(node->raw_type, "Bitmap Index Scan");
    node->node_type = talloc_steal(build->plan, type);
    node->title = plan_must(talloc_asprintf(
        build->plan, "%s%s%s%s%s", type, node->index ? (bitmap ? " on " : " using ") : "",
        node->index ? node->index : "", target && !bitmap ? " on " : "", target && !bitmap ? target : ""));
    talloc_free(scratch);
}

/* ---- notes ---- */

static char *note_sort(const void *context, const struct plan_node *node)
{
    char space[32];
    if (node->sort_space_kb < 0)
        return plan_must(talloc_strdup(context, node->sort_method));
    format_bytes(space, sizeof space, (double)node->sort_space_kb * 1024);
    return plan_must(
        talloc_asprintf(context, "%s, %s%s", node->sort_method, node->sort_on_disk ? "disk " : "", space));
}

static char *note_hash(const void *context, const struct plan_node *node)
{
    char batches[32], memory[32], planned[32];
    format_count(batches, sizeof batches, (double)node->hash_batches);
    format_count(planned, sizeof planned, (double)node->hash_batches_original);
    format_bytes(memory, sizeof memory, (double)node->peak_memory_kb * 1024);
    char *note = plan_must(talloc_strdup(context, ""));
    if (node->hash_batches > 1)
        note = plan_must(talloc_asprintf_append(note, "%s batches, ", batches));
    if (node->hash_batches_original >= 0 && node->hash_batches > node->hash_batches_original)
        note = plan_must(talloc_asprintf_append(note, "%s planned, ", planned));
    return plan_must(talloc_asprintf_append(note, "%s", node->peak_memory_kb >= 0 ? memory : "memory ?"));
}

static char *note_hashagg(const void *context, const struct plan_node *node)
{
    char batches[32], disk[32];
    format_count(batches, sizeof batches, (double)node->hashagg_batches);
    format_bytes(disk, sizeof disk, (double)node->disk_kb * 1024);
    return plan_must(
        talloc_asprintf(context, "%s batches, disk %s", batches, node->disk_kb >= 0 ? disk : "?"));
}

static char *note_lossy(const void *context, const struct plan_node *node)
{
    char share[32];
    double blocks = (double)node->lossy_blocks + (double)(node->exact_blocks > 0 ? node->exact_blocks : 0);
    format_percent(share, sizeof share, 100 * (double)node->lossy_blocks / blocks);
    return plan_must(talloc_asprintf(context, "%s of the blocks lossy", share));
}

static char *note_fetches(const void *context, const struct plan_node *node)
{
    char fetches[32];
    return plan_must(talloc_asprintf(context, "%s heap fetches",
                                     format_count(fetches, sizeof fetches, (double)node->heap_fetches)));
}

void plan_note_node(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    if (node->never_executed)
        node->note = "never executed";
    else if (node->sort_method)
        node->note = note_sort(build->plan, node);
    else if (node->hash_batches >= 0)
        node->note = note_hash(build->plan, node);
    else if (node->hashagg_batches > 1)
        node->note = note_hashagg(build->plan, node);
    else if (node->lossy_blocks > 0)
        node->note = note_lossy(build->plan, node);
    else if (node->heap_fetches > 0)
        node->note = note_fetches(build->plan, node);
    else if (node->workers_launched >= 0)
        node->note =
            plan_must(talloc_asprintf(build->plan, "%lld of %lld workers", (long long)node->workers_launched,
                                      (long long)node->workers_planned));
    else if (node->workers_planned >= 0)
        node->note =
            plan_must(talloc_asprintf(build->plan, "%lld workers", (long long)node->workers_planned));
}
