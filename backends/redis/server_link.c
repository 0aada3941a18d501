/* Connections of a server: to each node, database and login, through tunnels where there is a `via`; and what
 * waits until it is known where it goes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/server_internal.h"
#include "backends/redis/watch_commands.h"
#include "backends/ssh/tunnel.h"
#include "core/clock.h"

#define CONNECT_TIMEOUT_S 5
/* Longer than any deadline of a request. */
#define UNUSED_S 180

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- tunnels ---- */

static struct ssh_tunnel *find_tunnel(struct redis_server *server, const struct redis_place *place,
                                      struct error *error)
{
    char *key = redis_place_text(NULL, place);
    struct redis_passage *passage = server->passages;
    while (passage && strcmp(passage->target, key) != 0)
        passage = passage->next;
    if (!passage) {
        struct ssh_tunnel_target far = {.address = place->host, .port = place->port, .path = place->path};
        struct ssh_tunnel *tunnel =
            ssh_tunnel_new(server->loop, server->via, &far, SSH_TUNNEL_SOCKET, "redis.sock", error);
        if (tunnel) {
            passage = must(talloc_zero(server, struct redis_passage));
            passage->target = must(talloc_strdup(passage, key));
            passage->tunnel = tunnel;
            passage->next = server->passages;
            server->passages = passage;
        }
    }
    talloc_free(key);
    return passage ? passage->tunnel : NULL;
}

void redis_passages_free(struct redis_server *server)
{
    for (struct redis_passage *passage = server->passages; passage; passage = passage->next)
        ssh_tunnel_free(passage->tunnel);
    server->passages = NULL;
}

bool redis_server_ready(struct redis_server *server, struct error *error)
{
    if (server->unusable.kind) {
        *error = server->unusable;
        return false;
    }
    if (!server->via || ssh_host_state(server->via) == CONNECTION_UP)
        return true;
    if (ssh_host_state(server->via) == CONNECTION_DOWN)
        *error = *ssh_host_error(server->via);
    return false;
}

const struct error *redis_server_blame(struct redis_server *server, double since)
{
    double at;
    if (!server->via)
        return NULL;
    if (ssh_host_state(server->via) == CONNECTION_DOWN)
        return ssh_host_error(server->via);
    for (const struct redis_passage *passage = server->passages; passage; passage = passage->next) {
        const struct error *error = ssh_tunnel_error(passage->tunnel, &at);
        if (error->kind != ERROR_NONE && at >= since)
            return error;
    }
    return NULL;
}

/* ---- connections ---- */

struct redis_connection *redis_server_connect(struct redis_server *server, const struct redis_url *login,
                                              const struct redis_url *place, int database,
                                              struct redis_connection_options options)
{
    struct redis_url url = *login;
    const char *sockets[REDIS_URL_HOSTS];
    if (place) {
        memcpy(url.places, place->places, sizeof url.places);
        url.place_count = place->place_count;
    }
    if (database >= 0)
        url.database = database;
    if (server->via) {
        for (size_t i = 0; i < url.place_count; i++) {
            const struct ssh_tunnel *tunnel = find_tunnel(server, &url.places[i], &server->unusable);
            sockets[i] = tunnel ? ssh_tunnel_path(tunnel) : "";
        }
        options.sockets = sockets;
        options.via = ssh_host_name(server->via);
    }
    options.url = &url;
    options.connect_timeout_s = CONNECT_TIMEOUT_S;
    options.keep = true;
    return redis_connection_new(server->loop, &options);
}

static bool link_ready(void *data, struct error *error)
{
    struct redis_link *link = data;
    return redis_server_ready(link->server, error);
}

static const struct error *link_blame(void *data, double since)
{
    struct redis_link *link = data;
    return redis_server_blame(link->server, since);
}

static void link_changed(void *data, struct redis_connection *connection)
{
    struct redis_link *link = data;
    struct redis_server *server = link->server;
    if (server->topology == REDIS_CLUSTER && redis_connection_state(connection) == CONNECTION_DOWN) {
        server->slots_wanted = true;
        redis_server_soon(server);
    }
    redis_server_tell(server);
}

struct redis_connection *redis_node_connection(struct redis_node *node, int database, enum redis_login login)
{
    struct redis_server *server = node->server;
    const struct redis_url *url = login == LOGIN_ACT ? server->act_url : server->url;
    struct redis_link *link = node->links;
    if (database < 0)
        database = url->database;
    while (link && (link->database != database || link->login != login))
        link = link->next;
    if (!link) {
        link = must(talloc_zero(node, struct redis_link));
        *link = (struct redis_link){node->links, server, node, database, login, NULL, 0};
        char *label = must(talloc_asprintf(link, "%s%s", server->where, login == LOGIN_ACT ? " as act" : ""));
        link->connection =
            redis_server_connect(server, url, node->place, database,
                                 (struct redis_connection_options){
                                     .label = label,
                                     .client_name = login == LOGIN_ACT ? "signalbox-act" : "signalbox-watch",
                                     .watching = login == LOGIN_WATCH,
                                     .changed = link_changed,
                                     .ready = link_ready,
                                     .blame = link_blame,
                                     .data = link});
        node->links = link;
    }
    link->used_at = clock_monotonic();
    return link->connection;
}

