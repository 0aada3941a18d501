/* What a DSN comes to in libpq's own eyes: its hosts, TLS, password. Internal to route*.c. */
#ifndef BACKENDS_POSTGRES_ROUTE_PLAN_H
#define BACKENDS_POSTGRES_ROUTE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum { ROUTE_HOSTS_MAX = 16 };

enum route_tls { ROUTE_TLS_NO, ROUTE_TLS_IF_NEEDED, ROUTE_TLS_ALWAYS };

struct route_target {
    char *name;    /* as the DSN has it: libpq checks certificates against it */
    char *address; /* to connect to; NULL: the Unix socket `path` */
    char *path;
    int port;
};

/* Parentless talloc: made in a worker. */
struct route_plan {
    char *dsn;
    struct route_target targets[ROUTE_HOSTS_MAX];
    size_t count;
    enum route_tls tls;
    char *password; /* from the password file, a variable or the DSN; NULL */
    struct error error;
};

/* Reads files; no network. Never NULL: see `error`. */
struct route_plan *route_plan_new(const char *dsn, const char *where);

/* Where one target is reached now. */
struct route_local {
    const char *folder; /* of a socket; NULL: loopback */
    int port;
};
/* The DSN that leads to the tunnels. Talloc string under context. */
char *route_plan_dsn(const void *context, const struct route_plan *plan, const struct route_local locals[]);

#endif
