#include "core/suggest.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 40 };

/* Optimal string alignment distance of two texts of at most LONGEST bytes. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][LONGEST + 1];
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            size_t best = before[j - 1] + (x != y);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *suggest_word(const char *typed, const char *const words[], size_t count)
{
    size_t length = strlen(typed);
    if (!length || length > LONGEST)
        return NULL;
    size_t limit = (length + 2) / 3;
    size_t best = (limit < 3 ? limit : 3) + 1;
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t other = words[i] ? strlen(words[i]) : 0;
        if (!other || other > LONGEST)
            continue;
        size_t far = distance(typed, length, words[i], other);
        if (far < best) {
            best = far;
            found = words[i];
        }
    }
    return found;
}
