/* Texts that nobody shall find in memory: locked where there is room, wiped when they go. */
#ifndef BACKENDS_SSH_SECRET_TEXT_H
#define BACKENDS_SSH_SECRET_TEXT_H

#include <stddef.h>

/* Memory for a secret; for OPENSSL_secure_clear_free. Never NULL. */
void *secret_allocate(size_t size);
/* A copy. Never NULL. */
char *secret_keep(const char *text);
/* Wipes and frees what secret_keep gave. NULL is allowed. */
void secret_wipe(char *text);

#endif
