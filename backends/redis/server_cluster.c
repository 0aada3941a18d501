/* A Cluster: which node has which slot, and commands that follow MOVED and ASK. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/server_internal.h"
#include "backends/redis/watch_commands.h"
#include "core/clock.h"

#define DEADLINE_S 5
#define HURRY_S 0.5
#define CALM_S 30

enum { NODES_MAX = 1000, REDIRECTIONS = 5 };

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- slots ---- */

/* CRC-16/XMODEM, as the Cluster specification has it. */
static unsigned crc16(const char *bytes, size_t length)
{
    unsigned crc = 0;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned)(unsigned char)bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

int redis_cluster_slot(const char *key, size_t length)
{
    const char *open = memchr(key, '{', length);
    const char *close = open ? memchr(open + 1, '}', length - (size_t)(open + 1 - key)) : NULL;
    if (close && close > open + 1) {
        length = (size_t)(close - open - 1);
        key = open + 1;
    }
    return (int)(crc16(key, length) % REDIS_SLOTS);
}

/* ---- the map ---- */

static struct redis_node *find_node(struct redis_node **nodes, size_t count, const char *text, size_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i]->text && strcmp(nodes[i]->text, text) == 0) {
            *index = i;
            return nodes[i];
        }
    return NULL;
}

struct map {
    struct redis_node **nodes;
    size_t count;
    int16_t slots[REDIS_SLOTS];
};

/* The node of a range in the new map, taken over from the old one with its connections. NULL: too many. */
static struct redis_node *add_node(struct redis_server *server, struct map *map, const char *host, int port,
                                   size_t *index)
{
    struct redis_place place = {.host = host, .port = port};
    char *text = redis_place_text(NULL, &place);
    size_t old;
    struct redis_node *node = find_node(map->nodes, map->count, text, index);
    if (!node && map->count < NODES_MAX) {
        node = find_node(server->nodes, server->node_count, text, &old);
        if (!node)
            node = redis_node_new(server, host, port);
        node->stays = true;
        map->nodes = must(talloc_realloc(server, map->nodes, struct redis_node *, map->count + 1));
        *index = map->count;
        map->nodes[map->count++] = node;
    }
    talloc_free(text);
    return node;
}

/* The host that a node without a name of its own has: the one that was asked. */
static char *asked_host(const struct redis_server *server)
{
    const char *place = redis_connection_place(server->main);
    const char *colon = place ? strrchr(place, ':') : NULL;
    if (!colon)
        return must(talloc_strdup(NULL, "127.0.0.1"));
    if (*place == '[')
        return must(talloc_strndup(NULL, place + 1, (size_t)(colon - place - 2)));
    return must(talloc_strndup(NULL, place, (size_t)(colon - place)));
}

/* [from, to, [host, port, id ...], replicas ...] */
static bool read_range(struct redis_server *server, struct map *map, const redisReply *range)
{
    size_t index;
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[2]->type != REDIS_REPLY_ARRAY || range->element[2]->elements < 2)
        return false;
    long long from = range->element[0]->integer, to = range->element[1]->integer;
    const redisReply *host = range->element[2]->element[0], *port = range->element[2]->element[1];
    if (from < 0 || to >= REDIS_SLOTS || from > to || port->integer < 1 || port->integer > 65535)
        return false;
    bool named = host->type == REDIS_REPLY_STRING && host->len && strcmp(host->str, "?") != 0;
    char *name = named ? must(talloc_strndup(NULL, host->str, host->len)) : asked_host(server);
    struct redis_node *node = add_node(server, map, name, (int)port->integer, &index);
    talloc_free(name);
    if (!node)
        return false;
    for (long long slot = from; slot <= to; slot++)
        map->slots[slot] = (int16_t)index;
    return true;
}

