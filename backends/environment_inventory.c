/* Ansible inventories in INI form. Only what is needed to reach the hosts is understood; the rest is passed
 * over, but nothing that would change where a host is reached. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/environment_internal.h"

/* Bounds against a small file that stands for too much (ranges in many groups). */
enum { MEMBERSHIPS_MAX = 200000, NAME_MAX_LENGTH = 253 };

enum variable { VARIABLE_HOST, VARIABLE_PORT, VARIABLE_USER, VARIABLES };
static const char *const variable_names[][3] = {
    [VARIABLE_HOST] = {"ansible_host", "ansible_ssh_host", NULL},
    [VARIABLE_PORT] = {"ansible_port", "ansible_ssh_port", NULL},
    [VARIABLE_USER] = {"ansible_user", "ansible_ssh_user", NULL},
};

struct group {
    const char *name;
    const char *variables[VARIABLES];
    const struct group *origins[VARIABLES]; /* whose variables these are: its own, or a parent's */
    struct group **parents;
    size_t parent_count;
    int depth;           /* 0: all */
    bool defined;        /* has a section of its own */
    int line, column;    /* where it was first named */
    int state;           /* of resolving: 0 not yet, 1 being done, 2 done */
    struct group *after; /* in the order of the file */
    UT_hash_handle hh;
};

struct host {
    const char *name;
    const char *variables[VARIABLES];
    struct group **groups;
    size_t group_count;
    struct host *after;
    UT_hash_handle hh;
};

enum section { SECTION_HOSTS, SECTION_CHILDREN, SECTION_VARIABLES, SECTION_UNKNOWN };

struct inventory {
    const char *path;
    struct error_list *errors;
    void *memory; /* of groups and hosts, until the result is made */
    struct group *groups, *first_group, **last_group;
    struct host *hosts, *first_host, **last_host;
    size_t host_count, group_count, memberships;
    struct group *all;
    enum section section;
    struct group *current;
    int line;
    const char *line_text;
    bool given_up;
};

/* Columns count characters. */
static int column_of(const struct inventory *inventory, const char *at)
{
    int column = 1;
    for (const char *c = inventory->line_text; c < at; c++)
        column += (*c & 0xc0) != 0x80;
    return column;
}

static void complain(struct inventory *inventory, const char *at, const char *what, const char *todo,
                     const char *why)
{
    error_list_at(inventory->errors, inventory->path, inventory->line, at ? column_of(inventory, at) : 1,
                  what, todo, "%s", why);
}

static void give_up(struct inventory *inventory, const char *at, const char *what, const char *why)
{
    if (!inventory->given_up)
        complain(inventory, at, what, "Split the file", why);
    inventory->given_up = true;
}

/* A name that ssh can be given: no option, nothing that a shell would see. */
static bool is_host_name(const char *text)
{
    return environment_is_destination(text) && !strpbrk(text, "/*?{}()!#@,") &&
           strlen(text) <= NAME_MAX_LENGTH && !environment_is_unsafe(text);
}

/* Of a directory perhaps: ops@corp.example. */
static bool is_user(const char *text)
{
    return environment_is_destination(text) && !strpbrk(text, "/*?{}()!#,:") &&
           strlen(text) <= NAME_MAX_LENGTH && !environment_is_unsafe(text);
}

static struct group *find_group(struct inventory *inventory, const char *name, const char *at)
{
    struct group *group;
    HASH_FIND_STR(inventory->groups, name, group);
    if (group)
        return group;
    group = environment_must(talloc_zero(inventory->memory, struct group));
    group->name = environment_must(talloc_strdup(group, name));
    group->line = inventory->line;
    group->column = at ? column_of(inventory, at) : 1;
    HASH_ADD_KEYPTR(hh, inventory->groups, group->name, strlen(group->name), group);
    *inventory->last_group = group;
    inventory->last_group = &group->after;
    if (++inventory->group_count > INVENTORY_GROUPS_MAX)
        give_up(inventory, at, name, "more than 2,000 groups in one inventory");
    return group;
}

static struct host *find_host(struct inventory *inventory, const char *name, const char *at)
{
    struct host *host;
    HASH_FIND_STR(inventory->hosts, name, host);
    if (host)
        return host;
    if (inventory->host_count == INVENTORY_HOSTS_MAX) {
        give_up(inventory, at, name, "more than 20,000 hosts in one inventory");
        return NULL;
    }
    host = environment_must(talloc_zero(inventory->memory, struct host));
    host->name = environment_must(talloc_strdup(host, name));
    HASH_ADD_KEYPTR(hh, inventory->hosts, host->name, strlen(host->name), host);
    *inventory->last_host = host;
    inventory->last_host = &host->after;
    inventory->host_count++;
    return host;
}

