/* Units and containers: reloaded, restarted, started, stopped; and what became of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/text.h"
#include "core/units.h"

/* A unit that is up again may fall over a moment later. */
#define SETTLED_S 5
#define PATIENCE_S 60

static const char *past_of(enum host_verb verb)
{
    static const char *const past[] = {"reloaded", "restarted", "started", "stopped"};
    return past[verb];
}

static char *capital(const void *context, const char *word)
{
    char *text = talloc_strdup(context, word);
    text[0] = (char)(text[0] - 'a' + 'A');
    return text;
}

/* "Key=value" of systemctl show. */
static void property(const char *output, const char *key, char *buffer, size_t size)
{
    size_t length = strlen(key);
    buffer[0] = '\0';
    for (const char *at = output; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
        if (strncmp(at, key, length) == 0 && at[length] == '=')
            snprintf(buffer, size, "%.*s", (int)strcspn(at + length + 1, "\n"), at + length + 1);
}

static bool read_unit(const struct host_check *check, const struct ssh_result *result, double since_s,
                      char *buffer, size_t size)
{
    char state[32], sub[32], why[64], age[32];
    bool stops = check->data != NULL;
    if (result->end.ending != SSH_EXITED || result->end.status != 0)
        return false;
    property(result->output, "ActiveState", state, sizeof state);
    property(result->output, "SubState", sub, sizeof sub);
    property(result->output, "Result", why, sizeof why);
    format_s(age, sizeof age, since_s);
    if (strcmp(state, "failed") == 0) {
        snprintf(buffer, size, "%s FAILED (%s) after %s", check->name, why, age);
        return true;
    }
    if (strcmp(state, "active") == 0 && !stops) {
        snprintf(buffer, size, "%s active (%s) after %s", check->name, sub, age);
        return since_s >= SETTLED_S;
    }
    snprintf(buffer, size, "%s %s (%s) after %s", check->name, state, sub, age);
    return strcmp(state, "inactive") == 0;
}

static void watch_unit(struct change *change, const struct host_place *place, enum host_verb verb,
                       const char *unit)
{
    const char *const words[] = {"systemctl", "show", "-p",     "ActiveState", "-p",
                                 "SubState",  "-p",   "Result", unit,          NULL};
    host_change_watch(change, place->ssh,
                      &(struct host_check){.command = host_words(change, words),
                                           .patience_s = PATIENCE_S,
                                           .read = read_unit,
                                           .name = talloc_strdup(change, unit),
                                           .data = verb == HOST_STOP ? "stops" : NULL});
}

static char *unit_command(const void *context, const struct host_place *place, enum host_verb verb,
                          const char *unit, const char **sudoers)
{
    const char *name = host_verb_name(verb);
    if (!place->init || strcmp(place->init, "systemd") == 0)
        return host_privileged(context, place, (const char *const[]){"systemctl", name, unit, NULL}, sudoers);
    if (strcmp(place->init, "openrc") == 0)
        return host_privileged(context, place, (const char *const[]){"rc-service", unit, name, NULL},
                               sudoers);
    return host_privileged(context, place, (const char *const[]){"service", unit, name, NULL}, sudoers);
}

static const char *unit_effect(enum host_verb verb)
{
    switch (verb) {
    case HOST_RELOAD:
        return "It reads its configuration again without being stopped; what it is doing goes on. A wrong "
               "configuration is refused or kept from taking effect, as the unit does it.";
    case HOST_RESTART:
        return "It is stopped and started again: requests, jobs and connections it is busy with are cut off "
               "or "
               "waited for as the unit says. When it does not come up again, it stays down.";
    case HOST_START:
        return "It is started with what it requires. Nothing happens when it runs already.";
    case HOST_STOP:
        return "It is stopped, and what requires it too: requests, jobs and connections it is busy with end. "
               "It "
               "stays down until somebody starts it, or the host boots while it is enabled.";
    }
    return NULL;
}

static void fill_words(struct change *change, const struct host_place *place, enum host_verb verb,
                       const char *name)
{
    change->verb = host_verb_name(verb);
    change->past = past_of(verb);
    change->hazard = verb == HOST_STOP ? HAZARD_DESTROY : HAZARD_CHANGE;
    change->title = talloc_asprintf(change, "%s %s on %s", capital(change, change->verb), name, place->host);
    host_change_confirm_name(change, place);
}

struct change *host_change_unit(const struct host_place *place, enum host_verb verb, const char *unit,
                                struct error *error)
{
    const char *sudoers = NULL, *ignored = NULL;
    if (!host_valid_unit(unit, error))
        return NULL;
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    fill_words(change, place, verb, unit);
    change->effect = unit_effect(verb);
    if (verb == HOST_RESTART)
        change->milder =
            talloc_asprintf(change, "reload %s: what it is doing goes on, where it can reload", unit);
    else if (verb == HOST_STOP)
        change->milder = talloc_asprintf(change, "restart %s: it is away for a moment only", unit);
    struct change_step *step =
        host_change_add(change, place, talloc_asprintf(change, "%s on %s", unit, place->host), unit,
                        unit_command(change, place, verb, unit, &sudoers));
    if (verb == HOST_STOP || verb == HOST_START)
        step->undo = unit_command(change, place, verb == HOST_STOP ? HOST_START : HOST_STOP, unit, &ignored);
    host_step_of(step)->sudoers = sudoers;
    host_step_of(step)->look = talloc_asprintf(change, "Look at the unit: systemctl status %s.", unit);
    if (!place->init || strcmp(place->init, "systemd") == 0)
        watch_unit(change, place, verb, unit);
    return change;
}

/* ---- containers ---- */

static bool read_container(const struct host_check *check, const struct ssh_result *result, double since_s,
                           char *buffer, size_t size)
{
    char safe[64], again[48] = "", age[32];
    double code, restarts;
    const char *state = result->output ? result->output : "";
    size_t length = strcspn(state, " ");
    const char *numbers = state + length;
    if (result->end.ending != SSH_EXITED || result->end.status != 0 || !host_number(&numbers, &code) ||
        !host_number(&numbers, &restarts))
        return false;
    safe_text(safe, sizeof safe, state, length);
    if (restarts > 0)
        snprintf(again, sizeof again, ", %.0f restarts", restarts);
    snprintf(buffer, size, "%s %s%s after %s", check->name, safe, again, format_s(age, sizeof age, since_s));
    bool stops = check->data != NULL;
    return strcmp(safe, "exited") == 0 ? stops || since_s >= SETTLED_S : !stops && since_s >= SETTLED_S;
}

static const char *container_effect(enum host_verb verb)
{
    switch (verb) {
    case HOST_RELOAD:
        return "HUP is sent to its first process. Most servers read their configuration again; a program "
               "that does "
               "not know HUP ends.";
    case HOST_RESTART:
        return "Its first process gets TERM, after 10 s KILL; then it is started again from the same image "
               "with its "
               "volumes. What it wrote elsewhere stays.";
    case HOST_START:
        return "It is started from the image it was made of. Nothing happens when it runs already.";
    case HOST_STOP:
        return "Its first process gets TERM, after 10 s KILL. It stays stopped, whatever its restart policy "
               "says, "
               "until somebody starts it.";
    }
    return NULL;
}

static char *container_command(const void *context, const struct host_place *place, enum host_verb verb,
                               const char *id, const char **sudoers)
{
    if (verb == HOST_RELOAD)
        return host_docker(context, place,
                           (const char *const[]){"docker", "kill", "--signal", "HUP", id, NULL}, sudoers);
    return host_docker(context, place, (const char *const[]){"docker", host_verb_name(verb), id, NULL},
                       sudoers);
}

struct change *host_change_container(const struct host_place *place, enum host_verb verb, const char *id,
                                     const char *name, struct error *error)
{
    const char *sudoers = NULL, *ignored = NULL;
    if (!host_valid_container(id, error))
        return NULL;
    struct change *change = host_change_begin(place, 1, error);
    if (!change)
        return NULL;
    char *safe = safe_line_new(change, name && *name ? name : id);
    fill_words(change, place, verb, safe);
    change->effect = container_effect(verb);
    if (verb == HOST_STOP)
        change->milder = talloc_asprintf(change, "restart %s: it is away for a moment only", safe);
    struct change_step *step =
        host_change_add(change, place, talloc_asprintf(change, "%s on %s", safe, place->host),
                        talloc_asprintf(change, "container %s %.12s", safe, id),
                        container_command(change, place, verb, id, &sudoers));
    if (verb == HOST_STOP || verb == HOST_START)
        step->undo =
            container_command(change, place, verb == HOST_STOP ? HOST_START : HOST_STOP, id, &ignored);
    host_step_of(step)->sudoers = sudoers;
    host_step_of(step)->look = talloc_asprintf(change, "Look at it: docker ps -a --filter id=%.12s.", id);
    const char *const words[] = {
        "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", id, NULL};
    host_change_watch(change, place->ssh,
                      &(struct host_check){.command = host_docker(change, place, words, &ignored),
                                           .patience_s = PATIENCE_S,
                                           .read = read_container,
                                           .name = safe,
                                           .data = verb == HOST_STOP ? "stops" : NULL});
    return change;
}
