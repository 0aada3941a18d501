/* The filter: `text`, `column:text`, `column>number` and so on; see table.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "core/text.h"
#include "core/units.h"
#include "tui/table_internal.h"

bool table_right_aligned(const struct column *column)
{
    return column->unit != UNIT_NONE && !(column->flags & COLUMN_TREE);
}

/* ---- reading ---- */

static bool name_is(const char *name, const char *typed, size_t length)
{
    return strncasecmp(name, typed, length) == 0 && name[length] == '\0';
}

int table_column_named(const struct table *table, const char *name, size_t length)
{
    for (size_t i = 0; length && i < table->column_count; i++)
        if (name_is(table->columns[i].id, name, length) || name_is(table->columns[i].title, name, length))
            return (int)i;
    /* mean for mean_ms: the unit's suffix may be left out */
    for (size_t i = 0; length && i < table->column_count; i++) {
        const char *id = table->columns[i].id, *suffix = strrchr(id, '_');
        if (suffix && (size_t)(suffix - id) == length && strncasecmp(id, name, length) == 0)
            return (int)i;
    }
    return -1;
}

/* Powers of a thousand, or of 1024 for bytes; 0 for anything else. */
static double magnitude(const char *suffix, enum unit unit)
{
    double base = unit == UNIT_BYTES ? 1024 : 1000;
    char letter = (char)tolower((unsigned char)suffix[0]);
    bool rest = !suffix[0] || !suffix[1] || (unit == UNIT_BYTES && strcasecmp(suffix + 1, "b") == 0);
    if (!suffix[0] || (unit == UNIT_BYTES && strcasecmp(suffix, "b") == 0))
        return 1;
    if (!rest)
        return 0;
    switch (letter) {
    case 'k':
        return base;
    case 'm':
        return base * base;
    case 'g':
        return base * base * base;
    case 't':
        return base * base * base * base;
    default:
        return 0;
    }
}

/* A number as people write it, in the column's unit. */
static bool read_number(const char *text, enum unit unit, double *number)
{
    char plain[64], *end;
    size_t used = 0;
    for (const char *c = text; *c && used + 1 < sizeof plain; c++)
        if (*c != ',' && *c != ' ')
            plain[used++] = *c;
    plain[used] = '\0';
    *number = strtod(plain, &end);
    if (end == plain || *number != *number)
        return false;
    if (!*end)
        return true;
    double seconds;
    switch (unit) {
    case UNIT_MS:
    case UNIT_S:
    case UNIT_TIME:
        if (!parse_duration(plain, &seconds))
            return false;
        *number = unit == UNIT_MS ? seconds * 1000 : seconds;
        return true;
    case UNIT_PERCENT:
    case UNIT_SHARE:
        return strcmp(end, "%") == 0;
    default:
        *number *= magnitude(end, unit);
        return magnitude(end, unit) > 0;
    }
}

static bool says_unknown_column(const struct table *table, const char *name, size_t length,
                                struct error *error)
{
    char columns[400] = "";
    size_t used = 0;
    for (size_t i = 0; i < table->column_count && used < sizeof columns; i++)
        if (!(table->columns[i].flags & COLUMN_SCREEN))
            used += (size_t)snprintf(columns + used, sizeof columns - used, "%s%s", used ? ", " : "",
                                     table->columns[i].id);
    return error_set(error, ERROR_USAGE, NULL, "filter", "Taken as text",
                     "there is no column %.*s; there are %s", (int)length, name, columns);
}

/* The first operator in the word, outside of what names cannot hold. */
static const char *find_operator(const char *word, enum filter_operator *operator, size_t * length)
{
    size_t name = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./ -");
    const char *at = word + name;
    *length = 1;
    if (!name)
        return NULL;
    if (*at == ':')
        *operator= FILTER_TEXT;
    else if (*at == '=')
        *operator= FILTER_EQUAL;
    else if (*at == '>' || *at == '<') {
        bool equal = at[1] == '=';
        *length = equal ? 2 : 1;
        *operator= * at == '>' ? (equal ? FILTER_AT_LEAST : FILTER_GREATER)
                               : (equal ? FILTER_AT_MOST : FILTER_LESS);
    } else
        return NULL;
    return at;
}

