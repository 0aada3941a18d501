/* Hosts › From outside: can a user log in now? The URLs, asked from here and from a host. */
#include <math.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/probe.h"
#include "backends/tenancy/domains.h"
#include "core/clock.h"
#include "panels/hosts.h"

/* What the screen shows of a probe, with the promise that its time is held against. */
struct probe_row {
    struct probe probe; /* its texts live as long as the probes; its error is copied */
    double promised_ms;
    char *why;
};

#define ROW(row) (&((const struct probe_row *)(row))->probe)
#define TEXT(name)                                                                                           \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return value_text(ROW(row)->name);                                                                   \
    }
#define TIME(name)                                                                                           \
    static struct value value_of_##name(const void *row)                                                     \
    {                                                                                                        \
        return isnan(ROW(row)->name) ? value_blank() : value_real(ROW(row)->name);                           \
    }
TEXT(name)
TEXT(domain)
TEXT(url)
TEXT(from)
TIME(name_ms)
TIME(connect_ms)
TIME(tls_ms)
TIME(first_byte_ms)

static bool is_slow(const void *row)
{
    return ROW(row)->total_ms > ((const struct probe_row *)row)->promised_ms;
}
static struct value value_of_state(const void *row)
{
    if (ROW(row)->answered_at <= 0)
        return value_unknown();
    if (ROW(row)->error.kind != ERROR_NONE)
        return (struct value){.kind = VALUE_TEXT, .text = "critical", .severity = SEVERITY_CRITICAL};
    if (is_slow(row))
        return (struct value){.kind = VALUE_TEXT, .text = "warning", .severity = SEVERITY_WARNING};
    return value_text("ok");
}
static struct value value_of_status(const void *row)
{
    if (ROW(row)->answered_at <= 0)
        return value_unknown();
    if (!ROW(row)->status)
        return value_blank();
    struct value value = value_integer(ROW(row)->status);
    value.severity = ROW(row)->status == ROW(row)->expect ? SEVERITY_NONE : SEVERITY_CRITICAL;
    return value;
}
static struct value value_of_total_ms(const void *row)
{
    if (isnan(ROW(row)->total_ms))
        return value_blank();
    struct value value = value_real(ROW(row)->total_ms);
    value.severity = is_slow(row) ? SEVERITY_WARNING : SEVERITY_NONE;
    return value;
}
static struct value value_of_certificate_days(const void *row)
{
    if (isnan(ROW(row)->certificate_until))
        return value_blank();
    return host_value(MEASURE_CERTIFICATE_DAYS, floor((ROW(row)->certificate_until - clock_wall()) / 86400));
}
static struct value value_of_age(const void *row)
{
    if (ROW(row)->answered_at <= 0)
        return (struct value){.kind = VALUE_NEVER};
    return value_real(fmax(floor(clock_wall() - ROW(row)->answered_at), 0));
}
static struct value value_of_failing_since(const void *row)
{
    return ROW(row)->failing_since > 0 ? value_real(ROW(row)->failing_since) : value_blank();
}
static struct value value_of_why(const void *row)
{
    return value_text(((const struct probe_row *)row)->why);
}

static const struct column columns[] = {
    {"name", "url", "its name in the environment", UNIT_NONE, 8, 0, 0, value_of_name, NULL},
    {"domain", "domain", "the tenant's domain", UNIT_NONE, 24, 0, 0, value_of_domain, NULL},
    {"from", "from", "who asked: this machine, or a host", UNIT_NONE, 8, 0, 0, value_of_from, NULL},
    {"state", "state",
     "critical: no answer, a wrong one, or a certificate that is not trusted; warning: slow", UNIT_NONE, 9, 0,
     0, value_of_state, NULL},
    {"status", "status", "of HTTP", UNIT_ID, 7, 0, 0, value_of_status, NULL},
    {"total_ms", "time", "from the beginning to the last byte, against the promised time", UNIT_MS, 9, 0, 0,
     value_of_total_ms, NULL},
    {"name_ms", "name", "until the name was resolved", UNIT_MS, 8, 5, 0, value_of_name_ms, NULL},
    {"connect_ms", "connect", "until the connection stood", UNIT_MS, 8, 4, 0, value_of_connect_ms, NULL},
    {"tls_ms", "tls", "until TLS was agreed on", UNIT_MS, 8, 4, 0, value_of_tls_ms, NULL},
    {"first_byte_ms", "first byte", "until the answer began", UNIT_MS, 10, 3, 0, value_of_first_byte_ms,
     NULL},
    {"certificate_days", "cert d", "days until the certificate ends", UNIT_NONE, 7, 1, 0,
     value_of_certificate_days, NULL},
    {"age_s", "age", "of the answer", UNIT_S, 7, 2, 0, value_of_age, NULL},
    {"failing_since", "since", "since when it fails, as seen from here", UNIT_TIME, 14, 2, 0,
     value_of_failing_since, NULL},
    {"address", "address", "what was asked", UNIT_NONE, 30, 9, COLUMN_HIDDEN, value_of_url, NULL},
    {"why", "why", "what is wrong, and what to do", UNIT_NONE, 0, 0, 0, value_of_why, NULL},
};

