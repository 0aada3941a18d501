#include "panels/hosts_logs.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <time.h>

#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/hosts_logs_internal.h"

const struct action hosts_logs_actions[] = {
    {"logs.filter", NULL, "filter", "only lines with a text; the hosts look for it", HAZARD_LOOK, 0},
    {"logs.clear-filter", NULL, NULL,
     "all lines again, around the selected one; n and N still go to what was looked for", HAZARD_LOOK, 0},
    {"logs.detail", NULL, "detail", "the whole line, with all that is known about it", HAZARD_LOOK, 0},
    {"logs.next-problem", NULL, "problem", "the next warning or error", HAZARD_LOOK, 0},
    {"logs.previous-problem", NULL, NULL, "the warning or error before", HAZARD_LOOK, 0},
    {"logs.latency", "latency", "latency", "requests, errors and latency by tenant out of nginx' logs",
     HAZARD_LOOK, 0},
    {"logs.time", "around", "time", "what was said around a time: 14:05, 20 Nov 14:05, 10min", HAZARD_LOOK,
     0},
    {"logs.source", "log", "log", "choose which log of these hosts", HAZARD_LOOK, 0},
    {"logs.follow", NULL, "follow", "to the newest line, and stay with it", HAZARD_LOOK, 0},
    {"logs.pause", NULL, "pause", "read nothing, or go on; the hosts wait", HAZARD_LOOK, 0},
    {"logs.next-match", NULL, NULL, "the next line that has the text", HAZARD_LOOK, 0},
    {"logs.previous-match", NULL, NULL, "the line before that has the text", HAZARD_LOOK, 0},
    {"logs.copy", NULL, "copy", "copy the line to the terminal's clipboard", HAZARD_LOOK, 0},
    {"logs.export", NULL, "export", "write the lines to a file, as text or JSON", HAZARD_LOOK, 0},
};
const size_t hosts_logs_action_count = sizeof hosts_logs_actions / sizeof *hosts_logs_actions;

/* ---- which logs ---- */

static struct log_source *sources_of(const void *context, const struct app *app, struct host *host,
                                     size_t *count)
{
    return log_sources(context, app->environment, host_group(host), host_latest(host), count);
}

/* Of "all" logs the journal and the files; requests are many and say little in between. */
static bool is_wanted(const struct logs_layer *self, const struct log_source *source)
{
    if (strcmp(self->source, "all") == 0)
        return source->format != LOG_FORMAT_ACCESS;
    return strcmp(self->source, source->name) == 0;
}

static size_t make_targets(const void *context, const struct logs_layer *self, struct log_target **targets)
{
    size_t count = 0;
    *targets = talloc_zero_array(context, struct log_target, LOGS_STREAMS_MAX);
    for (size_t h = 0; h < self->host_count; h++) {
        size_t source_count, of_host = 0;
        struct log_source *sources = sources_of(*targets, self->layer.app, self->hosts[h], &source_count);
        for (size_t s = 0; s < source_count && count < LOGS_STREAMS_MAX && of_host < LOGS_HOST_STREAMS_MAX;
             s++)
            if (is_wanted(self, &sources[s])) {
                (*targets)[count++] =
                    (struct log_target){host_name(self->hosts[h]), host_ssh(self->hosts[h]), sources[s]};
                of_host++;
            }
    }
    return count;
}

static void on_changed(void *data)
{
    struct logs_layer *self = data;
    if (self->layer.app->changed)
        self->layer.app->changed(self->layer.app);
}

static size_t past_lines(size_t streams)
{
    enum { KEPT = 20000, FEWEST = 200 };
    size_t each = streams ? KEPT / streams : KEPT;
    return each > LOGS_PAST ? LOGS_PAST : each < FEWEST ? FEWEST : each;
}

void logs_restart(struct logs_layer *self)
{
    bool paused = self->follow && log_follow_paused(self->follow);
    log_follow_free(self->follow);
    struct log_target *targets;
    size_t count = make_targets(NULL, self, &targets);
    struct log_follow_options options = {
        .targets = targets,
        .target_count = count,
        .lines = self->around > 0 ? 4 * past_lines(count) : past_lines(count),
        .follow = self->around == 0,
        .filter = self->filter,
        .from = self->around > 0 ? self->around - AROUND_S : NAN,
        .to = self->around > 0 ? self->around + AROUND_S : NAN,
        .changed = on_changed,
        .data = self,
    };
    self->follow = log_follow_new(self, self->layer.app->loop, &options);
    self->at_end = self->around == 0;
    self->searched = false;
    self->cursor = 0;
    if (paused && self->around == 0)
        log_follow_pause(self->follow, true);
    talloc_free(targets);
}

