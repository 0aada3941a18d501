/* The record of a host: takes answers apart by section, and puts what is known together into snapshots. */
#include "backends/hosts/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/fleet.h"
#include "backends/hosts/record_internal.h"

#define HOUR_S 3600.0

const char *host_state_name(enum host_state state)
{
    static const char *const names[] = {[HOST_UNKNOWN] = "unknown",
                                        [HOST_OK] = "ok",
                                        [HOST_WARNING] = "warning",
                                        [HOST_CRITICAL] = "critical"};
    return names[state];
}

const char *host_service_name(enum host_service_kind kind)
{
    static const char *const names[] = {
        [SERVICE_NGINX] = "nginx",         [SERVICE_GUNICORN] = "gunicorn",       [SERVICE_UWSGI] = "uwsgi",
        [SERVICE_CELERY] = "celery",       [SERVICE_CELERY_BEAT] = "celery beat", [SERVICE_DOCKER] = "docker",
        [SERVICE_PGBOUNCER] = "pgbouncer", [SERVICE_POSTGRES] = "postgres",       [SERVICE_REDIS] = "redis",
        [SERVICE_OTHER] = "other"};
    return names[kind];
}

const char *host_tier_name(enum host_tier tier)
{
    static const char *const names[] = {
        [HOST_FAST] = "fast", [HOST_MEDIUM] = "medium", [HOST_SLOW] = "slow", [HOST_DETAIL] = "detail"};
    return names[tier];
}

/* ---- before anything is known of a tier ---- */

static void forget_fast(struct host_snapshot *now)
{
    now->uptime_s = now->booted_at = now->load1 = now->load5 = now->load15 = NAN;
    now->running = now->blocked = now->processes = -1;
    now->cpu_percent = now->user_percent = now->system_percent = now->iowait_percent = now->steal_percent =
        NAN;
    now->memory_bytes = now->available_bytes = now->swap_bytes = now->swap_used_bytes = NAN;
    now->dirty_bytes = now->cached_bytes = now->memory_percent = NAN;
    now->swap_in_per_s = now->swap_out_per_s = NAN;
    now->psi_cpu_some10 = now->psi_io_some10 = now->psi_io_full10 = NAN;
    now->psi_memory_some10 = now->psi_memory_full10 = NAN;
    now->io_busy_percent = now->io_queue = now->net_in_bytes_per_s = now->net_out_bytes_per_s = NAN;
    now->retransmits_percent = now->listen_overflows_per_s = now->listen_drops_per_s = NAN;
    now->oom_kills = now->files_open = now->files_limit = -1;
}

static void forget_medium(struct host_record *record)
{
    struct host_snapshot *now = &record->now;
    now->mounts = NULL, now->mount_count = 0;
    now->worst_mount = now->worst_inodes = NULL;
    now->process = NULL, now->process_count = 0;
    now->listeners = NULL, now->listener_count = 0, now->worst_listener = NULL;
    now->containers = NULL, now->container_count = 0;
    now->containers_running = now->containers_restarting = -1;
    now->docker = false;
    now->services = NULL, now->service_count = 0;
    record->hung = NULL, record->hung_count = 0;
    record->docker_error = NULL;
}

static void forget_slow(struct host_record *record)
{
    struct host_snapshot *now = &record->now;
    now->os = now->kernel = now->hostname = now->init = now->release = now->firewall = now->fail2ban = NULL;
    now->failed_units = now->oom_kills_1h = now->updates = now->updates_security = now->reboot_required = -1;
    now->failed = NULL, now->failed_count = 0;
    now->errors = NULL, now->error_count = 0;
    now->oom = NULL, now->oom_count = 0;
    now->certificates = NULL, now->certificate_count = 0;
    now->certificate_days = now->release_since = NAN;
    record->versions = NULL, record->version_count = 0;
    record->nginx_test = NULL;
    record->images = NULL, record->image_count = 0;
    record->owners = NULL, record->owner_count = 0;
}

static void forget_detail(struct host_record *record)
{
    struct host_snapshot *now = &record->now;
    now->units = NULL, now->unit_count = 0;
    now->timers = NULL, now->timer_count = 0;
    now->cgroups = NULL, now->cgroup_count = 0;
    now->logins = NULL, now->login_count = 0;
    now->kernel_messages = NULL, now->kernel_count = 0;
    now->firewall_rules = now->bans = NULL;
    record->arguments = NULL, record->argument_count = 0;
}

static int record_gone(struct host_record *record)
{
    for (int i = 0; i < HOST_TIERS; i++)
        snapshot_release(record->parts[i]);
    return 0;
}

