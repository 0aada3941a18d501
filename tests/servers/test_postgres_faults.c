/* A server that refuses, fails, hangs, dies and comes back: what the error says, and that watching goes on.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/session_change.h"
#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"
#include "tests/harness/watcher.h"

static bool is_down(void *data)
{
    struct watcher *w = data;
    return pg_server_state(w->server) == CONNECTION_DOWN;
}

static bool contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("\"%s\" lacks \"%s\"\n", text, part);
    return strstr(text, part);
}

/* Connecting fails with this kind, and the texts say so. */
static void expect_refusal(const char *dsn, enum error_kind kind, const char *what, const char *why,
                           const char *todo)
{
    struct watcher w;
    watcher_start(&w, dsn, NULL);
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 15, is_down));
    const struct error *error = pg_server_error(w.server);
    if (error->kind != kind) {
        char text[1400];
        error_format(error, text, sizeof text);
        fail_msg("%s instead of %s: %s", error_kind_name(error->kind), error_kind_name(kind), text);
    }
    assert_true(contains(error->where, "test: main as watch"));
    assert_true(contains(error->what, what));
    assert_true(contains(error->why, why));
    assert_true(contains(error->todo, todo));
    struct feed *feed = pg_server_feed(w.server, PG_FEED_ACTIVITY);
    assert_int_equal(feed->state, FEED_FAILED);
    assert_int_equal(feed->error.kind, kind);
    watcher_end(&w);
}

static void test_refused(void **state)
{
    struct platform *p = *state;
    struct proxy *proxy = proxy_start(cluster_port(p->cluster));
    proxy_refuse(proxy, true);
    char *dsn = cluster_dsn(p->cluster, proxy_port(proxy), "sb_watch", "w", NULL), what[64];
    snprintf(what, sizeof what, "cannot connect to 127.0.0.1:%d", proxy_port(proxy));
    expect_refusal(dsn, ERROR_REFUSED, what, "Connection refused", "listen on this address");
    proxy_free(proxy);
    free(dsn);
    expect_refusal("host=/nonexistent user=x", ERROR_REFUSED, "/nonexistent", "No such file", "socket");
}

static void test_name_not_found(void **state)
{
    (void)state;
    expect_refusal("host=no-such-host.invalid user=x dbname=x", ERROR_NAME, "no-such-host.invalid",
                   "could not translate host name", "name resolution");
}

static void test_bad_dsn(void **state)
{
    (void)state;
    expect_refusal("host=127.0.0.1 nonsense=1", ERROR_CONFIG, "cannot connect", "nonsense", "DSN");
    expect_refusal("service=no_such_service_here", ERROR_CONFIG, "cannot connect", "no_such_service_here",
                   "service");
}

static void test_wrong_password_and_role(void **state)
{
    struct platform *p = *state;
    char *wrong = cluster_dsn(p->cluster, 0, "sb_watch", "wrong", NULL);
    char *missing = cluster_dsn(p->cluster, 0, "nobody_here", "x", NULL);
    expect_refusal(wrong, ERROR_AUTH, "cannot connect to 127.0.0.1", "password authentication failed",
                   "~/.pgpass");
    expect_refusal(missing, ERROR_AUTH, "cannot connect to 127.0.0.1", "nobody_here", "role exists");
    free(wrong);
    free(missing);
}

static void test_missing_database(void **state)
{
    struct platform *p = *state;
    char *dsn = cluster_dsn(p->cluster, 0, "sb_watch", "w", "no_such_db");
    expect_refusal(dsn, ERROR_REFUSED, "cannot connect", "no_such_db", "database");
    free(dsn);
}

