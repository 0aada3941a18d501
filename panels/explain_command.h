/* `signalbox explain FILE [--json]`: where the time of a measured plan went. */
#ifndef PANELS_EXPLAIN_COMMAND_H
#define PANELS_EXPLAIN_COMMAND_H

#include "panels/options.h"

/* Reads the one file that is named ("-": standard input) and prints its plan. Returns the exit status: 0, or
 * 2 on any error. */
int explain_command(const struct options *options);

#endif
