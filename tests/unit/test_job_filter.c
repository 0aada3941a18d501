/* Filters of jobs: words, mistakes, what matches, and the quick look at raw bytes. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_envelope.h"
#include "backends/queues/filter.h"
#include "tests/unit/unit.h"

static const double now = 1795262400;

static const struct job report = {
    .id = "7f3a0000-0000-4000-8000-000000000001",
    .task = "reports.tasks.report_card",
    .tenant = "al_noor",
    .tenant_known = true,
    .queue = "reports",
    .state = JOB_UNACKED,
    .priority = 3,
    .retries = 4,
    .enqueued_at = 1795262400 - 7200,
    .eta = 1795262400 + 300,
    .size = 200 * 1024,
    .flags = JOB_REDELIVERED | JOB_BIG,
    .poison = POISON_B,
    .exception = "ValueError",
    .message = "no such school: مدرسة",
    .arguments = "('Year 9', 'الأمل')",
};

static bool match(const char *text, const struct job *job, const char *body)
{
    struct error error;
    struct job_filter *filter = job_filter_parse(NULL, text, &error);
    if (!filter)
        fail_msg("%s: %s (%s)", text, error.what, error.why);
    bool matches = job_filter_matches(filter, job, body, body ? strlen(body) : 0, now);
    talloc_free(filter);
    return matches;
}

/* Of `report`, with arguments of its own. */
static const char *const matching[] = {"",
                                       "  ",
                                       "task:report",
                                       "task:REPORT_card",
                                       "task=reports.tasks.report_card",
                                       "tenant:noor",
                                       "!tenant:oak",
                                       "tenant!=oak",
                                       "id:7f3a",
                                       "retries>3",
                                       "retries>=4 retries<=4 retries=4 retries:4",
                                       "retries!=3",
                                       "age>1h",
                                       "age<3h",
                                       "age>7000",
                                       "eta<10m",
                                       "eta>1min",
                                       "size>100kB",
                                       "size<1MB",
                                       "priority>=3",
                                       "state:unacked",
                                       "!state:ready",
                                       "flag:redelivered flag:big",
                                       "!flag:pickle",
                                       "poison",
                                       "poison:B",
                                       "poison:b",
                                       "!poison:A",
                                       "error:value",
                                       "error:مدرسة",
                                       "text:\"Year 9\"",
                                       "\"year 9\"",
                                       "الأمل",
                                       "year \"('Year\"",
                                       "queue=reports",
                                       "\"task:x\" "};
static const char *const not_matching[] = {"task:mail",
                                           "task=report",
                                           "!task:report",
                                           "tenant=al",
                                           "retries>4",
                                           "retries!=4",
                                           "age>3h",
                                           "eta>10m",
                                           "size<100kB",
                                           "priority<3",
                                           "state:ready",
                                           "flag:pickle",
                                           "!poison",
                                           "poison:A",
                                           "text:\"Year  9\"",
                                           "expires<1h",
                                           "!expires<1h",
                                           "runtime>1s",
                                           "task:report tenant:oak",
                                           "tenant=",
                                           "error:key"};

