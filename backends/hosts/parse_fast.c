/* The fast tier: /proc as one grep prints it ("/proc/stat:cpu0 1 2 3"), and the differences to the sample
 * before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

#define SECTOR 512.0
/* Shorter than this a difference is noise, longer it is history. */
#define SHORTEST_S 0.05
#define LONGEST_S 900.0

struct fast_reader {
    struct host_record *record;
    struct host_part *part;
    struct raw_fast *raw;
    struct span tcp_names; /* header line of the pair that comes next */
    bool stat, memory;
};

static double kilobytes(struct span rest)
{
    uint64_t value;
    return span_next_counter(&rest, &value) ? (double)value * 1024 : NAN;
}

/* ---- one file each ---- */

static void read_cpu(struct fast_reader *reader, struct span word, struct span rest)
{
    uint64_t ticks[8] = {0};
    struct raw_fast *raw = reader->raw;
    for (int i = 0; i < 8 && span_next_counter(&rest, &ticks[i]); i++)
        ;
    struct raw_cpu cpu = {.user = ticks[0] + ticks[1],
                          .system = ticks[2] + ticks[5] + ticks[6],
                          .idle = ticks[3],
                          .iowait = ticks[4],
                          .steal = ticks[7]};
    if (span_is(word, "cpu")) {
        raw->all = cpu;
        reader->stat = true;
        return;
    }
    struct raw_cpu *core = ARRAY_ADD(raw, raw->cores, raw->core_count, HOST_MAX_CORES);
    if (core)
        *core = cpu;
}

static void read_stat(struct fast_reader *reader, struct span line)
{
    struct span word;
    uint64_t value;
    struct host_snapshot *now = &reader->record->now;
    if (!span_word(&line, &word))
        return;
    if (span_starts(word, "cpu"))
        read_cpu(reader, word, line);
    else if (span_is(word, "btime") && span_next_counter(&line, &value))
        reader->raw->booted = (double)value;
    else if (span_is(word, "procs_running") && span_next_counter(&line, &value))
        now->running = (int)(value < 1000000 ? value : 1000000);
    else if (span_is(word, "procs_blocked") && span_next_counter(&line, &value))
        now->blocked = (int)(value < 1000000 ? value : 1000000);
}

static void read_memory(struct fast_reader *reader, struct span line)
{
    struct host_snapshot *now = &reader->record->now;
    struct span name = span_until(&line, ':');
    double bytes = kilobytes(line);
    if (isnan(bytes))
        return;
    if (span_is(name, "MemTotal")) {
        now->memory_bytes = bytes;
        reader->memory = true;
    } else if (span_is(name, "MemAvailable"))
        now->available_bytes = bytes;
    else if (span_is(name, "Cached"))
        now->cached_bytes = bytes;
    else if (span_is(name, "SwapTotal"))
        now->swap_bytes = bytes;
    else if (span_is(name, "SwapFree"))
        now->swap_used_bytes = fmax(0, now->swap_bytes - bytes);
    else if (span_is(name, "Dirty"))
        now->dirty_bytes = bytes;
}

static float average10(struct span line)
{
    double value;
    struct span word;
    while (span_word(&line, &word))
        if (span_skip(&word, "avg10="))
            return span_real(word, false, &value) && value <= 100 ? (float)value : NAN;
    return NAN;
}

static void read_pressure(struct fast_reader *reader, struct span of, struct span line)
{
    struct host_snapshot *now = &reader->record->now;
    bool some = span_starts(line, "some");
    float value = average10(line);
    if (span_is(of, "cpu") && some)
        now->psi_cpu_some10 = value;
    else if (span_is(of, "io"))
        *(some ? &now->psi_io_some10 : &now->psi_io_full10) = value;
    else if (span_is(of, "memory"))
        *(some ? &now->psi_memory_some10 : &now->psi_memory_full10) = value;
}