static void test_pg_hba_rejects(void **state)
{
    struct platform *p = *state;
    char command[400];
    snprintf(command, sizeof command,
             "cp %s/data/pg_hba.conf %s/pg_hba.kept && sed -i '1i host all app 127.0.0.1/32 reject' "
             "%s/data/pg_hba.conf",
             cluster_folder(p->cluster), cluster_folder(p->cluster), cluster_folder(p->cluster));
    assert_int_equal(system(command), 0);
    cluster_do(p->cluster, "SELECT pg_reload_conf()");
    char *dsn = cluster_dsn(p->cluster, 0, "app", "p", NULL);
    assert_true(cluster_await(p->cluster, 5,
                              "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject'", "1"));
    expect_refusal(dsn, ERROR_REFUSED, "cannot connect", "pg_hba.conf", "pg_hba.conf");
    free(dsn);
    snprintf(command, sizeof command, "cat %s/pg_hba.kept > %s/data/pg_hba.conf", cluster_folder(p->cluster),
             cluster_folder(p->cluster));
    assert_int_equal(system(command), 0);
    cluster_do(p->cluster, "SELECT pg_reload_conf()");
}

static void test_tls_is_required(void **state)
{
    (void)state;
    struct platform p;
    platform_start(&p, (const char *[]){"--ssl-only", NULL});
    char *plain = talloc_asprintf(NULL, "%s sslmode=disable", p.watch);
    expect_refusal(plain, ERROR_TLS, "cannot connect", "no encryption", "sslmode=require");
    char *strict = talloc_asprintf(NULL, "%s sslmode=verify-full sslrootcert=/nonexistent.crt", p.watch);
    expect_refusal(strict, ERROR_TLS, "cannot connect", "certificate", "sslrootcert");
    struct watcher w;
    char *tls = talloc_asprintf(NULL, "%s sslmode=require", p.watch);
    watcher_start(&w, tls, NULL);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    watcher_end(&w);
    talloc_free(plain);
    talloc_free(strict);
    talloc_free(tls);
    platform_end(&p);
}

static void test_tls_is_not_offered(void **state)
{
    struct platform *p = *state;
    char *dsn = talloc_asprintf(NULL, "%s sslmode=require", p->watch);
    expect_refusal(dsn, ERROR_TLS, "cannot connect", "does not support SSL", "ssl");
    talloc_free(dsn);
}

static void test_restarted_comes_back(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    watcher_start(&w, p->watch, NULL);
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    cluster_restart(p->cluster, "fast");
    assert_true(watcher_until(&w, 5, is_down));
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_LOST);
    assert_true(contains(pg_server_error(w.server)->why, "terminating connection"));
    assert_non_null(pg_server_activity(w.server)); /* the last snapshot is kept */
    double before = pg_server_activity(w.server)->base.taken_monotonic;
    assert_true(watcher_until(&w, 15, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    assert_true(pg_server_activity(w.server)->base.taken_monotonic > before);
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_NONE);
    watcher_end(&w);
}

static void test_killed_and_started_again(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    watcher_start(&w, p->watch, NULL);
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    cluster_kill(p->cluster);
    assert_true(watcher_until(&w, 5, is_down));
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_LOST);
    cluster_again(p->cluster);
    assert_true(watcher_until(&w, 20, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    watcher_end(&w);
}

static bool activity_failed(void *data)
{
    struct watcher *w = data;
    return pg_server_feed(w->server, PG_FEED_ACTIVITY)->state == FEED_FAILED;
}

static bool activity_late(void *data)
{
    struct watcher *w = data;
    return pg_server_feed(w->server, PG_FEED_ACTIVITY)->state == FEED_LATE;
}

static bool activity_live(void *data)
{
    struct watcher *w = data;
    return pg_server_feed(w->server, PG_FEED_ACTIVITY)->state == FEED_LIVE;
}

static void test_hung_server(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    watcher_start(&w, p->watch, NULL);
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 10, activity_live));
    cluster_pause(p->cluster);
    assert_true(watcher_until(&w, 5, activity_late));
    bool failed = watcher_until(&w, 10, activity_failed);
    enum error_kind kind = pg_server_feed(w.server, PG_FEED_ACTIVITY)->error.kind;
    cluster_resume(p->cluster);
    assert_true(failed);
    assert_int_equal(kind, ERROR_TIMEOUT);
    assert_true(watcher_until(&w, 30, activity_live));
    watcher_end(&w);
}

