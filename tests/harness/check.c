/* Failing cmocka tests with the screen. A failed terminal is freed: its program must not outlive the test. */
#include "tests/harness/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/cmocka.h"

/* Of a program that has ended: what it wrote last (the alternate screen took it away) and what a sanitizer
 * says. */
static void print_end(struct terminal *t)
{
    size_t length;
    const char *raw = terminal_raw(t, &length);
    char *report = terminal_sanitizer_report(t);
    if (terminal_exit_status(t) > 0) {
        fputs("its last output: ", stderr);
        for (size_t i = length > 800 ? length - 800 : 0; i < length; i++)
            fprintf(stderr, raw[i] < ' ' ? "\\x%02x" : "%c", (unsigned char)raw[i]);
        fputc('\n', stderr);
    }
    if (report)
        fputs(report, stderr);
    free(report);
}

_Noreturn void terminal_check_fail(const char *file, int line, struct terminal *t, const char *format, ...)
{
    char *message, *picture = terminal_picture(t);
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&message, format, arguments) < 0)
        abort();
    va_end(arguments);
    print_error("%s\n", message);
    fputs(picture, stderr); /* cmocka cuts its messages at 1,024 bytes */
    print_end(t);
    free(message);
    free(picture);
    terminal_free(t);
    _fail(file, line);
    abort();
}

void terminal_check_keys(const char *file, int line, struct terminal *t, const char *const keys[])
{
    for (; *keys; keys++) {
        if (!terminal_send(t, *keys))
            terminal_check_fail(file, line, t, "the harness knows no key \"%s\"", *keys);
    }
}

void terminal_check_text(const char *file, int line, struct terminal *t, double seconds, const char *text,
                         bool present)
{
    bool good = present ? terminal_await_text(t, seconds, text) : terminal_await_gone(t, seconds, text);
    if (!good)
        terminal_check_fail(file, line, t, "expected the screen %s \"%s\" within %g s",
                            present ? "to show" : "to lose", text, seconds);
}

void terminal_check_until(const char *file, int line, struct terminal *t, double seconds,
                          bool (*done)(struct terminal *t, void *data), void *data, const char *what)
{
    if (!terminal_await(t, seconds, done, data))
        terminal_check_fail(file, line, t, "expected within %g s: %s", seconds, what);
}

int terminal_check_exit(const char *file, int line, struct terminal *t, double seconds, int status)
{
    int found = terminal_await_exit(t, seconds);
    if (found < 0)
        terminal_check_fail(file, line, t, "expected the program to end within %g s", seconds);
    if (status >= 0 && found != status)
        terminal_check_fail(file, line, t, "expected exit status %d, the program ended with %d", status,
                            found);
    return found;
}

void terminal_check_end(const char *file, int line, struct terminal *t)
{
    char *report = terminal_sanitizer_report(t);
    if (report) {
        free(report);
        terminal_check_fail(file, line, t, "a sanitizer has reported a defect of the program");
    }
    terminal_free(t);
}
