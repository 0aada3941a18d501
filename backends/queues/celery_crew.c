/* The state of each of Celery's workers, out of all that is known, and the jobs that run. */
#include "backends/queues/celery_crew.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_answers.h"
#include "backends/queues/queues.h"
#include "core/clock.h"
#include "core/units.h"

/* Answers and the list of clients say nothing about now when they are older. */
#define ANSWERS_HOLD_S 30.0
#define CLIENTS_HOLD_S 20.0
/* Running jobs stay in the list so long after they were told. */
#define RUNNING_HOLD_S 60.0
#define SILENT_S 10.0
#define IDLE_S 10.0
/* All slots run and none has ended a job for so long. */
#define STUCK_S 1800.0
/* A hard limit ends the child within seconds. */
#define LIMIT_SLACK_S 30.0

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* All about one worker while its state is looked for. */
struct look {
    const struct celery_system *system;
    struct workers_snapshot *snapshot;
    struct worker *worker;
    const struct heard_worker *heard;
    const struct celery_worker_answer *answer; /* NULL: it was not asked lately */
    bool bound, beats;                         /* declared; its heartbeats come */
    double now, since;                         /* events are heard since; 0: they are not */
    int64_t sockets, blocked;                  /* -1: unknown */
    int64_t beating;                           /* workers whose heartbeats come */
};

static const char *format(const struct look *look, const char *text, ...)
    __attribute__((format(printf, 2, 3)));
static const char *format(const struct look *look, const char *text, ...)
{
    va_list arguments;
    va_start(arguments, text);
    char *result = there(talloc_vasprintf(look->snapshot, text, arguments));
    va_end(arguments);
    return result;
}

/* ---- answers ---- */

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, key, &value)
               ? value
               : NULL;
}

static const char *text_of(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static int64_t length_of(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? (int64_t)json_object_array_length(list) : -1;
}

static const struct celery_worker_answer *find_answer(const struct celery_system *system, const char *name)
{
    const struct celery_answers *answers = celery_answers(system);
    for (size_t i = 0; answers && i < answers->worker_count; i++)
        if (!strcmp(answers->workers[i].worker, name))
            return &answers->workers[i];
    return NULL;
}

/* What it takes from, as "reports,mail". */
static const char *queues_text(const struct look *look, struct json_object *list)
{
    char *text = there(talloc_strdup(look->snapshot, ""));
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *name = text_of(get(json_object_array_get_idx(list, i), "name"));
        if (name)
            text = there(talloc_asprintf_append_buffer(text, "%s%s", *text ? "," : "", name));
    }
    return text;
}

static double hard_limit(struct json_object *stats)
{
    struct json_object *timeouts = get(get(stats, "pool"), "timeouts");
    if (length_of(timeouts) != 2)
        return 0;
    double soft = json_object_get_double(json_object_array_get_idx(timeouts, 0));
    double hard = json_object_get_double(json_object_array_get_idx(timeouts, 1));
    return hard > 0 ? hard : soft > 0 ? soft : 0;
}

static void take_answer(struct look *look, double asked_at)
{
    struct worker *worker = look->worker;
    const struct celery_worker_answer *answer = look->answer;
    if (answer->active)
        worker->asked_at = asked_at;
    worker->reserved = length_of(answer->reserved);
    worker->scheduled = length_of(answer->scheduled);
    if (worker->active < 0)
        worker->active = length_of(answer->active);
    if (json_object_is_type(answer->queues, json_type_array))
        worker->queues = queues_text(look, answer->queues);
    struct json_object *pool = get(answer->stats, "pool");
    /* A pool that grew still tells its first size as its limit. */
    int64_t processes = length_of(get(pool, "processes"));
    if (processes > 0)
        worker->slots = processes;
    else if (get(pool, "max-concurrency"))
        worker->slots = json_object_get_int64(get(pool, "max-concurrency"));
    if (get(answer->stats, "uptime"))
        worker->started_at = asked_at - json_object_get_double(get(answer->stats, "uptime"));
    if (!worker->pid)
        worker->pid = json_object_get_int(get(answer->stats, "pid"));
}

