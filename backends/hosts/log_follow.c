#include "backends/hosts/log_follow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/log_internal.h"
#include "core/clock.h"
#include "core/text.h"

/* The past of a log is over when a line of after the beginning came, when it has been silent, or was long. */
#define PAST_QUIET_S 0.7
#define PAST_LONGEST_S 5.0
#define CHANGED_S 0.05
#define TICK_S 0.1
#define SLICE_S 0.004 /* of work for the past, a tick: keys must not wait for it */
#define RETRY_FIRST_S 2.0
#define RETRY_LONGEST_S 30.0

struct stream {
    struct log_stream shown;
    struct log_follow *follow;
    struct log_source source;
    struct ssh_host *host;
    struct ssh_channel *channel; /* NULL: not open */
    unsigned number;
    bool paused;      /* the channel */
    bool live;        /* its past was read */
    bool header_seen; /* LOG_HEADER came: what is before it is the login shell's talk */
    bool permanent;   /* trying again cannot help */
    char header[256], errors[512];
    size_t header_length, errors_length;
    double began, heard; /* monotonic */
    double clock;        /* of the host when it began; seconds since the epoch */
    double retry_at, retry_s;
    uint64_t lines_at_begin;
};

struct log_follow {
    struct loop *loop;
    struct log_merge *merge;
    struct stream **streams;
    size_t stream_count, lines;
    bool follow, paused;
    char *filter;
    double from, to;
    bool newest;
    void (*changed)(void *data);
    void *data;
    ev_timer tick, tell;
    double worked; /* seconds since the last tick */
};

static void start(struct stream *stream);

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

const char *log_stream_state_name(enum log_stream_state state)
{
    static const char *const names[] = {"starting", "live", "ended", "missing", "not permitted", "failed"};
    return names[state];
}

/* ---- telling ---- */

static void on_tell(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct log_follow *follow = timer->data;
    (void)ev;
    (void)events;
    if (follow->changed)
        follow->changed(follow->data);
}

static void tell(struct log_follow *follow)
{
    if (ev_is_active(&follow->tell))
        return;
    ev_timer_set(&follow->tell, CHANGED_S, 0);
    ev_timer_start(loop_ev(follow->loop), &follow->tell);
}

static void need_tick(struct log_follow *follow)
{
    if (!ev_is_active(&follow->tick)) {
        ev_timer_set(&follow->tick, TICK_S, TICK_S);
        ev_timer_start(loop_ev(follow->loop), &follow->tick);
    }
}

static void set_state(struct stream *stream, enum log_stream_state state, const char *message)
{
    stream->shown.state = state;
    safe_line(stream->shown.message, sizeof stream->shown.message, message);
    tell(stream->follow);
}

/* ---- what the command says on standard error ---- */

static void on_denied(struct stream *stream, char *words)
{
    char *save = NULL, message[400];
    const char *group = strtok_r(words, " ", &save), *user = strtok_r(NULL, " ", &save);
    const char *what = strtok_r(NULL, "", &save);
    if (!what)
        return;
    if (strcmp(group, "docker") == 0 && stream->source.kind == LOG_SOURCE_CONTAINER)
        snprintf(message, sizeof message,
                 "not permitted: %s may not ask docker. As root there: usermod -aG docker %s (who is in that "
                 "group is as good as root)",
                 user, user);
    else if (strcmp(group, "root") == 0)
        snprintf(message, sizeof message,
                 "not permitted: %s may not read %s. As root there: setfacl -m u:%s:rX %s", user, what, user,
                 what);
    else
        snprintf(message, sizeof message,
                 "not permitted: %s may not read %s. As root there: usermod -aG %s %s; it counts from the "
                 "next login",
                 user, what, group, user);
    stream->permanent = stream->source.kind == LOG_SOURCE_CONTAINER;
    set_state(stream, LOG_STREAM_DENIED, message);
}

/* journalctl tells a user outside of its groups so, and shows the user's own lines. */
static bool is_journal_denial(const struct stream *stream, const char *line)
{
    return stream->source.kind == LOG_SOURCE_JOURNAL &&
           (strstr(line, "insufficient permissions") || strstr(line, "not seeing messages from other users"));
}

