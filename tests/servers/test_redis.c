/* Watching real Redis servers: one, a replica, behind Sentinels, a Cluster, through SSH. */
#include <hiredis/hiredis.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis_watch.h"

static void test_one(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start(NULL);
    redis_box_do(r, "RPUSH", "q", "a", "b");
    char *url = redis_box_url(r, 0, NULL), *socket = redis_box_socket_url(r, 0, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    redis_watch_expect(&w, "2", "LLEN", "q"); /* asked before anything is known */
    assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
    assert_int_equal(redis_server_topology(w.server), REDIS_SINGLE);
    assert_int_equal(redis_server_version(w.server)[0], '7');
    assert_non_null(strstr(redis_server_place(w.server), "127.0.0.1:"));
    assert_false(redis_server_is_replica(w.server));
    assert_int_equal(redis_server_note(w.server)->kind, ERROR_NONE);
    redis_watch_expect(&w, "a\nb", "LRANGE", "q", "0", "9");
    redis_watch_expect(&w, "! interlock", "LRANGE", "q", "0", "-1");
    redis_watch_expect(&w, "! interlock", "DEL", "q");
    redis_watch_expect(&w, "! server: WRONGTYPE", "HLEN", "q");
    redis_watch_expect(&w, "(nil)", "GET", "none");
    redis_watch_end(&w);
    redis_watch_start(&w, socket, NULL, NULL, NULL);
    redis_watch_expect(&w, "2", "LLEN", "q");
    assert_string_equal(redis_server_place(w.server), redis_box_socket(r));
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
    free(socket);
}

/* ---- several commands, big values, databases ---- */

struct many {
    int order[8], count, done;
    size_t length;
    char last[64];
};

static void many_reply(void *data, int index, const struct redisReply *reply, const struct error *error)
{
    struct many *m = data;
    m->order[m->count++ % 8] = error ? -index : index;
    if (reply && reply->type == REDIS_REPLY_STRING)
        m->length = reply->len;
}

static void many_done(void *data, const struct error *error)
{
    struct many *m = data;
    m->done += error ? 100 : 1;
}

static bool many_are_done(void *data)
{
    return ((struct many *)data)->done != 0;
}

static void test_pipelines_and_databases(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *r = redis_box_start(NULL);
    enum { BIG = 3 << 20 };
    char *url = redis_box_url(r, 0, NULL), *big = calloc(1, BIG);
    memset(big, 0, BIG); /* zeros: nothing ends at a NUL */
    const char *words[] = {"SET", "big", big};
    free(redis_box_send(r, 2, 3, words, (const size_t[]){3, 3, BIG}));
    redis_watch_start(&w, url, NULL, NULL, NULL);
    struct many m = {0};
    struct redis_command commands[] = {REDIS_COMMAND("PING"), REDIS_COMMAND("FLUSHALL"),
                                       REDIS_COMMAND("GET", "big"), REDIS_COMMAND("LLEN", "big")};
    redis_server_ask(w.server, 2, commands, 4, 5, (struct redis_handler){many_reply, many_done, &m});
    assert_true(loop_until(w.loop, 10, many_are_done, &m));
    assert_int_equal(m.done, 1);
    assert_int_equal(m.count, 4);
    const int expected[] = {0, -1, 2, -3};
    assert_memory_equal(m.order, expected, sizeof expected);
    assert_int_equal(m.length, BIG);
    char *size = redis_box_ask_in(r, 2, "DBSIZE");
    assert_string_equal(size, "1");
    free(size);
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
    free(big);
}

static void test_pace(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    double usual;
    struct redis_box *r = redis_box_start(NULL);
    char *url = redis_box_url(r, 0, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    assert_true(redis_server_pace(w.server) >= 0.1); /* not up yet */
    redis_watch_expect(&w, "PONG", "PING");
    assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
    assert_true(redis_server_ping(w.server, &usual) >= 0 && usual > 0);
    assert_float_equal(redis_server_pace(w.server), 0.005, 0.02);
    redis_box_free(r);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
    assert_true(redis_server_pace(w.server) > 0.1);
    redis_watch_end(&w);
    free(url);
}

/* ---- logins ---- */

static void test_logins(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct error error;
    struct redis_box *r =
        redis_box_start("requirepass secret\n"
                        "user sb_watch on >w ~* &* -@all +ping +info +role +client|setname +llen\n"
                        "user changer on >a ~* &* +@all\n");
    char *watch = redis_box_url(r, 0, "sb_watch:w"), *act = redis_box_url(r, 0, "changer:a");
    redis_watch_start(&w, watch, act, NULL, NULL);
    assert_string_equal(redis_server_act_role(w.server), "changer");
    redis_watch_expect(&w, "0", "LLEN", "q");
    redis_watch_expect(&w, "! denied: NOPERM", "GET", "k");
    assert_false(redis_server_can_act(w.server, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    char *text = redis_watch_act(&w, "LPUSH", "q", "x");
    assert_memory_equal(text, "! interlock", 11);
    free(text);
    redis_server_unlock(w.server);
    text = redis_watch_act(&w, "LPUSH", "q", "x");
    assert_string_equal(text, "1");
    free(text);
    assert_true(redis_server_can_act(w.server, &error));
    struct redis_connection *blocking = redis_server_act_blocking(w.server, 3);
    assert_non_null(blocking);
    redis_connection_free(blocking);
    redis_server_lock(w.server);
    assert_null(redis_server_act_blocking(w.server, 3));
    redis_watch_expect(&w, "1", "LLEN", "q");
    redis_watch_end(&w);
    redis_box_free(r);
    free(watch);
    free(act);
}

/* ---- listening ---- */

struct heard {
    int count;
    char last[64];
};

static void hear(void *data, const struct redisReply *reply)
{
    struct heard *heard = data;
    if (reply->elements == 4 && strcmp(reply->element[0]->str, "pmessage") == 0) {
        heard->count++;
        snprintf(heard->last, sizeof heard->last, "%s", reply->element[3]->str);
    }
}

static bool has_heard(void *data)
{
    return ((struct heard *)data)->count > 0;
}

static bool listens(void *data)
{
    return redis_listener_error(data)->kind == ERROR_NONE;
}

static void test_listening(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct heard heard = {0};
    struct redis_box *r = redis_box_start(NULL);
    char *url = redis_box_url(r, 0, NULL);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    struct redis_listener *listener =
        redis_server_listen(w.server, &REDIS_COMMAND("news.*", "x"), hear, &heard);
    assert_int_equal(redis_listener_error(listener)->kind, ERROR_LOST);
    assert_true(loop_until(w.loop, 5, listens, listener));
    assert_true(redis_box_await(r, 5, "2", "PUBSUB", "NUMPAT"));
    redis_box_do(r, "PUBLISH", "news.a", "hello");
    assert_true(loop_until(w.loop, 5, has_heard, &heard));
    assert_string_equal(heard.last, "hello");
    /* It listens again after a restart. */
    redis_box_kill(r);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_down));
    redis_box_again(r);
    assert_true(redis_watch_until(&w, 10, redis_watch_is_up));
    assert_true(loop_until(w.loop, 10, listens, listener));
    assert_true(redis_box_await(r, 5, "2", "PUBSUB", "NUMPAT"));
    heard.count = 0;
    redis_box_do(r, "PUBLISH", "x", "again");
    assert_true(loop_until(w.loop, 5, has_heard, &heard));
    redis_listener_free(listener);
    assert_true(redis_box_await(r, 5, "0", "PUBSUB", "NUMPAT"));
    redis_watch_end(&w);
    redis_box_free(r);
    free(url);
}

/* ---- replicas, Sentinels, a Cluster ---- */

static void test_replica(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *master = redis_box_start(NULL), *replica = redis_box_replica(master, NULL);
    char *url = redis_box_url(replica, 0, NULL);
    redis_watch_start(&w, url, url, NULL, NULL);
    assert_true(redis_watch_until(&w, 5, redis_watch_is_up));
    redis_watch_expect(&w, "0", "LLEN", "q");
    assert_true(redis_server_is_replica(w.server));
    redis_server_unlock(w.server);
    char *text = redis_watch_act(&w, "LPUSH", "q", "x");
    assert_memory_equal(text, "! server: READONLY", 18);
    free(text);
    redis_watch_end(&w);
    redis_box_free(replica);
    redis_box_free(master);
    free(url);
}

struct failover {
    struct redis_watch *w;
    int port;
};

static bool watches_port(void *data)
{
    struct failover *f = data;
    const char *place = redis_server_place(f->w->server);
    return redis_watch_is_up(f->w) && place && atoi(strrchr(place, ':') + 1) == f->port &&
           !redis_server_is_replica(f->w->server);
}

static void test_sentinel_failover(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct heard heard = {0};
    struct redis_box *master = redis_box_start("requirepass s\n");
    struct redis_box *replica = redis_box_replica(master, "requirepass s\nmasterauth s\n");
    struct redis_box *sentinel = redis_box_sentinel(master, "broker", 1);
    char *url = redis_box_url(sentinel, 1, ":s");
    redis_watch_start(&w, url, url, "broker", NULL);
    redis_server_unlock(w.server);
    struct redis_listener *listener = redis_server_listen(w.server, &REDIS_COMMAND("n"), hear, &heard);
    struct failover f = {&w, redis_box_port(master)};
    assert_true(loop_until(w.loop, 10, watches_port, &f));
    assert_int_equal(redis_server_topology(w.server), REDIS_SENTINEL);
    char *text = redis_watch_act(&w, "LPUSH", "q", "x");
    assert_string_equal(text, "1");
    free(text);
    unsigned epoch = redis_server_epoch(w.server);
    char *behind = redis_box_ask(master, "WAIT", "1", "5000");
    assert_string_equal(behind, "1");
    free(behind);
    redis_box_kill(master);
    f.port = redis_box_port(replica);
    assert_true(loop_until(w.loop, 30, watches_port, &f));
    assert_true(redis_server_epoch(w.server) > epoch);
    redis_watch_expect(&w, "1", "LLEN", "q");
    text = redis_watch_act(&w, "LPUSH", "q", "y");
    assert_string_equal(text, "2");
    free(text);
    assert_true(loop_until(w.loop, 5, listens, listener));
    redis_box_do(replica, "PUBLISH", "n", "m");
    assert_true(loop_until(w.loop, 5, has_heard, &heard));
    redis_watch_end(&w);
    redis_listener_free(listener);
    redis_box_free(sentinel);
    redis_box_free(replica);
    redis_box_free(master);
    free(url);
}

static void test_unknown_master(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *master = redis_box_start(NULL), *sentinel = redis_box_sentinel(master, "broker", 0);
    char *url = redis_box_url(sentinel, 0, NULL);
    redis_watch_start(&w, url, NULL, "other", NULL);
    redis_watch_expect(&w, "! missing", "PING");
    assert_int_equal(redis_server_error(w.server)->kind, ERROR_MISSING);
    redis_watch_end(&w);
    redis_watch_start(&w, url, NULL, NULL, NULL); /* a Sentinel taken for a server */
    redis_watch_expect(&w, "! config", "LLEN", "q");
    redis_watch_end(&w);
    redis_box_free(sentinel);
    redis_box_free(master);
    free(url);
}

static bool has_three_nodes(void *data)
{
    struct redis_watch *w = data;
    return redis_server_node_count(w->server) == 3 && redis_watch_is_up(w);
}

static void move_slot(struct redis_box *from, struct redis_box *to, const char *slot, const char *key)
{
    char *from_id = redis_box_ask(from, "CLUSTER", "MYID"), *to_id = redis_box_ask(to, "CLUSTER", "MYID");
    char port[16];
    snprintf(port, sizeof port, "%d", redis_box_port(to));
    redis_box_do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", from_id);
    redis_box_do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", to_id);
    if (key)
        redis_box_do(from, "MIGRATE", "127.0.0.1", port, key, "0", "5000");
    free(from_id);
    free(to_id);
}

static void test_cluster(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *nodes[3];
    redis_box_cluster(nodes, 3, NULL);
    char *url = redis_box_url(nodes[1], 0, NULL);
    redis_watch_start(&w, url, url, NULL, NULL);
    redis_server_unlock(w.server);
    assert_true(redis_watch_until(&w, 10, has_three_nodes));
    assert_int_equal(redis_server_topology(w.server), REDIS_CLUSTER);
    assert_string_equal(redis_server_place(w.server), "3 nodes");
    redis_box_do(nodes[2], "SET", "foo", "bar");    /* slot 12182 */
    redis_box_do(nodes[0], "SET", "{hello}x", "1"); /* slot 866 */
    redis_watch_expect(&w, "bar", "GET", "foo");
    redis_watch_expect(&w, "1", "GET", "{hello}x");
    char *text = redis_watch_act(&w, "SET", "bar", "written"); /* slot 5061 */
    assert_string_equal(text, "OK");
    free(text);
    /* On its way: the old node says ASK. */
    move_slot(nodes[2], nodes[0], "12182", "foo");
    redis_watch_expect(&w, "bar", "GET", "foo");
    /* Gone: the old node says MOVED. */
    text = redis_box_ask(nodes[0], "CLUSTER", "MYID");
    redis_box_do(nodes[0], "CLUSTER", "SETSLOT", "12182", "NODE", text);
    redis_box_do(nodes[2], "CLUSTER", "SETSLOT", "12182", "NODE", text);
    free(text);
    redis_watch_expect(&w, "bar", "GET", "foo");
    struct many m = {0};
    struct redis_command commands[] = {REDIS_COMMAND("GET", "foo"), REDIS_COMMAND("GET", "bar"),
                                       REDIS_COMMAND("PING"), REDIS_COMMAND("GET", "{hello}x")};
    redis_server_ask(w.server, -1, commands, 4, 5, (struct redis_handler){many_reply, many_done, &m});
    assert_true(loop_until(w.loop, 10, many_are_done, &m));
    assert_int_equal(m.count, 4);
    assert_int_equal(m.done, 1);
    for (size_t i = 0; i < 3; i++) {
        m = (struct many){0};
        redis_server_ask_node(w.server, i, -1, &REDIS_COMMAND("DBSIZE"), 1, 5,
                              (struct redis_handler){many_reply, many_done, &m});
        assert_true(loop_until(w.loop, 10, many_are_done, &m));
        assert_int_equal(m.done, 1);
    }
    redis_watch_end(&w);
    for (int i = 0; i < 3; i++)
        redis_box_free(nodes[i]);
    free(url);
}

static bool nothing(void *data)
{
    (void)data;
    return false;
}

static bool reads_again(void *data)
{
    struct redis_watch *w = data;
    char *text = redis_watch_ask_words(w, false, (const char *const[]){"GET", "{hello}x", NULL});
    bool good = strcmp(text, "1") == 0;
    free(text);
    return good;
}

/* The only host of the URL dies, and its replica takes over. */
static void test_cluster_failover(void **state)
{
    (void)state;
    struct redis_watch w = {0};
    struct redis_box *nodes[3];
    redis_box_cluster(nodes, 3, NULL);
    struct redis_box *replica = redis_box_cluster_replica(nodes, 3, 0);
    char *url = redis_box_url(nodes[0], 0, NULL);
    redis_box_do(nodes[0], "SET", "{hello}x", "1"); /* slot 866 */
    char *behind = redis_box_ask(nodes[0], "WAIT", "1", "5000");
    assert_string_equal(behind, "1");
    free(behind);
    redis_watch_start(&w, url, NULL, NULL, NULL);
    assert_true(redis_watch_until(&w, 10, has_three_nodes));
    assert_true(reads_again(&w));
    redis_box_kill(nodes[0]);
    double end = clock_monotonic() + 40;
    while (!reads_again(&w) && clock_monotonic() < end)
        loop_until(w.loop, 0.2, nothing, NULL);
    assert_true(reads_again(&w));
    assert_true(redis_watch_until(&w, 10, has_three_nodes));
    assert_int_equal(redis_server_note(w.server)->kind, ERROR_NONE);
    redis_watch_end(&w);
    redis_box_free(replica);
    for (int i = 0; i < 3; i++)
        redis_box_free(nodes[i]);
    free(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_pipelines_and_databases),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_listening),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_sentinel_failover),
        cmocka_unit_test(test_unknown_master),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_cluster_failover),
    };
    return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
