/*
 * The interface of a panel: what a person sees and does there, as data. One file a panel, one line in
 * registry.c. Most of a panel is its column tables and its action table; the console and the batch commands
 * do the rest.
 */
#ifndef PANELS_PANEL_H
#define PANELS_PANEL_H

#include "core/action.h"
#include "core/value.h"
#include "panels/app.h"
#include "tui/page.h"
#include "tui/screen.h"
#include "tui/table.h"

/* The rows of a view at this moment. Everything in them is borrowed from snapshots, or allocated under the
 * list. */
struct row_list {
    struct table_row *rows; /* a talloc array under the list */
    size_t count;
    size_t room;
};
struct row_list *row_list_new(const void *context);
/* Keeps a snapshot as long as the list: the rows point into it. */
void row_list_hold(struct row_list *list, const void *snapshot);
void row_list_add(struct row_list *list, struct table_row row);

/* Where rows come from: one a server and feed, for the envelope's `sources` and the line that says how old
 * the data are. */
struct source {
    const char *server;
    const char *database; /* NULL: unknown yet */
    struct feed *feed;
    const struct error *connection_error; /* of the connection; kind ERROR_NONE when it is up */
    const struct error
        *note; /* what is missing though it answers (a grant); NULL or kind ERROR_NONE: nothing */
};
/* Sources of a view; filled like a row_list. */
struct source_list {
    struct source *items; /* a talloc array under the list */
    size_t count;
    size_t room;
};
struct source_list *source_list_new(const void *context);
void source_list_add(struct source_list *list, struct source source);

struct view {
    const char *id; /* "statements": the context of its keys, and --view */
    const char *title;
    const char *summary;
    const char *empty; /* what the screen says when there is no row */
    const struct column *columns;
    size_t column_count;
    const char *tree; /* the column that carries a tree's lines when rows have depths; NULL: none */
    const char
        *tell; /* the column whose value is told in full below the table for the selected row; NULL: none */
    const char *sort; /* column; NULL: as the rows come (trees) */
    bool descending;
    /* Begins or ends wanting the feeds. */
    void (*want)(struct app *app, bool wanted);
    void (*sources)(struct app *app, struct source_list *sources);
    /* For commands that print once: do rates have their second sample? NULL: the sources' answers are enough.
     */
    bool (*complete)(struct app *app);
    /* The rows themselves say which source does not answer and how old they are (a row a host): no lines
     * above the table do. */
    bool rows_tell;
    void (*rows)(struct app *app, struct row_list *rows);
    /* A number that changes when rows would be others; NULL: they are made anew for each frame. */
    uint64_t (*version)(struct app *app);
    /* What the figures are of ("since reset") and since when; may be NULL. */
    const char *(*basis)(struct app *app, double *since);
    /* What else must be known about the figures, in a few words ("12 entries evicted"); "" for nothing. May
     * be NULL. */
    void (*note)(struct app *app, char *buffer, size_t size);
    /* Lines above the table (a chart, a verdict): returns how many it took of at most `rows`. May be NULL. */
    int (*head)(struct app *app, struct screen *screen, int top, int columns, int rows);
    /* What `head` says in words, a line each, for commands that print once. May be NULL. */
    void (*lines)(struct app *app, void (*line)(void *data, const char *text), void *data);
    /* What C-c stops (reading a long list); false: there is nothing to stop. May be NULL. */
    bool (*cancel)(struct app *app);
    /* What Enter does with a row; NULL: it shows the detail. */
    void (*enter)(struct app *app, const struct table_row *row);
    /* All about one row. May be NULL: Enter does nothing. */
    void (*detail)(struct app *app, const struct table_row *row, struct page *page);
};

struct panel_ops {
    const char *id;    /* "queries": the sub-command, and the context of its keys */
    const char *title; /* "Queries": the tab */
    const char *summary;
    int number; /* its key, 1 to 9; 0: it has no tab, another panel lays it on top (console_push_panel) */
    /* What a panel without a tab is about now ("web1"). NULL for the others. */
    const char *(*subject)(struct app *app);
    const char *parent; /* of a panel without a tab: the panel whose keys work here too; NULL: none */
    const struct view *const *views;
    size_t view_count;
    const struct action *actions;
    size_t action_count;
    /* What is not possible with what is looked at, and why: sections at the end of `?`. May be NULL. */
    void (*help)(struct app *app, struct page *page);
    /* Does an action of the panel's table. False: not possible now; error says why. NULL: there are none. */
    bool (*act)(struct app *app, const char *action, struct error *error);
};

/* The list of all panels, in the order of their numbers. */
extern const struct panel_ops *const panel_registry[];
extern const size_t panel_count;
const struct panel_ops *panel_find(const char *id);
const struct view *panel_view(const struct panel_ops *panel, const char *id);

/* All actions there are, general ones and those of every panel. Talloc'd array under context. */
const struct action **panel_actions(const void *context, size_t *count);

#endif
