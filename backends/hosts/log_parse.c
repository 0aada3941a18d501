#include "backends/hosts/log_internal.h"
#include "core/clock.h"

/* ---- levels ---- */

static const struct {
    const char *word;
    enum log_level level;
} level_words[] = {
    {"ERROR", LEVEL_ERROR},       {"INFO", LEVEL_INFO},      {"WARNING", LEVEL_WARNING},
    {"LOG", LEVEL_INFO},          {"DEBUG", LEVEL_DEBUG},    {"WARN", LEVEL_WARNING},
    {"CRITICAL", LEVEL_CRITICAL}, {"FATAL", LEVEL_CRITICAL}, {"NOTICE", LEVEL_NOTICE},
    {"ERR", LEVEL_ERROR},         {"CRIT", LEVEL_CRITICAL},  {"ALERT", LEVEL_CRITICAL},
    {"EMERG", LEVEL_CRITICAL},    {"PANIC", LEVEL_CRITICAL}, {"SEVERE", LEVEL_ERROR},
    {"TRACE", LEVEL_DEBUG},       {"DEBUG1", LEVEL_DEBUG},   {"DEBUG2", LEVEL_DEBUG},
    {"DEBUG3", LEVEL_DEBUG},      {"DEBUG4", LEVEL_DEBUG},   {"DEBUG5", LEVEL_DEBUG},
    {"INFORMATION", LEVEL_INFO},
};

enum log_level log_level_find(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof level_words / sizeof *level_words; i++)
        if (length && log_is(log_slice(word, length), level_words[i].word))
            return level_words[i].level;
    return LEVEL_UNKNOWN;
}

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {"", "debug", "info", "notice", "warning", "error", "critical"};
    return names[level];
}

enum severity log_level_severity(enum log_level level)
{
    static const enum severity severities[] = {SEVERITY_NONE,    SEVERITY_DIM,     SEVERITY_NONE,
                                               SEVERITY_NONE,    SEVERITY_WARNING, SEVERITY_CRITICAL,
                                               SEVERITY_CRITICAL};
    return severities[level];
}

/* A level among the first words: in capitals, in brackets, or behind "level=". Lower-case words are prose. */
static enum log_level level_in(struct log_text text)
{
    enum { FAR = 120 };
    size_t end = text.length < FAR ? text.length : FAR;
    for (size_t at = 0; at < end;) {
        if (!isalpha((unsigned char)text.bytes[at])) {
            at++;
            continue;
        }
        size_t begin = at;
        bool upper = true;
        for (; at < text.length && isalnum((unsigned char)text.bytes[at]); at++)
            upper = upper && !islower((unsigned char)text.bytes[at]);
        bool bracketed =
            begin > 0 && (text.bytes[begin - 1] == '[' || text.bytes[begin - 1] == '<') && at < text.length;
        bool named = begin >= 6 && memcmp(text.bytes + begin - 6, "level=", 6) == 0;
        if (!upper && !bracketed && !named)
            continue;
        enum log_level level = log_level_find(text.bytes + begin, at - begin);
        if (level != LEVEL_UNKNOWN)
            return level;
    }
    if (text.length >= 9 && memcmp(text.bytes, "Traceback", 9) == 0)
        return LEVEL_ERROR;
    return LEVEL_UNKNOWN;
}

/* ---- the shapes ---- */

static struct log_text from(const char *line, size_t at, size_t length)
{
    while (at < length && line[at] == ' ')
        at++;
    return log_slice(line + at, length - at);
}

/* "2026/11/21 14:05:10 [error] 811#811: *42 connect() failed ..." */
static bool parse_nginx_error(struct log_parser *parser, const char *line, size_t length,
                              struct log_line *out)
{
    size_t at = log_time_slashes(line, length, parser->zone_s, &out->time);
    if (!at || at + 3 >= length || line[at + 1] != '[')
        return false;
    const char *close = memchr(line + at, ']', length - at);
    if (!close)
        return false;
    out->level = log_level_find(line + at + 2, (size_t)(close - line) - at - 2);
    at = (size_t)(close - line) + 1;
    out->text = from(line, at, length);
    /* "811#811: " says nothing to anyone. */
    const char *colon = memchr(out->text.bytes, ':', out->text.length < 24 ? out->text.length : 24);
    if (colon && memchr(out->text.bytes, '#', (size_t)(colon - out->text.bytes)))
        out->text = from(line, (size_t)(colon - line) + 1, length);
    return out->level != LEVEL_UNKNOWN;
}

