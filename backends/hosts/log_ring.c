#include "backends/hosts/log_ring.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

struct log_ring {
    struct log_entry **entries; /* a circle of `room` pointers, a power of two */
    size_t room, first, count;
    size_t bytes, max_lines, max_bytes;
    uint64_t next_number, forgotten;
};

static struct log_entry **slot(const struct log_ring *ring, size_t index)
{
    return &ring->entries[(ring->first + index) & (ring->room - 1)];
}

void log_ring_clear(struct log_ring *ring)
{
    for (size_t i = 0; i < ring->count; i++)
        free(*slot(ring, i));
    ring->first = ring->count = ring->bytes = 0;
}

static int ring_free(struct log_ring *ring)
{
    log_ring_clear(ring);
    return 0;
}

struct log_ring *log_ring_new(const void *context, size_t max_lines, size_t max_bytes)
{
    struct log_ring *ring = talloc_zero(context, struct log_ring);
    if (!ring)
        abort();
    ring->max_lines = max_lines ? max_lines : 1;
    ring->max_bytes = max_bytes;
    ring->next_number = 1;
    talloc_set_destructor(ring, ring_free);
    return ring;
}

size_t log_ring_count(const struct log_ring *ring)
{
    return ring->count;
}

size_t log_ring_bytes(const struct log_ring *ring)
{
    return ring->bytes;
}

uint64_t log_ring_forgotten(const struct log_ring *ring)
{
    return ring->forgotten;
}

const struct log_entry *log_ring_entry(const struct log_ring *ring, size_t index)
{
    return index < ring->count ? *slot(ring, index) : NULL;
}

/* The first index whose place is not before `at`, or, with `after`, later than it. */
static size_t bound(const struct log_ring *ring, double at, bool after)
{
    size_t low = 0, high = ring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        double place = (*slot(ring, middle))->at;
        if (place < at || (after && place == at))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t log_ring_find(const struct log_ring *ring, double at)
{
    return bound(ring, at, false);
}

size_t log_ring_index(const struct log_ring *ring, uint64_t number, double at)
{
    size_t first = bound(ring, at, false), index = first;
    for (; index < ring->count && (*slot(ring, index))->at == at; index++)
        if ((*slot(ring, index))->number == number)
            return index;
    return first;
}

static void grow(struct log_ring *ring)
{
    size_t room = ring->room ? 2 * ring->room : 256;
    struct log_entry **entries = talloc_array(ring, struct log_entry *, room);
    if (!entries)
        abort();
    for (size_t i = 0; i < ring->count; i++)
        entries[i] = *slot(ring, i);
    talloc_free(ring->entries);
    ring->entries = entries;
    ring->room = room;
    ring->first = 0;
}

static struct log_text copy(char **at, struct log_text text)
{
    struct log_text result = {.bytes = *at, .length = text.length};
    if (text.length)
        memcpy(*at, text.bytes, text.length);
    *at += text.length;
    return result;
}

static bool is_within(struct log_text outer, struct log_text inner)
{
    return inner.bytes >= outer.bytes && inner.bytes + inner.length <= outer.bytes + outer.length;
}

static struct log_text moved(struct log_text from, struct log_text to, struct log_text inner)
{
    return (struct log_text){.bytes = to.bytes + (inner.bytes - from.bytes), .length = inner.length};
}

/* One piece of memory for all; texts that are a part of the line are not kept twice. */
static struct log_entry *entry_new(const struct log_line *line, struct log_text raw)
{
    char request[1024];
    struct log_text text = line->text;
    if (line->access) {
        text.length = log_access_text(request, sizeof request, line);
        text.bytes = request;
    }
    bool text_within = is_within(raw, text), who_within = is_within(raw, line->who);
    size_t size = sizeof(struct log_entry) + raw.length + (text_within ? 0 : text.length) +
                  (who_within ? 0 : line->who.length);
    struct log_entry *entry = malloc(size);
    if (!entry)
        abort();
    char *at = entry->bytes;
    *entry = (struct log_entry){.time = line->continued ? NAN : line->time,
                                .level = line->level,
                                .continued = line->continued,
                                .access = line->access,
                                .status = line->status,
                                .request_time = line->request_time,
                                .size = size};
    entry->raw = copy(&at, raw);
    entry->text = text_within ? moved(raw, entry->raw, text) : copy(&at, text);
    entry->who = who_within ? moved(raw, entry->raw, line->who) : copy(&at, line->who);
    return entry;
}

static void forget_oldest(struct log_ring *ring)
{
    struct log_entry *oldest = *slot(ring, 0);
    ring->bytes -= oldest->size;
    ring->first = (ring->first + 1) & (ring->room - 1);
    ring->count--;
    ring->forgotten++;
    free(oldest);
}

static size_t place_of(const struct log_ring *ring, unsigned stream, double at, bool continued)
{
    size_t index = bound(ring, at, true);
    if (!continued)
        return index;
    for (size_t i = index; i > 0 && (*slot(ring, i - 1))->at == at; i--)
        if ((*slot(ring, i - 1))->stream == stream)
            return i;
    return index;
}

const struct log_entry *log_ring_add(struct log_ring *ring, unsigned stream, const struct log_line *line,
                                     struct log_text raw, bool cut, double at)
{
    size_t index = place_of(ring, stream, at, line->continued);
    bool full = ring->count >= ring->max_lines || ring->bytes >= ring->max_bytes;
    if (index == 0 && full && ring->count) {
        ring->forgotten++;
        return NULL;
    }
    struct log_entry *entry = entry_new(line, raw);
    entry->number = ring->next_number++;
    entry->stream = stream;
    entry->cut = cut;
    entry->at = at;
    if (ring->count == ring->room)
        grow(ring);
    for (size_t i = ring->count; i > index; i--)
        *slot(ring, i) = *slot(ring, i - 1);
    *slot(ring, index) = entry;
    ring->count++;
    ring->bytes += entry->size;
    while (ring->count > 1 && (ring->count > ring->max_lines || ring->bytes > ring->max_bytes))
        forget_oldest(ring);
    return entry;
}
