/* Throw-away Redis servers for tests: real ones, each in a folder of its own, on a Unix socket and a free
 * port of 127.0.0.1. They end with the test, however it ends. What cannot be done fails the cmocka test.
 *
 *     struct redis_box *r = redis_box_start("maxmemory 20mb\n");
 *     redis_box_do(r, "LPUSH", "celery", "x");
 *     char *length = redis_box_ask(r, "LLEN", "celery"); ... free(length);
 *     char *url = redis_box_url(r, 0, NULL); ... free(url);
 *     redis_box_free(r);
 */
#ifndef TESTS_HARNESS_REDIS_H
#define TESTS_HARNESS_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct redis_box;

/* The login of changes in tests: it may do what docs/jobs.md says that it needs, so that each act proves that
 * page; tests/meta/test_readme.sh compares the two. */
#define REDIS_BOX_ACT "sb_act:act"
#define REDIS_BOX_ACT_RULES                                                                                  \
    "~* &* -@all +brpop +client|setname +del +eval +exists +expire +get +hdel +hexists +hget "               \
    "+hmget +hset +incr +lindex +llen +lmove +lpop +lpos +lpush +lrange +lrem +lset +persist +ping "         \
    "+publish +pubsub|numsub +rename +renamenx +rpop +rpoplpush +rpush +sadd +select +set +sismember +srem " \
    "+sscan +unlink +xack +xadd +xclaim +xdel +xgroup|delconsumer +xinfo|consumers +xinfo|groups +xpending " \
    "+xrange +zadd +zcard +zrange +zrem +zscore"

/* Start it before threads run. `config`: further lines of redis.conf ("requirepass x\nuser a on >b ~*
 * +@all\n"), or NULL. Returns when it answers. Nothing is saved to disk unless the lines say so. */
struct redis_box *redis_box_start(const char *config);
/* One that follows another; returns when it is in step. */
struct redis_box *redis_box_replica(const struct redis_box *master, const char *config);
/* A Sentinel that watches the master under that name with quorum 1, quick to find it down (1 s); it knows the
 * replicas when this returns. */
struct redis_box *redis_box_sentinel(const struct redis_box *master, const char *name, size_t replicas);
/* Masters of one Cluster, all slots shared evenly in order. */
void redis_box_cluster(struct redis_box *nodes[], size_t count, const char *config);
/* A replica of one of them; returns when it is in step and all of them know it. */
struct redis_box *redis_box_cluster_replica(struct redis_box *nodes[], size_t count, size_t of);
/* NULL is fine. */
void redis_box_free(struct redis_box *r);

int redis_box_port(const struct redis_box *r);
const char *redis_box_socket(const struct redis_box *r); /* borrowed */
const char *redis_box_folder(const struct redis_box *r); /* borrowed */
pid_t redis_box_pid(const struct redis_box *r);
/* redis://[LOGIN@]127.0.0.1:PORT/DATABASE; login "user:password", REDIS_BOX_ACT or NULL. To free. */
char *redis_box_url(const struct redis_box *r, int database, const char *login);
/* The same through the Unix socket: unix://[LOGIN@]/PATH?db=N. To free. */
char *redis_box_socket_url(const struct redis_box *r, int database, const char *login);

/* Runs a command in a connection of its own (as default user, with the requirepass of the config). Its reply
 * as text, to free: strings as they are, numbers in digits, "(nil)", elements of arrays a line each, errors
 * as they are ("ERR ..."). Words are C strings. */
#define redis_box_ask(r, ...) redis_box_ask_words((r), (const char *const[]){__VA_ARGS__, NULL})
char *redis_box_ask_words(struct redis_box *r, const char *const words[]);
/* The same in another database. */
#define redis_box_ask_in(r, database, ...)                                                                   \
    redis_box_ask_words_in((r), (database), (const char *const[]){__VA_ARGS__, NULL})
char *redis_box_ask_words_in(struct redis_box *r, int database, const char *const words[]);
/* Where the reply is not wanted; an error fails the test. */
#define redis_box_do(r, ...) redis_box_do_words((r), (const char *const[]){__VA_ARGS__, NULL})
void redis_box_do_words(struct redis_box *r, const char *const words[]);
/* One command of binary words, to free. */
char *redis_box_send(struct redis_box *r, int database, int count, const char *const words[],
                     const size_t lengths[]);
/* Asks again and again until the reply is `expected`; false after the time. */
#define redis_box_await(r, seconds, expected, ...)                                                           \
    redis_box_await_words((r), (seconds), (expected), (const char *const[]){__VA_ARGS__, NULL})
bool redis_box_await_words(struct redis_box *r, double seconds, const char *expected,
                           const char *const words[]);

/* SIGSTOP: it hangs, its kernel still accepts connections. */
void redis_box_pause(struct redis_box *r);
void redis_box_resume(struct redis_box *r);
/* SIGKILL, and it is gone when this returns. */
void redis_box_kill(struct redis_box *r);
/* SHUTDOWN NOSAVE. */
void redis_box_halt(struct redis_box *r);
/* Starts a halted or killed one again, on the same port; returns when it answers (LOADING is an answer). */
void redis_box_again(struct redis_box *r);

#endif
