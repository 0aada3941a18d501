/*
 * Actions are data: what a person can do, described once. Keys stand in keymaps/ alone and refer to actions
 * by id. From these tables come dispatch, the footer, ? help, the palette, : completion and the manual page.
 */
#ifndef CORE_ACTION_H
#define CORE_ACTION_H

#include <stddef.h>

enum hazard {
    HAZARD_LOOK,    /* reads only */
    HAZARD_MEASURE, /* runs a statement of the user's on a server, in a sandbox */
    HAZARD_CHANGE,  /* changes something that can be redone (a cancelled statement) */
    HAZARD_DESTROY, /* ends or removes something */
};

enum action_need {
    NEED_NOTHING = 0,
    NEED_ROW = 1,  /* a row is selected */
    NEED_ACT = 2,  /* the role `act` */
    NEED_READ = 4, /* the role `read` */
};

struct action {
    const char *id; /* "queries.cancel": the part before the dot is the context that its keys belong to */
    const char *command; /* the word behind ":", or NULL: "cancel" */
    const char *label;   /* one or two words for the footer, or NULL: never in the footer */
    const char *help;    /* one line */
    enum hazard hazard;
    unsigned needs; /* enum action_need, or-ed */
};

/* "look", "measure", "change", "destroy". */
const char *hazard_name(enum hazard hazard);

#endif
