/* The Redis servers of an environment: from its file and from the command line. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment.h"
#include "tests/unit/unit.h"

struct fixture {
    struct error_list *errors;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->errors = error_list_new(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    return talloc_free(*state);
}

static struct environment *parse(struct fixture *f, const char *text)
{
    return environment_parse(f, "x.yaml", text, strlen(text), f->errors);
}

static void assert_refused(struct fixture *f, const char *text, const char *expected)
{
    f->errors = error_list_new(f);
    assert_null(parse(f, text));
    assert_string_equal(error_list_text(f, f->errors), expected);
    f->errors = error_list_new(f);
}

static void test_redis_servers(void **state)
{
    struct fixture *f = *state;
    struct environment *e =
        parse(f, "redis: {q: {url: \"redis://w@s1,s2:26380/1\", act: \"redis://a@s1/1\", master: queue}}\n");
    assert_non_null(e);
    assert_string_equal(e->redis[0].url, "redis://w@s1,s2:26380/1");
    assert_string_equal(e->redis[0].act, "redis://a@s1/1");
    assert_string_equal(e->redis[0].master, "queue");
    assert_null(e->redis[0].via);
    assert_refused(f, "redis: {q: {url: \"redis://h\", act: \"redis://a:b@h\"}}\n",
                   "x.yaml:1:36: redis.q.act: the URL holds a password. Take it out and use "
                   "~/.config/signalbox/redispass or REDISCLI_AUTH\n");
}

static void test_redis_of_the_command_line(void **state)
{
    struct fixture *f = *state;
    static const char *const urls[] = {"redis://a:secret@r1", "redis://r1/0", "redis://r1:6380/2",
                                       "unix:///run/r.sock?db=1"};
    static const char *const names[] = {"r1/0", "r1/0-2", "r1:6380/2", "local/1"};
    struct environment *e = environment_from_arguments(
        f, &(struct environment_arguments){.redis = urls, .redis_count = 4}, f->errors);
    assert_non_null(e);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(e->redis[i].name, names[i]);
        assert_string_equal(e->redis[i].url, urls[i]);
        assert_string_equal(e->redis[i].act, urls[i]);
    }
    assert_int_equal(e->kind, ENVIRONMENT_ADHOC);
    assert_string_equal(e->title, "4 Redis");
    static const char *const wrong[] = {"redis://u:secret@h:x"};
    assert_null(environment_from_arguments(
        f, &(struct environment_arguments){.redis = wrong, .redis_count = 1}, f->errors));
    assert_int_equal(f->errors->count, 1);
    assert_null(strstr(error_list_text(f, f->errors), "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_redis_servers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_redis_of_the_command_line, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("environment_redis", tests, NULL, NULL);
}
