/* libFuzzer: any bytes as an answer of an SSH agent. What is taken out of it lies inside of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct agent_keys *keys = agent_parse_keys(NULL, data, size);
    for (size_t i = 0; keys && i < keys->count; i++) {
        const struct agent_key *key = &keys->items[i];
        if (key->length > size || strlen(key->comment) > size || strlen(key->type) > 64)
            abort();
    }
    talloc_free(keys);
    const unsigned char *signature;
    size_t length;
    if (agent_parse_signature(data, size, &signature, &length) &&
        (signature < data || length == 0 || length > (size_t)(data + size - signature)))
        abort();
    return 0;
}
