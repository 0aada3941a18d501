/*
 * A change is the only way to write to anything that is watched. It is a value that is previewed,
 * interlocked, recorded before and after, sent, and watched afterwards. The same code serves the dialog and
 * the batch commands.
 */
#ifndef BACKENDS_CHANGE_H
#define BACKENDS_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/access.h"
#include "backends/audit.h"
#include "core/action.h"
#include "core/error.h"
#include "core/loop.h"

enum change_reach {
    REACH_ONE,  /* one session: its last two digits are typed */
    REACH_MANY, /* several: their number is typed; the list is frozen */
    REACH_NAME, /* a tenant, a host, data: its name is typed */
};

enum step_outcome {
    STEP_WAITING,
    STEP_SENT,
    STEP_DONE,
    STEP_GONE, /* no longer the thing that was selected */
    STEP_FAILED,
    STEP_UNKNOWN, /* the line broke after it was sent: it may have been done or not */
    STEP_SKIPPED, /* not sent: an earlier step failed, or the user stopped the rest */
    STEP_OUTCOMES
};

struct change;
struct change_step {
    const char *server;  /* where, when it is not the change's server; NULL: it is */
    const char *role;    /* as which login, when it is not the change's; NULL: it is */
    const char *name;    /* short, for the report: "nginx.service on web1"; NULL: target up to its '@' */
    const char *target;  /* identity: "8121@2026-11-21 13:58:31.204+00" */
    const char *subject; /* for people: "app_user · gunicorn web2 · idle in transaction 4 m 12 s · has
                            written: yes" */
    const char *command; /* exactly what is sent */
    const char *undo;    /* NULL: none */
    /* Sends it. Calls change_step_done exactly once, in this turn or later. */
    void (*send)(struct change *change, struct change_step *step);
    void *data; /* the backend's own */
    enum step_outcome outcome;
    struct error error;
    const char *output; /* what it printed, for people; NULL: nothing. A talloc child of the change */
};

struct change {
    enum hazard hazard;
    enum change_reach reach;
    const char *environment, *server, *role; /* role: the login, "sb_act" */
    const char *verb;                        /* "terminate" */
    const char *past;                        /* "restarted", for the report; NULL: made from the verb */
    const char *title;                       /* "End session 8121 on main" */
    const char *confirm;                     /* what must be typed: "21", "17", "al_noor" */
    const char *confirm_prompt;              /* "the last two digits of the session" */
    const char *effect;                      /* what it would really do; may have several lines */
    const char *milder;                      /* the milder lever, or NULL */
    const char *left_out;                    /* "2 walsenders are left out", or NULL */
    const char *reason;                      /* set before change_send; NULL allowed */
    bool wants_reason;                       /* NULL is not: it goes against a rule */
    struct change_step *steps;
    size_t step_count;
    /* How many steps are in flight at once; those of one server go one after the other, in their order. 0:
     * all steps are sent in one turn. */
    size_t batch;
    /* The first step that is not done (failed, gone, unknown) stops those that are not sent yet. */
    bool stop_at_failure;
    /* Looks whether the target is still the thing, right before sending; NULL: the statement itself checks.
     */
    bool (*still_there)(struct change *change, struct error *error);
    /* Afterwards: writes what became of it ("behind 31 → 0 after 3 s") into buffer; returns true when there
     * is nothing more to watch. May be NULL. Called after each new snapshot. */
    bool (*watch)(struct change *change, char *buffer, size_t size);
    bool withdrawable; /* freeing it withdraws what is in flight: nothing comes back to it */
    bool shows_output; /* what the steps print is what it is done for */
    /* A step is over: for telling how far it is and what it printed. May be NULL. */
    void (*step_over)(struct change *change, struct change_step *step, void *data);
    void *step_over_data;
    /* A fresh change that takes back the steps that were done, or NULL when there is nothing to take back.
     * May be NULL. To be asked after `done`. */
    struct change *(*take_back)(const struct change *change);
    void *data;
    /* internal */
    struct change_run *run;
};

/* A zeroed change on its own talloc context; everything in it is allocated under it. */
struct change *change_new(void);

/* May it be sent at all? Refused when locked, without the role, or when the target is gone. Fills error
 * (ERROR_INTERLOCK, ERROR_GONE ...) with what to do. */
bool change_allowed(const struct change *change, const struct access *access, struct error *error);
/* Is `typed` what confirms it? Surrounding blanks do not count; an empty confirmation never does. */
bool change_confirmed(const struct change *change, const char *typed);

/* The preview as plain text, line by line "Label    text", as --dry-run prints it. Fresh talloc string. */
char *change_preview(const void *context, const struct change *change);

/* Records before, sends every step, records after as soon as a step is over; then `done` once on the loop's
 * thread. The change must stay until then. When the record cannot be written anywhere, nothing is sent,
 * unless break-glass is on. `report` is a sentence for the footer ("ended 8121 after 0.1 s"). */
void change_send(struct change *change, struct loop *loop, struct access *access, struct audit *audit,
                 void (*done)(void *data, struct change *change, const char *report,
                              const struct error *error),
                 void *data);
void change_step_done(struct change *change, struct change_step *step, enum step_outcome outcome,
                      const struct error *error);
/* Nothing more of it is sent; what is in flight is waited for. Does nothing when it is not being sent. */
void change_stop(struct change *change);
/* Was it? For steps that take long: they end where they can be continued. */
bool change_stopped(const struct change *change);
/* The same, and what is in flight counts as unknown from now on: `done` comes as soon as that is on record.
 * Only for changes that are `withdrawable`. */
void change_abandon(struct change *change);

#endif
