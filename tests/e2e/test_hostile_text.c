/* Text that a tenant can choose is hostile: it never reaches the terminal, a file or the clipboard as it is.
 */
#include <json-c/json.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

/* An escape sequence that sets the title, one that clears, BEL, C1 CSI, bidi override and isolate, zero
 * width, a wide character, an emoji of several code points, newline, carriage return, and what spreadsheets
 * take for formulas. */
#define EVIL                                                                                                 \
    "\033]0;owned\007\033[2J\xc2\x9b"                                                                        \
    "31m\xe2\x80\xae"                                                                                        \
    "gpj\xe2\x81\xa6\xe2\x80\x8b学\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x8f\xab\n\rEND"

static int begin_group(void **state)
{
    struct stage *s = stage_new(NULL);
    /* A relation, a role and a database by hostile names; SQL_ASCII takes bytes that are no UTF-8. */
    cluster_do(s->cluster,
               "CREATE TABLE \"=cmd|" EVIL "\" (id int); INSERT INTO \"=cmd|" EVIL "\" VALUES (1);"
               "GRANT ALL ON \"=cmd|" EVIL "\" TO app_user");
    cluster_do(s->cluster, "CREATE ROLE \"@evil"
                           "\033[31m\xe2\x80\xae"
                           "role\" LOGIN PASSWORD 'evil'");
    cluster_do(s->cluster, "GRANT ALL ON invoice TO \"@evil"
                           "\033[31m\xe2\x80\xae"
                           "role\"");
    cluster_do(s->cluster, "CREATE DATABASE \"+data\nbase\033[5m\"");
    cluster_do(s->cluster, "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
    *state = s;
    return 0;
}

static int calm(void **state)
{
    struct stage *s = *state;
    stage_calm(s);
    stage_environment(s, "school", "staging", false);
    return 0;
}

/* Somebody by a hostile name holds a hostile table, and another one waits for it. */
struct scene {
    PGconn *root, *waiter;
};

static void stage_scene(struct stage *s, struct scene *scene)
{
    char port[16];
    snprintf(port, sizeof port, "%d", cluster_port(s->cluster));
    const char *keywords[] = {"host", "port", "user", "password", "dbname", NULL};
    const char *values[] = {"127.0.0.1",
                            port,
                            "@evil\033[31m\xe2\x80\xae"
                            "role",
                            "evil",
                            "+data\nbase\033[5m",
                            NULL};
    scene->root = stage_session(s, "root");
    stage_do(scene->root, "SET application_name = '-app; \033]0;owned\007'");
    stage_do(scene->root, "BEGIN");
    stage_do(scene->root, "LOCK \"=cmd|" EVIL "\" /* " EVIL " */");
    scene->waiter = PQconnectdbParams(keywords, values, 0);
    assert_int_equal(PQstatus(scene->waiter), CONNECTION_OK);
    stage_begin(stage_session(s, "waiter"), "SELECT * FROM \"=cmd|" EVIL "\" /* " EVIL " */");
    assert_true(cluster_await(s->cluster, 10,
                              "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", "1"));
}

static void end_scene(struct scene *scene)
{
    PQfinish(scene->waiter);
}

/* What the program wrote to the terminal held none of it. */
static void expect_clean(struct terminal *t)
{
    static const char *const never[] = {"\033]0;owned", "owned\007",    "\033[2J\xc2", "\xc2\x9b",
                                        "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\x8b"};
    size_t length;
    const char *raw = terminal_raw(t, &length);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (memmem(raw, length, never[i], strlen(never[i])))
            terminal_fail(t, "hostile bytes %zu were written to the terminal", i);
    if (terminal_bells(t))
        terminal_fail(t, "it rang the bell");
    const char *title = terminal_title(t);
    if (title && strstr(title, "owned"))
        terminal_fail(t, "the title was set");
}

/* No control character but newline, no bidi control, no invalid UTF-8. */
static void expect_clean_output(const char *text, size_t length)
{
    static const char *const never[] = {"\xc2\x9b", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\x8b"};
    assert_int_equal(strlen(text), length);
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\n' && !(text[i] == '\r' && text[i + 1] == '\n')) ||
            text[i] == 0x7f)
            fail_msg("byte %zu is the control character %#x: %.60s", i, (unsigned char)text[i],
                     text + (i > 30 ? i - 30 : 0));
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(text, never[i]))
            fail_msg("the output holds hostile character %zu", i);
    size_t decoded = mbstowcs(NULL, text, 0);
    assert_true(decoded != (size_t)-1);
}

