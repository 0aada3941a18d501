/* Shared by the environment_*.c files only. */
#ifndef BACKENDS_ENVIRONMENT_INTERNAL_H
#define BACKENDS_ENVIRONMENT_INTERNAL_H

#include "backends/environment.h"
#include "backends/yaml.h"

/* One reading of a file. */
struct environment_reader {
    struct yaml_document *document;
    struct environment *environment;
    /* Where hosts are named: put together when all sections are known (environment_collect_hosts). */
    const struct yaml_node *hosts, *inventory;
    const struct yaml_node *jobs;
    struct error_list *elsewhere; /* what is wrong in other files that this one names */
};

/* How the value of a key is checked and where it goes. */
enum environment_field_kind {
    FIELD_TEXT,     /* const char *: shown, one line */
    FIELD_DSN,      /* const char * */
    FIELD_REDIS,    /* const char *: a URL */
    FIELD_HTTP,     /* const char *: a URL */
    FIELD_SSH,      /* const char *: what ssh takes as its destination */
    FIELD_RELATION, /* const char *: schema.table */
    FIELD_PATH,    /* const char *: a file here; "~/" and relative to the environment's file, made absolute */
    FIELD_REMOTE,  /* const char *: an absolute path on a host */
    FIELD_CHOICE,  /* const char *: one of words */
    FIELD_WORD,    /* int: the place of one of words */
    FIELD_STATUS,  /* int: an HTTP status */
    FIELD_BOOLEAN, /* bool */
    FIELD_DURATION, /* double: seconds, more than 0 */
    FIELD_OWN,      /* `read` does it; the value may be a list or a mapping */
};

struct environment_field {
    const char *name;
    enum environment_field_kind kind;
    size_t offset;            /* in the struct that the mapping fills */
    const char *const *words; /* ends with NULL */
    void (*read)(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                 void *target);
};

/* Zeroed, with the promised figures as its policy and the defaults of ssh. */
struct environment *environment_new(const void *context);

/* Its argument; aborts when that is NULL (out of memory). */
void *environment_must(void *pointer);

void environment_complain(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                          const char *todo, const char *why);
void environment_complain_unknown(struct environment_reader *reader, const struct yaml_node *key,
                                  const char *what, const char *const known[], size_t count);
/* Would change when it is made safe to show: control and invisible characters. */
bool environment_is_unsafe(const char *text);
/* Can be the name of something. */
bool environment_is_word(const char *text);
/* What may stand after `ssh`: no option, nothing that a shell would see. */
bool environment_is_destination(const char *text);
/* False with a complaint, except for nothing at all (YAML_NULL). */
bool environment_is_mapping(struct environment_reader *reader, const struct yaml_node *node,
                            const char *what);
bool environment_is_list(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                         const char *todo);
/* Reads the known keys of a mapping into `target`. An empty one says nothing. At most 16 fields. */
void environment_read_fields(struct environment_reader *reader, const struct yaml_node *node,
                             const char *what, const struct environment_field *fields, size_t count,
                             void *target);
/* A section of named entries: a fresh array of node->count structs of `size` bytes whose first member is the
 * name. The fields of each are read. */
void *environment_read_entries(struct environment_reader *reader, const struct yaml_node *node,
                               const char *what, size_t size, const struct environment_field *fields,
                               size_t field_count, size_t *count);
/* The entry at `index` of the section must have said `what`: `value` is NULL when it has not. */
void environment_require(struct environment_reader *reader, const struct yaml_node *section, size_t index,
                         const void *value, const char *what, const char *todo);

/* environment_hosts.c: the sections of hosts. */
void environment_read_ssh(struct environment_reader *reader, const struct yaml_node *node);
void environment_read_hosts(struct environment_reader *reader, const struct yaml_node *node);
void environment_read_inventory(struct environment_reader *reader, const struct yaml_node *node);
/* When both have been read: each host once, in the order of the file. */
void environment_collect_hosts(struct environment_reader *reader);

/* environment_services.c: what is asked of hosts and done on them. */
void environment_read_urls(struct environment_reader *reader, const struct yaml_node *node);
void environment_read_logs(struct environment_reader *reader, const struct yaml_node *node);
void environment_read_runbooks(struct environment_reader *reader, const struct yaml_node *node);

/* environment_jobs.c: job systems. Checked when all sections are known: they name entries of others. */
void environment_read_jobs(struct environment_reader *reader, const struct yaml_node *node);
void environment_check_jobs(struct environment_reader *reader, const struct yaml_node *node);

/* The absolute path that a file's text means: "~/x", "/x", or "x" beside the environment's file. */
char *environment_path(const void *context, const struct environment *environment, const char *text);
/* A plain file's text, at most `limit` bytes; NULL with error. Does not wait for a FIFO. */
char *environment_read_file(const void *context, const char *path, size_t limit, size_t *length,
                            struct error *error);

/*
 * environment_ssh_config.c: the Host entries of an ssh_config file (NULL: ~/.ssh/config) in its order, each
 * once, Include followed. `patterns`: those with wildcards too. Only names are looked at: what they mean is
 * asked of `ssh -G`. A file that cannot be read has none.
 */
char **environment_ssh_config_names(const void *context, const char *path, bool patterns, size_t *count);

enum { INVENTORY_HOSTS_MAX = 20000, INVENTORY_GROUPS_MAX = 2000, INVENTORY_SIZE_MAX = 4 * 1024 * 1024 };
/*
 * environment_inventory.c: the hosts of an Ansible inventory in INI form, in its order, each once: groups,
 * [group:children], [group:vars], ranges (web[01:50]), and of the variables ansible_host, ansible_port and
 * ansible_user with Ansible's precedence; others are passed over. A host's group is the first that it stands
 * in. NULL when anything is wrong; then every error was added with its file:line:column.
 */
struct environment_host *environment_parse_inventory(const void *context, const char *path, const char *text,
                                                     size_t length, size_t *count, struct error_list *errors);

#endif
