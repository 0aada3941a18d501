/* Order of values and how the screen shows them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/action.h"
#include "core/value.h"
#include "tests/unit/unit.h"

static const int64_t one_two[] = {1, 2, 3}, one_three[] = {1, 3};

static struct value list(const int64_t *items, size_t count)
{
    return (struct value){.kind = VALUE_INTEGERS, .integers = {items, count}};
}

static void assert_order(struct value a, struct value b)
{
    assert_true(value_compare(a, b) < 0);
    assert_true(value_compare(b, a) > 0);
    assert_int_equal(value_compare(a, a), 0);
    assert_int_equal(value_compare(b, b), 0);
}

static void values_are_ordered(void **state)
{
    struct value never = {.kind = VALUE_NEVER};
    (void)state;
    assert_order(value_integer(-5), value_integer(3));
    assert_order(value_integer(INT64_MIN), value_integer(INT64_MAX));
    assert_order(value_integer(1), value_real(1.5));
    assert_order(value_real(-1.5), value_integer(-1));
    assert_order(value_integer(INT64_MAX - 1), value_real(9223372036854775808.0));
    assert_order(value_integer(9007199254740992), value_integer(9007199254740993));
    assert_int_equal(value_compare(value_integer(2), value_real(2)), 0);
    assert_order(value_text("tenant_9"), value_text("tenant_10"));
    assert_order(value_text("Alpha"), value_text("beta"));
    assert_order(value_text("a"), value_text("ab"));
    assert_order(value_text("a01"), value_text("a1"));
    assert_order(value_boolean(false), value_boolean(true));
    assert_order(list(one_two, 3), list(one_three, 2));
    assert_order(value_integer(INT64_MAX), never);
    assert_order(never, value_unknown());
    assert_order(value_unknown(), value_blank());
    assert_order(value_text("zzz"), value_unknown());
    assert_order(value_real(INFINITY), value_real(NAN));
    assert_int_equal(value_compare(value_real(NAN), value_unknown()), 0);
    assert_order(value_real(1), list(NULL, 0));
}

static void assert_shown(enum unit unit, unsigned flags, struct value value, const char *expected)
{
    char buffer[64];
    struct column column = {.id = "x", .unit = unit, .flags = flags};
    assert_string_equal(value_format(buffer, sizeof buffer, &column, value), expected);
}

static void values_are_shown(void **state)
{
    struct value warning = value_real(93), estimated = value_integer(184000);
    (void)state;
    warning.severity = SEVERITY_WARNING;
    estimated.estimated = true;
    assert_shown(UNIT_MS, 0, value_blank(), "");
    assert_shown(UNIT_MS, 0, value_unknown(), "?");
    assert_shown(UNIT_MS, 0, (struct value){.kind = VALUE_NEVER}, "never");
    assert_shown(UNIT_NONE, 0, value_boolean(true), "yes");
    assert_shown(UNIT_NONE, 0, value_boolean(false), "no");
    assert_shown(UNIT_MS, 0, value_real(3.2), "3.2 ms");
    assert_shown(UNIT_S, 0, value_integer(41), "41 s");
    assert_shown(UNIT_BYTES, 0, value_integer(53248), "52 kB");
    assert_shown(UNIT_BLOCKS, 0, value_integer(1234), "1,234");
    assert_shown(UNIT_PER_S, 0, value_real(0.31), "0.31");
    assert_shown(UNIT_SHARE, 0, warning, "93 %!");
    assert_shown(UNIT_COUNT, 0, estimated, "≈184k");
    assert_shown(UNIT_ID, 0, value_integer(1234567), "1234567");
    assert_shown(UNIT_ID, 0, value_integer(INT64_MIN), "-9223372036854775808");
    assert_shown(UNIT_NONE, 0, value_real(0.25), "0.25");
    assert_shown(UNIT_NONE, 0, value_real(-0.0001), "0");
    assert_shown(UNIT_NONE, 0, value_real(100), "100");
    assert_shown(UNIT_NONE, 0, value_real(NAN), "?");
    assert_shown(UNIT_NONE, 0, list(one_two, 3), "1, 2, 3");
    assert_shown(UNIT_NONE, 0, list(NULL, 0), "");
    assert_shown(UNIT_NONE, 0, value_text("a\nb"), "a\\nb");
    assert_shown(UNIT_NONE, COLUMN_STATEMENT, value_text(" select\n  1"), "select 1");
    char buffer[8];
    warning = value_text("idle in transaction");
    warning.severity = SEVERITY_CRITICAL;
    assert_string_equal(value_format(buffer, sizeof buffer, NULL, warning), "idle i!");
    static const int64_t long_ones[] = {1234, 567890};
    assert_string_equal(value_format(buffer, sizeof buffer, NULL, list(long_ones, 2)), "1234");
    for (size_t size = 1; size < sizeof buffer; size++)
        assert_true(strlen(value_format(buffer, size, NULL, warning)) < size);
}

static void times_are_shown(void **state)
{
    (void)state;
    setenv("SIGNALBOX_TEST_CLOCK", "1795269910", 1);
    setenv("TZ", "UTC", 1);
    tzset();
    assert_shown(UNIT_TIME, 0, value_real(1795269910), "14:05:10 UTC");
    assert_shown(UNIT_TIME, 0, value_integer(1795269910 - 86400), "20 Nov 14:05");
    assert_shown(UNIT_TIME, 0, value_integer(1795269910 - 365 * 86400), "2025-11-21");
    unsetenv("SIGNALBOX_TEST_CLOCK");
}

static void hazards_have_names(void **state)
{
    (void)state;
    assert_string_equal(hazard_name(HAZARD_LOOK), "look");
    assert_string_equal(hazard_name(HAZARD_MEASURE), "measure");
    assert_string_equal(hazard_name(HAZARD_CHANGE), "change");
    assert_string_equal(hazard_name(HAZARD_DESTROY), "destroy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_ordered),
        cmocka_unit_test(values_are_shown),
        cmocka_unit_test(times_are_shown),
        cmocka_unit_test(hazards_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
