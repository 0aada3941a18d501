/* What INFO, CLIENT LIST, SLOWLOG GET and keys say of a Redis. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/redis/info.h"
#include "backends/redis/look_internal.h"
#include "tests/unit/unit.h"

#define INFO_START                                                                                           \
    "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nuptime_in_seconds:86400\r\n"               \
    "# Clients\r\nconnected_clients:12\r\nmaxclients:10000\r\nblocked_clients:3\r\n"                         \
    "# Stats\r\ninstantaneous_ops_per_sec:40\r\ninstantaneous_input_kbps:1.50\r\n"                           \
    "instantaneous_output_kbps:2.00\r\nrole:master\r\n"

static const struct redis_fact *find(const struct redis_overview *overview, const char *subject)
{
    for (size_t i = 0; i < overview->count; i++)
        if (strcmp(overview->facts[i].subject, subject) == 0)
            return &overview->facts[i];
    fail_msg("nothing is said about %s", subject);
    return NULL;
}

static struct redis_overview *read_info(void *context, const char *more, const char *save,
                                        struct look_counters *before)
{
    struct look_counters none = {0};
    struct redis_overview *overview = SNAPSHOT_NEW(struct redis_overview);
    char *info = talloc_asprintf(context, "%s%s", INFO_START, more);
    look_read_info(overview, NULL, info, strlen(info), save, before ? before : &none, 1e9);
    return overview;
}

static void expect(void *context, const char *more, const char *save, const char *subject, const char *value,
                   const char *detail, enum severity severity)
{
    struct redis_overview *overview = read_info(context, more, save, NULL);
    const struct redis_fact *fact = find(overview, subject);
    if (value)
        assert_string_equal(fact->value, value);
    else
        assert_null(fact->value);
    if (detail && (!fact->detail || !strstr(fact->detail, detail)))
        fail_msg("%s: %s", subject, fact->detail ? fact->detail : "(null)");
    assert_int_equal(fact->severity, severity);
    snapshot_release(overview);
}

static void test_memory(void **state)
{
    expect(*state, "used_memory:943718400\r\nmaxmemory:1073741824\r\nmaxmemory_policy:allkeys-lru\r\n", NULL,
           "memory", "900 MB of 1.0 GB (88 %)", "allkeys-lru: keys go", SEVERITY_NONE);
    expect(*state, "used_memory:1020054733\r\nmaxmemory:1073741824\r\nmaxmemory_policy:noeviction\r\n", NULL,
           "memory", "973 MB of 1.0 GB (95 %)", "writes fail", SEVERITY_WARNING);
    expect(*state, "used_memory:1063004405\r\nmaxmemory:1073741824\r\nmaxmemory_policy:noeviction\r\n", NULL,
           "memory", "1,014 MB of 1.0 GB (99.0 %)", "writes fail", SEVERITY_CRITICAL);
    expect(*state, "used_memory:1048576\r\nmaxmemory:0\r\ntotal_system_memory:1073741824\r\n", NULL, "memory",
           "1.0 MB of 1.0 GB (0.1 %)", "no maxmemory", SEVERITY_NONE);
    expect(*state, "", NULL, "memory", NULL, NULL, SEVERITY_NONE);
    expect(*state, "used_memory:1048576\r\nused_memory_rss:9048576\r\nmem_fragmentation_ratio:8.6\r\n", NULL,
           "fragmentation", "8.60", "nothing below", SEVERITY_NONE);
    expect(*state, "used_memory:1048576000\r\nused_memory_rss:504857600\r\nmem_fragmentation_ratio:0.48\r\n",
           NULL, "fragmentation", "0.48", "swapped", SEVERITY_CRITICAL);
}

static void test_persistence(void **state)
{
    expect(*state, "rdb_last_save_time:999999000\r\nrdb_changes_since_last_save:7\r\naof_enabled:0\r\n",
           "3600 1", "snapshot (RDB)", "16 m 40 s ago", "7 changes", SEVERITY_NONE);
    expect(*state, "rdb_last_save_time:999900000\r\nrdb_changes_since_last_save:7\r\naof_enabled:0\r\n",
           "3600 1", "snapshot (RDB)", "1 d 4 h ago", "would lose", SEVERITY_WARNING);
    expect(*state, "rdb_last_save_time:999999000\r\nrdb_changes_since_last_save:7\r\naof_enabled:0\r\n", "",
           "snapshot (RDB)", "off", "loses everything", SEVERITY_WARNING);
    expect(*state, "rdb_last_save_time:999999000\r\nrdb_last_bgsave_status:err\r\naof_enabled:0\r\n",
           "3600 1", "snapshot (RDB)", "16 m 40 s ago", "failed", SEVERITY_CRITICAL);
    expect(*state, "aof_enabled:1\r\naof_last_write_status:err\r\n", NULL, "log (AOF)", "on", "disk",
           SEVERITY_CRITICAL);
}

static void test_replication(void **state)
{
    expect(*state,
           "connected_slaves:1\r\nmaster_repl_offset:2048\r\n"
           "slave0:ip=10.0.0.7,port=6379,state=online,offset=1024,lag=1\r\n",
           NULL, "replica", "10.0.0.7:6379", "1.0 kB behind", SEVERITY_NONE);
    expect(*state,
           "connected_slaves:1\r\nmaster_repl_offset:2048\r\n"
           "slave0:ip=10.0.0.7,port=6379,state=wait_bgsave,offset=0,lag=0\r\n",
           NULL, "replica", "10.0.0.7:6379", "not in step", SEVERITY_WARNING);
    struct look_counters none = {0};
    struct redis_overview *overview = SNAPSHOT_NEW(struct redis_overview);
    static const char info[] =
        "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:down\r\n"
        "master_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:61\r\n";
    look_read_info(overview, "n1", info, strlen(info), NULL, &none, 1e9);
    assert_string_equal(find(overview, "replication")->value, "of 10.0.0.1:6379");
    assert_int_equal(find(overview, "replication")->severity, SEVERITY_CRITICAL);
    assert_string_equal(find(overview, "replication")->node, "n1");
    snapshot_release(overview);
}

/* What changed between two looks, and that a restart begins anew. */
static void test_counters(void **state)
{
    struct look_counters before = {0};
    struct redis_overview *overview = read_info(
        *state, "evicted_keys:10\r\nkeyspace_hits:900\r\nkeyspace_misses:100\r\nrejected_connections:0\r\n",
        NULL, &before);
    assert_int_equal(find(overview, "evictions")->severity, SEVERITY_NONE);
    assert_string_equal(find(overview, "hit ratio")->value, "90 %");
    assert_non_null(strstr(find(overview, "hit ratio")->detail, "worth it"));
    snapshot_release(overview);
    before.at -= 10;
    overview = read_info(*state,
                         "evicted_keys:110\r\nkeyspace_hits:900\r\nkeyspace_misses:9100\r\n"
                         "rejected_connections:1\r\nerrorstat_OOM:count=2\r\n",
                         NULL, &before);
    assert_int_equal(find(overview, "evictions")->severity, SEVERITY_CRITICAL); /* OOM */
    assert_string_equal(find(overview, "hit ratio")->value, "9 %");
    assert_non_null(strstr(find(overview, "hit ratio")->detail, "too small"));
    assert_int_equal(find(overview, "clients")->severity, SEVERITY_CRITICAL);
    snapshot_release(overview);
    before.run = 1000000; /* it is younger than it was */
    overview = read_info(*state, "evicted_keys:5\r\nkeyspace_hits:5\r\nkeyspace_misses:5\r\n", NULL, &before);
    assert_int_equal(find(overview, "evictions")->severity, SEVERITY_NONE);
    assert_non_null(strstr(find(overview, "hit ratio")->detail, "too few"));
    snapshot_release(overview);
}

