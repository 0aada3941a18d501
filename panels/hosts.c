/* The Hosts panel: the fleet on one screen, one host in full, and what can be done there. */
#include "panels/hosts.h"

#include <math.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/hosts/probe.h"
#include "backends/ssh/host_key.h"
#include "core/clock.h"
#include "panels/console.h"
#include "panels/host.h"
#include "panels/hosts_acts.h"
#include "panels/hosts_disk.h"
#include "panels/hosts_logs.h"

static int state_free(struct hosts_state *state)
{
    probes_free(state->probes);
    return 0;
}

struct hosts_state *hosts_state(struct app *app)
{
    if (!app->hosts_state) {
        app->hosts_state = talloc_zero(app, struct hosts_state);
        talloc_set_destructor(app->hosts_state, state_free);
    }
    return app->hosts_state;
}

/* ---- the host in focus ---- */

const struct host_snapshot *host_focused(struct app *app, struct row_list *list)
{
    const struct host_snapshot *snapshot = host_latest(hosts_state(app)->focus);
    if (snapshot)
        row_list_hold(list, snapshot);
    return snapshot;
}

void host_view_want(struct app *app, bool wanted)
{
    fleet_want(app->fleet, wanted);
    host_want_detail(hosts_state(app)->focus, wanted);
}

void host_view_sources(struct app *app, struct source_list *list)
{
    static const enum host_tier tiers[] = {HOST_FAST, HOST_MEDIUM, HOST_SLOW, HOST_DETAIL};
    hosts_add_sources(list, hosts_state(app)->focus, tiers, HOST_TIERS);
}

uint64_t host_view_version(struct app *app)
{
    const struct host_snapshot *snapshot = host_latest(hosts_state(app)->focus);
    return snapshot ? snapshot->base.generation : 0;
}

void hosts_open_host(struct app *app, const struct table_row *row)
{
    struct host *host = fleet_row_host(row);
    if (host)
        hosts_show(app, host);
}

void hosts_show(struct app *app, struct host *host)
{
    hosts_state(app)->focus = host;
    console_push_panel(app->console, &panel_host);
}

static const char *subject(struct app *app)
{
    return hosts_state(app)->focus ? host_name(hosts_state(app)->focus) : "no host";
}

/* The host that an action is about: the one in focus, or that of the row. */
static struct host *target(struct app *app, struct error *error)
{
    if (console_panel(app->console) == &panel_host)
        return hosts_state(app)->focus;
    const struct table_row *row = console_selected(app->console);
    bool probes = console_view(app->console) == &hosts_outside;
    struct host *host = row && !probes ? fleet_row_host(row) : NULL;
    if (!host)
        error_set(error, ERROR_USAGE, NULL, "which host?", "Select a host's row.", "this row is no host");
    return host;
}

/* The hosts that an action is about: the marked ones of the fleet, else the one. Talloc'd under context. */
static struct host **targets(struct app *app, const void *context, size_t *count, struct error *error)
{
    const struct view *view = console_view(app->console);
    size_t marked = 0;
    const struct table_row **rows = NULL;
    *count = 0;
    if (view == &hosts_fleet || view == &hosts_groups)
        rows = console_marked(app->console, context, &marked);
    struct host **hosts = talloc_array(context, struct host *, marked + 1);
    for (size_t i = 0; i < marked; i++)
        if (fleet_row_host(rows[i]))
            hosts[(*count)++] = fleet_row_host(rows[i]);
    if (!*count && (hosts[0] = target(app, error)))
        *count = 1;
    return hosts;
}

/* ---- acts ---- */

/* A shell in the terminal, with the options that the console itself uses. */
static bool run_shell(struct app *app, struct error *error)
{
    struct host *host = target(app, error);
    if (!host)
        return false;
    const char **argv = ssh_host_argv(NULL, host_ssh(host), NULL);
    console_run_program(app->console, argv, NULL);
    talloc_free(argv);
    return true;
}

static bool trust(struct app *app, struct error *error)
{
    struct host *host = target(app, error);
    struct change *change = host ? ssh_host_add_key(host_ssh(host), error) : NULL;
    if (!change)
        return false;
    console_change(app->console, change);
    return true;
}

static bool retry(struct app *app, struct error *error)
{
    struct host *host = target(app, error);
    if (!host)
        return false;
    ssh_host_retry(host_ssh(host));
    console_say(app->console, SEVERITY_NONE, "connecting to %s", host_name(host));
    return true;
}

