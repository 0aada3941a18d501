/*
 * Log lines that are JSON objects. Only the outermost keys matter, a million lines must be read in a second,
 * and a line that was cut must give what it still has: so they are scanned here, without a tree.
 */
#include <stdlib.h>

#include "backends/hosts/log_internal.h"
#include "core/width.h"

struct scanner {
    const char *at, *end;
    char *scratch, *scratch_end; /* room for unescaped texts: never more than the line itself */
};

enum json_kind { JSON_STRING, JSON_SCALAR, JSON_NESTED };

static void skip_blanks(struct scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == ',' || *s->at == ':'))
        s->at++;
}

static uint32_t hex4(const char *text)
{
    uint32_t number = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        if (!isxdigit((unsigned char)c))
            return UINT32_MAX;
        number = number * 16 + (uint32_t)(log_is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    return number;
}

/* \uXXXX, or a pair of them, behind the backslash; what is no character becomes U+FFFD. */
static void unescape_unicode(struct scanner *s)
{
    uint32_t character = s->end - s->at >= 5 ? hex4(s->at + 1) : UINT32_MAX;
    char bytes[4];
    if (character == UINT32_MAX) {
        s->at++;
        character = 0xFFFD;
    } else {
        s->at += 5;
        if (character >= 0xD800 && character < 0xDC00 && s->end - s->at >= 6 && s->at[0] == '\\' &&
            s->at[1] == 'u') {
            uint32_t low = hex4(s->at + 2);
            if (low >= 0xDC00 && low < 0xE000) {
                character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
                s->at += 6;
            }
        }
        if (character >= 0xD800 && character < 0xE000)
            character = 0xFFFD;
    }
    size_t length = utf8_encode(bytes, character);
    if ((size_t)(s->scratch_end - s->scratch) >= length) {
        memcpy(s->scratch, bytes, length);
        s->scratch += length;
    }
}

/* The string behind its first quote; the scanner stands behind its last one. */
static struct log_text scan_string(struct scanner *s)
{
    const char *begin = s->at;
    while (s->at < s->end && *s->at != '"' && *s->at != '\\')
        s->at++;
    if (s->at >= s->end || *s->at == '"') {
        struct log_text plain = log_slice(begin, (size_t)(s->at - begin));
        s->at += s->at < s->end;
        return plain;
    }
    char *text = s->scratch;
    size_t before = (size_t)(s->at - begin);
    if (before > (size_t)(s->scratch_end - s->scratch))
        before = (size_t)(s->scratch_end - s->scratch);
    memcpy(s->scratch, begin, before);
    s->scratch += before;
    while (s->at < s->end && *s->at != '"') {
        char c = *s->at++;
        if (c == '\\' && s->at < s->end) {
            static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
            if (*s->at == 'u') {
                unescape_unicode(s);
                continue;
            }
            const char *known = memchr(from, *s->at, sizeof from - 1);
            c = known ? to[known - from] : *s->at;
            s->at++;
        }
        if (s->scratch < s->scratch_end)
            *s->scratch++ = c;
    }
    s->at += s->at < s->end;
    return log_slice(text, (size_t)(s->scratch - text));
}

/* An object or a list; a list of small numbers is how the journal writes a message that is not UTF-8. */
static struct log_text scan_nested(struct scanner *s, enum json_kind *kind)
{
    char *text = s->scratch;
    bool bytes = *s->at == '[';
    int depth = 0, number = -1;
    do {
        char c = *s->at++;
        if (c == '"') {
            bytes = false;
            scan_string(s);
        } else if (c == '[' || c == '{') {
            bytes = bytes && depth == 0;
            depth++;
        } else if (c == ']' || c == '}') {
            depth--;
        }
        if (log_is_digit(c)) {
            number = (number < 0 ? 0 : number) * 10 + (c - '0');
            bytes = bytes && number < 256;
            number = bytes ? number : -1;
        } else if (number >= 0) {
            if (s->scratch < s->scratch_end)
                *s->scratch++ = (char)number;
            number = -1;
        }
    } while (depth > 0 && s->at < s->end);
    *kind = bytes ? JSON_STRING : JSON_NESTED;
    return log_slice(text, bytes ? (size_t)(s->scratch - text) : 0);
}

/* The next key and its value. False at the end, and where it is no JSON any more. */
static bool scan_next(struct scanner *s, struct log_text *key, struct log_text *value, enum json_kind *kind)
{
    skip_blanks(s);
    if (s->at >= s->end || *s->at != '"')
        return false;
    s->at++;
    *key = scan_string(s);
    skip_blanks(s);
    if (s->at >= s->end)
        return false;
    if (*s->at == '"') {
        s->at++;
        *value = scan_string(s);
        *kind = JSON_STRING;
    } else if (*s->at == '{' || *s->at == '[') {
        *value = scan_nested(s, kind);
    } else {
        const char *begin = s->at;
        while (s->at < s->end && *s->at != ',' && *s->at != '}' && *s->at != ' ')
            s->at++;
        *value = log_slice(begin, (size_t)(s->at - begin));
        *kind = JSON_SCALAR;
        if (log_is(*value, "null"))
            value->length = 0;
    }
    return true;
}

/* ---- what the keys mean ---- */

/* Fields of a line, in the order of who is believed: the first that a line has stays. */
enum field {
    FIELD_TIME,
    FIELD_TEXT,
    FIELD_LEVEL,
    FIELD_WHO,
    FIELD_UNIT,
    FIELD_PID,
    FIELD_HOST,
    FIELD_REQUEST,
    FIELD_METHOD,
    FIELD_PATH,
    FIELD_STATUS,
    FIELD_BYTES,
    FIELD_REQUEST_TIME,
    FIELD_UPSTREAM_TIME,
    FIELD_CLIENT,
    FIELD_DETAIL,
    FIELDS
};

static const struct {
    const char *key;
    enum field field;
} keys[] = {
    /* the journal */
    {"__REALTIME_TIMESTAMP", FIELD_TIME},
    {"MESSAGE", FIELD_TEXT},
    {"PRIORITY", FIELD_LEVEL},
    {"SYSLOG_IDENTIFIER", FIELD_WHO},
    {"CONTAINER_NAME", FIELD_WHO},
    {"_SYSTEMD_UNIT", FIELD_UNIT},
    {"_PID", FIELD_PID},
    /* nginx, and programs that log JSON; docker's json-file; PostgreSQL's jsonlog */
    {"timestamp", FIELD_TIME},
    {"@timestamp", FIELD_TIME},
    {"time_iso8601", FIELD_TIME},
    {"time_local", FIELD_TIME},
    {"time", FIELD_TIME},
    {"ts", FIELD_TIME},
    {"msec", FIELD_TIME},
    {"asctime", FIELD_TIME},
    {"message", FIELD_TEXT},
    {"msg", FIELD_TEXT},
    {"event", FIELD_TEXT},
    {"log", FIELD_TEXT},
    {"error_severity", FIELD_LEVEL},
    {"level", FIELD_LEVEL},
    {"levelname", FIELD_LEVEL},
    {"severity", FIELD_LEVEL},
    {"log_level", FIELD_LEVEL},
    {"logger", FIELD_WHO},
    {"dbname", FIELD_WHO},
    {"pid", FIELD_PID},
    {"host", FIELD_HOST},
    {"http_host", FIELD_HOST},
    {"vhost", FIELD_HOST},
    {"server_name", FIELD_HOST},
    {"request", FIELD_REQUEST},
    {"request_method", FIELD_METHOD},
    {"method", FIELD_METHOD},
    {"request_uri", FIELD_PATH},
    {"uri", FIELD_PATH},
    {"path", FIELD_PATH},
    {"url", FIELD_PATH},
    {"status", FIELD_STATUS},
    {"body_bytes_sent", FIELD_BYTES},
    {"bytes_sent", FIELD_BYTES},
    {"bytes", FIELD_BYTES},
    {"request_time", FIELD_REQUEST_TIME},
    {"rt", FIELD_REQUEST_TIME},
    {"upstream_response_time", FIELD_UPSTREAM_TIME},
    {"urt", FIELD_UPSTREAM_TIME},
    {"remote_addr", FIELD_CLIENT},
    {"client", FIELD_CLIENT},
    {"client_ip", FIELD_CLIENT},
    {"remote_ip", FIELD_CLIENT},
    {"detail", FIELD_DETAIL},
    {"statement", FIELD_DETAIL},
};

static void take(struct log_text fields[FIELDS], struct log_text key, struct log_text value)
{
    if (value.length == 0)
        return;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].key[0] == key.bytes[0] && strlen(keys[i].key) == key.length &&
            memcmp(keys[i].key, key.bytes, key.length) == 0) {
            if (!fields[keys[i].field].bytes)
                fields[keys[i].field] = value;
            return;
        }
}

