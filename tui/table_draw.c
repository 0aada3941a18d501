/* Drawing a table: which columns fit, the header, the lines that are visible. */
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "tui/chart.h"
#include "tui/table_internal.h"

enum {
    EDGE = 3,          /* " ▸ " before the first column */
    GAP = 2,           /* between columns */
    REST_MIN = 20,     /* what the column that takes the rest needs at least */
    SHARE_NUMBER = 6,  /* "99.8 %" */
    SHARE_BAR_MIN = 3, /* a shorter bar says nothing */
    LAYOUT_MAX = 64,
};

struct placed {
    int column;
    int left, cells;
};

struct layout {
    struct placed placed[LAYOUT_MAX];
    int count;
};

/* The columns that are candidates: the first, and those behind what is scrolled away. */
static int candidates(struct table *table, int *out)
{
    int shown[LAYOUT_MAX], count = 0;
    for (size_t c = 0; c < table->column_count && count < LAYOUT_MAX; c++)
        if (table->shown[c])
            shown[count++] = (int)c;
    if (table->scroll > count - 2)
        table->scroll = count > 2 ? count - 2 : 0;
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (i == 0 || i > table->scroll)
            out[kept++] = shown[i];
    return kept;
}

/* The column that takes the rest wants a quarter of the screen: it is mostly what people read. A tree grows
 * to the right. */
static int wanted_cells(const struct column *column, int columns)
{
    int rest = column->flags & COLUMN_TREE ? columns * 2 / 5 : columns / 4;
    if (rest < REST_MIN)
        rest = REST_MIN;
    return column->width > 0 ? column->width : rest;
}

/* Takes the least important column off; false when none may go. */
static bool drop_one(const struct table *table, int *list, int *count)
{
    int worst = -1, priority = 0;
    for (int i = 1; i < *count; i++) {
        if (table->columns[list[i]].priority >= priority && table->columns[list[i]].priority > 0) {
            worst = i;
            priority = table->columns[list[i]].priority;
        }
    }
    if (worst < 0)
        return false;
    memmove(&list[worst], &list[worst + 1], (size_t)(*count - worst - 1) * sizeof *list);
    (*count)--;
    return true;
}

static void lay_out(struct table *table, int columns, struct layout *layout)
{
    int list[LAYOUT_MAX], count = candidates(table, list), total;
    do {
        total = EDGE;
        for (int i = 0; i < count; i++)
            total += wanted_cells(&table->columns[list[i]], columns) + (i ? GAP : 0);
    } while (total > columns && drop_one(table, list, &count));
    int at = EDGE, spare = columns > total ? columns - total : 0;
    /* The "!" of a last number hangs over the edge: the name gives a cell for it. */
    int less = count > 1 && total == columns && table_right_aligned(&table->columns[list[count - 1]]);
    layout->count = 0;
    for (int i = 0; i < count && at < columns; i++) {
        const struct column *column = &table->columns[list[i]];
        int cells = wanted_cells(column, columns) + (column->width == 0 ? spare : 0) - (i == 0 ? less : 0);
        if (cells > columns - at)
            cells = columns - at;
        layout->placed[layout->count++] = (struct placed){list[i], at, cells};
        at += cells + GAP;
    }
}

static void draw_header(const struct table *table, struct screen *screen, int top, int left,
                        const struct layout *layout)
{
    for (int i = 0; i < layout->count; i++) {
        const struct placed *p = &layout->placed[i];
        const struct column *column = &table->columns[p->column];
        bool sorted = p->column == table->sort, right = table_right_aligned(column);
        unsigned style = sorted ? STYLE_SORTED : STYLE_TABLE_HEADER;
        char title[128], cut[100];
        snprintf(title, sizeof title, "%s", column->title);
        if (sorted) {
            text_cut(cut, sizeof cut, column->title, p->cells - 1);
            snprintf(title, sizeof title, "%s%s", cut, table->descending ? "↓" : "↑");
        }
        if (right)
            screen_put_right(screen, top, left + p->left, p->cells, style, title);
        else
            screen_put(screen, top, left + p->left, p->cells, style, title);
    }
}

/* Right-aligned; the "!" of what is out of bounds hangs over, so that the digits stay below each other. */
static void put_number(struct screen *screen, int row, int left, int cells, unsigned style, char *text)
{
    size_t length = strlen(text);
    if (length && text[length - 1] == '!') {
        screen_put(screen, row, left + cells, 1, style, "!");
        text[length - 1] = '\0';
    }
    screen_put_right(screen, row, left, cells, style, text);
}

