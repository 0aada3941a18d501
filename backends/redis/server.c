/* A watched Redis: what it is, how well it answers, and where its commands go. */
#include "backends/redis/server.h"

#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/info.h"
#include "backends/redis/server_internal.h"
#include "core/clock.h"

#define BEAT_S 1.0
#define BEAT_PACED_S 0.2
#define DEADLINE_S 5
/* A server that answers this much later than usual has better things to do than to be watched. */
#define SLOWER_S 0.005
#define PACE_S 0.005
#define PACE_LONGEST_S 0.5

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

void redis_server_tell(struct redis_server *server)
{
    if (server->changed && !server->dying)
        server->changed(server->data);
}

void redis_server_soon(struct redis_server *server)
{
    if (server->dying || ev_is_active(&server->soon))
        return;
    ev_timer_set(&server->soon, 0, 0);
    ev_timer_start(loop_ev(server->loop), &server->soon);
}

/* ---- what it is ---- */

struct facts {
    struct redis_server *server;
    unsigned epoch;
    char mode[16];
    bool answered;
    struct error error;
};

/* From now on commands have somewhere to go. */
static void become_known(struct redis_server *server)
{
    server->known = true;
    redis_listeners_connect(server);
    if (server->unlocked)
        redis_server_unlock(server);
    redis_server_soon(server);
}

static void facts_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct facts *facts = data;
    struct redis_server *server = facts->server;
    char role[16];
    if (error) {
        facts->error = *error;
        return;
    }
    if (index == 0) {
        facts->answered = true;
        info_text(reply->str, reply->len, "redis_version", server->version, sizeof server->version);
        info_text(reply->str, reply->len, "redis_mode", facts->mode, sizeof facts->mode);
    } else if (info_text(reply->str, reply->len, "role", role, sizeof role)) {
        server->replica = strcmp(role, "slave") == 0;
    }
}

static void settle(struct redis_server *server, const struct facts *facts)
{
    if (strcmp(facts->mode, "cluster") == 0 && !server->definition->master) {
        server->topology = REDIS_CLUSTER;
        redis_cluster_check(server, true);
        return;
    }
    if (strcmp(facts->mode, "sentinel") == 0) {
        error_set(&server->trouble, ERROR_CONFIG, server->where, "this is a Sentinel",
                  "Write its name for the master: `master: NAME`", "its databases are elsewhere");
        redis_server_fail_held(server, &server->trouble);
        return;
    }
    server->topology = server->definition->master ? REDIS_SENTINEL : REDIS_SINGLE;
    if (!server->known)
        become_known(server);
}

static void facts_done(void *data, const struct error *error)
{
    struct facts *facts = data;
    struct redis_server *server = facts->server;
    error_clear(&server->note);
    if (!error && facts->error.kind) {
        server->note = facts->error;
        snprintf(server->note.what, sizeof server->note.what, "cannot read INFO");
    }
    if (!server->dying && !error && facts->epoch == server->epoch) {
        settle(server, facts);
        redis_server_tell(server);
    }
    talloc_free(facts);
}

static void ask_facts(struct redis_server *server)
{
    struct facts *facts = must(talloc_zero(NULL, struct facts));
    facts->server = server;
    facts->epoch = server->epoch;
    const struct redis_command commands[] = {REDIS_COMMAND("INFO", "server"),
                                             REDIS_COMMAND("INFO", "replication")};
    redis_connection_send(server->main, commands, 2, DEADLINE_S,
                          (struct redis_handler){facts_reply, facts_done, facts});
}

/* ---- how it is ---- */

static void note_role(struct redis_server *server, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || !reply->elements || !reply->element[0]->str)
        return;
    server->replica = strcmp(reply->element[0]->str, "slave") == 0;
    if (server->topology != REDIS_SENTINEL || !server->replica)
        return;
    error_set(&server->trouble, ERROR_REFUSED, server->where, "a failover is under way", "Wait",
              "%s, which the Sentinels call the master, is a replica", server->nodes[0]->text);
    redis_sentinel_check(server, true);
}

