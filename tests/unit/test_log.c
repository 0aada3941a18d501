/* The parsers of logs against lines as the programs write them, and against lines that no program should. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/hosts/log.h"
#include "backends/hosts/log_stats.h"
#include "tests/unit/unit.h"

#define AT 1795269910.0 /* 2026-11-21T14:05:10Z */

static void assert_text(struct log_text text, const char *expected)
{
    char *got = talloc_strndup(NULL, text.length ? text.bytes : "", text.length);
    assert_string_equal(got, expected);
    talloc_free(got);
}

static struct log_parser *parser_of(enum log_format format)
{
    static struct log_parser parser;
    log_parser_init(&parser, format);
    parser.now = AT;
    return &parser;
}

static struct log_line read_line(struct log_parser *parser, const char *text)
{
    struct log_line line;
    log_parse(parser, text, strlen(text), &line);
    return line;
}

/* Each line of a file of tests/data/logs, in order. */
struct file {
    FILE *stream;
    char text[LOG_LINE_MAX];
};

static struct file open_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/logs/%s", TEST_ROOT, name);
    struct file file = {.stream = fopen(path, "r")};
    assert_non_null(file.stream);
    return file;
}

static struct log_line next(struct file *file, struct log_parser *parser)
{
    assert_non_null(fgets(file->text, sizeof file->text, file->stream));
    file->text[strcspn(file->text, "\n")] = '\0';
    return read_line(parser, file->text);
}

static void test_access(void **state)
{
    (void)state;
    static const struct {
        const char *host, *method, *path, *client;
        int status;
        double bytes, request_time, upstream_time;
    } expected[] = {
        {"", "GET", "/api/invoice?page=2", "10.0.0.7", 200, 1234, NAN, NAN},
        {"al-noor.example", "POST", "/api/pay", "10.0.0.7", 502, 157, 1.204, 1.203},
        {"al-noor.example", "GET", "/", "10.0.0.7", 404, 0, NAN, NAN},
        {"", "GET", "/", "10.0.0.7", 200, 12, 0.012, 0.010},
        {"school.example", "GET", "/", "10.0.0.7", 200, 12, 0.050, NAN},
        {"school.example", "GET", "/", "10.0.0.7", 200, 12, 0.301, 0.300},
        {"", "", "\\x16\\x03\\x01", "10.0.0.7", 400, 157, NAN, NAN},
        {"school.example", "GET", "/a", "10.0.0.7", 200, 12, 0.007, NAN},
        {"", "GET", "/x", "10.0.0.7", 200, 615, 0.021, 0.020},
        {"school.example", "GET", "/j", "10.0.0.7", 499, 0, 30.001, NAN},
    };
    struct file file = open_file("access.txt");
    struct log_parser *parser = parser_of(LOG_FORMAT_ACCESS);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct log_line line = next(&file, parser);
        print_message("%s\n", file.text);
        assert_true(line.access);
        assert_true(line.time == AT);
        assert_text(line.host, expected[i].host);
        assert_text(line.method, expected[i].method);
        assert_text(line.path, expected[i].path);
        assert_text(line.client, expected[i].client);
        assert_int_equal(line.status, expected[i].status);
        assert_true(line.bytes == expected[i].bytes);
        assert_true(isnan(expected[i].request_time)
                        ? isnan(line.request_time)
                        : fabs(line.request_time - expected[i].request_time) < 1e-9);
        assert_true(isnan(expected[i].upstream_time)
                        ? isnan(line.upstream_time)
                        : fabs(line.upstream_time - expected[i].upstream_time) < 1e-9);
    }
    fclose(file.stream);
}

