/* What the parsers of logs share. Only backends/hosts/log_*.c include it. */
#ifndef BACKENDS_HOSTS_LOG_INTERNAL_H
#define BACKENDS_HOSTS_LOG_INTERNAL_H

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "backends/hosts/log.h"

/* ---- log_time.c: each returns the bytes that the time takes, 0 when there is none ---- */

/* "2026-11-21T14:05:10.204+00:00": T or blank, fraction after . or , of any length, zone Z, UTC, GMT, +hh,
 * +hhmm, +hh:mm, with or without a blank before it. `zoned` (may be NULL): it said its zone. */
size_t log_time_iso(const char *text, size_t length, int zone_s, double *time, bool *zoned);
/* "2026/11/21 14:05:10" */
size_t log_time_slashes(const char *text, size_t length, int zone_s, double *time);
/* "21/Nov/2026:14:05:10 +0000" */
size_t log_time_common(const char *text, size_t length, double *time);
/* "21 Nov 2026 14:05:10.204" */
size_t log_time_words(const char *text, size_t length, int zone_s, double *time);
/* "Nov 21 14:05:10": the year is that which brings it nearest to now. */
size_t log_time_syslog(const char *text, size_t length, int zone_s, double now, double *time);
/* "1795261000.123": 10 digits, or 13, 16, 19 of milli-, micro- and nanoseconds. */
size_t log_time_epoch(const char *text, size_t length, double *time);
/* "+0330" as seconds east; false when it is none. */
bool log_zone(const char *text, size_t length, int *zone_s);

/* ---- log_access.c, log_json.c: false when the line has another shape ---- */

bool log_parse_access(struct log_parser *parser, const char *line, size_t length, struct log_line *out);
bool log_parse_json(struct log_parser *parser, const char *line, size_t length, struct log_line *out);
/* Splits "GET /path HTTP/1.1". False when it is no request. */
bool log_access_request(struct log_line *out, struct log_text request);
/* Status and what follows from it. */
void log_access_finish(struct log_line *out, int status);
/* "0.012" or "0.012, 0.300 : 0.001": the sum; NAN for "-" and what is no number. */
double log_access_seconds(struct log_text text);
/* Without the port. */
struct log_text log_access_host(struct log_text text);
bool log_looks_like_host(struct log_text text);

/* ---- log_parse.c ---- */

/* What a message that was taken out of another format says by itself: a request, a level. */
void log_parse_inner(struct log_parser *parser, struct log_line *out);

static inline struct log_text log_slice(const char *bytes, size_t length)
{
    return (struct log_text){.bytes = bytes, .length = length};
}

static inline bool log_is(struct log_text text, const char *word)
{
    return text.length == strlen(word) && strncasecmp(text.bytes, word, text.length) == 0;
}

static inline bool log_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool log_is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

#endif
