/* Jobs › Jobs: the jobs of one queue from either end, or those that match, wherever they are; and all about
 * one. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "panels/console.h"
#include "panels/jobs.h"

#define JOB(row) (&((const struct jobs_found_item *)(row))->job)
#define SYSTEM(row) (((const struct jobs_found_item *)(row))->system)

enum { WINDOW = 500, FOUND_MAX = 5000 };

#define TEXT_OF(member)                                                                                      \
    static struct value value_of_##member(const void *row)                                                   \
    {                                                                                                        \
        return value_text(JOB(row)->member);                                                                 \
    }
TEXT_OF(id)
TEXT_OF(task)
TEXT_OF(queue)
TEXT_OF(worker)
TEXT_OF(origin)
TEXT_OF(exception)
TEXT_OF(message)
TEXT_OF(arguments)
TEXT_OF(parent)
TEXT_OF(root)
TEXT_OF(group)
#define TIME_OF(member)                                                                                      \
    static struct value value_of_##member(const void *row)                                                   \
    {                                                                                                        \
        return jobs_time(JOB(row)->member);                                                                  \
    }
TIME_OF(enqueued_at)
TIME_OF(eta)
TIME_OF(expires)
TIME_OF(taken_at)
TIME_OF(started_at)
TIME_OF(finished_at)

static struct value value_of_system(const void *row)
{
    return value_text(SYSTEM(row)->name);
}
static struct value value_of_server(const void *row)
{
    return value_text(SYSTEM(row)->server);
}
static struct value value_of_tenant(const void *row)
{
    return JOB(row)->tenant         ? value_text(JOB(row)->tenant)
           : JOB(row)->tenant_known ? value_blank()
                                    : value_unknown();
}
static struct value value_of_state(const void *row)
{
    struct value value = value_text(job_state_name(JOB(row)->state));
    if (JOB(row)->state == JOB_FAILED || JOB(row)->state == JOB_DEAD)
        value.severity = SEVERITY_WARNING;
    return value;
}
/* What is known of when it came: sent, else taken, else finished. */
static struct value value_of_age(const void *row)
{
    const struct job *job = JOB(row);
    double time = job->enqueued_at > 0   ? job->enqueued_at
                  : job->taken_at > 0    ? job->taken_at
                  : job->finished_at > 0 ? job->finished_at
                                         : job->started_at;
    return time > 0 ? jobs_age(time) : value_unknown();
}
static struct value value_of_retries(const void *row)
{
    struct value value = jobs_count(JOB(row)->retries);
    if (JOB(row)->retries > 3)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_priority(const void *row)
{
    return JOB(row)->priority < 0 ? value_blank() : value_integer(JOB(row)->priority);
}
static struct value value_of_size(const void *row)
{
    return jobs_count(JOB(row)->size);
}
static struct value value_of_position(const void *row)
{
    return JOB(row)->index < 0 ? value_blank() : value_integer(JOB(row)->index + 1);
}
static struct value value_of_flags(const void *row)
{
    return value_text(((const struct jobs_found_item *)row)->flags);
}
static struct value value_of_poison(const void *row)
{
    if (!JOB(row)->poison)
        return value_blank();
    struct value value = value_text(job_poison_name(JOB(row)->poison));
    value.severity = JOB(row)->poison >= POISON_B ? SEVERITY_CRITICAL : SEVERITY_WARNING;
    return value;
}
static struct value value_of_why(const void *row)
{
    const struct job *job = JOB(row);
    struct value value = value_text(job->why ? job->why : job->message ? job->message : job->arguments);
    if (job->poison)
        value.severity = SEVERITY_CRITICAL;
    return value;
}

static const struct column columns[] = {
    {"position", "next", "how many run before it, and it: 1 runs next", UNIT_COUNT, 7, 3, 0,
     value_of_position, NULL},
    {"state", "state", "ready, unacked, running, scheduled, retrying, failed, dead, parked ...", UNIT_NONE, 9,
     3, 0, value_of_state, NULL},
    {"age_s", "age", "since it was sent; where that is not known, since it was taken or failed", UNIT_S, 9, 0,
     0, value_of_age, NULL},
    {"tenant", "tenant", "whose job it is; blank: nobody's; ?: not known", UNIT_NONE, 14, 0, 0,
     value_of_tenant, NULL},
    {"task", "task", "what it does", UNIT_NONE, 28, 0, 0, value_of_task, NULL},
    {"id", "id", "its id", UNIT_NONE, 36, 4, 0, value_of_id, NULL},
    {"retries", "tries", "how often it was tried before", UNIT_COUNT, 5, 2, 0, value_of_retries, NULL},
    {"priority", "prio", "as its system counts", UNIT_NONE, 4, 4, 0, value_of_priority, NULL},
    {"eta", "due", "not to run before", UNIT_TIME, 12, 2, 0, value_of_eta, NULL},
    {"size_bytes", "size", "of the message", UNIT_BYTES, 7, 2, 0, value_of_size, NULL},
    {"poison", "poison", "what it would do to a worker: A ends it, B is dropped, C fails, D kills its child",
     UNIT_NONE, 6, 1, 0, value_of_poison, NULL},
    {"flags", "flags", "redelivered, pickle, compressed, big, expired, periodic, chained ...", UNIT_NONE, 16,
     3, 0, value_of_flags, NULL},
    {"queue", "queue", "where it lies", UNIT_NONE, 12, 5, 0, value_of_queue, NULL},
    {"system", "system", "the job system", UNIT_NONE, 9, 7, 0, value_of_system, NULL},
    {"server", "server", "where the system is", UNIT_NONE, 10, 8, 0, value_of_server, NULL},
    {"worker", "worker", "who has it", UNIT_NONE, 18, 7, 0, value_of_worker, NULL},
    {"exception", "exception", "what was raised", UNIT_NONE, 16, 6, 0, value_of_exception, NULL},
    {"message", "message", "of the exception", UNIT_NONE, 30, 9, COLUMN_HIDDEN, value_of_message, NULL},
    {"arguments", "arguments", "as the producer shows them, or only their types", UNIT_NONE, 30, 9,
     COLUMN_HIDDEN, value_of_arguments, NULL},
    {"enqueued_at", "sent", "when it was sent", UNIT_TIME, 12, 9, COLUMN_HIDDEN, value_of_enqueued_at, NULL},
    {"expires_at", "expires", "not to run after", UNIT_TIME, 12, 9, COLUMN_HIDDEN, value_of_expires, NULL},
    {"taken_at", "taken", "by a worker", UNIT_TIME, 12, 9, COLUMN_HIDDEN, value_of_taken_at, NULL},
    {"started_at", "started", "by a worker", UNIT_TIME, 12, 9, COLUMN_HIDDEN, value_of_started_at, NULL},
    {"finished_at", "ended", "failed or done", UNIT_TIME, 12, 9, COLUMN_HIDDEN, value_of_finished_at, NULL},
    {"origin", "origin", "who sent it", UNIT_NONE, 20, 9, COLUMN_HIDDEN, value_of_origin, NULL},
    {"parent", "parent", "the job that sent it", UNIT_NONE, 36, 9, COLUMN_HIDDEN, value_of_parent, NULL},
    {"root", "root", "the first of its chain", UNIT_NONE, 36, 9, COLUMN_HIDDEN, value_of_root, NULL},
    {"group", "group", "that it is a member of", UNIT_NONE, 36, 9, COLUMN_HIDDEN, value_of_group, NULL},
    {"why", "what", "why it is poison or failed; else its arguments", UNIT_NONE, 0, 6, 0, value_of_why, NULL},
};

/* ---- the view ---- */

/* A command's reading: what its options say. */
static void aim_by_options(struct app *app, struct jobs_reading *reading)
{
    const struct options *options = app->options;
    struct error error;
    struct jobs_target target = {.queue = options->queue, .filter = options->filter};
    target.from = options->from && strcmp(options->from, "tail") == 0 ? FROM_TAIL : FROM_HEAD;
    target.states = options->queue && !options->filter ? 1U << JOB_READY : 0;
    target.limit = options->limit > 0 ? options->limit : options->filter ? FOUND_MAX : WINDOW;
    /* The command has looked at the filter already (jobs_command). */
    jobs_reading_aim(reading, &target, &error);
}

static struct jobs_reading *reading_of(struct app *app)
{
    struct jobs_state *state = jobs_state(app);
    if (!state->reading) {
        state->reading = jobs_reading_new(app);
        aim_by_options(app, state->reading);
    }
    return state->reading;
}

/* Without a queue or a filter: the first ones of all queues. */
static void aim_at_all(struct app *app)
{
    struct error error;
    TALLOC_FREE(jobs_state(app)->subject);
    jobs_reading_aim(reading_of(app), &(struct jobs_target){.limit = WINDOW}, &error);
}

static void want(struct app *app, bool wanted)
{
    struct jobs_state *state = jobs_state(app);
    /* Its queues say which system has which. */
    jobs_part_want(app, PART_QUEUES, wanted);
    jobs_reading_want(reading_of(app), wanted);
    if (state->subject && !state->opening)
        aim_at_all(app);
}

static void sources(struct app *app, struct source_list *list)
{
    jobs_reading_sources(reading_of(app), list);
}

static uint64_t version(struct app *app)
{
    return jobs_reading_version(reading_of(app));
}

static void rows(struct app *app, struct row_list *list)
{
    const struct jobs_found *found = jobs_reading_found(reading_of(app));
    if (!found)
        return;
    row_list_hold(list, found);
    for (size_t i = 0; i < found->count; i++) {
        const struct jobs_found_item *item = &found->items[i];
        char flags[128];
        struct jobs_found_item *row = talloc(list, struct jobs_found_item);
        *row = *item;
        row->job.arguments = job_arguments_redacted(row, item->job.arguments);
        row->flags =
            item->job.flags ? talloc_strdup(row, job_flags_text(flags, sizeof flags, item->job.flags)) : NULL;
        row_list_add(
            list, (struct table_row){.data = row,
                                     .id = talloc_asprintf(
                                         list, "%s/%s/%s/%s", item->system->id,
                                         job_state_name(item->job.state), item->job.id ? item->job.id : "?",
                                         item->job.tag ? item->job.tag : talloc_asprintf(list, "%zu", i)),
                                     .dim = (item->job.flags & JOB_EXPIRED) != 0});
    }
}

/* What is shown here, and how far reading has come. */
static int head(struct app *app, struct screen *screen, int top, int width, int room)
{
    char text[400];
    return jobs_draw_line(screen, top, width, room,
                          jobs_reading_busy(reading_of(app)) ? STYLE_NORMAL : STYLE_DIM,
                          jobs_reading_text(reading_of(app), text, sizeof text));
}

static bool cancel(struct app *app)
{
    return jobs_reading_stop(reading_of(app));
}

const struct view jobs_list = {
    .id = "jobs",
    .title = "Jobs",
    .summary = "the jobs of a queue from either end, or those that match, wherever they are",
    .empty = "no job here",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .want = want,
    .sources = sources,
    .rows = rows,
    .version = version,
    .head = head,
    .cancel = cancel,
    .enter = jobs_open_job,
    .tell = "why",
};

void jobs_open(struct app *app, struct queue_system *system, const char *queue, unsigned states,
               enum queue_from from, const char *filter)
{
    struct jobs_state *state = jobs_state(app);
    struct error error;
    struct jobs_target target = {.system = system,
                                 .queue = queue,
                                 .states = states,
                                 .from = from,
                                 .filter = filter && *filter ? filter : NULL,
                                 .limit = filter && *filter ? FOUND_MAX : WINDOW};
    if (!jobs_reading_aim(reading_of(app), &target, &error)) {
        console_say_error(app->console, &error);
        return;
    }
    talloc_free(state->subject);
    state->subject =
        queue    ? talloc_asprintf(state, "%s%s%s", queue, system ? " on " : "", system ? system->server : "")
        : filter ? talloc_asprintf(state, "find %s", filter)
                 : talloc_strdup(state, "all queues");
    state->opening = true;
    if (console_panel(app->console) != &panel_queue)
        console_push_panel(app->console, &panel_queue);
    state->opening = false;
}

/* ---- all about one ---- */

struct job_page {
    struct app *app;
    unsigned place;
    char *crumb;
    bool secrets;
    struct job *job;
    struct queue_system *system;
};

static void fill(struct page *page, const struct job_facts *facts, bool secrets)
{
    const char *section = NULL;
    bool hidden = false;
    for (size_t i = 0; i < facts->count; i++) {
        const struct job_fact *fact = &facts->facts[i];
        if (!section || strcmp(section, fact->section) != 0)
            page_section(page, fact->section);
        section = fact->section;
        hidden = hidden || (fact->secret && !secrets);
        const char *text = fact->secret && !secrets ? "•••" : fact->text;
        if (fact->label)
            page_pair(page, fact->label, fact->secret && !secrets ? STYLE_DIM : STYLE_NORMAL, text);
        else
            page_text(page, STYLE_NORMAL, 0, text);
    }
    if (hidden) {
        page_blank(page);
        page_text(page, STYLE_DIM, 0, "values of arguments are tenants' data: v on the job's row shows them");
    }
}

static void facts_read(void *data, const struct job_facts *facts, const struct error *error)
{
    struct job_page *self = data;
    struct app *app = self->app;
    if (console_place(app->console) != self->place) {
        talloc_free(self);
        return;
    }
    if (error) {
        console_say_error(app->console, error);
    } else {
        struct page *page = page_new(NULL);
        fill(page, facts, self->secrets);
        console_push_page(app->console, self->crumb, page);
    }
    talloc_free(self);
}

/* Whoever looks at a tenant's data is on record. */
static void record_look(struct app *app, const struct jobs_found_item *item)
{
    char *target =
        talloc_asprintf(NULL, "%s · %s · tenant %s", item->job.id ? item->job.id : "?",
                        item->job.task ? item->job.task : "?", item->job.tenant ? item->job.tenant : "?");
    audit_write(app->audit,
                &(struct audit_entry){.event = "look",
                                      .server = item->system->server,
                                      .hazard = "look",
                                      .verb = "values of arguments",
                                      .target = target},
                NULL, NULL);
    talloc_free(target);
}

static void read_facts(struct app *app, const struct jobs_found_item *item, bool secrets)
{
    if (secrets)
        record_look(app, item);
    struct job_page *self = talloc_zero(NULL, struct job_page);
    self->app = app;
    self->place = console_place(app->console);
    self->secrets = secrets;
    self->crumb = talloc_asprintf(self, "%s", item->job.id ? item->job.id : "job");
    self->system = item->system;
    self->job = job_copy(self, &item->job);
    queue_job_read(item->system, self->job, facts_read, self);
}

void jobs_open_job(struct app *app, const struct table_row *row)
{
    read_facts(app, row->data, false);
}

void jobs_open_values(struct app *app, const struct table_row *row)
{
    read_facts(app, row->data, true);
}
