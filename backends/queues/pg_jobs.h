/*
 * Job systems whose jobs are rows in Postgres, driven by tables: a layout says in SQL where jobs are, what
 * their columns mean and how they are acted on; everything else (parts, reading, job facts, acts) is the same
 * for all of them. Reading is done as `read`; acts are changes as `act`.
 *
 * In all SQL of a layout `@` stands for the quoted schema and its dot ("pgboss".), `$SCHEMA` for the schema
 * as a literal.
 */
#ifndef BACKENDS_QUEUES_PG_JOBS_H
#define BACKENDS_QUEUES_PG_JOBS_H

#include "backends/queues/pg_catalog.h"
#include "backends/queues/system.h"

/* What is selected of a job, SQL expressions; times are timestamptz. NULL: the system does not have it. */
enum pg_column {
    PG_ID,
    PG_TASK,
    PG_QUEUE,
    PG_PRIORITY,
    PG_RETRIES,
    PG_RETRIES_MAX,
    PG_ENQUEUED,
    PG_ETA,
    PG_EXPIRES,
    PG_TAKEN,
    PG_STARTED,
    PG_FINISHED,
    PG_LIMIT, /* seconds */
    PG_WORKER,
    PG_EXCEPTION,
    PG_MESSAGE,
    PG_TRACE,
    PG_ROOT,
    PG_PERIODIC, /* boolean */
    PG_COLUMNS
};

/* Where jobs of a state are: an SQL condition, and what they are ordered by, the head first. */
struct pg_state {
    enum job_state state;
    const char *where;
    const char *when;         /* timestamptz, never null */
    const char *rank;         /* integer, the lower the sooner; NULL: none */
    const char *when_indexed; /* instead of rank and when, when there are too many to sort; NULL: when */
};

struct pg_act {
    enum queue_act act;
    enum job_state state; /* of the jobs that it is for */
    bool destroys;
    const char *sql;    /* $NAME is the queue, $IDS the ids as an array literal; its tag counts the rows */
    const char *undo;   /* or NULL */
    const char *past;   /* "put back into their queue" */
    const char *effect; /* a sentence */
};

/* Columns of the questions for parts, in this order. */
enum pg_queue_column {
    PGQ_NAME,
    PGQ_READY,
    PGQ_SCHEDULED,
    PGQ_RETRYING,
    PGQ_RUNNING,
    PGQ_WAITING,
    PGQ_FAILED,
    PGQ_DEAD,
    PGQ_DONE,
    PGQ_PAUSED,   /* boolean; NULL: unknown */
    PGQ_HEAD_AGE, /* seconds */
    PGQ_OLDEST_ETA,
    PGQ_IN,  /* in the last minute */
    PGQ_OUT, /* the same */
    PGQ_CONSUMERS,
    PGQ_STUCK, /* running beyond their limit, or held by a worker that is gone */
    PGQ_COLUMNS
};
enum pg_worker_column {
    PGW_ID,
    PGW_HOST,
    PGW_PID,
    PGW_SEEN,
    PGW_STARTED,
    PGW_SLOTS,
    PGW_ACTIVE,
    PGW_QUEUES,
    PGW_VERSION,
    PGW_COLUMNS
};
enum pg_schedule_column {
    PGS_ID,
    PGS_NAME,
    PGS_TASK,
    PGS_KIND, /* "celery" or "cron": fields in PGS_WHEN; "every": seconds; "text" */
    PGS_WHEN,
    PGS_ZONE,
    PGS_QUEUE,
    PGS_TENANT,
    PGS_ARGUMENTS, /* JSON */
    PGS_ENABLED,
    PGS_LAST, /* epoch, as all times here */
    PGS_RUNS,
    PGS_BASE, /* what the next run is counted from when there was none; NULL: unknown */
    PGS_NEXT, /* when the system itself keeps it */
    PGS_START,
    PGS_EXPIRES,
    PGS_COLUMNS
};

struct pg_layout {
    const char *name;  /* "pg-boss 10" */
    const char *place; /* what tells systems over several schemas apart; NULL: nothing needs to */
    const char *const
        *requires; /* "relation.column" ..., NULL at the end; the first relation is its own alone */
    /* Of a system over the schemas of tenants: is that one of them? NULL: a system has one schema. */
    bool (*fits)(const struct pg_catalog *catalog, const char *schema);
    const char *from; /* "@job AS j" */
    const char *id_type;
    const char *columns[PG_COLUMNS];
    const char *data;    /* the arguments, jsonb; NULL: none that can be shown */
    bool data_is_repr;   /* data is how a program showed its arguments: looked through, never parsed */
    const char *tenant;  /* text; NULL: from data by the usual names */
    const char *row;     /* jsonb of the whole row */
    const char *secrets; /* ",data,output,": keys of it that hold arguments and results */
    const struct pg_state *states;
    size_t state_count;
    const char *queues;      /* NULL: part absent */
    const char *queues_lite; /* when that takes too long; NULL: none */
    const char *workers;     /* NULL: only what runs is known */
    double silent_s;         /* a worker that was not seen for so long is silent */
    const char *workers_note;
    const char *schedule;
    double schedule_slack_s; /* how much later than due its bookkeeping may be */
    const char *scheduler;   /* one row: seconds since a sign of life of the scheduler, and what it was */
    double scheduler_silent_s;
    bool scheduler_sure; /* without the sign for so long it does not run; else only when entries are late */
    const struct pg_act *acts;
    size_t act_count;
    const char *read_only;                /* why acts are absent that are not in `acts`; NULL: the usual */
    const char *part_absent[QUEUE_PARTS]; /* why; NULL: it is there */
    const char *(*act_absent)(enum queue_act act); /* for acts that are not in `acts`; NULL: read_only */
    /* "UPDATE ON @a, @b": what the acting login needs; NULL: SELECT, UPDATE, DELETE on all tables of the
     * schema. */
    const char *act_rights;
    /* For acts that are not on rows of jobs (a schedule's entries); NULL: none. */
    struct change *(*prepare)(struct queue_system *system, const struct queue_act_request *request,
                              struct error *error);
};

