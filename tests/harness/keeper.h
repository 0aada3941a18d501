/* Processes that must not outlive a test, and their folder: when the test ends in any way, also by a crash or
 * SIGKILL, the keeper ends them, whatever they have started meanwhile, and removes the folder. What cannot be
 * done fails the cmocka test. */
#ifndef TESTS_HARNESS_KEEPER_H
#define TESTS_HARNESS_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

struct keeper;

/* Start it before threads run: it is forked. `folder` is removed at the end. */
struct keeper *keeper_start(const char *folder);
/* Ends all, returns when they and the folder are gone. NULL is fine. */
void keeper_free(struct keeper *k);

/* Starts a program (argv[0] is searched in PATH) whose input is /dev/null and whose output is appended to the
 * file `output` (NULL: /dev/null). Its children stay the keeper's when it ends. */
pid_t keeper_run(struct keeper *k, const char *const argv[], const char *output);
/* The parent of a process; 0 when it is gone. */
pid_t keeper_parent(pid_t pid);
/* The processes that the process has started, and those that these have started; the keeper's: pid 0. Returns
 * how many were written. */
size_t keeper_family(struct keeper *k, pid_t pid, pid_t family[], size_t limit);
/* Does any process of the machine have this text among its arguments? `program`: its argv[0]; NULL: any. */
bool keeper_anybody_runs(const char *program, const char *text);

#endif
