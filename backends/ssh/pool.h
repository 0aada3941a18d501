/* What the files of the pool and transport one know of a pool and its hosts. Internal to backends/ssh. */
#ifndef BACKENDS_SSH_POOL_H
#define BACKENDS_SSH_POOL_H

#include <talloc.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "backends/ssh/buffer.h"
#include "backends/ssh/config.h"
#include "backends/ssh/known_hosts.h"
#include "backends/ssh/transport.h"

struct gate;
struct lib_turns;
struct key_store;

struct ssh_pool {
    struct loop *loop;
    struct ssh_pool_options options;
    struct ssh_host *hosts; /* by destination */
    struct gate *gates;     /* by server or bastion: who may shake hands */
    struct lib_turns *turns;
    struct key_store *keys;
    struct known_hosts_store *known;
    int depth; /* calls of ours that run handlers */
    bool doomed;
};

/* What a host that is not up is waiting for. */
enum host_phase { PHASE_NONE, PHASE_SETTINGS, PHASE_GATE, PHASE_OPENING, PHASE_AGAIN };

struct ssh_host {
    struct ssh_pool *pool;
    char *name, *destination, *label, *address;
    enum connection_state state;
    enum host_phase phase;
    struct error error;
    struct ssh_settings *settings;
    struct ssh_resolving *resolving;
    const struct ssh_transport_ops *ops; /* of the session, or of the last one */
    void *session;
    enum ssh_transport kind;
    char *kind_text;
    char *unfit; /* why libssh2 is not tried any more; NULL: it is */
    char *unknown_key;
    unsigned char *unknown_blob;
    double handshake_ms, back_off;
    struct gate *gate; /* the place that it holds or waits for */
    struct ssh_host *next_at_gate;
    bool at_gate;
    int wanted;
    int again;                    /* how often it was too busy for a handshake */
    struct ssh_channel *channels; /* waiting, open, or rejected */
    ev_timer retry;               /* back-off; up: nobody wants it any more */
    ev_timer later;               /* rejections and other things that must not happen in a call */
    UT_hash_handle hh;
};

struct ssh_channel {
    struct ssh_channel *next, *previous; /* of the host */
    struct ssh_host *host;
    enum ssh_channel_kind kind;
    char *target;
    int port;
    struct ssh_handler handler;
    void *impl; /* the transport's; NULL: not with a transport */
    struct buffer out;
    bool ending, paused;
    bool rejected;      /* to be closed in a later turn */
    bool drain;         /* something was written since `drained` was called */
    struct error error; /* why it is rejected */
    int busy;           /* handlers of it that run */
    bool gone;
};

/* Around everything that runs handlers: the pool may be freed in one. */
void pool_enter(struct ssh_pool *pool);
void pool_leave(struct ssh_pool *pool);
/* Somebody needs it: an idle host begins to connect. */
void host_use(struct ssh_host *host);
/* Its use changed: a session that nobody wants is closed after a while. */
void host_check_use(struct ssh_host *host);
/* channels_reject in the next turn. */
void host_soon(struct ssh_host *host);

/* Ends those that are open (lost) or wait (refused). */
void channels_end(struct ssh_host *host, const struct error *error);
/* Ends those that came while the host was down. */
void channels_reject(struct ssh_host *host);
/* Opens those that waited for the host to come up. */
void channels_open(struct ssh_host *host);

/* Gates: at most 8 in flight behind each. True when the place is there now; else gate_opened comes. */
bool gate_enter(struct ssh_host *host);
void gate_leave(struct ssh_host *host);
void gate_opened(struct ssh_host *host);
void gates_free(struct ssh_pool *pool);

/* Questions that outlive whoever asked. `answered` gets NULL when the user left; it is not called after
 * ssh_question_forget. NULL: it was answered in this very call. */
struct ssh_question *ssh_question_ask(struct ssh_pool *pool, const char *host, const char *title,
                                      const char *text, bool echo,
                                      void (*answered)(void *data, const char *answer), void *data);
void ssh_question_forget(struct ssh_question *question);

#endif
