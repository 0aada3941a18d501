#include "keymaps/keymap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "core/suggest.h"

enum { FILE_SIZE_MAX = 64 * 1024, WORDS_MAX = 5 };

/* Made by tools/embed from the files of the same names. */
extern const char default_keymap[], vim_keymap[], emacs_keymap[];

static const struct builtin {
    const char *name;
    const char *path; /* what errors call it */
    const char *text;
} builtins[] = {
    {"default", "default.keymap (built in)", default_keymap},
    {"vim", "vim.keymap (built in)", vim_keymap},
    {"emacs", "emacs.keymap (built in)", emacs_keymap},
};

/* Contexts whose actions may not exist: those of actions are known from the actions. */
static const char *const fixed_contexts[] = {"global",     "table",    "text",  "dialog", "prompt", "queries",
                                             "statements", "activity", "locks", "plan",   "audit",  "logs"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct binding {
    const char *context;
    keycode keys[KEY_SEQUENCE_MAX];
    size_t key_count;
    const char *action; /* NULL: an unbind */
    int line;
};

struct bindings {
    struct binding *items;
    size_t count;
};

struct keymap {
    const char *base;
    struct bindings bindings; /* in the order of the files */
};

struct loader {
    struct keymap *map;
    struct bindings layer; /* the file that is being read, unbinds included */
    const struct action *const *actions;
    size_t action_count;
    const char *path;
    int line;
    const char *chosen; /* what `keymap: NAME` said, or NULL */
    bool is_users;
    struct error_list *errors;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void append(const struct keymap *map, struct bindings *bindings, struct binding binding)
{
    bindings->items = must(talloc_realloc(map, bindings->items, struct binding, bindings->count + 1));
    bindings->items[bindings->count++] = binding;
}

static bool complain(struct loader *loader, const char *what, const char *todo, const char *why)
{
    return error_list_at(loader->errors, loader->path, loader->line, 0, what, todo, "%s", why);
}

static bool is_same_place(const struct binding *a, const struct binding *b)
{
    return a->key_count == b->key_count && memcmp(a->keys, b->keys, a->key_count * sizeof *a->keys) == 0 &&
           strcmp(a->context, b->context) == 0;
}

/* One of the two is the beginning of the other: then one of them could never be reached. */
static bool is_in_the_way(const struct binding *a, const struct binding *b)
{
    size_t shorter = a->key_count < b->key_count ? a->key_count : b->key_count;
    return memcmp(a->keys, b->keys, shorter * sizeof *a->keys) == 0 && strcmp(a->context, b->context) == 0;
}

static char *format_keys(char *buffer, size_t size, const struct binding *binding)
{
    size_t used = 0;
    for (size_t i = 0; i < binding->key_count; i++) {
        char name[32];
        used += (size_t)snprintf(buffer + (used < size ? used : size), used < size ? size - used : 0, "%s%s",
                                 i ? " " : "", key_format(name, sizeof name, binding->keys[i]));
    }
    return buffer;
}

static bool complain_context(struct loader *loader, const char *word)
{
    size_t count = 0;
    const char **names = must(talloc_array(NULL, const char *, COUNT(fixed_contexts) + loader->action_count));
    for (size_t i = 0; i < COUNT(fixed_contexts); i++)
        names[count++] = fixed_contexts[i];
    for (size_t i = 0; i < loader->action_count; i++)
        names[count++] =
            must(talloc_strndup(names, loader->actions[i]->id, strcspn(loader->actions[i]->id, ".")));
    const char *near = suggest_word(word, names, count);
    char todo[128] = "Use global, table, text, dialog, prompt or the name of a panel or view";
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    talloc_free(names);
    return complain(loader, word, todo, "unknown context");
}

/* The context as a text that lives as long as the map, or NULL after an error. */
static const char *find_context(struct loader *loader, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i < COUNT(fixed_contexts); i++)
        if (strcmp(fixed_contexts[i], word) == 0)
            return fixed_contexts[i];
    for (size_t i = 0; i < loader->action_count; i++)
        if (strncmp(loader->actions[i]->id, word, length) == 0 && loader->actions[i]->id[length] == '.')
            return must(talloc_strdup(loader->map, word));
    complain_context(loader, word);
    return NULL;
}

static const struct action *find_action(struct loader *loader, const char *word)
{
    for (size_t i = 0; i < loader->action_count; i++)
        if (strcmp(loader->actions[i]->id, word) == 0)
            return loader->actions[i];
    const char **ids = must(talloc_array(NULL, const char *, loader->action_count + 1));
    for (size_t i = 0; i < loader->action_count; i++)
        ids[i] = loader->actions[i]->id;
    const char *near = suggest_word(word, ids, loader->action_count);
    char todo[128] = "The help (?) and the manual page list all actions";
    if (near)
        snprintf(todo, sizeof todo, "Did you mean %s?", near);
    complain(loader, word, todo, "unknown action");
    talloc_free(ids);
    return NULL;
}

static bool is_character(keycode key)
{
    return key < KEYCODE_BASE;
}

/* Keys that are typed without thought, or as text, must not do harm. */
static bool check_safety(struct loader *loader, const struct binding *binding, const struct action *action)
{
    char keys[64];
    format_keys(keys, sizeof keys, binding);
    keycode first = binding->keys[0];
    bool typed = strcmp(binding->context, "dialog") == 0 || strcmp(binding->context, "prompt") == 0;
    if (typed && is_character(first))
        return complain(loader, keys, "Use a function key, or a key with C- or M-",
                        "characters are typed as text here");
    bool careless = true;
    for (size_t i = 0; i < binding->key_count; i++)
        careless = careless && (is_character(binding->keys[i]) || binding->keys[i] == KEYCODE_ENTER ||
                                binding->keys[i] == KEYCODE_ESC || binding->keys[i] == KEYCODE_TAB ||
                                binding->keys[i] == (KEYCODE_CTRL | 'd'));
    if (careless && action && action->hazard >= HAZARD_CHANGE)
        return complain(loader, keys, "Use a function key, or a key with C- or M-, such as F9",
                        "what changes or destroys is never on a key that is pressed by accident");
    return true;
}

/* Two lines of one file that contradict each other are a mistake of its writer. */
static bool check_conflicts(struct loader *loader, const struct binding *fresh)
{
    char keys[64], other[64], what[160];
    for (size_t i = 0; i < loader->layer.count; i++) {
        const struct binding *old = &loader->layer.items[i];
        if (!old->action != !fresh->action || !is_in_the_way(old, fresh))
            continue;
        snprintf(what, sizeof what, "%s %s", fresh->context, format_keys(keys, sizeof keys, fresh));
        bool same = is_same_place(old, fresh);
        if (same && (!fresh->action || strcmp(old->action, fresh->action) == 0))
            return error_list_at(loader->errors, loader->path, loader->line, 0, what, "Remove one of the two",
                                 "the same as line %d", old->line);
        if (same)
            return error_list_at(loader->errors, loader->path, loader->line, 0, what, "Remove one of the two",
                                 "already bound to %s in line %d", old->action, old->line);
        if (fresh->action)
            return error_list_at(loader->errors, loader->path, loader->line, 0, what, "Remove one of the two",
                                 "\"%s\" in line %d begins the same way: only one of them can be reached",
                                 format_keys(other, sizeof other, old), old->line);
    }
    return true;
}

static bool parse_keys(struct loader *loader, char **words, size_t count, struct binding *binding)
{
    if (count < 1 || count > KEY_SEQUENCE_MAX)
        return complain(loader, "this line", "Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY [KEY]",
                        count ? "more than two keys" : "a word is missing");
    bool good = true;
    for (size_t i = 0; i < count; i++)
        if (!key_parse(words[i], &binding->keys[i]))
            good = complain(loader, words[i],
                            "Write j, G, Space, Enter, S-Tab, PgDn, F9, S-F1, C-l, M-x or the like",
                            "not a key that terminals send");
    binding->key_count = count;
    return good;
}

/* All that is wrong with a line is told, so nothing returns early. */
static void read_binding(struct loader *loader, char **words, size_t count)
{
    bool unbind = strcmp(words[0], "unbind") == 0;
    if (unbind) {
        words++;
        count--;
    }
    if (count < (unbind ? 2 : 3)) {
        complain(loader, "this line", "Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY [KEY]",
                 "a word is missing");
        return;
    }
    struct binding binding = {.line = loader->line};
    binding.context = find_context(loader, words[0]);
    bool keys = parse_keys(loader, words + 1, count - (unbind ? 1 : 2), &binding);
    const struct action *action = unbind ? NULL : find_action(loader, words[count - 1]);
    if (action && binding.context) {
        size_t length = strlen(binding.context);
        if (strncmp(action->id, binding.context, length) != 0 || action->id[length] != '.') {
            char todo[160];
            snprintf(todo, sizeof todo, "Write %.*s in front of the key", (int)strcspn(action->id, "."),
                     action->id);
            error_list_at(loader->errors, loader->path, loader->line, 0, action->id, todo,
                          "this action does not belong to the context %s", binding.context);
            return;
        }
        binding.action = action->id;
    }
    if (!keys || !binding.context || (!unbind && !action))
        return;
    if ((unbind || check_safety(loader, &binding, action)) && check_conflicts(loader, &binding))
        append(loader->map, &loader->layer, binding);
}

/* `keymap: vim` in a user's file. */
static void read_choice(struct loader *loader, char **words, size_t count)
{
    const char *name = count == 2 ? words[1] : "";
    const struct builtin *found = NULL;
    for (size_t i = 0; i < COUNT(builtins); i++)
        if (strcmp(builtins[i].name, name) == 0)
            found = &builtins[i];
    if (!loader->is_users)
        complain(loader, "keymap:", "Remove the line", "a built-in keymap names no other");
    else if (!found)
        complain(loader, "keymap:", "Write keymap: default, keymap: vim or keymap: emacs",
                 "not the name of a built-in keymap");
    else if (loader->chosen)
        complain(loader, "keymap:", "Remove one of the two", "given twice");
    else
        loader->chosen = found->name;
}

static void read_line(struct loader *loader, char *line)
{
    char *words[WORDS_MAX + 1], *rest = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
        /* "#" right behind the context is the key. */
        bool key = strcmp(word, "#") == 0 && count && count == 1u + (strcmp(words[0], "unbind") == 0);
        if (*word == '#' && !key)
            break;
        if (count == WORDS_MAX) {
            complain(loader, "this line", "Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY [KEY]",
                     "too many words");
            return;
        }
        words[count++] = word;
    }
    if (!count)
        return;
    if (strcmp(words[0], "keymap:") == 0)
        read_choice(loader, words, count);
    else
        read_binding(loader, words, count);
}

