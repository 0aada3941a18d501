/*
 * What ~/.ssh/config says of a destination, as `ssh -G` tells it: Match, Include and all, exactly as the
 * user's own ssh sees it. And what the key files that it names are.
 */
#ifndef BACKENDS_SSH_CONFIG_H
#define BACKENDS_SSH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/loop.h"

enum ssh_key_type {
    SSH_KEY_UNKNOWN, /* it is not said outside of the encrypted part */
    SSH_KEY_ED25519,
    SSH_KEY_ECDSA,
    SSH_KEY_RSA,
    SSH_KEY_DSA,
    SSH_KEY_HARDWARE, /* FIDO: sk-ssh-ed25519, sk-ecdsa */
};

/* A key file that exists. */
struct ssh_identity {
    const char *path;  /* absolute */
    const char *shown; /* "~/.ssh/id_ed25519", for questions and errors */
    enum ssh_key_type type;
    bool encrypted;
    bool public_only;            /* the private key is in the agent, or nowhere */
    bool unreadable;             /* there, but this user may not read it */
    bool too_open;               /* others may read it: ssh refuses such a file */
    const char *public_file;     /* path.pub when there is one; NULL */
    const unsigned char *public; /* the public key as the agent lists it; NULL when not known */
    size_t public_length;
};

/* One hop of ProxyJump. */
struct ssh_hop {
    const char *user, *host; /* user NULL: as ssh_config says */
    int port;                /* 0: as ssh_config says */
    const char *destination; /* what `ssh` would be called with: "user@host:port" */
};

/* Everything hangs off the settings. Texts are NULL where nothing is set ("none" is nothing). */
struct ssh_settings {
    const char *destination;
    const char *hostname, *user;
    int port;
    const char *address_family; /* "any", "inet", "inet6" */
    const char *bind_address, *bind_interface;
    const char *host_key_alias;
    const char *proxy_command;
    const struct ssh_hop *hops; /* in the order in which they are passed */
    size_t hop_count;

    const struct ssh_identity *identities; /* in the order of ssh_config; each once */
    size_t identity_count;
    const char *const *certificates; /* files of certificates that exist */
    size_t certificate_count;
    const char *agent; /* the socket of the agent; NULL: none */
    bool agent_off;    /* IdentityAgent none */
    bool identities_only;
    bool public_key, keyboard_interactive, password, gssapi; /* which ways are allowed */
    const char *preferred; /* PreferredAuthentications; NULL: ssh's own order */
    const char *pkcs11;    /* a library with keys that only ssh can use */

    const char *const *user_known_hosts; /* files, there or not */
    size_t user_known_host_count;
    const char *const *global_known_hosts;
    size_t global_known_host_count;
    const char *known_hosts_command, *revoked_host_keys;
    const char *host_key_algorithms; /* the whole list, as ssh would offer it */
    const char *ciphers, *macs, *kex_algorithms;
    bool hash_known_hosts, compression;
    double connect_timeout_s;       /* 0: none */
    double server_alive_s;          /* 0: none */
    bool has_remote_command, forks; /* RemoteCommand, ForkAfterAuthentication: have to be switched off */
};

/*
 * What `ssh -G` printed, without a look at any file: identities have a path alone. Lines that are not known
 * are skipped. NULL with error when it names no host. Fresh talloc object owned by context.
 */
struct ssh_settings *ssh_settings_parse(const void *context, const char *destination, const char *text,
                                        size_t length, struct error *error);
/* Looks at the key files: takes out those that are not there, fills in what the others are. Blocks. */
void ssh_settings_examine(struct ssh_settings *settings);

/* The words that make `ssh` reach the destination: "-l", user, "-p", port, "--", host as far as they are
 * given. NULL at the end, talloc'd. NULL with error when the destination is none: empty, with control
 * characters or blanks, beginning with '-', a port that is none. */
const char **ssh_destination_argv(const void *context, const char *destination, struct error *error);

struct ssh_resolving;
/*
 * Runs `ssh -G [-F config] DESTINATION` in a worker, at most 5 s, and looks at the key files. `done` exactly
 * once in a later turn unless ssh_resolving_cancel was called: the settings are a parentless talloc object
 * that belongs to who is called; NULL with the error otherwise. `where` is what errors call it. All texts
 * are copied.
 */
struct ssh_resolving *
ssh_settings_resolve(struct loop *loop, const char *where, const char *config, const char *destination,
                     void (*done)(void *data, struct ssh_settings *settings, const struct error *error),
                     void *data);
/* `done` is not called any more. NULL is allowed. */
void ssh_resolving_cancel(struct ssh_resolving *resolving);

#endif
