/*
 * One connection to a Redis server, on the loop (hiredis, async). Names are resolved in a worker; connecting,
 * AUTH, SELECT and CLIENT SETNAME have one deadline of our own, because hiredis 0.14 has none. Commands and
 * replies are binary: always with their lengths.
 *
 * redisReply is hiredis' own and valid only during the callback that receives it.
 */
#ifndef BACKENDS_REDIS_CONNECTION_H
#define BACKENDS_REDIS_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/connection_state.h"
#include "backends/redis/url.h"
#include "core/error.h"
#include "core/loop.h"

struct redisReply;
struct redis_connection;

/* A command: words with their lengths. */
struct redis_command {
    int count;
    const char *const *words;
    const size_t *lengths; /* NULL: all words are C strings */
};
/* REDIS_COMMAND("LLEN", key): of C strings. */
#define REDIS_COMMAND(...)                                                                                   \
    ((struct redis_command){.count = (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),          \
                            .words = (const char *const[]){__VA_ARGS__}})

struct redis_handler {
    /* Once for each command, in order; either reply or error is NULL. A reply of type error comes as an error
     * (redis_error). Not called for commands that were not answered before the connection was lost. May be
     * NULL. Must not free the connection. */
    void (*reply)(void *data, int index, const struct redisReply *reply, const struct error *error);
    /* Once, at the end of everything; error is NULL unless the connection never came up, was lost, or the
     * deadline passed. The data may be freed here. */
    void (*done)(void *data, const struct error *error);
    void *data;
};

struct redis_connection_options {
    const char *label;           /* for errors: "production: broker" */
    const char *client_name;     /* CLIENT SETNAME; "signalbox-watch" */
    const struct redis_url *url; /* copied; all its places are tried in order */
    /* One for each place of the URL: the local end of a tunnel that leads there. NULL: directly. */
    const char *const *sockets;
    const char *via; /* the host that the tunnels go through, for errors */
    double connect_timeout_s;
    bool keep;     /* connects again for ever with back-off and jitter; else one try */
    bool watching; /* refuses every command that is not on the list (watch_commands.h) */
    void (*changed)(void *data, struct redis_connection *connection); /* the state changed; may be NULL */
    /* May it connect now? False with an error: no, it is down. False without (ERROR_NONE): not yet,
     * redis_connection_open is called again when it may. NULL: yes. */
    bool (*ready)(void *data, struct error *error);
    /* Why a connection that was begun at `since` (clock_monotonic) failed, where a tunnel is to blame: here
     * it is only seen that it was closed. May be NULL, and may return NULL. */
    const struct error *(*blame)(void *data, double since);
    /* What a subscribed connection is told: "message", "pmessage" ...; may be NULL. */
    void (*pushed)(void *data, const struct redisReply *reply);
    void *data;
};

/* Copies the options. Connects at the first request, or at redis_connection_open. */
struct redis_connection *redis_connection_new(struct loop *loop,
                                              const struct redis_connection_options *options);
/* Handlers still open get `done` with ERROR_LOST before this returns. NULL is allowed. */
void redis_connection_free(struct redis_connection *connection);
void redis_connection_open(struct redis_connection *connection);
/* Ends it; requests in flight get ERROR_LOST. The next request connects again. */
void redis_connection_close(struct redis_connection *connection);

enum connection_state redis_connection_state(const struct redis_connection *connection);
/* Why it is down; kind ERROR_NONE when it is not. */
const struct error *redis_connection_error(const struct redis_connection *connection);
/* "10.0.0.5:6379": the place it is connected to; NULL before. */
const char *redis_connection_place(const struct redis_connection *connection);

/* Sends the commands in one round trip, copied. Requests made while connecting wait (their deadline begins
 * when it is up). When the deadline passes (0: none) done gets ERROR_TIMEOUT and the connection is made anew.
 * When it is down and not yet due for a new try, done is called with its error in a later turn. */
void redis_connection_send(struct redis_connection *connection, const struct redis_command *commands,
                           int count, double deadline_s, struct redis_handler handler);

/* PSUBSCRIBEs, now and after each new connect; the connection is used for nothing else. Patterns are copied.
 */
void redis_connection_psubscribe(struct redis_connection *connection, const struct redis_command *patterns);

/*
 * An error reply as an error value: NOAUTH, WRONGPASS -> ERROR_AUTH, NOPERM -> ERROR_DENIED with the ACL
 * SETUSER that grants it, LOADING, MASTERDOWN, CLUSTERDOWN, BUSY -> ERROR_REFUSED, READONLY -> ERROR_SERVER
 * with what to do, OOM, MISCONF, WRONGTYPE, unknown command -> ERROR_UNSUPPORTED ...
 */
void redis_error(struct error *error, const char *where, const char *what, const struct redisReply *reply);

#endif
