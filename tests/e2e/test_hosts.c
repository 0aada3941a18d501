/* The Hosts panel as people use it, on real sshd: the fleet, one host, a host that hangs, host keys, a
 * passphrase, a shell, and the same as a command. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"
#include "tests/harness/stage.h"

struct ground {
    struct stage *stage;
    struct ssh_site *site;
    struct sshd *web1, *web2, *db1;
};

static int begin_group(void **state)
{
    struct ground *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->site = ssh_site_new();
    g->stage = stage_new_bare();
    g->web1 = sshd_start(g->site, "web1", (struct sshd_options){0});
    g->web2 = sshd_start(g->site, "web2", (struct sshd_options){0});
    g->db1 = sshd_start(g->site, "db1", (struct sshd_options){0});
    *state = g;
    return 0;
}

static int end_group(void **state)
{
    struct ground *g = *state;
    stage_free(g->stage);
    ssh_site_free(g->site);
    free(g);
    return 0;
}

static int calm(void **state)
{
    struct ground *g = *state;
    struct sshd *const servers[] = {g->web1, g->web2, g->db1};
    static const char *const names[] = {"web1", "web2", "db1"};
    for (int i = 0; i < 3; i++)
        ssh_site_host(g->site, names[i], (struct ssh_entry){.server = servers[i], .keys = "ed25519"});
    stage_calm(g->stage);
    return 0;
}

/* The environment "school" with these hosts. */
static void write_environment(struct ground *g, const char *hosts)
{
    char text[4096];
    snprintf(text, sizeof text,
             "environment: {kind: staging, title: School}\nssh: {config: \"%s\", fast: 1s}\nhosts: {%s}\n"
             "access: {locked: false}\n",
             ssh_site_config(g->site), hosts);
    stage_config(g->stage, "school.yaml", text);
}

#define ALL_HOSTS "web1: {group: web}, web2: {group: web}, db1: {group: db}"

static struct terminal *open_hosts(struct ground *g, int rows, int columns)
{
    return stage_open_with(g->stage, rows, columns, NULL, NULL, (const char *const[]){"-e", "school", NULL});
}

static void the_fleet_answers_and_a_host_opens(void **state)
{
    struct ground *g = *state;
    write_environment(g, ALL_HOSTS);
    struct terminal *t = open_hosts(g, 40, 160);
    terminal_wait(t, 20, "3 of 3 answer");
    terminal_wait(t, 5, "ssh ● 3/3");
    terminal_expect(t, "web1");
    terminal_keys(t, "/", "text:db1", "Enter");
    terminal_wait_gone(t, 5, "web1");
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "db1 › Overview");
    terminal_wait(t, 20, "memory %");
    terminal_wait(t, 20, "accept queues");
    terminal_keys(t, "F3");
    terminal_wait(t, 20, "root");
    terminal_expect(t, "db1 › Processes");
    terminal_keys(t, "F4");
    terminal_wait(t, 5, "db1 › Disk space");
    terminal_keys(t, "V");
    stage_choose(t, "Sockets");
    terminal_wait(t, 5, "db1 › Sockets");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, "Sockets");
    terminal_expect(t, "Fleet");
    terminal_keys(t, "F3");
    terminal_wait(t, 5, "Groups");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* Its row stays, with its figures, says since when it is silent, and comes back. */
