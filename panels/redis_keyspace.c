/* One Redis: what fills it, its largest keys, its streams and channels. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/redis.h"

/* A command that prints once takes a sample of this long where a whole pass takes longer. */
#define SAMPLE_S 10

/* ---- by how keys begin ---- */

REDIS_PART(keyspace, REDIS_KEYSPACE)
REDIS_TEXT(prefix, name, prefix)
REDIS_TEXT(prefix, types, types)
REDIS_TEXT(prefix, why, why)
REDIS_COUNT(prefix, sampled, sampled)
REDIS_REAL(prefix, largest, largest_bytes)

static struct value estimate(const void *row, double real)
{
    const struct redis_prefix *prefix = REDIS_ITEM(prefix, row);
    if (isnan(real))
        return value_unknown();
    struct value value = value_real(real);
    value.estimated = prefix->keys > (double)prefix->sampled + 0.5;
    return value;
}
static struct value prefix_keys(const void *row)
{
    struct value value = estimate(row, REDIS_ITEM(prefix, row)->keys);
    return (struct value){
        .kind = VALUE_INTEGER, .integer = (int64_t)llround(value.real), .estimated = value.estimated};
}
static struct value prefix_bytes(const void *row)
{
    return estimate(row, REDIS_ITEM(prefix, row)->bytes);
}
static struct value prefix_share(const void *row)
{
    return estimate(row, 100 * REDIS_ITEM(prefix, row)->share);
}
static struct value prefix_each(const void *row)
{
    const struct redis_prefix *prefix = REDIS_ITEM(prefix, row);
    return estimate(row, prefix->bytes / prefix->keys);
}
static struct value prefix_forever(const void *row)
{
    const struct redis_prefix *prefix = REDIS_ITEM(prefix, row);
    struct value value = estimate(row, 100 * prefix->without_expiry / prefix->keys);
    value.severity = prefix->why ? prefix->severity : SEVERITY_NONE;
    return value;
}
static struct value prefix_expires(const void *row)
{
    double seconds = REDIS_ITEM(prefix, row)->expires_s;
    return isnan(seconds) ? value_blank() : value_real(seconds);
}
static struct value prefix_use(const void *row)
{
    const char *use = redis_use_name(REDIS_ITEM(prefix, row)->use);
    return value_text(*use ? use : NULL);
}
static struct value prefix_database(const void *row)
{
    return value_integer(REDIS_ITEM(prefix, row)->database);
}

#define PREFIX_COLUMNS                                                                                        \
    {"keys", "keys", "how many there are", UNIT_COUNT, 9, 0, 0, prefix_keys, NULL},                           \
        {"memory_bytes", "memory", "that they take (MEMORY USAGE of those looked at)", UNIT_BYTES, 9, 0, 0,   \
         prefix_bytes,   NULL},                                                                               \
        {"share_percent", "share", "of the memory of all keys", UNIT_SHARE, 12, 1, 0, prefix_share, NULL},    \
        {"each_bytes", "each", "memory of one, on average", UNIT_BYTES, 8, 2, 0, prefix_each, NULL},          \
        {"largest_bytes", "largest", "of those that were looked at", UNIT_BYTES, 8, 3, 0,                     \
         prefix_largest,  NULL},                                                                              \
        {"without_expiry_percent", "no expiry", "keys that stay for ever", UNIT_PERCENT, 9, 0, 0,             \
         prefix_forever,           NULL},                                                                     \
        {"expires_s", "expires in", "those that expire, on average", UNIT_S, 10, 2, 0, prefix_expires, NULL}, \
        {"types", "type", "of these keys", UNIT_NONE, 10, 1, 0, prefix_types, NULL},                          \
    {                                                                                                         \
        "sampled", "looked at", "keys that the figures come from", UNIT_COUNT, 9, 5, COLUMN_HIDDEN,           \
            prefix_sampled, NULL                                                                              \
    }

static const struct column prefix_columns[] = {
    REDIS_SERVER_COLUMN,
    {"prefix", "keys that begin", "ids, numbers and random parts are a star", UNIT_NONE, 34, 0, 0,
     prefix_name, NULL},
    {"db", "db", "the number of the database", UNIT_ID, 3, 2, 0, prefix_database, NULL},
    PREFIX_COLUMNS,
    {"use", "use", "sessions, results, queue, locks, cache: as far as the name says", UNIT_NONE, 9, 3, 0,
     prefix_use, NULL},
    {"why", "note", "what is wrong with them", UNIT_NONE, 0, 0, 0, prefix_why, NULL},
};

