/* The actions that belong to no panel: contexts global, table (lists and trees), text (pages of text),
 * dialog, prompt. Their keys stand in the *.keymap files. */
#ifndef KEYMAPS_GENERAL_ACTIONS_H
#define KEYMAPS_GENERAL_ACTIONS_H

#include "core/action.h"

/* All of them, in the order in which help shows them; *count says how many. */
const struct action *general_actions(size_t *count);

#endif
