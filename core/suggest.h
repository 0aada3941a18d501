/* "Did you mean": the known word that is nearest to a mistyped one. */
#ifndef CORE_SUGGEST_H
#define CORE_SUGGEST_H

#include <stddef.h>

/* The word with the fewest letters to change, drop, add or swap (case does not count), when they are few
 * enough to be a slip (one third of the letters, at most 3); else NULL. Words that are NULL are passed over.
 */
const char *suggest_word(const char *typed, const char *const words[], size_t count);

#endif
