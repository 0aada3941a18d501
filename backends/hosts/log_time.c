/* Times as logs write them. By hand: strptime knows locales and no fractions, and this runs for each line. */
#include "backends/hosts/log_internal.h"

/* `count` digits; -1 when they are not. */
static int digits(const char *text, size_t count)
{
    int number = 0;
    for (size_t i = 0; i < count; i++) {
        if (!log_is_digit(text[i]))
            return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil). */
static long days_from_civil(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (long)era * 146097 + day_of_era - 719468;
}

static bool date(int year, int month, int day, long *days)
{
    if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* "14:05:10" as seconds of the day; -1. */
static int time_of_day(const char *text)
{
    int hour = digits(text, 2), minute = digits(text + 3, 2), second = digits(text + 6, 2);
    if (text[2] != ':' || text[5] != ':' || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
        second < 0 || second > 60)
        return -1;
    return hour * 3600 + minute * 60 + second;
}

static int month_of(const char *text)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int month = 0; month < 12; month++)
        if (memcmp(names + 3 * month, text, 3) == 0)
            return month + 1;
    return 0;
}

bool log_zone(const char *text, size_t length, int *zone_s)
{
    if (length < 5 || (text[0] != '+' && text[0] != '-'))
        return false;
    int hours = digits(text + 1, 2), minutes = digits(text + 3, 2);
    if (hours < 0 || hours > 18 || minutes < 0 || minutes > 59)
        return false;
    *zone_s = (text[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* The zone at `text`; bytes that it takes, 0 when there is none. */
static size_t zone_at(const char *text, size_t length, int *zone_s)
{
    size_t blank = length && text[0] == ' ';
    text += blank;
    length -= blank;
    if (!length)
        return 0;
    if (!blank && text[0] == 'Z') {
        *zone_s = 0;
        return 1;
    }
    if (length >= 3 && (memcmp(text, "UTC", 3) == 0 || memcmp(text, "GMT", 3) == 0) &&
        (length == 3 || !isalnum((unsigned char)text[3]))) {
        *zone_s = 0;
        return 3 + blank;
    }
    if (length < 3 || (text[0] != '+' && text[0] != '-') || digits(text + 1, 2) < 0)
        return 0;
    if (length >= 6 && text[3] == ':' && digits(text + 4, 2) >= 0) {
        char four[5] = {text[0], text[1], text[2], text[4], text[5]};
        return log_zone(four, 5, zone_s) ? 6 + blank : 0;
    }
    if (log_zone(text, length, zone_s))
        return 5 + blank;
    char four[5] = {text[0], text[1], text[2], '0', '0'};
    return log_zone(four, 5, zone_s) ? 3 + blank : 0;
}

/* ".204" or ",204" added to *time; bytes that it takes. */
static size_t fraction_at(const char *text, size_t length, double *time)
{
    if (length < 2 || (text[0] != '.' && text[0] != ',') || !log_is_digit(text[1]))
        return 0;
    double unit = 0.1, sum = 0;
    size_t at = 1;
    for (; at < length && at <= 9 && log_is_digit(text[at]); at++) {
        sum += (text[at] - '0') * unit;
        unit /= 10;
    }
    while (at < length && log_is_digit(text[at]))
        at++;
    *time += sum;
    return at;
}

size_t log_time_iso(const char *text, size_t length, int zone_s, double *time, bool *zoned)
{
    long days;
    int seconds;
    if (length < 19 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != ' ') ||
        !date(digits(text, 4), digits(text + 5, 2), digits(text + 8, 2), &days) ||
        (seconds = time_of_day(text + 11)) < 0)
        return 0;
    size_t at = 19;
    double result = (double)days * 86400 + seconds;
    at += fraction_at(text + at, length - at, &result);
    size_t zone = zone_at(text + at, length - at, &zone_s);
    if (zoned)
        *zoned = zone > 0;
    *time = result - zone_s;
    return at + zone;
}

size_t log_time_slashes(const char *text, size_t length, int zone_s, double *time)
{
    long days;
    int seconds;
    if (length < 19 || text[4] != '/' || text[7] != '/' || text[10] != ' ' ||
        !date(digits(text, 4), digits(text + 5, 2), digits(text + 8, 2), &days) ||
        (seconds = time_of_day(text + 11)) < 0)
        return 0;
    *time = (double)days * 86400 + seconds - zone_s;
    return 19;
}

size_t log_time_common(const char *text, size_t length, double *time)
{
    long days;
    int seconds, zone_s;
    if (length < 26 || text[2] != '/' || text[6] != '/' || text[11] != ':' || text[20] != ' ' ||
        !date(digits(text + 7, 4), month_of(text + 3), digits(text, 2), &days) ||
        (seconds = time_of_day(text + 12)) < 0 || !log_zone(text + 21, 5, &zone_s))
        return 0;
    *time = (double)days * 86400 + seconds - zone_s;
    return 26;
}

size_t log_time_words(const char *text, size_t length, int zone_s, double *time)
{
    long days;
    int seconds;
    if (length < 20 || text[2] != ' ' || text[6] != ' ' || text[11] != ' ' ||
        !date(digits(text + 7, 4), month_of(text + 3), digits(text, 2), &days) ||
        (seconds = time_of_day(text + 12)) < 0)
        return 0;
    *time = (double)days * 86400 + seconds - zone_s;
    return 20 + fraction_at(text + 20, length - 20, time);
}

size_t log_time_syslog(const char *text, size_t length, int zone_s, double now, double *time)
{
    if (length < 15 || text[3] != ' ' || text[6] != ' ')
        return 0;
    int month = month_of(text), seconds = time_of_day(text + 7);
    int day = text[4] == ' ' ? digits(text + 5, 1) : digits(text + 4, 2);
    /* The year of now, and its neighbours around New Year. */
    int year = 1970 + (int)(now / (365.2425 * 86400));
    double best = NAN;
    for (int y = year - 1; y <= year + 1; y++) {
        long days;
        if (seconds < 0 || !date(y, month, day, &days))
            continue;
        double candidate = (double)days * 86400 + seconds - zone_s;
        if (isnan(best) || fabs(candidate - now) < fabs(best - now))
            best = candidate;
    }
    if (isnan(best))
        return 0;
    *time = best;
    return 15;
}

size_t log_time_epoch(const char *text, size_t length, double *time)
{
    size_t count = 0;
    double number = 0;
    for (; count < length && count < 20 && log_is_digit(text[count]); count++)
        number = number * 10 + (text[count] - '0');
    if (count != 10 && count != 13 && count != 16 && count != 19)
        return 0;
    *time = number / pow(10, (double)count - 10);
    if (count == 10)
        count += fraction_at(text + count, length - count, time);
    return count;
}
