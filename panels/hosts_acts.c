#include "panels/hosts_acts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/console.h"
#include "panels/hosts.h"
#include "panels/hosts_disk.h"
#include "panels/hosts_place.h"
#include "tui/dialog.h"

enum { CHOICES_MAX = 32, BAN_WAYS_MAX = 8 };

enum act {
    ACT_UNIT,
    ACT_CONTAINER,
    ACT_END,
    ACT_KILL,
    ACT_RENEW,
    ACT_ROTATE,
    ACT_TRUNCATE,
    ACT_BAN,
    ACT_ASK_NAME,
    ACT_RUN,
    ACT_RUNBOOK,
    ACT_REBOOT,
    ACT_DISK,
};

/* One line of the choice and what it means. */
struct option {
    enum act act;
    enum host_verb verb;
    const char *name;            /* of the unit, the path, the address */
    enum hosts_target_kind kind; /* of what is asked for */
    enum host_ban by;
    const char *jail;
    bool ban;
    const struct environment_runbook *runbook;
};

/* What F9 was pressed on, frozen then: names, not pointers into snapshots. */
struct choice {
    char **hosts;
    size_t host_count;
    struct hosts_target target;
    struct option options[CHOICES_MAX + 1]; /* the last one takes what does not fit */
    struct choice_line lines[CHOICES_MAX];
    size_t count;
};

static struct host *first_host(struct app *app, const struct choice *choice, struct error *error)
{
    struct host *host = fleet_find(app->fleet, choice->hosts[0]);
    if (!host)
        error_set(error, ERROR_GONE, choice->hosts[0], "nothing can be done there", NULL,
                  "the host is no longer in the environment");
    return host;
}

static struct host_place *places_of(struct app *app, const struct choice *choice, size_t *count)
{
    struct host_place *places = talloc_zero_array(choice, struct host_place, choice->host_count);
    *count = 0;
    for (size_t i = 0; i < choice->host_count; i++) {
        struct host *host = fleet_find(app->fleet, choice->hosts[i]);
        if (host)
            places[(*count)++] = hosts_place(app, places, host);
    }
    return places;
}

/* The change's dialog, or why there is none. */
static void open_change(struct app *app, struct change *change, const struct error *error)
{
    if (change)
        console_change(app->console, change);
    else
        console_say_error(app->console, error);
}

/* ---- a process: asked who it is before anything is offered ---- */

struct lookup {
    struct app *app;
    struct ssh_run *run;
    struct host_place place;
    struct hosts_target target;
    double uptime_s; /* of the host when it was asked; NAN: unknown */
    double asked;    /* monotonic */
    bool hard;
    unsigned console_place;
};

static int lookup_destroy(struct lookup *lookup)
{
    if (lookup->run)
        ssh_run_cancel(lookup->run);
    return 0;
}

/* The start that the table showed and the one of /proc are the same, as far as the table's is exact: ps
 * answers late where there is much to do. In some containers the uptime is not that of the kernel: a start
 * that lies ahead cannot be compared. */
static bool is_the_same(const struct lookup *lookup, const struct host_victim *victim)
{
    const double ticks_per_s = 100, tolerance_s = 30;
    double start = (double)victim->start / ticks_per_s;
    double now = lookup->uptime_s + clock_monotonic() - lookup->asked;
    return isnan(lookup->target.started) || isnan(now) || start > now + tolerance_s ||
           fabs(start - lookup->target.started) < tolerance_s;
}

static void looked_up(void *data, const struct ssh_result *result)
{
    struct lookup *lookup = data;
    struct app *app = lookup->app;
    struct host_victim victim;
    struct error error = {0};
    struct change *change = NULL;
    lookup->run = NULL;
    if (console_place(app->console) != lookup->console_place) {
        talloc_free(lookup);
        return;
    }
    if (!ssh_result_ok(result, lookup->place.host, "nothing was ended", &error) &&
        result->end.ending != SSH_EXITED)
        ; /* the error says it */
    else if (!host_victim_read(lookup, result->output ? result->output : "", &victim) ||
             !is_the_same(lookup, &victim))
        error_set(&error, ERROR_GONE, lookup->place.host, "nothing was ended", NULL,
                  "process %d is no longer there, or another one by now", lookup->target.pid);
    else
        change = host_change_kill(&lookup->place, &victim, lookup->hard, &error);
    open_change(app, change, &error);
    talloc_free(lookup);
}