/* `word` lives as long as the filter. False: it says nothing yet (it is being typed). */
static bool read_term(const struct table *table, char *word, struct filter_term *term, bool *good,
                      struct error *error)
{
    *term = (struct filter_term){.column = -1, .operator= FILTER_TEXT };
    if (word[0] == '!') {
        term->negate = true;
        word++;
    }
    size_t length;
    enum filter_operator operator;
    const char *at = find_operator(word, &operator, & length);
    term->text = word;
    if (!at)
        return *word != '\0';
    int column = table_column_named(table, word, (size_t)(at - word));
    if (column < 0) {
        *good = says_unknown_column(table, word, (size_t)(at - word), error);
        return true;
    }
    const char *value = at + length;
    if (!*value)
        return false;
    if (operator>= FILTER_GREATER && !read_number(value, table->columns[column].unit, &term->number)) {
        *good = error_set(error, ERROR_USAGE, NULL, "filter", "Taken as text",
                          "%s is no number for the column %s", value, table->columns[column].id);
        return true;
    }
    term->column = column;
    term->operator= operator;
    term->text = value;
    return true;
}

/* Cuts the next word off, with its quotes taken away; NULL at the end. */
static char *next_word(char **text)
{
    char *from = *text + strspn(*text, " \t"), *to = from, *word = from;
    bool quoted = false;
    if (!*from)
        return NULL;
    for (; *from && (quoted || (*from != ' ' && *from != '\t')); from++) {
        if (*from == '"')
            quoted = !quoted;
        else
            *to++ = *from;
    }
    *text = *from ? from + 1 : from;
    *to = '\0';
    return word;
}

struct filter *table_filter_parse(const void *context, const struct table *table, const char *text,
                                  bool *good, struct error *error)
{
    struct filter *filter = talloc_zero(context, struct filter);
    char *copy = filter ? talloc_strdup(filter, text) : NULL, *word;
    if (!copy)
        abort();
    /* A word and a blank take two characters. */
    filter->terms = talloc_zero_array(filter, struct filter_term, strlen(text) / 2 + 1);
    if (!filter->terms)
        abort();
    while ((word = next_word(&copy)))
        if (read_term(table, word, &filter->terms[filter->count], good, error))
            filter->count++;
    if (!filter->count) {
        talloc_free(filter);
        return NULL;
    }
    return filter;
}

/* ---- matching ---- */

static bool is_number(struct value value)
{
    return value.kind == VALUE_INTEGER || value.kind == VALUE_REAL;
}

static bool shows(const struct column *column, const void *row, const char *text, bool whole)
{
    char shown[256];
    struct value value = column->value(row);
    const char *is = shown;
    if (value.kind == VALUE_BLANK)
        return false;
    if (value.kind == VALUE_TEXT) /* statements are long: they are searched where they are */
        is = value.text;
    else {
        value.severity = SEVERITY_NONE;
        value_format(shown, sizeof shown, column, value);
    }
    return whole ? strcasecmp(is, text) == 0 : text_contains(is, text);
}

/* Texts with letters that no number has on the screen need not be looked for in numbers. */
static bool could_be_number(const char *text)
{
    return strspn(text, "0123456789.,%? +-kKMGTBmshd≈≥") == strlen(text) || strcasecmp(text, "never") == 0 ||
           text_contains("yes no", text);
}

static bool any_shows(const struct table *table, const void *row, const char *text)
{
    bool number = could_be_number(text);
    for (size_t c = 0; c < table->column_count; c++) {
        const struct column *column = &table->columns[c];
        if (table->shown[c] && (number || column->unit == UNIT_NONE) && shows(column, row, text, false))
            return true;
    }
    return false;
}

static bool compares(enum filter_operator operator, double value, double number)
{
    switch (operator) {
    case FILTER_GREATER:
        return value > number;
    case FILTER_LESS:
        return value < number;
    case FILTER_AT_LEAST:
        return value >= number;
    case FILTER_AT_MOST:
        return value <= number;
    case FILTER_TEXT:
    case FILTER_EQUAL:
        break;
    }
    return false;
}

static bool term_matches(const struct filter_term *term, const struct table *table, const void *row)
{
    if (term->column < 0)
        return any_shows(table, row, term->text);
    const struct column *column = &table->columns[term->column];
    if (term->operator== FILTER_TEXT || term->operator== FILTER_EQUAL) {
        double number;
        struct value exact = term->operator== FILTER_EQUAL ? column->value(row) : value_blank();
        if (is_number(exact) && read_number(term->text, column->unit, &number))
            return (exact.kind == VALUE_INTEGER ? (double)exact.integer : exact.real) == number ||
                   shows(column, row, term->text, true);
        return shows(column, row, term->text, term->operator== FILTER_EQUAL);
    }
    struct value value = column->value(row);
    return is_number(value) &&
           compares(term->operator, value.kind == VALUE_INTEGER ? (double)value.integer : value.real,
                    term->number);
}

bool table_filter_matches(const struct filter *filter, const struct table *table, const void *row)
{
    for (size_t i = 0; i < filter->count; i++)
        if (term_matches(&filter->terms[i], table, row) == filter->terms[i].negate)
            return false;
    return true;
}
