/* The reader of an environment file's keys: each value is checked and put where its table says, and
 * everything that is wrong is told. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/environment_internal.h"
#include "backends/redis/url.h"
#include "core/suggest.h"
#include "core/text.h"
#include "core/units.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

void environment_complain(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                          const char *todo, const char *why)
{
    yaml_complain(reader->document, node->line, node->column, what, todo, "%s", why);
}

bool environment_is_unsafe(const char *text)
{
    char *safe = environment_must(safe_text_new(NULL, text));
    bool unsafe = strcmp(safe, text) != 0;
    talloc_free(safe);
    return unsafe;
}

bool environment_is_word(const char *text)
{
    return *text && *text != '-' && !strpbrk(text, " \t\r\n/\"'") && strlen(text) <= 63 &&
           !environment_is_unsafe(text);
}

/* A wrong DSN may hold a password in a place where libpq does not see one, and quotes it in its message. */
static bool may_hold_password(const char *dsn)
{
    const char *authority = strstr(dsn, "://");
    const char *at = authority ? strrchr(authority, '@') : NULL;
    const char *colon = at ? memchr(authority + 3, ':', (size_t)(at - authority - 3)) : NULL;
    return colon || strcasestr(dsn, "passw");
}

static void check_dsn(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    static const char todo[] = "Take it out and use ~/.pgpass, a service file or passfile=FILE";
    if (!node->text[strspn(node->text, " \t\r\n")]) {
        environment_complain(reader, node, what,
                             "Write \"host=db1 dbname=app user=sb_watch\", or leave the key out",
                             "the DSN is empty");
        return;
    }
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(node->text, &message);
    if (!options && may_hold_password(node->text))
        environment_complain(reader, node, what, todo,
                             "not a DSN that libpq understands, and it seems to hold a password");
    else if (!options)
        environment_complain(
            reader, node, what,
            "Write \"host=db1 dbname=app user=sb_watch\", \"service=NAME\" or postgresql://user@db1/app",
            message ? message : "not a DSN");
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (option->val && *option->val &&
            (strcmp(option->keyword, "password") == 0 || strcmp(option->keyword, "sslpassword") == 0))
            environment_complain(reader, node, what, todo, "the DSN holds a password");
    PQfreemem(message);
    PQconninfoFree(options);
}

static void check_redis_url(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    struct error error = {0};
    struct redis_url url;
    void *scratch = environment_must(talloc_new(NULL));
    if (!redis_url_parse(scratch, node->text, &url, &error))
        environment_complain(reader, node, what,
                             "Write redis://USER@HOST:PORT/NUMBER, rediss://... or unix:///PATH?db=N",
                             error.why);
    else if (url.password)
        environment_complain(reader, node, what,
                             "Take it out and use ~/.config/signalbox/redispass or REDISCLI_AUTH",
                             "the URL holds a password");
    talloc_free(scratch);
}

bool environment_is_destination(const char *text)
{
    /* ssh would take "-oProxyCommand=..." as an option. */
    return *text && *text != '-' && !strpbrk(text, " \t\r\n\"'`$;&|<>\\");
}

static void check_ssh(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    if (!environment_is_destination(node->text))
        environment_complain(reader, node, what, "Write HOST or USER@HOST, as for ssh",
                             "not an SSH destination");
}

static void check_http_url(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    const char *rest = strstr(node->text, "://");
    bool http = strncmp(node->text, "http://", 7) == 0 || strncmp(node->text, "https://", 8) == 0;
    if (!http || !rest[3] || strchr("/?#:@", rest[3]) || strpbrk(node->text, " \t\r\n\"'`<>\\"))
        environment_complain(reader, node, what, "Write https://HOST/PATH or http://HOST/PATH",
                             "not the URL of a web page");
    else if (memchr(rest + 3, '@', strcspn(rest + 3, "/?#")))
        environment_complain(reader, node, what, "Take it out: pages are asked for without a login",
                             "the URL holds a user");
}

