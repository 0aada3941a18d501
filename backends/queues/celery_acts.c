/* Acts on Celery: what is possible, and preparing it: which file reads and builds what. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>
#include <time.h>

#include "backends/queues/celery.h"
#include "backends/queues/celery_acts_prepare.h"
#include "backends/queues/celery_workers.h"
#include "core/clock.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- what is possible ---- */

/* LMOVE came with 6.2. */
static bool too_old(const char *version)
{
    if (!version)
        return false;
    char *end;
    long major = strtol(version, &end, 10), minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    return major < 6 || (major == 6 && minor < 2);
}

static bool by_control(enum queue_act act)
{
    switch (act) {
    case ACT_PAUSE:
    case ACT_RESUME:
    case ACT_REVOKE:
    case ACT_TERMINATE:
    case ACT_RATE_LIMIT:
    case ACT_POOL:
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
    case ACT_DRAIN:
    case ACT_SHUTDOWN:
    case ACT_ASK:
        return true;
    default:
        return false;
    }
}

const char *celery_act_absent(const struct queue_system *system, enum queue_act act)
{
    const struct redis_server *redis = ((const struct celery_system *)system)->redis;
    if (act == ACT_RUN_NOW)
        return "a worker keeps jobs with an ETA in its memory, and Celery has no message that makes it run "
               "one "
               "now";
    if (act == ACT_SCHEDULE_RUN || act == ACT_SCHEDULE_ENABLE || act == ACT_SCHEDULE_DISABLE)
        return "Celery keeps its schedule in beat: the entries of django-celery-beat are a system of their "
               "own";
    if (redis_server_topology(redis) == REDIS_CLUSTER)
        return "Celery does not run on a Redis Cluster";
    if (!by_control(act) && too_old(redis_server_version(redis)))
        return "it needs Redis 6.2 or newer (LMOVE)";
    return NULL;
}

/* ---- an act ---- */

/* "20261121T200501-1f3a9c". */
static char *make_stamp(const void *context)
{
    unsigned int random = 0;
    char time_text[32];
    time_t now = (time_t)clock_wall();
    struct tm utc;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (unsigned int)(clock_monotonic() * 1e6);
    gmtime_r(&now, &utc);
    strftime(time_text, sizeof time_text, "%Y%m%dT%H%M%S", &utc);
    return there(talloc_asprintf(context, "%s-%06x", time_text, random & 0xffffff));
}

static void make_token(char token[33])
{
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        abort();
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(token + 2 * i, 3, "%02x", random[i]);
}

struct celery_act *celery_act_new(struct celery_system *system, enum queue_act kind)
{
    struct change *change = change_new();
    struct celery_act *act = there(talloc_zero(change, struct celery_act));
    const char *role = redis_server_act_role(system->redis);
    act->system = system;
    act->change = change;
    act->act = kind;
    act->stamp = make_stamp(act);
    make_token(act->token);
    change->data = act;
    change->environment = there(talloc_strdup(change, system->base.environment->name));
    change->server = there(talloc_strdup(change, redis_server_name(system->redis)));
    change->role = role ? there(talloc_strdup(change, role)) : NULL;
    change->batch = 1;
    change->stop_at_failure = true;
    change->withdrawable = true;
    return act;
}

int celery_level_of(const struct celery_system *system, const char *raw, size_t length)
{
    struct celery_envelope envelope;
    celery_envelope_scan(&envelope, raw, length, NULL);
    double priority = celery_span_real(envelope.priority);
    int level = 0;
    for (int i = 1; i < CELERY_STEPS; i++)
        if (priority >= system->names.steps[i])
            level = i;
    return level;
}

const char *celery_dead_letters_of(const char *list)
{
    static const char begin[] = "dlq:";
    return strncmp(list, begin, sizeof begin - 1) == 0 && list[sizeof begin - 1] ? list + sizeof begin - 1
                                                                                 : NULL;
}

/* ---- preparing ---- */

static int prepare_destroy(struct celery_prepare *p)
{
    ev_timer_stop(loop_ev(p->system->base.loop), &p->later);
    celery_workers_look_forsake(p->system, p);
    if (p->read)
        celery_read_forsake(p->read);
    if (p->act)
        talloc_free(p->act->change);
    else
        talloc_free(p->made);
    return 0;
}

static void on_done(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct celery_prepare *p = timer->data;
    struct queue_prepare_handler handler = p->handler;
    struct change *change = p->made;
    struct error error = p->error;
    (void)ev, (void)events;
    if (change)
        p->act = NULL;
    p->made = NULL;
    talloc_free(p);
    handler.done(handler.data, change, change ? NULL : &error);
}

void celery_prepare_done(struct celery_prepare *p, struct change *change)
{
    p->made = change;
    ev_timer_init(&p->later, on_done, 0, 0);
    p->later.data = p;
    ev_timer_start(loop_ev(p->system->base.loop), &p->later);
}

bool celery_prepare_fail(struct celery_prepare *p, enum error_kind kind, const char *todo, const char *format,
                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *why = there(talloc_vasprintf(p, format, arguments));
    va_end(arguments);
    char *what = there(talloc_asprintf(p, "%s", queue_act_name(p->request.act)));
    error_set(&p->error, kind, p->system->base.place, what, todo, "%s", why);
    celery_prepare_done(p, NULL);
    return false;
}

static const char *copied(const void *context, const char *text)
{
    return text ? there(talloc_strdup(context, text)) : NULL;
}

