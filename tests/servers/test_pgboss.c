/* pg-boss 9, 10 and 11 as they are, side by side in three schemas: our counts against their API, and each act
 * against what a live worker then does. */
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
    char *watch, *read, *act, *owner;
    struct board board;
};

static const int majors[] = {9, 10, 11};

static struct partner *start_boss(struct scene *s, int major)
{
    char folder[200], schema[20], script[200], *url;
    snprintf(folder, sizeof folder, TEST_ROOT "/build/npm/node_modules/pgboss%d", major);
    snprintf(schema, sizeof schema, "boss%d", major);
    snprintf(script, sizeof script, TEST_ROOT "/tests/data/queues/pgboss.js");
    url = talloc_asprintf(NULL, "postgres://owner:%s@127.0.0.1:%d/postgres", cluster_password(s->cluster),
                          cluster_port(s->cluster));
    struct partner *boss = partner_start((const char *[]){"node", script, folder, url, schema, NULL}, NULL);
    talloc_free(url);
    return boss;
}

static void grant(struct scene *s, int major)
{
    char *sql = talloc_asprintf(NULL,
                                "GRANT USAGE ON SCHEMA boss%d TO sb_read, sb_act;"
                                "GRANT SELECT ON ALL TABLES IN SCHEMA boss%d TO sb_read, sb_act;"
                                "GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA boss%d TO sb_act",
                                major, major, major);
    cluster_do(s->cluster, sql);
    talloc_free(sql);
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_int_equal(system(TEST_ROOT "/tools/npm-packages"), 0);
    s->cluster = cluster_start(NULL);
    cluster_do(s->cluster, "CREATE ROLE sb_watch LOGIN PASSWORD 'w' IN ROLE pg_monitor;"
                           "CREATE ROLE sb_read LOGIN PASSWORD 'r'; CREATE ROLE sb_act LOGIN PASSWORD 'a';"
                           "ALTER ROLE sb_read SET enable_seqscan = off");
    s->watch = cluster_dsn(s->cluster, 0, "sb_watch", "w", NULL);
    s->read = cluster_dsn(s->cluster, 0, "sb_read", "r", NULL);
    s->act = cluster_dsn(s->cluster, 0, "sb_act", "a", NULL);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    cluster_free(s->cluster);
    free(s->watch);
    free(s->read);
    free(s->act);
    free(s);
    return 0;
}

static struct queue_system *open_board(struct scene *s, int major)
{
    char name[80];
    board_start(&s->board, s->watch, s->read, s->act, NULL);
    snprintf(name, sizeof name, "pgboss@main, schema boss%d", major);
    return board_system(&s->board, name);
}

static char *send_job(struct partner *boss, const char *name, const char *data, const char *options)
{
    char *line = talloc_asprintf(NULL, "{\"op\":\"send\",\"name\":\"%s\",\"data\":%s,\"options\":%s}", name,
                                 data, options);
    char *id = partner_ask(boss, line);
    talloc_free(line);
    assert_int_equal(strlen(id), 36);
    return id;
}

struct asked {
    struct partner *boss;
    const char *id;
};

static bool has_run(void *data)
{
    struct asked *asked = data;
    char line[100];
    snprintf(line, sizeof line, "{\"op\":\"has\",\"id\":\"%s\"}", asked->id);
    return partner_count(asked->boss, line) == 1;
}

static bool runs(struct scene *s, struct partner *boss, const char *id)
{
    return loop_until(s->board.loop, 15, has_run, &(struct asked){boss, id});
}

static void expect_state(struct partner *boss, const char *name, const char *id, const char *expected)
{
    char line[160];
    snprintf(line, sizeof line, "{\"op\":\"state\",\"name\":\"%s\",\"id\":\"%s\"}", name, id);
    char *state = partner_ask(boss, line);
    assert_string_equal(state, expected);
    free(state);
}

/* Prepares, checks the confirmation, sends. */
static enum step_outcome do_act(struct scene *s, struct queue_system *system, enum queue_act act,
                                const struct job *jobs, size_t count)
{
    struct error error;
    struct change *change = board_prepare(
        &s->board, system, &(struct queue_act_request){.act = act, .jobs = jobs, .job_count = count}, &error);
    assert_non_null(change);
    char *preview = change_preview(change, change);
    assert_non_null(strstr(preview, jobs->id));
    enum step_outcome outcome = board_send(&s->board, change);
    talloc_free(change);
    return outcome;
}

