/* The cluster and the proxy of the harness: they must do to a server, and to the line to it, what they say.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cluster.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/proxy.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int start(void **state)
{
    *state = cluster_start((const char *[]){"-c", "max_connections=17", NULL});
    return 0;
}

static int stop(void **state)
{
    cluster_free(*state);
    return 0;
}

/* Waits for an answer that PQsendQuery asked for; false when none came within the time. */
static bool answered(PGconn *connection, int milliseconds)
{
    double deadline = now() + milliseconds / 1000.0;
    while (PQisBusy(connection) && PQstatus(connection) == CONNECTION_OK) {
        int left = (int)((deadline - now()) * 1000);
        struct pollfd ready = {.fd = PQsocket(connection), .events = POLLIN};
        if (left <= 0 || poll(&ready, 1, left) <= 0)
            return false;
        if (!PQconsumeInput(connection))
            break;
    }
    return true;
}

static void drain(PGconn *connection)
{
    PGresult *result;
    while ((result = PQgetResult(connection)))
        PQclear(result);
}

static void answers_sql(void **state)
{
    struct cluster *c = *state;
    char *cell = cluster_sql(c, "show max_connections");
    assert_string_equal(cell, "17");
    free(cell);
    assert_null(cluster_sql(c, "select null"));
    cluster_do(c, "create table t (x int); insert into t values (4)");
    assert_true(cluster_await(c, 5, "select x from t", "4"));
    assert_false(cluster_await(c, 0.1, "select x from t", "5"));
}

static void lets_others_in(void **state)
{
    struct cluster *c = *state;
    cluster_do(c, "create role guest login password 'it is'");
    char *dsn = cluster_dsn(c, 0, "guest", "it is", NULL);
    PGconn *connection = PQconnectdb(dsn);
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    PQfinish(connection);
    free(dsn);
    dsn = cluster_dsn(c, 0, "guest", "wrong", NULL);
    connection = PQconnectdb(dsn);
    assert_int_equal(PQstatus(connection), CONNECTION_BAD);
    PQfinish(connection);
    free(dsn);
}

static void hangs_and_goes_on(void **state)
{
    struct cluster *c = *state;
    PGconn *connection = cluster_connect(c, NULL);
    cluster_pause(c);
    assert_true(PQsendQuery(connection, "select 1"));
    assert_false(answered(connection, 200));
    cluster_resume(c);
    assert_true(answered(connection, 10000));
    PQfinish(connection);
}

static void is_killed_restarted_and_halted(void **state)
{
    struct cluster *c = *state;
    pid_t first = cluster_pid(c);
    int port = cluster_port(c);
    PGconn *connection = cluster_connect(c, NULL);
    cluster_kill(c);
    PGresult *result = PQexec(connection, "select 1");
    assert_int_not_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    PQfinish(connection);
    cluster_again(c);
    assert_int_not_equal(cluster_pid(c), first);
    assert_true(cluster_await(c, 1, "select 1", "1"));
    cluster_restart(c, "fast");
    assert_true(cluster_await(c, 1, "select 1", "1"));
    cluster_halt(c);
    cluster_again(c);
    assert_true(cluster_await(c, 1, "select 1", "1"));
    assert_int_equal(cluster_port(c), port);
}

/* Connects through a proxy; the caller frees both. */
static PGconn *through(struct cluster *c, struct proxy **p)
{
    *p = proxy_start(cluster_port(c));
    char *dsn = cluster_dsn(c, proxy_port(*p), NULL, NULL, NULL);
    PGconn *connection = PQconnectdb(dsn);
    free(dsn);
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    return connection;
}

static void proxy_delays_and_limits(void **state)
{
    struct proxy *p;
    PGconn *connection = through(*state, &p);
    proxy_latency(p, 60);
    double before = now();
    PQclear(PQexec(connection, "select 1"));
    double took = now() - before;
    assert_true(took >= 0.120 && took < 2);
    proxy_latency(p, 0);
    proxy_bandwidth(p, 100000);
    before = now();
    PGresult *result = PQexec(connection, "select repeat('x', 30000)");
    took = now() - before;
    assert_int_equal(PQgetlength(result, 0, 0), 30000);
    PQclear(result);
    assert_true(took >= 0.25 && took < 3);
    proxy_bandwidth(p, 0);
    before = now();
    result = PQexec(connection, "select repeat('x', 3000000)");
    assert_int_equal(PQgetlength(result, 0, 0), 3000000);
    PQclear(result);
    assert_true(proxy_bytes(p, true) > 3030000);
    PQfinish(connection);
    proxy_free(p);
}

