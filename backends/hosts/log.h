/*
 * Lines of logs: what each one says, whichever program wrote it. Formats are told by the shape of the line;
 * what a source is said to be is only tried first, for nginx writes both kinds, and a container anything.
 *
 * Lines are bytes from the world: NULs, invalid UTF-8, no end. Nothing here copies or judges text; whoever
 * shows it passes it through safe_text.
 */
#ifndef BACKENDS_HOSTS_LOG_H
#define BACKENDS_HOSTS_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "core/value.h"

/* A line is cut here: what is behind it is lost, and `cut` says so. */
enum { LOG_LINE_MAX = 8192 };

enum log_format {
    LOG_FORMAT_AUTO, /* by the shape of each line */
    LOG_FORMAT_ACCESS,
    LOG_FORMAT_NGINX_ERROR,
    LOG_FORMAT_GUNICORN,
    LOG_FORMAT_CELERY,
    LOG_FORMAT_POSTGRES,
    LOG_FORMAT_REDIS,
    LOG_FORMAT_JSON, /* the journal's, nginx' escape=json, PostgreSQL's jsonlog, docker's files */
    LOG_FORMAT_JOURNAL_SHORT,
    LOG_FORMAT_SYSLOG,
    LOG_FORMAT_DOCKER,
    LOG_FORMAT_PLAIN,
};

enum log_level {
    LEVEL_UNKNOWN,
    LEVEL_DEBUG,
    LEVEL_INFO,
    LEVEL_NOTICE,
    LEVEL_WARNING,
    LEVEL_ERROR,
    LEVEL_CRITICAL,
};

/* Bytes of a line; not NUL-terminated. An empty one has length 0. */
struct log_text {
    const char *bytes;
    size_t length;
};

struct log_line {
    double time;          /* seconds since the epoch; NAN: the line has none */
    enum log_level level; /* of access lines: 5xx error, 4xx warning, else info */
    bool continued; /* belongs to the line before it (a traceback, a statement): has its time and level */
    struct log_text text; /* what it says, without the time in front */
    struct log_text who;  /* unit, process, logger, or empty */

    bool access; /* a request: these are filled as far as the format has them */
    struct log_text
        host; /* the Host header in whatever case it came, without a port; empty: not in the format */
    struct log_text method, path, client;
    int status;
    double bytes;         /* NAN: not in the format */
    double request_time;  /* seconds; NAN: not in the format */
    double upstream_time; /* seconds, summed over the tries; NAN: not in the format, or nobody was asked */
};

/* What is remembered from line to line of one source. Zeroed and set by log_parser_init. */
struct log_parser {
    enum log_format format;
    int zone_s; /* seconds east of UTC, for times that say no zone: the host's `date +%z` */
    double now; /* for times without a year; 0: the clock */
    /* internal */
    double last_time; /* NAN: no line had one yet */
    enum log_level last_level;
    char scratch[LOG_LINE_MAX];
};

void log_parser_init(struct log_parser *parser, enum log_format format);

/* Reads one line without its newline (at most LOG_LINE_MAX bytes are looked at). The texts point into `line`
 * or into the parser: they are valid until the next call. Never fails: a line of no known shape is plain. */
void log_parse(struct log_parser *parser, const char *line, size_t length, struct log_line *out);

/* A request in one line for people: "200   412 ms  al-noor.example  GET /api/invoice"; raw bytes, not yet
 * safe. Returns the length written (at most size - 1). */
size_t log_access_text(char *buffer, size_t size, const struct log_line *line);

/* The format of that name ("nginx", "gunicorn", "celery", "postgres", "redis", "journal", "docker", "json",
 * "plain"); AUTO for NULL and every other one. */
enum log_format log_format_find(const char *name);
/* "debug" to "critical"; "" for unknown. */
const char *log_level_name(enum log_level level);
/* What it is called in logs ("err", "WARNING", "fatal", "LOG"), in any case; UNKNOWN when it is none. */
enum log_level log_level_find(const char *word, size_t length);
enum severity log_level_severity(enum log_level level);

/*
 * Splits what comes in pieces into lines, cut at LOG_LINE_MAX. `line` gets each whole line without "\n" or
 * "\r\n".
 */
struct log_splitter {
    size_t length;
    bool cut;
    char line[LOG_LINE_MAX];
};
void log_split(struct log_splitter *splitter, const char *bytes, size_t length,
               void (*line)(void *data, const char *bytes, size_t length, bool cut), void *data);
/* The last line, which had no end. */
void log_split_end(struct log_splitter *splitter,
                   void (*line)(void *data, const char *bytes, size_t length, bool cut), void *data);

#endif
