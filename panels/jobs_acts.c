/* F9 in the Jobs panel: what can be done with what is selected, frozen when the key was pressed; then
 * preparing it, which only reads, and the dialog of the change. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "panels/console.h"
#include "panels/jobs.h"

enum { OPTIONS_MAX = 24 };

/* What an act still needs to be told. */
enum ask { ASK_NOTHING, ASK_FILTER, ASK_TENANT, ASK_ARGUMENT };

struct option {
    enum queue_act act;
    enum ask ask;
    const char *label;   /* of the prompt */
    const char *initial; /* in it */
    bool by_filter;      /* all that match, not the jobs that are selected */
    unsigned states;
};

struct choice {
    struct app *app;
    struct queue_system *system;
    char *queue;
    struct job *jobs;
    size_t job_count;
    const char *filter_text;
    struct job_filter *filter;
    const char **workers;
    size_t worker_count;
    const char *tenant, *task, *entry, *argument;
    struct option options[OPTIONS_MAX];
    struct choice_line lines[OPTIONS_MAX];
    size_t count;
    struct option chosen;
};

#define STATE(state) (1U << (state))
#define KEPT (STATE(JOB_FAILED) | STATE(JOB_DEAD) | STATE(JOB_RETRYING))

static void add(struct choice *choice, const char *text, struct option option)
{
    struct error error = {0};
    const char *absent = queue_system_act_absent(choice->system, option.act);
    if (choice->count == OPTIONS_MAX)
        return;
    if (!absent && !queue_system_can_act(choice->system, &error) && error.kind != ERROR_INTERLOCK)
        absent = talloc_strdup(choice, error.why);
    choice->lines[choice->count] = (struct choice_line){text, absent};
    choice->options[choice->count++] = option;
}

/* ---- preparing ---- */

static void on_prepared_progress(void *data, const struct queue_read_progress *progress)
{
    struct choice *choice = data;
    char scanned[32], total[32];
    console_say(choice->app->console, SEVERITY_NONE,
                "looking which jobs are meant: %s of %s, %lld so far · C-c stops",
                format_count(scanned, sizeof scanned, (double)progress->scanned),
                progress->total < 0 ? "?" : format_count(total, sizeof total, (double)progress->total),
                (long long)progress->matched);
}

static void on_prepared(void *data, struct change *change, const struct error *error)
{
    struct choice *choice = data;
    struct app *app = choice->app;
    struct jobs_state *state = jobs_state(app);
    state->prepare = NULL;
    state->choice = NULL;
    if (console_place(app->console) != state->prepare_place) {
        talloc_free(change);
        console_say(app->console, SEVERITY_WARNING, "nothing was sent: you went on to something else");
    } else if (change) {
        console_say(app->console, SEVERITY_NONE, "%s", "");
        console_change(app->console, change);
    } else {
        console_say_error(app->console, error);
    }
    talloc_free(choice);
}

bool jobs_stop_preparing(struct app *app)
{
    struct jobs_state *state = jobs_state(app);
    if (!state->prepare)
        return false;
    queue_prepare_forsake(state->prepare);
    state->prepare = NULL;
    TALLOC_FREE(state->choice);
    console_say(app->console, SEVERITY_NONE, "stopped: nothing was sent");
    return true;
}

static void prepare(struct choice *choice)
{
    struct jobs_state *state = jobs_state(choice->app);
    const struct option *option = &choice->chosen;
    jobs_stop_preparing(choice->app);
    state->prepare_place = console_place(choice->app->console);
    state->choice = choice;
    state->prepare =
        queue_act_prepare(choice->system,
                          &(struct queue_act_request){.act = option->act,
                                                      .queue = choice->queue,
                                                      .jobs = option->by_filter ? NULL : choice->jobs,
                                                      .job_count = option->by_filter ? 0 : choice->job_count,
                                                      .filter = option->by_filter ? choice->filter : NULL,
                                                      .states = option->states,
                                                      .tenant = choice->tenant,
                                                      .task = choice->task,
                                                      .workers = choice->workers,
                                                      .worker_count = choice->worker_count,
                                                      .entry = choice->entry,
                                                      .argument = choice->argument},
                          (struct queue_prepare_handler){on_prepared_progress, on_prepared, choice});
    console_say(choice->app->console, SEVERITY_NONE, "looking what would be done");
}

/* The choice belongs to the console until it was made: what goes on keeps a hold of its own. */
static struct choice *take(struct choice *choice)
{
    return talloc_steal(NULL, choice);
}

