/*
 * Sending a control message on a connection of its own: the reply queue is bound, the message published, the
 * replies taken until all have come or their time is over, the queue unbound, its list removed. The last two
 * happen after every error, too, and when nobody waits any more. What a console that was killed left behind
 * is told by its ids, which hold their time, and removed by the next one.
 */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_control_internal.h"
#include "backends/ssh/base64.h"
#include "core/clock.h"

#define SEPARATOR "\x06\x16"
#define ROUND_TRIP_S 5
#define LEFT_OVER_S 600
/* The first digits of the ids of our reply queues. */
#define MARK "5169a1b0-"
enum { REPLY_MAX = 8 << 20, REPLIES_MAX = 2000, LEFT_OVER_MAX = 100, DEPTH_MAX = 64 };

enum phase { PHASE_SWEEP, PHASE_SWEPT, PHASE_BIND, PHASE_PUBLISH, PHASE_WAIT, PHASE_UNBIND, PHASE_REMOVE };

/* What the caller holds. */
struct control_handle {
    struct celery_sending *sending;
};

struct celery_sending {
    struct celery_system *system;
    struct loop *loop;
    struct celery_control_request request; /* copied; its arguments are not needed any more */
    struct control_handle *handle;         /* NULL: forsaken */
    void (*done)(void *data, const struct celery_reply *replies, size_t count, int64_t heard,
                 const struct error *error);
    void *data;
    char oid[37], ticket[37];
    char *binding, *member, *list, *channel, *payload;
    size_t payload_length;
    struct redis_connection *connection;
    enum phase phase;
    bool bound, broken, closing;
    double ends; /* monotonic */
    int64_t heard;
    struct celery_reply *replies;
    size_t count, left_over_count;
    char **left_over; /* ids */
    struct error error;
    ev_timer later;
};

/* ---- ids ---- */

/* As a UUID looks: a mark, the seconds, and chance. */
static void make_id(char buffer[37])
{
    unsigned char chance[8];
    if (getrandom(chance, sizeof chance, 0) != sizeof chance)
        abort();
    uint32_t now = (uint32_t)clock_wall();
    snprintf(buffer, 37, MARK "%04" PRIx32 "-%04" PRIx32 "-%02x%02x-%02x%02x%02x%02x%02x%02x", now >> 16,
             now & 0xffff, chance[0], chance[1], chance[2], chance[3], chance[4], chance[5], chance[6],
             chance[7]);
}

bool celery_control_left_over(const char *member, size_t length, double now)
{
    if (length < 36 || memcmp(member, MARK, strlen(MARK)) != 0 || !control_uuid_plausible(member, 36))
        return false;
    const char digits[] = {member[9],  member[10], member[11], member[12], member[14],
                           member[15], member[16], member[17], '\0'};
    return now - (double)strtoul(digits, NULL, 16) > LEFT_OVER_S;
}

/* ---- replies ---- */

static struct json_object *parse(const char *text, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener)
        abort();
    struct json_object *object =
        length <= REPLY_MAX ? json_tokener_parse_ex(tokener, text, (int)length) : NULL;
    json_tokener_free(tokener);
    return object;
}

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, key, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

struct json_object *celery_control_reply(const char *envelope, size_t length, const char *ticket)
{
    struct json_object *message = parse(envelope, length), *headers = NULL, *properties = NULL;
    struct json_object *body = NULL;
    if (json_object_is_type(message, json_type_object)) {
        json_object_object_get_ex(message, "headers", &headers);
        json_object_object_get_ex(message, "properties", &properties);
    }
    const char *text = text_of(message, "body"), *encoding = text_of(properties, "body_encoding");
    const char *answers = text_of(headers, "ticket");
    if (text && answers && !strcmp(answers, ticket)) {
        if (encoding && !strcmp(encoding, "base64")) {
            size_t decoded_length;
            unsigned char *decoded = base64_decode(NULL, text, strlen(text), &decoded_length);
            if (decoded)
                body = parse((const char *)decoded, decoded_length);
            talloc_free(decoded);
        } else {
            body = parse(text, strlen(text));
        }
    }
    json_object_put(message);
    if (body && !json_object_is_type(body, json_type_object)) {
        json_object_put(body);
        body = NULL;
    }
    return body;
}

