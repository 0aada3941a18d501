/* Where our own files live (the XDG base directory specification), and how they are read and made. */
#include "core/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

static char *checked(char *text)
{
    if (!text)
        abort();
    return text;
}

/* The home of the user; $HOME first, as every other program does. */
static char *home(const void *context)
{
    const char *from_environment = getenv("HOME");
    if (from_environment && from_environment[0] == '/')
        return checked(talloc_strdup(context, from_environment));
    struct passwd entry, *found = NULL;
    char room[4096];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found && found->pw_dir[0] == '/')
        return checked(talloc_strdup(context, found->pw_dir));
    return checked(talloc_strdup(context, "/"));
}

/* The specification says that relative paths in these variables are ignored. */
static char *base_folder(const void *context, const char *variable, const char *below_home)
{
    const char *folder = getenv(variable);
    if (folder && folder[0] == '/')
        return checked(talloc_asprintf(context, "%s/signalbox", folder));
    char *user_home = home(context);
    char *path = checked(talloc_asprintf(context, "%s/%s/signalbox", user_home, below_home));
    talloc_free(user_home);
    return path;
}

char *files_config_path(const void *context, const char *name)
{
    char *folder = base_folder(context, "XDG_CONFIG_HOME", ".config");
    char *path = checked(talloc_asprintf(context, "%s/%s", folder, name));
    talloc_free(folder);
    return path;
}

char *files_state_path(const void *context, const char *environment, const char *name)
{
    char *folder = base_folder(context, "XDG_STATE_HOME", ".local/state");
    char *safe = checked(talloc_strdup(folder, *environment ? environment : "_"));
    for (char *at = safe; *at; at++)
        if (*at == '/' || (unsigned char)*at < 0x20 || *at == 0x7F)
            *at = '_';
    for (char *at = safe; *at == '.'; at++)
        *at = '_';
    char *path =
        checked(talloc_asprintf(context, "%s/%s%s%s", folder, safe, name ? "/" : "", name ? name : ""));
    talloc_free(folder);
    return path;
}

static bool make_one(const char *path, struct error *error)
{
    struct stat found;
    if (mkdir(path, 0700) == 0)
        return true;
    int reason = errno;
    if (stat(path, &found) == 0) {
        if (S_ISDIR(found.st_mode))
            return true;
        reason = ENOTDIR;
    }
    return error_set(error, ERROR_SYSTEM, path, "cannot make the folder", NULL, "%s", strerror(reason));
}

bool files_make_folder(const char *path, struct error *error)
{
    if (!*path)
        return error_set(error, ERROR_SYSTEM, NULL, "cannot make the folder", NULL, "its name is empty");
    char *part = checked(talloc_strdup(NULL, path));
    bool made = true;
    for (char *slash = part + 1; made && (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        made = make_one(part, error);
        *slash = '/';
    }
    made = made && make_one(part, error);
    talloc_free(part);
    return made;
}

/* Reads what is there; sizes of /proc and pipes are not known before. */
static char *read_all(const void *context, int file, size_t limit, size_t *length, int *reason)
{
    size_t room = 4096, used = 0;
    char *text = talloc_size(context, room);
    if (!text)
        abort();
    for (;;) {
        if (used + 1 >= room) {
            room *= 2;
            text = checked(talloc_realloc_size(context, text, room));
        }
        ssize_t got = read(file, text + used, room - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            break;
        used += got > 0 ? (size_t)got : 0;
        if (got < 0 || used > limit) {
            *reason = got < 0 ? errno : EFBIG;
            talloc_free(text);
            return NULL;
        }
    }
    text[used] = '\0';
    *length = used;
    return text;
}

char *files_read(const void *context, const char *path, size_t limit, size_t *length, struct error *error)
{
    size_t used = 0;
    int reason = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        error_set(error, ERROR_SYSTEM, path, "cannot open the file", NULL, "%s", strerror(errno));
        return NULL;
    }
    char *text = read_all(context, file, limit, &used, &reason);
    close(file);
    if (!text && reason == EFBIG)
        error_set(error, ERROR_SYSTEM, path, "cannot read the file", NULL, "it is larger than %zu bytes",
                  limit);
    else if (!text)
        error_set(error, ERROR_SYSTEM, path, "cannot read the file", NULL, "%s", strerror(reason));
    if (text && length)
        *length = used;
    return text;
}

char *files_user(const void *context)
{
    struct passwd entry, *found = NULL;
    char room[4096];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found && found->pw_name[0])
        return checked(talloc_strdup(context, found->pw_name));
    return checked(talloc_asprintf(context, "%u", (unsigned)getuid()));
}
