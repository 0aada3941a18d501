/* Escape sequences of xterm and those that follow it, of the Linux console and rxvt. */
#include "tui/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"
#include "core/width.h"

/* The tail of an arrow key whose Esc was taken for a key comes within this time, or never. */
#define TAIL_S 1.0
/* A tail comes in one piece, or nearly so; fingers are slower. */
#define TAIL_GAP_S 0.03
/* A sequence that has begun for certain may come slowly over a bad link. */
#define SEQUENCE_S 1.0
/* A paste whose end never comes must not swallow the keys for ever. */
#define PASTE_S 2.0

static void emit(struct keys *keys, keycode key)
{
    if (key && keys->key)
        keys->key(keys->data, key);
}

static void to_ground(struct keys *keys)
{
    keys->state = KEYS_GROUND;
    keys->length = 0;
    keys->meta = false;
    keys->tail = false;
    keys->deadline = 0;
}

/* ---- sequences ---- */

/* xterm's parameter: 1 + (1 Shift, 2 Alt, 4 Ctrl, 8 Meta). */
static keycode modifiers_of(int parameter)
{
    int bits = parameter > 1 ? parameter - 1 : 0;
    return (bits & 1 ? KEYCODE_SHIFT : 0) | (bits & 10 ? KEYCODE_META : 0) | (bits & 4 ? KEYCODE_CTRL : 0);
}

static keycode letter_key(char letter)
{
    switch (letter) {
    case 'A':
        return KEYCODE_UP;
    case 'B':
        return KEYCODE_DOWN;
    case 'C':
        return KEYCODE_RIGHT;
    case 'D':
        return KEYCODE_LEFT;
    case 'H':
        return KEYCODE_HOME;
    case 'F':
        return KEYCODE_END;
    case 'P':
    case 'Q':
    case 'R':
    case 'S':
        return KEYCODE_F0 + 1 + (letter - 'P');
    default:
        return KEYCODE_NONE;
    }
}

static keycode tilde_key(int number)
{
    static const struct {
        int number;
        keycode key;
    } keys[] = {
        {1, KEYCODE_HOME},    {2, KEYCODE_INSERT},    {3, KEYCODE_DELETE},   {4, KEYCODE_END},
        {5, KEYCODE_PAGE_UP}, {6, KEYCODE_PAGE_DOWN}, {7, KEYCODE_HOME},     {8, KEYCODE_END},
        {11, KEYCODE_F0 + 1}, {12, KEYCODE_F0 + 2},   {13, KEYCODE_F0 + 3},  {14, KEYCODE_F0 + 4},
        {15, KEYCODE_F0 + 5}, {17, KEYCODE_F0 + 6},   {18, KEYCODE_F0 + 7},  {19, KEYCODE_F0 + 8},
        {20, KEYCODE_F0 + 9}, {21, KEYCODE_F0 + 10},  {23, KEYCODE_F0 + 11}, {24, KEYCODE_F0 + 12},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].number == number)
            return keys[i].key;
    return KEYCODE_NONE;
}

/* A character with modifiers, as terminals report it that tell more than bytes can. */
static keycode character_key(int character, int parameter)
{
    keycode modifiers = modifiers_of(parameter);
    if (character < 0x20 || character == 0x7f) {
        keycode key = key_from_control((unsigned char)character);
        return key == KEYCODE_TAB ? key | (modifiers & (KEYCODE_SHIFT | KEYCODE_META))
                                  : key | (modifiers & KEYCODE_META);
    }
    if (character >= KEYCODE_BASE)
        return KEYCODE_NONE;
    if ((modifiers & KEYCODE_CTRL) && character >= 'A' && character <= 'Z')
        character += 'a' - 'A';
    return character | (modifiers & (KEYCODE_CTRL | KEYCODE_META));
}

static int read_parameters(const char *text, size_t length, int *out, int max)
{
    int count = 0;
    size_t i = 0;
    while (i < length && count < max) {
        int number = 0;
        while (i < length && text[i] >= '0' && text[i] <= '9' && number < 1000000)
            number = number * 10 + (text[i++] - '0');
        while (i < length && text[i] != ';')
            i++;
        out[count++] = number;
        i++;
    }
    return count;
}

/* "<button;column;row" and M (pressed) or m (released). */
static void mouse(struct keys *keys, const char *text, size_t length, char final)
{
    int p[3] = {0};
    if (final != 'M' || read_parameters(text, length, p, 3) != 3 || !keys->click)
        return;
    bool wheel = p[0] & 64;
    int button = wheel ? 4 + (p[0] & 1) : (p[0] & 3) + 1;
    if (button > 5 || (!wheel && button > 3) || (p[0] & 32))
        return;
    keys->click(keys->data, p[2] - 1, p[1] - 1, button);
}

