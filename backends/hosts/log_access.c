/*
 * Access logs of nginx and gunicorn, told by their shape: what stands in front of the time, the request in
 * quotes, status and bytes, and behind them names with values, quoted texts, times with three decimals.
 *
 * nginx writes a quote inside a field as \x22, so that no client can forge a field; but Referer and
 * User-Agent are the client's: the first two quoted texts behind the bytes are never taken for anything else
 * when they stand where the combined format has them.
 */
#include <stdio.h>

#include "backends/hosts/log_internal.h"
#include "core/units.h"

enum { TOKENS_MAX = 40 };

enum token_kind { TOKEN_BARE, TOKEN_QUOTED, TOKEN_BRACKETS, TOKEN_NAMED };

struct token {
    enum token_kind kind;
    struct log_text name; /* of TOKEN_NAMED: what stands before = */
    struct log_text text; /* without the quotes */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The end of a quoted text that begins at `at` (behind the quote); a backslash hides the next character. */
static size_t quoted_end(const char *line, size_t at, size_t length)
{
    while (at < length && line[at] != '"')
        at += line[at] == '\\' ? 2 : 1;
    return at < length ? at : length;
}

/* One token at *at, which stands on no blank. */
static struct token next_token(const char *line, size_t *at, size_t length)
{
    struct token token = {.kind = TOKEN_BARE};
    size_t begin = *at, end;
    if (line[begin] == '"' || line[begin] == '[') {
        token.kind = line[begin] == '"' ? TOKEN_QUOTED : TOKEN_BRACKETS;
        if (token.kind == TOKEN_QUOTED) {
            end = quoted_end(line, begin + 1, length);
        } else {
            const char *close = memchr(line + begin, ']', length - begin);
            end = close ? (size_t)(close - line) : length;
        }
        token.text = log_slice(line + begin + 1, end - begin - 1);
        *at = end < length ? end + 1 : length;
        return token;
    }
    for (end = begin; end < length && !is_blank(line[end]); end++)
        if (line[end] == '=' && end > begin && token.kind == TOKEN_BARE) {
            token.kind = TOKEN_NAMED;
            token.name = log_slice(line + begin, end - begin);
            begin = end + 1;
            if (begin < length && line[begin] == '"') {
                end = quoted_end(line, begin + 1, length);
                token.text = log_slice(line + begin + 1, end - begin - 1);
                *at = end < length ? end + 1 : length;
                return token;
            }
        }
    token.text = log_slice(line + begin, end - begin);
    *at = end;
    return token;
}

static size_t split_tokens(const char *line, size_t at, size_t length, struct token tokens[TOKENS_MAX])
{
    size_t count = 0;
    while (count < TOKENS_MAX) {
        while (at < length && (is_blank(line[at]) || line[at] == ','))
            at++;
        if (at >= length)
            break;
        tokens[count++] = next_token(line, &at, length);
    }
    return count;
}

/* ---- what a field looks like ---- */

static bool is_number(struct log_text text)
{
    if (!text.length || text.length > 15)
        return false;
    for (size_t i = 0; i < text.length; i++)
        if (!log_is_digit(text.bytes[i]))
            return false;
    return true;
}

static double whole_number(struct log_text text)
{
    double number = 0;
    for (size_t i = 0; i < text.length; i++)
        number = number * 10 + (text.bytes[i] - '0');
    return number;
}

/* $request_time has three decimals always, gunicorn's %(L)s six: other numbers are other things. */
static bool is_seconds(struct log_text text)
{
    const char *dot = memchr(text.bytes, '.', text.length);
    if (!dot || dot == text.bytes)
        return false;
    size_t decimals = text.length - (size_t)(dot - text.bytes) - 1;
    return (decimals == 3 || decimals == 6) && is_number(log_slice(text.bytes, (size_t)(dot - text.bytes))) &&
           is_number(log_slice(dot + 1, decimals));
}

static bool is_address(struct log_text text)
{
    bool dots = false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] == ':')
            return i == 0 || isxdigit((unsigned char)text.bytes[0]) || text.bytes[0] == '[';
        if (!log_is_digit(text.bytes[i]) && text.bytes[i] != '.')
            return text.length >= 5 && memcmp(text.bytes, "unix:", 5) == 0;
        dots = dots || text.bytes[i] == '.';
    }
    return dots;
}

/* A name with a dot whose last label begins with a letter, or "localhost"; a port behind it. */
bool log_looks_like_host(struct log_text text)
{
    struct log_text name = log_access_host(text);
    size_t last = 0;
    if (!name.length || name.length > 253)
        return false;
    if (log_is(name, "localhost"))
        return true;
    for (size_t i = 0; i < name.length; i++) {
        unsigned char c = (unsigned char)name.bytes[i];
        if (c == '.')
            last = i + 1;
        else if (!isalnum(c) && c != '-' && c != '_')
            return false;
    }
    return last > 1 && last < name.length && isalpha((unsigned char)name.bytes[last]);
}

