#include "panels/plan_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/explain.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/console.h"
#include "panels/plan_dialog.h"

enum { FINDINGS_SHOWN = 5 };

/* One node as the table shows it. */
struct plan_row {
    const struct plan_node *node;
    char *estimate; /* "25× low" */
    char *title;    /* "Seq Scan on invoice i  filter ..." */
    char id[16];
    bool worst;
};

struct plan_layer {
    struct layer layer;
    struct explain *explain;
    struct plan_request *request; /* what was asked, for asking again */
    struct plan_row *rows;
    const struct plan *plan;
    struct plan_finding *findings;
    size_t finding_count;
    int worst; /* node that "next worst" was at */
    char *crumb;
};

#define NODE(row) (((const struct plan_row *)(row))->node)

static struct value real_or_blank(double real)
{
    return isnan(real) ? value_blank() : value_real(real);
}
static struct value value_of_self(const void *row)
{
    if (NODE(row)->never_executed)
        return value_blank();
    /* Rounding can make it slightly negative. */
    return real_or_blank(NODE(row)->self_ms < 0 ? 0 : NODE(row)->self_ms);
}
static struct value value_of_share(const void *row)
{
    return NODE(row)->never_executed ? value_blank() : real_or_blank(fmax(NODE(row)->self_percent, 0));
}
static struct value value_of_cost_share(const void *row)
{
    return real_or_blank(NODE(row)->cost_share);
}
static struct value value_of_cost(const void *row)
{
    return real_or_blank(NODE(row)->total_cost);
}
static struct value value_of_rows(const void *row)
{
    return real_or_blank(NODE(row)->rows);
}
static struct value value_of_rows_estimated(const void *row)
{
    return real_or_blank(NODE(row)->rows_estimated);
}
static struct value value_of_estimate(const void *row)
{
    struct value value = value_text(((const struct plan_row *)row)->estimate);
    if (NODE(row)->misestimate >= 100)
        value.severity = SEVERITY_CRITICAL;
    else if (NODE(row)->misestimate >= 10)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_loops(const void *row)
{
    return real_or_blank(NODE(row)->loops);
}
static struct value blocks(int64_t count)
{
    return count < 0 ? value_blank() : value_integer(count);
}
static struct value value_of_hit(const void *row)
{
    return blocks(NODE(row)->own.shared_hit);
}
static struct value value_of_read(const void *row)
{
    return blocks(NODE(row)->own.shared_read);
}
static struct value value_of_title(const void *row)
{
    return value_text(((const struct plan_row *)row)->title);
}

static const struct column measured_columns[] = {
    {"self_ms", "self", "time in the node itself, on the clock, without what is below it", UNIT_MS, 9, 0, 0,
     value_of_self, NULL},
    {"self_percent", "share", "its part of the whole time", UNIT_SHARE, 13, 1, 0, value_of_share, NULL},
    {"rows", "rows", "rows that it gave, all loops together", UNIT_COUNT, 7, 0, 0, value_of_rows, NULL},
    {"misestimate", "estimate", "how far the planner's estimate was off", UNIT_NONE, 11, 2, 0,
     value_of_estimate, NULL},
    {"loops", "loops", "how often it ran", UNIT_COUNT, 6, 3, 0, value_of_loops, NULL},
    {"own_hit_blocks", "hit blk", "blocks of 8 kB it found in shared buffers itself", UNIT_BLOCKS, 7, 4, 0,
     value_of_hit, NULL},
    {"own_read_blocks", "read blk", "blocks of 8 kB it read itself", UNIT_BLOCKS, 8, 4, 0, value_of_read,
     NULL},
    {"node", "node", "what it does", UNIT_NONE, 0, 0, COLUMN_TREE, value_of_title, NULL},
};

static const struct column estimated_columns[] = {
    {"cost_share", "share", "its part of the estimated cost", UNIT_SHARE, 16, 1, 0, value_of_cost_share,
     NULL},
    {"total_cost", "cost", "estimated cost up to its last row, in the planner's units", UNIT_COUNT, 10, 0, 0,
     value_of_cost, NULL},
    {"rows_estimated", "rows", "rows that the planner expects", UNIT_COUNT, 9, 0, 0, value_of_rows_estimated,
     NULL},
    {"node", "node", "what it does", UNIT_NONE, 0, 0, COLUMN_TREE, value_of_title, NULL},
};

/* ---- the tree ---- */

static void fill_row(struct plan_row *row, const void *context, const struct plan_node *node)
{
    row->node = node;
    snprintf(row->id, sizeof row->id, "%d", node->id);
    if (!isnan(node->misestimate) && node->direction != PLAN_EXACT && node->misestimate >= 2) {
        char factor[32];
        row->estimate =
            talloc_asprintf(context, "%s× %s", format_count(factor, sizeof factor, node->misestimate),
                            node->direction == PLAN_TOO_LOW ? "low" : "high");
    }
    row->title = talloc_asprintf(context, "%s%s%s%s%s%s", node->title, node->note ? "  " : "",
                                 node->note ? node->note : "", node->never_executed ? "  never executed" : "",
                                 node->filter ? "  filter " : "", node->filter ? node->filter : "");
    if (node->removed_filter > 0 && node->rows >= 0)
        row->title = talloc_asprintf_append(row->title, ": %.1f %% thrown away",
                                            100 * node->removed_filter / (node->removed_filter + node->rows));
}

static void show_plan(struct plan_layer *self)
{
    const struct plan *plan = explain_plan(self->explain);
    struct table_row *rows = talloc_array(self, struct table_row, plan->node_count);
    self->plan = plan;
    self->rows = talloc_zero_array(self, struct plan_row, plan->node_count);
    self->layer.table =
        plan->has_timing
            ? table_new(self, measured_columns, sizeof measured_columns / sizeof *measured_columns)
            : table_new(self, estimated_columns, sizeof estimated_columns / sizeof *estimated_columns);
    for (size_t i = 0; i < plan->node_count; i++) {
        fill_row(&self->rows[i], self->rows, &plan->nodes[i]);
        rows[i] = (struct table_row){.data = &self->rows[i],
                                     .id = self->rows[i].id,
                                     .depth = plan->nodes[i].depth,
                                     .dim = plan->nodes[i].never_executed};
    }
    table_set_rows(self->layer.table, rows, plan->node_count);
    talloc_free(rows);
    self->findings = plan_findings(self, plan, &self->finding_count);
    self->worst = plan_next_worst(plan, 0);
    if (self->worst)
        table_select(self->layer.table, self->rows[self->worst - 1].id);
}

static void changed(void *data, struct explain *explain)
{
    struct plan_layer *self = data;
    self->explain = explain;
    if (explain_phase(explain) == EXPLAIN_DONE && !self->plan)
        show_plan(self);
    if (explain_phase(explain) == EXPLAIN_FAILED && console_is_on_top(self->layer.app->console, &self->layer))
        plan_dialog_failed(self->layer.app, self->request, explain_error(explain));
    self->layer.app->changed(self->layer.app);
}

/* ---- drawing ---- */

static const char *phase_text(enum explain_phase phase)
{
    switch (phase) {
    case EXPLAIN_CONNECTING:
        return "connecting";
    case EXPLAIN_CHECKING:
        return "checking that it only reads";
    case EXPLAIN_RUNNING:
        return "running · Ctrl-C cancels";
    case EXPLAIN_CANCELLING:
        return "cancelling";
    case EXPLAIN_DONE:
    case EXPLAIN_FAILED:
        break;
    }
    return "";
}

static int draw_waiting(const struct plan_layer *self, struct screen *screen, int top, int columns)
{
    char elapsed[32], sql[2048];
    safe_line(sql, sizeof sql, self->request->sql);
    screen_format(screen, top, 1, columns - 1, STYLE_NORMAL, "%s · %s",
                  phase_text(explain_phase(self->explain)),
                  format_s(elapsed, sizeof elapsed, floor(explain_elapsed_s(self->explain))));
    screen_put(screen, top + 2, 1, columns - 1, STYLE_DIM, sql);
    return 3;
}

static void draw_error(const struct plan_layer *self, struct screen *screen, int top, int rows, int columns)
{
    char text[1400];
    error_format(explain_error(self->explain), text, sizeof text);
    struct page *page = page_new(NULL);
    page_section(page, "No plan");
    page_text(page, STYLE_CRITICAL, 1, text);
    page_section(page, "Statement");
    page_text(page, STYLE_NORMAL, 1, self->request->sql);
    page_draw(page, screen, top, 0, rows, columns);
    talloc_free(page);
}

/* One line, or two when the screen is narrow. Returns how many. */
static int draw_summary(const struct plan_layer *self, struct screen *screen, int row, int columns)
{
    char execution[32], planning[32], text[512], line[1024];
    const char *note = explain_note(self->explain);
    if (self->plan->has_actual)
        snprintf(text, sizeof text, "%s, planning %s",
                 format_ms(execution, sizeof execution, self->plan->execution_ms),
                 format_ms(planning, sizeof planning, self->plan->planning_ms));
    else
        snprintf(text, sizeof text, "estimated, not run");
    snprintf(line, sizeof line, "%s · %s", text, note ? note : "");
    bool fits = text_width(line) < columns - 1;
    screen_put(screen, row, 1, columns - 1, STYLE_NORMAL, fits ? line : text);
    if (!fits)
        screen_put(screen, row + 1, 1, columns - 1, STYLE_DIM, note ? note : "");
    return fits ? 1 : 2;
}

static void draw_findings(const struct plan_layer *self, struct screen *screen, int top, int rows,
                          int columns)
{
    int row = top;
    screen_section(screen, row++, 0, columns, "What costs");
    for (size_t i = 0; i < self->finding_count && row < top + rows; i++) {
        const struct plan_finding *finding = &self->findings[i];
        char time[32] = "";
        if (!isnan(finding->ms))
            format_ms(time, sizeof time, finding->ms);
        screen_put_right(screen, row, 0, 10, STYLE_NORMAL, time);
        screen_put(screen, row++, 12, columns - 12, STYLE_NORMAL, finding->text);
        if (finding->todo && row < top + rows)
            screen_put(screen, row++, 12, columns - 12, STYLE_DIM, finding->todo);
    }
}

static void draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    struct plan_layer *self = (struct plan_layer *)layer;
    if (!self->explain)
        return;
    if (explain_phase(self->explain) == EXPLAIN_FAILED) {
        draw_error(self, screen, top, rows, columns);
        return;
    }
    if (!self->plan) {
        draw_waiting(self, screen, top, columns);
        return;
    }
    int findings = 0;
    if (self->finding_count) {
        findings = 1;
        for (size_t i = 0; i < self->finding_count && i < FINDINGS_SHOWN; i++)
            findings += self->findings[i].todo ? 2 : 1;
        if (findings > rows / 3)
            findings = rows / 3;
    }
    int summary = draw_summary(self, screen, top, columns);
    table_draw(layer->table, screen, top + summary, 0, rows - summary - findings, columns);
    if (findings)
        draw_findings(self, screen, top + rows - findings, findings, columns);
}

