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
    const struct curve *curve; /* NULL: ed25519 */
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
static const char ed25519[] = "ssh-ed25519";

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

/* Takes pkey over. NULL when it is of a type that is not supported. */
static struct private_key *wrap(EVP_PKEY *pkey)
{
    const struct curve *curve = NULL;
    unsigned char point[256];
    char group[64];
    size_t length = 0;
    if (!get_public(pkey, point, sizeof point, &length))
        length = 0;
    if (EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL))
        for (int i = 0; i < CURVES; i++)
            if (strcmp(curves[i].group, group) == 0)
                curve = &curves[i];
    if (length == 0 || (!curve && !EVP_PKEY_is_a(pkey, "ED25519"))) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    struct private_key *key = calloc(1, sizeof *key);
    if (!key)
        abort();
    const char *type = curve ? curve->type : ed25519;
    key->pkey = pkey;
    key->curve = curve;
    packet_put_string(&key->blob, type, strlen(type));
    if (curve)
        packet_put_string(&key->blob, curve->name, strlen(curve->name));
    packet_put_string(&key->blob, point, length);
    return key;
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

static EVP_PKEY *make_ec(const struct curve *curve, const unsigned char *point, size_t point_length,
                         BIGNUM *secret)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM *parameters = NULL;
    if (build && context &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, point_length) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, secret))
        parameters = OSSL_PARAM_BLD_to_param(build);
    if (parameters && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, parameters) <= 0)
        pkey = NULL;
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    return pkey;
}

static struct private_key *read_ecdsa(struct packet_reader *r, const struct curve *curve)
{
    size_t name_length, point_length, secret_length;
    const unsigned char *name = packet_take_string(r, &name_length);
    const unsigned char *point = packet_take_string(r, &point_length);
    const unsigned char *secret = packet_take_string(r, &secret_length);
    if (r->bad || secret_length > 80 || !is_text(name, name_length, curve->name))
        return NULL;
    BIGNUM *number = BN_secure_new();
    if (!number || !BN_bin2bn(secret, (int)secret_length, number))
        abort();
    EVP_PKEY *pkey = make_ec(curve, point, point_length, number);
    BN_clear_free(number);
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
    for (int i = 0; i < CURVES; i++)
        if (is_text(type, type_length, curves[i].type))
            key = read_ecdsa(&r, &curves[i]);
    *problem = key ? PRIVATE_NONE : PRIVATE_UNFIT;
    return key;
}

/* ---- OpenSSH's format ---- */

/* "aes256-ctr", "aes256-gcm@openssh.com" to the name that libcrypto has. */
static EVP_CIPHER *find_cipher(const unsigned char *name, size_t length, bool *gcm)
{
    char ours[32];
    int bits;
    char mode[8] = "";
    char text[64];
    if (length >= sizeof text)
        return NULL;
    memcpy(text, name, length);
    text[length] = '\0';
    if (sscanf(text, "aes%3d-%3[a-z]", &bits, mode) != 2)
        return NULL;
    *gcm = strcmp(mode, "gcm") == 0;
    snprintf(ours, sizeof ours, "AES-%d-%s", bits, mode);
    return EVP_CIPHER_fetch(NULL, ours, NULL);
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

static void put_integer(struct buffer *out, const BIGNUM *number)
{
    unsigned char bytes[80] = {0};
    int length = BN_num_bytes(number);
    BN_bn2bin(number, bytes + 1);
    bool high = length > 0 && bytes[1] & 0x80; /* a leading zero keeps it positive */
    packet_put_string(out, bytes + !high, (size_t)length + high);
}

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

unsigned char *private_key_sign(const struct private_key *key, const unsigned char *message,
                                size_t message_length, size_t *length)
{
    unsigned char der[256];
    size_t size = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const char *digest = key->curve ? key->curve->digest : NULL;
    bool made = context && EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key->pkey, NULL) == 1 &&
                EVP_DigestSign(context, der, &size, message, message_length) == 1;
    EVP_MD_CTX_free(context);
    if (!made)
        return NULL;
    if (key->curve)
        return ecdsa_to_ssh(der, size, length);
    unsigned char *out = malloc(size);
    if (!out)
        abort();
    memcpy(out, der, size);
    *length = size;
    return out;
}
