/* The names of keys. */
#include "core/keycode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

/* The first name of a key is the one that is written; the others are taken too. */
static const struct key_name {
    const char *name;
    keycode key;
} names[] = {
    {"Enter", KEYCODE_ENTER},
    {"Return", KEYCODE_ENTER},
    {"Esc", KEYCODE_ESC},
    {"Escape", KEYCODE_ESC},
    {"Tab", KEYCODE_TAB},
    {"BackSpace", KEYCODE_BACKSPACE},
    {"Up", KEYCODE_UP},
    {"Down", KEYCODE_DOWN},
    {"Left", KEYCODE_LEFT},
    {"Right", KEYCODE_RIGHT},
    {"PgUp", KEYCODE_PAGE_UP},
    {"PageUp", KEYCODE_PAGE_UP},
    {"PgDn", KEYCODE_PAGE_DOWN},
    {"PageDown", KEYCODE_PAGE_DOWN},
    {"Home", KEYCODE_HOME},
    {"End", KEYCODE_END},
    {"Ins", KEYCODE_INSERT},
    {"Insert", KEYCODE_INSERT},
    {"Del", KEYCODE_DELETE},
    {"Delete", KEYCODE_DELETE},
    {"Space", ' '},
    {"Hash", '#'},
};

/* The one character that the text is, or 0. */
static keycode parse_character(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t length = strlen(text);
    static const unsigned char first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const keycode least[] = {0, 0x21, 0x80, 0x800, 0x10000};
    if (length < 1 || length > 4 || (length == 1 && c[0] >= 0x7f))
        return 0;
    static const unsigned char lead[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    if (length > 1 && (c[0] & (unsigned char)~first_mask[length]) != lead[length])
        return 0;
    keycode key = c[0] & first_mask[length];
    for (size_t i = 1; i < length; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        key = key << 6 | (c[i] & 0x3f);
    }
    /* No controls, no halves of surrogate pairs. */
    if (key < least[length] || key >= KEYCODE_BASE || (key >= 0x80 && key < 0xa0) ||
        (key >= 0xd800 && key < 0xe000))
        return 0;
    return key;
}

static keycode parse_name(const char *text)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(names[i].name, text) == 0)
            return names[i].key;
    if ((text[0] != 'F' && text[0] != 'f') || text[1] < '1' || text[1] > '9')
        return 0;
    char *end;
    long number = strtol(text + 1, &end, 10);
    return !*end && number <= 12 ? KEYCODE_F0 + (keycode)number : 0;
}

keycode key_from_control(unsigned char byte)
{
    switch (byte) {
    case '\t':
        return KEYCODE_TAB;
    case '\r':
    case '\n':
        return KEYCODE_ENTER;
    case 27:
        return KEYCODE_ESC;
    case 127:
        return KEYCODE_BACKSPACE;
    default:
        return KEYCODE_CTRL | (byte >= 1 && byte <= 26 ? 'a' + byte - 1 : byte + 64);
    }
}

/* Ctrl with a character: only what a terminal has a byte for. */
static keycode with_ctrl(keycode key)
{
    if (key >= 'a' && key <= 'z')
        return key_from_control((unsigned char)(key - 'a' + 1));
    if (key >= '@' && key <= '_')
        return key_from_control((unsigned char)(key - '@'));
    if (key == ' ')
        return key_from_control(0);
    return key == '?' ? KEYCODE_BACKSPACE : KEYCODE_NONE;
}

static bool takes_modifiers(keycode key)
{
    return key >= KEYCODE_UP && key <= KEYCODE_LAST;
}

bool key_parse(const char *text, keycode *key)
{
    keycode modifiers = 0;
    while (text[0] && text[1] == '-' && text[2]) {
        keycode modifier = strchr("Cc", text[0])   ? KEYCODE_CTRL
                           : strchr("Mm", text[0]) ? KEYCODE_META
                           : strchr("Ss", text[0]) ? KEYCODE_SHIFT
                                                   : 0;
        if (!modifier || (modifiers & modifier))
            return false;
        modifiers |= modifier;
        text += 2;
    }
    keycode plain = parse_character(text);
    if (!plain)
        plain = parse_name(text);
    if (!plain)
        return false;
    if (plain >= KEYCODE_BASE) {
        bool shift_tab = plain == KEYCODE_TAB && !(modifiers & KEYCODE_CTRL);
        if ((modifiers & (KEYCODE_CTRL | KEYCODE_SHIFT)) && !takes_modifiers(plain) && !shift_tab)
            return false;
        *key = plain | modifiers;
        return true;
    }
    if (modifiers & KEYCODE_CTRL) {
        plain = with_ctrl(plain);
        /* Ctrl-Shift-L is Ctrl-L to a terminal: writing Shift would promise a difference. */
        if (!plain || (modifiers & KEYCODE_SHIFT))
            return false;
    } else if (modifiers & KEYCODE_SHIFT) {
        keycode upper = (keycode)towupper((wint_t)plain);
        if (upper == plain)
            return false;
        plain = upper;
    }
    *key = plain | (modifiers & KEYCODE_META);
    return true;
}

static void put_character(char *text, keycode c)
{
    unsigned char *out = (unsigned char *)text;
    if (c < 0x80) {
        *out++ = (unsigned char)c;
    } else if (c < 0x800) {
        *out++ = (unsigned char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        *out++ = (unsigned char)(0xe0 | c >> 12);
        *out++ = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    } else {
        *out++ = (unsigned char)(0xf0 | c >> 18);
        *out++ = (unsigned char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        *out++ = (unsigned char)(0x80 | (c & 0x3f));
    *out = '\0';
}

char *key_format(char *buffer, size_t size, keycode key)
{
    keycode plain = key & ~(KEYCODE_CTRL | KEYCODE_META | KEYCODE_SHIFT);
    char text[16] = "";
    if (plain > KEYCODE_F0 && plain <= KEYCODE_LAST)
        snprintf(text, sizeof text, "F%d", plain - KEYCODE_F0);
    else if ((key & KEYCODE_CTRL) && plain == '@')
        strcpy(text, "Space");
    for (size_t i = 0; !*text && plain != '#' && i < sizeof names / sizeof *names; i++)
        if (names[i].key == plain)
            snprintf(text, sizeof text, "%s", names[i].name);
    if (!*text)
        put_character(text, plain);
    snprintf(buffer, size, "%s%s%s%s", key & KEYCODE_CTRL ? "C-" : "", key & KEYCODE_META ? "M-" : "",
             key & KEYCODE_SHIFT ? "S-" : "", text);
    return buffer;
}
