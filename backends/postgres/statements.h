/* Statements of a server (pg_stat_statements), as totals and as deltas. Texts are fetched once for each query
 * id. */
#ifndef BACKENDS_POSTGRES_STATEMENTS_H
#define BACKENDS_POSTGRES_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/snapshot.h"

enum statements_basis {
    BASIS_OPENED,   /* what was added since this console opened (or since the entry was reset) */
    BASIS_INTERVAL, /* what was added over the last interval */
    BASIS_RESET,    /* the server's totals since their last reset */
};

/* One entry: query, database and role. Figures are of the snapshot's basis, except max_ms, which can be known
 * only since reset. NaN or -1: this version does not have it. */
struct statement {
    char *id; /* "QUERYID/DBID/USERID/TOPLEVEL": unique in its server */
    int64_t query_id;
    const char *query; /* raw, secrets masked; "" until fetched; borrowed from the server's text store */
    char *database;
    char *role;
    bool top_level;
    int64_t calls;
    double total_ms;
    double mean_ms; /* NaN when calls is 0 */
    double max_ms;  /* NaN unless the basis is BASIS_RESET */
    double plan_ms;
    int64_t rows;
    double rows_per_call;
    double share_percent; /* of total_ms of all entries of this basis */
    int64_t shared_hit_blocks, shared_read_blocks, shared_dirtied_blocks, shared_written_blocks;
    int64_t temp_read_blocks, temp_written_blocks;
    double io_read_ms, io_write_ms;
    int64_t wal_bytes; /* -1 before 13 */
    const struct statements_snapshot *snapshot;
};

struct statements_snapshot {
    struct snapshot base;
    const char *server;
    enum statements_basis basis;
    double since;                 /* wall time at which the basis begins; 0 unknown */
    double elapsed_s;             /* length of the basis; NaN unknown */
    struct statement *statements; /* those with calls in the basis */
    size_t count;
    size_t entries;  /* in pg_stat_statements */
    int64_t evicted; /* entries thrown away since this console opened (dealloc); -1 before 14 */
    bool reset_seen; /* the totals were reset since this console opened */
    bool io_timing;  /* track_io_timing is on */
};

const struct statement *statements_find(const struct statements_snapshot *snapshot, const char *id);
/* "since opened", "last interval", "since reset". */
const char *statements_basis_name(enum statements_basis basis);

#endif