/* ---- the selected line ---- */

size_t logs_cursor(const struct logs_layer *self)
{
    const struct log_ring *ring = log_follow_ring(self->follow);
    size_t last = log_ring_count(ring) - 1;
    if (self->at_end)
        return last;
    size_t index = log_ring_index(ring, self->cursor, self->cursor_at);
    return index < last ? index : last;
}

void logs_select(struct logs_layer *self, size_t index)
{
    const struct log_ring *ring = log_follow_ring(self->follow);
    const struct log_entry *entry = log_ring_entry(ring, index);
    if (!entry)
        return;
    self->cursor = entry->number;
    self->cursor_at = entry->at;
    self->at_end = self->around == 0 && index + 1 == log_ring_count(ring);
}

/* Keeps the selected line in the window while it moves by some lines. */
static void move(struct logs_layer *self, long by)
{
    long count = (long)log_ring_count(log_follow_ring(self->follow));
    if (!count)
        return;
    long from = (long)logs_cursor(self), to = from + by;
    to = to < 0 ? 0 : to >= count ? count - 1 : to;
    long row = (long)self->cursor_row + to - from, last = self->rows ? (long)self->rows - 1 : 0;
    self->cursor_row = (size_t)(row < 0 ? 0 : row > last ? last : row);
    logs_select(self, (size_t)to);
}

static bool has_needle(const struct logs_layer *self, const struct log_entry *entry)
{
    char *text = talloc_strndup(NULL, entry->raw.bytes, entry->raw.length);
    bool found = text_contains(text, self->needle);
    talloc_free(text);
    return found;
}

static bool is_problem(const struct logs_layer *self, const struct log_entry *entry)
{
    (void)self;
    return entry->level >= LEVEL_WARNING && !entry->continued;
}

static void find(struct logs_layer *self, int step,
                 bool (*matches)(const struct logs_layer *self, const struct log_entry *entry),
                 const char *nothing)
{
    const struct log_ring *ring = log_follow_ring(self->follow);
    size_t count = log_ring_count(ring);
    if (!count)
        return;
    size_t from = logs_cursor(self);
    for (size_t at = from + (size_t)step; at < count; at += (size_t)step)
        if (matches(self, log_ring_entry(ring, at))) {
            move(self, (long)at - (long)from);
            return;
        }
    console_say(self->layer.app->console, SEVERITY_NONE, "%s", nothing);
}

/* ---- what can be done ---- */

static void set_crumb(struct logs_layer *self)
{
    talloc_free(self->crumb);
    self->crumb = talloc_asprintf(self, "%s%s · ", self->latency ? "latency" : "logs ",
                                  self->latency ? "" : self->source);
    for (size_t i = 0; i < self->host_count && i < 4; i++)
        self->crumb =
            talloc_asprintf_append(self->crumb, "%s%s", i ? ", " : "",
                                   i == 3 && self->host_count > 4 ? "…" : host_name(self->hosts[i]));
}

static void set_source(struct logs_layer *self, const char *source)
{
    char *fresh = talloc_strdup(self, source);
    talloc_free(self->source);
    self->source = fresh;
    set_crumb(self);
}

void logs_set_filter(struct logs_layer *self, const char *filter)
{
    talloc_free(self->filter);
    self->filter = filter && *filter ? talloc_strdup(self, filter) : NULL;
    if (self->filter) {
        talloc_free(self->needle);
        self->needle = talloc_strdup(self, filter);
    }
    logs_restart(self);
}

/* The prompt belongs to the layer only while that is on top. */
static bool is_here(struct app *app, struct logs_layer *self)
{
    return console_is_on_top(app->console, &self->layer);
}

static void filter_done(struct app *app, void *data, const char *line)
{
    if (line && is_here(app, data))
        logs_set_filter(data, line);
}

