/* What CLIENT LIST, SLOWLOG GET and LATENCY LATEST answer. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/look_internal.h"

/* A client whose answers pile up this high makes the server use memory that maxmemory does not count. */
#define OUTPUT_WARNING (8 << 20)
#define OUTPUT_CRITICAL (64 << 20)

/* ---- clients ---- */

/* The value of NAME= in a line of words; "" stays "", NULL: it is not there. */
static const char *field(const void *context, const char *line, size_t length, const char *name)
{
    size_t name_length = strlen(name);
    for (size_t at = 0; at + name_length < length;) {
        const char *word = line + at, *end = memchr(word, ' ', length - at);
        size_t size = end ? (size_t)(end - word) : length - at;
        if (size > name_length && memcmp(word, name, name_length) == 0 && word[name_length] == '=')
            return look_must(talloc_strndup(context, word + name_length + 1, size - name_length - 1));
        at += size + 1;
    }
    return NULL;
}

static int64_t number_field(const char *line, size_t length, const char *name)
{
    char *end;
    const char *text = field(NULL, line, length, name);
    if (!text)
        return -1;
    long long number = strtoll(text, &end, 10);
    bool good = end != text;
    talloc_free((void *)text);
    return good ? number : -1;
}

static const char *flag_words(const void *context, const char *flags)
{
    static const struct {
        char letter;
        const char *word;
    } words[] = {{'b', "blocked"},     {'P', "subscribed"}, {'S', "replica"}, {'M', "master"},
                 {'O', "monitor"},     {'x', "multi"},      {'d', "watched"}, {'c', "closing"},
                 {'u', "unblocked"},   {'A', "closing"},    {'U', "socket"},  {'r', "readonly"},
                 {'e', "no eviction"}, {'t', "tracking"}};
    char *text = look_must(talloc_strdup(context, ""));
    for (size_t i = 0; flags && i < sizeof words / sizeof *words; i++)
        if (strchr(flags, words[i].letter))
            text = look_must(talloc_asprintf_append(text, "%s%s", *text ? ", " : "", words[i].word));
    return text;
}

static const char *not_empty(const char *text)
{
    return text && *text ? text : NULL;
}

static void add_client(struct redis_clients *clients, const char *node, const char *line, size_t length)
{
    const char *id = field(clients, line, length, "id");
    if (!id)
        return;
    clients->clients =
        look_must(talloc_realloc(clients, clients->clients, struct redis_client, clients->count + 1));
    struct redis_client *c = &clients->clients[clients->count++];
    const char *flags = field(clients, line, length, "flags");
    int64_t age = number_field(line, length, "age"), idle = number_field(line, length, "idle");
    int64_t channels = number_field(line, length, "sub"), patterns = number_field(line, length, "psub");
    *c = (struct redis_client){.node = node,
                               .id = id,
                               .address = not_empty(field(clients, line, length, "addr")),
                               .name = not_empty(field(clients, line, length, "name")),
                               .user = not_empty(field(clients, line, length, "user")),
                               .command = not_empty(field(clients, line, length, "cmd")),
                               .library = not_empty(field(clients, line, length, "lib-name")),
                               .flags = flag_words(clients, flags),
                               .age_s = age < 0 ? NAN : (double)age,
                               .idle_s = idle < 0 ? NAN : (double)idle,
                               .database = number_field(line, length, "db"),
                               .subscriptions = channels < 0 ? -1 : channels + (patterns > 0 ? patterns : 0),
                               .output_bytes = number_field(line, length, "omem"),
                               .memory_bytes = number_field(line, length, "tot-mem"),
                               .blocked = flags && strchr(flags, 'b')};
    c->own = c->name && strncmp(c->name, "signalbox", 9) == 0;
    if (c->output_bytes >= OUTPUT_CRITICAL)
        c->severity = SEVERITY_CRITICAL;
    else if (c->output_bytes >= OUTPUT_WARNING ||
             (flags && strchr(flags, 'O'))) /* MONITOR halves the speed */
        c->severity = SEVERITY_WARNING;
}

void look_read_clients(struct redis_clients *clients, const char *node, const char *text, size_t length)
{
    const char *name = node ? look_must(talloc_strdup(clients, node)) : NULL;
    for (size_t at = 0; at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t size = end ? (size_t)(end - (text + at)) : length - at;
        add_client(clients, name, text + at, size && text[at + size - 1] == '\r' ? size - 1 : size);
        at += size + 1;
    }
}

/* ---- slow log ---- */

static const char *string_of(const void *context, const redisReply *reply)
{
    bool text = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
    return text ? look_text(context, reply->str, reply->len) : NULL;
}

