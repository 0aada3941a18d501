/* What watching may send, as one table; and where the keys of commands stand. */
#include "backends/redis/watch_commands.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WINDOW = 1000, SLOWLOG_WINDOW = 128 };

const char *redis_command_word(const struct redis_command *command, int index, size_t *length)
{
    *length = command->lengths ? command->lengths[index] : strlen(command->words[index]);
    return command->words[index];
}

static bool is_word(const struct redis_command *command, int index, const char *word)
{
    size_t length;
    if (index >= command->count)
        return false;
    const char *text = redis_command_word(command, index, &length);
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

/* A whole number that stands alone in a word. */
static bool read_number(const struct redis_command *command, int index, long long *number)
{
    char text[24], *end;
    size_t length;
    if (index >= command->count)
        return false;
    const char *word = redis_command_word(command, index, &length);
    if (!length || length >= sizeof text)
        return false;
    memcpy(text, word, length);
    text[length] = '\0';
    if (!isdigit((unsigned char)text[0]) && text[0] != '-')
        return false;
    *number = strtoll(text, &end, 10);
    return *end == '\0' && *number > LLONG_MIN / 2 && *number < LLONG_MAX / 2;
}

/* The place of an option from `from` on, or 0. */
static int find_option(const struct redis_command *command, int from, const char *word)
{
    for (int i = from; i < command->count; i++)
        if (is_word(command, i, word))
            return i;
    return 0;
}

static bool has_count(const struct redis_command *command, int from, const char *word, long long most)
{
    long long count;
    int at = find_option(command, from, word);
    return at && read_number(command, at + 1, &count) && count > 0 && count <= most;
}

/* ---- what arguments cost ---- */

/* FROM and TO of a list or a sorted set, both counted from the same end. */
static bool is_window(const struct redis_command *c, int from)
{
    long long start, stop;
    if (!read_number(c, from, &start) || !read_number(c, from + 1, &stop))
        return false;
    return (start < 0) == (stop < 0) && stop - start < WINDOW;
}

static bool check_lrange(const struct redis_command *c)
{
    return c->count == 4 && is_window(c, 2);
}

static bool check_lpos(const struct redis_command *c)
{
    return has_count(c, 3, "MAXLEN", WINDOW);
}

/* SCAN may leave COUNT out, which is 10. */
static bool check_scan_from(const struct redis_command *c, int options)
{
    return !find_option(c, options, "COUNT") || has_count(c, options, "COUNT", WINDOW);
}
static bool check_scan(const struct redis_command *c)
{
    return check_scan_from(c, 2);
}
static bool check_key_scan(const struct redis_command *c)
{
    return check_scan_from(c, 3);
}

static bool has_limit(const struct redis_command *c, int from)
{
    long long count;
    int at = find_option(c, from, "LIMIT");
    return at && read_number(c, at + 2, &count) && count >= 0 && count <= WINDOW;
}
static bool check_zrange(const struct redis_command *c)
{
    bool by = find_option(c, 4, "BYSCORE") || find_option(c, 4, "BYLEX");
    return by ? has_limit(c, 4) : is_window(c, 2);
}
static bool check_zrange_by(const struct redis_command *c)
{
    return has_limit(c, 4);
}

static bool check_many(const struct redis_command *c)
{
    return c->count - 1 <= WINDOW;
}

static bool check_xrange(const struct redis_command *c)
{
    return has_count(c, 4, "COUNT", WINDOW);
}

/* XPENDING KEY GROUP [[IDLE ms] START END COUNT [CONSUMER]] */
static bool check_xpending(const struct redis_command *c)
{
    long long count;
    int from = is_word(c, 3, "IDLE") ? 5 : 3;
    return c->count == 3 || (read_number(c, from + 2, &count) && count > 0 && count <= WINDOW);
}

/* FULL without a COUNT gives 10 entries, COUNT 0 all of them. */
static bool check_xinfo_stream(const struct redis_command *c)
{
    return c->count == 3 || (is_word(c, 3, "FULL") && (c->count == 4 || has_count(c, 4, "COUNT", WINDOW)));
}

static bool check_slowlog(const struct redis_command *c)
{
    long long count;
    return c->count == 2 ||
           (c->count == 3 && read_number(c, 2, &count) && count > 0 && count <= SLOWLOG_WINDOW);
}

/* Names, no patterns; never those that hold passwords. */
static bool check_config_get(const struct redis_command *c)
{
    for (int i = 2; i < c->count; i++) {
        char name[64];
        size_t length;
        const char *word = redis_command_word(c, i, &length);
        if (!length || length >= sizeof name)
            return false;
        for (size_t j = 0; j < length; j++) {
            name[j] = (char)tolower((unsigned char)word[j]);
            if (!islower((unsigned char)name[j]) && name[j] != '-')
                return false;
        }
        name[length] = '\0';
        if (strstr(name, "pass") || strstr(name, "auth"))
            return false;
    }
    return true;
}

/* GETRANGE KEY FROM TO: up to 1 MB. */
static bool check_getrange(const struct redis_command *c)
{
    long long start, stop;
    return read_number(c, 2, &start) && read_number(c, 3, &stop) && (start < 0) == (stop < 0) &&
           stop - start < 1 << 20;
}

/* MEMORY USAGE looks at 5 elements by itself; SAMPLES 0 at all. */
static bool check_memory_usage(const struct redis_command *c)
{
    return c->count == 3 || has_count(c, 3, "SAMPLES", 100);
}

static bool check_client_list(const struct redis_command *c)
{
    return c->count == 2 || is_word(c, 2, "TYPE");
}

/* ---- the table ---- */

struct watch_command {
    const char *name, *sub;
    int least, most; /* words, name and subcommand included; most 0: any number */
    int key;         /* where the first key stands; 0: none */
    bool (*check)(const struct redis_command *command);
};

/* In the order of the alphabet, for those who read it. */
static const struct watch_command watch_commands[] = {
    {.name = "ACL", .sub = "WHOAMI", .least = 2, .most = 2},
    {.name = "ASKING", .least = 1, .most = 1},
    {.name = "AUTH", .least = 2, .most = 3},
    {.name = "CLIENT", .sub = "ID", .least = 2, .most = 2},
    {.name = "CLIENT", .sub = "INFO", .least = 2, .most = 2},
    {.name = "CLIENT", .sub = "LIST", .least = 2, .most = 4, .check = check_client_list},
    {.name = "CLIENT", .sub = "SETNAME", .least = 3, .most = 3},
    {.name = "CLUSTER", .sub = "INFO", .least = 2, .most = 2},
    {.name = "CLUSTER", .sub = "NODES", .least = 2, .most = 2},
    {.name = "CLUSTER", .sub = "SHARDS", .least = 2, .most = 2},
    {.name = "CLUSTER", .sub = "SLOTS", .least = 2, .most = 2},
    {.name = "CONFIG", .sub = "GET", .least = 3, .most = 32, .check = check_config_get},
    {.name = "DBSIZE", .least = 1, .most = 1},
    {.name = "EXISTS", .least = 2, .key = 1, .check = check_many},
    {.name = "GET", .least = 2, .most = 2, .key = 1},
    {.name = "GETRANGE", .least = 4, .most = 4, .key = 1, .check = check_getrange},
    {.name = "HELLO", .least = 1},
    {.name = "HEXISTS", .least = 3, .most = 3, .key = 1},
    {.name = "HGET", .least = 3, .most = 3, .key = 1},
    {.name = "HGETALL", .least = 2, .most = 2, .key = 1},
    {.name = "HLEN", .least = 2, .most = 2, .key = 1},
    {.name = "HMGET", .least = 3, .key = 1, .check = check_many},
    {.name = "HSCAN", .least = 3, .key = 1, .check = check_key_scan},
    {.name = "HSTRLEN", .least = 3, .most = 3, .key = 1},
    {.name = "INFO", .least = 1},
    {.name = "LATENCY", .sub = "HISTORY", .least = 3, .most = 3},
    {.name = "LATENCY", .sub = "LATEST", .least = 2, .most = 2},
    {.name = "LINDEX", .least = 3, .most = 3, .key = 1},
    {.name = "LLEN", .least = 2, .most = 2, .key = 1},
    {.name = "LPOS", .least = 3, .key = 1, .check = check_lpos},
    {.name = "LRANGE", .least = 4, .most = 4, .key = 1, .check = check_lrange},
    {.name = "MEMORY", .sub = "DOCTOR", .least = 2, .most = 2},
    {.name = "MEMORY", .sub = "STATS", .least = 2, .most = 2},
    {.name = "MEMORY", .sub = "USAGE", .least = 3, .most = 5, .key = 2, .check = check_memory_usage},
    {.name = "MGET", .least = 2, .key = 1, .check = check_many},
    {.name = "OBJECT", .sub = "ENCODING", .least = 3, .most = 3, .key = 2},
    {.name = "OBJECT", .sub = "FREQ", .least = 3, .most = 3, .key = 2},
    {.name = "OBJECT", .sub = "IDLETIME", .least = 3, .most = 3, .key = 2},
    {.name = "PING", .least = 1, .most = 2},
    {.name = "PSUBSCRIBE", .least = 2},
    {.name = "PTTL", .least = 2, .most = 2, .key = 1},
    {.name = "PUBSUB", .sub = "CHANNELS", .least = 2, .most = 3},
    {.name = "PUBSUB", .sub = "NUMPAT", .least = 2, .most = 2},
    {.name = "PUBSUB", .sub = "NUMSUB", .least = 2, .check = check_many},
    {.name = "PUNSUBSCRIBE", .least = 1},
    {.name = "READONLY", .least = 1, .most = 1},
    {.name = "ROLE", .least = 1, .most = 1},
    {.name = "SCAN", .least = 2, .check = check_scan},
    {.name = "SCARD", .least = 2, .most = 2, .key = 1},
    {.name = "SELECT", .least = 2, .most = 2},
    {.name = "SENTINEL", .sub = "GET-MASTER-ADDR-BY-NAME", .least = 3, .most = 3},
    {.name = "SENTINEL", .sub = "MASTER", .least = 3, .most = 3},
    {.name = "SENTINEL", .sub = "MASTERS", .least = 2, .most = 2},
    {.name = "SENTINEL", .sub = "REPLICAS", .least = 3, .most = 3},
    {.name = "SENTINEL", .sub = "SENTINELS", .least = 3, .most = 3},
    {.name = "SISMEMBER", .least = 3, .most = 3, .key = 1},
    {.name = "SLOWLOG", .sub = "GET", .least = 2, .most = 3, .check = check_slowlog},
    {.name = "SLOWLOG", .sub = "LEN", .least = 2, .most = 2},
    {.name = "SMEMBERS", .least = 2, .most = 2, .key = 1},
    {.name = "SSCAN", .least = 3, .key = 1, .check = check_key_scan},
    {.name = "STRLEN", .least = 2, .most = 2, .key = 1},
    {.name = "SUBSCRIBE", .least = 2},
    {.name = "TIME", .least = 1, .most = 1},
    {.name = "TTL", .least = 2, .most = 2, .key = 1},
    {.name = "TYPE", .least = 2, .most = 2, .key = 1},
    {.name = "UNSUBSCRIBE", .least = 1},
    {.name = "XINFO", .sub = "CONSUMERS", .least = 4, .most = 4, .key = 2},
    {.name = "XINFO", .sub = "GROUPS", .least = 3, .most = 3, .key = 2},
    {.name = "XINFO", .sub = "STREAM", .least = 3, .most = 6, .key = 2, .check = check_xinfo_stream},
    {.name = "XLEN", .least = 2, .most = 2, .key = 1},
    {.name = "XPENDING", .least = 3, .most = 9, .key = 1, .check = check_xpending},
    {.name = "XRANGE", .least = 6, .most = 6, .key = 1, .check = check_xrange},
    {.name = "XREVRANGE", .least = 6, .most = 6, .key = 1, .check = check_xrange},
    {.name = "ZCARD", .least = 2, .most = 2, .key = 1},
    {.name = "ZCOUNT", .least = 4, .most = 4, .key = 1},
    {.name = "ZRANGE", .least = 4, .key = 1, .check = check_zrange},
    {.name = "ZRANGEBYSCORE", .least = 7, .key = 1, .check = check_zrange_by},
    {.name = "ZREVRANGE", .least = 4, .most = 5, .key = 1, .check = check_zrange},
    {.name = "ZREVRANGEBYSCORE", .least = 7, .key = 1, .check = check_zrange_by},
    {.name = "ZSCAN", .least = 3, .key = 1, .check = check_key_scan},
    {.name = "ZSCORE", .least = 3, .most = 3, .key = 1},
};

static const struct watch_command *find_command(const struct redis_command *command)
{
    for (size_t i = 0; i < sizeof watch_commands / sizeof *watch_commands; i++) {
        const struct watch_command *w = &watch_commands[i];
        if (is_word(command, 0, w->name) && (!w->sub || is_word(command, 1, w->sub)))
            return w;
    }
    return NULL;
}

/* Commands whose second word says what they do. */
static bool has_sub(const struct redis_command *command)
{
    static const char *const names[] = {"ACL",      "CLIENT",  "CLUSTER", "CONFIG", "DEBUG",
                                        "LATENCY",  "MEMORY",  "OBJECT",  "PUBSUB", "SCRIPT",
                                        "SENTINEL", "SLOWLOG", "XGROUP",  "XINFO"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_word(command, 0, names[i]))
            return command->count > 1;
    return false;
}

char *redis_command_name(char *buffer, size_t size, const struct redis_command *command)
{
    size_t at = 0;
    for (int i = 0; i < 1 + has_sub(command) && i < command->count; i++) {
        size_t length;
        const char *word = redis_command_word(command, i, &length);
        if (i && at + 1 < size)
            buffer[at++] = ' ';
        for (size_t j = 0; j < length && at + 1 < size; j++) {
            unsigned char c = (unsigned char)word[j];
            buffer[at++] = (char)(c > ' ' && c < 127 ? toupper(c) : '?');
        }
    }
    buffer[at] = '\0';
    return buffer;
}

bool redis_watch_allows(const struct redis_command *command, struct error *error)
{
    char name[64], why[160];
    const struct watch_command *found = command->count > 0 ? find_command(command) : NULL;
    bool fits = found && command->count >= found->least && (!found->most || command->count <= found->most);
    if (fits && (!found->check || found->check(command)))
        return true;
    redis_command_name(name, sizeof name, command);
    snprintf(why, sizeof why, "%s is not on the list of what watching may send", name);
    if (found)
        snprintf(why, sizeof why, "%s with these arguments could cost the server more than 5 ms", name);
    return error_set(error, ERROR_INTERLOCK, NULL, name, NULL, "%s", why);
}

const char *redis_watch_acl(void)
{
    return "ACL SETUSER sb_watch on >PASSWORD ~* &* -@all +acl|whoami +client|id +client|info +client|list"
           " +client|setname +cluster|info +cluster|nodes +cluster|shards +cluster|slots +config|get +dbsize"
           " +exists +get +getrange +hello +hexists +hget +hgetall +hlen +hmget +hscan +hstrlen +info"
           " +latency|history +latency|latest +lindex +llen +lpos +lrange +memory|doctor +memory|stats"
           " +memory|usage +mget +object|encoding +object|freq +object|idletime +ping +psubscribe +pttl"
           " +pubsub|channels +pubsub|numpat +pubsub|numsub +punsubscribe +readonly +asking +role +scan "
           "+scard"
           " +select +sismember +slowlog|get +slowlog|len +smembers +sscan +strlen +subscribe +time +ttl "
           "+type"
           " +unsubscribe +xinfo|consumers +xinfo|groups +xinfo|stream +xlen +xpending +xrange +xrevrange"
           " +zcard +zcount +zrange +zrangebyscore +zrevrange +zrevrangebyscore +zscan +zscore";
}

/* ---- keys ---- */

int redis_command_key(const struct redis_command *command)
{
    /* Writing commands whose first key does not stand behind their name. */
    static const struct {
        const char *name;
        int key;
    } others[] = {{"EVAL", 3},    {"EVALSHA", 3}, {"FCALL", 3},  {"XGROUP", 2}, {"BITOP", 2},
                  {"PUBLISH", 0}, {"SCRIPT", 0},  {"MULTI", 0},  {"EXEC", 0},   {"DISCARD", 0},
                  {"UNWATCH", 0}, {"FLUSHDB", 0}, {"WAIT", 0},   {"CONFIG", 0}, {"SWAPDB", 0},
                  {"LATENCY", 0}, {"SLOWLOG", 0}, {"CLIENT", 0}, {"CLUSTER", 0}};
    long long keys;
    if (command->count < 1)
        return -1;
    const struct watch_command *found = find_command(command);
    int key = found ? found->key : 1;
    for (size_t i = 0; !found && i < sizeof others / sizeof *others; i++)
        if (is_word(command, 0, others[i].name))
            key = others[i].key;
    if (key == 3 && (!read_number(command, 2, &keys) || keys < 1))
        return -1;
    return key && key < command->count ? key : -1;
}
