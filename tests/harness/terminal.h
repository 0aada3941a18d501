/* A real terminal (libvterm) around a program on a pseudo-terminal: what a person would type and see. Nothing
 * in here asserts; check.h holds the calls that fail a cmocka test. Not thread-safe; one thread owns a
 * terminal.
 *
 * The program gets a clean environment: PATH and the sanitizers' options of the caller, a HOME of its own
 * that goes away with the terminal (unless HOME is given), LANG=C.UTF-8, TZ=UTC, TERM, and what the caller
 * adds. No XDG, PG* or editor variable comes in from outside. It leads a session of its own and dies with the
 * process that started it. As the leader of an orphaned group it is not stopped by C-z: to test that, start
 * it under `bash --norc -i`. */
#ifndef TESTS_HARNESS_TERMINAL_H
#define TESTS_HARNESS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct terminal;

/* Colours are -1 (the terminal's default), 0 to 255 (palette) or TERMINAL_RGB with 0xRRGGBB in the low bits.
 */
enum { TERMINAL_DEFAULT = -1, TERMINAL_RGB = 0x1000000 };

struct terminal_attr {
    int foreground, background;
    bool bold, reverse, underline, italic, blink;
    int width;     /* cells of the glyph: 1 or 2; 0 for the right half of a wide glyph */
    char text[40]; /* the glyph as UTF-8; " " when empty */
};

struct terminal_cursor {
    int row, column; /* from 0 */
    bool visible;
};

/* Starts argv (NULL-terminated; argv[0] without a slash is searched in PATH). env: extra "NAME=VALUE",
 * NULL-terminated, or NULL. term: NULL is xterm-256color. Aborts when the machine has no pseudo-terminal; a
 * program that cannot be executed says so on the screen and exits with 127. Free with terminal_free. */
struct terminal *terminal_start(const char *const argv[], const char *const env[], int rows, int columns,
                                const char *term);
/* Kills the program and its foreground job when they still run, reaps, removes the temporary HOME. NULL is
 * fine. */
void terminal_free(struct terminal *t);

/* The whole screen as lines of UTF-8, blanks at their ends trimmed, each line (also the empty ones) ending
 * with a newline. Borrowed: valid until the next call that pumps or frees. */
const char *terminal_text(struct terminal *t);
/* One line without newline; "" outside the screen. Borrowed as above, but calls for other rows do not disturb
 * it. */
const char *terminal_line(struct terminal *t, int row);
/* Whether the screen shows the text now; no waiting. The text may span lines ("\n"). */
bool terminal_has(struct terminal *t, const char *text);
/* Finds the first place of a text within a line; row and column (in cells) may be NULL. */
bool terminal_find(struct terminal *t, const char *text, int *row, int *column);
/* The look of a cell. A cell outside the screen is a defect of the test: aborts. */
struct terminal_attr terminal_attr(struct terminal *t, int row, int column);
struct terminal_cursor terminal_cursor(struct terminal *t);
void terminal_size(const struct terminal *t, int *rows, int *columns);

/* What the program told the terminal apart from text. Borrowed; NULL when it never did. */
const char *terminal_title(const struct terminal *t);
/* The last text put on the clipboard (OSC 52, decoded). */
const char *terminal_clipboard(const struct terminal *t);
/* A private mode (DECSET) that is on now: 1049 alternate screen, 2004 bracketed paste, 1000/1002/1003 mouse
 * ... */
bool terminal_mode(const struct terminal *t, int mode);
/* On the alternate screen (1049, 1047 or 47). */
bool terminal_alternate(const struct terminal *t);
int terminal_bells(const struct terminal *t);
/* Bytes that the program has written so far, as far as they have been pumped. */
size_t terminal_bytes(const struct terminal *t);
/* The bytes themselves, at least the last 4 MB. Borrowed. */
const char *terminal_raw(const struct terminal *t, size_t *length);
/* The temporary or given HOME. Borrowed. */
const char *terminal_home(const struct terminal *t);
pid_t terminal_pid(const struct terminal *t);

/* Sends one key: a character ("j", "é"), a name (Enter Esc Tab Space Backspace Delete Insert Up Down Left
 * Right Home End PgUp PgDn F1..F12), either with C- M- S- before it, "text:hello" (each character),
 * "paste:hello" (bracketed when the program asked for it) or "bytes:..." (as they are). False for an unknown
 * name. Honours application cursor mode. After Esc, the next key waits for TERMINAL_ESCAPE_GAP_MS, as fingers
 * do, or the program could not tell it from Alt. */
bool terminal_send(struct terminal *t, const char *key);
enum { TERMINAL_ESCAPE_GAP_MS = 100 };
/* button 1 left, 2 middle, 3 right, 4 and 5 wheel; press and release. Nothing is sent unless the program
 * asked for it. */
void terminal_click(struct terminal *t, int row, int column, int button);
/* Sends a key and measures milliseconds until the screen first changes; negative when it does not within the
 * time. A program that redraws by itself can be faster than its own answer: measure when it is quiet. */
double terminal_latency(struct terminal *t, const char *key, double seconds);

void terminal_resize(struct terminal *t, int rows, int columns);
void terminal_signal(struct terminal *t, int number);
/* The terminal goes away: the program gets SIGHUP, its writes fail. What was on the screen stays readable. */
void terminal_hangup(struct terminal *t);

/* Pumps once: what the program wrote goes to the screen; waits at most until the deadline (seconds from now)
 * for something to happen. False when nothing did. */
bool terminal_pump(struct terminal *t, double seconds);
/* Pumps until done(t, data) or the time is over, or the program has ended and all was read. Returns what done
 * said last. */
bool terminal_await(struct terminal *t, double seconds, bool (*done)(struct terminal *t, void *data),
                    void *data);
/* The same for a text on the screen (gone: for its absence). */
bool terminal_await_text(struct terminal *t, double seconds, const char *text);
bool terminal_await_gone(struct terminal *t, double seconds, const char *text);
/* Pumps until the program has written nothing for `quiet` seconds; false when `seconds` pass before that. */
bool terminal_await_quiet(struct terminal *t, double quiet, double seconds);
/* Pumps until the program ends. Its exit status, 128 + signal, or -1 when it still runs after the time. */
int terminal_await_exit(struct terminal *t, double seconds);
/* -1 while it runs. */
int terminal_exit_status(const struct terminal *t);

/* What AddressSanitizer and UBSan reported from the program so far, as text to free; NULL when nothing. */
char *terminal_sanitizer_report(const struct terminal *t);
/* The screen in a frame with row numbers, cursor, title and exit status, for messages. Free it. */
char *terminal_picture(struct terminal *t);

#endif