static void on_error_line(struct stream *stream, char *line)
{
    char message[400];
    if (strncmp(line, "@@denied ", 9) == 0) {
        on_denied(stream, line + 9);
    } else if (strncmp(line, "@@missing ", 10) == 0) {
        const char *what = line + 10;
        stream->permanent = stream->source.kind != LOG_SOURCE_FILES;
        snprintf(message, sizeof message, stream->permanent ? "there is no %s on this host" : "no file %s",
                 what);
        if (stream->shown.state != LOG_STREAM_DENIED)
            set_state(stream, LOG_STREAM_MISSING, message);
    } else if (is_journal_denial(stream, line)) {
        snprintf(message, sizeof message,
                 "not permitted: only this user's own lines are shown. As root there: usermod -aG "
                 "systemd-journal USER, or adm");
        set_state(stream, LOG_STREAM_DENIED, message);
    } else if (strncmp(line, "@@exit ", 7) != 0 && strncmp(line, "tail: ", 6) != 0 && *line) {
        safe_line(stream->shown.message, sizeof stream->shown.message, line);
        tell(stream->follow);
    }
}

static void on_errors(struct stream *stream, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != '\n') {
            if (stream->errors_length < sizeof stream->errors - 1)
                stream->errors[stream->errors_length++] = bytes[i] ? bytes[i] : ' ';
            continue;
        }
        stream->errors[stream->errors_length] = '\0';
        stream->errors_length = 0;
        on_error_line(stream, stream->errors);
    }
}

/* ---- what it reads ---- */

static void pause_channel(struct stream *stream, bool paused)
{
    if (stream->channel && stream->paused != paused) {
        stream->paused = paused;
        ssh_channel_pause(stream->channel, paused);
    }
}

/* "@@log 1795269910 +0000" */
static void on_header(struct stream *stream, const char *line)
{
    const char *zone = strchr(line, ' ');
    int zone_s = 0;
    if (!zone || !log_zone(zone + 1, strlen(zone + 1), &zone_s))
        zone_s = 0;
    stream->header_seen = true;
    stream->clock = strtod(line, NULL);
    log_merge_begin(stream->follow->merge, stream->number, zone_s);
    stream->lines_at_begin = log_merge_read(stream->follow->merge, stream->number, NULL);
    tell(stream->follow);
}

/* Takes what stands before the header, and it; returns how many bytes. */
static size_t take_header(struct stream *stream, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != '\n') {
            if (stream->header_length < sizeof stream->header - 1)
                stream->header[stream->header_length++] = bytes[i] ? bytes[i] : ' ';
            continue;
        }
        stream->header[stream->header_length] = '\0';
        stream->header_length = 0;
        if (strncmp(stream->header, LOG_HEADER, strlen(LOG_HEADER)) == 0) {
            on_header(stream, stream->header + strlen(LOG_HEADER));
            return i + 1;
        }
    }
    return length;
}

static void on_output(void *data, int which, const char *bytes, size_t length)
{
    struct stream *stream = data;
    struct log_follow *follow = stream->follow;
    stream->heard = clock_monotonic();
    if (which == 2) {
        on_errors(stream, bytes, length);
        return;
    }
    if (!stream->header_seen) {
        size_t taken = take_header(stream, bytes, length);
        bytes += taken;
        length -= taken;
    }
    if (!length)
        return;
    log_merge_feed(follow->merge, stream->number, bytes, length);
    follow->worked += clock_monotonic() - stream->heard;
    if (stream->shown.state == LOG_STREAM_MISSING || stream->shown.state == LOG_STREAM_FAILED)
        set_state(stream, stream->live ? LOG_STREAM_LIVE : LOG_STREAM_STARTING, "");
    /* The past is worth waiting for: it is read no faster than the bound, and nothing of it is dropped. */
    if (!stream->live && (log_merge_budget(follow->merge) <= 0 || follow->worked > SLICE_S)) {
        pause_channel(stream, true);
        need_tick(follow);
    }
    tell(follow);
}

static void retry_later(struct stream *stream)
{
    stream->retry_s = stream->retry_s > 0 ? fmin(2 * stream->retry_s, RETRY_LONGEST_S) : RETRY_FIRST_S;
    stream->retry_at = clock_monotonic() + stream->retry_s * clock_jitter(0.2);
    need_tick(stream->follow);
}