static void add_prefix(struct row_list *list, const char *server, const struct redis_prefix *prefix)
{
    redis_row_add(list, server, prefix->node, prefix,
                  talloc_asprintf(list, "%s/%d/%s", server, prefix->database, prefix->prefix));
}

static void add_prefixes(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_keyspace *keyspace = snapshot;
    for (size_t i = 0; i < keyspace->prefix_count; i++)
        add_prefix(list, server, &keyspace->prefixes[i]);
}

REDIS_ROWS(keyspace, REDIS_KEYSPACE, add_prefixes)

static void keyspace_note(struct app *app, char *buffer, size_t size)
{
    char scanned[32], total[32];
    const struct redis_keyspace *keyspace = redis_part_first(app, REDIS_KEYSPACE);
    *buffer = '\0';
    if (!keyspace)
        return;
    format_count(scanned, sizeof scanned, (double)keyspace->scanned);
    format_count(total, sizeof total, (double)keyspace->total);
    const char *bytes = keyspace->bytes_unknown ? " · sizes are unknown: +memory|usage is not permitted" : "";
    if (keyspace->complete)
        snprintf(buffer, size, "all %s keys were looked through%s", total, bytes);
    else
        snprintf(buffer, size, "scanned %s of %s keys: figures are estimates%s", scanned, total, bytes);
}

/* All of it, or enough for an estimate. */
static bool keyspace_complete(struct app *app)
{
    const struct redis_keyspace *keyspace = redis_part_first(app, REDIS_KEYSPACE);
    struct source_list *sources = source_list_new(NULL);
    bool failed = false;
    keyspace_sources(app, sources);
    for (size_t i = 0; i < sources->count; i++)
        failed |= sources->items[i].feed->error.kind != ERROR_NONE;
    talloc_free(sources);
    return failed ||
           (keyspace && (keyspace->complete || clock_monotonic() - keyspace->pass_began_at > SAMPLE_S));
}

REDIS_DETAIL(prefix, prefix_columns)

const struct view redis_keyspace_view = {
    .id = "keyspace",
    .title = "Keys",
    .summary = "what fills it, by how keys begin: memory, how many, how many never expire",
    .empty = "no keys",
    .columns = prefix_columns,
    .column_count = sizeof prefix_columns / sizeof *prefix_columns,
    .tell = "why",
    .sort = "memory_bytes",
    .descending = true,
    .complete = keyspace_complete,
    .rows = keyspace_rows,
    .note = keyspace_note,
    .detail = prefix_detail_page,
    REDIS_VIEW(keyspace),
};

/* ---- by the first part of keys ---- */

static const struct column first_columns[] = {
    REDIS_SERVER_COLUMN,
    {"first", "first part",
     "what stands before the first colon: the tenant, in most applications with tenants", UNIT_NONE, 30, 0, 0,
     prefix_name, NULL},
    {"db", "db", "the number of the database", UNIT_ID, 3, 2, 0, prefix_database, NULL},
    PREFIX_COLUMNS,
};

static void add_firsts(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_keyspace *keyspace = snapshot;
    for (size_t i = 0; i < keyspace->first_count; i++)
        add_prefix(list, server, &keyspace->firsts[i]);
}

REDIS_ROWS(firsts, REDIS_KEYSPACE, add_firsts)

const struct view redis_firsts_view = {
    .id = "tenants",
    .title = "Tenants",
    .summary = "what fills it, by the first part of keys: tenants, in most applications",
    .empty = "no keys",
    .columns = first_columns,
    .column_count = sizeof first_columns / sizeof *first_columns,
    .sort = "memory_bytes",
    .descending = true,
    .complete = keyspace_complete,
    .rows = firsts_rows,
    .note = keyspace_note,
    REDIS_VIEW(keyspace),
};

/* ---- big keys ---- */

REDIS_TEXT(big_key, key, key)
REDIS_TEXT(big_key, type, type)
REDIS_TEXT(big_key, encoding, encoding)
REDIS_COUNT(big_key, database, database)

