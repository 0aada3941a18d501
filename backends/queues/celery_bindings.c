/* kombu's bindings: sets `_kombu.binding.EXCHANGE` whose members end with the name of a queue. They are the
 * only thing in Redis that names the queues which are empty. Read by SCAN and SSCAN, paced. */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery.h"

#define MARK "_kombu.binding."
#define DEADLINE_S 5.0

/* A window of SCAN looks at so many keys; 1000 take 4 ms and more of a large database. */
#define WINDOW_TEXT "200"

enum { FOUND_MOST = 20000, WINDOW = 200 };

struct celery_bindings {
    struct celery_bindings_request request;
    void (*done)(void *data, const struct celery_binding *bindings, size_t count, bool complete,
                 const struct error *error);
    void *data;
    size_t node;
    int64_t looked; /* keys of this node */
    char *cursor;   /* of SCAN */
    bool complete;
    struct set {
        char *key;
        size_t length;
    } * sets; /* that SCAN found, their members not read yet */
    size_t set_count;
    char *member_cursor; /* of SSCAN in the last set */
    struct celery_binding *found;
    size_t count;
    ev_timer pause;
};

static void *there(void *made)
{
    if (!made)
        abort();
    return made;
}

static void finish(struct celery_bindings *reading, const struct error *error)
{
    ev_timer_stop(loop_ev(reading->request.loop), &reading->pause);
    if (reading->done)
        reading->done(reading->data, reading->found, reading->count, reading->complete, error);
    talloc_free(reading);
}

static void add(struct celery_bindings *reading, const char *prefix, size_t prefix_length, const char *queue,
                size_t queue_length)
{
    if (reading->count >= FOUND_MOST) {
        reading->complete = false;
        return;
    }
    if ((reading->count & (reading->count - 1)) == 0)
        reading->found = there(talloc_realloc(reading, reading->found, struct celery_binding,
                                              reading->count ? reading->count * 2 : 1));
    reading->found[reading->count++] = (struct celery_binding){
        .prefix = there(talloc_strndup(reading->found, prefix, prefix_length)),
        .queue = queue ? there(talloc_strndup(reading->found, queue, queue_length)) : NULL,
    };
}

static bool ends_with(const char *text, size_t length, const char *end)
{
    size_t wanted = strlen(end);
    return length >= wanted && memcmp(text + length - wanted, end, wanted) == 0;
}

/* Exchanges of remote control and events have bindings too, but their queues hold no jobs. */
static bool is_for_jobs(const char *exchange, size_t length)
{
    return !ends_with(exchange, length, ".pidbox") &&
           !(length == 8 && memcmp(exchange, "celeryev", 8) == 0) &&
           !(length >= 6 && memcmp(exchange, "reply.", 6) == 0);
}

static void take_key(struct celery_bindings *reading, const char *key, size_t length)
{
    const char *mark = memmem(key, length, MARK, strlen(MARK));
    if (!mark)
        return;
    const char *exchange = mark + strlen(MARK);
    if (!is_for_jobs(exchange, length - (size_t)(exchange - key))) {
        add(reading, key, (size_t)(mark - key), NULL, 0);
        return;
    }
    reading->sets = there(talloc_realloc(reading, reading->sets, struct set, reading->set_count + 1));
    char *copy = there(talloc_memdup(reading->sets, key, length ? length : 1));
    reading->sets[reading->set_count++] = (struct set){.key = copy, .length = length};
}

/* "routing key SEP pattern SEP queue"; the separator may be configured, so what follows the last two bytes of
 * the usual one is the queue, and a member without it is no binding. */
static void take_member(struct celery_bindings *reading, const char *member, size_t length)
{
    const struct set *set = &reading->sets[reading->set_count - 1];
    const char *mark = memmem(set->key, set->length, MARK, strlen(MARK));
    for (size_t i = length; i >= 2; i--)
        if (member[i - 2] == '\x06' && member[i - 1] == '\x16') {
            if (i < length && !memchr(member + i, '\0', length - i))
                add(reading, set->key, (size_t)(mark - set->key), member + i, length - i);
            return;
        }
}

static void next(struct celery_bindings *reading);

static void on_pause(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    next(timer->data);
}

static const redisReply *cursor_reply(const redisReply *reply)
{
    return reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                   reply->element[0]->type == REDIS_REPLY_STRING &&
                   reply->element[1]->type == REDIS_REPLY_ARRAY
               ? reply->element[1]
               : NULL;
}

