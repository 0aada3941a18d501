/*
 * The environment: where the console looks and what it may do there. Read from one YAML file an environment,
 * or made from DSNs, or from libpq's own variables.
 *
 * Everything in a `struct environment` is a talloc child of it and never changes. DSNs from files hold no
 * password; one from the command line may: show them through secret_mask_dsn.
 */
#ifndef BACKENDS_ENVIRONMENT_H
#define BACKENDS_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error_list.h"

enum environment_kind {
    ENVIRONMENT_DEVELOPMENT,
    ENVIRONMENT_STAGING,
    ENVIRONMENT_PRODUCTION,
    ENVIRONMENT_ADHOC, /* made from DSNs: treated as production */
};

struct environment_server {
    const char *name;             /* unique within the environment; the key in the file, or "host/dbname" */
    const char *watch;            /* DSN of the role that watches; NULL when there is none */
    const char *read;             /* DSN of the role that may SELECT and EXPLAIN, or NULL */
    const char *act;              /* DSN of the role that may cancel and end, or NULL */
    const char *const *databases; /* further databases that are watched */
    size_t database_count;
    const char *via; /* SSH host to go through, or NULL */
};

struct environment_redis {
    const char *name;
    const char
        *url; /* of the login that watches: redis://, rediss:// or unix://; hosts with commas between */
    const char *act;    /* of the login that changes queues; NULL when there is none */
    const char *via;    /* SSH host to go through, or NULL */
    const char *master; /* the hosts of the URLs are Sentinels; this is their name for the master. Or NULL */
};

/*
 * A job system that is not found by itself, or settings of one that is (the system whose place it names).
 * What the file leaves out is NULL, and as the system itself has it.
 */
struct environment_jobs {
    const char *name;     /* unique; shown in `system` */
    const char *system;   /* "celery", "rq", "sidekiq", "bullmq", "streams", "pgboss", "rabbitmq" ... */
    const char *redis;    /* an entry of `redis`; exactly one of redis, postgres, host */
    const char *postgres; /* a server */
    const char *host;
    int database;              /* number of the Redis database; -1: of the URL */
    const char *schema;        /* of the tables in Postgres */
    const char *prefix;        /* of all keys (global_keyprefix, BullMQ's prefix) */
    const char *control;       /* Celery's control exchange; "celery" */
    const char *results;       /* the entry of `redis` where results are */
    int results_database;      /* -1: of its URL */
    const char *const *queues; /* further queues that nothing names */
    size_t queue_count;
    double visibility_timeout; /* seconds; 0: 1 h */
    const char *tenant_header, *tenant_keyword;
    int tenant_argument;      /* position of an argument, from 0; -1: none */
    const char *tenant_queue; /* "tenant.*": the part that * stands for is the tenant */
};

/*
 * A host: named in the file, matched by a wildcard of the file among the Host entries of ssh_config, from an
 * Ansible inventory, or given by --ssh. Each name stands once.
 */
struct environment_host {
    const char *name;
    const char *group; /* or NULL */
    const char *ssh;   /* what `ssh` is called with; the name when the file says nothing */
};

/* How hosts are reached and how often they are asked. */
/* Where stub_status is looked for when nothing is said: that it is not there is no problem. */
#define ENVIRONMENT_NGINX_STATUS "http://127.0.0.1/nginx_status"
struct environment_ssh {
    const char *config;              /* ssh_config file instead of the user's own, or NULL */
    const char *transport;           /* "auto", "libssh2" or "system" */
    double fast_s, medium_s, slow_s; /* seconds between two samples: 5, 20, 300 */
    const char *release;             /* file on each host whose text names the release, or NULL */
    const char *nginx_status; /* URL of stub_status as seen on the host: http://127.0.0.1/nginx_status */
};

/* An address that users use, asked from outside. */
struct environment_url {
    const char *name;
    const char *url;     /* "{domain}" in it stands for each domain of `domains`, or of the tenants' table */
    int expect;          /* status; 200 */
    const char *from;    /* host that asks too, or NULL */
    const char *connect; /* "host:port" that is connected to instead of the URL's own, or NULL */
    const char *ca;      /* file with the certificates that are trusted instead of the system's, or NULL */
    const char *const *domains;
    size_t domain_count;
};

/* A log that is followed; without any in the file the usual places are looked at. */
struct environment_log {
    const char *name;
    const char *path;      /* on the host, may hold * and ? */
    const char *unit;      /* of the journal, instead of a path */
    const char *container; /* of docker, instead of a path */
    const char *format;    /* "nginx", "gunicorn", "celery", "postgres", "plain"; NULL: by the name */
    const char *group;     /* only hosts of this group, or NULL: all */
};

struct environment_step {
    const char *run;  /* shell command on the host */
    const char *undo; /* or NULL */
};
struct environment_runbook {
    const char *name;
    const char *help;  /* one line, or NULL */
    const char *hosts; /* group or host that it is meant for, or NULL: what is selected */
    const struct environment_step *steps;
    size_t step_count;
};

enum tenancy_model { TENANCY_NONE, TENANCY_SCHEMA, TENANCY_RLS, TENANCY_DATABASE, TENANCY_CITUS };

struct environment_tenancy {
    enum tenancy_model model; /* TENANCY_NONE when the file says nothing */
    const char *registry;     /* "public.tenants_client", or NULL */
    const char *domains;      /* "public.tenants_domain", or NULL */
};

