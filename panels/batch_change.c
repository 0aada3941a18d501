/* The confirmation of a change on the command line. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "panels/batch.h"

/* Asks at the terminal for what confirms the change. */
static bool ask_confirmation(const struct app *app, const struct change *change)
{
    char line[256];
    if (access_state(app->access) == ACCESS_LOCKED)
        fputs("This unlocks the environment for 30 min.\n", stderr);
    fprintf(stderr, "Type %s: ", change->confirm_prompt);
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return change_confirmed(change, line);
}

bool batch_confirm_change(struct app *app, const struct change *change, struct error *error)
{
    const struct options *options = app->options;
    const char *environment = app->environment->name;
    if (options->yes) {
        if (access_state(app->access) == ACCESS_LOCKED)
            return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent",
                             "signalbox unlock --reason TEXT unlocks it for 30 minutes.",
                             "the environment is locked");
        return true;
    }
    if (!isatty(STDIN_FILENO))
        return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent",
                         "Add --yes, or run it in a terminal and confirm there.",
                         "nobody is there who could confirm it");
    char *preview = change_preview(NULL, change);
    fprintf(stderr, "%s\n", preview);
    talloc_free(preview);
    if (!ask_confirmation(app, change))
        return error_set(error, ERROR_INTERLOCK, environment, "nothing was sent", NULL,
                         "it was not confirmed");
    if (access_state(app->access) == ACCESS_LOCKED)
        access_unlock(app->access, options->reason);
    return true;
}
