/*
 * What went wrong with a Postgres server, as an error that says what to do: from a SQLSTATE, or from the text
 * libpq leaves after a failed connect (with the verbosity that shows the SQLSTATE).
 */
#ifndef BACKENDS_POSTGRES_CONNECTION_ERROR_H
#define BACKENDS_POSTGRES_CONNECTION_ERROR_H

#include "core/error.h"

/* A server's answer. `what` says what was tried ("cannot connect to db1:5432"), NULL: nothing. The texts may
 * be in any language: only sqlstate decides, and names that are never translated. Always returns false. */
bool pg_error_from_state(struct error *error, const char *where, const char *what, const char *sqlstate,
                         const char *message, const char *detail, const char *hint);

/* What PQerrorMessage says (LC_MESSAGES C, PQERRORS_VERBOSE) when connecting failed. tls_disabled:
 * sslmode=disable. Always returns false. */
bool pg_error_from_connect(struct error *error, const char *where, const char *what, const char *text,
                           bool tls_disabled);

#endif
