/* Who blocks whom on a real server, and cancelling or ending the right one as a change. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/session_change.h"
#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

enum { MOST = 8 };

/* Sessions of a test: what the first one does stays open, the others are sent and wait. */
struct scene {
    struct platform *platform;
    struct watcher w;
    PGconn *conns[MOST];
    int count;
};

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

static PGconn *join(struct scene *scene)
{
    assert_true(scene->count < MOST);
    char *dsn =
        cluster_dsn(scene->platform->cluster, 0, "app", "p", NULL); /* sb_act cannot end a superuser's */
    PGconn *conn = PQconnectdb(dsn);
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    free(dsn);
    return scene->conns[scene->count++] = conn;
}

/* A session that runs SQL to its end and stays. */
static int hold(struct scene *scene, const char *sql)
{
    PGconn *conn = join(scene);
    run(conn, sql);
    return PQbackendPID(conn);
}

/* A session that sends `first`, then `sql`, and waits for a lock with it. */
static int await(struct scene *scene, const char *first, const char *sql)
{
    char question[120];
    PGconn *conn = join(scene);
    if (first)
        run(conn, first);
    assert_int_equal(PQsendQuery(conn, sql), 1);
    snprintf(question, sizeof question, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %d",
             PQbackendPID(conn));
    assert_true(cluster_await(scene->platform->cluster, 5, question, "Lock"));
    return PQbackendPID(conn);
}

static void begin(struct scene *scene, void **state)
{
    *scene = (struct scene){.platform = *state};
    cluster_do(scene->platform->cluster,
               "DROP TABLE IF EXISTS invoice; CREATE TABLE invoice (id int PRIMARY KEY, paid bool);"
               "ALTER TABLE invoice OWNER TO app; INSERT INTO invoice SELECT g, false FROM "
               "generate_series(1, 10) g");
    watcher_start(&scene->w, scene->platform->watch, scene->platform->act);
    assert_true(watcher_until(&scene->w, 10, watcher_is_up));
}

static void finish(struct scene *scene)
{
    watcher_end(&scene->w);
    for (int i = 0; i < scene->count; i++) {
        PGcancel *cancel = PQgetCancel(scene->conns[i]);
        char text[256];
        if (cancel)
            PQcancel(cancel, text, sizeof text);
        PQfreeCancel(cancel);
        PQfinish(scene->conns[i]);
    }
}

static const struct locks_snapshot *read_locks(struct scene *scene)
{
    assert_true(watcher_refresh(&scene->w, PG_FEED_LOCKS, 5));
    assert_true(watcher_refresh(&scene->w, PG_FEED_ACTIVITY, 5));
    return pg_server_locks(scene->w.server);
}

static void test_migration_behind_a_writer(void **state)
{
    struct scene scene;
    begin(&scene, state);
    int root = hold(&scene, "BEGIN; UPDATE invoice SET paid = true WHERE id = 1");
    int alter = await(&scene, NULL, "ALTER TABLE invoice ADD note text");
    int writers[4];
    for (int i = 0; i < 4; i++)
        writers[i] = await(&scene, NULL, "UPDATE invoice SET paid = true WHERE id = 2");
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 6);
    assert_int_equal(locks->waiting, 5);
    const struct lock_node *n = locks->nodes;
    assert_int_equal(n[0].pid, root);
    assert_int_equal(n[0].kind, LOCK_SESSION);
    assert_int_equal(n[0].depth, 0);
    assert_int_equal(n[0].behind, 5);
    assert_null(n[0].mode);
    assert_true(isnan(n[0].waited_s));
    assert_string_equal(n[0].holds, "RowExclusive public.invoice");
    assert_string_equal(n[0].session->state, "idle in transaction");
    assert_false(n[0].advisory);
    assert_int_equal(n[1].pid, alter);
    assert_int_equal(n[1].depth, 1);
    assert_int_equal(n[1].behind, 4);
    assert_string_equal(n[1].mode, "AccessExclusive");
    assert_string_equal(n[1].relation, "public.invoice");
    assert_true(n[1].waited_s >= 0 && n[1].waited_s < 30);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(n[2 + i].pid, writers[i]); /* in the order in which they go */
        assert_int_equal(n[2 + i].depth, 2);
        assert_int_equal(n[2 + i].root, root);
        assert_int_equal(n[2 + i].behind, 0);
        assert_string_equal(n[2 + i].mode, "RowExclusive");
        assert_int_equal(n[2 + i].session->blocked_by_count, 1);
        assert_int_equal(n[2 + i].session->blocked_by[0], alter);
    }
    assert_true(locks_next(locks, &n[0]) == &n[1]);
    assert_true(locks_next(locks, &n[1]) == &n[2]);
    assert_true(locks_find(locks, n[3].id) == &n[3]);
    size_t count;
    char **behind = session_behind(NULL, locks, n[0].id, &count);
    assert_int_equal(count, 5);
    talloc_free(behind);
    behind = session_behind(NULL, locks, n[1].id, &count);
    assert_int_equal(count, 4);
    assert_string_equal(behind[0], n[2].id);
    talloc_free(behind);
    finish(&scene);
}

