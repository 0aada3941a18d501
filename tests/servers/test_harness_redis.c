/* The Redis servers that other tests stand on. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

static void expect(char *found, const char *expected)
{
    assert_string_equal(found, expected);
    free(found);
}

static void test_one_server(void **state)
{
    (void)state;
    struct redis_box *r = redis_box_start("requirepass secret\nsave 3600 1\n");
    char *folder = strdup(redis_box_folder(r));
    redis_box_do(r, "RPUSH", "q", "a", "b");
    expect(redis_box_ask(r, "LRANGE", "q", "0", "9"), "a\nb");
    expect(redis_box_ask(r, "GET", "nothing"), "(nil)");
    expect(redis_box_ask_in(r, 3, "LLEN", "q"), "0");
    assert_non_null(strstr(redis_box_folder(r), "redis"));
    redis_box_pause(r);
    redis_box_resume(r);
    redis_box_do(r, "SAVE");
    redis_box_kill(r);
    redis_box_again(r);
    expect(redis_box_ask(r, "LLEN", "q"), "2");
    redis_box_halt(r);
    redis_box_again(r);
    assert_true(redis_box_await(r, 5, "2", "LLEN", "q"));
    char *url = redis_box_url(r, 2, "a:b");
    assert_memory_equal(url, "redis://a:b@127.0.0.1:", 22);
    free(url);
    redis_box_free(r);
    assert_int_equal(access(folder, F_OK), -1);
    free(folder);
}

static void test_sentinel(void **state)
{
    (void)state;
    struct redis_box *master = redis_box_start("requirepass secret\n");
    struct redis_box *replica = redis_box_replica(master, "requirepass secret\n");
    struct redis_box *sentinel = redis_box_sentinel(master, "broker", 1);
    redis_box_do(master, "SET", "k", "v");
    assert_true(redis_box_await(replica, 5, "v", "GET", "k"));
    redis_box_free(sentinel);
    redis_box_free(replica);
    redis_box_free(master);
}

static void test_cluster(void **state)
{
    (void)state;
    struct redis_box *nodes[3];
    redis_box_cluster(nodes, 3, NULL);
    char *moved = redis_box_ask(nodes[0], "GET", "foo"); /* slot 12182 */
    assert_memory_equal(moved, "MOVED 12182 127.0.0.1:", 22);
    free(moved);
    redis_box_do(nodes[2], "SET", "foo", "bar");
    for (int i = 0; i < 3; i++)
        redis_box_free(nodes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_server),
        cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_cluster),
    };
    return cmocka_run_group_tests_name("harness_redis", tests, NULL, NULL);
}
