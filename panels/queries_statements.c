/* Queries › Statements: which statement takes the time. */
#include <math.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "panels/queries.h"
#include "panels/queries_brief.h"

/* A statement with its text as the screen shows it. */
struct statement_row {
    const struct statement *statement;
    struct row_list *list; /* owns brief */
    char *brief;           /* made when it is first asked for: most rows are never seen */
};

#define ROW(row) (((const struct statement_row *)(row))->statement)
#define REAL_COLUMN(name)                                                                                    \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return value_real(ROW(row)->name);                                                                   \
    }
#define COUNT_COLUMN(name)                                                                                   \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return ROW(row)->name < 0 ? value_blank() : value_integer(ROW(row)->name);                           \
    }

static struct value value_of_server(const void *row)
{
    return value_text(ROW(row)->snapshot->server);
}
static struct value value_of_query_id(const void *row)
{
    return value_integer(ROW(row)->query_id);
}
static struct value value_of_query(const void *row)
{
    return ROW(row)->query && ROW(row)->query[0] ? value_text(ROW(row)->query) : value_unknown();
}
static struct value value_of_brief(const void *row)
{
    struct statement_row *self = (struct statement_row *)row; /* what it keeps is no part of its value */
    const char *query = self->statement->query;
    if (!query || !query[0])
        return value_unknown();
    if (!self->brief)
        self->brief = statement_brief(self->list, query);
    return value_text(self->brief);
}
static struct value value_of_database(const void *row)
{
    return value_text(ROW(row)->database);
}
static struct value value_of_role(const void *row)
{
    return value_text(ROW(row)->role);
}
static struct value value_of_top_level(const void *row)
{
    return value_boolean(ROW(row)->top_level);
}
static struct value value_of_mean_ms(const void *row)
{
    return isnan(ROW(row)->mean_ms) ? value_blank() : value_real(ROW(row)->mean_ms);
}
/* The worst time is known only since the last reset. */
static struct value value_of_max_ms(const void *row)
{
    return isnan(ROW(row)->max_ms) ? value_blank() : value_real(ROW(row)->max_ms);
}
static struct value value_of_rows_per_call(const void *row)
{
    return isnan(ROW(row)->rows_per_call) ? value_blank() : value_real(ROW(row)->rows_per_call);
}
static struct value value_of_temp_written_blocks(const void *row)
{
    struct value value = value_integer(ROW(row)->temp_written_blocks);
    /* Sorts and hashes that do not fit into work_mem. */
    value.severity = ROW(row)->temp_written_blocks > 0 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
REAL_COLUMN(share_percent)
REAL_COLUMN(total_ms)
REAL_COLUMN(io_read_ms)
REAL_COLUMN(io_write_ms)
REAL_COLUMN(plan_ms)
COUNT_COLUMN(calls)
COUNT_COLUMN(rows)
COUNT_COLUMN(shared_hit_blocks)
COUNT_COLUMN(shared_read_blocks)
COUNT_COLUMN(shared_dirtied_blocks)
COUNT_COLUMN(shared_written_blocks)
COUNT_COLUMN(temp_read_blocks)
COUNT_COLUMN(wal_bytes)

/* Absent when no server that is looked at can give it. */
static const char *absent_before(const struct app *app, int version, const char *reason)
{
    for (size_t i = 0; i < app->server_count; i++) {
        int has = pg_server_version(app->servers[i]);
        if (app_shows(app, app->servers[i]) && (has == 0 || has >= version))
            return NULL;
    }
    return reason;
}
static const char *absent_before_13(const void *app)
{
    return absent_before(app, 130000, "PostgreSQL 13 or newer");
}
static const char *absent_before_14(const void *app)
{
    return absent_before(app, 140000, "PostgreSQL 14 or newer");
}

static const struct column columns[] = {
    {"server", "server", "the server that it ran on", UNIT_NONE, 16, 1, 0, value_of_server, NULL},
    {"share_percent", "share", "its part of the time of all statements", UNIT_SHARE, 13, 0, 0,
     value_of_share_percent, NULL},
    {"total_ms", "time", "execution time of all calls together", UNIT_MS, 9, 0, 0, value_of_total_ms, NULL},
    {"calls", "calls", "how often it was executed", UNIT_COUNT, 7, 1, 0, value_of_calls, NULL},
    {"mean_ms", "mean", "execution time of one call, on average", UNIT_MS, 9, 0, 0, value_of_mean_ms, NULL},
    {"max_ms", "worst", "the longest call; known only since the last reset", UNIT_MS, 10, 5, 0,
     value_of_max_ms, NULL},
    {"rows", "rows", "rows returned or changed by all calls", UNIT_COUNT, 8, 7, COLUMN_HIDDEN, value_of_rows,
     NULL},
    {"rows_per_call", "rows/call", "rows returned or changed by one call, on average", UNIT_COUNT, 9, 4, 0,
     value_of_rows_per_call, NULL},
    {"shared_hit_blocks", "hit blk", "blocks of 8 kB found in shared buffers", UNIT_BLOCKS, 8, 6, 0,
     value_of_shared_hit_blocks, NULL},
    {"shared_read_blocks", "read blk", "blocks of 8 kB read from the system", UNIT_BLOCKS, 8, 5, 0,
     value_of_shared_read_blocks, NULL},
    {"shared_dirtied_blocks", "dirtied", "blocks that it changed", UNIT_BLOCKS, 8, 9, COLUMN_HIDDEN,
     value_of_shared_dirtied_blocks, NULL},
    {"shared_written_blocks", "written", "blocks that it had to write itself", UNIT_BLOCKS, 8, 9,
     COLUMN_HIDDEN, value_of_shared_written_blocks, NULL},
    {"temp_read_blocks", "temp read", "blocks read back from temporary files", UNIT_BLOCKS, 8, 9,
     COLUMN_HIDDEN, value_of_temp_read_blocks, NULL},
    {"temp_written_blocks", "temp blk", "blocks written to temporary files: it spilled to disk", UNIT_BLOCKS,
     9, 6, 0, value_of_temp_written_blocks, NULL},
    {"io_read_ms", "read time", "time spent reading blocks (track_io_timing)", UNIT_MS, 10, 9, COLUMN_HIDDEN,
     value_of_io_read_ms, NULL},
    {"io_write_ms", "write time", "time spent writing blocks (track_io_timing)", UNIT_MS, 10, 9,
     COLUMN_HIDDEN, value_of_io_write_ms, NULL},
    {"plan_ms", "planning", "time spent planning (pg_stat_statements.track_planning)", UNIT_MS, 10, 9,
     COLUMN_HIDDEN, value_of_plan_ms, absent_before_13},
    {"wal_bytes", "WAL", "write-ahead log that it made (PostgreSQL 13 or newer)", UNIT_BYTES, 8, 7, 0,
     value_of_wal_bytes, absent_before_13},
    {"database", "database", "where it ran", UNIT_NONE, 10, 8, 0, value_of_database, NULL},
    {"role", "role", "who ran it", UNIT_NONE, 10, 8, 0, value_of_role, NULL},
    {"top_level", "top level", "sent by a client, not by a function (PostgreSQL 14 or newer)", UNIT_NONE, 9,
     9, COLUMN_HIDDEN, value_of_top_level, absent_before_14},
    {"query_id", "query id", "the server's own name for it", UNIT_ID, 20, 9, COLUMN_HIDDEN | COLUMN_STRING,
     value_of_query_id, NULL},
    {"query", "query", "its text, constants replaced by $1, $2 ...", UNIT_NONE, 20, 9,
     COLUMN_STATEMENT | COLUMN_HIDDEN, value_of_query, NULL},
    {"statement", "statement", "its text, shortened: Enter shows all of it", UNIT_NONE, 0, 0,
     COLUMN_STATEMENT | COLUMN_SCREEN, value_of_brief, NULL},
};

static void want(struct app *app, bool wanted)
{
    queries_want(app, PG_FEED_STATEMENTS, wanted);
}

const struct statement *queries_statement(const struct table_row *row)
{
    return ROW(row->data);
}

static void sources(struct app *app, struct source_list *list)
{
    queries_sources(app, PG_FEED_STATEMENTS, list);
}

static void rows(struct app *app, struct row_list *list)
{
    for (size_t i = 0; i < app->server_count; i++) {
        const struct statements_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_STATEMENTS, list);
        if (!snapshot)
            continue;
        struct statement_row *made = talloc_zero_array(list, struct statement_row, snapshot->count);
        for (size_t s = 0; s < snapshot->count; s++) {
            made[s] = (struct statement_row){.statement = &snapshot->statements[s], .list = list};
            /* With one server its own identity is enough, and nothing has to be kept. */
            const char *id = snapshot->statements[s].id;
            row_list_add(list, (struct table_row){.data = &made[s],
                                                  .id = app->server_count == 1
                                                            ? id
                                                            : queries_row_id(list, snapshot->server, id)});
        }
    }
}