static void read_disk(struct fast_reader *reader, struct span line)
{
    struct raw_fast *raw = reader->raw;
    struct span name;
    uint64_t v[11];
    /* Behind the major and the minor number. */
    if (!span_word_after(&line, 2, &name) || name.length >= sizeof raw->blocks->name)
        return;
    for (int i = 0; i < 11; i++)
        if (!span_next_counter(&line, &v[i]))
            return;
    /* Mapped devices count again what their disks count. */
    if (span_starts(name, "loop") || span_starts(name, "ram") || span_starts(name, "dm-") ||
        span_starts(name, "sr") || span_starts(name, "fd") || !(v[0] | v[4]))
        return;
    struct raw_block *block = ARRAY_ADD(raw, raw->blocks, raw->block_count, HOST_MAX_BLOCKS);
    if (!block)
        return;
    *block = (struct raw_block){.reads = v[0],
                                .read_sectors = v[2],
                                .read_ms = v[3],
                                .writes = v[4],
                                .write_sectors = v[6],
                                .write_ms = v[7],
                                .busy_ms = v[9],
                                .queue_ms = v[10]};
    memcpy(block->name, name.at, name.length);
}

static void read_interface(struct fast_reader *reader, struct span line)
{
    struct raw_fast *raw = reader->raw;
    struct span name = span_trim(span_until(&line, ':'));
    uint64_t v[12];
    for (int i = 0; i < 12; i++)
        if (!span_next_counter(&line, &v[i]))
            return;
    if (!name.length || name.length >= sizeof raw->interfaces->name || !(v[0] | v[8]))
        return;
    struct raw_interface *interface =
        ARRAY_ADD(raw, raw->interfaces, raw->interface_count, HOST_MAX_INTERFACES);
    if (!interface)
        return;
    *interface = (struct raw_interface){.in_bytes = v[0],
                                        .in_packets = v[1],
                                        .in_errors = v[2],
                                        .in_drops = v[3],
                                        .out_bytes = v[8],
                                        .out_packets = v[9],
                                        .out_errors = v[10],
                                        .out_drops = v[11]};
    memcpy(interface->name, name.at, name.length);
}

/* Names stand in one line, their values in the next. */
static void read_tcp(struct fast_reader *reader, struct span line)
{
    static const struct {
        const char *name;
        enum raw_counter counter;
    } wanted[] = {{"OutSegs", RAW_SEGMENTS_OUT},
                  {"RetransSegs", RAW_RETRANSMITS},
                  {"ListenOverflows", RAW_LISTEN_OVERFLOWS},
                  {"ListenDrops", RAW_LISTEN_DROPS}};
    if (!span_skip(&line, "Tcp: ") && !span_skip(&line, "TcpExt: "))
        return;
    if (line.length && line.at[0] >= 'A') {
        reader->tcp_names = line;
        return;
    }
    struct span names = reader->tcp_names, name, value;
    while (span_word(&names, &name) && span_word(&line, &value))
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (span_is(name, wanted[i].name))
                span_counter(value, &reader->raw->counters[wanted[i].counter]);
    reader->tcp_names = (struct span){0};
}

static void read_vmstat(struct fast_reader *reader, struct span line)
{
    struct span name;
    uint64_t *counters = reader->raw->counters;
    if (!span_word(&line, &name))
        return;
    if (span_is(name, "pswpin"))
        span_next_counter(&line, &counters[RAW_SWAP_IN]);
    else if (span_is(name, "pswpout"))
        span_next_counter(&line, &counters[RAW_SWAP_OUT]);
    else if (span_is(name, "oom_kill"))
        span_next_counter(&line, &counters[RAW_OOM_KILLS]);
}

static void read_load(struct host_snapshot *now, struct span line)
{
    struct span word;
    double load[3];
    int tasks;
    for (int i = 0; i < 3; i++)
        if (!span_word(&line, &word) || !span_real(word, false, &load[i]))
            return;
    now->load1 = (float)load[0], now->load5 = (float)load[1], now->load15 = (float)load[2];
    if (!span_word(&line, &word))
        return;
    span_until(&word, '/');
    if (span_integer(word, 100000000, &tasks))
        now->processes = tasks;
}

static void read_files(struct host_snapshot *now, struct span line)
{
    uint64_t open, unused, limit;
    if (span_next_counter(&line, &open) && span_next_counter(&line, &unused) &&
        span_next_counter(&line, &limit)) {
        now->files_open = (int64_t)open - (int64_t)(unused < open ? unused : open);
        now->files_limit = (int64_t)limit;
    }
}

