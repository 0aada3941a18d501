/* What the files of the screen share. Nobody else includes this, nor curses. */
#ifndef TUI_SCREEN_INTERNAL_H
#define TUI_SCREEN_INTERNAL_H

#include <curses.h>
#include <signal.h>
#include <termios.h>

#include "tui/keys.h"
#include "tui/screen.h"

enum { SCREEN_SIGNALS = 6 };

struct screen {
    SCREEN *curses;
    struct theme theme;
    struct keys keys;
    bool mouse;
    bool away;                     /* the terminal is given to somebody else */
    bool gone;                     /* there is no terminal any more */
    bool whole;                    /* the next frame is sent whole */
    int cursor_row, cursor_column; /* -1: hidden */
    int cursor_shown;              /* what the terminal was told last: 0, 1; -1 unknown */

    struct ev_loop *loop; /* NULL: not watched */
    struct ev_io input;
    struct ev_timer escape;
    struct ev_signal signals[SCREEN_SIGNALS];
    const struct screen_handlers *handlers;
    void *data;
};

#endif
