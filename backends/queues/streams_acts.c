/* Acts on streams: entries that consumers hold are claimed, added once more, or moved to a dead stream; each
 * script compares who holds it and how often it was delivered. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/streams.h"

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

/* KEYS stream [dead]; ARGV group id consumer deliveries. */
#define HELD                                                                                                 \
    "local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)\n"                              \
    "if not p[1] or p[1][2] ~= ARGV[3] or tostring(p[1][4]) ~= ARGV[4] then return 'gone' end\n"

/* ARGV[5] the consumer that gets it; empty: the one that asked for entries last, within a minute */
static const char claim_script[] =
    HELD "local to, least = nil, 60000\n"
         "for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do\n"
         " if ARGV[5] == '' then\n"
         "  if c[2] ~= ARGV[3] and c[6] < least then to, least = c[2], c[6] end\n"
         " elseif c[2] == ARGV[5] then to = c[2] end end\n"
         "if not to and ARGV[5] == '' then\n"
         " return 'refused: no other consumer of the group asked for entries within a minute' end\n"
         "if not to then return 'refused: the group has no consumer of that name' end\n"
         "if not redis.call('XCLAIM', KEYS[1], ARGV[1], to, 0, ARGV[2], 'JUSTID')[1] then\n"
         " return 'refused: the entry was deleted from the stream' end\n"
         "return 'done'";

static const char again_script[] = HELD
    "if #redis.call('XINFO', 'GROUPS', KEYS[1]) > 1 then\n"
    " return 'refused: other groups read this stream and would see it twice: claim it for a consumer' end\n"
    "local e = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])\n"
    "if not e[1] then return 'refused: the entry was deleted from the stream' end\n"
    "redis.call('XADD', KEYS[1], '*', unpack(e[1][2]))\n"
    "redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])\n"
    "return 'done'";

static const char bury_script[] =
    HELD "local e = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])\n"
         "if e[1] then local f = e[1][2]\n"
         " for _, v in ipairs({'signalbox-group', ARGV[1], 'signalbox-id', ARGV[2],\n"
         "  'signalbox-consumer', ARGV[3], 'signalbox-deliveries', ARGV[4]}) do f[#f + 1] = v end\n"
         " redis.call('XADD', KEYS[2], '*', unpack(f)) end\n"
         "redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])\n"
         "return 'done'";

/* KEYS dead stream; ARGV id: back as a new entry, without what bury added */
static const char dig_script[] =
    "local e = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])\n"
    "if not e[1] then return 'gone' end\n"
    "if redis.call('EXISTS', KEYS[2]) == 1 and #redis.call('XINFO', 'GROUPS', KEYS[2]) > 1 then\n"
    " return 'refused: other groups read this stream and would see it twice' end\n"
    "local f, n = {}, e[1][2]\n"
    "for i = 1, #n, 2 do if string.sub(n[i], 1, 10) ~= 'signalbox-' then\n"
    " f[#f + 1] = n[i]; f[#f + 1] = n[i + 1] end end\n"
    "if #f == 0 then return 'refused: it has no fields' end\n"
    "redis.call('XADD', KEYS[2], '*', unpack(f))\n"
    "redis.call('XDEL', KEYS[1], ARGV[1])\n"
    "return 'done'";

static const char remove_script[] = "if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 'gone' end\n"
                                    "return 'done'";

/* KEYS stream; ARGV group consumer. What a consumer holds would be forgotten with it. */
static const char consumer_script[] =
    "for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do\n"
    " if c[2] == ARGV[2] then\n"
    "  if c[4] > 0 then return 'refused: it holds ' .. c[4] .. ' entries, which would be forgotten: claim "
    "them first' end\n"
    "  if c[6] < 60000 then return 'refused: it asked for entries within the last minute: it is alive' end\n"
    "  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])\n"
    "  return 'done' end end\n"
    "return 'gone'";

