/* Secrets lie in libcrypto's secure heap, which is locked in memory, while it has room. */
#include "backends/ssh/secret_text.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

void *secret_allocate(size_t size)
{
    void *memory = OPENSSL_secure_malloc(size);
    if (!memory)
        memory = OPENSSL_malloc(size);
    if (!memory)
        abort();
    return memory;
}

char *secret_keep(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(secret_allocate(size), text, size);
}

void secret_wipe(char *text)
{
    if (text)
        OPENSSL_secure_clear_free(text, strlen(text) + 1);
}