static void test_info_lines(void **state)
{
    char value[8], name[16];
    size_t at = 0;
    static const char info[] =
        "a:1\nab:2\r\n#ac:3\r\nnocolon\r\nlong:1234567890\r\ndb0:keys=12,expires=x,avg_ttl=-3";
    (void)state;
    assert_true(info_text(info, strlen(info), "ab", value, sizeof value));
    assert_string_equal(value, "2");
    assert_true(info_text(info, strlen(info), "long", value, sizeof value));
    assert_string_equal(value, "1234567");
    assert_false(info_text(info, strlen(info), "ac", value, sizeof value));
    assert_false(info_text(info, strlen(info), "lon", value, sizeof value));
    assert_int_equal(info_integer(info, strlen(info), "a", -1), 1);
    assert_int_equal(info_integer(info, strlen(info), "b", -1), -1);
    assert_int_equal(info_field("keys=12,expires=x,avg_ttl=-3", "avg_ttl", 0), -3);
    assert_int_equal(info_field("keys=12,expires=x", "expires", -1), -1);
    assert_int_equal(info_field("", "expires", -1), -1);
    assert_true(info_next(info, strlen(info), &at, "a", name, sizeof name, value, sizeof value));
    assert_true(info_next(info, strlen(info), &at, "a", name, sizeof name, value, sizeof value));
    assert_string_equal(name, "ab");
    assert_false(info_next(info, strlen(info), &at, "a", name, sizeof name, value, sizeof value));
}

