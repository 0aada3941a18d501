/* The file that tells this user's other processes that an environment is unlocked. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/access.h"
#include "core/clock.h"
#include "core/files.h"

#define UNLOCK_S (30 * 60.0)

double access_unlock_seconds(void)
{
    const char *shorter = getenv("SIGNALBOX_TEST_UNLOCK_SECONDS");
    double seconds = shorter && *shorter ? strtod(shorter, NULL) : UNLOCK_S;
    return seconds > 0 && seconds < UNLOCK_S ? seconds : UNLOCK_S;
}

static bool write_text(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return false;
    ssize_t written = write(file, text, strlen(text));
    int reason = written == (ssize_t)strlen(text) ? 0 : written < 0 ? errno : ENOSPC;
    close(file);
    errno = reason;
    return reason == 0;
}

bool access_marker_write(const char *environment, double seconds, struct error *error)
{
    char *folder = files_state_path(NULL, environment, NULL);
    char *path = files_state_path(folder, environment, "unlocked");
    char *fresh = talloc_asprintf(folder, "%s.%ld", path, (long)getpid());
    char *user = files_user(folder);
    char *text = talloc_asprintf(folder, "%.3f %s\n", clock_wall() + seconds, user);
    bool good = files_make_folder(folder, error);
    if (good) {
        unlink(fresh);
        good = write_text(fresh, text) && rename(fresh, path) == 0;
        if (!good)
            error_set(error, ERROR_SYSTEM, path, "cannot write down that it is unlocked",
                      "Other commands will find it locked.", "%s", strerror(errno));
    }
    talloc_free(folder);
    return good;
}

bool access_marker_remove(const char *environment, struct error *error)
{
    char *path = files_state_path(NULL, environment, "unlocked");
    bool good = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR;
    if (!good)
        error_set(error, ERROR_SYSTEM, path, "cannot remove the unlock", "Remove this file by hand.", "%s",
                  strerror(errno));
    talloc_free(path);
    return good;
}

/* A marker that others could have written, or that says more than an unlock ever may, is none. */
double access_marker_left(const char *environment)
{
    char *path = files_state_path(NULL, environment, "unlocked");
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    talloc_free(path);
    if (file < 0)
        return 0;
    struct stat found;
    char text[64] = "";
    double left = 0;
    if (fstat(file, &found) == 0 && S_ISREG(found.st_mode) && found.st_uid == geteuid() &&
        (found.st_mode & 077) == 0 && read(file, text, sizeof text - 1) > 0)
        left = strtod(text, NULL) - clock_wall();
    close(file);
    return left > 0 && left <= UNLOCK_S + 1 ? left : 0;
}
