/* The table without a terminal: selection by id, the filter's grammar, sorting, marks, folds, copying. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "tests/unit/unit.h"
#include "tui/table.h"

struct thing {
    const char *id, *name;
    double ms;     /* negative: unknown */
    int64_t bytes; /* negative: blank */
    int depth;
};

static struct value name_of(const void *row)
{
    return value_text(((const struct thing *)row)->name);
}
static struct value ms_of(const void *row)
{
    double ms = ((const struct thing *)row)->ms;
    struct value value = ms < 0 ? value_unknown() : value_real(ms);
    value.severity = ms > 1000 ? SEVERITY_CRITICAL : SEVERITY_NONE;
    return value;
}
static struct value bytes_of(const void *row)
{
    int64_t bytes = ((const struct thing *)row)->bytes;
    return bytes < 0 ? value_blank() : value_integer(bytes);
}
static const char *absent(const void *context)
{
    return strcmp(context, "old") == 0 ? "PostgreSQL 13 or newer" : NULL;
}

static const struct column columns[] = {
    {"name", "name", "its name", UNIT_NONE, 12, 0, 0, name_of, NULL},
    {"mean_ms", "mean", "mean time", UNIT_MS, 8, 0, 0, ms_of, NULL},
    {"size_bytes", "size", "size", UNIT_BYTES, 8, 1, 0, bytes_of, absent},
    {"secret", "secret", "not on the screen", UNIT_NONE, 8, 1, COLUMN_HIDDEN, name_of, NULL},
};
static const struct column tree_columns[] = {
    {"name", "name", "its name", UNIT_NONE, 12, 0, COLUMN_TREE, name_of, NULL},
    {"mean_ms", "mean", "mean time", UNIT_MS, 8, 0, 0, ms_of, NULL},
};

static const struct thing things[] = {
    {"a", "Invoice list", 12, 4096, 0},        {"b", "school \"x\"", -1, 50 * 1024 * 1024, 0},
    {"c", "INVOICE update", 1500, -1, 0},      {"d", "大同小学 a:b", 0.5, 100, 0},
    {"e", "multi word name", 12, 3 * 1024, 0},
};
static const struct thing nodes[] = {
    {"r1", "root one", 1, 0, 0}, {"r1a", "child a", 1, 0, 1}, {"r1a1", "needle", 2000, 0, 2},
    {"r1b", "child b", 1, 0, 1}, {"r1c", "child c", 1, 0, 1}, {"r2", "root two", 1, 0, 0},
    {"r2a", "leaf", 1, 0, 1},
};

static void set(struct table *table, const struct thing *list, const char *ids)
{
    struct table_row rows[16];
    size_t count = 0;
    char word[8];
    int length;
    while (sscanf(ids, "%7s%n", word, &length) == 1) {
        ids += length;
        for (size_t i = 0; i < 7; i++) {
            if (list == things && i >= 5)
                break;
            if (strcmp(list[i].id, word) == 0)
                rows[count++] =
                    (struct table_row){.data = &list[i], .id = list[i].id, .depth = list[i].depth};
        }
    }
    table_set_rows(table, rows, count);
}

static struct table *flat(void)
{
    struct table *table = table_new(NULL, columns, sizeof columns / sizeof *columns);
    set(table, things, "a b c d e");
    return table;
}

static struct table *tree(void)
{
    struct table *table = table_new(NULL, tree_columns, sizeof tree_columns / sizeof *tree_columns);
    set(table, nodes, "r1 r1a r1a1 r1b r1c r2 r2a");
    return table;
}

/* The ids as the filter shows them. */
static const char *order(const struct table *table)
{
    static char ids[128];
    ids[0] = '\0';
    for (size_t i = 0; i < table_matching(table); i++) {
        strcat(ids, i ? " " : "");
        strcat(ids, table_shown(table, i)->id);
    }
    return ids;
}

static const char *selected(const struct table *table)
{
    return table_selected(table) ? table_selected(table)->id : "none";
}

/* Walks down from the first row: what can be selected, in the order of the screen. */
static const char *walk(struct table *table)
{
    static char ids[128];
    const char *last = "";
    ids[0] = '\0';
    table_act(table, "table.first");
    while (strcmp(last, selected(table)) != 0) {
        last = selected(table);
        strcat(ids, *ids ? " " : "");
        strcat(ids, last);
        table_act(table, "table.down");
    }
    return ids;
}

