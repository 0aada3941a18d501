/* Streams and their consumer groups: found by a pass over the keys, then asked one by one. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/look_internal.h"
#include "core/clock.h"

#define WINDOW "500"

enum {
    STREAMS_MAX = 300,
    SCANNED_MAX = 500000 /* keys looked at for streams, in one pass */
};

struct found {
    char *key;
    size_t length, node;
    int database;
};

struct streams_run {
    struct look_pass pass;
    struct redis_streams *streams;
    struct found *found;
    size_t found_count, asked; /* streams that were found, and asked */
    struct redis_stream now;   /* the one that is being answered */
    size_t first;              /* its first row */
};

static int run_free(struct streams_run *run)
{
    run->pass.look->runs[REDIS_STREAMS] = NULL;
    snapshot_release(run->streams);
    return 0;
}

static void pass_failed(struct look_pass *pass, const struct error *error)
{
    struct redis_look *look = pass->look;
    struct error told = *error;
    talloc_free(pass);
    look_failed(look, REDIS_STREAMS, &told, "cannot look for streams");
}

/* ---- one stream ---- */

/* The value behind a name in a flat array of names and values. */
static const redisReply *named(const redisReply *reply, const char *name)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2)
        if (reply->element[i]->str && strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1];
    return NULL;
}

static int64_t named_integer(const redisReply *reply, const char *name)
{
    const redisReply *value = named(reply, name);
    return value && value->type == REDIS_REPLY_INTEGER ? value->integer : -1;
}

static const char *named_text(const void *context, const redisReply *reply, const char *name)
{
    const redisReply *value = named(reply, name);
    return value && value->type == REDIS_REPLY_STRING ? look_text(context, value->str, value->len) : NULL;
}

static void add_row(struct redis_streams *streams, const struct redis_stream *row)
{
    streams->streams =
        look_must(talloc_realloc(streams, streams->streams, struct redis_stream, streams->count + 1));
    streams->streams[streams->count++] = *row;
}

static void judge(struct redis_stream *row)
{
    if (row->consumers == 0 && (row->lag > 0 || row->pending > 0)) {
        row->severity = SEVERITY_CRITICAL;
        row->why = "entries wait and the group has no consumer";
    } else if (row->pending >= 1000) {
        row->severity = SEVERITY_WARNING;
        row->why = "many entries were given out and not acknowledged";
    } else if (row->lag >= 10000) {
        row->severity = SEVERITY_WARNING;
        row->why = "many entries were not given out yet";
    }
}

static void read_groups(struct streams_run *run, const redisReply *reply)
{
    struct redis_streams *streams = run->streams;
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    for (size_t i = 0; i < count; i++) {
        struct redis_stream row = run->now;
        row.group = named_text(streams, reply->element[i], "name");
        row.consumers = named_integer(reply->element[i], "consumers");
        row.pending = named_integer(reply->element[i], "pending");
        row.lag = named_integer(reply->element[i], "lag");
        row.delivered_id = named_text(streams, reply->element[i], "last-delivered-id");
        judge(&row);
        add_row(streams, &row);
    }
    if (!count)
        add_row(streams, &run->now);
}

static void stream_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct streams_run *run = data;
    struct redis_streams *streams = run->streams;
    if (error && (error->kind == ERROR_DENIED || error->kind == ERROR_UNSUPPORTED))
        run->pass.error = *error;
    if (error) /* gone, or another type meanwhile */
        return;
    if (index == 0) {
        run->now.length = named_integer(reply, "length");
        run->now.groups = named_integer(reply, "groups");
        run->now.last_id = named_text(streams, reply, "last-generated-id");
        run->now.last_at = run->now.last_id ? strtod(run->now.last_id, NULL) / 1000 : 0;
        if (run->now.last_at < 1e9 || run->now.last_at > 4e9) /* ids that are no times */
            run->now.last_at = 0;
    } else if (run->now.length >= 0) {
        read_groups(run, reply);
    }
}

static void ask_stream(struct streams_run *run)
{
    const struct found *found = &run->found[run->asked++];
    const char *node = look_node(run->pass.look, found->node);
    const char *const stream[] = {"XINFO", "STREAM", found->key}, *const groups[] = {"XINFO", "GROUPS",
                                                                                     found->key};
    const size_t stream_lengths[] = {5, 6, found->length};
    const struct redis_command commands[] = {{3, stream, stream_lengths}, {3, groups, stream_lengths}};
    run->now =
        (struct redis_stream){.node = node ? look_must(talloc_strdup(run->streams, node)) : NULL,
                              .stream = look_must(talloc_strndup(run->streams, found->key, found->length)),
                              .database = found->database,
                              .length = -1,
                              .groups = -1,
                              .consumers = -1,
                              .pending = -1,
                              .lag = -1};
    look_ask(run->pass.look, found->node, found->database, commands, 2, stream_reply, look_pass_done, run);
}

/* ---- finding them ---- */

static void scan_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct streams_run *run = data;
    const redisReply *keys = look_pass_keys(&run->pass, reply, error);
    (void)index;
    if (!keys)
        return;
    struct look_database *d = &run->pass.databases[run->pass.at];
    d->scanned += strtol(WINDOW, NULL, 10);
    run->streams->scanned += strtol(WINDOW, NULL, 10);
    for (size_t i = 0; i < keys->elements && run->found_count < STREAMS_MAX; i++) {
        const redisReply *key = keys->element[i];
        if (key->type != REDIS_REPLY_STRING)
            continue;
        run->found = look_must(talloc_realloc(run, run->found, struct found, run->found_count + 1));
        run->found[run->found_count++] = (struct found){look_must(talloc_memdup(run, key->str, key->len + 1)),
                                                        key->len, d->node, d->number};
    }
}

static void next_step(struct look_pass *pass)
{
    struct streams_run *run = (struct streams_run *)pass;
    bool enough = run->found_count == STREAMS_MAX || run->streams->scanned >= SCANNED_MAX;
    if (run->asked < run->found_count || (!enough && look_pass_database(pass))) {
        look_pace(pass->look, REDIS_STREAMS);
        return;
    }
    struct redis_look *look = pass->look;
    struct redis_streams *streams = run->streams;
    for (size_t i = 0; i < pass->count; i++)
        streams->total += pass->databases[i].keys;
    if (!enough)
        streams->scanned = streams->total;
    run->streams = NULL;
    talloc_free(run);
    look_answered(look, REDIS_STREAMS, streams);
}

void look_streams_step(struct redis_look *look)
{
    struct streams_run *run = look->runs[REDIS_STREAMS];
    run->pass.asleep = look->feeds[REDIS_STREAMS].wanted <= 0;
    if (run->pass.asleep)
        return;
    if (run->asked < run->found_count)
        ask_stream(run);
    else
        look_pass_scan(&run->pass, WINDOW, "stream", scan_reply, look_pass_done);
}

void look_streams(struct redis_look *look)
{
    struct streams_run *run = look_must(talloc_zero(look, struct streams_run));
    run->pass = (struct look_pass){.look = look, .next = next_step, .failed = pass_failed};
    run->streams = SNAPSHOT_NEW(struct redis_streams);
    look->runs[REDIS_STREAMS] = run;
    talloc_set_destructor(run, run_free);
    look_pass_begin(&run->pass);
}
