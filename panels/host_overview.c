/* One host › Overview: its problems, the last hour, and each resource by use, saturation and errors. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/units.h"
#include "panels/host.h"

/* One resource: looked at, and what was found. */
struct check {
    const char *resource;
    char *use, *saturation, *errors, *detail;
    enum severity use_severity, saturation_severity, errors_severity;
    bool unknown, absent; /* absent: it is not there, and nothing is to be known */
};

#define CHECK(row) ((const struct check *)(row))

static struct value part(const char *text, enum severity severity)
{
    struct value value = value_text(text);
    value.severity = severity;
    return value;
}
static struct value value_of_resource(const void *row)
{
    return value_text(CHECK(row)->resource);
}
static enum severity worst(const struct check *check)
{
    enum severity severity = check->use_severity;
    if (check->saturation_severity > severity)
        severity = check->saturation_severity;
    return check->errors_severity > severity ? check->errors_severity : severity;
}
static struct value value_of_state(const void *row)
{
    enum severity severity = worst(CHECK(row));
    if (CHECK(row)->absent)
        return value_blank();
    if (CHECK(row)->unknown)
        return value_unknown();
    return part(severity == SEVERITY_CRITICAL  ? "critical"
                : severity == SEVERITY_WARNING ? "warning"
                                               : "ok",
                severity);
}
static struct value value_of_use(const void *row)
{
    return part(CHECK(row)->use, CHECK(row)->use_severity);
}
static struct value value_of_saturation(const void *row)
{
    return part(CHECK(row)->saturation, CHECK(row)->saturation_severity);
}
static struct value value_of_errors(const void *row)
{
    return part(CHECK(row)->errors, CHECK(row)->errors_severity);
}
static struct value value_of_detail(const void *row)
{
    return value_text(CHECK(row)->detail);
}

static const struct column check_columns[] = {
    {"resource", "resource", "what was looked at", UNIT_NONE, 14, 0, 0, value_of_resource, NULL},
    {"state", "state", "ok: it was looked at and is in bounds; ? is not known, and why stands at the right",
     UNIT_NONE, 9, 0, 0, value_of_state, NULL},
    {"utilisation", "use", "how much of it is in use", UNIT_NONE, 16, 0, 0, value_of_use, NULL},
    {"saturation", "saturation", "who has to wait for it", UNIT_NONE, 20, 0, 0, value_of_saturation, NULL},
    {"errors", "errors", "what failed", UNIT_NONE, 16, 1, 0, value_of_errors, NULL},
    {"detail", "detail", "more, or how to permit what is not permitted", UNIT_NONE, 0, 0, 0, value_of_detail,
     NULL},
};

/* ---- the checks ---- */

struct checks {
    struct row_list *list;
    const struct host_snapshot *snapshot;
};

static struct check *add_check(struct checks *checks, const char *resource)
{
    struct check *check = talloc_zero(checks->list, struct check);
    check->resource = resource;
    row_list_add(checks->list,
                 (struct table_row){.data = check, .id = talloc_asprintf(checks->list, "%s", resource)});
    return check;
}

/* "91 %", NULL for unknown. */
static char *percent_text(const void *context, double percent, const char *what)
{
    char number[32];
    if (isnan(percent))
        return NULL;
    return talloc_asprintf(context, "%s%s%s", format_percent(number, sizeof number, percent), what ? " " : "",
                           what ? what : "");
}

static enum severity worse(enum severity a, enum severity b)
{
    return a > b ? a : b;
}

static void check_cpu(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "cpu");
    float load = now->cores > 0 ? now->load1 / (float)now->cores : NAN;
    check->unknown = isnan(now->cpu_percent);
    check->use = percent_text(check, now->cpu_percent, NULL);
    check->use_severity = host_severity(MEASURE_CPU, now->cpu_percent);
    if (!isnan(load))
        check->saturation = talloc_asprintf(check, "load %.1f per core", load);
    if (!isnan(now->psi_cpu_some10) && now->psi_cpu_some10 >= 1)
        check->saturation = talloc_asprintf(check, "%s, %.0f %% wait",
                                            check->saturation ? check->saturation : "", now->psi_cpu_some10);
    check->saturation_severity =
        worse(host_severity(MEASURE_LOAD, load), host_severity(MEASURE_PSI_CPU, now->psi_cpu_some10));
    if (!isnan(now->steal_percent) && now->steal_percent >= 0.5F)
        check->errors = percent_text(check, now->steal_percent, "stolen");
    check->errors_severity = host_severity(MEASURE_STEAL, now->steal_percent);
    check->detail = talloc_asprintf(
        check, "%d cores · user %.0f %%, system %.0f %%, iowait %.0f %% · %d run, %d blocked", now->cores,
        now->user_percent, now->system_percent, now->iowait_percent, now->running, now->blocked);
}