static void selection_follows_the_id(void **state)
{
    (void)state;
    struct table *table = flat();
    assert_string_equal(selected(table), "a");
    table_act(table, "table.down");
    table_act(table, "table.down");
    assert_string_equal(selected(table), "c");
    set(table, things, "e d c b a");
    assert_string_equal(selected(table), "c");
    assert_false(table_selection_moved(table));
    assert_true(table_sort(table, "mean_ms", false));
    assert_string_equal(selected(table), "c");
    talloc_free(table);
}

static void a_row_that_is_gone_gives_its_place(void **state)
{
    (void)state;
    struct table *table = flat();
    assert_true(table_select(table, "c"));
    set(table, things, "a b d e");
    assert_string_equal(selected(table), "d");
    assert_true(table_selection_moved(table));
    table_act(table, "table.up");
    assert_false(table_selection_moved(table));
    table_act(table, "table.last");
    set(table, things, "a b");
    assert_string_equal(selected(table), "b");
    assert_true(table_selection_moved(table));
    table_set_rows(table, NULL, 0);
    assert_null(table_selected(table));
    assert_false(table_select(table, "a"));
    /* what was selected is selected again when it comes back */
    set(table, things, "a b");
    assert_string_equal(selected(table), "b");
    talloc_free(table);
}

static void sorts_stable_with_unknown_last(void **state)
{
    (void)state;
    struct table *table = flat();
    bool descending;
    assert_null(table_sorted_by(table, NULL));
    assert_true(table_sort(table, "mean_ms", false));
    assert_string_equal(order(table), "d a e c b");
    assert_true(table_sort(table, "mean_ms", true));
    assert_string_equal(order(table), "c a e d b");
    assert_true(table_sort(table, "size_bytes", true));
    assert_string_equal(order(table), "b a e d c");
    assert_string_equal(table_sorted_by(table, &descending), "size_bytes");
    assert_true(descending);
    assert_false(table_sort(table, "nothing", true));
    assert_true(table_sort(table, NULL, false));
    assert_string_equal(order(table), "a b c d e");
    talloc_free(table);
}

static void next_column_sorts_numbers_from_the_greatest(void **state)
{
    (void)state;
    struct table *table = flat();
    bool descending;
    table_act(table, "table.sort-next");
    assert_string_equal(table_sorted_by(table, &descending), "name");
    assert_false(descending);
    table_act(table, "table.sort-next");
    assert_string_equal(table_sorted_by(table, &descending), "mean_ms");
    assert_true(descending);
    table_act(table, "table.sort-reverse");
    assert_string_equal(order(table), "d a e c b");
    table_act(table, "table.sort-next");
    table_act(table, "table.sort-next"); /* hidden columns are left out: the end */
    assert_null(table_sorted_by(table, NULL));
    talloc_free(table);
}

static void filters(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *shown;
    } cases[] = {
        {"", "a b c d e"},       {"invoice", "a c"},
        {"!invoice", "b d e"},   {"INVOICE list", "a"},
        {"\"word name\"", "e"},  {"\"name word\"", ""},
        {"大同", "d"},           {"mean>1s", "c"},
        {"mean>=12", "a c e"},   {"mean_ms<1", "d"},
        {"mean<=12ms", "a d e"}, {"!mean>1", "b d"}, /* what is unknown is not greater */
        {"size>20MB", "b"},      {"size>=3kB", "a b e"},
        {"size=4kB", "a"},       {"size:3", "e"},
        {"mean:12", "a e"},      {"mean=12", "a e"},
        {"mean=1", ""},          {"name:word !mean>20", "e"},
        {"secret:school", "b"},  {"mean>", "a b c d e"}, /* not yet typed */
        {"!", "a b c d e"},      {"?", "b"},
    };
    struct table *table = flat();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        error_clear(&error);
        if (!table_set_filter(table, cases[i].filter, &error))
            fail_msg("%s: %s", cases[i].filter, error.why);
        if (strcmp(order(table), cases[i].shown) != 0)
            fail_msg("%s shows \"%s\", not \"%s\"", cases[i].filter, order(table), cases[i].shown);
    }
    talloc_free(table);
}

