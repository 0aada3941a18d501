/* Requests, errors and latency by tenant, against what was promised: the second view of the logs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/hosts_logs_internal.h"

#define REPORT_EVERY_S 0.5

/* A row with what it is judged by. */
struct latency_row {
    struct tenant_stats stats; /* first: rows are read as tenant_stats too */
    double promise_ms;
};

#define ROW(row) ((const struct latency_row *)(row))

static struct value judged(const void *row, double ms)
{
    struct value value = isnan(ms) ? value_unknown() : value_real(ms);
    if (ms > ROW(row)->promise_ms)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_tenant(const void *row)
{
    return value_text(ROW(row)->stats.host);
}
static struct value value_of_rate(const void *row)
{
    return value_real(ROW(row)->stats.requests_per_s);
}
static struct value value_of_requests(const void *row)
{
    return value_integer((int64_t)ROW(row)->stats.requests);
}
static struct value value_of_errors(const void *row)
{
    struct value value = value_real(ROW(row)->stats.errors_percent);
    if (value.real >= 5)
        value.severity = SEVERITY_CRITICAL;
    else if (value.real >= 1)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_refused(const void *row)
{
    const struct tenant_stats *stats = &ROW(row)->stats;
    return value_real(stats->requests > 0 ? 100 * stats->errors_4xx / stats->requests : 0);
}
static struct value value_of_p50(const void *row)
{
    return judged(row, ROW(row)->stats.p50_ms);
}
static struct value value_of_p95(const void *row)
{
    return judged(row, ROW(row)->stats.p95_ms);
}
static struct value value_of_p99(const void *row)
{
    return judged(row, ROW(row)->stats.p99_ms);
}
static struct value value_of_over(const void *row)
{
    double percent = ROW(row)->stats.over_percent;
    return isnan(percent) ? value_unknown() : value_real(percent);
}
static struct value value_of_bytes(const void *row)
{
    return value_real(ROW(row)->stats.bytes);
}

const struct column latency_columns[] = {
    {"requests_per_s", "req/s", "requests per second over the span that was read", UNIT_PER_S, 7, 0, 0,
     value_of_rate, NULL},
    {"requests", "requests", "requests that were counted", UNIT_COUNT, 8, 3, 0, value_of_requests, NULL},
    {"errors_percent", "errors", "share of requests with status 5xx", UNIT_PERCENT, 8, 0, 0, value_of_errors,
     NULL},
    {"refused_percent", "4xx", "share of requests with status 4xx", UNIT_PERCENT, 7, 4, 0, value_of_refused,
     NULL},
    {"p50_ms", "p50", "half of the requests were answered in this time; at most 2 % off", UNIT_MS, 9, 2, 0,
     value_of_p50, NULL},
    {"p95_ms", "p95", "95 % of the requests were answered in this time; at most 2 % off", UNIT_MS, 10, 0, 0,
     value_of_p95, NULL},
    {"p99_ms", "p99", "99 % of the requests were answered in this time; at most 2 % off", UNIT_MS, 10, 1, 0,
     value_of_p99, NULL},
    {"over_percent", "over", "share of requests that took longer than what was promised", UNIT_PERCENT, 7, 3,
     0, value_of_over, NULL},
    {"sent_bytes", "sent", "bytes of answers", UNIT_BYTES, 8, 5, 0, value_of_bytes, NULL},
    {"tenant", "tenant (Host header)", "the Host header of the requests, in lower case, without a port",
     UNIT_NONE, 0, 0, 0, value_of_tenant, NULL},
};
const size_t latency_column_count = sizeof latency_columns / sizeof *latency_columns;

/* ---- reading ---- */

size_t latency_targets(const void *context, const struct app *app, struct host *const *hosts, size_t count,
                       struct log_target **targets)
{
    size_t found = 0;
    *targets = talloc_zero_array(context, struct log_target, LOGS_STREAMS_MAX);
    for (size_t h = 0; h < count; h++) {
        size_t source_count;
        struct log_source *sources = log_sources(*targets, app->environment, host_group(hosts[h]),
                                                 host_latest(hosts[h]), &source_count);
        for (size_t s = 0; s < source_count && found < LOGS_STREAMS_MAX; s++)
            /* "nginx" in the environment's file is said of error logs too: they hold no requests. */
            if (sources[s].format == LOG_FORMAT_ACCESS && !strstr(sources[s].name, "err"))
                (*targets)[found++] =
                    (struct log_target){host_name(hosts[h]), host_ssh(hosts[h]), sources[s]};
    }
    return found;
}

char *latency_source(const void *context, const struct app *app, struct host *const *hosts, size_t count)
{
    struct log_target *targets;
    char *name = NULL;
    if (latency_targets(NULL, app, hosts, count, &targets))
        name = talloc_strdup(context, targets[0].source.name);
    talloc_free(targets);
    return name;
}

static void on_changed(void *data)
{
    struct logs_layer *self = data;
    if (self->layer.app->changed)
        self->layer.app->changed(self->layer.app);
}

void latency_start(struct logs_layer *self)
{
    struct log_target *targets;
    struct app *app = self->layer.app;
    if (self->requests)
        return;
    size_t count = latency_targets(NULL, app, self->hosts, self->host_count, &targets);
    size_t each = count ? STATS_REQUESTS_MAX / count : 0;
    self->stats = log_stats_new(self, LATENCY_WINDOW_S, app->environment->policy.api_latency);
    struct log_follow_options options = {.targets = targets,
                                         .target_count = count,
                                         .lines = each < LATENCY_PAST ? each : LATENCY_PAST,
                                         .follow = true,
                                         .from = NAN,
                                         .to = NAN,
                                         .max_lines = 1,
                                         .bytes_per_s = 4 << 20,
                                         .stats = self->stats,
                                         .changed = on_changed,
                                         .data = self};
    self->requests = log_follow_new(self, app->loop, &options);
    self->reported = 0;
    talloc_free(targets);
    self->layer.table = table_new(self, latency_columns, latency_column_count);
    table_set_empty(self->layer.table, "no request yet");
    table_sort(self->layer.table, "p95_ms", true);
}

void latency_stop(struct logs_layer *self)
{
    log_follow_free(self->requests);
    self->requests = NULL;
    TALLOC_FREE(self->layer.table);
    TALLOC_FREE(self->report);
    TALLOC_FREE(self->stats);
}

/* ---- drawing ---- */

struct row_list *latency_rows(const void *context, const struct app *app,
                              const struct log_stats_report *report)
{
    struct row_list *list = row_list_new(context);
    struct latency_row *rows = talloc_array(list, struct latency_row, report->tenant_count);
    for (size_t i = 0; i < report->tenant_count; i++) {
        rows[i] = (struct latency_row){report->tenants[i], 1000 * app->environment->policy.api_latency};
        row_list_add(list, (struct table_row){.data = &rows[i], .id = rows[i].stats.host});
    }
    return list;
}

static void refresh(struct logs_layer *self)
{
    double now = clock_monotonic();
    if (self->report && now - self->reported < REPORT_EVERY_S)
        return;
    struct log_stats_report *report = log_stats_report(self, self->stats);
    struct row_list *rows = latency_rows(report, self->layer.app, report);
    table_set_rows(self->layer.table, rows->rows, rows->count);
    talloc_free(self->report);
    self->report = report;
    self->reported = now;
}

static void clock_of(char *buffer, size_t size, double at)
{
    time_t seconds = (time_t)at;
    struct tm parts;
    strftime(buffer, size, "%H:%M:%S", localtime_r(&seconds, &parts));
}

static int draw_figures(const struct logs_layer *self, struct screen *screen, int top, int columns)
{
    const struct log_stats_report *report = self->report;
    char line[400], promise[32], count[32], from[16], to[16], p95[32], rate[32];
    format_ms(promise, sizeof promise, 1000 * self->layer.app->environment->policy.api_latency);
    if (!report->total.requests) {
        screen_format(screen, top, 0, columns, STYLE_DIM, "promised: %s · reading nginx' access logs",
                      promise);
        return 1;
    }
    clock_of(from, sizeof from, report->from);
    clock_of(to, sizeof to, report->to);
    snprintf(line, sizeof line, "promised: %s · all: %s requests, %s/s, p95 %s, %.1f %% errors · %s to %s%s",
             promise, format_count(count, sizeof count, report->total.requests),
             format_rate(rate, sizeof rate, report->total.requests_per_s),
             isnan(report->total.p95_ms) ? "?" : format_ms(p95, sizeof p95, report->total.p95_ms),
             report->total.errors_percent, from, to, report->full ? ", as many as are kept" : "");
    screen_put(screen, top, 0, columns, STYLE_NORMAL, line);
    return 1;
}

/* What is wrong with the figures, each with what to do about it. */
static int draw_notes(const struct logs_layer *self, struct screen *screen, int top, int columns)
{
    const struct log_stats_report *report = self->report;
    int row = top;
    if (report->dropped)
        screen_format(screen, row++, 0, columns, STYLE_WARNING,
                      "of a sample: %.0f lines came faster than they are read", (double)report->dropped);
    if (report->others)
        screen_format(screen, row++, 0, columns, STYLE_DIM,
                      "more than %d tenants: %.0f requests are counted together as (others)",
                      STATS_TENANTS_MAX, (double)report->others);
    const char *advice = log_stats_advice(report);
    if (advice) {
        screen_format(screen, row++, 0, columns, STYLE_WARNING,
                      "the format of this log has no %s%s%s: in nginx.conf",
                      report->without_times ? "times ($request_time)" : "",
                      report->without_times && report->without_hosts ? " and no " : "",
                      report->without_hosts ? "tenants ($host)" : "");
        screen_put(screen, row++, 2, columns - 2, STYLE_NORMAL, advice);
    }
    for (size_t i = 0; i < log_follow_stream_count(self->requests) && row - top < 5; i++) {
        const struct log_stream *stream = log_follow_stream(self->requests, i);
        if (stream->message[0] && stream->state != LOG_STREAM_LIVE)
            screen_format(screen, row++, 0, columns, STYLE_WARNING, "%s %s: %s", stream->host, stream->source,
                          stream->message);
    }
    if (!log_follow_stream_count(self->requests))
        screen_put(
            screen, row++, 0, columns, STYLE_WARNING,
            "no log of requests is known on these hosts: logs: in the environment's file, format: nginx");
    return row - top;
}

void latency_draw(struct layer *layer, struct screen *screen, int top, int rows, int columns)
{
    struct logs_layer *self = (struct logs_layer *)layer;
    refresh(self);
    int head = draw_figures(self, screen, top, columns);
    head += draw_notes(self, screen, top + head, columns);
    table_draw(layer->table, screen, top + head, 0, rows - head, columns);
}