/* "[2026-11-21 14:05:10 +0000] [811] [ERROR] Worker timeout" */
static bool parse_gunicorn(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    if (length < 24 || line[0] != '[')
        return false;
    size_t at = 1 + log_time_iso(line + 1, length - 1, parser->zone_s, &out->time, NULL);
    if (at == 1 || at + 3 >= length || line[at] != ']' || line[at + 1] != ' ' || line[at + 2] != '[')
        return false;
    const char *pid_end = memchr(line + at + 3, ']', length - at - 3);
    if (!pid_end || (size_t)(pid_end - line) - at > 13)
        return false;
    out->who = log_slice(line + at + 3, (size_t)(pid_end - line) - at - 3);
    at = (size_t)(pid_end - line) + 1;
    if (at + 2 < length && line[at] == ' ' && line[at + 1] == '[') {
        const char *close = memchr(line + at, ']', length - at);
        if (close) {
            out->level = log_level_find(line + at + 2, (size_t)(close - line) - at - 2);
            at = (size_t)(close - line) + 1;
        }
    }
    out->text = from(line, at, length);
    return true;
}

/* "[2026-11-21 14:05:10,204: ERROR/MainProcess] Task x raised ..." */
static bool parse_celery(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    if (length < 24 || line[0] != '[')
        return false;
    size_t at = 1 + log_time_iso(line + 1, length - 1, parser->zone_s, &out->time, NULL);
    if (at == 1 || at + 3 >= length || line[at] != ':' || line[at + 1] != ' ')
        return false;
    at += 2;
    const char *close = memchr(line + at, ']', length - at);
    const char *slash = close ? memchr(line + at, '/', (size_t)(close - line) - at) : NULL;
    if (!slash)
        return false;
    out->level = log_level_find(line + at, (size_t)(slash - line) - at);
    out->who = log_slice(slash + 1, (size_t)(close - slash) - 1);
    out->text = from(line, (size_t)(close - line) + 1, length);
    return true;
}

/* The word in front of the first ": " that PostgreSQL begins its messages with. */
static bool postgres_severity(struct log_parser *parser, struct log_line *out)
{
    static const char *const parts[] = {"DETAIL", "HINT", "QUERY", "CONTEXT", "STATEMENT", "LOCATION"};
    struct log_text text = out->text;
    size_t end = text.length < 200 ? text.length : 200;
    for (size_t at = 0, begin = 0; at < end; at++) {
        if (text.bytes[at] == ':' && at > begin) {
            struct log_text word = log_slice(text.bytes + begin, at - begin);
            for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
                if (log_is(word, parts[i])) {
                    out->level = parser->last_level;
                    out->continued = true;
                    return true;
                }
            if (log_is_upper(word.bytes[0]) &&
                (out->level = log_level_find(word.bytes, word.length)) != LEVEL_UNKNOWN)
                return true;
        }
        if (!log_is_upper(text.bytes[at]) && !log_is_digit(text.bytes[at]))
            begin = at + 1;
    }
    return false;
}

/* log_line_prefix '%m [%p] ' and what people add to it: "2026-11-21 14:05:10.204 UTC [811] app@al_noor LOG:
 * " */
static bool parse_postgres(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    bool zoned;
    size_t at = log_time_iso(line, length, parser->zone_s, &out->time, &zoned);
    if (!at || line[10] != ' ')
        return false;
    if (!zoned && at + 4 < length && line[at] == ' ') { /* CET, and others that only the host can know */
        size_t end = at + 1;
        while (end < length && log_is_upper(line[end]))
            end++;
        if (end - at >= 3 && end - at <= 6)
            at = end;
    }
    out->text = from(line, at, length);
    if (out->text.length > 2 && out->text.bytes[0] == '[') {
        const char *close = memchr(out->text.bytes, ']', out->text.length < 16 ? out->text.length : 16);
        if (close)
            out->text = from(line, (size_t)(close - line) + 1, length);
    }
    return postgres_severity(parser, out);
}

