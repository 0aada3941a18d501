/* Containers: fields of `docker inspect` that the script names, and what their cgroups say of memory and CPU.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"
#include "core/units.h"

enum {
    FIELD_ID,
    FIELD_NAME,
    FIELD_STATE,
    FIELD_HEALTH,
    FIELD_RESTARTS,
    FIELD_EXIT,
    FIELD_OOM,
    FIELD_STARTED,
    FIELD_FINISHED,
    FIELD_MEMORY,
    FIELD_IMAGE_ID,
    FIELD_PROJECT,
    FIELDS
};

static const char *status_text(struct host_part *part, const struct host_container *container,
                               double finished, double now)
{
    char age[32] = "";
    double since = !strcmp(container->state, "running") ? container->started : finished;
    char *text;
    if (!isnan(since) && since <= now)
        format_s(age, sizeof age, now - since);
    if (!strcmp(container->state, "running"))
        text = talloc_asprintf(part, "Up %s%s%s%s", age[0] ? age : "?", container->health ? " (" : "",
                               container->health ? container->health : "", container->health ? ")" : "");
    else if (!strcmp(container->state, "exited") || !strcmp(container->state, "restarting"))
        text = talloc_asprintf(part, "%s (%d) %s%s", container->state[0] == 'e' ? "Exited" : "Restarting",
                               container->exit_code, age[0] ? age : "", age[0] ? " ago" : "");
    else
        text = talloc_strdup(part, container->state);
    if (!text)
        abort();
    return text;
}

static double image_created(const struct host_record *record, struct span id)
{
    for (size_t i = 0; i < record->image_count; i++)
        if (span_is(id, record->images[i].id))
            return record->images[i].created;
    return NAN;
}

static bool container_id(struct span id)
{
    if (id.length < 12 || id.length > 64)
        return false;
    for (size_t i = 0; i < id.length; i++)
        if (!((id.at[i] >= '0' && id.at[i] <= '9') || (id.at[i] >= 'a' && id.at[i] <= 'f')))
            return false;
    return true;
}

static void read_container(struct host_record *record, struct host_part *part, struct span line, double now)
{
    struct span field[FIELDS];
    uint64_t limit;
    for (int i = 0; i < FIELDS; i++)
        field[i] = span_until(&line, '|');
    if (!container_id(field[FIELD_ID]) || !field[FIELD_STATE].length)
        return;
    struct host_container *containers = (struct host_container *)record->now.containers;
    struct host_container *c = ARRAY_ADD(part, containers, record->now.container_count, HOST_MAX_CONTAINERS);
    record->now.containers = containers;
    if (!c)
        return;
    span_skip(&field[FIELD_NAME], "/");
    bool healthy_known = field[FIELD_HEALTH].length && !span_is(field[FIELD_HEALTH], "none");
    *c = (struct host_container){
        .id = part_text(part, field[FIELD_ID], 12),
        .name = part_text(part, field[FIELD_NAME], 80),
        .image = part_text(part, line, 120),
        .project = field[FIELD_PROJECT].length ? part_text(part, field[FIELD_PROJECT], 60) : NULL,
        .state = part_text(part, field[FIELD_STATE], 20),
        .health = healthy_known ? part_text(part, field[FIELD_HEALTH], 20) : NULL,
        .restarts = -1,
        .exit_code = -1,
        .oom_killed = span_is(field[FIELD_OOM], "true"),
        .started = span_time(field[FIELD_STARTED]),
        .image_created = image_created(record, field[FIELD_IMAGE_ID]),
        .cpu_percent = NAN,
        .memory_bytes = NAN,
        .memory_limit_bytes = NAN};
    span_integer(field[FIELD_RESTARTS], 1 << 30, &c->restarts);
    span_integer(field[FIELD_EXIT], 255, &c->exit_code);
    if (span_counter(field[FIELD_MEMORY], &limit))
        c->memory_limit_bytes = limit ? (double)limit : INFINITY;
    c->status = status_text(part, c, span_time(field[FIELD_FINISHED]), now);
}

static bool troubled(const struct host_container *c)
{
    return !strcmp(c->state, "restarting") || (c->health && !strcmp(c->health, "unhealthy")) || c->oom_killed;
}

static int more_troubled(const void *a, const void *b)
{
    const struct host_container *x = a, *y = b;
    if (troubled(x) != troubled(y))
        return troubled(y) - troubled(x);
    if (x->restarts != y->restarts)
        return (x->restarts < y->restarts) - (x->restarts > y->restarts);
    return strcmp(x->name, y->name);
}

void parse_containers(struct host_record *record, struct host_part *part, struct span body, double now)
{
    struct host_snapshot *snapshot = &record->now;
    struct span line, rest = body;
    snapshot->docker = true;
    if (span_starts(body, "error ")) {
        span_line(&rest, &line);
        span_skip(&line, "error ");
        record->docker_error = part_text(part, line, 200);
        return;
    }
    while (span_line(&rest, &line))
        read_container(record, part, line, now);
    snapshot->containers_running = snapshot->containers_restarting = 0;
    for (size_t i = 0; i < snapshot->container_count; i++) {
        snapshot->containers_running += !strcmp(snapshot->containers[i].state, "running");
        snapshot->containers_restarting += !strcmp(snapshot->containers[i].state, "restarting");
    }
    if (snapshot->container_count)
        qsort((struct host_container *)snapshot->containers, snapshot->container_count,
              sizeof *snapshot->containers, more_troubled);
}

/* ---- cgroups ---- */

