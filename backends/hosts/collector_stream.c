/* Framing: lines that begin with "@@MARK " are ours, what stands outside of an answer is noise (a banner of
 * the remote shell) and is kept only to be shown when nothing else comes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/hosts/collector.h"
#include "backends/hosts/lines.h"
#include "core/clock.h"

void collector_stream_clear(struct collector_stream *stream)
{
    free(stream->buffer);
    stream->buffer = NULL;
    stream->length = stream->room = stream->scanned = 0;
    stream->inside = false;
    stream->clears++;
}

static void append(struct collector_stream *stream, const char *bytes, size_t length)
{
    if (stream->length + length > stream->room) {
        size_t room = stream->room ? stream->room * 2 : 4096;
        while (room < stream->length + length)
            room *= 2;
        stream->buffer = realloc(stream->buffer, room);
        if (!stream->buffer)
            abort();
        stream->room = room;
    }
    memcpy(stream->buffer + stream->length, bytes, length);
    stream->length += length;
}

/* The last bytes stay. */
static void keep_noise(struct collector_stream *stream, struct span line)
{
    size_t have = strlen(stream->noise), most = sizeof stream->noise - 2;
    stream->noise_bytes += line.length + 1;
    if (line.length > most)
        line = (struct span){line.at + line.length - most, most};
    if (have + line.length + 1 > most) {
        size_t gone = have + line.length + 1 - most;
        if (gone > have)
            gone = have;
        memmove(stream->noise, stream->noise + gone, have - gone + 1);
        have -= gone;
    }
    if (have)
        stream->noise[have++] = ' ';
    for (size_t i = 0; i < line.length; i++)
        stream->noise[have++] = line.at[i] ? line.at[i] : '?';
    stream->noise[have] = '\0';
}

static void drop(struct collector_stream *stream, size_t bytes)
{
    memmove(stream->buffer, stream->buffer + bytes, stream->length - bytes);
    stream->length -= bytes;
    stream->scanned = 0;
    if (!stream->length)
        collector_stream_clear(stream);
}

/* "end 12 0" */
static bool read_end(struct span line, unsigned *number)
{
    struct span word;
    int n;
    if (!span_skip(&line, "end ") || !span_word(&line, &word) || !span_integer(word, 1 << 30, &n))
        return false;
    *number = (unsigned)n;
    return true;
}

static void tell_ready(struct collector_stream *stream, struct span line)
{
    char user[64];
    struct span word;
    span_skip(&line, "ready ");
    if (!span_word_after(&line, 1, &word) || !stream->ready)
        return;
    /* It will stand in lines that people copy into sudoers. */
    size_t length = 0;
    for (; length < word.length && length + 1 < sizeof user; length++) {
        char c = word.at[length];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-' || c == '.';
        user[length] = fine ? c : '?';
    }
    user[length] = '\0';
    stream->ready(stream->data, user);
}

/* A whole line, which ends at `next` in the buffer. True when the buffer was shortened and is scanned from
 * its beginning. */
static bool take_line(struct collector_stream *stream, size_t from, size_t next)
{
    char marker[40];
    unsigned number;
    struct span line = {stream->buffer + from, next - from - 1};
    snprintf(marker, sizeof marker, "@@%s ", stream->mark);
    /* Without a line end in front of it, as after a prompt or a banner. */
    size_t at = stream->inside ? 0 : span_find(line, marker);
    struct span ours = {line.at + at, line.length - at};
    if (!span_skip(&ours, marker)) {
        if (!stream->inside)
            keep_noise(stream, line); /* dropped with all that comes in one piece */
        return false;
    }
    if (span_starts(ours, "ready ")) {
        tell_ready(stream, ours);
        drop(stream, next);
        return true;
    }
    if (!stream->inside) {
        stream->inside = true;
        if (from + at) {
            drop(stream, from + at);
            return true;
        }
    }
    if (!read_end(ours, &number))
        return false;
    stream->inside = false;
    stream->noise_bytes = 0;
    /* The stream may be cleared by who takes the answer. */
    char *buffer = stream->buffer;
    size_t length = stream->length;
    unsigned clears = stream->clears;
    stream->buffer = NULL;
    stream->length = stream->room = stream->scanned = 0;
    stream->answer(stream->data, stream, number, buffer, next);
    if (length > next && clears == stream->clears)
        append(stream, buffer + next, length - next);
    free(buffer);
    return true;
}

bool collector_stream_feed(struct collector_stream *stream, const char *bytes, size_t length)
{
    if (!stream->length)
        stream->first = clock_wall();
    append(stream, bytes, length);
    while (stream->scanned < stream->length) {
        char *end = memchr(stream->buffer + stream->scanned, '\n', stream->length - stream->scanned);
        if (!end)
            break;
        size_t next = (size_t)(end - stream->buffer) + 1;
        if (!take_line(stream, stream->scanned, next))
            stream->scanned = next;
    }
    if (!stream->inside && stream->scanned)
        drop(stream, stream->scanned);
    if (stream->length > COLLECTOR_MOST_BYTES)
        return false;
    /* A line without an end that is none of ours. */
    if (!stream->inside && stream->length > 65536) {
        keep_noise(stream, (struct span){stream->buffer, stream->length});
        collector_stream_clear(stream);
    }
    return stream->noise_bytes <= COLLECTOR_MOST_NOISE;
}
