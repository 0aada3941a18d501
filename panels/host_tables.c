/* One host: processes, file systems, disks, interfaces, cores, sockets: what its kernel says. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "panels/host.h"

/* ---- processes ---- */

HOST_COUNT(process, pid, pid)
HOST_COUNT(process, parent, parent)
HOST_TEXT(process, user, user)
HOST_TEXT(process, command, command)
HOST_TEXT(process, cgroup, cgroup)
HOST_REAL(process, cpu, cpu_percent)
HOST_REAL(process, cpu_s, cpu_s)
HOST_REAL(process, rss, rss_bytes)
HOST_REAL(process, age, age_s)
HOST_REAL(process, read, read_bytes_per_s)
HOST_REAL(process, written, write_bytes_per_s)

/* D is a process that waits for a disk and cannot be killed; Z one that nobody has buried. */
static struct value process_state(const void *row)
{
    const char *state = ((const struct host_process *)row)->state;
    struct value value = value_text(state);
    if (state && (state[0] == 'D' || state[0] == 'Z'))
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value process_arguments(const void *row)
{
    const struct host_process *process = row;
    return value_text(process->arguments ? process->arguments : process->command);
}

static const struct column process_columns[] = {
    {"pid", "pid", "its number on the host", UNIT_ID, 8, 0, 0, process_pid, NULL},
    {"parent", "parent", "the process that started it", UNIT_ID, 8, 6, 0, process_parent, NULL},
    {"user", "user", "whose it is", UNIT_NONE, 10, 1, 0, process_user, NULL},
    {"state", "state", "R runs, S sleeps, D waits for a disk, Z has ended", UNIT_NONE, 5, 3, 0, process_state,
     NULL},
    {"cpu_percent", "cpu", "of one core since the last sample", UNIT_PERCENT, 7, 0, 0, process_cpu, NULL},
    {"rss_bytes", "memory", "resident memory, what it shares with others included", UNIT_BYTES, 8, 0, 0,
     process_rss, NULL},
    {"read_bytes_per_s", "read/s", "bytes from disks; unknown: /proc/PID/io is for its owner", UNIT_PER_S, 7,
     4, 0, process_read, NULL},
    {"written_bytes_per_s", "write/s", "bytes to disks; unknown: /proc/PID/io is for its owner", UNIT_PER_S,
     7, 4, 0, process_written, NULL},
    {"cpu_s", "cpu time", "since it was started", UNIT_S, 9, 5, 0, process_cpu_s, NULL},
    {"age_s", "age", "since it was started", UNIT_S, 9, 5, 0, process_age, NULL},
    {"command", "command", "the name of the program", UNIT_NONE, 15, 2, COLUMN_HIDDEN, process_command, NULL},
    {"cgroup", "cgroup", "the unit or container that it belongs to", UNIT_NONE, 24, 7, 0, process_cgroup,
     NULL},
    {"arguments", "command line", "the program with its arguments as far as they are known", UNIT_NONE, 0, 0,
     0, process_arguments, NULL},
};

static void process_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->process, snapshot->process_count, host_process, "%d", item->pid)
}

const struct view host_processes = {
    .id = "processes",
    .title = "Processes",
    .summary = "the processes that weigh most, by cpu, memory and disk",
    .empty = "no process is known yet",
    .columns = process_columns,
    .column_count = sizeof process_columns / sizeof *process_columns,
    .sort = "cpu_percent",
    .descending = true,
    .rows = process_rows,
    HOST_VIEW,
};

/* ---- file systems ---- */

HOST_TEXT(mount, device, device)
HOST_TEXT(mount, mount, mount)
HOST_TEXT(mount, type, type)
HOST_REAL(mount, size, size_bytes)
HOST_REAL(mount, used, used_bytes)
HOST_REAL(mount, available, available_bytes)
HOST_LEVEL(mount, percent, used_percent, MEASURE_DISK)

static struct value mount_inodes(const void *row)
{
    float percent = ((const struct host_mount *)row)->inode_percent;
    return isnan(percent) ? value_blank() : host_value(MEASURE_INODES, percent);
}
static struct value mount_full_in(const void *row)
{
    double seconds = ((const struct host_mount *)row)->full_in_s;
    if (isinf(seconds))
        return (struct value){.kind = VALUE_NEVER};
    struct value value = host_value(MEASURE_FULL_IN, seconds);
    value.estimated = true;
    return value;
}

static const struct column mount_columns[] = {
    {"mount", "mount", "where it is mounted", UNIT_NONE, 24, 0, 0, mount_mount, NULL},
    {"used_percent", "used", "as df counts it: of what users may use", UNIT_PERCENT, 7, 0, 0, mount_percent,
     NULL},
    {"used_bytes", "used", "bytes in use", UNIT_BYTES, 9, 2, 0, mount_used, NULL},
    {"available_bytes", "free", "what is left for users", UNIT_BYTES, 9, 0, 0, mount_available, NULL},
    {"size_bytes", "size", "all of it", UNIT_BYTES, 9, 1, 0, mount_size, NULL},
    {"inode_percent", "inodes", "inodes used; blank where there are none", UNIT_PERCENT, 7, 1, 0,
     mount_inodes, NULL},
    {"full_in_s", "full in", "if it grows on as in the last minutes; never: it does not grow", UNIT_S, 11, 1,
     0, mount_full_in, NULL},
    {"type", "type", "kind of file system", UNIT_NONE, 8, 4, 0, mount_type, NULL},
    {"device", "device", "where the bytes are", UNIT_NONE, 0, 3, 0, mount_device, NULL},
};

