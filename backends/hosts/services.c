/* The services of the platform, found among the processes: a master is a process of a kind whose parent is
 * not of that kind, its children of that kind are its workers. Works without process titles: a gunicorn
 * without setproctitle is python all the way down. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/levels.h"
#include "backends/hosts/record_internal.h"

#define TICKS_PER_S 100.0
#define YOUNGER_S 60.0

static bool has(struct span span, const char *text)
{
    return span_find(span, text) != span.length;
}

static bool interpreter(struct span comm)
{
    return span_starts(comm, "python") || span_starts(comm, "pypy") || span_starts(comm, "uv");
}

/* SERVICE_OTHER: none of these. */
static enum host_service_kind kind_by_name(const struct sampled_process *process)
{
    struct span comm = process->comm, args = process->arguments;
    if (span_is(comm, "nginx"))
        return SERVICE_NGINX;
    if (span_is(comm, "postgres") || span_is(comm, "postmaster"))
        return SERVICE_POSTGRES;
    if (span_is(comm, "pgbouncer"))
        return SERVICE_PGBOUNCER;
    if (span_is(comm, "dockerd"))
        return SERVICE_DOCKER;
    if (span_starts(comm, "redis-server") || span_starts(comm, "valkey-server"))
        return SERVICE_REDIS;
    if (span_starts(comm, "uwsgi"))
        return SERVICE_UWSGI;
    if (!interpreter(comm) && !span_starts(comm, "gunicorn") && !span_starts(comm, "celery") &&
        !span_starts(comm, "[celery"))
        return SERVICE_OTHER;
    if (has(args, "celery") || span_starts(comm, "celery") || span_starts(comm, "[celery")) {
        if (has(args, " worker") || has(args, "celeryd"))
            return SERVICE_CELERY;
        if (has(args, " beat"))
            return SERVICE_CELERY_BEAT;
        return SERVICE_OTHER;
    }
    return span_starts(comm, "gunicorn") || has(args, "gunicorn") ? SERVICE_GUNICORN : SERVICE_OTHER;
}

static size_t index_of(const struct process_sample *sample, int pid)
{
    const struct sampled_process *found = sampled_find(sample, pid);
    return found ? (size_t)(found - sample->items) : sample->count;
}

static bool same(struct span a, struct span b)
{
    return a.length == b.length && (!a.length || !memcmp(a.at, b.at, a.length));
}

/* The script leaves out arguments that are those of the parent: such a child is what its parent is. */
static enum host_service_kind *find_kinds(const struct process_sample *sample, size_t *parents)
{
    enum host_service_kind *kinds = talloc_array(sample, enum host_service_kind, sample->count);
    if (!kinds)
        abort();
    for (size_t i = 0; i < sample->count; i++) {
        kinds[i] = kind_by_name(&sample->items[i]);
        parents[i] = index_of(sample, sample->items[i].parent);
    }
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < sample->count; i++)
            if (kinds[i] == SERVICE_OTHER && parents[i] < sample->count &&
                !sample->items[i].arguments.length &&
                same(sample->items[i].comm, sample->items[parents[i]].comm))
                kinds[i] = kinds[parents[i]];
    return kinds;
}

/* ---- names ---- */

/* The word behind one of two options, or what is joined to it by '='. */
static struct span option(struct span args, const char *brief, const char *full)
{
    struct span word, value;
    while (span_word(&args, &word)) {
        if (span_is(word, brief) || span_is(word, full))
            return span_word(&args, &value) ? value : (struct span){0};
        if (span_skip(&word, full) && span_skip(&word, "="))
            return word;
    }
    return (struct span){0};
}

/* "app.wsgi:application": the last word that is a module and an object; "gunicorn: master [app:app]" too. */
static struct span gunicorn_application(struct span args)
{
    struct span word, found = {0};
    size_t bracket = span_find(args, "[");
    if (has(args, "gunicorn: ") && bracket < args.length) {
        found = (struct span){args.at + bracket + 1, args.length - bracket - 1};
        return span_until(&found, ']');
    }
    while (span_word(&args, &word)) {
        struct span rest = word;
        struct span module = span_until(&rest, ':');
        if (module.length && rest.length && !has(word, "/") && !has(word, "=") && word.at[0] != '-' &&
            !(module.at[0] >= '0' && module.at[0] <= '9') && !(rest.at[0] >= '0' && rest.at[0] <= '9'))
            found = word;
    }
    return found;
}

static struct span last_word(struct span args)
{
    struct span word, last = {0};
    while (span_word(&args, &word))
        last = word;
    return last;
}

static const char *program_of(struct host_part *part, struct span args)
{
    struct span word;
    return span_word(&args, &word) && span_starts(word, "/") ? part_text(part, word, 80) : NULL;
}

