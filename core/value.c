/* Values: their order, and how the screen shows them. */
#include "core/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

/* Texts are ordered as people do: case folded, and runs of digits by their number ("tenant_9", "tenant_10").
 */
static int compare_texts(const char *a, const char *b)
{
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    while (*x && *y) {
        if (*x >= '0' && *x <= '9' && *y >= '0' && *y <= '9') {
            x += strspn((const char *)x, "0");
            y += strspn((const char *)y, "0");
            size_t m = strspn((const char *)x, "0123456789"), n = strspn((const char *)y, "0123456789");
            int order = m != n ? (m < n ? -1 : 1) : memcmp(x, y, m);
            if (order)
                return order;
            x += m;
            y += n;
            continue;
        }
        int c = *x >= 'A' && *x <= 'Z' ? *x + 32 : *x, d = *y >= 'A' && *y <= 'Z' ? *y + 32 : *y;
        if (c != d)
            return c - d;
        x++;
        y++;
    }
    if (*x || *y)
        return *x ? 1 : -1;
    return strcmp(a, b);
}

static int compare_integers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Exact, where casting the integer to a double would make neighbours equal. */
static int compare_integer_real(int64_t integer, double real)
{
    if (real >= 9223372036854775808.0)
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    int64_t whole = (int64_t)real;
    int order = compare_integers(integer, whole);
    double rest = real - (double)whole;
    return order ? order : (rest < 0) - (rest > 0);
}

static int compare_numbers(struct value a, struct value b)
{
    if (a.kind == VALUE_INTEGER && b.kind == VALUE_INTEGER)
        return compare_integers(a.integer, b.integer);
    if (a.kind == VALUE_INTEGER)
        return compare_integer_real(a.integer, b.real);
    if (b.kind == VALUE_INTEGER)
        return -compare_integer_real(b.integer, a.real);
    return (a.real > b.real) - (a.real < b.real);
}

static int compare_lists(struct value a, struct value b)
{
    for (size_t i = 0; i < a.integers.count && i < b.integers.count; i++) {
        int order = compare_integers(a.integers.items[i], b.integers.items[i]);
        if (order)
            return order;
    }
    return (a.integers.count > b.integers.count) - (a.integers.count < b.integers.count);
}

/* Kinds that are not compared with each other, in their order. */
static int kind_rank(struct value value)
{
    switch (value.kind) {
    case VALUE_BOOLEAN:
        return 0;
    case VALUE_REAL:
        return isnan(value.real) ? 5 : 1;
    case VALUE_INTEGER:
        return 1;
    case VALUE_TEXT:
        return 2;
    case VALUE_INTEGERS:
        return value.integers.count ? 3 : 6;
    case VALUE_NEVER:
        return 4;
    case VALUE_UNKNOWN:
        return 5;
    case VALUE_BLANK:
        break;
    }
    return 6;
}

int value_compare(struct value a, struct value b)
{
    int rank = kind_rank(a), other = kind_rank(b);
    if (rank != other)
        return rank - other;
    switch (rank) {
    case 0:
        return (int)a.boolean - (int)b.boolean;
    case 1:
        return compare_numbers(a, b);
    case 2:
        return compare_texts(a.text, b.text);
    case 3:
        return compare_lists(a, b);
    default:
        return 0;
    }
}

/* ---- as the screen shows it ---- */

static void format_time(char *buffer, size_t size, double wall)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    double now = clock_wall();
    struct tm then_parts, now_parts;
    clock_time_of_day(buffer, size, wall);
    if (buffer[0] == '?')
        return;
    time_t then = (time_t)floor(wall), current = (time_t)now;
    localtime_r(&then, &then_parts);
    localtime_r(&current, &now_parts);
    if (then_parts.tm_year == now_parts.tm_year && then_parts.tm_yday == now_parts.tm_yday)
        return;
    if (fabs(now - wall) < 180 * 86400.0)
        snprintf(buffer, size, "%d %.3s %02d:%02d", then_parts.tm_mday, months + then_parts.tm_mon * 3,
                 then_parts.tm_hour, then_parts.tm_min);
    else
        snprintf(buffer, size, "%04d-%02d-%02d", then_parts.tm_year + 1900, then_parts.tm_mon + 1,
                 then_parts.tm_mday);
}

