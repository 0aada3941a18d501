/* The widgets on a real terminal: golden screens of the scenes in show.c, and what they do with keys. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/golden.h"

static const char *show_path(void)
{
    static char path[4096];
    const char *slash = strrchr(SIGNALBOX_PROGRAM, '/');
    snprintf(path, sizeof path, "%.*s/screen/show", (int)(slash - SIGNALBOX_PROGRAM), SIGNALBOX_PROGRAM);
    return path;
}

static struct terminal *show_env(const char *scene, const char *option, int rows, int columns,
                                 const char *term, const char *const env[])
{
    return terminal_start((const char *const[]){show_path(), scene, option, NULL}, env, rows, columns, term);
}

/* The scene, as soon as it stands: the footer is drawn last. */
static struct terminal *show(const char *scene, const char *option, int rows, int columns, const char *term)
{
    struct terminal *t = show_env(scene, option, rows, columns, term, NULL);
    terminal_wait(t, 10, "Enter detail");
    terminal_await_quiet(t, 0.05, 5);
    return t;
}

static void quit(struct terminal *t)
{
    terminal_keys(t, "F10");
    terminal_expect_exit(t, 10, 0);
    assert_false(terminal_alternate(t));
    assert_false(terminal_mode(t, 2004));
    assert_true(terminal_cursor(t).visible);
    terminal_end(t);
}

static void golden(const char *scene, const char *option, int rows, int columns, const char *term,
                   const char *name)
{
    struct terminal *t = show(scene, option, rows, columns, term);
    if (strcmp(scene, "dialog") == 0)
        terminal_wait(t, 5, strstr(name, "vt100") ? "F5 dry run -+" : "F5 dry run ─┘");
    golden_check(name, terminal_text(t));
    if (strcmp(scene, "dialog") == 0)
        terminal_keys(t, "Esc");
    quit(t);
}

static void scenes_at_their_sizes(void **state)
{
    (void)state;
    golden("locks", NULL, 24, 80, NULL, "locks-80x24");
    golden("locks", NULL, 30, 104, NULL, "locks-104x30");
    golden("locks", NULL, 50, 200, NULL, "locks-200x50");
    golden("list", NULL, 24, 80, NULL, "list-80x24");
    golden("list", NULL, 30, 104, NULL, "list-104x30");
    golden("chart", NULL, 24, 80, NULL, "chart-80x24");
    golden("chart", NULL, 50, 200, NULL, "chart-200x50");
    golden("page", NULL, 24, 80, NULL, "page-80x24");
    golden("dialog", NULL, 24, 80, NULL, "dialog-80x24");
    golden("dialog", NULL, 30, 104, NULL, "dialog-104x30");
    golden("empty", NULL, 15, 60, NULL, "empty-60x15");
}

static void scenes_in_ascii(void **state)
{
    (void)state;
    struct terminal *t = show("locks", "ascii", 24, 80, NULL);
    size_t length;
    const char *raw = terminal_raw(t, &length);
    for (size_t i = 0; i < length; i++)
        assert_true((unsigned char)raw[i] < 0x80);
    golden_check("locks-ascii", terminal_text(t));
    quit(t);
    golden("chart", "ascii", 24, 80, NULL, "chart-ascii");
    golden("dialog", NULL, 24, 80, "vt100", "dialog-vt100");
    golden("locks", NULL, 24, 80, "linux", "locks-linux");
    t = show_env("locks", NULL, 24, 80, NULL, (const char *const[]){"LC_ALL=C", NULL});
    terminal_wait(t, 10, "Enter detail");
    terminal_await_quiet(t, 0.05, 5);
    golden_check("locks-ascii", terminal_text(t)); /* the same without being asked */
    quit(t);
}

static void expect_no_colour(struct terminal *t)
{
    int rows, columns;
    terminal_size(t, &rows, &columns);
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            struct terminal_attr attr = terminal_attr(t, row, column);
            if (attr.foreground != TERMINAL_DEFAULT || attr.background != TERMINAL_DEFAULT)
                terminal_fail(t, "a colour at %d, %d", row, column);
        }
}

static void no_colours_when_not_wanted(void **state)
{
    (void)state;
    struct terminal *t = show("locks", "mono", 24, 80, NULL);
    expect_no_colour(t);
    int row, column;
    assert_true(terminal_find(t, "8121", &row, &column));
    assert_true(terminal_attr(t, row, column).reverse);
    quit(t);
    t = show_env("locks", NULL, 24, 80, NULL, (const char *const[]){"NO_COLOR=1", NULL});
    terminal_wait(t, 10, "Enter detail");
    expect_no_colour(t);
    quit(t);
    t = show_env("locks", NULL, 24, 80, "vt100", NULL);
    terminal_wait(t, 10, "Enter detail");
    expect_no_colour(t);
    quit(t);
}