static void look_up(struct app *app, struct host *host, const struct choice *choice, bool hard)
{
    const struct host_snapshot *snapshot = host_latest(host);
    /* Goes with the panel's state, before the connections do: nobody is told of it then. */
    struct lookup *lookup = talloc_zero(hosts_state(app), struct lookup);
    lookup->app = app;
    lookup->place = hosts_place(app, lookup, host);
    lookup->target = choice->target;
    lookup->target.name = NULL;
    lookup->asked = clock_monotonic();
    lookup->uptime_s = snapshot ? snapshot->uptime_s + clock_wall() - snapshot->fast_at : NAN;
    lookup->hard = hard;
    lookup->console_place = console_place(app->console);
    talloc_set_destructor(lookup, lookup_destroy);
    console_say(app->console, SEVERITY_NONE, "looking at process %d on %s …", choice->target.pid,
                host_name(host));
    lookup->run = ssh_run(host_ssh(host), host_victim_line(lookup, choice->target.pid), NULL,
                          (struct ssh_run_limits){.deadline_s = 10, .bytes = 65536}, looked_up, lookup);
}

/* ---- a command ---- */

/* A line that takes hosts down must leave their groups a healthy one, as a reboot must. */
static bool may_run(struct app *app, const struct choice *choice, const char *command, struct error *error)
{
    struct host **hosts = talloc_zero_array(choice, struct host *, choice->host_count);
    size_t count = 0;
    for (size_t i = 0; i < choice->host_count; i++)
        if ((hosts[count] = fleet_find(app->fleet, choice->hosts[i])))
            count++;
    bool may = !host_command_takes_down(command) || hosts_may_go_down(app, hosts, count, error);
    talloc_free(hosts);
    if (!may)
        snprintf(
            error->todo, sizeof error->todo,
            "Bring another one up first; F9 reboot, or signalbox run --force --reason, goes past the rule.");
    return may;
}

struct run_dialog {
    struct choice *choice;
    int command, batch, deadline;
};

/* Hosts that do not answer stop the run: better known before. */
static void name_silent(struct app *app, const struct choice *choice, struct change *change)
{
    for (size_t i = 0; change && i < choice->host_count; i++) {
        const struct host *host = fleet_find(app->fleet, choice->hosts[i]);
        if (host && ssh_host_state(host_ssh(host)) == CONNECTION_DOWN)
            change->effect = talloc_asprintf(change, "%s\n! %s does not answer now: it would stop there.",
                                             change->effect, choice->hosts[i]);
    }
}

static void run_accepted(struct app *app, struct dialog *dialog, void *data)
{
    const struct run_dialog *self = data;
    struct error error = {0};
    size_t count;
    struct host_place *places = places_of(app, self->choice, &count);
    struct host_run run = {.command = dialog_value(dialog, self->command)};
    const char *batch = self->batch >= 0 ? dialog_value(dialog, self->batch) : "1";
    char *end;
    run.batch = strtoul(batch, &end, 10);
    if (!run.batch || *end) {
        console_say(app->console, SEVERITY_WARNING, "\"%s\" is not a number of hosts", batch);
        return;
    }
    if (!parse_duration(dialog_value(dialog, self->deadline), &run.deadline_s) || run.deadline_s <= 0) {
        console_say(app->console, SEVERITY_WARNING, "the time is not one, such as 5min");
        return;
    }
    bool may = may_run(app, self->choice, run.command, &error);
    struct change *change = may ? host_change_run(places, count, &run, &error) : NULL;
    name_silent(app, self->choice, change);
    open_change(app, change, &error);
}

/* "web1, web2, web3". */
static char *host_list(const struct choice *choice)
{
    char *text = talloc_strdup(choice, "");
    for (size_t i = 0; i < choice->host_count; i++)
        text = talloc_asprintf_append_buffer(text, "%s%s", i ? ", " : "", choice->hosts[i]);
    return text;
}

