/* The schedule of a real django-celery-beat and results of django-celery-results: what is shown of them, and
 * that beat does what the acts promise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "tests/harness/board.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/partner.h"
#include "tests/harness/watcher.h"

struct scene {
    struct cluster *cluster;
    struct partner *beat;
    char *watch, *read, *act;
    struct board board;
    struct queue_system *system;
};

static const char GRANTS[] = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO sb_read, sb_act;"
                             "GRANT UPDATE ON django_celery_beat_periodictask TO sb_act;"
                             "GRANT INSERT, UPDATE ON django_celery_beat_periodictasks TO sb_act";

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    char port[16];
    s->cluster = cluster_start(NULL);
    cluster_do(s->cluster, "CREATE ROLE sb_watch LOGIN PASSWORD 'w' IN ROLE pg_monitor;"
                           "CREATE ROLE sb_read LOGIN PASSWORD 'r'; CREATE ROLE sb_act LOGIN PASSWORD 'a'");
    s->watch = cluster_dsn(s->cluster, 0, "sb_watch", "w", NULL);
    s->read = cluster_dsn(s->cluster, 0, "sb_read", "r", NULL);
    s->act = cluster_dsn(s->cluster, 0, "sb_act", "a", NULL);
    snprintf(port, sizeof port, "%d", cluster_port(s->cluster));
    s->beat = partner_start((const char *[]){"/usr/bin/python3", TEST_ROOT "/tests/data/queues/beat.py", port,
                                             cluster_password(s->cluster), NULL},
                            NULL);
    cluster_do(s->cluster, GRANTS);
    board_start(&s->board, s->watch, s->read, s->act, NULL);
    s->system = board_system(&s->board, "django-celery@main, schema public");
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    board_end(&s->board);
    partner_end(s->beat);
    cluster_free(s->cluster);
    free(s->watch);
    free(s->read);
    free(s->act);
    free(s);
    return 0;
}

static void tell(struct scene *s, const char *line)
{
    char *answer = partner_ask(s->beat, line);
    if (strncmp(answer, "error", 5) == 0)
        fail_msg("%s: %s", line, answer);
    free(answer);
}

struct asked {
    struct scene *s;
    const char *line;
    long least, most;
};

static bool answers(void *data)
{
    struct asked *asked = data;
    long count = partner_count(asked->s->beat, asked->line);
    return count >= asked->least && count <= asked->most;
}

static bool until(struct scene *s, const char *line, long least, long most)
{
    return loop_until(s->board.loop, 25, answers, &(struct asked){s, line, least, most});
}

static const struct schedule_entry *entry_of(struct scene *s, const char *name)
{
    const struct schedule_snapshot *snapshot = board_part(&s->board, s->system, PART_SCHEDULE);
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->entries[i].name, name) == 0)
            return &snapshot->entries[i];
    fail_msg("there is no entry %s", name);
    return NULL;
}

static enum step_outcome do_act(struct scene *s, enum queue_act act, const char *name)
{
    struct error error;
    char *id = talloc_strdup(NULL, entry_of(s, name)->id);
    struct change *change =
        board_prepare(&s->board, s->system, &(struct queue_act_request){.act = act, .entry = id}, &error);
    talloc_free(id);
    if (!change)
        fail_msg("%s", error.why);
    assert_string_equal(change->confirm, name);
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

static enum error_kind refused(struct scene *s, enum queue_act act, const char *name)
{
    struct error error;
    char *id = talloc_strdup(NULL, entry_of(s, name)->id);
    struct change *change =
        board_prepare(&s->board, s->system, &(struct queue_act_request){.act = act, .entry = id}, &error);
    assert_null(change);
    talloc_free(id);
    return error.kind;
}

static void beat_does_as_told(void **state)
{
    struct scene *s = *state;
    tell(s,
         "{\"op\":\"entry\",\"name\":\"nightly\",\"task\":\"backup\",\"cron\":\"0 2 1 1 *\",\"zone\":\"Asia/"
         "Riyadh\",\"queue\":\"maintenance\",\"args\":\"[\\\"al_noor\\\"]\",\"kwargs\":\"{\\\"full\\\": "
         "false}\",\"headers\":\"{\\\"_schema_name\\\": \\\"al_noor\\\"}\"}");
    tell(s, "{\"op\":\"entry\",\"name\":\"often\",\"task\":\"tick\",\"every\":1}");
    tell(s, "{\"op\":\"entry\",\"name\":\"never\",\"task\":\"x.y\",\"every\":10,\"enabled\":false}");
    tell(s, "{\"op\":\"start\"}");
    assert_true(until(s, "{\"op\":\"sent\",\"task\":\"tick\"}", 2, 1000));
    assert_int_equal(partner_count(s->beat, "{\"op\":\"sent\",\"task\":\"backup\"}"), 0);

    const struct schedule_entry *nightly = entry_of(s, "nightly");
    assert_string_equal(nightly->when, "0 2 1 1 * Asia/Riyadh");
    assert_string_equal(nightly->tenant, "al_noor");
    assert_string_equal(nightly->queue, "maintenance");
    assert_string_equal(nightly->arguments, "{args: [str], kwargs: {full: bool}}");
    assert_int_equal(nightly->enabled, 1);
    assert_true(fmod(nightly->next_run, 86400) == 23 * 3600 && nightly->late_s == 0);
    assert_string_equal(entry_of(s, "often")->when, "every 1 s");
    assert_int_equal(entry_of(s, "never")->enabled, 0);
    assert_true(entry_of(s, "never")->next_run == 0);

    /* Taken out of beat's own schedule, and back. */
    assert_int_equal(do_act(s, ACT_SCHEDULE_DISABLE, "often"), STEP_DONE);
    assert_true(until(s, "{\"op\":\"known\",\"name\":\"often\"}", 0, 0));
    assert_int_equal(partner_count(s->beat, "{\"op\":\"enabled\",\"name\":\"often\"}"), 0);
    assert_int_equal(refused(s, ACT_SCHEDULE_DISABLE, "often"), ERROR_GONE);
    assert_int_equal(refused(s, ACT_SCHEDULE_RUN, "often"), ERROR_GONE);
    long sent = partner_count(s->beat, "{\"op\":\"sent\",\"task\":\"tick\"}");
    assert_int_equal(do_act(s, ACT_SCHEDULE_ENABLE, "often"), STEP_DONE);
    assert_true(until(s, "{\"op\":\"known\",\"name\":\"often\"}", 1, 1));
    assert_true(until(s, "{\"op\":\"sent\",\"task\":\"tick\"}", sent + 2, 100000));
    assert_int_equal(refused(s, ACT_SCHEDULE_RUN, "often"), ERROR_INTERLOCK);

    /* Now, by beat itself: with its own queue, arguments and headers; and once. */
    assert_int_equal(partner_count(s->beat, "{\"op\":\"sent\",\"task\":\"backup\"}"), 0);
    assert_int_equal(do_act(s, ACT_SCHEDULE_RUN, "nightly"), STEP_DONE);
    assert_true(until(s, "{\"op\":\"sent\",\"task\":\"backup\"}", 1, 1));
    char *last = partner_ask(s->beat, "{\"op\":\"last\",\"task\":\"backup\"}");
    assert_string_equal(last, "{\"args\": [\"al_noor\"], \"queue\": \"maintenance\", \"task\": \"backup\", "
                              "\"tenant\": \"al_noor\"}");
    free(last);
    /* What moved meanwhile is not overwritten. */
    struct error error;
    struct change *change =
        board_prepare(&s->board, s->system,
                      &(struct queue_act_request){.act = ACT_SCHEDULE_RUN, .entry = "nightly"}, &error);
    assert_non_null(change);
    cluster_do(s->cluster,
               "UPDATE django_celery_beat_periodictask SET last_run_at = now() WHERE name = 'nightly'");
    assert_int_equal(board_send(&s->board, change), STEP_GONE);
    talloc_free(change);
}