static void read_line(struct fast_reader *reader, struct span line)
{
    struct host_snapshot *now = &reader->record->now;
    struct span path = span_until(&line, ':'), word;
    if (span_is(path, "/proc/stat"))
        read_stat(reader, line);
    else if (span_is(path, "/proc/meminfo"))
        read_memory(reader, line);
    else if (span_is(path, "/proc/diskstats"))
        read_disk(reader, line);
    else if (span_is(path, "/proc/net/dev"))
        read_interface(reader, line);
    else if (span_skip(&path, "/proc/pressure/"))
        read_pressure(reader, path, line);
    else if (span_is(path, "/proc/net/snmp") || span_is(path, "/proc/net/netstat"))
        read_tcp(reader, line);
    else if (span_is(path, "/proc/vmstat"))
        read_vmstat(reader, line);
    else if (span_is(path, "/proc/loadavg"))
        read_load(now, line);
    else if (span_is(path, "/proc/sys/fs/file-nr"))
        read_files(now, line);
    else if (span_is(path, "/proc/uptime") && span_word(&line, &word))
        span_real(word, false, &reader->raw->uptime);
}

/* ---- differences ---- */

/* NAN when a counter went back: it was reset, and what passed meanwhile is unknown. */
static double grown(uint64_t before, uint64_t after)
{
    return after >= before && after != UINT64_MAX ? (double)(after - before) : NAN;
}

static float rate(uint64_t before, uint64_t after, double seconds)
{
    return (float)(grown(before, after) / seconds);
}

/* iowait and idle may go back a little on some kernels. */
static double ticks(uint64_t before, uint64_t after)
{
    return after >= before ? (double)(after - before) : 0;
}

static struct host_core share(const struct raw_cpu *before, const struct raw_cpu *after)
{
    double user = ticks(before->user, after->user), system = ticks(before->system, after->system);
    double idle = ticks(before->idle, after->idle), iowait = ticks(before->iowait, after->iowait);
    double steal = ticks(before->steal, after->steal), all = user + system + idle + iowait + steal;
    if (all <= 0)
        return (struct host_core){NAN, NAN, NAN, NAN, NAN};
    return (struct host_core){.user = (float)(100 * user / all),
                              .system = (float)(100 * system / all),
                              .iowait = (float)(100 * iowait / all),
                              .steal = (float)(100 * steal / all),
                              .busy = (float)(100 * (user + system) / all)};
}

static void compare_cpu(struct host_snapshot *now, struct host_part *part, const struct raw_fast *before,
                        const struct raw_fast *after)
{
    struct host_core all = {NAN, NAN, NAN, NAN, NAN};
    struct host_core *cores = talloc_array(part, struct host_core, after->core_count + 1);
    if (!cores)
        abort();
    if (before)
        all = share(&before->all, &after->all);
    now->cpu_percent = all.busy, now->user_percent = all.user, now->system_percent = all.system;
    now->iowait_percent = all.iowait, now->steal_percent = all.steal;
    for (size_t i = 0; i < after->core_count; i++)
        cores[i] = before && i < before->core_count ? share(&before->cores[i], &after->cores[i])
                                                    : (struct host_core){NAN, NAN, NAN, NAN, NAN};
    now->core = cores;
    now->cores = (int)after->core_count;
}

static bool is_partition(const struct raw_fast *raw, const char *name)
{
    for (size_t i = 0; i < raw->block_count; i++) {
        size_t length = strlen(raw->blocks[i].name);
        if (strncmp(name, raw->blocks[i].name, length) != 0 || !name[length])
            continue;
        const char *tail = name + length;
        char last = raw->blocks[i].name[length - 1];
        if (last >= '0' && last <= '9' && *tail++ != 'p')
            continue;
        if (*tail && strspn(tail, "0123456789") == strlen(tail))
            return true;
    }
    return false;
}

static const struct raw_block *find_block(const struct raw_fast *raw, const char *name)
{
    for (size_t i = 0; raw && i < raw->block_count; i++)
        if (!strcmp(raw->blocks[i].name, name))
            return &raw->blocks[i];
    return NULL;
}

