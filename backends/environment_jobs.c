/* The section `jobs`: job systems that are not found by themselves, and settings of those that are. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define JOBS(member) offsetof(struct environment_jobs, member)

static const char *const system_words[] = {
    "celery",        "rq",          "sidekiq",  "bullmq", "streams",      "pgboss",   "django-celery",
    "procrastinate", "solid_queue", "good_job", "river",  "django-tasks", "rabbitmq", NULL};

/* Numbers whose absence must be told from 0: kept one higher while the file is read. */
static void read_number(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                        int *value)
{
    char *end = NULL;
    long number = node->kind == YAML_SCALAR ? strtol(node->text, &end, 10) : -1;
    if (number < 0 || number > 9999 || !end || *end || end == node->text)
        environment_complain(reader, node, what, "Write a number from 0 on: 0", "not a number");
    else
        *value = (int)number + 1;
}

static void read_database(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                          void *target)
{
    read_number(reader, node, what, &((struct environment_jobs *)target)->database);
}

static void read_results_database(struct environment_reader *reader, const struct yaml_node *node,
                                  const char *what, void *target)
{
    read_number(reader, node, what, &((struct environment_jobs *)target)->results_database);
}

static void read_argument(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                          void *target)
{
    read_number(reader, node, what, &((struct environment_jobs *)target)->tenant_argument);
}

static void read_queues(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                        void *target)
{
    static const char todo[] = "Write a list: [default, mail]";
    struct environment_jobs *jobs = target;
    if (!environment_is_list(reader, node, what, todo))
        return;
    const char **queues = environment_must(talloc_array(reader->environment, const char *, node->count));
    for (const struct yaml_node *item = node->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR || !*item->text || environment_is_unsafe(item->text))
            environment_complain(reader, item, what, todo, "not the name of a queue");
        else
            queues[jobs->queue_count++] = environment_must(talloc_strdup(queues, item->text));
    }
    jobs->queues = queues;
}

static const struct environment_field tenant_fields[] = {
    {.name = "header", .kind = FIELD_TEXT, .offset = JOBS(tenant_header)},
    {.name = "keyword", .kind = FIELD_TEXT, .offset = JOBS(tenant_keyword)},
    {.name = "argument", .kind = FIELD_OWN, .read = read_argument},
    {.name = "queue", .kind = FIELD_TEXT, .offset = JOBS(tenant_queue)},
};

static void read_tenant(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                        void *target)
{
    struct environment_jobs *jobs = target;
    environment_read_fields(reader, node, what, tenant_fields, COUNT(tenant_fields), jobs);
    if (jobs->tenant_queue && !strchr(jobs->tenant_queue, '*'))
        environment_complain(reader, node, what, "Write queue: \"tenant.*\"",
                             "the pattern of queues has no * that could stand for the tenant");
}

static const struct environment_field jobs_fields[] = {
    {.name = "system", .kind = FIELD_CHOICE, .offset = JOBS(system), .words = system_words},
    {.name = "redis", .kind = FIELD_TEXT, .offset = JOBS(redis)},
    {.name = "postgres", .kind = FIELD_TEXT, .offset = JOBS(postgres)},
    {.name = "host", .kind = FIELD_TEXT, .offset = JOBS(host)},
    {.name = "database", .kind = FIELD_OWN, .read = read_database},
    {.name = "schema", .kind = FIELD_TEXT, .offset = JOBS(schema)},
    {.name = "prefix", .kind = FIELD_TEXT, .offset = JOBS(prefix)},
    {.name = "control", .kind = FIELD_TEXT, .offset = JOBS(control)},
    {.name = "results", .kind = FIELD_TEXT, .offset = JOBS(results)},
    {.name = "results_database", .kind = FIELD_OWN, .read = read_results_database},
    {.name = "queues", .kind = FIELD_OWN, .read = read_queues},
    {.name = "visibility_timeout", .kind = FIELD_DURATION, .offset = JOBS(visibility_timeout)},
    {.name = "tenant", .kind = FIELD_OWN, .read = read_tenant},
};

void environment_read_jobs(struct environment_reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_jobs *jobs = environment_read_entries(reader, node, "jobs", sizeof *jobs, jobs_fields,
                                                             COUNT(jobs_fields), &environment->jobs_count);
    environment->jobs = jobs;
    reader->jobs = node;
    const struct yaml_node *entry = node->first;
    for (size_t i = 0; i < environment->jobs_count; i++, entry = entry->next) {
        jobs[i].database--;
        jobs[i].results_database--;
        jobs[i].tenant_argument--;
        environment_require(reader, node, i, jobs[i].system, "system", "Write system: celery");
        int places = (jobs[i].redis != NULL) + (jobs[i].postgres != NULL) + (jobs[i].host != NULL);
        if (places != 1 && entry->kind == YAML_MAPPING && reader->document->complete)
            yaml_complain(reader->document, entry->key->line, entry->key->column, "jobs",
                          "Write one of redis: NAME, postgres: NAME, host: NAME",
                          places ? "%s: a job system is in one place" : "%s does not say where it is",
                          jobs[i].name);
    }
}

static bool has_redis(const struct environment *environment, const char *name)
{
    for (size_t i = 0; i < environment->redis_count; i++)
        if (strcmp(environment->redis[i].name, name) == 0)
            return true;
    return false;
}

static void check_place(struct environment_reader *reader, const struct yaml_node *entry, const char *key,
                        bool there, const char *name)
{
    if (!there && entry->key)
        yaml_complain(reader->document, entry->key->line, entry->key->column, "jobs",
                      "Name an entry of that section of this file", "%s: %s is not one", key, name);
}

void environment_check_jobs(struct environment_reader *reader, const struct yaml_node *node)
{
    const struct environment *environment = reader->environment;
    const struct yaml_node *entry = node->first;
    for (size_t i = 0; i < environment->jobs_count && entry; i++, entry = entry->next) {
        const struct environment_jobs *jobs = &environment->jobs[i];
        if (jobs->redis)
            check_place(reader, entry, "redis", has_redis(environment, jobs->redis), jobs->redis);
        if (jobs->results)
            check_place(reader, entry, "results", has_redis(environment, jobs->results), jobs->results);
        if (jobs->postgres)
            check_place(reader, entry, "postgres", environment_find_server(environment, jobs->postgres),
                        jobs->postgres);
        if (jobs->host)
            check_place(reader, entry, "host", environment_find_host(environment, jobs->host), jobs->host);
    }
}
