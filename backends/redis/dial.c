/* Names, passwords and sockets. */
#include "backends/redis/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

struct redis_dial {
    char label[160];
    struct redis_url *url; /* a talloc context of its own */
    struct redis_place place;
    struct redis_address addresses[REDIS_DIAL_ADDRESSES];
    size_t count;
    char *password;
    struct error error;
    void (*done)(void *owner, const struct redis_address *addresses, size_t count, const char *password,
                 const struct error *error);
    void *owner; /* NULL: forsaken; loop's thread only */
};

static void add_socket(struct redis_dial *dial)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&dial->addresses[0].address;
    address->sun_family = AF_UNIX;
    if (strlen(dial->place.path) >= sizeof address->sun_path) {
        error_set(&dial->error, ERROR_CONFIG, dial->label, "cannot connect", "Use a shorter path",
                  "a socket's path has at most %zu bytes", sizeof address->sun_path - 1);
        return;
    }
    snprintf(address->sun_path, sizeof address->sun_path, "%s", dial->place.path);
    dial->addresses[0].length = sizeof *address;
    dial->count = 1;
}

static void resolve(struct redis_dial *dial)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    char port[16], what[sizeof dial->error.what];
    snprintf(port, sizeof port, "%d", dial->place.port);
    int failed = getaddrinfo(dial->place.host, port, &hints, &found);
    if (failed) {
        snprintf(what, sizeof what, "cannot find %s", dial->place.host);
        error_set(&dial->error, ERROR_NAME, dial->label, what, "Check the name in the URL", "%s",
                  failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
        return;
    }
    for (struct addrinfo *a = found; a && dial->count < REDIS_DIAL_ADDRESSES; a = a->ai_next) {
        if (a->ai_addrlen > sizeof dial->addresses[0].address)
            continue;
        memcpy(&dial->addresses[dial->count].address, a->ai_addr, a->ai_addrlen);
        dial->addresses[dial->count++].length = a->ai_addrlen;
    }
    freeaddrinfo(found);
}

static void dial_in_worker(void *data)
{
    struct redis_dial *dial = data;
    dial->password = redis_password(dial->url, dial->url, &dial->url->places[0], &dial->error);
    if (dial->error.kind)
        snprintf(dial->error.where, sizeof dial->error.where, "%s", dial->label);
    else if (dial->place.path)
        add_socket(dial);
    else
        resolve(dial);
}

static void drop_dial(void *data)
{
    struct redis_dial *dial = data;
    if (dial->password)
        explicit_bzero(dial->password, strlen(dial->password));
    if (dial->url->password)
        explicit_bzero((char *)dial->url->password, strlen(dial->url->password));
    talloc_free(dial->url);
    free(dial);
}

static void hand_over(void *data)
{
    struct redis_dial *dial = data;
    if (dial->owner)
        dial->done(dial->owner, dial->addresses, dial->count, dial->password,
                   dial->error.kind ? &dial->error : NULL);
    drop_dial(dial);
}

struct redis_dial *redis_dial_start(struct loop *loop, const char *label, const struct redis_url *url,
                                    size_t place, const char *socket,
                                    void (*done)(void *owner, const struct redis_address *addresses,
                                                 size_t count, const char *password,
                                                 const struct error *error),
                                    void *owner)
{
    struct redis_dial *dial = calloc(1, sizeof *dial);
    if (!dial)
        abort();
    snprintf(dial->label, sizeof dial->label, "%s", label);
    dial->url = redis_url_copy(NULL, url);
    dial->url->places[0] = dial->url->places[place];
    dial->place =
        socket ? (struct redis_place){.path = talloc_strdup(dial->url, socket)} : dial->url->places[0];
    dial->done = done;
    dial->owner = owner;
    loop_work_or_drop(loop, WORK_NAME, dial_in_worker, hand_over, drop_dial, dial);
    return dial;
}

void redis_dial_forsake(struct redis_dial *dial)
{
    dial->owner = NULL;
}

int redis_dial_socket(const struct redis_address *address)
{
    int family = address->address.ss_family, one = 1, idle = 10, interval = 5, count = 3, unanswered = 20000;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered, sizeof unanswered);
    }
    if (connect(fd, (const struct sockaddr *)&address->address, address->length) != 0 &&
        errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}