static void take_reply(struct celery_sending *sending, const char *envelope, size_t length)
{
    struct json_object *body = celery_control_reply(envelope, length, sending->ticket);
    if (!body)
        return;
    json_object_object_foreach(body, worker, value)
    {
        if (sending->count >= REPLIES_MAX)
            break;
        sending->replies = talloc_realloc(sending, sending->replies, struct celery_reply, sending->count + 1);
        if (!sending->replies)
            abort();
        sending->replies[sending->count++] =
            (struct celery_reply){.worker = talloc_strdup(sending, worker), .value = json_object_get(value)};
    }
    json_object_put(body);
}

/* ---- the steps ---- */

static void enter(struct celery_sending *sending, enum phase phase);

static void on_reply(void *data, int index, const redisReply *reply, const struct error *error)
{
    struct celery_sending *sending = data;
    (void)index;
    if (error) {
        /* That nothing can be swept is no reason not to go on; nor is it one when tidying up. */
        if (sending->phase >= PHASE_BIND && sending->phase < PHASE_UNBIND &&
            sending->error.kind == ERROR_NONE)
            sending->error = *error;
        return;
    }
    if (sending->phase == PHASE_SWEEP && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        const redisReply *members = reply->element[1];
        for (size_t i = 0; i < members->elements && sending->left_over_count < LEFT_OVER_MAX; i++)
            if (celery_control_left_over(members->element[i]->str, members->element[i]->len, clock_wall()))
                sending->left_over[sending->left_over_count++] =
                    talloc_strndup(sending->left_over, members->element[i]->str, 36);
    } else if (sending->phase == PHASE_PUBLISH && reply->type == REDIS_REPLY_INTEGER) {
        sending->heard = reply->integer;
    } else if (sending->phase == PHASE_WAIT && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        take_reply(sending, reply->element[1]->str, reply->element[1]->len);
    }
}

static bool is_answered(const struct celery_sending *sending)
{
    size_t expected = sending->request.destination_count;
    if (sending->heard < (int64_t)expected)
        expected = (size_t)sending->heard;
    return sending->count >= expected || clock_monotonic() >= sending->ends || !sending->handle;
}

/* What was sent before is not undone by an error: it is told, and tidied up. */
static void after_message(struct celery_sending *sending, bool failed)
{
    if (!failed && sending->request.wants_reply && !is_answered(sending))
        enter(sending, PHASE_WAIT);
    else if (sending->bound)
        enter(sending, PHASE_UNBIND);
    else
        ev_timer_start(loop_ev(sending->loop), &sending->later);
}

static void on_done(void *data, const struct error *error)
{
    struct celery_sending *sending = data;
    enum phase phase = sending->phase;
    if (sending->closing)
        return;
    if (error && phase >= PHASE_UNBIND && !sending->broken) {
        sending->broken = true;
        enter(sending, phase);
        return;
    }
    if (error && phase < PHASE_UNBIND) {
        sending->broken = true;
        if (sending->error.kind == ERROR_NONE)
            sending->error = *error;
        if (phase == PHASE_PUBLISH)
            sending->heard = CELERY_HEARD_UNKNOWN;
    }
    bool failed = sending->error.kind != ERROR_NONE;
    if (phase == PHASE_REMOVE)
        ev_timer_start(loop_ev(sending->loop), &sending->later);
    else if (phase == PHASE_UNBIND)
        enter(sending, PHASE_REMOVE);
    else if (failed || phase == PHASE_WAIT || phase == PHASE_PUBLISH)
        after_message(sending, failed);
    else
        enter(sending, phase == PHASE_SWEEP && !sending->left_over_count ? PHASE_BIND : phase + 1);
}

