/* The Audit panel: what was done from here, newest first, read back from the log. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/snapshot.h"
#include "panels/panel.h"

struct audit_snapshot {
    struct snapshot base;
    struct audit_list *list;
};

/* The panel's own: the feed that reads the file, in a worker, and what it read last. */
struct audit_state {
    struct app *app;
    struct feed feed;
    const void *snapshot;
    struct error none;
};

struct audit_job {
    struct audit_state *state;
    struct audit_snapshot *snapshot;
    char *environment;
    size_t limit;
    struct error error;
};

enum { SHOWN = 1000 };

#define ROW(row) ((const struct audit_record *)(row))
#define TEXT_COLUMN(name)                                                                                    \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return value_text(ROW(row)->name);                                                                   \
    }
TEXT_COLUMN(environment)
TEXT_COLUMN(user)
TEXT_COLUMN(host)
TEXT_COLUMN(event)
TEXT_COLUMN(change)
TEXT_COLUMN(server)
TEXT_COLUMN(hazard)
TEXT_COLUMN(verb)
TEXT_COLUMN(target)
TEXT_COLUMN(command)
TEXT_COLUMN(role)
TEXT_COLUMN(reason)
TEXT_COLUMN(detail)
TEXT_COLUMN(hash)

static struct value value_of_time(const void *row)
{
    return value_real(ROW(row)->time);
}
static struct value value_of_sequence(const void *row)
{
    return value_integer((int64_t)ROW(row)->sequence);
}
static struct value value_of_outcome(const void *row)
{
    struct value value = value_text(ROW(row)->outcome);
    if (ROW(row)->outcome && strcmp(ROW(row)->outcome, "done") != 0)
        value.severity = SEVERITY_WARNING;
    return value;
}

static const struct column columns[] = {
    {"time", "time", "when it was recorded", UNIT_TIME, 14, 0, 0, value_of_time, NULL},
    {"sequence", "no.", "number of the record", UNIT_ID, 6, 7, 0, value_of_sequence, NULL},
    {"event", "event", "before and after a change, unlock, lock, measure, refused ...", UNIT_NONE, 11, 0, 0,
     value_of_event, NULL},
    {"verb", "what", "what was done", UNIT_NONE, 10, 0, 0, value_of_verb, NULL},
    {"server", "server", "on which server", UNIT_NONE, 10, 3, 0, value_of_server, NULL},
    {"outcome", "outcome",
     "after: done, gone, failed, unknown, skipped or refused; a change without one has an unknown outcome",
     UNIT_NONE, 9, 1, 0, value_of_outcome, NULL},
    {"user", "user", "who ran signalbox", UNIT_NONE, 10, 4, 0, value_of_user, NULL},
    {"role", "role", "the login on the server", UNIT_NONE, 10, 5, 0, value_of_role, NULL},
    {"reason", "reason", "why, in the words of the user", UNIT_NONE, 20, 2, 0, value_of_reason, NULL},
    {"host", "from", "the machine that it was done from", UNIT_NONE, 12, 8, COLUMN_HIDDEN, value_of_host,
     NULL},
    {"environment", "environment", "the environment that it was done in", UNIT_NONE, 12, 9, COLUMN_HIDDEN,
     value_of_environment, NULL},
    {"hazard", "hazard", "look, measure, change or destroy", UNIT_NONE, 8, 8, COLUMN_HIDDEN, value_of_hazard,
     NULL},
    {"change", "change", "ties the records before and after together", UNIT_NONE, 20, 9, COLUMN_HIDDEN,
     value_of_change, NULL},
    {"detail", "detail", "more about the outcome", UNIT_NONE, 20, 9, COLUMN_HIDDEN, value_of_detail, NULL},
    {"command", "command", "exactly what was sent", UNIT_NONE, 20, 9, COLUMN_HIDDEN | COLUMN_STATEMENT,
     value_of_command, NULL},
    {"hash", "hash", "SHA-256 of the record, with the hash of the one before in it", UNIT_NONE, 64, 9,
     COLUMN_HIDDEN, value_of_hash, NULL},
    {"target", "target", "the thing that was changed", UNIT_NONE, 0, 0, COLUMN_STATEMENT, value_of_target,
     NULL},
};

