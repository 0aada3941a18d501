#include "panels/hosts_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/suggest.h"

struct host_place hosts_place(struct app *app, const void *context, struct host *host)
{
    const struct host_snapshot *snapshot = host_latest(host);
    return (struct host_place){
        .environment = talloc_strdup(context, app->environment->name),
        .host = talloc_strdup(context, host_name(host)),
        .login = host_login(context, ssh_host_address(host_ssh(host))),
        .init = snapshot && snapshot->init ? talloc_strdup(context, snapshot->init) : NULL,
        .ssh = host_ssh(host),
    };
}

/* ---- who is well ---- */

/* It answers, and nothing critical is known of it. `why` is borrowed until the next turn of the loop. */
static bool is_healthy(struct host *host, const char **why)
{
    const struct host_snapshot *snapshot = host_latest(host);
    const struct feed *feed = host_feed(host, HOST_FAST);
    *why = NULL;
    if (ssh_host_state(host_ssh(host)) == CONNECTION_DOWN) {
        *why = ssh_host_error(host_ssh(host))->why[0] ? ssh_host_error(host_ssh(host))->why : "no connection";
        return false;
    }
    if (!snapshot || feed->state != FEED_LIVE) {
        *why = "no answer";
        return false;
    }
    if (snapshot->state == HOST_CRITICAL)
        *why = snapshot->problem_count ? snapshot->problems[0].text : "critical";
    return snapshot->state == HOST_OK || snapshot->state == HOST_WARNING;
}

static bool same_group(const struct host *a, const struct host *b)
{
    return host_group(a) && host_group(b) && strcmp(host_group(a), host_group(b)) == 0;
}

static bool is_among(struct host *const *hosts, size_t count, const struct host *host)
{
    for (size_t i = 0; i < count; i++)
        if (hosts[i] == host)
            return true;
    return false;
}

/* The others of the group, those that go down too left out. */
struct rule {
    struct host_reboot reboot;
    struct fleet *fleet;
    struct host *host;
    struct host *const *going;
    size_t going_count;
};

static size_t find_peers(void *data, struct host_peer *peers, size_t room)
{
    const struct rule *rule = data;
    size_t count = 0;
    for (size_t i = 0; i < fleet_count(rule->fleet) && count < room; i++) {
        struct host *other = fleet_host(rule->fleet, i);
        if (other == rule->host || !same_group(other, rule->host))
            continue;
        peers[count].name = host_name(other);
        peers[count].healthy = is_healthy(other, &peers[count].why);
        if (is_among(rule->going, rule->going_count, other)) {
            peers[count].healthy = false;
            peers[count].why = "goes down too";
        }
        count++;
    }
    return count;
}

static struct rule *rule_new(struct app *app, const void *context, struct host *host)
{
    struct rule *rule = talloc_zero(context, struct rule);
    rule->fleet = app->fleet;
    rule->host = host;
    rule->reboot = (struct host_reboot){
        .grouped = host_group(host) != NULL, .group = host_group(host), .peers = find_peers, .data = rule};
    return rule;
}

struct host_reboot *hosts_reboot_rule(struct app *app, const void *context, struct host *host)
{
    return &rule_new(app, context, host)->reboot;
}

bool hosts_may_go_down(struct app *app, struct host *const *hosts, size_t count, struct error *error)
{
    void *context = talloc_new(NULL);
    bool may = true;
    for (size_t i = 0; i < count && may; i++) {
        struct rule *rule = rule_new(app, context, hosts[i]);
        struct host_place place = hosts_place(app, context, hosts[i]);
        rule->going = hosts;
        rule->going_count = count;
        may = host_reboot_allowed(&place, &rule->reboot, error);
    }
    talloc_free(context);
    return may;
}

/* ---- names ---- */

struct named {
    struct host **hosts;
    size_t count;
};

static void add_host(struct named *named, struct host *host)
{
    if (is_among(named->hosts, named->count, host))
        return;
    named->hosts = talloc_realloc(NULL, named->hosts, struct host *, named->count + 1);
    if (!named->hosts)
        abort();
    named->hosts[named->count++] = host;
}

/* A host of that name, else all of that group. */
static bool add_named(struct app *app, struct named *named, const char *name)
{
    struct host *host = fleet_find(app->fleet, name);
    size_t before = named->count;
    if (host) {
        add_host(named, host);
        return true;
    }
    bool found = false;
    for (size_t i = 0; i < fleet_count(app->fleet); i++) {
        struct host *member = fleet_host(app->fleet, i);
        const char *group = host_group(member);
        if (strcmp(name, "all") == 0 || (group && strcmp(group, name) == 0)) {
            add_host(named, member);
            found = true;
        }
    }
    return found || named->count > before;
}

static bool unknown_name(struct app *app, const char *name, struct error *error)
{
    char known[256] = "";
    for (size_t i = 0; i < fleet_count(app->fleet); i++) {
        size_t length = strlen(known);
        if (length + 64 > sizeof known) {
            snprintf(known + length, sizeof known - length, " ...");
            break;
        }
        snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "",
                 host_name(fleet_host(app->fleet, i)));
    }
    char todo[320];
    snprintf(todo, sizeof todo,
             known[0] ? "There are: %s." : "%sName hosts in the environment file, or with --ssh.", known);
    return error_set(error, ERROR_USAGE, app->environment->name, "which hosts?", todo,
                     "\"%s\" is neither a host nor a group", name);
}

struct host **hosts_named(struct app *app, const void *context, const char *names, size_t *count,
                          struct error *error)
{
    struct named named = {0};
    char *words = talloc_strdup(NULL, names), *rest = NULL;
    bool known = true;
    for (char *name = strtok_r(words, ", ", &rest); name && known; name = strtok_r(NULL, ", ", &rest))
        known = add_named(app, &named, name) || unknown_name(app, name, error);
    if (known && !named.count)
        known = error_set(error, ERROR_USAGE, app->environment->name, "which hosts?",
                          "Name a group, or hosts with commas between them.", "none is named");
    talloc_free(words);
    if (!known)
        TALLOC_FREE(named.hosts);
    *count = named.count;
    return talloc_steal(context, named.hosts);
}
