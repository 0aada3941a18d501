/* The text of INFO: lines of name:value under # headings. It may hold anything; lines are found, not trusted.
 */
#ifndef BACKENDS_REDIS_INFO_H
#define BACKENDS_REDIS_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value of a name, cut to the buffer. False (and "") when there is no such line. */
bool info_text(const char *info, size_t length, const char *name, char *buffer, size_t size);
/* The same as a number; `otherwise` when there is none. */
int64_t info_integer(const char *info, size_t length, const char *name, int64_t otherwise);
double info_real(const char *info, size_t length, const char *name, double otherwise);
/* A field of a value such as "keys=12,expires=3": 12 for "keys". */
int64_t info_field(const char *value, const char *name, int64_t otherwise);
/* The next line whose name begins with `prefix`, from *at on (0 at first): its name and value. False at the
 * end. */
bool info_next(const char *info, size_t length, size_t *at, const char *prefix, char *name, size_t name_size,
               char *value, size_t value_size);

#endif
