/* Who blocks whom: the blocking tree, with prepared transactions and waiters without a visible root. */
#ifndef BACKENDS_POSTGRES_LOCKS_H
#define BACKENDS_POSTGRES_LOCKS_H

#include "backends/postgres/activity.h"
#include "core/snapshot.h"

enum lock_node_kind {
    LOCK_SESSION,
    LOCK_PREPARED,  /* a prepared transaction: pid 0, `gid` names it */
    LOCK_INVISIBLE, /* stands above waiters whose blocker cannot be seen: a red state */
};

/* One place in the tree, in drawing order (depth first). A waiter behind two blockers stands once, under the
 * first; the other pids are in session->blocked_by. */
struct lock_node {
    enum lock_node_kind kind;
    int pid;
    char *id;        /* as session.id; "prepared GID"; "?" with a number */
    int root;        /* pid of the root of this tree; 0 for prepared and invisible */
    int depth;       /* 0: a root */
    double waited_s; /* NaN when not waiting */
    char *mode;      /* wanted: "AccessExclusive"; NULL for a root */
    char *relation;  /* wanted: "al_noor.invoice", "transaction 4711", "advisory 42"; NULL for a root */
    char *holds; /* what it holds of what those behind it want: "RowExclusive al_noor.invoice"; may be NULL */
    bool advisory; /* what holds up the others is an advisory lock */
    int behind;    /* sessions that wait behind it, directly or not */
    char *gid;     /* prepared: name, role, age */
    char *owner;
    double prepared_s;
    const struct session *session; /* NULL for prepared and invisible */
    const struct locks_snapshot *snapshot;
};

struct locks_snapshot {
    struct snapshot base;
    const char *server;
    struct lock_node *nodes;
    size_t count;
    size_t waiting;                           /* sessions that wait for a lock */
    const struct activity_snapshot *activity; /* of the same round trip; held */
};

/* One lock of a session, for "all locks of a session" (fetched on demand by pg_server_fetch_locks). */
struct held_lock {
    char *type;     /* "relation", "transactionid", "advisory" ... */
    char *relation; /* what it is on */
    char *mode;
    bool granted;
    bool fast_path;
    double waited_s; /* NaN when granted */
};

const struct lock_node *locks_find(const struct locks_snapshot *snapshot, const char *id);
/* The waiter that goes next when `node` ends (first in the queue directly behind it), or NULL. */
const struct lock_node *locks_next(const struct locks_snapshot *snapshot, const struct lock_node *node);

#endif
