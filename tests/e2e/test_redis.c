/* The panel of one Redis as people use it, on a real one: its views, what fills it, another server, and that
 * it goes away and comes back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"
#include "tests/harness/stage.h"

struct ground {
    struct stage *stage;
    struct redis_box *broker, *cache;
};

static int begin(void **state)
{
    struct ground *g = calloc(1, sizeof *g);
    char text[1024];
    assert_non_null(g);
    g->stage = stage_new_bare();
    g->broker = redis_box_start("maxmemory 100mb\nslowlog-log-slower-than 0\n");
    g->cache = redis_box_start(NULL);
    snprintf(text, sizeof text,
             "environment: {kind: staging, title: School}\n"
             "redis: {broker: {url: \"redis://127.0.0.1:%d/0\"}, cache: {url: \"unix://%s\"}}\n",
             redis_box_port(g->broker), redis_box_socket(g->cache));
    stage_config(g->stage, "school.yaml", text);
    *state = g;
    return 0;
}

static int end(void **state)
{
    struct ground *g = *state;
    redis_box_free(g->broker);
    redis_box_free(g->cache);
    stage_free(g->stage);
    free(g);
    return 0;
}

static void fill(struct redis_box *r)
{
    redis_box_do(r, "EVAL",
                 "for i = 1, 500 do redis.call('SET', 'celery-task-meta-' .. string.format('%08x', i) .. "
                 "'-1111-2222-3333-444455556666', 'x') end "
                 "for i = 1, 500 do redis.call('LPUSH', 'celery', string.rep('m', 100)) end "
                 "redis.call('XADD', 'orders', '*', 'a', '1') "
                 "redis.call('XGROUP', 'CREATE', 'orders', 'billing', '0') "
                 "for i = 1, 50 do redis.call('SET', 'school_1:page:' .. i, 'x', 'EX', 900) end return 1",
                 "0");
}

static void views_of_one(void **state)
{
    struct ground *g = *state;
    fill(g->broker);
    struct terminal *t =
        stage_open_with(g->stage, 32, 160, NULL, NULL, (const char *const[]){"-e", "school", NULL});
    terminal_wait(t, 20, "School");
    terminal_keys(t, "4");
    terminal_wait(t, 20, "Jobs");
    terminal_keys(t, "m");
    terminal_wait(t, 20, "hit ratio");
    terminal_wait(t, 10, "of 100 MB");
    terminal_wait(t, 10, "master 7");
    terminal_keys(t, "F3");
    terminal_wait(t, 20, "celery-task-meta-*");
    terminal_wait(t, 20, "were looked through");
    terminal_wait(t, 10, "results that never expire");
    terminal_keys(t, "t");
    terminal_wait(t, 10, "school_1");
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "quicklist");
    terminal_keys(t, "F6");
    terminal_wait(t, 10, "signalbox-pulse");
    terminal_keys(t, "F8");
    terminal_wait(t, 10, "what took over");
    terminal_keys(t, "s");
    terminal_wait(t, 20, "billing");
    terminal_wait(t, 10, "no consumer");
    terminal_keys(t, "x");
    terminal_wait(t, 10, "latency-monitor-threshold");
    terminal_keys(t, "i");
    terminal_wait(t, 10, "subscriptions to patterns");
    /* The other one, in the same view. */
    terminal_keys(t, "c");
    stage_choose(t, "redis.sock");
    terminal_wait(t, 10, "› cache ›");
    terminal_keys(t, "F2");
    terminal_wait(t, 10, "redis.sock");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 10, "hit ratio");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void it_goes_and_comes_back(void **state)
{
    struct ground *g = *state;
    struct terminal *t =
        stage_open_with(g->stage, 32, 120, NULL, NULL, (const char *const[]){"-e", "school", NULL});
    terminal_wait(t, 20, "School");
    terminal_keys(t, "4", "m");
    terminal_wait(t, 20, "hit ratio");
    redis_box_kill(g->broker);
    terminal_wait(t, 20, "refused");
    terminal_expect(t, "hit ratio"); /* what was known stays */
    redis_box_again(g->broker);
    terminal_wait(t, 30, "a short while ago");
    terminal_wait_gone(t, 30, "refused");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void as_a_command(void **state)
{
    struct ground *g = *state;
    fill(g->broker);
    struct stage_run run =
        stage_command(g->stage, "redis", "-e", "school", "--server", "broker", "--view", "keyspace", "--csv");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "celery-task-meta-*"));
    stage_run_free(&run);
    run = stage_command(g->stage, "redis", "-e", "school", "--json");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "\"panel\":\"redis\""));
    assert_non_null(strstr(run.out, "\"server\":\"cache\""));
    stage_run_free(&run);
    run = stage_command(g->stage, "redis", "-e", "school", "--server", "nowhere");
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "broker, cache"));
    stage_run_free(&run);
    redis_box_kill(g->cache);
    run = stage_command(g->stage, "redis", "-e", "school");
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.out, "broker"));
    assert_non_null(strstr(run.err, "refused"));
    stage_run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(views_of_one, begin, end),
        cmocka_unit_test_setup_teardown(it_goes_and_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(as_a_command, begin, end),
    };
    return cmocka_run_group_tests_name("redis_panel", tests, NULL, NULL);
}
