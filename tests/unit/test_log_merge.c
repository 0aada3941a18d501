/* Lines of several logs in one ring: order, bounds, filter, clocks that jump, and more than can be read. */
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/log_merge.h"
#include "backends/hosts/log_source.h"
#include "tests/unit/unit.h"

#define NOW 1795269910.0 /* 2026-11-21T14:05:10Z */

static struct log_merge *merge_new(struct log_merge_options options)
{
    options.from = options.to = NAN;
    return log_merge_new(NULL, &options);
}

static void feed(struct log_merge *merge, unsigned stream, const char *text)
{
    log_merge_feed(merge, stream, text, strlen(text));
}

/* The texts of all lines, by blanks. */
static const char *all(struct log_merge *merge)
{
    static char text[4096];
    size_t used = 0;
    const struct log_ring *ring = log_merge_ring(merge);
    text[0] = '\0';
    for (size_t i = 0; i < log_ring_count(ring) && used < sizeof text - 100; i++) {
        struct log_text line = log_ring_entry(ring, i)->text;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s", used ? " " : "", (int)line.length,
                                 line.bytes);
    }
    return text;
}

static void test_merged_by_time(void **state)
{
    (void)state;
    struct log_merge *merge = merge_new((struct log_merge_options){0});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_AUTO), b = log_merge_stream(merge, LOG_FORMAT_AUTO);
    log_merge_begin(merge, a, 0);
    log_merge_begin(merge, b, 3600);
    feed(merge, a, "2026-11-21 14:00:01 a1\n2026-11-21 14:00:03 a3\n  more of a3\n2026-11-21 14:00:05 a5\n");
    feed(merge, b, "2026-11-21 15:00:02 b2\n2026-11-21 15:00:03 b3\n2026-11-21 15:00:04 b4\n");
    assert_string_equal(all(merge), "a1 b2 a3   more of a3 b3 b4 a5");
    /* A late line of a log that is followed finds its place; what goes on stays with what it belongs to. */
    log_merge_live(merge, a);
    log_merge_live(merge, b);
    feed(merge, a, "2026-11-21 14:05:10 a10\n");
    feed(merge, b, "2026-11-21 15:05:08 b8\n2026-11-21 15:05:10 b10\n");
    feed(merge, a, "more of a10\n");
    assert_string_equal(all(merge), "a1 b2 a3   more of a3 b3 b4 a5 b8 a10 more of a10 b10");
    talloc_free(merge);
}

static void test_clocks_that_jump(void **state)
{
    (void)state;
    struct log_merge *merge = merge_new((struct log_merge_options){0});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_AUTO);
    log_merge_begin(merge, a, 0);
    feed(merge, a, "2026-11-21 14:05:00 one\n2031-01-01 00:00:00 two\n2026-11-21 14:05:09 three\n");
    assert_string_equal(all(merge), "one three two"); /* of the past, a time to come is now */
    log_merge_live(merge, a);
    feed(merge, a, "2026-11-21 14:05:10 four\n2026-11-21 09:00:00 five\nsix\n2026-11-21 14:05:10 seven\n");
    assert_string_equal(all(merge), "one three two four five six seven");
    const struct log_entry *five = log_ring_entry(log_merge_ring(merge), 4);
    assert_true(five->at == NOW && five->time < NOW);
    talloc_free(merge);
}

static void test_ring_bounds(void **state)
{
    (void)state;
    struct log_merge *merge = merge_new((struct log_merge_options){.max_lines = 100, .max_bytes = 20000});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_PLAIN);
    char line[2048];
    log_merge_begin(merge, a, 0);
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "1795269%03d.000 line %d\n", i, i);
        feed(merge, a, line);
    }
    struct log_ring *ring = log_merge_ring(merge);
    assert_true(log_ring_count(ring) == 100);
    assert_int_equal(log_ring_forgotten(ring), 400);
    const struct log_entry *first = log_ring_entry(ring, 0);
    assert_true(first->text.length == 8 && memcmp(first->text.bytes, "line 400", 8) == 0);
    uint64_t number = log_ring_entry(ring, 50)->number;
    double at = log_ring_entry(ring, 50)->at;
    feed(merge, a, "1795269420.500 late\n"); /* in front of it, while the oldest goes */
    assert_int_equal(log_ring_index(ring, number, at), 50);
    feed(merge, a, "1795269000.000 too old\n");
    assert_int_equal(log_ring_count(ring), 100);
    assert_int_equal(log_ring_find(ring, 1795269450.0), 50);
    feed(merge, a, "1795269600.000 long ones\n");
    memset(line, 'x', sizeof line);
    line[sizeof line - 2] = '\n';
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < 50; i++)
        feed(merge, a, line);
    assert_true(log_ring_bytes(ring) <= 20000);
    assert_true(log_ring_count(ring) < 20 && log_ring_count(ring) > 3);
    talloc_free(merge);
}

