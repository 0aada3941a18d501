/* `signalbox unlock -e ENV --reason TEXT` and `signalbox lock -e ENV`: for the commands that change
 * something. */
#ifndef PANELS_ACCESS_COMMAND_H
#define PANELS_ACCESS_COMMAND_H

#include <stdbool.h>

/* Unlocks (unlock true) or locks the environment for this user's processes, on record. Nothing is unlocked
 * that cannot be recorded. `reason` may be NULL for a lock. Exit status: 0, or 2 on an error. */
int access_change(const char *environment, bool unlock, const char *reason);

/* argv[0] is "unlock" or "lock"; then -e ENV and --reason TEXT in any order. */
int access_command(int argc, char **argv);

#endif
