/* What an environment file may say: its keys are tables, read by one reader that tells everything that is
 * wrong. Where files are found is in environment_file.c; environments without a file in environment_adhoc.c.
 */
#include "backends/environment.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "backends/yaml.h"
#include "core/suggest.h"
#include "core/text.h"
#include "core/units.h"

/* How the value of a key is checked and where it goes. */
enum field_kind {
    FIELD_TEXT,     /* const char *: shown, one line */
    FIELD_DSN,      /* const char * */
    FIELD_REDIS,    /* const char *: a URL */
    FIELD_SSH,      /* const char *: what ssh takes as its destination */
    FIELD_RELATION, /* const char *: schema.table */
    FIELD_WORD,     /* int: one of words */
    FIELD_BOOLEAN,  /* bool */
    FIELD_DURATION, /* double: seconds, more than 0 */
    FIELD_NAMES,    /* struct environment_server's databases */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    const char *const *words; /* of FIELD_WORD: the place of the word is the value; ends with NULL */
};

struct reader {
    struct yaml_document *document;
    struct environment *environment;
};

static const char *const kind_words[] = {"development", "staging", "production", NULL};
static const char *const model_words[] = {"none", "schema", "rls", "database", "citus", NULL};
static const char *const confirm_words[] = {"reach", NULL};

