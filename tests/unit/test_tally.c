/* Counting by name: order, shares, a bounded number of names, error bars of samples. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/tally.h"
#include "tests/unit/unit.h"

static void add(struct tally *tally, const char *name, int64_t count)
{
    tally_add(tally, name, name ? strlen(name) : 0, count);
}

static void test_counts(void **state)
{
    struct tally *tally = tally_new(NULL, 100);
    struct tally_line lines[3];
    size_t others;
    char text[200];
    (void)state;
    assert_string_equal(tally_text(tally, text, sizeof text, 3), "");
    for (int i = 0; i < 90; i++)
        add(tally, "al_noor", 1);
    add(tally, "st_marys", 5);
    add(tally, NULL, 3);
    add(tally, "oak", 1);
    add(tally, "elm", 1);
    assert_int_equal(tally_total(tally), 100);
    assert_int_equal(tally_names(tally), 4);
    assert_int_equal(tally_top(tally, lines, 3, &others), 3);
    assert_int_equal(others, 2);
    assert_string_equal(lines[0].name, "al_noor");
    assert_true(lines[0].share == 0.9 && lines[0].error == 0);
    assert_int_equal(lines[1].count, 5);
    assert_null(lines[2].name);
    assert_string_equal(tally_text(tally, text, sizeof text, 2),
                        "al_noor 90 % · st_marys 5 % · 3 others 5 %");
    assert_string_equal(tally_text(tally, text, sizeof text, 9),
                        "al_noor 90 % · st_marys 5 % · no tenant 3 % · elm 1 % · oak 1 %");
    assert_string_equal(tally_text(tally, text, 12, 9), "al_noor 90 ");
    talloc_free(tally);
}

static void test_room(void **state)
{
    struct tally *tally = tally_new(NULL, 64);
    struct tally_line line;
    size_t others;
    char name[32];
    (void)state;
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "school%d", i);
        add(tally, name, 1);
        add(tally, "al_noor", 2);
    }
    assert_int_equal(tally_total(tally), 15000);
    assert_int_equal(tally_top(tally, &line, 1, &others), 1);
    assert_string_equal(line.name, "al_noor");
    assert_int_equal(line.count, 10000);
    assert_int_equal(others, 5000);
    assert_true(talloc_total_size(tally) < 64 * 400);
    talloc_free(tally);
}

/* The interval holds the truth about 19 times of 20, also when neighbours are alike. */
static void test_error(void **state)
{
    enum { POPULATION = 100000, RUN = 37, WINDOWS = 20, WINDOW = 50, ROUNDS = 400 };
    (void)state;
    unsigned seed = 1;
    int held = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct tally *tally = tally_new(NULL, 10);
        for (int i = 0; i < WINDOWS; i++) {
            seed = seed * 1664525u + 1013904223u;
            unsigned begin = (seed >> 8) % (POPULATION - WINDOW);
            for (unsigned at = begin; at < begin + WINDOW; at++) /* runs of one tenant; 30 % are al_noor's */
                add(tally, (at / RUN * 2654435761u >> 16) % 10 < 3 ? "al_noor" : "oak", 1);
        }
        tally_set_sample(tally, POPULATION, WINDOWS);
        struct tally_line lines[2];
        size_t count = tally_top(tally, lines, 2, NULL);
        for (size_t i = 0; i < count; i++)
            if (strcmp(lines[i].name, "al_noor") == 0)
                held += fabs(lines[i].share - 0.3) <= lines[i].error;
        talloc_free(tally);
    }
    if (held < ROUNDS * 93 / 100)
        fail_msg("held in %d of %d", held, (int)ROUNDS);
    struct tally *tally = tally_new(NULL, 10);
    char text[200];
    add(tally, "al_noor", 1400);
    add(tally, "oak", 100);
    tally_set_sample(tally, 1000000, 0);
    assert_string_equal(tally_text(tally, text, sizeof text, 2),
                        "al_noor 93 % · oak 6.7 %  (sample of 1,500, ±1.3 %)");
    tally_set_sample(tally, 1500, 0); /* all of it */
    assert_string_equal(tally_text(tally, text, sizeof text, 2), "al_noor 93 % · oak 6.7 %");
    talloc_free(tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