/* ---- acts on jobs ---- */

static void add_held(struct redis_batch *batch, const struct stream_group *group, const struct job *job)
{
    redis_batch_word(batch, group->group, strlen(group->group));
    redis_batch_word(batch, job->id, strlen(job->id));
    redis_batch_word(batch, job->worker, strlen(job->worker));
    redis_batch_format(batch, "%d", job->retries + 1);
}

static const struct stream_group *group_of(struct queue_system *system, const struct job *job,
                                           const char **why)
{
    const struct stream_group *group = streams_find((const struct streams_system *)system, job->queue);
    if (!group || !job->id || (job->state == JOB_UNACKED && !job->worker)) {
        *why = "its group is not known";
        return NULL;
    }
    return group;
}

/* Meant by a filter, and given out for the first time: a consumer may be at it right now. */
static bool is_at_work(const struct queue_act_request *request, const struct job *job, const char **why)
{
    bool first = job->state == JOB_UNACKED && !(job->flags & JOB_REDELIVERED) && !request->job_count;
    *why = first ? "a consumer may be at it, for the first time: select it when it is meant" : *why;
    return first;
}

static bool add_claim(struct queue_system *system, const struct queue_act_request *request,
                      const struct job *job, struct redis_batch *batch, const char **why)
{
    const struct stream_group *group = group_of(system, job, why);
    if (!group)
        return false;
    const char *consumer = request->argument ? request->argument : "";
    if (strcmp(consumer, job->worker) == 0) {
        *why = "that consumer holds it already";
        return false;
    }
    redis_act_eval(batch, claim_script, 1);
    redis_batch_word(batch, group->stream, strlen(group->stream));
    add_held(batch, group, job);
    redis_batch_word(batch, consumer, strlen(consumer));
    return true;
}

static bool add_again(struct queue_system *system, const struct queue_act_request *request,
                      const struct job *job, struct redis_batch *batch, const char **why)
{
    const struct stream_group *group = group_of(system, job, why);
    if (!group || is_at_work(request, job, why))
        return false;
    if (job->state == JOB_DEAD) {
        redis_act_eval(batch, dig_script, 2);
        redis_batch_word(batch, job->key, job->key_length);
        redis_batch_word(batch, group->stream, strlen(group->stream));
        redis_batch_word(batch, job->id, strlen(job->id));
        return true;
    }
    redis_act_eval(batch, again_script, 1);
    redis_batch_word(batch, group->stream, strlen(group->stream));
    add_held(batch, group, job);
    return true;
}

static bool add_discard(struct queue_system *system, const struct queue_act_request *request,
                        const struct job *job, struct redis_batch *batch, const char **why)
{
    const struct stream_group *group = group_of(system, job, why);
    if (!group || is_at_work(request, job, why))
        return false;
    if (job->state == JOB_DEAD) {
        redis_act_eval(batch, remove_script, 1);
        redis_batch_word(batch, job->key, job->key_length);
        redis_batch_word(batch, job->id, strlen(job->id));
        return true;
    }
    if (job->state != JOB_UNACKED) {
        *why = "it was not delivered: deleting it would take it from all groups of the stream";
        return false;
    }
    redis_act_eval(batch, bury_script, 2);
    redis_batch_word(batch, group->stream, strlen(group->stream));
    redis_batch_format(batch, "%s:dead", group->stream);
    add_held(batch, group, job);
    return true;
}

