/* Job systems on Postgres that are only looked at: tables as their projects make them, each in a schema of
 * its own of one database. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "tests/harness/board.h"
#include "tests/harness/cmocka.h"

/* The same jobs in all of them: three are ready in reports, the one of st_marys runs next. */
struct expected {
    const char *schema, *id;
    int64_t scheduled, retrying, running, waiting, failed;
    int paused_mail, stuck_mail;
    const char *exception, *message, *frame, *arguments;
    const char *worker; /* of the running job */
    size_t workers;
    const char *silent; /* one of them; NULL: none */
};

static const struct expected systems[] = {
    {.schema = "procrastinate",
     .id = "procrastinate",
     .scheduled = 1,
     .retrying = 1,
     .running = 1,
     .waiting = -1,
     .failed = 1,
     .paused_mail = -1,
     .stuck_mail = 1,
     .arguments = "{year: int, tenant: str}",
     .worker = "1",
     .workers = 2,
     .silent = "2"},
    {.schema = "solid_queue",
     .id = "solid_queue",
     .scheduled = 1,
     .retrying = -1,
     .running = 1,
     .waiting = 1,
     .failed = 1,
     .paused_mail = 1,
     .stuck_mail = 1,
     .exception = "ArgumentError",
     .message = "bad year, \"9\"",
     .frame = "app/jobs/card_job.rb:12:in `perform'",
     .arguments = "[{year: int, tenant: str}]",
     .worker = "worker-abc",
     .workers = 2,
     .silent = "worker-gone"},
    {.schema = "good_job",
     .id = "good_job",
     .scheduled = 1,
     .retrying = 1,
     .running = 1,
     .waiting = -1,
     .failed = 1,
     .paused_mail = -1,
     .stuck_mail = 1,
     .exception = "ArgumentError",
     .message = "bad: year",
     .frame = "app/jobs/card_job.rb:12:in perform",
     .arguments = "[{year: int, tenant: str}]",
     .worker = "11111111-1111-4111-8111-111111111111",
     .workers = 1},
    {.schema = "river",
     .id = "river",
     .scheduled = 1,
     .retrying = 1,
     .running = 1,
     .waiting = 1,
     .failed = 1,
     .paused_mail = 1,
     .stuck_mail = 1,
     .message = "bad year",
     .frame = "/srv/card.go:12 +0x1",
     .arguments = "{year: int, tenant: str}",
     .worker = "c1"},
    {.schema = "django_tasks",
     .id = "django-tasks",
     .scheduled = 1,
     .retrying = -1,
     .running = 1,
     .waiting = -1,
     .failed = 1,
     .paused_mail = -1,
     .exception = "builtins.ValueError",
     .message = "ValueError: bad year",
     .frame = "File \"/srv/tasks.py\", line 12, in card",
     .arguments = "{args: [], kwargs: {year: int, tenant: str}}",
     .worker = "w1"},
};

struct scene {
    struct cluster *cluster;
    char *watch, *read;
    struct board board;
};

static char *file_text(const char *name)
{
    char path[300];
    size_t size = 0;
    ssize_t length;
    char *text = NULL;
    snprintf(path, sizeof path, TEST_ROOT "/tests/data/queues/postgres/%s.sql", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    length = getdelim(&text, &size, '\0', file);
    assert_true(length > 0);
    fclose(file);
    return text;
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    s->cluster = cluster_start(NULL);
    cluster_do(s->cluster, "CREATE ROLE sb_watch LOGIN PASSWORD 'w' IN ROLE pg_monitor;"
                           "CREATE ROLE sb_read LOGIN PASSWORD 'r' IN ROLE pg_read_all_data");
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        char *text = file_text(systems[i].schema);
        char *sql = talloc_asprintf(NULL, "CREATE SCHEMA %s; SET search_path = %s; %s", systems[i].schema,
                                    systems[i].schema, text);
        cluster_do(s->cluster, sql);
        talloc_free(sql);
        free(text);
    }
    s->watch = cluster_dsn(s->cluster, 0, "sb_watch", "w", NULL);
    s->read = cluster_dsn(s->cluster, 0, "sb_read", "r", NULL);
    board_start(&s->board, s->watch, s->read, NULL, NULL);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    board_end(&s->board);
    cluster_free(s->cluster);
    free(s->watch);
    free(s->read);
    free(s);
    return 0;
}