static void test_too_fast(void **state)
{
    (void)state;
    struct log_stats *stats = log_stats_new(NULL, 60, 0.3);
    struct log_merge *merge = merge_new((struct log_merge_options){.bytes_per_s = 1000, .stats = stats});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_PLAIN);
    char *flood = talloc_array(NULL, char, 10 * 1000 + 20);
    for (int i = 0; i < 1000; i++)
        snprintf(flood + (ptrdiff_t)10 * i, 20, "line %4d\n", i);
    /* The past is never dropped: who feeds it waits. */
    log_merge_begin(merge, a, 0);
    feed(merge, a, flood);
    assert_int_equal(log_ring_count(log_merge_ring(merge)), 1000);
    assert_true(log_merge_budget(merge) < 0);
    log_merge_live(merge, a);
    feed(merge, a, "half of a line");
    assert_int_equal(log_merge_dropped(merge), 0);
    for (int i = 0; i < 100; i++)
        feed(merge, a, flood);
    feed(merge, a, "the beginning of ");
    assert_int_equal(log_merge_dropped(merge), 100000);
    assert_int_equal(log_ring_count(log_merge_ring(merge)), 1000);
    assert_int_equal(log_stats_report(stats, stats)->dropped, 100000);
    talloc_free(flood);
    talloc_free(merge);
    talloc_free(stats);
}

static void test_filter(void **state)
{
    (void)state;
    struct log_merge *merge = merge_new((struct log_merge_options){.filter = "sIgKiLL!"});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_JSON);
    log_merge_begin(merge, a, 0);
    feed(merge, a,
         "{\"MESSAGE\":\"sent SIGKILL! x\",\"__REALTIME_TIMESTAMP\":\"1795261000000000\"}\n"
         "{\"MESSAGE\":\"other\",\"_CMDLINE\":\"SIGKILL!\",\"__REALTIME_TIMESTAMP\":\"1795261000000000\"}\n");
    assert_string_equal(all(merge), "sent SIGKILL! x");
    log_merge_reset(merge, "é");
    assert_string_equal(all(merge), "");
    log_merge_begin(merge, a, 0);
    feed(merge, a, "CAF\xc3\x89 one\ncafe two\n");
    assert_string_equal(all(merge), "CAF\xc3\x89 one");
    talloc_free(merge);
}

static void test_begun_again(void **state)
{
    (void)state;
    struct log_merge *merge = merge_new((struct log_merge_options){0});
    unsigned a = log_merge_stream(merge, LOG_FORMAT_AUTO);
    log_merge_begin(merge, a, 0);
    log_merge_live(merge, a);
    feed(merge, a, "2026-11-21 14:05:08 one\n2026-11-21 14:05:09 two\n2026-11-21 14:05:09 three\n");
    log_merge_begin(merge, a, 0);
    feed(merge, a,
         "2026-11-21 14:05:08 one\n2026-11-21 14:05:09 two\n2026-11-21 14:05:09 three\n"
         "2026-11-21 14:05:09 four\n2026-11-21 14:05:10 five\n");
    assert_string_equal(all(merge), "one two three four five");
    talloc_free(merge);
}

/* ---- the commands, run by a shell here ---- */

struct place {
    char folder[64], log[96];
};

static struct place place_new(void)
{
    struct place place = {.folder = "/tmp/signalbox-log-XXXXXX"};
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.log, sizeof place.log, "%s/a b'c.log", place.folder);
    return place;
}