struct host_record *host_record_new(const void *context, const char *name, const char *group)
{
    struct host_record *record = talloc_zero(context, struct host_record);
    if (!record)
        abort();
    talloc_set_destructor(record, record_gone);
    record->name = talloc_strdup(record, name);
    record->group = group ? talloc_strdup(record, group) : NULL;
    if (!record->name || (group && !record->group))
        abort();
    record->now.clock_offset_s = NAN;
    record->updates_counted = record->security_counted = -1;
    record->segments_out = NAN;
    forget_fast(&record->now);
    forget_medium(record);
    forget_slow(record);
    forget_detail(record);
    return record;
}

/* ---- answers ---- */

char *part_text(struct host_part *part, struct span span, size_t most)
{
    enum { BLOCK = 1024 };
    size_t length = span_fit(span, most);
    if (length + 1 > part->left) {
        size_t block = length + 1 > BLOCK ? length + 1 : BLOCK;
        char *room = talloc_array(part, char, block);
        if (!room)
            abort();
        if (block > BLOCK) {
            span_write(room, span, length);
            return room;
        }
        part->room = room;
        part->left = block;
    }
    char *text = part->room;
    span_write(text, span, length);
    part->room += length + 1;
    part->left -= length + 1;
    return text;
}

bool section_next(struct section_reader *reader, struct span *name, struct span *body)
{
    char marker[40];
    struct span line;
    snprintf(marker, sizeof marker, "@@%s ", reader->mark);
    do {
        if (!span_line(&reader->rest, &line))
            return false;
    } while (!span_skip(&line, marker));
    *name = line;
    /* Up to the next line that begins with the mark. */
    const char *from = reader->rest.at;
    size_t length = 0;
    while (length < reader->rest.length) {
        struct span here = {from + length, reader->rest.length - length};
        if (span_starts(here, marker))
            break;
        const char *end = memchr(here.at, '\n', here.length);
        length = end ? (size_t)(end - from) + 1 : reader->rest.length;
    }
    *body = (struct span){from, length};
    reader->rest.at += length;
    reader->rest.length -= length;
    return true;
}

/* "1795261000.123", or without a fraction where date knows none ("1795261000.%N"): then half a second is
 * added. */
static void take_date(struct host_record *record, const struct host_answer *answer, struct span body)
{
    struct span line;
    double theirs, ours = (answer->asked + answer->first) / 2;
    if (!span_line(&body, &line))
        return;
    struct span rest = line, whole = span_until(&rest, '.');
    if (!span_real(line, false, &theirs)) {
        if (!span_real(whole, false, &theirs))
            return;
        theirs += 0.5;
        if (fabs(theirs - ours) < 0.6)
            theirs = ours;
    }
    record->now.clock_offset_s = theirs - ours;
}

enum {
    MEDIUM_PROCESSES,
    MEDIUM_IO,
    MEDIUM_DELETED,
    MEDIUM_CONTAINERS,
    MEDIUM_CGROUPS,
    MEDIUM_NGINX,
    MEDIUM_LATER
};

/* True when the section must wait until the others were read. */
static bool medium_later(struct span name, struct span body, struct span *later)
{
    static const char *const names[] = {"processes", "io", "deleted", "containers", "cgroups", "nginx"};
    for (int i = 0; i < MEDIUM_LATER; i++)
        if (span_is(name, names[i])) {
            later[i] = body;
            return true;
        }
    return false;
}

static void finish_medium(struct host_record *record, struct host_part *part,
                          const struct host_answer *answer, const struct span *later)
{
    double before = record->process_uptime, seconds = NAN;
    struct process_sample *sample = parse_processes(NULL, later[MEDIUM_PROCESSES]);
    finish_mounts(record, answer->answered);
    finish_sockets(record, part);
    if (sample) {
        parse_process_io(sample, later[MEDIUM_IO]);
        parse_deleted(sample, later[MEDIUM_DELETED]);
        seconds = before > 0 ? sample->uptime - before : NAN;
    }
    finish_processes(record, part, sample);
    find_services(record, part, sample, later[MEDIUM_NGINX]);
    if (later[MEDIUM_CONTAINERS].at)
        parse_containers(record, part, later[MEDIUM_CONTAINERS], answer->answered);
    parse_cgroups(record, later[MEDIUM_CGROUPS], seconds);
    talloc_free(sample);
}

static void take_section(struct host_record *record, struct host_part *part, const struct host_answer *answer,
                         struct span name, struct span body, struct span *later)
{
    struct span arguments = name;
    if (span_skip(&arguments, "denied ")) {
        parse_denied(record, part, arguments);
        return;
    }
    switch (answer->tier) {
    case HOST_MEDIUM:
        if (span_is(name, "date"))
            take_date(record, answer, body);
        else if (span_is(name, "df"))
            parse_mounts(record, part, body);
        else if (span_is(name, "inodes"))
            parse_inodes(record, body);
        else if (span_is(name, "hung"))
            parse_hung(record, part, body);
        else if (span_is(name, "sockets"))
            parse_sockets(record, part, body);
        else
            medium_later(name, body, later);
        break;
    case HOST_SLOW:
        parse_slow_section(record, part, name, body);
        break;
    case HOST_DETAIL:
        parse_detail_section(record, part, name, body);
        break;
    default:
        break;
    }
}

