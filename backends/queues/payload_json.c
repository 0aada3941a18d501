/* JSON over its exact bytes: finding, unescaping, shapes, splicing. Never written anew. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/payload.h"

enum { DEPTH_MOST = 64, SHAPE_MOST = 300, SHAPE_DEPTH = 3 };

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* ---- scanning ---- */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* Behind the closing quote: the first with an even number of backslashes in front of it. NULL: it is not
 * closed. */
static const char *skip_string(const char *at, const char *end)
{
    const char *begin = at + 1, *from = begin, *quote;
    while (from < end && (quote = memchr(from, '"', (size_t)(end - from)))) {
        const char *slash = quote;
        while (slash > begin && slash[-1] == '\\')
            slash--;
        if ((quote - slash) % 2 == 0)
            return quote + 1;
        from = quote + 1;
    }
    return NULL;
}

static const char *skip_word(const char *at, const char *end)
{
    const char *begin = at;
    while (at < end && !strchr(" \t\r\n,]}:", *at) && *at != '"' && *at != '[' && *at != '{')
        at++;
    return at == begin ? NULL : at;
}

static const char *skip_value(const char *at, const char *end, int depth);

/* Behind the closing bracket. */
static const char *skip_container(const char *at, const char *end, int depth)
{
    char close = *at == '[' ? ']' : '}';
    bool object = close == '}';
    if (depth >= DEPTH_MOST)
        return NULL;
    at = skip_blanks(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    while (at && at < end) {
        if (object) {
            if (*at != '"' || !(at = skip_string(at, end)))
                return NULL;
            at = skip_blanks(at, end);
            if (at >= end || *at != ':')
                return NULL;
            at = skip_blanks(at + 1, end);
        }
        if (at >= end || !(at = skip_value(at, end, depth + 1)))
            return NULL;
        at = skip_blanks(at, end);
        if (at < end && *at == close)
            return at + 1;
        if (at >= end || *at != ',')
            return NULL;
        at = skip_blanks(at + 1, end);
    }
    return NULL;
}

/* Digits in the order of JSON, loosely: what a number may be made of. */
static bool is_number(const char *at, size_t length)
{
    bool digit = false;
    if (*at != '-' && (*at < '0' || *at > '9'))
        return false;
    for (size_t i = 0; i < length; i++) {
        digit = digit || (at[i] >= '0' && at[i] <= '9');
        if (!strchr("0123456789+-.eE", at[i]) || !at[i])
            return false;
    }
    return digit;
}

static struct piece piece_at(const char *at, const char *behind)
{
    struct piece piece = {.at = at, .length = (size_t)(behind - at)};
    switch (*at) {
    case '"':
        piece.kind = PIECE_STRING;
        break;
    case '[':
        piece.kind = PIECE_ARRAY;
        break;
    case '{':
        piece.kind = PIECE_OBJECT;
        break;
    case 't':
    case 'f':
        piece.kind = PIECE_BOOLEAN;
        break;
    case 'n':
        piece.kind = PIECE_NULL;
        break;
    default:
        piece.kind = PIECE_NUMBER;
    }
    bool right = true;
    if (piece.kind == PIECE_BOOLEAN)
        right =
            (piece.length == 4 && !memcmp(at, "true", 4)) || (piece.length == 5 && !memcmp(at, "false", 5));
    if (piece.kind == PIECE_NULL)
        right = piece.length == 4 && !memcmp(at, "null", 4);
    if (piece.kind == PIECE_NUMBER)
        right = is_number(at, piece.length);
    return right ? piece : (struct piece){0};
}

static const char *skip_value(const char *at, const char *end, int depth)
{
    if (at >= end)
        return NULL;
    if (*at == '"')
        return skip_string(at, end);
    if (*at == '[' || *at == '{')
        return skip_container(at, end, depth);
    const char *behind = skip_word(at, end);
    return behind && piece_at(at, behind).kind != PIECE_ABSENT ? behind : NULL;
}

struct piece piece_of(const char *text, size_t length)
{
    const char *end = text + length, *at = skip_blanks(text, end);
    const char *behind = at < end ? skip_value(at, end, 0) : NULL;
    if (!behind || skip_blanks(behind, end) != end)
        return (struct piece){0};
    return piece_at(at, behind);
}

bool piece_next(struct piece container, const char **at, struct piece *name, struct piece *value)
{
    if (container.kind != PIECE_ARRAY && container.kind != PIECE_OBJECT)
        return false;
    const char *end = container.at + container.length - 1; /* the closing bracket */
    const char *p = skip_blanks(*at ? *at : container.at + 1, end);
    if (*at && p < end && *p == ',')
        p = skip_blanks(p + 1, end);
    if (p >= end)
        return false;
    *name = (struct piece){0};
    if (container.kind == PIECE_OBJECT) {
        const char *behind = *p == '"' ? skip_string(p, end) : NULL;
        if (!behind)
            return false;
        *name = piece_at(p, behind);
        p = skip_blanks(behind, end);
        if (p >= end || *p != ':')
            return false;
        p = skip_blanks(p + 1, end);
    }
    const char *behind = p < end ? skip_value(p, end, 1) : NULL;
    if (!behind)
        return false;
    *value = piece_at(p, behind);
    *at = behind;
    return true;
}

struct piece piece_member(struct piece object, const char *name)
{
    const char *at = NULL;
    struct piece key, value, found = {0};
    if (object.kind == PIECE_OBJECT)
        while (piece_next(object, &at, &key, &value))
            if (piece_is(key, name))
                found = value;
    return found;
}

struct piece piece_element(struct piece array, size_t index)
{
    const char *at = NULL;
    struct piece key, value;
    for (size_t i = 0; array.kind == PIECE_ARRAY && piece_next(array, &at, &key, &value); i++)
        if (i == index)
            return value;
    return (struct piece){0};
}

/* ---- texts ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hex digits, or -1. */
static long hex4(const char *at, const char *end)
{
    long number = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        number = number * 16 + digit;
    }
    return number;
}