static void check_text(const char *actual, const char *expected)
{
    if (expected)
        assert_string_equal(actual ? actual : "(none)", expected);
    else
        assert_null(actual);
}

static void check_queues(struct scene *s, struct queue_system *system, const struct expected *e)
{
    const struct queue *queue = board_queue(&s->board, system, "reports");
    assert_int_equal(queue->ready, 3);
    assert_int_equal(queue->scheduled, e->scheduled);
    assert_int_equal(queue->retrying, e->retrying);
    assert_int_equal(queue->running, e->running);
    assert_int_equal(queue->waiting, e->waiting);
    assert_int_equal(queue->failed, e->failed);
    assert_int_equal(queue->head_age_source, HEAD_AGE_EXACT);
    assert_true(queue->head_age_s >= 30 && queue->head_age_s < 90);
    assert_true(queue->in_per_s > 0);
    assert_int_equal(queue->share_count, 2);
    assert_string_equal(queue->shares[0].name, "al_noor");
    assert_true(fabs(queue->shares[0].share - 2.0 / 3) < 0.001);
    const struct queue *mail = board_queue(&s->board, system, "mail");
    assert_int_equal(mail->done, 1);
    assert_int_equal(mail->paused, e->paused_mail);
    assert_int_equal(mail->level == QUEUE_WARNING, e->stuck_mail);
}

static void check_jobs(struct scene *s, struct queue_system *system, const struct expected *e)
{
    size_t count, more;
    struct queue_read_request request = {.queue = "reports", .states = 1u << JOB_READY, .limit = 10};
    struct job *jobs = board_read(&s->board, system, request, NULL, &count, NULL);
    assert_int_equal(count, 3);
    check_text(jobs[0].tenant, "st_marys");
    check_text(jobs[1].tenant, "al_noor");
    check_text(jobs[1].arguments, e->arguments);
    assert_true(jobs[1].enqueued_at > clock_wall() - 120);
    assert_null(strstr(jobs[1].arguments, "noor"));
    char *facts = board_job(&s->board, system, &jobs[1]);
    assert_non_null(strstr(facts, " (secret): "));
    assert_non_null(strstr(facts, "Job/tenant: al_noor\n"));
    talloc_free(facts);
    request.from = FROM_TAIL;
    struct job *back = board_read(&s->board, system, request, NULL, &more, NULL);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(back[i].id, jobs[2 - i].id);
    talloc_free(back);
    talloc_free(jobs);
    jobs = board_read(&s->board, system, (struct queue_read_request){0}, "tenant:st_marys", &count, NULL);
    assert_int_equal(count, 1);
    talloc_free(jobs);
    jobs = board_read(&s->board, system, (struct queue_read_request){.from = FROM_ANY, .look = 1000}, NULL,
                      &count, NULL);
    assert_true(count >= 7);
    talloc_free(jobs);
}

static void check_failures(struct scene *s, struct queue_system *system, const struct expected *e)
{
    const struct failures_snapshot *failed = board_part(&s->board, system, PART_FAILURES);
    assert_int_equal(failed->count, 1);
    assert_int_equal(failed->total, 1);
    check_text(failed->failures->exception, e->exception);
    check_text(failed->failures->message, e->message);
    check_text(failed->failures->frame, e->frame);
    assert_true(failed->failures->last > clock_wall() - 120);
    assert_int_equal(failed->failures->retriable, 0);
    assert_non_null(failed->failures->why_not);
}

