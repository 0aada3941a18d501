/* Celery's envelope: its members in one pass over the bytes, texts, times; format: celery_envelope.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/queues/celery_verdict.h"

enum level { LEVEL_MESSAGE, LEVEL_HEADERS, LEVEL_PROPERTIES, LEVEL_DELIVERY, LEVELS };

struct member {
    const char *name;
    unsigned char length;
    unsigned short at; /* in struct celery_envelope */
};
#define MEMBER(name, field)                                                                                  \
    {                                                                                                        \
        name, sizeof(name) - 1, offsetof(struct celery_envelope, field)                                      \
    }

static const struct member message_members[] = {
    MEMBER("body", body),
    MEMBER("content-encoding", content_encoding),
    MEMBER("content-type", content_type),
    MEMBER("headers", headers),
    MEMBER("properties", properties),
};
static const struct member header_members[] = {
    MEMBER("task", task),
    MEMBER("id", id),
    MEMBER("shadow", shadow),
    MEMBER("eta", eta),
    MEMBER("expires", expires),
    MEMBER("group", group),
    MEMBER("retries", retries),
    MEMBER("timelimit", timelimit),
    MEMBER("root_id", root_id),
    MEMBER("parent_id", parent_id),
    MEMBER("argsrepr", argsrepr),
    MEMBER("kwargsrepr", kwargsrepr),
    MEMBER("origin", origin),
    MEMBER("compression", compression),
    MEMBER("redelivered", redelivered),
    MEMBER("_schema_name", schema_name),
    MEMBER("sent_at", sent_at),
};
static const struct member property_members[] = {
    MEMBER("reply_to", reply_to),
    MEMBER("expiration", expiration),
    MEMBER("periodic_task_name", periodic_task_name),
    MEMBER("priority", priority),
    MEMBER("body_encoding", body_encoding),
    MEMBER("delivery_tag", delivery_tag),
    MEMBER("delivery_info", delivery_info),
};
static const struct member delivery_members[] = {
    MEMBER("exchange", exchange),
    MEMBER("routing_key", routing_key),
    MEMBER("redelivered", delivery_redelivered),
};
static const struct {
    const struct member *members;
    size_t count;
} levels[LEVELS] = {
    {message_members, sizeof message_members / sizeof *message_members},
    {header_members, sizeof header_members / sizeof *header_members},
    {property_members, sizeof property_members / sizeof *property_members},
    {delivery_members, sizeof delivery_members / sizeof *delivery_members},
};

struct scan {
    struct celery_envelope *envelope;
    struct json_cursor cursor;
    const char *tenant_header;
};

static struct span *member_span(struct celery_envelope *envelope, const struct member *member)
{
    return (struct span *)((char *)envelope + member->at);
}

/* Python writes members always in the same order: the search goes on behind the last one that was found. */
static struct span *find_member(struct scan *scan, enum level level, struct span key, size_t *from)
{
    size_t count = levels[level].count;
    bool escaped = memchr(key.at, '\\', key.length);
    for (size_t i = 0, at = *from; i < count; i++, at = at + 1 == count ? 0 : at + 1) {
        const struct member *member = &levels[level].members[at];
        if (escaped ? json_is(key, member->name)
                    : key.length == member->length && memcmp(key.at, member->name, key.length) == 0) {
            *from = at + 1 == count ? 0 : at + 1;
            return member_span(scan->envelope, member);
        }
    }
    return NULL;
}

static void forget(struct scan *scan, enum level level)
{
    for (size_t i = 0; i < levels[level].count; i++)
        *member_span(scan->envelope, &levels[level].members[i]) = (struct span){0};
    if (level == LEVEL_HEADERS)
        scan->envelope->tenant_header = (struct span){0};
    if (level == LEVEL_PROPERTIES)
        forget(scan, LEVEL_DELIVERY);
}

static bool scan_object(struct scan *scan, enum level level, struct span *whole);