/* ---- actions ---- */

static void push_detail(struct plan_layer *self)
{
    const struct table_row *row = self->layer.table ? table_selected(self->layer.table) : NULL;
    if (!row)
        return;
    const struct plan_node *node = NODE(row->data);
    struct page *page = page_new(NULL);
    char text[64];
    page_section(page, node->title);
    for (size_t c = 0; c < sizeof measured_columns / sizeof *measured_columns - 1 && self->plan->has_timing;
         c++) {
        value_format(text, sizeof text, &measured_columns[c], measured_columns[c].value(row->data));
        if (text[0])
            page_pair_format(page, measured_columns[c].title, STYLE_NORMAL, "%s  (%s)", text,
                             measured_columns[c].help);
    }
    page_section(page, "What EXPLAIN says");
    for (size_t i = 0; i < node->detail_count; i++)
        page_pair(page, node->details[i].label, STYLE_NORMAL, node->details[i].text);
    for (size_t i = 0, said = 0; i < self->finding_count; i++) {
        if (self->findings[i].node != node->id)
            continue;
        if (!said++)
            page_section(page, "What costs");
        page_text(page, STYLE_NORMAL, 0, self->findings[i].text);
        if (self->findings[i].todo)
            page_text(page, STYLE_DIM, 2, self->findings[i].todo);
    }
    console_push_page(self->layer.app->console, node->node_type, page);
}

