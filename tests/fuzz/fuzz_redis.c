/* libFuzzer: any bytes as a URL, as INFO, as CLIENT LIST, as a key, and as what the protocol brings for the
 * slow log and latency events. Nothing is read that is not there, and what is told ends. */
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/look_internal.h"
#include "backends/redis/watch_commands.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_url(void *context, const char *text)
{
    struct redis_url url;
    struct error error;
    if (!redis_url_parse(context, text, &url, &error))
        return;
    if (!url.place_count || url.place_count > REDIS_URL_HOSTS || url.database < 0)
        abort();
    for (size_t i = 0; i < url.place_count; i++)
        if (!url.places[i].path && (!*url.places[i].host || url.places[i].port < 1))
            abort();
    redis_url_place(context, redis_url_copy(context, &url));
}

static void read_replies(const char *bytes, size_t size)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    struct redis_slowlog *slowlog = SNAPSHOT_NEW(struct redis_slowlog);
    struct redis_latencies *latencies = SNAPSHOT_NEW(struct redis_latencies);
    redisReaderFeed(reader, bytes, size);
    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
        struct error error;
        if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
            redis_error(&error, "here", "this", reply);
        look_read_slowlog(slowlog, NULL, reply);
        look_read_latency(latencies, "node", reply);
        freeReplyObject(reply);
    }
    redisReaderFree(reader);
    snapshot_release(slowlog);
    snapshot_release(latencies);
}

static void read_texts(void *context, const char *text, size_t size)
{
    struct look_counters before = {0};
    struct redis_overview *overview = SNAPSHOT_NEW(struct redis_overview);
    struct redis_clients *clients = SNAPSHOT_NEW(struct redis_clients);
    struct redis_keyspace *keyspace = SNAPSHOT_NEW(struct redis_keyspace);
    struct key_groups *groups = key_groups_new(context);
    char prefix[96];
    look_read_info(overview, NULL, text, size, text, &before, 1e9);
    look_read_info(overview, "node", text, size, NULL, &before, 1e9);
    look_read_clients(clients, NULL, text, size);
    if (strlen(key_prefix(prefix, sizeof prefix, text, size)) >= sizeof prefix)
        abort();
    key_groups_add(groups, 3, &(struct key_seen){text, size, "string", (int64_t)size, 5});
    key_groups_read(groups, keyspace, &(const double){1}, 1);
    snapshot_release(overview);
    snapshot_release(clients);
    snapshot_release(keyspace);
}

static void check_command(const char *text, size_t size)
{
    struct error error;
    char name[24];
    const char *words[8];
    size_t lengths[8];
    int count = 0;
    for (size_t at = 0; at <= size && count < 8; count++) {
        const char *end = memchr(text + at, ' ', size - at);
        words[count] = text + at;
        lengths[count] = end ? (size_t)(end - text) - at : size - at;
        at += lengths[count] + 1;
    }
    const struct redis_command command = {count, words, lengths};
    redis_watch_allows(&command, &error);
    redis_command_name(name, sizeof name, &command);
    if (redis_command_key(&command) >= count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *context = talloc_new(NULL);
    char *text = talloc_size(context, size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    read_url(context, text);
    read_replies(text, size);
    read_texts(context, text, size);
    check_command(text, size);
    talloc_free(context);
    return 0;
}
