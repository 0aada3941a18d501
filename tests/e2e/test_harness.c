/* The harness tested with programs that are on every machine: what it shows, types, measures and ends must be
 * true, since everything else is tested with it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/check.h"
#include "tests/harness/cmocka.h"
#include "tests/harness/golden.h"
#include "tests/harness/svg.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct terminal *shell(const char *script)
{
    return terminal_start(ARGV("sh", "-c", script), NULL, 24, 80, NULL);
}

static void shows_what_is_typed(void **state)
{
    (void)state;
    struct terminal *t = terminal_start(ARGV("cat"), NULL, 10, 40, NULL);
    terminal_keys(t, "text:good morning", "Enter");
    terminal_wait(t, 5, "good morning\ngood morning");
    terminal_keys(t, "C-d");
    terminal_expect_exit(t, 5, 0);
    terminal_end(t);
}

static void sends_keys_as_xterm_does(void **state)
{
    (void)state;
    struct terminal *t = shell("stty raw -echo; printf 'ready\\r\\n'; dd bs=1 count=29 2>/dev/null | "
                               "od -An -tx1 -w16 | sed 's/$/\\r/'");
    terminal_wait(t, 5, "ready");
    terminal_keys(t, "j", "é", "C-c", "Enter", "Tab", "S-Tab", "Up", "F1", "F9", "Delete", "M-x", "Backspace",
                  "C-i", "Space");
    terminal_wait(t, 5, " 6a c3 a9 03 0d 09 1b 5b 5a 1b 5b 41 1b 4f 50 1b\n");
    terminal_wait(t, 5, " 5b 32 30 7e 1b 5b 33 7e 1b 78 7f 09 20\n");
    terminal_expect_exit(t, 5, 0);
    terminal_end(t);
}

static void follows_cursor_mode_and_bracketed_paste(void **state)
{
    (void)state;
    struct terminal *t = shell("stty raw -echo; printf '\\033[?1h\\033[?2004hready\\r\\n'; "
                               "dd bs=1 count=17 2>/dev/null | od -An -c -w32; printf '\\033[?2004l'");
    terminal_wait(t, 5, "ready");
    assert_true(terminal_mode(t, 2004));
    terminal_keys(t, "Down", "paste:ab");
    terminal_wait(t, 5, "033   O   B 033   [   2   0   0   ~   a   b 033   [   2   0   1   ~");
    terminal_expect_exit(t, 5, 0);
    assert_false(terminal_mode(t, 2004));
    assert_false(terminal_send(t, "NoSuchKey"));
    terminal_end(t);
}

static void keeps_a_gap_after_escape(void **state)
{
    (void)state;
    /* less than the gap between Esc and j and read would see both at once */
    struct terminal *t =
        shell("stty raw -echo; printf 'ready\\r\\n'; dd bs=9 count=1 2>/dev/null | od -An -tx1; "
              "dd bs=9 count=1 2>/dev/null | od -An -tx1");
    terminal_wait(t, 5, "ready");
    terminal_keys(t, "Esc", "j");
    terminal_wait(t, 5, " 1b\n");
    terminal_wait(t, 5, " 6a\n");
    terminal_end(t);
}

static void reads_text_places_and_looks(void **state)
{
    (void)state;
    struct terminal *t = shell("printf 'plain \\033[1;31mred\\033[0m \\033[7mturned\\033[0m "
                               "\\033[38;2;1;2;3;48;5;200mrgb\\033[0m\\nمدرسة 学校 end   '; read x");
    terminal_wait(t, 5, "end");
    assert_string_equal(terminal_line(t, 0), "plain red turned rgb");
    assert_string_equal(terminal_line(t, 1), "مدرسة 学校 end");
    assert_string_equal(terminal_line(t, 99), "");
    int row, column;
    assert_true(terminal_find(t, "red", &row, &column));
    struct terminal_attr attr = terminal_attr(t, row, column);
    assert_int_equal(attr.foreground, 1);
    assert_int_equal(attr.background, TERMINAL_DEFAULT);
    assert_true(attr.bold && !attr.reverse);
    assert_true(terminal_find(t, "turned", &row, &column));
    assert_true(terminal_attr(t, row, column).reverse);
    assert_true(terminal_find(t, "rgb", &row, &column));
    attr = terminal_attr(t, row, column);
    assert_int_equal(attr.foreground, TERMINAL_RGB | 0x010203);
    assert_int_equal(attr.background, 200);
    assert_true(terminal_find(t, "校", &row, &column));
    assert_int_equal(row, 1);
    assert_int_equal(column, 8); /* five letters, a blank, a wide glyph */
    assert_string_equal(terminal_attr(t, row, column).text, "校");
    assert_int_equal(terminal_attr(t, row, column).width, 2);
    assert_int_equal(terminal_attr(t, row, column + 1).width, 0);
    assert_true(terminal_find(t, "end", &row, &column));
    assert_int_equal(column, 11);
    assert_int_equal(terminal_cursor(t).column, 17);
    assert_false(terminal_find(t, "absent", NULL, NULL));
    terminal_end(t);
}

