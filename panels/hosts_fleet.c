/* Hosts › Fleet and Groups: a row a host, those that need somebody first, and why in words. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/hosts.h"

/* A host, or a group of them. */
struct fleet_row {
    struct host_now now;
    const char *name, *group;
    char letters[3]; /* errors, saturation, utilisation: 0, or a severity */
    bool is_group;
    char *text; /* of a group: how many answer */
};

#define ROW(row) ((const struct fleet_row *)(row))
#define SNAPSHOT(row) (ROW(row)->now.snapshot)

/* ---- what can be said now ---- */

int host_urgency(enum host_state state)
{
    static const int urgency[] = {
        [HOST_OK] = 0, [HOST_WARNING] = 10, [HOST_UNKNOWN] = 20, [HOST_CRITICAL] = 30};
    return urgency[state];
}

enum severity host_state_severity(enum host_state state)
{
    static const enum severity severities[] = {[HOST_OK] = SEVERITY_NONE,
                                               [HOST_WARNING] = SEVERITY_WARNING,
                                               [HOST_UNKNOWN] = SEVERITY_WARNING,
                                               [HOST_CRITICAL] = SEVERITY_CRITICAL};
    return severities[state];
}

struct value host_value(enum host_measure measure, double value)
{
    if (isnan(value))
        return value_unknown();
    struct value result = value_real(value);
    result.severity = host_severity(measure, value);
    return result;
}

/* All problems in one line, each with the time when it was first seen. */
static char *problems_text(const void *context, const struct host_snapshot *snapshot)
{
    char *text = NULL, at[32];
    for (size_t i = 0; i < snapshot->problem_count; i++) {
        const struct host_problem *problem = &snapshot->problems[i];
        if (problem->severity < SEVERITY_WARNING)
            continue;
        at[0] = '\0';
        if (problem->since > 0)
            clock_hour_minute(at, sizeof at, problem->since);
        char *one =
            talloc_asprintf(context, "%s%s%s%s", problem->text, at[0] ? " (" : "", at, at[0] ? ")" : "");
        text = text ? talloc_asprintf_append(text, "; %s", one) : one;
    }
    return text;
}

/* Why nothing comes: the session's error, else the collector's, else how long ago the last answer was. */
static char *silence_text(const void *context, struct host *host, const struct feed *feed)
{
    const struct error *error = ssh_host_error(host_ssh(host));
    char age[32], at[32];
    char *text;
    if (error->kind == ERROR_NONE)
        error = &feed->error;
    if (error->kind != ERROR_NONE)
        text = talloc_asprintf(context, "%s%s%s", error->what, error->what[0] && error->why[0] ? ": " : "",
                               error->why);
    else if (feed->answered_at > 0)
        text = talloc_strdup(context, "no answer");
    else
        return talloc_strdup(context, ssh_host_state(host_ssh(host)) == CONNECTION_CONNECTING
                                          ? "connecting, no answer yet: the host or the line may hang"
                                          : "no answer yet");
    if (feed->answered_at > 0)
        text = talloc_asprintf_append(
            text, " for %s (last %s)",
            format_s(age, sizeof age, floor(fmax(clock_wall() - feed->answered_at, 0))),
            clock_time_of_day(at, sizeof at, feed->answered_at));
    return text;
}

struct host_now host_now(const void *context, struct host *host)
{
    const struct feed *feed = host_feed(host, HOST_FAST);
    struct host_now now = {.host = host, .snapshot = host_latest(host)};
    bool silent = feed->state == FEED_LATE || feed->state == FEED_FAILED || feed->state == FEED_DENIED ||
                  feed->state == FEED_UNAVAILABLE || ssh_host_state(host_ssh(host)) == CONNECTION_DOWN;
    if (silent || !now.snapshot) {
        now.late = true;
        now.why = silent ? silence_text(context, host, feed)
                         : talloc_strdup(context, ssh_host_state(host_ssh(host)) == CONNECTION_CONNECTING
                                                      ? "connecting"
                                                      : "no answer yet");
        return now;
    }
    now.state = now.snapshot->state;
    now.why = problems_text(context, now.snapshot);
    return now;
}