static void note_ping(struct redis_pulse *pulse)
{
    double ping = clock_monotonic() - pulse->asked_at;
    pulse->ping = ping;
    if (isnan(pulse->usual))
        pulse->usual = ping;
    else
        pulse->usual += (ping < pulse->usual ? 0.5 : 0.02) * (ping - pulse->usual);
}

static void ping_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct redis_server *server = data;
    if (index == 0) {
        note_ping(server->pulse);
        error_clear(&server->trouble);
        /* NOPERM: who may not PING may still ask. */
        if (error && error->kind != ERROR_DENIED && error->kind != ERROR_INTERLOCK)
            server->trouble = *error;
    } else if (!error) {
        note_role(server, reply);
    }
}

static void ping_done(void *data, const struct error *error)
{
    struct redis_server *server = data;
    (void)error;
    server->pulse->asked_at = 0;
    redis_server_tell(server);
}

static void ask_ping(struct redis_server *server)
{
    const struct redis_command commands[] = {REDIS_COMMAND("PING"), REDIS_COMMAND("ROLE")};
    server->pulse->asked_at = clock_monotonic();
    redis_connection_send(server->main, commands, 2, DEADLINE_S,
                          (struct redis_handler){ping_reply, ping_done, server});
}

static void on_beat(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_server *server = watcher->data;
    double now = clock_monotonic();
    (void)events;
    watcher->repeat = server->pulse->wanted_until > now ? BEAT_PACED_S : BEAT_S;
    ev_timer_again(ev, watcher);
    bool up = server->main && redis_connection_state(server->main) == CONNECTION_UP;
    if (up && !server->pulse->asked_at)
        ask_ping(server);
    if (server->sentinel)
        redis_sentinel_check(server, false);
    if (server->topology == REDIS_CLUSTER) {
        /* The hosts of the URL may be gone for good while the Cluster lives. */
        if (!up && server->known && !server->main_anywhere &&
            redis_connection_state(server->main) == CONNECTION_DOWN) {
            server->main_anywhere = true;
            redis_server_make_main(server);
        }
        redis_cluster_check(server, false);
    }
    for (size_t i = 0; i < server->node_count; i++)
        redis_node_sweep(server->nodes[i]);
}

double redis_server_pace(const struct redis_server *server)
{
    struct redis_pulse *pulse = server->pulse;
    double now = clock_monotonic(), ping = pulse->ping;
    pulse->wanted_until = now + 2;
    if (server->trouble.kind || !server->main || redis_connection_state(server->main) != CONNECTION_UP)
        return PACE_LONGEST_S;
    if (pulse->asked_at > 0)
        ping = fmax(ping, now - pulse->asked_at);
    double over = ping - pulse->usual;
    return over > SLOWER_S ? fmin(PACE_LONGEST_S, PACE_S + 2 * over) : PACE_S;
}

double redis_server_ping(const struct redis_server *server, double *usual)
{
    *usual = server->pulse->usual;
    return server->pulse->ping;
}

/* ---- the connection for all this ---- */

static bool main_ready(void *data, struct error *error)
{
    return redis_server_ready(data, error);
}

static const struct error *main_blame(void *data, double since)
{
    return redis_server_blame(data, since);
}

static void reconnect(struct redis_connection *connection, bool came)
{
    if (!connection)
        return;
    enum connection_state state = redis_connection_state(connection);
    if (state == CONNECTION_CONNECTING || (came && state == CONNECTION_DOWN))
        redis_connection_open(connection);
}

static void reconnect_others(struct redis_server *server, bool came)
{
    for (size_t i = 0; i < server->node_count; i++)
        for (struct redis_link *link = server->nodes[i]->links; link; link = link->next)
            reconnect(link->connection, came);
    for (struct redis_listener *listener = server->listeners; listener; listener = listener->next)
        reconnect(listener->connection, came);
}

static void main_changed(void *data, struct redis_connection *connection)
{
    struct redis_server *server = data;
    if (connection != server->main || server->dying)
        return;
    switch (redis_connection_state(connection)) {
    case CONNECTION_UP:
        server->epoch++;
        *server->pulse = (struct redis_pulse){.ping = NAN, .usual = NAN};
        reconnect_others(server, true); /* nobody needs to wait for its back-off */
        ask_facts(server);
        ask_ping(server);
        break;
    case CONNECTION_DOWN:
        error_clear(&server->trouble);
        server->pulse->ping = NAN;
        if (!server->known)
            redis_server_fail_held(server, redis_connection_error(connection));
        if (server->sentinel)
            redis_sentinel_check(server, true);
        break;
    case CONNECTION_IDLE:
    case CONNECTION_CONNECTING:
        break;
    }
    redis_server_tell(server);
}