/* keys->sequence holds what stands between "ESC [" and the final byte. */
static void csi(struct keys *keys, char final, double now)
{
    const char *text = keys->sequence;
    size_t length = keys->length;
    bool tail = keys->tail;
    int p[3] = {0, 0, 0};
    keycode key = KEYCODE_NONE;
    to_ground(keys);
    if (tail)
        return;
    if (length && text[0] == '<') {
        mouse(keys, text + 1, length - 1, final);
        return;
    }
    if (length && text[0] == '[') { /* the Linux console's F1 to F5 */
        emit(keys, final >= 'A' && final <= 'E' ? KEYCODE_F0 + 1 + (final - 'A') : KEYCODE_NONE);
        return;
    }
    if (length && strchr("=>?", text[0])) /* an answer to somebody's question */
        return;
    read_parameters(text, length, p, 3);
    if (final == '~' && p[0] == 200) {
        keys->state = KEYS_PASTE;
        keys->pasted_length = 0;
        keys->deadline = now + PASTE_S;
        return;
    }
    if (final == 'Z')
        key = KEYCODE_TAB | KEYCODE_SHIFT;
    else if (final == '~' && p[0] == 27)
        key = character_key(p[2], p[1]);
    else if (final == 'u')
        key = character_key(p[0], p[1]);
    else if (final == '~' || final == '^' || final == '$')
        key = tilde_key(p[0]);
    else if (final >= 'a' && final <= 'd') /* rxvt with Shift */
        key = letter_key((char)(final - 'a' + 'A'));
    else
        key = letter_key(final);
    if (key && final != 'u' && p[0] != 27)
        key |= modifiers_of(p[1]) | (final == '^' ? KEYCODE_CTRL : 0) |
               (final == '$' || (final >= 'a' && final <= 'd') ? KEYCODE_SHIFT : 0);
    emit(keys, key);
}

static void ss3(struct keys *keys, char final)
{
    /* The keypad in application mode. */
    static const char keypad[] = "*+,-./0123456789";
    bool tail = keys->tail;
    int p[1] = {0};
    read_parameters(keys->sequence, keys->length, p, 1);
    to_ground(keys);
    if (tail)
        return;
    if (final >= 'j' && final <= 'y')
        emit(keys, keypad[final - 'j']);
    else if (final == 'M')
        emit(keys, KEYCODE_ENTER);
    else if (letter_key(final))
        emit(keys, letter_key(final) | modifiers_of(p[0]));
}

/* ---- pastes ---- */

static void paste_end(struct keys *keys)
{
    char *text = keys->pasted;
    size_t length = keys->pasted_length, out = 0;
    keys->pasted = NULL;
    keys->pasted_length = keys->pasted_size = 0;
    to_ground(keys);
    if (!text)
        return;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')
            continue;
        text[out++] = text[i] == '\r' || text[i] == '\n' || text[i] == '\t' || !text[i] ? ' ' : text[i];
    }
    while (out && text[out - 1] == ' ')
        out--;
    text[out] = '\0';
    char *safe = safe_text_new(NULL, text);
    free(text);
    if (keys->paste && *safe)
        keys->paste(keys->data, safe);
    talloc_free(safe);
}

static void paste_byte(struct keys *keys, char byte)
{
    static const char end[] = "\033[201~";
    const size_t end_length = sizeof end - 1;
    if (keys->pasted_length + 2 > keys->pasted_size) {
        size_t size = keys->pasted_size ? keys->pasted_size * 2 : 256;
        char *larger = realloc(keys->pasted, size);
        if (!larger)
            abort();
        keys->pasted = larger;
        keys->pasted_size = size;
    }
    keys->pasted[keys->pasted_length++] = byte;
    if (keys->pasted_length >= end_length &&
        memcmp(keys->pasted + keys->pasted_length - end_length, end, end_length) == 0) {
        keys->pasted_length -= end_length;
        paste_end(keys);
    } else if (keys->pasted_length > KEYS_PASTE_MAX) {
        /* Keeps looking for the end, in what it still remembers, and forgets the rest. */
        memmove(keys->pasted + KEYS_PASTE_MAX - end_length, keys->pasted + keys->pasted_length - end_length,
                end_length);
        keys->pasted_length = KEYS_PASTE_MAX;
    }
}

/* ---- bytes ---- */

static void utf8_begin(struct keys *keys, unsigned char byte, bool meta)
{
    keys->wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    keys->sequence[0] = (char)byte;
    keys->length = 1;
    keys->meta = meta;
    keys->deadline = 0;
    keys->state = KEYS_UTF8;
}