/* ---- values ---- */

static struct value value_of_host(const void *row)
{
    return value_text(ROW(row)->name);
}
static struct value value_of_group(const void *row)
{
    return value_text(ROW(row)->group);
}
static struct value value_of_state(const void *row)
{
    struct value value = value_text(host_state_name(ROW(row)->now.state));
    value.severity = host_state_severity(ROW(row)->now.state);
    return value;
}
static struct value value_of_urgency(const void *row)
{
    int problems = SNAPSHOT(row) && !ROW(row)->now.late ? (int)SNAPSHOT(row)->problem_count : 0;
    return value_integer(host_urgency(ROW(row)->now.state) + (problems > 9 ? 9 : problems));
}
static struct value value_of_why(const void *row)
{
    struct value value = value_text(ROW(row)->now.why ? ROW(row)->now.why : ROW(row)->text);
    if (ROW(row)->now.why && ROW(row)->now.state == HOST_CRITICAL)
        value.severity = SEVERITY_CRITICAL;
    return value;
}

/* "!" when something of that kind is wrong, "." when it was looked at and is not, "?" when nobody knows. */
static struct value letter(const void *row, int which)
{
    if (ROW(row)->now.state == HOST_UNKNOWN)
        return value_unknown();
    enum severity severity = (enum severity)ROW(row)->letters[which];
    struct value value = value_text(severity >= SEVERITY_WARNING ? "" : ".");
    value.severity = severity >= SEVERITY_WARNING ? severity : SEVERITY_DIM;
    return value;
}
static struct value value_of_errors(const void *row)
{
    return letter(row, 0);
}
static struct value value_of_saturation(const void *row)
{
    return letter(row, 1);
}
static struct value value_of_utilisation(const void *row)
{
    return letter(row, 2);
}

/* A figure of a host: blank for a group, unknown before the first answer. */
#define FIGURE(name, measure, expression)                                                                    \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        const struct host_snapshot *snapshot = SNAPSHOT(row);                                                \
        if (ROW(row)->is_group)                                                                              \
            return value_blank();                                                                            \
        return snapshot ? host_value(measure, expression) : value_unknown();                                 \
    }
/* The same without a level. */
#define PLAIN(name, expression)                                                                              \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        const struct host_snapshot *snapshot = SNAPSHOT(row);                                                \
        if (ROW(row)->is_group)                                                                              \
            return value_blank();                                                                            \
        if (!snapshot || isnan((double)(expression)))                                                        \
            return value_unknown();                                                                          \
        return value_real(expression);                                                                       \
    }
/* A count: -1 is unknown. */
#define COUNT(name, measure, expression)                                                                     \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        const struct host_snapshot *snapshot = SNAPSHOT(row);                                                \
        if (ROW(row)->is_group)                                                                              \
            return value_blank();                                                                            \
        if (!snapshot || (expression) < 0)                                                                   \
            return value_unknown();                                                                          \
        struct value value = value_integer(expression);                                                      \
        value.severity = host_severity(measure, (double)(expression));                                       \
        return value;                                                                                        \
    }

FIGURE(cpu, MEASURE_CPU, snapshot->cpu_percent)
FIGURE(steal, MEASURE_STEAL, snapshot->steal_percent)
FIGURE(iowait, MEASURE_IOWAIT, snapshot->iowait_percent)
PLAIN(load1, snapshot->load1)
FIGURE(load_per_core, MEASURE_LOAD,
       snapshot->cores > 0 ? round(100 * (double)snapshot->load1 / snapshot->cores) / 100 : NAN)
