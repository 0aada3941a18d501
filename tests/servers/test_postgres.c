/* Watching a real server: facts, sessions and their history, statements with exact deltas. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

static void start(struct watcher *w, struct platform *p)
{
    watcher_start(w, p->watch, p->act);
    assert_true(watcher_until(w, 10, watcher_is_up));
}

static void test_facts(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    start(&w, p);
    assert_string_equal(pg_server_watch_role(w.server), "sb_watch");
    assert_string_equal(pg_server_database(w.server), "postgres");
    assert_false(pg_server_watch_is_superuser(w.server));
    assert_false(pg_server_in_recovery(w.server));
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_NONE);
    assert_int_equal(pg_server_note(w.server)->kind, ERROR_NONE);
    char *version = cluster_sql(p->cluster, "SHOW server_version_num");
    assert_int_equal(pg_server_version(w.server), atoi(version));
    free(version);
    version = cluster_sql(p->cluster, "SELECT split_part(current_setting('server_version'), ' ', 1)");
    assert_string_equal(pg_server_version_text(w.server), version);
    free(version);
    watcher_end(&w);
}

static void test_superuser_is_flagged(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    char *dsn = cluster_dsn(p->cluster, 0, NULL, NULL, NULL);
    watcher_start(&w, dsn, NULL);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(pg_server_watch_is_superuser(w.server));
    watcher_end(&w);
    free(dsn);
}

static const struct session *session_of(struct watcher *w, PGconn *conn)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", PQbackendPID(conn));
    return activity_find(pg_server_activity(w->server), pid);
}

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

static void test_sessions(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *idle = cluster_connect(p->cluster, "postgres"), *open = cluster_connect(p->cluster, "postgres");
    run(idle, "SET application_name = 'billing'; SELECT 'idle text'");
    run(open, "CREATE TEMP TABLE x (); BEGIN; INSERT INTO x DEFAULT VALUES");
    start(&w, p);
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    const struct session *s = session_of(&w, idle);
    assert_non_null(s);
    assert_string_equal(s->state, "idle");
    assert_string_equal(s->application, "billing");
    assert_string_equal(s->role, "owner");
    assert_string_equal(s->database, "postgres");
    assert_string_equal(s->client, "127.0.0.1");
    assert_string_equal(s->backend_type, "client backend");
    assert_true(isnan(s->transaction_s) && isnan(s->statement_s));
    assert_true(s->session_s >= 0 && s->session_s < 60);
    assert_non_null(strstr(s->query, "idle text"));
    assert_false(s->has_xid);
    assert_string_equal(pg_server_activity(w.server)->server, "main");
    assert_true(s->snapshot == pg_server_activity(w.server));
    char sql[160], *start_text;
    snprintf(sql, sizeof sql,
             "SET timezone = 'UTC'; SELECT backend_start FROM pg_stat_activity WHERE pid = %d", s->pid);
    start_text = cluster_sql(p->cluster, sql);
    assert_string_equal(s->backend_start, start_text);
    assert_true(activity_find(pg_server_activity(w.server), s->id) == s);
    char wrong[96];
    snprintf(wrong, sizeof wrong, "%d@2001-01-01 00:00:00+00", s->pid);
    assert_null(activity_find(pg_server_activity(w.server), wrong));
    free(start_text);
    s = session_of(&w, open);
    assert_string_equal(s->state, "idle in transaction");
    assert_true(s->has_xid);
    assert_true(s->transaction_s >= 0 && s->statement_s >= 0);
    assert_int_equal(s->blocked_by_count, 0);
    assert_int_equal(pg_server_activity(w.server)->hidden, 0);
    for (size_t i = 0; i < pg_server_activity(w.server)->count; i++) {
        const char *application = pg_server_activity(w.server)->sessions[i].application;
        assert_true(!application || strcmp(application, "signalbox watch") != 0);
    }
    watcher_end(&w);
    PQfinish(idle);
    PQfinish(open);
}

static void test_truncated_and_secret_texts(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *conn = cluster_connect(p->cluster, "postgres"), *secret = cluster_connect(p->cluster, "postgres");
    char text[1600] = "SELECT '";
    run(conn, "CREATE ROLE renamed");
    memset(text + 8, 'x', 1400);
    strcpy(text + 1408, "'");
    run(conn, text);
    run(secret, "ALTER ROLE renamed PASSWORD 'hunter2'");
    start(&w, p);
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    assert_true(session_of(&w, conn)->query_truncated);
    assert_false(session_of(&w, secret)->query_truncated);
    assert_null(strstr(session_of(&w, secret)->query, "hunter2"));
    assert_non_null(strstr(session_of(&w, secret)->query, "ALTER ROLE renamed"));
    watcher_end(&w);
    PQfinish(conn);
    PQfinish(secret);
}

static void test_without_pg_monitor(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *conn = cluster_connect(p->cluster, "postgres");
    char *dsn = cluster_dsn(p->cluster, 0, "app", "p", NULL);
    watcher_start(&w, dsn, NULL);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    assert_true(pg_server_activity(w.server)->hidden > 0);
    assert_null(session_of(&w, conn)->query);
    assert_int_equal(pg_server_note(w.server)->kind, ERROR_DENIED);
    assert_non_null(strstr(pg_server_note(w.server)->todo, "GRANT pg_monitor TO \"app\""));
    watcher_end(&w);
    PQfinish(conn);
    free(dsn);
}

static bool has_three_seconds(void *data)
{
    struct watcher *w = data;
    return pg_server_history(w->server)->count >= 4;
}

static void test_history_has_no_gaps(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *busy = cluster_connect(p->cluster, "postgres");
    start(&w, p);
    assert_int_equal(PQsendQuery(busy, "SELECT pg_sleep(60)"), 1);
    assert_true(cluster_await(p->cluster, 5,
                              "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1"));
    feed_want(pg_server_feed(w.server, PG_FEED_ACTIVITY), true);
    assert_true(watcher_until(&w, 10, has_three_seconds));
    const struct activity_history *history = pg_server_history(w.server);
    for (size_t i = 0; i < history->count; i++) {
        const struct activity_sample *sample = &history->samples[(history->first + i) % ACTIVITY_HISTORY];
        assert_int_equal(sample->second, history->samples[history->first].second + (int64_t)i);
        assert_int_equal(sample->active[WAIT_OTHER], 1);
        assert_int_equal(sample->active[WAIT_RUNNING] + sample->active[WAIT_IO] + sample->active[WAIT_LOCK],
                         0);
    }
    watcher_end(&w);
    PQfinish(busy);
}

/* ---- statements ---- */