/* Connecting to a server that accepts and says nothing ends by itself. */
static void test_hung_while_connecting(void **state)
{
    struct platform *p = *state;
    struct proxy *proxy = proxy_start(cluster_port(p->cluster));
    proxy_hang(proxy, true);
    char *dsn = cluster_dsn(p->cluster, proxy_port(proxy), "sb_watch", "w", NULL);
    double before = clock_monotonic();
    expect_refusal(dsn, ERROR_TIMEOUT, "cannot connect", "no answer within 5 s", "firewall");
    assert_true(clock_monotonic() - before < 8);
    proxy_free(proxy);
    free(dsn);
}

static void test_line_cut_and_garbage(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    struct proxy *proxy = proxy_start(cluster_port(p->cluster));
    char *dsn = cluster_dsn(p->cluster, proxy_port(proxy), "sb_watch", "w", NULL);
    watcher_start(&w, dsn, NULL);
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 10, activity_live));
    proxy_cut(proxy);
    assert_true(watcher_until(&w, 5, is_down));
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_LOST);
    assert_true(watcher_until(&w, 10, activity_live));
    proxy_garbage(proxy, true);
    assert_true(watcher_until(&w, 20, is_down));
    proxy_garbage(proxy, false);
    assert_true(watcher_until(&w, 40, activity_live));
    watcher_end(&w);
    proxy_free(proxy);
    free(dsn);
}

/* One refresh is one round trip: at 200 ms latency an answer takes about that. */
static void test_slow_line(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    struct proxy *proxy = proxy_start(cluster_port(p->cluster));
    char *dsn = cluster_dsn(p->cluster, proxy_port(proxy), "sb_watch", "w", NULL);
    watcher_start(&w, dsn, NULL);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_LOCKS, 5)); /* prepares */
    proxy_latency(proxy, 100);
    for (int i = 0; i < PG_FEED_STATEMENTS; i++) {
        double best = 1e9;
        for (int j = 0; j < 4; j++) { /* others may keep the machine busy */
            assert_true(watcher_refresh(&w, i, 5));
            double cost = pg_server_feed(w.server, i)->cost_ms;
            assert_true(cost >= 195);
            best = cost < best ? cost : best;
        }
        assert_true(best < 380);
    }
    watcher_end(&w);
    proxy_free(proxy);
    free(dsn);
}

static bool act_is_up(void *data)
{
    struct watcher *w = data;
    return pg_connection_state(pg_server_act(w->server)) == CONNECTION_UP;
}

struct step_seen {
    bool done;
    enum step_outcome outcome;
};

static void step_sent(void *data, struct change *change, const char *report, const struct error *error)
{
    struct step_seen *seen = data;
    (void)report, (void)error;
    seen->outcome = change->steps[0].outcome;
    seen->done = true;
}

static bool step_is_seen(void *data)
{
    return ((struct step_seen *)data)->done;
}