/* "XINFO STREAM" is one command. */
static bool has_subcommand(const char *command)
{
    static const char *const names[] = {"acl",     "client", "cluster", "config",  "debug",
                                        "latency", "memory", "object",  "pubsub",  "script",
                                        "slowlog", "xgroup", "xinfo",   "function"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(command, names[i]) == 0)
            return true;
    return false;
}

/* [id, time, microseconds, [words], client, name]: of the words only the command and its key are taken,
 * because others hold what people wrote. The last of 32 is "... (N more arguments)". */
void look_read_slowlog(struct redis_slowlog *slowlog, const char *node, const redisReply *reply)
{
    const char *name = node ? look_must(talloc_strdup(slowlog, node)) : NULL;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *entry = reply->element[i];
        if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 4 ||
            entry->element[3]->type != REDIS_REPLY_ARRAY || !entry->element[3]->elements)
            continue;
        const redisReply *words = entry->element[3];
        slowlog->entries =
            look_must(talloc_realloc(slowlog, slowlog->entries, struct redis_slow, slowlog->count + 1));
        struct redis_slow *slow = &slowlog->entries[slowlog->count++];
        *slow =
            (struct redis_slow){.node = name,
                                .id = look_must(talloc_asprintf(slowlog, "%lld", entry->element[0]->integer)),
                                .command = string_of(slowlog, words->element[0]),
                                .words = (int64_t)words->elements,
                                .at = (double)entry->element[1]->integer,
                                .ms = (double)entry->element[2]->integer / 1000};
        size_t key = 1;
        if (slow->command && has_subcommand(slow->command) && words->elements > 1) {
            const char *sub = string_of(slowlog, words->element[key++]);
            slow->command = look_must(talloc_asprintf(slowlog, "%s %s", slow->command, sub ? sub : ""));
        }
        bool script = slow->command && strncasecmp(slow->command, "eval", 4) == 0;
        if (script) /* the script itself is long; its first key stands behind the count */
            key =
                words->elements > 3 && words->element[2]->str && strtol(words->element[2]->str, NULL, 10) > 0
                    ? 3
                    : 64;
        if (slow->command && strcasecmp(slow->command, "auth") != 0 && key < words->elements)
            slow->key = string_of(slowlog, words->element[key]);
        if (entry->elements >= 6) {
            slow->client = string_of(slowlog, entry->element[4]);
            slow->name = string_of(slowlog, entry->element[5]);
        }
    }
}

/* ---- latency events ---- */

static const char *event_help(const char *event)
{
    static const struct {
        const char *event, *help;
    } helps[] = {
        {"command", "slow commands: look at the slow log"},
        {"fast-command", "commands that are fast by themselves: the machine or the kernel paused it"},
        {"fork", "a save or a replica: much memory, or huge pages"},
        {"rdb-unlink-temp-file", "removing a temporary file"},
        {"aof-fsync-always", "each write waits for the disk: appendfsync everysec"},
        {"aof-write", "writing to the log"},
        {"aof-write-pending-fsync", "writing waited for an earlier fsync: the disk is slow"},
        {"aof-write-active-child", "writing while a save runs: the disk is slow"},
        {"aof-write-alone", "writing to the log waited for the disk"},
        {"aof-fstat", "asking for the size of the log"},
        {"aof-rename", "swapping a rewritten log in"},
        {"aof-rewrite-diff-write", "the rest of a rewrite"},
        {"active-defrag-cycle", "giving memory back"},
        {"expire-cycle", "many keys expired at once"},
        {"expire-del", "removing a large key that expired"},
        {"eviction-cycle", "memory is full: keys are thrown away"},
        {"eviction-del", "throwing a large key away"},
        {"eviction-lazyfree", "waiting for memory to be freed"},
        {"command-unblocking", "answering those who waited"},
        {"while-blocked-cron", "it was kept busy while loading or in a script"},
    };
    for (size_t i = 0; event && i < sizeof helps / sizeof *helps; i++)
        if (strcmp(helps[i].event, event) == 0)
            return helps[i].help;
    return NULL;
}

/* [event, time, latest ms, worst ms] */
void look_read_latency(struct redis_latencies *latencies, const char *node, const redisReply *reply)
{
    const char *name = node ? look_must(talloc_strdup(latencies, node)) : NULL;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *entry = reply->element[i];
        if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 4)
            continue;
        latencies->events = look_must(
            talloc_realloc(latencies, latencies->events, struct redis_latency, latencies->count + 1));
        struct redis_latency *event = &latencies->events[latencies->count++];
        *event = (struct redis_latency){.node = name,
                                        .event = string_of(latencies, entry->element[0]),
                                        .at = (double)entry->element[1]->integer,
                                        .latest_ms = (double)entry->element[2]->integer,
                                        .worst_ms = (double)entry->element[3]->integer};
        event->help = event_help(event->event);
    }
}