static void place_write(const struct place *place, const char *text)
{
    FILE *file = fopen(place->log, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void place_free(const struct place *place)
{
    unlink(place->log);
    rmdir(place->folder);
}

/* What the command writes when its standard input ends at once. */
static char *output_of(const void *context, const struct log_source *source, struct log_request request)
{
    char *command = log_source_command(context, source, &request), *output = talloc_strdup(context, "");
    char buffer[4096], *run = talloc_asprintf(context, "{ %s; } 2>/dev/null </dev/null", command);
    FILE *pipe = popen(run, "r");
    assert_non_null(pipe);
    while (fgets(buffer, sizeof buffer, pipe))
        output = talloc_strdup_append(output, buffer);
    pclose(pipe);
    assert_int_equal(strncmp(output, LOG_HEADER, strlen(LOG_HEADER)), 0);
    return strchr(output, '\n') + 1;
}

static void test_commands(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    struct place place = place_new();
    place_write(
        &place,
        "2026-11-21 14:01:00 one\n2026-11-21 14:05:00 $(touch pwned)'\"%s\n2026-11-21 14:09:00 three\n");
    char *glob = talloc_asprintf(context, "%s/*c.lo?", place.folder);
    const struct log_source source = {.name = "x", .kind = LOG_SOURCE_FILES, .path = glob};
    struct log_request request = {.lines = 2, .from = NAN, .to = NAN};
    assert_string_equal(output_of(context, &source, request),
                        "2026-11-21 14:05:00 $(touch pwned)'\"%s\n2026-11-21 14:09:00 three\n");
    request.lines = 100;
    request.filter = "$(TOUCH pwned)'\"%s";
    assert_string_equal(output_of(context, &source, request), "2026-11-21 14:05:00 $(touch pwned)'\"%s\n");
    request.filter = "-e";
    assert_string_equal(output_of(context, &source, request), "");
    request.filter = NULL;
    request.from = request.to = NOW - 10; /* the minute 14:05, and what belongs to its lines */
    assert_non_null(strstr(output_of(context, &source, request), "14:05:00"));
    assert_null(strstr(output_of(context, &source, request), "14:01:00"));
    place_free(&place);
    talloc_free(context);
}

static void test_needle(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    const struct log_source journal = {.kind = LOG_SOURCE_JOURNAL}, files = {.kind = LOG_SOURCE_FILES};
    assert_string_equal(log_source_needle(context, &journal, "say \"hello there\""), "hello there");
    assert_string_equal(log_source_needle(context, &files, "say \"hello there\""), "say \"hello there\"");
    assert_string_equal(log_source_needle(context, &files, "caf\xc3\xa9 au lait"), " au lait");
    assert_string_equal(log_source_needle(context, &files, "\xc3\xa9"), "");
    assert_string_equal(log_source_needle(context, &files, "a\nlonger"), "longer");
    talloc_free(context);
}

/* True while a `tail` has this text among its arguments. */
static bool is_running(const char *text)
{
    char path[300], command[4096];
    bool found = false;
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && !found && (entry = readdir(processes))) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        size_t length = fread(command, 1, sizeof command, file);
        fclose(file);
        found = length > 5 && memcmp(command, "tail", 5) == 0 &&
                memmem(command, length, text, strlen(text)) != NULL;
    }
    if (processes)
        closedir(processes);
    return found;
}

/* A followed log ends with our end of the pipe, though nothing is ever written to it again. */
static void test_nothing_stays(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    struct place place = place_new();
    place_write(&place, "x1\n");
    const char *mark = place.folder + strlen("/tmp/");
    const struct log_source source = {.kind = LOG_SOURCE_FILES, .path = place.log};
    for (int filtered = 0; filtered < 2; filtered++) {
        struct log_request request = {
            .lines = 5, .follow = true, .from = NAN, .to = NAN, .filter = filtered ? "x" : NULL};
        char *command = log_source_command(context, &source, &request);
        int in[2], out[2];
        assert_int_equal(pipe2(in, 0) | pipe2(out, 0), 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(in[0], 0);
            dup2(out[1], 1);
            dup2(out[1], 2);
            close(in[0]), close(in[1]), close(out[0]), close(out[1]);
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
            _exit(127);
        }
        close(in[0]), close(out[1]);
        char buffer[4096];
        size_t used = 0;
        ssize_t got;
        while ((got = read(out[0], buffer + used, sizeof buffer - 1 - used)) > 0) {
            used += (size_t)got;
            buffer[used] = '\0';
            if (strstr(buffer, "\nx1\n"))
                break;
        }
        assert_true(got > 0);
        assert_true(is_running(mark));
        close(in[1]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        /* All that could write to us is gone: the pipe ends. */
        while (read(out[0], buffer, sizeof buffer) > 0)
            ;
        close(out[0]);
        for (int tries = 0; tries < 500 && is_running(mark); tries++)
            usleep(10000);
        assert_false(is_running(mark));
    }
    place_free(&place);
    talloc_free(context);
}

int main(void)
{
    setenv("SIGNALBOX_TEST_CLOCK", "1795269910", 1);
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged_by_time), cmocka_unit_test(test_clocks_that_jump),
        cmocka_unit_test(test_ring_bounds),    cmocka_unit_test(test_too_fast),
        cmocka_unit_test(test_filter),         cmocka_unit_test(test_begun_again),
        cmocka_unit_test(test_commands),       cmocka_unit_test(test_needle),
        cmocka_unit_test(test_nothing_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
