/* What the key files of the settings are: there or not, of which type, encrypted, with which public key. */
#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/base64.h"
#include "backends/ssh/config_internal.h"
#include "backends/ssh/packet.h"
#include "core/files.h"

#define FILE_LIMIT (64 * 1024)

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- names of files ---- */

/* ssh takes the home from the user's entry, not from $HOME. */
static char *home_folder(const void *context)
{
    struct passwd entry, *found = NULL;
    char room[4096];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found && found->pw_dir)
        return checked(talloc_strdup(context, found->pw_dir));
    return checked(talloc_strdup(context, "/"));
}

/* The value of %TOKEN as in ssh_config(5), or NULL. */
static char *token_value(const void *context, const struct ssh_settings *settings, char token)
{
    char name[256] = "";
    switch (token) {
    case '%':
        return talloc_strdup(context, "%");
    case 'd':
        return home_folder(context);
    case 'h':
        return talloc_strdup(context, settings->hostname);
    case 'i':
        return talloc_asprintf(context, "%u", (unsigned)getuid());
    case 'k':
        return talloc_strdup(context,
                             settings->host_key_alias ? settings->host_key_alias : settings->hostname);
    case 'L':
    case 'l':
        gethostname(name, sizeof name - 1);
        name[token == 'L' ? strcspn(name, ".") : strlen(name)] = '\0';
        return talloc_strdup(context, name);
    case 'n': {
        struct ssh_destination parts;
        return ssh_destination_parse(context, settings->destination, &parts, NULL)
                   ? talloc_strdup(context, parts.host)
                   : NULL;
    }
    case 'p':
        return talloc_asprintf(context, "%d", settings->port);
    case 'r':
        return talloc_strdup(context, settings->user ? settings->user : "");
    case 'u':
        return files_user(context);
    default:
        return NULL; /* %C and what is yet to come */
    }
}

/* "~", %TOKEN and ${VARIABLE} put in; NULL when one is not known. */
static char *expand_path(const void *context, const struct ssh_settings *settings, const char *path)
{
    void *scratch = checked(talloc_new(context));
    char *whole = checked(talloc_strdup(context, ""));
    if (path[0] == '~' && (path[1] == '/' || !path[1]))
        whole = checked(talloc_strdup_append(whole, home_folder(scratch)));
    path += *whole != '\0';
    while (whole && *path) {
        const char *value = NULL;
        size_t taken = 1;
        if (*path == '%') {
            value = token_value(scratch, settings, path[1]);
            taken = 2;
        } else if (path[0] == '$' && path[1] == '{' && strchr(path, '}')) {
            taken = (size_t)(strchr(path, '}') - path) + 1;
            value = getenv(checked(talloc_strndup(scratch, path + 2, taken - 3)));
        } else {
            value = checked(talloc_strndup(scratch, path, 1));
        }
        if (!value) {
            talloc_free(whole);
            whole = NULL;
            break;
        }
        whole = checked(talloc_strdup_append(whole, value));
        path += taken;
    }
    talloc_free(scratch);
    return whole;
}

static const char *shown_path(const void *context, const char *path)
{
    char *folder = home_folder(context);
    size_t length = strlen(folder);
    bool below = length > 1 && strncmp(path, folder, length) == 0 && path[length] == '/';
    const char *shown = below ? checked(talloc_asprintf(context, "~%s", path + length)) : path;
    talloc_free(folder);
    return shown;
}

/* ---- what they hold ---- */