static void on_closed(void *data, const struct ssh_end *end)
{
    struct stream *stream = data;
    struct log_follow *follow = stream->follow;
    char message[900] = "", said[400];
    stream->channel = NULL;
    log_merge_end(follow->merge, stream->number);
    snprintf(said, sizeof said, "%s", stream->shown.message);
    bool told = stream->shown.state == LOG_STREAM_DENIED || stream->shown.state == LOG_STREAM_MISSING;
    if (end->ending == SSH_LOST || end->ending == SSH_REFUSED)
        snprintf(message, sizeof message, "%s: %s", end->error.what[0] ? end->error.what : "lost",
                 end->error.why);
    else if (end->ending == SSH_SIGNALLED)
        snprintf(message, sizeof message, "its reader was ended there by signal %s", end->signal);
    else if (!stream->header_seen)
        snprintf(message, sizeof message, "it cannot be read: exit status %d%s%s", end->status,
                 said[0] ? ": " : "", said);
    else if (follow->follow)
        snprintf(message, sizeof message, "its reader ended there%s%s", said[0] ? ": " : "", said);
    if (message[0] && !told)
        set_state(stream, LOG_STREAM_FAILED, message);
    else if (!told)
        set_state(stream, LOG_STREAM_ENDED, "");
    if (follow->follow && !stream->permanent)
        retry_later(stream);
    tell(follow);
}

/* ---- life ---- */

static void start(struct stream *stream)
{
    struct log_follow *follow = stream->follow;
    double last_time;
    bool again = log_merge_read(follow->merge, stream->number, &last_time) > 0;
    /* Without times nobody knows what was seen already: then only what is new. */
    struct log_request request = {.lines = again && isnan(last_time) ? 0 : follow->lines,
                                  .follow = follow->follow,
                                  .filter = follow->filter,
                                  .from = follow->from,
                                  .to = follow->to,
                                  .newest = follow->newest};
    char *command = log_source_command(NULL, &stream->source, &request);
    struct ssh_handler handler = {.output = on_output, .closed = on_closed, .data = stream};
    stream->began = stream->heard = clock_monotonic();
    stream->header_seen = stream->paused = stream->live = false;
    stream->header_length = stream->errors_length = 0;
    stream->retry_at = 0;
    stream->channel = ssh_exec(stream->host, command, handler);
    talloc_free(command);
    if (follow->paused)
        pause_channel(stream, true);
    need_tick(follow);
}

static void become_live(struct stream *stream)
{
    struct log_follow *follow = stream->follow;
    log_merge_live(follow->merge, stream->number);
    stream->live = true;
    stream->retry_s = 0;
    if (stream->shown.state == LOG_STREAM_STARTING || stream->shown.state == LOG_STREAM_FAILED)
        set_state(stream, LOG_STREAM_LIVE, "");
}

/* True while the stream needs the tick. */
static bool tick_stream(struct stream *stream, double now, double budget)
{
    struct log_follow *follow = stream->follow;
    if (!stream->channel) {
        if (stream->retry_at > 0 && now >= stream->retry_at)
            start(stream);
        return stream->retry_at > 0;
    }
    if (stream->paused && !follow->paused && budget > 0)
        pause_channel(stream, false);
    if (stream->paused)
        return !follow->paused;
    if (stream->live || !stream->header_seen || !follow->follow)
        return !stream->live && !stream->header_seen;
    double last_time;
    uint64_t read = log_merge_read(follow->merge, stream->number, &last_time) - stream->lines_at_begin;
    bool reached_now = read && last_time > stream->clock;
    if (!reached_now && read < follow->lines && now - stream->heard < PAST_QUIET_S &&
        now - stream->began < PAST_LONGEST_S)
        return true;
    become_live(stream);
    return false;
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct log_follow *follow = timer->data;
    double now = clock_monotonic(), budget = log_merge_budget(follow->merge);
    bool needed = false;
    (void)events;
    follow->worked = 0;
    for (size_t i = 0; i < follow->stream_count; i++)
        needed |= tick_stream(follow->streams[i], now, budget);
    if (!needed)
        ev_timer_stop(ev, timer);
}

static int follow_free(struct log_follow *follow)
{
    for (size_t i = 0; i < follow->stream_count; i++)
        ssh_channel_close(follow->streams[i]->channel);
    ev_timer_stop(loop_ev(follow->loop), &follow->tick);
    ev_timer_stop(loop_ev(follow->loop), &follow->tell);
    return 0;
}

