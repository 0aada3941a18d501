/*
 * Job systems on Postgres that are only looked at: Procrastinate 3, Solid Queue, GoodJob 4, River and
 * django-tasks. Made from their documentation and schema files; columns are checked before anything is asked.
 * Rails keeps times without a zone, in UTC: so is the zone of the connections that read.
 */
#include <string.h>
#include <talloc.h>

#include "backends/queues/pg_jobs.h"

extern const struct queue_adapter procrastinate_adapter, solid_queue_adapter, good_job_adapter, river_adapter,
    django_tasks_adapter;

#define TENANT(X)                                                                                            \
    X " ->> '_schema_name', " X " ->> 'schema_name', " X " ->> 'tenant', " X " ->> 'tenant_id', " X          \
      " ->> 'schema'"
#define MINUTE "now() - interval '1 min'"
/* The ids are handed out in order: this sorts by them where there is no time. */
#define BY_ID "to_timestamp(j.id)"

/* ---- Procrastinate 3 ---- */

#define PRO_EVENT(TYPE, WHICH)                                                                               \
    "(SELECT " WHICH "(e.at) FROM @procrastinate_events AS e WHERE e.job_id = j.id AND e.type = '" TYPE "')"
/* The key of a worker was a number before it was a text. */
#define PRO_WORKER "coalesce(to_jsonb(w) ->> 'worker_id', w.id::text)"
#define PRO_DUE "j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())"
#define PRO_CAME PRO_EVENT("deferred", "min")

static const char *const procrastinate_requires[] = {"procrastinate_jobs.queue_name",
                                                     "procrastinate_jobs.task_name",
                                                     "procrastinate_jobs.priority",
                                                     "procrastinate_jobs.args",
                                                     "procrastinate_jobs.status",
                                                     "procrastinate_jobs.scheduled_at",
                                                     "procrastinate_jobs.attempts",
                                                     "procrastinate_jobs.worker_id",
                                                     "procrastinate_events.at",
                                                     "procrastinate_periodic_defers.defer_timestamp",
                                                     "procrastinate_workers.last_heartbeat",
                                                     NULL};