static void take_heard(struct look *look)
{
    struct worker *worker = look->worker;
    const struct heard_worker *heard = look->heard;
    worker->seen_at = heard->heard_at;
    worker->pid = heard->pid > 0 ? heard->pid : 0;
    worker->active = heard->active;
    worker->processed = heard->processed;
    worker->load = heard->load;
    worker->version = heard->version ? talloc_strdup(look->snapshot, heard->version) : NULL;
    worker->per_s = heard_worker_rate(heard, clock_monotonic());
}

/* ---- its state ---- */

static void set(struct look *look, enum worker_state state, const char *why)
{
    look->worker->state = state;
    look->worker->why = why;
}

/* Neither heartbeats nor answers: it is dead, or cannot answer. Its socket tells, when it can be told apart.
 */
static void judge_mute(struct look *look)
{
    char age[32];
    bool gone = look->sockets >= 0 && look->sockets <= look->beating;
    bool held = look->sockets > look->beating;
    if (!look->heard && look->since <= 0) {
        set(look, WORKER_SILENT, "its heartbeats cannot be heard here");
    } else if (!look->heard && look->now - look->since < SILENT_S && !gone) {
        set(look, WORKER_SILENT,
            format(look, "not heard yet: listening for %s",
                   format_s(age, sizeof age, look->now - look->since)));
    } else if (!look->heard) {
        set(look, held ? WORKER_SILENT : WORKER_GHOST,
            format(look, "declared, but no heartbeat in %s: %s",
                   format_s(age, sizeof age, look->now - look->since),
                   gone   ? "its connection is gone, it was killed"
                   : held ? "frozen, a solo pool that runs a job, or without heartbeats"
                          : "killed, or started without heartbeats"));
    } else {
        format_s(age, sizeof age, look->now - look->heard->heard_at);
        set(look, gone ? WORKER_GHOST : WORKER_SILENT,
            format(look, "no heartbeat for %s: %s", age,
                   gone ? "its connection is gone, it was killed"
                        : "frozen, cut off, killed, or a solo pool that runs a job"));
    }
}

/* Jobs that wait in what it takes from, as far as is known; -1: unknown. */
static int64_t waiting_for(const struct look *look)
{
    const struct queues_snapshot *queues = queue_system_queues(&look->system->base);
    struct json_object *mine = look->answer ? look->answer->queues : NULL;
    int64_t waiting = 0;
    if (!queues || look->now - queues->snapshot.taken_at > CLIENTS_HOLD_S)
        return -1;
    for (size_t i = 0; i < queues->count; i++) {
        bool takes = !mine;
        for (size_t j = 0; mine && j < json_object_array_length(mine); j++) {
            const char *name = text_of(get(json_object_array_get_idx(mine, j), "name"));
            takes = takes || (name && !strcmp(name, queues->queues[i].name));
        }
        if (takes && queues->queues[i].ready > 0)
            waiting += queues->queues[i].ready;
    }
    return waiting;
}

static bool idle_though_jobs_wait(const struct look *look)
{
    const struct heard_worker *heard = look->heard;
    return heard && heard->idle_at > 0 && look->now - heard->idle_at > IDLE_S && waiting_for(look) > 0;
}

static void judge_alive(struct look *look)
{
    char age[32];
    struct worker *worker = look->worker;
    const struct heard_worker *heard = look->heard;
    bool full = worker->slots > 0 && worker->active >= worker->slots;
    bool holds = worker->reserved > 0 || worker->scheduled > 0;
    if (look->answer && length_of(look->answer->queues) == 0) {
        set(look, WORKER_QUIET, "takes from no queue: its consumers were cancelled");
    } else if (full && heard && look->now - heard->progress_at > STUCK_S) {
        set(look, WORKER_STUCK,
            format(look, "all its slots run, and no job has ended for %s",
                   format_s(age, sizeof age, look->now - heard->progress_at)));
    } else if (idle_though_jobs_wait(look) && !holds && look->blocked == 0) {
        set(look, WORKER_NOT_CONSUMING,
            format(look,
                   "idle for %s while jobs wait, and it does not ask for any: its connection for jobs "
                   "is gone, restart it",
                   format_s(age, sizeof age, look->now - heard->idle_at)));
    } else if (look->answer && !look->answer->active && celery_answers(look->system)->heard >= 0) {
        set(look, look->beats ? WORKER_SILENT : WORKER_GHOST, "it did not answer when it was asked");
    } else {
        set(look, full ? WORKER_BUSY : WORKER_OK,
            look->beats ? NULL : "it answers, but its heartbeats are not heard");
    }
}

