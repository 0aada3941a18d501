/*
 * The collector of one host: collector.sh, running there as one long-lived shell at the end of an SSH
 * channel. It is started with the first request, and anew after it ended; requests wait meanwhile. Fast
 * answers are not kept waiting by the others.
 */
#ifndef BACKENDS_HOSTS_COLLECTOR_H
#define BACKENDS_HOSTS_COLLECTOR_H

#include "backends/environment.h"
#include "backends/hosts/record.h"
#include "backends/ssh/ssh.h"

struct collector;

struct collector_events {
    /* It runs there, as this user. */
    void (*ready)(void *data, const char *user);
    /* Valid during the call. False: the answer is garbage, and the collector is started anew. */
    void (*answered)(void *data, const struct host_answer *answer);
    /* What was asked will not be answered. Exactly one of answered and failed for each request. */
    void (*failed)(void *data, enum host_tier tier, const struct error *error);
    void *data;
};

/* `host`, `settings` and `script` (collector_script) are borrowed. Nothing starts yet. Freeing it closes the
 * channel; no event is told any more. */
struct collector *collector_new(const void *context, struct loop *loop, struct ssh_host *host,
                                const struct environment_ssh *settings, const char *script,
                                struct collector_events events);
/* One request a tier at a time. `arguments` (may be NULL) follow the number in the request; copied. */
void collector_ask(struct collector *collector, enum host_tier tier, const char *arguments);
/* Closes the channel when nothing is in flight; true when it is closed. The next request starts it again. */
bool collector_rest(struct collector *collector);
/* An answer was garbage: close, and start anew with the next request. */
void collector_restart(struct collector *collector);

/* collector.sh without its comments and indents, as it is sent. */
char *collector_script(const void *context);
/* The command that reads `bytes` of script from its input and runs it. */
char *collector_command(const void *context, size_t bytes);
/* The variables ahead of the script. */
char *collector_variables(const void *context, const char *mark, const struct environment_ssh *settings);

/* ---- the framing of one stream, apart so that it can be tested and fuzzed ---- */

struct collector_stream {
    const char *mark;
    char *buffer; /* malloc'd; freed when nothing is in it */
    size_t length, room, scanned;
    bool inside;        /* of an answer */
    unsigned clears;    /* grows when what is in it is given up */
    double first;       /* wall time of the answer's first byte */
    char noise[201];    /* the end of what came outside of answers */
    size_t noise_bytes; /* how much of it came since the last answer */
    /* A complete answer, from its first mark on. */
    void (*answer)(void *data, struct collector_stream *stream, unsigned number, const char *text,
                   size_t length);
    void (*ready)(void *data, const char *user);
    void *data;
};
/* False: more than COLLECTOR_MOST_BYTES without an end, or more than COLLECTOR_MOST_NOISE outside of answers.
 */
bool collector_stream_feed(struct collector_stream *stream, const char *bytes, size_t length);
void collector_stream_clear(struct collector_stream *stream);

#define COLLECTOR_MOST_BYTES ((size_t)1 << 20)
#define COLLECTOR_MOST_NOISE ((size_t)1 << 18)

#endif