static void hears_title_clipboard_bell_and_modes(void **state)
{
    (void)state;
    struct terminal *t = shell(
        "printf '\\033]2;a title\\a\\033]52;c;c2Nob29s\\033\\\\\\a\\033[?1000;1006h\\033[?25lup'; read x; "
        "printf '\\033[?1000l\\033[?25hdown'");
    terminal_wait(t, 5, "up");
    assert_string_equal(terminal_title(t), "a title");
    assert_string_equal(terminal_clipboard(t), "school");
    assert_int_equal(terminal_bells(t), 1);
    assert_true(terminal_mode(t, 1000) && terminal_mode(t, 1006));
    assert_false(terminal_cursor(t).visible);
    terminal_keys(t, "Enter");
    terminal_expect_exit(t, 5, 0);
    assert_true(terminal_cursor(t).visible);
    assert_false(terminal_mode(t, 1000));
    size_t length;
    const char *raw = terminal_raw(t, &length);
    assert_int_equal(length, terminal_bytes(t));
    assert_non_null(memmem(raw, length, "]52;", 4));
    terminal_end(t);
}

static void sees_the_alternate_screen_come_and_go(void **state)
{
    (void)state;
    struct terminal *t =
        shell("echo before; printf '\\033[?1049h\\033[Hinside'; read x; printf '\\033[?1049l'; "
              "echo after; read x");
    terminal_wait(t, 5, "inside");
    assert_true(terminal_alternate(t));
    terminal_expect_no(t, "before");
    terminal_keys(t, "Enter");
    terminal_wait(t, 5, "before\nafter");
    terminal_expect_no(t, "inside");
    assert_false(terminal_alternate(t));
    terminal_end(t);
}

static void tells_the_program_its_size(void **state)
{
    (void)state;
    struct terminal *t =
        shell("trap 'echo now $(stty size)' WINCH; echo first $(stty size); while :; do read x; done");
    terminal_wait(t, 5, "first 24 80");
    terminal_resize(t, 5, 20);
    terminal_wait(t, 5, "now 5 20");
    int rows, columns;
    terminal_size(t, &rows, &columns);
    assert_int_equal(rows, 5);
    assert_int_equal(columns, 20);
    terminal_resize(t, 40, 200);
    terminal_wait(t, 5, "now 40 200");
    terminal_end(t);
}

static void hangs_up(void **state)
{
    (void)state;
    struct terminal *t = terminal_start(ARGV("cat"), NULL, 24, 80, NULL);
    terminal_hangup(t);
    terminal_expect_exit(t, 5, 128 + SIGHUP);
    terminal_end(t);
}

static void reports_how_a_program_ended(void **state)
{
    (void)state;
    struct terminal *t = shell("echo last words; exit 7");
    terminal_expect_exit(t, 5, 7);
    terminal_expect(t, "last words");
    terminal_end(t);
    t = terminal_start(ARGV("cat"), NULL, 24, 80, NULL);
    terminal_signal(t, SIGTERM);
    assert_int_equal(terminal_wait_exit(t, 5), 128 + SIGTERM);
    terminal_end(t);
    t = terminal_start(ARGV("/no/such/program"), NULL, 24, 80, NULL);
    terminal_expect_exit(t, 5, 127);
    terminal_expect(t, "/no/such/program cannot be executed");
    terminal_end(t);
}

