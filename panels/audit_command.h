/* `signalbox audit` and `signalbox audit verify`: what was done from here, and whether the log is whole. */
#ifndef PANELS_AUDIT_COMMAND_H
#define PANELS_AUDIT_COMMAND_H

#include "panels/options.h"

/* Prints the log of an environment (the one that environment_choose takes when none is named, else "adhoc"),
 * oldest first, or with "verify" walks its chain. Exit status: 0, or 2 on an error or when the log is not
 * sound. */
int audit_command(const struct options *options);

#endif