/* Whatever the number of colours: the selected row is another one, and what is critical in it still differs.
 */
static void severity_is_readable_in_the_selected_row(void **state)
{
    (void)state;
    static const char *const terms[] = {"xterm-256color", "xterm-16color", "xterm", "linux"};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        struct terminal *t = show("locks", NULL, 24, 80, terms[i]);
        int row, column, other;
        assert_true(terminal_find(t, "idle in transaction!", &row, &column));
        struct terminal_attr critical = terminal_attr(t, row, column);
        assert_true(terminal_find(t, "8121", &row, &other));
        struct terminal_attr plain = terminal_attr(t, row, other),
                             below = terminal_attr(t, row + 1, other + 2);
        assert_int_not_equal(plain.background, below.background);
        assert_true(critical.foreground != plain.foreground || critical.background != plain.background);
        assert_int_not_equal(critical.foreground, critical.background);
        quit(t);
    }
}

static void nothing_is_sent_when_nothing_changed(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    size_t before = terminal_bytes(t);
    /* draws the whole screen again for each, and the last answers visibly */
    terminal_keys(t, "x", "x", "x", "x");
    terminal_await_quiet(t, 0.3, 5);
    assert_int_equal(terminal_bytes(t), before);
    terminal_keys(t, "C-c");
    terminal_wait(t, 5, "cancel");
    assert_true(terminal_bytes(t) - before < 200);
    quit(t);
}

static void hostile_text_stays_text(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 30, 150, NULL);
    terminal_expect(t, "SELECT 'x\\x1b[31mred \\u202e'");
    int row, column;
    assert_true(terminal_find(t, "\\u202e", &row, &column));
    quit(t);
}

/* Columns stay where they are behind texts of two cells a character, and behind emoji sequences. */
static void wide_texts_keep_columns_in_place(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 30, 150, NULL);
    int row, column, other;
    assert_true(terminal_find(t, "statement", NULL, &column));
    assert_true(terminal_find(t, "大同小学", &row, NULL));
    assert_string_equal(terminal_attr(t, row, column).text, "U");
    assert_true(terminal_find(t, "école", &row, &other));
    assert_string_equal(terminal_attr(t, row, column).text, "S");
    assert_true(terminal_find(t, "مدرسة", &row, &other));
    assert_string_equal(terminal_attr(t, row, column).text, "U");
    quit(t);
}

static void resizes_down_and_up_again(void **state)
{
    (void)state;
    static const char *const scenes[] = {"locks", "chart", "page", "dialog"};
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        struct terminal *t = show(scenes[i], NULL, 24, 80, NULL);
        if (strcmp(scenes[i], "dialog") == 0)
            terminal_wait(t, 5, "F5 dry run ─┘");
        char *before = strdup(terminal_text(t));
        terminal_resize(t, 5, 20);
        terminal_wait(t, 5, "20x5: signalbox nee");
        terminal_resize(t, 1, 1);
        terminal_await_quiet(t, 0.1, 5);
        terminal_resize(t, 50, 200);
        terminal_wait(t, 5, "main ● replica ○ refused redis …  14:05:10 UTC");
        terminal_resize(t, 24, 80);
        terminal_await_quiet(t, 0.2, 5);
        assert_string_equal(terminal_text(t), before);
        free(before);
        if (strcmp(scenes[i], "dialog") == 0)
            terminal_keys(t, "Esc");
        quit(t);
    }
}

static void keys_move_mark_fold_and_filter(void **state)
{
    (void)state;
    struct terminal *t = show("locks", NULL, 24, 80, NULL);
    terminal_keys(t, "Down", "Space");
    terminal_wait(t, 5, "1 marked");
    terminal_expect(t, "●  ├ 8344");
    terminal_expect(t, "▸ │ ├ 8351");
    terminal_keys(t, "Up", "z");
    terminal_wait(t, 5, "8354"); /* its branch was cut at two */
    terminal_keys(t, "z");
    terminal_wait(t, 5, "└ … 4 more");
    terminal_keys(t, "/", "text:9002");
    terminal_wait(t, 5, "/9002                                                                    1 of 9");
    terminal_expect_no(t, "8344");
    terminal_keys(t, "text: x:y");
    terminal_wait(t, 5, "there is no column x; there are pid");
    terminal_keys(t, "C-w", "Enter");
    terminal_wait(t, 5, "1 of 9 · filter 9002");
    terminal_keys(t, "Backspace");
    terminal_wait(t, 5, "8344");
    quit(t);
}

