/*
 * The terminal: starting and giving back, drawing, keys. curses is used for output only; input is read and
 * decoded here, so that nothing ever waits. All drawing passes safe_text: nothing that comes from the world
 * can reach the terminal as a command. One screen at a time.
 */
#ifndef TUI_SCREEN_H
#define TUI_SCREEN_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/keycode.h"
#include "tui/theme.h"

struct screen;

struct screen_options {
    bool ascii;      /* send nothing but ASCII */
    bool mono;       /* no colours; so does a NO_COLOR that is not empty */
    bool mouse;      /* ask the terminal for clicks */
    double escape_s; /* how long an Esc waits for the rest of a key; 0: 0.025, over SSH 0.150 */
};

enum { SCREEN_MIN_ROWS = 15, SCREEN_MIN_COLUMNS = 60 };

/* Takes the terminal at standard input and output over. NULL with an error when it is no terminal, or one
 * that cannot place its cursor. setlocale(LC_CTYPE, "") has been called. Free with screen_free, always: it
 * gives the terminal back as it was. */
struct screen *screen_new(const struct screen_options *options, struct error *error);
void screen_free(struct screen *screen);

/* What the screen tells; all are called from the loop, none while drawing. Each may be NULL. */
struct screen_handlers {
    void (*key)(void *data, keycode key);
    /* A bracketed paste: UTF-8 made safe, line ends as spaces; never executed as keys. */
    void (*paste)(void *data, const char *text);
    /* button 1 to 3; 4 and 5 are the wheel */
    void (*click)(void *data, int row, int column, int button);
    /* The size has changed, or the program was continued after a stop: everything must be drawn. */
    void (*resized)(void *data);
    /* The terminal is gone (end of file or an error on standard input, SIGHUP): end the program. */
    void (*gone)(void *data);
};

/* Watches standard input, SIGWINCH, SIGTSTP and SIGHUP on the loop until screen_free. `handlers` is borrowed.
 */
void screen_watch(struct screen *screen, struct ev_loop *loop, const struct screen_handlers *handlers,
                  void *data);

/* For another program: gives the terminal back; and takes it again (everything must be drawn). */
void screen_suspend(struct screen *screen);
void screen_resume(struct screen *screen);
/* Gives the terminal back and stops the program (C-z); returns when it is continued. SIGTSTP does the same.
 */
void screen_stop(struct screen *screen);

int screen_rows(const struct screen *screen);
int screen_columns(const struct screen *screen);
/* Below 60x15: draw one line that says so, nothing else. screen_draw_too_small does. */
bool screen_too_small(const struct screen *screen);
void screen_draw_too_small(struct screen *screen);

/* A frame: begin, draw everything, end. End sends only what has changed since the last frame, nothing when
 * nothing has. Both do nothing while the terminal is given away. */
void screen_begin(struct screen *screen);
void screen_end(struct screen *screen);
/* The next screen_end sends everything (C-l). */
void screen_redraw(struct screen *screen);

/*
 * Draws one piece of text at a place, at most `cells` wide, cut with "…". Row and column count from 0; what
 * is outside of the screen is left out. `style` is an enum style, or-ed with STYLE_IN_SELECTED. Returns the
 * cells used. The text need not be safe.
 */
int screen_put(struct screen *screen, int row, int column, int cells, unsigned style, const char *text);
/* The same, right-aligned within the cells; a text that is too long is cut at its end. */
int screen_put_right(struct screen *screen, int row, int column, int cells, unsigned style, const char *text);
int screen_format(struct screen *screen, int row, int column, int cells, unsigned style, const char *format,
                  ...) __attribute__((format(printf, 6, 7)));
/* Blanks in a style. */
void screen_fill(struct screen *screen, int row, int column, int cells, unsigned style);
/* `cells` times one glyph of one cell ("─"). */
void screen_repeat(struct screen *screen, int row, int column, int cells, unsigned style, const char *glyph);
/* "── title ─────" over the cells. */
void screen_section(struct screen *screen, int row, int column, int cells, const char *title);
/* A box with blank inside: its border's top left corner, size with the border. */
void screen_box(struct screen *screen, int top, int left, int rows, int columns, unsigned style);

/* Where the cursor stands after screen_end; hidden otherwise. Reset by screen_begin. */
void screen_cursor(struct screen *screen, int row, int column);

/* Puts a text on the terminal's clipboard (OSC 52; through tmux and screen as well). Terminals take it or do
 * not, and none says so. False when it is longer than 74,000 bytes, which many would cut. */
bool screen_copy(struct screen *screen, const char *text);

/* The theme, read-only. */
const struct theme *screen_theme(const struct screen *screen);

#endif