static const struct field environment_fields[] = {
    {"kind", FIELD_WORD, offsetof(struct environment, kind), kind_words},
    {"title", FIELD_TEXT, offsetof(struct environment, title), NULL},
};
static const struct field server_fields[] = {
    {"watch", FIELD_DSN, offsetof(struct environment_server, watch), NULL},
    {"read", FIELD_DSN, offsetof(struct environment_server, read), NULL},
    {"act", FIELD_DSN, offsetof(struct environment_server, act), NULL},
    {"databases", FIELD_NAMES, 0, NULL},
    {"via", FIELD_SSH, offsetof(struct environment_server, via), NULL},
};
static const struct field redis_fields[] = {
    {"url", FIELD_REDIS, offsetof(struct environment_redis, url), NULL},
    {"via", FIELD_SSH, offsetof(struct environment_redis, via), NULL},
};
static const struct field host_fields[] = {
    {"group", FIELD_TEXT, offsetof(struct environment_host, group), NULL},
    {"ssh", FIELD_SSH, offsetof(struct environment_host, ssh), NULL},
};
static const struct field tenancy_fields[] = {
    {"model", FIELD_WORD, offsetof(struct environment_tenancy, model), model_words},
    {"registry", FIELD_RELATION, offsetof(struct environment_tenancy, registry), NULL},
    {"domains", FIELD_RELATION, offsetof(struct environment_tenancy, domains), NULL},
};
static const struct field policy_fields[] = {
    {"rpo", FIELD_DURATION, offsetof(struct environment_policy, rpo), NULL},
    {"rto", FIELD_DURATION, offsetof(struct environment_policy, rto), NULL},
    {"retention", FIELD_DURATION, offsetof(struct environment_policy, retention), NULL},
    {"api_latency", FIELD_DURATION, offsetof(struct environment_policy, api_latency), NULL},
    {"backup", FIELD_DURATION, offsetof(struct environment_policy, backup), NULL},
    {"full_backup", FIELD_DURATION, offsetof(struct environment_policy, full_backup), NULL},
    {"restore_test", FIELD_DURATION, offsetof(struct environment_policy, restore_test), NULL},
    {"rotation", FIELD_DURATION, offsetof(struct environment_policy, rotation), NULL},
};
static const struct field access_fields[] = {
    {"locked", FIELD_BOOLEAN, offsetof(struct environment_access, locked), NULL},
    {"confirm", FIELD_WORD, offsetof(struct environment_access, confirm), confirm_words},
    {"second_person", FIELD_BOOLEAN, offsetof(struct environment_access, second_person), NULL},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const char *environment_kind_name(enum environment_kind kind)
{
    return kind == ENVIRONMENT_ADHOC ? "adhoc" : kind_words[kind];
}

const char *tenancy_model_name(enum tenancy_model model)
{
    return model_words[model];
}

bool environment_is_production(const struct environment *environment)
{
    return environment->kind == ENVIRONMENT_PRODUCTION || environment->kind == ENVIRONMENT_ADHOC;
}

const struct environment_server *environment_find_server(const struct environment *environment,
                                                         const char *name)
{
    for (size_t i = 0; i < environment->server_count; i++)
        if (strcmp(environment->servers[i].name, name) == 0)
            return &environment->servers[i];
    return NULL;
}

struct environment *environment_new(const void *context)
{
    struct environment *environment = environment_must(talloc_zero(context, struct environment));
    const double minute = 60, hour = 3600, day = 86400;
    environment->policy = (struct environment_policy){
        .rpo = 24 * hour,
        .rto = 30 * minute,
        .retention = 30 * day,
        .api_latency = 0.3,
        .backup = 24 * hour,
        .full_backup = 7 * day,
        .restore_test = 31 * day,
        .rotation = 184 * day,
    };
    return environment;
}

void *environment_must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void complain(struct reader *reader, const struct yaml_node *node, const char *what, const char *todo,
                     const char *why)
{
    yaml_complain(reader->document, node->line, node->column, what, todo, "%s", why);
}

/* Would change when it is made safe to show: control and invisible characters. */
static bool is_unsafe(const char *text)
{
    char *safe = environment_must(safe_text_new(NULL, text));
    bool unsafe = strcmp(safe, text) != 0;
    talloc_free(safe);
    return unsafe;
}

static bool is_one_word(const char *text)
{
    return *text && *text != '-' && !strpbrk(text, " \t\r\n/\"'") && strlen(text) <= 63 && !is_unsafe(text);
}

/* A wrong DSN may hold a password in a place where libpq does not see one, and quotes it in its message. */
static bool may_hold_password(const char *dsn)
{
    const char *authority = strstr(dsn, "://");
    const char *at = authority ? strrchr(authority, '@') : NULL;
    const char *colon = at ? memchr(authority + 3, ':', (size_t)(at - authority - 3)) : NULL;
    return colon || strcasestr(dsn, "passw");
}

static void check_dsn(struct reader *reader, const struct yaml_node *node, const char *what)
{
    static const char todo[] = "Take it out and use ~/.pgpass, a service file or passfile=FILE";
    if (!node->text[strspn(node->text, " \t\r\n")]) {
        complain(reader, node, what, "Write \"host=db1 dbname=app user=sb_watch\", or leave the key out",
                 "the DSN is empty");
        return;
    }
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(node->text, &message);
    if (!options && may_hold_password(node->text))
        complain(reader, node, what, todo,
                 "not a DSN that libpq understands, and it seems to hold a password");
    else if (!options)
        complain(reader, node, what,
                 "Write \"host=db1 dbname=app user=sb_watch\", \"service=NAME\" or postgresql://user@db1/app",
                 message ? message : "not a DSN");
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (option->val && *option->val &&
            (strcmp(option->keyword, "password") == 0 || strcmp(option->keyword, "sslpassword") == 0))
            complain(reader, node, what, todo, "the DSN holds a password");
    PQfreemem(message);
    PQconninfoFree(options);
}

static void check_redis_url(struct reader *reader, const struct yaml_node *node, const char *what)
{
    static const char *const schemes[] = {"redis://", "rediss://", "unix://"};
    const char *rest = NULL;
    for (size_t i = 0; i < COUNT(schemes); i++)
        if (strncmp(node->text, schemes[i], strlen(schemes[i])) == 0)
            rest = node->text + strlen(schemes[i]);
    const char *at = rest ? strrchr(rest, '@') : NULL;
    const char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;
    if (!rest || !*rest || strpbrk(rest, " \t\r\n") || (at && !at[1])) {
        complain(reader, node, what, "Write redis://HOST:PORT/NUMBER, rediss://... or unix:///PATH",
                 "not the URL of a Redis server");
        return;
    }
    if ((colon && colon + 1 < at) || strcasestr(rest, "password="))
        complain(reader, node, what, "Take it out and set REDISCLI_AUTH", "the URL holds a password");
    const char *port = strrchr(at ? at + 1 : rest, ':');
    char *end = NULL;
    long number = port && !strchr(port, ']') ? strtol(port + 1, &end, 10) : 1;
    if (strncmp(node->text, "unix:", 5) != 0 &&
        (number < 1 || number > 65535 || (end && *end && *end != '/')))
        complain(reader, node, what, "Write redis://HOST:PORT/NUMBER",
                 "the port is not a number of 1 to 65535");
}

static void check_ssh(struct reader *reader, const struct yaml_node *node, const char *what)
{
    /* ssh would take "-oProxyCommand=..." as an option. */
    if (!*node->text || *node->text == '-' || strpbrk(node->text, " \t\r\n\"'`$;&|<>\\"))
        complain(reader, node, what, "Write HOST or USER@HOST, as for ssh", "not an SSH destination");
}

static void check_relation(struct reader *reader, const struct yaml_node *node, const char *what)
{
    const char *dot = strchr(node->text, '.');
    if (!dot || dot == node->text || !dot[1] || strchr(dot + 1, '.') || strpbrk(node->text, " \t\r\n\"';"))
        complain(reader, node, what, "Write it with its schema, without quotes: public.tenants_client",
                 "not the name of a table");
}

/* "a, b or c" in the given buffer. */
static char *list_words(char *buffer, size_t size, const char *const words[], size_t count, const char *last)
{
    size_t used = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? last
                                                  : ", ",
                                 words[i]);
    return buffer;
}

