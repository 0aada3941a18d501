/* What the blocking tree is made of: the answers of one round trip, and the building, which needs no server.
 */
#ifndef BACKENDS_POSTGRES_LOCKS_INTERNAL_H
#define BACKENDS_POSTGRES_LOCKS_INTERNAL_H

#include "backends/postgres/connection.h"
#include "backends/postgres/locks.h"

/* A row of pg_locks that matters: one that waits, or one on what somebody waits for. */
struct lock_fact {
    int pid;           /* 0: of a prepared transaction */
    char *transaction; /* the virtual transaction: ties together the locks of a prepared transaction */
    char *type, *mode; /* "relation", "AccessExclusive" */
    char *key;         /* the same for all locks on the same thing */
    char *on;          /* for people */
    int64_t xid;       /* of type transactionid, else 0 */
    bool granted;
    double waited_s; /* NaN unknown */
};

struct prepared_fact {
    int64_t xid;
    char *gid, *owner;
    double age_s;
};

/* Texts and arrays are talloc children of it. */
struct locks_facts {
    struct activity_snapshot
        *activity; /* those who wait (blocked_by says for whom) and those they wait for */
    struct lock_fact *locks;
    size_t lock_count;
    struct prepared_fact *prepared;
    size_t prepared_count;
};

/* Takes over facts->activity (sets it to NULL). `server` is borrowed. */
struct locks_snapshot *locks_build(struct locks_facts *facts, const char *server);

/* Statements, one round trip: sessions, locks, prepared transactions. All are cheap when nobody waits.
 * Without pg_monitor (`sees_waits` false) who waits is looked up in pg_locks. Fresh talloc strings. */
char *locks_sessions_query(const void *context, int version, bool sees_waits);
char *locks_facts_query(const void *context, int version, bool sees_waits);
char *locks_prepared_query(const void *context, bool sees_waits);
/* All locks of the pid $1. */
char *locks_held_query(const void *context, int version);

void locks_read_facts(struct locks_facts *facts, const struct pg_rows *rows);
void locks_read_prepared(struct locks_facts *facts, const struct pg_rows *rows);
struct held_lock *locks_read_held(const void *context, const struct pg_rows *rows);

/* Whether a lock of one mode keeps another from being granted ("RowExclusive", "Share"). */
bool locks_conflict(const char *held, const char *wanted);

#endif
