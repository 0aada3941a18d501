/* One channel a host: start, requests, deadlines, and what to say when it goes wrong. */
#include "backends/hosts/collector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>

#include "core/clock.h"
#include "core/text.h"

#define READY_S 20.0
#define BACK_OFF_MOST_S 30.0
#define JITTER 0.2
#define TICK_S 1.0

/* Longer than anything there may take: what does not answer within this is closed and started anew. */
static const double deadlines[HOST_TIERS] = {
    [HOST_FAST] = 15, [HOST_MEDIUM] = 60, [HOST_SLOW] = 120, [HOST_DETAIL] = 90};

struct request {
    bool in_flight, sent;
    unsigned number;
    double asked, sent_monotonic;
    char *arguments;
};

struct collector {
    struct loop *loop;
    struct ssh_host *host;
    const struct environment_ssh *settings;
    const char *script;
    struct collector_events events;
    struct ssh_channel *channel;
    char mark[17];
    struct collector_stream streams[2]; /* standard output, standard error */
    bool ready, starting;               /* starting: waits for the end of the back-off */
    double up_monotonic;                /* when the session was first seen up; 0: not yet */
    double retry_monotonic;
    int failures;
    unsigned numbers;
    struct request requests[HOST_TIERS];
    ev_timer timer;
};

static const char *where_of(const struct collector *collector)
{
    return ssh_host_name(collector->host);
}

static void start_timer(struct collector *collector, double after)
{
    struct ev_loop *ev = loop_ev(collector->loop);
    if (ev_is_active(&collector->timer))
        return;
    ev_now_update(ev);
    ev_timer_set(&collector->timer, fmax(0, after), 0);
    ev_timer_start(ev, &collector->timer);
}

static void stop_timer(struct collector *collector)
{
    ev_timer_stop(loop_ev(collector->loop), &collector->timer);
}

static bool anything_in_flight(const struct collector *collector)
{
    for (int i = 0; i < HOST_TIERS; i++)
        if (collector->requests[i].in_flight)
            return true;
    return false;
}

static void close_channel(struct collector *collector)
{
    struct ssh_channel *channel = collector->channel;
    collector->channel = NULL;
    collector->ready = false;
    collector->up_monotonic = 0;
    collector_stream_clear(&collector->streams[0]);
    collector_stream_clear(&collector->streams[1]);
    ssh_channel_close(channel);
}

/* Everything that waits for an answer gets none. */
static void fail(struct collector *collector, const struct error *error)
{
    struct error told = *error; /* it may be in what is closed */
    close_channel(collector);
    stop_timer(collector);
    collector->failures++;
    double pause = fmin(BACK_OFF_MOST_S, ldexp(1, collector->failures < 8 ? collector->failures - 1 : 8));
    collector->retry_monotonic = clock_monotonic() + pause * clock_jitter(JITTER);
    bool was[HOST_TIERS];
    for (int i = 0; i < HOST_TIERS; i++) {
        was[i] = collector->requests[i].in_flight;
        collector->requests[i].in_flight = collector->requests[i].sent = false;
    }
    for (int i = 0; i < HOST_TIERS; i++)
        if (was[i])
            collector->events.failed(collector->events.data, (enum host_tier)i, &told);
}

static void fail_with(struct collector *collector, enum error_kind kind, const char *what, const char *todo,
                      const char *why)
{
    struct error error;
    error_set(&error, kind, where_of(collector), what, todo, "%s", why);
    fail(collector, &error);
}

/* ---- requests ---- */

static bool background_busy(const struct collector *collector)
{
    for (int i = HOST_MEDIUM; i < HOST_TIERS; i++)
        if (collector->requests[i].sent)
            return true;
    return false;
}

static void send_request(struct collector *collector, enum host_tier tier)
{
    static const char letters[HOST_TIERS] = {'f', 'm', 's', 'd'};
    struct request *request = &collector->requests[tier];
    const char *arguments = request->arguments ? request->arguments : "";
    request->number = ++collector->numbers & 0x3FFFFFFF;
    char *line = talloc_asprintf(collector, "%c %u%s%s\n", letters[tier], request->number,
                                 arguments[0] ? " " : "", arguments);
    if (!line)
        abort();
    request->sent = true;
    request->asked = clock_wall();
    request->sent_monotonic = clock_monotonic();
    ssh_channel_write(collector->channel, line, strlen(line));
    talloc_free(line);
}

