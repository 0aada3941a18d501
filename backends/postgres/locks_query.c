/* What is asked about locks, and reading the answers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/activity_internal.h"
#include "backends/postgres/locks_internal.h"

/* The first look costs next to nothing; pg_locks and pg_blocking_pids take locks of the lock manager itself.
 */
static const char *waiting(bool sees_waits)
{
    return sees_waits ? "SELECT pid FROM pg_stat_get_activity(NULL) WHERE wait_event_type = 'Lock'"
                      : "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pid IS NOT NULL";
}

char *locks_sessions_query(const void *context, int version, bool sees_waits)
{
    char *select = activity_select(context, version);
    char *query = talloc_asprintf(
        context,
        "WITH waiting AS MATERIALIZED (SELECT pid, pg_blocking_pids(pid) AS blockers FROM (%s) AS p),"
        " concerned AS (SELECT pid FROM waiting UNION SELECT unnest(blockers) FROM waiting)"
        " %sw.blockers FROM pg_stat_activity AS a JOIN concerned AS c ON c.pid = a.pid"
        " LEFT JOIN waiting AS w ON w.pid = a.pid WHERE EXISTS (SELECT FROM waiting)",
        waiting(sees_waits), select);
    talloc_free(select);
    return query;
}

/* Names can be resolved only in the database one is connected to. */
#define RELATION                                                                                             \
    "CASE WHEN l.database IN (0, d.oid) THEN l.relation::regclass::text"                                     \
    " ELSE 'oid ' || l.relation || ' in ' ||"                                                                \
    " coalesce((SELECT datname FROM pg_database WHERE oid = l.database), l.database::text) END"
#define LOCKED_THING                                                                                         \
    "CASE l.locktype WHEN 'relation' THEN " RELATION " WHEN 'extend' THEN 'extension of ' || " RELATION      \
    " WHEN 'page' THEN 'page ' || l.page || ' of ' || " RELATION                                             \
    " WHEN 'tuple' THEN 'row (' || l.page || ',' || l.tuple || ') of ' || " RELATION                         \
    " WHEN 'transactionid' THEN 'transaction ' || l.transactionid"                                           \
    " WHEN 'virtualxid' THEN 'virtual transaction ' || l.virtualxid"                                         \
    " WHEN 'advisory' THEN 'advisory ' || CASE l.objsubid WHEN 1"                                            \
    " THEN ((l.classid::int8 << 32) | l.objid::int8)::text ELSE l.classid::int || ', ' || l.objid::int END"  \
    " WHEN 'object' THEN l.classid::regclass || ' ' || l.objid ELSE l.locktype END"

static const char *waited(int version)
{
    return version >= 140000 ? "extract(epoch FROM now() - l.waitstart)::float8" : "NULL::float8";
}

char *locks_facts_query(const void *context, int version, bool sees_waits)
{
    return talloc_asprintf(
        context,
        "WITH d AS (SELECT oid FROM pg_database WHERE datname = current_database()),"
        " l AS MATERIALIZED (SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid,"
        " transactionid, classid, objid, objsubid) AS key FROM pg_locks WHERE EXISTS (%s))"
        " SELECT l.pid, l.virtualtransaction, l.locktype, replace(l.mode, 'Lock', ''), l.key, " LOCKED_THING
        ", l.transactionid, l.granted, %s FROM l, d"
        " WHERE l.key IN (SELECT key FROM l WHERE NOT granted)"
        " OR (l.locktype = 'transactionid' AND l.pid IS NULL)",
        waiting(sees_waits), waited(version));
}

char *locks_prepared_query(const void *context, bool sees_waits)
{
    return talloc_asprintf(context,
                           "SELECT transaction, gid, owner, extract(epoch FROM now() - prepared)::float8"
                           " FROM pg_prepared_xacts WHERE EXISTS (%s)",
                           waiting(sees_waits));
}

char *locks_held_query(const void *context, int version)
{
    return talloc_asprintf(
        context,
        "SELECT l.locktype, " LOCKED_THING
        ", replace(l.mode, 'Lock', ''), l.granted, l.fastpath, CASE WHEN NOT l.granted THEN %s END"
        " FROM pg_locks AS l, (SELECT oid FROM pg_database WHERE datname = current_database()) AS d"
        " WHERE l.pid = $1 ORDER BY l.granted, l.locktype <> 'relation', 2, 3",
        waited(version));
}

static char *text_of(const void *context, const struct pg_rows *rows, int row, int column)
{
    return talloc_strdup(context, pg_rows_null(rows, row, column) ? "" : pg_rows_text(rows, row, column));
}

void locks_read_facts(struct locks_facts *facts, const struct pg_rows *rows)
{
    facts->lock_count = (size_t)pg_rows_count(rows);
    facts->locks = talloc_zero_array(facts, struct lock_fact, facts->lock_count);
    for (int i = 0; i < pg_rows_count(rows); i++)
        facts->locks[i] = (struct lock_fact){
            .pid = (int)pg_rows_integer(rows, i, 0),
            .transaction = text_of(facts, rows, i, 1),
            .type = text_of(facts, rows, i, 2),
            .mode = text_of(facts, rows, i, 3),
            .key = text_of(facts, rows, i, 4),
            .on = text_of(facts, rows, i, 5),
            .xid = pg_rows_integer(rows, i, 6),
            .granted = pg_rows_boolean(rows, i, 7),
            .waited_s = fmax(pg_rows_real(rows, i, 8), 0),
        };
    for (size_t i = 0; i < facts->lock_count; i++)
        if (pg_rows_null(rows, (int)i, 8)) /* fmax drops the NaN */
            facts->locks[i].waited_s = NAN;
}

void locks_read_prepared(struct locks_facts *facts, const struct pg_rows *rows)
{
    facts->prepared_count = (size_t)pg_rows_count(rows);
    facts->prepared = talloc_zero_array(facts, struct prepared_fact, facts->prepared_count);
    for (int i = 0; i < pg_rows_count(rows); i++)
        facts->prepared[i] = (struct prepared_fact){
            .xid = pg_rows_integer(rows, i, 0),
            .gid = text_of(facts, rows, i, 1),
            .owner = text_of(facts, rows, i, 2),
            .age_s = pg_rows_real(rows, i, 3),
        };
}

struct held_lock *locks_read_held(const void *context, const struct pg_rows *rows)
{
    struct held_lock *locks = talloc_zero_array(context, struct held_lock, (size_t)pg_rows_count(rows));
    for (int i = 0; i < pg_rows_count(rows); i++)
        locks[i] = (struct held_lock){
            .type = text_of(locks, rows, i, 0),
            .relation = text_of(locks, rows, i, 1),
            .mode = text_of(locks, rows, i, 2),
            .granted = pg_rows_boolean(rows, i, 3),
            .fast_path = pg_rows_boolean(rows, i, 4),
            .waited_s = pg_rows_real(rows, i, 5),
        };
    return locks;
}
