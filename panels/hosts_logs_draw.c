/* How lines of logs look: on the screen, on a page of their own, as text and as JSON. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/hosts_logs_internal.h"

enum { TEXT_MAX = 4096, PROBLEMS_SHOWN = 4 };

/* ---- parts ---- */

/* "14:05:10" in the user's zone, with milliseconds where there is room, and the day when it is another one.
 */
static char *format_time(char *buffer, size_t size, double at, bool fine)
{
    time_t seconds = (time_t)floor(at), now = (time_t)clock_wall();
    struct tm parts, today;
    char text[48];
    if (!isfinite(at) || fabs(at) > 1e11) {
        snprintf(buffer, size, "?");
        return buffer;
    }
    localtime_r(&seconds, &parts);
    localtime_r(&now, &today);
    bool same = parts.tm_yday == today.tm_yday && parts.tm_year == today.tm_year;
    strftime(text, sizeof text, same ? "%H:%M:%S" : "%d %b %H:%M:%S", &parts);
    if (fine)
        snprintf(buffer, size, "%s.%03d", text, (int)((at - floor(at)) * 1000));
    else
        snprintf(buffer, size, "%s", text);
    return buffer;
}

static const char *level_letter(const struct logs_layer *self, const struct log_entry *entry,
                                enum style *style)
{
    static const char *const letters[] = {"", "d", "", "", "W", "E", "C"};
    bool slow = entry->access && entry->request_time > self->layer.app->environment->policy.api_latency;
    *style = theme_severity(log_level_severity(entry->level), STYLE_NORMAL);
    if (slow && entry->level < LEVEL_ERROR) {
        *style = STYLE_WARNING;
        return "!";
    }
    return letters[entry->level];
}

/* Safe text on one line out of bytes from the world; blanks stay, for they align and indent. */
static void safe_bytes(char *buffer, size_t size, struct log_text text)
{
    char raw[TEXT_MAX];
    size_t length = text.length < sizeof raw - 1 ? text.length : sizeof raw - 1;
    for (size_t i = 0; i < length; i++)
        raw[i] =
            text.bytes[i] == '\0' || text.bytes[i] == '\t' || text.bytes[i] == '\n' ? ' ' : text.bytes[i];
    safe_text(buffer, size, raw, length);
}

static void entry_text(char *buffer, size_t size, const struct log_entry *entry)
{
    char who[96];
    size_t used = 0;
    if (entry->who.length && !entry->access) {
        safe_bytes(who, sizeof who, entry->who);
        used = (size_t)snprintf(buffer, size, "%s: ", who);
    }
    if (entry->continued && used + 2 < size)
        used += (size_t)snprintf(buffer + used, size - used, "  ");
    safe_bytes(buffer + used, size - used, entry->text);
    if (entry->cut && strlen(buffer) + 4 < size)
        strcat(buffer, "…");
}

char *logs_line_text(const void *context, const struct log_follow *follow, const struct log_entry *entry)
{
    char time[64], *text = talloc_size(NULL, TEXT_MAX);
    const struct log_stream *stream = log_follow_stream(follow, entry->stream);
    entry_text(text, TEXT_MAX, entry);
    const char *level = log_level_name(entry->level);
    char *line = talloc_asprintf(context, "%s %s %s%s%s %s", clock_rfc3339(time, sizeof time, entry->at),
                                 stream->host, stream->source, *level ? " " : "", level, text);
    talloc_free(text);
    return line;
}

struct json_object *logs_line_json(const struct log_follow *follow, const struct log_entry *entry)
{
    char *text = talloc_size(NULL, LOG_LINE_MAX + 1);
    const struct log_stream *stream = log_follow_stream(follow, entry->stream);
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "host", json_text(stream->host));
    json_object_object_add(object, "source", json_text(stream->source));
    json_object_object_add(object, "time", json_time(entry->at));
    json_object_object_add(object, "level",
                           entry->level == LEVEL_UNKNOWN ? NULL : json_text(log_level_name(entry->level)));
    struct log_text who = entry->who, said = entry->access ? entry->raw : entry->text;
    memcpy(text, who.bytes, who.length);
    text[who.length] = '\0';
    json_object_object_add(object, "who", who.length ? json_text(text) : NULL);
    for (size_t i = 0; i < said.length; i++)
        text[i] = said.bytes[i] ? said.bytes[i] : ' ';
    text[said.length] = '\0';
    json_object_object_add(object, "text", json_text(text));
    json_object_object_add(object, "status", entry->access ? json_object_new_int(entry->status) : NULL);
    json_object_object_add(object, "request_ms", json_real(entry->access ? entry->request_time * 1000 : NAN));
    talloc_free(text);
    return object;
}