static void compare_block(struct host_block *block, const struct raw_block *b, const struct raw_block *a,
                          double seconds)
{
    double requests = grown(b->reads, a->reads) + grown(b->writes, a->writes);
    double waited = grown(b->read_ms, a->read_ms) + grown(b->write_ms, a->write_ms);
    block->reads_per_s = rate(b->reads, a->reads, seconds);
    block->writes_per_s = rate(b->writes, a->writes, seconds);
    block->read_bytes_per_s = (float)(grown(b->read_sectors, a->read_sectors) * SECTOR / seconds);
    block->write_bytes_per_s = (float)(grown(b->write_sectors, a->write_sectors) * SECTOR / seconds);
    block->busy_percent = (float)fmin(100, grown(b->busy_ms, a->busy_ms) / seconds / 10);
    if (isnan(grown(b->busy_ms, a->busy_ms)))
        block->busy_percent = NAN;
    block->queue = (float)(grown(b->queue_ms, a->queue_ms) / seconds / 1000);
    block->wait_ms = requests > 0 ? (float)(waited / requests) : isnan(requests) ? NAN : 0;
}

static int busier(const void *a, const void *b)
{
    const struct host_block *x = a, *y = b;
    float p = isnan(x->busy_percent) ? -1 : x->busy_percent,
          q = isnan(y->busy_percent) ? -1 : y->busy_percent;
    return p != q ? (p < q) - (p > q) : strcmp(x->name, y->name);
}

