/* Key files to keys: OpenSSH's format (PROTOCOL.key) by hand, PEM by libcrypto, signatures by libcrypto. */
#include "backends/ssh/private_key.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/bcrypt_pbkdf.h"
#include "backends/ssh/packet.h"
#include "backends/ssh/secret_text.h"

enum { FILE_MAX = 16 * 1024, ROUNDS_MAX = 10000 };

struct private_key {
    EVP_PKEY *pkey;
    const struct curve *curve; /* NULL: ed25519 or RSA */
    bool rsa;
    struct buffer blob;
};

static const struct curve {
    const char *type, *name, *group, *digest;
} curves[] = {
    {"ecdsa-sha2-nistp256", "nistp256", "prime256v1", "SHA256"},
    {"ecdsa-sha2-nistp384", "nistp384", "secp384r1", "SHA384"},
    {"ecdsa-sha2-nistp521", "nistp521", "secp521r1", "SHA512"},
};
enum { CURVES = sizeof curves / sizeof *curves };
static const char ed25519[] = "ssh-ed25519", rsa[] = "ssh-rsa";

/* ---- keys ---- */

static bool is_text(const unsigned char *bytes, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

void private_key_free(struct private_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    buffer_free(&key->blob);
    free(key);
}

const unsigned char *private_key_blob(const struct private_key *key, size_t *length)
{
    *length = key->blob.length;
    return (const unsigned char *)buffer_bytes(&key->blob);
}

static bool get_public(EVP_PKEY *pkey, unsigned char *bytes, size_t size, size_t *length)
{
    if (EVP_PKEY_is_a(pkey, "EC"))
        return EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, bytes, size, length) == 1;
    *length = size;
    return EVP_PKEY_get_raw_public_key(pkey, bytes, length) == 1;
}

static void put_integer(struct buffer *out, const BIGNUM *number)
{
    unsigned char bytes[1 + 2048] = {0};
    int length = BN_num_bytes(number);
    if (length > (int)sizeof bytes - 1)
        return;
    BN_bn2bin(number, bytes + 1);
    bool high = length > 0 && bytes[1] & 0x80; /* a leading zero keeps it positive */
    packet_put_string(out, bytes + !high, (size_t)length + high);
}

static bool put_rsa(struct buffer *blob, EVP_PKEY *pkey)
{
    BIGNUM *e = NULL, *n = NULL;
    bool there = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
                 EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1;
    packet_put_string(blob, rsa, strlen(rsa));
    if (there) {
        put_integer(blob, e);
        put_integer(blob, n);
    }
    BN_free(e);
    BN_free(n);
    return there;
}

static const struct curve *find_curve(EVP_PKEY *pkey)
{
    char group[64];
    if (EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL))
        for (int i = 0; i < CURVES; i++)
            if (strcmp(curves[i].group, group) == 0)
                return &curves[i];
    return NULL;
}

static bool put_public(struct buffer *blob, EVP_PKEY *pkey, const struct curve *curve)
{
    unsigned char point[256];
    size_t length = 0;
    if (EVP_PKEY_is_a(pkey, "RSA"))
        return put_rsa(blob, pkey);
    if ((!curve && !EVP_PKEY_is_a(pkey, "ED25519")) || !get_public(pkey, point, sizeof point, &length))
        return false;
    const char *type = curve ? curve->type : ed25519;
    packet_put_string(blob, type, strlen(type));
    if (curve)
        packet_put_string(blob, curve->name, strlen(curve->name));
    packet_put_string(blob, point, length);
    return true;
}

/* Takes pkey over. NULL when it is of a type that is not supported. */
static struct private_key *wrap(EVP_PKEY *pkey)
{
    struct private_key *key = calloc(1, sizeof *key);
    if (!key)
        abort();
    key->pkey = pkey;
    key->curve = find_curve(pkey);
    key->rsa = EVP_PKEY_is_a(pkey, "RSA");
    if (put_public(&key->blob, pkey, key->curve))
        return key;
    private_key_free(key);
    return NULL;
}

static struct private_key *read_ed25519(struct packet_reader *r)
{
    size_t length;
    packet_take_string(r, &length);
    const unsigned char *secret = packet_take_string(r, &length); /* the seed, then the public key again */
    if (r->bad || length != 64)
        return NULL;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, 32);
    return pkey ? wrap(pkey) : NULL;
}

/* Takes build over; NULL when the parameters make no key. */
static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
    if (context && parameters && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, parameters) <= 0)
        pkey = NULL;
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    return pkey;
}

