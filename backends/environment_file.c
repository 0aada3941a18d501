/* Where environment files are found, and which of them are trusted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/environment_internal.h"
#include "backends/yaml.h"
#include "core/files.h"
#include "core/suggest.h"

#define SYSTEM_FOLDER "/etc/signalbox"

/* The two folders that are searched, in this order. */
static void find_folders(const void *context, const char *folders[2])
{
    char *path = files_config_path(context, "x");
    *strrchr(path, '/') = '\0';
    folders[0] = path;
    folders[1] = SYSTEM_FOLDER;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **environment_names(const void *context, size_t *count)
{
    char **names = environment_must(talloc_array(context, char *, 0));
    const char *folders[2];
    *count = 0;
    find_folders(names, folders);
    for (size_t i = 0; i < 2; i++) {
        DIR *folder = opendir(folders[i]);
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            const char *dot = strrchr(entry->d_name, '.');
            if (!dot || dot == entry->d_name || entry->d_name[0] == '.' || strcmp(dot, ".yaml") != 0)
                continue;
            names = environment_must(talloc_realloc(context, names, char *, *count + 1));
            names[(*count)++] =
                environment_must(talloc_strndup(names, entry->d_name, (size_t)(dot - entry->d_name)));
        }
        if (folder)
            closedir(folder);
    }
    if (*count)
        qsort(names, *count, sizeof *names, compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (!kept || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    *count = kept;
    return names;
}

/* "a, b, c" */
static char *join_names(const void *context, char *const *names, size_t count)
{
    char *text = environment_must(talloc_strdup(context, ""));
    for (size_t i = 0; i < count; i++)
        text = environment_must(talloc_asprintf_append(text, "%s%s", i ? ", " : "", names[i]));
    return text;
}

char *environment_choose(const void *context, struct error_list *errors)
{
    size_t count;
    /* The variables are more deliberate than a file that happens to be there. */
    if (environment_pg_variables_set())
        return NULL;
    char **names = environment_names(NULL, &count);
    char *chosen = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], "default") == 0)
            chosen = environment_must(talloc_strdup(context, names[i]));
    if (!chosen && count == 1)
        chosen = environment_must(talloc_strdup(context, names[0]));
    if (!chosen && count > 1)
        error_list_set(errors, ERROR_USAGE, NULL, "which environment?",
                       "Name one with -e NAME, or call one default.yaml", "there are %zu: %s", count,
                       join_names(names, names, count));
    talloc_free(names);
    return chosen;
}

/* Who can put another file in its place can write it: the folders of the path and of what it links to. */
static void check_folder(const char *path, const char *told_path, struct error_list *errors)
{
    char *folder = environment_must(talloc_strdup(NULL, path));
    char *slash = strrchr(folder, '/');
    const char *name = !slash ? "." : slash == folder ? "/" : folder;
    if (slash)
        *slash = '\0';
    struct stat info;
    /* In a sticky folder (/tmp) others cannot replace a file that is not theirs. */
    if (stat(*name ? name : "/", &info) == 0 && (info.st_mode & S_IWOTH) && !(info.st_mode & S_ISVTX)) {
        char *todo = environment_must(talloc_asprintf(folder, "chmod o-w '%s'", name));
        error_list_at(errors, told_path, 0, 0, "refused", todo,
                      "everybody can write its folder %s (mode %04o)", name, info.st_mode & 07777);
    }
    talloc_free(folder);
}

static void check_trust(const char *path, const struct stat *info, struct error_list *errors)
{
    char *todo = NULL;
    if (info->st_mode & (S_IWGRP | S_IWOTH)) {
        todo = environment_must(talloc_asprintf(NULL, "chmod go-w '%s'", path));
        error_list_at(errors, path, 0, 0, "refused", todo, "others than its owner can write it (mode %04o)",
                      info->st_mode & 07777);
    }
    if (info->st_uid != geteuid() && info->st_uid != 0) {
        talloc_free(todo);
        todo = environment_must(talloc_asprintf(NULL, "chown %u '%s'", (unsigned)geteuid(), path));
        error_list_at(errors, path, 0, 0, "refused", todo, "it belongs to another user (uid %u)",
                      (unsigned)info->st_uid);
    }
    talloc_free(todo);
    char *real = realpath(path, NULL);
    check_folder(path, path, errors);
    const char *slash = strrchr(path, '/');
    const char *real_slash = real ? strrchr(real, '/') : NULL;
    if (real_slash && slash &&
        (slash - path != real_slash - real || strncmp(path, real, (size_t)(slash - path)) != 0))
        check_folder(real, path, errors);
    free(real);
}

