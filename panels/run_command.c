#include "panels/run_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change.h"
#include "core/suggest.h"
#include "core/text.h"
#include "panels/batch.h"
#include "panels/hosts_place.h"

/* How long one looks whether the others of a group are well, before a command takes hosts down. */
enum { HEALTH_PATIENCE_S = 20 };

struct run {
    struct app *app;
    struct host **hosts;
    size_t count;
    struct change *change;
};

/* ---- what is run ---- */

/* The words behind --, with blanks between them: they are one line for the shell there, as ssh does it. */
static char *command_line(struct app *app)
{
    char *line = talloc_strdup(app, "");
    for (size_t i = 0; i < app->options->argument_count; i++)
        line = talloc_asprintf_append_buffer(line, "%s%s", i ? " " : "", app->options->arguments[i]);
    return line;
}

static const struct environment_runbook *find_runbook(const struct app *app, struct error *error)
{
    const struct environment *environment = app->environment;
    const char *names[64], *wanted = app->options->runbook;
    char todo[256] = "The environment file names none.";
    size_t count = 0;
    for (size_t i = 0; i < environment->runbook_count; i++) {
        if (strcmp(environment->runbooks[i].name, wanted) == 0)
            return &environment->runbooks[i];
        if (count < 64)
            names[count++] = environment->runbooks[i].name;
    }
    const char *near = suggest_word(wanted, names, count);
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    else if (count)
        snprintf(todo, sizeof todo, "There is %s%s.", names[0], count > 1 ? ", among others" : "");
    error_set(error, ERROR_USAGE, environment->name, "which runbook?", todo, "there is none named %s",
              wanted);
    return NULL;
}

static bool check_words(const struct options *options, struct error *error)
{
    if (options->runbook && options->argument_count)
        return error_set(error, ERROR_USAGE, "command line", "run", NULL,
                         "either a runbook or a command, not both");
    if (!options->runbook && !options->argument_count)
        return error_set(error, ERROR_USAGE, "command line", "run", "signalbox run --hosts web -- uptime.",
                         "the command is missing: it stands behind --");
    if (!options->runbook && !options->hosts)
        return error_set(error, ERROR_USAGE, "command line", "run",
                         "Name a group, or hosts with commas between them: --hosts web.",
                         "it is not said on which hosts");
    return true;
}

/* ---- may hosts go down? ---- */

static bool health_known(void *data)
{
    const struct run *run = data;
    for (size_t i = 0; i < fleet_count(run->app->fleet); i++) {
        struct host *host = fleet_host(run->app->fleet, i);
        enum feed_state state = host_feed(host, HOST_FAST)->state;
        if (!host_latest(host) && state != FEED_FAILED && state != FEED_DENIED && state != FEED_UNAVAILABLE &&
            ssh_host_state(host_ssh(host)) != CONNECTION_DOWN)
            return false;
    }
    return true;
}

static bool may_run(struct run *run, const char *command, struct error *error)
{
    const struct options *options = run->app->options;
    if (!host_command_takes_down(command))
        return true;
    if (options->force)
        return (options->reason && *options->reason) ||
               error_set(error, ERROR_INTERLOCK, run->app->environment->name, "nothing was sent",
                         "Add --reason TEXT: it goes on record.", "what goes against a rule needs a reason");
    fleet_want(run->app->fleet, true);
    batch_wait(run->app->loop, HEALTH_PATIENCE_S, health_known, run);
    bool may = hosts_may_go_down(run->app, run->hosts, run->count, error);
    fleet_want(run->app->fleet, false);
    if (!may)
        snprintf(error->todo, sizeof error->todo,
                 "Bring another one up first, or add --force and --reason TEXT.");
    return may;
}

/* ---- making it ---- */

static bool make_change(struct run *run, struct error *error)
{
    struct app *app = run->app;
    const struct options *options = app->options;
    const struct environment_runbook *runbook = NULL;
    if (!check_words(options, error))
        return false;
    if (options->runbook && !(runbook = find_runbook(app, error)))
        return false;
    const char *names = options->hosts ? options->hosts : runbook ? runbook->hosts : NULL;
    if (!names)
        return error_set(error, ERROR_USAGE, "command line", "run", "Add --hosts GROUP.",
                         "the runbook names no hosts");
    run->hosts = hosts_named(app, app, names, &run->count, error);
    if (!run->hosts)
        return false;
    struct host_place *places = talloc_array(app, struct host_place, run->count);
    for (size_t i = 0; i < run->count; i++)
        places[i] = hosts_place(app, places, run->hosts[i]);
    size_t batch = options->batch > 0 ? (size_t)options->batch : 1;
    if (runbook) {
        run->change = host_change_runbook(places, run->count, runbook, batch, error);
        for (size_t i = 0; run->change && i < runbook->step_count; i++)
            if (!may_run(run, runbook->steps[i].run, error))
                return false;
        return run->change != NULL;
    }
    const char *command = command_line(app);
    run->change = host_change_run(
        places, run->count,
        &(struct host_run){.command = command, .batch = batch, .deadline_s = options->deadline_s}, error);
    return run->change && may_run(run, command, error);
}

/* ---- telling ---- */

/* Made safe, but tabs stay: columns are cut at them. */
static void print_safe(FILE *file, const char *text, size_t length)
{
    for (size_t at = 0; at <= length;) {
        const char *tab = memchr(text + at, '\t', length - at);
        size_t part = tab ? (size_t)(tab - text) - at : length - at;
        size_t size = 6 * part + 1;
        char *safe = malloc(size);
        if (!safe)
            abort();
        safe_text(safe, size, text + at, part);
        fprintf(file, "%s%s", safe, tab ? "\t" : "");
        free(safe);
        at += part + 1;
    }
}

static void print_lines(FILE *file, const char *host, const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line = end ? (size_t)(end - text) - at : length - at;
        fprintf(file, "%s: ", host);
        print_safe(file, text + at, line);
        fputc('\n', file);
        at += line + 1;
    }
}

/* As soon as a host is done: its output, and on standard error what went wrong there. */
static void step_over(struct change *change, struct change_step *step, void *data)
{
    size_t length;
    const char *output = host_step_output(step, &length);
    const char *errors = host_step_errors(step);
    (void)change;
    (void)data;
    print_lines(stdout, step->server, output, length);
    fflush(stdout);
    print_lines(stderr, step->server, errors, strlen(errors));
    if (step->outcome != STEP_SKIPPED && step->error.kind != ERROR_NONE)
        batch_print_error(&step->error);
    else if (step->outcome == STEP_SKIPPED)
        fprintf(stderr, "signalbox: %s: not sent\n", step->target);
}

static int run_with(struct run *run)
{
    struct app *app = run->app;
    struct error error = {0};
    if (!make_change(run, &error) || !run->change) {
        batch_print_error(&error);
        return error.kind == ERROR_USAGE ? 2 : 1;
    }
    run->change->step_over = step_over;
    run->change->step_over_data = run;
    return batch_run_change(app, run->change);
}

int run_command(const struct options *options)
{
    struct run run = {.app = batch_app(options)};
    if (!run.app)
        return 2;
    int status = run_with(&run);
    talloc_free(run.change);
    app_free(run.app);
    return status;
}
