/* The layer at the bottom: one view of a panel, with what its sources say about themselves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/console_internal.h"
#include "tui/wrap.h"

/* In so many lines a view may tell what the selected row says in the column that is cut. */
enum { TOLD_ROWS = 2 };
#define SETTLE_S 5

struct view_layer {
    struct layer layer;
    struct console *console;
    const struct panel_ops *panel;
    const struct view *view;
    struct table **tables; /* one a view: each keeps its selection, sort and filter */
    struct row_list *rows;
    uint64_t version;   /* of rows */
    double shown_at;    /* monotonic: when this view was chosen */
    const void *chosen; /* the server that rows are of */
    const char *contexts[5];
    char crumb[256];
};

static void draw(struct layer *layer, struct screen *screen, int top, int rows, int columns);

static struct view_layer *view_layer(const struct layer *layer)
{
    return (struct view_layer *)layer;
}

static size_t view_index(const struct view_layer *self)
{
    for (size_t i = 0; i < self->panel->view_count; i++)
        if (self->panel->views[i] == self->view)
            return i;
    return 0;
}

/* The server's column is for several servers. */
static const char *absent_server(const void *context)
{
    const struct app *app = context;
    return app->server_count < 2 || app->chosen ? "one server is looked at" : NULL;
}

static struct table *table_for_view(struct view_layer *self, const struct view *view)
{
    struct column *columns = talloc_memdup(self, view->columns, view->column_count * sizeof *columns);
    for (size_t i = 0; i < view->column_count; i++)
        if (strcmp(columns[i].id, "server") == 0)
            columns[i].absent = absent_server;
    for (size_t i = 0; view->tree && i < view->column_count; i++)
        if (strcmp(columns[i].id, view->tree) == 0)
            columns[i].flags |= COLUMN_TREE;
    struct table *table = table_new(self, columns, view->column_count);
    table_set_empty(table, view->empty);
    if (view->sort)
        table_sort(table, view->sort, view->descending);
    return table;
}

bool layer_is_view(const struct layer *layer)
{
    return layer->ops->draw == draw;
}

const struct panel_ops *view_layer_panel(const struct layer *layer)
{
    return view_layer(layer)->panel;
}

const struct view *view_layer_view(const struct layer *layer)
{
    return view_layer(layer)->view;
}

/* Takes the newest snapshots into the table. The rows hold their snapshots, so that nothing is pulled away
 * between a key and what it does. */
void view_layer_refresh(struct layer *layer)
{
    struct view_layer *self = view_layer(layer);
    uint64_t version = self->view->version ? self->view->version(layer->app) : 0;
    if (self->rows && version && version == self->version && self->chosen == layer->app->chosen)
        return;
    self->version = version;
    self->chosen = layer->app->chosen;
    struct row_list *fresh = row_list_new(self);
    self->view->rows(self->layer.app, fresh);
    /* Which columns there are depends on the server that is looked at, and on its version. */
    table_set_context(self->layer.table, self->layer.app);
    table_set_rows(self->layer.table, fresh->rows, fresh->count);
    /* While the first answers come in, the one that needs somebody most is not known yet. */
    if (clock_monotonic() - self->shown_at < SETTLE_S)
        table_select_first(self->layer.table);
    talloc_free(self->rows);
    self->rows = fresh;
}

void view_layer_show(struct layer *layer, const struct view *view)
{
    struct view_layer *self = view_layer(layer);
    if (view == self->view)
        return;
    if (self->view)
        self->view->want(self->console->app, false);
    view->want(self->console->app, true);
    self->view = view;
    self->shown_at = clock_monotonic();
    self->contexts[0] = view->id;
    self->contexts[1] = self->panel->id;
    size_t context = 2;
    if (self->panel->parent)
        self->contexts[context++] = self->panel->parent;
    self->contexts[context] = "table";
    size_t index = view_index(self);
    if (!self->tables[index])
        self->tables[index] = table_for_view(self, view);
    self->layer.table = self->tables[index];
    self->version = 0;
    view_layer_refresh(layer);
}

/* Worst first; ties by the order of the sources. */
static int source_badness(const struct source *source)
{
    static const int badness[] = {
        [FEED_LIVE] = 0,        [FEED_PAUSED] = 1, [FEED_IDLE] = 2,  [FEED_LATE] = 3,
        [FEED_UNAVAILABLE] = 4, [FEED_DENIED] = 5, [FEED_FAILED] = 6};
    return source->connection_error->kind != ERROR_NONE ? 7 : badness[source->feed->state];
}

static const struct error *source_error(const struct source *source)
{
    return source->connection_error->kind != ERROR_NONE ? source->connection_error : &source->feed->error;
}

