/* Hashes of what was seen lately: two sets take turns, so that forgetting costs nothing. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_read.h"

enum { SLOTS = SEEN_KEPT * 2 };

struct seen_lately {
    uint64_t sets[2][SLOTS]; /* open addressing; 0: free */
    size_t used;             /* of the newer one */
    int newer;
};

struct seen_lately *seen_lately_new(const void *context)
{
    struct seen_lately *seen = talloc_zero(context, struct seen_lately);
    if (!seen)
        abort();
    return seen;
}

static size_t slot(const uint64_t *set, uint64_t hash)
{
    size_t at = hash % SLOTS;
    while (set[at] && set[at] != hash)
        at = at + 1 == SLOTS ? 0 : at + 1;
    return at;
}

bool seen_lately_has(const struct seen_lately *seen, uint64_t hash)
{
    return seen->sets[0][slot(seen->sets[0], hash)] || seen->sets[1][slot(seen->sets[1], hash)];
}

void seen_lately_add(struct seen_lately *seen, uint64_t hash)
{
    if (seen->used == SEEN_KEPT) {
        seen->newer = !seen->newer;
        memset(seen->sets[seen->newer], 0, sizeof seen->sets[0]);
        seen->used = 0;
    }
    uint64_t *set = seen->sets[seen->newer];
    size_t at = slot(set, hash);
    if (!set[at]) {
        set[at] = hash;
        seen->used++;
    }
}

uint64_t seen_hash(const char *bytes, size_t length)
{
    const uint64_t prime = 0x9e3779b97f4a7c15u;
    uint64_t hash = length * prime, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 29;
    }
    for (; length > 0; bytes++, length--)
        hash = (hash ^ (unsigned char)*bytes) * prime;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}
