/* One batch of records to the file, or one record to the journal. Knows no loop. */
#include <errno.h>
#include <fcntl.h>
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

#include "backends/audit_internal.h"
#include "core/clock.h"
#include "core/files.h"

#define ROOM_AHEAD (256 * 1024)
#define TAIL_FIRST (64 * 1024)

char *audit_folder(const void *context, const char *environment, const char *directory)
{
    char *folder =
        directory ? talloc_strdup(context, directory) : files_state_path(context, environment, NULL);
    if (!folder)
        abort();
    return folder;
}

static bool failed(struct error *error, const char *path, const char *what, int reason)
{
    return error_set(error, reason == EWOULDBLOCK ? ERROR_TIMEOUT : ERROR_SYSTEM, path, what, NULL, "%s",
                     reason == EWOULDBLOCK ? "another program holds its lock" : strerror(reason));
}

/* flock would wait for ever: a lock that is not given is asked for again until the deadline. */
static bool lock_until(int file, double until)
{
    while (flock(file, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        if (clock_monotonic() >= until) {
            errno = EWOULDBLOCK;
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
    return true;
}

static bool read_at(int file, char *bytes, size_t length, off_t from)
{
    while (length) {
        ssize_t got = pread(file, bytes, length, from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            return false;
        }
        bytes += got;
        from += got;
        length -= (size_t)got;
    }
    return true;
}

/* What the end of the file says: the last whole record, and the bytes behind it that are none. */
struct tail {
    struct audit_link last;
    char *torn; /* malloc'd, or NULL */
    size_t torn_length;
};

/* The newest record in text; false when there is none. *rest is where it ends. */
static bool find_last(const char *text, size_t length, struct audit_link *last, size_t *rest)
{
    size_t end = length;
    while (end > 0) {
        const char *newline = memrchr(text, '\n', end);
        if (!newline)
            return false;
        end = (size_t)(newline - text);
        const char *before = end ? memrchr(text, '\n', end) : NULL;
        const char *line = before ? before + 1 : text;
        *rest = end + 1;
        if (audit_link_read(line, (size_t)(newline - line), last))
            return true;
    }
    return false;
}

static bool read_tail(int file, off_t size, struct tail *tail)
{
    for (size_t take = TAIL_FIRST;; take *= 4) {
        size_t length = (off_t)take < size ? take : (size_t)size, rest = 0;
        char *text = malloc(length + 1);
        if (!text)
            abort();
        if (!read_at(file, text, length, size - (off_t)length)) {
            free(text);
            return false;
        }
        bool found = find_last(text, length, &tail->last, &rest);
        if (!found && length < (size_t)size) {
            free(text);
            continue;
        }
        rest = found ? rest : 0;
        if (rest < length) {
            tail->torn_length = length - rest;
            memmove(text, text + rest, tail->torn_length);
            tail->torn = text;
        } else {
            free(text);
        }
        return true;
    }
}

struct buffer {
    char *bytes;
    size_t length;
};

static void add(struct buffer *buffer, const char *text)
{
    size_t length = strlen(text);
    buffer->bytes = realloc(buffer->bytes, buffer->length + length + 1);
    if (!buffer->bytes)
        abort();
    memcpy(buffer->bytes + buffer->length, text, length + 1);
    buffer->length += length;
}

static void add_record(struct buffer *buffer, const char *body, struct audit_link *last)
{
    char *line = audit_line(body, last);
    add(buffer, line);
    free(line);
}

/* Ends an unfinished line and says so in the chain. Whole lines that are no records were not left by a crash:
 * recording goes on behind them, but audit_check never calls them sound. */
static void add_seal(struct buffer *buffer, const char *environment, struct tail *tail)
{
    char detail[160];
    bool torn = !memchr(tail->torn, '\n', tail->torn_length);
    audit_torn_detail(detail, sizeof detail, tail->torn, tail->torn_length);
    char *body =
        audit_body(environment, &(struct audit_entry){.event = torn ? "torn" : "damaged", .detail = detail});
    if (tail->torn[tail->torn_length - 1] != '\n')
        add(buffer, "\n");
    add_record(buffer, body, &tail->last);
    free(body);
}

/* One write; what was written in part is taken back, so that a full disk leaves no half record. */
static bool write_whole(int file, const struct buffer *buffer, off_t size)
{
    ssize_t written;
    do
        written = write(file, buffer->bytes, buffer->length);
    while (written < 0 && errno == EINTR);
    if (written == (ssize_t)buffer->length)
        return fdatasync(file) == 0;
    int reason = written < 0 ? errno : ENOSPC;
    if (written > 0 && ftruncate(file, size) != 0)
        reason = errno; /* stays as a torn line; the next record seals it */
    errno = reason;
    return false;
}

static bool append_locked(int file, const char *path, const char *environment, const char *const *bodies,
                          size_t count, struct error *error)
{
    struct stat found;
    struct tail tail = {0};
    struct buffer buffer = {0};
    if (fstat(file, &found) != 0 || !read_tail(file, found.st_size, &tail))
        return failed(error, path, "cannot read the audit log", errno);
    if (tail.torn)
        add_seal(&buffer, environment, &tail);
    for (size_t i = 0; i < count; i++)
        add_record(&buffer, bodies[i], &tail.last);
    /* Room for the records to come, while there is some; file systems that cannot say no, and that is all. */
    off_t end = found.st_size + (off_t)buffer.length;
    if ((off_t)found.st_blocks * 512 < end + ROOM_AHEAD / 4)
        (void)!fallocate(file, FALLOC_FL_KEEP_SIZE, found.st_size, (off_t)buffer.length + ROOM_AHEAD);
    bool good =
        write_whole(file, &buffer, found.st_size) || failed(error, path, "cannot write the audit log", errno);
    free(buffer.bytes);
    free(tail.torn);
    return good;
}

bool audit_append(const char *folder, const char *environment, const char *const *bodies, size_t count,
                  double until, struct error *error)
{
    if (!files_make_folder(folder, error))
        return false;
    char *path = talloc_asprintf(NULL, "%s/audit.jsonl", folder);
    if (!path)
        abort();
    bool good = false;
    int file = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat found;
    if (file < 0)
        failed(error, path, "cannot open the audit log", errno);
    else if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode))
        error_set(error, ERROR_SYSTEM, path, "cannot open the audit log", NULL, "it is not a regular file");
    else if (!lock_until(file, until))
        failed(error, path, "cannot lock the audit log", errno);
    else
        good = append_locked(file, path, environment, bodies, count, error);
    if (file >= 0)
        close(file);
    talloc_free(path);
    return good;
}

/* Both the journal's native protocol and syslog are one datagram a message. */
static bool send_datagram(const char *path, const char *text, size_t length)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(address.sun_path, path);
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file < 0)
        return false;
    ssize_t sent =
        sendto(file, text, length, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address);
    int reason = errno;
    close(file);
    errno = reason;
    return sent == (ssize_t)length;
}