/* All slots are taken: nobody can connect any more, but `act` is held and still ends a session. */
static void test_slots_exhausted_with_act_held(void **state)
{
    (void)state;
    struct platform p;
    struct watcher w;
    PGconn *taken[40];
    int count = 0;
    platform_start(&p, (const char *[]){"-c", "max_connections=12", NULL});
    char *app = cluster_dsn(p.cluster, 0, "app", "p", NULL);
    watcher_start(&w, p.watch, p.act);
    pg_server_unlock(w.server);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(watcher_until(&w, 10, act_is_up));
    for (; count < 40; count++) {
        taken[count] = PQconnectdb(app);
        if (PQstatus(taken[count]) != CONNECTION_OK)
            break;
    }
    assert_true(count > 2 && count < 40);
    expect_refusal(app, ERROR_SLOTS, "cannot connect", "connection", "act");
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));

    struct error error;
    char number[16], folder[] = "/tmp/signalbox-test-XXXXXX", command[80];
    const char *id = number;
    assert_non_null(mkdtemp(folder));
    snprintf(number, sizeof number, "%d", PQbackendPID(taken[0]));
    struct change *change = session_change_new(w.server, SESSION_TERMINATE, &id, 1, &error);
    assert_non_null(change);
    struct audit *audit = audit_new(w.loop, "test", folder);
    struct access *access = access_new(w.loop, &w.environment, audit, NULL, NULL);
    struct step_seen seen = {0};
    change_send(change, w.loop, access, audit, step_sent, &seen);
    assert_true(loop_until(w.loop, 10, step_is_seen, &seen));
    assert_int_equal(seen.outcome, STEP_DONE);
    talloc_free(change);
    access_free(access);
    audit_free(audit);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    for (int i = 0; i <= count; i++)
        PQfinish(taken[i]);
    free(app);
    watcher_end(&w);
    platform_end(&p);
}

/* ---- the connection itself ---- */

struct answers {
    int rows, errors, done;
    enum error_kind kind, done_kind;
    char last[64];
};

static void take_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct answers *answers = data;
    (void)index;
    if (error) {
        answers->errors++;
        answers->kind = error->kind;
        return;
    }
    answers->rows++;
    snprintf(answers->last, sizeof answers->last, "%s", pg_rows_count(rows) ? pg_rows_text(rows, 0, 0) : "");
}

static void take_done(void *data, const struct error *error)
{
    struct answers *answers = data;
    answers->done++;
    answers->done_kind = error ? error->kind : ERROR_NONE;
}

static bool answered(void *data)
{
    return ((struct answers *)data)->done > 0;
}

static struct pg_connection *connect(struct loop *loop, const char *dsn, const char *settings, bool keep)
{
    return pg_connection_new(loop, &(struct pg_connection_options){.label = "test: main as watch",
                                                                   .dsn = dsn,
                                                                   .application_name = "signalbox test",
                                                                   .settings = settings,
                                                                   .connect_timeout_s = 5,
                                                                   .keep = keep,
                                                                   .work = WORK_CONNECT});
}

static void ask(struct loop *loop, struct pg_connection *connection, const struct pg_statement *statements,
                int count, double deadline, struct answers *answers)
{
    *answers = (struct answers){0};
    pg_connection_send(connection, statements, count, deadline,
                       (struct pg_handler){take_rows, take_done, answers});
    assert_int_equal(answers->done, 0);
    assert_true(loop_until(loop, 10, answered, answers));
    assert_int_equal(answers->done, 1);
}

/* One error does not abort the rest, also when it is the preparing that fails; a failed name is retried. */
static void test_pipeline_goes_on_after_errors(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection = connect(loop, p->watch, "SET statement_timeout = '300ms'", true);
    struct answers answers;
    struct pg_statement statements[] = {
        {.sql = "SELECT 1/0"},
        {.name = "late", .sql = "SELECT 'here' FROM not_yet"},
        {.sql = "SELECT pg_sleep(5)"},
        {.sql = "SELECT $1::int + 1", .parameter_count = 1, .parameters = {"41"}},
        {.name = "good", .sql = "SELECT 'good'"}};
    ask(loop, connection, statements, 5, 5, &answers);
    assert_int_equal(answers.errors, 3);
    assert_int_equal(answers.kind, ERROR_TIMEOUT); /* statement_timeout */
    assert_int_equal(answers.rows, 2);
    assert_string_equal(answers.last, "good");
    assert_int_equal(answers.done_kind, ERROR_NONE);
    assert_int_equal(pg_connection_state(connection), CONNECTION_UP);
    cluster_do(p->cluster, "CREATE TABLE not_yet (); INSERT INTO not_yet DEFAULT VALUES;"
                           "GRANT SELECT ON not_yet TO sb_watch");
    ask(loop, connection, &statements[1], 1, 5, &answers);
    assert_string_equal(answers.last, "here");
    cluster_do(p->cluster, "REVOKE SELECT ON not_yet FROM sb_watch");
    ask(loop, connection, &statements[1], 1, 5, &answers);
    assert_int_equal(answers.kind, ERROR_DENIED);
    cluster_do(p->cluster, "DROP TABLE not_yet");
    /* Two questions at once are answered in order. */
    struct answers first = {0};
    pg_connection_send(connection, &statements[3], 1, 5, (struct pg_handler){take_rows, take_done, &first});
    ask(loop, connection, &statements[4], 1, 5, &answers);
    assert_string_equal(first.last, "42");
    assert_string_equal(answers.last, "good");
    /* DISCARD ALL, as a pooler does it: prepared anew at the next try. */
    ask(loop, connection, &(struct pg_statement){.sql = "DISCARD ALL"}, 1, 5, &answers);
    ask(loop, connection, &statements[4], 1, 5, &answers);
    assert_int_equal(answers.errors, 1);
    ask(loop, connection, &statements[4], 1, 5, &answers);
    assert_string_equal(answers.last, "good");
    pg_connection_free(connection);
    loop_free(loop);
}

