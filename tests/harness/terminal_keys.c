/* Keys by name, as the bytes that xterm sends. */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/terminal_internal.h"

static const struct {
    const char *name;
    VTermKey key;
} terminal_names[] = {
    {"Enter", VTERM_KEY_ENTER},
    {"Tab", VTERM_KEY_TAB},
    {"Backspace", VTERM_KEY_BACKSPACE},
    {"Esc", VTERM_KEY_ESCAPE},
    {"Up", VTERM_KEY_UP},
    {"Down", VTERM_KEY_DOWN},
    {"Left", VTERM_KEY_LEFT},
    {"Right", VTERM_KEY_RIGHT},
    {"Insert", VTERM_KEY_INS},
    {"Delete", VTERM_KEY_DEL},
    {"Home", VTERM_KEY_HOME},
    {"End", VTERM_KEY_END},
    {"PageUp", VTERM_KEY_PAGEUP},
    {"PageDown", VTERM_KEY_PAGEDOWN},
    {"PgUp", VTERM_KEY_PAGEUP},
    {"PgDn", VTERM_KEY_PAGEDOWN},
    {"Escape", VTERM_KEY_ESCAPE},
    {"BackSpace", VTERM_KEY_BACKSPACE},
    {"Del", VTERM_KEY_DEL},
    {"Ins", VTERM_KEY_INS},
};

/* Decodes one character; 0 when the text is not exactly one. */
static uint32_t terminal_single(const char *text, size_t *used)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] == 0 || strlen(text) < length)
        return 0;
    uint32_t c = length == 1 ? s[0] : s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++)
        c = c << 6 | (s[i] & 0x3f);
    *used = length;
    return c;
}

/* Not by vterm_keyboard_unichar: it encodes C-i, C-m and others as no common terminal does unless asked. */
static void terminal_type_character(struct terminal *t, const char *text, size_t length,
                                    VTermModifier modifier)
{
    if (modifier & VTERM_MOD_ALT)
        terminal_type(t, "\033", 1);
    if (modifier & VTERM_MOD_CTRL) {
        char control = text[0] == '?' ? '\177' : (char)(toupper((unsigned char)text[0]) & 0x1f);
        terminal_type(t, &control, 1);
    } else {
        terminal_type(t, text, length);
    }
}

static bool terminal_type_named(struct terminal *t, const char *name, VTermModifier modifier)
{
    int number;
    char rest;
    if (sscanf(name, "F%d%c", &number, &rest) == 1 && number >= 1 && number <= 12) {
        vterm_keyboard_key(t->vterm, VTERM_KEY_FUNCTION(number), modifier);
        return true;
    }
    if (strcmp(name, "Space") == 0) {
        terminal_type_character(t, " ", 1, modifier);
        return true;
    }
    for (size_t i = 0; i < sizeof terminal_names / sizeof *terminal_names; i++) {
        if (strcmp(terminal_names[i].name, name) == 0) {
            vterm_keyboard_key(t->vterm, terminal_names[i].key, modifier);
            return true;
        }
    }
    return false;
}

static VTermModifier terminal_modifiers(const char **name)
{
    static const char letters[] = "SMC"; /* the bits of libvterm, from the lowest */
    VTermModifier modifier = VTERM_MOD_NONE;
    while ((*name)[0] && (*name)[1] == '-' && (*name)[2]) {
        const char *letter = strchr(letters, (*name)[0]);
        if (!letter)
            break;
        modifier = (VTermModifier)((int)modifier | 1 << (letter - letters));
        *name += 2;
    }
    return modifier;
}

/* Fingers do not type the next key within the time in which Esc could begin a sequence. */
static void terminal_escape_gap(struct terminal *t)
{
    double until = t->escape_sent + TERMINAL_ESCAPE_GAP_MS / 1000.0;
    while (t->escape_sent > 0 && terminal_now() < until && t->status < 0)
        terminal_pump(t, until - terminal_now());
    t->escape_sent = 0;
}

static void terminal_paste(struct terminal *t, const char *text)
{
    vterm_keyboard_start_paste(t->vterm);
    terminal_type(t, text, strlen(text));
    vterm_keyboard_end_paste(t->vterm);
    terminal_type(t, "", 0);
}

bool terminal_send(struct terminal *t, const char *key)
{
    terminal_escape_gap(t);
    terminal_pump(t, 0); /* the modes of the cursor keys and of pasting must be the program's newest */
    if (strncmp(key, "text:", 5) == 0 || strncmp(key, "bytes:", 6) == 0) {
        const char *text = strchr(key, ':') + 1;
        terminal_type(t, text, strlen(text));
        return true;
    }
    if (strncmp(key, "paste:", 6) == 0) {
        terminal_paste(t, key + 6);
        return true;
    }
    const char *name = key;
    VTermModifier modifier = terminal_modifiers(&name);
    size_t used = 0;
    if (terminal_single(name, &used) && name[used] == '\0') {
        terminal_type_character(t, name, used, modifier);
        return true;
    }
    if (!terminal_type_named(t, name, modifier))
        return false;
    terminal_type(t, "", 0);
    if (strncmp(name, "Esc", 3) == 0)
        t->escape_sent = terminal_now();
    return true;
}

/* libvterm 0.1 sees only the first mode of "CSI ? 1006;1000 h", which is what ncurses sends: so the mouse
 * speaks by itself. */
static void terminal_mouse(struct terminal *t, int row, int column, int button, bool press)
{
    int code = button >= 4 ? 64 + button - 4 : button - 1;
    char bytes[64];
    int length;
    if (terminal_mode(t, 1006))
        length =
            snprintf(bytes, sizeof bytes, "\033[<%d;%d;%d%c", code, column + 1, row + 1, press ? 'M' : 'm');
    else
        length =
            snprintf(bytes, sizeof bytes, "\033[M%c%c%c", (press ? code : 3) + 32, column + 33, row + 33);
    terminal_type(t, bytes, (size_t)length);
}

void terminal_click(struct terminal *t, int row, int column, int button)
{
    terminal_escape_gap(t);
    terminal_pump(t, 0);
    if (!terminal_mode(t, 1000) && !terminal_mode(t, 1002) && !terminal_mode(t, 1003))
        return;
    terminal_mouse(t, row, column, button, true);
    if (button < 4)
        terminal_mouse(t, row, column, button, false);
}
