/* A server watched from a test: the loop is run until a condition holds. */
#ifndef TESTS_HARNESS_WATCHER_H
#define TESTS_HARNESS_WATCHER_H

#include "backends/postgres/server.h"
#include "tests/harness/cluster.h"

struct watcher {
    struct loop *loop;
    struct environment environment;
    struct environment_server definition;
    struct pg_server *server;
    int changes;
};

/* A cluster with the extension and the roles sb_watch and sb_act, and how they log in. */
struct platform {
    struct cluster *cluster;
    char *watch, *act;
};
/* options as cluster_start takes them. */
void platform_start(struct platform *p, const char *const options[]);
void platform_end(struct platform *p);

/* Watches with these DSNs (act may be NULL). The texts are borrowed. */
void watcher_start(struct watcher *w, const char *watch, const char *act);
void watcher_end(struct watcher *w);
/* Watching, and the first facts are there. */
bool watcher_is_up(void *watcher);
/* Runs the loop until holds(data); false after the time. */
bool loop_until(struct loop *loop, double seconds, bool (*holds)(void *data), void *data);
/* The same with the watcher as data. */
#define watcher_until(w, seconds, holds) loop_until((w)->loop, (seconds), (holds), (w))
/* Runs the loop for a while: only to see that something does not happen. */
void watcher_run(struct watcher *w, double seconds);
/* A fresh snapshot of the feed (asked now); false after the time, or when the feed failed. */
bool watcher_refresh(struct watcher *w, enum pg_feed feed, double seconds);

#endif
