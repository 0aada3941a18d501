/* The sections that name hosts: `ssh`, `hosts` (names, and wildcards over the Host entries of ssh_config) and
 * `inventory`. Put together, each host stands once, in the order of the file. */
#include <errno.h>
#include <fnmatch.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>
#include <uthash.h>

#include "backends/environment_internal.h"
#include "core/files.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const transport_words[] = {"auto", "libssh2", "system", NULL};
#define SSH(member) offsetof(struct environment, ssh) + offsetof(struct environment_ssh, member)
static const struct environment_field ssh_fields[] = {
    {.name = "config", .kind = FIELD_PATH, .offset = SSH(config)},
    {.name = "transport", .kind = FIELD_CHOICE, .offset = SSH(transport), .words = transport_words},
    {.name = "fast", .kind = FIELD_DURATION, .offset = SSH(fast_s)},
    {.name = "medium", .kind = FIELD_DURATION, .offset = SSH(medium_s)},
    {.name = "slow", .kind = FIELD_DURATION, .offset = SSH(slow_s)},
    {.name = "release", .kind = FIELD_REMOTE, .offset = SSH(release)},
    {.name = "nginx_status", .kind = FIELD_HTTP, .offset = SSH(nginx_status)},
};
static const struct environment_field host_fields[] = {
    {.name = "group", .kind = FIELD_TEXT, .offset = offsetof(struct environment_host, group)},
    {.name = "ssh", .kind = FIELD_SSH, .offset = offsetof(struct environment_host, ssh)},
};

/* The hosts found so far, and where each stands. */
struct entry {
    const char *name;
    size_t index;
    UT_hash_handle hh;
};
struct collection {
    struct environment_host *hosts;
    size_t count;
    struct entry *entries;
};

char *environment_path(const void *context, const struct environment *environment, const char *text)
{
    const char *home = getenv("HOME");
    if (text[0] == '~' && text[1] == '/' && home && *home)
        return environment_must(talloc_asprintf(context, "%s%s", home, text + 1));
    const char *slash = *text == '/' || !environment->path ? NULL : strrchr(environment->path, '/');
    if (!slash)
        return environment_must(talloc_strdup(context, text));
    return environment_must(
        talloc_asprintf(context, "%.*s%s", (int)(slash + 1 - environment->path), environment->path, text));
}

char *environment_read_file(const void *context, const char *path, size_t limit, size_t *length,
                            struct error *error)
{
    struct stat info;
    const char *why = NULL;
    if (stat(path, &info) != 0)
        why = strerror(errno);
    else if (!S_ISREG(info.st_mode))
        why = "it is not a file";
    if (why) {
        error_set(error, ERROR_CONFIG, path, "cannot read it", NULL, "%s", why);
        return NULL;
    }
    return files_read(context, path, limit, length, error);
}

void environment_read_ssh(struct environment_reader *reader, const struct yaml_node *node)
{
    environment_read_fields(reader, node, "ssh", ssh_fields, COUNT(ssh_fields), reader->environment);
}

void environment_read_hosts(struct environment_reader *reader, const struct yaml_node *node)
{
    reader->hosts = node;
}

void environment_read_inventory(struct environment_reader *reader, const struct yaml_node *node)
{
    reader->inventory = node;
}

/* Adds a host. One that is there already keeps its place and what it has, and gets what it lacks. */
static void add_host(struct collection *collection, const struct environment_host *host)
{
    struct entry *entry;
    HASH_FIND_STR(collection->entries, host->name, entry);
    if (entry) {
        struct environment_host *known = &collection->hosts[entry->index];
        if (!known->group)
            known->group = host->group;
        if (!known->ssh)
            known->ssh = host->ssh;
        return;
    }
    size_t room = talloc_array_length(collection->hosts);
    if (collection->count == room)
        collection->hosts =
            environment_must(talloc_realloc(NULL, collection->hosts, struct environment_host, 2 * room));
    entry = environment_must(talloc_zero(NULL, struct entry));
    entry->name = host->name;
    entry->index = collection->count;
    collection->hosts[collection->count++] = *host;
    HASH_ADD_KEYPTR(hh, collection->entries, entry->name, strlen(entry->name), entry);
}

static bool is_wildcard(const char *name)
{
    return strpbrk(name, "*?") != NULL;
}