/* One of the slower tiers at a time: they share a stream. */
static void send_waiting(struct collector *collector)
{
    if (!collector->ready)
        return;
    for (int i = 0; i < HOST_TIERS; i++) {
        struct request *request = &collector->requests[i];
        if (request->in_flight && !request->sent && (i == HOST_FAST || !background_busy(collector)))
            send_request(collector, (enum host_tier)i);
    }
}

static void on_ready(void *data, const char *user)
{
    struct collector *collector = data;
    if (collector->ready)
        return;
    collector->ready = true;
    if (collector->events.ready)
        collector->events.ready(collector->events.data, user);
    send_waiting(collector);
}

static void on_answer(void *data, struct collector_stream *stream, unsigned number, const char *text,
                      size_t length)
{
    struct collector *collector = data;
    for (int i = 0; i < HOST_TIERS; i++) {
        struct request *request = &collector->requests[i];
        if (!request->sent || request->number != number ||
            (i == HOST_FAST) != (stream == &collector->streams[0]))
            continue;
        request->in_flight = request->sent = false;
        collector->failures = 0;
        struct host_answer answer = {.tier = (enum host_tier)i,
                                     .mark = collector->mark,
                                     .text = text,
                                     .length = length,
                                     .asked = request->asked,
                                     .first = stream->first,
                                     .answered = clock_wall()};
        collector->events.answered(collector->events.data, &answer);
        break;
    }
    if (collector->channel)
        send_waiting(collector);
}

/* ---- the channel ---- */

/* What the host said before or instead of an answer. */
static const char *noise(const struct collector *collector)
{
    const char *said = collector->streams[1].noise;
    return said[0] ? said : collector->streams[0].noise;
}

static void on_output(void *data, int stream, const char *bytes, size_t length)
{
    struct collector *collector = data;
    char why[300];
    const struct collector_stream *own = &collector->streams[stream == 2];
    if (collector_stream_feed(&collector->streams[stream == 2], bytes, length))
        return;
    if (own->noise_bytes > COLLECTOR_MOST_NOISE)
        snprintf(why, sizeof why, "more than %zu kB came that no answer are; last: %.120s",
                 COLLECTOR_MOST_NOISE / 1024, noise(collector));
    else
        snprintf(why, sizeof why, "an answer was longer than %zu MB", COLLECTOR_MOST_BYTES >> 20);
    fail_with(collector, ERROR_SERVER,
              collector->ready ? "the collector was closed" : "the collector did not start",
              collector->ready ? NULL : "does a start-up file of the shell there print?", why);
}

static void on_closed(void *data, const struct ssh_end *end)
{
    struct collector *collector = data;
    char why[512];
    collector->channel = NULL;
    if (end->ending == SSH_LOST || end->ending == SSH_REFUSED) {
        fail(collector, &end->error);
        return;
    }
    int length = end->ending == SSH_SIGNALLED
                     ? snprintf(why, sizeof why, "its shell died of SIG%s", end->signal)
                     : snprintf(why, sizeof why, "its shell ended with status %d", end->status);
    if (noise(collector)[0])
        snprintf(why + length, sizeof why - (size_t)length, "; it said: %s", noise(collector));
    fail_with(collector, ERROR_SERVER,
              collector->ready ? "the collector ended" : "the collector did not start",
              collector->ready ? NULL : "can this user run sh and head there?", why);
}

