/* What blocks on the way to a Redis server, in a worker: the addresses of a name, and the password of a
 * place. Internal to the connection. */
#ifndef BACKENDS_REDIS_DIAL_H
#define BACKENDS_REDIS_DIAL_H

#include <sys/socket.h>

#include "backends/redis/connection.h"

enum { REDIS_DIAL_ADDRESSES = 8 };

struct redis_address {
    struct sockaddr_storage address;
    socklen_t length;
};

struct redis_dial;

/* `done` once on the loop's thread, unless forsaken: what was found, borrowed for the call, or why not. With
 * `socket` (a tunnel's end) only the password of the place is looked for. The password is wiped afterwards.
 */
struct redis_dial *redis_dial_start(struct loop *loop, const char *label, const struct redis_url *url,
                                    size_t place, const char *socket,
                                    void (*done)(void *owner, const struct redis_address *addresses,
                                                 size_t count, const char *password,
                                                 const struct error *error),
                                    void *owner);
void redis_dial_forsake(struct redis_dial *dial);

/* A socket that is connecting, non-blocking and closed on exec; -1 with errno. */
int redis_dial_socket(const struct redis_address *address);

#endif