/* The names of ssh_config that match, except those that `hosts:` names itself: what it says of them counts.
 */
static size_t add_matching(struct collection *collection, const struct environment_host *wildcard,
                           char *const *names, size_t count, const struct yaml_node *section)
{
    struct environment_host host = {.group = wildcard->group};
    size_t matches = 0;
    for (size_t i = 0; i < count; i++) {
        if (fnmatch(wildcard->name, names[i], 0) != 0 || !environment_is_word(names[i]))
            continue;
        bool named = false;
        for (const struct yaml_node *node = section->first; node && !named; node = node->next)
            named = strcmp(node->key->text, names[i]) == 0;
        host.name = names[i];
        if (!named)
            add_host(collection, &host);
        matches++;
    }
    return matches;
}

static void collect_section(struct environment_reader *reader, struct collection *collection)
{
    struct environment *environment = reader->environment;
    const struct yaml_node *section = reader->hosts;
    size_t count = 0, name_count = 0;
    char **names = NULL;
    const char **wildcards = environment_must(talloc_array(environment, const char *, 0));
    const struct environment_host *hosts = environment_read_entries(reader, section, "hosts", sizeof *hosts,
                                                                    host_fields, COUNT(host_fields), &count);
    const struct yaml_node *node = section->first;
    for (size_t i = 0; i < count && node; i++, node = node->next) {
        if (!is_wildcard(hosts[i].name)) {
            add_host(collection, &hosts[i]);
            continue;
        }
        if (hosts[i].ssh)
            environment_complain(reader, node->key, hosts[i].name,
                                 "Leave ssh out: what they mean is in ssh_config",
                                 "a wildcard names several hosts, ssh only one");
        if (!names)
            names = environment_ssh_config_names(environment, environment->ssh.config, false, &name_count);
        if (add_matching(collection, &hosts[i], names, name_count, section))
            continue;
        wildcards = environment_must(
            talloc_realloc(environment, wildcards, const char *, environment->wildcard_count + 1));
        wildcards[environment->wildcard_count++] = hosts[i].name;
    }
    environment->wildcards = wildcards;
}

static void collect_inventory(struct environment_reader *reader, struct collection *collection)
{
    static const char what[] = "inventory";
    struct environment *environment = reader->environment;
    const struct yaml_node *node = reader->inventory;
    if (node->kind != YAML_SCALAR || !*node->text || environment_is_unsafe(node->text)) {
        environment_complain(reader, node, what, "Write the path of an Ansible inventory: hosts.ini",
                             "the name of a file is needed");
        return;
    }
    struct error error = {0};
    size_t length = 0, count = 0;
    char *path = environment_path(environment, environment, node->text);
    char *text = environment_read_file(NULL, path, INVENTORY_SIZE_MAX, &length, &error);
    if (!text) {
        yaml_complain(reader->document, node->line, node->column, what,
                      "Name an inventory in INI form; its folder is this file's unless it begins with /",
                      "cannot read %s: %s", path, error.why);
        return;
    }
    const struct environment_host *hosts =
        environment_parse_inventory(environment, path, text, length, &count, reader->elsewhere);
    for (size_t i = 0; i < count; i++)
        add_host(collection, &hosts[i]);
    talloc_free(text);
}

void environment_collect_hosts(struct environment_reader *reader)
{
    const struct yaml_node *hosts = reader->hosts, *inventory = reader->inventory;
    struct collection collection = {
        .hosts = environment_must(talloc_array(reader->environment, struct environment_host, 8))};
    bool inventory_first = hosts && inventory && inventory->line < hosts->line;
    if (inventory && inventory_first)
        collect_inventory(reader, &collection);
    if (hosts)
        collect_section(reader, &collection);
    if (inventory && !inventory_first)
        collect_inventory(reader, &collection);
    for (size_t i = 0; i < collection.count; i++)
        if (!collection.hosts[i].ssh)
            collection.hosts[i].ssh = collection.hosts[i].name;
    reader->environment->hosts = collection.hosts;
    reader->environment->host_count = collection.count;
    struct entry *entry, *next;
    HASH_ITER(hh, collection.entries, entry, next)
    {
        HASH_DEL(collection.entries, entry);
        talloc_free(entry);
    }
}
