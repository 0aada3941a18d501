/* What a file says that is not wrong but may not be meant: names that nothing here knows. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"

struct doubter {
    const struct environment *environment;
    struct error_list *doubts;
    char **patterns; /* of ssh_config, wildcards too */
    size_t pattern_count;
};

static void doubt(struct doubter *doubter, const char *section, const char *name, const char *key,
                  const char *todo, const char *value, const char *why)
{
    char what[192];
    snprintf(what, sizeof what, "%s.%s%s%s", section, name, *key ? "." : "", key);
    error_list_set(doubter->doubts, ERROR_CONFIG, doubter->environment->name, what, todo, "%s%s%s", value,
                   *value ? " " : "", why);
}

/* A name with a dot, an address or a user is a destination of its own. */
static bool is_known_destination(const struct doubter *doubter, const char *via)
{
    bool known = strpbrk(via, ".@:") || environment_find_host(doubter->environment, via);
    for (size_t i = 0; i < doubter->pattern_count && !known; i++)
        known = strcmp(doubter->patterns[i], "*") != 0 && fnmatch(doubter->patterns[i], via, 0) == 0;
    return known;
}

static void check_via(struct doubter *doubter, const char *section, const char *name, const char *via)
{
    if (via && !is_known_destination(doubter, via))
        doubt(doubter, section, name, "via", "ssh will look it up as a name of the network", via,
              "is not one of hosts: and no Host entry of ssh_config");
}

/* A group, or a host where that is meant too. */
static void check_group(struct doubter *doubter, const char *section, const char *name, const char *key,
                        const char *group, bool or_host)
{
    const struct environment *environment = doubter->environment;
    bool known = !group || (or_host && environment_find_host(environment, group));
    for (size_t i = 0; i < environment->host_count && !known; i++)
        known = environment->hosts[i].group && strcmp(environment->hosts[i].group, group) == 0;
    if (!known)
        doubt(doubter, section, name, key, NULL, group,
              or_host ? "is neither a host nor the group of one" : "is the group of no host");
}

static void check_url(struct doubter *doubter, const struct environment_url *url)
{
    const struct environment *environment = doubter->environment;
    if (url->from && !environment_find_host(environment, url->from))
        doubt(doubter, "urls", url->name, "from", NULL, url->from, "is not one of hosts:");
    if (strstr(url->url, "{domain}") && !url->domain_count && !environment->tenancy.domains)
        doubt(doubter, "urls", url->name, "url",
              "Add domains: [tenant1.example.com], or tenancy: {domains: public.tenants_domain}", "{domain}",
              "stands for nothing");
}

void environment_doubts(const struct environment *environment, struct error_list *doubts)
{
    struct doubter doubter = {.environment = environment, .doubts = doubts};
    void *scratch = environment_must(talloc_new(NULL));
    doubter.patterns =
        environment_ssh_config_names(scratch, environment->ssh.config, true, &doubter.pattern_count);
    for (size_t i = 0; i < environment->server_count; i++)
        check_via(&doubter, "postgres", environment->servers[i].name, environment->servers[i].via);
    for (size_t i = 0; i < environment->redis_count; i++)
        check_via(&doubter, "redis", environment->redis[i].name, environment->redis[i].via);
    for (size_t i = 0; i < environment->wildcard_count; i++)
        doubt(&doubter, "hosts", environment->wildcards[i], "", NULL, "",
              "matches no Host entry of ssh_config");
    for (size_t i = 0; i < environment->url_count; i++)
        check_url(&doubter, &environment->urls[i]);
    for (size_t i = 0; i < environment->log_count; i++)
        check_group(&doubter, "logs", environment->logs[i].name, "group", environment->logs[i].group, false);
    for (size_t i = 0; i < environment->runbook_count; i++)
        check_group(&doubter, "runbooks", environment->runbooks[i].name, "hosts",
                    environment->runbooks[i].hosts, true);
    talloc_free(scratch);
}