static void check_memory(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "memory");
    char all[32], available[32], swap[32];
    check->unknown = isnan(now->memory_percent);
    check->use = percent_text(check, now->memory_percent, NULL);
    check->use_severity = host_severity(MEASURE_MEMORY, now->memory_percent);
    if (!isnan(now->swap_in_per_s))
        check->saturation = talloc_asprintf(check, "%.0f pages/s from swap", now->swap_in_per_s);
    if (!isnan(now->psi_memory_some10) && now->psi_memory_some10 >= 1)
        check->saturation = talloc_asprintf(check, "%.0f %% wait for memory", now->psi_memory_some10);
    check->saturation_severity = worse(host_severity(MEASURE_SWAP_IN, now->swap_in_per_s),
                                       host_severity(MEASURE_PSI_MEMORY, now->psi_memory_some10));
    if (now->oom_kills_1h > 0)
        check->errors = talloc_asprintf(check, "%d killed in 1 h", now->oom_kills_1h);
    else if (now->oom_kills_1h < 0)
        check->errors = talloc_strdup(check, "?");
    check->errors_severity = host_severity(MEASURE_OOM_KILLS, now->oom_kills_1h);
    if (now->oom_count)
        check->detail = talloc_asprintf(check, "%s: %s", now->oom[0].who ? now->oom[0].who : "oom",
                                        now->oom[0].text ? now->oom[0].text : "");
    else
        check->detail = talloc_asprintf(
            check, "%s available of %s · swap %s used",
            format_bytes(available, sizeof available, now->available_bytes),
            format_bytes(all, sizeof all, now->memory_bytes),
            now->swap_bytes > 0 ? format_bytes(swap, sizeof swap, now->swap_used_bytes) : "none, 0");
}

static void check_space(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "disk space");
    const struct host_mount *mount = now->worst_mount;
    char text[32], other[32];
    check->unknown = !mount;
    if (!mount)
        return;
    check->use = percent_text(check, mount->used_percent, NULL);
    check->use_severity = host_severity(MEASURE_DISK, mount->used_percent);
    if (!isnan(mount->full_in_s) && mount->full_in_s < 30 * 86400.0)
        check->saturation =
            talloc_asprintf(check, "full in ≈%s", format_s(text, sizeof text, mount->full_in_s));
    check->saturation_severity = host_severity(MEASURE_FULL_IN, mount->full_in_s);
    if (now->worst_inodes && !isnan(now->worst_inodes->inode_percent)) {
        check->errors_severity = host_severity(MEASURE_INODES, now->worst_inodes->inode_percent);
        if (check->errors_severity >= SEVERITY_WARNING)
            check->errors = percent_text(check, now->worst_inodes->inode_percent, "of inodes");
    }
    check->detail = talloc_asprintf(check, "%s: %s free of %s", mount->mount,
                                    format_bytes(text, sizeof text, mount->available_bytes),
                                    format_bytes(other, sizeof other, mount->size_bytes));
}

static void check_disks(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "disks");
    check->unknown = isnan(now->io_busy_percent);
    check->use = percent_text(check, now->io_busy_percent, "busy");
    check->use_severity = host_severity(MEASURE_IO_BUSY, now->io_busy_percent);
    if (!isnan(now->io_queue))
        check->saturation = talloc_asprintf(check, "queue %.1f", now->io_queue);
    if (!isnan(now->psi_io_some10) && now->psi_io_some10 >= 1)
        check->saturation =
            talloc_asprintf(check, "%s%s%.0f %% wait", check->saturation ? check->saturation : "",
                            check->saturation ? ", " : "", now->psi_io_some10);
    check->saturation_severity = worse(host_severity(MEASURE_IO_QUEUE, now->io_queue),
                                       host_severity(MEASURE_PSI_IO, now->psi_io_some10));
    if (now->block_count)
        check->detail =
            talloc_asprintf(check, "%s: %.0f reads/s, %.0f writes/s, %.1f ms each", now->blocks[0].name,
                            now->blocks[0].reads_per_s, now->blocks[0].writes_per_s, now->blocks[0].wait_ms);
}

