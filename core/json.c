#include "core/json.h"

#include <json-c/printbuf.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/width.h"

static bool dangerous(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0xad || code == 0x61c ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) ||
           (code >= 0xe0000 && code <= 0xe007f);
}

static void print_escape(struct printbuf *out, uint32_t code)
{
    char text[16];
    if (code >= 0x10000)
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                 0xdc00 + (code & 0x3ff));
    else
        snprintf(text, sizeof text, "\\u%04x", code);
    printbuf_memappend(out, text, (int)strlen(text));
}

static int print_text(struct json_object *object, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    const char *text = json_object_get_string(object);
    printbuf_memappend(out, "\"", 1);
    while (*text) {
        uint32_t code;
        size_t length = utf8_decode(text, 4, &code); /* the NUL ends a character that is cut */
        char escape[8];
        if (length == 0) {
            snprintf(escape, sizeof escape, "\\\\x%02x", (unsigned)(unsigned char)*text);
            printbuf_memappend(out, escape, 5);
            length = 1;
        } else if (code == '"' || code == '\\') {
            escape[0] = '\\';
            escape[1] = (char)code;
            printbuf_memappend(out, escape, 2);
        } else if (code == '\n') {
            printbuf_memappend(out, "\\n", 2);
        } else if (code == '\t') {
            printbuf_memappend(out, "\\t", 2);
        } else if (dangerous(code)) {
            print_escape(out, code);
        } else {
            printbuf_memappend(out, text, (int)length);
        }
        text += length;
    }
    return printbuf_memappend(out, "\"", 1);
}

struct json_object *json_text(const char *text)
{
    if (!text)
        return NULL;
    struct json_object *object = json_object_new_string(text);
    json_object_set_serializer(object, print_text, NULL, NULL);
    return object;
}

struct json_object *json_real(double real)
{
    if (!isfinite(real))
        return NULL;
    char text[64];
    if (fabs(real) >= 1e15) { /* a planner's 1e100 does not fit, and has no thousandths */
        snprintf(text, sizeof text, "%.17g", real);
        return json_object_new_double_s(real, text);
    }
    snprintf(text, sizeof text, "%.3f", real);
    /* 12.500 reads better as 12.5, and 12.000 as 12. */
    char *end = text + strlen(text) - 1;
    while (*end == '0')
        *end-- = '\0';
    if (*end == '.')
        *end = '\0';
    return json_object_new_double_s(real, strcmp(text, "-0") == 0 ? "0" : text);
}

struct json_object *json_time(double wall)
{
    char text[32];
    return wall > 0 ? json_object_new_string(clock_rfc3339(text, sizeof text, wall)) : NULL;
}
