/* A real worker of Celery survives whatever passes the check of control messages: arguments made at random,
 * and messages that were changed on their way. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "tests/harness/celery_stage.h"
#include "tests/harness/cmocka.h"

static int stage_begin(void **state)
{
    struct celery_stage *on = talloc(NULL, struct celery_stage);
    celery_stage_begin(on);
    *state = on;
    return 0;
}

static int stage_end(void **state)
{
    celery_stage_end(*state);
    talloc_free(*state);
    return 0;
}

/* A fixed sequence: the same run each time. */
static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static struct json_object *random_value(unsigned *seed)
{
    static const char *const texts[] = {
        "",      "app.quick", "10/m", "0",    "nan",       "1e9/s", "x/y",     "SIGUSR1",     "a\nb",
        "0.5/s", "SIGSTOP",   "-1/h", "mail", "\xc3\xa9@", "0/m",   "7f3a-11", "999999999/h", "celery.chord"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    struct json_object *list;
    switch (next_random(seed) % 8) {
    case 0:
        return json_object_new_int64((int64_t)(next_random(seed) % 4) - 1);
    case 1:
        return json_object_new_double((double)(next_random(seed) % 100) / 7);
    case 2:
        return json_object_new_boolean((int)(next_random(seed) % 2));
    case 3:
        list = json_object_new_array();
        for (unsigned i = next_random(seed) % 3; i > 0; i--)
            json_object_array_add(list, json_object_new_string(texts[next_random(seed) % TEXTS]));
        return list;
    case 4:
        return NULL;
    default:
        return json_object_new_string(texts[next_random(seed) % TEXTS]);
    }
}

/* Methods, listed or not, each with arguments that it may take. Not: shutdown. */
static const char *const methods[][4] = {{"ping", "x"},
                                         {"stats", NULL},
                                         {"active", "safe"},
                                         {"reserved", NULL},
                                         {"scheduled", NULL},
                                         {"revoked", "x"},
                                         {"registered", "taskinfoitems"},
                                         {"clock", NULL},
                                         {"query_task", "ids"},
                                         {"revoke", "task_id", "terminate", "signal"},
                                         {"revoke", "task_id"},
                                         {"rate_limit", "task_name", "rate_limit"},
                                         {"rate_limit", "task_name", "rate_limit"},
                                         {"time_limit", "task_name", "hard", "soft"},
                                         {"time_limit", "task_name"},
                                         {"pool_grow", "n"},
                                         {"pool_shrink", "n"},
                                         {"autoscale", "max", "min"},
                                         {"add_consumer", "queue", "exchange"},
                                         {"add_consumer", "queue"},
                                         {"cancel_consumer", "queue"},
                                         {"active_queues", NULL},
                                         {"enable_events", NULL},
                                         {"disable_events", "x"},
                                         {"election", "id", "topic"},
                                         {"hello", "from_node"},
                                         {"terminate", "task_id", "signal"},
                                         {"pool_restart", "modules"},
                                         {"memdump", NULL},
                                         {"objgraph", "num"}};
enum { METHODS = sizeof methods / sizeof *methods, ROUNDS = 20000, SENT_MAX = 150 };

static struct json_object *random_arguments(unsigned *seed, const char *const method[4])
{
    struct json_object *arguments = json_object_new_object();
    for (int i = 1; i < 4 && method[i]; i++)
        if (next_random(seed) % 8)
            json_object_object_add(arguments, method[i], random_value(seed));
    return arguments;
}

static void it_survives_what_passes(void **state)
{
    struct celery_stage *on = *state;
    struct celery_process *one = celery_worker(on->site, "one", (struct celery_options){0});
    celery_stage_look(on, PART_WORKERS);
    static const char *const name = "one@test";
    unsigned seed = 1;
    int sent = 0;
    for (int i = 0; i < ROUNDS && sent < SENT_MAX; i++) {
        const char *const *method = methods[next_random(&seed) % METHODS];
        struct json_object *arguments = random_arguments(&seed, method);
        struct celery_control_request request = {.method = method[0],
                                                 .arguments = arguments,
                                                 .destination = &name,
                                                 .destination_count = 1,
                                                 .wants_reply = true};
        struct error error;
        size_t length;
        char *payload =
            celery_control_build(NULL, &request, "10725b83-6360-4612-b42c-2443532bac4d",
                                 "6d48c9b6-8ad9-4d16-a1a3-8a1e57654b84", clock_wall(), &length, &error);
        /* Questions without arguments pass each time: enough of them. */
        if (payload && (json_object_object_length(arguments) || i % 16 == 0)) {
            sent++;
            if (!celery_stage_asks(on, name, request.method, arguments))
                fail_msg("no answer to %s %s: %s", request.method, json_object_to_json_string(arguments),
                         on->error.why);
            assert_true(celery_alive(one));
        }
        talloc_free(payload);
        json_object_put(arguments);
    }
    assert_int_equal(sent, SENT_MAX);
    assert_true(celery_stage_asks(on, name, "ping", NULL));
}

/* Messages that were changed on their way: what still passes is sent. */
static void it_survives_changed_messages(void **state)
{
    struct celery_stage *on = *state;
    struct celery_process *one = celery_worker(on->site, "one", (struct celery_options){0});
    celery_stage_look(on, PART_WORKERS);
    static const char *const name = "one@test";
    struct celery_control_request request = {
        .method = "ping", .destination = &name, .destination_count = 1, .wants_reply = true};
    struct error error;
    size_t length;
    unsigned seed = 7;
    int passed = 0;
    char *payload =
        celery_control_build(NULL, &request, "10725b83-6360-4612-b42c-2443532bac4d",
                             "6d48c9b6-8ad9-4d16-a1a3-8a1e57654b84", clock_wall(), &length, &error);
    for (int i = 0; i < 20000 && passed < 100; i++) {
        char *changed = talloc_strdup(NULL, payload);
        for (unsigned n = 1 + next_random(&seed) % 2; n > 0; n--)
            changed[next_random(&seed) % length] = (char)(0x20 + next_random(&seed) % 0x5f);
        if (celery_control_check(changed, length, &request, &error)) {
            passed++;
            redis_box_do(on->box, "PUBLISH", "/0.celery.pidbox", changed);
        }
        talloc_free(changed);
    }
    assert_true(passed > 0);
    assert_true(celery_stage_asks(on, name, "ping", NULL));
    assert_true(celery_alive(one));
    talloc_free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_survives_what_passes, stage_begin, stage_end),
        cmocka_unit_test_setup_teardown(it_survives_changed_messages, stage_begin, stage_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
