/* Private keys in the formats of ssh-keygen, which makes them here; signatures are checked by libcrypto. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/ssh/bcrypt_pbkdf.h"
#include "backends/ssh/private_key.h"
#include "tests/unit/unit.h"

static char folder[] = "/tmp/signalbox-keys-XXXXXX";

static void make_key(const char *name, const char *options, const char *passphrase)
{
    char command[512];
    snprintf(command, sizeof command, "ssh-keygen -q %s -N '%s' -C test -f %s/%s", options, passphrase,
             folder, name);
    assert_int_equal(system(command), 0);
}

static struct private_key *load(const char *name, const char *passphrase, enum private_problem *problem)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return private_key_load(path, passphrase, problem);
}

/* The public key that ssh-keygen wrote beside it. */
static void assert_is_public(const char *name, const struct private_key *key)
{
    char path[128], line[1024], encoded[1024];
    size_t length;
    const unsigned char *blob = private_key_blob(key, &length);
    snprintf(path, sizeof path, "%s/%s.pub", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_true(length < 500);
    EVP_EncodeBlock((unsigned char *)encoded, blob, (int)length);
    char *base = strchr(line, ' ');
    assert_non_null(base);
    assert_int_equal(strncmp(base + 1, encoded, strlen(encoded)), 0);
}

static void every_format_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *options, *passphrase;
    } cases[] = {
        {"ed25519", "-t ed25519", ""},
        {"ed25519_locked", "-t ed25519 -a 4", "open sesame"},
        {"ed25519_gcm", "-t ed25519 -a 4 -Z aes256-gcm@openssh.com", "x"},
        {"ed25519_cbc", "-t ed25519 -a 4 -Z aes128-cbc",
         "a long passphrase with \"quotes\" and umlauts: \xc3\xa4"},
        {"ecdsa256", "-t ecdsa -b 256", ""},
        {"ecdsa384", "-t ecdsa -b 384 -a 4", "open sesame"},
        {"ecdsa521", "-t ecdsa -b 521", ""},
        {"pem", "-t ecdsa -b 256 -m PEM", ""},
        {"pem_locked", "-t ecdsa -b 521 -m PEM", "open sesame"},
        {"rsa", "-t rsa -b 2048", ""},
        {"rsa_locked", "-t rsa -b 3072 -a 4", "open sesame"},
        {"rsa_pem", "-t rsa -b 2048 -m PEM", "open sesame"},
        {"pkcs8", "-t ecdsa -b 384 -m PKCS8", ""},
        {"pkcs8_locked", "-t ecdsa -b 256 -m PKCS8", "open sesame"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum private_problem problem;
        bool locked = *cases[i].passphrase;
        make_key(cases[i].name, cases[i].options, cases[i].passphrase);
        struct private_key *key = load(cases[i].name, locked ? cases[i].passphrase : NULL, &problem);
        if (!key)
            print_message("%s: problem %d\n", cases[i].name, (int)problem);
        assert_non_null(key);
        assert_int_equal(problem, PRIVATE_NONE);
        assert_is_public(cases[i].name, key);
        private_key_free(key);
        if (!locked)
            continue;
        assert_null(load(cases[i].name, NULL, &problem));
        assert_int_equal(problem, PRIVATE_ENCRYPTED);
        assert_null(load(cases[i].name, "wrong", &problem));
        assert_int_equal(problem, PRIVATE_WRONG);
    }
}

static void ed25519_signatures_hold(void **state)
{
    (void)state;
    enum private_problem problem;
    size_t length, blob_length;
    make_key("signer", "-t ed25519", "");
    struct private_key *key = load("signer", NULL, &problem);
    assert_non_null(key);
    unsigned char *signature = private_key_sign(key, NULL, (const unsigned char *)"message", 7, &length);
    const unsigned char *blob = private_key_blob(key, &blob_length);
    assert_int_equal(length, 64);
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, blob + blob_length - 32, 32);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, NULL, NULL, public), 1);
    assert_int_equal(EVP_DigestVerify(context, signature, length, (const unsigned char *)"message", 7), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(public);
    free(signature);
    private_key_free(key);
}

