/* Where a master lives (a private folder with its control socket and its configuration) and how it is called.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/system_internal.h"

/* ssh binds to a name of its own making first: the path, a dot and 16 letters. */
#define SOCKET_PATH_MOST (sizeof((struct sockaddr_un *)0)->sun_path - 1 - 17)
#define ALIVE_S 5
#define ALIVE_COUNT 3
#define CONNECT_S 10

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- the folder ---- */

static bool make_folder(struct system_session *session, const char *base)
{
    char *folder = checked(talloc_asprintf(session, "%s/signalbox-XXXXXX", base));
    if (base[0] == '/' && strlen(folder) + strlen("/s") <= SOCKET_PATH_MOST && mkdtemp(folder)) {
        session->folder = folder;
        session->socket_path = checked(talloc_asprintf(session, "%s/s", folder));
        return true;
    }
    talloc_free(folder);
    return false;
}

/* A word in a configuration file. */
static bool is_quotable(const char *path)
{
    return !strpbrk(path, "\"\\*?[]{}\n\r");
}

static char *user_config(const void *context)
{
    struct passwd entry, *found = NULL;
    char room[4096];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) != 0 || !found || !found->pw_dir)
        return NULL;
    return checked(talloc_asprintf(context, "%s/.ssh/config", found->pw_dir));
}

/*
 * The first value that ssh reads for a keyword counts. In front of the user's own configuration stands what
 * must hold for the host and for every jump towards it, because ssh hands this file on to the jumps: nobody
 * is asked, no key is added.
 */
static char *make_config(const void *context, const char *config)
{
    char *text = checked(talloc_asprintf(context,
                                         "BatchMode yes\n"
                                         "StrictHostKeyChecking yes\n"
                                         "UpdateHostKeys no\n"
                                         "PermitLocalCommand no\n"
                                         "LogLevel INFO\n"
                                         "ServerAliveInterval %d\n"
                                         "ServerAliveCountMax %d\n",
                                         ALIVE_S, ALIVE_COUNT));
    char *own = config ? NULL : user_config(text);
    char *whole = config ? realpath(config, NULL) : NULL; /* what is included is not looked for here */
    const char *included[] = {whole ? whole : config ? config : own, config ? NULL : "/etc/ssh/ssh_config"};
    for (size_t i = 0; i < 2; i++)
        if (included[i])
            text = checked(talloc_asprintf_append_buffer(text, "Include \"%s\"\n", included[i]));
    free(whole);
    return checked(talloc_asprintf_append_buffer(text, "Match all\nConnectTimeout %d\n", CONNECT_S));
}

static bool write_config(const struct system_session *session, const char *path)
{
    const char *config = ssh_host_options(session->host)->config;
    char *text = make_config(NULL, config);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    bool written = file >= 0 && write(file, text, length) == (ssize_t)length;
    if (file >= 0)
        close(file);
    talloc_free(text);
    return written;
}

bool system_place_make(struct system_session *session, struct error *error)
{
    const char *bases[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    int reason = ENOENT;
    for (size_t i = 0; i < sizeof bases / sizeof *bases && !session->folder; i++)
        if (bases[i] && !make_folder(session, bases[i]))
            reason = errno;
    char *path = session->folder ? checked(talloc_asprintf(session, "%s/config", session->folder)) : NULL;
    if (path && write_config(session, path)) {
        talloc_free(path);
        return true;
    }
    if (path)
        reason = errno;
    return error_set(error, ERROR_SYSTEM, ssh_host_label(session->host), "cannot start ssh",
                     "Look at XDG_RUNTIME_DIR and /tmp.", "no place for its control socket: %s",
                     strerror(reason));
}

void system_place_remove(struct system_session *session)
{
    DIR *folder = session->folder ? opendir(session->folder) : NULL;
    if (folder) {
        for (struct dirent *entry; (entry = readdir(folder));)
            if (entry->d_name[0] != '.')
                unlinkat(dirfd(folder), entry->d_name, 0);
        closedir(folder);
    }
    if (session->folder)
        rmdir(session->folder);
    talloc_free(session->folder);
    session->folder = NULL;
}

/* ---- words ---- */

struct words {
    const char **list;
    size_t count;
};

static void add(struct words *words, const char *word)
{
    words->list = checked(talloc_realloc(NULL, words->list, const char *, words->count + 2));
    words->list[words->count++] = word;
    words->list[words->count] = NULL;
}

static void add_option(struct words *words, const char *option)
{
    add(words, "-o");
    add(words, option);
}

static void add_destination(struct words *words, const char *destination)
{
    const char **parts = ssh_destination_argv(words->list, destination, NULL);
    for (size_t i = 0; parts && parts[i]; i++)
        add(words, parts[i]);
}

static struct words begin(void)
{
    struct words words = {checked(talloc_array(NULL, const char *, 1)), 0};
    add(&words, "ssh");
    return words;
}

const char **system_master_argv(const void *context, const struct system_session *session,
                                const char *key_file)
{
    static const char *const options[] = {
        "ControlMaster=yes", "ControlPersist=no", "LogLevel=VERBOSE", "ClearAllForwardings=yes",
        "ForwardAgent=no",   "ForwardX11=no",     "Tunnel=no",        "RemoteCommand=none",
        "RequestTTY=no",     "VisualHostKey=no",  "EscapeChar=none",
    };
    const struct ssh_settings *settings = ssh_host_settings(session->host);
    const char *config = ssh_host_options(session->host)->config;
    struct words words = begin();
    add(&words, "-F");
    if (config && !is_quotable(config)) {
        /* A name that cannot be included: the options are given here, for the host alone. */
        static const char *const alone[] = {"BatchMode=yes",         "StrictHostKeyChecking=yes",
                                            "UpdateHostKeys=no",     "PermitLocalCommand=no",
                                            "ServerAliveInterval=5", "ServerAliveCountMax=3"};
        add(&words, config);
        for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
            add_option(&words, alone[i]);
    } else {
        add(&words, checked(talloc_asprintf(words.list, "%s/config", session->folder)));
    }
    add(&words, "-M");
    add(&words, "-N");
    add(&words, "-T");
    add(&words, "-S");
    add(&words, session->socket_path);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        add_option(&words, options[i]);
    if (settings->forks) /* older ones do not know the word */
        add_option(&words, "ForkAfterAuthentication=no");
    if (key_file)
        add_option(&words,
                   checked(talloc_asprintf(
                       words.list, "KnownHostsCommand=/bin/sh -c 'echo %%t %%K >\"$0\"' \"%s\"", key_file)));
    add_destination(&words, ssh_host_destination(session->host));
    return talloc_steal(context, words.list);
}
