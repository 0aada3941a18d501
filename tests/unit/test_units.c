/* Numbers as people read them, durations, times. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "core/units.h"
#include "tests/unit/unit.h"

struct expectation {
    double number;
    const char *text;
};

static void assert_formats(char *(*format)(char *, size_t, double), const struct expectation *cases)
{
    char buffer[64];
    for (; cases->text; cases++)
        assert_string_equal(format(buffer, sizeof buffer, cases->number), cases->text);
    assert_string_equal(format(buffer, sizeof buffer, NAN), "?");
    assert_string_equal(format(buffer, sizeof buffer, INFINITY), "∞");
    assert_string_equal(format(buffer, sizeof buffer, -INFINITY), "-∞");
    format(buffer, 3, 123456789);
    assert_int_equal(buffer[2], '\0');
}

static void milliseconds(void **state)
{
    static const struct expectation cases[] = {{0, "0"},
                                               {0.001, "<0.01 ms"},
                                               {0.04, "0.04 ms"},
                                               {0.996, "1.0 ms"},
                                               {3.2, "3.2 ms"},
                                               {12.44, "12.4 ms"},
                                               {99.96, "100 ms"},
                                               {1187, "1,187 ms"},
                                               {9999, "9,999 ms"},
                                               {9999.6, "10.0 s"},
                                               {12400, "12.4 s"},
                                               {59949, "59.9 s"},
                                               {59960, "1 m 00 s"},
                                               {252000, "4 m 12 s"},
                                               {-3.2, "-3.2 ms"},
                                               {1.11e7, "3 h 05 m"},
                                               {187200000, "2 d 4 h"},
                                               {1e300, "1e274E d"},
                                               {0, NULL}};
    (void)state;
    assert_formats(format_ms, cases);
}

static void seconds_as_ages(void **state)
{
    static const struct expectation cases[] = {
        {0, "0 s"},           {0.01, "<0.1 s"},    {0.4, "0.4 s"},     {9.96, "10 s"},
        {41, "41 s"},         {59.4, "59 s"},      {59.6, "1 m 00 s"}, {252, "4 m 12 s"},
        {3599.6, "1 h 00 m"}, {11100, "3 h 05 m"}, {86390, "1 d 0 h"}, {187200, "2 d 4 h"},
        {8.64e6, "100 d"},    {1e8, "1,157 d"},    {-41, "-41 s"},     {0, NULL}};
    (void)state;
    assert_formats(format_s, cases);
}

static void bytes(void **state)
{
    static const struct expectation cases[] = {{0, "0"},
                                               {1, "1 B"},
                                               {312, "312 B"},
                                               {1023, "1,023 B"},
                                               {1024, "1.0 kB"},
                                               {53248, "52 kB"},
                                               {1047000, "1,022 kB"},
                                               {1048570, "1.0 MB"},
                                               {2202010, "2.1 MB"},
                                               {356515840, "340 MB"},
                                               {4.4e10, "41 GB"},
                                               {-2048, "-2.0 kB"},
                                               {0, NULL}};
    (void)state;
    assert_formats(format_bytes, cases);
}

static void counts(void **state)
{
    static const struct expectation cases[] = {
        {0, "0"},          {0.01, "<0.1"},    {1.5, "1.5"},      {7, "7"},         {1234, "1,234"},
        {99999, "99,999"}, {99999.6, "100k"}, {184000, "184k"},  {999600, "1.0M"}, {3.1e6, "3.1M"},
        {3.1e8, "310M"},   {2.4e9, "2.4G"},   {-1234, "-1,234"}, {1e30, "1e12E"},  {0, NULL}};
    (void)state;
    assert_formats(format_count, cases);
}

static void percents(void **state)
{
    static const struct expectation cases[] = {{0, "0 %"},        {0.01, "<0.1 %"},  {0.4, "0.4 %"},
                                               {5, "5 %"},        {12.3, "12 %"},    {98.9, "99 %"},
                                               {99.8, "99.8 %"},  {99.97, "99.9 %"}, {100, "100 %"},
                                               {1250, "1,250 %"}, {-12, "-12 %"},    {0, NULL}};
    (void)state;
    assert_formats(format_percent, cases);
}

static void rates(void **state)
{
    static const struct expectation cases[] = {
        {0, "0"},        {0.001, "<0.01"}, {0.31, "0.31"}, {0.999, "1.0"}, {3.14, "3.1"}, {42, "42"},
        {999.6, "1.0k"}, {9100, "9.1k"},   {12000, "12k"}, {-42, "-42"},   {0, NULL}};
    (void)state;
    assert_formats(format_rate, cases);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"300ms", 0.3},    {"30 min", 1800},     {"24h", 86400},
                {"30d", 2592000},  {"1h30m", 5400},      {"2.5s", 2.5},
                {"0s", 0},         {" 1 week ", 604800}, {"2 hours 5 minutes", 7500},
                {"90 seconds", 90}};
    static const char *const bad[] = {"",    " ",   "5",   "h",   "-5s", "5 parsecs", "1e3s",
                                      "inf", "5s!", "1.s", ".5s", "5 S", "1h 30"};
    double seconds = -1;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(parse_duration(good[i].text, &seconds));
        assert_true(fabs(seconds - good[i].seconds) < 1e-9);
    }
    seconds = -1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parse_duration(bad[i], &seconds));
    assert_true(seconds == -1);
}

static void times(void **state)
{
    char buffer[32];
    (void)state;
    setenv("SIGNALBOX_TEST_CLOCK", "1795269910.204", 1);
    setenv("TZ", "UTC", 1);
    tzset();
    assert_true(clock_wall() == 1795269910.204);
    assert_string_equal(clock_rfc3339(buffer, sizeof buffer, clock_wall()), "2026-11-21T14:05:10.204Z");
    assert_string_equal(clock_rfc3339(buffer, sizeof buffer, 0.9999999), "1970-01-01T00:00:01.000Z");
    assert_string_equal(clock_rfc3339(buffer, sizeof buffer, -0.5), "1969-12-31T23:59:59.500Z");
    assert_string_equal(clock_rfc3339(buffer, sizeof buffer, NAN), "?");
    assert_string_equal(clock_time_of_day(buffer, sizeof buffer, clock_wall()), "14:05:10 UTC");
    setenv("TZ", "CET-1", 1);
    tzset();
    assert_string_equal(clock_time_of_day(buffer, sizeof buffer, clock_wall()), "15:05:10 CET");
    double before = clock_monotonic();
    assert_true(clock_monotonic() >= before);
    unsetenv("SIGNALBOX_TEST_CLOCK");
    assert_true(clock_wall() > 1.6e9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(milliseconds), cmocka_unit_test(seconds_as_ages), cmocka_unit_test(bytes),
        cmocka_unit_test(counts),       cmocka_unit_test(percents),        cmocka_unit_test(rates),
        cmocka_unit_test(durations),    cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