static const struct pg_state procrastinate_states[] = {
    {JOB_READY, PRO_DUE, BY_ID, "(-j.priority)", BY_ID},
    {JOB_RUNNING, "j.status = 'doing'", BY_ID, NULL, NULL},
    {JOB_RETRYING, "j.status = 'todo' AND j.scheduled_at > now() AND j.attempts > 0", "j.scheduled_at", NULL,
     NULL},
    {JOB_SCHEDULED, "j.status = 'todo' AND j.scheduled_at > now() AND j.attempts = 0", "j.scheduled_at", NULL,
     NULL},
    {JOB_FAILED, "j.status = 'failed'", BY_ID, NULL, NULL},
    {JOB_CANCELLED, "j.status IN ('cancelled', 'aborted')", BY_ID, NULL, NULL},
    {JOB_DONE, "j.status = 'succeeded'", BY_ID, NULL, NULL},
};
static const struct pg_layout procrastinate = {
    .name = "Procrastinate 3",
    .requires = procrastinate_requires,
    .from = "@procrastinate_jobs AS j",
    .id_type = "bigint",
    .columns = {[PG_ID] = "j.id",
                [PG_TASK] = "j.task_name",
                [PG_QUEUE] = "j.queue_name",
                [PG_PRIORITY] = "j.priority",
                [PG_RETRIES] = "j.attempts",
                [PG_ENQUEUED] = PRO_CAME,
                [PG_ETA] = "CASE WHEN j.status = 'todo' THEN j.scheduled_at END",
                [PG_STARTED] = "CASE WHEN j.status = 'doing' THEN " PRO_EVENT("started", "max") " END",
                [PG_FINISHED] = "(SELECT max(e.at) FROM @procrastinate_events AS e WHERE e.job_id = j.id AND "
                                "e.type IN ('failed', 'succeeded', 'cancelled', 'aborted'))",
                [PG_WORKER] = "j.worker_id"},
    .data = "j.args",
    .row = "to_jsonb(j)",
    .secrets = ",args,",
    .states = procrastinate_states,
    .state_count = sizeof procrastinate_states / sizeof *procrastinate_states,
    .queues = "SELECT c.queue_name, c.ready, c.scheduled, c.retrying, c.running, NULL, c.failed, NULL,"
              " c.done, NULL, extract(epoch FROM now() - (SELECT coalesce(j.scheduled_at, " PRO_CAME ")"
              "   FROM @procrastinate_jobs AS j WHERE j.queue_name = c.queue_name AND " PRO_DUE
              "   ORDER BY j.priority DESC, j.id LIMIT 1)), extract(epoch FROM c.eta), coalesce(e.came, 0),"
              " coalesce(e.went, 0), NULL, c.stuck FROM (SELECT j.queue_name, count(*) FILTER (WHERE " PRO_DUE
              ") AS ready,"
              "   count(*) FILTER (WHERE j.status = 'todo' AND j.scheduled_at > now() AND j.attempts = 0)"
              " AS scheduled,"
              "   count(*) FILTER (WHERE j.status = 'todo' AND j.scheduled_at > now() AND j.attempts > 0)"
              " AS retrying,"
              "   count(*) FILTER (WHERE j.status = 'doing') AS running,"
              " count(*) FILTER (WHERE j.status = 'failed') AS failed,"
              "   count(*) FILTER (WHERE j.status = 'succeeded') AS done,"
              "   min(j.scheduled_at) FILTER (WHERE " PRO_DUE ") AS eta,"
              "   count(*) FILTER (WHERE j.status = 'doing' AND w.id IS NULL) AS stuck"
              "   FROM @procrastinate_jobs AS j LEFT JOIN @procrastinate_workers AS w"
              "     ON j.status = 'doing' AND " PRO_WORKER
              " = j.worker_id::text GROUP BY 1) AS c LEFT JOIN (SELECT j.queue_name,"
              " count(*) FILTER (WHERE e.type = 'deferred') AS came,"
              "   count(*) FILTER (WHERE e.type IN ('succeeded', 'failed')) AS went"
              "   FROM (SELECT * FROM @procrastinate_events ORDER BY id DESC LIMIT 20000) AS e"
              "   JOIN @procrastinate_jobs AS j ON j.id = e.job_id WHERE e.at > " MINUTE
              " GROUP BY 1) AS e ON e.queue_name = c.queue_name ORDER BY 1 LIMIT 10001",
    .workers = "SELECT " PRO_WORKER ", NULL, 0, extract(epoch FROM w.last_heartbeat), NULL, NULL,"
               " (SELECT count(*) FROM @procrastinate_jobs AS j WHERE j.status = 'doing' AND"
               "   j.worker_id::text = " PRO_WORKER "), NULL, NULL FROM @procrastinate_workers AS w"
               " ORDER BY 1 LIMIT 2000",
    .silent_s = 30,
    .workers_note = "from their heartbeats in procrastinate_workers",
    .schedule =
        "SELECT p.task_name || '/' || p.periodic_id, p.task_name, p.task_name, 'text',"
        " 'in the application''s code', NULL, NULL, NULL, NULL, NULL, max(p.defer_timestamp), NULL, NULL,"
        " NULL, NULL, NULL FROM @procrastinate_periodic_defers AS p"
        " GROUP BY p.task_name, p.periodic_id ORDER BY 1 LIMIT 5000",
};

/* ---- Solid Queue ---- */

/* Texts that hold JSON, as long as jsonb takes it. */
#define AS_JSON(TEXT)                                                                                        \
    "(CASE WHEN " TEXT " LIKE '{%' AND position('\\u0000' IN " TEXT ") = 0 THEN (" TEXT ")::jsonb END)"
#define SOLID_JOB AS_JSON("j.arguments")
#define SOLID_ERROR AS_JSON("f.error")
#define SOLID_JOIN(TABLE, ALIAS)                                                                             \
    " LEFT JOIN @solid_queue_" TABLE "_executions AS " ALIAS " ON " ALIAS ".job_id = j.id"
#define SOLID_COUNT(TABLE)                                                                                   \
    "(SELECT count(*) FROM @solid_queue_" TABLE "_executions AS x WHERE x.queue_name = q.queue_name)"
#define SOLID_COUNT_JOINED(TABLE, MORE)                                                                      \
    "(SELECT count(*) FROM @solid_queue_" TABLE                                                              \
    "_executions AS x JOIN @solid_queue_jobs AS j ON j.id = x.job_id WHERE j.queue_name = q.queue_name" MORE \
    ")"
