/* Acts on Sidekiq: jobs go by their exact bytes, processes are told by their list of signals. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/sidekiq.h"
#include "core/clock.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* KEYS set queues queue; ARGV old-bytes queue-name new-bytes */
static const char push_script[] = "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'gone' end\n"
                                  "redis.call('SADD', KEYS[2], ARGV[2])\n"
                                  "redis.call('LPUSH', KEYS[3], ARGV[3])\n"
                                  "return 'done'";

/* KEYS set; ARGV bytes */
static const char remove_script[] = "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'gone' end\n"
                                    "return 'done'";

/* KEYS queue; ARGV bytes. LREM looks at the whole list when the job is not there any more. */
static const char remove_ready_script[] =
    "if redis.call('LLEN', KEYS[1]) > 20000 then\n"
    " return 'refused: the queue is too long to take one job out without stopping the server' end\n"
    "if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 'gone' end\n"
    "return 'done'";

/* KEYS process signals processes; ARGV signal identity. A process that ended leaves its hash behind for 60 s.
 */
static const char signal_script[] =
    "if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('SISMEMBER', KEYS[3], ARGV[2]) == 0 then\n"
    " return 'gone' end\n"
    "redis.call('LPUSH', KEYS[2], ARGV[1])\n"
    "redis.call('EXPIRE', KEYS[2], 60)\n"
    "return 'done'";

static void add_key(struct redis_batch *batch, const struct sidekiq_system *system, const char *kind,
                    const char *name)
{
    redis_batch_format(batch, "%s%s%s", system->prefix, kind, name);
}

static bool add_push(struct queue_system *base, const struct queue_act_request *request,
                     const struct job *job, struct redis_batch *batch, const char **why)
{
    const struct sidekiq_system *system = (const struct sidekiq_system *)base;
    size_t length = 0;
    (void)request;
    char *again = job->raw && !job->poison
                      ? sidekiq_again(NULL, job->raw, job->raw_length, clock_wall(), &length)
                      : NULL;
    if (!again || !job->queue || !*job->queue) {
        *why = "it is no job that Sidekiq can read";
        talloc_free(again);
        return false;
    }
    redis_act_eval(batch, push_script, 3);
    redis_batch_word(batch, job->key, job->key_length);
    add_key(batch, system, "queues", "");
    add_key(batch, system, "queue:", job->queue);
    redis_batch_word(batch, job->raw, job->raw_length);
    redis_batch_word(batch, job->queue, strlen(job->queue));
    redis_batch_word(batch, again, length);
    talloc_free(again);
    return true;
}

static bool add_discard(struct queue_system *base, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    (void)base, (void)request;
    if (!job->raw || !job->key) {
        *why = "its bytes are not known";
        return false;
    }
    redis_act_eval(batch, job->state == JOB_READY ? remove_ready_script : remove_script, 1);
    redis_batch_word(batch, job->key, job->key_length);
    redis_batch_word(batch, job->raw, job->raw_length);
    return true;
}

static const struct redis_act acts[] = {
    {.act = ACT_RETRY,
     .states = 1u << JOB_RETRYING | 1u << JOB_DEAD,
     .verb = "retry",
     .past = "queued again",
     .hazard = HAZARD_CHANGE,
     .effect =
         "It goes to the end of its queue and runs again from the beginning. As Sidekiq does it, the failed "
         "attempt is not counted against its retries",
     .add = add_push},
    {.act = ACT_RUN_NOW,
     .states = 1u << JOB_SCHEDULED | 1u << JOB_RETRYING,
     .verb = "run now",
     .past = "queued now",
     .hazard = HAZARD_CHANGE,
     .effect = "It goes to the end of its queue now instead of at its time",
     .add = add_push},
    {.act = ACT_DISCARD,
     .states = 1u << JOB_RETRYING | 1u << JOB_DEAD | 1u << JOB_SCHEDULED,
     .verb = "discard",
     .past = "removed",
     .hazard = HAZARD_DESTROY,
     .effect = "It is removed for good, with its arguments: Sidekiq keeps no trash",
     .add = add_discard},
};

