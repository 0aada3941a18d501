/* Rows, their order and the lines that are made of them; selection, marks, folds; actions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "tui/table_internal.h"

/* Lines that stay between the selection and the edge of the screen. */
enum { CONTEXT_LINES = 2 };

static void *checked(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* ---- sets of ids ---- */

bool table_id_in(const struct id_set *set, const char *id, bool *on)
{
    struct id_set *found = NULL;
    if (set)
        HASH_FIND_STR((struct id_set *)set, id, found);
    if (found && on)
        *on = found->on;
    return found != NULL;
}

static void id_put(struct table *table, struct id_set **set, const char *id, bool on)
{
    struct id_set *found = NULL;
    HASH_FIND_STR(*set, id, found);
    if (!found) {
        found = checked(talloc_zero(table, struct id_set));
        found->id = checked(talloc_strdup(found, id));
        HASH_ADD_KEYPTR(hh, *set, found->id, strlen(found->id), found);
    }
    found->on = on;
}

static void id_remove(struct id_set **set, struct id_set *item)
{
    HASH_DEL(*set, item);
    talloc_free(item);
}

static void id_clear(struct id_set **set)
{
    struct id_set *item, *next;
    HASH_ITER(hh, *set, item, next)
    id_remove(set, item);
}

/* ---- the order of rows ---- */

struct sort_key {
    struct value value;
    uint32_t row;
    bool last; /* blank or unknown */
};

static int compare_keys(const struct sort_key *a, const struct sort_key *b, bool descending)
{
    if (a->last != b->last)
        return a->last ? 1 : -1;
    int order = a->last ? 0 : value_compare(a->value, b->value);
    return descending ? -order : order;
}

/* A merge sort: stable, so that rows that are equal keep their places from one refresh to the next. */
static void merge_sort(struct sort_key *keys, struct sort_key *scratch, size_t count, bool descending)
{
    if (count < 2)
        return;
    size_t half = count / 2, i = 0, j = half, k = 0;
    merge_sort(keys, scratch, half, descending);
    merge_sort(keys + half, scratch, count - half, descending);
    if (compare_keys(&keys[half - 1], &keys[half], descending) <= 0)
        return;
    memcpy(scratch, keys, half * sizeof *keys);
    while (i < half && j < count)
        keys[k++] = compare_keys(&scratch[i], &keys[j], descending) <= 0 ? scratch[i++] : keys[j++];
    while (i < half)
        keys[k++] = scratch[i++];
}

static void sort_order(struct table *table)
{
    if (table->sort < 0 || table->tree >= 0 || table->order_count < 2)
        return;
    const struct column *column = &table->columns[table->sort];
    struct sort_key *keys = checked(talloc_array(NULL, struct sort_key, table->order_count * 3 / 2 + 1));
    for (size_t i = 0; i < table->order_count; i++) {
        struct value value = column->value(table->rows[table->order[i]].data);
        bool nan = value.kind == VALUE_REAL && value.real != value.real;
        bool last = value.kind == VALUE_BLANK || value.kind == VALUE_UNKNOWN || nan;
        keys[i] = (struct sort_key){value, table->order[i], last};
    }
    merge_sort(keys, keys + table->order_count, table->order_count, table->descending);
    for (size_t i = 0; i < table->order_count; i++)
        table->order[i] = keys[i].row;
    talloc_free(keys);
}

/* In a tree the ancestors of a match stay: going backwards, a row stays when something below it, one deeper,
 * does. */
static void keep_ancestors(const struct table *table, bool *stays)
{
    int wanted = 0; /* rows above with a smaller depth than this are ancestors of something that stays */
    for (size_t i = table->count; i-- > 0;) {
        int depth = table->rows[i].depth;
        if (table->matches[i]) {
            stays[i] = true;
            wanted = depth;
        } else if (depth < wanted) {
            stays[i] = true;
            wanted = depth;
        }
    }
}

static void build_order(struct table *table)
{
    table->order_count = table->matching = 0;
    for (size_t i = 0; i < table->count; i++) {
        table->matches[i] = !table->filter || table_filter_matches(table->filter, table, table->rows[i].data);
        table->matching += table->matches[i];
    }
    bool *stays = table->matches;
    if (table->tree >= 0 && table->filter) {
        stays = checked(talloc_zero_array(NULL, bool, table->count + 1));
        keep_ancestors(table, stays);
    }
    for (size_t i = 0; i < table->count; i++)
        if (stays[i])
            table->order[table->order_count++] = (uint32_t)i;
    if (stays != table->matches)
        talloc_free(stays);
    sort_order(table);
}

/* ---- lines ---- */

static size_t branch_end(const struct table *table, size_t at)
{
    int depth = table->rows[table->order[at]].depth;
    size_t end = at + 1;
    while (end < table->order_count && table->rows[table->order[end]].depth > depth)
        end++;
    return end;
}

static void add_more(struct table *table, uint32_t parent, size_t hidden)
{
    table->lines[table->line_count++] =
        (struct table_line){.row = parent, .more = (uint32_t)hidden, .depth = table->rows[parent].depth + 1};
}

/* How many children of the branch at `at` are shown: all (-1), none, or the branch limit. */
static int children_shown(const struct table *table, size_t at)
{
    bool folded = false;
    if (table->filter)
        return -1; /* matches are never folded away */
    if (table_id_in(table->folds, table->rows[table->order[at]].id, &folded))
        return folded ? 0 : -1;
    return table->branch_limit > 0 ? table->branch_limit : -1;
}

/* The rows from `at` to `end` are one branch; returns with its lines added. */
static void add_branch(struct table *table, size_t at, size_t end)
{
    uint32_t row = table->order[at];
    table->lines[table->line_count++] = (struct table_line){.row = row, .depth = table->rows[row].depth};
    int left = children_shown(table, at);
    for (size_t child = at + 1; child < end;) {
        size_t child_end = branch_end(table, child);
        /* A line that says "1 more" would take the place of that one. */
        if (left == 0 && (end - child > 1 || child == at + 1)) {
            add_more(table, row, end - child);
            return;
        }
        left -= left > 0;
        add_branch(table, child, child_end);
        child = child_end;
    }
}

/* Which lines of the tree go on below: from the last line upwards. */
static void draw_guides(struct table *table)
{
    uint64_t open = 0;
    for (size_t i = table->line_count; i-- > 0;) {
        struct table_line *line = &table->lines[i];
        int depth = line->depth < 63 ? line->depth : 63;
        uint64_t bit = (uint64_t)1 << depth;
        line->last = !(open & bit);
        line->guides = open & (bit - 1);
        open = (open & (bit - 1)) | bit;
    }
}

static void find_cursor(struct table *table, bool refreshed)
{
    if (table->selected) {
        for (size_t i = 0; i < table->line_count; i++) {
            const struct table_line *line = &table->lines[i];
            if (!line->more && strcmp(table->rows[line->row].id, table->selected) == 0) {
                table->cursor = i;
                return;
            }
        }
        table->moved = table->moved || (refreshed && table->line_count > 0);
    }
    if (table->line_count == 0)
        return; /* the id is kept: the row may come back with the next refresh */
    if (table->cursor >= table->line_count)
        table->cursor = table->line_count - 1;
    while (table->cursor > 0 && table->lines[table->cursor].more)
        table->cursor--;
    talloc_free(table->selected);
    table->selected = checked(talloc_strdup(table, table->rows[table->lines[table->cursor].row].id));
}

static void build_lines(struct table *table, bool refreshed)
{
    table->line_count = 0;
    for (size_t at = 0; at < table->order_count;) {
        if (table->tree < 0) {
            table->lines[table->line_count++] = (struct table_line){.row = table->order[at++]};
            continue;
        }
        size_t end = branch_end(table, at);
        add_branch(table, at, end);
        at = end;
    }
    if (table->tree >= 0)
        draw_guides(table);
    find_cursor(table, refreshed);
}

static void rebuild(struct table *table, bool refreshed)
{
    build_order(table);
    build_lines(table, refreshed);
}

/* ---- making and filling ---- */

static int table_destructor(struct table *table)
{
    /* The items go with the table; uthash's own memory does not. */
    HASH_CLEAR(hh, table->marks);
    HASH_CLEAR(hh, table->folds);
    return 0;
}

struct table *table_new(const void *context, const struct column *columns, size_t count)
{
    struct table *table = checked(talloc_zero(context, struct table));
    talloc_set_destructor(table, table_destructor);
    table->columns = columns;
    table->column_count = count;
    table->shown = checked(talloc_zero_array(table, bool, count + 1));
    table->tree = table->sort = -1;
    for (size_t i = 0; i < count; i++)
        if (columns[i].flags & COLUMN_TREE)
            table->tree = (int)i;
    table->empty = checked(talloc_strdup(table, "nothing here"));
    table->filter_text = checked(talloc_strdup(table, ""));
    table_set_context(table, NULL);
    table_set_rows(table, NULL, 0);
    return table;
}

void table_set_context(struct table *table, const void *context)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        bool absent = context && column->absent && column->absent(context);
        table->shown[i] = !absent && !(column->flags & COLUMN_HIDDEN);
    }
}

