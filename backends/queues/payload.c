/* Compressed and encoded bytes, Python's calls, pickles and tracebacks: looked at, never run. */
#include "backends/queues/payload.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <zlib.h>

#include "backends/ssh/base64.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

char *payload_inflate(const void *context, const char *bytes, size_t length, size_t most, size_t *result,
                      bool *cut)
{
    z_stream stream = {0};
    if (!length || length > UINT32_MAX || inflateInit2(&stream, 15 + 32) != Z_OK)
        return NULL;
    size_t room = length * 4 < 1024 ? 1024 : length * 4, used = 0;
    char *text = NULL;
    int status = Z_OK;
    stream.next_in = (Bytef *)bytes;
    stream.avail_in = (uInt)length;
    do {
        room = room > most ? most : room;
        text = or_die(talloc_realloc_size(context, text, room + 1));
        stream.next_out = (Bytef *)text + used;
        stream.avail_out = (uInt)(room - used);
        status = inflate(&stream, Z_NO_FLUSH);
        used = room - stream.avail_out;
        if (status != Z_OK || stream.avail_out || room == most)
            break;
        room *= 2;
    } while (true);
    inflateEnd(&stream);
    bool whole = status == Z_STREAM_END, more = status == Z_OK && used == most;
    if (!whole && !more) {
        talloc_free(text);
        return NULL;
    }
    if (cut)
        *cut = !whole;
    text[used] = '\0';
    *result = used;
    return text;
}

char *payload_base64(const void *context, const char *text, size_t length, size_t *result)
{
    char *dense = or_die(talloc_size(NULL, length + 1));
    size_t used = 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != '\n' && text[i] != '\r')
            dense[used++] = text[i];
    char *bytes = (char *)base64_decode(context, dense, used, result);
    talloc_free(dense);
    return bytes;
}

/* Bytes of the UTF-8 sequence at `at`, or 0 when it is none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    size_t length = *at < 0x80                  ? 1
                    : *at >= 0xc2 && *at < 0xe0 ? 2
                    : *at >= 0xe0 && *at < 0xf0 ? 3
                    : *at >= 0xf0 && *at < 0xf5 ? 4
                                                : 0;
    if (!*at || !length || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

char *payload_utf8(const void *context, const char *bytes, size_t length)
{
    char *text = or_die(talloc_size(context, 3 * length + 1)), *to = text;
    for (size_t i = 0; i < length;) {
        size_t own = utf8_length((const unsigned char *)bytes + i, length - i);
        memcpy(to, own ? bytes + i : "\xef\xbf\xbd", own ? own : 3);
        to += own ? own : 3;
        i += own ? own : 1;
    }
    *to = '\0';
    return text;
}

int payload_count(double number)
{
    if (number != number)
        return -1;
    return number > 1e9 ? 1000000000 : number < -1e9 ? -1000000000 : (int)number;
}

/* ---- Python ---- */