static void mount_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->mounts, snapshot->mount_count, host_mount, "%s", item->mount)
}

const struct view host_mounts = {
    .id = "mounts",
    .title = "Disk space",
    .summary = "file systems: how full, and when they will be",
    .empty = "no file system is known yet",
    .columns = mount_columns,
    .column_count = sizeof mount_columns / sizeof *mount_columns,
    .sort = "used_percent",
    .descending = true,
    .rows = mount_rows,
    HOST_VIEW,
};

/* ---- disks ---- */

HOST_TEXT(block, name, name)
HOST_REAL(block, read, read_bytes_per_s)
HOST_REAL(block, written, write_bytes_per_s)
HOST_REAL(block, reads, reads_per_s)
HOST_REAL(block, writes, writes_per_s)
HOST_REAL(block, wait, wait_ms)
HOST_LEVEL(block, busy, busy_percent, MEASURE_IO_BUSY)
HOST_LEVEL(block, queue, queue, MEASURE_IO_QUEUE)

static const struct column block_columns[] = {
    {"disk", "disk", "its name in /proc/diskstats", UNIT_NONE, 14, 0, 0, block_name, NULL},
    {"busy_percent", "busy", "time in which it had something to do", UNIT_PERCENT, 7, 0, 0, block_busy, NULL},
    {"queue", "queue", "requests that were there at once, on average", UNIT_NONE, 8, 0, 0, block_queue, NULL},
    {"wait_ms", "wait", "time that a request took, waiting included", UNIT_MS, 9, 0, 0, block_wait, NULL},
    {"reads_per_s", "reads/s", "requests", UNIT_PER_S, 8, 1, 0, block_reads, NULL},
    {"writes_per_s", "writes/s", "requests", UNIT_PER_S, 8, 1, 0, block_writes, NULL},
    {"read_bytes_per_s", "read B/s", "bytes", UNIT_PER_S, 9, 0, 0, block_read, NULL},
    {"written_bytes_per_s", "write B/s", "bytes", UNIT_PER_S, 9, 0, 0, block_written, NULL},
};

static void block_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->blocks, snapshot->block_count, host_block, "%s", item->name)
}

const struct view host_disks = {
    .id = "disks",
    .title = "Disks",
    .summary = "disks: how busy, how long their queues",
    .empty = "the kernel names no disk (a container often sees none)",
    .columns = block_columns,
    .column_count = sizeof block_columns / sizeof *block_columns,
    .sort = "busy_percent",
    .descending = true,
    .rows = block_rows,
    HOST_VIEW,
};

/* ---- interfaces ---- */

HOST_TEXT(interface, name, name)
HOST_REAL(interface, in, in_bytes_per_s)
HOST_REAL(interface, out, out_bytes_per_s)
HOST_REAL(interface, in_packets, in_packets_per_s)
HOST_REAL(interface, out_packets, out_packets_per_s)

static struct value bad_when_above_0(double value)
{
    if (isnan(value))
        return value_unknown();
    return (struct value){
        .kind = VALUE_REAL, .real = value, .severity = value > 0 ? SEVERITY_WARNING : SEVERITY_NONE};
}
static struct value interface_errors(const void *row)
{
    return bad_when_above_0((double)((const struct host_interface *)row)->errors_per_s);
}
static struct value interface_drops(const void *row)
{
    return bad_when_above_0((double)((const struct host_interface *)row)->drops_per_s);
}

static const struct column interface_columns[] = {
    {"interface", "interface", "its name", UNIT_NONE, 16, 0, 0, interface_name, NULL},
    {"in_bytes_per_s", "in B/s", "bytes received", UNIT_PER_S, 9, 0, 0, interface_in, NULL},
    {"out_bytes_per_s", "out B/s", "bytes sent", UNIT_PER_S, 9, 0, 0, interface_out, NULL},
    {"in_packets_per_s", "in p/s", "packets received", UNIT_PER_S, 9, 1, 0, interface_in_packets, NULL},
    {"out_packets_per_s", "out p/s", "packets sent", UNIT_PER_S, 9, 1, 0, interface_out_packets, NULL},
    {"errors_per_s", "errors/s", "packets that were broken", UNIT_PER_S, 9, 0, 0, interface_errors, NULL},
    {"drops_per_s", "drops/s", "packets that nobody took", UNIT_PER_S, 9, 0, 0, interface_drops, NULL},
};

static void interface_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->interfaces, snapshot->interface_count, host_interface, "%s", item->name)
}

