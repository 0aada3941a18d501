/* Jobs of RQ, Sidekiq, BullMQ and streams as anybody could have written them: the first byte says which. What
 * is pushed back must be the same bytes but for the two numbers that are spliced. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/bullmq.h"
#include "backends/queues/rq.h"
#include "backends/queues/sidekiq.h"
#include "backends/queues/streams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fields divided by byte 0x1e; an empty one is absent. */
static const struct redis_answer *fields_of(void *context, const char *text, size_t length, size_t room)
{
    struct redis_answer *items = talloc_zero_array(context, struct redis_answer, room);
    struct redis_answer *all = talloc_zero(context, struct redis_answer);
    const char *end = text + length;
    size_t count = 0;
    while (count < room && text <= end) {
        const char *stop = memchr(text, 0x1e, (size_t)(end - text));
        stop = stop ? stop : end;
        if (stop > text)
            items[count] = (struct redis_answer){.kind = ANSWER_TEXT,
                                                 .text = talloc_strndup(context, text, (size_t)(stop - text)),
                                                 .length = strnlen(text, (size_t)(stop - text))};
        count++;
        text = stop + 1;
    }
    *all = (struct redis_answer){.kind = ANSWER_ARRAY, .items = items, .count = room};
    return all;
}

static void fill(const struct redis_reading *reading, enum job_state state, int kind, void *context,
                 const char *text, size_t length, size_t room)
{
    struct redis_shelf shelf = {.key = "key", .queue = "queue", .state = state, .group = "g", .count = -1};
    struct redis_item item = {.shelf = &shelf, .bytes = "1-1", .length = 3, .index = -1};
    const char *body = NULL;
    size_t body_length = 0;
    struct job job;
    shelf.kind = kind;
    item.detail = fields_of(context, text, length, room);
    item.more = item.detail;
    item.consumer = "c";
    redis_job_clear(&job);
    job.queue = shelf.queue;
    job.state = state;
    if (!reading->fill(NULL, context, &item, &job, &body, &body_length))
        return;
    if (!job.id || (body_length && !body))
        abort();
    talloc_free(job_copy(context, &job));
}

static void check_again(void *context, const char *text, size_t length)
{
    size_t result;
    char *again = sidekiq_again(context, text, length, 1795262321.5, &result);
    struct piece object = piece_of(text, length), name, value;
    if (!again) {
        if (object.kind == PIECE_OBJECT)
            abort();
        return;
    }
    struct piece fresh = piece_of(again, result);
    if (fresh.kind != PIECE_OBJECT || piece_real(piece_member(fresh, "enqueued_at"), 0) <= 0)
        abort();
    const char *at = NULL, *other = NULL;
    struct piece other_name, other_value;
    while (piece_next(object, &at, &name, &value)) {
        if (!piece_next(fresh, &other, &other_name, &other_value) || other_name.length != name.length ||
            memcmp(other_name.at, name.at, name.length) != 0)
            abort();
        bool spliced = piece_is(name, "enqueued_at") || piece_is(name, "retry_count");
        if (!spliced &&
            (other_value.length != value.length || memcmp(other_value.at, value.at, value.length) != 0))
            abort();
    }
}

static void look_at_text(void *context, const char *text, size_t length)
{
    char *one, *two, *three;
    size_t result;
    char *copy = talloc_strndup(context, text, length);
    payload_inflate(context, text, length, 100000, &result, NULL);
    payload_base64(context, text, length, &result);
    payload_utf8(context, text, length);
    if (python_call(context, copy, &one, &two) && (!*one || two[0] != '('))
        abort();
    python_argument(context, copy, 1);
    python_keyword(context, copy, "tenant");
    pickle_name(context, text, length);
    pickle_string(context, text, length, "_schema_name");
    python_traceback(context, copy, &one, &two, &three);
    node_stack(context, copy, &one, &two);
    rq_time(copy);
    rq_error_text(context, text, length, true);
    rq_error_text(context, text, length, false);
    rq_member_job(context, copy, true);
    bullmq_meta_queue(context, "bull", copy);
    struct bullmq_client *clients = bullmq_clients(context, "bull", copy, &result);
    for (size_t i = 0; i < result; i++)
        if (!clients[i].queue)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    void *context = talloc_new(NULL);
    /* a copy of its own: reading beyond the end is found, and a NUL is promised behind it */
    char *text = talloc_size(context, size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    struct job job;
    switch (data[0] % 6) {
    case 0:
        fill(&rq_reading, JOB_FAILED, SHELF_SORTED, context, text, size - 1, 16);
        break;
    case 1:
        redis_job_clear(&job);
        sidekiq_fill_json(context, text, size - 1, &job, NULL);
        check_again(context, text, size - 1);
        break;
    case 2:
        fill(&bullmq_reading, JOB_SCHEDULED, SHELF_SORTED, context, text, size - 1, 15);
        break;
    case 3:
        fill(&streams_reading, JOB_UNACKED, SHELF_PENDING, context, text, size - 1, 8);
        break;
    case 4:
        look_at_text(context, text, size - 1);
        break;
    default: {
        struct piece piece = piece_of(text, size - 1);
        talloc_free(piece_shape(context, piece));
        talloc_free(piece_text(context, piece));
        talloc_free(payload_tenant(context, piece, NULL));
    }
    }
    talloc_free(context);
    return 0;
}
