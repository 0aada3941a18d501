/* Sessions: the statements that ask for them, reading the answers, and the history of wait classes. */
#include "backends/postgres/activity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/activity_internal.h"
#include "core/secret.h"

enum column {
    C_PID,
    C_START,
    C_TYPE,
    C_STATE,
    C_WAIT_TYPE,
    C_WAIT,
    C_SESSION_S,
    C_TRANSACTION_S,
    C_STATEMENT_S,
    C_DATABASE,
    C_ROLE,
    C_APPLICATION,
    C_CLIENT,
    C_HAS_XID,
    C_QUERY_ID,
    C_QUERY_BYTES,
    C_HIDDEN,
    C_QUERY,
    C_BLOCKED_BY = ACTIVITY_COLUMNS,
};

char *activity_select(const void *context, int version)
{
    return talloc_asprintf(
        context,
        "SELECT a.pid, a.backend_start, a.backend_type, a.state, a.wait_event_type, a.wait_event,"
        " extract(epoch FROM now() - a.backend_start)::float8,"
        " extract(epoch FROM now() - a.xact_start)::float8,"
        " extract(epoch FROM now() - CASE WHEN a.state LIKE 'idle in%%' THEN a.state_change"
        " WHEN a.state <> 'idle' THEN a.query_start END)::float8,"
        " a.datname, a.usename, a.application_name,"
        " CASE WHEN a.client_addr IS NOT NULL THEN host(a.client_addr)"
        " WHEN a.client_port = -1 THEN 'local' END,"
        " a.backend_xid IS NOT NULL, %s, octet_length(a.query),"
        " a.query = '<insufficient privilege>' AND a.backend_start IS NULL, left(a.query, %d), ",
        version >= 140000 ? "coalesce(a.query_id, 0)" : "0", ACTIVITY_QUERY_MAX);
}

char *activity_query(const void *context, int version)
{
    char *select = activity_select(context, version);
    char *query = talloc_asprintf(context,
                                  "%sCASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END"
                                  " FROM pg_stat_activity AS a WHERE a.pid <> ALL ($1::int[])",
                                  select);
    talloc_free(select);
    return query;
}

const char *activity_sample_query(void)
{
    /* The function below the view: no joins with pg_database and pg_authid. */
    return "SELECT count(*) FILTER (WHERE wait_event_type IS NULL),"
           " count(*) FILTER (WHERE wait_event_type = 'IO'),"
           " count(*) FILTER (WHERE wait_event_type = 'Lock'),"
           " count(*) FILTER (WHERE wait_event_type NOT IN ('IO', 'Lock'))"
           " FROM pg_stat_get_activity(NULL) WHERE state IN ('active', 'fastpath function call')"
           " AND backend_type = 'client backend' AND pid <> ALL ($1::int[])";
}

enum { ID_SIZE = 64 }; /* the start again, the pid and "@" */

/* All texts of a snapshot lie in one block: one allocation instead of a thousand every two seconds. */
struct block {
    char *at;
};

static char *keep(struct block *block, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    char *kept = memcpy(block->at, text, size);
    block->at += size;
    return kept;
}

static enum wait_class class_of(const char *wait_type)
{
    if (!wait_type)
        return WAIT_RUNNING;
    if (strcmp(wait_type, "IO") == 0)
        return WAIT_IO;
    return strcmp(wait_type, "Lock") == 0 ? WAIT_LOCK : WAIT_OTHER;
}

static double age(const struct pg_rows *rows, int row, enum column column)
{
    double seconds = pg_rows_real(rows, row, column);
    return seconds < 0 ? 0 : seconds; /* began between now() and reading the session */
}

int64_t *activity_read_pids(const void *context, const char *text, size_t *count)
{
    *count = 0;
    if (!text || text[0] != '{' || text[1] == '}')
        return NULL;
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == ',';
    int64_t *pids = talloc_array(context, int64_t, most);
    if (!pids)
        abort();
    for (const char *at = text + 1; *count < most;) {
        char *end;
        pids[*count] = strtoll(at, &end, 10);
        if (end == at)
            break;
        /* Several workers of one leader are named once each. */
        bool known = false;
        for (size_t i = 0; i < *count && !known; i++)
            known = pids[i] == pids[*count];
        *count += !known;
        if (*end != ',')
            break;
        at = end + 1;
    }
    return pids;
}

static void read_query(struct session *session, struct activity_snapshot *snapshot,
                       const struct pg_rows *rows, int row, int query_size)
{
    const char *query = pg_rows_text(rows, row, C_QUERY);
    if (!query || pg_rows_boolean(rows, row, C_HIDDEN))
        return;
    int64_t bytes = pg_rows_integer(rows, row, C_QUERY_BYTES);
    /* The server cuts at whole characters: up to three bytes earlier. */
    session->query_truncated = (query_size > 4 && bytes >= query_size - 4) || (size_t)bytes > strlen(query);
    session->query = secret_mask_statement(snapshot, query);
}