static void read_text(struct loader *loader, const char *path, const char *text, size_t length)
{
    loader->path = path;
    loader->line = 0;
    loader->layer = (struct bindings){NULL, 0};
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        length -= 3;
    }
    const char *end = text + length;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t size = (size_t)((newline ? newline : end) - text);
        loader->line++;
        if (memchr(text, 0, size)) {
            complain(loader, "this line", "Save the file as plain text", "a NUL byte");
        } else {
            char *line = must(talloc_strndup(NULL, text, size));
            read_line(loader, line);
            talloc_free(line);
        }
        text += size + 1;
    }
}

/* What the layer says replaces what was there: the same keys, and keys that would hide or be hidden. */
static void apply_layer(struct loader *loader)
{
    struct bindings *below = &loader->map->bindings;
    for (size_t i = 0; i < loader->layer.count; i++) {
        const struct binding *upper = &loader->layer.items[i];
        size_t kept = 0;
        for (size_t j = 0; j < below->count; j++)
            if (upper->action ? !is_in_the_way(&below->items[j], upper)
                              : !is_same_place(&below->items[j], upper))
                below->items[kept++] = below->items[j];
        if (!upper->action && kept == below->count) {
            char keys[64];
            loader->line = upper->line;
            complain(loader, format_keys(keys, sizeof keys, upper), "Remove the line",
                     "nothing is bound to it in this context");
        }
        below->count = kept;
    }
    for (size_t i = 0; i < loader->layer.count; i++)
        if (loader->layer.items[i].action)
            append(loader->map, below, loader->layer.items[i]);
}

