/* What watching may send, where keys stand, and what Redis' own errors become. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/watch_commands.h"
#include "tests/unit/unit.h"

/* Words with blanks between them. */
static struct redis_command command_of(void *context, const char *text)
{
    const char **words = talloc_array(context, const char *, strlen(text) + 1);
    int count = 0;
    char *rest, *copy = talloc_strdup(words, text);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    return (struct redis_command){.count = count, .words = words};
}

static const char *const allowed[] = {
    "PING",
    "ping",
    "INFO",
    "INFO memory",
    "LLEN q",
    "LINDEX q -1",
    "LRANGE q 0 999",
    "LRANGE q -1000 -1",
    "LRANGE q 5000 5999",
    "LPOS q x MAXLEN 1000",
    "LPOS q x RANK -1 MAXLEN 1000",
    "TYPE k",
    "SCAN 0",
    "SCAN 0 MATCH a* COUNT 1000 TYPE set",
    "HSCAN h 0 COUNT 100",
    "HLEN h",
    "HGET h f",
    "HMGET h a b",
    "HGETALL h",
    "ZCARD z",
    "ZCOUNT z -inf +inf",
    "ZRANGE z 0 999",
    "ZRANGE z 0 9 WITHSCORES",
    "ZRANGE z 0 +inf BYSCORE LIMIT 0 1000",
    "ZRANGEBYSCORE z 0 1 LIMIT 0 10",
    "ZREVRANGE z 0 9",
    "ZSCORE z m",
    "SCARD s",
    "SMEMBERS s",
    "SISMEMBER s m",
    "EXISTS k",
    "GET k",
    "MGET a b c",
    "GETRANGE k 0 100",
    "STRLEN k",
    "TTL k",
    "PTTL k",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "MEMORY USAGE k SAMPLES 5",
    "MEMORY STATS",
    "DBSIZE",
    "XLEN s",
    "XINFO STREAM s",
    "XINFO GROUPS s",
    "XINFO CONSUMERS s g",
    "XRANGE s - + COUNT 1000",
    "XREVRANGE s + - COUNT 1",
    "XPENDING s g",
    "XPENDING s g IDLE 5 - + 10",
    "XPENDING s g - + 10",
    "SLOWLOG GET 128",
    "SLOWLOG LEN",
    "LATENCY LATEST",
    "LATENCY HISTORY fork",
    "CLIENT LIST",
    "CLIENT LIST TYPE pubsub",
    "CLIENT ID",
    "CLIENT SETNAME x",
    "CONFIG GET maxmemory",
    "CONFIG GET maxmemory-policy slowlog-log-slower-than",
    "PUBSUB CHANNELS rq:*",
    "PUBSUB NUMSUB a b",
    "CLUSTER SLOTS",
    "ROLE",
    "TIME",
    "SENTINEL MASTERS",
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "sentinel get-master-addr-by-name m",
    "ACL WHOAMI",
    "PSUBSCRIBE x*",
};

static void test_what_watching_may_send(void **state)
{
    struct error error;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        struct redis_command command = command_of(*state, allowed[i]);
        if (!redis_watch_allows(&command, &error))
            fail_msg("refused: %s: %s", allowed[i], error.why);
    }
}

static const char *const refused[] = {
    "",
    "KEYS *",
    "EVAL x 0",
    "EVAL_RO x 0",
    "SCRIPT LOAD x",
    "SET k v",
    "DEL k",
    "UNLINK k",
    "FLUSHALL",
    "LPUSH q x",
    "LPOP q",
    "BRPOP q 1",
    "BLPOP q 1",
    "LREM q 0 x",
    "LSET q 0 x",
    "LRANGE q 0 -1",
    "LRANGE q 0 1000",
    "LRANGE q -1001 -1",
    "LRANGE q -5 5",
    "LRANGE q a b",
    "LRANGE q 0",
    "LPOS q x",
    "LPOS q x MAXLEN 0",
    "LPOS q x MAXLEN 1001",
    "SCAN 0 COUNT 1001",
    "SCAN 0 COUNT 0",
    "SCAN 0 COUNT",
    "HSCAN h 0 COUNT 100000",
    "ZRANGE z 0 -1",
    "ZRANGE z 0 1 BYSCORE",
    "ZRANGEBYSCORE z -inf +inf",
    "ZRANGE z 0 +inf BYSCORE LIMIT 0 -1",
    "ZRANGEBYSCORE z 0 1 LIMIT 0 1001",
    "GETRANGE k 0 -1",
    "XRANGE s - +",
    "XRANGE s - + COUNT 1001",
    "XINFO STREAM s FULL COUNT 0",
    "XPENDING s g - + 1001",
    "MEMORY USAGE k SAMPLES 0",
    "MEMORY PURGE",
    "SLOWLOG GET -1",
    "SLOWLOG GET 1000",
    "SLOWLOG RESET",
    "LATENCY RESET",
    "CLIENT KILL ID 1",
    "CLIENT PAUSE 1",
    "CLIENT NO-EVICT on",
    "CONFIG GET *",
    "CONFIG GET requirepass",
    "CONFIG GET REQUIREPASS",
    "CONFIG GET masterauth",
    "CONFIG GET req*",
    "CONFIG GET r?quirepass",
    "CONFIG SET a b",
    "CONFIG REWRITE",
    "DEBUG SLEEP 1",
    "MONITOR",
    "SAVE",
    "SHUTDOWN",
    "PUBLISH c m",
    "CLUSTER RESET",
    "SENTINEL FAILOVER m",
    "ACL LIST",
    "ACL SETUSER x",
    "COMMAND",
    "SORT k",
    "MIGRATE h",
    "DUMP k",
    "XREAD STREAMS s 0",
    "OBJECT HELP",
    "SUNION a b",
    "PING a b",
    "MULTI",
    "CLIENT",
    "GETEX k",
    "COPY a b",
};