/* "14:05", "20 Nov 14:05", "2026-11-20 14:05:10" in the user's zone; "10min": so long ago. */
static bool parse_time(const char *text, double now, double *time)
{
    static const char *const formats[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d %b %H:%M:%S",
                                          "%d %b %H:%M",       "%H:%M:%S",       "%H:%M"};
    double ago;
    if (parse_duration(text, &ago)) {
        *time = now - ago;
        return true;
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        time_t seconds = (time_t)now;
        struct tm parts;
        localtime_r(&seconds, &parts);
        parts.tm_sec = 0;
        const char *end = strptime(text, formats[i], &parts);
        if (!end || *end)
            continue;
        parts.tm_isdst = -1;
        *time = (double)mktime(&parts);
        if (*time > now && i >= 4)
            *time -= 86400; /* 23:50 is of yesterday in the morning */
        return true;
    }
    return false;
}

static void time_done(struct app *app, void *data, const char *line)
{
    struct logs_layer *self = data;
    double time;
    if (!line || !*line || !is_here(app, self))
        return;
    if (!parse_time(line, clock_wall(), &time)) {
        console_say(app->console, SEVERITY_WARNING,
                    "\"%s\" is no time: 14:05, 14:05:10, 20 Nov 14:05, 2026-11-20 14:05, or 10min (ago)",
                    line);
        return;
    }
    self->around = time;
    logs_restart(self);
}

static size_t write_lines(struct app *app, void *data, const char *path, FILE *file)
{
    struct logs_layer *self = data;
    const struct log_ring *ring = log_follow_ring(self->follow);
    const char *dot = strrchr(path, '.');
    bool json = dot && strcmp(dot, ".json") == 0;
    (void)app;
    for (size_t i = 0; i < log_ring_count(ring); i++) {
        const struct log_entry *entry = log_ring_entry(ring, i);
        if (json) {
            struct json_object *object = logs_line_json(self->follow, entry);
            fprintf(file, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
            json_object_put(object);
        } else {
            char *text = logs_line_text(NULL, self->follow, entry);
            fprintf(file, "%s\n", text);
            talloc_free(text);
        }
    }
    return log_ring_count(ring);
}

static void open_export(struct logs_layer *self)
{
    char name[128], stamp[32];
    time_t now = (time_t)clock_wall();
    struct tm parts;
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", gmtime_r(&now, &parts));
    snprintf(name, sizeof name, "signalbox-logs-%s.txt", stamp);
    console_export(self->layer.app->console, ".txt, or .json for a JSON object a line", name, write_lines,
                   self);
}

static void follow_again(struct logs_layer *self)
{
    if (self->around > 0) {
        self->around = 0;
        logs_restart(self);
    }
    self->at_end = true;
}

/* Lines that need one to be there. */
static bool act_on_line(struct logs_layer *self, const char *action)
{
    struct console *console = self->layer.app->console;
    const struct log_ring *ring = log_follow_ring(self->follow);
    bool copy = strcmp(action, "logs.copy") == 0, detail = strcmp(action, "logs.detail") == 0;
    if (!copy && !detail)
        return false;
    if (!log_ring_count(ring)) {
        console_say(console, SEVERITY_NONE, "there is no line");
        return true;
    }
    const struct log_entry *entry = log_ring_entry(ring, logs_cursor(self));
    if (detail) {
        console_push_page(console, "line", logs_page(self, entry));
        return true;
    }
    char *text = logs_line_text(NULL, self->follow, entry);
    console_copy(console, text);
    talloc_free(text);
    return true;
}

static bool act_move(struct logs_layer *self, const char *action)
{
    static const struct {
        const char *action;
        long lines, pages;
        int cells;
    } moves[] = {
        {"text.down", 1, 0, 0},     {"text.up", -1, 0, 0},    {"text.page-down", 0, 1, 0},
        {"text.page-up", 0, -1, 0}, {"text.left", 0, 0, -20}, {"text.right", 0, 0, 20},
    };
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++)
        if (strcmp(action, moves[i].action) == 0) {
            move(self, moves[i].lines + moves[i].pages * (long)(self->rows > 1 ? self->rows - 1 : 1));
            self->left += moves[i].cells;
            self->left = self->left < 0 ? 0 : self->left > LOG_LINE_MAX ? LOG_LINE_MAX : self->left;
            return true;
        }
    if (strcmp(action, "text.first") == 0)
        move(self, -(1L << 40));
    else if (strcmp(action, "text.last") == 0)
        move(self, 1L << 40);
    else
        return false;
    return true;
}

