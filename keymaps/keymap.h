/*
 * Keys and what they do: the loader of *.keymap files, the names of keys, and the look-up from keys to
 * actions. Files hold lines `CONTEXT KEY [KEY] ACTION`, `unbind CONTEXT KEY [KEY]`, `keymap: vim` (a user's
 * file only), blank lines and # comments. Nothing else in signalbox names a key.
 */
#ifndef KEYMAPS_KEYMAP_H
#define KEYMAPS_KEYMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/action.h"
#include "core/error_list.h"
#include "core/keycode.h"

enum { KEY_SEQUENCE_MAX = 2 }; /* "g g" */

struct keymap;

/*
 * The built-in keymap `base` ("default", "vim", "emacs"; vim and emacs go on top of default; NULL: what the
 * user's file says in a line `keymap: vim`, else "default") with the file `user_path` on top (NULL: none;
 * one that does not exist is none). `actions` are all actions there are: others are errors. Contexts are
 * those of the general actions, the panel's and its views', and whatever stands before the dot of an action.
 * NULL when anything is wrong; then every error was added to `errors`, where holding "file:line".
 * The map keeps pointers to the actions' ids. Blocks (reads a file).
 */
struct keymap *keymap_load(const void *context, const char *base, const char *user_path,
                           const struct action *const *actions, size_t action_count,
                           struct error_list *errors);

/* The same with the user's file from memory; `path` is what errors call it, text NULL is none. */
struct keymap *keymap_parse(const void *context, const char *base, const char *path, const char *text,
                            size_t length, const struct action *const *actions, size_t action_count,
                            struct error_list *errors);

/*
 * The action that these keys start, looked for in the contexts in order (innermost first). NULL when there
 * is none; *more (may be NULL) then says whether a further key could complete a sequence, so that the caller
 * waits for it. An inner context's binding hides an outer one's.
 */
const char *keymap_find(const struct keymap *map, const char *const contexts[], size_t context_count,
                        const keycode *keys, size_t key_count, bool *more);

/* The first key of an action as text ("F9", "g g") that really starts it in these contexts (one hidden by an
 * inner context does not count), or NULL when it has none. 64 bytes are enough. Returns buffer. */
const char *keymap_key_of(const struct keymap *map, const char *const contexts[], size_t context_count,
                          const char *action_id, char *buffer, size_t size);

/* All of its keys, joined by ", ", in the order of the files. Fresh talloc string; empty when there are none.
 */
char *keymap_keys_of(const void *context, const struct keymap *map, const char *const contexts[],
                     size_t context_count, const char *action_id);

/* "default", "vim" or "emacs": what the map is based on. */
const char *keymap_base(const struct keymap *map);

#endif
