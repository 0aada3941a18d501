/* Every panel and view at every size, on every terminal, in every way to draw; help and the prompt. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness/cmocka.h"
#include "tests/harness/stage.h"

static int calm(void **state)
{
    struct stage *s = *state;
    stage_calm(s);
    stage_environment(s, "school", "staging", false);
    return 0;
}

static void leave(struct terminal *t)
{
    terminal_keys(t, ":", "text:q", "Enter");
    terminal_expect_exit(t, 20, 0);
    terminal_end(t);
}

/* Walks through all views, a detail, help, why and a dialog. */
static void walk(struct terminal *t, const char *crumb)
{
    char detail[32], help[32], why[32];
    snprintf(detail, sizeof detail, "%sdetail", crumb);
    snprintf(help, sizeof help, "%shelp", crumb);
    snprintf(why, sizeof why, "%swhy", crumb);
    terminal_wait(t, 10, "CREATE EXT");
    terminal_keys(t, "F4");
    terminal_wait(t, 10, "idle in transaction");
    terminal_keys(t, "Enter");
    terminal_wait(t, 10, detail);
    terminal_keys(t, "q");
    terminal_wait_gone(t, 10, detail);
    terminal_keys(t, "?");
    terminal_wait(t, 10, help);
    terminal_keys(t, "q");
    terminal_wait_gone(t, 10, help);
    terminal_keys(t, "w");
    terminal_wait(t, 10, why);
    terminal_keys(t, "q");
    terminal_wait_gone(t, 10, why);
    terminal_keys(t, "g", "F9");
    terminal_wait(t, 10, "What shall end?");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 10, "What shall end?");
    terminal_keys(t, "F3");
    terminal_wait(t, 10, "checkpointer");
    terminal_keys(t, "9");
    terminal_wait(t, 10, "nothing has been done here yet");
    terminal_keys(t, "3");
    terminal_wait(t, 10, "Statements");
}

static void at_every_size(void **state)
{
    static const int sizes[][2] = {{15, 60}, {24, 80}, {32, 104}, {50, 200}};
    struct stage *s = *state;
    stage_block(s, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct terminal *t = stage_open_with(s, sizes[i][0], sizes[i][1], NULL, NULL,
                                             (const char *const[]){"-e", "school", NULL});
        walk(t, "› ");
        leave(t);
    }
}

static void expect_no_colour(struct terminal *t)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            struct terminal_attr a = terminal_attr(t, row, column);
            if (a.foreground != TERMINAL_DEFAULT || a.background != TERMINAL_DEFAULT)
                terminal_fail(t, "row %d column %d is coloured", row, column);
        }
}

static void without_colour(void **state)
{
    struct stage *s = *state;
    stage_block(s, 1);
    struct terminal *t = stage_open_with(s, 24, 80, NULL, (const char *const[]){"NO_COLOR=1", NULL},
                                         (const char *const[]){"-e", "school", NULL});
    walk(t, "› ");
    expect_no_colour(t);
    leave(t);
    t = stage_open_with(s, 24, 80, "vt100", NULL, (const char *const[]){"-e", "school", NULL});
    walk(t, "> ");
    expect_no_colour(t);
    leave(t);
    t = stage_open_with(s, 24, 80, NULL, NULL, (const char *const[]){"-e", "school", "--mono", NULL});
    walk(t, "› ");
    expect_no_colour(t);
    leave(t);
}

static void on_other_terminals(void **state)
{
    static const char *const terms[] = {"linux", "screen", "tmux-256color", "xterm"};
    struct stage *s = *state;
    stage_block(s, 1);
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        struct terminal *t =
            stage_open_with(s, 24, 80, terms[i], NULL, (const char *const[]){"-e", "school", NULL});
        walk(t, i == 0 ? "> " : "› "); /* the font of the Linux console lacks some signs */
        leave(t);
    }
}

static void expect_ascii(struct terminal *t)
{
    for (const char *at = terminal_text(t); *at; at++)
        if ((unsigned char)*at >= 0x80)
            terminal_fail(t, "the screen holds more than ASCII: %.12s", at);
}

static void in_ascii(void **state)
{
    struct stage *s = *state;
    stage_block(s, 1);
    struct terminal *t =
        stage_open_with(s, 24, 80, NULL, NULL, (const char *const[]){"-e", "school", "--ascii", NULL});
    walk(t, "> ");
    expect_ascii(t);
    terminal_keys(t, "F3");
    terminal_wait(t, 5, "checkpointer");
    expect_ascii(t);
    terminal_keys(t, "F4");
    terminal_wait(t, 5, "idle in transaction");
    expect_ascii(t);
    leave(t);
    t = stage_open_with(s, 24, 80, NULL, (const char *const[]){"LC_ALL=C", "LANG=C", NULL},
                        (const char *const[]){"-e", "school", NULL});
    walk(t, "> ");
    expect_ascii(t);
    leave(t);
}

