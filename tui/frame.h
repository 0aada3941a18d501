/*
 * What stands around the body: the header (environment, lock, tabs, connections, clock), the line that says
 * where we are, messages, and the footer with the keys that matter here. Narrow screens lose the least
 * important words first.
 */
#ifndef TUI_FRAME_H
#define TUI_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "tui/screen.h"

struct frame_tab {
    const char *key;   /* "1"; may be NULL */
    const char *title; /* "Triage" */
    bool current;
};

enum frame_state { FRAME_IDLE, FRAME_UP, FRAME_CONNECTING, FRAME_DOWN };

struct frame_connection {
    const char *name; /* "pg", "main" */
    enum frame_state state;
    const char *word; /* said behind the glyph when it is not simply up: "refused", "2/3" */
    bool current;     /* the server that is chosen */
};

/* All borrowed for the call. */
struct frame_header {
    const char *environment; /* title of the environment */
    const char *badge;       /* "PRODUCTION" */
    enum style badge_style;
    const char *lock; /* "locked", "unlocked 28 min", "BREAK-GLASS 12 min"; or NULL */
    enum style lock_style;
    const struct frame_tab *tabs;
    size_t tab_count;
    const struct frame_connection *connections;
    size_t connection_count;
    const char *clock;  /* "14:05:10 UTC" */
    const char *banner; /* "you are on db1", "recording": before the clock, or NULL */
};

/* Draws at row 0, and row 1 when it does not fit in one line; returns the rows used. */
int frame_draw_header(struct screen *screen, const struct frame_header *header);

/* "Queries › SELECT … › measured 14:05:08" with a text at the right ("data 2 s old"), or NULL. The last part
 * is kept longest. */
void frame_draw_path(struct screen *screen, int row, const char *const *parts, size_t count,
                     const char *right, enum style right_style);

struct frame_key {
    const char *key;   /* "F9"; NULL: left out */
    const char *label; /* "cancel" */
};

/* Whole entries as far as they fit; `right` (a state: "3 marked", "paused", or NULL) keeps its place. */
void frame_draw_footer(struct screen *screen, int row, const struct frame_key *keys, size_t count,
                       const char *right);

/* Rows that a message takes when it is wrapped, at most `max`; and drawing it so, with its first line on
 * `row`. Severities are said as a word too ("error: …", "warning: …"). */
int frame_message_rows(enum severity severity, const char *text, int columns, int max);
void frame_draw_message(struct screen *screen, int row, int rows, enum severity severity, const char *text);

#endif
