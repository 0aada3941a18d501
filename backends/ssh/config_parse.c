/* The output of `ssh -G`, line by line: "keyword value". Nothing here looks at a file. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "backends/ssh/config_internal.h"

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- values ---- */

static bool is_yes(const char *value)
{
    return strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0;
}

static char *text_or_null(const void *context, const char *value)
{
    return *value && strcasecmp(value, "none") != 0 ? checked(talloc_strdup(context, value)) : NULL;
}

static int port_of(const char *value)
{
    char *end = NULL;
    long port = strtol(value, &end, 10);
    return *value && !*end && port > 0 && port < 65536 ? (int)port : 0;
}

/* Adds to a talloc'd list of texts. */
static void add_text(const void *context, const char *const **list, size_t *count, const char *text)
{
    const char **grown = talloc_realloc(context, *(const char ***)list, const char *, *count + 1);
    *list = checked(grown);
    grown[(*count)++] = checked(talloc_strdup(context, text));
}

/* Several files on one line. ssh writes them without quotes: a word that does not begin as a path does
 * belongs to the one in front of it. */
static void add_files(const void *context, const char *const **list, size_t *count, char *value)
{
    char *file = value;
    if (strcasecmp(value, "none") == 0)
        return;
    while (*file) {
        char *end = file;
        if (*file == '"') {
            end = strchr(++file, '"');
            end = end ? end : file + strlen(file);
        } else {
            while ((end = strchr(end, ' ')) && end[1] != '/' && end[1] != '~' && end[1] != '"')
                end++;
            end = end ? end : file + strlen(file);
        }
        char *next = end + (*end != '\0');
        *end = '\0';
        while (*next == ' ')
            next++;
        if (*file)
            add_text(context, list, count, file);
        file = next;
    }
}

static void add_identity(struct ssh_settings *settings, const char *path)
{
    struct ssh_identity *grown = (struct ssh_identity *)settings->identities;
    if (strcasecmp(path, "none") == 0)
        return;
    for (size_t i = 0; i < settings->identity_count; i++)
        if (strcmp(grown[i].path, path) == 0)
            return;
    grown = checked(talloc_realloc(settings, grown, struct ssh_identity, settings->identity_count + 1));
    grown[settings->identity_count] = (struct ssh_identity){.path = checked(talloc_strdup(settings, path))};
    grown[settings->identity_count].shown = grown[settings->identity_count].path;
    settings->identity_count++;
    settings->identities = grown;
}

/* "[user@]host[:port]" or "ssh://...", separated by commas. */
static void set_hops(struct ssh_settings *settings, char *value)
{
    char *rest = NULL;
    if (strcasecmp(value, "none") == 0)
        return;
    for (char *word = strtok_r(value, ", ", &rest); word; word = strtok_r(NULL, ", ", &rest)) {
        struct ssh_destination parts;
        struct ssh_hop *grown = talloc_realloc(settings, (struct ssh_hop *)settings->hops, struct ssh_hop,
                                               settings->hop_count + 1);
        settings->hops = checked(grown);
        if (!ssh_destination_parse(settings, word, &parts, NULL))
            parts = (struct ssh_destination){.host = checked(talloc_strdup(settings, word))};
        grown[settings->hop_count++] =
            (struct ssh_hop){.user = parts.user,
                             .host = parts.host,
                             .port = parts.port,
                             .destination = checked(talloc_strdup(settings, word))};
    }
}

/* "10", "1m30", "none". ssh -G writes seconds. */
static double seconds_of(const char *value)
{
    char *end = NULL;
    double seconds = strtod(value, &end);
    return end != value && seconds > 0 && seconds < 1e6 ? seconds : 0;
}

/* ---- lines ---- */