static void draw_share(struct screen *screen, int row, int left, int cells, unsigned number_style,
                       unsigned bar_style, char *text, struct value value)
{
    int bar_cells = cells - SHARE_NUMBER - 1;
    char bar[256];
    if (bar_cells < SHARE_BAR_MIN || bar_cells > 64) {
        put_number(screen, row, left, cells, number_style, text);
        return;
    }
    double share = value.kind == VALUE_INTEGER ? (double)value.integer
                   : value.kind == VALUE_REAL  ? value.real
                                               : 0;
    put_number(screen, row, left, SHARE_NUMBER, number_style, text);
    screen_put(screen, row, left + SHARE_NUMBER + 1, bar_cells, bar_style,
               chart_bar(bar, sizeof bar, share / 100, bar_cells));
}

/* "│ ├ " before a node; returns the cells. */
static int draw_tree_lines(const struct table_line *line, struct screen *screen, int row, int left, int cells,
                           unsigned style)
{
    int used = 0;
    for (int depth = 1; depth < line->depth && used + 2 <= cells; depth++, used += 2)
        if (depth < 64 && (line->guides & ((uint64_t)1 << depth)))
            screen_put(screen, row, left + used, 1, style, "│");
    if (line->depth > 0 && used + 2 <= cells) {
        screen_put(screen, row, left + used, 1, style, line->last ? "└" : "├");
        used += 2;
    }
    return used;
}

static void draw_cell(const struct table *table, struct screen *screen, int row, int left,
                      const struct placed *p, const struct table_line *line, unsigned base, unsigned in)
{
    const struct column *column = &table->columns[p->column];
    struct value value = column->value(table->rows[line->row].data);
    enum severity severity = value.severity;
    unsigned style = severity == SEVERITY_NONE ? base : theme_severity(severity, STYLE_NORMAL);
    char text[1024];
    if (table->late && severity < SEVERITY_WARNING)
        style = STYLE_DIM;
    value_format(text, sizeof text, column, value);
    int at = left + p->left, cells = p->cells;
    if (column->flags & COLUMN_TREE) {
        int used = draw_tree_lines(line, screen, row, at, cells, STYLE_BORDER | in);
        screen_put(screen, row, at + used, cells - used, style | in, text);
    } else if (column->unit == UNIT_SHARE) {
        draw_share(screen, row, at, cells, style | in, STYLE_BAR | in, text, value);
    } else if (table_right_aligned(column)) {
        put_number(screen, row, at, cells, style | in, text);
    } else {
        screen_put(screen, row, at, cells, style | in, text);
    }
}

static void draw_more(const struct table *table, struct screen *screen, int row, int left,
                      const struct layout *layout, const struct table_line *line)
{
    for (int i = 0; i < layout->count; i++) {
        const struct placed *p = &layout->placed[i];
        if (p->column != table->tree)
            continue;
        int used = draw_tree_lines(line, screen, row, left + p->left, p->cells, STYLE_BORDER);
        /* runs over into the next columns, which are blank here */
        screen_format(screen, row, left + p->left + used, 24, STYLE_DIM, "… %u more", line->more);
    }
}

static void draw_line(const struct table *table, struct screen *screen, int row, int left, int columns,
                      const struct layout *layout, size_t at)
{
    const struct table_line *line = &table->lines[at];
    const struct table_row *data = &table->rows[line->row];
    if (line->more) {
        draw_more(table, screen, row, left, layout, line);
        return;
    }
    bool selected = at == table->cursor, marked = table_id_in(table->marks, data->id, NULL);
    unsigned in = selected ? STYLE_IN_SELECTED : 0;
    unsigned base = table->late || data->dim ? STYLE_DIM : marked ? STYLE_MARKED : STYLE_NORMAL;
    if (data->severity != SEVERITY_NONE && !table->late)
        base = theme_severity(data->severity, base);
    if (selected)
        screen_fill(screen, row, left, columns, STYLE_SELECTED);
    if (marked)
        screen_put(screen, row, left, 1, STYLE_MARKED | in, "●");
    if (selected)
        screen_put(screen, row, left + 1, 1, STYLE_SELECTED, "▸");
    for (int i = 0; i < layout->count; i++)
        draw_cell(table, screen, row, left, &layout->placed[i], line, base, in);
}

void table_draw(struct table *table, struct screen *screen, int top, int left, int rows, int columns)
{
    struct layout layout;
    if (rows < 1 || columns < EDGE + 1)
        return;
    lay_out(table, columns, &layout);
    draw_header(table, screen, top, left, &layout);
    int body = rows - 1;
    table->page = body;
    table->drawn_top = top + 1;
    table->drawn_left = left;
    table->drawn_rows = body;
    table->drawn_columns = columns;
    if (!table->line_count && body > 0) {
        if (table->count)
            screen_format(screen, top + 1, left + EDGE, columns - EDGE, STYLE_DIM,
                          "none of %zu rows matches %s", table->count, table->filter_text);
        else
            screen_put(screen, top + 1, left + EDGE, columns - EDGE, STYLE_DIM, table->empty);
        return;
    }
    size_t first = table_scroll_to(table, body);
    for (int i = 0; i < body && first + (size_t)i < table->line_count; i++)
        draw_line(table, screen, top + 1 + i, left, columns, &layout, first + (size_t)i);
}
