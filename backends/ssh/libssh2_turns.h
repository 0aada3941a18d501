/* Transport one among the other work of the loop: which sessions have something to do, a few ms a turn. */
#ifndef BACKENDS_SSH_LIBSSH2_TURNS_H
#define BACKENDS_SSH_LIBSSH2_TURNS_H

#include <libssh2.h>

#include "core/loop.h"

/* libssh2 before 1.11 signs with ssh-rsa (SHA-1) alone, which servers refuse since OpenSSH 8.8. */
#define LIB_HAS_RSA (LIBSSH2_VERSION_NUM >= 0x010b00)
#define LIB_RSA_UNFIT "an RSA key: libssh2 " LIBSSH2_VERSION " cannot use it"

struct lib_turns;
struct lib_session;

struct lib_turns *lib_turns_new(struct loop *loop);
void lib_turns_free(struct lib_turns *turns);
/* A descriptor that stands for the socket of sessions that have none. */
int lib_turns_no_socket(const struct lib_turns *turns);
/* Has its session_step called soon. */
void lib_turns_add(struct lib_turns *turns, struct lib_session *session);
void lib_turns_remove(struct lib_turns *turns, struct lib_session *session);

#endif
