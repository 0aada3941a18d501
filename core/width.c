/* Properties of single characters, from tables, so that results do not depend on the locale or the C library.
 */
#include "core/width.h"

struct class_range {
    uint32_t first, last;
    enum character_class class;
};
struct range {
    uint32_t first, last;
};
struct lower_range {
    uint32_t first, last;
    int32_t distance;
    uint32_t step;
};
#include "core/unicode_tables.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

size_t utf8_decode(const char *text, size_t length, uint32_t *character)
{
    const unsigned char *bytes = (const unsigned char *)text;
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t needed = bytes[0] < 0x80 ? 1 : bytes[0] < 0xC2 ? 0 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    if (!needed || needed > length || bytes[0] > 0xF4)
        return 0;
    if (needed == 1) {
        *character = bytes[0];
        return 1;
    }
    uint32_t point = bytes[0] & (0x7Fu >> needed);
    for (size_t i = 1; i < needed; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3F);
    }
    if (point < smallest[needed] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return 0;
    *character = point;
    return needed;
}

size_t utf8_encode(char bytes[4], uint32_t character)
{
    if (character < 0x80) {
        bytes[0] = (char)character;
        return 1;
    }
    size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    bytes[0] = (char)((0xF00u >> length & 0xFF) | character);
    return length;
}

enum character_class character_class(uint32_t character)
{
    if (character >= 0x20 && character < 0x7F)
        return CHARACTER_NARROW;
    if (character >= 0xA1 && character < 0x300 && character != 0xAD)
        return CHARACTER_NARROW;
    size_t low = 0, high = COUNT(class_ranges);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (character > class_ranges[middle].last)
            low = middle + 1;
        else if (character < class_ranges[middle].first)
            high = middle;
        else
            return class_ranges[middle].class;
    }
    return CHARACTER_NARROW;
}

static bool in_ranges(const struct range *ranges, size_t count, uint32_t character)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (character > ranges[middle].last)
            low = middle + 1;
        else if (character < ranges[middle].first)
            high = middle;
        else
            return true;
    }
    return false;
}

bool character_is_pictographic(uint32_t character)
{
    return in_ranges(pictographic_ranges, COUNT(pictographic_ranges), character);
}

bool character_is_emoji(uint32_t character)
{
    return in_ranges(emoji_ranges, COUNT(emoji_ranges), character);
}

bool character_is_ideograph(uint32_t character)
{
    return (character >= 0x3400 && character <= 0x4DBF) || (character >= 0x4E00 && character <= 0x9FFF) ||
           (character >= 0xF900 && character <= 0xFAFF) || (character >= 0x20000 && character <= 0x3FFFD);
}

bool character_is_hangul(uint32_t character)
{
    return (character >= 0x1100 && character <= 0x11FF) || (character >= 0xA960 && character <= 0xA97C) ||
           (character >= 0xAC00 && character <= 0xD7FB);
}

bool character_is_joining(uint32_t character)
{
    static const struct range scripts[] = {
        {0x0600, 0x08FF},   /* Arabic, Syriac, Thaana, N'Ko, Mandaic */
        {0x0900, 0x0DFF},   /* Devanagari to Sinhala */
        {0x0F00, 0x109F},   /* Tibetan, Myanmar */
        {0x1780, 0x18AF},   /* Khmer, Mongolian */
        {0xA8E0, 0xA8FF},   /* Devanagari extended */
        {0xFB50, 0xFDCF},   /* Arabic presentation forms */
        {0xFDF0, 0xFDFF},   /* the same, behind the noncharacters */
        {0xFE70, 0xFEFC},   /* the same, B */
        {0x11000, 0x114DF}, /* Brahmi to Tirhuta */
    };
    return in_ranges(scripts, COUNT(scripts), character);
}

uint32_t character_lower(uint32_t character)
{
    if (character < 0x80)
        return character >= 'A' && character <= 'Z' ? character + 32 : character;
    size_t low = 0, high = COUNT(lower_ranges);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lower_range *range = &lower_ranges[middle];
        if (character > range->last)
            low = middle + 1;
        else if (character < range->first)
            high = middle;
        else
            return (character - range->first) % range->step
                       ? character
                       : (uint32_t)((int32_t)character + range->distance);
    }
    return character;
}
