/* Looking into a real Redis: overview, clients, slow log, what fills it, streams, channels; that nothing
 * takes long. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/look.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis_watch.h"

struct looker {
    struct redis_watch w;
    struct redis_box *r;
    struct redis_look *look;
    enum redis_part part;
    char *url;
};

static void look_at(struct looker *l, const char *config)
{
    memset(l, 0, sizeof *l);
    l->r = redis_box_start(config);
    l->url = redis_box_url(l->r, 0, NULL);
    redis_watch_start(&l->w, l->url, NULL, NULL, NULL);
    l->look = redis_look_new(l->w.loop, l->w.server, NULL, NULL);
}

static void look_away(struct looker *l)
{
    redis_look_free(l->look);
    redis_watch_end(&l->w);
    redis_box_free(l->r);
    free(l->url);
}

static bool settled(void *data)
{
    struct looker *l = data;
    const struct feed *feed = redis_look_feed(l->look, l->part);
    return !feed->in_flight && feed->state != FEED_IDLE;
}

/* Wants the part until it has answered. */
static const void *part_of(struct looker *l, enum redis_part part)
{
    l->part = part;
    redis_look_want(l->look, part, true);
    if (!loop_until(l->w.loop, 30, settled, l))
        fail_msg("no answer");
    const struct feed *feed = redis_look_feed(l->look, part);
    if (feed->state != FEED_LIVE)
        fail_msg("%s: %s", feed->name, feed->error.why);
    return redis_look_latest(l->look, part);
}

static const struct redis_fact *find_fact(const struct redis_overview *overview, const char *subject)
{
    for (size_t i = 0; i < overview->count; i++)
        if (strcmp(overview->facts[i].subject, subject) == 0)
            return &overview->facts[i];
    fail_msg("nothing about %s", subject);
    return NULL;
}

static void test_small_parts(void **state)
{
    struct looker l;
    (void)state;
    look_at(
        &l,
        "enable-debug-command yes\nmaxmemory 50mb\nslowlog-log-slower-than 0\nlatency-monitor-threshold 1\n");
    redis_box_do(l.r, "SET", "k", "v", "EX", "100");
    redis_box_do(l.r, "DEBUG", "SLEEP", "0.01");
    const struct redis_overview *overview = part_of(&l, REDIS_OVERVIEW);
    assert_non_null(strstr(find_fact(overview, "memory")->value, "of 50 MB"));
    assert_string_equal(find_fact(overview, "snapshot (RDB)")->value, "off");
    assert_string_equal(find_fact(overview, "keys in db0")->value, "1");
    assert_non_null(find_fact(overview, "round trip")->value);
    const struct redis_clients *clients = part_of(&l, REDIS_CLIENTS);
    assert_true(clients->count >= 2);
    assert_true(clients->clients[0].own);
    const struct redis_slowlog *slowlog = part_of(&l, REDIS_SLOWLOG);
    assert_true(slowlog->count > 2);
    assert_float_equal(slowlog->threshold_ms, 0, 1e-9);
    const struct redis_latencies *latencies = part_of(&l, REDIS_LATENCY);
    assert_float_equal(latencies->threshold_ms, 1, 1e-9);
    assert_int_equal(latencies->count, 1);
    assert_string_equal(latencies->events[0].event, "command");
    look_away(&l);
}

static bool channel_is_there(void *data)
{
    return redis_listener_error(data)->kind == ERROR_NONE;
}

static void ignore(void *data, const struct redisReply *reply)
{
    (void)data, (void)reply;
}

static void test_streams_and_channels(void **state)
{
    struct looker l;
    (void)state;
    look_at(&l, NULL);
    redis_box_do(l.r, "XADD", "orders", "*", "a", "1");
    redis_box_do(l.r, "XADD", "orders", "*", "a", "2");
    redis_box_do(l.r, "XGROUP", "CREATE", "orders", "billing", "0");
    redis_box_do(l.r, "XREADGROUP", "GROUP", "billing", "w1", "COUNT", "1", "STREAMS", "orders", ">");
    redis_box_do(l.r, "XGROUP", "CREATE", "orders", "nobody", "0");
    redis_box_do(l.r, "XADD", "alone", "*", "a", "1");
    const struct redis_streams *streams = part_of(&l, REDIS_STREAMS);
    assert_int_equal(streams->count, 3);
    for (size_t i = 0; i < streams->count; i++) {
        const struct redis_stream *s = &streams->streams[i];
        if (!s->group) {
            assert_string_equal(s->stream, "alone");
            assert_int_equal(s->length, 1);
        } else if (strcmp(s->group, "billing") == 0) {
            assert_int_equal(s->pending, 1);
            assert_int_equal(s->lag, 1);
            assert_int_equal(s->consumers, 1);
        } else {
            assert_int_equal(s->severity, SEVERITY_CRITICAL);
        }
    }
    struct redis_listener *listener = redis_server_listen(l.w.server, &REDIS_COMMAND("x*"), ignore, NULL);
    assert_true(loop_until(l.w.loop, 5, channel_is_there, listener));
    assert_true(redis_box_await(l.r, 5, "1", "PUBSUB", "NUMPAT"));
    const struct redis_channels *channels = part_of(&l, REDIS_CHANNELS);
    assert_int_equal(channels->patterns, 1);
    assert_int_equal(channels->count, 0);
    redis_listener_free(listener);
    look_away(&l);
}