static void test_clients(void **state)
{
    static const char list[] =
        "id=3 addr=127.0.0.1:41234 laddr=127.0.0.1:6379 fd=8 name=celery age=120 idle=1 flags=b db=2 sub=0 "
        "psub=0 "
        "ssub=0 multi=-1 qbuf=26 omem=0 tot-mem=1824 events=r cmd=brpop user=default redir=-1 resp=2\n"
        "id=4 addr=10.0.0.9:5 name= age=5 idle=5 flags=P db=0 sub=2 psub=1 omem=99999999 cmd=subscribe "
        "user=a\r\n"
        "garbage\nid=5\n";
    struct redis_clients *clients = SNAPSHOT_NEW(struct redis_clients);
    (void)state;
    look_read_clients(clients, NULL, list, strlen(list));
    assert_int_equal(clients->count, 3);
    assert_string_equal(clients->clients[0].name, "celery");
    assert_string_equal(clients->clients[0].command, "brpop");
    assert_string_equal(clients->clients[0].flags, "blocked");
    assert_true(clients->clients[0].blocked);
    assert_int_equal(clients->clients[0].database, 2);
    assert_int_equal(clients->clients[0].memory_bytes, 1824);
    assert_null(clients->clients[1].name);
    assert_int_equal(clients->clients[1].subscriptions, 3);
    assert_int_equal(clients->clients[1].severity, SEVERITY_CRITICAL);
    assert_string_equal(clients->clients[2].id, "5");
    assert_true(isnan(clients->clients[2].age_s));
    assert_int_equal(clients->clients[2].database, -1);
    snapshot_release(clients);
}

/* The reply that Redis' own protocol writes so. */
static redisReply *reply_of(const char *text)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    assert_int_equal(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    redisReaderFree(reader);
    assert_non_null(reply);
    return reply;
}

static void test_slowlog(void **state)
{
    redisReply *reply =
        reply_of("*3\r\n"
                 "*6\r\n:7\r\n:1000\r\n:12345\r\n*3\r\n$6\r\nLRANGE\r\n$1\r\nq\r\n$6\r\nsecret\r\n"
                 "$14\r\n127.0.0.1:1234\r\n$6\r\nworker\r\n"
                 "*4\r\n:8\r\n:1001\r\n:20\r\n*4\r\n$4\r\nEVAL\r\n$6\r\nscript\r\n$1\r\n1\r\n$1\r\nk\r\n"
                 "*2\r\n:1\r\n:2\r\n");
    struct redis_slowlog *slowlog = SNAPSHOT_NEW(struct redis_slowlog);
    (void)state;
    look_read_slowlog(slowlog, NULL, reply);
    assert_int_equal(slowlog->count, 2);
    assert_string_equal(slowlog->entries[0].command, "LRANGE");
    assert_string_equal(slowlog->entries[0].key, "q");
    assert_float_equal(slowlog->entries[0].ms, 12.345, 1e-9);
    assert_string_equal(slowlog->entries[0].name, "worker");
    assert_string_equal(slowlog->entries[1].command, "EVAL");
    assert_string_equal(slowlog->entries[1].key, "k");
    assert_null(slowlog->entries[1].client);
    freeReplyObject(reply);
    reply = reply_of("*2\r\n*4\r\n$4\r\nfork\r\n:1000\r\n:12\r\n:40\r\n:5\r\n");
    struct redis_latencies *latencies = SNAPSHOT_NEW(struct redis_latencies);
    look_read_latency(latencies, NULL, reply);
    assert_int_equal(latencies->count, 1);
    assert_string_equal(latencies->events[0].event, "fork");
    assert_non_null(latencies->events[0].help);
    freeReplyObject(reply);
    snapshot_release(slowlog);
    snapshot_release(latencies);
}