static double time_of(const struct log_parser *parser, struct log_text text)
{
    double time;
    if (!text.bytes)
        return NAN;
    if (log_time_iso(text.bytes, text.length, parser->zone_s, &time, NULL) ||
        log_time_epoch(text.bytes, text.length, &time) || log_time_common(text.bytes, text.length, &time) ||
        log_time_slashes(text.bytes, text.length, parser->zone_s, &time))
        return time;
    return NAN;
}

static enum log_level level_of(struct log_text text)
{
    if (text.length == 1 && log_is_digit(*text.bytes)) { /* syslog's: 0 emerg to 7 debug */
        static const enum log_level levels[] = {LEVEL_CRITICAL, LEVEL_CRITICAL, LEVEL_CRITICAL, LEVEL_ERROR,
                                                LEVEL_WARNING,  LEVEL_NOTICE,   LEVEL_INFO,     LEVEL_DEBUG};
        return *text.bytes < '8' ? levels[*text.bytes - '0'] : LEVEL_UNKNOWN;
    }
    return log_level_find(text.bytes, text.length);
}

/* Digits that may be followed by something else; -1 when there are none or too many. */
static double number_of(struct log_text text)
{
    double number = 0;
    size_t count = 0;
    while (count < text.length && count < 15 && log_is_digit(text.bytes[count]))
        number = number * 10 + (text.bytes[count++] - '0');
    return count ? number : -1;
}

