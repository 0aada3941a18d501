/* Spans of untrusted text: lines, words, numbers, times. */
#include "backends/hosts/lines.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

bool span_line(struct span *rest, struct span *line)
{
    if (!rest->length)
        return false;
    const char *end = memchr(rest->at, '\n', rest->length);
    size_t length = end ? (size_t)(end - rest->at) : rest->length;
    *line = (struct span){rest->at, length};
    if (end)
        length++;
    rest->at += length;
    rest->length -= length;
    if (line->length && line->at[line->length - 1] == '\r')
        line->length--;
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

bool span_word(struct span *rest, struct span *word)
{
    size_t from = 0;
    *word = *rest;
    if (!rest->length) /* `at` may be NULL */
        return false;
    while (from < rest->length && blank(rest->at[from]))
        from++;
    size_t to = from;
    while (to < rest->length && !blank(rest->at[to]))
        to++;
    *word = (struct span){rest->at + from, to - from};
    rest->at += to;
    rest->length -= to;
    return word->length > 0;
}

bool span_word_after(struct span *rest, int skip, struct span *word)
{
    for (; skip > 0; skip--)
        if (!span_word(rest, word))
            return false;
    return span_word(rest, word);
}

struct span span_until(struct span *rest, char separator)
{
    if (!rest->length)
        return *rest;
    const char *end = memchr(rest->at, separator, rest->length);
    size_t length = end ? (size_t)(end - rest->at) : rest->length;
    struct span before = {rest->at, length};
    if (end)
        length++;
    rest->at += length;
    rest->length -= length;
    return before;
}

struct span span_trim(struct span span)
{
    while (span.length && blank(span.at[0])) {
        span.at++;
        span.length--;
    }
    while (span.length && blank(span.at[span.length - 1]))
        span.length--;
    return span;
}

bool span_is(struct span span, const char *text)
{
    size_t length = strlen(text);
    return span.length == length && !memcmp(span.at, text, length);
}

bool span_starts(struct span span, const char *prefix)
{
    size_t length = strlen(prefix);
    return span.length >= length && !memcmp(span.at, prefix, length);
}

bool span_ends(struct span span, const char *suffix)
{
    size_t length = strlen(suffix);
    return span.length >= length && !memcmp(span.at + span.length - length, suffix, length);
}

bool span_skip(struct span *span, const char *prefix)
{
    if (!span_starts(*span, prefix))
        return false;
    size_t length = strlen(prefix);
    span->at += length;
    span->length -= length;
    return true;
}

size_t span_find(struct span span, const char *needle)
{
    const char *found = span.length ? memmem(span.at, span.length, needle, strlen(needle)) : NULL;
    return found ? (size_t)(found - span.at) : span.length;
}

bool span_counter(struct span span, uint64_t *value)
{
    uint64_t sum = 0;
    if (!span.length || span.length > 19)
        return false;
    for (size_t i = 0; i < span.length; i++) {
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        sum = sum * 10 + (uint64_t)(span.at[i] - '0');
    }
    if (sum > INT64_MAX)
        return false;
    *value = sum;
    return true;
}

bool span_integer(struct span span, int most, int *value)
{
    uint64_t counter;
    if (!span_counter(span, &counter) || counter > (uint64_t)most)
        return false;
    *value = (int)counter;
    return true;
}

bool span_real(struct span span, bool sign, double *value)
{
    double sum = 0, digit = 1;
    bool negative = sign && span_skip(&span, "-"), point = false, any = false;
    if (span.length > 40)
        return false;
    for (size_t i = 0; i < span.length; i++) {
        if (span.at[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        any = true;
        if (point)
            sum += (span.at[i] - '0') * (digit /= 10);
        else
            sum = sum * 10 + (span.at[i] - '0');
    }
    if (!any || sum >= 1e18)
        return false;
    *value = negative ? -sum : sum;
    return true;
}

bool span_next_counter(struct span *rest, uint64_t *value)
{
    struct span word;
    return span_word(rest, &word) && span_counter(word, value);
}

size_t span_fit(struct span span, size_t most)
{
    if (span.length <= most)
        return span.length;
    /* Not within a character. */
    while (most && ((unsigned char)span.at[most] & 0xC0) == 0x80)
        most--;
    return most;
}

void span_write(char *to, struct span span, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = span.at[i] ? span.at[i] : '?';
    to[length] = '\0';
}

char *span_copy(const void *context, struct span span, size_t most)
{
    size_t length = span_fit(span, most);
    char *copy = talloc_size(context, length + 1);
    if (!copy)
        abort();
    talloc_set_name_const(copy, "char");
    span_write(copy, span, length);
    return copy;
}

/* Digits at a fixed place of a date. */
static bool digits_at(struct span span, size_t at, size_t count, int *value)
{
    return at + count <= span.length && span_integer((struct span){span.at + at, count}, 9999, value);
}

/* "2026-11-21T11:36:40", with any byte between the parts. */
static double date_time(struct span span)
{
    struct tm tm = {0};
    if (!digits_at(span, 0, 4, &tm.tm_year) || !digits_at(span, 5, 2, &tm.tm_mon) ||
        !digits_at(span, 8, 2, &tm.tm_mday) || !digits_at(span, 11, 2, &tm.tm_hour) ||
        !digits_at(span, 14, 2, &tm.tm_min) || !digits_at(span, 17, 2, &tm.tm_sec) || tm.tm_year < 1970)
        return NAN;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (double)timegm(&tm);
}

double span_time(struct span span)
{
    double seconds;
    span = span_trim(span);
    span_skip(&span, "@");
    if (span_real(span, false, &seconds))
        return seconds > 0 && seconds < 1e11 ? seconds : NAN;
    /* systemd puts the day of the week in front. */
    if (span.length > 4 && span.at[3] == ' ')
        span = (struct span){span.at + 4, span.length - 4};
    if (span.length < 19 || span.at[4] != '-')
        return NAN;
    return date_time(span);
}

void *array_add(const void *context, void *array_pointer, size_t *count, size_t size, size_t most)
{
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    if (*count >= most)
        return NULL;
    /* Grown to powers of two: the length of the block is not kept. */
    if (!(*count & (*count - 1))) {
        size_t room = *count ? *count * 2 : 1;
        array = talloc_realloc_size(context, array, room * size);
        if (!array)
            abort();
        memcpy(array_pointer, &array, sizeof array);
    }
    void *element = (char *)array + *count * size;
    memset(element, 0, size);
    ++*count;
    return element;
}
