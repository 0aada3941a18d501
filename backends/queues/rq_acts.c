/* Acts on RQ: scripts that look whether a job still is where it was seen, and then do what RQ itself does. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "backends/queues/rq.h"
#include "core/clock.h"
#include "core/json.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* KEYS job registry queue; ARGV id member ended_at now queue-key push. A failed job has a time to live: it
 * would vanish in the middle of its new run. */
static const char requeue_script[] =
    "local j = redis.call('HMGET', KEYS[1], 'status', 'ended_at')\n"
    "if not j[1] then return 'gone' end\n"
    "if ARGV[3] ~= '*' and (j[2] or '') ~= ARGV[3] then return 'gone' end\n"
    "if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 'gone' end\n"
    "redis.call('PERSIST', KEYS[1])\n"
    "redis.call('HSET', KEYS[1], 'status', 'queued', 'enqueued_at', ARGV[4], 'started_at', '',\n"
    " 'ended_at', '', 'worker_name', '')\n"
    "redis.call('HDEL', KEYS[1], 'exc_info')\n"
    "redis.call('SADD', 'rq:queues', ARGV[5])\n"
    "redis.call(ARGV[6], KEYS[3], ARGV[1])\n"
    "return 'done'";

/* The same for a job whose worker died: refused while that worker listens. ARGV[7]: its name. */
static const char orphan_script[] =
    "if ARGV[7] ~= '' and redis.call('PUBSUB', 'NUMSUB', 'rq:pubsub:' .. ARGV[7])[2] > 0 then\n"
    " return 'refused: its worker is alive' end\n"
    "local j = redis.call('HMGET', KEYS[1], 'status', 'worker_name')\n"
    "if not j[1] or j[1] ~= 'started' or (j[2] or '') ~= ARGV[7] then return 'gone' end\n"
    "if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 'gone' end\n"
    "redis.call('PERSIST', KEYS[1])\n"
    "redis.call('HSET', KEYS[1], 'status', 'queued', 'enqueued_at', ARGV[4], 'started_at', '',\n"
    " 'ended_at', '', 'worker_name', '')\n"
    "redis.call('SADD', 'rq:queues', ARGV[5])\n"
    "redis.call(ARGV[6], KEYS[3], ARGV[1])\n"
    "return 'done'";

/* KEYS job registry; ARGV id member ended_at: as Job.delete does. */
static const char discard_script[] =
    "if redis.call('EXISTS', KEYS[1]) == 1 and ARGV[3] ~= '*' and\n"
    " (redis.call('HGET', KEYS[1], 'ended_at') or '') ~= ARGV[3] then return 'gone' end\n"
    "if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 'gone' end\n"
    "redis.call('DEL', KEYS[1], KEYS[1] .. ':dependents', 'rq:job::' .. ARGV[1] .. ':dependencies',\n"
    " 'rq:results:' .. ARGV[1])\n"
    "return 'done'";

/* KEYS job queue registry-of-cancelled; ARGV id now: as Job.cancel does. LREM looks at the whole list when
 * the id is not there: refused on long ones. */
static const char cancel_script[] =
    "if redis.call('HGET', KEYS[1], 'status') ~= 'queued' then return 'gone' end\n"
    "if redis.call('LLEN', KEYS[2]) > 50000 then\n"
    " return 'refused: the queue is too long to take one job out without stopping the server' end\n"
    "if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 'gone' end\n"
    "redis.call('HSET', KEYS[1], 'status', 'canceled')\n"
    "redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])\n"
    "return 'done'";

/* KEYS job worker; ARGV id worker payload */
static const char stop_script[] =
    "if redis.call('HGET', KEYS[1], 'status') ~= 'started' then return 'gone' end\n"
    "if (redis.call('HGET', KEYS[2], 'current_job') or '') ~= ARGV[1] then return 'gone' end\n"
    "if redis.call('PUBLISH', 'rq:pubsub:' .. ARGV[2], ARGV[3]) == 0 then\n"
    " return 'refused: nobody listens: the worker is gone' end\n"
    "return 'done'";

