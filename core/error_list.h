/*
 * Several errors at once: files that people write are read to the end and everything that is wrong with them
 * is told together. A list is a talloc context; it keeps the first ERROR_LIST_MAX errors and counts the rest.
 */
#ifndef CORE_ERROR_LIST_H
#define CORE_ERROR_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum { ERROR_LIST_MAX = 100 };

struct error_list {
    struct error *items; /* in the order in which they were added */
    size_t count;        /* how many there are in items */
    size_t dropped;      /* how many more there were */
};

/* An empty list owned by `context`. */
struct error_list *error_list_new(const void *context);

/* Adds a copy. Always returns false, so that a function can `return error_list_add(...)`. */
bool error_list_add(struct error_list *list, const struct error *error);

/* Adds an error made as error_set makes it. Always returns false. A NULL list is allowed and ignored. */
bool error_list_set(struct error_list *list, enum error_kind kind, const char *where, const char *what,
                    const char *todo, const char *why_format, ...) __attribute__((format(printf, 6, 7)));

/* The same for what is wrong in a file: kind ERROR_CONFIG, where "file:line:column", both counted from 1; 0
 * leaves them out. A path that is too long loses its beginning, never the line. */
bool error_list_at(struct error_list *list, const char *path, int line, int column, const char *what,
                   const char *todo, const char *why_format, ...) __attribute__((format(printf, 7, 8)));

/* All of them, a line each, as error_format writes them, and "... and N more" when some were dropped. Fresh
 * talloc string owned by `context`; empty when there are none. */
char *error_list_text(const void *context, const struct error_list *list);

#endif
