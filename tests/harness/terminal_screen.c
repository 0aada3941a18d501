/* Reading the screen: text, cells, cursor, and the picture for failure messages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/terminal_internal.h"

void terminal_size(const struct terminal *t, int *rows, int *columns)
{
    vterm_get_size(t->vterm, rows, columns);
}

static size_t terminal_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[more] | c >> (6 * more));
    for (int i = 1; i <= more; i++)
        out[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3f));
    return (size_t)more + 1;
}

/* The glyph of a cell; "" for the right half of a wide one, " " for an empty one. */
static size_t terminal_glyph(const VTermScreenCell *cell, char out[40])
{
    size_t length = 0;
    if (cell->chars[0] != (uint32_t)-1) {
        for (int i = 0; i < VTERM_MAX_CHARS_PER_CELL && cell->chars[i]; i++)
            length += terminal_utf8(out + length, cell->chars[i]);
        if (length == 0)
            out[length++] = ' ';
    }
    out[length] = '\0';
    return length;
}

static VTermScreenCell terminal_cell(const struct terminal *t, int row, int column)
{
    VTermScreenCell cell;
    memset(&cell, 0, sizeof cell);
    vterm_screen_get_cell(t->screen, (VTermPos){.row = row, .col = column}, &cell);
    return cell;
}

static void terminal_append_row(const struct terminal *t, struct terminal_buffer *out, int row)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    size_t start = out->length;
    for (int column = 0; column < columns; column++) {
        VTermScreenCell cell = terminal_cell(t, row, column);
        char glyph[40];
        terminal_append(out, glyph, terminal_glyph(&cell, glyph));
    }
    while (out->length > start && out->bytes[out->length - 1] == ' ')
        out->length--;
    terminal_append(out, "", 0);
}

const char *terminal_text(struct terminal *t)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    t->text.length = 0;
    for (int row = 0; row < rows; row++) {
        terminal_append_row(t, &t->text, row);
        terminal_append(&t->text, "\n", 1);
    }
    return t->text.bytes;
}

const char *terminal_line(struct terminal *t, int row)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    if (row < 0 || row >= rows)
        return "";
    if (rows > t->lines_count) {
        t->lines = realloc(t->lines, (size_t)rows * sizeof *t->lines);
        if (!t->lines)
            abort();
        while (t->lines_count < rows)
            t->lines[t->lines_count++] = NULL;
    }
    struct terminal_buffer line = {.length = 0};
    terminal_append_row(t, &line, row);
    free(t->lines[row]);
    t->lines[row] = line.bytes;
    return line.bytes;
}

bool terminal_has(struct terminal *t, const char *text)
{
    return strstr(terminal_text(t), text) != NULL;
}

bool terminal_find(struct terminal *t, const char *text, int *row, int *column)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    for (int r = 0; r < rows; r++) {
        const char *line = terminal_line(t, r), *at = strstr(line, text);
        if (!at)
            continue;
        size_t before = 0;
        int c = 0;
        for (; c < columns && before < (size_t)(at - line); c++) {
            VTermScreenCell cell = terminal_cell(t, r, c);
            char glyph[40];
            before += terminal_glyph(&cell, glyph);
        }
        while (c < columns && terminal_cell(t, r, c).chars[0] == (uint32_t)-1)
            c++;
        if (row)
            *row = r;
        if (column)
            *column = c;
        return true;
    }
    return false;
}

static int terminal_colour(const VTermColor *colour)
{
    if (VTERM_COLOR_IS_DEFAULT_FG(colour) || VTERM_COLOR_IS_DEFAULT_BG(colour))
        return TERMINAL_DEFAULT;
    if (VTERM_COLOR_IS_INDEXED(colour))
        return colour->indexed.idx;
    return TERMINAL_RGB | colour->rgb.red << 16 | colour->rgb.green << 8 | colour->rgb.blue;
}

struct terminal_attr terminal_attr(struct terminal *t, int row, int column)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    if (row < 0 || row >= rows || column < 0 || column >= columns) {
        fprintf(stderr, "terminal: cell %d,%d is outside the screen of %dx%d\n", row, column, columns, rows);
        abort();
    }
    VTermScreenCell cell = terminal_cell(t, row, column);
    struct terminal_attr attr = {
        .foreground = terminal_colour(&cell.fg),
        .background = terminal_colour(&cell.bg),
        .bold = cell.attrs.bold,
        .reverse = cell.attrs.reverse,
        .underline = cell.attrs.underline != 0,
        .italic = cell.attrs.italic,
        .blink = cell.attrs.blink,
        .width = cell.chars[0] == (uint32_t)-1 ? 0 : cell.width,
    };
    terminal_glyph(&cell, attr.text);
    return attr;
}

struct terminal_cursor terminal_cursor(struct terminal *t)
{
    VTermPos at;
    vterm_state_get_cursorpos(vterm_obtain_state(t->vterm), &at);
    return (struct terminal_cursor){.row = at.row, .column = at.col, .visible = terminal_mode(t, 25)};
}

const char *terminal_title(const struct terminal *t)
{
    return t->escapes.title;
}

const char *terminal_clipboard(const struct terminal *t)
{
    return t->escapes.clipboard;
}

bool terminal_mode(const struct terminal *t, int mode)
{
    return mode >= 0 && mode < ESCAPES_MODES && t->escapes.modes[mode];
}

bool terminal_alternate(const struct terminal *t)
{
    return terminal_mode(t, 1049) || terminal_mode(t, 1047) || terminal_mode(t, 47);
}

int terminal_bells(const struct terminal *t)
{
    return t->bells;
}

size_t terminal_bytes(const struct terminal *t)
{
    return t->bytes;
}

const char *terminal_raw(const struct terminal *t, size_t *length)
{
    *length = t->raw.length;
    return t->raw.bytes ? t->raw.bytes : "";
}

const char *terminal_home(const struct terminal *t)
{
    return t->home;
}

char *terminal_picture(struct terminal *t)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    struct terminal_buffer out = {.length = 0};
    char line[256];
    struct terminal_cursor cursor = terminal_cursor(t);
    terminal_append(
        &out, line,
        (size_t)snprintf(line, sizeof line, "screen %dx%d, cursor at row %d column %d%s%s, %zu bytes so far",
                         columns, rows, cursor.row, cursor.column, cursor.visible ? "" : " (hidden)",
                         terminal_alternate(t) ? ", alternate screen" : "", t->bytes));
    if (t->status >= 0)
        terminal_append(&out, line,
                        (size_t)snprintf(line, sizeof line, ", the program ended with %d", t->status));
    terminal_append(&out, "\n", 1);
    for (int row = 0; row < rows; row++) {
        terminal_append(&out, line, (size_t)snprintf(line, sizeof line, "%3d|", row));
        terminal_append_row(t, &out, row);
        terminal_append(&out, "\n", 1);
    }
    char *report = terminal_sanitizer_report(t);
    if (report)
        terminal_append(&out, report, strlen(report));
    free(report);
    return out.bytes;
}