/* The value of a member; those that hold further members are gone into. The last of the same name counts. */
static bool scan_value(struct scan *scan, enum level level, struct span key, struct span *place)
{
    struct celery_envelope *envelope = scan->envelope;
    enum level below = LEVELS;
    if (place == &envelope->headers)
        below = LEVEL_HEADERS;
    else if (place == &envelope->properties)
        below = LEVEL_PROPERTIES;
    else if (place == &envelope->delivery_info)
        below = LEVEL_DELIVERY;
    struct span value;
    if (below == LEVELS) {
        if (!json_value(&scan->cursor, &value))
            return false;
    } else {
        forget(scan, below);
        if (*scan->cursor.at != '{' ? !json_value(&scan->cursor, &value) : !scan_object(scan, below, &value))
            return false;
    }
    if (place)
        *place = value;
    if (level == LEVEL_HEADERS && scan->tenant_header && json_is(key, scan->tenant_header))
        envelope->tenant_header = value;
    return true;
}

static bool scan_object(struct scan *scan, enum level level, struct span *whole)
{
    const char *begin = scan->cursor.at;
    int state = 0;
    size_t from = 0;
    struct span key;
    enum json_next next;
    while ((next = json_key(&scan->cursor, &state, &key)) == JSON_MEMBER)
        if (!scan_value(scan, level, key, find_member(scan, level, key, &from)))
            return false;
    *whole = (struct span){begin, (size_t)(scan->cursor.at - begin), SPAN_OBJECT};
    return next == JSON_END;
}

void celery_envelope_scan(struct celery_envelope *envelope, const char *raw, size_t length,
                          const char *tenant_header)
{
    struct scan scan = {
        .envelope = envelope,
        .cursor = {raw, raw + length},
        .tenant_header = tenant_header,
    };
    struct span whole;
    *envelope = (struct celery_envelope){.raw = raw, .length = length, .body_kind = BODY_OTHER};
    json_space(&scan.cursor);
    bool object = scan.cursor.at < scan.cursor.end && *scan.cursor.at == '{';
    if (object && scan_object(&scan, LEVEL_MESSAGE, &whole) && json_at_end(&scan.cursor)) {
        celery_verdict(envelope);
        return;
    }
    struct json_cursor again = {raw, raw + length};
    json_space(&again);
    bool json = !object && json_value(&again, &whole) && json_at_end(&again);
    *envelope = (struct celery_envelope){
        .raw = raw,
        .length = length,
        .body_kind = BODY_OTHER,
        .poison = POISON_A,
        .why = json ? "the message is no object; it ends the worker, and is lost"
                    : "the message is not JSON; it ends the worker, and is lost",
    };
}

bool celery_envelope_same(const struct celery_envelope *a, const struct celery_envelope *b)
{
    for (int level = 0; level < LEVELS; level++)
        for (size_t i = 0; i < levels[level].count; i++) {
            size_t at = levels[level].members[i].at;
            const struct span *one = (const struct span *)((const char *)a + at);
            const struct span *other = (const struct span *)((const char *)b + at);
            /* What holds members is compared by them, and these two are what is spliced. */
            if (one->kind == SPAN_OBJECT || at == offsetof(struct celery_envelope, expires) ||
                at == offsetof(struct celery_envelope, redelivered) ||
                at == offsetof(struct celery_envelope, delivery_redelivered))
                continue;
            if (one->kind != other->kind || one->length != other->length ||
                (one->length > 0 && memcmp(one->at, other->at, one->length) != 0))
                return false;
        }
    return true;
}

char *celery_span_text(const void *context, struct span span)
{
    if (span.kind != SPAN_STRING)
        return NULL;
    char *text = talloc_array(context, char, span.length + 1);
    if (!text)
        abort();
    size_t length = span.length;
    if (memchr(span.at, '\\', span.length))
        length = json_unescape(span.at, span.length, text, NULL);
    else
        memcpy(text, span.at, span.length);
    text[length] = '\0';
    return text;
}

double celery_span_real(struct span span)
{
    char text[64], *end;
    if (span.kind != SPAN_NUMBER)
        return NAN;
    size_t length = span.length < sizeof text - 1 ? span.length : sizeof text - 1;
    memcpy(text, span.at, length);
    text[length] = '\0';
    if (length == span.length)
        return strtod(text, &end);
    char *longer = strndup(span.at, span.length);
    if (!longer)
        abort();
    double real = strtod(longer, &end);
    free(longer);
    return real;
}

