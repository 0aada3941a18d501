/* What is asked before a plan: in which schema, with which values; and the dialog that every measured plan
 * has. */
#ifndef PANELS_PLAN_DIALOG_H
#define PANELS_PLAN_DIALOG_H

#include "backends/postgres/explain.h"
#include "panels/app.h"

/* One question for a plan, with copies of all its texts under itself. */
struct plan_request {
    struct pg_server *server;
    const char *sql;
    struct explain_request explain;
    bool schemas_offered; /* schemas were offered once: not again */
};

/* Runs it, on a layer of its own. Takes the request (a talloc chunk) over. */
void plan_view_run(struct app *app, struct plan_request *request);

/* The run failed: when the statement names no schema, offers those that have its tables. */
void plan_dialog_failed(struct app *app, const struct plan_request *request, const struct error *error);

/* Offers the schemas again; the plan on top gives way to that of the one that is chosen. */
void plan_dialog_other_schema(struct app *app, const struct plan_request *request);

#endif