static void on_told(struct app *app, void *data, const char *line)
{
    struct choice *choice = data;
    struct error error = {0};
    if (!line || (!*line && choice->chosen.ask != ASK_FILTER)) {
        talloc_free(choice);
        return;
    }
    if (choice->chosen.ask == ASK_TENANT)
        choice->tenant = talloc_strdup(choice, line);
    else if (choice->chosen.ask == ASK_ARGUMENT)
        choice->argument = talloc_strdup(choice, line);
    else if (!(choice->filter = job_filter_parse(choice, line, &error))) {
        console_say_error(app->console, &error);
        talloc_free(choice);
        return;
    }
    prepare(choice);
}

static void go_on(struct choice *choice)
{
    const struct option *option = &choice->chosen;
    if (option->ask == ASK_NOTHING)
        prepare(choice);
    else
        console_prompt(choice->app->console, option->label,
                       option->ask == ASK_FILTER ? "job-filter" : "job-act",
                       option->initial ? option->initial : "", on_told, choice);
}

/* The console frees what it was given: the frozen selection is taken out of it first. */
struct holder {
    struct choice *choice;
};

static void on_chosen(struct app *app, void *data, size_t index)
{
    struct holder *holder = data;
    struct choice *choice = take(holder->choice);
    (void)app;
    holder->choice = NULL;
    choice->chosen = choice->options[index];
    go_on(choice);
}

/* ---- what is selected ---- */

static void offer_queue(struct choice *choice, const struct jobs_queue_row *row)
{
    const struct queue *queue = row->queue;
    choice->queue = talloc_strdup(choice, queue->name);
    const char *tenant =
        queue->share_count && queue->shares[0].name ? talloc_strdup(choice, queue->shares[0].name) : NULL;
    static const char which[] = "which (task: tenant: id: retries> age> poison text:): ";
    add(choice, "pause: workers take nothing more from it",
        (struct option){.act = ACT_PAUSE, .ask = ASK_NOTHING});
    add(choice, "resume", (struct option){.act = ACT_RESUME, .ask = ASK_NOTHING});
    add(choice, "take one tenant's jobs out, in order, to put them back later …",
        (struct option){.act = ACT_TENANT_ASIDE, .ask = ASK_TENANT, .label = "tenant: ", .initial = tenant});
    add(choice, "put one tenant's jobs back …",
        (struct option){.act = ACT_TENANT_BACK, .ask = ASK_TENANT, .label = "tenant: "});
    add(choice, "park jobs that match a filter …",
        (struct option){ACT_PARK, ASK_FILTER, which, "", true, STATE(JOB_READY)});
    add(choice, "neutralise jobs that match: workers drop them as expired …",
        (struct option){ACT_NEUTRALISE, ASK_FILTER, which, "", true, STATE(JOB_READY)});
    add(choice, "retry failed and dead jobs that match (nothing: all) …",
        (struct option){ACT_RETRY, ASK_FILTER, which, "", true, KEPT});
    add(choice, "discard failed and dead jobs that match (nothing: all) …",
        (struct option){ACT_DISCARD, ASK_FILTER, which, "", true, KEPT});
    add(choice, "requeue what dead workers hold",
        (struct option){.act = ACT_REQUEUE, .by_filter = true, .states = STATE(JOB_UNACKED)});
    add(choice, "purge: all that waits, to trash that can be undone",
        (struct option){.act = ACT_PURGE, .ask = ASK_NOTHING});
}

static const char *counted(struct choice *choice, const char *verb, const char *rest)
{
    if (choice->job_count == 1)
        return talloc_asprintf(choice, "%s this job%s", verb, rest);
    return talloc_asprintf(choice, "%s these %zu jobs%s", verb, choice->job_count, rest);
}

static void offer_matching(struct choice *choice, const struct jobs_target *target)
{
    static const struct {
        const char *verb;
        enum queue_act act;
        unsigned states;
    } acts[] = {{"park", ACT_PARK, STATE(JOB_READY)},
                {"neutralise", ACT_NEUTRALISE, STATE(JOB_READY)},
                {"retry", ACT_RETRY, KEPT},
                {"discard", ACT_DISCARD, KEPT | STATE(JOB_SCHEDULED)}};
    struct error error;
    if (!target->filter || !(choice->filter = job_filter_parse(choice, target->filter, &error)))
        return;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (!target->states || (target->states & acts[i].states))
            add(choice,
                talloc_asprintf(choice, "%s all that match %s, shown or not", acts[i].verb, target->filter),
                (struct option){acts[i].act, .by_filter = true, .states = acts[i].states});
}

