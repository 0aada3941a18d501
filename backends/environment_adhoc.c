/* Environments without a file: from DSNs and SSH destinations on the command line, or from libpq's own
 * variables. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "backends/redis/url.h"
#include "core/secret.h"
#include "core/text.h"

/* What libpq will use for a keyword: what the DSN says, else what variables, service file and defaults say.
 */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val && *option->val ? option->val : NULL;
    return NULL;
}

/* "db1/app", "local/app" for a Unix socket, "prod" for a service, whose host only libpq knows. */
static char *name_server(const void *context, const PQconninfoOption *given, const PQconninfoOption *defaults,
                         bool with_port)
{
    const char *service = value_of(given, "service");
    const PQconninfoOption *rest = service ? NULL : defaults;
    const char *candidates[] = {value_of(given, "host"), value_of(given, "hostaddr"), service,
                                value_of(rest, "host"),  value_of(rest, "hostaddr"),  "local"};
    const char *host = NULL, *database = value_of(given, "dbname"), *port = value_of(given, "port");
    for (size_t i = 0; !host; i++)
        host = candidates[i];
    if (*host == '/' || *host == '@')
        host = "local";
    if (!database)
        database = value_of(rest, "dbname");
    if (!database && !service)
        database = value_of(given, "user") ? value_of(given, "user") : value_of(rest, "user");
    if (!port)
        port = value_of(rest, "port");
    char *name = environment_must(talloc_asprintf(NULL, "%s%s%s%s%s", host, with_port && port ? ":" : "",
                                                  with_port && port ? port : "", database ? "/" : "",
                                                  database ? database : ""));
    char *safe = environment_must(safe_text_new(context, name));
    talloc_free(name);
    return safe;
}

static bool is_taken(const struct environment_server *servers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(servers[i].name, name) == 0)
            return true;
    return false;
}

static char *name_uniquely(const struct environment_server *servers, size_t count,
                           const PQconninfoOption *given, const PQconninfoOption *defaults)
{
    char *name = name_server(servers, given, defaults, false);
    if (!is_taken(servers, count, name))
        return name;
    name = name_server(servers, given, defaults, true);
    const char *base = name;
    for (size_t number = 2; is_taken(servers, count, name); number++)
        name = environment_must(talloc_asprintf(servers, "%s-%zu", base, number));
    return name;
}

static bool refuse_dsn(const char *dsn, const char *message, struct error_list *errors)
{
    /* libpq quotes what it did not understand, which may be the password. */
    char *masked = environment_must(secret_mask_dsn(NULL, dsn));
    bool quote = message && strcmp(masked, dsn) == 0;
    error_list_set(errors, ERROR_USAGE, masked, "not a DSN",
                   "Write postgresql://user@host:port/database or \"host=... dbname=...\"", "%s",
                   quote ? message : "libpq does not understand it");
    talloc_free(masked);
    return false;
}

static bool add_servers(struct environment *environment, const char *const dsns[], size_t count,
                        struct error_list *errors)
{
    struct environment_server *servers =
        environment_must(talloc_zero_array(environment, struct environment_server, count));
    environment->servers = servers;
    PQconninfoOption *defaults = PQconndefaults();
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        char *message = NULL;
        PQconninfoOption *given = PQconninfoParse(dsns[i], &message);
        if (given) {
            char *dsn = environment_must(talloc_strdup(servers, dsns[i]));
            char *name = name_uniquely(servers, environment->server_count, given, defaults);
            servers[environment->server_count++] =
                (struct environment_server){.name = name, .watch = dsn, .read = dsn, .act = dsn};
        } else {
            good = refuse_dsn(dsns[i], message, errors);
        }
        PQfreemem(message);
        PQconninfoFree(given);
    }
    PQconninfoFree(defaults);
    return good;
}

/* The host in [ssh://][user@]host[:port]. */
static char *name_host(const void *context, const char *destination)
{
    const char *host = strncmp(destination, "ssh://", 6) == 0 ? destination + 6 : destination;
    const char *at = strrchr(host, '@');
    host = at ? at + 1 : host;
    size_t length = strcspn(host, "/");
    if (*host == '[') {
        host++;
        length = strcspn(host, "]");
    } else if (memchr(host, ':', length) == memrchr(host, ':', length)) {
        length = strcspn(host, ":/");
    }
    char *name = environment_must(talloc_strndup(NULL, host, length));
    char *safe = environment_must(safe_text_new(context, name));
    talloc_free(name);
    return safe;
}