static void test_others(void **state)
{
    (void)state;
    static const struct {
        enum log_level level;
        bool continued;
        const char *who, *text;
    } expected[] = {
        {LEVEL_ERROR, false, "",
         "*42 connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.7, "
         "server: x"},
        {LEVEL_CRITICAL, false, "811", "WORKER TIMEOUT (pid:815)"},
        {LEVEL_ERROR, false, "ForkPoolWorker-2",
         "Task app.tasks.bill[7d2b] raised unexpected: ValueError('x')"},
        {LEVEL_ERROR, true, "", "Traceback (most recent call last):"},
        {LEVEL_ERROR, true, "", "  File \"tasks.py\", line 4, in bill"},
        {LEVEL_ERROR, false, "", "app@al_noor ERROR:  relation \"x\" does not exist at character 15"},
        {LEVEL_ERROR, true, "", "app@al_noor STATEMENT:  select * from x"},
        {LEVEL_INFO, false, "", "LOG:  checkpoint complete"},
        {LEVEL_CRITICAL, false, "al_noor", "relation \"x\" does not exist"},
        {LEVEL_WARNING, false, "al_noor", "there is no \"x\" é 😀"},
        {LEVEL_ERROR, false, "", "[error] worker: cannot connect"},
        {LEVEL_ERROR, false, "", ""},
        {LEVEL_UNKNOWN, false, "cron", "(root) CMD (true)"},
        {LEVEL_WARNING, false, "", "level=warn msg=\"slow\""},
        {LEVEL_WARNING, false, "app", "Hi \xff"},
        {LEVEL_WARNING, true, "", "just text"},
        {LEVEL_WARNING, false, "", "Can't save in background: fork: Cannot allocate memory"},
    };
    struct file file = open_file("others.txt");
    struct log_parser *parser = parser_of(LOG_FORMAT_AUTO);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        parser->zone_s = i == 7 ? 3600 : 0; /* CET is the host's to know */
        struct log_line line = next(&file, parser);
        print_message("%s\n", file.text);
        assert_true(floor(line.time) == AT);
        assert_int_equal(line.level, expected[i].level);
        assert_int_equal(line.continued, expected[i].continued);
        assert_text(line.who, expected[i].who);
        if (*expected[i].text)
            assert_text(line.text, expected[i].text);
        else
            assert_true(line.access && line.status == 500);
    }
    fclose(file.stream);
}

static void test_journal(void **state)
{
    (void)state;
    static const char *const files[] = {"journal_json.jsonl", "journal_short_iso.txt"};
    for (size_t f = 0; f < 2; f++) {
        struct file file = open_file(files[f]);
        struct log_parser *parser = parser_of(LOG_FORMAT_JSON);
        struct log_line line = next(&file, parser);
        assert_true(line.time == 1795261000.0);
        assert_text(line.who, "gunicorn");
        assert_text(line.text, "Worker (pid:815) was sent SIGKILL! Perhaps out of memory?");
        assert_int_equal(line.level, f == 0 ? LEVEL_ERROR : LEVEL_UNKNOWN);
        line = next(&file, parser);
        assert_text(line.who, "kernel");
        assert_int_equal(line.level, f == 0 ? LEVEL_CRITICAL : LEVEL_UNKNOWN);
        line = next(&file, parser);
        assert_true(line.time == 1795261020.0);
        fclose(file.stream);
    }
}

static void test_times(void **state)
{
    (void)state;
    struct log_parser *parser = parser_of(LOG_FORMAT_PLAIN);
    assert_true(isnan(read_line(parser, "no time at all").time));
    assert_true(read_line(parser, "2026-11-21 14:05:10 INFO x").time == AT);
    assert_true(read_line(parser, "2026-11-21 14:05:10,500 x").time == AT + 0.5);
    assert_true(read_line(parser, "2026-11-21T17:35:10.250+0330 x").time == AT + 0.25);
    assert_true(read_line(parser, "2026-11-21T17:35:10+03:30 x").time == AT);
    assert_true(read_line(parser, "2026-11-21 09:05:10-05 x").time == AT);
    assert_true(read_line(parser, "1795269910.125 x").time == AT + 0.125);
    assert_true(read_line(parser, "1795269910125 x").time == AT + 0.125);
    parser->zone_s = -5 * 3600;
    assert_true(read_line(parser, "2026/11/21 09:05:10 x").time == AT);
    assert_true(read_line(parser, "2026-11-21 14:05:10Z x").time == AT);
    /* What is no time is none, and the line has that of the line before it. */
    static const char *const wrong[] = {"2026-13-21 14:05:10 x", "2026-11-21 24:05:10 x", "2026-11-21 14:05",
                                        "9999999999999999999999 x", "Nov 32 14:05:10 x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct log_line line = read_line(parser, wrong[i]);
        assert_true(line.continued && line.time == AT);
    }
    /* Around New Year the line is of the year that is near. */
    parser->zone_s = 0;
    parser->now = 1798761600 + 60; /* 2027-01-01T00:01 */
    assert_true(read_line(parser, "Dec 31 23:59:00 web1 x: y").time == 1798761600 - 60);
}

