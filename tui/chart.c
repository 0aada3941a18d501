/* Stacked charts, bars and sparklines out of block glyphs. */
#include "tui/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/text.h"

enum { AXIS = 7 /* "  400 ┤" */, LABEL_GAP = 12, COLUMNS_MAX = 512 };

/* The nice number (1, 2 or 5 times a power of ten) that is not below `value`; at least 1. What is above it by
 * rounding alone (shares that add up to 100.2 %) does not double the scale. */
static double chart_nice(double value)
{
    value *= 0.995;
    if (!(value > 1))
        return 1;
    double power = pow(10, floor(log10(value)));
    double factor = value / power;
    return power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
}

char *chart_bar(char *buffer, size_t size, double share, int cells)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double bounded = share > 1 ? 1 : share > 0 ? share : 0;
    int filled = (int)lround(bounded * cells * 8);
    size_t used = 0;
    buffer[0] = '\0';
    if (bounded > 0 && filled == 0)
        filled = 1; /* a little is not none */
    for (int i = 0; i < filled / 8 && used + 4 <= size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "█");
    if (used + 4 <= size)
        snprintf(buffer + used, size - used, "%s", eighths[filled % 8]);
    return buffer;
}

char *chart_spark(char *buffer, size_t size, const float *values, size_t count, int cells)
{
    static const char *const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t from = count > (size_t)cells ? count - (size_t)cells : 0, used = 0;
    float greatest = 0;
    buffer[0] = '\0';
    for (size_t i = from; i < count; i++)
        greatest = values[i] > greatest ? values[i] : greatest;
    for (size_t i = from; i < count && used + 4 <= size; i++) {
        int level = greatest > 0 ? (int)(values[i] / greatest * 7.0f + 0.5f) : 0;
        const char *glyph = isnan(values[i]) ? " " : levels[level < 0 ? 0 : level > 7 ? 7 : level];
        used += (size_t)snprintf(buffer + used, size - used, "%s", glyph);
    }
    return buffer;
}

/* ---- the stacked chart ---- */

/* What one column of the screen stands for: the mean of its samples, stacked. */
struct bin {
    double sums[CHART_SERIES_MAX];
    int samples; /* 0: a gap */
};

struct plot {
    struct bin bins[COLUMNS_MAX];
    int count;
    double scale; /* the value at the top */
};

static size_t series_of(const struct chart *chart)
{
    return chart->series_count < CHART_SERIES_MAX ? chart->series_count : CHART_SERIES_MAX;
}

static void add_sample(const struct chart *chart, struct plot *plot, size_t sample, double per_column)
{
    const float *values = chart->values + sample * chart->series_count;
    int at = (int)floor((chart->times[sample] - chart->from) / per_column);
    if (at == plot->count && chart->times[sample] <= chart->to)
        at--;
    if (at < 0 || at >= plot->count || isnan(values[0]))
        return;
    for (size_t s = 0; s < series_of(chart); s++)
        plot->bins[at].sums[s] += values[s] > 0 ? values[s] : 0;
    plot->bins[at].samples++;
}

/* Where a column is narrower than the time between two samples, it shows the sample before it. */
static void fill_between(const struct chart *chart, struct plot *plot, double per_column)
{
    int reach = (int)ceil(chart->interval_s * 1.5 / per_column), since = reach;
    struct bin last = {.samples = 0};
    for (int i = 0; i < plot->count; i++) {
        if (plot->bins[i].samples) {
            last = plot->bins[i];
            since = 0;
        } else if (++since < reach && per_column < chart->interval_s) {
            plot->bins[i] = last;
        }
    }
}

static void make_bins(const struct chart *chart, struct plot *plot, int columns)
{
    memset(plot, 0, sizeof *plot);
    plot->count = columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
    double per_column = (chart->to - chart->from) / plot->count, greatest = 0;
    if (per_column <= 0)
        return;
    for (size_t i = 0; i < chart->samples; i++)
        add_sample(chart, plot, i, per_column);
    for (int i = 0; i < plot->count; i++)
        for (size_t s = 0; plot->bins[i].samples && s < series_of(chart); s++)
            plot->bins[i].sums[s] /= plot->bins[i].samples;
    for (int i = 0; i < plot->count; i++) {
        double sum = 0;
        for (size_t s = 0; s < series_of(chart); s++)
            sum += plot->bins[i].sums[s];
        greatest = sum > greatest ? sum : greatest;
    }
    for (int i = 0; i < plot->count; i++)
        plot->bins[i].samples = plot->bins[i].samples > 0;
    fill_between(chart, plot, per_column);
    plot->scale = chart->full > 0 ? chart->full : greatest;
}