/* "811:M 21 Nov 2026 14:05:10.204 # Can't save in background": role, time, level */
static bool parse_redis(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    size_t at = 0;
    while (at < length && at < 9 && log_is_digit(line[at]))
        at++;
    if (!at || at + 3 >= length || line[at] != ':' || !log_is_upper(line[at + 1]) || line[at + 2] != ' ')
        return false;
    at += 3;
    size_t used = log_time_words(line + at, length - at, parser->zone_s, &out->time);
    if (!used || at + used + 2 >= length)
        return false;
    at += used + 1;
    out->level = line[at] == '#'   ? LEVEL_WARNING
                 : line[at] == '*' ? LEVEL_NOTICE
                 : line[at] == '-' ? LEVEL_INFO
                                   : LEVEL_DEBUG;
    out->text = from(line, at + 1, length);
    return true;
}

/* One cell of a CSV line at *at; quotes in quotes are put into scratch. */
static struct log_text csv_next(const char *line, size_t *at, size_t length, char *scratch, size_t *used)
{
    size_t begin = *at;
    if (begin >= length || line[begin] != '"') {
        const char *comma = begin < length ? memchr(line + begin, ',', length - begin) : NULL;
        size_t end = comma ? (size_t)(comma - line) : length;
        *at = end + 1;
        return log_slice(line + begin, end > begin ? end - begin : 0);
    }
    char *text = scratch + *used;
    size_t count = 0;
    for (begin++; begin < length; begin++) {
        if (line[begin] == '"') {
            if (begin + 1 >= length || line[begin + 1] != '"')
                break;
            begin++;
        }
        text[count++] = line[begin];
    }
    *used += count;
    *at = begin + 2;
    return log_slice(text, count);
}

/* PostgreSQL's csvlog: time, user, database, process, ..., severity (12th), state, message (14th) */
static bool parse_postgres_csv(struct log_parser *parser, const char *line, size_t length,
                               struct log_line *out)
{
    bool zoned;
    size_t at = log_time_iso(line, length, parser->zone_s, &out->time, &zoned), used = 0;
    if (!at || line[10] != ' ')
        return false;
    while (!zoned && at < length && (line[at] == ' ' || log_is_upper(line[at])))
        at++;
    if (at >= length || line[at] != ',')
        return false;
    at++;
    struct log_text cells[14] = {0};
    for (size_t i = 1; i < 14; i++) {
        if (at > length)
            return false;
        cells[i] = csv_next(line, &at, length, parser->scratch, &used);
    }
    out->who = cells[2];
    out->text = cells[13];
    return (out->level = log_level_find(cells[11].bytes, cells[11].length)) != LEVEL_UNKNOWN;
}

/* "host ident[pid]: text" behind the time, of the journal and of syslog. */
static bool parse_identifier(const char *line, size_t at, size_t length, struct log_line *out)
{
    struct log_text rest = from(line, at, length);
    const char *blank = memchr(rest.bytes, ' ', rest.length);
    if (!blank)
        return false;
    rest = from(line, (size_t)(blank - line), length);
    const char *end = memchr(rest.bytes, ':', rest.length < 100 ? rest.length : 100);
    if (!end || end == rest.bytes)
        return false;
    for (const char *c = rest.bytes; c < end; c++)
        if (*c == ' ' && !memchr(rest.bytes, '[', (size_t)(c - rest.bytes)))
            return false;
    size_t length_of_who = (size_t)(end - rest.bytes);
    const char *bracket = memchr(rest.bytes, '[', length_of_who);
    out->who = log_slice(rest.bytes, bracket ? (size_t)(bracket - rest.bytes) : length_of_who);
    out->text = from(line, (size_t)(end - line) + 1, length);
    return true;
}

