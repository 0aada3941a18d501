/* One host: cgroups, the slices, units and scopes that its processes are accounted to. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "panels/host.h"

HOST_TEXT(cgroup, path, path)
HOST_REAL(cgroup, cpu, cpu_percent)
HOST_REAL(cgroup, memory, memory_bytes)
HOST_COUNT(cgroup, tasks, tasks)

static struct value cgroup_limit(const void *row)
{
    double limit = ((const struct host_cgroup *)row)->memory_limit_bytes;
    return isinf(limit) ? value_blank() : isnan(limit) ? value_unknown() : value_real(limit);
}
static struct value cgroup_of_limit(const void *row)
{
    const struct host_cgroup *group = row;
    if (isinf(group->memory_limit_bytes))
        return value_blank();
    return host_value(MEASURE_MEMORY, 100 * group->memory_bytes / group->memory_limit_bytes);
}
static struct value cgroup_oom_kills(const void *row)
{
    int kills = ((const struct host_cgroup *)row)->oom_kills;
    if (kills < 0)
        return value_unknown();
    struct value value = value_integer(kills);
    value.severity = kills > 0 ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}

static const struct column cgroup_columns[] = {
    {"cgroup", "cgroup", "a slice of systemd, or a unit, scope or container right in one", UNIT_NONE, 44, 0,
     0, cgroup_path, NULL},
    {"cpu_percent", "cpu", "of one core since the last sample", UNIT_PERCENT, 8, 0, 0, cgroup_cpu, NULL},
    {"memory_bytes", "memory", "what is charged to it, the cache of its files included", UNIT_BYTES, 9, 0, 0,
     cgroup_memory, NULL},
    {"limit_percent", "of limit", "of the memory that it may have; blank: no limit", UNIT_PERCENT, 8, 1, 0,
     cgroup_of_limit, NULL},
    {"limit_bytes", "limit", "the memory that it may have; blank: no limit", UNIT_BYTES, 9, 2, 0,
     cgroup_limit, NULL},
    {"tasks", "tasks", "processes and threads", UNIT_COUNT, 7, 1, 0, cgroup_tasks, NULL},
    {"oom_kills", "oom kills", "processes in it that were killed for memory since it is there", UNIT_COUNT, 9,
     1, 0, cgroup_oom_kills, NULL},
};

static void cgroup_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->cgroups, snapshot->cgroup_count, host_cgroup, "%s", item->path)
}

const struct view host_cgroups = {
    .id = "cgroups",
    .title = "Cgroups",
    .summary = "slices, units and scopes: the memory, processor time and tasks that they use",
    .empty = "no cgroup was read: not yet, or the host shows none",
    .columns = cgroup_columns,
    .column_count = sizeof cgroup_columns / sizeof *cgroup_columns,
    .sort = "memory_bytes",
    .descending = true,
    .rows = cgroup_rows,
    HOST_VIEW,
};
