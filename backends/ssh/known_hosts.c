/* What is on file of one host: the store of files, and the verdict on a key. */
#include "backends/ssh/known_hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/ssh/known_file.h"
#include "core/files.h"

#define FILE_LIMIT (64 * 1024 * 1024)

struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

/* One file of the store. Readers hold a reference while they look at it without the lock. */
struct stored {
    char *path;
    bool there;
    struct stamp stamp;
    struct known_file *file; /* parentless */
    unsigned references;
};

struct known_hosts_store {
    pthread_mutex_t lock;
    unsigned references;
    struct stored **stored;
    size_t count;
};

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- the store ---- */

struct known_hosts_store *known_hosts_store_new(void)
{
    struct known_hosts_store *store = checked(calloc(1, sizeof *store));
    pthread_mutex_init(&store->lock, NULL);
    store->references = 1;
    return store;
}

struct known_hosts_store *known_hosts_store_hold(struct known_hosts_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->references++;
    pthread_mutex_unlock(&store->lock);
    return store;
}

/* With the lock held. */
static void stored_release(struct stored *stored)
{
    if (--stored->references)
        return;
    talloc_free(stored->file);
    free(stored->path);
    free(stored);
}

void known_hosts_store_release(struct known_hosts_store *store)
{
    if (!store)
        return;
    pthread_mutex_lock(&store->lock);
    bool last = --store->references == 0;
    pthread_mutex_unlock(&store->lock);
    if (!last)
        return;
    for (size_t i = 0; i < store->count; i++)
        stored_release(store->stored[i]);
    free(store->stored);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* True when there is a file to be read; the stamp tells whether it is another one than before. */
static bool look(const char *path, struct stamp *stamp, int *reason)
{
    struct stat found;
    *reason = 0;
    if (stat(path, &found) != 0) {
        *reason = errno == ENOTDIR ? ENOENT : errno;
        return false;
    }
    if (!S_ISREG(found.st_mode)) {
        *reason = S_ISCHR(found.st_mode) ? ENOENT : EINVAL; /* /dev/null is how people say "none" */
        return false;
    }
    *stamp = (struct stamp){found.st_dev, found.st_ino, found.st_size, found.st_mtim};
    return true;
}

static struct stored *read_file(const char *path)
{
    struct stored *stored = checked(calloc(1, sizeof *stored));
    int reason;
    size_t length = 0;
    stored->path = checked(strdup(path));
    stored->references = 1;
    stored->there = look(path, &stored->stamp, &reason);
    if (!stored->there) {
        stored->file = known_file_parse(NULL, path, "", 0);
        if (reason == EINVAL)
            known_file_set_problem(stored->file, "it is not a regular file");
        else if (reason != ENOENT)
            known_file_set_problem(stored->file, strerror(reason));
        return stored;
    }
    struct error error;
    char *text = files_read(NULL, path, FILE_LIMIT, &length, &error);
    stored->file = known_file_parse(NULL, path, text ? text : "", length);
    if (!text)
        known_file_set_problem(stored->file, error.why);
    talloc_free(text);
    return stored;
}

/* Unreadable and missing files are looked at anew every time: their rights may have changed. */
static bool is_current(const struct stored *stored)
{
    struct stamp stamp;
    int reason;
    return stored->there && look(stored->path, &stamp, &reason) && stamp.device == stored->stamp.device &&
           stamp.inode == stored->stamp.inode && stamp.size == stored->stamp.size &&
           stamp.changed.tv_sec == stored->stamp.changed.tv_sec &&
           stamp.changed.tv_nsec == stored->stamp.changed.tv_nsec && !known_file_unreadable(stored->file);
}

/* Others wait while one reads. */
static struct stored *store_take(struct known_hosts_store *store, const char *path)
{
    size_t place = 0;
    pthread_mutex_lock(&store->lock);
    while (place < store->count && strcmp(store->stored[place]->path, path) != 0)
        place++;
    if (place == store->count) {
        store->stored = checked(realloc(store->stored, (store->count + 1) * sizeof *store->stored));
        store->stored[store->count++] = read_file(path);
    } else if (!is_current(store->stored[place])) {
        stored_release(store->stored[place]);
        store->stored[place] = read_file(path);
    }
    struct stored *stored = store->stored[place];
    stored->references++;
    pthread_mutex_unlock(&store->lock);
    return stored;
}

static void store_give_back(struct known_hosts_store *store, struct stored *stored)
{
    pthread_mutex_lock(&store->lock);
    stored_release(stored);
    pthread_mutex_unlock(&store->lock);
}

/* ---- one host ---- */

char *known_hosts_name_of(const void *context, const struct ssh_settings *settings)
{
    const char *host = settings->host_key_alias ? settings->host_key_alias : settings->hostname;
    char *name = settings->host_key_alias || settings->port == 22
                     ? talloc_strdup(context, host)
                     : talloc_asprintf(context, "[%s]:%d", host, settings->port);
    checked(name);
    for (char *c = name; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    return name;
}

static struct known_hosts *known_new(const void *context, const char *name, const char *algorithms)
{
    struct known_hosts *known = checked(talloc_zero(context, struct known_hosts));
    known->name = checked(talloc_strdup(known, name));
    known->algorithms = checked(talloc_strdup(known, algorithms ? algorithms : ""));
    known->files = checked(talloc_strdup(known, ""));
    return known;
}

static void add_file(struct known_hosts *known, struct known_hosts_store *store, const char *path)
{
    struct stored *stored = store_take(store, path);
    known_file_match(stored->file, known);
    known->files =
        checked(talloc_asprintf_append_buffer(known->files, "%s%s", known->files[0] ? ", " : "", path));
    store_give_back(store, stored);
}

static struct known_hosts *load_name(const void *context, struct known_hosts_store *store,
                                     const struct ssh_settings *settings, const char *name)
{
    struct known_hosts *known = known_new(context, name, settings->host_key_algorithms);
    for (size_t i = 0; i < settings->user_known_host_count; i++)
        add_file(known, store, settings->user_known_hosts[i]);
    for (size_t i = 0; i < settings->global_known_host_count; i++)
        add_file(known, store, settings->global_known_hosts[i]);
    return known;
}

/* As OpenSSH: where nothing is known of [host]:port, a key that is on file for the host itself will do. */
struct known_hosts *known_hosts_load(const void *context, struct known_hosts_store *store,
                                     const struct ssh_settings *settings)
{
    char *name = known_hosts_name_of(NULL, settings);
    struct known_hosts *known = load_name(context, store, settings, name);
    char *bare = name[0] == '[' && !settings->host_key_alias && known->count == 0
                     ? talloc_strndup(name, name + 1, strcspn(name, "]") - 1)
                     : NULL;
    if (bare) {
        struct known_hosts *others = load_name(context, store, settings, bare);
        talloc_free(others->name);
        others->name = talloc_steal(others, name);
        others->portless = true;
        talloc_free(bare);
        talloc_free(known);
        return others;
    }
    talloc_free(name);
    return known;
}

struct known_hosts *known_file_look_up(const void *context, const struct known_file *file, const char *name,
                                       const char *algorithms)
{
    struct known_hosts *known = known_new(context, name, algorithms);
    known_file_match(file, known);
    return known;
}

const struct error *known_hosts_problems(const struct known_hosts *known, size_t *count)
{
    *count = known->problem_count;
    return known->problems;
}

bool known_hosts_has_authority(const struct known_hosts *known)
{
    for (size_t i = 0; i < known->count; i++)
        if (known->entries[i].marker == KNOWN_AUTHORITY)
            return true;
    return false;
}

/* The type of key that an algorithm signs with: rsa-sha2-512 and rsa-sha2-256 use ssh-rsa keys. */
static bool has_type(const struct known_hosts *known, const char *algorithm, size_t length)
{
    bool rsa = length == 12 && strncmp(algorithm, "rsa-sha2-", 9) == 0;
    for (size_t i = 0; i < known->count; i++) {
        const char *type = known->entries[i].type;
        if (known->entries[i].marker != KNOWN_PLAIN)
            continue;
        if (rsa ? strcmp(type, "ssh-rsa") == 0
                : strlen(type) == length && strncmp(type, algorithm, length) == 0)
            return true;
    }
    return false;
}

char *known_hosts_algorithms(const void *context, const struct known_hosts *known)
{
    static const char usual[] = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"
                                "sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,"
                                "rsa-sha2-256,ssh-rsa,ssh-dss";
    const char *lists[] = {known->algorithms, usual};
    if (known->portless)
        return NULL;
    char *chosen = checked(talloc_strdup(context, ""));
    /* First what ssh_config allows; what it leaves out (ssh-rsa) comes last, for libssh2 knows no other. */
    for (size_t i = 0; i < 2; i++)
        for (const char *at = lists[i]; *at;) {
            size_t length = strcspn(at, ",");
            char *wrapped = checked(talloc_asprintf(NULL, ",%.*s,", (int)length, at));
            char *so_far = checked(talloc_asprintf(wrapped, ",%s,", chosen));
            if (length && has_type(known, at, length) && !strstr(so_far, wrapped))
                chosen = checked(
                    talloc_asprintf_append_buffer(chosen, "%s%.*s", *chosen ? "," : "", (int)length, at));
            talloc_free(wrapped);
            at += length + (at[length] == ',');
        }
    if (*chosen)
        return chosen;
    talloc_free(chosen);
    return NULL;
}

/* ---- the verdict ---- */

static bool same_key(const struct known_entry *entry, const unsigned char *key, size_t length)
{
    return entry->length == length && memcmp(entry->blob, key, length) == 0;
}

/* The entry that decides. As OpenSSH: any other key on file means that the key has changed. */
static enum known_verdict decide(const struct known_hosts *known, const unsigned char *key, size_t length,
                                 const struct known_entry **found)
{
    const struct known_entry *same = NULL, *other = NULL, *authority = NULL;
    *found = NULL;
    for (size_t i = 0; i < known->count; i++) {
        const struct known_entry *entry = &known->entries[i];
        if (entry->marker == KNOWN_REVOKED_KEY && same_key(entry, key, length)) {
            *found = entry;
            return KNOWN_REVOKED;
        }
        if (entry->marker == KNOWN_AUTHORITY)
            authority = authority ? authority : entry;
        else if (entry->marker == KNOWN_PLAIN && same_key(entry, key, length))
            same = same ? same : entry;
        else if (entry->marker == KNOWN_PLAIN)
            other = other ? other : entry;
    }
    if (known->portless && !same)
        return KNOWN_UNKNOWN;
    *found = same ? same : other ? other : authority;
    return same ? KNOWN_OK : other ? KNOWN_CHANGED : authority ? KNOWN_AUTHORITY_ONLY : KNOWN_UNKNOWN;
}

static void explain_changed(const struct known_hosts *known, const char *where,
                            const struct known_entry *entry, const char *shown, struct error *error)
{
    void *scratch = checked(talloc_new(NULL));
    char *todo = checked(talloc_asprintf(
        scratch, "Find out why. Only if the server was really set up anew: ssh-keygen -f \"%s\" -R \"%s\"",
        entry->path, known->name));
    error_set(error, ERROR_AUTH, where, "the server's key has changed", todo,
              "it shows %s, but %s:%d has %s %s: another machine may be answering in its place", shown,
              entry->path, entry->line, ssh_key_short_name(entry->type),
              ssh_key_fingerprint(scratch, entry->blob, entry->length));
    talloc_free(scratch);
}

static char *shown_key(const void *context, const unsigned char *key, size_t length)
{
    char *type = ssh_key_type_name(context, key, length);
    return checked(talloc_asprintf(context, "%s %s", ssh_key_short_name(type ? type : "unknown"),
                                   ssh_key_fingerprint(context, key, length)));
}

static void explain_unknown(const char *name, const char *files, const char *where, const char *shown,
                            struct error *error)
{
    error_set(error, ERROR_AUTH, where, "the server's key is not known",
              "Compare the fingerprint with what ssh-keygen -l says on the server, then add the key.",
              "%s of %s stands in none of %s", shown, name,
              files[0] ? files : "the known_hosts files, for there are none");
}

void known_hosts_explain_unknown(const struct ssh_settings *settings, const char *where,
                                 const unsigned char *key, size_t length, struct error *error)
{
    void *scratch = checked(talloc_new(NULL));
    char *files = checked(talloc_strdup(scratch, ""));
    for (size_t i = 0; i < settings->user_known_host_count + settings->global_known_host_count; i++)
        files = checked(talloc_asprintf_append_buffer(
            files, "%s%s", *files ? ", " : "",
            i < settings->user_known_host_count
                ? settings->user_known_hosts[i]
                : settings->global_known_hosts[i - settings->user_known_host_count]));
    explain_unknown(known_hosts_name_of(scratch, settings), files, where, shown_key(scratch, key, length),
                    error);
    talloc_free(scratch);
}

/* The line that would have named the key may be one of those. */
static void add_skipped(const struct known_hosts *known, struct error *error)
{
    if (!error || !known->problem_count)
        return;
    const struct error *first = &known->problems[0];
    size_t length = strlen(error->why), more = known->problem_count - 1;
    char others[32] = "";
    if (more)
        snprintf(others, sizeof others, ", and %zu more", more);
    snprintf(error->why + length, sizeof error->why - length, "; %s: %s, %s%s", first->where, first->what,
             first->why, others);
}

enum known_verdict known_hosts_check(const struct known_hosts *known, const char *where,
                                     const unsigned char *key, size_t length, struct error *error)
{
    const struct known_entry *entry;
    enum known_verdict verdict = decide(known, key, length, &entry);
    void *scratch = checked(talloc_new(NULL));
    char *shown = shown_key(scratch, key, length);
    if (verdict == KNOWN_UNKNOWN) {
        explain_unknown(known->name, known->files, where, shown, error);
        add_skipped(known, error);
    } else if (verdict == KNOWN_CHANGED)
        explain_changed(known, where, entry, shown, error);
    else if (verdict == KNOWN_REVOKED)
        error_set(error, ERROR_AUTH, where, "the server's key is revoked",
                  "Do not connect: the key may be in somebody else's hands. Give the server a new one.",
                  "%s:%d revokes %s", entry->path, entry->line, shown);
    else if (verdict == KNOWN_AUTHORITY_ONLY)
        error_set(error, ERROR_AUTH, where, "the server's key is not known",
                  "Let the server show its certificate (HostCertificate in sshd_config).",
                  "%s:%d names an authority, but the server shows a key without a certificate: %s",
                  entry->path, entry->line, shown);
    talloc_free(scratch);
    return verdict;
}
