/* Logs followed over real SSH: what is new comes, whatever is done to the file, the connection or the rate of
 * lines, and nothing stays behind on the host. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/log_follow.h"
#include "tests/harness/keeper.h"
#include "tests/harness/ssh_caller.h"

enum { SECONDS = 20 };

struct scene {
    struct ssh_caller *caller;
    struct sshd *server;
    struct ssh_host *host;
    char path[300];
    struct log_follow *follow;
    const char *wanted; /* what is waited for */
    size_t count;
};

static struct scene scene_new(void **state)
{
    struct scene s = {.caller = *state};
    s.server = sshd_start(s.caller->site, "web1", (struct sshd_options){0});
    s.host = ssh_caller_host(s.caller, "web1");
    snprintf(s.path, sizeof s.path, "%s/a b.log", ssh_site_folder(s.caller->site));
    ssh_expect_up(s.caller, s.host);
    return s;
}

static void put(const struct scene *s, const char *text)
{
    FILE *file = fopen(s->path, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void open_log(struct scene *s, struct log_follow_options options)
{
    struct log_target target = {.name = "web1",
                                .host = s->host,
                                .source = {.name = "app", .kind = LOG_SOURCE_FILES, .path = s->path}};
    options.targets = &target;
    options.target_count = 1;
    options.lines = options.lines ? options.lines : 100;
    if (options.from == 0)
        options.from = options.to = NAN;
    s->follow = log_follow_new(NULL, s->caller->loop, &options);
}

static const struct log_ring *ring_of(const struct scene *s)
{
    return log_follow_ring(s->follow);
}

/* All texts, joined by blanks. */
static char *all(const struct scene *s)
{
    char *text = talloc_strdup(NULL, "");
    for (size_t i = 0; i < log_ring_count(ring_of(s)); i++) {
        const struct log_entry *entry = log_ring_entry(ring_of(s), i);
        text =
            talloc_asprintf_append(text, "%s%.*s", i ? " " : "", (int)entry->text.length, entry->text.bytes);
    }
    return text;
}

static bool says(void *data)
{
    const struct scene *s = data;
    char *text = all(s);
    bool same = strcmp(text, s->wanted) == 0;
    talloc_free(text);
    return same;
}

#define expect_lines(s, text) expect_lines_at(__LINE__, (s), (text))
static void expect_lines_at(int line, struct scene *s, const char *text)
{
    s->wanted = text;
    if (loop_until(s->caller->loop, SECONDS, says, s))
        return;
    char *got = all(s);
    print_error("line %d: \"%s\" instead of \"%s\"; %s: %s\n", line, got, text,
                log_stream_state_name(log_follow_stream(s->follow, 0)->state),
                log_follow_stream(s->follow, 0)->message);
    talloc_free(got);
    fail();
}

static bool is_live(void *data)
{
    return log_follow_stream(((struct scene *)data)->follow, 0)->state == LOG_STREAM_LIVE;
}
static bool is_ended(void *data)
{
    return log_follow_ended(((struct scene *)data)->follow);
}
static bool is_missing(void *data)
{
    return log_follow_stream(((struct scene *)data)->follow, 0)->state == LOG_STREAM_MISSING;
}

/* No `tail` has the log's path among its arguments. */
static bool nobody_reads(void *data)
{
    const struct scene *s = data;
    return !keeper_anybody_runs("tail", s->path);
}

static void close_log(struct scene *s)
{
    assert_false(nobody_reads(s));
    log_follow_free(s->follow);
    s->follow = NULL;
    assert_true(loop_until(s->caller->loop, SECONDS, nobody_reads, s));
}

static void test_follows(void **state)
{
    struct scene s = scene_new(state);
    put(&s, "one\ntwo\nthree\n");
    open_log(&s, (struct log_follow_options){.follow = true, .lines = 2});
    expect_lines(&s, "two three");
    assert_true(loop_until(s.caller->loop, SECONDS, is_live, &s));
    put(&s, "four\n");
    expect_lines(&s, "two three four");
    /* Rotated: the new file of the same name is followed. */
    char old[320];
    snprintf(old, sizeof old, "%s.1", s.path);
    assert_int_equal(rename(s.path, old), 0);
    put(&s, "five\n");
    expect_lines(&s, "two three four five");
    assert_int_equal(truncate(s.path, 0), 0);
    put(&s, "six\n");
    expect_lines(&s, "two three four five six");
    close_log(&s);
}

static void test_filters_there(void **state)
{
    struct scene s = scene_new(state);
    put(&s, "Ape 'x' \"$(y)\"\nbee\nape\n");
    open_log(&s, (struct log_follow_options){.follow = true, .filter = "APE"});
    expect_lines(&s, "Ape 'x' \"$(y)\" ape");
    put(&s, "cow\nan ape\n");
    expect_lines(&s, "Ape 'x' \"$(y)\" ape an ape");
    log_follow_set_filter(s.follow, "'x' \"$(");
    expect_lines(&s, "Ape 'x' \"$(y)\"");
    log_follow_set_filter(s.follow, NULL);
    expect_lines(&s, "Ape 'x' \"$(y)\" bee ape cow an ape");
    close_log(&s);
}

static void test_waits_for_the_file(void **state)
{
    struct scene s = scene_new(state);
    open_log(&s, (struct log_follow_options){.follow = true});
    assert_true(loop_until(s.caller->loop, SECONDS, is_missing, &s));
    assert_non_null(strstr(log_follow_stream(s.follow, 0)->message, "no file"));
    put(&s, "one\n");
    expect_lines(&s, "one");
    close_log(&s);
}

static void test_connection_lost(void **state)
{
    struct scene s = scene_new(state);
    put(&s, "2026-11-21 10:00:00 one\n2026-11-21 10:00:01 two\n");
    open_log(&s, (struct log_follow_options){.follow = true});
    expect_lines(&s, "one two");
    assert_true(loop_until(s.caller->loop, SECONDS, is_live, &s));
    sshd_kill_sessions(s.server);
    put(&s, "2026-11-21 10:00:01 three\n2026-11-21 10:00:02 four\n");
    expect_lines(&s, "one two three four");
    close_log(&s);
}

static void test_span_of_time(void **state)
{
    struct scene s = scene_new(state);
    char text[4000] = "";
    for (int minute = 0; minute < 60; minute++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "2026-11-21 10:%02d:30 m%d\n  more\n",
                 minute, minute);
    put(&s, text);
    setenv("TZ", "UTC", 1);
    double at = 1795255200 + 30 * 60; /* 10:30 UTC */
    open_log(&s, (struct log_follow_options){.from = at - 60, .to = at + 60});
    assert_true(loop_until(s.caller->loop, SECONDS, is_ended, &s));
    expect_lines(&s, "m29   more m30   more");
    assert_int_equal(log_follow_stream(s.follow, 0)->state, LOG_STREAM_ENDED);
    log_follow_free(s.follow);
}

static bool has_dropped(void *data)
{
    return log_follow_dropped(((struct scene *)data)->follow) > 100000;
}

/* A log that is written faster than it is read costs neither memory nor the loop's time. */
static void test_flood(void **state)
{
    struct scene s = scene_new(state);
    put(&s, "calm\n");
    open_log(&s, (struct log_follow_options){.follow = true, .max_lines = 1000, .bytes_per_s = 100000});
    expect_lines(&s, "calm");
    assert_true(loop_until(s.caller->loop, SECONDS, is_live, &s));
    char command[600];
    snprintf(command, sizeof command,
             "i=0; while [ $i -lt 40 ]; do seq -f 'the line with number %%010g, and some more text' 1 20000; "
             "i=$((i+1)); done >>'%s'",
             s.path);
    assert_int_equal(system(command), 0);
    s.caller->last_tick = s.caller->longest_turn_s = 0;
    ev_timer_start(loop_ev(s.caller->loop), &s.caller->tick);
    assert_true(loop_until(s.caller->loop, 60, has_dropped, &s));
    ev_timer_stop(loop_ev(s.caller->loop), &s.caller->tick);
    assert_true(s.caller->longest_turn_s < 0.25);
    assert_true(log_ring_count(ring_of(&s)) <= 1000);
    assert_true(talloc_total_size(s.follow) < (size_t)1 << 20);
    print_message("longest turn %.1f ms\n", 1000 * s.caller->longest_turn_s);
    close_log(&s);
}

/* Nothing is to happen. */
static bool never(void *data)
{
    (void)data;
    return false;
}

static void test_pause(void **state)
{
    struct scene s = scene_new(state);
    put(&s, "one\n");
    open_log(&s, (struct log_follow_options){.follow = true});
    expect_lines(&s, "one");
    log_follow_pause(s.follow, true);
    put(&s, "two\n");
    assert_false(loop_until(s.caller->loop, 0.5, never, &s));
    s.wanted = "one";
    assert_true(says(&s));
    log_follow_pause(s.follow, false);
    expect_lines(&s, "one two");
    close_log(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(test_follows),
        ssh_on_both(test_filters_there),
        ssh_on_both(test_waits_for_the_file),
        ssh_on_both(test_connection_lost),
        ssh_on(test_span_of_time, libssh2),
        ssh_on_both(test_flood),
        ssh_on_both(test_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
