/* Acts on Celery that are told to its workers: which message goes to whom, what it would really do, and what
 * confirms it. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_control_internal.h"
#include "backends/queues/queues.h"
#include "core/units.h"

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* What an act request means here. */
struct meant {
    struct celery_system *system;
    const struct queue_act_request *request;
    const char *const *workers;
    size_t count;
    const char *queue; /* its own, or the argument */
};

static struct json_object *object_of(const char *key, struct json_object *value)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, key, value);
    return object;
}

static const struct worker *find_worker(const struct celery_system *system, const char *name)
{
    const struct workers_snapshot *latest = queue_system_workers(&system->base);
    for (size_t i = 0; latest && i < latest->count; i++)
        if (!strcmp(latest->workers[i].id, name))
            return &latest->workers[i];
    return NULL;
}

static void *wrong(struct error *error, const struct meant *meant, const char *why, const char *todo)
{
    error_set(error, ERROR_USAGE, meant->system->base.place, queue_act_name(meant->request->act), todo, "%s",
              why);
    return NULL;
}

/* ---- jobs ---- */

static struct json_object *ids_of(const struct job *jobs, size_t count)
{
    struct json_object *ids = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(ids, json_object_new_string(jobs[i].id));
    return ids;
}

/* The last two digits of one, the number of many. */
static void confirm_jobs(struct change *change, const struct job *jobs, size_t count)
{
    size_t length = strlen(jobs[0].id);
    change->reach = count == 1 ? REACH_ONE : REACH_MANY;
    change->confirm = count == 1 ? there(talloc_strdup(change, jobs[0].id + (length > 2 ? length - 2 : 0)))
                                 : there(talloc_asprintf(change, "%zu", count));
    change->confirm_prompt = count == 1 ? "the last two characters of the job's id" : "the number of jobs";
}

static const char *jobs_text(const void *context, const struct job *jobs, size_t count)
{
    const char *task = jobs[0].task ? jobs[0].task : "job";
    return count == 1 ? there(talloc_asprintf(context, "%s %s", task, jobs[0].id))
                      : there(talloc_asprintf(context, "%zu jobs", count));
}

static bool jobs_right(const struct meant *meant, struct error *error)
{
    const struct queue_act_request *request = meant->request;
    if (!request->job_count)
        return wrong(error, meant, "no job is named", "Name jobs, or a filter that finds some.");
    for (size_t i = 0; i < request->job_count; i++)
        if (!request->jobs[i].id)
            return wrong(error, meant, "one of the jobs has no id", NULL);
    return true;
}

static void add_ids(struct change *change, const struct meant *meant, const struct job *jobs, size_t count,
                    const char *const *workers, size_t worker_count, const char *signal)
{
    struct json_object *arguments = object_of("task_id", ids_of(jobs, count));
    if (signal) {
        json_object_object_add(arguments, "terminate", json_object_new_boolean(1));
        json_object_object_add(arguments, "signal", json_object_new_string(signal));
    }
    struct control_step *own =
        control_change_add(change, meant->system, "revoke", arguments, workers, worker_count);
    own->step->name = jobs_text(change, jobs, count);
    own->step->subject = own->step->name;
}

static struct change *revoke_jobs(const struct meant *meant, struct error *error)
{
    const struct queue_act_request *request = meant->request;
    if (!jobs_right(meant, error))
        return NULL;
    size_t steps = (request->job_count + CONTROL_IDS_MAX - 1) / CONTROL_IDS_MAX;
    struct change *change = control_change_new(meant->system, steps);
    change->past = "revoked";
    change->title =
        there(talloc_asprintf(change, "Revoke %s", jobs_text(change, request->jobs, request->job_count)));
    change->milder = "neutralise, for jobs in a queue: it outlasts restarts of the workers";
    change->effect = there(talloc_asprintf(
        change,
        "%zu workers keep the ids in memory and drop such a job when they come to it (its result becomes "
        "REVOKED). They forget them when they are restarted, after 3 h, and beyond 50,000 ids. What runs "
        "already goes on. A message in a queue stays there until a worker takes it.",
        meant->count));
    confirm_jobs(change, request->jobs, request->job_count);
    for (size_t i = 0; i < request->job_count; i += CONTROL_IDS_MAX) {
        size_t count = request->job_count - i < CONTROL_IDS_MAX ? request->job_count - i : CONTROL_IDS_MAX;
        add_ids(change, meant, request->jobs + i, count, meant->workers, meant->count, NULL);
    }
    return change;
}

