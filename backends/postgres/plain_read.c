/*
 * The second half of the question whether a statement is a plain read: what its names mean on this server.
 * Every overload of a function or operator that search_path can reach counts, which is more than the
 * statement calls and never less. What a view, a policy or the check of a domain calls is read from its
 * stored tree: pg_depend holds no built-in function. A function's own marking as stable or immutable is
 * trusted, except for the few that run any text or table they are given.
 */
#include "backends/postgres/plain_read.h"

#include <string.h>

/* Built-in objects have an oid below 16384: nobody else can make a function of these names that counts. */
#define HARMLESS                                                                                             \
    "'{random,random_normal,clock_timestamp,timeofday,gen_random_uuid,uuidv4,uuidv7,current_query,"          \
    "pg_relation_size,pg_table_size,pg_indexes_size,pg_total_relation_size,pg_database_size,"                \
    "pg_tablespace_size,pg_is_in_recovery,pg_blocking_pids,pg_lock_status,pg_partition_tree,"                \
    "pg_partition_ancestors,pg_prepared_xact,pg_current_wal_lsn,pg_last_wal_receive_lsn,"                    \
    "pg_last_wal_replay_lsn,txid_status,pg_xact_status,bernoulli,system}'::name[]"
/* Marked stable, and yet they run what they are given. */
#define RUNS_TEXT                                                                                            \
    "'^(dblink|crosstab|connectby|xpath_table|(table|schema|database|query|cursor)_to_xml|ts_stat$)'"

