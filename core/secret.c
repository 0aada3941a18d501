/*
 * Masking of secrets. A small scanner over SQL tokens (quotes, E'' and dollar quotes, comments) that does not
 * need the statement to be right or complete: the server cuts long statements anywhere. In doubt it masks.
 */
#include "core/secret.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

/* Function bodies may quote function bodies; deeper ones are masked whole. */
#define DEPTH_LIMIT 8
/* A URI's login is looked for in so many bytes, or "://" in endless repetition would take quadratic time. */
#define URI_LIMIT 4096

struct span {
    const char *at, *end;
};

struct masker {
    const void *context;
    char *out;
    size_t used, room;
    unsigned depth;
};

/* What the tokens seen so far say about the next literal. */
enum expectation {
    EXPECT_NOTHING,
    EXPECT_SECRET,   /* behind PASSWORD or "password =" */
    EXPECT_ARGUMENT, /* behind a literal that ends with "password=" or is 'password': a comma may follow */
    EXPECT_MORE,     /* behind a masked literal: 'a' 'b' are one literal */
};

struct state {
    enum expectation expect;
    bool all;            /* every literal up to the semicolon: format('... PASSWORD %L', ...) */
    unsigned words;      /* of this statement */
    bool changes;        /* CREATE or ALTER was its first word */
    bool role;           /* ... and ROLE, USER or GROUP its second */
    bool body;           /* within a dollar quote: may be SQL, may be a connection string */
    bool body_is_string; /* ... surely not statements */
};

static void emit(struct masker *masker, const char *bytes, size_t length)
{
    if (!masker->out || masker->used + length + 1 > masker->room) {
        masker->room = 2 * (masker->used + length + 1);
        masker->out = talloc_realloc_size(masker->context, masker->out, masker->room);
        if (!masker->out)
            abort();
    }
    memcpy(masker->out + masker->used, bytes, length);
    masker->used += length;
}

static void emit_until(struct masker *masker, const char **from, const char *to)
{
    emit(masker, *from, (size_t)(to - *from));
    *from = to;
}

static void emit_text(struct masker *masker, const char *text)
{
    emit(masker, text, strlen(text));
}

/* Two literals without a blank between them would be read as one. */
static void emit_mask(struct masker *masker)
{
    bool touching = masker->used && masker->out[masker->used - 1] == '\'';
    emit_text(masker, touching ? " '***'" : "'***'");
}

static bool is_word_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_' || (unsigned char)byte >= 0x80;
}

static bool is_blank(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool span_is(struct span span, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(span.end - span.at) == length && strncasecmp(span.at, word, length) == 0;
}

/* ---- words that announce a secret ---- */

/* The first of the words at or after `at`, NULL when there is none. */
static const char *find_secret_word(const char *at, const char *end, size_t *length)
{
    static const char *const words[] = {"password", "passwd", "passphrase", "secret"};
    for (; at < end; at++) {
        char first = (char)(*at | 0x20);
        if (first != 'p' && first != 's')
            continue;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            *length = strlen(words[i]);
            if ((size_t)(end - at) >= *length && strncasecmp(at, words[i], *length) == 0)
                return at;
        }
    }
    return NULL;
}

static bool is_secret_name(struct span name)
{
    size_t length;
    return find_secret_word(name.at, name.end, &length) && !span_is(name, "password_encryption");
}

static bool may_hold_secret(const char *text)
{
    return strcasestr(text, "passw") || strcasestr(text, "passphrase") || strcasestr(text, "secret") ||
           strstr(text, "://");
}

/* ---- within literals, comments and DSNs ---- */

/* The quote that stands here, as it looks within another literal; its length, 0 when there is none. */
static size_t quote_length(const char *at, const char *end)
{
    if (at < end && *at == '\\')
        return at + 1 < end && (at[1] == '\'' || at[1] == '"') ? 2 : 0;
    if (at < end && (*at == '\'' || *at == '"'))
        return at + 1 < end && *at == '\'' && at[1] == '\'' ? 2 : 1;
    return 0;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    return at;
}

static const char *quoted_end(const char *at, const char *end, const char *quote, size_t length)
{
    while (at < end) {
        if ((size_t)(end - at) >= length && memcmp(at, quote, length) == 0)
            return at;
        if (*at == '\\' && at + 1 < end) {
            at++;
            bool escaped_quote = (size_t)(end - at) >= length && memcmp(at, quote, length) == 0;
            at += escaped_quote ? length : 1;
        } else {
            at++;
        }
    }
    return end;
}

static const char *bare_end(const char *at, const char *end)
{
    while (at < end && !is_blank(*at) && !strchr("&;,)}'\"\\", *at))
        at++;
    return at;
}

