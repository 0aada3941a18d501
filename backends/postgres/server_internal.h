/* What server.c and server_statements.c share. */
#ifndef BACKENDS_POSTGRES_SERVER_INTERNAL_H
#define BACKENDS_POSTGRES_SERVER_INTERNAL_H

#include "backends/postgres/locks_internal.h"
#include "backends/postgres/server.h"
#include "backends/postgres/statements_internal.h"

/* One question of a feed, from asking to the answer. */
struct feed_run {
    struct pg_server *server;
    enum pg_feed which;
    bool asked;         /* the feed waits for an answer */
    bool sent;          /* the question is with the connection */
    struct error error; /* of one of its statements */
};

struct server_facts {
    bool known;
    char version[64], role[64], database[64];
    bool superuser, sees_all, in_recovery;
    int connection_limit, query_size;
};

/* What asking for statements has found out, and what it works on. */
struct statements_work {
    struct statements_store *store;
    enum statements_basis basis;
    char *schema; /* quoted; NULL: not known yet on this connection */
    int version;  /* 110: "1.10" */
    bool begun;   /* the first slice of a reading was taken */
    double reset_at;
    int64_t deallocated;
    bool io_timing;
};

struct pg_server {
    struct loop *loop;
    const struct environment *environment;
    const struct environment_server *definition;
    void (*changed)(void *data);
    void *data;
    struct pg_route *route; /* NULL: directly */
    struct pg_connection *fast, *slow, *act;
    struct error unusable; /* what the definition lacks */
    struct error note;     /* what the watching role lacks */
    struct feed feeds[PG_FEEDS];
    struct feed_run runs[PG_FEEDS];
    char *queries[PG_FEEDS]; /* what the feeds send, as text for "why" */
    int query_version;       /* the version they were made for */
    bool query_sees_all;
    char *locks_facts_sql, *locks_prepared_sql;
    struct server_facts facts;
    const void *snapshots[PG_FEEDS];
    struct activity_history history;
    ev_periodic sample;
    int64_t activity_second, sample_second;
    bool sample_in_flight;
    struct locks_facts *locks_facts;
    bool locks_waiting; /* somebody waited at the last look */
    struct statements_work statements;
    struct server_reader *readers; /* connections for job tables (server_readers.c) */
    ev_timer readers_rest;
    void *kept; /* pg_server_slot */
    bool dying;
};

void server_readers_init(struct pg_server *server);
void server_readers_free(struct pg_server *server);
/* Closes those that may write. */
void server_readers_lock(struct pg_server *server);

/* The answer of a run is there: tells the feed. */
void server_run_done(struct feed_run *run, const struct error *error, const char *what);
void server_publish(struct pg_server *server, enum pg_feed which, void *snapshot);

/* Sends the question for statements; its run is asked, and the slow connection is up. */
void server_ask_statements(struct pg_server *server);
/* What was learned on a connection ends with it. */
void server_forget_extension(struct pg_server *server);

#endif
