/* Keys and keymaps: names of keys, the built-in files, a user's file on top, and every error with its line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "keymaps/general_actions.h"
#include "keymaps/keymap.h"
#include "tests/stand_ins.h"
#include "tests/unit/unit.h"

static const struct action panel_actions[] = {
    {"queries.shell", "shell", "shell", "psql on this server", HAZARD_LOOK, 0},
    {"queries.end", "end", "end", "cancel or end", HAZARD_DESTROY, NEED_ROW | NEED_ACT},
    {"tiny.poke", NULL, NULL, "an action of a new panel", HAZARD_LOOK, 0},
};

struct fixture {
    void *context;
    const struct action **actions;
    size_t count;
    struct error_list *errors;
    char *path;
};

static int set_up(void **state)
{
    struct fixture *f = talloc_zero(NULL, struct fixture);
    struct stand_ins *all = stand_ins_new(f, panel_actions, sizeof panel_actions / sizeof *panel_actions);
    f->actions = all->actions;
    f->count = all->count;
    f->errors = error_list_new(f);
    const char *temporary = getenv("TMPDIR");
    f->path = talloc_asprintf(f, "%s/test_keymap.XXXXXX", temporary ? temporary : "/tmp");
    int fd = mkstemp(f->path);
    if (fd < 0)
        return -1;
    close(fd);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    talloc_free(f);
    return 0;
}

static struct keymap *load_bytes(struct fixture *f, const char *base, const char *text, size_t length)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return keymap_load(f, base, f->path, f->actions, f->count, f->errors);
}

static struct keymap *load(struct fixture *f, const char *base, const char *text)
{
    struct keymap *map = load_bytes(f, base, text, strlen(text));
    if (!map)
        print_message("%s", error_list_text(f, f->errors));
    return map;
}

/* The file is refused with exactly these lines ("3: what: why. todo", one a line). */
static void assert_refused(struct fixture *f, const char *text, const char *expected)
{
    talloc_free(f->errors);
    f->errors = error_list_new(f);
    assert_null(load_bytes(f, NULL, text, strlen(text)));
    char *all = talloc_strdup(f, ""), *prefix = talloc_asprintf(f, "%s:", f->path);
    char *told = error_list_text(f, f->errors), *rest = NULL;
    for (char *line = strtok_r(told, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        assert_memory_equal(line, prefix, strlen(prefix));
        all = talloc_asprintf_append(all, "%s\n", line + strlen(prefix));
    }
    assert_string_equal(all, expected);
}

static const char *find(const struct keymap *map, const char *inner, const char *text, bool *more)
{
    const char *contexts[] = {inner, "table", "global"};
    keycode keys[KEY_SEQUENCE_MAX];
    char copy[64], *rest = NULL;
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        assert_true(key_parse(word, &keys[count++]));
    return keymap_find(map, contexts, 3, keys, count, more);
}

static void test_key_names(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        keycode key;
        const char *written;
    } keys[] = {
        {"j", 'j', "j"},
        {"G", 'G', "G"},
        {"S-g", 'G', "G"},
        {"#", '#', "#"},
        {"-", '-', "-"},
        {"é", 0xe9, "é"},
        {"ч", 0x447, "ч"},
        {"😀", 0x1f600, "😀"},
        {"space", ' ', "Space"},
        {"Enter", KEYCODE_ENTER, "Enter"},
        {"return", KEYCODE_ENTER, "Enter"},
        {"C-m", KEYCODE_ENTER, "Enter"},
        {"C-j", KEYCODE_ENTER, "Enter"},
        {"C-i", KEYCODE_TAB, "Tab"},
        {"C-[", KEYCODE_ESC, "Esc"},
        {"C-?", KEYCODE_BACKSPACE, "BackSpace"},
        {"S-Tab", KEYCODE_TAB | KEYCODE_SHIFT, "S-Tab"},
        {"PgDn", KEYCODE_PAGE_DOWN, "PgDn"},
        {"PageDown", KEYCODE_PAGE_DOWN, "PgDn"},
        {"F1", KEYCODE_F0 + 1, "F1"},
        {"f12", KEYCODE_F0 + 12, "F12"},
        {"S-F9", (KEYCODE_F0 + 9) | KEYCODE_SHIFT, "S-F9"},
        {"C-Up", KEYCODE_UP | KEYCODE_CTRL, "C-Up"},
        {"C-c", 'c' | KEYCODE_CTRL, "C-c"},
        {"C-C", 'c' | KEYCODE_CTRL, "C-c"},
        {"C-Space", '@' | KEYCODE_CTRL, "C-Space"},
        {"C-_", '_' | KEYCODE_CTRL, "C-_"},
        {"M-x", 'x' | KEYCODE_META, "M-x"},
        {"M-<", '<' | KEYCODE_META, "M-<"},
        {"m--", '-' | KEYCODE_META, "M--"},
        {"C-M-a", 'a' | KEYCODE_CTRL | KEYCODE_META, "C-M-a"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        keycode key = KEYCODE_NONE;
        char text[32];
        assert_true(key_parse(keys[i].text, &key));
        assert_int_equal(key, keys[i].key);
        assert_string_equal(key_format(text, sizeof text, key), keys[i].written);
    }
}

static void test_not_keys(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "jj",    "F0",       "F13",          "F123",  "F1x",
                                        "C-",   "C-1",   "C-é",      "S-1",          "S-é-",  "C-C-a",
                                        "X-a",  "C-S-a", "C-Enter",  "S-Esc",        "\x01",  "\x7f",
                                        "\xff", "\xc3",  "\xc0\xaf", "\xed\xa0\x80", "C-Tab", "Hyper"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        keycode key;
        if (key_parse(texts[i], &key))
            fail_msg("\"%s\" was taken as a key", texts[i]);
    }
}

