/* What the panels and commands work with: the environment, its servers, the interlocks. Passed down, never
 * global. */
#ifndef PANELS_APP_H
#define PANELS_APP_H

#include "backends/access.h"
#include "backends/audit.h"
#include "backends/environment.h"
#include "backends/hosts/fleet.h"
#include "backends/postgres/server.h"
#include "backends/queues/queues.h"
#include "backends/redis/server.h"
#include "backends/ssh/ssh.h"
#include "core/loop.h"
#include "panels/options.h"

struct console;
struct audit_state;

struct app {
    struct loop *loop;
    const struct options *options;
    struct environment *environment;
    struct ssh_pool *ssh; /* the sessions to its hosts and bastions */
    struct pg_server **servers;
    size_t server_count;
    const struct pg_server *chosen; /* the one server that is looked at; NULL: all of them */
    struct redis_server **redis;
    size_t redis_count;
    struct queues *queues;    /* the job systems on all of them; never NULL */
    struct fleet *fleet;      /* the hosts of the environment; may be empty, never NULL */
    struct host_store *store; /* what the hosts did before now; NULL: --no-state */
    struct audit *audit;
    struct access *access;
    struct console *console;          /* NULL in batch */
    void (*changed)(struct app *app); /* something that can be seen changed; may be NULL */
    /* Answers of a large fleet are told a few times a second: each redraws all of it. */
    ev_timer tell_later;
    double told, stirred; /* when it was told, and when a session last changed; monotonic */
    /* SSH needs a passphrase or a code: must be answered (ssh_answer). NULL: nobody is there. */
    void (*ask)(struct app *app, struct ssh_question *question);
    void *panel_state;               /* the queries panel's own */
    struct audit_state *audit_state; /* the audit panel's own */
    struct hosts_state *hosts_state; /* the hosts panel's own */
    struct jobs_state *jobs_state;   /* the jobs panel's own */
    struct redis_state *redis_state; /* of the panel of one Redis */
    struct disk_store *disk_store;   /* what was measured on disks of hosts */
};

/* Finds the environment that the options name (or none does), and makes its servers; nothing connects yet.
 * NULL with errors. */
struct app *app_new(const struct options *options, struct error_list *errors);
/* The same for an environment that is known already: takes it (a talloc chunk) over. */
struct app *app_new_for(const struct options *options, struct environment *environment);
void app_free(struct app *app);

/* The server of that name, or NULL. */
struct pg_server *app_server(const struct app *app, const char *name);
/* Is this server looked at now? */
bool app_shows(const struct app *app, const struct pg_server *server);

#endif
