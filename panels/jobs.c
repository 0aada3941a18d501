/* The Jobs panel: queues, workers, failures and schedules of every job system, and what can be done there. */
#include "panels/jobs.h"

#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"
#include "panels/console.h"
#include "panels/hosts.h"
#include "panels/redis.h"

static int state_free(struct jobs_state *state)
{
    queue_prepare_forsake(state->prepare);
    talloc_free(state->choice);
    return 0;
}

struct jobs_state *jobs_state(struct app *app)
{
    if (!app->jobs_state) {
        app->jobs_state = talloc_zero(app, struct jobs_state);
        talloc_set_destructor(app->jobs_state, state_free);
    }
    return app->jobs_state;
}

/* ---- what the views share ---- */

struct value jobs_count(int64_t count)
{
    return count < 0 ? value_unknown() : value_integer(count);
}

struct value jobs_real(double real)
{
    return isnan(real) ? value_unknown() : value_real(real);
}

struct value jobs_time(double time)
{
    return time > 0 ? value_real(time) : value_blank();
}

struct value jobs_age(double time)
{
    return time > 0 ? value_real(fmax(0, clock_wall() - time)) : value_blank();
}

void jobs_part_want(struct app *app, enum queue_part part, bool wanted)
{
    queues_want(app->queues, part, wanted);
}

/* Its connection, where it can be known: what it says explains the feed. */
static const struct error *connection_error(struct app *app, const struct queue_system *system)
{
    if (system->at.redis)
        return redis_server_error(system->at.redis);
    if (system->at.host)
        return ssh_host_error(host_ssh(system->at.host));
    return &jobs_state(app)->none;
}

static bool is_listed(const struct source_list *list, const char *server)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].server, server) == 0)
            return true;
    return false;
}

/* A place that could not be looked at has no systems that would tell. */
static void failed_searches(struct app *app, struct source_list *list)
{
    const char *server;
    for (size_t i = 0; i < queues_search_count(app->queues); i++) {
        struct feed *feed = queues_search_feed(app->queues, i, &server);
        if (feed && feed->error.kind != ERROR_NONE && !is_listed(list, server))
            source_list_add(
                list, (struct source){.server = server, .feed = feed, .connection_error = &feed->error});
    }
}

void jobs_part_sources(struct app *app, enum queue_part part, struct source_list *list)
{
    for (size_t i = 0; i < queues_count(app->queues); i++) {
        struct queue_system *system = queues_system(app->queues, i);
        if (queue_system_part_absent(system, part))
            continue;
        source_list_add(
            list, (struct source){.server = system->server,
                                  .feed = queue_system_feed(system, part),
                                  .connection_error = connection_error(app, system),
                                  .note = system->at.redis ? redis_server_note(system->at.redis) : NULL});
    }
    failed_searches(app, list);
}

bool jobs_part_complete(struct app *app, enum queue_part part)
{
    if (!queues_searched(app->queues))
        return false;
    for (size_t i = 0; i < queues_count(app->queues); i++) {
        struct queue_system *system = queues_system(app->queues, i);
        const struct feed *feed = queue_system_feed(system, part);
        if (!queue_system_part_absent(system, part) && feed->answered_at <= 0 &&
            feed->error.kind == ERROR_NONE)
            return false;
    }
    return true;
}

/* A command does not wait for the whole interval. */
bool jobs_rates_known(struct app *app)
{
    const double apart_s = 2;
    bool known = jobs_part_complete(app, PART_QUEUES);
    for (size_t i = 0; known && i < queues_count(app->queues); i++) {
        struct queue_system *system = queues_system(app->queues, i);
        struct feed *feed = queue_system_feed(system, PART_QUEUES);
        if (system->answers[PART_QUEUES] != 1 || feed->error.kind != ERROR_NONE)
            continue;
        known = false;
        if (clock_wall() - feed->answered_at > apart_s)
            feed_refresh(feed);
    }
    return known;
}

uint64_t jobs_version(struct app *app)
{
    return queues_version(app->queues) + 1;
}