static struct job *jobs_in(struct scene *s, struct queue_system *system, const char *queue,
                           enum job_state state, const char *filter, size_t *count)
{
    return board_read(&s->board, system,
                      (struct queue_read_request){.queue = queue, .states = 1u << state, .limit = 100},
                      filter, count, NULL);
}

static void counts_are_told(struct scene *s, struct queue_system *system, struct partner *boss)
{
    const struct queue *reports = board_queue(&s->board, system, "reports");
    assert_int_equal(reports->ready, 6);
    assert_int_equal(reports->scheduled, 1);
    assert_int_equal(reports->running, 0);
    assert_int_equal(reports->failed, 0);
    assert_int_equal(reports->paused, 0);
    assert_int_equal(reports->head_age_source, HEAD_AGE_EXACT);
    assert_true(reports->head_age_s >= 0 && reports->head_age_s < 120);
    assert_true(reports->in_per_s > 0.1 && reports->out_per_s == 0);
    assert_true(isinf(reports->drain_s));
    assert_int_equal(reports->share_count, 3);
    assert_string_equal(reports->shares[0].name, "al_noor");
    assert_true(fabs(reports->shares[0].share - 4.0 / 6) < 0.001);
    /* The library counts what is scheduled, too. */
    assert_int_equal(partner_count(boss, "{\"op\":\"size\",\"name\":\"reports\"}"), 7);
    assert_null(strstr(reports->name, "__pgboss__"));
}

/* Jobs by what they are, wherever they lie. */
static void jobs_are_found(struct scene *s, struct queue_system *system, const char *id)
{
    size_t more;
    struct queue_read_progress progress;
    struct job *found =
        board_read(&s->board, system, (struct queue_read_request){0}, "tenant:st_marys", &more, &progress);
    assert_int_equal(more, 1);
    assert_true(progress.complete && progress.matched == 1 && progress.scanned >= 7);
    talloc_free(found);
    char filter[60];
    snprintf(filter, sizeof filter, "id=%s", id);
    found = board_read(&s->board, system, (struct queue_read_request){0}, filter, &more, &progress);
    assert_int_equal(more, 1);
    assert_string_equal(found->id, id);
    assert_int_equal(progress.scanned, 1);
    talloc_free(found);
    found = board_read(&s->board, system,
                       (struct queue_read_request){.queue = "reports", .from = FROM_ANY, .look = 100}, NULL,
                       &more, &progress);
    assert_int_equal(more, 7);
    talloc_free(found);
}

static void counts_and_windows(struct scene *s, struct queue_system *system, struct partner *boss)
{
    size_t count, more;
    counts_are_told(s, system, boss);
    struct job *jobs = jobs_in(s, system, "reports", JOB_READY, NULL, &count);
    assert_int_equal(count, 6);
    assert_int_equal(jobs[0].priority, 5);
    assert_string_equal(jobs[0].task, "reports");
    assert_string_equal(jobs[0].tenant, "al_noor");
    assert_true(jobs[0].enqueued_at > clock_wall() - 120 && jobs[0].eta == 0);
    assert_string_equal(jobs[0].arguments, "{year: int, tenant: str}");
    /* Pages: the same jobs, in the same order, from either end. */
    for (int64_t at = 0; at < 6; at += 2) {
        struct queue_read_request page = {
            .queue = "reports", .states = 1u << JOB_READY, .offset = at, .limit = 2};
        struct job *two = board_read(&s->board, system, page, NULL, &more, NULL);
        assert_int_equal(more, 2);
        assert_string_equal(two[0].id, jobs[at].id);
        assert_string_equal(two[1].id, jobs[at + 1].id);
        talloc_free(two);
        page.from = FROM_TAIL;
        two = board_read(&s->board, system, page, NULL, &more, NULL);
        assert_int_equal(more, 2);
        assert_string_equal(two[0].id, jobs[5 - at].id);
        talloc_free(two);
    }
    jobs_are_found(s, system, jobs[3].id);
    char *facts = board_job(&s->board, system, &jobs[0]);
    assert_non_null(strstr(facts, "Arguments/tenant (secret): al_noor\n"));
    assert_non_null(strstr(facts, "Job/queue: reports\n"));
    assert_non_null(strstr(facts, "Row/priority: 5\n"));
    talloc_free(facts);
    struct job gone = jobs[0];
    gone.tag = gone.id = "00000000-0000-4000-8000-000000000000";
    assert_null(board_job(&s->board, system, &gone));
    talloc_free(jobs);
}

