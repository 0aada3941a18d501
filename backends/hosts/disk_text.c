/* The scripts that measure folders and look for what is safe to remove, and what they answer. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/disk.h"
#include "backends/hosts/host_change_internal.h"
#include "core/json.h"
#include "core/text.h"
#include "core/units.h"

#define HEAD "LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin\n"

/* ---- measuring ---- */

/* GNU's du ends names with NUL, so that none can pretend to be another; busybox has no such option. What du
 * complains of is counted, not sent. How it ended goes to standard error: "@end STATUS DENIED". Folders come
 * first, then large files right in the folder with an f in front. */
char *disk_measure_script(const void *context, const struct host_place *place, const char *path)
{
    bool root = place->login && strcmp(place->login, "root") == 0;
    char *quoted = ssh_quote(NULL, path);
    /* Asked for as they are run: sudoers may allow just these. find with -exec would be all of root, so that
     * it is often not allowed where du is. */
    char *privileged =
        root ? talloc_strdup(NULL, "")
             : talloc_asprintf(NULL,
                               "sudo -n -l du $z -xk -d 1 %s >/dev/null 2>&1 && s='sudo -n'\n"
                               "[ \"$s\" ] && sudo -n -l find %s -exec du >/dev/null 2>&1 && f='sudo -n'\n",
                               quoted, quoted);
    char *script = talloc_asprintf(
        context,
        HEAD "z= h= i= s= f=\n"
             "du --version 2>/dev/null | grep -q GNU && z=-0 h=-z\n"
             "command -v ionice >/dev/null 2>&1 && i='ionice -c3'\n"
             "%s"
             "{ { timeout %d nice -n 19 $i $s du $z -xk -d 1 %s 2>&1 1>&3; echo \"@rc $?\"; } |\n"
             "awk '/ermission denied/{n++} /^@rc/{r=$2} END{printf \"@end %%d %%d\\n\", r, n}' >&4; } 3>&1 "
             "4>&2 |\n"
             "sort $h -rn | head $h -n %d\n"
             "timeout 10 nice -n 19 $i $f find %s -maxdepth 1 -xdev -type f -size +1023k -exec du -k $z {} + "
             "2>/dev/null |\n"
             "sort $h -rn | head $h -n %d | sed $h 's/^/f/'\n",
        privileged, DISK_SECONDS, quoted, DISK_ENTRIES / 2, quoted, DISK_ENTRIES / 2);
    talloc_free(privileged);
    talloc_free(quoted);
    return script;
}

struct reading {
    struct disk_level *level;
    struct disk_entry *entries;
    size_t room;
    bool whole; /* the folder's own line was there */
};

static void note_growth(const struct disk_level *before, struct disk_entry *entry)
{
    for (size_t i = 0; before && i < before->count; i++)
        if (strcmp(before->entries[i].path, entry->path) == 0)
            entry->grown_bytes = entry->bytes - before->entries[i].bytes;
}

/* "804\t/var/log". What is not right below the folder is no answer of du's. */
static void read_entry(struct reading *reading, const char *line, size_t length,
                       const struct disk_level *before)
{
    struct disk_level *level = reading->level;
    const char *tab = memchr(line, '\t', length);
    size_t base = strlen(level->path);
    char *end;
    bool file = *line == 'f';
    double kilobytes = strtod(line + file, &end);
    if (!tab || end != tab || !(kilobytes >= 0) || !isfinite(kilobytes))
        return;
    char *path = talloc_strndup(level, tab + 1, length - (size_t)(tab + 1 - line));
    if (strcmp(path, level->path) == 0 && !file) {
        level->bytes = kilobytes * 1024;
        reading->whole = true;
        return;
    }
    size_t prefix = base == 1 ? 1 : base + 1; /* "/" ends with its own slash */
    if (level->count == reading->room || strncmp(path, level->path, base) != 0 || path[prefix - 1] != '/' ||
        !path[prefix] || strchr(path + prefix, '/'))
        return;
    struct disk_entry *entry = &reading->entries[level->count++];
    *entry = (struct disk_entry){
        .path = path, .name = path + prefix, .folder = !file, .bytes = kilobytes * 1024, .grown_bytes = NAN};
    note_growth(before, entry);
}