/* A real without a unit: whole when it is whole, else up to three decimals, the point always a point. */
static void format_real(char *buffer, size_t size, double real)
{
    if (isnan(real) || isinf(real)) {
        format_count(buffer, size, real);
        return;
    }
    char digits[400];
    snprintf(digits, sizeof digits, fabs(real) >= 1e15 ? "%.3e" : "%.3f", real);
    for (char *at = digits; *at; at++)
        if (*at == ',')
            *at = '.';
    if (!strchr(digits, 'e')) {
        size_t length = strlen(digits);
        while (digits[length - 1] == '0')
            length--;
        digits[digits[length - 1] == '.' ? length - 1 : length] = '\0';
    }
    snprintf(buffer, size, "%s", strcmp(digits, "-0") == 0 ? "0" : digits);
}

static void format_number(char *buffer, size_t size, enum unit unit, struct value value)
{
    double real = value.kind == VALUE_INTEGER ? (double)value.integer : value.real;
    switch (unit) {
    case UNIT_COUNT:
    case UNIT_BLOCKS:
        format_count(buffer, size, real);
        return;
    case UNIT_MS:
        format_ms(buffer, size, real);
        return;
    case UNIT_S:
        format_s(buffer, size, real);
        return;
    case UNIT_BYTES:
        format_bytes(buffer, size, real);
        return;
    case UNIT_PERCENT:
    case UNIT_SHARE:
        format_percent(buffer, size, real);
        return;
    case UNIT_PER_S:
        format_rate(buffer, size, real);
        return;
    case UNIT_TIME:
        format_time(buffer, size, real);
        return;
    case UNIT_NONE:
    case UNIT_ID:
        break;
    }
    if (value.kind == VALUE_INTEGER)
        snprintf(buffer, size, "%" PRId64, value.integer);
    else
        format_real(buffer, size, real);
}

static void format_list(char *buffer, size_t size, struct value value)
{
    size_t used = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < value.integers.count; i++) {
        int length =
            snprintf(buffer + used, size - used, "%s%" PRId64, i ? ", " : "", value.integers.items[i]);
        if ((size_t)length >= size - used) {
            buffer[used] = '\0'; /* whole items only: half a number would be another number */
            return;
        }
        used += (size_t)length;
    }
}

static void format_plain(char *buffer, size_t size, const struct column *column, struct value value)
{
    enum unit unit = column ? column->unit : UNIT_NONE;
    switch (value.kind) {
    case VALUE_BLANK:
        buffer[0] = '\0';
        return;
    case VALUE_UNKNOWN:
        snprintf(buffer, size, "?");
        return;
    case VALUE_NEVER:
        snprintf(buffer, size, "never");
        return;
    case VALUE_INTEGER:
    case VALUE_REAL:
        format_number(buffer, size, unit, value);
        return;
    case VALUE_TEXT:
        if (column && (column->flags & COLUMN_STATEMENT))
            safe_line(buffer, size, value.text);
        else /* no byte becomes less than a byte: what lies behind does not fit anyway */
            safe_text(buffer, size, value.text, strnlen(value.text, size));
        return;
    case VALUE_BOOLEAN:
        snprintf(buffer, size, "%s", value.boolean ? "yes" : "no");
        return;
    case VALUE_INTEGERS:
        format_list(buffer, size, value);
        return;
    }
}

char *value_format(char *buffer, size_t size, const struct column *column, struct value value)
{
    static const char about[] = "≈", least[] = "≥";
    _Static_assert(sizeof about == sizeof least, "the signs take the same room");
    if (!size)
        return buffer;
    bool empty = value.kind == VALUE_BLANK || (value.kind == VALUE_INTEGERS && !value.integers.count);
    bool number = value.kind == VALUE_INTEGER || value.kind == VALUE_REAL;
    bool mark = !empty && (value.severity == SEVERITY_WARNING || value.severity == SEVERITY_CRITICAL);
    size_t before = (value.estimated || value.at_least) && number ? sizeof about - 1 : 0;
    if (size < before + mark + 2) {
        buffer[0] = '\0';
        return buffer;
    }
    memcpy(buffer, value.at_least ? least : about, before);
    format_plain(buffer + before, size - before - mark, column, value);
    if (mark)
        strcat(buffer, "!");
    return buffer;
}