static struct value big_key_bytes(const void *row)
{
    struct value value = value_integer(REDIS_ITEM(big_key, row)->bytes);
    value.severity = value.integer >= 256 << 20 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value big_key_length(const void *row)
{
    int64_t length = REDIS_ITEM(big_key, row)->length;
    return length < 0 ? value_blank() : value_integer(length);
}
static struct value big_key_expires(const void *row)
{
    double seconds = REDIS_ITEM(big_key, row)->expires_s;
    if (isinf(seconds))
        return (struct value){.kind = VALUE_NEVER};
    return isnan(seconds) ? value_unknown() : value_real(seconds);
}

static const struct column big_columns[] = {
    REDIS_SERVER_COLUMN,
    {"memory_bytes", "memory", "that it takes (MEMORY USAGE)", UNIT_BYTES, 9, 0, 0, big_key_bytes, NULL},
    {"type", "type", "list, set, zset, hash, string, stream", UNIT_NONE, 8, 0, 0, big_key_type, NULL},
    {"length", "length", "elements; bytes of a string", UNIT_COUNT, 9, 0, 0, big_key_length, NULL},
    {"encoding", "encoding", "how the server keeps it", UNIT_NONE, 10, 3, 0, big_key_encoding, NULL},
    {"expires_s", "expires in", "never: it stays until it is removed", UNIT_S, 10, 1, 0, big_key_expires,
     NULL},
    {"db", "db", "the number of the database", UNIT_ID, 3, 2, 0, big_key_database, NULL},
    {"key", "key", "its name", UNIT_NONE, 0, 0, 0, big_key_key, NULL},
};

static void add_big(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_keyspace *keyspace = snapshot;
    for (size_t i = 0; i < keyspace->big_count; i++) {
        const struct redis_big_key *big = &keyspace->big[i];
        redis_row_add(list, server, big->node, big,
                      talloc_asprintf(list, "%s/%d/%s", server, big->database, big->key));
    }
}

REDIS_ROWS(bigkeys, REDIS_KEYSPACE, add_big)

REDIS_DETAIL(big, big_columns)

const struct view redis_bigkeys_view = {
    .id = "bigkeys",
    .title = "Big keys",
    .summary = "the largest keys that were seen: from 16 kB on, 100 of them",
    .empty = "no key of 16 kB or more was seen",
    .columns = big_columns,
    .column_count = sizeof big_columns / sizeof *big_columns,
    .sort = "memory_bytes",
    .descending = true,
    .complete = keyspace_complete,
    .rows = bigkeys_rows,
    .note = keyspace_note,
    .detail = big_detail_page,
    REDIS_VIEW(keyspace),
};

/* ---- streams ---- */

REDIS_PART(streams, REDIS_STREAMS)
REDIS_TEXT(stream, stream, stream)
REDIS_TEXT(stream, group, group)
REDIS_TEXT(stream, why, why)
REDIS_TEXT(stream, last_id, last_id)
REDIS_TEXT(stream, delivered_id, delivered_id)
REDIS_COUNT(stream, length, length)
REDIS_COUNT(stream, database, database)
REDIS_TIME(stream, last_at, last_at)

static struct value of_group(const void *row, int64_t count)
{
    if (!REDIS_ITEM(stream, row)->group)
        return value_blank();
    return count < 0 ? value_unknown() : value_integer(count);
}
static struct value stream_consumers(const void *row)
{
    return of_group(row, REDIS_ITEM(stream, row)->consumers);
}
static struct value stream_pending(const void *row)
{
    struct value value = of_group(row, REDIS_ITEM(stream, row)->pending);
    value.severity = REDIS_ITEM(stream, row)->pending > 0 ? REDIS_ITEM(stream, row)->severity : SEVERITY_NONE;
    return value;
}
static struct value stream_lag(const void *row)
{
    struct value value = of_group(row, REDIS_ITEM(stream, row)->lag);
    value.severity = REDIS_ITEM(stream, row)->lag > 0 ? REDIS_ITEM(stream, row)->severity : SEVERITY_NONE;
    return value;
}

static const struct column stream_columns[] = {
    REDIS_SERVER_COLUMN,
    {"stream", "stream", "its key", UNIT_NONE, 26, 0, 0, stream_stream, NULL},
    {"group", "group", "of consumers; blank: nobody reads it in a group", UNIT_NONE, 18, 0, 0, stream_group,
     NULL},
    {"length", "length", "entries in it", UNIT_COUNT, 9, 0, 0, stream_length, NULL},
    {"lag", "lag", "entries that were not given to the group yet; ? when the server cannot say", UNIT_COUNT,
     9, 0, 0, stream_lag, NULL},
    {"pending", "pending", "entries that were given out and are not acknowledged", UNIT_COUNT, 9, 0, 0,
     stream_pending, NULL},
    {"consumers", "consumers", "that the group knows; they stay known when they are gone", UNIT_COUNT, 9, 1,
     0, stream_consumers, NULL},
    {"last_at", "last entry", "when it came, by its id", UNIT_TIME, 14, 2, 0, stream_last_at, NULL},
    {"last_id", "last id", "of the newest entry", UNIT_NONE, 18, 9, COLUMN_HIDDEN, stream_last_id, NULL},
    {"delivered_id", "delivered", "the last id that the group was given", UNIT_NONE, 18, 9, COLUMN_HIDDEN,
     stream_delivered_id, NULL},
    {"db", "db", "the number of the database", UNIT_ID, 3, 3, 0, stream_database, NULL},
    {"why", "note", "what is wrong with it", UNIT_NONE, 0, 0, 0, stream_why, NULL},
};

static void add_streams(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_streams *streams = snapshot;
    for (size_t i = 0; i < streams->count; i++) {
        const struct redis_stream *stream = &streams->streams[i];
        redis_row_add(list, server, stream->node, stream,
                      talloc_asprintf(list, "%s/%d/%s/%s", server, stream->database, stream->stream,
                                      stream->group ? stream->group : ""));
    }
}

REDIS_ROWS(streams, REDIS_STREAMS, add_streams)

static void streams_note(struct app *app, char *buffer, size_t size)
{
    char scanned[32], total[32];
    const struct redis_streams *streams = redis_part_first(app, REDIS_STREAMS);
    *buffer = '\0';
    if (streams && streams->scanned < streams->total)
        snprintf(buffer, size, "looked for in %s of %s keys",
                 format_count(scanned, sizeof scanned, (double)streams->scanned),
                 format_count(total, sizeof total, (double)streams->total));
}

REDIS_DETAIL(stream, stream_columns)

const struct view redis_streams_view = {
    .id = "streams",
    .title = "Streams",
    .summary = "streams and their consumer groups: what waits, what is not acknowledged",
    .empty = "no stream was found",
    .columns = stream_columns,
    .column_count = sizeof stream_columns / sizeof *stream_columns,
    .tell = "why",
    .sort = "lag",
    .descending = true,
    .rows = streams_rows,
    .note = streams_note,
    .detail = stream_detail_page,
    REDIS_VIEW(streams),
};

/* ---- channels ---- */

REDIS_PART(channels, REDIS_CHANNELS)
REDIS_TEXT(channel, channel, channel)
REDIS_COUNT(channel, subscribers, subscribers)

static const struct column channel_columns[] = {
    REDIS_SERVER_COLUMN,
    {"subscribers", "listen", "clients that subscribed to it by name", UNIT_COUNT, 8, 0, 0,
     channel_subscribers, NULL},
    {"channel", "channel", "its name", UNIT_NONE, 0, 0, 0, channel_channel, NULL},
};

static void add_channels(struct row_list *list, const char *server, const void *snapshot)
{
    const struct redis_channels *channels = snapshot;
    for (size_t i = 0; i < channels->count; i++) {
        const struct redis_channel *channel = &channels->channels[i];
        redis_row_add(
            list, server, channel->node, channel,
            talloc_asprintf(list, "%s/%s/%s", server, channel->node ? channel->node : "", channel->channel));
    }
}

REDIS_ROWS(channels, REDIS_CHANNELS, add_channels)

static void channels_note(struct app *app, char *buffer, size_t size)
{
    const struct redis_channels *channels = redis_part_first(app, REDIS_CHANNELS);
    *buffer = '\0';
    if (channels)
        snprintf(buffer, size, "%lld subscriptions to patterns besides", (long long)channels->patterns);
}

const struct view redis_channels_view = {
    .id = "channels",
    .title = "Channels",
    .summary = "channels of publish and subscribe that somebody listens to by name",
    .empty = "nobody listens to a channel by its name",
    .columns = channel_columns,
    .column_count = sizeof channel_columns / sizeof *channel_columns,
    .sort = "subscribers",
    .descending = true,
    .rows = channels_rows,
    .note = channels_note,
    REDIS_VIEW(channels),
};