void table_set_empty(struct table *table, const char *text)
{
    talloc_free(table->empty);
    table->empty = checked(talloc_strdup(table, text));
}

void table_set_late(struct table *table, bool late)
{
    table->late = late;
}

void table_set_branch_limit(struct table *table, int children)
{
    table->branch_limit = children;
    build_lines(table, false);
}

void table_set_rows(struct table *table, const struct table_row *rows, size_t count)
{
    struct table_row *old = table->rows;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += strlen(rows[i].id) + 1;
    table->rows = checked(talloc_array(table, struct table_row, count + 1));
    char *ids = checked(talloc_size(table->rows, bytes + 1));
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(rows[i].id) + 1;
        table->rows[i] = rows[i];
        table->rows[i].id = memcpy(ids, rows[i].id, length);
        ids += length;
    }
    talloc_free(old);
    if (!table->order || count > table->count || count < table->count / 2) {
        table->order = checked(talloc_realloc(table, table->order, uint32_t, count + 1));
        table->matches = checked(talloc_realloc(table, table->matches, bool, count + 1));
        /* every branch may have a line that says how many more there are */
        table->lines = checked(talloc_realloc(table, table->lines, struct table_line, count * 2 + 1));
    }
    table->count = count;
    rebuild(table, true);
}

bool table_selection_moved(const struct table *table)
{
    return table->moved;
}