/* False when the byte does not continue the character: it begins something else. */
static bool utf8_byte(struct keys *keys, unsigned char byte)
{
    if ((byte & 0xc0) != 0x80) {
        to_ground(keys);
        return false;
    }
    keys->sequence[keys->length++] = (char)byte;
    if (keys->length < keys->wanted)
        return true;
    uint32_t character;
    bool meta = keys->meta, valid = utf8_decode(keys->sequence, keys->length, &character) > 0;
    to_ground(keys);
    if (valid && character >= 0xa0)
        emit(keys, (keycode)character | (meta ? KEYCODE_META : 0));
    return true;
}

static void sequence_begin(struct keys *keys, char introducer, bool tail, double now)
{
    keys->state = introducer == '[' ? KEYS_CSI : KEYS_SS3;
    keys->length = 0;
    keys->tail = tail;
    keys->deadline = now + (tail ? TAIL_GAP_S : keys->escape_s);
}

static void plain_byte(struct keys *keys, unsigned char byte, bool meta, double now)
{
    to_ground(keys);
    if (byte >= 0xc2 && byte <= 0xf4)
        utf8_begin(keys, byte, meta);
    else if (byte == 27) {
        keys->state = KEYS_ESCAPE;
        keys->deadline = now + keys->escape_s;
    } else if (byte < 0x20 || byte == 0x7f) {
        keycode key = keys->backspace && byte == keys->backspace ? KEYCODE_BACKSPACE : key_from_control(byte);
        emit(keys, key | (meta ? KEYCODE_META : 0));
    } else if (byte < 0x80)
        emit(keys, byte | (meta ? KEYCODE_META : 0));
}

static void sequence_byte(struct keys *keys, unsigned char byte, double now)
{
    bool console = keys->state == KEYS_CSI && keys->length == 0 && byte == '[';
    if (byte < 0x20 || byte > 0x7e) { /* broken off */
        plain_byte(keys, byte, false, now);
        return;
    }
    /* rxvt ends with "$", which is an intermediate byte to everybody else */
    bool final = byte >= 0x40 || (byte == '$' && keys->length && keys->state == KEYS_CSI);
    if (!console && final) {
        if (keys->state == KEYS_CSI)
            csi(keys, (char)byte, now);
        else
            ss3(keys, (char)byte);
        return;
    }
    if (keys->length < sizeof keys->sequence)
        keys->sequence[keys->length++] = (char)byte;
    if (!keys->tail)
        keys->deadline = now + SEQUENCE_S;
}

static void feed_byte(struct keys *keys, unsigned char byte, double now)
{
    switch (keys->state) {
    case KEYS_PASTE:
        keys->deadline = now + PASTE_S;
        paste_byte(keys, (char)byte);
        return;
    case KEYS_UTF8:
        if (utf8_byte(keys, byte))
            return;
        break;
    case KEYS_CSI:
    case KEYS_SS3:
        sequence_byte(keys, byte, now);
        return;
    case KEYS_ESCAPE:
        if (byte == '[' || byte == 'O') {
            sequence_begin(keys, (char)byte, false, now);
        } else if (byte == 27) {
            emit(keys, KEYCODE_ESC);
            keys->deadline = now + keys->escape_s;
        } else {
            plain_byte(keys, byte, true, now);
        }
        return;
    case KEYS_GROUND:
        break;
    }
    if (now < keys->tail_until && (byte == '[' || byte == 'O')) {
        keys->tail_until = 0;
        sequence_begin(keys, (char)byte, true, now);
        return;
    }
    plain_byte(keys, byte, false, now);
}

void keys_feed(struct keys *keys, const char *bytes, size_t length, double now)
{
    /* What was due before these bytes came goes first, whichever the loop saw first. */
    if (keys->deadline && now >= keys->deadline)
        keys_expire(keys, now);
    for (size_t i = 0; i < length; i++)
        feed_byte(keys, (unsigned char)bytes[i], now);
}

double keys_wait(const struct keys *keys, double now)
{
    if (!keys->deadline)
        return -1;
    return keys->deadline > now ? keys->deadline - now : 0;
}

void keys_expire(struct keys *keys, double now)
{
    if (!keys->deadline || now < keys->deadline)
        return;
    enum keys_state state = keys->state;
    bool tail = keys->tail;
    size_t length = keys->length;
    if (state == KEYS_PASTE) {
        paste_end(keys);
        return;
    }
    to_ground(keys);
    if (state == KEYS_ESCAPE) {
        keys->tail_until = now + TAIL_S;
        emit(keys, KEYCODE_ESC);
    } else if ((state == KEYS_CSI || state == KEYS_SS3) && length == 0) {
        /* "[" or "O" alone: it was typed, with Alt or right after Esc. What is longer was never typed. */
        keycode key = state == KEYS_CSI ? '[' : 'O';
        emit(keys, tail ? key : key | KEYCODE_META);
    }
}

void keys_reset(struct keys *keys)
{
    free(keys->pasted);
    keys->pasted = NULL;
    keys->pasted_length = keys->pasted_size = 0;
    keys->tail_until = 0;
    to_ground(keys);
}
