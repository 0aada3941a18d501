/* What the files of transport two (system*.c) share. No other file includes it. */
#ifndef BACKENDS_SSH_SYSTEM_INTERNAL_H
#define BACKENDS_SSH_SYSTEM_INTERNAL_H

#include <ev.h>
#include <stdint.h>

#include "backends/ssh/buffer.h"
#include "backends/ssh/child.h"
#include "backends/ssh/config.h"
#include "backends/ssh/transport.h"

enum { SYSTEM_ERRORS = 8192 };

struct system_channel;

/* One master: a child that holds the connection, and our end of its control socket. */
struct system_session {
    struct ssh_host *host;
    struct ev_loop *ev;
    char *folder; /* private: control socket, configuration */
    char *socket_path;
    struct child master;
    ev_io errors, ended, read, write;
    ev_timer deadline;        /* of opening; later: of the master's last words */
    ev_timer knock;           /* tries the socket until it is there */
    ev_timer later;           /* what must not happen in a call of the pool */
    char said[SYSTEM_ERRORS]; /* the end of what it said on standard error */
    size_t said_length;
    double began;
    bool authenticated, up;
    bool collecting;        /* a second try, only to learn the server's key */
    struct error beginning; /* it could not even be started */

    int socket;          /* -1: none */
    unsigned char *room; /* what was read and not taken apart yet */
    size_t filled;
    struct buffer out;
    int greeting; /* messages of the control protocol that were read; 2: packets follow */
    bool broken;  /* the socket: the master's end is waited for */
    struct error breakage;
    struct system_channel *channels;
    uint32_t next_id;

    int depth; /* calls that use it */
    bool closed;
};

/* Around everything that may run handlers: the session may be closed in one, and is freed by the last leave.
 */
void system_enter(struct system_session *session);
void system_leave(struct system_session *session);

/* The control socket of a session of this transport. */
const char *system_socket_path(const void *session);

/* ---- system_place.c ---- */
/* Makes the private folder with the configuration for ssh in it. */
bool system_place_make(struct system_session *session, struct error *error);
void system_place_remove(struct system_session *session);
/* The argv of the master. `key_file`: where it is to write the server's key to, or NULL. */
const char **system_master_argv(const void *context, const struct system_session *session,
                                const char *key_file);

/* ---- system_mux.c ---- */
/* Our end of the control socket: asks for proxy mode. */
void system_mux_start(struct system_session *session, int socket);
/* Closes it, and frees what is left of the channels. */
void system_mux_free(struct system_session *session);
/* The pool's channels are gone. */
void system_mux_forget(struct system_session *session);
/* What was held back while channels were paused. */
void system_mux_flush(struct system_session *session);
void *system_channel_open(void *opened, struct ssh_channel *channel);
void system_channel_changed(void *channel);
void system_channel_close(void *channel);

/* ---- system.c, told by system_mux.c ---- */
void system_ready(struct system_session *session);
/* The socket is no good any more; `error` NULL: the master closed it. */
void system_broken(struct system_session *session, const struct error *error);

/* ---- system_error.c ---- */
enum system_trouble {
    TROUBLE_OTHER,
    TROUBLE_UNKNOWN_KEY, /* of the host itself, not of a jump */
};
/* What ssh said on standard error as an error. `label` is its where. */
enum system_trouble system_explain(const char *said, const struct ssh_settings *settings, const char *label,
                                   struct error *error);

#endif