#define SOLID_READY SOLID_COUNT("ready")
#define SOLID_SCHEDULED SOLID_COUNT("scheduled")
#define SOLID_BLOCKED SOLID_COUNT("blocked")
#define SOLID_CLAIMED SOLID_COUNT_JOINED("claimed", "")
#define SOLID_FAILED SOLID_COUNT_JOINED("failed", "")
#define SOLID_LOST                                                                                           \
    SOLID_COUNT_JOINED("claimed", " AND NOT EXISTS (SELECT FROM @solid_queue_processes AS p"                 \
                                  " WHERE p.id = x.process_id)")
#define SOLID_FACTS AS_JSON("p.metadata")

static const char *const solid_requires[] = {"solid_queue_jobs.queue_name",
                                             "solid_queue_jobs.class_name",
                                             "solid_queue_jobs.arguments",
                                             "solid_queue_jobs.finished_at",
                                             "solid_queue_jobs.priority",
                                             "solid_queue_ready_executions.queue_name",
                                             "solid_queue_scheduled_executions.scheduled_at",
                                             "solid_queue_claimed_executions.process_id",
                                             "solid_queue_blocked_executions.concurrency_key",
                                             "solid_queue_failed_executions.error",
                                             "solid_queue_pauses.queue_name",
                                             "solid_queue_processes.last_heartbeat_at",
                                             "solid_queue_processes.name",
                                             "solid_queue_recurring_tasks.schedule",
                                             "solid_queue_recurring_executions.run_at",
                                             NULL};
static const struct pg_state solid_states[] = {
    {JOB_READY, "r.id IS NOT NULL", BY_ID, "r.priority", BY_ID},
    {JOB_RUNNING, "c.id IS NOT NULL", "c.created_at::timestamptz", NULL, NULL},
    {JOB_SCHEDULED, "s.id IS NOT NULL", "s.scheduled_at::timestamptz", NULL, NULL},
    {JOB_WAITING, "b.id IS NOT NULL", "b.created_at::timestamptz", NULL, NULL},
    {JOB_FAILED, "f.id IS NOT NULL", "f.created_at::timestamptz", NULL, NULL},
    {JOB_DONE, "j.finished_at IS NOT NULL", "j.finished_at::timestamptz", NULL, NULL},
};
static const struct pg_layout solid_queue = {
    .name = "Solid Queue",
    .requires = solid_requires,
    .from = "@solid_queue_jobs AS j" SOLID_JOIN("ready", "r") SOLID_JOIN("scheduled", "s")
        SOLID_JOIN("claimed", "c") SOLID_JOIN("blocked", "b") SOLID_JOIN("failed", "f"),
    .id_type = "bigint",
    .columns = {[PG_ID] = "j.id",
                [PG_TASK] = "j.class_name",
                [PG_QUEUE] = "j.queue_name",
                [PG_PRIORITY] = "j.priority",
                [PG_RETRIES] = SOLID_JOB " ->> 'executions'",
                [PG_ENQUEUED] = "j.created_at::timestamptz",
                [PG_ETA] = "s.scheduled_at::timestamptz",
                [PG_TAKEN] = "c.created_at::timestamptz",
                [PG_STARTED] = "c.created_at::timestamptz",
                [PG_FINISHED] = "coalesce(j.finished_at, f.created_at)::timestamptz",
                [PG_WORKER] = "(SELECT p.name FROM @solid_queue_processes AS p WHERE p.id = c.process_id)",
                [PG_EXCEPTION] = SOLID_ERROR " ->> 'exception_class'",
                [PG_MESSAGE] = "coalesce(" SOLID_ERROR " ->> 'message', f.error)",
                [PG_TRACE] = "translate(" SOLID_ERROR " ->> 'backtrace', '\",', E'\\n')",
                [PG_ROOT] = "j.active_job_id"},
    .data = "(" SOLID_JOB " -> 'arguments')",
    .tenant = "coalesce(" SOLID_JOB " ->> 'tenant', " TENANT("(" SOLID_JOB " -> 'arguments' -> 0)") ")",
    .row = "to_jsonb(j)",
    .secrets = ",arguments,",
    .states = solid_states,
    .state_count = sizeof solid_states / sizeof *solid_states,
    .queues =
        "SELECT q.queue_name, " SOLID_READY ", " SOLID_SCHEDULED ", NULL, " SOLID_CLAIMED ", " SOLID_BLOCKED
        ", " SOLID_FAILED ", NULL, (SELECT count(*) FROM (SELECT FROM @solid_queue_jobs AS j"
        "   WHERE j.queue_name = q.queue_name AND j.finished_at IS NOT NULL LIMIT 100000) AS s),"
        " EXISTS (SELECT FROM @solid_queue_pauses AS p WHERE p.queue_name = q.queue_name),"
        " extract(epoch FROM now() - (SELECT min(r.created_at)::timestamptz"
        "   FROM @solid_queue_ready_executions AS r WHERE r.queue_name = q.queue_name)), NULL,"
        " (SELECT count(*) FROM (SELECT * FROM @solid_queue_jobs ORDER BY id DESC LIMIT 20000) AS j"
        "   WHERE j.queue_name = q.queue_name AND j.created_at::timestamptz > " MINUTE
        "), (SELECT count(*) FROM @solid_queue_jobs AS j WHERE j.queue_name = q.queue_name"
        "   AND j.finished_at > now()::timestamp - interval '1 min'), NULL, " SOLID_LOST
        " FROM (SELECT queue_name FROM @solid_queue_jobs GROUP BY 1"
        "   UNION SELECT queue_name FROM @solid_queue_pauses) AS q ORDER BY 1 LIMIT 500",
    .workers = "SELECT p.name, p.hostname, p.pid, extract(epoch FROM p.last_heartbeat_at::timestamptz),"
               " extract(epoch FROM p.created_at::timestamptz), (" SOLID_FACTS
               " ->> 'thread_pool_size')::int, (SELECT count(*) FROM @solid_queue_claimed_executions AS c"
               " WHERE c.process_id = p.id), " SOLID_FACTS
               " ->> 'queues', NULL FROM @solid_queue_processes AS p WHERE p.kind = 'Worker' ORDER BY 1"
               " LIMIT 2000",
    .silent_s = 150,
    .workers_note = "from their heartbeats in solid_queue_processes, once a minute",
    .schedule =
        "SELECT t.key, t.key, coalesce(t.class_name, t.command),"
        " CASE WHEN t.schedule ~ '^[0-9*\\x40]' THEN 'cron' ELSE 'text' END,"
        " CASE WHEN t.schedule ~ '^([^ ]+ +){5}[A-Z]' THEN substring(t.schedule FROM '^(?:[^ ]+ +){4}[^ ]+')"
        "   ELSE t.schedule END,"
        " substring(t.schedule FROM '^(?:[^ ]+ +){5}([A-Z][^ ]*)$'), t.queue_name, NULL, t.arguments, true,"
        " (SELECT extract(epoch FROM max(e.run_at)::timestamptz) FROM @solid_queue_recurring_executions AS e"
        "   WHERE e.task_key = t.key), NULL, NULL, NULL, NULL, NULL"
        " FROM @solid_queue_recurring_tasks AS t ORDER BY 1 LIMIT 5000",
    .schedule_slack_s = 60,
    .scheduler =
        "SELECT extract(epoch FROM now() - max(p.last_heartbeat_at)::timestamptz), 'its heartbeat was'"
        " FROM @solid_queue_processes AS p WHERE p.kind = 'Scheduler'",
    .scheduler_silent_s = 150,
    .scheduler_sure = true,
};

