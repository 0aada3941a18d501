/* Time zones from TZif files (RFC 8536): their transitions, and the rule in POSIX form that follows them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/cron.h"
#include "backends/queues/cron_days.h"

enum { FILE_MOST = 64 * 1024, NAME_MOST = 64, ZONES_MOST = 256 };

/* When daylight saving begins or ends in a year. */
struct rule {
    enum { RULE_MONTH, RULE_JULIAN, RULE_DAY } kind;
    int month, week, day;
    int seconds; /* of local time since midnight; may be negative or beyond a day */
};

struct zone {
    int64_t *times;
    uint8_t *types;
    size_t time_count;
    int offsets[256];
    bool daylight[256];
    size_t type_count;
    bool has_rule, has_daylight;
    int standard, summer;
    struct rule begin, end;
};

struct zone_cache {
    size_t count;
    char *names[ZONES_MOST];
    struct zone *zones[ZONES_MOST]; /* NULL: there is none */
    struct zone utc;
};

/* ---- the rule ---- */

static bool skip_name(const char **at)
{
    const char *start = *at;
    if (**at == '<') {
        while (**at && **at != '>')
            (*at)++;
        return *(*at) == '>' && (*at)++;
    }
    while (isalpha((unsigned char)**at))
        (*at)++;
    return *at - start >= 3;
}

static bool read_number(const char **at, int most, int *number)
{
    if (!isdigit((unsigned char)**at))
        return false;
    *number = 0;
    while (isdigit((unsigned char)**at) && *number <= most)
        *number = *number * 10 + *(*at)++ - '0';
    return *number <= most;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **at, int *seconds)
{
    int sign = **at == '-' ? -1 : 1, hours, minutes = 0, rest = 0;
    if (**at == '-' || **at == '+')
        (*at)++;
    if (!read_number(at, 167, &hours))
        return false;
    if (**at == ':' && ((*at)++, !read_number(at, 59, &minutes)))
        return false;
    if (**at == ':' && ((*at)++, !read_number(at, 59, &rest)))
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60 + rest);
    return true;
}

static bool read_day(const char **at, struct rule *rule)
{
    if (**at != ',')
        return false;
    (*at)++;
    rule->seconds = 7200;
    if (**at == 'M') {
        rule->kind = RULE_MONTH;
        (*at)++;
        if (!read_number(at, 12, &rule->month) || rule->month < 1 || *(*at)++ != '.' ||
            !read_number(at, 5, &rule->week) || rule->week < 1 || *(*at)++ != '.' ||
            !read_number(at, 6, &rule->day))
            return false;
    } else {
        rule->kind = **at == 'J' ? RULE_JULIAN : RULE_DAY;
        *at += **at == 'J';
        if (!read_number(at, 366, &rule->day))
            return false;
    }
    return **at != '/' || ((*at)++, read_time(at, &rule->seconds));
}

static bool read_rule(struct zone *zone, const char *text)
{
    const char *at = text;
    int west;
    if (!skip_name(&at) || !read_time(&at, &west))
        return false;
    zone->standard = -west;
    if (!*at)
        return zone->has_rule = true;
    if (!skip_name(&at))
        return false;
    zone->summer = zone->standard + 3600;
    if (*at && *at != ',') {
        if (!read_time(&at, &west))
            return false;
        zone->summer = -west;
    }
    if (!read_day(&at, &zone->begin) || !read_day(&at, &zone->end) || *at)
        return false;
    return zone->has_rule = zone->has_daylight = true;
}

/* In local time, as if it were UTC. */
static int64_t rule_time(const struct rule *rule, int64_t year)
{
    int64_t first = days_from_date(year, 1, 1), day;
    if (rule->kind == RULE_MONTH) {
        day = days_from_date(year, rule->month, 1);
        int weekday = weekday_of(day);
        day += (rule->day - weekday + 7) % 7 + 7 * (rule->week - 1);
        while (day >= days_from_date(year, rule->month, 1) + days_in_month(year, rule->month))
            day -= 7;
    } else if (rule->kind == RULE_JULIAN) {
        day = first + rule->day - 1 + (rule->day >= 60 && is_leap(year));
    } else {
        day = first + rule->day;
    }
    return day * 86400 + rule->seconds;
}

static int rule_offset(const struct zone *zone, int64_t utc)
{
    if (!zone->has_daylight)
        return zone->standard;
    int64_t year;
    int month, day;
    date_from_days(floor_div(utc + zone->standard, 86400), &year, &month, &day);
    int64_t begin = rule_time(&zone->begin, year) - zone->standard;
    int64_t end = rule_time(&zone->end, year) - zone->summer;
    bool summer = begin < end ? utc >= begin && utc < end : utc >= begin || utc < end;
    return summer ? zone->summer : zone->standard;
}

/* ---- the file ---- */

static int64_t big_endian(const unsigned char *at, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | at[i];
    return size == 4 ? (int64_t)(int32_t)(uint32_t)value : (int64_t)value;
}

struct counts {
    size_t isut, isstd, leap, time, type, chars;
};

