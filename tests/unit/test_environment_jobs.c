/* The environment's section `jobs`. */
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "tests/unit/unit.h"

#define REDIS "redis: {broker: {url: \"redis://r1\"}, cache: {url: \"redis://r2\"}}\n"

static struct environment *parse(struct error_list *errors, const char *text)
{
    struct environment *environment = environment_parse(errors, "x.yaml", text, strlen(text), errors);
    if (!environment)
        print_message("%s", error_list_text(errors, errors));
    return environment;
}

static void assert_refused(const char *text, const char *expected)
{
    struct error_list *errors = error_list_new(NULL);
    assert_null(environment_parse(errors, "x.yaml", text, strlen(text), errors));
    assert_string_equal(error_list_text(errors, errors), expected);
    talloc_free(errors);
}

static void test_all_of_it(void **state)
{
    (void)state;
    struct error_list *errors = error_list_new(NULL);
    struct environment *e =
        parse(errors, REDIS
              "jobs:\n  c: {system: celery, redis: broker, database: 3, results: cache, prefix: \"p:\",\n"
              "    results_database: 0, queues: [a, b], visibility_timeout: 2h, control: other,\n"
              "    tenant: {header: t, keyword: k, argument: 0, queue: \"t.*\"}}\n"
              "  r: {system: rq, redis: cache}\n");
    assert_non_null(e);
    assert_int_equal(e->jobs_count, 2);
    const struct environment_jobs *c = &e->jobs[0], *r = &e->jobs[1];
    assert_string_equal(c->system, "celery");
    assert_int_equal(c->database, 3);
    assert_int_equal(c->results_database, 0);
    assert_int_equal(c->queue_count, 2);
    assert_string_equal(c->queues[1], "b");
    assert_int_equal((int)c->visibility_timeout, 7200);
    assert_int_equal(c->tenant_argument, 0);
    assert_string_equal(c->tenant_queue, "t.*");
    assert_int_equal(r->database, -1);
    assert_int_equal(r->results_database, -1);
    assert_int_equal(r->tenant_argument, -1);
    talloc_free(errors);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    assert_refused(REDIS "jobs: {c: {redis: broker}}\n",
                   "x.yaml:2:8: jobs.c: system is missing. Write system: celery\n");
    assert_refused(REDIS "jobs: {c: {system: celery}}\n",
                   "x.yaml:2:8: jobs: c does not say where it is. Write one of redis: NAME, postgres: NAME, "
                   "host: NAME\n");
    assert_refused(
        REDIS "jobs: {c: {system: celery, redis: nowhere}}\n",
        "x.yaml:2:8: jobs: redis: nowhere is not one. Name an entry of that section of this file\n");
    assert_refused(REDIS "jobs: {c: {system: celery, redis: broker, database: x}}\n",
                   "x.yaml:2:53: jobs.c.database: not a number. Write a number from 0 on: 0\n");
    assert_refused(REDIS "jobs: {c: {system: celery, redis: broker, tenant: {queue: t}}}\n",
                   "x.yaml:2:51: jobs.c.tenant: the pattern of queues has no * that could stand for the "
                   "tenant. Write queue: \"tenant.*\"\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