static const struct statement *statement_like(struct watcher *w, const char *part)
{
    const struct statements_snapshot *snapshot = pg_server_statements(w->server);
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strstr(snapshot->statements[i].query, part))
            return &snapshot->statements[i];
    return NULL;
}

static bool texts_are_there(void *data)
{
    struct watcher *w = data;
    const struct statements_snapshot *snapshot = pg_server_statements(w->server);
    for (size_t i = 0; i < snapshot->count; i++)
        if (!*snapshot->statements[i].query)
            return false;
    return true;
}

static void read_statements(struct watcher *w)
{
    assert_true(watcher_refresh(w, PG_FEED_STATEMENTS, 5));
    assert_true(watcher_until(w, 5, texts_are_there));
}

static void test_deltas(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *conn = cluster_connect(p->cluster, "postgres");
    run(conn, "CREATE TEMP TABLE delta_t (a int)");
    for (int i = 0; i < 3; i++)
        run(conn, "SELECT 1 AS delta_mark FROM generate_series(1, 7)");
    start(&w, p);
    read_statements(&w);
    assert_int_equal(pg_server_statements(w.server)->basis, BASIS_OPENED);
    assert_int_equal(pg_server_statements(w.server)->count, 0);
    for (int i = 0; i < 5; i++)
        run(conn, "SELECT 1 AS delta_mark FROM generate_series(1, 7)");
    run(conn, "INSERT INTO delta_t SELECT generate_series(1, 11)");
    read_statements(&w);
    const struct statement *s = statement_like(&w, "delta_mark");
    assert_non_null(s);
    assert_int_equal(s->calls, 5);
    assert_int_equal(s->rows, 35);
    assert_float_equal(s->rows_per_call, 7, 1e-9);
    assert_float_equal(s->mean_ms, s->total_ms / 5, 1e-9);
    assert_true(isnan(s->max_ms));
    assert_string_equal(s->database, "postgres");
    assert_string_equal(s->role, "owner");
    assert_true(s->top_level);
    s = statement_like(&w, "INSERT INTO delta_t");
    assert_int_equal(s->calls, 1);
    assert_int_equal(s->rows, 11);
    double shares = 0;
    for (size_t i = 0; i < pg_server_statements(w.server)->count; i++)
        shares += pg_server_statements(w.server)->statements[i].share_percent;
    assert_float_equal(shares, 100, 1e-6);
    run(conn, "SELECT 1 AS delta_mark FROM generate_series(1, 7)");
    read_statements(&w);
    assert_int_equal(statement_like(&w, "delta_mark")->calls, 6);
    pg_server_statements_basis(w.server, BASIS_INTERVAL);
    assert_int_equal(statement_like(&w, "delta_mark")->calls, 1);
    assert_null(statement_like(&w, "INSERT INTO delta_t"));
    pg_server_statements_basis(w.server, BASIS_RESET);
    assert_int_equal(statement_like(&w, "delta_mark")->calls, 9);
    assert_int_equal(statement_like(&w, "delta_mark")->rows, 63);
    assert_false(isnan(statement_like(&w, "delta_mark")->max_ms));
    assert_true(pg_server_statements(w.server)->since > 0);
    assert_false(pg_server_statements(w.server)->reset_seen);
    watcher_end(&w);
    PQfinish(conn);
}

