/*
 * pg-boss 9, 10 and 11: their layouts, told apart by their columns, and the library's own SQL for acts.
 * The order of jobs is that of the library's fetch: priority, then when they were made.
 */
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"

extern const struct queue_adapter pgboss_adapter;

/* Queues of the library itself are left out. */
#define OWN "name NOT LIKE '\\_\\_pgboss\\_\\_%'"

#define COUNTS(QUEUES, START, STARTED, COMPLETED, CREATED, LIMIT_S, FAILED)                                  \
    "SELECT q.name, coalesce(c.ready, 0), coalesce(c.scheduled, 0), coalesce(c.retrying, 0),"                \
    " coalesce(c.running, 0), NULL, coalesce(c.failed, 0), NULL, coalesce(c.done, 0), false,"                \
    " extract(epoch FROM now() - c.head), extract(epoch FROM c.eta), coalesce(c.came, 0),"                   \
    " coalesce(c.went, 0), NULL, c.stuck FROM " QUEUES " AS q LEFT JOIN (SELECT name,"                       \
    " count(*) FILTER (WHERE state < 'active' AND " START " <= now()) AS ready,"                             \
    " count(*) FILTER (WHERE state = 'created' AND " START " > now()) AS scheduled,"                         \
    " count(*) FILTER (WHERE state = 'retry' AND " START " > now()) AS retrying,"                            \
    " count(*) FILTER (WHERE state = 'active') AS running,"                                                  \
    " count(*) FILTER (WHERE " FAILED ") AS failed,"                                                         \
    " count(*) FILTER (WHERE state = 'completed') AS done,"                                                  \
    " min(" START ") FILTER (WHERE state < 'active' AND " START " <= now()) AS head,"                        \
    " min(" START ") FILTER (WHERE state < 'active' AND " START " <= now() AND " START " > " CREATED         \
    " + interval '1 s') AS eta,"                                                                             \
    " count(*) FILTER (WHERE " CREATED " > now() - interval '1 min') AS came,"                               \
    " count(*) FILTER (WHERE state >= 'completed' AND state <> 'cancelled' AND " COMPLETED                   \
    " > now() - interval '1 min') AS went,"                                                                  \
    " count(*) FILTER (WHERE state = 'active' AND " STARTED " + " LIMIT_S " < now()) AS stuck"               \
    " FROM @job GROUP BY name) AS c ON c.name = q.name WHERE q." OWN " ORDER BY 1 LIMIT 10001"

/* Only what the partial index on waiting jobs answers; of finished ones there may be millions. */
#define COUNTS_LITE(RUNNING)                                                                                 \
    "SELECT q.name,"                                                                                         \
    " (SELECT count(*) FROM (SELECT FROM @job WHERE name = q.name AND state < 'active'"                      \
    "   AND start_after <= now() LIMIT 50000) AS s),"                                                        \
    " (SELECT count(*) FROM (SELECT FROM @job WHERE name = q.name AND state < 'active'"                      \
    "   AND state = 'created' AND start_after > now() LIMIT 50000) AS s),"                                   \
    " (SELECT count(*) FROM (SELECT FROM @job WHERE name = q.name AND state < 'active'"                      \
    "   AND state = 'retry' AND start_after > now() LIMIT 50000) AS s),"                                     \
    " " RUNNING ", NULL, NULL, NULL, NULL, false,"                                                           \
    " (SELECT extract(epoch FROM now() - start_after) FROM @job WHERE name = q.name AND state < 'active'"    \
    "   AND start_after <= now() ORDER BY start_after LIMIT 1), NULL, NULL, NULL, NULL, NULL"                \
    " FROM @queue AS q WHERE q." OWN " ORDER BY 1 LIMIT 200"

#define SCHEDULE(ID)                                                                                         \
    "SELECT " ID ", s.name, s.name, 'cron', s.cron, s.timezone, s.name,"                                     \
    " coalesce(s.data ->> '_schema_name', s.data ->> 'schema_name', s.data ->> 'tenant'),"                   \
    " s.data::text, true, NULL, NULL, NULL, NULL, NULL, NULL FROM @schedule AS s ORDER BY 1 LIMIT 5000"
#define SCHEDULER "SELECT extract(epoch FROM now() - max(cron_on)), 'its clock ticked' FROM @version"

