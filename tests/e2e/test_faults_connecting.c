/* What a server can say instead of answering: each is told with what to do about it, and the other views go
 * on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

static int begin_group(void **state)
{
    struct stage *s = stage_new((const char *[]){"--ssl-only", NULL});
    cluster_do(s->cluster,
               "CREATE ROLE sb_outside LOGIN PASSWORD 'outside'; GRANT pg_monitor TO sb_outside;"
               "CREATE ROLE sb_nologin PASSWORD 'nologin';"
               "CREATE ROLE sb_plain LOGIN PASSWORD 'plain';"
               "CREATE ROLE sb_impatient LOGIN PASSWORD 'impatient'; GRANT pg_monitor TO sb_impatient;"
               "ALTER ROLE sb_impatient SET statement_timeout = '1ms'");
    cluster_do(s->cluster, "CREATE DATABASE bare");
    char *hba;
    if (asprintf(&hba, "sed -i '1i host all sb_outside 127.0.0.1/32 reject' '%s/data/pg_hba.conf'",
                 cluster_folder(s->cluster)) < 0)
        abort();
    int status = system(hba);
    free(hba);
    assert_int_equal(status, 0);
    cluster_do(s->cluster, "SELECT pg_reload_conf()");
    *state = s;
    return 0;
}

/* The screen says the word in its header and the error with what to do; it takes keys all the time. */
static void expect_error(struct stage *s, const char *dsn, const char *word, const char *message,
                         const char *todo)
{
    struct terminal *t =
        stage_open_with(s, 32, 160, NULL, NULL, (const char *const[]){"--postgres", dsn, NULL});
    terminal_wait(t, 15, message);
    terminal_wait(t, 5, word);
    terminal_wait(t, 5, todo);
    terminal_keys(t, "?");
    terminal_wait(t, 5, "› help");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
    struct stage_run run = stage_command(s, "queries", "--json", "--postgres", dsn);
    assert_int_equal(run.status, 1);
    if (!strstr(run.out, message)) {
        print_error("%.1500s\n", run.out);
        fail_msg("the source does not say \"%s\"", message);
    }
    stage_run_free(&run);
}

static void dsn(char *buffer, size_t size, const struct stage *s, const char *rest)
{
    snprintf(buffer, size, "host=127.0.0.1 port=%d %s", cluster_port(s->cluster), rest);
}

static void refused(void **state)
{
    expect_error(*state, "host=127.0.0.1 port=1 user=sb_watch dbname=postgres", "refused",
                 "Connection refused", "Does PostgreSQL run there");
}

static void name_not_found(void **state)
{
    expect_error(*state, "host=no-such-host.invalid user=sb_watch dbname=postgres", "name",
                 "no-such-host.invalid", "Check the host's name");
}

static void wrong_password(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_act password=wrong dbname=postgres");
    expect_error(*state, text, "auth", "password authentication failed", "Correct the password");
}

static void missing_role(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_nobody password=x dbname=postgres");
    expect_error(*state, text, "auth", "password authentication failed", "check that the role exists");
}

static void role_without_login(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_nologin password=nologin dbname=postgres");
    expect_error(*state, text, "auth", "not permitted to log in", "may LOGIN");
}

static void missing_database(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_act password=acting dbname=nowhere");
    expect_error(*state, text, "refused", "does not exist", "Correct the database's name");
}

static void tls_required(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_watch password=watching dbname=postgres sslmode=disable");
    expect_error(*state, text, "tls", "no encryption", "sslmode=require");
    struct stage *s = *state;
    dsn(text, sizeof text, s, "user=sb_watch password=watching dbname=postgres sslmode=require");
    struct terminal *t = stage_open(s, "--postgres", text);
    terminal_wait(t, 15, "CREATE EXTENSION");
    terminal_keys(t, "q");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
}

static void rejected_by_pg_hba(void **state)
{
    char text[256];
    dsn(text, sizeof text, *state, "user=sb_outside password=outside dbname=postgres");
    expect_error(*state, text, "refused", "pg_hba.conf", "Add a line");
}

/* The extension is missing in this database: said with what to do; sessions and locks are there. */
static void extension_missing(void **state)
{
    struct stage *s = *state;
    char text[256];
    dsn(text, sizeof text, s, "user=sb_act password=acting dbname=bare");
    struct terminal *t =
        stage_open_with(s, 32, 160, NULL, NULL, (const char *const[]){"--postgres", text, NULL});
    terminal_wait(t, 15, "CREATE EXTENSION pg_stat_statements");
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "checkpointer");
    terminal_wait_gone(t, 5, "CREATE EXTENSION pg_stat_statements");
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "nobody waits");
    terminal_keys(t, "q");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
    struct stage_run run = stage_command(s, "queries", "--json", "--postgres", text);
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.out, "CREATE EXTENSION pg_stat_statements"));
    stage_run_free(&run);
}

/* A role that may not look into others' sessions sees what it may, and the rest is said. */
static void role_without_monitor(void **state)
{
    struct stage *s = *state;
    char text[256];
    stage_begin(stage_session(s, "hidden"), "SELECT pg_sleep(600)");
    dsn(text, sizeof text, s, "user=sb_plain password=plain dbname=postgres");
    struct terminal *t = stage_open_with(
        s, 32, 160, NULL, NULL, (const char *const[]){"--postgres", text, "--view", "activity", NULL});
    terminal_wait(t, 15, "pg_monitor");
    terminal_wait_gone(t, 5, "pg_sleep");
    terminal_keys(t, "q");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
}

/* The role's own statement_timeout is 1 ms: either ours is set over it, or it is said; never a crash or a
 * loop. */
static void lock_timeout(void **state)
{
    struct stage *s = *state;
    char text[256];
    PGconn *locker = cluster_connect(s->cluster, NULL);
    dsn(text, sizeof text, s, "user=sb_impatient password=impatient dbname=postgres");
    struct terminal *t = stage_open_with(
        s, 32, 160, NULL, NULL, (const char *const[]){"--postgres", text, "--view", "statements", NULL});
    terminal_wait(t, 15, "CREATE EXTENSION");
    /* A view that the statements need is locked away: the query runs into our lock timeout, and the rows
     * stay. */
    stage_do(locker, "BEGIN");
    stage_do(locker, "LOCK pg_stat_statements_info IN ACCESS EXCLUSIVE MODE");
    terminal_keys(t, "F5");
    terminal_wait(t, 40, "lock timeout");
    terminal_wait(t, 5, "CREATE EXTENSION");
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "checkpointer");
    stage_do(locker, "ROLLBACK");
    terminal_keys(t, "F2", "F5");
    terminal_wait_gone(t, 60, "lock timeout");
    terminal_keys(t, "q");
    terminal_expect_exit(t, 15, 0);
    terminal_end(t);
    PQfinish(locker);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, stage_calm_setup)
    const struct CMUnitTest tests[] = {
        CASE(refused),
        CASE(name_not_found),
        CASE(wrong_password),
        CASE(missing_role),
        CASE(role_without_login),
        CASE(missing_database),
        CASE(tls_required),
        CASE(rejected_by_pg_hba),
        CASE(extension_missing),
        CASE(role_without_monitor),
        CASE(lock_timeout),
    };
    return cmocka_run_group_tests_name("faults when connecting", tests, begin_group, stage_end_group);
}