static void test_reset_counts_from_zero(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    PGconn *conn = cluster_connect(p->cluster, "postgres");
    for (int i = 0; i < 2; i++)
        run(conn, "SELECT 2 AS reset_mark");
    start(&w, p);
    read_statements(&w);
    run(conn, "SELECT pg_stat_statements_reset()");
    for (int i = 0; i < 4; i++) /* more than before: only the reset's time tells */
        run(conn, "SELECT 2 AS reset_mark");
    read_statements(&w);
    assert_int_equal(statement_like(&w, "reset_mark")->calls, 4);
    assert_true(pg_server_statements(w.server)->reset_seen);
    run(conn, "SELECT pg_stat_statements_reset(0, 0, queryid) FROM pg_stat_statements WHERE query LIKE "
              "'%reset_mark%' AND query NOT LIKE '%queryid%'");
    run(conn, "SELECT 2 AS reset_mark");
    read_statements(&w);
    assert_int_equal(statement_like(&w, "reset_mark")->calls, 1);
    watcher_end(&w);
    PQfinish(conn);
}

static void test_eviction_is_told(void **state)
{
    (void)state;
    struct platform p;
    struct watcher w;
    platform_start(&p, (const char *[]){"-c", "pg_stat_statements.max=100", NULL});
    start(&w, &p);
    assert_true(watcher_refresh(&w, PG_FEED_STATEMENTS, 5));
    assert_int_equal(pg_server_statements(w.server)->evicted, 0);
    PGconn *conn = cluster_connect(p.cluster, "postgres");
    char sql[1200] = "SELECT 1";
    for (int i = 0; i < 250; i++) {
        strcat(sql, ",1");
        run(conn, sql);
    }
    assert_true(watcher_refresh(&w, PG_FEED_STATEMENTS, 5));
    assert_true(pg_server_statements(w.server)->evicted > 0);
    assert_true(pg_server_statements(w.server)->entries <= 100);
    PQfinish(conn);
    watcher_end(&w);
    platform_end(&p);
}

static int64_t text_reads(struct platform *p)
{
    char *calls =
        cluster_sql(p->cluster, "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query "
                                "LIKE 'SELECT queryid, query FROM%' AND userid = 'sb_watch'::regrole");
    int64_t reads = atoll(calls);
    free(calls);
    return reads;
}