static bool read_end(struct disk_level *level, const char *errors)
{
    double status, denied;
    const char *end = NULL;
    for (const char *at = errors; at && (at = strstr(at, "@end ")); at += 5)
        end = at;
    if (!end)
        return false;
    end += 5;
    if (!host_number(&end, &status) || !host_number(&end, &denied) || denied > 1e9)
        return false;
    level->denied = (size_t)denied;
    level->partial = status == 124 || status == 143 || status == 137;
    return true;
}

/* Lines that are ended by NUL, or by newlines where du knows no other. */
static void read_entries(struct reading *reading, const char *output, size_t length,
                         const struct disk_level *before)
{
    char separator = memchr(output, '\0', length) ? '\0' : '\n';
    for (size_t at = 0; at < length;) {
        const char *end = memchr(output + at, separator, length - at);
        size_t line = end ? (size_t)(end - output) - at : length - at;
        char *copy = talloc_strndup(NULL, output + at, line);
        read_entry(reading, copy, line, before);
        talloc_free(copy);
        at += line + 1;
    }
}

static int largest_first(const void *a, const void *b)
{
    double left = ((const struct disk_entry *)a)->bytes, right = ((const struct disk_entry *)b)->bytes;
    return (left < right) - (left > right);
}

struct disk_level *disk_level_read(const void *context, const char *path, const char *output, size_t length,
                                   const char *errors, double at, const struct disk_level *before,
                                   struct error *error)
{
    struct disk_level *level = talloc_zero(context, struct disk_level);
    struct reading reading = {.level = level, .room = DISK_ENTRIES};
    reading.entries = talloc_zero_array(level, struct disk_entry, DISK_ENTRIES);
    if (!level || !reading.entries)
        abort();
    level->path = talloc_strdup(level, path);
    level->entries = reading.entries;
    level->bytes = level->grown_bytes = level->since_s = NAN;
    level->at = at;
    bool ended = read_end(level, errors);
    read_entries(&reading, output, length, before);
    qsort(reading.entries, level->count, sizeof *reading.entries, largest_first);
    if (!reading.whole && !level->count) {
        error_set(error, level->denied ? ERROR_DENIED : ERROR_SERVER, NULL, "it cannot be measured",
                  level->denied ? DISK_SUDOERS : NULL, "%s",
                  level->denied                 ? "the login may not read the folder"
                  : errors && *errors && !ended ? errors
                                                : "du said nothing");
        talloc_free(level);
        return NULL;
    }
    level->partial = level->partial || !ended || level->count >= DISK_ENTRIES / 2;
    if (before) {
        level->since_s = at - before->at;
        level->grown_bytes = level->bytes - before->bytes;
    }
    return level;
}

/* ---- what is safe to remove ---- */

#define ROTATED                                                                                              \
    "\\( -name '*.gz' -o -name '*.xz' -o -name '*.bz2' -o -name '*.zst' -o -name '*.[0-9]' -o -name "        \
    "'*.[0-9][0-9]' -o -name '*.old' -o -name '*-20[0-9][0-9][0-9][0-9][0-9][0-9]' \\) ! -path "             \
    "'/var/log/journal/*'"

const char *disk_log_folder(const char *mount)
{
    return strncmp(mount, "/var/log/", 9) == 0 ? mount : "/var/log";
}

/* What lies on other file systems makes no room on this one. Where nothing tells them apart (no stat),
 * everything counts. */
