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
    STEP_GONE /* no longer the thing that was selected */,
    STEP_FAILED
};

struct change;
struct change_step {
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
};

struct change {
    enum hazard hazard;
    enum change_reach reach;
    const char *environment, *server, *role; /* role: the login, "sb_act" */
    const char *verb;                        /* "terminate" */
    const char *title;                       /* "End session 8121 on main" */
    const char *confirm;                     /* what must be typed: "21", "17", "al_noor" */
    const char *confirm_prompt;              /* "the last two digits of the session" */
    const char *effect;                      /* what it would really do; may have several lines */
    const char *milder;                      /* the milder lever, or NULL */
    const char *left_out;                    /* "2 walsenders are left out", or NULL */
    const char *reason;                      /* set before change_send; NULL allowed */
    struct change_step *steps;
    size_t step_count;
    /* Looks whether the target is still the thing, right before sending; NULL: the statement itself checks.
     */
    bool (*still_there)(struct change *change, struct error *error);
    /* Afterwards: writes what became of it ("behind 31 → 0 after 3 s") into buffer; returns true when there
     * is nothing more to watch. May be NULL. Called after each new snapshot. */
    bool (*watch)(struct change *change, char *buffer, size_t size);
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

/* Records before, sends every step, records after; then `done` once on the loop's thread. The change must
 * stay until then. When the record cannot be written anywhere, nothing is sent, unless break-glass is on.
 * `report` is a sentence for the footer ("ended 8121 after 0.1 s"). */
void change_send(struct change *change, struct loop *loop, struct access *access, struct audit *audit,
                 void (*done)(void *data, struct change *change, const char *report,
                              const struct error *error),
                 void *data);
void change_step_done(struct change *change, struct change_step *step, enum step_outcome outcome,
                      const struct error *error);

#endif
