/* The tenants' domains as the table of django-tenants has them. */
#ifndef BACKENDS_TENANCY_DOMAINS_H
#define BACKENDS_TENANCY_DOMAINS_H

#include "backends/postgres/server.h"

struct tenancy_domains;

/*
 * Reads the primary domains (column domain, where is_primary when there is such a column) of the
 * environment's tenancy.domains, sorted, at most `limit`, as `read`, once. `done` in a later turn: domains
 * NULL with an error, or the list, borrowed for the call. Owned by `context`; freeing it gives it up, done is
 * not called then.
 */
struct tenancy_domains *tenancy_domains_read(const void *context, struct loop *loop, struct pg_server *server,
                                             size_t limit,
                                             void (*done)(void *data, const char *const *domains,
                                                          size_t count, const struct error *error),
                                             void *data);

#endif
