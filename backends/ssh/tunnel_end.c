#include "backends/ssh/tunnel_end.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define BACKLOG 32
/* A folder without a lock may be just being made. */
#define YOUNG_S 60

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static bool fail(struct error *error, const char *what)
{
    return error_set(error, ERROR_SYSTEM, NULL, what, NULL, "%s", strerror(errno));
}

/* ---- what dead consoles left ---- */

static void remove_folder(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder && fd >= 0)
        close(fd);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    if (folder)
        closedir(folder);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* The lock is let go by the kernel when its holder dies, in whatever way. */
static bool is_stale(int parent, const char *name)
{
    struct stat info;
    if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode) ||
        info.st_uid != geteuid())
        return false;
    char *path = must(talloc_asprintf(NULL, "%s/" LOCK_NAME, name));
    int lock = openat(parent, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    talloc_free(path);
    if (lock < 0)
        return errno == ENOENT && time(NULL) - info.st_mtime > YOUNG_S;
    bool stale = flock(lock, LOCK_EX | LOCK_NB) == 0 && time(NULL) - info.st_mtime > 1;
    close(lock);
    return stale;
}

static void remove_stale(const char *base)
{
    int parent = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = parent >= 0 ? fdopendir(parent) : NULL;
    if (!folder && parent >= 0)
        close(parent);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] == 't' && entry->d_name[1] == '.' && is_stale(parent, entry->d_name))
            remove_folder(parent, entry->d_name);
    if (folder)
        closedir(folder);
}

/* ---- the socket ---- */

/* Ours alone: somebody else's folder of this name would let him put himself between. */
static bool is_private(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           !(info.st_mode & (S_IRWXG | S_IRWXO));
}

/* A fresh folder in the user's own below `parent`; NULL with errno. */
static char *make_folder(const void *context, const char *parent, const char *name)
{
    struct sockaddr_un room;
    char *base = must(talloc_asprintf(NULL, "%s/signalbox-%u", parent, (unsigned)geteuid()));
    char *folder = must(talloc_asprintf(context, "%s/t.XXXXXX", base));
    bool fits = strlen(folder) + 1 + strlen(name) < sizeof room.sun_path;
    bool made = false;
    errno = ENAMETOOLONG;
    /* Another console may take the empty base away in between. */
    for (int tries = 0; fits && !made && tries < 3; tries++) {
        if (mkdir(base, 0700) != 0 && errno != EEXIST)
            break;
        errno = EPERM;
        if (!is_private(base))
            break;
        remove_stale(base);
        made = mkdtemp(folder) != NULL;
    }
    talloc_free(base);
    if (!made)
        TALLOC_FREE(folder);
    return folder;
}

static bool lock_folder(struct tunnel_end *end)
{
    char *path = must(talloc_asprintf(NULL, "%s/" LOCK_NAME, end->folder));
    end->lock = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    talloc_free(path);
    return end->lock >= 0 && flock(end->lock, LOCK_EX | LOCK_NB) == 0;
}

bool tunnel_end_socket(const void *context, struct tunnel_end *end, const char *name, struct error *error)
{
    const char *parents[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    static const char what[] = "no folder for the socket of a tunnel";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *end = (struct tunnel_end){.listener = -1, .lock = -1};
    for (size_t i = 0; i < sizeof parents / sizeof *parents && !end->folder; i++)
        if (parents[i] && *parents[i] == '/')
            end->folder = make_folder(context, parents[i], name);
    if (!end->folder)
        return fail(error, what);
    end->path = must(talloc_asprintf(context, "%s/%s", end->folder, name));
    snprintf(address.sun_path, sizeof address.sun_path, "%s", end->path);
    end->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!lock_folder(end) || end->listener < 0 ||
        bind(end->listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(end->listener, BACKLOG) != 0) {
        fail(error, "no local end for a tunnel");
        tunnel_end_close(end);
        return false;
    }
    return true;
}

bool tunnel_end_loopback(struct tunnel_end *end, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    *end = (struct tunnel_end){.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                               .lock = -1};
    if (end->listener < 0 || bind(end->listener, (const struct sockaddr *)&address, length) != 0 ||
        listen(end->listener, BACKLOG) != 0 ||
        getsockname(end->listener, (struct sockaddr *)&address, &length) != 0) {
        fail(error, "no local end for a tunnel");
        tunnel_end_close(end);
        return false;
    }
    end->port = ntohs(address.sin_port);
    return true;
}

void tunnel_end_close(struct tunnel_end *end)
{
    if (end->listener >= 0)
        close(end->listener);
    if (end->folder) {
        remove_folder(AT_FDCWD, end->folder);
        *strrchr(end->folder, '/') = '\0';
        rmdir(end->folder); /* unless others use it */
    }
    if (end->lock >= 0)
        close(end->lock);
    TALLOC_FREE(end->folder);
    TALLOC_FREE(end->path);
    end->listener = end->lock = -1;
}

/* ---- whose connection it is ---- */

struct socket_line {
    unsigned long from, from_port, to, to_port, uid, inode;
};

/* "0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000 1000 0 4711 ...": addresses as
 * they lie in memory, the user behind the timers, then a timeout and the inode. */
static bool read_line(const char *line, struct socket_line *read)
{
    char *at = strchr(line, ':');
    if (!at)
        return false;
    read->from = strtoul(at + 1, &at, 16);
    read->from_port = *at == ':' ? strtoul(at + 1, &at, 16) : 0;
    read->to = strtoul(at, &at, 16);
    read->to_port = *at == ':' ? strtoul(at + 1, &at, 16) : 0;
    for (int word = 0; word < 4; word++) {
        at += strspn(at, " ");
        at += strcspn(at, " ");
    }
    char *end;
    read->uid = strtoul(at, &end, 10);
    if (end == at)
        return false;
    strtoul(end, &at, 10);
    read->inode = strtoul(at, &end, 10);
    return end != at;
}

bool tunnel_end_is_foreign(int fd)
{
    struct sockaddr_in local = {0}, remote = {0};
    socklen_t length = sizeof local;
    if (getsockname(fd, (struct sockaddr *)&local, &length) != 0)
        return true;
    length = sizeof remote;
    if (getpeername(fd, (struct sockaddr *)&remote, &length) != 0)
        return true;
    FILE *table = fopen("/proc/net/tcp", "re");
    char line[256];
    struct socket_line found;
    bool ours = false;
    /* The other end's line is this one's turned round. An end that its program has closed already has no
     * inode any more, and root's number whoever it was. */
    while (table && !ours && fgets(line, sizeof line, table))
        if (read_line(line, &found) && found.from == remote.sin_addr.s_addr &&
            found.to == local.sin_addr.s_addr && found.from_port == ntohs(remote.sin_port) &&
            found.to_port == ntohs(local.sin_port))
            ours = found.uid == geteuid() && found.inode;
    if (table)
        fclose(table);
    return !ours;
}
