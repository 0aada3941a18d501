/* One host: its problems in words, and charts of the last hour from memory, of the last 48 from the store. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_store.h"
#include "core/clock.h"
#include "panels/console.h"
#include "panels/host.h"
#include "tui/chart.h"

#define HOUR_S 3600.0

/* The past of one host as it was read last. */
struct host_past {
    struct app *app;
    struct host *host;
    double range_s; /* of the charts: an hour comes from memory */
    bool loading;
    double loaded_at; /* seconds since the epoch; 0: never */
    double *times;
    float *values;
    size_t count;
    struct error error;
};

static struct host_past *past_of(struct app *app)
{
    struct hosts_state *state = hosts_state(app);
    if (!state->past || state->past->host != state->focus) {
        double range_s = state->past ? state->past->range_s : HOUR_S;
        /* One that is being read answers to the old one: it stays until the app goes. */
        state->past = talloc_zero(state, struct host_past);
        state->past->app = app;
        state->past->host = state->focus;
        state->past->range_s = range_s;
    }
    return state->past;
}

static void past_loaded(void *data, const struct host_store_range *range, const struct error *error)
{
    struct host_past *past = data;
    past->loading = false;
    past->loaded_at = clock_wall();
    error_clear(&past->error);
    if (error) {
        past->error = *error;
    } else {
        TALLOC_FREE(past->times);
        TALLOC_FREE(past->values);
        past->times = talloc_memdup(past, range->times, range->count * sizeof *range->times);
        past->values =
            talloc_memdup(past, range->values, range->count * SERIES_COUNT * sizeof *range->values);
        past->count = range->count;
    }
    if (past->app->changed)
        past->app->changed(past->app);
}

/* A new minute is there once a minute. */
static void load_past(struct host_past *past)
{
    if (!past->app->store)
        error_set(&past->error, ERROR_UNSUPPORTED, host_name(past->host), "there is no past",
                  "Start without --no-state to keep it.", "nothing is kept");
    if (past->loading || !past->app->store || clock_wall() - past->loaded_at < 60)
        return;
    past->loading = true;
    host_store_load(past->app->store, host_name(past->host), clock_wall() - HOST_STORE_HOURS * HOUR_S,
                    past_loaded, past);
}

void host_charts_range(struct app *app)
{
    struct host_past *past = past_of(app);
    past->range_s = past->range_s < 2 * HOUR_S    ? 6 * HOUR_S
                    : past->range_s < 12 * HOUR_S ? HOST_STORE_HOURS * HOUR_S
                                                  : HOUR_S;
    console_say(app->console, SEVERITY_NONE, "charts of the last %.0f h", past->range_s / HOUR_S);
}

/* ---- charts ---- */

struct look {
    const char *title;
    struct chart_series series[3];
    enum host_series from[3];
    size_t count;
    double full;
};

static const struct look looks[] = {
    {"cpu %",
     {{"cpu", "█", STYLE_CHART_RUNNING}, {"iowait", "▒", STYLE_CHART_IO}, {"steal", "░", STYLE_CHART_LOCK}},
     {SERIES_CPU, SERIES_IOWAIT, SERIES_STEAL},
     3,
     100},
    {"memory %", {{"not available", "█", STYLE_CHART_OTHER}}, {SERIES_MEMORY}, 1, 100},
    {"waiting %: cpu, io, memory (psi)",
     {{"cpu", "█", STYLE_CHART_RUNNING}, {"io", "▒", STYLE_CHART_IO}, {"memory", "░", STYLE_CHART_LOCK}},
     {SERIES_PSI_CPU, SERIES_PSI_IO, SERIES_PSI_MEMORY},
     3,
     0},
    {"busiest disk %", {{"busy", "█", STYLE_CHART_IO}}, {SERIES_IO_BUSY}, 1, 0},
};
enum { LOOKS = sizeof looks / sizeof *looks };

