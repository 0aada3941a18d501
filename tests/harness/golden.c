/* Golden files: reading, comparing, rewriting. */
#include "tests/harness/golden.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

/* The contents to free; NULL when there is no such file. */
static char *golden_read(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    char *text = NULL;
    size_t size = 0;
    if (getdelim(&text, &size, '\0', file) < 0 && !text)
        text = strdup("");
    fclose(file);
    return text;
}

/* Written beside and renamed, so that two test runs at once never see half a file. */
static void golden_write(const char *folder, const char *name, const char *text)
{
    mkdir(folder, 0777);
    char *path, *beside;
    if (asprintf(&path, "%s/%s.txt", folder, name) < 0 || asprintf(&beside, "%s.%d", path, (int)getpid()) < 0)
        abort();
    FILE *file = fopen(beside, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0 || rename(beside, path) != 0)
        print_error("golden: cannot write %s: %s\n", path, strerror(errno));
    free(path);
    free(beside);
}

/* Line by line: a screen's rows stay at their places. */
static void golden_print_difference(const char *expected, const char *found)
{
    for (int row = 0; *expected || *found; row++) {
        size_t e = strcspn(expected, "\n"), f = strcspn(found, "\n");
        if (e != f || memcmp(expected, found, e) != 0) {
            if (*expected)
                print_error("%3d - %.*s\n", row, (int)e, expected);
            if (*found)
                print_error("%3d + %.*s\n", row, (int)f, found);
        }
        expected += e + (expected[e] == '\n');
        found += f + (found[f] == '\n');
    }
}

void golden_check_at(const char *file, int line, const char *name, const char *text)
{
    const char *update = getenv("SIGNALBOX_UPDATE_GOLDEN");
    if (update && strcmp(update, "1") == 0) {
        golden_write(TEST_ROOT "/tests/screen/golden", name, text);
        return;
    }
    char *path;
    if (asprintf(&path, "%s/tests/screen/golden/%s.txt", TEST_ROOT, name) < 0)
        abort();
    char *expected = golden_read(path);
    bool same = expected && strcmp(expected, text) == 0;
    if (!same) {
        mkdir(TEST_ROOT "/build", 0777);
        golden_write(TEST_ROOT "/build/golden-failed", name, text);
        if (expected) {
            print_error("the screen differs from tests/screen/golden/%s.txt (-); found (+):\n", name);
            golden_print_difference(expected, text);
        } else {
            print_error("tests/screen/golden/%s.txt is missing; found:\n%s", name, text);
        }
        print_error("found is in build/golden-failed/%s.txt; SIGNALBOX_UPDATE_GOLDEN=1 accepts it\n", name);
    }
    free(expected);
    free(path);
    if (same && asprintf(&path, "%s/build/golden-failed/%s.txt", TEST_ROOT, name) >= 0) {
        unlink(path); /* of an earlier run */
        free(path);
    }
    if (!same)
        _fail(file, line);
}
