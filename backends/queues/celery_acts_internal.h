/* What the acts on Celery's jobs share: the frozen set of jobs that are meant, the step that talks to Redis,
 * and the engines that move, replace and return. Only celery_acts*.c include it. */
#ifndef BACKENDS_QUEUES_CELERY_ACTS_INTERNAL_H
#define BACKENDS_QUEUES_CELERY_ACTS_INTERNAL_H

#include <hiredis/hiredis.h>

#include "backends/queues/celery_aside.h"
#include "backends/queues/celery_control.h"
#include "backends/queues/celery_scripts.h"

/* ---- celery_frozen.c: which messages are meant, by the SHA-1 of their exact bytes ---- */

struct celery_frozen;
struct celery_frozen *celery_frozen_new(const void *context);
void celery_frozen_add(struct celery_frozen *frozen, const char *raw, size_t length);
/* No more are added. */
void celery_frozen_seal(struct celery_frozen *frozen);
size_t celery_frozen_count(const struct celery_frozen *frozen);
/* Is it one that was not taken yet? Then it is now, and its SHA-1 is in `digits`. */
bool celery_frozen_take(struct celery_frozen *frozen, const char *raw, size_t length, char digits[41]);
/* The one with that SHA-1 is there again. */
void celery_frozen_give_back(struct celery_frozen *frozen, const char *digits);
size_t celery_frozen_left(const struct celery_frozen *frozen);

/* ---- celery_ids_file.c: the ids of all jobs of a change ---- */

/* Ids are shown while there are few; when there are many they stand in a file of the state folder, and the
 * change holds their number and the SHA-256 over the list. The file goes away with the change unless it was
 * kept. */
struct celery_id_list;
struct celery_id_list *celery_id_list_new(const void *context, struct loop *loop, const char *environment,
                                          const char *stamp);
void celery_id_list_add(struct celery_id_list *list, const char *id);
/* `done` in a later turn, when all of it is written; then the text can be asked for. */
void celery_id_list_close(struct celery_id_list *list, void (*done)(void *data, const struct error *error),
                          void *data);
/* "7f3a..., 81cc...", or the first of them and a line "10,000 ids, SHA-256 ..., listed in /.../acts/....ids".
 */
const char *celery_id_list_text(const struct celery_id_list *list);
void celery_id_list_keep(struct celery_id_list *list);

/* ---- celery_acts_step.c ---- */

/* Words of a command, borrowed until it is sent; a talloc chunk. */
struct celery_command {
    const char **words;
    size_t *lengths;
    int count;
};
struct celery_command *celery_command_new(const void *context, const char *name);
void celery_command_add(struct celery_command *command, const char *text);
void celery_command_bytes(struct celery_command *command, const char *bytes, size_t length);
void celery_command_number(struct celery_command *command, int64_t number);

struct celery_step;
/* How many jobs one script moves (0.8 ms for jobs of 1 kB), and how near to an end of a list a job must be to
 * be taken out alone. */
enum { CELERY_CALLS = 2, CELERY_CHUNK = 250, CELERY_CHUNK_BYTES = 1 << 20, CELERY_NEAR = 4000 };

/* What a change is about; a talloc child of it, and its `data`. */
struct celery_act {
    struct celery_system *system;
    struct change *change;
    enum queue_act act;
    const char *queue, *tenant, *filter_text; /* NULL: not about one */
    const struct job_filter *filter;          /* what decides when nothing was frozen */
    struct celery_frozen *frozen;             /* NULL: the tenant or the filter decides */
    struct celery_id_list *ids;
    const char *stamp;
    char token[33]; /* who moves a hold list */
    int64_t meant;
    const char **workers; /* ACT_REQUEUE: those that are declared */
    size_t worker_count;
    bool put_back; /* ACT_CONTINUE: what is held goes back, nothing more is taken out */
    /* For telling what became of it. */
    bool watched;
    double watch_began;
    int64_t watch_before;
};

