/* The harness for Celery itself: workers take jobs, are asked, stopped, killed and frozen, and leave nothing.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/celery.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"

struct broker {
    struct redis_box *redis;
    char *url;
};

static int broker_start(void **state)
{
    struct broker *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->redis = redis_box_start(NULL);
    b->url = redis_box_url(b->redis, 0, NULL);
    *state = b;
    return 0;
}

static int broker_end(void **state)
{
    struct broker *b = *state;
    redis_box_free(b->redis);
    free(b->url);
    free(b);
    return 0;
}

static int empty(void **state)
{
    redis_box_do(((struct broker *)*state)->redis, "FLUSHALL");
    return 0;
}

static void jobs_run_once_and_are_told(void **state)
{
    struct broker *b = *state;
    struct celery_site *site = celery_site_new(b->url, NULL, NULL);
    char *ids = celery_send(site, "quick", "[1, \"x\"]", "al_noor", 3, "\"options\": {\"queue\": \"mail\"}");
    assert_true(redis_box_await(b->redis, 0, "3", "LLEN", "mail"));
    assert_int_equal(celery_begun(site, NULL), 0);
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.queues = "mail,celery"});
    assert_string_equal(celery_name(one), "one@test");
    assert_true(celery_await_ended(site, 20, NULL, 3));
    for (const char *id = ids; *id; id = strchr(id, '\n') + 1)
        assert_int_equal(celery_begun(site, id), 1);
    free(ids);
    char *id = celery_send(site, "echo", NULL, "\\u0645\\u0637", 1, NULL);
    assert_true(celery_await_ended(site, 20, id, 1));
    free(id);
    celery_site_free(site);
}

static void workers_answer(void **state)
{
    struct broker *b = *state;
    struct celery_site *site = celery_site_new(b->url, NULL, NULL);
    celery_worker(site, "one", (struct celery_options){.pool = "solo"});
    celery_worker(site, "two",
                  (struct celery_options){.pool = "threads", .concurrency = 2, .words = "-E -O fair"});
    int status;
    char *answer = celery_inspect(site, "ping", NULL, &status);
    assert_int_equal(status, 0);
    assert_non_null(strstr(answer, "\"one@test\": {\"ok\": \"pong\"}"));
    assert_non_null(strstr(answer, "\"two@test\": {\"ok\": \"pong\"}"));
    free(answer);
    answer = celery_inspect(site, "ping", (const char *const[]){"-d", "three@test", NULL}, &status);
    assert_int_not_equal(status, 0);
    free(answer);
    celery_site_free(site);
}

static void what_a_killed_worker_holds_stays(void **state)
{
    struct broker *b = *state;
    struct celery_site *site = celery_site_new(b->url, NULL, "{\"task_acks_late\": true}");
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.concurrency = 2});
    char *id = celery_send(site, "slow", "[600]", NULL, 1, NULL);
    assert_true(celery_await_begun(site, 20, id, 1));
    pid_t children[16];
    size_t count = celery_children(one, children, 16);
    assert_true(count >= 2);
    celery_kill(one);
    assert_false(celery_alive(one));
    for (size_t i = 0; i < count; i++)
        for (int turn = 0; kill(children[i], 0) == 0; turn++) {
            assert_true(turn < 2000);
            poll(NULL, 0, 10);
        }
    assert_true(redis_box_await(b->redis, 0, "1", "HLEN", "unacked"));
    assert_int_equal(celery_ended(site, id), 0);
    free(id);
    celery_site_free(site);
}

static void a_frozen_worker_goes_on(void **state)
{
    struct broker *b = *state;
    struct celery_site *site = celery_site_new(b->url, NULL, NULL);
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){0});
    celery_freeze(one);
    char *id = celery_send(site, "quick", NULL, NULL, 1, NULL);
    assert_int_equal(celery_begun(site, id), 0);
    celery_thaw(one);
    assert_true(celery_await_ended(site, 20, id, 1));
    free(id);
    celery_stop(one);
    assert_false(celery_alive(one));
    char *log = celery_log(one);
    assert_non_null(strstr(log, "succeeded in"));
    free(log);
    celery_site_free(site);
}

static void beat_sends_and_the_dead_are_kept(void **state)
{
    struct broker *b = *state;
    struct celery_site *site = celery_site_new(b->url, NULL, NULL);
    struct celery_process *beat = celery_beat(
        site, "{\"beat_schedule\": {\"each\": {\"task\": \"app.fail\", \"schedule\": 0.2}}}", NULL);
    assert_true(celery_await_log(beat, 20, "Sending due task each"));
    struct celery_process *one = celery_worker(site, "one", (struct celery_options){.dead_letters = true});
    assert_true(celery_await_log(one, 20, "it was told to fail"));
    celery_stop(beat);
    celery_stop(one);
    char *dead = redis_box_ask(b->redis, "LINDEX", "dlq:celery", "0");
    assert_non_null(strstr(dead, "\"x_msg\": \"it was told to fail\""));
    free(dead);
    beat = celery_beat(site, NULL, NULL);
    pid_t pid = celery_pid(beat);
    celery_site_free(site);
    assert_int_not_equal(kill(pid, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(jobs_run_once_and_are_told, empty),
        cmocka_unit_test_setup(workers_answer, empty),
        cmocka_unit_test_setup(what_a_killed_worker_holds_stays, empty),
        cmocka_unit_test_setup(a_frozen_worker_goes_on, empty),
        cmocka_unit_test_setup(beat_sends_and_the_dead_are_kept, empty),
    };
    return cmocka_run_group_tests(tests, broker_start, broker_end);
}