static void read_word(struct reader *reader, const struct yaml_node *node, const char *what,
                      const struct field *field, int *value)
{
    size_t count = 0;
    for (; field->words[count]; count++)
        if (strcmp(node->text, field->words[count]) == 0) {
            *value = (int)count;
            return;
        }
    const char *near = suggest_word(node->text, field->words, count);
    char known[200], todo[300];
    list_words(known, sizeof known, field->words, count, " or ");
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s? It is one of %s", near, known);
    else
        snprintf(todo, sizeof todo, "Write %s", known);
    yaml_complain(reader->document, node->line, node->column, what, todo, "unknown value \"%s\"", node->text);
}

static void read_boolean(struct reader *reader, const struct yaml_node *node, const char *what, bool *value)
{
    /* yes and no are booleans in YAML 1.1 and texts in 1.2: an interlock must not depend on that. */
    if (strcmp(node->text, "true") == 0 && node->plain)
        *value = true;
    else if (strcmp(node->text, "false") == 0 && node->plain)
        *value = false;
    else
        yaml_complain(reader->document, node->line, node->column, what, "Write true or false",
                      "\"%s\" is neither true nor false", node->text);
}

static void read_duration(struct reader *reader, const struct yaml_node *node, const char *what,
                          double *value)
{
    double seconds;
    if (parse_duration(node->text, &seconds) && seconds > 0 && seconds < 1e10)
        *value = seconds;
    else
        yaml_complain(reader->document, node->line, node->column, what,
                      "Write a number and a unit: 300ms, 30min, 24h, 30d", "\"%s\" is not a length of time",
                      node->text);
}

static void read_databases(struct reader *reader, const struct yaml_node *node, const char *what,
                           struct environment_server *server)
{
    if (node->kind != YAML_LIST) {
        yaml_complain(reader->document, node->line, node->column, what, "Write a list: [app, other]",
                      "a list is needed, this is %s", yaml_kind_name(node->kind));
        return;
    }
    const char **names = environment_must(talloc_array(reader->environment, const char *, node->count));
    for (const struct yaml_node *item = node->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR || !*item->text || strlen(item->text) > 63 || is_unsafe(item->text)) {
            complain(reader, item, what, "Write the names of databases: [app, other]",
                     "not the name of a database");
            continue;
        }
        bool twice = false;
        for (size_t i = 0; i < server->database_count; i++)
            twice |= strcmp(names[i], item->text) == 0;
        if (twice)
            yaml_complain(reader->document, item->line, item->column, what, "Keep one of the two",
                          "database \"%s\" is given twice", item->text);
        else
            names[server->database_count++] = environment_must(talloc_strdup(names, item->text));
    }
    server->databases = names;
}

static void read_text(struct reader *reader, const struct yaml_node *node, const char *what,
                      enum field_kind kind, const char **value)
{
    if (is_unsafe(node->text))
        complain(reader, node, what, "Write it on one line, without invisible characters",
                 "control or invisible characters in it");
    else if (kind == FIELD_DSN)
        check_dsn(reader, node, what);
    else if (kind == FIELD_REDIS)
        check_redis_url(reader, node, what);
    else if (kind == FIELD_SSH)
        check_ssh(reader, node, what);
    else if (kind == FIELD_RELATION)
        check_relation(reader, node, what);
    else if (!*node->text)
        complain(reader, node, what, "Write something, or leave the key out", "the text is empty");
    *value = environment_must(talloc_strdup(reader->environment, node->text));
}

