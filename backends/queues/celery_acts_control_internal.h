/* A step that tells workers something: shared by celery_acts_control*.c. */
#ifndef BACKENDS_QUEUES_CELERY_ACTS_CONTROL_INTERNAL_H
#define BACKENDS_QUEUES_CELERY_ACTS_CONTROL_INTERNAL_H

#include "backends/queues/celery_answers.h"
#include "backends/queues/celery_control_internal.h"
#include "backends/queues/celery_workers.h"

struct redis_batch;

/* A step's data; a talloc child of the change. */
struct control_step {
    struct celery_system *system;
    struct change *change;
    struct change_step *step;
    const char *method;
    struct json_object *arguments; /* owned; NULL: none */
    const char **workers;
    size_t worker_count;
    void *sending;
    struct redis_batch *batch;
    bool asking; /* a round of questions comes back to it */
    /* Of pausing, resuming and draining. */
    const char *queue;
    const char **queues;
    size_t queue_count, queue_at;
    const char *left; /* what is told besides, from earlier parts of the step */
    /* What comes after the message was answered; NULL: the step is over. */
    void (*then)(struct control_step *own, const struct celery_reply *replies, size_t count);
};

/* A change about this system, with room for steps. `title` is taken over (of the change's context after). */
struct change *control_change_new(struct celery_system *system, size_t steps);
/* The next step: its message goes to these workers (copied). `arguments` is taken over; NULL: none. */
struct control_step *control_change_add(struct change *change, struct celery_system *system,
                                        const char *method, struct json_object *arguments,
                                        const char *const *workers, size_t count);
/* "PUBLISH /0.celery.pidbox {"method": ...}": the message decoded, for people. */
char *control_command(const void *context, const struct celery_system *system, const char *method,
                      struct json_object *arguments, const char *const *workers, size_t count);
/* "w1@a, w2@b", "w1@a and 16 others". */
char *control_names(const void *context, const char *const *names, size_t count);
/* The number of workers, or the name of the only one, confirms it. */
void control_confirm_workers(struct change *change, const char *const *workers, size_t count);
void control_confirm_name(struct change *change, const char *name, const char *prompt);

/* Sends the message of a step as it is now; the end comes to `then`, or ends the step. */
void control_send(struct control_step *own);
/* Adds a line to what the step printed. */
void control_print(struct control_step *own, const char *format, ...) __attribute__((format(printf, 2, 3)));
void control_over(struct control_step *own, enum step_outcome outcome, const struct error *error);
const struct celery_reply *control_reply_of(const char *worker, const struct celery_reply *replies,
                                            size_t count);
/* Those that did not answer, by ", "; NULL: all did. A talloc child of the step. */
char *control_silent(struct control_step *own, const struct celery_reply *replies, size_t count);

/* celery_acts_control_queues.c */
struct change *control_ask(struct celery_system *system, const char *const *workers, size_t count);
struct change *control_pause(struct celery_system *system, const char *queue, const char *const *workers,
                             size_t count);
struct change *control_resume(struct celery_system *system, const char *queue, const char *const *workers,
                              size_t count);
struct change *control_drain(struct celery_system *system, const char *const *workers, size_t count);

#endif