struct redis_node *redis_node_new(struct redis_server *server, const char *host, int port)
{
    struct redis_node *node = must(talloc_zero(server, struct redis_node));
    node->server = server;
    if (host) {
        node->place = must(talloc_zero(node, struct redis_url));
        node->place->places[0] =
            (struct redis_place){.host = must(talloc_strdup(node, host)), .port = port, .port_named = true};
        node->place->place_count = 1;
        node->text = redis_place_text(node, &node->place->places[0]);
    }
    return node;
}

static void free_links(struct redis_node *node, bool (*which)(const struct redis_link *link))
{
    for (struct redis_link **at = &node->links; *at;) {
        struct redis_link *link = *at;
        if (!which(link)) {
            at = &link->next;
            continue;
        }
        *at = link->next;
        redis_connection_free(link->connection);
        talloc_free(link);
        at = &node->links; /* a handler may have asked anew */
    }
}

static bool every_link(const struct redis_link *link)
{
    (void)link;
    return true;
}

static bool is_unused(const struct redis_link *link)
{
    return link->login == LOGIN_WATCH && link->database != link->server->url->database &&
           clock_monotonic() - link->used_at > UNUSED_S;
}

static bool may_write(const struct redis_link *link)
{
    return link->login == LOGIN_ACT;
}

void redis_node_lock(struct redis_node *node)
{
    free_links(node, may_write);
}

void redis_node_sweep(struct redis_node *node)
{
    free_links(node, is_unused);
}

void redis_node_free(struct redis_node *node)
{
    free_links(node, every_link);
    talloc_free(node);
}

/* ---- what waits ---- */

struct redis_command *redis_commands_copy(const void *context, const struct redis_command *commands,
                                          int count)
{
    struct redis_command *copies = must(talloc_array(context, struct redis_command, (size_t)count));
    for (int i = 0; i < count; i++) {
        size_t words = (size_t)commands[i].count;
        const char **texts = must(talloc_array(copies, const char *, words));
        size_t *lengths = must(talloc_array(copies, size_t, words));
        for (size_t j = 0; j < words; j++) {
            const char *word = redis_command_word(&commands[i], (int)j, &lengths[j]);
            char *bytes = must(talloc_size(texts, lengths[j] + 1));
            memcpy(bytes, word, lengths[j]);
            bytes[lengths[j]] = '\0';
            texts[j] = bytes;
        }
        copies[i] = (struct redis_command){(int)words, texts, lengths};
    }
    return copies;
}

void redis_server_hold(struct redis_server *server, int database, enum redis_login login,
                       const struct redis_command *commands, int count, double deadline_s,
                       struct redis_handler handler, const struct error *error)
{
    struct redis_held **end = &server->held;
    struct redis_held *held = must(talloc_zero(NULL, struct redis_held));
    *held = (struct redis_held){.database = database,
                                .login = login,
                                .count = count,
                                .deadline_s = deadline_s,
                                .handler = handler,
                                .failed = error != NULL};
    if (error)
        held->error = *error;
    else
        held->commands = redis_commands_copy(held, commands, count);
    while (*end)
        end = &(*end)->next;
    *end = held;
    if (error)
        redis_server_soon(server);
}

static void end_held(struct redis_held *held, const struct error *error)
{
    if (held->handler.done)
        held->handler.done(held->handler.data, error);
    talloc_free(held);
}

void redis_server_release_held(struct redis_server *server)
{
    struct redis_held *held = server->held;
    server->held = NULL;
    while (held) {
        struct redis_held *next = held->next;
        held->next = NULL;
        if (held->failed) {
            end_held(held, &held->error);
        } else if (server->known) {
            redis_server_route(server, held->database, held->login, held->commands, held->count,
                               held->deadline_s, held->handler);
            talloc_free(held);
        } else { /* goes on waiting */
            struct redis_held **end = &server->held;
            while (*end)
                end = &(*end)->next;
            *end = held;
        }
        held = next;
    }
}

void redis_server_fail_held(struct redis_server *server, const struct error *error)
{
    struct redis_held *held = server->held;
    server->held = NULL;
    while (held) {
        struct redis_held *next = held->next;
        end_held(held, held->failed ? &held->error : error);
        held = next;
    }
}

