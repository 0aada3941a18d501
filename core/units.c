/* Numbers as people read them: three significant digits at most, and never a number that rounds to the wrong
 * side of a boundary ("1024 kB", "60 s", "100 %" for 99.97). No printf of reals: results do not depend on the
 * locale. */
#include "core/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Whole number with thousands separators. */
static void write_whole(char buffer[64], uint64_t number)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    char *to = buffer;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
}

/* 0 <= number < 1e15, with 0 to 2 decimals. */
static void write_fixed(char buffer[64], double number, int decimals)
{
    unsigned scale = decimals == 2 ? 100 : decimals == 1 ? 10 : 1;
    uint64_t scaled = (uint64_t)(number * scale + 0.5);
    write_whole(buffer, scaled / scale);
    if (decimals) {
        size_t length = strlen(buffer);
        snprintf(buffer + length, 64 - length, ".%0*u", decimals, (unsigned)(scaled % scale));
    }
}

/* "?" for NaN, "∞" for infinities, "0" with its unit for 0. True when that was all. */
static bool write_special(char *buffer, size_t size, double number, const char *zero)
{
    if (isnan(number))
        snprintf(buffer, size, "?");
    else if (isinf(number))
        snprintf(buffer, size, "%s∞", number < 0 ? "-" : "");
    else if (number == 0)
        snprintf(buffer, size, "%s", zero);
    else
        return false;
    return true;
}

/* Scales by `base` until the number shows at most three digits before the point; *step says how often. */
static double scale_down(double number, double base, double limit, int steps, int *step)
{
    for (*step = 0; number >= limit && *step < steps; ++*step)
        number /= base;
    return number;
}

/* One decimal below ten, none above; beyond the largest unit as a power of ten. */
static void write_short(char buffer[64], double number)
{
    if (number >= 1e6)
        snprintf(buffer, 64, "1e%d", (int)floor(log10(number)));
    else
        write_fixed(buffer, number, number < 9.95 ? 1 : 0);
}

/* Minutes and longer. */
static void write_long_time(char *buffer, size_t size, const char *sign, double seconds)
{
    char days[64];
    if (seconds < 3599.5) {
        unsigned whole = (unsigned)(seconds + 0.5);
        snprintf(buffer, size, "%s%u m %02u s", sign, whole / 60, whole % 60);
    } else if (seconds < 86400 - 30) {
        unsigned minutes = (unsigned)((seconds + 30) / 60);
        snprintf(buffer, size, "%s%u h %02u m", sign, minutes / 60, minutes % 60);
    } else if (seconds < 100 * 86400.0 - 1800) {
        unsigned hours = (unsigned)((seconds + 1800) / 3600);
        snprintf(buffer, size, "%s%u d %u h", sign, hours / 24, hours % 24);
    } else {
        format_count(days, sizeof days, floor(seconds / 86400 + 0.5));
        snprintf(buffer, size, "%s%s d", sign, days);
    }
}

char *format_ms(char *buffer, size_t size, double ms)
{
    char number[64];
    const char *sign = ms < 0 ? "-" : "";
    double amount = fabs(ms);
    if (write_special(buffer, size, ms, "0"))
        return buffer;
    if (amount >= 59950) {
        write_long_time(buffer, size, sign, amount / 1000);
        return buffer;
    }
    if (amount < 0.005) {
        snprintf(buffer, size, "%s<0.01 ms", sign);
        return buffer;
    }
    bool long_one = amount >= 9999.5;
    if (long_one)
        write_fixed(number, amount / 1000, 1);
    else
        write_fixed(number, amount, amount < 0.995 ? 2 : amount < 99.95 ? 1 : 0);
    snprintf(buffer, size, "%s%s %s", sign, number, long_one ? "s" : "ms");
    return buffer;
}

char *format_s(char *buffer, size_t size, double seconds)
{
    char number[64];
    const char *sign = seconds < 0 ? "-" : "";
    double amount = fabs(seconds);
    if (write_special(buffer, size, seconds, "0 s"))
        return buffer;
    if (amount >= 59.5) {
        write_long_time(buffer, size, sign, amount);
    } else if (amount < 0.05) {
        snprintf(buffer, size, "%s<0.1 s", sign);
    } else {
        write_fixed(number, amount, amount < 9.95 ? 1 : 0);
        snprintf(buffer, size, "%s%s s", sign, number);
    }
    return buffer;
}