static void count_kills(struct host_record *record, double now)
{
    int64_t kills = record->now.oom_kills;
    if (kills < 0)
        return;
    if (record->kills_since <= 0 || kills < record->kills_before) {
        record->kills_since = now;
        record->kills_before = kills;
        record->kill_count = 0;
        return;
    }
    int64_t seen = record->kills_before;
    for (size_t i = 0; i < record->kill_count; i++)
        seen += record->kills[i].count;
    if (kills <= seen)
        return;
    if (record->kill_count == sizeof record->kills / sizeof *record->kills) {
        record->kills_before += record->kills[0].count;
        memmove(record->kills, record->kills + 1, --record->kill_count * sizeof *record->kills);
    }
    record->kills[record->kill_count].time = now;
    record->kills[record->kill_count++].count = kills - seen;
}

/* Of the last hour: what the kernel's log told, or what was counted here; -1 when neither reaches back so
 * far. */
static int kills_of_hour(const struct host_record *record, double now)
{
    int64_t counted = 0;
    const struct host_snapshot *known = &record->now;
    for (size_t i = 0; i < record->kill_count; i++)
        if (now - record->kills[i].time < HOUR_S)
            counted += record->kills[i].count;
    if (known->oom_kills_1h > counted)
        return known->oom_kills_1h;
    if (known->oom_kills >= 0 && !isnan(known->uptime_s) &&
        (known->uptime_s < HOUR_S || known->oom_kills == 0))
        return known->oom_kills < 1000000 ? (int)known->oom_kills : 1000000;
    bool known_long = record->kills_since > 0 && now - record->kills_since >= HOUR_S;
    if (counted > 0 || known_long || known->oom_kills_1h >= 0)
        return counted < 1000000 ? (int)counted : 1000000;
    return -1;
}

static void replace_part(struct host_record *record, enum host_tier tier, struct host_part *part)
{
    snapshot_release(record->parts[tier]);
    record->parts[tier] = part;
}

bool host_record_take(struct host_record *record, const struct host_answer *answer, struct error *error)
{
    struct section_reader reader = {{answer->text, answer->length}, answer->mark};
    struct span name, body, later[MEDIUM_LATER] = {{0}};
    struct host_part *part = SNAPSHOT_NEW(struct host_part);
    struct host_snapshot before = record->now;
    size_t sections = 0;
    bool good = true;
    if (answer->tier == HOST_MEDIUM)
        forget_medium(record);
    else if (answer->tier == HOST_SLOW)
        forget_slow(record);
    else if (answer->tier == HOST_DETAIL)
        forget_detail(record);
    while (section_next(&reader, &name, &body)) {
        if (span_starts(name, "end "))
            break;
        sections++;
        if (answer->tier == HOST_FAST)
            good = parse_fast(record, part, body);
        else
            take_section(record, part, answer, name, body, later);
    }
    if (!sections || !good) {
        record->now = before;
        /* What was forgotten outside of the snapshot is of no use without its part, and is learned again. */
        snapshot_release(part);
        return error_set(error, ERROR_SERVER, record->name, "cannot read what the host answered",
                         "is /proc mounted there?", "the answer of the %s tier has nothing of what was asked",
                         host_tier_name(answer->tier));
    }
    replace_part(record, answer->tier, part);
    if (answer->tier == HOST_FAST) {
        record->now.fast_at = answer->answered;
        count_kills(record, answer->answered);
    } else if (answer->tier == HOST_MEDIUM) {
        record->now.medium_at = answer->answered;
        finish_medium(record, part, answer, later);
    } else if (answer->tier == HOST_SLOW) {
        record->now.slow_at = answer->answered;
        finish_slow(record, answer->answered);
    } else {
        record->now.detail_at = answer->answered;
    }
    return true;
}

void host_record_drop_detail(struct host_record *record)
{
    forget_detail(record);
    TALLOC_FREE(record->raw_cgroups);
    record->raw_cgroup_count = 0;
    record->now.detail_at = 0;
    replace_part(record, HOST_DETAIL, NULL);
}

void host_record_set_user(struct host_record *record, const char *user)
{
    talloc_free((char *)record->user);
    record->user = talloc_strdup(record, user);
    if (!record->user)
        abort();
}

void host_record_set_status_guessed(struct host_record *record, bool guessed)
{
    record->status_guessed = guessed;
}

/* ---- snapshots ---- */

