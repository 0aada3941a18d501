/* A set of messages by the SHA-1 of their exact bytes: 13 bytes each. A message that is not in it is told
 * apart by its length and last bytes (where the delivery tag stands), which costs a hundredth of a SHA-1. */
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"

/* 96 bits of a SHA-1 tell messages apart; scripts compare all of it. */
enum { BLOOM_BITS = 1 << 23, LOOK_AT = 128, KEPT = 12 };

struct celery_frozen {
    unsigned char (*digests)[KEPT]; /* sorted once sealed; the same message may be there twice */
    bool *taken;
    size_t count, room, taken_count;
    unsigned char *bloom;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static size_t bloom_bit(const char *raw, size_t length)
{
    uint64_t hash = 14695981039346656037u ^ length;
    size_t look = length < LOOK_AT ? length : LOOK_AT;
    for (const char *at = raw + length - look; at < raw + length; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    return (size_t)((hash ^ (hash >> 32)) % BLOOM_BITS);
}

struct celery_frozen *celery_frozen_new(const void *context)
{
    struct celery_frozen *frozen = there(talloc_zero(context, struct celery_frozen));
    frozen->bloom = there(talloc_zero_size(frozen, BLOOM_BITS / 8));
    return frozen;
}

void celery_frozen_add(struct celery_frozen *frozen, const char *raw, size_t length)
{
    if (frozen->count == frozen->room) {
        frozen->room = frozen->room ? frozen->room + frozen->room / 4 + 64 : 64;
        frozen->digests =
            there(talloc_realloc_size(frozen, frozen->digests, frozen->room * sizeof *frozen->digests));
    }
    size_t bit = bloom_bit(raw, length);
    frozen->bloom[bit / 8] |= (unsigned char)(1u << (bit % 8));
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA1((const unsigned char *)raw, length, digest);
    memcpy(frozen->digests[frozen->count++], digest, KEPT);
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, KEPT);
}

void celery_frozen_seal(struct celery_frozen *frozen)
{
    if (frozen->count)
        qsort(frozen->digests, frozen->count, sizeof *frozen->digests, by_digest);
    frozen->taken = there(talloc_zero_array(frozen, bool, frozen->count + 1));
}

size_t celery_frozen_count(const struct celery_frozen *frozen)
{
    return frozen->count;
}

size_t celery_frozen_left(const struct celery_frozen *frozen)
{
    return frozen->count - frozen->taken_count;
}

/* The first of those with that digest. */
static size_t first_of(const struct celery_frozen *frozen, const unsigned char *digest)
{
    size_t low = 0, high = frozen->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(frozen->digests[middle], digest, KEPT) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is(const struct celery_frozen *frozen, size_t at, const unsigned char *digest)
{
    return at < frozen->count && memcmp(frozen->digests[at], digest, KEPT) == 0;
}

bool celery_frozen_take(struct celery_frozen *frozen, const char *raw, size_t length, char digits[41])
{
    size_t bit = bloom_bit(raw, length);
    if (!(frozen->bloom[bit / 8] & (1u << (bit % 8))))
        return false;
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA1((const unsigned char *)raw, length, digest);
    for (size_t at = first_of(frozen, digest); is(frozen, at, digest); at++) {
        if (frozen->taken[at])
            continue;
        frozen->taken[at] = true;
        frozen->taken_count++;
        for (int i = 0; i < SHA_DIGEST_LENGTH; i++) {
            digits[2 * i] = "0123456789abcdef"[digest[i] >> 4];
            digits[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
        }
        digits[2 * SHA_DIGEST_LENGTH] = '\0';
        return true;
    }
    return false;
}

void celery_frozen_give_back(struct celery_frozen *frozen, const char *digits)
{
    unsigned char digest[KEPT];
    for (int i = 0; i < KEPT; i++) {
        const char pair[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        digest[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    for (size_t at = first_of(frozen, digest); is(frozen, at, digest); at++)
        if (frozen->taken[at]) {
            frozen->taken[at] = false;
            frozen->taken_count--;
            return;
        }
}