/* ---- GoodJob 4 ---- */

#define GOOD_OPEN "j.finished_at IS NULL AND j.locked_by_id IS NULL"
#define GOOD_LATER "j.scheduled_at::timestamptz > now()"
#define GOOD_DUE GOOD_OPEN " AND NOT coalesce(" GOOD_LATER ", false)"

static const char *const good_requires[] = {"good_jobs.queue_name",
                                            "good_jobs.priority",
                                            "good_jobs.serialized_params",
                                            "good_jobs.scheduled_at",
                                            "good_jobs.performed_at",
                                            "good_jobs.finished_at",
                                            "good_jobs.error",
                                            "good_jobs.job_class",
                                            "good_jobs.cron_key",
                                            "good_jobs.cron_at",
                                            "good_jobs.executions_count",
                                            "good_jobs.locked_by_id",
                                            "good_jobs.active_job_id",
                                            "good_job_processes.state",
                                            "good_job_executions.active_job_id",
                                            NULL};
static const struct pg_state good_states[] = {
    {JOB_READY, GOOD_DUE, "j.created_at::timestamptz", "coalesce(j.priority, 0)", NULL},
    {JOB_RUNNING, "j.finished_at IS NULL AND j.locked_by_id IS NOT NULL",
     "coalesce(j.performed_at, j.created_at)::timestamptz", NULL, NULL},
    {JOB_RETRYING, GOOD_OPEN " AND " GOOD_LATER " AND j.error IS NOT NULL", "j.scheduled_at::timestamptz",
     NULL, NULL},
    {JOB_SCHEDULED, GOOD_OPEN " AND " GOOD_LATER " AND j.error IS NULL", "j.scheduled_at::timestamptz", NULL,
     NULL},
    {JOB_FAILED, "j.finished_at IS NOT NULL AND j.error IS NOT NULL", "j.finished_at::timestamptz", NULL,
     NULL},
    {JOB_DONE, "j.finished_at IS NOT NULL AND j.error IS NULL", "j.finished_at::timestamptz", NULL, NULL},
};
static const struct pg_layout good_job = {
    .name = "GoodJob 4",
    .requires = good_requires,
    .from = "@good_jobs AS j",
    .id_type = "uuid",
    .columns = {[PG_ID] = "j.id",
                [PG_TASK] = "j.job_class",
                [PG_QUEUE] = "coalesce(j.queue_name, 'default')",
                [PG_PRIORITY] = "j.priority",
                [PG_RETRIES] = "j.executions_count",
                [PG_ENQUEUED] = "j.created_at::timestamptz",
                [PG_ETA] = "CASE WHEN j.finished_at IS NULL THEN j.scheduled_at::timestamptz END",
                [PG_STARTED] = "j.performed_at::timestamptz",
                [PG_FINISHED] = "j.finished_at::timestamptz",
                [PG_WORKER] = "j.locked_by_id",
                [PG_EXCEPTION] = "split_part(j.error, ': ', 1)",
                [PG_MESSAGE] = "substr(j.error, length(split_part(j.error, ': ', 1)) + 3)",
                [PG_TRACE] =
                    "(SELECT to_jsonb(e) -> 'error_backtrace' ->> 0 FROM @good_job_executions AS e WHERE "
                    "j.error IS NOT NULL AND e.active_job_id = j.active_job_id ORDER BY e.created_at "
                    "DESC LIMIT 1)",
                [PG_ROOT] = "j.active_job_id",
                [PG_PERIODIC] = "j.cron_key IS NOT NULL"},
    .data = "(j.serialized_params -> 'arguments')",
    .tenant =
        "coalesce(j.serialized_params ->> 'tenant', " TENANT("(j.serialized_params -> 'arguments' -> 0)") ")",
    .row = "to_jsonb(j)",
    .secrets = ",serialized_params,",
    .states = good_states,
    .state_count = sizeof good_states / sizeof *good_states,
    .queues = "SELECT coalesce(j.queue_name, 'default'), count(*) FILTER (WHERE " GOOD_DUE
              "), count(*) FILTER (WHERE " GOOD_OPEN " AND " GOOD_LATER
              " AND j.error IS NULL), count(*) FILTER (WHERE " GOOD_OPEN " AND " GOOD_LATER
              " AND j.error IS NOT NULL),"
              " count(*) FILTER (WHERE j.finished_at IS NULL AND j.locked_by_id IS NOT NULL), NULL,"
              " count(*) FILTER (WHERE j.finished_at IS NOT NULL AND j.error IS NOT NULL), NULL,"
              " count(*) FILTER (WHERE j.finished_at IS NOT NULL AND j.error IS NULL), NULL,"
              " extract(epoch FROM now() - min(coalesce(j.scheduled_at, j.created_at)::timestamptz)"
              "   FILTER (WHERE " GOOD_DUE
              ")), extract(epoch FROM min(j.scheduled_at::timestamptz) FILTER (WHERE " GOOD_DUE
              "   AND j.scheduled_at > j.created_at + interval '1 s')),"
              " count(*) FILTER (WHERE j.created_at::timestamptz > " MINUTE
              "), count(*) FILTER (WHERE j.finished_at::timestamptz > " MINUTE "), NULL,"
              " count(*) FILTER (WHERE j.finished_at IS NULL AND j.locked_by_id IS NOT NULL AND p.id IS"
              " NULL) FROM @good_jobs AS j LEFT JOIN @good_job_processes AS p ON p.id = j.locked_by_id"
              " GROUP BY 1 ORDER BY 1 LIMIT 10001",
    .workers =
        "SELECT coalesce(p.state ->> 'proctitle', p.id::text), p.state ->> 'hostname',"
        " substring(p.state ->> 'pid' FROM '^[0-9]{1,9}$'),"
        " extract(epoch FROM p.updated_at::timestamptz), extract(epoch FROM p.created_at::timestamptz),"
        " NULL, (SELECT count(*) FROM @good_jobs AS j WHERE j.finished_at IS NULL"
        "   AND j.locked_by_id = p.id), NULL, NULL"
        " FROM @good_job_processes AS p ORDER BY 1 LIMIT 2000",
    .silent_s = 90,
    .workers_note = "from their signs of life in good_job_processes",
    .schedule =
        "SELECT j.cron_key, j.cron_key, min(j.job_class), 'text', 'in the application''s configuration',"
        " NULL, NULL, NULL, NULL, NULL, extract(epoch FROM max(j.cron_at)::timestamptz), NULL, NULL,"
        " NULL, NULL, NULL FROM @good_jobs AS j WHERE j.cron_key IS NOT NULL GROUP BY 1 ORDER BY 1"
        " LIMIT 5000",
};

