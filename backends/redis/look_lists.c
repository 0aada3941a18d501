/* Asking for clients, the slow log, latency events and channels: one node after the other. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/info.h"
#include "backends/redis/look_internal.h"

struct list_run;

struct list_kind {
    enum redis_part part;
    const char *what; /* cannot ... */
    /* The next commands of a node; false: the node is done. */
    bool (*ask)(struct list_run *run);
    /* An answer; an error has been kept. */
    void (*reply)(struct list_run *run, int index, const redisReply *reply);
};

struct list_run {
    struct redis_look *look;
    const struct list_kind *kind;
    void *snapshot;
    size_t node;
    int step;
    int64_t count; /* of what would be listed, where that is asked first */
    size_t at;     /* channels: whose subscribers are asked for next */
    struct error error;
};

static int run_free(struct list_run *run)
{
    snapshot_release(run->snapshot);
    return 0;
}

static void proceed(struct list_run *run);

static void list_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct list_run *run = data;
    if (error && !run->error.kind)
        run->error = *error;
    else if (!error)
        run->kind->reply(run, index, reply);
}

static void list_done(void *data, const struct error *error)
{
    struct list_run *run = data;
    if (!error && run->error.kind)
        error = &run->error;
    if (error) {
        look_failed(run->look, run->kind->part, error, run->kind->what);
        talloc_free(run);
        return;
    }
    run->step++;
    proceed(run);
}

static void ask_node(struct list_run *run, const struct redis_command *commands, int count)
{
    look_ask(run->look, run->node, -1, commands, count, list_reply, list_done, run);
}

static void proceed(struct list_run *run)
{
    while (!run->kind->ask(run)) {
        if (run->error.kind) {
            look_failed(run->look, run->kind->part, &run->error, run->kind->what);
            talloc_free(run);
            return;
        }
        run->step = 0;
        if (++run->node < redis_server_node_count(run->look->server))
            continue;
        void *snapshot = run->snapshot;
        struct redis_look *look = run->look;
        enum redis_part part = run->kind->part;
        run->snapshot = NULL;
        talloc_free(run);
        look_answered(look, part, snapshot);
        return;
    }
}

static void begin(struct redis_look *look, const struct list_kind *kind, void *snapshot)
{
    struct list_run *run = look_must(talloc_zero(NULL, struct list_run));
    run->look = look;
    run->kind = kind;
    run->snapshot = snapshot;
    talloc_set_destructor(run, run_free);
    proceed(run);
}

/* How many there are is asked first: a list of thousands would hold the server up. */
static bool too_many(struct list_run *run, int64_t most, const char *what)
{
    if (run->count <= most)
        return false;
    error_set(&run->error, ERROR_UNSUPPORTED, redis_server_name(run->look->server), run->kind->what, NULL,
              "%lld %s: a list of them would hold the server up for more than 5 ms", (long long)run->count,
              what);
    return true;
}

/* ---- clients ---- */

static bool ask_clients(struct list_run *run)
{
    if (run->step == 0)
        ask_node(run, &REDIS_COMMAND("INFO", "clients"), 1);
    else if (run->step == 1 && !too_many(run, LOOK_CLIENTS_MAX, "clients"))
        ask_node(run, &REDIS_COMMAND("CLIENT", "LIST"), 1);
    else
        return false;
    return true;
}

static void clients_reply(struct list_run *run, int index, const redisReply *reply)
{
    (void)index;
    if (reply->type == REDIS_REPLY_STRING && run->step == 0)
        run->count = info_integer(reply->str, reply->len, "connected_clients", 0);
    else if (reply->type == REDIS_REPLY_STRING)
        look_read_clients(run->snapshot, look_node(run->look, run->node), reply->str, reply->len);
}

void look_clients(struct redis_look *look)
{
    static const struct list_kind kind = {REDIS_CLIENTS, "cannot read CLIENT LIST", ask_clients,
                                          clients_reply};
    begin(look, &kind, SNAPSHOT_NEW(struct redis_clients));
}

/* ---- the slow log ---- */

/* The number of ["name", "number"]; NAN: none. */
static double config_number(const redisReply *reply)
{
    char *end;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !reply->element[1]->str)
        return NAN;
    double number = strtod(reply->element[1]->str, &end);
    return end == reply->element[1]->str ? NAN : number;
}

/* What is not permitted here is only unknown. */
static void config_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    if (index == 0)
        list_reply(data, index, reply, error);
    else if (!error)
        ((struct list_run *)data)->kind->reply(data, index, reply);
}

static bool ask_with_config(struct list_run *run, struct redis_command list, const char *setting)
{
    const struct redis_command commands[] = {list, REDIS_COMMAND("CONFIG", "GET", setting)};
    if (run->step)
        return false;
    look_ask(run->look, run->node, -1, commands, 2, config_reply, list_done, run);
    return true;
}

