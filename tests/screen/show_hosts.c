/*
 * The real console with hosts that answered once and for all: snapshots made by the real parsers from the
 * texts in tests/data/hosts, in the place of the fleet's (the linker's --wrap). What the golden screens of
 * the Hosts panel are made of. Usage: show_hosts ENVIRONMENT VIEW [ascii|mono]...; SIGNALBOX_TEST_CLOCK fixes
 * the time.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/fleet.h"
#include "backends/hosts/record.h"
#include "panels/console.h"
#include "panels/options.h"

#define NOW 1795262500.0 /* 2026-11-21 12:01:40 UTC */

struct past_host {
    const char *name, *group;
    const char *answers[5]; /* files of tests/data/hosts, in their order */
    double silent_s;
    const char *release_differs;
    struct host_record *record; /* kept until the program ends, as are the snapshots */
    const struct host_snapshot *snapshot;
    struct feed feeds[HOST_TIERS];
};

static struct past_host *find(const struct host *host)
{
    static struct past_host hosts[] = {
        {.name = "web1",
         .group = "web",
         .answers = {"fast_1", "fast_2", "medium_debian_1", "slow_systemd", "detail_systemd"}},
        {.name = "web2",
         .group = "web",
         .answers = {"fast_1", "fast_2", "medium_busybox", "slow_nosystemd"},
         .release_differs = "others r481"},
        {.name = "db1", .group = "db", .answers = {"fast_1", "fast_2", "medium_nodaemon", "slow_dmesg"}},
        {.name = "q1", .group = "worker", .answers = {"fast_1", "fast_2", "medium_busybox"}, .silent_s = 41},
    };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strcmp(hosts[i].name, host_name(host)) == 0)
            return &hosts[i];
    fprintf(stderr, "show_hosts: nothing is known of %s\n", host_name(host));
    abort();
}

static char *read_answer(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/data/hosts/%s", TEST_ROOT, name);
    FILE *file = fopen(path, "r");
    char *text = talloc_zero_size(NULL, 200000);
    if (!file || !fread(text, 1, 199999, file)) {
        fprintf(stderr, "show_hosts: cannot read %s\n", path);
        abort();
    }
    fclose(file);
    return text;
}

static void take(struct host_record *record, const char *name, double at)
{
    static const char letters[] = "fmsd";
    char *text = read_answer(name), *body = strchr(text, '\n') + 1;
    struct host_answer answer = {.tier = (enum host_tier)(strchr(letters, text[0]) - letters),
                                 .mark = "MARK",
                                 .text = body,
                                 .length = strlen(body),
                                 .asked = at - 0.02,
                                 .first = at - 0.01,
                                 .answered = at};
    struct error error;
    if (!host_record_take(record, &answer, &error))
        abort();
    talloc_free(text);
}

static void make(struct past_host *past)
{
    struct host_record *record = host_record_new(NULL, past->name, past->group);
    double at = NOW - (past->silent_s > 0 ? past->silent_s : 2);
    host_record_set_user(record, "ops");
    for (int i = 0; i < 5 && past->answers[i]; i++)
        take(record, past->answers[i], i == 0 ? at - 5 : at);
    past->record = record;
    past->snapshot = host_record_publish(
        record, &(struct host_standing){
                    .now = NOW, .silent_s = past->silent_s, .release_differs = past->release_differs});
    for (int i = 0; i < HOST_TIERS; i++)
        past->feeds[i] = (struct feed){.name = host_tier_name((enum host_tier)i),
                                       .interval_s = 5,
                                       .deadline_s = 10,
                                       .state = past->silent_s > 0 ? FEED_LATE : FEED_LIVE,
                                       .state_since = at,
                                       .answered_at = at};
}

static struct past_host *made(const struct host *host)
{
    struct past_host *past = find(host);
    if (!past->snapshot)
        make(past);
    return past;
}

/* ---- in the place of the fleet's and the pool's ---- */

/* What the linker calls the function that stands in for another one. */
#define WRAPS(function) __asm__("__wrap_" function)

const struct host_snapshot *shown_host_latest(const struct host *host) WRAPS("host_latest");
const struct host_snapshot *shown_host_latest(const struct host *host)
{
    return made(host)->snapshot;
}

struct feed *shown_host_feed(struct host *host, enum host_tier tier) WRAPS("host_feed");
struct feed *shown_host_feed(struct host *host, enum host_tier tier)
{
    return &made(host)->feeds[tier];
}

/* An hour's beginning: a quarter of it, in which the processor becomes busy. */
size_t shown_host_history(const struct host *host, const void *context, const enum host_series *series,
                          size_t series_count, double seconds, double **times, float **values)
    WRAPS("host_history");
size_t shown_host_history(const struct host *host, const void *context, const enum host_series *series,
                          size_t series_count, double seconds, double **times, float **values)
{
    enum { SAMPLES = 180 };
    (void)host, (void)seconds;
    *times = talloc_array(context, double, SAMPLES);
    *values = talloc_array(context, float, SAMPLES *series_count);
    for (int i = 0; i < SAMPLES; i++) {
        (*times)[i] = NOW - (SAMPLES - i) * 5.0;
        for (size_t s = 0; s < series_count; s++) {
            float whole = series[s] == SERIES_CPU      ? 20 + (float)i / 3
                          : series[s] == SERIES_MEMORY ? 60 + (float)(i % 40) / 4
                                                       : (float)(i % 30) / 10;
            (*values)[(size_t)i * series_count + s] = i >= 60 && i < 75 ? NAN : whole;
        }
    }
    return SAMPLES;
}

void shown_fleet_want(struct fleet *fleet, bool wanted) WRAPS("fleet_want");
void shown_fleet_want(struct fleet *fleet, bool wanted)
{
    (void)fleet, (void)wanted;
}

void shown_host_want_detail(struct host *host, bool wanted) WRAPS("host_want_detail");
void shown_host_want_detail(struct host *host, bool wanted)
{
    (void)host, (void)wanted;
}

enum connection_state shown_ssh_host_state(const struct ssh_host *host) WRAPS("ssh_host_state");
enum connection_state shown_ssh_host_state(const struct ssh_host *host)
{
    (void)host;
    return CONNECTION_UP;
}

int main(int argc, char **argv)
{
    struct options options = {.environment = argv[1], .view = argv[2], .no_state = true};
    setlocale(LC_CTYPE, "");
    for (int i = 3; i < argc; i++) {
        options.ascii = options.ascii || strcmp(argv[i], "ascii") == 0;
        options.mono = options.mono || strcmp(argv[i], "mono") == 0;
    }
    return argc < 3 ? 2 : console_run(&options);
}