/* ---- sorting and filtering ---- */

bool table_sort(struct table *table, const char *column_id, bool descending)
{
    int column = -1;
    for (size_t i = 0; column_id && i < table->column_count; i++)
        if (strcmp(table->columns[i].id, column_id) == 0)
            column = (int)i;
    if (table->tree >= 0 || (column_id && column < 0))
        return false;
    table->sort = column;
    table->descending = descending;
    rebuild(table, false);
    return true;
}

const char *table_sorted_by(const struct table *table, bool *descending)
{
    if (descending)
        *descending = table->descending;
    return table->sort < 0 ? NULL : table->columns[table->sort].id;
}

bool table_set_filter(struct table *table, const char *filter, struct error *error)
{
    bool good = true;
    char *text = checked(talloc_strdup(table, filter ? filter : ""));
    struct filter *fresh = table_filter_parse(table, table, text, &good, error);
    /* The last filter that had words stays for next match. */
    if (fresh || table->filter) {
        if (table->search != table->filter)
            talloc_free(table->search);
        table->search = fresh ? fresh : table->filter;
        if (fresh)
            talloc_free(table->filter);
    }
    table->filter = fresh;
    talloc_free(table->filter_text);
    table->filter_text = text;
    rebuild(table, false);
    return good;
}

const char *table_filter(const struct table *table)
{
    return table->filter_text;
}