static void on_the_screen(void **state)
{
    static const char *const views[] = {"F2", "F3", "F4"};
    static const char *const shown[] = {"Statements", "Activity", "Locks"};
    struct stage *s = *state;
    struct scene scene;
    stage_scene(s, &scene);
    struct terminal *t = stage_open_with(s, 50, 200, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "locks", NULL});
    terminal_wait(t, 10, "=cmd|");
    for (int i = 0; i < 3; i++) {
        terminal_keys(t, views[i]);
        terminal_wait(t, 5, shown[i]);
        terminal_wait(t, 10, "=cmd|");
        /* Every row's detail. */
        terminal_keys(t, "g", "Enter");
        terminal_wait(t, 5, "› detail");
        terminal_keys(t, "q");
        terminal_wait_gone(t, 5, "› detail");
        for (int row = 0; row < 4; row++) {
            terminal_keys(t, "Down", "Enter");
            terminal_wait(t, 5, "› detail");
            terminal_keys(t, "q");
            terminal_wait_gone(t, 5, "› detail");
        }
    }
    /* The dialog shows whom, and the filter prompt what was typed. */
    terminal_keys(t, "g", "F9");
    stage_choose(t, "end session ");
    stage_dialog(t, "Type the last two digits");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, "Type the last two digits");
    terminal_keys(t, "/", "paste:END\xe2\x80\xae\x07");
    terminal_keys(t, "Esc");
    expect_clean(t);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    expect_clean(t);
    terminal_end(t);
    end_scene(&scene);
}

static void on_the_clipboard(void **state)
{
    struct stage *s = *state;
    struct scene scene;
    stage_scene(s, &scene);
    struct terminal *t = stage_open_with(s, 40, 160, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "locks", NULL});
    terminal_wait(t, 10, "=cmd|");
    terminal_keys(t, "g", "y");
    terminal_wait(t, 5, "copied");
    const char *copied = terminal_clipboard(t);
    assert_non_null(copied);
    for (const char *at = copied; *at; at++)
        if ((unsigned char)*at < 0x20 && *at != '\n' && *at != '\t')
            fail_msg("the clipboard holds the control character %#x", (unsigned char)*at);
    assert_null(strstr(copied, "\xe2\x80\xae"));
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    end_scene(&scene);
}

static void in_json_csv_and_plain(void **state)
{
    static const char *const views[] = {"statements", "activity", "locks"};
    struct stage *s = *state;
    struct scene scene;
    stage_scene(s, &scene);
    for (int v = 0; v < 3; v++) {
        struct stage_run run = stage_command(s, "queries", "-e", "school", "--view", views[v], "--json");
        assert_int_equal(run.status, 0);
        expect_clean_output(run.out, run.out_length);
        struct json_object *all = json_tokener_parse(run.out);
        assert_non_null(all);
        json_object_put(all);
        assert_non_null(strstr(run.out, "=cmd|"));
        stage_run_free(&run);
        run = stage_command(s, "queries", "-e", "school", "--view", views[v], "--plain");
        assert_int_equal(run.status, 0);
        expect_clean_output(run.out, run.out_length);
        stage_run_free(&run);
        run = stage_command(s, "queries", "-e", "school", "--view", views[v], "--csv");
        assert_int_equal(run.status, 0);
        expect_clean_output(run.out, run.out_length);
        /* A cell that a spreadsheet would calculate is guarded. */
        for (const char *at = run.out; (at = strpbrk(at, ",\n")); at++) {
            const char *cell = at + 1 + (at[1] == '"');
            if (*cell == '=' || *cell == '@' || (*cell == '+' && cell[1] == 'd') ||
                (*cell == '-' && cell[1] == 'a'))
                fail_msg("%s: a cell begins with a formula: %.40s", views[v], at);
        }
        stage_run_free(&run);
    }
    end_scene(&scene);
}

