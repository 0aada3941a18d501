/* The fleet over real SSH: collectors start, answer, are lost and come back; figures are those of this
 * machine. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/fleet.h"
#include "core/clock.h"
#include "tests/harness/ssh_caller.h"

enum { MOST = 3, PATIENCE_S = 30 };

struct stage {
    struct ssh_caller *caller;
    struct sshd *servers[MOST];
    struct environment_host hosts[MOST];
    struct environment environment;
    struct fleet *fleet;
    size_t count;
    double since; /* answers after this time count */
    int changes;
};

static void changed(void *data)
{
    ((struct stage *)data)->changes++;
}

static void stage_open(struct stage *s, void **state, size_t count, const char *bashrc)
{
    static const char *const names[MOST] = {"web1", "web2", "db1"};
    memset(s, 0, sizeof *s);
    s->caller = *state;
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        s->servers[i] = sshd_start(s->caller->site, names[i], (struct sshd_options){.bashrc = bashrc});
        s->hosts[i] =
            (struct environment_host){.name = names[i], .group = i < 2 ? "web" : "db", .ssh = names[i]};
    }
    s->environment = (struct environment){.name = "test",
                                          .hosts = s->hosts,
                                          .host_count = count,
                                          .ssh = {.fast_s = 0.4, .medium_s = 1, .slow_s = 1.5}};
    /* The caller's own way to a host makes the pool. */
    ssh_caller_host(s->caller, names[0]);
}

static void fleet_open(struct stage *s)
{
    s->fleet = fleet_new(s->caller->loop, &s->environment, s->caller->pool, changed, s);
    fleet_want(s->fleet, true);
}

static void stage_close(struct stage *s)
{
    fleet_free(s->fleet);
}

static const struct host_snapshot *latest(struct stage *s, size_t index)
{
    return host_latest(fleet_host(s->fleet, index));
}

static bool all_tiers(void *data)
{
    struct stage *s = data;
    for (size_t i = 0; i < s->count; i++) {
        const struct host_snapshot *h = latest(s, i);
        if (!h || h->fast_at <= s->since || h->medium_at <= s->since || h->slow_at <= s->since ||
            isnan(h->cpu_percent))
            return false;
    }
    return true;
}

static void reads_this_machine(void **state)
{
    struct stage s;
    stage_open(&s, state, 2, "echo a banner; echo noise >&2\n");
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, all_tiers, &s));
    for (size_t i = 0; i < 2; i++) {
        const struct host_snapshot *h = latest(&s, i);
        assert_string_equal(h->host, s.hosts[i].name);
        assert_int_equal(h->cores, sysconf(_SC_NPROCESSORS_ONLN));
        assert_true(fabs(h->memory_bytes - (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE)) <
                    1 << 28);
        assert_true(h->available_bytes > 0 && h->available_bytes <= h->memory_bytes);
        assert_true(h->cpu_percent >= 0 && h->cpu_percent <= 100);
        assert_true(h->uptime_s > 0 && fabs(h->clock_offset_s) < 1);
        assert_true(h->mount_count > 0 && h->worst_mount);
        assert_true(h->process_count > 0 && h->process_count <= 40);
        assert_non_null(h->os);
        char name[256];
        gethostname(name, sizeof name);
        assert_string_equal(h->hostname, name);
        assert_true(h->listener_count > 0);
    }
    assert_ptr_equal(fleet_find(s.fleet, "web2"), fleet_host(s.fleet, 1));
    assert_null(fleet_find(s.fleet, "web9"));
    stage_close(&s);
}

static bool detail_there(void *data)
{
    const struct host_snapshot *h = latest(data, 0);
    return h && h->detail_at > 0;
}

static void details_while_wanted(void **state)
{
    struct stage s;
    stage_open(&s, state, 1, NULL);
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, all_tiers, &s));
    host_want_detail(fleet_host(s.fleet, 0), true);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, detail_there, &s));
    const struct host_snapshot *h = latest(&s, 0);
    bool arguments = false;
    for (size_t i = 0; i < h->process_count; i++)
        arguments = arguments || h->process[i].arguments;
    assert_true(arguments);
    host_want_detail(fleet_host(s.fleet, 0), false);
    assert_true(latest(&s, 0)->detail_at == 0);
    stage_close(&s);
}

static bool is_silent(void *data)
{
    const struct host_snapshot *h = latest(data, 0);
    return h && h->state == HOST_UNKNOWN && h->fast_at > 0 && h->problem_count &&
           strstr(h->problems[0].text, "no answer for");
}