/* The file as a talloc string; NULL when there is none, or after an error. */
static char *read_file(const void *context, const char *path, size_t *length, struct error_list *errors)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            error_list_at(errors, path, 0, 0, "cannot read it", NULL, "%s", strerror(errno));
        return NULL;
    }
    char *text = NULL;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        error_list_at(errors, path, 0, 0, "cannot read it", "Name a keymap file", "it is not a file");
    } else {
        text = must(talloc_size(context, FILE_SIZE_MAX + 1));
        ssize_t got;
        *length = 0;
        while (*length <= FILE_SIZE_MAX && (got = read(fd, text + *length, FILE_SIZE_MAX + 1 - *length)) > 0)
            *length += (size_t)got;
        if (*length > FILE_SIZE_MAX) {
            error_list_at(errors, path, 0, 0, "cannot read it", "Name a keymap file",
                          "it is larger than 64 kB");
            TALLOC_FREE(text);
        }
    }
    close(fd);
    return text;
}

static void load_builtin(struct loader *loader, const struct builtin *builtin)
{
    read_text(loader, builtin->path, builtin->text, strlen(builtin->text));
    apply_layer(loader);
}

static void load_layers(struct loader *loader, const char *base, const char *path, const char *text,
                        size_t length)
{
    struct keymap *map = loader->map;
    /* The user's file is read first, because it may choose what it goes on top of. */
    loader->is_users = true;
    if (text)
        read_text(loader, path, text, length);
    struct bindings users = loader->layer;
    loader->is_users = false;
    map->base = base ? base : loader->chosen ? loader->chosen : "default";
    const struct builtin *found = NULL;
    for (size_t i = 0; i < COUNT(builtins); i++)
        if (strcmp(builtins[i].name, map->base) == 0)
            found = &builtins[i];
    load_builtin(loader, &builtins[0]);
    if (!found)
        error_list_set(loader->errors, ERROR_USAGE, NULL, "unknown keymap",
                       "It is one of default, vim and emacs", "there is no built-in keymap \"%s\"",
                       map->base);
    else if (found != &builtins[0])
        load_builtin(loader, found);
    if (found)
        map->base = found->name;
    loader->path = path;
    loader->layer = users;
    apply_layer(loader);
}

