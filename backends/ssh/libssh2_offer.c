/* The keys that are offered to a server, and their signatures: by the agent, or from files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/libssh2_auth.h"

/* ---- which ones ---- */

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Why libssh2 cannot use a key of this type; NULL when it can. */
static const char *unfit_type(const char *type)
{
    if (strstr(type, "-cert-"))
        return "a certificate: libssh2 cannot use it";
    if (starts(type, "sk-"))
        return "a FIDO key: libssh2 cannot use it";
    if (starts(type, "ssh-rsa"))
        return LIB_HAS_RSA ? NULL : LIB_RSA_UNFIT;
    return starts(type, "ssh-ed25519") || starts(type, "ecdsa-") ? NULL : "a key type that is out of use";
}

static const char *unfit_identity(const struct ssh_identity *identity)
{
    if (identity->type == SSH_KEY_HARDWARE)
        return unfit_type("sk-");
    if (identity->type == SSH_KEY_RSA)
        return unfit_type("ssh-rsa");
    return identity->type == SSH_KEY_DSA ? unfit_type("ssh-dss") : NULL;
}

static void add_offer(struct lib_auth *auth, struct offer offer)
{
    auth->offers = talloc_realloc(auth, auth->offers, struct offer, auth->offer_count + 1);
    auth->offers[auth->offer_count++] = offer;
}

static void skip_for(struct lib_auth *auth, const char *name, const char *reason)
{
    auth_note(auth, &auth->skipped, "%s: %s", name, reason);
    if (!auth->other && strstr(reason, "libssh2"))
        auth->other = reason;
}

static bool same(const struct ssh_identity *identity, const struct agent_key *key)
{
    return identity->public && identity->public_length == key->length &&
           memcmp(identity->public, key->blob, key->length) == 0;
}

static const struct ssh_identity *find_identity(const struct ssh_settings *s, const struct agent_key *key)
{
    for (size_t i = 0; i < s->identity_count; i++)
        if (same(&s->identities[i], key))
            return &s->identities[i];
    return NULL;
}

static bool agent_has(const struct lib_auth *auth, const struct ssh_identity *identity)
{
    for (size_t i = 0; auth->keys && i < auth->keys->count; i++)
        if (same(identity, &auth->keys->items[i]))
            return true;
    return false;
}

static void offer_agent_key(struct lib_auth *auth, const struct agent_key *key,
                            const struct ssh_identity *identity)
{
    char *name = ssh_key_fingerprint(auth, key->blob, key->length);
    char *full = talloc_asprintf(auth, "%s %s from the agent",
                                 starts(key->type, "ssh-") ? key->type + 4 : key->type, name);
    talloc_free(name);
    const char *unfit = unfit_type(key->type);
    if (unfit)
        skip_for(auth, full, unfit);
    else
        add_offer(
            auth,
            (struct offer){
                .blob = key->blob, .length = key->length, .identity = identity, .agent = true, .name = full});
}

/* Those that ssh_config names first, then ed25519, then the others: every refused key burns a try. */
static void offer_agent_keys(struct lib_auth *auth)
{
    const struct ssh_settings *s = ssh_host_settings(auth->session->host);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; auth->keys && i < auth->keys->count; i++) {
            const struct agent_key *key = &auth->keys->items[i];
            const struct ssh_identity *identity = find_identity(s, key);
            int rank = identity ? 0 : starts(key->type, "ssh-ed25519") ? 1 : 2;
            if (rank == round && (identity || !s->identities_only))
                offer_agent_key(auth, key, identity);
        }
}

static void offer_file(struct lib_auth *auth, const struct ssh_identity *identity)
{
    const char *unfit = unfit_identity(identity);
    bool open = key_store_find(auth->session->host->pool->keys, identity);
    if (identity->public_only)
        skip_for(auth, identity->shown, "only its public half is here, and the agent does not hold it");
    else if (unfit)
        skip_for(auth, identity->shown, unfit);
    else if (identity->unreadable)
        skip_for(auth, identity->shown, "this user may not read it");
    else if (identity->too_open)
        skip_for(auth, identity->shown, "others may read it (chmod 600)");
    else if (identity->encrypted && !open && !auth->session->host->pool->options.ask)
        skip_for(auth, identity->shown, "it needs a passphrase, and nobody is there to be asked");
    else
        add_offer(auth, (struct offer){.blob = identity->public,
                                       .length = identity->public_length,
                                       .identity = identity,
                                       .name = talloc_strdup(auth, identity->shown)});
}

void offers_make(struct lib_auth *auth)
{
    const struct ssh_settings *s = ssh_host_settings(auth->session->host);
    offer_agent_keys(auth);
    for (size_t i = 0; i < s->identity_count; i++)
        if (!agent_has(auth, &s->identities[i]))
            offer_file(auth, &s->identities[i]);
}