/* Keywords whose value is a text as it stands, and where it goes. */
static const struct {
    const char *keyword;
    size_t place;
} texts[] = {
    {"hostname", offsetof(struct ssh_settings, hostname)},
    {"user", offsetof(struct ssh_settings, user)},
    {"addressfamily", offsetof(struct ssh_settings, address_family)},
    {"bindaddress", offsetof(struct ssh_settings, bind_address)},
    {"bindinterface", offsetof(struct ssh_settings, bind_interface)},
    {"hostkeyalias", offsetof(struct ssh_settings, host_key_alias)},
    {"proxycommand", offsetof(struct ssh_settings, proxy_command)},
    {"preferredauthentications", offsetof(struct ssh_settings, preferred)},
    {"pkcs11provider", offsetof(struct ssh_settings, pkcs11)},
    {"knownhostscommand", offsetof(struct ssh_settings, known_hosts_command)},
    {"revokedhostkeys", offsetof(struct ssh_settings, revoked_host_keys)},
    {"hostkeyalgorithms", offsetof(struct ssh_settings, host_key_algorithms)},
    {"ciphers", offsetof(struct ssh_settings, ciphers)},
    {"macs", offsetof(struct ssh_settings, macs)},
    {"kexalgorithms", offsetof(struct ssh_settings, kex_algorithms)},
    {"identityagent", offsetof(struct ssh_settings, agent)},
};

static const struct {
    const char *keyword;
    size_t place;
} switches[] = {
    {"identitiesonly", offsetof(struct ssh_settings, identities_only)},
    {"pubkeyauthentication", offsetof(struct ssh_settings, public_key)},
    {"kbdinteractiveauthentication", offsetof(struct ssh_settings, keyboard_interactive)},
    {"challengeresponseauthentication", offsetof(struct ssh_settings, keyboard_interactive)},
    {"passwordauthentication", offsetof(struct ssh_settings, password)},
    {"gssapiauthentication", offsetof(struct ssh_settings, gssapi)},
    {"hashknownhosts", offsetof(struct ssh_settings, hash_known_hosts)},
    {"compression", offsetof(struct ssh_settings, compression)},
    {"forkafterauthentication", offsetof(struct ssh_settings, forks)},
};

static bool take_simple(struct ssh_settings *settings, const char *keyword, const char *value)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcasecmp(keyword, texts[i].keyword) == 0) {
            char **place = (char **)(void *)((char *)settings + texts[i].place);
            talloc_free(*place);
            *place = text_or_null(settings, value);
            return true;
        }
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcasecmp(keyword, switches[i].keyword) == 0) {
            /* "unbound", "host-bound" of PubkeyAuthentication allow it, too. */
            *(bool *)(void *)((char *)settings + switches[i].place) =
                is_yes(value) || strcasestr(value, "bound") != NULL;
            return true;
        }
    return false;
}

static void take_line(struct ssh_settings *settings, const char *keyword, char *value)
{
    if (strcasecmp(keyword, "identityagent") == 0)
        settings->agent_off = strcasecmp(value, "none") == 0;
    if (take_simple(settings, keyword, value))
        return;
    if (strcasecmp(keyword, "port") == 0)
        settings->port = port_of(value);
    else if (strcasecmp(keyword, "identityfile") == 0)
        add_identity(settings, value);
    else if (strcasecmp(keyword, "certificatefile") == 0 && strcasecmp(value, "none") != 0)
        add_text(settings, &settings->certificates, &settings->certificate_count, value);
    else if (strcasecmp(keyword, "userknownhostsfile") == 0)
        add_files(settings, &settings->user_known_hosts, &settings->user_known_host_count, value);
    else if (strcasecmp(keyword, "globalknownhostsfile") == 0)
        add_files(settings, &settings->global_known_hosts, &settings->global_known_host_count, value);
    else if (strcasecmp(keyword, "proxyjump") == 0)
        set_hops(settings, value);
    else if (strcasecmp(keyword, "connecttimeout") == 0)
        settings->connect_timeout_s = seconds_of(value);
    else if (strcasecmp(keyword, "serveraliveinterval") == 0)
        settings->server_alive_s = seconds_of(value);
    else if (strcasecmp(keyword, "remotecommand") == 0)
        settings->has_remote_command = strcasecmp(value, "none") != 0;
}