/* ---- keys ---- */

static void test_prefixes(void **state)
{
    static const char *const cases[][2] = {
        {"celery-task-meta-3fa85f64-5717-4562-b3fc-2c963f66afa6", "celery-task-meta-*"},
        {"celery", "celery"},
        {"unacked_index", "unacked_index"},
        {"_kombu.binding.celery.pidbox", "_kombu.binding.celery.pidbox"},
        {":1:django.contrib.sessions.cacheq4hx0k8f3b2n5m7p9r1t6v8w0y2a4c6e", ":*:django.contrib.sessions.*"},
        {"rq:job:0a1b2c3d-1111-2222-3333-444455556666", "rq:job:*"},
        {"tenant_17:1:user:4711", "tenant_*:*:user:*"},
        {"school-12:cache:9f86d081884c7d659a2feaa0c55ad015", "school-*:cache:*"},
        {"a:b:c:d:e:f", "a:b:c:d:*"},
        {"user4711", "user*"},
        {"db0:v2", "db0:v2"},
        {"page1", "page*"},
        {"2026-11-21", "*-*-*"},
        {"", ""},
        {"x\001y", "x?y"},
    };
    char buffer[96], small[5];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(key_prefix(buffer, sizeof buffer, cases[i][0], strlen(cases[i][0])), cases[i][1]);
    assert_string_equal(key_prefix(small, sizeof small, "abcdefgh", 8), "abcd");
    assert_int_equal(key_use("celery-task-meta-*", "string"), USE_RESULT);
    assert_int_equal(key_use(":*:django.contrib.sessions.*", "string"), USE_SESSION);
    assert_int_equal(key_use("reports", "list"), USE_QUEUE);
    assert_int_equal(key_use("reports", "hash"), USE_OTHER);
}

static const struct redis_prefix *find_prefix(const struct redis_prefix *prefixes, size_t count,
                                              const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(prefixes[i].prefix, name) == 0)
            return &prefixes[i];
    fail_msg("no prefix %s", name);
    return NULL;
}

static void test_groups(void **state)
{
    struct key_groups *groups = key_groups_new(*state);
    struct redis_keyspace *keyspace = SNAPSHOT_NEW(struct redis_keyspace);
    const double factors[] = {10, 1};
    char key[64];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "session:%d", i);
        key_groups_add(groups, 0,
                       &(struct key_seen){key, strlen(key), "string", 100, i < 60 ? INFINITY : 40});
        snprintf(key, sizeof key, "school_%d:page", i % 2);
        key_groups_add(groups, 1, &(struct key_seen){key, strlen(key), "hash", i % 2 ? -1 : 1000, NAN});
    }
    key_groups_read(groups, keyspace, factors, 2);
    assert_int_equal(keyspace->prefix_count, 2);
    const struct redis_prefix *sessions =
        find_prefix(keyspace->prefixes, keyspace->prefix_count, "session:*");
    assert_float_equal(sessions->keys, 1000, 1e-6);
    assert_float_equal(sessions->bytes, 100000, 1e-6);
    assert_float_equal(sessions->without_expiry, 600, 1e-6);
    assert_float_equal(sessions->expires_s, 40, 1e-6);
    assert_int_equal(sessions->severity, SEVERITY_CRITICAL);
    const struct redis_prefix *pages =
        find_prefix(keyspace->prefixes, keyspace->prefix_count, "school_*:page");
    assert_float_equal(pages->bytes, 100000, 1e-6); /* those that could not be weighed are as the others */
    assert_float_equal(pages->share, 0.5, 1e-6);
    assert_string_equal(pages->types, "hash");
    assert_int_equal(pages->severity, SEVERITY_NONE);
    assert_float_equal(find_prefix(keyspace->firsts, keyspace->first_count, "school_1")->keys, 50, 1e-6);
    snapshot_release(keyspace);
    talloc_free(groups);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, context_new, context_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_memory),   TEST(test_persistence), TEST(test_replication),
        TEST(test_counters), TEST(test_info_lines),  TEST(test_clients),
        TEST(test_slowlog),  TEST(test_prefixes),    TEST(test_groups),
    };
    return cmocka_run_group_tests_name("redis_look", tests, NULL, NULL);
}
