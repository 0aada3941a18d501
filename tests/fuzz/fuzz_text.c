/* Fuzzes what every text from the world passes: safe_text, widths, cutting, CSV, masking of secrets. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/secret.h"
#include "core/text.h"
#include "core/width.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void check_safe(const char *text)
{
    size_t length = strlen(text);
    uint32_t before = 0;
    for (size_t i = 0; i < length;) {
        uint32_t character;
        size_t bytes = utf8_decode(text + i, length - i, &character);
        CHECK(bytes > 0);
        CHECK(character >= 0x20 && character != 0x7F && !(character >= 0x80 && character < 0xA0));
        CHECK(!(character >= 0x202A && character <= 0x202E) && !(character >= 0x2066 && character <= 0x2069));
        CHECK(character != 0x200B && character != 0x200E && character != 0x200F && character != 0x061C);
        CHECK(character != 0x2060 && character != 0xFEFF && character != 0xAD && character != 0x2028);
        CHECK(character_class(character) != CHARACTER_HIDDEN);
        if (before == 0x200C || before == 0x200D)
            CHECK(character_class(character) == CHARACTER_NARROW ||
                  character_class(character) == CHARACTER_WIDE);
        before = character;
        i += bytes;
    }
    CHECK(before != 0x200C && before != 0x200D);
}

static void check_widths(const char *text)
{
    size_t length = strlen(text);
    int total = 0;
    char *cut = malloc(length + 8);
    char *ends = calloc(length + 1, 1);
    for (size_t i = 0; i < length;) {
        int cells;
        size_t bytes = text_grapheme(text + i, &cells);
        ends[i] = 1;
        CHECK(bytes > 0 && cells > 0 && i + bytes <= length);
        total += cells;
        i += bytes;
    }
    ends[length] = 1;
    CHECK(total == text_width(text));
    for (int cells = 0; cells < 12; cells++) {
        int used;
        size_t bytes = text_fit(text, cells, &used);
        CHECK(bytes <= length && ends[bytes] && used <= cells);
        CHECK(text_cut(cut, length + 8, text, cells) <= cells);
        CHECK(text_width(cut) <= cells);
        check_safe(cut);
    }
    free(ends);
    free(cut);
}

static void check_cell(const char *text)
{
    char cell[256];
    size_t length = csv_cell(cell, sizeof cell, text);
    const char *start = cell[0] == '"' ? cell + 1 : cell;
    CHECK(strlen(cell) == (length < sizeof cell ? length : strlen(cell)));
    if (strchr("=@\t\r", *start) && *start)
        abort();
    if ((*start == '+' || *start == '-') && length < sizeof cell)
        CHECK(strspn(start, "+-0123456789.eE") == strlen(start));
}

static void check_masking(const char *text)
{
    char *once = secret_mask_statement(NULL, text);
    char *twice = secret_mask_statement(NULL, once);
    CHECK(strcmp(once, twice) == 0);
    talloc_free(once);
    talloc_free(twice);
    once = secret_mask_dsn(NULL, text);
    twice = secret_mask_dsn(NULL, once);
    CHECK(strcmp(once, twice) == 0);
    talloc_free(once);
    talloc_free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *raw = malloc(size + 1);
    memcpy(raw, data, size);
    raw[size] = '\0';
    size_t needed = safe_text(NULL, 0, raw, size);
    char *safe = malloc(needed + 1);
    CHECK(safe_text(safe, needed + 1, raw, size) == needed);
    CHECK(strlen(safe) == needed);
    check_safe(safe);
    check_widths(safe);
    char small[16];
    CHECK(safe_text(small, sizeof small, raw, size) == needed);
    check_safe(small);
    char *again = safe_text_new(NULL, safe);
    CHECK(strcmp(again, safe) == 0);
    talloc_free(again);
    char *line = safe_line_new(NULL, raw);
    check_safe(line);
    check_widths(line);
    safe_line(small, sizeof small, raw);
    CHECK(strncmp(small, line, strlen(small)) == 0);
    CHECK(text_contains(safe, small) || strlen(raw) != size || strcmp(line, safe) != 0);
    talloc_free(line);
    check_cell(raw);
    check_masking(raw);
    free(safe);
    free(raw);
    return 0;
}
