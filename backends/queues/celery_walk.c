/*
 * Windows of lists, from an end or at random places. A list moves while it is read: workers take from its
 * head and producers push to its tail. A window therefore begins some elements before the place where the
 * last one ended; when the first of them was not seen before, elements in between were passed over, and it
 * steps back. What is seen twice is counted as repeated, once in all.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_read.h"
#include "core/clock.h"

enum { SIZES_AT_ONCE = 400, NUMBER = 24 };

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

/* ---- lengths ---- */

static void sizes_known(struct celery_read *read);

static void on_size(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    struct read_list *list = &read->lists[read->sized + (size_t)index];
    if (read->forsaken)
        return;
    list->size = !error && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    if (!error || read->failed)
        return;
    /* Of many places one that is no list is passed over. */
    read->gap = true;
    if (read->request.queue && list->state == JOB_READY) {
        read->failed = true;
        read->error = *error;
    }
}

static void on_sizes(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (!celery_read_answered(read, error))
        return;
    read->sized =
        read->sized + SIZES_AT_ONCE < read->list_count ? read->sized + SIZES_AT_ONCE : read->list_count;
    if (read->failed || read->stopping)
        celery_read_finish(read);
    else if (read->sized < read->list_count)
        celery_read_later(read, read->request.unpaced ? 0 : redis_server_pace(read->system->redis),
                          celery_walk_sizes);
    else
        sizes_known(read);
}

void celery_walk_sizes(struct celery_read *read)
{
    size_t count = read->list_count - read->sized;
    if (count == 0) {
        sizes_known(read);
        return;
    }
    count = count < SIZES_AT_ONCE ? count : SIZES_AT_ONCE;
    void *context = talloc_new(NULL);
    struct redis_command *commands = there(talloc_array(context, struct redis_command, count));
    const char **words = there(talloc_array(context, const char *, 2 * count));
    for (size_t i = 0; i < count; i++) {
        words[2 * i] = "LLEN";
        words[2 * i + 1] = read->lists[read->sized + i].key;
        commands[i] = (struct redis_command){.count = 2, .words = &words[2 * i]};
    }
    celery_read_ask(read, commands, (int)count, on_size, on_sizes);
    talloc_free(context);
}

/* Windows in random places, one in each of as many equal parts, so that no job is looked at twice. */
static void draw_slots(struct celery_read *read, int64_t total)
{
    int64_t look = read->request.look > 0 ? read->request.look : READ_SAMPLE_LOOK;
    size_t count = (size_t)((look + READ_SAMPLE - 1) / READ_SAMPLE);
    read->slots = there(talloc_array(read, struct read_slot, count));
    for (size_t i = 0; i < count; i++) {
        int64_t begin = total * (int64_t)i / (int64_t)count, end = total * (int64_t)(i + 1) / (int64_t)count;
        double share = clock_jitter(0.5) - 0.5; /* between 0 and 1 */
        int64_t at = begin + (int64_t)(share * (double)(end - begin - READ_SAMPLE));
        at = at < begin ? begin : at;
        size_t list = 0;
        while (list + 1 < read->list_count && at >= read->lists[list].size)
            at -= read->lists[list++].size;
        read->slots[i] = (struct read_slot){list, at};
    }
    read->slot_count = count;
    read->request.look = look;
}

static void sizes_known(struct celery_read *read)
{
    size_t kept = read->list;
    int64_t total = 0;
    for (size_t i = read->list; i < read->list_count; i++) {
        if (read->lists[i].size > 0)
            read->lists[kept++] = read->lists[i];
        total += read->lists[i].size;
    }
    read->list_count = read->sized = kept;
    int64_t look = read->request.look > 0 ? read->request.look : READ_SAMPLE_LOOK;
    if (read->request.from == FROM_ANY) {
        read->skip = 0;
        if (!read->slots && total > look)
            draw_slots(read, total);
    }
    celery_walk_step(read);
}

/* ---- a window ---- */

/* Elements in the order of reading. */
static const redisReply *element(const struct celery_read *read, const redisReply *reply, size_t index)
{
    return reply->element[read->window_tail ? index : reply->elements - 1 - index];
}

/* By what an element is known again: its delivery tag, which kombu writes last; else all of it. */
static uint64_t element_hash(const redisReply *element)
{
    static const char name[] = "\"delivery_tag\": \"";
    size_t back = element->len < 96 ? element->len : 96;
    const char *from = element->str + element->len - back;
    const char *tag = memmem(from, back, name, sizeof name - 1);
    if (!tag)
        return seen_hash(element->str, element->len);
    return seen_hash(tag, (size_t)(element->str + element->len - tag));
}

static void next_list(struct celery_read *read)
{
    read->list++;
    read->at = read->back = 0;
    read->list_begun = false;
}

