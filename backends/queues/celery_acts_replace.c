/*
 * Expiring jobs where they lie: each message is compared with what was frozen and replaced in place, so that
 * nothing moves. Getting at an index costs the server more the further it is from an end, so a call replaces
 * as many as it can in about two milliseconds. Some jobs with a known place are looked for near it; for many,
 * the list is read once, window by window.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_internal.h"
#include "core/clock.h"

enum { HINTS = 64, MOST = 64, PASSES = 3, SPAN = 8 };
#define GOOD_S 0.0015
#define BAD_S 0.003

struct found {
    int64_t index;
    char digits[41];
    char *message;
    size_t length;
};

struct replacing {
    struct found *found; /* of this window, not yet replaced */
    size_t found_count, sent;
    int64_t shift;
    int64_t at;    /* where the window begins */
    int64_t asked; /* elements of it */
    size_t hint;   /* job whose place is looked at; beyond the last: the whole list is read */
    int pass;
    size_t missed; /* in this pass: they moved between reading and replacing */
    size_t most;   /* replaced in one call */
    double sent_at, bytes, read;
    bool short_window, over;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void turn(struct celery_step *own);

static void finish(struct celery_step *own)
{
    struct replacing *r = own->engine;
    r->over = true;
    own->gone = own->meant > own->done ? own->meant - own->done : 0;
    celery_step_over(own);
}

/* ---- reading a window ---- */

static void add_found(struct replacing *r, int64_t index, const char *raw, size_t length, const char *digits)
{
    struct celery_envelope envelope;
    struct error error;
    r->found = there(talloc_realloc(r, r->found, struct found, r->found_count + 1));
    struct found *found = &r->found[r->found_count];
    celery_envelope_scan(&envelope, raw, length, NULL);
    found->message = celery_envelope_expire(r, &envelope, CELERY_LONG_AGO, &found->length, &error);
    if (!found->message)
        return;
    found->index = index;
    memcpy(found->digits, digits, sizeof found->digits);
    r->found_count++;
}

static void window_reply(struct celery_step *own, int number, const struct redisReply *reply)
{
    struct replacing *r = own->engine;
    char digits[41];
    (void)number;
    if (reply->type != REDIS_REPLY_ARRAY)
        return;
    r->short_window = (int64_t)reply->elements < r->asked;
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *element = reply->element[i];
        r->bytes += (double)element->len;
        r->read++;
        if (element->str && celery_frozen_take(own->act->frozen, element->str, element->len, digits))
            add_found(r, r->at + (int64_t)i, element->str, element->len, digits);
    }
    r->shift = 0;
    r->sent = 0;
}

static void step_done(struct celery_step *own, const struct error *error, bool lost)
{
    struct replacing *r = own->engine;
    if (r->over)
        return;
    if (error) {
        r->over = true;
        celery_step_fail(own, error, lost);
        return;
    }
    turn(own);
}

static void read_window(struct celery_step *own, int64_t from, int64_t to)
{
    struct replacing *r = own->engine;
    r->at = from;
    r->asked = to - from + 1;
    struct celery_command *command = celery_command_new(r, "LRANGE");
    celery_command_add(command, own->live);
    celery_command_number(command, from);
    celery_command_number(command, to);
    celery_step_call(own, &command, 1, (struct celery_call_handler){window_reply, step_done});
    talloc_free(command);
}

static int64_t window_size(const struct replacing *r)
{
    double size = r->read > 0 ? r->bytes / r->read : 20000;
    int64_t count = (int64_t)(CELERY_CHUNK_BYTES / (size + 1)) + 1;
    return count > 500 ? 500 : count;
}

/* Where a job was when it was selected: the head is -1, and it can only have come closer to it. */
static bool read_hint(struct celery_step *own)
{
    struct replacing *r = own->engine;
    while (r->hint < own->job_count && own->jobs[r->hint].index < 0)
        r->hint++;
    if (own->job_count > HINTS || r->hint >= own->job_count)
        return false;
    int64_t from = -(own->jobs[r->hint++].index + 1) - 4, to = from + window_size(r);
    read_window(own, from, to > -1 ? -1 : to);
    /* A window that begins before the list is not the whole of it. */
    return true;
}

/* ---- replacing ---- */

static void replaced(struct celery_step *own, int index, const struct redisReply *reply)
{
    struct replacing *r = own->engine;
    (void)index;
    double took = clock_monotonic() - r->sent_at;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2)
        return;
    r->shift += reply->element[0]->integer;
    for (size_t i = 1; i < reply->elements && r->sent < r->found_count; i++, r->sent++) {
        struct found *found = &r->found[r->sent];
        if (reply->element[i]->integer == 1) {
            own->done++;
        } else {
            r->missed++;
            celery_frozen_give_back(own->act->frozen, found->digits);
        }
        TALLOC_FREE(found->message);
    }
    if (took > BAD_S)
        r->most = r->most > 2 ? r->most / 2 : 1;
    else if (took < GOOD_S && r->most < MOST)
        r->most++;
}

static void send_some(struct celery_step *own)
{
    struct replacing *r = own->engine;
    struct celery_command *command = celery_step_eval(r, own, SCRIPT_REPLACE, 1);
    double size = r->read > 0 ? r->bytes / r->read : 20000;
    celery_command_add(command, own->live);
    celery_command_number(command, size > 20000 ? 1 : SPAN);
    size_t bytes = 0;
    for (size_t i = r->sent; i < r->found_count && i < r->sent + r->most && bytes < CELERY_CHUNK_BYTES; i++) {
        celery_command_number(command, r->found[i].index + r->shift);
        celery_command_add(command, r->found[i].digits);
        celery_command_bytes(command, r->found[i].message, r->found[i].length);
        bytes += r->found[i].length;
    }
    r->sent_at = clock_monotonic();
    celery_step_call(own, &command, 1, (struct celery_call_handler){replaced, step_done});
    talloc_free(command);
}

static bool next_pass(struct replacing *r)
{
    if (!r->missed || ++r->pass == PASSES)
        return false;
    r->missed = 0;
    r->at = r->asked = 0;
    r->short_window = false;
    return true;
}

static void turn(struct celery_step *own)
{
    struct replacing *r = own->engine;
    if (r->sent < r->found_count) {
        send_some(own);
        return;
    }
    r->found_count = r->sent = 0;
    if (own->done >= own->meant || celery_frozen_left(own->act->frozen) == 0) {
        finish(own);
        return;
    }
    if (change_stopped(own->act->change)) {
        r->over = true;
        celery_step_stopped(own, "The others are as they were.");
        return;
    }
    if (read_hint(own))
        return;
    if (r->at < 0) { /* the places that were known are looked at: now from the newest on */
        r->at = r->asked = 0;
        r->short_window = false;
    }
    if (r->short_window && r->asked && !next_pass(r)) {
        finish(own);
        return;
    }
    int64_t from = r->at + r->asked;
    read_window(own, from, from + window_size(r) - 1);
}

void celery_run_replace(struct celery_step *own)
{
    struct replacing *r = own->engine = there(talloc_zero(own, struct replacing));
    r->most = 1;
    turn(own);
}
