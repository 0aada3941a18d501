/* Sessions of a server (pg_stat_activity), and their history by wait class. */
#ifndef BACKENDS_POSTGRES_ACTIVITY_H
#define BACKENDS_POSTGRES_ACTIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/snapshot.h"

enum wait_class { WAIT_RUNNING, WAIT_IO, WAIT_LOCK, WAIT_OTHER, WAIT_CLASSES };

/* All texts are raw (not yet safe), secrets masked; NULL when the server gives none or the role may not see
 * it. */
struct session {
    int pid;
    char *backend_start; /* as the server writes it, UTC with microseconds: with the pid, the identity */
    char *id;            /* "8121@2026-11-21 13:58:31.204118+00": unique in its server */
    char *backend_type;  /* "client backend", "walsender", "autovacuum worker" ... */
    char *state;         /* "active", "idle", "idle in transaction" ...; NULL for background processes */
    char *wait_type;     /* NULL: not waiting */
    char *wait;
    enum wait_class wait_class; /* of active sessions */
    double session_s;           /* ages when the snapshot was taken; NaN when not applicable */
    double transaction_s;
    double statement_s; /* active: since query_start; idle in transaction: since the last statement ended */
    char *database;
    char *role;
    char *application;
    char *client;         /* address, or "local" */
    bool has_xid;         /* "it has written: yes" */
    int64_t query_id;     /* 0: unknown (before 14) */
    char *query;          /* running, or the last one when idle */
    bool query_truncated; /* as long as track_activity_query_size - 1 */
    int64_t *blocked_by;  /* pids; 0 is a prepared transaction */
    size_t blocked_by_count;
    const struct activity_snapshot *snapshot; /* the one it belongs to */
};

struct activity_snapshot {
    struct snapshot base;
    const char *server; /* its name, for rows that know their server */
    struct session *sessions;
    size_t count;
    size_t hidden;        /* sessions that the role may not see into */
    int connection_limit; /* max_connections; 0 unknown */
};

/* One sample a second; gaps are recorded as gaps. */
struct activity_sample {
    int64_t second;               /* wall clock, seconds since the epoch */
    int16_t active[WAIT_CLASSES]; /* -1 in a gap */
};
enum { ACTIVITY_HISTORY = 3600 };
struct activity_history {
    struct activity_sample samples[ACTIVITY_HISTORY]; /* a ring: the oldest is at `first` */
    size_t first, count;
};

/* The session with this id ("PID@START"; or the only one with this pid when there is no "@"), or NULL. */
const struct session *activity_find(const struct activity_snapshot *snapshot, const char *id);

#endif
