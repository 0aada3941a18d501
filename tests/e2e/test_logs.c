/* Logs on the screen and as a command, over real sshd: two hosts merged, filtered, around a time, the latency
 * of tenants, hostile lines. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/sshd.h"
#include "tests/harness/stage.h"

struct ground {
    struct stage *stage;
    struct ssh_site *site;
    struct sshd *web1, *web2;
};

static int begin_group(void **state)
{
    struct ground *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->site = ssh_site_new();
    g->stage = stage_new_bare();
    g->web1 = sshd_start(g->site, "web1", (struct sshd_options){.bashrc = "cd\n"});
    g->web2 = sshd_start(g->site, "web2", (struct sshd_options){.bashrc = "cd\n"});
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

/* Each host has its logs in its own home, where its commands begin: /proc/self/cwd. */
static FILE *open_log(const struct sshd *server, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", sshd_home(server), name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    return file;
}

/* A request `ago` seconds before now. */
static void put_request(FILE *file, double ago, const char *host, int status, double seconds)
{
    char stamp[64];
    time_t at = time(NULL) - (time_t)ago;
    struct tm parts;
    strftime(stamp, sizeof stamp, "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&at, &parts));
    fprintf(file, "%s 10.0.0.7 - - [%s] \"GET /at-%.0f HTTP/1.1\" %d 100 \"-\" \"x\" rt=%.3f\n", host, stamp,
            ago, status, seconds);
}

static void put_error(FILE *file, double ago, const char *text)
{
    char stamp[64];
    time_t at = time(NULL) - (time_t)ago;
    struct tm parts;
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", gmtime_r(&at, &parts));
    fprintf(file, "[%s +0000] [811] [ERROR] %s\n", stamp, text);
}

static void remove_log(const struct sshd *server, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", sshd_home(server), name);
    unlink(path);
}

static int calm(void **state)
{
    struct ground *g = *state;
    char text[2048];
    struct sshd *const servers[] = {g->web1, g->web2};
    stage_calm(g->stage);
    for (int i = 0; i < 2; i++) {
        remove_log(servers[i], "access.log");
        remove_log(servers[i], "app.log");
        ssh_site_host(g->site, i ? "web2" : "web1",
                      (struct ssh_entry){.server = servers[i], .keys = "ed25519"});
        FILE *access = open_log(servers[i], "access.log"), *app = open_log(servers[i], "app.log");
        for (int request = 0; request < 100; request++) {
            put_request(access, 200 - request, "fast.example", request == 50 ? 502 : 200, 0.010);
            put_request(access, 200 - request, "slow.example", 200, 0.450);
        }
        put_error(app, 60 + i, i ? "second app" : "first app");
        fclose(access);
        fclose(app);
    }
    snprintf(text, sizeof text,
             "environment: {kind: staging, title: School}\nssh: {config: \"%s\"}\n"
             "hosts: {web1: {group: web}, web2: {group: web}}\n"
             "logs:\n  access: {path: /proc/self/cwd/access.log, format: nginx}\n  app: {path: "
             "/proc/self/cwd/app.log, format: gunicorn}\n"
             "access: {locked: false}\n",
             ssh_site_config(g->site));
    stage_config(g->stage, "school.yaml", text);
    return 0;
}

/* The console with the app's log of both hosts open. */
static struct terminal *open_logs(struct ground *g, const char *choice)
{
    struct terminal *t =
        stage_open_with(g->stage, 30, 120, NULL, NULL, (const char *const[]){"-e", "school", NULL});
    terminal_wait(t, 30, "2 of 2 answer");
    terminal_keys(t, "*", ":", "text:logs", "Enter");
    stage_choose(t, choice);
    return t;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void lines_of_two_hosts_come_by_time(void **state)
{
    struct ground *g = *state;
    struct terminal *t = open_logs(g, "app");
    int first, second;
    terminal_wait(t, 20, "following");
    terminal_wait(t, 5, "first app");
    assert_true(terminal_find(t, "second app", &second, NULL) && terminal_find(t, "first app", &first, NULL));
    assert_true(second < first); /* a second older */
    assert_non_null(strstr(terminal_line(t, first), "web1"));
    FILE *app = open_log(g->web2, "app.log");
    put_error(app, 0, "\033[31mred\033[0m \xe2\x80\xaevil \xff");
    fclose(app);
    terminal_wait(t, 10, "\\x1b[31mred\\x1b[0m \\u202evil \\xff");
    /* Filtered on the hosts, and not. */
    terminal_keys(t, "/", "text:FIRST", "Enter");
    terminal_wait(t, 10, "filter \"FIRST\"");
    terminal_wait_gone(t, 10, "second app");
    terminal_wait(t, 10, "first app");
    terminal_keys(t, "BackSpace");
    terminal_wait(t, 10, "second app");
    /* The whole line. */
    terminal_keys(t, "g", "Enter");
    terminal_wait(t, 5, "As it came");
    terminal_expect(t, "level");
    leave(t);
}

static void scrolled_back_nothing_moves(void **state)
{
    struct ground *g = *state;
    struct terminal *t = open_logs(g, "access");
    terminal_wait(t, 20, "following");
    terminal_wait(t, 5, "GET /at-101");
    terminal_keys(t, "PgUp", "PgUp");
    terminal_wait(t, 5, "scrolled back");
    terminal_wait_gone(t, 5, "GET /at-101");
    char *before = strdup(terminal_line(t, 12));
    FILE *access = open_log(g->web1, "access.log");
    put_request(access, 0, "new.example", 200, 0.001);
    fclose(access);
    terminal_wait(t, 10, "401 lines");
    assert_string_equal(terminal_line(t, 12), before);
    free(before);
    terminal_expect_no(t, "new.example");
    terminal_keys(t, "G");
    terminal_wait(t, 5, "new.example");
    terminal_expect_no(t, "scrolled back");
    /* Paused, nothing comes; then it does. */
    terminal_keys(t, "p");
    terminal_wait(t, 5, "paused");
    terminal_keys(t, "p");
    terminal_wait(t, 5, "following");
    leave(t);
}

static void a_time_is_gone_to(void **state)
{
    struct ground *g = *state;
    struct terminal *t = open_logs(g, "access");
    terminal_wait(t, 20, "following");
    terminal_keys(t, "T", "text:nonsense", "Enter");
    terminal_wait(t, 5, "is no time");
    terminal_keys(t, "T", "text:150s", "Enter");
    terminal_wait(t, 20, "5 minutes before and after");
    terminal_wait(t, 20, "a span of time");
    terminal_wait(t, 10, "GET /at-146");
    terminal_expect_no(t, "GET /at-101");
    terminal_keys(t, "F");
    terminal_wait(t, 20, "following");
    leave(t);
}

static void tenants_are_judged_by_the_promise(void **state)
{
    struct ground *g = *state;
    struct terminal *t = open_logs(g, "access");
    terminal_wait(t, 20, "following");
    terminal_keys(t, "L");
    terminal_wait(t, 20, "400 requests");
    terminal_wait(t, 5, "promised: 300 ms");
    int row;
    assert_true(terminal_find(t, "slow.example", &row, NULL));
    assert_non_null(strstr(terminal_line(t, row), "ms!"));
    assert_true(terminal_find(t, "fast.example", &row, NULL));
    assert_null(strstr(terminal_line(t, row), "ms!"));
    assert_non_null(strstr(terminal_line(t, row), "1 %!")); /* 502 */
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, "filter \"slow.example\"");
    leave(t);
}

static struct json_object *rows_of(const struct stage_run *run, size_t count)
{
    struct json_object *envelope = json_tokener_parse(run->out), *rows;
    assert_non_null(envelope);
    assert_true(json_object_object_get_ex(envelope, "rows", &rows));
    assert_int_equal(json_object_array_length(rows), count);
    json_object_get(rows);
    json_object_put(envelope);
    return rows;
}

static void commands_print_the_same(void **state)
{
    struct ground *g = *state;
    struct stage_run run =
        stage_command(g->stage, "logs", "-e", "school", "--hosts", "web", "--source", "app");
    assert_int_equal(run.status, 0);
    char *second = strstr(run.out, "second app");
    assert_non_null(second);
    assert_non_null(strstr(second, "web1 app error 811: first app"));
    stage_run_free(&run);
    run = stage_command(g->stage, "logs", "-e", "school", "--source", "access", "--grep", "502", "--since",
                        "10min", "--json");
    assert_int_equal(run.status, 0);
    struct json_object *rows = rows_of(&run, 2), *status;
    assert_true(json_object_object_get_ex(json_object_array_get_idx(rows, 0), "status", &status));
    assert_int_equal(json_object_get_int(status), 502);
    json_object_put(rows);
    stage_run_free(&run);
    /* The limit is for all hosts together, and keeps the newest. */
    run = stage_command(g->stage, "logs", "-e", "school", "--source", "access", "--since", "10min", "--limit",
                        "1", "--json");
    assert_int_equal(run.status, 0);
    json_object_put(rows_of(&run, 1));
    stage_run_free(&run);
    run = stage_command(g->stage, "logs", "-e", "school", "--source", "acess");
    assert_int_equal(run.status, 2);
    assert_non_null(strstr(run.err, "Did you mean access?"));
    stage_run_free(&run);
    run = stage_command(g->stage, "hosts", "-e", "school", "--view", "latency", "--json");
    assert_int_equal(run.status, 0);
    rows = rows_of(&run, 2);
    struct json_object *p95, *tenant;
    for (size_t i = 0; i < 2; i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        assert_true(json_object_object_get_ex(row, "p95_ms", &p95) &&
                    json_object_object_get_ex(row, "tenant", &tenant));
        double exact = strcmp(json_object_get_string(tenant), "slow.example") == 0 ? 450 : 10;
        assert_true(json_object_get_double(p95) > 0.98 * exact && json_object_get_double(p95) < 1.02 * exact);
    }
    json_object_put(rows);
    stage_run_free(&run);
    sshd_halt(g->web2);
    run = stage_command(g->stage, "logs", "-e", "school", "--source", "app");
    assert_int_equal(run.status, 1);
    assert_non_null(strstr(run.out, "first app"));
    assert_non_null(strstr(run.err, "web2"));
    stage_run_free(&run);
    sshd_again(g->web2);
}

#define played(test) cmocka_unit_test_setup(test, calm)

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        played(lines_of_two_hosts_come_by_time),
        played(scrolled_back_nothing_moves),
        played(a_time_is_gone_to),
        played(tenants_are_judged_by_the_promise),
        played(commands_print_the_same),
    };
    return cmocka_run_group_tests(tests, begin_group, end_group);
}
