/* A small state machine after ECMA-48: CSI, OSC, and the strings to be skipped (DCS, SOS, PM, APC). */
#include "tests/harness/escapes.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { ESCAPES_LONGEST = 1 << 20 };

void escapes_init(struct escapes *e)
{
    *e = (struct escapes){.state = ESCAPES_TEXT};
    e->modes[25] = true;
}

void escapes_free(struct escapes *e)
{
    free(e->collected);
    free(e->title);
    free(e->clipboard);
}

static void escapes_collect(struct escapes *e, char byte)
{
    if (e->length + 1 >= e->capacity) {
        if (e->capacity >= ESCAPES_LONGEST)
            return;
        e->capacity = e->capacity ? e->capacity * 2 : 256;
        e->collected = realloc(e->collected, e->capacity);
        if (!e->collected)
            abort();
    }
    e->collected[e->length++] = byte;
    e->collected[e->length] = '\0';
}

static void escapes_csi(struct escapes *e, char final)
{
    if ((final != 'h' && final != 'l') || e->length == 0 || e->collected[0] != '?')
        return;
    for (const char *at = e->collected + 1; *at;) {
        char *end;
        unsigned long mode = strtoul(at, &end, 10);
        if (end == at)
            break;
        if (mode < ESCAPES_MODES)
            e->modes[mode] = final == 'h';
        at = *end == ';' ? end + 1 : end;
    }
}

static char *escapes_base64(const char *text)
{
    size_t length = strlen(text);
    unsigned char *out = malloc(length / 4 * 3 + 4);
    if (!out)
        abort();
    int decoded = EVP_DecodeBlock(out, (const unsigned char *)text, (int)length);
    if (decoded < 0)
        decoded = 0;
    for (size_t i = length; i > 0 && text[i - 1] == '=' && decoded > 0; i--)
        decoded--;
    out[decoded] = '\0';
    return (char *)out;
}

static void escapes_osc(struct escapes *e)
{
    if (e->length == 0)
        return;
    const char *rest = strchr(e->collected, ';');
    if (!rest)
        return;
    long command = strtol(e->collected, NULL, 10);
    rest++;
    if (command == 0 || command == 2) {
        free(e->title);
        e->title = strdup(rest);
    } else if (command == 52 && (rest = strchr(rest, ';'))) {
        free(e->clipboard);
        e->clipboard = escapes_base64(rest + 1);
    }
}

static void escapes_introduce(struct escapes *e, char byte)
{
    e->length = 0;
    if (e->collected)
        e->collected[0] = '\0';
    if (byte == '[')
        e->state = ESCAPES_CSI;
    else if (byte == ']')
        e->state = ESCAPES_OSC;
    else if (strchr("PX^_", byte) && byte)
        e->state = ESCAPES_STRING;
    else
        e->state = ESCAPES_TEXT;
}

static void escapes_byte(struct escapes *e, char byte)
{
    switch (e->state) {
    case ESCAPES_TEXT:
        if (byte == '\033')
            e->state = ESCAPES_ESCAPE;
        break;
    case ESCAPES_ESCAPE:
        escapes_introduce(e, byte);
        break;
    case ESCAPES_CSI:
        if (byte == '\033') {
            e->state = ESCAPES_ESCAPE;
        } else if (byte >= 0x40 && byte <= 0x7e) {
            escapes_csi(e, byte);
            e->state = ESCAPES_TEXT;
        } else {
            escapes_collect(e, byte);
        }
        break;
    case ESCAPES_OSC:
        if (byte == '\a') {
            escapes_osc(e);
            e->state = ESCAPES_TEXT;
        } else if (byte == '\033') {
            e->state = ESCAPES_OSC_ESCAPE;
        } else {
            escapes_collect(e, byte);
        }
        break;
    case ESCAPES_OSC_ESCAPE:
    case ESCAPES_STRING_ESCAPE:
        if (byte != '\\') {
            escapes_introduce(e, byte);
            break;
        }
        if (e->state == ESCAPES_OSC_ESCAPE)
            escapes_osc(e);
        e->state = ESCAPES_TEXT;
        break;
    case ESCAPES_STRING:
        if (byte == '\033')
            e->state = ESCAPES_STRING_ESCAPE;
        break;
    }
}

void escapes_feed(struct escapes *e, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        escapes_byte(e, bytes[i]);
}