/* So many digits, at most; how many there were. */
static int time_digits(const char **at, const char *end, int most, int *number)
{
    int count = 0;
    *number = 0;
    for (; count < most && *at < end && **at >= '0' && **at <= '9'; count++, (*at)++)
        *number = *number * 10 + (**at - '0');
    return count;
}

/* "+03:00", "Z" or nothing; false: an offset of a day or more, which no time zone has. */
static bool time_zone(const char *at, const char *end, double *offset)
{
    int hours, minutes;
    *offset = 0;
    if (at == end || (*at != '+' && *at != '-'))
        return true;
    int sign = *at++ == '-' ? -1 : 1;
    if (time_digits(&at, end, 2, &hours) != 2 || at == end || *at++ != ':' ||
        time_digits(&at, end, 2, &minutes) != 2)
        return true;
    *offset = sign * (hours * 3600.0 + minutes * 60.0);
    return fabs(*offset) < 86400;
}

/* ":30", ":30.25" behind hours and minutes; Celery passes over what does not fit its pattern. */
static bool time_seconds(const char **at, const char *end, double *seconds)
{
    const char *here = *at;
    int number, micros = 0;
    *seconds = 0;
    if (here == end || *here++ != ':' || time_digits(&here, end, 2, &number) != 2)
        return true;
    if (number > 59)
        return false;
    *seconds = number;
    *at = here;
    if (here < end && *here == '.') {
        here++;
        int count = time_digits(&here, end, 6, &micros);
        if (count == 0)
            return true;
        for (; count < 6; count++)
            micros *= 10;
        *seconds += micros / 1e6;
        const char *more = here;
        /* Celery takes the digits as a number of microseconds. */
        int rest;
        while (time_digits(&here, end, 9, &rest) > 0)
            if (micros > 0)
                return false;
        *at = here > more ? here : more;
    }
    return true;
}

static double read_time(const char *at, const char *end)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour = 0, minute = 0, number;
    double seconds = 0, offset = 0;
    if (time_digits(&at, end, 4, &year) != 4 || year == 0 || at == end || *at++ != '-' ||
        time_digits(&at, end, 2, &month) < 1 || at == end || *at++ != '-' ||
        time_digits(&at, end, 2, &day) < 1)
        return NAN;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month < 1 || month > 12 || day < 1 || day > days[month - 1] + (month == 2 && leap))
        return NAN;
    const char *clock = at + 1;
    /* One separator of any kind, which may be a letter of several bytes. */
    while (clock < end && ((unsigned char)*clock & 0xc0) == 0x80)
        clock++;
    if (at < end && *at != '\n' && time_digits(&clock, end, 2, &hour) == 2 && clock < end &&
        *clock++ == ':' && time_digits(&clock, end, 2, &number) == 2) {
        minute = number;
        if (hour > 23 || minute > 59 || !time_seconds(&clock, end, &seconds) ||
            !time_zone(clock, end, &offset))
            return NAN;
    } else {
        hour = 0;
    }
    struct tm broken = {
        .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
    return (double)timegm(&broken) + seconds - offset;
}

double celery_span_time(struct span span)
{
    char text[128 * 6];
    if (span.kind == SPAN_NUMBER) {
        double real = celery_span_real(span);
        return isfinite(real) ? real : NAN;
    }
    if (span.kind != SPAN_STRING)
        return NAN;
    if (span.length > sizeof text) /* Celery's pattern looks at the beginning only */
        span.length = sizeof text;
    if (!memchr(span.at, '\\', span.length))
        return read_time(span.at, span.at + span.length);
    return read_time(text, text + json_unescape(span.at, span.length, text, NULL));
}

bool celery_unacked_message(const char *value, size_t length, struct span *message, struct span *exchange,
                            struct span *routing_key)
{
    struct json_cursor cursor = {value, value + length};
    struct span *parts[] = {message, exchange, routing_key};
    int state = 0;
    *message = *exchange = *routing_key = (struct span){0};
    json_space(&cursor);
    if (cursor.at == cursor.end || *cursor.at != '[')
        return false;
    for (int i = 0; i < 3; i++)
        if (json_element(&cursor, &state) != JSON_MEMBER || !json_value(&cursor, parts[i]))
            return false;
    return json_element(&cursor, &state) == JSON_END && json_at_end(&cursor) && message->kind == SPAN_OBJECT;
}