/* ---- the head ---- */

static const char *doing(const struct logs_layer *self)
{
    if (log_follow_paused(self->follow))
        return "paused";
    if (self->around > 0)
        return log_follow_ended(self->follow) ? "a span of time" : "searching";
    return log_follow_settled(self->follow) ? "following" : "reading";
}

static int draw_summary(struct logs_layer *self, struct screen *screen, int top, int columns)
{
    char line[640], time[64], count[32];
    size_t used = 0;
    const struct log_ring *ring = log_follow_ring(self->follow);
    used += (size_t)snprintf(line, sizeof line, "%s · %s lines", doing(self),
                             format_count(count, sizeof count, (double)log_ring_count(ring)));
    if (self->around > 0)
        used += (size_t)snprintf(line + used, sizeof line - used, " · 5 minutes before and after %s",
                                 format_time(time, sizeof time, self->around, false));
    if (self->filter)
        used += (size_t)snprintf(line + used, sizeof line - used, " · filter \"%.120s\"", self->filter);
    if (log_ring_forgotten(ring))
        used += (size_t)snprintf(line + used, sizeof line - used, " · the oldest %s are gone",
                                 format_count(count, sizeof count, (double)log_ring_forgotten(ring)));
    if (!self->at_end && self->around == 0)
        snprintf(line + used, sizeof line - used, " · scrolled back: the end follows");
    screen_put(screen, top, 0, columns, log_follow_paused(self->follow) ? STYLE_WARNING : STYLE_DIM, line);
    if (!log_follow_dropped(self->follow))
        return 1;
    screen_format(screen, top + 1, 0, columns, STYLE_WARNING,
                  "%s lines dropped: they came faster than 2 MB a second; a filter lets fewer come",
                  format_count(count, sizeof count, (double)log_follow_dropped(self->follow)));
    return 2;
}

/* What is wrong with single logs. */
static int draw_problems(const struct logs_layer *self, struct screen *screen, int top, int columns)
{
    int row = top;
    size_t hidden = 0, count = log_follow_stream_count(self->follow);
    for (size_t i = 0; i < count; i++) {
        const struct log_stream *stream = log_follow_stream(self->follow, i);
        bool bad = stream->state == LOG_STREAM_DENIED || stream->state == LOG_STREAM_FAILED ||
                   stream->state == LOG_STREAM_MISSING;
        if (!bad)
            continue;
        if (row - top >= PROBLEMS_SHOWN) {
            hidden++;
            continue;
        }
        screen_format(screen, row++, 0, columns,
                      stream->state == LOG_STREAM_MISSING ? STYLE_DIM : STYLE_WARNING, "%s %s: %s",
                      stream->host, stream->source, stream->message);
    }
    if (hidden)
        screen_format(screen, row++, 0, columns, STYLE_DIM, "and %zu logs more that cannot be read", hidden);
    return row - top;
}

/* ---- the lines ---- */

struct widths {
    int time, host, source;
    bool fine;
};

static int longest(int so_far, const char *text, int limit)
{
    int width = text_width(text);
    width = width > limit ? limit : width;
    return width > so_far ? width : so_far;
}

/* Host and source are told when there are several. */
static struct widths measure(const struct logs_layer *self, size_t first, size_t rows, int columns)
{
    struct widths widths = {.fine = columns >= 120};
    const struct log_ring *ring = log_follow_ring(self->follow);
    size_t streams = log_follow_stream_count(self->follow);
    for (size_t i = 1; i < streams; i++) {
        const struct log_stream *a = log_follow_stream(self->follow, i - 1),
                                *b = log_follow_stream(self->follow, i);
        if (strcmp(a->host, b->host) != 0)
            widths.host = 1;
        if (strcmp(a->source, b->source) != 0)
            widths.source = 1;
    }
    for (size_t i = 0; i < streams; i++) {
        const struct log_stream *stream = log_follow_stream(self->follow, i);
        if (widths.host)
            widths.host = longest(widths.host, stream->host, columns >= 120 ? 20 : 8);
        if (widths.source)
            widths.source = longest(widths.source, stream->source, columns >= 120 ? 20 : 10);
    }
    bool fractions = false;
    for (size_t i = first; i < first + rows && i < log_ring_count(ring); i++) {
        double at = log_ring_entry(ring, i)->at;
        fractions = fractions || at != floor(at);
    }
    widths.fine = widths.fine && fractions;
    for (size_t i = first; i < first + rows; i++) {
        const struct log_entry *entry = log_ring_entry(ring, i);
        char time[64];
        if (entry)
            widths.time = longest(widths.time, format_time(time, sizeof time, entry->at, widths.fine), 30);
    }
    return widths;
}

