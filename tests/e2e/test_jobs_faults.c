/* What happens to a Redis while the Jobs panel looks: it says so, answers keys, and goes on by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/redis.h"
#include "tests/harness/stage.h"

static int begin_group(void **state)
{
    *state = stage_new_bare();
    return 0;
}

static int end_group(void **state)
{
    stage_free(*state);
    return 0;
}

/* ---- what is looked at ---- */

static void push(struct redis_box *r, const char *queue, const char *tenant, int number)
{
    char message[1500], binding[200], member[200], id[40];
    snprintf(id, sizeof id, "%08d-0000-4000-8000-000000000000", number);
    snprintf(
        message, sizeof message,
        "{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": "
        "\"application/json\", \"headers\": {\"lang\": \"py\", \"task\": \"app.report\", \"id\": \"%s\", "
        "\"eta\": null, \"expires\": null, \"group\": null, \"retries\": 0, \"timelimit\": [null, null], "
        "\"root_id\": \"%s\", \"parent_id\": null, \"argsrepr\": \"()\", \"kwargsrepr\": \"{}\", "
        "\"origin\": \"gen1@web1\", \"_schema_name\": \"%s\"}, \"properties\": {\"correlation_id\": "
        "\"%s\", \"delivery_mode\": 2, \"delivery_info\": {\"exchange\": \"\", \"routing_key\": \"%s\"}, "
        "\"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"%s\"}}",
        id, id, tenant, id, queue, id);
    snprintf(binding, sizeof binding, "_kombu.binding.%s", queue);
    redis_box_do(r, "LPUSH", queue, message);
    snprintf(member, sizeof member, "%s\x06\x16\x06\x16%s", queue, queue);
    redis_box_do(r, "SADD", binding, member);
}

static void fill(struct redis_box *r, const char *queue, int from, int count)
{
    for (int i = 0; i < count; i++)
        push(r, queue, "al_noor", from + i);
}

/* The environment "school" with the Redis "broker" at this URL. */
static void environment(struct stage *s, const char *url, const char *more)
{
    char text[1000];
    snprintf(text, sizeof text,
             "environment: {kind: staging, title: School}\naccess: {locked: false}\n"
             "redis: {broker: {url: \"%s\"%s}}\n",
             url, more ? more : "");
    stage_config(s, "school.yaml", text);
}

static void environment_of(struct stage *s, const struct redis_box *r, const char *login)
{
    char *url = redis_box_url(r, 0, login);
    environment(s, url, NULL);
    free(url);
}

static void environment_through(struct stage *s, const struct proxy *p)
{
    char url[100];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", proxy_port(p));
    environment(s, url, NULL);
}

static struct terminal *open_queues(struct stage *s)
{
    return stage_open(s, "-e", "school", "--view", "queues");
}

static struct redis_box *start_with_mail(const char *config)
{
    struct redis_box *r = redis_box_start(config);
    fill(r, "mail", 0, 7);
    return r;
}

static struct terminal *open_mail(struct stage *s)
{
    struct terminal *t = open_queues(s);
    terminal_wait(t, 20, "mail");
    return t;
}

/* The queues of a Redis of its own, once "mail" with its 7 jobs is on the screen. */
static struct terminal *look_at_mail(struct stage *s, struct redis_box **r)
{
    *r = start_with_mail(NULL);
    environment_of(s, *r, NULL);
    return open_mail(s);
}

static struct terminal *look_at_mail_through(struct stage *s, struct redis_box **r, struct proxy **p)
{
    *r = start_with_mail(NULL);
    *p = proxy_start(redis_box_port(*r));
    environment_through(s, *p);
    return open_mail(s);
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 20, 0);
    terminal_end(t);
}

static void leave_all(struct terminal *t, struct proxy *p, struct redis_box *r)
{
    leave(t);
    proxy_free(p);
    redis_box_free(r);
}

static void keys_answer(struct terminal *t)
{
    terminal_keys(t, "?");
    terminal_wait(t, 5, "› help");
    terminal_keys(t, "q");
    terminal_wait_gone(t, 5, "› help");
}

/* ---- it goes away ---- */

static void a_killed_redis_comes_back_by_itself(void **state)
{
    struct stage *s = *state;
    struct redis_box *r;
    struct terminal *t = look_at_mail(s, &r);
    redis_box_kill(r);
    terminal_wait(t, 30, "broker ○");
    terminal_wait(t, 5, "mail"); /* what was read last stays, with its age */
    terminal_wait(t, 10, "(shown: ");
    keys_answer(t);
    redis_box_again(r);
    fill(r, "mail", 0, 3);
    terminal_wait(t, 60, "broker ●");
    terminal_wait_gone(t, 60, "(shown: ");
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "3 of 3");
    leave_all(t, NULL, r);
}