static void test_control_bytes(void **state)
{
    (void)state;
    assert_int_equal(key_from_control(3), 'c' | KEYCODE_CTRL);
    assert_int_equal(key_from_control(9), KEYCODE_TAB);
    assert_int_equal(key_from_control(10), KEYCODE_ENTER);
    assert_int_equal(key_from_control(13), KEYCODE_ENTER);
    assert_int_equal(key_from_control(27), KEYCODE_ESC);
    assert_int_equal(key_from_control(127), KEYCODE_BACKSPACE);
    assert_int_equal(key_from_control(0), '@' | KEYCODE_CTRL);
    assert_int_equal(key_from_control(31), '_' | KEYCODE_CTRL);
}

static void test_every_control_byte_has_a_name(void **state)
{
    (void)state;
    for (int byte = 0; byte < 128; byte = byte == 31 ? 127 : byte + 1) {
        char text[32];
        keycode key = key_from_control((unsigned char)byte), again = KEYCODE_NONE;
        assert_true(key_parse(key_format(text, sizeof text, key), &again));
        assert_int_equal(again, key);
    }
}

static void test_default_keys(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = keymap_load(f, NULL, NULL, f->actions, f->count, f->errors);
    assert_non_null(map);
    assert_string_equal(keymap_base(map), "default");
    static const char *const keys[][2] = {
        {"j", "table.down"},       {"Down", "table.down"},        {"k", "table.up"},
        {"h", "table.left"},       {"l", "table.right"},          {"g", "table.first"},
        {"G", "table.last"},       {"Space", "table.mark"},       {"/", "table.filter"},
        {"n", "table.next-match"}, {"N", "table.previous-match"}, {":", "global.command"},
        {"?", "global.help"},      {"Enter", "table.enter"},      {"C-m", "table.enter"},
        {"Esc", "global.back"},    {"q", "global.close"},         {"1", "global.panel-1"},
        {"9", "global.panel-9"},   {"o", "table.sort-next"},      {"O", "table.sort-reverse"},
        {"y", "table.copy"},       {"e", "table.export"},         {"p", "table.pause"},
        {"w", "table.why"},        {"C-c", "global.cancel"},      {"C-l", "global.redraw"},
        {"C-z", "global.suspend"}, {"Tab", "global.next-view"},   {"S-Tab", "global.previous-view"},
        {"z", "table.fold"},       {"]", "table.next-worst"},     {"F5", "global.refresh"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool more = true;
        const char *action = find(map, "queries", keys[i][0], &more);
        if (!action)
            fail_msg("%s does nothing", keys[i][0]);
        assert_string_equal(action, keys[i][1]);
        assert_false(more);
    }
    bool more = true;
    assert_null(find(map, "queries", "C-d", &more));
    assert_false(more);
}

/* design.md: Esc and C-c never quit, C-d never destroys, what executes is never one Shift away. */
static void test_rules_of_every_map(void **state)
{
    struct fixture *f = *state;
    static const char *const bases[] = {"default", "vim", "emacs"};
    static const char *const contexts[] = {"dialog", "prompt", "text", "table", "global"};
    for (size_t b = 0; b < 3; b++) {
        struct keymap *map = keymap_load(f, bases[b], NULL, f->actions, f->count, f->errors);
        assert_non_null(map);
        assert_string_equal(keymap_base(map), bases[b]);
        const keycode esc = KEYCODE_ESC, interrupt = 'c' | KEYCODE_CTRL;
        for (size_t i = 0; i < 5; i++) {
            const char *action = keymap_find(map, &contexts[i], 1, &esc, 1, NULL);
            assert_true(!action ||
                        (strcmp(action, "global.quit") != 0 && strcmp(action, "global.close") != 0));
            action = keymap_find(map, &contexts[i], 1, &interrupt, 1, NULL);
            assert_true(!action || strcmp(action, "global.cancel") == 0);
        }
        /* `s` is the shell: Shift-s must do nothing. F8 measures and F9 ends: nor must S-F8 and S-F9. */
        assert_null(find(map, "queries", "S", NULL));
        assert_null(find(map, "queries", "X", NULL));
        assert_null(find(map, "queries", "S-F8", NULL));
        assert_null(find(map, "queries", "S-F9", NULL));
        /* Whatever the map, arrows and the way out stay. */
        assert_string_equal(find(map, "queries", "Down", NULL), "table.down");
        assert_string_equal(find(map, "queries", "Esc", NULL), "global.back");
    }
}

static void test_sequences_of_vim(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = keymap_load(f, "vim", NULL, f->actions, f->count, f->errors);
    assert_non_null(map);
    bool more = false;
    assert_null(find(map, "queries", "g", &more));
    assert_true(more);
    assert_string_equal(find(map, "queries", "g g", &more), "table.first");
    assert_false(more);
    /* The first key belongs to the table, the whole sequence to global. */
    assert_string_equal(find(map, "queries", "g t", &more), "global.next-view");
    assert_null(find(map, "queries", "g x", &more));
    assert_false(more);
    assert_string_equal(find(map, "queries", "Z Z", &more), "global.quit");
    char text[64];
    const char *contexts[] = {"queries", "table", "global"};
    assert_string_equal(keymap_key_of(map, contexts, 3, "table.first", text, sizeof text), "Home");
    assert_string_equal(keymap_keys_of(f, map, contexts, 3, "table.first"), "Home, g g");
    assert_string_equal(keymap_keys_of(f, map, contexts, 3, "global.next-view"), "Tab, g t");
}

static void test_emacs(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = keymap_load(f, "emacs", NULL, f->actions, f->count, f->errors);
    assert_non_null(map);
    assert_string_equal(find(map, "queries", "C-p", NULL), "table.up");
    assert_string_equal(find(map, "queries", "C-x C-c", NULL), "global.quit");
    assert_string_equal(find(map, "queries", "C-c", NULL), "global.cancel");
}

static void test_users_file_on_top(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = load(f, NULL,
                              "\xef\xbb\xbfkeymap: vim\r\n"
                              "queries F9 queries.end   # ends\r\n"
                              "queries s  queries.shell\n"
                              "queries #  queries.shell # the key is #\n"
                              "unbind global q\n"
                              "table   g  table.first\n"
                              "tiny    P  tiny.poke");
    assert_non_null(map);
    assert_string_equal(keymap_base(map), "vim");
    assert_string_equal(find(map, "queries", "F9", NULL), "queries.end");
    assert_string_equal(find(map, "queries", "#", NULL), "queries.shell");
    assert_string_equal(find(map, "tiny", "P", NULL), "tiny.poke");
    assert_null(find(map, "queries", "q", NULL));
    /* The user's `g` takes away vim's `g g`. */
    bool more = true;
    assert_string_equal(find(map, "queries", "g", &more), "table.first");
    assert_false(more);
}

static void test_option_beats_file(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = load(f, "emacs", "keymap: vim\n");
    assert_non_null(map);
    assert_string_equal(keymap_base(map), "emacs");
}

static void test_inner_context_hides_outer(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = load(f, NULL, "tiny r tiny.poke\ntiny F5 tiny.poke\n");
    assert_non_null(map);
    const char *contexts[] = {"tiny", "table", "global"};
    char text[64];
    assert_string_equal(find(map, "tiny", "r", NULL), "tiny.poke");
    assert_null(keymap_key_of(map, contexts, 3, "global.refresh", text, sizeof text));
    assert_string_equal(keymap_keys_of(f, map, contexts, 3, "global.refresh"), "");
    assert_string_equal(keymap_keys_of(f, map, contexts + 1, 2, "global.refresh"), "F5, r");
    assert_string_equal(keymap_keys_of(f, map, contexts, 3, "tiny.poke"), "r, F5");
    assert_null(keymap_key_of(map, contexts, 3, "global.unlock", text, sizeof text));
}

static void test_no_users_file(void **state)
{
    struct fixture *f = *state;
    assert_non_null(keymap_load(f, NULL, "/nonexistent/keymap", f->actions, f->count, f->errors));
    assert_int_equal(f->errors->count, 0);
    assert_null(keymap_load(f, NULL, "/tmp", f->actions, f->count, f->errors));
    assert_string_equal(error_list_text(f, f->errors),
                        "/tmp: cannot read it: it is not a file. Name a keymap file\n");
}

static void test_unknown_base(void **state)
{
    struct fixture *f = *state;
    assert_null(keymap_load(f, "nano", NULL, f->actions, f->count, f->errors));
    assert_string_equal(
        error_list_text(f, f->errors),
        "unknown keymap: there is no built-in keymap \"nano\". It is one of default, vim and emacs\n");
}

static void test_errors_have_lines(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "tabel j table.down\n", "1: tabel: unknown context. Did you mean table?\n");
    assert_refused(f, "\n\ntable j table.dwon\n",
                   "3: table.dwon: unknown action. Did you mean table.down?\n");
    assert_refused(
        f, "table jj table.down\n",
        "1: jj: not a key that terminals send. Write j, G, Space, Enter, S-Tab, PgDn, F9, S-F1, C-l, "
        "M-x or the like\n");
    assert_refused(
        f, "table q global.close\n",
        "1: global.close: this action does not belong to the context table. Write global in front of "
        "the key\n");
    assert_refused(f, "table j\n",
                   "1: this line: a word is missing. Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY "
                   "[KEY]\n");
    assert_refused(f, "table a b c table.down\n",
                   "1: this line: more than two keys. Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY "
                   "[KEY]\n");
    assert_refused(
        f, "a b c d e f\n",
        "1: this line: too many words. Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY [KEY]\n");
    assert_refused(f, "# fine\nunbind table A\n",
                   "2: A: nothing is bound to it in this context. Remove the line\n");
    assert_refused(
        f, "keymap: nano\n",
        "1: keymap:: not the name of a built-in keymap. Write keymap: default, keymap: vim or keymap: "
        "emacs\n");
    assert_refused(f, "keymap: vim\nkeymap: vim\n", "2: keymap:: given twice. Remove one of the two\n");
}