/* "2026-11-21T11:36:40+0000 web1 gunicorn[811]: ..." */
static bool parse_journal_short(struct log_parser *parser, const char *line, size_t length,
                                struct log_line *out)
{
    bool zoned;
    size_t at = log_time_iso(line, length, parser->zone_s, &out->time, &zoned);
    if (!at || !zoned || line[10] != 'T' || line[at - 1] == 'Z' || at >= length || line[at] != ' ' ||
        !parse_identifier(line, at, length, out))
        return false;
    log_parse_inner(parser, out);
    return true;
}

/* "Nov 21 14:05:10 web1 cron[99]: ..." */
static bool parse_syslog(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    double now = parser->now > 0 ? parser->now : clock_wall();
    size_t at = log_time_syslog(line, length, parser->zone_s, now, &out->time);
    if (!at || at >= length || !parse_identifier(line, at, length, out))
        return false;
    log_parse_inner(parser, out);
    return true;
}

/* "2026-11-21T14:05:10.123456789Z text": what the container wrote may say more. */
static bool parse_docker(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    bool zoned;
    size_t at = log_time_iso(line, length, parser->zone_s, &out->time, &zoned);
    if (!at || !zoned || line[10] != 'T' || (at < length && line[at] != ' '))
        return false;
    out->text = log_slice(line + at + (at < length), length - at - (at < length));
    log_parse_inner(parser, out);
    return true;
}

/* A time that the line begins with, in any spelling, and words that tell a level. */
static bool parse_plain(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    double now = parser->now > 0 ? parser->now : clock_wall();
    size_t open = length && line[0] == '[';
    const char *text = line + open;
    size_t left = length - open, at;
    if ((at = log_time_iso(text, left, parser->zone_s, &out->time, NULL)) ||
        (at = log_time_slashes(text, left, parser->zone_s, &out->time)) ||
        (at = log_time_common(text, left, &out->time)) ||
        (at = log_time_syslog(text, left, parser->zone_s, now, &out->time)) ||
        (at = log_time_epoch(text, left, &out->time))) {
        at += open;
        if (open && at < length && line[at] == ']')
            at++;
        out->text = from(line, at, length);
    } else {
        out->text = log_slice(line, length);
    }
    out->level = level_in(out->text);
    return true;
}

typedef bool shape_parser(struct log_parser *parser, const char *line, size_t length, struct log_line *out);

/* In the order in which they are tried; no line has the shape of two, but for the last. */
static const struct shape {
    enum log_format format;
    shape_parser *parse;
} shapes[] = {
    {LOG_FORMAT_JSON, log_parse_json},
    {LOG_FORMAT_ACCESS, log_parse_access},
    {LOG_FORMAT_NGINX_ERROR, parse_nginx_error},
    {LOG_FORMAT_GUNICORN, parse_gunicorn},
    {LOG_FORMAT_CELERY, parse_celery},
    {LOG_FORMAT_POSTGRES, parse_postgres},
    {LOG_FORMAT_POSTGRES, parse_postgres_csv},
    {LOG_FORMAT_REDIS, parse_redis},
    {LOG_FORMAT_JOURNAL_SHORT, parse_journal_short},
    {LOG_FORMAT_DOCKER, parse_docker},
    {LOG_FORMAT_SYSLOG, parse_syslog},
};

enum { SHAPE_COUNT = sizeof shapes / sizeof *shapes };

static void clear(struct log_line *out)
{
    *out = (struct log_line){
        .time = NAN, .bytes = NAN, .request_time = NAN, .upstream_time = NAN, .level = LEVEL_UNKNOWN};
}

static bool parse_shape(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    clear(out);
    if (parser->format == LOG_FORMAT_PLAIN)
        return parse_plain(parser, line, length, out);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            bool hinted = shapes[i].format == parser->format;
            if (hinted != (pass == 0))
                continue;
            clear(out);
            if (shapes[i].parse(parser, line, length, out))
                return true;
        }
    clear(out);
    return parse_plain(parser, line, length, out);
}