static bool read_header(const unsigned char *bytes, size_t length, struct counts *counts)
{
    if (length < 44 || memcmp(bytes, "TZif", 4) != 0)
        return false;
    size_t *all[] = {&counts->isut, &counts->isstd, &counts->leap,
                     &counts->time, &counts->type,  &counts->chars};
    for (size_t i = 0; i < 6; i++) {
        int64_t count = big_endian(bytes + 20 + 4 * i, 4);
        if (count < 0 || count > FILE_MOST)
            return false;
        *all[i] = (size_t)count;
    }
    return counts->type > 0 && counts->type <= 256;
}

static size_t body_size(const struct counts *c, size_t time_size)
{
    return c->time * (time_size + 1) + c->type * 6 + c->chars + c->leap * (time_size + 4) + c->isstd +
           c->isut;
}

static bool read_body(struct zone *zone, const unsigned char *at, const struct counts *counts)
{
    zone->time_count = counts->time;
    zone->type_count = counts->type;
    zone->times = talloc_array(zone, int64_t, counts->time + 1);
    zone->types = talloc_array(zone, uint8_t, counts->time + 1);
    if (!zone->times || !zone->types)
        abort();
    for (size_t i = 0; i < counts->time; i++) {
        zone->times[i] = big_endian(at + 8 * i, 8);
        zone->types[i] = at[8 * counts->time + i];
        if (zone->types[i] >= counts->type || (i > 0 && zone->times[i] <= zone->times[i - 1]))
            return false;
    }
    at += 9 * counts->time;
    for (size_t i = 0; i < counts->type; i++) {
        zone->offsets[i] = (int)big_endian(at + 6 * i, 4);
        zone->daylight[i] = at[6 * i + 4];
        if (zone->offsets[i] < -90000 || zone->offsets[i] > 93600)
            return false;
    }
    return true;
}

struct zone *zone_parse(const void *context, const unsigned char *bytes, size_t length)
{
    struct counts counts;
    if (!read_header(bytes, length, &counts) || bytes[4] < '2')
        return NULL;
    size_t skip = 44 + body_size(&counts, 4);
    if (skip > length || !read_header(bytes + skip, length - skip, &counts) ||
        skip + 44 + body_size(&counts, 8) > length)
        return NULL;
    struct zone *zone = talloc_zero(context, struct zone);
    if (!zone)
        abort();
    if (!read_body(zone, bytes + skip + 44, &counts)) {
        talloc_free(zone);
        return NULL;
    }
    size_t at = skip + 44 + body_size(&counts, 8) + 1;
    const unsigned char *end = at < length ? memchr(bytes + at, '\n', length - at) : NULL;
    if (end && end > bytes + at) {
        char *rule = talloc_strndup(zone, (const char *)bytes + at, (size_t)(end - bytes) - at);
        if (!read_rule(zone, rule))
            zone->has_rule = zone->has_daylight = false;
        talloc_free(rule);
    }
    return zone;
}

int zone_offset(const struct zone *zone, int64_t utc)
{
    size_t low = 0, high = zone->time_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->times[middle] <= utc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == zone->time_count && zone->has_rule)
        return rule_offset(zone, utc);
    if (low > 0)
        return zone->offsets[zone->types[low - 1]];
    for (size_t i = 0; i < zone->type_count; i++)
        if (!zone->daylight[i])
            return zone->offsets[i];
    return zone->type_count ? zone->offsets[0] : 0;
}

int64_t zone_to_utc(const struct zone *zone, int64_t local)
{
    int before = zone_offset(zone, local - 86400), after = zone_offset(zone, local + 86400);
    int64_t first = local - before, second = local - after;
    bool first_is = zone_offset(zone, first) == before, second_is = zone_offset(zone, second) == after;
    if (first_is && second_is)
        return first < second ? first : second;
    return second_is ? second : first;
}

/* ---- names ---- */

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    if (!length || length >= NAME_MOST || name[0] == '/' || strstr(name, ".."))
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("_+-/", *name))
            return false;
    return true;
}

static struct zone *load(const void *context, const char *name)
{
    char path[NAME_MOST + 32];
    unsigned char *bytes = malloc(FILE_MOST);
    struct zone *zone = NULL;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "re");
    if (!bytes)
        abort();
    if (file) {
        zone = zone_parse(context, bytes, fread(bytes, 1, FILE_MOST, file));
        fclose(file);
    }
    free(bytes);
    return zone;
}

struct zone_cache *zone_cache_new(const void *context)
{
    struct zone_cache *cache = talloc_zero(context, struct zone_cache);
    if (!cache)
        abort();
    cache->utc.has_rule = true;
    return cache;
}

const struct zone *zone_find(struct zone_cache *cache, const char *name)
{
    if (!name || !*name || strcmp(name, "UTC") == 0 || strcmp(name, "Etc/UTC") == 0)
        return &cache->utc;
    for (size_t i = 0; i < cache->count; i++)
        if (strcmp(cache->names[i], name) == 0)
            return cache->zones[i];
    if (!is_name(name) || cache->count >= ZONES_MOST)
        return NULL;
    cache->names[cache->count] = talloc_strdup(cache, name);
    cache->zones[cache->count] = load(cache, name);
    return cache->zones[cache->count++];
}
