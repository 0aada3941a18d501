/* The forms of jobs on Redis that captures of one version do not hold: Sidekiq 8's milliseconds, RQ 2's
 * members, names of BullMQ's connections and versions, stacks of Node. */
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "backends/queues/rq.h"
#include "backends/queues/sidekiq.h"
#include "backends/queues/streams.h"
#include "tests/unit/unit.h"

static void check_again(const char *text, double now, const char *expected)
{
    size_t length;
    char *again = sidekiq_again(NULL, text, strlen(text), now, &length);
    assert_string_equal(again, expected);
    assert_int_equal(length, strlen(expected));
    talloc_free(again);
}

static void sidekiq_changes_two_numbers_and_no_other_byte(void **state)
{
    (void)state;
    check_again("{\"class\":\"A\",\"args\":[12345678901234567,{},[]],\"retry_count\":0,\"enqueued_at\":"
                "1795262339.6730251,\"x\":1e3}",
                1795262400.5,
                "{\"class\":\"A\",\"args\":[12345678901234567,{},[]],\"retry_count\":-1,\"enqueued_at\":"
                "1795262400.500000,\"x\":1e3}");
    /* 8.0: milliseconds, as its other times */
    check_again("{\"class\":\"A\",\"args\":[],\"created_at\":1795262321703,\"enqueued_at\":1795262321703,"
                "\"retry_count\":2}",
                1795262400.5,
                "{\"class\":\"A\",\"args\":[],\"created_at\":1795262321703,\"enqueued_at\":1795262400500,"
                "\"retry_count\":1}");
    /* scheduled: it has no time yet */
    check_again(
        "{\"class\":\"A\",\"args\":[],\"created_at\":1795262321.5} ", 1795262400,
        "{\"class\":\"A\",\"args\":[],\"created_at\":1795262321.5,\"enqueued_at\":1795262400.000000} ");
    check_again("{}", 1, "{\"enqueued_at\":1.000000}");
    size_t length;
    assert_null(sidekiq_again(NULL, "[1]", 3, 1, &length));
    assert_null(sidekiq_again(NULL, "not json", 8, 1, &length));
}

static void sidekiq_jobs_of_active_job_show_what_they_wrap(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const char *text =
        "{\"class\":\"Sidekiq::ActiveJob::Wrapper\",\"wrapped\":\"ReportJob\",\"queue\":\"default\",\"args\":"
        "[{"
        "\"job_class\":\"ReportJob\",\"arguments\":[\"al_noor\",7]}],\"jid\":\"j\",\"retry\":true}";
    struct environment_jobs settings = {.tenant_argument = 0};
    struct job job;
    redis_job_clear(&job);
    sidekiq_fill_json(context, text, strlen(text), &job, &settings);
    assert_string_equal(job.task, "ReportJob");
    assert_string_equal(job.arguments, "(str, number)");
    assert_string_equal(job.tenant, "al_noor");
    assert_int_equal(job.poison, POISON_NONE);
    talloc_free(context);
}

static void times_are_seconds(void **state)
{
    (void)state;
    assert_float_equal(sidekiq_time(piece_of("1795262321703", 13)), 1795262321.703, 0.0001);
    assert_float_equal(sidekiq_time(piece_of("1795262321.5", 12)), 1795262321.5, 0.0001);
    assert_float_equal(sidekiq_time(piece_of("null", 4)), 0, 0);
    assert_float_equal(rq_time("2026-11-21T11:56:24.012603Z"), 1795262184.012603, 0.000001);
    assert_float_equal(rq_time("2026-11-21 11:56:24"), 1795262184, 0);
    assert_float_equal(rq_time(""), 0, 0);
    assert_float_equal(rq_time("yesterday"), 0, 0);
    assert_float_equal(stream_id_time("1795262561044-3"), 1795262561.044, 0.0001);
    assert_float_equal(stream_id_time(NULL), 0, 0);
}

static void members_of_rq_2_lose_their_execution(void **state)
{
    (void)state;
    static const struct {
        const char *member, *job;
        bool wip;
    } members[] = {{"a:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7", "a", true},
                   {"tenant:7:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7", "tenant:7", true},
                   {"tenant:7", "tenant:7", true},
                   {"a:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7", "a:0f9d2c1e4b5a49d7a1f0a2b3c4d5e6f7", false}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char *job = rq_member_job(NULL, members[i].member, members[i].wip);
        assert_string_equal(job, members[i].job);
        talloc_free(job);
    }
}

static void versions_and_names_of_bullmq(void **state)
{
    (void)state;
    assert_int_equal(bullmq_major("bullmq:5.81.5"), 5);
    assert_int_equal(bullmq_major("bullmq:6.7.0"), 6);
    assert_int_equal(bullmq_major("bullmq-pro:7.1.0"), 0);
    assert_int_equal(bullmq_major(NULL), 0);
    char *queue = bullmq_meta_queue(NULL, "bull", "bull:mail:meta");
    assert_string_equal(queue, "mail");
    talloc_free(queue);
    assert_null(bullmq_meta_queue(NULL, "bull", "bull:mail:x:meta"));
    assert_null(bullmq_meta_queue(NULL, "bull", "bull:meta"));
    assert_null(bullmq_meta_queue(NULL, "bull", "other:mail:meta"));
    size_t count;
    struct bullmq_client *clients = bullmq_clients(
        NULL, "bull",
        "id=3 addr=127.0.0.1:50 laddr=127.0.0.1:6379 name=bull:bWFpbA==:w:one age=50 idle=2 flags=b\n"
        "id=4 addr=127.0.0.1:51 name=bull:bWFpbA== age=5 idle=1 flags=b\n"
        "id=5 addr=127.0.0.1:52 name=bull:bWFpbA==:qe age=5 idle=1 flags=N\n"
        "id=6 addr=127.0.0.1:53 name= age=5 idle=1\n",
        &count);
    assert_int_equal(count, 2); /* what only listens to events is no worker */
    assert_string_equal(clients[0].queue, "mail");
    assert_string_equal(clients[0].name, "one");
    assert_string_equal(clients[0].address, "127.0.0.1:50");
    assert_float_equal(clients[0].age_s, 50, 0);
    assert_null(clients[1].name);
    talloc_free(clients);
}

static void stacks_of_node_name_the_first_place_of_the_application(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    char *exception, *frame;
    node_stack(context,
               "TypeError: no\n    at Object.x (/srv/node_modules/lib/index.js:1:2)\n"
               "    at async build (/srv/app/jobs/report.js:22:76)\n",
               &exception, &frame);
    assert_string_equal(exception, "TypeError");
    assert_string_equal(frame, "async build (report.js:22)");
    node_stack(context, "Error: x\n    at /srv/app/jobs.js:7:1", &exception, &frame);
    assert_string_equal(frame, "jobs.js:7");
    node_stack(context, "job stalled more than allowable limit", &exception, &frame);
    assert_null(exception);
    assert_null(frame);
    talloc_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sidekiq_changes_two_numbers_and_no_other_byte),
        cmocka_unit_test(sidekiq_jobs_of_active_job_show_what_they_wrap),
        cmocka_unit_test(times_are_seconds),
        cmocka_unit_test(members_of_rq_2_lose_their_execution),
        cmocka_unit_test(versions_and_names_of_bullmq),
        cmocka_unit_test(stacks_of_node_name_the_first_place_of_the_application),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
