/*
 * A stacked chart through time (active sessions by wait class) and one-line sparklines. Classes differ in
 * their glyph as well as in colour. Time without samples is drawn as a gap.
 */
#ifndef TUI_CHART_H
#define TUI_CHART_H

#include <stddef.h>

#include "tui/screen.h"

enum { CHART_SERIES_MAX = 8 };

struct chart_series {
    const char *label; /* "lock" */
    const char *glyph; /* "░", one cell */
    enum style style;
};

/* All borrowed for the call. */
struct chart {
    const char *title;                 /* "active sessions" */
    const struct chart_series *series; /* the first lies at the bottom */
    size_t series_count;
    const double *times; /* seconds since the epoch, ascending */
    const float *values; /* sample after sample, each of series_count numbers; NaN first: a gap */
    size_t samples;
    double from, to;                   /* the time that is shown; seconds since the epoch */
    double interval_s;                 /* between two samples; longer distances are gaps */
    double limit;                      /* "limit 400" in the title; 0: none */
    double selected_from, selected_to; /* a stretch that is selected; 0: none */
    double full;                       /* the value at the top (100 for shares); 0: as the values need it */
};

/* Draws title, plot, axis into the rectangle: rows - 2 lines of plot (nothing when there are fewer than 4).
 */
void chart_draw(const struct chart *chart, struct screen *screen, int top, int left, int rows, int columns);

/* "▁▂▃▅": the last `cells` values, scaled to their greatest; NaN is a blank. Returns buffer. */
char *chart_spark(char *buffer, size_t size, const float *values, size_t count, int cells);

/* "█████▍": a bar for a share of 0..1, at most `cells` cells, in eighths, not padded. Returns buffer; 3 bytes
 * a cell and one more are needed. */
char *chart_bar(char *buffer, size_t size, double share, int cells);

#endif
