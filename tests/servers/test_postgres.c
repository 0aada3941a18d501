/* Watching a real server: sessions, statements, locks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/watcher.h"

struct fixture {
    struct cluster *cluster;
    char *watch, *act;
};

static bool is_up(void *data)
{
    struct watcher *w = data;
    return pg_server_state(w->server) == CONNECTION_UP && pg_server_version_text(w->server);
}

static void start(struct watcher *w, struct fixture *f)
{
    watcher_start(w, f->watch, f->act);
    assert_true(watcher_until(w, 10, is_up));
}

static void test_connect(void **state)
{
    struct watcher w;
    start(&w, *state);
    assert_string_equal(pg_server_watch_role(w.server), "sb_watch");
    assert_string_equal(pg_server_database(w.server), "postgres");
    assert_false(pg_server_watch_is_superuser(w.server));
    assert_false(pg_server_in_recovery(w.server));
    assert_int_equal(pg_server_error(w.server)->kind, ERROR_NONE);
    assert_int_equal(pg_server_note(w.server)->kind, ERROR_NONE);
    assert_int_equal(pg_server_version(w.server) / 10000, atoi(pg_server_version_text(w.server)));
    assert_true(watcher_refresh(&w, PG_FEED_ACTIVITY, 5));
    assert_true(watcher_refresh(&w, PG_FEED_LOCKS, 5));
    assert_true(watcher_refresh(&w, PG_FEED_STATEMENTS, 5));
    assert_int_equal(pg_server_locks(w.server)->count, 0);
    watcher_end(&w);
}

static int make_fixture(void **state)
{
    static struct fixture f;
    f.cluster = cluster_start(NULL);
    cluster_do(f.cluster, "CREATE EXTENSION pg_stat_statements;"
                          "CREATE ROLE sb_watch LOGIN PASSWORD 'w' IN ROLE pg_monitor;"
                          "CREATE ROLE sb_act LOGIN PASSWORD 'a' IN ROLE pg_signal_backend, pg_monitor");
    f.watch = cluster_dsn(f.cluster, 0, "sb_watch", "w", NULL);
    f.act = cluster_dsn(f.cluster, 0, "sb_act", "a", NULL);
    *state = &f;
    return 0;
}

static int end_fixture(void **state)
{
    struct fixture *f = *state;
    cluster_free(f->cluster);
    free(f->watch);
    free(f->act);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
    };
    return cmocka_run_group_tests_name("postgres", tests, make_fixture, end_fixture);
}
