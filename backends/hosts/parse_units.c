/* Units of systemd (blocks of `systemctl show`) and events (lines of the journal, of dmesg). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

static const char *kept(struct host_part *part, struct span value, size_t most)
{
    return value.length ? part_text(part, value, most) : NULL;
}

static void read_property(struct host_part *part, struct host_unit *unit, struct span name, struct span value)
{
    uint64_t number;
    if (span_is(name, "LoadState"))
        unit->load = kept(part, value, 20);
    else if (span_is(name, "ActiveState"))
        unit->active = kept(part, value, 20);
    else if (span_is(name, "SubState"))
        unit->sub = kept(part, value, 20);
    else if (span_is(name, "Description"))
        unit->description = kept(part, value, 100);
    else if (span_is(name, "Result"))
        unit->result = span_is(value, "success") ? NULL : kept(part, value, 24);
    else if (span_is(name, "NRestarts"))
        span_integer(value, 1 << 30, &unit->restarts);
    else if (span_is(name, "MemoryCurrent") && span_counter(value, &number))
        unit->memory_bytes = (double)number;
    else if (span_is(name, "StateChangeTimestamp"))
        unit->since = span_time(value);
}

/* Properties come in systemd's own order: a block ends at an empty line. */
static bool read_block(struct host_part *part, struct span *body, struct host_unit *unit)
{
    struct span line;
    bool any = false;
    *unit = (struct host_unit){.since = NAN, .memory_bytes = NAN, .restarts = -1};
    while (span_line(body, &line) && (line.length || !any)) {
        struct span name = span_until(&line, '=');
        any = any || name.length;
        if (span_is(name, "Id"))
            unit->name = kept(part, line, 100);
        else
            read_property(part, unit, name, line);
    }
    return any;
}

static int weight(const struct host_unit *unit)
{
    if (unit->active && !strcmp(unit->active, "failed"))
        return 0;
    if (unit->active && (!strcmp(unit->active, "activating") || !strcmp(unit->active, "deactivating")))
        return 1;
    return unit->active && !strcmp(unit->active, "active") ? 2 : 3;
}

static int worse(const void *a, const void *b)
{
    const struct host_unit *x = a, *y = b;
    return weight(x) != weight(y) ? weight(x) - weight(y) : strcmp(x->name, y->name);
}

void parse_unit_properties(struct host_part *part, struct span body, struct host_unit **units, size_t *count)
{
    struct host_unit unit, *slot;
    size_t n = *count;
    while (read_block(part, &body, &unit))
        if (unit.name && !(unit.load && !strcmp(unit.load, "not-found")) &&
            (slot = ARRAY_ADD(part, *units, n, HOST_MAX_UNITS)))
            *slot = unit;
    if (n)
        qsort(*units, n, sizeof **units, worse);
    *count = n;
}

/* ---- events ---- */

/* "gunicorn[811]: text" or "kernel: text" */
static void read_message(struct host_part *part, struct host_event *event, struct span rest)
{
    size_t colon = span_find(rest, ": ");
    struct span who = {rest.at, colon};
    if (colon == rest.length) {
        event->text = part_text(part, rest, 300);
        return;
    }
    event->who = part_text(part, span_until(&who, '['), 48);
    event->text = part_text(part, (struct span){rest.at + colon + 2, rest.length - colon - 2}, 300);
}

static bool read_event(struct host_part *part, struct host_event *event, struct span line, double booted)
{
    struct span word, host;
    double seconds;
    *event = (struct host_event){.time = NAN};
    if (span_skip(&line, "[")) { /* dmesg */
        struct span time = span_trim(span_until(&line, ']'));
        if (!span_real(time, false, &seconds))
            return false;
        event->time = booted + seconds;
        event->who = "kernel";
        event->text = part_text(part, span_trim(line), 300);
        return true;
    }
    if (!line.length || line.at[0] < '0' || line.at[0] > '9' || !span_word(&line, &word) ||
        !span_word(&line, &host))
        return false;
    event->time = span_time(word);
    if (isnan(event->time))
        return false;
    read_message(part, event, span_trim(line));
    return event->text[0] != '\0';
}

void parse_events(struct host_part *part, struct span body, double booted, struct host_event **events,
                  size_t *count)
{
    struct span line;
    struct host_event event, *slot;
    size_t n = *count;
    while (span_line(&body, &line))
        if (read_event(part, &event, line, booted) && (slot = ARRAY_ADD(part, *events, n, HOST_MAX_EVENTS)))
            *slot = event;
    *count = n;
}
