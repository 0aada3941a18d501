/* Queries › Locks: who blocks whom, the root first. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "panels/queries.h"
#include "panels/queries_brief.h"

/* A node with what the screen says about it. */
struct lock_row {
    const struct lock_node *node;
    char *statement; /* with "idle in transaction, last 4 m 12 s ago: " for idle sessions */
    char *wants;     /* "AccessExclusive invoice" */
    char *schema;    /* of what it waits for, or holds: with a schema a tenant, the tenant */
};

#define NODE(row) (((const struct lock_row *)(row))->node)

const struct lock_node *queries_lock_node(const struct table_row *row)
{
    return NODE(row->data);
}

static struct value value_of_server(const void *row)
{
    return value_text(NODE(row)->snapshot->server);
}
static struct value value_of_pid(const void *row)
{
    return NODE(row)->pid ? value_integer(NODE(row)->pid) : value_blank();
}
static struct value value_of_root(const void *row)
{
    return NODE(row)->root ? value_integer(NODE(row)->root) : value_blank();
}
static struct value value_of_depth(const void *row)
{
    return value_integer(NODE(row)->depth);
}
static struct value value_of_waited_s(const void *row)
{
    return isnan(NODE(row)->waited_s) ? value_blank() : value_real(NODE(row)->waited_s);
}
static struct value value_of_behind(const void *row)
{
    struct value value = value_integer(NODE(row)->behind);
    if (NODE(row)->depth == 0)
        value.severity = NODE(row)->behind >= 10 ? SEVERITY_CRITICAL : SEVERITY_WARNING;
    return value;
}
static struct value value_of_mode(const void *row)
{
    return value_text(NODE(row)->mode);
}
static struct value value_of_relation(const void *row)
{
    return value_text(NODE(row)->relation);
}
static struct value value_of_holds(const void *row)
{
    return value_text(NODE(row)->holds);
}
static struct value value_of_state(const void *row)
{
    const struct lock_node *node = NODE(row);
    struct value value;
    switch (node->kind) {
    case LOCK_SESSION:
        if (!isnan(node->waited_s))
            return value_text("waiting");
        value = value_text(node->session && node->session->state ? node->session->state : "?");
        if (node->session && node->session->state && strncmp(node->session->state, "idle", 4) == 0)
            value.severity = SEVERITY_CRITICAL;
        return value;
    case LOCK_PREPARED:
        value = value_text("prepared");
        break;
    case LOCK_INVISIBLE:
        value = value_text("not visible");
        break;
    }
    value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value value_of_role(const void *row)
{
    const struct lock_node *node = NODE(row);
    return value_text(node->session ? node->session->role : node->owner);
}
static struct value value_of_application(const void *row)
{
    return NODE(row)->session ? value_text(NODE(row)->session->application) : value_blank();
}
static struct value value_of_database(const void *row)
{
    return NODE(row)->session ? value_text(NODE(row)->session->database) : value_blank();
}
static struct value value_of_gid(const void *row)
{
    return value_text(NODE(row)->gid);
}
static struct value value_of_id(const void *row)
{
    return value_text(NODE(row)->id);
}
static struct value value_of_query(const void *row)
{
    return NODE(row)->session ? value_text(NODE(row)->session->query) : value_blank();
}
static struct value value_of_wants(const void *row)
{
    return value_text(((const struct lock_row *)row)->wants);
}
static struct value value_of_schema(const void *row)
{
    return value_text(((const struct lock_row *)row)->schema);
}
static struct value value_of_statement(const void *row)
{
    return value_text(((const struct lock_row *)row)->statement);
}

static const struct column columns[] = {
    {"pid", "pid", "the session's process; a prepared transaction has none", UNIT_ID, 11, 0, COLUMN_TREE,
     value_of_pid, NULL},
    {"server", "server", "the server of the session", UNIT_NONE, 16, 1, 0, value_of_server, NULL},
    {"waited_s", "waited", "how long it has waited for the lock", UNIT_S, 9, 0, 0, value_of_waited_s, NULL},
    {"behind", "behind", "sessions that wait behind it, directly or not", UNIT_COUNT, 7, 0, 0,
     value_of_behind, NULL},
    {"wants", "wants", "the lock that it waits for, and on what", UNIT_NONE, 23, 1, COLUMN_SCREEN,
     value_of_wants, NULL},
    {"mode", "mode", "the lock that it waits for", UNIT_NONE, 16, 9, COLUMN_HIDDEN, value_of_mode, NULL},
    {"relation", "on", "what the lock is on", UNIT_NONE, 22, 9, COLUMN_HIDDEN, value_of_relation, NULL},
    {"schema", "schema", "the schema of the table that it is about", UNIT_NONE, 14, 4, COLUMN_SCREEN,
     value_of_schema, NULL},
    {"holds", "holds", "what it holds of what the others want", UNIT_NONE, 28, 7, 0, value_of_holds, NULL},
    {"state", "state", "what it is doing", UNIT_NONE, 20, 2, 0, value_of_state, NULL},
    {"role", "role", "who it is", UNIT_NONE, 10, 6, 0, value_of_role, NULL},
    {"application", "application", "application_name, as the client says it", UNIT_NONE, 15, 5, 0,
     value_of_application, NULL},
    {"database", "database", "the database it is connected to", UNIT_NONE, 10, 8, COLUMN_HIDDEN,
     value_of_database, NULL},
    {"root", "root", "pid of the session that holds up this tree", UNIT_ID, 8, 9, COLUMN_HIDDEN,
     value_of_root, NULL},
    {"depth", "depth", "steps from the root", UNIT_COUNT, 5, 9, COLUMN_HIDDEN, value_of_depth, NULL},
    {"gid", "transaction", "name of the prepared transaction", UNIT_NONE, 16, 9, COLUMN_HIDDEN, value_of_gid,
     NULL},
    {"id", "identity", "PID@START: names this session and no later one with the same pid", UNIT_NONE, 38, 9,
     COLUMN_HIDDEN, value_of_id, NULL},
    {"query", "query", "its statement; its last one when it is idle", UNIT_NONE, 20, 9,
     COLUMN_HIDDEN | COLUMN_STATEMENT, value_of_query, NULL},
    {"statement", "statement", "what it runs, or ran last: not necessarily what took the lock", UNIT_NONE, 0,
     0, COLUMN_SCREEN | COLUMN_STATEMENT, value_of_statement, NULL},
};

static void want(struct app *app, bool wanted)
{
    queries_want(app, PG_FEED_LOCKS, wanted);
}

static void sources(struct app *app, struct source_list *list)
{
    queries_sources(app, PG_FEED_LOCKS, list);
}

/* An idle session's text is its last statement, not necessarily the one that took the lock. */
static char *node_statement(const void *context, const struct lock_node *node)
{
    char age[32];
    switch (node->kind) {
    case LOCK_PREPARED:
        return talloc_asprintf(context, "prepared %s ago: %s", format_s(age, sizeof age, node->prepared_s),
                               node->gid);
    case LOCK_INVISIBLE:
        return talloc_strdup(
            context, "the holder cannot be seen: a session that has just ended, or one the role may not see");
    case LOCK_SESSION:
        break;
    }
    const struct session *session = node->session;
    if (!session || !session->query)
        return NULL;
    if (session->state && strncmp(session->state, "idle", 4) == 0)
        return talloc_asprintf(context, "%s, last %s ago: %s", session->state,
                               format_s(age, sizeof age, session->statement_s),
                               statement_brief(context, session->query));
    return statement_brief(context, session->query);
}

/* "al_noor.invoice" apart: the schema is mostly the tenant, and a column of its own. */
static void fill_names(struct lock_row *row)
{
    const struct lock_node *node = row->node;
    const char *relation = node->relation;
    if (!relation && node->holds && strchr(node->holds, ' '))
        relation = strchr(node->holds, ' ') + 1;
    const char *dot = relation && !strchr(relation, ' ') ? strchr(relation, '.') : NULL;
    if (dot)
        row->schema = talloc_strndup(row, relation, (size_t)(dot - relation));
    if (node->mode)
        row->wants =
            talloc_asprintf(row, "%s %s", node->mode, node->relation ? dot ? dot + 1 : node->relation : "?");
}

static uint64_t version(struct app *app)
{
    return queries_version(app, PG_FEED_LOCKS);
}

static void rows(struct app *app, struct row_list *list)
{
    for (size_t i = 0; i < app->server_count; i++) {
        const struct locks_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_LOCKS, list);
        if (!snapshot)
            continue;
        for (size_t n = 0; n < snapshot->count; n++) {
            struct lock_row *row = talloc_zero(list, struct lock_row);
            row->node = &snapshot->nodes[n];
            row->statement = node_statement(row, row->node);
            fill_names(row);
            row_list_add(list, (struct table_row){.data = row,
                                                  .id = queries_row_id(list, snapshot->server, row->node->id),
                                                  .depth = row->node->depth});
        }
    }
}

static void detail(struct app *app, const struct table_row *row, struct page *page)
{
    const struct lock_node *node = NODE(row->data);
    char text[64];
    page_section(page, "Lock");
    if (!isnan(node->waited_s))
        page_pair(page, "waited", STYLE_NORMAL, format_s(text, sizeof text, node->waited_s));
    if (node->mode)
        page_pair_format(page, "wants", STYLE_NORMAL, "%s on %s", node->mode,
                         node->relation ? node->relation : "?");
    if (node->holds)
        page_pair(page, "holds", STYLE_NORMAL, node->holds);
    page_pair_format(page, "behind", STYLE_NORMAL, "%d sessions wait behind it", node->behind);
    if (node->gid)
        page_pair_format(page, "prepared", STYLE_CRITICAL,
                         "%s: ends as its owner says COMMIT PREPARED or ROLLBACK PREPARED", node->gid);
    if (node->session) {
        queries_session_page(page, node->session);
        queries_held_locks(app, page, node->session);
    }
}

const struct view queries_locks = {
    .id = "locks",
    .title = "Locks",
    .summary = "who blocks whom",
    .empty = "nobody waits for a lock",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .want = want,
    .sources = sources,
    .rows = rows,
    .version = version,
    .detail = detail,
};