static const char *signal_of(const struct meant *meant, struct error *error)
{
    const char *word = meant->request->argument;
    if (!word || !*word || !strcmp(word, "TERM") || !strcmp(word, "SIGTERM"))
        return "SIGTERM";
    if (!strcmp(word, "KILL") || !strcmp(word, "SIGKILL"))
        return "SIGKILL";
    if (!strcmp(word, "USR1") || !strcmp(word, "SIGUSR1"))
        return "SIGUSR1"; /* what Celery's soft time limit sends */
    return wrong(error, meant, "there is no such signal",
                 "TERM, KILL, or USR1 (as the soft time limit does).");
}

/* Each job goes to the worker that runs it, where that is known. */
static struct change *terminate(const struct meant *meant, struct error *error)
{
    const struct queue_act_request *request = meant->request;
    const char *signal = jobs_right(meant, error) ? signal_of(meant, error) : NULL;
    if (!signal)
        return NULL;
    if (request->job_count > 100)
        return wrong(error, meant, "more than 100 running jobs are not ended at once", NULL);
    struct change *change = control_change_new(meant->system, request->job_count);
    change->hazard = HAZARD_DESTROY;
    change->past = "terminated";
    change->title =
        there(talloc_asprintf(change, "Terminate %s", jobs_text(change, request->jobs, request->job_count)));
    change->effect = there(talloc_asprintf(
        change,
        "The child process that runs it gets %s; what it has half done stays half done, and its result "
        "becomes REVOKED (terminated). A job that is held but does not run yet is dropped. Pools without "
        "processes (solo, threads) refuse. If that child has gone on to another job meanwhile, the worker "
        "knows, and answers that the job is unknown.",
        signal));
    confirm_jobs(change, request->jobs, request->job_count);
    for (size_t i = 0; i < request->job_count; i++) {
        const char *known = request->jobs[i].worker;
        bool named = known && control_worker_plausible(known, strlen(known));
        add_ids(change, meant, &request->jobs[i], 1, named ? &known : meant->workers,
                named ? 1 : meant->count, signal);
    }
    return change;
}

/* ---- tasks ---- */

static char *known_rate(const void *context, const struct celery_system *system, const char *task)
{
    const struct celery_answers *answers = celery_answers(system);
    size_t length = strlen(task);
    for (size_t i = 0; answers && i < answers->worker_count; i++) {
        struct json_object *list = answers->workers[i].registered;
        for (size_t j = 0; list && j < json_object_array_length(list); j++) {
            const char *text = json_object_get_string(json_object_array_get_idx(list, j));
            if (!text || strncmp(text, task, length) != 0 || (text[length] && text[length] != ' '))
                continue;
            const char *rate = strstr(text + length, "rate_limit=");
            return rate ? there(talloc_strndup(context, rate + 11, strcspn(rate + 11, " ]")))
                        : there(talloc_strdup(context, "0"));
        }
    }
    return NULL;
}

static struct change *rate_limit(const struct meant *meant, struct error *error)
{
    const struct queue_act_request *request = meant->request;
    if (!request->task || !request->argument)
        return wrong(error, meant, "a task and a rate are needed",
                     "A rate is 10/m, 0.5/s, 3/h, or 0 for none.");
    if (!celery_task_known(meant->system, request->task))
        return wrong(error, meant, "no worker knows that task", NULL);
    struct json_object *arguments = object_of("task_name", json_object_new_string(request->task));
    json_object_object_add(arguments, "rate_limit", json_object_new_string(request->argument));
    if (!control_arguments_fit(control_method_find("rate_limit"), arguments, NULL)) {
        json_object_put(arguments);
        return wrong(error, meant, "that is no rate", "A rate is 10/m, 0.5/s, 3/h, or 0 for none.");
    }
    bool none = strtod(request->argument, NULL) <= 0;
    struct change *change = control_change_new(meant->system, 1);
    change->past = "limited";
    change->title =
        there(talloc_asprintf(change, "Limit %s to %s", request->task, none ? "no rate" : request->argument));
    change->effect =
        none
            ? "The workers start it as fast as they can. Forgotten when they are restarted: then the rate "
              "of the program holds again."
            : there(talloc_asprintf(
                  change,
                  "Each of %zu workers starts it at most %s, so all together up to %zu times that. Jobs over "
                  "the limit wait in a worker's memory and fill its prefetch, so that its other jobs may "
                  "wait, "
                  "too. Forgotten when a worker is restarted.",
                  meant->count, request->argument, meant->count));
    control_confirm_name(change, request->task, "the name of the task");
    struct control_step *own =
        control_change_add(change, meant->system, "rate_limit", arguments, meant->workers, meant->count);
    own->step->name = there(talloc_strdup(change, request->task));
    char *before = known_rate(change, meant->system, request->task);
    if (before)
        own->step->undo = there(talloc_asprintf(change, "rate limit of %s: %s", request->task, before));
    return change;
}

