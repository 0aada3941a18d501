/*
 * Tunnels: a local end that programs of this machine connect to, and a far end that is reached through an SSH
 * host. Each local connection is one channel of the host's session.
 *
 * The local end is a Unix socket in a folder of its own that only this user may enter. Where TLS has to be
 * checked it must be TCP instead: then it listens on a free port of 127.0.0.1. Other users of this machine
 * can connect to such a port; connections that the kernel says are another user's are closed at once, but
 * prefer the socket.
 *
 * A tunnel never ends by itself: it takes connections while the host is away, and these wait or end with an
 * error that is kept. What it makes in the file system goes when it is freed; what crashed consoles left is
 * removed when the next tunnel is made.
 */
#ifndef BACKENDS_SSH_TUNNEL_H
#define BACKENDS_SSH_TUNNEL_H

#include "backends/ssh/ssh.h"

enum ssh_tunnel_end {
    SSH_TUNNEL_SOCKET,   /* a Unix socket in a 0700 folder */
    SSH_TUNNEL_LOOPBACK, /* a port of 127.0.0.1 */
};

struct ssh_tunnel_target {
    const char *address; /* as the host resolves it; with port */
    int port;
    const char *path; /* instead: of a Unix socket on the host */
};

struct ssh_tunnel;

/* NULL with error when there is no local end to be had. `socket_name` names the socket in its folder
 * (".s.PGSQL.5432" for libpq); NULL: "socket". The host must outlive the tunnel. Nothing is opened on it
 * before somebody connects. */
struct ssh_tunnel *ssh_tunnel_new(struct loop *loop, struct ssh_host *host,
                                  const struct ssh_tunnel_target *target, enum ssh_tunnel_end end,
                                  const char *socket_name, struct error *error);
/* Closes its connections, local and far. NULL is allowed. */
void ssh_tunnel_free(struct ssh_tunnel *tunnel);

enum ssh_tunnel_end ssh_tunnel_end(const struct ssh_tunnel *tunnel);
const char *ssh_tunnel_folder(const struct ssh_tunnel *tunnel); /* of the socket; NULL: loopback */
const char *ssh_tunnel_path(const struct ssh_tunnel *tunnel);   /* of the socket; NULL: loopback */
int ssh_tunnel_port(const struct ssh_tunnel *tunnel);           /* of the loopback; 0: socket */
/* "db1:5432 through bastion", for errors. */
const char *ssh_tunnel_place(const struct ssh_tunnel *tunnel);
size_t ssh_tunnel_connections(const struct ssh_tunnel *tunnel);

/* Why the last connection that failed was refused or lost, and when (clock_monotonic); the local program sees
 * only that its connection was closed. Kind ERROR_NONE: since the last failure one got through. */
const struct error *ssh_tunnel_error(const struct ssh_tunnel *tunnel, double *at);

#endif