PLAIN(memory_bytes, snapshot->memory_bytes)
FIGURE(memory, MEASURE_MEMORY, snapshot->memory_percent)
FIGURE(swap_in, MEASURE_SWAP_IN, snapshot->swap_in_per_s)
FIGURE(psi_cpu, MEASURE_PSI_CPU, round(10 * (double)snapshot->psi_cpu_some10) / 10)
FIGURE(psi_io, MEASURE_PSI_IO, round(10 * (double)snapshot->psi_io_some10) / 10)
FIGURE(psi_memory, MEASURE_PSI_MEMORY, round(10 * (double)snapshot->psi_memory_some10) / 10)
FIGURE(inodes, MEASURE_INODES, snapshot->worst_inodes ? snapshot->worst_inodes->inode_percent : NAN)
FIGURE(io_busy, MEASURE_IO_BUSY, snapshot->io_busy_percent)
FIGURE(io_queue, MEASURE_IO_QUEUE, round(100 * (double)snapshot->io_queue) / 100)
PLAIN(net_in, snapshot->net_in_bytes_per_s)
PLAIN(net_out, snapshot->net_out_bytes_per_s)
FIGURE(retransmits, MEASURE_RETRANSMITS, snapshot->retransmits_percent)
FIGURE(overflows, MEASURE_LISTEN_OVERFLOWS, snapshot->listen_overflows_per_s)
FIGURE(certificate_days, MEASURE_CERTIFICATE_DAYS, floor(snapshot->certificate_days))
FIGURE(clock, MEASURE_CLOCK_OFFSET, snapshot->clock_offset_s)
PLAIN(uptime, snapshot->uptime_s)
COUNT(cores, MEASURES, snapshot->cores > 0 ? snapshot->cores : -1)
COUNT(failed_units, MEASURE_FAILED_UNITS, snapshot->failed_units)
COUNT(restarting, MEASURE_RESTARTING, snapshot->containers_restarting)
COUNT(oom_kills, MEASURE_OOM_KILLS, snapshot->oom_kills_1h)
COUNT(updates_security, MEASURE_SECURITY_UPDATES, snapshot->updates_security)

/* Without systemd or docker there is nothing to know. */
static struct value value_of_units(const void *row)
{
    const struct host_snapshot *now = SNAPSHOT(row);
    return now && host_has_no_systemd(now) ? value_blank() : value_of_failed_units(row);
}
static struct value value_of_containers(const void *row)
{
    const struct host_snapshot *now = SNAPSHOT(row);
    return now && now->medium_at > 0 && !now->docker ? value_blank() : value_of_restarting(row);
}

