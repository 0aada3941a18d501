/* Panels as commands: the same columns, as JSON, CSV or aligned text on standard output. */
#ifndef PANELS_BATCH_H
#define PANELS_BATCH_H

#include <stdio.h>

#include "backends/change.h"
#include "panels/options.h"
#include "panels/panel.h"

/* Runs the panel as a command. Exit status: 0 everything answered, 1 a source failed (its rows are missing,
 * the rest is printed), 2 the command line or the environment is wrong. */
int batch_panel(const struct panel_ops *panel, const struct options *options);
/* The same with an app that there is already: takes it over. */
int batch_panel_with(struct app *app, const struct panel_ops *panel);

/* Turns the loop until ready() says so, or seconds have passed. */
bool batch_wait(struct loop *loop, double seconds, bool (*ready)(void *data), void *data);

/* An app for a command, or NULL after the errors were printed to stderr. */
struct app *batch_app(const struct options *options);

void batch_print_error(const struct error *error);

/* Whether the change is really meant: --yes where it is unlocked, else its preview and what must be typed, at
 * the terminal; that unlocks the environment. False with error: send nothing. */
bool batch_confirm_change(struct app *app, const struct change *change, struct error *error);

/* The whole way of a change on the command line: --dry-run, confirming, sending, what became of it. What is
 * reported goes to standard error. The first Ctrl-C stops what is not sent yet, the second gives up what
 * runs, where that is possible. The exit status: 0 done, 1 not all of it. The change stays the caller's. */
int batch_run_change(struct app *app, struct change *change);

/* The envelope with the rows of a view; `sources` may be NULL. Prints one line of JSON. */
void batch_print_json(FILE *file, struct app *app, const struct panel_ops *panel, const struct view *view,
                      const struct row_list *rows);
/* Its parts: everything but "rows", and one row. */
struct json_object *batch_json_envelope(struct app *app, const struct panel_ops *panel,
                                        const struct view *view);
struct json_object *batch_json_row(const struct view *view, const void *row);
/* The rows as CSV (RFC 4180) with a header. */
void batch_print_csv(FILE *file, const struct view *view, const struct row_list *rows);
/* The rows as aligned text with a header. */
void batch_print_plain(FILE *file, const struct view *view, const struct row_list *rows);
/* One value as JSON carries it: exact. */
struct json_object *batch_json_value(const struct column *column, struct value value);

#endif
