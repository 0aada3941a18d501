/* Reading and acting go to the adapter; words of the adapter interface. */
#include "backends/queues/read.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/system.h"

struct queue_read *queue_read_start(struct queue_system *system, const struct queue_read_request *request,
                                    struct queue_read_handler handler)
{
    return system->adapter->read(system, request, handler);
}

void queue_read_stop(struct queue_read *read)
{
    read->system->adapter->stop(read);
}

void queue_read_forsake(struct queue_read *read)
{
    if (read)
        read->system->adapter->forsake(read);
}

void job_facts_add(struct job_facts *facts, const char *section, const char *label, bool secret,
                   const char *format, ...)
{
    facts->facts = talloc_realloc(facts, facts->facts, struct job_fact, facts->count + 1);
    if (!facts->facts)
        abort();
    va_list arguments;
    va_start(arguments, format);
    char *text = talloc_vasprintf(facts, format, arguments);
    va_end(arguments);
    facts->facts[facts->count++] = (struct job_fact){.section = talloc_strdup(facts, section),
                                                     .label = label ? talloc_strdup(facts, label) : NULL,
                                                     .text = text,
                                                     .secret = secret};
}

void queue_job_read(struct queue_system *system, const struct job *job,
                    void (*done)(void *data, const struct job_facts *facts, const struct error *error),
                    void *data)
{
    system->adapter->job(system, job, done, data);
}

struct queue_prepare *queue_act_prepare(struct queue_system *system, const struct queue_act_request *request,
                                        struct queue_prepare_handler handler)
{
    return system->adapter->prepare(system, request, handler);
}

void queue_prepare_forsake(struct queue_prepare *prepare)
{
    if (prepare)
        prepare->system->adapter->forsake_prepare(prepare);
}

static const char *const act_names[ACT_COUNT] = {
    [ACT_PAUSE] = "pause",
    [ACT_RESUME] = "resume",
    [ACT_NEUTRALISE] = "neutralise",
    [ACT_PARK] = "park",
    [ACT_UNPARK] = "unpark",
    [ACT_REQUEUE] = "requeue",
    [ACT_RETRY] = "retry",
    [ACT_DISCARD] = "discard",
    [ACT_PURGE] = "purge",
    [ACT_RESTORE] = "restore",
    [ACT_EMPTY_TRASH] = "empty-trash",
    [ACT_RUN_NOW] = "run-now",
    [ACT_REVOKE] = "revoke",
    [ACT_TERMINATE] = "terminate",
    [ACT_RATE_LIMIT] = "rate-limit",
    [ACT_POOL] = "pool",
    [ACT_CONSUME] = "consume",
    [ACT_CONSUME_NOT] = "consume-not",
    [ACT_DRAIN] = "drain",
    [ACT_SHUTDOWN] = "shutdown",
    [ACT_ASK] = "ask",
    [ACT_SCHEDULE_RUN] = "schedule-run",
    [ACT_SCHEDULE_ENABLE] = "schedule-enable",
    [ACT_SCHEDULE_DISABLE] = "schedule-disable",
    [ACT_TENANT_ASIDE] = "tenant-aside",
    [ACT_TENANT_BACK] = "tenant-back",
    [ACT_CONTINUE] = "continue",
};

const char *queue_act_name(enum queue_act act)
{
    return act_names[act];
}

int queue_act_find(const char *name)
{
    for (int i = 0; i < ACT_COUNT; i++)
        if (strcmp(act_names[i], name) == 0)
            return i;
    return -1;
}

const char *queue_part_name(enum queue_part part)
{
    static const char *const names[QUEUE_PARTS] = {"queues", "workers", "failures", "schedule", "aside"};
    return names[part];
}

const char *head_age_source_name(enum head_age_source source)
{
    static const char *const names[] = {"", "exact", "header", "event", "watched", "estimate"};
    return names[source];
}

const char *worker_state_name(enum worker_state state)
{
    static const char *const names[WORKER_STATES] = {
        [WORKER_OK] = "ok",
        [WORKER_BUSY] = "busy",
        [WORKER_SILENT] = "silent",
        [WORKER_GHOST] = "ghost",
        [WORKER_NOT_CONSUMING] = "not consuming",
        [WORKER_STUCK] = "stuck",
        [WORKER_QUIET] = "quiet",
    };
    return names[state];
}
