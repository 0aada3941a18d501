/* Bodies of Celery's messages: base64 as Python reads it, zlib, and what their JSON is made of. */
#include "backends/queues/celery_body.h"

#include <bzlib.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <zlib.h>

static const unsigned char base64_value[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

bool celery_base64(const char *text, size_t length, unsigned char *out, size_t *out_length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    unsigned char *put = out;
    int place = 0, pads = 0;
    unsigned left = 0;
    while (at < end) {
        /* Four good letters at a time, as long as there are. */
        while (place == 0 && end - at >= 4) {
            unsigned a = base64_value[at[0]], b = base64_value[at[1]], c = base64_value[at[2]],
                     d = base64_value[at[3]];
            if (!a || !b || !c || !d)
                break;
            unsigned bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
            put[0] = (unsigned char)(bits >> 16);
            put[1] = (unsigned char)(bits >> 8);
            put[2] = (unsigned char)bits;
            put += 3;
            at += 4;
            pads = 0;
        }
        if (at == end)
            break;
        unsigned char letter = *at++;
        if (letter == '=') {
            if (place >= 2 && place + ++pads >= 4) {
                place = 0;
                break;
            }
            continue;
        }
        unsigned value = base64_value[letter];
        if (!value)
            continue;
        pads = 0;
        left = (left << 6 | (value - 1)) & 0xfff;
        if (place)
            *put++ = (unsigned char)(left >> (6 - 2 * place));
        place = (place + 1) & 3;
    }
    *out_length = (size_t)(put - out);
    return place == 0;
}

enum celery_packing celery_packing(struct span compression)
{
    static const struct {
        const char *name;
        enum celery_packing packing;
    } known[] = {
        {"application/x-gzip", PACKING_ZLIB},
        {"gzip", PACKING_ZLIB},
        {"zlib", PACKING_ZLIB},
        {"application/x-bz2", PACKING_BZIP2},
        {"bzip2", PACKING_BZIP2},
        {"bzip", PACKING_BZIP2},
        {"application/x-lzma", PACKING_OTHER},
        {"lzma", PACKING_OTHER},
        {"xz", PACKING_OTHER},
        {"application/x-brotli", PACKING_OTHER},
        {"brotli", PACKING_OTHER},
        {"application/zstd", PACKING_OTHER},
        {"zstd", PACKING_OTHER},
        {"zstandard", PACKING_OTHER},
    };
    if (!json_true(compression))
        return PACKING_NONE;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is(compression, known[i].name))
            return known[i].packing;
    return PACKING_UNKNOWN;
}

/* Room for what comes out, larger each time; false: it is larger than may be. */
static bool more_room(unsigned char **out, size_t *room)
{
    if (*room > CELERY_BODY_MAX)
        return false;
    *room = *room * 4 > CELERY_BODY_MAX + 1 ? CELERY_BODY_MAX + 1 : *room * 4;
    unsigned char *larger = realloc(*out, *room);
    if (!larger)
        abort();
    *out = larger;
    return true;
}

static enum celery_inflated unpack_zlib(const unsigned char *bytes, size_t length, int window_bits,
                                        unsigned char **out, size_t *out_length)
{
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (unsigned)length};
    if (inflateInit2(&stream, window_bits) != Z_OK)
        abort();
    size_t room = length + 64;
    int status = Z_OK;
    while (status == Z_OK && stream.avail_out == 0 && more_room(out, &room)) {
        stream.next_out = *out + stream.total_out;
        stream.avail_out = (unsigned)(room - stream.total_out);
        status = inflate(&stream, Z_NO_FLUSH);
    }
    *out_length = stream.total_out;
    inflateEnd(&stream);
    if (*out_length > CELERY_BODY_MAX)
        return INFLATED_TOO_BIG;
    return status == Z_STREAM_END ? INFLATED : INFLATED_BROKEN;
}