static bool add_hosts(struct environment *environment, const char *const destinations[], size_t count,
                      struct error_list *errors)
{
    struct environment_host *hosts =
        environment_must(talloc_zero_array(environment, struct environment_host, count));
    bool good = true;
    environment->hosts = hosts;
    for (size_t i = 0; i < count; i++) {
        char *base = name_host(hosts, destinations[i]), *name = base;
        if (!environment_is_destination(destinations[i]) || !*base) {
            good = error_list_set(errors, ERROR_USAGE, destinations[i], "not an SSH destination",
                                  "Write HOST, USER@HOST or USER@HOST:PORT", "ssh cannot be called with it");
            continue;
        }
        bool twice = false;
        for (size_t j = 0; j < environment->host_count; j++)
            twice |= strcmp(hosts[j].ssh, destinations[i]) == 0;
        for (size_t number = 2; environment_find_host(environment, name); number++)
            name = environment_must(talloc_asprintf(hosts, "%s-%zu", base, number));
        if (!twice)
            hosts[environment->host_count++] = (struct environment_host){
                .name = name, .ssh = environment_must(talloc_strdup(hosts, destinations[i]))};
    }
    return good;
}

static const struct environment_redis *find_redis(const struct environment *environment, const char *name)
{
    for (size_t i = 0; i < environment->redis_count; i++)
        if (strcmp(environment->redis[i].name, name) == 0)
            return &environment->redis[i];
    return NULL;
}

/* "redis1/0": as Postgres servers are named; with the port where it is not the usual one. */
static const char *name_redis(const struct environment *environment, const void *context,
                              const struct redis_url *url)
{
    const struct redis_place *place = &url->places[0];
    const char *host = place->path ? "local" : place->host;
    char *name = environment_must(talloc_asprintf(context, "%s", host));
    if (!place->path && place->port != REDIS_PORT)
        name = environment_must(talloc_asprintf_append(name, ":%d", place->port));
    name = environment_must(talloc_asprintf_append(name, "/%d", url->database));
    const char *base = name;
    for (size_t number = 2; find_redis(environment, name); number++)
        name = environment_must(talloc_asprintf(context, "%s-%zu", base, number));
    return name;
}

static bool add_redis(struct environment *environment, const char *const urls[], size_t count,
                      struct error_list *errors)
{
    struct environment_redis *redis =
        environment_must(talloc_zero_array(environment, struct environment_redis, count));
    bool good = true;
    environment->redis = redis;
    for (size_t i = 0; i < count; i++) {
        struct redis_url url;
        struct error error = {0};
        if (!redis_url_parse(redis, urls[i], &url, &error)) {
            good = error_list_set(errors, ERROR_USAGE, "--redis", error.what, error.todo, "%s", error.why);
            continue;
        }
        const char *text = environment_must(talloc_strdup(redis, urls[i]));
        redis[environment->redis_count] = (struct environment_redis){
            .name = name_redis(environment, redis, &url), .url = text, .act = text};
        environment->redis_count++;
    }
    return good;
}

static char *add_to_title(char *title, size_t count, const char *one, const char *many)
{
    if (!count)
        return title;
    return environment_must(
        talloc_asprintf_append(title, "%s%zu %s", *title ? ", " : "", count, count == 1 ? one : many));
}

/* What the header shows: the name of the only thing there is, or how many there are. */
static const char *title_of(const struct environment *environment)
{
    size_t servers = environment->server_count, hosts = environment->host_count;
    if (servers + hosts + environment->redis_count == 1)
        return servers ? environment->servers[0].name
               : hosts ? environment->hosts[0].name
                       : environment->redis[0].name;
    char *title = environment_must(talloc_strdup(environment, ""));
    title = add_to_title(title, servers, "server", "servers");
    title = add_to_title(title, environment->redis_count, "Redis", "Redis");
    return add_to_title(title, hosts, "host", "hosts");
}

struct environment *environment_from_arguments(const void *context,
                                               const struct environment_arguments *arguments,
                                               struct error_list *errors)
{
    struct environment *environment = environment_new(context);
    environment->kind = ENVIRONMENT_ADHOC;
    environment->access.locked = true;
    environment->name = "adhoc";
    bool good = add_servers(environment, arguments->dsns, arguments->dsn_count, errors);
    good &= add_hosts(environment, arguments->destinations, arguments->host_count, errors);
    good &= add_redis(environment, arguments->redis, arguments->redis_count, errors);
    if (!arguments->dsn_count && !arguments->host_count && !arguments->redis_count)
        good = error_list_set(errors, ERROR_USAGE, NULL, "no server", "Name one: signalbox postgresql://...",
                              "no DSN was given");
    if (good)
        environment->title = title_of(environment);
    else
        TALLOC_FREE(environment);
    return environment;
}

struct environment *environment_from_dsn(const void *context, const char *const dsns[], size_t count,
                                         struct error_list *errors)
{
    return environment_from_arguments(
        context, &(struct environment_arguments){.dsns = dsns, .dsn_count = count}, errors);
}

struct environment *environment_from_pg_variables(const void *context, struct error_list *errors)
{
    const char *const dsns[] = {""};
    return environment_from_dsn(context, dsns, 1, errors);
}

bool environment_pg_variables_set(void)
{
    static const char *const names[] = {"PGHOST",     "PGHOSTADDR", "PGSERVICE",
                                        "PGDATABASE", "PGPORT",     "PGUSER"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return true;
    }
    return false;
}