static void ask_command(struct app *app, struct choice *choice)
{
    struct run_dialog *self = talloc_zero(NULL, struct run_dialog);
    self->choice = talloc_steal(self, choice);
    struct dialog *dialog = console_dialog_new(
        app->console, choice->host_count == 1 ? "Run a command on a host" : "Run a command on several hosts",
        "go on", run_accepted, self);
    dialog_add_text(dialog, choice->host_count == 1 ? "Host" : "Hosts", STYLE_NORMAL, host_list(choice));
    self->command = dialog_add_field(dialog, &(struct dialog_field){.label = "Command",
                                                                    .hint = "as the login, through its shell",
                                                                    .required = true});
    self->batch = -1;
    if (choice->host_count > 1)
        self->batch = dialog_add_field(
            dialog,
            &(struct dialog_field){.label = "Batch", .text = "1", .hint = "hosts at once", .required = true});
    self->deadline = dialog_add_field(
        dialog, &(struct dialog_field){
                    .label = "At most", .text = "5min", .hint = "for each host", .required = true});
    dialog_add_text(dialog, "Then", STYLE_DIM,
                    "a preview and the confirmation; the first failure stops the rest");
    console_dialog_open(app->console);
}

/* What goes on in another dialog keeps a copy of its own: the choice is freed behind this. */
static struct choice *copy_hosts(const struct choice *from)
{
    struct choice *choice = talloc_zero(NULL, struct choice);
    choice->hosts = talloc_array(choice, char *, from->host_count);
    choice->host_count = from->host_count;
    for (size_t i = 0; i < from->host_count; i++)
        choice->hosts[i] = talloc_strdup(choice, from->hosts[i]);
    choice->target.kind = TARGET_HOST;
    choice->target.started = NAN;
    return choice;
}

/* ---- reboot ---- */

struct force_dialog {
    struct choice *choice;
    int force;
};

static void force_accepted(struct app *app, struct dialog *dialog, void *data)
{
    struct force_dialog *self = data;
    struct error error = {0};
    if (dialog_chosen(dialog) != self->force)
        return;
    struct host *host = first_host(app, self->choice, &error);
    if (!host) {
        console_say_error(app->console, &error);
        return;
    }
    struct host_place place = hosts_place(app, self->choice, host);
    struct host_reboot *rule = hosts_reboot_rule(app, self->choice, host);
    rule->forced = true;
    open_change(app, host_change_reboot(&place, rule, &error), &error);
}

/* Why it is refused, and the way past it. */
static void offer_force(struct app *app, struct choice *choice, const struct error *error)
{
    struct force_dialog *self = talloc_zero(NULL, struct force_dialog);
    char title[128];
    self->choice = talloc_steal(self, choice);
    snprintf(title, sizeof title, "%s is not rebooted", choice->hosts[0]);
    struct dialog *dialog = console_dialog_new(app->console, title, "choose", force_accepted, self);
    dialog_add_text(dialog, "Refused", STYLE_CRITICAL, error->why);
    dialog_add_choice(dialog, "", "leave it up", NULL);
    self->force = dialog_add_choice(dialog, "", "force it, and give the reason", NULL);
    console_dialog_open(app->console);
}

static void reboot(struct app *app, struct host *host, struct choice *choice)
{
    struct error error = {0};
    struct host_place place = hosts_place(app, choice, host);
    /* The rule is asked again when it is sent: the change keeps it. */
    struct host_reboot *rule = hosts_reboot_rule(app, NULL, host);
    struct change *change = host_change_reboot(&place, rule, &error);
    talloc_steal(change ? (void *)change : (void *)choice, rule);
    if (change || error.kind != ERROR_INTERLOCK)
        open_change(app, change, &error);
    else
        offer_force(app, copy_hosts(choice), &error);
}

/* ---- a thing that is typed ---- */

struct name_dialog {
    struct choice *choice;
    enum hosts_target_kind kind;
    int field;
};

static void offer_all(struct app *app, struct host *host, struct choice *choice);
static void open_choice(struct app *app, const char *title, struct choice *choice);

