/* bcrypt_pbkdf: what OpenSSH makes the key of an encrypted key file with. */
#ifndef BACKENDS_SSH_BCRYPT_PBKDF_H
#define BACKENDS_SSH_BCRYPT_PBKDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills `key` from the passphrase. Takes some 10 ms a round: for a worker. False for sizes out of bounds. */
bool bcrypt_pbkdf(const char *passphrase, size_t passphrase_length, const unsigned char *salt,
                  size_t salt_length, uint32_t rounds, unsigned char *key, size_t key_length);

#endif