/* ---- workers ---- */

static struct change *pool(const struct meant *meant, struct error *error)
{
    const char *argument = meant->request->argument;
    char *end = NULL;
    long change_by = argument ? strtol(argument, &end, 10) : 0;
    if (!change_by || !end || *end || labs(change_by) > CONTROL_NUMBER_MAX)
        return wrong(error, meant, "it needs a number of children", "For example +2 or -1.");
    long number = labs(change_by);
    for (size_t i = 0; change_by < 0 && i < meant->count; i++) {
        const struct worker *worker = find_worker(meant->system, meant->workers[i]);
        if (worker && worker->slots >= 0 && worker->slots - number < 1) {
            error_set(error, ERROR_INTERLOCK, worker->id, "pool",
                      "Drain it instead: it takes nothing more, and stays.",
                      "it has %lld children; none would be left to run a job", (long long)worker->slots);
            return NULL;
        }
    }
    struct change *change = control_change_new(meant->system, 1);
    bool grow = change_by > 0;
    char *names = control_names(change, meant->workers, meant->count);
    change->past = grow ? "grew the pool of" : "shrank the pool of";
    change->title =
        there(talloc_asprintf(change, "%s the pool of %s by %ld", grow ? "Grow" : "Shrink", names, number));
    change->effect = grow ? "It starts further child processes, each with the memory of the program, and "
                            "takes as many more "
                            "jobs at once. Workers that scale by themselves refuse. Forgotten at a restart."
                          : "Idle children end; when fewer are idle, those end and it answers with an error. "
                            "No running job is "
                            "ended. Forgotten at a restart.";
    control_confirm_workers(change, meant->workers, meant->count);
    struct control_step *own =
        control_change_add(change, meant->system, grow ? "pool_grow" : "pool_shrink",
                           object_of("n", json_object_new_int64(number)), meant->workers, meant->count);
    own->step->name = names;
    own->step->undo = there(talloc_asprintf(change, "pool %c%ld", grow ? '-' : '+', number));
    return change;
}

static struct change *consume(const struct meant *meant, struct error *error)
{
    bool add = meant->request->act == ACT_CONSUME;
    if (!meant->queue)
        return wrong(error, meant, "no queue is named", NULL);
    struct change *change = control_change_new(meant->system, 1);
    char *names = control_names(change, meant->workers, meant->count);
    change->past = add ? "added a consumer:" : "cancelled a consumer:";
    change->title = there(
        talloc_asprintf(change, add ? "%s takes from %s" : "%s takes no more from %s", names, meant->queue));
    change->effect =
        add ? "It takes jobs from the queue from its next turn on. A queue that it does not know is "
              "declared, with an exchange of the same name. Forgotten at a restart."
            : "It takes no further jobs from the queue; those that it has taken already still run. "
              "When nobody else takes from it, the queue grows. Forgotten at a restart: then it takes "
              "from it again.";
    control_confirm_workers(change, meant->workers, meant->count);
    struct control_step *own = control_change_add(
        change, meant->system, add ? "add_consumer" : "cancel_consumer",
        object_of("queue", json_object_new_string(meant->queue)), meant->workers, meant->count);
    own->step->name = there(talloc_asprintf(change, "%s, queue %s", names, meant->queue));
    own->step->undo =
        there(talloc_asprintf(change, "%s %s", add ? "cancel_consumer" : "add_consumer", meant->queue));
    return change;
}