static void words_that_are_no_comparison_are_text(void **state)
{
    (void)state;
    struct table *table = flat();
    struct error error;
    error_clear(&error);
    assert_false(table_set_filter(table, "a:b", &error));
    assert_non_null(strstr(error.why, "there is no column a; there are name, mean_ms, size_bytes, secret"));
    assert_string_equal(order(table), "d");
    error_clear(&error);
    assert_false(table_set_filter(table, "mean>fast", &error));
    assert_non_null(strstr(error.why, "fast is no number for the column mean_ms"));
    assert_string_equal(order(table), "");
    assert_true(table_set_filter(table, NULL, NULL));
    assert_int_equal(table_matching(table), 5);
    talloc_free(table);
}

static void status_says_what_is_shown_and_marked(void **state)
{
    (void)state;
    struct table *table = flat();
    char text[128];
    assert_string_equal(table_status(table, text, sizeof text), "");
    table_act(table, "table.mark");
    table_act(table, "table.mark");
    table_set_filter(table, "invoice", NULL);
    assert_string_equal(table_status(table, text, sizeof text), "2 of 5 · filter invoice · 2 marked");
    talloc_free(table);
}

static void marks_follow_ids(void **state)
{
    (void)state;
    struct table *table = flat();
    size_t at = 0;
    table_act(table, "table.mark"); /* a, and goes on */
    assert_string_equal(selected(table), "b");
    table_act(table, "table.down");
    table_act(table, "table.mark"); /* c */
    set(table, things, "e c b");    /* a is gone */
    assert_int_equal(table_marked_count(table), 1);
    assert_string_equal(table_next_marked(table, &at)->id, "c");
    assert_null(table_next_marked(table, &at));
    table_set_filter(table, "o", NULL);
    table_act(table, "table.mark-all");
    assert_int_equal(table_marked_count(table), 3);
    table_act(table, "table.unmark");
    assert_int_equal(table_marked_count(table), 0);
    talloc_free(table);
}

static void next_match_and_next_worst_go_round(void **state)
{
    (void)state;
    struct table *table = flat();
    table_set_filter(table, "invoice", NULL);
    table_act(table, "table.clear-filter");
    table_act(table, "table.next-match");
    assert_string_equal(selected(table), "c");
    table_act(table, "table.next-match");
    assert_string_equal(selected(table), "a");
    table_act(table, "table.previous-match");
    assert_string_equal(selected(table), "c");
    table_act(table, "table.first");
    table_act(table, "table.next-worst");
    assert_string_equal(selected(table), "c");
    table_act(table, "table.next-worst");
    assert_string_equal(selected(table), "c");
    talloc_free(table);
}

static void trees_fold_and_keep_their_order(void **state)
{
    (void)state;
    struct table *table = tree();
    assert_false(table_sort(table, "mean_ms", true));
    assert_string_equal(walk(table), "r1 r1a r1a1 r1b r1c r2 r2a");
    table_select(table, "r1");
    table_act(table, "table.fold");
    assert_string_equal(walk(table), "r1 r2 r2a");
    assert_int_equal(table_matching(table), 7); /* folded rows are still there */
    set(table, nodes, "r1 r1a r1a1 r1b r1c r2 r2a");
    assert_string_equal(walk(table), "r1 r2 r2a");
    table_select(table, "r1");
    table_act(table, "table.right");
    assert_string_equal(walk(table), "r1 r1a r1a1 r1b r1c r2 r2a");
    table_select(table, "r1b");
    table_act(table, "table.left");
    assert_string_equal(selected(table), "r1");
    talloc_free(table);
}

static void a_branch_limit_hides_the_rest_until_it_is_unfolded(void **state)
{
    (void)state;
    struct table *table = tree();
    table_set_branch_limit(table, 1);
    assert_string_equal(walk(table), "r1 r1a r1a1 r2 r2a"); /* one more line would not hide r2a */
    table_select(table, "r1");
    table_act(table, "table.fold");
    assert_string_equal(walk(table), "r1 r1a r1a1 r1b r1c r2 r2a");
    talloc_free(table);
}

