/* Control messages of Celery: what is built is what kombu would publish, and nothing else passes the check.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_control.h"
#include "backends/ssh/base64.h"
#include "tests/unit/unit.h"

#define OID "10725b83-6360-4612-b42c-2443532bac4d"
#define TICKET "6d48c9b6-8ad9-4d16-a1a3-8a1e57654b84"
#define NOW 1795261451.25

static const char *const one[] = {"w1@host-a"};

static char *build(const struct celery_control_request *request, struct error *error)
{
    size_t length = 0;
    error_clear(error);
    char *payload = celery_control_build(NULL, request, OID, TICKET, NOW, &length, error);
    if (payload)
        assert_int_equal(length, strlen(payload));
    return payload;
}

static struct json_object *body_of(const char *payload)
{
    size_t length;
    const char *from = payload + strlen("{\"body\": \"");
    char *body = (char *)base64_decode(NULL, from, strcspn(from, "\""), &length);
    char *text = talloc_strndup(body, body, length);
    struct json_object *object = json_tokener_parse(text);
    talloc_free(body);
    return object;
}

/* Every method with arguments that it takes is built, passes its own check, and no other's. */
static void test_methods(void **state)
{
    (void)state;
    static const char *const requests[][2] = {
        {"ping", NULL},
        {"stats", "{}"},
        {"active", "{\"safe\":true}"},
        {"reserved", NULL},
        {"scheduled", NULL},
        {"revoked", NULL},
        {"registered", NULL},
        {"active_queues", NULL},
        {"query_task", "{\"ids\":[\"7f3a\"]}"},
        {"clock", NULL},
        {"revoke", "{\"task_id\":\"7f3a\"}"},
        {"revoke", "{\"task_id\":[\"7f3a\",\"\u0645\"],\"terminate\":true,\"signal\":\"SIGKILL\"}"},
        {"rate_limit", "{\"task_name\":\"a.b\",\"rate_limit\":\"10/m\"}"},
        {"rate_limit", "{\"task_name\":\"a.b\",\"rate_limit\":\"0\"}"},
        {"time_limit", "{\"task_name\":\"a.b\",\"hard\":60,\"soft\":null}"},
        {"enable_events", NULL},
        {"disable_events", NULL},
        {"pool_grow", "{\"n\":2}"},
        {"pool_shrink", "{\"n\":1}"},
        {"autoscale", "{\"max\":8,\"min\":2}"},
        {"add_consumer", "{\"queue\":\"reports of \\\"2026\\\"\"}"},
        {"cancel_consumer", "{\"queue\":\"reports\"}"},
        {"shutdown", NULL},
    };
    enum { COUNT = sizeof requests / sizeof *requests };
    struct celery_control_request asked[COUNT];
    char *payloads[COUNT];
    struct error error;
    for (size_t i = 0; i < COUNT; i++) {
        asked[i] = (struct celery_control_request){.method = requests[i][0],
                                                   .destination = one,
                                                   .destination_count = 1,
                                                   .wants_reply = strcmp(requests[i][0], "shutdown") != 0};
        asked[i].arguments = requests[i][1] ? json_tokener_parse(requests[i][1]) : NULL;
        payloads[i] = build(&asked[i], &error);
        assert_non_null(payloads[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < COUNT; j++)
            assert_int_equal(celery_control_check(payloads[i], strlen(payloads[i]), &asked[j], &error),
                             i == j);
    for (size_t i = 0; i < COUNT; i++) {
        json_object_put(asked[i].arguments);
        talloc_free(payloads[i]);
    }
}

/* As the client whose message was captured wrote it, but for the destination. */
static void test_bytes(void **state)
{
    (void)state;
    struct error error;
    char *payload = build(&(struct celery_control_request){.method = "ping",
                                                           .destination = one,
                                                           .destination_count = 1,
                                                           .wants_reply = true,
                                                           .deadline_s = 2},
                          &error);
    assert_non_null(payload);
    struct json_object *body = body_of(payload);
    assert_string_equal(json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN),
                        "{\"method\":\"ping\",\"arguments\":{},\"destination\":[\"w1@host-a\"],\"pattern\":"
                        "null,\"matcher\":null,\"ticket\":\"" TICKET
                        "\",\"reply_to\":{\"exchange\":\"reply.celery.pidbox\",\"routing_key\":\"" OID
                        "\"}}");
    const char *tail = strstr(payload, "\", \"content-encoding\"");
    assert_string_equal(
        tail, "\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \"headers\": {"
              "\"clock\": 1, \"expires\": 1795261454}, \"properties\": {\"delivery_mode\": 2, "
              "\"delivery_info\": {\"exchange\": \"celery.pidbox\", \"routing_key\": \"\"}, \"priority\": 0, "
              "\"body_encoding\": \"base64\", \"delivery_tag\": \"" TICKET "\"}}");
    json_object_put(body);
    talloc_free(payload);
}

static void refuses(const char *method, const char *arguments, const char *why)
{
    struct error error;
    struct celery_control_request request = {
        .method = method, .destination = one, .destination_count = 1, .wants_reply = true};
    request.arguments = arguments ? json_tokener_parse(arguments) : NULL;
    assert_null(build(&request, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    if (!strstr(error.why, why))
        fail_msg("%s %s: %s", method, arguments ? arguments : "", error.why);
    json_object_put(request.arguments);
}

static void test_refused_requests(void **state)
{
    (void)state;
    static const char *const unlisted[] = {"election", "hello", "objgraph",   "memdump",   "pool_restart",
                                           "report",   "conf",  "dump_tasks", "heartbeat", "terminate",
                                           "",         "Ping",  "ping "};
    for (size_t i = 0; i < sizeof unlisted / sizeof *unlisted; i++)
        refuses(unlisted[i], NULL, "not on the list");
    refuses("shutdown", NULL, "never answered");
    refuses("ping", "{\"a\":1}", "none that it takes");
    refuses("active_queues", "[]", "not an object");
    refuses("enable_events", "{\"safe\":true}", "none that it takes");
    refuses("revoke", NULL, "is missing");
    refuses("revoke", "{\"task_id\":[]}", "not such a value");
    refuses("revoke", "{\"task_id\":[1]}", "not such a value");
    refuses("revoke", "{\"task_id\":\"a\",\"signal\":\"SIGSTOP\"}", "not such a value");
    refuses("revoke", "{\"task_id\":\"a\",\"terminate\":1}", "not such a value");
    refuses("query_task", "{\"ids\":{}}", "not such a value");
    refuses("rate_limit", "{\"task_name\":\"a.b\"}", "is missing");
    static const char *const rates[] = {"nan", "inf/s", "-1", "10/x", "10/", "/m", "1e3", "10/mm", "", " 1"};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        char *arguments = talloc_asprintf(NULL, "{\"task_name\":\"a.b\",\"rate_limit\":\"%s\"}", rates[i]);
        refuses("rate_limit", arguments, "not such a value");
        talloc_free(arguments);
    }
    refuses("pool_grow", "{\"n\":0}", "not such a value");
    refuses("pool_grow", "{\"n\":101}", "not such a value");
    refuses("pool_shrink", "{\"n\":-1}", "not such a value");
    refuses("pool_shrink", "{\"n\":1.0}", "not such a value");
    refuses("autoscale", "{\"max\":1,\"min\":2}", "above its maximum");
    refuses("time_limit", "{\"task_name\":\"a\",\"hard\":0}", "not such a value");
    refuses("add_consumer", "{\"queue\":\"a\\u0006\\u0016b\"}", "not such a value");
    refuses("add_consumer", "{\"queue\":[\"a\"]}", "not such a value");
    refuses("add_consumer", "{\"queue\":\"a\",\"exchange\":\"b\"}", "none that it takes");
}

static void test_destinations(void **state)
{
    (void)state;
    struct error error;
    struct celery_control_request request = {.method = "shutdown"};
    assert_null(build(&request, &error));
    assert_non_null(strstr(error.why, "would reach every worker"));
    static const char *const wrong[] = {"",       "worker", "@host",   "w1@",
                                        "w1@a b", "w1@a\n", "w1@\xff", "w\u202e@host"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const names[] = {"w1@host-a", wrong[i]};
        request.destination = names;
        request.destination_count = 2;
        assert_null(build(&request, &error));
        assert_int_equal(error.kind, ERROR_INTERLOCK);
        assert_non_null(strstr(error.why, "no name of a worker"));
    }
    const char *const arabic[] = {"\u0645\u062f\u0631\u0633\u0629@host", "w2@10.0.0.5"};
    request.destination = arabic;
    char *payload = build(&request, &error);
    assert_non_null(payload);
    assert_true(celery_control_check(payload, strlen(payload), &request, &error));
    request.destination_count = 1;
    assert_false(celery_control_check(payload, strlen(payload), &request, &error));
    talloc_free(payload);
}

/* The message with one text in it replaced by another; `in_body`: before the body is encoded. */
static char *replaced(const char *payload, bool in_body, const char *from, const char *to)
{
    size_t length;
    const char *start = payload + strlen("{\"body\": \""), *end = strchr(start, '"');
    char *text = in_body ? (char *)base64_decode(NULL, start, (size_t)(end - start), &length)
                         : talloc_strdup(NULL, payload);
    if (in_body) {
        char *copy = talloc_strndup(NULL, text, length);
        talloc_free(text);
        text = copy;
    }
    char *at = strstr(text, from);
    if (!at)
        fail_msg("%s is not in %s", from, text);
    char *changed = talloc_asprintf(NULL, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    talloc_free(text);
    if (!in_body)
        return changed;
    char *encoded = base64_encode(changed, (const unsigned char *)changed, strlen(changed), 1);
    char *result = talloc_asprintf(NULL, "{\"body\": \"%s%s", encoded, end);
    talloc_free(changed);
    return result;
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        bool in_body;
        const char *from, *to;
    } changes[] = {
        /* these end a worker (tried with Celery 5.2.6) */
        {false, "\"properties\"", "\"propertiez\""},
        {false, "\"delivery_tag\"", "\"delivery_tax\""},
        {false, "\"properties\": {", "\"properties\": [{"},
        {false, "\"headers\": {\"clock\": 1, \"expires\": 1795261455}", "\"headers\": [1]"},
        {false, "\"body\": \"", "\"body\": \"A"},
        {false, "\"body_encoding\": \"base64\"", "\"body_encoding\": \"base65\""},
        {false, "{\"body\"", "[{\"body\""},
        /* these reach everybody */
        {true, "[\"w1@host-a\"]", "[]"},
        {true, "[\"w1@host-a\"]", "null"},
        {true, "\"destination\"", "\"destinatiom\""},
        {true, "[\"w1@host-a\"]", "\"w1@host-a and all others\""},
        {true, "[\"w1@host-a\"]", "[\"w1@host-b\"]"},
        {true, "[\"w1@host-a\"]", "[\"w1@host-a\", \"w2@host-a\"]"},
        {true, "\"pattern\": null, \"matcher\": null", "\"pattern\": \"*\", \"matcher\": \"glob\""},
        /* these say something else, or something twice */
        {true, "\"ping\"", "\"shutdown\""},
        {true, "{\"method\": \"ping\"", "{\"method\": \"ping\", \"method\": \"ping\""},
        {true, "\"arguments\": {}", "\"arguments\": {\"n\": 1}"},
        {true, "\"arguments\": {}", "\"arguments\": []"},
        {true, "\"reply.celery.pidbox\"", "\"\""},
        {true, "}}", "}, \"x\": 1}"},
        {false, "\"clock\": 1", "\"clock\": \"1\""},
        {false, "\"clock\": 1", "\"clock\": 1, \"compression\": \"bzip2\""},
        {false, "\"expires\": 1795261455", "\"expires\": 0"},
        {false, "\"expires\": 1795261455", "\"expires\": 01795261455"},
        {false, "\"content-encoding\": \"utf-8\"", "\"content-encoding\": \"binary\""},
        {false, "\"content-type\": \"application/json\"",
         "\"content-type\": \"application/x-python-serialize\""},
        {false, "}}", "}}{"},
        {false, "}}", "}"},
        {false, "\"priority\": 0", "\"priority\": 0, \"priority\": 0"},
        {false, "\"celery.pidbox\"", "\"\\u0063elery.pidbox\""},
    };
    struct error error;
    struct celery_control_request request = {
        .method = "ping", .destination = one, .destination_count = 1, .wants_reply = true};
    char *payload = build(&request, &error);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *changed = replaced(payload, changes[i].in_body, changes[i].from, changes[i].to);
        if (celery_control_check(changed, strlen(changed), &request, &error))
            fail_msg("%s -> %s passed", changes[i].from, changes[i].to);
        talloc_free(changed);
    }
    for (size_t length = 0; length < strlen(payload); length++)
        assert_false(celery_control_check(payload, length, &request, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    assert_false(celery_control_check("{\"a\":1}", 7, &request, &error));
    assert_false(celery_control_check(NULL, 0, &request, &error));
    talloc_free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_destinations),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