/* [name], [name:children], [name:vars] */
static void read_header(struct inventory *inventory, char *text)
{
    static const char todo[] = "Write [GROUP], [GROUP:children] or [GROUP:vars]";
    char *end = strchr(text, ']');
    const char *after = end ? end + 1 + strspn(end + 1, " \t") : NULL;
    inventory->section = SECTION_UNKNOWN;
    if (!end || end == text + 1 || (*after && *after != '#' && *after != ';')) {
        complain(inventory, text, "this section", todo, "not the name of a section");
        return;
    }
    *end = '\0';
    char *name = text + 1, *kind = strchr(name, ':');
    if (kind)
        *kind++ = '\0';
    enum section section = !kind                           ? SECTION_HOSTS
                           : strcmp(kind, "hosts") == 0    ? SECTION_HOSTS
                           : strcmp(kind, "children") == 0 ? SECTION_CHILDREN
                           : strcmp(kind, "vars") == 0     ? SECTION_VARIABLES
                                                           : SECTION_UNKNOWN;
    if (section == SECTION_UNKNOWN) {
        complain(inventory, kind, "this section", todo, "unknown kind of section");
        return;
    }
    if (!*name || strpbrk(name, " \t\"'") || strlen(name) > NAME_MAX_LENGTH || environment_is_unsafe(name)) {
        complain(inventory, name, "this section", todo, "this name cannot be used");
        return;
    }
    inventory->section = section;
    inventory->current = find_group(inventory, name, name);
    inventory->current->defined |= section != SECTION_VARIABLES;
}

/* The next word of a line of hosts, with its quotes taken off in place; NULL at the end or a comment. */
static char *next_word(struct inventory *inventory, char **rest)
{
    char *word = *rest + strspn(*rest, " \t"), *to = word, *from = word;
    if (!*word || *word == '#' || *word == ';')
        return NULL;
    char quote = 0;
    for (; *from && (quote || !strchr(" \t", *from)); from++) {
        if (quote ? *from == quote : *from == '"' || *from == '\'')
            quote = quote ? 0 : *from;
        else if (*from == '\\' && quote != '\'' && from[1])
            *to++ = *++from;
        else
            *to++ = *from;
    }
    if (quote)
        complain(inventory, word, "this word", "Close the quote", "a quote is opened and not closed");
    *rest = *from ? from + 1 : from;
    *to = '\0';
    return word;
}

static bool is_port(const char *text)
{
    char *end;
    long port = strtol(text, &end, 10);
    return isdigit((unsigned char)*text) && !*end && port >= 1 && port <= 65535;
}

/* Keeps what is needed to reach a host. `at`: where in the line it stands. */
static void set_variable(struct inventory *inventory, const char *variables[VARIABLES], void *owner,
                         const char *name, const char *value, const char *at)
{
    for (int i = 0; i < VARIABLES; i++) {
        if (strcmp(name, variable_names[i][0]) != 0 && strcmp(name, variable_names[i][1]) != 0)
            continue;
        if (strstr(value, "{{"))
            complain(inventory, at, name, "Write the value out, or name these hosts under hosts: instead",
                     "a template, which only Ansible can fill in");
        else if (i == VARIABLE_PORT   ? !is_port(value)
                 : i == VARIABLE_HOST ? !is_host_name(value)
                                      : !is_user(value))
            complain(inventory, at, name, i == VARIABLE_PORT ? "Write a number of 1 to 65535" : NULL,
                     i == VARIABLE_PORT   ? "not a port"
                     : i == VARIABLE_HOST ? "not a host name or address"
                                          : "not the name of a user");
        else
            variables[i] = environment_must(talloc_strdup(owner, value));
    }
}

static void add_member(struct inventory *inventory, struct host *host, const char *at)
{
    struct group *group = inventory->current;
    for (size_t i = 0; i < host->group_count; i++)
        if (host->groups[i] == group)
            return;
    if (++inventory->memberships > MEMBERSHIPS_MAX)
        give_up(inventory, at, host->name, "more than 200,000 hosts in all groups together");
    host->groups =
        environment_must(talloc_realloc(host, host->groups, struct group *, host->group_count + 1));
    host->groups[host->group_count++] = group;
}

/* The variables of one host of a line are parsed once and given to each that its ranges stand for. */
struct line_hosts {
    struct inventory *inventory;
    const char *at;
    const char *variables[VARIABLES];
};