enum { PG_SCHEMAS_MOST = 500 };

struct pg_jobs {
    struct queue_system base;
    const struct pg_layout *layout;
    const char *login;    /* for pg_server_read; NULL: the login's own database */
    const char *database; /* its name */
    const char **schemas; /* one, unless a system is spread over the tenants' */
    size_t schema_count, schemas_left_out;
    uint64_t catalog_version; /* that they were taken from */
    const char *data_tenant;  /* SQL: the tenant out of the layout's data */
    bool lite;                /* counting everything took too long */
    bool sampled;             /* so did looking through all that failed */
    double lite_until, sampled_until;
    struct {
        double begun, cost, answered; /* monotonic */
        struct error error;           /* of the last answer */
    } parts[QUEUE_PARTS];
    /* Where the last read ended, so that the next page begins there. */
    struct {
        char *queue;
        unsigned states;
        int from;
        int64_t offset;
        size_t state;
        bool indexed;
        char *keys[3];
    } page;
};

/* A new system of this layout; schemas are copied. */
struct pg_jobs *pg_jobs_new(struct queue_search *search, const struct queue_adapter *adapter,
                            const struct pg_layout *layout, const struct pg_catalog *catalog,
                            const char *const *schemas, size_t schema_count);

/* The functions of an adapter. */
const char *pg_jobs_part_absent(const struct queue_system *system, enum queue_part part);
const char *pg_jobs_act_absent(const struct queue_system *system, enum queue_act act);
void pg_jobs_ask(struct queue_system *system, enum queue_part part);
struct queue_read *pg_jobs_read(struct queue_system *system, const struct queue_read_request *request,
                                struct queue_read_handler handler);
void pg_jobs_stop(struct queue_read *read);
void pg_jobs_forsake(struct queue_read *read);
void pg_jobs_job(struct queue_system *system, const struct job *job,
                 void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                 void *data);
struct queue_prepare *pg_jobs_prepare(struct queue_system *system, const struct queue_act_request *request,
                                      struct queue_prepare_handler handler);
void pg_jobs_forsake_prepare(struct queue_prepare *prepare);

/* ---- what the files of this engine share ---- */

/* Schemas of tenants come and go: takes those that the last look at the catalogue has found. */
void pg_jobs_follow_tenants(struct pg_jobs *jobs);
/* The text with the placeholders for one schema filled in. Talloc string under context. */
char *pg_jobs_sql(const void *context, const char *schema, const char *text);
/* The FROM of a layout with so many percent of the blocks of its first table, at random. */
char *pg_jobs_sampled(const void *context, const char *from, double percent);
/* 'text' with what must be escaped; for a NULL: NULL. */
char *pg_literal(const void *context, const char *text);
/* "text" */
char *pg_identifier(const void *context, const char *text);
/* The list of the columns of a job, as pg_jobs_fill reads it, for SELECT. `trace`: with the whole traceback.
 */
char *pg_jobs_columns(const void *context, const struct pg_jobs *jobs, bool trace);
enum { PG_FIRST_COLUMN = 3 }; /* three keys come first */
/* Column after those of the job itself: tenant, size, arguments. */
enum { PG_TENANT = PG_COLUMNS, PG_SIZE, PG_DATA, PG_COLUMNS_ALL };
/* A job out of a row; texts under context, except arguments' text. *data: the arguments (borrowed), or NULL.
 */
void pg_jobs_fill(const void *context, const struct pg_jobs *jobs, struct job *job,
                  const struct pg_rows *rows, int row, enum job_state state, const char **data);
/* What is shown of the arguments in one line, no values; or NULL. */
char *pg_jobs_arguments(const void *context, const struct pg_jobs *jobs, const char *data);
const struct pg_state *pg_jobs_state(const struct pg_layout *layout, enum job_state state);
/* What was denied, with the GRANT; what timed out, with why. */
void pg_jobs_explain(const struct pg_jobs *jobs, struct error *error, const char *what);
struct pg_connection *pg_jobs_connection(struct pg_jobs *jobs);

/* ---- texts (pg_jobs_text.c) ---- */

/* The names and types of JSON's values, one line, no values: "{tenant: str, n: int}". NULL when it is none or
 * too long. */
char *pg_json_shape(const void *context, const char *json);
/* The last place that a traceback of Python, Node or Ruby names, or NULL. */
char *pg_trace_frame(const void *context, const char *trace);

/* A change on rows: the frozen jobs, in steps of one queue each. */
struct pg_target {
    char *id, *queue;
};
struct change *pg_jobs_change(struct pg_jobs *jobs, const struct pg_act *act, struct pg_target *targets,
                              size_t count, int64_t left_out, struct error *error);
/* An empty change of this system, with environment, server and role filled in; NULL with error: no login that
 * may write is defined. */
struct change *pg_jobs_change_new(struct pg_jobs *jobs, struct error *error);
/* A step that runs one statement; its tag, or its first cell when it gives rows, is how many it reached of
 * `expected`. The texts are under the change. */
void pg_jobs_step(struct change *change, struct change_step *step, struct pg_jobs *jobs, const char *sql,
                  int64_t expected);

#endif
