/*
 * Children of ours: the system's `ssh`, in a session of their own (no terminal, no signals of it), with none
 * of our file descriptors. Internal to backends/ssh.
 */
#ifndef BACKENDS_SSH_CHILD_H
#define BACKENDS_SSH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/error.h"
#include "core/loop.h"

struct child {
    pid_t pid; /* also its process group; 0: none */
    int ended; /* pidfd: readable when it has ended */
    int out;   /* its standard output, non-blocking; -1: /dev/null */
    int err;   /* its standard error, non-blocking */
};

/* Starts argv (looked up in PATH; NULL at the end) with standard input from /dev/null. With `dies_with_us` it
 * gets SIGTERM when the calling thread ends, even by a crash, where the system has setpriv. On failure the
 * error says why (what: "cannot run ssh"). */
bool child_start(struct child *child, const char *const *argv, bool with_output, bool dies_with_us,
                 struct error *error);
/* Its wait status when it has ended: true. Never waits. Closes nothing. */
bool child_reap(struct child *child, int *status);
/* SIGTERM to the whole group, at most `patience_s` of waiting, then SIGKILL; reaps and closes everything.
 * Does nothing for a child that was reaped, except closing. */
void child_end(struct child *child, double patience_s);

/* SIGKILL to the whole group now; it is reaped by a worker, so that nobody waits. */
void child_kill(struct child *child, struct loop *loop);

struct child_result {
    int status;       /* as of waitpid; -1: it did not end in time and was killed */
    char *output;     /* talloc'd, NUL-terminated, cut at the limit */
    size_t length;    /* of output */
    char errors[512]; /* the beginning of standard error */
};
/* Runs it to its end, for a worker: blocks. False with error when it could not be started. */
bool child_run(const void *context, const char *const *argv, double deadline_s, size_t limit,
               struct child_result *result, struct error *error);

#endif
