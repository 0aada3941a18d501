/* What can be said about a change before it is sent: whether it may be, what confirms it, its preview. */
#include "backends/change.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"

#define LABEL_WIDTH 10

struct change *change_new(void)
{
    struct change *change = talloc_zero(NULL, struct change);
    if (!change)
        abort();
    return change;
}

bool change_allowed(const struct change *change, const struct access *access, struct error *error)
{
    if (!change->role)
        return error_set(error, ERROR_INTERLOCK, change->server, change->title,
                         "Name a login that may do it as `act` in the environment file.",
                         "this environment has no login for it");
    if (change->step_count == 0)
        return error_set(error, ERROR_GONE, change->server, change->title, NULL,
                         "there is nothing left to do");
    if (access_state(access) == ACCESS_LOCKED)
        return error_set(error, ERROR_INTERLOCK, change->environment, change->title,
                         "Unlock it first: signalbox unlock -e ENVIRONMENT --reason TEXT.",
                         "the environment is locked");
    return !change->still_there || change->still_there((struct change *)change, error);
}

bool change_confirmed(const struct change *change, const char *typed)
{
    if (!change->confirm || !*change->confirm || !typed)
        return false;
    while (isspace((unsigned char)*typed))
        typed++;
    size_t length = strlen(typed);
    while (length && isspace((unsigned char)typed[length - 1]))
        length--;
    return length == strlen(change->confirm) && !memcmp(typed, change->confirm, length);
}

/* The label once, its lines below one another. */
static char *add(char *text, const char *label, const char *value)
{
    while (value && *value) {
        size_t length = strcspn(value, "\n");
        char *line = talloc_strndup(NULL, value, length);
        char *safe = safe_text_new(line, line);
        text = talloc_asprintf_append_buffer(text, "%-*s%s\n", LABEL_WIDTH, label, safe);
        if (!text)
            abort();
        talloc_free(line);
        label = "";
        value += length + (value[length] == '\n');
    }
    return text;
}

char *change_preview(const void *context, const struct change *change)
{
    char *text = talloc_strdup(context, "");
    if (!text)
        abort();
    char *chosen = talloc_asprintf(NULL, "%s%s%s", change->title ? change->title : "",
                                   change->role ? ", as " : "", change->role ? change->role : "");
    text = add(text, "Mildest", change->milder);
    text = add(text, "Chosen", chosen);
    talloc_free(chosen);
    /* The same command on many hosts stands there once. */
    for (size_t i = 0; i < change->step_count; i++)
        if (!i || strcmp(change->steps[i].command, change->steps[i - 1].command) != 0)
            text = add(text, i ? "" : "Sends", change->steps[i].command);
    for (size_t i = 0; i < change->step_count; i++) {
        const struct change_step *step = &change->steps[i];
        char *target = talloc_asprintf(NULL, "%s%s%s", step->target, step->subject ? " · " : "",
                                       step->subject ? step->subject : "");
        text = add(text, i ? "" : "Target", target);
        talloc_free(target);
    }
    if (change->batch && change->step_count > 1) {
        char *order = talloc_asprintf(NULL, "%zu at a time%s", change->batch,
                                      change->stop_at_failure ? ", stopped at the first failure" : "");
        text = add(text, "Rolling", order);
        talloc_free(order);
    }
    text = add(text, "Left out", change->left_out);
    text = add(text, "Effect", change->effect);
    const char *undo = NULL;
    for (size_t i = 0; i < change->step_count; i++) {
        if (change->steps[i].undo)
            text = add(text, undo ? "" : "Undo", change->steps[i].undo);
        undo = change->steps[i].undo ? change->steps[i].undo : undo;
    }
    if (!undo)
        text = add(text, "Undo", "none");
    return add(text, "Reason", change->reason);
}