static void judge(struct look *look)
{
    char age[32];
    bool answered = look->answer && look->answer->active;
    if (look->heard && look->heard->offline_at > 0)
        set(look, WORKER_QUIET,
            format(look, "it said %s ago that it shuts down",
                   format_s(age, sizeof age, look->now - look->heard->offline_at)));
    else if (look->beats || answered)
        judge_alive(look);
    else
        judge_mute(look);
}

/* ---- what runs ---- */

static struct job *add_job(struct workers_snapshot *snapshot, const char *id)
{
    snapshot->running =
        there(talloc_realloc(snapshot, snapshot->running, struct job, snapshot->running_count + 1));
    struct job *job = &snapshot->running[snapshot->running_count++];
    *job = (struct job){.id = there(talloc_strdup(snapshot, id)),
                        .state = JOB_RUNNING,
                        .priority = -1,
                        .retries = -1,
                        .retries_max = -1,
                        .size = -1,
                        .index = -1};
    return job;
}

static const char *copy(const void *context, const char *text)
{
    return text ? there(talloc_strdup(context, text)) : NULL;
}

static void name_tenant(const struct celery_system *system, struct workers_snapshot *snapshot,
                        struct job *job)
{
    job->tenant = copy(snapshot, celery_ids_tenant(system, job->id, &job->tenant_known));
    if (!job->task)
        job->task = copy(snapshot, celery_ids_task(system, job->id));
}

static bool is_listed(const struct workers_snapshot *snapshot, const char *id)
{
    for (size_t i = 0; i < snapshot->running_count; i++)
        if (!strcmp(snapshot->running[i].id, id))
            return true;
    return false;
}

/* Beyond its time: the worker does not end what it runs. */
static void judge_running(const struct celery_system *system, struct workers_snapshot *snapshot,
                          struct worker *worker, struct job *job, double pool_limit)
{
    double own = celery_ids_limit(system, job->id), age = clock_wall() - job->started_at;
    char text[32], limit[32];
    job->limit_s = own > 0 ? own : pool_limit;
    if (job->limit_s <= 0 || job->started_at <= 0 || age <= job->limit_s + LIMIT_SLACK_S)
        return;
    job->why =
        there(talloc_asprintf(snapshot, "runs for %s, its limit is %s", format_s(text, sizeof text, age),
                              format_s(limit, sizeof limit, job->limit_s)));
    if (worker && worker->state != WORKER_SILENT && worker->state != WORKER_GHOST &&
        worker->state != WORKER_QUIET) {
        worker->state = WORKER_STUCK;
        worker->why = job->why;
    }
}

static struct worker *find_worker(struct workers_snapshot *snapshot, const char *name)
{
    for (size_t i = 0; name && i < snapshot->count; i++)
        if (!strcmp(snapshot->workers[i].id, name))
            return &snapshot->workers[i];
    return NULL;
}

static void add_answered(struct look *look)
{
    struct json_object *list = look->answer->active;
    for (int64_t i = 0; i < length_of(list); i++) {
        struct json_object *entry = json_object_array_get_idx(list, (size_t)i);
        const char *id = text_of(get(entry, "id"));
        if (!id || is_listed(look->snapshot, id) || celery_watch_ended(look->system, id))
            continue;
        struct job *job = add_job(look->snapshot, id);
        job->task = copy(look->snapshot, text_of(get(entry, "name")));
        job->queue = copy(look->snapshot, text_of(get(get(entry, "delivery_info"), "routing_key")));
        job->worker = look->worker->id;
        job->started_at = json_object_get_double(get(entry, "time_start"));
        const char *arguments = text_of(get(entry, "args")), *keywords = text_of(get(entry, "kwargs"));
        if (arguments || keywords)
            job->arguments = format(look, "%s %s", arguments ? arguments : "", keywords ? keywords : "");
        name_tenant(look->system, look->snapshot, job);
        judge_running(look->system, look->snapshot, look->worker, job, hard_limit(look->answer->stats));
    }
}