/* Several feeds of one server fail together when nothing reaches it: told once. */
static bool tells_the_same(const struct source *source, const struct source *before)
{
    const struct error *one = source_error(source), *other = source_error(before);
    return one->kind != ERROR_NONE && one->kind == other->kind &&
           strcmp(source->server, before->server) == 0 && strcmp(one->why, other->why) == 0;
}

/* One line for a source that does not answer: what, why, and how old what is shown is. */
static int draw_source(struct screen *screen, int row, int columns, int room, const struct source *source)
{
    char text[1600], error[1400], age[32];
    const struct error *why = source_error(source);
    if (source->feed->state == FEED_LATE && why->kind == ERROR_NONE)
        snprintf(error, sizeof error, "%s: no answer yet", source->server);
    else
        error_format(why, error, sizeof error);
    if (source->feed->answered_at > 0)
        snprintf(text, sizeof text, "%s (shown: %s old)", error,
                 format_s(age, sizeof age, floor(clock_wall() - source->feed->answered_at)));
    else
        snprintf(text, sizeof text, "%s", error);
    enum severity severity = source->feed->state == FEED_LATE ? SEVERITY_WARNING : SEVERITY_CRITICAL;
    int rows = frame_message_rows(severity, text, columns, room < 3 ? room : 3);
    frame_draw_message(screen, row, rows, severity, text);
    return rows;
}

/* It answers, but not with everything. */
static int draw_note(struct screen *screen, int row, int columns, int room, const struct error *note)
{
    char text[1400];
    error_format(note, text, sizeof text);
    int rows = frame_message_rows(SEVERITY_WARNING, text, columns, room < 2 ? room : 2);
    frame_draw_message(screen, row, rows, SEVERITY_WARNING, text);
    return rows;
}

/* Freed by the caller. */
static struct source_list *layer_sources(struct layer *layer)
{
    struct source_list *sources = source_list_new(NULL);
    view_layer(layer)->view->sources(layer->app, sources);
    return sources;
}

static int draw_sources(struct view_layer *self, struct screen *screen, int top, int rows, int columns)
{
    struct source_list *sources = layer_sources(&self->layer);
    int used = 0, room = self->view->rows_tell ? 0 : rows / 2;
    bool late = sources->count > 0, answered = false;
    for (size_t i = 0; i < sources->count; i++) {
        const struct source *source = &sources->items[i];
        int badness = source_badness(source);
        answered = answered || source->feed->answered_at > 0;
        if (badness < 3)
            late = false;
        if (badness < 3 && source->note && source->note->kind != ERROR_NONE && used < room)
            used += draw_note(screen, top + used, columns, room - used, source->note);
        else if (badness >= 3 && used < room && !(i && tells_the_same(source, source - 1)))
            used += draw_source(screen, top + used, columns, room - used, source);
    }
    talloc_free(sources);
    table_set_late(self->layer.table, late);
    table_set_empty(self->layer.table, answered ? self->view->empty : "nothing was read yet");
    return used;
}

/* What the selected row says in the column that is cut. Its place is always kept, so
 * that nothing jumps. */
static void draw_told(struct view_layer *self, struct screen *screen, int row, int columns)
{
    const struct table_row *selected = table_selected(self->layer.table);
    char safe[1024], cut[1024];
    for (size_t c = 0; selected && c < self->view->column_count; c++) {
        const struct column *column = &self->view->columns[c];
        struct value value = column->value(selected->data);
        if (strcmp(column->id, self->view->tell) != 0 || value.kind != VALUE_TEXT)
            continue;
        struct page *page = page_new(NULL);
        safe_line(safe, sizeof safe, value.text);
        size_t next, length = wrap_line(safe, columns - 3, &next);
        /* What does not fit into the second line is cut there: Enter tells the rest. */
        text_cut(cut, sizeof cut, safe + next, columns - 3);
        enum style style = theme_severity(value.severity, STYLE_NORMAL);
        page_format(page, style, 1, "%.*s", (int)length, safe);
        page_text(page, style, 1, cut);
        page_draw(page, screen, row, 0, TOLD_ROWS, columns);
        talloc_free(page);
    }
}

static void draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    struct view_layer *self = view_layer(layer);
    int used = draw_sources(self, screen, top, rows, columns);
    if (self->view->head && rows - used > 8)
        used += self->view->head(layer->app, screen, top + used, columns, rows - used);
    int told = self->view->tell && rows - used > 8 ? TOLD_ROWS : 0;
    table_draw(layer->table, screen, top + used, 0, rows - used - told, columns);
    if (told)
        draw_told(self, screen, top + rows - told, columns);
}