static void add_one(struct line_hosts *line, const char *name)
{
    struct inventory *inventory = line->inventory;
    struct host *host = find_host(inventory, name, line->at);
    if (!host)
        return;
    add_member(inventory, host, line->at);
    for (int i = 0; i < VARIABLES; i++)
        if (line->variables[i])
            host->variables[i] = line->variables[i];
}

/* A range within a name: [01:50], [a:f], [0:100:10]. */
struct range {
    const char *begin, *end; /* the brackets, the second one included */
    long from, to, step;
    int width; /* of numbers with leading zeros */
    bool letters;
};

/* The first range of the text; false when there is none. "[::1]" is an address. */
static bool find_range(const char *text, struct range *range)
{
    range->begin = strchr(text, '[');
    range->end = range->begin ? strchr(range->begin, ']') : NULL;
    if (!range->end)
        return false;
    char body[40], *rest = body;
    size_t length = (size_t)(range->end++ - range->begin) - 1;
    if (length >= sizeof body || !memchr(range->begin, ':', length))
        return false;
    memcpy(body, range->begin + 1, length);
    body[length] = '\0';
    const char *from = strsep(&rest, ":"), *to = strsep(&rest, ":"), *step = rest;
    range->step = 1;
    range->width = 0;
    if (step && (strspn(step, "0123456789") != strlen(step) || !(range->step = strtol(step, NULL, 10))))
        return false;
    range->letters = isalpha((unsigned char)*from) && isalpha((unsigned char)*to) && !from[1] && !to[1];
    if (range->letters) {
        range->from = (unsigned char)*from;
        range->to = (unsigned char)*to;
        return true;
    }
    if (!*to || strspn(from, "0123456789") != strlen(from) || strspn(to, "0123456789") != strlen(to) ||
        strlen(from) > 9 || strlen(to) > 9)
        return false;
    range->from = strtol(from, NULL, 10);
    range->to = strtol(to, NULL, 10);
    range->width = *from == '0' && from[1] ? (int)strlen(from) : 0;
    return true;
}

static void expand(struct line_hosts *line, const char *before, const char *text, int depth)
{
    struct range range;
    struct inventory *inventory = line->inventory;
    if (inventory->given_up)
        return;
    if (!find_range(text, &range)) {
        char *name = environment_must(talloc_asprintf(NULL, "%s%s", before, text));
        if (is_host_name(name))
            add_one(line, name);
        else
            complain(inventory, line->at, name, "Write NAME, NAME:PORT or NAME[01:50]",
                     "this name cannot be used");
        talloc_free(name);
        return;
    }
    if (range.from > range.to || depth == 8) {
        complain(inventory, line->at, line->at, "Write the smaller end first: web[01:50]",
                 depth == 8 ? "too many ranges in one name" : "a range that ends before it begins");
        return;
    }
    for (long i = range.from; i <= range.to && !inventory->given_up; i += range.step) {
        char *name = range.letters
                         ? talloc_asprintf(NULL, "%s%.*s%c", before, (int)(range.begin - text), text, (int)i)
                         : talloc_asprintf(NULL, "%s%.*s%0*ld", before, (int)(range.begin - text), text,
                                           range.width, i);
        size_t errors = inventory->errors->count + inventory->errors->dropped;
        expand(line, environment_must(name), range.end, depth + 1);
        talloc_free(name);
        /* One wrong range is one error, not fifty. */
        if (inventory->errors->count + inventory->errors->dropped > errors)
            break;
    }
}

/* Cuts ":PORT" off; NULL when there is none. Colons of ranges and of addresses are none. */
static char *cut_port(char *word)
{
    char *colon = NULL;
    int colons = 0, depth = 0;
    for (char *c = word; *c; c++) {
        depth += (*c == '[') - (*c == ']');
        if (*c == ':' && !depth) {
            colon = c;
            colons++;
        }
    }
    if (colons != 1)
        return NULL;
    *colon = '\0';
    return colon + 1;
}

/* [::1] is ::1. */
static char *strip_brackets(char *word)
{
    struct range range;
    size_t length = strlen(word);
    if (*word != '[' || length < 3 || word[length - 1] != ']' || find_range(word, &range))
        return word;
    word[length - 1] = '\0';
    return word + 1;
}

