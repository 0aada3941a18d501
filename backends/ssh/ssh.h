/*
 * SSH to the servers. One session a host, made when it is wanted, kept, and made anew for ever. Two
 * transports stand behind this one interface: libssh2 on the loop, and the system's `ssh` with a
 * ControlMaster for what libssh2 cannot do. libssh2 handles and children's pipes never leave this folder.
 *
 * What ~/.ssh/config says is asked of `ssh -G DESTINATION` in a worker. Host keys are checked against the
 * known_hosts files that it names; no key is ever added here (host_key.h makes a change for that).
 */
#ifndef BACKENDS_SSH_SSH_H
#define BACKENDS_SSH_SSH_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/connection_state.h"
#include "core/error.h"
#include "core/loop.h"

struct ssh_pool; /* the sessions of one environment */
struct ssh_host; /* one destination and its session */
struct ssh_channel;

enum ssh_transport { SSH_TRANSPORT_AUTO, SSH_TRANSPORT_LIBSSH2, SSH_TRANSPORT_SYSTEM };

/* What must be asked of the user: the passphrase of a key file (once a key), or what keyboard-interactive
 * asks. */
struct ssh_question {
    const char *host;  /* name of the host; for a passphrase also of the first one that needs it */
    const char *title; /* "Passphrase of ~/.ssh/id_ed25519"; safe */
    const char *text;  /* what the server says, line by line, or ""; safe */
    bool echo;         /* may the answer be shown while it is typed? */
    /* internal */
    void *data;
    void (*answered)(struct ssh_question *question, const char *answer);
};
/* Answers, exactly once, now or later: NULL means the user left. The question is gone afterwards. The answer
 * is wiped from the pool's memory after use (passphrases: kept, locked in memory, for the other hosts). */
void ssh_answer(struct ssh_question *question, const char *answer);

struct ssh_pool_options {
    const char *environment;      /* for errors: "production" */
    enum ssh_transport transport; /* for all hosts */
    const char *config;           /* ssh_config file instead of the user's (`ssh -F`), or NULL */
    void (*changed)(void *data);  /* the state of a host changed; may be NULL */
    /* NULL: nobody is there to be asked; what would need it is skipped and the error says so. */
    void (*ask)(void *data, struct ssh_question *question);
    void *data;
};

/* Copies the options. Nothing connects yet. */
struct ssh_pool *ssh_pool_new(struct loop *loop, const struct ssh_pool_options *options);
/* Ends all sessions (handlers still open get `closed` with SSH_LOST before this returns) and the children. */
void ssh_pool_free(struct ssh_pool *pool);

/*
 * The host that `ssh DESTINATION` would reach: an alias of ssh_config, [user@]host, [user@]host:port or
 * ssh://[user@]host[:port]. The same destination gives the same host. `name` is what errors call it. The
 * result lives as long as the pool. At most 8 handshakes are in flight through one bastion, 6 towards one
 * server.
 */
struct ssh_host *ssh_pool_host(struct ssh_pool *pool, const char *name, const char *destination);

const char *ssh_host_name(const struct ssh_host *host);
const char *ssh_host_destination(const struct ssh_host *host);
/* "ops@10.0.0.5:22 via bastion" when known, else the destination. */
const char *ssh_host_address(const struct ssh_host *host);
/* The name or address that the server has (ssh -G's hostname); NULL before it is known. */
const char *ssh_host_hostname(const struct ssh_host *host);
enum connection_state ssh_host_state(const struct ssh_host *host);
/* Why it is down; kind ERROR_NONE when it is not. */
const struct error *ssh_host_error(const struct ssh_host *host);
/* The transport in use, and why when it is not libssh2: "libssh2", "ssh (an RSA key: libssh2 cannot use it)".
 * Never NULL. */
const char *ssh_host_transport(const struct ssh_host *host);
enum ssh_transport ssh_host_transport_kind(const struct ssh_host *host);
/* SHA256:... of the server's key when it is not known; NULL otherwise. Then the state is DOWN and
 * ssh_host_add_key (host_key.h) makes the change that adds it. */
const char *ssh_host_unknown_key(const struct ssh_host *host);
/* The round trip of the last handshake in ms; 0 when unknown. */
double ssh_host_handshake_ms(const struct ssh_host *host);

/* Somebody wants the session, or no longer does: it is kept and made anew (back-off with jitter) while it is
 * wanted or has channels. */
void ssh_host_want(struct ssh_host *host, bool wanted);
/* Tries now instead of after the back-off. */
void ssh_host_retry(struct ssh_host *host);

/* How a channel ended. A lost connection and a signal are never a success. */
enum ssh_ending {
    SSH_EXITED,    /* `status` is the exit status; for tunnels: the other side closed */
    SSH_SIGNALLED, /* the remote command died of `signal` ("KILL") */
    SSH_LOST,      /* the connection broke: whether the command ended is unknown; `error` says why */
    SSH_REFUSED,   /* it was never opened: `error` says why */
};
struct ssh_end {
    enum ssh_ending ending;
    int status;
    char signal[16];
    struct error error;
};

struct ssh_handler {
    /* Bytes came: stream 1 is standard output (or the tunnel), 2 standard error. May close the channel. */
    void (*output)(void *data, int stream, const char *bytes, size_t length);
    /* Everything that was written has been taken. May be NULL. */
    void (*drained)(void *data);
    /* Exactly once, last, unless ssh_channel_close was called before. The channel is gone afterwards. */
    void (*closed)(void *data, const struct ssh_end *end);
    void *data;
};

/*
 * Opens a channel: a command (through the user's shell there), a TCP connection (direct-tcpip; names are
 * resolved there) or a Unix socket (direct-streamlocal). While the host is connecting it waits; a host that
 * is idle connects; a host that is down fails in a later turn with its error. Never NULL.
 */
struct ssh_channel *ssh_exec(struct ssh_host *host, const char *command, struct ssh_handler handler);
struct ssh_channel *ssh_open_tcp(struct ssh_host *host, const char *address, int port,
                                 struct ssh_handler handler);
struct ssh_channel *ssh_open_unix(struct ssh_host *host, const char *path, struct ssh_handler handler);

/* Takes all bytes (copies what the window does not). */
void ssh_channel_write(struct ssh_channel *channel, const void *bytes, size_t length);
/* Bytes that were not taken yet. */
size_t ssh_channel_unsent(const struct ssh_channel *channel);
/* End of input, after what is unsent. */
void ssh_channel_end(struct ssh_channel *channel);
/* No more output until it is resumed: the other side's window fills and it waits. */
void ssh_channel_pause(struct ssh_channel *channel, bool paused);
/* Gives the channel up: `closed` is not called. A running command gets its pipes closed (and HUP where the
 * server does so). NULL is allowed. */
void ssh_channel_close(struct ssh_channel *channel);

/* A word for the remote shell: in single quotes where needed. Fresh talloc string. */
char *ssh_quote(const void *context, const char *word);

/* The argv of the system's `ssh` that reaches the host with the same options, for a shell in the terminal or
 * a command: talloc'd under context, NULL at the end. `command` may be NULL (a login shell). */
const char **ssh_host_argv(const void *context, const struct ssh_host *host, const char *command);

#endif
