/* Filters of jobs: words, what they compare, and the quick look at raw bytes. */
#include "backends/queues/filter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/needle.h"
#include "core/units.h"

enum kind { KIND_TEXT, KIND_ALL, KIND_NUMBER, KIND_SIZE, KIND_SECONDS, KIND_STATE, KIND_FLAG, KIND_POISON };

struct column {
    const char *name;
    enum kind kind;
    size_t at; /* in struct job: of a text, an int or a time */
};

/* The words there are. */
static const struct column columns[] = {
    {"task", KIND_TEXT, offsetof(struct job, task)},
    {"tenant", KIND_TEXT, offsetof(struct job, tenant)},
    {"id", KIND_TEXT, offsetof(struct job, id)},
    {"queue", KIND_TEXT, offsetof(struct job, queue)},
    {"error", KIND_TEXT, offsetof(struct job, exception)},
    {"worker", KIND_TEXT, offsetof(struct job, worker)},
    {"origin", KIND_TEXT, offsetof(struct job, origin)},
    {"group", KIND_TEXT, offsetof(struct job, group)},
    {"root", KIND_TEXT, offsetof(struct job, root)},
    {"parent", KIND_TEXT, offsetof(struct job, parent)},
    {"text", KIND_ALL, 0},
    {"retries", KIND_NUMBER, offsetof(struct job, retries)},
    {"priority", KIND_NUMBER, offsetof(struct job, priority)},
    {"size", KIND_SIZE, offsetof(struct job, size)},
    {"age", KIND_SECONDS, offsetof(struct job, enqueued_at)},
    {"eta", KIND_SECONDS, offsetof(struct job, eta)},
    {"expires", KIND_SECONDS, offsetof(struct job, expires)},
    {"runtime", KIND_SECONDS, offsetof(struct job, started_at)},
    {"failed", KIND_SECONDS, offsetof(struct job, finished_at)},
    {"state", KIND_STATE, 0},
    {"flag", KIND_FLAG, 0},
    {"poison", KIND_POISON, 0},
};

enum compare { CONTAINS, EQUAL, LESS, LESS_OR_EQUAL, MORE, MORE_OR_EQUAL, UNEQUAL };

struct word {
    const struct column *column;
    enum compare compare;
    bool turned;
    const char *text;
    struct needle *needle;
    double number; /* also a state, a flag, a class of poison (0: any) */
};

struct job_filter {
    char *text;
    struct word *words;
    size_t count;
    bool needs_body, needs_parse;
};

/* ---- parsing ---- */

/* One word as it stands: `head` is up to an operator, outside of quotes. */
struct piece {
    char *head, *value;
    char operator[3];
    bool turned, quoted;
};

static void words_there_are(char *buffer, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < sizeof columns / sizeof *columns && used < size; i++) {
        static const char *const hints[] = {
            [KIND_TEXT] = ":",    [KIND_ALL] = ":",   [KIND_NUMBER] = ">", [KIND_SIZE] = ">",
            [KIND_SECONDS] = ">", [KIND_STATE] = ":", [KIND_FLAG] = ":",   [KIND_POISON] = ""};
        used += (size_t)snprintf(buffer + used, size - used, "%s%s%s", i > 0 ? " " : "", columns[i].name,
                                 hints[columns[i].kind]);
    }
}

static bool refuse(struct error *error, const char *word, const char *why)
{
    char words[300];
    words_there_are(words, sizeof words);
    char todo[360];
    snprintf(todo, sizeof todo, "Words: %s", words);
    char what[120];
    snprintf(what, sizeof what, "the filter's word \"%.80s\" means nothing", word);
    return error_set(error, ERROR_USAGE, "filter", what, todo, "%s", why);
}

static bool is_operator(char letter)
{
    return letter == ':' || letter == '=' || letter == '<' || letter == '>';
}