static void check_network(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "network");
    char in[32], out[32];
    check->unknown = isnan(now->net_in_bytes_per_s);
    if (!check->unknown)
        check->use =
            talloc_asprintf(check, "%s/s in", format_bytes(in, sizeof in, (double)now->net_in_bytes_per_s));
    if (!isnan(now->retransmits_percent))
        check->saturation = talloc_asprintf(check, "%.1f %% sent again", now->retransmits_percent);
    check->saturation_severity = host_severity(MEASURE_RETRANSMITS, now->retransmits_percent);
    if (!check->unknown)
        check->detail = talloc_asprintf(check, "%s/s out · %zu interfaces",
                                        format_bytes(out, sizeof out, (double)now->net_out_bytes_per_s),
                                        now->interface_count);
    for (size_t i = 0; i < now->interface_count; i++)
        if (now->interfaces[i].errors_per_s > 0 || now->interfaces[i].drops_per_s > 0) {
            check->errors = talloc_asprintf(check, "%s: %.1f/s lost", now->interfaces[i].name,
                                            now->interfaces[i].errors_per_s + now->interfaces[i].drops_per_s);
            check->errors_severity = SEVERITY_WARNING;
        }
}

static void check_accept(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "accept queues");
    const struct host_listener *listener = now->worst_listener;
    check->unknown = !listener && isnan(now->listen_overflows_per_s);
    if (listener && listener->backlog >= 0) {
        check->saturation =
            talloc_asprintf(check, "%d of %d wait", listener->backlog, listener->backlog_limit);
        if (listener->backlog_limit > 0)
            check->saturation_severity =
                host_severity(MEASURE_ACCEPT_QUEUE, 100.0 * listener->backlog / listener->backlog_limit);
        check->detail = listener->port ? talloc_asprintf(check, "port %d", listener->port)
                                       : talloc_strdup(check, listener->address ? listener->address : "");
        if (listener->process)
            check->detail = talloc_asprintf_append(check->detail, " %s", listener->process);
    }
    check->use = talloc_asprintf(check, "%zu listen", now->listener_count);
    if (now->listen_overflows_per_s > 0)
        check->errors = talloc_asprintf(check, "%.1f/s refused", now->listen_overflows_per_s);
    check->errors_severity = host_severity(MEASURE_LISTEN_OVERFLOWS, now->listen_overflows_per_s);
}

static void check_units(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "units");
    check->unknown = now->failed_units < 0;
    check->absent = host_has_no_systemd(now);
    if (check->unknown)
        check->detail = now->init && strcmp(now->init, "systemd") != 0
                            ? talloc_asprintf(check, "no systemd here: process 1 is %s", now->init)
                            : NULL;
    if (now->unit_count)
        check->use = talloc_asprintf(check, "%zu units", now->unit_count);
    if (now->failed_units > 0)
        check->errors = talloc_asprintf(check, "%d failed", now->failed_units);
    check->errors_severity = host_severity(MEASURE_FAILED_UNITS, now->failed_units);
    for (size_t i = 0; i < now->failed_count; i++)
        check->detail = check->detail ? talloc_asprintf_append(check->detail, ", %s", now->failed[i].name)
                                      : talloc_strdup(check, now->failed[i].name);
}

static void check_containers(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "containers");
    check->unknown = now->containers_running < 0;
    check->absent = now->medium_at > 0 && !now->docker;
    if (check->absent)
        check->use = talloc_strdup(check, "no docker here");
    if (check->unknown)
        return;
    check->use = talloc_asprintf(check, "%d run", now->containers_running);
    if (now->containers_restarting > 0)
        check->errors = talloc_asprintf(check, "%d restart again and again", now->containers_restarting);
    check->errors_severity = host_severity(MEASURE_RESTARTING, now->containers_restarting);
}

static void check_certificates(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "certificates");
    check->unknown = isnan(now->certificate_days);
    if (check->unknown && now->slow_at > 0)
        check->detail = talloc_strdup(check, "none was read of Let's Encrypt's, or that nginx names");
    if (check->unknown)
        return;
    check->use = talloc_asprintf(check, "%.0f days left", now->certificate_days);
    check->use_severity = host_severity(MEASURE_CERTIFICATE_DAYS, now->certificate_days);
    if (now->certificate_count)
        check->detail = talloc_strdup(check, now->certificates[0].names ? now->certificates[0].names : "");
}

static void check_updates(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "updates");
    check->unknown = now->updates_security < 0 && now->updates < 0;
    if (check->unknown && now->slow_at > 0)
        check->detail =
            talloc_strdup(check, "not counted yet: after some minutes, or never without apt or apk");
    if (now->updates >= 0)
        check->use = talloc_asprintf(check, "%d wait", now->updates);
    if (now->updates_security > 0)
        check->errors = talloc_asprintf(check, "%d for security", now->updates_security);
    check->errors_severity = host_severity(MEASURE_SECURITY_UPDATES, now->updates_security);
    if (now->reboot_required > 0) {
        check->saturation = talloc_strdup(check, "reboot wanted");
        check->saturation_severity = SEVERITY_WARNING;
    }
}