void redis_server_make_main(struct redis_server *server)
{
    struct redis_connection *before = server->main;
    struct redis_url all;
    server->main = NULL;
    redis_connection_free(before);
    const struct redis_url *place = server->definition->master ? server->nodes[0]->place : NULL;
    if (server->main_anywhere) {
        all = (struct redis_url){0};
        for (size_t i = 0; i < server->node_count && all.place_count < REDIS_URL_HOSTS; i++)
            all.places[all.place_count++] = server->nodes[i]->place->places[0];
        place = &all;
    }
    server->main = redis_server_connect(server, server->url, place, -1,
                                        (struct redis_connection_options){.label = server->where,
                                                                          .client_name = "signalbox-pulse",
                                                                          .watching = true,
                                                                          .changed = main_changed,
                                                                          .ready = main_ready,
                                                                          .blame = main_blame,
                                                                          .data = server});
    redis_connection_open(server->main);
}

/* ---- the state of an SSH host ---- */

/* The bastion is there again, or will not be: nobody needs to wait any longer. */
static void follow_via(struct redis_server *server)
{
    if (!server->via)
        return;
    bool up = ssh_host_state(server->via) == CONNECTION_UP, came = up && !server->via_up;
    server->via_up = up;
    reconnect(server->main, came);
    reconnect(server->sentinel, came);
    reconnect(server->sentinel_listener, came);
    reconnect_others(server, came);
}

static void on_soon(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct redis_server *server = watcher->data;
    (void)ev, (void)events;
    follow_via(server);
    redis_server_release_held(server);
    if (server->topology == REDIS_CLUSTER && server->slots_wanted)
        redis_cluster_check(server, true);
    redis_server_tell(server);
}

void redis_server_ssh_changed(struct redis_server *server)
{
    if (server->via)
        redis_server_soon(server);
}

/* ---- making and freeing ---- */

static bool read_definition(struct redis_server *server, struct ssh_pool *pool)
{
    const struct environment_redis *definition = server->definition;
    struct redis_url *urls[] = {server->url, server->act_url};
    const char *const texts[] = {definition->url, definition->act};
    for (size_t i = 0; i < 2; i++)
        if (texts[i] && !redis_url_parse(urls[i], texts[i], urls[i], &server->unusable)) {
            server->unusable.kind = ERROR_CONFIG;
            snprintf(server->unusable.where, sizeof server->unusable.where, "%s", server->where);
            return false;
        }
    if (!definition->act)
        TALLOC_FREE(server->act_url);
    if (definition->via && !pool)
        return error_set(&server->unusable, ERROR_UNSUPPORTED, server->where, "cannot be reached", NULL,
                         "there is no SSH here to go through %s", definition->via);
    if (definition->via) {
        server->via = ssh_pool_host(pool, definition->via,
                                    environment_destination(server->environment, definition->via));
        ssh_host_want(server->via, true);
    }
    return true;
}

struct redis_server *redis_server_new(struct loop *loop, const struct environment *environment,
                                      const struct environment_redis *definition, struct ssh_pool *pool,
                                      void (*changed)(void *data), void *data)
{
    struct redis_server *server = must(talloc_zero(NULL, struct redis_server));
    server->loop = loop;
    server->environment = environment;
    server->definition = definition;
    server->data = data;
    snprintf(server->where, sizeof server->where, "%s: %s", environment->name, definition->name);
    server->url = must(talloc_zero(server, struct redis_url));
    server->act_url = must(talloc_zero(server, struct redis_url));
    server->pulse = must(talloc_zero(server, struct redis_pulse));
    *server->pulse = (struct redis_pulse){.ping = NAN, .usual = NAN};
    server->nodes = must(talloc_array(server, struct redis_node *, 1));
    server->nodes[0] = redis_node_new(server, NULL, 0);
    server->node_count = 1;
    ev_init(&server->beat, on_beat);
    ev_init(&server->soon, on_soon);
    server->beat.data = server->soon.data = server;
    if (read_definition(server, pool)) {
        server->beat.repeat = BEAT_S;
        ev_timer_again(loop_ev(loop), &server->beat);
        if (definition->master)
            redis_sentinel_start(server);
        else
            redis_server_make_main(server);
    }
    server->changed = changed; /* not before it is whole */
    return server;
}

