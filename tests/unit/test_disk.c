/* What fills a disk: the scripts run here in sh on folders with hostile names, their answers are read; what
 * is safe to remove is found and removed, and nothing else. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/disk.h"
#include "tests/unit/unit.h"

struct fixture {
    char *folder;
    struct host_place root, ops;
    struct error error;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    f->folder = talloc_strdup(f, "/tmp/test_disk.XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    f->root = (struct host_place){.environment = "test", .host = "web1", .login = "root"};
    f->ops = (struct host_place){.environment = "test", .host = "web2", .login = "ops"};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char *command = talloc_asprintf(f, "rm -rf -- '%s'", f->folder);
    int status = system(command);
    talloc_free(f);
    return status;
}

/* Runs the script as input of sh, as it is run on a host. */
static char *run_script(struct fixture *f, const char *script, size_t *length, char **errors)
{
    char *path = talloc_asprintf(f, "%s.sh", f->folder);
    char *out = talloc_asprintf(f, "%s.out", f->folder), *err = talloc_asprintf(f, "%s.err", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(script, file);
    fclose(file);
    char *line = talloc_asprintf(f, "sh <%s >%s 2>%s", path, out, err);
    assert_int_not_equal(system(line), -1);
    char *texts[2];
    const char *const names[2] = {out, err};
    for (int i = 0; i < 2; i++) {
        texts[i] = talloc_zero_size(f, 1 << 20);
        file = fopen(names[i], "r");
        assert_non_null(file);
        size_t got = fread(texts[i], 1, (1 << 20) - 1, file);
        if (i == 0)
            *length = got;
        fclose(file);
        unlink(names[i]);
    }
    unlink(path);
    *errors = texts[1];
    return texts[0];
}

static void make_file(struct fixture *f, const char *name, size_t kilobytes)
{
    char *path = talloc_asprintf(f, "%s/%s", f->folder, name);
    char block[1024];
    memset(block, 'x', sizeof block);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < kilobytes; i++)
        assert_int_equal(fwrite(block, 1, sizeof block, file), sizeof block);
    fclose(file);
}

static void make_folder(struct fixture *f, const char *name)
{
    assert_int_equal(mkdir(talloc_asprintf(f, "%s/%s", f->folder, name), 0700), 0);
}

static struct disk_level *measure(struct fixture *f, const struct disk_level *before, double at)
{
    char *errors;
    size_t length;
    char *output = run_script(f, disk_measure_script(f, &f->root, f->folder), &length, &errors);
    return disk_level_read(f, f->folder, output, length, errors, at, before, &f->error);
}

static const struct disk_entry *entry(const struct disk_level *level, const char *name)
{
    for (size_t i = 0; i < level->count; i++)
        if (strcmp(level->entries[i].name, name) == 0)
            return &level->entries[i];
    return NULL;
}

static void test_measure(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "small");
    make_file(f, "small/a", 100);
    make_folder(f, "large");
    make_folder(f, "large/deep");
    make_file(f, "large/deep/b", 3000);
    make_folder(f, "x\n9999999\tetc $(touch p)");
    make_file(f, "app.log", 2000);
    make_file(f, "tiny", 1);
    struct disk_level *level = measure(f, NULL, 1000);
    assert_non_null(level);
    assert_false(level->partial);
    assert_int_equal(level->denied, 0);
    assert_true(level->bytes > 5100 * 1024.0);
    assert_string_equal(level->entries[0].name, "large");
    assert_true(level->entries[0].folder);
    assert_true(level->entries[0].bytes >= 3000 * 1024.0 && level->entries[0].bytes < 3200 * 1024.0);
    assert_string_equal(level->entries[1].name, "app.log");
    assert_false(level->entries[1].folder);
    assert_null(entry(level, "deep"));
    assert_null(entry(level, "tiny"));
    assert_null(entry(level, "etc"));
    assert_non_null(entry(level, "small"));
    assert_true(isnan(level->entries[0].grown_bytes));
    make_file(f, "large/c", 1000);
    struct disk_level *next = measure(f, level, 1060);
    assert_true(entry(next, "large")->grown_bytes >= 1000 * 1024.0);
    assert_true(entry(next, "large")->grown_bytes < 1100 * 1024.0);
    assert_true(entry(next, "small")->grown_bytes == 0);
    assert_true(next->since_s == 60);
    assert_true(next->grown_bytes >= 1000 * 1024.0);
}