/* Past "=", ":", ":=" or "=>" and blanks; `at` itself when there is none. */
static const char *skip_separator(const char *at, const char *end)
{
    const char *sign = skip_blanks(at, end);
    if (sign >= end || (*sign != '=' && *sign != ':'))
        return at;
    if (*sign == ':' && sign + 1 < end && sign[1] == ':')
        return at; /* a cast */
    sign++;
    if (sign < end && (*sign == '=' || *sign == '>'))
        sign++;
    return skip_blanks(sign, end);
}

enum found { FOUND_NOTHING, FOUND_VALUE, FOUND_OPEN, FOUND_FORMAT };

/* The value behind a word that announces a secret. OPEN: the text ends where the value would begin. */
static enum found find_value(const char *word_end, const char *end, struct span *value)
{
    const char *at = word_end;
    size_t closing = quote_length(at, end);
    const char *behind = skip_separator(at + closing, end);
    bool separated = behind != at + closing;
    if (closing && !separated && at + closing < end)
        behind = at; /* no separator: the quote opens the value */
    else if (!separated)
        behind = skip_blanks(behind, end);
    size_t quote = quote_length(behind, end);
    if (behind + quote >= end)
        return FOUND_OPEN;
    if (!quote && !separated && *behind != '%')
        return FOUND_NOTHING;
    const char *start = behind + quote;
    if (*start == '%' && start + 1 < end && strchr("LsI123456789", start[1]))
        return FOUND_FORMAT;
    *value = (struct span){start, quote ? quoted_end(start, end, behind, quote) : bare_end(start, end)};
    return value->at < value->end ? FOUND_VALUE : FOUND_NOTHING;
}

/* The password in the URI whose "://" stands at `colon`. `cut`: the text may go on behind its end. *next is
 * where to look for the next one: a word without any @ is looked at once. */
static bool find_uri_password(const char *colon, const char *end, bool cut, struct span *value,
                              const char **next)
{
    *next = colon + 3;
    bool limited = end - colon > URI_LIMIT;
    if (limited) {
        end = colon + URI_LIMIT;
        cut = true;
    }
    const char *start = colon + 3, *stop = start, *slash = NULL, *first = NULL, *at_sign = NULL;
    for (; stop < end && !is_blank(*stop) && !strchr("'\"<>\\", *stop); stop++) {
        if (!slash && strchr("/?#", *stop))
            slash = stop;
        if (*stop == ':' && !first && !slash)
            first = stop;
        /* The last one of the authority; behind a slash only when there was none before it. */
        if (*stop == '@' && first && (!slash || !at_sign))
            at_sign = stop;
    }
    if ((limited || stop < end) && !memchr(start, '@', (size_t)(stop - start)))
        *next = stop < end ? stop : colon + URI_LIMIT / 2;
    if (!first)
        return false;
    const char *digits = first + 1;
    while (digits < stop && isdigit((unsigned char)*digits))
        digits++;
    if (slash && at_sign > slash && digits == slash)
        at_sign = NULL; /* host:port/path@x */
    if (!at_sign && cut && !slash && stop == end)
        at_sign = end;
    if (!at_sign)
        return false;
    *value = (struct span){first + 1, at_sign};
    return value->at < value->end;
}

/* Writes the text with its secrets masked. FOUND_OPEN or FOUND_FORMAT when the secret itself comes later. */
static enum found mask_text(struct masker *masker, const char *text, const char *end, bool cut)
{
    const char *from = text, *at = text;
    size_t length = 0;
    enum found last = FOUND_NOTHING;
    const char *word = find_secret_word(at, end, &length);
    const char *uri = memmem(at, (size_t)(end - at), "://", 3);
    while (word || uri) {
        struct span value = {0};
        const char *uri_next = at;
        if (uri && (!word || uri < word)) {
            at = uri + 3;
            if (find_uri_password(uri, end, cut, &value, &uri_next)) {
                emit_until(masker, &from, value.at);
                emit_text(masker, "***");
                from = at = value.end;
            }
        } else {
            struct span name = {word, word + length};
            while (name.at > from && is_word_byte(name.at[-1]))
                name.at--;
            while (name.end < end && is_word_byte(*name.end))
                name.end++;
            at = name.end;
            enum found found = is_secret_name(name) ? find_value(name.end, end, &value) : FOUND_NOTHING;
            last = found != FOUND_NOTHING ? found : last;
            if (found == FOUND_VALUE) {
                emit_until(masker, &from, value.at);
                emit_text(masker, "***");
                from = at = value.end;
            }
        }
        if (word && word < at)
            word = find_secret_word(at, end, &length);
        uri_next = uri_next > at ? uri_next : at;
        if (uri && uri < at)
            uri = memmem(uri_next, (size_t)(end - uri_next), "://", 3);
    }
    emit_until(masker, &from, end);
    return last;
}

/* ---- tokens ---- */

