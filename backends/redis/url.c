/* Redis URLs, and where their passwords are. */
#include "backends/redis/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "core/files.h"

enum { URL_DATABASE_MAX = 1 << 20, PASSWORD_FILE_MAX = 1 << 20 };

static const char url_todo[] =
    "Write redis://USER@HOST:PORT/NUMBER, rediss://... for TLS, or unix:///PATH?db=N";

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- the URL ---- */

/* What is wrong is said without the text itself: it may hold a password. */
static bool refuse(struct error *error, const char *why)
{
    return error_set(error, ERROR_USAGE, NULL, "not a Redis URL", url_todo, "%s", why);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* %XX decoded. NULL: not two digits behind a %, or a NUL or control character. */
static char *decode(const void *context, const char *text, size_t length)
{
    char *decoded = must(talloc_array(context, char, length + 1)), *to = decoded;
    for (size_t i = 0; i < length; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                talloc_free(decoded);
                return NULL;
            }
            c = high * 16 + low;
            i += 2;
        }
        if (c < ' ' || c == 127) {
            talloc_free(decoded);
            return NULL;
        }
        *to++ = (char)c;
    }
    *to = '\0';
    return decoded;
}

static bool read_number(const char *text, size_t length, int most, int *number)
{
    long value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || (value = value * 10 + (text[i] - '0')) > most)
            return false;
    }
    *number = (int)value;
    return length > 0;
}

static bool is_host(const char *host)
{
    if (!*host)
        return false;
    for (const char *c = host; *c; c++)
        if ((unsigned char)*c <= ' ' || strchr("/?#@[]\"'`$;&|<>\\{}%", *c))
            return false;
    return true;
}

/* HOST, HOST:PORT, [ADDRESS]:PORT. */
static bool read_place(const void *context, const char *text, size_t length, struct redis_place *place,
                       struct error *error)
{
    const char *host = text, *end = text + length, *host_end, *colon;
    if (length && *text == '[') {
        host++;
        host_end = memchr(text, ']', length);
        if (!host_end)
            return refuse(error, "a [ without its ]");
        colon = host_end + 1 < end ? host_end + 1 : NULL;
        if (colon && *colon != ':')
            return refuse(error, "behind ] comes :PORT");
    } else {
        colon = memchr(text, ':', length);
        host_end = colon ? colon : end;
        if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            return refuse(error, "an IPv6 address stands in brackets: [::1]:6379");
    }
    place->port = REDIS_PORT;
    place->port_named = colon != NULL;
    if (colon &&
        (!read_number(colon + 1, (size_t)(end - colon - 1), 65535, &place->port) || place->port == 0))
        return refuse(error, "the port is not a number from 1 to 65535");
    char *name = must(talloc_strndup(context, host, (size_t)(host_end - host)));
    place->host = name;
    return is_host(name) ||
           refuse(error, *name ? "the host is not a name or an address" : "a host is missing");
}

static bool read_places(const void *context, const char *text, size_t length, struct redis_url *url,
                        struct error *error)
{
    const char *end = text + length;
    if (!length) {
        text = "localhost";
        end = text + strlen(text);
    }
    for (;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        if (url->place_count == REDIS_URL_HOSTS)
            return refuse(error, "more than 16 hosts");
        if (!read_place(context, text, (size_t)((comma ? comma : end) - text),
                        &url->places[url->place_count++], error))
            return false;
        if (!comma)
            return true;
        text = comma + 1;
    }
}

static bool read_login(const void *context, const char *text, size_t length, struct redis_url *url,
                       struct error *error)
{
    const char *colon = memchr(text, ':', length);
    size_t user = colon ? (size_t)(colon - text) : length;
    const char *name = decode(context, text, user);
    const char *password = colon ? decode(context, colon + 1, length - user - 1) : NULL;
    if (!name || (colon && !password))
        return refuse(error, "user or password: a % stands for itself as %25, and controls are not allowed");
    url->user = *name ? name : NULL;
    url->password = password && *password ? password : NULL;
    return true;
}

/* db=N&...: nothing else is known here, and what is not known is not ignored. */
static bool read_query(const char *query, struct redis_url *url, struct error *error)
{
    while (*query) {
        size_t length = strcspn(query, "&");
        size_t name = strncmp(query, "db=", 3) == 0 ? 3 : strncmp(query, "virtual_host=", 13) == 0 ? 13 : 0;
        if (!name)
            return refuse(error, "behind ? only db=NUMBER is known");
        if (!read_number(query + name, length - name, URL_DATABASE_MAX, &url->database))
            return refuse(error, "the database is not a number");
        query += length + (query[length] == '&');
    }
    return true;
}

static bool read_socket(const void *context, const char *text, struct redis_url *url, struct error *error)
{
    /* unix://USER:PASSWORD@/PATH */
    const char *slash = strchr(text, '/'), *at = slash ? memrchr(text, '@', (size_t)(slash - text)) : NULL;
    if (!slash || (at ? at + 1 : text) != slash)
        return refuse(error, "a socket's path begins with /");
    if (at && !read_login(context, text, (size_t)(at - text), url, error))
        return false;
    size_t length = strcspn(slash, "?");
    char *path = decode(context, slash, length);
    if (!path || length < 2)
        return refuse(error, "the socket's path is not one");
    url->places[url->place_count++] = (struct redis_place){.path = path};
    return !slash[length] || read_query(slash + length + 1, url, error);
}

