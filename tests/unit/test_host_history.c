/* The last hour of a host: spacing, gaps, the ring, and what it costs. */
#include <math.h>
#include <talloc.h>

#include "backends/hosts/history.h"
#include "tests/unit/unit.h"

#define START 1795262500.0

static void add(struct history *history, double time, float cpu, float load)
{
    float values[SERIES_COUNT];
    for (int i = 0; i < SERIES_COUNT; i++)
        values[i] = NAN;
    values[SERIES_CPU] = cpu;
    values[SERIES_LOAD] = load;
    history_add(history, time, values);
}

static const enum host_series series[] = {SERIES_LOAD, SERIES_CPU};

static void samples_come_back(void **state)
{
    (void)state;
    double *times;
    float *values;
    struct history *history = history_new(NULL);
    assert_int_equal(history_read(history, history, series, 2, 0, &times, &values), 0);
    add(history, START, 50, 1.5F);
    add(history, START + 5, 12345678.0F, NAN);
    assert_int_equal(history_read(history, history, series, 2, 0, &times, &values), 2);
    assert_true(times[0] == START && times[1] == START + 5);
    assert_true(values[0] == 1.5F && values[1] == 50);
    assert_true(isnan(values[2]));
    assert_true(fabsf(values[3] / 12345678.0F - 1) < 0.004F);
    assert_int_equal(history_read(history, history, series, 2, START + 1, &times, &values), 1);
    talloc_free(history);
}

static void close_ones_are_averaged(void **state)
{
    (void)state;
    double *times;
    float *values;
    struct history *history = history_new(NULL);
    add(history, START, 10, NAN);
    add(history, START + 2, 20, 4);
    add(history, START + 4, 60, NAN);
    add(history, START + 5, 1, 1);
    add(history, START + 3, 99, 99); /* the clock was set back */
    assert_int_equal(history_read(history, history, series, 2, 0, &times, &values), 2);
    assert_true(fabsf(values[1] - 30) < 0.2F && values[0] == 4);
    talloc_free(history);
}

static void silence_is_a_gap(void **state)
{
    (void)state;
    double *times;
    float *values;
    struct history *history = history_new(NULL);
    add(history, START, 10, 1);
    add(history, START + 60, 20, 2);
    assert_int_equal(history_read(history, history, series, 2, 0, &times, &values), 3);
    assert_true(isnan(values[2]) && isnan(values[3]) && times[1] > times[0] && times[1] < times[2]);
    talloc_free(history);
}

static void an_hour_is_kept(void **state)
{
    (void)state;
    double *times;
    float *values;
    struct history *history = history_new(NULL);
    for (int i = 0; i < 5000; i++)
        add(history, START + i * 5, (float)(i % 100), 1);
    double last = START + 4999 * 5;
    size_t count = history_read(history, history, series, 2, 0, &times, &values);
    assert_true(times[0] <= last - 3600 && times[count - 1] == last);
    assert_in_range(count, 720, 800);
    for (size_t i = 1; i < count; i++)
        assert_true(fabs(times[i] - times[i - 1] - 5) < 0.01);
    talloc_free(times);
    talloc_free(values);
    print_message("an hour takes %zu bytes\n", talloc_total_size(history));
    assert_true(talloc_total_size(history) < 30000);
    talloc_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_come_back),
        cmocka_unit_test(close_ones_are_averaged),
        cmocka_unit_test(silence_is_a_gap),
        cmocka_unit_test(an_hour_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