/* A search that failed hides systems: the first of them is told. */
void jobs_part_note(struct app *app, enum queue_part part, char *buffer, size_t size)
{
    const struct error *error;
    *buffer = '\0';
    for (size_t i = 0; i < queues_search_count(app->queues); i++) {
        const char *place = queues_search_place(app->queues, i, &error);
        if (error->kind != ERROR_NONE) {
            snprintf(buffer, size, "%s: %s", place, error->why);
            return;
        }
    }
    if (!queues_searched(app->queues)) {
        snprintf(buffer, size, "looking for job systems");
        return;
    }
    const char *nobody = NULL;
    for (size_t i = 0; i < queues_count(app->queues); i++) {
        const struct queue_system *system = queues_system(app->queues, i);
        const char *absent = queue_system_part_absent(system, part);
        const struct queues_snapshot *queues = queue_system_queues(system);
        const struct workers_snapshot *workers = queue_system_workers(system);
        const char *note = part == PART_QUEUES && queues     ? queues->note
                           : part == PART_WORKERS && workers ? workers->note
                                                             : NULL;
        if (!absent && note) {
            snprintf(buffer, size, "%s: %s", system->name, note);
            return;
        }
        if (!absent)
            return;
        nobody = absent;
    }
    if (nobody)
        snprintf(buffer, size, "%s", nobody);
}

/* Acts that are not possible for the same reason stand together. */
static void help_acts(const struct queue_system *system, struct page *page)
{
    bool told[ACT_COUNT] = {false};
    for (int first = 0; first < ACT_COUNT; first++) {
        const char *why = queue_system_act_absent(system, (enum queue_act)first);
        char *names = talloc_strdup(page, "");
        if (!why || told[first])
            continue;
        for (int act = first; act < ACT_COUNT; act++) {
            const char *same = queue_system_act_absent(system, (enum queue_act)act);
            if (!same || strcmp(same, why) != 0)
                continue;
            told[act] = true;
            names = talloc_asprintf_append_buffer(names, "%s%s", *names ? ", " : "",
                                                  queue_act_name((enum queue_act)act));
        }
        page_format(page, STYLE_NORMAL, 0, "%s: %s", names, why);
    }
}

/* What each system cannot do, with the reason. */
static void help(struct app *app, struct page *page)
{
    for (size_t i = 0; i < queues_count(app->queues); i++) {
        const struct queue_system *system = queues_system(app->queues, i);
        page_section(page, talloc_asprintf(page, "not possible with %s", system->id));
        for (int part = 0; part < QUEUE_PARTS; part++) {
            const char *why = queue_system_part_absent(system, (enum queue_part)part);
            if (why)
                page_pair(page, queue_part_name((enum queue_part)part), STYLE_DIM, why);
        }
        help_acts(system, page);
    }
}

int jobs_draw_line(struct screen *screen, int top, int columns, int room, enum style style, const char *text)
{
    char safe[1000], cut[1000];
    safe_line(safe, sizeof safe, text);
    int rows = text_width(safe) > columns - 2 && room > 1 ? 2 : 1;
    text_cut(cut, sizeof cut, safe, rows * (columns - 2) - (rows > 1 ? columns / 6 : 0));
    struct page *page = page_new(NULL);
    page_text(page, style, 1, cut);
    page_draw(page, screen, top, 0, rows, columns);
    talloc_free(page);
    return rows;
}

/* ---- what can be looked at ---- */

static void found_text(struct app *app, void *data, const char *line)
{
    (void)data;
    if (line && *line)
        jobs_open(app, NULL, NULL, 0, FROM_HEAD, line);
}

static bool find(struct app *app)
{
    console_prompt(app->console, "find (id, person, tenant, argument): ", "job", "", found_text, NULL);
    return true;
}

/* What scanning is about: the queue of the row, or the one that is open. */
static bool scan_target(struct app *app, struct jobs_target *target)
{
    const struct table_row *row = console_selected(app->console);
    if (console_view(app->console) == &jobs_queues && row) {
        const struct jobs_queue_row *at = row->data;
        *target = (struct jobs_target){.system = at->system, .queue = at->queue->name};
        return true;
    }
    if (console_view(app->console) == &jobs_list)
        *target = *jobs_reading_target(jobs_state(app)->reading);
    return console_view(app->console) == &jobs_list;
}

struct scan {
    struct queue_system *system;
    char *queue;
    unsigned states;
};

static void scan_text(struct app *app, void *data, const char *line)
{
    struct scan *scan = data;
    if (line && *line)
        jobs_open(app, scan->system, scan->queue, scan->states, FROM_HEAD, line);
    talloc_free(scan);
}

static bool scan(struct app *app, struct error *error)
{
    struct jobs_target target = {0};
    if (!scan_target(app, &target))
        return error_set(error, ERROR_USAGE, NULL, "which queue?", "Select a queue, or open it with Enter.",
                         "a scan reads one queue from end to end");
    struct scan *self = talloc_zero(NULL, struct scan);
    self->system = target.system;
    self->queue = target.queue ? talloc_strdup(self, target.queue) : NULL;
    self->states = target.states;
    console_prompt(app->console,
                   "scan all of it for (task: tenant: id: retries> age> poison text:): ", "job-filter",
                   target.filter ? target.filter : "", scan_text, self);
    return true;
}