/* ---- River ---- */

#define RIVER_ERROR "(j.errors[array_upper(j.errors, 1)])"

static const char *const river_requires[] = {"river_job.state",        "river_job.kind",
                                             "river_job.args",         "river_job.queue",
                                             "river_job.attempt",      "river_job.max_attempts",
                                             "river_job.attempted_at", "river_job.attempted_by",
                                             "river_job.errors",       "river_job.finalized_at",
                                             "river_job.scheduled_at", "river_job.priority",
                                             "river_queue.paused_at",  NULL};
static const struct pg_state river_states[] = {
    {JOB_READY, "j.state = 'available'", "j.scheduled_at", "j.priority", NULL},
    {JOB_RUNNING, "j.state = 'running'", "coalesce(j.attempted_at, j.created_at)", NULL, NULL},
    {JOB_RETRYING, "j.state = 'retryable'", "j.scheduled_at", NULL, NULL},
    {JOB_SCHEDULED, "j.state = 'scheduled'", "j.scheduled_at", NULL, NULL},
    {JOB_WAITING, "j.state = 'pending'", "j.scheduled_at", NULL, NULL},
    {JOB_FAILED, "j.state = 'discarded'", "coalesce(j.finalized_at, j.created_at)", NULL, NULL},
    {JOB_CANCELLED, "j.state = 'cancelled'", "coalesce(j.finalized_at, j.created_at)", NULL, NULL},
    {JOB_DONE, "j.state = 'completed'", "coalesce(j.finalized_at, j.created_at)", NULL, NULL},
};
static const struct pg_layout river = {
    .name = "River",
    .requires = river_requires,
    .from = "@river_job AS j",
    .id_type = "bigint",
    .columns = {[PG_ID] = "j.id",
                [PG_TASK] = "j.kind",
                [PG_QUEUE] = "j.queue",
                [PG_PRIORITY] = "j.priority",
                [PG_RETRIES] = "j.attempt",
                [PG_RETRIES_MAX] = "j.max_attempts",
                [PG_ENQUEUED] = "j.created_at",
                [PG_ETA] = "CASE WHEN j.finalized_at IS NULL THEN j.scheduled_at END",
                [PG_TAKEN] = "j.attempted_at",
                [PG_STARTED] = "j.attempted_at",
                [PG_FINISHED] = "j.finalized_at",
                [PG_WORKER] = "j.attempted_by[array_upper(j.attempted_by, 1)]",
                [PG_MESSAGE] = RIVER_ERROR " ->> 'error'",
                [PG_TRACE] = RIVER_ERROR " ->> 'trace'"},
    .data = "j.args",
    .row = "to_jsonb(j)",
    .secrets = ",args,",
    .states = river_states,
    .state_count = sizeof river_states / sizeof *river_states,
    .queues = "SELECT coalesce(c.queue, q.name), coalesce(c.ready, 0), coalesce(c.scheduled, 0),"
              " coalesce(c.retrying, 0), coalesce(c.running, 0), coalesce(c.waiting, 0),"
              " coalesce(c.failed, 0), NULL, coalesce(c.done, 0), q.paused_at IS NOT NULL,"
              " extract(epoch FROM now() - c.head), extract(epoch FROM c.eta), coalesce(c.came, 0),"
              " coalesce(c.went, 0), NULL, c.stuck FROM (SELECT j.queue,"
              " count(*) FILTER (WHERE j.state = 'available') AS ready,"
              "   count(*) FILTER (WHERE j.state = 'scheduled') AS scheduled,"
              " count(*) FILTER (WHERE j.state = 'retryable') AS retrying,"
              "   count(*) FILTER (WHERE j.state = 'running') AS running,"
              " count(*) FILTER (WHERE j.state = 'pending') AS waiting,"
              "   count(*) FILTER (WHERE j.state = 'discarded') AS failed,"
              " count(*) FILTER (WHERE j.state = 'completed') AS done,"
              "   min(j.scheduled_at) FILTER (WHERE j.state = 'available') AS head,"
              "   min(j.scheduled_at) FILTER (WHERE j.state = 'available'"
              "     AND j.scheduled_at > j.created_at + interval '1 s') AS eta,"
              "   count(*) FILTER (WHERE j.created_at > " MINUTE ") AS came,"
              "   count(*) FILTER (WHERE j.state IN ('completed', 'discarded') AND j.finalized_at > " MINUTE
              ") AS went,"
              "   count(*) FILTER (WHERE j.state = 'running' AND j.attempted_at < now() - interval '1"
              " hour') AS stuck"
              "   FROM @river_job AS j"
              " GROUP BY 1) AS c FULL JOIN @river_queue AS q ON q.name = c.queue ORDER BY 1 LIMIT 10001",
    .workers_note = "River keeps no record of its clients: only what runs is known",
    .part_absent = {[PART_SCHEDULE] = "periodic jobs of River are in the application's code"},
};