void log_follow_free(struct log_follow *follow)
{
    talloc_free(follow);
}

static char *copy(const void *context, const char *text)
{
    return text ? must(talloc_strdup(context, text)) : NULL;
}

static struct stream *stream_new(struct log_follow *follow, const struct log_target *target)
{
    struct stream *stream = must(talloc_zero(follow, struct stream));
    const struct log_source *source = &target->source;
    stream->follow = follow;
    stream->host = target->host;
    stream->source = (struct log_source){.name = copy(stream, source->name),
                                         .kind = source->kind,
                                         .path = copy(stream, source->path),
                                         .unit = copy(stream, source->unit),
                                         .container = copy(stream, source->container),
                                         .format = source->format};
    stream->shown.host = copy(stream, target->name);
    stream->shown.source = stream->source.name;
    stream->number = log_merge_stream(follow->merge, source->format);
    return stream;
}

struct log_follow *log_follow_new(const void *context, struct loop *loop,
                                  const struct log_follow_options *options)
{
    struct log_follow *follow = must(talloc_zero(context, struct log_follow));
    struct log_merge_options merge = {.max_lines = options->max_lines,
                                      .max_bytes = options->max_bytes,
                                      .bytes_per_s = options->bytes_per_s,
                                      .filter = options->filter,
                                      .from = options->from,
                                      .to = options->to,
                                      .stats = options->stats};
    follow->loop = loop;
    follow->merge = log_merge_new(follow, &merge);
    follow->lines = options->lines;
    follow->follow = options->follow;
    follow->filter = copy(follow, options->filter);
    follow->from = options->from;
    follow->to = options->to;
    follow->newest = options->newest;
    follow->changed = options->changed;
    follow->data = options->data;
    ev_timer_init(&follow->tick, on_tick, TICK_S, TICK_S);
    ev_timer_init(&follow->tell, on_tell, CHANGED_S, 0);
    follow->tick.data = follow->tell.data = follow;
    follow->streams = must(talloc_zero_array(follow, struct stream *, options->target_count + 1));
    talloc_set_destructor(follow, follow_free);
    for (size_t i = 0; i < options->target_count; i++) {
        follow->streams[follow->stream_count] = stream_new(follow, &options->targets[i]);
        start(follow->streams[follow->stream_count++]);
    }
    return follow;
}

void log_follow_set_filter(struct log_follow *follow, const char *filter)
{
    talloc_free(follow->filter);
    follow->filter = filter && *filter ? copy(follow, filter) : NULL;
    log_merge_reset(follow->merge, follow->filter);
    for (size_t i = 0; i < follow->stream_count; i++) {
        struct stream *stream = follow->streams[i];
        ssh_channel_close(stream->channel);
        stream->channel = NULL;
        stream->permanent = false;
        set_state(stream, LOG_STREAM_STARTING, "");
        start(stream);
    }
}

void log_follow_pause(struct log_follow *follow, bool paused)
{
    follow->paused = paused;
    for (size_t i = 0; i < follow->stream_count; i++)
        if (paused || log_merge_budget(follow->merge) > 0)
            pause_channel(follow->streams[i], paused);
    need_tick(follow);
    tell(follow);
}

/* ---- what is shown ---- */

bool log_follow_paused(const struct log_follow *follow)
{
    return follow->paused;
}

struct log_ring *log_follow_ring(const struct log_follow *follow)
{
    return log_merge_ring(follow->merge);
}

uint64_t log_follow_dropped(const struct log_follow *follow)
{
    return log_merge_dropped(follow->merge);
}

size_t log_follow_stream_count(const struct log_follow *follow)
{
    return follow->stream_count;
}

const struct log_stream *log_follow_stream(const struct log_follow *follow, size_t index)
{
    return &follow->streams[index]->shown;
}

bool log_follow_settled(const struct log_follow *follow)
{
    for (size_t i = 0; i < follow->stream_count; i++)
        if (follow->streams[i]->shown.state == LOG_STREAM_STARTING)
            return false;
    return true;
}

bool log_follow_ended(const struct log_follow *follow)
{
    for (size_t i = 0; i < follow->stream_count; i++)
        if (follow->streams[i]->channel)
            return false;
    return true;
}
