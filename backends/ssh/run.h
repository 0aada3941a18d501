/* One command on a host, bounded in time and output: what acts, details and probes are made of. */
#ifndef BACKENDS_SSH_RUN_H
#define BACKENDS_SSH_RUN_H

#include "backends/ssh/ssh.h"

struct ssh_result {
    struct ssh_end end; /* SSH_EXITED with status 0 is the only success */
    const char *output; /* standard output, NUL-terminated; may hold NULs of its own: see the length */
    size_t output_length;
    const char *errors; /* standard error, the first 4 kB */
    bool cut;           /* there was more output than the limit: the command was given up */
    double seconds;
};

struct ssh_run_limits {
    double deadline_s; /* 0: 30 s. When it passes the channel is closed: SSH_LOST with ERROR_TIMEOUT */
    size_t bytes;      /* of standard output; 0: 1 MiB */
};

struct ssh_run;
/* Runs it with `input` (may be NULL) as its standard input. `done` exactly once in a later turn, unless
 * ssh_run_cancel was called; the result is valid during the call. */
struct ssh_run *ssh_run(struct ssh_host *host, const char *command, const char *input,
                        struct ssh_run_limits limits,
                        void (*done)(void *data, const struct ssh_result *result), void *data);
/* Gives it up; done is not called. */
void ssh_run_cancel(struct ssh_run *run);

/* Why a result is not a success, in words with what the command said ("systemctl: exit status 5: Unit
 * x.service not found"). True when it is a success. */
bool ssh_result_ok(const struct ssh_result *result, const char *where, const char *what, struct error *error);

#endif