static void test_hostile(void **state)
{
    (void)state;
    struct log_line line;
    struct log_parser *parser = parser_of(LOG_FORMAT_AUTO);
    char *long_line = talloc_array(NULL, char, 100000);
    memset(long_line, '{', 100000);
    log_parse(parser, long_line, 100000, &line);
    assert_true(line.text.length <= LOG_LINE_MAX);
    memset(long_line, '"', 100000);
    log_parse(parser, long_line, 100000, &line);
    memset(long_line, '[', 100000);
    log_parse(parser, long_line, 100000, &line);
    talloc_free(long_line);
    static const char nul[] = "2026-11-21T14:05:10Z a\0b";
    log_parse(parser, nul, sizeof nul - 1, &line);
    assert_int_equal(line.text.length, 3);
    log_parse(parser, "", 0, &line);
    assert_int_equal(line.text.length, 0);
    /* JSON that was cut keeps what it has. */
    line = read_line(
        parser, "{\"__REALTIME_TIMESTAMP\":\"1795261000000000\",\"PRIORITY\":\"3\",\"MESSAGE\":\"half of i");
    assert_text(line.text, "half of i");
    assert_int_equal(line.level, LEVEL_ERROR);
    /* A client cannot say that it was another tenant, nor how long it took. */
    line = read_line(
        parser,
        "1.2.3.4 - - [21/Nov/2026:14:05:10 +0000] \"GET / HTTP/1.1\" 200 1 \"victim.example\" \"9.999\"");
    assert_text(line.host, "");
    assert_true(isnan(line.request_time));
    line = read_line(parser,
                     "a.example 1.2.3.4 - x [21/Nov/2026:14:05:10 +0000] \"GET / rt=9.000 HTTP/1.1\" 200 1 "
                     "\"-\" \"host=b.example\" rt=0.001");
    assert_text(line.host, "a.example");
    assert_true(fabs(line.request_time - 0.001) < 1e-9);
}

struct seen {
    size_t count, cut, bytes;
    char last[64];
};

static void see(void *data, const char *bytes, size_t length, bool cut)
{
    struct seen *seen = data;
    seen->count++;
    seen->cut += cut;
    seen->bytes += length;
    snprintf(seen->last, sizeof seen->last, "%.*s", (int)length, bytes);
}

static void test_split(void **state)
{
    (void)state;
    struct log_splitter *splitter = talloc_zero(NULL, struct log_splitter);
    struct seen seen = {0};
    log_split(splitter, "one\r\ntwo\nth", 11, see, &seen);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.last, "two");
    log_split(splitter, "ree\n\n", 5, see, &seen);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.last, "three");
    for (size_t i = 0; i < 3000; i++) /* 30 kB without an end, then the end */
        log_split(splitter, "0123456789", 10, see, &seen);
    assert_int_equal(seen.count, 3);
    log_split(splitter, "\nnext\n", 6, see, &seen);
    assert_int_equal(seen.count, 5);
    assert_int_equal(seen.cut, 1);
    assert_int_equal(seen.bytes, 3 + 3 + 5 + LOG_LINE_MAX + 4);
    assert_string_equal(seen.last, "next");
    log_split(splitter, "tail", 4, see, &seen);
    log_split_end(splitter, see, &seen);
    assert_string_equal(seen.last, "tail");
    talloc_free(splitter);
}

static struct log_line request(const char *host, double time, int status, double seconds)
{
    return (struct log_line){.access = true,
                             .host = {host, strlen(host)},
                             .time = time,
                             .status = status,
                             .bytes = 100,
                             .request_time = seconds,
                             .upstream_time = NAN};
}

static void test_sketch(void **state)
{
    (void)state;
    static struct sketch sketch, half[2];
    memset(&sketch, 0, sizeof sketch);
    memset(half, 0, sizeof half);
    assert_true(isnan(sketch_quantile(&sketch, 0.5)));
    for (int ms = 0; ms < 100000; ms++) {
        sketch_add(&sketch, ms / 1000.0);
        sketch_add(&half[ms % 2], ms / 1000.0);
    }
    sketch_merge(&half[0], &half[1]);
    static const double shares[] = {0.01, 0.5, 0.95, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double exact = floor(shares[i] * 99999) / 1000;
        assert_true(fabs(sketch_quantile(&sketch, shares[i]) - exact) <= 0.02 * exact + 1e-9);
        assert_true(sketch_quantile(&half[0], shares[i]) == sketch_quantile(&sketch, shares[i]));
    }
    assert_int_equal(sketch_bucket(0), 0);
    assert_int_equal(sketch_bucket(NAN), 0);
    assert_int_equal(sketch_bucket(1e30), SKETCH_BUCKETS - 1);
    assert_int_equal(sketch_bucket(INFINITY), SKETCH_BUCKETS - 1);
}