static void acts_on_waiting(struct scene *s, struct queue_system *system, struct partner *boss)
{
    size_t count;
    struct job *jobs = jobs_in(s, system, "reports", JOB_READY, "tenant:st_marys", &count);
    assert_int_equal(count, 1);
    assert_int_equal(do_act(s, system, ACT_DISCARD, jobs, 1), STEP_DONE);
    expect_state(boss, "reports", jobs->id, "cancelled");
    /* A second time it is no longer there to be cancelled. */
    assert_int_equal(do_act(s, system, ACT_DISCARD, jobs, 1), STEP_GONE);

    free(partner_ask(boss, "{\"op\":\"work\",\"name\":\"reports\"}"));
    struct job *last = jobs_in(s, system, "reports", JOB_SCHEDULED, NULL, &count);
    assert_int_equal(count, 1);
    assert_int_equal(do_act(s, system, ACT_RUN_NOW, last, 1), STEP_DONE);
    assert_true(runs(s, boss, last->id));
    assert_int_equal(partner_count(boss, "{\"op\":\"ran\"}"), 6);
    expect_state(boss, "reports", jobs->id, "cancelled");
    jobs->state = JOB_CANCELLED;
    assert_int_equal(do_act(s, system, ACT_RETRY, jobs, 1), STEP_DONE);
    assert_true(runs(s, boss, jobs->id));
    talloc_free(jobs);
    talloc_free(last);
}

struct counted {
    struct scene *s;
    struct queue_system *system;
    int64_t failed;
};

static bool has_failed(void *data)
{
    struct counted *c = data;
    const struct queues_snapshot *snapshot = queue_system_queues(c->system);
    feed_refresh(queue_system_feed(c->system, PART_QUEUES));
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->queues[i].name, "mail") == 0)
            return snapshot->queues[i].failed == c->failed;
    return false;
}

static void failures(struct scene *s, struct queue_system *system, struct partner *boss)
{
    size_t count;
    struct error error;
    char *ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = send_job(boss, "mail", "{\"tenant\":\"al_noor\",\"fail\":\"2026\"}", "{\"retryLimit\":0}");
    free(partner_ask(boss, "{\"op\":\"work\",\"name\":\"mail\"}"));
    assert_true(loop_until(s->board.loop, 20, has_failed, &(struct counted){s, system, 3}));
    const struct failures_snapshot *failed = board_part(&s->board, system, PART_FAILURES);
    assert_int_equal(failed->count, 1);
    assert_int_equal(failed->total, 3);
    assert_int_equal(failed->failures->count, 3);
    assert_int_equal(failed->failures->retriable, 3);
    assert_string_equal(failed->failures->task, "mail");
    assert_string_equal(failed->failures->tenant, "al_noor");
    assert_string_equal(failed->failures->exception, "RangeError");
    assert_string_equal(failed->failures->message, "no report of 2026");
    assert_non_null(strstr(failed->failures->frame, "pgboss.js"));
    assert_true(failed->failures->last > clock_wall() - 60);
    float sum = 0;
    for (int i = QUEUE_HISTORY - 2; i < QUEUE_HISTORY; i++)
        sum += failed->failures->history[i];
    assert_true(sum == 3);

    free(partner_ask(boss, "{\"op\":\"mend\"}"));
    struct job *jobs = jobs_in(s, system, "mail", JOB_FAILED, NULL, &count);
    assert_int_equal(count, 3);
    assert_int_equal(do_act(s, system, ACT_RETRY, jobs, 1), STEP_DONE);
    assert_true(runs(s, boss, jobs->id));
    /* The rest by a filter. One of them is no longer failed when it is sent: told, not overwritten. */
    struct job_filter *filter = job_filter_parse(NULL, "tenant:al_noor", &error);
    struct change *change =
        board_prepare(&s->board, system,
                      &(struct queue_act_request){
                          .act = ACT_RETRY, .queue = "mail", .filter = filter, .states = 1u << JOB_FAILED},
                      &error);
    assert_non_null(change);
    assert_int_equal(change->step_count, 1);
    assert_string_equal(change->confirm, "2");
    char *sql = talloc_asprintf(NULL, "UPDATE %s.job SET state = 'completed' WHERE id = '%s'",
                                strstr(system->place, "boss"), jobs[1].id);
    cluster_do(s->cluster, sql);
    assert_int_equal(board_send(&s->board, change), STEP_DONE);
    assert_string_equal(change->steps->output, "1 of 2: the others had moved on");
    assert_true(runs(s, boss, jobs[2].id));
    expect_state(boss, "mail", jobs[1].id, "completed");
    talloc_free(change);
    change =
        board_prepare(&s->board, system,
                      &(struct queue_act_request){
                          .act = ACT_RETRY, .queue = "mail", .filter = filter, .states = 1u << JOB_FAILED},
                      &error);
    assert_null(change);
    assert_int_equal(error.kind, ERROR_GONE);
    talloc_free(filter);
    talloc_free(sql);
    talloc_free(jobs);
    for (int i = 0; i < 3; i++)
        free(ids[i]);
}

