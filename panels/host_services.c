/* One host: units, containers, services of the platform, timers, certificates, and what happened. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "panels/host.h"

/* ---- units ---- */

HOST_TEXT(unit, name, name)
HOST_TEXT(unit, sub, sub)
HOST_TEXT(unit, description, description)
HOST_REAL(unit, since, since)
HOST_REAL(unit, memory, memory_bytes)
HOST_COUNT(unit, restarts, restarts)

static struct value unit_active(const void *row)
{
    const char *active = ((const struct host_unit *)row)->active;
    struct value value = value_text(active);
    if (active && strcmp(active, "failed") == 0)
        value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value unit_result(const void *row)
{
    const char *result = ((const struct host_unit *)row)->result;
    struct value value = value_text(result);
    if (result && strcmp(result, "success") != 0)
        value.severity = SEVERITY_WARNING;
    return value;
}

static const struct column unit_columns[] = {
    {"unit", "unit", "its name in systemd", UNIT_NONE, 30, 0, 0, unit_name, NULL},
    {"active", "active", "active, inactive, failed ...", UNIT_NONE, 9, 0, 0, unit_active, NULL},
    {"sub", "state", "running, exited, dead ...", UNIT_NONE, 9, 1, 0, unit_sub, NULL},
    {"result", "result", "how it ended last: exit-code, oom-kill, timeout ...", UNIT_NONE, 10, 2, 0,
     unit_result, NULL},
    {"since", "since", "when it took this state", UNIT_TIME, 14, 1, 0, unit_since, NULL},
    {"restarts", "restarts", "how often systemd started it again by itself", UNIT_COUNT, 8, 3, 0,
     unit_restarts, NULL},
    {"memory_bytes", "memory", "of all its processes", UNIT_BYTES, 8, 3, 0, unit_memory, NULL},
    {"description", "description", "in the words of its file", UNIT_NONE, 0, 0, 0, unit_description, NULL},
};

/* The failed ones come with the slow tier already, all of them with the detail. */
static void unit_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    if (snapshot && snapshot->unit_count) {
        HOST_ROWS(snapshot->units, snapshot->unit_count, host_unit, "%s", item->name)
        return;
    }
    HOST_ROWS(snapshot->failed, snapshot->failed_count, host_unit, "%s", item->name)
}

const struct view host_units = {
    .id = "units",
    .title = "Units",
    .summary = "units of systemd",
    .empty = "no units: not read yet, or this host has no systemd",
    .columns = unit_columns,
    .column_count = sizeof unit_columns / sizeof *unit_columns,
    .sort = "active",
    .descending = false,
    .rows = unit_rows,
    HOST_VIEW,
};

/* ---- containers ---- */

HOST_TEXT(container, name, name)
HOST_TEXT(container, id, id)
HOST_TEXT(container, image, image)
HOST_TEXT(container, project, project)
HOST_TEXT(container, status, status)
HOST_REAL(container, cpu, cpu_percent)
HOST_REAL(container, started, started)
HOST_REAL(container, image_created, image_created)
HOST_REAL(container, memory, memory_bytes)
HOST_COUNT(container, exit_code, exit_code)

