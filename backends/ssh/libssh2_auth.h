/* Authentication of a session of libssh2, split over libssh2_auth.c, _offer.c and _keyboard.c. */
#ifndef BACKENDS_SSH_LIBSSH2_AUTH_H
#define BACKENDS_SSH_LIBSSH2_AUTH_H

#include "backends/ssh/agent.h"
#include "backends/ssh/key_store.h"
#include "backends/ssh/libssh2_internal.h"

/* A key that is offered. */
struct offer {
    const unsigned char *blob; /* NULL: known when the file is open */
    size_t length;
    const struct ssh_identity *identity; /* NULL: only the agent has it */
    bool agent;
    char *name; /* "ed25519 SHA256:... from the agent", "~/.ssh/id_ed25519" */
};

enum auth_stage {
    AUTH_LIST,       /* asks which ways there are */
    AUTH_AGENT,      /* asks the agent for its keys */
    AUTH_OFFER,      /* one key after the other */
    AUTH_LIST_AGAIN, /* a signature was not enough: is there a second step? */
    AUTH_KEYBOARD,
    AUTH_PASSWORD,
    AUTH_FAILED,
};

struct keyboard;

struct lib_auth { /* a talloc context */
    struct lib_session *session;
    enum auth_stage stage;
    char *methods;
    bool waiting; /* for the agent, a worker or the user: nothing is read meanwhile */
    struct agent_call *call;
    struct agent_keys *keys;
    struct offer *offers;
    size_t offer_count, at;
    struct key_wait *wait;
    unsigned char *signature; /* malloc'd */
    size_t signature_length;
    bool sign_failed, was_signed;
    char *sign_why;
    char *offered, *skipped; /* lists for the error, or NULL */
    const char *other;       /* what the other transport could use */
    struct ssh_question *question;
    struct keyboard *keyboard;
    char *password; /* in locked memory */
    int tries;      /* of what is typed */
    bool left;      /* the user did not answer */
    void *self;     /* for libssh2's abstract */
};

/* libssh2_auth.c */
void auth_wait(struct lib_auth *auth);
void auth_go_on(struct lib_auth *auth);
bool auth_allows(const struct lib_auth *auth, const char *method);
void auth_note(struct lib_auth *auth, char **list, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* libssh2_offer.c */
void offers_make(struct lib_auth *auth);
/* One call for the key that is its turn. 0: authenticated; EAGAIN: wait. Otherwise the code. */
int offer_try(struct lib_auth *auth);

/* libssh2_keyboard.c */
int keyboard_try(struct lib_auth *auth);
void keyboard_cancel(struct lib_auth *auth);
int password_try(struct lib_auth *auth);

#endif
