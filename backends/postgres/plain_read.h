/*
 * Is a statement a plain read: one SELECT without INTO, row locks or statements that write at any depth,
 * whose functions (through operators, casts, aggregates, views, policies and domains too) are all
 * non-volatile or known to be harmless? The grammar answers the first half here, the server's own catalogue
 * the second.
 */
#ifndef BACKENDS_POSTGRES_PLAIN_READ_H
#define BACKENDS_POSTGRES_PLAIN_READ_H

#include "backends/postgres/connection.h"
#include "core/error.h"

enum plain_name_kind {
    PLAIN_FUNCTION,
    PLAIN_OPERATOR,
    PLAIN_TYPE,
    PLAIN_RELATION,
    PLAIN_MEMBER, /* the last name of a.b: may be a function of a's row */
};
enum { PLAIN_CTES = 1 << 8 };
struct plain_name {
    enum plain_name_kind kind;
    const char *schema; /* NULL: found along search_path */
    const char *name;
    const char *alias; /* of relations; the name itself when there is none */
};

/* Where a parameter stands, as far as a value can be proposed for it. */
enum plain_place_kind { PLAIN_EQUAL, PLAIN_ANY, PLAIN_RANGE, PLAIN_LIMIT, PLAIN_OFFSET };
struct plain_place {
    enum plain_place_kind kind;
    int parameter;         /* from 1 */
    const char *qualifier; /* alias or relation of the column, or NULL */
    const char *column;    /* NULL for LIMIT and OFFSET */
};

struct plain_statement {
    const char *sql;      /* as given, but `interval $1`, which no server takes, is `$1::interval` */
    bool rewritten;       /* it is */
    bool parsed;          /* by the grammar of PostgreSQL 15 */
    bool explainable;     /* one SELECT, INSERT, UPDATE, DELETE, MERGE; also when it could not be parsed */
    struct error refusal; /* why it is no plain read as far as the grammar knows; ERROR_NONE: nothing found */
    int parameters;       /* the highest $n */
    const struct plain_name *names;
    size_t name_count;
    const struct plain_place *places;
    size_t place_count;
    const char *const *ctes; /* names of common table expressions, at any depth */
    size_t cte_count;
};

/* Never NULL; everything lies under it, owned by `context`. */
struct plain_statement *plain_statement_read(const void *context, const char *sql);

/* The question to the server's catalogue. Its one parameter is plain_statement_names; it is to be asked with
 * the search_path of the statement, in the transaction that runs it. */
extern const char plain_read_sql[];
/* Names of these kinds (bits 1 << enum plain_name_kind, and PLAIN_CTES) as a JSON array of objects kind,
 * schema, name, alias.
 */
char *plain_statement_names(const void *context, const struct plain_statement *statement, unsigned kinds);
/* The answer: true for a plain read, else the refusal. */
bool plain_read_verdict(const struct pg_rows *rows, struct error *refusal);

#endif
