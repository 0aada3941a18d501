#include "panels/plan_dialog.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "panels/console.h"
#include "panels/plan_view.h"
#include "tui/dialog.h"

/* The schema that was chosen last: the next statement is probably of the same tenant. */
struct last_schema {
    char *search_path;
};

static struct last_schema *last_schema(struct app *app)
{
    if (!app->panel_state)
        app->panel_state = talloc_zero(app, struct last_schema);
    return app->panel_state;
}

static struct plan_request *request_new(struct pg_server *server, const char *sql, const char *database,
                                        bool truncated, bool measure)
{
    struct plan_request *request = talloc_zero(NULL, struct plan_request);
    request->server = server;
    request->sql = talloc_strdup(request, sql);
    request->explain.sql = request->sql;
    request->explain.database = database ? talloc_strdup(request, database) : NULL;
    request->explain.truncated = truncated;
    request->explain.measure = measure;
    return request;
}

static struct plan_request *request_copy(const struct plan_request *from)
{
    struct plan_request *request = request_new(from->server, from->sql, from->explain.database,
                                               from->explain.truncated, from->explain.measure);
    request->schemas_offered = from->schemas_offered;
    return request;
}

/* ---- which schema ---- */

/* Waits for the schemas, and then for the choice of one. */
struct schema_choice {
    struct app *app;
    struct plan_request *request;
    unsigned place; /* of the user when it was asked */
    char **names;
    bool replaces; /* the plan that failed is on top: it goes */
};

static struct schema_choice *schema_choice_new(struct app *app, struct plan_request *request)
{
    struct schema_choice *choice = talloc_zero(NULL, struct schema_choice);
    choice->app = app;
    choice->place = console_place(app->console);
    choice->request = talloc_steal(choice, request);
    return choice;
}

/* Nothing opens under the fingers of somebody who went on to something else. */
static bool has_gone_on(const struct schema_choice *choice)
{
    return console_place(choice->app->console) != choice->place;
}

static void check_request(struct app *app, struct plan_request *request);

static void request_go_on(struct app *app, struct plan_request *request)
{
    if (request->explain.measure)
        check_request(app, request);
    else
        plan_view_run(app, request);
}

static void schema_chosen(struct app *app, void *data, size_t index)
{
    struct schema_choice *choice = data;
    struct plan_request *request = talloc_steal(NULL, choice->request);
    struct last_schema *last = last_schema(app);
    talloc_free(last->search_path);
    last->search_path = talloc_asprintf(last, "%s, public", choice->names[index]);
    request->explain.search_path = talloc_strdup(request, last->search_path);
    if (choice->replaces)
        console_pop(app->console);
    request_go_on(app, request);
}

static void schemas_found(void *data, const struct explain_schema *schemas, size_t count,
                          const struct error *error)
{
    struct schema_choice *choice = data;
    struct app *app = choice->app;
    if (has_gone_on(choice)) {
        talloc_free(choice);
        return;
    }
    if (error || !count) {
        if (error)
            console_say_error(app->console, error);
        else
            console_say(
                app->console, SEVERITY_WARNING,
                "no schema that the role may see has all the tables that the statement names without one");
        talloc_free(choice);
        return;
    }
    struct choice_line *lines = talloc_zero_array(choice, struct choice_line, count);
    choice->names = talloc_array(choice, char *, count);
    for (size_t i = 0; i < count; i++) {
        char size[32] = "?";
        if (schemas[i].bytes >= 0)
            format_bytes(size, sizeof size, (double)schemas[i].bytes);
        choice->names[i] = talloc_strdup(choice->names, schemas[i].name);
        lines[i].text = talloc_asprintf(lines, "%-24s ≈%s", schemas[i].name, size);
    }
    console_choose(app->console, "The statement names no schema. In which one?", lines, count, schema_chosen,
                   choice);
}

static void offer_schemas(struct app *app, const struct plan_request *failed, bool replaces)
{
    struct schema_choice *choice = schema_choice_new(app, request_copy(failed));
    choice->replaces = replaces;
    choice->request->schemas_offered = true;
    explain_schemas(app->loop, failed->server, &choice->request->explain, schemas_found, choice);
}

void plan_dialog_failed(struct app *app, const struct plan_request *request, const struct error *error)
{
    if (error->kind == ERROR_MISSING && !request->schemas_offered)
        offer_schemas(app, request, true);
}

void plan_dialog_other_schema(struct app *app, const struct plan_request *request)
{
    offer_schemas(app, request, true);
}

/* ---- the dialog before a measured plan ---- */

