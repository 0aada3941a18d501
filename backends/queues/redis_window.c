/* Windows of lists, sorted sets and streams: what is asked, how the answer is read, where samples lie. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "backends/queues/redis_read_internal.h"

/* FNV-1a, then mixed: the ids of neighbours differ in one digit. */
static uint64_t hash_of(const char *bytes, size_t length)
{
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 1099511628211ull;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9ull;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

bool seen_before(struct seen *seen, const char *bytes, size_t length)
{
    uint64_t hash = hash_of(bytes, length);
    size_t set = hash % SEEN_SETS;
    for (int way = 0; way < SEEN_WAYS; way++)
        if (seen->hashes[set][way] == hash)
            return true;
    seen->hashes[set][seen->turn[set]] = hash;
    seen->turn[set] = (unsigned char)((seen->turn[set] + 1) % SEEN_WAYS);
    return false;
}

/* ---- asking ---- */

static void ask_range(const struct window *window, struct redis_batch *batch)
{
    const struct redis_shelf *shelf = window->shelf;
    int64_t first = window->at, last = window->at + window->count - 1;
    if (shelf->kind == SHELF_SORTED) {
        redis_batch_add(batch, window->from_tail ? "ZREVRANGE" : "ZRANGE", shelf->key, NULL);
        redis_batch_format(batch, "%lld", (long long)first);
        redis_batch_format(batch, "%lld", (long long)last);
        redis_batch_static(batch, "WITHSCORES");
        return;
    }
    redis_batch_add(batch, "LRANGE", shelf->key, NULL);
    bool from_last = shelf->head_last != window->from_tail;
    redis_batch_format(batch, "%lld", (long long)(from_last ? -1 - last : first));
    redis_batch_format(batch, "%lld", (long long)(from_last ? -1 - first : last));
}

static void ask_stream(const struct window *window, struct redis_batch *batch)
{
    const struct redis_shelf *shelf = window->shelf;
    bool backwards = window->from_tail && shelf->kind == SHELF_STREAM;
    const char *begin = window->start;
    const char *open = begin && !window->inclusive ? "(" : "";
    if (shelf->kind == SHELF_PENDING) {
        redis_batch_add(batch, "XPENDING", shelf->key, shelf->group, NULL);
        redis_batch_format(batch, "%s%s", open, begin ? begin : "-");
        redis_batch_static(batch, "+");
        redis_batch_format(batch, "%d", window->count);
        return;
    }
    redis_batch_add(batch, backwards ? "XREVRANGE" : "XRANGE", shelf->key, NULL);
    if (backwards) {
        redis_batch_format(batch, "%s%s", open, begin ? begin : "+");
        redis_batch_format(batch, "%s%s", shelf->after ? "(" : "", shelf->after ? shelf->after : "-");
    } else {
        if (!begin && shelf->after) {
            begin = shelf->after;
            open = "(";
        }
        redis_batch_format(batch, "%s%s", open, begin ? begin : "-");
        redis_batch_static(batch, "+");
    }
    redis_batch_static(batch, "COUNT");
    redis_batch_format(batch, "%d", window->count);
}

void window_ask(const struct window *window, struct redis_batch *batch)
{
    if (window->shelf->kind == SHELF_LIST || window->shelf->kind == SHELF_SORTED)
        ask_range(window, batch);
    else
        ask_stream(window, batch);
}

/* ---- reading the answer ---- */

static bool read_item(struct redis_item *item, const struct window *window, const struct redis_answer *answer,
                      size_t place)
{
    const struct redis_answer *name = redis_answer_item(answer, place);
    switch (window->shelf->kind) {
    case SHELF_LIST:
        break;
    case SHELF_SORTED:
        item->score = redis_answer_real(redis_answer_item(answer, place + 1), 0);
        break;
    case SHELF_STREAM: {
        const struct redis_answer *fields = redis_answer_item(name, 1);
        item->detail = fields->kind == ANSWER_ARRAY ? fields : NULL;
        name = redis_answer_item(name, 0);
        break;
    }
    case SHELF_PENDING:
        item->consumer = redis_answer_text(redis_answer_item(name, 1));
        item->idle_ms = redis_answer_integer(redis_answer_item(name, 2), 0);
        item->deliveries = redis_answer_integer(redis_answer_item(name, 3), 0);
        name = redis_answer_item(name, 0);
        break;
    }
    item->bytes = redis_answer_text(name);
    item->length = name->length;
    return item->bytes != NULL;
}

struct redis_item *window_items(const void *context, const struct window *window,
                                const struct redis_answer *answer, size_t *count)
{
    const struct redis_shelf *shelf = window->shelf;
    size_t stride = shelf->kind == SHELF_SORTED ? 2 : 1;
    size_t elements = answer->kind == ANSWER_ARRAY ? answer->count / stride : 0;
    struct redis_item *items = talloc_zero_array(context, struct redis_item, elements + 1);
    if (!items)
        abort();
    bool reversed = shelf->kind == SHELF_LIST && shelf->head_last != window->from_tail;
    *count = 0;
    for (size_t i = 0; i < elements; i++) {
        struct redis_item *item = &items[*count];
        size_t place = reversed ? elements - 1 - i : i;
        *item = (struct redis_item){.shelf = shelf, .index = -1};
        if (!read_item(item, window, answer, place * stride))
            continue;
        if (!window->from_tail && (shelf->kind == SHELF_LIST || shelf->kind == SHELF_SORTED))
            item->index = window->at + (int64_t)i;
        (*count)++;
    }
    return items;
}

/* ---- samples ---- */

static uint64_t draw(uint64_t limit)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
        number = ((uint64_t)random() << 31) ^ (uint64_t)random();
    return limit ? number % limit : 0;
}

