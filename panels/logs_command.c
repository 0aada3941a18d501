#include "panels/logs_command.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/suggest.h"
#include "panels/batch.h"
#include "panels/hosts_logs_internal.h"
#include "panels/hosts_place.h"

enum { PATIENCE_S = 60, LINES = 1000, LINES_SINCE = 20000, LINES_MOST = 100000, NAMES_MAX = 64 };
#define BYTES_MOST ((size_t)64 << 20)

struct wanted {
    struct app *app;
    struct host **hosts;
    size_t host_count;
    struct log_target *targets;
    size_t target_count;
    struct log_follow *follow;
};

static bool is_ended(void *data)
{
    return log_follow_ended(((struct wanted *)data)->follow);
}

static bool find_hosts(struct wanted *wanted, struct error *error)
{
    const struct options *options = wanted->app->options;
    wanted->hosts = hosts_named(wanted->app, wanted->app, options->hosts ? options->hosts : "all",
                                &wanted->host_count, error);
    return wanted->hosts != NULL;
}

/* The logs of that name; without one, or with an unknown one, an error says which there are. */
static bool find_logs(struct wanted *wanted, const char *name, struct error *error)
{
    const char *names[NAMES_MAX];
    char known[300] = "";
    size_t name_count = 0;
    wanted->targets = talloc_zero_array(wanted->app, struct log_target, LOGS_STREAMS_MAX);
    for (size_t h = 0; h < wanted->host_count; h++) {
        struct host *host = wanted->hosts[h];
        size_t count;
        struct log_source *sources =
            log_sources(wanted->app, wanted->app->environment, host_group(host), host_latest(host), &count);
        for (size_t s = 0; s < count; s++) {
            bool new = true;
            for (size_t n = 0; n < name_count; n++)
                new = new &&strcmp(names[n], sources[s].name) != 0;
            if (new &&name_count < NAMES_MAX)
                names[name_count++] = sources[s].name;
            if (name && strcmp(name, sources[s].name) == 0 && wanted->target_count < LOGS_STREAMS_MAX)
                wanted->targets[wanted->target_count++] =
                    (struct log_target){host_name(host), host_ssh(host), sources[s]};
        }
    }
    if (wanted->target_count)
        return true;
    for (size_t n = 0; n < name_count && strlen(known) + strlen(names[n]) + 3 < sizeof known; n++)
        strcat(strcat(known, n ? ", " : ""), names[n]);
    const char *near = name ? suggest_word(name, names, name_count) : NULL;
    char todo[320];
    snprintf(todo, sizeof todo, near ? "Did you mean %s?" : "There are: %s.", near ? near : known);
    return name ? error_set(error, ERROR_USAGE, wanted->app->environment->name, "which log?", todo,
                            "these hosts have none named %s", name)
                : error_set(error, ERROR_USAGE, "command line", "which log?", todo,
                            "--source NAME is missing");
}

/* Reads all of them to their end, or as long as patience lasts. */
static void read_logs(struct wanted *wanted, struct log_follow_options options)
{
    options.targets = wanted->targets;
    options.target_count = wanted->target_count;
    wanted->follow = log_follow_new(wanted->app, wanted->app->loop, &options);
    batch_wait(wanted->app->loop, PATIENCE_S, is_ended, wanted);
}

static const char *state_of(const struct log_stream *stream)
{
    return stream->state == LOG_STREAM_STARTING ? "late" : log_stream_state_name(stream->state);
}

/* Says on stderr what could not be read; the exit status. */
static int verdict(const struct wanted *wanted)
{
    int status = 0;
    for (size_t i = 0; i < log_follow_stream_count(wanted->follow); i++) {
        const struct log_stream *stream = log_follow_stream(wanted->follow, i);
        if (stream->state == LOG_STREAM_ENDED)
            continue;
        struct error error;
        error_set(&error, ERROR_SERVER, stream->host, stream->source, NULL, "%s",
                  stream->message[0] ? stream->message : "not all of it came in time");
        batch_print_error(&error);
        status = 1;
    }
    return status;
}

static struct json_object *json_sources(const struct wanted *wanted)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < log_follow_stream_count(wanted->follow); i++) {
        const struct log_stream *stream = log_follow_stream(wanted->follow, i);
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "server", json_text(stream->host));
        json_object_object_add(object, "feed", json_text(stream->source));
        json_object_object_add(object, "state", json_text(state_of(stream)));
        json_object_object_add(object, "error", stream->message[0] ? json_text(stream->message) : NULL);
        json_object_array_add(array, object);
    }
    return array;
}

/* The envelope that all panels have. */
static struct json_object *envelope_of(const struct wanted *wanted, const char *panel,
                                       const struct view *view)
{
    const struct panel_ops ops = {.id = panel};
    struct json_object *envelope = batch_json_envelope(wanted->app, &ops, view);
    json_object_object_add(envelope, "sources", json_sources(wanted));
    return envelope;
}

static void print_envelope(struct json_object *envelope)
{
    fputs(json_object_to_json_string_ext(envelope, JSON_C_TO_STRING_PLAIN), stdout);
    fputc('\n', stdout);
    json_object_put(envelope);
}