char *format_bytes(char *buffer, size_t size, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    char number[64];
    int step;
    if (write_special(buffer, size, bytes, "0"))
        return buffer;
    double amount = scale_down(fabs(bytes), 1024, 1023.5, 6, &step);
    if (step == 0)
        write_fixed(number, amount < 1 ? 1 : amount, 0);
    else
        write_short(number, amount);
    snprintf(buffer, size, "%s%s%s %s", bytes < 0 ? "-" : "", step == 0 && amount < 0.5 ? "<" : "", number,
             units[step]);
    return buffer;
}

static const char *const thousands[] = {"", "k", "M", "G", "T", "P", "E"};

char *format_count(char *buffer, size_t size, double count)
{
    char number[64];
    const char *sign = count < 0 ? "-" : "";
    double amount = fabs(count);
    int step = 0;
    if (write_special(buffer, size, count, "0"))
        return buffer;
    if (amount < 0.05) {
        snprintf(buffer, size, "%s<0.1", sign);
        return buffer;
    }
    if (amount < 99999.5) {
        write_fixed(number, amount, amount < 9.95 && amount != floor(amount) ? 1 : 0);
    } else {
        amount = scale_down(amount, 1000, 999.5, 6, &step);
        write_short(number, amount);
    }
    snprintf(buffer, size, "%s%s%s", sign, number, thousands[step]);
    return buffer;
}

char *format_percent(char *buffer, size_t size, double percent)
{
    char number[64];
    const char *sign = percent < 0 ? "-" : "";
    double amount = fabs(percent);
    if (write_special(buffer, size, percent, "0 %"))
        return buffer;
    if (amount < 0.05)
        snprintf(number, sizeof number, "<0.1");
    else if (amount < 9.95)
        write_fixed(number, amount, amount != floor(amount));
    else if (amount < 98.95)
        write_fixed(number, amount, 0);
    else if (amount < 100)
        write_fixed(number, amount < 99.95 ? amount : 99.9, 1); /* 100 % means all */
    else
        format_count(number, sizeof number, floor(amount + 0.5));
    snprintf(buffer, size, "%s%s %%", sign, number);
    return buffer;
}

char *format_rate(char *buffer, size_t size, double per_second)
{
    char number[64];
    const char *sign = per_second < 0 ? "-" : "";
    int step;
    if (write_special(buffer, size, per_second, "0"))
        return buffer;
    double amount = scale_down(fabs(per_second), 1000, 999.5, 6, &step);
    if (step == 0 && amount < 0.005)
        snprintf(number, sizeof number, "<0.01");
    else if (step == 0 && amount < 0.995)
        write_fixed(number, amount, 2);
    else
        write_short(number, amount);
    snprintf(buffer, size, "%s%s%s", sign, number, thousands[step]);
    return buffer;
}

/* ---- and back ---- */

static const char *parse_number(const char *at, double *number)
{
    double result = 0, place = 1;
    const char *start = at;
    for (; *at >= '0' && *at <= '9'; at++)
        result = result * 10 + (*at - '0');
    if (at == start)
        return NULL;
    if (*at == '.') {
        start = ++at;
        for (; *at >= '0' && *at <= '9'; at++)
            result += (*at - '0') * (place /= 10);
        if (at == start)
            return NULL;
    }
    *number = result;
    return at;
}

static double unit_seconds(const char *word, size_t length)
{
    static const struct {
        const char *names; /* each between blanks */
        double seconds;
    } units[] = {
        {" ms msec msecs millisecond milliseconds ", 0.001},
        {" s sec secs second seconds ", 1},
        {" m min mins minute minutes ", 60},
        {" h hr hrs hour hours ", 3600},
        {" d day days ", 86400},
        {" w week weeks ", 7 * 86400},
    };
    char key[16];
    if (length == 0 || length > 12)
        return 0;
    snprintf(key, sizeof key, " %.*s ", (int)length, word);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strstr(units[i].names, key))
            return units[i].seconds;
    return 0;
}

bool parse_duration(const char *text, double *seconds)
{
    double total = 0, number;
    const char *at = text + strspn(text, " ");
    if (!*at)
        return false;
    while (*at) {
        at = parse_number(at, &number);
        if (!at)
            return false;
        at += strspn(at, " ");
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz");
        double unit = unit_seconds(at, length);
        if (unit == 0)
            return false;
        total += number * unit;
        at += length;
        at += strspn(at, " ");
    }
    if (!isfinite(total))
        return false;
    *seconds = total;
    return true;
}