/* A snapshot holds the parts that it points into. */
struct full_snapshot {
    struct host_snapshot snapshot;
    struct host_part *parts[HOST_TIERS];
};

static int snapshot_gone(struct full_snapshot *full)
{
    for (int i = 0; i < HOST_TIERS; i++)
        snapshot_release(full->parts[i]);
    return 0;
}

static void collect_denied(const struct host_record *record, struct host_snapshot *snapshot)
{
    struct host_denied *list = NULL;
    snapshot->denied_count = 0;
    for (int i = 0; i < HOST_TIERS; i++)
        for (size_t k = 0; record->parts[i] && k < record->parts[i]->denied_count; k++) {
            const struct host_denied *denied = &record->parts[i]->denied[k];
            bool known = false;
            for (size_t n = 0; n < snapshot->denied_count; n++)
                known = known || !strcmp(list[n].what, denied->what);
            struct host_denied *slot = known ? NULL : ARRAY_ADD(snapshot, list, snapshot->denied_count, 24);
            if (slot)
                *slot = *denied;
        }
    snapshot->denied = list;
}

/* Arguments and cgroups are of the details, the processes of the medium tier. */
static void add_arguments(const struct host_record *record, struct host_snapshot *snapshot)
{
    if (!record->argument_count || !snapshot->process_count)
        return;
    struct host_process *copy =
        talloc_memdup(snapshot, snapshot->process, snapshot->process_count * sizeof *snapshot->process);
    if (!copy)
        abort();
    for (size_t i = 0; i < snapshot->process_count; i++)
        for (size_t k = 0; k < record->argument_count; k++)
            if (record->arguments[k].pid == copy[i].pid) {
                copy[i].arguments = record->arguments[k].arguments;
                copy[i].cgroup = record->arguments[k].cgroup;
            }
    snapshot->process = copy;
}

struct host_snapshot *host_record_publish(struct host_record *record, const struct host_standing *standing)
{
    struct full_snapshot *full = SNAPSHOT_NEW(struct full_snapshot);
    struct host_snapshot *snapshot = &full->snapshot;
    struct snapshot base = snapshot->base;
    *snapshot = record->now;
    snapshot->base = base;
    for (int i = 0; i < HOST_TIERS; i++)
        full->parts[i] = (struct host_part *)snapshot_hold(record->parts[i]);
    talloc_set_destructor(full, snapshot_gone);
    snapshot->host = talloc_strdup(full, record->name);
    snapshot->group = record->group ? talloc_strdup(full, record->group) : NULL;
    if (!snapshot->host || (record->group && !snapshot->group))
        abort();
    snapshot->oom_kills_1h = kills_of_hour(record, standing->now);
    if (snapshot->certificate_count)
        snapshot->certificate_days = (snapshot->certificates[0].not_after - standing->now) / 86400;
    collect_denied(record, snapshot);
    add_arguments(record, snapshot);
    complete_services(record, snapshot);
    host_judge(record, snapshot, standing);
    return snapshot;
}

void host_record_series(const struct host_record *record, float *values)
{
    const struct host_snapshot *now = &record->now;
    values[SERIES_CPU] = now->cpu_percent;
    values[SERIES_STEAL] = now->steal_percent;
    values[SERIES_IOWAIT] = now->iowait_percent;
    values[SERIES_LOAD] = now->load1;
    values[SERIES_MEMORY] = now->memory_percent;
    values[SERIES_SWAP_IN] = now->swap_in_per_s;
    values[SERIES_PSI_CPU] = now->psi_cpu_some10;
    values[SERIES_PSI_IO] = now->psi_io_some10;
    values[SERIES_PSI_MEMORY] = now->psi_memory_some10;
    values[SERIES_IO_BUSY] = now->io_busy_percent;
    values[SERIES_NET_IN] = now->net_in_bytes_per_s;
    values[SERIES_NET_OUT] = now->net_out_bytes_per_s;
    values[SERIES_LISTEN_OVERFLOWS] = now->listen_overflows_per_s;
}

/* Packages are counted only when somebody stays: it takes seconds. */
static const char *updates_key(const struct host_record *record, double read_at)
{
    return record->updates_key[0] ? record->updates_key : read_at > 0 ? "?" : "-";
}

char *host_record_slow_request(const void *context, const struct host_record *record)
{
    char *request = talloc_strdup(context, updates_key(record, record->now.slow_at));
    if (!request)
        abort();
    return request;
}

char *host_record_detail_request(const void *context, const struct host_record *record)
{
    char *request = talloc_strdup(context, updates_key(record, record->now.detail_at));
    for (size_t i = 0; request && i < record->now.process_count; i++)
        request = talloc_asprintf_append(request, " %d", record->now.process[i].pid);
    if (!request)
        abort();
    return request;
}