struct ssh_settings *ssh_settings_parse(const void *context, const char *destination, const char *text,
                                        size_t length, struct error *error)
{
    struct ssh_settings *settings = checked(talloc_zero(context, struct ssh_settings));
    char *copy = checked(talloc_strndup(settings, text, length)), *next;
    settings->destination = checked(talloc_strdup(settings, destination));
    settings->public_key = true;
    for (char *line = copy; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        while (*line == ' ' || *line == '\t')
            line++;
        char *value = line + strcspn(line, " \t");
        while (*value == ' ' || *value == '\t')
            *value++ = '\0';
        if (*line && *value)
            take_line(settings, line, value);
    }
    talloc_free(copy);
    if (!settings->hostname || !settings->port) {
        error_set(error, ERROR_CONFIG, NULL, "cannot read the SSH configuration", NULL,
                  "ssh -G names no host for %s", destination);
        talloc_free(settings);
        return NULL;
    }
    return settings;
}

/* ---- destinations ---- */

/* What a shell would take apart has no place in a name: a ProxyCommand is run by one. As OpenSSH 9.6. */
static const char *bad_name(const char *name, bool user)
{
    if (!*name)
        return "it is empty";
    if (*name == '-')
        return "it begins with a dash";
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return "it holds a blank or a control character";
        else if (strchr(user ? "'`\";&<>|(){}$" : "'`\"$\\;&<>|(){},", *c))
            return "it holds a character that a shell would take for its own";
    return NULL;
}

static int hex_of(char digit)
{
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

static void percent_decode(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++, to++) {
        *to = *from;
        if (*from == '%' && isxdigit((unsigned char)from[1]) && isxdigit((unsigned char)from[2])) {
            *to = (char)(hex_of(from[1]) << 4 | hex_of(from[2]));
            from += 2;
        }
    }
    *to = '\0';
}

/* Cuts ":port" off and takes the brackets away. */
static bool split_port(char *host, struct ssh_destination *parts)
{
    char *colon = strrchr(host, ':');
    parts->host = host;
    if (*host == '[') {
        char *bracket = strchr(host, ']');
        if (!bracket || (bracket[1] && bracket[1] != ':'))
            return false;
        colon = bracket[1] ? bracket + 1 : NULL;
        *bracket = '\0';
        parts->host = host + 1;
    } else if (colon && strchr(host, ':') != colon) {
        colon = NULL; /* a bare IPv6 address */
    }
    if (!colon)
        return true;
    *colon = '\0';
    return (parts->port = port_of(colon + 1)) != 0;
}

bool ssh_destination_parse(const void *context, const char *destination, struct ssh_destination *parts,
                           struct error *error)
{
    const char *wrong = NULL;
    bool uri = strncasecmp(destination, "ssh://", 6) == 0;
    char *copy = checked(talloc_strdup(context, destination + (uri ? 6 : 0)));
    size_t length = strlen(copy);
    *parts = (struct ssh_destination){0};
    if (uri && length && copy[length - 1] == '/')
        copy[length - 1] = '\0';
    char *at = strrchr(copy, '@'), *host = at ? at + 1 : copy;
    if (at) {
        *at = '\0';
        parts->user = copy;
        if (uri)
            percent_decode(copy);
        wrong = bad_name(copy, true);
    }
    if (!wrong && !split_port(host, parts))
        wrong = "its port is none";
    if (!wrong)
        wrong = bad_name(parts->host, false);
    if (!wrong)
        return true;
    talloc_free(copy);
    *parts = (struct ssh_destination){0};
    return error_set(error, ERROR_CONFIG, NULL, "no destination for ssh",
                     "Write an alias of ssh_config, [user@]host[:port], or ssh://[user@]host[:port].",
                     "\"%s\": %s", destination, wrong);
}

const char **ssh_destination_argv(const void *context, const char *destination, struct error *error)
{
    struct ssh_destination parts;
    const char **words = checked(talloc_zero_array(context, const char *, 7));
    size_t count = 0;
    if (!ssh_destination_parse(words, destination, &parts, error)) {
        talloc_free(words);
        return NULL;
    }
    if (parts.user) {
        words[count++] = "-l";
        words[count++] = parts.user;
    }
    if (parts.port) {
        words[count++] = "-p";
        words[count++] = checked(talloc_asprintf(words, "%d", parts.port));
    }
    words[count++] = "--";
    words[count] = parts.host;
    return words;
}
