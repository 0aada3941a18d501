/* `signalbox cancel PID@START` and `signalbox terminate PID@START`: the same changes as in the console. */
#ifndef PANELS_SESSION_COMMAND_H
#define PANELS_SESSION_COMMAND_H

#include "panels/options.h"

/* Exit status: 0 done, 1 refused, gone or failed (said on stderr), 2 the command line or the environment is
 * wrong. */
int session_cancel_command(const struct options *options);
int session_terminate_command(const struct options *options);

#endif