static void late_entries(void **state)
{
    struct scene *s = *state;
    tell(s, "{\"op\":\"entry\",\"name\":\"late\",\"task\":\"z\",\"every\":600}");
    cluster_do(s->cluster, "UPDATE django_celery_beat_periodictask SET last_run_at = now() - interval '850 s'"
                           " WHERE name = 'late'");
    /* Due 250 s ago: 200 s of them are bookkeeping. */
    const struct schedule_entry *late = entry_of(s, "late");
    assert_true(late->late_s > 49 && late->late_s < 80);
    cluster_do(s->cluster, "UPDATE django_celery_beat_periodictask SET last_run_at = now() - interval '780 s'"
                           " WHERE name = 'late'");
    assert_true(entry_of(s, "late")->late_s == 0);
    assert_true(entry_of(s, "late")->next_run > clock_wall());
}

static void results(void **state)
{
    struct scene *s = *state;
    size_t count;
    for (int i = 0; i < 3; i++) {
        char line[900];
        snprintf(line, sizeof line,
                 "{\"op\":\"result\",\"task_id\":\"id-%d\",\"task_name\":\"reports.pdf\",\"status\":\"%s\","
                 "\"worker\":\"celery@w1\",\"task_args\":\"\\\"('%d',)\\\"\",\"task_kwargs\":\"\\\"{}\\\"\","
                 "\"result\":\"{\\\"exc_type\\\": \\\"ValueError\\\", \\\"exc_message\\\": [\\\"bad year "
                 "'9'\\\"], \\\"exc_module\\\": \\\"builtins\\\"}\",\"traceback\":\"Traceback:\\n  File "
                 "\\\"/srv/tasks.py\\\", line 7, in pdf\\n    raise\\nValueError: x\"}",
                 i, i < 2 ? "FAILURE" : "SUCCESS", i);
        tell(s, line);
    }
    const struct queue *queue = board_queue(&s->board, s->system, "results");
    assert_int_equal(queue->failed, 2);
    assert_int_equal(queue->done, 1);
    assert_int_equal(queue->ready, -1);
    assert_true(queue->out_per_s > 0);
    const struct failures_snapshot *failed = board_part(&s->board, s->system, PART_FAILURES);
    assert_int_equal(failed->count, 1);
    assert_int_equal(failed->failures->count, 2);
    assert_int_equal(failed->failures->retriable, 0);
    assert_non_null(failed->failures->why_not);
    assert_string_equal(failed->failures->exception, "ValueError");
    assert_string_equal(failed->failures->message, "bad year '9'");
    assert_string_equal(failed->failures->frame, "File \"/srv/tasks.py\", line 7, in pdf");
    struct job *jobs = board_read(&s->board, s->system, (struct queue_read_request){.states = 1u << JOB_DONE},
                                  NULL, &count, NULL);
    assert_int_equal(count, 1);
    assert_string_equal(jobs->id, "id-2");
    assert_string_equal(jobs->worker, "celery@w1");
    assert_null(jobs->arguments);
    char *facts = board_job(&s->board, s->system, jobs);
    assert_non_null(strstr(facts, "Arguments/task_args (secret): \"('2',)\""));
    talloc_free(facts);
    talloc_free(jobs);
    jobs = board_read(&s->board, s->system, (struct queue_read_request){0}, "id=id-1", &count, NULL);
    assert_int_equal(count, 1);
    assert_int_equal(jobs->state, JOB_FAILED);
    talloc_free(jobs);
    assert_non_null(queue_system_act_absent(s->system, ACT_RETRY));
}

