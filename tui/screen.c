/* Taking the terminal and giving it back, signals, input, frames. Drawing is in screen_draw.c. */
#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "tui/screen_internal.h"
#include "tui/terminfo.h"

/* What the terminal needs when the program dies in the middle: a handler can be given nothing else. */
static struct {
    volatile sig_atomic_t armed;
    struct termios before;
    char reset[256];
    size_t reset_length;
    struct sigaction old[SCREEN_SIGNALS];
} crash;

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
/* curses would answer these by itself, and end the program. */
static const int kept_signals[] = {SIGINT, SIGTERM, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT};

static void send_bytes(const char *bytes, size_t length)
{
    while (length) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

static void send_text(const char *text)
{
    send_bytes(text, strlen(text));
}

/* ---- dying ---- */

static void crashed(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (crash.armed) {
        crash.armed = 0;
        send_bytes(crash.reset, crash.reset_length);
        tcsetattr(STDIN_FILENO, TCSANOW, &crash.before);
    }
    for (size_t i = 0; i < sizeof crash_signals / sizeof *crash_signals; i++)
        if (crash_signals[i] == number)
            sigaction(number, &crash.old[i], NULL);
    /* Returning runs into the same fault again, with what was there before us; what was sent is sent again.
     */
    if (info->si_code <= 0)
        raise(number);
}

static void crash_prepare(void)
{
    crash.reset_length = terminfo_reset(crash.reset, sizeof crash.reset);
    struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO};
    for (size_t i = 0; i < sizeof crash_signals / sizeof *crash_signals; i++)
        sigaction(crash_signals[i], &action, &crash.old[i]);
    crash.armed = 1;
}

static void crash_forget(void)
{
    if (!crash.armed)
        return;
    crash.armed = 0;
    for (size_t i = 0; i < sizeof crash_signals / sizeof *crash_signals; i++)
        sigaction(crash_signals[i], &crash.old[i], NULL);
}

/* ---- starting and ending ---- */

static bool terminal_usable(struct error *error)
{
    const char *name = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return error_set(error, ERROR_SYSTEM, NULL, "cannot open the console",
                         "Use a terminal, or a command such as `signalbox queries --plain`",
                         "standard %s is not a terminal", isatty(STDIN_FILENO) ? "output" : "input");
    if (!name || !*name)
        return error_set(error, ERROR_SYSTEM, NULL, "cannot open the console",
                         "Set TERM to what the terminal is, such as xterm-256color", "TERM is not set");
    return terminfo_usable(name, error);
}

static enum theme_glyphs glyphs_here(const struct screen_options *options)
{
    const char *term = getenv("TERM");
    if (options->ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        return GLYPHS_ASCII;
    if (term &&
        (strncmp(term, "vt100", 5) == 0 || strncmp(term, "vt102", 5) == 0 || strncmp(term, "vt220", 5) == 0))
        return GLYPHS_ASCII;
    return term && strncmp(term, "linux", 5) == 0 ? GLYPHS_CP437 : GLYPHS_FULL;
}

static bool wants_mono(const struct screen_options *options)
{
    const char *no_color = getenv("NO_COLOR");
    return options->mono || (no_color && *no_color);
}

/* Modes that curses knows nothing of. */
static void extra_modes(const struct screen *screen, bool on)
{
    send_text(on ? "\033[?2004h" : "\033[?2004l");
    if (screen->mouse)
        send_text(on ? "\033[?1000h\033[?1006h" : "\033[?1006l\033[?1000l");
}

/* Takes the size that the terminal has now. */
static void take_size(struct screen *screen)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_row || !size.ws_col)
        return;
    if (size.ws_row != LINES || size.ws_col != COLS)
        resizeterm(size.ws_row, size.ws_col);
    screen->whole = true;
}

static void key_came(void *data, keycode key);
static void paste_came(void *data, const char *text);
static void click_came(void *data, int row, int column, int button);

static void keys_start(struct screen *screen, const struct screen_options *options)
{
    bool ssh = getenv("SSH_CONNECTION") || getenv("SSH_TTY");
    unsigned char erase = (unsigned char)erasechar();
    screen->keys = (struct keys){
        .escape_s = options->escape_s > 0 ? options->escape_s
                    : ssh                 ? 0.150
                                          : 0.025,
        .backspace = erase < 0x20 ? erase : 0,
        .key = key_came,
        .paste = paste_came,
        .click = click_came,
        .data = screen,
    };
}