static BIGNUM *take_secret_number(struct packet_reader *r)
{
    size_t length;
    const unsigned char *bytes = packet_take_string(r, &length);
    BIGNUM *number = BN_secure_new();
    if (!number)
        number = BN_new();
    if (!number || (length <= 2048 && !BN_bin2bn(bytes, (int)length, number)))
        abort();
    return number;
}

/* number modulo (prime - 1): what makes signatures four times as fast. */
static BIGNUM *reduce(const BIGNUM *number, const BIGNUM *prime)
{
    BN_CTX *context = BN_CTX_secure_new();
    BIGNUM *less = BN_dup(prime), *rest = BN_new();
    if (!context || !less || !rest)
        abort();
    BN_set_flags(less, BN_FLG_CONSTTIME);
    if (BN_is_zero(prime) || !BN_sub_word(less, 1) || !BN_mod(rest, number, less, context))
        BN_zero(rest);
    BN_clear_free(less);
    BN_CTX_free(context);
    return rest;
}

static struct private_key *read_rsa(struct packet_reader *r)
{
    enum { N, E, D, COEFFICIENT, P, Q, IN_FILE, EXPONENT1 = IN_FILE, EXPONENT2, NUMBERS };
    static const char *const names[NUMBERS] = {
        [N] = OSSL_PKEY_PARAM_RSA_N,
        [E] = OSSL_PKEY_PARAM_RSA_E,
        [D] = OSSL_PKEY_PARAM_RSA_D,
        [COEFFICIENT] = OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
        [P] = OSSL_PKEY_PARAM_RSA_FACTOR1,
        [Q] = OSSL_PKEY_PARAM_RSA_FACTOR2,
        [EXPONENT1] = OSSL_PKEY_PARAM_RSA_EXPONENT1,
        [EXPONENT2] = OSSL_PKEY_PARAM_RSA_EXPONENT2,
    };
    BIGNUM *numbers[NUMBERS];
    for (int i = 0; i < IN_FILE; i++)
        numbers[i] = take_secret_number(r);
    numbers[EXPONENT1] = reduce(numbers[D], numbers[P]);
    numbers[EXPONENT2] = reduce(numbers[D], numbers[Q]);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (!build)
        abort();
    for (int i = 0; i < NUMBERS; i++)
        OSSL_PARAM_BLD_push_BN(build, names[i], numbers[i]);
    if (!r->bad)
        pkey = make_key("RSA", build);
    else
        OSSL_PARAM_BLD_free(build);
    for (int i = 0; i < NUMBERS; i++)
        BN_clear_free(numbers[i]);
    return pkey ? wrap(pkey) : NULL;
}

static struct private_key *read_ecdsa(struct packet_reader *r, const struct curve *curve)
{
    size_t name_length, point_length;
    const unsigned char *name = packet_take_string(r, &name_length);
    const unsigned char *point = packet_take_string(r, &point_length);
    BIGNUM *secret = take_secret_number(r);
    if (r->bad || !is_text(name, name_length, curve->name)) {
        BN_clear_free(secret);
        return NULL;
    }
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (!build)
        abort();
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, point_length);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    EVP_PKEY *pkey = make_key("EC", build);
    BN_clear_free(secret);
    return pkey ? wrap(pkey) : NULL;
}

/* The private part: two equal numbers, the key, its comment, padding. */
static struct private_key *read_private(const unsigned char *bytes, size_t length,
                                        enum private_problem *problem, bool decrypted)
{
    struct packet_reader r = {.at = bytes, .left = length};
    uint32_t first = packet_take_number(&r), second = packet_take_number(&r);
    if (r.bad || first != second) {
        *problem = decrypted ? PRIVATE_WRONG : PRIVATE_UNFIT;
        return NULL;
    }
    size_t type_length;
    const unsigned char *type = packet_take_string(&r, &type_length);
    struct private_key *key = NULL;
    if (is_text(type, type_length, ed25519))
        key = read_ed25519(&r);
    else if (is_text(type, type_length, rsa))
        key = read_rsa(&r);
    for (int i = 0; i < CURVES; i++)
        if (is_text(type, type_length, curves[i].type))
            key = read_ecdsa(&r, &curves[i]);
    *problem = key ? PRIVATE_NONE : PRIVATE_UNFIT;
    return key;
}

/* ---- OpenSSH's format ---- */