static bool job_runs(void *data)
{
    struct queue_system *system = data;
    const struct workers_snapshot *workers = queue_system_workers(system);
    feed_refresh(queue_system_feed(system, PART_WORKERS));
    return workers && workers->running_count == 1;
}

static void running(struct scene *s, struct queue_system *system, struct partner *boss)
{
    char *id = send_job(boss, "mail", "{\"tenant\":\"st_marys\",\"hold\":true}", "{\"expireInSeconds\":900}");
    queues_want(s->board.queues, PART_WORKERS, true);
    assert_true(loop_until(s->board.loop, 15, job_runs, system));
    const struct workers_snapshot *workers = queue_system_workers(system);
    assert_string_equal(workers->running->id, id);
    assert_string_equal(workers->running->tenant, "st_marys");
    assert_true(workers->running->limit_s == 900);
    assert_true(workers->running->started_at > clock_wall() - 60);
    assert_int_equal(workers->count, 0);
    assert_non_null(workers->note);
    struct job *job = job_copy(NULL, workers->running);
    queues_want(s->board.queues, PART_WORKERS, false);
    assert_int_equal(board_queue(&s->board, system, "mail")->running, 1);
    assert_int_equal(do_act(s, system, ACT_DISCARD, job, 1), STEP_DONE);
    expect_state(boss, "mail", id, "cancelled");
    talloc_free(job);
    free(id);
}

static bool clock_ticks(void *data)
{
    struct queue_system *system = data;
    const struct schedule_snapshot *snapshot = queue_system_schedule(system);
    feed_refresh(queue_system_feed(system, PART_SCHEDULE));
    return snapshot && snapshot->scheduler == SCHEDULER_RUNS;
}

static void schedule(struct scene *s, struct queue_system *system, struct partner *boss)
{
    free(partner_ask(boss, "{\"op\":\"schedule\",\"name\":\"reports\",\"cron\":\"0 3 * * *\","
                           "\"tz\":\"Asia/Riyadh\",\"data\":{\"tenant\":\"al_noor\"}}"));
    const struct schedule_snapshot *snapshot = board_part(&s->board, system, PART_SCHEDULE);
    assert_int_equal(snapshot->count, 1);
    assert_string_equal(snapshot->entries->name, "reports");
    assert_string_equal(snapshot->entries->when, "0 3 * * * Asia/Riyadh");
    assert_string_equal(snapshot->entries->tenant, "al_noor");
    double next = snapshot->entries->next_run;
    assert_true(next > clock_wall() && next <= clock_wall() + 86400 && fmod(next, 86400) == 0);
    queues_want(s->board.queues, PART_SCHEDULE, true);
    assert_true(loop_until(s->board.loop, 30, clock_ticks, system)); /* version 9 takes its time */
    queues_want(s->board.queues, PART_SCHEDULE, false);
}

