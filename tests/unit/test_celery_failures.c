/* What failed in Celery: records read and grouped, and ids that are remembered. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_failure_groups.h"
#include "core/clock.h"
#include "tests/unit/unit.h"

static struct celery_system *system_new(void **state)
{
    struct celery_system *system = talloc_zero(NULL, struct celery_system);
    system->tenancy.argument = -1;
    system->ids = celery_ids_new(system);
    *state = system;
    return system;
}

static int begin(void **state)
{
    system_new(state);
    return 0;
}

static int end(void **state)
{
    talloc_free(*state);
    return 0;
}

static void place_is_the_last_that_is_not_celerys(void **state)
{
    char *frame =
        celery_frame(*state, "Traceback (most recent call last):\n"
                             "  File \"/usr/lib/python3/celery/app/trace.py\", line 451, in trace_task\n"
                             "  File \"/srv/app/tasks.py\", line 40, in export_csv\n    raise X\n"
                             "  File \"/usr/lib/python3/billiard/pool.py\", line 1, in kill\n");
    assert_string_equal(frame, "tasks.py:40 in export_csv");
    frame = celery_frame(*state, "  File \"/usr/lib/python3/billiard/pool.py\", line 1, in kill\n");
    assert_string_equal(frame, "pool.py:1 in kill");
    assert_string_equal(celery_frame(*state, "  File \"x.py\", nonsense"), "x.py");
    assert_null(celery_frame(*state, "  File \"x.py"));
    assert_null(celery_frame(*state, "no place"));
    assert_null(celery_frame(*state, NULL));
}

static bool read_text(void **state, const char *text, struct celery_failed *failed)
{
    return celery_failed_result(*state, *state, text, strlen(text), failed);
}

static void result_tells_what_failed(void **state)
{
    struct celery_failed failed;
    assert_false(read_text(state, "{\"status\": \"SUCCESS\", \"result\": \"FAILURE\"}", &failed));
    assert_false(read_text(state, "", &failed));
    assert_false(read_text(state, "\x80\x04pickle", &failed));
    assert_true(
        read_text(state,
                  "{\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"OSError\", \"exc_message\": "
                  "[\"no space\", 3], \"exc_module\": \"builtins\"}, \"traceback\": null, \"date_done\": "
                  "\"2026-11-21T11:48:56.5\", \"task_id\": \"a1\"}",
                  &failed));
    assert_string_equal(failed.exception, "OSError");
    assert_string_equal(failed.message, "no space");
    assert_string_equal(failed.id, "a1");
    assert_null(failed.task);
    assert_false(failed.retriable);
    assert_non_null(strstr(failed.why_not, "result_extended"));
    assert_int_equal(failed.kept, JOB_DONE);
    assert_true(failed.at > 1795261736 && failed.at < 1795261737);
}

static void cut_off_result_still_tells_its_exception(void **state)
{
    struct celery_failed failed;
    assert_true(read_text(state,
                          "{\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"MemoryError\", "
                          "\"exc_message\": [\"long long",
                          &failed));
    assert_string_equal(failed.exception, "MemoryError");
    assert_null(failed.id);
}

static void id_tells_task_and_tenant(void **state)
{
    struct celery_system *system = *state;
    struct celery_failed failed;
    struct job job = {.id = "a1", .task = "app.export", .tenant = "al_noor", .tenant_known = true};
    celery_ids_learn(system, &job);
    assert_true(read_text(
        state, "{\"status\": \"RETRY\", \"result\": {\"exc_type\": \"OSError\"}, \"task_id\": \"a1\"}",
        &failed));
    assert_string_equal(failed.task, "app.export");
    assert_string_equal(failed.tenant, "al_noor");
    assert_int_equal(failed.kept, JOB_RETRYING);
}

static void groups_have_counts_times_and_minutes(void **state)
{
    double now = clock_wall();
    struct failure_groups *groups = failure_groups_new(*state, now);
    struct celery_failed failed = {
        .task = "t", .exception = "E", .tenant = "a", .kept = JOB_DEAD, .retriable = true};
    char id[20];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "id%d", i);
        failed.id = id;
        failed.message = id;
        failed.at = now - 60 * i - 30;
        failure_groups_add(groups, &failed);
    }
    failed.tenant = NULL;
    failed.retriable = false;
    failed.why_not = "because";
    failed.at = now - 7200;
    failure_groups_add(groups, &failed);
    struct failures_snapshot *snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    failure_groups_fill(groups, snapshot);
    assert_int_equal(snapshot->count, 2);
    const struct failure *first = &snapshot->failures[0], *second = &snapshot->failures[1];
    assert_string_equal(first->tenant, "a");
    assert_int_equal(first->count, 5);
    assert_int_equal(first->retriable, 5);
    assert_null(first->why_not);
    assert_string_equal(first->example, "id0");
    assert_string_equal(first->message, "id0");
    assert_true(first->last - first->first > 239 && first->last - first->first < 241);
    for (int i = 0; i < 5; i++)
        assert_true(first->history[QUEUE_HISTORY - 1 - i] == 1);
    assert_true(first->history[QUEUE_HISTORY - 6] == 0);
    assert_null(second->tenant);
    assert_int_equal(second->retriable, 0);
    assert_string_equal(second->why_not, "because");
    assert_string_not_equal(first->id, second->id);
    snapshot_release(snapshot);
}

static void kinds_beyond_the_room_are_counted(void **state)
{
    struct failure_groups *groups = failure_groups_new(*state, clock_wall());
    for (int i = 0; i < FAILURE_GROUPS_MOST + 10; i++) {
        char task[24];
        snprintf(task, sizeof task, "t%d", i);
        struct celery_failed failed = {.task = task, .kept = JOB_DEAD};
        failure_groups_add(groups, &failed);
    }
    assert_int_equal(failure_groups_dropped(groups), 10);
}

static void result_of_a_dead_letter_is_not_counted_again(void **state)
{
    struct failure_groups *groups = failure_groups_new(*state, clock_wall());
    struct celery_failed letter = {.id = "a", .task = "t", .exception = "E", .kept = JOB_DEAD};
    failure_groups_add(groups, &letter);
    struct celery_failed result = {.id = "a", .exception = "E", .frame = "t.py:1 in t", .kept = JOB_DONE};
    failure_groups_add(groups, &result);
    result.id = "b";
    failure_groups_add(groups, &result);
    struct failures_snapshot *snapshot = SNAPSHOT_NEW(struct failures_snapshot);
    failure_groups_fill(groups, snapshot);
    assert_int_equal(snapshot->count, 2);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct failure *failure = &snapshot->failures[i];
        assert_int_equal(failure->count, 1);
        assert_string_equal(failure->example, failure->kept == JOB_DEAD ? "a" : "b");
        assert_string_equal(failure->frame, "t.py:1 in t");
    }
    snapshot_release(snapshot);
}

static void oldest_ids_are_forgotten_first(void **state)
{
    struct celery_system *system = *state;
    bool known;
    for (int i = 0; i < 60000; i++) {
        char id[20], tenant[20];
        snprintf(id, sizeof id, "id%d", i);
        snprintf(tenant, sizeof tenant, "t%d", i % 100);
        struct job job = {.id = id, .tenant = tenant, .tenant_known = true, .task = "t"};
        celery_ids_learn(system, &job);
    }
    assert_string_equal(celery_ids_tenant(system, "id59999", &known), "t99");
    assert_true(known);
    assert_string_equal(celery_ids_tenant(system, "id30000", NULL), "t0");
    assert_null(celery_ids_tenant(system, "id0", &known));
    assert_false(known);
    assert_null(celery_ids_tenant(system, NULL, &known));
    assert_true(talloc_total_size(system->ids) < 6000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(place_is_the_last_that_is_not_celerys, begin, end),
        cmocka_unit_test_setup_teardown(result_tells_what_failed, begin, end),
        cmocka_unit_test_setup_teardown(cut_off_result_still_tells_its_exception, begin, end),
        cmocka_unit_test_setup_teardown(id_tells_task_and_tenant, begin, end),
        cmocka_unit_test_setup_teardown(groups_have_counts_times_and_minutes, begin, end),
        cmocka_unit_test_setup_teardown(kinds_beyond_the_room_are_counted, begin, end),
        cmocka_unit_test_setup_teardown(result_of_a_dead_letter_is_not_counted_again, begin, end),
        cmocka_unit_test_setup_teardown(oldest_ids_are_forgotten_first, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
