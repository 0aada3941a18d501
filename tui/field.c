/* Editing one line; keys as readline has them. */
#include "tui/field.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/width.h"

void field_set(struct field *field, const char *text)
{
    memset(field, 0, sizeof *field);
    if (text)
        field_insert(field, text);
}

void field_insert(struct field *field, const char *text)
{
    char *safe = safe_line_new(NULL, text);
    /* safe_line trims: a blank that was typed is wanted */
    const char *from = *safe || !*text ? safe : " ";
    size_t room = FIELD_MAX - 1 - field->length, length = strlen(from);
    while (length > room) { /* whole characters only */
        length = room;
        while (length && ((unsigned char)from[length] & 0xc0) == 0x80)
            length--;
    }
    memmove(field->text + field->cursor + length, field->text + field->cursor,
            field->length - field->cursor + 1);
    memcpy(field->text + field->cursor, from, length);
    field->length += length;
    field->cursor += length;
    talloc_free(safe);
}

static size_t after(const struct field *field, size_t at)
{
    size_t length = text_grapheme(field->text + at, NULL);
    return at + (length ? length : 0);
}

static size_t before(const struct field *field, size_t at)
{
    size_t from = 0;
    while (from < at) {
        size_t next = after(field, from);
        if (next >= at || next == from)
            break;
        from = next;
    }
    return from;
}

static size_t word_before(const struct field *field)
{
    size_t at = field->cursor;
    while (at > 0 && field->text[at - 1] == ' ')
        at--;
    while (at > 0 && field->text[at - 1] != ' ')
        at--;
    return at;
}

static size_t word_after(const struct field *field)
{
    size_t at = field->cursor;
    while (at < field->length && field->text[at] == ' ')
        at++;
    while (at < field->length && field->text[at] != ' ')
        at++;
    return at;
}

static void take_out(struct field *field, size_t from, size_t to)
{
    memmove(field->text + from, field->text + to, field->length - to + 1);
    field->length -= to - from;
    field->cursor = from;
}

static void insert_character(struct field *field, keycode key)
{
    char bytes[5] = "";
    bytes[utf8_encode(bytes, (uint32_t)key)] = '\0';
    /* A mark joins what stands before it: it must not be judged alone. */
    size_t room = FIELD_MAX - 1 - field->length, length = strlen(bytes);
    if (length > room)
        return;
    char candidate[FIELD_MAX + 8], safe[FIELD_MAX * 2];
    memcpy(candidate, field->text, field->cursor);
    strcpy(candidate + field->cursor, bytes);
    if (safe_text(safe, sizeof safe, candidate, (size_t)-1) != field->cursor + length)
        return;
    memmove(field->text + field->cursor + length, field->text + field->cursor,
            field->length - field->cursor + 1);
    memcpy(field->text + field->cursor, bytes, length);
    field->length += length;
    field->cursor += length;
}

bool field_key(struct field *field, keycode key)
{
    switch (key) {
    case KEYCODE_LEFT:
    case 'b' | KEYCODE_CTRL:
        field->cursor = before(field, field->cursor);
        return true;
    case KEYCODE_RIGHT:
    case 'f' | KEYCODE_CTRL:
        field->cursor = after(field, field->cursor);
        return true;
    case KEYCODE_LEFT | KEYCODE_CTRL:
    case 'b' | KEYCODE_META:
        field->cursor = word_before(field);
        return true;
    case KEYCODE_RIGHT | KEYCODE_CTRL:
    case 'f' | KEYCODE_META:
        field->cursor = word_after(field);
        return true;
    case KEYCODE_HOME:
    case 'a' | KEYCODE_CTRL:
        field->cursor = 0;
        return true;
    case KEYCODE_END:
    case 'e' | KEYCODE_CTRL:
        field->cursor = field->length;
        return true;
    case KEYCODE_BACKSPACE:
    case 'h' | KEYCODE_CTRL:
        take_out(field, before(field, field->cursor), field->cursor);
        return true;
    case KEYCODE_DELETE:
    case 'd' | KEYCODE_CTRL:
        take_out(field, field->cursor, after(field, field->cursor));
        return true;
    case 'u' | KEYCODE_CTRL:
        take_out(field, 0, field->cursor);
        return true;
    case 'k' | KEYCODE_CTRL:
        take_out(field, field->cursor, field->length);
        return true;
    case 'w' | KEYCODE_CTRL:
    case KEYCODE_BACKSPACE | KEYCODE_META:
        take_out(field, word_before(field), field->cursor);
        return true;
    default:
        if (key < ' ' || key >= KEYCODE_BASE)
            return false;
        insert_character(field, key);
        return true;
    }
}

/* A dot a byte says that keys arrive; how many there are beyond the field nobody needs to know. */
static void draw_secret(const struct field *field, struct screen *screen, int row, int column, int cells,
                        bool focus)
{
    int dots = field->length < (size_t)cells - 1 ? (int)field->length : cells - 1;
    screen_fill(screen, row, column, cells, STYLE_FIELD);
    screen_repeat(screen, row, column, dots, STYLE_FIELD, "•");
    if (focus)
        screen_cursor(screen, row, column + dots);
}

void field_draw(struct field *field, struct screen *screen, int row, int column, int cells, bool focus)
{
    char upto[FIELD_MAX];
    if (cells < 2)
        return;
    if (field->secret) {
        draw_secret(field, screen, row, column, cells, focus);
        return;
    }
    if (field->first > field->cursor)
        field->first = before(field, field->cursor);
    for (;;) { /* the cursor's own cell is within the field */
        memcpy(upto, field->text + field->first, field->cursor - field->first);
        upto[field->cursor - field->first] = '\0';
        if (text_width(upto) < cells || field->first >= field->cursor)
            break;
        field->first = after(field, field->first);
    }
    screen_fill(screen, row, column, cells, STYLE_FIELD);
    screen_put(screen, row, column, cells, STYLE_FIELD, field->text + field->first);
    if (focus)
        screen_cursor(screen, row, column + text_width(upto));
}
