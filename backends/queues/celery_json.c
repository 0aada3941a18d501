/* JSON as Python's json.loads reads it: strings by eight bytes at once, nesting without recursion. */
#include "backends/queues/celery_json.h"

#include <stdlib.h>
#include <string.h>

void json_space(struct json_cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\t' || *cursor->at == '\r'))
        cursor->at++;
}

bool json_at_end(struct json_cursor *cursor)
{
    json_space(cursor);
    return cursor->at == cursor->end;
}

struct json_cursor json_within(struct span value)
{
    return (struct json_cursor){value.at, value.at + value.length};
}

static int hex_digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The four digits of \uXXXX; -1: they are none. */
static int hex_unit(const char *digits, const char *end)
{
    int unit = 0;
    if (end - digits < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(digits[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* A quote, a backslash or a control character among eight bytes. */
static bool stops(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
    return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word)) & tops;
}

bool json_string(struct json_cursor *cursor, struct span *text)
{
    const char *at = cursor->at + 1, *end = cursor->end;
    text->at = at;
    for (;;) {
        for (uint64_t word; end - at >= 8; at += 8) {
            memcpy(&word, at, 8);
            if (stops(word))
                break;
        }
        while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
            at++;
        if (at == end || (unsigned char)*at < 0x20)
            return false;
        if (*at == '"')
            break;
        if (end - at < 2)
            return false;
        if (at[1] == 'u') {
            if (hex_unit(at + 2, end) < 0)
                return false;
            at += 6;
        } else if (strchr("\"\\/bfnrt", at[1]) && at[1]) {
            at += 2;
        } else {
            return false;
        }
    }
    text->length = (size_t)(at - text->at);
    text->kind = SPAN_STRING;
    cursor->at = at + 1;
    return true;
}

static const char *digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

static bool json_number(struct json_cursor *cursor, struct span *number)
{
    const char *begin = cursor->at, *end = cursor->end, *at = begin + (*begin == '-'), *whole = at;
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at == whole)
        return false;
    bool integer = true;
    size_t places = (size_t)(at - whole);
    if (at < end && *at == '.') {
        const char *after = digits(at + 1, end);
        if (after == at + 1)
            return false;
        at = after;
        integer = false;
    }
    if (at < end && (*at | 0x20) == 'e') {
        const char *sign = at + 1 + (at + 1 < end && (at[1] == '+' || at[1] == '-'));
        const char *after = digits(sign, end);
        if (after == sign)
            return false;
        at = after;
        integer = false;
    }
    if (integer && places > CELERY_JSON_DIGITS)
        return false;
    *number = (struct span){begin, (size_t)(at - begin), SPAN_NUMBER};
    cursor->at = at;
    return true;
}

static bool word(struct json_cursor *cursor, const char *text, int kind, struct span *value)
{
    size_t length = strlen(text);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, text, length) != 0)
        return false;
    *value = (struct span){cursor->at, length, 0};
    value->kind = kind;
    cursor->at += length;
    return true;
}

/* A string, number or word. */
static bool json_scalar(struct json_cursor *cursor, struct span *value)
{
    switch (*cursor->at) {
    case '"':
        return json_string(cursor, value);
    case 'n':
        return word(cursor, "null", SPAN_NULL, value);
    case 't':
        return word(cursor, "true", SPAN_BOOLEAN, value);
    case 'f':
        return word(cursor, "false", SPAN_BOOLEAN, value);
    case 'N':
        return word(cursor, "NaN", SPAN_NUMBER, value);
    case 'I':
        return word(cursor, "Infinity", SPAN_NUMBER, value);
    case '-':
        if (word(cursor, "-Infinity", SPAN_NUMBER, value))
            return true;
        return json_number(cursor, value);
    default:
        return json_number(cursor, value);
    }
}

/* "key": with the white space around it. */
static bool json_name(struct json_cursor *cursor, struct span *key)
{
    if (cursor->at == cursor->end || *cursor->at != '"' || !json_string(cursor, key))
        return false;
    json_space(cursor);
    if (cursor->at == cursor->end || *cursor->at != ':')
        return false;
    cursor->at++;
    json_space(cursor);
    return cursor->at < cursor->end;
}

/* An array or object and all in it. `open` has a bit for each level: 1 is an object. */
static bool json_nested(struct json_cursor *cursor)
{
    uint64_t open[CELERY_JSON_DEPTH / 64 + 1];
    int depth = 0;
    struct span ignored;
    for (;;) {
        /* In front of a value. */
        if (*cursor->at == '{' || *cursor->at == '[') {
            bool object = *cursor->at == '{';
            if (depth == CELERY_JSON_DEPTH)
                return false;
            uint64_t bit = (uint64_t)1 << (depth & 63);
            open[depth >> 6] = object ? ((depth & 63 ? open[depth >> 6] : 0) | bit)
                                      : ((depth & 63 ? open[depth >> 6] : 0) & ~bit);
            depth++;
            cursor->at++;
            json_space(cursor);
            if (cursor->at == cursor->end)
                return false;
            if (*cursor->at != (object ? '}' : ']')) {
                if (object && !json_name(cursor, &ignored))
                    return false;
                continue;
            }
            cursor->at++;
            depth--;
        } else if (!json_scalar(cursor, &ignored)) {
            return false;
        }
        /* Behind a value. */
        for (;;) {
            if (depth == 0)
                return true;
            bool object = open[(depth - 1) >> 6] >> ((depth - 1) & 63) & 1;
            json_space(cursor);
            if (cursor->at == cursor->end)
                return false;
            char sign = *cursor->at++;
            if (sign == (object ? '}' : ']')) {
                depth--;
                continue;
            }
            if (sign != ',')
                return false;
            json_space(cursor);
            if (cursor->at == cursor->end || (object && !json_name(cursor, &ignored)))
                return false;
            break;
        }
    }
}

