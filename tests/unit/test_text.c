/* Safe text, widths, cutting, searching, CSV. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "tests/unit/unit.h"

static void assert_safe(const char *text, const char *expected)
{
    char buffer[512];
    size_t length = safe_text(buffer, sizeof buffer, text, (size_t)-1);
    assert_string_equal(buffer, expected);
    assert_int_equal(length, strlen(expected));
}

static void controls_are_visible(void **state)
{
    (void)state;
    assert_safe("plain \\ text", "plain \\ text");
    assert_safe("a\nb\tc\rd", "a\\nb\\tc\\rd");
    assert_safe("\x1b[31mred\x07\x7f", "\\x1b[31mred\\x07\\x7f");
    assert_safe("\xc2\x9b"
                "31m",
                "\\u009b31m");
    assert_safe("user\u202egpj.exe\u2066\u200e\u200f\u061c",
                "user\\u202egpj.exe\\u2066\\u200e\\u200f\\u061c");
    assert_safe("a\u200bb\u2060c\ufeff", "a\\u200bb\\u2060c\\ufeff");
    assert_safe("\u00ad\u2028\u2029\ufff9", "\\u00ad\\u2028\\u2029\\ufff9");
    assert_safe("\U000e0041\ue000\U0010fffd\ufdd0\uffff", "\\U000e0041\\ue000\\U0010fffd\\ufdd0\\uffff");
    assert_safe("\u115f\u3164\uffa0\u034f", "\\u115f\\u3164\\uffa0\\u034f");
    char buffer[32];
    assert_int_equal(safe_text(buffer, sizeof buffer, "a\0b", 3), 6);
    assert_string_equal(buffer, "a\\x00b");
}

static void invalid_utf8_is_visible(void **state)
{
    (void)state;
    assert_safe("\xff\xfe", "\\xff\\xfe");
    assert_safe("\xc0\xaf", "\\xc0\\xaf");          /* overlong */
    assert_safe("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
    assert_safe("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
    assert_safe("ab\xe2\x82", "ab\\xe2\\x82"); /* cut */
}

static void joiners_stay_where_they_mean_something(void **state)
{
    (void)state;
    const char *kept[] = {"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", /* Persian, U+200C */
                          "\u0915\u094d\u200d\u0937",                         /* Devanagari, U+200D */
                          "\U0001f469\u200d\U0001f680",
                          "\U0001f469\U0001f3fd\u200d\U0001f680",
                          "\u2764\ufe0f\u200d\U0001f525",
                          "1\ufe0f\u20e3",
                          "\U0001f1e9\U0001f1ea"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_safe(kept[i], kept[i]);
    assert_safe("pay\u200dpal", "pay\\u200dpal");
    assert_safe("pay\u200cpal", "pay\\u200cpal");
    assert_safe("\u200d\U0001f680", "\\u200d\U0001f680");
    assert_safe("\U0001f469\u200d", "\U0001f469\\u200d");
    assert_safe("\U0001f469\u200d\u200d\U0001f680", "\U0001f469\\u200d\\u200d\U0001f680");
    assert_safe("a\ufe0f", "a\\ufe0f");
    assert_safe("1\ufe0f2", "1\\ufe0f2");
}

static void marks_combine_with_something(void **state)
{
    (void)state;
    assert_safe("e\u0301", "e\u0301");
    assert_safe("\u0301e", "\\u0301e");
    assert_safe("\n\u0301", "\\n\\u0301");
    assert_safe("a\u0301\u0302\u0303\u0304\u0305\u0306", "a\u0301\u0302\u0303\u0304\\u0305\\u0306");
    assert_safe("\u1112\u1161\u11ab", "\u1112\u1161\u11ab");
    assert_safe("a\u1161", "a\\u1161");
}

static void small_buffers_hold_whole_characters(void **state)
{
    (void)state;
    char buffer[8];
    assert_int_equal(safe_text(buffer, 4, "ab\u20ac", (size_t)-1), 5);
    assert_string_equal(buffer, "ab");
    assert_int_equal(safe_text(buffer, 4, "abcdef", (size_t)-1), 6);
    assert_string_equal(buffer, "abc");
    assert_int_equal(safe_text(buffer, 4, "ab\nc", (size_t)-1), 5);
    assert_string_equal(buffer, "ab");
    assert_int_equal(safe_text(NULL, 0, "ab\n", (size_t)-1), 4);
    assert_int_equal(safe_text(buffer, 8, "\U0001f469\u200d\U0001f680", (size_t)-1), 11);
    assert_string_equal(buffer, "\U0001f469");
}

static void lines_are_folded(void **state)
{
    (void)state;
    char *line = safe_line_new(NULL, "  select\n\t a,\r\n  b \x1b  ");
    assert_string_equal(line, "select a, b \\x1b");
    talloc_free(line);
    char *empty = safe_text_new(NULL, NULL);
    assert_string_equal(empty, "");
    talloc_free(empty);
    char buffer[8];
    assert_int_equal(safe_line(buffer, sizeof buffer, "\n\nselect   1 from x"), 7);
    assert_string_equal(buffer, "select ");
}

static void widths_are_cells(void **state)
{
    static const struct {
        const char *text;
        int cells;
    } cases[] = {
        {"", 0},
        {"abc", 3},
        {"e\u0301", 1},
        {"\u65e5\u672c", 4},
        {"\U0001f600", 2},
        {"\U0001f469\u200d\U0001f469\u200d\U0001f467", 2},
        {"\U0001f44d\U0001f3fd", 2},
        {"\u2764\ufe0f", 2},
        {"\u2764", 1},
        {"\U0001f1e9\U0001f1ea", 2},
        {"\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", 4},
        {"\U0001f1e9", 1},
        {"1\ufe0f\u20e3", 2},
        {"\ud55c\uae00", 4},
        {"\u1112\u1161\u11ab", 2},
        {"\uff21", 2},
        {"\u2248\u2026\u00e4", 3},
        {"\u0928\u0940", 2},
        {"a\U0001f3fd", 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(text_width(cases[i].text), cases[i].cells);
}

static void cutting_keeps_graphemes(void **state)
{
    (void)state;
    char buffer[64];
    int cells;
    assert_int_equal(text_fit("a\u65e5b", 2, &cells), 1);
    assert_int_equal(cells, 1);
    assert_int_equal(text_fit("e\u0301x", 1, NULL), 3);
    assert_int_equal(text_grapheme("\U0001f469\u200d\U0001f680x", &cells), 11);
    assert_int_equal(text_grapheme("", &cells), 0);
    assert_int_equal(text_cut(buffer, sizeof buffer, "abcdef", 6), 6);
    assert_string_equal(buffer, "abcdef");
    assert_int_equal(text_cut(buffer, sizeof buffer, "abcdef", 4), 4);
    assert_string_equal(buffer, "abc\u2026");
    assert_int_equal(text_cut(buffer, sizeof buffer, "\u65e5\u672c\u8a9e", 4), 3);
    assert_string_equal(buffer, "\u65e5\u2026");
    assert_int_equal(text_cut(buffer, sizeof buffer, "abc", 1), 1);
    assert_string_equal(buffer, "\u2026");
    assert_int_equal(text_cut(buffer, sizeof buffer, "abc", 0), 0);
    assert_string_equal(buffer, "");
    assert_int_equal(text_cut(buffer, 6, "abcdef", 6), 3);
    assert_string_equal(buffer, "ab\u2026");
}

static void search_ignores_case(void **state)
{
    (void)state;
    assert_true(text_contains("anything", ""));
    assert_true(text_contains("SELECT \u00c4pfel", "\u00e4PF"));
    assert_true(text_contains("\u0391\u0392", "\u03b2"));
    assert_true(text_contains("aab", "ab"));
    assert_false(text_contains("ab", "abc"));
    assert_false(text_contains("", "a"));
    assert_true(text_contains("x\xff", "\xff"));
}

static void cells_of_csv_are_guarded(void **state)
{
    static const struct {
        const char *text, *cell;
    } cases[] = {
        {"plain", "plain"},   {"", ""},
        {"a,b", "\"a,b\""},   {"say \"x\"", "\"say \"\"x\"\"\""},
        {"a\nb", "\"a\nb\""}, {"=1+1", "'=1+1"},
        {"@x", "'@x"},        {"-x", "'-x"},
        {"+49 1", "'+49 1"},  {"\tx", "\"'\tx\""},
        {"-12.5", "-12.5"},   {"+3e-4", "+3e-4"},
        {"-", "'-"},          {"=a,b", "\"'=a,b\""},
        {"-1e", "'-1e"},      {" x", "\" x\""},
    };
    char buffer[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(csv_cell(buffer, sizeof buffer, cases[i].text), strlen(cases[i].cell));
        assert_string_equal(buffer, cases[i].cell);
    }
    assert_int_equal(csv_cell(buffer, 3, "abcdef"), 6);
    assert_string_equal(buffer, "ab");
}

static void long_texts_pass_unchanged(void **state)
{
    (void)state;
    size_t length = 100000;
    char *text = talloc_size(NULL, length + 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)(0x20 + i % 95);
    text[length] = '\0';
    char *safe = safe_text_new(text, text);
    assert_string_equal(safe, text);
    for (size_t i = 0; i < 64; i++) {
        text[i] = '\x7f';
        char buffer[128];
        assert_int_equal(safe_text(buffer, sizeof buffer, text, 64), 67);
        assert_memory_equal(buffer + i, "\\x7f", 4);
        text[i] = (char)(0x20 + i % 95);
    }
    talloc_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_visible),
        cmocka_unit_test(invalid_utf8_is_visible),
        cmocka_unit_test(joiners_stay_where_they_mean_something),
        cmocka_unit_test(marks_combine_with_something),
        cmocka_unit_test(small_buffers_hold_whole_characters),
        cmocka_unit_test(lines_are_folded),
        cmocka_unit_test(widths_are_cells),
        cmocka_unit_test(cutting_keeps_graphemes),
        cmocka_unit_test(search_ignores_case),
        cmocka_unit_test(cells_of_csv_are_guarded),
        cmocka_unit_test(long_texts_pass_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