static void test_conflicts(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "table a table.down\ntable b table.up\ntable a table.up\n",
                   "3: table a: already bound to table.down in line 1. Remove one of the two\n");
    assert_refused(f, "table a table.down\ntable a table.down\n",
                   "2: table a: the same as line 1. Remove one of the two\n");
    assert_refused(
        f, "table a table.down\ntable a b table.up\n",
        "2: table a b: \"a\" in line 1 begins the same way: only one of them can be reached. Remove "
        "one of the two\n");
    assert_refused(
        f, "table a b table.down\ntable a table.up\n",
        "2: table a: \"a b\" in line 1 begins the same way: only one of them can be reached. Remove "
        "one of the two\n");
    /* The same byte on every terminal. */
    assert_refused(f, "global Tab global.next-view\nglobal C-i global.help\n",
                   "2: global Tab: already bound to global.next-view in line 1. Remove one of the two\n");
    assert_refused(f, "table C-m table.enter\ntable Enter table.down\n",
                   "2: table Enter: already bound to table.enter in line 1. Remove one of the two\n");
    assert_refused(f, "global Esc global.back\nglobal C-[ global.help\n",
                   "2: global Esc: already bound to global.back in line 1. Remove one of the two\n");
    /* In two contexts it is no conflict. */
    assert_non_null(load(f, NULL, "table a table.down\ntext a text.down\n"));
}

