/* A text to look for in bytes: bytes at which it cannot begin are passed over by a table, the rest is
 * decoded. */
#include "backends/queues/needle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/width.h"

struct needle {
    bool starts[256]; /* bytes at which it may begin */
    size_t count;
    uint32_t points[]; /* lower case; bytes that are not UTF-8 are beyond Unicode */
};

enum { NOT_TEXT = 0x200000 };

static uint32_t plain_point(const char *at, const char *end, size_t *used)
{
    uint32_t point;
    if ((unsigned char)*at < 0x80) {
        *used = 1;
        return *at >= 'A' && *at <= 'Z' ? (uint32_t)(*at | 0x20) : (uint32_t)*at;
    }
    *used = utf8_decode(at, (size_t)(end - at), &point);
    if (*used == 0) {
        *used = 1;
        return NOT_TEXT | (unsigned char)*at;
    }
    return character_lower(point);
}

static int hex_unit(const char *at, const char *end)
{
    int unit = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        char letter = at[i];
        int digit = letter >= '0' && letter <= '9' ? letter - '0' : (letter | 0x20) - 'a' + 10;
        if (digit < 0 || digit > 15 || ((letter | 0x20) > 'f'))
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* One character of JSON's inside of a string. */
static uint32_t escaped_point(const char *at, const char *end, size_t *used)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    if (*at != '\\' || end - at < 2)
        return plain_point(at, end, used);
    int unit = hex_unit(at, end);
    if (unit < 0) {
        const char *letter = memchr(letters, at[1], sizeof letters - 1);
        *used = 2;
        return letter ? (uint32_t)meant[letter - letters] : (uint32_t)(unsigned char)at[1];
    }
    *used = 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return character_lower((uint32_t)unit);
    int low = unit < 0xdc00 ? hex_unit(at + 6, end) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return 0xfffd;
    *used = 12;
    return character_lower(0x10000u + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
}

struct needle *needle_new(const void *context, const char *text, size_t length)
{
    struct needle *needle = talloc_zero_size(context, sizeof *needle + (length + 1) * sizeof(uint32_t));
    if (!needle)
        abort();
    talloc_set_name_const(needle, "struct needle");
    for (const char *at = text, *end = text + length; at < end;) {
        size_t used;
        needle->points[needle->count++] = plain_point(at, end, &used);
        at += used;
    }
    /* Letters beyond ASCII may have lower case within it (the Kelvin sign), so that all of them may begin it.
     */
    for (int byte = 0x80; byte < 256; byte++)
        needle->starts[byte] = true;
    if (needle->count > 0 && needle->points[0] < 0x80) {
        unsigned char first = (unsigned char)needle->points[0];
        needle->starts[first] = true;
        if (first >= 'a' && first <= 'z')
            needle->starts[first - 32] = true;
    }
    return needle;
}

bool needle_found(const struct needle *needle, const char *bytes, size_t length, bool escaped)
{
    const char *end = bytes + length;
    if (needle->count == 0)
        return true;
    for (const char *at = bytes; at < end; at++) {
        while (at < end && !needle->starts[(unsigned char)*at] && !(escaped && *at == '\\'))
            at++;
        const char *here = at;
        size_t matched = 0, used;
        while (here < end && matched < needle->count) {
            uint32_t point = escaped ? escaped_point(here, end, &used) : plain_point(here, end, &used);
            if (point != needle->points[matched])
                break;
            here += used;
            matched++;
        }
        if (matched == needle->count)
            return true;
    }
    return false;
}
