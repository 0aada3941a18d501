/* The hosts of an environment: feeds a tier, collectors, snapshots, what differs between hosts. */
#include "backends/hosts/fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "backends/hosts/collector.h"
#include "backends/hosts/history.h"
#include "backends/hosts/record.h"
#include "core/clock.h"

#define SWEEP_S 1.0
/* A collector goes on for a while after the last look: people come back. */
#define LINGER_S 60.0
/* The second sample, without which no rate is known, comes soon. */
#define SECOND_SAMPLE_S 0.5
#define SECOND_PROCESSES_S 3.0
/* What starts the slower tiers of many hosts is spread by this much for each host. */
#define SPREAD_MEDIUM_S 0.03
#define SPREAD_SLOW_S 0.1

static const double default_interval[HOST_TIERS] = {
    [HOST_FAST] = 5, [HOST_MEDIUM] = 20, [HOST_SLOW] = 300, [HOST_DETAIL] = 10};
static const double late_after[HOST_TIERS] = {
    [HOST_FAST] = 4, [HOST_MEDIUM] = 15, [HOST_SLOW] = 60, [HOST_DETAIL] = 30};

/* What `w` says of each. */
#define LOOP                                                                                                 \
    "\n\nOne shell loop on the host answers, through SSH; nothing is installed or written there. All that "  \
    "it "                                                                                                    \
    "runs stands in backends/hosts/collector.sh of the sources."
static const char *const what_is_read[HOST_TIERS] = {
    [HOST_FAST] = "Processor, memory, pressure, load, network, disks' activity: files of /proc." LOOP,
    [HOST_MEDIUM] =
        "File systems (df), processes, listening sockets (ss), containers (docker), nginx' status." LOOP,
    [HOST_SLOW] = "Units, certificates, firewall, updates, release, the kernel's messages." LOOP,
    [HOST_DETAIL] =
        "What the views of one host show beside that, only while one is open: timers, logins, cgroups." LOOP,
};

struct host {
    struct fleet *fleet;
    const struct environment_host *definition;
    struct ssh_host *ssh;
    struct collector *collector;
    struct host_record *record;
    struct history *history;
    struct feed feeds[HOST_TIERS];
    const void *snapshot, *previous; /* the previous one is kept for those who still read it in this turn */
    bool wanted, medium_wanted, slow_wanted, sampled_twice, processes_compared;
    int detail_wanted;
    double share;     /* of an interval: when in it this host is asked */
    double wanted_at; /* wall time */
    double medium_due, slow_due, second_due, processes_due; /* monotonic; 0: nothing */
    ev_timer later;
    char release[100]; /* that was compared with the others' */
    char differs[120]; /* how its release differs from the others', or "" */
    UT_hash_handle hh;
};

struct fleet {
    struct loop *loop;
    struct ssh_pool *pool;
    void (*changed)(void *data);
    void *data;
    struct host *hosts;
    size_t count;
    struct host *by_name;
    char *script;
    uint64_t version;
    int wanted;
    double left_at; /* when the last one looked away */
    bool dying;
    ev_timer sweep;
    void (*sampled)(void *data, const char *host, double time, const float values[SERIES_COUNT]);
    void *sampled_data;
};

static void tell(struct fleet *fleet)
{
    fleet->version++;
    if (fleet->changed && !fleet->dying)
        fleet->changed(fleet->data);
}

/* ---- snapshots ---- */

/* How long it has not answered although it was asked; 0 while it answers. */
static double silence(const struct host *host, double now)
{
    const struct feed *feed = &host->feeds[HOST_FAST];
    if (!host->wanted || (feed->state != FEED_LATE && feed->state != FEED_FAILED && !feed->failures))
        return 0;
    double since = feed->answered_at > host->wanted_at ? feed->answered_at : host->wanted_at;
    return fmax(0.1, now - since);
}