struct slices {
    int calls, rows, last;
    bool done;
    int64_t sum;
};

static void take_slice(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct slices *slices = data;
    (void)index;
    assert_null(error);
    slices->calls++;
    slices->rows += pg_rows_count(rows);
    slices->last += pg_rows_last(rows);
    assert_true(pg_rows_count(rows) <= 100);
    for (int i = 0; i < pg_rows_count(rows); i++)
        slices->sum += pg_rows_integer(rows, i, 0) + (int64_t)pg_rows_real(rows, i, 1);
}

static void slices_done(void *data, const struct error *error)
{
    struct slices *slices = data;
    assert_null(error);
    slices->done = true;
}

static bool slices_are_done(void *data)
{
    return ((struct slices *)data)->done;
}

static void test_slices_in_binary(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection = connect(loop, p->watch, NULL, false);
    struct slices slices = {0};
    struct answers after = {0};
    pg_connection_send(
        connection,
        &(struct pg_statement){.sql = "SELECT -g::int8, 2 * g::float8 FROM generate_series(1, 950) g",
                               .binary = true,
                               .slice = 100},
        1, 5, (struct pg_handler){take_slice, slices_done, &slices});
    pg_connection_send(connection, &(struct pg_statement){.sql = "SELECT 'after'"}, 1, 5,
                       (struct pg_handler){take_rows, take_done, &after});
    assert_true(loop_until(loop, 5, answered, &after));
    assert_true(loop_until(loop, 5, slices_are_done, &slices));
    assert_int_equal(slices.calls, 10);
    assert_int_equal(slices.rows, 950);
    assert_int_equal(slices.last, 1);
    assert_int_equal(slices.sum, 950 * 951 / 2);
    assert_string_equal(after.last, "after");
    pg_connection_free(connection);
    loop_free(loop);
}

