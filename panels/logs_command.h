/* `signalbox logs` and `signalbox hosts --view latency`. */
#ifndef PANELS_LOGS_COMMAND_H
#define PANELS_LOGS_COMMAND_H

#include "panels/options.h"

/* Lines of logs of hosts. Exit status: 0, 1 when a log could not be read, 2 for a wrong command line. */
int logs_command(const struct options *options);
/* Requests, errors and latency by tenant, out of the last lines of the hosts' nginx logs. */
int latency_command(const struct options *options);

#endif