static void test_safety(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"d", "Enter", "Space", "C-d", "Esc", "d d"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *text = talloc_asprintf(f, "queries %s queries.end\n", keys[i]);
        char *told = talloc_asprintf(f,
                                     "1: %s: what changes or destroys is never on a key that is pressed by "
                                     "accident. Use a function key, or a key with C- or M-, such as F9\n",
                                     keys[i]);
        assert_refused(f, text, told);
    }
    assert_refused(f, "dialog x dialog.leave\n",
                   "1: x: characters are typed as text here. Use a function key, or a key with C- or M-\n");
    assert_refused(
        f, "prompt Space prompt.leave\n",
        "1: Space: characters are typed as text here. Use a function key, or a key with C- or M-\n");
}

static void test_all_errors_at_once(void **state)
{
    struct fixture *f = *state;
    assert_refused(
        f, "nowhere zz nothing.at-all\ntable j table.down\nunbind table\n",
        "1: nowhere: unknown context. Use global, table, text, dialog, prompt or the name of a panel "
        "or view\n"
        "1: zz: not a key that terminals send. Write j, G, Space, Enter, S-Tab, PgDn, F9, S-F1, C-l, "
        "M-x or the like\n"
        "1: nothing.at-all: unknown action. The help (?) and the manual page list all actions\n"
        "3: this line: a word is missing. Write CONTEXT KEY [KEY] ACTION, or unbind CONTEXT KEY "
        "[KEY]\n");
}

