/* A change on the command line: confirmed, sent, and told. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "panels/batch.h"

/* Asks at the terminal for what confirms the change. */
static bool ask_confirmation(const struct app *app, const struct change *change)
{
    char line[256];
    if (access_state(app->access) == ACCESS_LOCKED)
        fputs("This unlocks the environment for 30 min.\n", stderr);
    fprintf(stderr, "Type %s: ", change->confirm_prompt);
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return change_confirmed(change, line);
}

bool batch_confirm_change(struct app *app, const struct change *change, struct error *error)
{
    const struct options *options = app->options;
    const char *environment = app->environment->name;
    if (options->yes) {
        if (access_state(app->access) == ACCESS_LOCKED)
            return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent",
                             "signalbox unlock --reason TEXT unlocks it for 30 minutes.",
                             "the environment is locked");
        return true;
    }
    if (!isatty(STDIN_FILENO))
        return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent",
                         "Add --yes, or run it in a terminal and confirm there.",
                         "nobody is there who could confirm it");
    char *preview = change_preview(NULL, change);
    fprintf(stderr, "%s\n", preview);
    talloc_free(preview);
    if (!ask_confirmation(app, change))
        return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent", NULL,
                         "it was not confirmed");
    if (access_state(app->access) == ACCESS_LOCKED)
        access_unlock(app->access, options->reason);
    return true;
}

/* ---- sending ---- */

enum { EFFECT_S = 3 };

struct batch_change {
    struct app *app;
    struct change *change;
    bool finished;
    int interrupted; /* times */
    char *report;
    struct error error;
};

static void change_done(void *data, struct change *change, const char *report, const struct error *error)
{
    struct batch_change *run = data;
    (void)change;
    run->finished = true;
    run->report = talloc_strdup(run->app, report ? report : "");
    if (error)
        run->error = *error;
}

static bool is_finished(void *data)
{
    return ((struct batch_change *)data)->finished;
}

static bool effect_over(void *data)
{
    struct batch_change *run = data;
    char effect[512] = "";
    bool over = run->change->watch(run->change, effect, sizeof effect);
    if (effect[0]) {
        talloc_free(run->report);
        run->report = talloc_strdup(run->app, effect);
    }
    return over;
}

/* Was anything sent at all? Else the error has not been told. */
static bool any_outcome(const struct change *change)
{
    for (size_t i = 0; i < change->step_count; i++)
        if (change->steps[i].outcome != STEP_WAITING)
            return true;
    return false;
}

/* What takes the done steps back is offered where somebody can answer. */
static void tell_undo(const struct change *change)
{
    struct change *back = change->take_back ? change->take_back(change) : NULL;
    if (!back)
        return;
    char *preview = change_preview(NULL, back);
    fprintf(stderr, "signalbox: what was done can be taken back:\n%s", preview);
    talloc_free(preview);
    talloc_free(back);
}

/* The first time no more is sent; the second time what runs is given up. */
static void on_interrupt(struct ev_loop *ev, ev_signal *watcher, int events)
{
    struct batch_change *run = watcher->data;
    (void)ev;
    (void)events;
    if (run->interrupted++ == 0) {
        fprintf(stderr, "signalbox: nothing more is sent; what runs is waited for%s\n",
                run->change->withdrawable ? ", once more gives it up" : "");
        change_stop(run->change);
    } else if (run->change->withdrawable) {
        change_abandon(run->change);
    }
}

static void watch_signals(struct batch_change *run, ev_signal watchers[2])
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        ev_signal_init(&watchers[i], on_interrupt, numbers[i]);
        watchers[i].data = run;
        ev_signal_start(loop_ev(run->app->loop), &watchers[i]);
    }
}

static int send_change(struct app *app, struct change *change)
{
    struct batch_change run = {.app = app, .change = change};
    ev_signal watchers[2];
    watch_signals(&run, watchers);
    change_send(change, app->loop, app->access, app->audit, change_done, &run);
    /* Each step has its deadline: this ends. */
    while (!run.finished)
        batch_wait(app->loop, 3600, is_finished, &run);
    for (int i = 0; i < 2; i++)
        ev_signal_stop(loop_ev(app->loop), &watchers[i]);
    bool failed = run.error.kind != ERROR_NONE;
    if (failed && (!change->step_over || !any_outcome(change)))
        batch_print_error(&run.error);
    fprintf(stderr, "signalbox: %s\n", run.report);
    if (!failed && change->watch && batch_wait(app->loop, EFFECT_S, effect_over, &run))
        fprintf(stderr, "signalbox: %s\n", run.report);
    if (failed)
        tell_undo(change);
    return failed ? 1 : 0;
}

int batch_run_change(struct app *app, struct change *change)
{
    struct error error = {0};
    change->reason = app->options->reason;
    if (app->options->dry_run) {
        char *preview = change_preview(app, change);
        printf("%s\n", preview);
        return 0;
    }
    if (!batch_confirm_change(app, change, &error) || !change_allowed(change, app->access, &error)) {
        batch_print_error(&error);
        return 1;
    }
    return send_change(app, change);
}