/* Reads the next word at *at. Returns false at the end, or (error set) when a quote is not closed. */
static bool next_piece(const void *context, const char **at, struct piece *piece, struct error *error)
{
    *piece = (struct piece){0};
    while (**at == ' ' || **at == '\t')
        (*at)++;
    if (!**at)
        return false;
    const char *begin = *at;
    piece->turned = **at == '!' && (*at)[1] && (*at)[1] != ' ';
    *at += piece->turned;
    char *put = talloc_size(context, strlen(*at) + 2);
    if (!put)
        abort();
    piece->head = piece->value = put;
    bool inside = false;
    for (; **at && (inside || (**at != ' ' && **at != '\t')); (*at)++) {
        if (**at == '"') {
            inside = !inside;
            piece->quoted = piece->quoted || !*piece->operator;
        } else if (!inside && !*piece->operator&& is_operator(**at) && put > piece->head && !piece->quoted) {
            piece->operator[0] = ** at;
            if (**at != ':' && (*at)[1] == '=')
                piece->operator[1] = * ++ * at;
            *put++ = '\0';
            piece->value = put;
        } else {
            *put++ = **at;
        }
    }
    *put = '\0';
    if (inside)
        return refuse(error, begin, "its quote is not closed");
    return true;
}

static const struct column *find_column(const char *name)
{
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if (strcmp(columns[i].name, name) == 0)
            return &columns[i];
    return NULL;
}

static bool parse_size(const char *text, double *bytes)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},        {"B", 1},        {"kB", 1024},   {"KB", 1024},         {"k", 1024},
                 {"K", 1024},    {"MB", 1048576}, {"M", 1048576}, {"GB", 1073741824.0}, {"kb", 1024},
                 {"mb", 1048576}};
    char *end;
    *bytes = strtod(text, &end);
    while (*end == ' ')
        end++;
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0) {
            *bytes *= units[i].factor;
            return isfinite(*bytes);
        }
    return false;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;
    *seconds = strtod(text, &end);
    if (end != text && !*end)
        return isfinite(*seconds);
    bool negative = *text == '-';
    if (!parse_duration(text + negative, seconds))
        return false;
    *seconds = negative ? -*seconds : *seconds;
    return true;
}

/* The value of a word that is one of a list. */
static bool parse_named(const char *text, enum kind kind, double *number)
{
    if (kind == KIND_POISON) {
        *number = 0;
        if (!*text)
            return true;
        for (int class = POISON_D; class <= POISON_A; class ++)
            if (strlen(text) == 1 && (*text & ~0x20) == *job_poison_name((enum job_poison) class)) {
                *number = class;
                return true;
            }
        return false;
    }
    int most = kind == KIND_STATE ? (int)JOB_STATES : (int)JOB_FLAGS;
    for (int i = 0; i < most; i++)
        if (strcmp(text, kind == KIND_STATE ? job_state_name((enum job_state)i) : job_flag_name(i)) == 0) {
            *number = i;
            return true;
        }
    return false;
}

static const char *names_of(enum kind kind, char *buffer, size_t size)
{
    size_t used = 0;
    if (kind == KIND_POISON)
        return "A, B, C or D";
    int most = kind == KIND_STATE ? (int)JOB_STATES : (int)JOB_FLAGS;
    for (int i = 0; i < most && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? " " : "",
                                 kind == KIND_STATE ? job_state_name((enum job_state)i) : job_flag_name(i));
    return buffer;
}

static bool parse_value(struct word *word, const struct piece *piece, struct error *error)
{
    char why[300], names[200];
    switch (word->column->kind) {
    case KIND_TEXT:
    case KIND_ALL:
        if (word->compare == CONTAINS || word->compare == EQUAL || word->compare == UNEQUAL)
            return true;
        return refuse(error, piece->head, "texts are compared with : (contains) or = (is)");
    case KIND_NUMBER:
    case KIND_SIZE:
        if (parse_size(piece->value, &word->number))
            return true;
        return refuse(error, piece->head,
                      word->column->kind == KIND_SIZE ? "a size follows it, as in size>100kB"
                                                      : "a number follows it, as in retries>3");
    case KIND_SECONDS:
        if (parse_seconds(piece->value, &word->number))
            return true;
        return refuse(error, piece->head, "a time span follows it, as in age>1h or eta<10m");
    default:
        if (word->compare > EQUAL && word->compare != UNEQUAL)
            return refuse(error, piece->head, "it is compared with : only");
        if (parse_named(piece->value, word->column->kind, &word->number))
            return true;
        snprintf(why, sizeof why, "\"%.60s\" is none of: %s", piece->value,
                 names_of(word->column->kind, names, sizeof names));
        return refuse(error, piece->head, why);
    }
}