char *disk_savings_script(const void *context, const struct host_place *place, const char *mount)
{
    bool root = place->login && strcmp(place->login, "root") == 0;
    char *quoted = ssh_quote(NULL, mount), *logs = ssh_quote(NULL, disk_log_folder(mount));
    char *script = talloc_asprintf(
        context,
        HEAD
        "m=$(stat -c %%d %s 2>/dev/null)\n"
        "on() { [ \"$(stat -c %%d \"$1\" 2>/dev/null)\" = \"$m\" ]; }\n"
        "t() { if command -v timeout >/dev/null 2>&1; then timeout 10 nice -n 19 \"$@\"; else \"$@\"; fi; }\n"
        "d=docker; [ -w /var/run/docker.sock ] || d='%sdocker'\n"
        "echo =logs; on %s && t find %s -xdev -type f " ROTATED " -mtime +%d -exec du -k {} + 2>/dev/null |\n"
        "awk '{s+=$1; n++} END{print s+0, n+0}'\n"
        "echo =journal; { on /var/log/journal || on /run/log/journal; } && t journalctl -q --disk-usage "
        "2>/dev/null\n"
        "echo =packages; on /var/cache/apt/archives && t du -sk /var/cache/apt/archives 2>/dev/null\n"
        "if command -v docker >/dev/null 2>&1; then\n"
        "r=$(t $d info --format '{{.DockerRootDir}}' 2>/dev/null)\n"
        "on \"${r:-/var/lib/docker}\" || d=false; else d=false; fi\n"
        "echo =docker; t $d system df --format '{{json .}}' "
        "2>/dev/null\n"
        "echo =images; t $d images -f dangling=true --format "
        "'{{.Size}}' "
        "2>/dev/null | head -n 200\n"
        "echo =deleted; t find /proc/[0-9]*/fd -type l -lname '/* (deleted)' ! -lname '/memfd:*' ! -lname "
        "'/dev/*' ! -lname '/SYSV*' -exec stat -L -c '%%s %%d %%n' {} + 2>/dev/null | awk -v m=\"$m\" '$2 == "
        "m' | sort -rn | head -n 5 |\n"
        "while read -r n _ p; do q=${p#/proc/}; q=${q%%%%/*}; echo \"$n $q $(cat /proc/$q/comm)\"; done\n",
        quoted, root ? "" : "sudo -n ", logs, logs, DISK_LOG_DAYS);
    talloc_free(quoted);
    talloc_free(logs);
    return script;
}

double disk_size_read(const char *text)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || !(number >= 0) || !isfinite(number))
        return NAN;
    while (*end == ' ')
        end++;
    /* docker counts in thousands and says "MB"; systemd in 1024 and says "M". */
    static const char letters[] = "kMGT";
    const char *at = *end ? strchr(letters, *end == 'K' ? 'k' : *end) : NULL;
    double step = at && end[1] == 'B' ? 1000 : 1024;
    if (at)
        for (const char *i = letters; i <= at; i++)
            number *= step;
    else if (*end != 'B' && *end)
        return NAN;
    return number;
}

struct savings {
    struct disk_saving *items;
    size_t count;
};

static void add(struct savings *savings, struct disk_saving saving)
{
    savings->items = talloc_realloc(NULL, savings->items, struct disk_saving, savings->count + 1);
    if (!savings->items)
        abort();
    savings->items[savings->count++] = saving;
}

static void read_logs(struct savings *savings, const void *context, const char *line)
{
    double kilobytes, files;
    if (host_number(&line, &kilobytes) && host_number(&line, &files) && kilobytes > 0 && files > 0)
        add(savings, (struct disk_saving){
                         .kind = SAVING_ROTATED_LOGS,
                         .what = talloc_asprintf(context, "rotated logs older than %d days: %.0f file%s",
                                                 DISK_LOG_DAYS, files, files == 1 ? "" : "s"),
                         .where = "/var/log",
                         .bytes = kilobytes * 1024,
                         .removable = true});
}

/* "Archived and active journals take up 120.0M in the file system." */
static void read_journal(struct savings *savings, const void *context, const char *line)
{
    char size[32];
    const char *at = strstr(line, "take up ");
    double bytes = at ? disk_size_read(at + 8) : NAN;
    double kept = DISK_JOURNAL_MB * 1024.0 * 1024;
    if (!(bytes > kept))
        return;
    add(savings,
        (struct disk_saving){.kind = SAVING_JOURNAL,
                             .what = talloc_asprintf(context, "the journal takes %s; %d MB stay",
                                                     format_bytes(size, sizeof size, bytes), DISK_JOURNAL_MB),
                             .where = "/var/log/journal",
                             .bytes = bytes - kept,
                             .removable = true});
}

