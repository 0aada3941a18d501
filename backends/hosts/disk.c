/* A mount that is looked at: its measurements, and removing what is safe to remove. */
#include "backends/hosts/disk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"

/* A few folders of one mount are kept; the one that was looked at longest ago goes first. */
enum { LEVELS_MAX = 64 };
#define ANSWER_MAX (1u << 20)
#define TRAVEL_S 15 /* time for the connection, beside that of du */

struct disk {
    struct host_place place;
    char *mount;
    struct disk_level *levels[LEVELS_MAX];
    size_t level_count;
    struct ssh_run *run, *savings_run;
    char *measuring;
    double began;
    struct error error;
    struct disk_saving *savings;
    size_t saving_count;
    void (*changed)(void *data);
    void *data;
};

static int disk_destroy(struct disk *disk)
{
    if (disk->run)
        ssh_run_cancel(disk->run);
    if (disk->savings_run)
        ssh_run_cancel(disk->savings_run);
    return 0;
}

struct disk *disk_new(const void *context, const struct host_place *place, const char *mount,
                      void (*changed)(void *data), void *data)
{
    struct disk *disk = talloc_zero(context, struct disk);
    if (!disk)
        abort();
    disk->place = (struct host_place){.environment = talloc_strdup(disk, place->environment),
                                      .host = talloc_strdup(disk, place->host),
                                      .login = place->login ? talloc_strdup(disk, place->login) : NULL,
                                      .init = place->init ? talloc_strdup(disk, place->init) : NULL,
                                      .ssh = place->ssh};
    disk->mount = talloc_strdup(disk, mount);
    disk->changed = changed;
    disk->data = data;
    talloc_set_destructor(disk, disk_destroy);
    return disk;
}

void disk_set_changed(struct disk *disk, void (*changed)(void *data), void *data)
{
    disk->changed = changed;
    disk->data = data;
}

static void tell(struct disk *disk)
{
    if (disk->changed)
        disk->changed(disk->data);
}

static size_t find_level(const struct disk *disk, const char *path)
{
    size_t i = 0;
    while (i < disk->level_count && strcmp(disk->levels[i]->path, path) != 0)
        i++;
    return i;
}

const struct disk_level *disk_find(const struct disk *disk, const char *path)
{
    size_t at = find_level(disk, path);
    return at < disk->level_count ? disk->levels[at] : NULL;
}

static void keep_level(struct disk *disk, struct disk_level *level)
{
    size_t at = find_level(disk, level->path);
    if (at == LEVELS_MAX) {
        at = 0;
        for (size_t i = 1; i < LEVELS_MAX; i++)
            if (disk->levels[i]->at < disk->levels[at]->at)
                at = i;
    }
    if (at < disk->level_count)
        talloc_free(disk->levels[at]);
    else
        disk->level_count++;
    disk->levels[at] = level;
}

static void measured(void *data, const struct ssh_result *result)
{
    struct disk *disk = data;
    char *path = disk->measuring;
    disk->run = NULL;
    disk->measuring = NULL;
    error_clear(&disk->error);
    if (result->end.ending == SSH_EXITED && !result->cut) {
        struct disk_level *level =
            disk_level_read(disk, path, result->output ? result->output : "", result->output_length,
                            result->errors, clock_wall(), disk_find(disk, path), &disk->error);
        if (level)
            keep_level(disk, level);
        else
            snprintf(disk->error.where, sizeof disk->error.where, "%s", disk->place.host);
    } else {
        ssh_result_ok(result, disk->place.host, "it cannot be measured", &disk->error);
    }
    talloc_free(path);
    tell(disk);
}

bool disk_measure(struct disk *disk, const char *path)
{
    if (disk->run)
        return false;
    char *script = disk_measure_script(disk, &disk->place, path);
    disk->measuring = talloc_strdup(disk, path);
    disk->began = clock_monotonic();
    disk->run = ssh_run(disk->place.ssh, "sh", script,
                        (struct ssh_run_limits){.deadline_s = DISK_SECONDS + TRAVEL_S, .bytes = ANSWER_MAX},
                        measured, disk);
    talloc_free(script);
    return true;
}

const char *disk_measuring(const struct disk *disk, double *since)
{
    if (since)
        *since = disk->began;
    return disk->measuring;
}

void disk_cancel(struct disk *disk)
{
    if (!disk->run)
        return;
    ssh_run_cancel(disk->run);
    disk->run = NULL;
    TALLOC_FREE(disk->measuring);
    error_set(&disk->error, ERROR_CANCELLED, disk->place.host, "not measured", NULL, "it was given up");
}

const struct error *disk_error(const struct disk *disk)
{
    return &disk->error;
}

static void savings_answered(void *data, const struct ssh_result *result)
{
    struct disk *disk = data;
    disk->savings_run = NULL;
    if (result->end.ending == SSH_EXITED) {
        talloc_free(disk->savings);
        disk->savings = disk_savings_read(disk, result->output ? result->output : "", &disk->saving_count);
    }
    tell(disk);
}

void disk_look_savings(struct disk *disk)
{
    if (disk->savings_run)
        return;
    char *script = disk_savings_script(disk, &disk->place, disk->mount);
    disk->savings_run =
        ssh_run(disk->place.ssh, "sh", script, (struct ssh_run_limits){.deadline_s = 60, .bytes = ANSWER_MAX},
                savings_answered, disk);
    talloc_free(script);
}