static void gives_up_in_time(void **state)
{
    (void)state;
    struct terminal *t = shell("while :; do echo flood; done");
    assert_false(terminal_await_text(t, 0.2, "something else"));
    assert_int_equal(terminal_await_exit(t, 0.2), -1);
    assert_false(terminal_await_quiet(t, 0.1, 0.3));
    terminal_end(t);
    t = shell("echo only this");
    double start = 5;
    assert_false(terminal_await_text(t, start, "something else")); /* at once: it has ended */
    assert_int_equal(terminal_exit_status(t), 0);
    terminal_end(t);
}

static void measures_latency_and_quiet(void **state)
{
    (void)state;
    struct terminal *t = terminal_start(ARGV("cat"), NULL, 24, 80, NULL);
    double ms = terminal_latency(t, "j", 5);
    assert_true(ms >= 0 && ms < 5000);
    assert_true(terminal_await_quiet(t, 0.05, 5));
    size_t before = terminal_bytes(t);
    assert_true(terminal_await_quiet(t, 0.05, 5));
    assert_int_equal(terminal_bytes(t), before);
    terminal_end(t);
    t = shell("stty -echo; echo ready; read x; read y");
    terminal_wait(t, 5, "ready");
    assert_true(terminal_latency(t, "j", 0.05) < 0);
    terminal_end(t);
}

static void gives_a_clean_environment(void **state)
{
    (void)state;
    setenv("XDG_CONFIG_HOME", "/from/outside", 1);
    setenv("PGHOST", "outside", 1);
    struct terminal *t =
        terminal_start(ARGV("sh", "-c", "env | sort; test -w $HOME && echo home can be written"),
                       (const char *const[]){"EXTRA=given", "LANG=C", NULL}, 40, 150, NULL);
    terminal_expect_exit(t, 5, 0);
    terminal_expect(t, "EXTRA=given\n");
    terminal_expect(t, "LANG=C\n");
    terminal_expect(t, "TERM=xterm-256color\n");
    terminal_expect(t, "home can be written");
    terminal_expect_no(t, "outside");
    char home[256];
    snprintf(home, sizeof home, "%s", terminal_home(t));
    assert_int_equal(access(home, F_OK), 0);
    terminal_end(t);
    assert_int_not_equal(access(home, F_OK), 0);
}

static void stops_and_resumes_under_a_shell(void **state)
{
    (void)state;
    struct terminal *t = terminal_start(ARGV("bash", "--norc", "-i"),
                                        (const char *const[]){"PS1=prompt> ", NULL}, 24, 80, NULL);
    terminal_wait(t, 5, "prompt>");
    terminal_keys(t, "text:echo re''ady; cat", "Enter");
    terminal_wait(t, 5, "\nready");
    terminal_keys(t, "text:hello", "Enter");
    terminal_wait(t, 5, "hello\nhello");
    terminal_keys(t, "C-z");
    terminal_wait(t, 5, "Stopped");
    terminal_keys(t, "text:fg", "Enter");
    terminal_wait(t, 5, "fg\ncat");
    terminal_keys(t, "text:again", "Enter");
    terminal_wait(t, 5, "again\nagain");
    pid_t shell_pid = terminal_pid(t);
    terminal_end(t); /* with cat in the foreground */
    assert_int_equal(kill(shell_pid, 0), -1);
}

static void clicks_where_the_program_asked_for_it(void **state)
{
    (void)state;
    struct terminal *t = shell(
        "stty raw -echo; printf '\\033[?1000;1006hready\\r\\n'; dd bs=1 count=20 2>/dev/null | tr '\\033' E");
    terminal_wait(t, 5, "ready");
    terminal_click(t, 4, 9, 1);
    terminal_wait(t, 5, "E[<0;10;5ME[<0;10;5m");
    terminal_end(t);
}

static void draws_the_screen_as_svg(void **state)
{
    (void)state;
    struct terminal *t =
        shell("printf 'a <b> & c\\n\\033[7mturned\\033[0m \\342\\224\\200 \\033[38;2;1;2;3mrgb'; read x");
    terminal_wait(t, 5, "rgb");
    char *picture;
    size_t length;
    FILE *out = open_memstream(&picture, &length);
    svg_write(out, t, "a \"label\"");
    fclose(out);
    assert_non_null(strstr(picture, ">a &lt;b&gt; &amp; c</text>"));
    assert_non_null(strstr(picture, "fill=\"#010203\">rgb</text>"));
    assert_non_null(strstr(picture, "aria-label=\"a label\""));
    assert_null(strstr(picture, "\342\224\200")); /* a line is drawn, not written */
    assert_string_equal(picture + length - strlen("</svg>\n"), "</svg>\n");
    free(picture);
    terminal_end(t);
}