static struct value container_state(const void *row)
{
    const char *state = ((const struct host_container *)row)->state;
    struct value value = value_text(state);
    if (state && (strcmp(state, "restarting") == 0 || strcmp(state, "dead") == 0))
        value.severity = SEVERITY_CRITICAL;
    else if (state && strcmp(state, "running") != 0)
        value.severity = SEVERITY_DIM;
    return value;
}
static struct value container_health(const void *row)
{
    const char *health = ((const struct host_container *)row)->health;
    struct value value = value_text(health);
    if (health && strcmp(health, "unhealthy") == 0)
        value.severity = SEVERITY_CRITICAL;
    return value;
}
static struct value container_restarts(const void *row)
{
    int restarts = ((const struct host_container *)row)->restarts;
    if (restarts < 0)
        return value_unknown();
    struct value value = value_integer(restarts);
    value.severity = restarts ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value container_oom(const void *row)
{
    struct value value = value_boolean(((const struct host_container *)row)->oom_killed);
    value.severity = value.boolean ? SEVERITY_CRITICAL : SEVERITY_NONE;
    return value;
}
static struct value container_memory_percent(const void *row)
{
    const struct host_container *container = row;
    if (isinf(container->memory_limit_bytes))
        return value_blank();
    return host_value(MEASURE_MEMORY, 100 * container->memory_bytes / container->memory_limit_bytes);
}

static const struct column container_columns[] = {
    {"container", "container", "its name", UNIT_NONE, 20, 0, 0, container_name, NULL},
    {"state", "state", "running, restarting, exited ...", UNIT_NONE, 10, 0, 0, container_state, NULL},
    {"health", "health", "what its health check says; blank: it has none", UNIT_NONE, 9, 1, 0,
     container_health, NULL},
    {"restarts", "restarts", "how often docker started it again", UNIT_COUNT, 8, 1, 0, container_restarts,
     NULL},
    {"oom_killed", "oom", "it was ended for memory", UNIT_NONE, 5, 2, 0, container_oom, NULL},
    {"exit_code", "exit", "status of its last end", UNIT_ID, 5, 4, 0, container_exit_code, NULL},
    {"cpu_percent", "cpu", "of one core since the last sample", UNIT_PERCENT, 7, 1, 0, container_cpu, NULL},
    {"memory_bytes", "memory", "of its cgroup", UNIT_BYTES, 8, 1, 0, container_memory, NULL},
    {"limit_percent", "of limit", "of the memory that it may have; blank: no limit", UNIT_PERCENT, 8, 2, 0,
     container_memory_percent, NULL},
    {"started", "started", "when it was started", UNIT_TIME, 14, 3, 0, container_started, NULL},
    {"image_created", "image of", "when its image was built", UNIT_TIME, 14, 5, 0, container_image_created,
     NULL},
    {"project", "project", "of compose", UNIT_NONE, 12, 4, 0, container_project, NULL},
    {"id", "id", "its identity in docker", UNIT_NONE, 14, 9, COLUMN_HIDDEN, container_id, NULL},
    {"status", "status", "in docker's words", UNIT_NONE, 20, 6, COLUMN_HIDDEN, container_status, NULL},
    {"image", "image", "what it was made from", UNIT_NONE, 0, 0, 0, container_image, NULL},
};

static void container_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->containers, snapshot->container_count, host_container, "%s", item->id)
}

const struct view host_containers = {
    .id = "containers",
    .title = "Containers",
    .summary = "containers of docker: state, health, restarts, memory against the limit",
    .empty = "no containers: none are here, or docker is not permitted (see Overview)",
    .columns = container_columns,
    .column_count = sizeof container_columns / sizeof *container_columns,
    .sort = "restarts",
    .descending = true,
    .rows = container_rows,
    HOST_VIEW,
};

/* ---- services ---- */

HOST_REAL(service, cpu, cpu_percent)
HOST_REAL(service, memory, memory_bytes)
HOST_REAL(service, age, age_s)
HOST_COUNT(service, workers, workers)
HOST_COUNT(service, restarts, restarts)
HOST_TEXT(service, name, name)