/* Elements between this window and the one before may not have been seen. */
static bool passed_over(struct celery_read *read, const redisReply *reply)
{
    if (read->window_overlap == 0 || reply->elements == 0 || read->slots ||
        seen_lately_has(read->seen, element_hash(element(read, reply, 0)))) {
        read->back = 0;
        return false;
    }
    if (read->window_at_index == 0) /* all in front of it were taken */
        return false;
    read->back = read->back > 0 ? read->back * 4 : READ_OVERLAP * 4;
    read->at = read->window_at_index > read->back ? read->window_at_index - read->back : 0;
    return true;
}

/* What was seen before stands in front of what was not: lists grow at their ends only. So two equal elements
 * in one window, or in two lists, are two. */
static void take_elements(struct celery_read *read, const redisReply *reply)
{
    int64_t at = read->window_at_index;
    bool known = read->list_begun && !read->slots;
    for (size_t i = 0; i < reply->elements; i++, at++) {
        const redisReply *one = element(read, reply, i);
        if (one->type != REDIS_REPLY_STRING)
            continue;
        uint64_t hash = element_hash(one);
        known = known && seen_lately_has(read->seen, hash);
        if (known) {
            read->progress.repeated += (int)i >= read->window_overlap;
            continue;
        }
        seen_lately_add(read->seen, hash);
        if (read->skip > 0) {
            read->skip--;
            continue;
        }
        int64_t index = read->window_tail ? read->window_length - 1 - at : at;
        celery_take(read, one->str, one->len, (struct read_message){.index = index < 0 ? -1 : index});
    }
    read->list_begun = true;
}

static void on_element(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_read *read = data;
    if (read->forsaken || read->failed)
        return;
    if (error) {
        /* It became something else meanwhile. */
        read->window_over = read->gap = true;
        if (read->request.queue) {
            read->failed = true;
            read->error = *error;
        }
        return;
    }
    if (index == 0) {
        read->window_length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
        return;
    }
    read->window_at = clock_monotonic();
    if (reply->type != REDIS_REPLY_ARRAY || passed_over(read, reply))
        return;
    take_elements(read, reply);
    read->at = read->window_at_index + (int64_t)reply->elements;
    read->lists[read->list].size = read->window_length;
    read->window_over = read->at >= read->window_length || reply->elements == 0;
}

static void window_taken(struct celery_read *read)
{
    if (read->slots)
        read->slot++;
    else if (read->window_over)
        next_list(read);
    celery_walk_step(read);
}

static void on_window(void *data, const struct error *error)
{
    struct celery_read *read = data;
    if (!celery_read_answered(read, error))
        return;
    if (read->failed)
        celery_read_finish(read);
    else
        celery_take_window(read, window_taken);
}

static void ask_window(struct celery_read *read, int64_t at, int count, bool tail)
{
    char first[NUMBER], last[NUMBER];
    const char *key = read->lists[read->list].key;
    read->window_at_index = at;
    read->window_count = count;
    read->window_tail = tail;
    read->window_over = false;
    snprintf(first, sizeof first, "%lld", (long long)(tail ? at : -(at + count)));
    snprintf(last, sizeof last, "%lld", (long long)(tail ? at + count - 1 : -(at + 1)));
    const struct redis_command commands[] = {REDIS_COMMAND("LLEN", key),
                                             REDIS_COMMAND("LRANGE", key, first, last)};
    celery_read_ask(read, commands, 2, on_element, on_window);
}

/* Jobs that are passed over without looking, as far as lists are longer. */
static void skip_some(struct celery_read *read)
{
    int64_t left = read->lists[read->list].size - read->at;
    int64_t step = read->skip < left ? read->skip : left;
    read->at += step;
    read->skip -= step;
}

void celery_walk_step(struct celery_read *read)
{
    if (celery_read_enough(read)) {
        celery_read_finish(read);
        return;
    }
    if (read->slots) {
        if (read->slot == read->slot_count) {
            celery_read_finish(read);
            return;
        }
        const struct read_slot *slot = &read->slots[read->slot];
        read->list = slot->list;
        read->window_overlap = 0;
        ask_window(read, slot->at, READ_SAMPLE, true);
        return;
    }
    while (read->list < read->list_count && read->at == 0 && read->skip > 0) {
        skip_some(read);
        if (read->at < read->lists[read->list].size)
            break;
        next_list(read);
    }
    if (read->list >= read->list_count) {
        celery_read_next_place(read);
        return;
    }
    /* After an offset there is nothing that the first window could have in common. */
    bool first = read->at == 0 || read->progress.scanned == 0;
    read->window_overlap = first ? 0 : (int)(read->at < READ_OVERLAP ? read->at : READ_OVERLAP);
    int count = celery_read_window(read) + read->window_overlap;
    ask_window(read, read->at - read->window_overlap, count < READ_MOST ? count : READ_MOST,
               read->request.from == FROM_TAIL);
}
