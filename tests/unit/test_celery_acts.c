/* Acts on Celery, without a Redis: names of what is set aside, the frozen set of messages, scripts. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"
#include "tests/unit/unit.h"

static struct celery_system a_system(const char *prefix)
{
    return (struct celery_system){
        .names = {.prefix = prefix, .separator = "\x06\x16", .steps = {0, 3, 6, 9}}};
}

static void groups_are_named_and_read(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    enum celery_aside kind;
    char *queue;
    const char *stamp;
    char *group = celery_aside_group(context, ASIDE_HOLD, "dlq:reports", "20261121T200501-1f3a9c");
    assert_string_equal(group, "signalbox:hold:dlq:reports:20261121T200501-1f3a9c");
    assert_true(celery_aside_parse(context, group, &kind, &queue, &stamp));
    assert_int_equal(kind, ASIDE_HOLD);
    assert_string_equal(queue, "dlq:reports");
    assert_string_equal(stamp, "20261121T200501-1f3a9c");
    static const char *const others[] = {"signalbox:note:signalbox:park:a:b",
                                         "signalbox:park:",
                                         "reports",
                                         "signalbox:park:x",
                                         "signalbox:parked:q:s",
                                         "signalbox:hold::s"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(celery_aside_parse(context, others[i], &kind, &queue, &stamp));
    struct celery_system system = a_system("prod:");
    assert_string_equal(celery_aside_list(context, &system, "signalbox:park:q:s", 1),
                        "prod:signalbox:park:q:s\x06\x16"
                        "3");
    assert_string_equal(celery_aside_note(context, &system, "signalbox:park:q:s"),
                        "prod:signalbox:note:signalbox:park:q:s");
    talloc_free(context);
}

static char *base_of(const struct celery_system *system, const char *key, int *step)
{
    return celery_base_name(system, system, key, strlen(key), step);
}

static void keys_are_taken_apart(void **state)
{
    (void)state;
    int step;
    struct celery_system *system = talloc(NULL, struct celery_system);
    *system = a_system("p:");
    assert_string_equal(base_of(system, "p:reports", &step), "reports");
    assert_int_equal(step, 0);
    assert_string_equal(base_of(system,
                                "p:reports\x06\x16"
                                "9",
                                &step),
                        "reports");
    assert_int_equal(step, 3);
    base_of(system,
            "p:reports\x06\x16"
            "5",
            &step);
    assert_int_equal(step, -1);
    assert_string_equal(base_of(system,
                                "p:a\x06\x16"
                                "b",
                                &step),
                        "a\x06\x16"
                        "b");
    assert_null(base_of(system, "reports", &step));
    assert_null(celery_base_name(system, system, "p:a\0b", 5, &step));
    talloc_free(system);
}

static void messages_are_frozen(void **state)
{
    (void)state;
    char text[64], digits[41], expected[41];
    struct celery_frozen *frozen = celery_frozen_new(NULL);
    for (int i = 0; i < 5000; i++) {
        int length = snprintf(text, sizeof text, "message %d", i * 2);
        celery_frozen_add(frozen, text, (size_t)length);
    }
    celery_frozen_add(frozen, "message 8", 9);
    celery_frozen_seal(frozen);
    assert_int_equal(celery_frozen_count(frozen), 5001);
    for (int i = 0; i < 10000; i++) {
        int length = snprintf(text, sizeof text, "message %d", i);
        assert_int_equal(celery_frozen_take(frozen, text, (size_t)length, digits), i % 2 == 0);
        if (i % 2 == 0)
            assert_string_equal(digits, celery_digest(text, (size_t)length, expected));
    }
    /* One was there twice. */
    assert_int_equal(celery_frozen_left(frozen), 1);
    assert_true(celery_frozen_take(frozen, "message 8", 9, digits));
    assert_false(celery_frozen_take(frozen, "message 8", 9, digits));
    celery_frozen_give_back(frozen, digits);
    assert_int_equal(celery_frozen_left(frozen), 1);
    assert_true(celery_frozen_take(frozen, "message 8", 9, digits));
    assert_false(celery_frozen_take(frozen, "message", 7, digits));
    assert_false(celery_frozen_take(frozen, "", 0, digits));
    talloc_free(frozen);
}

static void counts_are_exact(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(celery_exact(text, sizeof text, 0), "0");
    assert_string_equal(celery_exact(text, sizeof text, 999), "999");
    assert_string_equal(celery_exact(text, sizeof text, 171204), "171,204");
    assert_string_equal(celery_exact(text, sizeof text, 1000000), "1,000,000");
    assert_string_equal(celery_exact(text, sizeof text, -1234), "-1,234");
}

static void old_servers_get_no_first_line(void **state)
{
    (void)state;
    for (int i = 0; i < CELERY_SCRIPTS; i++) {
        const char *today = celery_script_text((enum celery_script)i, "7.0.15"),
                   *old = celery_script_text((enum celery_script)i, "6.2.14");
        assert_true(strncmp(old, "local ", 6) == 0);
        assert_string_equal(*today == '#' ? strchr(today, '\n') + 1 : today, old);
        assert_string_equal(celery_script_text((enum celery_script)i, NULL), today);
        /* Messages are never taken apart in Lua. */
        assert_null(strstr(today, "cjson"));
        assert_null(strstr(today, "KEYS *"));
    }
    assert_string_equal(celery_dead_letters_of("dlq:reports"), "reports");
    assert_null(celery_dead_letters_of("dlq:"));
    assert_null(celery_dead_letters_of("reports"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_named_and_read),     cmocka_unit_test(keys_are_taken_apart),
        cmocka_unit_test(messages_are_frozen),           cmocka_unit_test(counts_are_exact),
        cmocka_unit_test(old_servers_get_no_first_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
