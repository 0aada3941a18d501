/* The login that may write: held while the console is unlocked, used by changes only. */
#include <stdio.h>
#include <stdlib.h>
#include <talloc.h>

#include "backends/redis/server_internal.h"

void redis_server_unlock(struct redis_server *server)
{
    server->unlocked = true;
    if (!server->act_url || server->unusable.kind || !server->known)
        return;
    for (size_t i = 0; i < server->node_count; i++)
        redis_connection_open(redis_node_connection(server->nodes[i], -1, LOGIN_ACT));
}

void redis_server_lock(struct redis_server *server)
{
    server->unlocked = false;
    for (size_t i = 0; i < server->node_count; i++)
        redis_node_lock(server->nodes[i]);
}

const char *redis_server_act_role(const struct redis_server *server)
{
    if (!server->act_url)
        return NULL;
    return server->act_url->user ? server->act_url->user : "default";
}

bool redis_server_can_act(const struct redis_server *server, struct error *error)
{
    if (!server->act_url)
        return error_set(error, ERROR_CONFIG, server->where, "cannot be changed",
                         "Add `act` with the URL of a login that may write", "it has no login named act");
    if (!server->unlocked)
        return error_set(error, ERROR_INTERLOCK, server->where, "cannot be changed", "Unlock the console",
                         "it is locked");
    if (server->unusable.kind || server->trouble.kind || !server->known) {
        const struct error *why = redis_server_error(server);
        if (why->kind)
            *error = *why;
        else
            error_set(error, ERROR_LOST, server->where, "cannot be changed", NULL, "it has not answered yet");
        return false;
    }
    for (size_t i = 0; i < server->node_count; i++)
        for (const struct redis_link *link = server->nodes[i]->links; link; link = link->next)
            if (link->login == LOGIN_ACT && redis_connection_state(link->connection) == CONNECTION_DOWN) {
                *error = *redis_connection_error(link->connection);
                return false;
            }
    return true;
}

void redis_server_act(struct redis_server *server, int database, const struct redis_command *commands,
                      int count, double deadline_s, struct redis_handler handler)
{
    struct error error = {0};
    bool soon = server->act_url && server->unlocked && !server->known && !redis_server_error(server)->kind;
    if (soon)
        redis_server_hold(server, database, LOGIN_ACT, commands, count, deadline_s, handler, NULL);
    else if (!redis_server_can_act(server, &error))
        redis_server_hold(server, 0, LOGIN_ACT, NULL, 0, 0, handler, &error);
    else
        redis_server_route(server, database, LOGIN_ACT, commands, count, deadline_s, handler);
}

static bool blocking_ready(void *data, struct error *error)
{
    return redis_server_ready(data, error);
}

static const struct error *blocking_blame(void *data, double since)
{
    return redis_server_blame(data, since);
}

struct redis_connection *redis_server_act_blocking(struct redis_server *server, int database)
{
    struct error error;
    if (!redis_server_can_act(server, &error))
        return NULL;
    char *label = talloc_asprintf(NULL, "%s as act", server->where);
    if (!label)
        abort();
    struct redis_connection *connection =
        redis_server_connect(server, server->act_url, server->nodes[0]->place, database,
                             (struct redis_connection_options){.label = label,
                                                               .client_name = "signalbox-act",
                                                               .ready = blocking_ready,
                                                               .blame = blocking_blame,
                                                               .data = server});
    talloc_free(label);
    return connection;
}
