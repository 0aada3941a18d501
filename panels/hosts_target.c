/* Which thing of a host a row of its views is about. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "panels/host.h"
#include "panels/hosts_acts.h"

/* "system.slice/nginx.service/x" is of nginx.service; NULL when no unit is in it. */
static const char *unit_of_cgroup(const void *context, const char *cgroup)
{
    static const char suffix[] = ".service";
    const char *end = cgroup ? strstr(cgroup, suffix) : NULL;
    if (!end)
        return NULL;
    const char *begin = end;
    while (begin > cgroup && begin[-1] != '/')
        begin--;
    return talloc_strndup(context, begin, (size_t)(end - begin) + sizeof suffix - 1);
}

static const struct host_process *find_process(const struct host_snapshot *snapshot, int pid)
{
    for (size_t i = 0; i < snapshot->process_count; i++)
        if (snapshot->process[i].pid == pid)
            return &snapshot->process[i];
    return NULL;
}

static struct hosts_target process_target(const struct host_snapshot *snapshot, int pid, const char *name,
                                          double age_s)
{
    /* By the host's own clock alone: ours may differ. */
    double uptime = snapshot->uptime_s - (snapshot->fast_at - snapshot->medium_at);
    return (struct hosts_target){.kind = TARGET_PROCESS,
                                 .name = name,
                                 .pid = pid,
                                 .started = snapshot->medium_at > 0 ? uptime - age_s : NAN};
}

/* Restarting a service is its unit's business where it has one. */
static struct hosts_target service_target(const void *context, const struct host_snapshot *snapshot,
                                          const struct host_service *service)
{
    const struct host_process *process = find_process(snapshot, service->pid);
    const char *unit = process ? unit_of_cgroup(context, process->cgroup) : NULL;
    if (unit)
        return (struct hosts_target){.kind = TARGET_UNIT, .name = unit, .started = NAN};
    return process_target(snapshot, service->pid, service->name, service->age_s);
}

struct hosts_target hosts_row_target(const void *context, const struct view *view,
                                     const struct host_snapshot *snapshot, const struct table_row *row)
{
    struct hosts_target target = {.kind = TARGET_HOST, .started = NAN};
    const void *item = row ? row->data : NULL;
    if (!item || !snapshot)
        return target;
    if (view == &host_processes) {
        const struct host_process *process = item;
        return process_target(snapshot, process->pid, process->command, process->age_s);
    }
    if (view == &host_services && ((const struct host_service *)item)->pid > 0)
        return service_target(context, snapshot, item);
    if (view == &host_sockets && ((const struct host_listener *)item)->pid > 0) {
        const struct host_listener *listener = item;
        const struct host_process *process = find_process(snapshot, listener->pid);
        return process_target(snapshot, listener->pid, listener->process, process ? process->age_s : NAN);
    }
    if (view == &host_units) {
        target.kind = TARGET_UNIT;
        target.name = ((const struct host_unit *)item)->name;
    } else if (view == &host_containers) {
        target.kind = TARGET_CONTAINER;
        target.name = ((const struct host_container *)item)->name;
        target.id = ((const struct host_container *)item)->id;
    } else if (view == &host_certificates) {
        target.kind = TARGET_CERTIFICATE;
        target.name = ((const struct host_certificate *)item)->path;
    } else if (view == &host_mounts) {
        target.kind = TARGET_MOUNT;
        target.name = ((const struct host_mount *)item)->mount;
    }
    return target;
}