static EVP_CIPHER *find_cipher(const unsigned char *name, size_t length, bool *gcm)
{
    static const struct {
        const char *theirs, *ours;
    } ciphers[] = {
        {"aes256-ctr", "AES-256-CTR"},
        {"aes192-ctr", "AES-192-CTR"},
        {"aes128-ctr", "AES-128-CTR"},
        {"aes256-cbc", "AES-256-CBC"},
        {"aes192-cbc", "AES-192-CBC"},
        {"aes128-cbc", "AES-128-CBC"},
        {"aes256-gcm@openssh.com", "AES-256-GCM"},
        {"aes128-gcm@openssh.com", "AES-128-GCM"},
    };
    for (size_t i = 0; i < sizeof ciphers / sizeof *ciphers; i++) {
        if (!is_text(name, length, ciphers[i].theirs))
            continue;
        *gcm = strstr(ciphers[i].ours, "GCM");
        return EVP_CIPHER_fetch(NULL, ciphers[i].ours, NULL);
    }
    return NULL;
}

static bool decrypt(EVP_CIPHER *cipher, bool gcm, const unsigned char *secret, const unsigned char *bytes,
                    size_t length, const unsigned char *tag, unsigned char *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int done, rest, key_length = EVP_CIPHER_get_key_length(cipher);
    bool good = context && EVP_DecryptInit_ex2(context, cipher, secret, secret + key_length, NULL) == 1;
    if (good && gcm)
        good = EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, (void *)(uintptr_t)tag) == 1;
    if (good)
        EVP_CIPHER_CTX_set_padding(context, 0);
    good = good && EVP_DecryptUpdate(context, out, &done, bytes, (int)length) == 1 &&
           EVP_DecryptFinal_ex(context, out + done, &rest) == 1;
    EVP_CIPHER_CTX_free(context);
    return good;
}

/* What is known of an encrypted key before it is decrypted. */
struct envelope {
    const unsigned char *cipher, *options, *bytes, *tag;
    size_t cipher_length, options_length, length, tag_length;
};

static struct private_key *open_envelope(const struct envelope *e, const char *passphrase,
                                         enum private_problem *problem)
{
    struct packet_reader r = {.at = e->options, .left = e->options_length};
    size_t salt_length;
    const unsigned char *salt = packet_take_string(&r, &salt_length);
    uint32_t rounds = packet_take_number(&r);
    bool gcm = false;
    EVP_CIPHER *cipher = find_cipher(e->cipher, e->cipher_length, &gcm);
    unsigned char secret[EVP_MAX_KEY_LENGTH + EVP_MAX_IV_LENGTH];
    struct private_key *key = NULL;
    *problem = PRIVATE_UNFIT;
    if (!r.bad && rounds <= ROUNDS_MAX && cipher && (!gcm || e->tag_length >= 16)) {
        size_t need = (size_t)EVP_CIPHER_get_key_length(cipher) + (size_t)EVP_CIPHER_get_iv_length(cipher);
        unsigned char *plain = secret_allocate(e->length + EVP_MAX_BLOCK_LENGTH);
        *problem = PRIVATE_WRONG;
        if (bcrypt_pbkdf(passphrase, strlen(passphrase), salt, salt_length, rounds, secret, need) &&
            decrypt(cipher, gcm, secret, e->bytes, e->length, e->tag, plain))
            key = read_private(plain, e->length, problem, true);
        OPENSSL_secure_clear_free(plain, e->length + EVP_MAX_BLOCK_LENGTH);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    EVP_CIPHER_free(cipher);
    return key;
}

static struct private_key *read_openssh(const unsigned char *bytes, size_t length, const char *passphrase,
                                        enum private_problem *problem)
{
    static const char magic[] = "openssh-key-v1";
    struct packet_reader r = {.at = bytes, .left = length};
    struct envelope e;
    size_t kdf_length, public_length;
    *problem = PRIVATE_UNFIT;
    if (length < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0)
        return NULL;
    r.at += sizeof magic;
    r.left -= sizeof magic;
    e.cipher = packet_take_string(&r, &e.cipher_length);
    const unsigned char *kdf = packet_take_string(&r, &kdf_length);
    e.options = packet_take_string(&r, &e.options_length);
    uint32_t count = packet_take_number(&r);
    packet_take_string(&r, &public_length);
    e.bytes = packet_take_string(&r, &e.length);
    e.tag = r.at;
    e.tag_length = r.left;
    if (r.bad || count != 1)
        return NULL;
    if (is_text(e.cipher, e.cipher_length, "none"))
        return read_private(e.bytes, e.length, problem, false);
    if (!is_text(kdf, kdf_length, "bcrypt"))
        return NULL;
    if (passphrase && *passphrase)
        return open_envelope(&e, passphrase, problem);
    *problem = PRIVATE_ENCRYPTED;
    return NULL;
}

/* ---- PEM ---- */

struct pem_secret {
    const char *passphrase;
    bool asked;
};

static int give_passphrase(char *buffer, int size, int writing, void *data)
{
    struct pem_secret *secret = data;
    (void)writing;
    secret->asked = true;
    size_t length = secret->passphrase ? strlen(secret->passphrase) : 0;
    if (length == 0 || length > (size_t)size)
        return -1;
    memcpy(buffer, secret->passphrase, length);
    return (int)length;
}

static struct private_key *read_pem(const char *text, size_t length, const char *passphrase,
                                    enum private_problem *problem)
{
    struct pem_secret secret = {.passphrase = passphrase};
    BIO *bio = BIO_new_mem_buf(text, (int)length);
    if (!bio)
        abort();
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &secret);
    BIO_free(bio);
    ERR_clear_error();
    struct private_key *key = pkey ? wrap(pkey) : NULL;
    if (key)
        *problem = PRIVATE_NONE;
    else if (!pkey && secret.asked)
        *problem = passphrase && *passphrase ? PRIVATE_WRONG : PRIVATE_ENCRYPTED;
    else
        *problem = PRIVATE_UNFIT;
    return key;
}

