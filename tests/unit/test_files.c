/* Where files live, and reading and making them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "core/files.h"
#include "tests/unit/unit.h"

static int make_temporary(void **state)
{
    char name[] = "/tmp/signalbox-test-files-XXXXXX";
    if (!mkdtemp(name))
        return -1;
    *state = talloc_strdup(NULL, name);
    return 0;
}

static int remove_temporary(void **state)
{
    char *command = talloc_asprintf(*state, "rm -rf '%s'", (char *)*state);
    int failed = system(command);
    talloc_free(*state);
    return failed;
}

static void paths_follow_xdg(void **state)
{
    char *context = *state;
    setenv("HOME", "/home/x", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("XDG_STATE_HOME");
    assert_string_equal(files_config_path(context, "a.yaml"), "/home/x/.config/signalbox/a.yaml");
    assert_string_equal(files_state_path(context, "prod", "audit"),
                        "/home/x/.local/state/signalbox/prod/audit");
    setenv("XDG_CONFIG_HOME", "/c", 1);
    setenv("XDG_STATE_HOME", "relative", 1);
    assert_string_equal(files_config_path(context, "a"), "/c/signalbox/a");
    assert_string_equal(files_state_path(context, "prod", NULL), "/home/x/.local/state/signalbox/prod");
    setenv("XDG_STATE_HOME", "/s", 1);
    assert_string_equal(files_state_path(context, "../../etc", "x"), "/s/signalbox/___.._etc/x");
    assert_string_equal(files_state_path(context, "", NULL), "/s/signalbox/_");
}

static void folders_are_private(void **state)
{
    char *path = talloc_asprintf(*state, "%s/a/b/c", (char *)*state);
    struct error error = {0};
    struct stat found;
    assert_true(files_make_folder(path, &error));
    assert_true(files_make_folder(path, &error));
    assert_int_equal(error.kind, ERROR_NONE);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    assert_false(files_make_folder("/dev/null/x", &error));
    assert_int_equal(error.kind, ERROR_SYSTEM);
    assert_string_equal(error.where, "/dev/null");
    assert_false(files_make_folder("", &error));
}

static void files_are_read_whole(void **state)
{
    char *path = talloc_asprintf(*state, "%s/file", (char *)*state);
    struct error error = {0};
    size_t length = 0;
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 2000; i++)
        fputs("12345", file);
    fclose(file);
    char *text = files_read(*state, path, 10000, &length, &error);
    assert_non_null(text);
    assert_int_equal(length, 10000);
    assert_int_equal(strlen(text), 10000);
    assert_null(files_read(*state, path, 9999, &length, &error));
    assert_string_equal(error.why, "it is larger than 9999 bytes");
    assert_null(files_read(*state, "/nowhere/x", 10, NULL, &error));
    assert_string_equal(error.why, "No such file or directory");
    assert_null(files_read(*state, *state, 10, NULL, &error));
    assert_string_equal(error.why, "Is a directory");
    text = files_read(*state, "/dev/null", 0, &length, &error);
    assert_string_equal(text, "");
    assert_int_equal(length, 0);
}

static void the_user_has_a_name(void **state)
{
    assert_true(strlen(files_user(*state)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_follow_xdg),
        cmocka_unit_test(folders_are_private),
        cmocka_unit_test(files_are_read_whole),
        cmocka_unit_test(the_user_has_a_name),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
