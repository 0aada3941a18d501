/* What the files of Celery's remote control share: the fixed list of methods with their arguments, and names
 * that are names. Only celery_control*.c and celery_acts_control*.c include it. */
#ifndef BACKENDS_QUEUES_CELERY_CONTROL_INTERNAL_H
#define BACKENDS_QUEUES_CELERY_CONTROL_INTERNAL_H

#include "backends/queues/celery_control.h"

/* Whatever the application calls its control exchange: a worker looks at the channel, and answers where it is
 * told to. */
#define CONTROL_EXCHANGE "celery.pidbox"
#define CONTROL_REPLY_EXCHANGE "reply.celery.pidbox"
/* A worker answers within a turn of its loop, if it answers at all. */
#define CONTROL_DEADLINE_S 3

enum control_kind {
    CONTROL_IDS,     /* a job's id, or 1 to CONTROL_IDS_MAX of them */
    CONTROL_NAME,    /* of a task or a queue */
    CONTROL_RATE,    /* "10/m", "0.5/s", "0" */
    CONTROL_NUMBER,  /* a whole one, 1 to CONTROL_NUMBER_MAX */
    CONTROL_SECONDS, /* 1 to a week, or null: none */
    CONTROL_SIGNAL,  /* "SIGTERM" */
    CONTROL_BOOLEAN,
};
enum { CONTROL_ARGUMENTS = 3, CONTROL_IDS_MAX = 1000, CONTROL_NUMBER_MAX = 100, CONTROL_TEXT_MAX = 255 };

struct control_argument {
    const char *name; /* NULL: behind the last one */
    enum control_kind kind;
    bool needed;
};

struct control_method {
    const char *name;
    bool silent; /* workers never answer it */
    struct control_argument arguments[CONTROL_ARGUMENTS];
};

/* NULL: it is not on the list, and is not sent. */
const struct control_method *control_method_find(const char *name);
/* Are these exactly arguments that the method takes? A worker trusts what it is told: what is not right here
 * may end it, or stay in its memory. */
bool control_arguments_fit(const struct control_method *method, struct json_object *arguments,
                           struct error *error);
/* "name@host", as a worker is called. */
bool control_worker_plausible(const char *name, size_t length);
/* 8-4-4-4-12 hexadecimal digits. */
bool control_uuid_plausible(const char *text, size_t length);

#endif
