/*
 * Safe text, widths in terminal cells, cutting at graphemes, searching, CSV. The walk over a text knows only
 * the last visible character (struct walk): enough to decide whether a mark, a joiner or a selector may
 * stay.
 */
#include "core/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/width.h"

/* A cell of ncurses holds a base and four more; longer piles of marks only serve to hide something. */
#define MARKS_PER_BASE 4
/* Decoding stops at a NUL by itself, so that texts that end with one need not be measured first. */
#define UTF8_MAX 4

/* ---- where the text goes ---- */

struct output {
    char *buffer;
    size_t size;
    size_t used;   /* bytes in the buffer */
    size_t length; /* bytes that the whole result has */
    bool full;     /* something did not fit: nothing more is written */
};

static void put(struct output *output, const char *bytes, size_t length)
{
    output->length += length;
    if (output->full)
        return;
    if (output->used + length >= output->size) {
        output->full = true;
        return;
    }
    memcpy(output->buffer + output->used, bytes, length);
    output->used += length;
}

/* Runs of plain ASCII may be cut anywhere. */
static void put_plain(struct output *output, const char *bytes, size_t length)
{
    size_t room = output->full || output->size == 0 ? 0 : output->size - 1 - output->used;
    size_t first = length < room ? length : room;
    put(output, bytes, first);
    if (first < length)
        put(output, bytes + first, length - first);
}

static void put_escape(struct output *output, uint32_t character)
{
    char escape[16];
    int length;
    if (character == '\n' || character == '\t' || character == '\r')
        length = snprintf(escape, sizeof escape, "\\%c",
                          character == '\n'   ? 'n'
                          : character == '\t' ? 't'
                                              : 'r');
    else if (character < 0x80)
        length = snprintf(escape, sizeof escape, "\\x%02x", (unsigned)character);
    else if (character < 0x10000)
        length = snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character);
    else
        length = snprintf(escape, sizeof escape, "\\U%08x", (unsigned)character);
    put(output, escape, (size_t)length);
}

/* ---- the walk ---- */

struct walk {
    uint32_t base;  /* the last visible character that can carry marks; 0: none (start, after an escape) */
    uint32_t last;  /* the character right before, marks included; 0 as above */
    unsigned marks; /* marks and selectors that base carries already */
};

static bool next_character(const char *text, size_t length, uint32_t *character)
{
    return length > 0 && utf8_decode(text, length, character) > 0;
}

/* A joiner stays between two visible characters of scripts that use it, and within an emoji sequence. */
static bool joiner_may_stay(const struct walk *walk, uint32_t joiner, uint32_t next)
{
    enum character_class class = character_class(next);
    if (!walk->base || (class != CHARACTER_NARROW && class != CHARACTER_WIDE))
        return false;
    if (character_is_joining(walk->base) && character_is_joining(next))
        return true;
    return joiner == 0x200D && character_is_pictographic(walk->base) && character_is_pictographic(next);
}

/* `rest` is what follows the character. */
static bool may_stay(const struct walk *walk, uint32_t character, enum character_class class,
                     const char *rest, size_t length)
{
    uint32_t next = 0;
    switch (class) {
    case CHARACTER_NARROW:
    case CHARACTER_WIDE:
    case CHARACTER_REGIONAL:
        return true;
    case CHARACTER_MARK:
    case CHARACTER_SPACING:
        return walk->base && walk->marks < MARKS_PER_BASE;
    case CHARACTER_JAMO:
        return character_is_hangul(walk->last) && walk->marks < MARKS_PER_BASE;
    case CHARACTER_SKIN:
        return true;
    case CHARACTER_SELECTOR:
        if (!walk->base || walk->last != walk->base || !character_is_emoji(walk->base))
            return false;
        return walk->base >= 0x80 ||
               (character == 0xFE0F && next_character(rest, length, &next) && next == 0x20E3);
    case CHARACTER_IDEOGRAPH_SELECTOR:
        return walk->last == walk->base && character_is_ideograph(walk->base);
    case CHARACTER_JOINER:
        return next_character(rest, length, &next) && joiner_may_stay(walk, character, next);
    case CHARACTER_HIDDEN:
        return false;
    }
    return false;
}

static void walk_over(struct walk *walk, uint32_t character, enum character_class class)
{
    walk->last = character;
    if (class == CHARACTER_NARROW || class == CHARACTER_WIDE || class == CHARACTER_REGIONAL ||
        (class == CHARACTER_SKIN && !character_is_pictographic(walk->base))) {
        walk->base = character;
        walk->marks = 0;
    } else if (class != CHARACTER_JOINER) {
        walk->marks++;
    }
}

/* Length of the run of printable ASCII at the start, eight bytes at a time. */
static size_t plain_run(const char *text, size_t length)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, sizeof word);
        uint64_t below_space = word - ones * 0x20;
        uint64_t above_tilde = word + ones; /* 0x7f carries into the high bit */
        if ((word | below_space | above_tilde) & highs)
            break;
    }
    while (i < length && text[i] >= 0x20 && text[i] < 0x7F)
        i++;
    return i;
}

