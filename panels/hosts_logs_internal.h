/* What the parts of the logs' screen share. Only panels/hosts_logs*.c include it. */
#ifndef PANELS_HOSTS_LOGS_INTERNAL_H
#define PANELS_HOSTS_LOGS_INTERNAL_H

#include "backends/hosts/log_follow.h"
#include "panels/console.h"
#include "panels/hosts_logs.h"

enum {
    LOGS_STREAMS_MAX = 64,     /* logs of one screen */
    LOGS_HOST_STREAMS_MAX = 6, /* of one host: a session has ten channels */
    LOGS_PAST = 2000,          /* lines of each that are read at first, less when there are many */
    LATENCY_PAST = 20000,      /* the same, for the figures */
};
#define LATENCY_WINDOW_S 900.0
#define AROUND_S 300.0

struct logs_layer {
    struct layer layer;
    struct host **hosts;
    size_t host_count;
    char *source; /* as it was asked for */
    char *crumb;
    struct log_follow *follow;
    double around; /* 0: follow */
    char *filter;  /* or NULL */
    char *needle;  /* what n and N look for: the last filter, also when it was taken off; or NULL */

    /* The line that is selected, and the row where it stands: lines that come in front of it move nothing. */
    uint64_t cursor;
    double cursor_at;
    size_t cursor_row;
    bool at_end;   /* stays with the newest line */
    bool searched; /* the time that was asked for has been gone to */
    int left;      /* cells scrolled sideways */
    size_t rows;   /* of the body, as drawn last */

    /* the latency of tenants */
    bool latency;       /* is shown */
    bool latency_first; /* was opened so: the way back leaves */
    struct log_follow *requests;
    struct log_stats *stats;
    struct log_stats_report *report;
    double reported; /* monotonic */
};

/* ---- hosts_logs.c ---- */
/* Starts to read anew: another source, filter or time. */
void logs_restart(struct logs_layer *self);
void logs_show_latency(struct logs_layer *self, bool shown);
/* The index of the selected line; the ring must not be empty. */
size_t logs_cursor(const struct logs_layer *self);
void logs_select(struct logs_layer *self, size_t index);
void logs_set_filter(struct logs_layer *self, const char *filter);

/* ---- hosts_logs_draw.c ---- */
void logs_draw(struct layer *layer, struct screen *screen, int top, int rows, int columns);
/* All about one line. */
struct page *logs_page(const struct logs_layer *self, const struct log_entry *entry);
/* "2026-11-21T14:05:10.204Z web1 nginx-access error text", safe; fresh talloc string. */
char *logs_line_text(const void *context, const struct log_follow *follow, const struct log_entry *entry);
/* A line as an object with the keys of `signalbox logs --json`. */
struct json_object *logs_line_json(const struct log_follow *follow, const struct log_entry *entry);

/* ---- hosts_latency.c ---- */
extern const struct column latency_columns[];
extern const size_t latency_column_count;
void latency_draw(struct layer *layer, struct screen *screen, int top, int rows, int columns);
/* A row a tenant, allocated under context; the report must live as long. */
struct row_list *latency_rows(const void *context, const struct app *app,
                              const struct log_stats_report *report);
/* Begins to read the requests of the hosts. */
void latency_start(struct logs_layer *self);
void latency_stop(struct logs_layer *self);
/* The logs of requests that there are on these hosts. */
size_t latency_targets(const void *context, const struct app *app, struct host *const *hosts, size_t count,
                       struct log_target **targets);
/* The name of the first of them; NULL when there is none. Fresh talloc string. */
char *latency_source(const void *context, const struct app *app, struct host *const *hosts, size_t count);

#endif