static void publish(struct host *host)
{
    const struct feed *feed = &host->feeds[HOST_FAST];
    double now = clock_wall();
    struct host_standing standing = {.now = now,
                                     .silent_s = silence(host, now),
                                     .why = feed->error.why,
                                     .release_differs = host->differs[0] ? host->differs : NULL};
    snapshot_release(host->previous);
    host->previous = host->snapshot;
    host->snapshot = host_record_publish(host->record, &standing);
    tell(host->fleet);
}

/* ---- releases ---- */

static const char *release_of(const struct host *host)
{
    const struct host_snapshot *snapshot = host->snapshot;
    return snapshot ? snapshot->release : NULL;
}

static bool same_group(const struct host *a, const struct host *b)
{
    const char *x = a->definition->group, *y = b->definition->group;
    return x == y || (x && y && !strcmp(x, y));
}

/* How many of the group have this release, and when it came. */
static size_t release_count(const struct host *of, const char *release, double *since)
{
    const struct fleet *fleet = of->fleet;
    size_t count = 0;
    *since = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        const struct host *host = &fleet->hosts[i];
        const char *own = release_of(host);
        if (!own || strcmp(own, release) != 0 || !same_group(of, host))
            continue;
        const struct host_snapshot *snapshot = host->snapshot;
        if (snapshot->release_since > *since)
            *since = snapshot->release_since;
        count++;
    }
    return count;
}

/* What most of the group run; of as many the newest, by time and then by name; NULL when none is known. */
static const char *usual_release(const struct host *of)
{
    const struct fleet *fleet = of->fleet;
    const char *usual = NULL;
    size_t most = 0;
    double newest = 0, since;
    for (size_t i = 0; i < fleet->count; i++) {
        const struct host *host = &fleet->hosts[i];
        const char *own = release_of(host);
        if (!own || !same_group(of, host) || (usual && !strcmp(own, usual)))
            continue;
        size_t count = release_count(host, own, &since);
        bool later = since > newest ||
                     (since == newest && usual && value_compare(value_text(own), value_text(usual)) > 0);
        if (count > most || (count == most && later)) {
            usual = own;
            most = count;
            newest = since;
        }
    }
    return usual;
}

/* All of the group again, when a release has changed. */
static void compare_releases(struct host *changed)
{
    struct fleet *fleet = changed->fleet;
    const char *now = release_of(changed);
    if (!strcmp(now ? now : "", changed->release))
        return;
    snprintf(changed->release, sizeof changed->release, "%s", now ? now : "");
    const char *found = usual_release(changed);
    char usual[100];
    snprintf(usual, sizeof usual, "%s", found ? found : "");
    for (size_t i = 0; i < fleet->count; i++) {
        struct host *host = &fleet->hosts[i];
        const char *own = release_of(host);
        char differs[sizeof host->differs] = "";
        if (!same_group(host, changed))
            continue;
        if (own && found && strcmp(own, usual) != 0)
            snprintf(differs, sizeof differs, "others %s", usual);
        if (!strcmp(differs, host->differs))
            continue;
        memcpy(host->differs, differs, sizeof differs);
        publish(host);
    }
}

/* ---- tiers that come later ---- */

static double sooner(double a, double b)
{
    return a <= 0 || (b > 0 && b < a) ? b : a;
}

static void start_later(struct host *host)
{
    struct ev_loop *ev = loop_ev(host->fleet->loop);
    double due =
        sooner(sooner(host->medium_due, host->slow_due), sooner(host->second_due, host->processes_due));
    ev_timer_stop(ev, &host->later);
    if (due <= 0)
        return;
    ev_now_update(ev);
    ev_timer_set(&host->later, fmax(0, due - clock_monotonic()), 0);
    ev_timer_start(ev, &host->later);
}

static void want_tier(struct host *host, enum host_tier tier, bool *wanted)
{
    if (*wanted || !host->wanted)
        return;
    *wanted = true;
    feed_want(&host->feeds[tier], true);
}

static bool take_due(double *due, double now)
{
    if (*due <= 0 || *due > now)
        return false;
    *due = 0;
    return true;
}

