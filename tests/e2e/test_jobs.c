/* The Jobs panel and its command on a real Redis and real Celery workers: what is told is what is there, and
 * what is done is what the worker then does. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "tests/harness/celery.h"
#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/redis.h"
#include "tests/harness/stage.h"

struct jobs_stage {
    struct stage *stage;
    struct redis_box *redis;
    struct celery_site *site;
};

/* The environment names the broker with a login that watches and one that acts. */
static void environment(struct jobs_stage *s, bool locked)
{
    char *watch = redis_box_url(s->redis, 0, NULL), text[1000];
    snprintf(text, sizeof text,
             "environment: {kind: staging, title: School}\naccess: {locked: %s}\n"
             "redis: {broker: {url: \"%s\", act: \"%s\"}}\n",
             locked ? "true" : "false", watch, watch);
    stage_config(s->stage, "school.yaml", text);
    free(watch);
}

static int begin(void **state)
{
    struct jobs_stage *s = talloc_zero(NULL, struct jobs_stage);
    s->redis = redis_box_start(NULL);
    char *url = redis_box_url(s->redis, 0, NULL);
    s->site = celery_site_new(url, NULL, NULL);
    s->stage = stage_new_bare();
    free(url);
    environment(s, false);
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct jobs_stage *s = *state;
    celery_site_free(s->site);
    redis_box_free(s->redis);
    stage_free(s->stage);
    talloc_free(s);
    return 0;
}

/* Jobs of a queue that no worker takes from, so that they stay where they are. */
static char *send(struct jobs_stage *s, const char *task, const char *tenant, int count, const char *queue)
{
    char options[200];
    snprintf(options, sizeof options, "\"sent_at\": true, \"options\": {\"queue\": \"%s\"}", queue);
    return celery_send(s->site, task, "[1]", tenant, count, options);
}

static struct json_object *command_rows(const struct stage_run *run, struct json_object **envelope)
{
    struct json_object *rows = NULL;
    *envelope = json_tokener_parse(run->out);
    if (!*envelope || !json_object_object_get_ex(*envelope, "rows", &rows))
        fail_msg("no rows: %s%s", run->out, run->err);
    return rows;
}

static struct json_object *row_named(struct json_object *rows, const char *key, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i), *value;
        if (json_object_object_get_ex(row, key, &value) && value &&
            strcmp(json_object_get_string(value), name) == 0)
            return row;
    }
    fail_msg("no row with %s %s in %s", key, name, json_object_to_json_string(rows));
    return NULL;
}

static int64_t number(struct json_object *row, const char *key)
{
    struct json_object *value;
    if (!json_object_object_get_ex(row, key, &value))
        fail_msg("no key %s in %s", key, json_object_to_json_string(row));
    return value ? json_object_get_int64(value) : -1;
}

/* Every key that is promised stands in every row; the figures are what Redis has. */
static void test_queues_as_json(void **state)
{
    static const char *const keys[] = {"system",          "queue",    "ready",     "unacked", "scheduled",
                                       "retrying",        "dead",     "failed",    "paused",  "head_age_s",
                                       "head_age_source", "in_per_s", "out_per_s", "drain_s", "consumers",
                                       "poison",          "server"};
    struct jobs_stage *s = *state;
    struct json_object *envelope;
    free(send(s, "quick", "al_noor", 7, "reports"));
    free(send(s, "quick", "st_marys", 3, "reports"));
    struct stage_run run = stage_command(s->stage, "jobs", "-e", "school", "--json");
    assert_int_equal(run.status, 0);
    struct json_object *rows = command_rows(&run, &envelope), *row = row_named(rows, "queue", "reports");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_object_object_get_ex(row, keys[i], NULL))
            fail_msg("no key %s in %s", keys[i], json_object_to_json_string(row));
    assert_int_equal(number(row, "ready"), 10);
    json_object_put(envelope);
    stage_run_free(&run);
}

static void test_jobs_as_json(void **state)
{
    struct jobs_stage *s = *state;
    struct json_object *envelope;
    free(send(s, "quick", "al_noor", 7, "reports"));
    free(send(s, "echo", "st_marys", 3, "reports"));
    struct stage_run run = stage_command(s->stage, "jobs", "-e", "school", "--json", "--view", "jobs",
                                         "--queue", "reports", "--limit", "4");
    assert_int_equal(run.status, 0);
    struct json_object *rows = command_rows(&run, &envelope), *value;
    assert_int_equal(json_object_array_length(rows), 4);
    assert_true(json_object_object_get_ex(json_object_array_get_idx(rows, 0), "tenant", &value));
    assert_string_equal(json_object_get_string(value), "al_noor");
    json_object_put(envelope);
    stage_run_free(&run);
    run = stage_command(s->stage, "jobs", "-e", "school", "--json", "--view", "jobs", "--queue", "reports",
                        "--filter", "tenant=st_marys task:echo");
    rows = command_rows(&run, &envelope);
    assert_int_equal(json_object_array_length(rows), 3);
    json_object_put(envelope);
    stage_run_free(&run);
    run = stage_command(s->stage, "jobs", "-e", "school", "--json", "--view", "jobs", "--queue", "reports",
                        "--from", "tail", "--limit", "1");
    rows = command_rows(&run, &envelope);
    assert_true(json_object_object_get_ex(json_object_array_get_idx(rows, 0), "tenant", &value));
    assert_string_equal(json_object_get_string(value), "st_marys");
    json_object_put(envelope);
    stage_run_free(&run);
}