static const char *service_title(struct host_part *part, enum host_service_kind kind, struct span args)
{
    struct span more = {0};
    if (kind == SERVICE_GUNICORN)
        more = gunicorn_application(args);
    else if (kind == SERVICE_CELERY || kind == SERVICE_CELERY_BEAT)
        more = option(args, "-A", "--app");
    else if (kind == SERVICE_POSTGRES)
        more = option(args, "-D", "--pgdata");
    else if (kind == SERVICE_REDIS || kind == SERVICE_UWSGI)
        more = last_word(args);
    char *copy = span_copy(part, more, 60);
    if (!more.length)
        return host_service_name(kind);
    char *title = talloc_asprintf(part, "%s %s", host_service_name(kind), copy);
    if (!title)
        abort();
    talloc_free(copy);
    return title;
}

/* ---- what a service is made of ---- */

static bool is_worker(const struct host_service *service, const struct sampled_process *child)
{
    if (child->state == 'Z')
        return false;
    /* nginx has a cache manager and loader too. */
    return service->kind != SERVICE_NGINX || !child->arguments.length || has(child->arguments, "worker");
}

static void add_process(struct host_service *service, const struct sampled_process *process)
{
    service->memory_bytes += process->rss_bytes;
    if (!isnan(process->cpu_percent))
        service->cpu_percent =
            (isnan(service->cpu_percent) ? 0 : service->cpu_percent) + process->cpu_percent;
}

static void add_children(struct host_service *service, const struct process_sample *sample, size_t master,
                         const enum host_service_kind *kinds, const size_t *parents)
{
    for (size_t i = 0; i < sample->count; i++) {
        const struct sampled_process *child = &sample->items[i];
        if (i == master || parents[i] != master || kinds[i] != service->kind)
            continue;
        add_process(service, child);
        if (!is_worker(service, child))
            continue;
        service->workers++;
        double later = ((double)child->start - (double)sample->items[master].start) / TICKS_PER_S;
        service->restarts += later > YOUNGER_S;
    }
}

static bool listens(const struct host_listener *listener, const struct host_service *service,
                    const struct process_sample *sample)
{
    const struct sampled_process *holder = listener->pid ? sampled_find(sample, listener->pid) : NULL;
    if (holder)
        return holder->pid == service->pid || holder->parent == service->pid;
    /* Who holds it is not permitted to know, or it was somebody who is gone: by the port that everybody uses,
     * or the path. */
    if (!strcmp(listener->protocol, "unix"))
        return service->kind == SERVICE_GUNICORN && strstr(listener->address, "gunicorn");
    return (service->kind == SERVICE_NGINX && (listener->port == 80 || listener->port == 443)) ||
           (service->kind == SERVICE_REDIS && listener->port == 6379) ||
           (service->kind == SERVICE_POSTGRES && listener->port == 5432) ||
           (service->kind == SERVICE_PGBOUNCER && listener->port == 6432);
}

/* A port named in the arguments: "-b 127.0.0.1:8000". */
static int bound_port(struct span args)
{
    int port = 0;
    struct span bind = option(args, "-b", "--bind");
    while (bind.length && has(bind, ":"))
        span_until(&bind, ':');
    return span_integer(bind, 65535, &port) ? port : 0;
}

static void find_backlog(struct host_service *service, const struct host_snapshot *now,
                         const struct process_sample *sample, struct span args)
{
    int port = service->kind == SERVICE_GUNICORN ? bound_port(args) : 0;
    for (size_t i = 0; i < now->listener_count; i++) {
        const struct host_listener *listener = &now->listeners[i];
        if (!listens(listener, service, sample) && !(port && listener->port == port))
            continue;
        if (listener->backlog > service->backlog) {
            service->backlog = listener->backlog;
            service->backlog_limit = listener->backlog_limit;
        }
    }
}

static enum severity judge(const struct host_service *service)
{
    double full = service->backlog > 0 && service->backlog_limit > 0
                      ? 100.0 * service->backlog / service->backlog_limit
                      : NAN;
    enum severity severity = host_severity(MEASURE_ACCEPT_QUEUE, full);
    bool needs_workers = service->kind == SERVICE_NGINX || service->kind == SERVICE_GUNICORN;
    if (needs_workers && service->workers == 0)
        return SEVERITY_CRITICAL;
    return service->deleted && severity < SEVERITY_WARNING ? SEVERITY_WARNING : severity;
}

/* "Active connections: 31\nserver accepts handled requests\n 6 6 6\nReading: 0 Writing: 1 Waiting: 4" */
static const char *nginx_note(struct host_part *part, struct span status, bool guessed)
{
    struct span rest = status, line, word;
    uint64_t active, waiting = 0;
    if (!status.length || !span_line(&rest, &line))
        return NULL;
    if (!span_skip(&line, "Active connections:") || !span_next_counter(&line, &active)) {
        if (guessed)
            return "no status page (ssh.nginx_status says where)";
        char *said = part_text(part, line, 120);
        char *note = talloc_asprintf(part, "its status page does not answer: %s", said);
        if (!note)
            abort();
        return note;
    }
    while (span_line(&rest, &line))
        while (span_word(&line, &word))
            if (span_is(word, "Waiting:"))
                span_next_counter(&line, &waiting);
    char *note = talloc_asprintf(part, "active %llu, waiting %llu", (unsigned long long)active,
                                 (unsigned long long)waiting);
    if (!note)
        abort();
    return note;
}

