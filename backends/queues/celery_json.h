/*
 * JSON as Python's json.loads reads it, in place: values are told by their span, nothing is copied. As
 * Python, it takes NaN and Infinity, and refuses control characters in strings, integers of more than 4300
 * digits, and what is nested deeper than its interpreter can go. Bytes that are not UTF-8 are let through
 * within strings.
 */
#ifndef BACKENDS_QUEUES_CELERY_JSON_H
#define BACKENDS_QUEUES_CELERY_JSON_H

#include "backends/queues/celery_envelope.h"

/* Python's recursion limit is 1000, and a worker stands some frames deep when it reads. */
enum { CELERY_JSON_DEPTH = 900, CELERY_JSON_DIGITS = 4300 };

struct json_cursor {
    const char *at, *end;
};

void json_space(struct json_cursor *cursor);
/* The value that begins at the cursor, which is then behind it. False: it is not JSON. */
bool json_value(struct json_cursor *cursor, struct span *value);
/* The string that begins at the cursor's quote. */
bool json_string(struct json_cursor *cursor, struct span *text);
/* The next member of an object or array, or its end. `*state` is 0 in front of the bracket. */
enum json_next { JSON_MEMBER, JSON_END, JSON_BAD };
enum json_next json_key(struct json_cursor *cursor, int *state, struct span *key);
enum json_next json_element(struct json_cursor *cursor, int *state);
/* Nothing but white space is left. */
bool json_at_end(struct json_cursor *cursor);

/* A cursor over the text of a value that was read before (an array or object). */
struct json_cursor json_within(struct span value);
/* Escapes undone, into `out`, which holds at least `length` bytes; how many were written. Lone surrogates
 * become U+FFFD, and *lone is set then (may be NULL). */
size_t json_unescape(const char *text, size_t length, char *out, bool *lone);
/* Is the string `text`, escapes undone? */
bool json_is(struct span string, const char *text);
/* What Python's bool() says of it; an absent one is false. */
bool json_true(struct span value);
/* Of the member `name`, the last one when there are several; absent when there is none. */
struct span json_find(struct span object, const char *name);
/* How many members it has, of an array. */
size_t json_count(struct span array);

#endif