static void on_later(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct host *host = timer->data;
    double now = clock_monotonic() + 0.001;
    (void)ev, (void)events;
    if (take_due(&host->second_due, now) && host->wanted)
        feed_refresh(&host->feeds[HOST_FAST]);
    if (take_due(&host->processes_due, now) && host->wanted)
        feed_refresh(&host->feeds[HOST_MEDIUM]);
    if (take_due(&host->medium_due, now))
        want_tier(host, HOST_MEDIUM, &host->medium_wanted);
    if (take_due(&host->slow_due, now))
        want_tier(host, HOST_SLOW, &host->slow_wanted);
    start_later(host);
}

/* The slower tiers follow the second fast sample: who waits for all of them has the rates, too. */
static void start_slower_tiers(struct host *host, bool rates_known)
{
    double now = clock_monotonic(), hosts = (double)host->fleet->count - 1;
    bool again = !rates_known && !host->sampled_twice;
    if (again && host->second_due <= 0)
        host->second_due = now + SECOND_SAMPLE_S;
    host->sampled_twice = true;
    if (!again && !host->medium_wanted && host->medium_due <= 0)
        host->medium_due = now + 0.001 + hosts * SPREAD_MEDIUM_S * host->share;
    if (!again && !host->slow_wanted && host->slow_due <= 0)
        host->slow_due = now + 0.002 + hosts * SPREAD_SLOW_S * host->share;
    start_later(host);
}

static void compare_processes_soon(struct host *host)
{
    if (host->processes_compared)
        return;
    host->processes_compared = true;
    host->processes_due = clock_monotonic() + SECOND_PROCESSES_S;
    start_later(host);
}

/* ---- answers ---- */

static void on_ready(void *data, const char *user)
{
    struct host *host = data;
    host_record_set_user(host->record, user);
}

static void remember_series(struct host *host, double time)
{
    float values[SERIES_COUNT];
    host_record_series(host->record, values);
    history_add(host->history, time, values);
    if (host->fleet->sampled)
        host->fleet->sampled(host->fleet->sampled_data, host_name(host), time, values);
}

static void on_answered(void *data, const struct host_answer *answer)
{
    struct host *host = data;
    struct error error;
    if (!host_record_take(host->record, answer, &error)) {
        collector_restart(host->collector);
        feed_failed(&host->feeds[answer->tier], &error);
        publish(host);
        return;
    }
    if (answer->tier == HOST_FAST)
        remember_series(host, answer->answered);
    feed_answered(&host->feeds[answer->tier]);
    publish(host);
    const struct host_snapshot *snapshot = host->snapshot;
    if (answer->tier == HOST_FAST)
        start_slower_tiers(host, !isnan(snapshot->cpu_percent));
    else if (answer->tier == HOST_MEDIUM)
        compare_processes_soon(host);
    else if (answer->tier == HOST_SLOW)
        compare_releases(host);
}

static void on_failed(void *data, enum host_tier tier, const struct error *error)
{
    struct host *host = data;
    feed_failed(&host->feeds[tier], error);
    if (tier == HOST_FAST && host->wanted)
        publish(host);
}

static void ask(struct feed *feed, void *data)
{
    struct host *host = data;
    enum host_tier tier = (enum host_tier)(feed - host->feeds);
    char *arguments = tier == HOST_DETAIL ? host_record_detail_request(NULL, host->record)
                      : tier == HOST_SLOW ? host_record_slow_request(NULL, host->record)
                                          : NULL;
    collector_ask(host->collector, tier, arguments);
    talloc_free(arguments);
}

static void feed_changed(void *data)
{
    struct host *host = data;
    tell(host->fleet);
}

/* ---- once a second ---- */

/* A host that does not answer gets older; one whose session came back is asked at once. */
static void look_after(struct host *host)
{
    struct feed *feed = &host->feeds[HOST_FAST];
    snapshot_release(host->previous);
    host->previous = NULL;
    if (feed->state == FEED_LATE || feed->failures)
        publish(host);
    if (feed->failures && !feed->in_flight && ssh_host_state(host->ssh) == CONNECTION_UP)
        feed_refresh(feed);
}