static void the_selection_follows_through_refreshes(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    terminal_keys(t, "g", "Down", "Down");
    terminal_wait(t, 5, "▸    8352");
    terminal_keys(t, "r");
    terminal_wait(t, 5, "the selection moved");
    terminal_expect(t, "▸    8353");
    terminal_expect_no(t, "8352");
    terminal_keys(t, "r");
    terminal_wait(t, 5, "8352");
    terminal_expect(t, "▸    8353");
    quit(t);
}

static void the_prompt_completes_remembers_and_leaves(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    terminal_keys(t, ":", "text:c", "Tab");
    terminal_wait(t, 5, "clear-filter  show all rows again");
    terminal_keys(t, "a", "Tab", "Enter");
    terminal_wait(t, 5, "command: cancel");
    terminal_keys(t, ":", "Up");
    terminal_wait(t, 5, ":cancel");
    terminal_keys(t, "C-a", "text:x", "C-e", "C-w", "text:大é");
    terminal_wait(t, 5, ":大é");
    assert_int_equal(terminal_cursor(t).column, 4);
    assert_true(terminal_cursor(t).visible);
    terminal_keys(t, "paste:one\ntwo");
    terminal_wait(t, 5, ":大éone two");
    terminal_keys(t, "Esc");
    terminal_wait(t, 5, "left");
    assert_false(terminal_cursor(t).visible);
    terminal_keys(t, ":", "C-r", "text:anc");
    terminal_wait(t, 5, "(reverse-i-search)`anc': cancel");
    terminal_keys(t, "C-c", "F10");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
}

static void the_prompt_follows_inputrc(void **state)
{
    (void)state;
    char path[] = "/tmp/test_widgets.XXXXXX", variable[64];
    int fd = mkstemp(path);
    static const char text[] = "set editing-mode vi\nset bell-style audible\n\"\\C-o\": \"from inputrc\"\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    snprintf(variable, sizeof variable, "INPUTRC=%s", path);
    struct terminal *t = show_env("list", NULL, 24, 80, NULL, (const char *const[]){variable, NULL});
    terminal_wait(t, 10, "Enter detail");
    terminal_keys(t, ":", "text:abc def", "Esc", "b", "i", "text:X");
    terminal_wait(t, 5, ":abc Xdef");
    terminal_keys(t, "Esc", "Esc");
    terminal_wait(t, 5, "left");
    terminal_keys(t, ":", "C-o");
    terminal_wait(t, 5, ":from inputrc");
    terminal_keys(t, "C-u", "Backspace", "Backspace");
    terminal_await_quiet(t, 0.1, 5);
    assert_int_equal(terminal_bells(t), 0);
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "command:");
    terminal_resize(t, 30, 104); /* readline must not have fixed the size in the environment */
    terminal_wait_gone(t, 5,
                       "command:\n Enter detail  z fold  / filter  o sort  F9 cancel or end …  ? help  x");
    quit(t);
    unlink(path);
}

static void typed_ahead_keys_never_confirm(void **state)
{
    (void)state;
    struct terminal *t = show_env("dialog", NULL, 24, 80, NULL, NULL);
    /* before it is drawn, and as soon as it is */
    terminal_keys(t, "text:reason", "Enter", "text:21", "Enter");
    terminal_wait(t, 10, "a moment");
    terminal_keys(t, "text:21", "Enter");
    terminal_wait(t, 5, "end the session");
    terminal_expect(t, "of the session:");
    terminal_expect_no(t, "accepted");
    terminal_expect_no(t, "of the session: 21");
    terminal_expect_no(t, "reason");
    terminal_keys(t, "text:blocks 0042", "Enter", "text:12", "Enter");
    terminal_wait(t, 5, "nothing was done");
    terminal_expect_no(t, "accepted");
    terminal_keys(t, "C-u", "text:21", "Enter");
    terminal_wait(t, 5, "accepted: blocks 0042");
    quit(t);
}

static void a_dialog_is_left_at_any_time(void **state)
{
    (void)state;
    struct terminal *t = show("dialog", NULL, 24, 80, NULL);
    terminal_keys(t, "Esc");
    terminal_wait(t, 5, "dialog: left");
    quit(t);
}

static void choices_move_and_leave_out_what_cannot_be(void **state)
{
    (void)state;
    struct terminal *t = show("dialog", NULL, 24, 80, NULL);
    terminal_wait(t, 5, "end the session");
    terminal_expect(t, "▸ Mildest");
    terminal_keys(t, "Down");
    terminal_wait(t, 5, "▸ Or       end session 8121");
    terminal_keys(t, "Down", "Down", "Tab", "Enter");
    terminal_wait(t, 5, "Not confirmed yet");
    terminal_expect(t, "▸ Or       end session 8121");
    terminal_keys(t, "S-Tab", "Enter");
    terminal_wait(t, 5, "Reason is needed");
    terminal_keys(t, "F5");
    terminal_wait(t, 5, "dialog: dry run");
    terminal_keys(t, "Esc");
    quit(t);
}