static void rsa_signatures_hold(void **state)
{
    (void)state;
    enum private_problem problem;
    size_t length;
    char path[128];
    make_key("rsa_signer", "-t rsa -b 2048 -m PEM", "");
    struct private_key *key = load("rsa_signer", NULL, &problem);
    assert_non_null(key);
    unsigned char *signature = private_key_sign(key, "SHA256", (const unsigned char *)"message", 7, &length);
    assert_int_equal(length, 256);
    snprintf(path, sizeof path, "%s/rsa_signer", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    EVP_PKEY *pkey = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, pkey), 1);
    assert_int_equal(EVP_DigestVerify(context, signature, length, (const unsigned char *)"message", 7), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    free(signature);
    private_key_free(key);
}

/* Two numbers, each with its length, the first byte of which never says "negative". */
static void ecdsa_signatures_have_their_form(void **state)
{
    (void)state;
    enum private_problem problem;
    make_key("form", "-t ecdsa -b 256", "");
    struct private_key *key = load("form", NULL, &problem);
    assert_non_null(key);
    for (int round = 0; round < 64; round++) {
        size_t length, at = 0;
        unsigned char message = (unsigned char)round;
        unsigned char *signature = private_key_sign(key, NULL, &message, 1, &length);
        assert_non_null(signature);
        for (int number = 0; number < 2; number++) {
            size_t size = signature[at + 3];
            assert_true(size >= 1 && size <= 33);
            assert_false(signature[at + 4] & 0x80);
            at += 4 + size;
        }
        assert_int_equal(at, length);
        free(signature);
    }
    private_key_free(key);
}

static void what_is_no_key_is_told(void **state)
{
    (void)state;
    enum private_problem problem;
    assert_null(load("nothing", NULL, &problem));
    assert_int_equal(problem, PRIVATE_UNREADABLE);
    assert_null(private_key_parse("nonsense", 8, NULL, &problem));
    assert_int_equal(problem, PRIVATE_UNFIT);
    make_key("whole", "-t ed25519", "");
    char path[128], text[2048];
    snprintf(path, sizeof path, "%s/whole", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t cut = 0; cut + 40 < length; cut += 7)
        assert_null(private_key_parse(text, cut, NULL, &problem));
}

/* Made with OpenBSD's own bcrypt_pbkdf, by way of ssh-keygen: see every_format_is_read. These bounds are
 * ours. */
static void bounds_of_the_key_derivation(void **state)
{
    (void)state;
    unsigned char key[64];
    const unsigned char salt[] = "salt";
    assert_false(bcrypt_pbkdf("", 0, salt, 4, 1, key, sizeof key));
    assert_false(bcrypt_pbkdf("x", 1, salt, 0, 1, key, sizeof key));
    assert_false(bcrypt_pbkdf("x", 1, salt, 4, 0, key, sizeof key));
    assert_false(bcrypt_pbkdf("x", 1, salt, 4, 1, key, 0));
    /* The first bytes of the same derivation, spread differently: they differ from those of a shorter key. */
    unsigned char again[64];
    assert_true(bcrypt_pbkdf("password", 8, salt, 4, 4, key, 32));
    assert_true(bcrypt_pbkdf("password", 8, salt, 4, 4, again, 32));
    assert_memory_equal(key, again, 32);
    /* RFC-like vector of OpenBSD's regress: password, salt, 4 rounds, 32 bytes. */
    static const unsigned char expected[32] = {
        0x5b, 0xbf, 0x0c, 0xc2, 0x93, 0x58, 0x7f, 0x1c, 0x36, 0x35, 0x55, 0x5c, 0x27, 0x79, 0x65, 0x98,
        0xd4, 0x7e, 0x57, 0x90, 0x71, 0xbf, 0x42, 0x7e, 0x9d, 0x8f, 0xbe, 0x84, 0x2a, 0xba, 0x34, 0xd9};
    assert_memory_equal(key, expected, 32);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_read),   cmocka_unit_test(ed25519_signatures_hold),
        cmocka_unit_test(rsa_signatures_hold),    cmocka_unit_test(ecdsa_signatures_have_their_form),
        cmocka_unit_test(what_is_no_key_is_told), cmocka_unit_test(bounds_of_the_key_derivation),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