const char plain_read_sql[] =
    "WITH RECURSIVE named AS ("
    " SELECT * FROM jsonb_to_recordset($1::jsonb) AS x(kind text, schema text, name text)"
    "), object(kind, id, via) AS (SELECT kind, id, via COLLATE \"C\" FROM ("
    " SELECT 'function', p.oid, ''"
    "  FROM named x JOIN pg_proc p ON p.proname = x.name JOIN pg_namespace n ON n.oid = p.pronamespace"
    "  WHERE x.kind = 'function'"
    "   AND (n.nspname = x.schema OR x.schema IS NULL AND n.nspname = ANY (current_schemas(true)))"
    " UNION ALL SELECT 'function', p.oid, ''"
    "  FROM named x JOIN pg_proc p ON p.proname = x.name JOIN pg_type t ON t.oid = p.proargtypes[0]"
    "  WHERE x.kind = 'member' AND t.typtype IN ('c', 'd', 'p')"
    " UNION ALL SELECT 'operator', o.oid, ''"
    "  FROM named x JOIN pg_operator o ON o.oprname = x.name JOIN pg_namespace n ON n.oid = o.oprnamespace"
    "  WHERE x.kind = 'operator'"
    "   AND (n.nspname = x.schema OR x.schema IS NULL AND n.nspname = ANY (current_schemas(true)))"
    /* A function's name may be that of a type: then the call is a cast. */
    " UNION ALL SELECT 'type', to_regtype(coalesce(quote_ident(x.schema) || '.', '') || "
    "quote_ident(x.name))::oid, ''"
    "  FROM named x WHERE x.kind IN ('type', 'function')"
    " UNION ALL SELECT 'relation', to_regclass(coalesce(quote_ident(x.schema) || '.', '') || "
    "quote_ident(x.name))::oid,"
    "   '' FROM named x WHERE x.kind = 'relation'"
    /* An implicit cast may be needed anywhere. */
    " UNION ALL SELECT 'function', castfunc, 'an implicit cast' FROM pg_cast WHERE castcontext = 'i' AND "
    "castfunc >= "
    "16384"
    " ) AS start(kind, id, via) WHERE id IS NOT NULL"
    " UNION"
    " SELECT n.kind, n.id, n.via COLLATE \"C\" FROM object o, LATERAL ("
    /* The stored trees name functions, operators, relations and types by their oids. */
    "  SELECT CASE WHEN m[1] = 'relid' THEN 'relation' WHEN m[1] = 'resulttype' THEN 'type'"
    "    WHEN m[1] IN ('opno', 'opnos', 'eqop', 'sortop') THEN 'operator' ELSE 'function' END, u::oid, t.via"
    "   FROM (SELECT r.ev_action::text, 'the view ' || o.id::regclass"
    "     FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class"
    "     WHERE o.kind = 'relation' AND r.ev_class = o.id AND r.ev_type = '1' AND c.relkind = 'v'"
    "    UNION ALL SELECT p.polqual::text, 'the policy ' || quote_ident(p.polname) || ' of ' || "
    "o.id::regclass"
    "     FROM pg_policy p WHERE o.kind = 'relation' AND p.polrelid = o.id AND p.polcmd IN ('r', '*')"
    "    UNION ALL SELECT f.proargdefaults::text, 'a default of ' || o.id::regprocedure"
    "     FROM pg_proc f WHERE o.kind = 'function' AND f.oid = o.id AND f.proargdefaults IS NOT NULL"
    "    UNION ALL SELECT k.conbin::text, 'the domain ' || o.id::regtype"
    "     FROM pg_constraint k WHERE o.kind = 'type' AND k.contypid = o.id) AS t(tree, via),"
    "    regexp_matches(t.tree, ':(funcid|opfuncid|aggfnoid|winfnoid|opno|opnos|eqop|sortop|relid|resulttype|"
    "tsmhandler) (?:\\(o )?([0-9 ]+)', 'g') AS m, unnest(string_to_array(btrim(m[2]), ' ')) AS u"
    "   WHERE u <> '0'"
    "  UNION ALL SELECT 'relation', i.inhrelid, o.via FROM pg_inherits i"
    "   WHERE o.kind = 'relation' AND i.inhparent = o.id"
    "  UNION ALL SELECT 'type', a.atttypid, o.via FROM pg_attribute a"
    "   WHERE o.kind = 'relation' AND a.attrelid = o.id AND a.attnum > 0 AND a.atttypid >= 16384"
    "  UNION ALL SELECT 'relation', t.typrelid, o.via FROM pg_type t"
    "   WHERE o.kind = 'type' AND t.oid = o.id AND t.typrelid <> 0"
    "  UNION ALL SELECT 'type', u, o.via FROM pg_type t, unnest(ARRAY[t.typbasetype, t.typelem]) AS u"
    "   WHERE o.kind = 'type' AND t.oid = o.id AND u <> 0"
    "  UNION ALL SELECT 'function', k.castfunc, 'a cast' FROM pg_cast k"
    "   WHERE o.kind = 'type' AND k.castfunc <> 0"
    "    AND (k.casttarget = o.id OR k.castsource = o.id AND k.castcontext <> 'e')"
    /* Sorting, grouping and hashing of types that are not built in. */
    "  UNION ALL SELECT 'function', f.amproc, 'comparing ' || o.id::regtype"
    "   FROM pg_opclass k JOIN pg_amproc f ON f.amprocfamily = k.opcfamily AND f.amproclefttype = k.opcintype"
    "   WHERE o.kind = 'type' AND o.id >= 16384 AND k.opcintype = o.id"
    "  UNION ALL SELECT 'operator', f.amopopr, 'comparing ' || o.id::regtype"
    "   FROM pg_opclass k JOIN pg_amop f ON f.amopfamily = k.opcfamily AND f.amoplefttype = k.opcintype"
    "   WHERE o.kind = 'type' AND o.id >= 16384 AND k.opcintype = o.id"
    "  UNION ALL SELECT 'function', p.oprcode, CASE o.via WHEN '' THEN 'the operator ' || p.oprname ELSE "
    "o.via END"
    "   FROM pg_operator p WHERE o.kind = 'operator' AND p.oid = o.id"
    /* The planner may turn NOT (a = b) and b < a round. */
    "  UNION ALL SELECT 'operator', u, o.via FROM pg_operator p, unnest(ARRAY[p.oprnegate, p.oprcom]) AS u"
    "   WHERE o.kind = 'operator' AND p.oid = o.id AND u <> 0"
    /* An aggregate is always marked immutable: what counts are the functions that it is made of. */
    "  UNION ALL SELECT 'function', u, 'the aggregate ' || o.id::regproc FROM pg_aggregate a,"
    "    unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, "
    "a.aggmtransfn,"
    "    a.aggminvtransfn, a.aggmfinalfn]::oid[]) AS u"
    "   WHERE o.kind = 'function' AND a.aggfnoid = o.id AND u <> 0"
    "  UNION ALL SELECT 'operator', a.aggsortop, 'the aggregate ' || o.id::regproc FROM pg_aggregate a"
    "   WHERE o.kind = 'function' AND a.aggfnoid = o.id AND a.aggsortop <> 0"
    " ) AS n(kind, id, via)"
    ") "
    "SELECT * FROM (SELECT o.kind, CASE o.kind WHEN 'relation' THEN o.id::regclass::text"
    "  ELSE o.id::regprocedure::text END, o.via, 1"
    " FROM object o"
    " LEFT JOIN pg_proc p ON o.kind = 'function' AND p.oid = o.id"
    " LEFT JOIN pg_class c ON o.kind = 'relation' AND c.oid = o.id"
    " WHERE c.relkind = 'f' OR p.proname ~ " RUNS_TEXT
    "  OR p.provolatile = 'v' AND NOT (p.oid < 16384 AND p.proname = ANY (" HARMLESS "))"
    /* The server found what we do not: it folds or cuts names in another way, or takes a column for a
     * function. Names of pg_catalog may come from the grammar, which is newer than the server. */
    " UNION ALL SELECT 'unknown', x.kind || ' ' || x.name, '', 2 FROM named x"
    " WHERE x.kind = 'function' AND x.schema IS DISTINCT FROM 'pg_catalog'"
    "   AND to_regtype(coalesce(quote_ident(x.schema) || '.', '') || quote_ident(x.name)) IS NULL"
    "   AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname "
    "= x.name"
    "    AND (n.nspname = x.schema OR x.schema IS NULL AND n.nspname = ANY (current_schemas(true))))"
    "  OR x.kind = 'operator' AND NOT EXISTS (SELECT FROM pg_operator o JOIN pg_namespace n ON n.oid = "
    "o.oprnamespace"
    "    WHERE o.oprname = x.name"
    "    AND (n.nspname = x.schema OR x.schema IS NULL AND n.nspname = ANY (current_schemas(true))))"
    "  OR x.kind = 'type' AND to_regtype(coalesce(quote_ident(x.schema) || '.', '') || quote_ident(x.name)) "
    "IS NULL"
    "  OR x.kind = 'relation'"
    "   AND to_regclass(coalesce(quote_ident(x.schema) || '.', '') || quote_ident(x.name)) IS NULL"
    "   AND (x.schema IS NOT NULL OR NOT EXISTS (SELECT FROM named c WHERE c.kind = 'cte' AND c.name = "
    "x.name))"
    " UNION ALL SELECT 'unknown', 'names beyond ASCII in a database that is not UTF-8', '', 2"
    "  WHERE current_setting('server_encoding') <> 'UTF8' AND $1::jsonb::text ~ '[^\\x01-\\x7f]'"
    ") AS found(kind, name, via, rank) ORDER BY rank, via, name LIMIT 1";

bool plain_read_verdict(const struct pg_rows *rows, struct error *refusal)
{
    if (pg_rows_count(rows) == 0)
        return true;
    const char *kind = pg_rows_text(rows, 0, 0), *name = pg_rows_text(rows, 0, 1),
               *via = pg_rows_text(rows, 0, 2);
    const char *through = via && *via ? ", through " : "";
    if (!name)
        name = "?";
    if (kind && strcmp(kind, "relation") == 0)
        return error_set(refusal, ERROR_INTERLOCK, NULL, "not a plain read, so it is not measured",
                         "The plan without measuring can be had.",
                         "it reads the foreign table %s%s%s: the other server may do anything", name, through,
                         via ? via : "");
    return error_set(
        refusal, ERROR_INTERLOCK, NULL, "not a plain read, so it is not measured",
        "The plan without measuring can be had. A function that only reads can be marked STABLE by its "
        "owner.",
        "it may call %s%s%s, which is volatile: it may write, wait or reach out", name, through,
        via ? via : "");
}