static enum ssh_key_type type_of_name(const char *name, size_t length)
{
    static const struct {
        const char *beginning;
        enum ssh_key_type type;
    } names[] = {
        {"ssh-ed25519", SSH_KEY_ED25519}, {"ecdsa-sha2-", SSH_KEY_ECDSA}, {"ssh-rsa", SSH_KEY_RSA},
        {"rsa-sha2-", SSH_KEY_RSA},       {"ssh-dss", SSH_KEY_DSA},       {"sk-", SSH_KEY_HARDWARE},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (length >= strlen(names[i].beginning) &&
            memcmp(name, names[i].beginning, strlen(names[i].beginning)) == 0)
            return names[i].type;
    return SSH_KEY_UNKNOWN;
}

static void set_public(const void *context, struct ssh_identity *identity, const unsigned char *blob,
                       size_t length)
{
    struct packet_reader whole = {.at = blob, .left = length};
    size_t size;
    const unsigned char *name = packet_take_string(&whole, &size);
    if (whole.bad)
        return;
    identity->type = type_of_name((const char *)name, size);
    identity->public = checked(talloc_memdup(context, blob, length));
    identity->public_length = length;
}

/* PROTOCOL.key: "openssh-key-v1", cipher, kdf, options, number of keys, public key, private part. */
static void read_openssh(const void *context, struct ssh_identity *identity, const char *body)
{
    static const char magic[] = "openssh-key-v1";
    const char *end = strstr(body, "-----END");
    char *letters = checked(talloc_array(context, char, strlen(body) + 1));
    size_t count = 0, length = 0;
    for (const char *c = body; end && c < end; c++)
        if (!isspace((unsigned char)*c))
            letters[count++] = *c;
    unsigned char *decoded = base64_decode(letters, letters, count, &length);
    if (decoded && length > sizeof magic && memcmp(decoded, magic, sizeof magic) == 0) {
        struct packet_reader r = {.at = decoded + sizeof magic, .left = length - sizeof magic};
        size_t cipher_length, key_length, skipped;
        const unsigned char *cipher = packet_take_string(&r, &cipher_length);
        packet_take_string(&r, &skipped);
        packet_take_string(&r, &skipped);
        packet_take_number(&r);
        const unsigned char *key = packet_take_string(&r, &key_length);
        if (!r.bad) {
            identity->encrypted = cipher_length != 4 || memcmp(cipher, "none", 4) != 0;
            set_public(context, identity, key, key_length);
        }
    }
    talloc_free(letters);
}

/* "ssh-ed25519 AAAA... comment"; false when it is no public key. */
static bool read_public(const void *context, struct ssh_identity *identity, const char *text)
{
    size_t name = strcspn(text, " \t\r\n"), length = 0;
    const char *body = text + name + strspn(text + name, " \t");
    if (type_of_name(text, name) == SSH_KEY_UNKNOWN)
        return false;
    unsigned char *blob = base64_decode(context, body, strcspn(body, " \t\r\n"), &length);
    if (!blob)
        return false;
    set_public(context, identity, blob, length);
    talloc_free(blob);
    return true;
}

static void read_private(const void *context, struct ssh_identity *identity, const char *text)
{
    static const struct {
        const char *title;
        enum ssh_key_type type;
    } titles[] = {{"RSA PRIVATE KEY", SSH_KEY_RSA},
                  {"EC PRIVATE KEY", SSH_KEY_ECDSA},
                  {"DSA PRIVATE KEY", SSH_KEY_DSA}};
    const char *begin = strstr(text, "-----BEGIN ");
    const char *body = begin ? strchr(begin, '\n') : NULL;
    if (!body) {
        identity->public_only = read_public(context, identity, text);
        return;
    }
    begin += strlen("-----BEGIN ");
    if (strncmp(begin, "OPENSSH PRIVATE KEY", 19) == 0)
        read_openssh(context, identity, body);
    identity->encrypted = identity->encrypted || strncmp(begin, "ENCRYPTED ", 10) == 0 ||
                          strstr(body, "Proc-Type: 4,ENCRYPTED") != NULL;
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (strncmp(begin, titles[i].title, strlen(titles[i].title)) == 0)
            identity->type = titles[i].type;
}

/* False: neither the key nor its public part is there. */
static bool examine(const void *context, struct ssh_identity *identity)
{
    struct stat found;
    struct error error;
    char *public_file = checked(talloc_asprintf(context, "%s.pub", identity->path));
    bool there = stat(identity->path, &found) == 0 && S_ISREG(found.st_mode);
    char *text = there ? files_read(context, identity->path, FILE_LIMIT, NULL, &error) : NULL;
    if (text)
        read_private(context, identity, text);
    /* The key itself does not outlive the look at it. */
    if (text)
        explicit_bzero(text, strlen(text));
    talloc_free(text);
    identity->unreadable = there && !text;
    identity->too_open =
        there && !identity->public_only && found.st_uid == getuid() && (found.st_mode & 077) != 0;
    text = access(public_file, R_OK) == 0 ? files_read(context, public_file, FILE_LIMIT, NULL, &error) : NULL;
    if (text) {
        struct ssh_identity other = {0};
        identity->public_file = public_file;
        if (!identity->public && read_public(context, &other, text)) {
            identity->public = other.public;
            identity->public_length = other.public_length;
            identity->type = other.type;
            identity->public_only = !there;
        }
    }
    talloc_free(text);
    return there || identity->public;
}

static bool is_file(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

/* CertificateFile, and what stands beside the keys. */
static void examine_certificates(struct ssh_settings *settings)
{
    size_t room = settings->certificate_count + settings->identity_count, count = 0;
    const char **there = checked(talloc_zero_array(settings, const char *, room + 1));
    for (size_t i = 0; i < room; i++) {
        size_t key = i - settings->certificate_count;
        char *path = i < settings->certificate_count
                         ? expand_path(there, settings, settings->certificates[i])
                         : talloc_asprintf(there, "%s-cert.pub", settings->identities[key].path);
        if (path && is_file(path))
            there[count++] = path;
    }
    settings->certificates = there;
    settings->certificate_count = count;
}

/* $SSH_AUTH_SOCK unless IdentityAgent says otherwise: a path, "SSH_AUTH_SOCK", "$VARIABLE". */
static void examine_agent(struct ssh_settings *settings)
{
    const char *agent = settings->agent ? settings->agent : "SSH_AUTH_SOCK";
    if (settings->agent_off)
        agent = NULL;
    else if (strcmp(agent, "SSH_AUTH_SOCK") == 0)
        agent = getenv("SSH_AUTH_SOCK");
    else if (agent[0] == '$' && agent[1] != '{')
        agent = getenv(agent + 1);
    else
        agent = expand_path(settings, settings, agent);
    settings->agent = agent && *agent ? checked(talloc_strdup(settings, agent)) : NULL;
}

void ssh_settings_examine(struct ssh_settings *settings)
{
    struct ssh_identity *identities = (struct ssh_identity *)settings->identities;
    size_t kept = 0;
    for (size_t i = 0; i < settings->identity_count; i++) {
        struct ssh_identity identity = {.path = expand_path(settings, settings, identities[i].path)};
        bool twice = false;
        for (size_t j = 0; j < kept && identity.path && !twice; j++)
            twice = strcmp(identities[j].path, identity.path) == 0;
        if (!identity.path || twice || !examine(settings, &identity))
            continue;
        identity.shown = shown_path(settings, identity.path);
        identities[kept++] = identity;
    }
    settings->identity_count = kept;
    examine_certificates(settings);
    examine_agent(settings);
}
