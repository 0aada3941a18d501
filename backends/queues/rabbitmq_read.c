/* What rabbitmqctl prints, as snapshots. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/rabbitmq.h"
#include "core/clock.h"
#include "core/units.h"

enum { ITEMS_MOST = 10000, HISTORY_S = 10, DEPTH = 16 };
#define MARK "@signalbox "

/* "@signalbox queues vhost" and the text up to the next one. */
struct section {
    const char *word, *name;
    size_t word_length, name_length;
    const char *body;
    size_t body_length;
};

static const char *find_mark(const char *text, const char *end)
{
    for (const char *at = text; at < end; at++) {
        if ((size_t)(end - at) >= strlen(MARK) && memcmp(at, MARK, strlen(MARK)) == 0)
            return at;
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at)
            break;
    }
    return NULL;
}

static bool next_section(const char **at, const char *end, struct section *section)
{
    const char *mark = find_mark(*at, end);
    if (!mark)
        return false;
    section->word = mark + strlen(MARK);
    const char *line = memchr(mark, '\n', (size_t)(end - mark));
    const char *stop = line ? line : end;
    const char *blank = memchr(section->word, ' ', (size_t)(stop - section->word));
    section->word_length = (size_t)((blank ? blank : stop) - section->word);
    section->name = blank ? blank + 1 : stop;
    section->name_length = (size_t)(stop - section->name);
    section->body = line ? line + 1 : end;
    const char *next = section->body < end ? find_mark(section->body, end) : NULL;
    section->body_length = (size_t)((next ? next : end) - section->body);
    *at = section->body + section->body_length;
    return true;
}

static bool is_word(const struct section *section, const char *word)
{
    return section->word_length == strlen(word) && memcmp(section->word, word, section->word_length) == 0;
}

static struct json_object *parse(const struct section *section)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
    struct json_object *value = NULL;
    if (section->body_length < INT32_MAX)
        value = json_tokener_parse_ex(tokener, section->body, (int)section->body_length);
    json_tokener_free(tokener);
    return value;
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

static int64_t count_of(struct json_object *object, const char *name)
{
    struct json_object *value = member(object, name);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
}

static const char *text_of(const void *context, struct json_object *object, const char *name)
{
    struct json_object *value = member(object, name);
    return json_object_is_type(value, json_type_string)
               ? talloc_strdup(context, json_object_get_string(value))
               : NULL;
}

/* Queues of the usual virtual host go by their name alone. */
static const char *full_name(const void *context, const struct section *section, const char *name)
{
    if (section->name_length == 0 || (section->name_length == 1 && *section->name == '/'))
        return name;
    return talloc_asprintf(context, "%.*s/%s", (int)section->name_length, section->name, name);
}

static bool garbled(const char *where, const struct section *section, struct error *error)
{
    return error_set(error, ERROR_UNSUPPORTED, where, "cannot read what rabbitmqctl printed", NULL,
                     "%.*s: not the JSON that is expected", (int)section->word_length, section->word);
}

/* ---- queues ---- */

static const struct queue *find_before(const struct queues_snapshot *before, const char *name, size_t guess)
{
    if (before && guess < before->count && strcmp(before->queues[guess].name, name) == 0)
        return &before->queues[guess];
    for (size_t i = 0; before && i < before->count; i++)
        if (strcmp(before->queues[i].name, name) == 0)
            return &before->queues[i];
    return NULL;
}

/* Only by how much it changed is known, not how many came and went. */
static void compare(struct queue *queue, const struct queues_snapshot *snapshot, const struct queue *old,
                    const struct queues_snapshot *before)
{
    int64_t shift = 0;
    if (before)
        shift = (int64_t)floor(snapshot->snapshot.taken_at / HISTORY_S) -
                (int64_t)floor(before->snapshot.taken_at / HISTORY_S);
    for (int64_t i = 0; i < QUEUE_HISTORY; i++)
        queue->history[i] = old && shift >= 0 && i + shift < QUEUE_HISTORY ? old->history[i + shift] : NAN;
    queue->history[QUEUE_HISTORY - 1] = queue->ready < 0 ? NAN : (float)queue->ready;
    queue->drain_s = queue->ready == 0 ? 0 : NAN;
    double seconds = before ? snapshot->snapshot.taken_monotonic - before->snapshot.taken_monotonic : 0;
    if (old && old->ready >= 0 && queue->ready > 0 && seconds > 1 && queue->ready != old->ready)
        queue->drain_s = queue->ready > old->ready
                             ? INFINITY
                             : (double)queue->ready * seconds / (double)(old->ready - queue->ready);
}

static void judge(struct queues_snapshot *snapshot, struct queue *queue, struct json_object *item)
{
    const char *state = json_object_get_string(member(item, "state"));
    if (state && strcmp(state, "running") != 0 && strcmp(state, "idle") != 0) {
        queue->level = QUEUE_CRITICAL;
        queue->why = talloc_asprintf(snapshot, "its state is %s", state);
    } else if (queue->ready > 0 && queue->consumers == 0) {
        queue->level = QUEUE_WARNING;
        queue->why = "nobody consumes from it";
    }
}