/* ── The program runs itself to see its own checks fail ────────────────────────────────────────────────────
 */

static struct terminal *itself(const char *part)
{
    return terminal_start(ARGV("/proc/self/exe", part), NULL, 50, 100, NULL);
}

static void part_golden_same(void **state)
{
    (void)state;
    golden_check("harness", "one\ntwo\n");
}

static void part_golden_differs(void **state)
{
    (void)state;
    golden_check("harness", "one\nTWO\n");
}

static void part_wait_fails(void **state)
{
    (void)state;
    struct terminal *t = shell("echo something else; read x");
    terminal_wait(t, 5, "something else");
    terminal_wait(t, 0.05, "never shown");
}

static void part_reads_freed_memory(void **state)
{
    (void)state;
    char *volatile bytes = malloc(8);
    free(bytes);
    assert_int_equal(bytes[0], bytes[1]);
}

static int run_part(const char *name)
{
    static const struct CMUnitTest parts[] = {
        cmocka_unit_test(part_golden_same),
        cmocka_unit_test(part_golden_differs),
        cmocka_unit_test(part_wait_fails),
        cmocka_unit_test(part_reads_freed_memory),
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcmp(parts[i].name, name) == 0) {
            struct CMUnitTest one[] = {parts[i]};
            return cmocka_run_group_tests_name(name, one, NULL, NULL);
        }
    }
    return 100;
}

static void compares_golden_screens(void **state)
{
    (void)state;
    struct terminal *t = itself("part_golden_same");
    terminal_expect_exit(t, 10, 0);
    terminal_end(t);
    t = itself("part_golden_differs");
    terminal_expect_exit(t, 10, 1);
    terminal_expect(t, "  1 - two\n  1 + TWO\n");
    terminal_expect_no(t, "- one");
    terminal_end(t);
}

static void fails_with_the_screen(void **state)
{
    (void)state;
    struct terminal *t = itself("part_wait_fails");
    terminal_expect_exit(t, 10, 1);
    terminal_expect(t, "expected the screen to show \"never shown\" within 0.05 s\nscreen 80x24");
    terminal_expect(t, "\n  0|something else\n");
    terminal_expect(t, "test_harness.c:");
    terminal_end(t);
}

static void catches_what_a_sanitizer_reports(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    struct terminal *t = itself("part_reads_freed_memory");
    assert_int_not_equal(terminal_wait_exit(t, 20), 0);
    char *report = terminal_sanitizer_report(t);
    assert_non_null(report);
    assert_non_null(strstr(report, "heap-use-after-free"));
    free(report);
    terminal_free(t);
#else
    skip();
#endif
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return run_part(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_what_is_typed),
        cmocka_unit_test(sends_keys_as_xterm_does),
        cmocka_unit_test(follows_cursor_mode_and_bracketed_paste),
        cmocka_unit_test(keeps_a_gap_after_escape),
        cmocka_unit_test(reads_text_places_and_looks),
        cmocka_unit_test(hears_title_clipboard_bell_and_modes),
        cmocka_unit_test(sees_the_alternate_screen_come_and_go),
        cmocka_unit_test(tells_the_program_its_size),
        cmocka_unit_test(hangs_up),
        cmocka_unit_test(reports_how_a_program_ended),
        cmocka_unit_test(gives_up_in_time),
        cmocka_unit_test(measures_latency_and_quiet),
        cmocka_unit_test(gives_a_clean_environment),
        cmocka_unit_test(stops_and_resumes_under_a_shell),
        cmocka_unit_test(clicks_where_the_program_asked_for_it),
        cmocka_unit_test(draws_the_screen_as_svg),
        cmocka_unit_test(compares_golden_screens),
        cmocka_unit_test(fails_with_the_screen),
        cmocka_unit_test(catches_what_a_sanitizer_reports),
    };
    return cmocka_run_group_tests_name("harness", tests, NULL, NULL);
}