static void offer_jobs(struct choice *choice, const struct table_row *const *rows, size_t count)
{
    const struct jobs_target *target = jobs_reading_target(jobs_state(choice->app)->reading);
    const struct jobs_found_item *first = rows[0]->data;
    choice->queue = first->job.queue ? talloc_strdup(choice, first->job.queue) : NULL;
    choice->jobs = talloc_zero_array(choice, struct job, count);
    unsigned states = 0;
    for (size_t i = 0; i < count; i++) {
        const struct jobs_found_item *item = rows[i]->data;
        if (item->system != choice->system)
            continue;
        job_copy_into(choice->jobs, &choice->jobs[choice->job_count++], &item->job);
        states |= STATE(item->job.state);
    }
    if (states & STATE(JOB_READY)) {
        add(choice, counted(choice, "neutralise", ": dropped as expired when a worker takes it"),
            (struct option){.act = ACT_NEUTRALISE});
        add(choice, counted(choice, "park", ": out of the queue, to come back later"),
            (struct option){.act = ACT_PARK});
    }
    if (states & STATE(JOB_PARKED))
        add(choice, counted(choice, "put back", ""), (struct option){.act = ACT_UNPARK});
    if (states & KEPT)
        add(choice, counted(choice, "retry", ""), (struct option){.act = ACT_RETRY, .states = KEPT});
    if (states & STATE(JOB_UNACKED))
        add(choice, counted(choice, "requeue", ", held by a dead worker"),
            (struct option){.act = ACT_REQUEUE});
    if (states & (STATE(JOB_SCHEDULED) | STATE(JOB_RETRYING)))
        add(choice, counted(choice, "run", " now"), (struct option){.act = ACT_RUN_NOW});
    add(choice, counted(choice, "revoke", ": workers remember not to run what is revoked, until they end"),
        (struct option){.act = ACT_REVOKE});
    if (states & (STATE(JOB_RUNNING) | STATE(JOB_UNACKED)))
        add(choice, counted(choice, "terminate", ": the child process that runs it is ended"),
            (struct option){.act = ACT_TERMINATE});
    add(choice, counted(choice, "discard", ""), (struct option){.act = ACT_DISCARD});
    if (console_view(choice->app->console) == &jobs_list)
        offer_matching(choice, target);
}

static void offer_workers(struct choice *choice, const struct table_row *const *rows, size_t count)
{
    choice->workers = talloc_zero_array(choice, const char *, count);
    for (size_t i = 0; i < count; i++) {
        const struct jobs_worker_row *row = rows[i]->data;
        if (row->system == choice->system)
            choice->workers[choice->worker_count++] = talloc_strdup(choice->workers, row->worker->id);
    }
    add(choice, "ask what it runs, holds and knows", (struct option){.act = ACT_ASK, .ask = ASK_NOTHING});
    add(choice, "more or fewer processes in its pool …",
        (struct option){ACT_POOL, ASK_ARGUMENT, "how many (+2, -1): ", "+1", false, 0});
    add(choice, "take from another queue too …",
        (struct option){ACT_CONSUME, ASK_ARGUMENT, "queue: ", "", false, 0});
    add(choice, "take from a queue no more …",
        (struct option){ACT_CONSUME_NOT, ASK_ARGUMENT, "queue: ", "", false, 0});
    add(choice, "drain: take nothing more, finish what it has",
        (struct option){.act = ACT_DRAIN, .ask = ASK_NOTHING});
    add(choice, "shut down when it has finished", (struct option){.act = ACT_SHUTDOWN, .ask = ASK_NOTHING});
}

static void offer_failure(struct choice *choice, const struct jobs_failure_row *row)
{
    const struct failure *failure = row->failure;
    struct error error;
    char *filter = talloc_strdup(choice, "");
    if (failure->task)
        filter = talloc_asprintf_append_buffer(filter, "task=\"%s\" ", failure->task);
    if (failure->exception)
        filter = talloc_asprintf_append_buffer(filter, "error=\"%s\" ", failure->exception);
    if (failure->tenant)
        filter = talloc_asprintf_append_buffer(filter, "tenant=\"%s\"", failure->tenant);
    choice->filter = job_filter_parse(choice, filter, &error);
    choice->queue = failure->queue ? talloc_strdup(choice, failure->queue) : NULL;
    choice->task = failure->task ? talloc_strdup(choice, failure->task) : NULL;
    add(choice, "retry all of these",
        (struct option){.act = ACT_RETRY, .by_filter = true, .states = STATE(failure->kept)});
    add(choice, "discard all of these",
        (struct option){.act = ACT_DISCARD, .by_filter = true, .states = STATE(failure->kept)});
    add(choice, "limit how often its task is started …",
        (struct option){ACT_RATE_LIMIT, ASK_ARGUMENT, "rate (10/m, 5/s, 0: no limit): ", "10/m", false, 0});
}