/* Takes one character that is not printable ASCII; returns its bytes. */
static size_t take_character(struct output *output, struct walk *walk, const char *text, size_t length)
{
    uint32_t character;
    size_t bytes = utf8_decode(text, length, &character);
    if (!bytes) {
        char escape[8];
        snprintf(escape, sizeof escape, "\\x%02x", (unsigned)(unsigned char)text[0]);
        put(output, escape, 4);
        *walk = (struct walk){0};
        return 1;
    }
    enum character_class class = character_class(character);
    if (!may_stay(walk, character, class, text + bytes, length - bytes)) {
        put_escape(output, character);
        *walk = (struct walk){0};
        return bytes;
    }
    walk_over(walk, character, class);
    if (class == CHARACTER_JOINER || class == CHARACTER_SELECTOR) {
        /* Never the joiner alone at the end of a buffer, nor a selector without its keycap. */
        uint32_t next;
        if (length > bytes && utf8_decode(text + bytes, length - bytes, &next) &&
            (class == CHARACTER_JOINER || next == 0x20E3)) {
            bytes += utf8_decode(text + bytes, length - bytes, &next);
            walk_over(walk, next, character_class(next));
        }
    }
    put(output, text, bytes);
    return bytes;
}

static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* `fold` makes one space of every run of white space; `whole` false stops when the buffer is full. */
static size_t copy_safe(char *buffer, size_t size, const char *text, size_t length, bool fold, bool whole)
{
    struct output output = {.buffer = buffer, .size = size};
    struct walk walk = {0};
    bool pending = false;
    size_t i = 0;
    while (i < length && (whole || !output.full)) {
        if (fold && is_space(text[i])) {
            pending = output.length > 0;
            i++;
            continue;
        }
        if (pending) {
            put(&output, " ", 1);
            walk = (struct walk){.base = ' ', .last = ' '};
            pending = false;
        }
        /* Folding uses a run up to its first space only: looking far ahead would take quadratic time. */
        size_t ahead = fold && length - i > 64 ? 64 : length - i;
        size_t run = plain_run(text + i, ahead);
        if (run && fold) {
            const char *space = memchr(text + i, ' ', run);
            run = space ? (size_t)(space - (text + i)) : run;
        }
        if (run) {
            put_plain(&output, text + i, run);
            walk.base = walk.last = (unsigned char)text[i + run - 1];
            walk.marks = 0;
            i += run;
            continue;
        }
        i += take_character(&output, &walk, text + i, length - i);
    }
    if (size)
        buffer[output.used] = '\0';
    return output.length;
}

size_t safe_text(char *buffer, size_t size, const char *text, size_t length)
{
    return copy_safe(buffer, size, text, length == (size_t)-1 ? strlen(text) : length, false, true);
}

static char *copy_safe_new(const void *context, const char *text, bool fold)
{
    size_t length = text ? strlen(text) : 0;
    size_t size = length + 1;
    char *copy = talloc_size(context, size);
    if (!copy)
        abort();
    size_t needed = copy_safe(copy, size, text, length, fold, true);
    if (needed >= size) {
        talloc_free(copy);
        copy = talloc_size(context, needed + 1);
        if (!copy)
            abort();
        copy_safe(copy, needed + 1, text, length, fold, true);
    }
    talloc_set_name_const(copy, copy);
    return copy;
}

char *safe_text_new(const void *context, const char *text)
{
    return copy_safe_new(context, text, false);
}

char *safe_line_new(const void *context, const char *text)
{
    return copy_safe_new(context, text, true);
}

size_t safe_line(char *buffer, size_t size, const char *text)
{
    copy_safe(buffer, size, text, strlen(text), true, false);
    return size ? strlen(buffer) : 0;
}

/* ---- width ---- */

/* Bytes of what belongs to the grapheme after its first character, cells added to *cells. */
static size_t grapheme_rest(const char *text, uint32_t base, int *cells)
{
    size_t i = 0;
    uint32_t last = base, character;
    bool flag = false;
    while (text[i]) {
        size_t bytes = utf8_decode(text + i, UTF8_MAX, &character);
        if (!bytes)
            break;
        enum character_class class = character_class(character);
        if (class == CHARACTER_REGIONAL && !flag && i == 0 && character_class(base) == CHARACTER_REGIONAL) {
            flag = true;
            *cells = 2;
        } else if (last == 0x200D && character_is_pictographic(base) &&
                   character_is_pictographic(character)) {
            *cells = 2;
        } else if (class == CHARACTER_SELECTOR) {
            if (character == 0xFE0F)
                *cells = 2;
        } else if (class == CHARACTER_SPACING) {
            *cells += 1;
        } else if (class == CHARACTER_SKIN) {
            if (!character_is_pictographic(base))
                break;
            *cells = 2;
        } else if (class == CHARACTER_JAMO) {
            if (!character_is_hangul(last))
                break;
        } else if (class != CHARACTER_MARK && class != CHARACTER_JOINER &&
                   class != CHARACTER_IDEOGRAPH_SELECTOR) {
            break;
        }
        last = character;
        i += bytes;
    }
    return i;
}