static void wipe(struct redis_url *url)
{
    if (url && url->password)
        explicit_bzero((char *)url->password, strlen(url->password));
}

void redis_server_free(struct redis_server *server)
{
    struct error error;
    if (!server)
        return;
    server->dying = true;
    ev_timer_stop(loop_ev(server->loop), &server->beat);
    ev_timer_stop(loop_ev(server->loop), &server->soon);
    redis_sentinel_stop(server);
    redis_connection_free(server->main);
    server->main = NULL;
    for (size_t i = 0; i < server->node_count; i++)
        redis_node_free(server->nodes[i]);
    error_set(&error, ERROR_LOST, server->where, "the connection was closed", NULL, "by this console");
    redis_server_fail_held(server, &error);
    for (struct redis_listener *listener = server->listeners; listener; listener = listener->next) {
        redis_connection_free(listener->connection);
        listener->connection = NULL;
        listener->server = NULL; /* it is freed by its owner, now or later */
    }
    redis_passages_free(server);
    if (server->via)
        ssh_host_want(server->via, false);
    wipe(server->url);
    wipe(server->act_url);
    talloc_free(server);
}

/* ---- what can be asked of it ---- */

const char *redis_server_name(const struct redis_server *server)
{
    return server->definition->name;
}

const struct environment *redis_server_environment(const struct redis_server *server)
{
    return server->environment;
}

const struct environment_redis *redis_server_definition(const struct redis_server *server)
{
    return server->definition;
}

enum connection_state redis_server_state(const struct redis_server *server)
{
    if (server->unusable.kind || server->trouble.kind)
        return CONNECTION_DOWN;
    if (server->main)
        return redis_connection_state(server->main);
    if (server->sentinel_error.kind)
        return CONNECTION_DOWN;
    return server->sentinel && redis_connection_state(server->sentinel) == CONNECTION_DOWN
               ? CONNECTION_DOWN
               : CONNECTION_CONNECTING;
}

const struct error *redis_server_error(const struct redis_server *server)
{
    if (server->unusable.kind)
        return &server->unusable;
    if (server->trouble.kind)
        return &server->trouble;
    if (server->main)
        return redis_connection_error(server->main);
    if (server->sentinel_error.kind || !server->sentinel)
        return &server->sentinel_error;
    return redis_connection_error(server->sentinel);
}

const struct error *redis_server_note(const struct redis_server *server)
{
    for (size_t i = 0; server->topology == REDIS_CLUSTER && i < server->node_count; i++)
        for (const struct redis_link *link = server->nodes[i]->links; link; link = link->next)
            if (link->login == LOGIN_WATCH && redis_connection_state(link->connection) == CONNECTION_DOWN)
                return redis_connection_error(link->connection);
    return &server->note;
}

enum redis_topology redis_server_topology(const struct redis_server *server)
{
    return server->topology;
}

const char *redis_server_place(const struct redis_server *server)
{
    if (server->topology == REDIS_CLUSTER)
        return server->place;
    return server->main ? redis_connection_place(server->main) : NULL;
}

bool redis_server_is_replica(const struct redis_server *server)
{
    return server->replica;
}

const char *redis_server_version(const struct redis_server *server)
{
    return server->version[0] ? server->version : NULL;
}

int redis_server_database(const struct redis_server *server)
{
    return server->url->database;
}

unsigned redis_server_epoch(const struct redis_server *server)
{
    return server->epoch;
}

size_t redis_server_node_count(const struct redis_server *server)
{
    return server->node_count;
}

const char *redis_server_node_place(const struct redis_server *server, size_t node)
{
    if (node >= server->node_count)
        return NULL;
    return server->nodes[node]->text ? server->nodes[node]->text : redis_server_place(server);
}
