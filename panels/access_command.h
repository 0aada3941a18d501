/* `signalbox unlock -e ENV --reason TEXT` and `signalbox lock -e ENV`: for the commands that change
 * something. */
#ifndef PANELS_ACCESS_COMMAND_H
#define PANELS_ACCESS_COMMAND_H

#include "panels/options.h"

/* Unlock or lock the environment for this user's processes, on record. Nothing is unlocked that cannot be
 * recorded; unlocking needs a reason. Exit status: 0, or 2 on an error. */
int unlock_command(const struct options *options);
int lock_command(const struct options *options);

#endif
