/* The table of sub-commands. */
#include "panels/access_command.h"
#include "panels/audit_command.h"
#include "panels/batch.h"
#include "panels/config_command.h"
#include "panels/console.h"
#include "panels/explain_command.h"
#include "panels/session_command.h"

#define WHERE "environment postgres server"

/* The words of a command that reads its own: its name, then the options that it takes, as they were given. */
static int run_with_words(const struct options *options, const char *name, int (*run)(int argc, char **argv))
{
    char *words[OPTIONS_ARGUMENTS + 16] = {(char *)name};
    char limit[32];
    int count = 1;
    for (size_t i = 0; i < options->argument_count; i++)
        words[count++] = (char *)options->arguments[i];
    const struct {
        const char *name, *value;
    } values[] = {{"-e", options->environment}, {"--reason", options->reason}, {"--head", options->head}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].value) {
            words[count++] = (char *)values[i].name;
            words[count++] = (char *)values[i].value;
        }
    if (options->limit) {
        snprintf(limit, sizeof limit, "%ld", options->limit);
        words[count++] = "--limit";
        words[count++] = limit;
    }
    if (options->json || options->csv || options->plain)
        words[count++] = options->json ? "--json" : options->csv ? "--csv" : "--plain";
    return run(count, words);
}

static int run_explain(const struct options *options)
{
    return run_with_words(options, "explain", explain_command);
}
static int run_unlock(const struct options *options)
{
    return run_with_words(options, "unlock", access_command);
}
static int run_lock(const struct options *options)
{
    return run_with_words(options, "lock", access_command);
}
static int run_audit(const struct options *options)
{
    return run_with_words(options, "audit", audit_command);
}
static int run_config(const struct options *options)
{
    return run_with_words(options, "config", config_command);
}

static int queries_command(const struct options *options)
{
    return batch_panel(panel_find("queries"), options);
}

const struct command commands[] = {
    {NULL, NULL, "the console", WHERE " keymap ascii mono view", console_run},
    {"queries", NULL, "statements, activity or locks (--view), as the Queries panel shows them",
     WHERE " view json csv plain interval watch", queries_command},
    {"explain", "FILE",
     "where the time of a plan went: EXPLAIN (FORMAT JSON) from a file or - for standard input", "json plain",
     run_explain},
    {"cancel", "PID@START",
     "cancel the statement of a session; the rows of queries --view activity have its id",
     WHERE " reason dry-run yes", session_cancel_command},
    {"terminate", "PID@START", "end a session", WHERE " reason dry-run yes", session_terminate_command},
    {"unlock", NULL, "allow changes in the environment for 30 minutes", "environment reason", run_unlock},
    {"lock", NULL, "allow no changes in the environment from now on", "environment reason", run_lock},
    {"audit", "[verify]", "what was done from here; verify walks the chain of hashes",
     "environment json csv plain limit head", run_audit},
    {"config", "check", "read the environment files and tell every error at once", "environment", run_config},
};
const size_t command_count = sizeof commands / sizeof *commands;
