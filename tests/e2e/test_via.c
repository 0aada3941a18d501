/* Postgres through a bastion, as people use it: the batch and the console on a real cluster behind a real
 * sshd, with TLS demanded, the bastion killed and back, the far end refused, an unknown host key. */
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"
#include "tests/harness/stage.h"

struct ground {
    struct stage *stage;
    struct ssh_site *site;
    struct sshd *bastion;
    char *run; /* XDG_RUNTIME_DIR: where tunnels end */
    char *variable;
    char text[4096], pid[16];
};

static int begin_group(void **state, const char *const options[])
{
    struct ground *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->site = ssh_site_new();
    g->stage = stage_new(options);
    g->bastion = sshd_start(g->site, "bastion", (struct sshd_options){0});
    assert_true(asprintf(&g->run, "%s/run", g->stage->home) > 0);
    assert_true(asprintf(&g->variable, "XDG_RUNTIME_DIR=%s", g->run) > 0);
    assert_int_equal(mkdir(g->run, 0700), 0);
    *state = g;
    return 0;
}

static int begin_plain(void **state)
{
    return begin_group(state, NULL);
}

static int begin_with_tls(void **state)
{
    return begin_group(state, (const char *const[]){"--ssl-only", NULL});
}

static int end_group(void **state)
{
    struct ground *g = *state;
    stage_free(g->stage);
    ssh_site_free(g->site);
    free(g->run);
    free(g->variable);
    free(g);
    return 0;
}

static int calm(void **state)
{
    struct ground *g = *state;
    stage_calm(g->stage);
    return 0;
}

/* The environment "school" whose server is reached through `via`; `add` is added to each DSN. */
static void write_environment(struct ground *g, const char *via, const char *host, int port, const char *add)
{
    char login[400];
    snprintf(login, sizeof login, "host=%s port=%d dbname=postgres passfile=%s/passwords %s", host, port,
             g->stage->home, add);
    snprintf(g->text, sizeof g->text,
             "environment: {kind: staging}\nssh: {config: %s, transport: libssh2}\npostgres:\n"
             "  main: {watch: \"%s user=sb_watch\", read: \"%s user=sb_read\", act: \"%s user=sb_act\", via: "
             "%s}\naccess: {locked: false}\n",
             ssh_site_config(g->site), login, login, login, via);
    stage_config(g->stage, "school.yaml", g->text);
}

static struct stage_run batch(struct ground *g)
{
    const char *env[] = {g->variable, NULL};
    return stage_command_with(
        g->stage, env,
        (const char *const[]){"queries", "-e", "school", "--view", "activity", "--json", NULL});
}

static struct terminal *open_console(struct ground *g)
{
    const char *env[] = {g->variable, NULL};
    return stage_open_with(g->stage, 32, 104, NULL, env,
                           (const char *const[]){"-e", "school", "--view", "activity", NULL});
}

/* Nothing of a tunnel is left in the file system. */
static void expect_nothing_left(struct ground *g)
{
    DIR *folder = opendir(g->run);
    assert_non_null(folder);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    assert_int_equal(count, 0);
}

static void expect(struct ground *g, int status, const char *out)
{
    struct stage_run run = batch(g);
    if (run.status != status || !strstr(run.out, out))
        print_error("status %d, expected %s, out: %.1500s\nerr: %.500s\n", run.status, out, run.out, run.err);
    assert_int_equal(run.status, status);
    assert_non_null(strstr(run.out, out));
    stage_run_free(&run);
    expect_nothing_left(g);
}

/* ---- a server that offers no TLS ---- */

static void the_batch_goes_through_the_bastion(void **state)
{
    struct ground *g = *state;
    stage_session(g->stage, "seen from afar");
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    expect(g, 0, "seen from afar");
}

