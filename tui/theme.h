/*
 * How things look, by what they mean: styles are roles, and the theme turns them into colours and attributes
 * for terminals of 256, 16, 8 or no colours. No state is told by colour alone. Texts are written with the
 * glyphs of UTF-8 everywhere; where a terminal lacks them the screen puts others in their place
 * (theme_glyph).
 */
#ifndef TUI_THEME_H
#define TUI_THEME_H

#include <stdbool.h>
#include <stdint.h>

#include "core/value.h"

enum style {
    STYLE_NORMAL,
    STYLE_DIM,          /* late, less important */
    STYLE_TITLE,        /* "── Plan ──", the title of a dialog */
    STYLE_HEADER,       /* the header line */
    STYLE_TAB,          /* the current tab in it */
    STYLE_BREADCRUMB,   /* where we are */
    STYLE_TABLE_HEADER, /* titles of columns */
    STYLE_SORTED,       /* the title of the column that sorts */
    STYLE_SELECTED,     /* the selected row */
    STYLE_MARKED,       /* marked rows */
    STYLE_OK,
    STYLE_WARNING,
    STYLE_CRITICAL,
    STYLE_KEY,    /* a key that can be pressed */
    STYLE_LABEL,  /* what a key does; the label of a field */
    STYLE_BORDER, /* lines of boxes, trees and axes */
    STYLE_BAR,    /* the bar of a share */
    STYLE_MATCH,  /* what a search found */
    STYLE_FIELD,  /* where text can be typed */
    STYLE_PRODUCTION,
    STYLE_STAGING,
    STYLE_DEVELOPMENT,
    STYLE_BREAK_GLASS,
    STYLE_CHART_RUNNING,
    STYLE_CHART_IO,
    STYLE_CHART_LOCK,
    STYLE_CHART_OTHER,
    STYLE_COUNT,
    /* Or-ed to a style: the same within the selected row, so that severities stay readable there. */
    STYLE_IN_SELECTED = 64,
};

/* The style of a severity; SEVERITY_NONE gives `otherwise`. */
enum style theme_severity(enum severity severity, enum style otherwise);

enum theme_glyphs {
    GLYPHS_FULL,  /* a UTF-8 terminal with a modern font */
    GLYPHS_CP437, /* the Linux console: lines and full blocks, no eighths */
    GLYPHS_ASCII, /* nothing but ASCII is sent */
};

struct theme_look {
    uint32_t attributes; /* of curses */
    short pair;
};

struct theme {
    struct theme_look looks[2][STYLE_COUNT]; /* [1]: within the selected row */
    enum theme_glyphs glyphs;
    int colours; /* 0, 8, 16 or 256 */
};

/* Sets the theme up and registers its colour pairs with curses, which has been started. `mono` is the
 * user's wish for no colours (NO_COLOR is looked at by screen_new). */
void theme_init(struct theme *theme, enum theme_glyphs glyphs, bool mono);

/* The look of a style, STYLE_IN_SELECTED included. */
struct theme_look theme_look(const struct theme *theme, unsigned style);

/* What is sent for a character of one cell: itself, or what stands in for it. */
uint32_t theme_glyph(enum theme_glyphs glyphs, uint32_t character);

#endif