static void start(struct collector *collector)
{
    unsigned char random[8];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(collector->mark + 2 * i, 3, "%02x", random[i]);
    for (int i = 0; i < 2; i++) {
        struct collector_stream *stream = &collector->streams[i];
        collector_stream_clear(stream);
        stream->noise[0] = '\0';
        stream->noise_bytes = 0;
        stream->mark = collector->mark;
        stream->answer = on_answer;
        stream->ready = i == 0 ? on_ready : NULL;
        stream->data = collector;
    }
    collector->starting = false;
    char *variables = collector_variables(collector, collector->mark, collector->settings);
    char *command = collector_command(collector, strlen(variables) + strlen(collector->script));
    collector->channel =
        ssh_exec(collector->host, command,
                 (struct ssh_handler){.output = on_output, .closed = on_closed, .data = collector});
    ssh_channel_write(collector->channel, variables, strlen(variables));
    ssh_channel_write(collector->channel, collector->script, strlen(collector->script));
    talloc_free(command);
    talloc_free(variables);
}

/* ---- deadlines ---- */

static bool check_ready(struct collector *collector, double now)
{
    char why[300];
    /* Connecting has deadlines of its own, and may be waiting for its turn at a bastion. */
    if (ssh_host_state(collector->host) == CONNECTION_UP && collector->up_monotonic <= 0)
        collector->up_monotonic = now;
    if (collector->ready || collector->up_monotonic <= 0 || now - collector->up_monotonic < READY_S)
        return true;
    snprintf(why, sizeof why, "its shell did not begin to answer within %.0f s%s%s", READY_S,
             noise(collector)[0] ? "; it said: " : "", noise(collector));
    fail_with(collector, ERROR_TIMEOUT, "the collector did not start",
              "does a start-up file of the shell there wait?", why);
    return false;
}

static bool check_requests(struct collector *collector, double now)
{
    for (int i = 0; i < HOST_TIERS; i++) {
        const struct request *request = &collector->requests[i];
        if (!request->sent || now - request->sent_monotonic < deadlines[i])
            continue;
        char why[80];
        snprintf(why, sizeof why, "no answer of the %s tier within %.0f s", host_tier_name((enum host_tier)i),
                 deadlines[i]);
        fail_with(collector, ERROR_TIMEOUT, "the collector was closed", NULL, why);
        return false;
    }
    return true;
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct collector *collector = timer->data;
    double now = clock_monotonic();
    (void)ev, (void)events;
    if (collector->starting) {
        start(collector);
        start_timer(collector, TICK_S);
        return;
    }
    if (!collector->channel || !anything_in_flight(collector))
        return;
    if (check_ready(collector, now) && check_requests(collector, now))
        start_timer(collector, TICK_S);
}

/* ---- interface ---- */

static int collector_gone(struct collector *collector)
{
    stop_timer(collector);
    close_channel(collector);
    return 0;
}

struct collector *collector_new(const void *context, struct loop *loop, struct ssh_host *host,
                                const struct environment_ssh *settings, const char *script,
                                struct collector_events events)
{
    struct collector *collector = talloc_zero(context, struct collector);
    if (!collector)
        abort();
    collector->loop = loop;
    collector->host = host;
    collector->settings = settings;
    collector->script = script;
    collector->events = events;
    ev_timer_init(&collector->timer, on_timer, 0, 0);
    collector->timer.data = collector;
    talloc_set_destructor(collector, collector_gone);
    return collector;
}

void collector_ask(struct collector *collector, enum host_tier tier, const char *arguments)
{
    struct request *request = &collector->requests[tier];
    if (request->in_flight)
        return;
    talloc_free(request->arguments);
    request->arguments = arguments ? talloc_strdup(collector, arguments) : NULL;
    if (arguments && !request->arguments)
        abort();
    request->in_flight = true;
    request->sent = false;
    double wait = collector->retry_monotonic - clock_monotonic();
    if (!collector->channel && !collector->starting) {
        collector->starting = collector->failures > 0 && wait > 0;
        if (!collector->starting)
            start(collector);
    }
    start_timer(collector, collector->starting ? wait : TICK_S);
    send_waiting(collector);
}

bool collector_rest(struct collector *collector)
{
    if (anything_in_flight(collector))
        return false;
    if (collector->channel)
        close_channel(collector);
    stop_timer(collector);
    return true;
}

void collector_restart(struct collector *collector)
{
    fail_with(collector, ERROR_SERVER, "the collector was closed", NULL,
              "it answered something else than asked");
}
