/* How fast a list moves, from two looks at it. */
#include <math.h>

#include "backends/queues/celery_rates.h"
#include "tests/unit/unit.h"

static void near_to(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-6 * (1 + fabs(b)));
}

static void element_that_came_nearer_tells_what_was_taken(void **state)
{
    (void)state;
    struct list_move move = list_move(500, 100, 530, 60);
    assert_true(move.exact);
    near_to(move.popped, 40);
    near_to(move.pushed, 70);
    near_to(move.inserted, 0);
}

static void nothing_moved(void **state)
{
    (void)state;
    struct list_move move = list_move(500, 100, 500, 100);
    assert_true(move.exact);
    near_to(move.popped, 0);
    near_to(move.pushed, 0);
}

static void what_was_put_back_at_the_head_is_not_taken_for_new(void **state)
{
    (void)state;
    struct list_move move = list_move(500, 100, 507, 105);
    assert_true(move.exact);
    near_to(move.popped, 0);
    near_to(move.inserted, 5);
    near_to(move.pushed, 2);
}

static void element_that_is_gone_tells_only_the_least(void **state)
{
    (void)state;
    struct list_move move = list_move(5000, 100, 4000, 0);
    assert_false(move.exact);
    near_to(move.popped, 100);
    move = list_move(30, 30, 0, 0);
    assert_false(move.exact);
    near_to(move.popped, 30);
    near_to(move.pushed, 0);
    move = list_move(0, 0, 12, 0);
    assert_false(move.exact);
    near_to(move.pushed, 12);
}

static void depth_follows_the_speed_within_its_limits(void **state)
{
    (void)state;
    struct list_move slow = {.popped = 2, .exact = true}, fast = {.popped = 900, .exact = true},
                     lost = {.popped = 300};
    assert_int_equal(list_next_depth(100000, 0, NULL), RATES_DEPTH_MOST);
    assert_int_equal(list_next_depth(100000, 100, &slow), 56);
    assert_int_equal(list_next_depth(100000, 300, &fast), RATES_DEPTH_MOST);
    assert_int_equal(list_next_depth(100000, 200, &lost), 800);
    assert_int_equal(list_next_depth(100000, 800, &lost), RATES_DEPTH_MOST);
    assert_int_equal(list_next_depth(7, 100, &slow), 7);
    assert_int_equal(list_next_depth(0, 100, &slow), 0);
}

static void mean_is_fair_from_the_first_value_and_forgets(void **state)
{
    (void)state;
    struct rate rate = {0};
    assert_true(isnan(rate_value(&rate)));
    rate_add(&rate, 40, 3, 60);
    near_to(rate_value(&rate), 40);
    for (int i = 0; i < 100; i++)
        rate_add(&rate, 40, 3, 60);
    rate_add(&rate, 0, 60, 60);
    assert_true(rate_value(&rate) > 14 && rate_value(&rate) < 15.5); /* 40 / e */
    rate_skip(&rate, 60, 60);
    assert_true(rate_value(&rate) > 14 && rate_value(&rate) < 15.5);
    rate_skip(&rate, 600, 60);
    assert_true(isnan(rate_value(&rate)));
}

static void head_came_in_when_its_number_was_added(void **state)
{
    (void)state;
    struct arrivals arrivals;
    double at;
    arrivals_begin(&arrivals, 1000);
    assert_false(arrivals_head(&arrivals, 5, &at));
    near_to(at, 1000);
    for (int i = 1; i <= 200; i++)
        arrivals_add(&arrivals, 1000 + i, 10);
    /* 2000 were added; a list of 100 begins with number 1901, which came in during second 191. */
    assert_true(arrivals_head(&arrivals, 100, &at));
    assert_true(fabs(at - 1190.1) < 8);
    assert_true(arrivals_head(&arrivals, 2000, &at));
    assert_true(at >= 1000 && at < 1040);
    /* The head was there before the first look. */
    assert_false(arrivals_head(&arrivals, 2005, &at));
    near_to(at, 1000);
}

static void drain(void **state)
{
    (void)state;
    near_to(list_drain(0, 10, 0), 0);
    near_to(list_drain(1000, 10, 30), 50);
    assert_true(isinf(list_drain(1000, 31, 30)));
    assert_true(isinf(list_drain(5, 0, 0)));
    near_to(list_drain(60, 30, 30), 2); /* in balance */
    assert_true(isnan(list_drain(5, NAN, 2)));
    assert_true(isnan(list_drain(-1, 1, 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(element_that_came_nearer_tells_what_was_taken),
        cmocka_unit_test(nothing_moved),
        cmocka_unit_test(what_was_put_back_at_the_head_is_not_taken_for_new),
        cmocka_unit_test(element_that_is_gone_tells_only_the_least),
        cmocka_unit_test(depth_follows_the_speed_within_its_limits),
        cmocka_unit_test(mean_is_fair_from_the_first_value_and_forgets),
        cmocka_unit_test(head_came_in_when_its_number_was_added),
        cmocka_unit_test(drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
