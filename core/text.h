/*
 * Text from the world is hostile. Everything that is shown, printed, copied or logged passes safe_text first;
 * widths are counted in terminal cells and text is cut at grapheme boundaries.
 */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies `length` bytes of `text` into `buffer` (NUL-terminated, at most `size` bytes with the NUL), with C0,
 * C1, DEL, bidi controls (U+202A-E, U+2066-9, U+200E/F, U+061C), zero-width characters (U+200B, U+2060,
 * U+FEFF; U+200C and U+200D except between two visible characters of a script that uses them, or within an
 * emoji sequence), other format controls (tags U+E0000-7F, U+00AD, U+2028/9, U+FFF9-B), private use,
 * noncharacters, variation selectors where they select nothing, and invalid UTF-8 made visible as `\n`, `\t`,
 * `\r`, `\x1b` (ASCII and bytes that are not UTF-8), `\u202e`, `\U000e0041`. So are combining marks that have
 * nothing to combine with, and those after the fourth on one character. A backslash itself stays as it is.
 * Never cut within a character. Returns the length that the whole result has (as snprintf does). With
 * `length` (size_t)-1 the text is NUL-terminated. A safe text passes unchanged. Needs no locale.
 */
size_t safe_text(char *buffer, size_t size, const char *text, size_t length);

/* The same, into a fresh talloc string owned by `context` ("" for NULL). Aborts when out of memory. */
char *safe_text_new(const void *context, const char *text);

/* As safe_text_new, with every run of white space (newlines and tabs too) folded into one space first, and
 * trimmed: for statement texts on one line. */
char *safe_line_new(const void *context, const char *text);

/* The same into a buffer of `size` bytes, for a text that may be far longer than what is shown: reads no more
 * of it than fits. Returns the length of what is in the buffer. */
size_t safe_line(char *buffer, size_t size, const char *text);

/* Cells that a safe text takes on a terminal. Counted by grapheme: a wide character 2, a combining mark 0, an
 * emoji sequence (ZWJ, variation selector 16, skin tone, flags) 2. */
int text_width(const char *text);

/* The number of bytes of the longest prefix of whole graphemes that fits in `cells`; *used (may be NULL)
 * receives the cells that it takes. */
size_t text_fit(const char *text, int cells, int *used);

/* Length in bytes of the first grapheme of text and its cells (*cells may be NULL); 0 at the end. */
size_t text_grapheme(const char *text, int *cells);

/* Copies text into buffer, cut to `cells` with "…" as the last cell when something was lost. Returns the
 * cells used. */
int text_cut(char *buffer, size_t size, const char *text, int cells);

/* Case-insensitive substring match of UTF-8 texts (simple lower case of Unicode, in every locale). An empty
 * needle matches. */
bool text_contains(const char *haystack, const char *needle);

/* Writes one CSV cell: quoted when needed, and a cell that starts with = + - @ or a tab guarded by a leading
 * apostrophe unless it is a plain number. Returns the length as snprintf does. */
size_t csv_cell(char *buffer, size_t size, const char *text);

#endif