#define COLUMNS(START, STARTED, COMPLETED, CREATED, KEEP, LIMIT, COUNT, LIMIT_SECONDS)                       \
    {                                                                                                        \
        [PG_ID] = "j.id", [PG_TASK] = "j.name", [PG_QUEUE] = "j.name", [PG_PRIORITY] = "j.priority",         \
        [PG_RETRIES] = "j." COUNT, [PG_RETRIES_MAX] = "j." LIMIT, [PG_ENQUEUED] = "j." CREATED,              \
        [PG_ETA] = "CASE WHEN j.state < 'active' THEN j." START " END",                                      \
        [PG_EXPIRES] = "CASE WHEN j.state < 'active' THEN j." KEEP " END", [PG_TAKEN] = "j." STARTED,        \
        [PG_STARTED] = "j." STARTED, [PG_FINISHED] = "j." COMPLETED, [PG_LIMIT] = (LIMIT_SECONDS),           \
        [PG_EXCEPTION] = "j.output ->> 'name'",                                                              \
        [PG_MESSAGE] = "coalesce(j.output ->> 'message', j.output #>> '{value,message}',"                    \
                       " j.output ->> 'value')",                                                             \
        [PG_TRACE] = "j.output ->> 'stack'",                                                                 \
    }

#define STATES(START, STARTED, COMPLETED, CREATED, FAILED)                                                   \
    {                                                                                                        \
        {JOB_READY, "j.state < 'active' AND j." START " <= now()", "j." CREATED, "(-j.priority)",            \
         "j." START},                                                                                        \
            {JOB_RUNNING, "j.state = 'active'", "j." STARTED, NULL, NULL},                                   \
            {JOB_RETRYING, "j.state = 'retry' AND j." START " > now()", "j." START, NULL, NULL},             \
            {JOB_SCHEDULED, "j.state = 'created' AND j." START " > now()", "j." START, NULL, NULL},          \
            {JOB_FAILED, FAILED, "coalesce(j." COMPLETED ", j." CREATED ")", NULL, NULL},                    \
            {JOB_CANCELLED, "j.state = 'cancelled'", "coalesce(j." COMPLETED ", j." CREATED ")", NULL,       \
             NULL},                                                                                          \
            {JOB_DONE, "j.state = 'completed'", "coalesce(j." COMPLETED ", j." CREATED ")", NULL, NULL},     \
    }

#define MEANT " WHERE name = $NAME AND id = ANY ($IDS::uuid[]) AND "
#define CANCEL(COMPLETED, STATE) "UPDATE @job SET " COMPLETED " = now(), state = 'cancelled'" MEANT STATE
#define RESUME(COMPLETED)                                                                                    \
    "UPDATE @job SET " COMPLETED " = NULL, state = 'created'" MEANT "state = 'cancelled'"

#define CANCEL_ACTS(START, COMPLETED)                                                                        \
    {ACT_DISCARD,                                                                                            \
     JOB_READY,                                                                                              \
     false,                                                                                                  \
     CANCEL(COMPLETED, "state < 'active' AND " START " <= now()"),                                           \
     RESUME(COMPLETED),                                                                                      \
     "cancelled",                                                                                            \
     "They become cancelled, as by the library's cancel(); what a worker takes before is left alone."},      \
        {ACT_DISCARD,                                                                                        \
         JOB_SCHEDULED,                                                                                      \
         false,                                                                                              \
         CANCEL(COMPLETED, "state = 'created' AND " START " > now()"),                                       \
         RESUME(COMPLETED),                                                                                  \
         "cancelled",                                                                                        \
         "They become cancelled, as by the library's cancel(); what has become due before is left alone."},  \
        {ACT_DISCARD,                                                                                        \
         JOB_RETRYING,                                                                                       \
         false,                                                                                              \
         CANCEL(COMPLETED, "state = 'retry' AND " START " > now()"),                                         \
         RESUME(COMPLETED),                                                                                  \
         "cancelled",                                                                                        \
         "They become cancelled, as by the library's cancel(), and are not tried again."},                   \
        {ACT_DISCARD,                                                                                        \
         JOB_RUNNING,                                                                                        \
         false,                                                                                              \
         CANCEL(COMPLETED, "state = 'active'"),                                                              \
         RESUME(COMPLETED),                                                                                  \
         "cancelled",                                                                                        \
         "They become cancelled, as by the library's cancel(). A worker that runs one goes on to its end; "  \
         "what it then says of it is ignored."},                                                             \
        {ACT_RUN_NOW,                                                                                        \
         JOB_SCHEDULED,                                                                                      \
         false,                                                                                              \
         "UPDATE @job SET " START " = now()" MEANT "state = 'created' AND " START " > now()",                \
         NULL,                                                                                               \
         "made due",                                                                                         \
         "They become due now; their former time is not kept."},                                             \
    {                                                                                                        \
        ACT_RUN_NOW, JOB_RETRYING, false,                                                                    \
            "UPDATE @job SET " START " = now()" MEANT "state = 'retry' AND " START " > now()", NULL,         \
            "made due", "They are tried again now instead of after their delay."                             \
    }

