/*
 * The one loop (libev) and the workers for what blocks. Everything outside of workers runs on the loop's
 * thread, and nothing there may block. Whoever owns an ev watcher stops it before freeing it.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <ev.h>
#include <stdbool.h>

struct loop;

struct loop *loop_new(void);
/* Stops the workers (those that hang in the network are left behind, detached) and frees the loop. `done` is
 * not called any more: jobs that were not finished are lost with what they hold. */
void loop_free(struct loop *loop);
struct ev_loop *loop_ev(struct loop *loop);

/* Runs until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Calls `after` once at the end of every turn in which something happened: the place where the screen is
 * drawn. */
void loop_set_turn(struct loop *loop, void (*after)(void *data), void *data);

/* Kinds of work have threads of their own, so that dead servers never keep a cancel or a flush waiting. */
enum work_kind {
    WORK_CONNECT, /* connecting to databases, with name resolution; up to 4 at once */
    WORK_URGENT,  /* cancel requests, opening `act`; up to 2 at once */
    WORK_LOCAL,   /* short things that a connection waits for (ssh -G, known_hosts, keys); up to 4 at once */
    WORK_NAME,    /* name resolution alone; up to 4 at once */
    WORK_FILE,    /* files, SQLite, external programs; one at a time, in order */
    WORK_KINDS
};

/* Runs work(job) on a worker's thread, then done(job) on the loop's thread. `job` belongs to the worker in
 * between: it must not hang off a talloc parent that the loop uses (talloc is not thread-safe). Jobs cannot
 * be withdrawn: who loses interest marks the job, and frees it in done. */
void loop_work(struct loop *loop, enum work_kind kind, void (*work)(void *job), void (*done)(void *job),
               void *job);
/* The same for jobs that own something: when the loop is freed before done was called, drop(job) is called
 * instead, on whichever thread ends last. */
void loop_work_or_drop(struct loop *loop, enum work_kind kind, void (*work)(void *job),
                       void (*done)(void *job), void (*drop)(void *job), void *job);

#endif