static void copies_through_osc_52(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    terminal_keys(t, "g", "y");
    terminal_await_quiet(t, 0.2, 5);
    assert_non_null(terminal_clipboard(t));
    assert_non_null(strstr(terminal_clipboard(t), "8344\t93 %\t4 m 02 s"));
    quit(t);
}

static void clicks_select(void **state)
{
    (void)state;
    struct terminal *t = show("list", "mouse", 24, 80, NULL);
    int row;
    assert_true(terminal_find(t, "8353", &row, NULL));
    terminal_click(t, row, 20, 1);
    terminal_wait(t, 5, "▸    8353");
    quit(t);
}

static void stops_and_continues(void **state)
{
    (void)state;
    char command[4200];
    struct terminal *t = terminal_start((const char *const[]){"bash", "--norc", "-i", NULL},
                                        (const char *const[]){"PS1=prompt> ", NULL}, 24, 80, NULL);
    snprintf(command, sizeof command, "text:'%s' list", show_path());
    terminal_wait(t, 5, "prompt>");
    terminal_keys(t, command, "Enter");
    terminal_wait(t, 10, "Enter detail");
    terminal_keys(t, "C-z");
    terminal_wait(t, 5, "Stopped");
    assert_false(terminal_alternate(t));
    assert_false(terminal_mode(t, 2004) && terminal_mode(t, 1049));
    terminal_resize(t, 30, 100);
    terminal_keys(t, "text:fg", "Enter");
    terminal_wait(t, 5, "Enter detail");
    assert_true(terminal_alternate(t));
    terminal_wait(t, 5, "? help  : command");
    terminal_keys(t, "F10");
    terminal_wait_gone(t, 5, "Enter detail");
    terminal_keys(t, "text:exit", "Enter");
    terminal_wait_exit(t, 10);
    terminal_end(t);
}

static void ends_when_the_terminal_goes(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    terminal_hangup(t);
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    t = show("list", NULL, 24, 80, NULL);
    terminal_signal(t, SIGTERM);
    terminal_expect_exit(t, 10, 0);
    assert_false(terminal_alternate(t));
    terminal_end(t);
}

/* Even a defect of ours gives the terminal back. */
static void a_crash_restores_the_terminal(void **state)
{
    (void)state;
    struct terminal *t = show("list", NULL, 24, 80, NULL);
    assert_true(terminal_alternate(t));
    terminal_signal(t, SIGABRT);
    terminal_expect_exit(t, 10, 128 + SIGABRT);
    assert_false(terminal_alternate(t));
    assert_false(terminal_mode(t, 2004));
    assert_true(terminal_cursor(t).visible);
    terminal_end(t);
}

static void says_what_it_cannot_use(void **state)
{
    (void)state;
    struct terminal *t = show_env("list", NULL, 24, 80, "dumb", NULL);
    terminal_expect_exit(t, 10, 1);
    terminal_expect(t, "the terminal \"dumb\" cannot place its cursor");
    terminal_end(t);
    t = show_env("list", NULL, 24, 80, "no-such-terminal", NULL);
    terminal_expect_exit(t, 10, 1);
    terminal_expect(t, "\"no-such-terminal\" is unknown here");
    terminal_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenes_at_their_sizes),
        cmocka_unit_test(scenes_in_ascii),
        cmocka_unit_test(no_colours_when_not_wanted),
        cmocka_unit_test(severity_is_readable_in_the_selected_row),
        cmocka_unit_test(nothing_is_sent_when_nothing_changed),
        cmocka_unit_test(hostile_text_stays_text),
        cmocka_unit_test(wide_texts_keep_columns_in_place),
        cmocka_unit_test(resizes_down_and_up_again),
        cmocka_unit_test(keys_move_mark_fold_and_filter),
        cmocka_unit_test(the_selection_follows_through_refreshes),
        cmocka_unit_test(the_prompt_completes_remembers_and_leaves),
        cmocka_unit_test(the_prompt_follows_inputrc),
        cmocka_unit_test(typed_ahead_keys_never_confirm),
        cmocka_unit_test(a_dialog_is_left_at_any_time),
        cmocka_unit_test(choices_move_and_leave_out_what_cannot_be),
        cmocka_unit_test(copies_through_osc_52),
        cmocka_unit_test(clicks_select),
        cmocka_unit_test(stops_and_continues),
        cmocka_unit_test(ends_when_the_terminal_goes),
        cmocka_unit_test(a_crash_restores_the_terminal),
        cmocka_unit_test(says_what_it_cannot_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