static void on_keys(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_bindings *reading = data;
    const redisReply *keys = cursor_reply(reply);
    (void)index, (void)error;
    talloc_free(reading->cursor);
    reading->cursor = there(talloc_strdup(reading, keys ? reply->element[0]->str : "0"));
    for (size_t i = 0; keys && i < keys->elements; i++)
        if (keys->element[i]->type == REDIS_REPLY_STRING)
            take_key(reading, keys->element[i]->str, keys->element[i]->len);
    reading->looked += WINDOW;
    bool enough = reading->request.keys_most && reading->looked >= reading->request.keys_most;
    if (strcmp(reading->cursor, "0") != 0 && !enough)
        return;
    if (strcmp(reading->cursor, "0") != 0 || !keys)
        reading->complete = false;
    reading->node++;
    reading->looked = 0;
    talloc_free(reading->cursor);
    reading->cursor = there(talloc_strdup(reading, "0"));
}

/* A key of another type answers with an error: it is no binding. */
static void on_members(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_bindings *reading = data;
    const redisReply *members = cursor_reply(reply);
    (void)index, (void)error;
    for (size_t i = 0; members && i < members->elements; i++)
        if (members->element[i]->type == REDIS_REPLY_STRING)
            take_member(reading, members->element[i]->str, members->element[i]->len);
    talloc_free(reading->member_cursor);
    reading->member_cursor = NULL;
    if (members && strcmp(reply->element[0]->str, "0") != 0) {
        reading->member_cursor = there(talloc_strdup(reading, reply->element[0]->str));
        return;
    }
    talloc_free(reading->sets[--reading->set_count].key);
}

static void on_answered(void *data, const struct error *error)
{
    struct celery_bindings *reading = data;
    if (error || !reading->done) {
        finish(reading, error);
        return;
    }
    if (!reading->request.paced) {
        next(reading);
        return;
    }
    struct ev_loop *ev = loop_ev(reading->request.loop);
    ev_now_update(ev);
    ev_timer_set(&reading->pause, redis_server_pace(reading->request.redis), 0);
    ev_timer_start(ev, &reading->pause);
}

static void ask_members(struct celery_bindings *reading)
{
    const struct set *set = &reading->sets[reading->set_count - 1];
    const char *cursor = reading->member_cursor ? reading->member_cursor : "0";
    struct redis_command command = {
        .count = 5,
        .words = (const char *const[]){"SSCAN", set->key, cursor, "COUNT", WINDOW_TEXT},
        .lengths = (const size_t[]){5, set->length, strlen(cursor), 5, strlen(WINDOW_TEXT)},
    };
    redis_server_ask(reading->request.redis, reading->request.database, &command, 1, DEADLINE_S,
                     (struct redis_handler){.reply = on_members, .done = on_answered, .data = reading});
}

static char *pattern(const void *context, const char *prefix)
{
    char *text = there(talloc_strdup(context, prefix ? "" : "*"));
    for (const char *at = prefix; at && *at; at++)
        text = there(talloc_asprintf_append(text, strchr("*?[]\\^", *at) ? "\\%c" : "%c", *at));
    return there(talloc_strdup_append(text, MARK "*"));
}

static void ask_keys(struct celery_bindings *reading)
{
    char *match = pattern(reading, reading->request.prefix);
    struct redis_command command =
        REDIS_COMMAND("SCAN", reading->cursor, "MATCH", match, "COUNT", WINDOW_TEXT);
    struct redis_handler handler = {.reply = on_keys, .done = on_answered, .data = reading};
    if (redis_server_node_count(reading->request.redis) == 0)
        redis_server_ask(reading->request.redis, reading->request.database, &command, 1, DEADLINE_S, handler);
    else
        redis_server_ask_node(reading->request.redis, reading->node, reading->request.database, &command, 1,
                              DEADLINE_S, handler);
    talloc_free(match);
}

static void next(struct celery_bindings *reading)
{
    size_t nodes = redis_server_node_count(reading->request.redis);
    if (reading->set_count)
        ask_members(reading);
    else if (reading->node < (nodes ? nodes : 1))
        ask_keys(reading);
    else
        finish(reading, NULL);
}

struct celery_bindings *celery_bindings_read(const struct celery_bindings_request *request,
                                             void (*done)(void *data, const struct celery_binding *bindings,
                                                          size_t count, bool complete,
                                                          const struct error *error),
                                             void *data)
{
    struct celery_bindings *reading = there(talloc_zero(NULL, struct celery_bindings));
    reading->request = *request;
    reading->request.prefix = request->prefix ? there(talloc_strdup(reading, request->prefix)) : NULL;
    reading->done = done;
    reading->data = data;
    reading->complete = true;
    reading->cursor = there(talloc_strdup(reading, "0"));
    ev_timer_init(&reading->pause, on_pause, 0, 0);
    reading->pause.data = reading;
    ask_keys(reading);
    return reading;
}

void celery_bindings_forsake(struct celery_bindings *reading)
{
    reading->done = NULL;
    if (ev_is_active(&reading->pause))
        finish(reading, NULL);
}
