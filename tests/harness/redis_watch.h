/* A watched Redis server of ours (backends/redis/server.h) on a loop of its own, for tests. */
#ifndef TESTS_HARNESS_REDIS_WATCH_H
#define TESTS_HARNESS_REDIS_WATCH_H

#include "backends/redis/server.h"
#include "tests/harness/redis.h"
#include "tests/harness/watcher.h"

struct redis_watch {
    struct loop *loop;
    struct environment environment;
    struct environment_redis definition;
    struct ssh_pool *pool; /* put it there before the start, with its loop; else NULL */
    struct redis_server *server;
    int changes;
};

/* Zero it first. The texts are borrowed; act, master and via may be NULL. */
void redis_watch_start(struct redis_watch *w, const char *url, const char *act, const char *master,
                       const char *via);
/* Frees the server and the loop. */
void redis_watch_end(struct redis_watch *w);
/* Conditions for loop_until. */
bool redis_watch_is_up(void *watch);   /* and its version is known */
bool redis_watch_is_down(void *watch); /* with an error */
#define redis_watch_until(w, seconds, holds) loop_until((w)->loop, (seconds), (holds), (w))
/* Asks (as act: sends as the login that may write) and waits up to 10 s: the reply as text as in
 * redis_box_ask, or
 * "! KIND: why" of the error. To free. */
#define redis_watch_ask(w, ...) redis_watch_ask_words((w), false, (const char *const[]){__VA_ARGS__, NULL})
#define redis_watch_act(w, ...) redis_watch_ask_words((w), true, (const char *const[]){__VA_ARGS__, NULL})
char *redis_watch_ask_words(struct redis_watch *w, bool act, const char *const words[]);
/* The same compared; frees. A text that begins with "! " is compared up to its length. */
#define redis_watch_expect(w, expected, ...)                                                                 \
    redis_watch_expect_words((w), __FILE__, __LINE__, (expected), (const char *const[]){__VA_ARGS__, NULL})
void redis_watch_expect_words(struct redis_watch *w, const char *file, int line, const char *expected,
                              const char *const words[]);

#endif
