/* A command on several hosts, and runbooks: steps that roll from host to host and stop at the first failure.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_change_internal.h"
#include "core/text.h"

#define RUN_DEADLINE_S 300
#define RUN_OUTPUT_MAX (1u << 20)

static void confirm_hosts(struct change *change, const struct host_place *places, size_t count)
{
    if (count == 1) {
        host_change_confirm_name(change, &places[0]);
        return;
    }
    change->reach = REACH_MANY;
    change->confirm = talloc_asprintf(change, "%zu", count);
    change->confirm_prompt = "the number of hosts";
}

/* "web1", "3 hosts". */
static char *hosts_text(const void *context, const struct host_place *places, size_t count)
{
    return count == 1 ? talloc_strdup(context, places[0].host) : talloc_asprintf(context, "%zu hosts", count);
}

/* The logins of all hosts in one word: "ops", or "ops and others". */
static void name_logins(struct change *change, const struct host_place *places, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (places[i].login && strcmp(places[i].login, places[0].login ? places[0].login : "") != 0) {
            change->role = talloc_asprintf(change, "%s and others", places[0].login ? places[0].login : "?");
            return;
        }
}

static struct change *begin_many(const struct host_place *places, size_t count, size_t steps, size_t batch,
                                 struct error *error)
{
    if (!count || !steps) {
        error_set(error, ERROR_USAGE, NULL, "run", NULL, count ? "it has no step" : "no host is named");
        return NULL;
    }
    /* As whom a command runs is known only once a host answered; that is not needed here: nothing is added to
     * what the user wrote. */
    struct host_place first = places[0];
    first.login = first.login ? first.login : "the login of ssh";
    struct change *change = host_change_begin(&first, steps, error);
    if (!change)
        return NULL;
    if (count > 1)
        change->server = hosts_text(change, places, count);
    change->hazard = HAZARD_DESTROY;
    change->verb = "run";
    change->batch = batch ? batch : 1;
    change->stop_at_failure = true;
    change->shows_output = true;
    name_logins(change, places, count);
    confirm_hosts(change, places, count);
    return change;
}

struct change *host_change_run(const struct host_place *places, size_t count, const struct host_run *run,
                               struct error *error)
{
    if (!run->command || !run->command[strspn(run->command, " \t\n")]) {
        error_set(error, ERROR_USAGE, NULL, "run", "Write the command behind --.", "there is no command");
        return NULL;
    }
    struct change *change = begin_many(places, count, count, run->batch, error);
    if (!change)
        return NULL;
    change->past = "ran on";
    change->title = talloc_asprintf(change, "Run a command on %s", hosts_text(change, places, count));
    change->effect =
        host_command_takes_down(run->command)
            ? "What the command does is not known to the console; it looks as if it takes hosts DOWN."
            : "What the command does is not known to the console: it runs as it stands here, through the "
              "login's shell.";
    for (size_t i = 0; i < count; i++) {
        struct change_step *step =
            host_change_add(change, &places[i], places[i].host, places[i].host, run->command);
        host_step_of(step)->limits = (struct ssh_run_limits){
            .deadline_s = run->deadline_s > 0 ? run->deadline_s : RUN_DEADLINE_S, .bytes = RUN_OUTPUT_MAX};
        host_step_of(step)->look = "Look at the host before it is run again: the command may go on there.";
    }
    return change;
}

/* ---- runbooks ---- */

/* What taking back needs: the runbook may be gone with its environment, so the steps' own texts are used. */
static struct change *take_back(const struct change *change)
{
    struct error error;
    size_t count = 0;
    for (size_t i = 0; i < change->step_count; i++)
        count += change->steps[i].outcome == STEP_DONE && change->steps[i].undo;
    if (!count)
        return NULL;
    struct host_place place = {
        .environment = change->environment, .host = change->server, .login = change->role};
    struct change *back = host_change_begin(&place, count, &error);
    if (!back)
        return NULL;
    back->hazard = HAZARD_DESTROY;
    back->verb = "undo";
    back->past = "took back";
    back->title = talloc_asprintf(back, "Take back: %s", change->title);
    back->effect = "The undo commands of the steps that were done run, the last step first.";
    back->batch = 1;
    back->stop_at_failure = true;
    back->shows_output = true;
    back->reach = change->reach;
    back->confirm = talloc_strdup(back, change->confirm);
    back->confirm_prompt = change->confirm_prompt;
    for (size_t i = change->step_count; i-- > 0;) {
        const struct change_step *step = &change->steps[i];
        if (step->outcome != STEP_DONE || !step->undo)
            continue;
        struct host_place at = {.host = step->server, .login = step->role, .ssh = host_step_of(step)->ssh};
        struct change_step *undo = host_change_add(back, &at, step->name, step->target, step->undo);
        host_step_of(undo)->limits = host_step_of(step)->limits;
    }
    return back;
}

struct change *host_change_runbook(const struct host_place *places, size_t count,
                                   const struct environment_runbook *runbook, size_t batch,
                                   struct error *error)
{
    bool undone = true;
    struct change *change = begin_many(places, count, count * runbook->step_count, batch, error);
    if (!change)
        return NULL;
    change->verb = "runbook";
    change->past = "ran";
    change->title =
        talloc_asprintf(change, "Runbook %s on %s", runbook->name, hosts_text(change, places, count));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < runbook->step_count; j++) {
            const struct environment_step *what = &runbook->steps[j];
            char *name = talloc_asprintf(change, "%s step %zu on %s", runbook->name, j + 1, places[i].host);
            char *target = talloc_asprintf(change, "%s step %zu", places[i].host, j + 1);
            struct change_step *step = host_change_add(change, &places[i], name, target, what->run);
            step->undo = what->undo ? talloc_strdup(change, what->undo) : NULL;
            undone = undone && what->undo;
            host_step_of(step)->limits =
                (struct ssh_run_limits){.deadline_s = RUN_DEADLINE_S, .bytes = RUN_OUTPUT_MAX};
        }
    change->effect = talloc_asprintf(
        change, "%s%sThe steps run in their order on one host after the other, until one fails. %s",
        runbook->help ? runbook->help : "", runbook->help ? ".\n" : "",
        undone ? "What was done can be taken back step by step."
               : "Not every step has an undo: what those did stays.");
    change->take_back = take_back;
    return change;
}