/* The same statement in the same schema, after the dialog: measuring never starts by a key alone. */
static void measure(struct plan_layer *self)
{
    const struct explain_request *asked = &self->request->explain;
    struct plan_subject subject = {.server = self->request->server,
                                   .sql = asked->sql,
                                   .database = asked->database,
                                   .search_path = asked->search_path,
                                   .truncated = asked->truncated};
    struct error error = {0};
    if (!plan_view_open(self->layer.app, &subject, true, &error))
        console_say_error(self->layer.app->console, &error);
}

static bool act(struct layer *layer, const char *action)
{
    struct plan_layer *self = (struct plan_layer *)layer;
    if (strcmp(action, "global.cancel") == 0 && self->explain &&
        explain_phase(self->explain) < EXPLAIN_DONE) {
        explain_cancel(self->explain);
        return true;
    }
    if (strcmp(action, "table.enter") == 0) {
        push_detail(self);
        return true;
    }
    if (strcmp(action, "table.next-worst") == 0 && self->plan) {
        self->worst = plan_next_worst(self->plan, self->worst);
        if (self->worst)
            table_select(layer->table, self->rows[self->worst - 1].id);
        return true;
    }
    bool refresh = strcmp(action, "global.refresh") == 0;
    if (strcmp(action, "plan.measure") == 0 || (refresh && self->request->explain.measure)) {
        measure(self);
        return true;
    }
    if (strcmp(action, "plan.schema") == 0) {
        plan_dialog_other_schema(layer->app, self->request);
        return true;
    }
    if (refresh) {
        struct plan_request *request = talloc_steal(NULL, self->request);
        struct app *app = layer->app;
        self->request = NULL;
        console_pop(app->console);
        plan_view_run(app, request);
        return true;
    }
    return false;
}

static const char *crumb(struct layer *layer)
{
    return ((struct plan_layer *)layer)->crumb;
}

static void free_layer(struct layer *layer)
{
    struct plan_layer *self = (struct plan_layer *)layer;
    explain_free(self->explain);
}

void plan_view_run(struct app *app, struct plan_request *request)
{
    static const char *const contexts[] = {"plan", "table", NULL};
    static const struct layer_ops ops = {
        .contexts = contexts, .crumb = crumb, .draw = draw, .act = act, .free = free_layer};
    struct plan_layer *self = talloc_zero(NULL, struct plan_layer);
    char sql[128], cut[128];
    self->layer.ops = &ops;
    self->layer.app = app;
    self->request = talloc_steal(self, request);
    safe_line(sql, sizeof sql, request->sql);
    text_cut(cut, sizeof cut, sql, 30);
    self->crumb = talloc_asprintf(self, "%s › %s", cut, request->explain.measure ? "measured" : "plan");
    console_push(app->console, &self->layer);
    self->explain = explain_new(app->loop, request->server, app->audit, &request->explain, changed, self);
}
