#include "panels/config_command.h"

#include <stdio.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/environment.h"
#include "core/files.h"
#include "core/secret.h"
#include "core/text.h"
#include "core/units.h"
#include "keymaps/keymap.h"
#include "panels/panel.h"

/* "  watch  host=db1 ..." made safe and without a password; nothing when there is no such value. */
static void print_value(const char *indent, const char *name, const char *value)
{
    if (!value)
        return;
    char *masked = secret_mask_dsn(NULL, value);
    char *safe = safe_text_new(masked, masked);
    printf("%s%-8s %s\n", indent, name, safe);
    talloc_free(masked);
}

static void print_servers(const struct environment *environment)
{
    for (size_t i = 0; i < environment->server_count; i++) {
        const struct environment_server *server = &environment->servers[i];
        printf("  postgres %s\n", server->name);
        print_value("    ", "watch", server->watch);
        print_value("    ", "read", server->read);
        print_value("    ", "act", server->act);
        print_value("    ", "via", server->via);
        if (server->database_count)
            printf("    databases");
        for (size_t j = 0; j < server->database_count; j++)
            printf("%s %s", j ? "," : "", server->databases[j]);
        if (server->database_count)
            putchar('\n');
        if (!server->read)
            printf("    no read: no EXPLAIN and no pg_stats\n");
        if (!server->act)
            printf("    no act: nothing can be cancelled or ended\n");
    }
}

static void print_duration(const char *name, double seconds)
{
    char text[32];
    printf("    %-12s %s\n", name,
           seconds < 1 ? format_ms(text, sizeof text, seconds * 1000) : format_s(text, sizeof text, seconds));
}

static void print_policy(const struct environment_policy *policy)
{
    printf("  policy\n");
    print_duration("rpo", policy->rpo);
    print_duration("rto", policy->rto);
    print_duration("retention", policy->retention);
    print_duration("api_latency", policy->api_latency);
    print_duration("backup", policy->backup);
    print_duration("full_backup", policy->full_backup);
    print_duration("restore_test", policy->restore_test);
    print_duration("rotation", policy->rotation);
}

static void print_hosts(const struct environment *environment)
{
    const struct environment_ssh *ssh = &environment->ssh;
    bool tunnels = false;
    for (size_t i = 0; i < environment->server_count; i++)
        tunnels |= environment->servers[i].via != NULL;
    for (size_t i = 0; i < environment->redis_count; i++)
        tunnels |= environment->redis[i].via != NULL;
    if (environment->host_count || tunnels) {
        printf("  ssh %s\n", ssh->transport);
        print_value("    ", "config", ssh->config);
    }
    if (environment->host_count) {
        print_duration("fast", ssh->fast_s);
        print_duration("medium", ssh->medium_s);
        print_duration("slow", ssh->slow_s);
        print_value("    ", "release", ssh->release);
    }
    for (size_t i = 0; i < environment->host_count; i++) {
        const struct environment_host *host = &environment->hosts[i];
        printf("  host %s\n", host->name);
        print_value("    ", "group", host->group);
        print_value("    ", "ssh", host->ssh);
    }
}

static void print_services(const struct environment *environment)
{
    for (size_t i = 0; i < environment->url_count; i++) {
        const struct environment_url *url = &environment->urls[i];
        printf("  url %s\n    expect   %d\n", url->name, url->expect);
        print_value("    ", "url", url->url);
        print_value("    ", "from", url->from);
        for (size_t j = 0; j < url->domain_count; j++)
            print_value("    ", "domain", url->domains[j]);
    }
    for (size_t i = 0; i < environment->jobs_count; i++) {
        const struct environment_jobs *jobs = &environment->jobs[i];
        printf("  jobs %s: %s on %s\n", jobs->name, jobs->system,
               jobs->redis      ? jobs->redis
               : jobs->postgres ? jobs->postgres
                                : jobs->host);
        print_value("    ", "prefix", jobs->prefix);
        print_value("    ", "schema", jobs->schema);
        print_value("    ", "results", jobs->results);
        for (size_t j = 0; j < jobs->queue_count; j++)
            print_value("    ", "queue", jobs->queues[j]);
    }
    for (size_t i = 0; i < environment->log_count; i++) {
        const struct environment_log *log = &environment->logs[i];
        printf("  log %s\n", log->name);
        print_value("    ", "path", log->path);
        print_value("    ", "unit", log->unit);
        print_value("    ", "container", log->container);
        print_value("    ", "format", log->format);
        print_value("    ", "group", log->group);
    }
    for (size_t i = 0; i < environment->runbook_count; i++) {
        const struct environment_runbook *runbook = &environment->runbooks[i];
        printf("  runbook %s\n", runbook->name);
        print_value("    ", "help", runbook->help);
        print_value("    ", "hosts", runbook->hosts);
        for (size_t j = 0; j < runbook->step_count; j++) {
            print_value("    ", "run", runbook->steps[j].run);
            print_value("    ", "undo", runbook->steps[j].undo);
        }
    }
}

