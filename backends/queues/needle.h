/* A text to look for in bytes, in every letter case, and as JSON escapes it: \u0645 is م, \ud83d\ude00 is 😀.
 */
#ifndef BACKENDS_QUEUES_NEEDLE_H
#define BACKENDS_QUEUES_NEEDLE_H

#include <stdbool.h>
#include <stddef.h>

struct needle;

/* A talloc chunk under context. */
struct needle *needle_new(const void *context, const char *text, size_t length);
/* Is it somewhere in these bytes? `escaped`: they are JSON, so that a backslash begins an escape. An empty
 * needle is everywhere. */
bool needle_found(const struct needle *needle, const char *bytes, size_t length, bool escaped);

#endif
