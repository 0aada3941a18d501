/* The panel of one Redis server: memory, clients, persistence, slow log, keys. */
#ifndef PANELS_REDIS_H
#define PANELS_REDIS_H

#include "panels/panel.h"

extern const struct panel_ops panel_redis;

/* Opens it on top of the view, about this server. */
void redis_open(struct app *app, struct redis_server *server);

#endif
