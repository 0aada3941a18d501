/*
 * What stands between the pool (states, back-off, waiting channels, questions: pool.c) and a transport
 * (libssh2.c, system.c). Internal to backends/ssh.
 *
 * A transport opens one session towards one host and reports. The pool decides when to open, when to give up,
 * what to try next and who is told. Reports run the handlers of whoever uses the channel, and these may call
 * anything: `channel_close` and `close` may come while a report of the same session is on the stack. After
 * them the transport reports nothing more of that channel or session; it frees what its own stack still
 * needs later.
 */
#ifndef BACKENDS_SSH_TRANSPORT_H
#define BACKENDS_SSH_TRANSPORT_H

#include "backends/ssh/ssh.h"

struct ssh_settings; /* config.h */

enum ssh_channel_kind { SSH_CHANNEL_EXEC, SSH_CHANNEL_TCP, SSH_CHANNEL_UNIX };

/* The part of a channel that both sides see. The pool makes and frees it; only pool.c looks inside. */
struct ssh_channel;
enum ssh_channel_kind ssh_channel_kind(const struct ssh_channel *channel);
/* The command, the address, or the path. */
const char *ssh_channel_target(const struct ssh_channel *channel);
int ssh_channel_port(const struct ssh_channel *channel); /* of SSH_CHANNEL_TCP */

struct ssh_transport_ops {
    /* Starts towards the host, whose settings are known (ssh_host_settings). Ends in one ssh_report_up or
     * one ssh_report_failed, in a later turn. The deadline of all of it is the transport's own. */
    void *(*open)(struct ssh_host *host);
    /* Ends the session at once, up or not; its channels were closed or have been reported lost before. */
    void (*close)(void *session);
    /* Opens a channel (ssh_channel_kind and so on say which) of a session that is up. */
    void *(*channel_open)(void *session, struct ssh_channel *channel);
    /* There are bytes to take (ssh_channel_pending), the end of input, or a pause began or ended. */
    void (*channel_changed)(void *channel);
    /* Gives it up; not called after ssh_report_closed. */
    void (*channel_close)(void *channel);
};

extern const struct ssh_transport_ops ssh_transport_libssh2;
extern const struct ssh_transport_ops ssh_transport_system;

/* ---- what a transport asks ---- */

struct loop *ssh_host_loop(const struct ssh_host *host);
/* Of the pool: `config`, `environment`, `ask` ... */
const struct ssh_pool_options *ssh_host_options(const struct ssh_host *host);
/* What ssh -G says; NULL before it has said it. */
const struct ssh_settings *ssh_host_settings(const struct ssh_host *host);
/* "production: web1", for the errors' where. */
const char *ssh_host_label(const struct ssh_host *host);
/* The raw key of the server that is not in known_hosts (behind ssh_host_unknown_key); NULL when there is
 * none. For host_key.c. */
const unsigned char *ssh_host_unknown_blob(const struct ssh_host *host, size_t *length);

/* What waits to be sent; NULL and 0 when nothing does. Valid until the channel is written to or taken from.
 */
const char *ssh_channel_pending(const struct ssh_channel *channel, size_t *length);
/* So many of them were taken. May call `drained`: false when the channel was closed in it and is gone. */
bool ssh_channel_taken(struct ssh_channel *channel, size_t length);
/* The end of input was asked for: to be sent when nothing is pending. */
bool ssh_channel_ending(const struct ssh_channel *channel);
bool ssh_channel_paused(const struct ssh_channel *channel);

/* ---- what a transport reports ---- */

void ssh_report_up(struct ssh_host *host, double handshake_ms);

struct ssh_failure {
    struct error error;
    /* The other transport may do better, and why this one is left for good: "an RSA key: libssh2 cannot use
     * it". NULL: no. */
    const char *other;
    /* The server had no place for one more that shakes hands (MaxStartups): it is tried again within a
     * second, a few times, before anybody hears of it. */
    bool again;
    /* The raw key of a server whose key is not in known_hosts: the state of ssh_host_unknown_key. */
    const unsigned char *unknown_key;
    size_t unknown_key_length;
};
/* It could not be opened. The pool calls `close` before this returns, and may open another one. */
void ssh_report_failed(struct ssh_host *host, const struct ssh_failure *failure);
/* It was up and broke. The pool ends its channels (SSH_LOST) and calls `close` before this returns. */
void ssh_report_lost(struct ssh_host *host, const struct error *error);

/* Stream 1 or 2. False when the channel was closed in it and is gone. Never while it is paused. */
bool ssh_report_output(struct ssh_channel *channel, int stream, const char *bytes, size_t length);
/* The end of one channel (exited, signalled, refused, lost alone). The channel is gone afterwards, and the
 * transport frees what it has of it without being told. */
void ssh_report_closed(struct ssh_channel *channel, const struct ssh_end *end);

#endif