struct measure_layer {
    struct plan_request *request;
    struct dialog *dialog;
    int fields[EXPLAIN_PARAMETERS];
    int timeout_field;
};

static void measure_accepted(struct app *app, struct dialog *dialog, void *data)
{
    struct measure_layer *self = data;
    struct plan_request *request = talloc_steal(NULL, self->request);
    double timeout;
    for (size_t i = 0; i < request->explain.value_count; i++) {
        const char *typed = dialog_value(dialog, self->fields[i]);
        const char *proposed = request->explain.values[i];
        if (!proposed || strcmp(typed, proposed) != 0)
            request->explain.origins[i] = "typed";
        request->explain.values[i] = strcmp(typed, "NULL") == 0 ? NULL : talloc_strdup(request, typed);
    }
    if (parse_duration(dialog_value(dialog, self->timeout_field), &timeout) && timeout > 0)
        request->explain.statement_timeout_s = timeout;
    plan_view_run(app, request);
}

static void add_fields(struct measure_layer *self, struct dialog *dialog, const struct explain_check *check)
{
    struct plan_request *request = self->request;
    request->explain.value_count = check->parameter_count;
    for (size_t i = 0; i < check->parameter_count; i++) {
        const struct explain_parameter *parameter = &check->parameters[i];
        char *label = talloc_asprintf(self, "$%zu %s", i + 1, parameter->type);
        request->explain.values[i] = talloc_strdup(request, parameter->value ? parameter->value : "");
        request->explain.origins[i] = talloc_strdup(request, parameter->origin ? parameter->origin : "typed");
        self->fields[i] = dialog_add_field(dialog, &(struct dialog_field){.label = label,
                                                                          .text = parameter->value,
                                                                          .hint = parameter->origin,
                                                                          .required = true});
    }
    self->timeout_field = dialog_add_field(
        dialog, &(struct dialog_field){
                    .label = "At most", .text = "30s", .hint = "then the server stops it", .required = true});
}

static void check_done(void *data, const struct explain_check *check, const struct error *error)
{
    struct schema_choice *waiting = data;
    struct app *app = waiting->app;
    if (has_gone_on(waiting)) {
        talloc_free(waiting);
        return;
    }
    struct plan_request *request = talloc_steal(NULL, waiting->request);
    talloc_free(waiting);
    if (!check) {
        if (error->kind == ERROR_MISSING && !request->schemas_offered)
            offer_schemas(app, request, false);
        else
            console_say_error(app->console, error);
        talloc_free(request);
        return;
    }
    if (!check->plain_read) {
        console_say_error(app->console, &check->refusal);
        talloc_free(request);
        return;
    }
    struct measure_layer *self = talloc_zero(NULL, struct measure_layer);
    char sql[1024], where[512];
    self->request = talloc_steal(self, request);
    struct dialog *dialog = console_dialog_new(app->console, "Measure: EXPLAIN ANALYZE runs this statement",
                                               "measure", measure_accepted, self);
    dialog_add_text(dialog, "Runs", STYLE_NORMAL, (safe_line(sql, sizeof sql, request->sql), sql));
    snprintf(where, sizeof where, "%s on %s, database %s, search_path %s", check->role, check->server,
             check->database, check->search_path ? check->search_path : "of the role");
    dialog_add_text(dialog, "As", STYLE_NORMAL, where);
    dialog_add_text(
        dialog, "Safety", STYLE_OK,
        "a plain read: one SELECT, all functions non-volatile or on the list of harmless ones. Its own "
        "connection, READ ONLY, time limits, ROLLBACK; recorded in the audit log");
    add_fields(self, dialog, check);
    console_dialog_open(app->console);
}

static void check_request(struct app *app, struct plan_request *request)
{
    struct schema_choice *waiting = schema_choice_new(app, request);
    console_say(app->console, SEVERITY_NONE, "checking that the statement only reads …");
    explain_check(app->loop, request->server, &request->explain, check_done, waiting);
}

bool plan_view_open(struct app *app, const struct plan_subject *subject, bool measure, struct error *error)
{
    if (!pg_server_definition(subject->server)->read)
        return error_set(
            error, ERROR_INTERLOCK, pg_server_name(subject->server), "no plan",
            "Add read: to the server in the environment file; its role needs SELECT on the tables.",
            "the environment defines no login for reading");
    struct plan_request *request =
        request_new(subject->server, subject->sql, subject->database, subject->truncated, measure);
    const char *search_path = subject->search_path ? subject->search_path : last_schema(app)->search_path;
    if (search_path)
        request->explain.search_path = talloc_strdup(request, search_path);
    request_go_on(app, request);
    return true;
}