/* ---- django-tasks ---- */

/* No time is NULL, or the last day of the calendar in later versions. */
#define TASKS_NEW "j.status IN ('READY', 'NEW')"
#define TASKS_LATER "(j.run_after > now() AND j.run_after < '9000-01-01')"
#define TASKS_DONE "j.status IN ('SUCCESSFUL', 'SUCCEEDED', 'COMPLETE')"

static const char *const tasks_requires[] = {"django_tasks_database_dbtaskresult.status",
                                             "django_tasks_database_dbtaskresult.task_path",
                                             "django_tasks_database_dbtaskresult.args_kwargs",
                                             "django_tasks_database_dbtaskresult.queue_name",
                                             "django_tasks_database_dbtaskresult.priority",
                                             "django_tasks_database_dbtaskresult.run_after",
                                             "django_tasks_database_dbtaskresult.enqueued_at",
                                             "django_tasks_database_dbtaskresult.started_at",
                                             "django_tasks_database_dbtaskresult.finished_at",
                                             "django_tasks_database_dbtaskresult.exception_class_path",
                                             "django_tasks_database_dbtaskresult.traceback",
                                             NULL};
static const struct pg_state tasks_states[] = {
    {JOB_READY, TASKS_NEW " AND NOT coalesce(" TASKS_LATER ", false)", "j.enqueued_at", "(-j.priority)",
     NULL},
    {JOB_RUNNING, "j.status = 'RUNNING'", "coalesce(j.started_at, j.enqueued_at)", NULL, NULL},
    {JOB_SCHEDULED, TASKS_NEW " AND " TASKS_LATER, "j.run_after", NULL, NULL},
    {JOB_FAILED, "j.status = 'FAILED'", "coalesce(j.finished_at, j.enqueued_at)", NULL, NULL},
    {JOB_DONE, TASKS_DONE, "coalesce(j.finished_at, j.enqueued_at)", NULL, NULL},
};
static const struct pg_layout django_tasks = {
    .name = "django-tasks",
    .requires = tasks_requires,
    .from = "@django_tasks_database_dbtaskresult AS j",
    .id_type = "uuid",
    .columns = {[PG_ID] = "j.id",
                [PG_TASK] = "j.task_path",
                [PG_QUEUE] = "j.queue_name",
                [PG_PRIORITY] = "j.priority",
                [PG_ENQUEUED] = "j.enqueued_at",
                [PG_ETA] =
                    "CASE WHEN j.run_after < '9000-01-01' AND j.finished_at IS NULL THEN j.run_after END",
                [PG_STARTED] = "j.started_at",
                [PG_FINISHED] = "j.finished_at",
                [PG_WORKER] = "to_jsonb(j) -> 'worker_ids' ->> -1",
                [PG_EXCEPTION] = "nullif(j.exception_class_path, '')",
                [PG_MESSAGE] = "nullif(regexp_replace(rtrim(j.traceback, E' \\n'), '^.*\\n', ''), '')",
                [PG_TRACE] = "j.traceback"},
    .data = "j.args_kwargs",
    .tenant = "coalesce(" TENANT("(j.args_kwargs -> 'kwargs')") ")",
    .row = "to_jsonb(j)",
    .secrets = ",args_kwargs,return_value,metadata,",
    .states = tasks_states,
    .state_count = sizeof tasks_states / sizeof *tasks_states,
    .queues =
        "SELECT j.queue_name, count(*) FILTER (WHERE " TASKS_NEW " AND NOT coalesce(" TASKS_LATER
        ", false)), count(*) FILTER (WHERE " TASKS_NEW " AND " TASKS_LATER
        "), NULL, count(*) FILTER (WHERE j.status = 'RUNNING'), NULL,"
        " count(*) FILTER (WHERE j.status = 'FAILED'), NULL, count(*) FILTER (WHERE " TASKS_DONE "), NULL,"
        " extract(epoch FROM now() - min(CASE WHEN j.run_after < '9000-01-01' THEN j.run_after"
        "   ELSE j.enqueued_at END) FILTER (WHERE " TASKS_NEW " AND NOT coalesce(" TASKS_LATER
        ", false))), extract(epoch FROM min(j.run_after) FILTER (WHERE " TASKS_NEW
        " AND j.run_after <= now())), count(*) FILTER (WHERE j.enqueued_at > " MINUTE
        "), count(*) FILTER (WHERE j.finished_at > " MINUTE
        "), NULL, NULL FROM @django_tasks_database_dbtaskresult AS j"
        " GROUP BY 1 ORDER BY 1 LIMIT 10001",
    .workers_note = "django-tasks keeps no record of its workers: only what runs is known",
    .part_absent = {[PART_SCHEDULE] = "django-tasks has no schedule"},
};

