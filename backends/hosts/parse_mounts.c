/* Mounts as df prints them (GNU with types, busybox without), inodes, and how long until a mount is full. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

/* A trend needs some minutes, and an hour ago is another story. */
#define TREND_SHORTEST_S 180.0
#define TREND_LONGEST_S 3600.0
#define TREND_SPACING_S 15.0
/* Growth below this much of the size in a day is noise. */
#define TREND_NOISE_PER_S (0.002 / 86400)
#define FULL_LATEST_S (30 * 86400.0)

struct df_line {
    struct span device, type, mount;
    double size, used, available; /* in the unit of the command */
    bool counts;                  /* the numbers are there ("-" when a file system has no inodes) */
};

static bool percent(struct span word)
{
    double value;
    if (span_is(word, "-"))
        return true;
    if (!span_ends(word, "%"))
        return false;
    word.length--;
    return span_is(word, "-") || span_real(word, false, &value);
}

/* Devices and mounts may hold blanks: what counts is three numbers and a percentage in a row. */
static bool read_df(struct span line, struct df_line *df)
{
    struct span words[24], rest = line;
    size_t count = 0;
    *df = (struct df_line){0};
    while (count < 24 && span_word(&rest, &words[count]))
        count++;
    for (size_t i = 4; i < count; i++) {
        double size, used, available;
        if (!percent(words[i]) || !span_real(words[i - 3], false, &size) ||
            !span_real(words[i - 2], false, &used) || !span_real(words[i - 1], true, &available) ||
            i + 1 >= count)
            continue;
        df->size = size, df->used = used, df->available = available;
        df->counts = !span_is(words[i], "-");
        df->device = words[0];
        /* The type, when there is one, stands right before the numbers. */
        df->type = i > 4 ? words[i - 4] : (struct span){0};
        df->mount = (struct span){words[i + 1].at, (size_t)(line.at + line.length - words[i + 1].at)};
        return df->mount.at[0] == '/';
    }
    return false;
}

static bool one_of(struct span span, const char *const *names)
{
    for (; *names; names++)
        if (span_is(span, *names))
            return true;
    return false;
}

/* Full by nature, or shown elsewhere already. */
static bool uninteresting(const struct df_line *df)
{
    static const char *const types[] = {"squashfs",      "iso9660",  "devtmpfs", "autofs",
                                        "ramfs",         "efivarfs", "overlay",  "fuse.lxcfs",
                                        "fuse.snapfuse", "tracefs",  NULL};
    static const char *const devices[] = {"overlay", "devtmpfs", "none", "udev", "dev", "shm", "lxcfs", NULL};
    if (df->size <= 0)
        return true;
    if (span_is(df->mount, "/"))
        return false;
    if (span_starts(df->mount, "/snap/") || span_starts(df->mount, "/sys/"))
        return true;
    return one_of(df->type, types) || (!df->type.length && one_of(df->device, devices));
}

static struct host_mount *find_mount(struct host_snapshot *now, struct span mount)
{
    for (size_t i = 0; i < now->mount_count; i++)
        if (span_is(mount, now->mounts[i].mount))
            return (struct host_mount *)&now->mounts[i];
    return NULL;
}

/* The same device twice is a bind mount: of a container, say. */
static bool mounted_already(const struct host_snapshot *now, struct span device)
{
    if (!span_starts(device, "/"))
        return false;
    for (size_t i = 0; i < now->mount_count; i++)
        if (span_is(device, now->mounts[i].device))
            return true;
    return false;
}

static void add_mount(struct host_record *record, struct host_part *part, const struct df_line *df)
{
    struct host_snapshot *now = &record->now;
    struct host_mount *mounts = (struct host_mount *)now->mounts;
    struct host_mount *mount = ARRAY_ADD(part, mounts, now->mount_count, HOST_MAX_MOUNTS);
    now->mounts = mounts;
    if (!mount)
        return;
    double available = fmax(0, df->available);
    *mount = (struct host_mount){
        .device = part_text(part, df->device, 80),
        .mount = part_text(part, df->mount, 160),
        .type = df->type.length ? part_text(part, df->type, 24) : NULL,
        .size_bytes = df->size * 1024,
        .used_bytes = df->used * 1024,
        .available_bytes = available * 1024,
        .used_percent = df->used + available > 0 ? (float)(100 * df->used / (df->used + available)) : NAN,
        .inode_percent = NAN,
        .full_in_s = NAN};
}

void parse_mounts(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line;
    struct df_line df;
    while (span_line(&body, &line))
        if (read_df(line, &df) && !uninteresting(&df) && !find_mount(&record->now, df.mount) &&
            !mounted_already(&record->now, df.device))
            add_mount(record, part, &df);
}