/* On its own connection; when that broke, tidying up takes the one that all changes use. */
static void send_commands(struct celery_sending *sending, const struct redis_command *commands, int count,
                          double deadline_s)
{
    struct redis_handler handler = {.reply = on_reply, .done = on_done, .data = sending};
    if (sending->broken)
        redis_server_act(sending->system->redis, sending->system->database, commands, count, deadline_s,
                         handler);
    else
        redis_connection_send(sending->connection, commands, count, deadline_s, handler);
}

/* A member that a console left behind, and its list. */
static void remove_left_over(struct celery_sending *sending)
{
    size_t count = sending->left_over_count;
    struct redis_command *commands = talloc_zero_array(sending, struct redis_command, 2 * count);
    const char **words = talloc_zero_array(commands, const char *, 5 * count);
    if (!commands || !words)
        abort();
    for (size_t i = 0; i < count; i++) {
        const char *id = sending->left_over[i];
        char *list = talloc_asprintf(commands, "%s.%s", id, CONTROL_REPLY_EXCHANGE);
        const char **at = words + 5 * i;
        at[0] = "SREM";
        at[1] = sending->binding;
        at[2] = talloc_asprintf(commands, "%s" SEPARATOR SEPARATOR "%s", id, list);
        at[3] = "DEL";
        at[4] = celery_key(commands, sending->system, list);
        commands[2 * i] = (struct redis_command){.count = 3, .words = at};
        commands[2 * i + 1] = (struct redis_command){.count = 2, .words = at + 3};
    }
    send_commands(sending, commands, (int)(2 * count), ROUND_TRIP_S);
    talloc_free(commands);
}

static void enter(struct celery_sending *sending, enum phase phase)
{
    char seconds[16];
    sending->phase = phase;
    switch (phase) {
    case PHASE_SWEEP:
        send_commands(sending, &REDIS_COMMAND("SSCAN", sending->binding, "0", "COUNT", "1000"), 1,
                      ROUND_TRIP_S);
        break;
    case PHASE_SWEPT:
        remove_left_over(sending);
        break;
    case PHASE_BIND:
        sending->bound = true;
        send_commands(sending, &REDIS_COMMAND("SADD", sending->binding, sending->member), 1, ROUND_TRIP_S);
        break;
    case PHASE_PUBLISH: {
        const char *const words[] = {"PUBLISH", sending->channel, sending->payload};
        const size_t lengths[] = {7, strlen(sending->channel), sending->payload_length};
        double deadline = sending->request.deadline_s > 0 ? sending->request.deadline_s : CONTROL_DEADLINE_S;
        sending->ends = clock_monotonic() + deadline;
        send_commands(sending, &(struct redis_command){.count = 3, .words = words, .lengths = lengths}, 1,
                      ROUND_TRIP_S);
        break;
    }
    case PHASE_WAIT: {
        /* Whole seconds: fractions came with Redis 6, and 0 would be for ever. */
        double left = fmin(fmax(ceil(sending->ends - clock_monotonic()), 1), 2);
        snprintf(seconds, sizeof seconds, "%.0f", left);
        send_commands(sending, &REDIS_COMMAND("BRPOP", sending->list, seconds), 1, left + ROUND_TRIP_S);
        break;
    }
    case PHASE_UNBIND:
        send_commands(sending, &REDIS_COMMAND("SREM", sending->binding, sending->member), 1, ROUND_TRIP_S);
        break;
    case PHASE_REMOVE:
        send_commands(sending, &REDIS_COMMAND("DEL", sending->list), 1, ROUND_TRIP_S);
        break;
    }
}

/* ---- its life ---- */

static int sending_destroy(struct celery_sending *sending)
{
    ev_timer_stop(loop_ev(sending->loop), &sending->later);
    for (size_t i = 0; i < sending->count; i++)
        json_object_put(sending->replies[i].value);
    return 0;
}

