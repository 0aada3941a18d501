/* Values as JSON: what is printed is the number that was meant, and no text that a terminal would obey. */
#include <json-c/json.h>
#include <math.h>
#include <string.h>

#include "core/json.h"
#include "tests/unit/unit.h"

static void expect(struct json_object *object, const char *text)
{
    assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), text);
    json_object_put(object);
}

static void test_numbers(void **state)
{
    (void)state;
    expect(json_real(12), "12");
    expect(json_real(12.5), "12.5");
    expect(json_real(-0.0001), "0");
    expect(json_real(100), "100");
    expect(json_real(1e14), "100000000000000");
    expect(json_real(1e100), "1e+100"); /* the most rows that a planner expects */
    expect(json_real(-2.5e15), "-2500000000000000");
    assert_null(json_real(NAN));
    assert_null(json_real(INFINITY));
}

static void test_texts(void **state)
{
    (void)state;
    expect(json_text("a \"b\" \\ \n\t"), "\"a \\\"b\\\" \\\\ \\n\\t\"");
    expect(json_text("大同 é 🏫"), "\"大同 é 🏫\"");
    expect(json_text("\x1b[31m\x7f"), "\"\\u001b[31m\\u007f\"");
    expect(json_text("a\u202e\u200bb"), "\"a\\u202e\\u200bb\"");
    /* Not UTF-8: cut, too long, a surrogate, a byte alone. */
    expect(json_text("\xe5\xa4"), "\"\\\\xe5\\\\xa4\"");
    expect(json_text("\xc0\x80"), "\"\\\\xc0\\\\x80\"");
    expect(json_text("\xed\xa0\x80"), "\"\\\\xed\\\\xa0\\\\x80\"");
    expect(json_text("\xff!"), "\"\\\\xff!\"");
    assert_null(json_text(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
