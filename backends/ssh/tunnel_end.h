/* The local end of a tunnel: the folder and its socket, or the loopback port. Internal to tunnel*.c. */
#ifndef BACKENDS_SSH_TUNNEL_END_H
#define BACKENDS_SSH_TUNNEL_END_H

#include <stdbool.h>

#include "core/error.h"

struct tunnel_end {
    int listener;
    int lock;            /* of the folder: held as long as it is in use */
    char *folder, *path; /* NULL: loopback */
    int port;            /* 0: socket */
};

/* A listening, non-blocking socket file called `name` in a fresh 0700 folder; the strings hang off `context`.
 */
bool tunnel_end_socket(const void *context, struct tunnel_end *end, const char *name, struct error *error);
bool tunnel_end_loopback(struct tunnel_end *end, struct error *error);
/* Closes it and removes what it made. */
void tunnel_end_close(struct tunnel_end *end);

/* Is the other end of an accepted loopback connection somebody else's? Whatever is not found among our own in
 * /proc/net/tcp is: an end that was closed at once, or one of an IPv6 socket (::ffff:127.0.0.1). */
bool tunnel_end_is_foreign(int fd);

#endif