static void add_heard(const struct celery_system *system, struct workers_snapshot *snapshot)
{
    for (const struct heard_job *heard = celery_watch_next_job(system, NULL); heard;
         heard = celery_watch_next_job(system, heard)) {
        if (is_listed(snapshot, heard->id))
            continue;
        struct job *job = add_job(snapshot, heard->id);
        job->task = copy(snapshot, heard->task);
        job->worker = copy(snapshot, heard->worker);
        job->started_at = heard->started_at;
        name_tenant(system, snapshot, job);
        judge_running(system, snapshot, find_worker(snapshot, job->worker), job, 0);
    }
}

/* ---- all of them ---- */

static void look_at(struct look *look, const char *name)
{
    const struct celery_answers *answers = celery_answers(look->system);
    const char *at = strrchr(name, '@');
    *look->worker = (struct worker){.id = there(talloc_strdup(look->snapshot, name)),
                                    .slots = -1,
                                    .active = -1,
                                    .reserved = -1,
                                    .scheduled = -1,
                                    .processed = -1,
                                    .per_s = NAN,
                                    .load = NAN};
    look->worker->host = at ? there(talloc_strdup(look->snapshot, at + 1)) : NULL;
    look->heard = celery_watch_worker(look->system, name);
    look->answer =
        answers && look->now - answers->asked_at < ANSWERS_HOLD_S ? find_answer(look->system, name) : NULL;
    look->beats = look->heard && look->heard->offline_at <= 0 &&
                  look->now - look->heard->heard_at < fmax(SILENT_S, 3 * look->heard->frequency_s);
    if (look->heard)
        take_heard(look);
    if (look->answer && answers)
        take_answer(look, answers->asked_at);
    judge(look);
    if (look->answer && answers && look->now - answers->asked_at < RUNNING_HOLD_S)
        add_answered(look);
}

static int64_t count_beating(const struct celery_system *system, double now)
{
    int64_t count = 0;
    for (const struct heard_worker *heard = celery_watch_next(system, NULL); heard;
         heard = celery_watch_next(system, heard))
        count += heard->offline_at <= 0 && now - heard->heard_at < fmax(SILENT_S, 3 * heard->frequency_s);
    return count;
}

static const char *note_of(const struct celery_system *system, struct workers_snapshot *snapshot)
{
    const struct error *error = celery_watch_error(system);
    const struct celery_answers *answers = celery_answers(system);
    char age[32];
    if (error)
        return talloc_asprintf(snapshot, "events are not heard: %s", error->why);
    int64_t garbage = celery_watch_garbage(system);
    if (garbage > 0)
        return talloc_asprintf(snapshot, "%lld messages among the events were none", (long long)garbage);
    if (!answers)
        return "from heartbeats; what they hold and run is told when the workers are asked";
    return talloc_asprintf(snapshot, "asked %s ago%s",
                           format_s(age, sizeof age, clock_wall() - answers->asked_at),
                           celery_asked_goes_on(system) ? ", asked every 10 s" : "");
}

struct workers_snapshot *celery_crew_snapshot(struct celery_system *system)
{
    struct celery_crew *crew = system->crew;
    struct workers_snapshot *snapshot = SNAPSHOT_NEW(struct workers_snapshot);
    const char **names;
    size_t count = celery_crew_names(snapshot, crew, &names);
    double now = clock_wall();
    bool fresh = crew->clients_at > 0 && now - crew->clients_at < CLIENTS_HOLD_S;
    snapshot->workers = there(talloc_zero_array(snapshot, struct worker, count + 1));
    snapshot->count = count;
    crew->doubtful = false;
    for (size_t i = 0; i < count; i++) {
        struct look look = {.system = system,
                            .snapshot = snapshot,
                            .worker = &snapshot->workers[i],
                            .now = now,
                            .since = celery_watch_since(system),
                            .sockets = fresh ? crew->sockets : -1,
                            .blocked = fresh ? crew->blocked : -1,
                            .beating = count_beating(system, now)};
        look_at(&look, names[i]);
        crew->doubtful = crew->doubtful || !look.beats || idle_though_jobs_wait(&look);
    }
    add_heard(system, snapshot);
    snapshot->note = note_of(system, snapshot);
    return snapshot;
}
