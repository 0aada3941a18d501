/*
 * Celery's remote control over Redis (the pidbox). A payload that is not right ends every worker that hears
 * it, so there is one way to send: celery_control_build makes the message, celery_control_check reads the
 * bytes again with a parser of its own, and only what passed is published. There is no message without a
 * destination. Only methods of the fixed list can be sent.
 *
 * Everything here writes (a binding, a message, a reply list) and therefore goes out only from a step of a
 * change, on the login that acts. https://docs.celeryq.dev/en/stable/userguide/workers.html
 */
#ifndef BACKENDS_QUEUES_CELERY_CONTROL_H
#define BACKENDS_QUEUES_CELERY_CONTROL_H

#include "backends/queues/celery.h"

struct json_object;

struct celery_control_request {
    const char *method;             /* one of the list: ping, stats, active, ... */
    struct json_object *arguments;  /* borrowed; NULL: {} */
    const char *const *destination; /* names of workers; at least one */
    size_t destination_count;
    bool wants_reply;  /* false for shutdown: workers answer nothing */
    double deadline_s; /* for all replies; 0: 3 s */
};

/* The envelope that would be published. NULL with error (ERROR_INTERLOCK) for a method that is not on the
 * list, arguments that it does not take, or no destination. Under context. `oid`, `ticket`: UUIDs. */
char *celery_control_build(const void *context, const struct celery_control_request *request, const char *oid,
                           const char *ticket, double now, size_t *length, struct error *error);
/* Reads the bytes again as a worker would, and compares all of it with the request. */
bool celery_control_check(const char *payload, size_t length, const struct celery_control_request *request,
                          struct error *error);

struct celery_reply {
    const char *worker;
    struct json_object *value; /* {"ok": ...}, {"error": ...}, an array; borrowed for the call */
};
/* Of PUBLISH: it was not sent; the line broke while it was. */
enum { CELERY_HEARD_NOT = -1, CELERY_HEARD_UNKNOWN = -2 };
/* Sends it from a step of a change: binds, publishes, reads the replies on a connection of its own, unbinds,
 * removes the list. `done` once, in a later turn: replies, how many live workers heard it (PUBLISH; or
 * above), error NULL unless it was not sent or the line broke. Silent workers are not an error: compare
 * counts. The request is borrowed for the call. Withdrawn by freeing the talloc chunk returned, which still
 * cleans up; it frees itself when `done` is called. */
void *celery_control_send(struct celery_system *system, const struct celery_control_request *request,
                          void (*done)(void *data, const struct celery_reply *replies, size_t count,
                                       int64_t heard, const struct error *error),
                          void *data);

/* What the workers answered last (ACT_ASK), for the Workers view: active, reserved, scheduled, stats,
 * active_queues, registered, each with its time. */
struct celery_answers {
    double asked_at;
    int64_t heard; /* live workers at that time */
    struct celery_worker_answer {
        const char *worker;
        struct json_object *stats, *active, *reserved, *scheduled, *queues, *registered; /* NULL: no answer */
    } * workers;
    size_t worker_count;
};
/* NULL: nobody asked. Borrowed until the next turn of the loop. */
const struct celery_answers *celery_answers(const struct celery_system *system);
/* Does any worker that answered know this task? True when nobody asked. */
bool celery_task_known(const struct celery_system *system, const char *task);
void celery_asked_free(struct celery_asked *asked);

/* Changes (celery_acts_control.c): ask, revoke, terminate, rate limit, pool, consumers, drain, shutdown.
 * Built from an act request; NULL with error. */
struct change *celery_control_change(struct celery_system *system, const struct queue_act_request *request,
                                     struct error *error);

#endif