/* The jobs of a queue are on the screen when it goes, and again when it is back. */
static void the_jobs_of_a_queue_survive_a_restart(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = redis_box_start(NULL);
    fill(r, "mail", 0, 5);
    environment_of(s, r, NULL);
    struct terminal *t = open_mail(s);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "app.report");
    redis_box_halt(r);
    terminal_keys(t, "F5");
    terminal_wait(t, 30, "broker ○");
    terminal_wait(t, 5, "app.report");
    keys_answer(t);
    redis_box_again(r);
    push(r, "mail", "st_marys", 500);
    terminal_wait(t, 60, "broker ●");
    terminal_keys(t, "F5");
    terminal_wait(t, 30, "st_marys");
    leave_all(t, NULL, r);
}

static void a_hung_redis_does_not_hang_the_keys(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail(NULL);
    fill(r, "grades", 0, 2);
    environment_of(s, r, NULL);
    struct terminal *t = open_queues(s);
    terminal_wait(t, 15, "grades");
    redis_box_pause(r);
    terminal_keys(t, "F5");
    keys_answer(t);
    if (terminal_latency(t, "j", 10) < 0)
        terminal_fail(t, "expected the selection to move while Redis hangs");
    terminal_wait(t, 60, "no answer");
    keys_answer(t);
    terminal_wait(t, 5, "grades");
    redis_box_resume(r);
    terminal_wait_gone(t, 60, "no answer");
    terminal_wait(t, 30, "broker ●");
    leave_all(t, NULL, r);
}

static void leaving_does_not_wait_for_a_hung_redis(void **state)
{
    struct stage *s = *state;
    struct redis_box *r;
    struct terminal *t = look_at_mail(s, &r);
    redis_box_pause(r);
    terminal_keys(t, "F5", "Enter");
    leave(t); /* before it goes on */
    redis_box_free(r);
}

static void a_cut_line_is_made_anew(void **state)
{
    struct stage *s = *state;
    struct redis_box *r;
    struct proxy *p;
    struct terminal *t = look_at_mail_through(s, &r, &p);
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "7 of 7");
    int before = proxy_accepted(p);
    proxy_cut(p);
    fill(r, "mail", 100, 3);
    terminal_wait(t, 60, "10 of 10");
    assert_true(proxy_accepted(p) > before);
    terminal_wait(t, 20, "broker ●");
    leave_all(t, p, r);
}

/* Something else listens there. */
static void garbage_is_told_and_got_over(void **state)
{
    struct stage *s = *state;
    struct redis_box *r;
    struct proxy *p;
    struct terminal *t = look_at_mail_through(s, &r, &p);
    proxy_garbage(p, true);
    terminal_keys(t, "F5");
    terminal_wait(t, 60, "broker ○");
    keys_answer(t);
    proxy_garbage(p, false);
    proxy_cut(p);
    terminal_wait(t, 60, "broker ●");
    terminal_wait_gone(t, 60, "(shown: ");
    leave_all(t, p, r);
}

static void a_black_hole_does_not_hang_the_keys(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail(NULL);
    struct proxy *p = proxy_start(redis_box_port(r));
    proxy_hang(p, true);
    environment_through(s, p);
    struct terminal *t = open_queues(s);
    terminal_wait(t, 10, "School");
    keys_answer(t);
    terminal_wait(t, 10, "broker …");
    proxy_hang(p, false);
    terminal_wait(t, 60, "mail");
    leave_all(t, p, r);
}

/* ---- it refuses ---- */

static void expect_command(struct stage *s, int status, const char *text)
{
    struct stage_run run = stage_command(s, "jobs", "-e", "school", "--json");
    if (run.status != status || (!strstr(run.out, text) && !strstr(run.err, text)))
        print_error("status %d, expected %d and %s, out: %.1500s\nerr: %.500s\n", run.status, status, text,
                    run.out, run.err);
    assert_int_equal(run.status, status);
    assert_true(strstr(run.out, text) || strstr(run.err, text));
    stage_run_free(&run);
}

