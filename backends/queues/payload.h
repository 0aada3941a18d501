/*
 * What job systems write into their messages, read without trust and without running anything: JSON scanned
 * over its exact bytes, the shapes of arguments without their values, zlib and base64, the name in a Python
 * call, places in tracebacks.
 */
#ifndef BACKENDS_QUEUES_PAYLOAD_H
#define BACKENDS_QUEUES_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/environment.h"

/* Bytes of a JSON text; of a string: with its quotes. `at` NULL: absent. */
struct piece {
    const char *at;
    size_t length;
    enum {
        PIECE_ABSENT,
        PIECE_NULL,
        PIECE_BOOLEAN,
        PIECE_NUMBER,
        PIECE_STRING,
        PIECE_ARRAY,
        PIECE_OBJECT
    } kind;
};

/* The one value that a text is; ABSENT when it is not JSON. Nesting beyond 64 is not read. */
struct piece piece_of(const char *text, size_t length);
/* A member of an object (the last of that name, as parsers take it), or an element of an array. */
struct piece piece_member(struct piece object, const char *name);
struct piece piece_element(struct piece array, size_t index);
/* Walks over the members (name) or elements: *at begins as NULL. False at the end. */
bool piece_next(struct piece container, const char **at, struct piece *name, struct piece *value);
/* The text of a string with its escapes undone (lone surrogates and NUL become U+FFFD); the text of a number
 * or boolean as it stands; NULL for all else. Fresh talloc string. */
char *piece_text(const void *context, struct piece piece);
double piece_real(struct piece piece, double otherwise);
/* A count that somebody wrote, as an int: what is beyond a billion, or not a number, is cut. */
int payload_count(double number);
bool piece_is(struct piece piece, const char *text); /* a string that is exactly this, unescaped */
/* "(str, int), {school: str}": names and types, no values, at most 300 bytes. Fresh talloc string. */
char *piece_shape(const void *context, struct piece piece);
/* The text with the bytes of a piece replaced; nothing else is touched. Fresh talloc bytes, NUL behind. */
char *piece_replace(const void *context, const char *text, size_t length, struct piece piece, const char *by,
                    size_t *result);

enum { PAYLOAD_MOST = 4 << 20 };
/* zlib or gzip; NULL when it is neither. At most `most` bytes come out (a zip bomb is cut: *cut may be NULL).
 * Fresh talloc bytes, NUL behind. */
char *payload_inflate(const void *context, const char *bytes, size_t length, size_t most, size_t *result,
                      bool *cut);
/* Base64 with line ends in it, as Ruby and Python write it; NULL when it is none. */
char *payload_base64(const void *context, const char *text, size_t length, size_t *result);
/* UTF-8 that can be shown as a C string: stray bytes become U+FFFD, NUL too. */
char *payload_utf8(const void *context, const char *bytes, size_t length);

/* "reports.build('acme', 7)" -> "reports.build" and "(str, int)"; false when it does not look like a call. */
bool python_call(const void *context, const char *text, char **name, char **shape);
/* The argument at this position of such a call when it is a string; NULL else. */
char *python_argument(const void *context, const char *text, int position);
/* The value of a keyword argument when it is a string; NULL else. */
char *python_keyword(const void *context, const char *text, const char *keyword);
/* The first string of a pickled tuple: the function's name in RQ. Nothing is unpickled. NULL: not found. */
char *pickle_name(const void *context, const char *bytes, size_t length);
/* The string behind a string key of a pickled dictionary, by looking at the bytes. NULL: not found. */
char *pickle_string(const void *context, const char *bytes, size_t length, const char *key);
/* Of a Python traceback: its last line split at the colon, and the last place ("app/jobs.py:14 in build").
 * Each may be NULL. */
void python_traceback(const void *context, const char *text, char **exception, char **message, char **frame);

/* The tenant that an object of arguments names, by the settings' keyword, else the usual ones (_schema_name,
 * schema_name, tenant, schema). NULL: none. */
char *payload_tenant(const void *context, struct piece object, const struct environment_jobs *settings);
/* The tenant in a queue's name by the pattern of the settings; NULL: none. */
char *payload_queue_tenant(const void *context, const char *queue, const struct environment_jobs *settings);

#endif