static void compare_blocks(struct host_snapshot *now, struct host_part *part, const struct raw_fast *before,
                           const struct raw_fast *after, double seconds)
{
    struct host_block *blocks = NULL;
    size_t count = 0;
    now->io_busy_percent = now->io_queue = NAN;
    for (size_t i = 0; i < after->block_count; i++) {
        const struct raw_block *raw = &after->blocks[i], *old = find_block(before, raw->name);
        if (is_partition(after, raw->name))
            continue;
        struct host_block *block = ARRAY_ADD(part, blocks, count, HOST_MAX_BLOCKS);
        *block = (struct host_block){NULL, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        block->name = part_text(part, span_of(raw->name), 40);
        if (old)
            compare_block(block, old, raw, seconds);
        now->io_busy_percent = fmaxf(now->io_busy_percent, block->busy_percent);
        now->io_queue = fmaxf(now->io_queue, block->queue);
    }
    if (count)
        qsort(blocks, count, sizeof *blocks, busier);
    now->blocks = blocks;
    now->block_count = count;
}

/* What goes through these goes through a real one as well, or never leaves the host. */
static bool is_virtual(const char *name)
{
    static const char *const prefixes[] = {"lo",  "veth", "docker",  "br-",  "virbr", "ifb",
                                           "tap", "cni",  "flannel", "cali", "lxc",   "dummy"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
            return true;
    return false;
}

static const struct raw_interface *find_interface(const struct raw_fast *raw, const char *name)
{
    for (size_t i = 0; raw && i < raw->interface_count; i++)
        if (!strcmp(raw->interfaces[i].name, name))
            return &raw->interfaces[i];
    return NULL;
}

static int heavier(const void *a, const void *b)
{
    const struct host_interface *x = a, *y = b;
    float p = x->in_bytes_per_s + x->out_bytes_per_s, q = y->in_bytes_per_s + y->out_bytes_per_s;
    p = isnan(p) ? -1 : p, q = isnan(q) ? -1 : q;
    return p != q ? (p < q) - (p > q) : strcmp(x->name, y->name);
}

static void compare_interfaces(struct host_snapshot *now, struct host_part *part,
                               const struct raw_fast *before, const struct raw_fast *after, double s)
{
    struct host_interface *interfaces = NULL;
    size_t count = 0;
    float in = NAN, out = NAN;
    for (size_t i = 0; i < after->interface_count; i++) {
        const struct raw_interface *a = &after->interfaces[i], *b = find_interface(before, a->name);
        struct host_interface *interface = ARRAY_ADD(part, interfaces, count, HOST_MAX_INTERFACES);
        *interface = (struct host_interface){NULL, NAN, NAN, NAN, NAN, NAN, NAN};
        interface->name = part_text(part, span_of(a->name), 40);
        if (!b)
            continue;
        interface->in_bytes_per_s = rate(b->in_bytes, a->in_bytes, s);
        interface->out_bytes_per_s = rate(b->out_bytes, a->out_bytes, s);
        interface->in_packets_per_s = rate(b->in_packets, a->in_packets, s);
        interface->out_packets_per_s = rate(b->out_packets, a->out_packets, s);
        interface->errors_per_s = rate(b->in_errors, a->in_errors, s) + rate(b->out_errors, a->out_errors, s);
        interface->drops_per_s = rate(b->in_drops, a->in_drops, s) + rate(b->out_drops, a->out_drops, s);
        if (is_virtual(a->name) || isnan(interface->in_bytes_per_s + interface->out_bytes_per_s))
            continue;
        in = (isnan(in) ? 0 : in) + interface->in_bytes_per_s;
        out = (isnan(out) ? 0 : out) + interface->out_bytes_per_s;
    }
    if (count)
        qsort(interfaces, count, sizeof *interfaces, heavier);
    now->interfaces = interfaces;
    now->interface_count = count;
    now->net_in_bytes_per_s = in;
    now->net_out_bytes_per_s = out;
}

static double counted(const struct raw_fast *before, const struct raw_fast *after, enum raw_counter which)
{
    if (!before || before->counters[which] == UINT64_MAX)
        return NAN;
    return grown(before->counters[which], after->counters[which]);
}

static void compare_counters(struct host_record *record, const struct raw_fast *before,
                             const struct raw_fast *after, double seconds)
{
    struct host_snapshot *now = &record->now;
    double sent = counted(before, after, RAW_SEGMENTS_OUT), again = counted(before, after, RAW_RETRANSMITS);
    now->swap_in_per_s = (float)(counted(before, after, RAW_SWAP_IN) / seconds);
    now->swap_out_per_s = (float)(counted(before, after, RAW_SWAP_OUT) / seconds);
    now->listen_overflows_per_s = (float)(counted(before, after, RAW_LISTEN_OVERFLOWS) / seconds);
    now->listen_drops_per_s = (float)(counted(before, after, RAW_LISTEN_DROPS) / seconds);
    now->retransmits_percent = sent > 0 ? (float)fmin(100, 100 * again / sent) : isnan(sent) ? NAN : 0;
    record->segments_out = sent;
    uint64_t kills = after->counters[RAW_OOM_KILLS];
    now->oom_kills = kills == UINT64_MAX ? -1 : (int64_t)kills;
}

/* The sample that this one may be compared with, or NULL: the first, after a reboot, after a long silence. */
static const struct raw_fast *comparable(const struct raw_fast *before, const struct raw_fast *after)
{
    if (!before || after->uptime < before->uptime + SHORTEST_S || after->uptime > before->uptime + LONGEST_S)
        return NULL;
    /* A machine that was set up anew under the same name, or a clock that jumped. */
    return fabs(after->booted - before->booted) < 60 ? before : NULL;
}

static void forget(struct host_snapshot *now)
{
    now->load1 = now->load5 = now->load15 = NAN;
    now->running = now->blocked = now->processes = -1;
    now->memory_bytes = now->available_bytes = now->dirty_bytes = now->cached_bytes = NAN;
    now->swap_bytes = now->swap_used_bytes = NAN;
    now->psi_cpu_some10 = now->psi_io_some10 = now->psi_io_full10 = NAN;
    now->psi_memory_some10 = now->psi_memory_full10 = NAN;
    now->files_open = now->files_limit = -1;
}

bool parse_fast(struct host_record *record, struct host_part *part, struct span body)
{
    struct host_snapshot *now = &record->now;
    struct raw_fast *raw = talloc_zero(record, struct raw_fast);
    struct fast_reader reader = {.record = record, .part = part, .raw = raw};
    struct span line;
    if (!raw)
        abort();
    raw->uptime = NAN;
    for (int i = 0; i < RAW_COUNTERS; i++)
        raw->counters[i] = UINT64_MAX;
    forget(now);
    while (span_line(&body, &line))
        read_line(&reader, line);
    const struct raw_fast *before = comparable(record->fast, raw);
    double seconds = before ? raw->uptime - before->uptime : NAN;
    now->uptime_s = raw->uptime;
    now->booted_at = raw->booted > 0 ? raw->booted : NAN;
    if (now->available_bytes > now->memory_bytes)
        now->available_bytes = now->memory_bytes;
    now->memory_percent =
        now->memory_bytes > 0 ? (float)(100 - 100 * now->available_bytes / now->memory_bytes) : NAN;
    compare_cpu(now, part, before, raw);
    compare_blocks(now, part, before, raw, seconds);
    compare_interfaces(now, part, before, raw, seconds);
    compare_counters(record, before, raw, seconds);
    talloc_free(record->fast);
    record->fast = raw;
    return reader.stat && reader.memory && !isnan(raw->uptime);
}