static void in_the_audit_log(void **state)
{
    struct stage *s = *state;
    struct scene scene;
    stage_scene(s, &scene);
    char *identity = stage_identity(s, scene.root);
    struct stage_run run =
        stage_command(s, "terminate", identity, "-e", "school", "--yes", "--reason", "because " EVIL);
    assert_int_equal(run.status, 0);
    expect_clean_output(run.out, run.out_length);
    stage_run_free(&run);
    run = stage_command(s, "audit", "-e", "school", "--json");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "because "));
    expect_clean_output(run.out, run.out_length);
    stage_run_free(&run);
    run = stage_command(s, "audit", "-e", "school");
    expect_clean_output(run.out, run.out_length);
    stage_run_free(&run);
    run = stage_command(s, "audit", "verify", "-e", "school");
    assert_int_equal(run.status, 0);
    stage_run_free(&run);
    struct terminal *t = stage_open_with(s, 40, 160, NULL, NULL, (const char *const[]){"-e", "school", NULL});
    terminal_wait(t, 10, "main ●");
    terminal_keys(t, "9");
    terminal_wait(t, 10, "because ");
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "› detail");
    expect_clean(t);
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    free(identity);
    end_scene(&scene);
}

/* Bytes that are no UTF-8, from a database without an encoding. */
static void bytes_of_no_encoding(void **state)
{
    struct stage *s = *state;
    char port[16];
    snprintf(port, sizeof port, "%d", cluster_port(s->cluster));
    const char *keywords[] = {"host", "port", "user", "password", "dbname", "client_encoding", NULL};
    const char *values[] = {"127.0.0.1", port, "app_user", "app", "bytes", "SQL_ASCII", NULL};
    PGconn *session = PQconnectdbParams(keywords, values, 0);
    assert_int_equal(PQstatus(session), CONNECTION_OK);
    stage_do(session, "SELECT 'broken \xff\xfe\xc3 \x80' AS bytes");
    char *watch;
    if (asprintf(&watch, "host=127.0.0.1 port=%s dbname=bytes user=sb_watch passfile=%s/passwords", port,
                 s->home) < 0)
        abort();
    const char *const dsns[] = {s->watch, watch};
    for (int i = 0; i < 2; i++) {
        struct stage_run run =
            stage_command(s, "queries", "--view", "activity", "--json", "--postgres", dsns[i]);
        if (run.status != 0)
            fail_msg("server %d: %s", i, run.err);
        expect_clean_output(run.out, run.out_length);
        assert_non_null(strstr(run.out, "broken "));
        struct json_object *all = json_tokener_parse(run.out);
        assert_non_null(all);
        json_object_put(all);
        stage_run_free(&run);
        struct terminal *t = stage_open_with(
            s, 40, 160, NULL, NULL, (const char *const[]){"--postgres", dsns[i], "--view", "activity", NULL});
        terminal_wait(t, 10, "broken ");
        expect_clean(t);
        terminal_keys(t, "q");
        terminal_expect_exit(t, 10, 0);
        terminal_end(t);
    }
    free(watch);
    PQfinish(session);
}

/* Passwords in statements are masked wherever they would be kept or shown. */
static void passwords_are_masked(void **state)
{
    struct stage *s = *state;
    PGconn *session = stage_session(s, "careless");
    stage_do(session, "BEGIN; ALTER ROLE app_user PASSWORD 'hunter22'");
    struct stage_run run = stage_command(s, "queries", "-e", "school", "--view", "activity", "--json");
    assert_int_equal(run.status, 0);
    assert_non_null(strstr(run.out, "ALTER ROLE app_user"));
    assert_null(strstr(run.out, "hunter22"));
    stage_run_free(&run);
    struct terminal *t = stage_open_with(s, 40, 160, NULL, NULL,
                                         (const char *const[]){"-e", "school", "--view", "activity", NULL});
    terminal_wait(t, 10, "ALTER ROLE app_user");
    terminal_wait_gone(t, 5, "hunter22");
    terminal_keys(t, "q");
    terminal_expect_exit(t, 10, 0);
    size_t length;
    const char *raw = terminal_raw(t, &length);
    assert_null(memmem(raw, length, "hunter22", 8));
    terminal_end(t);
    stage_do(session, "ROLLBACK");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, calm)
    const struct CMUnitTest tests[] = {
        CASE(on_the_screen),    CASE(on_the_clipboard),     CASE(in_json_csv_and_plain),
        CASE(in_the_audit_log), CASE(bytes_of_no_encoding), CASE(passwords_are_masked),
    };
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests_name("hostile text", tests, begin_group, stage_end_group);
}
