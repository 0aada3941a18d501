/* What text.c needs to know about single characters: UTF-8, classes and lower case, the same in every locale.
 */
#ifndef CORE_WIDTH_H
#define CORE_WIDTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum character_class {
    CHARACTER_NARROW,             /* one cell */
    CHARACTER_WIDE,               /* two cells */
    CHARACTER_MARK,               /* combines with what stands before it, no cell of its own */
    CHARACTER_SPACING,            /* combines, and takes a cell */
    CHARACTER_JAMO,               /* vowel or final of a Hangul syllable: combines with its initial */
    CHARACTER_REGIONAL,           /* half of a flag */
    CHARACTER_SKIN,               /* skin tone: combines with an emoji */
    CHARACTER_SELECTOR,           /* variation selectors 15 and 16 */
    CHARACTER_IDEOGRAPH_SELECTOR, /* variation selectors of ideographs */
    CHARACTER_JOINER,             /* U+200C and U+200D */
    CHARACTER_HIDDEN,             /* control, format, private use, noncharacter: never shown as it is */
};

/* Decodes one character of strict UTF-8 out of at most `length` bytes (at least 1). Returns its bytes, 0 when
 * the bytes are not valid. */
size_t utf8_decode(const char *text, size_t length, uint32_t *character);
/* Writes 1 to 4 bytes, no NUL; returns how many. */
size_t utf8_encode(char bytes[4], uint32_t character);

enum character_class character_class(uint32_t character);
/* May take part in an emoji sequence (Extended_Pictographic). */
bool character_is_pictographic(uint32_t character);
/* May be followed by variation selectors 15 and 16 (Emoji). */
bool character_is_emoji(uint32_t character);
bool character_is_ideograph(uint32_t character);
/* Starts or continues a Hangul syllable, so that a CHARACTER_JAMO may follow. */
bool character_is_hangul(uint32_t character);
/* Of a script in which U+200C and U+200D have a meaning: Arabic, Syriac, the scripts of India ... */
bool character_is_joining(uint32_t character);
uint32_t character_lower(uint32_t character);

#endif
