/*
 * Errors as values: what went wrong, where, why, and what to do about it.
 * A function that can fail takes a `struct error *` as its last parameter and returns false (or NULL); the
 * error is filled only on failure. Nobody but main.c ends the program.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum error_kind {
    ERROR_NONE,
    ERROR_USAGE,       /* the command line or an argument is wrong */
    ERROR_CONFIG,      /* a file of ours is wrong: where holds file:line:column */
    ERROR_NAME,        /* a host name was not found */
    ERROR_REFUSED,     /* nobody listens, or the server refuses connections (pg_hba, too many clients) */
    ERROR_AUTH,        /* wrong password, missing role */
    ERROR_TLS,         /* TLS is demanded or failed */
    ERROR_SLOTS,       /* the server has no connection slot left */
    ERROR_DENIED,      /* permission denied on an object */
    ERROR_TIMEOUT,     /* no answer within the deadline */
    ERROR_LOST,        /* the connection broke */
    ERROR_CANCELLED,   /* cancelled by the user */
    ERROR_UNSUPPORTED, /* the server's version or a missing extension does not allow it */
    ERROR_INTERLOCK,   /* refused by this console on purpose */
    ERROR_GONE,        /* the target is no longer the thing that was selected */
    ERROR_MISSING,     /* a relation, schema or function does not exist on the server */
    ERROR_SERVER,      /* the server answered with another error */
    ERROR_SYSTEM,      /* a system call failed */
};

/* All texts are plain UTF-8 made safe for showing (core/text.h) by error_set. Empty means "not known". */
struct error {
    enum error_kind kind;
    char where[160]; /* "production: db1:5432", "keys.keymap:12" */
    char what[192];  /* "cannot read pg_stats" */
    char why[512];   /* "permission denied" */
    char todo[320];  /* "As its owner: GRANT ..." */
};

void error_clear(struct error *error);

/* Fills an error. `where`, `what` and `todo` may be NULL. A NULL error is allowed and ignored. Always returns
 * false, so that a function can `return error_set(...)`. */
bool error_set(struct error *error, enum error_kind kind, const char *where, const char *what,
               const char *todo, const char *why_format, ...) __attribute__((format(printf, 6, 7)));

/* "where: what: why. todo" with the empty parts left out. Returns the length as snprintf does. */
size_t error_format(const struct error *error, char *buffer, size_t size);

/* The stable word for a kind ("timeout"), as used in JSON. Never NULL. */
const char *error_kind_name(enum error_kind kind);

#endif