/* When the selected event happened; 0: no event is selected. */
static double event_time(struct app *app)
{
    const struct table_row *row = console_selected(app->console);
    if (!row || console_panel(app->console) != &panel_host || console_view(app->console) != &host_events)
        return 0;
    struct value time = host_events.columns[0].value(row->data);
    return time.kind == VALUE_REAL ? time.real : 0;
}

/* The logs of the host in focus, of the marked hosts, or of the row's; around an event when one is selected.
 */
static bool open_logs(struct app *app, bool latency, struct error *error)
{
    void *context = talloc_new(NULL);
    size_t count;
    struct host **hosts = targets(app, context, &count, error);
    if (count && latency)
        hosts_logs_open_latency(app, hosts, count);
    else if (count)
        hosts_logs_open(app, hosts, count, NULL, event_time(app));
    talloc_free(context);
    return count > 0;
}

/* What fills the selected file system, or the fullest one of the host. */
static bool open_disk(struct app *app, struct error *error)
{
    struct host *host = target(app, error);
    if (!host)
        return false;
    const struct host_snapshot *now = host_latest(host);
    const struct host_mount *mount = now ? now->worst_mount : NULL;
    const struct table_row *row = console_selected(app->console);
    if (console_view(app->console) == &host_mounts && row)
        mount = row->data;
    if (!mount)
        return error_set(error, ERROR_MISSING, host_name(host), "no file system is known yet", NULL,
                         "the host has not answered");
    hosts_disk_open(app, host, mount->mount);
    return true;
}

/* What can be done with the selected thing of one host, or with the host, or with the marked ones. */
static bool choose_act(struct app *app, struct error *error)
{
    void *context = talloc_new(NULL);
    struct hosts_target about = {.kind = TARGET_HOST, .started = NAN};
    size_t count;
    struct host **hosts = targets(app, context, &count, error);
    if (count && console_panel(app->console) == &panel_host)
        about = hosts_row_target(context, console_view(app->console), host_latest(hosts[0]),
                                 console_selected(app->console));
    if (count)
        hosts_acts_choose(app, hosts, count, &about);
    talloc_free(context);
    return count > 0;
}

static bool run_on_hosts(struct app *app, struct error *error)
{
    void *context = talloc_new(NULL);
    size_t count;
    struct host **hosts = targets(app, context, &count, error);
    if (count)
        hosts_acts_run(app, hosts, count);
    talloc_free(context);
    return count > 0;
}

static void view_chosen(struct app *app, void *data, size_t choice)
{
    (void)data;
    console_show_view(app->console, console_panel(app->console)->views[choice]->id);
}

static void choose_view(struct app *app)
{
    const struct panel_ops *panel = console_panel(app->console);
    struct choice_line *lines = talloc_zero_array(NULL, struct choice_line, panel->view_count);
    for (size_t i = 0; i < panel->view_count; i++)
        lines[i].text = talloc_asprintf(lines, "%-13s %s", panel->views[i]->title, panel->views[i]->summary);
    console_choose(app->console, "Which view?", lines, panel->view_count, view_chosen, NULL);
    talloc_free(lines);
}

static bool act(struct app *app, const char *action, struct error *error)
{
    const char *name = strchr(action, '.') + 1;
    if (strcmp(name, "shell") == 0)
        return run_shell(app, error);
    if (strcmp(action, "logs.latency") == 0)
        return open_logs(app, true, error);
    if (strcmp(name, "logs") == 0)
        return open_logs(app, false, error);
    if (strcmp(action, "hosts.disk") == 0)
        return open_disk(app, error);
    if (strcmp(name, "act") == 0)
        return choose_act(app, error);
    if (strcmp(name, "run") == 0)
        return run_on_hosts(app, error);
    if (strcmp(name, "trust") == 0)
        return trust(app, error);
    if (strcmp(name, "retry") == 0)
        return retry(app, error);
    if (strcmp(name, "range") == 0)
        host_charts_range(app);
    else if (strcmp(name, "view") == 0)
        choose_view(app);
    else if (panel_view(console_panel(app->console), name))
        console_show_view(app->console, name);
    else
        return error_set(error, ERROR_USAGE, NULL, action, NULL, "not possible here");
    return true;
}

