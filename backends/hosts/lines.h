/*
 * Reading what a host printed: spans of a text that is not NUL-terminated and not to be trusted. Lines in any
 * order, unknown ones, NULs, numbers that are none: nothing here fails loudly, the figure stays unknown.
 */
#ifndef BACKENDS_HOSTS_LINES_H
#define BACKENDS_HOSTS_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const char *at;
    size_t length;
};

struct span span_of(const char *text);
/* Takes the next line (without its end) off `rest`; false at the end. */
bool span_line(struct span *rest, struct span *line);
/* Takes the next word (between blanks) off `rest`; false when there is none. */
bool span_word(struct span *rest, struct span *word);
/* Takes `skip` words off and then the next one. */
bool span_word_after(struct span *rest, int skip, struct span *word);
/* Takes what stands before `separator` off `rest`, which then begins behind it; all of it when there is none.
 */
struct span span_until(struct span *rest, char separator);
struct span span_trim(struct span span);
bool span_is(struct span span, const char *text);
bool span_starts(struct span span, const char *prefix);
bool span_ends(struct span span, const char *suffix);
/* Takes the prefix off; false (and nothing is changed) when it is not there. */
bool span_skip(struct span *span, const char *prefix);
/* Where `needle` begins, or span.length. */
size_t span_find(struct span span, const char *needle);

/* A counter: decimal digits only, at most 2^63. */
bool span_counter(struct span span, uint64_t *value);
/* The same, at most `most`. */
bool span_integer(struct span span, int most, int *value);
/* Digits with at most one point, below 1e18; a sign only when `sign`. */
bool span_real(struct span span, bool sign, double *value);
/* The next word as a counter. */
bool span_next_counter(struct span *rest, uint64_t *value);

/* How many bytes of it are at most `most` and no part of a character. */
size_t span_fit(struct span span, size_t most);
/* Its first `length` bytes as a string, NULs made visible as '?'. */
void span_write(char *to, struct span span, size_t length);
/* A copy of at most `most` bytes, NULs made visible as '?'. Never NULL. */
char *span_copy(const void *context, struct span span, size_t most);

/* "2026-11-21T11:36:40.18Z" (UTC), "Sat 2026-11-21 11:36:40 UTC", "@1795261000" or "1795261000.5": seconds
 * since the epoch; NAN when it is nothing of these, or before 1970. */
double span_time(struct span span);

/* Grows a talloc'd array by one zeroed element and returns it; NULL at `most` elements. */
void *array_add(const void *context, void *array_pointer, size_t *count, size_t size, size_t most);
#define ARRAY_ADD(context, array, count, most) array_add(context, &(array), &(count), sizeof *(array), most)

#endif
