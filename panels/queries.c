/* The Queries panel: from a slow query to its measured plan; who blocks whom, and ending the right one. */
#include "panels/queries.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/psql.h"
#include "backends/postgres/route.h"
#include "backends/postgres/session_change.h"
#include "core/text.h"
#include "panels/console.h"
#include "panels/plan_view.h"

/* ---- feeds ---- */

void queries_want(struct app *app, enum pg_feed feed, bool wanted)
{
    for (size_t i = 0; i < app->server_count; i++) {
        feed_want(pg_server_feed(app->servers[i], feed), wanted);
        /* The chart goes on while the panel is open, whatever view is on top. */
        if (app->console && feed != PG_FEED_ACTIVITY)
            feed_want(pg_server_feed(app->servers[i], PG_FEED_ACTIVITY), wanted);
    }
}

void queries_sources(struct app *app, enum pg_feed feed, struct source_list *list)
{
    for (size_t i = 0; i < app->server_count; i++)
        if (app_shows(app, app->servers[i]))
            source_list_add(list, (struct source){.server = pg_server_name(app->servers[i]),
                                                  .database = pg_server_database(app->servers[i]),
                                                  .feed = pg_server_feed(app->servers[i], feed),
                                                  .connection_error = pg_server_error(app->servers[i]),
                                                  .note = pg_server_note(app->servers[i])});
}

/* What a feed published last; every snapshot begins with a struct snapshot. */
static const struct snapshot *newest(const struct pg_server *server, enum pg_feed feed)
{
    switch (feed) {
    case PG_FEED_ACTIVITY:
        return (const void *)pg_server_activity(server);
    case PG_FEED_LOCKS:
        return (const void *)pg_server_locks(server);
    case PG_FEED_STATEMENTS:
        return (const void *)pg_server_statements(server);
    case PG_FEEDS:
        break;
    }
    return NULL;
}

const void *queries_snapshot(const struct app *app, size_t server, enum pg_feed feed, struct row_list *list)
{
    const struct snapshot *snapshot =
        app_shows(app, app->servers[server]) ? newest(app->servers[server], feed) : NULL;
    if (snapshot && list)
        row_list_hold(list, snapshot);
    return snapshot;
}

uint64_t queries_version(const struct app *app, enum pg_feed feed)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < app->server_count; i++) {
        const struct snapshot *snapshot = queries_snapshot(app, i, feed, NULL);
        if (snapshot)
            sum += snapshot->generation;
    }
    return sum;
}

char *queries_row_id(const void *context, const char *server, const char *id)
{
    return talloc_asprintf(context, "%s/%s", server, id);
}

/* ---- what the selected row is about ---- */

static struct pg_server *row_server(struct app *app, const struct table_row *row)
{
    const struct view *view = console_view(app->console);
    const char *name = NULL;
    if (view == &queries_statements)
        name = queries_statement(row)->snapshot->server;
    else if (view == &queries_activity)
        name = queries_session(row)->snapshot->server;
    else if (view == &queries_locks)
        name = queries_lock_node(row)->snapshot->server;
    return name ? app_server(app, name) : NULL;
}

/* The identity of the row's session, or NULL when it has none. */
static const char *row_session_id(struct app *app, const struct table_row *row)
{
    const struct view *view = console_view(app->console);
    if (view == &queries_activity)
        return queries_session(row)->id;
    if (view == &queries_locks && queries_lock_node(row)->kind == LOCK_SESSION)
        return queries_lock_node(row)->id;
    return NULL;
}

/* ---- cancel and terminate ---- */

/* The possible targets of one F9, frozen when it was pressed. */
struct end_choice {
    struct {
        enum session_verb verb;
        char **ids;
        size_t count;
    } options[8];
    size_t count;
    char *server;
    struct choice_line lines[8];
};

static void add_end_choice(struct end_choice *choice, enum session_verb verb, char **ids, size_t count,
                           const char *line, const char *disabled)
{
    choice->options[choice->count].verb = verb;
    choice->options[choice->count].ids = ids;
    choice->options[choice->count].count = count;
    choice->lines[choice->count++] = (struct choice_line){line, disabled};
}

static void add_both(struct end_choice *choice, char **ids, size_t count, const char *whom,
                     const char *no_cancel)
{
    if (!count)
        return;
    add_end_choice(choice, SESSION_CANCEL, ids, count,
                   talloc_asprintf(choice,
                                   count == 1 ? "cancel the statement of %s" : "cancel the statements of %s",
                                   whom),
                   no_cancel);
    add_end_choice(choice, SESSION_TERMINATE, ids, count, talloc_asprintf(choice, "end %s", whom), NULL);
}

