/* The lines of a node's detail: everything EXPLAIN printed about it, with units, totals told from averages.
 */
#include <string.h>

#include "backends/postgres/plan_internal.h"
#include "core/text.h"
#include "core/units.h"

#define FLATTEN_DEPTH_MAX 8

struct details {
    struct plan_detail *list;
    size_t count;
};

static void add(const void *context, struct details *details, const char *label, const char *text)
{
    size_t room = talloc_array_length(details->list);
    if (!details->list || details->count == room)
        details->list =
            plan_must(talloc_realloc(context, details->list, struct plan_detail, room ? room * 2 : 16));
    details->list[details->count++] =
        (struct plan_detail){.label = safe_text_new(context, label), .text = text};
}

/* What the title, the tree or another line of detail says already. */
static bool is_said_elsewhere(const char *key)
{
    static const char *const keys[] = {
        "Node Type",
        "Operation",
        "Strategy",
        "Partial Mode",
        "Join Type",
        "Scan Direction",
        "Alias",
        "Parent Relationship",
        "Parallel Aware",
        "Async Capable",
        "Plans",
        "Workers",
        "Total Cost",
        "Plan Width",
        "Actual Total Time",
        "Actual Loops",
        "Relation Name",
        "Index Name",
        "CTE Name",
        "Function Name",
        "Custom Plan Provider",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!strcmp(key, keys[i]))
            return true;
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

/* Counters that EXPLAIN's text leaves out when they are zero. */
static bool is_silent_at_zero(const char *key)
{
    return ends_with(key, " Blocks") || ends_with(key, "I/O Read Time") || ends_with(key, "I/O Write Time") ||
           !strncmp(key, "WAL ", 4) || !strncmp(key, "Rows Removed by ", 16);
}

static bool is_kilobytes(const char *key)
{
    return ends_with(key, "Memory Usage") || ends_with(key, "Space Used") || ends_with(key, "Disk Usage") ||
           !strcmp(key, "Maximum Storage");
}

static char *number_words(const void *context, const char *key, double number)
{
    char text[48], size[48];
    if (is_kilobytes(key))
        format_bytes(text, sizeof text, number * 1024);
    else if (ends_with(key, " Bytes"))
        format_bytes(text, sizeof text, number);
    else if (ends_with(key, " Time"))
        format_ms(text, sizeof text, number);
    else if (number == floor(number))
        format_count(text, sizeof text, number);
    else
        snprintf(text, sizeof text, "%.10g", number);
    if (ends_with(key, " Blocks"))
        return plan_must(
            talloc_asprintf(context, "%s (%s)", text, format_bytes(size, sizeof size, number * 8192)));
    return plan_must(talloc_strdup(context, text));
}

/* Any JSON value on one line. NULL: not worth a line. */
static char *flatten(const void *context, const char *key, struct json_object *value, int depth)
{
    if (json_object_is_type(value, json_type_string))
        return safe_text_new(context, json_object_get_string(value));
    if (json_object_is_type(value, json_type_boolean))
        return json_object_get_boolean(value) ? plan_must(talloc_strdup(context, "yes")) : NULL;
    if (json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double)) {
        double number = json_object_get_double(value);
        return isfinite(number) && !(number == 0 && is_silent_at_zero(key))
                   ? number_words(context, key, number)
                   : NULL;
    }
    if (!value || depth >= FLATTEN_DEPTH_MAX)
        return NULL;
    char *text = plan_must(talloc_strdup(context, "")), *part;
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            if ((part = flatten(text, key, json_object_array_get_idx(value, i), depth + 1)))
                text = plan_must(talloc_asprintf_append_buffer(text, "%s%s", *text ? ", " : "", part));
        return *text ? text : NULL;
    }
    json_object_object_foreach(value, name, member)
    {
        if ((part = flatten(text, name, member, depth + 1))) {
            char *safe = safe_text_new(text, name);
            text = plan_must(talloc_asprintf_append_buffer(text, "%s%s: %s", *text ? ", " : "", safe, part));
        }
    }
    return *text ? text : NULL;
}

/* ---- averages and totals ---- */

static char *cost_words(const void *context, const struct plan_node *node)
{
    return plan_must(
        talloc_asprintf(context, "%.2f to the first row, %.2f in all", node->startup_cost, node->total_cost));
}

static char *estimate_words(const void *context, const struct plan_build *build, int i)
{
    const struct plan_node *node = &build->nodes[i];
    char rows[48], all[48];
    format_count(rows, sizeof rows, build->work[i].plan_rows);
    char *text = plan_must(talloc_asprintf(context, "%s a loop", rows));
    if (node->loops > 1)
        text = plan_must(talloc_asprintf_append(text, ", %s in all loops",
                                                format_count(all, sizeof all, node->rows_estimated)));
    return isnan(node->width) ? text
                              : plan_must(talloc_asprintf_append(text, ", %.0f bytes each", node->width));
}

