/*
 * Locked or not: whether this console may write in its environment. Production starts locked; unlocked lasts
 * 30 minutes from the last change, ends at idle or hang-up, never in the middle of a change. Locked means
 * that no connection able to write is open.
 *
 * A console that unlocked looks every second whether the marker of it (below) is still there, and locks
 * itself when it is gone: `signalbox lock`, or another console, locks all of them.
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

/* `audit` must live longer. `changed` is called when the state or the minutes left change. */
struct access *access_new(struct loop *loop, const struct environment *environment, struct audit *audit,
                          void (*changed)(void *data, enum access_state state), void *data);
void access_free(struct access *access);

enum access_state access_state(const struct access *access);
/* Seconds until it locks itself; 0 when locked, infinite (INFINITY) when open. */
double access_left(const struct access *access);
/*
 * The unlock is known to this user's other processes too (batch commands): a file in the state folder, mode
 * 0600, says until when. access_new starts unlocked when there is one. These two block; `signalbox unlock`
 * and `lock` call them, and so does access_*. `reason` may be NULL.
 */
bool access_marker_write(const char *environment, double seconds, struct error *error);
bool access_marker_remove(const char *environment, struct error *error);
/* Seconds for which the marker still unlocks; 0: there is none. */
double access_marker_left(const char *environment);
/* 30 minutes; SIGNALBOX_TEST_UNLOCK_SECONDS may shorten it. */
double access_unlock_seconds(void);

/* Unlocks (recorded). The reason may be NULL except for break-glass. */
void access_unlock(struct access *access, const char *reason);
bool access_break_glass(struct access *access, const char *reason, struct error *error);
void access_lock(struct access *access, const char *reason);
/* A change begins or ends: the time starts again at its end, and the lock waits for it. */
void access_change_begins(struct access *access);
void access_change_ends(struct access *access);

#endif