static void trees_keep_the_ancestors_of_matches(void **state)
{
    (void)state;
    struct table *table = tree();
    table_fold(table, "r1", true);
    table_set_filter(table, "needle", NULL);
    assert_int_equal(table_matching(table), 1);
    assert_string_equal(order(table), "r1a1");
    assert_string_equal(walk(table), "r1 r1a r1a1");
    talloc_free(table);
}

static void columns_that_a_server_lacks_are_not_searched(void **state)
{
    (void)state;
    struct table *table = flat();
    table_set_context(table, "old");
    table_set_filter(table, "50", NULL);
    assert_string_equal(order(table), "c d"); /* 1,500 ms and 0.50 ms; not 50 MB */
    table_set_context(table, "new");
    table_set_filter(table, "50 MB", NULL);
    assert_string_equal(order(table), "b");
    talloc_free(table);
}

static void copies_what_is_marked_or_selected(void **state)
{
    (void)state;
    struct table *table = flat();
    char *text = table_copy_text(table, table);
    assert_string_equal(text, "name\tmean\tsize\nInvoice list\t12.0 ms\t4.0 kB\n");
    table_act(table, "table.down");
    table_act(table, "table.mark");
    table_act(table, "table.mark");
    text = table_copy_text(table, table);
    assert_string_equal(text, "name\tmean\tsize\nschool \"x\"\t?\t50 MB\nINVOICE update\t1,500 ms!\t\n");
    assert_int_equal(table_act(table, "table.copy"), TABLE_WANTS_COPY);
    assert_int_equal(table_act(table, "table.filter"), TABLE_WANTS_FILTER);
    assert_int_equal(table_act(table, "table.enter"), TABLE_IGNORED);
    assert_int_equal(table_act(table, "global.help"), TABLE_IGNORED);
    talloc_free(table);
}

/* A budget rather than a benchmark: a mistake that makes it quadratic shows. */
static void five_thousand_rows_are_quick(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct table *table = table_new(NULL, columns, sizeof columns / sizeof *columns);
    struct thing *many = talloc_zero_array(table, struct thing, MANY);
    struct table_row *rows = talloc_zero_array(table, struct table_row, MANY);
    for (int i = 0; i < MANY; i++) {
        many[i] =
            (struct thing){talloc_asprintf(many, "id-%d", i),
                           talloc_asprintf(many, "SELECT %d FROM t", i * 7), (double)(i * 7919 % 5003), i, 0};
        rows[i] = (struct table_row){.data = &many[i], .id = many[i].id};
    }
    struct timespec before, after;
    table_sort(table, "mean_ms", true);
    table_set_filter(table, "select", NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    table_set_rows(table, rows, MANY);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
    print_message("5,000 rows filtered and sorted: %.2f ms\n", ms);
    assert_int_equal(table_matching(table), MANY);
    for (size_t i = 1; i < MANY; i++)
        assert_true(((const struct thing *)table_shown(table, i - 1)->data)->ms >=
                    ((const struct thing *)table_shown(table, i)->data)->ms);
    assert_true(ms < 200); /* with the sanitizers, on a busy machine */
    talloc_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selection_follows_the_id),
        cmocka_unit_test(a_row_that_is_gone_gives_its_place),
        cmocka_unit_test(sorts_stable_with_unknown_last),
        cmocka_unit_test(next_column_sorts_numbers_from_the_greatest),
        cmocka_unit_test(filters),
        cmocka_unit_test(words_that_are_no_comparison_are_text),
        cmocka_unit_test(status_says_what_is_shown_and_marked),
        cmocka_unit_test(marks_follow_ids),
        cmocka_unit_test(next_match_and_next_worst_go_round),
        cmocka_unit_test(trees_fold_and_keep_their_order),
        cmocka_unit_test(a_branch_limit_hides_the_rest_until_it_is_unfolded),
        cmocka_unit_test(trees_keep_the_ancestors_of_matches),
        cmocka_unit_test(columns_that_a_server_lacks_are_not_searched),
        cmocka_unit_test(copies_what_is_marked_or_selected),
        cmocka_unit_test(five_thousand_rows_are_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
