/* The change that adds a server's key to known_hosts, and the writing of it. */
#include "backends/ssh/host_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <talloc.h>
#include <time.h>
#include <unistd.h>

#include "backends/ssh/config.h"
#include "backends/ssh/known_hosts.h"
#include "backends/ssh/transport.h"
#include "core/files.h"

#define FILE_LIMIT (64 * 1024 * 1024)
#define LOCK_TRIES 40 /* of 50 ms */

/* Parentless: a worker has it in between. */
struct append_job {
    struct change *change;
    struct change_step *step;
    struct ssh_host *host;
    char *path, *line, *name;
    unsigned char *key;
    size_t length;
    struct error error;
    bool done;
};

struct key_change {
    struct ssh_host *host;
    const char *path, *line, *name;
    unsigned char *key;
    size_t length;
};

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- writing ---- */

static bool lock(int file)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(file, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        nanosleep(&pause, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

static bool write_all(int file, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(file, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        text += written;
        length -= (size_t)written;
    }
    return true;
}

/* The name of a new file is on the disk when its folder is. */
static void sync_folder(const char *path)
{
    char *folder = checked(talloc_strdup(NULL, path)), *slash = strrchr(folder, '/');
    if (slash) {
        *slash = '\0';
        int file = open(*folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file >= 0) {
            fsync(file);
            close(file);
        }
    }
    talloc_free(folder);
}

static bool make_folder_of(const char *path, struct error *error)
{
    char *folder = checked(talloc_strdup(NULL, path)), *slash = strrchr(folder, '/');
    bool made = true;
    if (slash && slash > folder) {
        *slash = '\0';
        made = files_make_folder(folder, error);
    }
    talloc_free(folder);
    return made;
}

/* With the lock held: what stands in the file now. */
static enum known_verdict look(const char *path, const char *name, const unsigned char *key, size_t length,
                               bool *ends_in_line, struct error *error)
{
    size_t size = 0;
    enum known_verdict verdict = KNOWN_UNKNOWN;
    char *text = files_read(NULL, path, FILE_LIMIT, &size, error);
    *ends_in_line = true;
    if (!text)
        return KNOWN_CHANGED;
    struct known_file *file = known_file_parse(text, path, text, size);
    verdict = known_hosts_check(known_file_look_up(text, file, name, ""), path, key, length, error);
    *ends_in_line = size == 0 || text[size - 1] == '\n';
    talloc_free(text);
    return verdict;
}

static bool append(int file, const char *path, const char *line, bool ends_in_line, struct error *error)
{
    char *text = checked(talloc_asprintf(NULL, "%s%s\n", ends_in_line ? "" : "\n", line));
    off_t before = lseek(file, 0, SEEK_END);
    bool written = write_all(file, text, strlen(text)) && fsync(file) == 0;
    int reason = errno;
    talloc_free(text);
    if (written)
        return true;
    if (before >= 0 && ftruncate(file, before) != 0)
        reason = errno;
    return error_set(error, ERROR_SYSTEM, path, "cannot add the key", NULL, "%s", strerror(reason));
}

bool known_hosts_append(const char *path, const char *line, const char *name, const unsigned char *key,
                        size_t length, struct error *error)
{
    struct stat found;
    bool ends_in_line, good, fresh = stat(path, &found) != 0;
    if (!make_folder_of(path, error))
        return false;
    int file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (file < 0 || fstat(file, &found) != 0 || !S_ISREG(found.st_mode) || !lock(file)) {
        int reason = errno;
        if (file >= 0)
            close(file);
        return error_set(error, ERROR_SYSTEM, path, "cannot add the key", NULL, "%s",
                         reason == EWOULDBLOCK ? "another program holds its lock" : strerror(reason));
    }
    switch (look(path, name, key, length, &ends_in_line, error)) {
    case KNOWN_OK:
        good = true;
        break;
    case KNOWN_UNKNOWN:
    case KNOWN_AUTHORITY_ONLY:
        error_clear(error);
        good = append(file, path, line, ends_in_line, error);
        break;
    default:
        good = false; /* the error is known_hosts_check's */
        break;
    }
    close(file); /* and the lock is gone */
    if (good && fresh)
        sync_folder(path);
    return good;
}

/* ---- the step ---- */

static void append_work(void *data)
{
    struct append_job *job = data;
    job->done = known_hosts_append(job->path, job->line, job->name, job->key, job->length, &job->error);
}

static void append_done(void *data)
{
    struct append_job *job = data;
    if (job->done)
        ssh_host_retry(job->host);
    change_step_done(job->change, job->step, job->done ? STEP_DONE : STEP_FAILED,
                     job->done ? NULL : &job->error);
    talloc_free(job);
}

static void append_drop(void *data)
{
    talloc_free(data);
}

static void send_step(struct change *change, struct change_step *step)
{
    struct key_change *own = change->data;
    struct append_job *job = checked(talloc_zero(NULL, struct append_job));
    job->change = change;
    job->step = step;
    job->host = own->host;
    job->path = checked(talloc_strdup(job, own->path));
    job->line = checked(talloc_strdup(job, own->line));
    job->name = checked(talloc_strdup(job, own->name));
    job->key = checked(talloc_memdup(job, own->key, own->length));
    job->length = own->length;
    loop_work_or_drop(ssh_host_loop(own->host), WORK_FILE, append_work, append_done, append_drop, job);
}

/* The server may have shown another key since, or be known. */
static bool still_there(struct change *change, struct error *error)
{
    struct key_change *own = change->data;
    size_t length = 0;
    const unsigned char *key = ssh_host_unknown_blob(own->host, &length);
    if (key && length == own->length && memcmp(key, own->key, length) == 0)
        return true;
    return error_set(error, ERROR_GONE, change->server, change->title, "Look at the host again.",
                     "the server no longer shows this key as an unknown one");
}

/* ---- making the change ---- */

static void describe(struct change *change, const struct key_change *own, const struct ssh_settings *settings)
{
    char *type = checked(ssh_key_type_name(change, own->key, own->length));
    char *fingerprint = ssh_key_fingerprint(change, own->key, own->length);
    const char *short_name = ssh_key_short_name(type);
    const char *host = ssh_host_name(own->host);
    char *quoted = checked(ssh_quote(change, own->path));
    struct change_step *step = change->steps;
    change->hazard = HAZARD_CHANGE;
    change->reach = REACH_NAME;
    change->verb = "add-key";
    change->past = "added the key of";
    change->environment = ssh_host_options(own->host)->environment
                              ? checked(talloc_strdup(change, ssh_host_options(own->host)->environment))
                              : NULL;
    change->server = checked(talloc_strdup(change, host));
    change->role = files_user(change);
    change->title = checked(talloc_asprintf(change, "Add the key of %s to %s", host, own->path));
    change->confirm = change->server;
    change->confirm_prompt = "the name of the host";
    change->effect = checked(talloc_asprintf(
        change,
        "%s (%s:%d) is trusted from now on when it shows this key:\n%s %s\nCompare it on the server first, "
        "over another way: ssh-keygen -l -f /etc/ssh/ssh_host_%s_key.pub",
        host, settings->hostname, settings->port, short_name, fingerprint,
        strcmp(short_name, "ED25519") == 0 ? "ed25519"
        : strcmp(short_name, "ECDSA") == 0 ? "ecdsa"
        : strcmp(short_name, "RSA") == 0   ? "rsa"
                                           : "*"));
    step->name = change->server;
    step->target = own->name;
    step->subject = checked(talloc_asprintf(change, "%s %s", short_name, fingerprint));
    step->command = checked(talloc_asprintf(change, "echo '%s' >> %s", own->line, quoted));
    step->undo =
        checked(talloc_asprintf(change, "ssh-keygen -f %s -R %s", quoted, ssh_quote(change, own->name)));
    step->send = send_step;
}

static bool refuse(const struct ssh_host *host, struct error *error)
{
    const struct error *why = ssh_host_error(host);
    if (why->kind)
        return error_set(error, ERROR_INTERLOCK, ssh_host_label(host), "no key can be added", why->todo,
                         "%s: %s", why->what, why->why);
    return error_set(error, ERROR_INTERLOCK, ssh_host_label(host), "no key can be added", NULL,
                     "the server has shown no key that is not known");
}

struct change *ssh_host_add_key(struct ssh_host *host, struct error *error)
{
    const struct ssh_settings *settings = ssh_host_settings(host);
    size_t length = 0;
    const unsigned char *key = ssh_host_unknown_blob(host, &length);
    if (!key || !settings) {
        refuse(host, error);
        return NULL;
    }
    if (!settings->user_known_host_count) {
        error_set(error, ERROR_CONFIG, ssh_host_label(host), "no key can be added", NULL,
                  "ssh_config names no UserKnownHostsFile");
        return NULL;
    }
    struct change *change = change_new();
    struct key_change *own = checked(talloc_zero(change, struct key_change));
    own->host = host;
    own->path = checked(talloc_strdup(own, settings->user_known_hosts[0]));
    own->name = known_hosts_name_of(own, settings);
    own->key = checked(talloc_memdup(own, key, length));
    own->length = length;
    own->line = known_hosts_line(own, own->name, settings->hash_known_hosts, key, length);
    if (!own->line) {
        error_set(error, ERROR_UNSUPPORTED, ssh_host_label(host), "no key can be added", NULL,
                  "%s cannot stand in a known_hosts file", own->name);
        talloc_free(change);
        return NULL;
    }
    change->data = own;
    change->still_there = still_there;
    change->step_count = 1;
    change->steps = checked(talloc_zero_array(change, struct change_step, 1));
    describe(change, own, settings);
    return change;
}
