/* Rebooting a host, and the rule that the last healthy host of a group stays up. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/units.h"

enum { PEERS_MAX = 256 };
#define BACK_S 600

bool host_reboot_allowed(const struct host_place *place, const struct host_reboot *reboot,
                         struct error *error)
{
    struct host_peer peers[PEERS_MAX];
    char others[400] = "";
    if (!reboot->grouped || reboot->forced)
        return true;
    size_t count = reboot->peers(reboot->data, peers, PEERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (peers[i].healthy)
            return true;
        size_t length = strlen(others);
        snprintf(others + length, sizeof others - length, "%s%s%s%s%s", length ? "; " : "", peers[i].name,
                 peers[i].why ? " (" : "", peers[i].why ? peers[i].why : "", peers[i].why ? ")" : "");
    }
    return error_set(error, ERROR_INTERLOCK, place->host, "it is not taken down",
                     "Bring another one up first, or force it and give the reason.",
                     count ? "it would leave no healthy host in group %s; not healthy: %s"
                           : "it is the only host of group %s%s",
                     reboot->group ? reboot->group : "?", others);
}

/* The rule is looked at once more right before it is sent. */
struct reboot_guard {
    struct host_place place;
    struct host_reboot reboot;
};

static bool still_allowed(struct change *change, struct error *error)
{
    const struct reboot_guard *guard = host_step_of(&change->steps[0])->guard;
    return host_reboot_allowed(&guard->place, &guard->reboot, error);
}

static bool read_uptime(const struct host_check *check, const struct ssh_result *result, double since_s,
                        char *buffer, size_t size)
{
    char age[32];
    double uptime;
    const char *output = result->output ? result->output : "";
    format_s(age, sizeof age, since_s);
    if (result->end.ending != SSH_EXITED || result->end.status != 0 || !host_number(&output, &uptime)) {
        snprintf(buffer, size, "%s does not answer since %s", check->name, age);
        return false;
    }
    if (uptime > since_s + 2) {
        snprintf(buffer, size, "%s has not gone down yet after %s", check->name, age);
        return false;
    }
    snprintf(buffer, size, "%s is back after %s", check->name, age);
    return true;
}

struct change *host_change_reboot(const struct host_place *place, const struct host_reboot *reboot,
                                  struct error *error)
{
    const char *sudoers = NULL;
    if (!host_reboot_allowed(place, reboot, error))
        return NULL;
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    struct reboot_guard *guard = talloc_zero(change, struct reboot_guard);
    guard->place = *place;
    guard->place.host = change->server;
    guard->reboot = *reboot;
    guard->reboot.group = talloc_strdup(guard, reboot->group ? reboot->group : "");
    change->hazard = HAZARD_DESTROY;
    change->wants_reason = reboot->forced;
    change->verb = "reboot";
    change->past = "reboot asked of";
    change->title = talloc_asprintf(change, "Reboot %s%s", place->host, reboot->forced ? " (forced)" : "");
    change->milder = "restart the unit that is ill: the others go on";
    change->effect =
        reboot->forced
            ? "Everything on the host ends and is started again as far as it is enabled; the group has no "
              "other healthy host meanwhile. It may not come back."
            : "Everything on the host ends and is started again as far as it is enabled. It may not come "
              "back: be sure of another way to it.";
    host_change_confirm_name(change, place);
    bool systemd = !place->init || strcmp(place->init, "systemd") == 0;
    const char *const words[] = {systemd ? "systemctl" : "reboot", systemd ? "reboot" : NULL, NULL};
    struct change_step *step = host_change_add(change, place, place->host, place->host,
                                               host_privileged(change, place, words, &sudoers));
    host_step_of(step)->sudoers = sudoers;
    host_step_of(step)->look = "A host that goes down breaks its connections: see whether it comes back.";
    change->still_there = still_allowed;
    host_step_of(step)->guard = guard;
    host_change_watch(change, place->ssh,
                      &(struct host_check){.command = "cat /proc/uptime",
                                           .patience_s = BACK_S,
                                           .read = read_uptime,
                                           .name = change->server});
    return change;
}

bool host_command_takes_down(const char *command)
{
    static const char *const words[] = {"reboot", "shutdown", "poweroff", "halt", "kexec", "init"};
    for (const char *at = command; *at;) {
        at += strspn(at, " \t\n;&|(){}'\"$`/");
        size_t length = strcspn(at, " \t\n;&|(){}'\"$`/");
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            if (strlen(words[i]) != length || strncmp(at, words[i], length) != 0)
                continue;
            const char *next = at + length + strspn(at + length, " \t");
            if (strcmp(words[i], "init") != 0 || *next == '0' || *next == '6')
                return true;
        }
        at += length;
    }
    return false;
}