static const struct action actions[] = {
    {"hosts.fleet", "fleet", "fleet", "a row a host, those that need somebody first", HAZARD_LOOK, 0},
    {"hosts.groups", "groups", "groups", "the same by group, groups fold", HAZARD_LOOK, 0},
    {"hosts.outside", "outside", "outside",
     "can a user log in now: the URLs, asked from here and from a host", HAZARD_LOOK, 0},
    {"hosts.shell", "shell", "shell", "a shell on the host, with the system's ssh", HAZARD_LOOK, NEED_ROW},
    {"hosts.logs", "logs", "logs", "the logs of this host or of the marked ones, merged by time", HAZARD_LOOK,
     0},
    {"hosts.disk", "disk", "disk", "which directories fill it, what grows, what is safe to remove",
     HAZARD_LOOK, NEED_ROW},
    {"hosts.trust", "trust", NULL, "add the key of a host that is not known yet, after a dialog",
     HAZARD_CHANGE, NEED_ROW},
    {"hosts.act", "act", "act …",
     "restart, stop, end, renew, ban, reboot, run: what can be done with the selected thing or the marked "
     "hosts",
     HAZARD_DESTROY, NEED_ROW},
    {"hosts.run", "run", NULL, "a command on this host or on the marked ones, after a dialog", HAZARD_DESTROY,
     NEED_ROW},
    {"disk.act", NULL, "act …", "remove what is safe to remove; rotate or truncate a large log",
     HAZARD_DESTROY, NEED_ROW},
    {"hosts.retry", "retry", NULL, "connect to the host now", HAZARD_LOOK, NEED_ROW},
};

static const struct view *const views[] = {&hosts_fleet, &hosts_groups, &hosts_outside};

const struct panel_ops panel_hosts = {
    .id = "hosts",
    .title = "Hosts",
    .summary = "the servers over SSH: what is wrong, in the order that people look for it",
    .number = 6,
    .views = views,
    .view_count = sizeof views / sizeof *views,
    .actions = actions,
    .action_count = sizeof actions / sizeof *actions,
    .act = act,
};

static const struct action host_actions[] = {
    {"host.view", "view", "views …", "another view of this host", HAZARD_LOOK, 0},
    {"host.overview", "overview", NULL, "problems, the last hour, each resource", HAZARD_LOOK, 0},
    {"host.range", "range", NULL, "charts of the last hour, of 6 hours, of 48 hours", HAZARD_LOOK, 0},
    {"host.processes", "processes", "processes", "the processes that weigh most", HAZARD_LOOK, 0},
    {"host.mounts", "mounts", "space", "file systems and when they are full", HAZARD_LOOK, 0},
    {"host.units", "units", "units", "units of systemd", HAZARD_LOOK, 0},
    {"host.containers", "containers", "containers", "containers of docker", HAZARD_LOOK, 0},
    {"host.services", "services", "services", "parts of the platform that run here", HAZARD_LOOK, 0},
    {"host.events", "events", "events", "what happened here", HAZARD_LOOK, 0},
    {"host.sockets", "sockets", NULL, "who listens, and how many wait", HAZARD_LOOK, 0},
    {"host.disks", "disks", NULL, "how busy the disks are", HAZARD_LOOK, 0},
    {"host.network", "network", NULL, "interfaces", HAZARD_LOOK, 0},
    {"host.cores", "cores", NULL, "each processor by itself", HAZARD_LOOK, 0},
    {"host.schedule", "schedule", NULL, "timers and cron", HAZARD_LOOK, 0},
    {"host.certificates", "certificates", NULL, "certificates of the web server", HAZARD_LOOK, 0},
};

static const struct view *const host_views[] = {
    &host_overview, &host_processes, &host_mounts, &host_disks,        &host_network,
    &host_cores,    &host_sockets,   &host_units,  &host_services,     &host_containers,
    &host_cgroups,  &host_schedule,  &host_events, &host_certificates,
};

const struct panel_ops panel_host = {
    .id = "host",
    .title = "Host",
    .summary = "one host in full",
    .subject = subject,
    .parent = "hosts",
    .views = host_views,
    .view_count = sizeof host_views / sizeof *host_views,
    .actions = host_actions,
    .action_count = sizeof host_actions / sizeof *host_actions,
    .act = act,
};

/* ---- for the header ---- */

const char *hosts_here(struct app *app)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1))
        return NULL;
    double booted = clock_wall() - clock_boottime();
    for (size_t i = 0; i < fleet_count(app->fleet); i++) {
        struct host *host = fleet_host(app->fleet, i);
        const struct host_snapshot *snapshot = host_latest(host);
        /* Names may be alike; two machines that were also started in the same second are one. */
        if (snapshot && snapshot->hostname && strcmp(snapshot->hostname, name) == 0 &&
            fabs(snapshot->booted_at - booted) < 3)
            return host_name(host);
    }
    return NULL;
}
