/* Cgroups of both versions: slices and what is right in them, with the memory, CPU and tasks that they use.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

/* "/sys/fs/cgroup/system.slice/nginx.service/memory.current" is "system.slice/nginx.service" and the file. */
static bool split_path(struct span path, struct span *group, struct span *file)
{
    if (!span_skip(&path, "/sys/fs/cgroup/"))
        return false;
    if (!span_skip(&path, "memory/") && !span_skip(&path, "cpuacct/"))
        span_skip(&path, "pids/");
    size_t slash = path.length;
    while (slash > 0 && path.at[slash - 1] != '/')
        slash--;
    if (slash < 2)
        return false;
    *group = (struct span){path.at, slash - 1};
    *file = (struct span){path.at + slash, path.length - slash};
    /* With both versions at once, these are the hierarchies themselves. */
    return !span_is(*group, "unified") && !span_is(*group, "cpu") && !span_is(*group, "cpu,cpuacct");
}

/* ARRAY_ADD counts on through it. NOLINTNEXTLINE(readability-non-const-parameter) */
static struct host_cgroup *find_group(struct host_part *part, struct host_cgroup **groups, size_t *count,
                                      struct span name)
{
    for (size_t i = 0; i < *count; i++)
        if (span_is(name, (*groups)[i].path))
            return &(*groups)[i];
    struct host_cgroup *group = ARRAY_ADD(part, *groups, *count, HOST_MAX_CGROUPS);
    if (group)
        *group = (struct host_cgroup){.path = span_copy(part, name, 200),
                                      .cpu_percent = NAN,
                                      .memory_bytes = NAN,
                                      .memory_limit_bytes = NAN,
                                      .tasks = -1,
                                      .oom_kills = -1};
    return group;
}

/* FNV-1a: paths are long, and kept for each host between two samples. */
static uint64_t key_of(const char *path)
{
    uint64_t key = 14695981039346656037u;
    for (; *path; path++)
        key = (key ^ (unsigned char)*path) * 1099511628211u;
    return key;
}

/* The CPU that it used since the last sample; what it has used now goes to `fresh`. */
static void compare_cpu(const struct host_record *record, struct host_cgroup *group, uint64_t used_us,
                        double seconds, struct raw_cgroup *fresh)
{
    *fresh = (struct raw_cgroup){key_of(group->path), used_us};
    for (size_t i = 0; i < record->raw_cgroup_count && seconds > 0.5; i++)
        if (record->raw_cgroups[i].key == fresh->key && used_us >= record->raw_cgroups[i].cpu_us)
            group->cpu_percent = (float)((double)(used_us - record->raw_cgroups[i].cpu_us) / 1e4 / seconds);
}

/* Version 1 writes "no limit" as almost 2^63. */
static double limit_of(uint64_t value)
{
    return value > (uint64_t)1 << 60 ? INFINITY : (double)value;
}

static void read_value(struct host_cgroup *group, struct span file, struct span value)
{
    uint64_t number;
    if (span_is(file, "memory.max") && span_is(value, "max"))
        group->memory_limit_bytes = INFINITY;
    else if (span_is(file, "memory.events") || span_is(file, "memory.oom_control")) {
        if (span_skip(&value, "oom_kill "))
            span_integer(value, 1 << 30, &group->oom_kills);
    } else if (!span_counter(value, &number))
        return;
    else if (span_is(file, "memory.current") || span_is(file, "memory.usage_in_bytes"))
        group->memory_bytes = (double)number;
    else if (span_is(file, "memory.max") || span_is(file, "memory.limit_in_bytes"))
        group->memory_limit_bytes = limit_of(number);
    else if (span_is(file, "pids.current"))
        span_integer(value, 1 << 30, &group->tasks);
}

static bool cpu_time(struct span file, struct span value, uint64_t *used_us)
{
    if (span_is(file, "cpu.stat"))
        return span_skip(&value, "usage_usec ") && span_counter(value, used_us);
    if (!span_is(file, "cpuacct.usage") || !span_counter(value, used_us))
        return false;
    *used_us /= 1000;
    return true;
}

static int heavier(const void *a, const void *b)
{
    double left = ((const struct host_cgroup *)a)->memory_bytes,
           right = ((const struct host_cgroup *)b)->memory_bytes;
    left = isnan(left) ? -1 : left;
    right = isnan(right) ? -1 : right;
    return (left < right) - (left > right);
}

void parse_cgroup_tree(struct host_record *record, struct host_part *part, struct span body)
{
    struct host_cgroup *groups = NULL;
    struct raw_cgroup *fresh = NULL;
    size_t count = 0, fresh_count = 0;
    double uptime = NAN, seconds = NAN;
    struct span line, name, file;
    uint64_t used_us;
    while (span_line(&body, &line)) {
        if (span_skip(&line, "uptime ") && span_real(line, false, &uptime))
            seconds = record->raw_cgroup_count ? uptime - record->cgroups_uptime : NAN;
        struct span path = span_until(&line, ':');
        struct host_cgroup *group =
            split_path(path, &name, &file) ? find_group(part, &groups, &count, name) : NULL;
        if (!group)
            continue;
        struct raw_cgroup *slot =
            cpu_time(file, line, &used_us) ? ARRAY_ADD(record, fresh, fresh_count, HOST_MAX_CGROUPS) : NULL;
        if (slot)
            compare_cpu(record, group, used_us, seconds, slot);
        else
            read_value(group, file, line);
    }
    talloc_free(record->raw_cgroups);
    record->raw_cgroups = fresh;
    record->raw_cgroup_count = fresh_count;
    record->cgroups_uptime = uptime;
    if (count)
        qsort(groups, count, sizeof *groups, heavier);
    record->now.cgroups = groups;
    record->now.cgroup_count = count;
}
