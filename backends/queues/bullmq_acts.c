/*
 * Acts on BullMQ. The scripts do what the library's own do (reprocessJob, promote, pause, removeJob), for 5
 * and 6: where a paused queue keeps its jobs is decided inside, from meta, at the moment it is done.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/*
 * In all scripts: KEYS[1] "<prefix>:<queue>:", the others are made from it (a queue's keys belong together;
 * in a Cluster its name has braces around it). ARGV[1] the major version when meta names none.
 *
 * put() gives a job to the workers: by priority, else into wait, or into paused while 5 is paused; then the
 * marker that wakes them up, unless the queue is paused or full.
 */
#define COMMON                                                                                               \
    "local k = KEYS[1]\n"                                                                                    \
    "local function major()\n"                                                                               \
    " local v = redis.call('HGET', k .. 'meta', 'version')\n"                                                \
    " return tonumber(v and string.match(v, '^bullmq:(%d+)') or ARGV[1]) end\n"                              \
    "local function event(...)\n"                                                                            \
    " local most = redis.call('HGET', k .. 'meta', 'opts.maxLenEvents') or 10000\n"                          \
    " redis.call('XADD', k .. 'events', 'MAXLEN', '~', most, '*', ...) end\n"                                \
    "local paused = redis.call('HEXISTS', k .. 'meta', 'paused') == 1\n"                                     \
    "if major() == 0 or major() > 6 then\n"                                                                  \
    " return 'refused: meta does not say that this is BullMQ 5 or 6' end\n"                                  \
    "local function put(id, push)\n"                                                                         \
    " local priority = tonumber(redis.call('HGET', k .. id, 'priority') or 0) or 0\n"                        \
    " if priority > 0 then\n"                                                                                \
    "  local n = redis.call('INCR', k .. 'pc')\n"                                                            \
    "  redis.call('ZADD', k .. 'prioritized', string.format('%.0f', priority * 4294967296 + n % "            \
    "4294967296), id)\n"                                                                                     \
    " else redis.call(push, k .. ((paused and major() == 5) and 'paused' or 'wait'), id) end\n"              \
    " local most = tonumber(redis.call('HGET', k .. 'meta', 'concurrency') or 0) or 0\n"                     \
    " local full = most > 0 and redis.call('LLEN', k .. 'active') >= most\n"                                 \
    " if not paused and not full then redis.call('ZADD', k .. 'marker', 0, '0') end end\n"

/* ARGV[2] id, [3] finishedOn as it was seen */
static const char retry_script[] =
    COMMON "local id = ARGV[2]\n"
           "if redis.call('EXISTS', k .. id) == 0 then return 'gone' end\n"
           "if (redis.call('HGET', k .. id, 'finishedOn') or '') ~= ARGV[3] then return 'gone' end\n"
           "if redis.call('ZREM', k .. 'failed', id) == 0 then return 'gone' end\n"
           "redis.call('HDEL', k .. id, 'finishedOn', 'processedOn', 'failedReason')\n"
           "put(id, 'LPUSH')\n"
           "local parent = redis.call('HGET', k .. id, 'parentKey')\n"
           "if parent and redis.call('EXISTS', parent) == 1 then\n"
           " if redis.call('ZREM', parent .. ':unsuccessful', k .. id) == 1\n"
           "  or redis.call('HDEL', parent .. ':failed', k .. id) == 1 then\n"
           "  redis.call('SADD', parent .. ':dependencies', k .. id) end end\n"
           "event('event', 'waiting', 'jobId', id, 'prev', 'failed')\n"
           "return 'done'";

/* ARGV[2] id */
static const char promote_script[] =
    COMMON "local id = ARGV[2]\n"
           "if redis.call('EXISTS', k .. id) == 0 then return 'gone' end\n"
           "if redis.call('ZREM', k .. 'delayed', id) == 0 then return 'gone' end\n"
           "redis.call('HSET', k .. id, 'delay', 0)\n"
           "put(id, 'LPUSH')\n"
           "event('event', 'waiting', 'jobId', id, 'prev', 'delayed')\n"
           "return 'done'";

/* ARGV[2] id: of a job that is active and whose lock is over */
static const char requeue_script[] =
    COMMON "local id = ARGV[2]\n"
           "if redis.call('EXISTS', k .. id .. ':lock') == 1 then\n"
           " return 'refused: a worker holds its lock' end\n"
           "if redis.call('EXISTS', k .. id) == 0 then return 'gone' end\n"
           "if redis.call('LREM', k .. 'active', 1, id) == 0 then return 'gone' end\n"
           "redis.call('SREM', k .. 'stalled', id)\n"
           "redis.call('HDEL', k .. id, 'processedOn')\n"
           "put(id, 'RPUSH')\n"
           "event('event', 'waiting', 'jobId', id, 'prev', 'active')\n"
           "return 'done'";

