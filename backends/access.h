/*
 * Locked or not: whether this console may write in its environment. Production starts locked; unlocked lasts
 * 30 minutes from the last change, ends at idle or hang-up, never in the middle of a change. Locked means
 * that no connection able to write is open.
 */
#ifndef BACKENDS_ACCESS_H
#define BACKENDS_ACCESS_H

#include <stdbool.h>

#include "backends/audit.h"
#include "backends/environment.h"
#include "core/loop.h"

struct access;

enum access_state {
    ACCESS_LOCKED,
    ACCESS_UNLOCKED,
    ACCESS_OPEN /* environment without a lock */,
    ACCESS_BREAK_GLASS
};

/* `changed` is called when the state or the minutes left change. */
struct access *access_new(struct loop *loop, const struct environment *environment, struct audit *audit,
                          void (*changed)(void *data, enum access_state state), void *data);
void access_free(struct access *access);

enum access_state access_state(const struct access *access);
/* Seconds until it locks itself; 0 when locked, infinite (INFINITY) when open. */
double access_left(const struct access *access);
/* Unlocks (recorded). The reason may be NULL except for break-glass. */
void access_unlock(struct access *access, const char *reason);
bool access_break_glass(struct access *access, const char *reason, struct error *error);
void access_lock(struct access *access, const char *reason);
/* A change begins or ends: the time starts again at its end, and the lock waits for it. */
void access_change_begins(struct access *access);
void access_change_ends(struct access *access);

#endif