static bool ask_slowlog(struct list_run *run)
{
    return ask_with_config(run, REDIS_COMMAND("SLOWLOG", "GET", "128"), "slowlog-log-slower-than");
}

static void slowlog_reply(struct list_run *run, int index, const redisReply *reply)
{
    struct redis_slowlog *slowlog = run->snapshot;
    if (index == 0)
        look_read_slowlog(slowlog, look_node(run->look, run->node), reply);
    else
        slowlog->threshold_ms = config_number(reply) / 1000;
}

void look_slowlog(struct redis_look *look)
{
    static const struct list_kind kind = {REDIS_SLOWLOG, "cannot read SLOWLOG", ask_slowlog, slowlog_reply};
    struct redis_slowlog *slowlog = SNAPSHOT_NEW(struct redis_slowlog);
    slowlog->threshold_ms = NAN;
    begin(look, &kind, slowlog);
}

/* ---- latency events ---- */

static bool ask_latency(struct list_run *run)
{
    return ask_with_config(run, REDIS_COMMAND("LATENCY", "LATEST"), "latency-monitor-threshold");
}

static void latency_reply(struct list_run *run, int index, const redisReply *reply)
{
    struct redis_latencies *latencies = run->snapshot;
    if (index == 0)
        look_read_latency(latencies, look_node(run->look, run->node), reply);
    else
        latencies->threshold_ms = config_number(reply);
}

void look_latency(struct redis_look *look)
{
    static const struct list_kind kind = {REDIS_LATENCY, "cannot read LATENCY", ask_latency, latency_reply};
    struct redis_latencies *latencies = SNAPSHOT_NEW(struct redis_latencies);
    latencies->threshold_ms = NAN;
    begin(look, &kind, latencies);
}

/* ---- channels ---- */

enum { NUMSUB_WINDOW = 500 };

static bool ask_subscribers(struct list_run *run)
{
    struct redis_channels *channels = run->snapshot;
    const char *words[NUMSUB_WINDOW + 2] = {"PUBSUB", "NUMSUB"};
    size_t count = 0;
    while (run->at + count < channels->count && count < NUMSUB_WINDOW) {
        words[2 + count] = channels->channels[run->at + count].channel;
        count++;
    }
    if (!count)
        return false;
    ask_node(run, &(struct redis_command){.count = (int)count + 2, .words = words}, 1);
    return true;
}

static bool ask_channels(struct list_run *run)
{
    const struct redis_command commands[] = {REDIS_COMMAND("PUBSUB", "CHANNELS"),
                                             REDIS_COMMAND("PUBSUB", "NUMPAT")};
    if (run->step == 0)
        ask_node(run, &REDIS_COMMAND("INFO", "stats"), 1);
    else if (run->step == 1 && !too_many(run, LOOK_CHANNELS_MAX, "channels"))
        ask_node(run, commands, 2);
    else
        return run->step > 1 && ask_subscribers(run);
    return true;
}

static void add_channels(struct list_run *run, const redisReply *reply)
{
    struct redis_channels *channels = run->snapshot;
    const char *node = look_node(run->look, run->node);
    const char *name = node ? look_must(talloc_strdup(channels, node)) : NULL;
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *channel = reply->element[i];
        if (channel->type != REDIS_REPLY_STRING)
            continue;
        channels->channels = look_must(
            talloc_realloc(channels, channels->channels, struct redis_channel, channels->count + 1));
        char *text = look_must(talloc_strndup(channels, channel->str, channel->len));
        channels->channels[channels->count++] = (struct redis_channel){name, text, -1};
    }
}

/* The channels come back in the order in which they were asked for. */
static void add_subscribers(struct list_run *run, const redisReply *reply)
{
    struct redis_channels *channels = run->snapshot;
    for (size_t i = 0; i + 1 < reply->elements && run->at < channels->count; i += 2)
        channels->channels[run->at++].subscribers = reply->element[i + 1]->integer;
}

static void channels_reply(struct list_run *run, int index, const redisReply *reply)
{
    struct redis_channels *channels = run->snapshot;
    if (run->step == 0 && reply->type == REDIS_REPLY_STRING)
        run->count = info_integer(reply->str, reply->len, "pubsub_channels", 0);
    else if (run->step == 1 && index == 0 && reply->type == REDIS_REPLY_ARRAY)
        add_channels(run, reply);
    else if (run->step == 1)
        channels->patterns += reply->integer;
    else if (reply->type == REDIS_REPLY_ARRAY)
        add_subscribers(run, reply);
}

void look_channels(struct redis_look *look)
{
    static const struct list_kind kind = {REDIS_CHANNELS, "cannot read PUBSUB", ask_channels, channels_reply};
    begin(look, &kind, SNAPSHOT_NEW(struct redis_channels));
}