/* ---- signatures ---- */

static void sign_failed(struct lib_auth *auth, const char *why)
{
    auth->sign_failed = true;
    auth->sign_why = talloc_strdup(auth, why);
}

static void agent_signed(void *data, const unsigned char *signature, size_t length, const struct error *error)
{
    struct lib_auth *auth = data;
    auth->call = NULL;
    if (signature) {
        auth->signature = malloc(length);
        if (!auth->signature)
            abort();
        memcpy(auth->signature, signature, length);
        auth->signature_length = length;
    } else {
        sign_failed(auth, error->why);
    }
    auth_go_on(auth);
}

static void key_opened(void *data, const struct private_key *key, const char *why)
{
    struct lib_auth *auth = data;
    auth->wait = NULL;
    if (!key)
        sign_failed(auth, why);
    auth_go_on(auth);
}

/* The algorithm stands in what is signed: session id, a byte, user, service, "publickey", a byte, algorithm.
 */
static uint32_t rsa_flags(const unsigned char *message, size_t length)
{
    static const unsigned char skips[] = {0, 1, 0, 0, 1}; /* bytes before each string */
    size_t at = 0;
    for (size_t i = 0; i <= sizeof skips; i++) {
        at += i < sizeof skips ? skips[i] : 0;
        if (at + 4 > length)
            return 0;
        size_t size = (size_t)message[at] << 24 | (size_t)message[at + 1] << 16 |
                      (size_t)message[at + 2] << 8 | message[at + 3];
        at += 4;
        if (size > length - at)
            return 0;
        if (i + 1 == sizeof skips && size == 12)
            return memcmp(message + at, "rsa-sha2-512", 12) == 0   ? AGENT_RSA_SHA2_512
                   : memcmp(message + at, "rsa-sha2-256", 12) == 0 ? AGENT_RSA_SHA2_256
                                                                   : 0;
        at += size;
    }
    return 0;
}

static void begin_signature(struct lib_auth *auth, const unsigned char *message, size_t length)
{
    struct offer *offer = &auth->offers[auth->at];
    struct ssh_host *host = auth->session->host;
    if (offer->agent) {
        auth->call =
            agent_sign(ssh_host_loop(host), ssh_host_settings(host)->agent, offer->blob, offer->length,
                       message, length, rsa_flags(message, length), agent_signed, auth);
        auth_wait(auth);
        return;
    }
    const struct private_key *key = key_store_find(host->pool->keys, offer->identity);
    if (!key) {
        auth->wait = key_store_open(host->pool->keys, offer->identity, ssh_host_name(host), key_opened, auth);
        auth_wait(auth);
        return;
    }
    const char *digest = rsa_flags(message, length) == AGENT_RSA_SHA2_256 ? "SHA256" : "SHA512";
    auth->signature = private_key_sign(key, digest, message, length, &auth->signature_length);
    if (!auth->signature)
        sign_failed(auth, "it cannot sign");
}

/* Called by libssh2 until the signature is there. */
static int sign(LIBSSH2_SESSION *ssh, unsigned char **signature, size_t *signature_length,
                const unsigned char *message, size_t length, void **abstract)
{
    struct lib_auth *auth = *abstract;
    (void)ssh;
    if (!auth->signature && !auth->sign_failed && !auth->waiting)
        begin_signature(auth, message, length);
    if (auth->sign_failed) {
        auth->sign_failed = false;
        return -1;
    }
    if (!auth->signature)
        return LIBSSH2_ERROR_EAGAIN;
    *signature = session_alloc(auth->session, auth->signature_length);
    *signature_length = auth->signature_length;
    memcpy(*signature, auth->signature, auth->signature_length);
    free(auth->signature);
    auth->signature = NULL;
    auth->was_signed = true;
    return 0;
}

/* What the file holds was not known before it was opened. */
static int open_first(struct lib_auth *auth, struct offer *offer)
{
    struct ssh_host *host = auth->session->host;
    if (auth->sign_failed) {
        auth->sign_failed = false;
        return LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
    }
    const struct private_key *key = key_store_find(host->pool->keys, offer->identity);
    if (key) {
        offer->blob = private_key_blob(key, &offer->length);
        return 0;
    }
    auth->wait = key_store_open(host->pool->keys, offer->identity, ssh_host_name(host), key_opened, auth);
    auth_wait(auth);
    return LIBSSH2_ERROR_EAGAIN;
}

int offer_try(struct lib_auth *auth)
{
    struct offer *offer = &auth->offers[auth->at];
    if (!offer->blob) {
        int code = open_first(auth, offer);
        if (code)
            return code;
    }
    const char *user = ssh_host_settings(auth->session->host)->user;
    return libssh2_userauth_publickey(auth->session->ssh, user, offer->blob, offer->length, sign,
                                      &auth->self);
}