static bool answers(void *data)
{
    struct stage *s = data;
    const struct host_snapshot *h = latest(s, 0);
    return h && h->state != HOST_UNKNOWN && h->fast_at > s->since;
}

static void a_hung_host_ages_and_comes_back(void **state)
{
    struct stage s;
    stage_open(&s, state, 1, NULL);
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, answers, &s));
    sshd_pause(s.servers[0]);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, is_silent, &s));
    /* The last figures stay. */
    assert_true(latest(&s, 0)->memory_bytes > 0);
    enum feed_state feed = host_feed(fleet_host(s.fleet, 0), HOST_FAST)->state;
    assert_true(feed == FEED_LATE || feed == FEED_FAILED);
    sshd_resume(s.servers[0]);
    s.since = clock_wall();
    assert_true(loop_until(s.caller->loop, PATIENCE_S, answers, &s));
    stage_close(&s);
}

static void a_killed_session_comes_back(void **state)
{
    struct stage s;
    stage_open(&s, state, 1, NULL);
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, all_tiers, &s));
    sshd_kill_sessions(s.servers[0]);
    s.since = clock_wall();
    assert_true(loop_until(s.caller->loop, PATIENCE_S, answers, &s));
    stage_close(&s);
}

static bool garbage_told(void *data)
{
    struct stage *s = data;
    struct feed *feed = host_feed(fleet_host(s->fleet, 0), HOST_FAST);
    return feed->state == FEED_FAILED && strstr(feed->error.why, "this account is closed");
}

static void a_shell_that_is_none_is_told(void **state)
{
    struct stage s;
    stage_open(&s, state, 1, "echo this account is closed; exit 7\n");
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, garbage_told, &s));
    const struct host_snapshot *h = latest(&s, 0);
    assert_int_equal(h->state, HOST_UNKNOWN);
    assert_true(strstr(h->problems[0].text, "this account is closed") != NULL);
    stage_close(&s);
}

static bool flood_told(void *data)
{
    struct stage *s = data;
    struct feed *feed = host_feed(fleet_host(s->fleet, 0), HOST_FAST);
    return feed->state == FEED_FAILED && strstr(feed->error.why, "kB came") &&
           strstr(feed->error.why, "flood");
}

static void a_flood_is_cut_off(void **state)
{
    struct stage s;
    stage_open(&s, state, 1, "yes flood\n");
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, flood_told, &s));
    stage_close(&s);
}

static bool has_problem(const struct host_snapshot *h, const char *text)
{
    for (size_t i = 0; h && i < h->problem_count; i++)
        if (strstr(h->problems[i].text, text))
            return true;
    return false;
}

static bool release_told(void *data)
{
    return has_problem(latest(data, 0), "release r480, others r481");
}

static void releases_that_differ_stand_out(void **state)
{
    struct stage s;
    stage_open(&s, state, 2, NULL);
    static const char *const releases[] = {"r480\n", "r481\n"};
    for (size_t i = 0; i < 2; i++) {
        char *path = talloc_asprintf(NULL, "%s/RELEASE", sshd_home(s.servers[i]));
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(releases[i], file);
        fclose(file);
        talloc_free(path);
    }
    s.environment.ssh.release = "RELEASE";
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, release_told, &s));
    assert_false(has_problem(latest(&s, 1), "release"));
    stage_close(&s);
}

static bool many_samples(void *data)
{
    struct stage *s = data;
    return latest(s, 0) && fleet_version(s->fleet) > 12;
}

static void history_is_kept(void **state)
{
    struct stage s;
    double *times;
    float *values;
    const enum host_series series[] = {SERIES_MEMORY, SERIES_LOAD};
    stage_open(&s, state, 1, NULL);
    fleet_open(&s);
    assert_true(loop_until(s.caller->loop, PATIENCE_S, many_samples, &s));
    void *context = talloc_new(NULL);
    size_t count = host_history(fleet_host(s.fleet, 0), context, series, 2, 60, &times, &values);
    assert_true(count >= 1);
    assert_true(values[0] > 0 && values[0] <= 100 && values[1] >= 0);
    assert_true(fabs(times[0] - clock_wall()) < 60);
    talloc_free(context);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ssh_on_both(reads_this_machine),
        ssh_on(details_while_wanted, libssh2),
        ssh_on(a_hung_host_ages_and_comes_back, libssh2),
        ssh_on_both(a_killed_session_comes_back),
        ssh_on_both(a_shell_that_is_none_is_told),
        ssh_on_both(a_flood_is_cut_off),
        ssh_on(releases_that_differ_stand_out, libssh2),
        ssh_on(history_is_kept, libssh2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