static void read_field(struct reader *reader, const struct yaml_node *node, const char *what,
                       const struct field *field, void *target)
{
    void *value = (char *)target + field->offset;
    if (field->kind == FIELD_NAMES) {
        read_databases(reader, node, what, target);
        return;
    }
    if (node->kind != YAML_SCALAR) {
        yaml_complain(reader->document, node->line, node->column, what,
                      "Write one value, or leave the key out", "one value is needed, this is %s",
                      yaml_kind_name(node->kind));
        return;
    }
    if (field->kind == FIELD_WORD)
        read_word(reader, node, what, field, value);
    else if (field->kind == FIELD_BOOLEAN)
        read_boolean(reader, node, what, value);
    else if (field->kind == FIELD_DURATION)
        read_duration(reader, node, what, value);
    else
        read_text(reader, node, what, field->kind, value);
}

static void complain_unknown(struct reader *reader, const struct yaml_node *key, const char *what,
                             const char *const known[], size_t count)
{
    const char *near = suggest_word(key->text, known, count);
    char list[250], todo[320];
    list_words(list, sizeof list, known, count, " and ");
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    else
        snprintf(todo, sizeof todo, "Known here: %s", list);
    complain(reader, key, what, todo, "unknown key");
}

static bool is_mapping(struct reader *reader, const struct yaml_node *node, const char *what)
{
    if (node->kind == YAML_MAPPING)
        return true;
    if (node->kind != YAML_NULL)
        yaml_complain(reader->document, node->line, node->column, what,
                      "Write key: value pairs below it or {key: value}",
                      "a mapping (key: value) is needed, this is %s", yaml_kind_name(node->kind));
    return false;
}

/* Reads the known keys of a mapping into `target`. An empty one says nothing. */
static void read_fields(struct reader *reader, const struct yaml_node *node, const char *what,
                        const struct field *fields, size_t count, void *target)
{
    if (!is_mapping(reader, node, what))
        return;
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        char *path = environment_must(talloc_asprintf(NULL, "%s.%s", what, value->key->text));
        const struct field *field = NULL;
        const char *names[16];
        for (size_t i = 0; i < count; i++) {
            names[i] = fields[i].name;
            if (strcmp(fields[i].name, value->key->text) == 0)
                field = &fields[i];
        }
        if (field)
            read_field(reader, value, path, field, target);
        else
            complain_unknown(reader, value->key, path, names, count);
        talloc_free(path);
    }
}

/* A section of named entries: a fresh array of node->count structs of `size` bytes whose first member is the
 * name. The fields of each are read. */
static void *read_entries(struct reader *reader, const struct yaml_node *node, const char *what, size_t size,
                          const struct field *fields, size_t field_count, size_t *count)
{
    if (!is_mapping(reader, node, what) || !node->count)
        return NULL;
    char *entries = environment_must(talloc_zero_size(reader->environment, size * node->count));
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        char *path = environment_must(talloc_asprintf(NULL, "%s.%s", what, value->key->text));
        char *entry = entries + size * (*count)++;
        const char *name = environment_must(talloc_strdup(entries, value->key->text));
        memcpy(entry, &name, sizeof name);
        if (!is_one_word(name))
            complain(reader, value->key, path,
                     "Use at most 63 bytes without spaces, slashes, quotes and a leading \"-\"",
                     "this name cannot be used");
        read_fields(reader, value, path, fields, field_count, entry);
        talloc_free(path);
    }
    return entries;
}

/* What is not there cannot be told from what the parser did not reach. */
static void require(struct reader *reader, const struct yaml_node *section, size_t index, const void *value,
                    const char *what, const char *todo)
{
    const struct yaml_node *node = section->first;
    while (index-- && node)
        node = node->next;
    if (!node || value || !reader->document->complete || node->kind == YAML_SCALAR || node->kind == YAML_LIST)
        return;
    for (const struct yaml_node *given = node->first; given; given = given->next)
        if (given->key && strcmp(given->key->text, what) == 0)
            return; /* it is there, and wrong: told already */
    char *path = environment_must(talloc_asprintf(NULL, "%s.%s", section->key->text, node->key->text));
    yaml_complain(reader->document, node->key->line, node->key->column, path, todo, "%s is missing", what);
    talloc_free(path);
}

static void read_servers(struct reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_server *servers =
        read_entries(reader, node, "postgres", sizeof *servers, server_fields, COUNT(server_fields),
                     &environment->server_count);
    environment->servers = servers;
    for (size_t i = 0; i < environment->server_count; i++)
        require(reader, node, i, servers[i].watch, "watch",
                "Write watch: \"host=db1 dbname=app user=sb_watch\", a role with pg_monitor");
}

