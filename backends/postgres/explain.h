/*
 * EXPLAIN of a statement: the plan (generic for parametrised texts), and the measured plan in a sandbox. Each
 * run has its own connection as `read`, which is closed afterwards.
 */
#ifndef BACKENDS_POSTGRES_EXPLAIN_H
#define BACKENDS_POSTGRES_EXPLAIN_H

#include "backends/audit.h"
#include "backends/postgres/plan.h"
#include "backends/postgres/server.h"

enum { EXPLAIN_PARAMETERS = 64 };

/* What is to be explained. Texts are borrowed until explain_new returns. */
struct explain_request {
    const char *sql;                         /* one statement, with $n where it is parametrised */
    const char *database;                    /* NULL: where the server's DSN leads */
    const char *search_path;                 /* "al_noor, public" or NULL: as the role has it */
    bool truncated;                          /* the text is as long as the server keeps: refused */
    bool measure;                            /* EXPLAIN ANALYZE in the sandbox; else the plan alone */
    const char *values[EXPLAIN_PARAMETERS];  /* as the user wrote them; NULL is SQL NULL. Only for measure */
    const char *origins[EXPLAIN_PARAMETERS]; /* where each value comes from: "common value of pg_stats" */
    size_t value_count;
    double statement_timeout_s; /* of the measured run; 0: 30 s */
};

enum explain_phase {
    EXPLAIN_CONNECTING,
    EXPLAIN_CHECKING,
    EXPLAIN_RUNNING,
    EXPLAIN_CANCELLING,
    EXPLAIN_DONE,
    EXPLAIN_FAILED
};

struct explain;

/* Starts. `changed` at each phase; at DONE or FAILED for the last time. Recorded in the audit log (before and
 * after) when it measures. */
struct explain *explain_new(struct loop *loop, struct pg_server *server, struct audit *audit,
                            const struct explain_request *request,
                            void (*changed)(void *data, struct explain *explain), void *data);
/* Cancels what runs and disconnects. */
void explain_free(struct explain *explain);
/* The cancel is on its way within 100 ms. */
void explain_cancel(struct explain *explain);

enum explain_phase explain_phase(const struct explain *explain);
double explain_elapsed_s(const struct explain *explain);
const struct error *explain_error(const struct explain *explain);
const struct plan *explain_plan(const struct explain *explain); /* when DONE */
const char *explain_note(const struct explain *explain); /* "generic plan · as sb_read on main · 14:05:08" */

/* What a statement needs before it can be measured, learned on a connection as `read`: its parameters with
 * types, values proposed for them and where they come from, and whether it is a plain read. */
struct explain_parameter {
    char *type;   /* "integer" */
    char *value;  /* proposed; NULL: none known */
    char *origin; /* "common value of invoice.student_id", "from the running session" */
};
struct explain_check {
    bool plain_read;
    struct error refusal; /* when not: what makes it more than a plain read */
    char *role;           /* as whom it would run */
    char *server, *database, *search_path;
    struct explain_parameter *parameters;
    size_t parameter_count;
};
/* `done` exactly once; the check is valid during it. NULL check with error when it could not be made. */
void explain_check(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                   void (*done)(void *data, const struct explain_check *check, const struct error *error),
                   void *data);

/*
 * Schemas that hold all relations which the statement names without a schema (the application sets
 * search_path), the largest first, at most 500. For statements that fail with ERROR_MISSING. `done` exactly
 * once; schemas are valid during it.
 */
struct explain_schema {
    const char *name; /* quoted where search_path needs it */
    int64_t bytes;    /* of those relations, estimated; -1 unknown */
};
void explain_schemas(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                     void (*done)(void *data, const struct explain_schema *schemas, size_t count,
                                  const struct error *error),
                     void *data);

#endif