static void test_words(void **state)
{
    (void)state;
    struct job job = report;
    job.arguments = "('Year 9', 'الأمل') task:x";
    for (size_t i = 0; i < sizeof matching / sizeof *matching; i++)
        if (!match(matching[i], &job, NULL))
            fail_msg("%s does not match", matching[i]);
    for (size_t i = 0; i < sizeof not_matching / sizeof *not_matching; i++)
        if (match(not_matching[i], &job, NULL))
            fail_msg("%s matches", not_matching[i]);
    job.tenant = NULL;
    assert_true(match("tenant=", &job, NULL));
    assert_false(match("tenant:x", &job, NULL));
    job.tenant_known = false;
    assert_false(match("tenant=", &job, NULL));
    assert_true(match("text:مرحب", &job, "[[\"\\u0645\\u0631\\u062d\\u0628\"],{},{}]"));
    assert_true(match("😀", &job, "[[\"\\uD83D\\uDE00\"],{},{}]"));
    assert_false(match("text:مرحب", &job, NULL));
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {{"tasks:x", "no such word"},     {"retries>x", "a number"},
                 {"age>tomorrow", "a time span"}, {"size>big", "a size"},
                 {"state:gone", "unacked"},       {"flag:x", "redelivered"},
                 {"poison:E", "A, B, C or D"},    {"text:\"open", "quote"},
                 {"task>x", "contains"},          {"task:a http://b", "no such word"},
                 {"state>ready", "with :"},       {"age:", "a time span"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {0};
        assert_null(job_filter_parse(NULL, cases[i].text, &error));
        assert_int_equal(error.kind, ERROR_USAGE);
        if (!strstr(error.why, cases[i].says))
            fail_msg("%s: %s", cases[i].text, error.why);
        assert_non_null(strstr(error.todo, "task: tenant: id:"));
    }
}

static void test_questions(void **state)
{
    struct error error;
    void *context = talloc_new(NULL);
    (void)state;
    struct job_filter *filter = job_filter_parse(context, "", &error);
    assert_true(job_filter_is_all(filter));
    assert_false(job_filter_needs_body(filter) || job_filter_needs_parse(filter));
    filter = job_filter_parse(context, " tenant=al_noor  id=7f ", &error);
    assert_string_equal(job_filter_tenant(filter), "al_noor");
    assert_string_equal(job_filter_id(filter), "7f");
    assert_string_equal(job_filter_text(filter), " tenant=al_noor  id=7f ");
    assert_false(job_filter_needs_body(filter) || job_filter_needs_parse(filter) ||
                 job_filter_is_all(filter));
    filter = job_filter_parse(context, "tenant:al !id=7 poison", &error);
    assert_null(job_filter_tenant(filter));
    assert_null(job_filter_id(filter));
    assert_true(job_filter_needs_parse(filter));
    filter = job_filter_parse(context, "Year", &error);
    assert_true(job_filter_needs_body(filter));
    talloc_free(context);
}

static bool may(const char *text, const char *raw)
{
    struct error error;
    struct job_filter *filter = job_filter_parse(NULL, text, &error);
    assert_non_null(filter);
    bool result = job_filter_may_match(filter, raw, strlen(raw));
    talloc_free(filter);
    return result;
}

static void test_raw(void **state)
{
    static const char raw[] =
        "{\"body\": \"W10=\", \"headers\": {\"task\": \"reports.tasks.Card\", \"id\": \"7f3a\", "
        "\"_schema_name\": \"t_\\u0645\\u0637 \\u5927\\u540c \\ud83d\\ude00\"}}";
    (void)state;
    assert_true(may("task:card", raw));
    assert_true(may("task:card id=7f3a tenant:t_", raw));
    assert_false(may("task:mail", raw));
    assert_true(may("!task:mail", raw));
    assert_false(may("id:7f3b", raw));
    assert_true(may("tenant:مط", raw));
    assert_true(may("tenant:大同", raw));
    assert_true(may("tenant:😀", raw));
    assert_false(may("tenant:طم", raw));
    assert_false(may("tenant:同大", raw));
    assert_false(may("tenant:😁", raw));
    assert_true(may("text:anything", raw));
    assert_true(may("retries>3 poison", raw));
    assert_true(may("tenant:مط", "{\"headers\": {\"task\": \"t\", \"_schema_name\": \"مط\"}}"));
    assert_true(may("tenant:é", "{\"headers\": {\"_schema_name\": \"\\u00c9cole\"}}"));
    /* Who has no such header may have it in the body. */
    assert_true(may("tenant:x", "{\"headers\": {\"task\": \"t\"}}"));
    assert_true(may("tenant:x", "{\"headers\": {\"task\": \"t\", \"_schema_name\": null}}"));
    assert_true(may("task:x", "{\"headers\": {\"_schema_name\": \"t\"}}"));
    assert_true(may("tenant=", raw));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
