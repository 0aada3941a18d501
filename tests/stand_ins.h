/* The built-in keymaps name actions of panels. Tests that link no panel put stand-ins in their place. */
#ifndef TESTS_STAND_INS_H
#define TESTS_STAND_INS_H

#include <string.h>
#include <talloc.h>

#include "core/action.h"
#include "keymaps/general_actions.h"

extern const char default_keymap[], vim_keymap[], emacs_keymap[];

struct stand_ins {
    const struct action **actions;
    size_t count;
};

static inline void stand_ins_add(struct stand_ins *all, const struct action *action)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->actions[i]->id, action->id) == 0)
            return;
    all->actions = talloc_realloc(all, all->actions, const struct action *, all->count + 1);
    all->actions[all->count++] = action;
}

/* The general actions, the `given` ones, and a stand-in for each further action that a built-in keymap names.
 */
static inline struct stand_ins *stand_ins_new(const void *context, const struct action *given,
                                              size_t given_count)
{
    struct stand_ins *all = talloc_zero(context, struct stand_ins);
    const char *const keymaps[] = {default_keymap, vim_keymap, emacs_keymap};
    size_t general;
    const struct action *table = general_actions(&general);
    for (size_t i = 0; i < general; i++)
        stand_ins_add(all, &table[i]);
    for (size_t i = 0; i < given_count; i++)
        stand_ins_add(all, &given[i]);
    for (size_t i = 0; i < 3; i++) {
        char *rest = NULL;
        for (char *line = strtok_r(talloc_strdup(all, keymaps[i]), "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest)) {
            const char *id = NULL;
            char *words = NULL;
            for (char *word = strtok_r(line, " \t", &words); word && *word != '#';
                 word = strtok_r(NULL, " \t", &words))
                id = word;
            if (!id || !strchr(id, '.') || !id[1])
                continue;
            struct action *action = talloc_zero(all, struct action);
            *action = (struct action){.id = id, .help = "stand-in"};
            stand_ins_add(all, action);
        }
    }
    return all;
}

#endif
