#include "panels/jobs_command.h"

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "core/suggest.h"
#include "panels/batch.h"
#include "panels/jobs.h"

enum { PATIENCE_S = 20, PREPARE_S = 3600 };

struct jobs_run {
    struct app *app;
    enum queue_act act;
    struct queue_prepare *prepare;
    struct job_filter *filter;
    struct change *change;
    bool prepared;
    struct error error;
};

#define STATE(state) (1U << (state))

/* Where jobs are looked for when only a filter says which. */
static unsigned states_of(enum queue_act act)
{
    switch (act) {
    case ACT_RETRY:
        return STATE(JOB_FAILED) | STATE(JOB_DEAD) | STATE(JOB_RETRYING);
    case ACT_DISCARD:
        return STATE(JOB_FAILED) | STATE(JOB_DEAD) | STATE(JOB_RETRYING) | STATE(JOB_SCHEDULED);
    case ACT_REQUEUE:
    case ACT_TERMINATE:
        return STATE(JOB_UNACKED) | STATE(JOB_RUNNING);
    case ACT_RUN_NOW:
        return STATE(JOB_SCHEDULED) | STATE(JOB_RETRYING);
    case ACT_UNPARK:
        return STATE(JOB_PARKED);
    default:
        return STATE(JOB_READY);
    }
}

/* Acts on jobs that a filter chooses: without one it is said that all are meant. */
static bool wants_filter(enum queue_act act)
{
    return act == ACT_NEUTRALISE || act == ACT_PARK || act == ACT_RETRY || act == ACT_DISCARD ||
           act == ACT_RUN_NOW || act == ACT_REVOKE || act == ACT_TERMINATE;
}

static bool is_about_entry(enum queue_act act)
{
    return act == ACT_SCHEDULE_RUN || act == ACT_SCHEDULE_ENABLE || act == ACT_SCHEDULE_DISABLE;
}

static bool systems_known(void *data)
{
    const struct jobs_run *run = data;
    return jobs_part_complete(run->app, PART_QUEUES) &&
           (!is_about_entry(run->act) || jobs_part_complete(run->app, PART_SCHEDULE));
}

static bool has_queue(struct queue_system *system, const char *name)
{
    const struct queues_snapshot *snapshot = queue_system_queues(system);
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, name) == 0)
            return true;
    return false;
}

/* The one that is named, that has the queue, or that can do it at all. */
static struct queue_system *find_system(struct jobs_run *run, struct error *error)
{
    const struct options *options = run->app->options;
    struct queues *queues = run->app->queues;
    struct queue_system *found = NULL;
    size_t count = 0;
    if (options->system)
        return queues_find(queues, options->system, error);
    for (size_t i = 0; i < queues_count(queues); i++) {
        struct queue_system *system = queues_system(queues, i);
        bool fits =
            options->queue ? has_queue(system, options->queue) : !queue_system_act_absent(system, run->act);
        found = fits ? system : found;
        count += fits;
    }
    if (count == 1)
        return found;
    if (!count && options->queue)
        error_set(error, ERROR_MISSING, run->app->environment->name, "no such queue",
                  "signalbox jobs has their names.", "no job system has a queue %s", options->queue);
    else if (!count)
        error_set(error, ERROR_UNSUPPORTED, run->app->environment->name, queue_act_name(run->act), NULL,
                  "no job system here can do that");
    else
        error_set(error, ERROR_USAGE, run->app->environment->name, "which job system?", "Add --system NAME.",
                  "%zu of them are meant", count);
    return NULL;
}

static bool parse_act(struct jobs_run *run, struct error *error)
{
    const struct options *options = run->app->options;
    const char *names[ACT_COUNT], *word = options->arguments[0];
    int act = queue_act_find(word);
    for (int i = 0; i < ACT_COUNT; i++)
        names[i] = queue_act_name((enum queue_act)i);
    const char *near = suggest_word(word, names, ACT_COUNT);
    char todo[100] = "signalbox jobs --help has them.";
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    if (act < 0 || options->argument_count > 1)
        return error_set(error, ERROR_USAGE, "command line", "jobs", todo, "there is no act \"%s\"",
                         act < 0 ? word : options->arguments[1]);
    run->act = (enum queue_act)act;
    if (wants_filter(run->act) && !options->filter)
        return error_set(error, ERROR_USAGE, "command line", queue_act_name(run->act),
                         "Add --filter WORDS; --filter \"\" means all of them.", "it is not said which jobs");
    bool whole_queue = run->act == ACT_PAUSE || run->act == ACT_RESUME || run->act == ACT_PURGE;
    if (whole_queue && !options->queue)
        return error_set(error, ERROR_USAGE, "command line", queue_act_name(run->act),
                         "Add --queue NAME; signalbox jobs has their names.", "it is not said which queue");
    if (is_about_entry(run->act) && !options->entry)
        return error_set(error, ERROR_USAGE, "command line", queue_act_name(run->act),
                         "Add --entry ID or its name; signalbox jobs --view schedule has them.",
                         "it is not said which entry of the schedule");
    run->filter = job_filter_parse(run->app, options->filter ? options->filter : "", error);
    return run->filter != NULL;
}