static void add_tenant(PGconn *connection, int number)
{
    char *sql = talloc_asprintf(
        NULL,
        "CREATE SCHEMA \"t_%d مطعم\"; SET search_path = \"t_%d مطعم\";"
        "CREATE TABLE django_celery_results_taskresult (id serial, task_id text, status text, result text,"
        " date_done timestamptz DEFAULT now(), traceback text, task_args text, task_kwargs text,"
        " task_name text, worker text);"
        "INSERT INTO django_celery_results_taskresult (task_id, status, task_name) VALUES ('j%d', 'FAILURE', "
        "'mail');"
        "GRANT USAGE ON SCHEMA \"t_%d مطعم\" TO sb_read; GRANT SELECT ON ALL TABLES IN SCHEMA \"t_%d مطعم\" "
        "TO "
        "sb_read",
        number, number, number, number, number);
    PGresult *result = PQexec(connection, sql);
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    talloc_free(sql);
}

struct growth {
    struct board *board;
    struct queue_system *system;
    size_t count;
};

static bool has_grown(void *data)
{
    struct growth *growth = data;
    const struct queues_snapshot *queues = queue_system_queues(growth->system);
    feed_refresh(queue_system_feed(growth->system, PART_QUEUES));
    return queues && queues->count == growth->count;
}