static enum celery_inflated unpack_bzip2(const unsigned char *bytes, size_t length, unsigned char **out,
                                         size_t *out_length)
{
    bz_stream stream = {.next_in = (char *)(uintptr_t)bytes, .avail_in = (unsigned)length};
    if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK)
        abort();
    size_t room = length + 64;
    int status = BZ_OK;
    while (status == BZ_OK && stream.avail_out == 0 && more_room(out, &room)) {
        stream.next_out = (char *)*out + *out_length;
        stream.avail_out = (unsigned)(room - *out_length);
        status = BZ2_bzDecompress(&stream);
        *out_length = room - stream.avail_out;
    }
    BZ2_bzDecompressEnd(&stream);
    if (*out_length > CELERY_BODY_MAX)
        return INFLATED_TOO_BIG;
    return status == BZ_STREAM_END ? INFLATED : INFLATED_BROKEN;
}

enum celery_inflated celery_unpack(enum celery_packing packing, const char *bytes, size_t length, bool strict,
                                   unsigned char **out, size_t *out_length)
{
    *out = NULL;
    *out_length = 0;
    if (length > INT32_MAX)
        return INFLATED_TOO_BIG;
    if (packing == PACKING_BZIP2)
        return unpack_bzip2((const unsigned char *)bytes, length, out, out_length);
    return unpack_zlib((const unsigned char *)bytes, length, strict ? 15 : 15 + 32, out, out_length);
}

bool celery_body_bytes(struct span body, bool base64, struct celery_bytes *bytes)
{
    bool escaped = memchr(body.at, '\\', body.length);
    bytes->at = body.at;
    bytes->length = body.length;
    bytes->lone = false;
    if (!escaped && !base64)
        return true;
    if (bytes->room < body.length + 4) {
        bytes->room = body.length + 4;
        free(bytes->buffer);
        bytes->buffer = malloc(bytes->room);
        if (!bytes->buffer)
            abort();
    }
    if (escaped) {
        bytes->length = json_unescape(body.at, body.length, bytes->buffer, &bytes->lone);
        bytes->at = bytes->buffer;
    }
    if (!base64)
        return true;
    /* What is decoded is never longer than what was read of it, so that both may be in one buffer. */
    bool good = celery_base64(bytes->at, bytes->length, (unsigned char *)bytes->buffer, &bytes->length);
    bytes->at = bytes->buffer;
    return good && !bytes->lone;
}

bool celery_utf8(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        uint64_t eight;
        if (end - at >= 8 && (memcpy(&eight, at, 8), !(eight & 0x8080808080808080u))) {
            at += 8;
            continue;
        }
        unsigned char lead = *at++;
        if (lead < 0x80)
            continue;
        int more = lead >= 0xc2 && lead <= 0xdf   ? 1
                   : lead >= 0xe0 && lead <= 0xef ? 2
                   : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                  : 0;
        if (more == 0 || end - at < more)
            return false;
        if ((lead == 0xe0 && *at < 0xa0) || (lead == 0xed && *at > 0x9f) || (lead == 0xf0 && *at < 0x90) ||
            (lead == 0xf4 && *at > 0x8f))
            return false;
        for (; more > 0; more--, at++)
            if ((*at & 0xc0) != 0x80)
                return false;
    }
    return true;
}

/* Elements of an array that was not read before: counts them and keeps the first three. */
static bool look_array(struct json_cursor *cursor, struct celery_payload *payload)
{
    struct span *kept[] = {&payload->args, &payload->kwargs, &payload->embed}, value;
    int state = 0;
    enum json_next next;
    while ((next = json_element(cursor, &state)) == JSON_MEMBER) {
        if (!json_value(cursor, &value))
            return false;
        if (payload->count < 3)
            *kept[payload->count] = value;
        payload->count++;
        payload->has_args = payload->has_args || json_is(value, "args");
    }
    return next == JSON_END;
}

/* Are both the same key? Python keeps one of them. */
static bool same_key(struct span a, struct span b)
{
    if (a.length == b.length && memcmp(a.at, b.at, a.length) == 0)
        return true;
    if (!memchr(a.at, '\\', a.length) && !memchr(b.at, '\\', b.length))
        return false;
    char *one = malloc(a.length + b.length + 1);
    if (!one)
        abort();
    size_t first = json_unescape(a.at, a.length, one, NULL);
    size_t second = json_unescape(b.at, b.length, one + first, NULL);
    bool same = first == second && memcmp(one, one + first, first) == 0;
    free(one);
    return same;
}

