/*
 * What is wrong with a host, worst first, in the order in which people look: errors, saturation, utilisation.
 * The levels stand in levels.h; here are the sentences, and since when each is true.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/levels.h"
#include "backends/hosts/record_internal.h"
#include "core/units.h"

/* A problem that comes back within this time never went away. */
#define FLAP_S 120.0
/* As many of one kind are told. */
#define MOST_OF_A_KIND 3
#define RETRANSMIT_SEGMENTS 500
#define JOURNAL_S 600.0
#define JOURNAL_MANY 5
#define DAY_S 86400.0
/* A process that is this busy, and was for so long. */
#define RUNAWAY_PERCENT 80
#define RUNAWAY_S 30.0
/* Where the limit of an accept queue is unknown (busybox), this many who wait are too many. */
#define WAITING_MANY 64

struct judgement {
    struct host_record *record;
    struct host_snapshot *snapshot;
    struct host_problem *problems;
    size_t count;
    double now;
};

/* FNV-1a. */
static uint64_t key_of(const char *rule, const char *subject)
{
    uint64_t hash = 14695981039346656037ULL;
    for (const char *c = rule; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    hash = (hash ^ 0x1F) * 1099511628211ULL;
    for (const char *c = subject; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    return hash;
}

static double first_seen(struct host_record *record, uint64_t key, double now)
{
    struct known_problem *slot = NULL;
    for (size_t i = 0; i < record->problem_count; i++) {
        struct known_problem *known = &record->problems[i];
        if (known->key == key) {
            if (now - known->seen > FLAP_S)
                known->since = now;
            known->seen = now;
            return known->since;
        }
        if (now - known->seen > FLAP_S)
            slot = known;
    }
    if (record->problem_count < HOST_MAX_PROBLEMS)
        slot = &record->problems[record->problem_count++];
    if (slot)
        *slot = (struct known_problem){key, now, now};
    return now;
}

static void add(struct judgement *judgement, enum severity severity, char letter, const char *rule,
                const char *subject, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Nothing happens at SEVERITY_NONE. `subject` tells problems of one rule apart. */
static void add(struct judgement *judgement, enum severity severity, char letter, const char *rule,
                const char *subject, const char *format, ...)
{
    if (severity == SEVERITY_NONE)
        return;
    struct host_problem *problem =
        ARRAY_ADD(judgement->snapshot, judgement->problems, judgement->count, HOST_MAX_PROBLEMS);
    if (!problem)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *text = talloc_vasprintf(judgement->snapshot, format, arguments);
    va_end(arguments);
    if (!text)
        abort();
    *problem =
        (struct host_problem){.severity = severity,
                              .letter = letter,
                              .text = text,
                              .since = first_seen(judgement->record, key_of(rule, subject), judgement->now)};
}

/* "in about 40 min", "in about 3 h", "in about 2 days" */
static const char *about(char *buffer, size_t size, double seconds)
{
    if (seconds < 5400)
        snprintf(buffer, size, "in about %.0f min", fmax(1, seconds / 60));
    else if (seconds < 2 * DAY_S)
        snprintf(buffer, size, "in about %.0f h", seconds / 3600);
    else
        snprintf(buffer, size, "in about %.0f days", seconds / DAY_S);
    return buffer;
}

static enum severity worse_of(enum severity a, enum severity b)
{
    return a > b ? a : b;
}

static const char *times(int count, char *buffer, size_t size)
{
    if (count == 1)
        return "once";
    snprintf(buffer, size, "%d times", count);
    return buffer;
}

/* ---- errors ---- */

static void judge_silence(struct judgement *j, const struct host_standing *standing)
{
    char age[32];
    if (standing->silent_s <= 0)
        return;
    const char *open = standing->why && standing->why[0] ? ": " : "",
               *why = standing->why ? standing->why : "";
    if (j->snapshot->fast_at > 0)
        add(j, SEVERITY_CRITICAL, 'E', "silent", "", "no answer for %s%s%s",
            format_s(age, sizeof age, standing->silent_s), open, why);
    else
        add(j, SEVERITY_CRITICAL, 'E', "silent", "", "has never answered%s%s", open, why);
}

static void judge_kills(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    char buffer[32];
    int told = 0;
    enum severity severity = host_severity(MEASURE_OOM_KILLS, s->oom_kills_1h >= 0 ? s->oom_kills_1h : NAN);
    for (size_t i = 0; i < s->oom_count && told < MOST_OF_A_KIND; i++) {
        int count = 0;
        bool earlier = false;
        for (size_t k = 0; k < s->oom_count; k++) {
            count += !strcmp(s->oom[k].who, s->oom[i].who);
            earlier = earlier || (k < i && !strcmp(s->oom[k].who, s->oom[i].who));
        }
        if (earlier)
            continue;
        told++;
        add(j, severity, 'E', "oom", s->oom[i].who, "%s killed for memory %s", s->oom[i].who,
            times(count, buffer, sizeof buffer));
    }
    if (!told && s->oom_kills_1h > 0)
        add(j, severity, 'E', "oom", "", "kernel: OOM killer %s within an hour",
            times(s->oom_kills_1h, buffer, sizeof buffer));
}

static void judge_units(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    enum severity severity = host_severity(MEASURE_FAILED_UNITS, s->failed_units > 0 ? s->failed_units : NAN);
    size_t told = 0;
    for (; told < s->failed_count && told < MOST_OF_A_KIND; told++) {
        const struct host_unit *unit = &s->failed[told];
        add(j, severity, 'E', "unit", unit->name, "unit %s failed%s%s%s", unit->name,
            unit->result ? " (" : "", unit->result ? unit->result : "", unit->result ? ")" : "");
    }
    int more = s->failed_units - (int)told;
    if (more > 0)
        add(j, severity, 'E', "units", "", told ? "%d more units failed" : "%d units failed", more);
}

static void judge_containers(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    char buffer[32];
    int told = 0;
    if (j->record->docker_error)
        add(j, SEVERITY_WARNING, 'E', "docker", "", "docker: %s", j->record->docker_error);
    for (size_t i = 0; i < s->container_count && told < MOST_OF_A_KIND; i++) {
        const struct host_container *c = &s->containers[i];
        size_t before = j->count;
        if (!strcmp(c->state, "restarting"))
            add(j, host_severity(MEASURE_RESTARTING, 1), 'E', "restarting", c->name,
                "container %s restarts again and again, %s so far", c->name,
                times(c->restarts > 0 ? c->restarts : 1, buffer, sizeof buffer));
        else if (c->health && !strcmp(c->health, "unhealthy"))
            add(j, SEVERITY_CRITICAL, 'E', "unhealthy", c->name, "container %s is unhealthy", c->name);
        else if (c->oom_killed)
            add(j, SEVERITY_WARNING, 'E', "container oom", c->name, "container %s was killed for memory",
                c->name);
        told += j->count > before;
    }
}

static void judge_mount(struct judgement *j, const struct host_mount *mount, int *told)
{
    char percent[32], time[48];
    enum severity full = host_severity(MEASURE_DISK, mount->used_percent);
    enum severity soon = host_severity(MEASURE_FULL_IN, mount->full_in_s);
    /* A disk with much room that fills now may be a file that is gone again in a minute. */
    if (mount->used_percent < 30 && soon > SEVERITY_WARNING)
        soon = SEVERITY_WARNING;
    if (worse_of(full, soon) == SEVERITY_NONE || ++*told > MOST_OF_A_KIND)
        return;
    bool grows = isfinite(mount->full_in_s);
    add(j, worse_of(full, soon), 'E', "disk", mount->mount, "disk %s is %s full%s%s", mount->mount,
        format_percent(percent, sizeof percent, round((double)mount->used_percent)), grows ? ", full " : "",
        grows ? about(time, sizeof time, mount->full_in_s) : "");
}

static void judge_disks(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    char percent[32];
    int told = 0;
    for (size_t i = 0; i < j->record->hung_count && i < MOST_OF_A_KIND; i++)
        add(j, SEVERITY_CRITICAL, 'E', "hung", j->record->hung[i], "mount %s does not answer",
            j->record->hung[i]);
    for (size_t i = 0; i < s->mount_count; i++)
        judge_mount(j, &s->mounts[i], &told);
    if (s->worst_inodes)
        add(j, host_severity(MEASURE_INODES, s->worst_inodes->inode_percent), 'E', "inodes",
            s->worst_inodes->mount, "inodes of %s are %s used", s->worst_inodes->mount,
            format_percent(percent, sizeof percent, round((double)s->worst_inodes->inode_percent)));
}

static void judge_certificates(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    for (size_t i = 0; i < s->certificate_count && i < MOST_OF_A_KIND; i++) {
        const struct host_certificate *c = &s->certificates[i];
        double days = (c->not_after - j->now) / DAY_S;
        const char *names = c->names ? c->names : c->path;
        int length = (int)strcspn(names, " ");
        enum severity severity = host_severity(MEASURE_CERTIFICATE_DAYS, days);
        if (days < 0)
            add(j, severity, 'E', "certificate", names, "certificate %.*s has ended", length, names);
        else
            add(j, severity, 'E', "certificate", names, "certificate %.*s ends in %.0f day%s", length, names,
                floor(days), floor(days) == 1 ? "" : "s");
    }
}

static void judge_services(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    for (size_t i = 0; i < s->service_count; i++) {
        const struct host_service *service = &s->services[i];
        bool needs = service->kind == SERVICE_NGINX || service->kind == SERVICE_GUNICORN;
        if (needs && service->workers == 0)
            add(j, SEVERITY_CRITICAL, 'E', "workers", service->name, "%s has no worker", service->name);
        if (service->deleted)
            add(j, SEVERITY_WARNING, 'E', "replaced", service->name,
                "%s was replaced on disk and still runs the old program: restart it", service->name);
        if (service->note && !strncmp(service->note, "configuration test failed", 25))
            add(j, SEVERITY_WARNING, 'E', "configuration", service->name, "%s: %s", service->name,
                service->note);
        const char *status = service->note ? strstr(service->note, "its status page does not answer") : NULL;
        if (status)
            add(j, SEVERITY_WARNING, 'E', "status", service->name, "%s: %s", service->name, status);
    }
}

static void judge_journal(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    int recent = 0;
    for (size_t i = 0; i < s->error_count; i++)
        recent += s->slow_at - s->errors[i].time < JOURNAL_S;
    if (recent >= JOURNAL_MANY)
        add(j, SEVERITY_WARNING, 'E', "journal", "", "%d%s errors in the journal within 10 min, last %s: %s",
            recent, recent >= 20 ? " or more" : "", s->errors[0].who ? s->errors[0].who : "?",
            s->errors[0].text);
}

static void judge_rest(struct judgement *j, const struct host_standing *standing)
{
    const struct host_snapshot *s = j->snapshot;
    char text[32];
    double files = s->files_limit > 0 ? 100.0 * (double)s->files_open / (double)s->files_limit : NAN;
    add(j, host_severity(MEASURE_CLOCK_OFFSET, s->clock_offset_s), 'E', "clock", "", "clock is %s %s",
        format_s(text, sizeof text, fabs(s->clock_offset_s)), s->clock_offset_s > 0 ? "ahead" : "behind");
    add(j, host_severity(MEASURE_FILES, files), 'E', "files", "", "open files are at %s of the limit",
        format_percent(text, sizeof text, round(files)));
    if (standing->release_differs && s->release)
        add(j, SEVERITY_WARNING, 'E', "release", "", "release %s, %s", s->release, standing->release_differs);
}

/* ---- saturation ---- */

static void judge_queue(struct judgement *j)
{
    const struct host_listener *l = j->snapshot->worst_listener;
    if (!l || l->backlog < 4)
        return;
    char name[128];
    if (l->port)
        snprintf(name, sizeof name, ":%d", l->port);
    else
        snprintf(name, sizeof name, "%s", l->address);
    if (l->backlog_limit <= 0) {
        add(j, l->backlog >= WAITING_MANY ? SEVERITY_WARNING : SEVERITY_NONE, 'S', "queue", name,
            "%d connections to %s wait to be accepted", l->backlog, name);
        return;
    }
    double percent = 100.0 * l->backlog / l->backlog_limit;
    enum severity severity = host_severity(MEASURE_ACCEPT_QUEUE, percent);
    if (percent >= 100)
        add(j, severity, 'S', "queue", name, "accept queue of %s is full (%d of %d)", name, l->backlog,
            l->backlog_limit);
    else
        add(j, severity, 'S', "queue", name, "accept queue of %s is %.0f %% full (%d of %d)", name, percent,
            l->backlog, l->backlog_limit);
}

static void judge_saturation(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    char text[32];
    judge_queue(j);
    add(j, host_severity(MEASURE_LISTEN_OVERFLOWS, s->listen_overflows_per_s), 'S', "overflows", "",
        "connections are dropped: accept queues overflow %s times a second",
        format_rate(text, sizeof text, s->listen_overflows_per_s));
    add(j, host_severity(MEASURE_PSI_MEMORY, s->psi_memory_some10), 'S', "psi memory", "",
        "waits for memory %.0f %% of the time", s->psi_memory_some10);
    add(j, host_severity(MEASURE_PSI_IO, s->psi_io_some10), 'S', "psi io", "",
        "waits for disks %.0f %% of the time", s->psi_io_some10);
    add(j, host_severity(MEASURE_PSI_CPU, s->psi_cpu_some10), 'S', "psi cpu", "",
        "waits for CPU %.0f %% of the time", s->psi_cpu_some10);
    if (isnan(s->psi_cpu_some10) && s->cores > 0)
        add(j, host_severity(MEASURE_LOAD, (double)s->load1 / s->cores), 'S', "load", "",
            "load is %.1f for each core", (double)s->load1 / s->cores);
    add(j, host_severity(MEASURE_STEAL, s->steal_percent), 'S', "steal", "",
        "the hypervisor takes %.0f %% of the CPU", s->steal_percent);
    add(j, host_severity(MEASURE_SWAP_IN, s->swap_in_per_s), 'S', "swap", "", "swaps in %s pages a second",
        format_rate(text, sizeof text, s->swap_in_per_s));
    if (j->record->segments_out >= RETRANSMIT_SEGMENTS)
        add(j, host_severity(MEASURE_RETRANSMITS, s->retransmits_percent), 'S', "retransmits", "",
            "%.1f %% of what it sends is sent again", s->retransmits_percent);
    if (isnan(s->psi_io_some10))
        add(j, host_severity(MEASURE_IO_QUEUE, s->io_queue), 'S', "io queue", "",
            "%.0f requests wait for disks", s->io_queue);
}

/* ---- utilisation ---- */

static void judge_processes(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    char age[32];
    int told = 0;
    for (size_t i = 0; i < s->process_count && told < MOST_OF_A_KIND; i++) {
        const struct host_process *p = &s->process[i];
        char subject[24];
        if (!(p->cpu_percent >= RUNAWAY_PERCENT) || p->cpu_s < RUNAWAY_S || p->parent == 2)
            continue;
        snprintf(subject, sizeof subject, "%d", p->pid);
        told++;
        add(j, SEVERITY_WARNING, 'U', "runaway", subject, "%s (%d) keeps a core busy, %s of CPU so far",
            p->command, p->pid, format_s(age, sizeof age, p->cpu_s));
    }
}

static void judge_utilisation(struct judgement *j)
{
    const struct host_snapshot *s = j->snapshot;
    const struct host_block *disk = s->block_count ? &s->blocks[0] : NULL;
    const struct host_process *top = s->process_count ? &s->process[0] : NULL;
    enum severity cpu = host_severity(MEASURE_CPU, s->cpu_percent);
    if (top && top->cpu_percent >= 30)
        add(j, cpu, 'U', "cpu", "", "CPU is %.0f %% busy, most with %s (%d)", s->cpu_percent, top->command,
            top->pid);
    else
        add(j, cpu, 'U', "cpu", "", "CPU is %.0f %% busy", s->cpu_percent);
    add(j, host_severity(MEASURE_MEMORY, s->memory_percent), 'U', "memory", "", "memory is %.0f %% used",
        s->memory_percent);
    add(j, host_severity(MEASURE_IOWAIT, s->iowait_percent), 'U', "iowait", "", "CPU waits for disks %.0f %%",
        s->iowait_percent);
    /* Disks that take many requests at once are busy long before they are full: never more than a warning. */
    if (disk && host_severity(MEASURE_IO_BUSY, disk->busy_percent) != SEVERITY_NONE)
        add(j, SEVERITY_WARNING, 'U', "busy", disk->name, "disk %s is %.0f %% busy", disk->name,
            disk->busy_percent);
    judge_processes(j);
    /* Known and not urgent: they colour nothing. */
    if (s->updates_security > 0)
        add(j, SEVERITY_DIM, 'U', "updates", "", "%d security update%s not installed", s->updates_security,
            s->updates_security == 1 ? " is" : "s are");
    if (s->reboot_required == 1)
        add(j, SEVERITY_DIM, 'U', "reboot", "", "a reboot is due");
}

/* ---- together ---- */

static int letter_order(char letter)
{
    return letter == 'E' ? 0 : letter == 'S' ? 1 : 2;
}

/* In place and stable: problems of one rank keep the order in which they were found. */
static void sort_problems(struct host_problem *problems, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct host_problem one = problems[i];
        size_t at = i;
        for (; at; at--) {
            const struct host_problem *before = &problems[at - 1];
            if (before->severity > one.severity || (before->severity == one.severity &&
                                                    letter_order(before->letter) <= letter_order(one.letter)))
                break;
            problems[at] = *before;
        }
        problems[at] = one;
    }
}

static enum host_state state_of(const struct judgement *j, const struct host_standing *standing)
{
    enum severity worst = SEVERITY_NONE;
    if (standing->silent_s > 0 || j->snapshot->fast_at <= 0)
        return HOST_UNKNOWN;
    for (size_t i = 0; i < j->count; i++)
        worst = worse_of(worst, j->problems[i].severity);
    return worst == SEVERITY_CRITICAL ? HOST_CRITICAL : worst == SEVERITY_WARNING ? HOST_WARNING : HOST_OK;
}

void host_judge(struct host_record *record, struct host_snapshot *snapshot,
                const struct host_standing *standing)
{
    struct judgement judgement = {.record = record, .snapshot = snapshot, .now = standing->now};
    judge_silence(&judgement, standing);
    judge_kills(&judgement);
    judge_units(&judgement);
    judge_containers(&judgement);
    judge_disks(&judgement);
    judge_certificates(&judgement);
    judge_services(&judgement);
    judge_journal(&judgement);
    judge_rest(&judgement, standing);
    judge_saturation(&judgement);
    judge_utilisation(&judgement);
    sort_problems(judgement.problems, judgement.count);
    snapshot->problems = judgement.problems;
    snapshot->problem_count = judgement.count;
    snapshot->state = state_of(&judgement, standing);
}
