/* Any text at all as what a host answers about its disk and its processes: read without a crash, a leak or a
 * hang; and what comes out of it is in bounds. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *context = talloc_new(NULL);
    struct error error = {0};
    char *text = talloc_strndup(context, (const char *)data, size);
    struct disk_level *level =
        disk_level_read(context, "/var", (const char *)data, size, text, 2, NULL, &error);
    struct disk_level *next =
        disk_level_read(context, "/var", (const char *)data, size, text, 3, level, &error);
    if (!level != !next || (!level && error.kind == ERROR_NONE))
        abort();
    for (size_t i = 0; level && i < level->count; i++)
        if (strncmp(level->entries[i].path, "/var/", 5) != 0 || strchr(level->entries[i].name, '/') ||
            !level->entries[i].name[0] || !(level->entries[i].bytes >= 0))
            abort();
    size_t count;
    struct disk_saving *savings = disk_savings_read(context, text, &count);
    for (size_t i = 0; i < count; i++)
        if (!savings[i].what || savings[i].bytes < 0)
            abort();
    struct host_victim victim;
    if (host_victim_read(context, text, &victim) && (victim.pid <= 0 || !victim.command))
        abort();
    talloc_free(context);
    return 0;
}