static void check_workers(struct scene *s, struct queue_system *system, const struct expected *e)
{
    const struct workers_snapshot *workers = board_part(&s->board, system, PART_WORKERS);
    assert_int_equal(workers->count, e->workers);
    for (size_t i = 0; i < workers->count; i++) {
        bool silent = e->silent && strcmp(workers->workers[i].id, e->silent) == 0;
        assert_int_equal(
            workers->workers[i].state == WORKER_SILENT || workers->workers[i].state == WORKER_GHOST, silent);
    }
    const struct job *found = NULL;
    for (size_t i = 0; i < workers->running_count; i++)
        if (strcmp(workers->running[i].queue, "reports") == 0)
            found = &workers->running[i];
    assert_non_null(found);
    check_text(found->worker, e->worker);
    assert_true(found->started_at > clock_wall() - 120);
    assert_non_null(workers->note);
}

static void all_systems(void **state)
{
    struct scene *s = *state;
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s@main, schema %s", systems[i].id, systems[i].schema);
        print_message("%s\n", name);
        struct queue_system *system = board_system(&s->board, name);
        check_queues(s, system, &systems[i]);
        check_jobs(s, system, &systems[i]);
        check_failures(s, system, &systems[i]);
        check_workers(s, system, &systems[i]);
        assert_non_null(queue_system_act_absent(system, ACT_RETRY));
        if (!queue_system_part_absent(system, PART_SCHEDULE))
            board_part(&s->board, system, PART_SCHEDULE);
    }
}

static void schedules(void **state)
{
    struct scene *s = *state;
    struct queue_system *system = board_system(&s->board, "solid_queue@main, schema solid_queue");
    const struct schedule_snapshot *snapshot = board_part(&s->board, system, PART_SCHEDULE);
    assert_int_equal(snapshot->count, 2);
    assert_int_equal(snapshot->scheduler, SCHEDULER_RUNS);
    assert_string_equal(snapshot->entries[0].when, "0 2 * * * Asia/Riyadh");
    assert_true(snapshot->entries[0].late_s > 0 && fmod(snapshot->entries[0].next_run, 86400) == 23 * 3600);
    assert_string_equal(snapshot->entries[1].when, "every 5 minutes");
    assert_true(snapshot->entries[1].next_run == 0);
    system = board_system(&s->board, "good_job@main, schema good_job");
    snapshot = board_part(&s->board, system, PART_SCHEDULE);
    assert_int_equal(snapshot->count, 1);
    assert_true(fabs(snapshot->entries->last_run - (clock_wall() - 60)) < 60);
    system = board_system(&s->board, "procrastinate@main, schema procrastinate");
    snapshot = board_part(&s->board, system, PART_SCHEDULE);
    assert_string_equal(snapshot->entries->name, "school.nightly");
}

/* A version that is not known is named, with what is missing; tables that only sound alike are left alone. */
static void unknown_versions(void **state)
{
    struct scene *s = *state;
    struct board board;
    cluster_do(s->cluster, "CREATE DATABASE strange");
    PGconn *connection = cluster_connect(s->cluster, "strange");
    PQclear(PQexec(connection, "CREATE TABLE river_job (id bigint, state text); CREATE TABLE job (id int);"
                               "CREATE TABLE version (version int); CREATE TABLE queue (name text)"));
    PQfinish(connection);
    char *watch = cluster_dsn(s->cluster, 0, "sb_watch", "w", "strange");
    board_start(&board, watch, NULL, NULL, NULL);
    while (!queues_searched(board.queues))
        ev_run(loop_ev(board.loop), EVRUN_ONCE);
    assert_int_equal(queues_count(board.queues), 0);
    size_t told = 0;
    for (size_t i = 0; i < queues_search_count(board.queues); i++) {
        const struct error *error;
        const char *place = queues_search_place(board.queues, i, &error);
        if (!error->kind)
            continue;
        told++;
        assert_string_equal(place, "River on main");
        assert_int_equal(error->kind, ERROR_UNSUPPORTED);
        assert_non_null(strstr(error->why, "schema public: there is no river_job.kind"));
    }
    assert_int_equal(told, 1);
    board_end(&board);
    free(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_systems),
        cmocka_unit_test(schedules),
        cmocka_unit_test(unknown_versions),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