static enum compare compare_of(const struct word *word, const char *operator)
{
    if (!*operator|| * operator== ':')
        return word->column->kind == KIND_TEXT || word->column->kind == KIND_ALL ? CONTAINS : EQUAL;
    if (*operator== '=')
        return EQUAL;
    if (*operator== '<')
        return operator[1] ? LESS_OR_EQUAL : LESS;
    return operator[1] ? MORE_OR_EQUAL : MORE;
}

static bool parse_word(struct job_filter *filter, struct word *word, struct piece *piece, struct error *error)
{
    word->turned = piece->turned;
    size_t length = strlen(piece->head);
    if (*piece->operator&& length> 1 && piece->head[length - 1] == '!' && * piece->operator== '=') {
        piece->head[length - 1] = '\0'; /* tenant!=x */
        word->turned = !word->turned;
    }
    if (*piece->operator) {
        word->column = find_column(piece->head);
        if (!word->column)
            return refuse(error, piece->head, "there is no such word; a text with such a sign needs quotes");
    } else if (!piece->quoted && strcmp(piece->head, "poison") == 0) {
        word->column = find_column("poison");
        piece->value = piece->head + length;
    } else {
        word->column = find_column("text");
        piece->value = piece->head;
    }
    word->compare = compare_of(word, piece->operator);
    word->text = piece->value;
    if (word->column->kind == KIND_TEXT || word->column->kind == KIND_ALL)
        word->needle = needle_new(filter->words, piece->value, strlen(piece->value));
    return parse_value(word, piece, error);
}

struct job_filter *job_filter_parse(const void *context, const char *text, struct error *error)
{
    struct job_filter *filter = talloc_zero(context, struct job_filter);
    if (!filter)
        abort();
    struct error mistake = {.kind = ERROR_NONE};
    struct piece piece;
    const char *at = text;
    filter->text = talloc_strdup(filter, text);
    filter->words = talloc_array(filter, struct word, 0);
    while (next_piece(filter, &at, &piece, &mistake)) {
        filter->words = talloc_realloc(filter, filter->words, struct word, filter->count + 1);
        if (!filter->words)
            abort();
        struct word *word = &filter->words[filter->count++];
        *word = (struct word){0};
        if (!parse_word(filter, word, &piece, &mistake))
            break;
        filter->needs_body = filter->needs_body || word->column->kind == KIND_ALL;
        filter->needs_parse =
            filter->needs_parse || (word->column->kind != KIND_TEXT && word->column->kind != KIND_STATE);
    }
    if (mistake.kind == ERROR_NONE)
        return filter;
    *error = mistake;
    talloc_free(filter);
    return NULL;
}

const char *job_filter_text(const struct job_filter *filter)
{
    return filter->text;
}

bool job_filter_is_all(const struct job_filter *filter)
{
    return filter->count == 0;
}

bool job_filter_needs_body(const struct job_filter *filter)
{
    return filter->needs_body;
}

bool job_filter_needs_parse(const struct job_filter *filter)
{
    return filter->needs_parse;
}

static const char *exactly(const struct job_filter *filter, size_t at)
{
    for (size_t i = 0; i < filter->count; i++) {
        const struct word *word = &filter->words[i];
        if (word->column->kind == KIND_TEXT && word->column->at == at && word->compare == EQUAL &&
            !word->turned && *word->text)
            return word->text;
    }
    return NULL;
}

const char *job_filter_tenant(const struct job_filter *filter)
{
    return exactly(filter, offsetof(struct job, tenant));
}

const char *job_filter_id(const struct job_filter *filter)
{
    return exactly(filter, offsetof(struct job, id));
}

/* ---- matching ---- */

/* Is there a member of that name (with its quotes) whose value is a text that is not empty? */
static bool has_text(const char *raw, size_t length, const char *name)
{
    const char *end = raw + length, *at = raw;
    while ((at = memmem(at, (size_t)(end - at), name, strlen(name)))) {
        const char *value = at + strlen(name);
        bool within = at > raw && at[-1] == '\\'; /* of another text */
        while (value < end && (*value == ' ' || *value == ':'))
            value++;
        if (!within && end - value >= 2 && value[0] == '"' && value[1] != '"')
            return true;
        at++;
    }
    return false;
}