static void name_accepted(struct app *app, struct dialog *dialog, void *data)
{
    struct name_dialog *self = data;
    struct error error = {0};
    struct host *host = first_host(app, self->choice, &error);
    if (!host) {
        console_say_error(app->console, &error);
        return;
    }
    struct choice *choice = talloc_steal(NULL, self->choice);
    self->choice = NULL;
    choice->target.kind = self->kind;
    choice->target.name = talloc_strdup(choice, dialog_value(dialog, self->field));
    offer_all(app, host, choice);
    char title[256];
    snprintf(title, sizeof title, "%s on %s", choice->target.name, host_name(host));
    open_choice(app, title, choice);
}

/* Takes the choice over. */
static void ask_name(struct app *app, struct choice *choice, enum hosts_target_kind kind)
{
    static const struct {
        const char *title, *label, *hint;
    } words[] = {
        [TARGET_UNIT] = {"Reload, restart, start or stop a unit", "Unit", "nginx.service"},
        [TARGET_LOG] = {"Rotate or truncate a log", "Log", "/var/log/nginx/access.log"},
        [TARGET_ADDRESS] = {"Ban or unban an address", "Address", "192.0.2.7, 2001:db8::/48"},
    };
    struct name_dialog *self = talloc_zero(NULL, struct name_dialog);
    self->choice = talloc_steal(self, choice);
    self->kind = kind;
    struct dialog *dialog = console_dialog_new(app->console, words[kind].title, "go on", name_accepted, self);
    dialog_add_text(dialog, "Host", STYLE_NORMAL, choice->hosts[0]);
    self->field = dialog_add_field(
        dialog,
        &(struct dialog_field){.label = words[kind].label, .hint = words[kind].hint, .required = true});
    console_dialog_open(app->console);
}

/* ---- what was chosen ---- */

static struct change *simple_change(const struct host_place *place, const struct hosts_target *target,
                                    const struct option *option, struct error *error)
{
    switch (option->act) {
    case ACT_UNIT:
        return host_change_unit(place, option->verb, option->name, error);
    case ACT_CONTAINER:
        return host_change_container(place, option->verb, target->id, target->name, error);
    case ACT_RENEW:
        return host_change_renew(place, option->name, error);
    case ACT_ROTATE:
        return host_change_rotate(place, option->name, error);
    case ACT_TRUNCATE:
        return host_change_truncate(place, option->name, error);
    case ACT_BAN:
        return host_change_ban(place, option->by, option->jail, option->name, option->ban, error);
    default:
        break;
    }
    error_set(error, ERROR_USAGE, place->host, "act", NULL, "there is no such act");
    return NULL;
}

static void run_book(struct app *app, const struct choice *choice, const struct environment_runbook *runbook)
{
    struct error error = {0};
    size_t count;
    struct host_place *places = places_of(app, choice, &count);
    bool may = true;
    for (size_t i = 0; i < runbook->step_count && may; i++)
        may = may_run(app, choice, runbook->steps[i].run, &error);
    struct change *change = may ? host_change_runbook(places, count, runbook, 1, &error) : NULL;
    name_silent(app, choice, change);
    open_change(app, change, &error);
}

static void act_chosen(struct app *app, void *data, size_t index)
{
    struct choice *choice = data;
    const struct option *option = &choice->options[index];
    struct error error = {0};
    struct host *host = first_host(app, choice, &error);
    if (!host) {
        console_say_error(app->console, &error);
        return;
    }
    switch (option->act) {
    case ACT_END:
    case ACT_KILL:
        look_up(app, host, choice, option->act == ACT_KILL);
        return;
    case ACT_RUN:
        ask_command(app, copy_hosts(choice));
        return;
    case ACT_RUNBOOK:
        run_book(app, choice, option->runbook);
        return;
    case ACT_REBOOT:
        reboot(app, host, choice);
        return;
    case ACT_ASK_NAME:
        ask_name(app, copy_hosts(choice), option->kind);
        return;
    case ACT_DISK:
        hosts_disk_open(app, host, option->name);
        return;
    default:
        break;
    }
    struct host_place place = hosts_place(app, choice, host);
    open_change(app, simple_change(&place, &choice->target, option, &error), &error);
}

/* ---- what is offered ---- */

static struct option *offer(struct choice *choice, enum act act, const char *disabled, const char *format,
                            ...) __attribute__((format(printf, 4, 5)));

