/* JSON for output: json-c's objects, with strings that are exact for a parser and harmless on a terminal. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include <json-c/json.h>
#include <stdint.h>

/* A string whose dangerous characters (C0, C1, DEL, bidi and zero-width controls) are written as \uXXXX and
 * whose invalid bytes are written as the visible text \xNN. NULL gives NULL, which json-c prints as null. */
struct json_object *json_text(const char *text);
/* A number; NaN and infinities give NULL, printed as null. At most 3 decimals. */
struct json_object *json_real(double real);
/* A time in seconds since the epoch as RFC 3339 in UTC; 0 gives NULL. */
struct json_object *json_time(double wall);

#endif