/* KEYS worker; ARGV worker payload */
static const char command_script[] = "if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end\n"
                                     "if redis.call('PUBLISH', 'rq:pubsub:' .. ARGV[1], ARGV[2]) == 0 then\n"
                                     " return 'refused: nobody listens: the worker is gone' end\n"
                                     "return 'done'";

static const char suspend_script[] = "if redis.call('EXISTS', KEYS[1]) == 1 then return 'gone' end\n"
                                     "redis.call('SET', KEYS[1], '1')\n"
                                     "return 'done'";
static const char resume_script[] = "if redis.call('DEL', KEYS[1]) == 0 then return 'gone' end\n"
                                    "return 'done'";

/* ---- acts on jobs ---- */

/* "2026-11-21T11:56:43.968430Z", as RQ writes it. */
static char *rq_time_text(const void *context, double at)
{
    char day[40];
    struct tm tm;
    long long micro = (long long)(at * 1e6 + 0.5);
    time_t seconds = (time_t)(micro / 1000000);
    gmtime_r(&seconds, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    return or_die(talloc_asprintf(context, "%s.%06lldZ", day, micro % 1000000));
}

static void add_job_key(struct redis_batch *batch, const struct job *job)
{
    redis_batch_format(batch, "rq:job:%s", job->id);
}

static void add_member(struct redis_batch *batch, const struct job *job)
{
    redis_batch_word(batch, job->id, strlen(job->id));
    redis_batch_word(batch, job->raw ? job->raw : job->id, job->raw ? job->raw_length : strlen(job->id));
}

/* What the time of its end must still be; '*': it has none to compare. */
static void add_ended(struct redis_batch *batch, const struct job *job)
{
    bool known = job->state == JOB_FAILED && job->finished_at > 0 && job->finished_at != job->started_at;
    char *text = known ? rq_time_text(NULL, job->finished_at) : NULL;
    redis_batch_format(batch, "%s", text ? text : "*");
    talloc_free(text);
}

static void add_queueing(struct redis_batch *batch, const struct job *job, const char *push)
{
    char *now = rq_time_text(NULL, clock_wall());
    redis_batch_format(batch, "%s", now);
    redis_batch_format(batch, "rq:queue:%s", job->queue);
    redis_batch_static(batch, push);
    talloc_free(now);
}

static bool has_place(const struct job *job, const char **why)
{
    bool whole = job->id && job->queue && job->key && *job->key;
    *why = whole ? *why : "its queue is not known";
    return whole;
}

static bool add_retry(struct queue_system *system, const struct queue_act_request *request,
                      const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)system, (void)request;
    if (!has_place(job, why))
        return false;
    redis_act_eval(batch, requeue_script, 3);
    add_job_key(batch, job);
    redis_batch_word(batch, job->key, job->key_length);
    redis_batch_format(batch, "rq:queue:%s", job->queue);
    add_member(batch, job);
    add_ended(batch, job);
    add_queueing(batch, job, "RPUSH");
    return true;
}

static bool add_requeue(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)system, (void)request;
    if (!has_place(job, why))
        return false;
    redis_act_eval(batch, orphan_script, 3);
    add_job_key(batch, job);
    redis_batch_word(batch, job->key, job->key_length);
    redis_batch_format(batch, "rq:queue:%s", job->queue);
    add_member(batch, job);
    redis_batch_static(batch, "*");
    add_queueing(batch, job, "LPUSH");
    redis_batch_format(batch, "%s", job->worker ? job->worker : "");
    return true;
}

