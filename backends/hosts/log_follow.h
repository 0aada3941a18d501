/*
 * Logs of hosts, read over SSH: followed, or of a span of time. Several at once are merged by time. Memory,
 * bytes a second and lines are bounded (log_merge.h); nothing is left running on a host when it is freed,
 * or when we are gone.
 */
#ifndef BACKENDS_HOSTS_LOG_FOLLOW_H
#define BACKENDS_HOSTS_LOG_FOLLOW_H

#include "backends/hosts/log_merge.h"
#include "backends/hosts/log_source.h"
#include "backends/ssh/ssh.h"

struct log_follow;

struct log_target {
    const char *name; /* of the host; copied */
    struct ssh_host *host;
    struct log_source source; /* texts copied */
};

struct log_follow_options {
    const struct log_target *targets;
    size_t target_count;
    size_t lines;       /* of the past, of each log */
    bool follow;        /* and what comes; otherwise it ends with the past */
    const char *filter; /* fixed text, without regard to case; NULL: all */
    double from, to;    /* NAN: no bound */
    bool newest;        /* of more lines than `lines` in that time the newest; else the oldest */
    size_t max_lines, max_bytes;
    double bytes_per_s;      /* 0: what log_merge.h says */
    struct log_stats *stats; /* borrowed; or NULL */
    /* Something that can be seen changed: at most 20 times a second. May be NULL. */
    void (*changed)(void *data);
    void *data;
};

enum log_stream_state {
    LOG_STREAM_STARTING, /* connecting, or reading the past */
    LOG_STREAM_LIVE,     /* followed */
    LOG_STREAM_ENDED,    /* all of it was read */
    LOG_STREAM_MISSING,  /* there is no such log; it is waited for when it is followed */
    LOG_STREAM_DENIED,   /* it may not be read: message says what to do */
    LOG_STREAM_FAILED,   /* it broke: message says why; tried again when it is followed */
};

struct log_stream {
    const char *host, *source;
    enum log_stream_state state;
    char message[400]; /* "" when nothing is to be said */
};

/* Starts; nothing is called before the next turn of the loop. Owned by context. */
struct log_follow *log_follow_new(const void *context, struct loop *loop,
                                  const struct log_follow_options *options);
/* Ends the commands on the hosts. talloc_free does the same. */
void log_follow_free(struct log_follow *follow);

/* Begins again with another filter; what was read is forgotten. */
void log_follow_set_filter(struct log_follow *follow, const char *filter);
/* Paused, nothing is read: the hosts' commands wait. */
void log_follow_pause(struct log_follow *follow, bool paused);
bool log_follow_paused(const struct log_follow *follow);

struct log_ring *log_follow_ring(const struct log_follow *follow);
/* Lines that came too fast to be read. */
uint64_t log_follow_dropped(const struct log_follow *follow);
/* Numbered as the targets, and as log_entry.stream. */
size_t log_follow_stream_count(const struct log_follow *follow);
const struct log_stream *log_follow_stream(const struct log_follow *follow, size_t index);
/* The past of every log was read, or cannot be. */
bool log_follow_settled(const struct log_follow *follow);
/* Every log has ended (only without follow). */
bool log_follow_ended(const struct log_follow *follow);

/* "live", "missing" ... */
const char *log_stream_state_name(enum log_stream_state state);

#endif
