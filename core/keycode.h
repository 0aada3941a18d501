/* Keys as numbers, and their names as people write them. The screen makes them, keymaps look them up. */
#ifndef CORE_KEYCODE_H
#define CORE_KEYCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One key as one number: a Unicode code point (Space is 0x20) or one of the names below, or-ed with
 * modifiers. A terminal cannot tell Ctrl-I from Tab, Ctrl-M and Ctrl-J from Enter, Ctrl-[ from Esc and Ctrl-?
 * from BackSpace: they are KEYCODE_TAB, KEYCODE_ENTER, KEYCODE_ESC, KEYCODE_BACKSPACE. Ctrl with a letter is
 * the lower-case letter | KEYCODE_CTRL (C-l: 'l' | KEYCODE_CTRL); Shift with a letter is the upper-case
 * letter without a modifier; KEYCODE_SHIFT goes only with names. The screen makes them from what the terminal
 * sends.
 */
typedef int32_t keycode;
enum {
    KEYCODE_NONE = 0,
    KEYCODE_BASE = 0x110000, /* one past the last code point */
    KEYCODE_ENTER = KEYCODE_BASE,
    KEYCODE_ESC,
    KEYCODE_TAB,
    KEYCODE_BACKSPACE,
    KEYCODE_UP,
    KEYCODE_DOWN,
    KEYCODE_LEFT,
    KEYCODE_RIGHT,
    KEYCODE_PAGE_UP,
    KEYCODE_PAGE_DOWN,
    KEYCODE_HOME,
    KEYCODE_END,
    KEYCODE_INSERT,
    KEYCODE_DELETE,
    KEYCODE_F0, /* KEYCODE_F0 + 9 is F9; 1 to 12 */
    KEYCODE_LAST = KEYCODE_F0 + 12,
    KEYCODE_CTRL = 1 << 24,
    KEYCODE_META = 1 << 25,
    KEYCODE_SHIFT = 1 << 26,
};

/* "j", "G", "Space", "S-Tab", "PgDn", "F9", "C-c", "M-x", "é" to a key, after which Ctrl-I is Tab and so on.
 * Names are taken in any case, and so are the modifiers; single letters are not. False when it is no key. */
bool key_parse(const char *text, keycode *key);
/* The key of a byte below 32 or 127 that the terminal sent: 3 is C-c, 9 is Tab, 0 is C-Space. */
keycode key_from_control(unsigned char byte);
/* The other way: the name as the files write it. 32 bytes are enough. Returns buffer. */
char *key_format(char *buffer, size_t size, keycode key);

#endif
