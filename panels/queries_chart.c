/* The chart above Activity: active sessions by wait class, one sample a second. */
#include <math.h>
#include <stdlib.h>
#include <talloc.h>

#include "core/clock.h"
#include "panels/queries.h"
#include "tui/chart.h"

enum { CHART_ROWS = 7, CHART_SECONDS = 600 };

static const struct chart_series series[WAIT_CLASSES] = {
    [WAIT_RUNNING] = {"running", "█", STYLE_CHART_RUNNING},
    [WAIT_IO] = {"io", "▒", STYLE_CHART_IO},
    [WAIT_LOCK] = {"lock", "░", STYLE_CHART_LOCK},
    [WAIT_OTHER] = {"other", "▓", STYLE_CHART_OTHER},
};

/* Adds up the servers that are looked at, second by second. A second in which one has a gap counts the
 * others. */
static size_t collect(struct app *app, double from, double *times, float *values)
{
    bool any[CHART_SECONDS + 1] = {false};
    float sums[CHART_SECONDS + 1][WAIT_CLASSES] = {{0}};
    for (size_t i = 0; i < app->server_count; i++) {
        if (!app_shows(app, app->servers[i]))
            continue;
        const struct activity_history *history = pg_server_history(app->servers[i]);
        for (size_t s = 0; history && s < history->count; s++) {
            const struct activity_sample *sample = &history->samples[(history->first + s) % ACTIVITY_HISTORY];
            double second = (double)sample->second - from;
            if (second < 0 || second > CHART_SECONDS || sample->active[0] < 0)
                continue;
            any[(size_t)second] = true;
            for (int c = 0; c < WAIT_CLASSES; c++)
                sums[(size_t)second][c] += sample->active[c];
        }
    }
    size_t count = 0;
    for (size_t second = 0; second <= CHART_SECONDS; second++) {
        if (!any[second])
            continue;
        times[count] = from + (double)second;
        for (int c = 0; c < WAIT_CLASSES; c++)
            values[count * WAIT_CLASSES + (size_t)c] = sums[second][c];
        count++;
    }
    return count;
}

int queries_activity_head(struct app *app, struct screen *screen, int top, int columns, int rows)
{
    if (rows < CHART_ROWS + 8)
        return 0;
    double times[CHART_SECONDS + 1];
    float values[(CHART_SECONDS + 1) * WAIT_CLASSES];
    double to = floor(clock_wall()), from = to - CHART_SECONDS;
    int limit = 0;
    for (size_t i = 0; i < app->server_count; i++) {
        const struct activity_snapshot *snapshot = pg_server_activity(app->servers[i]);
        if (snapshot && app_shows(app, app->servers[i]))
            limit += snapshot->connection_limit;
    }
    struct chart chart = {.title = "active sessions",
                          .series = series,
                          .series_count = WAIT_CLASSES,
                          .times = times,
                          .values = values,
                          .samples = collect(app, from, times, values),
                          .from = from,
                          .to = to,
                          .interval_s = 1.5,
                          .limit = limit};
    chart_draw(&chart, screen, top, 0, CHART_ROWS, columns);
    return CHART_ROWS;
}
