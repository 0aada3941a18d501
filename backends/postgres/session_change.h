/* Cancelling and ending sessions, as changes. */
#ifndef BACKENDS_POSTGRES_SESSION_CHANGE_H
#define BACKENDS_POSTGRES_SESSION_CHANGE_H

#include "backends/change.h"
#include "backends/postgres/server.h"

enum session_verb { SESSION_CANCEL, SESSION_TERMINATE };

/*
 * A change that cancels or ends the sessions with these ids ("PID@START") of one server, as `act`. The list
 * is frozen here. With several, walsenders, backups, anti-wraparound vacuums and the console's own
 * connections are left out and counted in left_out; a single one that is named is taken. The effect comes
 * from the locks snapshot: who goes next and takes which lock, how many wait on. NULL with error when no id
 * can be resolved, or the server has no `act`.
 */
struct change *session_change_new(struct pg_server *server, enum session_verb verb, const char *const *ids,
                                  size_t count, struct error *error);

/* The identities of all sessions that wait behind this one. Talloc'd array under context. */
char **session_behind(const void *context, const struct locks_snapshot *locks, const char *id, size_t *count);

#endif