/* The text from the cell where the screen was scrolled to, with what was looked for marked. */
static void draw_text(const struct logs_layer *self, struct screen *screen, int row, int column, int cells,
                      unsigned style, unsigned selected, const char *text)
{
    int used;
    if (self->left) {
        size_t skipped = text_fit(text, self->left, &used);
        text += skipped;
    }
    screen_put(screen, row, column, cells, style, text);
    size_t length = self->needle ? strlen(self->needle) : 0;
    for (const char *at = text; length && (at = strcasestr(at, self->needle)); at += length) {
        char part[TEXT_MAX];
        snprintf(part, sizeof part, "%.*s", (int)(at - text), text);
        int before = text_width(part);
        if (before >= cells)
            return;
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        screen_put(screen, row, column + before, cells - before, STYLE_MATCH | selected, part);
    }
}

static void draw_line(const struct logs_layer *self, struct screen *screen, int row, int columns,
                      const struct log_entry *entry, const struct widths *widths, bool is_cursor)
{
    const struct log_stream *stream = log_follow_stream(self->follow, entry->stream);
    unsigned selected = is_cursor ? STYLE_IN_SELECTED : 0;
    char time[64], text[TEXT_MAX];
    enum style style;
    int column = 0;
    if (is_cursor)
        screen_fill(screen, row, 0, columns, STYLE_SELECTED);
    screen_put(screen, row, column, widths->time, STYLE_DIM | selected,
               format_time(time, sizeof time, entry->at, widths->fine));
    column += widths->time + 1;
    if (widths->host) {
        screen_put(screen, row, column, widths->host, STYLE_NORMAL | selected, stream->host);
        column += widths->host + 1;
    }
    if (widths->source) {
        screen_put(screen, row, column, widths->source, STYLE_DIM | selected, stream->source);
        column += widths->source + 1;
    }
    const char *letter = level_letter(self, entry, &style);
    screen_put(screen, row, column, 1, style | selected, letter);
    column += 2;
    entry_text(text, sizeof text, entry);
    draw_text(self, screen, row, column, columns - column, style | selected, selected, text);
}

/* The first line in the window. The selected one stays where it is on the screen, whatever comes. */
static size_t window(struct logs_layer *self, size_t count, size_t rows)
{
    size_t cursor = logs_cursor(self);
    if (self->at_end)
        self->cursor_row = rows - 1;
    if (self->cursor_row >= rows)
        self->cursor_row = rows - 1;
    size_t first = cursor > self->cursor_row ? cursor - self->cursor_row : 0;
    if (first + rows > count)
        first = count > rows ? count - rows : 0;
    self->cursor_row = cursor - first;
    return first;
}

/* Goes to the time that was asked for, as long as nobody has moved. */
static void search_time(struct logs_layer *self, size_t rows)
{
    const struct log_ring *ring = log_follow_ring(self->follow);
    if (self->around == 0 || self->searched || !log_ring_count(ring))
        return;
    size_t index = log_ring_find(ring, self->around);
    if (index >= log_ring_count(ring))
        index = log_ring_count(ring) - 1;
    logs_select(self, index);
    self->cursor_row = rows / 3;
    self->searched = log_follow_ended(self->follow);
}

static const char *why_empty(const struct logs_layer *self)
{
    if (!log_follow_stream_count(self->follow))
        return "these hosts have no such log · the key for \"log\" chooses another one";
    if (!log_follow_settled(self->follow) || (self->around > 0 && !log_follow_ended(self->follow)))
        return "reading …";
    return self->filter ? "no line with this text yet" : "no line yet";
}

