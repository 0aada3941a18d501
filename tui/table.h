/*
 * The generic table, and tree: a list of rows shown through columns, with selection, marks, sorting, filter,
 * search, folding and scrolling. It knows rows only by their columns' functions and an id that stays the same
 * from one refresh to the next: the selection, the marks and the folds follow ids, never row numbers.
 */
#ifndef TUI_TABLE_H
#define TUI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/value.h"
#include "tui/screen.h"

struct table;

struct table_row {
    const void *data;       /* for the columns' functions; borrowed until the next table_set_rows */
    const char *id;         /* stable and unique; copied by table_set_rows */
    int depth;              /* in a tree: 0 is a root; a row's children follow it */
    enum severity severity; /* of the whole row */
    bool dim;               /* late or unimportant */
};

/* The columns are borrowed for the table's life. A tree is a table with a COLUMN_TREE column. Owned by
 * `context`; talloc_free. */
struct table *table_new(const void *context, const struct column *columns, size_t count);
/* Columns whose absent(context) gives a reason are not shown. May be called again when it changes. */
void table_set_context(struct table *table, const void *context);
/* What is said when there are no rows at all ("nobody waits for a lock"). Copied. */
void table_set_empty(struct table *table, const char *text);
/* In a tree, how many children of a branch are shown ("… 28 more") until it is unfolded; 0 (as it begins):
 * all. */
void table_set_branch_limit(struct table *table, int children);
/* Everything is drawn dim: the rows are old. */
void table_set_late(struct table *table, bool late);

/* Replaces all rows. The rows' data must live until the next call (hold the snapshot). If the selected row is
 * gone, the one that took its place is selected and table_selection_moved says so until the next action. */
void table_set_rows(struct table *table, const struct table_row *rows, size_t count);
bool table_selection_moved(const struct table *table);

/* Sorts by a column; rows whose value is blank or unknown come last either way. Trees keep their order: false
 * there, and for an unknown column. NULL takes the sort off. */
bool table_sort(struct table *table, const char *column_id, bool descending);
/* The column that sorts, or NULL; *descending may be NULL. */
const char *table_sorted_by(const struct table *table, bool *descending);

/*
 * Shows only rows that match all words: `text` in any column that is on the screen, without regard to case;
 * `column:text`, `column=text` (the whole of it), `column>number`, `column<number`, `>=`, `<=`; `!` before
 * any of them turns it round; "quotes" keep blanks. Numbers take units (`mean>1.5s`, `size>20MB`, `rows>10k`)
 * and are in the column's unit without one. Columns go by id or title, hidden ones too. In a tree, ancestors
 * of matches stay. NULL or "" shows all. A column that does not exist, or a number that is none: false with
 * an error, and the word is taken as text.
 */
bool table_set_filter(struct table *table, const char *filter, struct error *error);
const char *table_filter(const struct table *table); /* "" when there is none */

/* Numbers of rows: all, and those that match the filter (folded ones included). */
size_t table_count(const struct table *table);
size_t table_matching(const struct table *table);
size_t table_marked_count(const struct table *table);
/* "12 of 340 · filter mean>1s · 3 marked" as far as it applies; "" when nothing is to be said. Returns
 * buffer. */
char *table_status(const struct table *table, char *buffer, size_t size);

/* The selected row, or NULL. Borrowed until the next table_set_rows. */
const struct table_row *table_selected(const struct table *table);
bool table_select(struct table *table, const char *id);
/* Selects the row that stands first, unless the user has moved in this table before. */
void table_select_first(struct table *table);
/* Rows that match the filter, in the order shown (folded ones included): 0 to table_matching - 1. */
const struct table_row *table_shown(const struct table *table, size_t index);
/* Marked rows that are still there, in the table's order: call with *at = 0 first; NULL at the end. */
const struct table_row *table_next_marked(const struct table *table, size_t *at);
void table_fold(struct table *table, const char *id, bool folded);

enum table_want {
    TABLE_IGNORED,      /* not an action of the table's */
    TABLE_HANDLED,      /* done; draw */
    TABLE_WANTS_FILTER, /* open the prompt for a filter; then table_set_filter on every change */
    TABLE_WANTS_COPY,   /* screen_copy(table_copy_text()) */
    TABLE_WANTS_EXPORT, /* write table_shown 0 .. n-1 */
};

/* Does an action of the context table (keymaps/general_actions.h). table.enter, table.pause and table.why
 * are the panel's: ignored. */
enum table_want table_act(struct table *table, const char *action_id);
/* A click: selects the row there, as drawn last. False when there is none. Coordinates of the screen. */
bool table_click(struct table *table, int row, int column);

/* The marked rows, or the selected one, as lines of tab-separated texts with the titles first. Fresh talloc
 * string. */
char *table_copy_text(const void *context, const struct table *table);

/* Draws the header line and the rows into the rectangle. Costs what is visible, not what there is. */
void table_draw(struct table *table, struct screen *screen, int top, int left, int rows, int columns);

#endif