bool job_filter_may_match(const struct job_filter *filter, const char *raw, size_t length)
{
    for (size_t i = 0; i < filter->count; i++) {
        const struct word *word = &filter->words[i];
        if (word->turned || word->column->kind != KIND_TEXT || !*word->text)
            continue;
        size_t at = word->column->at;
        bool tenant = at == offsetof(struct job, tenant);
        if (!tenant && at != offsetof(struct job, task) && at != offsetof(struct job, id))
            continue; /* may come from elsewhere */
        if (needle_found(word->needle, raw, length, true))
            continue;
        /* Without such a header it may stand in the body, which is base64. */
        if (has_text(raw, length, tenant ? "\"_schema_name\"" : "\"task\""))
            return false;
    }
    return true;
}

static bool text_matches(const struct word *word, const char *text)
{
    if (!text)
        return false;
    return word->compare == EQUAL ? strcmp(text, word->text) == 0
                                  : needle_found(word->needle, text, strlen(text), false);
}

static bool all_matches(const struct word *word, const struct job *job, const char *body, size_t body_length)
{
    const char *const texts[] = {job->id,     job->task,      job->tenant,  job->arguments,
                                 job->queue,  job->exception, job->message, job->frame,
                                 job->worker, job->origin,    job->group,   job->root};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (text_matches(word, texts[i]))
            return true;
    return word->compare == CONTAINS && body && needle_found(word->needle, body, body_length, true);
}

/* What a comparison compares; NAN: unknown. */
static double number_of(const struct word *word, const struct job *job, double now)
{
    const char *field = (const char *)job + word->column->at;
    double time;
    switch (word->column->kind) {
    case KIND_NUMBER:
        return *(const int *)(const void *)field < 0 ? NAN : *(const int *)(const void *)field;
    case KIND_SIZE:
        return job->size < 0 ? NAN : (double)job->size;
    default:
        time = *(const double *)(const void *)field;
        if (!(time > 0))
            return NAN;
        /* Ahead for what is to come, ago for what was. */
        return word->column->at == offsetof(struct job, eta) ||
                       word->column->at == offsetof(struct job, expires)
                   ? time - now
                   : now - time;
    }
}

static bool compares(enum compare compare, double value, double to)
{
    switch (compare) {
    case LESS:
        return value < to;
    case LESS_OR_EQUAL:
        return value <= to;
    case MORE:
        return value > to;
    case MORE_OR_EQUAL:
        return value >= to;
    default:
        return value == to;
    }
}

static bool word_matches(const struct word *word, const struct job *job, const char *body, size_t body_length,
                         double now)
{
    const char *text;
    double value;
    switch (word->column->kind) {
    case KIND_TEXT:
        text = *(const char *const *)(const void *)((const char *)job + word->column->at);
        if (!*word->text) /* "tenant=": has none */
            return (!text && (word->column->at != offsetof(struct job, tenant) || job->tenant_known)) !=
                   word->turned;
        if (word->column->at == offsetof(struct job, exception) && text_matches(word, job->message))
            return !word->turned;
        return text_matches(word, text) != word->turned;
    case KIND_ALL:
        return all_matches(word, job, body, body_length) != word->turned;
    case KIND_STATE:
        return (job->state == (enum job_state)word->number) != word->turned;
    case KIND_FLAG:
        return ((job->flags >> (int)word->number & 1) != 0) != word->turned;
    case KIND_POISON:
        return (word->number > 0 ? job->poison == (enum job_poison)word->number
                                 : job->poison != POISON_NONE) != word->turned;
    default:
        value = number_of(word, job, now);
        return !isnan(value) && compares(word->compare, value, word->number) != word->turned;
    }
}

bool job_filter_matches(const struct job_filter *filter, const struct job *job, const char *body,
                        size_t body_length, double now)
{
    for (size_t i = 0; i < filter->count; i++)
        if (!word_matches(&filter->words[i], job, body, body_length, now))
            return false;
    return true;
}
