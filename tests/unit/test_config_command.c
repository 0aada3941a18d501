/* `signalbox config check`: errors go to stderr and are counted, what good files say goes to stdout. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/environment.h"
#include "panels/config_command.h"
#include "tests/unit/unit.h"

struct fixture {
    char *folder;
    char *files;
    char *out, *err; /* what the last run printed */
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    const char *temporary = getenv("TMPDIR");
    f->folder = talloc_asprintf(f, "%s/test_config.XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(f->folder))
        return -1;
    f->files = talloc_asprintf(f, "%s/signalbox", f->folder);
    setenv("XDG_CONFIG_HOME", f->folder, 1);
    *state = f;
    return mkdir(f->files, 0700);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    int status = system(talloc_asprintf(f, "rm -rf -- '%s'", f->folder));
    talloc_free(f);
    return status;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char *path = talloc_asprintf(f, "%s/%s", f->files, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static char *read_back(struct fixture *f, FILE *file)
{
    char text[8192];
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return talloc_strdup(f, text);
}

static int run(struct fixture *f, int argc, char **argv)
{
    FILE *out = tmpfile(), *err = tmpfile();
    assert_true(out && err);
    fflush(stdout);
    fflush(stderr);
    int old_out = dup(1), old_err = dup(2);
    dup2(fileno(out), 1);
    dup2(fileno(err), 2);
    struct options options = {.argument_count = (size_t)argc - 1};
    memcpy(options.arguments, argv + 1, options.argument_count * sizeof *options.arguments);
    int result = config_command(&options);
    fflush(stdout);
    fflush(stderr);
    dup2(old_out, 1);
    dup2(old_err, 2);
    close(old_out);
    close(old_err);
    f->out = read_back(f, out);
    f->err = read_back(f, err);
    return result;
}

static void test_a_good_file(void **state)
{
    struct fixture *f = *state;
    write_file(f, "staging.yaml",
               "environment: {kind: staging, title: The rehearsal}\n"
               "postgres: {main: {watch: \"host=db1 user=sb_watch\", databases: [app, other]}}\n");
    char *argv[] = {"config", "check", "staging", NULL};
    assert_int_equal(run(f, 3, argv), 0);
    assert_string_equal(f->err, "");
    assert_non_null(strstr(f->out, "/signalbox/staging.yaml: ok\n  staging: The rehearsal, staging, open\n"));
    assert_non_null(strstr(f->out, "    watch    host=db1 user=sb_watch\n"));
    assert_non_null(strstr(f->out, "    databases app, other\n"));
    assert_non_null(strstr(f->out, "    no act: nothing can be cancelled or ended\n"));
    assert_non_null(strstr(f->out, "    api_latency  300 ms\n"));
}

static void test_all_files_are_checked(void **state)
{
    struct fixture *f = *state;
    size_t system_wide;
    environment_names(f, &system_wide);
    if (system_wide)
        skip(); /* this machine has files of its own in /etc/signalbox */
    write_file(f, "a.yaml", "postgers: 1\npolizy: 2\n");
    write_file(f, "b.yaml", "postgres: {main: {watch: \"host=db1 password=s3cret\"}}\n");
    write_file(f, "c.yaml", "postgres: {main: {watch: \"host=db1\"}}\n");
    char *argv[] = {"config", "check", NULL};
    assert_int_equal(run(f, 2, argv), 3);
    char *expected = talloc_asprintf(f,
                                     "%s/a.yaml:1:1: postgers: unknown key. Did you mean postgres?\n"
                                     "%s/a.yaml:2:1: polizy: unknown key. Did you mean policy?\n"
                                     "%s/b.yaml:1:26: postgres.main.watch: the DSN holds a password. Take it "
                                     "out and use ~/.pgpass, a service "
                                     "file or passfile=FILE\n",
                                     f->files, f->files, f->files);
    assert_string_equal(f->err, expected);
    assert_non_null(strstr(f->out, "/c.yaml: ok\n"));
    assert_null(strstr(f->out, "s3cret"));
}

static void test_own_keys_are_checked(void **state)
{
    struct fixture *f = *state;
    write_file(f, "keymap", "global ? global.hlep\n");
    char *argv[] = {"config", "check", NULL};
    assert_true(run(f, 2, argv) > 0);
    assert_non_null(
        strstr(f->err, "/signalbox/keymap:1: global.hlep: unknown action. Did you mean global.help?\n"));
    write_file(f, "keymap", "global M-h global.help\n");
    run(f, 2, argv);
    assert_non_null(strstr(f->out, "/signalbox/keymap: ok\n"));
    assert_null(strstr(f->err, "/signalbox/keymap"));
}

static void test_a_file_right_here(void **state)
{
    struct fixture *f = *state;
    char before[4096];
    write_file(f, "a.yaml", "postgers: 1\n");
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(f->files), 0);
    char *argv[] = {"config", "check", "a.yaml", NULL};
    int wrong = run(f, 3, argv);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(wrong, 1);
    assert_string_equal(f->err, "./a.yaml:1:1: postgers: unknown key. Did you mean postgres?\n");
}

static void test_usage(void **state)
{
    struct fixture *f = *state;
    char *argv[] = {"config", "chekc", NULL};
    assert_int_equal(run(f, 2, argv), 2);
    assert_string_equal(f->err, "usage: signalbox config check [NAME | ./FILE.yaml]...\n");
    assert_int_equal(run(f, 1, argv), 2);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_good_file),
        TEST(test_all_files_are_checked),
        TEST(test_own_keys_are_checked),
        TEST(test_a_file_right_here),
        TEST(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