static void on_sweep(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct fleet *fleet = timer->data;
    bool resting = true;
    (void)events;
    for (size_t i = 0; i < fleet->count; i++) {
        struct host *host = &fleet->hosts[i];
        if (host->wanted)
            look_after(host);
        else if (!host->detail_wanted && clock_monotonic() - fleet->left_at > LINGER_S)
            resting = collector_rest(host->collector) && resting;
        else
            resting = false;
    }
    if (!fleet->wanted && resting)
        ev_timer_stop(ev, timer);
}

static void start_sweep(struct fleet *fleet)
{
    if (!ev_is_active(&fleet->sweep))
        ev_timer_again(loop_ev(fleet->loop), &fleet->sweep);
}

/* ---- interface ---- */

/* Names come from files and may be thousands: the share is spread evenly by a hash of the name. */
static double share_of(const char *name)
{
    unsigned hash = 2166136261U;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    return (hash >> 8) / (double)(1U << 24);
}

static double interval_of(const struct environment *environment, int tier)
{
    double own = tier == HOST_FAST     ? environment->ssh.fast_s
                 : tier == HOST_MEDIUM ? environment->ssh.medium_s
                 : tier == HOST_SLOW   ? environment->ssh.slow_s
                                       : 0;
    return own > 0 ? own : default_interval[tier];
}

static void host_init(struct fleet *fleet, struct host *host, const struct environment *environment,
                      const struct environment_host *definition)
{
    const struct collector_events events = {
        .ready = on_ready, .answered = on_answered, .failed = on_failed, .data = host};
    *host = (struct host){.fleet = fleet, .definition = definition, .share = share_of(definition->name)};
    host->ssh =
        ssh_pool_host(fleet->pool, definition->name, definition->ssh ? definition->ssh : definition->name);
    host->collector = collector_new(fleet, fleet->loop, host->ssh, &environment->ssh, fleet->script, events);
    host->record = host_record_new(fleet, definition->name, definition->group);
    const char *status = environment->ssh.nginx_status;
    host_record_set_status_guessed(host->record, status && !strcmp(status, ENVIRONMENT_NGINX_STATUS));
    host->history = history_new(fleet);
    for (int i = 0; i < HOST_TIERS; i++) {
        double interval = interval_of(environment, i);
        feed_init(&host->feeds[i], fleet->loop, host_tier_name((enum host_tier)i), interval, late_after[i],
                  ask, feed_changed, host);
        feed_set_phase(&host->feeds[i], host->share * interval);
        host->feeds[i].query = what_is_read[i];
    }
    ev_timer_init(&host->later, on_later, 0, 0);
    host->later.data = host;
    HASH_ADD_KEYPTR(hh, fleet->by_name, definition->name, strlen(definition->name), host);
    struct host_standing standing = {.now = clock_wall()};
    host->snapshot = host_record_publish(host->record, &standing);
}

struct fleet *fleet_new(struct loop *loop, const struct environment *environment, struct ssh_pool *pool,
                        void (*changed)(void *data), void *data)
{
    struct fleet *fleet = talloc_zero(NULL, struct fleet);
    if (!fleet)
        abort();
    fleet->loop = loop;
    fleet->pool = pool;
    fleet->changed = changed;
    fleet->data = data;
    fleet->script = collector_script(fleet);
    fleet->hosts = talloc_array(fleet, struct host, environment->host_count + 1);
    if (!fleet->hosts)
        abort();
    ev_init(&fleet->sweep, on_sweep);
    fleet->sweep.repeat = SWEEP_S;
    fleet->sweep.data = fleet;
    for (size_t i = 0; i < environment->host_count; i++) {
        fleet->count = i + 1;
        host_init(fleet, &fleet->hosts[i], environment, &environment->hosts[i]);
    }
    return fleet;
}