/* The old nodes that are not in the new map go, with their connections. */
static void take_map(struct redis_server *server, struct map *map)
{
    struct redis_node **before = server->nodes;
    size_t count = server->node_count;
    bool first_stays = server->known && before[0] == map->nodes[0];
    server->nodes = map->nodes;
    server->node_count = map->count;
    memcpy(server->slots, map->slots, sizeof server->slots);
    snprintf(server->place, sizeof server->place, "%zu node%s", map->count, map->count == 1 ? "" : "s");
    bool was_known = server->known;
    server->known = true;
    for (size_t i = 0; i < count; i++)
        if (!before[i]->stays)
            redis_node_free(before[i]);
    talloc_free(before);
    for (size_t i = 0; i < server->node_count; i++)
        server->nodes[i]->stays = false;
    if (!first_stays)
        redis_listeners_connect(server);
    if (server->unlocked)
        redis_server_unlock(server);
    if (!was_known)
        redis_server_soon(server);
    redis_server_tell(server);
}

static void slots_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct redis_server *server = data;
    struct map map = {0};
    (void)index;
    if (error) {
        server->note = *error;
        snprintf(server->note.what, sizeof server->note.what, "cannot read CLUSTER SLOTS");
        if (!server->known)
            redis_server_fail_held(server, error);
        return;
    }
    memset(map.slots, 0xff, sizeof map.slots);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        read_range(server, &map, reply->element[i]);
    if (map.count) {
        error_clear(&server->note);
        take_map(server, &map);
        return;
    }
    error_set(&server->note, ERROR_REFUSED, server->where, "the Cluster is not ready", "Look at CLUSTER INFO",
              "no node has any slots");
    if (!server->known)
        redis_server_fail_held(server, &server->note);
}

static void slots_done(void *data, const struct error *error)
{
    struct redis_server *server = data;
    (void)error;
    server->slots_asked = false;
}

void redis_cluster_check(struct redis_server *server, bool hurry)
{
    double now = clock_monotonic();
    server->slots_wanted |= hurry;
    if (server->dying || redis_connection_state(server->main) != CONNECTION_UP || server->slots_asked ||
        now - server->slots_asked_at < (server->slots_wanted ? HURRY_S : CALM_S))
        return;
    server->slots_wanted = false;
    server->slots_asked = true;
    server->slots_asked_at = now;
    redis_connection_send(server->main, &REDIS_COMMAND("CLUSTER", "SLOTS"), 1, DEADLINE_S,
                          (struct redis_handler){slots_reply, slots_done, server});
}

/* ---- commands ---- */

/* What was asked together, on as many nodes as it takes. */
struct batch {
    struct redis_server *server;
    enum redis_login login;
    struct redis_command *commands;
    int count;
    double deadline_s;
    struct redis_handler handler;
    int left; /* legs under way, and one while they are sent */
    struct error error;
};

/* Commands of a batch that went to one node. */
struct leg {
    struct batch *batch;
    int *indexes;
    int count;
    int redirections;
    bool asking; /* its first reply is that of ASKING */
};

static void send_leg(struct batch *batch, struct redis_node *node, const int *indexes, int count,
                     int redirections, bool asking);

/* "MOVED 3999 127.0.0.1:6381", with the host left out when it is the same. NULL: nothing of the kind. */
static struct redis_node *redirected(struct redis_server *server, const char *why, bool *ask)
{
    char host[256], *end;
    size_t index;
    *ask = strncmp(why, "ASK ", 4) == 0;
    if (!*ask && strncmp(why, "MOVED ", 6) != 0)
        return NULL;
    long slot = strtol(strchr(why, ' ') + 1, &end, 10);
    const char *where = *end == ' ' ? end + 1 : "", *colon = strrchr(where, ':');
    if (slot < 0 || slot >= REDIS_SLOTS || !colon || (size_t)(colon - where) >= sizeof host)
        return NULL;
    int port = (int)strtol(colon + 1, &end, 10);
    if (port < 1 || port > 65535)
        return NULL;
    snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    char *name = *host ? must(talloc_strdup(NULL, host)) : asked_host(server);
    struct redis_place place = {.host = name, .port = port};
    char *text = redis_place_text(NULL, &place);
    struct redis_node *node = find_node(server->nodes, server->node_count, text, &index);
    if (!node && server->node_count < NODES_MAX) {
        node = redis_node_new(server, name, port);
        index = server->node_count;
        server->nodes = must(talloc_realloc(server, server->nodes, struct redis_node *, index + 1));
        server->nodes[server->node_count++] = node;
    }
    if (node && !*ask)
        server->slots[slot] = (int16_t)index;
    server->slots_wanted = true;
    redis_server_soon(server);
    talloc_free(text);
    talloc_free(name);
    return node;
}

