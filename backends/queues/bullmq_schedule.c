/* BullMQ's schedulers (`repeat`): what comes back, when next, and whether that is late. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "core/clock.h"

enum { SCHEDULERS_SHOWN = 200 };
#define LATE_S 60.0

static void *or_die(void *chunk)
{
    if (!chunk)
        abort();
    return chunk;
}

struct bullmq_schedule {
    struct redis_part part;
    struct schedule_snapshot *snapshot;
    struct {
        char *queue, *key;
        double next;
    } * entries;
    size_t count;
    double now;
};

static const char *const fields[] = {"name", "pattern", "every", "tz", "data", "ic", "limit"};
enum { FIELD_NAME, FIELD_PATTERN, FIELD_EVERY, FIELD_ZONE, FIELD_DATA, FIELD_RUNS, FIELD_LIMIT };

static const char *keep(const void *context, const struct redis_answer *answer)
{
    return answer->kind == ANSWER_TEXT && answer->length ? payload_utf8(context, answer->text, answer->length)
                                                         : NULL;
}

/* "0 3 * * * Asia/Riyadh", "every 30 s". */
static char *when_of(const void *context, const struct redis_answer *hash)
{
    const char *pattern = redis_answer_text(redis_answer_item(hash, FIELD_PATTERN));
    const char *zone = redis_answer_text(redis_answer_item(hash, FIELD_ZONE));
    double every = redis_answer_real(redis_answer_item(hash, FIELD_EVERY), 0) / 1000;
    if (pattern && *pattern)
        return or_die(talloc_asprintf(context, "%s%s%s", pattern, zone ? " " : "", zone ? zone : ""));
    return every > 0 ? or_die(talloc_asprintf(context, "every %g s", every)) : NULL;
}

static void read_entry(struct bullmq_schedule *asking, size_t index, const struct redis_answer *hash)
{
    struct schedule_snapshot *snapshot = asking->snapshot;
    const struct environment_jobs *settings = asking->part.system->base.at.settings;
    struct schedule_entry *entry = &snapshot->entries[snapshot->count++];
    const struct redis_answer *data = redis_answer_item(hash, FIELD_DATA);
    const char *queue = asking->entries[index].queue, *key = asking->entries[index].key;
    double next = asking->entries[index].next / 1000;
    struct piece arguments =
        data->kind == ANSWER_TEXT ? piece_of(data->text, data->length) : (struct piece){0};
    *entry = (struct schedule_entry){
        .id = or_die(talloc_asprintf(snapshot, "%s:%s", queue, key)),
        .name = or_die(talloc_strdup(snapshot, key)),
        .task = keep(snapshot, redis_answer_item(hash, FIELD_NAME)),
        .when = when_of(snapshot, hash),
        .queue = or_die(talloc_strdup(snapshot, queue)),
        .tenant = payload_tenant(snapshot, arguments, settings),
        .arguments = arguments.kind == PIECE_ABSENT ? NULL : piece_shape(snapshot, arguments),
        .enabled = 1,
        .next_run = next,
        .runs = redis_answer_integer(redis_answer_item(hash, FIELD_RUNS), -1)};
    if (next > 0 && asking->now - next > LATE_S) {
        entry->late_s = asking->now - next;
        entry->why = "its time is over and it did not run: no worker of the queue, or it is paused";
    }
}

static void on_entries(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_schedule *asking = data;
    struct schedule_snapshot *snapshot = asking->snapshot;
    if (!redis_part_came(asking, batch, error))
        return;
    snapshot->entries = or_die(talloc_zero_array(snapshot, struct schedule_entry, asking->count + 1));
    for (size_t i = 0; i < asking->count; i++)
        read_entry(asking, i, redis_batch_answer(batch, i));
    snapshot->scheduler = SCHEDULER_UNKNOWN;
    snapshot->sign = "BullMQ's workers are the scheduler: each run adds the next one";
    redis_part_publish(asking);
}

static void on_sets(void *data, struct redis_batch *batch, const struct error *error)
{
    struct bullmq_schedule *asking = data;
    if (!redis_part_came(asking, batch, error))
        return;
    struct bullmq_system *system = (struct bullmq_system *)asking->part.system;
    struct redis_batch *hashes = redis_part_batch(asking);
    for (size_t i = 0; i < redis_batch_count(batch); i++) {
        const struct redis_answer *members = redis_batch_answer(batch, i);
        /* The key says which queue it is: "<prefix>:<queue>:repeat". */
        const char *key = redis_batch_command(batch, i)->words[1] + strlen(system->prefix) + 1;
        char *queue = or_die(talloc_strndup(asking, key, strlen(key) - 7));
        for (size_t j = 0; j + 1 < members->count; j += 2) {
            const char *member = redis_answer_text(&members->items[j]);
            if (!member)
                continue;
            asking->entries = or_die(
                talloc_realloc_size(asking, asking->entries, (asking->count + 1) * sizeof *asking->entries));
            asking->entries[asking->count].queue = queue;
            asking->entries[asking->count].key = or_die(talloc_strdup(asking, member));
            asking->entries[asking->count++].next = redis_answer_real(&members->items[j + 1], 0);
            redis_batch_add(hashes, "HMGET", NULL);
            redis_batch_format(hashes, "%s:%s:repeat:%s", system->prefix, queue, member);
            for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
                redis_batch_static(hashes, fields[f]);
        }
    }
    redis_part_ask(asking, hashes, on_entries);
}

void bullmq_ask_schedule(struct bullmq_system *system)
{
    struct schedule_snapshot *snapshot = SNAPSHOT_NEW(struct schedule_snapshot);
    struct bullmq_schedule *asking =
        redis_part_begin(&system->redis, PART_SCHEDULE, sizeof *asking, snapshot);
    asking->snapshot = snapshot;
    asking->now = clock_wall();
    struct redis_batch *batch = redis_part_batch(asking);
    for (size_t i = 0; i < system->redis.queue_count; i++) {
        redis_batch_add(batch, "ZRANGE", NULL);
        bullmq_add_key(batch, system, system->redis.queues[i], "repeat");
        redis_batch_static(batch, "0");
        redis_batch_format(batch, "%d", SCHEDULERS_SHOWN - 1);
        redis_batch_static(batch, "WITHSCORES");
    }
    if (system->redis.queue_count)
        redis_part_ask(asking, batch, on_sets);
    else
        redis_part_publish(asking);
}