static bool fill_access(struct log_line *out, const struct log_text fields[FIELDS])
{
    double status = number_of(fields[FIELD_STATUS]);
    if (fields[FIELD_STATUS].length != 3 || status < 100 || status > 599)
        return false;
    if (fields[FIELD_REQUEST].bytes)
        log_access_request(out, fields[FIELD_REQUEST]);
    else if (!fields[FIELD_PATH].bytes)
        return false;
    if (fields[FIELD_METHOD].bytes)
        out->method = fields[FIELD_METHOD];
    if (fields[FIELD_PATH].bytes && !out->path.length)
        out->path = fields[FIELD_PATH];
    out->host = log_access_host(fields[FIELD_HOST]);
    out->client = fields[FIELD_CLIENT];
    double bytes = number_of(fields[FIELD_BYTES]);
    out->bytes = bytes < 0 ? NAN : bytes;
    out->request_time = log_access_seconds(fields[FIELD_REQUEST_TIME]);
    out->upstream_time = log_access_seconds(fields[FIELD_UPSTREAM_TIME]);
    log_access_finish(out, (int)status);
    return true;
}

bool log_parse_json(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    struct scanner scanner = {line, line + length, parser->scratch, parser->scratch + sizeof parser->scratch};
    struct log_text fields[FIELDS] = {0}, key, value;
    enum json_kind kind;
    while (scanner.at < scanner.end && *scanner.at == ' ')
        scanner.at++;
    if (scanner.at >= scanner.end || *scanner.at++ != '{')
        return false;
    while (scan_next(&scanner, &key, &value, &kind))
        if (key.length && kind != JSON_NESTED)
            take(fields, key, value);
    double time = time_of(parser, fields[FIELD_TIME]);
    if (isnan(time) && !fields[FIELD_TEXT].bytes && !fields[FIELD_STATUS].bytes)
        return false;
    out->time = time;
    if (fill_access(out, fields))
        return true;
    if (!fields[FIELD_TEXT].bytes && !fields[FIELD_LEVEL].bytes)
        return false;
    out->text = fields[FIELD_TEXT].bytes ? fields[FIELD_TEXT] : log_slice(line, length);
    while (out->text.length && out->text.bytes[out->text.length - 1] == '\n')
        out->text.length--;
    out->who = fields[FIELD_WHO].bytes ? fields[FIELD_WHO] : fields[FIELD_UNIT];
    out->level = level_of(fields[FIELD_LEVEL]);
    log_parse_inner(parser, out);
    return true;
}
