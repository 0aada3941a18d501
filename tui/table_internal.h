/* What the files of the table share: rows and lines (table.c), the filter (table_filter.c), drawing
 * (table_draw.c). */
#ifndef TUI_TABLE_INTERNAL_H
#define TUI_TABLE_INTERNAL_H

#include <stdint.h>
#include <stdlib.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "tui/table.h"

enum filter_operator {
    FILTER_TEXT,
    FILTER_EQUAL,
    FILTER_GREATER,
    FILTER_LESS,
    FILTER_AT_LEAST,
    FILTER_AT_MOST
};

struct filter_term {
    bool negate;
    int column; /* -1: any that is on the screen */
    enum filter_operator operator;
    const char *text;
    double number; /* of comparisons, in the column's unit */
};

struct filter {
    struct filter_term *terms;
    size_t count;
};

/* Ids that carry something. */
struct id_set {
    char *id; /* talloc'd under the table */
    bool on;  /* folds: folded, or unfolded beyond the branch limit */
    UT_hash_handle hh;
};

/* One line of the body. */
struct table_line {
    uint32_t row;    /* of the rows; of the parent when `more` is not 0 */
    uint32_t more;   /* "… 28 more": not a row */
    uint64_t guides; /* bit d: the ancestor at depth d + 1 has siblings below this line */
    int depth;
    bool last; /* of its siblings */
};

struct table {
    const struct column *columns;
    size_t column_count;
    bool *shown; /* by column: may be on the screen */
    int tree;    /* the COLUMN_TREE column; -1: a flat table */
    char *empty;
    bool late;
    bool touched;     /* the user has moved in it */
    int branch_limit; /* children shown of a branch that nobody has touched; 0: all */

    struct table_row *rows; /* with their ids in one talloc context */
    size_t count;
    uint32_t *order; /* rows that are shown, sorted; in a tree with the ancestors of matches */
    size_t order_count;
    size_t matching;
    bool *matches; /* by row */
    struct table_line *lines;
    size_t line_count;

    char *selected; /* id, or NULL */
    size_t cursor;  /* its line */
    bool moved;
    struct id_set *marks, *folds;

    int sort; /* column; -1: none */
    bool descending;
    char *filter_text;
    struct filter *filter;
    struct filter *search; /* the last filter, for next match when it has been cleared */

    size_t top;                                           /* the first line on the screen */
    int scroll;                                           /* columns that are left out behind the first */
    int page;                                             /* lines that were visible when it was drawn last */
    int drawn_top, drawn_left, drawn_rows, drawn_columns; /* of the body */
};

/* A filter owned by `context`; *error is filled (and false put into *good) for words that make no sense as
 * comparisons and are taken as text. NULL when it has no words. */
struct filter *table_filter_parse(const void *context, const struct table *table, const char *text,
                                  bool *good, struct error *error);
bool table_filter_matches(const struct filter *filter, const struct table *table, const void *row);

/* A column by the name that people write; -1. */
int table_column_named(const struct table *table, const char *name, size_t length);
/* Numbers and what is like them stand at the right. */
bool table_right_aligned(const struct column *column);
bool table_id_in(const struct id_set *set, const char *id, bool *on);
/* The first line of the body that is drawn when there are `rows` of them: keeps the selection in sight. */
size_t table_scroll_to(struct table *table, int rows);

#endif