static char *put_utf8(char *to, long c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | (c >> 6));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | (c >> 12));
        *to++ = (char)(0x80 | ((c >> 6) & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | (c >> 18));
        *to++ = (char)(0x80 | ((c >> 12) & 0x3f));
        *to++ = (char)(0x80 | ((c >> 6) & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* *at stands behind "\u". */
static long unicode_escape(const char **at, const char *end)
{
    long c = hex4(*at, end);
    if (c < 0)
        return 0xfffd;
    *at += 4;
    if (c >= 0xd800 && c < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        long low = hex4(*at + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            *at += 6;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return (c >= 0xd800 && c < 0xe000) || !c ? 0xfffd : c;
}

static char *unescape(char *to, const char *at, const char *end)
{
    static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
    while (at < end) {
        if (*at != '\\') {
            if (*at)
                *to++ = *at;
            else
                to = put_utf8(to, 0xfffd);
            at++;
            continue;
        }
        if (++at >= end)
            break;
        const char *known = *at ? strchr(from, *at) : NULL;
        char c = *at++;
        if (c == 'u')
            to = put_utf8(to, unicode_escape(&at, end));
        else
            *to++ = known ? into[known - from] : c ? c : '?';
    }
    return to;
}

char *piece_text(const void *context, struct piece piece)
{
    if (piece.kind == PIECE_NUMBER || piece.kind == PIECE_BOOLEAN)
        return or_die(talloc_strndup(context, piece.at, piece.length));
    if (piece.kind != PIECE_STRING)
        return NULL;
    char *text = or_die(talloc_size(context, 3 * piece.length + 1));
    *unescape(text, piece.at + 1, piece.at + piece.length - 1) = '\0';
    return or_die(talloc_realloc_size(NULL, text, strlen(text) + 1));
}

bool piece_is(struct piece piece, const char *text)
{
    size_t length = strlen(text);
    if (piece.kind != PIECE_STRING)
        return false;
    if (!memchr(piece.at, '\\', piece.length))
        return piece.length == length + 2 && memcmp(piece.at + 1, text, length) == 0;
    char *own = piece_text(NULL, piece);
    bool same = strcmp(own, text) == 0;
    talloc_free(own);
    return same;
}

double piece_real(struct piece piece, double otherwise)
{
    char number[40], *end;
    if (piece.kind != PIECE_NUMBER || piece.length >= sizeof number)
        return otherwise;
    memcpy(number, piece.at, piece.length);
    number[piece.length] = '\0';
    double real = strtod(number, &end);
    return *end || real != real ? otherwise : real;
}

/* ---- shapes ---- */

static char *append(char *text, const char *more)
{
    size_t length = talloc_get_size(text) - 1;
    if (length >= SHAPE_MOST)
        return text;
    return or_die(talloc_strdup_append_buffer(text, more));
}

static char *shape_name(char *text, struct piece name)
{
    char *own = piece_text(NULL, name);
    if (own && strlen(own) > 60)
        own[60] = '\0';
    text = append(append(text, own ? own : "?"), ": ");
    talloc_free(own);
    return text;
}

static char *shape(char *text, struct piece piece, int depth)
{
    static const char *const words[] = {[PIECE_ABSENT] = "?",
                                        [PIECE_NULL] = "null",
                                        [PIECE_BOOLEAN] = "bool",
                                        [PIECE_NUMBER] = "number",
                                        [PIECE_STRING] = "str"};
    const char *at = NULL;
    struct piece name, value;
    if (piece.kind < PIECE_ARRAY)
        return append(text, words[piece.kind]);
    bool object = piece.kind == PIECE_OBJECT;
    text = append(text, object ? "{" : "(");
    for (int i = 0; piece_next(piece, &at, &name, &value); i++) {
        if (i >= 12 || depth >= SHAPE_DEPTH) {
            text = append(text, i ? ", …" : "…");
            break;
        }
        text = i ? append(text, ", ") : text;
        text = object ? shape_name(text, name) : text;
        text = shape(text, value, depth + 1);
    }
    return append(text, object ? "}" : ")");
}

char *piece_shape(const void *context, struct piece piece)
{
    return shape(or_die(talloc_strdup(context, "")), piece, 0);
}

char *piece_replace(const void *context, const char *text, size_t length, struct piece piece, const char *by,
                    size_t *result)
{
    size_t before = (size_t)(piece.at - text), added = strlen(by), behind = length - before - piece.length;
    char *fresh = or_die(talloc_size(context, before + added + behind + 1));
    memcpy(fresh, text, before);
    memcpy(fresh + before, by, added);
    memcpy(fresh + before + added, piece.at + piece.length, behind);
    *result = before + added + behind;
    fresh[*result] = '\0';
    return fresh;
}

/* ---- tenants ---- */

char *payload_tenant(const void *context, struct piece object, const struct environment_jobs *settings)
{
    static const char *const usual[] = {"_schema_name", "schema_name", "tenant", "schema", "tenant_id"};
    const char *own = settings ? settings->tenant_keyword : NULL;
    if (own)
        return piece_text(context, piece_member(object, own));
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        char *tenant = piece_text(context, piece_member(object, usual[i]));
        if (tenant)
            return tenant;
    }
    return NULL;
}

char *payload_queue_tenant(const void *context, const char *queue, const struct environment_jobs *settings)
{
    const char *pattern = settings ? settings->tenant_queue : NULL;
    const char *star = pattern ? strchr(pattern, '*') : NULL;
    if (!star || !queue)
        return NULL;
    size_t before = (size_t)(star - pattern), behind = strlen(star + 1), length = strlen(queue);
    if (length <= before + behind || strncmp(queue, pattern, before) != 0 ||
        strcmp(queue + length - behind, star + 1) != 0)
        return NULL;
    return or_die(talloc_strndup(context, queue + before, length - before - behind));
}