static bool read_hosts(const void *context, const char *text, struct redis_url *url, struct error *error)
{
    const char *query = text + strcspn(text, "?");
    /* A password may hold a / that nobody encoded. */
    const char *at = memrchr(text, '@', (size_t)(query - text));
    const char *hosts = at ? at + 1 : text;
    const char *path = memchr(hosts, '/', (size_t)(query - hosts));
    const char *hosts_end = path ? path : query;
    if (at && !read_login(context, text, (size_t)(at - text), url, error))
        return false;
    if (!read_places(context, hosts, (size_t)(hosts_end - hosts), url, error))
        return false;
    if (path && query - path > 1 &&
        !read_number(path + 1, (size_t)(query - path - 1), URL_DATABASE_MAX, &url->database))
        return refuse(error, "the database is not a number");
    return !*query || read_query(query + 1, url, error);
}

bool redis_url_parse(const void *context, const char *text, struct redis_url *url, struct error *error)
{
    static const struct scheme {
        const char *text;
        bool tls, socket;
    } schemes[] = {
        {"redis://", false, false},
        {"rediss://", true, false},
        {"unix://", false, true},
        {"redis+socket://", false, true},
    };
    *url = (struct redis_url){0};
    if (strchr(text, '#'))
        return refuse(error, "a # in it is written %23");
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t length = strlen(schemes[i].text);
        if (strncasecmp(text, schemes[i].text, length) != 0)
            continue;
        url->tls = schemes[i].tls;
        return schemes[i].socket ? read_socket(context, text + length, url, error)
                                 : read_hosts(context, text + length, url, error);
    }
    return refuse(error, "it begins with redis://, rediss:// or unix://");
}

static const char *copy_text(const void *context, const char *text)
{
    return text ? must(talloc_strdup(context, text)) : NULL;
}

struct redis_url *redis_url_copy(const void *context, const struct redis_url *url)
{
    struct redis_url *copy = must(talloc(context, struct redis_url));
    *copy = *url;
    copy->user = copy_text(copy, url->user);
    copy->password = copy_text(copy, url->password);
    for (size_t i = 0; i < copy->place_count; i++) {
        copy->places[i].host = copy_text(copy, url->places[i].host);
        copy->places[i].path = copy_text(copy, url->places[i].path);
    }
    return copy;
}

char *redis_place_text(const void *context, const struct redis_place *place)
{
    if (place->path)
        return must(talloc_strdup(context, place->path));
    bool brackets = strchr(place->host, ':') != NULL;
    return must(talloc_asprintf(context, "%s%s%s:%d", brackets ? "[" : "", place->host, brackets ? "]" : "",
                                place->port));
}

char *redis_url_place(const void *context, const struct redis_url *url)
{
    char *text = must(talloc_strdup(context, ""));
    for (size_t i = 0; i < url->place_count; i++) {
        char *place = redis_place_text(NULL, &url->places[i]);
        text = must(talloc_asprintf_append(text, "%s%s", i ? "," : "", place));
        talloc_free(place);
    }
    return must(talloc_asprintf_append(text, "/%d", url->database));
}

/* ---- passwords ---- */

/* The next field up to a colon that no backslash stands before, unescaped in place. */
static char *next_field(char **at)
{
    char *field = *at, *to = field, *from = field;
    while (*from && *from != ':') {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from++;
    }
    *at = from + (*from == ':');
    *to = '\0';
    return field;
}

static bool fits(const char *field, const char *value)
{
    return strcmp(field, "*") == 0 || strcmp(field, value) == 0;
}

/* The password of a line that fits, in the line; else NULL. */
static char *password_of(char *line, const struct redis_url *url, const struct redis_place *place)
{
    char port[16] = "";
    if (!place->path)
        snprintf(port, sizeof port, "%d", place->port);
    if (*line == '#')
        return NULL;
    char *at = line, *host_field = next_field(&at), *port_field = next_field(&at);
    char *user_field = next_field(&at);
    bool good = fits(host_field, place->path ? place->path : place->host) && fits(port_field, port) &&
                fits(user_field, url->user ? url->user : "default");
    char *password = next_field(&at);
    return good && *password ? password : NULL;
}

static char *password_in(const void *context, char *text, const struct redis_url *url,
                         const struct redis_place *place)
{
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        char *password = password_of(line, url, place);
        if (password)
            return must(talloc_strdup(context, password));
    }
    return NULL;
}

char *redis_password(const void *context, const struct redis_url *url, const struct redis_place *place,
                     struct error *error)
{
    char *found = NULL;
    struct stat facts;
    if (url->password)
        return must(talloc_strdup(context, url->password));
    char *path = files_config_path(NULL, "redispass");
    if (stat(path, &facts) == 0 && S_ISREG(facts.st_mode)) {
        if (facts.st_mode & (S_IRWXG | S_IRWXO)) {
            char todo[sizeof error->todo];
            snprintf(todo, sizeof todo, "chmod 600 %s", path);
            error_set(error, ERROR_CONFIG, path, "the password file is not used", todo, "others may read it");
            talloc_free(path);
            return NULL;
        }
        size_t length = 0;
        char *text = files_read(NULL, path, PASSWORD_FILE_MAX, &length, error);
        if (!text) {
            talloc_free(path);
            return NULL;
        }
        found = password_in(context, text, url, place);
        explicit_bzero(text, length);
        talloc_free(text);
    }
    talloc_free(path);
    const char *variable = getenv("REDISCLI_AUTH");
    if (!found && variable && *variable)
        found = must(talloc_strdup(context, variable));
    return found;
}