/* A dry run says exactly how many and sends nothing; parked jobs do not run; put back they run once. */
static void test_parking(void **state)
{
    struct jobs_stage *s = *state;
    char *kept = send(s, "quick", "al_noor", 1, "reports"),
         *parked = send(s, "quick", "st_marys", 2, "reports");
    struct stage_run run = stage_command(s->stage, "jobs", "park", "-e", "school", "--queue", "reports",
                                         "--filter", "tenant=st_marys", "--dry-run");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "2"));
    assert_true(redis_box_await(s->redis, 5, "3", "LLEN", "reports"));
    stage_run_free(&run);
    run = stage_command(s->stage, "jobs", "park", "-e", "school", "--queue", "reports", "--filter",
                        "tenant=st_marys", "--yes", "--reason", "incident 17");
    if (run.status)
        fail_msg("%s%s", run.out, run.err);
    stage_run_free(&run);
    assert_true(redis_box_await(s->redis, 5, "1", "LLEN", "reports"));
    struct celery_process *worker =
        celery_worker(s->site, "one", (struct celery_options){.queues = "reports"});
    assert_true(celery_await_ended(s->site, 20, kept, 1));
    assert_int_equal(celery_begun(s->site, parked), 0);
    /* Back from the screen: the view of what was set aside. */
    struct terminal *t = stage_open(s->stage, "-e", "school");
    terminal_keys(t, "4", "a");
    terminal_wait(t, 20, "incident 17");
    terminal_keys(t, "F9");
    stage_choose(t, "put them back, in order");
    stage_dialog(t, "2");
    terminal_keys(t, "Tab", "text:2", "Enter");
    assert_true(celery_await_ended(s->site, 20, strchr(parked, '\n') + 1, 1));
    assert_int_equal(celery_begun(s->site, NULL), 3);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    assert_true(celery_alive(worker));
    free(kept);
    free(parked);
}

/* Why did this report not come? Found by its id though nobody says in which queue. */
static void test_finding_a_job(void **state)
{
    struct jobs_stage *s = *state;
    free(send(s, "quick", "al_noor", 30, "mail"));
    char *id = send(s, "echo", "st_marys", 1, "reports");
    id[strcspn(id, "\n")] = '\0';
    struct terminal *t = stage_open(s->stage, "-e", "school");
    terminal_keys(t, "4", "f");
    terminal_wait(t, 10, "find (id,");
    char text[100];
    snprintf(text, sizeof text, "text:%s", id);
    terminal_keys(t, text, "Enter");
    terminal_wait(t, 20, "1 match");
    terminal_wait(t, 10, "app.echo");
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "Message");
    terminal_wait(t, 10, id);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    free(id);
}

/* Locked: the act is refused without an unlock, and nothing is written to Redis. */
static void test_locked(void **state)
{
    struct jobs_stage *s = *state;
    environment(s, true);
    free(send(s, "quick", "al_noor", 2, "reports"));
    struct stage_run run =
        stage_command(s->stage, "jobs", "purge", "-e", "school", "--queue", "reports", "--yes");
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.err, "locked"));
    stage_run_free(&run);
    assert_true(redis_box_await(s->redis, 5, "2", "LLEN", "reports"));
}

/* All that waits goes to trash, and comes back byte for byte. */
static void test_purging(void **state)
{
    struct jobs_stage *s = *state;
    free(send(s, "quick", "al_noor", 5, "reports"));
    char *before = redis_box_ask(s->redis, "LRANGE", "reports", "0", "-1");
    struct terminal *t = stage_open(s->stage, "-e", "school");
    terminal_keys(t, "4");
    terminal_wait(t, 20, "reports");
    terminal_keys(t, "/", "text:reports", "Enter", "F9");
    stage_choose(t, "purge: all that waits, to trash that can be undone");
    stage_dialog(t, "reports");
    terminal_keys(t, "Tab", "text:reports", "Enter");
    assert_true(redis_box_await(s->redis, 10, "0", "LLEN", "reports"));
    terminal_keys(t, "a");
    terminal_wait(t, 20, "trash");
    terminal_keys(t, "F9");
    stage_choose(t, "restore: back into the queue, in order");
    stage_dialog(t, "Type");
    terminal_keys(t, "Tab", "text:reports", "Enter");
    if (!redis_box_await(s->redis, 10, before, "LRANGE", "reports", "0", "-1"))
        fail_msg("%s", terminal_text(t));
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queues_as_json, begin, end),
        cmocka_unit_test_setup_teardown(test_jobs_as_json, begin, end),
        cmocka_unit_test_setup_teardown(test_parking, begin, end),
        cmocka_unit_test_setup_teardown(test_finding_a_job, begin, end),
        cmocka_unit_test_setup_teardown(test_locked, begin, end),
        cmocka_unit_test_setup_teardown(test_purging, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
