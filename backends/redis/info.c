#include "backends/redis/info.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void keep(char *buffer, size_t size, const char *text, size_t length)
{
    if (!size)
        return;
    if (length >= size)
        length = size - 1;
    memcpy(buffer, text, length);
    buffer[length] = '\0';
}

bool info_next(const char *info, size_t length, size_t *at, const char *prefix, char *name, size_t name_size,
               char *value, size_t value_size)
{
    size_t prefix_length = strlen(prefix);
    while (*at < length) {
        const char *line = info + *at, *end = memchr(line, '\n', length - *at);
        size_t line_length = end ? (size_t)(end - line) : length - *at;
        *at += line_length + (end != NULL);
        if (line_length && line[line_length - 1] == '\r')
            line_length--;
        const char *colon = memchr(line, ':', line_length);
        if (!colon || *line == '#' || (size_t)(colon - line) < prefix_length ||
            memcmp(line, prefix, prefix_length) != 0)
            continue;
        keep(name, name_size, line, (size_t)(colon - line));
        keep(value, value_size, colon + 1, line_length - (size_t)(colon + 1 - line));
        return true;
    }
    return false;
}

bool info_text(const char *info, size_t length, const char *name, char *buffer, size_t size)
{
    char found[64];
    size_t at = 0;
    while (info_next(info, length, &at, name, found, sizeof found, buffer, size))
        if (strcmp(found, name) == 0)
            return true;
    if (size)
        buffer[0] = '\0';
    return false;
}

int64_t info_integer(const char *info, size_t length, const char *name, int64_t otherwise)
{
    char text[32], *end;
    if (!info_text(info, length, name, text, sizeof text))
        return otherwise;
    long long value = strtoll(text, &end, 10);
    return end == text ? otherwise : value;
}

double info_real(const char *info, size_t length, const char *name, double otherwise)
{
    char text[32], *end;
    if (!info_text(info, length, name, text, sizeof text))
        return otherwise;
    double value = strtod(text, &end);
    return end == text || !isfinite(value) ? otherwise : value;
}

int64_t info_field(const char *value, const char *name, int64_t otherwise)
{
    size_t length = strlen(name);
    for (const char *at = value; *at; at += strcspn(at, ","), at += *at == ',') {
        char *end;
        if (strncmp(at, name, length) != 0 || at[length] != '=')
            continue;
        long long number = strtoll(at + length + 1, &end, 10);
        return end == at + length + 1 ? otherwise : number;
    }
    return otherwise;
}