struct private_key *private_key_parse(const char *text, size_t length, const char *passphrase,
                                      enum private_problem *problem)
{
    BIO *bio = BIO_new_mem_buf(text, (int)length);
    char *name = NULL, *header = NULL;
    unsigned char *bytes = NULL;
    long size = 0;
    if (!bio)
        abort();
    bool armoured = PEM_read_bio_ex(bio, &name, &header, &bytes, &size, PEM_FLAG_SECURE) == 1;
    BIO_free(bio);
    struct private_key *key = NULL;
    if (!armoured)
        *problem = PRIVATE_UNFIT;
    else if (strcmp(name, "OPENSSH PRIVATE KEY") == 0)
        key = read_openssh(bytes, (size_t)size, passphrase, problem);
    else
        key = read_pem(text, length, passphrase, problem);
    OPENSSL_secure_free(name);
    OPENSSL_secure_free(header);
    OPENSSL_secure_clear_free(bytes, (size_t)size);
    ERR_clear_error();
    return key;
}

struct private_key *private_key_load(const char *path, const char *passphrase, enum private_problem *problem)
{
    *problem = PRIVATE_UNREADABLE;
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    setvbuf(file, NULL, _IONBF, 0); /* no copy of the key in stdio's memory */
    char *text = secret_allocate(FILE_MAX);
    size_t length = fread(text, 1, FILE_MAX, file);
    struct private_key *key = NULL;
    if (!ferror(file))
        key = private_key_parse(text, length, passphrase, problem);
    fclose(file);
    OPENSSL_secure_clear_free(text, FILE_MAX);
    return key;
}

/* ---- signatures ---- */

static unsigned char *ecdsa_to_ssh(const unsigned char *der, size_t der_length, size_t *length)
{
    struct buffer out = {0};
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_length);
    if (pair && BN_num_bytes(ECDSA_SIG_get0_r(pair)) <= 72 && BN_num_bytes(ECDSA_SIG_get0_s(pair)) <= 72) {
        put_integer(&out, ECDSA_SIG_get0_r(pair));
        put_integer(&out, ECDSA_SIG_get0_s(pair));
    }
    ECDSA_SIG_free(pair);
    *length = out.length;
    return (unsigned char *)out.bytes;
}

unsigned char *private_key_sign(const struct private_key *key, const char *rsa_digest,
                                const unsigned char *message, size_t message_length, size_t *length)
{
    size_t size = (size_t)EVP_PKEY_get_size(key->pkey);
    unsigned char *made = malloc(size);
    if (!made)
        abort();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const char *digest = key->rsa ? rsa_digest : key->curve ? key->curve->digest : NULL;
    bool good = context && (digest || !key->rsa) &&
                EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key->pkey, NULL) == 1 &&
                EVP_DigestSign(context, made, &size, message, message_length) == 1;
    EVP_MD_CTX_free(context);
    if (good && !key->curve) {
        *length = size;
        return made;
    }
    unsigned char *out = good ? ecdsa_to_ssh(made, size, length) : NULL;
    free(made);
    return out;
}