static void read_host_line(struct inventory *inventory, char *text)
{
    char *rest = text, *word = next_word(inventory, &rest), *name = word;
    struct line_hosts line = {.inventory = inventory, .at = text};
    if (!word)
        return;
    /* Variables first: the port behind the name is the weaker one. */
    const char *port = cut_port(name);
    if (port)
        set_variable(inventory, line.variables, inventory->memory, "ansible_port", port, text);
    while ((word = next_word(inventory, &rest))) {
        char *equals = strchr(word, '=');
        if (!equals || equals == word) {
            complain(inventory, word, word, "Write NAME ansible_host=10.0.0.5 ansible_user=ops",
                     "behind the host's name come variables: KEY=VALUE");
            return;
        }
        *equals = '\0';
        set_variable(inventory, line.variables, inventory->memory, word, equals + 1, word);
    }
    expand(&line, "", strip_brackets(name), 0);
}

static void read_child(struct inventory *inventory, char *text)
{
    char *rest = text;
    const char *word = next_word(inventory, &rest);
    if (!word)
        return;
    if (next_word(inventory, &rest)) {
        complain(inventory, text, word, "Put each group on a line of its own",
                 "more than one word in a section of children");
        return;
    }
    struct group *child = find_group(inventory, word, text);
    if (child == inventory->all || inventory->given_up)
        return;
    child->parents =
        environment_must(talloc_realloc(child, child->parents, struct group *, child->parent_count + 1));
    child->parents[child->parent_count++] = inventory->current;
}

static void read_group_variable(struct inventory *inventory, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals) {
        complain(inventory, text, "this line", "Write KEY=VALUE", "a section of variables holds KEY=VALUE");
        return;
    }
    char *end = equals;
    while (end > text && strchr(" \t", end[-1]))
        end--;
    *end = '\0';
    char *value = equals + 1 + strspn(equals + 1, " \t");
    char *rest = value;
    /* Others may hold anything: lists, templates, unbalanced quotes. */
    for (int i = 0; i < VARIABLES; i++)
        if (strcmp(text, variable_names[i][0]) == 0 || strcmp(text, variable_names[i][1]) == 0) {
            const char *word = strstr(value, "{{") ? value : next_word(inventory, &rest);
            set_variable(inventory, inventory->current->variables, inventory->current, text, word ? word : "",
                         value);
        }
}