/* The series of a look, from memory or from the store. */
static size_t samples_of(const struct host_past *past, const struct look *look, const void *context,
                         double **times, float **values)
{
    if (past->range_s < 2 * HOUR_S)
        return host_history(past->host, context, look->from, look->count, HOUR_S, times, values);
    *times = past->times;
    *values = talloc_array(context, float, past->count * look->count + 1);
    for (size_t i = 0; i < past->count; i++)
        for (size_t s = 0; s < look->count; s++)
            (*values)[i * look->count + s] = past->values[i * SERIES_COUNT + look->from[s]];
    return past->count;
}

static void draw_chart(const struct host_past *past, const struct look *look, struct screen *screen, int top,
                       int left, int rows, int columns)
{
    void *context = talloc_new(NULL);
    double *times;
    float *values;
    bool hour = past->range_s < 2 * HOUR_S;
    struct chart chart = {.title = look->title,
                          .series = look->series,
                          .series_count = look->count,
                          .full = look->full,
                          .to = clock_wall(),
                          .interval_s = hour ? host_feed(past->host, HOST_FAST)->interval_s : 60};
    chart.samples = samples_of(past, look, context, &times, &values);
    chart.times = times;
    chart.values = values;
    /* The whole time once there is that much; before, what there is fills the width. */
    double first = chart.samples ? times[0] : chart.to;
    chart.from = fmax(chart.to - past->range_s, fmin(first, chart.to - (hour ? 300 : HOUR_S)));
    chart_draw(&chart, screen, top, left, rows, columns);
    talloc_free(context);
}

/* ---- what stands above the table ---- */

static int draw_why(const struct host_now *now, struct screen *screen, int top, int columns, int rows)
{
    int row = top;
    if (now->late || !now->snapshot) {
        screen_put(screen, row++, 1, columns - 2, STYLE_WARNING, now->why ? now->why : "");
        return row - top;
    }
    size_t count = now->snapshot->problem_count;
    for (size_t i = 0; i < count && row < top + rows; i++) {
        const struct host_problem *problem = &now->snapshot->problems[i];
        char at[32] = "", more[48] = "";
        if (problem->since > 0)
            clock_hour_minute(at, sizeof at, problem->since);
        if (row == top + rows - 1 && i + 1 < count)
            snprintf(more, sizeof more, " · and %zu more", count - i - 1);
        screen_format(screen, row++, 1, columns - 2, theme_severity(problem->severity, STYLE_NORMAL),
                      "%s%s  %s%s", problem->severity >= SEVERITY_CRITICAL ? "! " : "  ", at, problem->text,
                      more);
    }
    return row - top;
}

int host_charts_head(struct app *app, struct screen *screen, int top, int columns, int rows)
{
    struct host_past *past = past_of(app);
    void *context = talloc_new(NULL);
    struct host_now now = host_now(context, past->host);
    int used = draw_why(&now, screen, top, columns, rows > 16 ? 4 : 2);
    talloc_free(context);
    int height = rows - used > 32 ? 9 : 6, across = columns >= 100 ? 2 : 1;
    if (rows - used < height + 8 || !host_latest(past->host))
        return used;
    if (past->range_s > 2 * HOUR_S) {
        load_past(past);
        char text[1024];
        if (past->error.kind != ERROR_NONE) {
            error_format(&past->error, text, sizeof text);
            screen_put(screen, top + used++, 1, columns - 2, STYLE_WARNING, text);
        }
    }
    /* A second row of charts where the table keeps room for all its rows. */
    int lines = rows - used - 2 * height >= 18 ? 2 : 1;
    for (int line = 0; line < lines; line++, used += height)
        for (int at = 0; at < across && line * across + at < LOOKS; at++) {
            int left = at * (columns / across),
                width = at + 1 < across ? columns / across - 1 : columns - left;
            draw_chart(past, &looks[line * across + at], screen, top + used, left, height, width);
        }
    return used;
}
