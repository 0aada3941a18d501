/* The table of sub-commands. */
#include "panels/access_command.h"
#include "panels/audit_command.h"
#include "panels/batch.h"
#include "panels/config_command.h"
#include "panels/console.h"
#include "panels/explain_command.h"
#include "panels/hosts_command.h"
#include "panels/jobs_command.h"
#include "panels/logs_command.h"
#include "panels/redis.h"
#include "panels/run_command.h"
#include "panels/session_command.h"

#define WHERE "environment postgres server"

static int queries_command(const struct options *options)
{
    return batch_panel(panel_find("queries"), options);
}

/* The number of errors is for people; scripts get one exit status for "a file is wrong". */
static int config(const struct options *options)
{
    return config_command(options) ? 2 : 0;
}

const struct command commands[] = {
    {NULL, NULL, "the console", WHERE " ssh redis keymap ascii mono no-state view", console_run},
    {"queries", NULL, "statements, activity or locks (--view), as the Queries panel shows them",
     WHERE " view json csv plain interval watch", queries_command},
    {"jobs", "[ACT]",
     "queues of every job system, their jobs (--view jobs --queue NAME), workers, failures, schedule; with "
     "ACT "
     "(pause, resume, park, unpark, neutralise, retry, requeue, discard, purge, restore, revoke, terminate, "
     "rate-limit, pool, drain, ask, tenant-aside, tenant-back, schedule-enable ...) a change",
     WHERE
     " redis ssh view json csv plain watch queue filter from limit system tenant worker task entry argument "
     "reason dry-run yes",
     jobs_command},
    {"redis", NULL,
     "the Redis servers, or the one of --server: overview, keyspace, tenants, bigkeys, clients, slowlog, "
     "latency, "
     "streams, channels (--view)",
     "environment redis ssh server view json csv plain watch", redis_command},
    {"hosts", "[NAME]", "the servers over SSH: a row a host; with NAME and --json that host in full",
     WHERE " ssh view json csv plain watch no-state", hosts_command},
    {"logs", NULL, "lines of logs of hosts, merged by time",
     "environment ssh hosts source grep since limit json plain", logs_command},
    {"explain", "FILE",
     "where the time of a plan went: EXPLAIN (FORMAT JSON) from a file or - for standard input", "json plain",
     explain_command},
    {"cancel", "PID@START",
     "cancel the statement of a session; the rows of queries --view activity have its id",
     WHERE " reason dry-run yes", session_cancel_command},
    {"terminate", "PID@START", "end a session", WHERE " reason dry-run yes", session_terminate_command},
    {"run", "-- COMMAND",
     "a command, or a runbook, on hosts: previewed, one after the other, stopped at the first failure",
     "environment ssh hosts runbook batch deadline reason dry-run yes force", run_command},
    {"unlock", NULL, "allow changes in the environment for 30 minutes", "environment reason", unlock_command},
    {"lock", NULL, "allow no changes in the environment from now on", "environment reason", lock_command},
    {"audit", "[verify]", "what was done from here; verify walks the chain of hashes",
     "environment json csv plain limit head", audit_command},
    {"config", "check", "read the environment files and tell every error at once", "environment", config},
};
const size_t command_count = sizeof commands / sizeof *commands;