/* Afterwards: have they said that they go, or stopped beating? */
static bool watch_shutdown(struct change *change, char *buffer, size_t size)
{
    struct control_step *own = change->steps[0].data;
    size_t going = 0;
    for (size_t i = 0; i < own->worker_count; i++) {
        const struct heard_worker *heard = celery_watch_worker(own->system, own->workers[i]);
        going += !heard || heard->offline_at > 0;
    }
    snprintf(buffer, size, "%zu of %zu have gone", going, own->worker_count);
    return going == own->worker_count;
}

static struct change *shut_down(const struct meant *meant, struct error *error)
{
    if (!meant->request->worker_count)
        return wrong(error, meant, "a worker that is to end must be named", NULL);
    struct change *change = control_change_new(meant->system, 1);
    int64_t running = 0, held = 0;
    for (size_t i = 0; i < meant->count; i++) {
        const struct worker *worker = find_worker(meant->system, meant->workers[i]);
        running += worker && worker->active > 0 ? worker->active : 0;
        held += worker && worker->reserved > 0 ? worker->reserved : 0;
    }
    char *names = control_names(change, meant->workers, meant->count);
    change->hazard = HAZARD_DESTROY;
    change->verb = "shutdown";
    change->past = "shut down";
    change->title = there(talloc_asprintf(change, "Shut down %s", names));
    change->milder = "drain: it takes nothing more, finishes what it has, and stays";
    change->effect = there(talloc_asprintf(
        change,
        "A warm shutdown: it takes nothing more, runs %lld jobs to their end, gives back what it has taken "
        "besides (%lld known), then its process ends. Workers answer nothing to this. Who supervises it "
        "(systemd, a container's restart policy) may start it again.",
        (long long)running, (long long)held));
    control_confirm_workers(change, meant->workers, meant->count);
    control_change_add(change, meant->system, "shutdown", NULL, meant->workers, meant->count)->step->name =
        names;
    change->watch = watch_shutdown;
    return change;
}

/* ---- all of them ---- */

static struct change *make(const struct meant *meant, struct error *error)
{
    switch (meant->request->act) {
    case ACT_ASK:
        return control_ask(meant->system, meant->workers, meant->count);
    case ACT_REVOKE:
        return revoke_jobs(meant, error);
    case ACT_TERMINATE:
        return terminate(meant, error);
    case ACT_RATE_LIMIT:
        return rate_limit(meant, error);
    case ACT_POOL:
        return pool(meant, error);
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
        return consume(meant, error);
    case ACT_DRAIN:
        return meant->request->worker_count ? control_drain(meant->system, meant->workers, meant->count)
                                            : wrong(error, meant, "no worker is named", NULL);
    case ACT_SHUTDOWN:
        return shut_down(meant, error);
    case ACT_PAUSE:
        return meant->queue ? control_pause(meant->system, meant->queue, meant->workers, meant->count)
                            : wrong(error, meant, "no queue is named", NULL);
    case ACT_RESUME:
        return meant->queue ? control_resume(meant->system, meant->queue, meant->request->workers,
                                             meant->request->worker_count)
                            : wrong(error, meant, "no queue is named", NULL);
    default:
        return wrong(error, meant, "workers are not told that", NULL);
    }
}

struct change *celery_control_change(struct celery_system *system, const struct queue_act_request *request,
                                     struct error *error)
{
    size_t count = request->worker_count;
    const char **alive = count ? NULL : celery_workers_alive(NULL, system, &count);
    struct meant meant = {.system = system,
                          .request = request,
                          .workers = alive ? alive : request->workers,
                          .count = count,
                          .queue = request->queue ? request->queue : request->argument};
    struct change *change = NULL;
    bool right = true;
    for (size_t i = 0; i < count && right; i++)
        right = control_worker_plausible(meant.workers[i], strlen(meant.workers[i]));
    bool needs_nobody = request->act == ACT_RESUME;
    if (!right)
        wrong(error, &meant, "that is no name of a worker", "A worker is called name@host.");
    else if (!count && !needs_nobody)
        error_set(error, ERROR_GONE, system->base.place, queue_act_name(request->act),
                  "Look at its workers first: they are known by their heartbeats.",
                  "no worker is known that lives");
    else
        change = make(&meant, error);
    if (change && !change->verb)
        change->verb = queue_act_name(request->act);
    talloc_free(alive);
    return change;
}