static bool copy_request(struct celery_prepare *p, const struct queue_act_request *request)
{
    struct queue_act_request *copy = &p->request;
    *copy = *request;
    copy->queue = copied(p, request->queue);
    copy->tenant = copied(p, request->tenant);
    copy->task = copied(p, request->task);
    copy->entry = copied(p, request->entry);
    copy->argument = copied(p, request->argument);
    if (request->jobs) {
        struct job *jobs = there(talloc_zero_array(p, struct job, request->job_count + 1));
        for (size_t i = 0; i < request->job_count; i++)
            job_copy_into(jobs, &jobs[i], &request->jobs[i]);
        copy->jobs = jobs;
    }
    const char **workers = there(talloc_zero_array(p, const char *, request->worker_count + 1));
    for (size_t i = 0; i < request->worker_count; i++)
        workers[i] = copied(workers, request->workers[i]);
    copy->workers = workers;
    if (!request->filter)
        return true;
    copy->filter = job_filter_parse(p, job_filter_text(request->filter), &p->error);
    return copy->filter != NULL;
}

static bool results_are_meant(const struct queue_act_request *request)
{
    if (request->jobs)
        return request->job_count && request->jobs[0].state == JOB_FAILED;
    return (request->states & (1u << JOB_FAILED)) && !(request->states & (1u << JOB_DEAD));
}

static char *add_word(char *text, const char *word, const char *value)
{
    return value ? there(talloc_asprintf_append_buffer(text, "%s%s=\"%s\"", *text ? " " : "", word, value))
                 : text;
}

/* All that is said must hold: the filter, the tenant, the task. */
static bool join_filter(struct celery_prepare *p)
{
    struct queue_act_request *request = &p->request;
    struct celery_act *act = p->act;
    bool narrowed = (request->filter && !job_filter_is_all(request->filter)) || request->task;
    char *text = there(talloc_strdup(p, request->filter ? job_filter_text(request->filter) : ""));
    text = add_word(text, "task", request->task);
    if (narrowed || (request->tenant && act->act != ACT_TENANT_ASIDE))
        act->filter_text =
            there(talloc_strdup(act, request->tenant ? add_word(text, "tenant", request->tenant) : text));
    else
        text = add_word(text, "tenant", request->tenant);
    request->filter = job_filter_parse(p, act->filter_text ? act->filter_text : text, &p->error);
    if (!request->filter)
        return false;
    act->tenant = copied(act, request->tenant ? request->tenant : job_filter_tenant(request->filter));
    return true;
}

static bool is_about_jobs(enum queue_act act)
{
    return act == ACT_TENANT_ASIDE || act == ACT_NEUTRALISE || act == ACT_PARK || act == ACT_DISCARD ||
           act == ACT_RETRY || act == ACT_REQUEUE;
}

static void look(struct celery_prepare *p)
{
    const struct queue_act_request *request = &p->request;
    p->act = celery_act_new(p->system, request->act);
    p->act->tenant = copied(p->act, request->tenant);
    if (is_about_jobs(request->act) && !request->jobs && !join_filter(p)) {
        celery_prepare_done(p, NULL);
        return;
    }
    switch (request->act) {
    case ACT_TENANT_ASIDE:
        if (!request->tenant) {
            celery_prepare_fail(p, ERROR_USAGE, NULL, "no tenant is named");
            return;
        }
        celery_gather(p);
        return;
    case ACT_NEUTRALISE:
    case ACT_PARK:
    case ACT_DISCARD:
        celery_gather(p);
        return;
    case ACT_RETRY:
        if (results_are_meant(request))
            celery_look_results(p);
        else
            celery_gather(p);
        return;
    case ACT_REQUEUE:
        celery_look_held(p);
        return;
    case ACT_PURGE:
        celery_look_queue(p);
        return;
    default:
        celery_look_aside(p);
    }
}

static void begin(struct celery_prepare *p)
{
    const struct queue_act_request *request = &p->request;
    const char *absent = celery_act_absent(&p->system->base, request->act);
    if (p->error.kind != ERROR_NONE)
        celery_prepare_done(p, NULL);
    else if (absent)
        celery_prepare_fail(p, ERROR_UNSUPPORTED, NULL, "%s", absent);
    else if (by_control(request->act))
        celery_look_told(p);
    else if (!request->jobs && !request->filter && !request->tenant && !request->queue && !request->entry &&
             request->act != ACT_CONTINUE)
        celery_prepare_fail(p, ERROR_USAGE, "Name a queue, jobs, or a filter.", "it is not said which jobs");
    else
        look(p);
}

static void on_begin(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    begin(timer->data);
}

struct queue_prepare *celery_prepare(struct queue_system *system, const struct queue_act_request *request,
                                     struct queue_prepare_handler handler)
{
    struct celery_prepare *p = there(talloc_zero(NULL, struct celery_prepare));
    p->base.system = system;
    p->system = (struct celery_system *)system;
    p->handler = handler;
    p->texts = there(talloc_new(p));
    ev_timer_init(&p->later, on_begin, 0, 0);
    p->later.data = p;
    talloc_set_destructor(p, prepare_destroy);
    copy_request(p, request);
    ev_timer_start(loop_ev(system->loop), &p->later);
    return &p->base;
}

void celery_prepare_forsake(struct queue_prepare *prepare)
{
    talloc_free(prepare);
}