/* Finished jobs that take for ever to be looked at, as millions would: only waiting ones are counted then. */
static void too_many_to_count(struct scene *s, struct queue_system *system, struct partner *boss, int major)
{
    size_t count;
    free(send_job(boss, "dead", "{\"tenant\":\"al_noor\"}", "{}"));
    free(send_job(boss, "dead", "{}", "{\"startAfter\":3600}"));
    char *sql =
        talloc_asprintf(NULL,
                        "UPDATE boss%d.job SET state = 'failed' WHERE state = 'completed';"
                        "ALTER TABLE boss%d.job ENABLE ROW LEVEL SECURITY; CREATE POLICY slow ON boss%d.job"
                        " TO sb_read USING (state < 'active' OR pg_sleep(3) IS NOT NULL)",
                        major, major, major);
    cluster_do(s->cluster, sql);
    talloc_free(sql);
    const struct queue *dead = board_queue(&s->board, system, "dead");
    assert_int_equal(dead->ready, 1);
    assert_int_equal(dead->scheduled, 1);
    assert_int_equal(dead->done, -1);
    assert_int_equal(dead->failed, -1);
    assert_int_equal(dead->head_age_source, HEAD_AGE_EXACT);
    assert_non_null(strstr(queue_system_queues(system)->note, "too many jobs to count all"));
    struct job *jobs = jobs_in(s, system, "dead", JOB_READY, NULL, &count);
    assert_int_equal(count, 1);
    talloc_free(jobs);
    /* Of what failed a sample of the table tells; here it has a block or none. */
    const struct failures_snapshot *failed = board_part(&s->board, system, PART_FAILURES);
    assert_int_equal(failed->total, -1);
    assert_non_null(strstr(failed->note, "too many jobs to look through"));
    assert_true(failed->scanned <= 20);
}

static void each_version(void **state, int major)
{
    struct scene *s = *state;
    struct partner *boss = start_boss(s, major);
    free(partner_ask(boss, "{\"op\":\"queue\",\"name\":\"dead\"}"));
    free(partner_ask(boss, "{\"op\":\"queue\",\"name\":\"reports\",\"options\":{\"deadLetter\":\"dead\"}}"));
    free(partner_ask(boss, "{\"op\":\"queue\",\"name\":\"mail\"}"));
    for (int i = 0; i < 4; i++)
        free(send_job(boss, "reports", "{\"tenant\":\"al_noor\",\"year\":9}",
                      i == 2 ? "{\"priority\":5}" : "{}"));
    free(send_job(boss, "reports", "{\"tenant\":\"st_marys\"}", "{}"));
    free(send_job(boss, "reports", "{\"n\":[1,2.5,null,\"x\"]}", "{}"));
    free(send_job(boss, "reports", "{\"tenant\":\"al_noor\"}", "{\"startAfter\":3600}"));
    struct queue_system *system = open_board(s, major);
    /* Without the right to read it says which is missing. */
    const struct error *denied = board_part_error(&s->board, system, PART_QUEUES);
    assert_int_equal(denied->kind, ERROR_DENIED);
    assert_non_null(strstr(denied->todo, "GRANT SELECT ON ALL TABLES IN SCHEMA \"boss"));
    assert_non_null(strstr(denied->todo, "TO \"sb_read\""));
    grant(s, major);
    counts_and_windows(s, system, boss);
    acts_on_waiting(s, system, boss);
    failures(s, system, boss);
    running(s, system, boss);
    schedule(s, system, boss);
    assert_non_null(queue_system_act_absent(system, ACT_PAUSE));
    assert_null(queue_system_act_absent(system, ACT_RETRY));
    if (major > 9)
        too_many_to_count(s, system, boss, major);
    board_end(&s->board);
    partner_end(boss);
}

static void version_9(void **state)
{
    each_version(state, majors[0]);
}
static void version_10(void **state)
{
    each_version(state, majors[1]);
}
static void version_11(void **state)
{
    each_version(state, majors[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_9),
        cmocka_unit_test(version_10),
        cmocka_unit_test(version_11),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