static void read_session(struct session *session, struct activity_snapshot *snapshot, struct block *block,
                         const struct pg_rows *rows, int row, int query_size)
{
    session->snapshot = snapshot;
    session->pid = (int)pg_rows_integer(rows, row, C_PID);
    session->backend_start = keep(block, pg_rows_text(rows, row, C_START));
    session->id = block->at;
    block->at += 1 + snprintf(block->at, ID_SIZE, session->backend_start ? "%d@%s" : "%d", session->pid,
                              session->backend_start);
    session->backend_type = keep(block, pg_rows_text(rows, row, C_TYPE));
    session->state = keep(block, pg_rows_text(rows, row, C_STATE));
    session->wait_type = keep(block, pg_rows_text(rows, row, C_WAIT_TYPE));
    session->wait = keep(block, pg_rows_text(rows, row, C_WAIT));
    session->wait_class = class_of(session->wait_type);
    session->session_s = age(rows, row, C_SESSION_S);
    session->transaction_s = age(rows, row, C_TRANSACTION_S);
    session->statement_s = age(rows, row, C_STATEMENT_S);
    session->database = keep(block, pg_rows_text(rows, row, C_DATABASE));
    session->role = keep(block, pg_rows_text(rows, row, C_ROLE));
    session->application = keep(block, pg_rows_text(rows, row, C_APPLICATION));
    session->client = keep(block, pg_rows_text(rows, row, C_CLIENT));
    session->has_xid = pg_rows_boolean(rows, row, C_HAS_XID);
    session->query_id = pg_rows_integer(rows, row, C_QUERY_ID);
    read_query(session, snapshot, rows, row, query_size);
    session->blocked_by =
        activity_read_pids(snapshot, pg_rows_text(rows, row, C_BLOCKED_BY), &session->blocked_by_count);
    snapshot->hidden += pg_rows_boolean(rows, row, C_HIDDEN);
}

struct activity_snapshot *activity_read(const struct pg_rows *rows, const char *server, int connection_limit,
                                        int query_size)
{
    struct activity_snapshot *snapshot = SNAPSHOT_NEW(struct activity_snapshot);
    snapshot->server = server;
    snapshot->connection_limit = connection_limit;
    snapshot->count = (size_t)pg_rows_count(rows);
    snapshot->sessions = talloc_zero_array(snapshot, struct session, snapshot->count);
    size_t ids = snapshot->count * ID_SIZE;
    struct block block = {.at = talloc_size(snapshot, pg_rows_bytes(rows) + ids)};
    if (!snapshot->sessions || !block.at)
        abort();
    for (int i = 0; i < pg_rows_count(rows); i++)
        read_session(&snapshot->sessions[i], snapshot, &block, rows, i, query_size);
    return snapshot;
}

const struct session *activity_find(const struct activity_snapshot *snapshot, const char *id)
{
    if (!snapshot || !id)
        return NULL;
    bool whole = strchr(id, '@') != NULL;
    char *end;
    long pid = strtol(id, &end, 10);
    if (end == id || (!whole && *end))
        return NULL;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct session *session = &snapshot->sessions[i];
        if (session->pid == pid && (!whole || strcmp(session->id, id) == 0))
            return session;
    }
    return NULL;
}

void activity_count(const struct activity_snapshot *snapshot, int16_t active[WAIT_CLASSES])
{
    memset(active, 0, WAIT_CLASSES * sizeof *active);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct session *session = &snapshot->sessions[i];
        if (!session->state || !session->backend_type || strcmp(session->backend_type, "client backend") != 0)
            continue;
        if (strcmp(session->state, "active") == 0 || strcmp(session->state, "fastpath function call") == 0)
            active[session->wait_class]++;
    }
}

static void add_sample(struct activity_history *history, const struct activity_sample *sample)
{
    history->samples[(history->first + history->count) % ACTIVITY_HISTORY] = *sample;
    if (history->count < ACTIVITY_HISTORY)
        history->count++;
    else
        history->first = (history->first + 1) % ACTIVITY_HISTORY;
}

void activity_history_add(struct activity_history *history, int64_t second,
                          const int16_t active[WAIT_CLASSES])
{
    struct activity_sample sample = {.second = second};
    if (history->count) {
        int64_t last = history->samples[(history->first + history->count - 1) % ACTIVITY_HISTORY].second;
        if (second <= last && last - second < 60) /* a second answer for the same second */
            return;
        if (second < last || second - last > ACTIVITY_HISTORY) /* the clock was set: begin anew */
            history->first = history->count = 0;
        for (int64_t gap = last + 1; history->count && gap < second; gap++)
            add_sample(history, &(struct activity_sample){.second = gap, .active = {-1, -1, -1, -1}});
    }
    memcpy(sample.active, active, sizeof sample.active);
    add_sample(history, &sample);
}