/* Reads it all; what is checked is the very file that is read. */
static char *read_trusted(const void *context, const char *path, size_t *length, struct error_list *errors)
{
    /* A FIFO must not keep us waiting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        error_list_at(errors, path, 0, 0, "cannot read it", NULL, "%s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        error_list_at(errors, path, 0, 0, "cannot read it", "Name a YAML file", "it is not a file");
        close(fd);
        return NULL;
    }
    check_trust(path, &info, errors);
    /* One byte more than is allowed, so that yaml_parse can tell. */
    char *text = environment_must(talloc_size(context, YAML_SIZE_MAX + 1));
    *length = 0;
    for (ssize_t got; *length <= YAML_SIZE_MAX; *length += (size_t)got) {
        got = read(fd, text + *length, YAML_SIZE_MAX + 1 - *length);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got < 0) {
            error_list_at(errors, path, 0, 0, "cannot read it", NULL, "%s", strerror(errno));
            talloc_free(text);
            text = NULL;
            break;
        } else if (got == 0)
            break;
    }
    close(fd);
    return text;
}

static bool complain_missing(const void *scratch, const char *name, const char *const folders[2],
                             struct error_list *errors)
{
    size_t count;
    char **names = environment_names(scratch, &count);
    const char *near = suggest_word(name, (const char *const *)names, count);
    const char *dot = strrchr(name, '.');
    char *todo;
    if (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        todo = talloc_asprintf(scratch, "A file is named with its folder: ./%s", name);
    else if (near)
        todo = talloc_asprintf(scratch, "Did you mean %s?", near);
    else if (count)
        todo = talloc_asprintf(scratch, "There are: %s", join_names(scratch, names, count));
    else
        todo = talloc_asprintf(scratch, "Write %s/%s.yaml, or name a server: signalbox postgresql://...",
                               folders[0], name);
    return error_list_set(errors, ERROR_CONFIG, name, "no such environment", environment_must(todo),
                          "neither %s/%s.yaml nor %s/%s.yaml exists", folders[0], name, folders[1], name);
}

/* The path of the file, or NULL. */
static char *find_file(const void *scratch, const char *name_or_path, struct error_list *errors)
{
    if (strchr(name_or_path, '/'))
        return environment_must(talloc_strdup(scratch, name_or_path));
    if (!*name_or_path || *name_or_path == '.') {
        error_list_set(errors, ERROR_USAGE, NULL, "no such environment", "Write -e NAME or -e ./FILE.yaml",
                       "\"%s\" is not a name", name_or_path);
        return NULL;
    }
    const char *folders[2];
    find_folders(scratch, folders);
    for (size_t i = 0; i < 2; i++) {
        char *path = environment_must(talloc_asprintf(scratch, "%s/%s.yaml", folders[i], name_or_path));
        struct stat info;
        if (lstat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return path;
    }
    complain_missing(scratch, name_or_path, folders, errors);
    return NULL;
}

struct environment *environment_load(const void *context, const char *name_or_path, struct error_list *errors)
{
    void *scratch = environment_must(talloc_new(NULL));
    struct environment *environment = NULL;
    size_t before = errors->count, length = 0;
    const char *path = find_file(scratch, name_or_path, errors);
    char *text = path ? read_trusted(scratch, path, &length, errors) : NULL;
    if (text)
        environment = environment_parse(context, path, text, length, errors);
    if (errors->count > before)
        TALLOC_FREE(environment);
    talloc_free(scratch);
    return environment;
}
