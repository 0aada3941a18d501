/*
 * The console: header, the panel's view, what lies on top of it (pages, dialogs, the prompt), footer. It owns
 * the screen, turns keys into actions, and is what panels call to show something.
 */
#ifndef PANELS_CONSOLE_H
#define PANELS_CONSOLE_H

#include <stdio.h>

#include "backends/change.h"
#include "panels/panel.h"
#include "tui/dialog.h"

/* Runs the console until it is left. The exit status; errors before the screen is taken go to stderr. */
int console_run(const struct options *options);

/* ---- what panels call ---- */

/* One line in place of the footer until the next key. */
void console_say(struct console *console, enum severity severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void console_say_error(struct console *console, const struct error *error);

/* The panel and the view that is shown (the topmost one), and shows another view of that panel. */
const struct panel_ops *console_panel(const struct console *console);
const struct view *console_view(const struct console *console);
void console_show_view(struct console *console, const char *view_id);

/* The selected row, or NULL; borrowed until the next turn of the loop. */
const struct table_row *console_selected(struct console *console);
/* The rows that are marked, or that the filter shows. Talloc'd array of borrowed pointers under context. */
const struct table_row **console_marked(struct console *console, const void *context, size_t *count);
const struct table_row **console_filtered(struct console *console, const void *context, size_t *count);
bool console_is_filtered(const struct console *console);

/* A page on top; `page` is taken over. `crumb` goes into the path of the title line. */
void console_push_page(struct console *console, const char *crumb, struct page *page);

/* A panel without a tab on top of the view (one host of a fleet): its views, table and actions are the
 * current ones until it is left. What it is about is the caller's to set before. */
void console_push_panel(struct console *console, const struct panel_ops *panel);

/* A choice of one of several lines; `chosen` is called with its number, or not at all. `data` is freed with
 * talloc_free afterwards. */
struct choice_line {
    const char *text;
    const char *disabled; /* why it cannot be chosen, or NULL */
};
void console_choose(struct console *console, const char *title, const struct choice_line *lines, size_t count,
                    void (*chosen)(struct app *app, void *data, size_t choice), void *data);

/* Opens the prompt at the bottom. `done` gets the line, or NULL when it was left; `kind` names its history.
 */
void console_prompt(struct console *console, const char *label, const char *kind, const char *initial,
                    void (*done)(struct app *app, void *data, const char *line), void *data);
/* Puts a text on the terminal's clipboard, and says so. */
void console_copy(struct console *console, const char *text);
/* Asks for a file of some kind (".csv or .json"), first proposed as `name`, and writes into it, in a worker,
 * what `write` writes; that returns how many rows there were. */
void console_export(struct console *console, const char *kinds, const char *name,
                    size_t (*write)(struct app *app, void *data, const char *path, FILE *file), void *data);

/* A dialog of a panel's own: console_dialog_new makes it, the panel fills it, console_dialog_open shows it.
 * `accepted` is called when it was accepted; `data` is freed with talloc_free afterwards, also when it was
 * left. */
struct dialog *console_dialog_new(struct console *console, const char *title, const char *accept,
                                  void (*accepted)(struct app *app, struct dialog *dialog, void *data),
                                  void *data);
void console_dialog_open(struct console *console);

/* The dialog of a change: preview, reason, confirmation; then sends it and tells what became of it. Takes the
 * change over. */
void console_change(struct console *console, struct change *change);

/* A layer of a panel's own, such as a plan. */
struct layer;
struct layer_ops {
    const char *const *contexts; /* key contexts, innermost first; NULL ends it */
    const char *(*crumb)(struct layer *layer);
    void (*draw)(struct layer *layer, struct screen *screen, int top, int rows, int columns);
    /* Does an action; false: not one of mine. */
    bool (*act)(struct layer *layer, const char *action);
    void (*free)(struct layer *layer); /* may be NULL; the talloc chunk itself is freed by the console */
};
struct layer {
    const struct layer_ops *ops;
    struct app *app;
    struct layer *below;
    struct table *table; /* the layer's table, when it has one: filter, sort, copy work on it */
};
/* Takes the layer (talloc'd) over. */
void console_push(struct console *console, struct layer *layer);
/* Frees the topmost layer. */
void console_pop(struct console *console);

bool console_is_on_top(const struct console *console, const struct layer *layer);

/* Where the user is: the number changes when something is laid on top or taken away, when a view is chosen, a
 * prompt opened, and at Esc. What was asked for in the background opens nothing when its answer finds the
 * user elsewhere. */
unsigned console_place(const struct console *console);

/* Leaves the screen to a program in the terminal, and comes back when it has ended. Returns at once: the loop
 * goes on meanwhile, without keys and drawing. `environment`: extra "NAME=VALUE", NULL at the end; may be
 * NULL. */
void console_run_program(struct console *console, const char *const argv[], const char *const environment[]);

#endif