static void test_texts_are_read_for_new_ids_only(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    start(&w, p);
    int64_t reads = -1;
    /* Our own statements are new ids too, once. */
    for (int i = 0, same = 0; i < 20 && same < 3; i++) {
        read_statements(&w);
        same = text_reads(p) == reads ? same + 1 : 0;
        reads = text_reads(p);
    }
    for (int i = 0; i < 3; i++)
        read_statements(&w);
    assert_int_equal(text_reads(p), reads);
    PGconn *conn = cluster_connect(p->cluster, "postgres");
    run(conn, "SELECT 3 AS brand_new_mark, 4");
    read_statements(&w);
    assert_non_null(statement_like(&w, "brand_new_mark"));
    assert_int_equal(text_reads(p), reads + 1);
    PQfinish(conn);
    watcher_end(&w);
}

/* The extension lives where somebody put it. */
static void test_extension_in_another_schema(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    cluster_do(p->cluster, "CREATE SCHEMA \"Odd one\"; GRANT USAGE ON SCHEMA \"Odd one\" TO PUBLIC;"
                           "ALTER EXTENSION pg_stat_statements SET SCHEMA \"Odd one\"");
    start(&w, p);
    bool there = watcher_refresh(&w, PG_FEED_STATEMENTS, 5);
    cluster_do(p->cluster, "ALTER EXTENSION pg_stat_statements SET SCHEMA public");
    assert_true(there);
    assert_true(pg_server_statements(w.server)->entries > 0);
    watcher_end(&w);
}

static void test_extension_missing(void **state)
{
    struct platform *p = *state;
    struct watcher w;
    cluster_do(p->cluster, "CREATE DATABASE bare");
    char *dsn = cluster_dsn(p->cluster, 0, "sb_watch", "w", "bare");
    watcher_start(&w, dsn, NULL);
    assert_true(watcher_until(&w, 10, watcher_is_up));
    struct feed *feed = pg_server_feed(w.server, PG_FEED_STATEMENTS);
    feed_want(feed, true);
    assert_false(watcher_refresh(&w, PG_FEED_STATEMENTS, 5));
    assert_int_equal(feed->state, FEED_UNAVAILABLE);
    assert_int_equal(feed->error.kind, ERROR_UNSUPPORTED);
    assert_non_null(strstr(feed->error.todo, "CREATE EXTENSION pg_stat_statements"));
    assert_non_null(strstr(feed->error.why, "bare"));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    char *sql = cluster_sql_in(p->cluster, "bare", "CREATE EXTENSION pg_stat_statements");
    free(sql);
    assert_true(watcher_refresh(&w, PG_FEED_STATEMENTS, 5));
    watcher_end(&w);
    free(dsn);
    cluster_do(p->cluster, "DROP DATABASE bare WITH (FORCE)");
}

/* Freed at any moment: what the sanitizers say is the test. */
static void test_free_at_any_stage(void **state)
{
    struct platform *p = *state;
    for (int stage = 0; stage < 80; stage++) {
        struct watcher w;
        watcher_start(&w, p->watch, p->act);
        for (int i = 0; i < PG_FEEDS; i++)
            feed_want(pg_server_feed(w.server, i), true);
        if (stage % 3 == 0)
            pg_server_unlock(w.server);
        watcher_run(&w, (stage - stage % 2) * 0.001);
        if (stage % 2) { /* the loop right behind the server: workers are left to themselves */
            watcher_end(&w);
            continue;
        }
        pg_server_free(w.server);
        w.server = NULL;
        watcher_run(&w, 0.05); /* jobs of workers come back */
        watcher_end(&w);
    }
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
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_superuser_is_flagged),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_truncated_and_secret_texts),
        cmocka_unit_test(test_without_pg_monitor),
        cmocka_unit_test(test_history_has_no_gaps),
        cmocka_unit_test(test_deltas),
        cmocka_unit_test(test_reset_counts_from_zero),
        cmocka_unit_test(test_eviction_is_told),
        cmocka_unit_test(test_texts_are_read_for_new_ids_only),
        cmocka_unit_test(test_extension_in_another_schema),
        cmocka_unit_test(test_extension_missing),
        cmocka_unit_test(test_free_at_any_stage),
    };
    return cmocka_run_group_tests_name("postgres", tests, make, end);
}