static void test_missing(void **state)
{
    struct fixture *f = *state;
    char *errors;
    size_t length;
    char *output = run_script(f, disk_measure_script(f, &f->root, "/no/such/$(id)"), &length, &errors);
    assert_null(disk_level_read(f, "/no/such/$(id)", output, length, errors, 1, NULL, &f->error));
    assert_int_equal(f->error.kind, ERROR_SERVER);
}

/* Without NULs (busybox), cut by the time, and with folders that may not be read. */
static void test_read(void **state)
{
    struct fixture *f = *state;
    static const char output[] =
        "50\t/var/log\n30\t/var/lib\nx\t/var/y\n-3\t/var/z\n7\t/etc\n9\t/var/a/b\n\n5\n12\t/var/";
    struct disk_level *level = disk_level_read(f, "/var", output, sizeof output - 1,
                                               "banner @end 1 2\n@end 124 3\n", 5, NULL, &f->error);
    assert_int_equal(level->count, 2);
    assert_true(level->partial);
    assert_int_equal(level->denied, 3);
    assert_true(isnan(level->bytes));
    assert_string_equal(level->entries[1].path, "/var/lib");
    level = disk_level_read(f, "/", "9\t/\n4\t/var\n", 11, "@end 0 0\n", 5, NULL, &f->error);
    assert_string_equal(level->entries[0].name, "var");
    assert_true(level->bytes == 9 * 1024);
    assert_null(disk_level_read(f, "/root", "", 0, "@end 1 1\n", 5, NULL, &f->error));
    assert_int_equal(f->error.kind, ERROR_DENIED);
    /* The connection's end without the last line is no whole measurement. */
    level = disk_level_read(f, "/", "9\t/\n4\t/var\n", 11, "", 5, NULL, &f->error);
    assert_true(level->partial);
}

static void test_sizes(void **state)
{
    (void)state;
    assert_true(disk_size_read("0B (0%)") == 0);
    assert_true(disk_size_read("1.982MB") == 1982000);
    assert_true(disk_size_read("120.0M in the file system.") == 120.0 * 1024 * 1024);
    assert_true(disk_size_read("8.0K") == 8192);
    assert_true(disk_size_read("1.5kB") == 1500);
    assert_true(disk_size_read("2GB") == 2e9);
    assert_true(isnan(disk_size_read("x")));
    assert_true(isnan(disk_size_read("-1MB")));
    assert_true(isnan(disk_size_read("5 apples")));
}

static const struct disk_saving *saving(const struct disk_saving *savings, size_t count,
                                        enum disk_saving_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (savings[i].kind == kind)
            return &savings[i];
    return NULL;
}

static const char answer[] =
    "=logs\n51200 34\n=journal\nArchived and active journals take up 1.0G in the file system.\n=packages\n"
    "230400\t/var/cache/apt/archives\n=docker\n"
    "{\"Active\":\"1\",\"Reclaimable\":\"0B "
    "(0%)\",\"Size\":\"1.982MB\",\"TotalCount\":\"1\",\"Type\":\"Images\"}\n"
    "{\"Active\":\"0\",\"Reclaimable\":\"600MB\",\"Size\":\"600MB\",\"TotalCount\":\"9\",\"Type\":\"Build "
    "Cache\"}\n"
    "{broken\n=images\n100MB\n50MB\n=deleted\n2147483648 812 ngi\x1b[31mnx\n4096 5 x\n";