void logs_draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    struct logs_layer *self = (struct logs_layer *)layer;
    int head = draw_summary(self, screen, top, columns);
    head += draw_problems(self, screen, top + head, columns);
    if (head > rows - 2)
        head = rows - 2;
    size_t body = (size_t)(rows - head);
    self->rows = body;
    const struct log_ring *ring = log_follow_ring(self->follow);
    size_t count = log_ring_count(ring);
    if (!count) {
        screen_put(screen, top + head + 1, 2, columns - 2, STYLE_DIM, why_empty(self));
        return;
    }
    search_time(self, body);
    if (!self->cursor)
        logs_select(self, count - 1);
    size_t first = window(self, count, body);
    struct widths widths = measure(self, first, body, columns);
    for (size_t i = 0; i < body && first + i < count; i++)
        draw_line(self, screen, top + head + (int)i, columns, log_ring_entry(ring, first + i), &widths,
                  i == self->cursor_row);
}

/* ---- the page of one line ---- */

static void page_bytes(struct page *page, const char *label, struct log_text text)
{
    char buffer[TEXT_MAX];
    if (!text.length)
        return;
    safe_bytes(buffer, sizeof buffer, text);
    page_pair(page, label, STYLE_NORMAL, buffer);
}

static void page_request(struct page *page, const struct logs_layer *self, const struct log_entry *entry)
{
    struct log_parser *parser = talloc_zero(NULL, struct log_parser);
    struct log_line line;
    char time[32];
    log_parser_init(parser, LOG_FORMAT_ACCESS);
    log_parse(parser, entry->raw.bytes, entry->raw.length, &line);
    page_section(page, "Request");
    page_bytes(page, "host", line.host);
    page_bytes(page, "method", line.method);
    page_bytes(page, "path", line.path);
    page_bytes(page, "client", line.client);
    page_pair_format(page, "status", theme_severity(log_level_severity(entry->level), STYLE_NORMAL), "%d",
                     line.status);
    if (!isnan(line.request_time)) {
        double promise = self->layer.app->environment->policy.api_latency;
        char promised[32];
        page_pair_format(page, "took", line.request_time > promise ? STYLE_WARNING : STYLE_NORMAL,
                         "%s (promised: %s)", format_ms(time, sizeof time, line.request_time * 1000),
                         format_ms(promised, sizeof promised, promise * 1000));
    }
    if (!isnan(line.upstream_time))
        page_pair(page, "upstream", STYLE_NORMAL, format_ms(time, sizeof time, line.upstream_time * 1000));
    if (!isnan(line.bytes))
        page_pair(page, "sent", STYLE_NORMAL, format_bytes(time, sizeof time, line.bytes));
    talloc_free(parser);
}

struct page *logs_page(const struct logs_layer *self, const struct log_entry *entry)
{
    struct page *page = page_new(NULL);
    const struct log_stream *stream = log_follow_stream(self->follow, entry->stream);
    char text[64], *raw = talloc_strndup(page, entry->raw.bytes, entry->raw.length);
    page_section(page, "Line");
    page_pair(page, "host", STYLE_NORMAL, stream->host);
    page_pair(page, "log", STYLE_NORMAL, stream->source);
    page_pair(page, "time", STYLE_NORMAL, clock_rfc3339(text, sizeof text, entry->at));
    if (isnan(entry->time))
        page_pair(page, "", STYLE_DIM,
                  entry->continued ? "of the line that it belongs to"
                                   : "when it came: it has none of its own");
    else if (fabs(entry->time - entry->at) >= 0.001)
        page_pair_format(page, "its own time", STYLE_WARNING,
                         "%s (the clock there is wrong, or it came late)",
                         clock_rfc3339(text, sizeof text, entry->time));
    if (entry->level != LEVEL_UNKNOWN)
        page_pair(page, "level", theme_severity(log_level_severity(entry->level), STYLE_NORMAL),
                  log_level_name(entry->level));
    page_bytes(page, "who", entry->who);
    if (entry->access)
        page_request(page, self, entry);
    else if (entry->raw.length && entry->raw.bytes[0] == '{')
        page_bytes(page, "says", entry->text);
    page_section(page, "As it came");
    page_text(page, STYLE_NORMAL, 0, raw);
    if (entry->cut)
        page_format(page, STYLE_DIM, 0, "cut here: the line is longer than %d bytes", LOG_LINE_MAX);
    return page;
}