/* ---- the adapters ---- */

static void take(struct queue_search *search, const struct queue_place *place,
                 const struct pg_catalog *catalog, struct error *error, const struct queue_adapter *adapter,
                 const struct pg_layout *layout)
{
    const char *wanted = place->settings ? place->settings->schema : NULL;
    size_t count;
    const char **schemas = pg_catalog_schemas(NULL, catalog, &count);
    for (size_t i = 0; i < count; i++) {
        const char *missing = NULL;
        bool some = false;
        if (wanted && strcmp(wanted, schemas[i]) != 0)
            continue;
        if (pg_catalog_has_all(catalog, schemas[i], layout->requires, &missing, &some))
            queue_search_found(search, &pg_jobs_new(search, adapter, layout, catalog, &schemas[i], 1)->base);
        else if (some)
            error_set(error, ERROR_UNSUPPORTED, pg_server_name(place->postgres),
                      "its tables are of a version that is not known", NULL,
                      "%s in schema %s: there is no %s", layout->name, schemas[i], missing);
    }
    talloc_free(schemas);
}

#define ADAPTER(NAME, ID, TITLE)                                                                             \
    static void take_##NAME(struct queue_search *search, const struct queue_place *place,                    \
                            const struct pg_catalog *catalog, struct error *error)                           \
    {                                                                                                        \
        take(search, place, catalog, error, &NAME##_adapter, &(NAME));                                       \
    }                                                                                                        \
    static void search_##NAME(struct queue_search *search, const struct queue_place *place)                  \
    {                                                                                                        \
        pg_catalog_search(search, place, take_##NAME);                                                       \
    }                                                                                                        \
    const struct queue_adapter NAME##_adapter = {                                                            \
        .id = (ID),                                                                                          \
        .title = (TITLE),                                                                                    \
        .where = ON_POSTGRES,                                                                                \
        .intervals = {[PART_QUEUES] = 5, [PART_WORKERS] = 5, [PART_FAILURES] = 15, [PART_SCHEDULE] = 30},    \
        .search = search_##NAME,                                                                             \
        .part_absent = pg_jobs_part_absent,                                                                  \
        .act_absent = pg_jobs_act_absent,                                                                    \
        .ask = pg_jobs_ask,                                                                                  \
        .read = pg_jobs_read,                                                                                \
        .stop = pg_jobs_stop,                                                                                \
        .forsake = pg_jobs_forsake,                                                                          \
        .job = pg_jobs_job,                                                                                  \
        .prepare = pg_jobs_prepare,                                                                          \
        .forsake_prepare = pg_jobs_forsake_prepare,                                                          \
    }

ADAPTER(procrastinate, "procrastinate", "Procrastinate");
ADAPTER(solid_queue, "solid_queue", "Solid Queue");
ADAPTER(good_job, "good_job", "GoodJob");
ADAPTER(river, "river", "River");
ADAPTER(django_tasks, "django-tasks", "django-tasks");