struct screen *screen_new(const struct screen_options *options, struct error *error)
{
    struct sigaction before[sizeof kept_signals / sizeof *kept_signals];
    if (!terminal_usable(error))
        return NULL;
    struct screen *screen = calloc(1, sizeof *screen);
    if (!screen)
        abort();
    tcgetattr(STDIN_FILENO, &crash.before);
    for (size_t i = 0; i < sizeof kept_signals / sizeof *kept_signals; i++)
        sigaction(kept_signals[i], NULL, &before[i]);
    screen->curses = newterm(NULL, stdout, stdin);
    for (size_t i = 0; i < sizeof kept_signals / sizeof *kept_signals; i++)
        sigaction(kept_signals[i], &before[i], NULL);
    if (!screen->curses) {
        free(screen);
        error_set(error, ERROR_SYSTEM, NULL, "cannot open the console", NULL,
                  "curses cannot use the terminal");
        return NULL;
    }
    raw();
    noecho();
    nonl();
    intrflush(stdscr, FALSE);
    keypad(stdscr, TRUE);
    typeahead(-1);
    screen->mouse = options->mouse;
    screen->cursor_row = -1;
    screen->cursor_shown = -1;
    theme_init(&screen->theme, glyphs_here(options), wants_mono(options));
    keys_start(screen, options);
    take_size(screen);
    crash_prepare();
    extra_modes(screen, true);
    return screen;
}

void screen_free(struct screen *screen)
{
    if (!screen)
        return;
    if (screen->loop) {
        ev_io_stop(screen->loop, &screen->input);
        ev_timer_stop(screen->loop, &screen->escape);
        for (int i = 0; i < SCREEN_SIGNALS; i++)
            ev_signal_stop(screen->loop, &screen->signals[i]);
    }
    screen_suspend(screen);
    crash_forget();
    keys_reset(&screen->keys);
    delscreen(screen->curses);
    free(screen);
}

void screen_suspend(struct screen *screen)
{
    if (screen->away)
        return;
    extra_modes(screen, false);
    curs_set(1);
    screen->cursor_shown = -1;
    endwin();
    screen->away = true;
    crash.armed = 0;
    if (screen->loop)
        ev_io_stop(screen->loop, &screen->input);
}

void screen_resume(struct screen *screen)
{
    if (!screen->away)
        return;
    screen->away = false;
    reset_prog_mode();
    take_size(screen);
    screen->whole = true;
    crash.armed = 1;
    if (screen->loop && !screen->gone)
        ev_io_start(screen->loop, &screen->input);
    /* Sent by the next frame, after curses has switched to the alternate screen again. */
    refresh();
    extra_modes(screen, true);
}

static void tell_resized(struct screen *screen)
{
    if (screen->handlers && screen->handlers->resized)
        screen->handlers->resized(screen->data);
}

void screen_stop(struct screen *screen)
{
    struct sigaction ours, normal = {.sa_handler = SIG_DFL};
    bool was_away = screen->away;
    screen_suspend(screen);
    sigaction(SIGTSTP, &normal, &ours);
    kill(0, SIGTSTP); /* everybody whom the shell started with us, as the key would */
    sigaction(SIGTSTP, &ours, NULL);
    if (was_away)
        return;
    screen_resume(screen);
    tell_resized(screen);
}

/* ---- input ---- */

static void key_came(void *data, keycode key)
{
    struct screen *screen = data;
    if (screen->handlers && screen->handlers->key)
        screen->handlers->key(screen->data, key);
}

static void paste_came(void *data, const char *text)
{
    struct screen *screen = data;
    if (screen->handlers && screen->handlers->paste)
        screen->handlers->paste(screen->data, text);
}

static void click_came(void *data, int row, int column, int button)
{
    struct screen *screen = data;
    if (screen->handlers && screen->handlers->click)
        screen->handlers->click(screen->data, row, column, button);
}

static void terminal_gone(struct screen *screen)
{
    screen->gone = true;
    ev_io_stop(screen->loop, &screen->input);
    if (screen->handlers->gone)
        screen->handlers->gone(screen->data);
}

static void arm_escape(struct screen *screen)
{
    double wait = keys_wait(&screen->keys, clock_monotonic());
    ev_timer_stop(screen->loop, &screen->escape);
    if (wait < 0)
        return;
    ev_timer_set(&screen->escape, wait + 0.0005, 0.);
    ev_timer_start(screen->loop, &screen->escape);
}

static void input_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    struct screen *screen = watcher->data;
    char bytes[4096];
    (void)loop;
    (void)events;
    ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
    if (length > 0)
        keys_feed(&screen->keys, bytes, (size_t)length, clock_monotonic());
    else if (length == 0 || (errno != EINTR && errno != EAGAIN)) {
        terminal_gone(screen);
        return;
    }
    arm_escape(screen);
}

static void escape_due(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    struct screen *screen = watcher->data;
    (void)loop;
    (void)events;
    keys_expire(&screen->keys, clock_monotonic());
    arm_escape(screen);
}

