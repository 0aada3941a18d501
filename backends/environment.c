/* What an environment file may say: its keys are tables, read by one reader that tells everything that is
 * wrong. Where files are found is in environment_file.c; environments without a file in environment_adhoc.c.
 */
#include "backends/environment.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "backends/yaml.h"

static const char *const kind_words[] = {"development", "staging", "production", NULL};
static const char *const model_words[] = {"none", "schema", "rls", "database", "citus", NULL};
static const char *const confirm_words[] = {"reach", NULL};

/* Databases that are watched besides. */
static void read_databases(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                           void *target)
{
    struct environment_server *server = target;
    if (!environment_is_list(reader, node, what, "Write a list: [app, other]"))
        return;
    const char **names = environment_must(talloc_array(reader->environment, const char *, node->count));
    for (const struct yaml_node *item = node->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR || !*item->text || strlen(item->text) > 63 ||
            environment_is_unsafe(item->text)) {
            environment_complain(reader, item, what, "Write the names of databases: [app, other]",
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

static const struct environment_field environment_fields[] = {
    {.name = "kind", .kind = FIELD_WORD, .offset = offsetof(struct environment, kind), .words = kind_words},
    {.name = "title", .kind = FIELD_TEXT, .offset = offsetof(struct environment, title)},
};
static const struct environment_field server_fields[] = {
    {.name = "watch", .kind = FIELD_DSN, .offset = offsetof(struct environment_server, watch)},
    {.name = "read", .kind = FIELD_DSN, .offset = offsetof(struct environment_server, read)},
    {.name = "act", .kind = FIELD_DSN, .offset = offsetof(struct environment_server, act)},
    {.name = "databases", .kind = FIELD_OWN, .offset = 0, .read = read_databases},
    {.name = "via", .kind = FIELD_SSH, .offset = offsetof(struct environment_server, via)},
};
static const struct environment_field redis_fields[] = {
    {.name = "url", .kind = FIELD_REDIS, .offset = offsetof(struct environment_redis, url)},
    {.name = "act", .kind = FIELD_REDIS, .offset = offsetof(struct environment_redis, act)},
    {.name = "master", .kind = FIELD_TEXT, .offset = offsetof(struct environment_redis, master)},
    {.name = "via", .kind = FIELD_SSH, .offset = offsetof(struct environment_redis, via)},
};
static const struct environment_field tenancy_fields[] = {
    {.name = "model",
     .kind = FIELD_WORD,
     .offset = offsetof(struct environment_tenancy, model),
     .words = model_words},
    {.name = "registry", .kind = FIELD_RELATION, .offset = offsetof(struct environment_tenancy, registry)},
    {.name = "domains", .kind = FIELD_RELATION, .offset = offsetof(struct environment_tenancy, domains)},
};
static const struct environment_field policy_fields[] = {
    {.name = "rpo", .kind = FIELD_DURATION, .offset = offsetof(struct environment_policy, rpo)},
    {.name = "rto", .kind = FIELD_DURATION, .offset = offsetof(struct environment_policy, rto)},
    {.name = "retention", .kind = FIELD_DURATION, .offset = offsetof(struct environment_policy, retention)},
    {.name = "api_latency",
     .kind = FIELD_DURATION,
     .offset = offsetof(struct environment_policy, api_latency)},
    {.name = "backup", .kind = FIELD_DURATION, .offset = offsetof(struct environment_policy, backup)},
    {.name = "full_backup",
     .kind = FIELD_DURATION,
     .offset = offsetof(struct environment_policy, full_backup)},
    {.name = "restore_test",
     .kind = FIELD_DURATION,
     .offset = offsetof(struct environment_policy, restore_test)},
    {.name = "rotation", .kind = FIELD_DURATION, .offset = offsetof(struct environment_policy, rotation)},
};
static const struct environment_field access_fields[] = {
    {.name = "locked", .kind = FIELD_BOOLEAN, .offset = offsetof(struct environment_access, locked)},
    {.name = "confirm",
     .kind = FIELD_WORD,
     .offset = offsetof(struct environment_access, confirm),
     .words = confirm_words},
    {.name = "second_person",
     .kind = FIELD_BOOLEAN,
     .offset = offsetof(struct environment_access, second_person)},
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

const struct environment_host *environment_find_host(const struct environment *environment, const char *name)
{
    for (size_t i = 0; i < environment->host_count; i++)
        if (strcmp(environment->hosts[i].name, name) == 0)
            return &environment->hosts[i];
    return NULL;
}

const char *environment_destination(const struct environment *environment, const char *via)
{
    const struct environment_host *host = environment_find_host(environment, via);
    return host ? host->ssh : via;
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
    environment->ssh = (struct environment_ssh){
        .transport = "auto",
        .fast_s = 5,
        .medium_s = 20,
        .slow_s = 5 * minute,
        .nginx_status = ENVIRONMENT_NGINX_STATUS,
    };
    return environment;
}

void *environment_must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void read_servers(struct environment_reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_server *servers =
        environment_read_entries(reader, node, "postgres", sizeof *servers, server_fields,
                                 COUNT(server_fields), &environment->server_count);
    environment->servers = servers;
    for (size_t i = 0; i < environment->server_count; i++)
        environment_require(reader, node, i, servers[i].watch, "watch",
                            "Write watch: \"host=db1 dbname=app user=sb_watch\", a role with pg_monitor");
}

static void read_redis(struct environment_reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_redis *redis = environment_read_entries(
        reader, node, "redis", sizeof *redis, redis_fields, COUNT(redis_fields), &environment->redis_count);
    environment->redis = redis;
    for (size_t i = 0; i < environment->redis_count; i++)
        environment_require(reader, node, i, redis[i].url, "url", "Write url: redis://HOST:PORT/NUMBER");
}

static void read_environment(struct environment_reader *reader, const struct yaml_node *node)
{
    environment_read_fields(reader, node, "environment", environment_fields, COUNT(environment_fields),
                            reader->environment);
}

static void read_tenancy(struct environment_reader *reader, const struct yaml_node *node)
{
    environment_read_fields(reader, node, "tenancy", tenancy_fields, COUNT(tenancy_fields),
                            &reader->environment->tenancy);
}

static void read_policy(struct environment_reader *reader, const struct yaml_node *node)
{
    environment_read_fields(reader, node, "policy", policy_fields, COUNT(policy_fields),
                            &reader->environment->policy);
}

static void read_access(struct environment_reader *reader, const struct yaml_node *node)
{
    environment_read_fields(reader, node, "access", access_fields, COUNT(access_fields),
                            &reader->environment->access);
}

static const struct section {
    const char *name;
    void (*read)(struct environment_reader *reader, const struct yaml_node *node);
} sections[] = {
    {"environment", read_environment},
    {"postgres", read_servers},
    {"redis", read_redis},
    {"ssh", environment_read_ssh},
    {"hosts", environment_read_hosts},
    {"inventory", environment_read_inventory},
    {"jobs", environment_read_jobs},
    {"urls", environment_read_urls},
    {"logs", environment_read_logs},
    {"runbooks", environment_read_runbooks},
    {"tenancy", read_tenancy},
    {"policy", read_policy},
    {"access", read_access},
};

/* `access` last: whether it is locked by default follows from the kind, wherever that stands in the file. */
static void read_sections(struct environment_reader *reader, const struct yaml_node *root)
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
            environment_complain_unknown(reader, node->key, node->key->text, names, COUNT(sections));
    }
    struct environment *environment = reader->environment;
    for (size_t i = 0; i < COUNT(sections); i++) {
        if (sections[i].read == read_access)
            environment->access.locked = environment_is_production(environment);
        if (found[i])
            sections[i].read(reader, found[i]);
    }
    environment_collect_hosts(reader);
    if (reader->jobs)
        environment_check_jobs(reader, reader->jobs);
    if (reader->document->complete && !reader->elsewhere->count && !environment->server_count &&
        !environment->redis_count && !environment->host_count && !reader->document->problem_count)
        environment_complain(
            reader, root, "this file",
            "Add hosts: {web1: {group: web}}, or postgres: {main: {watch: \"host=db1 dbname=app\"}}",
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
    struct environment_reader reader = {
        .document = document, .environment = environment, .elsewhere = error_list_new(document)};
    if (document->root && document->root->kind == YAML_MAPPING)
        read_sections(&reader, document->root);
    else if (document->root && document->root->kind != YAML_NULL)
        environment_is_mapping(&reader, document->root, "this file");
    else if (document->complete && !document->problem_count)
        yaml_complain(document, 1, 1, "this file",
                      "Write at least postgres: {main: {watch: \"host=db1 dbname=app\"}}", "it is empty");
    if (!environment->title)
        environment->title = environment->name;
    bool good = yaml_report(document, errors) && !reader.elsewhere->count;
    for (size_t i = 0; i < reader.elsewhere->count; i++)
        error_list_add(errors, &reader.elsewhere->items[i]);
    if (!good) {
        talloc_free(environment);
        environment = NULL;
    }
    talloc_free(document);
    return environment;
}