/* The tenant of a row, wherever one is shown. */
static const char *row_tenant(struct app *app)
{
    const struct table_row *row = console_selected(app->console);
    const struct view *view = console_view(app->console);
    if (!row)
        return NULL;
    if (view == &jobs_list || view == &jobs_running)
        return ((const struct jobs_found_item *)row->data)->job.tenant;
    if (view == &jobs_failures)
        return ((const struct jobs_failure_row *)row->data)->failure->tenant;
    if (view == &jobs_schedule)
        return ((const struct jobs_schedule_row *)row->data)->entry->tenant;
    if (view == &jobs_aside)
        return ((const struct jobs_aside_row *)row->data)->aside->tenant;
    if (view == &jobs_queues) {
        const struct queue *queue = ((const struct jobs_queue_row *)row->data)->queue;
        return queue->share_count ? queue->shares[0].name : NULL;
    }
    return NULL;
}

static bool tenant(struct app *app, struct error *error)
{
    const char *name = row_tenant(app);
    if (!name)
        return error_set(error, ERROR_USAGE, NULL, "whose jobs?", "Select a row that names a tenant.",
                         "this row has none");
    char *filter = talloc_asprintf(NULL, "tenant=\"%s\"", name);
    jobs_open(app, NULL, NULL, 0, FROM_HEAD, filter);
    talloc_free(filter);
    return true;
}

/* Those that run next, or the newest: the other end of the same window. */
static bool other_end(struct app *app, struct error *error)
{
    if (console_view(app->console) != &jobs_list)
        return error_set(error, ERROR_USAGE, NULL, "which end?", "Open a queue with Enter.",
                         "only a list of jobs has two ends");
    struct jobs_target target = *jobs_reading_target(jobs_state(app)->reading);
    target.from = target.from == FROM_TAIL ? FROM_HEAD : FROM_TAIL;
    return jobs_reading_aim(jobs_state(app)->reading, &target, error);
}

/* The machine of a worker, by the name that it says, or its first part. */
static struct host *worker_machine(struct app *app, const char *name)
{
    struct host *host = name ? fleet_find(app->fleet, name) : NULL;
    char first[128];
    if (!host && name) {
        snprintf(first, sizeof first, "%.*s", (int)strcspn(name, "."), name);
        host = fleet_find(app->fleet, first);
    }
    return host;
}

static bool worker_host(struct app *app, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    const char *name = NULL, *worker = NULL;
    if (row && console_view(app->console) == &jobs_workers) {
        name = ((const struct jobs_worker_row *)row->data)->worker->host;
        worker = ((const struct jobs_worker_row *)row->data)->worker->id;
    } else if (row &&
               (console_view(app->console) == &jobs_running || console_view(app->console) == &jobs_list)) {
        worker = ((const struct jobs_found_item *)row->data)->job.worker;
    }
    const char *at = worker ? strchr(worker, '@') : NULL;
    struct host *host = worker_machine(app, name);
    if (!host)
        host = worker_machine(app, at ? at + 1 : NULL);
    if (!host)
        return error_set(error, ERROR_MISSING, app->environment->name, "no such host",
                         "Name it in the environment's hosts, as the worker says it.", "%s%s",
                         name     ? name
                         : at     ? at + 1
                         : worker ? worker
                                  : "this row has no worker",
                         name || at ? " is not one of its hosts" : "");
    hosts_show(app, host);
    return true;
}

static bool show_redis(struct app *app, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    struct redis_server *server = app->redis_count ? app->redis[0] : NULL;
    if (row && console_view(app->console) == &jobs_queues &&
        ((const struct jobs_queue_row *)row->data)->system->at.redis)
        server = ((const struct jobs_queue_row *)row->data)->system->at.redis;
    if (!server)
        return error_set(error, ERROR_CONFIG, app->environment->name, "no Redis server is named",
                         "Add redis: {broker: {url: \"redis://HOST:6379/0\"}} to its file.",
                         "the environment has none");
    redis_open(app, server);
    return true;
}

static bool values(struct app *app, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    const struct view *view = console_view(app->console);
    if (!row || (view != &jobs_list && view != &jobs_running))
        return error_set(error, ERROR_USAGE, NULL, "which job?", "Select a job.", "this row is none");
    jobs_open_values(app, row);
    return true;
}

