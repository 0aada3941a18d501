/* TLS of a connection to Redis. hiredis speaks it from 1.0 on, in a library of its own: where that was not
 * there when the program was built, nothing here works, and says so. Internal to the connection. */
#ifndef BACKENDS_REDIS_TLS_H
#define BACKENDS_REDIS_TLS_H

#include <stdbool.h>

#include "core/error.h"

struct redisContext;

/* False with error (ERROR_UNSUPPORTED): this program cannot. */
bool redis_tls_available(struct error *error);
/* Begins it on a connected context, checked against the system's certificates and the name. */
bool redis_tls_begin(struct redisContext *context, const char *name, struct error *error);

#endif
