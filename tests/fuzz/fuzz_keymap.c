/* libFuzzer: any bytes as a user's keymap, and as the name of a key. Every binding that is taken must be
 * found again by its own name; no error may carry a control character. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "keymaps/general_actions.h"
#include "keymaps/keymap.h"
#include "tests/stand_ins.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const char *text)
{
    keycode key, again;
    char name[32];
    if (!key_parse(text, &key))
        return;
    if (!key_parse(key_format(name, sizeof name, key), &again) || again != key)
        abort();
}

static void check_map(const struct keymap *map, const struct action *const *actions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char context[64], text[64];
        snprintf(context, sizeof context, "%.*s", (int)strcspn(actions[i]->id, "."), actions[i]->id);
        const char *contexts[] = {context};
        keycode keys[KEY_SEQUENCE_MAX];
        size_t length = 0;
        if (!keymap_key_of(map, contexts, 1, actions[i]->id, text, sizeof text))
            continue;
        char *rest = NULL;
        for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            if (length == KEY_SEQUENCE_MAX || !key_parse(word, &keys[length++]))
                abort();
        const char *found = keymap_find(map, contexts, 1, keys, length, NULL);
        if (!found || strcmp(found, actions[i]->id) != 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error_list *errors = error_list_new(NULL);
    static struct stand_ins *all; /* made once: that takes longer than a run */
    if (!all)
        all = stand_ins_new(NULL, NULL, 0);
    const struct action *const *actions = all->actions;
    size_t count = all->count;
    check_key(talloc_strndup(errors, (const char *)data, size));
    struct keymap *map =
        keymap_parse(errors, NULL, "fuzz.keymap", (const char *)data, size, actions, count, errors);
    if (!map != (errors->count > 0))
        abort();
    if (map)
        check_map(map, actions, count);
    for (const char *c = error_list_text(errors, errors); *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7f)
            abort();
    talloc_free(errors);
    return 0;
}