/* `at` stands behind the opening quote. *closed says whether the literal ends before the text does. */
static const char *literal_end(const char *at, const char *end, char quote, bool backslashes, bool *closed)
{
    for (*closed = false; at < end; at++) {
        if (backslashes && *at == '\\' && at + 1 < end) {
            at++;
        } else if (*at == quote) {
            if (at + 1 < end && at[1] == quote) {
                at++;
                continue;
            }
            *closed = true;
            return at;
        }
    }
    return end;
}

static const char *comment_end(const char *at, const char *end)
{
    if (*at == '-') {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        return line ? line : end;
    }
    unsigned depth = 0;
    for (; at + 1 < end; at++) {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at++;
        } else if (at[0] == '*' && at[1] == '/') {
            at++;
            if (--depth == 0)
                return at + 1;
        }
    }
    return end;
}

/* Bytes of the opening $tag$, 0 when it is none (a parameter such as $1). */
static size_t dollar_tag(const char *at, const char *end)
{
    const char *tag = at + 1;
    if (tag < end && isdigit((unsigned char)*tag))
        return 0;
    while (tag < end && is_word_byte(*tag))
        tag++;
    return tag < end && *tag == '$' ? (size_t)(tag + 1 - at) : 0;
}

static void mask_sql(struct masker *masker, const char *at, const char *end, struct state state);

static bool wants_mask(const struct state *state)
{
    return state->all || state->expect != EXPECT_NOTHING;
}

static void after_literal(struct state *state, bool masked, enum found found)
{
    state->expect = masked ? EXPECT_MORE : found == FOUND_OPEN ? EXPECT_ARGUMENT : EXPECT_NOTHING;
    state->all = state->all || found == FOUND_FORMAT;
}

/* `start` to the quote is the prefix (E, N, U&). Returns what stands behind the literal. */
static const char *take_literal(struct masker *masker, const char *start, const char *quote, const char *end,
                                struct state *state)
{
    bool closed;
    bool backslashes = quote > start && (quote[-1] | 0x20) == 'e';
    const char *stop = literal_end(quote + 1, end, '\'', backslashes, &closed);
    bool masked = wants_mask(state);
    enum found found = FOUND_NOTHING;
    if (masked) {
        emit_mask(masker);
    } else {
        emit(masker, start, (size_t)(quote + 1 - start));
        found = mask_text(masker, quote + 1, stop, !closed);
        emit(masker, stop, closed ? 1 : 0);
    }
    after_literal(state, masked, found);
    return stop + closed;
}

static const char *take_dollar(struct masker *masker, const char *at, size_t tag, const char *end,
                               struct state *state)
{
    const char *body = at + tag;
    const char *stop = memmem(body, (size_t)(end - body), at, tag);
    size_t closing = stop ? tag : 0;
    if (!stop)
        stop = end;
    bool masked = wants_mask(state);
    if (masked || masker->depth >= DEPTH_LIMIT) {
        emit_mask(masker);
    } else {
        bool statements = memchr(body, ';', (size_t)(stop - body)) != NULL;
        emit(masker, at, tag);
        masker->depth++;
        mask_sql(masker, body, stop, (struct state){.body = true, .body_is_string = !statements});
        masker->depth--;
        emit(masker, stop, closing);
    }
    after_literal(state, masked, FOUND_NOTHING);
    return stop + closing;
}

/* ALTER ROLE app PASSWORD hunter2: wrong, refused by the server, and a password all the same. Within a body,
 * password=hunter2 as in connection strings. Returns `at` when there is nothing to mask. */
static const char *take_bare_secret(struct masker *masker, const char *at, const char *end,
                                    const struct state *state)
{
    const char *value = at;
    bool tight = state->body && at < end && *at == '=' && at + 1 < end && !is_blank(at[1]);
    if (tight || (state->body_is_string && skip_separator(at, end) != at))
        value = skip_separator(at, end);
    else if (state->role)
        value = skip_separator(skip_blanks(at, end), end);
    else
        return at;
    value = skip_blanks(value, end);
    if (value >= end || *value == '\'' || *value == '$' || strchr(";,)-/(", *value))
        return at;
    const char *stop = value;
    if (*value == '"') {
        bool closed;
        stop = literal_end(value + 1, end, '"', false, &closed);
        stop += closed;
    } else {
        while (stop < end && !is_blank(*stop) && !strchr(";$'", *stop))
            stop++;
        /* E'...' and its like are literals. */
        if (stop == value || (stop < end && *stop == '\'' && stop - value <= 2))
            return at;
    }
    if (span_is((struct span){value, stop}, "null") || memcmp(value, "***", stop - value < 3 ? 1 : 3) == 0)
        return at;
    emit(masker, at, (size_t)(value - at));
    emit_text(masker, tight || state->body_is_string ? "***" : "'***'");
    return stop;
}