static void print_lines(const struct wanted *wanted)
{
    static const struct view view = {.id = "logs"};
    const struct log_ring *ring = log_follow_ring(wanted->follow);
    bool json = wanted->app->options->json;
    struct json_object *rows = json ? json_object_new_array() : NULL;
    size_t count = log_ring_count(ring), most = (size_t)wanted->app->options->limit;
    for (size_t i = most && count > most ? count - most : 0; i < count; i++) {
        const struct log_entry *entry = log_ring_entry(ring, i);
        if (json) {
            json_object_array_add(rows, logs_line_json(wanted->follow, entry));
            continue;
        }
        char *text = logs_line_text(NULL, wanted->follow, entry);
        puts(text);
        talloc_free(text);
    }
    if (json) {
        struct json_object *envelope = envelope_of(wanted, "logs", &view);
        json_object_object_add(envelope, "rows", rows);
        print_envelope(envelope);
    }
}

static int fail(struct app *app, const struct error *error)
{
    batch_print_error(error);
    app_free(app);
    return 2;
}

int logs_command(const struct options *options)
{
    struct error error = {0};
    struct wanted wanted = {.app = batch_app(options)};
    if (!wanted.app)
        return 2;
    if (!find_hosts(&wanted, &error) || !find_logs(&wanted, options->source, &error))
        return fail(wanted.app, &error);
    /* How many of a span's lines are too old is only known here: the limit is for what is printed. */
    long lines = options->since_s > 0 ? LINES_SINCE : options->limit > 0 ? options->limit : LINES;
    if (options->limit > lines)
        lines = options->limit;
    if (lines > LINES_MOST)
        lines = LINES_MOST;
    double now = clock_wall();
    read_logs(&wanted,
              (struct log_follow_options){.lines = (size_t)lines,
                                          .filter = options->grep,
                                          .from = options->since_s > 0 ? now - options->since_s : NAN,
                                          .to = options->since_s > 0 ? now + 60 : NAN,
                                          .newest = true,
                                          .max_lines = LINES_MOST,
                                          .max_bytes = BYTES_MOST,
                                          .bytes_per_s = BYTES_MOST});
    print_lines(&wanted);
    int status = verdict(&wanted);
    log_follow_free(wanted.follow);
    app_free(wanted.app);
    return status;
}

/* ---- latency ---- */

static void print_latency(const struct wanted *wanted, const struct log_stats_report *report)
{
    const struct view view = {
        .id = "latency", .columns = latency_columns, .column_count = latency_column_count};
    const struct options *options = wanted->app->options;
    struct row_list *list = latency_rows(wanted->app, wanted->app, report);
    if (options->csv) {
        batch_print_csv(stdout, &view, list);
    } else if (!options->json) {
        batch_print_plain(stdout, &view, list);
    } else {
        struct json_object *envelope = envelope_of(wanted, "hosts", &view), *rows = json_object_new_array();
        json_object_object_add(envelope, "since", json_time(isnan(report->from) ? 0 : report->from));
        json_object_object_add(envelope, "promised_ms",
                               json_real(1000 * wanted->app->environment->policy.api_latency));
        for (size_t i = 0; i < list->count; i++)
            json_object_array_add(rows, batch_json_row(&view, list->rows[i].data));
        json_object_object_add(envelope, "rows", rows);
        print_envelope(envelope);
    }
}

int latency_command(const struct options *options)
{
    struct error error = {0};
    struct wanted wanted = {.app = batch_app(options)};
    if (!wanted.app)
        return 2;
    if (!find_hosts(&wanted, &error))
        return fail(wanted.app, &error);
    wanted.target_count =
        latency_targets(wanted.app, wanted.app, wanted.hosts, wanted.host_count, &wanted.targets);
    if (!wanted.target_count) {
        error_set(&error, ERROR_USAGE, wanted.app->environment->name, "no log of requests is known",
                  "Name one in the environment file: logs: {access: {path: ..., format: nginx}}.",
                  "these hosts have none");
        return fail(wanted.app, &error);
    }
    struct log_stats *stats =
        log_stats_new(wanted.app, LATENCY_WINDOW_S, wanted.app->environment->policy.api_latency);
    size_t each = STATS_REQUESTS_MAX / wanted.target_count;
    read_logs(&wanted, (struct log_follow_options){.lines = each < LATENCY_PAST ? each : LATENCY_PAST,
                                                   .from = NAN,
                                                   .to = NAN,
                                                   .max_lines = 1,
                                                   .bytes_per_s = BYTES_MOST,
                                                   .stats = stats});
    struct log_stats_report *report = log_stats_report(wanted.app, stats);
    print_latency(&wanted, report);
    int status = verdict(&wanted);
    if (log_stats_advice(report))
        fprintf(stderr, "signalbox: the logs' format lacks what is needed; in nginx.conf: %s\n",
                log_stats_advice(report));
    log_follow_free(wanted.follow);
    app_free(wanted.app);
    return status;
}