/* ARGV[2] id, [3] the set or list where it was seen, [4] finishedOn as it was seen */
static const char discard_script[] = COMMON
    "local id, place = ARGV[2], ARGV[3]\n"
    "local j = redis.call('HMGET', k .. id, 'finishedOn', 'rjk', 'parentKey', 'deid')\n"
    "if (j[1] or '') ~= ARGV[4] then return 'gone' end\n"
    "if redis.call('EXISTS', k .. id .. ':lock') == 1 then\n"
    " return 'refused: a worker holds its lock' end\n"
    "if j[2] then local at = redis.call('ZSCORE', k .. 'repeat', j[2])\n"
    " if at and id == 'repeat:' .. j[2] .. ':' .. string.format('%.0f', at) then\n"
    "  return 'refused: it is the next job of a scheduler, which would stop' end end\n"
    "if (j[3] and redis.call('EXISTS', j[3]) == 1)\n"
    " or redis.call('EXISTS', k .. id .. ':dependencies') == 1 then\n"
    " return 'refused: it belongs to a flow, whose other jobs would wait for ever' end\n"
    "local removed\n"
    "if place == 'wait' or place == 'paused' then\n"
    " if redis.call('LLEN', k .. place) > 50000 then\n"
    "  return 'refused: the queue is too long to take one job out without stopping the server' end\n"
    " removed = redis.call('LREM', k .. place, -1, id)\n"
    "else removed = redis.call('ZREM', k .. place, id) end\n"
    "if removed == 0 then return 'gone' end\n"
    "if j[4] and redis.call('GET', k .. 'de:' .. j[4]) == id then\n"
    " redis.call('DEL', k .. 'de:' .. j[4]) end\n"
    "redis.call('DEL', k .. id, k .. id .. ':logs', k .. id .. ':dependencies', k .. id .. ':processed',\n"
    " k .. id .. ':failed', k .. id .. ':unsuccessful')\n"
    "event('event', 'removed', 'jobId', id, 'prev', place)\n"
    "return 'done'";

static const char pause_script[] =
    COMMON "if paused then return 'gone' end\n"
           "if major() == 5 and redis.call('EXISTS', k .. 'wait') == 1 then\n"
           " if redis.call('EXISTS', k .. 'paused') == 0 then\n"
           "  redis.call('RENAME', k .. 'wait', k .. 'paused')\n"
           " else\n"
           "  if redis.call('LLEN', k .. 'wait') > 5000 then\n"
           "   return 'refused: both wait and paused hold jobs: pause it by BullMQ' end\n"
           "  while redis.call('RPOPLPUSH', k .. 'wait', k .. 'paused') do end end end\n"
           "redis.call('HSET', k .. 'meta', 'paused', 1)\n"
           "redis.call('DEL', k .. 'marker')\n"
           "event('event', 'paused')\n"
           "return 'done'";

/* With jobs in both lists (which no library leaves), those that waited longer go first; 5000 at a time. */
static const char resume_script[] = COMMON
    "if not paused then return 'gone' end\n"
    "if redis.call('EXISTS', k .. 'paused') == 1 then\n"
    " if redis.call('EXISTS', k .. 'wait') == 0 then redis.call('RENAME', k .. 'paused', k .. 'wait')\n"
    " else\n"
    "  if redis.call('LLEN', k .. 'paused') > 5000 then\n"
    "   return 'refused: both wait and paused hold jobs: resume it by BullMQ' end\n"
    "  while redis.call('LMOVE', k .. 'paused', k .. 'wait', 'LEFT', 'RIGHT') do end end end\n"
    "redis.call('HDEL', k .. 'meta', 'paused')\n"
    "if redis.call('LLEN', k .. 'wait') + redis.call('ZCARD', k .. 'prioritized') > 0 then\n"
    " redis.call('ZADD', k .. 'marker', 0, '0')\n"
    "else local next = redis.call('ZRANGE', k .. 'delayed', 0, 0, 'WITHSCORES')\n"
    " if next[2] then redis.call('ZADD', k .. 'marker', string.format('%.0f', math.floor(next[2] / 4096)), "
    "'1') end end\n"
    "event('event', 'resumed')\n"
    "return 'done'";

/* ---- acts on jobs ---- */

static void add_head(struct redis_batch *batch, const struct bullmq_system *system, const char *script,
                     const char *queue)
{
    redis_act_eval(batch, script, 1);
    bullmq_add_key(batch, system, queue, "");
    redis_batch_format(batch, "%d", system->major);
}

static bool begin_job(struct redis_batch *batch, const struct bullmq_system *system, const char *script,
                      const struct job *job, const char **why)
{
    if (!job->id || !job->queue) {
        *why = "its queue is not known";
        return false;
    }
    add_head(batch, system, script, job->queue);
    redis_batch_word(batch, job->id, strlen(job->id));
    return true;
}

static void add_finished(struct redis_batch *batch, const struct job *job)
{
    if (job->finished_at > 0 && job->finished_at < 1e12)
        redis_batch_format(batch, "%lld", (long long)(job->finished_at * 1000 + 0.5));
    else
        redis_batch_static(batch, "");
}

static bool add_retry(struct queue_system *system, const struct queue_act_request *request,
                      const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)request;
    if (!begin_job(batch, (const struct bullmq_system *)system, retry_script, job, why))
        return false;
    add_finished(batch, job);
    return true;
}