static void test_row_locks_and_two_blockers(void **state)
{
    struct scene scene;
    begin(&scene, state);
    int one = hold(&scene, "BEGIN; SELECT FROM invoice WHERE id = 1 FOR SHARE");
    int two = hold(&scene, "BEGIN; SELECT FROM invoice WHERE id = 1 FOR SHARE");
    PGconn *conn = scene.conns[0];
    run(conn, "LOCK TABLE invoice IN SHARE MODE");
    run(scene.conns[1], "LOCK TABLE invoice IN SHARE MODE");
    int waiter = await(&scene, NULL, "DELETE FROM invoice WHERE id = 1");
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 3);
    assert_int_equal(locks->waiting, 1);
    const struct lock_node *node = NULL;
    for (size_t i = 0; i < locks->count; i++)
        if (locks->nodes[i].pid == waiter)
            node = &locks->nodes[i];
    assert_non_null(node);
    assert_int_equal(node->depth, 1);
    assert_int_equal(node->session->blocked_by_count, 2);
    /* It goes only when both have ended. */
    for (size_t i = 0; i < locks->count; i++) {
        if (locks->nodes[i].depth > 0)
            continue;
        assert_true(locks->nodes[i].pid == one || locks->nodes[i].pid == two);
        assert_int_equal(locks->nodes[i].behind, 1);
        assert_null(locks_next(locks, &locks->nodes[i]));
    }
    finish(&scene);
}

static void test_advisory_root(void **state)
{
    struct scene scene;
    begin(&scene, state);
    int root = hold(&scene, "SELECT pg_advisory_lock(42)");
    await(&scene, NULL, "SELECT pg_advisory_lock(42)");
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 2);
    assert_int_equal(locks->nodes[0].pid, root);
    assert_true(locks->nodes[0].advisory);
    assert_string_equal(locks->nodes[0].session->state, "idle");
    assert_string_equal(locks->nodes[1].relation, "advisory 42");
    finish(&scene);
}

static void test_prepared_root(void **state)
{
    struct scene scene;
    begin(&scene, state);
    hold(&scene, "BEGIN; UPDATE invoice SET paid = true WHERE id = 1; PREPARE TRANSACTION 'transfer 7'");
    int alter = await(&scene, NULL, "ALTER TABLE invoice ADD note text");
    int writer = await(&scene, NULL, "SELECT FROM invoice");
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 3);
    const struct lock_node *n = locks->nodes;
    assert_int_equal(n[0].kind, LOCK_PREPARED);
    assert_int_equal(n[0].pid, 0);
    assert_string_equal(n[0].gid, "transfer 7");
    assert_string_equal(n[0].owner, "app");
    assert_string_equal(n[0].id, "prepared transfer 7");
    assert_true(n[0].prepared_s >= 0 && n[0].prepared_s < 60);
    assert_string_equal(n[0].holds, "RowExclusive public.invoice");
    assert_int_equal(n[0].behind, 2);
    assert_null(n[0].session);
    assert_int_equal(n[1].pid, alter);
    assert_int_equal(n[2].pid, writer);
    size_t count;
    talloc_free(session_behind(NULL, locks, "prepared transfer 7", &count));
    assert_int_equal(count, 2);
    struct error error;
    const char *id = "prepared transfer 7";
    assert_null(session_change_new(scene.w.server, SESSION_TERMINATE, &id, 1, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    cluster_do(scene.platform->cluster, "ROLLBACK PREPARED 'transfer 7'");
    finish(&scene);
}

/* A row of a prepared transaction: the waiter waits for a transaction, not for a table. */
static void test_prepared_root_of_a_row(void **state)
{
    struct scene scene;
    begin(&scene, state);
    hold(&scene, "BEGIN; UPDATE invoice SET paid = true WHERE id = 1; PREPARE TRANSACTION 'row'");
    await(&scene, NULL, "UPDATE invoice SET paid = true WHERE id = 1");
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 2);
    assert_int_equal(locks->nodes[0].kind, LOCK_PREPARED);
    assert_non_null(strstr(locks->nodes[1].relation, "transaction "));
    cluster_do(scene.platform->cluster, "ROLLBACK PREPARED 'row'");
    finish(&scene);
}