size_t table_count(const struct table *table)
{
    return table->count;
}

size_t table_matching(const struct table *table)
{
    return table->matching;
}

/* ---- selection and marks ---- */

const struct table_row *table_selected(const struct table *table)
{
    if (table->cursor >= table->line_count || table->lines[table->cursor].more)
        return NULL;
    return &table->rows[table->lines[table->cursor].row];
}

static void select_line(struct table *table, size_t line)
{
    if (line >= table->line_count)
        return;
    table->cursor = line;
    talloc_free(table->selected);
    table->selected = checked(talloc_strdup(table, table->rows[table->lines[line].row].id));
}

bool table_select(struct table *table, const char *id)
{
    for (size_t i = 0; i < table->line_count; i++) {
        if (!table->lines[i].more && strcmp(table->rows[table->lines[i].row].id, id) == 0) {
            select_line(table, i);
            table->moved = false;
            return true;
        }
    }
    return false;
}

const struct table_row *table_shown(const struct table *table, size_t index)
{
    if (table->order_count == table->matching)
        return index < table->order_count ? &table->rows[table->order[index]] : NULL;
    for (size_t i = 0; i < table->order_count; i++)
        if (table->matches[table->order[i]] && index-- == 0)
            return &table->rows[table->order[i]];
    return NULL;
}

const struct table_row *table_next_marked(const struct table *table, size_t *at)
{
    while (table->marks && *at < table->count) {
        const struct table_row *row = &table->rows[(*at)++];
        if (table_id_in(table->marks, row->id, NULL))
            return row;
    }
    return NULL;
}

size_t table_marked_count(const struct table *table)
{
    size_t at = 0, count = 0;
    while (table_next_marked(table, &at))
        count++;
    return count;
}

static void table_unmark(struct table *table)
{
    id_clear(&table->marks);
}

void table_fold(struct table *table, const char *id, bool folded)
{
    id_put(table, &table->folds, id, folded);
    build_lines(table, false);
}

char *table_status(const struct table *table, char *buffer, size_t size)
{
    size_t marked = table_marked_count(table), used = 0;
    buffer[0] = '\0';
    if (table->filter)
        used = (size_t)snprintf(buffer, size, "%zu of %zu · filter %s", table->matching, table->count,
                                table->filter_text);
    if (marked && used < size)
        snprintf(buffer + used, size - used, "%s%zu marked", used ? " · " : "", marked);
    return buffer;
}

/* ---- actions ---- */

/* By `steps` lines that are rows; stops at the ends. */
static void move_selection(struct table *table, long steps)
{
    long direction = steps < 0 ? -1 : 1, at = (long)table->cursor, reached = at;
    for (long left = steps * direction; left > 0;) {
        at += direction;
        if (at < 0 || at >= (long)table->line_count)
            break;
        if (table->lines[at].more)
            continue;
        reached = at;
        left--;
    }
    select_line(table, (size_t)reached);
}

static void move_to_end(struct table *table, bool last)
{
    move_selection(table, last ? (long)table->line_count : -(long)table->line_count);
}

static void toggle_mark(struct table *table)
{
    const struct table_row *row = table_selected(table);
    struct id_set *found = NULL;
    if (!row)
        return;
    if (table->marks)
        HASH_FIND_STR(table->marks, row->id, found);
    if (found)
        id_remove(&table->marks, found);
    else
        id_put(table, &table->marks, row->id, true);
    move_selection(table, 1);
}

static void mark_all(struct table *table)
{
    for (size_t i = 0; i < table->order_count; i++)
        if (table->matches[table->order[i]])
            id_put(table, &table->marks, table->rows[table->order[i]].id, true);
}

/* 0: no children; 1: all of them are shown; 2: some are hidden. */
static int branch_state(const struct table *table, size_t line)
{
    int depth = table->lines[line].depth;
    bool children = false;
    for (size_t i = line + 1; i < table->line_count && table->lines[i].depth > depth; i++) {
        children = true;
        if (table->lines[i].more && table->lines[i].row == table->lines[line].row)
            return 2;
    }
    return children ? 1 : 0;
}