static void offer_entry(struct choice *choice, const struct jobs_schedule_row *row)
{
    choice->entry = talloc_strdup(choice, row->entry->id);
    add(choice, "send it now", (struct option){.act = ACT_SCHEDULE_RUN, .ask = ASK_NOTHING});
    if (row->entry->enabled != 1)
        add(choice, "enable it", (struct option){.act = ACT_SCHEDULE_ENABLE, .ask = ASK_NOTHING});
    if (row->entry->enabled != 0)
        add(choice, "disable it: it is not sent any more",
            (struct option){.act = ACT_SCHEDULE_DISABLE, .ask = ASK_NOTHING});
}

static void offer_aside(struct choice *choice, const struct jobs_aside_row *row)
{
    const char *kind = row->aside->kind;
    choice->entry = talloc_strdup(choice, row->aside->id);
    choice->queue = row->aside->queue ? talloc_strdup(choice, row->aside->queue) : NULL;
    choice->tenant = row->aside->tenant ? talloc_strdup(choice, row->aside->tenant) : NULL;
    if (strcmp(kind, "parked") == 0)
        add(choice, "put them back, in order", (struct option){.act = ACT_UNPARK, .ask = ASK_NOTHING});
    else if (strcmp(kind, "aside") == 0)
        add(choice, "put them back, in order", (struct option){.act = ACT_TENANT_BACK, .ask = ASK_NOTHING});
    else if (strcmp(kind, "unfinished") == 0)
        add(choice, "go on with the move that did not end",
            (struct option){.act = ACT_CONTINUE, .ask = ASK_NOTHING});
    else
        add(choice, "restore: back into the queue, in order",
            (struct option){.act = ACT_RESTORE, .ask = ASK_NOTHING});
    if (strcmp(kind, "trash") == 0)
        add(choice, "remove for good", (struct option){.act = ACT_EMPTY_TRASH, .ask = ASK_NOTHING});
}

/* All rows of the panel begin with their system, but for jobs. */
static struct queue_system *row_system(const struct view *view, const struct table_row *row)
{
    if (view == &jobs_list || view == &jobs_running)
        return ((const struct jobs_found_item *)row->data)->system;
    return ((const struct jobs_queue_row *)row->data)->system;
}

static struct choice *freeze(struct app *app, struct error *error)
{
    const struct view *view = console_view(app->console);
    const struct table_row *selected = console_selected(app->console);
    struct choice *choice = talloc_zero(NULL, struct choice);
    size_t count;
    const struct table_row **rows = console_marked(app->console, choice, &count);
    choice->app = app;
    if (!selected) {
        error_set(error, ERROR_USAGE, NULL, "what is meant?", "Select a row.", "no row is selected");
        talloc_free(choice);
        return NULL;
    }
    if (!count) {
        rows = talloc_array(choice, const struct table_row *, 1);
        rows[0] = selected;
        count = 1;
    }
    choice->system = row_system(view, rows[0]);
    if (view == &jobs_queues)
        offer_queue(choice, rows[0]->data);
    else if (view == &jobs_list || view == &jobs_running)
        offer_jobs(choice, rows, count);
    else if (view == &jobs_workers)
        offer_workers(choice, rows, count);
    else if (view == &jobs_failures)
        offer_failure(choice, rows[0]->data);
    else if (view == &jobs_schedule)
        offer_entry(choice, rows[0]->data);
    else if (view == &jobs_aside)
        offer_aside(choice, rows[0]->data);
    return choice;
}

static int holder_free(struct holder *holder)
{
    talloc_free(holder->choice);
    return 0;
}

bool jobs_choose_act(struct app *app, struct error *error)
{
    struct choice *choice = freeze(app, error);
    if (!choice)
        return false;
    struct holder *holder = talloc_zero(NULL, struct holder);
    holder->choice = choice;
    talloc_set_destructor(holder, holder_free);
    char *title = talloc_asprintf(choice, "%s on %s", choice->queue ? choice->queue : choice->system->name,
                                  choice->system->server);
    console_choose(app->console, title, choice->lines, choice->count, on_chosen, holder);
    return true;
}

/* The first Celery there is, or that of the row. */
bool jobs_do_act(struct app *app, enum queue_act act, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    struct queue_system *system = row ? row_system(console_view(app->console), row) : NULL;
    for (size_t i = 0; i < queues_count(app->queues) && (!system || queue_system_act_absent(system, act));
         i++)
        system = queues_system(app->queues, i);
    const char *absent = system ? queue_system_act_absent(system, act) : "no job system was found";
    if (absent)
        return error_set(error, ERROR_UNSUPPORTED, system ? system->name : NULL, queue_act_name(act), NULL,
                         "%s", absent);
    struct choice *choice = talloc_zero(NULL, struct choice);
    choice->app = app;
    choice->system = system;
    choice->chosen = (struct option){act, .ask = ASK_NOTHING};
    prepare(choice);
    return true;
}
