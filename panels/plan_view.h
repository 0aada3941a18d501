/* A plan on the screen: estimated or measured, as a foldable tree with what costs below it. */
#ifndef PANELS_PLAN_VIEW_H
#define PANELS_PLAN_VIEW_H

#include "panels/app.h"

struct plan_subject {
    struct pg_server *server;
    const char *sql;
    const char *database;    /* NULL: where the server's DSN leads */
    const char *search_path; /* NULL: as chosen last, or the role's own */
    bool truncated;          /* the server keeps no more of the text */
};

/* Opens the plan of a statement; with `measure` first the dialog that EXPLAIN ANALYZE always has. Texts are
 * copied. */
bool plan_view_open(struct app *app, const struct plan_subject *subject, bool measure, struct error *error);

#endif