/* ---- 9: no table of queues, columns in one word ---- */

static const char *const requires9[] = {"job.startafter",
                                        "job.createdon",
                                        "job.completedon",
                                        "job.keepuntil",
                                        "job.expirein",
                                        "job.data",
                                        "job.output",
                                        "job.retrylimit",
                                        "schedule.cron",
                                        "version.version",
                                        NULL};
#define FAILED9 "state IN ('failed', 'expired')"
static const struct pg_state states9[] =
    STATES("startafter", "startedon", "completedon", "createdon", "j." FAILED9);
static const struct pg_act acts9[] = {
    {ACT_RETRY, JOB_FAILED, false, "UPDATE @job SET completedon = NULL, state = 'created'" MEANT FAILED9,
     NULL, "put back into their queue",
     "They become created, as by the library's resume(), and are run again. One that was archived is no "
     "longer there."},
    {ACT_RETRY, JOB_CANCELLED, false, RESUME("completedon"), NULL, "put back into their queue",
     "They become created, as by the library's resume()."},
    CANCEL_ACTS("startafter", "completedon"),
};
static const struct pg_layout layout9 = {
    .name = "pg-boss 9",
    .requires = requires9,
    .from = "@job AS j",
    .id_type = "uuid",
    .columns = COLUMNS("startafter", "startedon", "completedon", "createdon", "keepuntil", "retrylimit",
                       "retrycount", "extract(epoch FROM j.expirein)"),
    .data = "j.data",
    .row = "to_jsonb(j)",
    .secrets = ",data,output,",
    .states = states9,
    .state_count = sizeof states9 / sizeof *states9,
    .queues = COUNTS("(SELECT DISTINCT name FROM @job UNION SELECT name FROM @schedule)", "startafter",
                     "startedon", "completedon", "createdon", "expirein", FAILED9),
    .workers_note = "pg-boss keeps no record of its workers: only what runs is known",
    .schedule = SCHEDULE("s.name"),
    .scheduler = SCHEDULER,
    .scheduler_silent_s = 150,
    .scheduler_sure = true,
    .acts = acts9,
    .act_count = sizeof acts9 / sizeof *acts9,
    .read_only = "pg-boss has no such thing",
};

/* ---- 10 and 11 ---- */

#define FAILED10 "state = 'failed'"
static const struct pg_state states10[] =
    STATES("start_after", "started_on", "completed_on", "created_on", "j." FAILED10);
static const struct pg_act acts10[] = {
    {ACT_RETRY, JOB_FAILED, false,
     "UPDATE @job SET state = 'retry', retry_limit = retry_limit + 1" MEANT FAILED10, NULL,
     "put back into their queue",
     "They are run again once more, as by the library's retry(). A job that failed for good was also copied "
     "into the dead letter queue of its queue, where there is one: do not retry both."},
    {ACT_RETRY, JOB_CANCELLED, false, RESUME("completed_on"), NULL, "put back into their queue",
     "They become created, as by the library's resume()."},
    CANCEL_ACTS("start_after", "completed_on"),
    {ACT_DISCARD, JOB_FAILED, true, "DELETE FROM @job" MEANT FAILED10, NULL, "deleted",
     "Their rows are deleted, as by the library's deleteJob(). There is no way back."},
    {ACT_DISCARD, JOB_CANCELLED, true, "DELETE FROM @job" MEANT "state = 'cancelled'", NULL, "deleted",
     "Their rows are deleted, as by the library's deleteJob(). There is no way back."},
};
#define COUNTS10(LIMIT)                                                                                      \
    COUNTS("@queue", "start_after", "started_on", "completed_on", "created_on", LIMIT, FAILED10)
#define COLUMNS10(LIMIT_SECONDS)                                                                             \
    COLUMNS("start_after", "started_on", "completed_on", "created_on", "keep_until", "retry_limit",          \
            "retry_count", LIMIT_SECONDS)

static const char *const requires10[] = {"job.start_after",
                                         "job.created_on",
                                         "job.completed_on",
                                         "job.keep_until",
                                         "job.expire_in",
                                         "job.data",
                                         "job.output",
                                         "job.retry_limit",
                                         "job.policy",
                                         "queue.name",
                                         "schedule.cron",
                                         "version.version",
                                         NULL};
