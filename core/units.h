/* Numbers as people read them, and back. Screen texts only: JSON always carries the exact value. */
#ifndef CORE_UNITS_H
#define CORE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All format functions write a NUL-terminated text of at most `size` bytes and return buffer. */

/* Milliseconds: "0", "0.04 ms", "3.2 ms", "1,187 ms", "12.4 s", "4 m 12 s", "3 h 05 m", "2 d 4 h". */
char *format_ms(char *buffer, size_t size, double ms);
/* Seconds, as ages: "0.4 s", "41 s", "4 m 12 s", "3 h 05 m", "2 d 4 h". */
char *format_s(char *buffer, size_t size, double seconds);
/* Bytes in powers of 1024: "0", "312 B", "52 kB", "2.1 MB", "41 GB". */
char *format_bytes(char *buffer, size_t size, double bytes);
/* Counts: exact with thousands separators up to 99,999, then "184k", "3.1M", "310M", "2.4G". */
char *format_count(char *buffer, size_t size, double count);
/* Percent: "0 %", "0.4 %", "12 %", "99.8 %". */
char *format_percent(char *buffer, size_t size, double percent);
/* Rates per second: "0", "0.31", "9.1k". */
char *format_rate(char *buffer, size_t size, double per_second);

/* "300ms", "30 min", "24h", "30d", "1h30m", "2.5s" (also sec, second(s), minute(s), hour(s), day(s), week(s))
 * into seconds; false when it is not a duration. */
bool parse_duration(const char *text, double *seconds);

#endif