static void note_word(struct state *state, struct span word)
{
    /* What may stand between the announcement and the literal. */
    static const char *const between[] = {"in", "like", "ilike", "quote_literal", "quote_nullable", "concat"};
    state->words++;
    if (state->words == 1)
        state->changes = span_is(word, "create") || span_is(word, "alter");
    else if (state->words == 2)
        state->role =
            state->changes && (span_is(word, "role") || span_is(word, "user") || span_is(word, "group"));
    else if (state->words == 3 && span_is(word, "mapping"))
        state->role = false;
    for (size_t i = 0; i < sizeof between / sizeof *between; i++)
        if (span_is(word, between[i]) && state->expect != EXPECT_MORE)
            return;
    state->expect = is_secret_name(word) ? EXPECT_SECRET : EXPECT_NOTHING;
}

static const char *take_word(struct masker *masker, const char *at, const char *end, struct state *state)
{
    const char *stop = at;
    while (stop < end && (is_word_byte(*stop) || *stop == '$'))
        stop++;
    if (stop + 1 < end && stop - at == 1 && (*at | 0x20) == 'u' && stop[0] == '&' && stop[1] == '\'')
        return take_literal(masker, at, stop + 1, end, state);
    if (stop < end && *stop == '\'' && stop - at == 1 && strchr("eEnNbBxX", *at))
        return take_literal(masker, at, stop, end, state);
    note_word(state, (struct span){at, stop});
    emit(masker, at, (size_t)(stop - at));
    if (state->expect == EXPECT_SECRET) {
        const char *behind = take_bare_secret(masker, stop, end, state);
        if (behind != stop)
            state->expect = EXPECT_MORE;
        stop = behind;
    }
    return stop;
}

static const char *take_sign(struct masker *masker, const char *at, struct state *state)
{
    if (*at == ';') {
        bool body = state->body, body_is_string = state->body_is_string;
        *state = (struct state){.body = body, .body_is_string = body_is_string};
    } else if (!is_blank(*at)) {
        bool keeps = state->expect == EXPECT_ARGUMENT ? strchr(",|=(:>", *at) != NULL
                                                      : strchr("=<>!~(:|", *at) != NULL;
        if (!keeps || state->expect == EXPECT_MORE)
            state->expect = *at == '|' && state->expect == EXPECT_MORE ? EXPECT_MORE : EXPECT_NOTHING;
    }
    emit(masker, at, 1);
    return at + 1;
}

static const char *take_token(struct masker *masker, const char *at, const char *end, struct state *state)
{
    size_t tag;
    if (*at == '\'')
        return take_literal(masker, at, at, end, state);
    if (*at == '$' && (tag = dollar_tag(at, end)) > 0)
        return take_dollar(masker, at, tag, end, state);
    if (at + 1 < end && ((at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*'))) {
        const char *stop = comment_end(at, end);
        mask_text(masker, at, stop, stop == end);
        return stop;
    }
    if (*at == '"') {
        bool closed;
        const char *stop = literal_end(at + 1, end, '"', false, &closed);
        note_word(state, (struct span){at + 1, stop});
        emit(masker, at, (size_t)(stop + closed - at));
        return stop + closed;
    }
    if (is_word_byte(*at))
        return take_word(masker, at, end, state);
    return take_sign(masker, at, state);
}

static void mask_sql(struct masker *masker, const char *at, const char *end, struct state state)
{
    while (at < end)
        at = take_token(masker, at, end, &state);
}

static char *plain_copy(const void *context, const char *text)
{
    char *copy = talloc_strdup(context, text);
    if (!copy)
        abort();
    return copy;
}

/* One masking may bring forth another in text that is no SQL at all: repeated until nothing changes, so that
 * a masked text can be masked again without harm. What never settles is shown as nothing. */
static char *mask_until_settled(const void *context, const char *text, bool sql)
{
    const char *from = text;
    char *before = NULL;
    for (int i = 0; i < 8; i++) {
        struct masker masker = {.context = context};
        if (sql)
            mask_sql(&masker, from, from + strlen(from), (struct state){0});
        else
            mask_text(&masker, from, from + strlen(from), false);
        emit(&masker, "", 1);
        bool settled = strcmp(masker.out, from) == 0;
        talloc_free(before);
        before = masker.out;
        from = before;
        if (settled) {
            talloc_set_name_const(before, before);
            return before;
        }
    }
    talloc_free(before);
    return plain_copy(context, "***");
}

char *secret_mask_statement(const void *context, const char *sql)
{
    return may_hold_secret(sql) ? mask_until_settled(context, sql, true) : plain_copy(context, sql);
}

char *secret_mask_dsn(const void *context, const char *dsn)
{
    return may_hold_secret(dsn) ? mask_until_settled(context, dsn, false) : plain_copy(context, dsn);
}
