/* Which logs there are on a host, and the command that reads one there. */
#ifndef BACKENDS_HOSTS_LOG_SOURCE_H
#define BACKENDS_HOSTS_LOG_SOURCE_H

#include "backends/environment.h"
#include "backends/hosts/host.h"
#include "backends/hosts/log.h"

enum log_source_kind { LOG_SOURCE_FILES, LOG_SOURCE_JOURNAL, LOG_SOURCE_CONTAINER };

struct log_source {
    const char *name; /* "nginx-access" */
    enum log_source_kind kind;
    const char *path; /* of files; may hold * and ? */
    const char *unit; /* of the journal; NULL: all of it */
    const char *container;
    enum log_format format;
};

/* The logs of a host of that group (may be NULL): those of the environment's file, or the usual places when
 * it names none; and the containers that its snapshot (may be NULL) knows. Allocated under context. */
struct log_source *log_sources(const void *context, const struct environment *environment, const char *group,
                               const struct host_snapshot *snapshot, size_t *count);

struct log_request {
    size_t lines;       /* at most so many of what is there already */
    bool newest;        /* of more lines than `lines` in a span of time the newest; else the oldest */
    bool follow;        /* and go on until our end is closed */
    const char *filter; /* only lines that may hold this text; the console looks again. NULL: all */
    double from, to;    /* only what is of this time, NAN: no bound; not with follow */
};

enum {
    LOG_SEARCH_BYTES = 50 << 20, /* how far back a file is searched for a time */
    LOG_SEARCH_MINUTES = 60,     /* longer spans are not searched for on the host */
};

/*
 * The command, for any login shell. Its first line is LOG_HEADER, the host's clock and zone. What goes wrong
 * is said on standard error, in lines that begin with "@@": denied GROUP USER FILE, missing FILE, exit
 * STATUS. With `follow` it ends, all of it, as soon as its standard input does. Fresh talloc string.
 */
#define LOG_HEADER "@@log "
char *log_source_command(const void *context, const struct log_source *source,
                         const struct log_request *request);

/* What can be looked for on the host so that every line that holds `filter` is found: a part of it, without
 * what programs escape and what has a case outside of ASCII. "" when there is none. Fresh talloc string. */
char *log_source_needle(const void *context, const struct log_source *source, const char *filter);

#endif