static void over(struct celery_sending *sending)
{
    celery_asked_remove(sending->system, sending);
    redis_connection_free(sending->connection);
    sending->connection = NULL;
    if (sending->handle) {
        sending->handle->sending = NULL;
        talloc_free(sending->handle);
        sending->done(sending->data, sending->replies, sending->count, sending->heard,
                      sending->error.kind != ERROR_NONE ? &sending->error : NULL);
    }
    talloc_free(sending);
}

static void on_later(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    over(timer->data);
}

static int handle_destroy(struct control_handle *handle)
{
    if (handle->sending)
        handle->sending->handle = NULL;
    return 0;
}

/* The servers are about to go: nothing can be tidied up any more. */
void celery_sending_close(struct celery_sending *sending)
{
    struct error lost;
    sending->closing = true;
    redis_connection_free(sending->connection);
    sending->connection = NULL;
    if (sending->error.kind == ERROR_NONE) {
        error_set(&lost, ERROR_CANCELLED, sending->system->base.place, "control message", NULL,
                  "the console ends");
        sending->error = lost;
    }
    over(sending);
}

static void prepare(struct celery_sending *sending, const struct celery_control_request *request)
{
    struct celery_system *system = sending->system;
    make_id(sending->oid);
    make_id(sending->ticket);
    sending->request = *request;
    char *list = talloc_asprintf(sending, "%s.%s", sending->oid, CONTROL_REPLY_EXCHANGE);
    sending->list = celery_key(sending, system, list);
    sending->member = talloc_asprintf(sending, "%s" SEPARATOR SEPARATOR "%s", sending->oid, list);
    sending->binding = celery_key(sending, system, "_kombu.binding." CONTROL_REPLY_EXCHANGE);
    sending->channel =
        celery_channel(sending, system, talloc_asprintf(sending, "%s.pidbox", system->names.control));
    sending->left_over = talloc_zero_array(sending, char *, LEFT_OVER_MAX);
    if (!sending->member || !sending->left_over)
        abort();
    sending->payload = celery_control_build(sending, request, sending->oid, sending->ticket, clock_wall(),
                                            &sending->payload_length, &sending->error);
    if (sending->payload &&
        !celery_control_check(sending->payload, sending->payload_length, request, &sending->error))
        sending->payload = NULL;
    /* Borrowed ones are not needed behind this. */
    sending->request.method = NULL;
    sending->request.arguments = NULL;
    sending->request.destination = NULL;
}

void *celery_control_send(struct celery_system *system, const struct celery_control_request *request,
                          void (*done)(void *data, const struct celery_reply *replies, size_t count,
                                       int64_t heard, const struct error *error),
                          void *data)
{
    struct celery_sending *sending = talloc_zero(NULL, struct celery_sending);
    struct control_handle *handle = talloc_zero(NULL, struct control_handle);
    if (!sending || !handle)
        abort();
    *sending = (struct celery_sending){.system = system,
                                       .loop = system->base.loop,
                                       .handle = handle,
                                       .done = done,
                                       .data = data,
                                       .heard = CELERY_HEARD_NOT};
    handle->sending = sending;
    talloc_set_destructor(handle, handle_destroy);
    ev_timer_init(&sending->later, on_later, 0, 0);
    sending->later.data = sending;
    talloc_set_destructor(sending, sending_destroy);
    bool swept = celery_asked_add(system, sending);
    prepare(sending, request);
    if (sending->payload && redis_server_can_act(system->redis, &sending->error))
        sending->connection = redis_server_act_blocking(system->redis, system->database);
    if (!sending->connection) {
        if (sending->error.kind == ERROR_NONE)
            error_set(&sending->error, ERROR_INTERLOCK, system->base.place, "control message", NULL,
                      "there is no connection that may send it");
        ev_timer_start(loop_ev(sending->loop), &sending->later);
        return handle;
    }
    if (!request->wants_reply)
        enter(sending, PHASE_PUBLISH);
    else
        enter(sending, swept ? PHASE_BIND : PHASE_SWEEP);
    return handle;
}
