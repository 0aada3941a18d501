/* What the files of transport one (libssh2_*.c) share. No other file includes it. */
#ifndef BACKENDS_SSH_LIBSSH2_INTERNAL_H
#define BACKENDS_SSH_LIBSSH2_INTERNAL_H

#include <libssh2.h>
#include <stdint.h>

#include "backends/ssh/buffer.h"
#include "backends/ssh/known_hosts.h"
#include "backends/ssh/libssh2_turns.h"
#include "backends/ssh/pool.h"

enum {
    ROUND_BYTES = 256 * 1024,   /* read of one session in one turn */
    OUT_MOST = 4 * 1024 * 1024, /* with so much waiting the other side is given up */
    OUT_HIGH = 128 * 1024,      /* so much waits for the socket: channels are not asked for more */
    IN_HIGH = 256 * 1024,       /* so much waits of a bastion's channel: it is paused */
    WINDOW = 512 * 1024,        /* of a channel */
    PACKET = 32768,
};

/*
 * What carries a session: a socket, or a channel of the bastion. Sending always succeeds from libssh2's point
 * of view (what the socket does not take is kept here), so that none of its packets is ever half sent: it
 * could not do anything else until the rest is gone.
 */
struct wire {
    int fd;                      /* -1: none */
    struct ssh_channel *channel; /* of the bastion, or NULL */
    ev_io read, write;
    struct buffer in, out;
    size_t budget; /* bytes that may still be read in this turn */
    bool dry;      /* nothing to read until it is said to be there */
    bool ended;    /* the other side closed */
    bool broken;
    struct error error; /* why it is broken, or how the bastion's channel ended */
    double heard;       /* clock_monotonic of the last byte */
    uint64_t received;
};

enum lib_phase { LIB_PREPARE, LIB_CONNECT, LIB_HANDSHAKE, LIB_AUTH, LIB_UP };

struct lib_channel;
struct lib_auth;
struct lib_dial;

struct lib_session {
    struct ssh_host *host;
    struct lib_turns *turns;
    struct lib_session *next_ready, *previous_ready; /* in turns */
    bool ready;
    LIBSSH2_SESSION *ssh;
    void *memory; /* of libssh2 */
    enum lib_phase phase;
    struct wire wire;
    struct lib_dial *dial;
    struct known_hosts *known;
    struct lib_auth *auth;
    struct lib_channel *channels;
    struct lib_channel *opening; /* libssh2 opens one at a time */
    bool probing;                /* what it opens is there only to be answered */
    double probed;               /* when; clock_monotonic */
    ev_timer deadline;           /* of the phase; up: looks whether the other side lives */
    double path_until;           /* through a bastion: when it is given up; clock_monotonic */
    double began;                /* the handshake; clock_monotonic */
    double handshake_ms;         /* how long it took */
    bool shaking;                /* libssh2_session_handshake has more to do */
    char *farewell;              /* what the server said when it disconnected */
    struct lib_session *main;    /* whose side session it is; NULL: it is the main one */
    struct lib_session *sides, *next_side;
    ev_timer hurry;     /* while channels wait for an opening that hangs */
    double side_failed; /* when the last side session did */
    double unused;      /* since when a side session has no channels; 0: it has */
    int depth;          /* calls that use it */
    bool closed;
};

/* ---- libssh2.c ---- */
/* What it can do now; called by the turns. */
void session_step(struct lib_session *session);
void session_wake(struct lib_session *session);
/* Memory that libssh2 will free. */
void *session_alloc(struct lib_session *session, size_t size);
void session_set_deadline(struct lib_session *session, double seconds);
/* The way through the bastion is asked for. */
void session_await_path(struct lib_session *session);
/* Ends it: reports failed, or lost when it was up. The session may be gone afterwards, unless entered. */
void session_fail(struct lib_session *session, const struct ssh_failure *failure);
void session_fail_with(struct lib_session *session, enum error_kind kind, const char *what, const char *todo,
                       const char *why_format, ...) __attribute__((format(printf, 5, 6)));
/* A call of libssh2 failed while the session was in this phase: the wire's error when it broke, else what
 * the library says. */
void session_fail_code(struct lib_session *session, const char *what, int code);
struct lib_session *session_new(struct ssh_host *host);
void session_close(struct lib_session *session);
/* The end of a use that began with depth++: frees it when it was closed meanwhile. */
void session_release(struct lib_session *session);
void session_connected(struct lib_session *session);
void session_authenticated(struct lib_session *session);

/* ---- libssh2_wire.c ---- */
void wire_init(struct lib_session *session);
void wire_use_socket(struct lib_session *session, int fd);
/* Reads or leaves unread what comes: while something else is waited for. */
void wire_listen(struct lib_session *session, bool on);
void wire_close(struct lib_session *session);
size_t wire_unsent(const struct lib_session *session);
void wire_set_callbacks(struct lib_session *session);
/* Over a direct-tcpip channel of the bastion. */
void wire_use_bastion(struct lib_session *session, struct ssh_host *bastion);

/* ---- libssh2_dial.c ---- */
/* Reads known_hosts and looks up the name in a worker, then connects. Ends in session_connected or
 * session_fail. */
void dial_start(struct lib_session *session);
void dial_cancel(struct lib_session *session);

/* ---- libssh2_auth.c ---- */
void auth_start(struct lib_session *session);
void auth_step(struct lib_session *session);
void auth_cancel(struct lib_session *session);
/* The deadline passed. */
void auth_late(struct lib_session *session);

/* ---- libssh2_channel.c ---- */
void *lib_channel_open(void *session_data, struct ssh_channel *channel);
void lib_channel_changed(void *channel_data);
void lib_channel_close(void *channel_data);
void lib_channels_step(struct lib_session *session);
/* Asks the server for something that it must answer. */
/* Whether something is there to be read (without reading it), or the end came. */
bool wire_look(struct lib_session *session);
void lib_channels_probe(struct lib_session *session);
void lib_channels_free(struct lib_session *session);
/* Some are to be opened and cannot be yet. */
bool lib_channels_wait(const struct lib_session *session);
/* Nothing is left but an opening that nobody waits for any more. */
bool lib_channels_hopeless(const struct lib_session *session);
/* Reports all of them lost, or refused when they were never open. */
void lib_channels_end(struct lib_session *session, const struct error *error);

/* ---- libssh2_side.c ---- */
/* A channel waits for an opening that may hang: soon another session helps. */
void side_hurry(struct lib_session *session);
void side_fail(struct lib_session *side, const struct error *error);
/* From time to time: closes one that nobody uses. */
void side_check_use(struct lib_session *side);
void sides_close(struct lib_session *session);

#endif
