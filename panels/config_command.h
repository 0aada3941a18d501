/* `signalbox config check [NAME|FILE]...`: tells all that is wrong with environment files, or what they say.
 */
#ifndef PANELS_CONFIG_COMMAND_H
#define PANELS_CONFIG_COMMAND_H

#include "panels/options.h"

/* The first argument is "check"; without further ones all environments that have a file are checked.
 * Prints `file:line:column: what: why. todo` to stderr, a summary (secrets masked) of good files to stdout.
 * Returns the number of errors, at most 255; 1 when the words are not understood. */
int config_command(const struct options *options);

#endif