static const struct redis_act acts[] = {
    {.act = ACT_REQUEUE,
     .states = 1u << JOB_UNACKED,
     .verb = "claim",
     .past = "claimed",
     .hazard = HAZARD_CHANGE,
     .effect =
         "Another consumer holds it from now on. That one sees it when it next reads what it holds itself, "
         "which "
         "many do only when they start; the consumer that had it may still be at it. The count of deliveries "
         "stays",
     .add = add_claim},
    {.act = ACT_RETRY,
     .states = 1u << JOB_UNACKED | 1u << JOB_DEAD,
     .verb = "add again",
     .past = "added again",
     .hazard = HAZARD_CHANGE,
     .effect =
         "A copy goes to the end of the stream under a new id, for any consumer of the group, and the old "
         "one is "
         "acknowledged (or removed from the dead ones). A consumer that still works on it does it twice",
     .add = add_again},
    {.act = ACT_DISCARD,
     .states = 1u << JOB_UNACKED | 1u << JOB_DEAD,
     .verb = "discard",
     .past = "moved to the dead stream",
     .hazard = HAZARD_DESTROY,
     .effect = "It is copied to the stream with :dead behind its name and then acknowledged, so that no "
               "consumer gets it "
               "any more. Dead ones are removed for good",
     .undo = "retry it from the dead ones",
     .add = add_discard},
};

/* ---- consumers ---- */

static struct change *streams_other(struct queue_system *base, const struct queue_act_request *request,
                                    struct error *error)
{
    const struct streams_system *system = (const struct streams_system *)base;
    if (request->worker_count != 1) {
        error_set(error, ERROR_USAGE, base->name, "remove consumer", "Name one consumer.",
                  "%zu consumers are named", request->worker_count);
        return NULL;
    }
    const char *worker = request->workers[0];
    char *consumer = NULL;
    void *scratch = or_die(talloc_new(NULL));
    const struct stream_group *group = streams_find_worker(scratch, system, worker, &consumer);
    if (!group) {
        error_set(error, ERROR_GONE, base->name, "remove consumer", NULL, "there is no consumer %s", worker);
        talloc_free(scratch);
        return NULL;
    }
    struct change *change = redis_change_new(base, "remove", "removed", HAZARD_DESTROY, 1);
    change->title = or_die(talloc_asprintf(change, "Remove consumer %s from group %s of %s", consumer,
                                           group->group, group->stream));
    change->effect = "Only its name is removed: refused while it holds entries (they would be forgotten) or "
                     "asked for some "
                     "within the last minute. A consumer that comes back is made anew";
    redis_change_confirm_name(change, consumer, "the name of the consumer");
    struct redis_batch *batch = redis_change_step(change, base, worker, worker, "consumer", NULL);
    redis_act_eval(batch, consumer_script, 1);
    redis_batch_word(batch, group->stream, strlen(group->stream));
    redis_batch_word(batch, group->group, strlen(group->group));
    redis_batch_word(batch, consumer, strlen(consumer));
    redis_change_ready(change);
    talloc_free(scratch);
    return change;
}

const struct redis_acting streams_acting = {.reading = &streams_reading,
                                            .acts = acts,
                                            .act_count = sizeof acts / sizeof *acts,
                                            .other = streams_other};

const char *streams_act_absent(const struct queue_system *system, enum queue_act act)
{
    (void)system;
    switch (act) {
    case ACT_REQUEUE:
    case ACT_RETRY:
    case ACT_DISCARD:
    case ACT_SHUTDOWN:
        return NULL;
    case ACT_PAUSE:
    case ACT_RESUME:
        return "a consumer group has no pause: its consumers ask for entries themselves";
    case ACT_TERMINATE:
    case ACT_DRAIN:
    case ACT_POOL:
    case ACT_CONSUME:
    case ACT_CONSUME_NOT:
    case ACT_ASK:
    case ACT_RATE_LIMIT:
        return "Redis knows a consumer's name only: nothing can be said to it";
    case ACT_RUN_NOW:
    case ACT_SCHEDULE_RUN:
    case ACT_SCHEDULE_ENABLE:
    case ACT_SCHEDULE_DISABLE:
        return "streams have no schedule";
    case ACT_REVOKE:
    case ACT_NEUTRALISE:
        return "an entry that was not delivered belongs to all groups of its stream";
    default:
        return "setting jobs aside is for Celery's lists";
    }
}