static bool is_drawn(const uint64_t *numbers, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

/* The slot with that number, when all shelves stand one behind the other. */
static struct slot find_slot(const struct redis_shelf *shelves, const int64_t *sizes, size_t shelf_count,
                             int64_t number)
{
    for (size_t i = 0; i < shelf_count; i++) {
        int64_t slots = (sizes[i] + WINDOW_SAMPLE - 1) / WINDOW_SAMPLE;
        if (number < slots)
            return (struct slot){.shelf = i,
                                 .at = shelves[i].kind == SHELF_PENDING ? 0 : number * WINDOW_SAMPLE,
                                 .share = (double)number / (double)slots};
        number -= slots;
    }
    return (struct slot){0};
}

struct slot *slots_draw(const void *context, const struct redis_shelf *shelves, const int64_t *sizes,
                        size_t shelf_count, int64_t total, int64_t look, size_t *count)
{
    uint64_t all = 0;
    for (size_t i = 0; i < shelf_count; i++)
        all += sizes[i] > 0 ? (uint64_t)((sizes[i] + WINDOW_SAMPLE - 1) / WINDOW_SAMPLE) : 0;
    size_t wanted = (size_t)((look + WINDOW_SAMPLE - 1) / WINDOW_SAMPLE);
    wanted = wanted > 2000 ? 2000 : wanted;
    (void)total;
    if (wanted > all)
        wanted = (size_t)all;
    uint64_t *numbers = talloc_zero_array(context, uint64_t, wanted + 1);
    struct slot *slots = talloc_zero_array(context, struct slot, wanted + 1);
    if (!numbers || !slots)
        abort();
    /* Floyd's way of drawing without putting back */
    for (size_t i = 0; i < wanted; i++) {
        uint64_t number = draw(all - wanted + i + 1);
        numbers[i] = is_drawn(numbers, i, number) ? all - wanted + i : number;
        slots[i] = find_slot(shelves, sizes, shelf_count, (int64_t)numbers[i]);
    }
    talloc_free(numbers);
    *count = wanted;
    return slots;
}

char *slot_stream_id(const void *context, const struct redis_shelf *shelf, double share)
{
    long long first = shelf->after ? strtoll(shelf->after, NULL, 10) : 0;
    long long last = shelf->last ? strtoll(shelf->last, NULL, 10) : first;
    char *id = talloc_asprintf(context, "%lld-0", first + (long long)(share * (double)(last - first)) + 1);
    if (!id)
        abort();
    return id;
}
