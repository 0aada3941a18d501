/*
 * Values and columns. A column is data: from one table of them come the screen, sorting, filtering, --json,
 * --csv, --plain and the help. A row is a pointer to something in a snapshot that only the column's functions
 * understand.
 */
#ifndef CORE_VALUE_H
#define CORE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind {
    VALUE_BLANK,   /* not applicable: blank on the screen, null in JSON */
    VALUE_UNKNOWN, /* "?" and null */
    VALUE_NEVER,   /* "never" and null */
    VALUE_INTEGER,
    VALUE_REAL,
    VALUE_TEXT,
    VALUE_BOOLEAN,
    VALUE_INTEGERS, /* a short list, such as blocked_by: an array in JSON */
};

enum severity { SEVERITY_NONE, SEVERITY_DIM, SEVERITY_OK, SEVERITY_WARNING, SEVERITY_CRITICAL };

/* What a number means, which decides how the screen shows it. The JSON key's suffix says it too. */
enum unit {
    UNIT_NONE,
    UNIT_COUNT,
    UNIT_MS,
    UNIT_S,
    UNIT_BYTES,
    UNIT_BLOCKS, /* of 8 kB, as a count */
    UNIT_PERCENT,
    UNIT_PER_S,
    UNIT_ID,    /* an integer that is a name: no separators (pid, query id) */
    UNIT_SHARE, /* percent, drawn as a bar where there is room */
    UNIT_TIME,  /* seconds since the epoch */
};

struct value {
    enum value_kind kind;
    bool estimated;         /* shown with ≈ */
    bool at_least;          /* shown with ≥ */
    enum severity severity; /* WARNING and CRITICAL are shown with "!" as well as with colour */
    union {
        int64_t integer;
        double real;
        const char *text; /* borrowed from the row's snapshot; raw (not yet safe) UTF-8 or worse */
        bool boolean;
        struct {
            const int64_t *items; /* borrowed from the row's snapshot */
            size_t count;
        } integers;
    };
};

static inline struct value value_blank(void)
{
    return (struct value){.kind = VALUE_BLANK};
}
static inline struct value value_unknown(void)
{
    return (struct value){.kind = VALUE_UNKNOWN};
}
static inline struct value value_integer(int64_t integer)
{
    return (struct value){.kind = VALUE_INTEGER, .integer = integer};
}
static inline struct value value_real(double real)
{
    return (struct value){.kind = VALUE_REAL, .real = real};
}
/* A NULL text is blank. */
static inline struct value value_text(const char *text)
{
    return text ? (struct value){.kind = VALUE_TEXT, .text = text} : value_blank();
}
static inline struct value value_boolean(bool boolean)
{
    return (struct value){.kind = VALUE_BOOLEAN, .boolean = boolean};
}

enum column_flag {
    COLUMN_TREE = 1,       /* drawn with the tree's lines in front */
    COLUMN_HIDDEN = 2,     /* not on the screen unless asked for: batch output and filter only */
    COLUMN_SCREEN = 4,     /* on the screen only: not in batch output */
    COLUMN_STRING = 8,     /* an integer that JSON carries as a string (64-bit query ids) */
    COLUMN_STATEMENT = 16, /* SQL text: white space folded to one line */
};

struct column {
    const char *id;    /* stable name: the JSON key, the name in filters and sorts; suffix says the unit */
    const char *title; /* header on the screen */
    const char *help;  /* one line: what it is and where it comes from */
    enum unit unit;
    int width;    /* cells on the screen; 0: takes what is left (one column, the last) */
    int priority; /* 0 stays always; the highest numbers are dropped first when the screen is narrow */
    unsigned flags;
    struct value (*value)(const void *row);
    /* Why a server cannot give this column ("PostgreSQL 13 or newer"), or NULL. May be NULL when always
     * there. */
    const char *(*absent)(const void *context);
};

/* Orders two values: <0, 0, >0. Numbers by their exact value, texts without case and with runs of digits by
 * their number (tenant_9, tenant_10). "Never" is larger than every value, then come unknown (NaN too) and
 * blank (an empty list too): a caller that sorts downwards keeps unknowns and blanks last itself. */
int value_compare(struct value a, struct value b);

/* The value as the screen shows it, unit, ≈ and the ! of warnings included, made safe. A time of another day
 * is shown with its day ("20 Nov 14:05"), beyond half a year as a date. `column` may be NULL. Returns buffer.
 */
char *value_format(char *buffer, size_t size, const struct column *column, struct value value);

#endif
