#include "backends/hosts/log_merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/log_internal.h"
#include "core/clock.h"
#include "core/text.h"

/* A line whose time is further from now than this came from a clock that is wrong. */
#define NEAR_S 60.0

struct stream {
    struct log_merge *merge;
    unsigned number;
    struct log_parser parser;
    struct log_splitter splitter;
    bool live;
    bool skip_rest;    /* the rest of a line whose beginning was dropped */
    double last_at;    /* place of its last line */
    double seen_until; /* begun again: lines up to here were read before; NAN */
    double last_time;
    uint64_t lines;
};

struct log_merge {
    struct log_ring *ring;
    struct log_stats *stats;
    struct stream **streams;
    unsigned stream_count;
    char *filter;
    double from, to;
    double bytes_per_s, budget, budget_at; /* a bucket of tokens that holds two seconds */
    uint64_t dropped;
    char text[LOG_LINE_MAX + 1]; /* the line as a string, for the filter */
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void set_filter(struct log_merge *merge, const char *filter)
{
    TALLOC_FREE(merge->filter);
    if (filter && *filter)
        merge->filter = must(talloc_strdup(merge, filter));
}

struct log_merge *log_merge_new(const void *context, const struct log_merge_options *options)
{
    struct log_merge *merge = must(talloc_zero(context, struct log_merge));
    merge->ring = log_ring_new(merge, options->max_lines ? options->max_lines : 20000,
                               options->max_bytes ? options->max_bytes : (size_t)8 << 20);
    merge->stats = options->stats;
    merge->from = options->from;
    merge->to = options->to;
    merge->bytes_per_s = options->bytes_per_s > 0 ? options->bytes_per_s : 2 << 20;
    merge->budget = 2 * merge->bytes_per_s;
    merge->budget_at = clock_monotonic();
    set_filter(merge, options->filter);
    return merge;
}

void log_merge_reset(struct log_merge *merge, const char *filter)
{
    set_filter(merge, filter);
    log_ring_clear(merge->ring);
    for (unsigned i = 0; i < merge->stream_count; i++) {
        merge->streams[i]->last_time = merge->streams[i]->seen_until = NAN;
        merge->streams[i]->last_at = -INFINITY;
        merge->streams[i]->lines = 0;
    }
}

struct log_ring *log_merge_ring(struct log_merge *merge)
{
    return merge->ring;
}

uint64_t log_merge_dropped(const struct log_merge *merge)
{
    return merge->dropped;
}

uint64_t log_merge_read(const struct log_merge *merge, unsigned number, double *last_time)
{
    if (last_time)
        *last_time = merge->streams[number]->last_time;
    return merge->streams[number]->lines;
}

unsigned log_merge_stream(struct log_merge *merge, enum log_format format)
{
    struct stream *stream = must(talloc_zero(merge, struct stream));
    merge->streams = must(talloc_realloc(merge, merge->streams, struct stream *, merge->stream_count + 1));
    merge->streams[merge->stream_count] = stream;
    log_parser_init(&stream->parser, format);
    stream->merge = merge;
    stream->number = merge->stream_count++;
    stream->last_time = stream->seen_until = NAN;
    stream->last_at = -INFINITY;
    return stream->number;
}

void log_merge_begin(struct log_merge *merge, unsigned number, int zone_s)
{
    struct stream *stream = merge->streams[number];
    stream->parser.zone_s = zone_s;
    stream->parser.last_time = NAN;
    stream->splitter.length = 0;
    stream->splitter.cut = false;
    stream->skip_rest = false;
    stream->live = false;
    stream->seen_until = stream->last_time;
}

void log_merge_live(struct log_merge *merge, unsigned number)
{
    merge->streams[number]->live = true;
    merge->streams[number]->seen_until = NAN;
}

/* ---- lines ---- */

static bool passes_filter(struct log_merge *merge, struct log_text raw, const struct log_line *line)
{
    if (!merge->filter)
        return true;
    /* The journal's lines are JSON: what is looked for is in what they say. */
    struct log_text text = raw.length && raw.bytes[0] == '{' && !line->access ? line->text : raw;
    for (size_t i = 0; i < text.length; i++)
        merge->text[i] = text.bytes[i] ? text.bytes[i] : ' ';
    merge->text[text.length] = '\0';
    if (text_contains(merge->text, merge->filter))
        return true;
    for (size_t i = 0; i < line->who.length; i++)
        merge->text[i] = line->who.bytes[i] ? line->who.bytes[i] : ' ';
    merge->text[line->who.length] = '\0';
    return text_contains(merge->text, merge->filter);
}

/* A line that was there before the log began again: earlier than the last one, or the same line. */
static bool is_known(const struct stream *stream, const struct log_line *line, struct log_text raw)
{
    if (isnan(stream->seen_until) || isnan(line->time) || line->time > stream->seen_until)
        return false;
    if (line->time < stream->seen_until)
        return true;
    const struct log_ring *ring = stream->merge->ring;
    for (size_t i = log_ring_count(ring); i > 0; i--) {
        const struct log_entry *entry = log_ring_entry(ring, i - 1);
        if (entry->at < line->time)
            return false;
        if (entry->stream == stream->number && entry->raw.length == raw.length &&
            memcmp(entry->raw.bytes, raw.bytes, raw.length) == 0)
            return true;
    }
    return false;
}

/* Where it stands: at its own time. When that cannot be (a clock that jumped, no time at all), where it came.
 * New lines of one log keep their order. */
static double place(const struct stream *stream, const struct log_line *line)
{
    double now = clock_wall();
    if (line->continued && isfinite(stream->last_at))
        return stream->last_at;
    if (isnan(line->time))
        return now;
    if (!stream->live)
        return line->time > now + NEAR_S ? now : line->time;
    double at = fabs(line->time - now) > NEAR_S ? now : line->time;
    return at < stream->last_at && stream->last_at <= now + NEAR_S ? stream->last_at : at;
}

static void on_line(void *data, const char *bytes, size_t length, bool cut)
{
    struct stream *stream = data;
    struct log_merge *merge = stream->merge;
    struct log_text raw = log_slice(bytes, length);
    struct log_line line;
    log_parse(&stream->parser, bytes, length, &line);
    stream->lines++;
    if ((!isnan(merge->from) && line.time < merge->from) || (!isnan(merge->to) && line.time > merge->to))
        return;
    if (is_known(stream, &line, raw))
        return;
    if (!isnan(line.time))
        stream->last_time = line.time;
    if (merge->stats)
        log_stats_add(merge->stats, &line);
    double at = place(stream, &line);
    stream->last_at = at;
    if (passes_filter(merge, raw, &line))
        log_ring_add(merge->ring, stream->number, &line, raw, cut, at);
}

double log_merge_budget(struct log_merge *merge)
{
    double now = clock_monotonic();
    merge->budget += (now - merge->budget_at) * merge->bytes_per_s;
    if (merge->budget > 2 * merge->bytes_per_s)
        merge->budget = 2 * merge->bytes_per_s;
    merge->budget_at = now;
    return merge->budget;
}

static void drop(struct stream *stream, const char *bytes, size_t length)
{
    uint64_t lines = 0;
    for (const char *at = bytes, *end = bytes + length, *newline;
         at < end && (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1)
        lines++;
    stream->splitter.length = 0;
    stream->splitter.cut = false;
    stream->skip_rest = length && bytes[length - 1] != '\n';
    stream->merge->dropped += lines;
    if (stream->merge->stats)
        log_stats_dropped(stream->merge->stats, lines);
}

size_t log_merge_feed(struct log_merge *merge, unsigned number, const char *bytes, size_t length)
{
    struct stream *stream = merge->streams[number];
    if (log_merge_budget(merge) <= 0 && stream->live) {
        drop(stream, bytes, length);
        return 0;
    }
    merge->budget -= (double)length;
    if (stream->skip_rest) {
        const char *newline = memchr(bytes, '\n', length);
        if (!newline)
            return length;
        merge->dropped++;
        stream->skip_rest = false;
        length -= (size_t)(newline + 1 - bytes);
        bytes = newline + 1;
    }
    log_split(&stream->splitter, bytes, length, on_line, stream);
    return length;
}

void log_merge_end(struct log_merge *merge, unsigned number)
{
    struct stream *stream = merge->streams[number];
    if (!stream->skip_rest)
        log_split_end(&stream->splitter, on_line, stream);
}
