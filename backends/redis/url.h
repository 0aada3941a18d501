/*
 * Where a Redis server is, and as whom: redis://USER@HOST:PORT/NUMBER, several hosts with commas between them
 * (tried in order; Sentinels when the environment names their master), rediss:// for TLS, unix:///PATH?db=N.
 * https://www.iana.org/assignments/uri-schemes/prov/redis
 */
#ifndef BACKENDS_REDIS_URL_H
#define BACKENDS_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum { REDIS_URL_HOSTS = 16, REDIS_PORT = 6379, REDIS_SENTINEL_PORT = 26379 };

struct redis_place {
    const char *host; /* a name, an address (IPv6 without brackets); NULL: path */
    int port;         /* 6379 when the URL names none (Sentinels: see port_named) */
    bool port_named;
    const char *path; /* of a Unix socket */
};

/* All texts are under the context given. */
struct redis_url {
    struct redis_place places[REDIS_URL_HOSTS];
    size_t place_count;
    bool tls;
    int database;         /* 0 when the URL names none */
    const char *user;     /* of an ACL; NULL: the default user */
    const char *password; /* only in URLs of the command line; never shown, never kept elsewhere */
};

/* False with error (ERROR_USAGE) for anything that is not such a URL. */
bool redis_url_parse(const void *context, const char *text, struct redis_url *url, struct error *error);

/* A deep copy, everything under it: a fresh talloc object. */
struct redis_url *redis_url_copy(const void *context, const struct redis_url *url);

/* "redis1:6379", "[::1]:6379", "/run/redis.sock". Fresh talloc string. */
char *redis_place_text(const void *context, const struct redis_place *place);

/* "redis1:6379/0", without user and password. Fresh talloc string. */
char *redis_url_place(const void *context, const struct redis_url *url);

/*
 * The password for a place: of the URL itself; else the first line of $XDG_CONFIG_HOME/signalbox/redispass
 * that fits (HOST:PORT:USER:PASSWORD, `*` fits all, `\:` is a colon, as in libpq's .pgpass; refused when
 * others may read it; a socket's HOST is its path with PORT `*`); else REDISCLI_AUTH, as redis-cli does.
 * NULL: none. An error when the file is refused. Blocks (reads a file). Fresh talloc string.
 */
char *redis_password(const void *context, const struct redis_url *url, const struct redis_place *place,
                     struct error *error);

#endif