static void check_clock(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "clock");
    char up[32];
    check->unknown = isnan(now->clock_offset_s);
    if (!check->unknown)
        check->use = talloc_asprintf(check, "%+.1f s", now->clock_offset_s);
    check->use_severity = host_severity(MEASURE_CLOCK_OFFSET, now->clock_offset_s);
    check->detail = talloc_asprintf(check, "up %s", format_s(up, sizeof up, now->uptime_s));
}

static void check_defence(struct checks *checks)
{
    const struct host_snapshot *now = checks->snapshot;
    struct check *check = add_check(checks, "firewall");
    /* Without a tool nobody knows whether something in front of the host protects it. */
    bool none = now->firewall && strcmp(now->firewall, "none") == 0;
    check->unknown = !now->firewall || none;
    if (none)
        check->detail = talloc_strdup(check, "no ufw, nft or iptables was found here");
    check->use = now->firewall ? talloc_strdup(check, now->firewall) : NULL;
    bool off = now->firewall &&
               (strcmp(now->firewall, "ufw inactive") == 0 || strcmp(now->firewall, "ufw not enabled") == 0);
    check->use_severity = off ? SEVERITY_WARNING : SEVERITY_NONE;
    if (now->fail2ban)
        check->detail = talloc_asprintf(check, "%s%sfail2ban: %s", check->detail ? check->detail : "",
                                        check->detail ? " · " : "", now->fail2ban);
}

/* What may not be looked at is unknown, and here is how to permit it. */
static void check_denied(struct checks *checks)
{
    for (size_t i = 0; i < checks->snapshot->denied_count; i++) {
        const struct host_denied *denied = &checks->snapshot->denied[i];
        struct check *check = add_check(checks, talloc_asprintf(checks->list, "%s", denied->what));
        check->unknown = true;
        check->use = talloc_strdup(check, "not permitted");
        check->detail = talloc_asprintf(check, "%s: %s", denied->what, denied->todo ? denied->todo : "");
    }
}

static void rows(struct app *app, struct row_list *list)
{
    struct checks checks = {list, host_focused(app, list)};
    if (!checks.snapshot)
        return;
    check_cpu(&checks);
    check_memory(&checks);
    check_space(&checks);
    check_disks(&checks);
    check_network(&checks);
    check_accept(&checks);
    check_units(&checks);
    check_containers(&checks);
    check_certificates(&checks);
    check_updates(&checks);
    check_clock(&checks);
    check_defence(&checks);
    check_denied(&checks);
}

static void detail(struct app *app, const struct table_row *row, struct page *page)
{
    const struct check *check = CHECK(row->data);
    const struct host_snapshot *now = host_latest(hosts_state(app)->focus);
    page_section(page, check->resource);
    const struct {
        const char *label, *text;
    } parts[] = {{"use", check->use},
                 {"saturation", check->saturation},
                 {"errors", check->errors},
                 {"detail", check->detail}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].text)
            page_pair(page, parts[i].label, STYLE_NORMAL, parts[i].text);
    if (now && strcmp(check->resource, "firewall") == 0 && now->firewall_rules) {
        page_section(page, "Rules");
        page_text(page, STYLE_NORMAL, 0, now->firewall_rules);
    }
    if (now && strcmp(check->resource, "firewall") == 0 && now->bans) {
        page_section(page, "Banned");
        page_text(page, STYLE_NORMAL, 0, now->bans);
    }
}

/* "Debian GNU/Linux 12 (bookworm), 6.1.0-18 · up 12 d · libssh2". */
static void note(struct app *app, char *buffer, size_t size)
{
    struct host *host = hosts_state(app)->focus;
    const struct host_snapshot *now = host_latest(host);
    snprintf(buffer, size, "%s%s%s", now && now->os ? now->os : "", now && now->os ? " · " : "",
             ssh_host_transport(host_ssh(host)));
}

const struct view host_overview = {
    .id = "overview",
    .title = "Overview",
    .summary = "its problems, the last hour, and each resource by use, saturation and errors",
    .empty = "nothing is known of this host yet",
    .columns = check_columns,
    .column_count = sizeof check_columns / sizeof *check_columns,
    .rows = rows,
    .head = host_charts_head,
    .tell = "detail",
    .note = note,
    .detail = detail,
    HOST_VIEW,
};