static void leg_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct leg *leg = data;
    struct batch *batch = leg->batch;
    bool ask = false;
    if (leg->asking && index-- == 0)
        return;
    if (error && leg->redirections < REDIRECTIONS && !batch->server->dying) {
        struct redis_node *node = redirected(batch->server, error->why, &ask);
        if (node) {
            send_leg(batch, node, &leg->indexes[index], 1, leg->redirections + 1, ask);
            return;
        }
    }
    if (batch->handler.reply)
        batch->handler.reply(batch->handler.data, leg->indexes[index], reply, error);
}

static void leave_batch(struct batch *batch)
{
    if (--batch->left > 0)
        return;
    if (batch->handler.done)
        batch->handler.done(batch->handler.data, batch->error.kind ? &batch->error : NULL);
    talloc_free(batch);
}

static void leg_done(void *data, const struct error *error)
{
    struct leg *leg = data;
    struct batch *batch = leg->batch;
    if (error && !batch->error.kind)
        batch->error = *error;
    talloc_free(leg);
    leave_batch(batch);
}

static void send_leg(struct batch *batch, struct redis_node *node, const int *indexes, int count,
                     int redirections, bool asking)
{
    static const char *const asking_words[] = {"ASKING"};
    struct leg *leg = must(talloc_zero(batch, struct leg));
    struct redis_command *commands = must(talloc_array(leg, struct redis_command, (size_t)count + asking));
    leg->batch = batch;
    leg->count = count;
    leg->indexes = must(talloc_memdup(leg, indexes, sizeof *indexes * (size_t)count));
    leg->redirections = redirections;
    leg->asking = asking;
    if (asking)
        commands[0] = (struct redis_command){.count = 1, .words = asking_words};
    for (int i = 0; i < count; i++)
        commands[i + asking] = batch->commands[indexes[i]];
    batch->left++;
    redis_connection_send(redis_node_connection(node, 0, batch->login), commands, count + asking,
                          batch->deadline_s, (struct redis_handler){leg_reply, leg_done, leg});
}

/* Without a key: any node will do. Slots that nobody has: the node says CLUSTERDOWN. */
static int node_of(const struct redis_server *server, const struct redis_command *command)
{
    size_t length;
    int at = redis_command_key(command);
    if (at < 0)
        return 0;
    const char *key = redis_command_word(command, at, &length);
    int node = server->slots[redis_cluster_slot(key, length)];
    return node >= 0 && (size_t)node < server->node_count ? node : 0;
}

void redis_cluster_route(struct redis_server *server, enum redis_login login,
                         const struct redis_command *commands, int count, double deadline_s,
                         struct redis_handler handler)
{
    struct batch *batch = must(talloc_zero(NULL, struct batch));
    *batch = (struct batch){.server = server,
                            .login = login,
                            .count = count,
                            .deadline_s = deadline_s,
                            .handler = handler,
                            .left = 1};
    batch->commands = redis_commands_copy(batch, commands, count);
    int *nodes = must(talloc_array(batch, int, (size_t)count)),
        *indexes = must(talloc_array(batch, int, (size_t)count));
    for (int i = 0; i < count; i++)
        nodes[i] = node_of(server, &batch->commands[i]);
    size_t node_count = server->node_count;
    for (size_t node = 0; node < node_count; node++) {
        int chosen = 0;
        for (int i = 0; i < count; i++)
            if (nodes[i] == (int)node)
                indexes[chosen++] = i;
        if (chosen && node < server->node_count)
            send_leg(batch, server->nodes[node], indexes, chosen, 0, false);
    }
    leave_batch(batch);
}