static uint64_t version(struct app *app)
{
    return queries_version(app, PG_FEED_STATEMENTS);
}

static const char *basis(struct app *app, double *since)
{
    for (size_t i = 0; i < app->server_count; i++) {
        const struct statements_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_STATEMENTS, NULL);
        if (snapshot) {
            *since = snapshot->since;
            return statements_basis_name(snapshot->basis);
        }
    }
    return NULL;
}

/* Evicted entries are missing in the totals; a reset begins them anew. */
static void note(struct app *app, char *buffer, size_t size)
{
    int64_t evicted = 0;
    bool reset = false;
    for (size_t i = 0; i < app->server_count; i++) {
        const struct statements_snapshot *snapshot = queries_snapshot(app, i, PG_FEED_STATEMENTS, NULL);
        if (!snapshot)
            continue;
        evicted += snapshot->evicted > 0 ? snapshot->evicted : 0;
        reset = reset || snapshot->reset_seen;
    }
    char number[32];
    if (evicted)
        snprintf(buffer, size, "%s entries evicted!%s", format_count(number, sizeof number, (double)evicted),
                 reset ? " · was reset" : "");
    else
        snprintf(buffer, size, "%s", reset ? "was reset meanwhile" : "");
}

static void detail(struct app *app, const struct table_row *row, struct page *page)
{
    (void)app;
    const struct statement *statement = ROW(row->data);
    page_section(page, "Statement");
    page_text(page, STYLE_NORMAL, 0,
              statement->query && statement->query[0] ? statement->query
                                                      : "its text has not been fetched yet");
    page_section(page, statements_basis_name(statement->snapshot->basis));
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        char text[256];
        if (columns[c].flags & COLUMN_STATEMENT)
            continue;
        value_format(text, sizeof text, &columns[c], columns[c].value(row->data));
        if (text[0])
            page_pair(page, columns[c].title, STYLE_NORMAL, text);
    }
}

const struct view queries_statements = {
    .id = "statements",
    .title = "Statements",
    .summary = "which statement takes the time",
    .empty = "no statement was executed in this time",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .sort = "total_ms",
    .descending = true,
    .want = want,
    .sources = sources,
    .rows = rows,
    .version = version,
    .basis = basis,
    .note = note,
    .detail = detail,
};
