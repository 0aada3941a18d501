/* What was asked of Celery's workers, and what is on its way: shared by celery_control_send.c,
 * celery_answers.c, celery_acts_control*.c and celery_workers.c. */
#ifndef BACKENDS_QUEUES_CELERY_ANSWERS_H
#define BACKENDS_QUEUES_CELERY_ANSWERS_H

#include "backends/queues/celery_control.h"

struct celery_sending;

/* A message is on its way; true: left-over replies of other consoles were looked for already. */
bool celery_asked_add(struct celery_system *system, struct celery_sending *sending);
void celery_asked_remove(struct celery_system *system, struct celery_sending *sending);
/* Its done is called with ERROR_CANCELLED, and it is gone. */
void celery_sending_close(struct celery_sending *sending);

/* The body of a reply ({"worker": value}) when it answers the ticket, else NULL. The receiver's. */
struct json_object *celery_control_reply(const char *envelope, size_t length, const char *ticket);
/* Is the member of the replies' binding one of ours, and older than any console waits? */
bool celery_control_left_over(const char *member, size_t length, double now);

/* Asks the workers one round: ping all, then what they run, hold and know of those that answered. `done`
 * (may be NULL) once, in a later turn: `answered` of `asked` workers; `silent`: the others, by ", "; error
 * when it could not be sent. */
void celery_asked_ask(struct celery_system *system, const char *const *workers, size_t count,
                      void (*done)(void *data, size_t answered, size_t asked, const char *silent,
                                   const struct error *error),
                      void *data);
/* Nothing comes back to this data any more. */
void celery_asked_forsake(struct celery_system *system, const void *data);
/* Asks again and again from now on, while it may and somebody looks at the workers. */
void celery_asked_go_on(struct celery_system *system);
bool celery_asked_goes_on(const struct celery_system *system);
/* An act was done: what was answered is old. Asks anew when it goes on. */
void celery_asked_stale(struct celery_system *system);

#endif