/* ---- the panel ---- */

static bool act(struct app *app, const char *action, struct error *error)
{
    static const char *const views[] = {"jobs.queues",   "jobs.workers",  "jobs.running",
                                        "jobs.failures", "jobs.schedule", "jobs.aside"};
    if (strcmp(action, "jobs.find") == 0)
        return find(app);
    if (strcmp(action, "jobs.scan") == 0)
        return scan(app, error);
    if (strcmp(action, "jobs.tenant") == 0)
        return tenant(app, error);
    if (strcmp(action, "jobs.end") == 0)
        return other_end(app, error);
    if (strcmp(action, "jobs.host") == 0)
        return worker_host(app, error);
    if (strcmp(action, "jobs.redis") == 0)
        return show_redis(app, error);
    if (strcmp(action, "jobs.values") == 0)
        return values(app, error);
    if (strcmp(action, "jobs.ask") == 0)
        return jobs_do_act(app, ACT_ASK, error);
    if (strcmp(action, "jobs.act") == 0)
        return jobs_choose_act(app, error);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (strcmp(action, views[i]) == 0) {
            while (console_panel(app->console) != &panel_jobs)
                console_pop(app->console);
            console_show_view(app->console, views[i] + strlen("jobs."));
            return true;
        }
    return error_set(error, ERROR_UNSUPPORTED, NULL, "not possible here", NULL,
                     "%s is not an action of this panel", action);
}

static const struct action actions[] = {
    {"jobs.queues", "queues", "queues", "which queue grows, and whose jobs they are", HAZARD_LOOK, 0},
    {"jobs.workers", "workers", "workers", "who takes jobs, and is he well", HAZARD_LOOK, 0},
    {"jobs.failures", "failures", "failures", "what fails, by task, exception and tenant", HAZARD_LOOK, 0},
    {"jobs.schedule", "job-schedule", "schedule", "what is sent by the clock, and what is late", HAZARD_LOOK,
     0},
    {"jobs.act", "job-act", "act …", "what can be done with what is selected", HAZARD_DESTROY,
     NEED_ROW | NEED_ACT},
    {"jobs.find", "find-job", "find", "a job wherever it is: by id, person, tenant or argument", HAZARD_LOOK,
     0},
    {"jobs.scan", "scan", "scan", "all of a queue for what matches, with progress; C-c stops", HAZARD_LOOK,
     0},
    {"jobs.tenant", "tenant", "tenant", "all jobs of this row's tenant", HAZARD_LOOK, NEED_ROW},
    {"jobs.end", "other-end", NULL, "the other end of the queue: what runs next, or the newest", HAZARD_LOOK,
     0},
    {"jobs.ask", "ask", "ask", "ask Celery's workers what they run and hold, after a dialog", HAZARD_MEASURE,
     NEED_ACT},
    {"jobs.running", "running", NULL, "what workers run now, and for how long", HAZARD_LOOK, 0},
    {"jobs.aside", "aside", NULL, "what was parked or purged from here", HAZARD_LOOK, 0},
    {"jobs.host", "host", NULL, "the machine of this worker", HAZARD_LOOK, NEED_ROW},
    {"jobs.redis", "redis", NULL, "memory, clients, slow log and keys of this Redis", HAZARD_LOOK, 0},
    {"jobs.values", "values", NULL, "all about a job with the values of its arguments", HAZARD_LOOK,
     NEED_ROW},
};

static const struct view *const views[] = {&jobs_queues,   &jobs_list,     &jobs_workers, &jobs_running,
                                           &jobs_failures, &jobs_schedule, &jobs_aside};

const struct panel_ops panel_jobs = {
    .id = "jobs",
    .title = "Jobs",
    .summary = "queues, workers, failures and schedules of every job system, and the jobs in them",
    .number = 4,
    .views = views,
    .view_count = sizeof views / sizeof *views,
    .actions = actions,
    .action_count = sizeof actions / sizeof *actions,
    .help = help,
    .act = act,
};

static const char *subject(struct app *app)
{
    return jobs_state(app)->subject;
}

static const struct view *const queue_views[] = {&jobs_list};

const struct panel_ops panel_queue = {
    .id = "queue",
    .title = "Queue",
    .summary = "the jobs of one queue, or those that a search found",
    .subject = subject,
    .parent = "jobs",
    .views = queue_views,
    .view_count = sizeof queue_views / sizeof *queue_views,
    .help = help,
    .act = act,
};