/* Behind a string literal with its prefix; NULL when there is none at `at`. */
static const char *skip_literal(const char *at)
{
    const char *quote = at;
    while (*quote && strchr("bBrRuUfF", *quote))
        quote++;
    if (*quote != '\'' && *quote != '"')
        return NULL;
    for (at = quote + 1; *at && *at != *quote; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/* Behind one argument: at a comma or bracket of this level, or at the end. */
static const char *skip_argument(const char *at)
{
    int depth = 0;
    while (*at) {
        const char *behind = skip_literal(at);
        if (behind) {
            at = behind;
            continue;
        }
        if (strchr("([{<", *at))
            depth++;
        else if (strchr(")]}>", *at) && depth-- == 0)
            break;
        else if (*at == ',' && depth == 0)
            break;
        at++;
        while (isalnum((unsigned char)at[-1]) && isalnum((unsigned char)*at) && *at)
            at++; /* "nob'x'" is no literal */
    }
    return at;
}

static const char *value_type(const char *at)
{
    if (*at == 'b' && (at[1] == '\'' || at[1] == '"'))
        return "bytes";
    if (skip_literal(at))
        return "str";
    if (isdigit((unsigned char)*at) || *at == '-') {
        const char *digits = at + 1;
        digits += strspn(digits, "0123456789_");
        return strchr(".eE", *digits) && *digits ? "float" : "int";
    }
    static const struct {
        const char *begin, *type;
    } types[] = {{"None", "None"}, {"True", "bool"}, {"False", "bool"}, {"[", "list"},
                 {"(", "tuple"},   {"{", "dict"},    {"<", "object"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(at, types[i].begin, strlen(types[i].begin)) == 0)
            return types[i].type;
    return "object";
}

/* Length of "keyword" when "keyword=" stands here, else 0. */
static size_t keyword_length(const char *at)
{
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_')
        length++;
    return at[length] == '=' && at[length + 1] != '=' && !isdigit((unsigned char)*at) ? length : 0;
}

/* Length of the dotted name in front of the bracket; 0: it is no call. */
static size_t call_name(const char *text)
{
    size_t length = strcspn(text, "(");
    size_t end = strlen(text);
    if (!text[length] || !length || length > 300 || text[end - 1] != ')')
        return 0;
    for (size_t i = 0; i < length; i++)
        if (isspace((unsigned char)text[i]) || text[i] == '\'' || text[i] == '"')
            return 0;
    return length;
}

bool python_call(const void *context, const char *text, char **name, char **shape)
{
    size_t length = call_name(text);
    if (!length)
        return false;
    *name = or_die(talloc_strndup(context, text, length));
    char *types = or_die(talloc_strdup(context, "("));
    const char *at = text + length + 1;
    for (int i = 0; *at && *at != ')'; i++) {
        at += strspn(at, " ");
        size_t keyword = keyword_length(at);
        const char *value = keyword ? at + keyword + 1 : at;
        if (i >= 12) {
            types = or_die(talloc_strdup_append_buffer(types, ", …"));
            break;
        }
        types = or_die(talloc_asprintf_append_buffer(
            types, "%s%.*s%s", i ? ", " : "", (int)(keyword ? keyword + 1 : 0), at, value_type(value)));
        at = skip_argument(value);
        if (*at++ != ',') /* the end, or brackets that do not fit */
            break;
    }
    *shape = or_die(talloc_strdup_append_buffer(types, ")"));
    return true;
}

/* The text of a literal, its escapes left as they are but for the quotes. */
static char *literal_text(const void *context, const char *at)
{
    const char *behind = skip_literal(at);
    if (!behind || *at == 'b')
        return NULL;
    at += strcspn(at, "'\"") + 1;
    return behind > at ? or_die(talloc_strndup(context, at, (size_t)(behind - at - 1))) : NULL;
}

char *python_argument(const void *context, const char *text, int position)
{
    size_t length = call_name(text);
    if (!length || position < 0)
        return NULL;
    const char *at = text + length + 1;
    for (int i = 0; *at && *at != ')'; i++) {
        at += strspn(at, " ");
        if (i == position)
            return keyword_length(at) ? NULL : literal_text(context, at);
        at = skip_argument(at);
        if (*at++ != ',') /* the end, or brackets that do not fit */
            break;
    }
    return NULL;
}

char *python_keyword(const void *context, const char *text, const char *keyword)
{
    size_t length = call_name(text);
    const char *at = text + length + 1;
    while (length && *at && *at != ')') {
        at += strspn(at, " ");
        size_t own = keyword_length(at);
        if (own == strlen(keyword) && own && strncmp(at, keyword, own) == 0)
            return literal_text(context, at + own + 1);
        at = skip_argument(own ? at + own + 1 : at);
        if (*at++ != ',') /* the end, or brackets that do not fit */
            break;
    }
    return NULL;
}

/* ---- pickles: https://docs.python.org/3/library/pickletools.html ---- */

/* The string whose opcode stands at *at (SHORT_BINUNICODE, BINUNICODE); NULL: another opcode. */
static char *pickle_text(const void *context, const unsigned char *at, const unsigned char *end)
{
    size_t length, header;
    if (end - at >= 2 && *at == 0x8c) {
        length = at[1];
        header = 2;
    } else if (end - at >= 5 && *at == 'X') {
        length = at[1] | (size_t)at[2] << 8 | (size_t)at[3] << 16 | (size_t)at[4] << 24;
        header = 5;
    } else
        return NULL;
    if ((size_t)(end - at) < header + length || length > 4096)
        return NULL;
    return payload_utf8(context, (const char *)at + header, length);
}

char *pickle_name(const void *context, const char *bytes, size_t length)
{
    const unsigned char *at = (const unsigned char *)bytes, *end = at + length;
    if (length < 4 || at[0] != 0x80)
        return NULL;
    at += 2;
    if (*at == 0x95) /* FRAME */
        at += 9;
    if (at < end && *at == '(') /* MARK */
        at++;
    return at < end ? pickle_text(context, at, end) : NULL;
}

char *pickle_string(const void *context, const char *bytes, size_t length, const char *key)
{
    size_t own = strlen(key);
    const char *end = bytes + length, *found = bytes;
    while ((found = memmem(found, (size_t)(end - found), key, own))) {
        const unsigned char *at = (const unsigned char *)found + own;
        bool is_key = found > bytes && ((unsigned char)found[-1] == own || found[-1] == 0);
        if (is_key && at < (const unsigned char *)end && *at == 0x94) /* MEMOIZE */
            at++;
        else if (is_key && end - (const char *)at > 2 && *at == 'q') /* BINPUT */
            at += 2;
        char *text = is_key ? pickle_text(context, at, (const unsigned char *)end) : NULL;
        if (text)
            return text;
        found++;
    }
    return NULL;
}

/* ---- tracebacks ---- */

/* "jobs/reports.py:14 in build": the file with the folder it lies in. */
static char *place_of(const void *context, const char *line)
{
    const char *file = strchr(line, '"') + 1, *end = line + strcspn(line, "\n");
    const char *quote = memchr(file, '"', (size_t)(end - file));
    if (!quote || strncmp(quote, "\", line ", 8) != 0)
        return NULL;
    const char *number = quote + 8;
    int digits = (int)strspn(number, "0123456789");
    const char *function = strncmp(number + digits, ", in ", 5) == 0 ? number + digits + 5 : end;
    const char *name = quote;
    for (int slashes = 0; name > file && slashes < 2; name--)
        slashes += name[-1] == '/';
    name += name > file; /* behind the slash */
    return or_die(talloc_asprintf(context, "%.*s:%.*s%s%.*s", (int)(quote - name), name, digits, number,
                                  function < end ? " in " : "", (int)(end - function), function));
}

void python_traceback(const void *context, const char *text, char **exception, char **message, char **frame)
{
    const char *last = NULL, *place = NULL;
    *exception = *message = *frame = NULL;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, "  File \"", 8) == 0)
            place = line;
        if (*line != ' ' && *line != '\n' && strncmp(line, "Traceback", 9) != 0 &&
            isalpha((unsigned char)*line) && (!last || place > last))
            last = line;
    }
    if (place)
        *frame = place_of(context, place);
    if (!last)
        return;
    size_t end = strcspn(last, "\n"), colon = 0;
    while (colon < end && last[colon] != ':' && last[colon] != ' ')
        colon++;
    bool named = colon == end || last[colon] == ':';
    if (named)
        *exception = or_die(talloc_strndup(context, last, colon));
    const char *rest = named ? last + colon + (colon < end) : last;
    rest += strspn(rest, " ");
    if (rest < last + end)
        *message = or_die(talloc_strndup(context, rest, (size_t)(last + end - rest)));
}