static void test_savings(void **state)
{
    struct fixture *f = *state;
    size_t count;
    struct disk_saving *savings = disk_savings_read(f, answer, &count);
    assert_int_equal(count, 6);
    assert_int_equal(savings[0].kind, SAVING_DELETED_FILES); /* the largest first */
    assert_false(savings[0].removable);
    assert_non_null(strstr(savings[0].what, "\\x1b[31m"));
    assert_null(disk_saving_change(&f->root, &savings[0], "/", &f->error));
    assert_int_equal(f->error.kind, ERROR_UNSUPPORTED);
    assert_non_null(strstr(f->error.todo, "(812)"));
    assert_true(saving(savings, count, SAVING_JOURNAL)->bytes == (1024.0 - DISK_JOURNAL_MB) * 1024 * 1024);
    assert_true(saving(savings, count, SAVING_IMAGES)->bytes == 150e6);
    assert_true(saving(savings, count, SAVING_BUILD_CACHE)->bytes == 600e6);
    assert_non_null(strstr(saving(savings, count, SAVING_ROTATED_LOGS)->what, "34 files"));
    static const char *const nothing[] = {"", "=logs\n0 0\n=journal\nArchived and active journals take up "
                                              "8.0M in the file system.\n=packages\n4\tx\n"};
    for (size_t i = 0; i < 2; i++) {
        disk_savings_read(f, nothing[i], &count);
        assert_int_equal(count, 0);
    }
}

static void test_savings_script(void **state)
{
    struct fixture *f = *state;
    char *errors;
    size_t length, count;
    char *output = run_script(f, disk_savings_script(f, &f->root, "/"), &length, &errors);
    assert_non_null(strstr(output, "=logs\n"));
    assert_non_null(strstr(output, "=deleted\n"));
    disk_savings_read(f, output, &count);
    /* On /proc lies nothing that could be removed: what other file systems hold is not offered there. */
    output = run_script(f, disk_savings_script(f, &f->root, "/proc"), &length, &errors);
    assert_non_null(strstr(output, "=deleted\n"));
    disk_savings_read(f, output, &count);
    assert_int_equal(count, 0);
    assert_string_equal(disk_log_folder("/var/log/nginx"), "/var/log/nginx");
    assert_string_equal(disk_log_folder("/var"), "/var/log");
}

/* The line that removes rotated logs, on another folder: old rotated ones go, and nothing else. */
static void test_remove_rotated(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"app.log",     "app.log.1", "app.log.2.gz", "new.log.1",
                                        "db-20260101", "x.old",     "1.2.3.conf"};
    static const bool removed[] = {false, true, true, false, true, true, false};
    struct disk_saving rotated = {
        .kind = SAVING_ROTATED_LOGS, .what = "rotated logs", .bytes = NAN, .removable = true};
    for (size_t i = 0; i < 7; i++) {
        make_file(f, names[i], 1);
        if (strcmp(names[i], "new.log.1") != 0) {
            char *touch = talloc_asprintf(f, "touch -d '20 days ago' '%s/%s'", f->folder, names[i]);
            assert_int_equal(system(touch), 0);
        }
    }
    struct change *change = disk_saving_change(&f->root, &rotated, "/", &f->error);
    char *line = talloc_strdup(f, change->steps[0].command);
    char *at = strstr(line, "/var/log");
    assert_non_null(at);
    line = talloc_asprintf(f, "%.*s%s%s", (int)(at - line), line, f->folder, at + strlen("/var/log"));
    assert_int_equal(system(line), 0);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(access(talloc_asprintf(f, "%s/%s", f->folder, names[i]), F_OK), removed[i] ? -1 : 0);
    talloc_free(change);
}

static void test_removal_lines(void **state)
{
    struct fixture *f = *state;
    static const char *const lines[] = {
        [SAVING_JOURNAL] = "sudo -n journalctl '--vacuum-size=100M'",
        [SAVING_PACKAGES] = "sudo -n apt-get clean",
        [SAVING_IMAGES] = "if [ -w /var/run/docker.sock ]; then docker image prune -f; else sudo -n "
                          "docker image prune -f; fi"};
    for (enum disk_saving_kind kind = SAVING_JOURNAL; kind <= SAVING_IMAGES; kind++) {
        struct disk_saving what = {.kind = kind, .what = "it", .bytes = 5e6, .removable = true};
        struct change *change = disk_saving_change(&f->ops, &what, "/", &f->error);
        assert_string_equal(change->steps[0].command, lines[kind]);
        assert_string_equal(change->confirm, "web2");
        assert_int_equal(change->hazard, HAZARD_DESTROY);
        talloc_free(change);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_measure), TEST(test_missing),        TEST(test_read),           TEST(test_sizes),
        TEST(test_savings), TEST(test_savings_script), TEST(test_remove_rotated), TEST(test_removal_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