static const char *crumb(struct layer *layer)
{
    struct view_layer *self = view_layer(layer);
    double since = 0;
    const char *basis = self->view->basis ? self->view->basis(layer->app, &since) : NULL;
    char clock[32], number[32];
    char note[128] = "";
    if (self->view->note)
        self->view->note(layer->app, note, sizeof note);
    snprintf(number, sizeof number, "%zu", table_matching(layer->table));
    const char *subject = self->panel->subject ? self->panel->subject(layer->app) : NULL;
    snprintf(self->crumb, sizeof self->crumb, "%s%s%s%s%s%s%s · %s%s%s", subject ? subject : "",
             subject ? " › " : "", self->view->title, basis ? " · " : "", basis ? basis : "",
             basis && since > 0 ? " " : "",
             basis && since > 0 ? clock_time_of_day(clock, sizeof clock, since) : "", number,
             note[0] ? " · " : "", note);
    return self->crumb;
}

static bool act(struct layer *layer, const char *action)
{
    struct view_layer *self = view_layer(layer);
    if (strcmp(action, "table.why") == 0) {
        view_layer_why(layer);
        return true;
    }
    if (strcmp(action, "global.cancel") == 0)
        return self->view->cancel && self->view->cancel(layer->app);
    if (strcmp(action, "table.pause") == 0) {
        view_layer_pause(layer, !self->console->paused);
        return true;
    }
    if (strcmp(action, "table.enter") == 0) {
        const struct table_row *row = table_selected(layer->table);
        if (row && self->view->enter) {
            self->view->enter(layer->app, row);
        } else if (row && self->view->detail) {
            struct page *page = page_new(NULL);
            self->view->detail(layer->app, row, page);
            console_push_page(self->console, "detail", page);
        }
        return true;
    }
    return false;
}

static void free_layer(struct layer *layer)
{
    struct view_layer *self = view_layer(layer);
    view_layer_pause(layer, false);
    self->view->want(self->console->app, false);
}

struct layer *view_layer_new(struct console *console, const struct panel_ops *panel)
{
    static const struct layer_ops ops = {.crumb = crumb, .draw = draw, .act = act, .free = free_layer};
    struct view_layer *self = talloc_zero(NULL, struct view_layer);
    struct layer_ops *own = talloc_memdup(self, &ops, sizeof ops);
    own->contexts = self->contexts;
    self->layer.ops = own;
    self->layer.app = console->app;
    self->console = console;
    self->panel = panel;
    self->tables = talloc_zero_array(self, struct table *, panel->view_count);
    view_layer_show(&self->layer, panel->views[0]);
    return &self->layer;
}

void view_layer_ask(struct layer *layer)
{
    struct source_list *sources = layer_sources(layer);
    for (size_t i = 0; i < sources->count; i++)
        feed_refresh(sources->items[i].feed);
    talloc_free(sources);
}

void view_layer_pause(struct layer *layer, bool paused)
{
    struct console *console = view_layer(layer)->console;
    console->paused = paused;
    console->dirty = true;
}

void view_layer_why(struct layer *layer)
{
    struct view_layer *self = view_layer(layer);
    struct source_list *sources = layer_sources(layer);
    struct page *page = page_new(NULL);
    char text[64], error[1400];
    for (size_t i = 0; i < sources->count; i++) {
        const struct feed *feed = sources->items[i].feed;
        char title[160];
        snprintf(title, sizeof title, "%s on %s", feed->name, sources->items[i].server);
        page_section(page, title);
        page_pair(page, "state", STYLE_NORMAL, feed_state_name(feed->state));
        page_pair_format(page, "asked", STYLE_NORMAL, "every %s, while it is looked at",
                         format_s(text, sizeof text, feed->interval_s));
        if (feed->answered_at > 0) {
            page_pair_format(page, "answered", STYLE_NORMAL, "%s ago",
                             format_s(text, sizeof text, floor(clock_wall() - feed->answered_at)));
            page_pair_format(page, "cost", STYLE_NORMAL, "%s from asking to answer",
                             format_ms(text, sizeof text, feed->cost_ms));
        }
        error_format(&feed->error, error, sizeof error);
        if (feed->error.kind != ERROR_NONE)
            page_pair(page, "error", STYLE_CRITICAL, error);
        if (feed->query) {
            page_blank(page);
            page_text(page, STYLE_DIM, 0, feed->query);
        }
    }
    talloc_free(sources);
    page_section(page, "Columns");
    for (size_t i = 0; i < self->view->column_count; i++)
        if (!(self->view->columns[i].flags & COLUMN_HIDDEN))
            page_pair(page, self->view->columns[i].title, STYLE_NORMAL, self->view->columns[i].help);
    console_push_page(self->console, "why", page);
}
