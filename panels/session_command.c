#include "panels/session_command.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/session_change.h"
#include "panels/batch.h"

enum { PATIENCE_S = 15, WATCH_S = 3 };

struct session_run {
    struct app *app;
    struct pg_server *server;
    struct change *change;
    bool sent, finished;
    struct error error;
    char *report;
};

static bool locks_known(void *data)
{
    struct pg_server *server = ((struct session_run *)data)->server;
    enum feed_state state = pg_server_feed(server, PG_FEED_LOCKS)->state;
    return (pg_server_locks(server) && pg_server_activity(server)) ||
           pg_server_error(server)->kind != ERROR_NONE || state == FEED_FAILED || state == FEED_DENIED ||
           state == FEED_UNAVAILABLE;
}

static bool change_finished(void *data)
{
    return ((struct session_run *)data)->finished;
}

static void change_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct session_run *run = data;
    (void)change;
    run->finished = true;
    run->report = talloc_strdup(run->app, report ? report : "");
    if (error)
        run->error = *error;
}

static bool effect_over(void *data)
{
    struct session_run *run = data;
    char effect[512] = "";
    bool over = run->change->watch(run->change, effect, sizeof effect);
    if (effect[0]) {
        talloc_free(run->report);
        run->report = talloc_strdup(run->app, effect);
    }
    return over;
}

/* With several servers it must be said which one: pids are not unique. */
static struct pg_server *find_server(struct app *app, struct error *error)
{
    if (app->options->server)
        return app_server(app, app->options->server);
    if (app->server_count == 1)
        return app->servers[0];
    error_set(error, ERROR_USAGE, app->environment->name, "which server?", "Add --server NAME.",
              "the environment has %zu, and a pid says nothing about which", app->server_count);
    return NULL;
}

/* "8121@2026-11-21T13:58:31.204+00" is taken as well as the form with a blank. */
static bool parse_identities(const struct options *options, char **ids, const void *context,
                             struct error *error)
{
    for (size_t i = 0; i < options->argument_count; i++) {
        char *id = talloc_strdup(context, options->arguments[i]);
        char *at = strchr(id, '@');
        if (!at || at == id || strspn(id, "0123456789") != (size_t)(at - id) ||
            !isdigit((unsigned char)at[1]))
            return error_set(error, ERROR_USAGE, "command line", "which session?",
                             "The rows of signalbox queries --view activity --json have it as id.",
                             "\"%s\" is not PID@START: a pid alone may be another session's by now", id);
        if (strlen(at) > 11 && at[11] == 'T')
            at[11] = ' ';
        ids[i] = id;
    }
    if (!options->argument_count)
        return error_set(error, ERROR_USAGE, "command line", "which session?", NULL, "PID@START is missing");
    return true;
}

static bool make_change(struct session_run *run, enum session_verb verb, struct error *error)
{
    struct app *app = run->app;
    char *ids[OPTIONS_ARGUMENTS];
    if (!parse_identities(app->options, ids, app, error))
        return false;
    run->server = find_server(app, error);
    if (!run->server)
        return false;
    feed_want(pg_server_feed(run->server, PG_FEED_ACTIVITY), true);
    feed_want(pg_server_feed(run->server, PG_FEED_LOCKS), true);
    batch_wait(app->loop, PATIENCE_S, locks_known, run);
    if (pg_server_error(run->server)->kind != ERROR_NONE) {
        *error = *pg_server_error(run->server);
        return false;
    }
    run->change =
        session_change_new(run->server, verb, (const char *const *)ids, app->options->argument_count, error);
    return run->change != NULL;
}

static int run_change(struct session_run *run, enum session_verb verb)
{
    struct app *app = run->app;
    struct error error = {0};
    if (!make_change(run, verb, &error)) {
        batch_print_error(&error);
        return error.kind == ERROR_USAGE ? 2 : 1;
    }
    run->change->reason = app->options->reason;
    if (app->options->dry_run) {
        printf("%s\n", change_preview(app, run->change));
        return 0;
    }
    if (!batch_confirm_change(app, run->change, &error) ||
        !change_allowed(run->change, app->access, &error)) {
        batch_print_error(&error);
        return 1;
    }
    run->sent = true;
    change_send(run->change, app->loop, app->access, app->audit, change_done, run);
    batch_wait(app->loop, PATIENCE_S * 2, change_finished, run);
    if (!run->finished)
        error_set(&run->error, ERROR_TIMEOUT, app->environment->name, "the outcome is unknown",
                  "Look at signalbox queries --view activity.", "no answer came in time");
    if (run->error.kind != ERROR_NONE) {
        batch_print_error(&run->error);
        return 1;
    }
    printf("%s\n", run->report);
    if (run->change->watch && batch_wait(app->loop, WATCH_S, effect_over, run))
        printf("%s\n", run->report);
    return 0;
}

static int session_command(const struct options *options, enum session_verb verb)
{
    struct session_run run = {.app = batch_app(options)};
    if (!run.app)
        return 2;
    int status = run_change(&run, verb);
    /* It holds a timer of the loop. One that is still being sent stays: what its connection answers goes to
     * it. */
    if (run.finished || !run.sent)
        talloc_free(run.change);
    app_free(run.app);
    return status;
}

int session_cancel_command(const struct options *options)
{
    return session_command(options, SESSION_CANCEL);
}

int session_terminate_command(const struct options *options)
{
    return session_command(options, SESSION_TERMINATE);
}
