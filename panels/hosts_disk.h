/* What fills a mount of a host, as a tree that is measured one level at a time, with what is safe to remove.
 */
#ifndef PANELS_HOSTS_DISK_H
#define PANELS_HOSTS_DISK_H

#include "backends/hosts/fleet.h"
#include "panels/app.h"

/* Opens the layer and begins to measure. */
void hosts_disk_open(struct app *app, struct host *host, const char *mount);

#endif