static bool look_object(struct json_cursor *cursor, struct celery_payload *payload)
{
    struct span keys[4], key, value;
    int state = 0;
    enum json_next next;
    while ((next = json_key(cursor, &state, &key)) == JSON_MEMBER) {
        if (!json_value(cursor, &value))
            return false;
        payload->has_args = payload->has_args || json_is(key, "args");
        bool known = payload->count == 4;
        for (size_t i = 0; i < payload->count && !known; i++)
            known = same_key(keys[i], key);
        if (!known)
            keys[payload->count++] = key;
    }
    return next == JSON_END;
}

void celery_payload_look(struct celery_payload *payload, const char *body, size_t length)
{
    struct json_cursor cursor = {body, body + length};
    *payload = (struct celery_payload){0};
    json_space(&cursor);
    const char *begin = cursor.at;
    if (begin == cursor.end)
        return;
    bool good;
    if (*begin == '[' || *begin == '{') {
        good = *begin == '[' ? look_array(&cursor, payload) : look_object(&cursor, payload);
        payload->value = (struct span){begin, (size_t)(cursor.at - begin), 0};
        payload->value.kind = *begin == '[' ? SPAN_ARRAY : SPAN_OBJECT;
    } else {
        good = json_value(&cursor, &payload->value);
    }
    payload->json = good && json_at_end(&cursor) && celery_utf8(body, length);
}

static char *copied(const void *context, const char *bytes, size_t length)
{
    char *copy = talloc_array(context, char, length + 1);
    if (!copy)
        abort();
    if (length > 0)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

char *celery_body_decode(const void *context, const struct celery_envelope *envelope, size_t *length,
                         struct error *error)
{
    static const char what[] = "the body cannot be shown";
    *length = 0;
    if (envelope->poison == POISON_A && envelope->body.kind != SPAN_STRING) {
        error_set(error, ERROR_SERVER, NULL, what, NULL, "%s", envelope->why);
        return NULL;
    }
    if (envelope->body_kind == BODY_PICKLE) {
        error_set(error, ERROR_UNSUPPORTED, NULL, what, NULL,
                  "it is pickle, which runs code when it is decoded; signalbox never does");
        return NULL;
    }
    enum celery_packing packing = celery_packing(envelope->compression);
    if (packing == PACKING_OTHER || packing == PACKING_UNKNOWN) {
        error_set(error, ERROR_UNSUPPORTED, NULL, what, NULL,
                  "it is compressed as %.*s, which signalbox does not decode",
                  (int)(envelope->compression.length < 80 ? envelope->compression.length : 80),
                  envelope->compression.at);
        return NULL;
    }
    if (envelope->body.kind == SPAN_OBJECT || envelope->body.kind == SPAN_ARRAY) {
        *length = envelope->body.length;
        return talloc_strndup(context, envelope->body.at, envelope->body.length);
    }
    if (envelope->body.kind != SPAN_STRING) {
        error_set(error, ERROR_GONE, NULL, what, NULL, "the message has none");
        return NULL;
    }
    struct celery_bytes bytes = {0};
    char *result = NULL;
    unsigned char *inflated = NULL;
    if (!celery_body_bytes(envelope->body, json_true(envelope->body_encoding), &bytes)) {
        error_set(error, ERROR_SERVER, NULL, what, NULL, "it is not base64, though the message says so");
    } else if (packing != PACKING_NONE) {
        enum celery_inflated state = celery_unpack(packing, bytes.at, bytes.length, false, &inflated, length);
        if (state == INFLATED)
            result = copied(context, (char *)inflated, *length);
        else
            error_set(error, ERROR_SERVER, NULL, what, NULL, "%s",
                      state == INFLATED_TOO_BIG ? "it inflates to more than 4 MB"
                                                : "it is not compressed as the message says");
    } else if (bytes.length > CELERY_BODY_MAX) {
        error_set(error, ERROR_SERVER, NULL, what, NULL, "it is larger than 4 MB");
    } else {
        *length = bytes.length;
        result = copied(context, bytes.at, *length);
    }
    free(inflated);
    free(bytes.buffer);
    return result;
}
