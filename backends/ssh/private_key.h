/* Private keys out of files: ed25519, ECDSA and RSA, in OpenSSH's format and in PEM, encrypted or not. */
#ifndef BACKENDS_SSH_PRIVATE_KEY_H
#define BACKENDS_SSH_PRIVATE_KEY_H

#include <stdbool.h>
#include <stddef.h>

enum private_problem {
    PRIVATE_NONE,
    PRIVATE_UNREADABLE, /* the file cannot be read */
    PRIVATE_ENCRYPTED,  /* it needs a passphrase, and none was given */
    PRIVATE_WRONG,      /* that is not its passphrase */
    PRIVATE_UNFIT,      /* not a key, or of a type or cipher that is not supported here */
};

struct private_key;

/* Reads the file. The passphrase may be NULL. Blocks, with a passphrase for some 0.3 s: for a worker. The
 * secret part lies in memory that is locked where the system allows it. NULL with the problem. */
struct private_key *private_key_load(const char *path, const char *passphrase, enum private_problem *problem);
/* The same from memory. */
struct private_key *private_key_parse(const char *text, size_t length, const char *passphrase,
                                      enum private_problem *problem);
void private_key_free(struct private_key *key);

/* The public key as servers and agents know it. */
const unsigned char *private_key_blob(const struct private_key *key, size_t *length);

/* The inner signature (without the name of the algorithm) in malloc'd memory; NULL on failure. RSA keys sign
 * by the digest that is named ("SHA512"); the others have their own. */
unsigned char *private_key_sign(const struct private_key *key, const char *rsa_digest,
                                const unsigned char *message, size_t message_length, size_t *length);

#endif
