/* What ending or cancelling sessions would really do, in words; only what can be known. Fresh talloc strings.
 */
#ifndef BACKENDS_POSTGRES_SESSION_EFFECT_H
#define BACKENDS_POSTGRES_SESSION_EFFECT_H

#include "backends/postgres/locks.h"
#include "backends/postgres/session_change.h"

/* "app_user · gunicorn 10.0.0.2 · idle in transaction 4 m 12 s · has written: yes" */
char *session_subject(const void *context, const struct session *session);
/* Of one session. `node` is its place in the blocking tree; NULL: it holds up nobody. */
char *session_effect_one(const void *context, enum session_verb verb, const struct session *session,
                         const struct locks_snapshot *locks, const struct lock_node *node);
/* Of several; `behind` other sessions wait for them. */
char *session_effect_many(const void *context, enum session_verb verb, const struct session *const sessions[],
                          size_t count, size_t behind);
/* The milder lever, or NULL. */
char *session_milder(const void *context, enum session_verb verb, const struct session *session,
                     const struct locks_snapshot *locks, const struct lock_node *node);

#endif
