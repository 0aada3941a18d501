/* How psql is started on a server: its connection string without a password, which never stands on a command
 * line. */
#ifndef BACKENDS_POSTGRES_PSQL_H
#define BACKENDS_POSTGRES_PSQL_H

#include "core/error.h"

/* The DSN as key='value' pairs without its password; *password receives "PGPASSWORD=..." or NULL. Talloc'd
 * under context. NULL with error when it is no DSN. */
char *psql_conninfo(const void *context, const char *dsn, char **password, struct error *error);

#endif