static void on_prepared(void *data, struct change *change, const struct error *error)
{
    struct jobs_run *run = data;
    run->prepared = true;
    run->change = change;
    if (error)
        run->error = *error;
}

static bool is_prepared(void *data)
{
    return ((struct jobs_run *)data)->prepared;
}

static bool prepare(struct jobs_run *run, struct queue_system *system, struct error *error)
{
    const struct options *options = run->app->options;
    const char *absent = queue_system_act_absent(system, run->act);
    if (absent)
        return error_set(error, ERROR_UNSUPPORTED, system->name, queue_act_name(run->act), NULL, "%s",
                         absent);
    run->prepare = queue_act_prepare(system,
                                     &(struct queue_act_request){.act = run->act,
                                                                 .queue = options->queue,
                                                                 .filter = run->filter,
                                                                 .states = states_of(run->act),
                                                                 .tenant = options->tenant,
                                                                 .task = options->task,
                                                                 .workers = &options->worker,
                                                                 .worker_count = options->worker ? 1 : 0,
                                                                 .entry = options->entry,
                                                                 .argument = options->argument},
                                     (struct queue_prepare_handler){.done = on_prepared, .data = run});
    if (!batch_wait(run->app->loop, PREPARE_S, is_prepared, run)) {
        queue_prepare_forsake(run->prepare);
        return error_set(error, ERROR_TIMEOUT, system->name, queue_act_name(run->act), NULL,
                         "looking which jobs are meant took too long");
    }
    if (!run->change)
        *error = run->error;
    return run->change != NULL;
}

static void step_over(struct change *change, struct change_step *step, void *data)
{
    (void)change;
    (void)data;
    if (step->output)
        printf("%s\n", step->output);
    if (step->outcome != STEP_SKIPPED && step->error.kind != ERROR_NONE)
        batch_print_error(&step->error);
}

static int run_act(struct jobs_run *run)
{
    struct error error = {0};
    if (!parse_act(run, &error)) {
        batch_print_error(&error);
        return 2;
    }
    /* Acts are prepared from what is known of queues, workers and what was set aside. */
    static const enum queue_part parts[] = {PART_QUEUES, PART_WORKERS, PART_ASIDE};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        queues_want(run->app->queues, parts[i], true);
    if (is_about_entry(run->act))
        queues_want(run->app->queues, PART_SCHEDULE, true);
    batch_wait(run->app->loop, PATIENCE_S, systems_known, run);
    struct queue_system *system = find_system(run, &error);
    if (!system || !prepare(run, system, &error)) {
        batch_print_error(&error);
        return error.kind == ERROR_USAGE ? 2 : 1;
    }
    run->change->step_over = step_over;
    return batch_run_change(run->app, run->change);
}

static int act_command(const struct options *options)
{
    struct jobs_run run = {.app = batch_app(options)};
    if (!run.app)
        return 2;
    int status = run_act(&run);
    talloc_free(run.change);
    app_free(run.app);
    return status;
}

int jobs_command(const struct options *options)
{
    struct error error;
    if (options->argument_count)
        return act_command(options);
    if (options->from && strcmp(options->from, "head") != 0 && strcmp(options->from, "tail") != 0) {
        error_set(&error, ERROR_USAGE, "command line", "--from", "Write head or tail.",
                  "\"%s\" is no end of a queue", options->from);
        batch_print_error(&error);
        return 2;
    }
    struct job_filter *filter = options->filter ? job_filter_parse(NULL, options->filter, &error) : NULL;
    if (options->filter && !filter) {
        batch_print_error(&error);
        return 2;
    }
    talloc_free(filter);
    return batch_panel(&panel_jobs, options);
}
