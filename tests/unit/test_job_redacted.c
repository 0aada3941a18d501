/* Arguments as they may be shown to anybody. */
#include <talloc.h>

#include "backends/queues/job.h"
#include "tests/unit/unit.h"

static void assert_redacted(const char *text, const char *expected)
{
    char *redacted = job_arguments_redacted(NULL, text);
    assert_string_equal(redacted, expected);
    talloc_free(redacted);
}

static void test_values_go(void **state)
{
    (void)state;
    assert_redacted("(4711, 'Lina Haddad') {'term': 2, 'school': 'al_noor'}",
                    "(#, '…') {'term': #, 'school': '…'}");
    assert_redacted("(1.5, -3, True, None)", "(#, -#, True, None)");
    assert_redacted("school.jobs.report2('it\\'s', \"a, 7\")", "school.jobs.report2('…', '…')");
    assert_redacted("('2026-11-21', datetime.date(2026, 11, 21))", "('…', datetime.date(#, #, #))");
    assert_redacted("({'Lina': 5},)", "({'…': #},)");
    assert_redacted("(b'\\x00', u'x')", "(b'…', u'…')");
    assert_redacted("(1e9, 0x1f, 12abc)", "(#, #, #)");
}

/* What was cut in the middle of a text hides to its end. */
static void test_cut_ones(void **state)
{
    (void)state;
    assert_redacted("('a long secret...", "('…'");
    assert_redacted("('ends with \\", "('…'");
    assert_redacted("", "");
    assert_null(job_arguments_redacted(NULL, NULL));
}

static void test_shapes_stay(void **state)
{
    (void)state;
    assert_redacted("(int, str), {term: int}", "(int, str), {term: int}");
    assert_redacted("كشف('سر')", "كشف('…')");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_go),
        cmocka_unit_test(test_cut_ones),
        cmocka_unit_test(test_shapes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
