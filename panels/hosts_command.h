/* `signalbox hosts [NAME]`: the fleet as rows, or one host in full. */
#ifndef PANELS_HOSTS_COMMAND_H
#define PANELS_HOSTS_COMMAND_H

#include "panels/options.h"

int hosts_command(const struct options *options);

#endif
