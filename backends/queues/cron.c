/* Crontab fields, and when an entry of a schedule is due. */
#include "backends/queues/cron.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/queues/cron_days.h"

enum { DAYS_MOST = 8 * 366 + 2 };

/* ---- fields ---- */

struct field {
    int least, most;
    const char *const *names; /* of three letters, the first is `least`; NULL: none */
    int name_count;
};

static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                     "jul", "aug", "sep", "oct", "nov", "dec"};
enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };
static const struct field fields[] = {
    [SECOND] = {0, 59, NULL, 0}, [MINUTE] = {0, 59, NULL, 0},   [HOUR] = {0, 23, NULL, 0},
    [DAY] = {1, 31, NULL, 0},    [MONTH] = {1, 12, months, 12}, [WEEKDAY] = {0, 6, weekdays, 7},
};

static int read_value(const struct field *field, const char *text, size_t length)
{
    int value = 0;
    if (!length || length > 9)
        return -1;
    for (int i = 0; length >= 3 && i < field->name_count; i++)
        if (strncasecmp(text, field->names[i], 3) == 0)
            return field->least + i;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -1;
        value = value * 10 + text[i] - '0';
        if (value > 99)
            return -1;
    }
    if (field == &fields[WEEKDAY] && value == 7)
        return 0;
    return value >= field->least && value <= field->most ? value : -1;
}

/* One of a list: a star or a range with or without a step, a number, a name; "fri-mon" wraps around. */
static bool read_part(const struct field *field, const char *text, size_t length, enum cron_flavour flavour,
                      uint64_t *bits)
{
    const char *slash = memchr(text, '/', length);
    size_t range = slash ? (size_t)(slash - text) : length;
    const char *dash = memchr(text, '-', range);
    int step = 1, first, last;
    if (slash) {
        static const struct field steps = {1, 99, NULL, 0};
        step = read_value(&steps, slash + 1, length - range - 1);
        if (step < 1)
            return false;
    }
    if (range == 1 && (*text == '*' || *text == '?')) {
        first = field->least;
        last = field->most;
    } else {
        first = read_value(field, text, dash ? (size_t)(dash - text) : range);
        last = dash ? read_value(field, dash + 1, range - (size_t)(dash + 1 - text)) : first;
        if (!dash && slash && flavour == CRON_VIXIE)
            last = field->most;
    }
    if (first < 0 || last < 0)
        return false;
    if (field == &fields[WEEKDAY] && dash && last == 0 && first > 0)
        last = 7; /* 5-7: to Sunday */
    if (last < first)
        last += field->most - field->least + 1;
    for (int i = first; i <= last; i += step)
        *bits |= UINT64_C(1) << (i > field->most ? i - (field->most - field->least + 1) : i);
    return true;
}

static bool read_field(const struct field *field, const char *text, size_t length, enum cron_flavour flavour,
                       uint64_t *bits)
{
    *bits = 0;
    for (size_t at = 0; at <= length;) {
        const char *comma = memchr(text + at, ',', length - at);
        size_t part = comma ? (size_t)(comma - text) - at : length - at;
        if (!part || !read_part(field, text + at, part, flavour, bits))
            return false;
        at += part + 1;
    }
    return true;
}

static const char *replace_word(const char *text)
{
    static const char *const words[][2] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i][0]) == 0)
            return words[i][1];
    return text;
}

static bool is_star(const char *text, size_t length)
{
    return length == 1 && (*text == '*' || *text == '?');
}

bool cron_parse(struct cron *cron, const char *text, enum cron_flavour flavour)
{
    const char *starts[7];
    size_t lengths[7], count = 0;
    *cron = (struct cron){.flavour = flavour, .seconds = 1};
    if (flavour == CRON_VIXIE)
        text = replace_word(text);
    for (const char *at = text; *at;) {
        at += strspn(at, " \t");
        size_t length = strcspn(at, " \t");
        if (length && count < 7) {
            starts[count] = at;
            lengths[count++] = length;
        }
        at += length;
    }
    size_t first = count == 6 && flavour == CRON_VIXIE ? 0 : 1;
    if (count != 6 - first)
        return false;
    uint64_t bits[6] = {1};
    for (size_t i = first; i < 6; i++) {
        const char *start = starts[i - first];
        size_t length = lengths[i - first];
        if (i == DAY && flavour == CRON_VIXIE && length == 1 && toupper((unsigned char)*start) == 'L')
            cron->last_day = true;
        else if (!read_field(&fields[i], start, length, flavour, &bits[i]))
            return false;
        cron->any_day = i == DAY ? is_star(start, length) : cron->any_day;
        cron->any_weekday = i == WEEKDAY ? is_star(start, length) : cron->any_weekday;
    }
    cron->seconds = bits[SECOND];
    cron->minutes = bits[MINUTE];
    cron->hours = (uint32_t)bits[HOUR];
    cron->days = (uint32_t)bits[DAY];
    cron->months = (uint32_t)bits[MONTH];
    cron->weekdays = (uint32_t)bits[WEEKDAY];
    return true;
}

/* ---- the next time ---- */

