/*
 * What fills a mount of a host: `du` one level at a time, niced and bounded in time and output, compared with
 * the measurement before; and what is safe to remove, each as a change.
 */
#ifndef BACKENDS_HOSTS_DISK_H
#define BACKENDS_HOSTS_DISK_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/hosts/host_change.h"

/* du with any argument would be a way to read every file (--files0-from): one folder, and no other option. */
#define DISK_SUDOERS "sudoers: LOGIN ALL=(root) NOPASSWD: /usr/bin/du ^-0 -xk -d 1 /[^ ]*$"

enum { DISK_SECONDS = 20, DISK_ENTRIES = 400, DISK_LOG_DAYS = 7, DISK_JOURNAL_MB = 100 };

struct disk_entry {
    const char *path; /* whole; raw bytes */
    const char *name; /* the last component */
    bool folder;
    double bytes;
    double grown_bytes; /* since the measurement before; NAN: there was none, or it was not in it */
};

/* One folder and what is directly in it, the largest first. */
struct disk_level {
    const char *path;
    double bytes; /* of all of it; NAN: it was not finished */
    const struct disk_entry *entries;
    size_t count;
    bool partial;   /* the time was up, or there was more than is taken: entries are missing or too small */
    size_t denied;  /* folders that the login may not read */
    double at;      /* seconds since the epoch */
    double since_s; /* seconds to the measurement before; NAN: none */
    double grown_bytes; /* of all of it, in that time; NAN: unknown */
};

enum disk_saving_kind {
    SAVING_ROTATED_LOGS,
    SAVING_JOURNAL,
    SAVING_PACKAGES,
    SAVING_IMAGES,
    SAVING_BUILD_CACHE,
    SAVING_DELETED_FILES, /* still held open by a process: nothing to remove, it must let go of them */
    SAVINGS
};
struct disk_saving {
    enum disk_saving_kind kind;
    const char *what;  /* "rotated logs older than 7 days: 34 files" */
    const char *where; /* the folder it lies in, or NULL */
    double bytes;      /* about so much becomes free; NAN: unknown */
    bool removable;    /* there is a change for it */
    const char *todo;  /* what to do when there is none: "restart nginx (812)" */
};

/* ---- the text of the protocol; pure. Scripts are the input of `sh` there, whatever the login's shell is
 * ---- */

char *disk_measure_script(const void *context, const struct host_place *place, const char *path);
/* What it answered (`length` bytes, may hold NULs; how it ended stands in `errors`); `before` may be NULL.
 * NULL with error when it measured nothing. One talloc chunk under context. */
struct disk_level *disk_level_read(const void *context, const char *path, const char *output, size_t length,
                                   const char *errors, double at, const struct disk_level *before,
                                   struct error *error);
/* The folder whose rotated logs lie on the mount: /var/log, or the mount itself when it is below that. */
const char *disk_log_folder(const char *mount);
/* Only what lies on the mount is answered. */
char *disk_savings_script(const void *context, const struct host_place *place, const char *mount);
/* The largest first; a talloc array under context. */
struct disk_saving *disk_savings_read(const void *context, const char *output, size_t *count);
/* "1.982MB", "120.0M", "0B (0%)": NAN when it is no size. */
double disk_size_read(const char *text);

/* Removes it. `mount`: whose figures are looked at afterwards. */
struct change *disk_saving_change(const struct host_place *place, const struct disk_saving *saving,
                                  const char *mount, struct error *error);

/* ---- a mount that is looked at ---- */

struct disk;
/* Owned by context; talloc_free gives up what runs. `changed`: a measurement or its error is there. */
struct disk *disk_new(const void *context, const struct host_place *place, const char *mount,
                      void (*changed)(void *data), void *data);
/* Who is told from now on; NULL: nobody. */
void disk_set_changed(struct disk *disk, void (*changed)(void *data), void *data);
/* Measures the folder, one at a time: false when another one is being measured. */
bool disk_measure(struct disk *disk, const char *path);
/* The folder being measured, and since when (monotonic), or NULL. */
const char *disk_measuring(const struct disk *disk, double *since);
void disk_cancel(struct disk *disk);
/* What was measured last, or NULL. */
const struct disk_level *disk_find(const struct disk *disk, const char *path);
/* Why the last measurement failed; kind ERROR_NONE when it did not. */
const struct error *disk_error(const struct disk *disk);

/* Asks what is safe to remove. */
void disk_look_savings(struct disk *disk);
/* NULL before the answer. */
const struct disk_saving *disk_savings(const struct disk *disk, size_t *count);

const char *disk_mount(const struct disk *disk);
const char *disk_host(const struct disk *disk);

#endif
