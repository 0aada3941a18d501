/*
 * Keys and what they do: the loader of *.keymap files, the names of keys, and the look-up from keys to
 * actions. Files hold lines `CONTEXT KEY [KEY] ACTION`, `unbind CONTEXT KEY [KEY]`, `keymap: vim` (a user's
 * file only), blank lines and # comments. Nothing else in signalbox names a key.
 */
#ifndef KEYMAPS_KEYMAP_H
#define KEYMAPS_KEYMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/action.h"
#include "core/error_list.h"

/*
 * One key as one number: a Unicode code point (Space is 0x20) or one of the names below, or-ed with
 * modifiers. A terminal cannot tell Ctrl-I from Tab, Ctrl-M and Ctrl-J from Enter, Ctrl-[ from Esc and Ctrl-?
 * from BackSpace: they are KEYCODE_TAB, KEYCODE_ENTER, KEYCODE_ESC, KEYCODE_BACKSPACE. Ctrl with a letter is
 * the lower-case letter | KEYCODE_CTRL (C-l: 'l' | KEYCODE_CTRL); Shift with a letter is the upper-case
 * letter without a modifier; KEYCODE_SHIFT goes only with names. The tui makes them from what curses reports.
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

enum { KEY_SEQUENCE_MAX = 2 }; /* "g g" */

/* "j", "G", "Space", "S-Tab", "PgDn", "F9", "C-c", "M-x", "é" to a key, after which Ctrl-I is Tab and so on.
 * Names are taken in any case, and so are the modifiers; single letters are not. False when it is no key. */
bool key_parse(const char *text, keycode *key);
/* The key of a byte below 32 or 127 that the terminal sent: 3 is C-c, 9 is Tab, 0 is C-Space. */
keycode key_from_control(unsigned char byte);
/* The other way: the name as the files write it. 32 bytes are enough. Returns buffer. */
char *key_format(char *buffer, size_t size, keycode key);

struct keymap;

/*
 * The built-in keymap `base` ("default", "vim", "emacs"; vim and emacs go on top of default; NULL: what the
 * user's file says in a line `keymap: vim`, else "default") with the file `user_path` on top (NULL: none;
 * one that does not exist is none). `actions` are all actions there are: others are errors. Contexts are
 * those of the general actions, the panel's and its views', and whatever stands before the dot of an action.
 * NULL when anything is wrong; then every error was added to `errors`, where holding "file:line".
 * The map keeps pointers to the actions' ids. Blocks (reads a file).
 */
struct keymap *keymap_load(const void *context, const char *base, const char *user_path,
                           const struct action *const *actions, size_t action_count,
                           struct error_list *errors);

/*
 * The action that these keys start, looked for in the contexts in order (innermost first). NULL when there
 * is none; *more (may be NULL) then says whether a further key could complete a sequence, so that the caller
 * waits for it. An inner context's binding hides an outer one's.
 */
const char *keymap_find(const struct keymap *map, const char *const contexts[], size_t context_count,
                        const keycode *keys, size_t key_count, bool *more);

/* The first key of an action as text ("F9", "g g") that really starts it in these contexts (one hidden by an
 * inner context does not count), or NULL when it has none. 64 bytes are enough. Returns buffer. */
const char *keymap_key_of(const struct keymap *map, const char *const contexts[], size_t context_count,
                          const char *action_id, char *buffer, size_t size);

/* All of its keys, joined by ", ", in the order of the files. Fresh talloc string; empty when there are none.
 */
char *keymap_keys_of(const void *context, const struct keymap *map, const char *const contexts[],
                     size_t context_count, const char *action_id);

/* "default", "vim" or "emacs": what the map is based on. */
const char *keymap_base(const struct keymap *map);

#endif