static void proxy_hangs_cuts_and_refuses(void **state)
{
    struct cluster *c = *state;
    struct proxy *p;
    PGconn *connection = through(c, &p);
    proxy_hang(p, true);
    assert_true(PQsendQuery(connection, "select 1"));
    assert_false(answered(connection, 200));
    proxy_hang(p, false);
    assert_true(answered(connection, 10000));
    drain(connection);
    assert_int_equal(proxy_open(p), 1);

    proxy_refuse(p, true);
    PGresult *result = PQexec(connection, "select 1");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK); /* what is open goes on */
    PQclear(result);
    char *dsn = cluster_dsn(c, proxy_port(p), NULL, NULL, NULL);
    PGconn *second = PQconnectdb(dsn);
    assert_int_equal(PQstatus(second), CONNECTION_BAD);
    assert_non_null(strstr(PQerrorMessage(second), "refused"));
    PQfinish(second);
    proxy_refuse(p, false);

    proxy_cut(p);
    assert_int_equal(proxy_open(p), 0);
    result = PQexec(connection, "select 1");
    assert_int_not_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    PQfinish(connection);
    connection = PQconnectdb(dsn);
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    assert_int_equal(proxy_accepted(p), 2);
    PQfinish(connection);
    free(dsn);
    proxy_free(p);
}

static void proxy_talks_garbage(void **state)
{
    struct proxy *p;
    PGconn *connection = through(*state, &p);
    proxy_garbage(p, true);
    assert_true(PQsendQuery(connection, "select 1"));
    struct pollfd ready = {.fd = PQsocket(connection), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 10000), 1);
    unsigned char bytes[4];
    assert_true(read(ready.fd, bytes, sizeof bytes) == sizeof bytes);
    assert_int_not_equal(bytes[0], 'T'); /* what the server's answer begins with */
    PQfinish(connection);
    proxy_free(p);
}

static void proxy_passes_a_refusal_on(void **state)
{
    (void)state;
    struct proxy *p = proxy_start(1); /* nobody listens on port 1 */
    char dsn[128];
    snprintf(dsn, sizeof dsn, "host=127.0.0.1 port=%d connect_timeout=10", proxy_port(p));
    PGconn *connection = PQconnectdb(dsn);
    assert_int_equal(PQstatus(connection), CONNECTION_BAD);
    assert_int_equal(proxy_open(p), 0);
    PQfinish(connection);
    proxy_free(p);
}

static void goes_away_when_the_test_is_killed(void **state)
{
    (void)state;
    int report[2];
    assert_int_equal(pipe(report), 0);
    pid_t child = fork();
    if (child == 0) {
        close(report[0]);
        struct cluster *c = cluster_start(NULL);
        pid_t postmaster = cluster_pid(c);
        (void)!write(report[1], &postmaster, sizeof postmaster);
        dprintf(report[1], "%s", cluster_folder(c));
        raise(SIGKILL);
    }
    close(report[1]);
    pid_t postmaster;
    char folder[512] = "";
    assert_int_equal(read(report[0], &postmaster, sizeof postmaster), sizeof postmaster);
    assert_true(read(report[0], folder, sizeof folder - 1) > 0);
    close(report[0]);
    waitpid(child, NULL, 0);
    double deadline = now() + 20;
    char program[64], target[256];
    snprintf(program, sizeof program, "/proc/%d/exe",
             (int)postmaster); /* goes with the process, also of a zombie */
    while ((access(folder, F_OK) == 0 || readlink(program, target, sizeof target) > 0) && now() < deadline)
        poll(NULL, 0, 20);
    assert_int_equal(readlink(program, target, sizeof target), -1);
    assert_int_equal(access(folder, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_sql),
        cmocka_unit_test(lets_others_in),
        cmocka_unit_test(hangs_and_goes_on),
        cmocka_unit_test(proxy_delays_and_limits),
        cmocka_unit_test(proxy_hangs_cuts_and_refuses),
        cmocka_unit_test(proxy_talks_garbage),
        cmocka_unit_test(proxy_passes_a_refusal_on),
        cmocka_unit_test(is_killed_restarted_and_halted),
        cmocka_unit_test(goes_away_when_the_test_is_killed),
    };
    return cmocka_run_group_tests_name("harness cluster", tests, start, stop);
}