void parse_inodes(struct host_record *record, struct span body)
{
    struct span line;
    struct df_line df;
    while (span_line(&body, &line)) {
        struct host_mount *mount = read_df(line, &df) ? find_mount(&record->now, df.mount) : NULL;
        if (mount && df.counts && df.size > 0)
            mount->inode_percent = (float)fmin(100, 100 * df.used / df.size);
    }
}

/* Lines of /proc/mounts. */
void parse_hung(struct host_record *record, struct host_part *part, struct span body)
{
    struct span line, word;
    while (span_line(&body, &line)) {
        if (!span_word_after(&line, 1, &word))
            continue;
        const char **hung = ARRAY_ADD(part, record->hung, record->hung_count, 20);
        if (hung)
            *hung = part_text(part, word, 160);
    }
}

/* ---- until it is full ---- */

static struct mount_trend *trend_of(struct host_record *record, const char *mount)
{
    for (size_t i = 0; i < record->trend_count; i++)
        if (!strncmp(record->trends[i].mount, mount, sizeof record->trends[i].mount - 1))
            return &record->trends[i];
    struct mount_trend *trend = ARRAY_ADD(record, record->trends, record->trend_count, HOST_MAX_MOUNTS);
    if (trend)
        strncpy(trend->mount, mount, sizeof trend->mount - 1);
    return trend;
}

static void trend_drop(struct mount_trend *trend, size_t index)
{
    trend->count--;
    memmove(&trend->used[index], &trend->used[index + 1], (trend->count - index) * sizeof *trend->used);
    memmove(&trend->time[index], &trend->time[index + 1], (trend->count - index) * sizeof *trend->time);
}

/* When there is no room every second sample goes: the window grows up to an hour. */
static void trend_add(struct mount_trend *trend, double now, float used)
{
    while (trend->count && (now - trend->time[0] > TREND_LONGEST_S || now < trend->time[0]))
        trend_drop(trend, 0);
    if (trend->count && now - trend->time[trend->count - 1] < TREND_SPACING_S)
        return;
    if (trend->count == MOUNT_SAMPLES)
        for (size_t i = 1; i + 1 < trend->count; i++)
            trend_drop(trend, i);
    trend->time[trend->count] = now;
    trend->used[trend->count++] = used;
}

/* Least squares: share of the size a second; NAN while too little is known. */
static double trend_slope(const struct mount_trend *trend)
{
    size_t n = trend->count;
    if (n < 3 || trend->time[n - 1] - trend->time[0] < TREND_SHORTEST_S)
        return NAN;
    double t0 = 0, u0 = 0, tu = 0, tt = 0;
    for (size_t i = 0; i < n; i++) {
        t0 += trend->time[i] / (double)n;
        u0 += trend->used[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        tu += (trend->time[i] - t0) * (trend->used[i] - u0);
        tt += (trend->time[i] - t0) * (trend->time[i] - t0);
    }
    return tt > 0 ? tu / tt : NAN;
}

static double full_in(const struct host_mount *mount, double slope)
{
    if (isnan(slope))
        return NAN;
    double seconds = mount->available_bytes / (slope * mount->size_bytes);
    return slope > TREND_NOISE_PER_S && seconds < FULL_LATEST_S ? seconds : INFINITY;
}

static int fuller(const void *a, const void *b)
{
    const struct host_mount *x = a, *y = b;
    if (x->used_percent != y->used_percent)
        return (x->used_percent < y->used_percent) - (x->used_percent > y->used_percent);
    return strcmp(x->mount, y->mount);
}

void finish_mounts(struct host_record *record, double now)
{
    struct host_snapshot *snapshot = &record->now;
    struct host_mount *mounts = (struct host_mount *)snapshot->mounts;
    if (snapshot->mount_count)
        qsort(mounts, snapshot->mount_count, sizeof *mounts, fuller);
    snapshot->worst_mount = snapshot->mount_count ? &mounts[0] : NULL;
    snapshot->worst_inodes = NULL;
    for (size_t i = 0; i < snapshot->mount_count; i++) {
        struct host_mount *mount = &mounts[i];
        struct mount_trend *trend = trend_of(record, mount->mount);
        if (trend && mount->size_bytes > 0) {
            trend_add(trend, now, (float)(mount->used_bytes / mount->size_bytes));
            mount->full_in_s = full_in(mount, trend_slope(trend));
        }
        if (!isnan(mount->inode_percent) &&
            (!snapshot->worst_inodes || mount->inode_percent > snapshot->worst_inodes->inode_percent))
            snapshot->worst_inodes = mount;
    }
}