static struct option *offer(struct choice *choice, enum act act, const char *disabled, const char *format,
                            ...)
{
    va_list arguments;
    if (choice->count == CHOICES_MAX)
        return &choice->options[CHOICES_MAX];
    va_start(arguments, format);
    char *text = talloc_vasprintf(choice, format, arguments);
    va_end(arguments);
    choice->lines[choice->count] = (struct choice_line){safe_line_new(choice, text), disabled};
    choice->options[choice->count] = (struct option){.act = act, .name = choice->target.name};
    return &choice->options[choice->count++];
}

/* The mildest first. */
static void offer_verbs(struct choice *choice, enum act act, const char *name, const char *reload)
{
    offer(choice, act, NULL, "reload %s: %s", name, reload)->verb = HOST_RELOAD;
    offer(choice, act, NULL, "restart %s", name)->verb = HOST_RESTART;
    offer(choice, act, NULL, "start %s", name)->verb = HOST_START;
    offer(choice, act, NULL, "stop %s", name)->verb = HOST_STOP;
}

static void offer_ban(struct choice *choice, enum host_ban by, const char *jail, const char *address,
                      bool ban, const char *where)
{
    struct option *option = offer(choice, ACT_BAN, NULL, "%s %s with %s%s%s", ban ? "ban" : "unban", address,
                                  where, jail ? ", jail " : "", jail ? jail : "");
    option->by = by;
    option->jail = jail;
    option->ban = ban;
    option->name = address;
}

/* fail2ban with the jails that it has; else the firewall that is there. */
static void offer_ban_ways(struct app *app, struct host *host, struct choice *choice, const char *address)
{
    const struct host_snapshot *snapshot = host_latest(host);
    const char *jails = snapshot ? snapshot->fail2ban : NULL;
    const char *firewall = snapshot ? snapshot->firewall : NULL;
    bool ufw =
        !firewall || strncmp(firewall, "ufw active", 10) == 0 || strncmp(firewall, "ufw enabled", 11) == 0;
    char *names[BAN_WAYS_MAX];
    size_t count = 0;
    (void)app;
    while (jails && *jails && count < BAN_WAYS_MAX) { /* "sshd 3, nginx 1" */
        names[count] = talloc_strndup(choice, jails, strcspn(jails, " ,"));
        jails += strcspn(jails, ",");
        jails += strspn(jails, ", ");
        count += names[count][0] != '\0';
    }
    for (int ban = 1; ban >= 0; ban--) {
        for (size_t i = 0; i < count; i++)
            offer_ban(choice, BAN_FAIL2BAN, names[i], address, ban, "fail2ban");
        if (ufw)
            offer_ban(choice, BAN_UFW, NULL, address, ban, "ufw");
        if (!firewall || (!count && !ufw)) /* unknown: whatever is there */
            offer_ban(choice, BAN_NFT, NULL, address, ban, "nftables, until a reboot");
    }
}

/* Is the runbook meant for all of these hosts? */
static bool runbook_fits(struct app *app, const struct environment_runbook *runbook,
                         const struct choice *choice)
{
    for (size_t i = 0; runbook->hosts && i < choice->host_count; i++) {
        const struct host *host = fleet_find(app->fleet, choice->hosts[i]);
        const char *group = host ? host_group(host) : NULL;
        if (strcmp(runbook->hosts, choice->hosts[i]) != 0 && (!group || strcmp(runbook->hosts, group) != 0))
            return false;
    }
    return true;
}