static void check_relation(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    const char *dot = strchr(node->text, '.');
    if (!dot || dot == node->text || !dot[1] || strchr(dot + 1, '.') || strpbrk(node->text, " \t\r\n\"';"))
        environment_complain(reader, node, what,
                             "Write it with its schema, without quotes: public.tenants_client",
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

static void read_word(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                      const char *const *words, int *value)
{
    size_t count = 0;
    for (; words[count]; count++)
        if (strcmp(node->text, words[count]) == 0) {
            *value = (int)count;
            return;
        }
    const char *near = suggest_word(node->text, words, count);
    char known[200], todo[300];
    list_words(known, sizeof known, words, count, " or ");
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s? It is one of %s", near, known);
    else
        snprintf(todo, sizeof todo, "Write %s", known);
    yaml_complain(reader->document, node->line, node->column, what, todo, "unknown value \"%s\"", node->text);
}

static void read_boolean(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                         bool *value)
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

static void read_duration(struct environment_reader *reader, const struct yaml_node *node, const char *what,
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

static void read_text(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                      enum environment_field_kind kind, const char **value)
{
    if (environment_is_unsafe(node->text))
        environment_complain(reader, node, what, "Write it on one line, without invisible characters",
                             "control or invisible characters in it");
    else if (kind == FIELD_DSN)
        check_dsn(reader, node, what);
    else if (kind == FIELD_REDIS)
        check_redis_url(reader, node, what);
    else if (kind == FIELD_SSH)
        check_ssh(reader, node, what);
    else if (kind == FIELD_HTTP)
        check_http_url(reader, node, what);
    else if (kind == FIELD_REMOTE && *node->text != '/')
        environment_complain(reader, node, what, "Write it from the root: /srv/app/RELEASE",
                             "not an absolute path");
    else if (kind == FIELD_RELATION)
        check_relation(reader, node, what);
    else if (!*node->text)
        environment_complain(reader, node, what, "Write something, or leave the key out",
                             "the text is empty");
    *value = kind == FIELD_PATH ? environment_path(reader->environment, reader->environment, node->text)
                                : environment_must(talloc_strdup(reader->environment, node->text));
}

static void read_status(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                        int *value)
{
    char *end;
    long status = strtol(node->text, &end, 10);
    if (*end || status < 100 || status > 599)
        yaml_complain(reader->document, node->line, node->column, what, "Write a number of 100 to 599: 200",
                      "\"%s\" is not a status of HTTP", node->text);
    else
        *value = (int)status;
}

static void read_field(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                       const struct environment_field *field, void *target)
{
    void *value = (char *)target + field->offset;
    if (field->kind == FIELD_OWN) {
        field->read(reader, node, what, target);
        return;
    }
    if (node->kind != YAML_SCALAR) {
        yaml_complain(reader->document, node->line, node->column, what,
                      "Write one value, or leave the key out", "one value is needed, this is %s",
                      yaml_kind_name(node->kind));
        return;
    }
    int place = 0;
    if (field->kind == FIELD_WORD)
        read_word(reader, node, what, field->words, value);
    else if (field->kind == FIELD_CHOICE) {
        read_word(reader, node, what, field->words, &place);
        *(const char **)value = field->words[place];
    } else if (field->kind == FIELD_STATUS)
        read_status(reader, node, what, value);
    else if (field->kind == FIELD_BOOLEAN)
        read_boolean(reader, node, what, value);
    else if (field->kind == FIELD_DURATION)
        read_duration(reader, node, what, value);
    else
        read_text(reader, node, what, field->kind, value);
}

void environment_complain_unknown(struct environment_reader *reader, const struct yaml_node *key,
                                  const char *what, const char *const known[], size_t count)
{
    const char *near = suggest_word(key->text, known, count);
    char list[250], todo[320];
    list_words(list, sizeof list, known, count, " and ");
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    else
        snprintf(todo, sizeof todo, "Known here: %s", list);
    environment_complain(reader, key, what, todo, "unknown key");
}

bool environment_is_mapping(struct environment_reader *reader, const struct yaml_node *node, const char *what)
{
    if (node->kind == YAML_MAPPING)
        return true;
    if (node->kind != YAML_NULL)
        yaml_complain(reader->document, node->line, node->column, what,
                      "Write key: value pairs below it or {key: value}",
                      "a mapping (key: value) is needed, this is %s", yaml_kind_name(node->kind));
    return false;
}

bool environment_is_list(struct environment_reader *reader, const struct yaml_node *node, const char *what,
                         const char *todo)
{
    if (node->kind == YAML_LIST)
        return true;
    yaml_complain(reader->document, node->line, node->column, what, todo, "a list is needed, this is %s",
                  yaml_kind_name(node->kind));
    return false;
}

void environment_read_fields(struct environment_reader *reader, const struct yaml_node *node,
                             const char *what, const struct environment_field *fields, size_t count,
                             void *target)
{
    if (!environment_is_mapping(reader, node, what))
        return;
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        char *path = environment_must(talloc_asprintf(NULL, "%s.%s", what, value->key->text));
        const struct environment_field *field = NULL;
        const char *names[16];
        for (size_t i = 0; i < count; i++) {
            names[i] = fields[i].name;
            if (strcmp(fields[i].name, value->key->text) == 0)
                field = &fields[i];
        }
        if (field)
            read_field(reader, value, path, field, target);
        else
            environment_complain_unknown(reader, value->key, path, names, count);
        talloc_free(path);
    }
}

void *environment_read_entries(struct environment_reader *reader, const struct yaml_node *node,
                               const char *what, size_t size, const struct environment_field *fields,
                               size_t field_count, size_t *count)
{
    if (!environment_is_mapping(reader, node, what) || !node->count)
        return NULL;
    char *entries = environment_must(talloc_zero_size(reader->environment, size * node->count));
    for (const struct yaml_node *value = node->first; value; value = value->next) {
        char *path = environment_must(talloc_asprintf(NULL, "%s.%s", what, value->key->text));
        char *entry = entries + size * (*count)++;
        const char *name = environment_must(talloc_strdup(entries, value->key->text));
        memcpy(entry, &name, sizeof name);
        if (!environment_is_word(name))
            environment_complain(reader, value->key, path,
                                 "Use at most 63 bytes without spaces, slashes, quotes and a leading \"-\"",
                                 "this name cannot be used");
        environment_read_fields(reader, value, path, fields, field_count, entry);
        talloc_free(path);
    }
    return entries;
}

/* What is not there cannot be told from what the parser did not reach. */
void environment_require(struct environment_reader *reader, const struct yaml_node *section, size_t index,
                         const void *value, const char *what, const char *todo)
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
