/*
 * A dialog: a box with labelled texts, choices, fields and perhaps a confirmation that must be typed. The
 * dialog is data; who opens it adds items, hands it keys and asks for the values. Keys that were typed before
 * it could be seen never reach it: it takes nothing but leaving until it has been drawn and no key has come
 * for DIALOG_QUIET_S. Until then its footer says "a moment".
 */
#ifndef TUI_DIALOG_H
#define TUI_DIALOG_H

#include <stdbool.h>
#include <stddef.h>

#include "core/keycode.h"
#include "tui/screen.h"

struct dialog;

#define DIALOG_QUIET_S 0.3

enum dialog_result {
    DIALOG_OPEN,    /* still open; draw */
    DIALOG_IGNORED, /* not a key of the dialog's (another action than dialog.*, which is no text either) */
    DIALOG_LEAVE,   /* the user left without doing anything */
    DIALOG_ACCEPT,  /* accepted: every required field is filled, the confirmation is right */
    DIALOG_DRY_RUN, /* show what would be sent and send nothing; the dialog may stay open */
};

/* badge: "PRODUCTION", drawn as ▌PRODUCTION▐ in badge_style, or NULL. All texts are copied. Owned by
 * `context`; talloc_free. */
struct dialog *dialog_new(const void *context, const char *title, const char *badge, enum style badge_style);
/* The border's style: STYLE_BORDER, or STYLE_BREAK_GLASS. */
void dialog_set_border(struct dialog *dialog, enum style style);
/* Whether dry run is offered (default: no). */
void dialog_set_dry_run(struct dialog *dialog, bool offered);
/* What accepting does, for the border at the bottom: "cancel the statement". Default "go on". */
void dialog_set_accept(struct dialog *dialog, const char *label);
/* The keys of the dialog's actions as text, from the keymap (keymap_key_of), for the border at the bottom.
 * NULL leaves an entry out. Copied. */
struct dialog_keys {
    const char *leave, *accept, *dry_run, *next_field;
};
void dialog_set_keys(struct dialog *dialog, const struct dialog_keys *keys);

/* Items, from top to bottom. Each returns its number. A label that is NULL or "" continues the item above. */
int dialog_add_text(struct dialog *dialog, const char *label, enum style style, const char *text);
/* A choice of the one list of choices; Up and Down move "▸" among them. The first that is not disabled is
 * chosen. `disabled` says why it cannot be chosen, or NULL. */
int dialog_add_choice(struct dialog *dialog, const char *label, const char *text, const char *disabled);
struct dialog_field {
    const char *label;
    const char *text; /* what stands in it at first, or NULL */
    const char *hint; /* shown dim behind it: "where the value comes from" */
    bool required;    /* accepting wants something in it */
    bool secret;      /* drawn as dots, wiped from memory with the dialog */
};
int dialog_add_field(struct dialog *dialog, const struct dialog_field *field);
/* The last item: "Type the last two digits of the session: _". Accepting wants exactly `expected`. `notice`
 * is a sentence before it ("This unlocks production for 30 min."), or NULL. */
int dialog_add_confirmation(struct dialog *dialog, const char *notice, const char *prompt,
                            const char *expected);

/* New text, for effects that change while the dialog is open, or with the choice. */
void dialog_set_text(struct dialog *dialog, int item, enum style style, const char *text);
/* The confirmation asks for something else (the choice has changed); what was typed is taken off. */
void dialog_set_expected(struct dialog *dialog, int item, const char *prompt, const char *expected);
/* A line at the bottom: why it was not accepted, what is being done. NULL takes it off. */
void dialog_set_message(struct dialog *dialog, enum severity severity, const char *text);

/* The number of the chosen choice's item, or -1. */
int dialog_chosen(const struct dialog *dialog);
/* What a field holds. Borrowed until the next key. */
const char *dialog_value(const struct dialog *dialog, int item);

/* A key, with the action that it has in the context "dialog" (NULL: none). Characters go into the field. */
enum dialog_result dialog_key(struct dialog *dialog, keycode key, const char *action_id);
void dialog_paste(struct dialog *dialog, const char *text);
/* Seconds until the dialog takes keys (0: it does now; negative: not drawn yet). Draw again then. */
double dialog_wait(const struct dialog *dialog);

/* Draws the box over what is on the screen, between the rows `top` and `bottom` (exclusive). What does not
 * fit scrolls. */
void dialog_draw(struct dialog *dialog, struct screen *screen, int top, int bottom);

#endif