/* A step acts on one list of the broker, and is its `data`. */
struct celery_step {
    struct celery_act *act;
    struct change_step *step;
    const char *list;       /* base name of the list that is acted on: the queue, or "dlq:reports" */
    int level;              /* priority step */
    const char *live;       /* its key */
    const char *group;      /* what is set aside, or comes back; NULL */
    const char *to_queue;   /* a queue instead of a group (retry); NULL */
    const char *hold;       /* group of the hold list; NULL */
    const struct job *jobs; /* given one by one, with raw bytes; NULL */
    size_t job_count;
    int64_t meant; /* jobs */
    void (*run)(struct celery_step *own);
    void *engine;       /* its own state, a talloc child of the step */
    int64_t done, gone; /* jobs */
    int64_t purged[CELERY_STEPS];
    bool goes_on; /* a move that was interrupted */
    bool begun;   /* there is a hold list */
    struct celery_call *calls[CELERY_CALLS];
};

/* Sends commands on the login that acts. `reply` for each that was answered well, `done` once: error is NULL,
 * or the first that was answered or the reason why there is no answer (*lost: it may have been done). Nothing
 * comes back when the step was freed meanwhile. */
struct celery_call_handler {
    void (*reply)(struct celery_step *own, int index, const struct redisReply *reply);
    void (*done)(struct celery_step *own, const struct error *error, bool lost);
};
void celery_step_call(struct celery_step *own, struct celery_command *const *commands, int count,
                      struct celery_call_handler handler);
/* EVAL with the number of keys; keys and arguments are added. */
struct celery_command *celery_step_eval(const void *context, const struct celery_step *own,
                                        enum celery_script script, int keys);
/* Adds field and value for what a note says: act, queue, tenant, filter, since, by, reason. Returns how many
 * words. */
int celery_step_note(struct celery_command *command, const struct celery_step *own);
/* How many words celery_step_note adds. */
int celery_step_note_words(const struct celery_step *own);
/* The step is over: tells how many of its jobs were done, and that some were gone. */
void celery_step_over(struct celery_step *own);
void celery_step_fail(struct celery_step *own, const struct error *error, bool lost);
/* Stopped by the user: what is not done stays as it is. */
void celery_step_stopped(struct celery_step *own, const char *rest);
/* A new step of a change. */
struct celery_step *celery_step_new(struct celery_act *act, const char *list, int level,
                                    void (*run)(struct celery_step *own));

/* "500,000": counts of what is changed are exact. Returns buffer. */
char *celery_exact(char *buffer, size_t size, int64_t count);

/* ---- engines: run functions of steps ---- */

void celery_run_walk(struct celery_step *own);    /* celery_acts_walk.c: rename, and back by a mask */
void celery_run_replace(struct celery_step *own); /* celery_acts_replace.c: expires, in place */
void celery_run_pick(struct celery_step *own);    /* celery_acts_pick.c: some jobs near an end */
void celery_run_return(struct celery_step *own);  /* celery_acts_return.c */
void celery_run_return_first(struct celery_step *own);
void celery_run_purge(struct celery_step *own);
void celery_run_empty(struct celery_step *own);
void celery_run_requeue(struct celery_step *own); /* celery_acts_requeue.c */
void celery_run_send(struct celery_step *own);    /* celery_acts_retry.c */

/* The priority step of a queue that a message belongs to. */
int celery_level_of(const struct celery_system *system, const char *raw, size_t length);

/* What `expires` is set to: a worker drops the job. */
#define CELERY_LONG_AGO "2000-01-01T00:00:00+00:00"

/* "reports" of the list "dlq:reports"; NULL: it is no list of dead letters. Within the list's name. */
const char *celery_dead_letters_of(const char *list);

/* A change with its act; nothing in it yet. */
struct celery_act *celery_act_new(struct celery_system *system, enum queue_act kind);

#endif
