#include "panels/hosts_command.h"

#include <json-c/json.h>
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/json.h"
#include "panels/batch.h"
#include "panels/host.h"
#include "panels/logs_command.h"

enum { PATIENCE_S = 20 };

static bool tier_settled(struct host *host, enum host_tier tier)
{
    enum feed_state state = host_feed(host, tier)->state;
    return state == FEED_LIVE || state == FEED_DENIED || state == FEED_UNAVAILABLE || state == FEED_FAILED ||
           ssh_host_state(host_ssh(host)) == CONNECTION_DOWN;
}

static bool host_known(void *data)
{
    struct app *app = data;
    for (int tier = 0; tier < HOST_TIERS; tier++)
        if (!tier_settled(hosts_state(app)->focus, (enum host_tier)tier))
            return false;
    return host_rates_known(hosts_state(app)->focus);
}

/* The rows of a view as an array of objects, by its columns. */
static struct json_object *json_rows(struct app *app, const struct view *view)
{
    struct row_list *rows = row_list_new(NULL);
    struct json_object *array = json_object_new_array();
    view->rows(app, rows);
    for (size_t i = 0; i < rows->count; i++)
        json_object_array_add(array, batch_json_row(view, rows->rows[i].data));
    talloc_free(rows);
    return array;
}

static struct json_object *json_problems(const struct host_snapshot *snapshot)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; snapshot && i < snapshot->problem_count; i++) {
        const struct host_problem *problem = &snapshot->problems[i];
        char letter[2] = {problem->letter, '\0'};
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "severity",
                               json_text(problem->severity >= SEVERITY_CRITICAL  ? "critical"
                                         : problem->severity == SEVERITY_WARNING ? "warning"
                                                                                 : "notice"));
        json_object_object_add(object, "kind", json_text(letter));
        json_object_object_add(object, "text", json_text(problem->text));
        json_object_object_add(object, "since", json_time(problem->since));
        json_object_array_add(array, object);
    }
    return array;
}

static struct json_object *json_denied(const struct host_snapshot *snapshot)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; snapshot && i < snapshot->denied_count; i++) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "what", json_text(snapshot->denied[i].what));
        json_object_object_add(object, "todo", json_text(snapshot->denied[i].todo));
        json_object_array_add(array, object);
    }
    return array;
}

/* The envelope of every panel, with the row of the fleet, and one array a view of the host. */
static void print_host(struct app *app)
{
    const struct host_snapshot *snapshot = host_latest(hosts_state(app)->focus);
    struct json_object *envelope = batch_json_envelope(app, &panel_host, panel_host.views[0]);
    struct row_list *rows = row_list_new(NULL);
    struct json_object *array = json_object_new_array();
    hosts_fleet.rows(app, rows);
    for (size_t i = 0; i < rows->count; i++)
        if (fleet_row_host(&rows->rows[i]) == hosts_state(app)->focus)
            json_object_array_add(array, batch_json_row(&hosts_fleet, rows->rows[i].data));
    json_object_object_add(envelope, "rows", array);
    json_object_object_add(envelope, "os", json_text(snapshot ? snapshot->os : NULL));
    json_object_object_add(envelope, "kernel", json_text(snapshot ? snapshot->kernel : NULL));
    json_object_object_add(envelope, "hostname", json_text(snapshot ? snapshot->hostname : NULL));
    json_object_object_add(envelope, "init", json_text(snapshot ? snapshot->init : NULL));
    json_object_object_add(envelope, "problems", json_problems(snapshot));
    json_object_object_add(envelope, "not_permitted", json_denied(snapshot));
    for (size_t i = 0; i < panel_host.view_count; i++)
        json_object_object_add(envelope, panel_host.views[i]->id, json_rows(app, panel_host.views[i]));
    fputs(json_object_to_json_string_ext(envelope, JSON_C_TO_STRING_PLAIN), stdout);
    fputc('\n', stdout);
    json_object_put(envelope);
    talloc_free(rows);
}

static int no_such_host(struct app *app, const char *name)
{
    struct error error;
    char names[512] = "";
    for (size_t i = 0; i < fleet_count(app->fleet) && strlen(names) < sizeof names - 64; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, host_name(fleet_host(app->fleet, i)), sizeof names - strlen(names) - 1);
    }
    error_set(&error, ERROR_USAGE, app->environment->name, "no such host", NULL, "\"%s\" is not one of: %s",
              name, names[0] ? names : "(none)");
    batch_print_error(&error);
    app_free(app);
    return 2;
}

/* One host in full; the exit status says whether it answered. */
static int one_host(struct app *app, struct host *host)
{
    hosts_state(app)->focus = host;
    const struct feed *feed = host_feed(host, HOST_FAST);
    host_view_want(app, true);
    batch_wait(app->loop, PATIENCE_S, host_known, app);
    int status = feed->answered_at > 0 ? 0 : 1;
    if (status) {
        const struct error *error = ssh_host_error(host_ssh(host));
        struct error silent;
        error_set(&silent, ERROR_TIMEOUT, host_name(host), "no answer", NULL, "nothing came in time");
        batch_print_error(error->kind != ERROR_NONE        ? error
                          : feed->error.kind != ERROR_NONE ? &feed->error
                                                           : &silent);
    }
    print_host(app);
    host_view_want(app, false);
    app_free(app);
    return status;
}

int hosts_command(const struct options *options)
{
    const struct panel_ops *hosts = panel_find("hosts");
    if (options->view && strcmp(options->view, "latency") == 0)
        return latency_command(options);
    if (!options->argument_count)
        return batch_panel(hosts, options);
    struct app *app = batch_app(options);
    if (!app)
        return 2;
    struct host *host = fleet_find(app->fleet, options->arguments[0]);
    if (!host)
        return no_such_host(app, options->arguments[0]);
    if (options->json && !options->view)
        return one_host(app, host);
    /* A view of the host as a table. */
    hosts_state(app)->focus = host;
    return batch_panel_with(app, &panel_host);
}