static bool add_discard(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)system, (void)request;
    if (!has_place(job, why))
        return false;
    if (job->state == JOB_READY) {
        redis_act_eval(batch, cancel_script, 3);
        add_job_key(batch, job);
        redis_batch_word(batch, job->key, job->key_length);
        redis_batch_format(batch, "rq:canceled:%s", job->queue);
        redis_batch_word(batch, job->id, strlen(job->id));
        redis_batch_format(batch, "%lld", (long long)clock_wall());
        return true;
    }
    if (job->state == JOB_RUNNING) {
        *why = "it runs: terminate it";
        return false;
    }
    redis_act_eval(batch, discard_script, 2);
    add_job_key(batch, job);
    redis_batch_word(batch, job->key, job->key_length);
    add_member(batch, job);
    add_ended(batch, job);
    return true;
}

/* JSON with the id as a string: ids come from producers. */
static char *stop_payload(const char *id)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "command", json_object_new_string("stop-job"));
    json_object_object_add(object, "job_id", json_object_new_string(id));
    char *text =
        or_die(talloc_strdup(NULL, json_object_to_json_string_ext(
                                       object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)));
    json_object_put(object);
    return text;
}

static bool add_stop(struct queue_system *system, const struct queue_act_request *request,
                     const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)system, (void)request;
    if (!job->id || !job->worker) {
        *why = "it is not known which worker runs it";
        return false;
    }
    char *payload = stop_payload(job->id);
    redis_act_eval(batch, stop_script, 2);
    add_job_key(batch, job);
    redis_batch_format(batch, "rq:worker:%s", job->worker);
    redis_batch_word(batch, job->id, strlen(job->id));
    redis_batch_word(batch, job->worker, strlen(job->worker));
    redis_batch_word(batch, payload, strlen(payload));
    talloc_free(payload);
    return true;
}

static const struct redis_act acts[] = {
    {.act = ACT_RETRY,
     .states = 1u << JOB_FAILED,
     .verb = "retry",
     .past = "queued again",
     .hazard = HAZARD_CHANGE,
     .effect =
         "It goes to the end of its queue and runs again from the beginning; its time to live is taken away, "
         "its old error is kept among its results",
     .add = add_retry},
    {.act = ACT_RUN_NOW,
     .states = 1u << JOB_SCHEDULED | 1u << JOB_RETRYING,
     .verb = "run now",
     .past = "queued now",
     .hazard = HAZARD_CHANGE,
     .effect = "It goes to the end of its queue now instead of at its time",
     .add = add_retry},
    {.act = ACT_REQUEUE,
     .states = 1u << JOB_RUNNING,
     .verb = "requeue",
     .past = "put back",
     .hazard = HAZARD_CHANGE,
     .effect =
         "A job whose worker died goes to the head of its queue and runs again from the beginning, at once "
         "instead of when RQ's own cleaning fails it. What it did before its worker died is done twice",
     .milder = "wait: when its time limit and a minute are over, RQ moves it to the failed jobs itself",
     .add = add_requeue},
    {.act = ACT_DISCARD,
     .states = 1u << JOB_FAILED | 1u << JOB_SCHEDULED | 1u << JOB_WAITING | 1u << JOB_CANCELLED,
     .verb = "discard",
     .past = "removed",
     .hazard = HAZARD_DESTROY,
     .effect =
         "Its record, arguments and results are removed for good; a job that still waits in its queue is "
         "cancelled instead, and kept among the cancelled ones. Jobs that depend on it wait for ever",
     .add = add_discard},
    {.act = ACT_TERMINATE,
     .states = 1u << JOB_RUNNING,
     .verb = "stop",
     .past = "told to stop",
     .hazard = HAZARD_DESTROY,
     .effect = "The worker kills the process that runs it, at once and wherever it is; the job becomes a "
               "failed one "
               "that can be retried. The worker goes on with the next",
     .add = add_stop},
};

/* ---- the others ---- */

