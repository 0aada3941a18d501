/* The names in ssh_config files, for wildcards and for completing. What they mean is never read here: `ssh
 * -G` tells it. */
#include <glob.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>
#include <uthash.h>

#include "backends/environment_internal.h"

/* ssh itself stops at 16; a file that includes its own folder must not keep us. */
enum { DEPTH_MAX = 16, FILES_MAX = 256, NAMES_MAX = 20000, SIZE_MAX_BYTES = 1024 * 1024 };

struct seen {
    char *name;
    UT_hash_handle hh;
};

struct search {
    const void *context;
    bool patterns;
    char **names;
    size_t count;
    struct seen *seen;
    size_t files;
    const char *home; /* as ssh sees it: not $HOME */
};

static void add_name(struct search *search, const char *name)
{
    struct seen *seen;
    if (*name == '!' || (!search->patterns && strpbrk(name, "*?")) || search->count == NAMES_MAX)
        return;
    HASH_FIND_STR(search->seen, name, seen);
    if (seen)
        return;
    if (search->count == talloc_array_length(search->names))
        search->names =
            environment_must(talloc_realloc(search->context, search->names, char *, 2 * search->count + 16));
    seen = environment_must(talloc_zero(NULL, struct seen));
    seen->name = search->names[search->count++] = environment_must(talloc_strdup(search->names, name));
    HASH_ADD_KEYPTR(hh, search->seen, seen->name, strlen(seen->name), seen);
}

/* The next word of a line as ssh splits it: blanks (and one "=" behind the keyword), double quotes. NULL at
 * the end. Cuts the line up. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " \t\r");
    if (!*word || *word == '#')
        return NULL;
    char *end;
    if (*word == '"') {
        word++;
        end = word + strcspn(word, "\"");
    } else {
        end = word + strcspn(word, " \t\r=");
    }
    *at = *end ? end + 1 : end;
    if (*end == '=' || (*end && (*at)[strspn(*at, " \t")] == '='))
        *at += strspn(*at, " \t=");
    *end = '\0';
    return word;
}

static void read_config(struct search *search, const char *path, int depth);

static void follow_include(struct search *search, const char *pattern, int depth)
{
    glob_t found;
    char *full = *pattern == '/' || *pattern == '~'
                     ? environment_must(talloc_strdup(NULL, pattern))
                     : environment_must(talloc_asprintf(NULL, "%s/.ssh/%s", search->home, pattern));
    if (depth < DEPTH_MAX && glob(full, GLOB_TILDE, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            read_config(search, found.gl_pathv[i], depth + 1);
        globfree(&found);
    }
    talloc_free(full);
}

static void read_line(struct search *search, char *line, int depth)
{
    char *at = line, *word;
    const char *keyword = next_word(&at);
    bool host = keyword && strcasecmp(keyword, "host") == 0;
    bool include = keyword && strcasecmp(keyword, "include") == 0;
    while ((host || include) && (word = next_word(&at))) {
        if (host)
            add_name(search, word);
        else
            follow_include(search, word, depth);
    }
}

static void read_config(struct search *search, const char *path, int depth)
{
    size_t length;
    struct error error;
    if (search->files++ >= FILES_MAX)
        return;
    char *text = environment_read_file(NULL, path, SIZE_MAX_BYTES, &length, &error);
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        read_line(search, line, depth);
    talloc_free(text);
}

char **environment_ssh_config_names(const void *context, const char *path, bool patterns, size_t *count)
{
    struct passwd entry, *found = NULL;
    char room[4096];
    const char *home = getenv("HOME");
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found && found->pw_dir)
        home = found->pw_dir;
    struct search search = {.context = context, .patterns = patterns, .home = home ? home : "/"};
    search.names = environment_must(talloc_array(context, char *, 0));
    char *own = environment_must(talloc_asprintf(NULL, "%s/.ssh/config", search.home));
    read_config(&search, path ? path : own, 0);
    talloc_free(own);
    struct seen *seen, *next;
    HASH_ITER(hh, search.seen, seen, next)
    {
        HASH_DEL(search.seen, seen);
        talloc_free(seen);
    }
    *count = search.count;
    return search.names;
}