struct log_text log_access_host(struct log_text text)
{
    const char *colon = text.length ? memrchr(text.bytes, ':', text.length) : NULL;
    if (colon && is_number(log_slice(colon + 1, text.length - (size_t)(colon - text.bytes) - 1)) &&
        (text.bytes[0] == '[' || memchr(text.bytes, ':', text.length) == colon))
        text.length = (size_t)(colon - text.bytes);
    if (log_is(text, "-") || log_is(text, "_"))
        text.length = 0;
    return text;
}

double log_access_seconds(struct log_text text)
{
    double sum = 0;
    bool some = false;
    for (size_t at = 0; at < text.length;) {
        double whole = 0, unit = 0.1;
        size_t begin = at;
        for (; at < text.length && at - begin < 12 && log_is_digit(text.bytes[at]); at++)
            whole = whole * 10 + (text.bytes[at] - '0');
        if (at == begin) {
            at++; /* a separator, or the - of a try that was not answered */
            continue;
        }
        some = true;
        if (at < text.length && text.bytes[at] == '.')
            for (at++; at < text.length && log_is_digit(text.bytes[at]); at++) {
                whole += (text.bytes[at] - '0') * unit;
                unit /= 10;
            }
        sum += whole;
    }
    return some ? sum : NAN;
}

bool log_access_request(struct log_line *out, struct log_text request)
{
    const char *blank = request.length ? memchr(request.bytes, ' ', request.length) : NULL;
    size_t method = blank ? (size_t)(blank - request.bytes) : 0;
    if (method < 3 || method > 16)
        return false;
    for (size_t i = 0; i < method; i++)
        if (!log_is_upper(request.bytes[i]) && request.bytes[i] != '_' && request.bytes[i] != '-')
            return false;
    out->method = log_slice(request.bytes, method);
    struct log_text path = log_slice(blank + 1, request.length - method - 1);
    const char *last = path.length ? memrchr(path.bytes, ' ', path.length) : NULL;
    if (last && path.bytes + path.length - last > 5 && memcmp(last + 1, "HTTP/", 5) == 0)
        path.length = (size_t)(last - path.bytes);
    out->path = path;
    return true;
}

void log_access_finish(struct log_line *out, int status)
{
    out->access = true;
    out->status = status;
    out->level = status >= 500 ? LEVEL_ERROR : status >= 400 ? LEVEL_WARNING : LEVEL_INFO;
}

/* ---- the whole line ---- */

/* What stands in front of the time: the client, and the host where the format has it there. */
static void read_front(const struct token *tokens, size_t count, struct log_line *out)
{
    if (!count)
        return;
    if (count >= 2 && tokens[0].kind == TOKEN_BARE && tokens[1].kind == TOKEN_BARE &&
        is_address(tokens[1].text) && (!is_address(tokens[0].text) || count >= 4)) {
        out->host = log_access_host(tokens[0].text); /* "$host $remote_addr - $remote_user" */
        out->client = tokens[1].text;
        return;
    }
    out->client = tokens[0].text;
    if (count >= 4 && log_looks_like_host(tokens[3].text)) /* "$remote_addr - $remote_user $host" */
        out->host = log_access_host(tokens[3].text);
    else if (count <= 2 && log_looks_like_host(tokens[0].text))
        out->host = log_access_host(tokens[0].text);
}

static bool take_named(const struct token *token, struct log_line *out)
{
    static const char *const request_times[] = {"rt", "request_time", "req_time", "time", "duration"};
    static const char *const upstream_times[] = {"urt", "upstream_response_time", "upstream_time", "uresp"};
    static const char *const hosts[] = {"host", "h", "vhost", "http_host", "server_name", "sn", "server"};
    for (size_t i = 0; i < sizeof request_times / sizeof *request_times; i++)
        if (log_is(token->name, request_times[i])) {
            out->request_time = log_access_seconds(token->text);
            return true;
        }
    for (size_t i = 0; i < sizeof upstream_times / sizeof *upstream_times; i++)
        if (log_is(token->name, upstream_times[i])) {
            out->upstream_time = log_access_seconds(token->text);
            return true;
        }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (log_is(token->name, hosts[i])) {
            out->host = log_access_host(token->text);
            return true;
        }
    return false;
}

static void take_seconds(struct log_text text, struct log_line *out)
{
    if (isnan(out->request_time))
        out->request_time = log_access_seconds(text);
    else if (isnan(out->upstream_time))
        out->upstream_time = log_access_seconds(text);
}

