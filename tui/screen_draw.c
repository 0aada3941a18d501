/*
 * Drawing into curses. Widths are counted by core/text.h; where the C library counts another one for a
 * character, its cells are filled here, so that what stands behind it never moves.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "core/text.h"
#include "core/width.h"
#include "tui/screen_internal.h"

/* A line of a wide terminal, each cell with its marks; longer texts are cut unseen. */
enum { PIECE_MAX = 4096 };

static bool drawable(const struct screen *screen, int row, int column)
{
    return !screen->away && !screen->gone && row >= 0 && row < LINES && column >= 0 && column < COLS;
}

static void use_style(const struct screen *screen, unsigned style)
{
    struct theme_look look = theme_look(&screen->theme, style);
    attr_set((attr_t)look.attributes, look.pair, NULL);
}

/* One cell of curses: a base and its marks. */
static void put_cell(int row, int column, const wchar_t *text)
{
    cchar_t cell;
    attr_t attributes;
    short pair;
    attr_get(&attributes, &pair, NULL);
    if (setcchar(&cell, text, attributes, pair, NULL) == OK)
        mvadd_wch(row, column, &cell);
}

/* A grapheme that is not ASCII. What needs more cells than it may take (the later parts of an emoji sequence)
 * is left out; what takes fewer is filled up with blanks. */
static void put_grapheme(const struct screen *screen, int row, int column, int cells, const char *text,
                         size_t length)
{
    wchar_t cell[6] = L"";
    size_t marks = 0, i = 0;
    int used = 0, pending = 0;
    while (i < length) {
        uint32_t character;
        size_t bytes = utf8_decode(text + i, length - i, &character);
        if (!bytes)
            break;
        i += bytes;
        character = theme_glyph(screen->theme.glyphs, character);
        int width = character < 0x80 ? 1 : wcwidth((wchar_t)character);
        if (width < 0 || (width == 0 && !pending)) {
            character = screen->theme.glyphs == GLYPHS_ASCII ? '?' : 0xfffd;
            width = 1;
        }
        if (width == 0) {
            if (character != 0x200d && character != 0x200c && marks < 4)
                cell[++marks] = (wchar_t)character;
            continue;
        }
        if (used + pending + width > cells)
            break;
        if (pending)
            put_cell(row, column + used, cell);
        used += pending;
        memset(cell, 0, sizeof cell);
        cell[0] = (wchar_t)character;
        marks = 0;
        pending = width;
    }
    if (pending)
        put_cell(row, column + used, cell);
    for (used += pending; used < cells; used++)
        put_cell(row, column + used, L" ");
}

/* `text` is safe and fits. */
static void put_safe(const struct screen *screen, int row, int column, const char *text)
{
    while (*text) {
        size_t run = 0;
        while (text[run] && (unsigned char)text[run] < 0x80)
            run++;
        /* The last ASCII character may carry marks. */
        if (run && text[run])
            run--;
        if (run) {
            mvaddnstr(row, column, text, (int)run);
            column += (int)run;
            text += run;
            continue;
        }
        int cells;
        size_t length = text_grapheme(text, &cells);
        if (cells > 0)
            put_grapheme(screen, row, column, cells, text, length);
        column += cells;
        text += length;
    }
}

/* Safe and cut, in `buffer`; returns the cells. */
static int prepare(char buffer[PIECE_MAX], const char *text, int cells)
{
    char safe[PIECE_MAX];
    safe_text(safe, sizeof safe, text, strnlen(text, sizeof safe));
    return text_cut(buffer, PIECE_MAX, safe, cells);
}

int screen_put(struct screen *screen, int row, int column, int cells, unsigned style, const char *text)
{
    char piece[PIECE_MAX];
    if (!text || cells <= 0 || !drawable(screen, row, column))
        return 0;
    if (cells > COLS - column)
        cells = COLS - column;
    int used = prepare(piece, text, cells);
    use_style(screen, style);
    put_safe(screen, row, column, piece);
    return used;
}

int screen_put_right(struct screen *screen, int row, int column, int cells, unsigned style, const char *text)
{
    char piece[PIECE_MAX];
    if (!text || cells <= 0 || !drawable(screen, row, column))
        return 0;
    int used = prepare(piece, text, cells);
    return screen_put(screen, row, column + cells - used, used, style, piece);
}

int screen_format(struct screen *screen, int row, int column, int cells, unsigned style, const char *format,
                  ...)
{
    char text[PIECE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return screen_put(screen, row, column, cells, style, text);
}

void screen_fill(struct screen *screen, int row, int column, int cells, unsigned style)
{
    screen_repeat(screen, row, column, cells, style, " ");
}

void screen_repeat(struct screen *screen, int row, int column, int cells, unsigned style, const char *glyph)
{
    if (column < 0) {
        cells += column;
        column = 0;
    }
    if (cells <= 0 || !drawable(screen, row, column))
        return;
    if (cells > COLS - column)
        cells = COLS - column;
    use_style(screen, style);
    for (int i = 0; i < cells; i++)
        put_safe(screen, row, column + i, glyph);
}

void screen_section(struct screen *screen, int row, int column, int cells, const char *title)
{
    if (cells < 4)
        return;
    screen_repeat(screen, row, column, 2, STYLE_BORDER, "─");
    int used = 3;
    if (title && *title)
        used += screen_put(screen, row, column + 3, cells - 5, STYLE_TITLE, title) + 1;
    else
        used = 2;
    screen_repeat(screen, row, column + used, cells - used, STYLE_BORDER, "─");
}

void screen_box(struct screen *screen, int top, int left, int rows, int columns, unsigned style)
{
    if (rows < 2 || columns < 2)
        return;
    int bottom = top + rows - 1, right = left + columns - 1;
    screen_put(screen, top, left, 1, style, "┌");
    screen_repeat(screen, top, left + 1, columns - 2, style, "─");
    screen_put(screen, top, right, 1, style, "┐");
    for (int row = top + 1; row < bottom; row++) {
        screen_put(screen, row, left, 1, style, "│");
        screen_fill(screen, row, left + 1, columns - 2, STYLE_NORMAL);
        screen_put(screen, row, right, 1, style, "│");
    }
    screen_put(screen, bottom, left, 1, style, "└");
    screen_repeat(screen, bottom, left + 1, columns - 2, style, "─");
    screen_put(screen, bottom, right, 1, style, "┘");
}

void screen_draw_too_small(struct screen *screen)
{
    char text[96];
    snprintf(text, sizeof text, "%dx%d: signalbox needs %dx%d", COLS, LINES, SCREEN_MIN_COLUMNS,
             SCREEN_MIN_ROWS);
    screen_put(screen, 0, 0, COLS, STYLE_WARNING, text);
}
