/* The terminal's calls that fail a cmocka test, with the place of the call, what was expected and the whole
 * screen.
 *
 *     struct terminal *t = terminal_start((const char *[]){SIGNALBOX_PROGRAM, "-e", "demo", NULL}, NULL, 32,
 * 104, NULL); terminal_wait(t, 5, "Queries"); terminal_keys(t, "Down", "F9"); terminal_wait(t, 5, "Type the
 * last two digits"); terminal_keys(t, "Esc", ":", "text:q", "Enter"); terminal_expect_exit(t, 5, 0);
 *     terminal_end(t);
 */
#ifndef TESTS_HARNESS_CHECK_H
#define TESTS_HARNESS_CHECK_H

#include "tests/harness/terminal.h"

/* Sends keys as terminal_send names them. */
#define terminal_keys(t, ...)                                                                                \
    terminal_check_keys(__FILE__, __LINE__, (t), (const char *const[]){__VA_ARGS__, NULL})
/* Waits until the screen holds the text. Fails at once when the program ends without it. */
#define terminal_wait(t, seconds, text) terminal_check_text(__FILE__, __LINE__, (t), (seconds), (text), true)
#define terminal_wait_gone(t, seconds, text)                                                                 \
    terminal_check_text(__FILE__, __LINE__, (t), (seconds), (text), false)
/* Waits until done(t, data); `what` says what was expected, for the message. */
#define terminal_wait_until(t, seconds, done, data, what)                                                    \
    terminal_check_until(__FILE__, __LINE__, (t), (seconds), (done), (data), (what))
/* Returns the exit status (128 + signal); fails when the program still runs after the time. */
#define terminal_wait_exit(t, seconds) terminal_check_exit(__FILE__, __LINE__, (t), (seconds), -1)
/* The same, and fails when the status is another one. */
#define terminal_expect_exit(t, seconds, status)                                                             \
    terminal_check_exit(__FILE__, __LINE__, (t), (seconds), (status))
/* The screen holds the text now / does not hold it now. */
#define terminal_expect(t, text) terminal_check_text(__FILE__, __LINE__, (t), 0, (text), true)
#define terminal_expect_no(t, text) terminal_check_text(__FILE__, __LINE__, (t), 0, (text), false)
/* Fails with a message and the screen. */
#define terminal_fail(t, ...) terminal_check_fail(__FILE__, __LINE__, (t), __VA_ARGS__)
/* Frees the terminal; fails when a sanitizer has reported anything from the program. Use it instead of
 * terminal_free. */
#define terminal_end(t) terminal_check_end(__FILE__, __LINE__, (t))

void terminal_check_keys(const char *file, int line, struct terminal *t, const char *const keys[]);
void terminal_check_text(const char *file, int line, struct terminal *t, double seconds, const char *text,
                         bool present);
void terminal_check_until(const char *file, int line, struct terminal *t, double seconds,
                          bool (*done)(struct terminal *t, void *data), void *data, const char *what);
int terminal_check_exit(const char *file, int line, struct terminal *t, double seconds, int status);
_Noreturn void terminal_check_fail(const char *file, int line, struct terminal *t, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void terminal_check_end(const char *file, int line, struct terminal *t);

#endif