static void end_chosen(struct app *app, void *data, size_t index)
{
    struct end_choice *choice = data;
    struct pg_server *server = app_server(app, choice->server);
    struct error error = {0};
    struct change *change = session_change_new(server, choice->options[index].verb,
                                               (const char *const *)choice->options[index].ids,
                                               choice->options[index].count, &error);
    if (change)
        console_change(app->console, change);
    else
        console_say_error(app->console, &error);
}

/* The sessions of rows on one server. */
static char **session_ids(struct app *app, struct end_choice *choice, const struct table_row *const *rows,
                          size_t rows_count, size_t *count)
{
    char **ids = talloc_array(choice, char *, rows_count + 1);
    *count = 0;
    for (size_t i = 0; i < rows_count; i++) {
        const char *id = row_session_id(app, rows[i]);
        if (id && strcmp(pg_server_name(row_server(app, rows[i])), choice->server) == 0)
            ids[(*count)++] = talloc_strdup(ids, id);
    }
    return ids;
}

/* A change goes to one server: marks elsewhere are not forgotten silently. */
static void add_marked(struct app *app, struct end_choice *choice)
{
    size_t row_count, count;
    const struct table_row **rows = console_marked(app->console, choice, &row_count);
    char **ids = session_ids(app, choice, rows, row_count, &count);
    if (count)
        add_both(choice, ids, count,
                 talloc_asprintf(choice, "the %zu marked on %s%s", count, choice->server,
                                 count < row_count ? " (marks on other servers stay)" : ""),
                 NULL);
}

static void add_filtered(struct app *app, struct end_choice *choice)
{
    size_t row_count, count;
    if (!console_is_filtered(app->console))
        return;
    const struct table_row **rows = console_filtered(app->console, choice, &row_count);
    char **ids = session_ids(app, choice, rows, row_count, &count);
    if (count > 1)
        add_both(choice, ids, count,
                 talloc_asprintf(choice, "all %zu that the filter shows on %s", count, choice->server), NULL);
}

/* Why there is nothing to cancel in the row's session, or NULL. */
static const char *no_cancel(struct app *app, const struct table_row *row)
{
    const struct session *session = console_view(app->console) == &queries_activity
                                        ? queries_session(row)
                                        : queries_lock_node(row)->session;
    if (session && session->state && strncmp(session->state, "idle", 4) == 0)
        return "it runs nothing";
    return NULL;
}

static bool end_sessions(struct app *app, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    const char *id = row ? row_session_id(app, row) : NULL;
    if (row && console_view(app->console) == &queries_locks && queries_lock_node(row)->kind == LOCK_PREPARED)
        return error_set(error, ERROR_INTERLOCK, queries_lock_node(row)->snapshot->server,
                         "a prepared transaction has no session to end",
                         "As its owner, in its database: ROLLBACK PREPARED or COMMIT PREPARED.", "%s",
                         queries_lock_node(row)->gid);
    if (!id)
        return error_set(error, ERROR_INTERLOCK, NULL, "nothing to end here",
                         "Sessions stand in the views Activity and Locks.", "the selected row is no session");
    struct pg_server *server = row_server(app, row);
    struct end_choice *choice = talloc_zero(NULL, struct end_choice);
    choice->server = talloc_strdup(choice, pg_server_name(server));
    /* Who marked some means those. */
    add_marked(app, choice);
    char **one = talloc_array(choice, char *, 1);
    one[0] = talloc_strdup(one, id);
    add_both(choice, one, 1, talloc_asprintf(choice, "session %.*s", (int)strcspn(id, "@"), id),
             no_cancel(app, row));
    size_t behind_count = 0;
    const struct locks_snapshot *locks = pg_server_locks(server);
    char **behind = locks ? session_behind(choice, locks, id, &behind_count) : NULL;
    if (behind_count)
        add_both(choice, behind, behind_count,
                 behind_count == 1 ? "the one that waits behind it"
                                   : talloc_asprintf(choice, "the %zu that wait behind it", behind_count),
                 NULL);
    add_filtered(app, choice);
    console_choose(app->console, "What shall end?", choice->lines, choice->count, end_chosen, choice);
    return true;
}

/* ---- psql ---- */

static bool run_psql(struct app *app, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    struct pg_server *server = row ? row_server(app, row) : NULL;
    if (!server)
        server = app->chosen ? app_server(app, pg_server_name(app->chosen)) : app->servers[0];
    const char *dsn = pg_server_definition(server)->watch;
    struct pg_route *route = pg_server_route(server);
    void *context = talloc_new(NULL);
    char *password;
    if (route)
        dsn = pg_route_dsn(context, route, dsn ? dsn : "", error);
    char *conninfo = dsn || !route ? psql_conninfo(context, dsn ? dsn : "", &password, error) : NULL;
    if (conninfo)
        console_run_program(app->console, (const char *const[]){"psql", conninfo, NULL},
                            (const char *const[]){"PGAPPNAME=signalbox psql", password, NULL});
    talloc_free(context);
    return conninfo != NULL;
}

