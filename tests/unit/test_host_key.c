/* Appending a server's key to known_hosts: what is there stays, nothing is there twice, nothing contradicts.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/host_key.h"
#include "backends/ssh/known_hosts.h"
#include "core/files.h"
#include "tests/unit/unit.h"

static const unsigned char key[] = "\0\0\0\x0bssh-ed25519\0\0\0\4good";
static const unsigned char other[] = "\0\0\0\x0bssh-ed25519\0\0\0\4evil";
#define LENGTH (sizeof key - 1)

static int make_temporary(void **state)
{
    char name[] = "/tmp/signalbox-test-hostkey-XXXXXX";
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

static char *content(void *context, const char *path)
{
    struct error error;
    char *text = files_read(context, path, 100000, NULL, &error);
    assert_non_null(text);
    return text;
}

static bool append(void *context, const char *path, const char *name, const unsigned char *bytes,
                   struct error *error)
{
    char *line = known_hosts_line(context, name, false, bytes, LENGTH);
    error_clear(error);
    return known_hosts_append(path, line, name, bytes, LENGTH, error);
}

static void a_new_file_is_private(void **state)
{
    char *path = talloc_asprintf(*state, "%s/.ssh/known_hosts", (char *)*state);
    char *folder = talloc_asprintf(*state, "%s/.ssh", (char *)*state);
    struct error error;
    struct stat found;
    assert_true(append(*state, path, "web1", key, &error));
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(stat(folder, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    char *line = talloc_asprintf(*state, "%s\n", known_hosts_line(*state, "web1", false, key, LENGTH));
    assert_string_equal(content(*state, path), line);
    assert_true(append(*state, path, "web1", key, &error)); /* it stands there already */
    assert_string_equal(content(*state, path), line);
}

static void what_is_there_stays(void **state)
{
    char *path = talloc_asprintf(*state, "%s/known", (char *)*state);
    struct error error;
    FILE *file = fopen(path, "w");
    fputs("# mine\nnonsense", file); /* without an end of line */
    fclose(file);
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(append(*state, path, "web1", key, &error));
    assert_string_equal(content(*state, path),
                        talloc_asprintf(*state, "# mine\nnonsense\n%s\n",
                                        known_hosts_line(*state, "web1", false, key, LENGTH)));
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0644);
}

static void another_key_is_refused(void **state)
{
    char *path = talloc_asprintf(*state, "%s/known", (char *)*state);
    struct error error;
    assert_true(append(*state, path, "web1", other, &error));
    char *before = content(*state, path);
    assert_false(append(*state, path, "web1", key, &error));
    assert_int_equal(error.kind, ERROR_AUTH);
    assert_non_null(strstr(error.what, "changed"));
    assert_string_equal(content(*state, path), before);
    FILE *file = fopen(path, "a");
    fprintf(file, "@revoked * %s\n", strchr(known_hosts_line(*state, "x", false, key, LENGTH), ' ') + 1);
    fclose(file);
    assert_false(append(*state, path, "web2", key, &error));
    assert_non_null(strstr(error.what, "revoked"));
}

static void what_cannot_be_written_is_told(void **state)
{
    char *path = talloc_asprintf(*state, "%s/known", (char *)*state);
    struct error error;
    assert_false(append(*state, "/dev/null/x", "web1", key, &error));
    assert_int_equal(error.kind, ERROR_SYSTEM);
    assert_false(append(*state, "/dev/null", "web1", key, &error));
    assert_int_equal(error.kind, ERROR_SYSTEM);
    int file = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(file, LOCK_EX), 0);
    assert_false(append(*state, path, "web1", key, &error));
    assert_non_null(strstr(error.why, "lock"));
    close(file);
    assert_true(append(*state, path, "web1", key, &error));
}

struct crowd {
    const char *path;
    int number, good;
};

static void *append_many(void *data)
{
    struct crowd *crowd = data;
    struct error error;
    for (int i = 0; i < 25; i++) {
        char *name = talloc_asprintf(NULL, "host%d-%d", crowd->number, i);
        crowd->good += append(name, crowd->path, name, key, &error);
        talloc_free(name);
    }
    return NULL;
}

static void several_at_once(void **state)
{
    char *path = talloc_asprintf(*state, "%s/known", (char *)*state);
    struct crowd crowds[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){path, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, &crowds[i]), 0);
    }
    size_t lines = 0, problems = 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(crowds[i].good, 25);
    }
    char *text = content(*state, path);
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 100);
    struct known_file *file = known_file_parse(*state, path, text, strlen(text));
    known_hosts_problems(known_file_look_up(*state, file, "host3-24", ""), &problems);
    assert_int_equal(problems, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_file_is_private, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(what_is_there_stays, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(another_key_is_refused, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_told, make_temporary, remove_temporary),
        cmocka_unit_test_setup_teardown(several_at_once, make_temporary, remove_temporary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