static void add_queue(struct queues_snapshot *snapshot, const struct queues_snapshot *before,
                      const struct section *section, struct json_object *item)
{
    const char *name = text_of(snapshot, item, "name");
    if (!name)
        return;
    struct queue *queue = &snapshot->queues[snapshot->count];
    *queue = (struct queue){.kind = "queue",
                            .running = -1,
                            .scheduled = -1,
                            .retrying = -1,
                            .waiting = -1,
                            .failed = -1,
                            .dead = -1,
                            .done = -1,
                            .parked = -1,
                            .paused = -1,
                            .head_age_s = NAN,
                            .in_per_s = NAN,
                            .out_per_s = NAN,
                            .poison = -1,
                            .poison_near = -1,
                            .retry_share = NAN};
    queue->name = queue->id = full_name(snapshot, section, name);
    queue->ready = count_of(item, "messages_ready");
    queue->unacked = count_of(item, "messages_unacknowledged");
    queue->consumers = count_of(item, "consumers");
    queue->bytes = count_of(item, "message_bytes");
    int64_t stamp = count_of(item, "head_message_timestamp"); /* only what the publisher sets */
    if (stamp > 0 && queue->ready > 0) {
        queue->head_age_s = fmax(0, snapshot->snapshot.taken_at - (double)stamp);
        queue->head_age_source = HEAD_AGE_HEADER;
    }
    compare(queue, snapshot, find_before(before, queue->name, snapshot->count), before);
    judge(snapshot, queue, item);
    snapshot->count++;
}

static bool add_queues(struct queues_snapshot *snapshot, const struct queues_snapshot *before,
                       const struct section *section)
{
    struct json_object *list = parse(section);
    if (!json_object_is_type(list, json_type_array)) {
        json_object_put(list);
        return false;
    }
    size_t count = json_object_array_length(list);
    size_t room = ITEMS_MOST - snapshot->count < count ? ITEMS_MOST - snapshot->count : count;
    snapshot->queues = talloc_realloc(snapshot, snapshot->queues, struct queue, snapshot->count + room + 1);
    if (!snapshot->queues)
        abort();
    for (size_t i = 0; i < room; i++)
        add_queue(snapshot, before, section, json_object_array_get_idx(list, i));
    snapshot->left_out += count - room;
    json_object_put(list);
    return true;
}

/* {"alarms":[{"node":"rabbit@mq1","resource":"memory"}]}: publishers are held back then. */
static void read_alarms(struct queues_snapshot *snapshot, const struct section *section)
{
    struct json_object *answer = parse(section), *alarms = member(answer, "alarms");
    size_t count = json_object_is_type(alarms, json_type_array) ? json_object_array_length(alarms) : 0;
    for (size_t i = 0; i < count && i < 5; i++) {
        struct json_object *alarm = json_object_array_get_idx(alarms, i);
        const char *resource = text_of(snapshot, alarm, "resource");
        snapshot->note = talloc_asprintf(snapshot, "%s%salarm: %s: publishers are held back",
                                         snapshot->note ? snapshot->note : "", snapshot->note ? "; " : "",
                                         resource ? resource : json_object_to_json_string(alarm));
    }
    json_object_put(answer);
}

bool rabbitmq_read_queues(struct queues_snapshot *snapshot, const struct queues_snapshot *before,
                          const char *text, size_t length, const char *where, struct error *error)
{
    const char *at = text, *end = text + length;
    struct section section;
    bool any = false;
    while (next_section(&at, end, &section)) {
        if (is_word(&section, "queues")) {
            any = true;
            if (!add_queues(snapshot, before, &section))
                return garbled(where, &section, error);
        } else if (is_word(&section, "alarms")) {
            read_alarms(snapshot, &section);
        } else if (is_word(&section, "more")) {
            snapshot->note =
                talloc_asprintf(snapshot, "%s%smore than 8 virtual hosts: the first are shown",
                                snapshot->note ? snapshot->note : "", snapshot->note ? "; " : "");
        }
    }
    if (any)
        return true;
    return error_set(error, ERROR_MISSING, where, "cannot read queues of RabbitMQ", NULL,
                     "rabbitmqctl named no virtual host");
}

/* ---- consumers ---- */

static void add_consumer(struct workers_snapshot *snapshot, const struct section *section,
                         struct json_object *item)
{
    const char *tag = text_of(snapshot, item, "consumer_tag"), *queue = text_of(snapshot, item, "queue_name");
    struct json_object *active = member(item, "active");
    if (!tag || !queue)
        return;
    snapshot->workers[snapshot->count++] = (struct worker){
        .id = tag,
        .queues = full_name(snapshot, section, queue),
        .slots = count_of(item, "prefetch_count"),
        .active = -1,
        .reserved = -1,
        .scheduled = -1,
        .processed = -1,
        .per_s = NAN,
        .load = NAN,
        .seen_at = snapshot->snapshot.taken_at,
        .state = json_object_is_type(active, json_type_boolean) && !json_object_get_boolean(active)
                     ? WORKER_QUIET
                     : WORKER_OK,
    };
}

bool rabbitmq_read_consumers(struct workers_snapshot *snapshot, const char *text, size_t length,
                             const char *where, struct error *error)
{
    const char *at = text, *end = text + length;
    struct section section;
    while (next_section(&at, end, &section)) {
        if (!is_word(&section, "consumers"))
            continue;
        struct json_object *list = parse(&section);
        if (!json_object_is_type(list, json_type_array)) {
            json_object_put(list);
            return garbled(where, &section, error);
        }
        size_t count = json_object_array_length(list);
        size_t room = ITEMS_MOST - snapshot->count < count ? ITEMS_MOST - snapshot->count : count;
        snapshot->workers =
            talloc_realloc(snapshot, snapshot->workers, struct worker, snapshot->count + room + 1);
        if (!snapshot->workers)
            abort();
        for (size_t i = 0; i < room; i++)
            add_consumer(snapshot, &section, json_object_array_get_idx(list, i));
        json_object_put(list);
    }
    snapshot->note = "consumers as rabbitmqctl lists them; slots are their prefetch count";
    return true;
}