static void a_password_that_is_missing_is_told(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail("requirepass secret-word\n");
    environment_of(s, r, NULL);
    struct terminal *t = open_queues(s);
    terminal_wait(t, 20, "broker ○");
    terminal_wait(t, 10, "NOAUTH");
    keys_answer(t);
    expect_command(s, 1, "NOAUTH");
    leave(t);
    redis_box_do(r, "CONFIG", "SET", "requirepass", "");
    expect_command(s, 0, "\"mail\"");
    redis_box_free(r);
}

static void a_wrong_password_is_told_and_not_shown(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail("user watcher on >right-word ~* &* +@all\n");
    char line[200], path[600];
    environment_of(s, r, "watcher");
    snprintf(line, sizeof line, "127.0.0.1:%d:watcher:wrong-word\n", redis_box_port(r));
    stage_config(s, "redispass", line);
    snprintf(path, sizeof path, "%s/.config/signalbox/redispass", s->home);
    assert_int_equal(chmod(path, 0600), 0);
    struct terminal *t = open_queues(s);
    terminal_wait(t, 20, "broker ○");
    terminal_wait(t, 10, "WRONGPASS");
    expect_command(s, 1, "WRONGPASS");
    terminal_expect_no(t, "wrong-word");
    leave(t);
    snprintf(line, sizeof line, "127.0.0.1:%d:watcher:right-word\n", redis_box_port(r));
    stage_config(s, "redispass", line);
    assert_int_equal(chmod(path, 0600), 0);
    expect_command(s, 0, "\"mail\"");
    remove(path);
    redis_box_free(r);
}

/* It may see that there are queues, and nothing of what is in them. */
static void a_right_that_is_missing_is_named(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail("user watcher on nopass ~* &* +@all -lrange -llen\n");
    environment_of(s, r, "watcher");
    struct terminal *t = open_queues(s);
    terminal_wait(t, 20, "llen");
    keys_answer(t);
    expect_command(s, 1, "llen");
    redis_box_do(r, "ACL", "SETUSER", "watcher", "+@all");
    terminal_keys(t, "F5"); /* what is denied is asked for seldom */
    terminal_wait(t, 60, "mail");
    leave_all(t, NULL, r);
}

/* Keys that Celery would have are something else. */
static void a_wrong_type_is_told_and_the_rest_is_shown(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = start_with_mail(NULL);
    redis_box_do(r, "SADD", "_kombu.binding.grades", "grades\x06\x16\x06\x16grades");
    redis_box_do(r, "SET", "grades", "not a list");
    redis_box_do(r, "SET", "_kombu.binding.odd", "not a set");
    redis_box_do(r, "LPUSH", "unacked", "not a hash");
    redis_box_do(r, "SET", "unacked_index", "not a sorted set");
    redis_box_do(r, "SET", "dlq:mail", "not a list");
    environment_of(s, r, NULL);
    struct terminal *t = open_mail(s);
    terminal_wait(t, 5, "grades");
    keys_answer(t);
    for (int i = 0; i < 2; i++) {
        terminal_keys(t, i ? "j" : "g", "Enter");
        terminal_wait(t, 10, "Jobs ›");
        keys_answer(t);
        terminal_keys(t, "q");
    }
    static const char *const views[] = {"workers", "failures", "schedule", "aside", "running", "queues"};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char command[40];
        snprintf(command, sizeof command, "text:%s", views[i]);
        terminal_keys(t, ":", command, "Enter");
        keys_answer(t);
    }
    terminal_wait(t, 10, "mail");
    leave_all(t, NULL, r);
}

/* ---- it changes its place or its role ---- */

static void a_loading_redis_is_told_and_waited_for(void **state)
{
    struct stage *s = *state;
    struct redis_box *r =
        start_with_mail("save 3600 1\nkey-load-delay 400\nloading-process-events-interval-bytes 1024\n");
    environment_of(s, r, NULL);
    redis_box_do(r, "EVAL", "for i = 1, 20000 do redis.call('SET', 'k' .. i, 'v') end", "0");
    redis_box_do(r, "SAVE");
    struct terminal *t = open_mail(s);
    redis_box_kill(r);
    terminal_wait(t, 30, "broker ○");
    redis_box_again(r);
    terminal_wait(t, 20, "loading");
    keys_answer(t);
    terminal_wait(t, 60, "broker ●");
    terminal_wait_gone(t, 30, "(shown: ");
    leave_all(t, NULL, r);
}