bool json_value(struct json_cursor *cursor, struct span *value)
{
    if (cursor->at >= cursor->end)
        return false;
    if (*cursor->at != '{' && *cursor->at != '[')
        return json_scalar(cursor, value);
    const char *begin = cursor->at;
    if (!json_nested(cursor))
        return false;
    *value = (struct span){begin, (size_t)(cursor->at - begin), 0};
    value->kind = *begin == '{' ? SPAN_OBJECT : SPAN_ARRAY;
    return true;
}

/* In front of a member, or behind the closing bracket. */
static enum json_next json_step(struct json_cursor *cursor, int *state, char close)
{
    bool first = *state == 0;
    *state = 1;
    if (first)
        cursor->at++;
    json_space(cursor);
    if (cursor->at == cursor->end)
        return JSON_BAD;
    if (*cursor->at == close) {
        cursor->at++;
        return JSON_END;
    }
    if (first)
        return JSON_MEMBER;
    if (*cursor->at != ',')
        return JSON_BAD;
    cursor->at++;
    json_space(cursor);
    return cursor->at < cursor->end ? JSON_MEMBER : JSON_BAD;
}

enum json_next json_key(struct json_cursor *cursor, int *state, struct span *key)
{
    enum json_next next = json_step(cursor, state, '}');
    return next == JSON_MEMBER && !json_name(cursor, key) ? JSON_BAD : next;
}

enum json_next json_element(struct json_cursor *cursor, int *state)
{
    return json_step(cursor, state, ']');
}

static size_t put_utf8(char *out, unsigned point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* \uXXXX at `at`, with the second half of a pair when there is one; *used: bytes of the text. */
static unsigned json_point(const char *at, const char *end, size_t *used, bool *lone)
{
    int unit = hex_unit(at + 2, end);
    *used = 6;
    if (unit < 0) { /* cannot be in a string that was scanned */
        *used = 1;
        return '\\';
    }
    if (unit < 0xd800 || unit > 0xdfff)
        return (unsigned)unit;
    if (unit < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        int low = hex_unit(at + 8, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *used = 12;
            return 0x10000u + ((unsigned)(unit - 0xd800) << 10) + (unsigned)(low - 0xdc00);
        }
    }
    if (lone)
        *lone = true;
    return 0xfffd;
}

size_t json_unescape(const char *text, size_t length, char *out, bool *lone)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *at = text, *end = text + length;
    char *put = out;
    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((slash ? slash : end) - at);
        memmove(put, at, plain);
        put += plain;
        at += plain;
        if (at == end)
            break;
        if (end - at >= 6 && at[1] == 'u') {
            size_t used;
            unsigned point = json_point(at, end, &used, lone);
            put += put_utf8(put, point);
            at += used;
        } else if (end - at >= 2) {
            const char *letter = memchr(letters, at[1], sizeof letters - 1);
            *put++ = letter ? meant[letter - letters] : at[1];
            at += 2;
        } else {
            *put++ = *at++;
        }
    }
    return (size_t)(put - out);
}

bool json_is(struct span string, const char *text)
{
    size_t length = strlen(text);
    if (string.kind != SPAN_STRING || string.length < length)
        return false;
    if (string.length == length && memcmp(string.at, text, length) == 0)
        return true;
    char buffer[128 * 6];
    if (string.length > sizeof buffer || !memchr(string.at, '\\', string.length))
        return false;
    return json_unescape(string.at, string.length, buffer, NULL) == length &&
           memcmp(buffer, text, length) == 0;
}

bool json_true(struct span value)
{
    struct json_cursor within;
    switch (value.kind) {
    case SPAN_STRING:
        return value.length > 0;
    case SPAN_BOOLEAN:
        return *value.at == 't';
    case SPAN_NUMBER:
        return celery_span_real(value) != 0; /* NaN is true, as in Python */
    case SPAN_ARRAY:
    case SPAN_OBJECT:
        within = (struct json_cursor){value.at + 1, value.at + value.length - 1};
        return !json_at_end(&within);
    default:
        return false;
    }
}

struct span json_find(struct span object, const char *name)
{
    struct span found = {0}, key, value;
    if (object.kind != SPAN_OBJECT)
        return found;
    struct json_cursor cursor = json_within(object);
    int state = 0;
    while (json_key(&cursor, &state, &key) == JSON_MEMBER && json_value(&cursor, &value))
        if (json_is(key, name))
            found = value;
    return found;
}

size_t json_count(struct span array)
{
    size_t count = 0;
    struct span value;
    if (array.kind != SPAN_ARRAY)
        return 0;
    struct json_cursor cursor = json_within(array);
    int state = 0;
    while (json_element(&cursor, &state) == JSON_MEMBER && json_value(&cursor, &value))
        count++;
    return count;
}