struct keymap *keymap_parse(const void *context, const char *base, const char *path, const char *text,
                            size_t length, const struct action *const *actions, size_t action_count,
                            struct error_list *errors)
{
    struct keymap *map = must(talloc_zero(context, struct keymap));
    struct loader loader = {.map = map, .actions = actions, .action_count = action_count, .errors = errors};
    size_t before = errors->count + errors->dropped;
    load_layers(&loader, base, path, text, length);
    if (errors->count + errors->dropped > before)
        TALLOC_FREE(map);
    return map;
}

struct keymap *keymap_load(const void *context, const char *base, const char *user_path,
                           const struct action *const *actions, size_t action_count,
                           struct error_list *errors)
{
    size_t before = errors->count + errors->dropped, length = 0;
    char *text = user_path ? read_file(NULL, user_path, &length, errors) : NULL;
    struct keymap *map = keymap_parse(context, base, user_path, text, length, actions, action_count, errors);
    talloc_free(text);
    if (errors->count + errors->dropped > before)
        TALLOC_FREE(map);
    return map;
}

const char *keymap_base(const struct keymap *map)
{
    return map->base;
}

const char *keymap_find(const struct keymap *map, const char *const contexts[], size_t context_count,
                        const keycode *keys, size_t key_count, bool *more)
{
    if (more)
        *more = false;
    struct binding wanted = {.key_count = key_count};
    if (!key_count || key_count > KEY_SEQUENCE_MAX)
        return NULL;
    memcpy(wanted.keys, keys, key_count * sizeof *keys);
    for (size_t i = 0; i < context_count; i++) {
        wanted.context = contexts[i];
        bool begins = false;
        for (size_t j = 0; j < map->bindings.count; j++) {
            const struct binding *binding = &map->bindings.items[j];
            if (is_same_place(binding, &wanted))
                return binding->action;
            begins = begins || (binding->key_count > key_count && is_in_the_way(binding, &wanted));
        }
        if (begins) {
            if (more)
                *more = true;
            return NULL;
        }
    }
    return NULL;
}

/* Pressing its keys one after the other really comes to its action in these contexts. */
static bool is_reachable(const struct keymap *map, const char *const contexts[], size_t context_count,
                         const struct binding *binding)
{
    for (size_t i = 1; i < binding->key_count; i++) {
        bool more;
        if (keymap_find(map, contexts, context_count, binding->keys, i, &more) || !more)
            return false;
    }
    const char *found = keymap_find(map, contexts, context_count, binding->keys, binding->key_count, NULL);
    return found && strcmp(found, binding->action) == 0;
}

const char *keymap_key_of(const struct keymap *map, const char *const contexts[], size_t context_count,
                          const char *action_id, char *buffer, size_t size)
{
    for (size_t i = 0; i < map->bindings.count; i++) {
        const struct binding *binding = &map->bindings.items[i];
        if (strcmp(binding->action, action_id) == 0 && is_reachable(map, contexts, context_count, binding))
            return format_keys(buffer, size, binding);
    }
    return NULL;
}

char *keymap_keys_of(const void *context, const struct keymap *map, const char *const contexts[],
                     size_t context_count, const char *action_id)
{
    char *text = must(talloc_strdup(context, ""));
    for (size_t i = 0; i < map->bindings.count; i++) {
        const struct binding *binding = &map->bindings.items[i];
        char keys[64];
        if (strcmp(binding->action, action_id) == 0 && is_reachable(map, contexts, context_count, binding))
            text = must(talloc_asprintf_append(text, "%s%s", *text ? ", " : "",
                                               format_keys(keys, sizeof keys, binding)));
    }
    return text;
}