static bool act_search(struct logs_layer *self, const char *action)
{
    struct console *console = self->layer.app->console;
    int step = strcmp(action, "logs.next-match") == 0 || strcmp(action, "logs.next-problem") == 0 ? 1 : -1;
    if (strstr(action, "-problem")) {
        find(self, step, is_problem, "no further warning or error among the lines that were read");
        return true;
    }
    if (!strstr(action, "-match"))
        return false;
    if (!self->needle)
        console_say(console, SEVERITY_NONE, "nothing was looked for yet");
    else
        find(self, step, has_needle, "not among the further lines that were read");
    return true;
}

static void ask_source(struct app *app, struct logs_layer *replaces, struct host *const *hosts, size_t count,
                       double around);

/* From a line that was found far back, what stands around it; at the end, all that comes. */
static void clear_filter(struct logs_layer *self)
{
    bool far = self->filter && !self->at_end && log_ring_count(log_follow_ring(self->follow));
    if (far && self->around == 0) {
        self->around = self->cursor_at;
        console_say(self->layer.app->console, SEVERITY_NONE,
                    "what was said around this line · \"follow\" goes on");
    }
    logs_set_filter(self, NULL);
}

static bool act_lines(struct layer *layer, const char *action)
{
    struct logs_layer *self = (struct logs_layer *)layer;
    struct app *app = layer->app;
    if (strcmp(action, "logs.filter") == 0)
        console_prompt(app->console, "/", "log-filter", self->filter, filter_done, self);
    else if (strcmp(action, "logs.clear-filter") == 0)
        clear_filter(self);
    else if (strcmp(action, "logs.pause") == 0)
        log_follow_pause(self->follow, !log_follow_paused(self->follow));
    else if (strcmp(action, "logs.follow") == 0)
        follow_again(self);
    else if (strcmp(action, "logs.time") == 0)
        console_prompt(app->console, "Around (14:05, 20 Nov 14:05, 10min ago as 10min): ", "log-time", NULL,
                       time_done, self);
    else if (strcmp(action, "logs.source") == 0)
        ask_source(app, self, self->hosts, self->host_count, self->around);
    else if (strcmp(action, "logs.export") == 0)
        open_export(self);
    else if (strcmp(action, "logs.latency") == 0 || strcmp(action, "global.next-view") == 0 ||
             strcmp(action, "global.previous-view") == 0)
        logs_show_latency(self, true);
    else if (strcmp(action, "global.refresh") == 0)
        logs_restart(self);
    else
        return act_on_line(self, action) || act_search(self, action) || act_move(self, action);
    return true;
}

/* The requests of one tenant, as lines. */
static void show_requests(struct logs_layer *self, const char *tenant)
{
    char *filter = tenant[0] == '(' ? NULL : talloc_strdup(self, tenant);
    char *source = latency_source(self, self->layer.app, self->hosts, self->host_count);
    if (source)
        set_source(self, source);
    self->around = 0;
    logs_set_filter(self, filter);
    logs_show_latency(self, false);
    talloc_free(filter);
    talloc_free(source);
}

static bool act_latency(struct layer *layer, const char *action)
{
    struct logs_layer *self = (struct logs_layer *)layer;
    bool back = strcmp(action, "global.back") == 0 && !self->latency_first;
    if (back || strcmp(action, "global.next-view") == 0 || strcmp(action, "global.previous-view") == 0) {
        logs_show_latency(self, false);
        return true;
    }
    if (strcmp(action, "table.enter") == 0) { /* the requests of this tenant */
        const struct table_row *row = table_selected(layer->table);
        if (!row)
            return true;
        show_requests(self, ((const struct tenant_stats *)row->data)->host);
        return true;
    }
    if (strcmp(action, "table.pause") == 0) {
        log_follow_pause(self->requests, !log_follow_paused(self->requests));
        return true;
    }
    if (strcmp(action, "global.refresh") == 0) {
        latency_stop(self);
        latency_start(self);
        return true;
    }
    return false;
}

static const char *crumb(struct layer *layer)
{
    return ((struct logs_layer *)layer)->crumb;
}

static void free_layer(struct layer *layer)
{
    struct logs_layer *self = (struct logs_layer *)layer;
    latency_stop(self);
    log_follow_free(self->follow);
}

