/*
 * Where job tables are in the databases of a server: one question of the catalogue a database, for all job
 * systems at once, kept for some seconds.
 */
#ifndef BACKENDS_QUEUES_PG_CATALOG_H
#define BACKENDS_QUEUES_PG_CATALOG_H

#include "backends/queues/system.h"

struct pg_relation {
    const char *schema, *name;
    const char *columns; /* ",id,name,state," */
};

struct pg_catalog {
    const char *database; /* its name */
    const char *login;    /* what pg_server_read is called with: NULL for the login's own */
    struct pg_relation *relations;
    size_t count; /* by schema */
    bool cut;     /* there are more schemas with such tables than are looked at */
};

/* The relation, or NULL. */
const struct pg_relation *pg_catalog_find(const struct pg_catalog *catalog, const char *schema,
                                          const char *relation);
bool pg_relation_has(const struct pg_relation *relation, const char *column);
/* Are all of "relation.column" (NULL at the end) there? Else *missing (may be NULL) is the first that is not,
 * and *some whether at least the first relation is there. */
bool pg_catalog_has_all(const struct pg_catalog *catalog, const char *schema, const char *const *names,
                        const char **missing, bool *some);
/* The schemas, each once; a talloc array under context. */
const char **pg_catalog_schemas(const void *context, const struct pg_catalog *catalog, size_t *count);

/* The last answer of that database, or NULL; *version (may be NULL) grows with each. Borrowed until the next
 * turn. */
const struct pg_catalog *pg_catalog_latest(struct pg_server *server, const char *login, uint64_t *version);

/*
 * Looks in all databases of the place (the login's and those that the environment names): `take` for each,
 * which calls queue_search_found and may report an error; then queue_search_done.
 */
void pg_catalog_search(struct queue_search *search, const struct queue_place *place,
                       void (*take)(struct queue_search *search, const struct queue_place *place,
                                    const struct pg_catalog *catalog, struct error *error));

#endif
