/* The sections on what is asked of the platform and done on its hosts: `urls`, `logs`, `runbooks`. */
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Domains for which "{domain}" in the URL stands. */
static void read_domains(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                         void *target)
{
    static const char todo[] = "Write a list: [tenant1.example.com, tenant2.example.com]";
    struct environment_url *url = target;
    if (!environment_is_list(reader, node, what, todo))
        return;
    const char **domains = environment_must(talloc_array(reader->environment, const char *, node->count));
    for (const struct yaml_node *item = node->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR || !*item->text || strlen(item->text) > 253 ||
            strpbrk(item->text, " \t\r\n/?#@\"'`$;&|<>\\{}") || environment_is_unsafe(item->text))
            environment_complain(reader, item, what, todo, "not a domain");
        else
            domains[url->domain_count++] = environment_must(talloc_strdup(domains, item->text));
    }
    url->domains = domains;
}

static const struct environment_field url_fields[] = {
    {.name = "url", .kind = FIELD_HTTP, .offset = offsetof(struct environment_url, url)},
    {.name = "expect", .kind = FIELD_STATUS, .offset = offsetof(struct environment_url, expect)},
    {.name = "from", .kind = FIELD_TEXT, .offset = offsetof(struct environment_url, from)},
    {.name = "connect", .kind = FIELD_TEXT, .offset = offsetof(struct environment_url, connect)},
    {.name = "ca", .kind = FIELD_TEXT, .offset = offsetof(struct environment_url, ca)},
    {.name = "domains", .kind = FIELD_OWN, .read = read_domains},
};

void environment_read_urls(struct environment_reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_url *urls = environment_read_entries(reader, node, "urls", sizeof *urls, url_fields,
                                                            COUNT(url_fields), &environment->url_count);
    environment->urls = urls;
    const struct yaml_node *entry = node->first;
    for (size_t i = 0; i < environment->url_count; i++, entry = entry->next) {
        environment_require(reader, node, i, urls[i].url, "url", "Write url: https://HOST/PATH");
        if (!urls[i].expect)
            urls[i].expect = 200;
        if (urls[i].domain_count && urls[i].url && !strstr(urls[i].url, "{domain}"))
            yaml_complain(reader->document, entry->key->line, entry->key->column, "urls",
                          "Write url: https://{domain}/PATH",
                          "the URL of %s has no {domain} that its domains could stand for", urls[i].name);
    }
}

static const char *const format_words[] = {"nginx", "gunicorn", "celery", "postgres", "plain", NULL};
#define LOG(member) offsetof(struct environment_log, member)
static const struct environment_field log_fields[] = {
    {.name = "path", .kind = FIELD_REMOTE, .offset = LOG(path)},
    {.name = "unit", .kind = FIELD_TEXT, .offset = LOG(unit)},
    {.name = "container", .kind = FIELD_TEXT, .offset = LOG(container)},
    {.name = "format", .kind = FIELD_CHOICE, .offset = LOG(format), .words = format_words},
    {.name = "group", .kind = FIELD_TEXT, .offset = LOG(group)},
};

void environment_read_logs(struct environment_reader *reader, const struct yaml_node *node)
{
    static const char todo[] = "Write path: /var/log/FILE, unit: UNIT or container: NAME";
    struct environment *environment = reader->environment;
    struct environment_log *logs = environment_read_entries(reader, node, "logs", sizeof *logs, log_fields,
                                                            COUNT(log_fields), &environment->log_count);
    environment->logs = logs;
    const struct yaml_node *entry = node->first;
    for (size_t i = 0; i < environment->log_count; i++, entry = entry->next) {
        int sources = (logs[i].path != NULL) + (logs[i].unit != NULL) + (logs[i].container != NULL);
        bool readable = entry->kind == YAML_MAPPING || entry->kind == YAML_NULL;
        if (sources > 1)
            yaml_complain(reader->document, entry->key->line, entry->key->column, "logs", todo,
                          "%s: a log comes from one place", logs[i].name);
        else if (!sources && readable && reader->document->complete)
            yaml_complain(reader->document, entry->key->line, entry->key->column, "logs", todo,
                          "%s does not say where the log is", logs[i].name);
    }
}

/* A command for a shell: may have several lines. */
static void read_command(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                         void *target)
{
    const char **command = target;
    if (node->kind != YAML_SCALAR || !node->text[strspn(node->text, " \t\n")]) {
        environment_complain(reader, node, what, "Write a command of the shell: \"systemctl restart celery\"",
                             "a command is needed");
        return;
    }
    char *plain = environment_must(talloc_strdup(NULL, node->text));
    for (char *c = plain; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    if (environment_is_unsafe(plain))
        environment_complain(reader, node, what, "Write it out: $(printf '\\033')",
                             "control or invisible characters in it");
    talloc_free(plain);
    *command = environment_must(talloc_strdup(reader->environment, node->text));
}

static void read_run(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                     void *target)
{
    read_command(reader, node, what, &((struct environment_step *)target)->run);
}

static void read_undo(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                      void *target)
{
    read_command(reader, node, what, &((struct environment_step *)target)->undo);
}

static const struct environment_field step_fields[] = {
    {.name = "run", .kind = FIELD_OWN, .read = read_run},
    {.name = "undo", .kind = FIELD_OWN, .read = read_undo},
};

static void read_steps(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                       void *target)
{
    static const char todo[] = "Write a list: [\"systemctl stop celery\", {run: \"...\", undo: \"...\"}]";
    struct environment_runbook *runbook = target;
    if (!environment_is_list(reader, node, what, todo))
        return;
    if (!node->count)
        environment_complain(reader, node, what, todo, "there is no step");
    struct environment_step *steps =
        environment_must(talloc_zero_array(reader->environment, struct environment_step, node->count));
    for (const struct yaml_node *item = node->first; item; item = item->next) {
        struct environment_step *step = &steps[runbook->step_count++];
        size_t before = reader->document->problem_count;
        if (item->kind == YAML_MAPPING)
            environment_read_fields(reader, item, what, step_fields, COUNT(step_fields), step);
        else
            read_run(reader, item, what, step);
        if (!step->run && reader->document->problem_count == before && reader->document->complete)
            environment_complain(reader, item, what, todo, "run is missing");
    }
    runbook->steps = steps;
}

static const struct environment_field runbook_fields[] = {
    {.name = "help", .kind = FIELD_TEXT, .offset = offsetof(struct environment_runbook, help)},
    {.name = "hosts", .kind = FIELD_TEXT, .offset = offsetof(struct environment_runbook, hosts)},
    {.name = "steps", .kind = FIELD_OWN, .read = read_steps},
};

void environment_read_runbooks(struct environment_reader *reader, const struct yaml_node *node)
{
    struct environment *environment = reader->environment;
    struct environment_runbook *runbooks =
        environment_read_entries(reader, node, "runbooks", sizeof *runbooks, runbook_fields,
                                 COUNT(runbook_fields), &environment->runbook_count);
    environment->runbooks = runbooks;
    for (size_t i = 0; i < environment->runbook_count; i++)
        environment_require(reader, node, i, runbooks[i].step_count ? &runbooks[i] : NULL, "steps",
                            "Write steps: [\"systemctl restart celery\"]");
}