static void read_redis(struct reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_redis *redis = read_entries(reader, node, "redis", sizeof *redis, redis_fields,
                                                   COUNT(redis_fields), &environment->redis_count);
    environment->redis = redis;
    for (size_t i = 0; i < environment->redis_count; i++)
        require(reader, node, i, redis[i].url, "url", "Write url: redis://HOST:PORT/NUMBER");
}

static void read_hosts(struct reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_host *hosts = read_entries(reader, node, "hosts", sizeof *hosts, host_fields,
                                                  COUNT(host_fields), &environment->host_count);
    environment->hosts = hosts;
    for (size_t i = 0; i < environment->host_count; i++)
        if (!hosts[i].ssh)
            hosts[i].ssh = hosts[i].name;
}

static void read_environment(struct reader *reader, const struct yaml_node *node)
{
    read_fields(reader, node, "environment", environment_fields, COUNT(environment_fields),
                reader->environment);
}

static void read_tenancy(struct reader *reader, const struct yaml_node *node)
{
    read_fields(reader, node, "tenancy", tenancy_fields, COUNT(tenancy_fields),
                &reader->environment->tenancy);
}

static void read_policy(struct reader *reader, const struct yaml_node *node)
{
    read_fields(reader, node, "policy", policy_fields, COUNT(policy_fields), &reader->environment->policy);
}

static void read_access(struct reader *reader, const struct yaml_node *node)
{
    read_fields(reader, node, "access", access_fields, COUNT(access_fields), &reader->environment->access);
}

static const struct section {
    const char *name;
    void (*read)(struct reader *reader, const struct yaml_node *node);
} sections[] = {
    {"environment", read_environment},
    {"postgres", read_servers},
    {"redis", read_redis},
    {"hosts", read_hosts},
    {"tenancy", read_tenancy},
    {"policy", read_policy},
    {"access", read_access},
};

/* `access` last: whether it is locked by default follows from the kind, wherever that stands in the file. */
static void read_sections(struct reader *reader, const struct yaml_node *root)
{
    const char *names[COUNT(sections)];
    const struct yaml_node *found[COUNT(sections)] = {NULL};
    for (size_t i = 0; i < COUNT(sections); i++)
        names[i] = sections[i].name;
    for (const struct yaml_node *node = root->first; node; node = node->next) {
        size_t i = 0;
        while (i < COUNT(sections) && strcmp(sections[i].name, node->key->text) != 0)
            i++;
        if (i < COUNT(sections))
            found[i] = node;
        else
            complain_unknown(reader, node->key, node->key->text, names, COUNT(sections));
    }
    struct environment *environment = reader->environment;
    for (size_t i = 0; i < COUNT(sections); i++) {
        if (sections[i].read == read_access)
            environment->access.locked = environment_is_production(environment);
        if (found[i])
            sections[i].read(reader, found[i]);
    }
    if (reader->document->complete && !environment->server_count && !environment->redis_count &&
        !environment->host_count && !reader->document->problem_count)
        complain(reader, root, "this file", "Add postgres: {main: {watch: \"host=db1 dbname=app\"}}",
                 "it names no server");
}

static const char *name_of_path(const void *context, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = environment_must(talloc_strdup(context, slash ? slash + 1 : path));
    char *dot = strrchr(name, '.');
    if (dot && dot != name && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        *dot = '\0';
    return name;
}

struct environment *environment_parse(const void *context, const char *path, const char *text, size_t length,
                                      struct error_list *errors)
{
    struct yaml_document *document = yaml_parse(NULL, path, text, length);
    struct environment *environment = environment_new(context);
    environment->path = environment_must(talloc_strdup(environment, path));
    environment->name = name_of_path(environment, path);
    /* A file that does not say what it is gets the careful treatment. */
    environment->kind = ENVIRONMENT_PRODUCTION;
    struct reader reader = {.document = document, .environment = environment};
    if (document->root && document->root->kind == YAML_MAPPING)
        read_sections(&reader, document->root);
    else if (document->root && document->root->kind != YAML_NULL)
        is_mapping(&reader, document->root, "this file");
    else if (document->complete && !document->problem_count)
        yaml_complain(document, 1, 1, "this file",
                      "Write at least postgres: {main: {watch: \"host=db1 dbname=app\"}}", "it is empty");
    if (!environment->title)
        environment->title = environment->name;
    if (!yaml_report(document, errors)) {
        talloc_free(environment);
        environment = NULL;
    }
    talloc_free(document);
    return environment;
}