static const char *const lines_contexts[] = {"logs", "text", NULL};
static const struct layer_ops lines_ops = {
    .contexts = lines_contexts, .crumb = crumb, .draw = logs_draw, .act = act_lines, .free = free_layer};
static const char *const latency_contexts[] = {"table", NULL};
static const struct layer_ops latency_ops = {.contexts = latency_contexts,
                                             .crumb = crumb,
                                             .draw = latency_draw,
                                             .act = act_latency,
                                             .free = free_layer};

void logs_show_latency(struct logs_layer *self, bool shown)
{
    self->latency = shown;
    self->layer.ops = shown ? &latency_ops : &lines_ops;
    if (shown) {
        latency_start(self);
    } else {
        latency_stop(self);
        if (!self->follow)
            logs_restart(self);
    }
    set_crumb(self);
}

/* ---- opening ---- */

static struct logs_layer *layer_new(struct app *app, struct host *const *hosts, size_t count,
                                    const char *source, double around)
{
    struct logs_layer *self = talloc_zero(NULL, struct logs_layer);
    self->layer.ops = &lines_ops;
    self->layer.app = app;
    self->host_count = count < LOGS_HOSTS_MAX ? count : LOGS_HOSTS_MAX;
    self->hosts = talloc_memdup(self, hosts, self->host_count * sizeof(struct host *));
    self->source = talloc_strdup(self, source);
    self->around = around;
    set_crumb(self);
    return self;
}

/* What the question of the source is about. */
struct choice {
    struct host **hosts;
    size_t host_count;
    char **names;
    size_t name_count;
    double around;
    struct logs_layer *replaces; /* its log, when it was asked from there */
};

static void source_chosen(struct app *app, void *data, size_t number)
{
    const struct choice *choice = data;
    if (choice->replaces && console_is_on_top(app->console, &choice->replaces->layer)) {
        set_source(choice->replaces, choice->names[number]);
        logs_restart(choice->replaces);
        return;
    }
    hosts_logs_open(app, choice->hosts, choice->host_count, choice->names[number], choice->around);
}

static void add_name(struct choice *choice, const char *name)
{
    for (size_t i = 0; i < choice->name_count; i++)
        if (strcmp(choice->names[i], name) == 0)
            return;
    choice->names = talloc_realloc(choice, choice->names, char *, choice->name_count + 1);
    choice->names[choice->name_count++] = talloc_strdup(choice, name);
}

static void ask_source(struct app *app, struct logs_layer *replaces, struct host *const *hosts, size_t count,
                       double around)
{
    struct choice *choice = talloc_zero(NULL, struct choice);
    choice->hosts = talloc_memdup(choice, hosts, count * sizeof(struct host *));
    choice->host_count = count;
    choice->around = around;
    choice->replaces = replaces;
    for (size_t h = 0; h < count; h++) {
        size_t source_count;
        struct log_source *sources = sources_of(choice, app, hosts[h], &source_count);
        for (size_t s = 0; s < source_count; s++)
            add_name(choice, sources[s].name);
    }
    add_name(choice, "all");
    struct choice_line *lines = talloc_zero_array(choice, struct choice_line, choice->name_count);
    for (size_t i = 0; i < choice->name_count; i++)
        lines[i].text = strcmp(choice->names[i], "all") == 0 ? "all of them but requests" : choice->names[i];
    console_choose(app->console, "Which log?", lines, choice->name_count, source_chosen, choice);
}

void hosts_logs_open(struct app *app, struct host *const *hosts, size_t count, const char *source,
                     double around)
{
    if (!count) {
        console_say(app->console, SEVERITY_NONE, "no host is selected");
        return;
    }
    if (!source) {
        ask_source(app, NULL, hosts, count, around);
        return;
    }
    struct logs_layer *self = layer_new(app, hosts, count, source, around);
    console_push(app->console, &self->layer);
    logs_restart(self);
}

void hosts_logs_open_latency(struct app *app, struct host *const *hosts, size_t count)
{
    if (!count) {
        console_say(app->console, SEVERITY_NONE, "no host is selected");
        return;
    }
    char *source = latency_source(NULL, app, hosts, count);
    struct logs_layer *self = layer_new(app, hosts, count, source ? source : "all", 0);
    talloc_free(source);
    self->latency_first = true;
    console_push(app->console, &self->layer);
    logs_show_latency(self, true);
}