static void read_packages(struct savings *savings, const char *line)
{
    double kilobytes = strtod(line, NULL);
    if (kilobytes > 1024 && isfinite(kilobytes))
        add(savings, (struct disk_saving){.kind = SAVING_PACKAGES,
                                          .what = "packages that apt has downloaded and installed",
                                          .where = "/var/cache/apt/archives",
                                          .bytes = kilobytes * 1024,
                                          .removable = true});
}

/* {"Active":"1","Reclaimable":"0B (0%)","Size":"1.982MB","TotalCount":"1","Type":"Build Cache"} */
static void read_docker(struct savings *savings, const char *line)
{
    struct json_object *object = json_tokener_parse(line), *type = NULL, *size = NULL;
    if (object && json_object_object_get_ex(object, "Type", &type) &&
        json_object_object_get_ex(object, "Reclaimable", &size) &&
        strcmp(json_object_get_string(type), "Build Cache") == 0) {
        double bytes = disk_size_read(json_object_get_string(size));
        if (bytes > 0)
            add(savings, (struct disk_saving){.kind = SAVING_BUILD_CACHE,
                                              .what = "docker's build cache: the next build takes longer",
                                              .where = "/var/lib/docker",
                                              .bytes = bytes,
                                              .removable = true});
    }
    json_object_put(object);
}

static void add_images(struct savings *savings, const void *context, double bytes, size_t count)
{
    if (count)
        add(savings,
            (struct disk_saving){.kind = SAVING_IMAGES,
                                 .what = talloc_asprintf(
                                     context, "docker images without a name that nothing uses: %zu", count),
                                 .where = "/var/lib/docker",
                                 .bytes = bytes,
                                 .removable = true});
}

/* "2147483648 812 nginx" */
static void read_deleted(struct savings *savings, const void *context, const char *line)
{
    double bytes, pid;
    if (!host_number(&line, &bytes) || !host_number(&line, &pid) || bytes < 1024 * 1024)
        return;
    char *name = safe_line_new(context, line);
    add(savings,
        (struct disk_saving){
            .kind = SAVING_DELETED_FILES,
            .what = talloc_asprintf(context, "a deleted file that %s (%.0f) still holds open", name, pid),
            .bytes = bytes,
            .todo = talloc_asprintf(context, "reload or restart %s (%.0f): it must let go of the file", name,
                                    pid)});
}

static int by_size(const void *a, const void *b)
{
    double left = ((const struct disk_saving *)a)->bytes, right = ((const struct disk_saving *)b)->bytes;
    return (left < right) - (left > right);
}

struct disk_saving *disk_savings_read(const void *context, const char *output, size_t *count)
{
    struct savings savings = {.items = talloc_zero_array(NULL, struct disk_saving, 1)};
    char *text = talloc_strdup(NULL, output), *rest = NULL, section[16] = "";
    void *texts = talloc_new(savings.items);
    double images = 0;
    size_t image_count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == '=')
            snprintf(section, sizeof section, "%s", line + 1);
        else if (strcmp(section, "logs") == 0)
            read_logs(&savings, texts, line);
        else if (strcmp(section, "journal") == 0)
            read_journal(&savings, texts, line);
        else if (strcmp(section, "packages") == 0)
            read_packages(&savings, line);
        else if (strcmp(section, "docker") == 0)
            read_docker(&savings, line);
        else if (strcmp(section, "images") == 0 && disk_size_read(line) >= 0)
            images += disk_size_read(line), image_count++;
        else if (strcmp(section, "deleted") == 0)
            read_deleted(&savings, texts, line);
    }
    add_images(&savings, texts, images, image_count);
    talloc_free(text);
    qsort(savings.items, savings.count, sizeof *savings.items, by_size);
    *count = savings.count;
    return talloc_steal(context, savings.items);
}
