/*
 * The known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), read by us: hashed names, [host]:port, lists,
 * wildcards, negation, @revoked, @cert-authority. Nothing here writes to them: see host_key.h.
 */
#ifndef BACKENDS_SSH_KNOWN_HOSTS_H
#define BACKENDS_SSH_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/ssh/config.h"
#include "core/error.h"

/* The files, parsed once and kept until they change: two hundred hosts do not read them two hundred times.
 * May be used from several threads at once. Made with one reference; the last one frees it. */
struct known_hosts_store;
struct known_hosts_store *known_hosts_store_new(void);
struct known_hosts_store *known_hosts_store_hold(struct known_hosts_store *store);
void known_hosts_store_release(struct known_hosts_store *store);

/* What the files say of one host. Immutable; a talloc object. */
struct known_hosts;
/* Looks the host of the settings up: HostKeyAlias, or the name with its port. As for ssh, a line without a
 * port counts for another port than 22 only where nothing is on file with that port, and only when its key is
 * the very one that is shown: another key there says nothing. Never NULL. Blocks: for a worker. */
struct known_hosts *known_hosts_load(const void *context, struct known_hosts_store *store,
                                     const struct ssh_settings *settings);

/* The algorithms of the keys on file in the order in which ssh would ask for them
 * ("ssh-ed25519,rsa-sha2-512,rsa-sha2-256,ssh-rsa"). Fresh talloc string; NULL when no key is on file. */
char *known_hosts_algorithms(const void *context, const struct known_hosts *known);
/* A @cert-authority stands for the host: only ssh itself can check certificates. */
bool known_hosts_has_authority(const struct known_hosts *known);

enum known_verdict {
    KNOWN_OK,
    KNOWN_UNKNOWN,
    KNOWN_CHANGED,        /* another key of this host is on file */
    KNOWN_REVOKED,        /* @revoked */
    KNOWN_AUTHORITY_ONLY, /* no key, but an authority is on file */
};
/* The verdict on the raw key that the server shows. Unless it is KNOWN_OK the error (may be NULL) says what
 * stands where and what to do; `where` is what it calls the host. */
enum known_verdict known_hosts_check(const struct known_hosts *known, const char *where,
                                     const unsigned char *key, size_t length, struct error *error);

/* The error of KNOWN_UNKNOWN, for who learned of it otherwise. */
void known_hosts_explain_unknown(const struct ssh_settings *settings, const char *where,
                                 const unsigned char *key, size_t length, struct error *error);

/* Files that cannot be read and lines that are skipped: "file:line", why. At most 20, the last one counts the
 * rest. The error of KNOWN_UNKNOWN names the first one. */
const struct error *known_hosts_problems(const struct known_hosts *known, size_t *count);

/* "ssh-ed25519" out of a raw key; NULL when it is none. Fresh talloc string. */
char *ssh_key_type_name(const void *context, const unsigned char *key, size_t length);
/* "ED25519", "ECDSA", "RSA" ... as OpenSSH's messages have it. */
const char *ssh_key_short_name(const char *type_name);
/* "SHA256:..." as ssh-keygen -l prints it. Fresh talloc string. */
char *ssh_key_fingerprint(const void *context, const unsigned char *key, size_t length);

/* The name under which the host of the settings stands in the files. Fresh talloc string. */
char *known_hosts_name_of(const void *context, const struct ssh_settings *settings);
/* A line for a file, without its end; with `hashed` the name is hashed with a fresh salt. NULL when the key
 * or the name cannot stand there. Fresh talloc string. */
char *known_hosts_line(const void *context, const char *name, bool hashed, const unsigned char *key,
                       size_t length);

/* ---- for tests and fuzzing ---- */

struct known_file;
/* Parses a text as a file of that name. A talloc object. */
struct known_file *known_file_parse(const void *context, const char *path, const char *text, size_t length);
/* The lines of the file that stand for the name, as known_hosts_load would give them. */
struct known_hosts *known_file_look_up(const void *context, const struct known_file *file, const char *name,
                                       const char *algorithms);

#endif