static void a_failover_is_followed(void **state)
{
    struct stage *s = *state;
    struct redis_box *master = redis_box_start(NULL), *replica = redis_box_replica(master, NULL);
    struct redis_box *sentinel = redis_box_sentinel(master, "jobs", 1);
    char url[100];
    fill(master, "mail", 0, 7);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", redis_box_port(sentinel));
    environment(s, url, ", master: jobs");
    struct terminal *t = open_mail(s);
    assert_true(redis_box_await(replica, 10, "7", "LLEN", "mail"));
    redis_box_kill(master);
    assert_true(redis_box_await(replica, 60, "OK", "SET", "probe", "1"));
    push(replica, "mail", "st_marys", 100);
    terminal_wait(t, 60, "broker ●");
    terminal_keys(t, "Enter");
    terminal_wait(t, 60, "st_marys");
    leave(t);
    redis_box_free(sentinel);
    redis_box_free(replica);
    redis_box_free(master);
}

/* What is sent to a replica by mistake is refused there, told, and changes nothing. */
static void a_replica_takes_no_change(void **state)
{
    struct stage *s = *state;
    struct redis_box *master = redis_box_start(NULL), *replica = redis_box_replica(master, NULL);
    char *url = redis_box_url(replica, 0, NULL), more[200];
    fill(master, "mail", 0, 7);
    assert_true(redis_box_await(replica, 10, "7", "LLEN", "mail"));
    snprintf(more, sizeof more, ", act: \"%s\"", url);
    environment(s, url, more);
    free(url);
    expect_command(s, 0, "\"mail\"");
    struct stage_run run = stage_command(s, "jobs", "park", "-e", "school", "--queue", "mail", "--filter",
                                         "tenant=al_noor", "--yes", "--reason", "test");
    assert_int_not_equal(run.status, 0);
    if (!strstr(run.out, "replica") && !strstr(run.err, "replica"))
        fail_msg("it does not say why: %s%s", run.out, run.err);
    stage_run_free(&run);
    assert_true(redis_box_await(master, 0, "7", "LLEN", "mail"));
    redis_box_free(replica);
    redis_box_free(master);
}

/* ---- hostile contents ---- */

/* Names and messages that would draw on the screen, or end a line of it. */
static void names_draw_nothing(void **state)
{
    struct stage *s = *state;
    struct redis_box *r = redis_box_start(NULL);
    fill(r, "mail", 0, 3);
    redis_box_do(r, "SADD", "_kombu.binding.\x1b[31mred\n\x07", "x\x06\x16\x06\x16\x1b[31mred\n\x07");
    redis_box_do(r, "LPUSH", "\x1b[31mred\n\x07", "\x1b]0;title\x07 not json \xff\xfe");
    redis_box_do(r, "LPUSH", "mail",
                 "{\"headers\": {\"task\": \"\\u001b[2Jclear\", \"id\": \"\\n\\r\", \"_schema_name\": "
                 "\"\\u202emirror\"}, \"properties\": {\"delivery_tag\": \"\\u0000\"}, \"body\": \"\"}");
    environment_of(s, r, NULL);
    struct terminal *t = open_queues(s);
    terminal_wait(t, 20, "red");
    terminal_keys(t, "g", "Enter");
    terminal_wait(t, 10, "Jobs ›");
    keys_answer(t);
    terminal_keys(t, "q", "j", "Enter");
    terminal_wait(t, 10, "Jobs ›");
    keys_answer(t);
    size_t length;
    const char *raw = terminal_raw(t, &length);
    assert_null(memmem(raw, length, "\x1b[31mred", 8));
    assert_null(memmem(raw, length, "\x1b]0;title", 9));
    leave_all(t, NULL, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_redis_comes_back_by_itself),
        cmocka_unit_test(the_jobs_of_a_queue_survive_a_restart),
        cmocka_unit_test(a_hung_redis_does_not_hang_the_keys),
        cmocka_unit_test(leaving_does_not_wait_for_a_hung_redis),
        cmocka_unit_test(a_cut_line_is_made_anew),
        cmocka_unit_test(garbage_is_told_and_got_over),
        cmocka_unit_test(a_black_hole_does_not_hang_the_keys),
        cmocka_unit_test(a_password_that_is_missing_is_told),
        cmocka_unit_test(a_wrong_password_is_told_and_not_shown),
        cmocka_unit_test(a_right_that_is_missing_is_named),
        cmocka_unit_test(a_wrong_type_is_told_and_the_rest_is_shown),
        cmocka_unit_test(a_loading_redis_is_told_and_waited_for),
        cmocka_unit_test(a_failover_is_followed),
        cmocka_unit_test(a_replica_takes_no_change),
        cmocka_unit_test(names_draw_nothing),
    };
    return cmocka_run_group_tests(tests, begin_group, end_group);
}