static bool add_promote(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)request;
    return begin_job(batch, (const struct bullmq_system *)system, promote_script, job, why);
}

static bool add_requeue(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)request;
    return begin_job(batch, (const struct bullmq_system *)system, requeue_script, job, why);
}

static bool add_discard(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)request;
    const char *place = job->key ? strrchr(job->key, ':') : NULL;
    if (!place || job->state == JOB_RUNNING) {
        *why = job->state == JOB_RUNNING ? "it runs, and BullMQ cannot stop it" : "its place is not known";
        return false;
    }
    if (!begin_job(batch, (const struct bullmq_system *)system, discard_script, job, why))
        return false;
    redis_batch_word(batch, place + 1, strlen(place + 1));
    add_finished(batch, job);
    return true;
}

static const struct redis_act acts[] = {
    {.act = ACT_RETRY,
     .states = 1u << JOB_FAILED,
     .verb = "retry",
     .past = "queued again",
     .hazard = HAZARD_CHANGE,
     .effect = "It goes to the end of its queue (by its priority, when it has one) and runs again from the "
               "beginning; "
               "attempts that were made still count, its old stack traces are kept",
     .add = add_retry},
    {.act = ACT_RUN_NOW,
     .states = 1u << JOB_SCHEDULED | 1u << JOB_RETRYING,
     .verb = "promote",
     .past = "queued now",
     .hazard = HAZARD_CHANGE,
     .effect = "It goes to the end of its queue now instead of at its time",
     .add = add_promote},
    {.act = ACT_REQUEUE,
     .states = 1u << JOB_RUNNING,
     .verb = "requeue",
     .past = "put back",
     .hazard = HAZARD_CHANGE,
     .effect = "An active job whose lock is over goes to the head of its queue and runs again from the "
               "beginning. What "
               "it did before its worker died is done twice",
     .milder = "wait: any worker of the queue finds stalled jobs itself, every 30 s",
     .add = add_requeue},
    {.act = ACT_DISCARD,
     .states = 1u << JOB_FAILED | 1u << JOB_SCHEDULED | 1u << JOB_RETRYING,
     .verb = "discard",
     .past = "removed",
     .hazard = HAZARD_DESTROY,
     .effect = "It is removed for good, with its data and logs: BullMQ keeps no trash. Jobs of flows and the "
               "next job of "
               "a scheduler are refused",
     .add = add_discard},
};

/* ---- queues ---- */

static struct change *bullmq_other(struct queue_system *base, const struct queue_act_request *request,
                                   struct error *error)
{
    const struct bullmq_system *system = (const struct bullmq_system *)base;
    bool pause = request->act == ACT_PAUSE;
    if (!request->queue || !redis_system_knows(&system->redis, request->queue)) {
        error_set(error, ERROR_USAGE, base->name, queue_act_name(request->act), "Name a queue.", "%s",
                  request->queue ? "there is no queue of that name" : "no queue is named");
        return NULL;
    }
    const char *queue = request->queue;
    struct change *change =
        redis_change_new(base, pause ? "pause" : "resume", pause ? "paused" : "resumed", HAZARD_CHANGE, 1);
    change->title =
        or_die(talloc_asprintf(change, "%s queue %s of BullMQ", pause ? "Pause" : "Resume", queue));
    change->effect =
        pause ? "Workers finish what they run and take nothing more from it, until it is resumed. New jobs "
                "are accepted and wait"
              : "Workers take jobs from it again";
    redis_change_confirm_name(change, queue, "the name of the queue");
    struct redis_batch *batch =
        redis_change_step(change, base, queue, queue, "queue", pause ? "resume" : "pause");
    add_head(batch, system, pause ? pause_script : resume_script, queue);
    redis_change_ready(change);
    return change;
}

const struct redis_acting bullmq_acting = {
    .reading = &bullmq_reading, .acts = acts, .act_count = sizeof acts / sizeof *acts, .other = bullmq_other};

const char *bullmq_act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system;
    switch (act) {
    case ACT_RETRY:
    case ACT_RUN_NOW:
    case ACT_REQUEUE:
    case ACT_DISCARD:
    case ACT_PAUSE:
    case ACT_RESUME:
        return NULL;
    case ACT_TERMINATE:
        return "BullMQ cannot stop a job that runs";
    case ACT_DRAIN:
    case ACT_SHUTDOWN:
    case ACT_POOL:
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
    case ACT_ASK:
        return "BullMQ's workers listen to no commands: pause the queue, or end their process";
    case ACT_REVOKE:
    case ACT_NEUTRALISE:
        return "BullMQ has no expiry of jobs: discard them";
    case ACT_RATE_LIMIT:
        return "a BullMQ queue's rate limit is set by its application";
    case ACT_SCHEDULE_RUN:
        return "the next job of a scheduler is among the scheduled jobs: run it now there";
    case ACT_SCHEDULE_ENABLE:
    case ACT_SCHEDULE_DISABLE:
        return "a BullMQ scheduler is made and removed by its application, it has no switch";
    default:
        return "setting jobs aside is for Celery's lists: BullMQ's queues hold only ids";
    }
}
