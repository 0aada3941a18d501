/* Any bytes as lines of a log: split in pieces, read as each format, counted and written, without a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/log.h"
#include "backends/hosts/log_stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct log_parser parser;
    struct log_splitter splitter;
    struct log_stats *stats;
};

/* Reads every byte: one outside of what was given is found by the sanitizer. */
static size_t sum(struct log_text text)
{
    size_t total = 0;
    for (size_t i = 0; i < text.length; i++)
        total += (unsigned char)text.bytes[i];
    return total;
}

static void on_line(void *data, const char *bytes, size_t length, bool cut)
{
    struct run *run = data;
    struct log_line line;
    char text[512];
    (void)cut;
    /* A copy of its own, so that reading behind its end is seen. */
    char *copy = malloc(length ? length : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, length);
    log_parse(&run->parser, copy, length, &line);
    volatile size_t total = sum(line.text) + sum(line.who) + sum(line.host) + sum(line.method) +
                            sum(line.path) + sum(line.client);
    (void)total;
    if (line.access && log_access_text(text, sizeof text, &line) >= sizeof text)
        abort();
    log_stats_add(run->stats, &line);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct run *run = talloc_zero(NULL, struct run);
    run->stats = log_stats_new(run, 60, 0.3);
    log_parser_init(&run->parser, (enum log_format)(data[0] % (LOG_FORMAT_PLAIN + 1)));
    size_t piece = data[1] ? data[1] : 4096;
    for (size_t at = 2; at < size; at += piece)
        log_split(&run->splitter, (const char *)data + at, size - at < piece ? size - at : piece, on_line,
                  run);
    log_split_end(&run->splitter, on_line, run);
    struct log_stats_report *report = log_stats_report(run, run->stats);
    log_stats_advice(report);
    talloc_free(run);
    return 0;
}