static void signalled(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    struct screen *screen = watcher->data;
    (void)loop;
    (void)events;
    switch (watcher->signum) {
    case SIGWINCH:
        if (screen->away)
            return;
        take_size(screen);
        tell_resized(screen);
        return;
    case SIGTSTP:
        screen_stop(screen);
        return;
    case SIGCONT: /* stopped by somebody without asking: the shell has had the terminal meanwhile */
        if (screen->away)
            return;
        reset_prog_mode();
        extra_modes(screen, true);
        take_size(screen);
        screen->whole = true;
        screen->cursor_shown = -1;
        tell_resized(screen);
        return;
    case SIGINT:
        key_came(screen, 'c' | KEYCODE_CTRL);
        return;
    default:
        terminal_gone(screen);
    }
}

void screen_watch(struct screen *screen, struct ev_loop *loop, const struct screen_handlers *handlers,
                  void *data)
{
    static const int numbers[SCREEN_SIGNALS] = {SIGWINCH, SIGTSTP, SIGCONT, SIGINT, SIGTERM, SIGHUP};
    screen->loop = loop;
    screen->handlers = handlers;
    screen->data = data;
    ev_io_init(&screen->input, input_ready, STDIN_FILENO, EV_READ);
    ev_init(&screen->escape, escape_due);
    screen->input.data = screen->escape.data = screen;
    for (int i = 0; i < SCREEN_SIGNALS; i++) {
        ev_signal_init(&screen->signals[i], signalled, numbers[i]);
        screen->signals[i].data = screen;
        ev_signal_start(loop, &screen->signals[i]);
        ev_unref(loop); /* watching the terminal alone keeps no loop running */
    }
    ev_io_start(loop, &screen->input);
}

/* ---- frames ---- */

int screen_rows(const struct screen *screen)
{
    (void)screen;
    return LINES;
}

int screen_columns(const struct screen *screen)
{
    (void)screen;
    return COLS;
}

bool screen_too_small(const struct screen *screen)
{
    return screen_rows(screen) < SCREEN_MIN_ROWS || screen_columns(screen) < SCREEN_MIN_COLUMNS;
}

void screen_begin(struct screen *screen)
{
    screen->cursor_row = -1;
    if (screen->away || screen->gone)
        return;
    erase();
}

void screen_end(struct screen *screen)
{
    if (screen->away || screen->gone)
        return;
    if (screen->whole)
        clearok(curscr, TRUE);
    screen->whole = false;
    bool shown = screen->cursor_row >= 0;
    leaveok(stdscr, !shown);
    if (shown)
        move(screen->cursor_row, screen->cursor_column);
    if (screen->cursor_shown != (int)shown)
        curs_set(shown);
    screen->cursor_shown = shown;
    wnoutrefresh(stdscr);
    doupdate();
}

void screen_redraw(struct screen *screen)
{
    screen->whole = true;
}

void screen_cursor(struct screen *screen, int row, int column)
{
    if (row < 0 || column < 0 || row >= LINES || column >= COLS)
        return;
    screen->cursor_row = row;
    screen->cursor_column = column;
}

const struct theme *screen_theme(const struct screen *screen)
{
    return &screen->theme;
}

/* ---- clipboard ---- */

static void base64(char *out, const unsigned char *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16 | (i + 1 < length ? (unsigned)bytes[i + 1] << 8 : 0) |
                         (i + 2 < length ? bytes[i + 2] : 0);
        *out++ = digits[group >> 18 & 63];
        *out++ = digits[group >> 12 & 63];
        *out++ = i + 1 < length ? digits[group >> 6 & 63] : '=';
        *out++ = i + 2 < length ? digits[group & 63] : '=';
    }
    *out = '\0';
}

bool screen_copy(struct screen *screen, const char *text)
{
    size_t length = strlen(text);
    const char *term = getenv("TERM");
    if (length > 74000 || screen->away || screen->gone)
        return false;
    char *encoded = malloc(length / 3 * 4 + 8);
    if (!encoded)
        abort();
    base64(encoded, (const unsigned char *)text, length);
    /* tmux takes OSC 52 itself (set-clipboard), and in its wrapping passes it on (allow-passthrough). */
    bool tmux = getenv("TMUX") != NULL, gnu_screen = !tmux && term && strncmp(term, "screen", 6) == 0;
    if (gnu_screen) { /* takes strings of 768 bytes at most: one wrapping each */
        send_text("\033P\033]52;c;\033\\");
        for (size_t i = 0, total = strlen(encoded); i < total; i += 512) {
            send_text("\033P");
            send_bytes(encoded + i, total - i < 512 ? total - i : 512);
            send_text("\033\\");
        }
        send_text("\033P\a\033\\");
    } else {
        send_text("\033]52;c;");
        send_text(encoded);
        send_text("\a");
        if (tmux) {
            send_text("\033Ptmux;\033\033]52;c;");
            send_text(encoded);
            send_text("\a\033\\");
        }
    }
    free(encoded);
    return true;
}