static void read_line(struct inventory *inventory, char *line)
{
    char *text = line + strspn(line, " \t");
    size_t length = strlen(text);
    while (length && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    inventory->line_text = line;
    inventory->line++;
    if (!length || *text == '#' || *text == ';')
        return;
    struct range range;
    /* A host may begin with a range or an address in brackets. */
    bool header = *text == '[' && text[length - 1] == ']' && !find_range(text, &range);
    if (*text == '[' && !header && !find_range(text, &range))
        header = !strchr(text, ']') || strpbrk(strchr(text, ']') + 1, "#;");
    if (header)
        read_header(inventory, text);
    else if (inventory->section == SECTION_HOSTS)
        read_host_line(inventory, text);
    else if (inventory->section == SECTION_CHILDREN)
        read_child(inventory, text);
    else if (inventory->section == SECTION_VARIABLES)
        read_group_variable(inventory, text);
}

static void complain_group(struct inventory *inventory, const struct group *group, const char *todo,
                           const char *why)
{
    error_list_at(inventory->errors, inventory->path, group->line, group->column, group->name, todo, "%s",
                  why);
}

/* Ansible's precedence: the deeper group wins; of two equally deep ones the later name. */
static bool beats(const struct group *candidate, const struct group *best)
{
    return !best || candidate->depth > best->depth ||
           (candidate->depth == best->depth && strcmp(candidate->name, best->name) >= 0);
}

static void take_variables(const char *variables[VARIABLES], const struct group *origins[VARIABLES],
                           const struct group *from)
{
    for (int i = 0; i < VARIABLES; i++)
        if (from->origins[i] && beats(from->origins[i], origins[i])) {
            variables[i] = from->variables[i];
            origins[i] = from->origins[i];
        }
}

/* What a group has from itself and its parents. */
static void resolve(struct inventory *inventory, struct group *group)
{
    const char *inherited[VARIABLES] = {NULL};
    const struct group *origins[VARIABLES] = {NULL};
    group->state = 1;
    for (size_t i = 0; i < group->parent_count; i++) {
        struct group *parent = group->parents[i];
        if (parent->state == 1) {
            complain_group(inventory, parent, "Take it out of its own children",
                           "this group is one of its own descendants");
            continue;
        }
        if (!parent->state)
            resolve(inventory, parent);
        group->depth = parent->depth + 1 > group->depth ? parent->depth + 1 : group->depth;
        take_variables(inherited, origins, parent);
    }
    for (int i = 0; i < VARIABLES; i++) {
        group->origins[i] = group->variables[i] ? group : origins[i];
        if (!group->variables[i])
            group->variables[i] = inherited[i];
    }
    group->state = 2;
}

static void resolve_groups(struct inventory *inventory)
{
    struct group *all = inventory->all;
    for (struct group *group = inventory->first_group; group; group = group->after)
        if (group != all && !group->parent_count) {
            group->parents = environment_must(talloc_array(group, struct group *, 1));
            group->parents[group->parent_count++] = all;
        }
    for (struct group *group = inventory->first_group; group; group = group->after) {
        if (!group->defined && group != all && strcmp(group->name, "ungrouped") != 0)
            complain_group(inventory, group, "Write a section [GROUP], or correct the name",
                           "there is no such group in this inventory");
        if (!group->state)
            resolve(inventory, group);
    }
}

static const char *destination_of(const void *context, const struct host *host, const char *const variables[])
{
    const char *address = variables[VARIABLE_HOST] ? variables[VARIABLE_HOST] : host->name;
    const char *user = variables[VARIABLE_USER], *port = variables[VARIABLE_PORT];
    bool v6 = strchr(address, ':') != NULL;
    if (!v6 || (!user && !port))
        return environment_must(talloc_asprintf(context, "%s%s%s%s%s", user ? user : "", user ? "@" : "",
                                                address, port ? ":" : "", port ? port : ""));
    return environment_must(talloc_asprintf(context, "ssh://%s%s[%s]%s%s", user ? user : "", user ? "@" : "",
                                            address, port ? ":" : "", port ? port : ""));
}

static struct environment_host make_host(const void *context, const struct inventory *inventory,
                                         const struct host *host)
{
    const char *variables[VARIABLES] = {NULL};
    const struct group *origins[VARIABLES] = {NULL};
    struct environment_host made = {.name = environment_must(talloc_strdup(context, host->name))};
    for (size_t i = 0; i < host->group_count; i++) {
        const struct group *group = host->groups[i];
        take_variables(variables, origins, group);
        if (!made.group && group != inventory->all && strcmp(group->name, "ungrouped") != 0)
            made.group = environment_must(talloc_strdup(context, group->name));
    }
    for (int i = 0; i < VARIABLES; i++)
        if (host->variables[i])
            variables[i] = host->variables[i];
    made.ssh = destination_of(context, host, variables);
    return made;
}

static void read_lines(struct inventory *inventory, const char *text, size_t length)
{
    char *copy = environment_must(talloc_strndup(inventory->memory, text, length));
    char *rest = copy, *line;
    const char *zero = memchr(text, 0, length);
    const char *first = text + (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    rest += first - text;
    if (length >= 3 && (strncmp(first, "---", 3) == 0 || strncmp(first, "#!", 2) == 0 || *first == '{')) {
        inventory->line = 1;
        complain(inventory, NULL, "this file", "ansible-inventory --list shows its hosts: write them as INI",
                 *first == '#' ? "a program, not an inventory in INI form"
                               : "YAML or JSON, not an inventory in INI form");
        return;
    }
    while (!inventory->given_up && (line = strsep(&rest, "\n")))
        read_line(inventory, line);
    if (zero && !inventory->given_up)
        complain(inventory, NULL, "this line", "Name a text file", "control character 0x00");
}

struct environment_host *environment_parse_inventory(const void *context, const char *path, const char *text,
                                                     size_t length, size_t *count, struct error_list *errors)
{
    struct inventory inventory = {
        .path = path, .errors = errors, .memory = environment_must(talloc_new(NULL))};
    size_t before = errors->count + errors->dropped, made = 0;
    inventory.last_group = &inventory.first_group;
    inventory.last_host = &inventory.first_host;
    inventory.line_text = "";
    inventory.all = find_group(&inventory, "all", NULL);
    inventory.current = find_group(&inventory, "ungrouped", NULL);
    read_lines(&inventory, text, length);
    resolve_groups(&inventory);
    struct environment_host *hosts = NULL;
    if (errors->count + errors->dropped == before) {
        hosts = environment_must(talloc_zero_array(context, struct environment_host, inventory.host_count));
        for (const struct host *host = inventory.first_host; host; host = host->after)
            hosts[made++] = make_host(hosts, &inventory, host);
    }
    *count = made;
    HASH_CLEAR(hh, inventory.groups);
    HASH_CLEAR(hh, inventory.hosts);
    talloc_free(inventory.memory);
    return hosts;
}