static void test_stats(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    struct log_stats *stats = log_stats_new(context, 600, 0.3);
    for (int i = 0; i < 100; i++) {
        struct log_line line = request(i % 2 ? "Al-Noor.example." : "al-noor.example", AT + i,
                                       i < 10 ? 500 : 200, i < 90 ? 0.1 : 0.8);
        log_stats_add(stats, &line);
    }
    struct log_line line = request("b.example", AT + 50, 404, NAN);
    log_stats_add(stats, &line);
    struct log_stats_report *report = log_stats_report(context, stats);
    assert_int_equal(report->tenant_count, 2);
    const struct tenant_stats *first = &report->tenants[0];
    assert_string_equal(first->host, "al-noor.example");
    assert_true(first->requests == 100 && first->errors_5xx == 10 && first->errors_percent == 10);
    assert_true(fabs(first->p50_ms - 100) <= 2 && fabs(first->p95_ms - 800) <= 16);
    assert_true(first->over_promise == 10 && first->over_percent == 10);
    assert_true(fabs(first->requests_per_s - 1) < 0.001);
    assert_true(first->bytes == 10000);
    assert_true(isnan(report->tenants[1].p95_ms) && report->tenants[1].errors_4xx == 1);
    assert_true(report->total.requests == 101);
    assert_true(report->from == AT && report->to == AT + 99);
    assert_null(log_stats_advice(report));
    /* The window slides: all but the last go, and the tenants with them. */
    line = request("c.example", AT + 99 + 601, 200, 0.001);
    log_stats_add(stats, &line);
    line = request("old.example", AT, 200, 0.001);
    log_stats_add(stats, &line);
    report = log_stats_report(context, stats);
    assert_int_equal(report->tenant_count, 1);
    assert_string_equal(report->tenants[0].host, "c.example");
    assert_true(fabs(report->total.p99_ms - 1) < 0.05);
    talloc_free(context);
}

static void test_stats_bounds(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    struct log_stats *stats = log_stats_new(context, 1e9, 0.3);
    char host[32];
    for (int i = 0; i < STATS_REQUESTS_MAX + 1000; i++) {
        snprintf(host, sizeof host, "t%d.example", i % (STATS_TENANTS_MAX + 500));
        int second = i / 1000;
        struct log_line line = request(host, AT + second, 200, 0.01);
        log_stats_add(stats, &line);
    }
    struct log_stats_report *report = log_stats_report(context, stats);
    assert_true(report->full);
    assert_int_equal(report->tenant_count, STATS_TENANTS_MAX + 1);
    assert_true(report->total.requests == STATS_REQUESTS_MAX);
    assert_true(report->others > 0);
    assert_true(talloc_total_size(stats) < (size_t)32 << 20);
    /* A clock that ran ahead does not push the others out. */
    struct log_line line = request("future.example", AT * 2, 200, 0.01);
    log_stats_add(stats, &line);
    assert_true(log_stats_report(context, stats)->total.requests == STATS_REQUESTS_MAX);
    talloc_free(context);
}

static void test_advice(void **state)
{
    (void)state;
    void *context = talloc_new(NULL);
    struct log_stats *stats = log_stats_new(context, 600, 0.3);
    struct log_line line = request("", AT, 200, NAN);
    log_stats_add(stats, &line);
    struct log_stats_report *report = log_stats_report(context, stats);
    assert_true(report->without_times && report->without_hosts);
    /* What is advised can be read. */
    assert_non_null(strstr(log_stats_advice(report), "$host $remote_addr"));
    talloc_free(context);
}

/* 1 million lines in 2 s is asked of the release; this is a tenth of it, under a sanitizer. */
static void test_speed(void **state)
{
    (void)state;
    static const char text[] =
        "al-noor.example 10.0.0.7 - sara [21/Nov/2026:17:05:10 +0300] \"POST /api/pay HTTP/2.0\" 502 157 "
        "\"-\" "
        "\"Mozilla/5.0 (X11; Linux x86_64)\" rt=1.204 uct=\"0.001\" uht=\"1.203\" urt=\"0.900\"";
    const char *count_text = getenv("SIGNALBOX_TEST_LINES");
    long count = count_text ? strtol(count_text, NULL, 10) : 100000;
    struct log_parser *parser = parser_of(LOG_FORMAT_ACCESS);
    struct log_stats *stats = log_stats_new(NULL, 600, 0.3);
    struct log_line line;
    clock_t begin = clock();
    for (long i = 0; i < count; i++) {
        log_parse(parser, text, sizeof text - 1, &line);
        log_stats_add(stats, &line);
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%ld access lines in %.2f s\n", count, seconds);
    assert_true(line.access);
    assert_true(seconds < 20.0 * (double)count / 1e6 + 1);
    talloc_free(stats);
}

int main(void)
{
    setenv("SIGNALBOX_TEST_CLOCK", "1795273600", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access), cmocka_unit_test(test_others),  cmocka_unit_test(test_journal),
        cmocka_unit_test(test_times),  cmocka_unit_test(test_hostile), cmocka_unit_test(test_split),
        cmocka_unit_test(test_sketch), cmocka_unit_test(test_stats),   cmocka_unit_test(test_stats_bounds),
        cmocka_unit_test(test_advice), cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