static bool day_fits(const struct cron *cron, int64_t days)
{
    int64_t year;
    int month, day;
    date_from_days(days, &year, &month, &day);
    if (!(cron->months >> month & 1))
        return false;
    bool by_day = cron->last_day ? day == days_in_month(year, month) : cron->days >> day & 1;
    bool by_weekday = cron->weekdays >> weekday_of(days) & 1;
    if (cron->flavour == CRON_CELERY || cron->any_day || cron->any_weekday)
        return by_day && by_weekday;
    return by_day || by_weekday;
}

/* The first second of that day, in local time, that comes after. */
static int64_t next_on_day(const struct cron *cron, const struct zone *zone, int64_t days, int64_t after)
{
    for (int hour = 0; hour < 24; hour++) {
        if (!(cron->hours >> hour & 1))
            continue;
        /* Clocks change by two hours at most. */
        if (zone_to_utc(zone, days * 86400 + hour * 3600) + 3 * 3600 < after)
            continue;
        for (int minute = 0; minute < 60; minute++) {
            if (!(cron->minutes >> minute & 1))
                continue;
            for (int second = 0; second < 60; second++) {
                if (!(cron->seconds >> second & 1))
                    continue;
                int64_t time = zone_to_utc(zone, days * 86400 + hour * 3600 + minute * 60 + second);
                if (time > after)
                    return time;
            }
        }
    }
    return 0;
}

/* What runs in every hour of every day runs in both of the hours that an autumn night has twice. */
static int64_t next_in_hour(const struct cron *cron, const struct zone *zone, int64_t after)
{
    for (int64_t time = after + 1; time <= after + 2 * 3600; time++) {
        int64_t local = time + zone_offset(zone, time);
        int64_t second = local - floor_div(local, 60) * 60, minute = floor_div(local, 60) % 60;
        if (second < 0 || minute < 0)
            return 0;
        if (cron->seconds >> second & 1 && cron->minutes >> minute & 1)
            return time;
    }
    return 0;
}

int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after)
{
    bool every_day = cron->months == 0x1ffe && cron->any_day && cron->any_weekday;
    if (after < 0)
        return 0;
    if (every_day && cron->hours == 0xffffff)
        return next_in_hour(cron, zone, after);
    int64_t first = floor_div(after + zone_offset(zone, after), 86400) - 1;
    for (int64_t days = first; days < first + DAYS_MOST; days++) {
        int64_t time = day_fits(cron, days) ? next_on_day(cron, zone, days, after) : 0;
        if (time)
            return time;
    }
    return 0;
}

/* ---- entries ---- */

static void every_text(char *buffer, size_t size, double seconds)
{
    static const struct {
        double length;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (seconds >= units[i].length && fmod(seconds, units[i].length) == 0) {
            snprintf(buffer, size, "every %.0f %s", seconds / units[i].length, units[i].name);
            return;
        }
    snprintf(buffer, size, "every %.6g s", seconds);
}

/* The first due time after `from`; 0: unknown. */
static double due_after(const struct cron *cron, const struct zone *zone, double every, double from)
{
    if (every > 0)
        return from + every;
    return (double)cron_next(cron, zone, (int64_t)floor(from));
}

static void judge(struct schedule_due *due, const struct schedule_when *when, const struct cron *cron,
                  const struct zone *zone, double every, double now)
{
    double base = when->last > 0 ? when->last : when->base;
    if (when->start > now) {
        due->next = every > 0 ? when->start : due_after(cron, zone, 0, when->start - 1);
        return;
    }
    double expected = base > 0 ? due_after(cron, zone, every, base) : 0;
    if (expected > 0 && expected + when->slack < now) {
        due->next = expected;
        due->late = now - expected - when->slack;
        due->why = when->last > 0 ? NULL : "it has never run";
    } else if (expected > now) {
        due->next = expected;
    } else if (every > 0) {
        due->next = expected > 0 ? expected + ceil((now - expected) / every) * every : 0;
    } else {
        due->next = due_after(cron, zone, 0, now);
    }
}

struct schedule_due schedule_due(struct zone_cache *zones, const struct schedule_when *when, double now)
{
    struct schedule_due due = {0};
    const char *kind = when->kind ? when->kind : "", *text = when->text ? when->text : "";
    bool celery = strcmp(kind, "celery") == 0;
    double every = strcmp(kind, "every") == 0 ? strtod(text, NULL) : 0;
    struct cron cron = {0};
    const struct zone *zone = NULL;
    if (every > 0 && isfinite(every))
        every_text(due.text, sizeof due.text, every);
    else
        snprintf(due.text, sizeof due.text, "%s%s%s", text, when->zone && *when->zone ? " " : "",
                 when->zone ? when->zone : "");
    if (when->known > 0) {
        due.next = when->known;
        due.late = fmax(0, now - when->known - when->slack);
        return due;
    }
    if (celery || strcmp(kind, "cron") == 0) {
        zone = zone_find(zones, when->zone);
        if (!cron_parse(&cron, text, celery ? CRON_CELERY : CRON_VIXIE))
            due.why = "its schedule cannot be read";
        else if (!zone)
            due.why = "its time zone is not known on this machine";
        if (due.why)
            return due;
    } else if (!(every > 0 && isfinite(every))) {
        return due;
    }
    judge(&due, when, &cron, zone, every, now);
    return due;
}