/* Each "KEY label" of the footer stands in help under the same key. */
static void help_holds_the_keys_of_the_footer(void **state)
{
    static const char *const views[] = {"F2", "F3", "F4"};
    static const char *const titles[] = {"Statements ·", "Activity ·", "Locks ·"};
    struct stage *s = *state;
    stage_block(s, 1);
    struct terminal *t =
        stage_open_with(s, 140, 200, NULL, NULL, (const char *const[]){"-e", "school", NULL});
    for (int v = 0; v < 3; v++) {
        terminal_keys(t, views[v]);
        terminal_wait(t, 10, titles[v]);
        terminal_wait(t, 10, "? help");
        char *footer = strdup(terminal_line(t, 139));
        terminal_keys(t, "?");
        terminal_wait(t, 5, "› help");
        terminal_wait(t, 5, "cut: there is more");
        for (char *part = footer; part && *part;) {
            while (*part == ' ')
                part++;
            char *end = strstr(part, "  ");
            if (end)
                *end = '\0';
            char key[24];
            snprintf(key, sizeof key, "%.*s", (int)strcspn(part, " "), part);
            bool found = false;
            for (int row = 2; row < 138 && !found; row++) {
                const char *line = terminal_line(t, row);
                size_t length = strlen(key);
                for (const char *at = line; (at = strstr(at, key)) && at - line < 40 && !found; at += length)
                    found = (at == line || at[-1] == ' ') && (at[length] == ' ' || at[length] == ',');
            }
            if (!found)
                terminal_fail(t, "help does not hold \"%s\" of the footer", part);
            part = end ? end + 1 : NULL;
        }
        free(footer);
        terminal_keys(t, "q");
        terminal_wait_gone(t, 5, "› help");
    }
    leave(t);
}

static void the_prompt_completes_remembers_and_is_left(void **state)
{
    struct stage *s = *state;
    struct terminal *t = stage_open(s, "-e", "school");
    terminal_wait(t, 10, "CREATE EXT");
    terminal_keys(t, ":", "text:activ", "Tab", "Enter");
    terminal_wait(t, 10, "checkpointer");
    terminal_keys(t, ":", "text:sort pi", "Tab", "Enter");
    terminal_wait(t, 10, "pid↓");
    terminal_keys(t, ":", "Up");
    terminal_wait(t, 5, ":sort pid");
    terminal_keys(t, "Up");
    terminal_wait(t, 5, ":activity");
    terminal_keys(t, "Esc");
    terminal_wait_gone(t, 5, ":activity");
    terminal_keys(t, ":", "text:nonsense", "Enter");
    terminal_wait(t, 5, "there is no command \"nonsense\"");
    /* Several candidates are shown with what they do. */
    terminal_keys(t, ":", "text:lo", "Tab", "Tab");
    terminal_wait(t, 5, "allow no changes from now on");
    terminal_keys(t, "C-c");
    terminal_wait_gone(t, 5, ":lo");
    /* Esc in the filter brings the earlier filter back. */
    terminal_keys(t, "/", "text:checkpointer", "Enter");
    terminal_wait_gone(t, 5, "walwriter");
    terminal_keys(t, "/", "text:zzz");
    terminal_wait_gone(t, 5, "checkpointer  ");
    terminal_keys(t, "Esc");
    terminal_wait(t, 5, "checkpointer  ");
    terminal_keys(t, "Backspace");
    terminal_wait(t, 5, "walwriter");
    leave(t);
}

static void rows_are_exported(void **state)
{
    struct stage *s = *state;
    char path[512], keys[600];
    struct terminal *t = stage_open(s, "-e", "school", "--view", "activity");
    terminal_wait(t, 10, "checkpointer");
    snprintf(path, sizeof path, "%s/rows.json", s->home);
    snprintf(keys, sizeof keys, "text:%s", path);
    terminal_keys(t, "e");
    terminal_wait(t, 5, "Write to");
    terminal_keys(t, "C-a", "C-k", keys, "Enter");
    terminal_wait(t, 10, "rows.json");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_size > 100);
    leave(t);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, calm)
    const struct CMUnitTest tests[] = {
        CASE(at_every_size),
        CASE(without_colour),
        CASE(on_other_terminals),
        CASE(in_ascii),
        CASE(help_holds_the_keys_of_the_footer),
        CASE(the_prompt_completes_remembers_and_is_left),
        CASE(rows_are_exported),
    };
    return cmocka_run_group_tests_name("shapes", tests, stage_begin_group, stage_end_group);
}