void redis_server_route(struct redis_server *server, int database, enum redis_login login,
                        const struct redis_command *commands, int count, double deadline_s,
                        struct redis_handler handler)
{
    if (server->topology == REDIS_CLUSTER)
        redis_cluster_route(server, login, commands, count, deadline_s, handler);
    else
        redis_connection_send(redis_node_connection(server->nodes[0], database, login), commands, count,
                              deadline_s, handler);
}

/* ---- asking ---- */

void redis_server_ask(struct redis_server *server, int database, const struct redis_command *commands,
                      int count, double deadline_s, struct redis_handler handler)
{
    if (server->unusable.kind)
        redis_server_hold(server, 0, 0, NULL, 0, 0, handler, &server->unusable);
    else if (server->known)
        redis_server_route(server, database, LOGIN_WATCH, commands, count, deadline_s, handler);
    else
        redis_server_hold(server, database, LOGIN_WATCH, commands, count, deadline_s, handler,
                          redis_server_state(server) == CONNECTION_DOWN ? redis_server_error(server) : NULL);
}

void redis_server_ask_node(struct redis_server *server, size_t node, int database,
                           const struct redis_command *commands, int count, double deadline_s,
                           struct redis_handler handler)
{
    struct error gone;
    if (!server->known && node == 0) {
        redis_server_ask(server, database, commands, count, deadline_s, handler);
    } else if (!server->known || node >= server->node_count) {
        error_set(&gone, ERROR_GONE, server->where, NULL, NULL, "the Cluster has no such node any more");
        redis_server_hold(server, 0, 0, NULL, 0, 0, handler, &gone);
    } else {
        if (server->topology == REDIS_CLUSTER)
            database = 0;
        redis_connection_send(redis_node_connection(server->nodes[node], database, LOGIN_WATCH), commands,
                              count, deadline_s, handler);
    }
}

/* ---- listening ---- */

static bool listener_ready(void *data, struct error *error)
{
    struct redis_listener *listener = data;
    return redis_server_ready(listener->server, error);
}

static const struct error *listener_blame(void *data, double since)
{
    struct redis_listener *listener = data;
    return redis_server_blame(listener->server, since);
}

static void listener_changed(void *data, struct redis_connection *connection)
{
    struct redis_listener *listener = data;
    (void)connection;
    redis_server_tell(listener->server);
}

static void listener_pushed(void *data, const struct redisReply *reply)
{
    struct redis_listener *listener = data;
    listener->pushed(listener->data, reply);
}

static void listener_connect(struct redis_listener *listener)
{
    struct redis_server *server = listener->server;
    redis_connection_free(listener->connection);
    listener->connection = NULL;
    if (!server->known)
        return;
    listener->connection =
        redis_server_connect(server, server->url, server->nodes[0]->place, 0,
                             (struct redis_connection_options){.label = server->where,
                                                               .client_name = "signalbox-listen",
                                                               .watching = true,
                                                               .changed = listener_changed,
                                                               .pushed = listener_pushed,
                                                               .ready = listener_ready,
                                                               .blame = listener_blame,
                                                               .data = listener});
    redis_connection_psubscribe(listener->connection, listener->patterns);
}

void redis_listeners_connect(struct redis_server *server)
{
    for (struct redis_listener *listener = server->listeners; listener; listener = listener->next)
        listener_connect(listener);
}

struct redis_listener *redis_server_listen(struct redis_server *server, const struct redis_command *patterns,
                                           void (*pushed)(void *data, const struct redisReply *reply),
                                           void *data)
{
    struct redis_listener *listener = must(talloc_zero(NULL, struct redis_listener));
    listener->server = server;
    listener->patterns = redis_commands_copy(listener, patterns, 1);
    listener->pushed = pushed;
    listener->data = data;
    listener->next = server->listeners;
    server->listeners = listener;
    error_set(&listener->error, ERROR_LOST, server->where, "does not listen yet", NULL,
              "the server has not answered yet");
    listener_connect(listener);
    return listener;
}

void redis_listener_free(struct redis_listener *listener)
{
    if (!listener)
        return;
    for (struct redis_listener **at = listener->server ? &listener->server->listeners : NULL; at && *at;
         at = &(*at)->next)
        if (*at == listener) {
            *at = listener->next;
            break;
        }
    redis_connection_free(listener->connection);
    talloc_free(listener);
}

const struct error *redis_listener_error(const struct redis_listener *listener)
{
    if (!listener->server)
        return &listener->error;
    if (!listener->connection)
        return redis_server_error(listener->server)->kind ? redis_server_error(listener->server)
                                                          : &listener->error;
    if (redis_connection_state(listener->connection) != CONNECTION_UP &&
        !redis_connection_error(listener->connection)->kind)
        return &listener->error;
    return redis_connection_error(listener->connection);
}
