/* One command on a host: collects what it says, and ends it when it takes too long or says too much. */
#include "backends/ssh/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/transport.h"
#include "core/clock.h"
#include "core/units.h"

#define DEADLINE_S 30
#define BYTES (1024 * 1024)
#define ERRORS_MAX 4096

struct ssh_run {
    struct ssh_host *host;
    struct ssh_channel *channel;
    struct ev_loop *ev;
    ev_timer deadline;
    double deadline_s, began;
    char *output;
    size_t length, room, limit;
    char errors[ERRORS_MAX];
    size_t errors_length;
    bool reporting; /* done runs: nothing is left to be cancelled */
    void (*done)(void *data, const struct ssh_result *result);
    void *data;
};

static void run_free(struct ssh_run *run)
{
    ev_timer_stop(run->ev, &run->deadline);
    talloc_free(run);
}

static void report(struct ssh_run *run, const struct ssh_end *end, bool cut)
{
    run->channel = NULL;
    run->reporting = true;
    ev_timer_stop(run->ev, &run->deadline);
    run->output[run->length] = '\0';
    run->errors[run->errors_length] = '\0';
    struct ssh_result result = {.end = *end,
                                .output = run->output,
                                .output_length = run->length,
                                .errors = run->errors,
                                .cut = cut,
                                .seconds = clock_monotonic() - run->began};
    run->done(run->data, &result);
    run_free(run);
}

/* Of our own accord, the channel being still open. */
static void give_up(struct ssh_run *run, enum error_kind kind, const char *todo, const char *why, bool cut)
{
    struct ssh_end end = {.ending = SSH_LOST};
    error_set(&end.error, kind, ssh_host_label(run->host), "the command was given up", todo, "%s", why);
    ssh_channel_close(run->channel);
    report(run, &end, cut);
}

static void too_late(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct ssh_run *run = timer->data;
    char why[96], time[32];
    (void)ev, (void)events;
    format_s(time, sizeof time, run->deadline_s);
    snprintf(why, sizeof why, "it had not ended after %s", time);
    give_up(run, ERROR_TIMEOUT, "Whether it went on is not known.", why, false);
}

static void make_room(struct ssh_run *run, size_t length)
{
    if (run->length + length < run->room)
        return;
    while (run->room <= run->length + length)
        run->room = run->room ? 2 * run->room : 4096;
    run->output = talloc_realloc_size(run, run->output, run->room);
    if (!run->output)
        abort();
}

static void take_output(void *data, int stream, const char *bytes, size_t length)
{
    struct ssh_run *run = data;
    if (stream == 2) {
        size_t left = sizeof run->errors - 1 - run->errors_length;
        size_t fits = length < left ? length : left;
        memcpy(run->errors + run->errors_length, bytes, fits);
        run->errors_length += fits;
        return;
    }
    size_t left = run->limit - run->length, fits = length < left ? length : left;
    make_room(run, fits + 1);
    memcpy(run->output + run->length, bytes, fits);
    run->length += fits;
    if (fits < length) {
        char why[96], size[32];
        format_bytes(size, sizeof size, (double)run->limit);
        snprintf(why, sizeof why, "it wrote more than %s", size);
        give_up(run, ERROR_INTERLOCK, NULL, why, true);
    }
}

static void take_end(void *data, const struct ssh_end *end)
{
    report(data, end, false);
}

struct ssh_run *ssh_run(struct ssh_host *host, const char *command, const char *input,
                        struct ssh_run_limits limits,
                        void (*done)(void *data, const struct ssh_result *result), void *data)
{
    struct ssh_run *run = talloc_zero(NULL, struct ssh_run);
    if (!run)
        abort();
    run->host = host;
    run->ev = loop_ev(ssh_host_loop(host));
    run->deadline_s = limits.deadline_s > 0 ? limits.deadline_s : DEADLINE_S;
    run->limit = limits.bytes ? limits.bytes : BYTES;
    run->began = clock_monotonic();
    run->done = done;
    run->data = data;
    make_room(run, 1);
    ev_now_update(run->ev); /* a turn may have taken long before this */
    ev_timer_init(&run->deadline, too_late, run->deadline_s, 0);
    run->deadline.data = run;
    ev_timer_start(run->ev, &run->deadline);
    run->channel =
        ssh_exec(host, command, (struct ssh_handler){.output = take_output, .closed = take_end, .data = run});
    if (input && *input)
        ssh_channel_write(run->channel, input, strlen(input));
    ssh_channel_end(run->channel);
    return run;
}

void ssh_run_cancel(struct ssh_run *run)
{
    if (!run || run->reporting)
        return;
    ssh_channel_close(run->channel);
    run_free(run);
}