size_t text_grapheme(const char *text, int *cells)
{
    int unused;
    if (!cells)
        cells = &unused;
    *cells = 0;
    if (!text[0])
        return 0;
    *cells = 1;
    /* ASCII before ASCII is by far the most frequent case. */
    if ((unsigned char)text[0] < 0x80 && (unsigned char)text[1] < 0x80)
        return 1;
    uint32_t character;
    size_t first = utf8_decode(text, UTF8_MAX, &character);
    if (!first)
        return 1;
    enum character_class class = character_class(character);
    if (class == CHARACTER_WIDE || class == CHARACTER_SKIN)
        *cells = 2;
    else if (class == CHARACTER_MARK || class == CHARACTER_JAMO)
        *cells = 0;
    return first + grapheme_rest(text + first, character, cells);
}

size_t text_fit(const char *text, int cells, int *used)
{
    size_t length = 0;
    int taken = 0;
    for (;;) {
        int width;
        size_t bytes = text_grapheme(text + length, &width);
        if (!bytes || taken + width > cells)
            break;
        length += bytes;
        taken += width;
    }
    if (used)
        *used = taken;
    return length;
}

int text_width(const char *text)
{
    int cells;
    text_fit(text, INT32_MAX / 2, &cells);
    return cells;
}

int text_cut(char *buffer, size_t size, const char *text, int cells)
{
    static const char ellipsis[] = "…";
    int used = 0;
    if (!size)
        return 0;
    buffer[0] = '\0';
    if (cells <= 0)
        return 0;
    size_t length = text_fit(text, cells, &used);
    if (!text[length] && length < size) {
        memcpy(buffer, text, length + 1);
        return used;
    }
    if (size < sizeof ellipsis)
        return 0;
    length = 0;
    used = 0;
    for (;;) {
        int width;
        size_t bytes = text_grapheme(text + length, &width);
        if (!bytes || used + width > cells - 1 || length + bytes + sizeof ellipsis > size)
            break;
        length += bytes;
        used += width;
    }
    memcpy(buffer, text, length);
    memcpy(buffer + length, ellipsis, sizeof ellipsis);
    return used + 1;
}

/* ---- search ---- */

static size_t lower_at(const char *text, size_t length, uint32_t *character)
{
    size_t bytes = utf8_decode(text, length, character);
    if (!bytes) {
        *character = 0x110000 + (unsigned char)text[0];
        return 1;
    }
    *character = character_lower(*character);
    return bytes;
}

static bool starts_with(const char *text, size_t length, const char *needle, size_t needle_length)
{
    size_t i = 0, j = 0;
    while (j < needle_length) {
        uint32_t a, b;
        if (i >= length)
            return false;
        i += lower_at(text + i, length - i, &a);
        j += lower_at(needle + j, needle_length - j, &b);
        if (a != b)
            return false;
    }
    return true;
}

bool text_contains(const char *haystack, const char *needle)
{
    size_t length = strlen(haystack), needle_length = strlen(needle);
    if (!needle_length)
        return true;
    uint32_t first, character;
    lower_at(needle, needle_length, &first);
    for (size_t i = 0; i < length;) {
        size_t bytes = lower_at(haystack + i, length - i, &character);
        if (character == first && starts_with(haystack + i, length - i, needle, needle_length))
            return true;
        i += bytes;
    }
    return false;
}

/* ---- CSV ---- */

static bool is_plain_number(const char *text)
{
    const char *at = text + (*text == '-' || *text == '+');
    size_t digits = strspn(at, "0123456789");
    at += digits;
    if (*at == '.') {
        size_t fraction = strspn(at + 1, "0123456789");
        digits += fraction;
        at += 1 + fraction;
    }
    if (!digits)
        return false;
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        size_t exponent = strspn(at, "0123456789");
        if (!exponent)
            return false;
        at += exponent;
    }
    return !*at;
}

size_t csv_cell(char *buffer, size_t size, const char *text)
{
    struct output output = {.buffer = buffer, .size = size};
    bool guard = text[0] && strchr("=+-@\t\r", text[0]) && !is_plain_number(text);
    size_t length = strlen(text);
    bool quote = strpbrk(text, ",\"\r\n\t;") || (length && (text[0] == ' ' || text[length - 1] == ' '));
    if (quote)
        put(&output, "\"", 1);
    if (guard)
        put(&output, "'", 1);
    for (size_t i = 0; i < length;) {
        size_t run = strcspn(text + i, "\"");
        put_plain(&output, text + i, run);
        i += run;
        if (text[i] == '"') {
            put(&output, "\"\"", 2);
            i++;
        }
    }
    if (quote)
        put(&output, "\"", 1);
    if (size)
        buffer[output.used] = '\0';
    return output.length;
}