static void a_host_that_hangs_ages_visibly(void **state)
{
    struct ground *g = *state;
    write_environment(g, ALL_HOSTS);
    struct terminal *t = open_hosts(g, 30, 160);
    terminal_wait(t, 20, "3 of 3 answer");
    sshd_pause(g->web2);
    terminal_wait(t, 40, "2 of 3 answer");
    terminal_wait(t, 40, "(last ");
    int row;
    assert_true(terminal_find(t, "web2", &row, NULL));
    assert_non_null(strstr(terminal_line(t, row), "unknown"));
    assert_non_null(strchr(terminal_line(t, row), '%'));
    sshd_resume(g->web2);
    terminal_wait(t, 60, "3 of 3 answer");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* Nothing is added by the back door: it is shown with its fingerprint, and added by a change. */
static void an_unknown_host_is_trusted_by_a_change(void **state)
{
    struct ground *g = *state;
    ssh_site_host(g->site, "web1", (struct ssh_entry){.server = g->web1, .keys = "ed25519", .known = ""});
    write_environment(g, "web1: {group: web}");
    struct terminal *t = open_hosts(g, 40, 160);
    char *fingerprint = sshd_fingerprint(g->web1, "ed25519");
    terminal_wait(t, 20, fingerprint);
    char *known = ssh_site_known(g->site, "web1");
    assert_string_equal(known, "");
    free(known);
    terminal_keys(t, ":", "text:trust", "Enter");
    stage_dialog(t, fingerprint);
    terminal_keys(t, "Tab", "text:web1", "Enter");
    terminal_wait(t, 20, "1 of 1 answer");
    known = ssh_site_known(g->site, "web1");
    assert_non_null(strstr(known, "ssh-ed25519"));
    free(known);
    free(fingerprint);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void a_changed_key_is_refused_without_a_way_round(void **state)
{
    struct ground *g = *state;
    char *lines = sshd_known_lines(g->web2, NULL, NULL, "ed25519"), *wrong;
    char pattern[64];
    snprintf(pattern, sizeof pattern, "[127.0.0.1]:%d", sshd_port(g->web1));
    free(lines);
    wrong = sshd_known_lines(g->web2, NULL, pattern, "ed25519 ecdsa");
    ssh_site_host(g->site, "web1", (struct ssh_entry){.server = g->web1, .keys = "ed25519", .known = wrong});
    write_environment(g, "web1: {group: web}");
    struct terminal *t = open_hosts(g, 40, 160);
    terminal_wait(t, 20, "changed");
    terminal_keys(t, ":", "text:trust", "Enter");
    terminal_wait(t, 10, "error:");
    terminal_expect_no(t, "Type ");
    char *known = ssh_site_known(g->site, "web1");
    assert_string_equal(known, wrong);
    free(known);
    free(wrong);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* Asked for once for both hosts, drawn as dots; leaving it is an answer, too. */
static void a_passphrase_is_asked_for_once(void **state)
{
    struct ground *g = *state;
    ssh_site_host(g->site, "web1", (struct ssh_entry){.server = g->web1, .keys = "locked"});
    ssh_site_host(g->site, "web2", (struct ssh_entry){.server = g->web2, .keys = "locked"});
    write_environment(g, "web1: {group: web}, web2: {group: web}");
    struct terminal *t = open_hosts(g, 40, 160);
    stage_dialog(t, "Passphrase");
    terminal_keys(t, "text:" SSH_SITE_PASSPHRASE);
    terminal_wait(t, 5, "•••••");
    terminal_expect_no(t, SSH_SITE_PASSPHRASE);
    terminal_keys(t, "Enter");
    terminal_wait(t, 30, "2 of 2 answer");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void a_shell_opens_and_the_console_comes_back(void **state)
{
    struct ground *g = *state;
    write_environment(g, ALL_HOSTS);
    struct terminal *t = open_hosts(g, 30, 120);
    terminal_wait(t, 20, "3 of 3 answer");
    terminal_keys(t, "s");
    terminal_wait_gone(t, 10, "Fleet");
    terminal_keys(t, "text:echo in-the-$((40+2))-shell", "Enter");
    terminal_wait(t, 20, "in-the-42-shell");
    terminal_keys(t, "text:exit", "Enter");
    terminal_wait(t, 20, "Fleet");
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

/* ---- as a command ---- */

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *found = NULL;
    if (!json_object_object_get_ex(object, name, &found))
        fail_msg("no %s", name);
    return found;
}

static void the_fleet_as_json(void **state)
{
    struct ground *g = *state;
    write_environment(g, ALL_HOSTS);
    struct stage_run run = stage_command(g->stage, "hosts", "-e", "school", "--json");
    if (run.status != 0)
        fail_msg("status %d: %.500s", run.status, run.err);
    struct json_object *all = json_tokener_parse(run.out), *rows = member(all, "rows");
    assert_int_equal(json_object_array_length(rows), 3);
    for (size_t i = 0; i < 3; i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        assert_true(json_object_get_double(member(row, "mem_used_percent")) > 0);
        assert_true(json_object_get_int(member(row, "cores")) > 0);
        assert_string_equal(json_object_get_string(member(row, "transport")), "libssh2");
        assert_true(json_object_get_double(member(row, "disk_worst_percent")) > 0);
        member(row, "why");
    }
    json_object_put(all);
    stage_run_free(&run);
}

static void one_host_as_json(void **state)
{
    struct ground *g = *state;
    write_environment(g, ALL_HOSTS);
    struct stage_run run = stage_command(g->stage, "hosts", "web1", "-e", "school", "--json");
    if (run.status != 0)
        fail_msg("status %d: %.500s", run.status, run.err);
    struct json_object *all = json_tokener_parse(run.out);
    assert_int_equal(json_object_array_length(member(all, "rows")), 1);
    assert_true(json_object_array_length(member(all, "processes")) > 0);
    assert_true(json_object_array_length(member(all, "mounts")) > 0);
    assert_true(json_object_array_length(member(all, "sockets")) > 0);
    assert_non_null(member(all, "kernel"));
    json_object_put(all);
    stage_run_free(&run);
}

static void a_host_that_is_down_is_told_and_the_others_printed(void **state)
{
    struct ground *g = *state;
    ssh_site_host(g->site, "gone", (struct ssh_entry){.server = g->web1, .keys = "ed25519", .port = 1});
    write_environment(g, "web1: {group: web}, gone: {}");
    struct stage_run run = stage_command(g->stage, "hosts", "-e", "school", "--json");
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.err, "gone"));
    const char *told = strstr(run.err, "nobody listens");
    if (!told || strstr(told + 1, "nobody listens"))
        fail_msg("not told once: %.500s", run.err);
    struct json_object *all = json_tokener_parse(run.out), *rows = member(all, "rows");
    assert_int_equal(json_object_array_length(rows), 2);
    for (size_t i = 0; i < 2; i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        bool gone = strcmp(json_object_get_string(member(row, "host")), "gone") == 0;
        assert_int_equal(strcmp(json_object_get_string(member(row, "state")), "unknown") == 0, gone);
        assert_true((member(row, "cpu_percent") == NULL) == gone || !gone);
    }
    json_object_put(all);
    stage_run_free(&run);
    run = stage_command(g->stage, "hosts", "nobody", "-e", "school", "--json");
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "web1"));
    stage_run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_fleet_answers_and_a_host_opens, calm),
        cmocka_unit_test_setup(a_host_that_hangs_ages_visibly, calm),
        cmocka_unit_test_setup(an_unknown_host_is_trusted_by_a_change, calm),
        cmocka_unit_test_setup(a_changed_key_is_refused_without_a_way_round, calm),
        cmocka_unit_test_setup(a_passphrase_is_asked_for_once, calm),
        cmocka_unit_test_setup(a_shell_opens_and_the_console_comes_back, calm),
        cmocka_unit_test_setup(the_fleet_as_json, calm),
        cmocka_unit_test_setup(one_host_as_json, calm),
        cmocka_unit_test_setup(a_host_that_is_down_is_told_and_the_others_printed, calm),
    };
    return cmocka_run_group_tests(tests, begin_group, end_group);
}
