/*
 * bcrypt_pbkdf as OpenBSD defines it: PBKDF2 with a bcrypt of SHA-512 hashes in place of HMAC, the output
 * spread over the key. Blowfish's tables are the hexadecimal digits of pi; they are computed here.
 */
#include "backends/ssh/bcrypt_pbkdf.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUBKEYS = 18,
    BOXES = 4,
    BOX = 256,
    WORDS = SUBKEYS + BOXES * BOX,
    BITS = 32 * WORDS,
    GUARD = 64, /* bits lost to rounding */
    BLOCK = 32, /* bytes of one bcrypt */
    KEY_MAX = 1024,
    SALT_MAX = 1 << 16,
};

struct blowfish {
    uint32_t p[SUBKEYS];
    uint32_t s[BOXES][BOX];
};

/* ---- pi ---- */

/* factor * arctan(1 / x) in fixed point. */
static BIGNUM *arctan(BN_ULONG x, BN_ULONG factor)
{
    BIGNUM *term = BN_new(), *sum = BN_new(), *part = BN_new();
    if (!term || !sum || !part || !BN_set_word(term, factor) || !BN_lshift(term, term, BITS + GUARD))
        abort();
    BN_div_word(term, x);
    BN_copy(sum, term);
    for (BN_ULONG n = 3; !BN_is_zero(term); n += 2) {
        BN_div_word(term, x * x);
        BN_copy(part, term);
        BN_div_word(part, n);
        if (n & 2)
            BN_sub(sum, sum, part);
        else
            BN_add(sum, sum, part);
    }
    BN_free(term);
    BN_free(part);
    return sum;
}

static unsigned char pi_digits[4 * WORDS]; /* behind the point; written once */

static void compute_pi(void)
{
    BIGNUM *pi = arctan(5, 16), *rest = arctan(239, 4);
    BN_sub(pi, pi, rest);
    BN_rshift(pi, pi, GUARD);
    BN_mask_bits(pi, BITS);
    if (BN_bn2binpad(pi, pi_digits, sizeof pi_digits) < 0)
        abort();
    BN_free(pi);
    BN_free(rest);
}

static uint32_t big_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

static void set_up(struct blowfish *b)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compute_pi);
    const unsigned char *at = pi_digits;
    for (int i = 0; i < SUBKEYS; i++, at += 4)
        b->p[i] = big_endian(at);
    for (int box = 0; box < BOXES; box++)
        for (int i = 0; i < BOX; i++, at += 4)
            b->s[box][i] = big_endian(at);
}

/* ---- Blowfish with an expensive key schedule ---- */

static uint32_t mix(const struct blowfish *b, uint32_t x)
{
    return ((b->s[0][x >> 24] + b->s[1][x >> 16 & 255]) ^ b->s[2][x >> 8 & 255]) + b->s[3][x & 255];
}

static void encipher(const struct blowfish *b, uint32_t *left, uint32_t *right)
{
    uint32_t l = *left ^ b->p[0], r = *right;
    for (int i = 1; i <= 16; i += 2) {
        r ^= mix(b, l) ^ b->p[i];
        l ^= mix(b, r) ^ b->p[i + 1];
    }
    *left = r ^ b->p[17];
    *right = l;
}

/* The next 32 bits of 64 bytes that repeat. */
static uint32_t next_word(const unsigned char bytes[SHA512_DIGEST_LENGTH], int *at)
{
    uint32_t word = big_endian(bytes + *at);
    *at = (*at + 4) % SHA512_DIGEST_LENGTH;
    return word;
}

/* Without a salt it is as with one of zeros. */
static void expand(struct blowfish *b, const unsigned char *salt, const unsigned char *key)
{
    int at = 0;
    for (int i = 0; i < SUBKEYS; i++)
        b->p[i] ^= next_word(key, &at);
    uint32_t left = 0, right = 0, *words = b->p;
    at = 0;
    for (int box = -1; box < BOXES; box++) {
        int count = box < 0 ? SUBKEYS : BOX;
        if (box >= 0)
            words = b->s[box];
        for (int i = 0; i < count; i += 2) {
            if (salt) {
                left ^= next_word(salt, &at);
                right ^= next_word(salt, &at);
            }
            encipher(b, &left, &right);
            words[i] = left;
            words[i + 1] = right;
        }
    }
}

static void bcrypt_hash(const unsigned char *pass, const unsigned char *salt, unsigned char out[BLOCK])
{
    static const unsigned char text[BLOCK + 1] = "OxychromaticBlowfishSwatDynamite";
    struct blowfish b;
    uint32_t words[BLOCK / 4];
    set_up(&b);
    expand(&b, salt, pass);
    for (int i = 0; i < 64; i++) {
        expand(&b, NULL, salt);
        expand(&b, NULL, pass);
    }
    for (int i = 0; i < BLOCK / 4; i++)
        words[i] = big_endian(text + 4 * i);
    for (int round = 0; round < 64; round++)
        for (int i = 0; i < BLOCK / 4; i += 2)
            encipher(&b, &words[i], &words[i + 1]);
    for (int i = 0; i < BLOCK; i++)
        out[i] = (unsigned char)(words[i / 4] >> 8 * (i % 4));
    OPENSSL_cleanse(&b, sizeof b);
    OPENSSL_cleanse(words, sizeof words);
}

/* One block of output: `rounds` hashes, or-ed exclusively. */
static void make_block(const unsigned char *pass, const unsigned char *salt, size_t salt_length,
                       uint32_t number, uint32_t rounds, unsigned char out[BLOCK])
{
    unsigned char hashed[SHA512_DIGEST_LENGTH], last[BLOCK];
    unsigned char *numbered = malloc(salt_length + 4);
    if (!numbered)
        abort();
    memcpy(numbered, salt, salt_length);
    for (int i = 0; i < 4; i++)
        numbered[salt_length + (size_t)i] = (unsigned char)(number >> (24 - 8 * i));
    SHA512(numbered, salt_length + 4, hashed);
    free(numbered);
    bcrypt_hash(pass, hashed, last);
    memcpy(out, last, BLOCK);
    for (uint32_t round = 1; round < rounds; round++) {
        SHA512(last, BLOCK, hashed);
        bcrypt_hash(pass, hashed, last);
        for (int i = 0; i < BLOCK; i++)
            out[i] ^= last[i];
    }
    OPENSSL_cleanse(last, sizeof last);
}

bool bcrypt_pbkdf(const char *passphrase, size_t passphrase_length, const unsigned char *salt,
                  size_t salt_length, uint32_t rounds, unsigned char *key, size_t key_length)
{
    if (rounds < 1 || passphrase_length == 0 || salt_length == 0 || salt_length > SALT_MAX ||
        key_length == 0 || key_length > KEY_MAX)
        return false;
    unsigned char pass[SHA512_DIGEST_LENGTH], out[BLOCK];
    size_t stride = (key_length + BLOCK - 1) / BLOCK, each = (key_length + stride - 1) / stride;
    SHA512((const unsigned char *)passphrase, passphrase_length, pass);
    for (size_t block = 0; block < stride; block++) {
        make_block(pass, salt, salt_length, (uint32_t)block + 1, rounds, out);
        for (size_t i = 0; i < each && i * stride + block < key_length; i++)
            key[i * stride + block] = out[i];
    }
    OPENSSL_cleanse(pass, sizeof pass);
    OPENSSL_cleanse(out, sizeof out);
    return true;
}