static bool is_busy_on_server(void *data)
{
    struct platform *p = data;
    char *count =
        cluster_sql(p->cluster, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    bool busy = strcmp(count, "1") == 0;
    free(count);
    return busy;
}

static void test_cancel(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection = connect(loop, p->watch, NULL, false);
    struct answers answers = {0};
    pg_connection_send(connection, &(struct pg_statement){.sql = "SELECT pg_sleep(60)"}, 1, 0,
                       (struct pg_handler){take_rows, take_done, &answers});
    assert_true(loop_until(loop, 5, is_busy_on_server, p));
    pg_connection_cancel(connection);
    assert_true(loop_until(loop, 5, answered, &answers));
    assert_int_equal(answers.kind, ERROR_CANCELLED);
    assert_int_equal(pg_connection_state(connection), CONNECTION_UP);
    pg_connection_free(connection);
    loop_free(loop);
}

/* The loop stands still while psql runs or the terminal is suspended. */
static void test_what_has_come_is_not_late(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection = connect(loop, p->watch, NULL, false);
    struct answers answers;
    ask(loop, connection, &(struct pg_statement){.sql = "SELECT 1"}, 1, 5, &answers);
    answers = (struct answers){0};
    pg_connection_send(connection, &(struct pg_statement){.sql = "SELECT 2"}, 1, 0.3,
                       (struct pg_handler){take_rows, take_done, &answers});
    for (double sent = clock_monotonic(); clock_monotonic() < sent + 0.6;)
        poll(NULL, 0, 10);
    assert_true(loop_until(loop, 10, answered, &answers));
    assert_int_equal(answers.done_kind, ERROR_NONE);
    assert_string_equal(answers.last, "2");
    pg_connection_free(connection);
    loop_free(loop);
}

static void test_deadline_and_one_try(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection = connect(loop, p->watch, NULL, false);
    struct answers answers;
    ask(loop, connection, &(struct pg_statement){.sql = "SELECT pg_sleep(3)"}, 1, 0.2, &answers);
    assert_int_equal(answers.rows + answers.errors, 0);
    assert_int_equal(answers.done_kind, ERROR_TIMEOUT);
    assert_int_equal(pg_connection_state(connection), CONNECTION_DOWN);
    /* Not kept: it stays down and says so, in a later turn, until it is opened anew. */
    ask(loop, connection, &(struct pg_statement){.sql = "SELECT 1"}, 1, 1, &answers);
    assert_int_equal(answers.done_kind, ERROR_TIMEOUT);
    pg_connection_open(connection);
    ask(loop, connection, &(struct pg_statement){.sql = "SELECT 1"}, 1, 1, &answers);
    assert_string_equal(answers.last, "1");
    /* Whoever still waits when it is freed is told. */
    answers = (struct answers){0};
    pg_connection_send(connection, &(struct pg_statement){.sql = "SELECT 1"}, 1, 1,
                       (struct pg_handler){take_rows, take_done, &answers});
    pg_connection_free(connection);
    assert_int_equal(answers.done, 1);
    assert_int_equal(answers.done_kind, ERROR_LOST);
    loop_free(loop);
}

static void test_bad_settings(void **state)
{
    struct platform *p = *state;
    struct loop *loop = loop_new();
    struct pg_connection *connection =
        connect(loop, p->watch, "SELECT set_config('no.such', 'x', false), 1/0", false);
    struct answers answers;
    ask(loop, connection, &(struct pg_statement){.sql = "SELECT 1"}, 1, 5, &answers);
    assert_int_equal(answers.done_kind, ERROR_LOST);
    assert_true(contains(pg_connection_error(connection)->why, "division by zero"));
    pg_connection_free(connection);
    loop_free(loop);
}

static int make(void **state)
{
    static struct platform p;
    platform_start(&p, NULL);
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
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_name_not_found),
        cmocka_unit_test(test_bad_dsn),
        cmocka_unit_test(test_wrong_password_and_role),
        cmocka_unit_test(test_missing_database),
        cmocka_unit_test(test_pg_hba_rejects),
        cmocka_unit_test(test_tls_is_required),
        cmocka_unit_test(test_tls_is_not_offered),
        cmocka_unit_test(test_slow_line),
        cmocka_unit_test(test_line_cut_and_garbage),
        cmocka_unit_test(test_hung_server),
        cmocka_unit_test(test_hung_while_connecting),
        cmocka_unit_test(test_restarted_comes_back),
        cmocka_unit_test(test_killed_and_started_again),
        cmocka_unit_test(test_slots_exhausted_with_act_held),
        cmocka_unit_test(test_pipeline_goes_on_after_errors),
        cmocka_unit_test(test_slices_in_binary),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_what_has_come_is_not_late),
        cmocka_unit_test(test_deadline_and_one_try),
        cmocka_unit_test(test_bad_settings),
    };
    return cmocka_run_group_tests_name("postgres faults", tests, make, end);
}
