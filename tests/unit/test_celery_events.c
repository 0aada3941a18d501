/* Events of Celery as they were captured, workers that go silent, and what is none; passwords in stats. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_crew.h"
#include "backends/ssh/base64.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

#define EVENTS "tests/data/queues/celery/events.jsonl"

static int set_up(void **state)
{
    struct celery_system *system = talloc_zero(NULL, struct celery_system);
    system->names.control = "celery";
    system->ids = celery_ids_new(system);
    setenv("SIGNALBOX_TEST_CLOCK", "1795261700", 1);
    *state = system;
    return 0;
}

static int tear_down(void **state)
{
    struct celery_system *system = *state;
    unsetenv("SIGNALBOX_TEST_CLOCK");
    talloc_free(system->crew);
    celery_watch_free(system->watch);
    talloc_free(system);
    return 0;
}

static void clock_at(double wall)
{
    char text[32];
    snprintf(text, sizeof text, "%.3f", wall);
    setenv("SIGNALBOX_TEST_CLOCK", text, 1);
}

/* As it is published: the event within an envelope. */
static void hear(struct celery_system *system, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void hear(struct celery_system *system, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *event = talloc_vasprintf(NULL, format, arguments);
    va_end(arguments);
    char *body = base64_encode(event, (const unsigned char *)event, strlen(event), 1);
    char *envelope = talloc_asprintf(
        event, "{\"body\": \"%s\", \"headers\": {}, \"properties\": {\"body_encoding\": \"base64\"}}", body);
    celery_watch_hear(system, envelope, strlen(envelope));
    talloc_free(event);
}

static void beat(struct celery_system *system, const char *name, int active, int processed)
{
    hear(system,
         "{\"type\": \"worker-heartbeat\", \"hostname\": \"%s\", \"pid\": 17, \"freq\": 2.0, \"active\": %d, "
         "\"processed\": %d, \"loadavg\": [0.5, 1, 2], \"sw_ver\": \"5.2.6\"}",
         name, active, processed);
}

static void test_captured(void **state)
{
    struct celery_system *system = *state;
    FILE *file = fopen(EVENTS, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t size = 0, lines = 0;
    while (getline(&line, &size, file) > 0) {
        struct json_object *object = json_tokener_parse(line), *envelope;
        assert_true(json_object_object_get_ex(object, "envelope", &envelope));
        const char *text = json_object_to_json_string(envelope);
        celery_watch_hear(system, text, strlen(text));
        json_object_put(object);
        lines++;
    }
    free(line);
    fclose(file);
    assert_int_equal(lines, 84);
    assert_int_equal(celery_watch_garbage(system), 0);
    const struct heard_worker *worker = celery_watch_worker(system, "w2@host-b");
    assert_non_null(worker);
    assert_string_equal(worker->version, "5.2.6");
    assert_true(worker->pid > 0 && worker->heard_at > 0 && worker->load >= 0);
    assert_true(fabs(celery_watch_sent_at(system, "33333333-0000-4000-8000-000000000001") -
                     1795261736.206627) < 1e-3);
    assert_true(celery_watch_sent_at(system, "nobody") <= 0);
    assert_true(celery_watch_ended(system, "44444444-0000-4000-8000-000000000001"));
    double share = celery_watch_retry_share(system);
    assert_true(share > 0 && share < 1);
}

static size_t count_jobs(struct celery_system *system)
{
    size_t count = 0;
    for (const struct heard_job *job = celery_watch_next_job(system, NULL); job;
         job = celery_watch_next_job(system, job))
        count++;
    return count;
}

static void test_jobs(void **state)
{
    struct celery_system *system = *state;
    hear(system,
         "[{\"type\": \"task-received\", \"uuid\": \"a\", \"name\": \"app.x\", \"hostname\": \"w@h\"}, "
         "{\"type\": \"task-started\", \"uuid\": \"a\", \"hostname\": \"w@h\"}]");
    const struct heard_job *job = celery_watch_next_job(system, NULL);
    assert_non_null(job);
    assert_string_equal(job->task, "app.x");
    assert_string_equal(job->worker, "w@h");
    assert_false(celery_watch_ended(system, "a"));
    hear(system, "[{\"type\": \"task-retried\", \"uuid\": \"a\"}]");
    assert_int_equal(count_jobs(system), 0);
    assert_true(celery_watch_ended(system, "a"));
    assert_true(fabs(celery_watch_retry_share(system) - 1) < 1e-9);
    for (int i = 0; i < 60000; i++)
        hear(system, "{\"type\": \"task-started\", \"uuid\": \"%d\", \"hostname\": \"w%d@h\"}", i, i);
    assert_int_equal(count_jobs(system), 10000); /* the oldest are forgotten */
    assert_true(talloc_total_size(system->watch) < 20 << 20);
}

static void test_garbage(void **state)
{
    struct celery_system *system = *state;
    static const char *const payloads[] = {
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{\"body\": 7}",
        "{\"body\": \"*\"}",
        "{\"properties\": []}",
        "{\"body\": \"e30=\", \"properties\": {\"body_encoding\": \"base64\"}}",
    };
    size_t count = sizeof payloads / sizeof *payloads;
    for (size_t i = 0; i < count; i++)
        celery_watch_hear(system, payloads[i], strlen(payloads[i]));
    assert_int_equal(celery_watch_garbage(system), count);
    hear(system, "{\"type\": \"worker-heartbeat\"}");
    hear(system, "{\"type\": \"worker-heartbeat\", \"hostname\": 7}");
    hear(system, "{\"type\": \"task-started\", \"uuid\": \"\"}");
    hear(system, "{\"type\": \"task-started\", \"uuid\": \"%0200d\"}", 7);
    hear(system, "[7, null, \"x\", {\"type\": \"other\"}]");
    assert_int_equal(celery_watch_garbage(system), count + 8);
    hear(system, "{\"type\": \"worker-heartbeat\", \"hostname\": \"w@h\", \"pid\": \"x\", \"active\": 1e300, "
                 "\"processed\": -4, \"loadavg\": 3, \"freq\": \"x\"}");
    const struct heard_worker *worker = celery_watch_worker(system, "w@h");
    assert_non_null(worker);
    assert_int_equal(worker->processed, -1);
    assert_int_equal(worker->active, -1);
}

/* ---- states ---- */

static struct workers_snapshot *look(struct celery_system *system)
{
    if (!system->crew) {
        system->crew = talloc_zero(NULL, struct celery_crew);
        system->crew->system = system;
        system->crew->bound = (const char **)talloc_zero_array(system->crew, char *, 2);
        system->crew->bound[0] = "a@h";
        system->crew->bound[1] = "b@h";
        system->crew->bound_count = 2;
        system->crew->sockets = system->crew->blocked = -1;
    }
    return celery_crew_snapshot(system);
}

static enum worker_state state_of(struct celery_system *system, const char *name)
{
    struct workers_snapshot *snapshot = look(system);
    enum worker_state found = WORKER_STATES;
    for (size_t i = 0; i < snapshot->count; i++)
        if (!strcmp(snapshot->workers[i].id, name)) {
            found = snapshot->workers[i].state;
            assert_true(found == WORKER_OK || snapshot->workers[i].why);
        }
    snapshot_release(snapshot);
    return found;
}

static void connected(struct celery_system *system, int sockets, int blocked)
{
    system->crew->sockets = sockets;
    system->crew->blocked = blocked;
    system->crew->clients_at = clock_wall();
}

static void test_states(void **state)
{
    struct celery_system *system = *state;
    beat(system, "a@h", 0, 5);
    beat(system, "c@h", 0, 5);
    assert_int_equal(state_of(system, "a@h"), WORKER_OK);
    assert_int_equal(state_of(system, "b@h"), WORKER_SILENT); /* nothing is heard here */
    assert_int_equal(state_of(system, "c@h"), WORKER_OK);     /* not declared, but it lives */
    clock_at(1795261712);
    beat(system, "c@h", 0, 5);
    assert_int_equal(state_of(system, "a@h"), WORKER_SILENT);
    connected(system, 2, 2);
    assert_int_equal(state_of(system, "a@h"), WORKER_SILENT); /* there is a second connection */
    connected(system, 1, 1);
    assert_int_equal(state_of(system, "a@h"), WORKER_GHOST);
    hear(system, "{\"type\": \"worker-offline\", \"hostname\": \"a@h\"}");
    assert_int_equal(state_of(system, "a@h"), WORKER_QUIET);
    hear(system, "{\"type\": \"worker-offline\", \"hostname\": \"c@h\"}");
    assert_int_equal(state_of(system, "c@h"), WORKER_STATES); /* neither declared nor there */
    hear(system, "{\"type\": \"worker-online\", \"hostname\": \"a@h\", \"active\": 0, \"processed\": 0}");
    assert_int_equal(state_of(system, "a@h"), WORKER_OK);
}

static void test_not_consuming(void **state)
{
    struct celery_system *system = *state;
    struct queues_snapshot *queues = SNAPSHOT_NEW(struct queues_snapshot);
    queues->queues = talloc_zero_array(queues, struct queue, 1);
    queues->count = 1;
    queues->queues[0] = (struct queue){.name = "celery", .ready = 12};
    system->base.latest[PART_QUEUES] = queues;
    beat(system, "a@h", 0, 5);
    clock_at(1795261706);
    beat(system, "a@h", 0, 5);
    assert_int_equal(state_of(system, "a@h"), WORKER_OK);
    clock_at(1795261718);
    beat(system, "a@h", 0, 5);
    assert_int_equal(state_of(system, "a@h"), WORKER_OK); /* perhaps it waits there */
    connected(system, 0, 0);
    assert_int_equal(state_of(system, "a@h"), WORKER_NOT_CONSUMING);
    beat(system, "a@h", 0, 6);
    assert_int_equal(state_of(system, "a@h"), WORKER_OK);
    system->base.latest[PART_QUEUES] = NULL;
    snapshot_release(queues);
}

/* ---- answers ---- */

static void test_masked(void **state)
{
    (void)state;
    struct json_object *stats = json_tokener_parse(
        "{\"pid\": 7, \"broker\": {\"hostname\": \"h\", \"password\": \"hush\", \"alternates\": "
        "[\"redis://user:hush@h:6379/0\", \"redis://:hush@g:6379/0\"], \"transport_options\": "
        "{\"visibility_timeout\": 3600, \"sentinel_kwargs\": {\"password\": \"hush\"}}}}");
    struct json_object *masked = celery_stats_masked(stats);
    const char *text = json_object_to_json_string(masked);
    assert_null(strstr(text, "hush"));
    assert_non_null(strstr(text, "3600"));
    assert_non_null(strstr(text, "h:6379"));
    json_object_put(masked);
    json_object_put(stats);
}

static void test_replies(void **state)
{
    (void)state;
    static const char reply[] =
        "{\"body\": \"eyJ3MUBob3N0LWEiOiB7Im9rIjogInBvbmcifX0=\", \"headers\": {\"ticket\": "
        "\"t1\"}, \"properties\": {\"body_encoding\": \"base64\"}}";
    struct json_object *body = celery_control_reply(reply, strlen(reply), "t1");
    assert_string_equal(json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN),
                        "{\"w1@host-a\":{\"ok\":\"pong\"}}");
    json_object_put(body);
    assert_null(celery_control_reply(reply, strlen(reply), "t2"));
    for (size_t length = 0; length < strlen(reply); length++)
        assert_null(celery_control_reply(reply, length, "t1"));
    static const char list[] = "{\"body\": \"[]\", \"headers\": {\"ticket\": \"t1\"}}";
    assert_null(celery_control_reply(list, strlen(list), "t1"));
    static const char member[] = "5169a1b0-6a01-2345-1111-111111111111\x06\x16\x06\x16x";
    double then = 0x6a012345;
    assert_true(celery_control_left_over(member, strlen(member), then + 601));
    assert_false(celery_control_left_over(member, strlen(member), then + 599));
    assert_false(celery_control_left_over(member, 35, then + 601));
    assert_false(celery_control_left_over("10725b83-6360-4612-b42c-2443532bac4d", 36, then + 1e9));
}

int main(void)
{
#define WITH_SYSTEM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_SYSTEM(test_captured),     WITH_SYSTEM(test_jobs),          WITH_SYSTEM(test_garbage),
        WITH_SYSTEM(test_states),       WITH_SYSTEM(test_not_consuming), cmocka_unit_test(test_masked),
        cmocka_unit_test(test_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