static struct change *sidekiq_other(struct queue_system *base, const struct queue_act_request *request,
                                    struct error *error)
{
    const struct sidekiq_system *system = (const struct sidekiq_system *)base;
    bool stop = request->act == ACT_SHUTDOWN;
    if (!request->worker_count) {
        error_set(error, ERROR_USAGE, base->name, queue_act_name(request->act), "Name the processes.",
                  "no process is named");
        return NULL;
    }
    struct change *change =
        redis_change_new(base, stop ? "stop" : "quiet", stop ? "told to stop" : "told to be quiet",
                         stop ? HAZARD_DESTROY : HAZARD_CHANGE, request->worker_count);
    change->effect =
        stop ? "Within 5 s it takes no new jobs; what runs has 25 s to end, then it is put back into its "
               "queue and runs again elsewhere. Whether the process comes back is for what started it"
             : "Within 5 s it takes no new jobs and finishes what it has. Only a restart makes it take "
               "jobs again";
    change->milder = stop ? "drain it first: it then ends without a job being cut off" : NULL;
    for (size_t i = 0; i < request->worker_count; i++) {
        const char *identity = request->workers[i];
        struct redis_batch *batch = redis_change_step(change, base, identity, identity, "process", NULL);
        redis_act_eval(batch, signal_script, 3);
        add_key(batch, system, "", identity);
        redis_batch_format(batch, "%s%s-signals", system->prefix, identity);
        add_key(batch, system, "processes", "");
        redis_batch_static(batch, stop ? "TERM" : "TSTP");
        redis_batch_word(batch, identity, strlen(identity));
    }
    const char *verb = stop ? "Stop" : "Drain";
    if (request->worker_count == 1) {
        change->title = or_die(talloc_asprintf(change, "%s process %s", verb, request->workers[0]));
        redis_change_confirm_name(change, request->workers[0], "the name of the process");
    } else {
        change->title = or_die(talloc_asprintf(change, "%s %zu processes", verb, request->worker_count));
        change->reach = REACH_MANY;
        change->confirm = or_die(talloc_asprintf(change, "%zu", request->worker_count));
        change->confirm_prompt = "the number of processes";
    }
    redis_change_ready(change);
    return change;
}

const struct redis_acting sidekiq_acting = {.reading = &sidekiq_reading,
                                            .acts = acts,
                                            .act_count = sizeof acts / sizeof *acts,
                                            .other = sidekiq_other};

const char *sidekiq_act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system;
    switch (act) {
    case ACT_RETRY:
    case ACT_RUN_NOW:
    case ACT_DISCARD:
    case ACT_DRAIN:
    case ACT_SHUTDOWN:
        return NULL;
    case ACT_PAUSE:
    case ACT_RESUME:
        return "pausing a queue is Sidekiq Pro's: drain its processes instead";
    case ACT_REQUEUE:
        return "open source Sidekiq takes jobs without an acknowledgement: what a killed process ran is lost";
    case ACT_TERMINATE:
        return "Sidekiq cannot end one job: stop its process, which puts the job back after 25 s";
    case ACT_REVOKE:
    case ACT_NEUTRALISE:
        return "Sidekiq has no expiry of jobs: discard them";
    case ACT_RATE_LIMIT:
    case ACT_POOL:
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
        return "a Sidekiq process' queues and threads are set when it is started";
    case ACT_ASK:
        return "Sidekiq's processes answer no questions: what they run stands in Redis";
    case ACT_SCHEDULE_RUN:
    case ACT_SCHEDULE_ENABLE:
    case ACT_SCHEDULE_DISABLE:
        return "open source Sidekiq has no schedule";
    default:
        return "setting jobs aside is for Celery's lists";
    }
}
