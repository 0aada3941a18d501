/*
 * The private keys of a pool: each file is read once, its passphrase asked for once, and what was unlocked
 * serves all hosts. Passphrases are wiped as soon as the key is open; open keys lie in locked memory until
 * the pool ends.
 */
#ifndef BACKENDS_SSH_KEY_STORE_H
#define BACKENDS_SSH_KEY_STORE_H

#include "backends/ssh/config.h"
#include "backends/ssh/private_key.h"
#include "backends/ssh/ssh.h"

struct key_store;
struct key_wait;

struct key_store *key_store_new(struct ssh_pool *pool);
void key_store_free(struct key_store *store);
/* Keys whose passphrase nobody wanted to give are asked for again. */
void key_store_ask_again(struct key_store *store);

/* The key when it is open; NULL when it is not yet. Lives as long as the store. */
const struct private_key *key_store_find(struct key_store *store, const struct ssh_identity *identity);
/* Opens it: reads the file in a worker, asks for the passphrase when there is one and somebody to ask.
 * `host` is the name that the question shows. `done` in a later turn, once: the key, or NULL and why. */
struct key_wait *key_store_open(struct key_store *store, const struct ssh_identity *identity,
                                const char *host,
                                void (*done)(void *data, const struct private_key *key, const char *why),
                                void *data);
/* `done` is not called any more. NULL is allowed. */
void key_wait_cancel(struct key_wait *wait);

#endif