const struct disk_saving *disk_savings(const struct disk *disk, size_t *count)
{
    *count = disk->saving_count;
    return disk->savings;
}

const char *disk_mount(const struct disk *disk)
{
    return disk->mount;
}

const char *disk_host(const struct disk *disk)
{
    return disk->place.host;
}

/* ---- removing ---- */

/* The last line of df -Pk: "/dev/sda1 41152736 39210000 123 99% /". */
static bool read_df(const struct host_check *check, const struct ssh_result *result, double since_s,
                    char *buffer, size_t size)
{
    double kilobytes, percent;
    char free_text[32];
    const char *at = result->output ? strchr(result->output, '\n') : NULL;
    (void)since_s;
    if (result->end.ending != SSH_EXITED || result->end.status != 0 || !at)
        return false;
    at++;
    for (int column = 0; column < 3; column++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    if (!host_number(&at, &kilobytes) || !host_number(&at, &percent))
        return false;
    snprintf(buffer, size, "%s is at %.0f %% now, %s free", check->name, percent,
             format_bytes(free_text, sizeof free_text, kilobytes * 1024));
    return true;
}

static char *removal(const void *context, const struct host_place *place, enum disk_saving_kind kind,
                     const char *mount, const char **sudoers)
{
    char days[16], keep[32];
    snprintf(days, sizeof days, "+%d", DISK_LOG_DAYS);
    snprintf(keep, sizeof keep, "--vacuum-size=%dM", DISK_JOURNAL_MB);
    const char *const logs[] = {"find",
                                disk_log_folder(mount),
                                "-xdev",
                                "-type",
                                "f",
                                "(",
                                "-name",
                                "*.gz",
                                "-o",
                                "-name",
                                "*.xz",
                                "-o",
                                "-name",
                                "*.bz2",
                                "-o",
                                "-name",
                                "*.zst",
                                "-o",
                                "-name",
                                "*.[0-9]",
                                "-o",
                                "-name",
                                "*.[0-9][0-9]",
                                "-o",
                                "-name",
                                "*.old",
                                "-o",
                                "-name",
                                "*-20[0-9][0-9][0-9][0-9][0-9][0-9]",
                                ")",
                                "!",
                                "-path",
                                "/var/log/journal/*",
                                "-mtime",
                                days,
                                "-delete",
                                NULL};
    const char *const journal[] = {"journalctl", keep, NULL};
    const char *const packages[] = {"apt-get", "clean", NULL};
    const char *const images[] = {"docker", "image", "prune", "-f", NULL};
    const char *const cache[] = {"docker", "builder", "prune", "-f", NULL};
    switch (kind) {
    case SAVING_ROTATED_LOGS:
        return host_privileged(context, place, logs, sudoers);
    case SAVING_JOURNAL:
        return host_privileged(context, place, journal, sudoers);
    case SAVING_PACKAGES:
        return host_privileged(context, place, packages, sudoers);
    case SAVING_IMAGES:
        return host_docker(context, place, images, sudoers);
    case SAVING_BUILD_CACHE:
        return host_docker(context, place, cache, sudoers);
    case SAVING_DELETED_FILES:
    case SAVINGS:
        break;
    }
    return NULL;
}

static const char *removal_effect(enum disk_saving_kind kind)
{
    switch (kind) {
    case SAVING_ROTATED_LOGS:
        return "Rotated logs below /var/log that nobody has written for a week are deleted; logs in use and "
               "the journal "
               "are not touched. What stood in them is gone.";
    case SAVING_JOURNAL:
        return "The oldest archived journal files are deleted until the journal takes no more than is kept. "
               "What stood "
               "in them is gone.";
    case SAVING_PACKAGES:
        return "Downloaded package files are deleted; what is installed stays, and apt downloads again what "
               "it needs.";
    case SAVING_IMAGES:
        return "Images without a name that no container uses, running or stopped, are deleted. Named images, "
               "volumes "
               "and containers stay.";
    case SAVING_BUILD_CACHE:
        return "What builds keep for the next one is deleted: that one takes longer.";
    case SAVING_DELETED_FILES:
    case SAVINGS:
        break;
    }
    return NULL;
}

struct change *disk_saving_change(const struct host_place *place, const struct disk_saving *saving,
                                  const char *mount, struct error *error)
{
    const char *sudoers = NULL;
    char size[32];
    if (!saving->removable) {
        error_set(error, ERROR_UNSUPPORTED, place->host, saving->what, saving->todo,
                  "there is nothing to remove");
        return NULL;
    }
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    change->hazard = HAZARD_DESTROY;
    change->verb = "remove";
    change->past = "removed";
    change->title = talloc_asprintf(change, "Make room on %s", place->host);
    change->effect = removal_effect(saving->kind);
    host_change_confirm_name(change, place);
    struct change_step *step =
        host_change_add(change, place, talloc_asprintf(change, "%s on %s", saving->what, place->host),
                        saving->what, removal(change, place, saving->kind, mount, &sudoers));
    if (!isnan(saving->bytes))
        step->subject = talloc_asprintf(change, "%s · about %s", saving->what,
                                        format_bytes(size, sizeof size, saving->bytes));
    host_step_of(step)->sudoers = sudoers;
    host_step_of(step)->limits.deadline_s = 300;
    host_change_watch(
        change, place->ssh,
        &(struct host_check){.command = host_words(change, (const char *const[]){"df", "-Pk", mount, NULL}),
                             .patience_s = 20,
                             .read = read_df,
                             .name = talloc_strdup(change, mount)});
    return change;
}