/* The figures that have been promised, all in seconds; those that the file leaves out are the defaults. */
struct environment_policy {
    double rpo;          /* at most this much is lost: 24 h */
    double rto;          /* and it takes at most this long to come back: 30 min */
    double retention;    /* backups are kept this long: 30 d */
    double api_latency;  /* answers of the application: 300 ms */
    double backup;       /* a backup at least every: 24 h */
    double full_backup;  /* a full one at least every: 7 d */
    double restore_test; /* a restore is really run at least every: 31 d */
    double rotation;     /* secrets and keys are replaced at least every: 184 d */
};

enum environment_confirm { CONFIRM_REACH };

struct environment_access {
    bool locked; /* changes need an unlock first; default: production and adhoc yes, others no */
    enum environment_confirm confirm;
    bool second_person; /* what cannot be undone needs a second person */
};

struct environment {
    const char *name;  /* the file's name without .yaml, or "adhoc" */
    const char *title; /* what the header shows; the name when the file says nothing */
    enum environment_kind kind;
    const char *path; /* the file, or NULL for adhoc */
    const struct environment_server *servers;
    size_t server_count;
    const struct environment_redis *redis;
    size_t redis_count;
    const struct environment_jobs *jobs;
    size_t jobs_count;
    const struct environment_host *hosts;
    size_t host_count;
    const char *const *wildcards; /* of `hosts:` in the file that matched no Host entry */
    size_t wildcard_count;
    struct environment_ssh ssh;
    const struct environment_url *urls;
    size_t url_count;
    const struct environment_log *logs;
    size_t log_count;
    const struct environment_runbook *runbooks;
    size_t runbook_count;
    struct environment_tenancy tenancy;
    struct environment_policy policy;
    struct environment_access access;
};

/* "development", "staging", "production", "adhoc". */
const char *environment_kind_name(enum environment_kind kind);
/* "none", "schema", "rls", "database", "citus". */
const char *tenancy_model_name(enum tenancy_model model);
/* To be treated as production: kinds production and adhoc. */
bool environment_is_production(const struct environment *environment);
/* The server of that name, or NULL. */
const struct environment_server *environment_find_server(const struct environment *environment,
                                                         const char *name);
/* The host of that name, or NULL. */
const struct environment_host *environment_find_host(const struct environment *environment, const char *name);
/* What ssh is called with for a `via`: the `ssh` of the host of that name, else the text itself. */
const char *environment_destination(const struct environment *environment, const char *via);
/*
 * What is not wrong but may not be meant: a `via` that is neither a host of the environment nor known to
 * ssh_config, a group or host that does not exist, a wildcard without a match. Kind ERROR_CONFIG. Blocks
 * (reads ssh_config).
 */
void environment_doubts(const struct environment *environment, struct error_list *doubts);

/*
 * Reads $XDG_CONFIG_HOME/signalbox/NAME.yaml, else /etc/signalbox/NAME.yaml; a text with a '/' is a path.
 * NULL when anything at all is wrong; then every error was added to `errors`, where holding
 * "file:line:column" (both counted from 1, columns in characters). Blocks (reads a file).
 */
struct environment *environment_load(const void *context, const char *name_or_path,
                                     struct error_list *errors);

/* The same from memory, without the checks of the file's owner and mode. `path` is what errors name; files
 * that it names (inventory, ssh_config) are read, relative to its folder. */
struct environment *environment_parse(const void *context, const char *path, const char *text, size_t length,
                                      struct error_list *errors);

/* Kind adhoc, locked: a server for each DSN, named "host/dbname" (made unique), whose watch, read and act
 * are all that DSN. NULL when one of them is not a DSN (libpq's URI or key=value). */
struct environment *environment_from_dsn(const void *context, const char *const dsns[], size_t count,
                                         struct error_list *errors);

/*
 * The same with hosts and Redis servers: each destination is what ssh takes (USER@HOST:PORT, an alias), its
 * name the host part (made unique); each URL's login watches and acts, and it may hold a password. Any count
 * may be 0, not all.
 */
struct environment_arguments {
    const char *const *dsns;
    size_t dsn_count;
    const char *const *destinations;
    size_t host_count;
    const char *const *redis;
    size_t redis_count;
};
struct environment *environment_from_arguments(const void *context,
                                               const struct environment_arguments *arguments,
                                               struct error_list *errors);

/* Kind adhoc with one server whose DSNs are empty: libpq fills in all of it from its variables, the service
 * file and its defaults, as psql does. */
struct environment *environment_from_pg_variables(const void *context, struct error_list *errors);

/* One of PGHOST, PGHOSTADDR, PGSERVICE, PGDATABASE, PGPORT, PGUSER is set and not empty. */
bool environment_pg_variables_set(void);

/*
 * Which environment is meant when none is named: the one of libpq's variables when any is set, else "default"
 * when there is such a file, else the only one there is. Fresh talloc string. NULL without an error: the one
 * of the variables, or of psql's defaults (environment_from_pg_variables, "adhoc"). NULL with an error when
 * there are several files.
 */
char *environment_choose(const void *context, struct error_list *errors);

/* The names of all environments that have a file, sorted, each once. */
char **environment_names(const void *context, size_t *count);

#endif