static void print_environment(const struct environment *environment)
{
    char *path = safe_text_new(NULL, environment->path);
    printf("%s: ok\n", path);
    talloc_free(path);
    printf("  %s: %s, %s, %s\n", environment->name, environment->title,
           environment_kind_name(environment->kind), environment->access.locked ? "locked" : "open");
    print_servers(environment);
    for (size_t i = 0; i < environment->redis_count; i++) {
        printf("  redis %s\n", environment->redis[i].name);
        print_value("    ", "url", environment->redis[i].url);
        print_value("    ", "act", environment->redis[i].act);
        print_value("    ", "master", environment->redis[i].master);
        print_value("    ", "via", environment->redis[i].via);
    }
    print_hosts(environment);
    print_services(environment);
    if (environment->tenancy.model != TENANCY_NONE)
        printf("  tenancy %s\n", tenancy_model_name(environment->tenancy.model));
    print_value("    ", "registry", environment->tenancy.registry);
    print_value("    ", "domains", environment->tenancy.domains);
    print_policy(&environment->policy);
}

static size_t print_errors(const struct error_list *errors)
{
    char *text = error_list_text(NULL, errors);
    fputs(text, stderr);
    talloc_free(text);
    return errors->count + errors->dropped;
}

static size_t check_one(const char *name)
{
    struct error_list *errors = error_list_new(NULL);
    /* "config check prod.yaml" means the file right here; -e never reads one that happens to lie around. */
    const char *dot = strrchr(name, '.');
    if (!strchr(name, '/') && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        name = talloc_asprintf(errors, "./%s", name);
    struct environment *environment = environment_load(errors, name, errors);
    if (environment) {
        struct error_list *doubts = error_list_new(errors);
        print_environment(environment);
        environment_doubts(environment, doubts);
        char *text = error_list_text(doubts, doubts);
        fputs(text, stderr);
    }
    size_t count = print_errors(errors);
    talloc_free(errors);
    return count;
}

/* The user's own keys, on top of the keymap that the console would open with. */
static size_t check_keymap(const char *base)
{
    struct error_list *errors = error_list_new(NULL);
    size_t action_count;
    const struct action **actions = panel_actions(errors, &action_count);
    char *path = files_config_path(errors, "keymap");
    if (keymap_load(errors, base, path, actions, action_count, errors) && access(path, F_OK) == 0) {
        char *safe = safe_text_new(errors, path);
        printf("%s: ok\n", safe);
    }
    size_t count = print_errors(errors);
    talloc_free(errors);
    return count;
}

static size_t check_all(const struct options *options)
{
    size_t count, wrong = check_keymap(options->keymap);
    char **names = environment_names(NULL, &count);
    for (size_t i = 0; i < count; i++)
        wrong += check_one(names[i]);
    if (!count)
        printf("There is no environment file. signalbox postgresql://... works without one.\n");
    talloc_free(names);
    return wrong;
}

int config_command(const struct options *options)
{
    if (options->argument_count < 1 || strcmp(options->arguments[0], "check") != 0) {
        fprintf(stderr, "usage: signalbox config check [NAME | ./FILE.yaml]...\n");
        return 2;
    }
    size_t wrong = options->environment           ? check_one(options->environment)
                   : options->argument_count == 1 ? check_all(options)
                                                  : 0;
    for (size_t i = 1; i < options->argument_count; i++)
        wrong += check_one(options->arguments[i]);
    return wrong > 255 ? 255 : (int)wrong;
}