/* Behind the bytes. */
static void read_tail(const struct token *tokens, size_t count, struct log_line *out)
{
    size_t quoted = 0, number = 0;
    for (size_t i = 0; i < count; i++)
        quoted += tokens[i].kind == TOKEN_QUOTED;
    for (size_t i = 0; i < count; i++) {
        const struct token *token = &tokens[i];
        if (token->kind == TOKEN_NAMED) {
            take_named(token, out);
        } else if (token->kind == TOKEN_QUOTED) {
            number++;
            bool clients = quoted >= 2 && number <= 2; /* Referer and User-Agent */
            /* "$host" "$http_referer" "$http_user_agent": the second one is a referer then, never a browser
             */
            if (number == 1 && quoted >= 3 && i + 1 < count && log_looks_like_host(token->text) &&
                (log_is(tokens[i + 1].text, "-") ||
                 memmem(tokens[i + 1].text.bytes, tokens[i + 1].text.length, "://", 3)))
                clients = false;
            if (clients)
                continue;
            if (is_seconds(token->text))
                take_seconds(token->text, out);
            else if (!out->host.length && log_looks_like_host(token->text))
                out->host = log_access_host(token->text);
        } else if (token->kind == TOKEN_BARE) {
            if (is_seconds(token->text))
                take_seconds(token->text, out);
            else if (!out->host.length && !is_address(token->text) && log_looks_like_host(token->text))
                out->host = log_access_host(token->text);
        }
    }
}

/* Everything behind the time. */
static bool read_rest(const struct token *tokens, size_t count, bool bracketed, struct log_line *out)
{
    size_t at = 0;
    while (at < count && tokens[at].kind != TOKEN_QUOTED) {
        if (tokens[at].kind == TOKEN_NAMED)
            take_named(&tokens[at], out);
        else if (!out->host.length && log_looks_like_host(tokens[at].text))
            out->host = log_access_host(tokens[at].text);
        else if (tokens[at].kind == TOKEN_BARE && is_seconds(tokens[at].text))
            take_seconds(tokens[at].text, out);
        if (++at > 6)
            return false;
    }
    if (at + 1 >= count)
        return false;
    struct log_text request = tokens[at].text;
    /* What was no HTTP is logged as it came, with status 400. */
    if (!log_access_request(out, request)) {
        if (!bracketed)
            return false;
        out->path = request;
    }
    const struct token *status = &tokens[at + 1];
    if (!is_number(status->text) || status->text.length != 3)
        return false;
    log_access_finish(out, (int)whole_number(status->text));
    at += 2;
    if (at < count && tokens[at].kind == TOKEN_BARE && is_number(tokens[at].text))
        out->bytes = whole_number(tokens[at++].text);
    else if (at < count && log_is(tokens[at].text, "-")) {
        out->bytes = 0;
        at++;
    }
    read_tail(tokens + at, count - at, out);
    return true;
}

static void forget(struct log_line *out)
{
    out->host = out->method = out->path = out->client = (struct log_text){0};
    out->request_time = out->upstream_time = out->bytes = NAN;
    out->access = false;
    out->status = 0;
}

bool log_parse_access(struct log_parser *parser, const char *line, size_t length, struct log_line *out)
{
    struct token tokens[TOKENS_MAX];
    const char *from = line, *end = line + length, *open;
    for (int tries = 0; tries < 3 && (open = memchr(from, '[', (size_t)(end - from))); tries++) {
        size_t left = (size_t)(end - open) - 1, used;
        from = open + 1;
        if (!(used = log_time_common(from, left, &out->time)) &&
            !(used = log_time_iso(from, left, parser->zone_s, &out->time, NULL)))
            continue;
        if (used >= left || from[used] != ']')
            continue;
        size_t front = split_tokens(line, 0, (size_t)(open - line), tokens);
        read_front(tokens, front, out);
        size_t count = split_tokens(line, (size_t)(from - line) + used + 1, length, tokens);
        if (read_rest(tokens, count, true, out))
            return true;
        forget(out);
        return false;
    }
    /* The time in front, without brackets. */
    size_t used = log_time_iso(line, length, parser->zone_s, &out->time, NULL);
    if (!used)
        used = log_time_epoch(line, length, &out->time);
    if (!used || used >= length || !is_blank(line[used]) || !memchr(line, '"', length))
        return false;
    size_t count = split_tokens(line, used, length, tokens);
    if (count >= 2 && is_address(tokens[0].text))
        out->client = tokens[0].text;
    if (read_rest(tokens, count, false, out))
        return true;
    forget(out);
    return false;
}

size_t log_access_text(char *buffer, size_t size, const struct log_line *line)
{
    char time[32] = "";
    if (line->request_time < 0.001) /* 0.000: nginx counts whole milliseconds */
        snprintf(time, sizeof time, "< 1 ms");
    else if (!isnan(line->request_time))
        format_ms(time, sizeof time, line->request_time * 1000);
    int length = snprintf(buffer, size, "%3d %9s  %.*s%s%.*s%s%.*s", line->status, time,
                          (int)line->host.length, line->host.bytes ? line->host.bytes : "",
                          line->host.length ? "  " : "", (int)line->method.length,
                          line->method.bytes ? line->method.bytes : "", line->method.length ? " " : "",
                          (int)line->path.length, line->path.bytes ? line->path.bytes : "");
    if (length < 0)
        return 0;
    return (size_t)length < size ? (size_t)length : size - 1;
}