/* The worst of the three. */
static struct value value_of_psi(const void *row)
{
    const struct value parts[] = {value_of_psi_cpu(row), value_of_psi_io(row), value_of_psi_memory(row)};
    struct value worst = parts[0];
    for (size_t i = 1; i < 3; i++)
        if (parts[i].kind == VALUE_REAL &&
            (worst.kind != VALUE_REAL || parts[i].severity > worst.severity ||
             (parts[i].severity == worst.severity && parts[i].real > worst.real)))
            worst = parts[i];
    return worst;
}
static struct value value_of_disk_mount(const void *row)
{
    if (ROW(row)->is_group)
        return value_blank();
    return SNAPSHOT(row) && SNAPSHOT(row)->worst_mount ? value_text(SNAPSHOT(row)->worst_mount->mount)
                                                       : value_unknown();
}
static struct value value_of_disk(const void *row)
{
    if (ROW(row)->is_group)
        return value_blank();
    return SNAPSHOT(row) && SNAPSHOT(row)->worst_mount
               ? host_value(MEASURE_DISK, SNAPSHOT(row)->worst_mount->used_percent)
               : value_unknown();
}
static struct value value_of_full_in(const void *row)
{
    if (ROW(row)->is_group || (SNAPSHOT(row) && !SNAPSHOT(row)->worst_mount))
        return value_blank();
    if (!SNAPSHOT(row) || isnan(SNAPSHOT(row)->worst_mount->full_in_s))
        return value_unknown();
    /* Beyond a month nobody plans by the slope of some minutes. */
    if (SNAPSHOT(row)->worst_mount->full_in_s > 30 * 86400.0)
        return value_blank();
    struct value value = host_value(MEASURE_FULL_IN, SNAPSHOT(row)->worst_mount->full_in_s);
    value.estimated = true;
    return value;
}
/* "511/511": how many wait to be accepted, of how many that may. */
static struct value value_of_accept(const void *row)
{
    const struct host_listener *worst = SNAPSHOT(row) ? SNAPSHOT(row)->worst_listener : NULL;
    if (ROW(row)->is_group || !worst)
        return SNAPSHOT(row) || ROW(row)->is_group ? value_blank() : value_unknown();
    struct value value = worst->backlog < 0 ? value_unknown() : value_integer(worst->backlog);
    if (worst->backlog >= 0 && worst->backlog_limit > 0)
        value.severity = host_severity(MEASURE_ACCEPT_QUEUE, 100.0 * worst->backlog / worst->backlog_limit);
    return value;
}
static struct value value_of_reboot(const void *row)
{
    if (ROW(row)->is_group)
        return value_blank();
    if (!SNAPSHOT(row) || SNAPSHOT(row)->reboot_required < 0)
        return value_unknown();
    struct value value = value_boolean(SNAPSHOT(row)->reboot_required > 0);
    value.severity = value.boolean ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value value_of_release(const void *row)
{
    return value_text(SNAPSHOT(row) ? SNAPSHOT(row)->release : NULL);
}
static struct value value_of_age(const void *row)
{
    if (ROW(row)->is_group)
        return value_blank();
    const struct feed *feed = host_feed(ROW(row)->now.host, HOST_FAST);
    if (feed->answered_at <= 0)
        return (struct value){.kind = VALUE_NEVER};
    struct value value = value_real(fmax(floor(clock_wall() - feed->answered_at), 0));
    value.severity = ROW(row)->now.late ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value value_of_transport(const void *row)
{
    return ROW(row)->is_group ? value_blank() : value_text(ssh_host_transport(host_ssh(ROW(row)->now.host)));
}

/* What is on the screen beside what scripts get: the names of the hidden ones are promised. */
static const struct column columns[] = {
    {"host", "host", "its name in the environment", UNIT_NONE, 11, 0, 0, value_of_host, NULL},
    {"group", "group", "its group in the environment", UNIT_NONE, 8, 6, 0, value_of_group, NULL},
    {"state", "state", "ok, warning, critical, or unknown when it does not answer", UNIT_NONE, 9, 4, 0,
     value_of_state, NULL},
    {"errors", "err", "errors: ! something failed, . looked at and nothing did", UNIT_NONE, 3, 2,
     COLUMN_SCREEN, value_of_errors, NULL},
    {"saturation", "sat", "saturation: ! work waits for a resource", UNIT_NONE, 3, 2, COLUMN_SCREEN,
     value_of_saturation, NULL},
    {"utilisation", "use", "utilisation: ! a resource is nearly used up", UNIT_NONE, 3, 2, COLUMN_SCREEN,
     value_of_utilisation, NULL},
    {"cpu_percent", "cpu", "all cores together since the last sample, waiting for disks not counted",
     UNIT_PERCENT, 6, 2, 0, value_of_cpu, NULL},
    {"steal_percent", "steal", "time that the hypervisor gave to others", UNIT_PERCENT, 6, 6, 0,
     value_of_steal, NULL},
    {"iowait_percent", "iowait", "idle while a disk was waited for", UNIT_PERCENT, 6, 9, COLUMN_HIDDEN,
     value_of_iowait, NULL},
    {"load1", "load", "load average of one minute", UNIT_NONE, 6, 9, COLUMN_HIDDEN, value_of_load1, NULL},
    {"load_per_core", "ld/core", "load average of one minute, per core", UNIT_NONE, 7, 5, 0,
     value_of_load_per_core, NULL},
    {"cores", "cores", "processors", UNIT_COUNT, 5, 9, COLUMN_HIDDEN, value_of_cores, NULL},
    {"mem_used_percent", "mem", "memory that is not available (MemAvailable)", UNIT_PERCENT, 6, 3, 0,
     value_of_memory, NULL},
    {"memory_bytes", "memory", "memory that it has", UNIT_BYTES, 8, 9, COLUMN_HIDDEN, value_of_memory_bytes,
     NULL},
    {"swap_in_per_s", "swap in", "pages that came back from swap: memory is missing now", UNIT_PER_S, 7, 7, 0,
     value_of_swap_in, NULL},
    {"psi", "psi",
     "pressure: percent of the last 10 s in which somebody waited for cpu, io or memory (the worst)",
     UNIT_PERCENT, 6, 4, COLUMN_SCREEN, value_of_psi, NULL},
    {"psi_cpu_some10", "psi cpu", "percent of the last 10 s in which somebody waited for a cpu", UNIT_NONE, 7,
     9, COLUMN_HIDDEN, value_of_psi_cpu, NULL},
    {"psi_io_some10", "psi io", "percent of the last 10 s in which somebody waited for a disk", UNIT_NONE, 7,
     9, COLUMN_HIDDEN, value_of_psi_io, NULL},
    {"psi_memory_some10", "psi mem", "percent of the last 10 s in which somebody waited for memory",
     UNIT_NONE, 7, 9, COLUMN_HIDDEN, value_of_psi_memory, NULL},
    {"disk_worst_mount", "mount", "the file system that is fullest", UNIT_NONE, 10, 9, COLUMN_HIDDEN,
     value_of_disk_mount, NULL},
    {"disk_worst_percent", "disk", "how full the fullest file system is, as df counts", UNIT_PERCENT, 6, 2, 0,
     value_of_disk, NULL},
    {"full_in_s", "full in", "when it is full, if it grows on as in the last minutes", UNIT_S, 11, 4, 0,
     value_of_full_in, NULL},
    {"inode_worst_percent", "inodes", "inodes used where it is worst", UNIT_PERCENT, 6, 8, 0, value_of_inodes,
     NULL},
    {"io_busy_percent", "io", "how long its busiest disk had something to do", UNIT_PERCENT, 6, 3, 0,
     value_of_io_busy, NULL},
    {"io_queue", "queue", "requests that were at that disk at once, on average", UNIT_NONE, 6, 7, 0,
     value_of_io_queue, NULL},
    {"net_in_bytes_per_s", "net in", "received, all interfaces but the loopback", UNIT_PER_S, 8, 8,
     COLUMN_HIDDEN, value_of_net_in, NULL},
    {"net_out_bytes_per_s", "net out", "sent, all interfaces but the loopback", UNIT_PER_S, 8, 8,
     COLUMN_HIDDEN, value_of_net_out, NULL},
    {"retransmit_percent", "retrans", "segments of TCP that had to be sent again", UNIT_PERCENT, 7, 7, 0,
     value_of_retransmits, NULL},
    {"accept_queue", "accept", "connections that wait to be accepted, at the socket where most wait",
     UNIT_COUNT, 7, 3, 0, value_of_accept, NULL},
    {"listen_overflows_per_s", "overfl.", "connections refused because an accept queue was full", UNIT_PER_S,
     7, 8, COLUMN_HIDDEN, value_of_overflows, NULL},
    {"failed_units", "units", "units of systemd that failed", UNIT_COUNT, 6, 3, 0, value_of_units, NULL},
    {"containers_restarting", "cont.", "containers that restart again and again", UNIT_COUNT, 6, 5, 0,
     value_of_containers, NULL},
    {"oom_kills_1h", "oom", "processes killed for memory in the last hour", UNIT_COUNT, 5, 6, 0,
     value_of_oom_kills, NULL},
    {"cert_days_min", "cert d", "days until the first certificate ends", UNIT_NONE, 6, 6, 0,
     value_of_certificate_days, NULL},
    {"updates_security", "upd.", "security updates that wait", UNIT_COUNT, 5, 7, 0, value_of_updates_security,
     NULL},
    {"reboot_required", "reboot", "an update wants a reboot", UNIT_NONE, 6, 8, 0, value_of_reboot, NULL},
    {"clock_offset_s", "clock", "its clock less this one's", UNIT_S, 7, 8, 0, value_of_clock, NULL},
    {"uptime_s", "up", "since it was started", UNIT_S, 9, 8, 0, value_of_uptime, NULL},
    {"release", "release", "what the release marker says", UNIT_NONE, 8, 7, 0, value_of_release, NULL},
    {"age_s", "age", "of the figures", UNIT_S, 7, 1, 0, value_of_age, NULL},
    {"transport", "transport", "libssh2, or the system's ssh and why", UNIT_NONE, 20, 9, COLUMN_HIDDEN,
     value_of_transport, NULL},
    {"urgency", "urgency", "what sorts the list: critical, then silent, then warnings; more problems first",
     UNIT_COUNT, 7, 9, COLUMN_HIDDEN, value_of_urgency, NULL},
    {"why", "why (first seen)", "what is wrong, the worst first", UNIT_NONE, 0, 0, 0, value_of_why, NULL},
};

/* ---- rows ---- */

static void want(struct app *app, bool wanted)
{
    fleet_want(app->fleet, wanted);
}

void hosts_add_sources(struct source_list *list, struct host *host, const enum host_tier *tiers, size_t count)
{
    for (size_t t = 0; t < count; t++)
        source_list_add(list, (struct source){.server = host_name(host),
                                              .feed = host_feed(host, tiers[t]),
                                              .connection_error = ssh_host_error(host_ssh(host))});
}

static void sources(struct app *app, struct source_list *list)
{
    static const enum host_tier tiers[] = {HOST_FAST, HOST_MEDIUM, HOST_SLOW};
    for (size_t i = 0; i < fleet_count(app->fleet); i++)
        hosts_add_sources(list, fleet_host(app->fleet, i), tiers, 3);
}

struct host *fleet_row_host(const struct table_row *row)
{
    return ROW(row->data)->now.host;
}

static void note_letters(struct fleet_row *row)
{
    static const char letters[] = "ESU";
    for (size_t i = 0; row->now.snapshot && i < row->now.snapshot->problem_count; i++) {
        const struct host_problem *problem = &row->now.snapshot->problems[i];
        const char *at = strchr(letters, problem->letter);
        if (at && problem->letter && (char)problem->severity > row->letters[at - letters])
            row->letters[at - letters] = (char)problem->severity;
    }
}

static struct fleet_row *make_row(struct row_list *list, struct host *host)
{
    struct fleet_row *row = talloc_zero(list, struct fleet_row);
    row->now = host_now(list, host);
    row->name = host_name(host);
    row->group = host_group(host);
    note_letters(row);
    if (row->now.snapshot)
        row_list_hold(list, row->now.snapshot);
    return row;
}

static void add_row(struct row_list *list, const struct fleet_row *row, int depth)
{
    row_list_add(list, (struct table_row){
                           .data = row,
                           .id = row->is_group ? talloc_asprintf(list, "group/%s", row->name) : row->name,
                           .depth = depth,
                           .severity = row->now.state == HOST_CRITICAL ? SEVERITY_CRITICAL : SEVERITY_NONE,
                           .dim = row->now.late});
}

static void fleet_rows(struct app *app, struct row_list *list)
{
    for (size_t i = 0; i < fleet_count(app->fleet); i++)
        add_row(list, make_row(list, fleet_host(app->fleet, i)), 0);
}

static int compare_urgency(const void *a, const void *b)
{
    const struct fleet_row *const *left = a, *const *right = b;
    int64_t difference = value_of_urgency(*right).integer - value_of_urgency(*left).integer;
    if (difference)
        return difference > 0 ? 1 : -1;
    return value_compare(value_text((*left)->name), value_text((*right)->name));
}

/* A group is as its worst host is. */
static struct fleet_row *make_group(struct row_list *list, const char *name, struct fleet_row **members,
                                    size_t count)
{
    struct fleet_row *group = talloc_zero(list, struct fleet_row);
    size_t answering = 0;
    *group = (struct fleet_row){.name = name, .is_group = true, .now.state = members[0]->now.state};
    for (size_t i = 0; i < count; i++) {
        answering += !members[i]->now.late;
        for (int l = 0; l < 3; l++)
            if (members[i]->letters[l] > group->letters[l])
                group->letters[l] = members[i]->letters[l];
    }
    group->text = talloc_asprintf(list, "%zu of %zu answer", answering, count);
    if (members[0]->now.why)
        group->now.why =
            talloc_asprintf(list, "%s · %s: %s", group->text, members[0]->name, members[0]->now.why);
    return group;
}

static void group_rows(struct app *app, struct row_list *list)
{
    size_t count = fleet_count(app->fleet), group_count = 0, done = 0;
    struct fleet_row **all = talloc_zero_array(list, struct fleet_row *, count + 1);
    struct fleet_row **groups = talloc_zero_array(list, struct fleet_row *, count + 1);
    for (size_t i = 0; i < count; i++) {
        all[i] = make_row(list, fleet_host(app->fleet, i));
        if (!all[i]->group)
            all[i]->group = "no group";
    }
    qsort(all, count, sizeof *all, compare_urgency);
    /* Members follow each other, the order among them stays. */
    struct fleet_row **sorted = talloc_zero_array(list, struct fleet_row *, count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t begin = done;
        bool taken = false;
        for (size_t g = 0; g < group_count && !taken; g++)
            taken = strcmp(groups[g]->name, all[i]->group) == 0;
        if (taken)
            continue;
        for (size_t j = i; j < count; j++)
            if (strcmp(all[j]->group, all[i]->group) == 0)
                sorted[done++] = all[j];
        groups[group_count++] = make_group(list, all[i]->group, &sorted[begin], done - begin);
        add_row(list, groups[group_count - 1], 0);
        for (size_t j = begin; j < done; j++)
            add_row(list, sorted[j], 1);
    }
}

bool host_has_no_systemd(const struct host_snapshot *snapshot)
{
    return snapshot->failed_units < 0 && snapshot->init && strcmp(snapshot->init, "systemd") != 0;
}

bool host_rates_known(struct host *host)
{
    const struct host_snapshot *snapshot = host_latest(host);
    return host_feed(host, HOST_FAST)->state != FEED_LIVE || !snapshot || !isnan(snapshot->cpu_percent);
}

/* "6 of 7 answer · release r481 since 02:58": what is asked first. */
static void note(struct app *app, char *buffer, size_t size)
{
    size_t count = fleet_count(app->fleet), answering = 0;
    const char *release = NULL;
    bool differs = false;
    double since = 0;
    for (size_t i = 0; i < count; i++) {
        struct host *host = fleet_host(app->fleet, i);
        const struct host_snapshot *snapshot = host_latest(host);
        answering += snapshot && host_feed(host, HOST_FAST)->state == FEED_LIVE &&
                     ssh_host_state(host_ssh(host)) == CONNECTION_UP;
        if (!snapshot || !snapshot->release)
            continue;
        differs = differs || (release && strcmp(release, snapshot->release) != 0);
        if (!release || snapshot->release_since > since) {
            release = snapshot->release;
            since = snapshot->release_since;
        }
    }
    snprintf(buffer, size, "%zu of %zu answer", answering, count);
    if (release) {
        char at[32], age[32];
        snprintf(buffer + strlen(buffer), size - strlen(buffer), " · release %s%s since %s (%s)", release,
                 differs ? " not everywhere!" : "", clock_hour_minute(at, sizeof at, since),
                 format_s(age, sizeof age, fmax(0, clock_wall() - since)));
    }
}

/* Rates need two samples; a host that does not answer has none. */
static bool rates_known(struct app *app)
{
    for (size_t i = 0; i < fleet_count(app->fleet); i++)
        if (!host_rates_known(fleet_host(app->fleet, i)))
            return false;
    return true;
}

const struct view hosts_fleet = {
    .id = "fleet",
    .title = "Fleet",
    .summary = "a row a host, those that need somebody first, and why",
    .empty = "the environment names no hosts: add a hosts section, or --ssh USER@HOST",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .sort = "urgency",
    .descending = true,
    .want = want,
    .sources = sources,
    .complete = rates_known,
    .rows_tell = true,
    .rows = fleet_rows,
    .note = note,
    .enter = hosts_open_host,
    .tell = "why",
};

const struct view hosts_groups = {
    .id = "groups",
    .tree = "host",
    .title = "Groups",
    .summary = "the same by group: a group is as its worst host is",
    .empty = "the environment names no hosts: add a hosts section, or --ssh USER@HOST",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .want = want,
    .sources = sources,
    .complete = rates_known,
    .rows_tell = true,
    .rows = group_rows,
    .note = note,
    .enter = hosts_open_host,
    .tell = "why",
};