static void test_relation_of_another_database(void **state)
{
    struct scene scene;
    begin(&scene, state);
    cluster_do(scene.platform->cluster, "CREATE DATABASE elsewhere");
    PGconn *holder = cluster_connect(scene.platform->cluster, "elsewhere");
    run(holder, "CREATE TABLE far ()");
    run(holder, "BEGIN; LOCK TABLE far");
    PGconn *waiter = cluster_connect(scene.platform->cluster, "elsewhere");
    assert_int_equal(PQsendQuery(waiter, "SELECT FROM far"), 1);
    assert_true(cluster_await(scene.platform->cluster, 5,
                              "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", "1"));
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 2);
    assert_non_null(strstr(locks->nodes[1].relation, " in elsewhere"));
    assert_int_equal(strncmp(locks->nodes[1].relation, "oid ", 4), 0);
    PQfinish(holder);
    PQfinish(waiter);
    finish(&scene);
    cluster_do(scene.platform->cluster, "DROP DATABASE elsewhere WITH (FORCE)");
}

/* Without pg_monitor the tree is still there: pg_locks is for everybody. */
static void test_tree_without_pg_monitor(void **state)
{
    struct scene scene;
    begin(&scene, state);
    int root = hold(&scene, "BEGIN; LOCK TABLE invoice");
    int waiter = await(&scene, NULL, "SELECT FROM invoice");
    watcher_end(&scene.w);
    char *dsn = cluster_dsn(scene.platform->cluster, 0, "app", "p", NULL);
    watcher_start(&scene.w, dsn, NULL);
    assert_true(watcher_until(&scene.w, 10, watcher_is_up));
    const struct locks_snapshot *locks = read_locks(&scene);
    assert_int_equal(locks->count, 2);
    assert_int_equal(locks->nodes[0].pid, root);
    assert_int_equal(locks->nodes[1].pid, waiter);
    finish(&scene);
    free(dsn);
}

struct held_answer {
    bool done, found;
    size_t count;
};

static void take_held(void *data, const struct held_lock *locks, size_t count, const struct error *error)
{
    struct held_answer *answer = data;
    assert_false(answer->done);
    assert_null(error);
    answer->done = true;
    answer->count = count;
    for (size_t i = 0; i < count; i++)
        answer->found |= strcmp(locks[i].mode, "AccessExclusive") == 0 && locks[i].granted &&
                         strcmp(locks[i].relation, "public.invoice") == 0 && isnan(locks[i].waited_s);
}

static bool held_is_there(void *data)
{
    return ((struct held_answer *)data)->done;
}

static void test_all_locks_of_a_session(void **state)
{
    struct scene scene;
    struct held_answer answer = {0};
    begin(&scene, state);
    int root = hold(&scene, "BEGIN; LOCK TABLE invoice");
    pg_server_fetch_locks(scene.w.server, root, take_held, &answer);
    assert_true(loop_until(scene.w.loop, 5, held_is_there, &answer));
    assert_true(answer.found);
    assert_true(answer.count >= 2); /* its virtual transaction too */
    finish(&scene);
}

/* ---- changes ---- */

struct sending {
    struct audit *audit;
    struct access *access;
    struct change *change;
    bool done;
    char report[256];
    struct error error;
};