/* ---- the rest ---- */

static bool next_basis(struct app *app)
{
    enum statements_basis basis = BASIS_OPENED;
    for (size_t i = 0; i < app->server_count; i++) {
        const struct statements_snapshot *snapshot = pg_server_statements(app->servers[i]);
        if (snapshot) {
            basis = (snapshot->basis + 1) % 3;
            break;
        }
    }
    for (size_t i = 0; i < app->server_count; i++) {
        pg_server_statements_basis(app->servers[i], basis);
        /* Differences need a second answer: do not wait for its turn. */
        feed_refresh(pg_server_feed(app->servers[i], PG_FEED_STATEMENTS));
    }
    console_show_view(app->console, queries_statements.id);
    console_say(app->console, SEVERITY_NONE, "figures are now: %s", statements_basis_name(basis));
    return true;
}

static bool explain(struct app *app, bool measure, struct error *error)
{
    const struct table_row *row = console_selected(app->console);
    const struct view *view = console_view(app->console);
    struct plan_subject subject = {.server = row ? row_server(app, row) : NULL};
    const struct session *session = NULL;
    if (row && view == &queries_statements) {
        const struct statement *statement = queries_statement(row);
        subject.sql = statement->query;
        subject.database = statement->database;
    } else if (row && view == &queries_activity) {
        session = queries_session(row);
    } else if (row && view == &queries_locks) {
        session = queries_lock_node(row)->session;
    }
    if (session) {
        subject.sql = session->query;
        subject.database = session->database;
        subject.truncated = session->query_truncated;
    }
    if (!subject.sql || !subject.sql[0])
        return error_set(error, ERROR_INTERLOCK, NULL, "nothing to explain",
                         "Select a row that has a statement.", "the selected row has no text of a statement");
    return plan_view_open(app, &subject, measure, error);
}

static bool act(struct app *app, const char *action, struct error *error)
{
    if (strcmp(action, "queries.statements") == 0)
        console_show_view(app->console, queries_statements.id);
    else if (strcmp(action, "queries.activity") == 0)
        console_show_view(app->console, queries_activity.id);
    else if (strcmp(action, "queries.locks") == 0)
        console_show_view(app->console, queries_locks.id);
    else if (strcmp(action, "queries.basis") == 0)
        return next_basis(app);
    else if (strcmp(action, "queries.explain") == 0)
        return explain(app, false, error);
    else if (strcmp(action, "queries.measure") == 0)
        return explain(app, true, error);
    else if (strcmp(action, "queries.shell") == 0)
        return run_psql(app, error);
    else if (strcmp(action, "queries.end") == 0)
        return end_sessions(app, error);
    else
        return error_set(error, ERROR_USAGE, NULL, action, NULL, "no such action");
    return true;
}

static const struct action actions[] = {
    {"queries.statements", "statements", "statements", "which statement takes the time", HAZARD_LOOK, 0},
    {"queries.activity", "activity", "activity", "the sessions now", HAZARD_LOOK, 0},
    {"queries.locks", "locks", "locks", "who blocks whom", HAZARD_LOOK, 0},
    {"queries.basis", "basis", NULL, "figures since opened, over the last interval, or since the last reset",
     HAZARD_LOOK, 0},
    {"queries.explain", "explain", "plan", "the statement's plan, estimated: it is not run", HAZARD_LOOK,
     NEED_ROW | NEED_READ},
    {"queries.measure", "measure", "measure",
     "EXPLAIN ANALYZE: runs the statement in a sandbox, after a dialog", HAZARD_MEASURE,
     NEED_ROW | NEED_READ},
    {"plan.measure", NULL, "measure", "the same with EXPLAIN ANALYZE, after a dialog", HAZARD_MEASURE, 0},
    {"plan.schema", NULL, "schema", "the same in the schema of another tenant", HAZARD_LOOK, 0},
    {"queries.end", "end", "end …",
     "cancel or end this session, the marked, those behind it, or all that the filter shows", HAZARD_DESTROY,
     NEED_ROW | NEED_ACT},
    {"queries.shell", "psql", "psql", "psql on the same server with the same role", HAZARD_LOOK, 0},
};

static const struct view *const views[] = {&queries_statements, &queries_activity, &queries_locks};

const struct panel_ops panel_queries = {
    .id = "queries",
    .title = "Queries",
    .summary = "statements, sessions and locks of the Postgres servers; plans, estimated and measured",
    .number = 3,
    .views = views,
    .view_count = sizeof views / sizeof *views,
    .actions = actions,
    .action_count = sizeof actions / sizeof *actions,
    .act = act,
};