/* 20,000 keys of several kinds, by a script of the server's. */
static void fill(struct redis_box *r)
{
    redis_box_do(
        r, "EVAL",
        "for i = 1, 10000 do redis.call('SET', 'celery-task-meta-' .. string.format('%08x', i) .. "
        "'-1111-2222-3333-444455556666', string.rep('x', 500)) end "
        "for i = 1, 5000 do redis.call('SET', 'session:' .. i, 'y', 'EX', 1000) end "
        "for i = 1, 5000 do redis.call('SET', 'school_' .. (i % 3) .. ':page:' .. i, 'z', 'EX', 1000) end "
        "for i = 1, 30000 do redis.call('RPUSH', 'celery', string.rep('m', 100)) end return 1",
        "0");
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

static void test_keyspace(void **state)
{
    struct looker l;
    (void)state;
    look_at(&l, "slowlog-log-slower-than 5000\n");
    fill(l.r);
    redis_box_do(l.r, "SLOWLOG", "RESET");
    const struct redis_keyspace *keyspace = part_of(&l, REDIS_KEYSPACE);
    assert_true(keyspace->complete);
    assert_int_equal(keyspace->scanned, keyspace->total);
    assert_false(keyspace->bytes_unknown);
    const struct redis_prefix *results =
        find_prefix(keyspace->prefixes, keyspace->prefix_count, "celery-task-meta-*");
    assert_float_equal(results->keys, 10000, 300);
    assert_float_equal(results->without_expiry, 10000, 300);
    assert_int_equal(results->severity, SEVERITY_CRITICAL);
    assert_true(results->bytes > 5e6 && results->bytes < 9e6);
    const struct redis_prefix *sessions =
        find_prefix(keyspace->prefixes, keyspace->prefix_count, "session:*");
    assert_float_equal(sessions->without_expiry, 0, 1e-9);
    assert_true(sessions->expires_s > 900 && sessions->expires_s <= 1000);
    assert_float_equal(find_prefix(keyspace->firsts, keyspace->first_count, "school_1")->keys, 1667, 60);
    assert_string_equal(keyspace->big[0].key, "celery");
    assert_string_equal(keyspace->big[0].type, "list");
    assert_int_equal(keyspace->big[0].length, 30000);
    assert_string_equal(keyspace->big[0].encoding, "quicklist");
    char *slow = redis_box_ask(l.r, "SLOWLOG", "LEN");
    assert_string_equal(slow, "0"); /* nothing took 5 ms */
    free(slow);
    look_away(&l);
}

static bool has_snapshot(void *data)
{
    struct looker *l = data;
    return redis_look_latest(l->look, REDIS_KEYSPACE) != NULL;
}

/* Freed in the middle, at the server's end, and looked at again after a pause. */
static void test_endings(void **state)
{
    struct looker l;
    (void)state;
    look_at(&l, NULL);
    fill(l.r);
    redis_look_want(l.look, REDIS_KEYSPACE, true);
    redis_look_want(l.look, REDIS_STREAMS, true);
    redis_look_want(l.look, REDIS_OVERVIEW, true);
    assert_true(loop_until(l.w.loop, 20, has_snapshot, &l));
    redis_look_want(l.look, REDIS_KEYSPACE, false);
    redis_look_want(l.look, REDIS_KEYSPACE, true);
    part_of(&l, REDIS_CLIENTS);
    redis_look_want(l.look, REDIS_CLIENTS, false);
    redis_look_want(l.look, REDIS_CLIENTS, true); /* asked, and freed meanwhile */
    look_away(&l);
    look_at(&l, "user default on nopass ~* &* -@all +ping +info +client|setname +role\n");
    l.part = REDIS_CLIENTS;
    redis_look_want(l.look, REDIS_CLIENTS, true);
    assert_true(loop_until(l.w.loop, 10, settled, &l));
    assert_int_equal(redis_look_feed(l.look, REDIS_CLIENTS)->state, FEED_DENIED);
    assert_non_null(strstr(redis_look_feed(l.look, REDIS_CLIENTS)->error.todo, "+client|list"));
    look_away(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_parts),
        cmocka_unit_test(test_streams_and_channels),
        cmocka_unit_test(test_keyspace),
        cmocka_unit_test(test_endings),
    };
    return cmocka_run_group_tests_name("redis_look", tests, NULL, NULL);
}
