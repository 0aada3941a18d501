/* The master, as the Sentinels know it: asked when somebody comes up or goes away, and told by
 * +switch-master. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/server_internal.h"
#include "core/clock.h"

#define DEADLINE_S 3
#define HURRY_S 0.5
#define CALM_S 10

static void set_master(struct redis_server *server, const char *host, int port)
{
    if (server->master_host && strcmp(server->master_host, host) == 0 && server->master_port == port)
        return;
    talloc_free(server->master_host);
    server->master_host = talloc_strdup(server, host);
    if (!server->master_host)
        abort();
    server->master_port = port;
    struct redis_node *before = server->nodes[0];
    server->known = false;
    server->topology = REDIS_SENTINEL;
    server->epoch++;
    error_clear(&server->trouble);
    server->nodes[0] = redis_node_new(server, host, port);
    redis_node_free(before);
    redis_server_make_main(server);
    redis_server_tell(server);
}

static void master_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct redis_server *server = data;
    char why[160];
    (void)index;
    error_clear(&server->sentinel_error);
    if (error) {
        server->sentinel_error = *error;
        snprintf(server->sentinel_error.what, sizeof server->sentinel_error.what, "cannot ask the Sentinel");
    } else if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->str &&
               reply->element[1]->str) {
        set_master(server, reply->element[0]->str, (int)strtol(reply->element[1]->str, NULL, 10));
        return;
    } else {
        snprintf(why, sizeof why, "the Sentinel knows no master %s", server->definition->master);
        error_set(&server->sentinel_error, ERROR_MISSING, server->where, "cannot find the master",
                  "Check `master` and the hosts of the URL", "%s", why);
    }
    if (!server->known)
        redis_server_fail_held(server, &server->sentinel_error);
    redis_server_tell(server);
}

static void master_done(void *data, const struct error *error)
{
    struct redis_server *server = data;
    (void)error;
    server->sentinel_asked = false;
}

void redis_sentinel_check(struct redis_server *server, bool hurry)
{
    double now = clock_monotonic();
    if (server->dying || !server->sentinel || redis_connection_state(server->sentinel) != CONNECTION_UP)
        return;
    server->sentinel_hurry |= hurry;
    bool missed =
        !server->main || redis_connection_state(server->main) != CONNECTION_UP || server->trouble.kind;
    double pause = server->sentinel_hurry || missed ? HURRY_S : CALM_S;
    if (server->sentinel_asked || now - server->sentinel_asked_at < pause)
        return;
    server->sentinel_hurry = false;
    server->sentinel_asked = true;
    server->sentinel_asked_at = now;
    const struct redis_command command =
        REDIS_COMMAND("SENTINEL", "GET-MASTER-ADDR-BY-NAME", server->definition->master);
    redis_connection_send(server->sentinel, &command, 1, DEADLINE_S,
                          (struct redis_handler){master_reply, master_done, server});
}

static void sentinel_changed(void *data, struct redis_connection *connection)
{
    struct redis_server *server = data;
    if (server->dying || connection != server->sentinel)
        return;
    if (redis_connection_state(connection) == CONNECTION_UP) {
        server->sentinel_asked_at = 0;
        redis_sentinel_check(server, true);
    } else if (redis_connection_state(connection) == CONNECTION_DOWN) {
        error_clear(&server->sentinel_error);
        if (!server->known && !server->main)
            redis_server_fail_held(server, redis_connection_error(connection));
    }
    redis_server_tell(server);
}

static void sentinel_pushed(void *data, const struct redisReply *reply)
{
    struct redis_server *server = data;
    (void)reply;
    server->sentinel_asked_at = 0;
    redis_sentinel_check(server, true);
}

static bool sentinel_ready(void *data, struct error *error)
{
    return redis_server_ready(data, error);
}

static const struct error *sentinel_blame(void *data, double since)
{
    return redis_server_blame(data, since);
}

static struct redis_connection *connect_sentinel(struct redis_server *server, const char *name)
{
    char *label = talloc_asprintf(server, "%s (Sentinel)", server->where);
    if (!label)
        abort();
    struct redis_connection *connection =
        redis_server_connect(server, server->sentinel_url, NULL, 0,
                             (struct redis_connection_options){.label = label,
                                                               .client_name = name,
                                                               .watching = true,
                                                               .changed = sentinel_changed,
                                                               .pushed = sentinel_pushed,
                                                               .ready = sentinel_ready,
                                                               .blame = sentinel_blame,
                                                               .data = server});
    talloc_free(label);
    return connection;
}

/* The login of the URL is the master's: Sentinels have passwords of their own, if any. */
void redis_sentinel_start(struct redis_server *server)
{
    struct redis_url *url = redis_url_copy(server, server->url);
    for (size_t i = 0; i < url->place_count; i++)
        if (!url->places[i].port_named)
            url->places[i].port = REDIS_SENTINEL_PORT;
    url->user = NULL;
    url->password = NULL;
    url->database = 0;
    server->sentinel_url = url;
    server->sentinel = connect_sentinel(server, "signalbox-sentinel");
    server->sentinel_listener = connect_sentinel(server, "signalbox-listen");
    redis_connection_open(server->sentinel);
    redis_connection_psubscribe(server->sentinel_listener, &REDIS_COMMAND("+switch-master"));
}

void redis_sentinel_stop(struct redis_server *server)
{
    redis_connection_free(server->sentinel);
    redis_connection_free(server->sentinel_listener);
    server->sentinel = server->sentinel_listener = NULL;
}
