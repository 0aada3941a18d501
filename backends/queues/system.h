/*
 * The adapter interface: what each job system (celery, rq, ...) gives, and the one struct that carries it. An
 * adapter is a const table; what it cannot do is absent, with the reason.
 */
#ifndef BACKENDS_QUEUES_SYSTEM_H
#define BACKENDS_QUEUES_SYSTEM_H

#include "backends/environment.h"
#include "backends/feed.h"
#include "backends/hosts/fleet.h"
#include "backends/postgres/server.h"
#include "backends/queues/act.h"
#include "backends/queues/read.h"
#include "backends/queues/snapshot.h"
#include "backends/redis/server.h"

enum queue_part { PART_QUEUES, PART_WORKERS, PART_FAILURES, PART_SCHEDULE, PART_ASIDE, QUEUE_PARTS };
/* "queues", "workers" ... */
const char *queue_part_name(enum queue_part part);

struct queue_system;

/* Where systems are looked for. Exactly one of redis, postgres, host is set. */
struct queue_place {
    struct redis_server *redis;
    int database; /* of Redis; -1: of its URL */
    struct pg_server *postgres;
    struct host *host;
    const struct environment_jobs *settings; /* of the environment's file; NULL: found by itself */
};

struct queue_search; /* one looking at one place (queues.c) */

struct queue_adapter {
    const char *id;    /* "celery" */
    const char *title; /* "Celery on Redis" */
    enum { ON_REDIS, ON_POSTGRES, ON_HOST } where;
    double intervals[QUEUE_PARTS]; /* seconds between two looks; 0: 5 s */
    /*
     * Looks whether the system is there, reading only; calls queue_search_found once for each that is (a new
     * talloc chunk that begins with struct queue_system), then queue_search_done once. It must come to an end
     * when the search is forsaken: the handlers check queue_search_alive.
     */
    void (*search)(struct queue_search *search, const struct queue_place *place);
    /* Why it cannot; NULL: it can. Both texts are static or of the system's life. */
    const char *(*part_absent)(const struct queue_system *system, enum queue_part part);
    const char *(*act_absent)(const struct queue_system *system, enum queue_act act);
    /* Asks for a part. Ends in queue_system_publish, or queue_system_failed, exactly once. */
    void (*ask)(struct queue_system *system, enum queue_part part);
    /* Somebody wants a part, or no longer: for what listens (events). May be NULL. */
    void (*want)(struct queue_system *system, enum queue_part part, bool wanted);
    /* The servers are about to go: lets go of connections and listeners of its own; nothing is asked any
     * more. What is in flight still comes back (with ERROR_LOST), then the system is freed, and its
     * destructors must not touch a server. May be NULL. */
    void (*close)(struct queue_system *system);
    /* As in read.h and act.h. The adapter makes the structs (talloc chunks that begin with the generic ones).
     */
    struct queue_read *(*read)(struct queue_system *system, const struct queue_read_request *request,
                               struct queue_read_handler handler);
    void (*stop)(struct queue_read *read);
    void (*forsake)(struct queue_read *read);
    void (*job)(struct queue_system *system, const struct job *job,
                void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                void *data);
    struct queue_prepare *(*prepare)(struct queue_system *system, const struct queue_act_request *request,
                                     struct queue_prepare_handler handler);
    void (*forsake_prepare)(struct queue_prepare *prepare);
};

/* First member of every read and prepare of an adapter. */
struct queue_read {
    struct queue_system *system;
};
struct queue_prepare {
    struct queue_system *system;
};

/* First member of every system of an adapter. */
struct queue_system {
    const struct queue_adapter *adapter;
    const char
        *name; /* of its settings, else the adapter's id; set by queues.c. Two places may have the same */
    const char *server; /* the Redis, Postgres server or host it is on; set by queues.c */
    const char *place;  /* "broker, database 0", "main, schema pgboss": for people; unique for an adapter */
    struct queue_place at;
    struct loop *loop;
    const struct environment *environment;
    /* internal (queues.c) */
    struct queues *queues;
    const char *id; /* "celery@broker, database 0" */
    bool closed;
    struct feed feeds[QUEUE_PARTS];
    const void *latest[QUEUE_PARTS]; /* snapshots */
    unsigned answers[QUEUE_PARTS];   /* how often each was read: rates need two */
};

/* ---- for adapters ---- */

/* A part was read: takes the snapshot over and tells the feed. */
void queue_system_publish(struct queue_system *system, enum queue_part part, void *snapshot);
void queue_system_failed(struct queue_system *system, enum queue_part part, const struct error *error);
/* Something that can be seen changed though no part was read (an event was heard). */
void queue_system_changed(struct queue_system *system);
/* A zeroed system of `size` bytes with adapter, place, loop and environment filled in. */
void *queue_system_new(struct queue_search *search, const struct queue_adapter *adapter, size_t size);
bool queue_search_alive(const struct queue_search *search);
void queue_search_found(struct queue_search *search, struct queue_system *system);
/* Error NULL: it looked everywhere. */
void queue_search_done(struct queue_search *search, const struct error *error);
struct loop *queue_search_loop(const struct queue_search *search);
/* What an adapter has found out about this place, from one search to the next: 0 at first. */
int *queue_search_memory(struct queue_search *search);
/* The environment's Redis server of that name; NULL: there is none. */
struct redis_server *queue_search_redis(const struct queue_search *search, const char *name);

/* All adapters. */
extern const struct queue_adapter *const queue_adapters[];
extern const size_t queue_adapter_count;

#endif