static int heavier(const void *a, const void *b)
{
    const struct host_service *x = a, *y = b;
    if (x->kind != y->kind)
        return (x->kind > y->kind) - (x->kind < y->kind);
    return (x->memory_bytes < y->memory_bytes) - (x->memory_bytes > y->memory_bytes);
}

void find_services(struct host_record *record, struct host_part *part, const struct process_sample *sample,
                   struct span nginx)
{
    struct host_service *services = NULL;
    struct host_snapshot *now = &record->now;
    size_t count = 0;
    now->services = NULL;
    now->service_count = 0;
    if (!sample || !sample->count)
        return;
    size_t *parents = talloc_array(sample, size_t, sample->count);
    if (!parents)
        abort();
    enum host_service_kind *kinds = find_kinds(sample, parents);
    for (size_t i = 0; i < sample->count; i++) {
        const struct sampled_process *master = &sample->items[i];
        if (kinds[i] == SERVICE_OTHER || master->state == 'Z' ||
            (parents[i] < sample->count && kinds[parents[i]] == kinds[i]))
            continue;
        struct host_service *service = ARRAY_ADD(part, services, count, HOST_MAX_SERVICES);
        if (!service)
            break;
        *service = (struct host_service){
            .kind = kinds[i],
            .name = service_title(part, kinds[i], master->arguments),
            .program = program_of(part, master->arguments),
            .pid = master->pid,
            .cpu_percent = NAN,
            .age_s = fmax(0, sample->uptime - master->start / TICKS_PER_S),
            .backlog = -1,
            .backlog_limit = -1,
            .deleted = master->deleted,
            .note = kinds[i] == SERVICE_NGINX ? nginx_note(part, nginx, record->status_guessed) : NULL};
        add_process(service, master);
        add_children(service, sample, i, kinds, parents);
        find_backlog(service, now, sample, master->arguments);
        service->severity = judge(service);
    }
    if (count)
        qsort(services, count, sizeof *services, heavier);
    now->services = services;
    now->service_count = count;
}

/* ---- what is learned more slowly ---- */

static bool is_version_of(const struct host_version *version, const struct host_service *service)
{
    static const struct {
        const char *program;
        enum host_service_kind kind;
    } programs[] = {{"nginx", SERVICE_NGINX},
                    {"redis-server", SERVICE_REDIS},
                    {"pgbouncer", SERVICE_PGBOUNCER},
                    {"dockerd", SERVICE_DOCKER}};
    if (version->program[0] == '/')
        return service->program && !strcmp(version->program, service->program);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (service->kind == programs[i].kind)
            return !strcmp(version->program, programs[i].program);
    return false;
}

/* /proc/PID/exe of others is for root; that the program is younger than the process everybody may see. */
static void compare_version(struct host_service *service, const struct host_version *version,
                            const struct host_snapshot *snapshot, bool root)
{
    double offset = isnan(snapshot->clock_offset_s) ? 0 : snapshot->clock_offset_s;
    double started = snapshot->medium_at + offset - service->age_s;
    service->version_disk = version->version;
    service->deleted = service->deleted || version->changed_at > started + YOUNGER_S;
    service->version = service->deleted || (isnan(version->changed_at) && !root) ? NULL : version->version;
}

static void add_test(struct host_service *service, const char *test, struct host_snapshot *snapshot)
{
    bool passed = !strcmp(test, "ok");
    service->note = talloc_asprintf(
        snapshot, "%s%s%s%s", passed ? "configuration ok" : "configuration test failed: ", passed ? "" : test,
        service->note ? " · " : "", service->note ? service->note : "");
    if (!service->note)
        abort();
    if (!passed && service->severity < SEVERITY_WARNING)
        service->severity = SEVERITY_WARNING;
}

void complete_services(const struct host_record *record, struct host_snapshot *snapshot)
{
    size_t size = snapshot->service_count * sizeof *snapshot->services;
    if (!size || !(record->version_count || record->nginx_test))
        return;
    struct host_service *copy = talloc_memdup(snapshot, snapshot->services, size);
    if (!copy)
        abort();
    for (size_t i = 0; i < snapshot->service_count; i++) {
        for (size_t k = 0; k < record->version_count; k++)
            if (is_version_of(&record->versions[k], &copy[i]))
                compare_version(&copy[i], &record->versions[k], snapshot,
                                !record->user || !strcmp(record->user, "root"));
        if (copy[i].kind == SERVICE_NGINX && record->nginx_test)
            add_test(&copy[i], record->nginx_test, snapshot);
        if (copy[i].deleted && copy[i].severity < SEVERITY_WARNING)
            copy[i].severity = SEVERITY_WARNING;
    }
    snapshot->services = copy;
}
