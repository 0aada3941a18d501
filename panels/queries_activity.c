/* Queries › Activity: the sessions now, and the active ones through time. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "panels/queries.h"
#include "panels/queries_brief.h"

/* A session with its statement as the screen shows it. */
struct session_row {
    const struct session *session;
    struct row_list *list; /* owns brief and behind */
    char *brief;           /* made when it is first asked for */
    char *behind;
};

#define ROW(row) (((const struct session_row *)(row))->session)
#define TEXT_COLUMN(name)                                                                                    \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return value_text(ROW(row)->name);                                                                   \
    }
#define AGE_COLUMN(name)                                                                                     \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return isnan(ROW(row)->name) ? value_blank() : value_real(ROW(row)->name);                           \
    }

static struct value value_of_server(const void *row)
{
    return value_text(ROW(row)->snapshot->server);
}
static struct value value_of_pid(const void *row)
{
    return value_integer(ROW(row)->pid);
}
/* An open transaction that does nothing holds its locks and holds back vacuum: out of bounds after a minute.
 */
static struct value value_of_state(const void *row)
{
    const struct session *session = ROW(row);
    struct value value = value_text(session->state ? session->state : session->backend_type);
    if (session->state && strncmp(session->state, "idle in transaction", 19) == 0)
        value.severity = session->statement_s >= 60 ? SEVERITY_CRITICAL : SEVERITY_WARNING;
    return value;
}
static struct value value_of_wait_type(const void *row)
{
    struct value value = value_text(ROW(row)->wait_type);
    if (ROW(row)->wait_class == WAIT_LOCK && ROW(row)->blocked_by_count)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_blocked_by(const void *row)
{
    if (!ROW(row)->blocked_by_count)
        return (struct value){.kind = VALUE_INTEGERS};
    return (struct value){.kind = VALUE_INTEGERS,
                          .integers = {ROW(row)->blocked_by, ROW(row)->blocked_by_count},
                          .severity = SEVERITY_WARNING};
}
/* The same in words: a prepared transaction has no pid. */
static struct value value_of_behind(const void *row)
{
    struct session_row *self = (struct session_row *)row; /* what it keeps is no part of its value */
    const struct session *session = self->session;
    if (!session->blocked_by_count)
        return value_blank();
    for (size_t i = 0; !self->behind && i < session->blocked_by_count; i++)
        if (session->blocked_by[i] == 0)
            self->behind = talloc_strdup(self->list, "prepared");
    if (!self->behind)
        self->behind = talloc_asprintf(self->list, session->blocked_by_count > 1 ? "%lld …" : "%lld",
                                       (long long)session->blocked_by[0]);
    struct value value = value_text(self->behind);
    value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_query_id(const void *row)
{
    return ROW(row)->query_id ? value_integer(ROW(row)->query_id) : value_blank();
}
/* What the role may not see is not "no". */
static struct value value_of_has_xid(const void *row)
{
    if (!ROW(row)->backend_start)
        return value_unknown();
    return value_boolean(ROW(row)->has_xid);
}
TEXT_COLUMN(id)
TEXT_COLUMN(backend_start)
TEXT_COLUMN(backend_type)
TEXT_COLUMN(wait)
TEXT_COLUMN(database)
TEXT_COLUMN(role)
static struct value value_of_application(const void *row)
{
    const struct session *session = ROW(row);
    return !session->backend_start ? value_unknown() : value_text(session->application);
}
TEXT_COLUMN(client)
TEXT_COLUMN(query)
AGE_COLUMN(session_s)
AGE_COLUMN(transaction_s)
AGE_COLUMN(statement_s)

static struct value value_of_brief(const void *row)
{
    struct session_row *self = (struct session_row *)row; /* what it keeps is no part of its value */
    if (!self->brief && self->session->query)
        self->brief = statement_brief(self->list, self->session->query);
    return value_text(self->brief);
}

const struct session *queries_session(const struct table_row *row)
{
    return ROW(row->data);
}

static const struct column columns[] = {
    {"server", "server", "the server of the session", UNIT_NONE, 16, 1, 0, value_of_server, NULL},
    {"pid", "pid", "the session's process on the server", UNIT_ID, 7, 0, 0, value_of_pid, NULL},
    {"state", "state", "active, idle, idle in transaction ...; the kind of process when it serves no client",
     UNIT_NONE, 20, 0, 0, value_of_state, NULL},
    {"wait_type", "waits", "what class of thing it waits for", UNIT_NONE, 8, 2, 0, value_of_wait_type, NULL},
    {"wait", "event", "what it waits for", UNIT_NONE, 15, 6, 0, value_of_wait, NULL},
    {"statement_s", "runs for",
     "how long the statement has run; idle in transaction: since the last one ended", UNIT_S, 9, 1, 0,
     value_of_statement_s, NULL},
    {"transaction_s", "transact.", "age of the open transaction", UNIT_S, 9, 5, 0, value_of_transaction_s,
     NULL},
    {"session_s", "session", "age of the session", UNIT_S, 9, 7, 0, value_of_session_s, NULL},
    {"blocked_by", "blocked by", "pids that hold the lock it waits for; 0 is a prepared transaction", UNIT_ID,
     10, 9, COLUMN_HIDDEN, value_of_blocked_by, NULL},
    {"behind", "blocked by",
     "the session that holds the lock it waits for (… there are more), or prepared: a prepared transaction",
     UNIT_ID, 10, 2, COLUMN_SCREEN, value_of_behind, NULL},
    {"database", "database", "the database it is connected to", UNIT_NONE, 10, 8, 0, value_of_database, NULL},
    {"role", "role", "who it is", UNIT_NONE, 10, 4, 0, value_of_role, NULL},
    {"application", "application", "application_name, as the client says it", UNIT_NONE, 15, 5, 0,
     value_of_application, NULL},
    {"client", "client", "the client's address; local over a Unix socket", UNIT_NONE, 13, 8, 0,
     value_of_client, NULL},
    {"backend_type", "type", "the kind of process", UNIT_NONE, 14, 9, COLUMN_HIDDEN, value_of_backend_type,
     NULL},
    {"has_written", "written", "its transaction has an id: it has written", UNIT_NONE, 8, 9, COLUMN_HIDDEN,
     value_of_has_xid, NULL},
    {"backend_start", "started", "when the session began", UNIT_NONE, 29, 9, COLUMN_HIDDEN,
     value_of_backend_start, NULL},
    {"id", "identity", "PID@START: names this session and no later one with the same pid", UNIT_NONE, 38, 9,
     COLUMN_HIDDEN, value_of_id, NULL},
    {"query_id", "query id", "the server's own name for the statement (PostgreSQL 14 or newer)", UNIT_ID, 20,
     9, COLUMN_HIDDEN | COLUMN_STRING, value_of_query_id, NULL},
    {"query", "query", "what it runs; what it ran last when it is idle", UNIT_NONE, 20, 9,
     COLUMN_STATEMENT | COLUMN_HIDDEN, value_of_query, NULL},
    {"statement", "statement", "what it runs, shortened; what it ran last when it is idle", UNIT_NONE, 0, 0,
     COLUMN_STATEMENT | COLUMN_SCREEN, value_of_brief, NULL},
};

static void want(struct app *app, bool wanted)
{
    queries_want(app, PG_FEED_ACTIVITY, wanted);
}

static void sources(struct app *app, struct source_list *list)
{
    queries_sources(app, PG_FEED_ACTIVITY, list);
}

static uint64_t version(struct app *app)
{
    return queries_version(app, PG_FEED_ACTIVITY);
}

static void rows(struct app *app, struct row_list *list)
{
    for (size_t i = 0; i < app->server_count; i++) {
        const struct activity_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_ACTIVITY, list);
        if (!snapshot)
            continue;
        struct session_row *made = talloc_zero_array(list, struct session_row, snapshot->count);
        for (size_t s = 0; s < snapshot->count; s++) {
            const struct session *session = &snapshot->sessions[s];
            made[s] = (struct session_row){.session = session, .list = list};
            row_list_add(list,
                         (struct table_row){.data = &made[s],
                                            .id = queries_row_id(list, snapshot->server, session->id),
                                            .dim = !session->state || strcmp(session->state, "idle") == 0});
        }
    }
}

void queries_session_page(struct page *page, const struct session *session)
{
    struct row_list *list = row_list_new(page);
    const struct session_row row = {.session = session, .list = list};
    page_section(page, "Session");
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        char text[256];
        if (columns[c].flags & COLUMN_STATEMENT)
            continue;
        value_format(text, sizeof text, &columns[c], columns[c].value(&row));
        if (text[0])
            page_pair(page, columns[c].title, STYLE_NORMAL, text);
    }
    page_section(page,
                 session->state && strcmp(session->state, "active") == 0 ? "Statement" : "Last statement");
    page_text(page, STYLE_NORMAL, 0, session->query ? session->query : "");
    if (session->query_truncated)
        page_text(page, STYLE_WARNING, 0, "the server keeps no more of it: track_activity_query_size");
}

static void note(struct app *app, char *buffer, size_t size)
{
    size_t hidden = 0;
    for (size_t i = 0; i < app->server_count; i++) {
        const struct activity_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_ACTIVITY, NULL);
        if (snapshot)
            hidden += snapshot->hidden;
    }
    if (hidden)
        snprintf(buffer, size, "%zu hidden! GRANT pg_monitor shows them", hidden);
    else
        buffer[0] = '\0';
}

static void detail(struct app *app, const struct table_row *row, struct page *page)
{
    queries_session_page(page, ROW(row->data));
    queries_held_locks(app, page, ROW(row->data));
}

const struct view queries_activity = {
    .id = "activity",
    .title = "Activity",
    .summary = "the sessions now: who runs, who waits, for what",
    .empty = "no session",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .sort = "statement_s",
    .descending = true,
    .want = want,
    .sources = sources,
    .rows = rows,
    .version = version,
    .note = note,
    .head = queries_activity_head,
    .detail = detail,
};