static void offer_host(struct app *app, struct host *host, struct choice *choice)
{
    const struct host_snapshot *snapshot = host_latest(host);
    const char *many = choice->host_count > 1 ? "only one host at a time" : NULL;
    char *whom = many ? talloc_asprintf(choice, "the %zu marked hosts", choice->host_count)
                      : talloc_strdup(choice, host_name(host));
    for (size_t i = 0; !many && snapshot && i < snapshot->failed_count && i < 4; i++) {
        struct option *option =
            offer(choice, ACT_UNIT, NULL, "restart %s, which failed", snapshot->failed[i].name);
        option->verb = HOST_RESTART;
        option->name = talloc_strdup(choice, snapshot->failed[i].name);
    }
    const char *mount = snapshot && snapshot->worst_mount ? snapshot->worst_mount->mount : "/";
    if (!many)
        offer(choice, ACT_DISK, NULL, "what fills %s, and what is safe to remove", mount)->name =
            talloc_strdup(choice, mount);
    offer(choice, ACT_RUN, NULL, "run a command on %s …", whom);
    for (size_t i = 0; i < app->environment->runbook_count; i++) {
        const struct environment_runbook *runbook = &app->environment->runbooks[i];
        if (runbook_fits(app, runbook, choice))
            offer(choice, ACT_RUNBOOK, NULL, "runbook %s%s%s", runbook->name, runbook->help ? ": " : "",
                  runbook->help ? runbook->help : "")
                ->runbook = runbook;
    }
    offer(choice, ACT_ASK_NAME, many, "reload, restart, start or stop a unit …")->kind = TARGET_UNIT;
    offer(choice, ACT_ASK_NAME, many, "rotate or truncate a log …")->kind = TARGET_LOG;
    offer(choice, ACT_ASK_NAME, many, "ban or unban an address …")->kind = TARGET_ADDRESS;
    offer(choice, ACT_REBOOT, many, "reboot %s", whom);
}

static void offer_all(struct app *app, struct host *host, struct choice *choice)
{
    const char *name = choice->target.name;
    switch (choice->target.kind) {
    case TARGET_HOST:
        offer_host(app, host, choice);
        break;
    case TARGET_UNIT:
        offer_verbs(choice, ACT_UNIT, name, "its configuration, without stopping it");
        break;
    case TARGET_CONTAINER:
        offer_verbs(choice, ACT_CONTAINER, name, "HUP to its first process");
        break;
    case TARGET_PROCESS:
        offer(choice, ACT_END, NULL, "end %d %s: TERM, it may clean up", choice->target.pid, name);
        offer(choice, ACT_KILL, NULL, "kill %d %s: KILL, at once", choice->target.pid, name);
        break;
    case TARGET_CERTIFICATE:
        offer(choice, ACT_RENEW, NULL, "renew %s", name);
        break;
    case TARGET_MOUNT:
        offer(choice, ACT_DISK, NULL, "what fills %s, and what is safe to remove", name);
        break;
    case TARGET_LOG:
        offer(choice, ACT_ROTATE, NULL, "rotate %s", name);
        offer(choice, ACT_TRUNCATE, NULL, "truncate %s: throw its content away", name);
        break;
    case TARGET_ADDRESS:
        offer_ban_ways(app, host, choice, name);
        break;
    }
}

static void open_choice(struct app *app, const char *title, struct choice *choice)
{
    console_choose(app->console, title, choice->lines, choice->count, act_chosen, choice);
}

static struct choice *choice_new(struct host *const *hosts, size_t count, const struct hosts_target *target)
{
    struct choice *choice = talloc_zero(NULL, struct choice);
    choice->hosts = talloc_array(choice, char *, count);
    choice->host_count = count;
    for (size_t i = 0; i < count; i++)
        choice->hosts[i] = talloc_strdup(choice, host_name(hosts[i]));
    choice->target = *target;
    choice->target.name = talloc_strdup(choice, target->name ? target->name : "");
    choice->target.id = target->id ? talloc_strdup(choice, target->id) : NULL;
    return choice;
}

void hosts_acts_choose(struct app *app, struct host *const *hosts, size_t count,
                       const struct hosts_target *target)
{
    char title[256];
    if (!count) {
        console_say(app->console, SEVERITY_NONE, "no host is selected");
        return;
    }
    struct choice *choice = choice_new(hosts, count, target);
    offer_all(app, hosts[0], choice);
    if (count > 1)
        snprintf(title, sizeof title, "What shall be done on %zu hosts?", count);
    else if (target->kind == TARGET_HOST)
        snprintf(title, sizeof title, "What shall be done on %s?", host_name(hosts[0]));
    else
        snprintf(title, sizeof title, "%s on %s", choice->target.name, host_name(hosts[0]));
    open_choice(app, title, choice);
}

void hosts_acts_run(struct app *app, struct host *const *hosts, size_t count)
{
    if (count)
        ask_command(app,
                    choice_new(hosts, count, &(struct hosts_target){.kind = TARGET_HOST, .started = NAN}));
    else
        console_say(app->console, SEVERITY_NONE, "no host is selected");
}
