/* libFuzzer: any text as a private key file, with a passphrase. A key that is taken can sign. */
#include <stdint.h>
#include <stdlib.h>

#include "backends/ssh/private_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum private_problem problem;
    struct private_key *key = private_key_parse((const char *)data, size, NULL, &problem);
    if (!key != (problem != PRIVATE_NONE))
        abort();
    if (key) {
        size_t length;
        free(private_key_sign(key, "SHA512", (const unsigned char *)"text", 4, &length));
    }
    private_key_free(key);
    return 0;
}
