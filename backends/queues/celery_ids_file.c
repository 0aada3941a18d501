/* The ids of the jobs of a change: in memory while there are few, in a file of the state folder when there
 * are many, written by a worker. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/queues/celery_acts_internal.h"
#include "core/files.h"
#include "core/text.h"
#include "core/units.h"

enum { SHOWN = 20, FIRST = 3, BLOCK = 256 * 1024, ID_MAX = 256 };

/* The file as the worker knows it; lives until the last block is written. Counted on the loop's thread. */
struct sink {
    struct celery_id_list *owner; /* NULL: nobody waits any more */
    char *path;
    int references;
    struct error error;
};

struct celery_id_list {
    struct loop *loop;
    struct sink *sink;
    char *block, *text, *first; /* first: of many, the first ids */
    size_t length, count, blocks;
    EVP_MD_CTX *digest;
    bool kept;
    void (*done)(void *data, const struct error *error);
    void *data;
};

/* A block on its way to the file; the worker's. */
struct block {
    struct sink *sink;
    char *bytes; /* NULL: the file is removed */
    size_t length;
    bool first, last;
    struct error error;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    size_t written = 0;
    while (written < length) {
        ssize_t more = write(fd, bytes + written, length - written);
        if (more < 0 && errno != EINTR)
            return false;
        written += more > 0 ? (size_t)more : 0;
    }
    return true;
}

static void work(void *data)
{
    struct block *block = data;
    const char *path = block->sink->path;
    if (!block->bytes) {
        unlink(path);
        return;
    }
    char *folder = there(strndup(path, (size_t)(strrchr(path, '/') - path)));
    bool made = files_make_folder(folder, &block->error);
    free(folder);
    if (!made)
        return;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | (block->first ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0 || !write_all(fd, block->bytes, block->length) || (block->last && fsync(fd) != 0))
        error_set(&block->error, ERROR_SYSTEM, path, "the list of the jobs cannot be written",
                  "Make room for it, or correct the state folder.", "%s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void release(struct sink *sink)
{
    if (--sink->references > 0)
        return;
    free(sink->path);
    free(sink);
}

static void drop(void *data)
{
    struct block *block = data;
    release(block->sink);
    free(block->bytes);
    free(block);
}

static void worked(void *data)
{
    struct block *block = data;
    struct sink *sink = block->sink;
    struct celery_id_list *list = sink->owner;
    if (sink->error.kind == ERROR_NONE)
        sink->error = block->error;
    if (list && block->last)
        list->done(list->data, sink->error.kind != ERROR_NONE ? &sink->error : NULL);
    drop(block);
}

static void hand_over(struct celery_id_list *list, bool last, bool remove)
{
    struct block *block = there(calloc(1, sizeof *block));
    block->sink = list->sink;
    block->sink->references++;
    block->first = list->blocks++ == 0;
    block->last = last;
    if (!remove) {
        block->bytes = there(malloc(list->length + 1));
        memcpy(block->bytes, list->block, list->length);
        block->length = list->length;
        list->length = 0;
    }
    loop_work_or_drop(list->loop, WORK_FILE, work, worked, drop, block);
}

static int list_destroy(struct celery_id_list *list)
{
    list->sink->owner = NULL;
    /* Now, because the program may end; and again behind what is still on its way to the file. */
    if (list->blocks && !list->kept) {
        unlink(list->sink->path);
        hand_over(list, false, true);
    }
    release(list->sink);
    EVP_MD_CTX_free(list->digest);
    return 0;
}

struct celery_id_list *celery_id_list_new(const void *context, struct loop *loop, const char *environment,
                                          const char *stamp)
{
    struct celery_id_list *list = there(talloc_zero(context, struct celery_id_list));
    char *folder = there(files_state_path(list, environment, "acts"));
    list->loop = loop;
    list->sink = there(calloc(1, sizeof *list->sink));
    list->sink->references = 1;
    list->sink->owner = list;
    if (asprintf(&list->sink->path, "%s/%s.ids", folder, stamp) < 0)
        abort();
    list->block = there(talloc_size(list, BLOCK));
    list->digest = there(EVP_MD_CTX_new());
    if (!EVP_DigestInit_ex(list->digest, EVP_sha256(), NULL))
        abort();
    talloc_set_destructor(list, list_destroy);
    return list;
}

/* One id a line; what is no id of one line is made safe first. */
void celery_id_list_add(struct celery_id_list *list, const char *id)
{
    char safe[ID_MAX];
    size_t length = safe_line(safe, sizeof safe - 1, id ? id : "(no id)");
    safe[length++] = '\n';
    if (list->length + length > BLOCK)
        hand_over(list, false, false);
    if (list->count < FIRST)
        list->first = there(talloc_asprintf_append_buffer(
            list->first ? list->first : there(talloc_strdup(list, "")), "%.*s, ", (int)length - 1, safe));
    memcpy(list->block + list->length, safe, length);
    list->length += length;
    list->count++;
    EVP_DigestUpdate(list->digest, safe, length);
}

static void told_later(void *data)
{
    struct block *block = data;
    if (block->sink->owner)
        block->sink->owner->done(block->sink->owner->data, NULL);
    drop(block);
}

static void nothing(void *data)
{
    (void)data;
}

/* "id, id, id": the block's lines. */
static char *shown_ids(const struct celery_id_list *list)
{
    char *text = there(talloc_strndup(list, list->block, list->length ? list->length - 1 : 0));
    char *joined = there(talloc_strdup(list, ""));
    for (char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        joined =
            there(talloc_asprintf_append_buffer(joined, "%s%.*s", *joined ? ", " : "", (int)length, line));
        line += length + (line[length] == '\n');
    }
    talloc_free(text);
    return joined;
}

void celery_id_list_close(struct celery_id_list *list, void (*done)(void *data, const struct error *error),
                          void *data)
{
    list->done = done;
    list->data = data;
    if (list->count <= SHOWN) {
        list->text = shown_ids(list);
        struct block *block = there(calloc(1, sizeof *block));
        block->sink = list->sink;
        block->sink->references++;
        loop_work_or_drop(list->loop, WORK_FILE, nothing, told_later, drop, block);
        return;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    char digits[2 * EVP_MAX_MD_SIZE + 1] = "", number[32];
    EVP_DigestFinal_ex(list->digest, digest, &length);
    for (unsigned int i = 0; i < length; i++)
        snprintf(digits + (size_t)i * 2, 3, "%02x", digest[i]);
    list->text = there(talloc_asprintf(list, "%s...\n%s ids, SHA-256 %s, listed in %s", list->first,
                                       celery_exact(number, sizeof number, (int64_t)list->count), digits,
                                       list->sink->path));
    hand_over(list, true, false);
}

const char *celery_id_list_text(const struct celery_id_list *list)
{
    return list->text;
}

void celery_id_list_keep(struct celery_id_list *list)
{
    list->kept = true;
}