static void work(void *data)
{
    struct audit_job *job = data;
    job->snapshot->list = audit_read(job->snapshot, job->environment, NULL, job->limit, &job->error);
}

static void done(void *data)
{
    struct audit_job *job = data;
    struct audit_state *state = job->state;
    if (job->snapshot->list) {
        snapshot_publish(&state->snapshot, job->snapshot);
        feed_answered(&state->feed);
    } else {
        snapshot_release(job->snapshot);
        feed_failed(&state->feed, &job->error);
    }
    talloc_free(job);
}

static void ask(struct feed *feed, void *data)
{
    (void)feed;
    struct audit_state *state = data;
    struct audit_job *job = talloc_zero(NULL, struct audit_job);
    job->state = state;
    job->snapshot = SNAPSHOT_NEW(struct audit_snapshot);
    job->environment = talloc_strdup(job, state->app->environment->name);
    job->limit = state->app->console ? SHOWN : (size_t)state->app->options->limit;
    loop_work(state->app->loop, WORK_FILE, work, done, job);
}

static void changed(void *data)
{
    struct app *app = ((struct audit_state *)data)->app;
    if (app->changed)
        app->changed(app);
}

static int state_free(struct audit_state *state)
{
    feed_stop(&state->feed);
    snapshot_release(state->snapshot);
    return 0;
}

static struct audit_state *audit_state(struct app *app)
{
    if (!app->audit_state) {
        struct audit_state *state = app->audit_state = talloc_zero(app, struct audit_state);
        state->app = app;
        feed_init(&state->feed, app->loop, "audit log", 2, 5, ask, changed, state);
        talloc_set_destructor(state, state_free);
    }
    return app->audit_state;
}

static void want(struct app *app, bool wanted)
{
    feed_want(&audit_state(app)->feed, wanted);
}

static void sources(struct app *app, struct source_list *list)
{
    struct audit_state *state = audit_state(app);
    source_list_add(list, (struct source){.server = app->environment->name,
                                          .feed = &state->feed,
                                          .connection_error = &state->none});
}

static uint64_t version(struct app *app)
{
    const struct audit_snapshot *snapshot = audit_state(app)->snapshot;
    return snapshot ? snapshot->base.generation : 0;
}

static void rows(struct app *app, struct row_list *list)
{
    const struct audit_snapshot *snapshot = audit_state(app)->snapshot;
    if (!snapshot)
        return;
    row_list_hold(list, snapshot);
    for (size_t i = 0; i < snapshot->list->count; i++) {
        /* People want the newest first; files keep the order of the log. */
        size_t at = app->console ? snapshot->list->count - 1 - i : i;
        const struct audit_record *record = &snapshot->list->records[at];
        row_list_add(list, (struct table_row){
                               .data = record,
                               .id = talloc_asprintf(list, "%llu", (unsigned long long)record->sequence)});
    }
}

static void detail(struct app *app, const struct table_row *row, struct page *page)
{
    (void)app;
    page_section(page, "Record");
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        struct value value = columns[c].value(row->data);
        char text[256];
        if (value.kind == VALUE_TEXT)
            page_pair(page, columns[c].title, STYLE_NORMAL, value.text);
        else if (value.kind != VALUE_BLANK)
            page_pair(page, columns[c].title, STYLE_NORMAL,
                      value_format(text, sizeof text, &columns[c], value));
    }
}

static bool act(struct app *app, const char *action, struct error *error)
{
    (void)app;
    return error_set(error, ERROR_USAGE, NULL, action, NULL, "not an action of this panel");
}

static const struct view log_view = {
    .id = "log",
    .title = "Log",
    .summary = "what was done from here, and what became of it",
    .empty = "nothing has been done here yet",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .want = want,
    .sources = sources,
    .rows = rows,
    .version = version,
    .detail = detail,
};
static const struct view *const views[] = {&log_view};

const struct panel_ops panel_audit = {
    .id = "audit",
    .title = "Audit",
    .summary = "what was done from here, each record chained to the last",
    .number = 9,
    .views = views,
    .view_count = 1,
    .act = act,
};