static struct value service_kind(const void *row)
{
    return value_text(host_service_name(((const struct host_service *)row)->kind));
}
static struct value service_pid(const void *row)
{
    int pid = ((const struct host_service *)row)->pid;
    return pid > 0 ? value_integer(pid) : value_blank();
}
static struct value service_backlog(const void *row)
{
    const struct host_service *service = row;
    if (service->backlog < 0)
        return value_blank();
    struct value value = value_integer(service->backlog);
    if (service->backlog_limit > 0)
        value.severity =
            host_severity(MEASURE_ACCEPT_QUEUE, 100.0 * service->backlog / service->backlog_limit);
    return value;
}
/* What runs beside what is on disk: a restart is due when they differ. */
static struct value service_version(const void *row)
{
    const struct host_service *service = row;
    struct value value = value_text(service->version);
    if (service->deleted ||
        (service->version && service->version_disk && strcmp(service->version, service->version_disk) != 0))
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value service_version_disk(const void *row)
{
    const struct host_service *service = row;
    if (service->deleted && !service->version_disk)
        return (struct value){.kind = VALUE_TEXT, .text = "replaced", .severity = SEVERITY_WARNING};
    return value_text(service->version_disk);
}
static struct value service_note(const void *row)
{
    struct value value = value_text(((const struct host_service *)row)->note);
    value.severity = ((const struct host_service *)row)->severity;
    return value;
}

static const struct column service_columns[] = {
    {"service", "service", "which part of the platform", UNIT_NONE, 12, 0, 0, service_kind, NULL},
    {"name", "name", "which of them", UNIT_NONE, 20, 1, 0, service_name, NULL},
    {"pid", "pid", "of its first process", UNIT_ID, 8, 2, 0, service_pid, NULL},
    {"workers", "workers", "processes that do the work", UNIT_COUNT, 7, 0, 0, service_workers, NULL},
    {"restarts", "restarts", "workers that are younger than their master: they were replaced", UNIT_COUNT, 8,
     2, 0, service_restarts, NULL},
    {"cpu_percent", "cpu", "of one core, all its processes", UNIT_PERCENT, 7, 0, 0, service_cpu, NULL},
    {"memory_bytes", "memory", "all its processes; what they share is counted more than once", UNIT_BYTES, 8,
     0, 0, service_memory, NULL},
    {"age_s", "age", "since its first process was started", UNIT_S, 9, 1, 0, service_age, NULL},
    {"backlog", "waiting", "connections that wait to be accepted", UNIT_COUNT, 7, 1, 0, service_backlog,
     NULL},
    {"version", "runs", "the version that runs", UNIT_NONE, 10, 3, 0, service_version, NULL},
    {"version_disk", "on disk", "the version on disk; replaced: a restart would take another one", UNIT_NONE,
     10, 3, 0, service_version_disk, NULL},
    {"note", "note", "what it says about itself", UNIT_NONE, 0, 0, 0, service_note, NULL},
};

static void service_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->services, snapshot->service_count, host_service, "%d/%s/%d", (int)item->kind,
              item->name ? item->name : "", item->pid)
}

const struct view host_services = {
    .id = "services",
    .title = "Services",
    .summary = "parts of the platform that run here",
    .empty = "no part of the platform was found here",
    .columns = service_columns,
    .column_count = sizeof service_columns / sizeof *service_columns,
    .sort = "service",
    .rows = service_rows,
    HOST_VIEW,
};

/* ---- timers and cron ---- */

HOST_TEXT(timer, name, name)
HOST_TEXT(timer, activates, activates)
HOST_TEXT(timer, schedule, schedule)
HOST_TEXT(timer, source, source)

static struct value time_or_blank(double time)
{
    return isnan(time) || time <= 0 ? value_blank() : value_real(time);
}
static struct value timer_next(const void *row)
{
    return time_or_blank(((const struct host_timer *)row)->next);
}
static struct value timer_last(const void *row)
{
    return time_or_blank(((const struct host_timer *)row)->last);
}

static const struct column timer_columns[] = {
    {"timer", "timer", "its name, or the user of the line of cron", UNIT_NONE, 24, 0, 0, timer_name, NULL},
    {"schedule", "schedule", "of lines of cron", UNIT_NONE, 16, 0, 0, timer_schedule, NULL},
    {"next", "next", "when it runs next", UNIT_TIME, 14, 1, 0, timer_next, NULL},
    {"last", "last", "when it ran last", UNIT_TIME, 14, 1, 0, timer_last, NULL},
    {"source", "from", "systemd, or which file", UNIT_NONE, 22, 2, 0, timer_source, NULL},
    {"activates", "runs", "the unit or command", UNIT_NONE, 0, 0, 0, timer_activates, NULL},
};

static void timer_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->timers, snapshot->timer_count, host_timer, "%zu", i)
}

const struct view host_schedule = {
    .id = "schedule",
    .title = "Schedule",
    .summary = "timers of systemd and lines of cron",
    .empty = "no timer and no line of cron was read",
    .columns = timer_columns,
    .column_count = sizeof timer_columns / sizeof *timer_columns,
    .rows = timer_rows,
    HOST_VIEW,
};