static void fold_selected(struct table *table)
{
    const struct table_row *row = table_selected(table);
    int state = row ? branch_state(table, table->cursor) : 0;
    if (state)
        table_fold(table, row->id, state == 1);
}

static void go_left(struct table *table)
{
    const struct table_row *row = table_selected(table);
    if (table->tree < 0 || !row) {
        table->scroll -= table->scroll > 0;
        return;
    }
    if (branch_state(table, table->cursor) == 1) {
        table_fold(table, row->id, true);
        return;
    }
    for (size_t i = table->cursor; i-- > 0;) {
        if (table->lines[i].depth < table->lines[table->cursor].depth) {
            select_line(table, i);
            return;
        }
    }
    table->scroll -= table->scroll > 0;
}

static void go_right(struct table *table)
{
    const struct table_row *row = table_selected(table);
    if (table->tree >= 0 && row && branch_state(table, table->cursor) == 2)
        table_fold(table, row->id, false);
    else
        table->scroll++; /* the drawing knows where the end is */
}

static bool line_matches(const struct table *table, size_t line)
{
    const struct filter *filter = table->filter ? table->filter : table->search;
    return filter && table_filter_matches(filter, table, table->rows[table->lines[line].row].data);
}

static bool line_is_worse(const struct table *table, size_t line)
{
    const struct table_row *row = &table->rows[table->lines[line].row];
    if (row->severity >= SEVERITY_WARNING)
        return true;
    for (size_t c = 0; c < table->column_count; c++)
        if (table->shown[c] && table->columns[c].value(row->data).severity >= SEVERITY_WARNING)
            return true;
    return false;
}

/* The next line for which `wanted` holds, going round. */
static void move_to(struct table *table, bool backwards,
                    bool (*wanted)(const struct table *table, size_t line))
{
    size_t count = table->line_count;
    for (size_t i = 1; i <= count; i++) {
        size_t line = (table->cursor + (backwards ? count - i : i)) % count;
        if (!table->lines[line].more && wanted(table, line)) {
            select_line(table, line);
            return;
        }
    }
}

static void sort_next(struct table *table)
{
    int column = table->sort;
    do
        column++;
    while (column < (int)table->column_count && !table->shown[column]);
    if (column >= (int)table->column_count) {
        table_sort(table, NULL, false);
        return;
    }
    /* the greatest numbers first, texts from A */
    table_sort(table, table->columns[column].id,
               table_right_aligned(&table->columns[column]) && table->columns[column].unit != UNIT_ID);
}

static enum table_want act_on_rows(struct table *table, const char *verb)
{
    if (strcmp(verb, "mark") == 0)
        toggle_mark(table);
    else if (strcmp(verb, "mark-all") == 0)
        mark_all(table);
    else if (strcmp(verb, "unmark") == 0)
        table_unmark(table);
    else if (strcmp(verb, "filter") == 0)
        return TABLE_WANTS_FILTER;
    else if (strcmp(verb, "clear-filter") == 0)
        table_set_filter(table, NULL, NULL);
    else if (strcmp(verb, "next-match") == 0)
        move_to(table, false, line_matches);
    else if (strcmp(verb, "previous-match") == 0)
        move_to(table, true, line_matches);
    else if (strcmp(verb, "next-worst") == 0)
        move_to(table, false, line_is_worse);
    else if (strcmp(verb, "sort-next") == 0)
        sort_next(table);
    else if (strcmp(verb, "sort-reverse") == 0)
        table_sort(table, table_sorted_by(table, NULL), !table->descending);
    else if (strcmp(verb, "fold") == 0)
        fold_selected(table);
    else if (strcmp(verb, "copy") == 0)
        return TABLE_WANTS_COPY;
    else if (strcmp(verb, "export") == 0)
        return TABLE_WANTS_EXPORT;
    else
        return TABLE_IGNORED;
    return TABLE_HANDLED;
}