static void draw_legend(const struct chart *chart, struct screen *screen, int row, int left, int columns)
{
    char limit[32] = "";
    int at = left + columns;
    if (chart->limit > 0) {
        snprintf(limit, sizeof limit, "limit %.0f", chart->limit);
        at -= text_width(limit);
        screen_put(screen, row, at, columns, STYLE_DIM, limit);
        at -= 4;
    }
    int used = screen_put(screen, row, left, columns, STYLE_TITLE, chart->title);
    /* The uppermost class comes first, as it is seen. */
    for (size_t s = 0; s < series_of(chart); s++) {
        const struct chart_series *series = &chart->series[s];
        int cells = text_width(series->label) + 2;
        if (at - cells < left + used + 2)
            return;
        at -= cells;
        screen_put(screen, row, at, 1, series->style, series->glyph);
        screen_put(screen, row, at + 2, cells - 2, STYLE_LABEL, series->label);
        at -= 2;
    }
}

static void draw_column(const struct chart *chart, struct screen *screen, const struct bin *bin, int bottom,
                        int height, int column, double scale)
{
    double below = 0;
    int drawn = 0;
    if (!bin->samples)
        return;
    for (size_t s = 0; s < series_of(chart); s++) {
        below += bin->sums[s];
        /* The lowest line is 0, the highest is the scale: something is never nothing. */
        int until = (int)lround(below / scale * (height - 1)) + (bin->sums[s] > 0 || drawn > 0);
        for (; drawn < until && drawn < height; drawn++)
            screen_put(screen, bottom - drawn, column, 1, chart->series[s].style, chart->series[s].glyph);
    }
}

static void draw_scale(struct screen *screen, int top, int height, int left, double scale)
{
    int last = height - 1;
    for (int i = 0; i <= last; i++) {
        bool tick = i == 0 || i == last || (last % 2 == 0 && i == last / 2);
        double value = scale * (last - i) / last;
        char text[32];
        snprintf(text, sizeof text, value == floor(value) ? "%.0f" : "%.1f", value);
        if (tick)
            screen_put_right(screen, top + i, left, AXIS - 2, STYLE_DIM, text);
        screen_put(screen, top + i, left + AXIS - 1, 1, STYLE_BORDER, tick ? "┤" : "│");
    }
}

/* A distance between labels that people count in. */
static double nice_seconds(double least)
{
    static const double steps[] = {1,   2,   5,   10,   15,   30,   60,    120,
                                   300, 600, 900, 1800, 3600, 7200, 14400, 43200};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i] >= least)
            return steps[i];
    return 86400;
}

/* "◂── selected 14:01:10–14:02:40 ──▸" */
static void draw_selected(const struct chart *chart, struct screen *screen, int row, int left, int columns,
                          double per_column)
{
    int from = (int)((chart->selected_from - chart->from) / per_column);
    int to = (int)((chart->selected_to - chart->from) / per_column);
    char first[48], last[48], text[96];
    from = from < 0 ? 0 : from;
    to = to >= columns ? columns - 1 : to;
    if (to < from)
        return;
    screen_repeat(screen, row, left + from, to - from + 1, STYLE_TITLE, "─");
    screen_put(screen, row, left + from, 1, STYLE_TITLE, "◂");
    screen_put(screen, row, left + to, 1, STYLE_TITLE, "▸");
    clock_time_of_day(first, sizeof first, chart->selected_from);
    clock_time_of_day(last, sizeof last, chart->selected_to);
    snprintf(text, sizeof text, " selected %.8s–%.8s ", first, last);
    int cells = text_width(text), room = to - from - 3;
    if (cells <= room)
        screen_put(screen, row, left + from + 2 + (room - cells) / 2, cells, STYLE_TITLE, text);
}

static void draw_times(const struct chart *chart, struct screen *screen, int row, int left, int columns)
{
    double per_column = (chart->to - chart->from) / columns;
    double step = nice_seconds(per_column * LABEL_GAP);
    double first = ceil(chart->from / step) * step;
    for (int i = 0; first + i * step <= chart->to; i++) {
        char text[48];
        double at = first + i * step;
        int column = (int)((at - chart->from) / per_column);
        clock_time_of_day(text, sizeof text, at);
        text[step < 60 ? 8 : 5] = '\0'; /* 14:05:10 or 14:05; the zone is in the header */
        if (column + (int)strlen(text) <= columns)
            screen_put(screen, row, left + column, columns - column, STYLE_DIM, text);
    }
    if (chart->selected_to > chart->selected_from)
        draw_selected(chart, screen, row, left, columns, per_column);
}

void chart_draw(const struct chart *chart, struct screen *screen, int top, int left, int rows, int columns)
{
    struct plot plot;
    int height = rows - 2, cells = columns - AXIS;
    if (height < 2 || cells < 10)
        return;
    make_bins(chart, &plot, cells);
    double scale = chart_nice(plot.scale);
    if (scale / 2 >= plot.scale && scale > 2)
        scale /= 2;
    draw_legend(chart, screen, top, left + 1, columns - 1);
    draw_scale(screen, top + 1, height, left, scale);
    for (int i = 0; i < plot.count; i++)
        draw_column(chart, screen, &plot.bins[i], top + height, height, left + AXIS + i, scale);
    draw_times(chart, screen, top + height + 1, left + AXIS, cells);
}