/* One set of tables in each tenant's schema: one system, which follows the tenants that come and go. */
static void schemas_of_tenants(void **state)
{
    struct scene *s = *state;
    struct board board;
    cluster_do(s->cluster, "CREATE DATABASE many");
    PGconn *connection = cluster_connect(s->cluster, "many");
    for (int i = 0; i < 30; i++)
        add_tenant(connection, i);
    board_start(&board, s->watch, s->read, s->act, (const char *[]){"many", NULL});
    struct queue_system *system =
        board_system(&board, "django-celery@main, database many, schemas of the tenants with results");
    const struct queues_snapshot *queues = board_part(&board, system, PART_QUEUES);
    assert_int_equal(queues->count, 30);
    const struct failures_snapshot *failed = board_part(&board, system, PART_FAILURES);
    assert_int_equal(failed->count, 30);
    assert_int_equal(failed->total, 30);
    size_t count;
    struct job *jobs =
        board_read(&board, system, (struct queue_read_request){.unpaced = true}, "id=j7", &count, NULL);
    assert_int_equal(count, 1);
    assert_string_equal(jobs->tenant, "t_7 مطعم");
    char *facts = board_job(&board, system, jobs);
    assert_non_null(strstr(facts, "Job/id: j7\n"));
    talloc_free(facts);
    talloc_free(jobs);
    /* Seen at the next look for systems, which comes every 30 s. */
    add_tenant(connection, 30);
    PQclear(PQexec(connection, "DROP SCHEMA \"t_0 مطعم\" CASCADE; DROP SCHEMA \"t_1 مطعم\" CASCADE"));
    assert_true(loop_until(board.loop, 60, has_grown, &(struct growth){&board, system, 29}));
    PQfinish(connection);
    board_end(&board);
}

static bool is_live(void *data)
{
    struct feed *feed = queue_system_feed(data, PART_QUEUES);
    if (!feed->in_flight && feed->state != FEED_LIVE)
        feed_refresh(feed);
    return feed->state == FEED_LIVE;
}

/* The server goes away and comes back. */
static void server_restarts(void **state)
{
    struct scene *s = *state;
    struct board board;
    board_start(&board, s->watch, s->read, s->act, NULL);
    struct queue_system *system = board_system(&board, "django-celery@main, schema public");
    board_part(&board, system, PART_QUEUES);
    cluster_kill(s->cluster);
    board_part_error(&board, system, PART_QUEUES);
    assert_true(queue_system_queues(system)->count == 1); /* the last answer stays */
    cluster_again(s->cluster);
    assert_true(loop_until(board.loop, 30, is_live, system));
    board_part(&board, system, PART_QUEUES);
    board_end(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beat_does_as_told),  cmocka_unit_test(late_entries),    cmocka_unit_test(results),
        cmocka_unit_test(schemas_of_tenants), cmocka_unit_test(server_restarts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