void fleet_free(struct fleet *fleet)
{
    if (!fleet)
        return;
    struct ev_loop *ev = loop_ev(fleet->loop);
    fleet->dying = true;
    ev_timer_stop(ev, &fleet->sweep);
    for (size_t i = 0; i < fleet->count; i++) {
        struct host *host = &fleet->hosts[i];
        ev_timer_stop(ev, &host->later);
        if (host->wanted)
            ssh_host_want(host->ssh, false);
        talloc_free(host->collector);
        for (int t = 0; t < HOST_TIERS; t++)
            feed_stop(&host->feeds[t]);
        snapshot_release(host->snapshot);
        snapshot_release(host->previous);
    }
    HASH_CLEAR(hh, fleet->by_name);
    talloc_free(fleet);
}

size_t fleet_count(const struct fleet *fleet)
{
    return fleet->count;
}

struct host *fleet_host(const struct fleet *fleet, size_t index)
{
    return index < fleet->count ? &fleet->hosts[index] : NULL;
}

struct host *fleet_find(const struct fleet *fleet, const char *name)
{
    struct host *host = NULL;
    HASH_FIND_STR(fleet->by_name, name, host);
    return host;
}

uint64_t fleet_version(const struct fleet *fleet)
{
    return fleet->version;
}

static void host_want(struct host *host, bool wanted)
{
    if (host->wanted == wanted)
        return;
    host->wanted = wanted;
    ssh_host_want(host->ssh, wanted);
    if (wanted) {
        host->wanted_at = clock_wall();
        feed_want(&host->feeds[HOST_FAST], true);
        return;
    }
    feed_want(&host->feeds[HOST_FAST], false);
    if (host->medium_wanted)
        feed_want(&host->feeds[HOST_MEDIUM], false);
    if (host->slow_wanted)
        feed_want(&host->feeds[HOST_SLOW], false);
    host->medium_wanted = host->slow_wanted = false;
    host->medium_due = host->slow_due = host->second_due = host->processes_due = 0;
    host->sampled_twice = host->processes_compared = false;
    start_later(host);
}

void fleet_want(struct fleet *fleet, bool wanted)
{
    if (!wanted && !fleet->wanted)
        return;
    fleet->wanted += wanted ? 1 : -1;
    if (!fleet->wanted)
        fleet->left_at = clock_monotonic();
    for (size_t i = 0; i < fleet->count; i++)
        host_want(&fleet->hosts[i], fleet->wanted > 0);
    start_sweep(fleet);
}

void host_want_detail(struct host *host, bool wanted)
{
    if (!wanted && !host->detail_wanted)
        return;
    host->detail_wanted += wanted ? 1 : -1;
    feed_want(&host->feeds[HOST_DETAIL], wanted);
    if (!host->detail_wanted) {
        host_record_drop_detail(host->record);
        publish(host);
    }
    start_sweep(host->fleet);
}

const char *host_name(const struct host *host)
{
    return host->definition->name;
}

const char *host_group(const struct host *host)
{
    return host->definition->group;
}

struct ssh_host *host_ssh(const struct host *host)
{
    return host->ssh;
}

struct feed *host_feed(struct host *host, enum host_tier tier)
{
    return &host->feeds[tier];
}

const struct host_snapshot *host_latest(const struct host *host)
{
    const struct host_snapshot *snapshot = host->snapshot;
    return snapshot && (snapshot->fast_at > 0 || snapshot->problem_count) ? snapshot : NULL;
}

size_t host_history(const struct host *host, const void *context, const enum host_series *series,
                    size_t series_count, double seconds, double **times, float **values)
{
    return history_read(host->history, context, series, series_count, clock_wall() - seconds, times, values);
}

void fleet_set_sampled(struct fleet *fleet,
                       void (*sampled)(void *data, const char *host, double time,
                                       const float values[SERIES_COUNT]),
                       void *data)
{
    fleet->sampled = sampled;
    fleet->sampled_data = data;
}