static void sent(void *data, struct change *change, const char *report, const struct error *error)
{
    struct sending *sending = data;
    (void)change;
    sending->done = true;
    snprintf(sending->report, sizeof sending->report, "%s", report);
    if (error)
        sending->error = *error;
}

static bool is_sent(void *data)
{
    return ((struct sending *)data)->done;
}

static struct change *make_change(struct scene *scene, enum session_verb verb, int pid)
{
    struct error error = {0};
    char number[16];
    snprintf(number, sizeof number, "%d", pid);
    const char *id = number;
    struct change *change = session_change_new(scene->w.server, verb, &id, 1, &error);
    if (!change)
        fail_msg("%s: %s", error.what, error.why);
    return change;
}

static void send_change(struct scene *scene, struct change *change, struct sending *sending)
{
    char folder[] = "/tmp/signalbox-test-XXXXXX", command[80];
    assert_non_null(mkdtemp(folder));
    *sending = (struct sending){.change = change};
    pg_server_unlock(scene->w.server);
    sending->audit = audit_new(scene->w.loop, "test", folder);
    sending->access = access_new(scene->w.loop, &scene->w.environment, sending->audit, NULL, NULL);
    change_send(change, scene->w.loop, sending->access, sending->audit, sent, sending);
    assert_true(loop_until(scene->w.loop, 10, is_sent, sending));
    access_free(sending->access);
    audit_free(sending->audit);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

struct watching {
    struct scene *scene;
    struct change *change;
    char text[200];
};

static bool is_over(void *data)
{
    struct watching *watching = data;
    feed_refresh(pg_server_feed(watching->scene->w.server, PG_FEED_LOCKS));
    feed_refresh(pg_server_feed(watching->scene->w.server, PG_FEED_ACTIVITY));
    return watching->change->watch(watching->change, watching->text, sizeof watching->text);
}

static bool contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        print_error("\"%s\" lacks \"%s\"\n", text ? text : "(null)", part);
    return text && strstr(text, part);
}

static void test_ending_the_root(void **state)
{
    struct scene scene;
    struct sending sending;
    char part[120];
    begin(&scene, state);
    int root =
        hold(&scene, "SET application_name = 'gunicorn'; BEGIN; UPDATE invoice SET paid = true WHERE id = 1");
    int alter = await(&scene, NULL, "ALTER TABLE invoice ADD note text");
    for (int i = 0; i < 3; i++)
        await(&scene, NULL, "UPDATE invoice SET paid = true WHERE id = 2");
    read_locks(&scene);
    struct change *change = make_change(&scene, SESSION_TERMINATE, root);
    assert_int_equal(change->hazard, HAZARD_DESTROY);
    assert_int_equal(change->reach, REACH_ONE);
    assert_string_equal(change->role, "sb_act");
    snprintf(part, sizeof part, "%02d", root % 100);
    assert_string_equal(change->confirm, part);
    assert_true(contains(change->effect, "Its transaction rolls back."));
    snprintf(part, sizeof part,
             "Then %d goes next and takes AccessExclusive on public.invoice; 3 wait on until it ends", alter);
    assert_true(contains(change->effect, part));
    snprintf(part, sizeof part, "cancel %d's ALTER TABLE: 3 behind it go on at once; its statement fails",
             alter);
    assert_true(contains(change->milder, part));
    assert_true(contains(change->steps[0].subject, "app · gunicorn 127.0.0.1 · idle in transaction"));
    assert_true(contains(change->steps[0].subject, "has written: yes"));
    snprintf(part, sizeof part,
             "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %d AND backend_start = '",
             root);
    assert_true(contains(change->steps[0].command, part));
    send_change(&scene, change, &sending);
    assert_int_equal(sending.error.kind, ERROR_NONE);
    assert_int_equal(change->steps[0].outcome, STEP_DONE);
    struct watching watching = {.scene = &scene, .change = change};
    assert_true(loop_until(scene.w.loop, 10, is_over, &watching));
    assert_true(contains(watching.text, "behind 4"));
    assert_true(contains(watching.text, " → 0 after "));
    talloc_free(change);
    finish(&scene);
}