static void changed(void *data)
{
    struct app *app = data;
    if (app->changed)
        app->changed(app);
}

static struct probes *probes_of(struct app *app)
{
    struct hosts_state *state = hosts_state(app);
    if (!state->probes)
        state->probes = probes_new(app->loop, app->environment, app->fleet, changed, app);
    return state->probes;
}

static void domains_read(void *data, const char *const *domains, size_t count, const struct error *error)
{
    struct app *app = data;
    struct hosts_state *state = hosts_state(app);
    if (error)
        probes_no_domains(state->probes, error);
    else
        probes_set_domains(state->probes, domains, count);
    TALLOC_FREE(state->domains);
    changed(app);
}

/* The tenants' own domains, for URLs that name none; read when the view is opened. */
static void read_domains(struct app *app)
{
    struct hosts_state *state = hosts_state(app);
    struct error error;
    if (state->domains || !probes_want_domains(state->probes))
        return;
    if (!app->server_count) {
        error_set(&error, ERROR_CONFIG, app->environment->name, "the tenants' domains are not known",
                  "Name domains in the environment's urls.",
                  "no Postgres server is named that could be asked");
        probes_no_domains(state->probes, &error);
    } else {
        state->domains =
            tenancy_domains_read(state, app->loop, app->servers[0], PROBE_DOMAINS, domains_read, app);
    }
}

static void want(struct app *app, bool wanted)
{
    probes_of(app);
    if (wanted)
        read_domains(app);
    feed_want(probes_feed(probes_of(app)), wanted);
}

static void sources(struct app *app, struct source_list *list)
{
    source_list_add(list, (struct source){.server = app->environment->name,
                                          .feed = probes_feed(probes_of(app)),
                                          .connection_error = &hosts_state(app)->none});
}

static char *why(const void *context, const struct probe *probe, double promised_ms)
{
    if (probe->error.kind != ERROR_NONE)
        return talloc_asprintf(context, "%s: %s%s%s", probe->error.what, probe->error.why,
                               probe->error.todo[0] ? ". " : "", probe->error.todo);
    if (probe->total_ms > promised_ms)
        return talloc_asprintf(context, "slower than the promised %.0f ms", promised_ms);
    return NULL;
}

static void rows(struct app *app, struct row_list *list)
{
    const struct probes *probes = probes_of(app);
    double promised_ms = app->environment->policy.api_latency * 1000;
    for (size_t i = 0; i < probes_count(probes); i++) {
        struct probe_row *row = talloc_zero(list, struct probe_row);
        row->probe = *probes_item(probes, i);
        row->promised_ms = promised_ms;
        row->why = why(row, &row->probe, promised_ms);
        row_list_add(list, (struct table_row){.data = row, .id = talloc_strdup(row, row->probe.id)});
    }
}

const struct view hosts_outside = {
    .id = "outside",
    .title = "From outside",
    .summary = "can a user log in now: the URLs, asked from here and from a host",
    .empty = "the environment names no URLs: add a urls section",
    .columns = columns,
    .column_count = sizeof columns / sizeof *columns,
    .want = want,
    .sources = sources,
    .rows = rows,
};
