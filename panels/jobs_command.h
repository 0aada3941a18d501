/* The command `jobs`: the panel's views as data, and what can be done with jobs. */
#ifndef PANELS_JOBS_COMMAND_H
#define PANELS_JOBS_COMMAND_H

#include "panels/options.h"

/* signalbox jobs [ACT]; the exit status as batch_panel, or as a change's. */
int jobs_command(const struct options *options);

#endif