static void test_hostile_files(void **state)
{
    struct fixture *f = *state;
    assert_non_null(load_bytes(f, NULL, "", 0));
    assert_null(load_bytes(f, NULL, "table j\0k table.down\n", 21));
    assert_int_equal(f->errors->count, 1);
    assert_string_equal(f->errors->items[0].why, "a NUL byte");
    /* Escape sequences in a file do not reach the terminal. */
    assert_null(load_bytes(f, NULL, "\x1b[2J j table.down\n", 18));
    assert_null(strchr(error_list_text(f, f->errors), '\x1b'));
    char *huge = talloc_size(f, 70000);
    memset(huge, 'x', 70000);
    talloc_free(f->errors);
    f->errors = error_list_new(f);
    assert_null(load_bytes(f, NULL, huge, 70000));
    assert_string_equal(f->errors->items[0].why, "it is larger than 64 kB");
    /* More errors than are kept are counted. */
    talloc_free(f->errors);
    f->errors = error_list_new(f);
    for (size_t i = 0; i + 2 <= 2 * (ERROR_LIST_MAX + 7); i += 2)
        memcpy(huge + i, "x\n", 2);
    assert_null(load_bytes(f, NULL, huge, 2 * (ERROR_LIST_MAX + 7)));
    assert_int_equal(f->errors->count, ERROR_LIST_MAX);
    assert_int_equal(f->errors->dropped, 7);
    assert_non_null(strstr(error_list_text(f, f->errors), "... and 7 more\n"));
}

/* Every general action has what the help needs, and a key in the default map or a command. */
static void test_general_actions(void **state)
{
    struct fixture *f = *state;
    struct keymap *map = keymap_load(f, NULL, NULL, f->actions, f->count, f->errors);
    size_t count;
    const struct action *actions = general_actions(&count);
    for (size_t i = 0; i < count; i++) {
        char *name = talloc_strndup(f, actions[i].id, strcspn(actions[i].id, "."));
        const char *contexts[] = {name};
        char text[64];
        assert_true(actions[i].help && *actions[i].help);
        if (!actions[i].command && !keymap_key_of(map, contexts, 1, actions[i].id, text, sizeof text))
            fail_msg("%s can be reached by no key and no command", actions[i].id);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(actions[i].id, actions[j].id);
            if (actions[i].command && actions[j].command)
                assert_string_not_equal(actions[i].command, actions[j].command);
        }
        if (actions[i].hazard >= HAZARD_CHANGE)
            assert_null(keymap_key_of(map, contexts, 1, actions[i].id, text, sizeof text));
    }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_key_names),
        TEST(test_not_keys),
        TEST(test_control_bytes),
        TEST(test_every_control_byte_has_a_name),
        TEST(test_default_keys),
        TEST(test_rules_of_every_map),
        TEST(test_sequences_of_vim),
        TEST(test_emacs),
        TEST(test_users_file_on_top),
        TEST(test_option_beats_file),
        TEST(test_inner_context_hides_outer),
        TEST(test_no_users_file),
        TEST(test_unknown_base),
        TEST(test_errors_have_lines),
        TEST(test_conflicts),
        TEST(test_safety),
        TEST(test_all_errors_at_once),
        TEST(test_hostile_files),
        TEST(test_general_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