/* A session of the application; its pid is what the screen shows. */
static const char *session(struct ground *g, const char *name)
{
    PGconn *conn = stage_session(g->stage, name);
    snprintf(g->pid, sizeof g->pid, "%d", PQbackendPID(conn));
    return g->pid;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void so_does_the_console(void **state)
{
    struct ground *g = *state;
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    stage_block(g->stage, 1);
    struct terminal *t = open_console(g);
    terminal_wait(t, 15, "idle in transaction");
    /* Whatever goes to the server goes by one session. */
    assert_int_equal(sshd_connections(g->bastion), 1);
    leave(t);
    expect_nothing_left(g);
}

static void a_session_is_ended_through_the_bastion(void **state)
{
    struct ground *g = *state;
    const char *env[] = {g->variable, NULL};
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    char *identity = stage_identity(g->stage, stage_block(g->stage, 1));
    struct stage_run run = stage_command_with(
        g->stage, env,
        (const char *const[]){"terminate", identity, "-e", "school", "--reason", "a test", "--yes", NULL});
    if (run.status)
        print_error("%s%s\n", run.out, run.err);
    assert_int_equal(run.status, 0);
    stage_await_gone(g->stage, identity, 10);
    stage_run_free(&run);
    free(identity);
}

static void a_plan_is_made_through_the_bastion(void **state)
{
    struct ground *g = *state;
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    cluster_do(g->stage->cluster, "GRANT UPDATE ON invoice TO sb_read");
    stage_block(g->stage, 1);
    struct terminal *t = open_console(g);
    terminal_wait(t, 15, "idle in transaction");
    terminal_keys(t, "/", "text:UPDATE", "Enter", "x");
    terminal_wait(t, 15, "invoice_pkey");
    terminal_keys(t, "Esc");
    leave(t);
}

static void psql_goes_through_the_bastion(void **state)
{
    struct ground *g = *state;
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    struct terminal *t = open_console(g);
    terminal_wait(t, 15, "checkpointer");
    terminal_keys(t, "s");
    terminal_wait(t, 15, "postgres=>");
    terminal_keys(t, "text:select 'one ' || session_user || ' of ' || inet_server_port();", "Enter");
    char expected[64];
    snprintf(expected, sizeof expected, "one sb_watch of %d", cluster_port(g->stage->cluster));
    terminal_wait(t, 10, expected);
    terminal_keys(t, "text:select pg_sleep(60);", "Enter");
    assert_true(cluster_await(g->stage->cluster, 10,
                              "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'select pg_sleep(60)%'",
                              "1"));
    terminal_keys(t, "C-c");
    terminal_wait(t, 10, "canceling statement");
    terminal_keys(t, "text:\\q", "Enter");
    terminal_wait(t, 10, "checkpointer");
    assert_true(terminal_alternate(t));
    leave(t);
}

static void a_unix_socket_of_the_bastion(void **state)
{
    struct ground *g = *state;
    char folder[300];
    stage_session(g->stage, "by its socket");
    snprintf(folder, sizeof folder, "%s/socket", cluster_folder(g->stage->cluster));
    write_environment(g, "bastion", folder, cluster_port(g->stage->cluster), "");
    expect(g, 0, "by its socket");
}

static void a_refused_far_end_says_where(void **state)
{
    struct ground *g = *state;
    char where[100];
    write_environment(g, "bastion", "127.0.0.1", 1, "");
    snprintf(where, sizeof where, "cannot connect to 127.0.0.1:1 through bastion");
    expect(g, 1, where);
    expect(g, 1, "refused");
}

static void a_name_that_the_bastion_does_not_know(void **state)
{
    struct ground *g = *state;
    write_environment(g, "bastion", "nobody.invalid", 5432, "");
    expect(g, 1, "cannot connect to nobody.invalid:5432 through bastion");
}

static void an_unknown_host_key_is_told_in_the_panel(void **state)
{
    struct ground *g = *state;
    ssh_site_host(g->site, "stranger", (struct ssh_entry){.server = g->bastion, .known = ""});
    write_environment(g, "stranger", "127.0.0.1", cluster_port(g->stage->cluster), "");
    expect(g, 1, "known_hosts");
    struct terminal *t = open_console(g);
    terminal_wait(t, 15, "the server's key is not known");
    leave(t);
}

static void a_bastion_that_dies_comes_back(void **state)
{
    struct ground *g = *state;
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    struct terminal *t = open_console(g);
    terminal_wait(t, 15, session(g, "before"));
    sshd_kill_sessions(g->bastion);
    /* By itself, and soon: no key is pressed. */
    terminal_wait(t, 20, session(g, "behind it"));
    sshd_halt(g->bastion);
    terminal_wait(t, 20, "refused");
    sshd_again(g->bastion);
    terminal_wait(t, 40, session(g, "after it"));
    leave(t);
    expect_nothing_left(g);
}

static void a_server_that_is_no_postgres(void **state)
{
    struct ground *g = *state;
    /* An sshd: it sends a line of text first. */
    write_environment(g, "bastion", "127.0.0.1", sshd_port(g->bastion), "sslmode=disable");
    expect(g, 1, "through bastion");
}

static void a_host_of_the_file_by_the_systems_ssh(void **state)
{
    struct ground *g = *state;
    stage_session(g->stage, "by ssh itself");
    write_environment(g, "gate", "127.0.0.1", cluster_port(g->stage->cluster), "");
    char *transport = strstr(g->text, "libssh2");
    assert_non_null(transport);
    memcpy(transport, "system ", 7);
    strncat(g->text, "hosts: {gate: {ssh: bastion}}\n", sizeof g->text - strlen(g->text) - 1);
    stage_config(g->stage, "school.yaml", g->text);
    expect(g, 0, "by ssh itself");
    sshd_halt(g->bastion);
    expect(g, 1, "school: gate");
    sshd_again(g->bastion);
}

/* ---- a server that demands TLS ---- */

static void tls_goes_by_a_loopback_port(void **state)
{
    struct ground *g = *state;
    char add[400];
    stage_session(g->stage, "in secret");
    snprintf(add, sizeof add, "sslmode=verify-full sslrootcert=%s/server.crt",
             cluster_folder(g->stage->cluster));
    write_environment(g, "bastion", "localhost", cluster_port(g->stage->cluster), add);
    expect(g, 0, "in secret");
}

static void the_name_in_the_certificate_is_checked(void **state)
{
    struct ground *g = *state;
    char add[400];
    snprintf(add, sizeof add, "hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=%s/server.crt",
             cluster_folder(g->stage->cluster));
    write_environment(g, "bastion", "db.school.example", cluster_port(g->stage->cluster), add);
    expect(g, 1, "does not match host name");
}

static void tls_is_found_to_be_demanded(void **state)
{
    struct ground *g = *state;
    stage_session(g->stage, "found out");
    write_environment(g, "bastion", "127.0.0.1", cluster_port(g->stage->cluster), "");
    expect(g, 0, "found out");
}

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test_teardown(the_batch_goes_through_the_bastion, calm),
        cmocka_unit_test_teardown(so_does_the_console, calm),
        cmocka_unit_test_teardown(a_session_is_ended_through_the_bastion, calm),
        cmocka_unit_test_teardown(a_plan_is_made_through_the_bastion, calm),
        cmocka_unit_test_teardown(psql_goes_through_the_bastion, calm),
        cmocka_unit_test_teardown(a_unix_socket_of_the_bastion, calm),
        cmocka_unit_test_teardown(a_refused_far_end_says_where, calm),
        cmocka_unit_test_teardown(a_name_that_the_bastion_does_not_know, calm),
        cmocka_unit_test_teardown(an_unknown_host_key_is_told_in_the_panel, calm),
        cmocka_unit_test_teardown(a_bastion_that_dies_comes_back, calm),
        cmocka_unit_test_teardown(a_server_that_is_no_postgres, calm),
        cmocka_unit_test_teardown(a_host_of_the_file_by_the_systems_ssh, calm),
    };
    const struct CMUnitTest tls[] = {
        cmocka_unit_test_teardown(tls_goes_by_a_loopback_port, calm),
        cmocka_unit_test_teardown(the_name_in_the_certificate_is_checked, calm),
        cmocka_unit_test_teardown(tls_is_found_to_be_demanded, calm),
    };
    int failed = cmocka_run_group_tests_name("plain", plain, begin_plain, end_group);
    return failed + cmocka_run_group_tests_name("tls", tls, begin_with_tls, end_group);
}