void log_parse_inner(struct log_parser *parser, struct log_line *out)
{
    struct log_line inner;
    /* What stands in scratch was put there by the outer shape: only shapes that do not write it. */
    static shape_parser *const within[] = {log_parse_access, parse_nginx_error, parse_gunicorn, parse_celery,
                                           parse_postgres};
    for (size_t i = 0; i < sizeof within / sizeof *within; i++) {
        clear(&inner);
        if (!within[i](parser, out->text.bytes, out->text.length, &inner))
            continue;
        if (!inner.access && inner.text.length)
            out->text = inner.text;
        inner.text = out->text;
        inner.time = out->time;
        if (out->who.length)
            inner.who = out->who;
        if (out->level > inner.level)
            inner.level = out->level;
        *out = inner;
        return;
    }
    if (out->level == LEVEL_UNKNOWN || out->level == LEVEL_INFO) {
        enum log_level level = level_in(out->text);
        if (level > out->level)
            out->level = level;
    }
}

void log_parser_init(struct log_parser *parser, enum log_format format)
{
    parser->format = format;
    parser->zone_s = 0;
    parser->now = 0;
    parser->last_time = NAN;
    parser->last_level = LEVEL_UNKNOWN;
}

void log_parse(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    if (length > LOG_LINE_MAX)
        length = LOG_LINE_MAX;
    if (length && line[length - 1] == '\r')
        length--;
    parse_shape(parser, line, length, out);
    if (out->access && !out->text.length)
        out->text = log_slice(line, length);
    if (isnan(out->time) && !isnan(parser->last_time)) {
        out->time = parser->last_time;
        out->continued = true;
        if (out->level < parser->last_level)
            out->level = parser->last_level;
        return;
    }
    if (!isnan(out->time)) {
        parser->last_time = out->time;
        parser->last_level = out->level;
    }
}

enum log_format log_format_find(const char *name)
{
    static const struct {
        const char *name;
        enum log_format format;
    } names[] = {
        {"nginx", LOG_FORMAT_ACCESS},      {"gunicorn", LOG_FORMAT_GUNICORN},   {"celery", LOG_FORMAT_CELERY},
        {"postgres", LOG_FORMAT_POSTGRES}, {"postgresql", LOG_FORMAT_POSTGRES}, {"redis", LOG_FORMAT_REDIS},
        {"json", LOG_FORMAT_JSON},         {"journal", LOG_FORMAT_JSON},        {"docker", LOG_FORMAT_DOCKER},
        {"plain", LOG_FORMAT_PLAIN},
    };
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].format;
    return LOG_FORMAT_AUTO;
}

/* ---- lines ---- */

static void put(struct log_splitter *splitter, const char *bytes, size_t length)
{
    size_t room = sizeof splitter->line - splitter->length;
    if (length > room) {
        length = room;
        splitter->cut = true;
    }
    memcpy(splitter->line + splitter->length, bytes, length);
    splitter->length += length;
}

void log_split_end(struct log_splitter *splitter,
                   void (*line)(void *data, const char *bytes, size_t length, bool cut), void *data)
{
    size_t length = splitter->length;
    bool cut = splitter->cut;
    splitter->length = 0;
    splitter->cut = false;
    if (length && !cut && splitter->line[length - 1] == '\r')
        length--;
    if (length || cut)
        line(data, splitter->line, length, cut);
}

void log_split(struct log_splitter *splitter, const char *bytes, size_t length,
               void (*line)(void *data, const char *bytes, size_t length, bool cut), void *data)
{
    const char *end = bytes + length, *newline;
    while (bytes < end && (newline = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        size_t count = (size_t)(newline - bytes);
        if (!splitter->length && count <= LOG_LINE_MAX) { /* whole: not copied */
            size_t shown = count && bytes[count - 1] == '\r' ? count - 1 : count;
            if (shown)
                line(data, bytes, shown, false);
        } else {
            put(splitter, bytes, count);
            log_split_end(splitter, line, data);
        }
        bytes = newline + 1;
    }
    if (bytes < end)
        put(splitter, bytes, (size_t)(end - bytes));
}