static struct change *suspend_all(struct queue_system *system, bool pause, const char *queue)
{
    struct change *change = redis_change_new(system, pause ? "suspend" : "resume",
                                             pause ? "suspended" : "resumed", HAZARD_CHANGE, 1);
    const char *alone = queue ? queue : "one queue";
    change->title = or_die(
        talloc_asprintf(change, "%s ALL workers of RQ on %s", pause ? "Suspend" : "Resume", system->place));
    change->effect = pause
                         ? or_die(talloc_asprintf(
                               change,
                               "RQ has no pause of one queue: this stops every queue, not %s alone. Workers "
                               "finish the job they run and then take nothing, for all queues, until resumed",
                               alone))
                         : "Every worker takes jobs again, of all queues";
    redis_change_confirm_name(change, system->name, "the name of the job system");
    struct redis_batch *batch = redis_change_step(change, system, system->name,
                                                  pause ? "rq:suspended is set" : "rq:suspended is removed",
                                                  "all queues", pause ? "resume" : "suspend");
    redis_act_eval(batch, pause ? suspend_script : resume_script, 1);
    redis_batch_static(batch, "rq:suspended");
    redis_change_ready(change);
    return change;
}

static struct change *shut_down(struct queue_system *system, const struct queue_act_request *request,
                                struct error *error)
{
    if (!request->worker_count) {
        error_set(error, ERROR_USAGE, system->name, "shutdown", "Name the workers.", "no worker is named");
        return NULL;
    }
    struct change *change =
        redis_change_new(system, "shut down", "told to shut down", HAZARD_DESTROY, request->worker_count);
    change->effect =
        "It finishes the job that it runs and ends. Whether it comes back is for what started it";
    for (size_t i = 0; i < request->worker_count; i++) {
        const char *worker = request->workers[i];
        struct redis_batch *batch = redis_change_step(change, system, worker, worker, "worker", NULL);
        redis_act_eval(batch, command_script, 1);
        redis_batch_format(batch, "rq:worker:%s", worker);
        redis_batch_word(batch, worker, strlen(worker));
        redis_batch_static(batch, "{\"command\":\"shutdown\"}");
    }
    if (request->worker_count == 1) {
        change->title = or_die(talloc_asprintf(change, "Shut down worker %s", request->workers[0]));
        redis_change_confirm_name(change, request->workers[0], "the name of the worker");
    } else {
        change->title = or_die(talloc_asprintf(change, "Shut down %zu workers", request->worker_count));
        change->reach = REACH_MANY;
        change->confirm = or_die(talloc_asprintf(change, "%zu", request->worker_count));
        change->confirm_prompt = "the number of workers";
    }
    redis_change_ready(change);
    return change;
}

static struct change *rq_other(struct queue_system *system, const struct queue_act_request *request,
                               struct error *error)
{
    if (request->act == ACT_PAUSE || request->act == ACT_RESUME)
        return suspend_all(system, request->act == ACT_PAUSE, request->queue);
    return shut_down(system, request, error);
}

const struct redis_acting rq_acting = {
    .reading = &rq_reading, .acts = acts, .act_count = sizeof acts / sizeof *acts, .other = rq_other};

const char *rq_act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system;
    switch (act) {
    case ACT_RETRY:
    case ACT_RUN_NOW:
    case ACT_REQUEUE:
    case ACT_DISCARD:
    case ACT_TERMINATE:
    case ACT_PAUSE:
    case ACT_RESUME:
    case ACT_SHUTDOWN:
        return NULL;
    case ACT_DRAIN:
        return "an RQ worker cannot stay and take nothing: shut it down, it finishes its job first";
    case ACT_REVOKE:
    case ACT_NEUTRALISE:
        return "a job of RQ is cancelled in its queue: discard it";
    case ACT_RATE_LIMIT:
    case ACT_POOL:
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
        return "an RQ worker's queues and number are set when it is started";
    case ACT_ASK:
        return "RQ's workers answer no questions: what they run stands in Redis";
    case ACT_SCHEDULE_RUN:
    case ACT_SCHEDULE_ENABLE:
    case ACT_SCHEDULE_DISABLE:
        return "RQ keeps no schedule of its own";
    default:
        return "setting jobs aside is for Celery's lists: RQ's queues hold only ids";
    }
}