static char *time_words(const void *context, const struct plan_build *build, int i)
{
    const struct plan_node *node = &build->nodes[i];
    char first[48], average[48], all[48], loops[48];
    format_ms(first, sizeof first, node->startup_ms);
    format_ms(average, sizeof average, build->work[i].average_ms);
    if (!(node->loops > 1))
        return plan_must(talloc_asprintf(context, "%s, first row after %s", average, first));
    format_ms(all, sizeof all, node->total_ms);
    format_count(loops, sizeof loops, node->loops);
    return plan_must(talloc_asprintf(context, "%s in all %s loops (average %s, first row after %s)", all,
                                     loops, average, first));
}

/* "610 in all 10 loops (average 61)" of a number that EXPLAIN gives as an average. */
static char *average_words(const void *context, const struct plan_node *node, double average)
{
    char one[48], all[48], loops[48];
    if (average == floor(average))
        format_count(one, sizeof one, average);
    else
        snprintf(one, sizeof one, "%.2f", average);
    if (!(node->loops > 1))
        return plan_must(talloc_strdup(context, one));
    format_count(all, sizeof all, average * node->loops);
    format_count(loops, sizeof loops, node->loops);
    return plan_must(talloc_asprintf(context, "%s%s in all %s loops (average %s)",
                                     average == floor(average) ? "≈" : "", all, loops, one));
}

/* The keys that say something together with others. False: an ordinary key. */
static bool add_measure(struct plan_build *build, int i, const char *key, struct json_object *value,
                        struct details *details)
{
    const struct plan_node *node = &build->nodes[i];
    const void *context = build->plan;
    double number = json_object_get_double(value);
    if (!strcmp(key, "Startup Cost") && !isnan(node->startup_cost) && !isnan(node->total_cost))
        add(context, details, "Cost", cost_words(context, node));
    else if (!strcmp(key, "Plan Rows") && !isnan(build->work[i].plan_rows))
        add(context, details, "Rows expected", estimate_words(context, build, i));
    else if (!strcmp(key, "Actual Startup Time") && !isnan(node->total_ms))
        add(context, details, "Time",
            node->never_executed ? "never executed" : time_words(context, build, i));
    else if (!strcmp(key, "Actual Rows") && !isnan(node->rows))
        add(context, details, "Rows", average_words(context, node, number));
    else if (!strncmp(key, "Rows Removed by ", 16) && isfinite(number) && !isnan(node->loops)) {
        if (number != 0)
            add(context, details, key, average_words(context, node, number));
    } else
        return false;
    return true;
}

static void add_worker(struct plan_build *build, struct json_object *worker, struct details *details)
{
    char label[64], ms[48], rows[48];
    int64_t number = plan_integer(worker, "Worker Number");
    double loops = plan_number(worker, "Actual Loops");
    double time = plan_number(worker, "Actual Total Time") * loops;
    snprintf(label, sizeof label, "Worker %lld", (long long)number);
    char *text = plan_must(talloc_strdup(build->plan, ""));
    if (!isnan(time))
        text = plan_must(talloc_asprintf_append(
            text, "%s, %s rows", format_ms(ms, sizeof ms, time),
            format_count(rows, sizeof rows, fmax(0, plan_number(worker, "Actual Rows")) * loops)));
    const char *method = plan_text(text, worker, "Sort Method");
    int64_t space = plan_integer(worker, "Sort Space Used");
    if (method)
        text = plan_must(
            talloc_asprintf_append(text, "%s%s %s", *text ? ", " : "", method,
                                   space >= 0 ? format_bytes(rows, sizeof rows, (double)space * 1024) : ""));
    if (*text && number >= 0)
        add(build->plan, details, label, text);
}

void plan_detail_node(struct plan_build *build, int i)
{
    struct plan_node *node = &build->nodes[i];
    struct details details = {0};
    json_object_object_foreach(build->work[i].json, key, value)
    {
        if (is_said_elsewhere(key) || add_measure(build, i, key, value, &details))
            continue;
        char *text = flatten(build->plan, key, value, 0);
        if (text)
            add(build->plan, &details, key, text);
    }
    struct json_object *workers = plan_member(build->work[i].json, "Workers");
    size_t count = json_object_is_type(workers, json_type_array) ? json_object_array_length(workers) : 0;
    for (size_t w = 0; w < count; w++)
        add_worker(build, json_object_array_get_idx(workers, w), &details);
    node->details = details.list;
    node->detail_count = details.count;
}

struct plan_detail *plan_detail_object(const void *context, struct json_object *object, size_t *count)
{
    struct details details = {0};
    if (json_object_is_type(object, json_type_object)) {
        json_object_object_foreach(object, key, value)
        {
            char *text = flatten(context, key, value, 0);
            if (text)
                add(context, &details, key, text);
        }
    }
    *count = details.count;
    return details.list;
}