const struct view host_network = {
    .id = "network",
    .title = "Network",
    .summary = "interfaces: what goes through, what is lost",
    .empty = "no interface is known yet",
    .columns = interface_columns,
    .column_count = sizeof interface_columns / sizeof *interface_columns,
    .sort = "in_bytes_per_s",
    .descending = true,
    .rows = interface_rows,
    HOST_VIEW,
};

/* ---- cores ---- */

/* A core has no number of its own in the snapshot: it is its place. */
struct core_row {
    const struct host_core *core;
    int number;
};
#define CORE(name, member)                                                                                   \
    static struct value core_##name(const void *row)                                                         \
    {                                                                                                        \
        double percent = (double)((const struct core_row *)row)->core->member;                               \
        return isnan(percent) ? value_unknown() : value_real(percent);                                       \
    }
CORE(busy, busy)
CORE(user, user)
CORE(system, system)
CORE(iowait, iowait)
CORE(steal, steal)
static struct value core_number(const void *row)
{
    return value_integer(((const struct core_row *)row)->number);
}

static const struct column core_columns[] = {
    {"core", "core", "its number", UNIT_ID, 5, 0, 0, core_number, NULL},
    {"busy_percent", "busy", "time in which it ran something", UNIT_SHARE, 24, 0, 0, core_busy, NULL},
    {"user_percent", "user", "programs", UNIT_PERCENT, 8, 0, 0, core_user, NULL},
    {"system_percent", "system", "the kernel, interrupts included", UNIT_PERCENT, 8, 0, 0, core_system, NULL},
    {"iowait_percent", "iowait", "idle while a disk was waited for", UNIT_PERCENT, 8, 0, 0, core_iowait,
     NULL},
    {"steal_percent", "steal", "the hypervisor gave it to others", UNIT_PERCENT, 8, 0, 0, core_steal, NULL},
};

static void core_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    int count = snapshot && snapshot->core ? snapshot->cores : 0;
    struct core_row *rows = talloc_zero_array(list, struct core_row, (size_t)count + 1);
    for (int i = 0; i < count; i++) {
        rows[i] = (struct core_row){&snapshot->core[i], i};
        row_list_add(list, (struct table_row){.data = &rows[i], .id = talloc_asprintf(list, "%d", i)});
    }
}

const struct view host_cores = {
    .id = "cores",
    .title = "Cores",
    .summary = "each processor by itself: one that is full hides in the average",
    .empty = "no processor is known yet",
    .columns = core_columns,
    .column_count = sizeof core_columns / sizeof *core_columns,
    .rows = core_rows,
    HOST_VIEW,
};

/* ---- sockets ---- */

HOST_TEXT(listener, protocol, protocol)
HOST_TEXT(listener, address, address)
HOST_COUNT(listener, port, port)
HOST_COUNT(listener, limit, backlog_limit)

static struct value listener_backlog(const void *row)
{
    const struct host_listener *listener = row;
    if (listener->backlog < 0)
        return value_unknown();
    struct value value = value_integer(listener->backlog);
    if (listener->backlog_limit > 0)
        value.severity =
            host_severity(MEASURE_ACCEPT_QUEUE, 100.0 * listener->backlog / listener->backlog_limit);
    return value;
}
static struct value listener_process(const void *row)
{
    const struct host_listener *listener = row;
    return listener->process ? value_text(listener->process) : value_unknown();
}
static struct value listener_pid(const void *row)
{
    const struct host_listener *listener = row;
    return listener->pid ? value_integer(listener->pid) : value_unknown();
}

static const struct column listener_columns[] = {
    {"port", "port", "where it listens", UNIT_ID, 6, 0, 0, listener_port, NULL},
    {"address", "address", "of which address; 0.0.0.0 and :: are all", UNIT_NONE, 24, 0, 0, listener_address,
     NULL},
    {"protocol", "protocol", "tcp, udp or unix", UNIT_NONE, 8, 2, 0, listener_protocol, NULL},
    {"backlog", "waiting", "connections that wait to be accepted", UNIT_COUNT, 8, 0, 0, listener_backlog,
     NULL},
    {"backlog_limit", "at most", "how many may wait before the kernel refuses", UNIT_COUNT, 8, 0, 0,
     listener_limit, NULL},
    {"pid", "pid", "of the process; unknown: ss -p is for root", UNIT_ID, 8, 2, 0, listener_pid, NULL},
    {"process", "process", "who listens; unknown: ss -p is for root", UNIT_NONE, 0, 0, 0, listener_process,
     NULL},
};

static void listener_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->listeners, snapshot->listener_count, host_listener, "%s %s %d", item->protocol,
              item->address, item->port)
}

const struct view host_sockets = {
    .id = "sockets",
    .title = "Sockets",
    .summary = "who listens, and how many wait to be accepted",
    .empty = "no listening socket is known yet",
    .columns = listener_columns,
    .column_count = sizeof listener_columns / sizeof *listener_columns,
    .sort = "backlog",
    .descending = true,
    .rows = listener_rows,
    HOST_VIEW,
};
