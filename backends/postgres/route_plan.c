#include "backends/postgres/route_plan.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/connection_error.h"

/* Where Debian's libpq looks when no host is named; on the other side it is the server's. */
#define SOCKET_FOLDER "/var/run/postgresql"

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val && *option->val ? option->val : NULL;
    return NULL;
}

/* The part at `index` of "a,b,c"; a list of one stands for all. Talloc'd; NULL when it is empty. */
static char *part_of(const void *context, const char *list, size_t index)
{
    if (!list || (!strchr(list, ',') && index))
        return list ? must(talloc_strdup(context, list)) : NULL;
    for (; index && *list; index--) {
        list += strcspn(list, ",");
        list += *list == ',';
    }
    size_t length = strcspn(list, ",");
    return length ? must(talloc_strndup(context, list, length)) : NULL;
}

static size_t count_parts(const char *list)
{
    size_t count = 1;
    for (; list && *list; list++)
        count += *list == ',';
    return count;
}

static void find_targets(struct route_plan *plan, const PQconninfoOption *options, const char *where)
{
    const char *hosts = value_of(options, "host"), *addresses = value_of(options, "hostaddr"),
               *ports = value_of(options, "port");
    size_t count = count_parts(addresses ? addresses : hosts);
    if (count > ROUTE_HOSTS_MAX) {
        error_set(&plan->error, ERROR_CONFIG, where, "cannot be reached", "Name fewer hosts in the DSN.",
                  "it names %zu hosts, and at most %d are possible through SSH", count, ROUTE_HOSTS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct route_target *target = &plan->targets[plan->count++];
        char *port = part_of(plan, ports, i), *host = count_parts(hosts) > i ? part_of(plan, hosts, i) : NULL;
        char *address = addresses ? part_of(plan, addresses, i) : NULL;
        target->port = port ? (int)strtol(port, NULL, 10) : 5432;
        target->name = host ? host : address;
        target->address = address ? address : host;
        if (!target->address || *target->address == '/') {
            target->path = must(talloc_asprintf(
                plan, "%s/.s.PGSQL.%d", target->address ? target->address : SOCKET_FOLDER, target->port));
            target->address = NULL;
        }
        if (target->port < 1 || target->port > 65535)
            error_set(&plan->error, ERROR_CONFIG, where, "cannot be reached", "Correct the DSN.",
                      "%s is no port", port ? port : "");
    }
}

static enum route_tls tls_of(const PQconninfoOption *options)
{
    const char *mode = value_of(options, "sslmode"), *binding = value_of(options, "channel_binding");
    if (binding && strcmp(binding, "require") == 0)
        return ROUTE_TLS_ALWAYS;
    if (!mode || strcmp(mode, "prefer") == 0 || strcmp(mode, "allow") == 0)
        return ROUTE_TLS_IF_NEEDED;
    return strcmp(mode, "disable") == 0 ? ROUTE_TLS_NO : ROUTE_TLS_ALWAYS;
}

struct route_plan *route_plan_new(const char *dsn, const char *where)
{
    /* libpq fills everything in (service file, variables, password file), then finds this value wrong and
     * goes no further: the only way to ask it without connecting. */
    static const char impossible[] = "asked-by-signalbox";
    const char *keywords[] = {"dbname", "target_session_attrs", NULL};
    const char *values[] = {dsn, impossible, NULL};
    struct route_plan *plan = must(talloc_zero(NULL, struct route_plan));
    plan->dsn = must(talloc_strdup(plan, dsn));
    PGconn *conn = PQconnectStartParams(keywords, values, 1);
    const char *message = conn ? PQerrorMessage(conn) : "out of memory";
    PQconninfoOption *options = conn ? PQconninfo(conn) : NULL;
    if (!options || !strstr(message, impossible)) {
        pg_error_from_connect(&plan->error, where, "cannot be reached", message, false);
    } else if (value_of(options, "requirepeer")) {
        error_set(&plan->error, ERROR_UNSUPPORTED, where, "cannot be reached",
                  "Use TLS with sslmode=verify-full instead.",
                  "requirepeer cannot be checked through a tunnel");
    } else {
        find_targets(plan, options, where);
        bool sockets = true;
        for (size_t i = 0; i < plan->count; i++)
            sockets &= plan->targets[i].path != NULL;
        /* Servers speak no TLS on their Unix sockets. */
        plan->tls = sockets ? ROUTE_TLS_NO : tls_of(options);
        const char *password = PQpass(conn);
        plan->password = password && *password ? must(talloc_strdup(plan, password)) : NULL;
    }
    PQconninfoFree(options);
    PQfinish(conn);
    return plan;
}

static char *add_pair(char *dsn, const char *keyword, const char *value)
{
    dsn = must(talloc_asprintf_append(dsn, "%s%s='", *dsn ? " " : "", keyword));
    for (const char *at = value; *at; at++)
        dsn = must(talloc_asprintf_append(dsn, *at == '\'' || *at == '\\' ? "\\%c" : "%c", *at));
    return must(talloc_strdup_append(dsn, "'"));
}

static bool is_replaced(const struct route_plan *plan, const char *keyword)
{
    return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 || strcmp(keyword, "port") == 0 ||
           (plan->password && strcmp(keyword, "password") == 0);
}

/* What the DSN says itself stays, and what it leaves to a service or a variable stays left to them; the
 * password is looked up by the server's own name, so it must go along. An empty hostaddr keeps that of a
 * service away. */
char *route_plan_dsn(const void *context, const struct route_plan *plan, const struct route_local locals[])
{
    char *dsn = must(talloc_strdup(context, ""));
    PQconninfoOption *options = PQconninfoParse(plan->dsn, NULL);
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (option->val && !is_replaced(plan, option->keyword))
            dsn = add_pair(dsn, option->keyword, option->val);
    PQconninfoFree(options);
    char *hosts = must(talloc_strdup(NULL, "")), *addresses = must(talloc_strdup(NULL, "")),
         *ports = must(talloc_strdup(NULL, ""));
    for (size_t i = 0; i < plan->count; i++) {
        const struct route_local *local = &locals[i];
        const char *comma = i ? "," : "", *name = plan->targets[i].name;
        hosts = must(talloc_asprintf_append(hosts, "%s%s", comma,
                                            local->folder ? local->folder
                                            : name        ? name
                                                          : "localhost"));
        if (!local->folder)
            addresses = must(talloc_asprintf_append(addresses, "%s127.0.0.1", comma));
        ports = must(talloc_asprintf_append(ports, "%s%d", comma, local->port));
    }
    dsn = add_pair(dsn, "host", hosts);
    dsn = add_pair(dsn, "hostaddr", addresses);
    dsn = add_pair(dsn, "port", ports);
    if (plan->password)
        dsn = add_pair(dsn, "password", plan->password);
    talloc_free(hosts);
    talloc_free(addresses);
    talloc_free(ports);
    return dsn;
}