static struct host_container *container_of_path(struct host_snapshot *now, struct span path)
{
    for (size_t i = 0; i < now->container_count; i++)
        if (span_find(path, now->containers[i].id) != path.length)
            return (struct host_container *)&now->containers[i];
    return NULL;
}

/* CPU that it used since the last sample; what it has used now goes to `fresh`. */
static void compare_cpu(struct host_record *record, struct host_container *container, uint64_t used_us,
                        double seconds, struct raw_container *fresh)
{
    for (size_t i = 0; i < record->raw_container_count; i++) {
        const struct raw_container *old = &record->raw_containers[i];
        if (!strcmp(old->id, container->id) && used_us >= old->cpu_us && seconds > 0.5)
            container->cpu_percent = (float)((double)(used_us - old->cpu_us) / 1e4 / seconds);
    }
    strncpy(fresh->id, container->id, sizeof fresh->id - 1);
    fresh->cpu_us = used_us;
}

void parse_cgroups(struct host_record *record, struct span body, double seconds)
{
    struct span line;
    struct raw_container *fresh = NULL;
    size_t count = 0;
    while (span_line(&body, &line)) {
        struct span path = span_until(&line, ':');
        struct host_container *container = container_of_path(&record->now, path);
        uint64_t value;
        if (!container)
            continue;
        if (span_ends(path, "/memory.current") || span_ends(path, "/memory.usage_in_bytes")) {
            if (span_next_counter(&line, &value))
                container->memory_bytes = (double)value;
        } else if (span_skip(&line, span_starts(path, "/sys/fs/cgroup/memory/") ? "total_inactive_file "
                                                                                : "inactive_file ")) {
            /* As docker counts: what can be dropped at once is not used. */
            if (span_next_counter(&line, &value) && container->memory_bytes >= (double)value)
                container->memory_bytes -= (double)value;
        } else if (span_ends(path, "/cpuacct.usage") || span_skip(&line, "usage_usec ")) {
            if (!span_next_counter(&line, &value))
                continue;
            struct raw_container *slot = ARRAY_ADD(record, fresh, count, HOST_MAX_CONTAINERS);
            if (slot)
                compare_cpu(record, container, span_ends(path, "/cpuacct.usage") ? value / 1000 : value,
                            seconds, slot);
        }
    }
    talloc_free(record->raw_containers);
    record->raw_containers = fresh;
    record->raw_container_count = count;
}