/* ---- events ---- */

struct event_row {
    const struct host_event *event;
    const char *kind;
    enum severity severity;
};
static struct value event_time(const void *row)
{
    return time_or_blank(((const struct event_row *)row)->event->time);
}
static struct value event_who(const void *row)
{
    return value_text(((const struct event_row *)row)->event->who);
}
static struct value event_text(const void *row)
{
    return value_text(((const struct event_row *)row)->event->text);
}
static struct value event_kind(const void *row)
{
    struct value value = value_text(((const struct event_row *)row)->kind);
    value.severity = ((const struct event_row *)row)->severity;
    return value;
}

static const struct column event_columns[] = {
    {"time", "time", "when it happened", UNIT_TIME, 14, 0, 0, event_time, NULL},
    {"kind", "kind", "oom kill, error of the journal, kernel, login", UNIT_NONE, 9, 0, 0, event_kind, NULL},
    {"who", "who", "the process, the unit or the user", UNIT_NONE, 20, 1, 0, event_who, NULL},
    {"text", "what", "in the host's words", UNIT_NONE, 0, 0, 0, event_text, NULL},
};

static void add_events(struct row_list *list, const struct host_event *events, size_t count, const char *kind,
                       enum severity severity)
{
    struct event_row *rows = talloc_zero_array(list, struct event_row, count + 1);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct event_row){&events[i], kind, severity};
        row_list_add(list,
                     (struct table_row){.data = &rows[i], .id = talloc_asprintf(list, "%s/%zu", kind, i)});
    }
}

static void event_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    if (!snapshot)
        return;
    add_events(list, snapshot->oom, snapshot->oom_count, "oom kill", SEVERITY_CRITICAL);
    add_events(list, snapshot->errors, snapshot->error_count, "error", SEVERITY_WARNING);
    add_events(list, snapshot->kernel_messages, snapshot->kernel_count, "kernel", SEVERITY_NONE);
    add_events(list, snapshot->logins, snapshot->login_count, "login", SEVERITY_NONE);
}

const struct view host_events = {
    .id = "events",
    .title = "Events",
    .summary = "what happened: processes killed for memory, errors, the kernel's words, logins",
    .empty = "nothing is known to have happened (what is not permitted stands in Overview)",
    .columns = event_columns,
    .column_count = sizeof event_columns / sizeof *event_columns,
    .sort = "time",
    .descending = true,
    .rows = event_rows,
    HOST_VIEW,
};

/* ---- certificates ---- */

HOST_TEXT(certificate, names, names)
HOST_TEXT(certificate, issuer, issuer)
HOST_TEXT(certificate, path, path)
HOST_REAL(certificate, not_after, not_after)

static struct value certificate_days(const void *row)
{
    double not_after = ((const struct host_certificate *)row)->not_after;
    return host_value(MEASURE_CERTIFICATE_DAYS, floor((not_after - clock_wall()) / 86400));
}

static const struct column certificate_columns[] = {
    {"names", "names", "for which names it is", UNIT_NONE, 32, 0, 0, certificate_names, NULL},
    {"days", "days", "days left", UNIT_NONE, 6, 0, 0, certificate_days, NULL},
    {"not_after", "ends", "until when it is good", UNIT_TIME, 14, 0, 0, certificate_not_after, NULL},
    {"issuer", "issuer", "who signed it", UNIT_NONE, 24, 2, 0, certificate_issuer, NULL},
    {"path", "file", "where it is on the host", UNIT_NONE, 0, 1, 0, certificate_path, NULL},
};

static void certificate_rows(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_focused(app, list);
    HOST_ROWS(snapshot->certificates, snapshot->certificate_count, host_certificate, "%s", item->path)
}

const struct view host_certificates = {
    .id = "certificates",
    .title = "Certificates",
    .summary = "certificates of the web server, the first to end first",
    .empty = "no certificate was found, or none may be read (see Overview)",
    .columns = certificate_columns,
    .column_count = sizeof certificate_columns / sizeof *certificate_columns,
    .sort = "not_after",
    .rows = certificate_rows,
    HOST_VIEW,
};
