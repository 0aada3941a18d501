/* Adding a server's key to known_hosts, as a change: the only place where the console writes there. */
#ifndef BACKENDS_SSH_HOST_KEY_H
#define BACKENDS_SSH_HOST_KEY_H

#include "backends/change.h"
#include "backends/ssh/ssh.h"

/*
 * The change that appends the key that the server showed (ssh_host_unknown_key) to the first of the user's
 * known_hosts files; then the host connects anew. The host's name is typed. Refused (NULL with error) when no
 * unknown key was shown: a key that has changed or is revoked is never added here. `host` must outlive it.
 */
struct change *ssh_host_add_key(struct ssh_host *host, struct error *error);

/* Appends a line to a file under its lock and makes sure that it is on the disk; makes the file (0600) and
 * its folder when they are not there. `name` and the raw key are looked for first: true without writing when
 * the key is there already, ERROR_GONE when another one of this name came meanwhile. Blocks. */
bool known_hosts_append(const char *path, const char *line, const char *name, const unsigned char *key,
                        size_t length, struct error *error);

#endif
