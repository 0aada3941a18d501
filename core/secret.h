/* Secrets are masked before anything is stored, shown or logged. */
#ifndef CORE_SECRET_H
#define CORE_SECRET_H

/* The statement with the literals behind PASSWORD (in CREATE/ALTER ROLE|USER, USER MAPPING options,
 * SUBSCRIPTION connection strings, dblink) replaced by '***'. Fresh talloc string. Returns a plain copy when
 * there is nothing to mask. Works on broken SQL too. */
char *secret_mask_statement(const void *context, const char *sql);

/* A DSN (URI or key=value) without its password: "postgresql://app:***@db1/app". Fresh talloc string. */
char *secret_mask_dsn(const void *context, const char *dsn);

#endif