static void test_cancelling_the_waiter(void **state)
{
    struct scene scene;
    struct sending sending;
    begin(&scene, state);
    hold(&scene, "BEGIN; LOCK TABLE invoice IN SHARE MODE");
    int alter = await(&scene, NULL, "ALTER TABLE invoice ADD note text");
    await(&scene, NULL, "SELECT FROM invoice");
    read_locks(&scene);
    struct change *change = make_change(&scene, SESSION_CANCEL, alter);
    assert_int_equal(change->hazard, HAZARD_CHANGE);
    send_change(&scene, change, &sending);
    assert_int_equal(change->steps[0].outcome, STEP_DONE);
    struct watching watching = {.scene = &scene, .change = change};
    assert_true(loop_until(scene.w.loop, 10, is_over, &watching));
    assert_true(contains(watching.text, "behind 1 → 0 after"));
    PGresult *result = PQgetResult(scene.conns[1]);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    talloc_free(change);
    finish(&scene);
}

static void test_idle_is_not_cancelled(void **state)
{
    struct scene scene;
    struct error error = {0};
    char number[16];
    begin(&scene, state);
    snprintf(number, sizeof number, "%d", hold(&scene, "BEGIN; SELECT 1"));
    read_locks(&scene);
    const char *id = number;
    assert_null(session_change_new(scene.w.server, SESSION_CANCEL, &id, 1, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    assert_true(contains(error.why, "idle in transaction"));
    finish(&scene);
}

static void test_gone_and_reused(void **state)
{
    struct scene scene;
    struct sending sending;
    struct error error = {0};
    begin(&scene, state);
    int pid = hold(&scene, "SELECT 1");
    read_locks(&scene);
    struct change *change = make_change(&scene, SESSION_TERMINATE, pid);
    /* As if the pid had been given to a later session between dialog and sending. */
    char *start = strstr(change->steps[0].command, "backend_start = '2");
    assert_non_null(start);
    memcpy(start + 17, "1999", 4);
    send_change(&scene, change, &sending);
    assert_int_equal(change->steps[0].outcome, STEP_GONE);
    assert_int_equal(sending.error.kind, ERROR_GONE);
    run(scene.conns[0], "SELECT 'still here'");
    talloc_free(change);

    change = make_change(&scene, SESSION_TERMINATE, pid);
    PQfinish(scene.conns[0]);
    scene.conns[0] = NULL;
    char question[100];
    snprintf(question, sizeof question, "SELECT count(*) FROM pg_stat_activity WHERE pid = %d", pid);
    assert_true(cluster_await(scene.platform->cluster, 5, question, "0"));
    send_change(&scene, change, &sending);
    assert_int_equal(change->steps[0].outcome, STEP_GONE);
    talloc_free(change);
    read_locks(&scene);
    char id[64];
    snprintf(id, sizeof id, "%d@2026-01-01 00:00:00+00", pid);
    const char *ids = id;
    assert_null(session_change_new(scene.w.server, SESSION_TERMINATE, &ids, 1, &error));
    assert_int_equal(error.kind, ERROR_GONE);
    scene.count = 0;
    finish(&scene);
}

static void test_denied(void **state)
{
    struct scene scene;
    struct sending sending;
    begin(&scene, state);
    scene.conns[scene.count++] = cluster_connect(scene.platform->cluster, "postgres"); /* a superuser's */
    int pid = PQbackendPID(scene.conns[0]);
    read_locks(&scene);
    struct change *change = make_change(&scene, SESSION_TERMINATE, pid);
    send_change(&scene, change, &sending);
    assert_int_equal(change->steps[0].outcome, STEP_FAILED);
    assert_int_equal(sending.error.kind, ERROR_DENIED);
    assert_true(contains(sending.error.todo, "GRANT pg_signal_backend TO \"sb_act\""));
    talloc_free(change);
    finish(&scene);
}

/* A role that may signal but not see: told from a session that is gone. */
static void test_denied_to_see(void **state)
{
    struct scene scene;
    struct sending sending;
    begin(&scene, state);
    cluster_do(scene.platform->cluster, "CREATE ROLE blind LOGIN PASSWORD 'b' IN ROLE pg_signal_backend");
    watcher_end(&scene.w);
    char *dsn = cluster_dsn(scene.platform->cluster, 0, "blind", "b", NULL);
    watcher_start(&scene.w, scene.platform->watch, dsn);
    assert_true(watcher_until(&scene.w, 10, watcher_is_up));
    int pid = hold(&scene, "SELECT 1");
    read_locks(&scene);
    struct change *change = make_change(&scene, SESSION_TERMINATE, pid);
    send_change(&scene, change, &sending);
    assert_int_equal(sending.error.kind, ERROR_DENIED);
    assert_true(contains(sending.error.todo, "GRANT pg_read_all_stats TO \"blind\""));
    run(scene.conns[0], "SELECT 'still here'");
    talloc_free(change);
    finish(&scene);
    free(dsn);
}

static void test_several(void **state)
{
    struct scene scene;
    struct sending sending;
    struct error error = {0};
    char numbers[4][16];
    const char *ids[4];
    begin(&scene, state);
    int pids[4] = {hold(&scene, "BEGIN; SELECT 1"), hold(&scene, "SELECT 1"),
                   hold(&scene, "SET application_name = 'pgBackRest [backup]'"), 1};
    for (int i = 0; i < 4; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%d", pids[i]);
        ids[i] = numbers[i];
    }
    read_locks(&scene);
    struct change *change = session_change_new(scene.w.server, SESSION_TERMINATE, ids, 4, &error);
    assert_non_null(change);
    assert_int_equal(change->step_count, 2);
    assert_int_equal(change->reach, REACH_MANY);
    assert_string_equal(change->confirm, "2");
    assert_true(contains(change->left_out, "(backup)"));
    assert_true(contains(change->left_out, "1 (gone)"));
    send_change(&scene, change, &sending);
    assert_int_equal(sending.error.kind, ERROR_NONE);
    struct watching watching = {.scene = &scene, .change = change};
    assert_true(loop_until(scene.w.loop, 10, is_over, &watching));
    assert_true(contains(watching.text, "2 of 2 gone after"));
    talloc_free(change);
    finish(&scene);
}

static void test_locked_and_no_act(void **state)
{
    struct scene scene;
    struct error error = {0};
    begin(&scene, state);
    assert_null(pg_server_act(scene.w.server));
    pg_server_unlock(scene.w.server);
    assert_non_null(pg_server_act(scene.w.server));
    assert_true(cluster_await(scene.platform->cluster, 0.1, "SELECT 1", "1"));
    pg_server_lock(scene.w.server);
    assert_null(pg_server_act(scene.w.server));
    watcher_end(&scene.w);
    watcher_start(&scene.w, scene.platform->watch, NULL);
    assert_true(watcher_until(&scene.w, 10, watcher_is_up));
    pg_server_unlock(scene.w.server);
    assert_null(pg_server_act(scene.w.server));
    const char *id = "1";
    assert_null(session_change_new(scene.w.server, SESSION_CANCEL, &id, 1, &error));
    assert_int_equal(error.kind, ERROR_INTERLOCK);
    finish(&scene);
}

static int make(void **state)
{
    static struct platform p;
    platform_start(&p, (const char *[]){"-c", "deadlock_timeout=60s", NULL});
    *state = &p;
    return 0;
}

static int end(void **state)
{
    platform_end(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_migration_behind_a_writer),
        cmocka_unit_test(test_row_locks_and_two_blockers),
        cmocka_unit_test(test_advisory_root),
        cmocka_unit_test(test_prepared_root),
        cmocka_unit_test(test_prepared_root_of_a_row),
        cmocka_unit_test(test_relation_of_another_database),
        cmocka_unit_test(test_tree_without_pg_monitor),
        cmocka_unit_test(test_all_locks_of_a_session),
        cmocka_unit_test(test_ending_the_root),
        cmocka_unit_test(test_cancelling_the_waiter),
        cmocka_unit_test(test_idle_is_not_cancelled),
        cmocka_unit_test(test_gone_and_reused),
        cmocka_unit_test(test_denied),
        cmocka_unit_test(test_denied_to_see),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_locked_and_no_act),
    };
    return cmocka_run_group_tests_name("postgres locks", tests, make, end);
}