void table_select_first(struct table *table)
{
    if (!table->touched)
        move_to_end(table, false);
}

enum table_want table_act(struct table *table, const char *action_id)
{
    static const char prefix[] = "table.";
    if (strncmp(action_id, prefix, sizeof prefix - 1) != 0)
        return TABLE_IGNORED;
    const char *verb = action_id + sizeof prefix - 1;
    long page = table->page > 1 ? table->page - 1 : 1;
    table->moved = false;
    table->touched = true;
    if (strcmp(verb, "down") == 0)
        move_selection(table, 1);
    else if (strcmp(verb, "up") == 0)
        move_selection(table, -1);
    else if (strcmp(verb, "page-down") == 0)
        move_selection(table, page);
    else if (strcmp(verb, "page-up") == 0)
        move_selection(table, -page);
    else if (strcmp(verb, "first") == 0)
        move_to_end(table, false);
    else if (strcmp(verb, "last") == 0)
        move_to_end(table, true);
    else if (strcmp(verb, "left") == 0)
        go_left(table);
    else if (strcmp(verb, "right") == 0)
        go_right(table);
    else
        return act_on_rows(table, verb);
    return TABLE_HANDLED;
}

size_t table_scroll_to(struct table *table, int rows)
{
    size_t height = rows > 0 ? (size_t)rows : 1;
    size_t context = height > 4 * CONTEXT_LINES ? CONTEXT_LINES : 0;
    if (table->cursor < table->top + context)
        table->top = table->cursor > context ? table->cursor - context : 0;
    if (table->cursor + context >= table->top + height)
        table->top = table->cursor + context + 1 - height;
    if (table->top + height > table->line_count)
        table->top = table->line_count > height ? table->line_count - height : 0;
    return table->top;
}

bool table_click(struct table *table, int row, int column)
{
    int line = row - table->drawn_top;
    if (line < 0 || line >= table->drawn_rows || column < table->drawn_left ||
        column >= table->drawn_left + table->drawn_columns || table->top + (size_t)line >= table->line_count)
        return false;
    if (table->lines[table->top + (size_t)line].more)
        return false;
    select_line(table, table->top + (size_t)line);
    table->touched = true;
    table->moved = false;
    return true;
}

/* ---- copying ---- */

static char *copy_row(char *text, const struct table *table, const struct table_row *row)
{
    bool first = true;
    for (size_t c = 0; c < table->column_count; c++) {
        char buffer[256];
        if (!table->shown[c])
            continue;
        struct value value = table->columns[c].value(row->data);
        char *whole = NULL;
        if (value.kind == VALUE_TEXT)
            whole = (table->columns[c].flags & COLUMN_STATEMENT) ? safe_line_new(NULL, value.text)
                                                                 : safe_text_new(NULL, value.text);
        else
            value_format(buffer, sizeof buffer, &table->columns[c], value);
        text =
            checked(talloc_asprintf_append_buffer(text, "%s%s", first ? "" : "\t", whole ? whole : buffer));
        talloc_free(whole);
        first = false;
    }
    return checked(talloc_strdup_append_buffer(text, "\n"));
}

char *table_copy_text(const void *context, const struct table *table)
{
    char *text = checked(talloc_strdup(context, ""));
    const struct table_row *row;
    size_t at = 0;
    bool any = false;
    for (size_t c = 0; c < table->column_count; c++) {
        if (!table->shown[c])
            continue;
        text = checked(talloc_asprintf_append_buffer(text, "%s%s", any ? "\t" : "", table->columns[c].title));
        any = true;
    }
    text = checked(talloc_strdup_append_buffer(text, "\n"));
    any = false;
    while ((row = table_next_marked(table, &at))) {
        text = copy_row(text, table, row);
        any = true;
    }
    row = table_selected(table);
    return !any && row ? copy_row(text, table, row) : text;
}
