/* signalbox run: a command or a runbook on hosts, previewed, interlocked, rolling. */
#ifndef PANELS_RUN_COMMAND_H
#define PANELS_RUN_COMMAND_H

#include "panels/options.h"

/* Exit status: 0 only when it succeeded on every host (or --dry-run), 1 otherwise, 2 when the command line or
 * the environment is wrong. */
int run_command(const struct options *options);

#endif