static void test_what_it_may_not(void **state)
{
    struct error error;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct redis_command command = command_of(*state, refused[i]);
        error_clear(&error);
        if (redis_watch_allows(&command, &error))
            fail_msg("allowed: %s", refused[i]);
        assert_int_equal(error.kind, ERROR_INTERLOCK);
    }
}

/* A NUL within a word does not end it. */
static void test_words_are_binary(void **state)
{
    struct error error;
    (void)state;
    const char *words[] = {"GET\0X", "k"};
    assert_false(redis_watch_allows(&(struct redis_command){2, words, (const size_t[]){5, 1}}, &error));
    assert_true(redis_watch_allows(&(struct redis_command){2, words, (const size_t[]){3, 1}}, &error));
}

static void test_where_keys_stand(void **state)
{
    static const struct {
        const char *command;
        int key;
    } cases[] = {{"GET k", 1},         {"XINFO STREAM s", 2},     {"MEMORY USAGE k", 2}, {"PING", -1},
                 {"SCAN 0", -1},       {"EVAL body 1 key a", 3},  {"EVAL body 0 a", -1}, {"LPUSH q x", 1},
                 {"PUBLISH c m", -1},  {"XGROUP DESTROY s g", 2}, {"INFO", -1},          {"RENAMENX a b", 1},
                 {"OBJECT FREQ k", 2}, {"EVALSHA x 2 a b", 3},    {"ZADD z 1 m", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_command command = command_of(*state, cases[i].command);
        assert_int_equal(redis_command_key(&command), cases[i].key);
    }
}

static void test_errors(void **state)
{
    static const struct {
        const char *text;
        enum error_kind kind;
        const char *todo;
    } cases[] = {
        {"NOAUTH Authentication required.", ERROR_AUTH, "redispass"},
        {"WRONGPASS invalid username-password pair or user is disabled.", ERROR_AUTH, "redispass"},
        {"NOPERM this user has no permissions to run the 'client|list' command", ERROR_DENIED,
         "ACL SETUSER USER +client|list"},
        {"NOPERM this user has no permissions to access one of the keys used as arguments", ERROR_DENIED,
         "~*"},
        {"LOADING Redis is loading the dataset in memory", ERROR_REFUSED, "wait"},
        {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", ERROR_REFUSED,
         ""},
        {"CLUSTERDOWN Hash slot not served", ERROR_REFUSED, ""},
        {"BUSY Redis is busy running a script.", ERROR_REFUSED, "SCRIPT KILL"},
        {"READONLY You can't write against a read only replica.", ERROR_SERVER, "master"},
        {"OOM command not allowed when used memory > 'maxmemory'.", ERROR_SERVER, "maxmemory"},
        {"MISCONF Redis is configured to save RDB snapshots", ERROR_SERVER, "disk"},
        {"WRONGTYPE Operation against a key holding the wrong kind of value", ERROR_SERVER, "key"},
        {"ERR unknown command 'XINFO', with args beginning with:", ERROR_UNSUPPORTED, "newer"},
        {"ERR max number of clients reached", ERROR_SLOTS, "maxclients"},
        {"ERR no such key", ERROR_GONE, ""},
        {"ERR something else", ERROR_SERVER, ""},
        {"", ERROR_SERVER, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {0};
        redisReply reply = {
            .type = REDIS_REPLY_ERROR, .str = (char *)cases[i].text, .len = strlen(cases[i].text)};
        redis_error(&error, "production: broker", "INFO", &reply);
        assert_int_equal(error.kind, cases[i].kind);
        assert_string_equal(error.why, cases[i].text);
        if (!strstr(error.todo, cases[i].todo))
            fail_msg("%s: %s", cases[i].text, error.todo);
    }
}

static int context_new(void **state)
{
    *state = talloc_new(NULL);
    return 0;
}

static int context_free(void **state)
{
    return talloc_free(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_watching_may_send, context_new, context_free),
        cmocka_unit_test_setup_teardown(test_what_it_may_not, context_new, context_free),
        cmocka_unit_test(test_words_are_binary),
        cmocka_unit_test_setup_teardown(test_where_keys_stand, context_new, context_free),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests_name("redis_commands", tests, NULL, NULL);
}
