/*
 * A client of ssh-agent (draft-miller-ssh-agent) that never blocks: an agent may hang, or ask its user first.
 * One connection a request.
 */
#ifndef BACKENDS_SSH_AGENT_H
#define BACKENDS_SSH_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/loop.h"

struct agent_key {
    const unsigned char *blob; /* the public key */
    size_t length;
    const char *type; /* "ssh-ed25519" */
    const char *comment;
};
struct agent_keys { /* a talloc context */
    struct agent_key *items;
    size_t count;
};

enum { AGENT_RSA_SHA2_256 = 2, AGENT_RSA_SHA2_512 = 4 }; /* flags of agent_sign */

struct agent_call;
/* What keys it holds. `done` once in a later turn: keys is NULL on failure, else owned by who is called. */
struct agent_call *agent_list(struct loop *loop, const char *path,
                              void (*done)(void *data, struct agent_keys *keys, const struct error *error),
                              void *data);
/* Has it sign. The signature is the inner one (without the name of the algorithm), valid during the call;
 * NULL on failure. Waits a minute: the agent may ask its user. */
struct agent_call *
agent_sign(struct loop *loop, const char *path, const unsigned char *blob, size_t blob_length,
           const unsigned char *message, size_t message_length, uint32_t flags,
           void (*done)(void *data, const unsigned char *signature, size_t length, const struct error *error),
           void *data);
/* `done` is not called any more. NULL is allowed. */
void agent_cancel(struct agent_call *call);

/* ---- for tests and fuzzing: an answer without its length ---- */

/* Keys whose blob is not one are left out. NULL when the answer is none. */
struct agent_keys *agent_parse_keys(const void *context, const unsigned char *answer, size_t length);
/* Points into the answer. */
bool agent_parse_signature(const unsigned char *answer, size_t length, const unsigned char **signature,
                           size_t *signature_length);

#endif