static const struct pg_layout layout10 = {
    .name = "pg-boss 10",
    .requires = requires10,
    .from = "@job AS j",
    .id_type = "uuid",
    .columns = COLUMNS10("extract(epoch FROM j.expire_in)"),
    .data = "j.data",
    .row = "to_jsonb(j)",
    .secrets = ",data,output,",
    .states = states10,
    .state_count = sizeof states10 / sizeof *states10,
    .queues = COUNTS10("expire_in"),
    .queues_lite = COUNTS_LITE("NULL"),
    .workers_note = "pg-boss keeps no record of its workers: only what runs is known",
    .schedule = SCHEDULE("s.name"),
    .scheduler = SCHEDULER,
    .scheduler_silent_s = 150,
    .scheduler_sure = true,
    .acts = acts10,
    .act_count = sizeof acts10 / sizeof *acts10,
    .read_only = "pg-boss has no such thing",
};

static const char *const requires11[] = {"job.expire_seconds",
                                         "job.start_after",
                                         "job.created_on",
                                         "job.completed_on",
                                         "job.keep_until",
                                         "job.data",
                                         "job.output",
                                         "job.retry_limit",
                                         "queue.name",
                                         "queue.active_count",
                                         "schedule.key",
                                         "version.version",
                                         NULL};
static const struct pg_layout layout11 = {
    .name = "pg-boss 11",
    .requires = requires11,
    .from = "@job AS j",
    .id_type = "uuid",
    .columns = COLUMNS10("j.expire_seconds"),
    .data = "j.data",
    .row = "to_jsonb(j)",
    .secrets = ",data,output,",
    .states = states10,
    .state_count = sizeof states10 / sizeof *states10,
    .queues = COUNTS10("make_interval(secs => expire_seconds)"),
    .queues_lite = COUNTS_LITE("q.active_count"),
    .workers_note = "pg-boss keeps no record of its workers: only what runs is known",
    .schedule = SCHEDULE("s.name || CASE WHEN s.key = '' THEN '' ELSE '/' || s.key END"),
    .scheduler = SCHEDULER,
    .scheduler_silent_s = 150,
    .scheduler_sure = true,
    .acts = acts10,
    .act_count = sizeof acts10 / sizeof *acts10,
    .read_only = "pg-boss has no such thing",
};

/* ---- the adapter ---- */

/* Tables named job and version may be anybody's: only those that are pg-boss' in every column count. */
static void take(struct queue_search *search, const struct queue_place *place,
                 const struct pg_catalog *catalog, struct error *error)
{
    static const struct pg_layout *const layouts[] = {&layout11, &layout10, &layout9};
    const char *wanted = place->settings ? place->settings->schema : NULL;
    size_t count;
    const char **schemas = pg_catalog_schemas(NULL, catalog, &count);
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (wanted && strcmp(wanted, schemas[i]) != 0)
            continue;
        for (size_t j = 0; j < sizeof layouts / sizeof *layouts; j++) {
            if (!pg_catalog_has_all(catalog, schemas[i], layouts[j]->requires, NULL, NULL))
                continue;
            found = true;
            queue_search_found(
                search, &pg_jobs_new(search, &pgboss_adapter, layouts[j], catalog, &schemas[i], 1)->base);
            break;
        }
    }
    if (wanted && !found && !catalog->login && !pg_server_definition(place->postgres)->database_count)
        error_set(error, ERROR_MISSING, pg_server_name(place->postgres), "pg-boss is not there",
                  "Check `schema` in the environment's jobs.",
                  "schema %s has no tables of pg-boss 9, 10 or 11", wanted);
    talloc_free(schemas);
}

static void search_pgboss(struct queue_search *search, const struct queue_place *place)
{
    pg_catalog_search(search, place, take);
}

const struct queue_adapter pgboss_adapter = {
    .id = "pgboss",
    .title = "pg-boss",
    .where = ON_POSTGRES,
    .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 15, [PART_SCHEDULE] = 30},
    .search = search_pgboss,
    .part_absent = pg_jobs_part_absent,
    .act_absent = pg_jobs_act_absent,
    .ask = pg_jobs_ask,
    .read = pg_jobs_read,
    .stop = pg_jobs_stop,
    .forsake = pg_jobs_forsake,
    .job = pg_jobs_job,
    .prepare = pg_jobs_prepare,
    .forsake_prepare = pg_jobs_forsake_prepare,
};