bool audit_journal(const char *environment, int priority, const char *line, struct error *error)
{
    const char *path = getenv("SIGNALBOX_JOURNAL_SOCKET");
    bool chosen = path && *path;
    if (!chosen)
        path = "/run/systemd/journal/socket";
    char *name = talloc_strdup(NULL, environment);
    if (!name)
        abort();
    for (char *at = name; *at; at++)
        *at = (unsigned char)*at < 0x20 ? '_' : *at;
    /* A record is one line without control characters: it needs no length in front. */
    char *text = talloc_asprintf(name,
                                 "SYSLOG_IDENTIFIER=signalbox\nPRIORITY=%d\nSYSLOG_FACILITY=10\n"
                                 "SIGNALBOX_ENVIRONMENT=%s\nMESSAGE=%s\n",
                                 priority, name, line);
    bool good = text && send_datagram(path, text, strlen(text));
    int reason = errno;
    if (!good && !chosen) {
        text = talloc_asprintf(name, "<%d>signalbox[%ld]: %s", 10 * 8 + priority, (long)getpid(), line);
        good = text && send_datagram("/dev/log", text, strlen(text));
    }
    talloc_free(name);
    return good ||
           error_set(error, ERROR_SYSTEM, path, "cannot write to the journal", NULL, "%s", strerror(reason));
}
