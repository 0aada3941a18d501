/* The entries of pg_stat_statements of one server, reading after reading, and the snapshots made of them. */
#ifndef BACKENDS_POSTGRES_STATEMENTS_INTERNAL_H
#define BACKENDS_POSTGRES_STATEMENTS_INTERNAL_H

#include "backends/postgres/connection.h"
#include "backends/postgres/statements.h"

/* Figures that only grow, as the server counts them. -1 or NaN: this version has none. */
struct statement_counters {
    int64_t calls, rows;
    double total_ms, plan_ms;
    int64_t shared_hit, shared_read, shared_dirtied, shared_written, temp_read, temp_written;
    double io_read_ms, io_write_ms;
    int64_t wal_bytes;
};

/* One entry of a reading. */
struct statement_reading {
    int64_t query_id;
    uint32_t database, role; /* oid */
    bool top_level;
    double max_ms;
    double since; /* 17+: when this entry began; NaN before */
    struct statement_counters counters;
};

struct statements_store;

/* `server` is borrowed. */
struct statements_store *statements_store_new(const void *context, const char *server);
/* NULL is allowed. */
void statements_store_free(struct statements_store *store);

/* A reading: begin, one take for each entry, end. Begin says what stands beside the entries: when the totals
 * were last reset (0: unknown, before 14) and how many entries were thrown away (-1: unknown). */
void statements_store_begin(struct statements_store *store, double wall, double monotonic, double reset_at,
                            int64_t deallocated, bool io_timing);
void statements_store_take(struct statements_store *store, const struct statement_reading *reading);
void statements_store_end(struct statements_store *store);

/* Texts: kept once for each query id, secrets masked. */
void statements_store_text(struct statements_store *store, int64_t query_id, const char *text);
/* "{1,2,3}": the query ids of the last reading whose text is not known; a fresh talloc string, NULL when all
 * are. */
char *statements_store_wanted(const void *context, struct statements_store *store, bool with_calls_only);
/* Names of databases and roles, by oid. */
void statements_store_name(struct statements_store *store, bool is_role, uint32_t oid, const char *name);

/* NULL before the first reading has ended. It keeps the texts in it alive, also
 * when the store forgets them. */
struct statements_snapshot *statements_store_snapshot(struct statements_store *store,
                                                      enum statements_basis basis);

/* "SELECT ..." of the numbers alone, for pg_stat_statements VERSION (107: "1.7") in that schema, and reading
 * a row of its answer. Fresh talloc strings. */
char *statements_query(const void *context, const char *schema, int version);
void statements_read_row(struct statement_reading *reading, const struct pg_rows *rows, int row);
/* One row: reset_at, deallocated, io timing. */
char *statements_info_query(const void *context, const char *schema, int version);
/* Texts of the ids in $1 (bigint[]): query_id, text. */
char *statements_text_query(const void *context, const char *schema);
/* is_role, oid, name of all databases and roles. */
const char *statements_names_query(void);

#endif
